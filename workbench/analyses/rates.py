"""Rates of hosted models, compiled: what a token of each class costs, by model, tier, day, hour and length of the input.

List prices come from the installed genai-prices (dated, reviewed prices with their sources); a user's contract overrides
them. A rate is a whole number of picodollars (1e-12 dollars) a token, so $0.0375 per million tokens is 37,500 exactly. The
few list prices that carry the noise of floating point (such as 0.08333333333333334) are rounded to that.

Where a class has no price of its own it has that of the class it is part of, as in genai-prices: cache reads and writes
are input, an hour's cache write is a cache write, reasoning is output. Unlike there, what has no price at all is never
free, and a tier or context that no price of the model knows is an error, not the standard price.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from fnmatch import fnmatchcase
from os import PathLike, fspath
from pathlib import Path
from typing import Any, NamedTuple

from workbench.errors import WorkbenchError, nearest

CLASSES = ("input", "cached_input", "cache_write", "cache_write_1h", "output", "reasoning", "request")
PARENT = {"cached_input": "input", "cache_write": "input", "cache_write_1h": "cache_write", "reasoning": "output"}
LIST_KEYS = {
    "input": "input_mtok",
    "cached_input": "cache_read_mtok",
    "cache_write": "cache_write_mtok",
    "cache_write_1h": "cache_write_1h_mtok",
    "output": "output_mtok",
    "reasoning": "output_reasoning_mtok",
    "request": "requests_kcount",
}
STANDARD = ("", "standard")
CONTRACT_FIELDS = ("provider", "model", "tier", "context", "start", "end", "above", "discount", "currency", *CLASSES)
# Names that gateways and agents report for providers that genai-prices knows by another.
PROVIDERS = {
    "azure_text": "azure",
    "claude": "anthropic",
    "gcp.gen_ai": "google",
    "codex": "openai",
    "azure_ai": "azure",
    "az.ai.inference": "azure",
    "azure.ai.inference": "azure",
    "mistral_ai": "mistral",
    "xai": "x-ai",
    "x_ai": "x-ai",
    "together_ai": "together",
    "fireworks_ai": "fireworks",
}
Prices = dict[str, Decimal | None]  # dollars per million tokens (per request for "request") by class


@dataclass(frozen=True)
class Contract:
    """One line of agreed prices: which requests it holds for, from when to when, and what it says by class."""

    provider: str
    model: str
    tier: str
    context: str
    start: date
    end: date
    above: int
    discount: Decimal | None
    prices: Prices
    line: int


class Refusal(NamedTuple):
    """Why there is no price, as an exceptions table says it."""

    reason: str
    field: str
    value: str


@dataclass(frozen=True)
class Rate:
    """What tokens cost for one model, tier and context from one moment on and above one length of the input."""

    provider: str
    model: str
    tier: str
    context: str
    known_as: str  # provider/model of the price list, "" where only the contract knows it
    origin: str  # "list", "contract" or "contract over list"
    day: date | None  # from this day (UTC); None: from the start of the data
    hour: time | None  # from this time of day (UTC); None: all day
    above: int  # for requests of more input tokens than this
    dollars: tuple[Decimal | None, ...]  # per million tokens (per request for the last), by CLASSES; None: no price


@dataclass(frozen=True)
class Compiled:
    """The rates of one combination over its days, times of day and input lengths, or why it has none."""

    days: tuple[date, ...]  # edges: from this day on
    hours: tuple[int, ...]  # edges: microseconds since midnight UTC
    lengths: tuple[int, ...]  # edges: more input tokens than this
    rates: tuple[Rate | Refusal, ...]  # in the order of days, hours, lengths


def pico(dollars: Decimal, per: int = 1_000_000) -> int:
    """Dollars per so many tokens as whole picodollars a token.

    >>> pico(Decimal("0.0375")), pico(Decimal("12"), 1000)
    (37500, 12000000000)
    """
    return int((dollars * 10**12 / per).to_integral_value())


def read_contract(source: str | PathLike[str] | Iterable[Mapping[str, Any]] | None) -> tuple[Contract, ...]:
    """Agreed prices from a CSV file, a TOML file with tables [[price]], or mappings with the same keys.

    Keys: `model` (a pattern such as gpt-5*; the only one needed beside a price), `provider` (pattern, blank for any),
    `tier` (blank for standard, * for any), `context` (likewise), `start` and `end` (days, the end not included), `above`
    (holds for more input tokens than this), `discount` (percent off the list price), `currency` (USD), and a price
    in dollars per million tokens by class: input, cached_input, cache_write, cache_write_1h, output, reasoning, and `request`
    in dollars for each. What a line leaves blank keeps its list price, or, where there is none, that of its parent class.
    Of several lines that hold, an exact name comes before a pattern, then the later start, then the later line.

    Raises WorkbenchError naming the line for an unknown key, a price that is no number from 0, or another currency.

    >>> read_contract([{"model": "gpt-5*", "input": "1.10"}])[0].prices["input"]
    Decimal('1.10')
    """
    if source is None:
        return ()
    name, rows = "contract", source
    if isinstance(source, str | PathLike):
        name = fspath(source)
        rows = _rows(Path(name))
    return tuple(_line(dict(row), name, number) for number, row in enumerate(rows, 1))  # type: ignore[arg-type]


def _rows(path: Path) -> list[Mapping[str, Any]]:
    import csv

    try:
        if path.suffix == ".toml":
            found = tomllib.loads(path.read_text())
            if list(found) != ["price"] or not isinstance(found["price"], list):
                raise WorkbenchError(f"{str(path)!r} holds {', '.join(found) or 'nothing'}: wanted tables [[price]]")
            return found["price"]
        with path.open(newline="") as file:
            return list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, csv.Error) as error:
        raise WorkbenchError(f"the prices {str(path)!r} cannot be read: {error}") from error


def _line(row: dict[str, Any], name: str, number: int) -> Contract:
    where = f"{name!r} line {number}"
    for key in row:
        if key not in CONTRACT_FIELDS:
            raise WorkbenchError(f"{where} has the unknown field {key!r}: {nearest(str(key), CONTRACT_FIELDS)}")
    text = {key: "" if value is None else str(value).strip() for key, value in row.items()}
    if not text.get("model"):
        raise WorkbenchError(f"{where} names no model: give a name, or a pattern such as gpt-5* or *")
    if text.get("currency", "").upper() not in ("", "USD"):
        raise WorkbenchError(f"{where} is in {text['currency']}; wanted USD: convert the prices, and note the rate")
    prices: Prices = {one: decimal(text.get(one, ""), f"{where}, {one}") for one in CLASSES}
    discount = decimal(text.get("discount", ""), f"{where}, discount")
    if discount is not None and discount > 100:
        raise WorkbenchError(f"{where} has the discount {discount}; wanted percent off the list price, 0 to 100")
    if discount is None and all(price is None for price in prices.values()):
        raise WorkbenchError(f"{where} has neither a price nor a discount: give one of {', '.join(CLASSES)}, discount")
    above = decimal(text.get("above", ""), f"{where}, above") or Decimal(0)
    return Contract(
        text.get("provider", "").lower(),
        text["model"].lower(),
        text.get("tier", ""),
        text.get("context", ""),
        _day(text.get("start", ""), f"{where}, start") or date.min,
        _day(text.get("end", ""), f"{where}, end") or date.max,
        int(above),
        discount,
        prices,
        number,
    )


def decimal(text: str, where: str) -> Decimal | None:
    """A number from 0 as it is written, None for blank. Raises WorkbenchError saying where."""
    if text == "":
        return None
    try:
        value = Decimal(text)
    except InvalidOperation:
        value = Decimal("NaN")
    if not value.is_finite() or value < 0:
        raise WorkbenchError(f"{where} is {text!r}; wanted a number from 0")
    return value


def _day(text: str, where: str) -> date | None:
    try:
        return date.fromisoformat(text) if text else None
    except ValueError:
        raise WorkbenchError(f"{where} is {text!r}; wanted a day such as 2026-03-02") from None


def compile_rates(combo: Sequence[str], first: date, last: date, contract: Sequence[Contract] = ()) -> Compiled:
    """The rates of one (provider, model, tier, context) from the first to the last day: the list's, a contract over them."""
    provider, model, tier, context = combo
    wanted = price_context(tier, context)
    found = None if isinstance(wanted, Refusal) else _listed(provider, model)
    listed = [(one.prices, one.constraint) for one in _conditions(found)]
    constraints = [one for _, one in listed] + [
        one.constraint for one in (found[1].price_variants if found else None) or ()
    ]
    agreed = [one for one in contract if _holds(one, provider, model, tier, context)]
    dates = {one.start_date for one in constraints if hasattr(one, "start_date")}
    dates |= {one.start for one in agreed} | {one.end for one in agreed}
    days = tuple(sorted(one for one in dates if first < one <= last))
    hours = tuple(sorted({edge for one in constraints if hasattr(one, "start_time") for edge in _hours(one)} - {0}))
    lengths: tuple[int, ...] = tuple(sorted({0, *_starts(found), *(one.above for one in agreed)}))[1:]
    rates: list[Rate | Refusal] = []
    for day in (None, *days):
        for hour in (None, *hours):
            moment = datetime.combine(day or first, time(0), UTC) + timedelta(microseconds=hour or 0)
            ruling = _ruling(agreed, moment.date())
            base = _at(found, moment, wanted)
            for length in (0, *lengths):
                made = _rate(base, ruling, length, model)
                if isinstance(made, Refusal):
                    rates.append(made)
                    continue
                origin, dollars = made
                known = f"{found[0].id}/{found[1].id}" if found else ""
                clock = moment.time() if hour is not None else None
                rates.append(Rate(provider, model, tier, context, known, origin, day, clock, length, dollars))
    return Compiled(days, hours, lengths, tuple(rates))


def price_context(tier: str, context: str) -> dict[str, str] | Refusal:
    """What genai-prices calls a tier and a context, or why they are none.

    >>> price_context("batch", "speed=fast")
    {'speed': 'fast', 'processing': 'batch'}
    >>> price_context("standard", ""), price_context("", "fast")
    ({}, Refusal(reason='unknown price context', field='context', value='fast'))
    """
    pairs = [part.partition("=") for part in context.split(";") if part.strip()]
    if any(not mark or not key.strip() or not value.strip() for key, mark, value in pairs):
        return Refusal("unknown price context", "context", context)
    wanted = {key.strip(): value.strip() for key, _, value in pairs}
    if tier == "batch":
        wanted["processing"] = "batch"
    elif tier not in STANDARD:
        wanted["service_tier"] = tier
    return wanted


def _listed(provider: str, model: str) -> tuple[Any, Any] | None:
    """genai-prices' own provider and model, or None where it knows none."""
    if not model.strip():
        return None
    said, _, bare = model.partition("/")
    for one, of in ((provider, model), *(((provider or said), bare), (said, bare)) * bool(bare)):
        name = PROVIDERS.get(one.lower(), one) or None
        try:
            return snapshot().find_provider_model(of, None, name, None)  # type: ignore[no-any-return]
        except LookupError:
            continue
    return None


def snapshot() -> Any:
    """genai-prices' price list. Raises WorkbenchError when it is not installed."""
    try:
        from genai_prices import data_snapshot
    except ImportError as error:
        raise WorkbenchError(
            "list prices need the package genai-prices, which is not installed: pip install workbench[cost]"
        ) from error
    return data_snapshot.get_snapshot()


def _conditions(found: tuple[Any, Any] | None) -> list[Any]:
    from genai_prices.types import ConditionalPrice

    if found is None:
        return []
    prices = found[1].prices
    return prices if isinstance(prices, list) else [ConditionalPrice(prices=prices)]


def _starts(found: tuple[Any, Any] | None) -> set[int]:
    every = [one.prices for one in _conditions(found)]
    every += [one.prices for one in (found[1].price_variants or ())] if found else []
    return {tier.start for one in every for price in vars(one).values() for tier in getattr(price, "tiers", ())}


def _hours(constraint: Any) -> list[int]:
    """Times of day at which a daily price begins and ends, in microseconds since midnight UTC."""
    edges = []
    for value in (constraint.start_time, constraint.end_time):
        moment = datetime.combine(date(2000, 1, 1), value)
        utc = moment.astimezone(UTC) if moment.tzinfo else moment
        edges.append(((utc.hour * 60 + utc.minute) * 60 + utc.second) * 1_000_000 + utc.microsecond)
    return edges


def _at(found: tuple[Any, Any] | None, moment: datetime, wanted: Any) -> Any:
    """The list's prices at a moment, None where it has none, or the reason why the context has no price."""
    if isinstance(wanted, Refusal) or found is None:
        return wanted if isinstance(wanted, Refusal) else None
    provider, model = found
    own = any(one is model for one in provider.models)  # elsewhere genai-prices ignores the context
    for key, value in wanted.items():
        known = [one for one in model.price_variants or () if one.when.get(key) == value] if own else []
        active = [one for one in known if one.constraint is None or one.constraint.active(moment)]
        if not any(all(wanted.get(name) == word for name, word in one.when.items()) for one in active):
            return Refusal(
                "unknown price context",
                "tier" if key in ("processing", "service_tier") else "context",
                f"{key}={value}",
            )
    return model.get_prices(moment, wanted or None)


def _rate(
    base: Any, agreed: Sequence[Contract], length: int, model: str
) -> Refusal | tuple[str, tuple[Decimal | None, ...]]:
    """Origin and dollars by class above a length."""
    ruling = max((one for one in agreed if one.above <= length), key=lambda one: one.above, default=None)
    if ruling is None and base is None:
        return Refusal("unknown model", "model", model)
    if ruling is None and isinstance(base, Refusal):
        return base
    listed = {one: _price(base, one, length) for one in CLASSES} if not isinstance(base, Refusal | None) else {}
    prices: Prices = dict(listed)
    if ruling is not None:
        if ruling.discount is not None:
            if not listed:
                return base or Refusal("unknown model", "model", model)
            prices = {
                key: None if price is None else price * (1 - ruling.discount / 100) for key, price in listed.items()
            }
        prices |= {key: price for key, price in ruling.prices.items() if price is not None}
    for child, parent in PARENT.items():  # parents stand before their children
        if prices.get(child) is None:
            prices[child] = prices.get(parent)
    prices["request"] = prices.get("request") or Decimal(0)
    origin = "list" if ruling is None else "contract over list" if listed else "contract"
    return origin, tuple(prices.get(one) for one in CLASSES)


def _price(prices: Any, name: str, length: int) -> Decimal | None:
    price = getattr(prices, LIST_KEYS[name])
    if name == "cache_write" and getattr(prices, "cache_write_5m_mtok", None) is not None:
        price = prices.cache_write_5m_mtok
    if price is not None and hasattr(price, "tiers"):
        price = next((tier.price for tier in reversed(price.tiers) if length >= tier.start), price.base)
    return price / 1000 if price is not None and name == "request" else price


def _holds(one: Contract, provider: str, model: str, tier: str, context: str) -> bool:
    said = (one.tier == "*" or one.tier == tier or (one.tier in STANDARD and tier in STANDARD)) and (
        one.context in ("*", context)
    )
    return (
        said
        and fnmatchcase(model.lower(), one.model)
        and (not one.provider or fnmatchcase(provider.lower(), one.provider))
    )


def _ruling(agreed: Sequence[Contract], day: date) -> list[Contract]:
    """The lines that rule on a day: those of the best name, and of it of the latest start; one for each length."""
    active = [one for one in agreed if one.start <= day < one.end]
    if not active:
        return []

    def rank(one: Contract) -> tuple[bool, bool, date]:
        return not any(mark in one.model for mark in "*?["), bool(one.provider), one.start

    best = max(rank(one) for one in active)
    return sorted((one for one in active if rank(one) == best), key=lambda one: one.line)
