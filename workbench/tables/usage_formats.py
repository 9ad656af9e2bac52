"""What known formats nest, laid flat: OpenTelemetry spans, Langfuse observations, LiteLLM's logs, MLflow's traces.

Each function takes records (file, row, object) and gives flat rows with names that `usage_aliases.toml` knows. A span that
repeats the tokens of spans below it is set aside; what is no request of a model is counted by kind.
"""

from __future__ import annotations

import ast
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from workbench.tables.usage_named import Raw
from workbench.tables.usage_records import Record, columns, flat, tables

FORMATS = ("otel", "langfuse", "litellm", "mlflow", "vllm", "table")
CALLS = ("chat", "text_completion", "generate_content", "embeddings", "embedding", "completion", "rerank", "responses")
NO_CALLS = (
    "execute_tool",
    "create_agent",
    "invoke_agent",
    "invoke_workflow",
    "retrieval",
    "tool",
    "agent",
    "workflow",
    "task",
)
TOKENS = re.compile(r"(usage|token_count).*(tok|prompt|completion)|^usage\.", re.IGNORECASE)
FLAT = re.compile(r"((span_?)?attributes\.)?(?=(gen_ai|llm|ai\.usage)\.)", re.IGNORECASE)  # attributes laid flat
SHARED = re.compile(r"resource(_?attributes|\.attributes)?\.", re.IGNORECASE)
MODELS = ("CHAT_MODEL", "LLM", "EMBEDDING", "RERANKER")


def detect(names: Iterable[str]) -> str:
    """The format of records by the names in them (flat, of a few records).

    >>> detect(["resourceSpans"]), detect(["request_id", "call_type", "spend"]), detect(["ContextTokens"])
    ('otel', 'litellm', 'table')
    """
    have = set(names)
    roots = {name.split(".")[0].lower().replace("_", "") for name in have}
    if {"data.resultType", "data.result", "errorType"} & have or "metric.__name__" in have:
        return "vllm"
    if roots & {"resourcespans", "scopespans", "spans"} and not roots & {"tracemetadata", "requestmetadata", "traceid"}:
        return "otel"
    if (
        {"info", "data"} <= roots
        or roots & {"tracemetadata", "requestmetadata"}
        or any("mlflow." in one for one in have)
    ):
        return "mlflow"
    if roots & {"usagedetails", "calculatedtotalcost", "observations", "parentobservationid"}:
        return "langfuse"
    if (
        roots & {"customllmprovider", "litellmcallid"}
        or {"calltype", "spend"} <= roots
        or "standardloggingobject" in roots
    ):
        return "litellm"
    if "trace" in roots and roots & {"traceid", "requestid", "clientrequestid"}:
        return "mlflow"  # rows of search_traces, the trace itself as JSON text
    if any(FLAT.match(one) for one in have) or (
        {"traceid", "spanid"} <= roots and roots & {"attributes", "spanattributes"}
    ):
        return "otel"
    return "table"


def raw_of(records: Sequence[Record], form: str, broken: list[dict[str, Any]]) -> Raw:
    """The rows of a format as columns."""
    if form == "table":
        rows = [(label, number, flat(one) | _batch(one), "", "") for label, number, one in records]
        return _raw(rows, broken, Counter(), None)
    ignored: Counter[str] = Counter()
    reader = {"otel": _otel, "langfuse": _langfuse, "litellm": _litellm, "mlflow": _mlflow}[form]
    rows = list(reader(records, ignored))
    return _raw(rows, broken, ignored, form != "langfuse")


def _batch(record: dict[str, Any]) -> dict[str, str]:
    """The tier of a line of a batch's results, as OpenAI writes them: the answer itself does not say it."""
    return {"tier": "batch"} if "custom_id" in record and isinstance(_get(record, "response"), dict) else {}


Row = tuple[str, int, dict[str, Any], str, str]  # file, row, flat names, key of the span, key of the span above it


def _raw(rows: Sequence[Row], broken: list[dict[str, Any]], ignored: Counter[str], inclusive: bool | None) -> Raw:
    made = Raw(
        columns([one[2] for one in rows]),
        pa.array([one[0] for one in rows], pa.string()),
        pa.array([one[1] for one in rows], pa.int64()),
        broken,
        dict(ignored),
        inclusive=inclusive,
    )
    above = dict(ignored.pop("\0parents")) if "\0parents" in ignored else {}  # type: ignore[call-overload]
    made.ignored.pop("\0parents", None)
    sums = _sums(rows, above)
    if sums.any():
        made.aside.append((sums, "sum of other rows", "span", ""))
    cached = np.array([str(one[2].get("cache_hit")).lower() == "true" for one in rows], bool)
    if cached.any():
        made.aside.append((cached, "answered from a gateway's cache", "cache_hit", "true"))
    return made


def _sums(rows: Sequence[Row], above: dict[str, str]) -> Any:
    """Rows with tokens that have a row with tokens somewhere below them."""
    filled = [any(TOKENS.search(name) and value is not None for name, value in one[2].items()) for one in rows]
    parent = above | {one[3]: one[4] for one in rows if one[3]}
    ancestors: set[str] = set()
    for one, full in zip(rows, filled, strict=True):
        at = one[4] if full else ""
        while at and at not in ancestors:
            ancestors.add(at)
            at = parent.get(at, "")
    return np.array([full and one[3] in ancestors for one, full in zip(rows, filled, strict=True)], bool)


def _get(record: Any, *names: str) -> Any:
    """The first of several names that a record has, or None."""
    if isinstance(record, dict):
        for name in names:
            if record.get(name) is not None:
                return record[name]
    return None


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _value(value: Any) -> Any:
    """A typed attribute value of OTLP as a plain one."""
    if not isinstance(value, dict) or len(value) != 1:
        return value
    ((kind, inner),) = value.items()
    if kind in ("intValue", "int_value"):
        return int(inner) if isinstance(inner, str) and re.fullmatch(r"[+-]?\d{1,18}", inner) else inner
    if kind in ("arrayValue", "array_value"):
        return [_value(one) for one in _list(_get(inner, "values"))]
    if kind in ("kvlistValue", "kvlist_value"):
        return _attributes(_get(inner, "values"))
    return inner if kind.endswith(("Value", "_value")) else value


def _attributes(given: Any) -> dict[str, Any]:
    if isinstance(given, dict):
        return {name: _value(value) for name, value in given.items()}
    return {str(one["key"]): _value(one.get("value")) for one in _list(given) if isinstance(one, dict) and "key" in one}


def _spans(record: dict[str, Any]) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Spans with the attributes of their resource: OTLP's nesting, or one span an object."""
    resources = _get(record, "resourceSpans", "resource_spans")
    if resources is None and _get(record, "scopeSpans", "scope_spans", "spans") is not None:
        resources = [record]
    if resources is None:
        shared = _get(record, "ResourceAttributes") or _get(_get(record, "resource"), "attributes")
        yield (
            record,
            _attributes(shared)
            | {SHARED.sub("", name, count=1): value for name, value in record.items() if SHARED.match(name)},
        )
        return
    for resource in _list(resources):
        shared = _attributes(_get(_get(resource, "resource"), "attributes"))
        scopes = _get(resource, "scopeSpans", "scope_spans", "instrumentationLibrarySpans") or [resource]
        for scope in _list(scopes):
            for span in _list(_get(scope, "spans")):
                if isinstance(span, dict):
                    yield span, shared


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, str) and re.fullmatch(r"\d{1,19}", value) else value


TRACE = ("traceId", "trace_id", "context.trace_id", "TraceId")
SPAN = ("spanId", "span_id", "context.span_id", "SpanId")
STATUS = ("status_code", "status.code", "statusCode", "StatusCode")
STARTS = ("startTimeUnixNano", "start_time_unix_nano", "start_time", "startTime", "Timestamp", "timestamp", "time")
ENDS = ("endTimeUnixNano", "end_time_unix_nano", "end_time", "endTime")
NAMED = ("gen_ai.request.model", "gen_ai.response.model", "llm.model_name", "ai.model.id")


def _flattened(span: dict[str, Any]) -> dict[str, Any]:
    """The attributes of a span whose names were laid flat, as tables of spans have them."""
    return {
        re.sub(r"^(span_?)?attributes\.", "", name, flags=re.IGNORECASE): value
        for name, value in span.items()
        if not isinstance(value, dict | list)
        and name not in (*TRACE, *SPAN, *STATUS, *STARTS, *ENDS)
        and not SHARED.match(name)
    }


def _otel(records: Sequence[Record], ignored: Counter[str]) -> Iterator[Row]:
    above: dict[str, str] = {}
    ignored["\0parents"] = above  # type: ignore[assignment]
    for label, number, record in records:
        for span, shared in _spans(record):
            context = _get(span, "context") or {}
            trace = str(_get(span, *TRACE) or _get(context, *TRACE) or "")
            own = str(_get(span, *SPAN) or _get(context, *SPAN) or "")
            parent = str(_get(span, "parentSpanId", "parent_span_id", "parent_id", "ParentSpanId") or "")
            key, up = (f"{trace}/{own}" if own else ""), (f"{trace}/{parent}" if parent.strip("0") else "")
            above[key] = up
            told = _get(span, "attributes", "SpanAttributes")
            row = shared | (flat(_attributes(told)) if told is not None else _flattened(span))
            operation = str(_get(row, "gen_ai.operation.name", "llm.request.type") or "").lower()
            used = any(TOKENS.search(name) and value is not None for name, value in row.items())
            model = any(_get(row, name) for name in NAMED)
            if not used and not (operation in CALLS or (model and operation not in NO_CALLS)):
                ignored["spans of tools and agents" if operation else "spans of no model"] += 1
                continue
            code = _get(_get(span, "status"), "code", "status_code") or _get(span, *STATUS)
            row |= {
                "span.key": key or None,
                "span.start": _whole(_get(span, *STARTS)),
                "span.end": _whole(_get(span, *ENDS)),
                "span.status": "error" if str(code).upper() in ("2", "ERROR", "STATUS_CODE_ERROR") else "ok",
            }
            yield label, number, row, key, up


def _parsed(value: Any) -> Any:
    """Text that holds a JSON object or list (or Python's spelling of it), as that; anything else as it is."""
    if isinstance(value, str) and value.strip()[:1] in ("{", "["):
        for read in (json.loads, ast.literal_eval):
            try:
                return read(value.strip())
            except (ValueError, SyntaxError, RecursionError, MemoryError):
                continue
    return value


NOUGHT = ("", "None", "0", "0.0")
CLASSES = (
    (r"total", "total"),
    (r"reasoning|thinking|thoughts", "reasoning"),
    (r"cach.*(creation|write).*1h|1h.*cach.*(creation|write)|ephemeral_1h", "write_1h"),
    (r"cach.*(creation|write)|ephemeral_5m", "write"),
    (r"cach", "cached"),
    (r"^(input|prompt)|_input|input_", "input"),
    (r"^(output|completion|accepted_prediction|rejected_prediction)|_output|output_", "output"),
)


def _langfuse(records: Sequence[Record], ignored: Counter[str]) -> Iterator[Row]:
    for label, number, record in records:
        inner = _parsed(record.get("observations"))
        if inner is not None:
            found = [one for one in _list(inner) if isinstance(one, dict)]
            if not found:
                ignored["traces without observations"] += 1
            shared = {f"trace.{name}": value for name, value in record.items() if not isinstance(value, dict | list)}
        for one in [record] if inner is None else found:
            one = {name: _parsed(value) for name, value in one.items()}
            row = flat({name: value for name, value in one.items() if name not in ("input", "output")})
            details = _get(one, "usageDetails", "usage_details")
            usage = _get(one, "usage")
            told = flat(details if isinstance(details, dict) and details else usage if isinstance(usage, dict) else {})
            if not told:
                names = {"input": ("promptTokens", "inputTokens"), "output": ("completionTokens", "outputTokens")}
                told = {key: _get(one, *old, *(_snake(name) for name in old)) for key, old in names.items()}
                told["total"] = _get(one, "totalTokens", "total_tokens")
            row = {
                name: value for name, value in row.items() if not re.match(r"usage(_?details)?\.", name, re.IGNORECASE)
            }
            if all(str(value) in NOUGHT for key, value in told.items() if key != "unit"):
                told = {}  # what Langfuse writes where nobody told it the usage
            row |= _by_class(told, row)
            unit = str(_get(usage, "unit") or "TOKENS").upper()
            kind = str(one.get("type") or "GENERATION").upper()
            if kind not in ("GENERATION", "EMBEDDING") and not any(name.startswith("langfuse.") for name in row):
                ignored["observations that are no generation"] += 1
                continue
            if unit != "TOKENS":
                row["langfuse.input"] = f"{row.get('langfuse.input')} {unit}"
            costs = _get(one, "costDetails", "cost_details")
            row["langfuse.cost"] = _get(costs, "total") if isinstance(costs, dict) else None
            row["level"] = "error" if str(one.get("level")).upper() == "ERROR" else one.get("level")
            key, up = (
                str(_get(one, *names) or "") for names in (("id",), ("parentObservationId", "parent_observation_id"))
            )
            yield label, number, (shared | row if inner is not None else row), key, up


def _snake(name: str) -> str:
    return re.sub(r"([A-Z])", r"_\1", name).lower()


def _by_class(told: dict[str, Any], row: dict[str, Any]) -> dict[str, Any]:
    """Langfuse's usage details by class; keys share nothing. A value that is no number is left for the reader to name."""
    out: dict[str, Any] = {}
    timed = [one for key, one in told.items() if re.search(r"(5m|1h)", key.lower()) and isinstance(one, int | float)]
    for key, value in told.items():
        last = key.lower().rpartition(".")[2]
        name = next((one for pattern, one in CLASSES if re.search(pattern, last)), None)
        if value is None or key == "unit" or re.search("cost", key, re.IGNORECASE):
            continue
        if name == "write" and "5m" not in last and value == sum(timed) and timed:
            continue  # both times of writing together, which stand beside it
        if name is None:
            row[f"usageDetails.{key}"] = value
            continue
        if "audio" in last:
            row["langfuse.audio"] = row.get("langfuse.audio") or value
        before = out.get(f"langfuse.{name}")
        numbers = [isinstance(one, int | float) and not isinstance(one, bool) for one in (before, value)]
        wrong = value if numbers[0] else before  # is kept, for the reader to name
        out[f"langfuse.{name}"] = value if before is None else before + value if all(numbers) else wrong
    return out


def _litellm(records: Sequence[Record], ignored: Counter[str]) -> Iterator[Row]:
    for label, number, record in records:
        inner = _parsed(_get(record, "standard_logging_object", "standard_logging_payload"))
        one = {name: _parsed(value) for name, value in (inner if isinstance(inner, dict) else record).items()}
        row = flat({name: value for name, value in one.items() if name not in ("messages", "proxy_server_request")})
        failed = str(one.get("status") or "").lower() in ("failure", "error", "failed")
        names = ("prompt_tokens", "completion_tokens", "total_tokens")
        if (
            not failed
            and str(one.get("cache_hit")).lower() != "true"
            and all(row.get(name) in (0, "0", None) for name in names)
        ):
            row |= dict.fromkeys(names)  # what LiteLLM writes for a stream without usage
        yield label, number, row, "", ""


def _mlflow(records: Sequence[Record], ignored: Counter[str]) -> Iterator[Row]:
    for label, number, record in records:
        whole = _parsed(_get(record, "trace"))
        one = whole if isinstance(whole, dict) else record
        info = _get(one, "info") or record
        meta = _parsed(_get(info, "trace_metadata", "request_metadata")) or {}
        shared = {name: _parsed(value) for name, value in meta.items()} if isinstance(meta, dict) else {}
        trace = str(_get(info, "trace_id", "request_id") or "")
        spans = _parsed(_get(_parsed(_get(one, "data")), "spans")) or _parsed(_get(record, "spans"))
        total = shared.pop("mlflow.trace.tokenUsage", None)
        shared = {name: value for name, value in shared.items() if not isinstance(value, dict | list)}
        seen = 0
        for span in (each for each in _list(spans) if isinstance(each, dict)):
            made = _mlflow_span(span, shared, trace)
            if made is None:
                ignored["spans of no model"] += 1
                continue
            seen += any(name.startswith("usage.") for name in made[0])
            yield (label, number, *made)
        if not seen and isinstance(total, dict):
            row = shared | {f"usage.{name}": value for name, value in total.items()}
            row |= {"span.key": trace or None, "span.start": _get(info, "request_time", "timestamp_ms")}
            row["span.status"] = "ok" if str(_get(info, "state", "status")).upper() == "OK" else "error"
            yield label, number, row, trace, ""


def _mlflow_span(span: dict[str, Any], shared: dict[str, Any], trace: str) -> tuple[dict[str, Any], str, str] | None:
    attributes = {name: _unquoted(value) for name, value in _attributes(_get(span, "attributes")).items()}
    usage = attributes.pop("mlflow.chat.tokenUsage", None)
    kind = str(attributes.pop("mlflow.spanType", _get(span, "span_type") or "")).upper()
    said = [attributes.pop(name, None) for name in ("mlflow.spanOutputs", "mlflow.spanInputs")]
    for name in ("mlflow.chat.messages", "mlflow.chat.tools"):
        attributes.pop(name, None)
    models = [_get(each, "model") for each in said]
    row = shared | flat(attributes) | {"span.model": next((one for one in models if isinstance(one, str)), None)}
    if isinstance(usage, dict):
        row |= {f"usage.{name}": value for name, value in usage.items()}
    if kind not in MODELS and not any(TOKENS.search(name) for name in row):
        return None
    context = _get(span, "context") or {}
    own = str(_get(span, "span_id", "spanId") or _get(context, "span_id") or "")
    parent = str(_get(span, "parent_span_id", "parent_id", "parentSpanId") or "")
    code = _get(_get(span, "status"), "code", "status_code") or _get(span, "status_code")
    row |= {
        "mlflow.span_type": kind.lower(),
        "span.key": f"{trace}/{own}" if own else None,
        "span.start": _whole(_get(span, "start_time_unix_nano", "start_time", "start_time_ns")),
        "span.end": _whole(_get(span, "end_time_unix_nano", "end_time", "end_time_ns")),
        "span.status": "error" if "ERROR" in str(code).upper() else "ok",
    }
    return row, f"{trace}/{own}" if own else "", f"{trace}/{parent}" if parent else ""


def _unquoted(value: Any) -> Any:
    """MLflow writes each attribute as JSON text, also words and numbers."""
    if isinstance(value, str):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


def as_records(raw: Raw) -> list[Record]:
    """Columns as records again, for a known format that came as CSV or Parquet; dotted names stay flat."""
    lists = {name: values.to_pylist() for name, values in raw.columns.items()}
    where = zip(raw.source.to_pylist(), raw.row.to_pylist(), strict=True)
    return [
        (label, number, {name: _filled(_parsed(values[place])) for name, values in lists.items()})
        for place, (label, number) in enumerate(where)
    ]


def _filled(value: Any) -> Any:
    return None if isinstance(value, str | dict | list) and not value else value


__all__ = ["FORMATS", "as_records", "detect", "raw_of", "tables"]
