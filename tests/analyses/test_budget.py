"""Burn, forecast with an honest interval, and days out of the ordinary."""

import numpy as np
import pandas as pd
import pytest

from workbench.analyses import budget
from workbench.errors import WorkbenchError


def daily(values, start="2026-03-02"):
    days = pd.date_range(start, periods=len(values), freq="D")
    return pd.DataFrame(
        {"window": [f"{day:%Y-%m-%d}T00:00:00Z" for day in days], "micro": [int(one) for one in values]}
    )


WEEK = [10_000_000] * 5 + [4_000_000] * 2  # dollars on workdays and weekends


def test_a_steady_week_is_forecast_exactly():
    told = budget.forecast(daily(WEEK * 2), "2026-03-02", "2026-03-30", budget_micro=200_000_000)
    assert told.spent_micro == 2 * sum(WEEK)
    assert told.expected_micro == pytest.approx(4 * sum(WEEK))
    assert told.low_micro == pytest.approx(told.high_micro)
    assert told.over == 1.0
    assert told.gone == "2026-03-25"
    assert "$116.00 spent; $232.00 expected by the end of 2026-03-29" in told.words
    assert "it is expected to be used up on 2026-03-25" in told.words


def test_the_interval_covers_what_comes():
    random = np.random.default_rng(11)
    hits = 0
    for trial in range(60):
        values = np.array(WEEK * 4) * 1.0 + random.normal(0, 1_000_000, 28)
        told = budget.forecast(daily(values[:14]), "2026-03-02", "2026-03-30", level=0.8, seed=trial, draws=400)
        hits += told.low_micro <= sum(int(one) for one in values) <= told.high_micro
    assert 38 <= hits <= 57  # 48 expected


def test_a_day_that_is_not_over_is_forecast_too():
    values = [*WEEK, *WEEK[:4], 5_000_000]
    whole = budget.forecast(daily(values), "2026-03-02", "2026-03-16")
    cut = budget.forecast(daily(values), "2026-03-02", "2026-03-16", until="2026-03-13T12:00:00Z")
    assert cut.expected_micro > whole.expected_micro
    assert cut.expected_micro == pytest.approx(2 * sum(WEEK), rel=0.01)


def test_too_few_days_are_told_and_not_guessed():
    told = budget.forecast(daily([1_000_000, 2_000_000]), "2026-03-02", "2026-04-01", budget_micro=5)
    assert (told.spent_micro, told.expected_micro, told.over) == (3_000_000, None, None)
    assert "3 whole days are needed" in told.words


def test_refusals():
    with pytest.raises(WorkbenchError, match="not after its start"):
        budget.forecast(daily(WEEK), "2026-03-02", "2026-03-01")
    with pytest.raises(WorkbenchError, match="no day of the budget's period"):
        budget.forecast(daily(WEEK), "2027-03-02", "2027-04-01")
    with pytest.raises(WorkbenchError, match="no day has a cost"):
        budget.forecast(daily([]), "2027-03-02", "2027-04-01")


def test_a_dear_day_is_found_and_a_weekend_is_not():
    random = np.random.default_rng(3)
    values = np.array(WEEK * 5) * random.normal(1, 0.03, 35)
    quiet = daily(values).assign(segment="")
    assert budget.unusual(quiet).empty
    values[9] *= 3
    found = budget.unusual(pd.concat([daily(values).assign(segment="model=a"), quiet]))
    assert found["window"].tolist() == ["2026-03-11T00:00:00Z"]
    assert found.loc[0, "segment"] == "model=a"
    assert found.loc[0, "over_micro"] == pytest.approx(20_000_000, rel=0.2)
    assert found.loc[0, "words"].startswith("model=a at 2026-03-11: $")
    assert budget.unusual(quiet.iloc[:3]).empty


def test_no_days_at_all_are_said():
    told = budget.month(daily([]).assign(segment=""), 5)
    assert (told.spent_micro, told.expected_micro) == (0, None)
    assert "no month to forecast" in told.words


def test_a_clock_that_jumps_moves_no_budget():
    told = budget.month(pd.concat([daily(WEEK), daily([5], start="2099-01-01")]), 10**9)
    assert told.spent_micro == sum(WEEK)
