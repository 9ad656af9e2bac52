"""How far off a distance of two histograms may be: large-sample standard errors, by the delta method.

A distance is a function of two vectors of shares p and q; to first order it moves by the sum of its derivatives times
the sampling error of the shares, so that its variance is Var_p(influence) / n + Var_q(influence) / m, the influence
being the derivative at each cell (von Mises, Ann. Math. Stat. 18, 1947). Good away from zero; near zero, where sampling
noise is all there is, the interval is wide rather than narrow. Counts are over the same cells, as in `distances`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from workbench.analyses.distances import Floats

WIDE = 1.959964  # standard errors of a two-sided 95 % interval


def _variance(p: Floats, q: Floats, n: Floats, m: Floats, of_p: Floats, of_q: Floats) -> Floats:
    def one(share: Floats, influence: Floats, size: Floats) -> Floats:
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # values near the largest double: not known
            seen = np.where(share > 0, influence, 0.0)
            mean = (share * seen).sum(-1, keepdims=True)
            found = (share * (seen - mean) ** 2).sum(-1) / size
        return np.where(np.isinf(found), np.nan, found)

    return one(p, of_p, n) + one(q, of_q, m)


def standard_error(
    metric: str, reference: npt.ArrayLike, current: npt.ArrayLike, at: npt.ArrayLike | None = None
) -> Floats:
    """The standard error of a distance, in its unit: of "ks", "total_variation", "l_infinity", "psi" (smoothed),
    "jensen_shannon", "hellinger" or "wasserstein" (which needs `at`); NaN where a side is empty.

    >>> standard_error("total_variation", [50, 50], [75, 25]).round(4).item()
    0.0661
    """
    a, b = np.broadcast_arrays(np.asarray(reference, dtype="float64"), np.asarray(current, dtype="float64"))
    n, m = a.sum(-1), b.sum(-1)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):  # values near the largest double: not known
        if metric == "psi":
            a, b = a + 0.5, b + 0.5
        p, q = a / a.sum(-1, keepdims=True), b / b.sum(-1, keepdims=True)
        if metric in ("ks", "l_infinity"):
            p, q = (np.cumsum(p, -1), np.cumsum(q, -1)) if metric == "ks" else (p, q)
            place = np.nan_to_num(np.abs(p - q)).argmax(-1)[..., None]
            f, g = (np.clip(np.take_along_axis(one, place, -1)[..., 0], 0, 1) for one in (p, q))
            variance = f * (1 - f) / n + g * (1 - g) / m
        elif metric == "total_variation":
            sign = np.sign(q - p) / 2
            variance = _variance(p, q, n, m, sign, sign)
        elif metric == "psi":
            log = np.log(q / p)
            variance = _variance(p, q, n, m, 1 - q / p - log, 1 - p / q + log)
        elif metric == "jensen_shannon":
            half = (p + q) / 2
            divergence = np.nansum(
                np.where(p > 0, p * np.log2(p / half), 0) + np.where(q > 0, q * np.log2(q / half), 0), -1
            )
            variance = _variance(p, q, n, m, np.log2(p / half) / 2, np.log2(q / half) / 2)
            variance = variance / np.maximum(2 * divergence, _floor(a, n, m) / np.log(2))  # of the square root
        elif metric == "hellinger":
            square = 1 - np.sqrt(p * q).sum(-1)
            variance = _variance(p, q, n, m, -np.sqrt(q / p) / 2, -np.sqrt(p / q) / 2)
            variance = variance / np.maximum(4 * square, _floor(a, n, m))
        elif metric == "wasserstein":
            gaps = np.append(np.diff(np.asarray(at, dtype="float64")), 0.0)
            slope = np.sign(np.cumsum(p, -1) - np.cumsum(q, -1)) * gaps
            reach = np.cumsum(slope[..., ::-1], -1)[..., ::-1]
            variance = _variance(p, q, n, m, reach, reach)
        else:
            raise ValueError(f"no standard error of {metric!r}")
    return np.where((n > 0) & (m > 0), np.sqrt(np.clip(variance, 0, None)), np.nan)


def _floor(a: Floats, n: Floats, m: Floats) -> Floats:
    """Four times the square of what sampling alone gives, below which a root has no first-order error."""
    return np.maximum((a > 0).sum(-1) - 1, 1) * (1 / n + 1 / m) / 2


def excess_interval(value: npt.ArrayLike, noise: npt.ArrayLike, error: npt.ArrayLike) -> tuple[Floats, Floats]:
    """The 95 % interval of a distance above its noise, neither end below zero.

    >>> [one.round(3).item() for one in excess_interval(0.3, 0.02, 0.05)]
    [0.182, 0.378]
    """
    middle, wide = np.abs(value) - np.asarray(noise), WIDE * np.asarray(error)
    return np.maximum(middle - wide, 0), np.maximum(middle + wide, 0)
