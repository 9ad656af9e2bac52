"""A new notebook is the skeleton with its own name, and keeps every rule of notebooks as it is."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import nbformat
import pytest

from tests import test_notebooks as rules
from workbench.cli import main
from workbench.errors import WorkbenchError
from workbench.runs.notebooks import read_cells
from workbench.runs.starting import new_notebook

RULES = [
    getattr(rules, name)
    for name, code in vars(rules).items()
    if name.startswith("test_") and code.__code__.co_varnames[: code.__code__.co_argcount] == ("book",)
]


@pytest.mark.parametrize("title", ["", 'Who said "stop" \\ and why?'])
def test_a_new_notebook_keeps_every_rule(tmp_path, title):
    path = new_notebook("daily_cost", tmp_path / "notebooks", title)
    book = nbformat.read(path, as_version=4)
    nbformat.validate(book)
    assert len(RULES) >= 6
    for rule in RULES:
        rule(book)
    said = title or "Daily cost: a question in plain words?"
    assert book.cells[0].source.startswith(f"# {said}\n")
    page = ast.parse(book.cells[-1].source)
    titles = [one.value.value for one in ast.walk(page) if isinstance(one, ast.keyword) and one.arg == "title"]
    assert titles == [said]
    assert 'wb.begin("daily_cost"' in "".join(cell["source"] for cell in read_cells(path))


def test_the_command(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["new", "daily_cost"]) == 0
    assert "workbench run notebooks/daily_cost.ipynb" in capsys.readouterr().out
    kept = Path("notebooks/daily_cost.ipynb").read_bytes()
    assert main(["new", "daily_cost"]) == 2
    assert "is there already" in capsys.readouterr().err
    assert Path("notebooks/daily_cost.ipynb").read_bytes() == kept
    assert json.loads(kept)["nbformat"] == 4


@pytest.mark.parametrize("name", ["../x", "a/b", "a b", "", "1a", "class", "_x", "ü", "a.ipynb"])
def test_names_that_cannot_be(tmp_path, name):
    with pytest.raises(WorkbenchError, match="no name of a notebook"):
        new_notebook(name, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_title_is_one_line(tmp_path):
    with pytest.raises(WorkbenchError, match="one line"):
        new_notebook("a", tmp_path, "one\ntwo")
