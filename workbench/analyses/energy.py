"""Energy and carbon of own GPUs as further lines of the bill: kWh x tariff x PUE, and the grid's emissions, by model and window.

Where GPUs are rented by the hour their power is usually paid with the hour: then the tariff is 0, and energy and carbon are told
and in no sum.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd

from workbench.analyses.gpu_prices import carbon, energy_cost
from workbench.analyses.money import MICRO, PICO, apportion, nearest
from workbench.analyses.parts import starts_between

IDLE = "(idle)"
COLUMNS = ("window", "model", "kwh", "site_kwh", "kg", "energy_micro", "carbon_micro")


def windows(
    hours: Any,
    usd_per_kwh: float = 0.0,
    pue: float = 1.0,
    grams_per_kwh: float = 0.0,
    usd_per_tonne: float = 0.0,
    every: str = "",
) -> pd.DataFrame:
    """Energy of GPU-hours by window and model: kWh at the GPUs and at the site's meter, kg of CO2 equivalent, and their money.

    hours: the canonical GPU-hours (Arrow or pandas; None: no rows) with start, end, model, energy_kwh. A claim's energy is
    spread over its windows by time. What no model used is "(idle)". energy_micro and carbon_micro are whole microdollars that
    sum to kWh x tariff x PUE and kg x price, each rounded once. attrs["unknown"]: hours whose energy nobody measured; they are
    in no sum.

    Raises WorkbenchError for a negative amount or a PUE below 1.

    >>> day = pd.DataFrame({"start": ["2026-03-02"], "end": ["2026-03-03"], "model": ["atlas"], "energy_kwh": [10.0]})
    >>> windows(day, 0.12, 1.3, 380).round(2).to_dict("records")
    [{'window': '', 'model': 'atlas', 'kwh': 10.0, 'site_kwh': 13.0, 'kg': 4.94, 'energy_micro': 1560000, 'carbon_micro': 0}]
    """
    frame = None if hours is None else hours if isinstance(hours, pd.DataFrame) else hours.to_pandas()
    if frame is None or not len(frame) or "energy_kwh" not in frame:
        energy_cost(0, usd_per_kwh, pue)
        blank = {name: pd.Series(dtype=object if name in ("window", "model") else "float64") for name in COLUMNS}
        return pd.DataFrame(blank).astype({"energy_micro": "int64", "carbon_micro": "int64"})
    told = frame["energy_kwh"].astype("float64")
    part = frame[told.notna()]
    model = part["model"].astype(object).where(part["model"].notna(), "").replace("", IDLE).to_numpy(object)
    found = _spread(part, model, told[told.notna()].to_numpy("float64"), every)
    whole = Decimal(repr(float(found["kwh"].sum())))
    kilograms, price = carbon(whole, grams_per_kwh, pue, usd_per_tonne)
    for name, pico in (("energy", energy_cost(whole, usd_per_kwh, pue)), ("carbon", price)):
        micro, weights = nearest(pico, PICO // MICRO), found["kwh"].to_numpy("float64")
        found[f"{name}_micro"] = apportion(micro, weights) if micro else np.zeros(len(found), "int64")
    found["site_kwh"] = found["kwh"] * float(pue)
    found["kg"] = found["kwh"] * (float(kilograms / whole) if whole else 0.0)
    found = found[list(COLUMNS)]
    found.attrs["unknown"] = int(told.isna().sum())
    return found


def _spread(part: pd.DataFrame, model: Any, kwh: Any, every: str) -> pd.DataFrame:
    """Energy by window and model, a claim's own over the windows that it lasts through."""
    low, high = (
        pd.to_datetime(part[name], utc=True).astype("datetime64[us, UTC]").astype("int64").to_numpy()
        for name in ("start", "end")
    )
    if not every or not len(part):
        found = pd.DataFrame({"window": "", "model": model, "kwh": kwh})
        return found.groupby(["window", "model"], sort=False, as_index=False).sum()
    starts = starts_between(int(low.min()), int(high.max()), every)
    ends = np.append(starts[1:], max(int(high.max()), int(starts[-1]) + 1))
    first = np.searchsorted(starts, low, side="right") - 1
    last = np.maximum(np.searchsorted(starts, high, side="left"), first + 1)
    claim = np.repeat(np.arange(len(part)), last - first)
    slot = np.concatenate([np.arange(a, b) for a, b in zip(first, last, strict=True)])
    lasts = np.minimum(high[claim], ends[slot]) - np.maximum(low[claim], starts[slot])
    length = (high - low)[claim]
    share = np.where(length > 0, lasts / np.maximum(length, 1), 1.0)
    labels = np.array([f"{np.datetime64(int(one), 'us').astype('datetime64[s]')}Z" for one in starts], dtype=object)
    found = pd.DataFrame({"window": labels[slot], "model": model[claim], "kwh": kwh[claim] * share})
    return found.groupby(["window", "model"], sort=False, as_index=False).sum()


def change(rows: pd.DataFrame, before: Sequence[str], after: Sequence[str]) -> dict[str, tuple[int, int]]:
    """What energy and carbon cost in two groups of windows, as lines of their own for `waterfall.explain`; those that cost."""
    found = {}
    for name in ("energy", "carbon"):
        sums = [int(rows.loc[rows["window"].isin(group), f"{name}_micro"].sum()) for group in (before, after)]
        if any(sums):
            found[name] = (sums[0], sums[1])
    return found


def words(rows: pd.DataFrame, usd_per_kwh: float, pue: float, grams_per_kwh: float) -> str:
    """The sentence of energy: how much, what of it nobody used, what it cost, and what is not in the sum."""
    if not len(rows):
        return "No energy was measured at the GPUs."
    kwh, site, kg = (float(rows[name].sum()) for name in ("kwh", "site_kwh", "kg"))
    money = int(rows["energy_micro"].sum()) + int(rows["carbon_micro"].sum())
    told = f"**{kwh:,.1f} kWh** at the GPUs, **{site:,.1f} kWh** at the meter (PUE {pue:g})"
    told += (
        f", **{kg:,.1f} kg** of CO\N{SUBSCRIPT TWO} equivalent at {grams_per_kwh:g} g a kWh" if grams_per_kwh else ""
    )
    told += f": **${money / MICRO:,.2f}**, part of the sum." if money else "."
    if not usd_per_kwh:
        told += " No tariff is given, so energy counts as paid with the GPU-hour and is in no sum."
    unknown = int(rows.attrs.get("unknown", 0))
    return told + (f" {unknown:,} GPU-hour rows have no measured energy." if unknown else "")
