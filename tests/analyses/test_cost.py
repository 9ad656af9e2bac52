"""Cost: rows that sum to the bill, whatever the cut; published figures; nothing dropped, nothing free."""

import json
from datetime import date

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.analyses import cost, prices, statement
from workbench.cubes import add
from workbench.errors import WorkbenchError
from workbench.tables.usage import usage_table

DAY = np.datetime64("2026-03-02T00:00:00", "us")
CONTRACT = [
    {"model": "a", "input": "2.50", "cached_input": "0.25", "output": "10"},
    {"model": "b", "input": "0.0375", "output": "0.15", "reasoning": "0.6", "request": "0.001"},
]


def usage(*rows):
    """Rows of (day, owner, model, input, cached, output, reasoning)."""
    days, owners, models, into, cached, out, thought = zip(*rows, strict=True)
    return usage_table(
        {
            "time": [(DAY + np.timedelta64(one, "D")).astype(object) for one in days],
            "owner": owners,
            "model": models,
            "input_tokens": into,
            "cached_input_tokens": cached,
            "output_tokens": out,
            "reasoning_tokens": thought,
            "row": list(range(1, len(rows) + 1)),
        }
    )


def counted(table, by=("owner",), contract=CONTRACT, **more):
    priced = prices.price(table, contract=contract, today=date(2026, 3, 20))
    return cost.count(priced, by, **more), priced


ROWS = usage(
    (0, "search", "a", 1_000_000, 400_000, 200_000, 0),
    (1, "search", "b", 2_000_000, 0, 500_000, 100_000),
    (1, "", "a", 7, 0, 3, 0),
    (2, "chat", "z", 1000, 0, 10, 0),
)


def test_lines_by_class_and_their_sum():
    cube, priced = counted(ROWS)
    lines = cost.lines(cube)
    assert cost.bill(lines) == priced.total
    told = {(one["model"], one["class"]): one["micro"] for one in lines[lines["owner"] == "search"].to_dict("records")}
    assert told == {
        ("a", "input"): 1_500_000,
        ("a", "cached_input"): 100_000,
        ("a", "output"): 2_000_000,
        ("b", "input"): 75_000,
        ("b", "output"): 60_000,
        ("b", "reasoning"): 60_000,
        ("b", "request"): 1_000,
    }
    assert set(lines["owner"]) == {"search", "(missing)"}
    assert lines["micro"].sum() == cost.bill_micro(lines) == 3_796_048  # 47.5 microdollars of the third row


def test_what_has_no_price_is_counted_and_not_free():
    cube, _ = counted(ROWS)
    lost = cost.unpriced(cube)
    assert lost.set_index("class")["tokens"].to_dict() == {"input": 1000, "output": 10, "request": 1}
    assert set(lost["why"]) == {"unknown model"}
    assert "z" not in set(cost.lines(cube)["model"])
    asked = cost.requests(cube)
    assert asked["requests"].sum() == 4
    assert asked.loc[asked["why"] != "", "requests"].sum() == 1


def test_cuts_add_up_and_reasoning_is_in_the_output():
    lines = cost.lines(counted(ROWS)[0])
    for names in (("owner",), ("model",), ("window", "model"), ("class",)):
        told = cost.by(lines, *names)
        assert told["micro"].sum() == cost.bill_micro(lines)
        assert told["share"].sum() == pytest.approx(1)
    told = cost.classes(lines)
    assert told.loc[~told["inside"], "micro"].sum() == cost.bill_micro(lines)
    assert told.loc[told["inside"], ["class", "tokens"]].to_numpy().tolist() == [
        ["output, of which reasoning", 100_000]
    ]


ROW = st.tuples(
    st.integers(0, 3), st.sampled_from(["x", "y", ""]), st.sampled_from(["a", "b"]),
    st.integers(0, 10**9), st.just(0), st.integers(0, 10**9), st.integers(0, 0),
)  # fmt: skip


@settings(max_examples=12)
@given(st.lists(ROW, min_size=1, max_size=12), st.integers(0, 12))
def test_rows_are_the_bill_and_cubes_add(rows, cut):
    whole, priced = counted(usage(*rows))
    lines = cost.lines(whole)
    assert cost.bill(lines) == priced.total == sum(priced.cost.tolist())
    assert lines["micro"].sum() == cost.bill_micro(lines)
    parts = [counted(usage(*part))[0] for part in (rows[:cut], rows[cut:]) if part]
    assert cost.bill(cost.lines(add(*parts))) == cost.bill(lines)


def test_cubes_of_other_prices_add():
    dearer = [{"model": "a", "input": "5", "output": "20"}]
    one, other = usage((0, "x", "a", 10, 0, 1, 0)), usage((1, "x", "a", 10, 0, 1, 0))
    both = add(counted(one)[0], counted(other, contract=dearer)[0])
    assert cost.lines(both).groupby("window")["pico"].sum().tolist() == [35_000_000, 70_000_000]


@pytest.mark.parametrize(("name", "micro"), [("conv", 96_791_325), ("code", 47_608_895)])
def test_azure_traces(shared, name, micro):
    table = pq.read_table(shared / "azure_llm_2023" / f"AzureLLMInferenceTrace_{name}.parquet").to_pandas()
    told = usage_table(
        {
            "time": pd.to_datetime(table["TIMESTAMP"], utc=True).dt.to_pydatetime(),
            "model": ["m"] * len(table),
            "input_tokens": table["ContextTokens"],
            "output_tokens": table["GeneratedTokens"],
        }
    )
    cube, _ = counted(told, contract=[{"model": "m", "input": "2.50", "output": "10"}])
    lines = cost.lines(cube)
    assert lines["micro"].sum() == micro == cost.bill_micro(lines)


def test_tracelab_with_and_without_cache_classes(shared):
    rounds = [json.loads(line) for line in (shared / "tracelab_sample" / "round_trace.jsonl").read_text().splitlines()]
    rounds = [one for one in rounds if one["provider"] == "claude"]  # the others tell no cache writes
    opus = [{"model": "claude-opus-4-8", "input": "5", "cached_input": "0.5", "cache_write": "6.25", "output": "25"}]
    told = usage_table(
        {
            "model": [one["model"] for one in rounds],
            "input_tokens": [one["input_tokens_total"] for one in rounds],
            "cached_input_tokens": [one["claude_cache_read_input_tokens"] for one in rounds],
            "cache_write_tokens": [one["claude_cache_creation_input_tokens"] for one in rounds],
            "output_tokens": [one["output_tokens"] for one in rounds],
        }
    )
    lines = cost.lines(counted(told, by=(), contract=opus, every="")[0])
    assert cost.bill(lines) == 579_591_500_000
    assert cost.by(lines, "class").set_index("class")["tokens"].drop("output").sum() == 418_193
    plain = cost.lines(counted(prices.without_cache(told), by=(), contract=opus, every="")[0])
    assert cost.bill_micro(plain) == 2_326_540


def test_periods_and_their_words():
    labels = [f"2026-03-{day:02d}T00:00:00Z" for day in range(1, 17)]
    before, after, words = statement.halves(labels)
    assert (before[0], before[-1], after[0], after[-1]) == (labels[2], labels[8], labels[9], labels[15])
    assert words == "2026-03-03 to 2026-03-09 against 2026-03-10 to 2026-03-16"
    assert statement.parse_period("2026-03-02/2026-03-04", labels) == labels[1:3]
    for text in ("soon", "2026-05-01/2026-05-02", "2026-03-02"):
        with pytest.raises(WorkbenchError, match="period"):
            statement.parse_period(text, labels)
    assert statement.halves(labels[:1]) == ([], [], "two windows of time are needed for a comparison")
    asked = statement.halves(labels, "2026-03-02/2026-03-04", "2026-03-08/2026-03-09")
    assert asked[:2] == (labels[1:3], labels[7:8])
    with pytest.raises(WorkbenchError, match="name both"):
        statement.halves(labels, "2026-03-02/2026-03-04")
    cube, _ = counted(ROWS)
    old, new = cost.periods(cube, ["model"], [labels[1:2], labels[2:3]])
    assert old.set_index("model").loc["a", "cached_input_tokens"] == 400_000
    assert new.set_index("model").loc["b", "fee_pico"] == 10**9


def test_unknown_axis_is_named():
    with pytest.raises(WorkbenchError, match="'ownr'.*did you mean 'owner'"):
        counted(ROWS, by=("ownr",))


def test_models_on_own_gpus_are_counted_and_not_priced():
    table = usage((0, "x", "a", 10, 0, 1, 0), (0, "x", "mine", 100, 20, 7, 0))
    priced = prices.price(table, contract=CONTRACT, today=date(2026, 3, 20))
    cube = cost.count(priced, own=("mine",))
    assert set(cost.lines(cube)["model"]) == {"a"}
    assert cost.unpriced(cube).empty
    told = cost.served(cube).iloc[0]
    assert told[["owner", "model", "input", "cached_input", "output", "requests"]].tolist() == [
        "x",
        "mine",
        80,
        20,
        7,
        1,
    ]
    assert statement.exceptions_by_reason(priced.exceptions, own=("mine",)).empty
    named = statement.exceptions_by_reason(priced.exceptions)
    assert named.to_dict("records") == [{"reason": "unknown model", "requests": 1, "example": "row 2: model = mine"}]
