"""The six kinds of a column, and how stored Arrow types become them.

Six kinds are enough for counting: "integer", "number", "time", "boolean", "text" and "other" (nested, binary, time of
day: only its missing values can be counted). Within one kind, files may differ in how they store a column.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.types as at

from workbench.errors import WorkbenchError, nearest

TIME = pa.timestamp("us", "UTC")
KINDS: dict[str, pa.DataType] = {
    "integer": pa.int64(),
    "number": pa.float64(),
    "time": TIME,
    "boolean": pa.bool_(),
    "text": pa.string(),
}


def kind_of(type_: pa.DataType) -> str:
    """The kind of an Arrow type.

    >>> kind_of(pa.int16()), kind_of(pa.decimal128(10, 2)), kind_of(pa.date32()), kind_of(pa.list_(pa.int8()))
    ('integer', 'number', 'time', 'other')
    """
    if isinstance(type_, pa.BaseExtensionType):
        return kind_of(type_.storage_type)
    if at.is_dictionary(type_) or at.is_run_end_encoded(type_):
        return kind_of(type_.value_type)
    if at.is_integer(type_):
        return "integer"
    if at.is_floating(type_) or at.is_decimal(type_) or at.is_duration(type_):
        return "number"
    if at.is_timestamp(type_) or at.is_date(type_):
        return "time"
    if at.is_boolean(type_):
        return "boolean"
    if at.is_string(type_) or at.is_large_string(type_) or at.is_string_view(type_):
        return "text"
    return "other"


def plain_type(type_: pa.DataType) -> pa.DataType:
    """The type in which a column of this stored type is handed out.

    Integers and floats keep their width; decimals and durations (in seconds) become float64; times become
    microseconds in UTC (a time without a zone is UTC); dictionaries become their values' type.
    """
    if isinstance(type_, pa.BaseExtensionType):
        return plain_type(type_.storage_type)
    if at.is_dictionary(type_) or at.is_run_end_encoded(type_):
        return plain_type(type_.value_type)
    kind = kind_of(type_)
    if kind in ("time", "text", "boolean"):
        return KINDS[kind]
    if kind == "number":
        return (
            type_ if type_ in (pa.float32(), pa.float64()) else pa.float32() if at.is_float16(type_) else pa.float64()
        )
    return type_


def common_type(first: pa.DataType, second: pa.DataType, numbers: bool = False) -> pa.DataType | None:
    """The plain type that holds both plain types, or None where they do not reconcile.

    Integers and numbers reconcile only with `numbers`: text files cannot say which they mean.
    """
    if first == second or at.is_null(second):
        return first
    if at.is_null(first):
        return second
    if numbers and {kind_of(first), kind_of(second)} == {"integer", "number"}:
        return pa.float64()
    if kind_of(first) != kind_of(second) or kind_of(first) == "other":
        return None
    if kind_of(first) == "integer":
        return (
            pa.uint64()
            if at.is_unsigned_integer(first)
            and at.is_unsigned_integer(second)
            and 64 in (first.bit_width, second.bit_width)
            else pa.int64()
        )
    return KINDS[kind_of(first)]


def asked_type(column: str, wanted: str | pa.DataType) -> pa.DataType:
    """The plain type for an entry of `types`: a kind's name, an Arrow type, or the name of one."""
    if isinstance(wanted, pa.DataType):
        return plain_type(wanted)
    if wanted in KINDS:
        return KINDS[wanted]
    try:
        return plain_type(pa.type_for_alias(wanted))
    except (ValueError, TypeError):
        raise WorkbenchError(
            f"types has {wanted!r} for column {column!r}, which is neither a kind nor an Arrow type: "
            f"{nearest(str(wanted), KINDS)}"
        ) from None


def convert(values: pa.ChunkedArray, wanted: pa.DataType) -> pa.ChunkedArray:
    """The same values in the plain type; a text column may stay a dictionary or large text. Copies only where it must.

    Text becomes a time where it is ISO, with or without a zone (then UTC); empty text is a missing time.

    Raises pyarrow.ArrowInvalid when a value does not fit.
    """
    if isinstance(values.type, pa.BaseExtensionType):
        values = pa.chunked_array([chunk.storage for chunk in values.chunks], values.type.storage_type)
    have = values.type
    if have == wanted or (kind_of(wanted) == "other" and not at.is_null(wanted)):
        return values
    if at.is_run_end_encoded(have):
        values, have = pa.chunked_array([chunk.cast(have.value_type) for chunk in values.chunks]), have.value_type
    if at.is_null(have) or (kind_of(have) != kind_of(wanted) and values.null_count == len(values)):
        return pa.chunked_array([pa.nulls(len(values), wanted)], wanted)
    if kind_of(wanted) == "text":
        return _text(values)
    if at.is_dictionary(have):
        return convert(values.cast(have.value_type), wanted)
    if kind_of(wanted) == "time":
        return _time(values)
    if at.is_duration(have):
        seconds = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}[have.unit]
        import pyarrow.compute as pc

        return pc.divide(values.cast(pa.int64()).cast(pa.float64(), safe=False), float(seconds)).cast(wanted)
    if at.is_decimal(have) and kind_of(wanted) == "number":
        return pa.chunked_array([_nearest(chunk) for chunk in values.chunks], pa.float64()).cast(wanted)
    if kind_of(wanted) == "number" and kind_of(have) in ("integer", "number"):
        return values.cast(wanted, safe=False)
    return values.cast(wanted)


def _nearest(values: pa.Array) -> pa.Array:
    """Decimals as the nearest floats, which Arrow's own cast may miss by one: 9966430.70 is 9966430.7."""
    import numpy as np

    if at.is_decimal128(values.type) and 0 <= values.type.scale <= 22 and len(values):
        low, high = np.frombuffer(values.buffers()[1], np.int64).reshape(-1, 2)[values.offset :][: len(values)].T
        exact = (np.abs(low) <= 2**53) & (high == low >> 63)  # and so is a power of ten up to the 22nd
        gone = values.is_null().to_numpy(zero_copy_only=False) if values.null_count else np.zeros(len(values), bool)
        if (exact | gone).all():
            return pa.array(low / 10.0**values.type.scale, mask=gone if values.null_count else None)
    return values.cast(pa.string()).cast(pa.float64())


def _text(values: pa.ChunkedArray) -> pa.ChunkedArray:
    have = values.type
    if at.is_dictionary(have):
        if kind_of(have.value_type) != "text":
            return _text(values.cast(have.value_type))
        inner = pa.large_string() if at.is_large_string(have.value_type) else pa.string()
        wanted = pa.dictionary(pa.int32(), inner)
        return values if have == wanted else values.cast(wanted)
    if at.is_string(have) or at.is_large_string(have):
        return values
    return values.cast(pa.string())


def _time(values: pa.ChunkedArray) -> pa.ChunkedArray:
    have = values.type
    if at.is_timestamp(have):
        return pa.chunked_array([micros(chunk) for chunk in values.chunks], pa.timestamp("us", have.tz)).cast(TIME)
    if at.is_date(have):
        return values.cast(pa.timestamp("us")).cast(TIME)
    if kind_of(have) == "text":
        import pyarrow.compute as pc

        text = pc.replace_substring_regex(pc.utf8_trim_whitespace(values), r"(\.\d{6})\d+", r"\1")
        zoned = pc.match_substring_regex(text, r"[T ]\d\d.*(Z|[+-]\d\d(:?\d\d)?)$")
        plain, nothing = pc.or_(zoned, pc.equal(text, "")), pa.scalar(None, text.type)
        utc = pc.if_else(plain, nothing, text).cast(pa.timestamp("us")).cast(TIME)
        return pc.coalesce(utc, pc.if_else(zoned, text, nothing).cast(TIME))
    return values.cast(TIME)


def micros(values: pa.Array) -> pa.Array:
    """Timestamps of any unit in microseconds; nanoseconds are rounded down, before 1970 too (a cast rounds towards it).

    Raises pyarrow.ArrowInvalid for times beyond the year 294,246, which no 64-bit count of microseconds holds.
    """
    import pyarrow.compute as pc

    wanted = pa.timestamp("us", values.type.tz)
    if values.type.unit != "ns":
        return values.cast(wanted)
    plain = values.view(pa.int64())
    least = pc.min(plain).as_py()
    if least is None or least >= 0:
        return values.cast(wanted, safe=False)
    whole = pc.divide(plain, 1000)
    early = pc.less(pc.subtract(plain, pc.multiply(whole, 1000)), 0)
    return pc.if_else(early, pc.subtract(whole, 1), whole).view(wanted)
