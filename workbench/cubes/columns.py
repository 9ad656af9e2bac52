"""Arrow columns as the plain arrays that the kernels read: values, validity bits, offset."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa

NO_BITS = np.zeros(1, np.uint8)
NO_TIME = np.iinfo(np.int64).min


class Values(NamedTuple):
    """One contiguous piece of a numeric column: int64 or float64 values, and the bitmap of those that are there."""

    values: np.ndarray
    valid: np.ndarray
    offset: int
    nulls: bool


def chunks_of(column: pa.Array | pa.ChunkedArray) -> list[pa.Array]:
    """The column's contiguous pieces."""
    import pyarrow as pa

    return list(column.chunks) if isinstance(column, pa.ChunkedArray) else [column]


def bitmap(array: pa.Array) -> tuple[np.ndarray, int, bool]:
    """Arrow's validity bits as bytes, the first row's bit, and whether any row is missing."""
    buffers = array.buffers()
    if array.null_count == 0 or buffers[0] is None:
        return NO_BITS, 0, False
    return np.frombuffer(buffers[0], np.uint8), array.offset, True


def integral(array: pa.Array) -> pa.Array:
    """Times and durations in microseconds, dates, booleans and small integers: all as int64 with the same nulls."""
    import pyarrow as pa

    t = array.type
    if pa.types.is_timestamp(t):
        from workbench.tables.kinds import micros

        return micros(array).view(pa.int64())
    if pa.types.is_date(t):
        return array.cast(pa.timestamp("us")).view(pa.int64())
    if pa.types.is_duration(t):
        return array.cast(pa.duration("us"), safe=False).view(pa.int64())
    if pa.types.is_time32(t) or pa.types.is_time64(t):
        return array.cast(pa.time64("us"), safe=False).view(pa.int64())
    return array.cast(pa.int64()) if not pa.types.is_int64(t) else array


def whole_type(t: pa.DataType) -> bool:
    """Whether a column is counted as whole numbers."""
    import pyarrow as pa

    return (
        (pa.types.is_integer(t) and not pa.types.is_uint64(t))
        or pa.types.is_boolean(t)
        or (pa.types.is_temporal(t) and not pa.types.is_interval(t))
    )


def numeric(column: pa.Array | pa.ChunkedArray) -> Iterator[Values]:
    """The column's pieces as int64 (whole numbers, times) or float64 (everything else that is a number)."""
    import pyarrow as pa

    for array in chunks_of(column):
        if len(array) == 0:
            continue
        if pa.types.is_dictionary(array.type):
            array = array.dictionary_decode()
        if whole_type(array.type):
            array = integral(array)
            kind: Any = np.int64
        else:
            if not pa.types.is_float64(array.type):
                array = array.cast(pa.float64(), safe=False)
            kind = np.float64
        valid, offset, nulls = bitmap(array)
        if nulls and array.null_count == len(array) and array.buffers()[1] is None:
            values = np.zeros(len(array), kind)
        else:
            values = np.frombuffer(array.buffers()[1], kind)[array.offset : array.offset + len(array)]
        yield Values(values, valid, offset, nulls)


def floats_of(column: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """The whole column as float64, NaN where a value is missing."""
    out = []
    for v in numeric(column):
        x = v.values.astype(np.float64)
        if v.nulls:
            x[~valid_mask(v)] = np.nan
        out.append(x)
    return np.concatenate(out) if out else np.zeros(0)


def times_of(column: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """The whole column as int64 microseconds since 1970 UTC, the smallest int64 where a value is missing."""
    out = []
    for v in numeric(column):
        x = v.values
        if v.nulls:
            x = np.where(valid_mask(v), x, NO_TIME)
        out.append(x)
    return out[0] if len(out) == 1 else np.concatenate(out) if out else np.zeros(0, np.int64)


def valid_mask(v: Values) -> np.ndarray:
    """The bitmap as booleans."""
    if not v.nulls:
        return np.ones(len(v.values), bool)
    return np.unpackbits(v.valid, bitorder="little", count=v.offset + len(v.values))[v.offset :].astype(bool)
