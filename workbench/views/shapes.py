"""Two distributions in a cell of a table: before as a grey area, now as a line, as wide as a word."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from markupsafe import Markup, escape

from workbench.views import look
from workbench.views.drift import core

WIDTH, HEIGHT, EDGE = 96, 26, 2  # px
BARS = 24  # of numbers
VALUES = 12  # of text, the most frequent ones


def beside(told: pd.DataFrame, closes: Sequence[pd.DataFrame], words: Callable[[pd.DataFrame], str]) -> pd.DataFrame:
    """A table of columns with the shapes of those that have one, before and now, in its third column.

    told: has `column`. closes: `analyses.drift.close_up`, one a column. words: a close-up in words, for those who listen.
    """
    drawn = {close["column"].iloc[0]: shape(close, words(close)) for close in closes if len(close)}
    if not drawn:
        return told
    cells = pd.Series([drawn.get(column, "") for column in told["column"]], told.index, dtype="object")
    left = list(told.columns[:2])
    return told[left].assign(**{"before and now": cells}).join(told.drop(columns=left))


def shape(close: pd.DataFrame, words: str) -> Markup:
    """One column's shares before and now on a common scale, as SVG. close: as in `beside`, not empty."""
    old, new = (close[close["side"] == side] for side in ("reference", "current"))
    before, now = _text(old, new) if close["low"].isna().all() else _numbers(old, new)
    top = max(before.max(initial=0.0), now.max(initial=0.0)) or 1.0
    area, line = _steps(before / top), _steps(now / top)
    low = HEIGHT - EDGE
    return Markup(
        f'<svg class="shape" role="img" aria-label="{escape(words)}" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" '
        f'height="{HEIGHT}"><path d="M0 {low}{area}V{low}z" fill="currentColor" fill-opacity=".25"/>'
        f'<path d="M0 {low}{line}V{low}" fill="none" stroke="{look.BAD}" stroke-width="1.5"/></svg>'
    )


def _numbers(old: pd.DataFrame, new: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    sides = [(side["low"].to_numpy(dtype="float64"), side["count"].to_numpy(dtype="float64")) for side in (old, new)]
    ladders = [(at, 100 * np.cumsum(count) / count.sum()) for at, count in sides if count.sum()]
    edges = np.linspace(*core(*ladders), BARS + 1) if ladders else np.arange(BARS + 1.0)
    before, now = (np.histogram(at, edges, weights=count)[0] / (count.sum() or 1.0) for at, count in sides)
    return before, now


def _text(old: pd.DataFrame, new: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    sides = [side.groupby("value", sort=False)["count"].sum().astype("float64") for side in (old, new)]
    shares = pd.concat([side / (side.sum() or 1.0) for side in sides], axis=1).fillna(0.0)
    shown = shares.loc[shares.sum(axis=1).sort_values(ascending=False, kind="stable").index[:VALUES]]
    return shown.iloc[:, 0].to_numpy(), shown.iloc[:, 1].to_numpy()


def _steps(heights: np.ndarray) -> str:
    """A path over bars of these heights, 0 to 1, from the left to the right edge."""
    wide = WIDTH / max(1, len(heights))
    tall = HEIGHT - 2 * EDGE
    return "".join(f"V{HEIGHT - EDGE - tall * one:.1f}H{wide * (place + 1):.1f}" for place, one in enumerate(heights))
