"""The same usage at other prices: another model, a tier, a cache policy, own GPUs, prices of another day, as one dimension.

Every scenario prices the same requests again, request by request, so length steps and dated prices hold in it too. Token counts
stay as they were: another model's tokenizer would cut the same text differently, and a slower tier might be used
differently. A scenario in which some requests have no price is told with their number, and is no total to compare.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from workbench.analyses.money import MICRO, PICO, rounded
from workbench.analyses.rates import CLASSES
from workbench.errors import WorkbenchError
from workbench.errors import nearest as near

PAID = "as it was"
CHANGES = ("provider", "model", "tier", "context", "cache", "as_of", "contract")
INPUTS = CLASSES[:4]


@dataclass(frozen=True)
class Gpus:
    """Own GPUs that would serve the usage: dollars a GPU-hour (with everything that comes with it), tokens a second that one GPU
    prefills and decodes when it is busy, and the share of paid hours that are busy (0 to 1)."""

    dollars_hour: float
    prefill_tokens_s: float
    decode_tokens_s: float
    utilisation: float = 0.5


def scenarios(
    usage: Any,
    changes: Mapping[str, Mapping[str, Any] | Gpus],
    *,
    contract: Any = None,
    every: str = "D",
    by: Sequence[str] = (),
    today: date | None = None,
) -> xr.Dataset:
    """What the same usage costs in each scenario: `micro` (scenario, window, those of `by`, class), whole microdollars.

    usage: a table of the schema USAGE. changes: by the scenario's name what is different: provider, model, tier, context
    (for all requests); cache: "none" (nothing cached), or a share from 0 to 1 of the input of every request that is read
    from a cache; as_of: a day whose prices hold for all requests; contract: other agreed prices (None: list prices);
    or `Gpus`. The first scenario, "as it was", changes nothing. every: length of windows, "" for none.

    Also `requests` and `unpriced` (scenario): how many requests there are, and how many of them the scenario has no price for.
    Each scenario's `micro` sum to its total in `micro_total` (scenario), rounded once.

    Raises WorkbenchError for an unknown change and a cache share outside 0 to 1.
    """
    from workbench.analyses import prices

    told, names = {PAID: {}, **changes}, [PAID, *changes]
    base = prices.price(usage, contract=contract, today=today)
    keys, frames = _keys(base.table, every, by), []
    unpriced, requests = [], int(prices.whole_sum(base.table.column("requests").to_numpy()))
    for name in names:
        change = told[name]
        if isinstance(change, Gpus):
            frames.append(_own(base.table, keys, change))
            unpriced.append(0)
            continue
        table, options = _changed(base.table, change)
        agreed = options.pop("contract", contract)
        priced = base if not change else prices.price(table, contract=agreed, today=today, **options)
        frames.append(_sums(priced, keys))
        lost = priced.table.column("requests").to_numpy()[priced.cost < 0]
        unpriced.append(int(lost.sum()))
    return _dataset(names, frames, unpriced, requests, [*(["window"] if every else []), *by])


def usual(
    priced: Any,
    own: Sequence[str] = (),
    contract: str = "",
    other: str = "",
    gpus: Gpus | None = None,
    today: date | None = None,
) -> pd.DataFrame:
    """`table_of` the scenarios that are usually asked of hosted requests, with their tokens and the break-even of own GPUs.

    priced: `prices.price`; requests of models on own GPUs (`own`) and those without a price are left out. other: a model,
    or provider/model, that would serve all of them. Scenarios: no cache, half of the input from a cache, the batch
    tier, the other model, today's prices, list prices (with a contract), own GPUs. break_even: of own GPUs, else NaN.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    from workbench.analyses.prices import class_tokens

    mine = pc.is_in(priced.table.column("model"), pa.array(list(own), pa.string())).to_numpy()
    table = priced.table.filter(pa.array(~mine & (priced.cost >= 0)))
    changes: dict[str, Any] = {"without a cache": {"cache": "none"}, "half of the input cached": {"cache": 0.5}}
    changes |= {"batch": {"tier": "batch"}, "today's prices": {"as_of": today or datetime.now(UTC).date()}}
    changes |= {"list prices": {"contract": None}} if contract else {}
    if other:
        provider, _, model = other.rpartition("/")
        changes[f"all on {other}"] = {"model": model, **({"provider": provider} if provider else {})}
    if gpus is not None:
        changes["on own GPUs"] = gpus
    found = table_of(scenarios(table, changes, contract=contract or None, every="", today=today))
    found["break_even"] = np.nan
    if gpus is not None and table.num_rows:
        tokens = dict(zip(CLASSES, class_tokens(table).sum(axis=0).tolist(), strict=True))
        edge = break_even(tokens, int(found["micro"].iloc[0]), gpus)["break_even"]
        found.loc[found["scenario"] == "on own GPUs", "break_even"] = edge
    return found


def table_of(found: xr.Dataset) -> pd.DataFrame:
    """One row a scenario: scenario, micro, saving_micro against "as it was", share saved, unpriced requests, complete (bool)."""
    whole = found["micro_total"].values
    frame = pd.DataFrame({"scenario": found["scenario"].values, "micro": whole, "saving_micro": whole[0] - whole})
    frame["saved"] = frame["saving_micro"] / whole[0] if whole[0] else 0.0
    frame["unpriced"], frame["complete"] = (
        found["unpriced"].values,
        found["unpriced"].values == found["unpriced"].values[0],
    )
    return frame


def break_even(tokens: Mapping[str, int], hosted_micro: int, gpus: Gpus, spare: float = 0.0) -> dict[str, float]:
    """At what utilisation own GPUs cost as much as the hosted models did.

    tokens: by class, as in the scenario; hosted_micro: what they cost. spare: GPU-hours paid for whatever happens (0: as many
    as are busy, at the utilisation). Gives busy_hours, own_micro at `gpus.utilisation`, break_even (share of paid hours that
    must be busy: busy hours x price / hosted cost; above 1 own GPUs cannot be cheaper), and cheaper (bool as 0 or 1).

    >>> found = break_even({"input": 3_600_000, "output": 3_600_000}, 8_000_000, Gpus(2.0, 10_000, 1_000, 0.5))
    >>> [round(found[name], 4) for name in ("busy_hours", "own_micro", "break_even")]
    [1.1, 4400000.0, 0.275]
    """
    busy = _seconds(tokens, gpus) / 3600
    paid = max(busy / gpus.utilisation if gpus.utilisation > 0 else np.inf, spare)
    own = paid * gpus.dollars_hour * MICRO
    edge = busy * gpus.dollars_hour * MICRO / hosted_micro if hosted_micro else np.inf
    return {"busy_hours": busy, "own_micro": own, "break_even": edge, "cheaper": float(own < hosted_micro)}


def _seconds(tokens: Mapping[str, Any], gpus: Gpus) -> Any:
    fresh = sum(tokens.get(name, 0) for name in CLASSES[:4] if name != "cached_input")
    out = tokens.get("output", 0) + tokens.get("reasoning", 0)
    for name in ("prefill_tokens_s", "decode_tokens_s"):
        if not getattr(gpus, name) > 0:
            raise WorkbenchError(
                f"{name} is {getattr(gpus, name)}; wanted the tokens a second that one GPU does, above 0"
            )
    return fresh / gpus.prefill_tokens_s + out / gpus.decode_tokens_s


def _changed(table: Any, change: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    from workbench.analyses import prices

    for name in change:
        if name not in CHANGES:
            raise WorkbenchError(f"a scenario changes {name!r}; {near(name, CHANGES)}")
    if "cache" in change:
        table = prices.without_cache(table) if change["cache"] == "none" else _cached(table, change["cache"])
    texts = {name: change[name] for name in ("provider", "model", "tier", "context") if name in change}
    options = {name: change[name] for name in ("as_of", "contract") if name in change}
    return prices.as_if(table, **texts) if texts else table, options


def _cached(table: Any, share: Any) -> Any:
    """The same usage with a share of every request's input read from a cache, and nothing written."""
    import pyarrow as pa

    from workbench.analyses import prices

    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 1:
        raise WorkbenchError(f"the cache share is {share!r}; wanted 'none' or a number from 0 to 1")
    plain = prices.without_cache(table)
    held = np.floor(plain.column("input_tokens").to_numpy() * float(share)).astype("int64")
    return plain.set_column(plain.column_names.index("cached_input_tokens"), "cached_input_tokens", pa.array(held))


def _keys(table: Any, every: str, by: Sequence[str]) -> pd.DataFrame:
    """What each row is added up by: its window's start and its values of `by`."""
    frame = pd.DataFrame(index=range(table.num_rows))
    if every:
        times = table.column("time").to_pandas()
        offset = pd.tseries.frequencies.to_offset(every)
        local = times.dt.tz_localize(None) if times.dt.tz is not None else times
        fixed = isinstance(offset, pd.offsets.Tick) or every.endswith("D")
        starts = local.dt.floor(every) if fixed else local.dt.to_period(every.removesuffix("S")).dt.start_time
        frame["window"] = starts.dt.strftime("%Y-%m-%dT%H:%M:%SZ").fillna("(missing)").to_numpy(object)
    for name in by:
        values = table.column(name).to_pandas().astype(object)
        frame[name] = values.where(values.notna() & (values != ""), "(missing)").to_numpy(object)
    return frame


def _sums(priced: Any, keys: pd.DataFrame) -> pd.DataFrame:
    """Picodollars by key and class, exactly."""
    from workbench.analyses.prices import class_tokens

    good = priced.cost >= 0
    tokens = class_tokens(priced.table)[good]
    frame = keys[good].assign(rate=priced.rate[good]).reset_index(drop=True)
    for number, name in enumerate(CLASSES):
        frame[name] = tokens[:, number]
    sums = frame.groupby(list(frame.columns[: -len(CLASSES)]), sort=False, as_index=False).sum()
    rate = sums.pop("rate").to_numpy("int64")
    for number, name in enumerate(CLASSES):
        price = np.maximum(priced.matrix[rate, number], 0) if len(priced.matrix) else np.zeros(len(rate), "int64")
        sums[name] = sums[name].to_numpy(object) * price.astype(object)
    return sums


def _own(table: Any, keys: pd.DataFrame, gpus: Gpus) -> pd.DataFrame:
    """Picodollars by key of GPU-hours: prefill as uncached input, decode as output."""
    from workbench.analyses.prices import class_tokens

    if not 0 < gpus.utilisation <= 1:
        raise WorkbenchError(f"the utilisation of own GPUs is {gpus.utilisation}; wanted a share above 0 and at most 1")
    tokens = class_tokens(table)
    frame = keys.copy()
    frame["input"] = tokens[:, 0] + tokens[:, 2] + tokens[:, 3]
    frame["output"] = tokens[:, 4] + tokens[:, 5]
    by = list(keys.columns)
    sums = frame.groupby(by, sort=False, as_index=False).sum() if by else frame.sum().to_frame().T
    second = gpus.dollars_hour / 3600 / gpus.utilisation * PICO
    _seconds({}, gpus)
    for name, speed in (("input", gpus.prefill_tokens_s), ("output", gpus.decode_tokens_s)):
        sums[name] = [round(float(one) / speed * second) for one in sums[name]]
    return sums.reindex(columns=[*by, *CLASSES], fill_value=0)


def _dataset(
    names: list[str], frames: list[pd.DataFrame], unpriced: list[int], requests: int, dims: list[str]
) -> xr.Dataset:
    coords: dict[str, Any] = {"scenario": names}
    whole = pd.concat(frames, ignore_index=True)
    coords |= {dim: sorted(whole[dim].unique()) for dim in dims}
    coords["class"] = list(CLASSES)
    micro = np.zeros([len(one) for one in coords.values()], dtype="int64")
    for place, frame in enumerate(frames):
        cells = np.zeros(micro.shape[1:], dtype=object)
        at = [pd.Index(coords[dim]).get_indexer(frame[dim]) for dim in dims]
        for number, name in enumerate(CLASSES):
            np.add.at(cells, (*at, number), frame[name].to_numpy(object)) if dims else cells.__setitem__(
                number, sum(frame[name])
            )
        micro[place] = rounded(cells.ravel()).reshape(cells.shape)
    totals = micro.reshape(len(names), -1).sum(axis=1)
    data = {
        "micro": (list(coords), micro, {"unit": "microdollars"}),
        "micro_total": ("scenario", totals, {"unit": "microdollars"}),
        "unpriced": ("scenario", np.array(unpriced)),
        "requests": ("scenario", np.full(len(names), requests)),
    }
    return xr.Dataset(data, coords={name: np.array(values, dtype=object) for name, values in coords.items()})
