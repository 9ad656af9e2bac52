"""A run done again: the same figures from the same table, and in words what has moved where they are not."""

from __future__ import annotations

import json

import pytest

from workbench.cli import main
from workbench.errors import WorkbenchError
from workbench.runs.again import differing, rerun
from workbench.runs.execute import run_notebook
from workbench.runs.parameters import declared
from workbench.runs.records import list_runs, read_record, write_json

COUNT = """\
import workbench
table = run.table("small.csv")
cube = run.cube(lambda: workbench.cube(table, by=[workbench.Category("model")]))
run.headline("rows", cube["count"].sum().item(), "rows")
run.headline("mean", float(cube["sum"].sum()) / 3, "s") if "sum" in cube else None
run.headline("slo", slo_ms, "ms")"""


def test_the_same_table_gives_the_same_figures_and_what_moved_is_told(book, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.csv").write_text("model,latency\na,1\na,2\nb,4\n")
    path, runs = book("toy", COUNT), tmp_path / "runs"
    used = {name: one.default for name, one in declared(path).items()} | {"slo_ms": 20.0}
    first = run_notebook(path, {"slo_ms": 20.0}, "runs", used=used)
    assert first.status == "good", first.error
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.setenv("WORKBENCH_SLO_MS", "77")  # the run's own parameters are what counts
    told = rerun(read_record(tmp_path / first.folder), runs)
    assert told.after.status == "good", told.after.error
    assert (told.differ, told.moved) == ((), ())
    assert told.after.headline == first.headline
    assert told.after.parameters == first.parameters
    assert told.after.told["again"].endswith(str(first.folder))
    assert told.after.told["notebook_path"] == str(path)

    text = path.read_text()
    path.write_text(text.replace('slo_ms, \\"ms\\"', '2 * slo_ms, \\"ms\\"'))
    assert path.read_text() != text
    (tmp_path / "small.csv").write_text("model,latency\na,1\na,2\nb,4\nb,5\n")
    record = read_record(told.after.folder)
    write_json(record.folder / "run.json", {**record.told, "versions": {**record.told["versions"], "numpy": "1.0"}})
    moved = rerun(read_record(record.folder), runs)
    assert [one[:3] for one in moved.differ if one[0] == "rows"] == [("rows", 3, 4)]
    assert "slo" not in {one[0] for one in moved.differ}  # the text that ran then has run now
    sentences = "\n".join(moved.moved)
    assert "the notebook toy has changed since; the copy that the run kept is run" in sentences
    assert "numpy was 1.0 and is 2" in sentences
    assert "the table small.csv was of version " in sentences
    assert moved.after.told["notebook_hash"] == first.told["notebook_hash"]
    assert len(list_runs(runs)) == 3


def test_a_repetition_that_fails_compares_no_figure(book, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.csv").write_text("model,latency\na,1\n")
    path = book("toy", COUNT)
    assert run_notebook(path, {}, "runs", used={}).status == "good"
    (tmp_path / "small.csv").unlink()
    assert main(["rerun", "toy"]) == 1
    out = capsys.readouterr().out
    assert "null" not in out
    assert "the repetition failed, so no figure can be compared: WorkbenchError: " in out
    assert "small.csv" in out
    assert " in cell 4 (cell-3): table = run.table(" in out
    (tmp_path / "small.csv").write_text("model,latency\na,1\n")
    assert main(["rerun", "toy"]) == 0
    assert "the run was failed then, so no figure can be compared; it is good now" in capsys.readouterr().out
    assert main(["rerun", ""]) == 2  # a variable of a shell that is not set


def test_a_run_without_its_secret_or_its_notebook_is_refused(book, tmp_path):
    folder = tmp_path / "runs" / "toy" / "20261123T203000Z"
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps({"status": "good", "notebook": "toy"}))
    with pytest.raises(WorkbenchError, match="kept no notebook"):
        rerun(read_record(folder), tmp_path / "runs")
    told = {"status": "good", "notebook": "toy", "notebook_hash": "x", "parameters": {"by": "s3://***@host/t"}}
    (folder / "run.json").write_text(json.dumps(told))
    book("toy", "print(by)").rename(folder / "notebook.ipynb")
    with pytest.raises(WorkbenchError, match="'by' was kept without its secret; set WORKBENCH_BY"):
        rerun(read_record(folder), tmp_path / "runs")


def test_figures_that_differ():
    before = [{"name": "a", "value": 0.1 + 0.2}, {"name": "b", "value": 1}, {"name": "c", "value": None}]
    after = [{"name": "a", "value": 0.3}, {"name": "c", "value": 0.0}, {"name": "d", "value": "x"}]
    assert differing(before, after) == [("b", 1, None), ("c", None, 0.0), ("d", None, "x")]
