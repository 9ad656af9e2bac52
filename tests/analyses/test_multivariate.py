"""Changes of how columns go together, which no single column shows."""

import numpy as np
import pandas as pd
import pytest

import workbench as wb
from workbench.analyses import drift, multivariate, parts
from workbench.cubes import CoMoments

OF = [..., CoMoments()]


def days(rng, correlation, rows=2_000, first="2026-03-01", heavy=False):
    """Two columns of equal marginals and a third beside them; one day for each correlation."""
    at = pd.date_range(first, periods=len(correlation), freq="D")
    found = []
    for day, r in zip(at, correlation, strict=True):
        x = rng.multivariate_normal([0, 0, 0], [[1, r, 0.3], [r, 1, 0], [0.3, 0, 1]], rows)
        x = np.exp(x) if heavy else x
        found.append(pd.DataFrame(x, columns=["x", "y", "z"]).assign(at=day))
    return pd.concat(found)


def cubes(rng, before, after, **more):
    old = wb.cube(days(rng, before, **more), by=parts.axes("at", "D"), of=OF)
    return old, wb.cube(days(rng, after, first="2026-04-01", **more), by=parts.axes("at", "D"), of=OF, plan=old)


@pytest.fixture(scope="module")
def changed():
    return cubes(np.random.default_rng(0), [0] * 4, [0, 0, 0.5, 0.5])


def test_a_pure_change_of_correlation_is_caught_where_single_columns_are_silent(changed):
    old, new = changed
    alone = drift.judge(drift.compare(wb.collapse(old, "window"), new, "march"))
    assert not alone["drifted"].any()
    found = multivariate.judged(multivariate.pairs(old, new))
    moved = found[found["drifted"] & (found["window"] != "")]
    assert list(zip(moved["window"].str[:10], moved["a"], moved["b"], strict=True)) == [
        ("2026-04-03", "x", "y"), ("2026-04-04", "x", "y")]  # fmt: skip
    assert moved["now"].to_numpy() == pytest.approx(0.5, abs=0.05)
    assert moved["change"].to_numpy() == pytest.approx(0.5, abs=0.07)
    assert multivariate.told(found).startswith("**1** of 3 pairs of columns go together differently: **x** and **y**")


def test_components_of_the_reference_rebuild_the_rows_less_well():
    found = multivariate.judged(multivariate.rebuilt(*cubes(np.random.default_rng(9), [0.8] * 4, [0.8, 0.8, 0.2, 0.2])))
    assert found["drifted"].tolist() == [False, False, True, True]
    assert found["components"].unique().tolist() == [2]
    assert found["change"].iloc[2] > 0.3


def test_the_error_is_that_of_the_rows():
    rng = np.random.default_rng(1)
    one, two = days(rng, [0.2]), days(rng, [0.6])
    two["y"] = two["y"] * 2 + 1
    old, new = (wb.cube(frame[["x", "y", "z"]], of=CoMoments()) for frame in (one, two))
    found = multivariate.rebuilt(old, new).iloc[0]
    mean, sd = one[["x", "y", "z"]].mean(), one[["x", "y", "z"]].std(ddof=0)
    values, vectors = np.linalg.eigh(one[["x", "y", "z"]].corr())
    vectors = vectors[:, ::-1][:, : found["components"]]
    z = ((two[["x", "y", "z"]] - mean) / sd).to_numpy()
    away = z - z @ vectors @ vectors.T
    assert found["error"] == pytest.approx(np.sqrt((away**2).sum(1).mean()))
    assert values[::-1][: found["components"]].sum() / 3 >= 0.65


def test_correlations_are_pearsons(changed):
    frame = days(np.random.default_rng(2), [0.4, 0.1])
    frame.loc[frame["x"] > 1, "z"] = np.nan
    found = multivariate.correlations(wb.cube(frame, of=CoMoments()))
    assert found.sel(co_row="x", co_column="y").item() == pytest.approx(frame["x"].corr(frame["y"]))
    constant = wb.cube(frame.assign(y=1.0), of=CoMoments())
    assert np.isnan(multivariate.correlations(constant).sel(co_row="x", co_column="y"))


def test_false_alarms_stay_rare_with_normal_and_with_heavy_tails():
    """p values where nothing moved: 60 windows against 30, correlated normal columns and log-normal ones."""
    for heavy in (False, True):
        old, new = cubes(np.random.default_rng(3), [0.5] * 30, [0.5] * 30, rows=500, heavy=heavy)
        found = multivariate.pairs(old, new)
        assert (found["p"] < 0.05).mean() < (0.12 if heavy else 0.09)
        assert not multivariate.judged(found)["drifted"].any()
        errors = multivariate.rebuilt(old, new)
        assert (errors["p"] < 0.05).mean() < 0.15
        assert not multivariate.judged(errors)["drifted"].any()


def test_few_rows_and_constant_columns_are_not_evaluated():
    rng = np.random.default_rng(4)
    old, new = cubes(rng, [0.0], [0.9], rows=60)
    found = multivariate.judged(multivariate.pairs(old, new))
    assert set(found["verdict"]) == {"not evaluated"}
    assert found["why"].iloc[0] == "only 60 rows, 100 needed"
    flat = [wb.cube(days(rng, [0.0]).assign(y=1.0), of=OF) for _ in range(2)]
    found = multivariate.judged(multivariate.pairs(*flat)).set_index(["a", "b"])
    assert found.loc[("x", "y"), "why"] == "a column is constant on one side"
    assert found.loc[("x", "z"), "verdict"] == "no drift"
    assert multivariate.rebuilt(*flat)["evaluated"].all()


def sides(rng, shift=0.0, correlation=0.0, rows=3_000):
    frame = days(rng, [correlation], rows=rows)
    frame["kind"] = np.where(rng.random(rows) < 0.3 + shift, "a", "b")
    frame.loc[rng.random(rows) < 0.1, "z"] = np.nan
    return frame


def test_a_classifier_tells_what_differs_and_not_what_does_not():
    rng = np.random.default_rng(5)
    same = multivariate.classified(sides(rng), sides(rng), rows=2_000).iloc[0]
    assert same["p"] > 0.01
    assert abs(same["auc"] - 0.5) < 0.04
    assert "cannot tell" in multivariate.words(same)
    joint = multivariate.classified(sides(rng), sides(rng, correlation=0.8), rows=2_000).iloc[0]
    assert joint["p"] == pytest.approx(1 / 1001)
    assert {one.split(" ")[0] for one in joint["told_by"].split(", ")} >= {"x", "y"}
    text = multivariate.classified(sides(rng), sides(rng, shift=0.4), rows=2_000).iloc[0]
    assert text["told_by"].startswith("kind")
    again = multivariate.classified(*(sides(np.random.default_rng(6)) for _ in range(2)), rows=1_000, permutations=99)
    pd.testing.assert_frame_equal(
        again,
        multivariate.classified(*(sides(np.random.default_rng(6)) for _ in range(2)), rows=1_000, permutations=99),
    )


def test_a_sample_of_opened_tables(tmp_path):
    rng = np.random.default_rng(7)
    for name, r in (("old", 0.0), ("new", 0.9)):
        sides(rng, correlation=r).to_parquet(tmp_path / f"{name}.parquet")
    found = multivariate.classified(
        *(wb.open_table(tmp_path / f"{n}.parquet") for n in ("old", "new")), rows=1_000
    ).iloc[0]
    assert (found["n_reference"], found["n"], found["columns"]) == (1000, 1000, 4)
    assert found["auc"] > 0.6


def test_what_cannot_be_compared(changed):
    plain = wb.cube(days(np.random.default_rng(8), [0.0]))
    with pytest.raises(wb.WorkbenchError, match="no co-moments"):
        multivariate.pairs(plain, plain)
    other = wb.cube(days(np.random.default_rng(8), [0.0]), of=CoMoments(["x", "y"]))
    with pytest.raises(wb.WorkbenchError, match="different columns"):
        multivariate.pairs(changed[0], other)
    with pytest.raises(wb.WorkbenchError, match="kept=2 is no share"):
        multivariate.rebuilt(*changed, kept=2)
    frame = pd.DataFrame({"x": range(10)})
    with pytest.raises(wb.WorkbenchError, match="both sides need the column 'y'"):
        multivariate.classified(frame, frame, ["y"])
    with pytest.raises(wb.WorkbenchError, match="got a list"):
        multivariate.classified([1], frame)
    with pytest.raises(wb.WorkbenchError, match="too few"):
        multivariate.classified(frame, frame, rows=3)
    found = multivariate.classified(frame, frame).iloc[0]
    assert multivariate.words(found) == "No classifier was tried: only 10 rows, 100 needed."
