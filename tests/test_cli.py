"""The command line: what it answers at once, what it refuses before any kernel starts, how it tells of runs."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from scripts import reference
from workbench.cli import main, parser

PARAMETERS = 'every: str = "1D"  # length of a window\nslo_ms: float = 500.0  # objective'
BEGIN = 'import workbench as wb\nrun = wb.begin("toy", globals(), live={"slo_ms": (1.0, 600_000.0)})'


@pytest.fixture(autouse=True)
def _there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WORKBENCH_RUNS", raising=False)


@pytest.fixture
def toy(tmp_path):
    def cell(number, source, *tags):
        kind = {"cell_type": "code", "outputs": [], "execution_count": None}
        return {**kind, "id": f"cell-{number}", "metadata": {"tags": list(tags)}, "source": source}

    cells = [cell(0, PARAMETERS, "parameters"), cell(1, BEGIN), cell(2, 'run.headline("slo", slo_ms, "ms")')]
    path = tmp_path / "toy.ipynb"
    path.write_text(json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))
    return path


@pytest.fixture
def stored(tmp_path):
    folder = tmp_path / "runs" / "toy" / "20261123T203000Z"
    folder.mkdir(parents=True)
    told = {
        "status": "failed",
        "notebook": "toy",
        "parameters": {"every": "1D"},
        "headline": [{"name": "slo", "value": 20.0, "unit": "ms"}],
        "started": "2026-11-23T20:30:00.000Z",
        "ended": "2026-11-23T20:30:09.000Z",
        "error": {"cell": 4, "id": "abc", "line": "1 / 0", "name": "ZeroDivisionError", "message": "division by zero"},
    }
    (folder / "run.json").write_text(json.dumps(told))
    return folder


def test_help_loads_nothing_heavy():
    heavy = "{'numpy', 'pandas', 'dask', 'xarray', 'panel', 'holoviews', 'papermill', 'pyarrow', 'numba', 'psutil'}"
    code = f"import sys\nfrom workbench.cli import parser\nparser().format_help()\nprint({heavy} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


def test_every_command_and_option_has_words():
    found = reference.commands(parser())
    assert set(found) >= {"run", "show", "runs", "serve", "examples", "version", "rerun", "prune", "schedule check"}
    assert [name for name, one in found.items() if not one.description] == []
    assert [(name, one.dest) for name, c in found.items() for one in reference.options(c) if not one.help] == []


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["-p", "evry", "1h"], "no parameter 'evry'; did you mean 'every'"),
        (["-p", "slo_ms", "fast"], "'slo_ms' is 'fast' from the command line; wanted float from 1.0 to 600,000.0"),
        (["-p", "slo_ms", "0.5"], "'slo_ms' is 0.5 (float) from the command line; wanted float from 1.0"),
    ],
)
def test_a_wrong_parameter_is_found_before_a_kernel_starts(toy, tmp_path, capsys, given, told):
    assert main(["run", str(toy), *given]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert "The parameters of toy.ipynb:" in error
    assert "length of a window" in error
    assert not (tmp_path / "runs").exists()


def test_what_is_no_notebook(tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("")
    assert main(["run", "qualty"]) == 2
    assert main(["run", "nowhere.ipynb"]) == 2
    assert main(["run", "notes.txt"]) == 2
    told = capsys.readouterr().err
    assert "No notebook is called 'qualty'" in told
    assert "no notebook file 'nowhere.ipynb'" in told
    assert "'notes.txt' is not a notebook" in told
    with pytest.raises(SystemExit) as usage:
        main(["run"])
    assert usage.value.code == 2


def test_parameters_are_listed(toy, capsys):
    assert main(["run", str(toy), "--parameters"]) == 0
    every, slo = capsys.readouterr().out.splitlines()
    assert every.split() == ["every", "str", "'1D'", "length", "of", "a", "window"]
    assert slo.split() == ["slo_ms", "float", "from", "1.0", "to", "600,000.0", "500.0", "objective"]


def test_run_then_reuse(toy, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("workbench.cli._write_report", lambda notebook, folder: (folder / "report.html").write_text(""))
    assert main(["run", str(toy), "-p", "slo_ms", "20"]) == 0
    ran = capsys.readouterr()
    *figures, folder = ran.out.splitlines()
    assert figures == ["  slo  20 ms"]
    assert (tmp_path / folder / "report.html").exists()
    assert json.loads((tmp_path / folder / "run.json").read_text())["report"] == "good"
    assert main(["run", str(toy), "-p", "slo_ms", "20", "--reuse"]) == 0
    again = capsys.readouterr()
    assert again.out == ran.out
    assert "nothing changed since the run of" in again.err


def test_show(stored, capsys):
    assert main(["show", str(stored), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads((stored / "run.json").read_text())
    assert main(["show", "toy"]) == 0
    told = capsys.readouterr().out
    assert "toy 20261123T203000Z: failed" in told
    assert "every = '1D'" in told
    assert "ZeroDivisionError: division by zero" in told
    assert "slo  20 ms" in told
    assert main(["show", "drift"]) == 2
    assert "no run 'drift' under 'runs'; give a run folder, or a notebook that has runs: toy" in capsys.readouterr().err


def test_runs(stored, capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("WORKBENCH_RUNS", str(tmp_path / "runs"))
    assert main(["runs"]) == 0
    assert capsys.readouterr().out.split() == ["toy", "20261123T203000Z", "failed", "ZeroDivisionError"]
    assert main(["runs", "toy", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["folder"] == str(stored)
    assert main(["runs", "--runs", "empty"]) == 0
    assert "no runs under empty; to make one: workbench run" in capsys.readouterr().out


def test_a_folder_that_cannot_be_written(toy, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(["run", str(toy), "--runs", "file"]) == 1
    assert "file" in capsys.readouterr().err


def test_examples(tmp_path, capsys):
    assert main(["examples", "tables", "--rows", "1000"]) == 0
    told = capsys.readouterr()
    assert told.out == "tables/requests\n"
    assert "planted: latency in" in told.err
    assert (tmp_path / "tables" / "requests.truth.json").exists()
    assert main(["examples", "tables", "--rows", "1000"]) == 2
    assert "is there already" in capsys.readouterr().err


def test_version(capsys):
    assert main(["version"]) == 0
    assert capsys.readouterr().out.strip()
