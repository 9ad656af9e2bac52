"""Which rows are compared with which: a window of a table, or a second table."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from workbench.analyses.parts import WINDOW
from workbench.errors import WorkbenchError

_DAY = re.compile(r"^\d{4}-\d{2}")


@dataclass(frozen=True)
class Side:
    """One side of a comparison: a table, and the time from `start` (included) to `end` (excluded), None for open."""

    table: str
    start: pd.Timestamp | None = None
    end: pd.Timestamp | None = None

    def time(self, column: str) -> str:
        """The time column, when this side is a window of its table; "" when it is all of it and needs no windows."""
        return column if self.start is not None else ""


def side(table: str, text: str) -> Side:
    """What `text` asks for: "" (the table, no window yet), a window "START/END" of `table`, or another table's path.

    START and END are ISO times, UTC unless they say otherwise; END is not included.

    >>> side("flights", "2013-01-01/2013-02-01").end
    Timestamp('2013-02-01 00:00:00+0000', tz='UTC')
    >>> side("flights", "other/table.parquet")
    Side(table='other/table.parquet', start=None, end=None)
    """
    if not text:
        return Side(table)
    halves = text.split("/")
    if len(halves) != 2 or not all(_DAY.match(half) for half in halves):
        return Side(text)
    try:
        start, end = (pd.Timestamp(half) for half in halves)
    except ValueError:
        raise WorkbenchError(
            f"{text!r} is not a window: both times must be ISO, as in 2026-03-01/2026-03-08T12:00 (END not included)"
        ) from None
    start, end = (one.tz_localize("UTC") if one.tz is None else one.tz_convert("UTC") for one in (start, end))
    if end <= start:
        raise WorkbenchError(f"the window {text!r} ends before it starts; write it as START/END, END not included")
    return Side(table, start, end)


def split(
    current: xr.Dataset, reference: xr.Dataset | None, before: Side, after: Side, chunks: xr.Dataset | None = None
) -> tuple[xr.Dataset, xr.Dataset, str]:
    """The reference without windows, the current windows, and the reference's name; chunks: `reference_windows`, if known.

    reference is None when both sides are of one table, whose cube is `current`. Then the reference is the window that
    `before` says; without one, all windows before `after`'s; without that too, the first third of all windows.
    Current are the windows that `after` says; without one, every window after the reference.
    With two tables each side is all of its table unless it says which window.
    Raises WorkbenchError where a side is empty or the two overlap.
    """
    from workbench.cubes import collapse, select

    if reference is not None:
        chosen = _within(reference, before, "reference")
        first = reference if chunks is None else chunks
        if before.start is not None and chunks is None:
            first = select(reference, **{WINDOW: list(chosen)})
        second = current
        if after.start is not None:
            second = select(current, **{WINDOW: list(_within(current, after, "current"))})
        name = before.table if before.start is None else _span(reference, chosen)
        return (collapse(first, WINDOW) if WINDOW in first.dims else first), second, name
    old, new = _chosen(current, before, after)
    first = select(current, **{WINDOW: list(old)}) if chunks is None else chunks
    return collapse(first, WINDOW), select(current, **{WINDOW: list(new)}), _span(current, old)


def _chosen(current: xr.Dataset, before: Side, after: Side) -> tuple[Any, Any]:
    """The starts of the reference's windows and of the current ones, of one table."""
    starts = _starts(current)
    if before.start is None:
        stop = starts[max(1, len(starts) // 3)] if after.start is None else _utc(after.start)
        old = starts[starts < stop]
    else:
        old = _within(current, before, "reference")
    if not len(old):
        raise WorkbenchError("no window lies before the current one; name a reference=START/END or another table")
    new = starts[starts > old[-1]] if after.start is None else _within(current, after, "current")
    if not len(new):
        raise WorkbenchError(
            f"no window is left to compare after the reference {_span(current, old)}; choose an earlier reference"
        )
    if len(np.intersect1d(old, new)):
        raise WorkbenchError("reference and current share windows; choose two that do not overlap")
    return old, new


def reference_windows(current: xr.Dataset, reference: xr.Dataset | None, before: Side, after: Side) -> xr.Dataset:
    """The reference of `split` with its windows kept, where it has any."""
    from workbench.cubes import select

    cube = current if reference is None else reference
    if WINDOW not in cube.dims:
        return cube
    if reference is not None:
        return select(cube, **{WINDOW: list(_within(cube, before, "reference"))}) if before.start is not None else cube
    old, _ = _chosen(current, before, after)
    return select(cube, **{WINDOW: list(old)})


def _utc(time: pd.Timestamp) -> np.datetime64:
    return time.tz_convert("UTC").tz_localize(None).to_datetime64()


def _starts(cube: xr.Dataset) -> Any:
    if WINDOW not in cube.dims:
        raise WorkbenchError(
            "one table without windows has nothing to compare; "
            "pass time=<a time column>, or current=<the path of a second table>"
        )
    starts = np.sort(cube[WINDOW].values[~np.isnat(cube[WINDOW].values)])
    if len(starts) < 2:
        raise WorkbenchError(f"drift needs two windows or more, this table has {len(starts)}; pass a shorter `every`")
    return starts


def _within(cube: xr.Dataset, one: Side, word: str) -> Any:
    if WINDOW not in cube.dims:
        if one.start is not None:
            raise WorkbenchError(f"{word} names a window, but the table has no time column; pass time=<a column>")
        return np.array([], dtype="datetime64[us]")
    starts = np.sort(cube[WINDOW].values[~np.isnat(cube[WINDOW].values)])
    if one.start is None or one.end is None:
        return starts
    chosen = starts[(starts >= _utc(one.start)) & (starts < _utc(one.end))]
    if not len(chosen):
        raise WorkbenchError(
            f"no window of the table starts in {word} {one.start:%Y-%m-%dT%H:%M}/{one.end:%Y-%m-%dT%H:%M}; "
            f"its windows start from {starts[0].astype('datetime64[s]')} to {starts[-1].astype('datetime64[s]')} UTC"
        )
    return chosen


def _span(cube: xr.Dataset, chosen: Any) -> str:
    starts = np.sort(cube[WINDOW].values[~np.isnat(cube[WINDOW].values)])
    after = starts[starts > chosen[-1]]
    length = np.median(np.diff(starts).astype("int64")).astype("int64") if len(starts) > 1 else 0
    end = after[0] if len(after) else chosen[-1] + np.timedelta64(int(length), "us")
    return f"{chosen[0].astype('datetime64[s]')}Z/{end.astype('datetime64[s]')}Z"
