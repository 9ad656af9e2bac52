"""GPU bills shared out: to the microdollar, never twice, idle on its own."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.analyses import allocation as a
from workbench.analyses import money
from workbench.errors import WorkbenchError

DAY = pd.Timestamp("2026-03-02", tz="UTC")
HOURLY = {"H100": 3_600_000}  # $3.60 a GPU-hour


def claims(*rows):
    """Rows of (owner, gpu, first hour, last hour, share, used share)."""
    told = []
    for owner, gpu, first, last, share, used in rows:
        length = last - first
        told.append(
            {
                "start": DAY + pd.Timedelta(hours=first),
                "end": DAY + pd.Timedelta(hours=last),
                "node": "n1",
                "gpu": gpu,
                "gpu_model": "H100",
                "owner": owner,
                "tenant": owner,
                "model": "m",
                "share": share,
                "kind": "exclusive",
                "allocated_hours": share * length,
                "used_hours": None if used is None else used * length,
            }
        )
    return pd.DataFrame(told)


def money_by_owner(rows, column):
    return rows.groupby("owner")[column].sum().to_dict()


def test_both_bases_sum_to_the_bill_and_idle_is_a_row():
    rows = a.share_gpus(
        claims(("a", "0", 0, 10, 1.0, 0.5), ("b", "0", 10, 15, 1.0, 1.0)),
        HOURLY,
        start=DAY,
        end=DAY + pd.Timedelta("20h"),
    )
    assert rows.attrs["bill_micro"] == 72_000_000
    assert money_by_owner(rows, "allocated_micro") == {"a": 36_000_000, "b": 18_000_000, "(idle)": 18_000_000}
    assert money_by_owner(rows, "used_micro") == {"a": 18_000_000, "b": 18_000_000, "(idle)": 36_000_000}
    told = a.holders(rows).set_index("owner")
    assert told.index[-1] == "(idle)"
    assert told.loc["a", "efficiency"] == 0.5
    assert told.loc["a", "idle_micro"] == 18_000_000


@pytest.mark.parametrize("kind", ["time-slicing", "mps"])
def test_a_shared_gpu_is_billed_once(kind):
    rows = a.share_gpus(
        claims(("a", "0", 0, 10, 1.0, 0.2), ("b", "0", 0, 10, 1.0, 0.6), ("c", "0", 5, 10, 1.0, 0.2)).assign(kind=kind),
        HOURLY,
    )
    held = money_by_owner(rows, "allocated_micro")
    assert sum(held.values()) == rows.attrs["bill_micro"] == 36_000_000
    assert held == {"a": 15_000_000, "b": 15_000_000, "c": 6_000_000, "(idle)": 0}  # halves for 5 h, thirds for 5 h
    assert money_by_owner(rows, "used_micro") == {"a": 7_200_000, "b": 21_600_000, "c": 3_600_000, "(idle)": 3_600_000}


def test_mig_slices_leave_the_unclaimed_slices_idle():
    rows = a.share_gpus(claims(("a", "0", 0, 7, 3 / 7, None), ("b", "0", 0, 7, 2 / 7, 0.1)).assign(kind="mig"), HOURLY)
    assert money_by_owner(rows, "allocated_micro") == {"a": 10_800_000, "b": 7_200_000, "(idle)": 7_200_000}
    assert rows.attrs["use_unknown"] == 1
    assert money_by_owner(rows, "used_micro")["a"] == 10_800_000  # not measured: counted as used in full


def test_a_fleet_has_gpus_that_nobody_claimed_and_windows_cut_claims():
    fleet = pd.DataFrame({"node": ["n1", "n1"], "gpu": ["0", "1"], "gpu_model": ["H100", "H100"]})
    rows = a.share_gpus(claims(("a", "0", 18, 30, 1.0, 1.0)), HOURLY, fleet=fleet, every="D")
    assert rows.groupby(["window", "gpu"])["allocated_micro"].sum().to_dict() == {
        ("2026-03-02T00:00:00Z", "0"): 21_600_000,
        ("2026-03-02T00:00:00Z", "1"): 21_600_000,
        ("2026-03-03T00:00:00Z", "0"): 21_600_000,
        ("2026-03-03T00:00:00Z", "1"): 21_600_000,
    }
    assert money_by_owner(rows, "allocated_micro") == {"a": 43_200_000, "(idle)": 43_200_000}


def test_claims_without_a_device_share_a_pool_of_the_node():
    rows = a.share_gpus(claims(("a", "", 0, 10, 8.0, 4.0), ("b", "", 5, 10, 3.5, 3.5)), HOURLY)
    assert rows.attrs["bill_micro"] == 12 * 36_000_000
    assert sum(money_by_owner(rows, "used_micro").values()) == 12 * 36_000_000


def test_holders_without_a_name_and_idle_claims():
    rows = a.share_gpus(
        pd.concat([claims((None, "0", 0, 5, 1.0, 1.0)), claims(("x", "0", 5, 10, 1.0, 1.0)).assign(kind="idle")]),
        HOURLY,
    )
    assert money_by_owner(rows, "used_micro") == {"(no owner)": 18_000_000, "(idle)": 18_000_000}


@pytest.mark.parametrize(
    ("given_rows", "hourly", "fleet", "words"),
    [
        (claims(("a", "0", 0, 1, 1.0, 1.0)), {"H200": 1}, None, "'H100' has no price a GPU-hour"),
        (claims(("a", "0", 3, 1, 1.0, 1.0)), HOURLY, None, "ends before it starts"),
        (claims(("a", "0", 0, 1, -1.0, 1.0)), HOURLY, None, "negative number of hours"),
        (
            claims(("a", "0", 0, 1, 1.0, 1.0)),
            HOURLY,
            {"node": ["n1"], "gpu": ["7"], "gpu_model": ["H100"]},
            "not in the fleet",
        ),
    ],
)
def test_refusals_name_what_is_wrong(given_rows, hourly, fleet, words):
    with pytest.raises(WorkbenchError, match=words):
        a.share_gpus(given_rows, hourly, fleet=None if fleet is None else pd.DataFrame(fleet))
    with pytest.raises(WorkbenchError, match="cannot be shared out by 'colour'"):
        a.share_gpus(given_rows, hourly, by=("colour",))


@settings(max_examples=25)
@given(
    rows=st.lists(
        st.tuples(
            st.sampled_from(["a", "b", "c", None]),
            st.sampled_from(["0", "1", ""]),
            st.integers(0, 40),
            st.integers(0, 30),
            st.floats(0, 1),
            st.one_of(st.none(), st.floats(0, 1)),
        ),
        min_size=1,
        max_size=8,
    ),
    price=st.integers(0, 10**8),
    every=st.sampled_from(["", "D", "7h"]),
)
def test_the_rows_are_the_bill(rows, price, every):
    table = claims(*((o, g, s, s + n, share, used) for o, g, s, n, share, used in rows))
    found = a.share_gpus(table, {"H100": price}, every=every)
    assert found["allocated_micro"].sum() == found["used_micro"].sum() == found.attrs["bill_micro"]
    assert (found[["allocated_micro", "used_micro"]] >= 0).all().all()


@settings(max_examples=200)
@given(
    total=st.integers(-(10**15), 10**15),
    weights=st.one_of(
        st.lists(st.integers(0, 10**12), min_size=1, max_size=12),
        st.lists(st.floats(0, 1e9, allow_subnormal=False), min_size=1, max_size=12),
    ),
)
def test_shares_are_the_total_and_within_one_of_the_proportion(total, weights):
    if sum(weights) == 0:
        weights = [*weights, 1]
    shares = money.apportion(total, weights)
    assert sum(shares.tolist()) == total
    fair = [total * w / sum(weights) for w in weights]
    assert all(abs(s - f) < 1.001 + 1e-9 * abs(total) for s, f in zip(shares.tolist(), fair, strict=True))


@given(st.lists(st.integers(-(10**20), 10**20), max_size=10))
def test_rounded_rows_add_up_to_the_rounded_sum(pico):
    assert sum(money.rounded(pico).tolist()) == money.nearest(sum(pico), 10**6)


def test_input_and_output_share_one_bill():
    usage = pd.DataFrame(
        {
            "model": ["m", "m", "m"],
            "input_tokens": [100, 300, 200],
            "cached_input_tokens": [0, 100, 0],
            "output_tokens": [10, 30, 20],
            "ttft_s": [1.0, 2.0, np.nan],
            "duration_s": [3.0, 6.0, 9.0],
        }
    )
    times = a.phase_times(usage)
    assert times["prefill_s"].tolist() == [1.0, 2.0, 2.0]  # 200 fresh tokens at 3 s for 300
    assert times["decode_s"].tolist() == [2.0, 4.0, 3.0]
    assert times["measured"].tolist() == [True, True, False]
    shared = a.share_requests({"m": 1_400, "quiet": 7}, usage)
    assert shared["input_micro"].tolist() == [100, 200, 200, 7]
    assert shared["output_micro"].tolist() == [200, 400, 300, 0]
    assert shared["model"].tolist()[-1] == "(idle) quiet"
    stated = a.share_requests({"m": 999}, usage, {"input": 1, "cached": 0.1, "output": 5})
    assert stated["input_micro"].sum() + stated["output_micro"].sum() == 999
    with pytest.raises(WorkbenchError, match="state weights instead"):
        a.phase_times(usage.assign(ttft_s=np.nan))
    with pytest.raises(WorkbenchError, match="weights lack cached"):
        a.token_weights(usage, {"input": 1, "output": 2})


@pytest.mark.parametrize("weights", [[0, 0], [1, -1], [1.0, float("nan")], []])
def test_what_cannot_be_shared_out_is_refused(weights):
    with pytest.raises(WorkbenchError):
        money.apportion(5, weights)


def test_a_gpu_bill_becomes_lines_of_the_whole_bill():
    shared = pd.DataFrame(
        {"window": ["d1", "d1", "d2", "d2"], "model": ["m", "(idle)", "m", "n"], "used_micro": [1000, 500, 100, 7]}
    )
    served = pd.DataFrame(
        {
            "window": ["d1", "d1", "d2"],
            "owner": ["x", "y", "x"],
            "model": ["m", "m", "m"],
            "requests": [1, 1, 1],
            "prefill_us": [100, 100, 0],
            "decode_us": [300, 500, 0],
            **{name: [10, 20, 30] for name in a.COUNTED[3:]},
        }
    )
    found = a.as_lines(shared, served)
    assert found["micro"].sum() == 1607
    told = {(one["window"], one["owner"], one["class"]): one["micro"] for one in found.to_dict("records")}
    assert told == {
        ("d1", "x", "input"): 100,
        ("d1", "y", "input"): 100,
        ("d1", "x", "output"): 300,
        ("d1", "y", "output"): 500,
        ("d1", "(idle)", "(idle)"): 500,
        ("d2", "x", "input"): 28,  # by tokens: 93 against 240
        ("d2", "x", "output"): 72,
        ("d2", "(idle)", "(idle)"): 7,
    }


def test_a_bill_beyond_any_number_is_refused():
    hours = pd.DataFrame({"start": ["2026-03-02", "2026-03-02T01:00Z"], "end": ["2026-03-09T00:00:00Z"] * 2, "gpu_model": "H100",
                          "node": "n", "gpu": "g", "owner": "a"})  # fmt: skip
    assert a.share_gpus(hours, {"H100": 2})["used_micro"].sum() == 2 * 168
    with pytest.raises(WorkbenchError, match="check the dollars"):
        a.share_gpus(hours, {"H100": 10**17})
