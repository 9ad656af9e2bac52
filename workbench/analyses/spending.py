"""From counted requests to the assumptions of `returns`, and the sentences of its page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from workbench.analyses.money import PICO, total
from workbench.analyses.parts import OUTSIDE, names
from workbench.errors import WorkbenchError, nearest

HOURS = 730.0  # of a month
Figure = tuple[str, Any, str, bool | None, str]


@dataclass(frozen=True)
class Measured:
    """What was counted: dollars (exact sum, as a float), requests, failed ones, tokens, the hours from first to last, and by
    hour tokens of input that no cache held, and of output."""

    dollars: float
    requests: int
    failed: int
    tokens: int
    hours: float
    fresh: np.ndarray[Any, Any]
    out: np.ndarray[Any, Any]

    @property
    def month(self) -> float:
        """Dollars a month of 730 hours, at the pace of the hours that were counted."""
        return self.dollars * HOURS / self.hours

    def busy_hours(self, prefill_tokens_s: float, decode_tokens_s: float) -> Any:
        """GPU-hours that each hour would keep busy, at so many tokens a second of one GPU. Hours without requests are 0."""
        if not (prefill_tokens_s > 0 and decode_tokens_s > 0):
            raise WorkbenchError("the tokens a second of a GPU must be above 0; put what was measured on yours")
        return (self.fresh / prefill_tokens_s + self.out / decode_tokens_s) / 3600


def measured(lines: pd.DataFrame, requests: pd.DataFrame, models: str = "auto") -> Measured:
    """What was counted of some models: `cost.lines` and `cost.requests` of a cube by hour; "auto" for all with a price.

    Raises WorkbenchError for a model that has no priced requests and where none has.
    """
    priced = requests[requests["why"] == ""]
    known = list(dict.fromkeys(priced["model"]))
    if not known:
        raise WorkbenchError("no request has a price, so nothing can be judged; name a contract or the provider")
    wanted = known if models == "auto" else names(models)
    for one in wanted:
        if one not in known:
            raise WorkbenchError(f"model {one!r} has no priced requests; {nearest(one, known)}")
    part, asked = lines[lines["model"].isin(wanted)], priced[priced["model"].isin(wanted)]
    timed = sorted(one for one in asked["window"].unique() if one not in ("", OUTSIDE))
    if not timed:
        raise WorkbenchError("no request has a time, so there is no month to speak of; check the time column")
    span = pd.date_range(timed[0], timed[-1], freq="h")
    labels = [f"{one:%Y-%m-%dT%H:%M:%SZ}" for one in span]

    def by_hour(classes: Sequence[str]) -> Any:
        found = part[part["class"].isin(classes)].groupby("window")["tokens"].sum()
        return found.reindex(labels, fill_value=0).to_numpy("float64")

    counted = part[part["class"] != "request"]
    return Measured(
        total(part["pico"].to_numpy()) / PICO, int(asked["requests"].sum()), int(asked["failed"].sum()),
        int(counted["tokens"].sum()), float(len(span)), by_hour(("input", "cache_write", "cache_write_1h")),
        by_hour(("output", "reasoning")),
    )  # fmt: skip


def assumptions(seen: Measured, **assumed: float) -> dict[str, float]:
    """The assumptions of `returns` from what was measured (requests a month, failed share, model cost) and what is assumed."""
    pace = HOURS / seen.hours
    counted = {
        "requests": seen.requests * pace,
        "failed": seen.failed / seen.requests,
        "model_cost": seen.dollars / seen.requests,
    }
    return {**counted, **assumed}


def sources(
    given: Mapping[str, float],
    seen: Measured,
    uncertainty: Mapping[str, Sequence[float]],
    known: Mapping[str, tuple[str, float, float]],
) -> pd.DataFrame:
    """Every assumption with its value, its range and where it is from. known: `returns.ASSUMPTIONS`."""

    def short(one: float) -> str:
        return f"{one:,.0f}" if abs(one) >= 1000 else f"{one:.4g}"

    rows = []
    for name, value in given.items():
        low, high = uncertainty.get(name, (1.0, 1.0))
        origin = f"measured over {seen.hours:,.0f} h" if name in ("requests", "failed", "model_cost") else "assumed"
        span = f"{short(value * low)} to {short(value * high)}" if name in uncertainty else "taken as sure"
        rows.append((name, known[name][0], short(value), span, origin))
    return pd.DataFrame(rows, columns=["name", "what it is", "value", "range", "from"])


def headline(
    units: pd.DataFrame,
    told: Mapping[str, float | None],
    sure: Mapping[str, float],
    edge: float,
    fleet: tuple[int, float],
    months: int,
) -> list[Figure]:
    """The figures of a run: (name, value, unit, good, note)."""
    each = units.set_index("unit")["dollars"]
    found: list[Figure] = [("net present value", told["npv"], "USD", (told["npv"] or 0.0) > 0, f"over {months} months")]
    rate = told["irr"]
    found.append(
        ("return a year (IRR)", _irr(rate), "%", None, "none where no rate, or more than one, makes the value 0")
    )
    back = told["payback"]
    found.append(
        ("payback", "never" if back is None else round(back, 1), "" if back is None else "months", back is not None, "")
    )
    found.append(
        ("chance of a loss", round(100 * sure["loss"], 1), "%", sure["loss"] <= 0.1, "of the simulated worlds")
    )
    for unit in ("a request", "1,000 tokens", "an accepted outcome"):
        value = float(each[unit])
        found.append((f"cost of {unit}", value if np.isfinite(value) else None, "USD", None, ""))
    words = f"{fleet[0]} GPUs would be busy {100 * fleet[1]:.0f} % of the time"
    found.append(("break-even of own GPUs", round(100 * edge, 1) if np.isfinite(edge) else None, "% busy", None, words))
    return found


def _irr(rate: float | None) -> float | str | None:
    """A rate of return in percent; one that says no more than "at once" is not written out."""
    return None if rate is None else round(100 * rate, 1) if rate < 100 else "over 10,000"


def answer(told: Mapping[str, float | None], sure: Mapping[str, float], months: int, given: Mapping[str, float]) -> str:
    """The answer in words: value, interval, payback."""
    from workbench.analyses.money import MICRO, say

    value, low, high = (
        say(round(float(one or 0.0) * MICRO), digits=0) for one in (told["npv"], sure["low"], sure["high"])
    )
    words = f"Over {months} months it is worth **{value}** today at {100 * given['discount']:.3g} % a year"
    words += f" (90 % interval {low} to {high}; **{100 * sure['loss']:.3g} %** of the worlds lose money). "
    back = told["payback"]
    if back is None:
        return words + "The investment is not earned back in that time."
    return words + (
        f"The investment is earned back after **{back:.1f} months**." if back else "Nothing has to be earned back."
    )


def unit_words(units: pd.DataFrame, value: float) -> str:
    """What an accepted outcome costs against what it is worth."""
    cost = float(units.set_index("unit").loc["an accepted outcome", "dollars"])
    if not np.isfinite(cost):
        return "No answer is accepted, so an outcome has no price."
    sign = "less" if cost < value else "more"
    return f"An accepted outcome costs **${cost:,.4g}**, {sign} than the **${value:,.4g}** that it is worth."


def unit_table(units: pd.DataFrame, money: Callable[[float], str]) -> pd.DataFrame:
    """The unit economics as a table that people read."""
    return pd.DataFrame(
        {"cost of": units["unit"], "dollars": [money(one) for one in units["dollars"]], "": units["note"]}
    )


def own_words(edge: float, turning: float | None, fleet: tuple[int, float], seen: Measured) -> str:
    """Own GPUs against the API, in words."""
    words = f"The API costs **${seen.month:,.2f}** a month at today's pace. Own GPUs cost the same where they are busy "
    words += (
        f"**{100 * edge:,.0f} %** of the time" if edge <= 1 else "more than all of the time, so they cannot be cheaper"
    )
    words += f"; the trace would keep {fleet[0]} busy {100 * fleet[1]:.0f} %. "
    return words + (
        "Even at a thousand times today's usage the API stays cheaper."
        if turning is None
        else f"They are cheaper from **{turning:,.3g} times** today's usage on."
    )
