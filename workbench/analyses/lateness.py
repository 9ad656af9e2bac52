"""Late data: which windows have changed since they were judged."""

from __future__ import annotations

import json
import os
import tempfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from workbench.analyses.parts import WINDOW, groups, say_window, window_labels
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


def after_run(cube: xr.Dataset, path: Path | None) -> pd.DataFrame:
    """`late` since the last run, which left its `windows` at `path`; leaves those of this run there. All "new" at first.

    path: None keeps nothing. Where the last run had other columns only the numbers of rows are compared. A cube without
    windows gives no rows. Raises WorkbenchError for a file that holds something else.
    """
    if WINDOW not in cube.dims:
        return pd.DataFrame(
            {name: pd.Series(dtype=object) for name in ("window", "rows_before", "rows", "state", "words")}
        )
    now, columns = windows(cube), sorted(str(one) for one in cube["column"].values)
    before, known = now[:0], columns
    if path is not None and path.is_file():
        try:
            told = json.loads(path.read_text(encoding="utf-8"))
            before, known = pd.DataFrame(told["windows"], columns=now.columns), list(told["columns"])
        except (ValueError, KeyError, TypeError) as error:
            raise WorkbenchError(
                f"{path} does not hold the windows of a run ({type(error).__name__}); move it away to start from none"
            ) from None
    if path is not None:
        handle, aside = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump({"format": 1, "columns": columns, "windows": now.to_dict("records")}, file)
        os.chmod(aside, 0o644)
        os.replace(aside, path)
    if known != columns:
        before, now = (one.assign(digest=one["rows"].astype(str)) for one in (before, now))
    return late(before, now)


def words(found: pd.DataFrame, most: int = 3) -> str:
    """Which windows were judged again, in a sentence; "" where none was. found: `late`."""
    again = found[found["state"] == "reopened"]
    if again.empty:
        return ""
    shown = again[::-1].head(most).itertuples()
    said = "; ".join(f"{say_window(one.window)} ({one.words.removeprefix('judged again: ')})" for one in shown)
    rest = f"; and {len(again) - most} more" if len(again) > most else ""
    count = "1 window was" if len(again) == 1 else f"{len(again)} windows were"
    return f"Late data: {count} judged again since the last run: {said}{rest}."


def _counted(cube: xr.Dataset) -> list[tuple[Any, ...]]:
    """Flat groups, and 64-bit numbers that say what was counted there: cells of columns, ranges, sums, values of text.

    Nothing that depends on how the bins were cut or in which order rows came: another run may have counted otherwise.
    """
    rows, columns = cube["count"].values.ravel(), cube.sizes["column"]
    flat = np.flatnonzero(rows)  # cells without rows come and go with the labels of other windows
    found: list[tuple[Any, ...]] = [(flat, rows[flat].astype("uint64"))]
    for i in range(columns):
        told = [cube[name].values.reshape(-1, columns)[flat, i] for name in ("values", "missing", "nan", "infinite")]
        ends = [np.nan_to_num(cube[name].values.reshape(-1, columns)[flat, i]) for name in ("min", "max", "sum")]
        ends[2] = _rounded(ends[2])
        found.append((flat, np.full(len(flat), i, "uint64"), *(one.astype("uint64") for one in told),
                      *((one.astype("float64") + 0.0).view("uint64") for one in ends)))  # fmt: skip
    group, column, count = (cube[f"top_{key}"].values for key in ("group", "column", "count"))
    values = cube["top_value"].values.tolist()
    words = {one: zlib.crc32(str(one).encode()) for one in set(values)}
    text = np.array([words[one] for one in values], "uint64")
    whole = ~(cube["top_lost"].values.reshape(-1, columns)[group, column] > 0) if len(group) else np.zeros(0, bool)
    found.append(
        tuple(one[whole] for one in (group.astype("int64"), column.astype("uint64"), text, count.astype("uint64")))
    )
    return found


def _rounded(x: Any) -> Any:
    """Numbers to eight digits, which the order of adding does not change."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        unit = 10.0 ** (np.floor(np.log10(np.abs(x))) - 7)
        return np.where(np.isfinite(unit) & (unit > 0), np.round(x / unit), x)


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
