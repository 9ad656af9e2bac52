"""Metrics of Prometheus: text and JSON, blanks, resets, quantiles; what vLLM served and what DCGM says of GPUs."""

import json

import pytest

from workbench.errors import WorkbenchError
from workbench.tables.prometheus import increases, quantile, read_metrics
from workbench.tables.prometheus_dcgm import gpu_hours
from workbench.tables.prometheus_vllm import quantiles, read_served, served
from workbench.tables.usage import read_usage

START = 1_772_445_600  # 2026-03-02 10:00 UTC, seconds


def text(path, content):
    path.write_text(content)
    return path


def answer(path, *series, start=START, step=60):
    """A range query's answer: (name, labels, values), values told as text, as Prometheus has them."""
    result = [
        {"metric": {"__name__": name, **labels}, "values": [[start + step * i, str(v)] for i, v in enumerate(values)]}
        for name, labels, values in series
    ]
    path.write_text(json.dumps({"status": "success", "data": {"resultType": "matrix", "result": result}}))
    return path


def test_text_pages_are_read_line_by_line_and_what_is_none_is_named(tmp_path):
    page = """# HELP up Whether.
# TYPE up gauge
up{job="a, b",zone="x\\"y\\\\z"} 1 1772445600000
# TYPE hits counter
hits_total{path="/a b{c}"} 12 # {trace_id="t"} 0.5
seconds 1.5 1772445600

not a sample
half{a="1
odd NaN
big +Inf
# EOF
"""
    found = read_metrics(text(tmp_path / "page.prom", page))
    rows = found.table.to_pylist()
    assert [one["metric"] for one in rows] == ["up", "hits_total", "seconds", "odd", "big"]
    assert json.loads(rows[0]["labels"]) == {"job": "a, b", "zone": 'x"y\\z'}
    assert rows[0]["kind"] == "gauge"
    assert rows[1]["kind"] == "counter"
    assert rows[1]["value"] == 12
    assert rows[0]["time"].timestamp() == rows[2]["time"].timestamp() == START
    assert rows[1]["time"] is None
    assert [one["row"] for one in rows] == [3, 5, 6, 10, 11]
    assert found.exceptions.column("row").to_pylist() == [8, 9]
    assert found.checks["samples in"] == 7
    assert found.checks["samples out"] == 5


def test_marks_for_blank_are_null_in_text_and_in_json(tmp_path):
    page = "DCGM_FI_DEV_GPU_UTIL{gpu='0'} 1\n".replace("'", '"')
    marks = (9223372036854775794, "9.223372036854775794e+18", 9223372036854775792, 2147483634, 140737488355328)
    page += "".join(f"DCGM_FI_DEV_X {mark}\n" for mark in marks)
    page += "other 2147483634\nDCGM_FI_DEV_FB_USED 81559\n"
    found = read_metrics(text(tmp_path / "page.txt", page))
    assert found.table.column("value").to_pylist() == [1, None, None, None, None, None, 2147483634, 81559]
    assert found.checks["blank"] == 5
    path = answer(tmp_path / "range.json", ("DCGM_FI_DEV_GPU_UTIL", {"gpu": "0"}, [40, 9223372036854775794, 60]))
    assert read_metrics(path).table.column("value").to_pylist() == [40, None, 60]


def test_counters_that_begin_again_are_counted_on(tmp_path):
    path = answer(tmp_path / "range.json", ("a_total", {}, [100, 150, 20, 30, 5]), ("gauge", {}, [5, 3, 4, 2, 1]))
    assert increases(read_metrics(path)).select(["metric", "increase", "resets"]).to_pylist() == [
        {"metric": "a_total", "increase": 50 + 20 + 10 + 5, "resets": 2}
    ]


def test_answers_of_queries_of_all_kinds(tmp_path):
    instant = {"data": {"result": [{"metric": {"__name__": "up"}, "value": [START, "1"]}]}}
    path = tmp_path / "many.json"
    path.write_text(json.dumps(instant) + "\n" + json.dumps(instant["data"]["result"]) + '\n{"data": {"resu\n')
    found = read_metrics(path)
    assert found.table.num_rows == 2
    assert found.checks["unreadable"] == 1
    path.write_text(json.dumps({"status": "error", "error": "query timed out"}))
    with pytest.raises(WorkbenchError, match="query timed out"):
        read_metrics(path)
    with pytest.raises(WorkbenchError, match="does not exist"):
        read_metrics(tmp_path / "nowhere.txt")
    with pytest.raises(WorkbenchError, match="holds no sample"):
        read_metrics(text(tmp_path / "words.txt", "these are only words\n"))


def test_the_quantiles_of_a_real_page(shared):
    """Published for this page: time to first token p50, p90, p95, p99."""
    metrics = read_metrics(shared / "vllm" / "vllm_metrics_full.txt")
    ((model, found),) = quantiles(metrics, "ttft_s").items()
    assert model == "meta-llama/Meta-Llama-3.1-8B-Instruct"
    assert {q: round(value, 6) for q, value in found.items()} == {
        0.5: 0.046392,
        0.9: 0.127575,
        0.95: 0.184662,
        0.99: 0.293331,
    }
    (row,) = served(metrics).to_pylist()
    assert (row["input_tokens"], row["output_tokens"], row["requests"]) == (2_345_678, 1_234_567, 4_567)
    assert row["ttft_s"] == 210.4
    assert row["prefill_s"] is None
    assert row["cached_input_tokens"] is None
    with pytest.raises(WorkbenchError, match="ttft_s"):
        quantiles(metrics, "tttf_s")


def test_quantiles_at_the_edges():
    assert quantile(0, [1, float("inf")], [10, 10]) == 0
    assert quantile(1, [1, 2, float("inf")], [10, 20, 30]) == 2  # the last bucket has no end
    assert quantile(0.5, [float("inf"), 1], [4, 2]) == 1  # order does not matter
    assert quantile(0.5, [1, float("inf")], [0, 0]) != quantile(0.5, [1, float("inf")], [0, 0])  # nothing counted: NaN
    with pytest.raises(WorkbenchError, match="0 to 1"):
        quantile(50, [1], [1])


def vllm(old=False, under=False, engine="0"):
    """Three samples with a restart: 1,000 then 3,500 tokens in, 100 then 350 out."""
    names = ["prompt_tokens", "generation_tokens", "request_success"]
    labels = {"model_name": "atlas", "namespace": "search", "engine": engine}
    out = [
        (f"vllm:{name}" + ("" if old else "_total"), labels, values)
        for name, values in zip(names, ([5_000, 6_000, 3_500], [500, 600, 350], [50, 60, 35]), strict=True)
    ]
    out += [
        ("vllm:prefix_cache_hits_total", labels, [0, 400, 600]),
        ("vllm:request_prefill_time_seconds_sum", labels, [10, 12, 4]),
        ("vllm:request_decode_time_seconds_sum", labels, [40, 46, 9]),
    ]
    return [(name.replace(":", "_") if under else name, *rest) for name, *rest in out]


@pytest.mark.parametrize("how", [{}, {"old": True}, {"under": True}])
def test_usage_of_vllm_is_what_its_counters_grew_by(tmp_path, how):
    series = [*vllm(**how), *vllm(**how, engine="1"), ("vllm:num_requests_running", {}, [1, 2, 3])]
    usage = read_served(answer(tmp_path / "range.json", *series))
    rows = usage.table.to_pylist()
    assert [one["input_tokens"] for one in rows] == [2_000, 7_000]
    assert [one["requests"] for one in rows] == [20, 70]
    assert [one["cached_input_tokens"] for one in rows] == [800, 400]
    assert [(one["ttft_s"], one["duration_s"]) for one in rows] == [(4, 16), (8, 26)]
    assert {one["owner"] for one in rows} == {"search"}
    assert {one["provider"] for one in rows} == {"vllm"}
    assert rows[0]["time"].timestamp() == START
    assert usage.exceptions.num_rows == 0
    assert usage.checks["tokens in"] == usage.checks["tokens out"] == 9_900
    assert usage.checks["tokens conserved"]
    assert not usage.unknown


def test_usage_is_read_from_metrics_by_their_form(tmp_path):
    usage = read_usage(answer(tmp_path / "range.json", *vllm()))
    assert usage.format == "vllm"
    assert usage.table.column("input_tokens").to_pylist() == [1_000, 3_500]
    page = text(tmp_path / "page.prom", 'vllm:prompt_tokens_total{model_name="m"} 5\n')
    assert read_usage(page, given={"owner": "search"}).table.column("owner").to_pylist() == ["search"]
    with pytest.raises(WorkbenchError, match="given names"):
        read_usage(page, given={"oner": "search"})


def test_old_and_new_names_side_by_side_count_once_and_pages_follow_each_other(tmp_path):
    folder = tmp_path / "pages"
    folder.mkdir()
    for number, tokens in enumerate((100, 250)):
        lines = [f'vllm:{name}{{model_name="m"}} {tokens}' for name in ("prompt_tokens", "prompt_tokens_total")]
        text(folder / f"{number}.prom", "\n".join([*lines, 'vllm:generation_tokens_total{model_name="m"} 7', "up 1\n"]))
    (row,) = served(read_metrics(folder)).to_pylist()
    assert (row["input_tokens"], row["output_tokens"]) == (150, 0)
    usage = read_served(folder, given={"owner": "search"})
    assert usage.table.column("time").to_pylist() == [None]
    assert usage.unknown == {"up": 2}
    assert usage.exceptions.column("reason").to_pylist() == ["time missing"]
    with pytest.raises(WorkbenchError, match="no token counters"):
        served(read_metrics(text(tmp_path / "up.txt", "up 1\n")))


GPU = {"UUID": "GPU-a", "gpu": "0", "modelName": "NVIDIA H100 80GB HBM3", "Hostname": "rack-1"}
HOUR = 61  # samples a minute apart


def test_gpu_hours_of_dcgm_allocated_used_and_energy(tmp_path):
    held = GPU | {"exported_namespace": "search", "exported_pod": "atlas-0"}
    series = [
        ("DCGM_FI_DEV_GPU_UTIL", held, [50] * 31 + [100] * 30),
        ("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", held, [3_600_000 * i for i in range(31)] + [3_600_000 * i for i in range(30)]),
        ("DCGM_FI_DEV_GPU_UTIL", GPU | {"UUID": "GPU-b"}, [9223372036854775794] * HOUR),
        ("DCGM_FI_DEV_POWER_USAGE", GPU | {"UUID": "GPU-b"}, [100] * HOUR),
    ]  # fmt: skip
    table, checks = gpu_hours(read_metrics(answer(tmp_path / "range.json", *series)))
    mine, free = table.to_pylist()
    assert (mine["owner"], mine["model"], mine["node"], mine["kind"]) == ("search", "atlas-0", "rack-1", "whole")
    assert mine["allocated_hours"] == 1
    assert mine["used_hours"] == pytest.approx((31 * 0.5 + 29) / 60)
    assert mine["energy_kwh"] == pytest.approx(0.001 * (30 + 29))  # the counter began again: 3,600 J a minute
    assert free["owner"] == ""
    assert free["used_hours"] is None
    assert free["energy_kwh"] == pytest.approx(0.1)
    assert checks["blank"] == HOUR
    assert checks["hours allocated"] == 2


def test_pods_that_share_a_gpu_share_its_use_and_energy_and_the_exporter_holds_none(tmp_path):
    scraped = {"namespace": "gpu-operator", "pod": "nvidia-dcgm-exporter-x", "container": "exporter"}
    one, two = (GPU | scraped | {"exported_pod": pod, "exported_namespace": pod} for pod in "ab")
    series = [("DCGM_FI_DEV_GPU_UTIL", one, [60] * HOUR), ("DCGM_FI_DEV_POWER_USAGE", one, [500] * HOUR)]
    path = answer(
        tmp_path / "range.json", *series, ("DCGM_FI_DEV_GPU_UTIL", GPU | scraped | {"UUID": "GPU-b"}, [0] * HOUR)
    )
    late = answer(
        tmp_path / "late.json", *((name, two, values[30:]) for name, _, values in series), start=START + 1_800
    )
    whole = json.loads(path.read_text())
    whole["data"]["result"] += json.loads(late.read_text())["data"]["result"]
    path.write_text(json.dumps(whole))
    table, checks = gpu_hours(read_metrics(path))
    rows = table.to_pylist()
    assert [(row["owner"], row["kind"], row["share"], round(row["used_hours"], 9)) for row in rows] == [
        ("a", "whole", 1, 0.3), ("a", "time-slice", 0.5, 0.15), ("b", "time-slice", 0.5, 0.15), ("", "whole", 1, 0),
    ]  # fmt: skip
    assert [row["energy_kwh"] for row in rows] == [
        pytest.approx(0.25),
        pytest.approx(0.125),
        pytest.approx(0.125),
        None,
    ]
    assert checks["hours allocated"] == 2
    for profile, share in (("1c.3g.40gb", 3), ("1g.10gb+me", 1), ("9g.999gb", 7), ("odd", 7)):
        labels = GPU | {"GPU_I_PROFILE": profile}
        table, _ = gpu_hours(read_metrics(answer(tmp_path / "mig.json", ("DCGM_FI_DEV_GPU_UTIL", labels, [1, 1]))))
        assert table["share"].to_pylist() == [share / 7]


def test_impossible_times_and_text_are_no_traceback(tmp_path):
    metric = {"__name__": "vllm:prompt_tokens_total", "model_name": "m\ud800"}
    values = [[1e30, "1"], [START, "2"], [START + 60, "5"]]
    (tmp_path / "odd.json").write_text(json.dumps({"data": {"result": [{"metric": metric, "values": values}]}}))
    usage = read_served(tmp_path / "odd.json")
    assert usage.table["input_tokens"].to_pylist() == [3]
    assert usage.table["model"].to_pylist() == ["m?"]
    assert usage.exceptions["reason"].to_pylist() == ["unreadable", "usage missing"]
    page = text(tmp_path / "page.txt", 'vllm:prompt_tokens_total{model_name="m"} 3 99999999999999999999999\n')
    assert read_metrics(page).table["time"].to_pylist() == [None]


@pytest.mark.parametrize(
    ("value", "reason"), [("+Inf", "wrong type"), ("1e19", "wrong type"), ("-5", "negative count")]
)
def test_a_counter_that_cannot_be_is_named_and_in_no_row(tmp_path, value, reason):
    page = f'vllm:prompt_tokens_total{{model_name="m"}} {value}\nvllm:generation_tokens_total{{model_name="m"}} 3\n'
    usage = read_served(text(tmp_path / "page.txt", page))
    assert usage.table.select(["input_tokens", "output_tokens"]).to_pylist() == [
        {"input_tokens": 0, "output_tokens": 3}
    ]
    assert reason in usage.exceptions.column("reason").to_pylist()
    assert usage.checks["tokens conserved"]
    assert usage.checks["samples conserved"]
    half = read_served(text(tmp_path / "half.txt", 'vllm:prompt_tokens_total{model_name="m"} 3\n'))
    assert "usage missing" in half.exceptions.column("reason").to_pylist()


def test_slices_share_the_energy_of_their_gpu_and_gaps_end_a_span(tmp_path):
    slices = [GPU | {"GPU_I_PROFILE": profile, "GPU_I_ID": number, "namespace": number}
              for profile, number in (("3g.40gb", "1"), ("4g.40gb", "2"))]  # fmt: skip
    series = [("DCGM_FI_PROF_GR_ENGINE_ACTIVE", one, [0.5] * HOUR) for one in slices]
    series += [("DCGM_FI_DEV_POWER_USAGE", one, [700] * HOUR) for one in slices]
    table, _ = gpu_hours(read_metrics(answer(tmp_path / "range.json", *series)))
    assert [round(one["allocated_hours"] * 7, 9) for one in table.to_pylist()] == [3, 4]
    assert [round(one["energy_kwh"] * 10, 9) for one in table.to_pylist()] == [3, 4]  # 0.7 kWh in all
    parts = [{"metric": {"__name__": "DCGM_FI_DEV_GPU_UTIL", **GPU},
              "values": [[START + 60 * i, "100"] for i in (*range(11), *range(600, 611))]}]  # fmt: skip
    (tmp_path / "gap.json").write_text(json.dumps({"data": {"result": parts}}))
    table, _ = gpu_hours(read_metrics(tmp_path / "gap.json"))
    assert [round(one["allocated_hours"] * 60) for one in table.to_pylist()] == [10, 10]
    one = text(tmp_path / "page.txt", 'DCGM_FI_DEV_GPU_UTIL{gpu="0"} 50\n')
    with pytest.raises(WorkbenchError, match="one sample lasts no time"):
        gpu_hours(read_metrics(one, at=None))
    with pytest.raises(WorkbenchError, match="no metric of DCGM"):
        gpu_hours(read_metrics(text(tmp_path / "up.txt", "up 1\n")))
