"""Two runs side by side: what differs, figures with their difference, pictures on the same axes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from workbench.apps import snapshot
from workbench.apps.asked import page_of
from workbench.apps.compare import compare_page, figures, parameters, share_axes, side_by_side
from workbench.apps.site import Site
from workbench.errors import WorkbenchError
from workbench.runs.records import Record
from workbench.views import look

hv = look.extension()


def drawn(view) -> dict:
    return json.loads(json.dumps(snapshot.item(snapshot.drawing(view))))


def ends(item: dict, axis: str) -> tuple[float, float]:
    (figure,) = [one for one in snapshot.walk(item) if one.get("name") == "Figure" and "attributes" in one]
    told = figure["attributes"][f"{axis}_range"]["attributes"]
    return told.get("start", 0), told.get("end", 1)


def a_record(name: str = "20260101T000000Z", headline=(), given=None, **told) -> Record:
    return Record(Path("waves") / name, "good", "waves", given or {}, list(headline), told=told)


def a_figure(a, b) -> dict:
    return figures(a_record(headline=[a] if a else []), a_record(headline=[b] if b else []))[0]


def figure(value, unit="ms", **more) -> dict:
    return {"name": "p99", "value": value, "unit": unit, **more}


@pytest.mark.parametrize(
    ("a", "b", "way", "difference", "share"),
    [
        (figure(100), figure(150), "up", "+50", "+50 %"),
        (figure(0.3), figure(0.1), "down", "−0.2", "−66.7 %"),
        (figure(5.0), figure(5.0), "the same", "0", ""),
        (figure(0), figure(2), "up", "+2", ""),
        (figure(1.5, "USD"), figure(2.75, "USD"), "up", "+$1.25", "+83.3 %"),
        (figure(1), figure(1, "s"), "other unit", "", ""),
        (figure(1), None, "only in A", "", ""),
        (None, figure(1), "only in B", "", ""),
        (figure("atlas"), figure("birch"), "changed", "", ""),
        (figure("atlas"), figure("atlas"), "the same", "", ""),
        (figure(None), figure(1), "changed", "", ""),
        (figure(True), figure(1.0), "the same", "", ""),
    ],
)
def test_a_difference_has_sign_unit_and_direction(a, b, way, difference, share):
    row = a_figure(a, b)
    assert (row["way"], row["difference"], row["share"]) == (way, difference, share)


@pytest.mark.parametrize(
    ("a", "b", "words", "colour"),
    [
        (True, False, "Good → Bad", "bad"),
        (False, True, "Bad → Good", "good"),
        (False, False, "Bad", ""),
        (None, None, "", ""),
    ],
)
def test_a_verdict_that_changed_is_told(a, b, words, colour):
    verdict = a_figure(figure(1, good=a), figure(1, good=b))["verdict"]
    assert (verdict["words"], verdict["colour"]) == (words, colour)


def test_parameters_that_differ_are_apart_from_the_same():
    told = parameters(
        a_record(given={"slo": 1, "by": "model"}, versions={"numpy": "1"}),
        a_record(given={"slo": 2, "by": "model", "new": True}, versions={"numpy": "2"}),
    )
    assert told["differ"] == [("slo", "1", "2"), ("new", "–", "yes"), ("numpy", "1", "2")]
    assert ("by", "model", "model") in told["same"]


# --- axes --------------------------------------------------------------------------------------------------------------


def curve(points, x="hour", y="p99", **more):
    return hv.Curve(points, x, y).opts(**look.base(**more))


def test_the_same_columns_get_the_span_of_both():
    a, b = drawn(curve([(0, 1.0), (4, 3.0)])), drawn(curve([(2, 2.0), (9, 30.0)]))
    spans = [(ends(a, axis), ends(b, axis)) for axis in "xy"]
    assert share_axes(a, b) == []
    for axis, (left, right) in zip("xy", spans, strict=True):
        wanted = (min(left[0], right[0]), max(left[1], right[1]))
        assert ends(a, axis) == ends(b, axis) == wanted
        assert left != right


def test_another_column_keeps_its_own_axis_and_is_told():
    a, b = drawn(curve([(0, 1.0), (4, 3.0)])), drawn(curve([(2, 2.0), (9, 30.0)], y="cost"))
    before = ends(a, "y"), ends(b, "y")
    assert share_axes(a, b) == ["An axis shows p99 in A and cost in B."]
    assert (ends(a, "y"), ends(b, "y")) == before
    assert ends(a, "x") == ends(b, "x")


def test_a_logarithmic_axis_is_not_given_to_a_linear_one():
    a, b = drawn(curve([(0, 1.0), (4, 3.0)], logy=True)), drawn(curve([(0, 2.0), (4, 30.0)]))
    before = ends(a, "y")
    assert len(share_axes(a, b)) == 1
    assert ends(a, "y") == before


def test_times_that_do_not_meet_keep_their_dates_on_an_axis_of_the_same_length():
    import pandas as pd

    days = [pd.date_range(f"2026-{month}-01", periods=count, freq="D") for month, count in (("01", 3), ("05", 9))]
    a, b = (drawn(curve([(day, 1.0) for day in some], x="day")) for some in days)
    starts = ends(a, "x")[0], ends(b, "x")[0]
    assert "different times" in share_axes(a, b)[0]
    assert (ends(a, "x")[0], ends(b, "x")[0]) == starts
    assert ends(a, "x")[1] - ends(a, "x")[0] == ends(b, "x")[1] - ends(b, "x")[0]


def test_colours_that_stand_for_numbers_mean_the_same():
    a, b = (drawn(hv.HeatMap([("a", "x", 0), ("b", "x", top)]).opts(cmap="cividis", colorbar=True)) for top in (2, 7))
    share_axes(a, b)
    spans = {
        (one["attributes"]["low"], one["attributes"]["high"])
        for item in (a, b)
        for one in snapshot.walk(item)
        if one.get("name") == "LinearColorMapper" and "attributes" in one
    }
    assert spans == {(0, 7)}


def test_ranges_that_several_plots_share_are_shared_among_all():
    a, b = (drawn(hv.Layout([curve([(0, 1), (end, 2)]), curve([(0, 5), (end, 6)])]).cols(1)) for end in (4, 9))
    share_axes(a, b)
    spans = {
        (one["attributes"].get("start", 0), one["attributes"].get("end", 1))
        for item in (a, b)
        for one in snapshot.walk(item)
        if one.get("name") == "Range1d" and "hour" in json.dumps(one["attributes"].get("tags"))
    }
    assert len(spans) == 1


# --- the page ----------------------------------------------------------------------------------------------------------


def published(folder: Path, headings, top: float) -> snapshot.Snapshot:
    from workbench.apps.page import page

    folder.mkdir()
    run = SimpleNamespace(folder=folder, stored=None, serving=False, parameters={}, headlines=[], notices=[], live={})
    page(run, "T", "Q?", sections=[(heading, "", curve([(0, 1.0), (4, top)])) for heading in headings])
    return snapshot.read_snapshot(folder)


def test_pictures_are_paired_by_section_and_a_missing_one_is_told(tmp_path):
    a, b = published(tmp_path / "a", ["One", "Two"], 3.0), published(tmp_path / "b", ["Two", "Three"], 9.0)
    sections, drawings, _ = side_by_side(a, b)
    assert [one["heading"] for one in sections] == ["One", "Two", "Three"]
    assert [[side["key"] for side in one["pairs"][0]["sides"]] for one in sections] == [
        ["a-p0-0", ""],
        ["a-p1-0", "b-p0-0"],
        ["", "b-p1-0"],
    ]
    assert ends(drawings["a-p1-0"], "y") == ends(drawings["b-p0-0"], "y")
    assert ends(drawings["a-p0-0"], "y") != ends(drawings["b-p0-0"], "y")


@pytest.fixture
def site(runs: Path, notebooks: Path, tmp_path: Path) -> Site:
    shutil.copytree(runs, tmp_path / "runs")
    (run,) = (tmp_path / "runs" / "waves").iterdir()
    later = run.with_name("20991231T235959Z")
    shutil.copytree(run, later)
    told = json.loads((later / "run.json").read_text())
    told["parameters"]["slo_ms"] = 950.0
    told["headline"][0]["value"] -= 5
    (later / "run.json").write_text(json.dumps(told))
    return Site(tmp_path / "runs", notebooks)


def test_without_names_the_newest_is_held_beside_the_one_before(site):
    html = compare_page(site, "waves")
    first, second = sorted(path.name for path in (site.runs / "waves").iterdir())
    assert html.index(f'value="{first}" selected') < html.index(f'value="{second}" selected')
    assert (
        '<th class="text name" scope="row">slo_ms</th><td class="text long">900</td><td class="text long">950</td>'
        in html
    )
    assert "<td>−5</td>" in html
    assert "▼" not in html.partition("<body")[2]  # drawn by the style sheet, so that a reader hears the word alone
    assert '<span class="way down">down</span>' in html
    assert 'id="wb-a-p0-0"' in html
    assert 'id="wb-b-p0-0"' in html


@pytest.mark.parametrize("name", ["../../etc", "20200101T000000Z", "<script>", ".20260101T000000Z.partial", "\x00"])
def test_a_name_that_no_run_has_is_refused(site, name):
    for asked in ({"a": name}, {"b": name}):
        with pytest.raises(WorkbenchError, match="There is no run"):
            page_of(site, "waves", "compare", lambda key, asked=asked: asked.get(key, ""))


def test_one_run_cannot_be_compared(runs, notebooks):
    with pytest.raises(WorkbenchError, match="fewer than two runs"):
        compare_page(Site(runs, notebooks), "waves")


def test_a_run_without_a_page_is_compared_by_its_figures(site):
    for name in ("page.json", "pictures.json"):
        (site.runs / "waves" / "20991231T235959Z" / name).unlink()
    html = compare_page(site, "waves")
    assert "This run has no such picture." in html
    assert "<td>−5</td>" in html
