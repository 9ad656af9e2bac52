"""Groups: rows that have a code on each axis, as numbers from 0 on."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

DENSE = 1 << 22  # groups that have a place each
PART = 1 << 18  # numbers that are looked up at once


def distinct(codes: Sequence[np.ndarray], sizes: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """The rows of codes that occur, in order (int64, an axis a column), and each row's place among them.

    codes: an array an axis, of whole numbers below its size. By counting where few rows can occur, else by sorting.

    >>> seen, place = distinct([np.array([1, 0, 1]), np.array([2, 0, 2])], [2, 3])
    >>> seen.tolist(), place.tolist()
    ([[0, 0], [1, 2]], [1, 0, 1])
    """
    rows, total = len(codes[0]), math.prod(sizes)
    if total <= 4 * rows + 1024:
        key = codes[0].astype(np.int64)
        for own, size in zip(codes[1:], sizes[1:], strict=True):
            key *= size
            key += own
        seen = np.flatnonzero(np.bincount(key, minlength=total))
        place = np.zeros(total, np.int64)
        place[seen] = np.arange(len(seen))
        return np.stack(np.unravel_index(seen, sizes), axis=1), renumbered(key, place)
    key, known = codes[0], sizes[0]
    for own, size in zip(codes[1:], sizes[1:], strict=True):
        if known * size >= 2**62:  # more than an integer can number
            key, known = np.unique(key, return_inverse=True)[1], rows
        key, known = key * size + own, known * size
    first, key = np.unique(key, return_index=True, return_inverse=True)[1:]
    return np.stack([own[first] for own in codes], axis=1), key


def renumbered(codes: np.ndarray, names: np.ndarray) -> np.ndarray:
    """``names[code]`` in the place of each code: a second array as long is dear where it was never touched."""
    for start in range(0, len(codes), PART):
        part = codes[start : start + PART]
        part[:] = names[part]
    return codes


def keys_of(labels: np.ndarray) -> list[Any]:
    """Labels as keys of a dictionary: times as integers, NaN as None."""
    if labels.dtype.kind == "f":
        return [None if v != v else v for v in labels.tolist()]
    return (labels.view(np.int64) if labels.dtype.kind == "M" else labels).tolist()


class Groups:
    """Numbers for groups in the order in which they come; a group is a label on each axis."""

    def __init__(self, axes: int) -> None:
        # the code of each label, axis by axis: one that is not there gets the next
        self.index: list[dict[Any, int]] = [defaultdict(itertools.count().__next__) for _ in range(axes)]
        self.types: list[np.dtype | None] = [None] * axes
        self.rows: list[np.ndarray] = [np.zeros((0, axes), np.int64)]
        self.size = 0
        self.dense: np.ndarray | None = np.full((0,) * axes, -1, np.int64)  # the number of each group, or -1
        self.known: dict[tuple[int, ...], int] = {}  # instead of it, where the axes are long

    def __len__(self) -> int:
        return self.size

    def of(self, encoded: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
        """Each row's group within a batch, and the batch's groups as numbers that last.

        encoded: codes and labels of the rows, axis by axis.
        """
        seen, local = distinct([codes for codes, _ in encoded], [max(1, len(labels)) for _, labels in encoded])
        for a, (_, labels) in enumerate(encoded):
            self.types[a], index = labels.dtype, self.index[a]
            there = np.bincount(seen[:, a], minlength=len(labels)) > 0
            own = np.zeros(len(labels), np.int64)
            own[there] = np.fromiter(map(index.__getitem__, keys_of(labels[there])), np.int64)
            seen[:, a] = own[seen[:, a]]
        return local, self._numbers(seen)

    def _numbers(self, rows: np.ndarray) -> np.ndarray:
        """The numbers of some groups, none of them twice, by their codes."""
        if self.dense is not None and len(rows):
            shape = tuple(
                have if need <= have else max(need, 2 * have)
                for have, need in zip(self.dense.shape, (rows.max(0) + 1).tolist(), strict=True)
            )
            if math.prod(shape) > DENSE:
                self.known = {tuple(row): i for i, row in enumerate(self.codes().tolist())}
                self.dense = None
            elif shape != self.dense.shape:
                larger = np.full(shape, -1, np.int64)
                larger[tuple(map(slice, self.dense.shape))] = self.dense
                self.dense = larger
        if self.dense is not None:
            at = tuple(rows.T)
            found = self.dense[at]
            new = np.flatnonzero(found < 0)
            found[new] = np.arange(self.size, self.size + len(new))
            self.dense[at] = found
        else:
            found = np.array([self.known.setdefault(tuple(r), len(self.known)) for r in rows.tolist()], np.int64)
            new = np.flatnonzero(found >= self.size)
        self.rows.append(rows[new])
        self.size += len(new)
        return found

    def codes(self) -> np.ndarray:
        """The code of each group on each axis, int64 of shape (groups, axes)."""
        self.rows = [np.concatenate(self.rows)]
        return self.rows[0]

    def labels(self) -> tuple[np.ndarray, ...]:
        """The labels that the codes point to, axis by axis."""
        return tuple(_labels(list(index), kind) for index, kind in zip(self.index, self.types, strict=True))


def _labels(keys: list[Any], kind: np.dtype | None) -> np.ndarray:
    if kind is not None and kind.kind == "M":
        return np.array(keys, np.int64).view(kind)
    if kind is not None and kind.kind == "f":
        return np.array([np.nan if key is None else key for key in keys])
    text = np.empty(len(keys), dtype=object)
    text[:] = keys
    return text
