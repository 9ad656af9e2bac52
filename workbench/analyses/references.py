"""What each window is compared with: a fixed baseline, the window before, the last few, or the same season.

A reference is a row of weights over the windows of one cube, so its counts are sums of cells that were counted long
ago: no row is read again, whatever is asked. `compare` gives every window against every kind of reference in the
columns of `drift.compare`, one frame that `drift.judge` decides kind by kind (`settled`, `by_kind`).

A window that holds several places of a season (a week of hours) is compared with the same places of earlier windows,
each weighted by its share in the window, so that neither a holiday nor a change of clocks looks like drift.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from workbench.analyses import distances as far
from workbench.analyses.intervals import excess_interval, standard_error
from workbench.analyses.lateness import late, windows
from workbench.analyses.pairs import MANY, Pair, edges_of_numbers, edges_of_text, frequent, paired
from workbench.analyses.parts import OTHER, WINDOW, by_segment, groups, levels, segment_name
from workbench.analyses.seasons import KINDS, Asked, Plan, plan
from workbench.analyses.shares import share_noise, share_p
from workbench.errors import WorkbenchError, nearest

MOVING = ("rolling", "season")  # references of which a window that drifted can be left out
EXTRA = ("missing", "nan", "infinite")
BLOCK = 4_000_000  # counts that are held at once
QUARTER = 0.25  # of a reference's rows that must be left when windows that drifted are taken out of it
USUAL = 8  # windows that say how far a sound one usually is from its reference
MATCHED = 0.5  # a window with less of its rows at places that have a reference is not evaluated


def compare(
    cube: xr.Dataset,
    kinds: Sequence[str] = KINDS,
    asked: Asked | None = None,
    *,
    every: str = "",
    least: int = 100,
    columns: Sequence[str] | None = None,
    without: pd.DataFrame | None = None,
    seen: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Every column, window and segment against every kind of reference, from one cube's cells.

    cube, every: as for `plan`. least: fewer values on either side are not evaluated. columns: which to compare, None for
    all. without: judged rows; windows that
    drifted there (all rows, no segment) are left out of the rolling and season references of their column. seen:
    `windows` as it was when the windows were judged last, so that what arrived late is told.
    Returns the columns of `drift.compare` for the main distance (KS for numbers, total variation for text) and for the
    missing, NaN and infinite shares, one row a (window, reference_kind, segment, column); `reference` is the span of its
    windows, START/END. Numbers of the reference are effective ones (Kish 1965) where its windows are weighted. matched: the
    share of the window's rows that have a reference. usual: the distance that windows before usually had. state: "", or
    with `seen` "new", "same", "reopened" (its own counts changed) or "reference reopened" (those of its reference did).
    """
    made = plan(cube, kinds, asked, every)
    counts = {key: by_segment(cube, key)[0] for key in ("count", *EXTRA)}
    names = [str(name) for name in counts["count"].coords["segment"].values]
    known = [str(column) for column in cube["column"].values]
    for column in columns or ():
        if column not in known:
            raise WorkbenchError(f"the cube has no column {column!r}; {nearest(column, known)}")
    asked_for = [one for one in known if columns is None or one in columns]
    if not asked_for:
        raise WorkbenchError("the cube has no column to compare")
    changed = None if seen is None else late(seen, windows(cube))
    bad = {kind: _bad(made, kind, without) for kind in kinds}
    rows = counts["count"].values.astype("float64")
    plain = {(kind, name): _weights(made, kind, rows[i], None) for kind in kinds for i, name in enumerate(names)}
    told: list[pd.DataFrame] = []
    for column in asked_for:
        pair = paired(cube, cube, column)
        tables = {} if pair.why else _tables(pair, cube)
        parts = {key: counts[key].values[:, :, known.index(column)].astype("float64") for key in EXTRA}
        for i, name in enumerate(names):
            table, why, cells = tables.get(name), pair.why, (0, "")
            if table is not None and not why:
                table, why, cells = (
                    _pooled(table, pair.at) if pair.kind == "text" else (table, why, edges_of_numbers(pair.at))
                )
            for kind in kinds:
                out = bad[kind].get(column)
                weights = plain[kind, name] if out is None else _weights(made, kind, rows[i], out)
                one: dict[str, Any] = {"window": made.labels, "reference": made.spans[kind], "reference_kind": kind,
                                       "segment": name, "column": column, "kind": pair.kind, "cells": cells[0], "edges": cells[1],
                                       "matched": weights[2]}  # fmt: skip
                one |= _shares({key: part[i] for key, part in parts.items()}, rows[i], *weights[:2], least)
                stand = [*zip(made.why[kind], weights[2], strict=True)]
                one |= _distance(pair.kind, table, why, *weights[:2], least, stand)
                told.append(_usual(pd.DataFrame(one)) if kind != "baseline" else pd.DataFrame(one).assign(usual=np.nan))
    frame = pd.concat(told, ignore_index=True)
    frame["state"] = "" if changed is None else _state(frame, made, changed, cube)
    return frame


def _bad(made: Plan, kind: str, without: pd.DataFrame | None) -> dict[str, Any]:
    """By column, the judged windows (bool) that are no reference because they drifted."""
    if without is None or kind not in MOVING:
        return {}
    found = without[(without["reference_kind"] == kind) & (without["segment"] == "") & without["drifted"]]
    return {str(column): np.isin(made.labels, rows["window"]) for column, rows in found.groupby("column")}


def settled(
    cube: xr.Dataset,
    judge: Callable[[pd.DataFrame], pd.DataFrame],
    kinds: Sequence[str] = KINDS,
    asked: Asked | None = None,
    *,
    passes: int = 8,
    **more: Any,
) -> pd.DataFrame:
    """`compare` judged kind by kind, with windows that drifted left out of the references of those after them.

    judge: as `drift.judge` is. An incident is no usual week: without this a storm hides the next one, and the week after
    it looks odd. Where less than a quarter of a reference would be left, all of it stays: a change that lasts becomes the
    new usual. Repeated for the columns whose drifted windows change, `passes` times at most. more: as for `compare`.
    """
    compared = compare(cube, kinds, asked, **more)
    judged = by_kind(compared, judge)
    moving = [kind for kind in kinds if kind in MOVING]
    before: dict[str, Any] = {}
    for _ in range(passes - 1):
        found = {str(column): _signs(rows, moving) for column, rows in judged.groupby("column")}
        changed = [column for column, signs in found.items() if signs != before.get(column, set())]
        if not changed:
            break
        again = compare(cube, moving, asked, **{**more, "columns": changed}, without=judged)
        stale = compared["column"].isin(changed) & compared["reference_kind"].isin(moving)
        compared = pd.concat([compared[~stale], again], ignore_index=True)
        judged, before = by_kind(compared, judge), found
    return judged


def beside(
    cube: xr.Dataset,
    fine: xr.Dataset | None,
    judge: Callable[[pd.DataFrame], pd.DataFrame],
    kinds: Sequence[str],
    asked: Asked | None = None,
    **more: Any,
) -> pd.DataFrame:
    """`settled` of several kinds: the season's from `fine`, a cube of the same rows in windows as short as its places (see
    `seasons.finer`; without segments), the others from `cube`; all from `cube` where there is no finer one."""
    parts = [(cube, [kind for kind in kinds if kind != "season" or fine is None])]
    parts += [(fine, ["season"])] if fine is not None and "season" in kinds else []
    return pd.concat([settled(one, judge, some, asked, **more) for one, some in parts if some], ignore_index=True)


def _signs(rows: pd.DataFrame, kinds: Sequence[str]) -> set[tuple[str, str]]:
    """Kind and window of what drifted of a column, all rows together."""
    part = rows[rows["drifted"] & (rows["segment"] == "") & rows["reference_kind"].isin(kinds)]
    return set(zip(part["reference_kind"], part["window"], strict=True))


def _weights(made: Plan, kind: str, rows: Any, bad: Any) -> tuple[Any, Any, Any]:
    """Sparse (judged, cube windows): the reference's weights, the current side's, and each window's matched share."""
    from scipy import sparse

    use, size, wide = made.use[kind], len(made.starts), len(made.member)
    known = np.flatnonzero(made.member >= 0)
    own = sparse.csr_array((np.ones(len(known)), (made.member[known], known)), shape=(size, wide))
    if bad is not None:
        good = np.where(made.member >= 0, ~bad[made.member], True).astype(float)
        left = use @ (rows * good) >= QUARTER * (use @ rows)
        use = _kept_rows(use, left, good)
    if kind != "season":
        return use, own, (np.diff(use.indptr) > 0).astype(float)
    onto = sparse.csr_array((np.ones(len(known)), (known, made.place[known])), shape=(wide, int(made.place.max()) + 1))
    now, then = ((one * rows[None]) @ onto for one in (own, use))
    now, then = now.toarray(), then.toarray()
    there = then > 0
    weight = np.divide(now, then, out=np.zeros_like(now), where=there)
    total = now.sum(1)
    matched = np.divide((now * there).sum(1), total, out=np.zeros(size), where=total > 0)
    weighted, away = _by_place(use, weight, made.place), _by_place(own, there.astype(float), made.place)
    plain, square = weighted @ rows, weighted.power(2) @ rows  # n effective = plain^2 / square
    scale = np.divide(plain, square, out=np.zeros(size), where=square > 0)
    return sparse.csr_array(weighted * scale[:, None]), away, matched


def _by_place(use: Any, weight: Any, place: Any) -> Any:
    """Entries of a sparse table times the weight of (its row, the place of its window)."""
    out = use.copy()
    at = np.repeat(np.arange(use.shape[0]), np.diff(use.indptr))
    out.data = use.data * weight[at, place[use.indices]]
    return out


def _kept_rows(use: Any, left: Any, good: Any) -> Any:
    """A reference without the windows that are not good, in the rows where enough is left of it."""
    out = use.copy()
    at = np.repeat(np.arange(use.shape[0]), np.diff(use.indptr))
    out.data = np.where(left[at], use.data * good[use.indices], use.data)
    out.eliminate_zeros()
    return out


def _shares(parts: dict[str, Any], rows: Any, use: Any, away: Any, least: int) -> dict[str, Any]:
    """Rows of both sides, and how the missing, NaN and infinite shares changed."""
    n, m = use @ rows, away @ rows
    told: dict[str, Any] = {"rows_reference": n, "rows_current": m}
    for name, part in parts.items():
        k, l = use @ part, away @ part  # noqa: E741
        before, now = k / np.maximum(n, 1e-9), l / np.maximum(m, 1)
        noise = np.nan_to_num(share_noise(k, n, l, m), nan=1.0)
        error = np.sqrt(before * (1 - before) / np.maximum(n, 1e-9) + now * (1 - now) / np.maximum(m, 1))
        low, high = excess_interval(now - before, noise, error)
        told |= {f"{name}_reference": before, f"{name}_current": now, f"{name}_change": now - before,
                 f"{name}_change_noise": noise, f"{name}_change_excess": np.maximum(np.abs(now - before) - noise, 0),
                 f"{name}_change_low": low, f"{name}_change_high": high, f"{name}_change_p": share_p(k, n, l, m)}  # fmt: skip
    told["missing_evaluated"] = (n >= least) & (m >= least)
    return told


def _distance(
    kind: str, table: Any, why: str, use: Any, away: Any, least: int, stand: list[tuple[str, float]]
) -> dict[str, Any]:
    """The main distance of one column in one segment, for every judged window."""
    metric, size = "total_variation" if kind == "text" else "ks", len(stand)
    told = {key: np.full(size, np.nan) for key in ("distance", "distance_noise", "distance_p", "distance_error")}
    n = m = np.zeros(size)
    if table is not None:
        of_window = np.asarray(table.sum(1)).ravel()
        n, m = use @ of_window, away @ of_window
    if table is not None and not why:
        step = max(1, BLOCK // max(1, table.shape[1]))
        for at in (slice(i, i + step) for i in range(0, size, step)):
            a, b = ((one[at] @ table).toarray() for one in (use, away))
            with np.errstate(invalid="ignore", divide="ignore"):
                for key, value in zip(told, _measure(a, b, metric), strict=True):
                    told[key][at] = value
    reasons = [why or _reason(*one, few, least) for one, few in zip(stand, np.minimum(n, m), strict=True)]
    good = np.array([not one for one in reasons])
    for key in told:
        told[key] = np.where(good, told[key], np.nan)
    told["distance_excess"] = np.maximum(told["distance"] - told["distance_noise"], 0)
    ends = excess_interval(told["distance"], told["distance_noise"], told.pop("distance_error"))
    told["distance_low"], told["distance_high"] = ends
    same = {f"{metric}{key.removeprefix('distance')}": value for key, value in told.items()}
    return {"metric": metric, "values_reference": n, "values_current": m, **told, **same,
            "evaluated": good, "why": reasons}  # fmt: skip


def _measure(a: Any, b: Any, metric: str) -> tuple[Any, Any, Any, Any]:
    """A distance, its noise, its p and its standard error."""
    error = standard_error(metric, a, b)
    if metric == "ks":
        distance = far.ks(a, b)
        return distance, far.ks_noise(a, b), far.ks_p(distance, a, b), error
    return far.total_variation(a, b), far.total_variation_noise(a, b), far.chi_square_p(a, b), error


def _usual(one: pd.DataFrame) -> pd.DataFrame:
    """With the usual distance: the median of the windows before (8 at most, 4 at least), NaN where there are fewer.

    Windows of a sound table differ by more than sampling: weather, campaigns, tides. So where a reference moves with
    time an excess is at most twice what a distance (or the change of a share) has above its usual size: nothing at the
    usual size, all that is above the noise from twice the usual size on. Its interval moves with it.
    """
    told: dict[str, Any] = {}
    for name, good in [("distance", "evaluated"), *((f"{extra}_change", "missing_evaluated") for extra in EXTRA)]:
        size = one[name].abs()
        usual = size.where(one[good]).shift(1).rolling(USUAL, min_periods=USUAL // 2).median()
        plain = size - one[f"{name}_noise"]
        found = plain.where(~(2 * (size - usual) < plain), 2 * (size - usual))
        told[f"{name}_excess"] = found.clip(lower=0)
        for end in ("low", "high"):
            told[f"{name}_{end}"] = (one[f"{name}_{end}"] + (found - plain)).clip(lower=0)
        told |= {"usual": usual} if name == "distance" else {}
    return one.assign(**told)


def _reason(none: str, matched: float, few: float, least: int) -> str:
    if none:
        return none
    if matched < MATCHED:
        return f"only {100 * matched:.0f} % of its rows have a reference of their season"
    return "" if few >= least else f"only {few:.0f} values, {least} needed"


def _tables(pair: Pair, cube: xr.Dataset) -> dict[str, Any]:
    """A column's counts as a sparse table (cube windows, cells) of every segment, by the segment's name."""
    from scipy import sparse

    spots, cells, across = groups(cube), len(pair.at), cube.sizes[WINDOW]
    window, told = spots[WINDOW][pair.new.group], {}
    for cut in levels(cube):
        labels = cube[cut[0]].values if cut else [""]
        row = (spots[cut[0]][pair.new.group] if cut else 0) * across + window
        table = sparse.csr_array((np.asarray(pair.new.count, "float64"), (row, np.asarray(pair.new.cell))),
                                 shape=(len(labels) * across, cells))  # fmt: skip
        for i, label in enumerate(labels):
            told[segment_name(cut, [label]) if cut else ""] = table[i * across : (i + 1) * across]
    return told


def _pooled(table: Any, at: Any) -> tuple[Any, str, tuple[int, str]]:
    """Counts of text values with the rare ones as one cell; why they cannot be compared, if so; and the cells."""
    from scipy import sparse

    total, other = table.sum(0), at == OTHER
    rows = total.sum()
    if rows and (total[other].sum() > MANY * rows or (total > 0).sum() > MANY * rows):
        return table, "nearly every row has its own value", (0, "")
    keep = frequent(total, 0)
    if rows and total[~keep].sum() > MANY * rows:
        return table, "most rows hold a value that is rare", (0, "")
    rest = sparse.csr_array(table[:, np.flatnonzero(~keep)].sum(1)[:, None])
    return sparse.csr_array(sparse.hstack([table[:, np.flatnonzero(keep)], rest])), "", edges_of_text(at[keep])


def by_kind(frame: pd.DataFrame, judge: Callable[[pd.DataFrame], pd.DataFrame]) -> pd.DataFrame:
    """`judge` (as `drift.judge` is) over each kind of reference on its own, so that each keeps its own error rate."""
    return pd.concat([judge(part) for _, part in frame.groupby("reference_kind", sort=False)], ignore_index=True)


def alarms(judged: pd.DataFrame) -> pd.DataFrame:
    """One row a kind of reference and column: windows judged (of all rows, no segment), alarms, and their share."""
    whole = judged[(judged["segment"] == "") & (judged["window"] != "")]
    looked = whole[whole["verdict"] != "not evaluated"]
    found = looked.groupby(["reference_kind", "column"], sort=False)["drifted"].agg(windows="size", alarms="sum")
    every = whole[["reference_kind", "column"]].drop_duplicates().set_index(["reference_kind", "column"]).index
    table = found.reindex(every, fill_value=0).astype("int64").reset_index()
    return table.assign(share=table["alarms"] / table["windows"].clip(lower=1))


def reference_cube(cube: xr.Dataset, made: Plan, kind: str, window: str) -> xr.Dataset:
    """The reference of one judged window as a cube without windows: its cells added, each once (weights left out)."""
    from workbench.cubes import collapse, select

    if kind not in made.use:
        raise WorkbenchError(f"{kind!r} is no kind of reference here; {nearest(kind, made.use)}")
    if window not in made.labels:
        raise WorkbenchError(f"{window!r} is no window that is judged; {nearest(window, made.labels)}")
    at = made.labels.index(window)
    chosen = cube[WINDOW].values[made.use[kind].indices[slice(*made.use[kind].indptr[at : at + 2])]]
    if not len(chosen):
        raise WorkbenchError(f"the window {window} has no reference {kind!r}: {made.why[kind][at]}")
    return collapse(select(cube, **{WINDOW: list(chosen)}), WINDOW)


def _state(frame: pd.DataFrame, made: Plan, changed: pd.DataFrame, cube: xr.Dataset) -> Any:
    """The state of each row of `compare`: of its own window, else of its reference's windows."""
    labels = [f"{one.astype('datetime64[s]')}Z" for one in cube[WINDOW].values]
    state = changed.set_index("window")["state"].reindex(labels).fillna("").to_numpy()
    moved, fresh = state == "reopened", state == "new"
    told = {}
    for kind, use in made.use.items():
        for at, label in enumerate(made.labels):
            own, ours = made.member == at, use.indices[slice(*use.indptr[at : at + 2])]
            told[(kind, label)] = (
                "reopened" if moved[own].any() or (fresh[own].any() and not fresh[own].all())
                else "new" if fresh[own].all() else "reference reopened" if moved[ours].any() else "same"
            )  # fmt: skip
    return [told[key] for key in zip(frame["reference_kind"], frame["window"], strict=True)]
