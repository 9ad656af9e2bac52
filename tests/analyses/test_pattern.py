"""The rule for windows out of pattern."""

import numpy as np
import pytest

from workbench.analyses import pattern


def test_a_burst_is_out_of_pattern_and_its_neighbours_are_not():
    part = np.array([[10, 12, 9, 300, 11, 10, 8]])
    told = pattern.shares(part, np.full((1, 7), 1000))
    assert told["out"].tolist() == [False] * 3 + [True] + [False] * 3
    assert told["usual"][3] == pytest.approx(0.010)
    assert told["excess_rows"][3] == pytest.approx(290)


def test_a_dip_counts_unless_only_more_is_asked_for():
    part, rows = np.array([[100, 101, 99, 100, 0, 102]]), np.full((1, 6), 1000)
    assert pattern.shares(part, rows)["out"].tolist() == [False] * 4 + [True, False]
    assert not pattern.shares(part, rows, more_only=True)["out"].any()


def test_too_few_rows_or_windows_are_not_judged():
    few = pattern.shares(np.array([[0, 0, 0, 0, 0, 10]]), np.array([[99, 99, 99, 99, 99, 10]]))
    assert few["evaluated"].tolist() == [True] * 5 + [False]
    assert not few["out"].any()
    assert not pattern.shares(np.array([[0, 0, 0, 90]]), np.full((1, 4), 100))["evaluated"].any()


def test_a_restless_series_is_its_own_yardstick():
    part = np.array([[50, 400, 100, 350, 60, 420, 90, 380]])
    assert not pattern.shares(part, np.full((1, 8), 1000))["out"].any()


@pytest.mark.parametrize("share", [0.0, 0.001, 0.02, 0.3, 0.9])
def test_no_alarms_on_chance_alone(share):
    rng = np.random.default_rng(7)
    rows = rng.integers(20, 3000, (25, 336))
    told = pattern.shares(rng.binomial(rows, share), rows)
    assert not told["out"].any()


def test_adjusted_p_values_leave_out_the_unknown():
    told = pattern.adjusted(np.array([np.nan, 0.001, 0.5, np.nan]))
    assert np.isnan(told[[0, 3]]).all()
    assert told[1] == pytest.approx(0.002)
    assert np.isnan(pattern.adjusted(np.array([np.nan]))).all()


def test_an_empty_window_and_a_double_one_are_out_of_pattern():
    rows = np.array([1000, 1010, 990, 0, 1005, 2500, 1000, 995])
    told = pattern.volumes(rows, np.zeros(8))
    assert told["out"].tolist() == [False] * 3 + [True, False, True, False, False]


def test_the_ends_are_not_judged_and_the_night_is_compared_with_nights():
    day = np.array([100, 1000, 1200, 900])
    rows, season = np.tile(day, 7), np.tile(np.arange(4), 7)
    rows = rows.copy()
    rows[0], rows[-1] = 0, 3
    assert not pattern.volumes(rows, season)["out"].any()
    rows[9] = 100  # as few as at night, at noon
    assert np.flatnonzero(pattern.volumes(rows, season)["out"]).tolist() == [9]


def test_no_windows_at_all():
    assert pattern.volumes([], []).empty
    assert pattern.shares(np.zeros((0, 3)), np.zeros((0, 3))).empty
