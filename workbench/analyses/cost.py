"""What it cost, for whom: one additive cube of tokens by day, owner and rate, and its rows that sum to the bill.

The cube counts tokens of each class as whole numbers in cells of window, owner (or other columns) and *rate*: the model, tier,
context and length step that decide a request's price, with the prices themselves, in picodollars a token, in the label. So
cubes of different days, prices and machines add, and money is tokens times price, multiplied once, at the very end, exactly.
Requests without a price have a rate that says why; their tokens are counted and never priced at zero.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from workbench.analyses.money import MICRO, PICO, nearest, rounded, total
from workbench.analyses.parts import OUTSIDE, WINDOW, need, succeeded, window_labels
from workbench.analyses.rates import CLASSES

RATE = "rate"
OWN = "own GPUs"
HOSTED = "hosted"  # the provider of a model of which no source says one
KEYS = ("provider", "model", "tier", "context", "known_as", "origin", "above", "day")
TOKENS = CLASSES[:-1]  # without what is paid by the request
OUTPUT = ("output", "reasoning")
BY = ("owner", "project", "region", "status", "source")
NAMES = {
    "input": "input, uncached",
    "cached_input": "input, cache read",
    "cache_write": "input, cache write",
    "cache_write_1h": "input, cache write 1 h",
    "output": "output",
    "reasoning": "output, of which reasoning",
    "request": "per request",
}
EXTRA = ("retries", "failed", "billed_micro", "prefill_us", "decode_us")
CHUNK = 1 << 21  # rows that are counted at once


def count(
    priced: Any, by: Sequence[str] = ("owner",), every: str = "D", *, own: Sequence[str] = (), cluster: Any = None
) -> xr.Dataset:
    """The cube that all other questions are asked of: tokens by window, `by` and rate.

    priced: what `prices.price` gives. by: owner, project, region, status or source; an empty value is "(missing)".
    every: a pandas offset; "" for no windows. own: models that own GPUs serve: their tokens and times are counted, and no
    price is applied, since the GPUs' bill is shared out to them (`allocation.as_lines`). Columns: tokens by class
    (`rates.CLASSES`; "request" counts requests), `retries` and `failed` requests, `billed_micro` (what the source itself
    says it cost), `prefill_us` and `decode_us` (microseconds, of requests that measured both). Cubes add, whatever
    prices they were made with.

    Raises WorkbenchError for a name in `by` that usage does not have.
    """
    from workbench.cubes import Category, Moments, Period, add, cube

    for name in by:
        need([one for one in BY if one in priced.table.column_names], name, "by", instead=', or pass by="" for none')
    axes = [*([Period("time", every, name=WINDOW)] if every else []), *(Category(name) for name in by), Category(RATE)]
    of = [Moments(name) for name in (*CLASSES, *EXTRA)]
    rows, (reasons, why) = priced.table.num_rows, _reasons(priced, own)
    labels = _labels(priced, reasons)
    place = np.where(why < 0, priced.rate, len(priced.rates) + why)
    parts = [slice(start, min(start + CHUNK, rows)) for start in range(0, max(rows, 1), CHUNK)]
    return add(
        *(cube(_rows(priced, labels, place[part], part, by, every), by=axes, of=of, cluster=cluster) for part in parts)
    )


def _rows(priced: Any, labels: list[str], place: Any, part: slice, by: Sequence[str], every: str) -> Any:
    """The rows that are counted: axes, tokens by class, and the further columns."""
    import pyarrow as pa
    import pyarrow.compute as pc

    from workbench.analyses.prices import class_tokens

    table = priced.table.slice(part.start, part.stop - part.start)
    tokens = class_tokens(table)
    columns: dict[str, Any] = {"time": table.column("time")} if every else {}
    for name in by:
        column = table.column(name)
        columns[name] = pc.if_else(pc.equal(column, ""), pa.scalar(None, column.type), column)
    columns[RATE] = pa.DictionaryArray.from_arrays(pa.array(place.astype("int32")), pa.array(labels, pa.string()))
    columns |= {name: pa.array(np.maximum(tokens[:, number], 0)) for number, name in enumerate(CLASSES)}
    requests = table.column("requests")
    again = pc.fill_null(pc.not_equal(table.column("retry_of"), ""), False)
    states = table.column("status").unique().to_pylist()
    lost = pc.is_in(table.column("status"), pa.array([one for one in states if not succeeded(one or "")], pa.string()))
    zero = pa.scalar(0, pa.int64())
    columns["retries"], columns["failed"] = pc.if_else(again, requests, zero), pc.if_else(lost, requests, zero)
    columns["billed_micro"] = table.column("billed_micro_usd")
    first, whole = (np.asarray(table.column(name).to_numpy(), dtype="float64") for name in ("ttft_s", "duration_s"))
    with np.errstate(invalid="ignore"):
        unknown = ~((first >= 0) & (whole >= first) & (whole < 1e9))  # of a request, not of thirty years
    for name, seconds in (("prefill_us", first), ("decode_us", whole - first)):
        columns[name] = pa.array(np.round(np.where(unknown, 0, seconds) * 1e6).astype("int64"), mask=unknown)
    return pa.table(columns)


def _labels(priced: Any, reasons: list[Any]) -> list[str]:
    """Each rate as text that carries its prices; then one label for each reason for which rows have none."""
    found = []
    for rate, pico in zip(priced.rates, priced.matrix.tolist(), strict=True):
        told = {name: getattr(rate, name) for name in KEYS}
        told["day"] = "" if rate.day is None else str(rate.day)
        prices = {name: value for name, value in zip(CLASSES, pico, strict=True) if value >= 0}
        found.append(json.dumps({**told, "pico": prices}, separators=(",", ":")))
    return found + [
        json.dumps({"provider": provider, "model": model, "why": why}, separators=(",", ":"))
        for provider, model, why in reasons
    ]


def _reasons(priced: Any, own: Sequence[str]) -> tuple[list[Any], np.ndarray[Any, Any]]:
    """The distinct (provider, model, reason) of rows that no price is applied to, and every row's place there, else -1."""
    import pyarrow as pa
    import pyarrow.compute as pc

    place = np.full(priced.table.num_rows, -1, dtype="int64")
    ours = pc.is_in(priced.table.column("model"), pa.array(list(own), pa.string())).to_numpy()
    lost = np.flatnonzero((priced.cost < 0) | ours)
    if not len(lost):
        return [], place

    keys = ["source", "row", "request_id"]
    part = priced.table.select(["provider", "model", *keys]).take(pa.array(lost)).to_pandas()
    told = priced.exceptions.to_pandas().drop_duplicates(keys)
    named = len(told) and not part.duplicated(keys).any()
    part["why"] = part.merge(told, how="left", on=keys)["reason"].fillna("no price") if named else "no price"
    part.loc[ours[lost], "why"] = OWN
    codes, found = pd.MultiIndex.from_frame(part[["provider", "model", "why"]].fillna("")).factorize()
    place[lost] = codes
    return [tuple(map(str, one)) for one in found], place


# --- money of a cube --------------------------------------------------------------------------------------------------


def whole_numbers(cube: xr.Dataset, column: str) -> np.ndarray[Any, Any]:
    """The exact sums of a whole-number column, in the cube's shape: int64, or Python's integers where those do not fit."""
    high, low = (cube[f"sum_{half}"].sel(column=column).values for half in ("high", "low"))
    if np.abs(high).max(initial=0) < 2**30:
        return high * 2**32 + low
    return high.astype(object) * 2**32 + low.astype(object)


def lines(cube: xr.Dataset) -> pd.DataFrame:
    """The bill's lines: a row for each cell and token class that has tokens, in whole microdollars that sum to the bill.

    Columns: window, the cube's own axes, provider, model, tier, context, known_as, origin, above, day, class, tokens, price_pico
    (picodollars a token), pico (exact), micro. The sum of `micro` is the bill (`bill(lines)` rounded once); each row is its exact
    cost rounded down or up to a microdollar, by largest remainders. Requests without a price are not here, see `unpriced`.
    """
    found = _cells(cube, CLASSES)
    rates, which = found.attrs["rates"], found.pop("place").to_numpy()
    known = [[rate.get("pico", {}).get(name, 0) for name in CLASSES] for rate in rates]
    price = np.array(known, dtype="int64").reshape(-1, len(CLASSES))
    column = found["class"].map({name: place for place, name in enumerate(CLASSES)}).to_numpy("int64")
    found["price_pico"] = price[which, column]
    kept = found[found["why"] == ""].drop(columns="why")
    kept = kept[(kept["class"] != "request") | (kept["price_pico"] > 0)].reset_index(drop=True)
    kept["pico"] = _product(kept["tokens"].to_numpy(), kept["price_pico"].to_numpy())
    kept["micro"] = rounded(kept["pico"].to_numpy())
    return kept


def unpriced(cube: xr.Dataset) -> pd.DataFrame:
    """Tokens and requests without a price, by window, axes, provider, model, class, and `why`; not those of own GPUs."""
    found = _cells(cube, CLASSES)
    return found[~found["why"].isin(["", OWN])].drop(columns=["place", *KEYS[2:]]).reset_index(drop=True)


def served(cube: xr.Dataset) -> pd.DataFrame:
    """What own GPUs served, by window, axes and model: requests, prefill_us and decode_us, and tokens by class."""
    found = _cells(cube, (*CLASSES, "prefill_us", "decode_us"))
    found = found[found["why"] == OWN]
    keys = [name for name in found.columns if name not in ("class", "tokens", "place", "why", *KEYS[2:], "provider")]
    wide = found.pivot_table(index=keys, columns="class", values="tokens", aggfunc="sum", fill_value=0, sort=False)
    wide = wide.reindex(columns=[*CLASSES, "prefill_us", "decode_us"], fill_value=0).reset_index()
    wide.columns.name = None
    return wide.rename(columns={"request": "requests"})


def requests(cube: xr.Dataset) -> pd.DataFrame:
    """Requests by window, axes and rate: requests, retries, failed, billed_micro, prefill_us, decode_us; why ("": priced)."""
    found = _cells(cube, ("request", *EXTRA))
    keys = [name for name in found.columns if name not in ("class", "tokens", "place")]
    wide = found.pivot_table(
        index=[*keys, "place"], columns="class", values="tokens", aggfunc="sum", fill_value=0, sort=False
    )
    wide = wide.reindex(columns=["request", *EXTRA], fill_value=0).rename(columns={"request": "requests"}).reset_index()
    wide.columns.name = None
    return wide.drop(columns="place")


def _cells(cube: xr.Dataset, columns: Sequence[str]) -> pd.DataFrame:
    """A row for each cell and column with a sum that is not 0; `place` is the rate's place in attrs["rates"]."""
    dims = [str(dim) for dim in cube["count"].dims]
    rates = [{"why": OUTSIDE} if str(label) == OUTSIDE else json.loads(str(label)) for label in cube[RATE].values]
    labels: dict[str, list[Any]] = {
        dim: [str(one) for one in cube[dim].values] for dim in dims if dim not in (WINDOW, RATE)
    }
    labels |= {WINDOW: window_labels(cube)} if WINDOW in dims else {}
    parts = []
    for name in columns:
        sums = whole_numbers(cube, name)
        at = np.nonzero(sums)
        frame = pd.DataFrame(
            {dim: np.array(labels[dim], dtype=object)[at[k]] for k, dim in enumerate(dims) if dim != RATE}
        )
        frame["place"] = at[dims.index(RATE)]
        frame["class"], frame["tokens"] = name, sums[at]
        parts.append(frame)
    found = pd.concat(parts, ignore_index=True)
    if WINDOW not in found:
        found.insert(0, WINDOW, "")
    for name in (*KEYS, "why"):
        texts = np.array([rate.get(name, 0 if name == "above" else "") for rate in rates], dtype=object)
        found[name] = texts[found["place"].to_numpy("int64")] if len(found) else pd.Series(dtype=object)
    found.attrs["rates"] = rates
    others = [name for name in found.columns if name not in (WINDOW, "place", "class", "tokens")]
    return found[[WINDOW, *others, "class", "tokens", "place"]]


def _product(tokens: Any, price: Any) -> Any:
    size = np.abs(tokens.astype("float64")) * price.astype("float64")
    return tokens * price if size.sum() < 2**62 else tokens.astype(object) * price.astype(object)


def together(*parts: pd.DataFrame) -> pd.DataFrame:
    """Lines of several bills as one, such as hosted models (`lines`) and own GPUs (`allocation.as_lines`)."""
    kept = [
        part.assign(pico=part.get("pico", part["micro"].astype(object) * (PICO // MICRO)))
        for part in parts
        if len(part)
    ]
    if not kept:
        return parts[0]
    found = pd.concat(kept, ignore_index=True)
    texts = [name for name in found.columns if name not in ("tokens", "price_pico", "pico", "micro", "above")]
    found = found.assign(**{name: found[name].fillna("") for name in texts})
    return found.assign(provider=found["provider"].replace("", HOSTED))


def bill(lines_of: pd.DataFrame) -> int:
    """The exact sum of lines, in picodollars."""
    return total(lines_of["pico"].to_numpy())


def bill_micro(lines_of: pd.DataFrame) -> int:
    """The bill in whole microdollars, rounded once; the sum of the column `micro`."""
    return nearest(bill(lines_of), PICO // MICRO)


def by(lines_of: pd.DataFrame, *names: str, merge_reasoning: bool = True) -> pd.DataFrame:
    """Lines added up by columns, dearest first: those columns, tokens, micro and share of the bill (0 to 1).

    With `class` among the names, reasoning is part of "output", and its own row is left out, so that rows still add up
    (`merge_reasoning=False` keeps both apart).
    """
    frame = lines_of
    if "class" in names and merge_reasoning:
        frame = frame.assign(**{"class": frame["class"].replace({"reasoning": "output"})})
    found = frame.groupby(list(names), sort=False, as_index=False, dropna=False)[["tokens", "micro"]].sum()
    whole = int(found["micro"].sum())
    found["share"] = found["micro"] / whole if whole else 0.0
    return found.sort_values("micro", ascending=False, kind="stable").reset_index(drop=True)


def classes(lines_of: pd.DataFrame) -> pd.DataFrame:
    """The bill by token class in the order of CLASSES, with tokens, dollars a million tokens, and a row "of which reasoning".

    Columns: class (as people say it), tokens, per_million (dollars, effective), micro; rows whose `inside` is True are part of
    the row before and in no sum.
    """
    found = by(lines_of, "class").set_index("class")
    rows = []
    for name in CLASSES:
        if name in found.index:
            rows.append((NAMES[name], int(found.loc[name, "tokens"]), int(found.loc[name, "micro"]), False))
        if name == "output" and (inside := lines_of[lines_of["class"] == "reasoning"])["tokens"].sum():
            rows.append((NAMES["reasoning"], int(inside["tokens"].sum()), int(inside["micro"].sum()), True))
    others = [name for name in found.index if name not in CLASSES]  # such as what own GPUs were paid for and idle
    rows += [(name, int(found.loc[name, "tokens"]), int(found.loc[name, "micro"]), False) for name in others]
    told = pd.DataFrame(rows, columns=["class", "tokens", "micro", "inside"])
    told.insert(2, "per_million", told["micro"] / told["tokens"].replace(0, np.nan))
    return told


def periods(cube: xr.Dataset, segment: Sequence[str], windows: Sequence[Sequence[str]]) -> list[pd.DataFrame]:
    """What `waterfall.explain` wants of each group of windows: a row a segment with requests, retries, tokens and money."""
    found, told = lines(cube), requests(cube)
    out = []
    for group in windows:
        part, asked = found[found[WINDOW].isin(group)], told[told[WINDOW].isin(group) & (told["why"] == "")]
        frame = asked.groupby(list(segment), sort=False, dropna=False)[["requests", "retries"]].sum()
        for name in CLASSES:
            here = (
                part[part["class"] == name].groupby(list(segment), sort=False, dropna=False)[["tokens", "pico"]].sum()
            )
            wide = here.reindex(frame.index, fill_value=0)
            key = "fee" if name == "request" else name
            frame[f"{key}_tokens"], frame[f"{key}_pico"] = wide["tokens"], wide["pico"]
        out.append(frame.drop(columns="fee_tokens").reset_index())
    return out


def tidy(lines_of: pd.DataFrame, used: pd.DataFrame | None = None) -> pd.DataFrame:
    """Lines as a result that other tools read: texts, tokens and whole microdollars.

    used: `statement.prices_used`; then also price_list (name and version) and price_as_of (ISO), of own GPUs that of theirs.
    """
    kept = [name for name in lines_of.columns if name not in ("price_pico", "pico", "above", "day")]
    found = lines_of[kept].copy()
    found["tokens"], found["micro"] = found["tokens"].astype("int64"), found["micro"].astype("int64")
    if used is not None:
        one, own = used.iloc[0], found["provider"] == "own GPUs"
        found["price_list"] = np.where(own, "GPU prices", f"{one['name']} {one['version']}")
        found["price_as_of"] = np.where(own, one["gpus_as_of"], one["as_of"])
    return found


def segments(lines_of: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """Microdollars by window and segment ("model=a", "" for all): rows of (window, segment, micro)."""
    parts = [lines_of.groupby(WINDOW, as_index=False)["micro"].sum().assign(segment="")]
    for name in names:
        one = lines_of.groupby([WINDOW, name], as_index=False)["micro"].sum()
        parts.append(one.assign(segment=[f"{name}={label}" for label in one[name]])[[WINDOW, "segment", "micro"]])
    return pd.concat(parts, ignore_index=True)[[WINDOW, "segment", "micro"]]
