"""Pictures of columns together."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from workbench.views import maps


def pairs_map(changes: pd.DataFrame, threshold: float = 0.1, most: int = 15) -> Any:
    """How much the correlation of pairs of columns differs from the reference in every window, above sampling alone.

    changes: `analyses.multivariate.judged` of pairs; the pairs that changed most, at most `most`. Framed: drifted.
    """
    title = "Correlations against the reference"
    part = changes[changes["window"] != ""] if len(changes) else changes
    if not len(part):
        return maps.nothing(f"{title}: no windows of time to show")
    part = part.assign(pair=part["a"].str.cat(part["b"], sep=" and "), above=part["excess"].where(part["evaluated"]))
    part["told"] = [
        f"{one.before:+.2f} before, {one.now:+.2f} now" if one.evaluated else one.why for one in part.itertuples()
    ]
    strongest = part.assign(key=part["above"].fillna(-1) + part["drifted"]).groupby("pair")["key"].max()
    order = list(strongest.sort_values(ascending=False, kind="stable").index)
    high = max(float(np.nanmax(part["above"].to_numpy(), initial=0.0)), 2 * threshold)
    return maps.cells(
        part[part["pair"].isin(order[:most])], row="pair", value="above", order=order[:most], limits=(0.0, high),
        marked="drifted", label="change above noise (0 to 2)", title=title,
        hover=[("correlation", "told"), ("verdict", "verdict")],
    )  # fmt: skip
