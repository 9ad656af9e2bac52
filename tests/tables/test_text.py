"""CSV and JSON lines: types that are learned, spellings of missing, packed files, and values that do not fit."""

import csv
import datetime
import gzip
import io
import json
import math

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from workbench.errors import WorkbenchError
from workbench.tables import open_table, text, text_csv, text_json

UTC = datetime.UTC
HEALTH = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)


@pytest.fixture
def write(tmp_path):
    def one(name, content):
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        return tmp_path / name

    return one


@pytest.fixture
def small_blocks(monkeypatch):
    """Files of a few kilobytes are read as the largest ones are: in many blocks, their types from samples."""
    for module in (text, text_csv, text_json):
        for name, size in (("BLOCK", 2_000), ("WHOLE", 4_000), ("PART", 500)):
            if hasattr(module, name):
                monkeypatch.setattr(module, name, size)


def read(table):
    rows = [rows for piece in table.pieces() for rows in table.batches(piece)]
    return {name: [one for part in rows for one in part.column(name).to_pylist()] for name in table.schema.names}


def wrong(match, path, **options):
    with pytest.raises(WorkbenchError, match=match) as caught:
        read(open_table(path, **options))
    assert "\n" not in str(caught.value)


def test_types_are_learned_from_the_whole_file(write):
    path = write(
        "t.csv",
        "n,x,day,at,zoned,flag,name,huge\n"
        "1,1,2026-03-02,2026-03-02T01:02:03,2026-03-02T01:00:00+01:00,true,a,1\n"
        "-2,2.5,2026-03-03,2026-03-02 01:02:03.1234567,2026-03-02T00:00:00Z,false,1,9223372036854775808\n",
    )
    table = open_table(path)
    assert (table.rows, " ".join(table.kinds.values())) == (2, "integer number time time time boolean text number")
    found = read(table)
    assert found["n"] == [1, -2]
    assert found["at"][1] == datetime.datetime(2026, 3, 2, 1, 2, 3, 123456, tzinfo=UTC)
    assert found["zoned"] == [datetime.datetime(2026, 3, 2, tzinfo=UTC)] * 2
    assert found["name"] == ["a", "1"]


def test_missing_spellings_and_nan(write):
    path = write("t.csv", "x,s\nNaN,NaN\n,\nNA,NA\nN/A,N/A\nNULL,null\n\\N,\\N\n-,-\n".replace("-,-\n", "inf,-\n"))
    found = read(open_table(path))
    assert math.isnan(found["x"][0])
    assert found["x"][1:] == [None] * 5 + [math.inf]
    assert found["s"] == ["NaN"] + [None] * 5 + ["-"]
    assert read(open_table(path, missing=["-"]))["s"] == ["NaN", "", "NA", "N/A", "null", "\\N", None]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_byte_order_mark_delimiter_and_line_ends_in_quotes(write, delimiter):
    lines = [["a", "b, c; d"], ["1", '"x\r\n\r\ny"'], ["2", '"say ""hi"""']]
    lines[0][1] = '"b, c; d"'
    path = write("t.csv", "\ufeff" + "\r\n".join(delimiter.join(line) for line in lines))
    assert read(open_table(path)) == {"a": [1, 2], "b, c; d": ["x\r\n\r\ny", 'say "hi"']}


def test_a_header_alone_is_a_table_without_rows(write):
    for content in ("a,b", "a,b\n", "\n\na,b\n"):
        table = open_table(write("t.csv", content))
        assert (table.rows, table.schema.names, read(table)) == (0, ["a", "b"], {"a": [], "b": []})


def test_a_column_without_a_name_gets_one(write):
    assert open_table(write("t.csv", ",a\n0,1\n")).schema.names == ["unnamed_0", "a"]


@pytest.mark.parametrize("suffix", ["csv", "csv.gz", "csv.zst", "tsv", "jsonl", "json", "ndjson.gz", "jsonl.zst"])
def test_endings_and_packing(write, suffix):
    plain = b'{"a": 1, "b": "x"}\n' if "json" in suffix else b"a\tb\n1\tx\n" if suffix == "tsv" else b"a,b\n1,x\n"
    packed = plain
    if suffix.endswith("gz"):
        packed = gzip.compress(plain)
    elif suffix.endswith("zst"):
        packed = pa.Codec("zstd").compress(plain, asbytes=True)
    assert read(open_table(write(f"t.{suffix}", packed))) == {"a": [1], "b": ["x"]}


def test_codes_stay_text_when_asked(write):
    found = read(open_table(write("t.csv", "zip,n\n00501,1\n"), types={"zip": "text", "n": "number"}))
    assert found == {"zip": ["00501"], "n": [1.0]}
    assert read(open_table(write("t.jsonl", '{"code": 7}\n'), types={"code": "text"})) == {"code": ["7"]}


def test_nested_values_are_other_and_absent_keys_are_missing(write):
    path = write(
        "t.jsonl", '{"a": 1, "o": {"x": 1}, "t": "2026-03-02T00:00:00.5Z"}\n\n{"a": 2.5, "o": {"y": [2]}, "late": true}'
    )
    table = open_table(path)
    assert table.kinds == {"a": "number", "o": "other", "t": "time", "late": "boolean"}
    found = read(table)
    assert found["a"] == [1.0, 2.5]
    assert found["t"] == [datetime.datetime(2026, 3, 2, 0, 0, 0, 500_000, tzinfo=UTC), None]
    assert found["late"] == [None, True]
    assert found["o"][1]["y"] == [2]


def test_integers_of_json_beyond_64_bits_become_numbers(write):
    assert read(open_table(write("t.jsonl", '{"a": 9223372036854775808}\n{"a": 1}\n'))) == {"a": [2.0**63, 1.0]}


def test_files_of_json_lines_may_lack_a_key(write):
    write("1.jsonl", '{"a": 1, "t": "2026-03-02"}\n')
    table = open_table(write("2.jsonl", '{"a": 2, "b": "x"}\n').parent)
    assert read(table) == {"a": [1, 2], "t": [datetime.datetime(2026, 3, 2, tzinfo=UTC), None], "b": [None, "x"]}


def test_json_values_of_several_kinds(write):
    path = write("t.jsonl", '{"a": 1}\n{"a": "x"}\n{"a": {"b": "é"}}\n{"a": null}\n')
    wrong(r"values of several kinds in column 'a' \(number and string\): .*types=\{'a': \"text\"\}", path)
    assert read(open_table(path, types={"a": "text"})) == {"a": ["1", "x", '{"b": "é"}', None]}


@pytest.mark.parametrize(
    ("name", "content", "match"),
    [
        ("t.csv", "a,b\n1,2\n3\n", r"t\.csv' is not well-formed CSV: .*Row #3: Expected 2 columns, got 1"),
        ("t.csv", b"a\n\xff\xfe\xfa\n", r"t\.csv' is not UTF-8 text"),
        ("t.csv", "a,b\n1,2\n".encode("utf-16"), r"t\.csv' is UTF-16 text: save it as UTF-8"),
        ("t.csv", " \n\n", r"t\.csv' is empty: it holds only blank lines"),
        ("t.jsonl", '{"a": 1}\n{"a": 2', r"t\.jsonl' is not well-formed JSON lines"),
        ("t.json", '[{"a": 1}]', "is a JSON array, and JSON lines are wanted"),
        ("t.jsonl", "1\n2\n", "is not JSON lines: a row is a number and not an object"),
        ("t.csv.gz", gzip.compress(b"a\n" + b"1\n" * 10_000, mtime=0)[:-12], r"t\.csv\.gz' cannot be read: Truncated"),
        ("t.csv.gz", b"a\n1\n", r"t\.csv\.gz' cannot be read: .*incorrect header"),
        (
            "t.jsonl.zst",
            pa.Codec("zstd").compress(b'{"a":1}\n' * 9_000, asbytes=True)[:-4],
            r"zst' cannot be read: Truncated",
        ),
    ],
)
def test_a_broken_file_is_named(write, name, content, match):
    wrong(match, write(name, content))


def test_a_value_that_does_not_fit_what_was_asked(write):
    path = write("t.csv", "a,b\n1,x\n")
    wrong(
        r"t\.csv', column 'b', row 2: the invalid value 'x' is no int64, as types asks; .*types=\{'b'",
        path,
        types={"b": "integer"},
    )
    wrong("has a value in column 'b' .* no time: .*'x'", path, types={"b": "time"})
    wrong("in column 'a' the value '1.5', which is no int64", write("t.jsonl", '{"a": 1.5}\n'), types={"a": "integer"})


def test_a_large_file_is_sampled_and_a_later_misfit_is_named(write, small_blocks):
    lines = [f"{number},{number % 7}" for number in range(2_000)]
    path = write("t.csv", "a,b\n" + "\n".join(lines) + "\n")
    table = open_table(path)
    assert (table.rows, table.kinds) == (None, {"a": "integer", "b": "integer"})
    assert read(table)["a"] == list(range(2_000))
    lines[500] = "oops,1"
    wrong(
        r"t\.csv', column 'a'.*invalid value 'oops' is no int64.*types=\{'a': \"text\"\}",
        write("t.csv", "a,b\n" + "\n".join(lines)),
    )
    lines[500], lines[-1] = "500,1", "1.5,1"  # the end of a file is always seen
    assert open_table(write("t.csv", "a,b\n" + "\n".join(lines))).kinds["a"] == "number"


def test_a_large_json_file_is_sampled_and_a_later_misfit_is_named(write, small_blocks):
    rows = [{"a": number, "o": {"x": 1}} for number in range(500)]
    rows[200]["o"] = {"new": 2}
    table = open_table(write("t.jsonl", "\n".join(map(json.dumps, rows))))
    assert (table.rows, read(table)["a"]) == (None, list(range(500)))
    wrong(
        "has in column 'a' the value '1.5'",
        write("t.jsonl", "\n".join(map(json.dumps, [*rows[:99], {"a": 1.5}, *rows]))),
    )
    path = write("t.jsonl", "\n".join(map(json.dumps, [*rows[:99], {"a": 1, "new": 1}, *rows])))
    wrong("has column 'new', which the parts of the file read at opening lack", path)
    assert len(read(open_table(path, columns=["a"]))["a"]) == 600


def test_conditions_and_column_choice_hold_for_text(write):
    path = write("t.csv", "a,b,c\n1,x,\n2,y,\n3,x,\n")
    table = open_table(path, columns=["b"], where=[("a", ">", 1), ("b", "==", "x")])
    assert (table.schema.names, table.rows, read(table)) == (["b"], None, {"b": ["x"]})
    assert table.bounds("b") is None
    assert open_table(path).sample(2, ["a"])["a"].type == pa.int64()


def test_a_text_file_that_changed_is_named(write):
    table = open_table(write("t.csv", "a\n1\n"))
    write("t.csv", "a\n1\n2\n")
    with pytest.raises(WorkbenchError, match="changed after the table was opened"):
        read(table)


TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0\r", exclude_categories=["Cs"]), max_size=6).filter(
    lambda one: one not in ("", "NULL", "null", "NA", "N/A", "\\N")
)
CELLS = st.tuples(st.none() | st.integers(-(2**63), 2**63 - 1), st.floats(width=64), st.none() | TEXT)


def same(left, right):
    return left == right or (
        isinstance(left, float) and isinstance(right, float) and math.isnan(left) and math.isnan(right)
    )


@HEALTH
@given(rows=st.lists(CELLS, min_size=1, max_size=8))
def test_what_python_writes_as_csv_comes_back(write, rows):
    text_of = io.StringIO()
    writer = csv.writer(text_of, lineterminator="\n")
    writer.writerow(["i", "f", "s"])
    writer.writerows([["" if one is None else one for one in row] for row in rows])
    found = read(open_table(write("t.csv", text_of.getvalue()), types={"i": "integer", "f": "number", "s": "text"}))
    assert all(
        same(a, b)
        for row, back in zip(rows, zip(*found.values(), strict=True), strict=True)
        for a, b in zip(row, back, strict=True)
    )


@HEALTH
@given(
    rows=st.lists(
        st.tuples(st.none() | st.integers(-(2**63), 2**63 - 1), st.none() | st.text(max_size=5)), min_size=1, max_size=8
    )
)
def test_what_python_writes_as_json_comes_back(write, rows):
    lines = "\n".join(json.dumps({"i": i, "s": s}) for i, s in rows)
    found = read(open_table(write("t.jsonl", lines), types={"i": "integer", "s": "text"}))
    assert list(zip(found["i"], found["s"], strict=True)) == rows
