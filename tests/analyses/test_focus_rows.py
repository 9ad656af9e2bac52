"""FOCUS 1.4 rows: valid by the published model, exact to the last digit, the published example of caching."""

import json
from datetime import date
from decimal import Decimal

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.analyses.focus import problems
from workbench.analyses import cost, focus_rows, prices
from workbench.errors import WorkbenchError
from workbench.tables.usage import usage_table

SOLORA = [
    {"model": "solora-reasoning-pro", "input": "3", "cached_input": "0.30", "cache_write": "3.75", "output": "15"}
]
ACCOUNT = focus_rows.Account("acct-1001", "Acme Corp", provider="Solora AI")


def read(path):
    return pd.read_csv(path, dtype=str, keep_default_na=False)


@pytest.fixture(scope="module")
def model(shared):
    return json.loads((shared / "focus" / "focus_1_4_model.json").read_text())


def lines_of(table, contract, by=("owner", "region"), every="MS"):
    return cost.lines(cost.count(prices.price(table, contract=contract, today=date(2026, 3, 1)), by, every))


def example(owner="search"):
    return usage_table(
        {
            "time": [pd.Timestamp("2025-01-07T10:00:00Z")],
            "model": ["solora-reasoning-pro"],
            "owner": [owner],
            "region": ["eu-central"],
            "input_tokens": [10_500_000],
            "cached_input_tokens": [8_000_000],
            "cache_write_tokens": [2_000_000],
            "output_tokens": [1_500_000],
        }
    )


def test_caching_example_a_saves_20_10(shared):
    lines = lines_of(example(), SOLORA)
    plain = lines_of(prices.without_cache(example()), SOLORA)
    into, before = (one.loc[one["class"] != "output", "micro"].sum() for one in (lines, plain))
    assert (into, before, before - into) == (11_400_000, 31_500_000, 20_100_000)
    told = focus_rows.rows(lines, ACCOUNT, "MS").set_index("SkuMeter")
    published = read(shared / "focus" / "focus14_valid_ai_prompt_caching_a.csv").set_index("SkuMeter")
    for name in ("BilledCost", "ListCost", "ListUnitPrice", "PricingQuantity", "ConsumedQuantity"):
        assert [told.loc[one, name] for one in published.index] == [Decimal(one) for one in published[name]]
    for name in ("PricingUnit", "ConsumedUnit", "ServiceCategory", "ServiceSubcategory", "ServiceProviderName"):
        assert told.loc[published.index, name].tolist() == published[name].tolist()


def test_the_validator_knows_valid_rows_and_the_draft(shared, model):
    assert problems(read(shared / "focus" / "focus14_valid_ai_prompt_caching_b.csv"), model) == []
    assert any(
        "no x_" in one for one in problems(read(shared / "focus" / "focus_draft_ai_prompt_caching_a.csv"), model)
    )
    broken = read(shared / "focus" / "focus14_valid_ai_prompt_caching_a.csv")
    assert problems(broken.assign(ListCost="9"), model) == ["ListCost is not ListUnitPrice x PricingQuantity"] * 4
    assert "BilledCost is mandatory and missing" in problems(broken.drop(columns="BilledCost"), model)
    assert "ServiceName has nulls" in problems(broken.assign(ServiceName=""), model)
    assert "ChargeCategory: 'usage' is not allowed" in problems(broken.assign(ChargeCategory="usage"), model)


def test_rows_are_valid_and_sum_to_the_bill(model, tmp_path):
    usage = pa.concat_tables([example(), example(""), usage_table({
        "time": [pd.Timestamp("2025-02-28T23:00:00Z")] * 2, "provider": ["openai"] * 2, "model": ["gpt-4o"] * 2,
        "tier": ["batch", ""], "input_tokens": [7, 11], "output_tokens": [3, 5],
    })])  # fmt: skip
    lines = lines_of(usage, SOLORA, every="D")
    told = focus_rows.rows(lines, ACCOUNT)
    assert sum(told["BilledCost"]) * 10**12 == cost.bill(lines)
    assert problems(read(focus_rows.write_csv(told, tmp_path / "focus.csv")), model) == []
    back = pq.read_table(focus_rows.write_parquet(told, tmp_path / "focus.parquet"))
    assert sum(back.column("BilledCost").to_pylist()) == sum(told["BilledCost"])
    assert back.column("ChargePeriodStart").type == pa.timestamp("us", "UTC")
    draft = focus_rows.write_csv(focus_rows.rows(lines, ACCOUNT, draft=True), tmp_path / "draft.csv")
    plain = {key for text in read(draft)["SkuPriceDetails"] for key in json.loads(text) if not key.startswith("x_")}
    assert plain == {"ModelId", "ModelDeveloper", "TokenDirection", "TokenCacheAction"}  # keys that the draft has
    assert all("has no x_" in one for one in problems(read(draft), model))
    assert len(problems(read(draft), model)) > 0


def test_a_contract_has_its_list_price_beside_it(model, tmp_path):
    usage = usage_table({"time": [pd.Timestamp("2025-02-28T23:00:00Z")], "provider": ["openai"], "model": ["gpt-4o"],
                         "input_tokens": [1_000_000]})  # fmt: skip
    agreed = lines_of(usage, [{"model": "gpt-4o", "input": "1"}], by=(), every="D")
    told = focus_rows.rows(agreed, ACCOUNT, listed=lines_of(usage, None, by=(), every="D"))
    assert told.loc[0, ["ListCost", "ContractedCost", "BilledCost"]].tolist() == [Decimal("2.5"), 1, 1]
    assert problems(read(focus_rows.write_csv(told, tmp_path / "focus.csv")), model) == []


def test_rows_without_a_time_need_a_day_and_nobody_is_billed_without_an_account():
    usage = usage_table({"model": ["solora-reasoning-pro"], "input_tokens": [5]})
    lines = lines_of(usage, SOLORA, by=(), every="D")
    with pytest.raises(WorkbenchError, match="1 lines have no time"):
        focus_rows.rows(lines, ACCOUNT)
    told = focus_rows.rows(lines, ACCOUNT, missing_time="2026-03-01")
    assert told["ChargePeriodStart"].tolist() == [pd.Timestamp("2026-03-01T00:00:00Z")]
    with pytest.raises(WorkbenchError, match="billing account"):
        focus_rows.rows(lines, focus_rows.Account(""))
    assert list(focus_rows.rows(lines.iloc[:0], ACCOUNT).columns) == list(focus_rows.COLUMNS)


def test_a_run_leaves_both_files(model, tmp_path):
    lines = lines_of(example(), SOLORA)
    assert focus_rows.leave(tmp_path, lines, "", "MS") == focus_rows.leave(None, lines, "acct", "MS") == []
    csv, parquet = focus_rows.leave(tmp_path, lines, "acct", "MS")
    assert problems(read(csv), model) == []
    assert sum(pq.read_table(parquet).column("BilledCost").to_pylist()) * 10**12 == cost.bill(lines)


def test_lines_with_and_without_a_time_stand_together():
    usage = pa.concat_tables([example(), usage_table({"model": ["solora-reasoning-pro"], "input_tokens": [5]})])
    told = focus_rows.rows(lines_of(usage, SOLORA, by=(), every="D"), ACCOUNT, missing_time="2025-01-09")
    assert {one.day for one in told["ChargePeriodStart"]} == {7, 9}
