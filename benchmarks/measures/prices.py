"""Ours: requests priced one by one with dated prices, tiers and cache classes, and how many of a sample genai-prices agrees with.

    python -m benchmarks.measures.prices --rows 10000000 --sample 10000

makes requests of five hosted models (seeded), prices them all, asks the library about the sample one request at a time, and
prints one JSON object: seconds of both, requests a second, and how many answers differ (must be 0).
"""

from __future__ import annotations

import argparse
import json
import time
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

MODELS = (
    ("openai", "gpt-5.4", ("", "flex", "priority", "batch")),
    ("google", "gemini-2.5-pro", ("",)),
    ("anthropic", "claude-sonnet-4-5", ("",)),
    ("openai", "gpt-4.1-mini", ("",)),
    ("openai", "o3", ("",)),
)
CONTEXT = {
    "": None,
    "batch": {"processing": "batch"},
    "flex": {"service_tier": "flex"},
    "priority": {"service_tier": "priority"},
}
START, DAYS = "2026-11-05", 90  # since then all of these tiers have prices


def requests(rows: int, seed: int = 0) -> Any:
    """A USAGE table of so many requests."""
    import numpy as np
    import pyarrow as pa

    from workbench.tables.usage import TIME, usage_table

    rng = np.random.default_rng(seed)
    which = rng.integers(0, len(MODELS), rows)
    whole = np.minimum(rng.lognormal(8, 1.6, rows), 400_000).astype("int64")
    cached = (whole * rng.random(rows) * (rng.random(rows) < 0.4)).astype("int64")
    written = ((whole - cached) * rng.random(rows) * (rng.random(rows) < 0.2)).astype("int64")
    tiers = np.where(which == 0, rng.integers(0, 4, rows), 0)
    moments = np.datetime64(START, "us") + rng.integers(0, DAYS * 86_400_000_000, rows).astype("m8[us]")

    def named(codes: Any, names: list[str]) -> Any:
        return pa.DictionaryArray.from_arrays(pa.array(codes.astype("int8")), pa.array(names)).cast(pa.string())

    return usage_table(
        {
            "provider": named(which, [one[0] for one in MODELS]),
            "model": named(which, [one[1] for one in MODELS]),
            "tier": named(tiers, list(MODELS[0][2])),
            "time": pa.array(moments).cast(TIME),
            "input_tokens": pa.array(whole),
            "cached_input_tokens": pa.array(cached),
            "cache_write_tokens": pa.array(written),
            "output_tokens": pa.array(rng.integers(1, 6_000, rows)),
        }
    )


def different(priced: Any, sample: int, seed: int = 1) -> tuple[int, float]:
    """How many of a sample of requests cost another amount by genai-prices, and the seconds that asking took."""
    import numpy as np
    from genai_prices import Usage, calc_price

    rows = np.sort(np.random.default_rng(seed).choice(priced.table.num_rows, sample, replace=False))
    part, off = priced.table.take(rows).to_pylist(), 0
    started = time.perf_counter()
    for row, cost in zip(part, priced.cost[rows].tolist(), strict=True):
        answer = calc_price(
            Usage(
                input_tokens=row["input_tokens"],
                cache_read_tokens=row["cached_input_tokens"],
                cache_write_tokens=row["cache_write_tokens"],
                output_tokens=row["output_tokens"],
            ),
            row["model"],
            provider_id=row["provider"],
            genai_request_timestamp=datetime.fromtimestamp(row["time"].timestamp(), UTC),
            price_context=CONTEXT[row["tier"]],
        )
        off += Decimal(cost) / 10**12 != answer.total_price
    return off, time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--sample", type=int, default=10_000)
    chosen = parser.parse_args()
    from workbench.analyses.prices import price

    price(requests(1_000))  # prices are read and compiled once a process
    table = requests(chosen.rows)
    started, busy = time.perf_counter(), time.process_time()
    priced = price(table)
    seconds, processor = time.perf_counter() - started, time.process_time() - busy
    off, asked = different(priced, min(chosen.sample, chosen.rows))
    told = {"rows": chosen.rows, "seconds": round(seconds, 2), "processor_seconds": round(processor, 2),
            "requests_a_second": round(chosen.rows / seconds), "unpriced": priced.unpriced, "dollars": str(priced.dollars),
            "sample": min(chosen.sample, chosen.rows), "different": off, "sample_seconds": round(asked, 2),
            "prices": priced.book.version}  # fmt: skip
    print(json.dumps(told))


if __name__ == "__main__":
    main()
