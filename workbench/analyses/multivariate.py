"""What moved between columns: correlations, the pattern that principal components hold, and what a classifier can tell.

Univariate distances are blind to a change of how columns go together. Here it is read off the cube's second moments
(`cube(..., of=[..., CoMoments()])`), so no row is read: the correlation of every pair of columns in every window against
the reference, and the error with which the reference's principal components rebuild each window's rows. Only `classified`
looks at rows, at a bounded sample of them.

The noise of a figure is its expected size when nothing moved, from the two numbers of rows, for normal columns; columns
with heavy tails vary more, so where the reference has eight windows or more the noise is widened by the ratio of how much
those differ from one another to how much normal ones would (never narrowed).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from workbench.analyses.distances import HALF_NORMAL
from workbench.analyses.parts import WINDOW, say_share, window_labels
from workbench.analyses.pattern import adjusted
from workbench.errors import WorkbenchError

SPREAD = 8  # windows of the reference that say how much correlations vary by themselves
KEPT = 0.65  # the share of the variance that the kept components hold at least
LEAST = 100
AT_ONCE = 2_000_000  # values that the classifier is shown at once


def _parts(cube: xr.Dataset) -> tuple[Any, Any, Any, list[str]]:
    """n, means and cross products of all rows of each window: arrays (windows, columns, columns), and the columns."""
    if "co_n" not in cube:
        raise WorkbenchError("this cube has no co-moments; count it with of=[..., CoMoments()]")
    from workbench.cubes import collapse

    others = [str(dim) for dim in cube["count"].dims if dim != WINDOW]
    light = cube.isel(bins=slice(0), tops=slice(0), registers=slice(0))  # adding up what is not asked for takes longest
    whole = collapse(light, *others) if others else cube
    arrays = [whole[name].values.astype("float64") for name in ("co_n", "co_mean", "co_cross")]
    if WINDOW not in whole.dims:
        arrays = [one[None] for one in arrays]
    return arrays[0], arrays[1], arrays[2], [str(one) for one in cube["co_row"].values]


def _r(n: Any, cross: Any) -> Any:
    """Correlations of pairs: cross products over the root of both sums of squares; NaN without variance.

    Where values are missing the sums of squares are those of each column's own rows, brought to the pair's number of rows.
    """
    own = np.diagonal(n, axis1=-2, axis2=-1)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        var = np.diagonal(cross, axis1=-2, axis2=-1) / own
        var = np.where(own >= 2, var, np.nan)
        size = np.sqrt(var[..., :, None] * var[..., None, :])
        r = np.where(size > 0, cross / np.where(n > 0, n, np.nan) / size, np.nan)
    return np.clip(r, -1.0, 1.0)


def correlations(cube: xr.Dataset) -> xr.DataArray:
    """Pearson's correlation of every pair of columns that have co-moments, -1 to 1, on the cube's axes and two more.

    Over the rows in which both values are there. NaN where a column is constant or fewer than two rows are there.

    >>> import workbench as wb
    >>> from workbench.cubes import CoMoments
    >>> cube = wb.cube(pd.DataFrame({"x": [1, 2, 3], "y": [2, 4, 6]}), of=CoMoments())
    >>> correlations(cube).sel(co_row="x", co_column="y").item()
    1.0
    """
    if "co_n" not in cube:
        raise WorkbenchError("this cube has no co-moments; count it with of=[..., CoMoments()]")
    r = _r(cube["co_n"].values.astype("float64"), cube["co_cross"].values)
    return cube["co_cross"].copy(data=r).rename("correlation")


def pairs(reference: xr.Dataset, current: xr.Dataset, *, least: int = LEAST) -> pd.DataFrame:
    """How the correlation of every pair of columns changed in every window, one row a (window, pair).

    reference, current: cubes with the same co-moments, with windows or without; the reference's are added up, and used to
    learn how much correlations vary by themselves. least: rows that both sides need.
    Returns window ("" for all of the current ones together), a, b, before, now (correlations), change (-2 to 2), noise
    (expected size of the change when nothing moved), excess (above it, 0 upwards), p (two-sided, of Fisher's z = atanh r,
    variance 1 / (n - 3); Fisher 1915; Student's t where the noise is widened), n_reference, n, widened (the ratio by which
    heavy tails widen the noise, 1 upwards),
    evaluated, why.
    """
    from scipy.stats import t

    n, _, cross, names = _parts(current)
    old_n, old_mean, old_cross, old_names = _parts(reference)
    if names != old_names:
        raise WorkbenchError(f"the two cubes have co-moments of different columns: {old_names} and {names}")
    labels = window_labels(current)
    total_n, _, total = _summed(old_n, old_mean, old_cross)
    if WINDOW in current.dims:
        extra = _summed(*_parts(current)[:3])
        n, cross, labels = np.concatenate([n, extra[0][None]]), np.concatenate([cross, extra[2][None]]), [*labels, ""]
    before, now = _r(total_n, total), _r(n, cross)
    i, j = np.triu_indices(len(names), 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        per = 1 / np.maximum(total_n - 3, 1) + 1 / np.maximum(n - 3, 1)
        widened, freedom = _widened(old_n, old_cross, before)
        z = (_z(now) - _z(before)) / np.sqrt(per) / widened
        noise = HALF_NORMAL * (1 - before**2) * np.sqrt(per) * widened
    size = len(labels), len(i)

    def flat(table: Any) -> Any:
        return np.broadcast_to(table[..., i, j], size).ravel()

    few, before, now, noise = flat(np.minimum(total_n, n)), flat(before), flat(now), flat(noise)
    why = np.where(np.isnan(before) | np.isnan(now), "a column is constant on one side", "").astype(object)
    short = few < least
    why[short] = [f"only {k:.0f} rows, {least} needed" for k in few[short]]
    good, change = why == "", now - before
    told = {
        "window": [label for label in labels for _ in i],
        "a": [names[k] for k in i] * len(labels),
        "b": [names[k] for k in j] * len(labels),
        "before": before,
        "now": now,
        "change": np.where(good, change, np.nan),
        "noise": np.where(good, noise, np.nan),
        "excess": np.where(good, np.maximum(np.abs(change) - noise, 0), np.nan),
        "p": np.where(good, 2 * t.sf(np.abs(flat(z)), flat(freedom)), np.nan),
        "n_reference": flat(total_n),
        "n": flat(n),
        "widened": flat(widened),
        "evaluated": good,
        "why": list(why),
    }
    return pd.DataFrame(told)


def _z(r: Any) -> Any:
    return np.arctanh(np.clip(r, -1 + 1e-12, 1 - 1e-12))


def _summed(n: Any, mean: Any, cross: Any) -> tuple[Any, Any, Any]:
    """Co-moments of all windows together."""
    from functools import reduce

    from workbench.cubes.comoments import join

    total = reduce(join, (np.stack([a, b, c]) for a, b, c in zip(n, mean, cross, strict=True)))
    return total[0], total[1], total[2]


def _widened(n: Any, cross: Any, total: Any) -> tuple[Any, Any]:
    """By how much the windows of the reference differ more in z than windows of normal rows would, and from how many
    windows less one that is known; 1 and infinity with few windows."""
    use = n >= 30
    with np.errstate(invalid="ignore", divide="ignore"):
        off = (_z(_r(n, cross)) - _z(total)) * np.sqrt(np.maximum(n - 3, 1))
        off = np.where(use & ~np.isnan(off), off, np.nan)
        count = (~np.isnan(off)).sum(0)
        ratio = np.sqrt(np.nansum(off**2, 0) / np.maximum(count - 1, 1))
    enough = count >= SPREAD
    return np.where(enough, np.maximum(ratio, 1.0), 1.0), np.where(enough, count - 1.0, np.inf)


def judged(changes: pd.DataFrame, *, threshold: float = 0.1, alpha: float = 0.01) -> pd.DataFrame:
    """`pairs` (or `rebuilt`) with q (Benjamini and Hochberg over all rows), drifted and verdict.

    threshold: what a change must have above its noise; alpha: the share of false alarms accepted among the alarms.
    verdict: "drifted", "small shift" (real but below the threshold), "no drift", "not evaluated".
    """
    q = adjusted(changes["p"].to_numpy("float64"))
    real = q <= alpha
    over = real & (changes["excess"].to_numpy("float64") >= threshold)
    verdict = np.select([~changes["evaluated"], over, real], ["not evaluated", "drifted", "small shift"], "no drift")
    return changes.assign(q=q, drifted=over, verdict=verdict)


def rebuilt(reference: xr.Dataset, current: xr.Dataset, *, kept: float = KEPT, least: int = LEAST) -> pd.DataFrame:
    """How well the reference's principal components rebuild the rows of every window: one row a window.

    Columns are brought to the reference's mean and standard deviation; of its correlation matrix as many components are
    kept as hold the share `kept` of the variance. A window's error is the root of the mean squared distance of its rows to
    their rebuilt selves, tr((I - P) M) with M its second moments about the reference's means: 0 (every row is rebuilt)
    upwards, in standard deviations over all columns. It moves when columns cease to go together as they did, and when
    they move away from what the components hold; changes among directions that are all left out or all kept it does not
    see, so read it beside `pairs`. Jolliffe, Principal Component Analysis, 2002; the mean of squares is used
    where others average the distance, since only that is a sum.
    Returns window, error, expected (of the reference), change (error / expected - 1), noise, excess (of |change|), p (normal
    approximation of the trace of a Wishart matrix, variance 2 tr((AS)^2) / n), n, n_reference, components, columns,
    evaluated, why.
    """
    from scipy.stats import t

    if not 0 < kept < 1:
        raise WorkbenchError(
            f"kept={kept!r} is no share of the variance; a number between 0 and 1 is wanted, such as 0.65"
        )
    n, mean, cross, names = _parts(current)
    old_n, old_mean, old_cross, old_names = _parts(reference)
    if names != old_names:
        raise WorkbenchError(f"the two cubes have co-moments of different columns: {old_names} and {names}")
    total_n, total_mean, total = _summed(old_n, old_mean, old_cross)
    r = _r(total_n, total)
    use = np.flatnonzero(~np.isnan(np.diagonal(r)))
    if len(use) < 2:
        raise WorkbenchError("fewer than two columns vary in the reference, so they have no components to keep")
    pick = np.ix_(use, use)
    spread = np.sqrt(np.diagonal(total)[use] / np.diagonal(total_n)[use])
    values, vectors = np.linalg.eigh(np.nan_to_num(r[pick]))
    values, vectors = np.clip(values[::-1], 0, None), vectors[:, ::-1]
    keep = min(int(np.searchsorted(np.cumsum(values) / values.sum(), kept - 1e-9)) + 1, len(use) - 1)
    rest = np.eye(len(use)) - vectors[:, :keep] @ vectors[:, :keep].T
    centre = np.diagonal(total_mean)[use]

    def squared(n: Any, mean: Any, cross: Any) -> tuple[float, float]:
        with np.errstate(invalid="ignore", divide="ignore"):
            here = cross[pick] / n[pick] / np.outer(spread, spread)
            off = (np.diagonal(mean)[use] - centre) / spread
            second = np.nan_to_num(here + np.outer(off, off))
        return float(np.trace(rest @ second)), 2 * float(np.trace(rest @ second @ rest @ second))

    base, variance = squared(total_n, total_mean, total)
    rows = [float(np.diagonal(one)[use].min()) for one in n]
    old_rows = float(np.diagonal(total_n)[use].min())
    apart = [
        (squared(*one)[0] - base, float(np.diagonal(one[0])[use].min()))
        for one in zip(old_n, old_mean, old_cross, strict=True)
    ]
    past = [difference * np.sqrt(k / max(variance, 1e-300)) for difference, k in apart if k >= 30]
    widened = max(1.0, float(np.sqrt(np.sum(np.square(past)) / (len(past) - 1)))) if len(past) >= SPREAD else 1.0
    freedom = len(past) - 1.0 if len(past) >= SPREAD else np.inf
    told: list[dict[str, Any]] = []
    for label, k, one in zip(window_labels(current), rows, zip(n, mean, cross, strict=True), strict=True):
        few = min(k, old_rows)
        why = (
            f"only {few:.0f} rows, {least} needed"
            if few < least
            else ""
            if base > 1e-12
            else "the reference is rebuilt whole"
        )
        error = np.nan if why else squared(*one)[0]
        sd = np.sqrt(variance * (1 / max(k, 1) + 1 / max(old_rows, 1))) * widened
        change = np.sqrt(error / base) - 1 if not why else np.nan
        noise = HALF_NORMAL * sd / base / 2 if not why else np.nan  # of the root: half of the square's
        told.append({
            "window": label, "error": np.sqrt(error), "expected": np.sqrt(base), "change": change, "noise": noise,
            "excess": max(abs(change) - noise, 0) if not why else np.nan,
            "p": float(2 * t.sf(abs(error - base) / sd, freedom)) if not why else np.nan, "n": k, "n_reference": old_rows,
            "components": keep, "columns": len(use), "widened": widened, "evaluated": not why, "why": why,
        })  # fmt: skip
    return pd.DataFrame(told)


def told(found: pd.DataFrame) -> str:
    """What `judged` found of `pairs`, in one or two sentences."""
    looked = found[found["evaluated"]]
    moved = looked[looked["drifted"]]
    if looked.empty:
        return "No pair of columns could be compared."
    count = len(looked[["a", "b"]].drop_duplicates())
    if moved.empty:
        return f"No correlation of {count} pairs of columns changed by more than sampling gives."
    strongest = moved.sort_values("excess", ascending=False).drop_duplicates(["a", "b"])
    said = "; ".join(
        f"**{one.a}** and **{one.b}** ({one.before:+.2f} before, {one.now:+.2f} now)"
        for one in strongest.head(3).itertuples()
    )
    more = f"; and {len(strongest) - 3} more" if len(strongest) > 3 else ""
    return f"**{len(strongest)}** of {count} pairs of columns go together differently: {said}{more}."


def classified(
    reference: Any,
    current: Any,
    columns: Sequence[str] | None = None,
    *,
    rows: int = 5_000,
    permutations: int = 1_000,
    seed: int = 0,
) -> pd.DataFrame:
    """Whether a classifier can tell the rows of the two sides apart, from a bounded sample of each.

    reference, current: pandas DataFrames, Arrow tables or opened tables. columns: which to use, None for all that both
    have, but for times. rows: at most so many of each side. A gradient boosted classifier (scikit-learn's
    HistGradientBoosting, missing values as they are, text as categories) learns on one half of the rows; on the other half
    its area under the ROC curve is taken (0.5: it cannot tell, 1: it always can; Hanley and McNeil 1982), and which columns
    it needs. The null is that area with the labels of that half shuffled `permutations` times: p is (1 + those that reach
    it) / (1 + permutations), right in every sample size. Same seed, same answer.
    Returns one row: auc, noise (the expected excess over 0.5 of a shuffle), excess, p, n_reference, n, columns, told_by (the
    columns that the classifier needs most, and what the area loses without each), evaluated, why.
    Lopez-Paz and Oquab, Revisiting classifier two-sample tests, 2017.
    """
    try:
        from sklearn.ensemble import HistGradientBoostingClassifier
        from threadpoolctl import threadpool_limits
    except ImportError:
        raise WorkbenchError("classified() wants scikit-learn: pip install 'workbench[drift]'") from None
    if rows < 100 or permutations < 99:
        raise WorkbenchError(f"rows={rows!r} and permutations={permutations!r} are too few; take 100 and 99 or more")
    rng = np.random.default_rng(seed)
    sides = [_sampled(side, rows, rng) for side in (reference, current)]
    names = _usable(sides, columns)
    few = min(len(side) for side in sides)
    about = {"n_reference": len(sides[0]), "n": len(sides[1]), "columns": len(names)}
    if few < LEAST:
        why = f"only {few} rows, {LEAST} needed"
        return pd.DataFrame([{"auc": np.nan, "noise": np.nan, "excess": np.nan, "p": np.nan, **about,
                              "told_by": "", "evaluated": False, "why": why}])  # fmt: skip
    x, text = _encoded(pd.concat([side[names] for side in sides], ignore_index=True))
    y = np.repeat([0, 1], [len(side) for side in sides])
    train = np.zeros(len(y), dtype=bool)
    for label in (0, 1):
        mine = rng.permutation(np.flatnonzero(y == label))
        train[mine[: len(mine) // 2]] = True
    model = HistGradientBoostingClassifier(
        max_iter=60, max_leaf_nodes=15, min_samples_leaf=20, l2_regularization=1.0, early_stopping=False,
        categorical_features=text, random_state=seed,
    )  # fmt: skip
    held, truth = x[~train], y[~train]
    with threadpool_limits(1, "openmp"):  # so few rows a thread does alone sooner than several that wait for each other
        model.fit(x[train], y[train])
        score, *blind = _scores(model, held, rng)
    auc = _auc(score, truth[None])[0]
    shuffled = np.stack([rng.permutation(truth) for _ in range(permutations)])
    null = _auc(score, shuffled)
    noise = float(np.maximum(null - 0.5, 0).mean() * 2)
    told_by = [(float(auc - _auc(one, truth[None])[0]), name) for one, name in zip(blind, names, strict=True)]
    most = [f"{name} ({loss:.2f})" for loss, name in sorted(told_by, reverse=True)[:3] if loss > 0.005]
    p = float((1 + (null >= auc - 1e-12).sum()) / (1 + permutations))
    return pd.DataFrame([{
        "auc": float(auc), "noise": noise, "excess": float(max(auc - 0.5 - noise, 0)), "p": p, **about,
        "told_by": ", ".join(most), "evaluated": True, "why": "",
    }])  # fmt: skip


def _scores(model: Any, held: Any, rng: np.random.Generator) -> list[Any]:
    """The scores of rows as they are, and with each of their columns shuffled, one after the other."""
    count, step = held.shape[1], max(1, AT_ONCE // max(1, held.size))
    found = list(model.predict_proba(held)[:, 1][None])
    for first in range(0, count, step):
        columns = range(first, min(first + step, count))
        blind = np.repeat(held[None], len(columns), axis=0)
        for one, i in zip(blind, columns, strict=True):
            one[:, i] = rng.permutation(one[:, i])
        found += list(model.predict_proba(blind.reshape(-1, count))[:, 1].reshape(len(columns), -1))
    return found


def _auc(score: Any, labels: Any) -> Any:
    """Area under the ROC curve of each row of labels: Mann and Whitney's statistic of the ranks over its largest value."""
    from scipy.stats import rankdata

    ranks, ones = rankdata(score), labels.sum(1)
    return (labels @ ranks - ones * (ones + 1) / 2) / (ones * (labels.shape[1] - ones))


def _sampled(side: Any, rows: int, rng: np.random.Generator) -> pd.DataFrame:
    if hasattr(side, "sample") and hasattr(side, "kinds"):
        found = side.sample(rows, list(side.kinds))
        return pd.DataFrame({name: column.to_pandas() for name, column in found.items()})
    frame = side.to_pandas() if hasattr(side, "to_pandas") else side
    if not isinstance(frame, pd.DataFrame):
        raise WorkbenchError(
            f"classified() got a {type(side).__name__}; a DataFrame, an Arrow table or an opened table is wanted"
        )
    if len(frame) <= rows:
        return frame.reset_index(drop=True)
    return frame.iloc[np.sort(rng.choice(len(frame), rows, replace=False))].reset_index(drop=True)


def _usable(sides: list[pd.DataFrame], columns: Sequence[str] | None) -> list[str]:
    from workbench.errors import nearest

    shared = [str(c) for c in sides[1].columns if c in sides[0].columns]
    for name in columns or ():
        if name not in shared:
            raise WorkbenchError(f"both sides need the column {name!r}; {nearest(name, shared)}")
    found = [
        c
        for c in (shared if columns is None else columns)
        if not any(side[c].dtype.kind in "mM" or _times(side[c]) for side in sides)
    ]
    if not found:
        raise WorkbenchError("the two sides share no column that a classifier can use")
    return list(found)


def _times(column: pd.Series) -> bool:
    return isinstance(column.dtype, pd.DatetimeTZDtype)


def _encoded(frame: pd.DataFrame) -> tuple[Any, list[int]]:
    """The rows as floats, NaN where missing; text as the places of its 50 most frequent values, the others together."""
    out, text = [], []
    for i, name in enumerate(frame.columns):
        column = frame[name]
        if pd.api.types.is_bool_dtype(column) or pd.api.types.is_numeric_dtype(column):
            values = column.astype("float64").to_numpy(dtype="float64", na_value=np.nan)
            out.append(np.clip(np.where(np.isinf(values), np.sign(values) * 1e300, values), -1e300, 1e300))
            continue
        named = column.astype(object).where(column.notna(), None).map(lambda v: None if v is None else str(v))
        top = {value: place for place, value in enumerate(named.value_counts().index[:50])}
        out.append(np.array([np.nan if v is None else float(top.get(v, len(top))) for v in named]))
        text.append(i)
    return np.column_stack(out), text


def words(one: pd.Series) -> str:
    """What `classified` found, in a sentence."""
    if not one["evaluated"]:
        return f"No classifier was tried: {one['why']}."
    sure = f"p {one['p']:.3f} of shuffled labels"
    if one["p"] > 0.01:
        return f"A classifier cannot tell the two sides apart (AUC {one['auc']:.2f}, {sure})."
    by = f", most by {one['told_by']}" if one["told_by"] else ""
    return f"A classifier tells the two sides apart in {say_share(round(one['auc'], 3))} of pairs of rows ({sure}){by}."
