"""What own or rented GPUs cost: a dated, sourced price book of GPU-hours, and energy and carbon as lines of their own.

The book in the package holds public list prices with the day on which they were read and where. They are a first guess:
a user's own CSV with the same columns comes before it. All arithmetic is in whole numbers and decimals.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from os import PathLike
from pathlib import Path
from typing import Any

from workbench.analyses.rates import decimal
from workbench.errors import WorkbenchError, nearest

FIELDS = ("gpu_model", "provider", "term", "usd_per_hour", "as_of", "source")
STALE_DAYS = 90  # list prices of GPUs move by the quarter
FAMILY = re.compile(
    r"\b(GB300|GB200|B300|B200|GH200|H200|H100|H20|H800|A100|A800|L40S|L40|L4|A10G|A10|A30|A40|T4|V100|P100|A6000"
    r"|A5000|RTX\s?\w+(?:\s\d+)?|MI3\d\dX|MI250X?)\b",
    re.IGNORECASE,
)
PICO = 10**12


@dataclass(frozen=True)
class GpuPrice:
    """The price of one GPU for an hour, with its day, its source and its age on `today`."""

    gpu_model: str
    provider: str
    term: str
    usd_per_hour: Decimal
    as_of: date
    source: str
    today: date
    stale_days: int = STALE_DAYS

    @property
    def age_days(self) -> int:
        return (self.today - self.as_of).days

    @property
    def amber(self) -> bool:
        return self.age_days > self.stale_days

    @property
    def micro(self) -> int:
        """Whole microdollars an hour, as `allocation.share_gpus` takes them."""
        return int((self.usd_per_hour * 10**6).to_integral_value())

    def say(self) -> str:
        """One line for a headline."""
        old = f", older than {self.stale_days} days: check it" if self.amber else ""
        words = f"{self.gpu_model} at ${self.usd_per_hour} an hour ({self.provider}, {self.term})"
        return f"{words}, as of {self.as_of}, {self.age_days} days old{old}; {self.source}"


def gpu_book(
    own: str | PathLike[str] | Iterable[Mapping[str, Any]] | None = None, *, today: date | None = None
) -> tuple[GpuPrice, ...]:
    """The prices of the package, and before them those of a user's CSV or mappings with the same columns.

    Columns: gpu_model, provider, term, usd_per_hour, as_of (a day), source. A user's line takes the place of all lines
    of the package for its GPU, provider and term.

    Raises WorkbenchError naming the line for a missing column, a price that is no number from 0, or no day.

    >>> mine = {"gpu_model": "H100 SXM 80GB", "provider": "ours", "term": "owned", "usd_per_hour": "1.95",
    ...         "as_of": "2026-03-02", "source": "ledger"}
    >>> gpu_book([mine])[0].usd_per_hour
    Decimal('1.95')
    """
    day = today or datetime.now(UTC).date()
    listed = _rows(Path(__file__).with_name("gpu_prices.csv"))
    given = [] if own is None else _rows(Path(own)) if isinstance(own, str | PathLike) else list(own)
    name = str(own) if isinstance(own, str | PathLike) else "own GPU prices"
    first = [_price(row, name, number, day) for number, row in enumerate(given, 1)]
    keys = {(gpu_key(one.gpu_model), one.provider.lower(), one.term) for one in first}
    rest = [_price(row, "gpu_prices.csv", number, day) for number, row in enumerate(listed, 1)]
    return (*first, *(one for one in rest if (gpu_key(one.gpu_model), one.provider.lower(), one.term) not in keys))


def _rows(path: Path) -> list[Mapping[str, Any]]:
    try:
        with path.open(newline="") as file:
            return list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise WorkbenchError(f"the GPU prices {str(path)!r} cannot be read: {error}") from error


def _price(row: Mapping[str, Any], name: str, number: int, today: date) -> GpuPrice:
    where = f"{name!r} line {number}"
    text = {field: str(row.get(field) or "").strip() for field in FIELDS}
    for field in FIELDS:
        if not text[field]:
            raise WorkbenchError(f"{where} has no {field}; wanted the columns {', '.join(FIELDS)}")
    price = decimal(text["usd_per_hour"], f"{where}, usd_per_hour")
    try:
        day = date.fromisoformat(text["as_of"])
    except ValueError:
        raise WorkbenchError(f"{where} has as_of {text['as_of']!r}; wanted a day such as 2026-03-02") from None
    assert price is not None
    return GpuPrice(text["gpu_model"], text["provider"], text["term"], price, day, text["source"], today)


def gpu_key(name: str) -> tuple[str, str, str]:
    """A GPU's family, form and memory as they are told by any of its usual names; "" where the name tells none.

    >>> gpu_key("NVIDIA H100 80GB HBM3"), gpu_key("NVIDIA A100-SXM4-40GB"), gpu_key("Tesla T4")
    (('H100', 'SXM', '80'), ('A100', 'SXM', '40'), ('T4', '', ''))
    """
    found = FAMILY.search(name.replace("-", " ").replace("_", " "))
    family = re.sub(r"\s", "", found.group(1)).upper() if found else name.strip().upper()
    upper = name.upper()
    form = "NVL" if "NVL" in upper else "PCIE" if "PCI" in upper else "SXM" if "SXM" in upper or "HBM3" in upper else ""
    memory = re.search(r"(\d+)\s?GI?B", upper)
    return family, form, memory.group(1) if memory else ""


def gpu_price(
    gpu_model: str,
    provider: str = "",
    term: str = "on-demand",
    *,
    at: date | None = None,
    book: Iterable[GpuPrice] | None = None,
) -> GpuPrice:
    """The price of a GPU by any of its usual names, from a provider for a term, as last known on a day.

    gpu_model: such as "H100 SXM", "NVIDIA H100 80GB HBM3"; what the name leaves out may be anything. at: by default today;
    where every price is younger, the oldest is taken (its `as_of` says so). book: see `gpu_book`.

    Raises WorkbenchError where no price fits, or several that differ, naming the choices.

    >>> gpu_price("NVIDIA H100 80GB HBM3", "AWS").usd_per_hour
    Decimal('6.88')
    """
    prices = tuple(gpu_book() if book is None else book)
    wanted = gpu_key(gpu_model)
    same = [one for one in prices if _fits(wanted, gpu_key(one.gpu_model))]
    if not same:
        known = sorted({one.gpu_model for one in prices})
        raise WorkbenchError(
            f"no price is known of the GPU {gpu_model!r}: {nearest(gpu_model, known)}; add it to your own CSV"
        )
    fit = [one for one in same if one.term == term and provider.lower() in ("", one.provider.lower())]
    choices = "; ".join(sorted({f"{one.provider}, {one.term}: {one.gpu_model} ${one.usd_per_hour}" for one in same}))
    if not fit:
        raise WorkbenchError(
            f"{gpu_model!r} has no price of {provider or 'any provider'} for {term!r}: there are {choices}"
        )
    day = at or fit[0].today
    by: dict[tuple[str, str], list[GpuPrice]] = {}
    for one in fit:
        by.setdefault((one.provider, one.gpu_model), []).append(one)
    best = [max((one for one in many if one.as_of <= day), key=lambda one: one.as_of,
                default=min(many, key=lambda one: one.as_of)) for many in by.values()]  # fmt: skip
    if len({one.usd_per_hour for one in best}) > 1:
        raise WorkbenchError(
            f"{gpu_model!r} for {term!r} has several prices: name the provider and the exact GPU of {choices}"
        )
    return best[0]


def _fits(wanted: tuple[str, str, str], known: tuple[str, str, str]) -> bool:
    return wanted[0] == known[0] and all(not a or not b or a == b for a, b in zip(wanted[1:], known[1:], strict=True))


def hourly(
    gpu_models: Iterable[str], provider: str = "", term: str = "on-demand", *, at: date | None = None,
    book: Iterable[GpuPrice] | None = None,
) -> dict[str, int]:  # fmt: skip
    """Whole microdollars a GPU-hour by the names that are used, as `allocation.share_gpus` takes them.

    >>> hourly(["NVIDIA H100 80GB HBM3", "NVIDIA A100-SXM4-40GB"], "AWS")
    {'NVIDIA H100 80GB HBM3': 6880000, 'NVIDIA A100-SXM4-40GB': 2744705}
    """
    prices = tuple(gpu_book() if book is None else book)
    return {name: gpu_price(name, provider, term, at=at, book=prices).micro for name in dict.fromkeys(gpu_models)}


def energy_cost(kwh: float | Decimal, usd_per_kwh: float | str | Decimal, pue: float | str | Decimal = 1) -> int:
    """Whole picodollars for energy measured at the GPUs: kWh x tariff x PUE.

    pue: power usage effectiveness, total power of the site over that of its computers, from 1 (ISO/IEC 30134-2).

    Raises WorkbenchError for a negative amount or a PUE below 1.

    >>> energy_cost(1_000, "0.12", "1.3")  # $156
    156000000000000
    """
    return int((_number(kwh, "kWh") * _number(usd_per_kwh, "the tariff") * _pue(pue) * PICO).to_integral_value())


def carbon(
    kwh: float | Decimal, grams_per_kwh: float | str | Decimal, pue: float | str | Decimal = 1,
    usd_per_tonne: float | str | Decimal = 0,
) -> tuple[Decimal, int]:  # fmt: skip
    """Kilograms of CO2 equivalent, and whole picodollars for them: kWh x PUE x the grid's intensity, and its price a tonne.

    By location (GHG Protocol, scope 2): grams_per_kwh is the intensity of the grid at the place, and 0 is a grid without
    emissions. Raises WorkbenchError as `energy_cost`.

    >>> carbon(1_000, 380, "1.3", 80)
    (Decimal('494.0'), 39520000000000)
    """
    kilograms = _number(kwh, "kWh") * _pue(pue) * _number(grams_per_kwh, "the intensity") / 1000
    return kilograms, int((kilograms / 1000 * _number(usd_per_tonne, "the price of carbon") * PICO).to_integral_value())


def _number(value: float | str | Decimal, name: str) -> Decimal:
    found = decimal(str(value), name)
    if found is None:
        raise WorkbenchError(f"{name} is empty; wanted a number from 0")
    return found


def _pue(value: float | str | Decimal) -> Decimal:
    found = _number(value, "the PUE")
    if found < 1:
        raise WorkbenchError(f"the PUE is {found}; wanted 1 or more, the site's power over that of its computers")
    return found
