"""What belongs to the example requests when they are paid for: agreed prices, hours of own GPUs, and a provider's bill.

Four of the example's models are hosted by a provider, three (`OWN`) run on two GPUs of one's own. The bill is the provider's, as
FOCUS rows, with its truth planted: it charges one model more than agreed, forgets a day of another, and adds tax.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from workbench.examples import address

OWN = ("atlas-8b", "atlas-70b", "atlas-70b-v2")
PROVIDER = "orchard"
PRICES = (  # dollars per million tokens
    {"model": "birch-mini", "input": "0.15", "cached_input": "0.075", "output": "0.60"},
    {"model": "cedar-vision", "input": "0.80", "cached_input": "0.20", "output": "4.00"},
    {"model": "dune-code", "input": "1.25", "cached_input": "0.125", "output": "10.00"},
    {"model": "ember-embed", "input": "0.02", "output": "0.02"},
)
DEARER = ("dune-code", "output", 1.1)  # charged a tenth more than agreed, in the last half
FORGOTTEN = "ember-embed"  # whose third day is not on the bill
TAX = 0.05
FILES = {"contract": "contract.csv", "gpu_hours": "gpu_hours.parquet", "bill": "bill.csv"}


def files(table: str, *, write: bool = True) -> dict[str, str]:
    """The addresses of the three files beside an example table (contract, gpu_hours, bill); written where they are missing.

    table: "example", or the path of a table that `examples.requests` wrote. write: False only names them.
    """
    path = Path(address(table, write=write))
    code = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:8]
    folder = path.with_name(f"{path.name}.costs-{code}")
    if write and not folder.exists():
        _write(path, folder)
    return {name: str(folder / file) for name, file in FILES.items()}


def beside(table: str, given: str, name: str, *, write: bool = True) -> str:
    """What a notebook's parameter means: itself, or for "auto" the file that `files` left beside an example table, else ""."""
    if given != "auto":
        return given
    found = files(table, write=write and table == "example")[name]
    return found if table == "example" or Path(found).exists() else ""


def _write(path: Path, folder: Path) -> None:
    """The three files, whole or not at all."""
    import pyarrow.parquet as pq

    columns = ["time", "tenant", "model", "prompt_tokens", "cached_tokens", "output_tokens", "gpu_seconds"]
    frame = pq.read_table(path, columns=columns).to_pandas()
    aside = folder.with_name(f".{folder.name}.aside-{np.random.default_rng().integers(2**32):08x}")
    aside.mkdir(parents=True)
    keys = ["model", "input", "cached_input", "output"]
    pd.DataFrame(PRICES)[keys].to_csv(aside / FILES["contract"], index=False)
    gpu_hours(frame).to_parquet(aside / FILES["gpu_hours"], index=False)
    bill(frame).to_csv(aside / FILES["bill"], index=False)
    try:
        aside.replace(folder)
    except OSError:
        if not folder.exists():  # otherwise another process was first
            raise


def gpu_hours(requests: pd.DataFrame) -> pd.DataFrame:
    """Claims on two H100 in six-hour pieces: one that the large models share in time, one with a slice for the small one."""
    part = requests[requests["model"].isin(OWN)]
    used = part.groupby([part["time"].dt.floor("6h"), part["model"].astype(str)])["gpu_seconds"].sum() / 3600
    rows = []
    for (start, model), hours in used.items():
        small = model == OWN[0]
        share = 3 / 7 if small else 1.0
        rows.append({
            "start": start, "end": start + pd.Timedelta(hours=6), "node": "rack-1", "gpu": f"GPU-{int(small)}",
            "gpu_model": "H100", "owner": "platform", "tenant": "platform", "model": model, "share": share,
            "kind": "mig" if small else "time-slice", "allocated_hours": 6 * share, "used_hours": min(hours, 6 * share),
            "energy_kwh": 0.1 * 6 * share + 0.6 * min(hours, 6 * share),
        })  # fmt: skip
    return pd.DataFrame(rows)


def bill(requests: pd.DataFrame) -> pd.DataFrame:
    """The provider's bill as FOCUS rows by day, model and token class, with what is planted in it."""
    told: dict[str, Any] = {str(one["model"]): one for one in PRICES}
    part = requests[requests["model"].isin(list(told))].assign(day=requests["time"].dt.floor("D"))
    part["input"] = part["prompt_tokens"] - part["cached_tokens"]
    names = {"input": "input", "cached_tokens": "cached_input", "output_tokens": "output"}
    sums = part.groupby(["day", part["model"].astype(str)])[list(names)].sum()
    days, rows = sorted(part["day"].unique()), []
    for (day, model), tokens in sums.iterrows():
        for column, kind in names.items():
            price = float(told[model].get(kind, told[model]["input"]))
            price *= DEARER[2] if (model, kind) == DEARER[:2] and day >= days[len(days) // 2] else 1.0
            if tokens[column] and not (model == FORGOTTEN and len(days) > 2 and day == days[2]):
                details = {"x_ModelId": model, "x_TokenDirection": "Output" if kind == "output" else "Input"}
                details |= {"x_TokenCacheAction": "Read"} if kind == "cached_input" else {}
                rows.append(_row(day, int(tokens[column]) * price / 1e6, "Usage", int(tokens[column]), model, details))
    if rows:
        whole = sum(one["BilledCost"] for one in rows)
        rows.append(_row(days[0], round(whole * TAX, 6), "Tax", None, "", {}))
    return pd.DataFrame(rows)


def _row(
    day: Any, dollars: float, category: str, tokens: int | None, model: str, details: dict[str, str]
) -> dict[str, Any]:
    month, end = day.tz_localize(None).to_period("M"), day + pd.Timedelta(days=1)
    return {
        "BilledCost": round(dollars, 6), "BillingAccountId": "acct-1", "BillingCurrency": "USD",
        "BillingPeriodStart": f"{month.start_time:%Y-%m-%dT00:00:00Z}",
        "BillingPeriodEnd": f"{(month + 1).start_time:%Y-%m-%dT00:00:00Z}", "ChargeCategory": category,
        "ChargePeriodStart": f"{day:%Y-%m-%dT00:00:00Z}", "ChargePeriodEnd": f"{end:%Y-%m-%dT00:00:00Z}",
        "ConsumedQuantity": tokens, "ConsumedUnit": "Tokens" if tokens else None, "ServiceProviderName": PROVIDER,
        "ChargeDescription": f"Tokens of {model}" if model else "Tax",
        "SkuPriceDetails": json.dumps(details) if details else None,
    }  # fmt: skip
