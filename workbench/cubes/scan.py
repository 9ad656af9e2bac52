"""The pass: a table counted once into a cube, as a tree of sums on the workers at hand."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.cubes.axes import Period, check_axes
from workbench.cubes.labelled import to_dataset
from workbench.cubes.measures import Asked, check_measures
from workbench.errors import WorkbenchError, nearest
from workbench.interrupts import heard

if TYPE_CHECKING:
    import xarray as xr

    from workbench.cubes.axes import Axis
    from workbench.cubes.counting import Column

SAMPLE = 65_536
TASK_ROWS = 1 << 24  # what a worker that is lost has counted in vain, at most
RANK_LIMIT = 1e-3  # of a pass without axes
NO_VALUES = np.zeros(0)


def cube(
    table: Any,
    by: Any = (),
    of: Any = None,
    *,
    cluster: Any = None,
    plan: xr.Dataset | None = None,
    onto: str | Path | None = None,
    progress: bool | None = None,
) -> xr.Dataset:
    """Count a table in one pass into a cube: a small labelled dataset that adds.

    table: an opened table, an address, an Arrow table or a pandas DataFrame.
    by: axes (``Category``, ``Period``, ``Bins``, or a column's name for a category); none: one cell for all rows.
    of: columns (everything of each) and measures (``Moments``, ``Histogram``, ``Distinct``, ``Top``,
        ``CoMoments``); None or ``...``: everything of every column, the full profile.
    cluster: "threads" (default), "processes", "cuda", a scheduler's address, or workers from ``cluster()``.
    plan: a cube whose bins are used, so that histograms add without loss of resolution.
    onto: the folder of a cube store: counts only what the store has not seen, commits it, gives the sum of all. Files that
        were rewritten are counted anew; the cube's attribute ``recounted`` names them.
    progress: a bar for passes over two seconds; None: where somebody can see it.

    The cube has the axes' dims, then "column". Variables: ``count`` (rows), ``missing``, ``nan``, ``infinite``,
    ``values`` (finite values), ``sum``, ``mean``, ``min``, ``max`` and what the readers ``quantile``, ``histogram``,
    ``categories``, ``distinct`` and ``std`` need. Times are microseconds since 1970 UTC, booleans 0 and 1. Decimals and
    unsigned 64-bit integers are counted as floats. Missing is a null; NaN and infinities are counted beside it, and
    sums, means, extremes and quantiles are over the finite values.

    Raises WorkbenchError for unknown columns, axes that do not fit their column, and cubes over the cell limit.

    >>> import pyarrow as pa
    >>> c = cube(pa.table({"model": ["a", "b", "a"], "ms": [1.0, 2.0, None]}), by="model", of="ms")
    >>> c["count"].to_series().to_dict()
    {'a': 2, 'b': 1}
    >>> int(c["missing"].sel(model="a", column="ms"))
    1
    """
    with heard():
        from workbench.clusters import workers
        from workbench.cubes.memory import as_table

        table = as_table(table)
        axes = check_axes(by)
        _check_axis_columns(axes, table)
        if onto is not None:
            from workbench.cubes.increments import count_onto

            return count_onto(onto, table, axes, of, cluster=cluster, plan=plan, progress=progress)
        with workers(cluster) as crew:
            columns = plan_columns(table, axes, of, plan)
            part = run(table, table.pieces(), columns, axes, crew, progress)
            if not axes and plan is None:
                part, columns = recounted(part, table, columns, crew, progress)
        return finished(part, table, columns, axes)


def plan_columns(table: Any, axes: tuple[Axis, ...], of: Any, like: xr.Dataset | None) -> tuple[Column, ...]:
    """What to count of each column, with the bins of the numeric ones drawn from a sample or taken from a cube."""
    from workbench.cubes.columns import floats_of, whole_type
    from workbench.cubes.counting import Column
    from workbench.cubes.plan import BINS, EMPTY, EXACT, Plan, make_plan, singly

    kinds = dict(table.kinds)
    for f in table.schema:
        if kinds[f.name] == "integer" and not whole_type(f.type):
            kinds[f.name] = "number"  # unsigned 64-bit
    asked = check_measures(of, kinds, bool(axes))
    known: dict[str, np.ndarray] = {}
    if like is not None:
        from workbench.cubes.labelled import plans_of

        known = plans_of(like)
    fresh = [c for c, a in asked.items() if a.histogram and c not in known]
    exact = EXACT if axes else 4 * EXACT  # one group can afford it, and only counting is the fastest
    bounds: dict[str, tuple[Any, Any] | None] = {}
    values: dict[str, np.ndarray] = {}
    for c in fresh:
        if kinds[c] in ("integer", "boolean", "time"):
            bounds[c] = (0, 1) if kinds[c] == "boolean" else table.bounds(c)
            stand = NO_VALUES if singly(bounds[c], asked[c].bins or BINS, exact) else along(table.spans(c))
            if stand is not None:
                values[c] = stand
    unknown = [c for c in fresh if c not in values]
    for c, drawn in (table.sample(SAMPLE, unknown) if unknown else {}).items():
        values[c] = floats_of(drawn) if len(drawn) else NO_VALUES
    out = []
    for c, a in asked.items():
        plan = Plan(known[c]) if a.histogram and c in known else EMPTY
        if c in values:
            plan = make_plan(
                values[c], bins=a.bins or BINS, relative=a.relative, whole_numbers=c in bounds, bounds=bounds.get(c),
                exact=exact,
            )  # fmt: skip
        out.append(Column(c, kinds[c], a, plan))
    return tuple(out)


def along(spans: list[tuple[Any, Any, int]] | None) -> np.ndarray | None:
    """Values that stand for a column of whole numbers in order: as many as are drawn of others, along its row groups' ranges.

    Such a column, as times are, has row groups that hardly overlap, and values drawn from the head of each would say
    nothing of the rest: they crowd, and bins drawn from them would be too wide between the crowds. None for any other.
    """
    if spans is None or len(spans) < 2:
        return None
    low, high, rows = (np.array(one, np.float64) for one in zip(*spans, strict=True))
    if (high - low).sum() > 1.5 * (high.max() - low.min()):
        return None
    many = np.maximum(1, (rows * (SAMPLE / rows.sum())).astype(int))
    return np.concatenate([np.linspace(*one, dtype=float) for one in zip(low, high, many.tolist(), strict=True)])


def recounted(part: Any, table: Any, columns: tuple, crew: Any, progress: bool | None) -> tuple[Any, tuple]:
    """The partial with rank errors within ``RANK_LIMIT``: a column beyond it is planned from its counts and read again.

    It happens where the sample missed a narrow crowd of values; after three readings the bound stands as it is.
    """
    from dataclasses import replace

    from workbench.cubes.plan import BINS, make_plan

    for _ in range(3):
        wide: dict[int, Column] = {}
        for i, c in enumerate(columns):
            t = part.bins[i] | {"count": part.bins[i]["count"].astype(np.int64)}
            total = t["count"].sum()
            mixed = (t["min"] != t["max"]) & (t["bits"] > 0)
            if total and np.max(t["count"] * mixed, initial=0) > RANK_LIMIT * total:
                draw = np.maximum(1, t["count"] * SAMPLE // total)
                share = (np.arange(draw.sum()) - np.repeat(np.cumsum(draw) - draw, draw)) / np.repeat(
                    np.maximum(draw - 1, 1), draw
                )
                low, high = np.repeat(t["min"], draw), np.repeat(t["max"], draw)
                values = low * (1 - share) + high * share
                whole = c.kind in ("integer", "boolean", "time")
                values = np.round(values) if whole else values
                plan = make_plan(values, bins=c.asked.bins or BINS, relative=c.asked.relative, whole_numbers=whole)
                wide[i] = replace(c, plan=plan)
        again = {i: c for i, c in wide.items() if c.plan != columns[i].plan}
        if not again:
            break
        more = run(table, table.pieces(), tuple(again.values()), (), crew, progress)
        columns = tuple(again.get(i, c) for i, c in enumerate(columns))
        for k, i in enumerate(again):
            part.bins[i] = more.bins[k]
    return part, columns


def run(table: Any, pieces: list, columns: tuple, axes: tuple[Axis, ...], crew: Any, progress: bool | None) -> Any:
    """The partial of some pieces, counted by a crew of workers."""
    from workbench.cubes import partial as p
    from workbench.cubes.counting import count_pieces, counted, taken

    together = any(c.asked.co for c in columns)
    if together:
        from workbench.cubes.comoments import count_pieces
    if not pieces:
        return count_pieces(table, [], columns, axes)
    rows = sum(x.rows or 0 for x in pieces)
    shares = share(pieces, crew.size if crew.local else max(2 * crew.size, -(-rows // TASK_ROWS)))
    # a table in memory sends each worker elsewhere its own rows only
    own = [table if crew.local or not hasattr(table, "part") else table.part(s) for s in shares]
    tasks = [(t, s, columns, axes) for t, s in zip(own, shares, strict=True)]
    if crew.local and not axes and not together:  # then what is counted is added as it lies
        return crew.tree(counted, tasks, taken, pieces, progress).partial()
    return p.settled(crew.tree(count_pieces, tasks, p.join, pieces, progress))


def share(pieces: list, parts: int) -> list[list]:
    """Runs of neighbouring pieces of about equal rows (or bytes), at most ``parts`` of them."""
    weight = np.array([float(x.rows if x.rows is not None else x.nbytes) for x in pieces]) + 1.0
    edge = np.cumsum(weight) - weight / 2
    which = np.minimum((edge / weight.sum() * parts).astype(int), parts - 1)
    return [[x for x, w in zip(pieces, which, strict=True) if w == i] for i in np.unique(which)]


def finished(part: Any, table: Any, columns: tuple, axes: tuple[Axis, ...]) -> xr.Dataset:
    """A partial as a cube with its recipe."""
    from workbench import __version__

    about = [
        {"name": c.name, "kind": c.kind, "whole": c.kind in ("integer", "boolean", "time"), "asked": _asked(c)}
        for c in columns
    ]
    recipe = {
        "source": str(table.source),
        "source_version": str(table.version),
        "where": [list(w) if isinstance(w, tuple | list) else str(w) for w in getattr(table, "where", ())],
        "workbench_version": __version__,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    plans = {c.name: c.plan.nodes for c in columns if len(c.plan.nodes)}
    if axes and not part.groups:
        part = _no_rows(part, axes)
    return to_dataset(part, [a.recipe() for a in axes], about, plans, recipe, spent=True)


def _asked(c: Column) -> dict[str, Any]:
    a: Asked = c.asked
    return {
        "whole": c.kind in ("integer", "boolean", "time"),
        "moments": a.moments,
        "histogram": a.histogram,
        "relative": a.relative,
        "p": a.p,
        "top": a.top,
        **({"co": True} if a.co else {}),
    }


def _no_rows(part: Any, axes: tuple[Axis, ...]) -> Any:
    types = [
        np.dtype("datetime64[us]")
        if isinstance(a, Period)
        else np.dtype(float)
        if hasattr(a, "edges")
        else np.dtype(object)
        for a in axes
    ]
    part.labels = tuple(np.zeros(0, t) for t in types)
    return part


def _check_axis_columns(axes: Iterable[Any], table: Any) -> None:
    kinds = table.kinds
    for a in axes:
        if a.column not in kinds:
            raise WorkbenchError(f"by= names {a.column!r}, which is not a column here; {nearest(a.column, kinds)}")
        kind = kinds[a.column]
        name = type(a).__name__
        if name == "Period" and kind != "time":
            times = [c for c, k in kinds.items() if k == "time"]
            raise WorkbenchError(
                f"Period({a.column!r}) wants a time, but the column is {kind}; "
                f"{'columns that are times: ' + ', '.join(times) if times else 'no column here is a time'}. "
                f"open_table(..., types={{{a.column!r}: 'time'}}) reads it as one where it can."
            )
        if name == "Bins" and kind in ("text", "other"):
            raise WorkbenchError(f"Bins({a.column!r}) wants a number, but the column is {kind}; use Category for text.")
        if name == "Category" and kind == "other":
            raise WorkbenchError(f"Category({a.column!r}) cannot label a nested or binary column.")
