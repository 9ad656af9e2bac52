"""From distances to verdicts: an alarm needs an effect above what sampling gives, and significance after correction.

Either alone cries wolf: a p value finds differences that nobody minds in large tables, a threshold finds sampling noise
in small ones. What could not be looked at is "not evaluated", which is neither good nor bad.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from workbench.analyses.compared import EXTRA
from workbench.analyses.pattern import adjusted
from workbench.errors import WorkbenchError

Floats = npt.NDArray[np.float64]


def decide(
    p: Any, excess: Any, limits: Any, *, alpha: float, dependent: bool = False, axis: int | None = None
) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Adjusted p values, and where both hold: adjusted p at most alpha, and excess at least its limit.

    p, excess: arrays of one shape, NaN where nothing was evaluated (never an alarm); limits broadcast. alpha: accepted
    share of false alarms among the alarms, which is also the chance of any alarm at all when nothing moved. dependent:
    Benjamini and Yekutieli's correction, for tests that share rows, instead of Benjamini and Hochberg's. axis: correct
    along it alone, for many families at once; None: all are one family.

    >>> decide([0.001, 0.04], [0.3, 0.3], 0.1, alpha=0.01)[1].tolist()
    [True, False]
    """
    chance = np.asarray(p, dtype="float64")
    if axis is None:
        q = adjusted(chance, dependent=dependent)
    else:
        rows = np.moveaxis(chance, axis, -1)
        done = np.array([adjusted(one, dependent=dependent) for one in rows.reshape(-1, rows.shape[-1])])
        q = np.moveaxis(done.reshape(rows.shape), -1, axis)
    with np.errstate(invalid="ignore"):
        return q, (q <= alpha) & (np.asarray(excess, dtype="float64") >= np.asarray(limits))


def asked_for(threshold: float, missing: float, alpha: float) -> None:
    """Nothing; raises WorkbenchError where a threshold or an accepted share of false alarms is none.

    >>> asked_for(0.1, 0.05, 0.01)
    """
    for name, value in (("threshold", threshold), ("missing", missing)):
        if not 0 <= value <= 1:
            raise WorkbenchError(
                f"{name}={value!r} is no threshold: distances and shares run from 0 to 1, so no window could ever pass it; "
                "0.1 is usual, 0 tells every shift that chance does not explain"
            )
    if not 0 < alpha < 1:
        raise WorkbenchError(
            f"alpha={alpha!r} is no share of false alarms; a number between 0 and 1 is wanted, such as 0.01"
        )


def shares_rows(frame: pd.DataFrame) -> bool:
    """Whether the same rows enter several of the tests: segments beside all rows, windows beside their total, or
    references that overlap."""
    several = frame["window"].nunique() > 1 or frame["segment"].nunique() > 1
    return several and ((frame["segment"] != "").any() or (frame["window"] == "").any() or _rolling(frame))


def _rolling(frame: pd.DataFrame) -> bool:
    return bool((frame.get("reference_kind", pd.Series(dtype=str)) != "baseline").any())


def judge(
    compared: pd.DataFrame,
    *,
    threshold: float = 0.1,
    missing: float = 0.05,
    alpha: float = 0.01,
    dependent: bool | None = None,
) -> pd.DataFrame:
    """`compare`'s rows with adjusted p values and a verdict.

    threshold: what a distance must have above its noise (a share of rows, 0 to 1); missing: the same for the change of
    the missing, NaN or infinite share; alpha: the share of false alarms accepted among the alarms. dependent: correct
    by Benjamini and Yekutieli (True) or Benjamini and Hochberg (False); None: the former where tests share rows.
    Adds distance_q and missing_change_q, drifted (bool), by ("values", "missing", "nan", "infinite" or ""), and
    verdict: "drifted", "small shift" (real but below the threshold), "no drift", "not evaluated".
    Raises WorkbenchError for thresholds that are not from 0 to 1.
    """
    asked_for(threshold, missing, alpha)
    frame = compared.copy()
    tests = ["distance_p", *(f"{extra}_change_p" for extra in EXTRA)]
    p = frame[tests].to_numpy(dtype="float64").copy()
    p[:, 1:][~frame["missing_evaluated"].to_numpy(dtype=bool)] = np.nan
    limits = [threshold, missing, missing, missing]
    sizes = frame[["distance_excess", *(f"{extra}_change_excess" for extra in EXTRA)]].to_numpy(dtype="float64")
    q, over = decide(p, sizes, limits, alpha=alpha, dependent=shares_rows(frame) if dependent is None else dependent)
    with np.errstate(invalid="ignore"):
        real = q <= alpha
    frame["distance_q"] = q[:, 0]
    for place, extra in enumerate(EXTRA, 1):
        frame[f"{extra}_change_q"] = q[:, place]
    # The strongest reason is the one furthest above its own limit.
    reach = np.where(over, sizes / np.maximum(limits, 1e-9), -1.0)
    frame["drifted"] = over.any(axis=1)
    frame["by"] = np.where(frame["drifted"], np.array(["values", *EXTRA])[reach.argmax(axis=1)], "")
    frame["size"] = reach.max(axis=1).clip(0)
    looked = frame["evaluated"] | frame["missing_evaluated"]
    frame["verdict"] = np.select(
        [frame["drifted"], ~frame["evaluated"] & ~(looked & real[:, 1:].any(axis=1)), real.any(axis=1)],
        ["drifted", "not evaluated", "small shift"],
        "no drift",
    )
    return frame
