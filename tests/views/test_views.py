"""Every picture: axes with names and units, hover, a look for light and dark, and everything that it was given."""

import numpy as np
import pandas as pd
import pytest

from workbench.analyses import drift as drifting
from workbench.analyses import power as powers
from workbench.views import drift, look, maps, performance, power, quality


def drawn(view):
    """The bokeh figures of a picture."""
    import holoviews as hv
    from bokeh.models import Plot

    state = hv.renderer("bokeh").get_plot(view).state
    return [state] if isinstance(state, Plot) else list(state.select({"type": Plot}))


@pytest.fixture
def pictures(sound, moved, speed):
    shares, found, verdicts, volume = sound
    judged, old, new, name = moved
    measured, incidents, tails = speed
    return {
        "missing_map": quality.missing_map(shares, found),
        "rows": quality.rows(volume),
        "columns": quality.columns(verdicts),
        "share_lines": quality.share_lines(shares, "f03", segments=("", "region=us-east")),
        "drift_map": drift.drift_map(judged),
        "drift_lines": drift.drift_lines(judged, ["f05", "model"]),
        "numbers": drift.closer(drifting.close_up(old, new, drifting.closest(judged)), name),
        "values": drift.closer(drifting.close_up(old, new, judged.query("column == 'model'").iloc[-2]), name),
        "power_lines": power.power_lines(powers.curves(judged)),
        "bars": drift.drift_map(judged[judged["window"] == ""]),
        "missing_lines": drift.missing_lines(judged),
        "percentiles": performance.percentiles(measured, "latency", 10),
        "slow_map": performance.slow_map(measured, "latency_p90", incidents),
        "goodput": performance.goodput(measured, 10),
        "goodput_lines": performance.goodput_lines(measured, 10, ["", "model=atlas-8b"]),
        "tails": performance.tails(tails, 10),
        "traffic": performance.traffic(measured),
    }


def test_every_picture_says_what_it_shows(pictures):
    from bokeh.models import HoverTool

    for name, view in pictures.items():
        for figure in drawn(view):
            labels = [axis.axis_label for axis in (*figure.xaxis, *figure.yaxis)]
            assert any(labels), name
            assert figure.title.text, name
            assert figure.select({"type": HoverTool}), name
            assert figure.width_policy == "max" or figure.sizing_mode == "stretch_width", name


def test_every_picture_can_be_read_on_light_and_on_dark(pictures):
    for name, view in pictures.items():
        for figure in drawn(view):
            assert figure.background_fill_color is None, name
            assert figure.border_fill_color is None, name
            assert {axis.major_label_text_color for axis in figure.axis} == {look.TEXT}, name


def test_a_picture_can_be_drawn_twice(pictures):
    import holoviews as hv
    from bokeh.document import Document

    for view in pictures.values():
        for _ in range(2):
            Document().add_root(hv.renderer("bokeh").get_plot(view).state)


def luminance(colour):
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    return sum(
        weight * (part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4)
        for weight, part in zip((0.2126, 0.7152, 0.0722), parts, strict=True)
    )


def contrast(one, other):
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_text_has_contrast_on_both_backgrounds():
    for side in (look.LIGHT, look.DARK):
        assert contrast(look.TEXT, side["background"]) > 4
        for name in ("text", "muted", "accent", "bad", "good"):
            assert contrast(side[name], side["background"]) > 4.5, name


def cells():
    frame = pd.DataFrame({"window": ["2026-03-02T00:00:00Z", "2026-03-03T00:00:00Z"] * 2, "row": ["a", "a", "b", "b"]})
    return frame.assign(value=[0.0, 2.0, np.nan, 1.0], odd=[False, True, False, False])


def shown(view):
    return {
        (renderer.glyph.hatch_pattern, renderer.glyph.fill_alpha): len(renderer.data_source.data["left"])
        for figure in drawn(view)
        for renderer in figure.renderers
    }


def test_a_cell_without_anything_is_hatched_and_zero_is_not():
    view = maps.cells(cells(), row="row", value="value", label="x", title="t", marked="odd")
    assert shown(view) == {(None, 1.0): 3, ("right_diagonal_line", 0.0): 1, (None, 0.0): 1}


def test_neighbouring_cells_are_framed_together():
    view = maps.cells(
        cells().assign(odd=[True, True, True, False]), row="row", value="value", label="x", title="t", marked="odd"
    )
    assert shown(view)[(None, 0.0)] == 2


def test_a_map_draws_fifty_rows_and_says_how_many_there_are():
    frame = pd.DataFrame({"window": "2026-03-02T00:00:00Z", "row": [f"r{i}" for i in range(70)], "value": 1.0})
    (figure,) = drawn(maps.cells(frame, row="row", value="value", label="x", title="many"))
    assert figure.title.text == "many (the first 50 of 70)"
    assert len(figure.renderers[0].data_source.data["left"]) == 50


def test_a_low_map_says_in_its_title_what_the_colour_means():
    frame = cells()
    short, long = (
        drawn(maps.cells(frame, row="row", value="value", label=label, title="t"))[0]
        for label in ("x", "distance above noise (0 to 1)")
    )
    assert (short.title.text, [bar.title for bar in short.right]) == ("t", ["x"])
    assert long.title.text == "t; colour: distance above noise (0 to 1)"
    assert not any(bar.title for bar in long.right)


def test_two_constants_are_two_steps():
    one = pd.DataFrame({"low": [5.0], "high": [5.0], "count": [100]})
    other = one.assign(low=7.0, high=7.0)
    for now, jump in ((other, 7.0), (one, 5.0)):
        before, after = (
            curve.data for curve in drift.numbers(one, now, "k", ("before", "now")) if "share" in curve.data
        )
        for curve, at in ((before, 5.0), (after, jump)):
            assert list(curve["share"]) == [0.0, 100.0, 100.0]
            assert curve["value"].iloc[1] == at
            assert curve["value"].is_monotonic_increasing


def test_a_map_without_windows_says_so():
    import holoviews as hv

    frame = cells().assign(window="")
    assert isinstance(maps.cells(frame, row="row", value="value", label="x", title="t"), hv.Div)


def test_months_have_their_own_lengths_and_a_hole_stays_a_hole():
    told = maps.spans(["2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z", "2026-03-01T00:00:00Z", ""])
    assert ((told["end"] - told["start"]).dt.days.tolist())[:2] == [31, 28]
    told = maps.spans(["2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z", "2026-01-09T00:00:00Z", "2026-01-10T00:00:00Z"])
    assert (told["end"] - told["start"]).dt.days.tolist()[0] == 1
    assert len(maps.spans(["", "(missing)"])) == 0


def test_the_gap_of_two_distributions_is_the_ks_distance(moved):
    judged, old, new, _ = moved
    row = drifting.closest(judged)
    frame = drifting.close_up(old, new, row)
    one, other = (frame[frame["side"] == side] for side in ("reference", "current"))
    ladders = [
        (side["high"].to_numpy(), (100 * side["count"].cumsum() / side["count"].sum()).to_numpy())
        for side in (one, other)
    ]
    _, low, high = drift._gap(*ladders)
    assert abs(high - low) / 100 == pytest.approx(row["ks"], abs=1e-9)


def test_nothing_to_draw_is_a_sentence(sound, moved, speed):
    import holoviews as hv

    shares, found, verdicts, _ = sound
    judged, *_ = moved
    measured, *_ = speed
    still = measured[measured["window"] == ""]
    for view in (
        quality.rows(pd.DataFrame(columns=["window", "rows", "usual", "ratio", "out"])),
        quality.columns(verdicts.assign(missing=0.0, nan=0.0, infinite=0.0)),
        quality.share_lines(shares.assign(window=""), "f03"),
        quality.missing_map(shares.assign(window=""), found),
        drift.drift_map(judged[judged["window"] == ""].assign(evaluated=False)),
        drift.drift_lines(judged[judged["window"] == ""], ["f05"]),
        drift.missing_lines(judged[judged["window"] == ""]),
        drift.closer(drifting.close_up(moved[1], moved[2], None), "x"),
        performance.percentiles(still),
        performance.slow_map(still),
        performance.goodput_lines(still, 10),
        performance.traffic(still),
        performance.tails({}, 10),
    ):
        assert isinstance(view, hv.Div)


def test_labels_in_short():
    assert [look.short(one) for one in ("2026-03-05T00:00:00Z", "2026-03-05T07:00:00Z")] == [
        "2026-03-05",
        "2026-03-05 07:00",
    ]


def test_any_two_spans_answer_and_say_when_they_overlap(rows):
    import functools

    import holoviews as hv

    import workbench as wb
    from workbench.analyses import parts, running

    sums = running.running(wb.cube(rows, by=parts.axes("time", "D"), of=["f05", "model", "score"]))
    view = drift.any_two(functools.partial(running.between, sums), sums.windows)
    assert isinstance(view, hv.DynamicMap)
    first, last = (look.short(label) for label in (sums.windows[0], sums.windows[-1]))
    (apart,), (same,) = drawn(view[first, last, 1]), drawn(view[first, first, 1])
    assert apart.title.text == f"{last} against {first}"
    assert same.title.text.endswith("choose two apart")
    assert "f05" in [name for one in apart.renderers for name in one.data_source.data.get("name", [])]


def test_columns_of_the_same_numbers_of_values_share_a_power_curve(moved):
    curves = powers.curves(moved[0])
    assert curves["n"].max() < 1.2 * curves["n"].min(), "all windows are alike here, but for missing values"
    lines = power.power_lines(curves)
    labels = {layer.label for layer in lines if layer.label}
    assert len(labels) <= 2
    assert any(f"and {curves['column'].nunique() - 1} more (about " in label for label in labels)
    far_apart = curves.assign(n=np.where(curves["column"] == curves["column"].iloc[0], 50.0, 900.0))
    labels = {layer.label for layer in power.power_lines(far_apart) if layer.label}
    assert any(label.endswith("(50 values)") for label in labels)
    assert any(label.endswith("900 values)") for label in labels)
    assert "was evaluated" in str(power.power_lines(curves[:0]).data)


def test_the_slices_that_are_told_are_numbered_from_nothing():
    carried = pd.DataFrame({"column": ["x", "y"], "slice": ["", "model=a"], "words": ["all", "model=a carries it"]})
    assert drifting.told_carriers(carried).to_dict("list") == {"column": ["y"], "in words": ["model=a carries it"]}
    assert drifting.told_carriers(carried).index.tolist() == [0]
    assert drifting.told_carriers(carried[:1]) is None


def test_the_flow_says_where_a_step_was_worked_on_where_not_all_were_threads():
    from workbench.views import prepare

    step = {"words": "", "rows_in": 5, "rows_out": 5, "changed": 0, "refused": 0, "flagged": 0, "dropped": 0}
    for first, told in (
        ("processes", ["came in: 5 rows", "types: 5 rows · processes"]),
        ("threads", ["came in: 5 rows", "types: 5 rows"]),
    ):
        steps = pd.DataFrame([{"step": "types", "where": first, **step}])
        (words,) = [list(one.data["text"]) for one in prepare.flow(steps) if "text" in one.data]
        assert words == told
