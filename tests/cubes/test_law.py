"""The law: the cube of a and the cube of b add up to the cube of a and b."""

from __future__ import annotations

import datetime as dt
import decimal
import itertools
import json
from fractions import Fraction

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import workbench as wb
from workbench.cubes import (
    Bins,
    Category,
    Distinct,
    Histogram,
    Moments,
    Period,
    Top,
    collapse,
    select,
    totals,
    variance,
)
from workbench.cubes.partial import lows

SCHEMA = pa.schema(
    [
        ("x", pa.float64()),
        ("f", pa.float32()),
        ("i", pa.int64()),
        ("small", pa.int8()),
        ("u", pa.uint64()),
        ("b", pa.bool_()),
        ("money", pa.decimal128(20, 2)),
        ("day", pa.date32()),
        ("t", pa.timestamp("us", "Europe/Berlin")),
        ("s", pa.string()),
        ("k", pa.dictionary(pa.int32(), pa.string())),
        ("nested", pa.list_(pa.int64())),
        ("nothing", pa.null()),
    ]
)
INT64 = np.iinfo(np.int64)
ODD = [0.0, -0.0, 1.0, -1.0, float("nan"), float("inf"), -float("inf"), 5e-324, -5e-324, 2.2e-308, 0.1, 1e100, -1e100]
TEXTS = ["", "a", "a\nb", "🙂", "\x00", "a\x00b", "(missing)", "'(missing)'", "(other)", "ä", "ﬀ", " ", '"', "null"]
WORDS = ["", "m1", "m2", "(missing)", "🙂\n", "\x00"]
floats = st.one_of(st.sampled_from(ODD), st.floats(-1e100, 1e100), st.integers(-50, 50).map(float))
whole = st.one_of(
    st.integers(-5, 5), st.integers(INT64.min, INT64.max), st.sampled_from([INT64.min, INT64.max, -1, 2**53])
)
moments = st.one_of(
    st.datetimes(dt.datetime(2026, 3, 28), dt.datetime(2026, 3, 31)),  # a day of 23 hours in Berlin
    st.datetimes(dt.datetime(2026, 10, 24), dt.datetime(2026, 10, 27)),  # one of 25
    st.sampled_from([dt.datetime(1, 1, 1), dt.datetime(1890, 5, 5), dt.datetime(1969, 12, 31, 23, 59, 59, 999999)]),
)
rows = st.lists(
    st.fixed_dictionaries(
        {
            "x": st.none() | floats,
            "f": st.none() | st.floats(width=32),
            "i": st.none() | whole,
            "small": st.none() | st.integers(-128, 127),
            "u": st.none() | st.integers(0, 2**64 - 1),
            "b": st.none() | st.booleans(),
            "money": st.none() | st.decimals(-1000, 1000, places=2).map(lambda v: decimal.Decimal(v)),
            "day": st.none() | st.dates(dt.date(2026, 1, 1), dt.date(2026, 1, 9)),
            "t": st.none() | moments.map(lambda v: v.replace(tzinfo=dt.UTC)),
            "s": st.none() | st.sampled_from(TEXTS) | st.text(max_size=3),
            "k": st.none() | st.sampled_from(WORDS),
            "nested": st.none() | st.lists(st.integers(0, 3), max_size=2),
            "nothing": st.none(),
        }
    ),
    max_size=24,
)
AXES = [
    (),
    ("k",),
    (Category("s"),),
    (Category("b"), Category("small")),
    (Category("f"),),
    (Category("day"),),
    (Period("t", "D", "Europe/Berlin", name="window"), Category("k")),
    (Period("t", "6h", "America/Sao_Paulo"),),
    (Period("t", "15min"), Bins("x", edges=(-1.0, 0.0, 2.5))),
    (Period("t", "W"), Period("day", "2D", name="d")),
    (Bins("x"), Category("k", name="model")),
    (Bins("i", per_octave=8, name="size"),),
    (Bins("u"),),
    (Bins("money", edges=(0,)), Bins("b", edges=(0, 1), name="yes")),
]


def table(items):
    return pa.table({f.name: pa.array([r[f.name] for r in items], f.type) for f in SCHEMA}, SCHEMA)


@st.composite
def split(draw):
    """Some rows, their parts in any order (empty ones among them), axes, and whether to add from the left or in twos."""
    items = draw(rows)
    cuts = sorted(draw(st.lists(st.integers(0, len(items)), max_size=3)))
    edges = [0, *cuts, len(items)]
    parts = [items[a:b] for a, b in itertools.pairwise(edges)]
    return items, draw(st.permutations(parts)), draw(st.sampled_from(AXES)), draw(st.booleans())


def added(cubes, in_twos):
    if not in_twos or len(cubes) < 2:
        return wb.add(*cubes)
    middle = len(cubes) // 2
    return wb.add(added(cubes[:middle], True), added(cubes[middle:], False))


@settings(max_examples=150)
@given(split())
def test_parts_add_up_to_the_whole(same, case):
    items, parts, by, in_twos = case
    everything = wb.cube(table(items), by=by)
    sums = [wb.cube(table(p), by=by, plan=everything) for p in parts]
    same(added(sums, in_twos), everything)


@settings(max_examples=60)
@given(split())
def test_parts_with_plans_of_their_own_add_too(same, case):
    items, parts, by, in_twos = case
    everything = wb.cube(table(items), by=by)
    total = added([wb.cube(table(p), by=by) for p in parts], in_twos)
    ragged = {"bin_group", "bin_column", "bin_bits", "bin_count", "bin_min", "bin_max"}
    same(total.drop_dims("bins"), everything.drop_dims("bins"), leave=ragged)
    for c in ("x", "i", "u", "t"):
        i = everything["column"].values.tolist().index(c)
        at = total["bin_column"].values == i
        counts = np.bincount(total["bin_group"].values[at], total["bin_count"].values[at], total["count"].size)
        np.testing.assert_array_equal(counts, total["values"].values.reshape(-1, total.sizes["column"])[:, i])
        low = lows({k: total[f"bin_{k}"].values[at] for k in ("min", "bits")})
        assert (lows({"min": total["bin_max"].values[at], "bits": total["bin_bits"].values[at]}) == low).all()
        bits = total["bin_bits"].values[at].astype(np.int64)
        group = total["bin_group"].values[at]
        assert (low % (np.int64(1) << bits) == 0).all()  # aligned blocks: they nest or do not meet
        apart = (group[1:] != group[:-1]) | (low[1:] > low[:-1] + (np.int64(1) << bits[:-1]) - 1)
        assert apart.all()


@settings(max_examples=40)
@given(split())
def test_order_and_grouping_do_not_matter(same, case):
    _, parts, by, in_twos = case
    sums = [wb.cube(table(p), by=by) for p in parts]
    same(added(sums, in_twos), wb.add(*sums[::-1]))


@settings(max_examples=60)
@given(rows, st.sampled_from([a for a in AXES if a]))
def test_collapsing_gives_the_cube_without_axes(same, items, by):
    of = [Histogram(), Moments(), Distinct(p=10), Top()]
    plain = wb.cube(table(items), of=of)
    deep = wb.cube(table(items), by=by, of=of, plan=plain)
    same(collapse(deep), plain)
    dims = [a["name"] for a in json.loads(deep.attrs["axes"])]
    same(collapse(deep, *dims), plain)
    if len(by) == 2:
        same(collapse(deep, dims[0]), wb.cube(table(items), by=by[1:], of=of, plan=plain))


@settings(max_examples=40)
@given(rows)
def test_selected_cells_add_up_to_the_whole(same, items):
    of = [Histogram(), Distinct(p=10), Top()]
    deep = wb.cube(table(items), by=[Category("k"), Period("t", "D")], of=of)
    if not deep.sizes["k"]:
        return
    cells = [select(deep, k=k) for k in deep["k"].values.tolist()]
    same(wb.add(*cells), collapse(deep, "k"))
    same(wb.add(*[select(deep, k=[k]) for k in deep["k"].values.tolist()][::-1]), deep)


@given(st.lists(st.none() | whole, max_size=30), st.integers(1, 4))
def test_integer_sums_are_exact(values, parts):
    data = pa.table({"i": pa.array(values, pa.int64())})
    step = max(1, -(-len(values) // parts))
    total = wb.add(*[wb.cube(data.slice(a, step)) for a in range(0, max(1, len(values)), step)])
    known = [v for v in values if v is not None]
    assert totals(total, "i") == sum(known)
    assert (total["sum_low"].values >= 0).all()
    assert (total["sum_low"].values < 2**32).all()
    if known:
        assert total["int_min"].item() == min(known)
        assert total["int_max"].item() == max(known)


@given(st.lists(st.floats(-1e9, 1e9), min_size=2, max_size=50), st.integers(0, 50))
def test_mean_and_variance_agree_with_fractions(values, cut):
    data = pa.table({"x": values})
    total = wb.add(wb.cube(data.slice(0, cut)), wb.cube(data.slice(cut)))
    exact = [Fraction(v) for v in values]
    mean = sum(exact) / len(exact)
    spread = sum((v - mean) ** 2 for v in exact) / len(exact)
    scale = max(abs(v) for v in values) or 1.0
    assert float(total["mean"].item()) == pytest.approx(float(mean), rel=1e-12, abs=1e-13 * scale)
    assert float(variance(total).item()) == pytest.approx(float(spread), rel=1e-9, abs=1e-13 * scale**2)


def test_largest_floats_overflow_quietly_and_count_exactly(same):
    data = pa.table({"x": [1.7e308, -1.7e308, 1.7e308, 1.7e308, None, 0.0]})
    everything = wb.cube(data)
    total = wb.add(*[wb.cube(data.slice(a, 1), plan=everything) for a in range(6)])
    same(total, everything, leave={"sum", "mean", "m2"})
    for c in (everything, total):
        assert c["max"].item() == 1.7e308
        assert c["min"].item() == -1.7e308
        assert not np.isnan(c["m2"].item())


def test_negative_zero_is_zero():
    c = wb.cube(pa.table({"x": [0.0, -0.0, -0.0]}))
    assert c.sizes["bins"] == 1
    assert wb.distinct(c).item() == 1
    assert not np.signbit(c["min"].item())
    axes = wb.cube(pa.table({"x": [0.0, -0.0]}), by=Category("x"))
    assert axes["x"].values.tolist() == ["0"]


def test_every_missing_key_is_a_cell():
    data = pa.table(
        {
            "k": pa.array(["a", None, "(missing)", "'(missing)'"]),
            "x": [1.0, None, float("nan"), float("inf")],
            "t": pa.array([0, None, 1, 2], pa.timestamp("us")),
        }
    )
    assert wb.cube(data, by="k")["k"].values.tolist() == ["''(missing)''", "'(missing)'", "(missing)", "a"]
    bins = wb.cube(data, by=Bins("x"))
    np.testing.assert_array_equal(bins["x"].values, [1.0, np.inf, np.nan])
    assert bins["count"].values.tolist() == [1, 1, 2]
    windows = wb.cube(data, by=Period("t", "D"))
    assert np.isnat(windows["t"].values[-1])
    assert windows["count"].values.tolist() == [3, 1]


def test_columns_in_another_order_add(same):
    data = pa.table({"a": [1, 2], "b": ["x", None], "c": [0.5, 0.25]})
    one, other = wb.cube(data), wb.cube(data.select(["c", "b", "a"]))
    same(wb.add(one, other), wb.add(one, one))
    assert wb.add(other, one)["column"].values.tolist() == ["c", "b", "a"]


def test_the_sum_says_what_it_was_made_of():
    a, b = wb.cube(pa.table({"x": [1]})), wb.cube(pa.table({"x": [2]}))
    a.attrs["source"], b.attrs["source"] = "[one]/*.csv", "two"
    total = wb.add(a, b, a)
    assert json.loads(total.attrs["source"]) == ["[one]/*.csv", "two"]
    assert len(json.loads(total.attrs["source_version"])) == 2
    assert json.loads(wb.add(total, b).attrs["source"]) == ["[one]/*.csv", "two"]


def test_many_texts_stay_few_and_say_how_short_they_are():
    from workbench.cubes.partial import TOP_LIMIT

    rare = [f"r{i}" for i in range(2 * TOP_LIMIT)]
    parts = [pa.table({"s": [*rare[a : a + 5000], *["often"] * 700]}) for a in range(0, len(rare), 5000)]
    total = wb.add(*[wb.cube(p, of="s") for p in parts])
    assert total.sizes["tops"] <= TOP_LIMIT
    top = wb.top_values(total)
    assert top["value"][0] == "often"
    assert top["count"][0] <= 2800 <= top["count"][0] + top["short"][0]
    counted = wb.categories(total, "s")
    assert int(counted.sum()) == 22_800
    assert abs(wb.distinct(total).item() - 20_001) < 3 * 0.0082 * 20_001


def test_counts_of_threads_add_as_their_partials_do(same):
    from workbench.cubes.counting import count_pieces, counted, taken
    from workbench.cubes.memory import as_table
    from workbench.cubes.partial import join
    from workbench.cubes.scan import finished, plan_columns

    rows = {
        "x": [0.5, None, float("inf"), -7.25, 1e9] * 900,
        "i": list(range(4500)),
        "s": [f"r{i // 2}" for i in range(4500)],
    }
    whole = as_table(pa.table(rows | {"s": [*rows["s"][:4499], "often"]}))
    many = as_table(pa.table({**rows, "s": [f"t{i}" for i in range(4500)]}))
    columns = plan_columns(whole, (), None, None)
    for tables in ([whole], [whole, whole], [whole, many, whole]):
        parts = [(t, t.pieces(), columns, ()) for t in tables]
        joined, added = join([count_pieces(*one) for one in parts]), taken([counted(*one) for one in parts]).partial()
        same(finished(added, whole, columns, ()), finished(joined, whole, columns, ()))


def test_partials_of_very_many_axes_join():
    from workbench.cubes import partial as p

    def one(letter):
        n = 300
        labels = tuple(np.array([f"{letter}{i:03}" for i in range(n)], dtype=object) for _ in range(9))
        codes = np.tile(np.arange(n)[:, None], (1, 9))
        return p.Partial(
            labels, codes, np.ones(n, np.int64), p.empty_moments(0, n), p.empty_whole(0, n),
            np.zeros((0, n), np.int64), np.zeros((0, n), np.int64),
        )  # fmt: skip

    joined = p.join([one("a"), one("b"), one("a")])
    assert joined.count.tolist() == [2] * 300 + [1] * 300
    assert (joined.codes == np.arange(600)[:, None]).all()


def test_a_float_raises_one_register_of_its_own():
    for x in (2.0**52, 2.0**52 + 1):
        assert wb.cube(pa.table({"x": [x]})).sizes["registers"] == 1


@pytest.mark.parametrize("other", [pa.array(["u", None]), pa.array([1.5, None]), pa.array([True, None])], ids=str)
def test_a_column_without_values_adds_to_one_of_any_kind(other: pa.Array) -> None:
    full = wb.cube(pa.table({"k": ["a", "b"], "x": other}), by="k")
    for kind in (pa.null(), pa.string(), pa.float32(), pa.timestamp("us")):
        empty = wb.cube(pa.table({"k": ["b", "c"], "x": pa.nulls(2, kind)}), by="k")
        whole = wb.cube(
            pa.table({"k": ["a", "b", "b", "c"], "x": pa.chunked_array([other, pa.nulls(2, other.type)])}), by="k"
        )
        for summed in (wb.add(full, empty), wb.add(empty, full), wb.add(empty, wb.add(empty, full))):
            assert summed["kind"].values.tolist() == whole["kind"].values.tolist()
        for name in whole.variables:
            for summed in (wb.add(full, empty), wb.add(empty, full)):
                np.testing.assert_array_equal(summed[name].values, whole[name].values, err_msg=str(name))
