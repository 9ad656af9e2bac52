"""What a service is worth: cost of an accepted outcome, own GPUs against an API, and the return on an investment.

All money here is dollars as floats: these are estimates from assumptions, not lines of a bill. Every function takes one value an
assumption or an array of them, so a simulation is one call. Assumptions are named in `ASSUMPTIONS`, with their units.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from workbench.errors import WorkbenchError, nearest

Floats = npt.NDArray[np.float64]
HOURS = 730.0  # of a month
ASSUMPTIONS: dict[str, tuple[str, float, float]] = {  # what it is, with its unit; lowest and highest possible value
    "requests": ("requests a month at the start", 0, np.inf),
    "growth": ("growth of requests a month, as a share", -1, np.inf),
    "model_cost": ("dollars of models a request, failed ones too", 0, np.inf),
    "failed": ("share of requests that fail", 0, 1),
    "accepted": ("share of answers that are accepted", 0, 1),
    "reviewed": ("share of answers that a person reviews", 0, 1),
    "review": ("dollars a review", 0, np.inf),
    "escalation": ("dollars to do by hand what was not accepted", 0, np.inf),
    "value": ("dollars that an accepted outcome is worth", 0, np.inf),
    "fixed": ("dollars a month that do not depend on requests", 0, np.inf),
    "investment": ("dollars at the start", 0, np.inf),
    "discount": ("discount rate a year, as a share", -0.99, 1000),
}


def checked(given: Mapping[str, Any]) -> dict[str, Any]:
    """The assumptions, when all are there, known and inside their ranges. Raises WorkbenchError naming the one that is not."""
    for name in given:
        if name not in ASSUMPTIONS:
            raise WorkbenchError(f"there is no assumption {name!r}; {nearest(name, ASSUMPTIONS)}")
    for name, (words, low, high) in ASSUMPTIONS.items():
        if name not in given:
            raise WorkbenchError(f"the assumption {name!r} ({words}) is missing; give it a value")
        values = np.asarray(given[name], dtype="float64")
        if not (np.isfinite(values).all() and (values >= low).all() and (values <= high).all()):
            raise WorkbenchError(
                f"the assumption {name!r} ({words}) is {given[name]!r:.60}; wanted a number from {low:g} to {high:g}"
            )
    return dict(given)


# --- one outcome ------------------------------------------------------------------------------------------------------


def outcome(given: Mapping[str, Any]) -> dict[str, Any]:
    """Dollars of one accepted outcome and what they are made of, which sums: models for answers, failed runs, review, escalation.

    With N requests, failed share f, accepted share a: (1 - f) N answers, a (1 - f) N outcomes. Every request costs its model,
    the reviewed share of answers a review, and each answer that is not accepted an escalation. Keys: answers, failed
    runs, review, escalation, total; infinite where nothing is accepted.
    """
    a = checked(given)
    done = (1 - np.asarray(a["failed"])) * np.asarray(a["accepted"])
    with np.errstate(divide="ignore", invalid="ignore"):
        parts = {
            "answers": (1 - np.asarray(a["failed"])) * a["model_cost"] / done,
            "failed runs": np.asarray(a["failed"]) * a["model_cost"] / done,
            "review": (1 - np.asarray(a["failed"])) * a["reviewed"] * a["review"] / done,
            "escalation": (1 - np.asarray(a["failed"])) * (1 - np.asarray(a["accepted"])) * a["escalation"] / done,
        }
    parts = {name: np.where(done > 0, value, np.inf) for name, value in parts.items()}
    return {**parts, "total": sum(parts.values())}


def units(cost: float, requests: int, failed: int, tokens: int, given: Mapping[str, Any]) -> pd.DataFrame:
    """Unit economics of what was measured: per request, per answer, per 1,000 tokens, per accepted outcome.

    cost: dollars of models; requests, failed, tokens: counted. Columns: unit, dollars, note. Raises WorkbenchError
    without requests.
    """
    if requests <= 0:
        raise WorkbenchError(
            "no requests were counted, so there is nothing to divide by; check the table and its filter"
        )
    told = outcome({**given, "model_cost": cost / requests, "failed": failed / requests})
    answers = requests - failed
    parts = ", ".join(f"{name} ${float(told[name]):.4g}" for name in ("answers", "failed runs", "review", "escalation"))
    rows = [
        ("a request", cost / requests, f"{requests:,} requests"),
        (
            "an answer",
            cost / answers if answers else np.inf,
            f"{failed:,} requests failed and are paid for by the others",
        ),
        ("1,000 tokens", 1000 * cost / tokens if tokens else np.inf, f"{tokens:,} tokens of all classes"),
        ("an accepted outcome", float(told["total"]), parts),
    ]
    return pd.DataFrame(rows, columns=["unit", "dollars", "note"])


# --- an investment ----------------------------------------------------------------------------------------------------


def flows(given: Mapping[str, Any], months: int) -> Floats:
    """Cash at the end of each month, in dollars: dims (..., months + 1), the first being the investment.

    A month earns value x outcomes and pays models, review, escalation and what is fixed. Requests grow by `growth` a month
    from the second month on. Raises WorkbenchError for less than one month, and flows beyond any number.
    """
    if months < 1:
        raise WorkbenchError(f"months is {months}; wanted at least 1")
    a = {name: np.asarray(value, dtype="float64")[..., None] for name, value in checked(given).items()}
    with np.errstate(over="ignore", invalid="ignore"):
        requests = a["requests"] * (1 + a["growth"]) ** np.arange(months)
        answers = requests * (1 - a["failed"])
        gain = answers * a["accepted"] * a["value"]
        by_hand = answers * (a["reviewed"] * a["review"] + (1 - a["accepted"]) * a["escalation"])
        run = gain - requests * a["model_cost"] - by_hand - a["fixed"]
    if not np.isfinite(run).all():
        raise WorkbenchError(
            f"in {months} months the flows grow beyond any number; lower growth ({given['growth']!r:.40})"
        )
    start = np.broadcast_to(-a["investment"], (*run.shape[:-1], 1))
    found: Floats = np.concatenate([start, run], axis=-1)
    return found


def monthly(discount: Any) -> Any:
    """A rate a year as the rate a month that compounds to it.

    >>> round(float(monthly(0.12)), 6)
    0.009489
    """
    return (1 + np.asarray(discount, dtype="float64")) ** (1 / 12) - 1


def worth(given: Mapping[str, Any], months: int) -> Floats:
    """Net present value in dollars of one set of assumptions or of arrays of them: sum of flow_t / (1 + r)^t, r a month."""
    cash = flows(given, months)
    rate = np.asarray(monthly(given["discount"]))[..., None]
    value: Floats = (cash / (1 + rate) ** np.arange(months + 1)).sum(axis=-1)
    return value


def verdict(given: Mapping[str, Any], months: int) -> dict[str, float | None]:
    """npv (dollars), irr (a year, as a share), payback and discounted_payback (months from the start), by pyxirr where it fits.

    irr is None where no rate, or more than one, makes the value 0 (cash flows that change sign more than once); a payback is None
    where the investment is not earned back within the months. A payback inside a month is shared out evenly.
    """
    import pyxirr

    cash = flows(given, months)
    rate = float(monthly(given["discount"]))
    npv = float(pyxirr.npv(rate, cash.tolist()) or 0.0)
    found = pyxirr.irr(cash.tolist(), silent=True) if pyxirr.is_conventional_cash_flow(cash.tolist()) else None
    irr = None if found is None or not np.isfinite(found) else float((1 + found) ** 12 - 1)
    later = cash / (1 + rate) ** np.arange(months + 1)
    return {"npv": npv, "irr": irr, "payback": _payback(cash), "discounted_payback": _payback(later)}


def _payback(cash: Floats) -> float | None:
    total = np.cumsum(cash)
    below = np.flatnonzero(total < 0)
    if not len(below):
        return 0.0
    last = int(below[-1])
    return None if last + 1 >= len(cash) else float(last + -total[last] / cash[last + 1])


# --- how sure -----------------------------------------------------------------------------------------------------------


def ranges(
    given: Mapping[str, float], uncertainty: Mapping[str, Sequence[float]]
) -> dict[str, tuple[float, float, float]]:
    """Low, base and high of each uncertain assumption.

    uncertainty: by name the lowest and the highest value as factors of the base, as in [0.8, 1.3].
    Shares stay within 0 to 1. Raises WorkbenchError for an unknown name and factors that do not hold 1 between them.
    """
    base = checked(given)
    found = {}
    for name, factors in uncertainty.items():
        if name not in ASSUMPTIONS:
            raise WorkbenchError(f"the uncertainty names {name!r}; {nearest(name, ASSUMPTIONS)}")
        if len(factors) != 2 or not factors[0] <= 1 <= factors[1]:
            raise WorkbenchError(
                f"the uncertainty of {name!r} is {list(factors)}; wanted a lowest and a highest factor around 1, as [0.8, 1.3]"
            )
        _, least, most = ASSUMPTIONS[name]
        low, high = sorted(float(np.clip(base[name] * factor, least, most)) for factor in factors)
        found[name] = (low, float(base[name]), high)
    return found


def tornado(given: Mapping[str, float], uncertainty: Mapping[str, Sequence[float]], months: int) -> pd.DataFrame:
    """Net present value at the low and the high end of each uncertain assumption alone, the widest first.

    Columns: assumption, words, low, base, high, npv_low (at the low end), npv_high, npv (at the base), swing.
    """
    npv = float(worth(given, months))
    rows = []
    for name, (low, base, high) in ranges(given, uncertainty).items():
        ends = [float(worth({**given, name: one}, months)) for one in (low, high)]
        rows.append((name, ASSUMPTIONS[name][0], low, base, high, *ends, npv, abs(ends[1] - ends[0])))
    names = ["assumption", "words", "low", "base", "high", "npv_low", "npv_high", "npv", "swing"]
    return pd.DataFrame(rows, columns=names).sort_values("swing", ascending=False, kind="stable").reset_index(drop=True)


def simulate(
    given: Mapping[str, float],
    uncertainty: Mapping[str, Sequence[float]],
    months: int,
    *,
    draws: int = 10_000,
    seed: int = 7,
) -> Floats:
    """Net present values of `draws` worlds, in dollars: each uncertain assumption is drawn by itself from the triangular
    distribution of its range, whose mode is the base; the others stay as they are. The same seed gives the same worlds."""
    random, told = np.random.default_rng(seed), dict[str, Any](given)
    for name, (low, base, high) in sorted(ranges(given, uncertainty).items()):
        told[name] = random.triangular(low, base, high, draws) if high > low else np.full(draws, base)
    return worth({**told, "requests": np.broadcast_to(told["requests"], draws)}, months)


def interval(values: Floats, level: float = 0.9) -> dict[str, float]:
    """Of simulated values: low and high with `level` of them between, median, mean, and `loss`, the share below 0."""
    low, middle, high = np.quantile(values, [(1 - level) / 2, 0.5, (1 + level) / 2])
    return {"low": float(low), "median": float(middle), "high": float(high), "mean": float(values.mean()),
            "loss": float((values < 0).mean())}  # fmt: skip


# --- own GPUs or an API -------------------------------------------------------------------------------------------------


def fleet(busy: npt.ArrayLike, hours: float = 1.0, *, full: float = 0.8, quantile: float = 0.99) -> tuple[int, float]:
    """How many GPUs a trace needs and how busy they would be: (gpus, utilisation from 0 to 1).

    busy: GPU-hours that each window of `hours` hours would keep busy, idle windows included. The fleet serves the window at
    `quantile` with each GPU busy at most the share `full` of its time; it is paid for all the time.

    >>> fleet([0.5, 0.5, 1.5, 0.5], quantile=1.0)
    (2, 0.375)
    """
    values = np.asarray(busy, dtype="float64")
    if not len(values):
        raise WorkbenchError("the trace has no windows, so no fleet can be planned; count it by hour first")
    peak = float(np.quantile(values, quantile)) / hours
    gpus = max(1, int(np.ceil(peak / full - 1e-9)))
    return gpus, float(min(1.0, values.mean() / hours / gpus))


def against(
    busy: npt.ArrayLike, api_month: float, hour: float, *, fixed: float = 0.0, **planning: float
) -> pd.DataFrame:
    """Dollars a month of an API and of own GPUs as the trace grows: columns times, api, own, gpus, utilisation.

    busy: GPU-hours of each hour of the trace; api_month: what the API costs a month at times = 1; hour: dollars a
    GPU-hour; fixed: dollars a month for running own GPUs at all. times: from a tenth to a thousand times today's usage.
    """
    rows = []
    values = np.asarray(busy, dtype="float64")
    for times in np.unique(np.concatenate([np.geomspace(0.1, 1000, 161), [1.0]])):
        gpus, share = fleet(values * times, **planning)
        rows.append((float(times), api_month * times, gpus * HOURS * hour + fixed, gpus, share))
    return pd.DataFrame(rows, columns=["times", "api", "own", "gpus", "utilisation"])


def turning_point(curve: pd.DataFrame) -> float | None:
    """From how many times today's usage own GPUs are cheaper and stay so; None where that is beyond the curve."""
    cheaper = (curve["own"] <= curve["api"]).to_numpy()
    if not cheaper[-1]:
        return None
    dear = np.flatnonzero(~cheaper)
    return float(curve["times"].iloc[0 if not len(dear) else int(dear[-1]) + 1])


def break_even_share(busy: npt.ArrayLike, api_month: float, hour: float, fixed: float = 0.0) -> float:
    """The utilisation at which own GPUs cost what the API does: busy GPU-hours a month x price / (API - fixed).

    busy: GPU-hours of each hour of the trace. Above 1: own GPUs cannot be cheaper, however busy; infinite where the API costs no
    more than what is fixed.
    """
    spent = float(np.mean(np.asarray(busy, dtype="float64"))) * HOURS * hour
    return spent / (api_month - fixed) if api_month > fixed else float("inf")
