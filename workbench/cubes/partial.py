"""Partial counts of some rows, and how they join: the one place where cubes are added.

A ``Partial`` is a cube with only the groups that have rows. Joining is exact for every count, integer sum, extreme,
register and bin, in any order and grouping; float sums, means and variances agree to rounding (Chan, Golub and LeVeque
1983). Top values are exact up to ``TOP_LIMIT`` distinct values of a column, then short by no more than a stated bound.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from workbench.cubes.grouping import distinct
from workbench.cubes.plan import ordered

if TYPE_CHECKING:
    from workbench.cubes.plan import Plan

TOP_LIMIT = 10_000  # distinct values of one text column that are counted exactly
TOP_KEPT = 1_000  # values kept of a column that has more

# columns of Partial.moments and Partial.whole
N, MEAN, SUM, M2, MIN, MAX = range(6)
MISSING, NAN, POSINF, NEGINF, LOW, HIGH, IMIN, IMAX = range(8)
SMALLEST, LARGEST = np.iinfo(np.int64).min, np.iinfo(np.int64).max

Ragged = dict[str, np.ndarray]

MANY = 1 << 18  # bins that are added by compiled code
WAITING = 1 << 25  # values that wait to be counted in a sum
BLOCK = 1 << 23  # of them in one place
BIN_TYPES = {"group": np.int32, "bits": np.uint8, "count": np.int32, "min": float, "max": float}  # see `lows`, `narrow`
TOP_TYPES = {"group": np.int64, "value": object, "count": np.int64}
REGISTER_TYPES = {"group": np.int64, "index": np.uint16, "rank": np.uint8}


def empty(types: dict) -> Ragged:
    """No rows of a ragged table."""
    return {k: np.zeros(0, t) for k, t in types.items()}


def lows(t: Ragged) -> np.ndarray:
    """The first key of each bin (int64): bins are aligned, so that any value of one, and its width, tell where it starts."""
    bits = t["bits"].astype(np.int64)
    return ordered(t["min"].view(np.int64)) >> bits << bits


def narrow(count: np.ndarray) -> np.ndarray:
    """Counts in half the room, where all of them are small enough."""
    return count.astype(np.int32 if count.max(initial=0) < 1 << 31 else np.int64, copy=False)


def empty_moments(columns: int, groups: int) -> np.ndarray:
    """No values seen: float64 of shape (columns, groups, 6)."""
    out = np.zeros((columns, groups, 6))
    out[..., MIN], out[..., MAX] = np.inf, -np.inf
    return out


def empty_whole(columns: int, groups: int) -> np.ndarray:
    """No rows seen: int64 of shape (columns, groups, 8)."""
    out = np.zeros((columns, groups, 8), np.int64)
    out[..., IMIN], out[..., IMAX] = LARGEST, SMALLEST
    return out


@dataclass
class Waiting:
    """Values of one column that are still to be counted, batch after batch, in each side by side by group.

    Where groups are very many and rows a group few, values are smaller than the bins that they make: those of all batches
    are put side by side and counted once, when all of them are there.
    """

    plan: Plan
    pieces: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = field(default_factory=list)
    size: int = 0
    block: np.ndarray | None = None  # where the next values go

    def room(self, rows: int, kind: np.dtype) -> np.ndarray:
        """A place for so many values, the first of which ``took`` then adds.

        It is cut from a large block: these are given back to the system when they are counted, small ones are not.
        """
        if self.block is None or len(self.block) < rows or self.block.dtype != kind:
            self.block = np.empty(max(rows, BLOCK), kind)
        return self.block

    def took(self, starts: np.ndarray, groups: np.ndarray) -> None:
        """Values are there: those of ``groups[i]`` from ``starts[i]`` to ``starts[i + 1]``."""
        assert self.block is not None
        rows = int(starts[-1])
        if rows:
            self.pieces.append((self.block[:rows], starts.astype(np.int32), groups.astype(np.int32)))
            self.size += rows
            self.block = self.block[rows:]

    def moved(self, where: np.ndarray) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """The pieces with their groups renumbered."""
        short = where.astype(np.int32)
        return [(values, starts, short[groups]) for values, starts, groups in self.pieces]

    def counted(self, groups: int) -> tuple[np.ndarray, np.ndarray, Ragged]:
        """Moments and whole counts (a row a group) and bins of all that wait, which then waits no more."""
        from workbench.cubes import kernels as k
        from workbench.cubes.counting import count_groups

        starts = np.zeros(groups + 1, np.int64)
        for _, own, names in self.pieces:
            starts[names + 1] += np.diff(own)  # no group is named twice
        np.cumsum(starts, out=starts)
        values, at = np.empty(self.size, self.pieces[0][0].dtype), starts[:-1].copy()
        while self.pieces:
            k.spread(*self.pieces.pop(0), at, values)
        self.size = 0
        return count_groups(values, starts, np.arange(groups), self.plan)


@dataclass
class Partial:
    """Counts of some rows: ``labels[axis]``, ``codes[group, axis]``, ``count[group]`` and a row a column of the rest."""

    labels: tuple[np.ndarray, ...]
    codes: np.ndarray
    count: np.ndarray
    moments: np.ndarray
    whole: np.ndarray
    lost: np.ndarray  # int64 (columns, groups): rows of text not attributed to a kept value
    bound: np.ndarray  # int64 (columns, groups): the most by which any value's count is short
    bins: list[Ragged] = field(default_factory=list)
    tops: list[Ragged] = field(default_factory=list)
    registers: list[Ragged] = field(default_factory=list)
    cross: np.ndarray | None = None  # float64 (3, groups, d, d): co-moments of some columns, see comoments.py
    loose: list[list[Ragged]] = field(default_factory=list)  # more bins of each column, in tables yet to be added
    waiting: list[Waiting] = field(default_factory=list)  # values of each column yet to be counted

    @property
    def groups(self) -> int:
        return len(self.count)


def join(parts: Sequence[Partial]) -> Partial:
    """The sum of partial counts."""
    # one without groups has nothing to say, not even what its labels are
    parts = [x for x in parts if x.groups] or parts[:1]
    axes = len(parts[0].labels)
    if len(parts) == 1 and _ordered(parts[0]):
        return parts[0]
    columns = len(parts[0].moments)
    labels, remaps = [], []
    for a in range(axes):
        merged, place = unique_labels(np.concatenate([p.labels[a] for p in parts]))
        labels.append(merged)
        remaps.append(np.split(place, np.cumsum([len(p.labels[a]) for p in parts])[:-1]))
    there = [[remaps[a][k][p.codes[:, a]] for a in range(axes)] for k, p in enumerate(parts)]
    codes, back = np.zeros((1, 0), np.int64), np.zeros(len(parts), np.int64)
    if axes:
        codes, back = distinct([np.concatenate(own) for own in zip(*there, strict=True)], [len(x) for x in labels])
    where = np.split(back, np.cumsum([p.groups for p in parts])[:-1])
    groups = len(codes)
    count = np.zeros(groups, np.int64)
    moments, whole = empty_moments(columns, groups), empty_whole(columns, groups)
    lost, bound = np.zeros((columns, groups), np.int64), np.zeros((columns, groups), np.int64)
    for p, at in zip(parts, where, strict=True):
        count[at] += p.count
        moments[:, at] = join_moments(moments[:, at], p.moments)
        whole[:, at] = join_whole(whole[:, at], p.whole)
        lost[:, at] += p.lost
        bound[:, at] += p.bound
    out = Partial(
        tuple(labels),
        codes,
        count,
        moments,
        whole,
        lost,
        bound,
        [_join_bins(parts, where, groups, c) for c in range(columns)],
        [join_tops(stack([p.tops[c] for p in parts], where)) for c in range(columns)],
        [join_registers(stack([p.registers[c] for p in parts], where)) for c in range(columns)],
        _join_cross(parts, where, groups),
        waiting=_join_waiting(parts, where),
    )
    return _counted(out) if sum(w.size for w in out.waiting) > WAITING else out


def settled(part: Partial) -> Partial:
    """The partial with its labels and groups in order, and nothing left to be counted.

    What waits in ``part`` moves into it: it is given back piece by piece as it is counted.
    """
    joined = join([part])
    if joined is not part:
        part.waiting = []
    return _counted(joined)


def _counted(part: Partial) -> Partial:
    if sum(w.size for w in part.waiting) > BLOCK:
        import pyarrow as pa

        pa.default_memory_pool().release_unused()  # the bins take more than what was read into, and that is free by now
    for i, waiting in enumerate(part.waiting):
        if waiting.size:
            moments, whole, bins = waiting.counted(part.groups)
            part.moments[i] = join_moments(part.moments[i], moments)
            part.whole[i] = join_whole(part.whole[i], whole)
            same = [np.arange(part.groups)] * 2
            part.bins[i] = join_tables([part.bins[i], bins], same, part.groups) if len(part.bins[i]["min"]) else bins
    part.waiting = []
    return part


def _join_waiting(parts: Sequence[Partial], where: Sequence[np.ndarray]) -> list[Waiting]:
    out: list[Waiting] = []
    for part, at in zip(parts, where, strict=True):
        out = out or [Waiting(w.plan) for w in part.waiting]
        for i, waiting in enumerate(part.waiting):
            out[i].pieces += waiting.moved(at)
            out[i].size += waiting.size
    return out


def _join_bins(parts: Sequence[Partial], where: Sequence[np.ndarray], groups: int, column: int) -> Ragged:
    tables, to = [], []
    for part, at in zip(parts, where, strict=True):
        own = [part.bins[column], *(part.loose[column] if part.loose else ())]
        tables += own
        to += [at] * len(own)
    return join_tables(tables, to, groups)


def _ordered(part: Partial) -> bool:
    """Whether labels and groups are in order, as those of a sum are."""
    if part.loose:
        return False
    if not part.labels:
        return True
    if not part.groups or not all(map(_ascending, part.labels)):
        return False
    key, sizes = part.codes[:, 0], [len(x) for x in part.labels]
    if np.prod(sizes, dtype=float) > 2.0**62:
        return False
    for a in range(1, len(sizes)):
        key = key * sizes[a] + part.codes[:, a]
    # groups in order, none twice, and no label without one
    return bool(np.all(key[1:] > key[:-1])) and all(
        np.bincount(part.codes[:, a], minlength=size).all() for a, size in enumerate(sizes)
    )


def _ascending(labels: np.ndarray) -> bool:
    """Whether labels are in order, none twice, with the missing one (NaN, NaT) last."""
    known = labels[:-1] if len(labels) and labels[-1] != labels[-1] else labels
    return bool(np.all(known[:-1] < known[1:]))


def _join_cross(parts: Sequence[Partial], where: Sequence[np.ndarray], groups: int) -> np.ndarray | None:
    from workbench.cubes import comoments

    found = [(p.cross, at) for p, at in zip(parts, where, strict=True) if p.cross is not None]
    if not found:
        return None
    out = comoments.none(groups, found[0][0].shape[-1])
    for cross, at in found:
        out[:, at] = comoments.join(out[:, at], cross)
    return out


def unique_labels(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distinct labels in order and each one's place among them; the missing one (NaN, NaT) last, "(missing)" in its place
    in the alphabet."""
    if labels.dtype != object:
        return np.unique(labels, return_inverse=True)
    return factorize(labels)


def stack(tables: Sequence[Ragged], where: Sequence[np.ndarray]) -> Ragged:
    """Ragged tables one after the other, their groups renumbered."""
    out = {k: np.concatenate([t[k] for t in tables]) for k in tables[0] if k != "group"}
    out["group"] = np.concatenate([w[t["group"]] for t, w in zip(tables, where, strict=True)])
    return out


def join_moments(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Sum of ``[n, mean, sum, m2, min, max]`` rows: pairwise update of Chan, Golub and LeVeque (1983)."""
    out = a.copy()
    n = a[..., N] + b[..., N]
    share = np.divide(b[..., N], n, out=np.zeros_like(n), where=n > 0)
    with np.errstate(over="ignore", invalid="ignore"):
        delta = b[..., MEAN] - a[..., MEAN]
        mean = a[..., MEAN] + delta * share
        mean = np.where(np.isinf(delta), a[..., MEAN] * (1 - share) + b[..., MEAN] * share, mean)
        m2 = a[..., M2] + b[..., M2] + delta * delta * (a[..., N] * share)
        m2 = np.where(np.isnan(m2), np.inf, m2)  # beyond the largest float
        out[..., SUM] = a[..., SUM] + b[..., SUM]
    only_b, only_a = a[..., N] == 0, b[..., N] == 0
    out[..., N] = n
    out[..., MEAN] = np.where(only_b, b[..., MEAN], np.where(only_a, a[..., MEAN], mean))
    out[..., M2] = np.where(only_b, b[..., M2], np.where(only_a, a[..., M2], m2))
    out[..., MIN] = np.minimum(a[..., MIN], b[..., MIN])
    out[..., MAX] = np.maximum(a[..., MAX], b[..., MAX])
    return out


def join_whole(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Sum of ``[missing, nan, +inf, -inf, low limb, high limb, min, max]`` rows; the low limb carries into the high."""
    out = carried(a + b)
    out[..., IMIN] = np.minimum(a[..., IMIN], b[..., IMIN])
    out[..., IMAX] = np.maximum(a[..., IMAX], b[..., IMAX])
    return out


def carried(whole: np.ndarray) -> np.ndarray:
    """Exact sums in their one form, in place: the low limb from 0 to 2**32 - 1, the rest in the high one."""
    whole[..., HIGH] += whole[..., LOW] >> 32
    whole[..., LOW] &= 0xFFFFFFFF
    return whole


def join_tables(tables: Sequence[Ragged], where: Sequence[np.ndarray], groups: int) -> Ragged:
    """The bins of some tables added, their groups renumbered; compiled where there are many, which is worth loading."""
    if sum(len(t["min"]) for t in tables) < MANY:
        return join_bins(stack(tables, where))
    from workbench.cubes.merging import merged

    return merged(tables, where, groups)


def join_bins(t: Ragged) -> Ragged:
    """Add bins. Bins are aligned blocks, so two of them nest or do not meet; where they nest the larger takes all.

    The result is the set of largest blocks of all that came in, whatever the order: adding is associative.
    """
    if not len(t["min"]):
        return t
    low = lows(t)
    order = _by_group_and_low(t["group"], low)
    if order is not None:
        t, low = {k: v[order] for k, v in t.items()}, low[order]
    group = t["group"]
    high = low + ((np.int64(1) << t["bits"].astype(np.int64)) - 1)
    new = np.ones(len(low), bool)
    new[1:] = (group[1:] != group[:-1]) | (low[1:] != low[:-1])
    # Blocks nest or do not meet, so a block with others inside has one of them as its neighbour in this order.
    if np.any((group[1:] == group[:-1]) & (low[1:] <= high[:-1]) & ((low[1:] != low[:-1]) | (high[1:] != high[:-1]))):
        starts = np.flatnonzero(np.concatenate([[True], group[1:] != group[:-1]]))
        for a, b in zip(starts, np.append(starts[1:], len(low)), strict=True):
            reach = np.maximum.accumulate(high[a:b])
            new[a + 1 : b] = low[a + 1 : b] > reach[:-1]
    if new.all():
        return t
    first = np.flatnonzero(new)
    return {
        "group": group[first],
        "bits": np.maximum.reduceat(t["bits"], first),
        "count": narrow(np.add.reduceat(t["count"], first, dtype=np.int64)),
        "min": np.minimum.reduceat(t["min"], first),
        "max": np.maximum.reduceat(t["max"], first),
    }


def _by_group_and_low(group: np.ndarray, low: np.ndarray) -> np.ndarray | None:
    """The order by group and low key; None where it is so already.

    Counted batches are in order, and few groups stand in more than one of them: only those are sorted.
    """
    order, of_row = None, group
    if np.any(group[1:] < group[:-1]):
        order = _by_group(group)
        group, low = group[order], low[order]
    wrong = np.flatnonzero((group[1:] == group[:-1]) & (low[1:] <= low[:-1]))
    if not len(wrong):
        return order
    mixed = np.zeros(int(group[-1]) + 1, bool)
    mixed[group[wrong]] = True
    at = np.flatnonzero(mixed[group])
    if order is None:
        order = np.arange(len(group))
    part = order[at]
    part = part[np.argsort(low[at], kind="stable")]  # batches one after the other: runs that are in order
    order[at] = part[_by_group(of_row[part])]
    return order


def _by_group(group: np.ndarray) -> np.ndarray:
    """The order by group, alike ones as they were; short integers are sorted by counting."""
    few = group.max(initial=0) < 1 << 16
    return np.argsort(group.astype(np.uint16) if few else group, kind="stable")


def join_tops(t: Ragged) -> Ragged:
    """Add counts of text values."""
    if not len(t["count"]):
        return t
    values, back = factorize(t["value"])
    key = t["group"] * len(values) + back
    unique, at = np.unique(key, return_inverse=True)
    count = np.zeros(len(unique), np.int64)
    np.add.at(count, at, t["count"])
    return {"group": unique // len(values), "value": values[unique % len(values)], "count": count}


def factorize(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distinct texts in order and each one's position. Arrow's order, by UTF-8 bytes, is that of the characters."""
    import pyarrow as pa
    import pyarrow.compute as pc

    coded = pa.array(values, pa.large_string()).dictionary_encode()
    order = pc.sort_indices(coded.dictionary)
    place = np.empty(len(order), np.int64)
    place[order.to_numpy()] = np.arange(len(order))
    return coded.dictionary.take(order).to_numpy(zero_copy_only=False), place[coded.indices.to_numpy()]


def join_registers(t: Ragged) -> Ragged:
    """Merge HyperLogLog registers: the larger rank."""
    if not len(t["rank"]):
        return t
    key = t["group"] << 16 | t["index"].astype(np.int64)
    order = np.argsort(key, kind="stable")
    key = key[order]
    first = np.flatnonzero(np.concatenate([[True], key[1:] != key[:-1]]))
    key = key[first]
    rank = np.maximum.reduceat(t["rank"][order], first)
    return {"group": key >> 16, "index": (key & 0xFFFF).astype(np.uint16), "rank": rank}


def trim_tops(t: Ragged, lost: np.ndarray, bound: np.ndarray) -> Ragged:
    """Keep ``TOP_KEPT`` values a group where a column has more than ``TOP_LIMIT``; what is dropped is accounted for.

    ``lost`` and ``bound`` (int64, one a group) are added to in place.
    """
    many = np.bincount(t["group"], minlength=len(lost)) > TOP_LIMIT if len(t["group"]) else np.zeros(0, bool)
    if not many.any():
        return t
    tied = (t["value"],) if len(t["value"]) < 50_000 else ()
    order = np.lexsort((*tied, -t["count"], t["group"]))
    t = {k: v[order] for k, v in t.items()}
    start = np.searchsorted(t["group"], np.arange(len(lost)))
    place = np.arange(len(t["group"])) - start[t["group"]]
    drop = many[t["group"]] & (place >= TOP_KEPT)
    np.add.at(lost, t["group"][drop], t["count"][drop])
    most = np.zeros(len(lost), np.int64)
    np.maximum.at(most, t["group"][drop], t["count"][drop])
    bound += most
    return {k: v[~drop] for k, v in t.items()}
