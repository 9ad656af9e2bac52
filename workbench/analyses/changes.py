"""What changed, in words: new, lost and renamed values, ranges that were left, medians that moved; and sides that differ.

Nothing is measured here that a cube does not hold; a rename is told as likely, never as certain.
"""

from __future__ import annotations

from difflib import SequenceMatcher
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from workbench.analyses.parts import OTHER, say_share, uncounted

SAME = 3.0  # standard errors within which two shares may be one share
LIKELY = 0.01  # share of rows from which a value can be told to be renamed
ALIKE = 0.6  # how alike two names are, 0 to 1, from which one may be a new spelling of the other


def renames(labels: list[Any], reference: Any, current: Any) -> list[tuple[str, str, float]]:
    """Values that were lost and values that are new which are likely the same: (old name, new name, share before).

    labels: the values; reference, current: their counts. A lost and a new value pair up when both have 1 % of rows or more
    and their shares differ by no more than three standard errors, or their names are alike and the shares within a half of
    each other; those of nearest name and share first, each value once.

    >>> renames(["eu", "us", "EU"], [40, 60, 0], [0, 61, 39])
    [('eu', 'EU', 0.4)]
    """
    a, b = np.asarray(reference, dtype="float64"), np.asarray(current, dtype="float64")
    n, m = a.sum(), b.sum()
    if not n or not m:
        return []
    p, q = a / n, b / m
    kept = np.array([str(label) != OTHER for label in labels], dtype=bool)
    lost = np.flatnonzero((p >= LIKELY) & (b == 0) & kept)
    new = np.flatnonzero((q >= LIKELY) & (a == 0) & kept)
    pairs: list[tuple[float, float, int, int]] = []
    for i in lost.tolist():
        for j in new.tolist():
            error = np.sqrt(p[i] * (1 - p[i]) / n + q[j] * (1 - q[j]) / m)
            alike = SequenceMatcher(None, str(labels[i]).casefold(), str(labels[j]).casefold()).ratio()
            apart = abs(p[i] - q[j])
            if apart <= SAME * error or (alike >= ALIKE and apart <= max(p[i], q[j]) / 2):
                pairs.append((-alike, apart, i, j))
    told: list[tuple[str, str, float]] = []
    taken: set[tuple[str, int]] = set()
    for _, _, one, other in sorted(pairs):
        if ("lost", one) not in taken and ("new", other) not in taken:
            taken |= {("lost", one), ("new", other)}
            told.append((str(labels[one]), str(labels[other]), float(p[one])))
    return told


def words(close: pd.DataFrame, most: int = 3) -> str:
    """What one column's values did, in a sentence or two. close: `drift.close_up`. "" where there is nothing to tell.

    Of text: likely renames, new and lost values, then the largest changes of share. Of numbers: the median and the 90th
    percentile before and now, and the share of values outside of the range before.
    """
    if close.empty:
        return ""
    column, when = close["column"].iloc[0], close["when"].iloc[0]
    old, new = (close[close["side"] == side] for side in ("reference", "current"))
    if not old["count"].sum() or not new["count"].sum():
        return f"{column}: there are no values on one side, {when}."
    if close["low"].isna().all():
        return _of_text(column, when, old, new, most)
    return _of_numbers(column, when, old, new)


def _of_text(column: str, when: str, old: pd.DataFrame, new: pd.DataFrame, most: int) -> str:
    labels = list(dict.fromkeys([*old["value"], *new["value"]]))
    a, b = (part.groupby("value")["count"].sum().reindex(labels).fillna(0).to_numpy() for part in (old, new))
    p, q = a / a.sum(), b / b.sum()
    said, used = [], set()
    for before, now, share in renames(labels, a, b):
        said.append(f"'{before}' is likely '{now}' now ({say_share(share)} of rows)")
        used |= {before, now}
    kept = [place for place, label in enumerate(labels) if str(label) not in used and str(label) != OTHER]
    for found, verb, share in (([i for i in kept if a[i] == 0 and b[i]], "is new", q),
                               ([i for i in kept if b[i] == 0 and p[i] >= LIKELY], "is gone", p)):  # fmt: skip
        found.sort(key=lambda i: -share[i])
        said += [f"'{labels[i]}' {verb} ({say_share(share[i])} of rows)" for i in found[:most]]
        if len(found) > most:
            said.append(f"{len(found) - most} more {'are new' if verb == 'is new' else 'are gone'}")
    change = [i for i in np.argsort(-np.abs(q - p), kind="stable") if i in kept and a[i] and b[i]]
    said += [f"'{labels[i]}' from {say_share(p[i])} to {say_share(q[i])} of rows"
             for i in change[: most if not said else 1] if abs(q[i] - p[i]) >= 0.005]  # fmt: skip
    return f"{column}, {when}: {'; '.join(said)}." if said else f"{column}, {when}: no single value stands out."


def _of_numbers(column: str, when: str, old: pd.DataFrame, new: pd.DataFrame) -> str:
    told = {}
    for name, part in (("old", old), ("new", new)):
        part = part.sort_values("low", kind="stable")
        level = part["count"].cumsum().to_numpy() / part["count"].sum()
        at = part["high"].to_numpy()
        told[name] = [float(at[min(np.searchsorted(level, k - 1e-12), len(at) - 1)]) for k in (0.5, 0.9)]
    seen = old.loc[old["count"] > 0]
    low, high = seen["low"].min(), seen["high"].max()
    total = new["count"].sum()
    below, above = (float(new.loc[side, "count"].sum() / total) for side in (new["high"] < low, new["low"] > high))
    said = (f"{column}, {when}: median {told['old'][0]:.4g} before, {told['new'][0]:.4g} now; "
            f"90th percentile {told['old'][1]:.4g} before, {told['new'][1]:.4g} now")  # fmt: skip
    out = [
        f"{say_share(share)} {word} every value before"
        for share, word in ((below, "below"), (above, "above"))
        if share > 0
    ]
    return f"{said}; {' and '.join(out)}." if out else f"{said}."


def sides_differ(reference: xr.Dataset, current: xr.Dataset) -> list[str]:
    """What makes two cubes hard to compare, a sentence each: columns of one side only (with their likely new name), columns
    of another kind, columns counted without values on one side, other conditions on the rows. Empty when all is alike.
    """
    told = []
    kinds = [
        dict(zip(map(str, cube["column"].values), cube["kind"].values, strict=True)) for cube in (reference, current)
    ]
    gone = [name for name in kinds[0] if name not in kinds[1]]
    fresh = [name for name in kinds[1] if name not in kinds[0]]
    for name in list(gone):
        near = [one for one in fresh if kinds[1][one] == kinds[0][name]]
        best = max(near, key=lambda one: SequenceMatcher(None, name.casefold(), one.casefold()).ratio(), default=None)
        if best is not None and SequenceMatcher(None, name.casefold(), best.casefold()).ratio() >= ALIKE:
            told.append(f"The column '{name}' of the reference is likely '{best}' now; the two are not compared.")
            gone.remove(name)
            fresh.remove(best)
    if gone:
        told.append(f"Only in the reference, so not compared: {', '.join(gone)}.")
    if fresh:
        told.append(f"Not in the reference, so not compared: {', '.join(fresh)}.")
    other = [f"'{name}' ({kinds[0][name]} before, {kinds[1][name]} now)" for name in kinds[1]
             if name in kinds[0] and kinds[0][name] != kinds[1][name] and "text" in (kinds[0][name], kinds[1][name])]  # fmt: skip
    if other:
        told.append(f"Columns of another kind, so not compared: {', '.join(other)}.")
    for name in kinds[1]:
        side = uncounted(reference, current, name) if kinds[0].get(name) == kinds[1][name] else ""
        told += (
            [f"'{name}' was counted without its values in the {side}; count both with the same of=."] if side else []
        )
    where = [str(cube.attrs.get("where", "[]")) for cube in (reference, current)]
    if where[0] != where[1]:
        told.append(f"The two sides count other rows: where {where[0]} in the reference, where {where[1]} now.")
    return told
