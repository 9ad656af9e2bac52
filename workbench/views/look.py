"""The look of every picture: colours that survive colour blindness, light paper and dark screens.

Backgrounds are transparent and text is a mid grey that can be read on white and on near black, so one picture
serves the page, the report and the notebook in both looks. `workbench.apps` reads the constants for its page.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import pandas as pd

# Okabe and Ito's eight colours, without black and with yellow last: their order keeps neighbours far apart for
# the three common kinds of colour blindness. https://jfly.uni-koeln.de/color/
PALETTE: tuple[str, ...] = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#8C8C8C", "#F0E442")
SEQUENTIAL = "cividis"  # one direction, read by everybody, and in grey print too
TEXT = "#757d88"  # contrast 4.2 on white and 4.3 on #14171c: good for labels on both
GRID = "#8080802e"  # grey, mostly transparent
ACCENT = PALETTE[0]
BAD = PALETTE[5]  # something to look at
WARN = PALETTE[1]
GOOD = PALETTE[2]
NOTHING = "#80808099"  # the hatching of a cell without rows; zero is the faint end of a ramp, never hatched
LIGHT: dict[str, str] = {
    "background": "#ffffff", "surface": "#f5f7f9", "text": "#1b1f24", "muted": "#59636e", "line": "#d5dae0",
    "accent": "#005f94", "bad": "#b34700", "good": "#00734f",
}  # fmt: skip
DARK: dict[str, str] = {
    "background": "#14171c", "surface": "#1d2229", "text": "#e8ebef", "muted": "#9aa4af", "line": "#343b45",
    "accent": "#56B4E9", "bad": "#ff9a5c", "good": "#3ecf9b",
}  # fmt: skip
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', sans-serif"
HEIGHT = 280  # px of a picture with one line of marks
ROW = 22  # px of one row of a heat map
DRAWN = 50  # rows of a map or bars that are drawn readably; a picture of more says how many it left out


def neutral(plot: Any, element: Any) -> None:
    """A HoloViews hook: transparent background, grey text, faint grid, whatever the page's look is."""
    from bokeh.models import NoOverlap

    figure = plot.state
    figures = [child[0] for child in figure.children] if hasattr(figure, "children") else [figure]
    for one in figures:
        one.background_fill_color = None
        one.border_fill_color = None
        one.outline_line_color = None
        one.title.text_color = TEXT
        one.title.text_font_style = "normal"
        one.title.text_font_size = "11pt"
        one.toolbar.logo = None
        for axis in one.axis:
            axis.axis_label_text_color = TEXT
            axis.axis_label_text_font_style = "normal"
            axis.major_label_text_color = TEXT
            axis.major_label_text_font_size = "9pt"
            axis.axis_line_color = TEXT
            axis.axis_line_alpha = 0.4
            axis.major_tick_line_color = TEXT
            axis.major_tick_line_alpha = 0.4
            axis.minor_tick_line_color = None
            if type(axis).__name__ == "DatetimeAxis":  # beside another run's, or on a phone, there is room for a few
                axis.major_label_policy = NoOverlap(min_distance=8)
        for grid in one.grid:
            if grid.grid_line_color is not None:  # None: the picture asked for no grid
                grid.grid_line_color = GRID
        for place in ("left", "right", "above", "below", "center"):
            for thing in getattr(one, place):
                _paint(thing)


def _paint(thing: Any) -> None:
    if thing.__class__.__name__ == "Legend":
        thing.background_fill_color = None
        thing.border_line_color = None
        thing.label_text_color = TEXT
        thing.label_text_font_size = "9pt"
        thing.inactive_fill_color = None
    elif thing.__class__.__name__ == "ColorBar":
        thing.background_fill_color = None
        thing.major_label_text_color = TEXT
        thing.title_text_color = TEXT
        thing.title_text_font_style = "normal"
        thing.title_text_font_size = "9pt"
        thing.bar_line_color = None


def base(height: int = HEIGHT, **more: Any) -> dict[str, Any]:
    """Options that every picture shares: full width, given height in px, quiet tools, the neutral hook."""
    hooks = [neutral, *more.pop("hooks", [])]
    return {"responsive": True, "height": height, "toolbar": "right", "default_tools": ["reset", "save"],
            "hooks": hooks, **more}  # fmt: skip


def extension() -> Any:
    """HoloViews with its bokeh side loaded, once and quietly; in a kernel, where pictures are shown, with its display too."""
    import holoviews as hv

    kernel = "IPython" in sys.modules and sys.modules["IPython"].get_ipython() is not None
    if "bokeh" not in hv.Store.renderers or (kernel and not getattr(hv.extension, "_loaded", True)):
        hv.extension("bokeh", logo=False)
    return hv


def ramp(colour: str, steps: int = 32, faint: float = 0.08) -> list[str]:
    """One colour from nearly transparent to full: it grows stronger on white and on black alike, and in grey print."""
    alphas = [faint + (1 - faint) * step / (steps - 1) for step in range(steps)]
    return [f"{colour}{round(255 * alpha):02x}" for alpha in alphas]


def colours(names: Sequence[str]) -> dict[str, str]:
    """One colour a name, in order; after the eighth they repeat, so that a name keeps its place."""
    return {name: PALETTE[place % len(PALETTE)] for place, name in enumerate(names)}


def moments(labels: Sequence[str] | pd.Series) -> pd.Series:
    """Window labels (ISO, UTC) as naive UTC times, which is what bokeh draws; "" becomes NaT."""
    times = pd.to_datetime(pd.Series(list(labels), dtype=object).replace("", None), utc=True, format="ISO8601")
    return times.dt.tz_localize(None)


def short(label: str) -> str:
    """A window label as people say it: without the Z, and without a midnight ("2026-03-05", "2026-03-05 07:00")."""
    text = label.removesuffix("Z").replace("T", " ")
    if text.endswith(" 00:00:00"):
        return text[:-9]
    return text[:-3] if text.endswith(":00") and text.count(":") == 2 else text
