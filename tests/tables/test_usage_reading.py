"""Plain tables of usage: names by alias, units by evidence, every wrong row named, nothing lost."""

import json

import deltalake
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.analyses.prices import price, without_cache
from workbench.errors import WorkbenchError
from workbench.tables.usage import REASONS, USAGE, read_usage
from workbench.tables.usage_records import seen


def write(path, rows):
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def reasons(usage):
    return [(one["row"], one["reason"], one["field"]) for one in usage.exceptions.to_pylist()]


def row(number, **more):
    return {
        "request_id": f"r{number}",
        "time": 1_772_445_600 + number,
        "model": "m",
        "input_tokens": 10,
        "output_tokens": 2,
    } | more


def test_each_thing_that_is_wrong_is_a_named_row_and_none_is_lost(tmp_path):
    rows = [
        row(1),
        row(2) | {"input_tokens": None, "output_tokens": None},  # a stream without usage
        row(3, input_tokens=-5),
        row(1),  # a duplicated request id
        row(5, time=1_772_445_600 + 90_000),  # a clock that jumps
        row(6, currency="EUR", cost_usd=3),
        row(7, cached_input_tokens=11),
        row(8, output_tokens="many"),
        '{"request_id": "r9", "input_tok',  # a truncated line
        row(10, reasoning_tokens=3),
        row(11, time=None),
        row(12, time="soon"),
        row(13, cost_usd=0.25),
    ]
    usage = read_usage(write(tmp_path / "log.jsonl", rows))
    assert reasons(usage) == [
        (2, "usage missing", "input_tokens, output_tokens"),
        (3, "negative count", "input_tokens"),
        (4, "duplicate request id", "request_id"),
        (5, "clock jump", "time"),
        (6, "other currency", "currency"),
        (7, "cached exceeds input", "cached_input_tokens"),
        (8, "wrong type", "output_tokens"),
        (9, "unreadable", "row"),
        (10, "reasoning exceeds output", "reasoning_tokens"),
        (11, "time missing", "time"),
        (12, "wrong type", "time"),
    ]
    assert usage.table.column("request_id").to_pylist() == ["r1", "r5", "r6", "r11", "r13"]
    assert usage.table.column("billed_micro_usd").to_pylist() == [None, None, None, None, 250_000]
    assert set(usage.aside.column("request_id").to_pylist()) == {"r1", "r2", "r3", "r7", "r8", "r10", "r12"}
    assert (
        usage.checks["rows in"] == 13 == usage.table.num_rows + usage.aside.num_rows + usage.checks["rows unreadable"]
    )
    assert usage.checks["rows conserved"]
    assert usage.checks["tokens conserved"]
    assert usage.exceptions.column("value").to_pylist()[1] == "-5"


def test_an_amount_that_no_number_of_microdollars_holds_is_named(tmp_path):
    rows = [row(0, cost_usd=2.5), row(1, cost_usd=1.8e302), row(2, cost_usd=-5e12), row(3, cost_usd=4.6e12)]
    usage = read_usage(write(tmp_path / "log.jsonl", rows))
    assert reasons(usage) == [(2, "wrong type", "cost_usd"), (3, "wrong type", "cost_usd")]


def test_an_unknown_model_is_named_when_it_is_priced(tmp_path):
    priced = price(read_usage(write(tmp_path / "log.jsonl", [row(1), row(2, model="o3")])))
    assert (priced.unpriced, priced.exceptions.column("reason").to_pylist()) == (1, ["unknown model"])
    assert priced.exceptions.column("row").to_pylist() == [1]


def test_the_traces_of_azure_cost_what_was_published(shared):
    agreed = [{"model": "*", "input": "2.50", "output": "10"}]
    for name, dollars in (("conv", "96.791325"), ("code", "47.608895")):
        usage = read_usage(shared / "azure_llm_2023" / f"AzureLLMInferenceTrace_{name}.parquet")
        assert str(price(usage, contract=agreed).dollars) == dollars
        assert usage.exceptions.num_rows == 0
        assert usage.unknown == {}


def test_the_rounds_of_tracelab_cost_what_was_published(shared):
    usage = read_usage(shared / "tracelab_sample" / "round_trace.jsonl")
    claude = usage.table.filter(pa.compute.equal(usage.table["provider"], "claude"))
    assert str(price(claude).dollars) == "0.5795915"
    assert str(price(without_cache(claude)).dollars) == "2.32654"
    assert pa.compute.sum(claude["input_tokens"]).as_py() == 3_039 + 21_086 + 394_068
    assert usage.table.num_rows == 19
    assert usage.exceptions.num_rows == 0
    assert usage.unknown["turn_id"] == 9


def test_the_example_table_is_read_whole(tmp_path):
    from workbench.examples import requests

    requests(tmp_path / "requests.parquet", rows=2_000)
    usage = read_usage(tmp_path / "requests.parquet")
    assert usage.table.num_rows == 2_000
    assert usage.exceptions.num_rows == 0
    assert usage.units["latency_s"] == "s by its name"
    assert set(usage.table.column("owner").unique().to_pylist()) >= {"tenant-01", "tenant-20"}
    assert "gpu_seconds" in usage.unknown


@pytest.mark.parametrize("ending", ["jsonl", "json", "csv", "tsv", "parquet", "jsonl.gz"])
def test_all_formats_say_the_same(tmp_path, ending):
    import gzip

    rows = [row(number, latency_ms=number * 10, tenant="a") for number in range(1, 4)]
    path = tmp_path / f"log.{ending}"
    if ending == "json":
        path.write_text(json.dumps(rows, indent=1))
    elif ending == "jsonl.gz":
        path.write_bytes(gzip.compress("\n".join(map(json.dumps, rows)).encode()))
    elif ending == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif ending == "jsonl":
        write(path, rows)
    else:
        mark = "," if ending == "csv" else "\t"
        path.write_text("\n".join([mark.join(rows[0]), *(mark.join(map(str, one.values())) for one in rows)]))
    usage = read_usage(path)
    assert usage.table.schema == USAGE
    assert usage.table.column("duration_s").to_pylist() == pytest.approx([0.01, 0.02, 0.03])
    assert usage.table.column("row").to_pylist() == [1, 2, 3]
    assert usage.table.column("time")[0].as_py().isoformat() == "2026-03-02T10:00:01+00:00"
    assert usage.exceptions.num_rows == 0


def test_a_row_of_a_wrong_length_is_an_exception_with_its_number(tmp_path):
    (tmp_path / "log.csv").write_text('model,input_tokens,output_tokens\na,1,2\nb,1\n"c,d",3,4\ne,5,6,7\n')
    usage = read_usage(tmp_path / "log.csv")
    assert reasons(usage) == [(2, "unreadable", "row"), (4, "unreadable", "row")]
    assert usage.table.select(["model", "row"]).to_pylist() == [{"model": "a", "row": 1}, {"model": "c,d", "row": 3}]


def test_units_are_told_by_name_by_the_times_or_not_at_all(tmp_path):
    start = {"input_tokens": 1, "output_tokens": 1, "start_time": "2026-03-02T10:00:00Z"}
    told = write(tmp_path / "a.jsonl", [start | {"end_time": "2026-03-02T10:00:02Z", "latency": 2_000}])
    usage = read_usage(told)
    assert usage.table.column("duration_s").to_pylist() == [2.0]
    assert usage.units["latency"] == "ms by start and end"
    wrong = write(tmp_path / "b.jsonl", [start | {"end_time": "2026-03-02T10:00:02Z", "latency_ms": 2.0}])
    assert read_usage(wrong).table.column("duration_s").to_pylist() == [2.0]
    assert read_usage(wrong).units["latency_ms"].startswith("ms by its name, but s by start and end")
    silent = write(tmp_path / "c.jsonl", [start | {"latency": 2_000, "cost": 7}])
    usage = read_usage(silent)
    assert usage.table.column("duration_s").to_pylist() == [None]
    assert usage.table.column("billed_micro_usd").to_pylist() == [None]
    assert usage.unknown == {"latency": 1, "cost": 1}
    usage = read_usage(silent, units={"latency": "ms", "cost": "cents"})
    assert usage.table.select(["duration_s", "billed_micro_usd"]).to_pylist() == [
        {"duration_s": 2.0, "billed_micro_usd": 70_000}
    ]
    micro = write(tmp_path / "d.jsonl", [start | {"cost_micro_usd": 1_250}, start | {"cost_micro_usd": 3}])
    assert read_usage(micro).table.column("billed_micro_usd").to_pylist() == [1_250, 3]


def test_input_that_leaves_out_the_cache_is_completed_where_totals_say_so(tmp_path):
    rows = [row(1, input_tokens=10, cache_read_input_tokens=90, output_tokens=5, total_tokens=105)]
    usage = read_usage(write(tmp_path / "a.jsonl", rows))
    assert usage.table.column("input_tokens").to_pylist() == [100]
    assert usage.units["input_tokens"] == "without cached tokens, by the totals of 1 rows: added"
    assert (usage.checks["tokens added"], usage.checks["tokens conserved"]) == (90, True)
    rows = [row(1, input_tokens=100, cache_read_input_tokens=90, output_tokens=5, total_tokens=105)]
    assert read_usage(write(tmp_path / "b.jsonl", rows)).table.column("input_tokens").to_pylist() == [100]
    rows = [row(1, input_tokens=100, output_tokens=5, total_tokens=999)]
    assert reasons(read_usage(write(tmp_path / "c.jsonl", rows))) == [(1, "total differs", "total_tokens")]


def test_what_is_not_usage_is_refused_in_a_sentence(tmp_path):
    (tmp_path / "a.csv").write_text("day,km\n1,2\n")
    with pytest.raises(WorkbenchError, match="no column holds input tokens; there are 'day', 'km'"):
        read_usage(tmp_path / "a.csv")
    with pytest.raises(WorkbenchError, match="did you mean 'langfuse'"):
        read_usage(tmp_path / "a.csv", format="langfuze")
    with pytest.raises(WorkbenchError, match="does not exist"):
        read_usage(tmp_path / "b.csv")
    good = write(tmp_path / "c.jsonl", [row(1)])
    with pytest.raises(WorkbenchError, match="units names the column 'latency'"):
        read_usage(good, units={"latency": "ms"})
    with pytest.raises(WorkbenchError, match="given names 'modell': did you mean 'model'"):
        read_usage(good, given={"modell": "o3"})
    assert read_usage(good, given={"provider": "openai", "model": "o3"}).table.column("model").to_pylist() == ["m"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
FIELDS = [
    "request_id",
    "time",
    "end_time",
    "model",
    "input_tokens",
    "output_tokens",
    "cached_tokens",
    "latency_ms",
    "cost_usd",
]


@settings(max_examples=60)
@given(st.lists(st.dictionaries(st.sampled_from(FIELDS), JSON) | st.text(max_size=20), min_size=1, max_size=6))
def test_whatever_comes_every_row_is_in_the_table_or_named(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("hostile") / "log.jsonl"
    lines = [one.replace("\n", " ").replace("\r", " ") if isinstance(one, str) else json.dumps(one) for one in rows]
    path.write_text("\n".join([json.dumps(row(0)), *lines]), encoding="utf-8", errors="replace")
    usage = read_usage(path, format="table")
    assert usage.checks["rows conserved"]
    assert usage.checks["tokens conserved"]
    assert set(usage.exceptions.column("reason").to_pylist()) <= set(REASONS)
    counts = usage.table.select(["input_tokens", "cached_input_tokens", "output_tokens", "reasoning_tokens"])
    assert all(value >= 0 for column in counts.columns for value in column.to_pylist())
    price(usage, contract=[{"model": "*", "input": 1, "output": 1}])


def test_a_delta_table_is_read_in_its_newest_version(tmp_path):
    path = str(tmp_path / "table")
    rows = {
        "request_id": ["a", "b"],
        "model": ["m", "m"],
        "input_tokens": [5, 6],
        "output_tokens": [1, 2],
        "tenant": ["x", "y"],
    }
    deltalake.write_deltalake(path, pa.table(rows), partition_by=["tenant"])
    deltalake.write_deltalake(path, pa.table(rows | {"input_tokens": [7, 8]}), mode="overwrite")
    usage = read_usage(path)
    told = {one["owner"]: one["input_tokens"] for one in usage.table.to_pylist()}
    assert told == {"x": 7, "y": 8}
    assert seen(path).rows == 2


def test_what_a_run_records_of_a_source_that_holds_broken_lines(tmp_path):
    path = write(tmp_path / "log.jsonl", [row(1), '{"broken', row(2, input_tokens="2.5")])
    before = seen(path)
    assert (before.source, before.rows, len(before.version)) == (str(path), None, 12)
    assert seen(write(tmp_path / "log.jsonl", [row(1)])).version != before.version
    (tmp_path / "page.prom").write_text("up 1\n")
    assert len(seen(tmp_path / "page.prom").version) == 12
    for name in ("nothing.jsonl", "nothing.prom", "nothing*.txt"):
        with pytest.raises(WorkbenchError, match="no file matches|does not exist"):
            seen(tmp_path / name)
    pq.write_table(pa.table({"model": ["m"]}), tmp_path / "one.parquet")
    assert seen(tmp_path / "one.parquet").rows == 1
