"""One column of two cubes, counted over common cells."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from workbench.analyses.distances import together
from workbench.analyses.parts import WINDOW, bins, groups, kind_of, levels, segment_axes, segment_name, tops, uncounted

RARE = 0.005  # text values below this share of both sides together are compared as one
MANY = 0.5  # a text column with more different values than this share of its rows is a name, not a category


@dataclass(frozen=True)
class Counts:
    """One column of a cube: a cell and a count for each filled bin or value, and which group each belongs to."""

    cube: xr.Dataset
    group: Any
    cell: Any
    count: Any

    def counts(self, segment: str, cells: int) -> Any:
        """Counts of a segment over the windows and, last, all of them together; dims (window, cell)."""
        places, use = groups(self.cube), np.ones(len(self.group), dtype=bool)
        for dim in segment_axes(self.cube):
            names = [segment_name([dim], [label]) for label in self.cube[dim].values]
            if segment in names:
                use = places[dim][self.group] == names.index(segment)
        if WINDOW not in places:
            return np.bincount(self.cell[use], self.count[use], minlength=cells)[None]
        across = self.cube.sizes[WINDOW]
        flat = places[WINDOW][self.group[use]] * cells + self.cell[use]
        table = np.bincount(flat, self.count[use], minlength=across * cells).astype("float64").reshape(across, cells)
        return np.vstack([table, table.sum(0)])

    def filled(self) -> dict[str, tuple[Any, Any, Any]]:
        """Window, cell and count of what is filled in every segment, by the segment's name."""
        places = groups(self.cube)
        window = places[WINDOW][self.group] if WINDOW in places else np.zeros(len(self.group), dtype="int64")
        told = {}
        for cut in levels(self.cube):
            if not cut:
                told[""] = (window, self.cell, self.count)
                continue
            labels, place = self.cube[cut[0]].values, places[cut[0]][self.group]
            order = np.argsort(place.astype(np.min_scalar_type(len(labels))), kind="stable")  # short ones are counted
            ends = np.searchsorted(place[order], np.arange(len(labels) + 1))
            for i, label in enumerate(labels):
                at = order[ends[i] : ends[i + 1]]
                told[segment_name(cut, [label])] = (window[at], self.cell[at], self.count[at])
        return told

    def stacked(self, cells: int) -> dict[str, Any]:
        """`counts` of every segment at once, by the segment's name."""
        places = groups(self.cube)
        across = self.cube.sizes[WINDOW] if WINDOW in places else 1
        window = places[WINDOW][self.group] if WINDOW in places else np.zeros(len(self.group), dtype="int64")
        told = {}
        for cut in levels(self.cube):
            size = self.cube.sizes[cut[0]] if cut else 1
            place = places[cut[0]][self.group] if cut else 0
            labels = self.cube[cut[0]].values if cut else [""]
            flat = (place * across + window) * cells + self.cell
            table = np.bincount(flat, self.count, minlength=size * across * cells)
            table = table.astype("float64").reshape(size, across, cells)
            for name, one in zip(labels, table, strict=True):
                whole = np.vstack([one, one.sum(0)]) if WINDOW in places else one
                told[segment_name(cut, [name]) if cut else ""] = whole
        return told


@dataclass(frozen=True)
class Pair:
    """One column of both cubes over common cells; `at` holds each cell's value, `why` says why it is not compared."""

    kind: str
    old: Counts
    new: Counts
    at: Any
    why: str = ""


def nothing(cube: xr.Dataset) -> Counts:
    """No values of a cube."""
    return Counts(cube, *(np.zeros(0, dtype="int64"),) * 3)


def paired(reference: xr.Dataset, current: xr.Dataset, column: str) -> Pair:
    """One column of both cubes over cells that both share: joined bins of numbers, values of text."""
    kinds = [kind_of(cube, column) for cube in (reference, current)]
    none = nothing(current)
    reasons = {"time": "a time moves by itself", "other": "this kind of column has no values to compare"}
    if kinds[0] != kinds[1] and "text" in kinds:
        return Pair(kinds[1], none, none, np.zeros(0), f"it is {kinds[0]} in the reference and {kinds[1]} now")
    if kinds[1] in reasons:
        return Pair(kinds[1], none, none, np.zeros(0), reasons[kinds[1]])
    side = uncounted(reference, current, column)
    if side:
        return Pair(kinds[1], none, none, np.zeros(0), f"it was counted without its values in the {side}")
    sides = (reference, current) if reference is not current else (current,)
    if kinds[1] == "text":
        read = [tops(cube, column) for cube in sides]
        cells, at = pd.factorize(np.concatenate([one[1] for one in read]))
        cell = [cells[: len(read[0][0])], cells[len(read[0][0]) :]]
    else:
        read = [bins(cube, column) for cube in sides]
        *cell, at = together(*[(one[1], one[2]) for one in read], *[((), ())] * (2 - len(sides)))
    counts = [Counts(cube, one[0], where, one[-1]) for cube, one, where in zip(sides, read, cell, strict=False)]
    return Pair(kinds[1], counts[0], counts[-1], at, "" if len(at) else "no values on either side")


def frequent(a: Any, b: Any) -> Any:
    """Which text values are cells of their own (bool): those with a share of `RARE` of the rows of both sides together.

    a, b: counts of all reference rows and of all current ones. Only their sum decides, since rows that one distribution gave
    to the two sides by chance must not decide by side: values kept for being frequent on one side would seem to have moved.
    """
    both = a + b
    return both >= RARE * max(both.sum(), 1)


def pooled(a: Any, b: Any, other: Any) -> tuple[Any, Any, str]:
    """Counts of text values with the rare ones as one cell; and why they cannot be compared, if so.

    a, b: counts of the reference, and of windows of which the last one is all of them together.
    """
    total = a.sum()
    if total and (a[other].sum() > MANY * total or (a > 0).sum() > MANY * total):
        return a, b, "nearly every row has its own value"
    keep = frequent(a, b[-1])
    if total and a[~keep].sum() > MANY * total:
        return a, b, "most rows hold a value that is rare"
    return np.append(a[keep], a[~keep].sum()), np.column_stack([b[:, keep], b[:, ~keep].sum(-1)]), ""


def edges_of_text(values: Any) -> tuple[int, str]:
    """How many cells a text column was compared over, and what they hold as JSON; the last one is that of rare values."""
    return len(values) + 1, json.dumps([*map(str, values), "(rare values)"], ensure_ascii=False)


def edges_of_numbers(at: Any, groups: Any = None) -> tuple[int, str]:
    """How many cells a number was compared over, and their edges as JSON: the lowest value of each of the `groups` and the
    highest of the last one; without groups the lowest and the highest value of all cells.

    >>> edges_of_numbers(np.array([1.0, 2.0, 4.0, 9.0]), np.array([0, 0, 1, 1]))
    (2, '[1.0, 4.0, 9.0]')
    """
    starts = np.flatnonzero(np.diff(groups, prepend=-1)) if groups is not None else [0]
    told = [float(f"{x:.12g}") for x in (*np.asarray(at)[starts], at[-1])]
    return (len(at) if groups is None else len(starts)), json.dumps(told)
