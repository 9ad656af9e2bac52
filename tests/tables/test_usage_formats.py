"""The formats that tools write: OpenTelemetry spans, Langfuse, LiteLLM, MLflow, told apart and read into one schema."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.analyses.prices import price
from workbench.tables.usage import read_usage

NANO = 1_772_445_600_000_000_000  # 2026-03-02 10:00 UTC


def write(path, records):
    path.write_text("".join((one if isinstance(one, str) else json.dumps(one)) + "\n" for one in records))
    return path


def typed(attributes):
    kinds = {bool: "boolValue", int: "intValue", float: "doubleValue", str: "stringValue"}
    return [
        {"key": key, "value": {kinds[type(value)]: str(value) if type(value) is int else value}}
        for key, value in attributes.items()
    ]


def span(number, attributes, parent="", **more):
    times = {
        "startTimeUnixNano": str(NANO + number * 10**9),
        "endTimeUnixNano": str(NANO + number * 10**9 + 1_500_000_000),
    }
    return {
        "traceId": "t1",
        "spanId": f"s{number}",
        "parentSpanId": parent,
        "name": "chat",
        **times,
        "attributes": typed(attributes),
    } | more


def otlp(*spans, resource=None):
    scope = {"scope": {"name": "instrumentation"}, "spans": list(spans)}
    return {"resourceSpans": [{"resource": {"attributes": typed(resource or {})}, "scopeSpans": [scope]}]}


NEW = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.response.model": "gpt-5.4",
    "gen_ai.usage.input_tokens": 1_000,
    "gen_ai.usage.cache_read.input_tokens": 600,
    "gen_ai.usage.output_tokens": 200,
    "gen_ai.usage.reasoning.output_tokens": 150,
    "openai.response.service_tier": "default",
}
OLD = {
    "gen_ai.operation.name": "chat",
    "gen_ai.system": "anthropic",
    "gen_ai.request.model": "claude-sonnet-4-5",
    "gen_ai.usage.prompt_tokens": 1_000,
    "gen_ai.usage.cache_creation_input_tokens": 300,
    "gen_ai.usage.completion_tokens": 50,
}
TOKENS = ["input_tokens", "cached_input_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens"]


def counts(usage):
    return [tuple(one.values()) for one in usage.table.select(TOKENS).to_pylist()]


def reasons(usage):
    return [(one["row"], one["reason"], one["field"]) for one in usage.exceptions.to_pylist()]


def test_spans_with_old_and_new_names(tmp_path):
    records = [
        otlp(span(1, NEW), span(2, OLD | {"gen_ai.request.temperature": 0.5}), resource={"service.name": "shop"})
    ]
    usage = read_usage(write(tmp_path / "spans.jsonl", records))
    assert usage.format == "otel"
    assert counts(usage) == [(1_000, 600, 0, 200, 150), (1_000, 0, 300, 50, 0)]
    first, second = usage.table.to_pylist()
    assert (first["provider"], first["model"], first["tier"]) == ("openai", "gpt-5.4", "standard")
    assert (second["provider"], second["model"], second["project"]) == ("anthropic", "claude-sonnet-4-5", "shop")
    assert (first["time"].isoformat(), first["duration_s"]) == ("2026-03-02T10:00:01+00:00", 1.5)
    assert usage.unknown == {"gen_ai.request.temperature": 1}
    assert usage.units["span.start"] == "ns since 1970"
    assert usage.exceptions.num_rows == 0
    assert price(usage).unpriced == 0


def test_input_of_spans_includes_what_was_cached_and_never_counts_it_twice(tmp_path):
    priced = price(read_usage(write(tmp_path / "spans.jsonl", [otlp(span(1, NEW))])))
    assert priced.total == (400 * 2_500_000 + 600 * 250_000 + 200 * 15_000_000)


def test_a_stream_without_usage_a_rolled_up_agent_and_tools(tmp_path):
    agent = {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.usage.input_tokens": 1_000,
        "gen_ai.usage.output_tokens": 200,
    }
    lost = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-5.4", "gen_ai.system": "openai"}
    records = [
        otlp(
            span(1, agent), span(2, {"gen_ai.operation.name": "execute_tool"}, "s1"), span(3, NEW, "s2"), span(4, lost)
        ),
        otlp(span(5, {"http.route": "/"}), span(3, NEW, "s2")),
        '{"resourceSpans": [{"scopeSpans": [{"spa',
        otlp(span(6, {"gen_ai.operation.name": "embeddings", "gen_ai.usage.input_tokens": 7})),
    ]
    usage = read_usage(write(tmp_path / "spans.jsonl", records))
    assert reasons(usage) == [
        (1, "sum of other rows", "span"),
        (1, "usage missing", "input_tokens, output_tokens"),
        (2, "duplicate request id", "request_id"),
        (3, "unreadable", "row"),
    ]
    assert usage.table.column("request_id").to_pylist() == ["t1/s3", "t1/s6"]
    assert usage.table.column("output_tokens").to_pylist() == [200, 0]
    assert usage.checks["ignored: spans of tools and agents"] == 1
    assert usage.checks["ignored: spans of no model"] == 1
    assert usage.checks["rows conserved"]
    assert usage.checks["tokens conserved"]


def test_one_span_a_line_with_plain_attributes(tmp_path):
    one = {
        "name": "chat",
        "context": {"trace_id": "0x1", "span_id": "0x2"},
        "parent_id": None,
        "start_time": "2026-03-02T10:00:00.000000Z",
        "end_time": "2026-03-02T10:00:02.000000Z",
        "status": {"status_code": "ERROR"},
        "attributes": dict(NEW),
        "resource": {"attributes": {"service.name": "shop", "tenant.id": "blue"}},
    }
    usage = read_usage(write(tmp_path / "spans.jsonl", [one]))
    row = usage.table.to_pylist()[0]
    assert usage.format == "otel"
    assert (row["input_tokens"], row["status"], row["owner"], row["duration_s"]) == (1_000, "error", "blue", 2.0)


@pytest.mark.parametrize("prefix", ["attributes.", "", "SpanAttributes."])
@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_spans_whose_names_were_laid_flat(tmp_path, prefix, ending):
    row = {"trace_id": "1", "span_id": "2", "start_time": "2026-03-02T10:00:00Z", "end_time": "2026-03-02T10:00:02Z"}
    row |= {f"{prefix}{name}": value for name, value in (NEW | {"gen_ai.usage.output_tokens": 0}).items()}
    row |= {f"{prefix}gen_ai.usage.reasoning.output_tokens": 0, "resource.attributes.tenant.id": "blue"}
    path = tmp_path / f"spans.{ending}"
    if ending == "csv":
        path.write_text(",".join(row) + "\n" + ",".join(map(str, row.values())) + "\n")
    elif ending == "jsonl":
        write(path, [row])
    else:
        pq.write_table(pa.Table.from_pylist([row]), path)
    usage = read_usage(path)
    assert usage.format == "otel"
    assert counts(usage) == [(1_000, 600, 0, 0, 0)]
    (one,) = usage.table.to_pylist()
    assert (one["model"], one["owner"], one["duration_s"]) == ("gpt-5.4", "blue", 2.0)
    plain = path.with_name("plain.csv")
    plain.write_text("trace_id,span_id,model,input_tokens,output_tokens\n1,2,gpt-5.4,5,6\n")
    assert read_usage(plain).format == "table"
    assert counts(read_usage(plain)) == [(5, 0, 0, 6, 0)]


def test_counts_of_a_wrong_type_are_named(tmp_path):
    wrong = span(1, NEW)
    wrong["attributes"] = [
        *typed(NEW),
        {"key": "gen_ai.usage.output_tokens", "value": {"stringValue": "lots"}},
        "junk",
        {"key": 3},
    ]
    broken = {"resourceSpans": [None, {"scopeSpans": "none"}, {"scopeSpans": [{"spans": [7]}]}]}
    usage = read_usage(write(tmp_path / "spans.jsonl", [otlp(wrong), broken]))
    assert reasons(usage) == [(1, "wrong type", "gen_ai.usage.output_tokens")]


def test_langfuse_whose_classes_share_nothing(tmp_path):
    usage_details = {
        "input": 300,
        "input_cached_tokens": 700,
        "output": 50,
        "output_reasoning_tokens": 30,
        "total": 1_080,
    }
    one = {
        "id": "g1",
        "traceId": "t1",
        "type": "GENERATION",
        "startTime": "2026-03-02T10:00:00Z",
        "endTime": "2026-03-02T10:00:03Z",
        "completionStartTime": "2026-03-02T10:00:00.500Z",
        "model": "gpt-5.4",
        "usageDetails": usage_details,
        "costDetails": {"total": 0.00123},
        "level": "DEFAULT",
        "metadata": {"service_tier": "flex"},
    }
    whole = one | {
        "id": "g2",
        "usageDetails": {"input": 1_000, "input_cached_tokens": 700, "output": 80, "total": 1_080},
    }
    old = one | {"id": "g3", "usageDetails": None, "usage": {"input": 10, "output": 5, "total": 15, "unit": "TOKENS"}}
    letters = old | {"id": "g4", "usage": {"input": 10, "output": 5, "unit": "CHARACTERS"}}
    other = {"id": "s1", "traceId": "t1", "type": "SPAN", "startTime": "2026-03-02T10:00:00Z"}
    usage = read_usage(write(tmp_path / "export.jsonl", [one, whole, old, other, letters]))
    assert usage.format == "langfuse"
    assert counts(usage) == [(1_000, 700, 0, 80, 30), (1_000, 700, 0, 80, 0), (10, 0, 0, 5, 0)]
    first = usage.table.to_pylist()[0]
    assert (first["duration_s"], first["ttft_s"], first["tier"], first["billed_micro_usd"]) == (3.0, 0.5, "flex", 1_230)
    assert usage.checks["ignored: observations that are no generation"] == 1
    assert reasons(usage) == [(5, "wrong type", "langfuse.input")]
    assert usage.checks["tokens conserved"]
    (tmp_path / "export.json").write_text(
        json.dumps({"data": [{"id": "t1", "userId": "u", "observations": [one, other]}]})
    )
    nested = read_usage(tmp_path / "export.json")
    assert counts(nested) == [(1_000, 700, 0, 80, 30)]
    assert nested.table.column("owner").to_pylist() == ["u"]


def test_langfuse_without_usage_is_named_and_other_observations_are_no_requests(tmp_path):
    nothing = {"usage": {"input": 0, "output": 0, "total": 0, "unit": "TOKENS"}, "usageDetails": {}, "promptTokens": 0}
    one = {"id": "g", "type": "GENERATION", "model": "gpt-4o", "usagePricingTierName": "Large Context"} | nothing
    agent, flat_zero = one | {"id": "a", "type": "AGENT"}, one | {"id": "f", "usage": None, "promptTokens": "0"}
    openai = {
        "prompt_tokens": 9,
        "completion_tokens": 4,
        "total_tokens": 13,
        "prompt_tokens_details": {"cached_tokens": 5},
    }
    told = one | {"id": "o", "usageDetails": openai}
    spelled = one | {"id": "p", "usageDetails": "{'input': 7, 'output': 2, 'total': 9}"}
    usage = read_usage(
        write(tmp_path / "page.json", [{"data": [one, agent, flat_zero, told, spelled], "meta": {"page": 1}}])
    )
    assert counts(usage) == [(9, 5, 0, 4, 0), (7, 0, 0, 2, 0)]
    assert [one[1] for one in reasons(usage)] == ["usage missing"] * 2
    assert usage.table["tier"].to_pylist() == ["", ""]
    assert usage.checks["ignored: observations that are no generation"] == 1


def test_litellm_spend_logs_and_callbacks(tmp_path):
    log = {
        "request_id": "a",
        "call_type": "acompletion",
        "spend": 0.0021,
        "total_tokens": 1_050,
        "prompt_tokens": 1_000,
        "completion_tokens": 50,
        "startTime": "2026-03-02T10:00:00+00:00",
        "endTime": "2026-03-02T10:00:04+00:00",
        "completionStartTime": "2026-03-02T10:00:01+00:00",
        "model": "claude-sonnet-4-5",
        "custom_llm_provider": "anthropic",
        "team_id": "blue",
        "cache_hit": "False",
        "metadata": json.dumps({"usage_object": {"cache_read_input_tokens": 400, "cache_creation_input_tokens": 100}}),
        "status": "success",
    }
    hit = log | {"request_id": "b", "cache_hit": "True", "spend": 0}
    stream = log | {
        "request_id": "c",
        "prompt_tokens": 0,
        "completion_tokens": 0,
        "total_tokens": 0,
        "spend": 0,
        "metadata": "{}",
    }
    failed = stream | {"request_id": "d", "status": "failure"}
    payload = {"id": "e", "trace_id": "x", "call_type": "completion", "response_cost": 0.5, "model": "gpt-5.4"}
    payload |= {"custom_llm_provider": "openai", "prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
    payload |= {"startTime": 1_772_445_600.25, "endTime": 1_772_445_602.25, "response_time": 2.0, "status": "success"}
    usage = read_usage(write(tmp_path / "spend.jsonl", [log, hit, stream, failed, payload]))
    assert usage.format == "litellm"
    assert counts(usage) == [(1_000, 400, 100, 50, 0), (0, 0, 0, 0, 0), (10, 0, 0, 5, 0)]
    assert reasons(usage) == [
        (2, "answered from a gateway's cache", "cache_hit"),
        (3, "usage missing", "input_tokens, output_tokens"),
    ]
    first, _, last = usage.table.to_pylist()
    assert (first["owner"], first["billed_micro_usd"], first["duration_s"], first["ttft_s"]) == (
        "blue",
        2_100,
        4.0,
        1.0,
    )
    assert (last["billed_micro_usd"], last["duration_s"], last["status"]) == (500_000, 2.0, "success")
    assert usage.units["response_time"] == "s by start and end"
    header, *rows = [list(log), list(log.values())]
    (tmp_path / "spend.csv").write_text(
        "\n".join(",".join('"' + str(cell).replace('"', '""') + '"' for cell in line) for line in (header, *rows))
    )
    assert counts(read_usage(tmp_path / "spend.csv")) == [(1_000, 400, 100, 50, 0)]


def test_mlflow_traces(tmp_path):
    def mlspan(number, attributes, parent=None):
        return {
            "trace_id": "tr",
            "span_id": f"s{number}",
            "parent_span_id": parent,
            "name": "x",
            "start_time_unix_nano": NANO,
            "end_time_unix_nano": NANO + 10**9,
            "status": {"code": "STATUS_CODE_OK"},
            "attributes": {name: json.dumps(value) for name, value in attributes.items()},
        }

    call = {"mlflow.spanType": "CHAT_MODEL", "mlflow.llm.model": "gpt-5.4", "mlflow.llm.provider": "openai"}
    call["mlflow.chat.tokenUsage"] = {
        "input_tokens": 100,
        "output_tokens": 20,
        "total_tokens": 120,
        "cache_read_input_tokens": 40,
    }
    chain = {"mlflow.spanType": "CHAIN"}
    info = {"trace_id": "tr", "request_time": "2026-03-02T10:00:00Z", "state": "OK"}
    info["trace_metadata"] = {
        "mlflow.trace.tokenUsage": json.dumps({"input_tokens": 100, "output_tokens": 20}),
        "mlflow.trace.user": "u",
    }
    trace = {"info": info, "data": {"spans": [mlspan(1, chain), mlspan(2, call, "s1")]}}
    bare = {"info": info | {"trace_id": "tr2"}, "data": {"spans": []}}
    usage = read_usage(write(tmp_path / "traces.jsonl", [trace, bare]))
    assert usage.format == "mlflow"
    assert counts(usage) == [(100, 40, 0, 20, 0), (100, 0, 0, 20, 0)]
    first = usage.table.to_pylist()[0]
    assert (first["model"], first["owner"], first["request_id"], first["duration_s"]) == ("gpt-5.4", "u", "tr/s2", 1.0)
    assert usage.checks["ignored: spans of no model"] == 1
    found = {"trace_id": "tr", "trace": json.dumps(trace), "trace_metadata": info["trace_metadata"]}
    assert counts(read_usage(write(tmp_path / "found.jsonl", [found]))) == [(100, 40, 0, 20, 0)]


HOUR = {"cache_read_input_tokens": 1_800, "cache_creation_input_tokens": 248}
TIMES = {"ephemeral_5m_input_tokens": 148, "ephemeral_1h_input_tokens": 100}


@pytest.mark.parametrize(
    "record",
    [
        {"model": "claude-sonnet-4-5", "usage": {"input_tokens": 10, "output_tokens": 5, **HOUR, "cache_creation": TIMES}},
        {"custom_id": "x", "result": {"message": {"model": "claude-sonnet-4-5", "usage": {
            "input_tokens": 10, "output_tokens": 5, **HOUR, "cache_creation": TIMES}}}},
        {"call_type": "completion", "spend": 0, "model": "claude-sonnet-4-5", "prompt_tokens": 2_058, "completion_tokens": 5,
         "metadata": {"usage_object": {**HOUR, "prompt_tokens_details": {"cache_creation_token_details": TIMES}}}},
        {"id": "g", "type": "GENERATION", "model": "claude-sonnet-4-5", "usageDetails": {
            "input": 10, "output": 5, **HOUR, "input_cache_creation_5m": 148, "input_cache_creation_1h": 100}},
        otlp(span(1, {"gen_ai.provider.name": "anthropic", "gen_ai.request.model": "claude-sonnet-4-5",
                      "gen_ai.usage.input_tokens": 2_058, "gen_ai.usage.output_tokens": 5,
                      "gen_ai.usage.cache_read.input_tokens": 1_800, "gen_ai.usage.cache_creation.input_tokens": 248,
                      "gen_ai.usage.cache_creation.ephemeral_1h_input_tokens": 100})),
    ],
)  # fmt: skip
def test_an_hours_cache_writes_are_part_of_all_writes_and_counted_once(tmp_path, record):
    usage = read_usage(write(tmp_path / "log.jsonl", [record]))
    (row,) = usage.table.to_pylist()
    assert row["input_tokens"] == 2_058
    assert (row["cached_input_tokens"], row["cache_write_tokens"], row["cache_write_1h_tokens"]) == (1_800, 148, 100)
    assert usage.exceptions.column("reason").to_pylist() in ([], ["time missing"])
    assert usage.checks["tokens conserved"]


@pytest.mark.parametrize(
    "record",
    [
        {"model": "gemini-2.5-pro", "usageMetadata": {"promptTokenCount": None, "candidatesTokenCount": 5,
         "thoughtsTokenCount": 3, "cachedContentTokenCount": 7, "toolUsePromptTokenCount": 9}},
        {"id": "g", "type": "GENERATION", "model": "m", "usageDetails": {"input": [], "input_x": 4, "input_cached_tokens": 700}},
        {"id": "g", "type": "GENERATION", "model": "m\ud800", "usageDetails": {"input": "\ud800", "output": 1}},
    ],
)  # fmt: skip
def test_nothing_is_added_to_an_input_that_was_not_said(tmp_path, record):
    usage = read_usage(write(tmp_path / "log.jsonl", [record]))
    assert (usage.table.num_rows, usage.aside.num_rows) == (0, 1)
    assert usage.checks["tokens conserved"]
    assert usage.checks["rows conserved"]


def test_rules_that_names_or_rows_tell(tmp_path):
    google = "model,prompt_token_count,candidates_token_count,thoughts_token_count,tool_use_prompt_token_count\n"
    (tmp_path / "google.csv").write_text(google + "gemini-2.5-pro,1000,20,10,7\ngemini-2.5-pro,1000,20,30,0\n")
    assert counts(read_usage(tmp_path / "google.csv")) == [(1_007, 0, 0, 30, 10), (1_000, 0, 0, 50, 30)]
    head = "input_tokens,output_tokens,cache_read_input_tokens\n"
    (tmp_path / "claude.csv").write_text(head + "10,5,1000\n2000,5,1000\n")
    apart = read_usage(tmp_path / "claude.csv")
    assert counts(apart) == [(1_010, 1_000, 0, 5, 0), (3_000, 1_000, 0, 5, 0)]
    assert apart.units["input_tokens"] == "without cached tokens: 1 of 2 rows have more of them: added"
    (tmp_path / "within.csv").write_text(head + "1000,5,10\n2000,5,1000\n")
    assert counts(read_usage(tmp_path / "within.csv")) == [(1_000, 10, 0, 5, 0), (2_000, 1_000, 0, 5, 0)]
    line = {"custom_id": "r", "response": {"body": {"model": "gpt-4o", "service_tier": "default",
            "usage": {"prompt_tokens": 3, "completion_tokens": 1, "prompt_tokens_details": {"audio_tokens": 2}}}}}  # fmt: skip
    batch = read_usage(write(tmp_path / "batch.jsonl", [line]))
    assert batch.table["tier"].to_pylist() == ["batch"]
    assert [one[1] for one in reasons(batch)] == ["audio priced as text"]


NAMES = st.sampled_from(
    [
        "resourceSpans",
        "scopeSpans",
        "spans",
        "attributes",
        "key",
        "value",
        "intValue",
        "usage",
        "usageDetails",
        "info",
        "data",
        "metadata",
        "observations",
        "traceId",
        "spanId",
        "gen_ai.usage.input_tokens",
        "status",
        "context",
        "type",
    ]
)
HOSTILE = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 10**6) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize("form", ["otel", "langfuse", "litellm", "mlflow"])
@settings(max_examples=25)
@given(st.lists(st.dictionaries(NAMES, HOSTILE, max_size=5), min_size=1, max_size=3))
def test_nothing_hostile_breaks_a_reader_or_loses_a_row(tmp_path_factory, form, records):
    usage = read_usage(write(tmp_path_factory.mktemp("hostile") / "log.jsonl", records), form)
    assert usage.checks["rows conserved"]
    assert usage.checks["tokens conserved"]


def test_traces_as_json_text_in_rows_of_a_search(tmp_path):
    told = {"mlflow.spanType": '"LLM"', "mlflow.chat.tokenUsage": '{"input_tokens": 9, "output_tokens": 3}'}
    one = {"span_id": "1", "start_time_unix_nano": NANO, "end_time_unix_nano": NANO + 10**9, "attributes": told}
    trace = json.dumps({"info": {"trace_id": "t", "trace_metadata": {}}, "data": {"spans": [one]}})
    usage = read_usage(write(tmp_path / "found.jsonl", [{"trace_id": "t", "trace": trace, "state": "OK"}]))
    assert usage.format == "mlflow"
    assert usage.table.select(["input_tokens", "output_tokens"]).to_pylist() == [
        {"input_tokens": 9, "output_tokens": 3}
    ]


@pytest.mark.parametrize(
    ("answer", "counts"),
    [
        (
            {"model": "gpt-5.4", "usage": {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120,
             "prompt_tokens_details": {"cached_tokens": 64}, "completion_tokens_details": {"reasoning_tokens": 3}}},
            (100, 64, 0, 20, 3),
        ),
        (
            {"model": "claude-sonnet-4-5", "usage": {"input_tokens": 50, "cache_creation_input_tokens": 5,
             "cache_read_input_tokens": 30, "output_tokens": 7}},
            (85, 30, 5, 7, 0),
        ),
        (
            {"modelVersion": "gemini-2.5-pro", "usageMetadata": {"promptTokenCount": 100, "candidatesTokenCount": 20,
             "thoughtsTokenCount": 30, "cachedContentTokenCount": 40, "totalTokenCount": 150}},
            (100, 40, 0, 50, 30),
        ),
    ],
)  # fmt: skip
@pytest.mark.parametrize("wrapped", [False, True])
def test_answers_of_apis_each_by_its_own_rule(tmp_path, answer, counts, wrapped):
    usage = read_usage(write(tmp_path / "log.jsonl", [{"response": answer} if wrapped else answer]))
    names = ("input_tokens", "cached_input_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens")
    (row,) = usage.table.select([*names, "model"]).to_pylist()
    assert tuple(row[name] for name in names) == counts
    assert row["model"] == answer.get("model", answer.get("modelVersion"))
    assert usage.checks["tokens conserved"]
