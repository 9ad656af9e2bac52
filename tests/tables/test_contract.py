"""A contract is read with its lines, and a breach stops, sets rows aside or is told, as declared."""

from datetime import UTC, datetime

import pyarrow as pa
import pytest

from workbench.errors import WorkbenchError
from workbench.tables.clean import flow
from workbench.tables.contract import ContractBroken, check, keeps, load_contract

NOW = datetime(2026, 3, 3, tzinfo=UTC)
TEXT = """\
table: requests
columns:
  id: {type: text, nullable: false, unique: true, regex: "r-[0-9]+"}
  status: {allowed: [ok, error]}
  latency_s:
    type: number
    range: [0, 600]
    max_null_share: 0.5
  time: {type: time}
freshness: {column: time, within: 2 d}
"""


def contract(folder, text=TEXT):
    (folder / "contract.yml").write_text(text)
    return load_contract(folder / "contract.yml")


def rows(**changed):
    columns = {
        "id": ["r-1", "r-2", "r-3"],
        "status": ["ok", "error", None],
        "latency_s": [1.0, None, 600.0],
        "time": pa.array([datetime(2026, 3, 2)] * 3, pa.timestamp("us", "UTC")),
    }
    return pa.table({**columns, **changed})


def test_a_table_that_keeps_its_contract(tmp_path):
    checked = check(rows(), contract(tmp_path), now=NOW)
    assert (checked.table, checked.refused, checked.breaches) == (rows(), [], [])
    assert "latency_s: 0 <= value <= 600" in [rule.words for rule in checked.rules]


@pytest.mark.parametrize(
    ("changed", "refused"),
    [
        ({"id": ["r-1", None, "r-3"]}, {"id: is never missing": [None]}),
        ({"id": ["r-1", "r-1", "r-1"]}, {"id: is unique": ["r-1", "r-1"]}),
        ({"id": ["x r-1", "r-2", "r-3\n"]}, {"id: regex r-[0-9]+": ["x r-1", "r-3\n"]}),
        ({"status": ["OK", "ok", "ok"]}, {"status: one of ok, error": ["r-1"]}),
        ({"latency_s": [-0.1, float("nan"), 601]}, {"latency_s: 0 <= value <= 600": ["r-1", "r-2", "r-3"]}),
    ],
)
def test_rows_that_break_it_are_set_aside(tmp_path, changed, refused):
    checked = check(rows(**changed), contract(tmp_path), now=NOW)
    assert {one.reason: one.rows["id"].to_pylist() for one in checked.refused} == refused
    assert checked.table.num_rows == 3 - sum(map(len, refused.values()))


def test_a_row_is_set_aside_once(tmp_path):
    checked = check(rows(id=[None, "r-2", "x"], status=["no", "ok", "no"]), contract(tmp_path), now=NOW)
    assert [one.rows.num_rows for one in checked.refused] == [1, 1]
    assert [one.rows for one in checked.breaches] == [1, 1, 2]


@pytest.mark.parametrize(
    ("table", "told"),
    [
        (rows(latency_s=[None, None, 1.0]), "66.67% are missing"),
        (rows(latency_s=["1", "2", "3"]), "it is text"),
        (rows().drop_columns(["status"]), "there is no column 'status'"),
        (rows(time=pa.array([datetime(2026, 2, 1)] * 3)), "the newest is of 2026-02-01 00:00"),
    ],
)
def test_what_is_about_the_whole_is_told_or_stops(tmp_path, table, told):
    checked = check(table, contract(tmp_path), now=NOW)
    assert told in [one.found for one in checked.breaches]
    assert checked.table.num_rows == 3
    with pytest.raises(ContractBroken, match="nothing was committed") as stopped:
        check(table, contract(tmp_path, TEXT + "on_breach: stop\n"), now=NOW)
    assert told in str(stopped.value)
    assert "contract.yml:" in str(stopped.value)


def test_one_column_may_stop(tmp_path):
    strict = contract(tmp_path, TEXT.replace("{allowed: [ok, error]}", "{allowed: [ok, error], on_breach: stop}"))
    assert check(rows(id=["x", "r-2", "r-3"]), strict, now=NOW).table.num_rows == 2
    with pytest.raises(ContractBroken, match="contract.yml:4: status: one of ok, error, but 1 rows are not so"):
        check(rows(status=["ok", "ok", "no"]), strict, now=NOW)


def test_a_contract_is_a_step_of_a_flow(tmp_path):
    breaches = []
    more = rows(status=["no", "ok", "ok"], id=["r-4", "r-1", "r-5"])
    going = flow(keeps(contract(tmp_path), now=NOW, breaches=breaches)).run([rows(), more])
    assert going.table()["id"].to_pylist() == ["r-1", "r-2", "r-3", "r-5"], "a key is one of all tables"
    told = [("contract", "id: is unique", 1), ("contract", "status: one of ok, error", 1)]
    assert sorted((one.step, one.reason, one.rows.num_rows) for one in going.refused) == told
    assert going.counts[0].refused == len(breaches) == 2


def test_tables_of_a_flow_are_one_to_a_contract(tmp_path):
    book = contract(tmp_path, "columns: {a: {max_null_share: 0.5, on_breach: stop}}\nrows: 4\n")
    half = [pa.table({"a": pa.array([None, None], pa.int64())}), pa.table({"a": [1, 2]})]
    assert flow(keeps(book)).run(half).table().num_rows == 4, "each half by itself would break both promises"
    with pytest.raises(ContractBroken, match="66.67% are missing"):
        flow(keeps(book)).run([*half, half[0]]).table()


def test_keys_of_several_columns_extra_columns_and_least_rows(tmp_path):
    book = contract(tmp_path, "columns: {a: , b: }\nunique: [a, b]\nextra: refuse\nrows: 5\n")
    checked = check(pa.table({"a": [1, 1, 1], "b": [1, 2, 2], "c": [0, 0, 0]}), book)
    assert [one.found for one in checked.breaches] == ["there is c too", "1 rows are not so", "there are 3"]
    assert checked.table.num_rows == 2


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("columns: [\n", ":2: this is not YAML"),
        ("colums: {}\n", ":1: colums: there is no such field: did you mean 'columns'"),
        ("table: t\n", ":1: a contract needs columns"),
        ("columns:\n  a: {type: integr}\n", ":2: columns.a.type: there is no type 'integr': did you mean 'integer'"),
        ("columns:\n  a:\n    range: [5, 1]\n", ":3: columns.a.range: the low end 5 is above"),
        ("columns:\n  a: {range: 5}\n", "[low, high] is wanted"),
        ("columns:\n  a: {regex: '(?<!x)y'}\n", ":2: columns.a.regex: RE2 does not read this"),
        ("columns:\n  a: {nullable: maybe}\n", "true or false is wanted, not 'maybe'"),
        ("columns:\n  a: {max_null_share: 7}\n", "a share between 0 and 1"),
        ("columns:\n  a: {on_breach: halt}\n", ":2: columns.a.on_breach: there is no 'halt'"),
        ("columns:\n  a:\n  a:\n", ":3: 'a' stands here twice"),
        ("columns: {a: }\nunique: [b]\n", ":2: unique: there is no column 'b'"),
        ("columns: {a: }\nfreshness: {column: a, within: soon}\n", ":2: freshness.within: a length of time is wanted"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(tmp_path, text, told):
    with pytest.raises(WorkbenchError) as error:
        contract(tmp_path, text)
    assert told in str(error.value)
    assert "contract.yml" in str(error.value)


def test_a_contract_that_is_not_there():
    with pytest.raises(WorkbenchError, match="cannot be read: No such file"):
        load_contract("none.yml")
