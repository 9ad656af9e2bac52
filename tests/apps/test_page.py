"""A page from a run, told: sections, figures, tables, the snapshot and its posters."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from workbench.apps import shell, snapshot
from workbench.apps.page import _slider, latest_event, page, table
from workbench.apps.poster import poster
from workbench.errors import WorkbenchError
from workbench.views import look
from workbench.views.maps import nothing

hv = look.extension()


def a_run(folder: Path | None = None, **more):
    told = {
        "folder": folder,
        "stored": None,
        "serving": False,
        "parameters": {"time": "ts"},
        "headlines": [],
        "notices": [],
        "live": {},
    }
    return SimpleNamespace(**{**told, **more})


def curve():
    return hv.Curve([(0, 1.0), (1, 3.0)], "x", "y").opts(**look.base(height=240))


def test_a_run_folder_gets_the_page_and_its_pictures(tmp_path):
    run = a_run(tmp_path, headlines=[{"name": "rows", "value": 3, "unit": "rows"}])
    page(run, "T", "Q?", sections=[("One", ("before", "after"), [curve(), pd.DataFrame({"a": [1]})])])
    published = snapshot.read_snapshot(tmp_path)
    assert [part["kind"] for part in published.story["sections"][0]["parts"]] == ["text", "picture", "table", "text"]
    assert published.story["headline"] == [{"name": "rows", "value": 3, "unit": "rows"}]
    assert published.scripts == ("bokeh",)
    picture = published.story["sections"][0]["parts"][1]
    assert picture["height"] == 240
    assert picture["poster"].startswith("<svg")
    stored = json.loads(published.pictures)[picture["key"]]
    assert stored["root_id"] in json.dumps(stored["doc"])
    assert "http" not in published.pictures


def test_a_picture_with_nothing_to_draw_is_a_sentence(tmp_path):
    page(a_run(tmp_path), "T", "Q?", sections=[("One", "before", [nothing("a<b: no values"), curve()])])
    published = snapshot.read_snapshot(tmp_path)
    parts = published.story["sections"][0]["parts"]
    assert [part["kind"] for part in parts] == ["text", "text", "picture"]
    assert parts[1]["text"] == "a<b: no values"
    assert list(json.loads(published.pictures)) == [parts[2]["key"]]
    assert published.scripts == ("bokeh",), "a published page has no scripts of panel"


def test_the_executed_notebook_of_a_run_shows_words_figures_tables_and_stills_without_a_script(tmp_path):
    run = a_run(tmp_path, headlines=[{"name": "p99", "value": 1234.0, "unit": "ms", "good": False}])
    told = page(run, "Title", "Q?", sections=[("One", ("before", "after"), [curve(), pd.DataFrame({"n": [12345]})])])
    html = told._repr_html_()
    words = re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", html))
    assert "Title Q? p99 1,234 ms ◆ Bad One before n 12,345 after" in words
    (still,) = re.findall(r'src="data:image/svg\+xml;base64,([^"]+)"', html)
    assert ElementTree.fromstring(base64.b64decode(still)).findall("{http://www.w3.org/2000/svg}path")
    assert repr(told) == "The page of this run, with 1 picture, is in the files beside this notebook."


def test_nothing_is_written_outside_a_run_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    column = page(a_run(), "T", "Q?", sections=[("One", "before", curve())])
    assert column.name == "workbench-page"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("view", [{1: 2}, object()])
def test_an_unknown_view_is_named_with_its_section(view):
    with pytest.raises(WorkbenchError, match=r"Section 'One' shows a .*; wanted a HoloViews object"):
        page(a_run(), "T", "Q?", sections=[("One", "before", view)])


def test_a_section_of_another_shape_is_named():
    with pytest.raises(WorkbenchError, match=r"Section 1 of the page is .*wanted \(heading, text, view\)"):
        page(a_run(), "T", "Q?", sections=[("One", "before")])


def test_texts_and_cells_from_the_data_are_escaped(tmp_path):
    evil = "<script>alert(1)</script>"
    told = page(
        a_run(tmp_path, headlines=[{"name": evil, "value": evil}]),
        evil,
        evil,
        sections=[(evil, evil, [pd.DataFrame({evil: [evil]}), curve()])],
    )
    assert "<script" not in told._repr_html_()
    published = snapshot.read_snapshot(tmp_path)
    html = shell.render("published.html", story=published.story, static="/assets", look="1", scripts=[])
    assert "<script>alert" not in html
    assert html.count("&lt;script&gt;alert") >= 6


def test_a_script_end_inside_the_data_cannot_leave_the_document(tmp_path):
    page(
        a_run(tmp_path), "T", "Q", sections=[("One", "", hv.Bars([("</script><b>", 1)], "k", "n").opts(**look.base()))]
    )
    assert "</script" not in snapshot.read_snapshot(tmp_path).pictures


def test_a_panel_object_is_published_as_its_pictures(tmp_path):
    import panel as pn

    page(
        a_run(tmp_path), "T", "Q", sections=[("One", "", pn.Column(pn.widgets.IntSlider(), pn.pane.HoloViews(curve())))]
    )
    assert [part["kind"] for part in snapshot.read_snapshot(tmp_path).story["sections"][0]["parts"]] == ["picture"]


def test_pictures_may_share_a_formatter(tmp_path):
    from bokeh.models import NumeralTickFormatter

    shared = NumeralTickFormatter(format="0.0")
    both = [curve().opts(yformatter=shared), curve().opts(yformatter=shared)]
    assert page(a_run(), "T", "Q", sections=[("One", "", both)]).get_root()
    told = page(a_run(tmp_path), "T", "Q", sections=[("One", "", both)])
    assert repr(told) == "The page of this run, with 2 pictures, is in the files beside this notebook."
    assert len(json.loads(snapshot.read_snapshot(tmp_path).pictures)) == 2


def test_a_damaged_snapshot_says_so(tmp_path):
    (tmp_path / "page.json").write_text('{"title": "half')
    with pytest.raises(WorkbenchError, match="cannot be read"):
        snapshot.read_snapshot(tmp_path)
    assert snapshot.read_snapshot(tmp_path / "elsewhere") is None


def test_tables_align_numbers_and_keep_texts():
    html = table(pd.DataFrame({"who": ["a<b"], "n": [12345], "share": [0.25], "when": [pd.Timestamp("2026-03-01")]}))
    assert '<td class="text">a&lt;b</td><td>12,345</td><td>0.25</td><td class="text">1 Mar 2026 00:00</td>' in html


def test_a_long_table_says_how_many_rows_it_left_out():
    html = table(pd.DataFrame({"n": range(203)}))
    assert html.count("<tr>") == 201
    assert "and 3 more rows" in html


@pytest.mark.parametrize(
    ("view", "wanted"),
    [
        (lambda: hv.Curve([(0, 0), (1, 1)]), 'd="M60 238L960 32"'),
        (lambda: hv.Curve([(0, 0), (1, float("nan")), (2, 1), (3, 1)]), "M660 32L960 32"),
        (lambda: hv.Bars([("a", 1), ("b", 2)]), "<path"),
        (lambda: hv.HeatMap([("a", "x", 1), ("b", "x", 2)]).opts(cmap="cividis"), "#"),
        (lambda: hv.Area([(0, 1), (1, 2)]), "Z"),
        (lambda: hv.Histogram((np.array([0, 1, 2]), np.array([3, 4]))), "<path"),
        (lambda: hv.Scatter([(0, 1), (1, 2)]), "<path"),
        (lambda: hv.Curve([(pd.Timestamp("2026-01-01"), 1), (pd.Timestamp("2026-01-02"), 2)]), "L960"),
    ],
)
def test_posters_show_the_marks(view, wanted):
    assert wanted in poster(snapshot.drawing(view()))


def test_a_legend_beside_its_plot_needs_no_width_but_rows_below_it_on_a_phone():
    lines = [hv.Curve([1, 2], label=name) for name in ("p50", "p90", "p99", "objective 10 s")]
    beside = hv.Overlay(lines).opts(legend_position="right", height=300)
    assert snapshot.size(snapshot.drawing(beside)) == {"height": 300, "width": 0, "legend": 2 * 22 + 12}
    assert snapshot.size(snapshot.drawing(hv.Curve([1, 2]).opts(height=300)))["legend"] == 0
    rows = snapshot.size(snapshot.drawing(hv.Layout([beside, beside]).cols(1)))
    assert rows["legend"] == 2 * (2 * 22 + 12)


def test_a_layout_is_as_high_as_its_rows():
    layout = hv.Layout([curve(), curve()]).cols(1)
    assert 480 <= snapshot.height(snapshot.drawing(layout)) <= 540


@pytest.mark.parametrize(
    ("told", "word", "colour"),
    [
        ({"status": "good"}, "Good", "good"),
        ({"status": "good", "headline": [{"good": False}, {"good": True}]}, "1 figure to look at", "warn"),
        ({"status": "failed", "error": {"cell": 3, "name": "ValueError", "message": "no"}}, "Failed", "bad"),
        ({"status": "running"}, "Running", ""),
    ],
)
def test_the_state_is_a_word_and_a_colour(told, word, colour):
    state = shell.state_of(told)
    assert (state["word"], state["colour"]) == (word, colour)


def test_a_later_failure_makes_the_last_good_run_stale():
    state = shell.state_of({"status": "good"}, newer={"ended": "2026-11-23T20:00:00Z"})
    assert state["word"] == "Failed last"
    assert "23 Nov 2026 20:00, failed" in state["notice"]


def test_without_a_cube_the_data_have_no_age(tmp_path):
    assert latest_event(a_run(tmp_path)) is None
    assert latest_event(a_run()) is None


@pytest.mark.parametrize(("of", "latest"), [(None, "2026-03-02T10:30:00Z"), (["value"], "2026-03-02T00:00:00Z")])
def test_the_age_of_the_data_is_the_newest_row_or_its_window(tmp_path, of, latest):
    import workbench as wb

    times = pd.to_datetime(["2026-03-01 04:00", "2026-03-02 10:30", None])
    pd.DataFrame({"ts": times, "value": [1.0, 2.0, 3.0]}).to_parquet(tmp_path / "table.parquet")
    cube = wb.cube(wb.open_table(tmp_path / "table.parquet"), by=[wb.Period("ts", "D", name="window")], of=of)
    wb.save_cube(cube, tmp_path / "cube.nc")
    assert latest_event(a_run(tmp_path, parameters={"time": "auto"})) == latest


@pytest.mark.parametrize(
    ("value", "low", "high", "found"),
    [
        (0.7, 0.0, 1.0, ("0.0", "1.0", "0.01")),
        (24, 1, 120, ("1", "120", "1")),
        (15_000.0, 0.0, 1e8, ("0", "60000", "100")),
        (0.0, 0.0, 1e9, ("0", "1", "0.01")),
        (True, 0, 1, None),
        ("a", None, None, None),
    ],
)
def test_sliders_reach_what_is_near_the_number(value, low, high, found):
    told = _slider(value, low, high)
    assert (told and tuple(float(told[name]) for name in ("low", "high", "step"))) == (
        found and tuple(map(float, found))
    )
