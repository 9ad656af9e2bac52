"""Cubes as labelled datasets, and what may be done with them: add, select, collapse."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.cubes import partial as p
from workbench.errors import WorkbenchError, nearest

if TYPE_CHECKING:
    import xarray as xr

CELL_LIMIT = 20_000_000  # groups x columns of one dense cube
FORMAT = 1

RAGGED: dict[str, dict[str, Any]] = {
    "bins": p.BIN_TYPES,
    "tops": p.TOP_TYPES,
    "registers": p.REGISTER_TYPES,
}
PREFIX = {"bins": "bin", "tops": "top", "registers": "register"}


def to_dataset(
    part: p.Partial,
    axes: list[dict[str, Any]],
    columns: list[dict[str, Any]],
    plans: dict[str, np.ndarray],
    recipe: dict[str, Any],
) -> xr.Dataset:
    """The cube of a partial: dense over the product of the axes' labels."""
    import xarray as xr

    names = [a["name"] for a in axes]
    sorted_part = p.join([part, _nothing(part)]) if axes else part
    part = sorted_part
    shape = tuple(len(labels) for labels in part.labels)
    cells = int(np.prod(shape, dtype=float)) * max(1, len(columns)) if axes else len(columns)
    if cells > CELL_LIMIT:
        longest = max(range(len(names)), key=lambda i: shape[i])
        raise WorkbenchError(
            f"This cube would have {' x '.join(f'{s:,} {n}' for s, n in zip(shape, names, strict=True))} x "
            f"{len(columns)} columns = {cells:,} cells, more than {CELL_LIMIT:,}. The longest axis is "
            f"{names[longest]!r} with {shape[longest]:,} labels: leave it out, make it coarser (a longer Period, "
            f"fewer Bins) or keep fewer of its values with where=."
        )
    flat = np.zeros(part.groups, np.int64)
    for a, size in enumerate(shape):
        flat = flat * size + part.codes[:, a]
    total = int(np.prod(shape)) if axes else 1
    n = len(columns)
    count = np.zeros(total, np.int64)
    moments, whole = p.empty_moments(n, total), p.empty_whole(n, total)
    lost, bound = np.zeros((n, total), np.int64), np.zeros((n, total), np.int64)
    count[flat], moments[:, flat], whole[:, flat] = part.count, part.moments, part.whole
    lost[:, flat], bound[:, flat] = part.lost, part.bound

    dims = (*names, "column")

    def wide(a: np.ndarray) -> tuple[tuple[str, ...], np.ndarray]:
        return dims, np.ascontiguousarray(np.moveaxis(a, 0, -1)).reshape(*shape, n)

    integer = np.array([c["whole"] for c in columns], bool)
    numeric = np.array([c["kind"] not in ("text", "other") for c in columns], bool)[:, None]
    exact = whole[..., p.HIGH].astype(float) * 2.0**32 + whole[..., p.LOW].astype(float)
    none = ~numeric | (moments[..., p.N] == 0)
    with np.errstate(invalid="ignore"):
        data: dict[str, Any] = {
            "count": (tuple(names), count.reshape(shape)),
            "missing": wide(whole[..., p.MISSING]),
            "nan": wide(whole[..., p.NAN]),
            "infinite": wide(whole[..., p.POSINF] + whole[..., p.NEGINF]),
            "infinite_negative": wide(whole[..., p.NEGINF]),
            "values": wide(moments[..., p.N].astype(np.int64)),
            "sum": wide(np.where(integer[:, None], exact, moments[..., p.SUM])),
            "mean": wide(np.where(none, np.nan, moments[..., p.MEAN])),
            "m2": wide(np.where(none, np.nan, moments[..., p.M2])),
            "min": wide(np.where(none, np.nan, moments[..., p.MIN])),
            "max": wide(np.where(none, np.nan, moments[..., p.MAX])),
            "sum_high": wide(whole[..., p.HIGH]),
            "sum_low": wide(whole[..., p.LOW]),
            "int_min": wide(whole[..., p.IMIN]),
            "int_max": wide(whole[..., p.IMAX]),
            "top_lost": wide(lost),
            "top_bound": wide(bound),
        }
    for dim, tables in (("bins", part.bins), ("tops", part.tops), ("registers", part.registers)):
        rows = {key: [] for key in (*RAGGED[dim], "column")} if True else {}
        for i, t in enumerate(tables):
            if len(t["group"]):
                for key, v in t.items():
                    rows[key].append(flat[v] if key == "group" else v)
                rows["column"].append(np.full(len(t["group"]), i, np.int32))
        types = {**RAGGED[dim], "column": np.int32}
        joined = {k: np.concatenate(v) if v else np.zeros(0, types[k]) for k, v in rows.items()}
        keys = {"bins": ("low",), "tops": ("value",), "registers": ("index",)}[dim]
        if len(joined["group"]):
            order = _order(joined, keys)
            joined = {k: v[order] for k, v in joined.items()}
        data.update({f"{PREFIX[dim]}_{k}": (dim, v) for k, v in joined.items()})
    plan_rows = [np.column_stack([np.full(len(v), i), v]) for i, v in enumerate(plans.get(c["name"], []) for c in columns) if len(v)]
    stacked = np.concatenate(plan_rows) if plan_rows else np.zeros((0, 6), np.int64)
    for j, key in enumerate(("column", "cell", "parent", "shift", "low", "n")):
        data[f"plan_{key}"] = ("plans", stacked[:, j].astype(np.int64))
    coords: dict[str, Any] = {}
    for a, labels in zip(axes, part.labels, strict=True):
        about = {k: v for k, v in a.items() if v is not None}
        coords[a["name"]] = (a["name"], labels, {k: json.dumps(v) if isinstance(v, list) else v for k, v in about.items()})
    coords["column"] = ("column", np.array([c["name"] for c in columns], dtype=object))
    coords["kind"] = ("column", np.array([c["kind"] for c in columns], dtype=object))
    coords["unit"] = ("column", np.array(["us since 1970-01-01 UTC" if c["kind"] == "time" else "" for c in columns], dtype=object))
    asked = {c["name"]: c["asked"] for c in columns}
    attrs = {"format": FORMAT, "axes": json.dumps(axes), "asked": json.dumps(asked), **{k: _attr(v) for k, v in recipe.items()}}
    return xr.Dataset(data, coords, attrs)


def _order(t: p.Ragged, keys: tuple[str, ...]) -> np.ndarray:
    if keys == ("value",):
        _, back = p.factorize(t["value"])
        return np.lexsort((back, t["column"], t["group"]))
    return np.lexsort((*(t[k] for k in keys), t["column"], t["group"]))


def _attr(v: Any) -> Any:
    return v if isinstance(v, str | int | float) else json.dumps(v)


def _nothing(part: p.Partial) -> p.Partial:
    """No rows, with a partial's axes and columns: joining it sorts the other's groups and labels."""
    n = len(part.moments)
    return p.Partial(
        tuple(v[:0] for v in part.labels), np.zeros((0, len(part.labels)), np.int64), np.zeros(0, np.int64),
        p.empty_moments(n, 0), p.empty_whole(n, 0), np.zeros((n, 0), np.int64), np.zeros((n, 0), np.int64),
        [p.empty(p.BIN_TYPES)] * n, [p.empty(p.TOP_TYPES)] * n, [p.empty(p.REGISTER_TYPES)] * n,
    )  # fmt: skip


def axes_of(cube: xr.Dataset) -> list[dict[str, Any]]:
    """The cube's axes as they were asked for: ``{"axis", "column", "name", ...}`` each, in order."""
    try:
        return json.loads(cube.attrs["axes"])
    except (KeyError, TypeError, ValueError):
        raise WorkbenchError("This dataset is not a cube: it has no 'axes' in its attributes; make one with cube().") from None


def columns_of(cube: xr.Dataset) -> list[dict[str, Any]]:
    """The cube's columns: ``{"name", "kind", "whole", "asked"}`` each."""
    asked = json.loads(cube.attrs["asked"])
    kinds = cube["kind"].values.tolist()
    return [
        {"name": c, "kind": k, "whole": asked[c]["whole"], "asked": asked[c]}
        for c, k in zip(cube["column"].values.tolist(), kinds, strict=True)
    ]


def plans_of(cube: xr.Dataset) -> dict[str, np.ndarray]:
    """The nodes of each numeric column's plan (see ``plan.Plan``)."""
    names = cube["column"].values.tolist()
    rows = np.column_stack([cube[f"plan_{k}"].values for k in ("cell", "parent", "shift", "low", "n")])
    which = cube["plan_column"].values
    return {c: rows[which == i] for i, c in enumerate(names) if (which == i).any()}


def from_dataset(cube: xr.Dataset) -> p.Partial:
    """The partial of a cube: only groups that have rows."""
    axes = axes_of(cube)
    names = [a["name"] for a in axes]
    shape = tuple(cube.sizes[n] for n in names)
    n = cube.sizes["column"]
    count = cube["count"].values.reshape(-1)
    total = len(count)

    def deep(*names: str) -> np.ndarray:
        return np.stack([np.moveaxis(cube[v].values.reshape(total, n), -1, 0) for v in names], axis=-1)

    keep = np.flatnonzero(count) if axes else np.zeros(1, np.int64)
    where = np.full(total, -1, np.int64)
    where[keep] = np.arange(len(keep))
    moments = p.empty_moments(n, len(keep))
    moments[..., p.N] = deep("values")[:, keep, 0]
    for i, v in ((p.MEAN, "mean"), (p.SUM, "sum"), (p.M2, "m2")):
        moments[..., i] = np.nan_to_num(deep(v)[:, keep, 0], nan=0.0, posinf=np.inf, neginf=-np.inf)
    low, high = deep("min")[:, keep, 0], deep("max")[:, keep, 0]
    moments[..., p.MIN] = np.where(np.isnan(low), np.inf, low)
    moments[..., p.MAX] = np.where(np.isnan(high), -np.inf, high)
    whole = deep("missing", "nan", "infinite", "infinite_negative", "sum_low", "sum_high", "int_min", "int_max")[:, keep]
    whole[..., p.POSINF] -= whole[..., p.NEGINF]
    codes = np.stack(np.unravel_index(keep, shape), axis=1) if axes else np.zeros((1, 0), np.int64)
    ragged: dict[str, list[p.Ragged]] = {}
    for dim, types in RAGGED.items():
        t = {k: cube[f"{PREFIX[dim]}_{k}"].values for k in types}
        t["group"] = where[t["group"]]
        column = cube[f"{PREFIX[dim]}_column"].values
        order = np.argsort(column, kind="stable")
        cuts = np.searchsorted(column[order], np.arange(n + 1))
        ragged[dim] = [{k: v[order[a:b]] for k, v in t.items()} for a, b in zip(cuts[:-1], cuts[1:], strict=True)]
    return p.Partial(
        tuple(cube[x].values for x in names), codes.astype(np.int64), count[keep], moments, whole,
        deep("top_lost")[:, keep, 0], deep("top_bound")[:, keep, 0],
        ragged["bins"], ragged["tops"], ragged["registers"],
    )  # fmt: skip


def add(*cubes: xr.Dataset) -> xr.Dataset:
    """The cube of all rows that the given cubes counted.

    Exact for counts, missing, NaN, infinite, integer sums, extremes, bins, top values (up to their bound) and distinct
    registers, whatever the split, the order and the grouping; float sums, means and variances agree to rounding.
    Cubes of different recipes (axes, columns, kinds or measures) do not add: WorkbenchError names both.

    >>> import pyarrow as pa
    >>> from workbench.cubes import cube
    >>> one, two = cube(pa.table({"x": [1, 2]})), cube(pa.table({"x": [3, None]}))
    >>> int(add(one, two)["missing"].sum()), float(add(one, two)["sum"].sum())
    (1, 6.0)
    """
    items: list[xr.Dataset] = list(cubes[0]) if len(cubes) == 1 and isinstance(cubes[0], list | tuple) else list(cubes)
    if not items:
        raise WorkbenchError("add() got no cube; give it one or more.")
    first = items[0]
    for other in items[1:]:
        for key, say in (("axes", "axes"), ("asked", "measures")):
            if first.attrs.get(key) != other.attrs.get(key):
                raise WorkbenchError(_differ(first, other, key, say))
        a, b = first["kind"].values.tolist(), other["kind"].values.tolist()
        if first["column"].values.tolist() != other["column"].values.tolist() or a != b:
            raise WorkbenchError(_differ(first, other, "kind", "columns"))
    part = p.join([from_dataset(c) for c in items])
    plans = plans_of(first)
    recipe = {k: v for k, v in first.attrs.items() if k not in ("format", "axes", "asked")}
    sources = list(dict.fromkeys(s for c in items for s in _list(c.attrs.get("source"))))
    versions = list(dict.fromkeys(s for c in items for s in _list(c.attrs.get("source_version"))))
    recipe["source"] = sources[0] if len(sources) == 1 else json.dumps(sources)
    recipe["source_version"] = versions[0] if len(versions) == 1 else json.dumps(versions)
    return to_dataset(part, axes_of(first), columns_of(first), plans, recipe)


def _list(v: Any) -> list[str]:
    if isinstance(v, str) and v.startswith("["):
        return json.loads(v)
    return [] if v is None else [str(v)]


def _differ(a: xr.Dataset, b: xr.Dataset, key: str, say: str) -> str:
    def name(c: xr.Dataset) -> str:
        return str(c.attrs.get("source", "a cube"))

    def what(c: xr.Dataset) -> str:
        if key == "kind":
            return ", ".join(f"{x} ({k})" for x, k in zip(c["column"].values, c["kind"].values, strict=True))
        return str(c.attrs.get(key))

    left, right = what(a), what(b)
    return (
        f"Cubes of different {say} do not add: {name(a)} has {left[:400]}; {name(b)} has {right[:400]}. "
        f"Count both with the same by= and of=, and the second with plan= of the first."
    )


def select(cube: xr.Dataset, **labels: Any) -> xr.Dataset:
    """The part of a cube at some labels of its axes (or columns): a label, a list of labels or a slice of labels each.

    A single label drops its axis, as ``Dataset.sel`` does; time labels may be text ("2026-03-02"), slices of times
    include their start and exclude their stop. Unknown axes and labels raise WorkbenchError with the nearest names.
    """
    axes = axes_of(cube)
    names = [a["name"] for a in axes]
    dropped = []
    keep: dict[str, np.ndarray] = {}
    for dim, wanted in labels.items():
        if dim not in (*names, "column"):
            raise WorkbenchError(f"select() names {dim!r}, which is not an axis here; {nearest(dim, [*names, 'column'])}")
        at = _at(cube[dim].values, wanted, dim)
        if not isinstance(wanted, slice | list | tuple | np.ndarray):
            dropped.append(dim)
        keep[dim] = at
    part = from_dataset(cube)
    columns = columns_of(cube)
    plans = plans_of(cube)
    ok = np.ones(part.groups, bool)
    for a, name in enumerate(names):
        if name in keep:
            ok &= np.isin(part.codes[:, a], keep[name])
    part = _take_groups(part, np.flatnonzero(ok))
    if "column" in keep:
        part, columns = _take_columns(part, keep["column"]), [columns[i] for i in keep["column"]]
    labels_kept = list(part.labels)
    codes = part.codes.copy()
    for a, name in enumerate(names):
        if name in keep:
            place = np.full(len(labels_kept[a]), 0, np.int64)
            place[keep[name]] = np.arange(len(keep[name]))
            codes[:, a] = place[codes[:, a]]
            labels_kept[a] = labels_kept[a][keep[name]]
    stay = [a for a, name in enumerate(names) if name not in dropped]
    part.codes = codes[:, stay]
    part.labels = tuple(labels_kept[a] for a in stay)
    if not stay and not part.groups:
        part = _zero(part)
    recipe = {k: v for k, v in cube.attrs.items() if k not in ("format", "axes", "asked")}
    return to_dataset(part, [axes[a] for a in stay], columns, {c["name"]: plans[c["name"]] for c in columns if c["name"] in plans}, recipe)


def collapse(cube: xr.Dataset, *dims: str) -> xr.Dataset:
    """The cube without the named axes (none named: without any), its cells added up along them."""
    axes = axes_of(cube)
    names = [a["name"] for a in axes]
    for d in dims:
        if d not in names:
            raise WorkbenchError(f"collapse() names {d!r}, which is not an axis here; {nearest(d, names)}")
    stay = [a for a, n in enumerate(names) if dims and n not in dims]
    part = from_dataset(cube)
    # one group after the other with the axes dropped: groups that become alike add up, in log2 rounds
    part.codes = part.codes[:, stay]
    part.labels = tuple(part.labels[a] for a in stay)
    if not part.groups:
        part = _zero(part) if not stay else part
    else:
        part = _merge_alike(part)
    recipe = {k: v for k, v in cube.attrs.items() if k not in ("format", "axes", "asked")}
    return to_dataset(part, [axes[a] for a in stay], columns_of(cube), plans_of(cube), recipe)


def _merge_alike(part: p.Partial) -> p.Partial:
    if part.codes.shape[1]:
        keys, back = np.unique(part.codes, axis=0, return_inverse=True)
        back = back.reshape(-1)
    else:
        keys, back = np.zeros((1, 0), np.int64), np.zeros(part.groups, np.int64)
    size = len(keys)
    order = np.argsort(back, kind="stable")
    rank = np.arange(part.groups) - np.searchsorted(back[order], back[order])
    n = len(part.moments)
    moments, whole = p.empty_moments(n, size), p.empty_whole(n, size)
    rounds = int(rank.max()) + 1
    if rounds <= 512:
        for r in range(rounds):
            at = order[rank == r]
            to = back[at]
            moments[:, to] = p.join_moments(moments[:, to], part.moments[:, at])
            whole[:, to] = p.join_whole(whole[:, to], part.whole[:, at])
    else:
        m, w = part.moments[:, order], part.whole[:, order]
        starts = np.searchsorted(back[order], np.arange(size))
        moments, whole = _reduce(m, w, starts)
    count = np.zeros(size, np.int64)
    np.add.at(count, back, part.count)
    lost, bound = np.zeros((n, size), np.int64), np.zeros((n, size), np.int64)
    for i in range(n):
        np.add.at(lost[i], back, part.lost[i])
        np.add.at(bound[i], back, part.bound[i])

    def moved(t: p.Ragged) -> p.Ragged:
        return {**t, "group": back[t["group"]]}

    return p.Partial(
        part.labels, keys, count, moments, whole, lost, bound,
        [p.join_bins(moved(t)) for t in part.bins],
        [p.join_tops(moved(t)) for t in part.tops],
        [p.join_registers(moved(t)) for t in part.registers],
    )  # fmt: skip


def _reduce(m: np.ndarray, w: np.ndarray, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Moments and whole numbers of runs of groups, for very many groups: two passes about each run's mean."""
    size = m.shape[1]
    out, whole = np.empty((len(m), len(starts), 6)), np.add.reduceat(w, starts, axis=1)
    carry = whole[..., p.LOW] >> 32
    whole[..., p.LOW] &= 0xFFFFFFFF
    whole[..., p.HIGH] += carry
    whole[..., p.IMIN] = np.minimum.reduceat(w[..., p.IMIN], starts, axis=1)
    whole[..., p.IMAX] = np.maximum.reduceat(w[..., p.IMAX], starts, axis=1)
    n = np.add.reduceat(m[..., p.N], starts, axis=1)
    pivot = m[:, starts, p.MEAN]
    run = np.repeat(np.arange(len(starts)), np.diff(np.append(starts, size)))
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        delta = (m[..., p.MEAN] - pivot[:, run]) * (m[..., p.N] > 0)
        shift = np.add.reduceat(delta * m[..., p.N], starts, axis=1) / np.maximum(n, 1)
        out[..., p.MEAN] = pivot + shift
        off = (delta - shift[:, run]) * (m[..., p.N] > 0)
        out[..., p.M2] = np.add.reduceat(m[..., p.M2] + m[..., p.N] * off * off, starts, axis=1)
    out[..., p.N] = n
    out[..., p.SUM] = np.add.reduceat(m[..., p.SUM], starts, axis=1)
    out[..., p.MIN] = np.minimum.reduceat(m[..., p.MIN], starts, axis=1)
    out[..., p.MAX] = np.maximum.reduceat(m[..., p.MAX], starts, axis=1)
    return out, whole


def _zero(part: p.Partial) -> p.Partial:
    """One group without rows, for a cube without axes."""
    n = len(part.moments)
    one = _nothing(part)
    one.codes, one.count = np.zeros((1, 0), np.int64), np.zeros(1, np.int64)
    one.labels = ()
    one.moments, one.whole = p.empty_moments(n, 1), p.empty_whole(n, 1)
    one.lost, one.bound = np.zeros((n, 1), np.int64), np.zeros((n, 1), np.int64)
    return one


def _take_groups(part: p.Partial, at: np.ndarray) -> p.Partial:
    place = np.full(part.groups, -1, np.int64)
    place[at] = np.arange(len(at))

    def rows(t: p.Ragged) -> p.Ragged:
        ok = place[t["group"]] >= 0
        return {k: place[v[ok]] if k == "group" else v[ok] for k, v in t.items()}

    return p.Partial(
        part.labels, part.codes[at], part.count[at], part.moments[:, at], part.whole[:, at], part.lost[:, at],
        part.bound[:, at], [rows(t) for t in part.bins], [rows(t) for t in part.tops],
        [rows(t) for t in part.registers],
    )  # fmt: skip


def _take_columns(part: p.Partial, at: Iterable[int]) -> p.Partial:
    at = list(at)
    return p.Partial(
        part.labels, part.codes, part.count, part.moments[at], part.whole[at], part.lost[at], part.bound[at],
        [part.bins[i] for i in at], [part.tops[i] for i in at], [part.registers[i] for i in at],
    )  # fmt: skip


def _at(values: np.ndarray, wanted: Any, dim: str) -> np.ndarray:
    """Positions of the wanted labels."""
    if isinstance(wanted, slice):
        if wanted.step is not None:
            raise WorkbenchError(f"select({dim}=...) got a slice with a step; give a start and a stop.")
        ok = np.ones(len(values), bool)
        if values.dtype.kind == "M":
            ok &= ~np.isnat(values)
        for edge, side in ((wanted.start, "start"), (wanted.stop, "stop")):
            if edge is not None:
                e = _label(values, edge, dim)
                ok &= values >= e if side == "start" else values < e if values.dtype.kind == "M" else values <= e
        return np.flatnonzero(ok)
    many = wanted if isinstance(wanted, list | tuple | np.ndarray) else [wanted]
    found = []
    for w in many:
        e = _label(values, w, dim)
        if values.dtype.kind == "M" and np.isnat(e):
            hit = np.flatnonzero(np.isnat(values))
        elif values.dtype.kind == "f" and isinstance(e, float) and np.isnan(e):
            hit = np.flatnonzero(np.isnan(values))
        else:
            hit = np.flatnonzero(values == e)
        if not len(hit):
            raise WorkbenchError(f"{dim} has no label {w!r}; {nearest(str(w), [str(v) for v in values.tolist()[:2000]])}")
        found.append(int(hit[0]))
    return np.array(found, np.int64)


def _label(values: np.ndarray, label: Any, dim: str) -> Any:
    if values.dtype.kind != "M":
        return label
    import pandas as pd

    try:
        t = pd.Timestamp(label)
        if t is pd.NaT:
            return np.datetime64("NaT", "us")
        t = t.tz_convert("UTC").tz_localize(None) if t.tzinfo is not None else t
        return t.as_unit("us").to_datetime64()
    except (ValueError, TypeError):
        raise WorkbenchError(f"{dim} got {label!r}; a time such as '2026-03-02' or '2026-03-02T14:00Z' is wanted.") from None
