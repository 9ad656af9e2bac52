"""Histograms of other makers over common cells: their edges united, their counts split evenly inside a bucket.

Cubes need none of this: their bins nest, and `distances.together` joins what overlaps without ever splitting a count.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from workbench.analyses.distances import Floats


def split(
    one: Sequence[Sequence[float]], other: Sequence[Sequence[float]]
) -> tuple[Floats, Floats, npt.NDArray[np.float64]]:
    """Counts of two histograms over the union of their edges, and the middle of every cell.

    one, other: buckets of [low, high, count], ascending; a bucket with low == high is a point mass and keeps a cell of
    its own. Values are taken to lie evenly inside a bucket. The counts of each side add up to what they were.

    >>> [side.tolist() for side in split([[1, 3, 4]], [[2, 3, 1], [3, 3, 5]])]
    [[2.0, 2.0, 0.0], [0.0, 1.0, 5.0], [1.5, 2.5, 3.0]]
    """
    tables = [np.asarray(side, dtype="float64").reshape(-1, 3) for side in (one, other)]
    edges = np.unique(np.concatenate([table[:, :2].ravel() for table in tables]))
    points = np.unique(np.concatenate([table[table[:, 0] == table[:, 1], 0] for table in tables]))
    low, high = np.concatenate([edges[:-1], points]), np.concatenate([edges[1:], points])
    order = np.lexsort((high, low))
    low, high = low[order], high[order]
    counts = []
    for table in tables:
        wide = table[:, 1] > table[:, 0]
        length = np.where(wide, table[:, 1] - table[:, 0], 1.0)
        inside = (low[:, None] >= table[:, 0]) & (high[:, None] <= table[:, 1])
        part = np.where(wide, (high - low)[:, None] / length, (high == low)[:, None]) * inside
        counts.append(part @ table[:, 2])
    return counts[0], counts[1], (low + high) / 2
