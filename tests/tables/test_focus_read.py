"""Bills in FOCUS columns: every digit, every row, every version's names."""

import csv
import gzip
import json
from decimal import Decimal, localcontext

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.errors import WorkbenchError
from workbench.tables.focus_read import COSTS, read_focus
from workbench.tables.usage import EXCEPTIONS

HEAD = "BilledCost,BillingCurrency,ChargePeriodStart,ChargePeriodEnd"


def bill(path, *lines, head=HEAD):
    path.write_text("\n".join([head, *lines]) + "\n")
    return read_focus(path)


def test_the_sample_of_1_0_keeps_the_sum_of_each_cost_column_to_the_last_digit(shared):
    path = shared / "focus" / "focus_1.0_sample_1000.csv.gz"
    with gzip.open(path, "rt", newline="") as file:
        rows = list(csv.DictReader(file))
    read = read_focus(path)
    assert read.table.num_rows == len(rows) == 1_000
    with localcontext(prec=60):
        for name in COSTS:
            told = sum(Decimal(row[name]) for row in rows if row[name] not in ("", "NULL"))
            assert read.sums()[name] == {"USD": told}, name
    assert read.checks["sums conserved"]
    assert read.version == "1.0"
    assert read.renamed == {"ProviderName": "ServiceProviderName", "PublisherName": "HostProviderName"}
    assert read.unknown == {"Id": 1_000}
    assert read.exceptions.num_rows == 0
    assert read.table["AvailabilityZone"].null_count == sum(row["AvailabilityZone"] == "NULL" for row in rows)
    assert str(read.table["ChargePeriodStart"][0].as_py()) == rows[0]["ChargePeriodStart"] + "+00:00"


@pytest.mark.parametrize(("name", "cost"), [("a", "33.9"), ("b", "38.4")])
def test_token_rows_are_read_whole(shared, name, cost):
    read = read_focus(shared / "focus" / f"focus14_valid_ai_prompt_caching_{name}.csv")
    assert read.sums()["BilledCost"] == {"USD": Decimal(cost)}
    assert read.version == "1.3"  # the newest version whose own columns it has
    assert read.unknown == {}
    assert "SkuPriceDetails" in read.table.column_names


def test_null_as_text_wrong_values_and_other_currencies_are_told_and_stay(tmp_path):
    read = bill(
        tmp_path / "bill.csv",
        "1.10,USD,2026-03-01,2026-03-02T00:00:00Z",
        "NULL,USD,2026-03-01,null",
        "ten,USD,someday,2026-03-02",
        "5,EUR,2026-03-01,2026-03-02",
    )
    assert read.exceptions.schema == EXCEPTIONS
    assert read.exceptions.select(["row", "reason", "field", "value"]).to_pylist() == [
        {"row": 3, "reason": "wrong type", "field": "BilledCost", "value": "ten"},
        {"row": 3, "reason": "wrong type", "field": "ChargePeriodStart", "value": "someday"},
        {"row": 4, "reason": "other currency", "field": "BillingCurrency", "value": "EUR"},
    ]
    assert read.table["BilledCost"].to_pylist() == [Decimal("1.10"), None, None, Decimal(5)]
    assert read.sums()["BilledCost"] == {"EUR": Decimal(5), "USD": Decimal("1.1")}


def test_names_of_other_versions_and_warehouses(tmp_path):
    read = bill(
        tmp_path / "bill.csv",
        "1,USD,2026-03-01,2026-03-02,AWS,2,7,x",
        head="BILLEDCOST,BILLING_CURRENCY,chargeperiodstart,ChargePeriodEnd,Provider,UsageQuantity,x_team,Mystery",
    )
    assert read.renamed == {"Provider": "ServiceProviderName", "UsageQuantity": "ConsumedQuantity"}
    assert read.unknown == {"Mystery": 1}
    assert read.table["x_team"].to_pylist() == ["7"]
    assert read.table["ConsumedQuantity"].to_pylist() == [2]


def test_parquet_and_json_lines_say_the_same_as_csv(tmp_path):
    row = {
        "BilledCost": "0.1",
        "BillingCurrency": "USD",
        "ChargePeriodStart": "2026-03-01",
        "ChargePeriodEnd": "2026-03-02",
    }
    (tmp_path / "a.jsonl").write_text(json.dumps(row) + "\n")
    pq.write_table(pa.Table.from_pylist([row | {"BilledCost": 0.1}]), tmp_path / "a.parquet")
    for ending in ("jsonl", "parquet"):
        read = read_focus(tmp_path / f"a.{ending}")
        assert read.sums()["BilledCost"] == {"USD": Decimal("0.1")}
        assert read.table["ChargePeriodEnd"][0].as_py().isoformat() == "2026-03-02T00:00:00+00:00"


def test_what_is_no_bill_is_refused(tmp_path):
    with pytest.raises(WorkbenchError, match="has no column ChargePeriodStart, ChargePeriodEnd, only 'BilledCost'"):
        bill(tmp_path / "bill.csv", "1", head="BilledCost")


AMOUNTS = st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**12), max_value=10**12)


@settings(max_examples=30)
@given(st.lists(AMOUNTS, min_size=1, max_size=8))
def test_no_digit_is_lost(tmp_path_factory, amounts):
    small = [one for one in amounts if int(one.as_tuple().exponent) > -30] or [Decimal(0)]
    read = bill(tmp_path_factory.mktemp("bill") / "bill.csv", *(f"{one},USD,2026-03-01,2026-03-02" for one in small))
    assert read.table["BilledCost"].to_pylist() == small
    assert read.checks["sums conserved"]
    assert read.exceptions.num_rows == 0


def test_a_currency_is_never_assumed_and_other_encodings_are_refused(tmp_path):
    read = bill(tmp_path / "bill.csv", "1,,2026-03-02,2026-03-03", "2,usd,2026-03-02,2026-03-03")
    assert [(one["row"], one["reason"]) for one in read.exceptions.to_pylist()] == [(1, "currency missing")]
    assert read.sums()["BilledCost"] == {"": 1, "USD": 2}
    (tmp_path / "wide.csv").write_text(HEAD + "\n", encoding="utf-16")
    with pytest.raises(WorkbenchError, match="save it as UTF-8"):
        read_focus(tmp_path / "wide.csv")
