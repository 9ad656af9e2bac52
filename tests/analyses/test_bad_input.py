"""Sides that do not fit each other, columns with nothing in them: a sentence or a verdict, never a traceback or a NaN."""

import json

import duckdb
import numpy as np
import pandas as pd
import pytest

import workbench as wb
from workbench.analyses import changes, drift

VERDICTS = {"drifted", "small shift", "no drift", "not evaluated"}


def rows(n=2_000, seed=0, **more):
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {"x": rng.normal(size=n), "c": rng.choice(["eu-west", "us-east", "ap"], n, p=[0.5, 0.3, 0.2])}
    ).assign(**more)


def judged(old, new, **options):
    """Judged, with every promise of a verdict checked."""
    told = drift.judge(drift.compare(wb.cube(old), wb.cube(new), "before", **options))
    assert set(told["verdict"]) <= VERDICTS
    assert not told[["drifted", "evaluated", "verdict", "why", "by"]].isna().any(axis=None)
    assert (told["evaluated"] == (told["why"] == "")).all()
    assert (
        told.loc[told["evaluated"], ["distance", "distance_noise", "distance_excess", "distance_q"]]
        .notna()
        .all(axis=None)
    )
    assert not np.isinf(told.select_dtypes("number")).any(axis=None)
    table = drift.columns(told)
    assert table["words"].str.len().gt(0).all()
    assert not table["words"].str.contains("nan", case=False).any()
    drift.summary(told, "before")
    drift.headline(told)
    result = drift.results(told)
    assert result["value"].notna().all()
    return told.set_index("column")


def test_columns_of_one_side_are_named_with_their_likely_new_name():
    old, new = rows(latency_ms=1.0, gone=2.0), rows(seed=1, latency_msec=1.0, fresh="a")
    told = judged(old, new)
    assert told.loc["gone", "why"] == "the column is only in the reference"
    assert told.loc["fresh", "why"] == "the column is only in the current table"
    assert changes.sides_differ(wb.cube(old), wb.cube(new)) == [
        "The column 'latency_ms' of the reference is likely 'latency_msec' now; the two are not compared.",
        "Only in the reference, so not compared: gone.",
        "Not in the reference, so not compared: fresh.",
    ]
    assert changes.sides_differ(wb.cube(old), wb.cube(old)) == []


def test_renamed_values_are_told_as_likely_renames():
    old, new = rows(5_000), rows(5_000, seed=1)
    new["c"] = new["c"].replace({"eu-west": "EU-West", "ap": "apac"})
    told = judged(old, new)
    assert told.loc["c", "verdict"] == "drifted"
    assert (told.loc["c", "cells"], json.loads(told.loc["c", "edges"])[-1]) == (6, "(rare values)")
    assert told.loc["c", "new_share"] == pytest.approx(0.7, abs=0.03)
    assert told.loc["c", "lost_share"] == pytest.approx(0.7, abs=0.03)
    row = told.reset_index().query("column == 'c'").iloc[0]
    said = changes.words(drift.close_up(wb.cube(old), wb.cube(new), row))
    assert "'eu-west' is likely 'EU-West' now (49.8" in said
    assert "'ap' is likely 'apac' now" in said


def test_new_and_lost_values_and_ranges_are_named():
    old, new = rows(5_000), rows(5_000, seed=1)
    new.loc[new["c"] == "ap", "c"] = np.where(np.arange((new["c"] == "ap").sum()) % 2, "zz", "yy")
    new.loc[:99, "x"] = 1e6
    told = judged(old, new).reset_index()
    cubes = wb.cube(old), wb.cube(new)
    said = changes.words(drift.close_up(*cubes, told.query("column == 'c'").iloc[0]))
    assert "'zz' is new" in said
    assert "'ap' is gone" in said
    assert told.query("column == 'x'")["above_share"].item() >= 0.02
    said = changes.words(drift.close_up(*cubes, told.query("column == 'x'").iloc[0]))
    assert "2.1 % above every value before" in said
    assert "median" in said
    assert changes.words(drift.close_up(*cubes, None)) == ""


def test_constant_empty_and_missing_columns():
    none = pd.array([None] * 2_000, dtype="Float64")
    same = judged(rows(k=1.0, e=none), rows(seed=1, k=1.0, e=none))
    assert same.loc["k", "verdict"] == "no drift"
    assert same.loc["e", ["verdict", "why"]].tolist() == ["not evaluated", "no values on either side"]
    moved = judged(rows(k=1.0, e=1.5), rows(seed=1, k=2.0, e=none))
    assert moved.loc["k", ["verdict", "ks"]].tolist() == ["drifted", 1.0]
    assert same.loc["k", ["cramer_von_mises", "cramer_von_mises_p", "anderson_darling"]].tolist() == [0, 1, 0]
    assert moved.loc["e", ["verdict", "by"]].tolist() == ["drifted", "missing"]
    came = judged(rows(e=none), rows(seed=1, e=1.5))
    assert came.loc["e", ["verdict", "by"]].tolist() == ["drifted", "missing"]


def test_infinite_and_nan_values():
    old, new = rows(), rows(seed=1)
    new.loc[:400, "x"] = np.inf
    new.loc[401:800, "x"] = -np.inf
    told = judged(old, new)
    assert told.loc["x", ["verdict", "by"]].tolist() == ["drifted", "infinite"]
    all_of_it = judged(old, new.assign(x=np.inf))
    assert all_of_it.loc["x", ["verdict", "by", "evaluated"]].tolist() == ["drifted", "infinite", False]
    nan = judged(old, rows(seed=1, x=np.nan))
    assert nan.loc["x", "verdict"] == "drifted"


def test_an_empty_side_is_not_evaluated():
    for old, new in ((rows(), rows().iloc[:0]), (rows().iloc[:0], rows()), (rows().iloc[:0], rows().iloc[:0])):
        assert set(judged(old, new)["verdict"]) == {"not evaluated"}


def test_a_reference_of_another_recipe():
    old, new = rows(), rows(seed=1)
    with pytest.raises(wb.WorkbenchError, match="different segments"):
        drift.compare(wb.cube(old, by="c"), wb.cube(new), "before")
    bare = wb.cube(old, of=[wb.Moments("x"), wb.Top("c")])
    told = drift.judge(drift.compare(bare, wb.cube(new), "before")).set_index("column")
    assert told.loc["x", ["verdict", "why"]].tolist() == [
        "not evaluated",
        "it was counted without its values in the reference",
    ]
    assert told.loc["c", "verdict"] == "no drift"
    assert changes.sides_differ(bare, wb.cube(new)) == [
        "'x' was counted without its values in the reference; count both with the same of=."
    ]
    kinds = changes.sides_differ(wb.cube(old.assign(c=1.0)), wb.cube(new))
    assert kinds == ["Columns of another kind, so not compared: 'c' (number before, text now)."]
    with pytest.raises(wb.WorkbenchError, match="share no column to compare: the reference has x, c"):
        drift.compare(wb.cube(old), wb.cube(pd.DataFrame({"y": [1]})), "before")
    with pytest.raises(wb.WorkbenchError, match="evidently"):
        drift.compare(wb.cube(old), wb.cube(new), "before", compat="evidenty")


def test_the_results_are_read_by_sql(tmp_path):
    old, new = (
        wb.cube(rows(4_000), by="c", of=["x"]),
        wb.cube(rows(4_000, seed=1).assign(x=lambda f: f["x"] + 0.8), by="c", of=["x"]),
    )
    path = tmp_path / "drift.parquet"
    drift.results(drift.judge(drift.compare(old, new, "last-month"))).to_parquet(path, index=False)
    told = duckdb.sql(f"""
        select segment_key, segment_value, value, noise, excess, low, high, p_adjusted, verdict, n, n_reference, window_compared,
               reference_kind
        from '{path}' where metric = 'ks' order by n desc""").fetchall()
    assert len(told) == 4
    key, value, ks, noise, excess, low, high, p, verdict, n, before, compared, kind = told[0]
    assert (key, value, verdict, n, before, compared, kind) == ("", "", "drifted", 4000, 4000, "last-month", "baseline")
    assert excess == pytest.approx(ks - noise)
    assert low < excess < high
    assert p < 1e-50
    assert duckdb.sql(f"select distinct drifted_by from '{path}' where verdict = 'drifted'").fetchall() == [("values",)]
    assert told[1][:2] == ("c", "eu-west")
    ends = duckdb.sql(
        f"select cells, edges from '{path}' where segment = '' and metric in ('ks', 'psi') order by metric"
    )
    (bins, ends), (groups, edges) = [(cells, json.loads(edges)) for cells, edges in ends.fetchall()]
    assert (len(ends), len(edges), groups) == (2, 11, 10)
    assert bins > 1_000
    assert (edges[0], edges[-1]) == tuple(ends)
    assert edges == sorted(edges)
    names = duckdb.sql(f"select distinct metric from '{path}'").df()["metric"]
    assert {"hellinger", "l_infinity", "wasserstein_scaled", "cramer_v", "cramer_von_mises", "missing_change"} <= set(
        names
    )


def test_verdicts_of_other_tools_are_labelled_as_theirs():
    rng = np.random.default_rng(3)
    days = pd.date_range("2026-03-01", periods=20, freq="D").repeat(500)
    frame = pd.DataFrame({"at": days, "x": rng.normal(size=len(days)), "flag": rng.random(len(days)) < 0.5})
    frame.loc[frame["at"] >= "2026-03-18", "x"] += 1.0
    cube = wb.cube(frame, by=wb.Period("at", "D", name="window"), of=["x", "flag"])
    old, new = (
        wb.select(cube, window=slice("2026-03-01", "2026-03-11")),
        wb.select(cube, window=slice("2026-03-11", "2026-04-01")),
    )
    told = drift.judge(drift.compare(old, new, "before", compat="evidently")).set_index(["column", "window"])
    one = told.loc["x", "2026-03-19T00:00:00Z"]
    assert (one["evidently_method"], one["evidently_verdict"], one["verdict"]) == (
        "Wasserstein distance (normed)",
        "drift",
        "drifted",
    )
    assert one["evidently_value"] == pytest.approx(1.0, abs=0.15)
    assert told.loc["flag", "2026-03-12T00:00:00Z"]["evidently_method"] == "Jensen-Shannon distance"
    told = drift.judge(drift.compare(old, new, "before", compat="nannyml")).set_index(["column", "window"])
    one = told.loc["x", "2026-03-19T00:00:00Z"]
    assert one["nannyml_value"] > one["nannyml_threshold"] > 0
    assert (one["nannyml_verdict"], told.loc["x", "2026-03-12T00:00:00Z"]["nannyml_verdict"]) == ("drift", "no drift")
    single = drift.compare(wb.collapse(old), new, "before", compat="nannyml")
    assert set(single["nannyml_verdict"]) == {"not evaluated"}, "its limits need several windows of reference"
    table = drift.results(drift.judge(drift.compare(old, new, "before", compat="evidently")))
    assert set(table["evidently_verdict"]) == {"drift", "no drift"}
    assert {"evidently_value", "evidently_threshold"} <= set(table["metric"])


def test_values_near_the_largest_double_are_judged_without_a_warning():
    rng = np.random.default_rng(1)
    small, large = rng.normal(size=500), np.clip(rng.normal(size=500), -1.7, 1.7) * 1e308
    verdicts = []
    for before, now in ((small, large), (large, small), (large, large)):
        old = wb.cube(pd.DataFrame({"x": before}), progress=False)
        new = wb.cube(pd.DataFrame({"x": now}), plan=old, progress=False)
        judged = drift.judge(drift.compare(old, new, "before"))
        assert np.isfinite(drift.results(judged)["value"]).all()
        verdicts.append(judged["verdict"].iloc[0])
    assert verdicts == ["drifted", "drifted", "no drift"]


@pytest.mark.parametrize("sizes", [(0, 150), (150, 0), (1, 99), (0, 0)])
def test_sides_of_no_rows_or_hardly_any_are_told_and_searched(sizes):
    """Columns of every awkward kind, on sides of which one is empty: no warning, no traceback, no number that is none."""
    from workbench.analyses import incidents, parts, power, slices

    cubes = []
    for seed, n in enumerate(sizes):
        rng = np.random.default_rng(seed)
        frame = pd.DataFrame({
            "at": pd.Timestamp("2026-03-01") + pd.to_timedelta(np.arange(n) % 3, unit="D"),
            "who": np.where(np.arange(n) % 2, "a", "b"),
            "x": rng.normal(size=n), "huge": np.clip(rng.normal(size=n), -1.7, 1.7) * 1e308, "inf": np.full(n, np.inf),
            "flag": rng.random(n) < 0.5, "text": rng.choice(["", "(missing)", "(other)"], n),
            "gone": pd.array([None] * n, "Int64"),
        })  # fmt: skip
        cubes.append(wb.cube(frame, by=parts.axes("at", "D", "who"), progress=False))
    for compat in ("evidently", "nannyml"):
        told = drift.judge(drift.compare(*cubes, "before", compat=compat, least=20))
        assert np.isfinite(drift.results(told)["value"]).all()
        assert set(told["verdict"]) <= VERDICTS
        assert not drift.columns(told)["words"].str.contains(r"\bnan\b", case=False, regex=True).any()
    incidents.found(told)
    assert slices.search(*cubes).empty
    said = power.usual(power.detectable(*cubes))
    assert not any(" nan" in words for words in said.get("words", []))
    assert power.words(said)[0] == "No column has values enough for an alarm."


def test_thresholds_that_no_window_could_pass_are_refused():
    from workbench.analyses import power

    cube = wb.cube(rows())
    compared = drift.compare(cube, cube, "before")
    for asked, words in (({"threshold": 7}, "threshold=7 is no threshold"), ({"missing": -0.1}, "missing=-0.1"),
                         ({"threshold": float("nan")}, "threshold=nan"), ({"alpha": 0}, "alpha=0 is no share")):  # fmt: skip
        for call in (
            lambda asked=asked: drift.judge(compared, **asked),
            lambda asked=asked: power.detectable(cube, **asked),
        ):
            with pytest.raises(wb.WorkbenchError, match=words):
                call()
    with pytest.raises(wb.WorkbenchError, match="rows=-5 is no number of rows"):
        power.detectable(cube, rows=-5)
