"""What moved between a reference and the windows after it, by how much, and since when.

`compare` measures, `judge` decides (fast enough for a slider), `columns` and `headline` say it. A column has drifted
in a window when its distance exceeds what sampling alone gives by the threshold *and* the p value, adjusted over every
column, window and segment looked at, is small. Too few rows is "not evaluated", never "no drift".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from workbench.analyses import distances as far
from workbench.analyses.pairs import Pair, paired, pooled
from workbench.analyses.parts import (
    OTHER,
    SEGMENT,
    WINDOW,
    by_segment,
    levels,
    say_share,
    say_span,
    say_window,
    tidy,
    window_labels,
)
from workbench.analyses.pattern import adjusted
from workbench.errors import WorkbenchError

EXTRA = ("missing", "nan", "infinite")  # told by their shares, beside the values
SAID = {"missing": "missing", "nan": "NaN", "infinite": "infinite"}
LONG = {"ks": "KS distance", "total_variation": "total variation"}
ENDS = ("", "_noise", "_excess", "_p")
DISTANCES = ("ks", "psi", "jensen_shannon", "total_variation", "wasserstein")
METRICS = (
    "rows_reference", "rows_current", "values_reference", "values_current",
    *(f"{name}{end}" for name in DISTANCES for end in ENDS),
    *(f"{name}_change{end}" for name in EXTRA for end in ENDS),
    "distance", "distance_q", "missing_change_q", "drifted", "evaluated",
)  # fmt: skip


def compare(reference: xr.Dataset, current: xr.Dataset, name: str, *, least: int = 100) -> pd.DataFrame:
    """Every distance of every column, window and segment from the reference.

    reference: a cube without windows; current: a cube with windows or without; both with the same segment axes.
    name: how the reference is called. least: fewer values than this on either side are not evaluated.
    Returns one row a (window, segment, column): the counts of both sides, every distance with its noise, excess and p
    where they have one (NaN where they have none), `metric` and `distance` (KS for numbers, total variation for
    text), the changes of the missing, NaN and infinite shares, evaluated, and why not. Window "" is all current
    windows together.
    """
    if levels(reference) != levels(current):
        raise WorkbenchError(f"the two cubes have different segments: {levels(reference)[1:]}, {levels(current)[1:]}")
    before = {key: by_segment(reference, key)[0].sum(WINDOW) for key in ("count", *EXTRA)}
    after = {key: by_segment(current, key)[0] for key in ("count", *EXTRA)}
    known, names = list(before["count"][SEGMENT].values), list(after["count"][SEGMENT].values)
    labels = [*window_labels(current), ""] if WINDOW in current.dims else [""]
    rows = _with_total(after["count"].values, len(labels))
    told: list[dict[str, Any]] = []
    for column in [str(column) for column in current["column"].values if column in reference["column"].values]:
        pair = paired(reference, current, column)
        old = {key: before[key].sel(column=column).values for key in EXTRA}
        new = {key: _with_total(after[key].sel(column=column).values, len(labels)) for key in EXTRA}
        for place, segment in enumerate(names):
            if segment not in known:
                continue
            at = known.index(segment)
            total = float(before["count"].values[at])
            one = {"window": labels, "segment": segment, "column": column, "kind": pair.kind,
                   "rows_reference": total, "rows_current": rows[place]}  # fmt: skip
            for extra in EXTRA:
                one |= _changed(extra, float(old[extra][at]), total, new[extra][place], rows[place])
            one["missing_evaluated"] = (total >= least) & (rows[place] >= least)
            told.append(one | _compared(pair, segment, len(labels), least))
    if not told:
        raise WorkbenchError("the two tables share no column to compare")
    size = len(labels)
    frame = pd.DataFrame(
        {key: np.concatenate([np.broadcast_to(np.asarray(one[key]), size) for one in told]) for key in told[0]}
    )
    frame.insert(1, "reference", name)
    return frame


def _with_total(counts: Any, size: int) -> Any:
    """Counts of segments x windows and, when there are windows, of all of them together last."""
    table = np.asarray(counts, dtype="float64")
    return table if table.shape[-1] == size else np.column_stack([table, table.sum(-1)])


def _changed(extra: str, k: float, total: float, part: Any, rows: Any) -> dict[str, Any]:
    before, now = k / max(total, 1), part / np.maximum(rows, 1)
    noise, p = far.share_noise(k, total, part, rows), far.share_p(k, total, part, rows)
    told = _measured(f"{extra}_change", now - before, noise, p)
    return {f"{extra}_reference": before, f"{extra}_current": now, **told}


def _measured(name: str, value: Any, noise: Any, p: Any) -> dict[str, Any]:
    excess = np.maximum(np.abs(value) - noise, 0)
    return {name: value, f"{name}_noise": noise, f"{name}_excess": excess, f"{name}_p": p}


def _compared(pair: Pair, segment: str, size: int, least: int) -> dict[str, Any]:
    """Every distance of one column in one segment, and the main one under the name "distance"."""
    metric, why = "total_variation" if pair.kind == "text" else "ks", pair.why
    a, b = np.zeros(1), np.zeros((size, 1))
    if not why:
        a, b = pair.old.counts(segment, len(pair.at))[-1], pair.new.counts(segment, len(pair.at))
    told: dict[str, Any] = {"metric": metric, "values_reference": a.sum(), "values_current": b.sum(-1)}
    if pair.kind == "text" and not why:
        a, b, why = pooled(a, b, pair.at == OTHER)
    measured = not why and a.sum() and b.sum()
    told |= _distances(a, b, None if pair.kind == "text" else pair.at) if measured else {}
    for name in (f"{one}{end}" for one in DISTANCES for end in ENDS):
        told.setdefault(name, np.nan)
    few = np.minimum(a.sum(), told["values_current"])
    told["why"] = [why or ("" if n >= least else f"only {n:.0f} values, {least} needed") for n in few]
    told["evaluated"] = np.array([not one for one in told["why"]])
    for end in ENDS:
        told[f"distance{end}"] = np.where(told["evaluated"], told[f"{metric}{end}"], np.nan)
    return told


def _distances(a: Any, b: Any, at: Any) -> dict[str, Any]:
    few, many, told = a, b, {}
    if at is not None:
        d = far.ks(a, b)
        told = _measured("ks", d, far.ks_noise(a, b), far.ks_p(d, a, b))
        told |= _measured("wasserstein", far.wasserstein(a, b, at), far.wasserstein_noise(a, b, at), np.nan)
        parts = far.equal_parts(a)
        few, many = far.grouped(a, parts), far.grouped(b, parts)
    p = far.chi_square_p(few, many)
    told |= _measured("psi", far.psi(few, many), far.psi_noise(few, many), p)
    told |= _measured("jensen_shannon", far.jensen_shannon(few, many), far.jensen_shannon_noise(few, many), p)
    return told | _measured("total_variation", far.total_variation(few, many), far.total_variation_noise(few, many), p)


def judge(
    compared: pd.DataFrame, *, threshold: float = 0.1, missing: float = 0.05, alpha: float = 0.01
) -> pd.DataFrame:
    """`compare`'s rows with adjusted p values and a verdict.

    threshold: what a distance must have above its noise (a share of rows, 0 to 1); missing: the same for the change of
    the missing, NaN or infinite share; alpha: the share of false alarms accepted among the alarms.
    Adds distance_q and missing_change_q, drifted (bool), by ("values", "missing", "nan", "infinite" or ""), and
    verdict: "drifted", "small shift" (real but below the threshold), "no drift", "not evaluated".
    """
    frame = compared.copy()
    tests = ["distance_p", *(f"{extra}_change_p" for extra in EXTRA)]
    p = frame[tests].to_numpy(dtype="float64").copy()
    p[:, 1:][~frame["missing_evaluated"].to_numpy()] = np.nan
    q = adjusted(p)
    real = q <= alpha
    limits = [threshold, missing, missing, missing]
    sizes = frame[["distance_excess", *(f"{extra}_change_excess" for extra in EXTRA)]].to_numpy(dtype="float64")
    with np.errstate(invalid="ignore"):
        over = real & (sizes >= np.array(limits))
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


def worst(judged: pd.DataFrame) -> pd.Series | None:
    """The row of the strongest drift of values in a single window (of all together when there are none), all rows
    preferred to segments; None when no column's values drifted."""
    found = judged[judged["by"] == "values"]
    if (found["window"] != "").any():
        found = found[found["window"] != ""]
    if found.empty:
        return None
    whole = found[found["segment"] == ""]
    return (whole if len(whole) else found).sort_values("size", ascending=False, kind="stable").iloc[0]


def columns(judged: pd.DataFrame, alpha: float = 0.01) -> pd.DataFrame:
    """One row a column, the strongest first: verdict, drifted (its values did), moved (those or its missing, NaN or
    infinite share), since (first such window), windows of how many evaluated, the largest distance with its metric,
    in which segment, and all of it in words. verdict is "drifted", "missing changed", "small shift", "no drift" or
    "not evaluated"."""
    table = pd.DataFrame(list(_columns(judged, alpha)))
    return table.sort_values(["drifted", "moved", "largest"], ascending=False, kind="stable", ignore_index=True)


def _columns(judged: pd.DataFrame, alpha: float) -> Iterator[dict[str, Any]]:
    timed = bool((judged["window"] != "").any())
    single = judged[judged["window"] != ""] if timed else judged
    for column, rows in single.groupby("column", sort=False):
        whole, found = rows[rows["segment"] == ""], rows[rows["drifted"]]
        found = found[found["by"] == "values"] if (found["by"] == "values").any() else found
        shown = found[found["segment"] == ""] if (found["segment"] == "").any() else found
        top = shown.loc[shown["size"].idxmax()] if len(shown) else None
        looked = whole[whole["verdict"] != "not evaluated"]
        if top is not None:
            verdict = "drifted" if top["by"] == "values" else f"{SAID[top['by']]} changed"
            text = _words(top, shown, looked, timed)
        elif looked.empty:
            reasons = whole["why"][whole["why"] != ""]
            verdict, text = "not evaluated", reasons.iloc[0] if len(reasons) else "too few rows"
        elif (looked["verdict"] == "small shift").any():
            verdict, text = "small shift", f"real, but below the threshold: {_small(looked, alpha)}"
        else:
            verdict, text = "no drift", f"{_distance(looked)} at most: what sampling alone would give"
        yield {
            "column": column, "kind": rows["kind"].iloc[0], "verdict": verdict,
            "drifted": top is not None and top["by"] == "values", "moved": top is not None,
            "largest": float(whole["distance"].max() if top is None else top["distance"]),
            "metric": rows["metric"].iloc[0], "since": shown["window"].iloc[0] if len(shown) else "",
            "windows": shown["window"].nunique(), "evaluated": looked["window"].nunique(),
            "segment": "" if top is None else top["segment"], "words": text,
        }  # fmt: skip


def _small(rows: pd.DataFrame, alpha: float) -> str:
    if (rows["distance_q"] <= alpha).any():
        return f"{_distance(rows)} at most"
    top = rows.loc[rows["missing_change_excess"].idxmax()]
    return f"missing share {say_share(top['missing_reference'])} before, {say_share(top['missing_current'])} at most"


def _distance(rows: pd.DataFrame) -> str:
    return f"{LONG[rows['metric'].iloc[0]]} {rows['distance'].max():.3f}"


def _words(top: pd.Series, found: pd.DataFrame, looked: pd.DataFrame, timed: bool) -> str:
    if top["by"] == "values":
        what = f"{LONG[top['metric']]} {top['distance']:.3f}, {top['distance_noise']:.3f} expected from sampling"
    else:
        old, new = top[f"{top['by']}_reference"], top[f"{top['by']}_current"]
        what = f"{SAID[top['by']]} share {say_share(old)} before, {say_share(new)} now"
    place = f" in {top['segment']}" if top["segment"] else ""
    if not timed:
        return what + place
    when = f"{found['window'].nunique()} of {max(looked['window'].nunique(), found['window'].nunique())} windows"
    return f"{what}{place}, most at {say_window(top['window'])}; {when}, first {say_window(found['window'].iloc[0])}"


def headline(judged: pd.DataFrame) -> list[tuple[str, float | int | str, str, bool | None]]:
    """Name, value, unit and whether it is good, of the few figures a person needs first."""
    table, top = columns(judged), worst(judged)
    compared, count = int((table["verdict"] != "not evaluated").sum()), int(table["drifted"].sum())
    largest = float(table["largest"].max()) if top is None else float(top["distance"])
    figures: list[tuple[str, float | int | str, str, bool | None]] = [
        ("columns compared", compared, "columns", None if compared else False),
        ("columns drifted", count, "columns", count == 0),
        ("most drifted column", "none" if top is None else str(top["column"]), "", None),
        ("largest distance", round(largest, 4) if np.isfinite(largest) else 0.0,
         "of 1" if top is None else LONG[top["metric"]], top is None),
    ]  # fmt: skip
    if top is not None and top["window"]:
        same = judged[judged["drifted"] & (judged["column"] == top["column"]) & (judged["segment"] == top["segment"])]
        since = same["window"][same["window"] != ""].min()
        figures += [("drifted since", since, "", None), ("largest in window", top["window"], "", None)]
    if top is not None:
        figures.append(("in segment", top["segment"] or "all rows", "", None))
    changed = judged[judged["by"].isin(EXTRA) & (judged["window"] != "" if top is not None else True)]
    names = list(changed.sort_values("size", ascending=False, kind="stable")["column"].drop_duplicates())
    if names:
        figures.append(("missing share changed in", ", ".join(names), "", None))
    return figures


def results(judged: pd.DataFrame) -> pd.DataFrame:
    """The tidy table of a run: window, reference, segment, column, metric, value (float64)."""
    return tidy(judged, ["window", "reference", "segment", "column"], [m for m in METRICS if m in judged])


def chosen(judged: pd.DataFrame, limit: int = 6) -> Sequence[str]:
    """The columns worth a line of their own, strongest first: those whose values drifted, else the furthest."""
    table = columns(judged)
    moved = set(judged["column"][judged["by"] == "values"])
    found = table[table["column"].isin(moved)]
    return list((found if len(found) else table[table["verdict"] != "not evaluated"])["column"].head(limit))


def closest(judged: pd.DataFrame) -> pd.Series | None:
    """The row whose two distributions are worth a picture: the strongest drift of values, else the largest distance."""
    rows = judged[judged["evaluated"]]
    rows = rows[rows["by"] == "values"] if (rows["by"] == "values").any() else rows
    rows = rows[rows["window"] != ""] if (rows["window"] != "").any() else rows
    rows = rows[rows["segment"] == ""] if (rows["segment"] == "").any() else rows
    return None if rows.empty else rows.loc[rows["distance_excess"].idxmax()]


def close_up(reference: xr.Dataset, current: xr.Dataset, row: pd.Series | None) -> pd.DataFrame:
    """Both distributions of one row of `judge`: side ("reference", "current"), value (of text) or low and high, count.

    Empty for None. Cells are those that both sides share, ascending.
    """
    blank = pd.DataFrame(columns=["side", "column", "when", "value", "low", "high", "count"])
    if row is None:
        return blank
    pair = paired(reference, current, row["column"])
    place = f" in {row['segment']}" if row["segment"] else ""
    which = window_labels(current).index(row["window"]) if row["window"] else -1
    text = row["kind"] == "text"
    frames = []
    for side, one, at in (("reference", pair.old, -1), ("current", pair.new, which)):
        frame = pd.DataFrame({"value": pair.at if text else "", "low": np.nan if text else pair.at})
        frame["high"], frame["count"] = frame["low"], one.counts(row["segment"], len(pair.at))[at]
        frames.append(frame.assign(side=side))
    made = pd.concat(frames, ignore_index=True).assign(column=row["column"], when=f"{say_window(row['window'])}{place}")
    return made[blank.columns] if text else made.loc[made["count"] > 0, blank.columns]


def summary(judged: pd.DataFrame, name: str) -> str:
    """What was found, in one or two sentences."""
    table = columns(judged)
    found, looked = table[table["moved"]], table[table["verdict"] != "not evaluated"]
    rest = len(table) - len(looked)
    tail = f" {rest} could not be evaluated." if rest else ""
    if found.empty:
        return f"None of {len(looked)} columns drifted from {say_span(name)}.{tail}"
    said = "; ".join(f"**{one.column}** ({one.words})" for one in found.head(5).itertuples())
    more = f"; and {len(found) - 5} more" if len(found) > 5 else ""
    return f"**{len(found)}** of {len(looked)} columns moved from {say_span(name)}: {said}{more}.{tail}"


def told(table: pd.DataFrame) -> pd.DataFrame:
    """The verdicts of `columns` as a person reads them."""
    return pd.DataFrame({"column": table["column"], "verdict": table["verdict"], "largest": table["largest"],
                         "measured as": table["metric"].map(LONG), "in words": table["words"]})  # fmt: skip
