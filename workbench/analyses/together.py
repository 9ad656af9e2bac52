"""Columns together, as the drift notebook asks for them: what is counted, what is found, and which rows are sampled.

The figures are those of `multivariate`; what cannot be done (no second moments, no scikit-learn) is said in a sentence.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from workbench.analyses import multivariate
from workbench.analyses.parts import WINDOW, say_window
from workbench.analyses.sides import Side, side
from workbench.errors import WorkbenchError

LARGE = 20_000_000  # cells of second moments that are worth their memory


def measures(source: Any, most: int, cluster: Any = None, groups: int = 1) -> Any:
    """What to count (`of=`) so that columns can be looked at together: everything, and second moments of up to `most` numbers.

    source: an opened table; cluster: as in the notebook: second moments are counted on the CPU only; groups: windows x
    segments that are expected. None (everything, no second moments) where there are no two numbers, most is below 2, or
    they would be too large.
    """
    from workbench.cubes import CoMoments

    numbers = [name for name, kind in source.kinds.items() if kind in ("number", "integer", "float")][: max(most, 0)]
    if len(numbers) < 2 or cluster == "cuda" or groups * len(numbers) ** 2 > LARGE:
        return None
    return [..., CoMoments(tuple(numbers))]


def compare(
    reference: xr.Dataset, current: xr.Dataset, *, threshold: float = 0.1, alpha: float = 0.01
) -> dict[str, pd.DataFrame]:
    """`multivariate.pairs` and `multivariate.rebuilt`, judged; both empty where the cubes have no second moments in common.

    reference: with its windows, where it has any, so that their own spread is known.
    """
    blank = {"pairs": pd.DataFrame(), "rebuilt": pd.DataFrame()}
    if "co_n" not in reference or "co_n" not in current:
        return blank
    if list(reference["co_row"].values) != list(current["co_row"].values):
        return blank
    asked: dict[str, Any] = {"threshold": threshold, "alpha": alpha}
    found = {"pairs": multivariate.judged(multivariate.pairs(reference, current), **asked)}
    try:
        found["rebuilt"] = multivariate.judged(multivariate.rebuilt(reference, current), **asked)
    except WorkbenchError:  # fewer than two columns vary, which the pairs say of each
        found["rebuilt"] = pd.DataFrame()
    return found


def spans(name: str, before: Side, after: Side, current: xr.Dataset, time: str) -> tuple[list[Any], list[Any]]:
    """The conditions (`open_table(where=...)`) that make the rows of the reference and of the current side.

    name: the reference as `sides.split` calls it. Without a time column or windows, each side is all of its table.
    """
    found: list[list[Any]] = []
    named = side("", name)
    starts = current[WINDOW].values if WINDOW in current.dims else np.array([], "M8[us]")
    known = np.sort(starts[~np.isnat(starts)])
    for one, fallback in ((before if before.start is not None else named, None), (after, known)):
        if one.start is not None and time:
            found.append([(time, ">=", str(one.start)), (time, "<", str(one.end))])
        elif fallback is not None and len(fallback) and time and before.table == after.table:
            found.append([(time, ">=", f"{fallback[0].astype('datetime64[s]')}Z")])
        else:
            found.append([])
    return found[0], found[1]


def classified(
    openers: Sequence[Callable[[], Any]], columns: Sequence[str], rows: int, *, seed: int = 0
) -> pd.DataFrame:
    """`multivariate.classified` of two tables, or one row that says why it was not tried.

    openers: open the two sides when they are needed. columns: those with values that were compared.
    """
    why = "it was not asked for; `sample` sets how many rows of each side it may read" if rows < 200 else ""
    why = why or ("" if columns else "no column could be compared")
    if not why:
        try:
            first, second = (one() for one in openers)
            return multivariate.classified(first, second, list(columns), rows=rows, seed=seed)
        except WorkbenchError as error:
            why = str(error)
    return pd.DataFrame([{"auc": np.nan, "noise": np.nan, "excess": np.nan, "p": np.nan, "n_reference": 0, "n": 0,
                          "columns": len(columns), "told_by": "", "evaluated": False, "why": why}])  # fmt: skip


def words(found: dict[str, pd.DataFrame], told: pd.DataFrame) -> tuple[str, str]:
    """What correlations and components say, and what the classifier says, in a sentence each."""
    if found["pairs"].empty:
        first = "Correlations were not counted: two numeric columns and workers on the CPU are needed (`together`)."
    else:
        first = f"{multivariate.told(found['pairs'])} {_rebuilt(found['rebuilt'])}".strip()
    return first, multivariate.words(told.iloc[0])


def _rebuilt(found: pd.DataFrame) -> str:
    looked = found[found["evaluated"]] if len(found) else found
    if not len(looked):
        return ""
    moved = looked[looked["drifted"]]
    about = f"{int(looked['components'].iloc[0])} principal components of {int(looked['columns'].iloc[0])} columns"
    if moved.empty:
        return f"The reference's {about} rebuild every window as well as before."
    top = moved.loc[moved["excess"].idxmax()]
    when = f" most at {say_window(top['window'])}" if top["window"] else ""
    return (
        f"The reference's {about} rebuild **{len(moved)}** of {len(looked)} windows differently,{when} "
        f"({100 * top['change']:+.0f} % error)."
    )


def results(found: dict[str, pd.DataFrame], told: pd.DataFrame) -> pd.DataFrame:
    """All of it as one tidy table: window, a, b, metric, value, expected, noise, excess, p, p_adjusted, verdict, n, n_reference.

    metric: "correlation" (of a and b), "reconstruction_error" (of all columns), "classifier_auc" (of samples).
    """
    parts = []
    pairs, rebuilt = found["pairs"], found["rebuilt"]
    if len(pairs):
        parts.append(pairs.assign(metric="correlation", value=pairs["now"], expected=pairs["before"]))
    if len(rebuilt):
        parts.append(rebuilt.assign(metric="reconstruction_error", value=rebuilt["error"]))
    if told["evaluated"].any():
        drifted = (told["p"] <= 0.01).map({True: "drifted", False: "no drift"})
        parts.append(
            told.assign(metric="classifier_auc", value=told["auc"], expected=0.5, q=told["p"], verdict=drifted)
        )
    names = ["window", "a", "b", "metric", "value", "expected", "noise", "excess", "p", "p_adjusted", "verdict", "n",
             "n_reference"]  # fmt: skip
    if not parts:
        return pd.DataFrame({name: pd.Series(dtype=object) for name in names})
    whole = pd.concat([part.rename(columns={"q": "p_adjusted"}) for part in parts], ignore_index=True)
    whole = whole.reindex(columns=names)
    return whole.assign(**{name: whole[name].fillna("") for name in ("window", "a", "b")})
