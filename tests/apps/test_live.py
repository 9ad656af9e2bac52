"""A live page's document: executed once, kept for the next reader, made ready before anybody asks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from bokeh.document import Document

from workbench.apps.live import LivePages
from workbench.apps.page import Told
from workbench.apps.site import Site
from workbench.errors import WorkbenchError


@pytest.fixture
def pages(runs: Path, notebooks: Path) -> LivePages:
    return LivePages(Site(runs, notebooks).find, lambda host: True)


def a_page(pages: LivePages, record) -> Document:
    doc = Document()
    doc.template_variables["links"] = {}
    pages.page(doc, record, {})
    return doc


def test_a_page_made_ready_is_shown_without_executing_again(pages, monkeypatch):
    record = pages.find("waves", None)
    pages.prepare(record)
    assert [key[0] for key in pages.kept] == [record.folder]
    monkeypatch.setattr("workbench.apps.live.execute", lambda record: pytest.fail("executed"))
    first, second = a_page(pages, record), a_page(pages, record)
    for doc in (first, second):
        assert [root.name for root in doc.roots] == ["wb-p0-0", "wb-p1-0"]
        assert doc.template.name == "live.html"
        assert doc.template_variables["story"]["headline"][0]["value"] == 15
        assert doc.template_variables["controls"][0]["label"] == "the limit in milliseconds"
    assert not set(first.roots) & set(second.roots)


def test_what_cannot_be_kept_is_made_again(pages, monkeypatch):
    record = pages.find("waves", None)
    monkeypatch.setattr(Told, "keeps", property(lambda told: False))
    pages.prepare(record)
    assert not pages.kept


def test_a_notebook_that_fails_is_left_for_the_one_who_asks(pages, runs, tmp_path):
    record = pages.find("waves", None)
    broken = type(record)(tmp_path, "good", "waves", told={"notebook_hash": "0"})
    (tmp_path / "notebook.ipynb").write_text(json.dumps({"cells": []}))
    pages.prepare(broken)
    assert not pages.kept
    with pytest.raises(WorkbenchError, match="is not the one the run has recorded"):
        a_page(pages, broken)
