"""What a comparison can detect, before it is scheduled: the smallest shift that an alarm would catch.

An alarm needs an adjusted p of at most alpha and an excess over the noise of at least the threshold. From the numbers of
values alone follow the distance that both demand, and, with the sampling error of the distance on top, the distance that
raises the alarm with a given chance (the power). The correction is taken at its hardest (Bonferroni's alpha / tests), so
that the promise holds however many of the tests move.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from workbench.analyses import distances as far
from workbench.analyses.pairs import paired, pooled
from workbench.analyses.parts import OTHER, WINDOW, by_segment, say_share, say_window, window_labels
from workbench.analyses.verdict import asked_for
from workbench.errors import WorkbenchError

Floats = npt.NDArray[np.float64]


def smallest_ks(
    n: npt.ArrayLike,
    m: npt.ArrayLike,
    *,
    threshold: float = 0.1,
    alpha: float = 0.01,
    power: float = 0.8,
    tests: int = 1,
) -> Floats:
    """The smallest KS distance that raises an alarm with chance `power`, from n and m values: 0 to 1, inf if none does.

    The larger of the critical distance K^-1(alpha / tests) s and noise + threshold, s = sqrt(1/n + 1/m), plus z_power s / 2,
    half being the largest standard error that a difference of two cumulative shares can have. Careful: real columns are
    detected at this distance or below it.

    >>> smallest_ks([10_000, 200], [1_000, 50]).round(3).tolist()
    [0.143, 0.324]
    """
    from scipy.special import kolmogi, ndtri

    with np.errstate(divide="ignore"):
        s = np.sqrt(1 / np.asarray(n, dtype="float64") + 1 / np.asarray(m, dtype="float64"))
    least = np.maximum(kolmogi(alpha / max(tests, 1)) * s, far.KOLMOGOROV_MEAN * s + threshold)
    found = least + ndtri(power) * s / 2
    return np.where(found <= 1, found, np.inf)


def chance_ks(
    distance: npt.ArrayLike, n: npt.ArrayLike, m: npt.ArrayLike, *, threshold: float = 0.1, alpha: float = 0.01,
    tests: int = 1,
) -> Floats:  # fmt: skip
    """The least chance that a true KS distance raises an alarm, from n and m values: 0 to 1; `smallest_ks` turned round.

    >>> chance_ks([0.0, 0.143, 0.3], 10_000, 1_000).round(2).tolist()
    [0.0, 0.8, 1.0]
    """
    from scipy.special import kolmogi, ndtr

    with np.errstate(divide="ignore", invalid="ignore"):
        s = np.sqrt(1 / np.asarray(n, dtype="float64") + 1 / np.asarray(m, dtype="float64"))
        least = np.maximum(kolmogi(alpha / max(tests, 1)) * s, far.KOLMOGOROV_MEAN * s + threshold)
        found = ndtr(2 * (np.asarray(distance, dtype="float64") - least) / s)
    return np.where(np.isfinite(s), found, 0.0)


def curves(judged: pd.DataFrame, *, threshold: float = 0.1, alpha: float = 0.01, steps: int = 26) -> pd.DataFrame:
    """The power curve of every number's usual window, as `drift.judge` has judged it: column, n_reference, n, distance, chance.

    distance: 0 to 0.5 in `steps`; chance: the least chance of an alarm at that true KS distance, with the numbers of values of
    the column's median window and the correction at its hardest. Columns that were not evaluated have no curve.
    """
    looked = judged[judged["evaluated"] & (judged["segment"] == "") & (judged["metric"] == "ks")]
    at, tests, told = np.linspace(0, 0.5, steps), max(int(judged["evaluated"].sum()) * 4, 1), []
    for column, rows in looked.groupby("column", sort=False):
        n, m = float(rows["values_reference"].median()), float(rows["values_current"].median())
        chance = chance_ks(at, n, m, threshold=threshold, alpha=alpha, tests=tests)
        told.append(pd.DataFrame({"column": column, "n_reference": n, "n": m, "distance": at, "chance": chance}))
    names = ["column", "n_reference", "n", "distance", "chance"]
    return pd.concat(told, ignore_index=True) if told else pd.DataFrame(columns=names)


def smallest_variation(
    shares: npt.ArrayLike,
    n: npt.ArrayLike,
    m: npt.ArrayLike,
    *,
    threshold: float = 0.1,
    alpha: float = 0.01,
    power: float = 0.8,
    tests: int = 1,
) -> Floats:
    """The smallest total variation that raises an alarm with chance `power`: 0 to 1, inf if none does.

    shares: the reference's shares of its values. The larger of what the threshold demands (noise + threshold, plus
    z_power standard errors) and of what the chi-square of k - 1 degrees demands when the shift lies where it counts least:
    chi-square's noncentrality is then 4 TV^2 / (1/n + 1/m) (Cauchy and Schwarz).

    >>> smallest_variation([0.5, 0.3, 0.2], 10_000, 1_000).round(3).item()
    0.132
    """
    from scipy.special import chndtrinc, ndtri
    from scipy.stats import chi2

    p = np.asarray(shares, dtype="float64")
    p = p[p > 0]
    with np.errstate(divide="ignore"):
        per = 1 / np.asarray(n, dtype="float64") + 1 / np.asarray(m, dtype="float64")
    noise = far.HALF_NORMAL / 2 * np.sqrt(per) * np.sqrt(np.clip(p * (1 - p), 0, None)).sum()
    free = max(len(p) - 1, 1)
    beyond = float(chndtrinc(chi2.isf(alpha / max(tests, 1), free), free, 1 - power))
    found = np.maximum(noise + threshold + ndtri(power) * np.sqrt(per) / 2, np.sqrt(beyond * per) / 2)
    return np.where(found <= 1, found, np.inf)


def smallest_share(
    share: npt.ArrayLike,
    n: npt.ArrayLike,
    m: npt.ArrayLike,
    *,
    threshold: float = 0.05,
    alpha: float = 0.01,
    power: float = 0.8,
    tests: int = 1,
) -> Floats:
    """The smallest rise of a share (of missing values, say) that raises an alarm with chance `power`: 0 to 1, inf if none.

    Solved for the higher share h = share + rise: rise >= max(z_alpha s0, noise + threshold) + z_power s1, s0 and s1 the
    standard errors when nothing and when that much moved.

    >>> smallest_share(0.01, 10_000, 1_000).round(3).item()
    0.06
    """
    from scipy.special import ndtri

    p, n, m = np.broadcast_arrays(*(np.asarray(one, dtype="float64") for one in (share, n, m)))
    rise, z = np.full(p.shape, threshold), -ndtri(alpha / max(tests, 1) / 2)
    with np.errstate(divide="ignore", invalid="ignore"):
        for _ in range(60):
            h = np.clip(p + rise, 0, 1)
            both = (n * p + m * h) / (n + m)
            s0 = np.sqrt(both * (1 - both) * (1 / n + 1 / m)) + (1 / n + 1 / m) / 2 / z  # with Yates's half row
            s1 = np.sqrt(p * (1 - p) / n + h * (1 - h) / m)
            rise = np.maximum(z * s0, far.HALF_NORMAL * s0 + threshold) + ndtri(power) * s1
    return np.where(p + rise <= 1, rise, np.inf)


def shift_of(counts: npt.ArrayLike, at: npt.ArrayLike, distance: npt.ArrayLike) -> Floats:
    """How far all values must move up for a KS distance, in the column's unit: the smallest s with KS(F, F(. - s)) >= d.

    counts: of the reference's cells, at: their ascending values. inf where no shift gives it, NaN without values.

    >>> shift_of([1, 1, 1, 1], [0.0, 1.0, 2.0, 3.0], [0.2, 0.5]).tolist()
    [1.0, 2.0]
    """
    a, x = np.asarray(counts, dtype="float64"), np.asarray(at, dtype="float64")
    keep = a > 0
    a, x = a[keep], x[keep]
    wanted = np.atleast_1d(np.asarray(distance, dtype="float64"))
    if not len(x):
        return np.full(wanted.shape, np.nan)
    level = np.cumsum(a) / a.sum()
    below = np.append(0.0, level[:-1])
    # F(x) - F(x - s) reaches d at the narrowest interval that holds a share of d
    found = np.full(wanted.shape, np.inf)
    for place, d in enumerate(wanted):
        if not np.isfinite(d) or d > 1:
            continue
        end = np.searchsorted(level, below + d - 1e-12)
        ok = end < len(x)
        if ok.any():
            after = np.minimum(end[ok] + 1, len(x) - 1)
            width = np.where(
                end[ok] + 1 < len(x), x[after] - x[ok], x[end[ok]] - x[ok] + (x[-1] - x[0]) / max(len(x) - 1, 1)
            )
            found[place] = max(float(width.min()), 0.0)
    return found.reshape(np.shape(distance)) if np.shape(distance) else found[0]


def detectable(
    reference: xr.Dataset,
    current: xr.Dataset | None = None,
    *,
    rows: int | None = None,
    threshold: float = 0.1,
    missing: float = 0.05,
    alpha: float = 0.01,
    power: float = 0.8,
    least: int = 100,
) -> pd.DataFrame:
    """The smallest shift of every column and window that would raise an alarm with chance `power`.

    reference: a cube, its windows taken together; current: a cube with the windows to come (those of another time will
    do: only their numbers of values are used); without it, `rows` rows a window. The other names are those of `judge`.
    Returns a frame: column, kind, window, n_reference, n, metric, distance (the smallest KS or total variation), shift (of
    a number, in its own unit; NaN where the reference holds a single value, inf where no shift gives that distance),
    shift_in_deviations, missing (rise of the missing share), evaluated, words.
    """
    asked_for(threshold, missing, alpha)
    if rows is not None and rows < 1:
        raise WorkbenchError(f"rows={rows!r} is no number of rows of a window; a whole number from 1 is wanted")
    names = [str(one) for one in reference["column"].values]
    labels = [""] if current is None else window_labels(current)
    total = float(by_segment(reference, "count")[0].sum(WINDOW).values[0])
    gone = by_segment(reference, "missing")[0].sum(WINDOW)
    counted = None if current is None else by_segment(current, "count")[0].values[0]
    size = np.array([float(rows or total)]) if counted is None else counted.astype("float64")
    if current is not None:
        names = [name for name in names if name in current["column"].values]
    tests = 4 * len(names) * len(labels)
    asked: dict[str, Any] = {"alpha": alpha, "power": power, "tests": tests}
    told = []
    for column in names:
        pair = paired(reference, reference if current is None else current, column)
        lost = float(gone.sel(column=column).values[0]) / max(total, 1)
        rise = smallest_share(lost, total, size, threshold=missing, **asked)
        one: dict[str, Any] = {"column": column, "kind": pair.kind, "window": labels, "n_reference": total * (1 - lost),
                               "n": size * (1 - lost), "metric": "total_variation" if pair.kind == "text" else "ks",
                               "distance": np.inf, "shift": np.nan, "shift_in_deviations": np.nan, "missing": rise}  # fmt: skip
        why = pair.why
        if not why:
            a, b = pair.old.counts("", len(pair.at))[-1], pair.new.counts("", len(pair.at))
            n = one["n_reference"] = a.sum()
            m = one["n"] = one["n"] if current is None else (b if len(b) == len(labels) else b[:-1]).sum(-1)
            if pair.kind == "text":
                a, _, why = pooled(a, b, pair.at == OTHER)
                if not why and n:
                    one["distance"] = smallest_variation(a / n, n, m, threshold=threshold, **asked)
            elif n:
                one["distance"] = smallest_ks(n, m, threshold=threshold, **asked)
                one["shift"] = shift_of(a, pair.at, one["distance"])
                unit = float(far.deviation(a, pair.at))
                one["shift_in_deviations"] = one["shift"] / unit if unit else np.nan
                one["shift"] = one["shift"] if unit else np.nan  # a single value has no width to be shifted by
        few = np.minimum(one["n_reference"], one["n"])
        one["why"] = [
            why or ("" if k >= least else f"only {k:.0f} values, {least} needed")
            for k in np.broadcast_to(few, len(labels))
        ]
        told.append(pd.DataFrame({key: np.broadcast_to(np.asarray(value), len(labels)) for key, value in one.items()}))
    frame = pd.concat(told, ignore_index=True)
    frame["evaluated"] = frame["why"] == ""
    frame["distance"] = frame["distance"].where(frame["evaluated"], np.inf)
    frame["words"] = [_said(one) for one in frame.itertuples()]
    return frame


def usual(found: pd.DataFrame) -> pd.DataFrame:
    """One row of `detectable` a column: its usual window, the one of the median number of values."""
    if found.empty:
        return found
    ordered = found.sort_values("n", kind="stable")
    rows = [part.iloc[len(part) // 2] for _, part in ordered.groupby("column", sort=False)]
    table = pd.DataFrame(rows).set_index("column").reindex(list(dict.fromkeys(found["column"]))).reset_index()
    return table[found.columns]


def words(one_each: pd.DataFrame, alpha: float = 0.01, power: float = 0.8, most: int = 3) -> tuple[str, str]:
    """What an alarm would catch in a usual window, and how to read the curves, in a sentence or two each.

    one_each: `usual`. Named are the columns whose smallest distance is the largest: those where the most stays unseen.
    """
    looked = one_each[one_each["evaluated"].astype(bool)]
    if looked.empty:
        return "No column has values enough for an alarm.", ""
    blind = looked.sort_values("distance", ascending=False, kind="stable").head(most)
    said = "; ".join(one.words.replace(f" in {say_window(one.window)}", "", 1) if one.window else one.words
                     for one in blind.itertuples())  # fmt: skip
    rest = f" (the {len(blind)} columns that hide the most)" if len(looked) > len(blind) else ""
    return (
        f"The smallest change of a usual window that raises an alarm in {100 * power:.0f} of 100 cases{rest}: {said}.",
        f"At distance 0 nothing has moved: alarms there are the false ones, {100 * alpha:.0f} in 100 tables at most. "
        "`workbench detectable` tells the same before a table is scheduled.",
    )


def told(found: pd.DataFrame) -> list[str]:
    """`detectable` in words: one line a column, of its usual window and, where it is not the same, of its thinnest one."""
    lines = []
    for _, rows in found.groupby("column", sort=False):
        ordered = rows.sort_values("n", kind="stable")
        usual, thin = ordered.iloc[len(ordered) // 2], ordered.iloc[0]
        several = len(rows) > 1
        lines.append(f"{usual['words']}" + (f" ({usual['n']:,.0f} values, as usual)" if several else ""))
        if several and (thin["n"] < 0.8 * usual["n"] or thin["evaluated"] != usual["evaluated"]):
            lines.append(f"  {thin['words']} ({thin['n']:,.0f} values, the fewest)")
    return lines


def _said(row: Any) -> str:
    place = f" in {say_window(row.window)}" if row.window else ""
    rise = (
        f"a missing share {say_share(row.missing)} higher"
        if np.isfinite(row.missing)
        else "no rise of the missing share"
    )
    if not row.evaluated:
        return f"{row.column}{place}: not evaluated, {row.why}; {rise}"
    if not np.isfinite(row.distance):
        return f"{row.column}{place}: no shift of its values is large enough for an alarm; {rise}"
    if row.metric == "total_variation":
        return f"{row.column}{place}: {say_share(row.distance)} of its rows in other values; {rise}"
    far_off = f"a shift of {row.shift:.3g} ({row.shift_in_deviations:.2g} standard deviations)"
    what = far_off if np.isfinite(row.shift) else f"{say_share(row.distance)} of its values elsewhere"
    return f"{row.column}{place}: {what}, KS distance {row.distance:.3f}; {rise}"
