"""What moved between a reference and the windows after it, by how much, and since when.

`compare` measures, `judge` decides (fast enough for a slider), `columns` and `headline` say it. A column has drifted
in a window when its distance exceeds what sampling alone gives by the threshold *and* the p value, adjusted over every
column, window and segment looked at, is small. Too few rows is "not evaluated", never "no drift".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from workbench.analyses.compared import DISTANCES, ENDS, EXTRA, MORE, ORDERED, OUTSIDE, compare
from workbench.analyses.compat import TOOLS
from workbench.analyses.pairs import paired
from workbench.analyses.parts import say_share, say_span, say_window, segment_axes, window_labels
from workbench.analyses.verdict import judge

__all__ = ["chosen", "close_up", "closest", "columns", "compare", "headline", "judge", "results", "stored", "summary", "told",
           "worst"]  # fmt: skip

SAID = {"missing": "missing", "nan": "NaN", "infinite": "infinite"}
LONG = {"ks": "KS distance", "total_variation": "total variation"}
METRICS = (
    "rows_reference", "rows_current", "values_reference", "values_current",
    *(f"{name}{end}" for name in DISTANCES for end in ENDS),
    *(f"{name}_change{end}" for name in EXTRA for end in ENDS),
    *MORE, *OUTSIDE, "distance", "distance_q", "missing_change_q", "drifted", "evaluated",
)  # fmt: skip
SEEN = ("window", "segment", "column", "kind", "metric", "distance", "distance_noise", "distance_q", "drifted", "by", "size",
        "verdict", "why")  # fmt: skip


def stored(folder: Path | None, make: Callable[[], pd.DataFrame], name: str = "compared") -> pd.DataFrame:
    """A frame as a run has left it in its results/<name>.parquet; what `make` gives, where there is no run or no such file.

    folder: of a stored run, None outside of a page.
    """
    path = folder / "results" / f"{name}.parquet" if folder is not None else None
    return pd.read_parquet(path) if path is not None and path.is_file() else make()


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
    told = judged[[name for name in judged if name in SEEN or name.startswith(EXTRA)]]  # rows of few columns are fast
    for column, rows in _single(told).groupby("column", sort=False):
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


def _single(judged: pd.DataFrame) -> pd.DataFrame:
    """The rows of single windows; where there are no windows, those of all of them together."""
    return judged[judged["window"] != ""] if (judged["window"] != "").any() else judged


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


def headline(
    judged: pd.DataFrame, table: pd.DataFrame | None = None
) -> list[tuple[str, float | int | str, str, bool | None]]:
    """Name, value, unit and whether it is good, of the few figures a person needs first; table: `columns(judged)`, if known."""
    table, top = columns(judged) if table is None else table, worst(judged)
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
    changed = _single(judged)
    changed = changed[changed["by"].isin(EXTRA)]
    names = list(changed.sort_values("size", ascending=False, kind="stable")["column"].drop_duplicates())
    if names:
        figures.append(("missing share changed in", ", ".join(names), "", None))
    return figures


def results(judged: pd.DataFrame) -> pd.DataFrame:
    """The tidy table of a run: window, reference, segment, column, metric, value (float64), then what is known of it.

    One row a metric. Beside the value: window_compared (what the window was compared with) and reference_kind;
    segment_key and segment_value; of a distance its noise (what sampling alone gives), excess over it, low and high (95 %
    interval of the excess), p and p_adjusted (empty where a metric has none); verdict of the column in that window and
    segment, drifted_by (of a drifted one: "values", or the share that changed: "missing", "nan", "infinite"), and the verdict
    of a tool that `compare` was asked to reproduce, under its name; n and n_reference, the values that were compared (the
    rows, for the shares of missing, NaN and infinite); cells, how many cells a distance was taken over, and their edges as
    JSON (the first and last value of all bins for the ordered distances, every edge for the others, the values of text), 0
    and "" where a metric has none.
    """
    keys = ["window", "reference", "segment", "column"]
    theirs = [f"{tool}_{what}" for tool in TOOLS for what in ("value", "threshold")]
    names = [name for name in (*METRICS, *theirs) if name in judged]
    size = len(judged)
    segment = judged["segment"].str.partition("=")
    same: dict[str, Any] = {key: judged[key].to_numpy() for key in keys}
    more: dict[str, Any] = {
        "window_compared": judged["reference"].to_numpy(),
        "reference_kind": judged.get("reference_kind", pd.Series("baseline", index=judged.index)).to_numpy(),
        "segment_key": segment[0].to_numpy(),
        "segment_value": segment[2].to_numpy(),
        "verdict": judged["verdict"].to_numpy(),
    }
    labels = {name: judged[name].to_numpy() for tool in TOOLS for name in (f"{tool}_method", f"{tool}_verdict")
              if name in judged}  # fmt: skip
    value = np.column_stack([judged[name].to_numpy(dtype="float64") for name in names]).T
    about = {end: np.full((len(names), size), np.nan) for end in ("noise", "excess", "low", "high", "p")}
    adjusted = np.full((len(names), size), np.nan)
    n, n_reference = (np.tile(judged[f"values_{side}"].to_numpy(dtype="float64"), (len(names), 1))
                      for side in ("current", "reference"))  # fmt: skip
    main = judged["metric"].to_numpy() if "metric" in judged else np.full(size, "")
    for place, name in enumerate(names):
        for end, table in about.items():
            if f"{name}_{end}" in judged:
                table[place] = judged[f"{name}_{end}"].to_numpy(dtype="float64")
        if f"{name}_q" in judged:
            adjusted[place] = judged[f"{name}_q"].to_numpy(dtype="float64")
        elif name in LONG:
            adjusted[place] = np.where(main == name, judged["distance_q"].to_numpy(dtype="float64"), np.nan)
        if name.partition("_change")[0] in EXTRA or name.startswith("rows"):
            n[place], n_reference[place] = judged["rows_current"], judged["rows_reference"]
    kept = ~np.isnan(value)
    which, row = np.nonzero(kept)
    told = {key: one[row] for key, one in same.items()} | {
        "metric": np.array(names, dtype=object)[which],
        "value": value[kept],
    }
    told |= {key: one[row] for key, one in more.items() if key != "verdict"}
    told |= {end: table[kept] for end, table in about.items()} | {"p_adjusted": adjusted[kept]}
    by = judged["by"].to_numpy()[row] if "by" in judged else np.full(len(row), "", dtype=object)
    told |= {"verdict": more["verdict"][row], "drifted_by": by, "n": n[kept], "n_reference": n_reference[kept]}
    told |= _edges(judged, names, which, row)
    return pd.DataFrame(told | {name: one[row] for name, one in labels.items()})


def _edges(judged: pd.DataFrame, names: Sequence[str], which: Any, row: Any) -> dict[str, Any]:
    """The cells and edges of each metric (`names`[`which`]) of each row of `judged`."""
    kind = np.array([1 if name in ORDERED else 2 if name in (*DISTANCES, *MORE) else 0 for name in names])[which]
    main = np.where(np.isin(judged["metric"], ORDERED), 1, 2)[row] if "metric" in judged else np.zeros(len(row))
    kind = np.where(np.array([name == "distance" for name in names])[which], main, kind)
    told = {"cells": np.zeros(len(row), "int64"), "edges": np.full(len(row), "", dtype=object)}
    for of, end in ((1, ""), (2, "_few")):
        for name, all_of_it in told.items():
            here = (
                f"{name}{end}" if f"{name}{end}" in judged else name
            )  # one reference has all, others the main distance
            if here in judged:
                all_of_it[kind == of] = judged[here].to_numpy()[row[kind == of]]
    return told


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


def shapes(reference: xr.Dataset, current: xr.Dataset, judged: pd.DataFrame, most: int = 20) -> list[pd.DataFrame]:
    """`close_up` of the strongest row of every column whose values drifted: at most so many columns, the strongest first."""
    found = judged[judged["by"] == "values"].sort_values("size", ascending=False, kind="stable")
    drifted = found["column"].unique()[:most]
    return [close_up(reference, current, worst(judged[judged["column"] == column])) for column in drifted]


def summary(judged: pd.DataFrame, name: str, table: pd.DataFrame | None = None) -> str:
    """What was found, in one or two sentences; table: `columns(judged)`, if known."""
    table = columns(judged) if table is None else table
    found, looked = table[table["drifted"]], table[table["verdict"] != "not evaluated"]
    other = table[table["moved"] & ~table["drifted"]]
    count = f"**{len(found)}**" if len(found) else "None"
    said = [f"{count} of {len(looked)} columns drifted from {say_span(name)}{_listed(found)}."]
    if len(other):
        what = " or ".join(dict.fromkeys(verdict.removesuffix(" changed") for verdict in other["verdict"]))
        more = f"{len(other)} more" if len(found) else f"{len(other)}"
        said.append(f"In {more}, only the {what} share changed{_listed(other)}.")
    if len(table) > len(looked):
        said.append(f"{len(table) - len(looked)} could not be evaluated.")
    return " ".join(said)


def _listed(found: pd.DataFrame, most: int = 5) -> str:
    """The first columns with what happened to them, after a colon; "" for none."""
    words = [f"**{one.column}** ({one.words})" for one in found.head(most).itertuples()]
    words += [f"and {len(found) - most} more"] if len(found) > most else []
    return f": {'; '.join(words)}" if words else ""


def told(table: pd.DataFrame) -> pd.DataFrame:
    """The verdicts of `columns` as a person reads them."""
    return pd.DataFrame({"column": table["column"], "verdict": table["verdict"], "largest": table["largest"],
                         "measured as": table["metric"].map(LONG), "in words": table["words"]})  # fmt: skip


def all_results(judged: pd.DataFrame, others: pd.DataFrame | None) -> pd.DataFrame:
    """`results` of the comparison and, where there are any, of the same windows against other kinds of reference."""
    first = results(judged)
    if others is not None and len(others):  # the kind of the comparison itself is there already
        others = others[~others["reference_kind"].isin(judged["reference_kind"].unique())]
    if others is None or others.empty:
        return first
    return pd.concat([first, results(others).reindex(columns=first.columns)], ignore_index=True)


def searched(reference: xr.Dataset, current: xr.Dataset, search: Callable[..., pd.DataFrame]) -> pd.DataFrame:
    """The slices that carry the drift (`search` is `slices.search`); none where the rows have no categories."""
    return search(reference, current) if segment_axes(current) else pd.DataFrame(columns=["column", "slice", "words"])


def carriers(carried: pd.DataFrame) -> str:
    """Which slices carry the drift, in a sentence. carried: `slices.search`."""
    found = carried[carried["slice"] != ""] if len(carried) else carried
    if found.empty:
        return "No slice of the categories carries a drift of its own: what moved, moved in all rows alike."
    return "The slices that carry a drift, the strongest first, corrected for having looked at all of them."


def told_carriers(carried: pd.DataFrame) -> pd.DataFrame | None:
    """The slices of `carriers` as a person reads them; None where there are none."""
    found = carried[carried["slice"] != ""].head(10) if len(carried) else carried
    told = found[["column", "words"]].rename(columns={"words": "in words"}) if len(found) else found
    return told.reset_index(drop=True) if len(told) else None


def told_kinds(others: pd.DataFrame | None) -> str:
    """How many windows drift from each kind of reference, in a sentence; how to ask for more where there are none."""
    if others is None or others.empty:
        return "Only one reference was asked for; `kinds` adds the window before, the last few, and the same season."
    whole = others[(others["segment"] == "") & (others["window"] != "")]
    said = []
    for kind, rows in whole.groupby("reference_kind", sort=False):
        looked, hits = rows[rows["verdict"] != "not evaluated"], rows[rows["drifted"]]
        most = hits.groupby("column")["window"].nunique().sort_values(ascending=False, kind="stable")
        by = ", ".join(f"{column} in {count}" for column, count in most.head(3).items())
        more = f" and {len(most) - 3} more columns" if len(most) > 3 else ""
        tail = f" ({by}{more})" if by else ""
        said.append(f"{kind}: {hits['window'].nunique()} of {looked['window'].nunique()} windows drifted{tail}")
    return "Against each kind of reference, " + "; ".join(said) + "."
