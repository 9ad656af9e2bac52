"""Lineage: OpenLineage events as JSON lines, and the tree of what made a table and what it feeds."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest

from workbench.cli import main
from workbench.errors import WorkbenchError
from workbench.tables import lineage
from workbench.tables.delta import write


@pytest.fixture
def file(tmp_path):
    return tmp_path / "lineage.jsonl"


def test_an_event_says_what_was_read_and_written(file):
    lineage.emit(
        "prepare",
        inputs=[lineage.Data("s3://logs/raw", "3", 10, {"ms": "integer"})],
        outputs=[lineage.Data("/data/clean", "7", 9)],
        parameters={"by": "model"}, notebook_hash="abc", run="prepare/1", file=file,
    )  # fmt: skip
    start, end = [json.loads(line) for line in file.read_text().splitlines()]
    assert (start["eventType"], end["eventType"]) == ("START", "COMPLETE")
    assert start["run"]["runId"] == end["run"]["runId"]
    (read,), (wrote,) = end["inputs"], end["outputs"]
    assert (read["namespace"], read["name"], wrote["namespace"], wrote["name"]) == (
        "s3://logs",
        "raw",
        "file",
        "/data/clean",
    )
    assert read["facets"]["schema"]["fields"][0] == {"name": "ms", "type": "integer", "fields": []}
    assert read["facets"]["version"]["datasetVersion"] == "3"
    assert (
        read["inputFacets"]["inputStatistics"]["rowCount"],
        wrote["outputFacets"]["outputStatistics"]["rowCount"],
    ) == (10, 9)
    assert json.loads(end["run"]["facets"]["workbench_parameters"]["parameters"]) == {"by": "model"}
    assert end["job"]["facets"]["workbench_notebook"]["hash"] == "abc"


# What the specification asks of each event (OpenLineage 2-0-2, RunEvent and BaseFacet), in JSON Schema.
FACETS = {
    "type": "object",
    "additionalProperties": {
        "type": "object", "required": ["_producer", "_schemaURL"],
        "properties": {name: {"type": "string", "pattern": "^https://"} for name in ("_producer", "_schemaURL")},
    },
}  # fmt: skip
DATASETS = {
    "type": "array",
    "items": {
        "type": "object", "required": ["namespace", "name"],
        "properties": {"namespace": {"type": "string", "minLength": 1}, "name": {"type": "string", "minLength": 1},
                       **dict.fromkeys(("facets", "inputFacets", "outputFacets"), FACETS)},
    },
}  # fmt: skip
EVENT = {
    "type": "object",
    "required": ["run", "job", "eventTime", "producer", "schemaURL"],
    "properties": {
        "eventType": {"enum": ["START", "COMPLETE", "ABORT", "FAIL", "OTHER"]},
        "eventTime": {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$"},
        "producer": {"type": "string", "pattern": "^https://"},
        "schemaURL": {"type": "string", "pattern": "^https://openlineage.io/spec/.*RunEvent$"},
        "run": {"type": "object", "required": ["runId"],
                "properties": {"runId": {"pattern": "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"}, "facets": FACETS}},
        "job": {"type": "object", "required": ["namespace", "name"],
                "properties": {"namespace": {"type": "string"}, "name": {"type": "string"}, "facets": FACETS}},
        "inputs": DATASETS,
        "outputs": DATASETS,
    },
}  # fmt: skip


def valid(file):
    import jsonschema

    events = [json.loads(line) for line in file.read_text().splitlines()]
    for one in events:
        jsonschema.validate(one, EVENT)
    kinds = {}
    for one in events:
        kinds.setdefault(one["run"]["runId"], []).append(one["eventType"])
    assert all(one[0] == "START" and len(one) == 2 for one in kinds.values()), "a START, then one that ends it"
    return events


@pytest.mark.parametrize(
    ("address", "named"),
    [
        ("s3://logs/raw/2026/", ("s3://logs", "raw/2026")),
        ("postgresql://ann@db.example/shop/requests", ("postgres://db.example:5432", "shop.public.requests")),
        ("postgresql+psycopg://db:6000/shop/audit.t", ("postgres://db:6000", "shop.audit.t")),
        ("mysql://db/shop/t", ("mysql://db:3306", "shop.t")),
        ("file:///data/x/", ("file", "/data/x")),
        ("/data/x", ("file", "/data/x")),
        ("abfss://box@account.dfs.core.windows.net/a/b", ("abfss://box@account.dfs.core.windows.net", "a/b")),
    ],
)
def test_datasets_are_named_as_the_specification_has_it(file, address, named):
    lineage.emit("x", inputs=[lineage.Data(address)], file=file)
    (one,) = valid(file)[-1]["inputs"]
    assert (one["namespace"], one["name"]) == named


def test_the_tree_goes_both_ways(file):
    raw, clean, report = (lineage.Data(f"/data/{one}", "1", 5) for one in ("raw", "clean", "report"))
    lineage.emit("collect", inputs=[lineage.Data("/in")], outputs=[raw], ended="2026-11-24T00:00:00Z", file=file)
    lineage.emit("prepare", inputs=[raw], outputs=[clean], ended="2026-11-24T00:01:00Z", file=file)
    lineage.emit("quality", inputs=[clean], outputs=[report], ended="2026-11-24T00:02:00Z", file=file)
    lineage.emit("quality", inputs=[clean], status="FAIL", error="no", ended="2026-11-24T00:03:00Z", file=file)
    assert lineage.tree("/data/clean", file).splitlines() == [
        "/data/clean  (version 1, 5 rows)",
        "made by",
        "└─ prepare  (1 runs, last 2026-11-24T00:01:00Z)",
        "   └─ /data/raw  (version 1, 5 rows)",
        "      └─ collect  (1 runs, last 2026-11-24T00:00:00Z)",
        "         └─ /in",
        "feeds",
        "└─ quality  (2 runs, 1 failed, last 2026-11-24T00:03:00Z)",
        "   └─ /data/report  (version 1, 5 rows)",
    ]


def test_a_table_that_feeds_itself_ends(file):
    data = lineage.Data("/data/loop")
    lineage.emit("tidy", inputs=[data], outputs=[data], file=file)
    assert lineage.tree("/data/loop", file).count("see above") == 2


def test_what_is_not_known_is_told(file):
    with pytest.raises(WorkbenchError, match="no lineage in"):
        lineage.tree("/data/x", file)
    lineage.emit("tidy", outputs=[lineage.Data("/data/clean")], file=file)
    file.write_text(file.read_text() + "not json\n")
    assert lineage.graph(file)["broken"] == 1
    with pytest.raises(WorkbenchError, match="did you mean '/data/clean'"):
        lineage.tree("/data/claen", file)


def test_a_run_leaves_its_events(tmp_path):
    folder = tmp_path / "runs" / "toy" / ".20261124T000000Z.partial"
    folder.mkdir(parents=True)
    told = {
        "notebook": "toy", "status": "failed", "error": {"message": "boom"}, "started": "2026-11-24T00:00:00Z",
        "sources": [{"source": "/data/t", "version": "abc", "snapshot": 4, "rows": 5}], "schemas": {"/data/t": {"x": "text"}},
        "outputs": [{"source": "/data/out", "version": "2", "rows": 1}],
    }  # fmt: skip
    (folder / "results").mkdir()
    pa.parquet.write_table(pa.table({"a": [1]}), folder / "results" / "profile.parquet")
    assert lineage.of_run(folder, told, tmp_path / "runs" / "lineage.jsonl") == {}
    end = json.loads((tmp_path / "runs" / "lineage.jsonl").read_text().splitlines()[-1])
    assert valid(tmp_path / "runs" / "lineage.jsonl")[-1] == end
    assert (end["eventType"], end["run"]["facets"]["errorMessage"]["message"]) == ("FAIL", "boom")
    assert [one["name"] for one in end["outputs"]] == [
        "/data/out", str(tmp_path / "runs" / "toy" / "20261124T000000Z" / "results" / "profile.parquet"),
    ]  # fmt: skip
    told = lineage.tree("/data/t", tmp_path / "runs" / "lineage.jsonl")
    assert "runs/toy/results/profile.parquet  (1 rows, 1 columns)" in told


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WORKBENCH_RUNS", raising=False)
    monkeypatch.delenv("WORKBENCH_LINEAGE", raising=False)
    (tmp_path / "in").mkdir()
    return tmp_path


def test_the_commands_from_files_to_lineage(here, capsys):
    def told(*words, code=0):
        assert main([str(one) for one in words]) == code
        return capsys.readouterr().out

    (here / "in" / "a.csv").write_text("model,ms\na,1\nb,oops\nc,3\n")
    out = told("collect", "in", "table", "--type", "ms", "integer", "--settle", 0, code=1)
    assert out == "table: version 1, 2 rows from 1 files, 1 set aside, 0 files wait\n"
    assert "nothing new" in told("collect", "in", "table", "--settle", 0)
    listed = told("quarantine", "list", "table")
    number = listed.split()[0]
    assert "column 'ms': 'oops' is no integer" in listed
    assert told("quarantine", "show", "table", number) == "model,ms\nb,oops\n"
    path = next((here / "table" / "_workbench" / "quarantine").iterdir())
    path.write_text("model,ms\nb,2\n")
    assert "1 rows" in told("quarantine", "replay", "table", number)
    told("versions", "table", "--label", 2, "approved", "--by", "ann")
    assert "approved" in told("versions", "table").splitlines()[1]
    assert json.loads(told("versions", "table", "--json").splitlines()[0])["rows"] == 3
    assert "1 added, 0 removed" in told("versions", "table", "--between", 1, 2)
    assert "version 3 holds what version 1 held" in told("rollback", "table", 1)
    assert "nothing is set aside" not in told("quarantine", "list", "table")
    told("rollback", "table", "approved")
    (here / "runs").mkdir(exist_ok=True)
    assert "would be deleted" in told("vacuum", "table")
    assert "└─ collect" in told("lineage", "table")
    assert main(["collect", "none/x.csv", "table", "--lacking", "nll"]) == 2
    ends = valid(here / "runs" / "lineage.jsonl")[1::2]
    assert [one["eventType"] for one in ends] == ["COMPLETE", "FAIL"]
    assert ends[1]["outputs"] == []
    assert main(["rollback", "table", "nothing"]) == 2
    assert main(["collect", "in", "table", "--sql", "x"]) == 2


def test_a_database_is_collected_by_the_command(here, capsys):
    import sqlite3

    with sqlite3.connect(here / "x.db") as connection:
        connection.execute("CREATE TABLE t (id INTEGER, at INTEGER)")
        connection.execute("INSERT INTO t VALUES (1, 5), (2, 5)")
    connection.close()
    for rows in (2, 0):
        assert main(["collect", "sqlite:///x.db", "table", "--sql", "t", "--watermark", "at", "--key", "id"]) == 0
        assert f"{rows} rows" in capsys.readouterr().out


def test_vacuum_wants_to_know_the_runs(here, capsys):
    write("table", pa.table({"a": [1]}))
    assert main(["vacuum", "table"]) == 2
    assert "name it with --runs" in capsys.readouterr().err
