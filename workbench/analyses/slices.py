"""The slice that carries the drift: one- and two-way slices of a cube's categories, ranked, corrected for the search.

A slice is all rows with one label ("model=a"), or with one label of each of two axes ("model=a, region=b"); "" is all
rows. Within each slice the values of the reference are compared with those of now (two samples, Pearson's chi-square over
about ten cells of equal share, or the values of text, with missing, NaN and infinite as cells of their own). What the
statistic has above its expectation is the slice's *excess*. Excesses add over parts that do not overlap, so a slice that
drifts as a whole has all of the excess of its parts, and a slice of which only a part drifts has less than that part: the
slice with the largest excess is the one that carries the drift. Its *explained share* is its excess over the largest sum of
excesses of any cut of all rows.

After the first slice its rows are taken out and the search goes on, so that what is reported next is not the same drift
again. p values are corrected over every slice and column that was looked at by Benjamini and Yekutieli's step-up (Ann.
Stat. 29, 2001), which holds under any dependence: slices overlap.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from workbench.analyses import distances as far
from workbench.analyses.pairs import frequent, paired, pooled
from workbench.analyses.parts import OTHER, WINDOW, groups, say_share, segment_axes, segment_name, window_labels
from workbench.errors import WorkbenchError, nearest

LIMIT = 20_000_000  # counts of one column over all combinations of labels
EXPECTED = 5.0  # cells of a slice with fewer expected rows on the smaller side are counted as one
EXTRA = ("missing", "nan", "infinite")
SAID = {"missing": "missing", "nan": "NaN", "infinite": "infinite"}


@dataclass(frozen=True)
class Counted:
    """One column's counts on both sides: arrays (labels of each axis ..., cells), and what axes and cells are called."""

    reference: Any
    current: Any
    dims: tuple[str, ...]
    labels: tuple[list[Any], ...]
    cells: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        shape = tuple(len(one) for one in self.labels)
        for side in (self.reference, self.current):
            if len(self.dims) != len(shape) or np.shape(side)[:-1] != shape or np.ndim(side) != len(shape) + 1:
                raise WorkbenchError(
                    f"counts of shape {np.shape(side)} do not fit the axes {list(self.dims)} of {list(shape)} labels; the "
                    "last axis is that of the cells"
                )


def chi_square(reference: Any, current: Any) -> tuple[Any, Any, Any]:
    """Pearson's chi-square of two samples over the last axis, its degrees of freedom, and its p value.

    Cells of fewer than five expected rows on the smaller side are counted as one cell, and this with the fullest cell
    where it is too small itself. 0 with 0 degrees of freedom where nothing can be compared (p 1).

    >>> statistic, freedom, p = chi_square(np.array([[50, 50, 1]]), np.array([[80, 20, 0]]))
    >>> freedom.tolist(), p.round(6).tolist()
    ([1.0], [1.1e-05])
    """
    from scipy.special import chdtrc

    a, b = np.asarray(reference, "float64"), np.asarray(current, "float64")
    n, m = a.sum(-1, keepdims=True), b.sum(-1, keepdims=True)
    both = a + b
    with np.errstate(invalid="ignore", divide="ignore"):
        expected = both * np.minimum(n, m) / (n + m)
        small = ~(expected >= EXPECTED)
        lots = np.zeros(a.shape[:-1]) + np.where(small, expected, 0).sum(-1)
    rest = np.stack([np.where(small, one, 0).sum(-1) for one in (a, b)])
    alone = lots >= EXPECTED
    a, b = (np.where(small, 0, one) for one in (a, b))
    top = both.argmax(-1)[..., None]
    for one, more in ((a, rest[0]), (b, rest[1])):
        joined = np.take_along_axis(one, top, -1) + np.where(alone, 0, more)[..., None]
        np.put_along_axis(one, top, joined, -1)
    a, b = (
        np.concatenate([one, np.where(alone, more, 0)[..., None]], -1) for one, more in ((a, rest[0]), (b, rest[1]))
    )
    both = a + b
    with np.errstate(invalid="ignore", divide="ignore"):
        terms = (m * a - n * b) ** 2 / (both * n * m)
    statistic = np.where((both > 0) & (n > 0) & (m > 0), terms, 0.0).sum(-1)
    freedom = np.maximum(((both > 0) & (n > 0) & (m > 0)).sum(-1) - 1, 0).astype("float64")
    return statistic, freedom, np.where(freedom > 0, chdtrc(np.maximum(freedom, 1), statistic), 1.0)


def scanned(one: Counted, least: int = 50) -> pd.DataFrame:
    """Every slice of one column that has `least` rows on both sides: slice, axes, at (cut and place), the rows of both
    sides, distance (total variation) with its noise, statistic, freedom, p and excess (statistic above its expectation).
    """
    found = []
    for cut in _cuts(len(one.dims)):
        others = tuple(d for d in range(len(one.dims)) if d not in cut)
        a, b = (
            np.asarray(side, "float64").sum(others).reshape(-1, np.shape(side)[-1])
            for side in (one.reference, one.current)
        )
        n, m = a.sum(-1), b.sum(-1)
        use = np.flatnonzero((n >= least) & (m >= least))
        if not len(use):
            continue
        statistic, freedom, p = chi_square(a[use], b[use])
        sizes = [len(one.labels[d]) for d in cut]
        places = np.stack(np.unravel_index(use, sizes), 1).tolist() if cut else [[]] * len(use)
        names = [
            segment_name([one.dims[d] for d in cut], [one.labels[d][i] for d, i in zip(cut, place, strict=True)])
            for place in places
        ]
        found.append(
            pd.DataFrame(
                {
                    "slice": names,
                    "axes": len(cut),
                    "at": [(cut, tuple(place)) for place in places],
                    "rows_reference": n[use],
                    "rows_current": m[use],
                    "distance": far.total_variation(a[use], b[use]),
                    "noise": far.total_variation_noise(a[use], b[use]),
                    "statistic": statistic,
                    "freedom": freedom,
                    "p": p,
                    "excess": np.maximum(statistic - freedom, 0.0),
                }
            )
        )
    blank = [
        "slice",
        "axes",
        "at",
        "rows_reference",
        "rows_current",
        "distance",
        "noise",
        "statistic",
        "freedom",
        "p",
        "excess",
    ]
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=blank)


def _cuts(dims: int) -> list[tuple[int, ...]]:
    return [(), *((d,) for d in range(dims)), *combinations(range(dims), 2)]


def carried(
    one: Counted, scan: pd.DataFrame, limit: float, alpha: float, *, least: int = 50, most: int = 5
) -> pd.DataFrame:
    """The slices that carry one column's drift, strongest first: `scanned`'s columns, explained (0 to 1), gained, lost.

    scan: `scanned` of the same counts. limit: the largest p value that counts as found. alpha: for the searches among the
    rows that are left, each corrected on its own. most: slices at most.
    """
    above = scan["statistic"] - scan["freedom"]  # not cut at 0, so that noise cancels in the sums
    sums = above.groupby(scan["at"].map(lambda at: at[0])).sum()
    total = max(float(sums.max()), float(above.max()), 1e-12) if len(scan) else 1e-12
    left, rest = scan, one
    told: list[dict[str, Any]] = []
    while len(told) < most:
        found = left[left["p"] <= limit]
        if found.empty:
            break
        best = found.loc[found["excess"].idxmax()]
        told.append({**best.to_dict(), "explained": min(1.0, best["excess"] / total), **_moved(rest, best["at"])})
        if not best["axes"]:
            break
        reference, current = (_without(side, best["at"]) for side in (rest.reference, rest.current))
        rest = Counted(reference, current, rest.dims, rest.labels, rest.cells)
        left = scanned(rest, least)
        limit = min(limit, _limit(left["p"].to_numpy("float64"), alpha)[0])
    return pd.DataFrame(told, columns=[*scan.columns, "explained", "gained", "lost"])


def _limit(p: Any, alpha: float) -> tuple[float, Any]:
    """The largest p value that is found, -1 for none, and all adjusted ones (Benjamini and Yekutieli)."""
    from scipy.stats import false_discovery_control

    q = false_discovery_control(p, method="by") if len(p) else p
    return (float(p[q <= alpha].max()) if (q <= alpha).any() else -1.0), q


def _where(at: tuple[tuple[int, ...], tuple[int, ...]], dims: int) -> tuple[Any, ...]:
    cut, place = at
    return tuple(place[cut.index(d)] if d in cut else slice(None) for d in range(dims))


def _without(counts: Any, at: tuple[tuple[int, ...], tuple[int, ...]]) -> Any:
    out = np.array(counts)
    out[_where(at, out.ndim - 1)] = 0
    return out


def _moved(one: Counted, at: tuple[tuple[int, ...], tuple[int, ...]]) -> dict[str, str]:
    """The cells that gained and lost the most of the slice's rows, in words; "" where cells have no names."""
    if not one.cells:
        return {"gained": "", "lost": ""}
    sides = [np.asarray(side, "float64")[_where(at, len(one.dims))] for side in (one.reference, one.current)]
    a, b = (side.reshape(-1, side.shape[-1]).sum(0) for side in sides)
    p, q = a / max(a.sum(), 1), b / max(b.sum(), 1)
    up, down = int((q - p).argmax()), int((q - p).argmin())
    return {
        name: f"{one.cells[i]}: {say_share(p[i])} before, {say_share(q[i])} now"
        for name, i in (("gained", up), ("lost", down))
    }


def ranked(columns: dict[str, Counted], *, alpha: float = 0.05, least: int = 50, most: int = 5) -> pd.DataFrame:
    """The slices that carry the drift of each column, corrected over all slices of all columns.

    columns: each column's counts. alpha: the share of false findings accepted among those reported (and, where nothing
    moved at all, the chance that anything is reported). least: rows that both sides of a slice need. most: slices a column.
    Returns column, rank, slice ("" all rows), axes, explained (0 to 1), distance (total variation), noise, rows and shares
    of rows of both sides, statistic, freedom, p, q (of the first search), gained, lost, looked (slices searched), words;
    columns of the largest excess first. Empty where nothing was found.
    """
    if not 0 < alpha < 1:
        raise WorkbenchError(f"alpha={alpha!r} is no share of false findings; a number between 0 and 1 is wanted")
    if least < 1 or most < 1:
        raise WorkbenchError(f"least={least!r} and most={most!r} must be 1 or more")
    scans = {column: scanned(one, least) for column, one in columns.items()}
    p = np.concatenate([np.zeros(0), *(scan["p"].to_numpy("float64") for scan in scans.values())])
    limit, q = _limit(p, alpha)
    known = dict(zip(p.tolist(), q.tolist(), strict=True))
    told = []
    for column, scan in scans.items():
        found = carried(columns[column], scan, limit, alpha, least=least, most=most)
        if found.empty:
            continue
        sides = (("reference", columns[column].reference), ("current", columns[column].current))
        shares = {f"share_{name}": found[f"rows_{name}"] / max(np.sum(side), 1) for name, side in sides}
        first = scan.set_index("slice")["p"].reindex(found["slice"]).to_numpy()
        extra = {"column": column, "rank": np.arange(1, len(found) + 1), "looked": len(p), **shares,
                 "q": [known[one] for one in first.tolist()]}  # fmt: skip
        told.append(found.drop(columns="at").assign(**extra, top=found["excess"].iloc[0]))
    order = ["column", "rank", "slice", "axes", "explained", "distance", "noise", "rows_reference", "rows_current",
             "share_reference", "share_current", "statistic", "freedom", "p", "q", "gained", "lost", "looked",
             "words"]  # fmt: skip
    if not told:
        return pd.DataFrame(columns=order)
    table = pd.concat(told).sort_values(["top", "rank"], ascending=[False, True], kind="stable", ignore_index=True)
    return table.assign(words=[_words(one) for _, one in table.iterrows()])[order]


def _words(one: pd.Series) -> str:
    gained = f"; more {one['gained']}" if one["gained"] else ""
    apart = f"total variation {one['distance']:.3f}, {one['noise']:.3f} expected from sampling{gained}"
    if not one["slice"]:
        return f"all rows alike: no slice carries more of it than all of them together; {apart}"
    return (
        f"{one['slice']} carries {say_share(round(one['explained'], 2))} of the drift with "
        f"{say_share(float(one['share_current']))} of the rows; {apart}"
    )


def counted(reference: xr.Dataset, current: xr.Dataset, column: str, window: str = "") -> Counted | str:
    """One column's counts of two cubes over the axes that both have; or why it cannot be searched.

    window: one window of `current` ("" for all of them together); the reference's windows are added up.
    """
    dims = [dim for dim in segment_axes(current) if dim in segment_axes(reference)]
    if not dims:
        raise WorkbenchError(
            "the search for a slice needs categories that both cubes have; count them with by=Category(...) axes"
        )
    for cube in (reference, current):
        if column not in cube["column"].values:
            raise WorkbenchError(
                f"the cube has no column {column!r}; {nearest(column, [str(c) for c in cube['column'].values])}"
            )
    if window and window not in window_labels(current):
        raise WorkbenchError(f"{window!r} is no window of the current cube; {nearest(window, window_labels(current))}")
    pair = paired(reference, current, column)
    if pair.why:
        return pair.why
    labels = tuple(sorted({str(v) for cube in (reference, current) for v in cube[dim].values}) for dim in dims)
    sides, extra = [], []
    for cube, one, when in ((reference, pair.old, ""), (current, pair.new, window)):
        flat, use = _leaves(cube, dims, labels, when)
        kept = use[one.group]
        sides.append(
            (flat[one.group][kept], np.asarray(one.cell, "int64")[kept], np.asarray(one.count, "float64")[kept])
        )
        place = [str(c) for c in cube["column"].values].index(column)
        told = [np.where(use, cube[name].values.reshape(-1, cube.sizes["column"])[:, place], 0) for name in EXTRA]
        extra.append((flat, told))
    return _filled(pair, sides, extra, tuple(dims), labels)


def _leaves(cube: xr.Dataset, dims: Sequence[str], labels: tuple[list[Any], ...], window: str) -> tuple[Any, Any]:
    """Each flat group of a cube as a place among all combinations of labels, and whether it is in the window."""
    spots, flat = groups(cube), np.zeros(cube["count"].size, "int64")
    for dim, named in zip(dims, labels, strict=True):
        index = {v: i for i, v in enumerate(named)}
        mine = np.array([index[str(v)] for v in cube[dim].values], dtype="int64")
        flat = flat * len(named) + mine[spots[dim]]
    use = np.ones(len(flat), dtype=bool)
    if window:
        use = spots[WINDOW] == window_labels(cube).index(window)
    return flat, use


def _filled(
    pair: Any, sides: list[Any], extra: list[Any], dims: tuple[str, ...], labels: tuple[list[Any], ...]
) -> Counted | str:
    """The counts of both sides as arrays, numbers over about ten cells of equal share of the reference."""
    total = np.bincount(sides[0][1], sides[0][2], minlength=len(pair.at))
    now = np.bincount(sides[1][1], sides[1][2], minlength=len(pair.at))
    if pair.kind == "text":
        why = pooled(total, now[None], pair.at == OTHER)[2]
        if why:
            return why
        keep = np.flatnonzero(frequent(total, now))
        part = np.full(len(pair.at), len(keep))
        part[keep] = np.arange(len(keep))
        names = [str(pair.at[i]) for i in keep] + ["(rare values)"]
    else:
        part = far.equal_parts(total)
        names = []
        for i in range(int(part.max()) + 1):
            ends = pair.at[part == i][[0, -1]]
            names.append(f"{ends[0]:.4g}" if ends[0] == ends[1] else f"{ends[0]:.4g} to {ends[1]:.4g}")
    shape = tuple(len(one) for one in labels)
    leaves, cells = int(np.prod(shape)), len(names) + len(EXTRA)
    if leaves * cells > LIMIT:
        longest = int(np.argmax(shape))
        raise WorkbenchError(
            f"{' x '.join(f'{s:,} {d}' for s, d in zip(shape, dims, strict=True))} are {leaves:,} combinations of labels, "
            f"too many to search; leave out {dims[longest]!r} or keep fewer of its labels"
        )
    arrays = []
    for (leaf, cell, count), (flat, more) in zip(sides, extra, strict=True):
        table = np.zeros((leaves, cells))
        table[:, : len(names)] = np.bincount(leaf * len(names) + part[cell], count, leaves * len(names)).reshape(
            leaves, -1
        )
        for i, one in enumerate(more):
            table[:, len(names) + i] = np.bincount(flat, one, leaves)
        arrays.append(table.reshape(*shape, cells))
    return Counted(arrays[0], arrays[1], dims, labels, [*names, *(SAID[name] for name in EXTRA)])


def search(
    reference: xr.Dataset,
    current: xr.Dataset,
    columns: Sequence[str] | None = None,
    *,
    window: str = "",
    alpha: float = 0.05,
    least: int = 50,
    most: int = 5,
) -> pd.DataFrame:
    """`ranked` over two cubes with the same categories: which slices carry the drift of which columns.

    reference, current: cubes with Category axes, with windows or without. columns: which to search, None for all that can
    be. window: one window of `current`, "" for all. A column that is an axis itself is not searched along that axis.
    The frame's attrs["not searched"] says of each column left out why.
    """
    shared = [str(c) for c in current["column"].values if c in reference["column"].values]
    asked = shared if columns is None else list(columns)
    found: dict[str, Counted] = {}
    out: dict[str, str] = {}
    for column in asked:
        if column in segment_axes(current):
            out[column] = "it is one of the axes"
            continue
        one = counted(reference, current, column, window)
        if isinstance(one, str):
            out[column] = one
        else:
            found[column] = one
    table = ranked(found, alpha=alpha, least=least, most=most)
    table.attrs["not searched"] = out
    return table
