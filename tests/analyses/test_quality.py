"""What is wrong with a table: planted faults are found, and nothing else is."""

import numpy as np
import pandas as pd
import pytest

import workbench as wb
from workbench.analyses import parts, quality


def table(rows=24_000, days=10, seed=1):
    rng = np.random.default_rng(seed)
    at = pd.Timestamp("2026-03-02") + pd.to_timedelta(np.sort(rng.uniform(0, days * 86_400, rows)), unit="s")
    x = np.where(rng.random(rows) < 0.02, np.nan, rng.normal(size=rows))
    return pd.DataFrame({"at": at, "region": rng.choice(["eu", "us"], rows), "x": pd.array(x, dtype="Float64")})


def findings(frame, every="h", by="region", **options):
    return quality.findings(wb.cube(frame, by=parts.axes("at", every, by)), **options)


def test_nothing_is_found_where_nothing_is_wrong():
    assert findings(table()).empty


def test_a_burst_in_one_segment_is_found_with_its_hours_and_segment():
    frame = table()
    hit = (frame["at"].dt.strftime("%d %H").isin(["07 05", "07 06"])) & (frame["region"] == "eu")
    frame.loc[hit, "x"] = None
    found = findings(frame)
    assert len(found) == 1
    one = found.iloc[0]
    assert (one["finding"], one["column"], one["segment"]) == ("burst", "x", "region=eu")
    assert (one["window"], one["until"]) == ("2026-03-07T05:00:00Z", "2026-03-07T06:00:00Z")
    assert "nearly all of them in region=eu" in one["words"]
    assert quality.closest(found, quality.shares(wb.cube(frame, by=parts.axes("at", "h", "region")))) == (
        "x",
        ("", "region=eu", "region=us"),
    )


def test_a_burst_everywhere_names_no_segment():
    frame = table()
    frame.loc[frame["at"].dt.strftime("%d %H") == "07 05", "x"] = None
    assert findings(frame)[["finding", "segment"]].values.tolist() == [["burst", ""]]


def test_nan_is_told_apart_from_missing():
    frame = pd.DataFrame({"at": table()["at"], "y": np.arange(24_000.0)})
    frame["y"] = pd.arrays.FloatingArray(
        np.where(frame["at"].dt.strftime("%d %H") == "07 05", np.nan, frame["y"]), np.zeros(len(frame), dtype=bool)
    )
    import pyarrow as pa

    arrow = pa.table({"at": pa.array(frame["at"]), "y": pa.array(frame["y"].to_numpy(), from_pandas=False)})
    found = quality.findings(wb.cube(arrow, by=parts.axes("at", "h")))
    assert found[["finding", "column"]].values.tolist() == [["burst", "y"], ["nan", "y"]]
    assert "% NaN" in found.iloc[0]["words"]


def test_columns_that_break_together_are_one_event():
    frame = table().assign(y=1.5, z=2.5)
    hit = frame["at"].dt.strftime("%d %H") == "07 05"
    frame.loc[hit, ["x", "y", "z"]] = None
    found = findings(frame, by="")
    bursts = found[found["finding"] == "burst"]
    assert len(bursts) == 3
    (event,) = quality.events(bursts).to_dict("records")
    assert sorted(event["columns"].split(", ")) == ["x", "y", "z"]
    assert event["words"].endswith("(and 2 more columns)")
    assert len(quality.told(found, most=1)) == 2


def test_constant_and_empty_columns():
    frame = table(2_000).assign(same=3, none=pd.array([None] * 2_000, dtype="Float64"), word="only")
    found = findings(frame, every="D").set_index("column")
    assert found["finding"].to_dict() == {"none": "empty column", "same": "constant", "word": "constant"}
    assert "always 3" in found.loc["same", "words"]
    assert "always only" in found.loc["word", "words"]


def test_a_gap_and_a_double_hour_are_found():
    frame = table()
    hour = frame["at"].dt.strftime("%d %H")
    more = frame[hour == "09 12"]
    frame = pd.concat([frame[hour != "08 03"], more, more]).sort_values("at")
    found = findings(frame)
    assert found[["finding", "window"]].values.tolist() == [
        ["no rows", "2026-03-08T03:00:00Z"],
        ["many rows", "2026-03-09T12:00:00Z"],
    ]


def test_values_that_vanish_and_appear():
    frame = table()
    late = frame["at"] >= "2026-03-09"
    frame["region"] = np.where(late & (frame["region"] == "us"), "us-2", frame["region"])
    found = findings(frame, by="").set_index("finding")
    assert found.loc["lost value", "window"] == found.loc["new value", "window"] == "2026-03-09T00:00:00Z"
    assert "'us' is gone since 2026-03-09" in found.loc["lost value", "words"]
    assert "'us-2' appears at 2026-03-09" in found.loc["new value", "words"]


def test_names_and_numbers_of_rows_are_not_followed_as_categories():
    frame = table(12_000)
    assert findings(frame.assign(key=[f"row-{i}" for i in range(len(frame))])).empty


def test_a_value_that_sleeps_every_night_is_not_lost_until_it_stays_away():
    frame = table()
    night = (frame["at"].dt.hour < 8) & (frame["region"] == "us")
    frame["region"] = np.where(night, "eu", frame["region"])
    assert findings(frame, by="").empty
    gone = (frame["at"] >= "2026-03-09") & (frame["region"] == "us")
    frame["region"] = np.where(gone, "eu", frame["region"])
    assert findings(frame, by="")["finding"].tolist() == ["lost value"]


def test_a_column_of_changing_values_is_told_once():
    frame = table()
    frame["shard"] = "s" + frame["at"].dt.strftime("%d%H").str[:3]
    found = findings(frame, by="")
    assert found[["finding", "column"]].values.tolist() == [["restless", "shard"]]


def test_too_few_rows_or_windows_find_nothing():
    frame = table(200)
    frame.loc[frame["at"].dt.day == 5, "x"] = None
    assert findings(frame, least=30).empty
    assert quality.findings(wb.cube(frame)).empty


def test_without_time_there_is_still_a_verdict():
    cube = wb.cube(table(1_000).drop(columns="at"))
    found = quality.findings(cube)
    assert quality.columns(cube, found)["verdict"].tolist() == ["sound", "sound"]
    assert quality.volume(cube).empty
    assert {name: value for name, value, *_ in quality.headline(cube, found)}["worst column"] == "none"
    assert quality.summary(found).startswith("Nothing is out of pattern")


def test_an_empty_table():
    cube = wb.cube(table(10).iloc[:0], by=parts.axes("at", "D"))
    assert quality.findings(cube).empty
    assert quality.headline(cube, quality.findings(cube))[0][:2] == ("rows", 0)


def test_planted_faults_of_the_example(daily, planted):
    truth, found = planted[1], quality.findings(daily)
    told = {name: value for name, value, *_ in quality.headline(daily, found)}
    assert told["worst column"] == truth["missing"]["column"]
    assert told["worst window"][:19] == truth["missing"]["start"][:19]
    assert told["most missing"] == pytest.approx(100 * truth["missing"]["size"], rel=0.12)
    assert told["new values in"] == truth["new value"]["column"]
    assert told["arriving late"] == truth["late label"]["column"]
    assert told["findings"] == 3
    assert quality.columns(daily, found)["verdict"].value_counts().to_dict() == {"sound": 20, "look": 2, "wrong": 1}


def test_planted_faults_are_found_hour_by_hour(planted):
    cube = wb.cube(planted[0], by=parts.axes("time", "h"), of=["f03", "label", "model"])
    found = quality.findings(cube).set_index("finding")
    truth = planted[1]["missing"]
    assert found.loc["burst", "window"][:19] == truth["start"][:19]
    assert found.loc["burst", "windows"] == 24
    assert found.loc["late", "column"] == "label"


def test_no_false_alarms_on_the_clean_example(daily_clean, clean):
    assert quality.findings(daily_clean)["finding"].tolist() == ["late"]
    hourly = wb.cube(clean, by=parts.axes("time", "h", "region"), of=["f03", "f04", "ttft_s", "model", "f09"])
    assert quality.findings(hourly).empty
