"""A live page's document: executed once, kept for the next reader, made ready before anybody asks."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from bokeh.document import Document

from workbench.apps import shell
from workbench.apps.live import LivePages
from workbench.apps.page import Told, show
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
        assert not doc.roots  # no picture answers: the browser draws what the page carries
        assert list(json.loads(doc.template_variables["document"])) == ["p0-0", "p1-0"]
        assert doc.template.name == "live.html"
        assert doc.template_variables["story"]["headline"][0]["value"] == 15
        assert doc.template_variables["controls"][0]["label"] == "the limit in milliseconds"


def test_pictures_with_sliders_are_copied_for_every_reader_and_their_function_is_shared(tmp_path):
    import holoviews as hv
    import panel as pn
    from holoviews.streams import Tap

    from workbench.views import look

    look.extension()
    asked = []

    def draw(a: int) -> hv.Curve:
        asked.append(a)
        return hv.Curve([1, a])

    one = hv.DynamicMap(draw, kdims=[hv.Dimension("a", values=[1, 2, 3], default=1)])
    run = SimpleNamespace(record=None, parameters={}, live={}, stored=tmp_path)
    story = {"title": "t", "question": "q", "headline": [], "latest": None}
    story["sections"] = [{"heading": "h", "parts": [{"kind": "picture", "key": "p0-0", "height": 300}]}]
    told = Told(run, story, {"p0-0": one})
    assert told.keeps
    assert not Told(run, story, {"p0-0": hv.DynamicMap(lambda x, y: hv.Points([]), streams=[Tap()])}).keeps
    sliders = [show(Document(), told).select(pn.widgets.DiscreteSlider)[0] for _ in range(2)]
    sliders[0].value = 3
    assert [slider.value for slider in sliders] == [3, 1]
    assert asked == [1, 3]
    doc = Document()
    doc.template_variables["static"] = "/assets"
    show(doc, told)
    assert [name.split(".js")[0] for name in doc.template_variables["scripts"]] == list(shell.LIBRARIES)


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


def test_a_kept_page_is_told_before_its_session_is_made(pages):
    record = pages.find("waves", None)
    assert pages.start("waves", None, {}) is None, "nothing is kept yet"
    pages.prefix = "/ops"
    pages.prepare(record)
    start = pages.start("waves", record.folder.name, {})
    for words in ("How high are the waves", "999.9", 'id="wb-p0-0"', "<svg viewBox", 'id="wb-document"', "</footer>"):
        assert words in start
    assert 'data-scripts="/ops/assets/page.js?v=' in start
    assert "/ops/assets/bokeh.js?v=" in start
    assert "token" not in start
    assert not start.endswith("</html>"), "what the session brings comes behind it"
    for asked in (("waves", None, {"slo_ms": [b"5"]}), ("tides", None, {}), ("../waves", None, {}), ("waves", "x", {})):
        assert pages.start(*asked) is None, asked
    pages.forget({"notebook": "waves"})
    assert pages.start("waves", None, {}) is None


def test_a_page_with_other_parameters_has_no_posters_of_these(pages):
    record = pages.find("waves", None)
    given = {"slo_ms": [b"905"]}
    doc = Document()
    doc._session_context = lambda: SimpleNamespace(
        request=SimpleNamespace(arguments=given, headers={}, cookies={}), id=""
    )
    from panel.io.state import set_curdoc

    with set_curdoc(doc):
        pages.page(doc, record, given)
    start = pages.start("waves", None, given)
    assert 'value="905"' in start
    assert "<svg viewBox" not in start
