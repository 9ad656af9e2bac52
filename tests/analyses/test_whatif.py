"""The same usage in other scenarios, as one dimension."""

from datetime import date

import pandas as pd
import pytest

from workbench.analyses import whatif
from workbench.errors import WorkbenchError
from workbench.tables.usage import usage_table

TODAY = date(2026, 3, 20)
CONTRACT = [
    {"model": "a", "input": "2", "cached_input": "0.2", "output": "10"},
    {"model": "a", "tier": "batch", "input": "1", "cached_input": "0.1", "output": "5"},
    {"model": "b", "input": "20", "output": "100"},
]


def usage():
    return usage_table(
        {
            "time": [pd.Timestamp("2026-03-02T05:00:00Z"), pd.Timestamp("2026-03-03T05:00:00Z")],
            "model": ["a", "a"],
            "owner": ["x", ""],
            "input_tokens": [1_000_000, 3_000_000],
            "cached_input_tokens": [500_000, 0],
            "output_tokens": [100_000, 200_000],
        }
    )


def test_scenarios_are_a_dimension_and_their_cells_are_the_totals():
    found = whatif.scenarios(
        usage(),
        {
            "model b": {"model": "b"},
            "batch": {"tier": "batch"},
            "no cache": {"cache": "none"},
            "half cached": {"cache": 0.5},
            "list prices": {"contract": None},
            "own GPUs": whatif.Gpus(3.6, 1_000, 100, 0.5),
        },
        contract=CONTRACT,
        by=("owner",),
        today=TODAY,
    )
    assert found["micro"].dims == ("scenario", "window", "owner", "class")
    told = whatif.table_of(found).set_index("scenario")
    assert (found["micro"].sum(("window", "owner", "class")) == found["micro_total"]).all()
    assert told["micro"].to_dict() == {
        "as it was": 10_100_000,
        "model b": 110_000_000,
        "batch": 5_050_000,
        "no cache": 11_000_000,
        "half cached": 7_400_000,
        "list prices": 0,
        "own GPUs": 13_000_000,  # 3,500 s of prefill, 3,000 s of decode at $0.002 a busy second
    }
    assert told["unpriced"].to_dict()["list prices"] == 2
    assert told["complete"].tolist() == [True, True, True, True, True, False, True]
    assert told.loc["batch", "saved"] == 0.5
    assert list(found["owner"].values) == ["(missing)", "x"]


def test_prices_of_then_and_of_now():
    o3 = usage_table({"time": [pd.Timestamp("2025-05-01T00:00:00Z")], "provider": ["openai"], "model": ["o3"],
                      "input_tokens": [1_000_000], "output_tokens": [1_000_000]})  # fmt: skip
    found = whatif.scenarios(o3, {"prices of July": {"as_of": date(2025, 7, 1)}}, today=TODAY, every="")
    assert found["micro_total"].values.tolist() == [50_000_000, 10_000_000]


def test_refusals():
    for change, words in (({"modle": "b"}, "did you mean 'model'"), ({"cache": 1.5}, "cache share is 1.5")):
        with pytest.raises(WorkbenchError, match=words):
            whatif.scenarios(usage(), {"x": change}, contract=CONTRACT)
    for gpus, words in ((whatif.Gpus(1, 1, 1, 0), "utilisation"), (whatif.Gpus(1, 0, 1, 1), "prefill_tokens_s")):
        with pytest.raises(WorkbenchError, match=words):
            whatif.scenarios(usage(), {"x": gpus}, contract=CONTRACT)
