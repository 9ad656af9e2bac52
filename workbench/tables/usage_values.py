"""Values as sources write them, as whole numbers, moments, numbers and text: what is missing, and what is no such value."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as at

from workbench.tables.kinds import plain_type
from workbench.tables.usage import TIME

Values = np.ndarray[Any, Any]
BLANK = pa.array(["", "null", "none", "nan", "na", "n/a", "nil", "undefined", "\\n", "-"])
WHOLE = r"^[+-]?\d{1,18}(\.0*)?$"
NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"
ZONE = r"([Zz]|[+-]\d\d:?\d\d)$"
STEPS = (
    (1e11, "s", 1e6),
    (1e14, "ms", 1e3),
    (1e17, "us", 1.0),
    (float("inf"), "ns", 1e-3),
)  # below; unit; to microseconds
MOST = 10**15  # no request has so many tokens
FARTHEST = 9.2e18  # nanoseconds since 1970 that 64 bits hold: the year 2261
Read = tuple[Values, Values, Values]  # values, missing, wrong


def array(values: Sequence[Any] | pa.Array | pa.ChunkedArray) -> pa.Array:
    """One plain Arrow array of any values: values of several types become text, and so do objects and lists (as JSON).

    >>> array([1, "2", None]).to_pylist(), array([{"a": 1}]).to_pylist()
    (['1', '2', None], ['{"a": 1}'])
    """
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks() if values.num_chunks != 1 else values.chunk(0)
    if isinstance(values, pa.Array):
        plain = plain_type(values.type)
        if at.is_nested(values.type) or at.is_binary(values.type):
            return array(values.to_pylist())
        if at.is_dictionary(values.type):
            return array(values.cast(values.type.value_type))
        if (
            at.is_timestamp(values.type)
            or at.is_date(values.type)
            or at.is_duration(values.type)
            or plain == values.type
        ):
            return values
        return values.cast(pa.string()) if at.is_decimal(values.type) else values.cast(plain, safe=False)
    kinds = {type(one) for one in values if one is not None}
    if len(kinds) <= 1 and kinds <= {str, int, float, bool}:
        try:
            return pa.array(values, pa.string() if kinds <= {str} else None)
        except (OverflowError, UnicodeEncodeError, pa.ArrowException):
            pass
    return pa.array([None if one is None else spelled(one) for one in values], pa.string())


def spelled(value: Any) -> str:
    """A value as text; objects and lists as JSON."""
    text = json.dumps(value, ensure_ascii=False, default=str) if isinstance(value, dict | list) else str(value)
    return text.encode("utf-8", "replace").decode()


def texts(values: pa.Array) -> pa.Array:
    """Text without edges; nothing is "".

    >>> texts(pa.array([" a", None, "NULL"])).to_pylist()
    ['a', '', '']
    """
    if at.is_floating(values.type):
        values = pc.if_else(pc.is_nan(values), None, values)
    words = pc.utf8_trim_whitespace(values.cast(pa.string()))
    blank = pc.is_in(pc.utf8_lower(words), value_set=BLANK)
    return pc.fill_null(pc.if_else(blank, "", words), "")


def counts(values: pa.Array) -> Read:
    """Whole numbers as int64 (0 where there is none), where nothing is said, and where it is no whole number.

    >>> [one.tolist() for one in counts(pa.array(["12", "3.0", "x", None]))]
    [[12, 3, 0, 0], [False, False, False, True], [False, False, True, False]]
    """
    size = len(values)
    none = np.zeros(size, bool)
    if at.is_null(values.type):
        return np.zeros(size, np.int64), ~none, none
    if at.is_integer(values.type):
        missing = _null(values)
        wide = pc.fill_null(values, 0)
        wrong = pc.greater(wide, MOST).to_numpy(zero_copy_only=False) if values.type == pa.uint64() else none
        found = np.where(wrong, 0, wide.cast(pa.int64(), safe=False).to_numpy())
    elif at.is_floating(values.type):
        numbers = values.cast(pa.float64()).to_numpy(zero_copy_only=False)
        missing = np.isnan(numbers)
        wrong = ~missing & (~np.isfinite(numbers) | (np.abs(numbers) > MOST) | (numbers != np.round(numbers)))
        found = np.where(missing | wrong, 0, numbers).astype(np.int64)
    else:
        words = texts(values)
        missing = _true(pc.equal(words, ""))
        if at.is_boolean(values.type):
            return np.zeros(size, np.int64), missing, ~missing
        good = pc.match_substring_regex(words, WHOLE)
        wrong = ~missing & ~_true(good)
        digits = pc.replace_substring_regex(pc.if_else(good, words, "0"), r"^\+|\.0*$", "")
        found = digits.cast(pa.int64()).to_numpy()
    wrong = wrong | (np.abs(found) > MOST)
    return np.where(missing | wrong, 0, found), missing, wrong


def numbers(values: pa.Array) -> Read:
    """Numbers as float64 (NaN where there is none), where nothing is said, and where it is no number."""
    size = len(values)
    none = np.zeros(size, bool)
    if at.is_null(values.type):
        return np.full(size, np.nan), ~none, none
    if at.is_duration(values.type):
        values = pc.divide(values.cast(pa.int64()).cast(pa.float64()), float(_per_second(values.type)))
    if at.is_integer(values.type) or at.is_floating(values.type):
        found = values.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
        missing = np.isnan(found)
        return found, missing, np.isinf(found)
    words = texts(values)
    missing = _true(pc.equal(words, ""))
    good = _true(pc.match_substring_regex(words, NUMBER)) & (not at.is_boolean(values.type))
    found = pc.if_else(pa.array(good), words, None).cast(pa.float64()).to_numpy(zero_copy_only=False)
    return found, missing, ~missing & (~good | np.isinf(found))


def _per_second(type_: pa.DataType) -> int:
    return {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[type_.unit]


def moments(values: pa.Array) -> tuple[Values, Values, Values, str]:
    """Microseconds since 1970 (UTC), missing, wrong, and in words what the values were found to be.

    A number is seconds, milliseconds, microseconds or nanoseconds since 1970 by its own size; text is ISO 8601, and
    UTC where it says no zone.

    >>> moments(pa.array(["2026-03-02 10:00", "1772445600000", "soon"]))[0::3]
    (array([1772445600000000, 1772445600000000, 0]), 'ISO text, UTC where no zone is said; ms since 1970')
    """
    size = len(values)
    if at.is_null(values.type):
        return np.zeros(size, np.int64), np.ones(size, bool), np.zeros(size, bool), ""
    if at.is_timestamp(values.type) or at.is_date(values.type):
        zone = getattr(values.type, "tz", None)
        whole = values.cast(pa.timestamp("us", zone), safe=False).cast(TIME)
        said = f"time in {zone}" if zone else "time without zone, taken as UTC"
        return pc.fill_null(whole.cast(pa.int64()), 0).to_numpy(), _null(values), np.zeros(size, bool), said
    if at.is_boolean(values.type):
        return np.zeros(size, np.int64), _null(values), ~_null(values), ""
    found = np.zeros(size, np.int64)
    units: list[str] = []
    if at.is_integer(values.type) or at.is_floating(values.type):
        epoch, missing, wrong = numbers(values)
        whole_numbers = pc.fill_null(values, 0).to_numpy() if at.is_integer(values.type) else None
        good = ~missing & ~wrong
    else:
        words = texts(values)
        missing = _true(pc.equal(words, ""))
        numeric = _true(pc.match_substring_regex(words, NUMBER)) & ~missing
        epoch, _, _ = numbers(pc.if_else(pa.array(numeric), words, None))
        whole_numbers, good = None, numeric
        text = ~numeric & ~missing
        wrong = np.zeros(size, bool)
        if text.any():
            found, wrong = _iso(words, text)
            units.append("ISO text, UTC where no zone is said")
    far = good & (np.abs(np.where(good, epoch, 0)) > FARTHEST)
    good, wrong = good & ~far, wrong | far
    if good.any():
        size_of = np.abs(np.where(good, epoch, 0))
        low = 0.0
        for high, unit, factor in STEPS:
            here = good & (size_of >= low) & (size_of < high)
            if here.any():
                units.append(f"{unit} since 1970")
                found = np.where(here, _scaled(epoch, whole_numbers, here, factor), found)
            low = high
    return np.where(missing | wrong, 0, found), missing, wrong, "; ".join(units)


def _scaled(epoch: Values, whole: Values | None, here: Values, factor: float) -> Values:
    if whole is not None:  # nanoseconds do not fit a float
        exact = np.where(here, whole, 0).astype(np.int64)
        return exact // round(1 / factor) if factor < 1 else exact * round(factor)
    return np.round(np.where(here, epoch, 0.0) * factor).astype(np.int64)


def _iso(words: pa.Array, text: Values) -> tuple[Values, Values]:
    """Microseconds of ISO 8601 text, and which of it is none."""
    words = pc.replace_substring_regex(words, r"(\.\d{6})\d+", r"\1")
    words = pc.replace_substring_regex(words, r"\s+UTC$", "Z")
    try:
        zoned = pc.match_substring_regex(pc.utf8_slice_codeunits(words, 11), ZONE)
        both = (pa.array(text), zoned)
        here = pc.if_else(pc.and_(*both), words, None).cast(TIME)
        bare = pc.if_else(pc.and_(both[0], pc.invert(zoned)), words, None).cast(pa.timestamp("us")).cast(TIME)
        found = pc.fill_null(pc.coalesce(here, bare).cast(pa.int64()), 0).to_numpy()
        return found, np.zeros(len(text), bool)
    except pa.ArrowException:
        return _iso_slowly(words, text)


def _iso_slowly(words: pa.Array, text: Values) -> tuple[Values, Values]:
    from datetime import UTC, datetime, timedelta

    zero = datetime(1970, 1, 1, tzinfo=UTC)
    found, wrong = np.zeros(len(text), np.int64), np.zeros(len(text), bool)
    for place in np.flatnonzero(text).tolist():
        try:
            moment = datetime.fromisoformat(words[place].as_py())
            moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
            found[place] = (moment - zero) // timedelta(microseconds=1)
        except (ValueError, OverflowError):
            wrong[place] = True
    return found, wrong


def _null(values: pa.Array) -> Values:
    return values.is_null().to_numpy(zero_copy_only=False)  # type: ignore[no-any-return]


def _true(values: pa.Array) -> Values:
    return pc.fill_null(values, False).to_numpy(zero_copy_only=False).astype(bool)  # type: ignore[no-any-return]
