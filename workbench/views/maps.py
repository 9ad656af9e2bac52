"""A map of cells: rows against windows of time, where a cell without rows is hatched and zero is not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from workbench.views import look

LETTER = 6.5  # px of a letter along a colour bar


def spans(labels: Sequence[str]) -> pd.DataFrame:
    """Start and end of every window label as naive UTC times; the last one gets the usual length."""
    known = sorted({label for label in labels if label and label != "(missing)"})
    starts = look.moments(known)
    ends = starts.shift(-1)
    steps = starts.diff().dropna()
    usual = steps.median() if len(steps) else pd.Timedelta(hours=1)
    if len(starts):
        # A hole in time is not part of the window before it, months may differ in length.
        ends = ends.where(ends - starts <= 1.5 * usual, starts + usual)
    return pd.DataFrame({"window": known, "start": starts, "end": ends})


def cells(
    frame: pd.DataFrame,
    *,
    row: str,
    value: str,
    label: str,
    title: str,
    order: Sequence[str] | None = None,
    hover: Sequence[tuple[str, str]] = (),
    colour: str = look.BAD,
    log: bool = False,
    limits: tuple[float, float] | None = None,
    marked: str | None = None,
    tick: str = "0.[00]",
) -> Any:
    """A map with windows across and one line a row, the first of `order` on top.

    frame: one row a cell with `window` (ISO labels), `row` and `value`; NaN is a cell without anything to show, and
    is hatched. label: what the colour means, with its unit. hover: (words, column of the frame). marked: a bool
    column, cells to frame. At most 50 rows are drawn; the title says when there are more.
    """
    hv = look.extension()
    known = list(dict.fromkeys(frame[row])) if order is None else [name for name in order if name in set(frame[row])]
    shown = known[: look.DRAWN]
    if len(known) > len(shown):
        title = f"{title} (the first {len(shown)} of {len(known)})"
    timed = spans(list(frame["window"]))
    if timed.empty or not shown:
        return nothing(f"{title}: no windows of time to show")
    part = frame[frame[row].isin(shown)].merge(timed, on="window")
    place = {name: len(shown) - 1 - at for at, name in enumerate(shown)}
    middle = part[row].map(place).astype("float64")
    part = part.assign(bottom=middle - 0.46, top=middle + 0.46, shown=part[value].astype("float64"))
    part["when"] = [look.short(name) for name in part["window"]]
    box = ["start", "bottom", "end", "top"]
    words = [("window", "@when UTC"), (row, f"@{{{row}}}"), *((word, f"@{{{name}}}") for word, name in hover)]
    extra = list(dict.fromkeys([row, "when", *(name for _, name in hover)]))
    there, gone = part[part["shown"].notna()], part[part["shown"].isna()]
    low, high = limits or _limits(there["shown"], log)
    palette = look.ramp(colour)
    height = max(150, 95 + look.ROW * len(shown))
    if LETTER * len(label) > height - 95:  # longer than the bar beside which it would stand
        title, label = f"{title}; colour: {label}", ""
    made = hv.Rectangles(there, kdims=box, vdims=["shown", *extra]).opts(
        color="shown",
        cmap=palette,
        clim=(low, high),
        logz=log,
        line_color=None,
        colorbar=True,
        clipping_colors={"min": palette[0], "max": palette[-1]},
        hover_tooltips=words,
        tools=["hover"],
        clabel=label,
        colorbar_opts={"width": 12},
        hooks=[_ticks(tick)],
        colorbar_position="right",
    )
    layers = [made]
    if len(gone):
        layers.append(
            hv.Rectangles(gone, kdims=box, vdims=["shown", *extra]).opts(
                fill_alpha=0.0,
                line_color=None,
                hooks=[_hatched],
                hover_tooltips=words,
                tools=["hover"],
            )
        )
    if marked is not None and part[marked].any():
        frames = _stretches(part[part[marked]], row)
        frame = look.ACCENT if colour != look.ACCENT else look.BAD
        layers.append(hv.Rectangles(frames, kdims=box).opts(fill_alpha=0.0, line_color=frame, line_width=2))
    ticks = [(at, name) for name, at in place.items()]
    return hv.Overlay(layers).opts(
        **look.base(
            height,
            yticks=ticks,
            ylim=(-0.6, len(shown) - 0.4),
            xlim=(part["start"].min(), part["end"].max()),
            xlabel="start of the window (UTC)",
            ylabel="",
            title=title,
            show_grid=False,
            show_legend=False,
        )
    )


def _stretches(part: pd.DataFrame, row: str) -> pd.DataFrame:
    """One box round neighbouring cells of a row."""
    part = part.sort_values([row, "start"])
    fresh = (part[row] != part[row].shift()) | (part["start"] > part["end"].shift())
    one = part.groupby(fresh.cumsum())
    return one.agg({"start": "first", "bottom": "first", "end": "last", "top": "first"})


def _limits(values: pd.Series, log: bool) -> tuple[float, float]:
    usable = values[np.isfinite(values) & (values > 0)] if log else values[np.isfinite(values)]
    if usable.empty:
        return (0.1, 1.0) if log else (0.0, 1.0)
    low, high = float(usable.min()) if log else min(0.0, float(usable.min())), float(usable.max())
    return (low, high) if high > low else ((low / 2, high * 2) if log and low > 0 else (low, low + 1.0))


def _ticks(form: str) -> Any:
    """A hook that writes the colour bar's numbers: every drawing gets a formatter of its own."""

    def hook(plot: Any, element: Any) -> None:
        from bokeh.models import NumeralTickFormatter

        if "color_colorbar" in plot.handles:
            plot.handles["color_colorbar"].formatter = NumeralTickFormatter(format=form)

    return hook


def _hatched(plot: Any, element: Any) -> None:
    """A hook that hatches the cells of an element: HoloViews has no option for it."""
    glyph = plot.handles["glyph"]
    glyph.hatch_pattern, glyph.hatch_color = "right_diagonal_line", look.NOTHING
    glyph.hatch_scale, glyph.hatch_weight = 6, 0.6


def nothing(words: str) -> Any:
    """A quiet sentence where a picture has nothing to draw."""
    from html import escape

    hv = look.extension()
    return hv.Div(f'<p style="color:{look.TEXT};font:14px {look.FONT}">{escape(words)}</p>').opts(height=48)
