"""Is this table sound? Missing, NaN and infinite shares, volumes, constant columns, lost and new values.

`shares` reads the figures of every window, segment and column, `findings` applies the rule of `pattern` and says in
words what is wrong, `columns` gives a verdict a column, `headline` the few figures that matter first.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from workbench.analyses import pattern, values
from workbench.analyses.parts import (
    OTHER,
    OUTSIDE,
    SEGMENT,
    WINDOW,
    by_segment,
    groups,
    say_share,
    say_stretch,
    say_window,
    tops,
    window_labels,
    window_seconds,
)
from workbench.cubes import Period

KINDS = ("missing", "nan", "infinite")
WORDS = {"missing": "missing", "nan": "NaN", "infinite": "infinite"}
# How bad each finding is, the worst first: 3 wrong now, 2 look at it, 1 good to know.
WEIGHT = {"empty column": 2, "burst": 3, "dip": 2, "no rows": 3, "few rows": 3, "many rows": 2, "lost value": 3, "late": 2,
          "new value": 2, "restless": 1, "constant": 1, "infinite": 2, "nan": 1}  # fmt: skip
COLUMNS = ("finding", "column", "segment", "window", "until", "windows", "value", "usual", "rows", "weight", "words")


def shares(cube: xr.Dataset) -> pd.DataFrame:
    """Rows and the shares of missing, NaN and infinite values: one row a (segment, window, column).

    Segments are all rows (""), and each value of each category axis. Shares are of rows, 0 to 1, NaN without rows.
    """
    rows, names = by_segment(cube, "count")
    labels = window_labels(cube)
    columns = [str(column) for column in cube["column"].values]
    index = pd.MultiIndex.from_product([names, labels, columns], names=[SEGMENT, WINDOW, "column"])
    frame = pd.DataFrame(index=index).reset_index()
    frame["rows"] = np.repeat(rows.values.ravel(), len(columns))
    for kind in KINDS:
        part, _ = by_segment(cube, kind)
        frame[f"{kind}_rows"] = part.values.ravel()
        frame[kind] = frame[f"{kind}_rows"] / frame["rows"].where(frame["rows"] > 0)
    return frame


def findings(cube: xr.Dataset, *, least: int = 30, points: float = 0.02, alpha: float = 0.001) -> pd.DataFrame:
    """What is wrong or odd with the table, the worst first.

    least: a window with fewer rows is not judged; points: a share must differ from its usual one by this much (a
    share of rows); alpha: the adjusted p value at which sampling no longer explains a difference.
    Returns one row a finding: finding ("burst", "dip", "no rows", "few rows", "many rows", "lost value", "new value",
    "constant", "empty column", "nan", "infinite"), column, segment, window (first), until (last), windows (how many),
    value and usual (shares, or rows), rows (affected), weight (3 wrong, 2 look, 1 good to know) and words.
    """
    found = [*_whole(cube), *_volume(cube, least), *_bursts(cube, least, points, alpha), *_values(cube, least)]
    frame = pd.DataFrame(found, columns=list(COLUMNS))
    frame["rows"] = frame["rows"].astype("float64")
    return frame.sort_values(["weight", "rows"], ascending=False, kind="stable", ignore_index=True)


def _row(finding: str, words: str, **more: Any) -> dict[str, Any]:
    base = {"column": "", "segment": "", "window": "", "until": "", "windows": 0, "value": np.nan, "usual": np.nan}
    return {**base, "rows": 0.0, "weight": WEIGHT[finding], "finding": finding, "words": words, **more}


def _whole(cube: xr.Dataset) -> Iterator[dict[str, Any]]:
    """Columns that are empty, constant, or hold NaN or infinite values at all."""
    rows, axes = int(cube["count"].sum()), cube["count"].dims
    for column in [str(name) for name in cube["column"].values] if rows else []:
        one = cube.sel(column=column)
        missing, kind = int(one["missing"].sum()), str(one["kind"].values)
        if missing == rows:
            yield _row("empty column", f"{column} is missing in all of the {rows:,} rows", column=column, rows=rows)
            continue
        constant = None
        if kind == "text":
            there = set(tops(cube, column)[1])
            constant = next(iter(there)) if len(there) == 1 and OTHER not in there else None
        else:
            low, high = float(one["min"].min(axes)), float(one["max"].max(axes))
            if low == high and not int(one["nan"].sum() + one["infinite"].sum()):
                constant = _moment(low) if kind == "time" else f"{low:g}"
        if constant is not None and rows > 1:
            words = f"{column} is always {constant}" + (" where it is not missing" if missing else "")
            yield _row("constant", words, column=column, rows=rows - missing)
        for odd in ("nan", "infinite"):
            count = int(one[odd].sum())
            if count:
                words = f"{column} holds {count:,} {WORDS[odd]} values ({say_share(count / rows)} of rows)"
                yield _row(odd, words, column=column, value=count / rows, rows=count)


def _volume(cube: xr.Dataset, least: int) -> Iterator[dict[str, Any]]:
    """Windows with no, too few or too many rows."""
    if WINDOW not in cube.dims:
        return
    frame = volume(cube, least=least)
    for run in pattern.stretches(
        frame["out"].to_numpy(), np.sign(np.nan_to_num(frame["ratio"].to_numpy(), nan=9.0) - 1)
    ):
        part = frame.iloc[run]
        value, usual = part["rows"].mean(), part["usual"].mean()
        gone = (part["usual"] - part["rows"]).sum()
        finding = "no rows" if not part["rows"].any() else "few rows" if value < usual else "many rows"
        span = say_stretch(part["window"].iloc[0], part["window"].iloc[-1], len(part))
        words = f"{value:,.0f} rows a window {span}, usually {usual:,.0f}"
        yield _row(finding, words, window=part["window"].iloc[0], until=part["window"].iloc[-1], windows=len(part),
                   value=value, usual=usual, rows=abs(gone))  # fmt: skip


def volume(cube: xr.Dataset, *, least: int = 30) -> pd.DataFrame:
    """Rows of every window, windows without rows included: window, rows, usual, ratio, out (see `pattern.volumes`)."""
    if WINDOW not in cube.dims:
        return pd.DataFrame(columns=["window", "rows", "usual", "ratio", "out"])
    counted = cube["count"].sum([dim for dim in cube["count"].dims if dim != WINDOW])
    series = pd.Series(counted.values, index=pd.DatetimeIndex(counted[WINDOW].values)).sort_index()
    series = series[series.index.notna()]
    every, zone = (str(cube[WINDOW].attrs.get(key, "")) for key in ("every", "tz"))
    if every and len(series) > 1:
        known = series.index.to_numpy().astype("datetime64[us]")
        whole = Period("", every, tz=zone or "UTC").windows(known[0], known[-1])
        series = series.reindex(series.index.union(pd.DatetimeIndex(whole)), fill_value=0)
    seconds = window_seconds(cube)
    season = series.index.hour * 60 + series.index.minute if seconds < 86_400 else np.zeros(len(series))
    frame = pattern.volumes(series.to_numpy(), np.asarray(season), least=least)
    frame.insert(0, "window", [f"{start:%Y-%m-%dT%H:%M:%SZ}" for start in series.index])
    return frame


def _bursts(cube: xr.Dataset, least: int, points: float, alpha: float) -> Iterator[dict[str, Any]]:
    """Windows in which the missing, NaN or infinite share is out of pattern, over all rows and in each segment."""
    if WINDOW not in cube.dims:
        return
    frame = shares(cube).sort_values(["column", SEGMENT, WINDOW], kind="stable", ignore_index=True)
    frame = frame[frame[WINDOW] != "(missing)"].reset_index(drop=True)
    across = frame[WINDOW].nunique()
    if not across:
        return
    for kind in KINDS:
        part = frame[f"{kind}_rows"].to_numpy().reshape(-1, across)
        if not part.any():
            continue
        rows = frame["rows"].to_numpy().reshape(-1, across)
        told = pattern.shares(part, rows, least=least, points=points, alpha=alpha)
        told = pd.concat([frame[["column", SEGMENT, WINDOW, "rows"]], told], axis=1)
        for column, series in told[told["out"]].groupby("column", sort=False):
            yield from _named(str(column), kind, told[told["column"] == column], series)


def _named(column: str, kind: str, told: pd.DataFrame, out: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """One finding a stretch of windows: told for all rows, with the segment that explains it, or for a segment."""
    claimed: set[tuple[str, bool]] = set()
    for segment in ["", *(name for name in out[SEGMENT].unique() if name)]:
        series = told[told[SEGMENT] == segment].reset_index(drop=True)
        for run in _late_first(
            list(pattern.stretches(series["out"].to_numpy(), np.sign(series["excess"].to_numpy()))), series
        ):
            part = series.iloc[run]
            more = bool(part["excess"].iloc[0] > 0)
            if segment and any((window, more) in claimed for window in part[WINDOW]):
                continue  # already told, with its segment
            claimed |= {(window, more) for window in part[WINDOW]}
            at_end = run.stop >= len(series) - 1  # the last window is often cut, and then may be too small to judge
            place = segment or _explaining(told, part)
            yield _burst(column, kind, part, place, segment == "", at_end)


def _late_first(runs: list[slice], series: pd.DataFrame) -> list[slice]:
    """Stretches with those that lead up to a share rising to the end made part of it."""
    if not runs or runs[-1].stop < len(series) - 1 or not _rising(series["share"].to_numpy()[runs[-1]]):
        return runs
    last = runs[-1]
    early = [
        one for one in runs[:-1] if one.start >= 2 * last.start - last.stop and series["excess"].iloc[one.start] > 0
    ]
    kept = [one for one in runs[:-1] if one not in early]
    return [*kept, slice(early[0].start if early else last.start, last.stop)]


def _explaining(told: pd.DataFrame, part: pd.DataFrame) -> str:
    """The segment that holds at least 80 % of the extra rows and stands out from the others; "" when none does."""
    here = told[(told[SEGMENT] != "") & told[WINDOW].isin(part[WINDOW])]
    if here.empty:
        return ""
    held = here.groupby(SEGMENT, sort=False)[["excess_rows", "rows"]].sum()
    whole = part["excess_rows"].sum()
    share_of_rows = held["rows"] / part["rows"].sum()
    share = held["excess_rows"] / whole
    # The share of the excess must be far above the segment's share of the rows, or it is only a large segment.
    sharp = (share >= 0.8) & (share >= share_of_rows + 0.3)
    return str((share - share_of_rows)[sharp].idxmax()) if sharp.any() else ""


def _burst(column: str, kind: str, part: pd.DataFrame, segment: str, whole: bool, at_end: bool) -> dict[str, Any]:
    more = bool(part["excess"].iloc[0] > 0)
    rows = part["rows"].sum()
    value, usual = (part["share"] * part["rows"]).sum() / rows, part["usual"].iloc[0]
    first, last = part[WINDOW].iloc[0], part[WINDOW].iloc[-1]
    place = "" if not segment else f", nearly all of them in {segment}" if whole else f" in {segment}"
    about = {"column": column, "segment": segment, "window": first, "until": last, "windows": len(part),
             "value": value, "usual": usual, "rows": abs(part["excess_rows"].sum())}  # fmt: skip
    if more and at_end and _rising(part["share"].to_numpy()):
        words = f"{column} arrives late: {say_share(part['share'].iloc[-1])} {WORDS[kind]} in the last window, rising "
        return _row("late", f"{words}since {say_window(first)}, usually {say_share(usual)}{place}", **about)
    words = f"{column}: {say_share(value)} {WORDS[kind]} {say_stretch(first, last, len(part))}, usually "
    return _row("burst" if more else "dip", f"{words}{say_share(usual)}{place}", **about)


def _rising(share: Any) -> bool:
    """Whether a share climbs to its end, as it does where values come in later than their rows: three windows or more,
    a rank correlation with time of 0.8 or more, and twice as much at the end as at the start."""
    if len(share) < 3:
        return False
    ranks = pd.Series(share).rank().to_numpy()
    return bool(np.corrcoef(ranks, np.arange(len(share)))[0, 1] >= 0.8 and share[-1] >= 2 * share[0])


def _values(cube: xr.Dataset, least: int) -> Iterator[dict[str, Any]]:
    """Text values that vanish, and text values that appear, where chance does not explain it."""
    if WINDOW not in cube.dims or cube.sizes[WINDOW] < pattern.WINDOWS:
        return
    place, labels = groups(cube)[WINDOW], window_labels(cube)
    kept = [at for at, label in enumerate(labels) if label != OUTSIDE]
    for column in [str(name) for name in cube["column"].values[cube["kind"].values == "text"]]:
        group, value, count = tops(cube, column)
        if not len(group) or (value == OTHER).any():
            continue  # too many different values to follow
        codes, known = pd.factorize(value)
        table = np.bincount(place[group] * len(known) + codes, count, minlength=len(labels) * len(known))
        counts = pd.DataFrame(table.reshape(len(labels), -1)[kept], columns=known)
        for change in values.changes(column, counts, [labels[at] for at in kept], least=least):
            yield _row(**change)


def _moment(microseconds: float) -> str:
    return say_window(f"{np.datetime64(int(microseconds), 'us').astype('datetime64[s]')}Z")


def columns(cube: xr.Dataset, found: pd.DataFrame) -> pd.DataFrame:
    """One row a column, the worst first: kind, missing, nan, infinite (shares), findings, verdict, words.

    verdict: "wrong" (a finding of weight 3), "look" (2), "note" (1), or "sound".
    """
    rows = max(int(cube["count"].sum()), 1)
    table = pd.DataFrame({"column": [str(name) for name in cube["column"].values], "kind": cube["kind"].values})
    for kind in KINDS:
        table[kind] = cube[kind].sum(cube["count"].dims).values / rows
    own = found[found["column"] != ""].groupby("column", sort=False)
    table["findings"] = table["column"].map(own.size()).fillna(0).astype("int64")
    table["weight"] = table["column"].map(own["weight"].max()).fillna(0).astype("int64")
    table["verdict"] = table["weight"].map({0: "sound", 1: "note", 2: "look", 3: "wrong"})
    said = table["column"].map(own["words"].agg(_few))
    quiet = [f"sound, {say_share(share)} missing" if share else "sound, nothing missing" for share in table["missing"]]
    table["words"] = said.where(said.notna(), pd.Series(quiet, dtype=object))
    return table.sort_values(["weight", "findings", "missing"], ascending=False, kind="stable", ignore_index=True)


def _few(words: pd.Series, most: int = 2) -> str:
    more = f"; and {len(words) - most} more" if len(words) > most else ""
    return "; ".join(words.head(most)) + more


def events(found: pd.DataFrame) -> pd.DataFrame:
    """Findings with the columns that broke together, in the same windows and segment, in one row: column names the
    worst of them, columns all, and words speaks of the worst."""
    alone = np.where(found["finding"].isin(["burst", "dip", "late"]), -1, np.arange(len(found)))
    keys = found[["finding", "segment", "window", "until"]].assign(alone=alone)
    number = keys.groupby(list(keys.columns), sort=False).ngroup()
    table = found[~number.duplicated()].reset_index(drop=True)
    together = found["column"].groupby(number.to_numpy(), sort=False).agg([", ".join, "size"])
    table["columns"] = together["join"].to_numpy() if len(found) else ""
    for place in range(len(table)):
        more = int(together["size"].iloc[place]) - 1
        table.loc[place, "words"] += f" (and {more} more column{'s' * (more > 1)})" if more else ""
    return table


def headline(cube: xr.Dataset, found: pd.DataFrame) -> list[tuple[str, float | int | str, str, bool | None]]:
    """Name, value, unit and whether it is good, of the few figures a person needs first."""
    rows, across = int(cube["count"].sum()), cube.sizes["column"]
    missing = 100 * float(cube["missing"].sum()) / max(rows * across, 1)
    wrong = events(found[found["weight"] >= 2])
    top = found.iloc[0] if len(wrong) else None
    figures: list[tuple[str, float | int | str, str, bool | None]] = [
        ("rows", rows, "rows", None if rows else False),
        ("columns", across, "columns", None),
        ("missing share", round(missing, 3), "% of cells", None),
        ("findings", len(wrong), "findings", not len(wrong)),
        ("worst column", "none" if top is None else top["column"] or "(all rows)", "", None),
    ]
    if top is not None:
        figures += [
            ("worst window", top["window"] or "all windows", "", None),
            ("worst segment", top["segment"] or "all rows", "", None),
        ]
    figures += _most_missing(cube)
    for name, finding in (("new values in", "new value"), ("lost values in", "lost value"), ("arriving late", "late")):
        columns_of = list(dict.fromkeys(found["column"][found["finding"] == finding]))
        if columns_of:
            figures.append((name, ", ".join(columns_of), "", None))
    return figures


def _most_missing(cube: xr.Dataset, least: int = 30) -> list[tuple[str, float | int | str, str, bool | None]]:
    """The highest missing share of a column in one window, of columns that are not missing everywhere."""
    table = shares(cube)
    table = table[(table[SEGMENT] == "") & (table[WINDOW] != OUTSIDE) & (table["rows"] >= least)]
    table = table[table.groupby("column")["missing"].transform("min") < 1] if len(table) else table
    if table.empty or not table["missing"].max() > 0:
        return []
    top = table.loc[table["missing"].idxmax()]
    return [
        (
            "most missing",
            round(100 * float(top["missing"]), 3),
            f"% of {top['column']}, {say_window(top[WINDOW])}",
            None,
        )
    ]


def closest(found: pd.DataFrame, shares: pd.DataFrame, most: int = 8) -> tuple[str, tuple[str, ...]]:
    """The column worth a closer look, and the segments to draw: all rows, and those of the axis that the finding names.

    It is the column of the worst stretch of windows; without one the column with most values missing.
    """
    own = found[found["finding"].isin(["burst", "dip", "late"])]
    if own.empty:
        whole = shares[shares[SEGMENT] == ""]
        return str(whole.groupby("column", sort=False)["missing_rows"].sum().idxmax()), ("",)
    axis = own.iloc[0]["segment"].split("=")[0]
    others = [name for name in shares[SEGMENT].unique() if axis and name.startswith(f"{axis}=")]
    named = own.iloc[0]["segment"]
    chosen = [name for name in others if name == named] + [name for name in others if name != named]
    return str(own.iloc[0]["column"]), ("", *chosen[:most])


def summary(found: pd.DataFrame) -> str:
    """What was found, in one sentence."""
    table = events(found)
    wrong, look = (table["weight"] == 3).sum(), (table["weight"] == 2).sum()
    if not wrong and not look:
        return "Nothing is out of pattern: rows, missing values and categories are as they usually are."
    parts = [f"**{wrong}** to mend" if wrong else "", f"**{look}** to look at" if look else ""]
    return f"Out of pattern: {' and '.join(part for part in parts if part)}, the worst first."


def told(found: pd.DataFrame, most: int = 20) -> pd.DataFrame:
    """The findings as a person reads them: how bad, what, and the whole in words; at most `most`, the worst first."""
    table = events(found)
    grade = table["weight"].map({3: "mend", 2: "look", 1: "note"})
    frame = pd.DataFrame({"": grade, "finding": table["finding"].to_numpy(), "in words": table["words"]})
    if len(frame) > most:
        rest = {"": "", "finding": "", "in words": f"and {len(frame) - most} more, in the run's results"}
        frame = pd.concat([frame.head(most), pd.DataFrame([rest])])
    return frame.reset_index(drop=True)


def sound(table: pd.DataFrame) -> pd.DataFrame:
    """The verdicts of `columns` as a person reads them, shares in % of rows."""
    percent = {f"{WORDS[kind]} (%)": 100 * table[kind] for kind in KINDS if kind == "missing" or table[kind].any()}
    return pd.DataFrame(
        {
            "column": table["column"],
            "kind": table["kind"],
            **percent,
            "verdict": table["verdict"],
            "in words": table["words"],
        }
    )
