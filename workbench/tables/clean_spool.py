"""Rows that wait for the last one: on disk beyond a size, with a few numbers kept of each, so that memory stays flat.

A step that compares rows with each other hands its tables to a `Spool` and what it compares (hashes of keys, times, ranks) to
`Marks`, which are looked at a share of the keys at a time; then the tables come again, in their order.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

Values = np.ndarray[Any, Any]
HELD_BYTES = 32 << 20  # of rows that wait in memory
HELD_ROWS = 1 << 19  # whose marks do
SHARES = 64
SEEDS = ("0123456789123456", "workbench-rows-2")
FACTOR = np.uint64(0x9E3779B97F4A7C15)


def folder_of(owner: object) -> str:
    """A temporary folder that goes with its owner."""
    folder = tempfile.mkdtemp(prefix="workbench-")
    weakref.finalize(owner, shutil.rmtree, folder, ignore_errors=True)
    return folder


class Spool:
    """Tables in their order; beyond HELD_BYTES they lie in a temporary folder that goes with this object."""

    def __init__(self) -> None:
        self.rows = self.nbytes = 0
        self.held: list[pa.Table] = []
        self.files: list[str] = []
        self.folder = ""

    def put(self, rows: pa.Table) -> None:
        self.rows += rows.num_rows
        self.nbytes += rows.nbytes
        self.held.append(rows)
        if self.nbytes > HELD_BYTES:
            self._write()

    def _write(self) -> None:
        self.folder = self.folder or folder_of(self)
        start = 0
        for k in range(1, len(self.held) + 1):
            if k < len(self.held) and self.held[k].schema == self.held[start].schema:
                continue
            path = os.path.join(self.folder, f"{len(self.files):06d}.arrow")
            options = pa.ipc.IpcWriteOptions(compression="lz4")
            with pa.ipc.new_stream(path, self.held[start].schema, options=options) as file:
                for one in self.held[start:k]:
                    file.write_table(one)
            self.files.append(path)
            start = k
        self.held, self.nbytes = [], 0

    def __iter__(self) -> Iterator[pa.Table]:
        for path in self.files:
            with pa.OSFile(path) as raw, pa.ipc.open_stream(raw) as file:
                for batch in file:
                    yield pa.Table.from_batches([batch])
        yield from self.held

    def with_numbers(self, *numbers: Numbers) -> Iterator[tuple[pa.Table, list[Values]]]:
        """The tables again, each with its part of the numbers."""
        start = 0
        for rows in self:
            yield rows, [one.between(start, start + rows.num_rows) for one in numbers]
            start += rows.num_rows


class Numbers:
    """A number for each row, `usual` where none was put; of several the least. They are put in any order, told from the first
    row on, and lie on disk by blocks of rows where there are many."""

    def __init__(self, kind: Any, usual: int = 0) -> None:
        self.kind, self.usual, self.rows = kind, usual, 0
        self.held: list[Values] = []
        self.folder = ""
        self.block, self.told = -1, np.zeros((0, 2), np.int64)

    def put(self, rows: Values, values: Any) -> None:
        if not len(rows):
            return
        block = np.empty((len(rows), 2), np.int64)
        block[:, 0], block[:, 1] = rows, values
        self.held.append(block)
        self.rows += len(rows)
        if self.rows > HELD_ROWS:
            self._write()

    def _write(self) -> None:
        self.folder = self.folder or folder_of(self)
        block = np.concatenate(self.held)
        at = block[:, 0] // HELD_ROWS
        order = np.argsort(at, kind="stable")
        for part in np.split(block[order], np.flatnonzero(np.diff(at[order])) + 1):
            with open(os.path.join(self.folder, str(part[0, 0] // HELD_ROWS)), "ab") as file:
                file.write(part.tobytes())
        self.held, self.rows = [], 0

    def between(self, start: int, stop: int) -> Values:
        """The numbers of the rows from start to stop."""
        out = np.full(stop - start, self.usual, self.kind)
        for k in range(start // HELD_ROWS, -(-stop // HELD_ROWS)):
            if k != self.block:
                self.block, self.told = k, self._of(k)
            low, high = np.searchsorted(self.told[:, 0], (start, stop))
            out[self.told[low:high, 0] - start] = self.told[low:high, 1]
        return out

    def _of(self, k: int) -> Values:
        """What was put of a block of rows: by row, and the least last."""
        if self.folder and self.held:
            self._write()
        if self.folder:
            path = os.path.join(self.folder, str(k))
            part = np.fromfile(path, np.int64).reshape(-1, 2) if os.path.exists(path) else np.zeros((0, 2), np.int64)
        else:
            part = np.concatenate([np.zeros((0, 2), np.int64), *self.held])
            part = part[part[:, 0] // HELD_ROWS == k]
        return part[np.lexsort((-part[:, 1], part[:, 0]))]


class Marks:
    """Rows of 64-bit numbers, the first of them a hash by which they are shared out."""

    def __init__(self, width: int) -> None:
        self.width, self.rows = width, 0
        self.held: list[Values] = []
        self.folder = ""

    def add(self, *columns: Values) -> None:
        block = np.column_stack([one.view(np.int64) for one in columns])
        self.held.append(block)
        self.rows += len(block)
        if self.rows > HELD_ROWS:
            self._write()

    def _write(self) -> None:
        self.folder = self.folder or folder_of(self)
        block = np.concatenate(self.held)
        share = block[:, 0] & (SHARES - 1)
        order = np.argsort(share, kind="stable")
        cuts = np.searchsorted(share[order], np.arange(1, SHARES))
        for k, part in enumerate(np.split(block[order], cuts)):
            with open(os.path.join(self.folder, str(k)), "ab") as file:
                file.write(part.tobytes())
        self.held, self.rows = [], 0

    def shares(self) -> Iterator[Values]:
        """The rows of numbers, all that have one hash together."""
        for size, chunks in self.parts():
            if size:
                yield np.concatenate(list(chunks()))

    def parts(self) -> Iterator[tuple[int, Callable[[], Iterator[Values]]]]:
        """The same, as the number of rows of a share and a function that gives them in chunks."""
        if not self.folder:
            held = self.held
            yield self.rows, lambda: iter(held)
            return
        if self.held:
            self._write()
        for k in range(SHARES):
            path = os.path.join(self.folder, str(k))
            yield os.path.getsize(path) // (8 * self.width), partial(_chunks, path, self.width)


def _chunks(path: str, width: int) -> Iterator[Values]:
    with open(path, "rb") as file:
        while len(part := np.fromfile(file, np.int64, HELD_ROWS // 2 * width or width)):
            yield part.reshape(-1, width)


def hashes_of(rows: pa.Table, keys: Sequence[str]) -> tuple[Values, Values, Values]:
    """Two 64-bit hashes of each combination of keys, and the rows that lack one of them."""
    absent = np.zeros(rows.num_rows, bool)
    found = [np.zeros(rows.num_rows, np.uint64) for _ in SEEDS]
    for name in keys:
        missing = np.asarray(rows[name].is_null())
        absent |= missing
        for k, one in enumerate(_hashed(rows[name].combine_chunks())):
            found[k] = _mixed(found[k] ^ np.where(missing, np.uint64(k + 1), one))
    return found[0], found[1], absent


def _hashed(values: pa.Array) -> list[Values]:
    """Two hashes of each value of a column."""
    import pandas as pd

    kind = values.type
    if pa.types.is_boolean(kind) or pa.types.is_date32(kind) or pa.types.is_time32(kind):
        values = values.cast(pa.int32())
    elif pa.types.is_temporal(kind):
        values = values.cast(pa.int64())
    if pa.types.is_integer(values.type):
        bits = np.asarray(values.cast(pa.int64(), safe=False).fill_null(0)).view(np.uint64)
    elif pa.types.is_floating(values.type):
        numbers = np.asarray(values.cast(pa.float64()).fill_null(0.0)) + 0.0  # one zero
        bits = np.where(np.isnan(numbers), np.nan, numbers).view(np.uint64)
    else:
        coded = values if pa.types.is_dictionary(kind) else values.cast(pa.string()).dictionary_encode()
        texts = coded.dictionary.cast(pa.string()).to_numpy(zero_copy_only=False)
        codes = np.asarray(coded.indices.fill_null(0)).astype(np.int64)
        each = [pd.util.hash_array(texts, hash_key=seed, categorize=False) for seed in SEEDS]
        return [one[codes] if len(one) else np.zeros(len(codes), np.uint64) for one in each]
    return [_mixed(bits ^ np.uint64(k * 0x632BE59BD9B4E019)) for k in range(len(SEEDS))]


def _mixed(bits: Values) -> Values:
    """64 bits to 64 others, each of them moved by each (the finaliser of splitmix64, Steele et al. 2014)."""
    bits = bits + FACTOR
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))


def runs(*columns: Values) -> Values:
    """Where a new combination begins, of columns in order."""
    new = np.ones(len(columns[0]), bool)
    new[1:] = np.any([one[1:] != one[:-1] for one in columns], axis=0)
    return new


def repeats(marks: Marks) -> Iterator[Values]:
    """The rows that repeat another of their key that wins: of (hash, hash, rank, row) the largest rank, then the first row."""
    for part in marks.shares():
        order = np.lexsort((part[:, 3], ~part[:, 2], part[:, 1], part[:, 0]))
        part = part[order]
        yield part[~runs(part[:, 0], part[:, 1]), 3]


def median(chunks: Callable[[], Iterator[Values]]) -> float:
    """The median of finite numbers that are given in chunks, several times, and never held: 0 of none.

    >>> median(lambda: iter([np.array([5.0, -1.0]), np.array([2.0, 4.0])]))
    3.0
    """
    held: list[Values] = []
    size = 0
    for one in chunks():
        size += len(one)
        held = [*held, one] if size <= HELD_ROWS else []
    if size <= HELD_ROWS:
        return float(np.median(np.concatenate(held))) if size else 0.0
    low = _nth(chunks, (size - 1) // 2)
    if size % 2:
        return low
    upto = sum(int((one <= low).sum()) for one in chunks())
    high = low if upto > size // 2 else min(one[one > low].min(initial=np.inf) for one in chunks())
    return float(np.mean([low, high]))


def _nth(chunks: Callable[[], Iterator[Values]], rank: int) -> float:
    """The number of a rank, from 0 on, found 16 bits at a time: numbers are in the order of their bits, turned where negative."""
    found = 0
    for shift in (48, 32, 16, 0):
        counts = np.zeros(1 << 16, np.int64)
        for one in chunks():
            bits = (one + 0.0).view(np.int64)
            keys = (bits ^ ((bits >> 63) & np.int64(2**63 - 1))).view(np.uint64) ^ np.uint64(1 << 63)
            if shift < 48:
                keys = keys[keys >> np.uint64(shift + 16) == found]
            counts += np.bincount((keys >> np.uint64(shift)).astype(np.int64) & 0xFFFF, minlength=1 << 16)
        ends = np.cumsum(counts)
        digit = int(np.searchsorted(ends, rank, "right"))
        rank -= int(ends[digit - 1]) if digit else 0
        found = found << 16 | digit
    key = np.array([found], np.uint64) ^ np.uint64(1 << 63)
    bits = key.view(np.int64)
    return float((bits ^ ((bits >> 63) & np.int64(2**63 - 1))).view(np.float64)[0])
