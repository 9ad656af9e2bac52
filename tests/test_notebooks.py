"""Every notebook, and the skeleton that new ones are copied from, keeps the manner that its three readers need."""

import ast
import re
import tokenize
from io import StringIO
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[1]
BOOKS = sorted(ROOT.glob("notebooks/*.ipynb"))
SKELETON = ROOT / "templates" / "notebook.ipynb"
CONTRACT = {"table", "time", "every", "by", "columns", "cluster", "store"}


@pytest.fixture(params=[*BOOKS, SKELETON], ids=lambda path: path.stem)
def book(request):
    if not request.param.exists():
        pytest.fail(f"{request.param.relative_to(ROOT)} is missing")
    found = nbformat.read(request.param, as_version=4)
    nbformat.validate(found)
    return found


def code_of(book):
    return [cell for cell in book.cells if cell.cell_type == "code"]


def parameters_of(book):
    tagged = [cell for cell in book.cells if "parameters" in cell.metadata.get("tags", [])]
    assert len(tagged) == 1, "one cell is tagged parameters"
    return tagged[0].source


def test_the_three_notebooks_are_there():
    assert {"quality", "drift", "performance"} <= {path.stem for path in BOOKS}


def test_length_and_title(book):
    assert 10 <= len(book.cells) <= 15
    assert book.cells[0].cell_type == "markdown"
    assert book.cells[0].source.startswith("# ")
    assert len(book.cells[0].source.splitlines()) > 1, "a summary follows the title: the index shows it"


def test_stored_without_outputs(book):
    assert [cell.id for cell in code_of(book) if cell.outputs or cell.execution_count is not None] == []
    assert not [cell.id for cell in book.cells if {"papermill", "execution"} & set(cell.metadata)]
    assert book.metadata.kernelspec.name == "python3"


def test_no_definitions_and_plain_python(book):
    for cell in code_of(book):
        assert not re.search(r"^\s*[%!]", cell.source, re.MULTILINE), (
            "a %magic or !command stops the server of all notebooks"
        )
        tree = ast.parse(cell.source)
        nodes = list(ast.walk(tree))
        assert not [
            n for n in nodes if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Await)
        ]
        assert "workbench." not in cell.source or "import" in cell.source


def test_words_that_the_server_can_read(book):
    assert not [c.id for c in book.cells if c.cell_type == "markdown" and "\\u" in c.source]


def test_every_picture_has_words(book):
    kinds = [cell.cell_type for cell in book.cells]
    assert "code code code code" not in " ".join(kinds), "the prose is the work: no four code cells in a row"
    assert kinds.count("markdown") >= 3


def test_parameters_are_typed_and_commented(book):
    source = parameters_of(book)
    comments = {
        token.start[0]
        for token in tokenize.generate_tokens(StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    for node in ast.parse(source).body:
        assert isinstance(node, ast.AnnAssign), ast.unparse(node)
        assert node.value is not None, ast.unparse(node)
        assert node.lineno in comments, f"{ast.unparse(node)} has no words"


@pytest.mark.parametrize("path", BOOKS, ids=lambda path: path.stem)
def test_parameters_of_the_contract(path):
    names = {node.target.id for node in ast.parse(parameters_of(nbformat.read(path, as_version=4))).body}
    if path.stem in ("quality", "drift", "performance"):
        assert names >= CONTRACT
    if path.stem == "drift":
        assert names >= {"reference", "current"}


def test_a_time_of_text_is_read_as_one_by_every_notebook_that_takes_a_time(book):
    if "time" in {node.target.id for node in ast.parse(parameters_of(book)).body}:
        code = "\n".join(cell.source for cell in code_of(book))
        calls = [line for line in code.splitlines() if "run.table(" in line]
        assert calls
        assert all("time=time)" in line for line in calls)
        assert "wb.open_table" not in code


def test_last_cell_is_the_page(book):
    assert "wb.page(" in code_of(book)[-1].source
