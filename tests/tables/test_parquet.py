"""Parquet: what is read without reading data, pieces, one column at a time, and files that are broken."""

import datetime
import decimal
import os
import pickle
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from workbench.errors import WorkbenchError
from workbench.tables import open_table

UTC = datetime.UTC


def write(path, columns, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path, **options)
    return path


def values(table, name):
    return [
        value for piece in table.pieces() for rows in table.batches(piece) for value in rows.column(name).to_pylist()
    ]


def test_kinds_and_plain_values_of_every_stored_type(tmp_path):
    day = datetime.datetime(2026, 3, 2, tzinfo=UTC)
    table = open_table(
        write(
            tmp_path / "all.parquet",
            {
                "naive": pa.array([day.replace(tzinfo=None)], pa.timestamp("ns")),
                "zoned": pa.array([day], pa.timestamp("s", "America/New_York")),
                "date": pa.array([day.date()]),
                "money": pa.array([decimal.Decimal("1.50")]),
                "wait": pa.array([1500], pa.duration("ms")),
                "half": pa.array([0.5], pa.float16()),
                "small": pa.array([1], pa.int8()),
                "unsigned": pa.array([2**63 - 1], pa.uint64()),
                "huge": pa.array([2**63], pa.uint64()),
                "flag": [True],
                "large": pa.array(["x"], pa.large_string()),
                "view": pa.array(["x"], pa.string_view()),
                "code": pa.array(["x"]).dictionary_encode(),
                "nested": [{"a": {"b": 1}}],
                "dot.ted": [1],
                "nothing": pa.nulls(1),
            },
        )
    )
    assert table.kinds == {
        **dict.fromkeys(["naive", "zoned", "date"], "time"),
        **dict.fromkeys(["money", "wait", "half"], "number"),
        **dict.fromkeys(["small", "unsigned"], "integer"),
        "huge": "number",
        "flag": "boolean",
        **dict.fromkeys(["large", "view", "code"], "text"),
        "nested": "other",
        "dot.ted": "integer",
        "nothing": "other",
    }
    found = {name: values(table, name)[0] for name in table.schema.names}
    assert found["naive"] == found["zoned"] == found["date"] == day
    assert (found["money"], found["wait"], found["half"]) == (1.5, 1.5, 0.5)
    assert (found["unsigned"], found["huge"], found["dot.ted"]) == (2**63 - 1, float(2**63), 1)
    assert found["large"] == found["view"] == found["code"] == "x"
    assert found["nested"] == {"a": {"b": 1}}
    assert found["nothing"] is None


def test_decimals_are_the_nearest_floats(tmp_path):
    told = ["-9966430.70", None, "1.10", "100.30"]  # Arrow's own cast makes -9966430.700000001 of the first
    some = [None if v is None else decimal.Decimal(v) for v in told]
    columns = {
        "cents": pa.array(some, pa.decimal128(12, 2)),
        "fine": pa.array(some, pa.decimal128(38, 18)),
        "wide": pa.array(some, pa.decimal256(60, 5)),
    }
    path = write(tmp_path / "money.parquet", columns)
    for name in columns:
        assert values(open_table(path), name) == [-9966430.7, None, 1.1, 100.3]
        assert len(values(open_table(path, where=[(name, "==", -9966430.7)]), name)) == 1


@pytest.mark.parametrize(
    ("far", "said"),
    [
        (pa.array([1, 2**31 - 1], pa.int32()).cast(pa.date32()), "first 2147483647 of date32"),
        (pa.array([1, 10**16]).cast(pa.timestamp("ms", "UTC")), "first 10000000000000000 of timestamp"),
    ],
)
def test_a_time_that_no_count_of_microseconds_holds_is_told(tmp_path, far, said):
    table = open_table(write(tmp_path / "far.parquet", {"day": far, "k": [1, 2]}))
    with pytest.raises(WorkbenchError, match=f"column 'day' .* is no time: {said}.*columns="):
        values(table, "day")
    assert values(open_table(tmp_path / "far.parquet", columns=["k"]), "k") == [1, 2]


def test_opening_reads_no_data_and_the_table_travels(tmp_path):
    path = write(tmp_path / "t.parquet", {"a": list(range(10)), "b": ["x"] * 10}, row_group_size=4)
    table = pickle.loads(pickle.dumps(open_table(path, columns=["a"])))
    assert (table.rows, table.format, table.schema.names) == (10, "parquet", ["a"])
    assert table.bounds("a") == (0, 9)
    [piece] = table.pieces()
    assert (piece.parts, piece.rows) == ((0, 1, 2), 10)
    assert [rows.count for rows in table.batches(piece)] == [4, 4, 2]
    assert values(table, "a") == list(range(10))


def test_small_row_groups_are_joined_and_large_ones_left_whole(tmp_path, monkeypatch):
    monkeypatch.setattr("workbench.tables.table.PIECE_ROWS", 5)
    for number, sizes in enumerate([(2, 2, 2), (9, 1)]):
        with pq.ParquetWriter(tmp_path / f"{number}.parquet", pa.schema([("a", pa.int64())])) as writer:
            for size in sizes:
                writer.write_table(pa.table({"a": [0] * size}))
    pieces = open_table(tmp_path).pieces()
    assert [(piece.file, piece.parts, piece.rows) for piece in pieces] == [
        (0, (0, 1), 4),
        (0, (2,), 2),
        (1, (0,), 9),
        (1, (1,), 1),
    ]
    assert len({piece.key for piece in pieces}) == 4


def test_text_comes_as_a_dictionary_where_the_file_stores_one(tmp_path):
    columns = {"few": ["a", "b", None] * 2, "plain": ["a", "b", None] * 2}
    table = open_table(write(tmp_path / "t.parquet", columns, use_dictionary=["few"]))
    [rows] = table.batches(table.pieces()[0])
    assert rows.column("few").type == pa.dictionary(pa.int32(), pa.string())
    assert rows.column("plain").type == pa.string()
    assert rows.column("few").to_pylist() == rows.column("plain").to_pylist() == columns["few"]


def test_a_dictionary_that_overflowed_is_read_as_text(tmp_path):
    names = [f"{number:040d}" for number in range(100_000)]
    table = open_table(write(tmp_path / "t.parquet", {"name": names}))
    [rows] = table.batches(table.pieces()[0])
    assert rows.column("name").type == pa.string()


def test_width_nullability_and_storage_of_a_kind_reconcile(tmp_path):
    write(tmp_path / "1.parquet", {"i": pa.array([1], pa.int16()), "s": pa.array(["a"]).dictionary_encode(), "n": pa.nulls(1),
                                   "t": pa.array([0], pa.timestamp("ns"))})  # fmt: skip
    schema = pa.schema([pa.field("i", pa.int32(), nullable=False), ("s", pa.large_string()), ("n", pa.float32()),
                        ("t", pa.timestamp("ms", "UTC"))])  # fmt: skip
    pq.write_table(pa.table({"i": [2], "s": ["b"], "n": [0.5], "t": [1]}, schema), tmp_path / "2.parquet")
    table = open_table(tmp_path)
    assert table.kinds == {"i": "integer", "s": "text", "n": "number", "t": "time"}
    assert [values(table, name) for name in ("i", "s", "n")] == [[1, 2], ["a", "b"], [None, 0.5]]


def test_folders_named_key_value_become_columns(tmp_path):
    for day, region in (("2026-03-02", "eu"), ("2026-03-03", "__HIVE_DEFAULT_PARTITION__")):
        write(tmp_path / f"day={day}" / f"region={region}" / "part.parquet", {"a": [1, 2]})
    table = open_table(tmp_path)
    assert table.kinds == {"a": "integer", "day": "time", "region": "text"}
    assert values(table, "region") == ["eu", "eu", None, None]
    assert table.bounds("day") == (1_772_409_600_000_000, 1_772_496_000_000_000)
    late = open_table(tmp_path, columns=["a"], where=[("day", ">", "2026-03-02")])
    assert [piece.file for piece in late.pieces()] == [1]


def test_bounds_are_unknown_without_statistics(tmp_path):
    table = open_table(write(tmp_path / "t.parquet", {"a": [1]}, write_statistics=False))
    assert table.bounds("a") is None


def test_sample_is_spread_and_the_same_every_time(tmp_path):
    path = write(tmp_path / "t.parquet", {"a": list(range(10_000)), "s": ["x"] * 10_000}, row_group_size=1_000)
    table = open_table(path)
    first, again = table.sample(500), table.sample(500)
    assert first == again
    assert len(first["a"]) == len(set(first["a"].to_pylist())) == 500
    assert {value // 1_000 for value in first["a"].to_pylist()} == set(range(10))
    assert first["s"].type == pa.string()
    assert len(table.sample(20_000, ["a"])["a"]) == 10_000


def test_a_large_table_is_sampled_by_the_heads_of_its_row_groups(tmp_path, monkeypatch):
    monkeypatch.setattr("workbench.tables.reading.SAMPLE_WHOLE", 100)
    monkeypatch.setattr("workbench.tables.reading.SAMPLE_READ", 50)
    table = open_table(write(tmp_path / "t.parquet", {"a": list(range(1_000))}, row_group_size=500))
    assert all(value % 500 < 25 for value in table.sample(20)["a"].to_pylist())


def test_version_is_the_same_for_a_copy_and_changes_with_the_content(tmp_path):
    write(tmp_path / "one" / "t.parquet", {"a": [1, 2]})
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    os.utime(tmp_path / "two" / "t.parquet", (0, 0))
    one, two = open_table(tmp_path / "one"), open_table(tmp_path / "two")
    assert one.version == two.version
    assert len(one.version) == 12
    assert one.files[0].fingerprint != two.files[0].fingerprint
    write(tmp_path / "two" / "t.parquet", {"a": [1, 3]})
    assert open_table(tmp_path / "two").version != one.version


def test_an_empty_table_has_no_rows_and_no_bounds(tmp_path):
    table = open_table(write(tmp_path / "t.parquet", {"a": pa.array([], pa.int64())}))
    assert (table.rows, table.bounds("a"), table.sample(5)["a"].to_pylist()) == (0, None, [])


def test_a_file_that_changed_after_opening_is_named(tmp_path):
    path = write(tmp_path / "t.parquet", {"a": [1]})
    table = open_table(path)
    write(path, {"a": [1, 2]})
    with pytest.raises(WorkbenchError, match=r"t\.parquet' changed after the table was opened"):
        values(table, "a")
    path.unlink()
    with pytest.raises(WorkbenchError, match=r"t\.parquet' is gone"):
        values(table, "a")


def test_a_file_that_changes_while_it_is_read_raises_in_the_end(tmp_path):
    path = write(tmp_path / "t.parquet", {"a": [1]})
    table = open_table(path)
    batches = table.batches(table.pieces()[0])
    assert next(batches).column("a").to_pylist() == [1]
    os.utime(path, (0, 0))
    with pytest.raises(WorkbenchError, match="changed after"):
        next(batches)


@pytest.mark.parametrize("keep", [-1, -20, 100, 5])
def test_a_truncated_file_is_named_at_opening(tmp_path, keep):
    write(tmp_path / "good.parquet", {"a": list(range(1_000))})
    path = write(tmp_path / "half.parquet", {"a": list(range(1_000))})
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(WorkbenchError, match=r"half\.parquet' .*(truncated|broken)"):
        open_table(tmp_path)


def test_a_broken_page_is_named_with_its_column_at_reading(tmp_path):
    path = write(tmp_path / "t.parquet", {"a": list(range(1_000)), "b": list(range(1_000))}, compression="zstd")
    chunk = pq.read_metadata(path).row_group(0).column(1)
    raw = bytearray(path.read_bytes())
    start = chunk.dictionary_page_offset
    raw[start + 30 : start + chunk.total_compressed_size] = b"\xff" * (chunk.total_compressed_size - 30)
    path.write_bytes(raw)
    table = open_table(path)
    assert values(table, "a") == list(range(1_000))
    with pytest.raises(WorkbenchError, match=r"t\.parquet' cannot be read: column 'b' in row group 0 is broken"):
        values(table, "b")


def test_types_change_the_kind(tmp_path):
    path = write(tmp_path / "t.parquet", {"month": [1, 2], "text": ["1", "x"]})
    assert values(open_table(path, types={"month": "text"}), "month") == ["1", "2"]
    assert open_table(path, types={"month": pa.float32()}).kinds["month"] == "number"
    with pytest.raises(WorkbenchError, match=r"t\.parquet' has a value in column 'text' .* no integer: .*'x'"):
        values(open_table(path, types={"text": "integer"}), "text")
