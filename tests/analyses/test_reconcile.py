"""Our cost against a provider's bill: parts that sum to the gap, and a rest that is never hidden."""

from datetime import date

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.analyses import cost, focus_rows, prices, reconcile
from workbench.errors import WorkbenchError
from workbench.tables.usage import usage_table

CONTRACT = [{"model": "a", "input": "2", "cached_input": "0.2", "output": "10"}, {"model": "a-mini", "input": "1"}]


def cube(rows=1, extra=()):
    """Each day: 1 M uncached, 0.5 M cached input and 0.1 M output of model a, 1 M input of a-mini."""
    days = [pd.Timestamp("2026-03-02T05:00:00Z") + pd.Timedelta(days=day) for day in range(rows)]
    told = {"time": [], "model": [], "input_tokens": [], "cached_input_tokens": [], "output_tokens": []}
    for day in days:
        for one in (("a", 1_500_000, 500_000, 100_000), ("a-mini", 1_000_000, 0, 0), *extra):
            for name, value in zip(told, (day, *one), strict=True):
                told[name].append(value)
    priced = prices.price(usage_table(told), contract=CONTRACT, today=date(2026, 3, 20))
    return cost.count(priced, ())


def billed(counted, change=lambda rows: rows):
    rows = focus_rows.rows(cost.lines(counted), focus_rows.Account("acct"))
    return reconcile.bill_lines(change(rows), ["a", "a-mini"])


def steps(compared):
    told = reconcile.bridge(compared)
    assert told["micro"].iloc[:-1].sum() == told["micro"].iloc[-1]
    return {step: micro for step, micro in zip(told["step"], told["micro"], strict=True) if micro}


def test_our_own_bill_has_no_gap():
    found = reconcile.compare(cost.lines(cube(3)), billed(cube(3)))
    assert (found["gap_micro"] == 0).all()
    assert set(found["side"]) == {"both"}
    assert steps(found) == {"our cost": 12_300_000, "the bill": 12_300_000}


def test_tokens_prices_tax_and_the_rest_are_told_apart():
    def change(rows):
        more = rows.copy()
        more.loc[more["SkuId"] == "a-output", "ConsumedQuantity"] *= 2  # 0.1 M tokens more
        more.loc[more["SkuId"] == "a-output", "BilledCost"] *= 2
        more.loc[more["SkuId"] == "a-mini-input", "BilledCost"] *= 3
        more = more[more["SkuId"] != "a-cache-read"]
        tax = more.iloc[[0]].assign(BilledCost="0.5", ChargeCategory="Tax", SkuPriceDetails=None, SkuId=None)
        odd = more.iloc[[0]].assign(
            BilledCost="0.25",
            SkuPriceDetails=None,
            SkuId="x",
            SkuPriceId="",
            SkuMeter="GPU rental",
            ChargeDescription="",
        )
        return pd.concat([more, tax, odd])

    found = reconcile.compare(cost.lines(cube()), billed(cube(), change))
    assert steps(found) == {
        "our cost": 4_100_000,
        "tokens billed that we did not count": 1_000_000,
        "tokens counted that were not billed": -100_000,
        "other prices than ours": 2_000_000,
        "charges that are no usage": 500_000,
        "unexplained rest": 250_000,
        "the bill": 7_750_000,
    }
    told = reconcile.by(found, "class").set_index("class")
    assert told.loc["output", "gap_micro"] == 1_000_000
    assert told.loc["(tax)", "other_micro"] == 500_000
    assert "unexplained rest" in set(reconcile.bridge(reconcile.compare(cost.lines(cube()), billed(cube())))["step"])


def test_models_without_a_price_here_are_said_to_be_that():
    odd = cube(extra=[("a-new", 10, 0, 0)])

    def change(rows):
        new = rows.iloc[[0]].assign(
            BilledCost="9", SkuPriceDetails='{"x_ModelId": "a-new", "x_TokenDirection": "Input"}'
        )
        return pd.concat([rows, new])

    found = reconcile.compare(cost.lines(odd), billed(cube(), change), cost.unpriced(odd))
    assert steps(found)["usage that has no price here"] == 9_000_000


def test_a_monthly_bill_is_compared_by_its_month_and_names_are_found_in_texts():
    rows = pd.DataFrame(
        {
            "BilledCost": ["8.0", "NULL", "1"],
            "ChargePeriodStart": ["2026-03-01 00:00:00"] * 3,
            "ChargePeriodEnd": ["2026-04-01 00:00:00"] * 3,
            "ChargeDescription": ["Input tokens of A", "a-mini prompt tokens", "whatever"],
            "PricingQuantity": ["4", "4.0", None],
            "PricingUnit": ["1M Tokens", "1000000 Tokens", None],
            "BillingCurrency": ["USD", "USD", "EUR"],
        }
    )
    told = reconcile.bill_lines(rows, ["a", "a-mini"])
    assert told["model"].tolist()[:2] == ["a", "a-mini"]
    assert told["class"].tolist() == ["input", "input", "(other usage)"]
    assert told["tokens"].tolist()[:2] == [4_000_000, 4_000_000]
    assert told["micro"].tolist() == [8_000_000, 0, 0]
    assert reconcile.foreign(told).to_dict("records") == [{"currency": "EUR", "amount": 1, "lines": 1}]
    found = reconcile.compare(cost.lines(cube(4)), told)
    assert set(found["period"]) == {"2026-03-01/2026-04-01"}
    assert found["gap_micro"].sum() == 8_000_000 - 4 * 4_100_000


def test_refusals():
    with pytest.raises(WorkbenchError, match="no column BilledCost"):
        reconcile.bill_lines(pd.DataFrame({"ChargePeriodStart": [], "ChargePeriodEnd": []}))
    rows = {"BilledCost": ["much"], "ChargePeriodStart": ["2026-03-01"], "ChargePeriodEnd": ["2026-03-02"]}
    with pytest.raises(WorkbenchError, match="row 1 of the bill is 'much'"):
        reconcile.bill_lines(pd.DataFrame(rows))


BILL = st.tuples(
    st.sampled_from(["2026-03-02", "2026-03-03"]),
    st.sampled_from(["a", "b", "(no model)"]),
    st.sampled_from(["input", "output", "(tax)", "(other usage)"]),
    st.one_of(st.just(float("nan")), st.integers(0, 10**9).map(float)),
    st.integers(-(10**12), 10**12),
)


@settings(max_examples=25)
@given(st.lists(BILL, max_size=8), st.lists(BILL, max_size=8))
def test_parts_sum_to_the_gap_line_by_line(ours, theirs):
    names = ["start", "model", "class", "tokens", "micro"]
    bill = pd.DataFrame(theirs, columns=names).assign(currency="USD")
    bill["start"] = pd.to_datetime(bill["start"], utc=True)
    bill["end"] = bill["start"] + pd.Timedelta(days=1)
    lines = pd.DataFrame(ours, columns=names).rename(columns={"start": "window"})
    lines["window"], lines["tokens"] = lines["window"] + "T00:00:00Z", np.nan_to_num(lines["tokens"])
    found = reconcile.compare(lines, bill)
    parts = found[["quantity_micro", "price_micro", "other_micro", "rest_micro"]].sum(axis=1)
    assert (parts == found["gap_micro"]).all()
    told = reconcile.bridge(found)
    assert told["micro"].iloc[:-1].sum() == told["micro"].iloc[-1] == sum(one[-1] for one in theirs)


def test_lines_without_a_currency_are_in_no_sum_and_times_may_be_spelled_in_several_ways():
    one = {"BilledCost": "1", "ChargePeriodStart": "2026-03-02 00:00:00", "ChargePeriodEnd": "2026-03-03T00:00:00Z"}
    rows = pd.DataFrame([one, one | {"BillingCurrency": "usd", "ChargePeriodStart": "2026-03-02T00:00:00Z"}])
    told = reconcile.bill_lines(rows)
    assert told["micro"].tolist() == [0, 1_000_000]
    assert reconcile.foreign(told)["currency"].tolist() == ["(not said)"]
    assert told["start"].nunique() == 1
    assert reconcile.bill_lines(pd.DataFrame([one]))["micro"].tolist() == [0]
    with pytest.raises(WorkbenchError, match="no amount of a bill"):
        reconcile.bill_lines(rows.assign(BilledCost="9" * 30))
    with pytest.raises(WorkbenchError, match="row 1 of the bill has the start 'soon'"):
        reconcile.bill_lines(rows.assign(ChargePeriodStart="soon"))
