"""Steps that look at one row at a time: types, text, units, time zones, redaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from workbench.errors import WorkbenchError, nearest
from workbench.tables import redact as redaction
from workbench.tables.clean import Notes, Step, each, mask, needed, numbers, put

KINDS = {
    "integer": pa.int64(),
    "number": pa.float64(),
    "time": pa.timestamp("us", "UTC"),
    "boolean": pa.bool_(),
    "text": pa.string(),
}
# Factors to the first unit of each family: seconds, bytes, tokens or rows, dollars, watts.
UNITS: tuple[Mapping[str, float], ...] = (
    {"s": 1, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9, "min": 60, "h": 3600, "d": 86400},
    {"B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40},
    {"1": 1, "%": 0.01, "k": 1e3, "M": 1e6, "G": 1e9},
    {"USD": 1, "cent": 1e-2, "mUSD": 1e-3, "uUSD": 1e-6},
    {"W": 1, "mW": 1e-3, "kW": 1e3},
)
NUMBER = r"^[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?$|^[+-]?(?:[Ii]nf|[Ii]nfinity)$|^[Nn]a[Nn]$"
TIME = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}(?:[T ][0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,9})?)?(?:Z|[+-][0-9]{2}:?[0-9]{2})?)?$"
TRUE, FALSE = ["true", "t", "yes", "y", "1", "on"], ["false", "f", "no", "n", "0", "off"]


def types(schema: Mapping[str, str], *, bad: str = "refuse") -> Step:
    """Columns get the kinds of a declared schema: integer, number, time, boolean or text.

    A value that is none of its kind has its row refused, or, with `bad="missing"`, is missing and the row is changed. Text
    is trimmed before it is read; "" is missing. Times are ISO 8601, without a zone UTC.
    """
    for name, kind in schema.items():
        if kind not in KINDS:
            raise WorkbenchError(f"there is no kind {kind!r} for column {name!r}: {nearest(kind, KINDS)}")
    _one_of("bad", bad, ("refuse", "missing"))

    def work(rows: pa.Table, notes: Notes) -> pa.Table:
        needed(rows, schema, "types")
        changed = np.zeros(rows.num_rows, bool)
        first = rows
        for name, kind in schema.items():
            values, wrong = as_kind(rows[name], kind)
            rows = put(rows, {name: values})
            if wrong.any() and bad == "refuse":
                notes.refuse(first, wrong, f"{name} is no {kind}")
                rows, first, changed = (one.filter(pa.array(~wrong)) for one in (rows, first, pa.array(changed)))
                changed = np.asarray(changed)
            elif bad == "missing":
                changed |= wrong
        notes.count.changed += int(changed.sum())
        return rows

    return each("types", ", ".join(f"{name}: {kind}" for name, kind in schema.items()), work)


def as_kind(values: pa.ChunkedArray, kind: str) -> tuple[pa.ChunkedArray, Any]:
    """A column in a kind, missing where a value is none of it, and which rows these are."""
    want, have = KINDS[kind], values.type
    if pa.types.is_dictionary(have):
        values, have = values.cast(have.value_type), have.value_type
    if kind == "text":
        return values.cast(pa.string()), np.zeros(len(values), bool)
    if not (pa.types.is_string(have) or pa.types.is_large_string(have)):
        return _cast(values, want)
    trimmed = pc.utf8_trim_whitespace(values)
    filled = pc.if_else(pc.equal(trimmed, ""), pa.scalar(None, trimmed.type), trimmed)
    if kind == "boolean":
        low = pc.utf8_lower(filled)
        true, false = (pc.is_in(low, pa.array(words, low.type)) for words in (TRUE, FALSE))
        read = pc.if_else(true, True, pc.if_else(false, False, pa.scalar(None, pa.bool_())))
    elif kind == "time":
        read = _times(pc.if_else(pc.match_substring_regex(filled, TIME), filled, pa.scalar(None, filled.type)))
    else:
        good = pc.match_substring_regex(filled, NUMBER)
        numbers = pc.if_else(good, filled, pa.scalar(None, filled.type))
        if kind == "integer":
            whole = pc.match_substring_regex(filled, r"^[+-]?[0-9]{1,18}$")
            plain = pc.if_else(whole, pc.utf8_ltrim(numbers, "+"), pa.scalar(None, filled.type)).cast(want)
            rest = _cast(pc.if_else(whole, pa.scalar(None, filled.type), numbers).cast(pa.float64()), want)[0]
            read = pc.coalesce(plain, rest)
        else:
            read = numbers.cast(want)
    return read, mask(pc.and_(filled.is_valid(), read.is_null()))


def _cast(values: pa.ChunkedArray, want: pa.DataType) -> tuple[pa.ChunkedArray, Any]:
    """A column that holds no text, cast; a number with a fraction is no integer."""
    have = values.type
    if pa.types.is_floating(have) and pa.types.is_integer(want):
        good = pc.and_(pc.equal(values, pc.round(values)), pc.less(pc.abs(values), 2.0**63))
        return pc.if_else(good, values, None).cast(want), mask(pc.and_(values.is_valid(), pc.invert(good)))
    if pa.types.is_timestamp(have) and pa.types.is_timestamp(want) and have.tz is None:
        return values.cast(pa.timestamp("us"), safe=False).cast(want), np.zeros(len(values), bool)
    try:
        return values.cast(want, safe=not pa.types.is_timestamp(want)), np.zeros(len(values), bool)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return pa.chunked_array([pa.nulls(len(values), want)]), mask(values.is_valid())


def _times(values: pa.ChunkedArray) -> pa.ChunkedArray:
    import pandas as pd

    found = pd.to_datetime(values.to_pandas(), utc=True, format="ISO8601", errors="coerce")
    return pa.chunked_array([pa.Array.from_pandas(found).cast(pa.timestamp("us", "UTC"), safe=False)])


def text(columns: Sequence[str], *, form: str = "NFC", case: str = "", empty: str = "missing") -> Step:
    """Text in one form: Unicode normalised (NFC, NFKC, NFD, NFKD), blanks at the ends and doubled blanks removed, small or
    capital letters where `case` is "lower" or "upper"; what is empty then is missing (or stays, with `empty="keep"`)."""
    _one_of("form", form, ("NFC", "NFKC", "NFD", "NFKD"))
    _one_of("case", case, ("", "lower", "upper"))
    _one_of("empty", empty, ("missing", "keep"))

    def work(rows: pa.Table, notes: Notes) -> pa.Table:
        needed(rows, columns, "text")
        changed = np.zeros(rows.num_rows, bool)
        for name in columns:
            before = rows[name].cast(pa.string())
            after = pc.utf8_normalize(before, form)
            after = pc.utf8_trim_whitespace(pc.replace_substring_regex(after, r"\s+", " "))
            after = {"": after, "lower": pc.utf8_lower(after), "upper": pc.utf8_upper(after)}[case]
            if empty == "missing":
                after = pc.if_else(pc.equal(after, ""), None, after)
            changed |= mask(pc.and_(before.is_valid(), pc.not_equal(pc.coalesce(after, ""), before)))
            changed |= mask(pc.and_(before.is_valid(), after.is_null()))
            rows = put(rows, {name: after})
        notes.count.changed += int(changed.sum())
        return rows

    return each("text", f"{', '.join(columns)}: {form}{f', {case}' if case else ''}", work)


def units(column: str, unit: str, *, to: str, column_of_unit: str = "", name: str = "") -> Step:
    """A number in another unit, in the column `name` (by default the same).

    `column_of_unit` says the unit of each row where rows differ; `unit` is then that of rows that say none. A row whose unit
    is unknown, or of another family than `to`, is refused.
    """
    family = next((one for one in UNITS if to in one), None)
    if family is None:
        raise WorkbenchError(f"there is no unit {to!r}: {nearest(to, [one for many in UNITS for one in many], 8)}")
    if unit not in family:
        raise WorkbenchError(f"{unit!r} cannot be turned into {to!r}: {nearest(unit, family, 8)}")

    def work(rows: pa.Table, notes: Notes) -> pa.Table:
        needed(rows, [column, *([column_of_unit] if column_of_unit else [])], "units")
        said = rows[column_of_unit].cast(pa.string()).to_pylist() if column_of_unit else [unit] * rows.num_rows
        factors = np.array([family.get((one or unit).strip(), np.nan) for one in said], float) / family[to]
        kept = notes.refuse(rows, np.isnan(factors), f"{column_of_unit} is no unit like {to}")
        factors = factors[~np.isnan(factors)]
        values = pc.multiply(numbers(kept, column, "units"), pa.array(factors))
        notes.count.changed += int((mask(values.is_valid()) & (factors != 1)).sum())
        kept = put(kept, {name or column: values})
        if column_of_unit:
            kept = put(kept, {column_of_unit: pa.array([to] * kept.num_rows, pa.string())})
        return kept

    return each("units", f"{column}: {column_of_unit or unit} to {to}", work)


def zone(column: str, place: str, *, twice: str = "refuse") -> Step:
    """Local times of a place (an IANA name such as Europe/Berlin) as UTC.

    An hour that the clocks show twice, or not at all, is refused, or taken as the "earliest" or "latest" of the two.
    A column that knows its zone is only turned into UTC.
    """
    _one_of("twice", twice, ("refuse", "earliest", "latest"))

    def work(rows: pa.Table, notes: Notes) -> pa.Table:
        needed(rows, [column], "zone")
        values = rows[column]
        if not pa.types.is_timestamp(values.type):
            raise WorkbenchError(
                f"the step 'zone' needs times in {column!r}, it holds {values.type}; give it a type before"
            )
        if values.type.tz is None:
            try:
                early, late = (
                    pc.assume_timezone(values, place, ambiguous=one, nonexistent=one) for one in ("earliest", "latest")
                )
            except pa.ArrowInvalid:
                raise WorkbenchError(
                    f"there is no time zone {place!r}; give an IANA name such as Europe/Berlin"
                ) from None
            if twice == "refuse":
                bad = mask(pc.not_equal(early, late))
                rows = notes.refuse(rows, bad, f"{column} is no one hour in {place}")
                early = early.filter(pa.array(~bad))
            values = late if twice == "latest" else early
        utc = values.cast(pa.timestamp(values.type.unit, "UTC"))
        notes.count.changed += int(mask(utc.is_valid()).sum()) if rows[column].type.tz is None else 0
        return put(rows, {column: utc})

    return each("zone", f"{column}: {place} to UTC", work)


def redact(how: redaction.Job) -> Step:
    """Personal data taken out as `redact.job` says; what was found is counted in the notes' `seen`: by field, kind and rule
    the "findings", and the "rows" that had them. A GPU worker looks for rows that may have some; a key, and names by a
    model, stay in this process."""

    def work(rows: pa.Table, notes: Notes) -> pa.Table:
        done = redaction.redact(rows, replace(how, device=notes.device) if notes.device else how)
        for one in redaction.counts(done.findings).to_pylist():
            for what in ("findings", "rows"):
                notes.seen[one["field"], one["kind"], one["rule"], what] += one[what]
        notes.count.changed += pc.count_distinct(done.findings["row"]).as_py()
        return done.table

    kinds = list(dict.fromkeys(rule.kind for rule in how.rules))
    here = "its key does not leave it" if how.key else "a model looks for names" if how.names else ""
    return each("redact", ", ".join(kinds), work, here=here, cuda="prefilters, then rules on the worker's processor")


def _one_of(name: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise WorkbenchError(f"there is no {name} {value!r}: {nearest(value, choices)}")
