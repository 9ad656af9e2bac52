"""Opening: addresses, and every mistake answered by a sentence that names it."""

import importlib.util
import os
import re
import threading
import time
from functools import partial

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from workbench.errors import WorkbenchError
from workbench.tables import open_table
from workbench.tables.opening import many, timed


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "a.csv").write_text("model,latency_s\nx,1.5\n")
    return tmp_path


@pytest.fixture
def memory():
    system = fsspec.filesystem("memory")
    yield system
    system.store.clear()
    system.pseudo_dirs[:] = [""]


def wrong(match, *arguments, **options):
    with pytest.raises(WorkbenchError, match=match) as caught:
        open_table(*arguments, **options)
    assert "\n" not in str(caught.value)


def test_a_missing_column_lists_the_nearest_names(folder):
    wrong(r"lacks column 'latency': did you mean 'latency_s'\?", folder / "a.csv", columns=["latency"])
    wrong("lacks columns 'p': .*; 'q': the choices are 'model', 'latency_s'", folder / "a.csv", columns=["p", "q"])
    wrong("names a column twice", folder / "a.csv", columns=["model", "model"])
    wrong("is empty", folder / "a.csv", columns=[])


def test_a_path_that_does_not_exist_lists_its_neighbours(folder):
    wrong(r"'.*/b\.csv' does not exist: did you mean 'a\.csv'\?", folder / "b.csv")
    wrong("its folder '.*/deep' does not exist either", folder / "deep" / "b.csv")


def test_an_empty_source(tmp_path):
    wrong("is empty: it holds no data file", tmp_path)
    wrong(r"no file matches '.*\*\.csv'", tmp_path / "*.csv")
    for name in ("a.parquet", "a.csv", "a.jsonl"):
        (tmp_path / name).touch()
        wrong(f"{re.escape(name)}' is empty: it has no bytes", tmp_path / name)


def test_formats_are_known_and_not_mixed(folder):
    (folder / "b.xlsx").write_text("x")
    wrong(r"b\.xlsx' has the unknown ending '\.xlsx': known are \.parquet", folder / "b.xlsx")
    assert open_table(folder).rows == 1  # files that are no table are passed over
    (folder / "c.jsonl").write_text("{}")
    wrong(r"mixes formats, 'a\.csv' is csv and 'c\.jsonl' is json", folder)
    assert open_table(folder / "*.csv").rows == 1


def test_parquet_needs_no_ending_and_hidden_files_are_passed_over(tmp_path):
    pq.write_table(pa.table({"a": [1]}), tmp_path / "part-0")
    (tmp_path / "_SUCCESS").touch()
    (tmp_path / ".crc").write_text("x")
    assert open_table(tmp_path).rows == open_table(tmp_path / "part-0").rows == 1


def test_a_delta_table_without_its_log_is_not_taken_for_its_files(tmp_path):
    (tmp_path / "_delta_log").mkdir()
    wrong("is a Delta table whose log cannot be opened", tmp_path)


def test_schemas_that_differ_name_the_file_and_the_column(tmp_path):
    pq.write_table(pa.table({"a": [1], "b": [1]}), tmp_path / "1.parquet")
    pq.write_table(pa.table({"a": ["x"], "b": [1], "c": [1]}), tmp_path / "2.parquet")
    wrong(
        r"column 'a' is text \(string\) in '.*2\.parquet' but integer \(int64\) in '.*1\.parquet'",
        tmp_path,
        columns=["a"],
    )
    wrong(r"1\.parquet' lacks column 'c', which '.*2\.parquet' has.* with columns=", tmp_path, columns=["c"])
    wrong("different schemas", tmp_path)
    assert open_table(tmp_path, columns=["b"]).rows == 2
    assert open_table(tmp_path, columns=["a"], types={"a": "text"}).kinds == {"a": "text"}


def test_integers_and_numbers_are_one_kind_in_text_but_two_in_parquet(tmp_path):
    (tmp_path / "1.csv").write_text("a\n1\n")
    (tmp_path / "2.csv").write_text("a\n1.5\n")
    assert open_table(tmp_path).kinds == {"a": "number"}
    for name, value in (("1", 1), ("2", 1.5)):
        pq.write_table(pa.table({"a": [value]}), tmp_path / f"{name}.parquet")
    wrong("column 'a' is number", tmp_path / "*.parquet")
    assert open_table(tmp_path / "*.parquet", types={"a": "number"}).kinds == {"a": "number"}


def test_two_columns_of_one_name(tmp_path):
    pq.write_table(pa.Table.from_arrays([pa.array([1]), pa.array([2])], ["a", "a"]), tmp_path / "t.parquet")
    (tmp_path / "t.csv").write_text("a,a\n1,2\n")
    (tmp_path / "t.jsonl").write_text('{"a": 1, "a": 2}\n')
    wrong("2 columns named 'a'", tmp_path / "t.parquet")
    wrong("2 columns named 'a'", tmp_path / "t.csv")
    wrong("two columns named 'a'", tmp_path / "t.jsonl")


def test_files_must_lie_equally_deep_in_key_value_folders(tmp_path):
    (tmp_path / "day=1").mkdir()
    for path in ("day=1/a.parquet", "b.parquet"):
        pq.write_table(pa.table({"a": [1]}), tmp_path / path)
    wrong(r"'b\.parquet' is not in a folder named 'day=\.\.\.'", tmp_path)


@pytest.mark.parametrize(
    ("where", "match"),
    [
        ([("modl", "==", "x")], "where names column 'modl'.*did you mean 'model'"),
        ([("model", "=", "x")], "where has operation '=' for 'model': the choices are|where has operation '='.*'=='"),
        ([("model", "==", 1)], "where compares column 'model', which is text, with 1 of type int"),
        ([("latency_s", ">", "fast")], "'latency_s', which is number, with 'fast'"),
        ([("latency_s", ">", True)], "which is number, with True of type bool"),
        ([("model", "in", "x")], "give a list of values"),
        ([("model", "==")], "without a value"),
        (["model"], "a condition is"),
    ],
)
def test_conditions_that_make_no_sense(folder, where, match):
    wrong(match, folder / "a.csv", where=where)


def test_types_that_make_no_sense(folder):
    wrong("types names column 'modl'.*did you mean 'model'", folder / "a.csv", types={"modl": "text"})
    wrong("types has 'txt' for column 'model'.*did you mean 'text'", folder / "a.csv", types={"model": "txt"})


def test_protocols(tmp_path):
    wrong(r"has the unknown protocol 'htp': did you mean '.*http", "htp://x/y.csv")
    if importlib.util.find_spec("s3fs") is None:
        wrong("needs the package 's3fs' for s3:// addresses, which is not installed: pip install s3fs", "s3://x/y.csv")


def test_any_address(folder, memory):
    with memory.open("/logs/day=1/a.parquet", "wb") as file:
        pq.write_table(pa.table({"a": [1, 2], "s": ["x", "y"]}), file)
    memory.pipe("/text/a.csv", b"a\n1\n")
    table = open_table("memory://logs")
    [rows] = table.batches(table.pieces()[0])
    assert {name: rows.column(name).to_pylist() for name in table.schema.names} == {
        "a": [1, 2],
        "s": ["x", "y"],
        "day": [1, 1],
    }
    assert open_table("memory://text/*.csv").rows == 1
    assert open_table(f"file://{folder}/a.csv").version == open_table(folder / "a.csv").version
    wrong("'memory://logz' does not exist: did you mean 'logs'", "memory://logz")


def test_text_is_read_as_a_time_where_it_is_asked_for(tmp_path):
    days = ["2026-03-02", " 2026-03-02 12:00", "2026-03-02T14:30:00.123456789+02:00", "2026-03-02T12Z", "", None]
    pq.write_table(pa.table({"day": days, "word": ["soon"] * len(days)}), tmp_path / "t.parquet")
    table = timed(tmp_path / "t.parquet", "day", where=[("day", ">=", "2026-03-02T12:00")])
    assert table.kinds == {"day": "time", "word": "text"}
    (rows,) = table.batches(table.pieces()[0])
    found = [str(one) for one in rows.column("day").cast(pa.timestamp("us")).to_pylist()]
    assert found == ["2026-03-02 12:00:00", "2026-03-02 12:30:00.123456", "2026-03-02 12:00:00"]
    (rows,) = timed(tmp_path / "t.parquet", "day").batches(table.pieces()[0])
    assert rows.column("day").null_count == 2, "empty text is a missing time"
    assert timed(tmp_path / "t.parquet", "").kinds == {"day": "text", "word": "text"}


@pytest.mark.parametrize("encode", [True, False])
def test_the_first_text_that_is_no_time_is_named(tmp_path, encode):
    days = ["2026-03-02", "2026-03-02T12:00Z", "14/10/2015", "soon", "2026-02-30"]
    pq.write_table(pa.table({"day": days}), tmp_path / "t.parquet", use_dictionary=encode)
    table = timed(tmp_path / "t.parquet", "day")
    with pytest.raises(WorkbenchError, match="'day' .* no time: first '14/10/2015'; a time is ISO text such as"):
        [rows.column("day") for rows in table.batches(table.pieces()[0])]


def test_a_remote_file_that_changed_is_named(memory):
    memory.pipe("/t/a.csv", b"a\n1\n")
    table = open_table("memory://t/a.csv")
    memory.pipe("/t/a.csv", b"a\n2\n")
    with pytest.raises(WorkbenchError, match=r"memory:///t/a\.csv' changed"):
        list(table.batches(table.pieces()[0]))


def test_a_truncated_remote_file_is_named(memory):
    memory.pipe("/t/a.parquet", b"PAR1" + b"x" * 100)
    wrong(r"memory:///t/a\.parquet' is not a whole Parquet file", "memory://t")


def test_a_name_that_is_no_utf_8_is_told(tmp_path):
    write = partial(pq.write_table, pa.table({"x": [1]}))
    write(tmp_path / "ä é😀 100%.parquet")
    assert open_table(tmp_path).rows == 1
    try:
        os.rename(tmp_path / "ä é😀 100%.parquet", os.fsencode(tmp_path) + b"/\xff.parquet")
    except OSError:
        pytest.skip("this file system takes UTF-8 only")
    with pytest.raises(WorkbenchError, match=r"udcff.* has a name that is no UTF-8 .*: rename the file") as told:
        open_table(tmp_path)
    str(told.value).encode()


@pytest.mark.parametrize("first", [pa.array(["a"]), pa.array([1]), pa.array([1.5])], ids=str)
def test_a_file_without_values_fits_beside_any_kind(tmp_path, first):
    empty = pa.array([], pa.bool_())
    for name, x in (
        ("0", pa.nulls(1, pa.timestamp("us"))),
        ("1", first),
        ("2", pa.nulls(2, pa.float32())),
        ("3", empty),
    ):
        pq.write_table(pa.table({"x": x}), tmp_path / f"{name}.parquet")
    table = open_table(tmp_path)
    rows = [one for piece in table.pieces() for batch in table.batches(piece) for one in batch.column("x").to_pylist()]
    assert (table.kinds["x"], rows) == (
        open_table(tmp_path / "1.parquet").kinds["x"],
        [None, *first.to_pylist(), None, None],
    )
    pq.write_table(pa.table({"x": [True]}), tmp_path / "4.parquet")
    with pytest.raises(WorkbenchError, match="column 'x' is boolean"):
        open_table(tmp_path)


def test_what_takes_long_goes_to_threads_and_keeps_its_order():
    def slow(number):
        time.sleep(0.02)
        return number, threading.current_thread() is threading.main_thread()

    told = many(slow, range(40))
    assert [number for number, _ in told] == list(range(40))
    assert told[0][1]
    assert not told[-1][1]
    assert all(here for _, here in many(lambda number: slow(number) if number < 2 else (number, True), range(9)))
