"""Metrics of servers and GPUs as rows: Prometheus' text pages and its answers in JSON; counters and histograms.

Schema in: the text exposition format (also OpenMetrics), or the JSON of an instant or range query. Out: METRICS, one row a
sample. A value that DCGM marks as blank is null, and counted. A counter that goes down was reset, and starts from 0 again.
What the metrics of vLLM and of DCGM mean is in `prometheus_vllm` and `prometheus_dcgm`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from os import PathLike, fspath
from typing import Any

import numpy as np
import pyarrow as pa

from workbench.errors import WorkbenchError
from workbench.tables.source import Found, brief, is_folder, is_pattern, locate, plain
from workbench.tables.usage import TIME, exceptions_table
from workbench.tables.usage_records import SHOWN, content
from workbench.tables.usage_values import spelled

METRICS = pa.schema(
    [
        pa.field("time", TIME),  # null where the page gives none
        pa.field("metric", pa.string()),
        pa.field("kind", pa.string()),  # counter, gauge, histogram, summary, or "" where nothing is said
        pa.field("labels", pa.string()),  # JSON with sorted names
        pa.field("value", pa.float64()),  # null where it is blank
        pa.field("source", pa.string()),
        pa.field("row", pa.int64()),
    ]
)
# DCGM's marks for blank, not found, not supported and not permitted, as its header has them. Those of 64-bit integers
# (0x7ffffffffffffff0 to ...f3) are one number as doubles, which no other metric has; the others are blank for DCGM only.
BLANK = 2.0**63
FARTHEST = 9e12  # seconds since 1970 that microseconds in 64 bits hold
BLANK_DCGM = ((2_147_483_632.0, 2_147_483_635.0), (140_737_488_355_328.0, 140_737_488_355_331.0))
EXEMPLAR = re.compile(r"(?<=[\w.])\s+#\s+\{.*$")
PARTS = ("_bucket", "_sum", "_count", "_total", "_created")
Sample = tuple[float | None, str, str, str, float | None, str, int]


@dataclass(frozen=True)
class Metrics:
    """Samples (METRICS), the lines that were none (EXCEPTIONS of `usage`), and checks: samples in, out, blank, unreadable."""

    table: pa.Table
    exceptions: pa.Table
    checks: Mapping[str, Any] = field(default_factory=dict)


def read_metrics(source: str | PathLike[str], *, at: datetime | None = None) -> Metrics:
    """The samples of a file, folder or pattern of Prometheus text or JSON; text also as .gz or .zst.

    at: the moment of pages that give no time, as a scrape's does not; by default their time is null.

    Raises WorkbenchError for a source that does not exist, is no metrics, or is the answer to a query that failed.

    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "metrics.txt"
    >>> _ = path.write_text('# TYPE up gauge\\nup{job="a"} 1\\nDCGM_FI_DEV_GPU_UTIL 9223372036854775794\\n')
    >>> read_metrics(path).table.select(["metric", "kind", "labels", "value"]).to_pylist()
    [{'metric': 'up', 'kind': 'gauge', 'labels': '{"job": "a"}', 'value': 1.0},
     {'metric': 'DCGM_FI_DEV_GPU_UTIL', 'kind': '', 'labels': '{}', 'value': None}]
    """
    name = fspath(source)
    place, path = locate(name, None)
    fs = place.fs
    paths = sorted(fs.glob(path)) if is_pattern(path) else sorted(fs.find(path)) if is_folder(fs, path) else [path]
    if not paths or not fs.exists(paths[0]):
        raise WorkbenchError(f"{name!r} does not exist: name a file, folder or pattern of Prometheus text or JSON")
    samples: list[Sample] = []
    broken: list[dict[str, Any]] = []
    told = [0]
    for one in paths:
        label = plain(one).rpartition("/")[2]
        try:
            text = b"".join(content(place, Found(one, label, ()))).decode("utf-8", "replace")
        except (OSError, EOFError, pa.ArrowException) as error:
            raise WorkbenchError(f"{place.show(one)!r} cannot be read: {brief(error)}") from error
        reader = _json if text.lstrip()[:1] in ("{", "[") else _text
        samples.extend(reader(text, label, broken, at, told))
    if not samples:
        raise WorkbenchError(f"{name!r} holds no sample of Prometheus text or JSON, only {len(broken)} other lines")
    return _metrics(samples, broken, told[0])


def _metrics(samples: list[Sample], broken: list[dict[str, Any]], told: int) -> Metrics:
    columns = list(zip(*samples, strict=True))
    values = np.array([np.nan if one is None else one for one in columns[4]], float)
    dcgm = np.array([one.startswith("DCGM_") for one in columns[1]], bool)
    blank = values == BLANK
    for low, high in BLANK_DCGM:
        blank |= dcgm & (values >= low) & (values <= high)
    micro = [None if one is None else round(one * 1e6) for one in columns[0]]
    arrays = [pa.array(micro, pa.int64()).cast(TIME), *(pa.array(columns[number], pa.string()) for number in (1, 2, 3))]
    arrays += [pa.array(values, mask=blank), pa.array(columns[5], pa.string()), pa.array(columns[6], pa.int64())]
    checks = {
        "samples in": told,
        "samples out": len(samples),
        "blank": int(blank.sum()),
        "unreadable": len(broken),
        "samples conserved": told == len(samples) + len(broken),
    }
    return Metrics(pa.table(arrays, METRICS), exceptions_table(broken), checks)


def _text(
    text: str, label: str, broken: list[dict[str, Any]], at: datetime | None, told: list[int]
) -> Iterator[Sample]:
    from prometheus_client.parser import text_string_to_metric_families

    kinds: dict[str, str] = {}
    moment = None if at is None else (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    for number, line in enumerate(text.split("\n"), 1):
        bare = line.strip()
        if bare.startswith("#"):
            words = bare.split()
            if len(words) == 4 and words[1] == "TYPE":
                kinds[words[2]] = words[3]
            continue
        if not bare:
            continue
        told[0] += 1
        try:
            ((one,),) = [family.samples for family in text_string_to_metric_families(EXEMPLAR.sub("", bare))]
        except (ValueError, IndexError, KeyError):
            broken.append(_broken(label, number, "line", bare))
            continue
        stamp = None if one.timestamp is None or not abs(float(one.timestamp)) < FARTHEST else float(one.timestamp)
        # Milliseconds in the text format, seconds in OpenMetrics: told apart by their size.
        time = moment if stamp is None else stamp * 1e3 if abs(stamp) < 1e8 else stamp
        labels = json.dumps(one.labels, sort_keys=True)
        yield time, one.name, _kind(one.name, kinds), labels, float(one.value), label, number


def _broken(label: str, number: int, name: str, value: Any) -> dict[str, Any]:
    shown = value if isinstance(value, str) else json.dumps(value, default=str)
    return {"source": label, "row": number, "reason": "unreadable", "field": name, "value": shown[:SHOWN]}


def _kind(name: str, kinds: Mapping[str, str]) -> str:
    if name in kinds:
        return kinds[name]
    return next((kinds[name.removesuffix(part)] for part in PARTS if name.removesuffix(part) in kinds), "")


def _number(text: Any) -> float | None:
    try:
        return float(text)
    except (TypeError, ValueError):
        return None


def _json(
    text: str, label: str, broken: list[dict[str, Any]], at: datetime | None, told: list[int]
) -> Iterator[Sample]:
    """The samples of a query's answer: one JSON document, or one a line."""
    try:
        answers = [json.loads(text)]
    except (ValueError, RecursionError):
        answers = [
            _parsed(line, label, number, broken) for number, line in enumerate(text.split("\n"), 1) if line.strip()
        ]
        told[0] += answers.count(None)
    for answer in answers:
        if isinstance(answer, dict) and answer.get("status") == "error":
            raise WorkbenchError(
                f"{label!r} is the answer to a query that failed: {answer.get('error') or 'no reason is given'}"
            )
        data = answer.get("data", answer) if isinstance(answer, dict) else answer
        results = data.get("result") if isinstance(data, dict) else data
        for number, one in enumerate(results if isinstance(results, list) else [], 1):
            pairs = one.get("values") if isinstance(one, dict) else None
            told[0] += max(len(pairs), 1) if isinstance(pairs, list) else 1
            yield from _series(one, label, number, broken)


def _parsed(line: str, label: str, number: int, broken: list[dict[str, Any]]) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        broken.append(_broken(label, number, "line", line))
        return None


def _series(one: Any, label: str, number: int, broken: list[dict[str, Any]]) -> Iterator[Sample]:
    names = one.get("metric") if isinstance(one, dict) else None
    pairs = (one.get("values") or ([one["value"]] if "value" in one else [])) if isinstance(one, dict) else None
    if not isinstance(names, dict) or not isinstance(pairs, list) or not pairs:
        broken.append(_broken(label, number, "series", one))
        return
    metric = spelled(names.get("__name__", ""))
    labels = json.dumps(
        {spelled(key): spelled(value) for key, value in names.items() if key != "__name__"}, sort_keys=True
    )
    for pair in pairs:
        good = isinstance(pair, list) and len(pair) == 2
        time, value = (_number(pair[0]), _number(pair[1])) if good else (None, None)
        if time is None or value is None or not abs(time) < FARTHEST:
            broken.append(_broken(label, number, metric, pair))
            continue
        yield time, metric, "", labels, value, label, number


def increases(metrics: Metrics, names: Iterable[str] = ()) -> pa.Table:
    """How much each counter grew from its first to its last sample; a fall is a reset, after which it began at 0.

    Columns: metric, labels, start, end, increase, resets, samples. What was counted before the first sample, and between the
    last sample before a reset and the reset, is not known and not guessed. names: the counters; by default all metrics of
    kind counter and all that end in _total, _sum, _count or _bucket.

    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "range.json"
    >>> values = [[0, "10"], [60, "25"], [120, "4"], [180, "9"]]
    >>> _ = path.write_text(json.dumps({"data": {"result": [{"metric": {"__name__": "a_total"}, "values": values}]}}))
    >>> increases(read_metrics(path)).select(["metric", "increase", "resets"]).to_pylist()
    [{'metric': 'a_total', 'increase': 24.0, 'resets': 1}]
    """
    wanted = set(names)
    rows = []
    for (metric, labels), (times, values, kind) in series(metrics).items():
        counter = kind in ("counter", "histogram", "summary") or metric.endswith(
            ("_total", "_sum", "_count", "_bucket")
        )
        if metric not in wanted if wanted else not counter:
            continue
        steps = np.diff(values)
        rows.append(
            (metric, labels, times[0], times[-1], float(growth(values).sum()), int((steps < 0).sum()), len(values))
        )
    names_ = ("metric", "labels", "start", "end", "increase", "resets", "samples")
    types = (pa.string(), pa.string(), pa.int64(), pa.int64(), pa.float64(), pa.int64(), pa.int64())
    columns = [list(one) for one in zip(*rows, strict=True)] if rows else [[] for _ in names_]
    made = pa.table([pa.array(one, type_) for one, type_ in zip(columns, types, strict=True)], names_)
    return pa.table([made[name].cast(TIME) if name in ("start", "end") else made[name] for name in names_], names_)


def growth(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """By how much a counter grew from each sample to the next; a fall is a reset, after which it began at 0.

    >>> growth(np.array([10.0, 25.0, 4.0, 9.0])).tolist()
    [15.0, 4.0, 5.0]
    """
    steps = np.diff(values)
    return np.where(steps < 0, values[1:], steps)


def series(metrics: Metrics) -> dict[tuple[str, str], tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], str]]:
    """Each series' times (microseconds, 0 where none is told) and values in order of time, without blank ones."""
    found: dict[tuple[str, str], list[tuple[int, float]]] = {}
    kinds: dict[tuple[str, str], str] = {}
    columns = [metrics.table[name].to_pylist() for name in ("metric", "labels", "kind", "value")]
    times = metrics.table["time"].cast(pa.int64()).to_pylist()
    for metric, labels, kind, value, time in zip(*columns, times, strict=True):
        kinds.setdefault((metric, labels), kind)
        if value is not None and not np.isnan(value):
            found.setdefault((metric, labels), []).append((time or 0, value))
    out = {}
    for key, pairs in found.items():
        ordered = sorted(dict(pairs).items() if pairs[0][0] or len(pairs) == 1 else enumerate(one for _, one in pairs))
        out[key] = np.array([one[0] for one in ordered], np.int64), np.array([one[1] for one in ordered]), kinds[key]
    return out


def quantile(q: float, bounds: Iterable[float], counts: Iterable[float]) -> float:
    """A quantile of a cumulative histogram, linear within its bucket, as Prometheus' histogram_quantile has it.

    bounds: upper bounds with +Inf last; counts: cumulative. In the last bucket it is the greatest finite bound; NaN where
    nothing was counted.

    >>> round(quantile(0.5, [0.01, 0.05, float("inf")], [100, 2500, 4567]), 6)
    0.046392
    """
    if not 0 <= q <= 1:
        raise WorkbenchError(f"the quantile is {q}; wanted 0 to 1")
    pairs = sorted(zip(bounds, counts, strict=True))
    edges = np.array([one[0] for one in pairs], float)
    heaped = np.maximum.accumulate(np.array([one[1] for one in pairs], float)) if pairs else np.zeros(0)
    if not len(edges) or not np.isinf(edges[-1]) or heaped[-1] <= 0:
        return float("nan")
    rank = q * heaped[-1]
    place = int(np.searchsorted(heaped, rank))
    if place >= len(edges) - 1:
        return float(edges[-2]) if len(edges) > 1 else float("nan")
    low, before = (float(edges[place - 1]), float(heaped[place - 1])) if place else (min(0.0, float(edges[0])), 0.0)
    inside = heaped[place] - before
    return float(edges[place]) if inside <= 0 else float(low + (edges[place] - low) * (rank - before) / inside)
