"""What moved: planted drift is found, chance is not taken for drift, too little is not evaluated."""

import re

import numpy as np
import pandas as pd
import pytest

import workbench as wb
from workbench.analyses import drift, parts, sides


def table(n, shift=0.0, seed=0, p=(0.5, 0.3, 0.2), gone=0.01):
    rng = np.random.default_rng(seed)
    x = pd.array(rng.normal(shift, 1, n), dtype="Float64")
    x[rng.random(n) < gone] = pd.NA
    return pd.DataFrame({"x": x, "k": rng.integers(0, 50, n), "c": rng.choice(list("abc"), n, p=p)})


def judged(old, new, **options):
    return drift.judge(drift.compare(wb.cube(old), wb.cube(new), "before"), **options).set_index("column")


def test_the_same_distribution_has_not_drifted():
    told = judged(table(5_000, seed=1), table(3_000, seed=2))
    assert told["verdict"].tolist() == ["no drift"] * 3
    assert (told["distance"] < 3 * told["distance_noise"]).all()


def test_a_shift_has_drifted_and_ks_is_that_of_scipy():
    from scipy.stats import ks_2samp, wasserstein_distance

    old, new = table(5_000, seed=1), table(3_000, 0.5, seed=2)
    told = judged(old, new)
    assert told["verdict"].to_dict() == {"x": "drifted", "k": "no drift", "c": "no drift"}
    plain = [frame["x"].dropna().to_numpy(dtype=float) for frame in (old, new)]
    assert told.loc["x", "ks"] == pytest.approx(ks_2samp(*plain).statistic, abs=5e-4)
    assert told.loc["x", "wasserstein"] == pytest.approx(wasserstein_distance(*plain), rel=0.01)
    assert told.loc["k", "ks"] == pytest.approx(ks_2samp(old["k"], new["k"]).statistic, abs=1e-12)
    assert told.loc["k", "ks_p"] == pytest.approx(ks_2samp(old["k"], new["k"], method="asymp").pvalue, abs=0.05)


def test_another_mixture_of_text_has_drifted():
    told = judged(table(5_000), table(5_000, p=(0.2, 0.3, 0.5), seed=3))
    assert told.loc["c", "verdict"] == "drifted"
    assert told.loc["c", "total_variation"] == pytest.approx(0.3, abs=0.03)
    assert told.loc["c", "by"] == "values"


def test_missing_values_are_a_change_of_their_own():
    told = judged(table(5_000), table(5_000, gone=0.4, seed=4))
    assert told.loc["x", "by"] == "missing"
    assert told.loc["x", "missing_change"] == pytest.approx(0.39, abs=0.03)
    assert told.loc["x", "distance"] < 0.05


def test_a_real_but_small_shift_is_told_as_such():
    told = judged(table(200_000, seed=1), table(200_000, 0.05, seed=2))
    assert told.loc["x", "verdict"] == "small shift"
    assert judged(table(200_000, seed=1), table(200_000, 0.05, seed=2), threshold=0.01).loc["x", "drifted"]


def test_too_few_values_are_not_evaluated():
    told = judged(table(5_000), table(60, 3.0))
    assert told["verdict"].tolist() == ["not evaluated"] * 3
    assert told["why"].str.contains("values, 100 needed").all()
    assert told["distance"].isna().all()


def test_a_column_that_is_missing_altogether_is_told_by_its_missing_share():
    new = table(5_000, seed=2)
    new["x"] = pd.array([None] * len(new), dtype="Float64")
    told = judged(table(5_000), new)
    assert (told.loc["x", "by"], told.loc["x", "evaluated"]) == ("missing", False)


def test_names_rare_values_and_times_are_not_evaluated():
    old = pd.DataFrame({"key": [f"a{i}" for i in range(900)], "at": pd.date_range("2026", periods=900)})
    new = pd.DataFrame({"key": [f"b{i}" for i in range(900)], "at": pd.date_range("2027", periods=900)})
    told = judged(old, new)
    assert told.loc["key", "why"] == "nearly every row has its own value"
    assert told.loc["at", "why"] == "a time moves by itself"
    rare = pd.DataFrame({"key": [f"k{i % 400}" for i in range(40_000)]})
    assert judged(rare, rare)["why"].tolist() == ["most rows hold a value that is rare"]


def test_new_values_count_as_moved_rows():
    old, new = pd.DataFrame({"c": ["a"] * 1000}), pd.DataFrame({"c": ["a"] * 800 + ["z"] * 200})
    assert judged(old, new).loc["c", "total_variation"] == pytest.approx(0.2)


def test_infinite_and_nan_shares_are_told():
    old = pd.DataFrame({"x": np.arange(1_000.0)})
    new = old.copy()
    new.loc[:200, "x"] = np.inf
    told = judged(old, new)
    assert told.loc["x", "infinite_change"] == pytest.approx(0.201)
    assert told.loc["x", "drifted"]


def test_other_kinds_and_other_columns():
    old = pd.DataFrame({"x": np.arange(500.0), "only": 1})
    assert judged(old, pd.DataFrame({"x": ["a"] * 500}))["why"].tolist() == [
        "it is number in the reference and text now",
        "the column is only in the reference",
    ]
    with pytest.raises(wb.WorkbenchError, match="share no column"):
        judged(old, pd.DataFrame({"y": [1]}))
    with pytest.raises(wb.WorkbenchError, match="different segments"):
        drift.compare(wb.cube(old, by="only"), wb.cube(old), "before")


def test_chance_alone_gives_no_alarms():
    frames = [table(2_000, seed=seed) for seed in range(12)]
    old = wb.cube(pd.concat([table(2_000, seed=100 + seed) for seed in range(4)]))
    alarms = [drift.judge(drift.compare(old, wb.cube(frame), "before"), threshold=0.0) for frame in frames]
    assert sum(one["drifted"].sum() for one in alarms) == 0


def test_a_constant_column_has_not_drifted():
    assert judged(pd.DataFrame({"x": [1.0] * 500}), pd.DataFrame({"x": [1.0] * 700}))["verdict"].tolist() == [
        "no drift"
    ]


def test_the_tidy_result(daily):
    old, new, name = sides.split(daily, None, sides.side("t", ""), sides.side("t", ""))
    told = drift.results(drift.judge(drift.compare(old, new, name)))
    assert list(told.columns)[:6] == ["window", "reference", "segment", "column", "metric", "value"]
    assert told["value"].dtype == "float64"
    assert set(told["reference"]) == {"2026-03-02T00:00:00Z/2026-03-06T00:00:00Z"}
    one = told.query("segment == '' and column == 'f05' and window == '2026-03-10T00:00:00Z'").set_index("metric")[
        "value"
    ]
    assert one["ks"] == one["distance"] > 0.3
    assert one["drifted"] == 1
    assert not told.duplicated(["window", "segment", "column", "metric"]).any()


def test_planted_drift_of_the_example(daily, planted):
    truth = planted[1]
    old, new, name = sides.split(daily, None, sides.side("t", ""), sides.side("t", ""))
    found = drift.judge(drift.compare(old, new, name))
    told = {label: value for label, value, *_ in drift.headline(found)}
    assert told["most drifted column"] == truth["shift"]["column"]
    assert told["drifted since"][:19] == truth["shift"]["start"][:19]
    assert told["in segment"] == "all rows"
    assert told["largest distance"] == pytest.approx(0.383, abs=0.02)  # a normal shifted by one deviation
    assert told["columns drifted"] == 2
    assert told["missing share changed in"] == "label, f03"
    first, second = drift.summary(found, name).split(". In ")  # the same two numbers as on the cards
    assert first.startswith(f"**2** of {told['columns compared']} columns drifted from 2026-03-02")
    assert re.findall(r"\*\*(\w+)\*\* \(", first) == ["f05", "model"]
    assert second.startswith("2 more, only the missing share changed: ")
    assert re.findall(r"\*\*(\w+)\*\* \(", second) == ["label", "f03"]
    table = drift.columns(found).set_index("column")
    assert table.loc["model", "since"][:19] == truth["new value"]["start"][:19]
    close = drift.close_up(old, new, drift.closest(found))
    assert close.groupby("side")["count"].sum().gt(1000).all()


def test_no_false_alarms_on_the_clean_example(daily_clean):
    old, new, name = sides.split(daily_clean, None, sides.side("t", ""), sides.side("t", ""))
    found = drift.judge(drift.compare(old, new, name))
    assert set(found.loc[found["drifted"], "column"]) == {"label"}  # which arrives late, with or without incidents
    assert {label: value for label, value, *_ in drift.headline(found)}["columns drifted"] == 0
    said = drift.summary(found, name)
    assert said.startswith("None of ")
    assert ". In 1, only the missing share changed: **label** (" in said


def test_flights_by_month(flights):
    cube = wb.cube(flights, by=parts.axes("scheduled", "MS"), of=["dep_delay"])
    old, new, name = sides.split(cube, None, sides.side("t", "2013-01-01/2013-02-01"), sides.side("t", ""))
    told = drift.judge(drift.compare(old, new, name)).set_index("window")
    ks = {month: round(float(told.loc[f"2013-{month}-01T00:00:00Z", "ks"]), 4) for month in ("02", "07", "12")}
    assert ks == {"02": 0.0203, "07": 0.1246, "12": 0.1368}
    missing = {month: told.loc[f"2013-{month}-01T00:00:00Z", "missing_current"] for month in ("02", "10")}
    assert missing == pytest.approx({"02": 0.0505, "10": 0.0082}, abs=5e-5)
    assert told["drifted"].sum() == 2


def test_azure_traces(shared):
    conv, code = (shared / "azure_llm_2023" / f"AzureLLMInferenceTrace_{name}.parquet" for name in ("conv", "code"))
    if not conv.is_file():
        pytest.skip("the Azure traces are not beside this checkout")
    old = wb.cube(conv)
    new = wb.cube(code, by=parts.axes("TIMESTAMP", "h"), plan=old)
    assert wb.quantile(old, 0.5).sel(column=["ContextTokens", "GeneratedTokens"]).values.tolist() == [1020, 129]
    old, new, name = sides.split(new, old, sides.side(str(conv), ""), sides.side(str(code), ""))
    told = drift.judge(drift.compare(old, new, name)).query("window == ''").set_index("column")
    assert told["ks"].round(4).to_dict()["GeneratedTokens"] == pytest.approx(0.8097, abs=5e-4)
    assert told.loc["ContextTokens", "ks"] == pytest.approx(0.3460, abs=5e-4)


def test_segments_are_measured_over_the_cells_that_they_fill():
    """Each segment as its rows alone would be, in blocks of windows however small."""
    from workbench.analyses import compared

    rng = np.random.default_rng(12)
    n = 6_000
    frame = pd.DataFrame({"at": pd.Timestamp("2026-03-01") + pd.to_timedelta(np.arange(n) % 6, unit="D"),
                          "who": rng.choice(["a", "b", "rare"], n, p=[0.6, 0.37, 0.03])})  # fmt: skip
    frame["x"] = rng.lognormal(0, 1, n) + 5 * (frame["who"] == "b")
    frame["c"] = rng.choice(list("pqr"), n)
    cube = wb.cube(frame, by=parts.axes("at", "D", "who"), of=["x", "c"])
    side = sides.side("t", "")
    old, new, name = sides.split(cube, None, side, side)
    told = drift.compare(old, new, name).set_index(["segment", "column", "window"])
    alone = wb.cube(frame[frame["who"] == "b"], by=parts.axes("at", "D"), of=["x", "c"], plan=cube)
    old_b, new_b, _ = sides.split(alone, None, side, side)
    want = drift.compare(old_b, new_b, name).set_index(["column", "window"])
    same = told.loc["who=b"].reindex(want.index)
    for metric in (
        "ks",
        "psi",
        "wasserstein",
        "cramer_von_mises",
        "anderson_darling",
        "hellinger",
        "values_current",
        "cells",
    ):
        assert same[metric].to_numpy(dtype=float) == pytest.approx(
            want[metric].to_numpy(dtype=float), rel=1e-9, nan_ok=True
        )
    assert (same["edges"] == want["edges"]).all()
    whole, compared.BLOCK = compared.BLOCK, 10
    try:
        again = drift.compare(old, new, name).set_index(["segment", "column", "window"])
    finally:
        compared.BLOCK = whole
    pd.testing.assert_frame_equal(again, told)
