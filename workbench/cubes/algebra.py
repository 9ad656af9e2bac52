"""What may be done with cubes: add, select, collapse."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.cubes import comoments
from workbench.cubes import partial as p
from workbench.cubes.grouping import distinct
from workbench.cubes.labelled import axes_of, columns_of, from_dataset, plans_of, to_dataset
from workbench.errors import WorkbenchError, nearest

if TYPE_CHECKING:
    import xarray as xr


def add(*cubes: xr.Dataset) -> xr.Dataset:
    """The cube of all rows that the given cubes counted.

    Exact for counts, missing, NaN, infinite, integer sums, extremes, bins, top values (up to their bound) and distinct
    registers, whatever the split, the order and the grouping; float sums, means and variances agree to rounding.
    Cubes of different recipes (axes, columns, kinds or measures) do not add: WorkbenchError names both. A column of which
    a cube has counted no value, only missing ones, is of whatever kind it has in the others.

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
    axes = axes_of(first)
    for other in items[1:]:
        if axes_of(other) != axes:
            raise WorkbenchError(_differ(first, other, "axes"))
    told = _agreed(items)
    columns = told[0]
    names = [c["name"] for c in columns]
    parts, plans = [from_dataset(first)], plans_of(first)
    for other, own in zip(items[1:], told[1:], strict=True):
        theirs = {c["name"]: c for c in own}
        if theirs.keys() != set(names) or any(theirs[c["name"]]["kind"] != c["kind"] for c in columns):
            raise WorkbenchError(_differ(first, other, "columns"))
        if any(theirs[c["name"]] != c for c in columns):
            raise WorkbenchError(_differ(first, other, "measures"))
        part = from_dataset(other)
        order = list(theirs)
        if order != names:
            at = [order.index(n) for n in names]
            cross = comoments.taken(part.cross, list(theirs.values()), at)
            part = _take_columns(part, at)
            part.cross = cross
        parts.append(part)
        plans = {**plans_of(other), **plans}
    recipe = {k: v for k, v in first.attrs.items() if k not in ("format", "axes", "asked")}
    for key in ("source", "source_version"):
        all_of = list(dict.fromkeys(s for c in items for s in _list(c.attrs.get(key))))
        recipe[key] = all_of[0] if len(all_of) == 1 else json.dumps(all_of)
    conditions = list(dict.fromkeys(str(c.attrs.get("where", "[]")) for c in items))
    if len(conditions) > 1:
        recipe["where"] = json.dumps([json.loads(w) for w in conditions])
    return to_dataset(p.join(parts), axes, columns, plans, recipe)


def _agreed(cubes: list[xr.Dataset]) -> list[list[dict[str, Any]]]:
    """The columns of each cube, those without any value as they are in the cubes that have some."""
    told = [columns_of(c) for c in cubes]
    have: dict[str, list[dict[str, Any]]] = {}
    for own in told:
        for c in own:
            have.setdefault(c["name"], []).append(c)
    for name in [n for n, records in have.items() if any(r != records[0] for r in records)]:
        empty = [name in empty_columns(c) for c in cubes]
        wanted = [c for own, none in zip(told, empty, strict=True) for c in own if c["name"] == name and not none]
        one = min(wanted or have[name], key=lambda c: (c["kind"] == "other", c["kind"], json.dumps(c["asked"])))
        for own, none in zip(told, empty, strict=True):
            at = next((i for i, c in enumerate(own) if c["name"] == name), None)
            if none and at is not None and own[at]["asked"].get("co") == one["asked"].get("co"):
                own[at] = one
    return told


def empty_columns(cube: xr.Dataset) -> set[str]:
    """The columns of which a cube has counted no value, only missing ones."""
    axes = [d for d in cube["missing"].dims if d != "column"]
    missing, rows = cube["missing"].sum(axes).values, int(cube["count"].sum())
    return {c for c, n in zip(cube["column"].values.tolist(), missing.tolist(), strict=True) if n == rows}


def alike(one: xr.Dataset, other: xr.Dataset) -> bool:
    """Whether two cubes have counted the same, sums of floats to rounding."""
    for name in one.variables:
        a, b = one[name].values, other[name].values if name in other.variables else None
        if str(name).startswith("plan_") or name in ("kind", "unit"):
            continue
        if b is None or a.shape != b.shape:
            return False
        if name in ("sum", "mean", "m2", "co_mean", "co_cross"):
            same = np.allclose(a, b, rtol=1e-9, atol=0, equal_nan=True)
        else:
            same = np.array_equal(a, b, equal_nan=a.dtype.kind in "fM")
        if not same:
            return False
    return True


def _list(v: Any) -> list[str]:
    """The sources of a cube: one as it is, several as a JSON list."""
    if isinstance(v, str) and v.startswith("["):
        try:
            several = json.loads(v)
        except ValueError:
            return [v]  # an address may start with a bracket
        return [str(x) for x in several]
    return [] if v is None else [str(v)]


def _differ(a: xr.Dataset, b: xr.Dataset, what: str) -> str:
    def name(c: xr.Dataset) -> str:
        return f"{c.attrs.get('source', 'a cube')} (version {c.attrs.get('source_version', 'unknown')})"

    def say(c: xr.Dataset) -> list[str]:
        if what == "axes":
            return [_axis(x) for x in axes_of(c)] or ["no axes"]
        if what == "columns":
            return [f"{x['name']} ({x['kind']})" for x in columns_of(c)] or ["no columns"]
        return [f"{x['name']} {_measures(x['asked'])}" for x in columns_of(c)]

    left, right = say(a), say(b)
    advice = "Count both with the same by= and of=, and the second with plan= of the first."
    kinds = {c["name"]: c["kind"] for c in columns_of(b)}
    other = [c["name"] for c in columns_of(a) if kinds.get(c["name"], c["kind"]) != c["kind"]]
    if what == "columns" and other:
        advice = f"Open both with the same types={{{other[0]!r}: ...}}, so that the column is of one kind."
    if what != "axes":  # many columns: only those in which they differ
        same = set(left) & set(right)
        left, right = (
            [x for x in left if x not in same] or ["no others"],
            [x for x in right if x not in same] or ["no others"],
        )
    return (
        f"Cubes of different {what} do not add: {name(a)} has {_brief(left)}; {name(b)} has {_brief(right)}. {advice}"
    )


def _axis(a: dict[str, Any]) -> str:
    asked = ", ".join(f"{k}={v!r}" for k, v in a.items() if k not in ("axis", "column", "name") and v is not None)
    return f"{a['axis'].title()}({a['column']!r}{', ' + asked if asked else ''}) named {a['name']!r}"


def _measures(asked: dict[str, Any]) -> str:
    kept = [k for k in ("moments", "histogram", "top") if asked[k]] + (["comoments"] if asked.get("co") else [])
    kept += [f"relative={asked['relative']}"] if asked["relative"] else []
    kept += [f"distinct p={asked['p']}"] if asked["p"] else []
    return f"[{', '.join(kept)}]"


def _brief(said: list[str], limit: int = 6) -> str:
    return ", ".join(said[:limit]) + (f" and {len(said) - limit} more" if len(said) > limit else "")


def select(cube: xr.Dataset, /, **labels: Any) -> xr.Dataset:
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
            raise WorkbenchError(
                f"select() names {dim!r}, which is not an axis here; {nearest(dim, [*names, 'column'])}"
            )
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
        cross = comoments.taken(part.cross, columns, keep["column"].tolist())
        part, columns = _take_columns(part, keep["column"]), [columns[i] for i in keep["column"]]
        part.cross = cross
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
    return to_dataset(
        part,
        [axes[a] for a in stay],
        columns,
        {c["name"]: plans[c["name"]] for c in columns if c["name"] in plans},
        recipe,
    )


def collapse(cube: xr.Dataset, *dims: str) -> xr.Dataset:
    """The cube without the axes named in ``dims`` (none named: without any), its cells added up along them."""
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
        keys, back = distinct(list(part.codes.T), [len(labels) for labels in part.labels])
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
        comoments.merged(part.cross, back, size),
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


def _nothing(part: p.Partial) -> p.Partial:
    """No rows, with a partial's axes and columns."""
    n = len(part.moments)
    return p.Partial(
        tuple(v[:0] for v in part.labels), np.zeros((0, len(part.labels)), np.int64), np.zeros(0, np.int64),
        p.empty_moments(n, 0), p.empty_whole(n, 0), np.zeros((n, 0), np.int64), np.zeros((n, 0), np.int64),
        [p.empty(p.BIN_TYPES)] * n, [p.empty(p.TOP_TYPES)] * n, [p.empty(p.REGISTER_TYPES)] * n,
        None if part.cross is None else part.cross[:, :0],
    )  # fmt: skip


def _zero(part: p.Partial) -> p.Partial:
    """One group without rows, for a cube without axes."""
    n = len(part.moments)
    one = _nothing(part)
    one.codes, one.count = np.zeros((1, 0), np.int64), np.zeros(1, np.int64)
    one.labels = ()
    one.moments, one.whole = p.empty_moments(n, 1), p.empty_whole(n, 1)
    one.lost, one.bound = np.zeros((n, 1), np.int64), np.zeros((n, 1), np.int64)
    one.cross = None if part.cross is None else comoments.none(1, part.cross.shape[-1])
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
        None if part.cross is None else part.cross[:, at],
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
        for edge, side in ((wanted.start, "start"), (wanted.stop, "stop")):
            if edge is not None:  # the missing label (NaT, NaN) is in no bounded slice
                e = _label(values, edge, dim)
                try:
                    ok &= values >= e if side == "start" else values < e if values.dtype.kind == "M" else values <= e
                except TypeError:
                    raise WorkbenchError(
                        f"select({dim}=...) got a slice with {edge!r}, which does not compare with the labels here, "
                        f"such as {values.tolist()[0]!r}."
                    ) from None
        return np.flatnonzero(ok)
    many = wanted if isinstance(wanted, list | tuple | np.ndarray) else [wanted]
    found = []
    for w in many:
        e = _label(values, w, dim)
        if values.dtype.kind == "M" and np.isnat(e):
            hit = np.flatnonzero(np.isnat(values))
        elif values.dtype.kind == "f" and isinstance(e, float) and np.isnan(e):
            hit = np.flatnonzero(np.isnan(values))
        elif values.dtype == object:  # one by one: numpy's own texts end before their last NUL
            hit = np.array([i for i, v in enumerate(values.tolist()) if v == e], np.int64)
        else:
            hit = np.flatnonzero(values == e)
        if not len(hit):
            raise WorkbenchError(
                f"{dim} has no label {w!r}; {nearest(str(w), [str(v) for v in values.tolist()[:2000]])}"
            )
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
        raise WorkbenchError(
            f"{dim} got {label!r}; a time such as '2026-03-02' or '2026-03-02T14:00Z' is wanted."
        ) from None
