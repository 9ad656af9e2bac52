"""Pictures of what moved."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from workbench.views import look, maps

NAMES = {"ks": "KS distance", "total_variation": "total variation"}
STEPS = 60  # bars of a drawn distribution at most
VALUES = 15  # values of a text column that are drawn


def drift_map(judged: pd.DataFrame, segment: str = "", threshold: float = 0.1) -> Any:
    """How far each column is from the reference in every window, above what sampling alone gives.

    judged: `analyses.drift.judge`. Hatched: not evaluated. Framed: drifted. Without windows: a bar a column.
    """
    if not (judged["window"] != "").any():
        return drift_bars(judged, segment, threshold)
    part = judged[(judged["segment"] == segment) & (judged["window"] != "")].copy()
    part["above"] = part["distance_excess"].where(part["evaluated"])
    part["told"] = [
        f"{NAMES[one.metric]} {one.distance:.3f}, sampling alone {one.distance_noise:.3f}" if one.evaluated else one.why
        for one in part.itertuples()
    ]
    part["change"] = [
        f"{100 * one.missing_reference:.3g} % before, {100 * one.missing_current:.3g} % now"
        for one in part.itertuples()
    ]
    strongest = part.assign(key=part["above"].fillna(-1) + part["drifted"]).groupby("column")["key"].max()
    order = list(strongest.sort_values(ascending=False, kind="stable").index)
    high = max(float(np.nanmax(part["above"].to_numpy(), initial=0.0)), 2 * threshold, 0.05)
    return maps.cells(
        part,
        row="column",
        value="above",
        order=order,
        limits=(0.0, high),
        marked="drifted",
        label="distance above noise (0 to 1)",
        title="Distance from the reference",
        hover=[("distance", "told"), ("missing", "change"), ("verdict", "verdict")],
    )


def drift_bars(judged: pd.DataFrame, segment: str = "", threshold: float = 0.1) -> Any:
    """Each column's distance over all rows, what sampling alone gives as a grey bar in front, the threshold dashed."""
    hv = look.extension()
    part = judged[(judged["segment"] == segment) & (judged["window"] == "") & judged["evaluated"]]
    shown = part.sort_values("distance", ascending=False, kind="stable").head(look.DRAWN)
    if shown.empty:
        return maps.nothing("Distance from the reference: no column could be compared")
    place = np.arange(len(shown))[::-1].astype("float64")
    shown = shown.assign(left=0.0, bottom=place - 0.4, top=place + 0.4)
    words = [
        ("column", "@column"),
        ("distance", "@distance{0.000}"),
        ("sampling alone", "@distance_noise{0.000}"),
        ("verdict", "@verdict"),
    ]
    told = ["column", "verdict", "distance_noise"]
    layers = [
        hv.Rectangles(
            shown[shown["drifted"] == drifted], ["left", "bottom", "distance", "top"], told, label=label
        ).opts(color=colour, line_color=None, tools=["hover"], hover_tooltips=words)
        for drifted, label, colour in ((True, "drifted", look.BAD), (False, "not drifted", look.ACCENT))
        if (shown["drifted"] == drifted).any()
    ]
    noise = hv.Rectangles(shown, ["left", "bottom", "distance_noise", "top"], label="sampling alone").opts(
        color=look.TEXT, line_color=None
    )
    high = max(float(shown["distance"].max()), 2 * threshold) * 1.05
    limit = hv.Curve(pd.DataFrame({"distance": [threshold] * 2, "y": [-0.6, len(shown) - 0.4]}), "distance", "y").opts(
        color=look.TEXT, line_dash="dashed", line_width=1.5
    )
    return hv.Overlay([*layers, noise, limit]).opts(
        **look.base(
            max(150, 100 + look.ROW * len(shown)),
            title="Distance from the reference",
            xlabel="distance (0 to 1)",
            ylabel="",
            yticks=list(zip(place, shown["column"], strict=True)),
            ylim=(-0.6, len(shown) - 0.4),
            xlim=(0, high),
            legend_position="right",
        )
    )


def any_two(between: Callable[..., pd.DataFrame], windows: Sequence[str], threshold: float = 0.1) -> Any:
    """Sliders for any two spans of windows, and every column's distance between the two.

    between: takes two (first, last) spans of window labels and gives judged rows. windows: the labels, in order. The spans
    are as long as the third slider says; where they overlap the picture says so instead of comparing.
    """
    hv = look.extension()
    names = {look.short(label): label for label in windows}
    short, lengths = list(names), [size for size in (1, 2, 3, 7, 14, 28) if 2 * size <= len(names)] or [1]

    def draw(before: str, now: str, length: int) -> Any:
        spans = []
        for label in (before, now):
            start = short.index(label)
            spans.append((names[short[start]], names[short[min(start + length, len(short)) - 1]]))
        title = " against ".join(
            f"{look.short(a)} to {look.short(b)}" if a != b else look.short(a) for a, b in spans[::-1]
        )
        apart = spans[0][1] < spans[1][0] or spans[1][1] < spans[0][0]
        return _two_spans(
            between(*spans) if apart else None, title if apart else f"{title}: choose two apart", threshold
        )

    dims = [
        hv.Dimension("before", values=short, default=short[0], label="before: first window"),
        hv.Dimension("now", values=short, default=short[-lengths[0]], label="now: first window"),
        hv.Dimension("length", values=lengths, default=lengths[0], label="windows each"),
    ]
    return hv.DynamicMap(draw, kdims=dims).opts(framewise=True)


def _two_spans(judged: pd.DataFrame | None, title: str, threshold: float) -> Any:
    """A bar a column, furthest first, in the same two layers whatever was found; plain columns, since those draw fastest."""
    hv = look.extension()
    part = None if judged is None else judged[(judged["segment"] == "") & judged["evaluated"]]
    shown = [] if part is None else part.sort_values("distance_excess", ascending=False, kind="stable").head(12).index
    told = {
        name: np.array([] if part is None else part.loc[shown, name].to_numpy())
        for name in ("column", "verdict", "distance", "distance_noise")
    }
    far, noise = told["distance"].astype("float64"), told["distance_noise"].astype("float64")
    place, size = 11.0 - np.arange(len(far)), len(far)  # the furthest on top, however few there are
    colour = [look.BAD if one == "drifted" else look.ACCENT for one in told["verdict"]] + [look.TEXT] * size
    words = [f"{a:.3f}, sampling alone {b:.3f}: {c}" for a, b, c in zip(far, noise, told["verdict"], strict=True)]
    box = {
        "left": np.zeros(2 * size), "bottom": np.tile(place - 0.4, 2), "right": np.concatenate([far, noise]),
        "top": np.tile(place + 0.4, 2), "name": np.tile(told["column"].astype(object), 2),
        "told": np.array(words * 2, dtype=object), "colour": np.array(colour, dtype=object),
    }  # fmt: skip
    edges = ["left", "bottom", "right", "top"]
    bars = hv.Rectangles(box, edges, ["name", "told", "colour"], datatype=["dictionary"]).opts(
        color="colour", line_color=None, tools=["hover"], hover_tooltips=[("column", "@name"), ("distance", "@told")]
    )
    at = {"x": np.fmax(far, noise), "y": place, "name": told["column"].astype(object)}
    names = hv.Labels(at, ["x", "y"], "name", datatype=["dictionary"]).opts(
        text_color=look.TEXT, text_align="left", text_font_size="9pt", xoffset=0.005
    )
    high = max(float(far.max(initial=0.0)), 2 * threshold) * 1.35
    return hv.Overlay([bars, names]).opts(
        **look.base(360, title=title, xlabel="distance (0 to 1)", ylabel="", yaxis=None, ylim=(-0.6, 11.6), xlim=(0, high),
                    show_legend=False, framewise=True)
    )  # fmt: skip


def drift_lines(judged: pd.DataFrame, columns: Sequence[str], segment: str = "", threshold: float = 0.1) -> Any:
    """Each column's distance over time, what sampling alone would give (grey), and the threshold above it (dashed)."""
    hv = look.extension()
    part = judged[(judged["segment"] == segment) & judged["column"].isin(columns) & judged["evaluated"]]
    part = part[~part["window"].isin(["", "(missing)"])]
    if part.empty:
        return maps.nothing("No windows to draw over time")
    part = part.assign(start=look.moments(part["window"]).to_numpy())
    tint = look.colours(list(columns))
    noise = part.groupby("start", as_index=False)["distance_noise"].max().sort_values("start")
    noise = noise.assign(limit=noise["distance_noise"] + threshold, zero=0.0)
    layers = [
        hv.Area(noise, "start", "distance_noise", label="sampling alone").opts(
            color=look.TEXT, fill_alpha=0.25, line_alpha=0
        ),
        hv.Curve(noise, "start", "limit", label="threshold").opts(color=look.TEXT, line_dash="dashed", line_width=1.2),
    ]
    for column in columns:
        one = part[part["column"] == column].sort_values("start")
        if one.empty:
            continue
        words = [
            ("column", column.replace("@", "")),
            ("window", "@start{%F %R} UTC"),
            ("distance", "@distance{0.000}"),
            ("sampling alone", "@distance_noise{0.000}"),
            ("rows", "@rows_current{0,0}"),
        ]
        line = hv.Curve(one, "start", ["distance"], label=column).opts(color=tint[column], line_width=2)
        dots = hv.Scatter(one, "start", ["distance", "distance_noise", "rows_current"], label=column).opts(
            color=tint[column], size=6, tools=["hover"], hover_tooltips=words, hover_formatters={"@start": "datetime"}
        )
        layers += [line, dots]
    top = max(float(part["distance"].max()), float(noise["limit"].max())) * 1.1
    return hv.Overlay(layers).opts(
        **look.base(
            300,
            title="When it moved",
            xlabel="start of the window (UTC)",
            ylim=(0, top),
            show_grid=True,
            ylabel="distance (0 to 1)",
            legend_position="right",
        )
    )


def closer(frame: pd.DataFrame, name: str) -> Any:
    """Before and now of one column. frame: `analyses.drift.close_up`; name: what the reference is called."""
    if frame.empty:
        return maps.nothing("No column could be compared")
    column, called = frame["column"].iloc[0], (_brief(name), frame["when"].iloc[0])
    old, new = (frame[frame["side"] == side].reset_index(drop=True) for side in ("reference", "current"))
    if frame["low"].isna().all():
        return values(list(old["value"]), old["count"], new["count"], column, called)
    return numbers(old, new, column, called)


def _brief(name: str) -> str:
    halves = name.split("/")
    if len(halves) == 2 and all(half.endswith("Z") for half in halves):
        return " to ".join(look.short(half) for half in halves)
    return name.rstrip("/").rsplit("/", 1)[-1]


def numbers(reference: pd.DataFrame, current: pd.DataFrame, column: str, names: tuple[str, str], unit: str = "") -> Any:
    """Two distributions of one number: cumulative shares, whose widest gap is the KS distance, drawn as a bar.

    reference, current: frames of low, high, count in ascending order. names: what the two are called.
    """
    hv = look.extension()
    sides = [side for side in (reference, current) if len(side) and side["count"].sum()]
    if len(sides) < 2:
        return maps.nothing(f"{column}: no values on one side")
    shares = [100 * side["count"].cumsum() / side["count"].sum() for side in sides]
    ladders = [(side["high"].to_numpy(), share.to_numpy()) for side, share in zip(sides, shares, strict=True)]
    left, right = core(*ladders)
    ends = pd.DataFrame({"value": [left]}), pd.DataFrame({"value": [right]})  # a constant is a step between them
    curves = []
    for ladder, name, colour in zip(ladders, names, (look.TEXT, look.BAD), strict=True):
        thin = _thin(*ladder)
        before = [ends[0].assign(share=0.0)] if thin["value"].iloc[0] > left else []
        after = [ends[1].assign(share=thin["share"].iloc[-1])] if thin["value"].iloc[-1] < right else []
        thin = pd.concat([*before, thin, *after], ignore_index=True)
        curves.append(
            hv.Curve(thin, "value", "share", label=name).opts(
                color=colour,
                line_width=2,
                interpolation="steps-post",
                tools=["hover"],
                hover_tooltips=[(name.replace("@", ""), "@share{0.0} % of values are @value{0,0.[000]} or less")],
            )
        )
    at, low, high = _gap(*ladders)
    gap = hv.Segments(
        pd.DataFrame({"x": [at], "y0": [low], "x1": [at], "y1": [high]}),
        ["x", "y0", "x1", "y1"],
        label=f"widest gap {abs(high - low):.1f} points",
    ).opts(color=look.WARN, line_width=4)
    label = f"{column} ({unit})" if unit else column
    return hv.Overlay([*curves, gap]).opts(
        **look.base(
            300,
            title=f"{column}: before and now",
            xlabel=label,
            ylabel="% of values at or below",
            ylim=(0, 102),
            xlim=(left, right),
            show_grid=True,
            legend_position="bottom_right",
        )
    )


def _thin(x: Any, y: Any, most: int = 800) -> pd.DataFrame:
    """Points enough to draw: those that climb at least 1 / most of the way since the last one kept."""
    step = np.floor(y / (100 / most))
    keep = np.ones(len(x), dtype=bool)
    keep[1:-1] = step[1:-1] != step[:-2]
    return pd.DataFrame({"value": x[keep], "share": y[keep]})


def _gap(one: tuple[Any, Any], other: tuple[Any, Any]) -> tuple[float, float, float]:
    at = np.union1d(one[0], other[0])
    levels = []
    for x, y in (one, other):
        place = np.searchsorted(x, at, side="right") - 1
        levels.append(np.where(place >= 0, y[np.maximum(place, 0)], 0.0))
    where = int(np.abs(levels[0] - levels[1]).argmax())
    return float(at[where]), float(levels[0][where]), float(levels[1][where])


def core(*ladders: tuple[Any, Any]) -> tuple[float, float]:
    """From the 0.5th to the 99.5th percentile of either side, a little wider."""
    low = min(float(x[np.searchsorted(y, 0.5)]) for x, y in ladders)
    high = max(float(x[min(np.searchsorted(y, 99.5), len(x) - 1)]) for x, y in ladders)
    room = 0.03 * (high - low) or 1.0
    return low - room, high + room


def values(labels: Sequence[str], reference: Any, current: Any, column: str, names: tuple[str, str]) -> Any:
    """Two distributions of one text column: each value's share before (grey) and now, the largest changes on top."""
    hv = look.extension()
    a, b = np.asarray(reference, dtype="float64"), np.asarray(current, dtype="float64")
    if not a.sum() or not b.sum():
        return maps.nothing(f"{column}: no values on one side")
    frame = pd.DataFrame(
        {"text": [str(label) for label in labels], "before": 100 * a / a.sum(), "now": 100 * b / b.sum()}
    )
    frame["change"] = frame["now"] - frame["before"]
    shown = frame.reindex(frame["change"].abs().sort_values(ascending=False, kind="stable").index).head(VALUES)
    place = np.arange(len(shown))[::-1].astype("float64")
    shown = shown.assign(y=place)
    words = [("value", "@text"), (names[0], "@before{0.00} %"), (names[1], "@now{0.00} %")]
    link = hv.Segments(shown.assign(y1=shown["y"]), ["before", "y", "now", "y1"]).opts(
        color=look.TEXT, line_width=2, alpha=0.6
    )
    dots = [
        hv.Scatter(
            shown.rename(columns={name: "share"}).assign(before=shown["before"], now=shown["now"]),
            "share",
            ["y", "text", "before", "now"],
            label=label,
        ).opts(color=colour, size=11, tools=["hover"], hover_tooltips=words)
        for name, label, colour in (("before", names[0], look.TEXT), ("now", names[1], look.BAD))
    ]
    title = f"{column}: before and now" + (
        f" (the {VALUES} largest changes of {len(frame)})" if len(frame) > VALUES else ""
    )
    return hv.Overlay([link, *dots]).opts(
        **look.base(
            max(170, 100 + look.ROW * len(shown)),
            title=title,
            xlabel="% of values",
            ylabel="",
            yticks=list(zip(place, shown["text"], strict=True)),
            ylim=(-0.6, len(shown) - 0.4),
            show_grid=True,
            xlim=(-1, min(103, float(shown[["before", "now"]].max().max()) * 1.1 + 1)),
            legend_position="bottom_right",
        )
    )


def missing_lines(judged: pd.DataFrame, segment: str = "", most: int = 6) -> Any:
    """Missing share of the columns in which it changed most, over time; the dotted line is the reference's share."""
    hv = look.extension()
    part = judged[
        (judged["segment"] == segment) & ~judged["window"].isin(["", "(missing)"]) & judged["missing_evaluated"]
    ]
    change = part.groupby("column")["missing_change_excess"].max().sort_values(ascending=False, kind="stable")
    columns = list(change[change > 0.002].head(most).index)
    if not columns:
        return maps.nothing("No column's missing share changed by more than sampling alone would give")
    tint, layers = look.colours(columns), []
    for column in columns:
        one = part[part["column"] == column]
        one = one.assign(
            start=look.moments(one["window"]).to_numpy(),
            percent=100 * one["missing_current"],
            before=100 * one["missing_reference"],
        ).sort_values("start")
        words = [
            ("column", column.replace("@", "")),
            ("window", "@start{%F %R} UTC"),
            ("missing", "@percent{0.00} %"),
            ("reference", "@before{0.00} %"),
            ("rows", "@rows_current{0,0}"),
        ]
        layers += [
            hv.Curve(one, "start", ["percent"], label=column).opts(color=tint[column], line_width=2),
            hv.Scatter(one, "start", ["percent", "before", "rows_current"], label=column).opts(
                color=tint[column],
                size=6,
                tools=["hover"],
                hover_tooltips=words,
                hover_formatters={"@start": "datetime"},
            ),
            hv.Curve(one, "start", ["before"]).opts(color=tint[column], line_dash="dotted", line_width=1.2),
        ]
    return hv.Overlay(layers).opts(
        **look.base(
            260,
            title="Missing share over time",
            xlabel="start of the window (UTC)",
            ylabel="% missing",
            show_grid=True,
            legend_position="right",
        )
    )
