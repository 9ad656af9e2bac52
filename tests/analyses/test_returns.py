"""Unit economics, investments and own GPUs: small cases by hand, and laws of the simulation."""

import numpy as np
import pytest
import pyxirr

from workbench.analyses import returns
from workbench.errors import WorkbenchError

PLAN = {
    "requests": 1000.0, "growth": 0.0, "model_cost": 0.10, "failed": 0.2, "accepted": 0.5, "reviewed": 0.25, "review": 2.0,
    "escalation": 4.0, "value": 10.0, "fixed": 100.0, "investment": 5000.0, "discount": 0.12,
}  # fmt: skip
SURE = {"value": [0.8, 1.3], "accepted": [0.5, 3.0], "investment": [1.0, 1.0]}


def test_an_accepted_outcome_by_hand():
    told = returns.outcome(PLAN)  # 1000 requests, 800 answers, 400 outcomes
    assert {name: round(float(value), 6) for name, value in told.items()} == {
        "answers": 0.2, "failed runs": 0.05, "review": 1.0, "escalation": 4.0, "total": 5.25,
    }  # fmt: skip
    assert returns.outcome({**PLAN, "accepted": 0.0})["total"] == np.inf
    units = returns.units(100.0, 1000, 200, 50_000, PLAN).set_index("unit")["dollars"]
    assert units.round(6).to_dict() == {
        "a request": 0.1,
        "an answer": 0.125,
        "1,000 tokens": 2.0,
        "an accepted outcome": 5.25,
    }


def test_flows_and_their_worth():
    cash = returns.flows(PLAN, 24)
    assert cash[:2].tolist() == [-5000.0, 400 * 10 - 100 - 800 * (0.25 * 2 + 0.5 * 4) - 100]
    grown = returns.flows({**PLAN, "growth": 0.1}, 3)
    assert (grown[2] + 100) / (grown[1] + 100) == pytest.approx(1.1)
    told = returns.verdict(PLAN, 24)
    assert told["npv"] == pytest.approx(float(returns.worth(PLAN, 24))) == pytest.approx(-5000 + 1800 * annuity(24))
    assert pyxirr.npv((1 + told["irr"]) ** (1 / 12) - 1, cash.tolist()) == pytest.approx(0, abs=1e-4)
    assert told["payback"] == pytest.approx(5000 / 1800)
    assert told["discounted_payback"] > told["payback"]


def annuity(months):
    rate = float(returns.monthly(0.12))
    return (1 - (1 + rate) ** -months) / rate


def test_what_is_never_earned_back_has_no_payback():
    told = returns.verdict({**PLAN, "value": 0.0}, 12)
    assert (told["payback"], told["discounted_payback"], told["irr"]) == (None, None, None)
    assert told["npv"] < -5000
    assert returns.verdict({**PLAN, "investment": 0.0}, 12)["payback"] == 0.0


def test_the_tornado_and_the_simulation():
    drawn = returns.tornado(PLAN, SURE, 24)
    assert drawn["assumption"].tolist()[-1] == "investment"
    assert drawn.set_index("assumption").loc["accepted", "high"] == 1.0  # a share
    assert drawn.loc[drawn["assumption"] == "investment", "swing"].item() == 0
    values = returns.simulate(PLAN, SURE, 24, draws=4000, seed=1)
    assert (values == returns.simulate(PLAN, SURE, 24, draws=4000, seed=1)).all()
    assert (values != returns.simulate(PLAN, SURE, 24, draws=4000, seed=2)).any()
    told = returns.interval(values, 0.9)
    assert told["low"] < told["median"] < told["high"]
    assert ((values >= told["low"]) & (values <= told["high"])).mean() == pytest.approx(0.9, abs=0.01)
    only = returns.simulate(
        PLAN, {"value": [0.8, 1.3]}, 24, draws=40_000
    )  # linear in the value, whose mean is 1.0333 of it
    assert only.mean() == pytest.approx(float(returns.worth({**PLAN, "value": 10 * (0.8 + 1 + 1.3) / 3}, 24)), rel=0.01)
    assert returns.simulate(PLAN, {}, 24, draws=3).tolist() == [pytest.approx(float(returns.worth(PLAN, 24)))] * 3


def test_own_gpus_against_an_api():
    busy = np.full(48, 0.4)  # one GPU, half of what it may do
    curve = returns.against(busy, api_month=365.0, hour=1.0)
    now = curve[curve["times"] == 1.0].iloc[0]
    assert (now["api"], now["own"], now["gpus"], now["utilisation"]) == (365.0, 730.0, 1, pytest.approx(0.4))
    assert returns.break_even_share(busy, 365.0, 1.0) == pytest.approx(0.8)
    assert returns.turning_point(returns.against(busy, 3000.0, 1.0)) == pytest.approx(0.25, abs=0.02)
    assert returns.turning_point(returns.against(busy, 100.0, 1.0)) is None
    assert returns.break_even_share(busy, 100.0, 1.0) > 1
    assert returns.break_even_share(busy, 100.0, 1.0, fixed=100.0) == np.inf


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"accepted": 1.2}, "'accepted'.*from 0 to 1"),
        ({"valu": 1.0}, "did you mean 'value'"),
        ({"value": float("nan")}, "'value'"),
    ],
)
def test_wrong_assumptions_are_named(change, words):
    with pytest.raises(WorkbenchError, match=words):
        returns.worth({**PLAN, **change}, 12)


def test_further_refusals():
    with pytest.raises(WorkbenchError, match="'value'.*is missing"):
        returns.checked({name: one for name, one in PLAN.items() if name != "value"})
    with pytest.raises(WorkbenchError, match="around 1"):
        returns.ranges(PLAN, {"value": [1.1, 1.3]})
    with pytest.raises(WorkbenchError, match="did you mean 'value'"):
        returns.ranges(PLAN, {"values": [0.9, 1.3]})
    with pytest.raises(WorkbenchError, match="months is 0"):
        returns.flows(PLAN, 0)
    with pytest.raises(WorkbenchError, match="no requests"):
        returns.units(1.0, 0, 0, 0, PLAN)
    with pytest.raises(WorkbenchError, match="no windows"):
        returns.fleet([])


BARE = {**dict.fromkeys(returns.ASSUMPTIONS, 0.0), "requests": 1000.0, "accepted": 1.0, "value": 1.0}


def test_published_rates_of_an_annuity():
    """1,000 a month for a year against 10,000: a rate of 2.92285 % a month; its value at 1 % a month by tables of annuities."""
    told = returns.verdict({**BARE, "investment": 10_000.0, "discount": 1.01**12 - 1}, 12)
    assert (1 + told["irr"]) ** (1 / 12) - 1 == pytest.approx(0.0292285408, abs=1e-9)
    assert told["npv"] == pytest.approx(1_000 * 11.2550775 - 10_000, abs=1e-3)
    assert told["payback"] == 10
    assert told["discounted_payback"] == pytest.approx(10.5898488)


def test_flows_that_change_sign_twice_have_no_rate_and_losses_have_none_either():
    twice = {**BARE, "investment": 1000.0, "growth": -0.2, "fixed": 200.0}
    assert (np.diff(np.sign(returns.flows(twice, 36))) != 0).sum() == 2
    assert returns.verdict(twice, 36)["irr"] is None
    assert returns.verdict(twice, 36)["payback"] is None  # earned back, and lost again
    assert returns.verdict({**BARE, "investment": 1e6}, 5)["irr"] == pytest.approx(-1, abs=1e-4)


def test_flows_beyond_any_number_are_refused():
    with pytest.raises(WorkbenchError, match="beyond any number"):
        returns.verdict({**BARE, "growth": 50.0}, 1200)
    with pytest.raises(WorkbenchError, match="'discount'"):
        returns.verdict({**BARE, "discount": -1.0}, 12)
