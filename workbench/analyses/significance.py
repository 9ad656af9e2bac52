"""Two-sample tests of histograms: statistic and p value from the counts of cells, never from rows.

As in `distances`, `reference` and `current` are counts over the same cells (last axis, ascending for ordered values),
leading axes broadcast. A p value is the chance of a statistic at least as large when both are samples of one
distribution; 1 means "as alike as it gets". Tied values share a cell, which is what makes these forms exact with ties.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from workbench.analyses.distances import counts_of
from workbench.errors import WorkbenchError

Floats = npt.NDArray[np.float64]
CRITICAL = (  # Scholz and Stephens 1987, table 1: level, b0, b1, b2
    (0.25, 0.675, -0.245, -0.105), (0.10, 1.281, 0.25, -0.305), (0.05, 1.645, 0.678, -0.362),
    (0.025, 1.96, 1.149, -0.391), (0.01, 2.326, 1.822, -0.396), (0.005, 2.573, 2.364, -0.345),
    (0.001, 3.085, 3.615, -0.154),
)  # fmt: skip


class Outcome(NamedTuple):
    """A statistic and its p value, each with the leading axes of what was tested."""

    statistic: Floats
    p: Floats


def _pair(reference: npt.ArrayLike, current: npt.ArrayLike) -> tuple[Floats, Floats]:
    a, b = np.broadcast_arrays(*counts_of(reference, current))
    return a, b


def _ranks(reference: npt.ArrayLike, current: npt.ArrayLike) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The values of both sides, written out as the numbers of their cells; WorkbenchError where they cannot be."""
    told = []
    for one in counts_of(reference, current):
        whole = one.astype("int64")
        if one.ndim != 1 or not one.sum() or not (whole == one).all():
            raise WorkbenchError(
                "an exact test takes one pair of histograms of whole counts, each with a value or more"
            )
        told.append(np.repeat(np.arange(one.size), whole))
    return told[0], told[1]


def chi_square(reference: npt.ArrayLike, current: npt.ArrayLike, *, yates: bool = False) -> Outcome:
    """Pearson's chi-square of two samples (2 x k contingency): the sum of (O - E)^2 / E over both rows, and its p value.

    Range 0 (the same shares) upwards; k - 1 degrees of freedom, k cells filled on either side; p 1 with a single one. Cells:
    few, or the values of text; cells empty on both sides are left out, one that is empty on one side counts. Both sides are
    samples: the reference is not taken for the truth, which would raise false alarms wherever it is small. `yates`: with two
    cells |O - E| is made smaller by a half (to no less than 0), as scipy's chi2_contingency does. p trusts that five rows or
    more are expected in a cell: `distances.chi_square_p` joins those that are rarer. Pearson, Phil. Mag. 50, 1900.

    >>> [one.round(4).item() for one in chi_square([1, 2, 0, 5], [3, 4, 0, 2])]
    [2.9036, 0.2341]
    >>> chi_square([10, 20], [20, 10], yates=True).p.round(4).item()
    0.0201
    """
    from scipy.special import chdtrc

    a, b = _pair(reference, current)
    n, m = a.sum(-1, keepdims=True), b.sum(-1, keepdims=True)
    free = ((a + b) > 0).sum(-1) - 1
    with np.errstate(invalid="ignore", divide="ignore"):
        gap = np.abs(m * a - n * b) / (n + m)  # |O - E|, the same in both rows
        gap = np.where(yates & (free == 1)[..., None], np.maximum(gap - 0.5, 0.0), gap)
        terms = np.where(a + b > 0, gap**2 * (n + m) ** 2 / ((a + b) * n * m), 0.0)
    value = terms.sum(-1)
    return Outcome(value, np.where(free > 0, chdtrc(np.maximum(free, 1), value), 1.0))


def g_test(reference: npt.ArrayLike, current: npt.ArrayLike) -> Outcome:
    """The likelihood ratio test of two samples: G = 2 sum of O ln(O / E) over both rows; chi-square of k - 1 degrees.

    Range 0 (the same shares) upwards. Cells as for `chi_square`; empty ones add nothing. Woolf, Ann. Hum. Genet. 21, 1957.

    >>> [one.round(3).item() for one in g_test([10, 20], [20, 10])]
    [6.796, 0.009]
    """
    from scipy.special import chdtrc, rel_entr

    a, b = _pair(reference, current)
    n, m = a.sum(-1, keepdims=True), b.sum(-1, keepdims=True)
    both = (a + b) / (n + m)
    value = 2 * (rel_entr(a, both * n) + rel_entr(b, both * m)).sum(-1)
    free = (both > 0).sum(-1) - 1
    return Outcome(value, np.where(free > 0, chdtrc(np.maximum(free, 1), value), 1.0))


def cramer_v(reference: npt.ArrayLike, current: npt.ArrayLike, *, corrected: bool = True) -> Floats:
    """Cramer's V between "which side" and "which value": sqrt(chi-square / N) for two rows.

    Range 0 (the same shares) to 1 (nothing in common). Cells: values of text, or few of numbers; those empty on both sides
    are left out. `corrected` takes off its bias, so that two samples of one distribution give about 0 (Bergsma, J. Korean
    Stat. Soc. 42, 2013); without it, it is scipy's association(method="cramer"). It depends on how the rows are split between
    the sides: the same shares twice as often on one of them give another V. Cramer, Mathematical Methods of Statistics, 1946.

    >>> cramer_v([1, 0], [0, 1], corrected=False).item(), cramer_v([30, 30], [60, 60]).item()
    (1.0, 0.0)
    """
    a, b = _pair(reference, current)
    total, cells = (a + b).sum(-1), ((a + b) > 0).sum(-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        phi = chi_square(a, b).statistic / total
        if not corrected:
            return np.where(cells > 1, np.sqrt(np.clip(phi, 0, 1)), 0.0)
        phi = np.maximum(phi - (cells - 1) / (total - 1), 0)
        rows, columns = 2 - 1 / (total - 1), cells - (cells - 1) ** 2 / (total - 1)
        value = np.sqrt(phi / np.minimum(rows - 1, columns - 1))
    return np.where((cells > 1) & (total > 2), np.clip(np.nan_to_num(value), 0, 1), 0.0)


def ks_exact(reference: npt.ArrayLike, current: npt.ArrayLike, alternative: str = "two-sided") -> Outcome:
    """Kolmogorov-Smirnov distance and scipy's p value of two histograms (one pair): exact up to 10,000 values a side.

    Ties make the p value careful (too large, never too small). For many windows at once: `distances.ks`, `ks_p`.

    >>> ks_exact([3, 0, 1], [0, 4, 0]).p.round(3).item()
    0.229
    """
    from scipy.stats import ks_2samp

    found = ks_2samp(*_ranks(reference, current), alternative=alternative)
    return Outcome(np.asarray(found.statistic), np.asarray(found.pvalue))


def cramer_von_mises(reference: npt.ArrayLike, current: npt.ArrayLike) -> Outcome:
    """Cramer and von Mises' two-sample test: T = n m / (n + m)^2 times the sum of (F - G)^2 over all values; p of its limit law.

    Range 0 upwards; 0: the same shares. Samples of one distribution give `cramer_von_mises_noise`, 1/6 without ties, and what
    moved grows with the sample sizes. Cells: ordered, all that there are. Empty cells change nothing. Without ties this is
    scipy's cramervonmises_2samp (method="asymptotic"); with ties scipy's ranks make T large though nothing moved, so here T
    stays the sum and its mean and variance are those of the tied values. Few values: `cramer_von_mises_exact`.
    Anderson, Ann. Math. Stat. 33, 1962; the limit law after Csorgo and Faraway, J. R. Stat. Soc. B 58, 1996.

    >>> [one.round(3).item() for one in cramer_von_mises([1, 1, 1, 0, 0, 0], [0, 0, 0, 1, 1, 1])]
    [0.528, 0.031]
    """
    a, b = _pair(reference, current)
    n, m = a.sum(-1), b.sum(-1)
    total, tied = n + m, a + b
    with np.errstate(invalid="ignore", divide="ignore"):
        apart = np.cumsum(a, -1) / n[..., None] - np.cumsum(b, -1) / m[..., None]
        t = n * m / total**2 * (tied * apart**2).sum(-1)
        weight, level = tied / total[..., None], np.cumsum(tied, -1) / total[..., None]
        # variance of the sum: twice the squared covariances of F - G at all pairs of values, over those without ties
        low, high = weight * level**2, weight * (1 - level) ** 2
        pairs = 2 * (low * (high.sum(-1, keepdims=True) - np.cumsum(high, -1))).sum(-1) + (low * high).sum(-1)
        untied = (total**2 - 1) * (2 * total**2 + 7) / (180 * total**4)
        spread = (total + 1) * (4 * n * m * total - 3 * (n**2 + m**2) - 2 * n * m) / (45 * total**2 * 4 * n * m)
        z = 1 / 6 + (t - cramer_von_mises_noise(a, b)) / np.sqrt(45 * spread * pairs / untied)
    p = np.where((tied > 0).sum(-1) > 1, np.clip(1 - _mises(z), 0, 1), 1.0)
    return Outcome(t, np.where((n > 0) & (m > 0), p, np.nan))


def cramer_von_mises_noise(reference: npt.ArrayLike, current: npt.ArrayLike) -> Floats:
    """Expected T of `cramer_von_mises` when nothing moved: the sum of H (1 - H) over all values, over n + m - 1, with H the
    cumulative share of both sides; (1 + 1 / (n + m)) / 6 without ties, 0 when all values are equal.

    >>> cramer_von_mises_noise([1, 1, 1, 0], [0, 0, 0, 1]).round(4).item()
    0.2083
    """
    a, b = _pair(reference, current)
    tied = a + b
    total = tied.sum(-1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        level = np.cumsum(tied, -1) / total
        return (tied * level * (1 - level)).sum(-1) / (total[..., 0] - 1)


def cramer_von_mises_exact(reference: npt.ArrayLike, current: npt.ArrayLike) -> Outcome:
    """`cramer_von_mises` of one pair of histograms of at most a few dozen values a side, with scipy's exact p value.

    Exact where no values are tied. Xiao, Gordon and Yakovlev, J. Stat. Softw. 17, 2007.

    >>> [one.round(3).item() for one in cramer_von_mises_exact([1, 1, 1, 0, 0, 0], [0, 0, 0, 1, 1, 1])]
    [0.528, 0.1]
    """
    from scipy.stats import cramervonmises_2samp

    ranks = _ranks(reference, current)
    if min(map(len, ranks)) < 2:
        raise WorkbenchError("the exact test of Cramer and von Mises needs two values a side or more")
    if sum(map(len, ranks)) > 200:
        raise WorkbenchError(
            f"an exact p value of {' and '.join(str(len(one)) for one in ranks)} values takes minutes; use cramer_von_mises"
        )
    found = cramervonmises_2samp(*ranks, method="exact")
    return Outcome(np.asarray(found.statistic), np.asarray(found.pvalue))


def _mises(x: Floats) -> Floats:
    """The limit distribution of Cramer and von Mises' statistic."""
    from scipy.special import gammaln, kve

    at = np.maximum(np.asarray(x, dtype="float64"), 1e-6)
    k = np.arange(40)
    y = (4 * k + 1) ** 2 / (16 * at[..., None])
    weight = np.exp(gammaln(k + 0.5) - gammaln(k + 1) - 2 * y) * np.sqrt(4 * k + 1)
    total = (weight * kve(0.25, y)).sum(-1)
    return np.where(np.asarray(x) > 0, np.clip(total / (np.pi**1.5 * np.sqrt(at)), 0, 1), 0.0)


def anderson_darling(samples: Sequence[npt.ArrayLike], *, midrank: bool = True) -> Outcome:
    """Anderson and Darling's k-sample test: A^2, less its expectation k - 1, over its standard deviation; and its p value.

    samples: counts of each sample over the same cells, ascending, all that there are; those empty in every sample are left
    out. Range about -1.3 upwards; 0: as far apart as samples of one distribution are on the average. More weight in the tails
    than KS. midrank: tied values share their mean rank (A_akN^2), or (False) count as all of them below (A_kN^2, the discrete
    form); without ties the two differ a little. p (too small with many ties) is interpolated in Scholz and Stephens' table
    and kept between .001 and .25, outside of which the table says nothing. Scholz and Stephens, J. Am. Stat. Assoc. 82,
    1987, equations 6 and 7.

    >>> anderson_darling([[1, 1, 1, 0, 0, 0], [0, 0, 0, 1, 1, 1]]).statistic.round(2).item()
    2.63
    """
    table = np.stack([counts_of(samples[0], one)[1] for one in samples])
    table = table[:, table.sum(0) > 0]
    sizes, tied = table.sum(1), table.sum(0)
    k, total = len(table), tied.sum()
    if table.shape[1] < 2 or (sizes == 0).any():
        return Outcome(np.asarray(0.0), np.asarray(1.0))
    below, ours = np.cumsum(tied), np.cumsum(table, 1)
    if midrank:
        below, ours = below - tied / 2, ours - table / 2
        under = (below * (total - below) - total * tied / 4) * total / (total - 1)
    else:
        tied, below, ours = tied[:-1], below[:-1], ours[:, :-1]
        under = below * (total - below)
    terms = tied / total * (total * ours - sizes[:, None] * below) ** 2 / under
    value = float((terms.sum(1) / sizes).sum())
    standard = (value - (k - 1)) / np.sqrt(_scholz((1 / sizes).sum(), total, k))
    return Outcome(np.asarray(standard), _scholz_p(standard, k))


def anderson_darling_two(reference: npt.ArrayLike, current: npt.ArrayLike) -> Outcome:
    """`anderson_darling` of two samples, for all leading axes at once; 0 and p 1 where a side is empty or all values are equal.

    The statistic is that of the paper, whose variance knows no ties; with many of them it varies more, so p is told of the
    statistic over the root of the ratio of both variances (1 without ties, where p is the paper's).

    >>> anderson_darling_two([1, 1, 1, 0, 0, 0], [0, 0, 0, 1, 1, 1]).statistic.round(2).item()
    2.63
    """
    a, b = _pair(reference, current)
    n, m, tied = a.sum(-1), b.sum(-1), a + b
    total = n + m
    below, ours = np.cumsum(tied, -1) - tied / 2, np.cumsum(a, -1) - a / 2
    whole, first = total[..., None], n[..., None]
    with np.errstate(invalid="ignore", divide="ignore"):
        under = below * (whole - below) - whole * tied / 4
        terms = np.where(under > 0, tied / whole * (whole * ours - first * below) ** 2 / under, 0.0)
        inverse = 1 / n + 1 / m
        value = terms.sum(-1) * inverse * (total - 1) / total
        standard = (value - 1) / np.sqrt(_scholz(inverse, total, 2))
        weight, level, spread = tied / whole, below / whole, under / whole**2
        low, high = (np.where(under > 0, weight * one**2 / spread, 0.0) for one in (level, 1 - level))
        pairs = 2 * (low * (high.sum(-1, keepdims=True) - np.cumsum(high, -1))).sum(-1) + (weight**2).sum(-1)
        untied = (np.pi**2 - 9) / 3 * (1 + 3.45 / total + 5 * np.log(total) / total**2)
        wider = np.where(tied.max(-1, initial=0) > 1, np.sqrt(np.maximum(pairs / untied, 1)), 1.0)
    known = (n > 0) & (m > 0) & ((tied > 0).sum(-1) > 1) & (total > 3)
    p = _scholz_p(np.where(known, standard / wider, 0.0), 2)
    return Outcome(np.where(known, standard, 0.0), np.where(known, p, 1.0))


@cache
def _critical(k: int) -> tuple[Any, Any]:
    """The table's critical values of k samples, and the curve of the logarithm of their levels."""
    levels, b0, b1, b2 = np.array(CRITICAL).T
    critical = b0 + b1 / np.sqrt(k - 1) + b2 / (k - 1)
    return critical, np.polyfit(critical, np.log(levels), 2)


def _scholz_p(standard: Any, k: int) -> Any:
    """p of the standardised statistic, interpolated in Scholz and Stephens' table."""
    critical, fit = _critical(k)
    inside = np.exp(np.polyval(fit, np.clip(standard, critical[0], critical[-1])))
    return np.where(standard < critical[0], 0.25, np.where(standard > critical[-1], 0.001, inside))


def _scholz(inverse: Any, total: Any, k: int) -> Any:
    """The variance of the k-sample statistic when nothing moved (Scholz and Stephens 1987, equation 4), inverse being the sum
    of 1 / n. Their double sum g is closed here: with H the harmonic numbers, sum H_j / (N - j) is H_N^2 - H_N^(2)."""
    from scipy.special import digamma, polygamma

    h = digamma(total) + np.euler_gamma  # of N - 1
    g = np.pi**2 / 6 - polygamma(1, total + 1) - (2 * h + 1 / total) / total
    a = (4 * g - 6) * (k - 1) + (10 - 6 * g) * inverse
    b = (2 * g - 4) * k**2 + 8 * h * k + (2 * g - 14 * h - 4) * inverse - 8 * h + 4 * g - 6
    c = (6 * h + 2 * g - 2) * k**2 + (4 * h - 4 * g + 6) * k + (2 * h - 6) * inverse + 4 * h
    d = (2 * h + 6) * k**2 - 4 * h * k
    return (a * total**3 + b * total**2 + c * total + d) / ((total - 1) * (total - 2) * (total - 3))


def mann_whitney(reference: npt.ArrayLike, current: npt.ArrayLike, *, alternative: str = "two-sided") -> Outcome:
    """Mann and Whitney's U of the reference (pairs in which it is larger, ties half) and its normal p value.

    U runs from 0 to n m, n m / 2 when neither side tends to be larger. With tie and continuity correction.
    alternative: "two-sided", or "less" / "greater" (the reference tends to be smaller / larger): a one-sided test is
    blind to a shift the other way. Mann and Whitney, Ann. Math. Stat. 18, 1947.

    >>> mann_whitney([1, 1, 0], [0, 1, 1]).statistic.item()
    0.5
    """
    from scipy.special import ndtr

    a, b = _pair(reference, current)
    n, m = a.sum(-1), b.sum(-1)
    total, tied = n + m, a + b
    u = (a * (np.cumsum(b, -1) - b / 2)).sum(-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        spread = np.sqrt(n * m / 12 * (total + 1 - (tied**3 - tied).sum(-1) / (total * (total - 1))))
        up, down = (u - n * m / 2 - 0.5) / spread, (u - n * m / 2 + 0.5) / spread
    greater, less = ndtr(-up), ndtr(down)
    p = {"greater": greater, "less": less, "two-sided": np.minimum(1, 2 * np.minimum(greater, less))}[alternative]
    return Outcome(u, np.where(spread > 0, p, 1.0))


def fisher(reference: Sequence[float], current: Sequence[float], *, alternative: str = "two-sided") -> Outcome:
    """Fisher's exact test of two cells (one pair): the odds ratio (1: the same shares) and p. Fisher 1922.

    >>> fisher([6, 0], [0, 6]).p.round(4).item()
    0.0022
    """
    from scipy.stats import fisher_exact

    found = fisher_exact(np.asarray([reference, current]), alternative=alternative)
    return Outcome(np.asarray(found.statistic), np.asarray(found.pvalue))


def t_test(
    reference: npt.ArrayLike, current: npt.ArrayLike, at: npt.ArrayLike, *, equal_variance: bool = False
) -> Outcome:
    """Welch's (or, with `equal_variance`, Student's) t of the difference of means, and its two-sided p value.

    at: the values of the cells. 0: the same mean. Student 1908; Welch, Biometrika 34, 1947. NaN with fewer than two
    values a side.

    >>> t_test([1, 1, 0], [0, 1, 1], [0.0, 1.0, 2.0], equal_variance=True).statistic.round(3).item()
    -1.414
    """
    from scipy.stats import ttest_ind_from_stats

    told = []
    for one in _pair(reference, current):
        n = one.sum(-1)
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = (one * np.asarray(at)).sum(-1) / n
            square = (one * (np.asarray(at) - mean[..., None]) ** 2).sum(-1) / (n - 1)
        told += [mean, np.sqrt(square), n]
    with np.errstate(invalid="ignore", divide="ignore"):
        found = ttest_ind_from_stats(*told, equal_var=equal_variance)
    return Outcome(np.asarray(found.statistic), np.asarray(found.pvalue))


def squares(n: npt.ArrayLike, mean: npt.ArrayLike, m2: npt.ArrayLike) -> tuple[Floats, Floats, Floats]:
    """Sums of squares between and within groups, and the p value of F, from what a cube keeps of each group.

    n, mean, m2 (sum of squares about the mean): one a group on the last axis; groups without values are left out.
    Between is 0 when all means are the same. Fisher 1925; nothing is squared before its mean is taken off, which
    keeps the digits of values that share their leading ones.

    >>> between, within, p = squares([2, 2], [1.0, 3.0], [2.0, 2.0])
    >>> between.item(), within.item(), p.round(3).item()
    (4.0, 4.0, 0.293)
    """
    from scipy.special import fdtrc

    size, middle, square = (np.asarray(one, dtype="float64") for one in (n, mean, m2))
    middle, square = np.where(size > 0, middle, 0.0), np.where(size > 0, square, 0.0)
    total, anchor = size.sum(-1), middle[..., :1]
    with np.errstate(invalid="ignore", divide="ignore"):
        away = np.where(size > 0, middle - anchor, 0.0)
        mean_away = (size * away).sum(-1, keepdims=True) / total[..., None]
        between, within = (size * (away - mean_away) ** 2).sum(-1), square.sum(-1)
        groups = (size > 0).sum(-1)
        f = (between / (groups - 1)) / (within / (total - groups))
    return between, within, np.asarray(fdtrc(np.maximum(groups - 1, 1), np.maximum(total - groups, 1), f))
