"""Pictures of a table in the making: the flow of its rows, what was refused, what was personal, and its versions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from workbench.views import look, maps

SIDES = (("refused", look.BAD), ("dropped", look.WARN), ("flagged", look.PALETTE[3]))


LONG = 46  # letters of a name that are drawn; the whole name is told when it is pointed at


def _words(texts: Sequence[tuple[float, float, str]]) -> Any:
    """Words in a picture, beginning where they stand."""
    from bokeh.core.properties import value

    hv = look.extension()
    return hv.Labels(list(texts), ["x", "y"], "text").opts(
        text_color=look.TEXT, text_align="left", text_font_size="10pt", text_font=value(look.FONT)
    )


def flow(steps: pd.DataFrame, first: str = "came in") -> Any:
    """The rows on their way down through the steps; what left them, or was only flagged, stands at the side.

    steps: step, words, rows_in, rows_out, changed, refused, flagged, dropped, where, in their order.
    """
    hv = look.extension()
    if steps.empty:
        return maps.nothing("No step: rows are taken as they came")
    came = int(steps["rows_in"].iloc[0])
    rows: list[dict[str, Any]] = [{"step": first, "words": "as collected", "rows_out": came}]
    rows += [{str(key): value for key, value in one.items()} for one in steps.to_dict("records")]
    top = max(came, 1)
    spread = any(str(one.get("where", "")).startswith(("processes", "cuda", "cluster")) for one in rows)
    boxes: list[tuple[Any, ...]] = []
    sides: list[tuple[Any, ...]] = []
    texts: list[tuple[float, float, str]] = []
    notes: list[tuple[float, float, str]] = []
    for k, one in enumerate(rows):
        y = float(len(rows) - 1 - k)
        width = max(one["rows_out"] / top, 0.004)
        changed = int(one.get("changed", 0))
        boxes.append(
            (0.0, y - 0.36, width, y - 0.12, one["step"], one["words"], one["rows_out"], changed, one.get("where", ""))
        )
        told = f"{one['step']}: {one['rows_out']:,} rows" + (f", {changed:,} changed" if changed else "")
        told += f" · {one['where']}" if spread and one.get("where") else ""
        texts.append((0.0, y + 0.15, told))
        left = [(name, int(one.get(name, 0)), colour) for name, colour in SIDES if int(one.get(name, 0))]
        for place, (name, count, colour) in enumerate(left):
            sides.append((1.03, y - 0.36, 1.06, y - 0.12, name, count, one["step"], colour))
            said = f"{count:,} {name}" if place == 0 else f"{notes.pop()[2]}, {count:,} {name}"
            notes.append((1.03, y + 0.15, said))
    bars = hv.Rectangles(boxes, ["x0", "y0", "x1", "y1"], ["step", "words", "rows", "changed", "where"]).opts(
        color=look.ACCENT,
        fill_alpha=0.8,
        line_color=None,
        tools=["hover"],
        hover_tooltips=[
            ("step", "@step"),
            ("does", "@words"),
            ("rows out", "@rows{0,0}"),
            ("changed", "@changed{0,0}"),
            ("worked on", "@where"),
        ],
    )
    layers = bars * _words(texts)
    if sides:
        layers *= hv.Rectangles(sides, ["x0", "y0", "x1", "y1"], ["what", "rows", "step", "colour"]).opts(
            color="colour",
            line_color=None,
            tools=["hover"],
            hover_tooltips=[("step", "@step"), ("rows", "@rows{0,0} @what")],
        )
        layers *= _words(notes)
    return layers.opts(
        **look.base(
            max(160, 60 + 36 * len(rows)),
            title="From what came in to what is kept",
            xlim=(0, 1.5),
            ylim=(-0.6, len(rows) - 0.4),
            xaxis=None,
            yaxis=None,
            show_grid=False,
            show_legend=False,
        )
    )


def bars(
    frame: pd.DataFrame,
    name: Sequence[str],
    value: str,
    *,
    title: str,
    label: str,
    colour: str = look.BAD,
    empty: str = "",
) -> Any:
    """One bar a row, the longest on top; names are of one or several columns. `empty` is said where there is no row."""
    hv = look.extension()
    if frame.empty:
        return maps.nothing(empty or f"{title}: nothing")
    part = frame.sort_values(value, ascending=False, kind="stable")
    shown = part.head(look.DRAWN)
    title += f" (the first {len(shown)} of {len(part)})" if len(part) > len(shown) else ""
    names = [": ".join(str(one[column]) for column in name) for one in shown.to_dict("records")]
    place = np.arange(len(shown))[::-1].astype("float64")
    rows = pd.DataFrame(
        {
            "left": 0.0,
            "bottom": place - 0.36,
            "right": shown[value].to_numpy("float64"),
            "top": place - 0.12,
            "name": names,
        }
    )
    drawn = hv.Rectangles(rows, ["left", "bottom", "right", "top"], ["name"]).opts(
        color=colour,
        line_color=None,
        fill_alpha=0.85,
        tools=["hover"],
        hover_tooltips=[("", "@name"), (label, "@right{0,0}")],
    )
    short = [one if len(one) <= LONG else f"{one[: LONG - 1]}…" for one in names]
    words = _words(
        [(0.0, y + 0.15, f"{n:,.0f} · {one}") for y, one, n in zip(place, short, rows["right"], strict=True)]
    )
    return (drawn * words).opts(
        **look.base(
            max(140, 90 + 36 * len(shown)),
            title=title,
            xlabel=label,
            ylabel="",
            yaxis=None,
            ylim=(-0.7, len(shown) - 0.3),
            xlim=(0, float(rows["right"].max()) * 1.05 or 1),
            show_legend=False,
        )
    )


def versions(frame: pd.DataFrame) -> Any:
    """Rows that every version added and changed (up) and removed (down), oldest first.

    frame: version, time, rows, added, changed, removed, operation; where added is missing, what a version brought cannot be
    told, and a question mark is drawn.
    """
    hv = look.extension()
    if frame.empty:
        return maps.nothing("No version yet")
    part = frame.tail(look.DRAWN).reset_index(drop=True)
    unknown = part["added"].isna()
    part = part.assign(**{name: part[name].fillna(0).astype(int) for name in ("added", "changed", "removed")})
    drawn = []
    if unknown.any():
        drawn.append(_words([(k - 0.05, 0.0, "?") for k in np.flatnonzero(unknown)]))
    for kind, colour, sign in (("added", look.GOOD, 1), ("changed", look.WARN, 1), ("removed", look.BAD, -1)):
        base = part["added"].to_numpy(float) if kind == "changed" else np.zeros(len(part))
        size = sign * part[kind].to_numpy(float)
        rows = pd.DataFrame(
            {
                "left": np.arange(len(part)) - 0.36,
                "bottom": np.minimum(base, base + size),
                "right": np.arange(len(part)) + 0.36,
                "top": np.maximum(base, base + size),
                "version": part["version"],
                "when": part["time"],
                "count": part[kind],
                "all": part["rows"],
            }
        )
        rows = rows[rows["count"] > 0]
        if len(rows):
            tips = [("version", "@version of @when UTC"), (kind, "@count{0,0} rows"), ("rows in all", "@all{0,0}")]
            drawn.append(
                hv.Rectangles(
                    rows, ["left", "bottom", "right", "top"], ["version", "when", "count", "all"], label=kind
                ).opts(color=colour, line_color=None, fill_alpha=0.8, tools=["hover"], hover_tooltips=tips)
            )
    if not drawn:
        return maps.nothing("Versions without rows")
    step = max(1, -(-len(part) // 12))
    return hv.Overlay(drawn).opts(
        **look.base(
            240,
            title="What every version brought",
            xlabel="version",
            ylabel="rows",
            xticks=[(k, str(part["version"][k])) for k in range(0, len(part), step)],
            xlim=(-0.7, len(part) - 0.3),
            show_grid=True,
            legend_position="top",
        )
    )
