"""Running counts of a cube's windows, so that any two spans of windows are compared at once, however many there are.

The counts of a span are the difference of two running sums: two reads from a file, whatever the span's length. Numbers are
kept in up to a hundred or so cells of about equal share, of which a value heavier than that keeps one of its own; text in
its frequent values. KS is low by at most `bound`, the largest share in a cell of several values.
"""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from workbench.analyses import distances as far
from workbench.analyses.compared import ENDS, EXTRA, OUTSIDE, SPAN, changed, measures, outside
from workbench.analyses.pairs import MANY, RARE, Counts, paired
from workbench.analyses.parts import OTHER, SEGMENT, WINDOW, by_segment, kind_of, say_span, window_labels
from workbench.analyses.verdict import judge
from workbench.errors import WorkbenchError, nearest

ENTRIES = 32_000_000  # running counts kept at most, which sets how many cells a number has
FEWEST, MOST = 16, 128  # cells of a number
FILE = "running.counts"  # in a run's folder
VALUES = 60  # values of a text column


@dataclass(frozen=True)
class Running:
    """Running counts: `counts` (edge, segment, cell), `extra` (edge, segment, column, share) and `rows` (edge, segment),
    edge e counting the windows before e. `cells` says for every column where its cells begin and end, `at` what they hold."""

    windows: list[str]
    segments: list[str]
    columns: list[str]
    kinds: list[str]
    why: list[str]
    cells: list[tuple[int, int]]
    at: list[Any]
    bound: list[float]
    counts: Any
    extra: Any
    rows: Any


def running(cube: xr.Dataset) -> Running:
    """The running counts of a cube with windows; windows without a time are left out.

    Raises WorkbenchError without windows.
    """
    labels = window_labels(cube)
    timed = [place for place, label in enumerate(labels) if label not in ("", "(missing)")]
    if not timed:
        raise WorkbenchError("running counts need windows of time; count the cube with a Period named window")
    order = [timed[one] for one in np.argsort([labels[place] for place in timed])]
    rows, names = by_segment(cube, "count")
    columns = [str(one) for one in cube["column"].values]
    parts = np.stack([_ordered(by_segment(cube, key)[0], order, columns) for key in EXTRA], axis=-1)
    most = int(np.clip(ENTRIES // max(len(order) * len(names) * len(columns), 1), FEWEST, MOST))
    tables, cells, at, why, bound, start = [], [], [], [], [], 0
    for column in columns:
        table, values, reason, coarse = _table(cube, column, names, order, most)
        tables.append(table)
        cells.append((start, start + table.shape[-1]))
        start += table.shape[-1]
        at.append(values)
        why.append(reason)
        bound.append(coarse)
    counts = _sums(np.concatenate(tables, axis=-1))
    whole = rows.values[:, order].T
    kinds = [kind_of(cube, column) for column in columns]
    kept = [labels[place] for place in order]
    return Running(kept, names, columns, kinds, why, cells, at, bound, counts, _sums(parts), _sums(whole))


def _ordered(array: xr.DataArray, order: list[int], columns: list[str]) -> Any:
    return array.transpose(WINDOW, SEGMENT, "column").sel(column=columns).values[order]


def _sums(table: Any) -> Any:
    """Running sums along the first axis, from zero, in the narrowest of two whole types."""
    total = np.concatenate([np.zeros_like(table[:1], dtype="int64"), np.cumsum(table, axis=0, dtype="int64")])
    return total.astype("int32") if total.max(initial=0) < 2**31 else total


def _table(cube: xr.Dataset, column: str, names: list[str], order: list[int], most: int) -> tuple[Any, Any, str, float]:
    """Counts (window, segment, cell) of one column over its few cells, what the cells hold, why it is not compared, and
    the largest share in a cell of several values."""
    pair = paired(cube, cube, column)
    if pair.why or not len(pair.at):
        return np.zeros((len(order), len(names), 1)), np.zeros(1), pair.why or "no values on either side", 0.0
    total = np.bincount(pair.new.cell, pair.new.count, minlength=len(pair.at))
    if pair.kind == "text":
        other = pair.at == OTHER
        if total[other].sum() > MANY * total.sum() or (total > 0).sum() > MANY * total.sum():
            return np.zeros((len(order), len(names), 1)), np.zeros(1), "nearly every row has its own value", 0.0
        best = np.argsort(-np.where(other, -1, total), kind="stable")[:VALUES]
        best = best[(total[best] >= RARE / 10 * total.sum()) & ~other[best]]
        group = np.full(len(total), len(best))
        group[best] = np.arange(len(best))
        values: Any = np.append(pair.at[best].astype(object), OTHER)
        bound = 0.0
    else:
        group = far.equal_parts(total, most)
        size = int(group.max()) + 1
        weight = np.maximum(np.bincount(group, total, minlength=size), 1e-300)
        mean = np.bincount(group, total / weight[group] * np.nan_to_num(pair.at), minlength=size)
        values = np.maximum.accumulate(mean)  # ascending to the last bit
        several = np.bincount(group, total > 0, minlength=size) > 1
        bound = float((np.bincount(group, total, minlength=size) * several).max() / max(total.sum(), 1))
    few = Counts(cube, pair.new.group, group[pair.new.cell], pair.new.count).stacked(len(values))
    return np.stack([few[name][order] for name in names], axis=1), values, "", bound


def between(
    sums: Running,
    reference: tuple[str, str],
    current: tuple[str, str],
    *,
    least: int = 100,
    threshold: float = 0.1,
    missing: float = 0.05,
) -> pd.DataFrame:
    """`drift.judge` of two spans of windows, each (first, last) with both windows included, of every column and segment.

    The columns of the frame are those of `drift.judge`, window being "". Raises WorkbenchError for an unknown window, for a
    span that ends before it begins, and for spans that overlap.
    """
    (i0, i1), (j0, j1) = (_span(sums, one) for one in (reference, current))
    if i0 < j1 and j0 < i1:
        raise WorkbenchError("the two spans share windows, which is no comparison; choose two that do not overlap")
    rows = [np.asarray(sums.rows[end] - sums.rows[start], dtype="float64") for start, end in ((i0, i1), (j0, j1))]
    lost = [np.asarray(sums.extra[end] - sums.extra[start], dtype="float64") for start, end in ((i0, i1), (j0, j1))]
    counted = [
        np.asarray(sums.counts[end] - sums.counts[start], dtype="float64") for start, end in ((i0, i1), (j0, j1))
    ]
    share: dict[str, Any] = {}  # of all columns at once
    for which, extra in enumerate(EXTRA):
        share |= changed(extra, lost[0][..., which], rows[0][:, None], lost[1][..., which], rows[1][:, None])
    told = []
    for place, column in enumerate(sums.columns):
        text = sums.kinds[place] == "text"
        one: dict[str, Any] = {"window": "", "reference": f"{reference[0]}/{reference[1]}", "reference_kind": "span",
                               "segment": sums.segments, "column": column, "kind": sums.kinds[place],
                               "rows_reference": rows[0], "rows_current": rows[1]}  # fmt: skip
        one |= {name: value[:, place] for name, value in share.items()}
        one["missing_evaluated"] = (rows[0] >= least) & (rows[1] >= least)
        told.append(one | _column(sums, place, counted, text, least))
    frame = pd.DataFrame({key: _stacked([one[key] for one in told], len(sums.segments)) for key in told[0]})
    return judge(frame, threshold=threshold, missing=missing)


def _stacked(values: list[Any], size: int) -> Any:
    """One column of a frame: each value is an array of `size`, or one for all of its rows."""
    if all(np.ndim(one) == 0 for one in values):
        return np.repeat(np.array(values, dtype=object if isinstance(values[0], str) else None), size)
    return np.concatenate([np.full(size, one) if np.ndim(one) == 0 else np.asarray(one) for one in values])


def _column(sums: Running, place: int, counted: list[Any], text: bool, least: int) -> dict[str, Any]:
    metric = "total_variation" if text else "ks"
    start, end = sums.cells[place]
    a, b = (one[:, start:end] for one in counted)
    few, why = np.minimum(a.sum(-1), b.sum(-1)), sums.why[place]
    told: dict[str, Any] = {"metric": metric, "values_reference": a.sum(-1), "values_current": b.sum(-1)}
    told |= dict.fromkeys(OUTSIDE, np.nan)
    if not why and few.max(initial=0) > 0:
        told |= outside(a, b, sums.at[place] == OTHER if text else None)
        told |= measures(a, b, None if text else sums.at[place], None if text else far.equal_parts(a[0]), brief=True)
    for name in (f"{one}{end}" for one in BRIEF for end in (*ENDS, *SPAN)):
        told.setdefault(name, np.nan)
    told["why"] = np.array(
        [why or ("" if n >= least else f"only {n:.0f} values, {least} needed") for n in few], dtype=object
    )
    told["evaluated"] = told["why"] == ""
    for end_of in (*ENDS, *SPAN):
        told[f"distance{end_of}"] = np.where(told["evaluated"], told[f"{metric}{end_of}"], np.nan)
    return told


BRIEF = ("ks", "wasserstein", "psi", "total_variation")


def _span(sums: Running, span: tuple[str, str]) -> tuple[int, int]:
    places = []
    for label in span:
        if label not in sums.windows:
            raise WorkbenchError(f"there is no window {label!r}; {nearest(label, sums.windows)}")
        places.append(sums.windows.index(label))
    if places[1] < places[0]:
        raise WorkbenchError(f"the span {say_span('/'.join(span))} ends before it begins; give its first window first")
    return places[0], places[1] + 1


def kept(cube: xr.Dataset, *, folder: Path | None = None, stored: Path | None = None) -> Running | None:
    """The running counts of a run: read from the run's folder where it has left them (`stored`), else made of the cube and
    left in `folder`, where there is one. None where there are fewer than two windows to compare.
    """
    if WINDOW not in cube.dims or cube.sizes[WINDOW] < 2:
        return None
    if stored is not None and (stored / FILE).is_file():
        return load(stored / FILE)
    made = running(cube)
    if folder is not None:
        save(made, folder / FILE)
    return made


# --- in a file: written whole, read in place ----------------------------------------------------------------------------


def save(sums: Running, path: str | Path) -> Path:
    """Writes running counts into one file, whole or not at all; gives the path back."""
    path = Path(path)
    about = {name: getattr(sums, name) for name in ("windows", "segments", "columns", "kinds", "why", "cells", "bound")}
    about["at"] = [[str(x) for x in one] if one.dtype == object else [float(x).hex() for x in one] for one in sums.at]
    arrays = {name: np.ascontiguousarray(getattr(sums, name)) for name in ("counts", "extra", "rows")}
    offset, places = 0, {}
    for name, array in arrays.items():
        places[name] = {"offset": offset, "shape": array.shape, "dtype": array.dtype.str}
        offset += -(-array.nbytes // 64) * 64
    head = json.dumps({"format": 1, "about": about, "arrays": places}).encode()
    handle, aside = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    with os.fdopen(handle, "wb") as file:
        file.write(len(head).to_bytes(8, "little") + head)
        file.write(b"\0" * (-file.tell() % 64))
        for array in arrays.values():
            file.write(array.tobytes() + b"\0" * (-array.nbytes % 64))
    os.chmod(aside, 0o644)
    os.replace(aside, path)
    return path


def load(path: str | Path) -> Running:
    """Running counts of a file, whose numbers stay on disk until they are asked for.

    Raises WorkbenchError when there is no such file or it holds something else.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            if size > path.stat().st_size:
                raise ValueError
            told = json.loads(file.read(size))
        begin = -(-(8 + size) // 64) * 64
        arrays = {
            name: np.memmap(path, one["dtype"], "r", begin + one["offset"], tuple(one["shape"]))
            for name, one in told["arrays"].items()
        }
        about = told["about"]
    except (OSError, ValueError, KeyError) as error:
        raise WorkbenchError(
            f"{path} holds no running counts ({type(error).__name__}); run the notebook again"
        ) from None
    about["cells"] = [tuple(one) for one in about["cells"]]
    about["at"] = [np.array(one, dtype=object) if kind == "text" else np.array([float.fromhex(x) for x in one])
                   for one, kind in zip(about["at"], about["kinds"], strict=True)]  # fmt: skip
    return Running(**{**about, **arrays})
