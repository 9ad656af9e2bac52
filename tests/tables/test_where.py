"""Conditions keep exactly the rows that hold them, whatever is skipped by statistics."""

import datetime
import operator

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from workbench.tables import open_table

COMPARE = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}

LARGE = [2**53 + 1, 2**63 - 1, -(2**63)]  # as floats they would be their neighbours


def holds(one, operation, value):
    if operation in ("==", "!=") and value != value:  # NaN equals NaN
        return (one != one) == (operation == "==")
    return COMPARE[operation](one, value)


def kept(path, where, column):
    table = open_table(path, columns=[column], where=where)
    return [one for piece in table.pieces() for rows in table.batches(piece) for one in rows.column(column).to_pylist()]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(
    rows=st.lists(
        st.tuples(
            st.none() | st.integers(-3, 3) | st.sampled_from(LARGE),
            st.none() | st.sampled_from([-1.5, -0.0, 0.0, 2.0, float("nan"), float("inf")]),
            st.none() | st.sampled_from(["", "a", "b\n", "é😀"]),
        ),
        max_size=12,
    ),
    column=st.sampled_from(["i", "f", "s"]),
    operation=st.sampled_from(list(COMPARE)),
    data=st.data(),
    group=st.integers(1, 5),
)
def test_a_condition_keeps_the_rows_that_hold_it(tmp_path, rows, column, operation, data, group):
    index = "ifs".index(column)
    number = st.integers(-3, 3) | st.sampled_from(
        [*LARGE, 2**64, -(10**400), -1.5, 0.0, 2.0, 2.0**53, 1e9, np.inf, np.nan]
    )
    value = data.draw([number, number, st.sampled_from(["", "a", "é😀"])][index])
    types = {"i": pa.int64(), "f": pa.float64(), "s": pa.string()}
    columns = {name: pa.array([row[k] for row in rows], types[name]) for k, name in enumerate("ifs")}
    columns["row"] = pa.array(range(len(rows)), pa.int64())
    pq.write_table(pa.table(columns), tmp_path / "t.parquet", row_group_size=group)
    expected = [k for k, row in enumerate(rows) if row[index] is not None and holds(row[index], operation, value)]
    assert kept(tmp_path / "t.parquet", [(column, operation, value)], "row") == expected
    if operation in ("==", "!="):
        listed = {"==": "in", "!=": "not in"}[operation]
        assert kept(tmp_path / "t.parquet", [(column, listed, [value])], "row") == expected


@pytest.fixture
def path(tmp_path):
    times = [datetime.datetime(2026, 3, day) for day in range(1, 9)]
    columns = {"t": times, "s": ["a", "b", None, "a"] * 2, "n": [1, None, 3, 4] * 2, "row": list(range(8))}
    pq.write_table(pa.table(columns), tmp_path / "t.parquet", row_group_size=2)
    return tmp_path / "t.parquet"


def test_all_conditions_must_hold(path):
    assert kept(path, [("s", "==", "a"), ("n", ">", 1)], "row") == [3, 7]


def test_lists_and_missing_values(path):
    assert kept(path, [("s", "in", ["b", "c"])], "row") == [1, 5]
    assert kept(path, [("s", "not in", ["b"])], "row") == [0, 3, 4, 7]
    assert kept(path, [("n", "in", [1, 3.0])], "row") == [0, 2, 4, 6]
    assert kept(path, [("s", "is null")], "row") == [2, 6]
    assert kept(path, [("n", "not null", None)], "n") == [1, 3, 4] * 2


@pytest.mark.parametrize(
    "moment",
    [
        "2026-03-07",
        "2026-03-06T19:00:00-05:00",
        datetime.date(2026, 3, 7),
        datetime.datetime(2026, 3, 7),
        pd.Timestamp("2026-03-07"),
        np.datetime64("2026-03-07"),
    ],
)
def test_times_in_every_spelling_are_utc(path, moment):
    assert kept(path, [("t", ">=", moment)], "row") == [6, 7]


def test_row_groups_that_cannot_hold_are_never_read(path):
    table = open_table(path, where=[("t", ">=", "2026-03-05"), ("row", "<", 6)])
    assert [piece.parts for piece in table.pieces()] == [(2,)]
    assert table.rows is None
    assert open_table(path, where=[("s", "==", "z")]).pieces() == []
    assert open_table(path, where=("row", "==", 1)).sample(5)["row"].to_pylist() == [1]


def test_whole_numbers_beyond_all_floats_are_compared_with_floats(tmp_path):
    pq.write_table(pa.table({"f": [1.5, None, float("-inf")]}), tmp_path / "t.parquet")
    for operation, value, expected in (
        ("<", 10**400, [1.5, float("-inf")]),
        (">", -(10**400), [1.5]),
        ("in", [10**400], []),
    ):
        assert kept(tmp_path / "t.parquet", [("f", operation, value)], "f") == expected


def test_every_nan_is_nan(tmp_path):
    signs = np.array([0x7FF8000000000000, 0xFFF8000000000000, 0x7FF8000000000001, 0], np.uint64).view(float)
    for number, kind in enumerate((float, np.float32)):
        name = f"{number}.parquet"
        pq.write_table(pa.table({"f": pa.array(signs.astype(kind), from_pandas=False)}), tmp_path / name)
        for nan in (float("nan"), signs[1]):
            assert len(kept(tmp_path / name, [("f", "in", [nan])], "f")) == 3
            assert kept(tmp_path / name, [("f", "!=", nan)], "f") == [0.0]


def test_both_zeros_are_in_a_list_that_has_one(tmp_path):
    pq.write_table(pa.table({"f": [0.0, -0.0, 1.0]}), tmp_path / "t.parquet")
    for zero in (0, 0.0, -0.0):
        assert kept(tmp_path / "t.parquet", [("f", "in", [zero])], "f") == [0.0, 0.0]
        assert kept(tmp_path / "t.parquet", [("f", "not in", [zero])], "f") == [1.0]
