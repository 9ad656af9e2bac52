"""Which windows are compared with which."""

import pandas as pd
import pytest

import workbench as wb
from workbench.analyses import parts, sides

DAYS = pd.DataFrame({"at": pd.date_range("2026-03-01", periods=9, freq="D"), "x": range(9)})


@pytest.fixture(scope="module")
def cube():
    return wb.cube(DAYS, by=parts.axes("at", "D"))


def split(cube, reference="", current=""):
    old, new, name = sides.split(cube, None, sides.side("t", reference), sides.side("t", current))
    return int(old["count"]), parts.window_labels(new), name


def test_the_first_third_is_the_reference_unless_it_is_named(cube):
    old, new, name = split(cube)
    assert (old, len(new), new[0]) == (3, 6, "2026-03-04T00:00:00Z")
    assert name == "2026-03-01T00:00:00Z/2026-03-04T00:00:00Z"


def test_named_windows_leave_out_their_end(cube):
    old, new, name = split(cube, "2026-03-02/2026-03-04", "2026-03-08/2026-03-09")
    assert (old, new) == (2, ["2026-03-08T00:00:00Z"])
    assert name == "2026-03-02T00:00:00Z/2026-03-04T00:00:00Z"


def test_with_a_current_window_only_all_before_it_is_the_reference(cube):
    assert split(cube, "", "2026-03-05/2026-03-10")[0] == 4


def test_with_a_reference_only_all_after_it_is_current(cube):
    assert len(split(cube, "2026-03-02/2026-03-03")[1]) == 7


def test_the_last_window_may_be_the_reference(cube):
    name = split(cube, "2026-03-09/2026-03-10", "2026-03-01/2026-03-03")[2]
    assert name == "2026-03-09T00:00:00Z/2026-03-10T00:00:00Z"


def test_two_tables_are_compared_whole_with_or_without_windows(cube):
    other = wb.cube(DAYS)
    old, new, name = sides.split(other, cube, sides.side("a", ""), sides.side("b", ""))
    assert (int(old["count"]), int(new["count"]), name) == (9, 9, "a")
    old, new, name = sides.split(cube, other, sides.side("a", ""), sides.side("b", "2026-03-02/2026-03-04"))
    assert (int(old["count"]), new.sizes["window"]) == (9, 2)


@pytest.mark.parametrize(
    ("reference", "current", "sentence"),
    [
        ("2027-01-01/2027-01-02", "", "no window of the table starts in reference"),
        ("2026-03-01/2026-03-04", "2026-03-03/2026-03-05", "share windows"),
        ("2026-03-09/2026-03-10", "", "no window is left"),
        ("", "2026-03-01/2026-03-02", "no window lies before"),
    ],
)
def test_sides_that_cannot_be(cube, reference, current, sentence):
    with pytest.raises(wb.WorkbenchError, match=sentence):
        split(cube, reference, current)


@pytest.mark.parametrize(
    ("text", "sentence"), [("2026-03-05/2026-03-01", "ends before"), ("2026-13-01/2026-14-01", "ISO")]
)
def test_windows_that_cannot_be_read(text, sentence):
    with pytest.raises(wb.WorkbenchError, match=sentence):
        sides.side("t", text)


def test_one_table_without_windows_has_nothing_to_compare():
    with pytest.raises(wb.WorkbenchError, match="nothing to compare"):
        split(wb.cube(DAYS))


def test_an_address_is_not_a_window():
    assert sides.side("t", "2026/table").table == "2026/table"
    assert sides.side("t", "s3://bucket/table").table == "s3://bucket/table"
    assert sides.side("t", "s3://bucket/table").time("at") == ""
    assert sides.side("t", "2026-03-01T00:00+02:00/2026-03-02").start == pd.Timestamp("2026-02-28T22:00Z")
