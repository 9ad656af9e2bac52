"""A secret that a notebook prints, displays, raises, draws and stores: no file of the run holds it."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from workbench.apps.report import write_report
from workbench.errors import WorkbenchError
from workbench.runs import secrets
from workbench.runs.execute import run_notebook
from workbench.runs.records import without_secrets

ENV, FILE = 'k3y-"of<the>house', "line-one-of-the-key\nline-two-of-the-key"
SHOWS = """import sys, subprocess, warnings, IPython, pandas as pd
key, text = wb.secret(api_key), wb.secret(certificate)
assert len(key) == 17 and text.count("\\n") == 1, "the kernel has the values themselves"
print("printed", key); print(text, file=sys.stderr); print({"repr": key})
subprocess.run([sys.executable, "-c", "import os; print(os.environ['HOUSE_KEY'])"])
IPython.display.display(IPython.display.HTML(f"<a href='https://host/?k={key}'>{key}</a>"))
warnings.warn(f"warned of {key}")
run.headline("shown", f"told {key}", note=key)
run.result("kept", pd.DataFrame({"a": [key, "other"], "b": [1, 2]}))
pd.DataFrame({"a": [key], text.splitlines()[0]: [1]})"""
SCREAM = "raise ValueError(f'the key {key!r} and {text} are wrong')"


@pytest.fixture(autouse=True)
def _nothing_revealed(monkeypatch):
    monkeypatch.setattr(secrets, "_revealed", {})


@pytest.fixture(scope="module", params=["good", "failed"])
def folder(request, tmp_path_factory) -> Path:
    """A run of a notebook that shows its secrets in every way it can, and one that also fails with them."""
    room = tmp_path_factory.mktemp(request.param)
    (room / "key.pem").write_text(FILE)
    begin = 'import workbench as wb\nrun = wb.begin("loud", globals())'
    parameters = 'api_key: str = "secret:env:HOUSE_KEY"  # key\ncertificate: str = ""  # file'
    cells = [new_code_cell(parameters, metadata={"tags": ["parameters"]}), new_code_cell(begin), new_code_cell(SHOWS)]
    if request.param == "failed":
        cells.append(new_code_cell(SCREAM))
    nbformat.write(new_notebook(cells=cells), room / "loud.ipynb")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOUSE_KEY", ENV)
        patch.setenv("PYTHONPATH", str(Path(__file__).parents[2]), prepend=os.pathsep)
        given = {"certificate": f"secret:file:{room / 'key.pem'}"}
        record = run_notebook(room / "loud.ipynb", given, room / "runs", report=write_report)
    assert record.status == request.param, record.error
    return record.folder


def test_no_file_of_the_run_holds_the_secret(folder):
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert {"run.json", "notebook.ipynb", "report.html", "kept.parquet"} <= {path.name for path in files}
    held = [ENV, *FILE.splitlines(), base64.b64encode(ENV.encode()).decode()[:16], json.dumps(ENV)[1:-1], "k3y-"]
    for path in files:
        for one in held:
            assert one.encode() not in path.read_bytes(), f"{path.name} holds {one}"


def test_the_reference_stands_where_the_secret_was(folder):
    book = json.loads((folder / "notebook.ipynb").read_text())
    shown = json.dumps(book["cells"])
    assert shown.count("printed secret:env:HOUSE_KEY") == 1
    told = json.loads((folder / "run.json").read_text())
    assert told["parameters"]["api_key"] == "secret:env:HOUSE_KEY"
    assert told["headline"][0]["value"] == "told secret:env:HOUSE_KEY"
    assert list(pd.read_parquet(folder / "results" / "kept.parquet")["a"]) == ["secret:env:HOUSE_KEY", "other"]
    if told["status"] == "failed":
        assert told["error"]["message"].startswith("the key 'secret:env:HOUSE_KEY' and secret:file:")


def test_a_secret_in_a_file_of_bytes_is_not_written(tmp_path, monkeypatch):
    monkeypatch.setenv("HOUSE_KEY", ENV)
    assert secrets.reveal("secret:env:HOUSE_KEY") == ENV
    (tmp_path / "cube.nc").write_bytes(b"\x89HDF" + ENV.encode())
    with pytest.raises(WorkbenchError, match="'cube.nc' would hold the secret 'secret:env:HOUSE_KEY'"):
        secrets.scrub_file(tmp_path / "cube.nc")


@pytest.mark.parametrize(
    ("reference", "told"),
    [
        ("secret:env:NOT_SET", "needs the environment variable NOT_SET"),
        ("secret:file:/nowhere/key", "cannot be read: No such file"),
        ("secret:vault:x", "wanted secret:env:NAME or secret:file:PATH"),
        ("secret:env:", "wanted secret:env:NAME"),
        ("secret:env:SHORT", "too short to be kept out"),
    ],
)
def test_a_reference_without_a_secret(reference, told, monkeypatch):
    monkeypatch.setenv("SHORT", "abc")
    with pytest.raises(WorkbenchError, match=told):
        secrets.reveal(reference)


def test_a_reference_is_told_also_under_a_name_of_secrets():
    assert without_secrets({"api_key": "secret:env:KEY", "token": "abc"}) == {
        "api_key": "secret:env:KEY",
        "token": "***",
    }


def test_the_scheduler_hands_on_references(monkeypatch):
    from types import SimpleNamespace

    from workbench.runs.command import run_environment

    monkeypatch.setenv("HOUSE_KEY", ENV)
    window = SimpleNamespace(parameters=json.dumps({"by": "model", "api_key": "secret:env:HOUSE_KEY"}))
    assert run_environment(None, window) == {"WORKBENCH_API_KEY": "secret:env:HOUSE_KEY"}
    monkeypatch.delenv("HOUSE_KEY")
    with pytest.raises(WorkbenchError, match="HOUSE_KEY"):
        run_environment(None, window)


def test_outside_a_kernel_a_secret_is_just_given():
    code = "import workbench as wb; print(wb.secret('secret:env:HOUSE_KEY') == wb.secret('plain'))"
    told = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "HOUSE_KEY": "plain-key"}, capture_output=True
    )
    assert told.stdout.strip() == b"False", told.stderr
