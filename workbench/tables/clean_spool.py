"""Rows that wait for the last one: on disk beyond a size, with a few numbers kept of each, so that memory stays flat.

A step that compares rows with each other hands its tables to a `Spool` and what it compares (hashes of keys, times, ranks) to
`Marks`, which are looked at a share of the keys at a time; then the tables come again, in their order.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from collections.abc import Iterator, Sequence
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

    def numbers(self, kind: Any) -> Values:
        """One number for each row, 0 at first; on disk where there are many."""
        if self.rows <= HELD_ROWS:
            return np.zeros(self.rows, kind)
        self.folder = self.folder or folder_of(self)
        path = os.path.join(self.folder, f"{len(os.listdir(self.folder)):06d}.numbers")
        return np.memmap(path, kind, "w+", shape=(self.rows,))

    def with_numbers(self, *numbers: Values) -> Iterator[tuple[pa.Table, list[Values]]]:
        """The tables again, each with its part of the numbers."""
        start = 0
        for rows in self:
            yield rows, [np.array(one[start : start + rows.num_rows]) for one in numbers]
            start += rows.num_rows


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
        if not self.folder:
            if self.held:
                yield np.concatenate(self.held)
            return
        if self.held:
            self._write()
        for k in range(SHARES):
            part = np.fromfile(os.path.join(self.folder, str(k)), np.int64).reshape(-1, self.width)
            if len(part):
                yield part


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


def repeats(spool: Spool, marks: Marks) -> Values:
    """Whether a row repeats another of its key that wins: of (hash, hash, rank, row) the largest rank, then the first row."""
    lost = spool.numbers(bool)
    for part in marks.shares():
        order = np.lexsort((part[:, 3], ~part[:, 2], part[:, 1], part[:, 0]))
        part = part[order]
        lost[part[~runs(part[:, 0], part[:, 1]), 3]] = True
    return lost
