"""Second moments of pairs of numeric columns: how often both are there, their means then, and their cross products.

An opt-in measure (``of=[..., CoMoments()]``). *Pairwise complete*: a pair's figures are over the rows in which both values
are there and finite, so one column full of holes does not take the rows from the others; where nothing is missing it is the
usual covariance. Products are of values about the mean of their block, and blocks, pieces, days and machines join by the
pairwise update of Chan, Golub and LeVeque (1983; Pebay 2008 for co-moments), so that a large offset does not cancel.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.cubes.grouping import Groups
from workbench.errors import WorkbenchError

if TYPE_CHECKING:
    from workbench.cubes.axes import Axis
    from workbench.cubes.counting import Column
    from workbench.cubes.partial import Partial

N, MEAN, CROSS = range(3)
ROWS = 65_536  # rows that are held as floats at once
NAMES = ("co_n", "co_mean", "co_cross")
DIMS = ("co_row", "co_column")


def none(groups: int, size: int) -> np.ndarray:
    """No rows seen: float64 of shape (3, groups, size, size): n, the mean of the row's column, cross products."""
    return np.zeros((3, groups, size, size))


def join(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Sum of two arrays of co-moments, group by group."""
    n = a[N] + b[N]
    with np.errstate(over="ignore", invalid="ignore"):
        share = np.divide(b[N], n, out=np.zeros_like(n), where=n > 0)
        both = (a[N] > 0) & (b[N] > 0)
        delta = np.where(both, b[MEAN] - a[MEAN], 0.0)
        mean = np.where(a[N] > 0, a[MEAN] + delta * share, b[MEAN])
        cross = a[CROSS] + b[CROSS] + delta * np.swapaxes(delta, -1, -2) * (a[N] * share)
    return np.stack([n, mean, cross])


def of_rows(x: np.ndarray) -> np.ndarray:
    """The co-moments of some rows (rows, columns); NaN and infinite values are not there. Shape (3, columns, columns).

    >>> of_rows(np.array([[1.0, 2.0], [3.0, 6.0]]))[CROSS].tolist()
    [[2.0, 4.0], [4.0, 8.0]]
    """
    there = np.isfinite(x)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        if there.all():
            pivot = x.mean(0) if len(x) else np.zeros(x.shape[1])
            z = x - pivot
            s, q = np.broadcast_to(z.sum(0)[:, None], (x.shape[1],) * 2), z.T @ z
            n = np.full(q.shape, float(len(x)))
        else:
            mask = there.astype(float)
            x = np.where(there, x, 0.0)
            pivot = x.sum(0) / np.maximum(mask.sum(0), 1)
            z = np.where(there, x - pivot, 0.0)
            n, s, q = mask.T @ mask, z.T @ mask, z.T @ z
        per = np.divide(s, n, out=np.zeros_like(n), where=n > 0)
        mean = np.where(n > 0, pivot[:, None] + per, 0.0)
        cross = q - per * s.T
    return np.stack([n, mean, (cross + cross.T) / 2])


class Counter:
    """Co-moments of batches of rows, by the labels of the axes."""

    def __init__(self, columns: Sequence[Column], axes: Sequence[Axis]) -> None:
        self.names = [c.name for c in columns if c.asked.co]
        self.axes = tuple(axes)
        self.groups = Groups(len(self.axes))
        self.sums = none(1, len(self.names))
        self.rows = 0

    def add(self, rows: Any) -> None:
        """Count a batch."""
        from workbench.cubes.columns import floats_of

        if not rows.count:
            return
        self.rows += rows.count
        own, group = np.zeros(1, np.int64), np.zeros(rows.count, np.int64)
        if self.axes:
            group, own = self.groups.of([a.encode(rows.column(a.column)) for a in self.axes])
            more = len(self.groups) - self.sums.shape[1]
            if more > 0:
                room = none(max(more, self.sums.shape[1] // 2), len(self.names))
                self.sums = np.concatenate([self.sums, room], axis=1)
        # short integers are sorted by counting
        order = None if len(own) == 1 else np.argsort(group.astype(np.min_scalar_type(len(own))), kind="stable")
        values = [floats_of(rows.column(name)) for name in self.names]
        found = none(len(own), len(self.names))
        for start in range(0, rows.count, ROWS):
            at = slice(start, start + ROWS) if order is None else order[start : start + ROWS]
            x = np.column_stack([v[at] for v in values])
            if order is None:
                found[:, 0] = join(found[:, :1], of_rows(x)[:, None])[:, 0]
                continue
            mine = group[at]
            cuts = np.flatnonzero(np.diff(mine, prepend=-1))
            parts = np.stack([of_rows(part) for part in np.split(x, cuts[1:])], axis=1)
            found[:, mine[cuts]] = join(found[:, mine[cuts]], parts)
        self.sums[:, own] = join(self.sums[:, own], found)

    def table(self, part: Partial) -> np.ndarray:
        """What was counted; a partial of the same batches has its groups in the same order."""
        if self.rows != int(part.count.sum()):
            raise RuntimeError(f"co-moments saw {self.rows} rows of {int(part.count.sum())}")
        return self.sums[:, : part.groups]


class _Watched:
    """A table whose batches are shown to a counter on their way."""

    def __init__(self, table: Any, counter: Counter) -> None:
        self.table, self.counter = table, counter

    def batches(self, piece: Any) -> Iterator[Any]:
        for rows in self.table.batches(piece):
            self.counter.add(rows)
            yield rows


def count_pieces(
    table: Any,
    pieces: Iterable[Any],
    columns: tuple[Column, ...],
    axes: tuple[Axis, ...],
    told: Callable[[Any, int], None] | None = None,
) -> Partial:
    """``counting.count_pieces`` with the co-moments of the columns that ask for them, in the same pass."""
    from dask import config

    from workbench.cubes.counting import count_pieces as plain

    if config.get("dataframe.backend", "pandas") == "cudf":
        raise WorkbenchError(
            "CoMoments() are counted on the CPU: count with cluster='threads', or without CoMoments()."
        )
    counter = Counter(columns, axes)
    part = plain(_Watched(table, counter), pieces, columns, axes, told)
    part.cross = counter.table(part)
    return part


def counted(columns: Sequence[dict[str, Any]]) -> list[int]:
    """Which of a cube's columns (``labelled.columns_of``) have co-moments."""
    return [i for i, c in enumerate(columns) if c["asked"].get("co")]


def taken(cross: np.ndarray | None, columns: Sequence[dict[str, Any]], at: Sequence[int]) -> np.ndarray | None:
    """Co-moments of the columns ``at`` of a cube, in that order."""
    have = counted(columns)
    if cross is None or not have:
        return cross
    kept = np.array([have.index(i) for i in at if i in have], np.int64)
    return cross[:, :, kept[:, None], kept[None, :]]


def merged(cross: np.ndarray | None, back: np.ndarray, size: int) -> np.ndarray | None:
    """Co-moments of groups that become alike (``back``: each one's new place), joined in pairs."""
    if cross is None:
        return None
    order = np.argsort(back, kind="stable")
    cross, back = cross[:, order], back[order]
    while len(back) > len(np.unique(back)):
        start = np.searchsorted(back, back)
        place = np.arange(len(back)) - start
        first = np.flatnonzero(place % 2 == 0)
        second = np.minimum(first + 1, len(back) - 1)
        pair = (second > first) & (back[second] == back[first])
        out = cross[:, first]
        out[:, pair] = join(cross[:, first[pair]], cross[:, second[pair]])
        cross, back = out, back[first]
    full = none(size, cross.shape[-1])
    full[:, back] = cross
    return full
