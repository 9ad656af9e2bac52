"""Text values that vanish, and text values that appear.

A value of at least 1 % of rows is gone (or new) when 20 or more of its rows were to be expected in the windows without
it: by chance that happens once in e^20 times. A value that comes and goes by habit is told only when it stays away for
more than three times as long as it usually does.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from workbench.analyses import pattern
from workbench.analyses.parts import say_share, say_stretch, say_window

SEEN = 20  # rows of a value to expect before its absence (or its first presence) means something
SHARE = 0.01  # values below this share are not followed
FOLLOWED = 10  # changes of one column that are told one by one


def changes(column: str, counts: pd.DataFrame, labels: list[str], *, least: int) -> list[dict[str, Any]]:
    """Values whose absence, or first presence, chance does not explain; in one row when there are very many.

    counts: windows in order by values. labels: the windows' names. least: rows that a gap must span to mean anything.
    Returns a dict a change: finding ("lost value", "new value", "restless"), words, column, window, until, windows, rows
    (of the value that came, or that were to be expected), value and usual (its share of rows).
    """
    rows, found = counts.sum(axis=1).to_numpy(), []
    for value in counts.columns:
        k = counts[value].to_numpy()
        seen = np.flatnonzero(k)
        if k.sum() < SEEN or k.sum() < SHARE * rows[seen[0] : seen[-1] + 1].sum():
            continue
        share = k.sum() / rows[seen[0] : seen[-1] + 1].sum()
        gaps = sorted(pattern.stretches(k == 0), key=lambda gap: -rows[gap].sum())
        inner = [rows[gap].sum() for gap in gaps if gap.start > seen[0] and gap.stop <= seen[-1]]
        for gap in gaps:
            size, at_end = rows[gap].sum(), gap.stop > seen[-1] or gap.start < seen[0]
            # A value that comes and goes by habit is gone, or new, only when it is for much longer than is usual.
            usual = max(inner, default=0.0) if at_end else sorted([0.0, *inner])[-2] if len(inner) > 1 else 0.0
            if share * size >= SEEN and size >= least and size > 3 * usual:
                found.append(_change(column, str(value), gap, share, size, k, labels))
    if len(found) <= FOLLOWED:
        return found
    first = min(one["window"] for one in found)
    words = f"{column}: {len(found)} of its values appear or vanish, first at {say_window(first)}"
    rows_of = max(one["rows"] for one in found)
    return [{"finding": "restless", "words": words, "column": column, "window": first, "rows": rows_of}]


def _change(
    column: str, value: str, gap: slice, share: float, size: float, k: Any, labels: list[str]
) -> dict[str, Any]:
    count, before, after = gap.stop - gap.start, labels[gap.start], labels[gap.stop - 1]
    if gap.start == 0:
        since = labels[gap.stop]
        words = f"{column}: {value!r} appears at {say_window(since)} ({say_share(share)} of rows since)"
        about = {"window": since, "until": labels[-1], "windows": len(k) - gap.stop, "rows": k.sum()}
        return {"finding": "new value", "words": words, "column": column, "value": share, "usual": 0.0, **about}
    span = f"since {say_window(before)}" if gap.stop == len(k) else say_stretch(before, after, count)
    words = f"{column}: {value!r} is gone {span}, usually {say_share(share)} of rows"
    about = {"window": before, "until": after, "windows": count, "rows": share * size}
    return {"finding": "lost value", "words": words, "column": column, "value": 0.0, "usual": share, **about}
