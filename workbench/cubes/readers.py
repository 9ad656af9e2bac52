"""What is read off a cube: quantiles, histograms, categories, distinct values, deviations, the tidy profile."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.cubes import partial as p
from workbench.cubes.axes import MISSING_LABEL, short_text
from workbench.cubes.labelled import axes_of, columns_of
from workbench.cubes.registers import estimate
from workbench.errors import WorkbenchError, nearest

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

OTHER_LABEL = "(other)"
TYPES: dict[str, dict[str, Any]] = {"bin": p.BIN_TYPES, "top": p.TOP_TYPES, "register": p.REGISTER_TYPES}
QUANTILES = {
    "p01": 0.01,
    "p05": 0.05,
    "p25": 0.25,
    "p50": 0.5,
    "p75": 0.75,
    "p90": 0.9,
    "p95": 0.95,
    "p99": 0.99,
    "p999": 0.999,
}


def quantile(cube: xr.Dataset, q: float | Sequence[float], column: str | None = None) -> xr.DataArray:
    """Quantiles of the finite values: dims (axes, "column", "quantile"), in the column's unit; NaN where there are none.

    The convention is ``inverted_cdf``: the smallest value x with at least a share q of the values <= x (Hyndman and Fan
    1996, type 1). It is found to the bin, and exact where the bin holds a single value; inside a wider bin the position
    is interpolated between the smallest and largest value seen in it. ``rank_error`` is the bound on the rank.

    column: leaves the dim "column" out and reads that one only.

    >>> import pyarrow as pa
    >>> from workbench.cubes import cube
    >>> quantile(cube(pa.table({"x": [1, 2, 3, 4]})), [0.5, 1.0], "x").values.tolist()
    [2.0, 4.0]
    """
    import xarray as xr

    qs = np.atleast_1d(np.asarray(q, float))
    if len(qs) == 0 or np.isnan(qs).any() or (qs < 0).any() or (qs > 1).any():
        raise WorkbenchError(f"quantile() got q={q!r}; numbers from 0 to 1 are wanted.")
    names, shape, n = _shape(cube)
    wanted = range(n) if column is None else [_column(cube, column)]
    whole = [c["whole"] for c in columns_of(cube)]
    total = int(np.prod(shape))
    out = np.full((len(list(wanted)), total, len(qs)), np.nan)
    for k, i in enumerate(wanted):
        t = _bins(cube, i)
        if len(t["count"]):
            out[k] = _quantiles(t, total, qs)
            if whole[i]:
                out[k] = np.floor(out[k] + 0.5)  # a whole number again, and still inside its bin
    values = np.moveaxis(out, 0, 1).reshape(*shape, len(out), len(qs))
    coords = {**{d: cube[d] for d in names}, "column": cube["column"][list(wanted)], "quantile": qs}
    array = xr.DataArray(values, coords, (*names, "column", "quantile"), name="quantile")
    if column is not None:
        array = array.isel(column=0, drop=True)
    return array.isel(quantile=0, drop=True) if np.isscalar(q) else array


def _quantiles(t: p.Ragged, groups: int, qs: np.ndarray) -> np.ndarray:
    group, key = t["group"], t["min"]
    if len(group) > p.MANY:  # then compiled code is worth loading
        from workbench.cubes.merging import ranks

        out = np.full((groups, len(qs)), np.nan)
        if ranks(group, t["count"], t["min"], t["max"], qs, out):
            return out
    if np.any((group[1:] < group[:-1]) | ((group[1:] == group[:-1]) & (key[1:] < key[:-1]))):
        order = np.lexsort((key, group))
        t = {k: one[order] for k, one in t.items()}
    group, count, low, high = (t[k] for k in ("group", "count", "min", "max"))
    running = np.cumsum(count)
    start = np.searchsorted(group, np.arange(groups))
    stop = np.searchsorted(group, np.arange(groups), side="right")
    before = np.concatenate([[0], running])[start]
    total = np.concatenate([[0], running])[stop] - before
    out = np.full((groups, len(qs)), np.nan)
    some = total > 0
    for j, q in enumerate(qs):
        # the smallest whole rank that is at least q * n; a hair less, so that 0.07 * 100 is 7 and not 8
        rank = np.clip(np.ceil(q * total * (1 - 4e-16) - 1e-9), 1, None).astype(np.int64)
        at = np.searchsorted(running, before + rank, side="left")[some]
        within = (before + rank)[some] - (running[at] - count[at])  # 1 .. count of the bin
        share = np.where(count[at] > 1, (within - 1) / np.maximum(count[at] - 1, 1), 0.0)
        a, b = low[at], high[at]
        with np.errstate(over="ignore"):
            span = b - a
            between = np.where(np.isinf(span), a * (1 - share) + b * share, a + span * share)
        out[some, j] = np.where(a == b, a, np.clip(between, a, b))
    return out


def rank_error(cube: xr.Dataset) -> xr.DataArray:
    """The bound on the rank error of ``quantile``: dims (axes, "column"), 0 to 1.

    It is the share of the heaviest bin that is not a single value. 0: every quantile is an exact value of the column.
    """
    names, shape, n = _shape(cube)
    total = int(np.prod(shape))
    out = np.zeros((n, total))
    for i in range(n):
        t = _bins(cube, i)
        mixed = np.where(t["min"] != t["max"], t["count"], 0)
        np.maximum.at(out[i], t["group"], mixed)
        rows = np.zeros(total)
        np.add.at(rows, t["group"], t["count"])
        out[i] /= np.maximum(rows, 1)
    return _wide(cube, out, names, shape)


def histogram(cube: xr.Dataset, column: str) -> xr.Dataset:
    """The histogram of a numeric column: ``count`` (axes, "bin"), and ``low``, ``high`` (the values seen in each bin).

    Bins are those that hold any value in any cell, ascending; where cells were binned differently the wider bin holds.
    A bin with low equal to high is that single value.
    """
    import xarray as xr

    i = _column(cube, column)
    if cube["kind"].values[i] in ("text", "other"):
        raise WorkbenchError(
            f"histogram() wants a numeric column, but {column!r} is {cube['kind'].values[i]}; see categories()."
        )
    names, shape, _ = _shape(cube)
    t = _bins(cube, i)
    merged = p.join_bins({**t, "group": np.zeros(len(t["group"]), np.int64)})
    at = np.searchsorted(p.lows(merged), p.lows(t), side="right") - 1
    count = np.zeros((int(np.prod(shape)), len(merged["min"])), np.int64)
    np.add.at(count, (t["group"], at), t["count"])
    coords = {d: cube[d] for d in names}
    data = {
        "count": ((*names, "bin"), count.reshape(*shape, -1)),
        "low": ("bin", merged["min"]),
        "high": ("bin", merged["max"]),
    }
    return xr.Dataset(data, coords)


def categories(cube: xr.Dataset, column: str) -> xr.DataArray:
    """Counts of a text column's values: dims (axes, "value"), most frequent first.

    "(missing)" is the rows without a value; "(other)", where a column has very many, is the rows of values not kept.
    """
    import xarray as xr

    i = _column(cube, column)
    if cube["kind"].values[i] != "text":
        raise WorkbenchError(
            f"categories() wants a text column, but {column!r} is {cube['kind'].values[i]}; see histogram()."
        )
    names, shape, _ = _shape(cube)
    total = int(np.prod(shape))
    at = cube["top_column"].values == i
    values, back = p.factorize(cube["top_value"].values[at])
    count = np.zeros((total, len(values)), np.int64)
    np.add.at(count, (cube["top_group"].values[at], back), cube["top_count"].values[at])
    order = np.lexsort((np.arange(len(values)), -count.sum(0)))
    labels = [f"'{v}'" if v.strip("'") in (MISSING_LABEL, OTHER_LABEL) else v for v in values[order].tolist()]
    blocks = [count[:, order]]
    for label, extra in ((MISSING_LABEL, cube["missing"]), (OTHER_LABEL, cube["top_lost"])):
        e = extra.values.reshape(total, -1)[:, i]
        if e.any():
            labels.append(label)
            blocks.append(e[:, None])
    coords = {**{d: cube[d] for d in names}, "value": np.array(labels, dtype=object)}
    return xr.DataArray(np.concatenate(blocks, axis=1).reshape(*shape, -1), coords, (*names, "value"), name="count")


def variance(cube: xr.Dataset, ddof: int = 0) -> xr.DataArray:
    """Variance of the finite values: m2 / (n - ``ddof``); dims (axes, "column"), in the unit squared; NaN below ddof + 1."""
    n = cube["values"]
    return (cube["m2"] / (n - ddof).where(n > ddof)).rename("variance")


def std(cube: xr.Dataset, ddof: int = 0) -> xr.DataArray:
    """Standard deviation of the finite values, the root of ``variance`` (``ddof`` as there); 0 for a constant column."""
    return (variance(cube, ddof) ** 0.5).rename("std")


def distinct(cube: xr.Dataset) -> xr.DataArray:
    """About how many different values: dims (axes, "column"); NaN where they were not counted.

    Exact where every value was kept (text up to 10,000 values; numbers whose bins are all single values); else by
    HyperLogLog with 2**p registers, relative standard error 1.04 / sqrt(2**p): Flajolet and others (2007), estimated
    without bias at every size as in Ertl (2017). Missing, NaN and infinite values are not among them.
    """
    names, shape, n = _shape(cube)
    total = int(np.prod(shape))
    out = np.full((n, total), np.nan)
    columns = columns_of(cube)
    lost = np.moveaxis(cube["top_lost"].values.reshape(total, n), -1, 0)
    for i, c in enumerate(columns):
        bits = c["asked"]["p"]
        if bits:
            t = _rows(cube, "register", i)
            out[i] = estimate(t["group"], t["rank"], total, bits)
        if c["asked"]["top"]:
            exact = np.bincount(_rows(cube, "top", i)["group"], minlength=total).astype(float)
            out[i] = np.where(lost[i] == 0, exact, out[i])
        elif c["asked"]["histogram"]:
            t = _bins(cube, i)
            mixed = np.zeros(total, bool)
            large = c["whole"] & (np.abs(t["min"]) >= 2.0**53)  # several integers share such a float
            mixed[t["group"][(t["min"] != t["max"]) | large]] = True
            exact = np.bincount(t["group"], minlength=total).astype(float)
            out[i] = np.where(mixed, out[i], exact)
    return _wide(cube, np.round(out), names, shape).rename("distinct")


def totals(cube: xr.Dataset, column: str) -> Any:
    """The exact sum of a whole-number column over all cells, as a Python int; the float sum of any other."""
    i = _column(cube, column)
    if columns_of(cube)[i]["whole"]:
        high, low = cube["sum_high"].values[..., i], cube["sum_low"].values[..., i]
        return sum(map(int, high.ravel())) * 2**32 + sum(map(int, low.ravel()))
    return float(cube["sum"].values[..., i].sum())


def profile(cube: xr.Dataset) -> pd.DataFrame:
    """The tidy profile: one row a window, segment, column and metric, with its value.

    window: ISO start in UTC of the cube's Period ("" without one); segment: "model=a, region=b" of its other axes (""
    without any). Metrics: count (rows, missing ones included), missing, nan, infinite, distinct, and for numeric columns
    min, max, mean, std (population), p01 ... p999. Metrics that a column does not have are left out; cells without rows
    too. Times are in microseconds since 1970 UTC.
    """
    import pandas as pd

    _, shape, n = _shape(cube)
    total = int(np.prod(shape))
    columns = columns_of(cube)
    metrics: dict[str, np.ndarray] = {}
    rows = cube["count"].values.reshape(total)
    metrics["count"] = np.repeat(rows[:, None], n, axis=1).astype(float)
    for m in ("missing", "nan", "infinite"):
        metrics[m] = cube[m].values.reshape(total, n).astype(float)
    metrics["distinct"] = distinct(cube).values.reshape(total, n)
    for m in ("min", "max", "mean"):
        metrics[m] = cube[m].values.reshape(total, n)
    metrics["std"] = std(cube).values.reshape(total, n)
    quantiles = quantile(cube, list(QUANTILES.values())).values.reshape(total, n, len(QUANTILES))
    for j, m in enumerate(QUANTILES):
        metrics[m] = quantiles[..., j]
    windows, segments = cell_names(cube)
    text = np.array([c["kind"] in ("text", "other") for c in columns], bool)
    frames = []
    for m, v in metrics.items():
        keep = np.broadcast_to((rows > 0)[:, None], v.shape).copy()
        if m not in ("count", "missing", "nan", "infinite"):
            keep &= ~np.isnan(v)
        if m in ("nan", "infinite"):
            keep &= ~text[None, :]
        cell, column = np.nonzero(keep)
        frames.append((cell, column, np.full(len(cell), m, dtype=object), v[cell, column]))
    cell = np.concatenate([f[0] for f in frames])
    column = np.concatenate([f[1] for f in frames])
    order = np.lexsort((np.repeat(np.arange(len(frames)), [len(f[0]) for f in frames]), column, cell))
    out = pd.DataFrame(
        {
            "window": windows[cell],
            "segment": segments[cell],
            "column": cube["column"].values.astype(object)[column],
            "metric": np.concatenate([f[2] for f in frames]),
            "value": np.concatenate([f[3] for f in frames]),
        }
    )
    return out.iloc[order].reset_index(drop=True)


def top_values(cube: xr.Dataset, limit: int = 100) -> pd.DataFrame:
    """The most frequent values, tidy: window, segment, column, value, count, and ``short``: the most it may be short by.

    Text values; whole numbers and booleans as text where every value was kept. At most ``limit`` a cell and column.
    """
    import pandas as pd

    _, shape, n = _shape(cube)
    total = int(np.prod(shape))
    windows, segments = cell_names(cube)
    bound = cube["top_bound"].values.reshape(total, n)
    frames = []
    for i, c in enumerate(columns_of(cube)):
        if c["asked"]["top"]:
            group, value, count = (_rows(cube, "top", i)[k] for k in ("group", "value", "count"))
        elif c["kind"] in ("integer", "boolean") and c["asked"]["histogram"]:
            t = _bins(cube, i)
            if np.any(t["min"] != t["max"]):
                continue
            group, value, count = t["group"], t["min"], t["count"].astype(np.int64)
        else:
            continue
        order = np.lexsort((-count, group))
        group, value, count = group[order], value[order], count[order]
        place = np.arange(len(group)) - np.searchsorted(group, group)
        keep = place < limit
        group, value, count = group[keep], value[keep], count[keep]
        if c["kind"] == "boolean" and not c["asked"]["top"]:
            value = np.where(value > 0, "true", "false").astype(object)
        elif not c["asked"]["top"]:
            value = np.array([str(int(v)) for v in value], dtype=object)
        name = np.full(len(group), c["name"], dtype=object)
        frames.append(
            pd.DataFrame(
                {
                    "window": windows[group],
                    "segment": segments[group],
                    "column": name,
                    "value": value,
                    "count": count,
                    "short": bound[group, i],
                }
            )
        )
    if not frames:
        types = {
            "window": object,
            "segment": object,
            "column": object,
            "value": object,
            "count": np.int64,
            "short": np.int64,
        }
        return pd.DataFrame({k: np.zeros(0, t) for k, t in types.items()})
    return pd.concat(frames, ignore_index=True)


def cell_names(cube: xr.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Each cell's window (ISO start in UTC, "" without a Period) and segment ("model=a, region=b"), in flat order."""
    axes = axes_of(cube)
    shape = tuple(cube.sizes[a["name"]] for a in axes)
    total = int(np.prod(shape))
    place = np.unravel_index(np.arange(total), shape) if axes else ()
    windows = np.full(total, "", dtype=object)
    parts: list[np.ndarray] = []
    seen = False
    for a, at in zip(axes, place, strict=True):
        labels = cube[a["name"]].values
        if a["axis"] == "period" and not seen:
            seen = True
            windows = np.array([iso(v) for v in labels], dtype=object)[at] if len(labels) else windows
        else:
            said = [
                iso(v) if labels.dtype.kind == "M" else short_text(v) if labels.dtype.kind == "f" else str(v)
                for v in labels
            ]
            parts.append(np.array([f"{a['name']}={v}" for v in said], dtype=object)[at] if len(said) else windows)
    segments = (
        np.array([", ".join(x) for x in zip(*parts, strict=True)], dtype=object)
        if parts
        else np.full(total, "", dtype=object)
    )
    return windows, segments.reshape(total)


def iso(t: Any) -> str:
    """A time label as ISO text in UTC, to the second or as fine as it is; "(missing)" for NaT."""
    if np.isnat(t):
        return MISSING_LABEL
    t = np.datetime64(t, "us")
    fine = t != t.astype("datetime64[s]")
    return np.datetime_as_string(t, unit="us" if fine else "s") + "Z"


def _shape(cube: xr.Dataset) -> tuple[list[str], tuple[int, ...], int]:
    names = [a["name"] for a in axes_of(cube)]
    return names, tuple(cube.sizes[d] for d in names), cube.sizes["column"]


def _column(cube: xr.Dataset, column: str) -> int:
    names = cube["column"].values.tolist()
    if column not in names:
        raise WorkbenchError(f"The cube has no column {column!r}; {nearest(column, names)}")
    return names.index(column)


def _bins(cube: xr.Dataset, i: int) -> p.Ragged:
    return _rows(cube, "bin", i)


def _rows(cube: xr.Dataset, what: str, i: int) -> p.Ragged:
    """The bins ("bin"), texts ("top") or registers ("register") of a column, as they are in the cube: not copied."""
    kept = cube.variables
    column = kept[f"{what}_column"].values  # of one number only it may take no place; searchsorted would copy it out
    at = slice(bisect_left(column, i), bisect_left(column, i + 1))
    return {k: kept[f"{what}_{k}"].values[at] for k in TYPES[what]}


def _wide(cube: xr.Dataset, values: np.ndarray, names: Iterable[str], shape: tuple[int, ...]) -> xr.DataArray:
    import xarray as xr

    dims = (*names, "column")
    return xr.DataArray(np.moveaxis(values, 0, -1).reshape(*shape, len(values)), {d: cube[d] for d in dims}, dims)
