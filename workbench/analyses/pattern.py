"""One rule for "out of the ordinary", used for shares over windows and for volumes.

A single window of a share (missing, slow, failed ...) is out of pattern when all four hold:

1. it has at least `least` rows, and at least five windows have;
2. its share differs from the usual one by at least `points` (a share, so 0.02 means two points in a hundred), and by
   at least five robust standard deviations of the window-to-window spread;
3. at least `rows_over` rows more (or fewer) than usual are behind the difference;
4. sampling does not explain it: the binomial tail of the window's count at the usual share, after Benjamini and
   Hochberg's step-up over everything that was looked at (J. R. Stat. Soc. B 57, 1995), is at most `alpha`.

The usual share is the median over windows, so an incident shorter than half of the time does not move it; the robust
standard deviation is 1.4826 times the median absolute deviation.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pandas as pd

Floats = npt.NDArray[np.float64]
MAD = 1.4826  # makes the median absolute deviation of a normal sample its standard deviation
WINDOWS = 5  # fewer windows than this have no pattern to be out of


def median(values: Floats, usable: npt.NDArray[np.bool_]) -> Floats:
    """The median over the last axis of the usable values, NaN where fewer than five are."""
    enough = usable.sum(-1) >= WINDOWS
    kept = np.where(usable & enough[..., None], values, np.nan)
    out = np.full(kept.shape[:-1], np.nan)
    if enough.any():
        out[enough] = np.nanmedian(kept[enough], axis=-1)
    return out


def adjusted(p: Floats, *, dependent: bool = False) -> Floats:
    """Benjamini and Hochberg's adjusted p values over all that are not NaN; NaN stays NaN.

    dependent: Benjamini and Yekutieli's (Ann. Stat. 29, 2001), which hold however the tests depend on each other.

    >>> adjusted(np.array([0.01, 0.02, np.nan])).round(3)
    array([0.02, 0.02,  nan])
    """
    from scipy.stats import false_discovery_control

    out = np.full(p.shape, np.nan)
    known = ~np.isnan(p)
    if known.any():
        out[known] = false_discovery_control(np.clip(p[known], 0, 1), method="by" if dependent else "bh")
    return out


def shares(
    part: npt.ArrayLike,
    rows: npt.ArrayLike,
    *,
    least: int = 30,
    points: float = 0.02,
    rows_over: int = 5,
    alpha: float = 0.001,
    more_only: bool = False,
    usual: npt.ArrayLike | None = None,
) -> pd.DataFrame:
    """Which windows of a share are out of pattern, by the rule above.

    part, rows: counts with windows on the last axis, of the same shape. usual: the usual share where it is known
    (one a series); otherwise the median over windows. more_only: only shares above the usual count.
    Returns a frame in C order of the input: share, usual, spread (robust standard deviation), excess (share minus
    usual), excess_rows, p, q (adjusted), evaluated, out (bool).
    """
    from scipy.stats import binom

    k, n = np.asarray(part, dtype="float64"), np.asarray(rows, dtype="float64")
    usable = n >= least
    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.where(n > 0, k / n, np.nan)
    known = median(share, usable)
    middle = known if usual is None else np.where(np.isnan(known), np.nan, np.asarray(usual, dtype="float64"))
    spread = MAD * median(np.abs(share - middle[..., None]), usable)
    # A median of 0 (or 1) is an estimate too: the whole series but this window says how rare is rare.
    others_k, others_n = k.sum(-1, keepdims=True) - k, n.sum(-1, keepdims=True) - n
    floor = 0.5 / (others_n + 1)
    base = np.clip(np.broadcast_to(middle[..., None], share.shape), floor, 1 - floor)
    rare = (middle[..., None] == 0) & (others_n > 0)
    base = np.where(rare, np.maximum(base, np.minimum((others_k + 0.5) / (others_n + 1), points / 4)), base)
    high, low = binom.sf(k - 1, n, base), binom.cdf(k, n, base)
    p = np.where(usable & ~np.isnan(base), high if more_only else np.minimum(1, 2 * np.minimum(high, low)), np.nan)
    q = adjusted(p)
    excess = share - middle[..., None]
    size = excess if more_only else np.abs(excess)
    with np.errstate(invalid="ignore"):
        out = (q <= alpha) & (size >= points) & (size >= 5 * spread[..., None]) & (size * n >= rows_over)
    return pd.DataFrame(
        {
            "share": share.ravel(),
            "usual": np.broadcast_to(middle[..., None], share.shape).ravel(),
            "spread": np.broadcast_to(spread[..., None], share.shape).ravel(),
            "excess": excess.ravel(),
            "excess_rows": (excess * n).ravel(),
            "p": p.ravel(),
            "q": q.ravel(),
            "evaluated": ~np.isnan(p.ravel()),
            "out": out.ravel(),
        }
    )


def volumes(rows: npt.ArrayLike, season: npt.ArrayLike, *, least: int = 30, times: float = 2.0) -> pd.DataFrame:
    """Which windows hold too few or too many rows.

    rows: counts of one series of windows. season: the place of each window in its cycle (the hour of the day, say):
    a window is compared with the median of the same place when four or more windows share it, otherwise with the
    median of all. Out of pattern: by a factor of `times` or more, and by five robust standard deviations of
    log(rows / usual), which are never taken below what counting alone gives (1 / sqrt(usual)); the usual count is at
    least `least`. The first and the last window are not judged: they are often cut.
    Returns a frame: rows, usual, ratio, out (bool).
    """
    n, place = np.asarray(rows, dtype="float64"), np.asarray(season)
    frame = pd.DataFrame({"rows": n, "place": place})
    same = frame.groupby("place")["rows"]
    usual = np.where(same.transform("size") >= 4, same.transform("median"), np.median(n) if len(n) else np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        log = np.log((n + 0.5) / (usual + 0.5))
    inner = np.zeros(len(n), dtype=bool)
    inner[1:-1] = True
    spread = MAD * np.median(np.abs(log)) if len(n) else 0.0
    scale = np.maximum(spread, 1 / np.sqrt(np.maximum(usual, 1)))
    judged = inner & (np.maximum(usual, n) >= least) & (len(n) >= WINDOWS)
    out = judged & (np.abs(log) >= np.log(times)) & (np.abs(log) >= 5 * scale)
    ratio = np.where(usual > 0, n / np.where(usual > 0, usual, 1), np.nan)
    return pd.DataFrame({"rows": n, "usual": usual, "ratio": ratio, "out": out})


def stretches(out: npt.ArrayLike, sign: npt.ArrayLike | None = None) -> Iterator[slice]:
    """Runs of neighbouring windows that are marked, each of one sign where signs are given.

    >>> list(stretches([True, True, False, True]))
    [slice(0, 2, None), slice(3, 4, None)]
    """
    marked = np.asarray(out, dtype=bool)
    kind = np.where(marked, 1.0 if sign is None else np.nan_to_num(np.asarray(sign, dtype="float64")) + 2, 0.0)
    edges = np.flatnonzero(np.diff(np.concatenate([[0.0], kind, [0.0]])))
    for start, stop in pairwise(edges.tolist()):
        if marked[start]:
            yield slice(start, stop)
