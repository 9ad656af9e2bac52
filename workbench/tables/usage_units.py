"""Durations and amounts of money: in which unit a source has them, by their name, by the times beside them, or not at all."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from workbench.tables.usage_named import Found, Named
from workbench.tables.usage_values import Values, numbers

TO_SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
MOST = 2.0**62  # microdollars: more are no amount, and fit no whole number
TO_MICRO = {"usd": 1e6, "cents": 1e4, "micro_usd": 1.0, "nano_usd": 1e-3}
DOLLARS = ("USD", "US$", "$", "DOLLAR", "DOLLARS")
Times = tuple[Values, Values]  # microseconds since 1970, and where there are none


def duration(
    named: Named,
    found: Found,
    start: Times,
    end: Times,
    units: dict[str, str],
    said: Mapping[str, str],
    key: str,
) -> Values:
    """Seconds by the name's unit or by the times beside it; NaN where neither tells."""
    both = ~start[1] & ~end[1] & (end[0] >= start[0])
    by_times = np.where(both, (end[0] - start[0]) / 1e6, np.nan)
    out = np.full(named.rows, np.nan)
    for unit in (*TO_SECONDS, "unsaid"):
        for name in named.names(key, unit):
            value, _, wrong = numbers(named.raw.columns[name])
            found.add(wrong, "wrong type", name, named.raw.columns[name])
            shown = _shown_unit(value, by_times)
            real = said.get(name) or (unit if unit != "unsaid" else shown)
            if real in TO_SECONDS and name not in said and shown and shown != real:
                units[name] = f"{real} by its name, but {shown} by start and end: {shown}"
                real = shown
            elif real:
                units[name] = (
                    f"{real}, as given"
                    if name in said
                    else f"{real} by {'its name' if unit != 'unsaid' else 'start and end'}"
                )
            else:
                units[name] = "unsaid: kept aside; say it with units"
                named.taken.discard(name)
                continue
            out = np.where(np.isnan(out), value * TO_SECONDS[real], out)
    if key == "duration" or named.words.get("time", {}).get("first_token_time"):
        out = np.where(np.isnan(out), by_times, out)
    found.add(out < 0, "clock jump", key, out)
    return np.where(out < 0, np.nan, out)


def _shown_unit(value: Values, seconds: Values) -> str:
    """The unit in which a duration agrees with the times beside it, to 5 %, in the median; "" where none is shown."""
    good = np.isfinite(value) & np.isfinite(seconds) & (seconds > 0.001) & (value > 0)
    if not good.any():
        return ""
    ratio = float(np.median(value[good] / seconds[good]))
    return next((unit for unit, size in TO_SECONDS.items() if abs(ratio * size - 1) < 0.05), "")


def billed(
    named: Named, found: Found, currency: pa.Array, units: dict[str, str], said: Mapping[str, str]
) -> tuple[pa.Array, pa.Array, str]:
    """The currency, microdollars (null in another currency or where nothing is said), and their sum before rounding."""
    upper = pc.utf8_upper(currency)
    dollar = pc.or_(pc.is_in(upper, value_set=pa.array(DOLLARS)), pc.equal(upper, "")).to_numpy(zero_copy_only=False)
    told = not pc.all(pc.equal(upper, "")).as_py()
    out = np.full(named.rows, np.nan)
    for unit in (*TO_MICRO, "unsaid"):
        for name in named.names("cost", unit):
            real = said.get(name) or (unit if unit != "unsaid" else "usd" if told else "")
            if real not in TO_MICRO:
                units[name] = "unsaid: kept aside; say it with units"
                named.taken.discard(name)
                continue
            value, _, wrong = numbers(named.raw.columns[name])
            wrong = wrong | (np.abs(value) >= MOST / TO_MICRO[real])
            found.add(wrong, "wrong type", name, named.raw.columns[name])
            how = "as given" if name in said else "by its name" if unit != "unsaid" else "by the currency beside it"
            units[name] = f"{real}, {how}"
            value = np.where(wrong, np.nan, value) * TO_MICRO[real]
            out = np.where(np.isnan(out), value, out)
    found.add(~dollar.astype(bool), "other currency", "currency", currency)
    kept = np.isfinite(out) & dollar.astype(bool)
    exact = math.fsum(out[kept].tolist()) / 1e6
    return (
        pc.if_else(pc.is_in(upper, value_set=pa.array(DOLLARS)), "USD", upper),
        pa.array(np.where(kept, np.round(np.where(kept, out, 0)), 0).astype(np.int64), mask=~kept),
        f"{exact:.9f}",
    )
