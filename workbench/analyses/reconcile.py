"""Our cost against the provider's bill: the gap by day, model and token class, explained as far as it can be, the rest told.

The gap of a line (billed minus ours) is tokens that one side has and the other has not, at our price, plus the difference
of prices for the tokens that were billed. What is billed but is no usage of a model (tax, credits, support) is a line of
its own. What cannot be told apart (no tokens, no model) is the unexplained rest. The parts sum to the gap exactly, line
by line.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

import numpy as np
import pandas as pd

from workbench.analyses.money import MICRO, PICO, nearest, rounded
from workbench.analyses.parts import OUTSIDE
from workbench.errors import WorkbenchError

NO_MODEL = "(no model)"
ANY = "(any)"
MOST = 10**24  # picodollars: a trillion dollars
UNSAID = "(not said)"  # a currency
KEYS = ["period", "model", "class"]
PARTS = ("quantity", "price", "not usage", "rest")
# Words of a meter, a description or a SKU that tell its token class, the more special ones first.
WORDS = (
    ("cache_write_1h", ("cache write 1h", "cache-write-1h", "1h cache", "cachewrite1h")),
    ("cache_write", ("cache write", "cache-write", "cachewrite", "cache creation", "cache_creation")),
    (
        "cached_input",
        ("cache read", "cache-read", "cacheread", "cached input", "cached-input", "cached_input", "cache hit"),
    ),
    ("reasoning", ("reasoning output", "output-reasoning", "reasoning tokens")),
    ("output", ("output", "completion", "outp", "generated")),
    ("input", ("input", "prompt", "inp")),
    ("request", ("request",)),
)


NOTHING = pd.DataFrame(columns=["BilledCost", "ChargePeriodStart", "ChargePeriodEnd"])  # no bill was given


def bill_lines(focus: Any, models: Sequence[str] = ()) -> pd.DataFrame:
    """The lines of a provider's bill from its FOCUS rows (1.0 to 1.4, Arrow or pandas; text "NULL" and "" are null).

    models: the model names of our usage, by which a line without a model key is recognised (the longest that its SKU, meter
    or description contains). Columns: start, end (UTC), model ("(no model)" where none is told), class (a token class, or
    the charge category in brackets for what is no usage), tokens (NaN where none are told), micro (whole; they sum to the bill),
    currency, description. Lines in another currency than dollars, or in one that is not said, have micro 0 and their amount in
    `amount`.

    Raises WorkbenchError for a table without BilledCost or charge period, an amount that is no number, a time that is none.
    """
    frame = focus if isinstance(focus, pd.DataFrame) else focus.to_pandas()
    lacking = [name for name in ("BilledCost", "ChargePeriodStart", "ChargePeriodEnd") if name not in frame]
    if lacking:
        raise WorkbenchError(
            f"the bill has no column {', '.join(lacking)}; wanted the rows of a FOCUS file, 1.0 or newer"
        )
    if "BillingCurrency" not in frame:
        frame = frame.assign(BillingCurrency=None)
    told = frame.astype(object).where(frame.notna() & (frame.astype(str) != "NULL") & (frame.astype(str) != ""), None)
    known = sorted((name for name in models if name), key=len, reverse=True)
    rows = [_line(one, number, known) for number, one in enumerate(told.to_dict("records"), 1)]
    names = ["start", "end", "model", "class", "tokens", "pico", "currency", "description"]
    found = pd.DataFrame(rows, columns=names)
    for name in ("start", "end"):
        times = pd.to_datetime(found[name], utc=True, format="ISO8601", errors="coerce")
        lost = np.flatnonzero(times.isna() & found[name].notna())
        if len(lost):
            raise WorkbenchError(
                f"the charge period of row {lost[0] + 1} of the bill has the {name} {found[name].iloc[lost[0]]!r}; wanted a "
                "time as in 2026-03-02T00:00:00Z"
            )
        found[name] = times
    dollars = found["currency"] == "USD"
    found["amount"] = [Decimal(int(one)) / PICO for one in found["pico"]]
    found["micro"] = rounded([int(one) if ours else 0 for one, ours in zip(found.pop("pico"), dollars, strict=True)])
    return found


def _line(one: Mapping[str, Any], number: int, models: Sequence[str]) -> tuple[Any, ...]:
    amount = one["BilledCost"]
    try:
        pico = int((Decimal(str(amount if amount is not None else 0)) * PICO).to_integral_value())
    except InvalidOperation as error:
        raise WorkbenchError(f"BilledCost of row {number} of the bill is {amount!r}; wanted a number") from error
    if abs(pico) >= MOST:
        raise WorkbenchError(
            f"BilledCost of row {number} of the bill is {amount}, which is no amount of a bill; mend the source"
        )
    details = _json(one.get("SkuPriceDetails"))
    words = " ".join(
        str(one.get(name) or "") for name in ("SkuMeter", "SkuId", "SkuPriceId", "ChargeDescription", "ResourceId")
    )
    category = str(one.get("ChargeCategory") or "Usage")
    model = details.get("ModelId") or next((name for name in models if name.lower() in words.lower()), NO_MODEL)
    kind = _class(details, words) if category == "Usage" else f"({category.lower()})"
    tokens = _tokens(one) if category == "Usage" else np.nan
    currency = str(one["BillingCurrency"]).upper() if one.get("BillingCurrency") else UNSAID
    return (one["ChargePeriodStart"], one["ChargePeriodEnd"], str(model), kind, tokens, pico, currency, words.strip())


def _json(text: Any) -> dict[str, Any]:
    """A JSON object's keys without the prefix `x_`; nothing where there is none."""
    try:
        told = json.loads(text) if isinstance(text, str) else dict(text or {})
    except (ValueError, TypeError):
        return {}
    return {key.removeprefix("x_"): value for key, value in told.items()} if isinstance(told, dict) else {}


def _class(details: Mapping[str, Any], words: str) -> str:
    direction, action = details.get("TokenDirection"), details.get("TokenCacheAction")
    if direction == "Input":
        write = "cache_write_1h" if "1h" in words.lower() else "cache_write"
        return {"Read": "cached_input", "Write": write}.get(str(action), "input")
    text = words.lower()
    found = next((name for name, signs in WORDS if any(sign in text for sign in signs)), "")
    if direction == "Output":
        return "reasoning" if found == "reasoning" else "output"
    return found or "(other usage)"


def _tokens(one: Mapping[str, Any]) -> float:
    """The tokens (or requests) of a bill's row from its consumed quantity, else its pricing quantity; NaN where not told."""
    for quantity, unit in (("ConsumedQuantity", "ConsumedUnit"), ("PricingQuantity", "PricingUnit")):
        words = str(one.get(unit) or "").split()
        if one.get(quantity) is None or not words or words[-1].lower().rstrip("s") not in ("token", "request"):
            continue
        signs = {"k": 1e3, "m": 1e6, "million": 1e6, "thousand": 1e3}
        text = words[0].lower().replace(",", "") if len(words) > 1 else "1"
        try:
            times = signs[text] if text in signs else float(text.rstrip("km")) * signs.get(text[-1:], 1.0)
            return float(str(one[quantity])) * times
        except ValueError:
            continue
    return float("nan")


def compare(lines: pd.DataFrame, billed: pd.DataFrame, unpriced: pd.DataFrame | None = None) -> pd.DataFrame:
    """The gap by period, model and token class, in whole microdollars: ours_micro, billed_micro, gap_micro and its parts.

    lines: `cost.lines`; billed: `bill_lines`; unpriced: `cost.unpriced`, tokens that we could not price. A period is a day,
    or, where the bill's usage is charged over longer ones, such a one ("2026-03-01/2026-04-01"). The parts sum to the gap:
    `quantity_micro`, tokens only one side has, at our price; `price_micro`, the same tokens at another price;
    `other_micro`, charges that are no usage; `rest_micro`, what neither explains. `side` is "both", "only ours", "only billed"
    or "not priced by us". Also tokens_ours and tokens_billed. Lines of another currency are not compared: see `foreign`.
    """
    dollars = billed[billed["currency"] == "USD"]
    spans = _spans(dollars)
    theirs = dollars.assign(period=[_period(start, spans) for start in dollars["start"]])
    ours = lines.assign(period=[_of_window(window, spans) for window in lines["window"]])
    classes = _coarser(theirs)
    for frame in (ours, theirs):
        frame["class"] = frame["class"].replace(classes)
    one = ours.groupby(KEYS, as_index=False)[["tokens", "micro"]].sum()
    other = theirs.groupby(KEYS, as_index=False).agg(
        tokens=("tokens", lambda values: values.sum(min_count=len(values)) if len(values) else np.nan),
        micro=("micro", "sum"),
    )
    both = one.merge(other, how="outer", on=KEYS, suffixes=("_ours", "_billed"))
    there = both["micro_ours"].notna().to_numpy(), both["micro_billed"].notna().to_numpy()
    both["side"] = np.select([there[0] & there[1], there[0]], ["both", "only ours"], "only billed")
    for name in ("micro_ours", "micro_billed"):
        both[name] = both[name].fillna(0).astype("int64")
    both = both.rename(columns={"micro_ours": "ours_micro", "micro_billed": "billed_micro"})
    both["gap_micro"] = both["billed_micro"] - both["ours_micro"]
    parts = [_parts(row) for row in both.itertuples(index=False)]
    for place, name in enumerate(("quantity_micro", "price_micro", "other_micro", "rest_micro")):
        both[name] = np.array([row[place] for row in parts], dtype="int64")
    if unpriced is not None and len(unpriced):
        keys = {(_of_window(w, spans), m) for w, m in zip(unpriced["window"], unpriced["model"], strict=True)}
        lost = np.array([(p, m) in keys for p, m in zip(both["period"], both["model"], strict=True)])
        both.loc[lost & (both["side"] == "only billed"), "side"] = "not priced by us"
    order = both["gap_micro"].abs().sort_values(ascending=False, kind="stable").index
    columns = [*KEYS, "side", "ours_micro", "billed_micro", "gap_micro", "quantity_micro", "price_micro", "other_micro",
               "rest_micro", "tokens_ours", "tokens_billed"]  # fmt: skip
    return both.loc[order, columns].reset_index(drop=True)


def _parts(row: Any) -> tuple[int, int, int, int]:
    """The gap of a line as tokens, price, charges that are no usage, and the rest."""
    gap = int(row.gap_micro)
    if str(row[2]).startswith("(") and row[2] != "(other usage)":
        return 0, 0, gap, 0
    if row.side == "only ours":
        return gap, 0, 0, 0
    if row.side == "only billed" or not row.tokens_billed >= 0 or not row.tokens_ours > 0:
        return 0, 0, 0, gap
    quantity = round((row.tokens_billed - row.tokens_ours) * row.ours_micro / row.tokens_ours)
    return quantity, gap - quantity, 0, 0


def _coarser(theirs: pd.DataFrame) -> dict[str, str]:
    """Classes that the bill does not tell apart: reasoning is output unless it is billed by itself."""
    return {} if (theirs["class"] == "reasoning").any() else {"reasoning": "output"}


def _spans(billed: pd.DataFrame) -> list[tuple[pd.Timestamp, pd.Timestamp]]:
    """The bill's charge periods that are longer than a day; none for a daily or hourly bill."""
    usage = billed[~billed["class"].str.startswith("(")]
    longer = usage[usage["end"] - usage["start"] > pd.Timedelta(days=1)]
    return sorted(set(zip(longer["start"], longer["end"], strict=True)), key=lambda one: (one[0] - one[1], one[0]))


def _period(moment: Any, spans: Sequence[tuple[Any, Any]]) -> str:
    if pd.isna(moment):
        return OUTSIDE
    for start, end in spans:
        if start <= moment < end:
            return f"{start:%Y-%m-%d}/{end:%Y-%m-%d}"
    return f"{moment:%Y-%m-%d}"


def _of_window(window: str, spans: Sequence[tuple[Any, Any]]) -> str:
    return _period(pd.NaT if window in ("", OUTSIDE) else pd.Timestamp(window), spans)


def bridge(compared: pd.DataFrame) -> pd.DataFrame:
    """From our cost to the bill in rows that sum: step, micro, lines; the last is the bill.

    Steps: our cost; tokens that were billed and are not in our usage, or are in it and were not billed; other prices;
    billed usage of models without a price here; charges that are no usage; the unexplained rest, there even at 0.
    """
    quantity, lost = compared["quantity_micro"], compared["side"] == "not priced by us"
    rows = [
        ("our cost", compared["ours_micro"], compared["side"].isin(["both", "only ours"])),
        ("tokens billed that we did not count", quantity.where(quantity > 0, 0), quantity > 0),
        ("tokens counted that were not billed", quantity.where(quantity < 0, 0), quantity < 0),
        ("other prices than ours", compared["price_micro"], compared["price_micro"] != 0),
        ("usage that has no price here", compared["rest_micro"].where(lost, 0), lost),
        ("charges that are no usage", compared["other_micro"], compared["other_micro"] != 0),
        ("unexplained rest", compared["rest_micro"].where(~lost, 0), (compared["rest_micro"] != 0) & ~lost),
    ]
    told = [(step, int(micro.sum()), int(used.sum())) for step, micro, used in rows]
    told.append(("the bill", int(compared["billed_micro"].sum()), len(compared)))
    return pd.DataFrame(told, columns=["step", "micro", "lines"])


def by(compared: pd.DataFrame, name: str) -> pd.DataFrame:
    """The gap added up by "period", "model" or "class": ours, billed, gap and its parts, largest gap first."""
    columns = [column for column in compared.columns if column.endswith("_micro")]
    found = compared.groupby(name, as_index=False)[columns].sum()
    return found.loc[found["gap_micro"].abs().sort_values(ascending=False, kind="stable").index].reset_index(drop=True)


def foreign(billed: pd.DataFrame) -> pd.DataFrame:
    """Lines of a bill in another currency than dollars, by currency: amount and lines. They are in no sum."""
    other = billed[billed["currency"] != "USD"]
    found = other.groupby("currency").agg(amount=("amount", "sum"), lines=("amount", "size"))
    return found.reset_index()


def claimed(asked: pd.DataFrame, lines: pd.DataFrame) -> tuple[int, int]:
    """What the sources themselves say that the requests cost, and what we say of all requests, in whole microdollars.

    asked: `cost.requests`; lines: `cost.lines`.
    """
    return int(asked["billed_micro"].sum()), nearest(sum(int(one) for one in lines["pico"]), PICO // MICRO)
