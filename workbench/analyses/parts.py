"""The parts of a cube that an analysis speaks about: windows of time and segments of rows.

A window is named by its ISO start in UTC ("2026-03-05T07:00:00Z"), all windows together by "". A segment is named
by its categories ("model=a, region=b"), all rows together by "".
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from workbench.errors import WorkbenchError, nearest

WINDOW = "window"
SEGMENT = "segment"
OUTSIDE = "(missing)"  # the window of rows without a time
OTHER = "(other)"  # text values that the cube did not keep


def names(text: str) -> list[str]:
    """The names in a comma-separated parameter, in order, without blanks; "" gives none.

    >>> names("model, region")
    ['model', 'region']
    """
    return [name.strip() for name in text.split(",") if name.strip()]


def axes(time: str, every: str, by: str | Sequence[str] = "", zone: str = "UTC") -> list[object]:
    """The axes of a notebook's cube: windows of `every` over the column `time` ("" for none) by the clock of `zone`, then the
    categories."""
    from workbench.cubes import Category, Period

    categories = names(by) if isinstance(by, str) else list(by)
    first = [Period(time, every, zone, name=WINDOW)] if time else []
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


def stacked(cube: xr.Dataset, name: str) -> tuple[npt.NDArray[Any], list[str]]:
    """The counts `name` ("count", "missing", ...) of every segment: an array (segment, window, ...), and the segments' names.

    A cube without windows has one.
    """
    kept = cube.variables[name]
    segments, parts, labels = segment_axes(cube), [], []
    for cut in levels(cube):
        dims = [str(dim) for dim in kept.dims]
        gone = tuple(dims.index(dim) for dim in segments if dim not in cut)
        counts, dims = kept.values.sum(gone), [dim for place, dim in enumerate(dims) if place not in gone]
        if WINDOW not in dims:
            counts, dims = counts[None], [WINDOW, *dims]
        order = [*cut, WINDOW, *(dim for dim in dims if dim not in (*cut, WINDOW))]
        counts = counts.transpose([dims.index(dim) for dim in order])
        here = [segment_name(cut, one) for one in product(*(cube[dim].values for dim in cut))]
        parts.append(counts.reshape(len(here), *counts.shape[len(cut) :]))
        labels += here
    return np.concatenate(parts), labels


def by_segment(cube: xr.Dataset, name: str) -> tuple[xr.DataArray, list[str]]:
    """What `stacked` gives, on dims (segment, window, ...); the segments' names."""
    counts, labels = stacked(cube, name)
    rest = [str(dim) for dim in cube.variables[name].dims if dim not in (WINDOW, *segment_axes(cube))]
    windows = cube[WINDOW] if WINDOW in cube.dims else [np.datetime64("NaT", "us")]
    coords = {SEGMENT: labels, WINDOW: windows, **{dim: cube[dim] for dim in rest if dim in cube.coords}}
    return xr.DataArray(counts, coords, [SEGMENT, WINDOW, *rest]), labels


def tables(cube: xr.Dataset, limit: int = 20) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The tidy profile of a cube's parts, and their most frequent values (at most `limit` a part and column).

    Columns: window, segment, segment_key, segment_value, column, metric, value; and window, segment, segment_key,
    segment_value, column, value, count, short. All rows and the segments of one axis are there for every window and for all
    windows together (window ""); the segments of all axes together for all windows only. A segment's key and value are its
    category and label ("model", "a"); of several categories they are joined as in "model, region", "a, eu".
    """
    from workbench.cubes import collapse, profile, top_values

    profiles: list[pd.DataFrame] = []
    tops: list[pd.DataFrame] = []
    smallest = cube
    for cut in reversed(levels(cube, full=True)):
        start = cube if cut else smallest  # the totals need not start from the largest cube again
        others = [dim for dim in segment_axes(start) if dim not in cut]
        level = collapse(start, *others) if others else start
        smallest = level if len(cut) == 1 and level["count"].size < smallest["count"].size else smallest
        parts = [level] if WINDOW not in level.dims else [collapse(level, WINDOW), *([level] if len(cut) < 2 else [])]
        profiles += [_keyed(profile(part), cut) for part in parts]
        tops += [_keyed(top_values(part, limit), cut) for part in parts]
    return pd.concat(profiles[::-1], ignore_index=True), pd.concat(tops[::-1], ignore_index=True)


def _keyed(frame: pd.DataFrame, cut: Sequence[str]) -> pd.DataFrame:
    """The frame with the key and value of its segments, which are all of the axes `cut`."""
    names = list(frame["segment"].unique())
    ends = [f", {dim}=" for dim in cut[1:]] + [""]
    values = {}
    for name in names:
        rest, found = name.removeprefix(f"{cut[0]}=") if cut else "", []
        for end in ends[: len(cut)]:
            one, _, rest = rest.partition(end) if end else (rest, "", "")
            found.append(one)
        values[name] = ", ".join(found)
    at = frame.columns.get_loc("segment") + 1
    frame.insert(at, "segment_key", ", ".join(cut))
    frame.insert(at + 1, "segment_value", frame["segment"].map(values))
    return frame


def groups(cube: xr.Dataset) -> dict[str, npt.NDArray[np.intp]]:
    """For every axis, each flat group's place on it (groups count in C order of the axes)."""
    dims = [str(dim) for dim in cube["count"].dims]
    if not dims:
        return {}
    places = np.unravel_index(np.arange(cube["count"].size), cube["count"].shape)
    return dict(zip(dims, places, strict=True))


def kind_of(cube: xr.Dataset, column: str) -> str:
    """The kind of a cube's column: "integer", "number", "boolean", "text", "time" or "other"."""
    kept = cube.variables
    return str(kept["kind"].values[list(kept["column"].values).index(column)])


def bins(cube: xr.Dataset, column: str) -> tuple[npt.NDArray[Any], ...]:
    """The filled bins of a numeric column as the cube keeps them: flat group, lowest and highest value seen, count."""
    place, kept = list(cube["column"].values).index(column), cube.variables
    at = slice(*np.searchsorted(kept["bin_column"].values, [place, place + 1]))
    group, low, high, count = (kept[f"bin_{name}"].values[at] for name in ("group", "min", "max", "count"))
    return group, low, high, count.astype("float64")


def tops(cube: xr.Dataset, column: str) -> tuple[npt.NDArray[Any], ...]:
    """The values of a text column as the cube keeps them: flat group, value, count; "(other)" for those not kept."""
    place, kept = list(cube["column"].values).index(column), cube.variables
    at = slice(*np.searchsorted(kept["top_column"].values, [place, place + 1]))
    group, value, count = (kept[f"top_{name}"].values[at] for name in ("group", "value", "count"))
    lost = kept["top_lost"].values.reshape(-1, cube.sizes["column"])[:, place]
    more = np.flatnonzero(lost)
    other = np.full(len(more), OTHER, dtype=object)
    counts = np.concatenate([count, lost[more]]).astype("float64")
    return np.concatenate([group, more]), np.concatenate([value.astype(object), other]), counts


def uncounted(reference: xr.Dataset, current: xr.Dataset, column: str) -> str:
    """Which of two cubes kept no values of a column ("reference", "current table"; "" for neither): it was asked for less."""
    for cube, side in ((reference, "reference"), (current, "current table")):
        kind = kind_of(cube, column)
        if kind not in ("time", "other"):
            asked = json.loads(cube.attrs.get("asked", "{}")).get(column, {})
            if not asked.get("top" if kind == "text" else "histogram", True):
                return side
    return ""


def below(cube: xr.Dataset, column: str, limit: float | xr.DataArray) -> xr.DataArray:
    """How many values of a column are at most `limit` (in its unit; one limit, or one for each label of some axes).

    Exact when no bin straddles the limit; a bin that does is shared out evenly between the values seen in it. Minus
    infinity counts, plus infinity does not. Dims are the cube's axes.
    """
    group, low, high, count = bins(cube, column)
    over = xr.broadcast(xr.DataArray(limit), cube["count"])[0].transpose(*cube["count"].dims).values.ravel()[group]
    with np.errstate(invalid="ignore", divide="ignore"):
        part = np.where(high > low, (over - low) / np.where(high > low, high - low, 1), low <= over)
    under = np.bincount(group, count * np.clip(part, 0, 1), minlength=cube["count"].size)
    under = under.reshape(cube["count"].shape) + cube["infinite_negative"].sel(column=column, drop=True).values
    return xr.DataArray(under, dims=cube["count"].dims, coords=cube["count"].coords)


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


def succeeded(label: str) -> bool:
    """Whether a status means success: ok, success, 2xx and 3xx, true, "" or a missing one do not count as failures.

    >>> [succeeded(one) for one in ("ok", "200", "429", "error", "(missing)")]
    [True, True, False, False, True]
    """
    text = label.strip().lower()
    if text.split(".")[0].isdigit():
        return int(text.split(".")[0]) < 400
    return text in ("ok", "success", "succeeded", "completed", "done", "true", "", "(missing)", "stop", "length")


def window_seconds(cube: xr.Dataset) -> float:
    """The usual length of a window in seconds: the median distance of starts; NaN with fewer than two windows."""
    if WINDOW not in cube.dims:
        return float("nan")
    starts = np.sort(cube[WINDOW].values[~np.isnat(cube[WINDOW].values)])
    if len(starts) < 2:
        return float("nan")
    return float(np.median(np.diff(starts) / np.timedelta64(1, "s")))


def starts_between(start: int, end: int, every: str) -> Any:
    """The starts of the windows from the one that holds `start`, in microseconds; one window without `every`."""
    if not every:
        return np.array([start], dtype="int64")
    low, high = pd.Timestamp(int(start), unit="us", tz="UTC"), pd.Timestamp(int(end), unit="us", tz="UTC")
    try:
        offset = pd.tseries.frequencies.to_offset(every)
        fixed = isinstance(offset, pd.offsets.Tick)
        begin = low.floor(every) if fixed else offset.rollback(low.normalize())
        found = pd.date_range(begin, high, freq=every)
    except ValueError as error:
        raise WorkbenchError(
            f"{every!r} is no length of a window; wanted a pandas offset such as h, D or MS"
        ) from error
    return found.as_unit("us").asi8


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


def say_span(name: str) -> str:
    """A span of windows as people say it; of an address its last part.

    >>> say_span("2026-03-02T00:00:00Z/2026-03-06T00:00:00Z"), say_span("data/last-month")
    ('2026-03-02 to 2026-03-06', 'last-month')
    """
    halves = name.split("/")
    if len(halves) == 2 and all(half.endswith("Z") for half in halves):
        return " to ".join(say_window(half) for half in halves)
    return name.rstrip("/").rsplit("/", 1)[-1]


def say_stretch(first: str, last: str, count: int) -> str:
    if count == 1 or first == last:
        return f"in the window of {say_window(first)}"
    return f"from {say_window(first)} to {say_window(last)} ({count} windows)"
