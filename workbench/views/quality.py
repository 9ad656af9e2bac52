"""Pictures of a table's soundness."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from workbench.views import look, maps

WORDS = {"missing": "missing", "nan": "NaN", "infinite": "infinite"}
TINY = 0.001  # the share at which a cell of the map begins to take colour


def missing_map(shares: pd.DataFrame, found: pd.DataFrame, kind: str = "missing", segment: str = "") -> Any:
    """Share of a column's rows that are missing in every window: hatched where a window has no rows.

    shares: `analyses.quality.shares`; found: its findings, whose windows are framed. Columns with findings come first.
    """
    part = shares[(shares["segment"] == segment) & (shares["window"] != "")].copy()
    own = found[found["finding"].isin(["burst", "dip", "late"])]
    part["percent"] = 100 * part[kind]
    part["share"] = [
        f"{value:.3g} % of {rows:,} rows" if rows else "no rows"
        for value, rows in zip(part["percent"], part["rows"], strict=True)
    ]
    part["framed"] = False
    for _, one in own.iterrows():
        within = (part["window"] >= one["window"]) & (part["window"] <= one["until"])
        part.loc[within & (part["column"] == one["column"]), "framed"] = True
    first = list(dict.fromkeys(own["column"]))
    largest = part.groupby("column")["percent"].max().sort_values(ascending=False, kind="stable")
    order = [*first, *(name for name in largest.index if name not in first)]
    high = max(float(np.nanmax(part["percent"].to_numpy(), initial=0.0)), 1.0)
    return maps.cells(
        part,
        row="column",
        value="percent",
        order=order,
        log=True,
        limits=(100 * TINY, high),
        label=f"% {WORDS[kind]}",
        title=f"Share of {WORDS[kind]} values",
        marked="framed",
        hover=[(WORDS[kind], "share")],
    )


def rows(volume: pd.DataFrame) -> Any:
    """Rows of every window and the usual number, windows out of pattern marked (`analyses.quality.volume`)."""
    hv = look.extension()
    if volume.empty:
        return maps.nothing("Rows per window: no windows of time to show")
    frame = volume.merge(maps.spans(list(volume["window"])), on="window")
    frame["when"], frame["zero"] = [look.short(name) for name in frame["window"]], 0.0
    frame["expected"] = frame["usual"].round(0)
    words = [("window", "@when UTC"), ("rows", "@rows{0,0}"), ("usually", "@expected{0,0}")]
    bars = hv.Rectangles(frame, kdims=["start", "zero", "end", "rows"], vdims=["when", "expected"], label="rows").opts(
        color=look.ACCENT, line_color=None, fill_alpha=0.7, hover_tooltips=words, tools=["hover"]
    )
    usual = hv.Curve(frame, "start", "usual", label="usually").opts(
        color=look.TEXT, line_width=1, interpolation="steps-post", line_dash="dashed"
    )
    odd = frame[frame["out"]]
    marks = hv.Scatter(odd, "start", ["rows", "when", "expected"], label="out of pattern").opts(
        color=look.BAD, size=8, marker="triangle", hover_tooltips=words, tools=["hover"]
    )
    top = float(max(frame["rows"].max(), frame["usual"].max(), 1)) * 1.08
    layers = bars * usual * marks if len(odd) else bars * usual
    return layers.opts(
        **look.base(
            220,
            title="Rows in every window",
            xlabel="start of the window (UTC)",
            ylabel="rows",
            ylim=(0, top),
            legend_position="right",
            show_grid=True,
        )
    )


def columns(table: pd.DataFrame) -> Any:
    """Missing, NaN and infinite share of every column over all rows. table: `analyses.quality.columns`."""
    hv = look.extension()
    part = table[(table[["missing", "nan", "infinite"]] > 0).any(axis=1)]
    part = part.assign(all=part[["missing", "nan", "infinite"]].sum(axis=1)).sort_values("all", ascending=False)
    shown = part.head(look.DRAWN)
    if shown.empty:
        return maps.nothing("Nothing is missing in any column")
    title = "Share of each column that holds no usable value"
    title += f" (the first {len(shown)} of {len(part)})" if len(part) > len(shown) else ""
    layers, left = [], np.zeros(len(shown))
    place = np.arange(len(shown))[::-1].astype("float64")
    for kind, colour in (("missing", look.ACCENT), ("nan", look.WARN), ("infinite", look.BAD)):
        size = 100 * shown[kind].to_numpy()
        if not size.any():
            continue
        frame = pd.DataFrame(
            {
                "left": left,
                "bottom": place - 0.4,
                "right": left + size,
                "top": place + 0.4,
                "column": shown["column"].to_numpy(),
                "percent": size,
            }
        )
        layers.append(
            hv.Rectangles(
                frame[frame["percent"] > 0],
                ["left", "bottom", "right", "top"],
                ["column", "percent"],
                label=WORDS[kind],
            ).opts(
                color=colour,
                line_color=None,
                tools=["hover"],
                hover_tooltips=[("column", "@column"), (WORDS[kind], "@percent{0.[000]} % of rows")],
            )
        )
        left = left + size
    ticks = list(zip(place, shown["column"], strict=True))
    return hv.Overlay(layers).opts(
        **look.base(
            max(150, 90 + look.ROW * len(shown)),
            title=title,
            xlabel="% of rows",
            ylabel="",
            yticks=ticks,
            ylim=(-0.6, len(shown) - 0.4),
            xlim=(0, min(105, float(left.max()) * 1.08)),
            show_legend=len(layers) > 1,
            legend_position="bottom_right",
        )
    )


def share_lines(shares: pd.DataFrame, column: str, kind: str = "missing", segments: tuple[str, ...] = ("",)) -> Any:
    """One column's share over time, for all rows and the segments named."""
    hv = look.extension()
    part = shares[(shares["column"] == column) & shares["segment"].isin(segments)]
    part = part[~part["window"].isin(["", "(missing)"])]
    if part.empty:
        return maps.nothing(f"{column}: no windows of time to show")
    part = part.assign(start=look.moments(part["window"]).to_numpy(), percent=100 * part[kind])
    names = {segment: segment or "all rows" for segment in segments}
    tint = look.colours(list(names.values()))
    curves = [
        hv.Curve(part[part["segment"] == segment], "start", ["percent", "rows"], label=name).opts(
            color=tint[name],
            line_width=2,
            interpolation="steps-post",
            tools=["hover"],
            hover_tooltips=[
                ("start", "@start{%F %R} UTC"),
                (WORDS[kind], "@percent{0.[00]} %"),
                ("rows", "@rows{0,0}"),
            ],
            hover_formatters={"@start": "datetime"},
        )
        for segment, name in names.items()
    ]
    top = max(float(np.nanmax(part["percent"].to_numpy(), initial=0.0)) * 1.1, 1.0)
    return hv.Overlay(curves).opts(
        **look.base(
            240,
            title=f"{column}: {WORDS[kind]} over time",
            ylim=(0, top),
            xlabel="start of the window (UTC)",
            ylabel=f"% {WORDS[kind]}",
            legend_position="top_left",
            show_grid=True,
        )
    )
