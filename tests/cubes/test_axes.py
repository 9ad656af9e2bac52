"""Axes: windows as pandas has them, in every zone, whatever the split; categories and bins."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import workbench as wb
from workbench.cubes import Bins, Category, CoMoments, Period
from workbench.cubes.axes import NO_TIME, RESERVED, check_axes

ZONES = ["UTC", "America/New_York", "Europe/Berlin", "Asia/Kolkata", "Australia/Lord_Howe", "America/Sao_Paulo"]
CALENDAR = {  # an offset and the pandas periods that are the same windows
    "D": "D", "W": "W-SUN", "W-WED": "W-WED", "M": "M", "ME": "M", "MS": "M", "QS": "Q", "QE": "Q", "YE": "Y", "YS": "Y",
}  # fmt: skip
DAY = 86_400_000_000


def micros(*texts):
    return np.array(texts, "datetime64[us]").view(np.int64)


def starts(every, tz, times):
    return Period("t", every, tz).starts(np.asarray(times, np.int64))


def local(times, tz):
    return pd.DatetimeIndex(np.asarray(times, np.int64).view("datetime64[us]"), tz="UTC").tz_convert(tz)


def localized(naive, tz):
    """The instants at which local times are first reached."""
    first = pd.DatetimeIndex(naive).tz_localize(tz, nonexistent="shift_forward", ambiguous=np.ones(len(naive), bool))
    return first.tz_convert("UTC").tz_localize(None).as_unit("us").to_numpy().view(np.int64)


@pytest.fixture(scope="module")
def instants():
    """Times about every change of the clocks from 2015 to 2026, to the microsecond, and some in between."""
    rng = np.random.default_rng(7)
    out = [rng.integers(micros("2014-12-30")[0], micros("2027-01-03")[0], 4000)]
    hours = np.arange(micros("2015-01-01")[0], micros("2027-01-01")[0], 3_600_000_000)
    for tz in ZONES[1:]:
        shift = np.array([t.utcoffset().total_seconds() for t in local(hours[::6], tz).to_pydatetime()])
        for at in hours[::6][1:][np.diff(shift) != 0]:
            near = at + np.arange(-30, 30) * 1_800_000_000
            out += [near, near - 1, near + 1]
    return np.unique(np.concatenate(out))


@pytest.mark.parametrize("tz", ZONES)
@pytest.mark.parametrize("every", CALENDAR)
def test_calendar_windows_are_those_of_pandas(every, tz, instants):
    naive = local(instants, tz).tz_localize(None)
    wanted = naive.to_period(CALENDAR[every]).start_time
    np.testing.assert_array_equal(starts(every, tz, instants), localized(wanted, tz))


@pytest.mark.parametrize("tz", ZONES)
@pytest.mark.parametrize(("every", "days"), [("2D", 2), ("7D", 7), ("2W", 14), ("10D", 10), ("48h", 2)])
def test_multiples_of_days_are_counted_from_a_monday(every, days, tz, instants):
    naive = local(instants, tz).tz_localize(None).normalize()
    monday = pd.Timestamp("1900-01-01").as_unit("us")
    wanted = naive - pd.to_timedelta((naive - monday).days % days, unit="D")
    np.testing.assert_array_equal(starts(every, tz, instants), localized(wanted, tz))


@pytest.mark.parametrize("tz", ZONES)
@pytest.mark.parametrize("every", ["15min", "h", "6h", "12h"])
def test_parts_of_a_day_restart_at_midnight(every, tz, instants):
    midnight = localized(local(instants, tz).tz_localize(None).normalize(), tz)
    width = pd.Timedelta(pd.tseries.frequencies.to_offset(every)) // pd.Timedelta(microseconds=1)
    got = starts(every, tz, instants)
    np.testing.assert_array_equal(got, midnight + (instants - midnight) // width * width)
    if every == "15min" or tz in ("UTC", "Asia/Kolkata"):  # where clocks change by whole windows, pandas agrees
        wall = local(instants, tz).floor(every, ambiguous="NaT", nonexistent="NaT")
        sure = ~wall.isna()
        np.testing.assert_array_equal(
            got[sure], wall[sure].tz_convert("UTC").tz_localize(None).to_numpy().view(np.int64)
        )


@pytest.mark.parametrize("every", ["5h", "36h", "7min", "45s", "250us", "1.5h"])
def test_other_lengths_are_counted_from_1970(every, instants):
    wanted = pd.DatetimeIndex(instants.view("datetime64[us]")).floor(every).as_unit("us").to_numpy().view(np.int64)
    for tz in ("UTC", "Europe/Berlin") if every in ("5h", "36h", "7min") else ("UTC",):
        got = starts(every, tz, instants)
        if every != "45s" and tz == "UTC":
            np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize(("tz", "day", "hours"), [
    ("Europe/Berlin", "2026-03-29", 23), ("Europe/Berlin", "2026-10-25", 25),
    ("America/New_York", "2026-03-08", 23), ("America/Sao_Paulo", "2018-11-04", 23),
    ("America/Sao_Paulo", "2018-02-17", 25), ("Australia/Lord_Howe", "2026-04-05", 24.5),
    ("Asia/Kolkata", "2026-03-29", 24),
])  # fmt: skip
def test_days_have_the_hours_that_they_have(tz, day, hours):
    noon = pd.Timestamp(day + " 12:00").tz_localize(tz).tz_convert("UTC").tz_localize(None)
    minutes = (noon.as_unit("us").to_datetime64() + np.arange(-20 * 60, 20 * 60) * np.timedelta64(1, "m")).view(
        np.int64
    )
    ours = starts("D", tz, minutes)
    mine = minutes[ours == starts("D", tz, [noon.as_unit("us").to_datetime64().view(np.int64)])[0]]
    assert len(mine) == hours * 60
    assert len(np.unique(starts("h", tz, mine))) == int(np.ceil(hours))
    assert (starts("h", tz, mine) >= ours.min()).all()


def test_business_offsets():
    times = micros(
        "2026-03-06T10", "2026-03-07", "2026-03-08T23", "2026-03-09", "2026-02-27T12", "2026-02-28", "2026-03-01"
    )
    days = starts("B", "UTC", times).view("datetime64[us]").astype("datetime64[D]").astype(str).tolist()
    assert days == ["2026-03-06"] * 3 + ["2026-03-09"] + ["2026-02-27"] * 3
    month = starts("BME", "UTC", times).view("datetime64[us]").astype("datetime64[D]").astype(str).tolist()
    assert month == ["2026-02-28"] * 4 + ["2026-01-31"] + ["2026-02-28"] * 2
    half = starts("SME", "UTC", times).view("datetime64[us]").astype("datetime64[D]").astype(str).tolist()
    assert half == ["2026-03-01"] * 4 + ["2026-02-16"] * 2 + ["2026-03-01"]


@pytest.mark.parametrize("every", ["D", "W", "ME", "MS", "QS", "YE", "7D", "6h", "15min", "2QE", "B"])
@pytest.mark.parametrize("tz", ["UTC", "America/New_York"])
def test_far_times_have_their_windows(every, tz):
    far = [*micros("0001-01-05T01", "0400-02-29T12", "1582-10-10", "1899-12-31T23:59", "1900-01-01", "1900-06-30")]
    if every != "B":  # pandas takes its time to list business days of ten thousand years
        far += [*micros("2262-04-12", "9999-06-15T12", "9999-12-30T12")]
    far = np.array([*far, NO_TIME])
    got = starts(every, tz, far)
    assert got[-1] == NO_TIME
    length = {
        "D": 1,
        "W": 7,
        "ME": 31,
        "MS": 31,
        "QS": 92,
        "YE": 366,
        "7D": 7,
        "6h": 0.25,
        "15min": 0.011,
        "2QE": 184,
        "B": 3,
    }
    age = (far - got)[:-1]
    assert (age >= 0).all()
    assert (age <= length[every] * DAY + 2 * 3_600_000_000).all()
    one_by_one = np.concatenate([starts(every, tz, [t]) for t in far])
    np.testing.assert_array_equal(got, one_by_one)
    assert (starts(every, tz, got[1:]) == got[1:]).all()  # a start is in its own window


def test_times_beyond_the_calendar_are_in_the_first_or_last_window():
    wild = [np.iinfo(np.int64).min + 1, np.iinfo(np.int64).max]
    for tz in ("UTC", "Europe/Berlin"):
        days = starts("D", tz, wild)
        assert days[0] < micros("0001-01-02")[0]
        assert days[1] > micros("9999-12-30")[0]
        months = starts("MS", tz, wild)
        assert months[0] < micros("0001-01-02")[0]


@settings(max_examples=60)
@given(
    st.lists(st.datetimes(dt.datetime(1850, 1, 1), dt.datetime(2060, 1, 1)), min_size=1, max_size=60),
    st.sampled_from(["D", "W", "6h", "15min", "5h", "MS", "2W", "QE"]),
    st.sampled_from([*ZONES, "Africa/Monrovia", "Europe/Amsterdam", "Pacific/Apia", "Asia/Kathmandu"]),
    st.integers(1, 7),
    st.booleans(),
)
def test_windows_do_not_depend_on_the_split(times, every, tz, step, ordered):
    axis = Period("t", every, tz)
    times = sorted(times) if ordered else times
    values = pa.array(times, pa.timestamp("us"))
    for column in (values, pa.concat_arrays([values.take(pa.array(np.repeat(np.arange(len(values)), 9)))])):
        codes, labels = axis.encode(column)
        whole = labels[codes]
        apart = [
            labels[codes] for codes, labels in (axis.encode(column.slice(a, step)) for a in range(0, len(column), step))
        ]
        np.testing.assert_array_equal(whole, np.concatenate(apart))


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_every_unit_of_time_has_the_same_windows(unit):
    data = pa.array([dt.datetime(1969, 12, 31, 23, 59, 59), None, dt.datetime(2026, 3, 1)], pa.timestamp(unit))
    c = wb.cube(pa.table({"t": data}), by=Period("t", "D"))
    np.testing.assert_array_equal(c["t"].values, np.array(["1969-12-31", "2026-03-01", "NaT"], "datetime64[us]"))


def test_a_time_with_a_zone_is_the_instant_that_it_is():
    berlin = pa.array([dt.datetime(2026, 3, 28, 23, 30, tzinfo=dt.UTC)], pa.timestamp("ms", "Europe/Berlin"))
    c = wb.cube(pa.table({"t": berlin}), by=Period("t", "D", "Europe/Berlin"))
    assert c["t"].values.astype(str).tolist() == ["2026-03-28T23:00:00.000000"]
    days = pa.array([dt.date(2026, 3, 29)])
    c = wb.cube(pa.table({"day": days}), by=Period("day", "W"))
    assert c["day"].values.astype("datetime64[D]").astype(str).tolist() == ["2026-03-23"]


@pytest.mark.parametrize("every", ["", "nonsense", "-1D", "0D", "MS-3", "H", "FY5253", None, 3, ["D"], "5"])
def test_no_length_of_time(every):
    with pytest.raises(wb.WorkbenchError, match="is not a length of time; use a pandas offset such as '15min'"):
        Period("t", every)


def test_lengths_that_older_pandas_wrote():
    assert (
        Period("t", "2M").starts(micros("2026-04-30")).tolist()
        == Period("t", "2MS").starts(micros("2026-04-30")).tolist()
    )
    for old, new in (("d", "D"), ("7d", "7D"), ("w", "W"), ("Q", "QS"), ("Y", "YS"), ("A", "YS")):
        assert Period("t", old).starts(micros("2026-04-30")) == Period("t", new).starts(micros("2026-04-30"))


def test_windows_are_whole_microseconds():
    for every in ("1ns", "1500ns"):
        with pytest.raises(wb.WorkbenchError, match="not a whole number of microseconds"):
            Period("t", every)


@pytest.mark.parametrize("tz", ["", "Mars/Olympus", "+02:00", "../../etc/passwd", None])
def test_no_time_zone(tz):
    with pytest.raises(wb.WorkbenchError, match="is not a time zone known here; use an IANA name such as 'UTC'"):
        Period("t", "D", tz)


def test_categories_are_labelled_by_what_they_are():
    data = {
        "n": pa.array([1, 200, None], pa.int32()),
        "f": pa.array([0.1, 200.0, None], pa.float32()),
        "d": pa.array([0.1234567, 0.1234568, float("nan")]),
        "b": [True, False, None],
        "u": pa.array([2**64 - 1, 0, None], pa.uint64()),
        "half": pa.array([0.5, 1.0, None], pa.float16()),
        "words": pa.array(["x", "y", None], pa.large_string()),
        "view": pa.array(["x", "y", None], pa.string_view()),
        "codes": pa.array([7, 8, None]).dictionary_encode(),
        "wide": pa.array(["x", "y", None], pa.large_string()).dictionary_encode(),
    }
    table = pa.table(data)
    wanted = {
        "n": ["(missing)", "1", "200"], "f": ["(missing)", "0.1", "200"], "d": ["0.1234567", "0.1234568", "nan"],
        "b": ["(missing)", "false", "true"], "u": ["(missing)", "0", "18446744073709551615"],
        "half": ["(missing)", "0.5", "1"], "words": ["(missing)", "x", "y"], "view": ["(missing)", "x", "y"],
        "codes": ["(missing)", "7", "8"], "wide": ["(missing)", "x", "y"],
    }  # fmt: skip
    for column, labels in wanted.items():
        c = wb.cube(table, by=Category(column, "axis"))
        assert c["axis"].values.tolist() == labels, column
        assert c["count"].values.tolist() == [1, 1, 1]


def test_dictionaries_may_repeat_hold_nulls_and_differ_between_chunks():
    words = pa.DictionaryArray.from_arrays(pa.array([0, 1, 2, 3, None]), pa.array(["a", "b", "a", None]))
    more = pa.DictionaryArray.from_arrays(pa.array([0, 1]), pa.array(["c", "a"]))
    c = wb.cube(pa.table({"k": pa.chunked_array([words, more])}), by="k")
    assert c["count"].to_series().to_dict() == {"(missing)": 2, "a": 3, "b": 1, "c": 1}
    assert c["missing"].sel(column="k").values.tolist() == [2, 0, 0, 0]
    plain = wb.categories(wb.cube(pa.table({"k": pa.chunked_array([words, more])})), "k")
    assert plain.to_series().to_dict() == {"a": 3, "b": 1, "c": 1, "(missing)": 2}


def test_bins_are_half_open():
    x = pa.array([-np.inf, -1.0, -0.5, 0.0, 0.999, 1.0, 1e300, np.inf, np.nan, None])
    c = wb.cube(pa.table({"x": x}), by=Bins("x", edges=(-1, 0, 1)))
    np.testing.assert_array_equal(c["x"].values, [-np.inf, -1, 0, 1, np.nan])
    assert c["count"].values.tolist() == [1, 2, 2, 3, 2]


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=30), st.sampled_from([1, 4, 64]))
def test_bins_of_bits_are_the_same_for_every_table(values, per_octave):
    axis = Bins("x", per_octave=per_octave)
    codes, labels = axis.encode(pa.array(values))
    low = labels[codes]
    assert (low <= values).all()
    alone = [axis.encode(pa.array([v]))[1][0] for v in values]
    np.testing.assert_array_equal(low, alone)
    fine = np.abs(values) > 1e-300
    with np.errstate(over="ignore"):
        assert (
            np.abs(np.array(values) - low)[fine] <= np.maximum(np.abs(values), np.abs(low))[fine] / per_octave
        ).all()


def test_wrong_axes_are_told():
    bad = {
        r"by= got 3; an axis is Category\(column\)": 3,
        r"by= got 4": ["k", 4],
        r"Two axes are called 'k'; give one of them another name=": ["k", Category("k")],
        r"Two axes are called 'w'": [Category("k", "w"), Period("t", "D", name="w")],
    }
    for words, by in bad.items():
        with pytest.raises(wb.WorkbenchError, match=words):
            check_axes(by)
    with pytest.raises(wb.WorkbenchError, match="give one or more, ascending, no two alike"):
        Bins("x", edges=(1, 1))
    with pytest.raises(wb.WorkbenchError, match="ascending"):
        Bins("x", edges=())
    with pytest.raises(wb.WorkbenchError, match="ascending"):
        Bins("x", edges=(float("nan"),))
    with pytest.raises(wb.WorkbenchError, match="a power of two from 1 to 64"):
        Bins("x", per_octave=3)
    assert check_axes(None) == ()


def test_a_cubes_own_names_are_reserved():
    data = pa.table({"k": ["a"], "t": pa.array([0], pa.timestamp("us")), "x": [1.0], "y": [1.0]})
    c = wb.cube(data, by="k", of=[..., CoMoments()])
    own = {str(n) for n in c.variables} | {str(d) for d in c.dims}
    own |= {str(n) for n in wb.histogram(c, "x").variables} | {str(n) for n in wb.categories(c, "k").coords}
    own |= {str(n) for n in wb.quantile(c, [0.5]).coords} | set(wb.histogram(c, "x").dims)
    assert own - {"k"} == RESERVED
    for name in sorted(RESERVED):
        with pytest.raises(wb.WorkbenchError, match=f"cannot be called '{name}'.*name='my_{name}'"):
            wb.cube(data, by=Category("k", name))


@pytest.mark.parametrize(
    "name", [*sorted(RESERVED), "text_x", "label_x", "window", "segment", "a/b", " ", "🙂", "cube", "role"]
)
def test_columns_may_be_called_anything(name, tmp_path, same):
    data = pa.table({name: ["a", "b", None], "x": [1.0, 2.0, 3.0]})
    c = wb.cube(data, by=Category(name, "axis"))
    wb.profile(c)
    wb.top_values(c)
    same(wb.open_cube(wb.save_cube(c, tmp_path / "cube.nc")), c, exact=True)
    assert wb.categories(c, name).sel(axis="a", value="a").item() == 1
    if name not in RESERVED:
        axis = wb.cube(data, by=name)
        same(wb.open_cube(wb.save_cube(axis, tmp_path / "cube.nc")), axis, exact=True)
        assert wb.select(axis, **{name: "a"})["count"].item() == 1


def test_nanoseconds_before_1970_belong_to_the_microsecond_that_they_are_in(tmp_path):
    instants = pa.array([-1, None, -1000, -1001, 0, 999, 86_400_000_000_000], pa.timestamp("ns", "UTC"))
    data = pa.table({"t": instants})
    pq.write_table(data, tmp_path / "t.parquet")
    for table in (data, data.slice(0, 4), wb.open_table(tmp_path / "t.parquet")):
        c = wb.cube(table, by=Period("t", "D", name="day"))
        assert c["count"].sel(day="1969-12-31") == 3
        assert c["min"].sel(day="1969-12-31", column="t") == -2
        assert c["max"].sel(day="1969-12-31", column="t") == -1
