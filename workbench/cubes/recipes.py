"""Whether what is to be counted fits what a store holds."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from workbench.cubes.algebra import empty_columns
from workbench.cubes.labelled import axes_of, columns_of
from workbench.cubes.scan import _asked
from workbench.errors import WorkbenchError
from workbench.tables.kinds import KINDS
from workbench.tables.parquet import no_values

if TYPE_CHECKING:
    import xarray as xr


def as_stored(table: Any, stored: xr.Dataset) -> Any:
    """The table with its columns of the kinds that a store has them in, where that changes no value.

    What holds no values yet is of any kind, and whole numbers are numbers: a day of numbers may have whole ones only.
    """
    kept = {c["name"]: c["kind"] for c in columns_of(stored)}
    wanted = {}
    for name, kind in table.kinds.items():
        other = kept.get(name, kind) not in (kind, "other") and name not in empty_columns(stored)
        if other and (_nothing(table, name) or (kept[name] == "number" and _exact(table, name))):
            wanted[name] = KINDS[kept[name]]
    return _typed(table, wanted)


def unsigned_as_numbers(table: Any, axes: tuple) -> Any:
    """The table for a store's first count: unsigned 64-bit integers are numbers from the first day on, since they are whole
    numbers only as long as none is beyond 2**63; labels of axes stay as they are."""
    names = {f.name for foot in table.footers() for f in foot.schema if f.type == pa.uint64()} - {
        a.column for a in axes
    }
    return _typed(table, {n: KINDS["number"] for n in names if table.kinds.get(n) == "integer"})


def _typed(table: Any, wanted: dict[str, pa.DataType]) -> Any:
    if not wanted:
        return table

    def typed(schema: Any) -> Any:
        return pa.schema([(f.name, wanted.get(f.name, f.type)) for f in schema])

    return replace(table, schema=typed(table.schema), stored=typed(table.stored))


def _nothing(table: Any, column: str) -> bool:
    """Whether a column is known to hold no value."""
    feet = table.footers()
    holds = [foot for foot in feet if column in foot.schema.names]
    return pa.types.is_null(table.schema.field(column).type) or (
        bool(feet) and len(holds) == len(feet) and all(no_values(foot, column) for foot in feet)
    )


def _exact(table: Any, column: str) -> bool:
    """Whether a column of whole numbers loses nothing as floats, or is one only for want of others: text says no more, and
    unsigned 64 bits are whole or other numbers by their size."""
    if table.kinds[column] != "integer":
        return False
    types = [foot.schema.field(column).type for foot in table.footers() if column in foot.schema.names]
    bounds = table.bounds(column)
    return (
        table.format != "parquet"
        or pa.uint64() in types
        or (bounds is not None and max(abs(bounds[0]), abs(bounds[1])) <= 2**53)
    )


def same_recipe(folder: Path, stored: xr.Dataset, table: Any, columns: tuple, axes: tuple) -> tuple:
    """The columns in the store's order; raises where its cubes are of another recipe."""
    have = {c["name"]: (c["kind"], c["asked"]) for c in columns_of(stored)}
    order = {name: i for i, name in enumerate(have)}
    columns = tuple(sorted(columns, key=lambda c: order.get(c.name, len(order))))
    want = {c.name: (c.kind, _asked(c)) for c in columns}
    where = json.loads(json.dumps([list(w) for w in table.where], default=str))
    kept = json.loads(stored.attrs.get("where", "[]"))
    differ = [n for n in have if n in want and have[n] != want[n] and n not in empty_columns(stored)]
    kinds = [n for n in differ if have[n][0] != want[n][0]]
    advice = "Ask for the same, or count into another folder."
    old: Any
    new: Any
    if axes_of(stored) != [a.recipe() for a in axes]:
        what, old, new = "axes", axes_of(stored), [a.recipe() for a in axes]
    elif have.keys() != want.keys():
        what, old, new = "columns", list(have), list(want)
        if have.keys() < want.keys():
            advice = f"Ask for the same, as by open_table(..., columns={list(have)}), or count into another folder."
    elif kinds:
        what, old, new = "columns", {n: have[n][0] for n in kinds}, {n: want[n][0] for n in kinds}
        both = {n: "number" if {old[n], new[n]} == {"integer", "number"} else "text" for n in kinds}
        if "other" not in {*old.values(), *new.values()}:
            advice = f"open_table(..., types={old}) reads it as the store does, where it can"
            advice += "." if both == old else f"; or count all into another folder, from open_table(..., types={both})."
    elif differ:
        what, old, new = "measures", {n: have[n] for n in differ}, {n: want[n] for n in differ}
    elif json.dumps(kept) != json.dumps(where):  # as text, since NaN is not NaN
        what, old, new = "where=", kept, where
    else:
        return columns
    raise WorkbenchError(
        f"The store at {folder} holds cubes with {what} {str(old)[:300]}; this pass asks for {str(new)[:300]}. {advice}"
    )
