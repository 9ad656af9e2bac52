"""The default verdicts of other tools, from the same histograms, for those who migrate and must explain the difference.

These are not ours and we do not advise them: they look at effect or significance alone, for one column at a time.
`evidently` follows Evidently 0.7 (evidently.legacy.calculations.stattests), `nannyml` NannyML 0.13
(nannyml.drift.univariate.methods); facts read from their sources in November 2026. Values, not rows, are compared, as
both tools drop missing values first: a column that becomes 95 % missing passes both.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from workbench.analyses import distances as far
from workbench.analyses import significance as tests
from workbench.errors import WorkbenchError, nearest

TOOLS = ("evidently", "nannyml")
SMALL = 1000  # values of the reference up to which Evidently tests, and above which it measures
FEW = 5  # different values up to which Evidently takes numbers for categories
NORM_FLOOR = 0.001  # what Evidently divides by at least
Told = tuple[str, npt.NDArray[np.float64], float, npt.NDArray[np.bool_]]


def tool(name: str) -> str:
    """`name`, where it is "" or a tool we know; otherwise WorkbenchError with the choices."""
    if name in ("", *TOOLS):
        return name
    raise WorkbenchError(f"compat={name!r} is no tool whose verdicts we reproduce; {nearest(name, TOOLS)}")


def fixed_reference_p(reference: npt.ArrayLike, current: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """p of chi-square with the reference as the exact truth, as Evidently computes it: not a two-sample test.

    The sampling error of the reference is left out, so that it gives false alarms where the reference is small; 0 where
    a value is new. Ours is `significance.chi_square`.

    >>> fixed_reference_p([16, 18, 16, 14, 12, 12], [16, 16, 16, 16, 16, 8]).round(5).item()
    0.67309
    """
    from scipy.special import chdtrc

    a, b = np.broadcast_arrays(np.asarray(reference, dtype="float64"), np.asarray(current, dtype="float64"))
    seen = (a + b) > 0
    with np.errstate(invalid="ignore", divide="ignore"):
        expected = a / a.sum(-1, keepdims=True) * b.sum(-1, keepdims=True)
        value = np.where(seen, (b - expected) ** 2 / expected, 0.0).sum(-1)
    free = seen.sum(-1) - 1
    return np.where(free > 0, chdtrc(np.maximum(free, 1), value), 1.0)


def share_z_p(reference: npt.ArrayLike, current: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Two-sided p of the z test of two shares without correction, of the last filled cell; 1 with a single one.

    >>> share_z_p([45, 45], [30, 60]).round(4).item()
    0.0233
    """
    from scipy.special import ndtr

    a, b = np.broadcast_arrays(np.asarray(reference, dtype="float64"), np.asarray(current, dtype="float64"))
    n, m = a.sum(-1), b.sum(-1)
    last = np.flatnonzero((a + b).reshape(-1, a.shape[-1]).sum(0))[-1:]
    k, j = a[..., last].sum(-1), b[..., last].sum(-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        both = (k + j) / (n + m)
        z = (k / n - j / m) / np.sqrt(both * (1 - both) * (1 / n + 1 / m))
    return np.where(np.isfinite(z), 2 * ndtr(-np.abs(z)), 1.0)


def evidently(reference: npt.ArrayLike, current: npt.ArrayLike, at: npt.ArrayLike | None = None) -> Told:
    """Evidently's default for one column: the method's name, its value for each window, the threshold, and "drifted".

    reference: counts of one side; current: counts of windows over the same cells; at: the values of the cells of a
    number, None for text. Up to 1,000 reference values: p < .05 of KS, of chi-square with a fixed reference (text, and
    numbers with up to 5 values) or of z (2 values). Above: Wasserstein over the reference's standard deviation, or the
    Jensen-Shannon distance (natural logarithm) of categories, drifted from .1.

    >>> evidently([500, 500], [[40, 60]])[0], evidently([5000, 5000], [[40, 60]])[0]
    ('z p_value', 'Jensen-Shannon distance')
    """
    a, b = np.asarray(reference, dtype="float64"), np.atleast_2d(np.asarray(current, dtype="float64"))
    n = a.sum()
    number = at is not None
    different = int(((a + b.sum(0)) > 0).sum())
    if n <= SMALL:
        if number and different > FEW:
            p = np.array([tests.ks_exact(a, one).p for one in b]) if n and b.size else np.ones(len(b))
            return "K-S p_value", p, 0.05, p < 0.05
        name, p = ("chi-square p_value", fixed_reference_p(a, b)) if different > 2 else ("z p_value", share_z_p(a, b))
        return name, p, 0.05, p < 0.05
    if number and different > FEW:
        x = np.asarray(at, dtype="float64")
        value = far.wasserstein(a, b, x) / max(float(far.deviation(a, x)), NORM_FLOOR)
        return "Wasserstein distance (normed)", value, 0.1, value >= 0.1
    value = np.sqrt(far.jensen_shannon_divergence(a, b, base=np.e))
    return "Jensen-Shannon distance", value, 0.1, value >= 0.1


def doane(counts: npt.ArrayLike, at: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Edges of equal width by Doane's rule (Am. Stat. 30, 1976), as numpy's, from values in cells and their counts."""
    weight, x = np.asarray(counts, dtype="float64"), np.asarray(at, dtype="float64")
    weight, x = weight[weight > 0], x[weight > 0]
    n, low, high = weight.sum(), x.min(), x.max()
    if low == high:
        return np.array([low - 0.5, high + 0.5])
    unit = max(abs(low), abs(high))  # so that sums of the largest doubles do not overflow
    x = x / unit
    mean, sigma = np.average(x, weights=weight), float(far.deviation(weight, x))
    bins = 1
    if n > 2 and sigma > 0:
        skew = abs(np.average(((x - mean) / sigma) ** 3, weights=weight))
        bins = int(np.ceil(1 + np.log2(n) + np.log2(1 + skew / np.sqrt(6 * (n - 2) / ((n + 1) * (n + 3))))))
    return np.linspace(low / 2, high / 2, bins + 1) * 2


def nannyml_cells(
    reference: npt.ArrayLike, current: npt.ArrayLike, at: npt.ArrayLike | None = None
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Counts of both sides over the cells in which NannyML's Jensen-Shannon and Hellinger distances see a column.

    Numbers are counted in Doane's bins of the reference, text by value. What lies outside of the reference's bins or values is
    one cell of its own, the last.

    >>> [one.tolist() for one in nannyml_cells([2, 2, 0], [[2, 0, 2]])]
    [[2.0, 2.0, 0.0], [[2.0, 0.0, 2.0]]]
    """
    a, b = far.counts_of(reference, np.atleast_2d(np.asarray(current, dtype="float64")))
    if at is not None and a.any():
        x, edges = np.asarray(at, dtype="float64"), doane(a, at)
        place = np.clip(np.searchsorted(edges, x, side="right") - 1, 0, len(edges) - 2)
        place = np.where((x < edges[0]) | (x > edges[-1]), len(edges) - 1, place)
        return far.onto(a, place, len(edges)), far.onto(b, place, len(edges))
    known = a > 0
    return np.append(a[known], 0.0), np.column_stack([b[:, known], b[:, ~known].sum(-1)])


def jensen_shannon_nannyml(
    reference: npt.ArrayLike, current: npt.ArrayLike, at: npt.ArrayLike | None = None
) -> npt.NDArray[np.float64]:
    """NannyML's Jensen-Shannon distance (base 2) of windows from a reference, 0 to 1, over `nannyml_cells`.

    >>> jensen_shannon_nannyml([2, 2, 0], [[2, 0, 2]]).round(3).tolist()
    [0.707]
    """
    return far.jensen_shannon(*nannyml_cells(reference, current, at))


def hellinger_nannyml(
    reference: npt.ArrayLike, current: npt.ArrayLike, at: npt.ArrayLike | None = None
) -> npt.NDArray[np.float64]:
    """NannyML's Hellinger distance of windows from a reference, 0 to 1, over `nannyml_cells`.

    >>> hellinger_nannyml([2, 2, 0], [[2, 0, 2]]).round(3).tolist()
    [0.707]
    """
    return far.hellinger(*nannyml_cells(reference, current, at))


def limits(values: npt.ArrayLike, times: float = 3.0, *, middle: float | None = None) -> tuple[float, float]:
    """NannyML's standard-deviation thresholds: the mean (or `middle`) less and plus `times` standard deviations of the
    population (ddof 0) over chunks of the reference.

    >>> [round(one, 3) for one in limits([-1, 1, 1, 1], 2)]
    [-1.232, 2.232]
    """
    x = np.asarray(values, dtype="float64")
    centre = float(np.nanmean(x)) if middle is None else middle
    wide = times * float(np.nanstd(x))
    return centre - wide, centre + wide


def nannyml(chunks: npt.ArrayLike, current: npt.ArrayLike, at: npt.ArrayLike | None = None) -> Told:
    """NannyML's default for one column: the method's name, the distance of each window, its upper limit, and "alert".

    chunks: counts of the reference's windows over the cells, current: of the windows to look at; at: the values of the
    cells of a number, None for text. The limit is the upper one of `limits` of the chunks' own distances from all of them
    together (by default there is no lower one). Windows of another size than the chunks alarm by their size alone.
    Raises WorkbenchError with fewer than two chunks.

    >>> nannyml([[50, 50], [48, 52]], [[20, 80]])[3].tolist()
    [True]
    """
    a, b = np.atleast_2d(np.asarray(chunks, dtype="float64")), np.atleast_2d(np.asarray(current, dtype="float64"))
    a = a[a.sum(-1) > 0]
    if len(a) < 2:
        raise WorkbenchError(
            f"NannyML's thresholds need two windows of reference or more, there are {len(a)}; choose a longer reference"
        )
    high = limits(jensen_shannon_nannyml(a.sum(0), a, at))[1]
    value = jensen_shannon_nannyml(a.sum(0), b, at)
    with np.errstate(invalid="ignore"):
        return "Jensen-Shannon distance", value, high, value > high


def columns(name: str, chunks: Any, current: Any, at: Any, least: npt.ArrayLike) -> dict[str, Any]:
    """`name`'s method, value, threshold and verdict for one column and segment, as columns that say whose they are.

    chunks: counts of the reference's windows; least: whether each current window has any values.
    """
    whole, seen = np.atleast_2d(chunks).sum(0), np.asarray(least, dtype=bool)
    blank = {f"{name}_method": "", f"{name}_value": np.nan, f"{name}_threshold": np.nan}
    if not whole.sum() or not seen.any():
        return {**blank, f"{name}_verdict": "not evaluated"}
    try:
        method, value, limit, drifted = (
            evidently(whole, current, at) if tool(name) == "evidently" else nannyml(chunks, current, at)
        )
    except WorkbenchError:
        return {**blank, f"{name}_verdict": "not evaluated"}
    word = np.where(seen, np.where(drifted, "drift", "no drift"), "not evaluated")
    told = {f"{name}_method": method, f"{name}_value": np.where(seen, value, np.nan), f"{name}_threshold": limit}
    return {**told, f"{name}_verdict": word}
