"""The notebooks themselves, run as a schedule runs them: what was planted is found in their headline figures."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from tests.analyses.focus import problems

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]


def run(notebook, runs, **given):
    """The record and the folder of a run of its own process, as `workbench run` leaves them."""
    command = [sys.executable, "-c", "import sys; from workbench.cli import main; sys.exit(main())", "run"]
    command += [str(ROOT / "notebooks" / f"{notebook}.ipynb"), "--runs", str(runs)]
    for name, value in given.items():
        command += ["-p", name, str(value)]
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": path})
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    folder = Path(done.stdout.strip().splitlines()[-1])
    record = json.loads((folder / "run.json").read_text())
    return {one["name"]: one["value"] for one in record["headline"]}, folder


def start_of(incident):
    return incident["start"].replace("+00:00", "Z")


def test_quality_finds_the_missing_burst(planted, tmp_path):
    path, truth = planted
    told, folder = run("quality", tmp_path, table=path)
    assert told["worst column"] == truth["missing"]["column"]
    assert told["worst window"] == start_of(truth["missing"])
    assert told["most missing"] == pytest.approx(100 * truth["missing"]["size"], rel=0.12)
    assert told["new values in"] == truth["new value"]["column"]
    assert told["arriving late"] == truth["late label"]["column"]
    profile = pd.read_parquet(folder / "results" / "profile.parquet")
    assert list(profile.columns) == ["window", "segment", "segment_key", "segment_value", "column", "metric", "value"]
    assert {"count", "missing", "nan", "infinite", "distinct", "min", "max", "mean", "std", "p01", "p05", "p25", "p50",
            "p75", "p90", "p95", "p99", "p999"} == set(profile["metric"])  # fmt: skip
    assert (folder / "results" / "top_values.parquet").is_file()


def test_drift_finds_the_shift_and_its_day(planted, tmp_path):
    path, truth = planted
    told, folder = run("drift", tmp_path, table=path)
    assert told["most drifted column"] == truth["shift"]["column"]
    assert told["drifted since"] == start_of(truth["shift"])
    assert told["largest distance"] == pytest.approx(0.383, abs=0.02)
    result = pd.read_parquet(folder / "results" / "drift.parquet")
    assert list(result.columns)[:6] == ["window", "reference", "segment", "column", "metric", "value"]


def test_performance_finds_the_slow_hours_and_who_waited(planted, tmp_path):
    path, truth = planted
    told, folder = run("performance", tmp_path, table=path)
    assert told["worst segment"] == ", ".join(f"{axis}={value}" for axis, value in truth["latency"]["segment"].items())
    assert told["worst hour"] == start_of(truth["latency"])
    assert told["slow incidents"] == 1
    result = pd.read_parquet(folder / "results" / "latency.parquet")
    assert list(result.columns) == ["window", "segment", "metric", "value"]


def test_flights_by_month(flights, tmp_path):
    months = {"table": flights, "time": "scheduled", "every": "MS", "by": ""}
    told, _ = run("drift", tmp_path, **months, columns="dep_delay", reference="2013-01-01/2013-02-01")
    assert (told["most drifted column"], round(told["largest distance"], 4)) == ("dep_delay", 0.1368)
    assert (told["drifted since"], told["largest in window"]) == ("2013-07-01T00:00:00Z", "2013-12-01T00:00:00Z")
    told, folder = run("quality", tmp_path, **months, columns="dep_delay")
    assert told["rows"] == 336_776
    assert told["most missing"] == pytest.approx(5.05, abs=0.005)
    profile = pd.read_parquet(folder / "results" / "profile.parquet").set_index(["window", "column", "metric"])["value"]
    october = [profile[("2013-10-01T00:00:00Z", "dep_delay", metric)] for metric in ("missing", "count")]
    assert round(100 * october[0] / october[1], 1) == 0.8


def test_azure_tables_against_each_other(shared, tmp_path):
    conv, code = (shared / "azure_llm_2023" / f"AzureLLMInferenceTrace_{name}.parquet" for name in ("conv", "code"))
    if not conv.is_file():
        pytest.skip("the Azure traces are not beside this checkout")
    told, folder = run("drift", tmp_path, every="h", reference=conv, current=code)
    assert (told["columns compared"], told["columns drifted"]) == (2, 2)
    assert told["most drifted column"] == "GeneratedTokens"
    assert (folder / "reference.nc").is_file()
    profiles = [pd.read_parquet(folder / "results" / "profile.parquet").query("window == ''")]
    _, folder = run("quality", tmp_path, table=conv)
    profiles.append(pd.read_parquet(folder / "results" / "profile.parquet").query("window == ''"))
    medians = [one[one["metric"] == "p50"].set_index("column")["value"] for one in profiles]
    assert [one[["ContextTokens", "GeneratedTokens"]].tolist() for one in medians] == [[1469, 13], [1020, 129]]


def test_cost_names_everything_that_is_wrong_and_leaves_valid_rows(tmp_path, shared):
    model = json.loads((shared / "focus" / "focus_1_4_model.json").read_text())
    rows = [
        {"request_id": f"r{number}", "time": f"2026-03-{1 + number // 10:02d}T{number % 10:02d}:00:00Z", "provider": "openai",
         "model": "gpt-4o", "tenant": "blue", "prompt_tokens": 1_000, "completion_tokens": 50, "cost": 0.003, "currency": "USD"}
        for number in range(100)
    ]  # fmt: skip
    wrong = {
        "usage missing": {"prompt_tokens": None, "completion_tokens": None}, "negative count": {"prompt_tokens": -5},
        "duplicate request id": {"request_id": "r0"}, "clock jump": {"time": "2031-01-01T00:00:00Z"},
        "unknown model": {"model": "nonesuch"}, "other currency": {"currency": "EUR"}, "time missing": {"time": None},
        "wrong type": {"prompt_tokens": "many"}, "unknown price context": {"service_tier": "platinum"},
    }  # fmt: skip
    for number, change in enumerate(wrong.values(), 20):
        rows[number] |= change
    path = tmp_path / "log.jsonl"
    path.write_text("\n".join([*map(json.dumps, rows), '{"broken']))
    contract = tmp_path / "contract.csv"
    contract.write_text("model,input\ngpt-4o,2\n")
    told, folder = run("cost", tmp_path, table=path, contract=contract, account="acct-1")
    exceptions = pd.read_parquet(folder / "results" / "exceptions.parquet")
    assert sorted(exceptions["reason"]) == sorted([*wrong, "unreadable"])
    assert all(f"1 {reason}" in told["exceptions"] for reason in exceptions["reason"])
    good = 100 - 6  # usage, count, id and type are aside, model and context have no price
    assert told["cost"] == pytest.approx(good * (1_000 * 2 + 50 * 10) / 1e6)
    focus = pd.read_csv(folder / "results" / "focus.csv", dtype=str, keep_default_na=False)
    assert problems(focus, model) == []
    assert set(focus["ListUnitPrice"].astype(float)) == {2.5, 10.0}  # the list's, not the contract's
    assert focus["BilledCost"].astype(float).sum() == pytest.approx(told["cost"])
