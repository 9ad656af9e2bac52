"""Latency against an objective: figures that can be checked by hand, and the planted incident."""

import numpy as np
import pandas as pd
import pytest

import workbench as wb
from tests.analyses.conftest import ROLES
from workbench.analyses import parts, performance


def table():
    at = pd.to_datetime(["2026-03-02 01:10"] * 4 + ["2026-03-02 02:10"] * 4)
    return pd.DataFrame(
        {
            "at": at,
            "model": ["a", "a", "b", "b"] * 2,
            "s": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0],
            "status": ["ok", "ok", "ok", "error"] * 2,
            "tokens": [10] * 8,
        }
    )


def measured(roles=None, slo=5.0, by="model", time="at", frame=None):
    roles = roles or performance.Roles("s", "", "status", "tokens")
    frame = table() if frame is None else frame
    axes = parts.axes(time, "h", [*parts.names(by), *([roles.status] if roles.status else [])])
    of = [name for name in (roles.latency, roles.ttft, roles.tokens) if name]
    return performance.measure(wb.cube(frame, by=axes, of=of), roles, slo_s=slo).set_index(["window", "segment"])


def test_figures_by_hand():
    told = measured()
    whole = told.loc[("", "")]
    assert (whole["requests"], whole["errors"], whole["error_share"]) == (8, 2, 0.25)
    assert whole["goodput"] == 4 / 8  # 1, 2, 3 and 5 s; the one of 4 s failed
    assert (whole["latency_p50"], whole["latency_p99"], whole["latency_mean"]) == (4.0, 8.0, 4.5)
    assert whole["tokens_per_second"] == pytest.approx(80 / 7200)
    hour = told.loc[("2026-03-02T01:00:00Z", "model=a")]
    assert (hour["requests"], hour["goodput"], hour["latency_p50"]) == (2, 1.0, 1.0)
    assert hour["requests_per_second"] == pytest.approx(2 / 3600)
    assert np.isnan(whole["ttft_p50"])


def test_units_and_the_objective():
    roles = performance.Roles("s", "", "", "", unit="ms")
    whole = measured(roles, slo=0.004).loc[("", "")]
    assert whole["latency_p99"] == pytest.approx(0.008)
    assert whole["goodput"] == 0.5
    assert np.isnan(whole["errors"])


def test_first_tokens_are_measured_where_there_are_any():
    frame = table().assign(first=[0.1, 0.2, None, None, 0.3, 0.4, None, None])
    cube = wb.cube(frame, by=parts.axes("at", "h"), of=["s", "first"])
    told = performance.measure(cube, performance.Roles("s", "first"), slo_s=5, ttft_slo_s=0.2)
    whole = told[(told["window"] == "") & (told["segment"] == "")].iloc[0]
    assert whole["ttft_goodput"] == pytest.approx(0.5)
    assert whole["ttft_p50"] == pytest.approx(0.2)


def test_without_time_or_segments():
    told = measured(by="", time="")
    assert told.index.tolist() == [("", "")]
    assert told.iloc[0]["goodput"] == 0.5
    assert np.isnan(told.iloc[0]["requests_per_second"])


def test_all_segments_together_are_there_too():
    frame = table().assign(region=["eu", "us"] * 4)
    assert ("", "model=a, region=eu") in measured(by="model,region", frame=frame).index


def test_columns_that_are_not_there_are_named_with_their_parameter(planted):
    source = wb.open_table(planted[0])
    for roles, sentence in (
        (performance.Roles("latency"), "no column 'latency' .parameter `latency`.*latency_s"),
        (performance.Roles("latency_s", "first"), 'parameter `ttft`.*or pass ttft="" to do without it'),
        (performance.Roles("latency_s", unit="h"), "unit 'h'"),
    ):
        with pytest.raises(wb.WorkbenchError, match=sentence):
            performance.count(source, roles, "time", "h", "model")
    with pytest.raises(wb.WorkbenchError, match="parameter `by`"):
        performance.count(source, ROLES, "time", "h", "modle")


def test_quantiles_are_those_of_the_rows(hourly, planted):
    rows = pd.read_parquet(planted[0])
    told = performance.measure(hourly, ROLES, slo_s=10).set_index(["window", "segment"])
    one = rows[(rows["model"] == "atlas-8b") & (rows["time"].dt.strftime("%d %H") == "11 14")]
    figure = told.loc[("2026-03-11T14:00:00Z", "model=atlas-8b")]
    exact = np.quantile(one["latency_s"], [0.5, 0.9, 0.99], method="inverted_cdf")
    assert figure[["latency_p50", "latency_p90", "latency_p99"]].to_numpy(float) == pytest.approx(exact, rel=0.02)
    good = ((rows["latency_s"] <= 10) & (rows["status"] == "ok")).mean()
    assert told.loc[("", ""), "goodput"] == pytest.approx(good, abs=2e-4)
    assert told.loc[("", ""), "errors"] == (rows["status"] != "ok").sum()


def test_the_planted_incident_is_found(hourly, planted):
    truth = planted[1]["latency"]
    told = performance.measure(hourly, ROLES, slo_s=10, ttft_slo_s=1)
    found = performance.incidents(hourly, ROLES)
    figures = {name: value for name, value, *_ in performance.headline(told, found, slo_s=10)}
    assert figures["slow incidents"] == 1
    assert figures["worst segment"] == ", ".join(f"{axis}={value}" for axis, value in truth["segment"].items())
    assert figures["worst hour"][:19] == truth["start"][:19]
    assert found.loc[0, "windows"] == 4
    assert found.loc[0, "times"] == pytest.approx(truth["size"], rel=0.3)
    assert "model=atlas-8b, region=eu-central" in performance.summary(told, found, 10)


def test_no_false_alarms_on_the_clean_example(hourly_clean):
    found = performance.incidents(hourly_clean, ROLES)
    assert found.empty
    told = performance.measure(hourly_clean, ROLES, slo_s=10)
    figures = {name: value for name, value, *_ in performance.headline(told, found, slo_s=10)}
    assert figures["slow incidents"] == 0
    assert figures["worst segment"].startswith("model=")


def test_the_tidy_result_and_the_tails(hourly):
    told = performance.results(performance.measure(hourly, ROLES, slo_s=10))
    assert list(told.columns) == ["window", "segment", "metric", "value"]
    assert not told.duplicated(["window", "segment", "metric"]).any()
    ladders = performance.ladders(hourly, ROLES, most=3)
    assert list(ladders)[:2] == ["all requests", "model=atlas-8b"]
    assert len(ladders) == 4
