"""OpenTelemetry's JSON lines (OTLP) as rows: one a span, a log record or a data point, attributes as JSON text."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from workbench.tables.intake_rows import Broken, lines_of
from workbench.tables.kinds import TIME
from workbench.tables.source import brief
from workbench.tables.usage_formats import _attributes, _value

COMMON = [("service", pa.string()), ("scope", pa.string()), ("attributes", pa.string()), ("resource", pa.string())]
SCHEMAS = {
    "spans": pa.schema([
        ("time", TIME), ("end_time", TIME), ("duration_s", pa.float64()), ("trace_id", pa.string()),
        ("span_id", pa.string()), ("parent_id", pa.string()), ("name", pa.string()), ("kind", pa.string()),
        ("status", pa.string()), ("status_message", pa.string()), *COMMON,
    ]),
    "logs": pa.schema([
        ("time", TIME), ("severity", pa.string()), ("severity_number", pa.int64()), ("body", pa.string()),
        ("trace_id", pa.string()), ("span_id", pa.string()), *COMMON,
    ]),
    "metrics": pa.schema([
        ("time", TIME), ("name", pa.string()), ("kind", pa.string()), ("unit", pa.string()), ("value", pa.float64()),
        ("count", pa.int64()), ("sum", pa.float64()), ("details", pa.string()), *COMMON,
    ]),
}  # fmt: skip
TOPS = {
    "spans": ("resourceSpans", "resource_spans"),
    "logs": ("resourceLogs", "resource_logs"),
    "metrics": ("resourceMetrics", "resource_metrics"),
}
KINDS = ("unspecified", "internal", "server", "client", "producer", "consumer")
STATUS = ("unset", "ok", "error")


def signal(head: bytes) -> str:
    """What the first bytes of a file carry: "spans", "logs", "metrics", or "" for other JSON."""
    start = head[:200].replace(b" ", b"")
    return next(
        (name for name, keys in TOPS.items() if start.startswith(tuple(b'{"%s":' % k.encode() for k in keys))), ""
    )


def parse(data: bytes, form: str) -> tuple[pa.Table, list[Broken]]:
    """The rows of a chunk, and the lines that are none."""
    tables: list[pa.Table] = []
    broken: list[Broken] = []
    for number, line in enumerate(lines_of(data)):
        if not line.strip():
            continue
        try:
            told = json.loads(line)
            top = next((told[key] for key in TOPS[form] if key in told), None)
            if top is None:
                raise ValueError(f"no {TOPS[form][0]}")
            tables.append(pa.Table.from_pylist(list(_rows(top, form)), SCHEMAS[form]))
        except (
            pa.ArrowException,
            ValueError,
            TypeError,
            KeyError,
            AttributeError,
            OverflowError,
            RecursionError,
        ) as error:
            broken.append(Broken(number, f"no OTLP {form}: {brief(error)}", line))
    return pa.concat_tables(tables) if tables else SCHEMAS[form].empty_table(), broken


def _rows(top: Any, form: str) -> Iterator[dict[str, Any]]:
    inner = {"spans": "spans", "logs": "logRecords", "metrics": "metrics"}[form]
    for resource in top:
        told = _attributes((resource.get("resource") or {}).get("attributes"))
        service = told.get("service.name")
        scopes = [resource.get(key) for key in ("scopeSpans", "scopeLogs", "scopeMetrics", "scope_spans", "scope_logs",
                                                "scope_metrics", "instrumentationLibrarySpans")]  # fmt: skip
        for scope in next((one for one in scopes if one), []):
            shared = {
                "service": None if service is None else str(service), "resource": _text(told),
                "scope": (scope.get("scope") or {}).get("name"),
            }  # fmt: skip
            for one in scope.get(inner) or scope.get({"logRecords": "log_records"}.get(inner, inner)) or []:
                if form == "spans":
                    yield _span(one) | shared
                elif form == "logs":
                    yield _log(one) | shared
                else:
                    yield from (point | shared for point in _points(one))


def _span(one: dict[str, Any]) -> dict[str, Any]:
    start, end = _get(one, "startTimeUnixNano"), _get(one, "endTimeUnixNano")
    status = one.get("status") or {}
    return {
        "time": _moment(start), "end_time": _moment(end),
        "duration_s": (int(end) - int(start)) / 1e9 if start and end else None,
        "trace_id": _get(one, "traceId"), "span_id": _get(one, "spanId"), "parent_id": _get(one, "parentSpanId") or None,
        "name": one.get("name"), "kind": _word(one.get("kind"), KINDS, "SPAN_KIND_"),
        "status": _word(status.get("code"), STATUS, "STATUS_CODE_"), "status_message": status.get("message"),
        "attributes": _text(_attributes(one.get("attributes"))),
    }  # fmt: skip


def _log(one: dict[str, Any]) -> dict[str, Any]:
    body = _value(one.get("body"))
    return {
        "time": _moment(_get(one, "timeUnixNano") or _get(one, "observedTimeUnixNano")),
        "severity": _get(one, "severityText"), "severity_number": _get(one, "severityNumber"),
        "body": body if body is None or isinstance(body, str) else _text(body),
        "trace_id": _get(one, "traceId"), "span_id": _get(one, "spanId"),
        "attributes": _text(_attributes(one.get("attributes"))),
    }  # fmt: skip


def _points(one: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for kind in ("gauge", "sum", "histogram", "exponentialHistogram", "summary"):
        for point in _get(one.get(kind) or {}, "dataPoints") or []:
            value = _get(point, "asDouble")
            value = _get(point, "asInt") if value is None else value
            count, total = point.get("count"), point.get("sum")
            rest = {key: point[key] for key in ("bucketCounts", "explicitBounds", "quantileValues", "min", "max",
                                                "scale", "positive", "negative") if key in point}  # fmt: skip
            yield {
                "time": _moment(_get(point, "timeUnixNano")), "name": one.get("name"), "kind": kind,
                "unit": one.get("unit") or None, "value": None if value is None else float(value),
                "count": None if count is None else int(count), "sum": None if total is None else float(total),
                "details": _text(rest), "attributes": _text(_attributes(point.get("attributes"))),
            }  # fmt: skip


def _get(one: dict[str, Any], name: str) -> Any:
    if name in one:
        return one[name]
    return one.get("".join(f"_{char.lower()}" if char.isupper() else char for char in name))


def _moment(nanoseconds: Any) -> Any:
    return None if nanoseconds in (None, "", 0, "0") else int(nanoseconds) // 1000


def _word(code: Any, words: tuple[str, ...], prefix: str) -> str | None:
    if isinstance(code, str) and not code.isdigit():
        return code.removeprefix(prefix).lower()
    return None if code is None or int(code) >= len(words) else words[int(code)]


def _text(told: Any) -> str | None:
    return json.dumps(told, ensure_ascii=False, default=str) if told else None
