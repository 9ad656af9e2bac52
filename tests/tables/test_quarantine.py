"""The quarantine: what was set aside is listed with its place, mended, and taken exactly once."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

import workbench as wb
from workbench.errors import WorkbenchError
from workbench.tables import quarantine, versions
from workbench.tables.collect import collect
from workbench.tables.delta import Aside, write


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "in").mkdir()
    return tmp_path / "in"


@pytest.fixture
def table(tmp_path):
    return str(tmp_path / "table")


def rows(table, column="ms"):
    found = wb.open_table(table, columns=[column])
    values = [
        one for piece in found.pieces() for part in found.batches(piece) for one in part.column(column).to_pylist()
    ]
    return sorted(values, key=lambda one: (one is None, one))


def test_lines_are_mended_and_replayed_and_what_is_still_broken_stays(folder, table):
    (folder / "a.csv").write_text("model,ms\na,1\nb,two\nc,3\nd,four\n")
    assert collect(folder, table, settle=0, types={"ms": "integer"}).aside == 2
    (one,) = quarantine.entries(table).to_dict("records")
    assert (one["count"], one["state"], '"lines": [3, 5]' in one["where"]) == (2, "open", True)
    assert quarantine.rows(table, one["id"]) == b"model,ms\nb,two\nd,four\n"
    path = Path(quarantine.path(table, one["id"]))
    path.write_text(path.read_text().replace("two", "2"))
    done = quarantine.replay(table)
    assert (done.rows, done.aside, rows(table)) == (1, 1, [1, 2, 3])
    assert quarantine.replay(table).rows == 0
    (left,) = quarantine.entries(table).to_dict("records")
    assert quarantine.rows(table, left["id"]) == b"model,ms\nd,four\n"
    with pytest.raises(WorkbenchError, match="was replayed before"):
        quarantine.replay(table, [one["id"]])
    quarantine.drop(table, [left["id"]])
    assert quarantine.entries(table).empty
    assert set(quarantine.entries(table, open=False)["state"]) == {"replayed", "dropped"}
    assert collect(folder, table, settle=0).rows == 0


def test_a_file_is_replayed_with_what_it_needs(folder, table):
    (folder / "a.csv").write_text("model,ms\na,1\n")
    collect(folder, table, settle=0)
    (folder / "b.csv").write_text("model,ms,region\nb,2,eu\n")
    (folder / "c.csv").write_bytes("model,ms\nGrüße,3\n".encode("cp1252"))
    assert collect(folder, table, settle=0).aside == 2
    found = quarantine.entries(table).set_index("source")
    new, coded = found.loc[str(folder / "b.csv"), "id"], found.loc[str(folder / "c.csv"), "id"]
    assert quarantine.replay(table, [new], evolve="region").rows == 1
    assert quarantine.replay(table, [coded], encoding="cp1252").rows == 1
    assert rows(table) == [1, 2, 3]
    assert "Grüße" in rows(table, "model")
    assert quarantine.entries(table).empty
    assert collect(folder, table, settle=0).versions == ()


def test_a_mended_file_is_taken_by_the_next_collection(folder, table):
    (folder / "a.csv").write_text("model,ms\na,1\n")
    (folder / "b.csv").write_text("nothing that\n")
    collect(folder / "a.csv", table, settle=0)
    assert collect(folder, table, settle=0).aside == 1
    (folder / "b.csv").write_text("model,ms\nb,2\n")
    assert collect(folder, table, settle=0).rows == 1
    assert quarantine.entries(table).empty


def test_rows_that_a_contract_refuses_come_back_once(table):
    refused = pa.table({"model": ["x"], "ms": [-5]})
    write(
        table,
        pa.table({"model": ["a"], "ms": [1]}),
        aside=[Aside("ms is below 0", 1, {"rule": "ms >= 0"}, refused, source="day 1")],
    )
    (one,) = quarantine.entries(table).to_dict("records")
    assert quarantine.rows(table, one["id"]).to_pylist() == [{"model": "x", "ms": -5}]
    assert quarantine.replay(table).rows == 1
    assert rows(table) == [-5, 1]


def test_rolled_back_rows_are_set_aside_and_taken_again_by_a_replay(folder, table):
    log = folder / "a.csv"
    log.write_text("model,ms\na,1\n")
    first = collect(folder, table, settle=0).version
    log.write_text("model,ms\na,1\nb,2\n")
    (folder / "b.csv").write_text("model,ms\nc,3\n")
    collect(folder, table, settle=0)
    assert rows(table) == [1, 2, 3]
    versions.rollback(table, first)
    assert rows(table) == [1]
    assert collect(folder, table, settle=0).rows == 0
    assert sorted(quarantine.entries(table)["count"]) == [1, 1]
    assert quarantine.replay(table).rows == 2
    assert rows(table) == [1, 2, 3]
    versions.rollback(table, first, again=True)
    assert collect(folder, table, settle=0).rows == 2
    assert rows(table) == [1, 2, 3]
    assert quarantine.entries(table).empty


def test_unknown_numbers(folder, table):
    write(table, pa.table({"ms": [1]}))
    with pytest.raises(WorkbenchError, match="has set nothing aside as 'x'"):
        quarantine.rows(table, "x")
