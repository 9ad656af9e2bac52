"""Late data: which windows have changed since they were judged."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from workbench.analyses.parts import WINDOW, groups, window_labels
from workbench.errors import WorkbenchError

MIX = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9))  # odd numbers that spread bits (splitmix64)


def windows(cube: xr.Dataset) -> pd.DataFrame:
    """What was counted of each of the cube's windows: window, rows, and a digest of all its counts.

    Kept with a run's results, it tells the next run which windows late data has reopened.
    """
    if WINDOW not in cube.dims:
        raise WorkbenchError("this cube has no windows, so none of them can be late")
    spot = groups(cube)[WINDOW]
    digest = np.zeros(cube.sizes[WINDOW], "uint64")
    for group, *numbers in _counted(cube):
        mixed = np.zeros(len(group), "uint64")
        for one in numbers:
            mixed = (mixed ^ one) * MIX[0]
            mixed ^= mixed >> np.uint64(29)
        np.add.at(digest, spot[group], mixed * MIX[1])
    rows = cube["count"].transpose(WINDOW, ...).values.reshape(cube.sizes[WINDOW], -1).sum(1)
    table = pd.DataFrame({"window": window_labels(cube), "rows": rows, "digest": [f"{one:016x}" for one in digest]})
    return table[table["rows"] > 0].reset_index(drop=True)


def _counted(cube: xr.Dataset) -> list[tuple[Any, ...]]:
    """Flat groups, and 64-bit numbers that say what was counted there: cells of columns, bins, values of text."""
    rows, columns = cube["count"].values.ravel(), cube.sizes["column"]
    flat = np.flatnonzero(rows)  # cells without rows come and go with the labels of other windows
    found: list[tuple[Any, ...]] = [(flat, rows[flat].astype("uint64"))]
    for i in range(columns):
        told = [cube[name].values.reshape(-1, columns)[flat, i] for name in ("values", "missing", "nan", "infinite")]
        found.append((flat, np.full(len(flat), i, "uint64"), *(one.astype("uint64") for one in told)))
    whole = [cube[f"{kind}_{key}"].values for kind in ("bin", "top") for key in ("group", "column", "count")]
    low = np.ascontiguousarray(cube["bin_min"].values).view("uint64")
    values = cube["top_value"].values.tolist()
    words = {one: zlib.crc32(str(one).encode()) for one in set(values)}
    text = np.array([words[one] for one in values], "uint64")
    for (group, column, count), value in ((whole[:3], low), (whole[3:], text)):
        found.append((group.astype("int64"), column.astype("uint64"), value, count.astype("uint64")))
    return found


def late(before: pd.DataFrame, now: pd.DataFrame) -> pd.DataFrame:
    """What became of each window since it was judged: window, rows_before, rows, state, words.

    before, now: `windows` then and now. state: "same", "reopened" (its counts changed: late or corrected rows; it is to
    be judged again), "new", "gone".
    """
    for name, frame in (("before", before), ("now", now)):
        if not {"window", "rows", "digest"} <= set(frame.columns):
            raise WorkbenchError(
                f"{name} has the columns {list(frame.columns)}; a table of lateness.windows() is wanted"
            )
    both = before.merge(now, on="window", how="outer", suffixes=("_before", "")).sort_values(
        "window", ignore_index=True
    )
    state = np.select(
        [both["rows_before"].isna(), both["rows"].isna(), both["digest_before"] != both["digest"]],
        ["new", "gone", "reopened"],
        "same",
    )
    rows = both[["rows_before", "rows"]].fillna(0).astype("int64")
    change = rows["rows"] - rows["rows_before"]
    words = [
        f"judged again: {abs(more):,} rows {'more' if more > 0 else 'fewer'} than when it was judged" if more
        else "judged again: the same number of rows, other values"
        for more in change
    ]  # fmt: skip
    said = np.where(state == "reopened", words, np.where(state == "same", "", state))
    return rows.assign(window=both["window"], state=state, words=said)[
        ["window", "rows_before", "rows", "state", "words"]
    ]
