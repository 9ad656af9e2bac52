"""Bills in FOCUS columns, versions 1.0 to 1.4, read under the names of 1.4 with every amount as it was written.

Schema in: the columns of the FOCUS dataset "Cost and Usage" (focus.finops.org), as CSV, Parquet or JSON lines. Out: the same
columns under the names of 1.4, amounts as decimals with all their digits, times in UTC, text "NULL" and "" as nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation, localcontext
from os import PathLike, fspath
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from workbench.errors import WorkbenchError
from workbench.tables.usage import EXCEPTIONS, exceptions_table
from workbench.tables.usage_named import Raw, aliases, plain
from workbench.tables.usage_records import columns, files, records, tables
from workbench.tables.usage_values import moments, spelled

NEEDED = ("BilledCost", "ChargePeriodStart", "ChargePeriodEnd")
COSTS = ("BilledCost", "EffectiveCost", "ListCost", "ContractedCost")
DIGITS = 76  # of a decimal256


@dataclass(frozen=True)
class Bill:
    """A provider's bill.

    table: FOCUS columns under the names of 1.4, with `x_` columns kept as text, and source and row. exceptions: rows with a
    value that is no amount or time, or a currency that is none or not dollars (EXCEPTIONS); such rows stay in the table, the
    value is null. unknown: columns that FOCUS does not have, with the number of rows that fill them. version: the newest
    version whose columns are there. renamed: name of 1.4 by the name in the file. checks: rows, and the sum of each cost
    column by currency, taken from the text itself and from the table.
    """

    table: pa.Table
    exceptions: pa.Table
    unknown: Mapping[str, int] = field(default_factory=dict)
    version: str = ""
    renamed: Mapping[str, str] = field(default_factory=dict)
    checks: Mapping[str, Any] = field(default_factory=dict)

    def sums(self) -> dict[str, dict[str, Decimal]]:
        """The sum of each cost column by currency, exact."""
        currencies = _currencies(self.table)
        return {
            name: {code: _sum(self.table[name].filter(pc.equal(currencies, code))) for code in _codes(currencies)}
            for name in COSTS
            if name in self.table.column_names
        }


def read_focus(source: str | PathLike[str]) -> Bill:
    """A bill of FOCUS 1.0 to 1.4 under the names of 1.4; no row is dropped and no digit lost.

    source: a file, folder or pattern of CSV, Parquet or JSON lines (text also as .gz or .zst). A float of a Parquet file is
    taken as its shortest decimal. Column names are compared without regard to case and marks, as some warehouses change
    them.

    Raises WorkbenchError where BilledCost or the charge period is lacking.

    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "bill.csv"
    >>> text = "BilledCost,BillingCurrency,ChargePeriodStart,ChargePeriodEnd,ProviderName\\n0.00000080,USD,2026-03-02,NULL,AWS\\n"
    >>> _ = path.write_text(text)
    >>> bill = read_focus(path)
    >>> bill.table["BilledCost"].to_pylist(), dict(bill.renamed)
    ([Decimal('8.0E-7')], {'ProviderName': 'ServiceProviderName'})
    """
    place, found, stored = files(source)
    if stored == "json":
        broken: list[dict[str, Any]] = []
        rows = list(records(place, found, broken))
        where = pa.array([one[0] for one in rows], pa.string()), pa.array([one[1] for one in rows], pa.int64())
        raw = Raw(columns([one[2] for one in rows]), *where, broken)
    else:
        raw = tables(place, found, stored)
    words = aliases()["focus"]
    taken, renamed = _named(raw, words)
    lacking = [name for name in NEEDED if name not in taken]
    if lacking:
        have = ", ".join(repr(one) for one in list(raw.columns)[:6])
        raise WorkbenchError(
            f"{fspath(source)!r} has no column {', '.join(lacking)}, only {have or 'none'}: wanted a FOCUS bill, 1.0 to 1.4"
        )
    wrong: list[dict[str, Any]] = list(raw.broken)
    out: dict[str, Any] = {}
    kept = [name for name in raw.columns if name.lower().startswith("x_")]
    text_sums: dict[str, Any] = {}
    for name, column in [*taken.items(), *((name, name) for name in kept)]:
        values = raw.columns[column]
        if name in words["columns"]["decimal"]:
            out[name], parsed = _decimals(values, raw, column, wrong)
            if name in COSTS:
                text_sums[name] = parsed
        elif name in words["columns"]["time"]:
            out[name] = _times(values, raw, column, wrong)
        else:
            out[name] = _text(values)
    table = pa.table({**out, "source": raw.source, "row": raw.row})
    currencies = _currencies(table)
    foreign = pc.not_equal(currencies, "USD")
    for place_ in np.flatnonzero(foreign.to_numpy(zero_copy_only=False)).tolist():
        code = currencies[place_].as_py()
        reason = "other currency" if code else "currency missing"
        wrong.append(_wrong(raw, place_, reason, "BillingCurrency", code))
    used = {*taken.values(), *kept}
    unknown = {
        one: len(raw.columns[one]) - _text(raw.columns[one]).null_count for one in raw.columns if one not in used
    }
    bill = Bill(table, exceptions_table(wrong), unknown, _version(raw, words), renamed)
    return Bill(bill.table, bill.exceptions, unknown, bill.version, renamed, _checks(bill, raw, text_sums, currencies))


def _named(raw: Raw, words: Mapping[str, Any]) -> tuple[dict[str, str], dict[str, str]]:
    """The file's column for each name of 1.4, and which are called otherwise."""
    have = {plain(name): name for name in reversed(list(raw.columns))}
    taken: dict[str, str] = {}
    renamed: dict[str, str] = {}
    for name in [one for group in words["columns"].values() for one in group]:
        for alias in (name, *words["renamed"].get(name, ())):
            if plain(alias) in have:
                taken[name] = have[plain(alias)]
                if alias != name:
                    renamed[have[plain(alias)]] = name
                break
    return taken, renamed


def _version(raw: Raw, words: Mapping[str, Any]) -> str:
    have = {plain(name) for name in raw.columns}
    return next((one for one, names in words["since"].items() if have & {plain(name) for name in names}), "0.5")


def _text(values: pa.Array) -> pa.Array:
    """Text as it is, nothing where it is "" or NULL."""
    words = values.cast(pa.string())
    blank = pc.is_in(pc.utf8_upper(pc.utf8_trim_whitespace(words)), value_set=pa.array(["", "NULL"]))
    return pc.if_else(blank, None, words)


def _decimals(
    values: pa.Array, raw: Raw, column: str, wrong: list[dict[str, Any]]
) -> tuple[pa.Array, list[Decimal | None]]:
    """A column of amounts with all their digits, and the same as Python's decimals."""
    floats = pa.types.is_floating(values.type)
    said = [
        None if one is None else repr(one) if floats else one
        for one in (values if floats else _text(values)).to_pylist()
    ]
    parsed: list[Decimal | None] = []
    for place, one in enumerate(said):
        value = None
        if one is not None and one != "nan":
            try:
                value = Decimal(one.strip())
                exponent = value.as_tuple().exponent
                if (
                    not isinstance(exponent, int)
                    or not -DIGITS // 2 < exponent < DIGITS // 2
                    or value.adjusted() > DIGITS // 2
                ):
                    value = None
            except InvalidOperation:
                pass
            if value is None:
                wrong.append(_wrong(raw, place, "wrong type", column, one))
        parsed.append(value)
    some = [one for one in parsed if one is not None]
    scale = max((-int(one.as_tuple().exponent) for one in some), default=0)
    whole = max((one.adjusted() + 1 for one in some), default=0)
    scale, whole = max(scale, 0), max(whole, 1)
    type_ = pa.decimal128(38, scale) if scale + whole + 9 <= 38 else pa.decimal256(DIGITS, scale)
    with localcontext(prec=2 * DIGITS):
        return pa.array(
            [None if one is None else one.quantize(Decimal(1).scaleb(-scale)) for one in parsed], type_
        ), parsed


def _times(values: pa.Array, raw: Raw, column: str, wrong: list[dict[str, Any]]) -> pa.Array:
    plain_values = values if pa.types.is_temporal(values.type) else _text(values)
    found, missing, bad, _ = moments(plain_values)
    for place in np.flatnonzero(bad).tolist():
        wrong.append(_wrong(raw, place, "wrong type", column, values[place].as_py()))
    return pa.array(found, pa.int64(), mask=missing | bad).cast(pa.timestamp("us", "UTC"))


def _wrong(raw: Raw, place: int, reason: str, column: str, value: Any) -> dict[str, Any]:
    where = {"source": raw.source[place].as_py(), "row": raw.row[place].as_py(), "request_id": ""}
    return where | {"reason": reason, "field": column, "value": spelled(value)}


def _currencies(table: pa.Table) -> pa.Array:
    if "BillingCurrency" not in table.column_names:
        return pa.repeat(pa.scalar(""), table.num_rows)
    values = table["BillingCurrency"].combine_chunks()
    return pc.utf8_upper(pc.fill_null(values, ""))


def _codes(currencies: pa.Array) -> list[str]:
    return sorted(pc.unique(currencies).to_pylist())


def _sum(values: pa.ChunkedArray) -> Decimal:
    with localcontext(prec=2 * DIGITS):
        return sum((one for one in values.to_pylist() if one is not None), Decimal(0))


def _checks(
    bill: Bill, raw: Raw, text_sums: Mapping[str, list[Decimal | None]], currencies: pa.Array
) -> dict[str, Any]:
    codes = currencies.to_pylist()
    before: dict[str, dict[str, Decimal]] = {}
    with localcontext(prec=2 * DIGITS):
        for name, values in text_sums.items():
            sums = dict.fromkeys(sorted(set(codes)), Decimal(0))
            for code, value in zip(codes, values, strict=True):
                sums[code] += value or 0
            before[name] = sums
    after = bill.sums()
    rows = len(raw.row) + len(raw.broken)
    return {
        "rows in": rows,
        "rows out": bill.table.num_rows,
        "rows unreadable": len(raw.broken),
        "rows conserved": rows == bill.table.num_rows + len(raw.broken),
        "sums": {name: {code: str(value) for code, value in by.items()} for name, by in after.items()},
        "sums conserved": before == after,
    }


__all__ = ["EXCEPTIONS", "Bill", "read_focus"]
