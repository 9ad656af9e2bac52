"""The parts of a cube that an analysis speaks about: windows of time and segments of rows.

A window is named by its ISO start in UTC ("2026-03-05T07:00:00Z"), all windows together by "". A segment is named
by its categories ("model=a, region=b"), all rows together by "".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import product

import numpy as np
import pandas as pd
import xarray as xr

from workbench.errors import WorkbenchError, nearest

WINDOW = "window"
SEGMENT = "segment"
OUTSIDE = "(missing)"  # the window of rows without a time


def names(text: str) -> list[str]:
    """The names in a comma-separated parameter, in order, without blanks; "" gives none.

    >>> names("model, region")
    ['model', 'region']
    """
    return [name.strip() for name in text.split(",") if name.strip()]


def axes(time: str, every: str, by: str | Sequence[str] = "") -> list[object]:
    """The axes of a notebook's cube: windows of `every` over the column `time` ("" for none), then the categories."""
    from workbench.cubes import Category, Period

    categories = names(by) if isinstance(by, str) else list(by)
    first = [Period(time, every, name=WINDOW)] if time else []
    return [*first, *(Category(name) for name in categories)]


def wanted(columns: str | Sequence[str], *also: str) -> list[str] | None:
    """The columns to open: those asked for plus the ones `also` needed, each once; None (all) when `columns` is ""."""
    asked = names(columns) if isinstance(columns, str) else list(columns)
    if not asked:
        return None
    extra = [name for text in also for name in names(text)]
    return list(dict.fromkeys([*asked, *extra]))


def window_labels(cube: xr.Dataset | xr.DataArray) -> list[str]:
    """The names of a cube's windows in order: ISO starts in UTC; [""] when it has no windows."""
    if WINDOW not in cube.dims:
        return [""]
    return [OUTSIDE if np.isnat(start) else f"{start.astype('datetime64[s]')}Z" for start in cube[WINDOW].values]


def segment_axes(cube: xr.Dataset) -> list[str]:
    """The axes of a cube that make segments: all of them but the windows."""
    return [str(dim) for dim in cube["count"].dims if dim != WINDOW]


def segment_name(dims: Sequence[str], labels: Sequence[object]) -> str:
    """The name of a segment.

    >>> segment_name(["model", "region"], ["a", "eu"])
    'model=a, region=eu'
    """
    return ", ".join(f"{dim}={label}" for dim, label in zip(dims, labels, strict=True))


def levels(cube: xr.Dataset, *, full: bool = False) -> list[tuple[str, ...]]:
    """The cuts of a cube into segments: all rows, each axis alone, and with `full` all axes together."""
    dims = segment_axes(cube)
    cuts: list[tuple[str, ...]] = [(), *((dim,) for dim in dims)]
    return [*cuts, tuple(dims)] if full and len(dims) > 1 else cuts


def segments(cube: xr.Dataset, *, full: bool = False) -> Iterator[tuple[str, xr.Dataset]]:
    """Each segment's name and its cube over the windows alone, all rows first ("")."""
    from workbench.cubes import collapse, select

    dims = segment_axes(cube)
    for cut in levels(cube, full=full):
        others = [dim for dim in dims if dim not in cut]
        level = collapse(cube, *others) if others else cube
        for labels in product(*(level[dim].values for dim in cut)):
            part = select(level, **dict(zip(cut, labels, strict=True))) if cut else level
            if not cut or int(part["count"].sum()):
                yield segment_name(cut, labels), part


def by_segment(cube: xr.Dataset, name: str) -> tuple[xr.DataArray, list[str]]:
    """The counts `name` ("count", "missing", ...) of every segment, stacked on dims (segment, window, ...); the names."""
    dims, stacked, labels = segment_axes(cube), [], []
    for cut in levels(cube):
        array = cube[name].sum([dim for dim in dims if dim not in cut])
        if WINDOW not in array.dims:
            array = array.expand_dims({WINDOW: [np.datetime64("NaT", "us")]})
        rest = [WINDOW, *(str(dim) for dim in array.dims if dim not in (*cut, WINDOW))]
        here = [segment_name(cut, one) for one in product(*(array[dim].values for dim in cut))]
        flat = array.transpose(*cut, *rest).values.reshape(len(here), *(array.sizes[dim] for dim in rest))
        coords = {dim: array[dim] for dim in rest if dim in array.coords}
        stacked.append(xr.DataArray(flat, dims=[SEGMENT, *rest], coords={SEGMENT: here, **coords}))
        labels += here
    return xr.concat(stacked, dim=SEGMENT), labels


def over(cube: xr.Dataset, read: Callable[[xr.Dataset], pd.DataFrame]) -> pd.DataFrame:
    """What `read` says of a cube's parts, one below the other: all rows, each segment of one axis, and all axes together.

    All rows and the segments of one axis are read in every window and over all of them; the segments of all axes
    together over all windows only.
    """
    from workbench.cubes import collapse

    frames, dims = [], segment_axes(cube)
    for cut in levels(cube, full=True):
        others = [dim for dim in dims if dim not in cut]
        if WINDOW not in cube.dims:
            frames.append(read(collapse(cube, *others) if others else cube))
            continue
        frames.append(read(collapse(cube, *others, WINDOW)))
        if len(cut) < 2:
            frames.append(read(collapse(cube, *others) if others else cube))
    return pd.concat(frames, ignore_index=True)


def profile(cube: xr.Dataset) -> pd.DataFrame:
    """The tidy profile of a cube and of its parts (`over`): window, segment, column, metric, value."""
    from workbench.cubes import profile as read

    return over(cube, read)


def top_values(cube: xr.Dataset, limit: int = 20) -> pd.DataFrame:
    """The most frequent values of every part of a cube: window, segment, column, value, count, short."""
    from workbench.cubes import top_values as read

    return over(cube, lambda part: read(part, limit))


def need(columns: Sequence[str], name: str, parameter: str, *, instead: str = "") -> str:
    """`name`, when it is one of `columns`; otherwise WorkbenchError with the nearest names and what to pass."""
    if name in columns:
        return name
    raise WorkbenchError(
        f"the table has no column {name!r} (parameter `{parameter}`); {nearest(name, columns)}{instead}"
    )


def tidy(frame: pd.DataFrame, keys: Sequence[str], metrics: Sequence[str]) -> pd.DataFrame:
    """One row a metric: the `keys`, then metric (str) and value (float64); rows without a value are left out."""
    long = frame.melt(id_vars=list(keys), value_vars=list(metrics), var_name="metric", value_name="value")
    long["value"] = long["value"].astype("float64")
    return long.dropna(subset=["value"]).reset_index(drop=True)


def window_seconds(cube: xr.Dataset) -> float:
    """The usual length of a window in seconds: the median distance of starts; NaN with fewer than two windows."""
    if WINDOW not in cube.dims:
        return float("nan")
    starts = np.sort(cube[WINDOW].values[~np.isnat(cube[WINDOW].values)])
    if len(starts) < 2:
        return float("nan")
    return float(np.median(np.diff(starts) / np.timedelta64(1, "s")))


def say_share(share: float) -> str:
    """A share as people say it.

    >>> say_share(0.0505), say_share(0.0004), say_share(0.0), say_share(1.0)
    ('5.05 %', '0.04 %', '0 %', '100 %')
    """
    if not np.isfinite(share):
        return "unknown"
    return f"{100 * share:.3g} %"


def say_window(label: str) -> str:
    """A window's name as people say it.

    >>> say_window("2026-03-05T07:00:00Z"), say_window("2026-03-05T00:00:00Z"), say_window("")
    ('2026-03-05 07:00 UTC', '2026-03-05', 'all windows')
    """
    if not label:
        return "all windows"
    text = label.removesuffix("Z").replace("T", " ")
    if text.endswith(" 00:00:00"):
        return text[:-9]
    return f"{text[:-3] if text.endswith(':00') else text} UTC"
