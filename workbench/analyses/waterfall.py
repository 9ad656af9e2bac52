"""Why a cost changed: the difference of two periods as price, volume, mix, prompt length, output length, cache hits and retries.

The cost of a segment s (a model and whom it served, say) is

    N x mix_s x retries_s x (prompt_s x sum_k cache_sk x price_sk + output_s x price_s,out + fee_s)

with N first attempts in all, mix_s its share of them, retries_s attempts a first attempt, prompt_s and output_s tokens an
attempt, cache_sk the share of the input that was of class k (uncached, cache read, cache write), and prices a token. Changing one
factor after another from the old period's value to the new one's explains the difference, but what each explains depends on the
order; each effect here is the average over all 5,040 orders, the Shapley value (Shapley 1953; Shorrocks 2013), so that none is
favoured. It is computed from the 128 combinations. Effects are whole microdollars and sum to the difference exactly.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from math import factorial
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from workbench.analyses.money import MICRO, PICO, nearest, rounded
from workbench.errors import WorkbenchError

EFFECTS = ("volume", "mix", "prompt length", "output length", "cache hits", "retries", "price")
Floats = npt.NDArray[np.float64]
Factors = dict[str, Floats]


def explain(
    before: pd.DataFrame,
    after: pd.DataFrame,
    segment: Sequence[str],
    classes: Sequence[str],
    output: Sequence[str] = ("output",),
    *,
    fixed: Mapping[str, tuple[int, int]] | None = None,
) -> pd.DataFrame:
    """The change of cost between two periods, by effect and segment, in whole microdollars that sum to the change.

    before, after: one row a segment (rows of the same segment are added up): the columns of `segment`; `requests`; `retries`,
        those of them that repeat another (0 where not known); `<class>_tokens` and `<class>_pico`, tokens and picodollars
        of each token class; `fee_pico` (optional), picodollars that depend on the number of requests.
    classes: all token classes. output: those of them that are output; the others are input.
    fixed: further lines, (before, after) in microdollars by name, such as GPUs or energy: each is an effect of its own.

    Columns: effect, the columns of `segment` ("" for a fixed line), micro. A segment that is new or gone has its whole cost
    under volume and mix, since its lengths and prices have not changed; a class that is new to a segment under cache hits.

    Raises WorkbenchError for a period without requests, columns that are missing, and effects beyond a trillion dollars.
    """
    old, new = _by_segment(before, segment, classes, "before"), _by_segment(after, segment, classes, "after")
    both = old.index.union(new.index, sort=False)
    old, new = old.reindex(both, fill_value=0), new.reindex(both, fill_value=0)
    first, second = _factors(old, classes, output), _factors(new, classes, output)
    _fill(first, second)
    was, now = _money(old, classes), _money(new, classes)
    whole = _close(_shapley(first, second), now - was, cost(after, classes) - cost(before, classes))
    keys = both.to_frame(index=False)
    rows = [keys.assign(effect=effect, micro=whole[place]) for place, effect in enumerate(EFFECTS)]
    found = pd.concat(rows, ignore_index=True)
    for name, (was, now) in (fixed or {}).items():
        line = {**dict.fromkeys(segment, ""), "effect": name, "micro": int(now) - int(was)}
        found = pd.concat([found, pd.DataFrame([line])], ignore_index=True)
    found["micro"] = found["micro"].astype("int64")
    return found[["effect", *segment, "micro"]]


def between(
    periods: Sequence[pd.DataFrame],
    segment: Sequence[str],
    classes: Sequence[str],
    output: Sequence[str],
    fixed: Mapping[str, tuple[int, int]],
) -> tuple[pd.DataFrame, int, int]:
    """The waterfall between two periods (`steps`), the change and what the earlier one cost, in whole microdollars.

    No rows, 0 and 0 where a period has no requests.
    """
    if not all(len(one) and one["requests"].sum() > 0 for one in periods):
        return pd.DataFrame(columns=["step", "start", "end", "micro", "share"]), 0, 0
    before, after = (cost(one, classes) + sum(line[at] for line in fixed.values()) for at, one in enumerate(periods))
    found = explain(periods[0], periods[1], segment, classes, output, fixed=fixed)
    return steps(found, before, after), after - before, before


def cost(period: pd.DataFrame, classes: Sequence[str]) -> int:
    """What a period cost, in whole microdollars: the sum of its picodollars, rounded once."""
    return nearest(int(_money(period, classes).sum()), PICO // MICRO)


def steps(explained: pd.DataFrame, before: int, after: int) -> pd.DataFrame:
    """The waterfall as it is drawn: before, each effect, after; start, end and micro in microdollars, share of the change.

    Raises WorkbenchError where the effects do not lead from `before` to `after`, which would be an error of ours.
    """
    effects = explained.groupby("effect", sort=False)["micro"].sum()
    ends = before + np.concatenate([[0], np.cumsum(effects.to_numpy())]).astype("int64")
    if int(ends[-1]) != int(after):
        raise WorkbenchError(
            f"the effects sum to {int(ends[-1]) - before} microdollars, the change is {after - before}"
        )
    change = after - before
    frame = pd.DataFrame({"step": effects.index, "start": ends[:-1], "end": ends[1:], "micro": effects.to_numpy()})
    edges = {"step": ["before", "after"], "start": [0, 0], "end": [before, after], "micro": [before, after]}
    whole = pd.DataFrame(edges)
    frame = pd.concat([whole.iloc[:1], frame, whole.iloc[1:]], ignore_index=True)
    frame["share"] = np.where(frame["step"].isin(["before", "after"]), np.nan, frame["micro"] / (change or np.nan))
    return frame


def _by_segment(frame: pd.DataFrame, segment: Sequence[str], classes: Sequence[str], which: str) -> pd.DataFrame:
    wanted = [*segment, "requests", "retries", *(f"{one}_{what}" for one in classes for what in ("tokens", "pico"))]
    missing = [name for name in wanted if name not in frame]
    if missing:
        raise WorkbenchError(f"the period {which} has no column {', '.join(missing)}; wanted {', '.join(wanted)}")
    numbers = [name for name in [*wanted[len(segment) :], "fee_pico"] if name in frame]
    exact = {name: frame[name].astype(object) for name in numbers if name.endswith("_pico")}  # sums may not fit 64 bits
    found: pd.DataFrame = frame.assign(**exact).groupby(list(segment), sort=False, dropna=False)[numbers].sum()
    if not found["requests"].sum() > 0:
        raise WorkbenchError(
            f"the period {which} has no requests, so there is nothing to compare with; choose another period"
        )
    return found


def _money(frame: pd.DataFrame, classes: Sequence[str]) -> Any:
    """Picodollars of every segment, as whole numbers."""
    columns = [f"{one}_pico" for one in classes] + (["fee_pico"] if "fee_pico" in frame else [])
    return np.array([sum(int(value) for value in row) for row in frame[columns].itertuples(index=False)], dtype=object)


def _factors(frame: pd.DataFrame, classes: Sequence[str], output: Sequence[str]) -> Factors:
    """The factors of the formula above, one value a segment (and class); NaN where a segment does not tell."""

    def per(one: Floats, other: Floats) -> Floats:
        return np.divide(one, other, out=np.full(np.broadcast(one, other).shape, np.nan), where=other > 0)

    requests, again = frame["requests"].to_numpy("float64"), frame["retries"].to_numpy("float64")
    firsts = np.where(
        again < requests, requests - again, requests
    )  # a segment of retries only: its requests are its firsts
    tokens = {one: frame[f"{one}_tokens"].to_numpy("float64") for one in classes}
    pico = {one: np.array([float(value) for value in frame[f"{one}_pico"]]) for one in classes}
    into = [one for one in classes if one not in output]
    prompt = sum((tokens[one] for one in into), np.zeros(len(frame)))
    fee = np.array([float(value) for value in frame["fee_pico"]]) if "fee_pico" in frame else np.zeros(len(frame))
    columns = len(into), len(frame)
    return {
        "volume": np.array([firsts.sum()]),
        "mix": firsts / firsts.sum(),
        "retries": per(requests, firsts),
        "prompt length": per(prompt, requests),
        "output length": np.array([per(tokens[one], requests) for one in output]).reshape(len(output), len(frame)),
        "cache hits": np.array([per(tokens[one], prompt) for one in into]).reshape(columns),
        "price in": np.array([per(pico[one], tokens[one]) for one in into]).reshape(columns),
        "price out": np.array([per(pico[one], tokens[one]) for one in output]).reshape(len(output), len(frame)),
        "fee": per(fee, requests),
    }


def _fill(first: Factors, second: Factors) -> None:
    """What one period does not tell (no requests, no tokens of a class) is as in the other; what neither tells is 0."""
    for name in first:
        one, other = first[name], second[name]
        first[name] = np.nan_to_num(np.where(np.isnan(one), other, one))
        second[name] = np.nan_to_num(np.where(np.isnan(other), one, other))


def _cost(of: Mapping[str, Floats]) -> Floats:
    into = of["prompt length"] * (of["cache hits"] * of["price in"]).sum(axis=0)
    out = (of["output length"] * of["price out"]).sum(axis=0)
    cost: Floats = of["volume"] * of["mix"] * of["retries"] * (into + out + of["fee"])
    return cost


def _shapley(first: Factors, second: Factors) -> Floats:
    """Effects by segment in picodollars: dims (effect, segment)."""
    count = len(EFFECTS)
    parts = {effect: [effect] for effect in EFFECTS} | {"price": ["price in", "price out", "fee"]}
    value: dict[frozenset[int], Floats] = {}
    for size in range(count + 1):
        for chosen in combinations(range(count), size):
            names = {name for place in chosen for name in parts[EFFECTS[place]]}
            value[frozenset(chosen)] = _cost({name: (second if name in names else first)[name] for name in first})
    found = np.zeros((count, len(first["mix"])))
    for place in range(count):
        for without, cost in value.items():
            if place not in without:
                weight = factorial(len(without)) * factorial(count - len(without) - 1) / factorial(count)
                found[place] += weight * (value[without | {place}] - cost)
    return found


def _close(change: Floats, exact: Any, total: int) -> npt.NDArray[np.int64]:
    """Effects in whole microdollars whose sum is `total`, the exact change in microdollars.

    The float effects of a segment miss its exact change in picodollars by their rounding; that goes to its largest effect.
    """
    if np.abs(change).max(initial=0.0) >= 2**62 * (PICO // MICRO):
        raise WorkbenchError("the two periods are too far apart to compare: an effect is beyond a trillion dollars")
    whole = np.array([[round(value) for value in row] for row in change.tolist()], dtype=object).reshape(change.shape)
    largest, rest = np.abs(change).argmax(axis=0), exact - whole.sum(axis=0)
    for place in range(len(exact)):
        whole[largest[place], place] += rest[place]
    micro = np.asarray(rounded(whole.ravel(), PICO // MICRO), dtype="int64")
    micro[np.abs(micro).argmax()] += total - int(micro.sum())  # 1 at most: both periods were rounded before
    return micro.reshape(change.shape)
