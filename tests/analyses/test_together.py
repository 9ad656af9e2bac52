"""Columns together as the notebook asks for them: measures, spans of rows, words and results, and what cannot be done."""

import numpy as np
import pandas as pd
import pytest

import workbench as wb
from workbench.analyses import parts, sides, together
from workbench.views.together import pairs_map


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Twelve days; from the ninth on x and y go together, each as it was before."""
    rng = np.random.default_rng(4)
    found = []
    for day in range(12):
        r = 0.5 if day >= 8 else 0.0
        x = rng.multivariate_normal([0, 0, 0], [[1, r, 0], [r, 1, 0], [0, 0, 1]], 800)
        at = pd.Timestamp("2026-03-01", tz="UTC") + pd.Timedelta(days=day)
        found.append(pd.DataFrame(x, columns=["x", "y", "z"]).assign(at=at, site=rng.choice(["a", "b"], 800)))
    path = tmp_path_factory.mktemp("together") / "table.parquet"
    pd.concat(found).to_parquet(path, index=False)
    return str(path)


@pytest.fixture(scope="module")
def compared(table):
    source = wb.open_table(table)
    of = together.measures(source, 6)
    cube = wb.cube(source, by=parts.axes("at", "D", "site"), of=of, progress=False)
    before, after = sides.side(table, ""), sides.side(table, "")
    _, new, name = sides.split(cube, None, before, after)
    chunks = sides.reference_windows(cube, None, before, after)
    return cube, together.compare(chunks, new), together.spans(name, before, after, new, "at")


def test_a_correlation_that_nothing_else_shows_is_told_drawn_and_kept(table, compared):
    _, found, where = compared
    moved = found["pairs"][found["pairs"]["drifted"] & (found["pairs"]["window"] != "")]
    assert set(zip(moved["a"], moved["b"], strict=True)) == {("x", "y")}
    assert sorted(moved["window"].str[:10]) == [f"2026-03-{day:02d}" for day in (9, 10, 11, 12)]
    told = together.classified(
        [lambda one=one: wb.open_table(table, where=one) for one in where], ["x", "y", "z"], 2000
    )
    assert told["evaluated"].all()
    first, second = together.words(found, told)
    assert first.startswith("**1** of 3 pairs of columns go together differently: **x** and **y** (+0.")
    assert "classifier" in second
    tidy = together.results(found, told)
    assert set(tidy["metric"]) == {"correlation", "reconstruction_error", "classifier_auc"}
    assert tidy.loc[tidy["verdict"] == "drifted", "p_adjusted"].max() <= 0.01
    assert pairs_map(found["pairs"]) is not None
    assert pairs_map(pd.DataFrame()) is not None


def test_the_rows_of_each_side(table, compared):
    _, _, (first, second) = compared
    assert [one[2] for one in first] == ["2026-03-01 00:00:00+00:00", "2026-03-05 00:00:00+00:00"]
    assert second == [("at", ">=", "2026-03-05T00:00:00Z")]
    opened = [wb.open_table(table, where=one) for one in (first, second)]
    sizes = [len(one.sample(10_000, ["x"])["x"]) for one in opened]
    assert sizes == [4 * 800, 8 * 800]
    asked = sides.side(table, "2026-03-02/2026-03-03")
    assert together.spans("x", asked, asked, compared[0], "at")[0][1][1] == "<"
    assert together.spans("a", sides.side("a", ""), sides.side("b", ""), compared[0], "at") == ([], [])


def test_what_cannot_be_done_is_said(table, compared):
    source = wb.open_table(table)
    assert together.measures(source, 1) is None
    assert together.measures(source, 6, "cuda") is None
    assert together.measures(source, 6, groups=10**7) is None
    plain = wb.cube(source, by=parts.axes("at", "D"), progress=False)
    found = together.compare(plain, plain)
    told = together.classified([], ["x"], 0)
    first, second = together.words(found, told)
    assert first.startswith("Correlations were not counted")
    assert "not asked for" in second
    assert together.results(found, told).empty
    few = together.classified([lambda: wb.open_table(table, where=[("x", ">", 3.4)])] * 2, ["x"], 2000)
    assert not few["evaluated"].any()
