"""Two shares of rows, such as those that are missing: how far apart sampling alone puts them, and whether it does here."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from workbench.analyses.distances import HALF_NORMAL, Floats


def share_p(part_a: npt.ArrayLike, rows_a: npt.ArrayLike, part_b: npt.ArrayLike, rows_b: npt.ArrayLike) -> Floats:
    """Two-sided p value of two shares being the same: chi-square on 2 x 2 with Yates's correction; twice the smaller tail
    of the hypergeometric (Fisher's exact test) where fewer than ten rows are expected in a cell.

    >>> share_p(30, 100, 60, 100).round(6).item(), share_p(0, 1000, 2, 50).round(4).item()
    (3.8e-05, 0.0044)
    """
    from scipy.special import chdtrc

    k, n, j, m = np.broadcast_arrays(*(np.asarray(one, dtype="float64") for one in (part_a, rows_a, part_b, rows_b)))
    both, total = k + j, n + m
    gap = np.maximum(np.abs(k * m - j * n) - total / 2, 0.0)
    below = n * m * both * (total - both)
    with np.errstate(invalid="ignore", divide="ignore"):
        value = np.where(below > 0, gap**2 * total / np.where(below > 0, below, 1), 0.0)
        few = (below > 0) & (np.minimum(both, total - both) * np.minimum(n, m) / total < 10)
    p = np.atleast_1d(chdtrc(1, value)).copy()
    at = np.flatnonzero(few)
    for start in range(0, len(at), 20_000):
        some = at[start : start + 20_000]
        p.flat[some] = _exact_share_p(k.flat[some], n.flat[some], j.flat[some], m.flat[some], p.flat[some])
    return p.reshape(few.shape)


TERMS = 64  # of the hypergeometric; with fewer than ten rows expected nothing is left beyond them


def _exact_share_p(k: Floats, n: Floats, j: Floats, m: Floats, otherwise: Floats) -> Floats:
    """Twice the smaller tail of the hypergeometric of the smaller side's rarer half; `otherwise` beyond its terms."""
    from scipy.special import gammaln

    rare = k + j <= (n + m) / 2
    k, j = np.where(rare, k, n - k), np.where(rare, j, m - j)
    small = m <= n
    x0, size, other = np.where(small, j, k), np.where(small, m, n), np.where(small, n, m)
    both = k + j
    x = np.arange(TERMS)
    a, b, c = size[:, None], other[:, None], both[:, None]
    with np.errstate(invalid="ignore"):
        log = gammaln(a + 1) - gammaln(x + 1) - gammaln(a - x + 1) + gammaln(b + 1) - gammaln(c - x + 1)
        log = log - gammaln(b - c + x + 1) - (gammaln(a + b + 1) - gammaln(c + 1) - gammaln(a + b - c + 1))
        chance = np.where((x <= a) & (x <= c) & (c - x <= b), np.exp(log), 0.0)
    up, down = (chance * (x >= x0[:, None])).sum(1), (chance * (x <= x0[:, None])).sum(1)
    return np.where(x0 < TERMS * 2 / 3, np.minimum(1, 2 * np.minimum(up, down)), otherwise)


def share_noise(part_a: npt.ArrayLike, rows_a: npt.ArrayLike, part_b: npt.ArrayLike, rows_b: npt.ArrayLike) -> Floats:
    """Expected |difference of two shares| when nothing moved: sqrt(2/pi) sqrt(p(1-p)(1/n + 1/m)), p pooled; NaN where a side
    is empty."""
    k, n = np.asarray(part_a, dtype="float64"), np.asarray(rows_a, dtype="float64")
    l, m = np.asarray(part_b, dtype="float64"), np.asarray(rows_b, dtype="float64")  # noqa: E741
    with np.errstate(invalid="ignore", divide="ignore"):
        p = (k + l) / (n + m)
        return np.where((n > 0) & (m > 0), HALF_NORMAL * np.sqrt(p * (1 - p) * (1 / n + 1 / m)), np.nan)
