"""Every distance of every column, window and segment from a reference: `compare`, and `measures`, what it measures with.

Cells of numbers are the bins that both cubes share, in the order of values; KS, Wasserstein and Cramer-von Mises see all
of them, the others at most ten groups of about equal share of the reference's rows (`distances.equal_parts`). Cells of
text are values, those below 0.5 % of both sides together in one. Missing, NaN and infinite values are told by their shares.
"""

from __future__ import annotations

from functools import reduce
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from workbench.analyses import compat as other_tools
from workbench.analyses import distances as far
from workbench.analyses import significance as tests
from workbench.analyses.intervals import excess_interval, standard_error
from workbench.analyses.pairs import Pair, edges_of_numbers, edges_of_text, frequent, nothing, paired, pooled
from workbench.analyses.parts import OTHER, WINDOW, kind_of, levels, stacked, window_labels
from workbench.analyses.shares import share_noise, share_p
from workbench.errors import WorkbenchError

EXTRA = ("missing", "nan", "infinite")  # told by their shares, beside the values
ENDS = ("", "_noise", "_excess", "_p")
SPAN = ("_low", "_high")  # the 95 % interval of the excess
DISTANCES = ("ks", "psi", "jensen_shannon", "total_variation", "wasserstein")
MORE = ("wasserstein_scaled", "hellinger", "l_infinity", "cramer_v", "cramer_von_mises", "anderson_darling")
BLOCK = 2_000_000  # counts that are compared at once
ORDERED = (
    "ks",
    "wasserstein",
    "wasserstein_scaled",
    "cramer_von_mises",
    "anderson_darling",
)  # over all cells that there are
OUTSIDE = ("new_share", "lost_share", "below_share", "above_share")


def compare(
    reference: xr.Dataset,
    current: xr.Dataset,
    name: str,
    *,
    least: int = 100,
    kind: str = "baseline",
    compat: str = "",
) -> pd.DataFrame:
    """Every distance of every column, window and segment from the reference.

    reference: a cube, whose windows, if it has any, are taken together; current: a cube with windows or without; both
    with the same segment axes. name: how the reference is called. least: fewer values than this on either side are not
    evaluated. kind: how the reference was chosen, kept in the results. compat: "evidently" or "nannyml" adds that
    tool's method, value, threshold and verdict (nannyml needs a reference with windows, its chunks).
    Returns one row a (window, segment, column): the counts of both sides, every distance with its noise, excess, the 95 %
    interval of the excess (low, high) and p where they have one (NaN where they have none), `metric` and `distance` (KS
    for numbers, total variation for text), the changes of the missing, NaN and infinite shares, the shares of new, lost
    and out-of-range values, the cells of which the ordered distances (cells, edges) and the others (cells_few, edges_few)
    were taken (as `pairs.edges_of_numbers`, or `edges_of_text`), evaluated, and why not. Window "" is all current windows
    together. A column of one side only is a row that is not evaluated and says so.
    Raises WorkbenchError when the segments differ or no column is on both sides.
    """
    if levels(reference) != levels(current):
        raise WorkbenchError(f"the two cubes have different segments: {levels(reference)[1:]}, {levels(current)[1:]}")
    other_tools.tool(compat)
    sides = [{key: stacked(cube, key) for key in ("count", *EXTRA)} for cube in (reference, current)]
    before, after = (
        {key: one.sum(1) for key, (one, _) in sides[0].items()},
        {key: one for key, (one, _) in sides[1].items()},
    )
    known, names = (side["count"][1] for side in sides)
    here = [one for one in names if one in known]
    labels = [*window_labels(current), ""] if WINDOW in current.dims else [""]
    rows = _with_total(after["count"], len(labels))
    told: list[dict[str, Any]] = []
    ours, theirs = ([str(column) for column in cube["column"].values] for cube in (current, reference))
    if not set(ours) & set(theirs):
        raise WorkbenchError(
            f"the two tables share no column to compare: the reference has {_some(theirs)}, the current one {_some(ours)}"
        )
    shared = [column for column in ours if column in theirs]
    share: dict[str, Any] = {}  # of all columns and segments at once
    then, since = ([side.index(one) for one in here] for side in (known, names))
    total, now = before["count"][then][:, None, None], rows[since]
    for extra in EXTRA:
        k = before[extra][np.ix_(then, [theirs.index(column) for column in shared])]
        part = after[extra][since][:, :, [ours.index(column) for column in shared]].swapaxes(1, 2)
        share |= changed(extra, k[..., None], total, _with_total(part, len(labels)), now[:, None])
    for column in [*ours, *(column for column in theirs if column not in ours)]:
        both = column in ours and column in theirs
        pair = paired(reference, current, column) if both else None
        counted = _segments(pair, names) if pair is not None and not pair.why else {}
        for place, segment in enumerate(names):
            if segment not in known or (not both and segment):
                continue
            there = float(before["count"][known.index(segment)])
            one = {"window": labels, "segment": segment, "column": column,
                   "kind": pair.kind if pair else kind_of(reference if column in theirs else current, column),
                   "rows_reference": there, "rows_current": rows[place]}  # fmt: skip
            if both:
                at = here.index(segment), shared.index(column)
                one |= {key: value[at] for key, value in share.items()}
            for extra in () if both else EXTRA:
                one |= changed(extra, np.nan, there, np.nan, rows[place])
            one["missing_evaluated"] = (there >= least) & (rows[place] >= least) & both
            if pair is None:
                why = f"the column is only in the {'reference' if column in theirs else 'current table'}"
                pair_here = Pair(str(one["kind"]), nothing(current), nothing(current), np.zeros(0), why)
                told.append(one | _compared(pair_here, None, len(labels), least, compat))
            else:
                told.append(one | _compared(pair, counted.get(segment), len(labels), least, compat))
    frame = pd.DataFrame({key: _in_a_row([one[key] for one in told], len(labels)) for key in told[0]})
    frame.insert(1, "reference", name)
    frame.insert(2, "reference_kind", kind)
    return frame


def _in_a_row(values: list[Any], size: int) -> Any:
    """Values, each one of `size` or the same for all of them, one after the other."""
    arrays = [np.asarray(one) for one in values]
    out = np.empty((len(arrays), size), dtype=reduce(np.promote_types, {one.dtype for one in arrays}))
    for row, one in zip(out, arrays, strict=True):
        row[...] = one
    return out.reshape(-1)


def _some(names: list[str], limit: int = 6) -> str:
    return ", ".join(names[:limit]) + (f" and {len(names) - limit} more" if len(names) > limit else "") or "none"


def _with_total(counts: Any, size: int) -> Any:
    """Counts of segments x windows and, when there are windows, of all of them together last."""
    table = np.asarray(counts, dtype="float64")
    return table if table.shape[-1] == size else np.concatenate([table, table.sum(-1, keepdims=True)], -1)


def _segments(pair: Pair, names: list[str]) -> dict[str, tuple[Any, ...]]:
    """Of every segment: the cells that hold anything (their place in `pair.at`), and a table of each side's windows over
    them as three arrays (window, place among these cells, count)."""
    old, new, told = pair.old.filled(), pair.new.filled(), {}
    for name in names:
        if name not in old or name not in new:
            continue
        cells = np.concatenate([old[name][1], new[name][1]]).astype("int64")
        there = np.zeros(len(pair.at), dtype="int64")
        there[cells] = 1
        used, place = np.flatnonzero(there), (np.cumsum(there) - 1)[cells]
        split = len(old[name][1])
        sides = [
            (window, at, count) for (window, _, count), at in ((old[name], place[:split]), (new[name], place[split:]))
        ]
        told[name] = (used, *sides)
    return told


def _dense(side: tuple[Any, Any, Any], cube: xr.Dataset, cells: int) -> Any:
    """Counts of a segment's windows over its cells and, where there are windows, of all of them together last."""
    window, place, count = side
    across = cube.sizes[WINDOW] if WINDOW in cube.dims else 1
    table = (
        np.bincount(window * cells + place, count, minlength=across * cells).astype("float64").reshape(across, cells)
    )
    return np.vstack([table, table.sum(0)]) if WINDOW in cube.dims else table


def changed(extra: str, k: Any, total: Any, part: Any, rows: Any) -> dict[str, Any]:
    """The change of one share (missing, NaN, infinite): both shares, the change, its noise, interval and p."""
    with np.errstate(invalid="ignore", divide="ignore"):
        k, total, part, rows = (np.asarray(one, dtype="float64") for one in (k, total, part, rows))
        before, now = k / np.maximum(total, 1), part / np.maximum(rows, 1)
        noise, p = share_noise(k, total, part, rows), share_p(k, total, part, rows)
        error = np.sqrt(before * (1 - before) / total + now * (1 - now) / rows)
    told = measured(f"{extra}_change", now - before, noise, p, error)
    return {f"{extra}_reference": before, f"{extra}_current": now, **told}


def measured(name: str, value: Any, noise: Any, p: Any, error: Any = np.nan) -> dict[str, Any]:
    """A distance, what sampling alone gives, its excess with the 95 % interval, and its p, under their names."""
    excess = np.maximum(np.abs(value) - noise, 0)
    low, high = excess_interval(value, noise, error)
    return {name: value, f"{name}_noise": noise, f"{name}_excess": excess, f"{name}_low": low, f"{name}_high": high,
            f"{name}_p": p}  # fmt: skip


def _compared(pair: Pair, counts: tuple[Any, ...] | None, size: int, least: int, compat: str) -> dict[str, Any]:
    """Every distance of one column in one segment, and the main one under the name "distance"."""
    text, why = pair.kind == "text", pair.why
    metric = "total_variation" if text else "ks"
    a, b, chunks, at = np.zeros(1), np.zeros((size, 1)), np.zeros((1, 1)), np.zeros(1)
    if counts is not None and len(counts[0]):
        at = pair.at[counts[0]]
        old, b = (_dense(side, one.cube, len(at)) for side, one in zip(counts[1:], (pair.old, pair.new), strict=True))
        chunks, a = old[:-1] if len(old) > 1 else old, old[-1]
    told: dict[str, Any] = {"metric": metric, "values_reference": a.sum(), "values_current": b.sum(-1)}
    told |= dict.fromkeys(OUTSIDE, np.nan)
    few = np.minimum(a.sum(), told["values_current"])
    if counts is not None and a.sum():
        told |= outside(a, b, at == OTHER if text else None)
    if compat:
        seen = told["values_current"] > 0
        told |= other_tools.columns(
            compat, chunks, b, None if text else at, seen if not why else np.zeros(size, dtype=bool)
        )
    told |= {"cells": 0, "edges": "", "cells_few": 0, "edges_few": ""}
    groups = None
    if not why and a.sum() and b.sum():
        if text:
            told["cells"], told["edges"] = edges_of_text(at[frequent(a, b[-1])])
            told["cells_few"], told["edges_few"] = told["cells"], told["edges"]
        else:
            groups = far.equal_parts(a)
            told["cells"], told["edges"] = edges_of_numbers(at)
            told["cells_few"], told["edges_few"] = edges_of_numbers(at, groups)
    if text and not why:
        a, b, why = pooled(a, b, at == OTHER)
    usable = not why and a.sum() and b.sum()
    told |= _in_blocks(a, b, None if text else at, groups) if usable else {}
    for name in (f"{one}{end}" for one in (*DISTANCES, *MORE) for end in (*ENDS, *SPAN)):
        told.setdefault(name, np.nan)
    told["why"] = [why or ("" if n >= least else f"only {n:.0f} values, {least} needed") for n in few]
    told["evaluated"] = np.array([not one for one in told["why"]])
    for end in (*ENDS, *SPAN):
        told[f"distance{end}"] = np.where(told["evaluated"], told[f"{metric}{end}"], np.nan)
    return told


def _in_blocks(a: Any, b: Any, at: Any, groups: Any) -> dict[str, Any]:
    """`measures`, of so many windows at a time that their tables stay small."""
    step = max(1, BLOCK // max(1, len(a)))
    if len(b) <= step:
        return {key: np.broadcast_to(one, (len(b),)) for key, one in measures(a, b, at, groups).items()}
    parts = [(measures(a, b[i : i + step], at, groups), len(b[i : i + step])) for i in range(0, len(b), step)]
    return {key: np.concatenate([np.broadcast_to(part[key], (size,)) for part, size in parts]) for key in parts[0][0]}


def outside(reference: Any, current: Any, other: Any = None) -> dict[str, Any]:
    """Shares of new and lost values (text), or of current values below and above the reference's range (numbers).

    other: of text, which cells stand for values that the cube did not keep; None for numbers, whose cells ascend.
    new_share: of the current values, those the reference does not have; lost_share: of the reference's values, those
    that the current ones do not have. All 0 to 1, 0: none.

    >>> outside([2, 2, 0], [0, 1, 1], [False, False, False])["new_share"].item()
    0.5
    """
    a, b = np.broadcast_arrays(np.asarray(reference, dtype="float64"), np.asarray(current, dtype="float64"))
    n, m = np.maximum(a.sum(-1), 1), np.maximum(b.sum(-1), 1)
    if other is not None:
        kept = ~np.asarray(other, dtype=bool)
        return {"new_share": (b * ((a == 0) & kept)).sum(-1) / m, "lost_share": (a * ((b == 0) & kept)).sum(-1) / n}
    seen = np.cumsum(a, -1)
    return {"below_share": (b * (seen == 0)).sum(-1) / m,
            "above_share": (b * ((seen == a.sum(-1, keepdims=True)) & (a == 0))).sum(-1) / m}  # fmt: skip


def measures(a: Any, b: Any, at: Any = None, parts: Any = None, *, brief: bool = False) -> dict[str, Any]:
    """Every distance of counts `b` from counts `a` over the same cells, each with noise, excess, interval and p.

    a, b: cells on the last axis, leading axes broadcast; at: the ascending values of the cells of a number, None for
    text; parts: the group of each cell (`distances.equal_parts`), by default of `a`, all of its leading axes together;
    brief: only KS, Wasserstein, PSI and total variation.
    """
    a, b = np.asarray(a, dtype="float64"), np.asarray(b, dtype="float64")
    few, many, told = a, b, {}
    if at is not None:
        d = far.ks(a, b)
        told = measured("ks", d, far.ks_noise(a, b), far.ks_p(d, a, b), standard_error("ks", a, b))
        w, noise, error = (
            far.wasserstein(a, b, at),
            far.wasserstein_noise(a, b, at),
            standard_error("wasserstein", a, b, at),
        )
        told |= measured("wasserstein", w, noise, np.nan, error)
        told |= {} if brief else _more_of_numbers(a, b, at, w, noise, error)
        parts = far.equal_parts(a.reshape(-1, a.shape[-1]).sum(0)) if parts is None else parts
        few, many = far.grouped(a, parts), far.grouped(b, parts)
    p = far.chi_square_p(few, many)
    for name in ("psi", "total_variation") if brief else ("psi", "total_variation", "jensen_shannon", "hellinger"):
        noise = getattr(far, f"{name}_noise")(few, many)
        told |= measured(name, getattr(far, name)(few, many), noise, p, standard_error(name, few, many))
    if brief:
        return told
    told |= measured("l_infinity", far.l_infinity(few, many), far.l_infinity_noise(few, many), p,
                     standard_error("l_infinity", few, many))  # fmt: skip
    total = few.sum(-1) + many.sum(-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        noise = np.sqrt(far.freedom(few, many) / total)
    return told | measured("cramer_v", tests.cramer_v(few, many, corrected=False), noise, p)


def _more_of_numbers(a: Any, b: Any, at: Any, w: Any, noise: Any, error: Any) -> dict[str, Any]:
    """Scaled Wasserstein (nothing where the deviation is 0), Cramer-von Mises, Anderson-Darling (standardised)."""
    unit = far.deviation(a, at)
    with np.errstate(invalid="ignore", divide="ignore"):
        unit = np.where(unit > 0, unit, np.nan)
        told = measured("wasserstein_scaled", w / unit, noise / unit, np.nan, error / unit)
        mises = tests.cramer_von_mises(a, b)
        told |= measured("cramer_von_mises", mises.statistic, tests.cramer_von_mises_noise(a, b), mises.p)
        tails = tests.anderson_darling_two(a, b)
        return told | measured("anderson_darling", tails.statistic, np.zeros_like(tails.statistic), tails.p)
