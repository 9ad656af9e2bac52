"""Why a cost changed: effects that sum exactly, and each alone where only one thing changed."""

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.analyses import waterfall
from workbench.errors import WorkbenchError

CLASSES = ("input", "cache_read", "output")
PRICES = {"input": 2_000_000, "cache_read": 200_000, "output": 8_000_000}  # picodollars a token


def period(*rows, prices=PRICES):
    """Rows of (model, requests, retries, input, cache read, output) at `prices`."""
    frame = pd.DataFrame(rows, columns=["model", "requests", "retries", *(f"{one}_tokens" for one in CLASSES)])
    for one in CLASSES:
        frame[f"{one}_pico"] = [int(tokens) * prices[one] for tokens in frame[f"{one}_tokens"]]
    return frame


def effects(before, after, **more):
    found = waterfall.explain(before, after, ["model"], CLASSES, **more)
    told = found.groupby("effect")["micro"].sum()
    assert told.sum() == waterfall.cost(after, CLASSES) - waterfall.cost(before, CLASSES)
    return {name: int(value) for name, value in told.items() if value}


BASE = period(("a", 100, 0, 80_000, 20_000, 10_000), ("b", 100, 0, 8_000, 2_000, 50_000))


@pytest.mark.parametrize(
    ("after", "effect"),
    [
        (period(("a", 300, 0, 240_000, 60_000, 30_000), ("b", 300, 0, 24_000, 6_000, 150_000)), "volume"),
        (period(("a", 150, 0, 120_000, 30_000, 15_000), ("b", 50, 0, 4_000, 1_000, 25_000)), "mix"),
        (period(("a", 100, 0, 160_000, 40_000, 10_000), ("b", 100, 0, 16_000, 4_000, 50_000)), "prompt length"),
        (period(("a", 100, 0, 80_000, 20_000, 30_000), ("b", 100, 0, 8_000, 2_000, 50_000)), "output length"),
        (period(("a", 100, 0, 20_000, 80_000, 10_000), ("b", 100, 0, 8_000, 2_000, 50_000)), "cache hits"),
        (period(("a", 200, 100, 160_000, 40_000, 20_000), ("b", 100, 0, 8_000, 2_000, 50_000)), "retries"),
        (BASE.assign(output_pico=2 * BASE["output_pico"]), "price"),
    ],
)
def test_one_change_is_one_effect(after, effect):
    change = waterfall.cost(after, CLASSES) - waterfall.cost(BASE, CLASSES)
    assert change != 0
    assert effects(BASE, after) == {effect: change}


def test_a_new_segment_is_volume_and_mix_and_a_dearer_model_too():
    after = pd.concat([BASE, period(("c", 50, 0, 0, 0, 500_000))], ignore_index=True)
    assert set(effects(BASE, after)) == {"volume", "mix"}
    assert set(effects(after, BASE)) == {"volume", "mix"}


def test_a_new_token_class_is_an_effect_of_the_cache():
    before = period(("a", 100, 0, 100_000, 0, 10_000))
    after = period(("a", 100, 0, 50_000, 50_000, 10_000))
    assert effects(before, after) == {"cache hits": 50_000 * (200_000 - 2_000_000) // 10**6}


def test_further_lines_and_the_steps_of_the_picture():
    found = waterfall.explain(BASE, BASE, ["model"], CLASSES, fixed={"GPUs": (100, 250)})
    was = waterfall.cost(BASE, CLASSES)
    told = waterfall.steps(found, was + 100, was + 250)
    assert told["step"].tolist() == ["before", *waterfall.EFFECTS, "GPUs", "after"]
    assert told["end"].iloc[-2] == told["end"].iloc[-1] == was + 250
    with pytest.raises(WorkbenchError, match="effects sum to 150"):
        waterfall.steps(found, was, was + 1)


def test_sums_beyond_64_bits_stay_exact():
    large = pd.concat([BASE.assign(input_pico=9 * 10**18)] * 3)
    change = waterfall.cost(large, CLASSES) - waterfall.cost(BASE, CLASSES)
    assert waterfall.explain(BASE, large, ["model"], CLASSES)["micro"].sum() == change > 9 * 10**12


def test_refusals():
    with pytest.raises(WorkbenchError, match="period before has no requests"):
        waterfall.explain(BASE.iloc[:0], BASE, ["model"], CLASSES)
    with pytest.raises(WorkbenchError, match="no column retries"):
        waterfall.explain(BASE, BASE.drop(columns="retries"), ["model"], CLASSES)


ROW = st.tuples(st.sampled_from("abc"), st.integers(0, 9), st.integers(0, 9), *[st.integers(0, 10**7)] * 3)
RATES = st.fixed_dictionaries(dict.fromkeys(CLASSES, st.integers(0, 10**8)))


@settings(max_examples=30)
@given(st.lists(ROW, max_size=4), st.lists(ROW, max_size=4), RATES, RATES, st.integers(0, 10**6))
def test_effects_sum_to_the_change_whatever_it_is(one, other, old, new, fee):
    before = period(("a", 1, 0, 7, 1, 1), *one, prices=old).assign(fee_pico=fee)
    after = period(("a", 1, 0, 7, 1, 1), *other, prices=new).assign(fee_pico=fee + 1)
    effects(before, after)
    assert effects(before, before) == {}
