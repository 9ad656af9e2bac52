"""Conditions on rows: checked once, used to skip row groups and to keep rows. NaN equals NaN only, and is in no order."""

from __future__ import annotations

import datetime
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as at

from workbench.errors import WorkbenchError, nearest
from workbench.tables.kinds import TIME, kind_of

Condition = tuple[str, str, Any]
COMPARE: dict[str, Callable[..., Any]] = {
    "==": pc.equal,
    "!=": pc.not_equal,
    "<": pc.less,
    "<=": pc.less_equal,
    ">": pc.greater,
    ">=": pc.greater_equal,
}
OPERATIONS = (*COMPARE, "in", "not in", "is null", "not null")


def check(where: Iterable[Sequence[Any]] | None, schema: pa.Schema, source: str) -> tuple[Condition, ...]:
    """The conditions with their values brought to the columns' types (times as datetimes in UTC)."""
    if where is None:
        return ()
    checked: list[Condition] = []
    conditions = list(where)
    if len(conditions) in (2, 3) and isinstance(conditions[0], str):
        conditions = [tuple(conditions)]
    for condition in conditions:
        if isinstance(condition, str) or len(condition) not in (2, 3):
            raise WorkbenchError(f"where has {condition!r}: a condition is (column, operation, value)")
        column, operation = condition[0], condition[1]
        value = condition[2] if len(condition) == 3 else None
        if column not in schema.names:
            raise WorkbenchError(
                f"where names column {column!r}, which {source!r} lacks: {nearest(column, schema.names)}"
            )
        if operation not in OPERATIONS:
            raise WorkbenchError(f"where has operation {operation!r} for {column!r}: {nearest(operation, OPERATIONS)}")
        if len(condition) == 2 and operation not in ("is null", "not null"):
            raise WorkbenchError(f"where has {condition!r} without a value: a condition is (column, operation, value)")
        kind = kind_of(schema.field(column).type)
        if operation in ("is null", "not null"):
            checked.append((column, operation, None))
        elif operation in ("in", "not in"):
            if isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
                raise WorkbenchError(f"where has {value!r} for {column!r} {operation}: give a list of values")
            checked.append((column, operation, tuple(_value(column, kind, one) for one in value)))
        else:
            if kind == "boolean" and operation not in ("==", "!="):
                raise WorkbenchError(f"where has {operation!r} for the boolean column {column!r}: use == or !=")
            checked.append((column, operation, _value(column, kind, value)))
    return tuple(checked)


def _value(column: str, kind: str, value: Any) -> Any:
    value = value.item() if hasattr(value, "item") and kind != "time" else value
    if kind == "boolean" and isinstance(value, bool):
        return value
    if kind in ("integer", "number") and isinstance(value, (int, float)) and not isinstance(value, bool):
        return value
    if kind == "text" and isinstance(value, str):
        return value
    if kind == "time":
        try:
            return moment(value)
        except (ValueError, TypeError):
            pass
    raise WorkbenchError(
        f"where compares column {column!r}, which is {kind}, with {value!r} of type {type(value).__name__}"
    )


def moment(value: Any) -> datetime.datetime:
    """A time as a datetime in UTC: from ISO text, a date, a datetime, a pandas or numpy time. Without a zone it is UTC."""
    if isinstance(value, str):
        value = datetime.datetime.fromisoformat(value)
    elif hasattr(value, "astype"):
        value = value.astype("datetime64[us]").item()
    elif hasattr(value, "to_pydatetime"):
        value = value.to_pydatetime(warn=False)
    elif isinstance(value, datetime.date) and not isinstance(value, datetime.datetime):
        value = datetime.datetime(value.year, value.month, value.day)
    if not isinstance(value, datetime.datetime):
        raise TypeError(value)
    utc = datetime.UTC
    return value.replace(tzinfo=utc) if value.tzinfo is None else value.astimezone(utc)


def mask(conditions: Sequence[Condition], column: Callable[[str], Any], count: int) -> pa.ChunkedArray | None:
    """True where every condition holds, or None where all rows do. A missing value holds only "is null"."""
    result = None
    for name, operation, value in conditions:
        values = column(name)
        chunks = values.chunks if isinstance(values, pa.ChunkedArray) else [values]
        one = pa.chunked_array([_holds(chunk, operation, value) for chunk in chunks], pa.bool_())
        result = one if result is None else pc.and_(result, one)
    if result is None or pc.all(result, min_count=0).as_py():
        return None
    return result


def _holds(values: pa.Array, operation: str, value: Any) -> pa.Array:
    if operation == "is null":
        return pc.is_null(values)
    if operation == "not null":
        return pc.is_valid(values)
    if at.is_dictionary(values.type):
        held = _holds(values.dictionary, operation, value)
        return pc.fill_null(pc.take(held, values.indices), False)
    if at.is_integer(values.type):
        value = _whole(value) if operation in ("in", "not in") else value
        if operation in COMPARE:
            return _compared(values, operation, value)
    elif at.is_floating(values.type):
        value = [_float(one) for one in value] if operation in ("in", "not in") else _float(value)
        if operation in ("==", "!=") and value != value:
            operation, value = {"==": "in", "!=": "not in"}[operation], [value]
    if operation in ("in", "not in"):
        wanted = pa.array(list(value), _scalar_type(values.type))
        values = values.cast(wanted.type, safe=False) if wanted.type != values.type else values
        inside = pc.is_in(_alike(values), _alike(wanted))
        return pc.and_(pc.invert(inside) if operation == "not in" else inside, pc.is_valid(values))
    return pc.fill_null(COMPARE[operation](values, pa.scalar(value, _scalar_type(values.type))), False)


def _alike(values: pa.Array) -> pa.Array:
    """Floats with one zero and one NaN: Arrow looks up bits, of which both have several (0 / 0 is a NaN with a sign)."""
    return pc.if_else(pc.is_nan(values), math.nan, pc.add(values, 0.0)) if at.is_floating(values.type) else values


def _scalar_type(have: pa.DataType) -> pa.DataType:
    if at.is_timestamp(have):
        return TIME
    return pa.int64() if at.is_integer(have) else pa.float64() if at.is_floating(have) else have


def _float(value: Any) -> float:
    """A number as a float, whole ones beyond all floats as infinity."""
    if isinstance(value, float) or abs(value) < 2**1023:
        return float(value)
    return math.inf if value > 0 else -math.inf


def _whole(values: Iterable[Any]) -> list[int]:
    """Those of the numbers that a 64-bit integer can be."""
    finite = [one for one in values if isinstance(one, int) or math.isfinite(one)]
    return [int(one) for one in finite if int(one) == one and -(2**63) <= one < 2**63]


def _compared(values: pa.Array, operation: str, value: Any) -> pa.Array:
    """Integers compared with any number, exactly: as floats, those beyond 2**53 would be taken for their neighbours."""
    nothing = value != value
    floor = 0 if nothing else value if isinstance(value, int) else math.floor(max(-1e300, min(1e300, value)))
    between = floor != value
    above, below = floor >= 2**63, floor < -(2**63)
    if nothing or above or below or (between and operation in ("==", "!=")):
        every = (
            operation == "!="
            or (not nothing and above and operation in ("<", "<="))
            or (below and operation in (">", ">="))
        )
        return pc.is_valid(values) if every else pa.array(np.zeros(len(values), bool))
    if between:  # less than 2.5 is at most 2, at least 2.5 is more than 2
        operation = operation[0] + "=" if operation[0] == "<" else ">"
    return pc.fill_null(COMPARE[operation](values, pa.scalar(floor, pa.int64())), False)


def ordered(value: Any) -> Any:
    """A value as statistics give it: times in microseconds since 1970-01-01 UTC."""
    if isinstance(value, datetime.datetime):
        since = value - datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
        return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
    return value


def possible(conditions: Sequence[Condition], bounds: Callable[[str], tuple[Any, Any, int | None, int] | None]) -> bool:
    """Whether any row of a group can hold all conditions, by its (min, max, missing, rows) where these are known.

    Bounds of a time are microseconds since 1970-01-01 UTC; a min of None says that only `missing` is known.
    """
    for name, operation, value in conditions:
        known = bounds(name)
        if known is None:
            continue
        low, high, missing, rows = known
        if operation == "is null":
            if missing == 0:
                return False
            continue
        if missing is not None and missing == rows:
            return False
        if low is None or operation in ("not null", "!=", "not in"):
            continue
        wanted = [ordered(one) for one in (value if operation == "in" else [value])]
        if not any(_fits(operation, low, high, one) for one in wanted):
            return False
    return True


def _fits(operation: str, low: Any, high: Any, value: Any) -> bool:
    if operation in ("<", "<="):
        return bool(low < value or (operation == "<=" and low == value))
    if operation in (">", ">="):
        return bool(high > value or (operation == ">=" and high == value))
    return bool(low <= value <= high) or value != value  # statistics say nothing of NaN
