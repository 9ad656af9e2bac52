"""Versions: time travel, two writers, what differs, rollback, and a vacuum that breaks nothing that somebody refers to."""

from __future__ import annotations

import json
import multiprocessing
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import workbench as wb
from workbench.errors import WorkbenchError
from workbench.tables import versions
from workbench.tables.collect import collect
from workbench.tables.delta import home, load, snapshot, write
from workbench.tables.versions_diff import _surplus


@pytest.fixture
def table(tmp_path):
    return str(tmp_path / "table")


def rows(table, column="key", **options):
    found = wb.open_table(table, columns=[column], **options)
    values = [
        one for piece in found.pieces() for part in found.batches(piece) for one in part.column(column).to_pylist()
    ]
    return sorted(values, key=lambda one: (one is None, one))


def keys(*values):
    return pa.table({"key": list(values), "ms": [one * 10 for one in values]})


def test_a_version_stays_what_it_was(table):
    first = write(table, keys(1, 2)).version
    moment = pd.Timestamp.now("UTC")
    time.sleep(0.01)
    second = write(table, pa.table({"key": [3], "zone": ["b"]}), evolve=["zone"]).version
    third = write(table, keys(9), mode="replace").version
    assert rows(table, version=first) == rows(table, as_of=moment.isoformat()) == [1, 2]
    assert wb.open_table(table, version=first).schema.names == ["key", "ms"]
    assert rows(table, version=second) == [1, 2, 3]
    assert rows(table, "zone", version=second) == ["b", None, None]
    assert (rows(table), wb.open_table(table).snapshot) == ([9], third)
    assert int(wb.cube(wb.open_table(table, version=second))["count"]) == 3


def test_what_is_not_there_is_told(table):
    write(table, keys(1))
    for options, words in [
        ({"version": 7}, "has no version 7"), ({"version": "approved"}, "labelled 'approved'"),
        ({"as_of": "1999-01-01"}, "its first was committed"), ({"as_of": "soon"}, "no moment"),
        ({"version": 1, "as_of": "2026-01-01"}, "give one of them"), ({"since": 9}, "since=9"),
    ]:  # fmt: skip
        with pytest.raises(WorkbenchError, match=words):
            wb.open_table(table, **options)
    with pytest.raises(WorkbenchError, match="declare it with evolve"):
        write(table, pa.table({"key": [1], "new": [2]}))
    with pytest.raises(WorkbenchError, match="does not fit the table"):
        write(table, pa.table({"key": ["one"]}))


def test_every_stored_type_comes_back(table):
    given = pa.table({
        "i": pa.array([1, None], pa.uint32()), "f": pa.array([0.5, float("nan")], pa.float32()),
        "t": pa.array([1_000_000_001, None], pa.timestamp("ns")), "d": pa.array(["a", None]).dictionary_encode(),
        "b": [True, None], "day": pa.array([3, None], pa.date32()), "n": [[1, 2], None], "z": pa.nulls(2),
    })  # fmt: skip
    write(table, given)
    found = wb.open_table(table)
    assert found.kinds == {"i": "integer", "f": "number", "t": "time", "d": "text", "b": "boolean", "day": "time",
                           "n": "other", "z": "text"}  # fmt: skip
    (part,) = [part for piece in found.pieces() for part in found.batches(piece)]
    assert part.column("t").cast(pa.int64()).to_pylist() == [1_000_000, None]
    assert part.column("i").to_pylist() == [1, None]


def _commits(table, start, count):
    for number in range(start, start + count):
        write(table, pa.table({"key": [number]}))


def test_two_processes_with_a_hundred_commits_each_are_all_there(table):
    write(table, pa.table({"key": pa.array([], pa.int64())}))
    spawn = multiprocessing.get_context("spawn")
    both = [spawn.Process(target=_commits, args=(table, start, 100)) for start in (0, 100)]
    for one in both:
        one.start()
    for one in both:
        one.join(120)
    assert [one.exitcode for one in both] == [0, 0]
    assert rows(table) == list(range(200))
    assert snapshot(table).version == 201


def test_two_collections_at_a_time_take_each_file_once(tmp_path, table):
    (tmp_path / "in").mkdir()
    for number in range(30):
        (tmp_path / "in" / f"{number}.csv").write_text(f"key\n{number}\n")
    spawn = multiprocessing.get_context("spawn")
    counted = spawn.Value("i", 0)
    both = [spawn.Process(target=_collects, args=(str(tmp_path / "in"), table, counted)) for _ in range(2)]
    for one in both:
        one.start()
    for one in both:
        one.join(60)
    assert [one.exitcode for one in both] == [0, 0]
    assert rows(table) == list(range(30))
    assert counted.value == 30


def _collects(folder, table, counted):
    for _ in range(3):
        rows = collect(folder, table, settle=0, batch_bytes=60).rows
        with counted.get_lock():
            counted.value += rows


def test_a_write_that_is_told_once_is_there_once(table):
    assert write(table, keys(1), once=("prepare", 5)).rows == 1
    assert write(table, keys(1), once=("prepare", 5)).skipped
    assert write(table, keys(2), once=("prepare", 6)).rows == 1
    assert write(table, keys(3), once=("other", 1)).rows == 1
    assert rows(table) == [1, 2, 3]


def test_the_difference_by_key_and_by_rows(table):
    write(table, pa.table({"key": [1, 2, 3, 4], "ms": [10, 20, 30, None]}))
    after = pa.table({"key": [2, 3, 4, 5], "ms": [20, 31, None, 50], "zone": ["a", "b", "c", "d"]})
    write(table, after, mode="replace", evolve="zone")
    found = versions.difference(table, 1, key="key")
    assert found.counts == {"added": 1, "removed": 1, "changed": 1, "same": 2}
    assert found.changed.to_dict("records") == [{"key": 3, "column": "ms", "before": 30, "after": 31}]
    assert (list(found.added["key"]), list(found.removed["key"])) == ([5], [1])
    assert found.schema.to_dict("records") == [{"column": "zone", "change": "added", "before": None, "after": "string"}]
    plain = versions.difference(table, 1)
    assert plain.counts == {"added": 2, "removed": 2, "changed": 0, "same": 2}
    with pytest.raises(WorkbenchError, match="did you mean 'key'"):
        versions.difference(table, 1, key="kei")
    write(table, keys(5))
    with pytest.raises(WorkbenchError, match="1 rows of version 4 have a key"):
        versions.difference(table, 1, 4, key="key")


@given(st.lists(st.integers(0, 5), max_size=12), st.lists(st.integers(0, 5), max_size=12))
@settings(max_examples=100)
def test_surplus_is_the_difference_of_multisets(mine, other):
    marked = _surplus(np.array(mine, np.uint64), np.array(other, np.uint64))
    left = list(other)
    expected = sorted(one for one in mine if one not in left or left.remove(one))
    assert sorted(np.array(mine)[marked].tolist() if mine else []) == expected


def test_compaction_changes_no_row_and_rolls_back(table):
    for number in range(6):
        write(table, keys(number))
    told = versions.compact(table)
    assert told == {"added": 1, "removed": 6}
    assert rows(table) == list(range(6))
    assert versions.difference(table, 6).counts["same"] == 6
    assert versions.compact(table)["removed"] == 0
    assert rows(table, since=4) == [4, 5]
    back = versions.rollback(table, 2)
    assert (rows(table), snapshot(table).version) == ([0, 1], back)
    with pytest.raises(WorkbenchError, match="removed rows"):
        wb.open_table(table, since=4)
    told = versions.history(table)
    assert list(told["version"]) == list(range(back, -1, -1))
    assert list(told["operation"])[:2] == ["rollback", "compact"]
    assert (told.iloc[0]["rows"], told.iloc[0]["removed_rows"]) == (2, 6)


def test_a_vacuum_breaks_no_version_that_a_run_a_cube_or_a_label_refers_to(tmp_path, table):
    for number in range(8):
        write(table, keys(number), mode="replace")
    runs = tmp_path / "runs"
    for name, sources in {
        "20260101T000000Z": [{"source": table, "version": "x", "snapshot": 2}],
        ".20260101T000001Z.partial": [{"source": table, "version": "x", "snapshot": 3}],
        "20260101T000002Z": [{"source": table, "version": wb.open_table(table, version=4).version}],
        "20260101T000003Z": [{"source": "/elsewhere", "version": "x", "snapshot": 1}],
    }.items():
        (runs / "quality" / name).mkdir(parents=True)
        (runs / "quality" / name / "run.json").write_text(json.dumps({"status": "good", "sources": sources}))
    wb.save_cube(wb.cube(wb.open_table(table, version=5)), runs / "quality" / "20260101T000003Z" / "cube.nc")
    versions.label(table, 6, "approved", by="ann")
    would = versions.vacuum(table, hours=0, runs=runs, dry=True)
    assert rows(table, version=1) == [0]
    gone = versions.vacuum(table, hours=0, runs=runs)
    assert len(gone["files"]) == len(would["files"]) == 2  # of versions 1 and 7
    assert gone["kept"] == [2, 3, 4, 5, 6, 8]
    for version in gone["kept"]:
        assert rows(table, version=version) == [version - 1]
    assert rows(table, version="approved") == [5]
    with pytest.raises(WorkbenchError, match="vacuumed or deleted"):
        wb.open_table(table, version=1)
    with pytest.raises(WorkbenchError, match="no folder"):
        versions.vacuum(table, runs=tmp_path / "nowhere")
    assert collect(_source(tmp_path), table, settle=0, lacking="null").rows == 1


def _source(tmp_path):
    (tmp_path / "a.csv").write_text("key,ms\n100,1\n")
    return tmp_path / "a.csv"


def test_labels_move_and_stay_on_record(table):
    write(table, keys(1))
    write(table, keys(2))
    versions.label(table, 1, "approved", by="ann", note="checked")
    versions.label(table, 2, "approved", by="bob")
    assert [one["version"] for one in versions.labels(table)["approved"]] == [1, 2]
    assert rows(table, version="approved") == [1, 2]
    with pytest.raises(WorkbenchError, match="no label"):
        versions.label(table, 1, "../x")
    with pytest.raises(WorkbenchError, match="has no version 9"):
        versions.label(table, 9, "approved")


def test_the_layout_is_what_cubes_read_fast(table):
    import pyarrow.parquet as pq

    count = 50_000
    times = pa.array(np.random.default_rng(1).permutation(count), pa.timestamp("us", "UTC"))
    write(table, pa.table({"time": times, "model": ["a", "b"] * (count // 2), "ms": np.arange(count)}), time="time")
    (one,) = snapshot(table).files
    file = pq.ParquetFile(f"{home(table).folder}/{one.path}")
    group = file.metadata.row_group(0)
    told = {group.column(i).path_in_schema: group.column(i) for i in range(3)}
    assert (file.metadata.num_row_groups, told["ms"].compression) == (1, "ZSTD")
    assert (told["model"].has_dictionary_page, told["ms"].has_dictionary_page) == (True, False)
    assert file.read()["time"].to_pylist() == sorted(file.read()["time"].to_pylist())
    assert pa.table(load(home(table)).get_add_actions(flatten=True))["max.ms"].to_pylist() == [count - 1]


def test_a_table_that_another_tool_wrote_in_partitions_is_read_with_its_types(table):
    import datetime

    from deltalake import DeltaTable, write_deltalake

    days = pa.array([datetime.date(2026, 11, 1), datetime.date(2026, 11, 2), None])
    write_deltalake(
        table, pa.table({"day": days, "zone": ["a b", "ü/x", "c"], "n": [1, 2, 3]}), partition_by=["day", "zone"]
    )
    found = wb.open_table(table)
    assert (found.kinds, found.rows) == ({"day": "time", "zone": "text", "n": "integer"}, 3)
    assert rows(table, "zone") == ["a b", "c", "ü/x"]
    assert [str(one)[:10] for one in rows(table, "day")[:2]] == ["2026-11-01", "2026-11-02"]
    assert rows(table, "day")[2] is None
    DeltaTable(table).delete("n = 2")
    assert rows(table, "n") == [1, 3]
    assert rows(table, "n", version=0) == [1, 2, 3]
    assert int(wb.cube(found, by=[wb.Category("zone")])["count"].sum()) == 3
    assert versions.difference(table, 0, 1).counts == {"added": 0, "removed": 1, "changed": 0, "same": 2}


MAPPED = {"delta.columnMapping.id": 1, "delta.columnMapping.physicalName": "col-1"}
MARKED = {"storageType": "i", "pathOrInlineDv": "wi5b=000010000siXQKl0rr91000f55c8Xg0@@D72lkbi5=-{L", "sizeInBytes": 40,
          "cardinality": 1}  # fmt: skip


@pytest.mark.parametrize(
    ("feature", "settings", "field", "more", "reads", "writes"),
    [
        ("deletionVectors", {}, {}, {"deletionVector": MARKED}, "marks rows as deleted in its files", ""),
        ("deletionVectors", {"delta.enableDeletionVectors": "true"}, {}, {}, "", ""),
        (
            "columnMapping",
            {"delta.columnMapping.mode": "name"},
            MAPPED,
            {},
            "renames its columns",
            "delta.columnMapping",
        ),
        ("columnMapping", {"delta.columnMapping.mode": "id"}, MAPPED, {}, "renames its columns", "delta.columnMapping"),
        ("timestampNtz", {"delta.constraints.few": "n < 9"}, {}, {}, "", "delta.constraints.few"),
        ("neverHeardOf", {}, {}, {}, "whose log cannot be opened", "whose log cannot be opened"),
    ],
)
def test_what_another_tool_asks_of_its_table_is_kept_or_refused(table, feature, settings, field, more, reads, writes):
    (Path(table) / "_delta_log").mkdir(parents=True)
    pq.write_table(pa.table({"n": [1, 2]}), Path(table) / "a.parquet")
    schema = {"type": "struct", "fields": [{"name": "n", "type": "long", "nullable": True, "metadata": field}]}
    size = (Path(table) / "a.parquet").stat().st_size
    actions = [
        {"protocol": {"minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": [feature], "writerFeatures": [feature]}},
        {"metaData": {"id": "x", "format": {"provider": "parquet", "options": {}}, "schemaString": json.dumps(schema),
                      "partitionColumns": [], "configuration": settings, "createdTime": 1}},
        {"add": {"path": "a.parquet", "partitionValues": {}, "size": size, "modificationTime": 1, "dataChange": True, **more}},
    ]  # fmt: skip
    (Path(table) / "_delta_log" / f"{0:020}.json").write_text("\n".join(map(json.dumps, actions)) + "\n")
    if reads:
        with pytest.raises(WorkbenchError, match=reads):
            wb.open_table(table)
    else:
        assert rows(table, "n") == [1, 2]
    if writes:
        with pytest.raises(WorkbenchError, match=writes):
            write(table, pa.table({"n": [3]}))
    else:
        write(table, pa.table({"n": [3]}))


def test_partitions_of_another_tool_are_not_written_to(table):
    from deltalake import write_deltalake

    write_deltalake(table, pa.table({"day": ["a", "b"], "n": [1, 2]}), partition_by=["day"])
    with pytest.raises(WorkbenchError, match="partitions by day"):
        write(table, pa.table({"day": ["c"], "n": [3]}))
