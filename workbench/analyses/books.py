"""Whose prices these are: version, day and age of a price list."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, date, datetime

from workbench.analyses.rates import snapshot

STALE_DAYS = 30  # a price list older than this shows amber


@dataclass(frozen=True)
class PriceBook:
    """Which prices were used: name, version, the day of its newest price, its age on `today`, amber when that is old.

    genai-prices does not say the day it was made. `as_of` is the day of the newest dated price in it that had begun
    when it was installed (or, after an update, the day of that), so the true age is at most `age_days`.
    """

    name: str
    version: str
    as_of: date
    today: date
    stale_days: int = STALE_DAYS
    contract: str = ""

    @property
    def age_days(self) -> int:
        return (self.today - self.as_of).days

    @property
    def amber(self) -> bool:
        return self.age_days > self.stale_days

    def say(self) -> str:
        """One line for a headline."""
        old = f", older than {self.stale_days} days: check them" if self.amber else ""
        agreed = f"; contract prices of {self.contract} over them" if self.contract else ""
        return f"{self.name} {self.version}, prices as of {self.as_of}, {self.age_days} days old{old}{agreed}"


def price_book(*, stale_days: int = STALE_DAYS, today: date | None = None, contract: str = "") -> PriceBook:
    """The installed price list: version, day and age.

    Raises WorkbenchError when genai-prices is not installed.

    >>> price_book(today=date(2036, 1, 1)).amber
    True
    """
    prices = snapshot()
    import genai_prices

    if prices.from_auto_update:
        newest = prices.timestamp.date()
    else:
        made = datetime.fromtimestamp(os.stat(genai_prices.__file__).st_mtime, UTC).date()
        starts = (
            one.constraint.start_date
            for provider in prices.providers
            for model in provider.models
            for one in [*(model.prices if isinstance(model.prices, list) else ()), *(model.price_variants or ())]
            if hasattr(one.constraint, "start_date")
        )
        newest = max((one for one in starts if one <= made), default=made)
    day = today or datetime.now(UTC).date()
    return PriceBook("genai-prices", genai_prices.__version__, newest, day, stale_days, contract)
