"""Prices: each request by its own, equal to genai-prices' answer; contracts over the list; nothing free in silence."""

from datetime import UTC, date, datetime
from decimal import Decimal

import numpy as np
import pytest

from workbench.analyses import prices
from workbench.analyses.prices import as_if, lines, price, without_cache
from workbench.errors import WorkbenchError
from workbench.tables.usage import EXCEPTIONS, usage_table

O3 = {
    "provider": ["openai"] * 2,
    "model": ["o3"] * 2,
    "input_tokens": [1_000_000] * 2,
    "output_tokens": [1_000_000] * 2,
}
O3["time"] = [datetime(2025, 5, 1, tzinfo=UTC), datetime(2025, 7, 1, tzinfo=UTC)]


def one(**values):
    return usage_table({name: [value] for name, value in values.items()})


def dollars(priced):
    return (priced.cost / 1e12).tolist()


def test_each_request_is_priced_by_its_own_length_and_then_summed():
    two = usage_table({"model": ["gemini-2.5-pro"] * 2, "input_tokens": [150_000] * 2, "output_tokens": [1_000] * 2})
    both = usage_table({"model": ["gemini-2.5-pro"], "input_tokens": [300_000], "output_tokens": [2_000]})
    assert price(two).dollars == Decimal("0.395")
    assert price(both).dollars == Decimal("0.78")


def test_several_requests_in_one_row_never_choose_a_step_by_their_sum():
    usage = usage_table({"provider": ["google"] * 3, "model": ["gemini-2.5-pro"] * 3, "requests": [2, 2, 1],
                         "input_tokens": [300_000, 150_000, 300_000], "output_tokens": [1_000] * 3})  # fmt: skip
    priced = price(usage, as_of=date(2026, 3, 1))
    assert (priced.cost >= 0).tolist() == [False, True, True]
    assert priced.exceptions.column("reason").to_pylist() == ["lengths not known"]
    flat = usage_table({"provider": ["openai"], "model": ["gpt-4o"], "requests": [2], "input_tokens": [300_000]})
    assert price(flat).unpriced == 0


def test_names_that_carry_their_provider_find_their_price():
    names = ["azure/gpt-4o", "openai/gpt-4o", "gemini/gemini-2.5-pro", "nobody/gpt-4o-of-nobody"]
    priced = price(usage_table({"model": names, "input_tokens": [1_000_000] * 4}), as_of=date(2026, 3, 1))
    assert priced.cost.tolist() == [2_500_000_000_000, 2_500_000_000_000, 2_500_000_000_000, -1]


def test_prices_are_those_of_the_day_or_of_one_day_for_all():
    o3 = usage_table(O3)
    assert dollars(price(o3)) == [50, 10]
    assert dollars(price(o3, as_of=date(2025, 7, 1))) == [10, 10]
    assert [rate.day for rate in price(o3).rates] == [None, date(2025, 6, 10)]


def test_unknown_models_and_contexts_are_named_rows_and_never_free():
    table = usage_table(
        {
            "request_id": ["a", "b", "c", "d"],
            "provider": ["openai"] * 4,
            "model": ["o3", "no-such-model", "o3", "o3"],
            "tier": ["", "", "turbo", "standard"],
            "context": ["", "", "", "fast"],
            "input_tokens": [1_000] * 4,
            "time": [datetime(2025, 7, 1, tzinfo=UTC)] * 4,
        }
    )
    priced = price(table)
    assert priced.cost.tolist() == [2_000_000_000, -1, -1, -1]
    assert priced.unpriced == 3
    assert priced.exceptions.schema == EXCEPTIONS
    assert priced.exceptions.select(["request_id", "reason", "field", "value"]).to_pylist() == [
        {"request_id": "b", "reason": "unknown model", "field": "model", "value": "no-such-model"},
        {"request_id": "c", "reason": "unknown price context", "field": "tier", "value": "service_tier=turbo"},
        {"request_id": "d", "reason": "unknown price context", "field": "context", "value": "fast"},
    ]


def test_a_tier_that_had_no_price_yet_is_an_exception_and_not_the_standard_price():
    batch = as_if(usage_table(O3), tier="batch")
    assert price(batch).exceptions.column("value").to_pylist() == ["processing=batch"] * 2
    assert price(batch, as_of=date(2026, 11, 1)).dollars == 10


def test_classes_without_a_price_of_their_own_are_priced_as_what_they_are_part_of():
    agreed = [{"model": "m", "input": 2, "output": 8}]
    table = one(
        model="m", input_tokens=10, cached_input_tokens=4, cache_write_1h_tokens=3, output_tokens=5, reasoning_tokens=2
    )
    assert price(table, contract=agreed).total == (10 * 2 + 5 * 8) * 10**6
    no_output = price(table, contract=[{"model": "m", "input": 2}])
    assert no_output.unpriced == 1
    assert no_output.exceptions.column("reason").to_pylist() == ["no price for a token class"]
    assert no_output.exceptions.column("field").to_pylist() == ["output"]


def test_parts_that_exceed_their_whole_are_named():
    table = usage_table(
        {
            "model": ["o3"] * 2,
            "input_tokens": [10, 10],
            "cached_input_tokens": [11, 0],
            "output_tokens": [1, 1],
            "reasoning_tokens": [0, 2],
        }
    )
    priced = price(table)
    assert priced.unpriced == 2
    assert priced.exceptions.column("reason").to_pylist() == ["cached exceeds input", "reasoning exceeds output"]


def test_contract_prices_come_before_the_list(tmp_path):
    table = one(provider="openai", model="o3", input_tokens=1_000_000, cached_input_tokens=400_000, output_tokens=0)
    listed = price(table, as_of=date(2026, 1, 1))
    assert listed.dollars == Decimal("1.4")  # 0.6 M at $2 and 0.4 M at $0.50
    (tmp_path / "agreed.csv").write_text("model,start,end,input\no3,2026-02-01,2026-03-01,1.00\no*,,,9\n")
    agreed = {"contract": tmp_path / "agreed.csv"}
    assert price(table, as_of=date(2026, 2, 28), **agreed).dollars == Decimal(
        "0.8"
    )  # cached by the list, as left blank
    assert price(table, as_of=date(2026, 3, 1), **agreed).dollars == Decimal("5.6")
    assert price(table, **agreed).rates[0].origin == "contract over list"
    assert "agreed.csv" in price(table, **agreed).book.say()
    (tmp_path / "agreed.toml").write_text('[[price]]\nmodel = "o3"\ndiscount = 25\n')
    assert price(table, as_of=date(2026, 1, 1), contract=tmp_path / "agreed.toml").dollars == Decimal("1.05")


def test_a_contract_may_know_lengths_and_tiers():
    agreed = [
        {"model": "mine", "input": 1, "output": 0},
        {"model": "mine", "above": 1_000, "input": 2, "output": 0},
        {"model": "mine", "tier": "batch", "input": "0.5", "output": 0},
    ]
    table = usage_table(
        {"model": ["mine"] * 3, "tier": ["", "standard", "batch"], "input_tokens": [1_000, 1_001, 1_000]}
    )
    assert price(table, contract=agreed).cost.tolist() == [1_000 * 10**6, 2_002 * 10**6, 500 * 10**6]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ({"input": 1}, "names no model"),
        ({"model": "m"}, "neither a price nor a discount"),
        ({"model": "m", "input": "-1"}, "line 1, input is '-1'; wanted a number from 0"),
        ({"model": "m", "imput": 1}, "did you mean 'input'"),
        ({"model": "m", "input": 1, "currency": "EUR"}, "is in EUR; wanted USD"),
        ({"model": "m", "discount": 101}, "wanted percent"),
        ({"model": "m", "input": 1, "start": "May"}, "wanted a day such as"),
    ],
)
def test_a_wrong_contract_is_refused_by_line(line, words):
    with pytest.raises(WorkbenchError, match=words):
        price(one(model="m", input_tokens=1), contract=[line])


def test_the_same_answer_as_genai_prices_request_by_request():
    """Rates are compiled once and looked up; the library is asked about each request on its own."""
    from genai_prices import Usage, calc_price

    random = np.random.default_rng(5)
    models = [
        ("openai", "gpt-5.4", ["", "flex", "priority", "batch"], "2026-11-01"),
        ("google", "gemini-2.5-pro", [""], "2025-01-01"),
        ("anthropic", "claude-opus-4-8", ["", "batch"], "2026-11-01"),
        ("anthropic", "claude-sonnet-4-5", [""], "2025-01-01"),
        ("openai", "o3", [""], "2025-01-01"),
        ("deepseek", "deepseek-chat", [""], "2025-01-01"),
        ("deepseek", "deepseek-v4-flash", [""], "2026-01-01"),
        ("perplexity", "sonar-pro", [""], "2025-01-01"),
        ("perplexity", "sonar-deep-research", [""], "2025-01-01"),
    ]
    context = {
        "": None,
        "batch": {"processing": "batch"},
        "flex": {"service_tier": "flex"},
        "priority": {"service_tier": "priority"},
    }
    rows = []
    for number in range(900):
        provider, model, tiers, since = models[number % len(models)]
        first = np.datetime64(since, "s").astype(int)
        whole = int(
            random.choice([0, 1, 1_000, 199_999, 200_000, 200_001, 272_000, 272_001, random.integers(1, 10**6)])
        )
        parts = random.multinomial(whole, [0.5, 0.3, 0.1, 0.1])
        output = int(random.integers(0, 20_000))
        rows.append(
            {
                "provider": provider,
                "model": model,
                "tier": tiers[int(random.integers(len(tiers)))],
                "time": datetime.fromtimestamp(int(random.integers(first, first + 370 * 86_400)), UTC),
                "input_tokens": whole,
                "cached_input_tokens": int(parts[1]),
                "cache_write_tokens": int(parts[2]),
                "cache_write_1h_tokens": int(parts[3]),
                "output_tokens": output,
                "reasoning_tokens": int(random.integers(0, output + 1)),
            }
        )
    priced = price(usage_table({name: [row[name] for row in rows] for name in rows[0]}))
    assert priced.unpriced == 0
    assert len(priced.rates) > 20
    for row, cost in zip(rows, priced.cost.tolist(), strict=True):
        usage = Usage(
            input_tokens=row["input_tokens"],
            cache_read_tokens=row["cached_input_tokens"],
            cache_write_tokens=row["cache_write_tokens"] + row["cache_write_1h_tokens"],
            cache_write_1h_tokens=row["cache_write_1h_tokens"],
            output_tokens=row["output_tokens"],
            output_reasoning_tokens=row["reasoning_tokens"],
        )
        answer = calc_price(
            usage,
            row["model"],
            provider_id=row["provider"],
            genai_request_timestamp=row["time"],
            price_context=context[row["tier"]],
        )
        assert Decimal(cost) / 10**12 == answer.total_price, row


def test_lines_multiply_summed_tokens_once_and_add_up_to_the_total():
    o3 = usage_table(O3)
    summed = lines(price(o3))
    assert summed.column("tokens").to_pylist() == [1_000_000] * 4
    assert sum(summed.column("cost_pico").to_pylist()) == price(o3).total == 60 * 10**12
    assert sum(summed.column("cost_pico").to_pylist()) == int(price(o3).cost.sum())


def test_without_cache_all_input_is_plain():
    table = one(provider="openai", model="o3", input_tokens=1_000_000, cached_input_tokens=1_000_000)
    assert price(table, as_of=date(2026, 1, 1)).dollars == Decimal("0.5")
    assert price(without_cache(table), as_of=date(2026, 1, 1)).dollars == 2


def test_the_caching_example_of_focus():
    """Half a million tokens uncached, two million written, eight read at $3, $3.75 and $0.30: $11.40 and not $31.50."""
    agreed = [{"model": "solora-reasoning-pro", "input": 3, "cache_write": "3.75", "cached_input": "0.3", "output": 15}]
    table = one(
        model="solora-reasoning-pro",
        input_tokens=10_500_000,
        cached_input_tokens=8_000_000,
        cache_write_tokens=2_000_000,
    )
    plain, cached = price(without_cache(table), contract=agreed).dollars, price(table, contract=agreed).dollars
    assert (plain, cached, plain - cached) == (Decimal("31.5"), Decimal("11.4"), Decimal("20.1"))


def test_sums_are_exact_beyond_64_bits_and_absurd_requests_are_refused():
    assert prices.whole_sum(np.array([2**62] * 4 + [-1])) == 2**64 - 1
    with pytest.raises(WorkbenchError, match="which no single request does"):
        price(one(model="o3", input_tokens=10**15))


def test_the_price_book_says_its_age_and_turns_amber():
    book = price(one(model="o3", input_tokens=1), today=date(2026, 11, 20)).book
    assert (book.name, book.age_days) == ("genai-prices", (date(2026, 11, 20) - book.as_of).days)
    old = prices.price_book(today=date(2036, 1, 1))
    assert old.amber
    assert "older than 30 days" in old.say()


def test_an_empty_table_costs_nothing_and_columns_are_asked_for_by_name():
    assert price(usage_table({})).total == 0
    with pytest.raises(WorkbenchError, match="lacks 'model'"):
        price(one(model="o3").drop_columns(["model"]))
    with pytest.raises(WorkbenchError, match="did you mean 'tier'"):
        as_if(one(model="o3"), tyer="batch")
