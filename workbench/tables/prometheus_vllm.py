"""What vLLM's metrics say was served: tokens, requests and seconds by model, whatever the metrics were called in that version.

Schema in: METRICS of `prometheus`, with the names of `[vllm]` in usage_aliases.toml (some collectors write "_" for ":").
Out: a row a model, or rows of USAGE. Where old and new names stand side by side, one counts.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from os import PathLike
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from workbench.errors import WorkbenchError, nearest
from workbench.tables.prometheus import Metrics, growth, quantile, read_metrics, series
from workbench.tables.usage import TIME, USAGE, Usage, exceptions_table, usage_table
from workbench.tables.usage_named import aliases

WHOLE = ("requests", "input_tokens", "cached_input_tokens", "output_tokens")
MOST = 1e15
EARLIEST = 1_000_000_000_000  # microseconds: pages without a time are numbered from 0
SECONDS = ("prefill_s", "decode_s", "ttft_s", "e2e_s", "queue_s")
Series = tuple[str, dict[str, str], np.ndarray[Any, Any], np.ndarray[Any, Any]]  # model, labels, times, values


def served(metrics: Metrics) -> pa.Table:
    """What vLLM served by model: tokens, requests, and the seconds spent in each phase.

    Columns: model, requests, input_tokens, cached_input_tokens, output_tokens (whole), prefill_s, decode_s, ttft_s, e2e_s,
    queue_s (sums of seconds; null where that version does not tell). Of several samples, what was counted between the first
    and the last, resets included; of a single page, all since the server's start.

    Raises WorkbenchError where there are no tokens of vLLM.
    """
    sums: dict[str, dict[str, float]] = {}
    for what, model, _, _, values in _counters(metrics):
        if _counts(values):
            grown = float(growth(values).sum()) if len(values) > 1 else float(values[0])
            sums.setdefault(model, {})[what] = sums.get(model, {}).get(what, 0.0) + grown
    _needs_tokens({what for one in sums.values() for what in one})
    schema = [("model", pa.string()), *((one, pa.int64()) for one in WHOLE), *((one, pa.float64()) for one in SECONDS)]
    rows = [
        {
            "model": model,
            **{one: round(by[one]) if one in by else None for one in WHOLE},
            **{one: by.get(one) for one in SECONDS},
        }
        for model, by in sorted(sums.items())
    ]
    return pa.Table.from_pylist(rows, pa.schema(schema))


def quantiles(
    metrics: Metrics, what: str, qs: Iterable[float] = (0.5, 0.9, 0.95, 0.99)
) -> dict[str, dict[float, float]]:
    """Quantiles of a vLLM histogram by model, over what was counted between first and last sample, or on the one page.

    what: a histogram by its meaning (ttft_s, token_s, e2e_s, prefill_s, decode_s, queue_s), or by its own name.
    Raises WorkbenchError where there is no such histogram.
    """
    known = aliases()["vllm"]
    wanted = known.get(what, (what,))
    heaps: dict[str, dict[float, float]] = {}
    for model, labels, _, values in _named(metrics, [f"{one}_bucket" for one in wanted]):
        grown = float(growth(values).sum()) if len(values) > 1 else float(values[0])
        try:
            bound = float(labels.get("le", ""))
        except ValueError:
            continue
        heap = heaps.setdefault(model, {})
        heap[bound] = heap.get(bound, 0.0) + grown
    if not heaps:
        have = {one.removesuffix("_bucket") for one in metrics.table["metric"].to_pylist() if one.endswith("_bucket")}
        among = sorted(have | {key for key in known if key.endswith("_s")})
        raise WorkbenchError(f"there is no histogram {what!r}: {nearest(what, among)}")
    return {model: {q: quantile(q, heap, heap.values()) for q in qs} for model, heap in heaps.items()}


def read_served(source: str | PathLike[str], *, given: Mapping[str, str] | None = None) -> Usage:
    """What vLLM's metrics say was used, in the one schema: a row a model, owner and step between two samples.

    source: as for `read_metrics`. given: words for rows that say none, such as {"owner": "search"}; the provider is
    "vllm" if not given. `requests` counts the row's requests, and ttft_s and duration_s are the *sums* of their seconds of
    prefill and of both phases, so that costs can be split by them. A row's time is the start of its step, and null for a
    single page. `checks`: tokens in (the growth of the counters) = tokens out, and `unknown` the metrics that were not used
    with their samples.

    A counter below 0, or of more than 1e15, is an exception and in no row. Raises WorkbenchError where there are no tokens
    of vLLM.
    """
    metrics, words = read_metrics(source), dict(given or {})
    for name in words:
        if name not in ("provider", "model", "owner", "project", "region"):
            raise WorkbenchError(
                f"given names {name!r}: {nearest(name, ('provider', 'model', 'owner', 'project', 'region'))}"
            )
    steps: dict[tuple[str, str, int], dict[str, float]] = {}
    total, used = 0.0, set()
    impossible: list[dict[str, Any]] = []
    for what, model, labels, times, values in _counters(metrics):
        used.add(what)
        if not _counts(values):
            worst = values[~np.isfinite(values) | (values < 0) | (values > MOST)][0]
            reason = "negative count" if worst < 0 else "wrong type"
            impossible.append({"source": metrics.table["source"][0].as_py(), "reason": reason, "field": what,
                               "value": f"{worst:g} of {model or 'no model'}"})  # fmt: skip
            continue
        owner = next((labels[one] for one in aliases()["labels"]["owner"] if labels.get(one)), "")
        grown = growth(values) if len(values) > 1 else values
        starts = times[:-1] if len(values) > 1 else [0]
        total += float(grown.sum()) if what in ("input_tokens", "output_tokens") else 0.0
        for start, more in zip(starts, grown, strict=True):
            if more:
                cell = steps.setdefault((model, owner, int(start)), {})
                cell[what] = cell.get(what, 0.0) + float(more)
    _needs_tokens(used)
    impossible += [
        {"reason": "usage missing", "field": one} for one in ("input_tokens", "output_tokens") if one not in used
    ]
    keys = sorted(key for key, one in steps.items() if {"input_tokens", "output_tokens", "requests"} & one.keys())
    cells = [steps[key] for key in keys]
    table = usage_table(_columns(metrics, keys, cells, words))
    out = sum(int(pc.sum(table[name]).as_py() or 0) for name in ("input_tokens", "output_tokens"))
    broken = list(metrics.exceptions.to_pylist())
    late = [{"source": source_, "row": row, "reason": "time missing", "field": "time", "value": ""}
            for source_, row, key in zip(table["source"].to_pylist(), table["row"].to_pylist(), keys, strict=True)
            if key[2] < EARLIEST]  # fmt: skip
    checks = dict(metrics.checks) | {"rows out": table.num_rows, "tokens in": round(total), "tokens out": out}
    checks["tokens conserved"] = round(total) == out
    units = {name: "s by its name" for name in SECONDS if name in used}
    unknown = _unused(metrics)
    return Usage(
        table, exceptions_table([*broken, *impossible, *late]), USAGE.empty_table(), unknown, "vllm", units, checks
    )


def _counts(values: np.ndarray[Any, Any]) -> bool:
    """Whether these can be the samples of a counter: whole from 0, and not beyond what anything ever counted."""
    return bool(((values >= 0) & (values <= MOST)).all())


def _columns(
    metrics: Metrics, keys: list[tuple[str, str, int]], cells: list[dict[str, float]], words: Mapping[str, str]
) -> dict[str, Any]:
    whole = {one: [round(cell.get(one, 0.0)) for cell in cells] for one in WHOLE}
    # What was read from the cache is part of the input, and may be counted a moment before it.
    whole["cached_input_tokens"] = [
        min(pair) for pair in zip(whole["cached_input_tokens"], whole["input_tokens"], strict=True)
    ]
    first = [cell.get("prefill_s", cell.get("ttft_s")) for cell in cells]
    last = [cell.get("decode_s") for cell in cells]
    both = [
        cell.get("e2e_s") if a is None or b is None else a + b for cell, a, b in zip(cells, first, last, strict=True)
    ]
    files = metrics.table["source"].to_pylist()
    return {
        "model": [key[0] or words.get("model", "") for key in keys],
        "owner": [key[1] or words.get("owner", "") for key in keys],
        "provider": [words.get("provider", "vllm")] * len(keys),
        **{name: [words.get(name, "")] * len(keys) for name in ("project", "region")},
        "time": pa.array([key[2] if key[2] >= EARLIEST else None for key in keys], pa.int64()).cast(TIME),
        **whole,
        "ttft_s": pa.array(first, pa.float64()),
        "duration_s": pa.array(both, pa.float64()),
        "source": [files[0] if files else ""] * len(keys),
        "row": list(range(1, len(keys) + 1)),
    }


def _needs_tokens(found: set[str]) -> None:
    if not found & {"input_tokens", "output_tokens"}:
        known = aliases()["vllm"]
        raise WorkbenchError(
            f"there are no token counters of vLLM: wanted {known['input_tokens'][0]}, {known['output_tokens'][0]}"
        )


def _plain(name: str) -> str:
    return f"vllm:{name.removeprefix('vllm_')}" if name.startswith("vllm_") else name


def _counters(metrics: Metrics) -> Iterator[tuple[str, str, dict[str, str], Any, Any]]:
    for what in (*WHOLE, *SECONDS):
        names = [one if what in WHOLE else f"{one}_sum" for one in aliases()["vllm"][what]]
        for one in _named(metrics, names):
            yield (what, *one)


def _named(metrics: Metrics, names: list[str]) -> Iterator[Series]:
    """The series of the first of several names that each model has."""
    found: dict[str, dict[str, list[Series]]] = {}
    for (metric, text), (times, values, _) in series(metrics).items():
        if _plain(metric) in names:
            labels = json.loads(text)
            model = next((labels[one] for one in aliases()["labels"]["model"] if labels.get(one)), "")
            found.setdefault(model, {}).setdefault(_plain(metric), []).append((model, labels, times, values))
    for by in found.values():
        yield from next(by[name] for name in names if name in by)


def _unused(metrics: Metrics) -> dict[str, int]:
    """Samples of the metrics that no column takes."""
    known = [one for group in aliases()["vllm"].values() for one in group]
    taken = {f"{one}{end}" for one in known for end in ("", "_sum", "_count", "_bucket", "_created")}
    counted = pc.value_counts(metrics.table["metric"])
    return {
        one["values"].as_py(): one["counts"].as_py() for one in counted if _plain(one["values"].as_py()) not in taken
    }
