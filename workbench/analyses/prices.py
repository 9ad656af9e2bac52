"""What usage costs: each request priced by its own model, tier, day and length, then summed.

Amounts inside are whole picodollars (1e-12 dollars; `money.PICO`), exact to the last digit, since half a microdollar is
the price of many a token; a sum of them is shown in whole microdollars. Every result carries the price list's version, day
and age.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date, timedelta
from decimal import Decimal
from os import PathLike
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from workbench.analyses.books import STALE_DAYS, PriceBook, price_book
from workbench.analyses.rates import CLASSES, Compiled, Contract, Rate, Refusal, compile_rates, pico, read_contract
from workbench.errors import WorkbenchError, nearest

PICO = 10**12  # picodollars in a dollar
DAY = 86_400_000_000  # microseconds
MOST = 2**63 - 1
CHUNK = 1 << 18
KEYS = ("provider", "model", "tier", "context")
EPOCH = date(1970, 1, 1)
EXCEPTIONS = pa.schema(
    [
        (name, pa.int64() if name == "row" else pa.string())
        for name in ("source", "row", "request_id", "reason", "field", "value")
    ]
)  # as in workbench.tables.usage
Values = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Priced:
    """Usage with prices.

    table: the usage as it was priced (USAGE). cost: picodollars of each row, whole, -1 where there is no price.
    rate: the rate of each row, a place in `rates`, -1 where there is none. tokens by class follow from `class_tokens`;
    `matrix` holds picodollars by rate and class. exceptions: (source, row, request_id, reason, field, value) of the rows
    without a price. book: whose prices these are.
    """

    table: pa.Table
    cost: Values
    rate: Values
    rates: tuple[Rate, ...]
    matrix: Values
    exceptions: pa.Table
    book: PriceBook

    @property
    def total(self) -> int:
        """The sum of all priced rows, in picodollars, exactly."""
        return whole_sum(self.cost[self.cost >= 0])

    @property
    def dollars(self) -> Decimal:
        """The same in dollars, exactly."""
        return Decimal(self.total) / PICO

    @property
    def unpriced(self) -> int:
        """The number of rows without a price, each with a row in `exceptions`."""
        return int((self.cost < 0).sum())


def whole_sum(values: Values) -> int:
    """The exact sum of int64 values as a Python integer, however large.

    >>> whole_sum(np.array([2**62, 2**62, 2**62]))
    13835058055282163712
    """
    return (int((values >> 32).sum()) << 32) + int((values & 0xFFFFFFFF).sum())


def class_tokens(table: pa.Table) -> Values:
    """Tokens of each row by class (rows, 7), in the order of CLASSES: the parts of the input, of the output, and requests.

    Classes share nothing: "input" is what was neither read from nor written to a cache, "output" is not reasoning. A
    negative number says that the parts are more than the whole.

    >>> from workbench.tables.usage import usage_table
    >>> class_tokens(usage_table({"input_tokens": [10], "cached_input_tokens": [4], "output_tokens": [3]})).tolist()
    [[6, 4, 0, 0, 3, 0, 1]]
    """
    total, cached, short, hour, output, reasoning, requests = (
        _ints(table, name)
        for name in (
            "input_tokens",
            "cached_input_tokens",
            "cache_write_tokens",
            "cache_write_1h_tokens",
            "output_tokens",
            "reasoning_tokens",
            "requests",
        )
    )
    out = np.empty((table.num_rows, len(CLASSES)), np.int64)
    for number, values in enumerate((total, cached, short, hour, output, reasoning, requests)):
        out[:, number] = values
    out[:, 0] -= cached + short + hour
    out[:, 4] -= reasoning
    return out


def without_cache(table: pa.Table) -> pa.Table:
    """The same usage had nothing been cached: all input is plain input."""
    zero = pa.array(np.zeros(table.num_rows, np.int64))
    for name in ("cached_input_tokens", "cache_write_tokens", "cache_write_1h_tokens"):
        table = table.set_column(table.column_names.index(name), name, zero)
    return table


def as_if(table: pa.Table, **texts: str) -> pa.Table:
    """The same usage under another provider, model, tier or context, for every row.

    Raises WorkbenchError for a word that is none of these four.
    """
    for name, value in texts.items():
        if name not in KEYS:
            raise WorkbenchError(f"as_if was given {name!r}: {nearest(name, KEYS)}")
        column = pa.repeat(pa.scalar(value, pa.string()), table.num_rows)
        table = table.set_column(table.column_names.index(name), name, column)
    return table


def price(
    usage: Any,
    *,
    contract: str | PathLike[str] | Iterable[Mapping[str, Any]] | None = None,
    as_of: date | None = None,
    today: date | None = None,
    stale_days: int = STALE_DAYS,
) -> Priced:
    """Every request's cost by the prices of its day: the list's, and a contract over them.

    Parameters
    ----------
    usage
        A `Usage`, or a table of the schema USAGE.
    contract
        Agreed prices: a CSV or TOML file, or mappings (see `rates.read_contract`).
    as_of
        Price all rows as on this day; by default each as on its own (UTC), and one without a time as on `today`.
    today
        For the age of the prices; by default the day of asking.

    Returns
    -------
    Priced
        Rows that have no price have no cost: they are named in `exceptions` ("unknown model", "unknown price context",
        "no price for a token class", "lengths not known" of several requests in one row, "cached exceeds input",
        "reasoning exceeds output"), never 0.

    Raises WorkbenchError for a table of another schema, and a request of more than 9.2 million dollars.

    Examples
    --------
    >>> from workbench.tables.usage import usage_table
    >>> long = usage_table({"provider": ["google"] * 2, "model": ["gemini-2.5-pro"] * 2, "input_tokens": [150_000] * 2,
    ...                     "output_tokens": [1_000] * 2})
    >>> price(long).dollars
    Decimal('0.395')
    """
    table = usage if isinstance(usage, pa.Table) else usage.table
    lacking = [name for name in (*KEYS, "time", "input_tokens", "output_tokens") if name not in table.column_names]
    if lacking:
        raise WorkbenchError(f"the table lacks {lacking[0]!r}: make it with usage_table or read_usage")
    agreed = read_contract(contract)
    label = "" if contract is None else os.fspath(contract) if isinstance(contract, str | PathLike) else "the caller"
    book = price_book(stale_days=stale_days, today=today, contract=label)
    table = table.combine_chunks()
    codes, combos = _combinations(table)
    days, hours = _moments(table, as_of, book.today)
    rate, rates, failures = _placed(table, codes, combos, days, hours, agreed)
    matrix = np.array(
        [[_pico(one, value) for one, value in zip(CLASSES, rate_.dollars, strict=True)] for rate_ in rates]
    )
    matrix = matrix.reshape(len(rates), len(CLASSES)).astype(np.int64)
    cost, problems = _costs(table, rate, matrix)
    return Priced(table, cost, rate, rates, matrix, _named(table, rate, failures, problems), book)


def _pico(name: str, dollars: Decimal | None) -> int:
    return -1 if dollars is None else pico(dollars, 1 if name == "request" else 1_000_000)


def _ints(table: pa.Table, name: str) -> Values:
    column = table.column(name)
    if column.null_count:
        raise WorkbenchError(
            f"column {name!r} has {column.null_count} empty values: set such rows aside before pricing"
        )
    return column.to_numpy()


def _combinations(table: pa.Table) -> tuple[Values, list[tuple[str, ...]]]:
    """A code for each row, and what provider, model, tier and context it stands for."""
    codes = np.zeros(table.num_rows, np.int64)
    combos: list[tuple[str, ...]] = [()]
    for name in KEYS:
        column = pc.fill_null(table.column(name), "").combine_chunks()
        encoded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
        if isinstance(encoded, pa.ChunkedArray):
            encoded = encoded.unify_dictionaries().combine_chunks()
        words = encoded.dictionary.to_pylist()
        if len(words) < 2:
            combos = [(*combo, *(words or [""])) for combo in combos]
            continue
        codes = codes * len(words) + encoded.indices.to_numpy(zero_copy_only=False)
        present = np.flatnonzero(np.bincount(codes, minlength=len(combos) * len(words)))
        place = np.full(len(combos) * len(words), -1)
        place[present] = np.arange(len(present))
        codes = place[codes]
        combos = [(*combos[one // len(words)], words[one % len(words)]) for one in present.tolist()]
    return codes, combos


def _moments(table: pa.Table, as_of: date | None, today: date) -> tuple[Values, Values]:
    """Days since 1970 and microseconds since midnight of each row, UTC."""
    column = table.column("time")
    noon = (today - EPOCH).days * DAY + DAY // 2
    times = pc.fill_null(column.cast(pa.int64()), noon).to_numpy()
    days = times // DAY
    hours = times - days * DAY
    return (np.full(len(days), (as_of - EPOCH).days) if as_of else days), hours


def _placed(
    table: pa.Table,
    codes: Values,
    combos: list[tuple[str, ...]],
    days: Values,
    hours: Values,
    agreed: tuple[Contract, ...],
) -> tuple[Values, tuple[Rate, ...], list[Refusal]]:
    """Each row's rate: its place in the rates, or, below 0, -1 - the place in the failures."""
    if not len(codes):
        return np.zeros(0, np.int64), (), []
    first, last = (EPOCH + timedelta(int(one)) for one in (days.min(), days.max()))
    compiled = [compile_rates(combo, first, last, agreed) for combo in combos]
    edges_day = sorted({(edge - EPOCH).days for one in compiled for edge in one.days})
    edges_hour = sorted({edge for one in compiled for edge in one.hours})
    edges_length = sorted({edge for one in compiled for edge in one.lengths})
    rates: list[Rate] = []
    failures: list[Refusal] = []
    lookup = np.empty((len(combos), len(edges_day) + 1, len(edges_hour) + 1, len(edges_length) + 1), np.int64)
    for combo, one in enumerate(compiled):
        places = np.empty(len(one.rates), np.int64)
        for place, rate in enumerate(one.rates):
            if isinstance(rate, Rate):
                places[place] = len(rates)
                rates.append(rate)
            else:
                places[place] = -1 - len(failures)
                failures.append(rate)
        shaped = places.reshape(len(one.days) + 1, len(one.hours) + 1, len(one.lengths) + 1)
        lookup[combo] = shaped[np.ix_(*_nearest(one, edges_day, edges_hour, edges_length))]
    cell = codes
    if edges_day:
        cell = cell * (len(edges_day) + 1) + np.searchsorted(np.array(edges_day), days, side="right")
    if edges_hour:
        cell = cell * (len(edges_hour) + 1) + np.searchsorted(np.array(edges_hour), hours, side="right")
    if not edges_length:
        return lookup.reshape(-1)[cell], tuple(rates), failures
    step = np.searchsorted(np.array(edges_length), _ints(table, "input_tokens"))
    cell = cell * (len(edges_length) + 1)
    found = lookup.reshape(-1)[cell + step]
    several = (step > 0) & (
        _ints(table, "requests") > 1
    )  # a step is chosen by each request's length, never by their sum
    if several.any():
        several &= found != lookup.reshape(-1)[cell]
        found[several] = -1 - len(failures)
        failures.append(Refusal("lengths not known", "requests", "several in one row"))
    return found, tuple(rates), failures


def _nearest(one: Compiled, days: list[int], hours: list[int], lengths: list[int]) -> list[Values]:
    """For each cell between the edges of all combinations, the cell between those of this one."""
    own = ([(edge - EPOCH).days for edge in one.days], list(one.hours), list(one.lengths))
    return [
        np.searchsorted(np.array(mine, np.int64), np.array([-1 - DAY, *edges]), side="right")
        for mine, edges in zip(own, (days, hours, lengths), strict=True)
    ]


def _costs(table: pa.Table, rate: Values, matrix: Values) -> tuple[Values, list[tuple[Values, str, str]]]:
    """Picodollars of each row, -1 for none; and which rows have a problem of their own, with reason and field."""
    cost = np.full(len(rate), -1, np.int64)
    problems: list[tuple[Values, str, str]] = []
    if not len(matrix):
        return cost, problems
    found: dict[tuple[str, str], list[Values]] = {}
    for start in range(0, len(rate), CHUNK):
        rows = slice(start, min(start + CHUNK, len(rate)))
        tokens = class_tokens(table.slice(rows.start, rows.stop - rows.start))
        place = rate[rows]
        good = place >= 0
        for column, reason, name in (
            (0, "cached exceeds input", "cached_input_tokens"),
            (4, "reasoning exceeds output", "reasoning_tokens"),
        ):
            _note(found, good & (tokens[:, column] < 0), start, reason, name)
        good &= (tokens >= 0).all(axis=1)
        total = np.zeros(len(place), np.int64)
        high = np.zeros(len(place))
        for number, name in enumerate(CLASSES):
            count = tokens[:, number]
            if not count.any():
                continue
            prices = matrix[np.maximum(place, 0), number]
            missing = good & (prices < 0) & (count > 0)
            _note(found, missing, start, "no price for a token class", name)
            good &= ~missing
            total += count * prices
            high += count * prices.astype(np.float64)
        if (high[good] > MOST * 0.999).any():
            row = start + int(np.argmax(np.where(good, high, 0)))
            raise WorkbenchError(
                f"row {row} would cost {high.max() / PICO:,.0f} dollars, which no single request does: check its counts"
            )
        cost[rows] = np.where(good, total, -1)
    problems += [(np.concatenate(rows), reason, name) for (reason, name), rows in found.items()]
    return cost, problems


def _note(found: dict[tuple[str, str], list[Values]], rows: Values, start: int, reason: str, name: str) -> None:
    if rows.any():
        found.setdefault((reason, name), []).append(np.flatnonzero(rows) + start)


def _named(table: pa.Table, rate: Values, failures: list[Refusal], problems: list[tuple[Values, str, str]]) -> pa.Table:
    """The exceptions: rows whose combination has no rate, and rows with a problem of their own."""
    parts = []
    lost = np.flatnonzero(rate < 0)
    if len(lost):
        which = pa.array(-1 - rate[lost])
        parts.append((lost, *(pa.array(words, pa.string()).take(which) for words in zip(*failures, strict=True))))
    for rows, reason, name in problems:
        column = table.column(name if name in table.column_names else "model")
        values = column.take(pa.array(rows)).cast(pa.string()).combine_chunks()
        parts.append((rows, pa.repeat(reason, len(rows)), pa.repeat(name, len(rows)), values))
    made = []
    for rows, reason, name, value in parts:
        who = table.select(["source", "row", "request_id"]).take(pa.array(rows))
        made.append(pa.table([*who.columns, reason, name, value], EXCEPTIONS))
    return pa.concat_tables(made) if made else EXCEPTIONS.empty_table()


def lines(priced: Priced) -> pa.Table:
    """Tokens and cost by rate and class: token counts summed as integers, each multiplied once by its rate.

    Columns: rate (a place in `priced.rates`), provider, model, tier, context, known_as, origin, above, class, dollars
    (per million tokens, per request for "request"), tokens, cost_pico (decimal, whole). The sum of cost_pico is
    `priced.total`; classes without tokens have no line.
    """
    good = priced.cost >= 0
    sums = np.zeros((len(priced.rates), len(CLASSES)), object)
    for start in range(0, len(good), CHUNK):
        rows = slice(start, min(start + CHUNK, len(good)))
        tokens = class_tokens(priced.table.slice(start, rows.stop - start))[good[rows]]
        place = priced.rate[rows][good[rows]]
        part = np.zeros(sums.shape, np.int64)
        np.add.at(part, place, tokens)
        sums += part
    out = []
    for number, rate in enumerate(priced.rates):
        for column, name in enumerate(CLASSES):
            count = int(sums[number, column])
            if count and (name != "request" or priced.matrix[number, column]):
                cost = Decimal(count * int(priced.matrix[number, column]))
                out.append(
                    (
                        number,
                        *(getattr(rate, key) for key in (*KEYS, "known_as", "origin", "above")),
                        name,
                        rate.dollars[column],
                        count,
                        cost,
                    )
                )
    names = ("rate", *KEYS, "known_as", "origin", "above", "class", "dollars", "tokens", "cost_pico")
    types = [
        pa.int64(),
        *[pa.string()] * 6,
        pa.int64(),
        pa.string(),
        pa.decimal128(38, 18),
        pa.int64(),
        pa.decimal128(38, 0),
    ]
    schema = pa.schema(list(zip(names, types, strict=True)))
    return pa.Table.from_pylist([dict(zip(names, one, strict=True)) for one in out], schema)


def aged(priced: Priced, today: date) -> Priced:
    """The same with the age of its prices as of another day, for a page that is opened later."""
    return replace(priced, book=replace(priced.book, today=today))
