"""How many distinct values HyperLogLog registers say there were."""

from __future__ import annotations

import numpy as np


def estimate(group: np.ndarray, rank: np.ndarray, groups: int, p: int) -> np.ndarray:
    """Estimated distinct values of each group from its raised registers: Ertl (2017), arXiv 1702.01284, algorithm 6."""
    m, q = float(1 << p), 64 - p
    counts = np.bincount(group * (q + 2) + rank, minlength=groups * (q + 2)).reshape(groups, q + 2).astype(float)
    counts[:, 0] = m - counts.sum(axis=1)
    z = m * _tau(1 - counts[:, q + 1] / m)
    for k in range(q, 0, -1):
        z = 0.5 * (z + counts[:, k])
    z += m * _sigma(counts[:, 0] / m)
    return m * m / (2 * np.log(2) * z)  # no register raised: z is infinite, the estimate 0


def _sigma(x: np.ndarray) -> np.ndarray:
    """x + sum of 2**(k - 1) * x**(2**k): what empty registers say."""
    total, x, y = np.where(x == 1, np.inf, x), np.where(x == 1, 0.0, x), 1.0
    while True:
        x = x * x
        more = total + x * y
        if np.array_equal(more, total):
            return total
        total, y = more, y + y


def _tau(x: np.ndarray) -> np.ndarray:
    """(1 - x - sum of (1 - x**(2**-k))**2 * 2**-k) / 3: what registers say that cannot rise any more."""
    ends = (x == 0) | (x == 1)
    x = np.where(ends, 1.0, x)
    total, y = 1 - x, 1.0
    while True:
        x, y = np.sqrt(x), y / 2
        less = total - (1 - x) ** 2 * y
        if np.array_equal(less, total):
            return total / 3
        total = less
