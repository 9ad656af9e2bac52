"""A clock that jumps: moments that cannot be, and moments out of the order that their file keeps."""

from __future__ import annotations

from typing import Any

import numpy as np

Values = np.ndarray[Any, Any]
TOLERANCE = 3_600_000_000  # microseconds: requests may be logged as they end, so an hour out of order is ordinary
EARLIEST = 1_262_304_000_000_000  # 2010-01-01: before it no such log was written
IN_ORDER = 0.1  # a file with more steps than this against its order keeps none


def jumps(times: Values, latest: int) -> Values:
    """Which of a file's moments (microseconds since 1970, in the file's order) show a clock that jumps.

    A moment before 2010 or after `latest` cannot be. In a file that keeps an order (at most a tenth of its steps go
    against it) two more show: a moment more than an hour away from the median of its five neighbours, and the
    first one after a step of more than an hour against the order. A pause is no jump: in order, the median of the
    neighbours is the moment itself.

    >>> hour = 3_600_000_000
    >>> start = 1_767_225_600_000_000
    >>> jumps(np.array([0, 1, 2, 90, 4, 5, 6]) * hour + start, start * 2).tolist()
    [False, False, False, True, False, False, False]
    """
    impossible = (times < EARLIEST) | (times > latest)
    out = impossible.copy()
    rows = np.flatnonzero(~impossible)
    moments = times[rows]
    if len(moments) < 3:
        return out
    steps = np.diff(moments)
    forward, back = int((steps > TOLERANCE).sum()), int((steps < -TOLERANCE).sum())
    against, sign = ((steps < 0).mean(), 1) if (steps < 0).sum() <= (steps > 0).sum() else ((steps > 0).mean(), -1)
    if against > IN_ORDER and min(forward, back) > 1 + IN_ORDER * len(steps):
        return out
    ordered = moments * sign
    from scipy.ndimage import median_filter

    spikes = np.abs(ordered - median_filter(ordered, 5, mode="nearest")) > TOLERANCE
    kept = np.flatnonzero(~spikes)
    stepped = np.zeros(len(moments), bool)
    stepped[kept[1:]] = np.diff(ordered[kept]) < -TOLERANCE
    out[rows] = spikes | stepped
    return out
