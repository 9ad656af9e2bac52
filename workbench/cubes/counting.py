"""Counting pieces of a table into a partial: one column of one piece at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from workbench.cubes import kernels as k
from workbench.cubes import partial as p
from workbench.cubes.axes import Axis
from workbench.cubes.columns import Values, bitmap, chunks_of, numeric, valid_mask
from workbench.cubes.grouping import Groups
from workbench.cubes.measures import Asked
from workbench.cubes.plan import EMPTY, ROOTS, Plan
from workbench.cubes.texts import Text, coded, frequent, hash_words, is_dictionary

NO_CELLS = np.zeros((1, 3))
NO_REGISTERS = np.zeros(1, np.uint8)
WHOLE = ("integer", "boolean", "time")  # kinds that are counted as whole numbers
NO_INTEGERS = np.zeros(1, np.int64)
NO_COUNTS = np.zeros((1, 0), np.int64)
FEW = 1 << 13  # integers of which four tables fit the processor's cache
FOLD = 1 << 22  # bins of a column that wait to be added
WAITING = 3 << 23  # values that wait to be counted


@dataclass(frozen=True)
class Column:
    """What a worker needs to know of one column."""

    name: str
    kind: str
    asked: Asked
    plan: Plan = EMPTY

    @property
    def numeric(self) -> bool:
        return self.kind not in ("text", "other")


class Flat:
    """Counts without axes: dense bins a column."""

    def __init__(self, columns: tuple[Column, ...]) -> None:
        self.columns = columns
        self.count = np.zeros(1, np.int64)
        self.moments = p.empty_moments(len(columns), 1)
        self.whole = p.empty_whole(len(columns), 1)
        self.lost = np.zeros((len(columns), 1), np.int64)
        self.bound = np.zeros((len(columns), 1), np.int64)
        self.cells = [_cells(c.plan.size) if c.numeric and c.asked.histogram else NO_CELLS for c in columns]
        self.alone = [_alone(c.plan) if c.kind in WHOLE and c.asked.histogram else (NO_COUNTS, 0) for c in columns]
        self.registers = [np.zeros(1 << c.asked.p, np.uint8) if c.asked.p else NO_REGISTERS for c in columns]
        self.texts = [Text() for _ in columns]

    def add(self, rows: Any, encoded: list, told: Any = None) -> None:
        self.count[0] += rows.count
        for i, c in enumerate(self.columns):
            if told is not None:
                told(None, 0)
            if c.kind == "other":
                self.whole[i, 0, p.MISSING] += rows.column(c.name).null_count
            elif c.kind == "text":
                self._text(i, c, rows.column(c.name))
            else:
                for v in (v for part in rows.parts(c.name) for v in numeric(part)):
                    found = self.moments[i], self.whole[i], self.registers[i], c.asked.p
                    into = v.values, v.valid, v.offset, v.nulls, c.plan.arrays, self.cells[i]
                    if v.values.dtype == np.int64:
                        k.integers(*into, *self.alone[i], *found)
                    else:
                        k.numbers(*into, *found)

    def _text(self, i: int, c: Column, values: Any) -> None:
        for array in chunks_of(values):
            self.whole[i, 0, p.MISSING] += array.null_count
            codes, words = coded(array)
            if codes is None:
                self._many(i, c, array)
                continue
            counts = np.zeros(len(words), np.int64)
            k.count_codes(codes, *bitmap(array if not is_dictionary(array) else array.indices), counts)
            seen = np.flatnonzero(counts)
            if c.asked.p and len(words):
                hashes = hash_words(words)[seen]
                k.grouped_registers(
                    hashes, NO_REGISTERS, 0, False, np.zeros(len(seen), np.int64), self.registers[i][None], c.asked.p
                )
            if c.asked.top and len(seen):
                self.texts[i].add(np.zeros(len(seen), np.int64), words.to_pylist(), seen, counts[seen])
                self.texts[i].shrink(self.lost[i], self.bound[i])

    def _many(self, i: int, c: Column, array: Any) -> None:
        """Text with very many values: by hash, the frequent ones looked up afterwards."""
        array = array.drop_null()
        hashes = hash_words(array)
        if c.asked.p:
            zeros = np.zeros(len(hashes), np.int64)
            k.grouped_registers(hashes, NO_REGISTERS, 0, False, zeros, self.registers[i][None], c.asked.p)
        if c.asked.top:
            words, counts, lost, bound = frequent(array, hashes)
            self.lost[i, 0] += lost
            self.bound[i, 0] += bound
            self.texts[i].add(np.zeros(len(words), np.int64), words, np.arange(len(words)), counts)
            self.texts[i].shrink(self.lost[i], self.bound[i])

    def _settle(self, i: int, c: Column) -> None:
        """Put integers that were counted on their own into their bins and registers."""
        alone, first = self.alone[i]
        count = alone.sum(0)
        seen = np.flatnonzero(count)
        alone[:] = 0
        values, where = (first + seen).astype(np.float64), np.empty(len(seen), np.int64)
        k.slots(values.view(np.int64), len(seen), c.plan.arrays, where)
        cells = self.cells[i]
        np.add.at(cells.view(np.int64)[:, 0], where, count[seen])
        np.minimum.at(cells[:, 1], where, values)
        np.maximum.at(cells[:, 2], where, values)
        if c.asked.p and len(seen):
            hashes = np.empty(len(seen) + 1, np.uint64)
            k.raise_registers(first + seen, len(seen), self.registers[i], c.asked.p, hashes, np.uint64(0))

    def partial(self) -> p.Partial:
        bins, tops, registers = [], [], []
        for i, c in enumerate(self.columns):
            self._settle(i, c)
            bins.append(bins_of_cells(self.cells[i], c.plan) if len(self.cells[i]) > 1 else p.empty(p.BIN_TYPES))
            if len(bins[i]["min"]):
                self.moments[i, 0, p.MIN] = bins[i]["min"].min()
                self.moments[i, 0, p.MAX] = bins[i]["max"].max()
            tops.append(p.trim_tops(self.texts[i].table(), self.lost[i], self.bound[i]))
            registers.append(registers_of(self.registers[i][None]) if c.asked.p else p.empty(p.REGISTER_TYPES))
        return p.Partial(
            (), np.zeros((1, 0), np.int64), self.count, self.moments, p.carried(self.whole), self.lost, self.bound,
            bins, tops, registers,
        )  # fmt: skip


class Grouped:
    """Counts over axes: groups as they come; a batch is put in order of its groups, and each counted on its own."""

    def __init__(self, columns: tuple[Column, ...], axes: int) -> None:
        self.columns = columns
        self.groups = Groups(axes)
        n = len(columns)
        self.count = np.zeros(0, np.int64)
        self.moments = np.zeros((n, 0, 6))
        self.whole = np.zeros((n, 0, 8), np.int64)
        self.lost = np.zeros((n, 0), np.int64)
        self.bound = np.zeros((n, 0), np.int64)
        self.bins: list[list[p.Ragged]] = [[] for _ in columns]
        self.registers: list[list[p.Ragged]] = [[] for _ in columns]
        self.texts = [Text() for _ in columns]
        self.scratch: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        self.folded = [0] * n
        self.waiting = [p.Waiting(c.plan) for c in columns]

    def add(self, rows: Any, encoded: list[tuple[np.ndarray, np.ndarray]], told: Any = None) -> None:
        local, groups = self.groups.of(encoded)
        self._grow(len(self.groups))
        self.count[groups] += np.bincount(local, minlength=len(groups))
        for i, c in enumerate(self.columns):
            if told is not None:
                told(None, 0)
            values = rows.column(c.name)
            if c.kind == "other":
                gone = np.concatenate([a.is_null().to_numpy(zero_copy_only=False) for a in chunks_of(values)] or [[]])
                self.whole[i, :, p.MISSING] += np.bincount(groups[local[gone.astype(bool)]], minlength=len(self.count))
                continue
            at = 0
            for part in chunks_of(values):
                if at and told is not None:
                    told(None, 0)
                codes = local[at : at + len(part)]
                at += len(part)
                if c.kind == "text":
                    self._text(i, c, part, codes, groups)
                else:
                    for v in numeric(part):
                        self._numbers(i, c, v, codes, groups)

    def _grow(self, size: int) -> None:
        more = size - len(self.count)
        if more > 0:
            room = max(more, len(self.count) // 2)  # columns are kept a little larger than their groups
            n = len(self.columns)
            self.count = np.concatenate([self.count, np.zeros(room, np.int64)])
            self.moments = np.concatenate([self.moments, p.empty_moments(n, room)], axis=1)
            self.whole = np.concatenate([self.whole, p.empty_whole(n, room)], axis=1)
            self.lost = np.concatenate([self.lost, np.zeros((n, room), np.int64)], axis=1)
            self.bound = np.concatenate([self.bound, np.zeros((n, room), np.int64)], axis=1)

    def _numbers(self, i: int, c: Column, v: Values, codes: np.ndarray, groups: np.ndarray) -> None:
        n = len(groups)
        missing, starts = np.zeros(n, np.int64), np.zeros(n + 1, np.int64)
        # where rows a group are few for the bins, nearly every one is a bin of its own, and twice as large and more
        waits = c.asked.histogram and not c.asked.p and 2 * len(v.values) < n * (c.plan.size - ROOTS)
        room = self.waiting[i].room if waits else np.empty
        own = room(len(v.values), v.values.dtype)
        k.partition(v.values, v.valid, v.offset, v.nulls, codes, starts, own, missing)
        self.whole[i, groups, p.MISSING] += missing
        if waits:
            self.waiting[i].took(starts, groups)
            if sum(w.size for w in self.waiting) > WAITING:
                self._settle()
            return
        own = own[: starts[-1]]
        if c.asked.histogram and i not in self.scratch:
            self.scratch[i] = scratch(c.plan)
        if c.asked.p:
            whole_numbers = own.dtype == np.int64
            registers = np.zeros((n, 1 << c.asked.p), np.uint8)
            where = np.repeat(np.arange(n), np.diff(starts))
            hashes = np.empty(len(own), np.uint64)
            k.hash_numbers(own if whole_numbers else (own + 0.0).view(np.int64), hashes)
            if not whole_numbers:
                fine = np.isfinite(own)
                if not fine.all():
                    hashes, where = hashes[fine], where[fine]
            k.grouped_registers(hashes, NO_REGISTERS, 0, False, where, registers, c.asked.p)
            self._keep_registers(i, registers, groups)
        moments, whole, bins = count_groups(
            own, starts, groups, c.plan if c.asked.histogram else None, self.scratch.get(i)
        )
        self.moments[i, groups] = p.join_moments(self.moments[i, groups], moments)
        self.whole[i, groups] = p.join_whole(self.whole[i, groups], whole)
        if len(bins["min"]):
            self._keep_bins(i, bins)

    def _settle(self) -> None:
        """Count the values that wait."""
        n = len(self.groups)
        for i, waiting in enumerate(self.waiting):
            if waiting.size:
                moments, whole, bins = waiting.counted(n)
                self.moments[i, :n] = p.join_moments(self.moments[i, :n], moments)
                self.whole[i, :n] = p.join_whole(self.whole[i, :n], whole)
                self._keep_bins(i, bins)

    def _keep_bins(self, i: int, bins: p.Ragged) -> None:
        self.bins[i].append(bins)
        if len(self.bins[i]) > 4 and sum(len(t["min"]) for t in self.bins[i]) > 2 * self.folded[i] + FOLD:
            self.bins[i] = [self._joined(i)]
            self.folded[i] = len(self.bins[i][0]["min"])

    def _text(self, i: int, c: Column, array: Any, codes: np.ndarray, groups: np.ndarray) -> None:
        n = len(groups)
        own, words = coded(array, always=True)
        assert own is not None
        missing = np.zeros(n, np.int64)
        bits = bitmap(array if not is_dictionary(array) else array.indices)
        if n * max(1, len(words)) <= 1 << 22:
            counts = np.zeros((n, max(1, len(words))), np.int64)
            k.count_pairs(codes, own, *bits, counts, missing)
            group, which = np.nonzero(counts)
            count = counts[group, which]
        else:
            there = valid_mask(Values(own, *bits))
            missing += np.bincount(codes[~there], minlength=n)
            key, count = np.unique(codes[there] * len(words) + own[there], return_counts=True)
            group, which = key // len(words), key % len(words)
        self.whole[i, groups, p.MISSING] += missing
        if c.asked.p and len(words):
            registers = np.zeros((n, 1 << c.asked.p), np.uint8)
            hashes = hash_words(words)[which]
            k.grouped_registers(hashes, NO_REGISTERS, 0, False, group, registers, c.asked.p)
            self._keep_registers(i, registers, groups)
        if c.asked.top and len(words):
            self.texts[i].add(groups[group], words.to_pylist(), which, count)
            self.texts[i].shrink(self.lost[i], self.bound[i])

    def _keep_registers(self, i: int, registers: np.ndarray, groups: np.ndarray) -> None:
        t = registers_of(registers)
        t["group"] = groups[t["group"]]
        self.registers[i].append(t)
        if sum(len(x["rank"]) for x in self.registers[i]) > 1 << 21:
            self.registers[i] = [p.join_registers(_concat(self.registers[i]))]

    def _joined(self, i: int) -> p.Ragged:
        """A column's bins so far in one table; one batch's are in order as they are."""
        tables = self.bins[i]
        if len(tables) == 1 and not np.any(tables[0]["group"][1:] < tables[0]["group"][:-1]):
            return tables[0]
        n = len(self.groups)
        return p.join_tables(tables, [np.arange(n)] * len(tables), n)

    def partial(self) -> p.Partial:
        n = len(self.groups)
        for waiting in self.waiting:
            waiting.block = None
        bins, loose, tops, registers = [], [], [], []
        for i in range(len(self.columns)):
            many = sum(len(t["min"]) for t in self.bins[i]) > p.MANY  # then they are moved once, when all are added
            loose.append(self.bins[i] if many else [])
            bins.append(self._joined(i) if self.bins[i] and not many else p.empty(p.BIN_TYPES))
            tops.append(p.trim_tops(self.texts[i].table(), self.lost[i], self.bound[i]))
            found = self.registers[i]
            registers.append(p.join_registers(_concat(found)) if found else p.empty(p.REGISTER_TYPES))
        return p.Partial(
            self.groups.labels(), self.groups.codes(), self.count[:n], self.moments[:, :n],
            p.carried(self.whole[:, :n]), self.lost[:, :n], self.bound[:, :n], bins, tops, registers,
            loose=loose if any(loose) else [], waiting=self.waiting if any(w.size for w in self.waiting) else [],
        )  # fmt: skip


def count_pieces(
    table: Any,
    pieces: Iterable[Any],
    columns: tuple[Column, ...],
    axes: tuple[Axis, ...],
    told: Callable[[Any, int], None] | None = None,
) -> p.Partial:
    """Count some pieces of a table; on the GPU where Dask's ``dataframe.backend`` is cuDF (``clusters`` sets it).

    ``told(piece, rows)`` is called after each piece, ``told(None, 0)`` before each column; it may raise to stop.
    """
    from dask import config

    if config.get("dataframe.backend", "pandas") == "cudf":
        import cupy

        from workbench.cubes.arrays import count_arrays

        return count_arrays(table, pieces, columns, axes, told, cupy)
    return counted(table, pieces, columns, axes, told).partial()


def counted(
    table: Any,
    pieces: Iterable[Any],
    columns: tuple[Column, ...],
    axes: tuple[Axis, ...],
    told: Callable[[Any, int], None] | None = None,
) -> Flat | Grouped:
    """What ``count_pieces`` counts on a processor, as it is counted."""
    out = Grouped(columns, len(axes)) if axes else Flat(columns)
    for piece in pieces:
        seen = 0
        for rows in table.batches(piece):
            if rows.count:
                out.add(rows, [a.encode(rows.column(a.column)) for a in axes], told)
            seen += rows.count
        if told is not None:
            told(piece, seen)
    return out


def taken(parts: Sequence[Flat]) -> Flat:
    """The first of some with what the others have counted, as it lies: a tenth of the work of joining partials."""
    out, *others = parts
    for other in others:
        out.count += other.count
        out.moments, out.whole = p.join_moments(out.moments, other.moments), p.join_whole(out.whole, other.whole)
        out.lost, out.bound = out.lost + other.lost, out.bound + other.bound
        for i, (cells, more) in enumerate(zip(out.cells, other.cells, strict=True)):
            cells.view(np.int64)[:, 0] += more.view(np.int64)[:, 0]
            np.minimum(cells[:, 1], more[:, 1], out=cells[:, 1])
            np.maximum(cells[:, 2], more[:, 2], out=cells[:, 2])
            out.alone[i][0][:] += other.alone[i][0]
            np.maximum(out.registers[i], other.registers[i], out=out.registers[i])
            group, value, count = other.texts[i].table().values()
            out.texts[i].add(group, value.tolist(), np.arange(len(value)), count)
            out.texts[i].shrink(out.lost[i], out.bound[i])
    return out


def scratch(plan: Plan) -> tuple[np.ndarray, np.ndarray]:
    """What ``kernels.grouped`` counts one group in: the cells of all bins, and a bit for each of them."""
    return _cells(plan.size), np.zeros((plan.size >> 6) + 1, np.uint64)


def count_groups(
    values: np.ndarray,
    starts: np.ndarray,
    names: np.ndarray,
    plan: Plan | None,
    work: tuple[np.ndarray, np.ndarray] | None = None,
) -> tuple[np.ndarray, np.ndarray, p.Ragged]:
    """Count values that lie side by side by group: moments and whole counts, a row a group, and bins by group and value.

    values: float64 or int64; group ``g`` is ``values[starts[g]:starts[g + 1]]`` and is called ``names[g]`` in the bins.
    Floats are written over: a group's bins are no more than its values were, and their least ones lie in their place.
    plan: the bins; None: no bins are wanted. work: ``scratch(plan)``, clean, where it is at hand.
    """
    n, binning = len(starts) - 1, plan is not None
    moments, whole = p.empty_moments(1, n)[0], p.empty_whole(1, n)[0]
    plan = plan if plan is not None else EMPTY
    whole_numbers = values.dtype == np.int64
    floats = values.astype(np.float64) if whole_numbers else values
    cells, seen = (work or scratch(plan)) if binning else (NO_CELLS, np.zeros(1, np.uint64))
    room = len(values) if binning else 0
    out = tuple(floats if key == "min" and binning else np.empty(room, t) for key, t in p.BIN_TYPES.items())
    used = k.grouped(
        floats, values if whole_numbers else NO_INTEGERS, whole_numbers, starts, names, plan.arrays, plan.order,
        binning, moments, whole, cells, seen, out,
    )  # fmt: skip
    bins = {key: x[:used] if used > 0.6 * room else x[:used].copy() for key, x in zip(p.BIN_TYPES, out, strict=True)}
    return centred(moments), whole, bins


def bins_of_cells(cells: np.ndarray, plan: Plan) -> p.Ragged:
    """Counted bins of a plan as ragged rows of group 0."""
    counts = cells.view(np.int64)[:, 0]
    at = np.flatnonzero(counts)
    at = at[np.argsort(plan.bin_low[at], kind="stable")]
    counts, cells = counts[at], cells[at]
    return {
        "group": np.zeros(len(at), np.int32),
        "bits": plan.bin_bits[at],
        "count": counts,
        "min": cells[:, 1].copy(),
        "max": cells[:, 2].copy(),
    }


def registers_of(registers: np.ndarray) -> p.Ragged:
    """Raised registers, one row of the input a group, as ragged rows."""
    group, index = np.nonzero(registers)
    return {"group": group, "index": index.astype(np.uint16), "rank": registers[group, index]}


def centred(moments: np.ndarray) -> np.ndarray:
    """``[n, pivot, sum(x - pivot), sum((x - pivot)**2), min, max]`` as ``[n, mean, sum, m2, min, max]``."""
    out = moments.copy()
    n = np.maximum(moments[:, 0], 1.0)
    with np.errstate(over="ignore", invalid="ignore"):
        out[:, p.MEAN] = moments[:, 1] + moments[:, 2] / n
        out[:, p.SUM] = moments[:, 1] * moments[:, 0] + moments[:, 2]
        m2 = np.maximum(moments[:, 3] - moments[:, 2] * (moments[:, 2] / n), 0.0)
        out[:, p.M2] = np.where(moments[:, 3] < np.inf, m2, np.inf)
    return out


def _alone(plan: Plan) -> tuple[np.ndarray, int]:
    """Counts of the integers of a plan that has a bin for each, in a few tables where they are small, and the first."""
    first, span = plan.integers
    return np.zeros((k.LANES if span <= FEW else 1, span), np.int64), first


def _cells(size: int) -> np.ndarray:
    out = np.zeros((size, 3))
    out[:, 1], out[:, 2] = np.inf, -np.inf
    return out


def _concat(tables: list[p.Ragged]) -> p.Ragged:
    return {key: np.concatenate([t[key] for t in tables]) for key in tables[0]}
