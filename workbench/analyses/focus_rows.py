"""The bill as rows of FOCUS 1.4 (FinOps Open Cost and Usage Specification), as CSV and as Parquet.

A row is one window, owner, model and token class. Costs are exact decimal dollars, so the rows sum to the bill to the last digit,
and ListCost is ListUnitPrice x PricingQuantity, exactly. Prices are a million tokens ("1000000 Tokens"). What FOCUS 1.4 has no
key for (model, token direction, cache action) is in SkuPriceDetails under keys prefixed `x_`; the 1.5 draft's own
names, without the prefix, are behind a switch, because a 1.4 validator refuses them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd

from workbench.analyses.money import PICO
from workbench.analyses.parts import OUTSIDE
from workbench.errors import WorkbenchError

VERSION = "1.4"
MILLION = 10**6
METERS = {
    "input": ("Input Tokens", "input", "Input", "Uncached"),
    "cached_input": ("Cache Read Input Tokens", "cache-read", "Input", "Read"),
    "cache_write": ("Cache Write Input Tokens", "cache-write", "Input", "Write"),
    "cache_write_1h": ("Cache Write 1h Input Tokens", "cache-write-1h", "Input", "Write"),
    "output": ("Output Tokens", "output", "Output", ""),
    "reasoning": ("Reasoning Output Tokens", "output-reasoning", "Output", ""),
    "request": ("Requests", "request", "", ""),
}
DATES = ("BillingPeriodStart", "BillingPeriodEnd", "ChargePeriodStart", "ChargePeriodEnd")
COSTS = ("BilledCost", "EffectiveCost", "ContractedCost", "ListCost")
PRICES = ("ListUnitPrice", "ContractedUnitPrice")
QUANTITIES = ("PricingQuantity", "ConsumedQuantity")
COLUMNS = (
    "BilledCost", "BillingAccountId", "BillingAccountName", "BillingCurrency", "BillingPeriodEnd", "BillingPeriodStart",
    "ChargeCategory", "ChargeClass", "ChargeDescription", "ChargeFrequency", "ChargePeriodEnd", "ChargePeriodStart",
    "ConsumedQuantity", "ConsumedUnit", "ContractedCost", "ContractedUnitPrice", "EffectiveCost", "HostProviderName",
    "InvoiceIssuerName", "ListCost", "ListUnitPrice", "PricingCategory", "PricingQuantity", "PricingUnit", "RegionId",
    "RegionName", "ServiceCategory", "ServiceName", "ServiceProviderName", "ServiceSubcategory", "SkuId", "SkuMeter",
    "SkuPriceDetails", "SkuPriceId", "Tags",
)  # fmt: skip


@dataclass(frozen=True)
class Account:
    """Who is billed: the account's id and name, the name of who bills ("" for the provider of the model), and the provider
    of models that no price list knows, such as those on own GPUs."""

    id: str
    name: str = ""
    issuer: str = ""
    provider: str = "own"


def rows(
    lines: pd.DataFrame,
    account: Account,
    every: str = "D",
    *,
    listed: pd.DataFrame | None = None,
    draft: bool = False,
    missing_time: str = "",
) -> pd.DataFrame:
    """The bill's lines as FOCUS rows: decimals for money and quantities, UTC timestamps, None where a cell is null.

    lines: `cost.lines`. account: who is billed. every: the length of the lines' windows. listed: the same usage at list prices
    (`cost.lines` of a pricing without the contract), for ListUnitPrice and ListCost; without it what was contracted is the list.
    draft: SkuPriceDetails with the keys of the 1.5 draft instead of `x_` keys. missing_time: the day (ISO) that rows without a
    time are charged to.

    Requests that were repeated for another length step or price day have rows of their own. An axis of the cube other than the
    region (owner, project ...) is a tag. Raises WorkbenchError for rows without a time where `missing_time` is "", and for an
    account without an id.
    """
    if not account.id:
        raise WorkbenchError("FOCUS rows need a billing account; give its id, as in Account('acct-1001')")
    if not len(lines):
        return pd.DataFrame(columns=list(COLUMNS))
    lost = lines["window"].isin(["", OUTSIDE])
    if lost.any() and not missing_time:
        raise WorkbenchError(
            f"{int(lost.sum())} lines have no time, and a FOCUS row must have a charge period; name the day that they are "
            "charged to, as in missing_time='2026-03-01'"
        )
    keys = [name for name in lines.columns if name not in ("tokens", "price_pico", "pico", "micro")]
    frame = lines.groupby([*keys, "price_pico"], sort=False, dropna=False, as_index=False)[["tokens", "pico"]].sum()
    starts = frame["window"].where(~frame["window"].isin(["", OUTSIDE]), missing_time)
    frame["start"] = pd.to_datetime(starts, utc=True, format="ISO8601")
    provider = (
        frame["provider"]
        .astype(str)
        .where(frame["provider"] != "", frame["known_as"].astype(str).str.partition("/")[0])
    )
    frame["provider"] = provider.where(provider != "", account.provider)
    offset = pd.tseries.frequencies.to_offset(every) if every else pd.offsets.Day()
    frame["list_pico"] = _list_prices(frame, listed, keys)
    tags = [name for name in keys if name not in NOT_TAGS]
    told = [_row(one, account, offset, tags, draft) for one in frame.to_dict("records")]
    return pd.DataFrame(told, columns=list(COLUMNS), dtype=object)


NOT_TAGS = ("window", "region", "provider", "model", "tier", "context", "known_as", "origin", "above", "day", "class")


def _list_prices(frame: pd.DataFrame, listed: pd.DataFrame | None, keys: list[str]) -> pd.Series:
    """Picodollars a token by the price list: what was paid, unless `listed` knows the same usage at another price."""
    if listed is None:
        return frame["price_pico"]
    same = [name for name in keys if name not in ("origin", "known_as", "day", "above")]
    known = listed.groupby(same, sort=False, dropna=False)["price_pico"].agg(["min", "max"]).reset_index()
    known = known[known["min"] == known["max"]]
    found = frame[same].merge(known[[*same, "min"]], how="left", on=same)["min"]
    return found.where(found.notna(), frame["price_pico"]).astype("int64")


def _row(one: Mapping[str, Any], account: Account, offset: Any, tags: list[str], draft: bool) -> dict[str, Any]:
    start = one["start"]
    month = start.tz_localize(None).to_period("M")
    meter, sku, direction, action = METERS[one["class"]]
    tokens, requests = int(one["tokens"]), one["class"] == "request"
    per = 1 if requests else MILLION
    quantity = Decimal(tokens) / per
    price, listed = (Decimal(int(one[name])) * per / PICO for name in ("price_pico", "list_pico"))
    cost = Decimal(int(one["pico"])) / PICO
    details = {
        "ModelId": one["model"],
        "ModelDeveloper": one["known_as"].partition("/")[0],
        "TokenDirection": direction,
        "TokenCacheAction": action,
    }
    own = {"ServiceTier": one["tier"], "PriceContext": one["context"]}
    prefix = "" if draft else "x_"
    named = {f"{prefix}{name}": value for name, value in details.items() if value}
    named |= {f"x_{name}": value for name, value in own.items() if value}
    named |= {"x_AboveInputTokens": int(one["above"])} if one["above"] else {}
    tier = f"-{one['tier']}" if one["tier"] not in ("", "standard") else ""
    above = f"-above-{one['above']}" if one["above"] else ""
    model = one["model"] or "(no model)"
    return {
        **dict.fromkeys(COLUMNS),
        "BilledCost": cost,
        "EffectiveCost": cost,
        "ContractedCost": price * quantity,
        "ContractedUnitPrice": price,
        "ListCost": listed * quantity,
        "ListUnitPrice": listed,
        "BillingAccountId": account.id,
        "BillingAccountName": account.name or None,
        "BillingCurrency": "USD",
        "BillingPeriodStart": month.start_time.tz_localize("UTC"),
        "BillingPeriodEnd": (month + 1).start_time.tz_localize("UTC"),
        "ChargeCategory": "Usage",
        "ChargeDescription": f"{meter} for {model}{tier}",
        "ChargeFrequency": "Usage-Based",
        "ChargePeriodStart": start,
        "ChargePeriodEnd": start + offset,
        "ConsumedQuantity": Decimal(tokens),
        "ConsumedUnit": "Requests" if requests else "Tokens",
        "HostProviderName": one["provider"],
        "InvoiceIssuerName": account.issuer or one["provider"],
        "PricingCategory": "Standard",
        "PricingQuantity": quantity,
        "PricingUnit": "Requests" if requests else f"{MILLION} Tokens",
        "RegionId": one.get("region") if one.get("region") not in ("", OUTSIDE) else None,
        "RegionName": one.get("region") if one.get("region") not in ("", OUTSIDE) else None,
        "ServiceCategory": "AI and Machine Learning",
        "ServiceName": f"{one['provider']} Generative AI API",
        "ServiceProviderName": one["provider"],
        "ServiceSubcategory": "Generative AI",
        "SkuId": f"{model}-{sku}",
        "SkuMeter": meter,
        "SkuPriceDetails": json.dumps(named, sort_keys=True) if named else None,
        "SkuPriceId": f"{model}-{sku}{tier or '-standard'}{above}",
        "Tags": json.dumps({name: one[name] for name in tags if one[name] != OUTSIDE}, sort_keys=True)
        if tags
        else None,
    }


def write_csv(told: pd.DataFrame, path: str | Path) -> Path:
    """FOCUS rows as CSV: decimals in full, times as 2026-03-02T00:00:00Z, null as nothing. Gives the path back."""
    texts = pd.DataFrame({name: [_text(value) for value in told[name]] for name in told.columns}, columns=told.columns)
    target = Path(path)
    texts.to_csv(target, index=False, lineterminator="\n")
    return target


def write_parquet(told: pd.DataFrame, path: str | Path) -> Path:
    """FOCUS rows as Parquet for SQL: decimal(38, 12), timestamps in UTC, text. Gives the path back."""
    import pyarrow.parquet as pq

    target = Path(path)
    pq.write_table(arrow(told), target, compression="zstd")
    return target


def arrow(told: pd.DataFrame) -> Any:
    """FOCUS rows as an Arrow table of those types."""
    import pyarrow as pa

    kinds = {name: pa.timestamp("us", "UTC") for name in DATES}
    kinds |= {name: pa.decimal128(38, 12) for name in (*COSTS, *PRICES, *QUANTITIES)}
    arrays = []
    for name in told.columns:
        values = [None if pd.isna(value) else value for value in told[name]]
        if name in kinds and name not in DATES:
            values = [None if value is None else Decimal(value).quantize(Decimal(1).scaleb(-12)) for value in values]
        arrays.append(pa.array(values, kinds.get(name, pa.string())))
    return pa.table(arrays, names=list(told.columns))


def _text(value: Any) -> str:
    if pd.isna(value):
        return ""
    if isinstance(value, Decimal):
        return f"{value.normalize():f}"
    return f"{value:%Y-%m-%dT%H:%M:%SZ}" if isinstance(value, pd.Timestamp) else str(value)


def leave(
    folder: Path | None,
    lines: pd.DataFrame,
    account: str,
    every: str,
    draft: bool = False,
    listed: pd.DataFrame | None = None,
    used: pd.DataFrame | None = None,
) -> list[Path]:
    """The bill's lines left in a run's folder as results/focus.csv and results/focus.parquet; gives their paths.

    listed: as for `rows`. used: `statement.prices_used`, for the columns x_PriceList and x_PriceAsOf. Nothing without a
    folder or an account. Lines without a time are charged to the day of the newest that has one.
    """
    if folder is None or not account or not len(lines):
        return []
    timed = sorted(set(lines["window"]) - {"", OUTSIDE})
    told = rows(
        lines, Account(account), every, listed=listed, draft=draft, missing_time=timed[-1][:10] if timed else ""
    )
    if used is not None:
        one = used.iloc[0]
        told = told.assign(x_PriceAsOf=str(one["as_of"]), x_PriceList=f"{one['name']} {one['version']}")
    (folder / "results").mkdir(exist_ok=True)
    return [
        write_csv(told, folder / "results" / "focus.csv"),
        write_parquet(told, folder / "results" / "focus.parquet"),
    ]
