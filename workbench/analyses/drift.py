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
from workbench.analyses.parts import WINDOW, levels, say_share, say_window, segments, tidy, window_labels
from workbench.analyses.pattern import adjusted
from workbench.errors import WorkbenchError

RARE = 0.005  # text values below this share in the reference and in every window are compared as one
MANY = 0.5  # a text column with more different values than this share of its rows is a name, not a category
EXTRA = ("missing", "nan", "infinite")  # told by their shares, beside the values
LONG = {"ks": "KS distance", "total_variation": "total variation"}
DISTANCES = ("ks", "psi", "jensen_shannon", "total_variation", "wasserstein")
METRICS = (
    "rows_reference", "rows_current", "values_reference", "values_current",
    *(f"{name}{end}" for name in DISTANCES for end in ("", "_noise", "_excess", "_p")),
    *(f"{name}_change{end}" for name in EXTRA for end in ("", "_noise", "_excess", "_p")),
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
    before = dict(segments(reference))
    frames = []
    for segment, after in segments(current):
        if segment in before:
            shared = [str(c) for c in after["column"].values if c in before[segment]["column"].values]
            frames += [_column(before[segment], after, segment, column, least) for column in shared]
    if not frames:
        raise WorkbenchError("the two tables share no column to compare")
    frame = pd.concat(frames, ignore_index=True)
    frame.insert(1, "reference", name)
    return frame


def _column(before: xr.Dataset, after: xr.Dataset, segment: str, column: str, least: int) -> pd.DataFrame:
    kind = str(after["kind"].sel(column=column).values)
    old, new = before.sel(column=column), after.sel(column=column)
    rows = _windows(after["count"])
    frame = pd.DataFrame(
        {"window": [*window_labels(after), ""][: len(rows)], "segment": segment, "column": column, "kind": kind}
    )
    total = int(before["count"])
    frame["rows_reference"], frame["rows_current"] = total, rows
    for extra in EXTRA:
        k, part = int(old[extra]), _windows(new[extra])
        frame[f"{extra}_reference"], frame[f"{extra}_current"] = k / max(total, 1), part / np.maximum(rows, 1)
        change = frame[f"{extra}_current"] - frame[f"{extra}_reference"]
        noise, p = far.share_noise(k, total, part, rows), far.share_p(k, total, part, rows)
        _put(frame, f"{extra}_change", change, noise, p)
    frame["missing_evaluated"] = (frame["rows_reference"] >= least) & (frame["rows_current"] >= least)
    for one in DISTANCES:
        _put(frame, one, np.nan, np.nan, np.nan)
    frame["metric"], frame["why"] = ("total_variation" if kind == "text" else "ks"), ""
    a, b, at, why = _text(before, after, column) if kind == "text" else _numbers(before, after, column, kind)
    frame["values_reference"], frame["values_current"] = a.sum(), b.sum(-1) if b.ndim > 1 else b.sum()
    if not why and a.sum() and b.sum():
        _measure(frame, a, b, at)
    few = (frame["values_reference"] < least) | (frame["values_current"] < least)
    smaller = frame[["values_reference", "values_current"]].min(axis=1).astype("int64").astype(str)
    frame.loc[few, "why"] = "only " + smaller[few] + f" values, {least} needed"
    if why:
        frame["why"] = why
    frame["evaluated"] = frame["why"] == ""
    for name in ("distance", "distance_noise", "distance_excess", "distance_p"):
        source = name.replace("distance", str(frame["metric"].iloc[0]))
        frame[name] = frame[source].where(frame["evaluated"])
    return frame


def _windows(array: xr.DataArray) -> Any:
    """Counts of each window and, when there are any windows, of all of them together last."""
    values = np.atleast_1d(array.values).astype("float64")
    return np.append(values, values.sum()) if WINDOW in array.dims else values


def _put(frame: pd.DataFrame, name: str, value: Any, noise: Any, p: Any) -> None:
    frame[name], frame[f"{name}_noise"], frame[f"{name}_p"] = value, noise, p
    frame[f"{name}_excess"] = (np.abs(frame[name]) - frame[f"{name}_noise"]).clip(lower=0)


def _numbers(before: xr.Dataset, after: xr.Dataset, column: str, kind: str) -> tuple[Any, Any, Any, str]:
    from workbench.cubes import histogram

    none = np.zeros(1), np.zeros((len(_windows(after["count"])), 1)), None
    if kind in ("time", "other"):
        return *none, "a time moves by itself" if kind == "time" else "this kind of column has no values to compare"
    old, new = histogram(before, column), histogram(after, column)
    if not old.sizes["bin"] or not new.sizes["bin"]:
        return *none, ""
    edges = ((one["low"].values, one["high"].values) for one in (old, new))
    cell_old, cell_new, at = far.together(*edges)
    counts = new["count"].transpose(..., "bin").values
    if counts.ndim > 1:
        counts = np.vstack([counts, counts.sum(0)])
    a, b = far.onto(old["count"].values, cell_old, len(at)), far.onto(np.atleast_2d(counts), cell_new, len(at))
    return a, b, at, ""


def _text(before: xr.Dataset, after: xr.Dataset, column: str) -> tuple[Any, Any, None, str]:
    values, a, b = values_of(before, after, column)
    other = a[values.index("(other)")] if "(other)" in values else 0
    why = ""
    if a.sum() and (other > MANY * a.sum() or (a > 0).sum() > MANY * a.sum()):
        why = "nearly every row has its own value"
    with np.errstate(invalid="ignore", divide="ignore"):
        most = np.fmax(a / a.sum(), np.nan_to_num(b / np.where(b.sum(-1) >= 100, b.sum(-1), np.inf)[:, None]).max(0))
    keep = most >= RARE
    return np.append(a[keep], a[~keep].sum()), np.column_stack([b[:, keep], b[:, ~keep].sum(-1)]), None, why


def values_of(before: xr.Dataset, after: xr.Dataset, column: str) -> tuple[list[str], Any, Any]:
    """A text column's values, their counts in the reference, and in each window (all together last); none missing."""
    from workbench.cubes import categories

    old, new = categories(before, column), categories(after, column)
    old, new = xr.align(old, new, join="outer", fill_value=0)
    keep = [value for value in old["value"].values if value != "(missing)"]
    a = old.sel(value=keep).values.astype("float64")
    b = np.atleast_2d(new.sel(value=keep).transpose(..., "value").values.astype("float64"))
    if WINDOW in new.dims:
        b = np.vstack([b, b.sum(0)])
    return [str(value) for value in keep], a, b


def _measure(frame: pd.DataFrame, a: Any, b: Any, at: Any) -> None:
    few, many = a, b
    if at is not None:
        d = far.ks(a, b)
        _put(frame, "ks", d, far.ks_noise(a, b), far.ks_p(d, a, b))
        _put(frame, "wasserstein", far.wasserstein(a, b, at), far.wasserstein_noise(a, b, at), np.nan)
        groups = far.equal_parts(a)
        few, many = far.grouped(a, groups), far.grouped(b, groups)
    p = far.chi_square_p(few, many)
    _put(frame, "psi", far.psi(few, many), far.psi_noise(few, many), p)
    _put(frame, "jensen_shannon", far.jensen_shannon(few, many), far.jensen_shannon_noise(few, many), p)
    _put(frame, "total_variation", far.total_variation(few, many), far.total_variation_noise(few, many), p)


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
    """The row of the strongest drift of a single window (of all together when there are none), all rows preferred."""
    found = judged[judged["drifted"]]
    if (found["window"] != "").any():
        found = found[found["window"] != ""]
    if found.empty:
        return None
    whole = found[found["segment"] == ""]
    return (whole if len(whole) else found).sort_values("size", ascending=False, kind="stable").iloc[0]


def columns(judged: pd.DataFrame) -> pd.DataFrame:
    """One row a column, the strongest first: verdict, since (first drifted window), windows drifted of how many,
    the largest distance with its metric, where it was, and all of it in words."""
    return pd.DataFrame(list(_columns(judged))).sort_values(
        ["drifted", "largest"], ascending=False, kind="stable", ignore_index=True
    )


def _columns(judged: pd.DataFrame) -> Iterator[dict[str, Any]]:
    timed = bool((judged["window"] != "").any())
    single = judged[judged["window"] != ""] if timed else judged
    for column, rows in single.groupby("column", sort=False):
        whole, found = rows[rows["segment"] == ""], rows[rows["drifted"]]
        here = found[found["segment"] == ""]
        shown = here if len(here) else found
        top = shown.loc[shown["size"].idxmax()] if len(shown) else None
        looked = whole[whole["verdict"] != "not evaluated"]
        largest = whole["distance"].max()
        if top is not None:
            verdict, text = "drifted", _words(top, shown, looked, timed)
        elif looked.empty:
            reasons = whole["why"][whole["why"] != ""]
            verdict, text = "not evaluated", reasons.iloc[0] if len(reasons) else "too few rows"
        elif (looked["verdict"] == "small shift").any():
            verdict, text = "small shift", f"real, but below the threshold: {_distance(looked)} at most"
        else:
            verdict, text = "no drift", f"{_distance(looked)} at most: what sampling alone would give"
        yield {
            "column": column, "kind": rows["kind"].iloc[0], "verdict": verdict, "drifted": top is not None,
            "largest": float(top["distance"] if top is not None else largest), "metric": rows["metric"].iloc[0],
            "since": shown["window"].iloc[0] if len(shown) else "", "windows": shown["window"].nunique(),
            "evaluated": looked["window"].nunique(), "segment": "" if top is None else top["segment"], "words": text,
        }  # fmt: skip


def _distance(rows: pd.DataFrame) -> str:
    return f"{LONG[rows['metric'].iloc[0]]} {rows['distance'].max():.3f}"


def _words(top: pd.Series, found: pd.DataFrame, looked: pd.DataFrame, timed: bool) -> str:
    if top["by"] == "values":
        what = f"{LONG[top['metric']]} {top['distance']:.3f}, {top['distance_noise']:.3f} expected from sampling"
    else:
        label = {"nan": "NaN"}.get(top["by"], top["by"])
        old, new = top[f"{top['by']}_reference"], top[f"{top['by']}_current"]
        what = f"{label} share {say_share(old)} before, {say_share(new)} now"
    place = f" in {top['segment']}" if top["segment"] else ""
    if not timed:
        return what + place
    when = f"{found['window'].nunique()} of {max(looked['window'].nunique(), found['window'].nunique())} windows"
    return f"{what}{place}, most at {say_window(top['window'])}; {when}, first {say_window(found['window'].iloc[0])}"


def headline(judged: pd.DataFrame) -> list[tuple[str, float | int | str, str, bool | None]]:
    """Name, value, unit and whether it is good, of the few figures a person needs first."""
    table, top = columns(judged), worst(judged)
    compared = int((table["verdict"] != "not evaluated").sum())
    count = int(table["drifted"].sum())
    figures: list[tuple[str, float | int | str, str, bool | None]] = [
        ("columns compared", compared, "columns", None if compared else False),
        ("columns drifted", count, "columns", count == 0),
        ("most drifted column", "none" if top is None else str(top["column"]), "", None),
    ]
    if top is None:
        largest = table["largest"].max()
        return [*figures, ("largest distance", round(float(largest), 4) if np.isfinite(largest) else 0.0, "of 1", None)]
    values = top["by"] == "values"
    size = top["distance"] if values else top[f"{top['by']}_change"]
    unit = LONG[top["metric"]] if values else f"change of the {top['by']} share"
    since = judged[judged["drifted"] & (judged["column"] == top["column"]) & (judged["segment"] == top["segment"])]
    return [
        *figures,
        ("largest distance", round(float(size), 4), unit, False),
        ("largest in window", top["window"], "UTC start", None),
        ("drifted since", since["window"][since["window"] != ""].min() if top["window"] else "", "UTC start", None),
        ("in segment", top["segment"] or "all rows", "", None),
    ]


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
    """Both distributions of one row of `judge`: side ("reference", "current"), value (text) or low and high, count.

    Empty for None, and with no value for text that has too many. Ascending within a side.
    """
    from workbench.cubes import histogram, select

    blank = pd.DataFrame(columns=["side", "column", "when", "value", "low", "high", "count"])
    if row is None:
        return blank
    before = next(cube for name, cube in segments(reference) if name == row["segment"])
    after = next(cube for name, cube in segments(current) if name == row["segment"])
    if row["window"] and WINDOW in after.dims:
        label = after[WINDOW].values[window_labels(after).index(row["window"])]
        after = select(after, **{WINDOW: label})
    column, frames = row["column"], []
    if row["kind"] == "text":
        values, a, b = values_of(before, after, column)
        frames = [pd.DataFrame({"side": side, "value": values, "low": np.nan, "high": np.nan, "count": count})
                  for side, count in (("reference", a), ("current", b[-1]))]  # fmt: skip
    else:
        for side, cube in (("reference", before), ("current", after)):
            bins = histogram(cube, column)
            counts = bins["count"].sum([dim for dim in bins["count"].dims if dim != "bin"]).values
            frame = pd.DataFrame({"low": bins["low"].values, "high": bins["high"].values, "count": counts})
            frames.append(frame[frame["count"] > 0].assign(side=side, value=""))
    place = f" in {row['segment']}" if row["segment"] else ""
    made = pd.concat(frames, ignore_index=True).assign(column=column, when=f"{say_window(row['window'])}{place}")
    return made[blank.columns]


def summary(judged: pd.DataFrame, name: str) -> str:
    """What was found, in one or two sentences."""
    table = columns(judged)
    found, looked = table[table["drifted"]], table[table["verdict"] != "not evaluated"]
    rest = len(table) - len(looked)
    tail = f" {rest} could not be evaluated." if rest else ""
    if found.empty:
        return f"None of {len(looked)} columns drifted from {name}.{tail}"
    said = "; ".join(f"**{one.column}**: {one.words}" for one in found.head(5).itertuples())
    more = f"; and {len(found) - 5} more" if len(found) > 5 else ""
    return f"**{len(found)}** of {len(looked)} columns drifted from {name}. {said}{more}.{tail}"


def told(table: pd.DataFrame) -> pd.DataFrame:
    """The verdicts of `columns` as a person reads them."""
    return pd.DataFrame({"column": table["column"], "verdict": table["verdict"], "largest": table["largest"],
                         "measured as": table["metric"].map(LONG), "in words": table["words"]})  # fmt: skip
