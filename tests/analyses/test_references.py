"""What each window is compared with, and that it is sums of cells."""

from datetime import date

import numpy as np
import pandas as pd
import pytest

import workbench as wb
from workbench.analyses import drift, parts
from workbench.analyses.lateness import after_run, late, windows, words
from workbench.analyses.references import alarms, beside, compare, reference_cube, settled
from workbench.analyses.seasons import Asked, calendar, finer, places, plan


def hours(first, last, tz="UTC"):
    return pd.date_range(first, last, freq="h", tz=tz, inclusive="left").tz_convert("UTC")


def table(times, x, rows=40):
    """`rows` rows an hour whose value is `x` of the hour."""
    at = np.repeat(times, rows)
    return pd.DataFrame({"at": at, "x": np.repeat(np.asarray(x, dtype=float), rows)})


@pytest.fixture(scope="module")
def fortnights():
    """Six weeks in which every hour of the week has its own value, and nothing else ever changes."""
    times = hours("2026-01-05", "2026-02-16")
    return table(times, times.dayofweek * 24 + times.hour)


@pytest.fixture(scope="module")
def hourly(fortnights):
    return wb.cube(fortnights, by=parts.axes("at", "h"), of="x")


def test_references_are_sums_of_cells_that_are_there(fortnights):
    cube = wb.cube(
        fortnights.assign(who=np.where(fortnights.index % 3, "a", "b")), by=parts.axes("at", "D", "who"), of="x"
    )
    made = plan(cube, ("previous", "rolling"), Asked(last=3))
    for kind, days in (("previous", 1), ("rolling", 3)):
        found = reference_cube(cube, made, kind, "2026-01-20T00:00:00Z")
        start = pd.Timestamp("2026-01-20", tz="UTC")
        rows = fortnights[(fortnights["at"] >= start - pd.Timedelta(days, "D")) & (fortnights["at"] < start)]
        assert int(found["count"].sum()) == len(rows)
        assert float(found["sum"].sel(column="x").sum()) == rows["x"].sum()
        assert wb.quantile(wb.collapse(found, "who"), 0.3).sel(column="x").item() == rows["x"].quantile(0.3)


def test_the_baseline_is_what_drift_compares_with(fortnights):
    cube = wb.cube(
        fortnights.assign(x=fortnights["x"] + (fortnights["at"] > "2026-02-01")), by=parts.axes("at", "D"), of="x"
    )
    old, new = (wb.select(cube, window=one) for one in (slice(None, "2026-01-12"), slice("2026-01-12", None)))
    theirs = drift.compare(wb.collapse(old, "window"), new, "baseline").query("window != ''").set_index("window")
    ours = compare(cube, ("baseline",), Asked(baseline="2026-01-05/2026-01-12")).set_index("window")
    inside, outside = ours.loc[ours.index < "2026-01-12"], ours.loc[ours.index >= "2026-01-12"]
    assert set(inside["why"]) == {"it is part of the baseline"}
    assert not inside["evaluated"].any()
    columns = ["distance", "distance_noise", "distance_p", "values_reference", "missing_change_p"]
    pd.testing.assert_frame_equal(outside[columns], theirs[columns], check_dtype=False)


def test_a_season_that_comes_round_is_no_drift(hourly):
    judged = settled(hourly, drift.judge, asked=Asked(baseline="2026-01-05/2026-01-06"), every="D", least=50)
    found = alarms(judged).set_index("reference_kind")
    assert (found.loc["baseline", "alarms"], found.loc["season", "alarms"]) == (36, 0)  # all but the five Mondays
    assert found.loc["season", "windows"] == 28  # two weeks make the first reference


def test_a_window_is_compared_with_its_own_mix_of_places(fortnights):
    part = fortnights[~((fortnights["at"] >= "2026-02-09") & (fortnights["at"].dt.dayofweek > 1))]
    frame = compare(wb.cube(part, by=parts.axes("at", "h"), of="x"), ("rolling", "season"), every="W")
    last = frame[frame["window"] == "2026-02-09T00:00:00Z"].set_index("reference_kind")
    assert last.loc["rolling", "distance"] == pytest.approx(5 / 7)
    assert last.loc["season", "distance"] == pytest.approx(0)
    assert last.loc["season", "values_reference"] == pytest.approx(
        5 * 48 * 40
    )  # Mondays and Tuesdays of five weeks, all alike


def test_rows_without_a_season_before_them_are_not_judged(fortnights):
    night = fortnights["at"].dt.hour < 6
    part = fortnights[~night | (fortnights["at"] >= "2026-02-09")]
    frame = compare(wb.cube(part, by=parts.axes("at", "h"), of="x"), ("season",), every="W").set_index("window")
    last = frame.loc["2026-02-09T00:00:00Z"]
    assert (last["matched"], last["values_current"], last["distance"]) == (0.75, 7 * 18 * 40, pytest.approx(0))
    assert frame.iloc[1]["why"] == "fewer than two windows of its season before it"
    few = fortnights[~(fortnights["at"].dt.hour < 15) | (fortnights["at"] >= "2026-02-09")]
    frame = compare(wb.cube(few, by=parts.axes("at", "h"), of="x"), ("season",), every="W").set_index("window")
    assert frame.iloc[-1]["why"] == "only 38 % of its rows have a reference of their season"


def test_weeks_of_changed_clocks_match_hour_by_hour():
    times = hours("2026-03-02", "2026-04-20", "Europe/Berlin")
    local = times.tz_convert("Europe/Berlin")
    cube = wb.cube(table(times, local.dayofweek * 24 + local.hour, 20),
                   by=[wb.Period("at", "h", "Europe/Berlin", name="window")], of="x")  # fmt: skip
    judged = settled(cube, drift.judge, ("season",), every="D")
    days = judged.set_index("window")
    assert not judged["drifted"].any()
    assert days.loc["2026-03-28T23:00:00Z", "rows_current"] == 23 * 20  # the Sunday of 23 hours
    assert days["distance"].max() < 1e-12
    wrong = settled(cube, drift.judge, ("season",), Asked(tz="UTC"), every="D")
    assert wrong["distance"].max() == pytest.approx(1 / 23)


def test_places_of_spring_and_autumn():
    spring, autumn = (places(hours(*day, "Europe/Berlin").tz_localize(None).to_numpy(), "hour of week", "Europe/Berlin")
                      for day in (("2026-03-29", "2026-03-30"), ("2026-10-25", "2026-10-26")))  # fmt: skip
    assert (len(spring), "Sun 02" in spring.tolist()) == (23, False)
    assert (len(autumn), autumn.tolist().count("Sun 02")) == (25, 2)
    days = np.arange("2026-03-27T23", "2026-04-02T23", 24, "M8[h]").astype("M8[us]")
    days[2:] -= np.timedelta64(1, "h")
    assert places(days, "hour of week", "Europe/Berlin").tolist() == ["Sat", "Sun", "Mon", "Tue", "Wed", "Thu"]
    months = np.array(["2026-01-01", "2026-02-01", "2026-03-01"], "M8[us]")
    assert places(months, "month of year").tolist() == ["Jan", "Feb", "Mar"]


def test_a_season_is_matched_hour_by_hour_where_windows_are_weeks(fortnights):
    """Weeks that miss some nights: whole weeks differ, the same hours of other weeks do not."""
    part = fortnights[~((fortnights["at"].dt.isocalendar().week % 2 == 0) & (fortnights["at"].dt.hour < 12))]
    weekly = wb.cube(part, by=parts.axes("at", "W"), of="x")
    assert finer("W", "hour of week", ["season"]) == "h"
    assert finer("W", "hour of week", ["rolling"]) == finer("h", "hour of week", ["season"]) == ""
    assert finer("MS", "day of week", ["season"]) == "D"
    fine = wb.cube(part, by=parts.axes("at", "h"), of="x")
    kinds = ("rolling", "season")
    asked = Asked(last=1)
    coarse = beside(weekly, None, drift.judge, kinds, asked, every="W").set_index(["reference_kind", "window"])
    found = beside(weekly, fine, drift.judge, kinds, asked, every="W").set_index(["reference_kind", "window"])
    assert coarse.loc["rolling", "distance"].equals(found.loc["rolling", "distance"])
    assert coarse.loc["season", "distance"].max() > 0.03
    assert found.loc["season", "distance"].max() == pytest.approx(0, abs=1e-12)


def test_months_are_matched_across_years():
    days = pd.date_range("2023-01-01", "2026-06-30", freq="D")
    cube = wb.cube(table(days, days.month, 5), by=parts.axes("at", "MS"), of="x")
    judged = settled(cube, drift.judge, ("previous", "season"), Asked(season="month of year", cycles=3))
    found = alarms(judged).set_index("reference_kind")
    assert found.loc["previous", "alarms"] >= 4  # until it is known that months differ
    assert (found.loc["season", "alarms"], found.loc["season", "windows"]) == (0, 18)


def test_holidays_are_compared_with_holidays():
    free = calendar("US", [2025, 2026])
    assert date(2026, 1, 1) in free
    assert calendar("", [2026]) == frozenset()
    days = pd.date_range("2025-09-01", "2026-01-31", freq="D")
    closed = np.array([day.date() in free for day in days])
    cube = wb.cube(table(days, np.where(closed, 0, 1 + days.dayofweek), 200), by=parts.axes("at", "D"), of="x")
    asked = {name: Asked(cycles=30, holidays=found) for name, found in (("plain", frozenset()), ("known", free))}
    judged = {name: settled(cube, drift.judge, ("season",), one) for name, one in asked.items()}
    days = {name: set(one[one["drifted"]]["window"].str[:10]) for name, one in judged.items()}
    assert "2025-12-25" in days["plain"]
    assert days["known"] == set()


def test_a_storm_is_no_reference_for_the_next():
    times = pd.date_range("2026-01-01", periods=40, freq="D")
    x = np.tile(np.arange(40), (40, 1))
    x[[20, 23, 26]] += 25
    rows = pd.DataFrame({"at": np.repeat(times, 400), "x": np.repeat(x, 10, axis=1).ravel()})
    cube = wb.cube(rows, by=parts.axes("at", "D"), of="x")
    asked = Asked(last=4)
    once = compare(cube, ("rolling",), asked).set_index("window")["distance"]
    judged = settled(cube, drift.judge, ("rolling",), asked).set_index("window")
    assert judged.index[judged["drifted"]].str[:10].tolist() == ["2026-01-21", "2026-01-24", "2026-01-27"]
    assert once["2026-01-24T00:00:00Z"] < judged["distance"]["2026-01-24T00:00:00Z"] == pytest.approx(0.625)


def test_a_change_that_lasts_becomes_the_new_usual():
    times = pd.date_range("2026-01-01", periods=40, freq="D")
    at = np.repeat(times, 400)
    cube = wb.cube(pd.DataFrame({"at": at, "x": np.tile(np.arange(400), 40) + 300 * (at >= "2026-01-20")}),
                   by=parts.axes("at", "D"), of="x")  # fmt: skip
    judged = settled(cube, drift.judge, ("rolling",), Asked(last=4)).set_index("window")
    found = judged.index[judged["drifted"]].str[:10].tolist()
    assert found[0] == "2026-01-20"
    assert max(found) < "2026-01-26"


def test_late_rows_reopen_their_window_and_those_that_lean_on_it(fortnights):
    days = fortnights[fortnights["at"] < "2026-01-15"]
    late_rows = fortnights[(fortnights["at"] >= "2026-01-10") & (fortnights["at"] < "2026-01-11")][:7]
    before = wb.cube(days, by=parts.axes("at", "D"), of="x")
    seen = windows(before)
    assert set(late(seen, windows(before))["state"]) == {"same"}
    after = wb.add(before, wb.cube(late_rows, by=parts.axes("at", "D"), of="x", plan=before))
    more = fortnights[(fortnights["at"] >= "2026-01-15") & (fortnights["at"] < "2026-01-16")]
    after = wb.add(after, wb.cube(more, by=parts.axes("at", "D"), of="x", plan=before))
    found = late(seen, windows(after)).set_index("window")
    assert found["state"].value_counts().to_dict() == {"same": 9, "reopened": 1, "new": 1}
    assert found.loc["2026-01-10T00:00:00Z", "words"] == "judged again: 7 rows more than when it was judged"
    frame = compare(after, ("previous", "rolling"), Asked(last=2), seen=seen).set_index(["reference_kind", "window"])
    state = frame["state"].unstack(0)
    assert state.loc["2026-01-10T00:00:00Z"].tolist() == ["reopened"] * 2
    assert state.loc["2026-01-11T00:00:00Z"].tolist() == ["reference reopened"] * 2
    assert state.loc["2026-01-12T00:00:00Z"].tolist() == ["same", "reference reopened"]
    assert state.loc["2026-01-15T00:00:00Z"].tolist() == ["new"] * 2


def test_a_run_knows_what_came_late_since_the_last_one(fortnights, tmp_path):
    days = fortnights[fortnights["at"] < "2026-01-12"]
    late_rows = days[days["at"].dt.day == 7][:5]
    first = wb.cube(days, by=parts.axes("at", "D"), of="x")
    path = tmp_path / "windows.json"
    told = after_run(first, path)
    assert set(told["state"]) == {"new"}
    assert words(told) == ""
    assert set(after_run(first, path)["state"]) == {"same"}
    second = wb.add(first, wb.cube(late_rows, by=parts.axes("at", "D"), of="x", plan=first))
    assert words(after_run(second, path)) == (
        "Late data: 1 window was judged again since the last run: 2026-01-07 (5 rows more than when it was judged)."
    )
    assert words(after_run(second, path)) == ""
    assert set(after_run(second, None)["state"]) == {"new"}
    more = wb.cube(pd.concat([days, late_rows]).assign(y=1.0), by=parts.axes("at", "D"), of=["x", "y"])
    assert set(after_run(more, path)["state"]) == {"same"}, "another column is no late row"
    assert words(after_run(first, path)).endswith("2026-01-07 (5 rows fewer than when it was judged).")
    assert after_run(wb.collapse(first, "window"), path).empty
    path.write_text("[]")
    with pytest.raises(wb.WorkbenchError, match="does not hold the windows of a run"):
        after_run(second, path)


def test_a_table_that_was_counted_otherwise_is_not_late():
    """Other bins and another order of the same rows are the same windows; another value, or column, is told."""
    rng = np.random.default_rng(3)
    frame = pd.DataFrame({"at": pd.Timestamp("2026-03-01") + pd.to_timedelta(np.arange(9_000) % 3, unit="D"),
                          "x": rng.lognormal(0, 2, 9_000), "c": rng.choice(list("abc"), 9_000)})  # fmt: skip
    first = wb.cube(frame, by=parts.axes("at", "D"))
    coarse = wb.cube(pd.DataFrame({"at": frame["at"][:3], "x": [1.0, 2.0, 3.0], "c": "a"}), by=parts.axes("at", "D"))
    mixed = wb.cube(frame.sample(frac=1, random_state=1), by=parts.axes("at", "D"), plan=coarse)
    assert len(first["bin_count"]) != len(mixed["bin_count"])
    assert set(late(windows(first), windows(mixed))["state"]) == {"same"}
    swapped = frame.assign(c=frame["c"].where(frame.index != 1, "c" if frame["c"][1] != "c" else "a"))
    assert late(windows(first), windows(wb.cube(swapped, by=parts.axes("at", "D"))))["state"].tolist() == [
        "same", "reopened", "same"]  # fmt: skip


def test_corrected_values_reopen_a_window_too(fortnights):
    days = fortnights[fortnights["at"] < "2026-01-08"].reset_index(drop=True)
    first = windows(wb.cube(days, by=parts.axes("at", "D"), of="x"))
    second = windows(wb.cube(days.assign(x=days["x"].where(days.index != 5, 99.0)), by=parts.axes("at", "D"), of="x"))
    found = late(first, second)
    assert found["words"].tolist()[0] == "judged again: the same number of rows, other values"
    assert found["state"].tolist() == ["reopened", "same", "same"]


def test_the_tidy_table_names_what_each_window_was_compared_with(hourly):
    judged = settled(hourly, drift.judge, ("previous", "rolling", "season"), Asked(last=2), every="D")
    tidy = (
        drift.results(judged).query("metric == 'ks' and window == '2026-01-26T00:00:00Z'").set_index("reference_kind")
    )
    assert tidy["window_compared"].to_dict() == {
        "previous": "2026-01-25T00:00:00Z/2026-01-26T00:00:00Z",
        "rolling": "2026-01-24T00:00:00Z/2026-01-26T00:00:00Z",
        "season": "2026-01-05T00:00:00Z/2026-01-20T00:00:00Z",
    }
    assert tidy["verdict"].to_dict() == {"previous": "small shift", "rolling": "small shift", "season": "no drift"}
    assert tidy["n_reference"].round().to_dict() == {"previous": 960, "rolling": 1920, "season": 2880}
    assert (tidy["low"] <= tidy["excess"]).all()
    assert (tidy["excess"] <= tidy["high"]).all()
    assert (tidy["cells"] == 168).all()
    assert set(tidy["edges"]) == {"[0.0, 167.0]"}
    main = judged[judged["reference_kind"] == "rolling"]
    both = drift.all_results(main, judged)
    assert set(both["reference_kind"]) == {"previous", "rolling", "season"}
    assert not both.duplicated(["window", "reference_kind", "segment", "column", "metric"]).any(), (
        "no kind is there twice"
    )


@pytest.mark.slow
def test_flights_have_fewer_alarms_in_season_and_keep_their_storms(flights):
    source = wb.open_table(flights, columns=["scheduled", "dep_delay", "arr_delay", "air_time", "distance", "carrier"])
    by = [wb.Period("scheduled", "h", "America/New_York", name="window")]
    cube = wb.cube(source, by=by, of=["dep_delay", "arr_delay", "air_time", "distance", "carrier"])
    asked = Asked(baseline="2013-01-01T05:00/2013-02-01T05:00", holidays=calendar("US", [2013]))
    judged = settled(cube, drift.judge, ("baseline", "season"), asked, every="W")
    count = judged.groupby("reference_kind")["drifted"].sum()
    assert count["season"] < 0.8 * count["baseline"]
    found = set(judged[judged["drifted"] & (judged["reference_kind"] == "season")]["window"].str[:10])
    # Nemo, the snow of March 6 to 8, the thunderstorms of the end of June and of July, the snow of December
    assert {"2013-02-04", "2013-03-04", "2013-06-24", "2013-07-08", "2013-12-09"} <= found


@pytest.mark.parametrize(
    ("kinds", "asked", "every", "sentence"),
    [
        (("weekly",), {}, "", "'weekly' is no kind of reference; .*baseline"),
        ((), {}, "", "no kind of reference was asked for"),
        (("season",), {"season": "tides"}, "", "season='tides' is none that is known"),
        (("rolling",), {"last": 0}, "", "last=0 is not a number of windows"),
        (("baseline",), {"baseline": "2031-01-01/2031-02-01"}, "", "no window starts in baseline"),
        (("baseline",), {"baseline": "january"}, "", "is not START/END"),
        (("previous",), {}, "YS", "makes one window of all"),
        (("previous",), {}, "soon", "'soon' is not a length of time"),
        (("season",), {"tz": "Mars/Base"}, "", "'Mars/Base' is not a time zone"),
    ],
)
def test_what_cannot_be_asked(hourly, kinds, asked, every, sentence):
    with pytest.raises(wb.WorkbenchError, match=sentence):
        compare(hourly, kinds, Asked(**asked), every=every)


def test_cubes_and_calendars_that_cannot_be(hourly):
    with pytest.raises(wb.WorkbenchError, match="has none"):
        plan(wb.collapse(hourly, "window"))
    with pytest.raises(wb.WorkbenchError, match="two windows or more"):
        plan(wb.select(hourly, window=[hourly["window"].values[0]]))
    with pytest.raises(wb.WorkbenchError, match="'XX' is no country that is known"):
        calendar("XX", [2026])
    with pytest.raises(wb.WorkbenchError, match="DE-ZZ"):
        calendar("DE-ZZ", [2026])
    with pytest.raises(wb.WorkbenchError, match="lateness.windows"):
        late(pd.DataFrame({"a": [1]}), windows(hourly))
    made = plan(hourly, ("previous",))
    with pytest.raises(wb.WorkbenchError, match="is no window that is judged"):
        reference_cube(hourly, made, "previous", "2031-01-01T00:00:00Z")
    with pytest.raises(wb.WorkbenchError, match="too few windows before it"):
        reference_cube(hourly, made, "previous", made.labels[0])
