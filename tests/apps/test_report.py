"""A report is one file: what it holds, what it leaves out, and what it says of a notebook that failed."""

from __future__ import annotations

import json
import re
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from workbench.apps import shell
from workbench.apps.report import cells_of, write_report


def a_report(folder: Path, *cells) -> str:
    nbformat.write(new_notebook(cells=list(cells)), folder / "notebook.ipynb")
    return write_report(folder / "notebook.ipynb", folder).read_text()


@pytest.fixture(scope="module")
def report(runs: Path) -> str:
    return next(runs.glob("waves/*/report.html")).read_text()


def test_everything_is_inside_and_once(report):
    own = re.sub(r"<script>.*?</script>", "", report, flags=re.DOTALL)
    assert not re.findall(r"""(?:src|href)="(?!data:|#)([^"]+)""", own)
    assert "cdn" not in own.lower()
    library = shell.inline(shell.library("bokeh").read_text(encoding="utf-8"))
    assert report.count(library) == 1
    assert 1_000_000 < len(report) < 2_000_000


def test_title_parameters_and_figures_come_first_and_code_is_folded(report):
    assert (
        report.index("<h1>Waves</h1>")
        < report.index("hours over the limit")
        < report.index("When it was slow")
        < report.index("run = begin")
    )
    assert "<i>slo_ms</i> 900" in report
    assert re.search(r"<details><summary>Code</summary><pre><code>[^<]*run = begin", report)
    assert "How high are the waves, and is that &lt; 1000?" in report


def test_the_notebooks_own_pictures_are_kept_and_the_page_is_not_repeated(report):
    stored = json.loads(re.search(r'id="wb-notebook">(.*?)</script>', report, re.DOTALL)[1])
    assert [item["doc"]["roots"][0]["name"] for item in stored.values()] == ["Figure"]
    assert "http" not in json.dumps(stored)
    assert report.count("The page above.") == 1


def test_a_failed_notebook_says_where_and_shows_its_cells(tmp_path):
    error = new_output(
        "error", ename="ValueError", evalue="no <table>", traceback=["\x1b[31mValueError\x1b[0m: no <table>"]
    )
    html = a_report(tmp_path, new_markdown_cell("# Broken\n\nWhat now?"), new_code_cell("1/0", outputs=[error]))
    assert "<h1>Broken</h1>" in html
    assert "This run failed in cell 1: ValueError." in html
    assert '<details class="notebook" data-draws open>' in html
    assert "ValueError: no &lt;table&gt;</pre>" in html
    assert "\x1b" not in html


def test_a_notebook_that_was_killed_is_not_called_good(tmp_path):
    ran, waiting = new_code_cell("1"), new_code_cell("2")
    ran.metadata["papermill"] = {"start_time": "2026-01-01T00:00:00"}
    waiting.metadata["papermill"] = {"start_time": None}
    assert "the notebook did not come to its end" in a_report(tmp_path, ran, waiting)


def test_printed_tables_and_images_are_kept_and_scripts_are_not(tmp_path):
    outputs = [
        new_output("stream", text="10%\r20%\rdone\n"),
        new_output("display_data", data={"text/html": "<table><tr><td>7</td></tr></table>"}),
        new_output("display_data", data={"text/html": "<script>bad()</script>", "text/plain": "plain words"}),
        new_output("display_data", data={"image/png": "AAAA"}),
    ]
    html = a_report(tmp_path, new_code_cell("show()", outputs=outputs))
    assert "<td>7</td>" in html
    assert ">done</pre>" in html
    assert "plain words" in html
    assert "bad()" not in html
    assert 'src="data:image/png;base64,AAAA"' in html


def test_markdown_is_shown_without_its_html(tmp_path):
    html = a_report(tmp_path, new_markdown_cell("# T\n\n| a |\n|---|\n| 1 |\n\n<script>bad()</script>"))
    assert "<td>1</td>" in html
    assert "<script>bad()" not in html


@pytest.mark.parametrize(
    ("html", "whole"),
    [
        ("<style scoped>td { color: red }</style><table border='1'><tr><td>a once told</td></tr></table>", True),
        ("<a href='https://example.org'>there</a>", True),
        ("<img src=x onerror=alert(1)>", False),
        ("<svg/onload=alert(1)>", False),
        ("<ScRiPt>alert(1)</script>", False),
        ("<a href='java&#115;cript:alert(1)'>here</a>", False),
        ("<iframe srcdoc='a'></iframe>", False),
    ],
)
def test_an_output_that_does_something_is_shown_as_its_text(html, whole):
    output = {"output_type": "display_data", "data": {"text/html": html, "text/plain": "its text"}}
    ((cell,), _) = cells_of([{"cell_type": "code", "source": "x", "outputs": [output]}])
    assert [one["kind"] for one in cell["outputs"]] == (["html"] if whole else ["text"])
