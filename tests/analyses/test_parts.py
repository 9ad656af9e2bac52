"""Windows, segments and the tidy tables of a cube's parts."""

import numpy as np
import pandas as pd
import pytest

import workbench as wb
from workbench.analyses import parts

ROWS = pd.DataFrame(
    {
        "at": pd.to_datetime(["2026-03-02 01:00", "2026-03-02 02:00", "2026-03-03 01:00", None]),
        "model": ["a", "b", "a", None],
        "region": ["eu", "eu", "us", "us"],
        "ms": [1.0, 2.0, 3.0, None],
    }
)


@pytest.fixture(scope="module")
def cube():
    return wb.cube(ROWS, by=parts.axes("at", "D", "model, region"))


def test_windows_are_named_by_their_start_and_rows_without_a_time_are_told(cube):
    assert sorted(parts.window_labels(cube)) == ["(missing)", "2026-03-02T00:00:00Z", "2026-03-03T00:00:00Z"]
    assert parts.window_labels(wb.cube(ROWS)) == [""]
    assert parts.window_seconds(cube) == 86_400
    assert np.isnan(parts.window_seconds(wb.cube(ROWS)))


def test_counts_of_every_segment(cube):
    counts, names = parts.by_segment(cube, "count")
    assert names == ["", "model=(missing)", "model=a", "model=b", "region=eu", "region=us"]
    assert dict(zip(names, counts.sum(parts.WINDOW).values.tolist(), strict=True)) == {
        "": 4, "model=(missing)": 1, "model=a": 2, "model=b": 1, "region=eu": 2, "region=us": 2,
    }  # fmt: skip


def test_counts_without_windows_or_segments():
    counts, names = parts.by_segment(wb.cube(ROWS), "missing")
    assert names == [""]
    assert counts.sel(column="ms").values.tolist() == [[1]]


def test_tidy_tables_hold_totals_and_windows(cube):
    profile, tops = parts.tables(cube)
    segment = ["window", "segment", "segment_key", "segment_value", "column"]
    assert list(profile.columns) == [*segment, "metric", "value"]
    assert list(tops.columns) == [*segment, "value", "count", "short"]
    for table in (profile, tops):
        keys = set(table[["segment", "segment_key", "segment_value"]].itertuples(index=False, name=None))
        assert {("", "", ""), ("model=(missing)", "model", "(missing)"), ("region=eu", "region", "eu")} <= keys
        assert ("model=a, region=us", "model, region", "a, us") in keys
    counted = profile[(profile["column"] == "ms") & (profile["metric"] == "count")].set_index(["window", "segment"])
    assert counted.loc[("", ""), "value"] == 4
    assert counted.loc[("2026-03-02T00:00:00Z", ""), "value"] == 2
    assert counted.loc[("", "model=a"), "value"] == 2
    assert counted.loc[("2026-03-02T00:00:00Z", "region=eu"), "value"] == 2
    assert counted.loc[("", "model=a, region=us"), "value"] == 1
    assert not counted.index.duplicated().any()
    assert tops.query("window == '' and segment == '' and column == 'model' and value == 'a'")["count"].item() == 2


def test_segments_have_keys_and_values_whatever_is_in_their_labels():
    rows = pd.DataFrame({"model": ["a=b, c", ""], "region": ["x, y=z", "eu"], "ms": [1, 2]})
    profile, _ = parts.tables(wb.cube(rows, by=["model", "region"]))
    keys = set(profile[["segment_key", "segment_value"]].itertuples(index=False, name=None))
    assert keys == {
        ("", ""), ("model", ""), ("model", "a=b, c"), ("region", "x, y=z"), ("region", "eu"),
        ("model, region", "a=b, c, x, y=z"), ("model, region", ", eu"),
    }  # fmt: skip


def test_how_many_values_are_at_most_a_limit(cube):
    assert parts.below(cube, "ms", 2.0).sum().item() == 2
    assert parts.below(cube, "ms", 0.5).sum().item() == 0
    assert parts.below(cube, "ms", np.inf).sum().item() == 3


def test_a_limit_for_each_label():
    flat = wb.cube(ROWS, by="region")
    limits = flat["count"] * 0 + [1.5, 3.0]
    assert parts.below(flat, "ms", limits).values.tolist() == [1.0, 1.0]


def test_infinite_values_stand_where_they_belong():
    frame = pd.DataFrame({"x": [-np.inf, 0.0, np.inf]})
    assert parts.below(wb.cube(frame), "x", 0.0).item() == 2


def test_columns_that_are_wanted_include_those_that_are_needed():
    assert parts.wanted("", "time") is None
    assert parts.wanted("x, y", "time", "model,x") == ["x", "y", "time", "model"]


def test_a_column_that_is_not_there_is_told_with_near_names():
    with pytest.raises(wb.WorkbenchError, match="no column 'latency' .parameter `latency`.; did you mean 'latency_s'"):
        parts.need(["latency_s", "model"], "latency", "latency")


@pytest.mark.parametrize(("share", "said"), [(0.12345, "12.3 %"), (float("nan"), "unknown"), (1.0, "100 %")])
def test_shares_in_words(share, said):
    assert parts.say_share(share) == said
