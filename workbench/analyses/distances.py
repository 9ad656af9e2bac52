"""Distances between two histograms, each with what sampling alone would give.

Every function takes counts (or weights) of the reference and of the current rows over the same cells (last axis; leading
axes of `current` broadcast, so that many windows are compared at once); p and q are their shares, F and G the running
sums of these. Zero always means "the same shares", NaN that a side is empty. Values, not rows, are compared: missing and
infinite values are told by their own shares. Counts that do not fit each other, or are no counts, raise WorkbenchError.

Each docstring says the formula, the range, which cells it wants (a drift run takes all bins that both sides share for KS,
Wasserstein and the tests of ranks, and for the others the `equal_parts` of the reference; of text always its values), and
what an empty cell does. The noise of a distance is its expected size when nothing has moved, from the two numbers of values
alone; all are large-sample results, stated beside each formula.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from workbench.errors import WorkbenchError

Floats = npt.NDArray[np.float64]
HALF_NORMAL = float(np.sqrt(2 / np.pi))  # E|Z| of a standard normal
KOLMOGOROV_MEAN = float(np.sqrt(np.pi / 2) * np.log(2))  # mean of Kolmogorov's distribution, .8687
PARTS = 10  # cells of about equal reference share that PSI, Jensen-Shannon and total variation see


def counts_of(reference: npt.ArrayLike, current: npt.ArrayLike) -> tuple[Floats, Floats]:
    """Both sides as float64 arrays of counts over the same cells.

    Raises WorkbenchError where they have other numbers of cells, shapes that do not broadcast, or hold what is no count.

    >>> [one.tolist() for one in counts_of([1, 2], [[3, 4]])]
    [[1.0, 2.0], [[3.0, 4.0]]]
    """
    try:
        a, b = (np.asarray(one, dtype="float64") for one in (reference, current))
    except (TypeError, ValueError):
        raise WorkbenchError(
            "counts are numbers, one a cell, with the cells on the last axis; pass arrays or lists"
        ) from None
    if not a.ndim or not b.ndim or a.shape[-1] != b.shape[-1]:
        raise WorkbenchError(
            f"the reference has {a.shape[-1] if a.ndim else 'no'} cells and the current side "
            f"{b.shape[-1] if b.ndim else 'none'}; count both over the same cells, with zeros where a side has none"
        )
    for name, one in (("reference", a), ("current side", b)):
        if one.size and not (one.min() >= 0 and one.max() < np.inf):
            raise WorkbenchError(
                f"the counts of the {name} hold a number below 0, NaN or infinity; counts are 0 or more"
            )
    try:
        np.broadcast_shapes(a.shape, b.shape)
    except ValueError:
        raise WorkbenchError(
            f"counts of shapes {a.shape} and {b.shape} do not go together; give both the same axes"
        ) from None
    return a, b


def _pair(reference: npt.ArrayLike, current: npt.ArrayLike) -> tuple[Floats, Floats, Floats, Floats]:
    a, b = counts_of(reference, current)
    return a, b, a.sum(-1, keepdims=True), b.sum(-1, keepdims=True)


def _gaps(at: npt.ArrayLike, cells: int) -> Floats:
    """The distances between neighbouring cells; WorkbenchError where `at` is not one ascending value a cell."""
    x = np.asarray(at, dtype="float64")
    with np.errstate(invalid="ignore", over="ignore"):
        gaps = np.diff(x)
    if x.shape != (cells,) or not (gaps >= 0).all():
        raise WorkbenchError(
            f"at= holds the values of the {cells} cells in ascending order; this is an array of {x.shape}"
        )
    return gaps


def _shares(reference: npt.ArrayLike, current: npt.ArrayLike) -> tuple[Floats, Floats]:
    a, b, n, m = _pair(reference, current)
    with np.errstate(invalid="ignore", divide="ignore"):
        return a / n, b / m


def _per(reference: npt.ArrayLike, current: npt.ArrayLike) -> Floats:
    """1/n + 1/m: the variance that two samples of these sizes add; NaN where a side is empty."""
    _, _, n, m = _pair(reference, current)
    with np.errstate(divide="ignore"):
        return np.where((n > 0) & (m > 0), 1 / n + 1 / m, np.nan)[..., 0]


def _pooled(reference: npt.ArrayLike, current: npt.ArrayLike) -> Floats:
    a, b, n, m = _pair(reference, current)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (a + b) / (n + m)


def ks(reference: npt.ArrayLike, current: npt.ArrayLike) -> Floats:
    """Kolmogorov and Smirnov's distance: max |F - G|, the largest difference of the two cumulative shares.

    Range 0 to 1, a share of rows. 0: the same shares. Cells: ordered, all that there are; exact when every cell is one value,
    otherwise low by at most the heavier share of the heaviest wide cell. Empty cells change nothing. Deequ's distance of two
    KLL sketches is the same. Smirnov, Ann. Math. Stat. 19, 1948.

    >>> ks([1, 1, 1, 1, 0], [0, 1, 1, 1, 1]).item()
    0.25
    """
    p, q = _shares(reference, current)
    return np.abs(np.cumsum(p, -1) - np.cumsum(q, -1)).max(-1)


def ks_noise(reference: npt.ArrayLike, current: npt.ArrayLike) -> Floats:
    """Expected KS distance when nothing moved: .8687 sqrt(1/n + 1/m) (Kolmogorov 1933; an upper bound with ties)."""
    return KOLMOGOROV_MEAN * np.sqrt(_per(reference, current))


def ks_p(distance: npt.ArrayLike, reference: npt.ArrayLike, current: npt.ArrayLike) -> Floats:
    """Two-sided asymptotic p value of a KS distance: Q(D / sqrt(1/n + 1/m)); too large, never too small, with ties."""
    from scipy.special import kolmogorov

    return np.asarray(kolmogorov(np.asarray(distance) / np.sqrt(_per(reference, current))))


def wasserstein(reference: npt.ArrayLike, current: npt.ArrayLike, at: npt.ArrayLike) -> Floats:
    """Wasserstein-1 (earth mover's) distance: the integral of |F(x) - G(x)| dx.

    Range 0 upwards, in the column's unit; raw: divide by `deviation` of the reference to compare columns, or by the range of
    both sides for 0 to 1. 0: the same shares. Cells: ordered, with at, their ascending values; right to within half of a
    cell's width. Empty cells change nothing. Weights instead of counts: scipy's wasserstein_distance(u_weights=, v_weights=).
    Vallender, Theory Probab. Appl. 18, 1974.

    >>> wasserstein([1, 1, 0], [0, 1, 1], [0.0, 1.0, 2.0]).item()
    1.0
    """
    p, q = _shares(reference, current)
    gaps = _gaps(at, p.shape[-1])
    found = (np.abs(np.cumsum(p, -1) - np.cumsum(q, -1))[..., :-1] * gaps).sum(-1)
    return np.where(np.isnan(p[..., 0] + q[..., 0]), np.nan, found)  # a side is empty, also with a single cell


def wasserstein_noise(reference: npt.ArrayLike, current: npt.ArrayLike, at: npt.ArrayLike) -> Floats:
    """Expected Wasserstein-1 distance when nothing moved, in the column's unit.

    F - G at x is about normal with variance F(1-F)(1/n + 1/m), and E|Z| = sqrt(2/pi), so it is
    sqrt(2/pi) sqrt(1/n + 1/m) times the integral of sqrt(F(1-F)) (del Barrio, Gine and Matran, Ann. Probab. 27, 1999).
    """
    level = np.cumsum(_pooled(reference, current), -1)
    gaps, level = _gaps(at, level.shape[-1]), level[..., :-1]
    return (
        HALF_NORMAL
        * np.sqrt(_per(reference, current))
        * (np.sqrt(np.clip(level * (1 - level), 0, None)) * gaps).sum(-1)
    )


def psi(reference: npt.ArrayLike, current: npt.ArrayLike, *, smooth: float = 0.5, floor: float = 0.0) -> Floats:
    """Population stability index: the sum of (q - p) ln(q / p), natural logarithm.

    Range 0 upwards. 0: the same shares. Cells: few (here ten of equal reference share); more cells give larger values. Empty
    cells would make it infinite, and the rule decides the value: `smooth` rows (half a row, Jeffreys' choice) are added to
    every cell of both sides. Others' rules: smooth=0 and `floor`, the share that a side's empty cell is given without
    rescaling the others (Evidently and deepchecks .0001, frouros sys.float_info.min); smooth=0 alone is infinite where one
    side only is empty; cells empty on both sides add nothing. Lewis, An Introduction to Credit Scoring, 1992.

    >>> psi([50, 50], [50, 50]).item()
    0.0
    """
    a, b, n, m = _pair(reference, current)
    cells = a.shape[-1]
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        p, q = (a + smooth) / (n + smooth * cells), (b + smooth) / (m + smooth * cells)
        none = (p == 0) & (q == 0)
        p, q = (np.where(one == 0, floor, one) for one in (p, q))
        terms = (q - p) * (np.log(q) - np.log(p))
    return np.where(none, 0.0, terms).sum(-1)


def psi_noise(reference: npt.ArrayLike, current: npt.ArrayLike) -> Floats:
    """Expected PSI when nothing moved: (k - 1)(1/n + 1/m) for k filled cells (Yurdakul, W. Michigan Univ. 2018)."""
    return freedom(reference, current) * _per(reference, current)


def jensen_shannon(reference: npt.ArrayLike, current: npt.ArrayLike) -> Floats:
    """Jensen-Shannon distance: the square root of `jensen_shannon_divergence` to the base 2.

    Range 0 to 1 (nothing in common). 0: the same shares. To the base e, as scipy's jensenshannon and Evidently have it, it is
    this times sqrt(ln 2), .8326 at most. Cells: few, or the values of text. Empty cells add nothing, so none is filled.
    Lin, IEEE Trans. Inf. Theory 37, 1991; Endres and Schindelin, IEEE Trans. Inf. Theory 49, 2003.

    >>> jensen_shannon([1, 0], [0, 1]).item()
    1.0
    """
    from scipy.special import rel_entr

    p, q = _shares(reference, current)
    half = (p + q) / 2
    divergence = (rel_entr(p, half) + rel_entr(q, half)).sum(-1) / (2 * np.log(2))
    return np.sqrt(np.clip(divergence, 0, 1))


def jensen_shannon_noise(reference: npt.ArrayLike, current: npt.ArrayLike) -> Floats:
    """Expected size when nothing moved: sqrt((k - 1)(1/n + 1/m) / (8 ln 2)), from the divergence's expansion."""
    return np.sqrt(freedom(reference, current) * _per(reference, current) / (8 * np.log(2)))


def total_variation(reference: npt.ArrayLike, current: npt.ArrayLike) -> Floats:
    """Total variation distance: half the sum of |p - q|, the share of rows that changed cells.

    Range 0 to 1 (nothing in common). 0: the same shares. L1 is twice as much; one less the intersection of two histograms is
    the same. Cells: values of text, or few of numbers. Empty cells add the other side's share.
    Levin and Peres, Markov Chains and Mixing Times, 2017, section 4.

    >>> total_variation([50, 50, 0], [25, 50, 25]).item()
    0.25
    """
    p, q = _shares(reference, current)
    return np.abs(p - q).sum(-1) / 2


def total_variation_noise(reference: npt.ArrayLike, current: npt.ArrayLike) -> Floats:
    """Expected total variation when nothing moved: half the sum of sqrt(2/pi) sqrt(p(1-p)(1/n + 1/m))."""
    p = _pooled(reference, current)
    return HALF_NORMAL / 2 * np.sqrt(_per(reference, current)) * np.sqrt(np.clip(p * (1 - p), 0, None)).sum(-1)


def jensen_shannon_divergence(reference: npt.ArrayLike, current: npt.ArrayLike, *, base: float = 2) -> Floats:
    """Jensen-Shannon divergence: sum of (p log(p / h) + q log(q / h)) / 2, h = (p + q) / 2, logarithms to `base`.

    Range 0 to log(2) / log(base), so 0 to 1 to the base 2 and 0 to .693 to the base e. 0: the same shares. Cells: few, or the
    values of text. Empty cells add nothing. Its square root is the distance (`jensen_shannon`, base 2): say which of the two
    and which base, for the same data give .25, .5 and .42 (base e). Lin, IEEE Trans. Inf. Theory 37, 1991.

    >>> jensen_shannon_divergence([1, 1, 0], [1, 0, 1]).item()
    0.5
    """
    from scipy.special import rel_entr

    p, q = _shares(reference, current)
    half = (p + q) / 2
    return np.clip((rel_entr(p, half) + rel_entr(q, half)).sum(-1) / (2 * np.log(base)), 0, None)


def kullback_leibler(
    reference: npt.ArrayLike, current: npt.ArrayLike, *, smooth: float = 0.0, floor: float = 0.0
) -> Floats:
    """Kullback-Leibler divergence of current from reference: the sum of q ln(q / p), natural logarithm.

    Range 0 upwards. 0: the same shares. Not symmetric: swap the sides for the sum of p ln(p / q). Cells: few. Empty cells: a
    value that is lost adds nothing, one that is new makes it infinite, unless `smooth` rows are added to every cell, or empty
    ones get the share `floor` (as for `psi`). Kullback and Leibler, Ann. Math. Stat. 22, 1951.

    >>> kullback_leibler([1, 1, 1, 1], [17, 1, 1, 1]).round(4).item()
    0.7988
    """
    from scipy.special import rel_entr

    a, b, _, _ = _pair(reference, current)
    p, q = _shares(a + smooth, b + smooth)
    none = (p == 0) & (q == 0)
    p, q = (np.where((one == 0) & ~none, floor, one) for one in (p, q))
    return np.asarray(rel_entr(q, p).sum(-1))


def hellinger(reference: npt.ArrayLike, current: npt.ArrayLike) -> Floats:
    """Hellinger distance: sqrt(1 - sum of sqrt(p q)), which is the root of half the sum of (sqrt p - sqrt q)^2.

    Range 0 to 1 (nothing in common). 0: the same shares. Cells: few, or the values of text; of numbers it depends on them,
    here those of `equal_parts`. Empty cells add nothing, so none is filled. Hellinger, J. reine angew. Math. 136, 1909.

    >>> hellinger([1, 0], [0, 1]).item()
    1.0
    """
    p, q = _shares(reference, current)
    return np.sqrt(np.clip(1 - np.sqrt(p * q).sum(-1), 0, 1))


def hellinger_noise(reference: npt.ArrayLike, current: npt.ArrayLike) -> Floats:
    """Expected Hellinger distance when nothing moved: sqrt((k - 1)(1/n + 1/m) / 8), from its expansion at p = q."""
    return np.sqrt(freedom(reference, current) * _per(reference, current) / 8)


def l_infinity(reference: npt.ArrayLike, current: npt.ArrayLike) -> Floats:
    """L-infinity (Chebyshev) distance: the largest |p - q| of a single cell.

    Range 0 to 1. 0: the same shares. Cells: values of text, or few of numbers; over the cumulative shares it is `ks`. Empty
    cells count: a new or a lost value differs by all of its share. Deequ takes `l_infinity_noise` off it, to no less than 0.
    Breck et al., Data Validation for Machine Learning, MLSys 2019.

    >>> l_infinity([2, 2, 2, 0], [2, 2, 2, 1]).round(4).item()
    0.1429
    """
    p, q = _shares(reference, current)
    return np.abs(p - q).max(-1)


def l_infinity_noise(reference: npt.ArrayLike, current: npt.ArrayLike, *, alpha: float = 0.5) -> Floats:
    """What L-infinity stays below with probability 1 - alpha when nothing moved: sqrt(-ln(alpha / 2) / 2)(1/n + 1/m)^.5.

    It is Kolmogorov's bound of the largest difference, which Deequ takes off the distance ("robust", there with
    alpha .003); an upper bound for single cells. alpha .5 gives about the median. Smirnov, Ann. Math. Stat. 19, 1948.

    >>> l_infinity_noise([50, 50], [50, 50], alpha=0.1).round(4).item()
    0.1731
    """
    return np.sqrt(-np.log(alpha / 2) / 2 * _per(reference, current))


def energy(reference: npt.ArrayLike, current: npt.ArrayLike, at: npt.ArrayLike) -> Floats:
    """Energy distance: the square root of twice the integral of (F - G)^2 dx.

    Range 0 upwards, in the root of the column's unit. 0: the same shares. Cells: ordered, with at, their ascending values.
    Empty cells change nothing. Szekely and Rizzo, J. Stat. Plan. Inference 143, 2013.

    >>> energy([1, 0], [0, 1], [0.0, 2.0]).item()
    2.0
    """
    p, q = _shares(reference, current)
    gaps = _gaps(at, p.shape[-1])
    return np.sqrt(2 * ((np.cumsum(p - q, -1)[..., :-1] ** 2) * gaps).sum(-1))


def deviation(reference: npt.ArrayLike, at: npt.ArrayLike) -> Floats:
    """Standard deviation (of the population) of the values in cells, in the column's unit; NaN without values.

    >>> deviation([1, 1], [0.0, 2.0]).item()
    1.0
    """
    a, x = np.asarray(reference, dtype="float64"), np.asarray(at, dtype="float64")
    with np.errstate(invalid="ignore", divide="ignore"):
        p = a / a.sum(-1, keepdims=True)
    unit = np.max(np.abs(x), initial=0.0) or 1.0  # so that squares of the largest doubles do not overflow
    middle = (p * (x / unit)).sum(-1, keepdims=True)
    return np.sqrt((p * (x / unit - middle) ** 2).sum(-1)) * unit


def freedom(reference: npt.ArrayLike, current: npt.ArrayLike) -> Floats:
    """Degrees of freedom: filled cells less one."""
    return np.maximum((_pooled(reference, current) > 0).sum(-1) - 1, 0).astype("float64")


def chi_square_p(reference: npt.ArrayLike, current: npt.ArrayLike, *, least: float = 5.0) -> Floats:
    """p value of Pearson's chi-square for two samples (contingency, no correction); 1 with a single filled cell.

    The law holds only where no cell is too empty: the rarest cells of both sides together are taken as one until each is
    expected `least` times on either side (Cochran, Biometrics 10, 1954), so that p keeps its word with 50 rows too.

    >>> chi_square_p([10, 20], [20, 10]).round(4).item()
    0.0098
    """
    from scipy.special import chdtrc

    a, b = np.broadcast_arrays(*counts_of(reference, current))
    n, m = a.sum(-1, keepdims=True), b.sum(-1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        expected = (a + b) * (np.minimum(n, m) / (n + m))
        order = np.argsort(expected, -1, kind="stable")
        a, b, expected = (np.take_along_axis(one, order, -1) for one in (a, b, expected))
        together = np.cumsum(expected, -1)
        # the rarest cells, up to the first that is frequent enough alone and leaves enough behind it
        joined = (expected < least) | (together - expected < least) & (together - expected > 0)
        pool_a, pool_b = ((one * joined).sum(-1, keepdims=True) for one in (a, b))
        a, b = np.concatenate([a * ~joined, pool_a], -1), np.concatenate([b * ~joined, pool_b], -1)
        terms = (m * a - n * b) ** 2 / ((a + b) * n * m)
    value = np.where(a + b > 0, terms, 0.0).sum(-1)
    cells = (a + b > 0).sum(-1) - 1
    return np.where(cells > 0, chdtrc(np.maximum(cells, 1), value), 1.0)


def equal_parts(reference: npt.ArrayLike, parts: int = PARTS) -> npt.NDArray[np.int64]:
    """For every ordered cell, which of at most `parts` groups of about equal reference share it belongs to.

    A value heavier than a part keeps a group of its own. Values outside the reference join the outermost groups.

    >>> equal_parts([1, 1, 1, 1], 2).tolist()
    [0, 0, 1, 1]
    """
    counts = np.asarray(reference, dtype="float64")
    total = counts.sum()
    if not total:
        return np.zeros(counts.shape, dtype="int64")
    middle = (np.cumsum(counts) - counts / 2) / total
    place = np.minimum((middle * parts).astype("int64"), parts - 1)
    return np.unique(place, return_inverse=True)[1].astype("int64")


def grouped(counts: npt.ArrayLike, groups: npt.NDArray[np.int64]) -> Floats:
    """Counts summed over the groups of the last axis."""
    array = np.asarray(counts, dtype="float64")
    starts = np.flatnonzero(np.diff(groups, prepend=-1))
    return np.add.reduceat(array, starts, axis=-1) if len(starts) else array


def together(
    one: tuple[npt.ArrayLike, npt.ArrayLike], other: tuple[npt.ArrayLike, npt.ArrayLike]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Floats]:
    """Common ordered cells of two sets of cells given by their observed edges (low, high).

    Cells that overlap are joined, all others stay apart, so that no count is ever split.
    Returns the common cell of each of `one`, of each of `other`, and the middle of every common cell.
    """
    low = np.concatenate([np.asarray(one[0], dtype="float64"), np.asarray(other[0], dtype="float64")])
    high = np.concatenate([np.asarray(one[1], dtype="float64"), np.asarray(other[1], dtype="float64")])
    split = len(np.asarray(one[0]))
    order = np.argsort(low, kind="stable")
    low, high = low[order], high[order]
    fresh = np.ones(len(order), dtype=bool)
    fresh[1:] = low[1:] > np.maximum.accumulate(high)[:-1]
    cell = np.empty(len(order), dtype="int64")
    cell[order] = np.cumsum(fresh) - 1
    starts = np.flatnonzero(fresh)
    last = np.maximum.reduceat(high, starts) if len(starts) else high
    return cell[:split], cell[split:], (low[starts] / 2 + last / 2)


def onto(counts: npt.ArrayLike, cell: npt.NDArray[np.int64], cells: int) -> Floats:
    """Counts (last axis) added into `cells` common cells."""
    array = np.asarray(counts, dtype="float64")
    out = np.zeros((*array.shape[:-1], cells))
    np.add.at(np.moveaxis(out, -1, 0), cell, np.moveaxis(array, -1, 0))
    return out
