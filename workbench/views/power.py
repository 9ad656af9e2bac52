"""Pictures of what an alarm would catch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from workbench.views import look, maps

LINES = 6  # curves at most: columns with the same numbers of values share one


def power_lines(curves: pd.DataFrame, threshold: float = 0.1) -> Any:
    """The least chance of an alarm by the true distance, a line for columns of the same numbers of values.

    curves: `analyses.power.curves`. Dashed: the threshold, which an alarm needs above the noise.
    """
    hv = look.extension()
    title = "Chance of an alarm by the true KS distance"
    if not len(curves):
        return maps.nothing(f"{title}: no number was evaluated")
    alike = np.round(4 * np.log2(np.maximum(curves["n"], 1)))  # within a fifth or so: their curves lie on each other
    groups = [rows for _, rows in curves.groupby(alike, sort=False)]
    chosen = groups[:: max(1, -(-len(groups) // LINES))]
    tint, layers = look.colours([_name(rows) for rows in chosen]), []
    for rows in chosen:
        one = rows[rows["column"] == rows["column"].iloc[0]].assign(percent=lambda f: 100 * f["chance"])
        words = [("true distance", "@distance{0.00}"), ("chance", "@percent{0} %"), ("values a window", "@n{0,0}")]
        layers += [
            hv.Curve(one, "distance", ["percent"], label=_name(rows)).opts(color=tint[_name(rows)], line_width=2),
            hv.Scatter(one, "distance", ["percent", "n"], label=_name(rows)).opts(
                color=tint[_name(rows)], size=5, tools=["hover"], hover_tooltips=words
            ),
        ]
    limit = hv.Curve(pd.DataFrame({"distance": [threshold] * 2, "percent": [0, 103]}), "distance", "percent").opts(
        color=look.TEXT, line_dash="dashed", line_width=1.5
    )
    return hv.Overlay([*layers, limit]).opts(
        **look.base(300, title=title, xlabel="true distance from the reference (0 to 1)", ylabel="% of windows that alarm",
                    ylim=(0, 103), xlim=(0, 0.5), show_grid=True, legend_position="bottom_right")
    )  # fmt: skip


def _name(rows: pd.DataFrame) -> str:
    columns = list(rows["column"].unique())
    more = f" and {len(columns) - 1} more" if len(columns) > 1 else ""
    return f"{columns[0]}{more} ({'about ' if more else ''}{rows['n'].median():,.0f} values)"
