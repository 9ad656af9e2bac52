"""GPU bills shared out to those who held and those who used the GPUs, and model bills to input and output, to the microdollar.

Two bases, as OpenCost (CNCF) has them. By *allocation* everybody pays for what was kept for them, used or not; by *use* for what
they kept busy. What nobody held, or nobody used, is a row of its own, `(idle)`, so that both columns sum to the bill.

A GPU is at every moment shared out at most once. Claims of at most the whole GPU (exclusive, MIG slices, DRA shares) are taken
as they are. Claims beyond it (time-slicing, MPS without limits: several holders of "one GPU" on one device) are scaled down
together until they fill it, so that nobody pays twice for the same hour.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from workbench.analyses.money import apportion, nearest
from workbench.analyses.parts import starts_between
from workbench.errors import WorkbenchError
from workbench.errors import nearest as near

IDLE = "(idle)"
NOBODY = "(no owner)"
WHO = ("owner", "tenant", "model")
KEYS = ["node", "gpu", "gpu_model"]
# Work a token where no time was measured: reading from a cache is a tenth of prefilling, a token out four times one in.
WEIGHTS = {
    "input": {"input": 1.0, "cached_input": 0.1, "cache_write": 1.0, "cache_write_1h": 1.0},
    "output": {"output": 4.0, "reasoning": 4.0},
}
COUNTED = ("requests", "prefill_us", "decode_us", *WEIGHTS["input"], *WEIGHTS["output"])
HOUR = 3_600_000_000  # microseconds


def share_gpus(
    hours: Any,
    hourly: Mapping[str, int],
    by: Sequence[str] = ("owner",),
    *,
    fleet: Any = None,
    start: Any = None,
    end: Any = None,
    every: str = "",
) -> pd.DataFrame:
    """The GPU bill by GPU and holder on both bases: `allocated_micro` and `used_micro` each sum to the bill, exactly.

    hours: the canonical GPU-hours table (Arrow or pandas), a row a claim: start, end, node, gpu, gpu_model, allocated_hours and
        used_hours (GPU-hours within the claim; where allocated_hours is not known, share x length), and the columns of `by`.
        kind "idle" marks time without a holder. A row without `gpu` claims from the pool of its node and gpu_model.
    hourly: microdollars a GPU-hour by gpu_model.
    by: the columns to share out by: owner, tenant, model.
    fleet: the GPUs that were paid for, a row each: node, gpu, gpu_model, and where known start, end, gpus (of a pool). Without
        it every GPU in `hours` counts from `start` to `end`, which are by default the first start and last end of all claims;
        a pool is as large as its largest claim at one time, rounded up.
    every: a pandas offset such as "D" to have rows by window of time as well; "" for none.

    Columns: window ("" without), node, gpu, gpu_model, those of `by`, gpu_hours_allocated, gpu_hours_used, allocated_micro,
    used_micro. A row `(idle)` has what nobody held (allocated) and what nobody used (used); `(no owner)` is a holder without
    a name. Claims whose use was not measured count as used in full, and attrs["use_unknown"] says how many those are.

    Raises WorkbenchError for a GPU model without a price, a claim that ends before it starts, and a GPU outside the fleet.
    """
    claims = _claims(hours, by, start, end)
    paid = _fleet(claims, fleet)
    for model in dict.fromkeys(paid["gpu_model"]):
        if model not in hourly:
            raise WorkbenchError(f"GPU model {model!r} has no price a GPU-hour; {near(model, hourly)}")
    mine = dict(list(claims.groupby(KEYS, sort=False)))
    pieces = [_one_gpu(one, mine.get(_key(one), claims.iloc[:0]), by, every) for one in paid.itertuples(index=False)]
    empty = ["window", "node", "gpu", "gpu_model", *by, "gpu_hours_allocated", "gpu_hours_used"]
    rows = pd.concat(pieces, ignore_index=True) if pieces else pd.DataFrame(columns=empty)
    rates = np.array([int(hourly[model]) for model in paid["gpu_model"]], dtype=object)
    lengths = np.array([int(one) for one in paid["capacity_us"]], dtype=object)
    exact = lengths * rates  # microdollars x microseconds a hour has
    total = nearest(int(exact.sum()), HOUR) if len(paid) else 0
    if total >= 2**63:
        raise WorkbenchError(f"the GPUs would cost {total // 10**6:,} dollars; check the dollars a GPU-hour")
    bills = apportion(total, exact) if len(paid) else np.zeros(0, "int64")
    for basis in ("allocated", "used"):
        rows[f"{basis}_micro"] = np.zeros(len(rows), dtype="int64")
        for place, bill in enumerate(bills):
            at = rows["place"] == place if "place" in rows else []
            weights = rows.loc[at, f"gpu_hours_{basis}"].to_numpy("float64")
            rows.loc[at, f"{basis}_micro"] = apportion(int(bill), weights)
    rows = rows.drop(columns="place", errors="ignore")
    rows.attrs["use_unknown"] = int(claims["use_unknown"].sum())
    rows.attrs["bill_micro"] = total
    return rows


def windows(hours: pd.DataFrame | None, hourly: Mapping[str, int], every: str) -> pd.DataFrame:
    """`share_gpus` by model and window; no rows where there are no GPU-hours (None)."""
    if hours is None:
        return pd.DataFrame({name: pd.Series(dtype=object) for name in ("window", "model")} | {
            f"{basis}_micro": pd.Series(dtype="int64") for basis in ("allocated", "used")})  # fmt: skip
    return share_gpus(hours, hourly, ("model",), every=every)


def change(rows: pd.DataFrame, before: Sequence[str], after: Sequence[str]) -> dict[str, tuple[int, int]]:
    """What GPUs cost in two groups of windows, as a line of its own for `waterfall.explain`; nothing where there are none."""
    if not len(rows):
        return {}
    sums = [int(rows.loc[rows["window"].isin(group), "used_micro"].sum()) for group in (before, after)]
    return {"own GPUs": (sums[0], sums[1])}


def holders(rows: pd.DataFrame, by: Sequence[str] = ("owner",)) -> pd.DataFrame:
    """`share_gpus` added up by holder: hours, money on both bases, and `idle_micro`, what a holder kept and did not use.

    The `(idle)` row is last; all money columns keep their sums. `efficiency` is used over allocated GPU-hours.
    """
    columns = ["gpu_hours_allocated", "gpu_hours_used", "allocated_micro", "used_micro"]
    found = rows.groupby(list(by), sort=False, as_index=False)[columns].sum()
    idle = found[by[0]] == IDLE
    found["efficiency"] = (found["gpu_hours_used"] / found["gpu_hours_allocated"].replace(0, np.nan)).where(~idle)
    found["idle_micro"] = (found["allocated_micro"] - found["used_micro"]).where(~idle, 0)
    order = found.assign(last=idle).sort_values(["last", "allocated_micro"], ascending=[True, False], kind="stable")
    return order.drop(columns="last").reset_index(drop=True)


def split_phases(bill: int, input_weight: Any, output_weight: Any) -> tuple[Any, Any]:
    """A model's bill shared out to the input and the output of each row, so that all of them together are the bill.

    bill: microdollars. input_weight, output_weight: one number a row: its measured prefill and decode time (any unit, the same
    for both), or its tokens times a stated weight. The two arrays that come back sum to the bill, together and not each.

    >>> into, out = split_phases(1_000, [1.0, 1.0], [3.0, 5.0])
    >>> into.tolist(), out.tolist()
    ([100, 100], [300, 500])
    """
    into, out = np.asarray(input_weight), np.asarray(output_weight)
    shares = apportion(bill, np.concatenate([into, out]))
    return shares[: len(into)], shares[len(into) :]


def phase_times(usage: pd.DataFrame) -> pd.DataFrame:
    """Prefill and decode seconds of every row, and how each was come by.

    usage: rows of the canonical schema (or sums of them) with input_tokens, cached_input_tokens, output_tokens, ttft_s,
    duration_s. Prefill is the time to the first token, decode what is left of the duration. A row without those times gets its
    tokens times the seconds a token of the measured rows of its model: prefill by input tokens that no cache held, decode by
    output tokens. Columns: prefill_s, decode_s, measured (bool).

    Raises WorkbenchError for a model of which no row was measured, and says to state weights.
    """
    first, whole = usage["ttft_s"].astype("float64"), usage["duration_s"].astype("float64")
    known = first.notna() & whole.notna() & (whole >= first) & (first >= 0)
    fresh = (usage["input_tokens"].fillna(0) - usage["cached_input_tokens"].fillna(0)).astype("float64")
    out = usage["output_tokens"].fillna(0).astype("float64")
    found = pd.DataFrame({"prefill_s": first.where(known), "decode_s": (whole - first).where(known), "measured": known})
    for model, at in usage.groupby("model", sort=False, dropna=False).groups.items():
        here = known.loc[at]
        if here.all():
            continue
        if not here.any():
            raise WorkbenchError(
                f"no request of model {model!r} has both ttft_s and duration_s, so its prefill and decode times are not "
                "known; state weights instead, as in weights={'input': 1, 'cached': 0.1, 'output': 4}"
            )
        seen, lacking = here[here].index, here[~here].index
        for column, tokens in (("prefill_s", fresh), ("decode_s", out)):
            rate = found.loc[seen, column].sum() / max(float(tokens.loc[seen].sum()), 1.0)
            found.loc[lacking, column] = tokens.loc[lacking] * rate
    return found


def token_weights(usage: pd.DataFrame, weights: Mapping[str, float]) -> tuple[pd.Series, pd.Series]:
    """Input and output weights of every row from stated weights a token: "input" (uncached), "cached", "output"."""
    missing = [name for name in ("input", "cached", "output") if name not in weights]
    if missing:
        raise WorkbenchError(f"weights lack {', '.join(missing)}; wanted input, cached and output, in work a token")
    cached = usage["cached_input_tokens"].fillna(0)
    into = (usage["input_tokens"].fillna(0) - cached) * weights["input"] + cached * weights["cached"]
    return into, usage["output_tokens"].fillna(0) * weights["output"]


def as_lines(shared: pd.DataFrame, served: pd.DataFrame, basis: str = "used", what: str = "") -> pd.DataFrame:
    """The GPU bill as lines of the whole bill: by window, owner (and other axes), model and class, in whole microdollars.

    shared: `share_gpus` by model and window; served: `cost.served`, what those models did in each window. basis: "used"
    or "allocated", or of `energy.windows` "energy" or "carbon". what: a class for all of it, such as "energy", instead of
    input, output and idle. A model's bill of a window goes to the input and output of those it served, by measured prefill and
    decode time; where no request of the window measured them, by tokens (WEIGHTS). What nobody used, or a model that
    served nobody, is idle: its owner and class, and for what nobody used its model, are "(idle)". The sum is that of
    `shared`.
    """
    axes = [name for name in served.columns if name not in ("window", "model", *COUNTED)]
    bills = shared.groupby(["window", "model"], sort=False)[f"{basis}_micro"].sum()
    groups = dict(list(served.groupby(["window", "model"], sort=False)))
    rows = []
    for key, bill in bills.items():
        part = groups.get(key)
        into, out = (part["prefill_us"], part["decode_us"]) if part is not None else (pd.Series(), pd.Series())
        if part is not None and not into.sum() + out.sum() > 0:
            into, out = (
                sum(part[name] * weight for name, weight in WEIGHTS[way].items()) for way in ("input", "output")
            )
        if part is None or not into.sum() + out.sum() > 0:
            idle = {"window": key[0], "model": key[1], "class": IDLE, "tokens": 0, "micro": int(bill)}
            rows.append(pd.DataFrame([idle | dict.fromkeys(axes, IDLE)]))
            continue
        spent = split_phases(int(bill), into.to_numpy(), out.to_numpy())
        for name, micro in zip(("input", "output"), spent, strict=True):
            tokens = sum(part[one] for one in WEIGHTS[name])
            rows.append(part[["window", *axes, "model"]].assign(**{"class": name, "tokens": tokens, "micro": micro}))
    columns = ["window", *axes, "model", "class", "tokens", "micro"]
    found = pd.concat(rows, ignore_index=True)[columns] if rows else pd.DataFrame(columns=columns)
    if what:
        found = found.assign(**{"class": what, "tokens": 0}).groupby(columns[:-2], sort=False, as_index=False).sum()
    return found[found["micro"] != 0].assign(provider="own GPUs").reset_index(drop=True)


def share_requests(bills: Mapping[str, int], usage: pd.DataFrame, weights: Mapping[str, float] | None = None) -> Any:
    """Each model's bill shared out to its requests: `input_micro` and `output_micro` of every row, which sum to the bills.

    bills: microdollars by model; usage: as for `phase_times`. weights: None for measured prefill and decode time, else work a
    token as for `token_weights`. A model with a bill and no requests keeps it in a last row, `(idle)`.
    """
    found = pd.DataFrame({"model": usage["model"], "input_micro": 0, "output_micro": 0})
    lost = {}
    for model, bill in bills.items():
        part = usage[usage["model"] == model]
        if weights is None:
            times = phase_times(part)
            into, out = times["prefill_s"], times["decode_s"]
        else:
            into, out = token_weights(part, weights)
        if not len(part) or not (into.sum() + out.sum()) > 0:
            lost[model] = int(bill)
            continue
        spent = split_phases(int(bill), into.to_numpy(), out.to_numpy())
        found.loc[part.index, "input_micro"], found.loc[part.index, "output_micro"] = spent
    rest = pd.DataFrame({"model": [f"{IDLE} {model}" for model in lost], "input_micro": list(lost.values())})
    return pd.concat([found, rest.assign(output_micro=0)], ignore_index=True) if lost else found


# --- claims on one GPU over time --------------------------------------------------------------------------------------


def _claims(hours: Any, by: Sequence[str], start: Any, end: Any) -> pd.DataFrame:
    frame = (hours if isinstance(hours, pd.DataFrame) else hours.to_pandas()).reset_index(drop=True)
    for name in by:
        if name not in WHO or name not in frame:
            raise WorkbenchError(
                f"GPU-hours cannot be shared out by {name!r}; {near(name, [n for n in WHO if n in frame])}"
            )
    told = pd.DataFrame(
        {name: frame[name].astype(object).where(frame[name].notna(), NOBODY).replace("", NOBODY) for name in by}
    )
    for name in KEYS:
        column = frame[name] if name in frame else pd.Series("", index=frame.index)
        told[name] = column.astype(object).where(column.notna(), "").astype(str)
    for name in ("start", "end"):
        text = {} if pd.api.types.is_datetime64_any_dtype(frame[name]) else {"format": "ISO8601"}
        told[name] = pd.to_datetime(frame[name], utc=True, **text).astype("datetime64[us, UTC]").astype("int64")
    wrong = told["end"] < told["start"]
    if wrong.any():
        raise WorkbenchError(
            f"row {int(np.flatnonzero(wrong)[0])} of the GPU-hours ends before it starts; mend the source"
        )
    length = (told["end"] - told["start"]).to_numpy("float64") / HOUR
    held = frame["allocated_hours"].astype("float64") if "allocated_hours" in frame else pd.Series(np.nan, frame.index)
    share = frame["share"].astype("float64").fillna(1.0) if "share" in frame else 1.0
    used = frame["used_hours"].astype("float64") if "used_hours" in frame else pd.Series(np.nan, frame.index)
    held = held.fillna(pd.Series(share * length, index=frame.index))
    told["use_unknown"] = used.isna()
    used = used.fillna(held)
    if (held < 0).any() or (used < 0).any():
        raise WorkbenchError("the GPU-hours have a negative number of hours; mend the source")
    with np.errstate(invalid="ignore", divide="ignore"):
        told["held"], told["busy"] = np.where(length > 0, [held / length, used / length], 0.0)
    idle = frame["kind"].astype(str).str.lower().eq("idle") if "kind" in frame else pd.Series(False, index=frame.index)
    told["idle"] = idle.to_numpy()
    told["use_unknown"] &= ~told["idle"]
    told.loc[told["idle"], ["held", "busy"]] = 0.0
    limits = {"start": start, "end": end}
    for name, pick in (("start", min), ("end", max)):
        given = limits[name]
        moment = pick(told[name], default=0) if given is None else int(pd.to_datetime(given, utc=True).value // 1000)
        told.attrs[name] = moment
    return told


def _fleet(claims: pd.DataFrame, fleet: Any) -> pd.DataFrame:
    mine = dict(list(claims.groupby(KEYS, sort=False)))
    seen = claims[KEYS].drop_duplicates()
    if fleet is None:
        paid = seen.assign(start=claims.attrs["start"], end=claims.attrs["end"], gpus=np.nan)
    else:
        paid = (fleet if isinstance(fleet, pd.DataFrame) else fleet.to_pandas()).copy()
        for name in KEYS:
            paid[name] = paid[name].astype(object).where(paid[name].notna(), "").astype(str)
        for name in ("start", "end"):
            asked = pd.to_datetime(paid[name] if name in paid else pd.Series(None, paid.index, dtype=object), utc=True)
            limit = pd.Timestamp(claims.attrs[name], unit="us", tz="UTC")
            paid[name] = asked.fillna(limit).astype("datetime64[us, UTC]").astype("int64")
        paid["gpus"] = paid.get("gpus", np.nan)
        lost = seen.merge(paid[KEYS], how="left", indicator=True)
        lost = lost[lost["_merge"] == "left_only"]
        if len(lost):
            one = lost.iloc[0]
            raise WorkbenchError(
                f"GPU {one['gpu']!r} ({one['gpu_model']}) on node {one['node']!r} was claimed but is not in the fleet; "
                "add it to the fleet, or leave the fleet out to count the GPUs that were claimed"
            )
    counts = []
    for one in paid.itertuples(index=False):
        if pd.notna(one.gpus):
            counts.append(float(one.gpus))
            continue
        pool = mine.get(_key(one)) if not one.gpu else None
        counts.append(1.0 if pool is None else max(1.0, float(np.ceil(_peak(pool) - 1e-9))))
    paid = paid.assign(gpus=counts).reset_index(drop=True)
    paid["capacity_us"] = (paid["gpus"] * (paid["end"] - paid["start"]).clip(lower=0)).round().astype("int64")
    paid["place"] = np.arange(len(paid))
    return paid


def _key(gpu: Any) -> tuple[str, str, str]:
    return gpu.node, gpu.gpu, gpu.gpu_model


def _peak(mine: pd.DataFrame) -> float:
    """The largest sum of claims at one time."""
    moments = np.concatenate([mine["start"], mine["end"]])
    change = np.concatenate([mine["held"], -mine["held"]])
    order = np.lexsort((change, moments))  # at one time, ends before starts
    return float(np.cumsum(change[order]).max(initial=0.0))


def _one_gpu(gpu: Any, mine: pd.DataFrame, by: Sequence[str], every: str) -> pd.DataFrame:
    """The GPU-hours of one GPU (or pool) by window and holder: held and used, each filled up with idle to the capacity."""
    mine = mine[~mine["idle"] & (mine["end"] > gpu.start) & (mine["start"] < gpu.end)]
    moments = np.concatenate([mine["start"], mine["end"], [gpu.start, gpu.end]])
    edges = np.unique(np.clip(moments, gpu.start, gpu.end)).astype("int64")
    starts = starts_between(gpu.start, gpu.end, every)
    edges = np.unique(np.concatenate([edges, starts[(starts > gpu.start) & (starts < gpu.end)]]))
    length = np.diff(edges) / HOUR
    first = np.searchsorted(edges, mine["start"].clip(gpu.start, gpu.end))
    last = np.searchsorted(edges, mine["end"].clip(gpu.start, gpu.end))
    claim = np.repeat(np.arange(len(mine)), last - first)
    slot = (
        np.concatenate([np.arange(a, b) for a, b in zip(first, last, strict=True)])
        if len(mine)
        else np.zeros(0, "int64")
    )
    window = np.searchsorted(starts, edges[:-1], side="right") - 1
    parts = {"window": np.concatenate([window[slot], window]).astype("int64")}
    names = {
        name: np.concatenate([mine[name].to_numpy(object)[claim], np.full(len(length), IDLE, object)]) for name in by
    }
    for basis, column in (("allocated", "held"), ("used", "busy")):
        rate = mine[column].to_numpy("float64")[claim]
        sums = np.bincount(slot, rate, minlength=len(length))
        scale = gpu.gpus / np.maximum(sums, gpu.gpus)
        idle = np.maximum(gpu.gpus - sums, 0.0)
        idle[idle < 1e-9] = 0.0
        parts[f"gpu_hours_{basis}"] = np.concatenate([rate * scale[slot] * length[slot], idle * length])
    found = pd.DataFrame({**parts, **names}).groupby(["window", *by], sort=False, as_index=False).sum()
    labels = [f"{np.datetime64(int(one), 'us').astype('datetime64[s]')}Z" if every else "" for one in starts]
    found["window"] = [labels[place] for place in found["window"]]
    about = {"node": gpu.node, "gpu": gpu.gpu, "gpu_model": gpu.gpu_model, "place": gpu.place}
    return found.assign(**about)[
        ["window", "node", "gpu", "gpu_model", *by, "gpu_hours_allocated", "gpu_hours_used", "place"]
    ]
