"""Cubes as labelled datasets: a partial made dense over its labels, and back."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.cubes import comoments
from workbench.cubes import partial as p
from workbench.cubes.grouping import renumbered
from workbench.errors import WorkbenchError

if TYPE_CHECKING:
    import xarray as xr

CELL_LIMIT = 20_000_000  # groups x columns of one dense cube
FORMAT = 2  # 1 kept the first key of each bin too

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
    spent: bool = False,
) -> xr.Dataset:
    """The cube of a partial: dense over the product of the axes' labels.

    spent: the partial is not used again, and its groups may be renumbered where they are.
    """
    import xarray as xr

    names = [a["name"] for a in axes]
    part = _trimmed(p.settled(part))
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
        types = {**RAGGED[dim], "column": np.int32}
        rows: dict[str, list[np.ndarray]] = {key: [] for key in types}
        for i, t in enumerate(tables):
            if len(t["group"]):
                for key, one in _in_order(dim, t, flat, spent).items():
                    rows[key].append(one)
                rows["column"].append(np.broadcast_to(np.int32(i), len(t["group"])))
        for key, parts in rows.items():
            one = parts[0] if len(parts) == 1 else np.concatenate(parts) if parts else np.zeros(0, types[key])
            data[f"{PREFIX[dim]}_{key}"] = (dim, one)
    kept = [(i, plans[c["name"]]) for i, c in enumerate(columns) if c["name"] in plans]
    plan_rows = [np.column_stack([np.full(len(nodes), i), nodes]) for i, nodes in kept]
    stacked = np.concatenate(plan_rows) if plan_rows else np.zeros((0, 6), np.int64)
    for j, key in enumerate(("column", "cell", "parent", "shift", "low", "n")):
        data[f"plan_{key}"] = ("plans", stacked[:, j].astype(np.int64))
    coords: dict[str, Any] = _cross_into(data, part, names, shape, flat, columns)
    for axis, labels in zip(axes, part.labels, strict=True):
        about = {k: v for k, v in axis.items() if v is not None}
        coords[axis["name"]] = (
            axis["name"],
            labels,
            {k: json.dumps(v) if isinstance(v, list) else v for k, v in about.items()},
        )
    coords["column"] = ("column", np.array([c["name"] for c in columns], dtype=object))
    coords["kind"] = ("column", np.array([c["kind"] for c in columns], dtype=object))
    coords["unit"] = (
        "column",
        np.array(["us since 1970-01-01 UTC" if c["kind"] == "time" else "" for c in columns], dtype=object),
    )
    asked = {c["name"]: c["asked"] for c in columns}
    attrs = {
        "format": FORMAT,
        "axes": json.dumps(axes),
        "asked": json.dumps(asked),
        **{k: _attr(v) for k, v in recipe.items()},
    }
    return xr.Dataset(data, coords, attrs)


def _cross_into(
    data: dict[str, Any],
    part: p.Partial,
    names: list[str],
    shape: tuple[int, ...],
    flat: np.ndarray,
    columns: list[Any],
) -> dict[str, Any]:
    """Puts a partial's co-moments into a cube's variables; gives the coordinates that they need."""
    have = comoments.counted(columns)
    if not have:
        return {}
    total, d = int(np.prod(shape)), len(have)
    if total * d * d > CELL_LIMIT:
        raise WorkbenchError(
            f"CoMoments of {d} columns in {total:,} cells are {total * d * d:,} pairs, more than {CELL_LIMIT:,}; name fewer "
            "columns, CoMoments(['a', 'b']), or take longer windows and fewer axes."
        )
    cross = comoments.none(total, d)
    if part.cross is not None:
        cross[:, flat] = part.cross
    for name, one in zip(comoments.NAMES, cross, strict=True):
        whole = one.astype(np.int64) if name == "co_n" else one
        data[name] = ((*names, *comoments.DIMS), whole.reshape(*shape, d, d))
    of = np.array([columns[i]["name"] for i in have], dtype=object)
    return {dim: (dim, of) for dim in comoments.DIMS}


def _in_order(dim: str, t: p.Ragged, flat: np.ndarray, spent: bool) -> p.Ragged:
    """A column's rows by cell, then by bin, value or register."""
    if dim == "tops":
        t = p.join_tops(t)
    elif dim == "bins":
        t = {**t, "count": p.narrow(t["count"])}
    every = len(flat) and flat[-1] == len(flat) - 1  # each cell has rows, and its group is its place
    group = t["group"].astype(RAGGED[dim]["group"], copy=False)
    flat = flat.astype(group.dtype, copy=False)
    if not every:
        group = renumbered(group if spent else group.copy(), flat)
    if np.any(group[1:] < group[:-1]):
        order = np.argsort(group, kind="stable")
        return {key: group[order] if key == "group" else one[order] for key, one in t.items()}
    return {**t, "group": group}


def _attr(v: Any) -> Any:
    return v if isinstance(v, str | int | float) else json.dumps(v, default=str)


def _trimmed(part: p.Partial) -> p.Partial:
    """With no more values of a text column than are kept of one."""
    if all(len(t["count"]) <= p.TOP_LIMIT for t in part.tops):
        return part
    lost, bound = part.lost.copy(), part.bound.copy()
    tops = [p.trim_tops(t, lost[i], bound[i]) for i, t in enumerate(part.tops)]
    return replace(part, tops=tops, lost=lost, bound=bound)


def axes_of(cube: xr.Dataset) -> list[dict[str, Any]]:
    """The cube's axes as they were asked for: ``{"axis", "column", "name", ...}`` each, in order."""
    try:
        return json.loads(cube.attrs["axes"])
    except (KeyError, TypeError, ValueError):
        raise WorkbenchError(
            "This dataset is not a cube: it has no 'axes' in its attributes; make one with cube()."
        ) from None


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
    kept = cube.variables
    rows = np.column_stack([kept[f"plan_{k}"].values for k in ("cell", "parent", "shift", "low", "n")])
    which = kept["plan_column"].values
    return {c: rows[which == i] for i, c in enumerate(names) if (which == i).any()}


def from_dataset(cube: xr.Dataset) -> p.Partial:
    """The partial of a cube: only groups that have rows."""
    axes, kept = axes_of(cube), cube.variables  # looked up without the coordinates of each
    names = [a["name"] for a in axes]
    shape = tuple(cube.sizes[n] for n in names)
    n = cube.sizes["column"]
    count = kept["count"].values.reshape(-1)
    total = len(count)

    def deep(*names: str) -> np.ndarray:
        return np.stack([np.moveaxis(kept[v].values.reshape(total, n), -1, 0) for v in names], axis=-1)

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
    whole = deep("missing", "nan", "infinite", "infinite_negative", "sum_low", "sum_high", "int_min", "int_max")[
        :, keep
    ]
    whole[..., p.POSINF] -= whole[..., p.NEGINF]
    codes = np.stack(np.unravel_index(keep, shape), axis=1) if axes else np.zeros((1, 0), np.int64)
    cross = None
    if "co_n" in cube:
        d = cube.sizes["co_row"]
        cross = np.stack([kept[v].values.reshape(total, d, d) for v in comoments.NAMES]).astype(float)[:, keep]
    ragged: dict[str, list[p.Ragged]] = {}
    for dim, types in RAGGED.items():
        t = {k: kept[f"{PREFIX[dim]}_{k}"].values for k in types}
        t["group"] = where[t["group"]].astype(types["group"], copy=False)
        column = kept[f"{PREFIX[dim]}_column"].values
        if np.any(column[1:] < column[:-1]):
            order = np.argsort(column, kind="stable")
            column, t = column[order], {k: v[order] for k, v in t.items()}
        cuts = np.searchsorted(column, np.arange(n + 1))
        ragged[dim] = [{k: v[a:b] for k, v in t.items()} for a, b in itertools.pairwise(cuts)]
    return p.Partial(
        tuple(kept[x].values for x in names), codes.astype(np.int64), count[keep], moments, whole,
        deep("top_lost")[:, keep, 0], deep("top_bound")[:, keep, 0],
        ragged["bins"], ragged["tops"], ragged["registers"], cross,
    )  # fmt: skip
