"""What is read off a cube, held against numpy on the values themselves."""

from __future__ import annotations

import itertools
import re
from fractions import Fraction

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import workbench as wb
from workbench.cubes import Bins, Category, Distinct, Histogram, Moments, Period, Top, cell_names, totals, variance
from workbench.cubes.readers import QUANTILES

QS = [0.0, 1e-4, 0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 0.9999, 1.0]
MILLION = 1_000_000


def inverted_cdf(values, q):
    """The smallest value that at least a share q of them does not exceed, with q as it is written."""
    values = np.sort(values)
    rank = -(-Fraction(str(q)) * len(values) // 1)
    return values[max(int(rank), 1) - 1]


def rank_errors(values, q, answers):
    """How far each answer's rank is from the wanted share; 0 when the answer's own span of ranks holds it."""
    values = np.sort(values)
    low = np.searchsorted(values, answers, side="left") / len(values)
    high = np.searchsorted(values, answers, side="right") / len(values)
    return np.maximum(0, np.maximum(low - q, np.asarray(q) - high))


def columns():
    rng = np.random.default_rng(42)
    half = MILLION // 2
    zeros = np.zeros(MILLION // 10)
    return {
        "narrow with zeros": np.concatenate([rng.normal(1000, 0.001, MILLION - len(zeros)), zeros]),
        "unix seconds with zeros": np.concatenate([rng.uniform(1.79e9, 1.7901e9, MILLION - len(zeros)), zeros]),
        "one very large": np.append(rng.lognormal(3, 1, MILLION - 1), 1e30),
        "two clusters in one octave": np.concatenate([rng.normal(1.1, 1e-7, half), rng.normal(1.9, 1e-7, half)]),
        "Cauchy": rng.standard_cauchy(MILLION),
        "heavy ties": rng.choice([0.1, 0.2, 0.30000000000000004, 5.0], MILLION, p=[0.5, 0.3, 0.1, 0.1]) + (
            rng.random(MILLION) < 0.2) * rng.normal(0, 1e-3, MILLION),
        "sorted": np.sort(rng.exponential(1.0, MILLION)),
        "both signs": rng.normal(0, 1e-5, MILLION),
    }  # fmt: skip


@pytest.fixture(scope="module")
def million():
    return columns()


@pytest.mark.parametrize("name", [
    "narrow with zeros", "unix seconds with zeros", "one very large", "two clusters in one octave", "Cauchy",
    "heavy ties", "sorted", "both signs",
])  # fmt: skip
def test_quantiles_of_hard_columns(name, million):
    values = million[name]
    c = wb.cube(pa.table({"x": values}), of=Histogram("x"))
    bound = wb.rank_error(c).item()
    answers = wb.quantile(c, QS, "x").values
    measured = rank_errors(values, QS, answers).max()
    assert measured <= bound + 1e-12
    assert measured <= 1e-3
    assert bound <= 2e-3
    assert answers[0] == values.min()
    assert answers[-1] == values.max()
    assert (np.diff(answers) >= 0).all()


@pytest.mark.parametrize("values", [
    np.random.default_rng(1).integers(0, 5000, 100_000), np.random.default_rng(2).integers(-3000, 3000, 99_999),
    np.random.default_rng(3).poisson(300, 70_001), np.arange(1, 11), np.array([7]), np.array([-5, -5, 2**40]),
])  # fmt: skip
def test_quantiles_of_integers_are_exact(values):
    c = wb.cube(pa.table({"i": values}))
    assert wb.rank_error(c).item() == 0
    assert wb.quantile(c, QS, "i").values.tolist() == [inverted_cdf(values, q) for q in QS]
    halves = wb.add(wb.cube(pa.table({"i": values[::2]})), wb.cube(pa.table({"i": values[1::2]})))
    assert wb.quantile(halves, QS, "i").values.tolist() == [inverted_cdf(values, q) for q in QS]


@pytest.mark.parametrize("decimals", [0, 1])
def test_quantiles_of_rounded_decimals_are_exact(decimals):
    values = np.round(np.random.default_rng(5).normal(20, 8, 60_000), decimals)
    c = wb.cube(pa.table({"x": values}))
    assert wb.rank_error(c).item() == 0
    assert wb.quantile(c, QS, "x").values.tolist() == [inverted_cdf(values, q) for q in QS]


def test_quantiles_of_many_decimals_snap_to_values():
    values = np.round(np.random.default_rng(5).normal(20, 8, 60_000), 2)  # more of them than bins can tell apart
    c = wb.cube(pa.table({"x": values}))
    answers = wb.quantile(c, QS, "x").values
    assert rank_errors(values, QS, answers).max() <= wb.rank_error(c).item() <= 1e-3


@given(st.lists(st.integers(-100, 100), min_size=1, max_size=40), st.integers(0, 100))
def test_quantiles_are_numpys_inverted_cdf(values, percent):
    c = wb.cube(pa.table({"i": values}))
    assert wb.quantile(c, percent / 100, "i").item() == inverted_cdf(values, percent / 100)
    if percent % 25 == 0:  # shares that a float holds exactly: numpy knows them as well
        numpys = np.quantile(np.array(values, float), percent / 100, method="inverted_cdf")
        assert wb.quantile(c, percent / 100, "i").item() == numpys


def test_relative_bins_bound_the_value():
    values = np.random.default_rng(8).lognormal(2, 3, 300_000)
    c = wb.cube(pa.table({"x": values}), of=Histogram("x", relative=0.001))
    wanted = np.array([inverted_cdf(values, q) for q in QS])
    assert (np.abs(wb.quantile(c, QS, "x").values / wanted - 1) <= 0.001).all()


def test_quantiles_by_cell_and_their_shapes():
    data = pa.table({"k": ["a", "b", "a", "b", "b"], "i": [1, 10, 3, None, 30], "s": ["x", "y", None, "x", "x"]})
    c = wb.cube(data, by="k")
    q = wb.quantile(c, [0.5, 1.0])
    assert q.dims == ("k", "column", "quantile")
    np.testing.assert_array_equal(q.sel(column="i").values, [[1, 3], [10, 30]])
    assert np.isnan(q.sel(column="s").values).all()
    assert wb.quantile(c, 0.5, "i").dims == ("k",)
    assert wb.quantile(c, 0.5).dims == ("k", "column")
    assert wb.quantile(wb.cube(data.slice(0, 0), by="k"), 0.5, "i").shape == (0,)
    assert np.isnan(wb.quantile(wb.cube(data.slice(0, 0)), 0.5, "i").item())


def test_moments_are_numpys():
    rng = np.random.default_rng(11)
    hard = rng.normal(1e9, 1e-3, 50_000)  # twelve digits in common
    for values in (hard, rng.normal(0, 1e-100, 5000), rng.normal(0, 1e100, 5000), [3.0] * 9):
        close = 1e-6 if values is hard else 1e-9
        c = wb.cube(pa.table({"x": values}), of=Moments())
        wide = np.asarray(values, np.longdouble)
        assert c["mean"].item() == pytest.approx(float(wide.mean()), rel=1e-15, abs=1e-14 * np.abs(values).max())
        assert wb.std(c).item() == pytest.approx(float(wide.std()), rel=close, abs=0)
        assert variance(c, ddof=1).item() == pytest.approx(float(wide.var(ddof=1)), rel=close, abs=0)
        assert c["sum"].item() == pytest.approx(float(wide.sum()), rel=1e-12)
    one = wb.cube(pa.table({"x": [2.0]}))
    assert wb.std(one).item() == 0
    assert np.isnan(variance(one, ddof=1).item())
    assert np.isnan(wb.std(wb.cube(pa.table({"x": pa.nulls(3, pa.float64())}))).item())


@pytest.mark.parametrize("name", ["SiRstv", "SmLs01", "SmLs04", "SmLs07", "SmLs03", "SmLs09"])
def test_moments_of_certified_data(name, shared):
    path = shared / "drift" / "nist_strd_anova" / f"{name}.dat"
    if not path.is_file():
        pytest.skip("the certified analyses of variance are not beside this checkout")
    text = path.read_text()
    start = int(re.search(r"Data +\(lines +(\d+)", text)[1])
    rows = [line.split() for line in text.splitlines()[start - 1 :] if len(line.split()) == 2]
    group, values = [r[0] for r in rows], np.array([float(r[1]) for r in rows])
    table = re.search(r"Between \w+ +(\d+) +(\S+) +(\S+) +(\S+)\s+Within \w+ +(\d+) +(\S+)", text)
    between, within = float(table[2]), float(table[6])
    digits = {"SmLs07": 2, "SmLs09": 2}.get(name, 9 if name == "SiRstv" else 6 if name in ("SmLs04",) else 9)
    by_group = wb.cube(pa.table({"g": group, "x": values}), by="g", of=Moments("x"))
    everything = wb.collapse(by_group)
    m2 = float(by_group["m2"].sum())
    assert m2 == pytest.approx(within, rel=10.0**-digits)
    assert float(everything["m2"].sum()) - m2 == pytest.approx(between, rel=10.0**-digits)


@pytest.mark.parametrize(("kind", "n"), [
    ("float", 500), ("float", 200_000), ("text", 9_000), ("text", 300_000), ("integer", 40_000), ("integer", 900_000),
    ("time", 100_000),
])  # fmt: skip
def test_distinct_is_within_three_sigma(kind, n):
    rng = np.random.default_rng(n)
    if kind == "text":
        values = pa.array(np.char.add("user-", (np.arange(n) * 7919).astype(str)))
    elif kind == "float":
        values = pa.array(np.repeat(rng.normal(size=n), 2))
    else:
        values = pa.array(rng.permutation(np.arange(n) * 1_000_003))
        values = values.cast(pa.timestamp("us")) if kind == "time" else values
    c = wb.cube(pa.table({"v": values}))
    exact = kind == "text" and n <= 10_000
    assert abs(wb.distinct(c).item() - n) <= (0 if exact else 3 * 1.04 / 128 * n)
    rough = wb.cube(pa.table({"v": values}), of=Distinct(p=8))
    assert abs(wb.distinct(rough).item() - n) <= 4 * 1.04 / 16 * n


def test_distinct_is_exact_where_values_were_kept():
    data = pa.table({
        "i": [1, 1, 2, None], "b": [True, None, True, True], "s": ["x", None, "", "x"], "x": [0.5, np.nan, np.inf, 0.5],
        "large": [2**53, 2**53 + 1, 2**53 + 2, 2**53 + 3], "none": pa.nulls(4, pa.int64()),
    })  # fmt: skip
    found = wb.distinct(wb.cube(data)).to_series().to_dict()
    assert found == {"i": 2, "b": 1, "s": 2, "x": 1, "large": 4, "none": 0}
    assert np.isnan(wb.distinct(wb.cube(data, of=Moments("i"))).item())


def test_histogram_is_the_values():
    c = wb.cube(pa.table({"k": ["a", "b", "b", None], "x": [1.0, 2.0, 2.0, np.nan]}), by="k")
    h = wb.histogram(c, "x")
    assert h["count"].dims == ("k", "bin")
    assert h["low"].values.tolist() == [1.0, 2.0]
    assert h["high"].values.tolist() == [1.0, 2.0]
    assert h["count"].values.tolist() == [[0, 0], [1, 0], [0, 2]]
    values = np.random.default_rng(3).normal(size=100_000)
    h = wb.histogram(wb.cube(pa.table({"x": values})), "x")
    assert int(h["count"].sum()) == 100_000
    assert (h["low"].values <= h["high"].values).all()
    assert (h["low"].values[1:] > h["high"].values[:-1]).all()
    assert h["low"].values[0] == values.min()
    with pytest.raises(wb.WorkbenchError, match="histogram.. wants a numeric column, but 'k' is text; see categories"):
        wb.histogram(c, "k")
    assert wb.histogram(wb.cube(pa.table({"x": pa.nulls(2, pa.float64())})), "x").sizes["bin"] == 0


def test_histograms_of_different_plans_keep_every_value():
    rng = np.random.default_rng(4)
    parts = [rng.normal(size=30_000), rng.normal(5, 0.001, 30_000), rng.normal(0, 1000, 30_000)]
    total = wb.add(*[wb.cube(pa.table({"k": [str(i)] * 30_000, "x": x}), by="k", of="x") for i, x in enumerate(parts)])
    h = wb.histogram(total, "x")
    assert h["count"].sum("bin").values.tolist() == [30_000] * 3
    for (i, x), (low, high) in itertools.product(
        enumerate(parts), zip(h["low"].values[::97], h["high"].values[::97], strict=True)
    ):
        inside = int(((x >= low) & (x <= high)).sum())
        at = int(np.flatnonzero(h["low"].values == low)[0])
        assert h["count"].values[i, at] == inside


def test_categories_are_counted_with_what_is_missing():
    data = pa.table({"k": ["a", "a", "b"], "s": ["x", None, "(missing)"], "i": [1, 2, 3]})
    found = wb.categories(wb.cube(data, by="k"), "s")
    assert found.dims == ("k", "value")
    assert found.sel(k="a").to_series().to_dict() == {"'(missing)'": 0, "x": 1, "(missing)": 1}
    assert found.sel(k="b").to_series().to_dict() == {"'(missing)'": 1, "x": 0, "(missing)": 0}
    with pytest.raises(wb.WorkbenchError, match="categories.. wants a text column, but 'i' is integer; see histogram"):
        wb.categories(wb.cube(data), "i")
    assert wb.categories(wb.cube(data.slice(0, 0)), "s").shape == (0,)


def test_top_values_are_tidy():
    data = pa.table(
        {"k": ["a", "a", "a", "b"], "s": ["x", "y", "y", "z"], "i": [1, 1, 2, 3], "b": [True, None, False, False]}
    )
    top = wb.top_values(wb.cube(data, by="k"), limit=1)
    assert list(top.columns) == ["window", "segment", "column", "value", "count", "short"]
    rows = {(r.segment, r.column): (r.value, r.count) for r in top.itertuples(index=False)}
    assert rows[("k=a", "s")] == ("y", 2)
    assert rows[("k=a", "i")] == ("1", 2)
    assert rows[("k=b", "b")] == ("false", 1)
    assert set(top["short"]) == {0}
    assert len(top) == len(rows)
    empty = wb.top_values(wb.cube(pa.table({"x": [1.5]})))
    assert list(empty.columns) == list(top.columns)
    assert len(empty) == 0


def test_profile_is_every_metric_of_every_column():
    data = pa.table({
        "t": pa.array([0, 1, None], pa.timestamp("us")), "k": ["a", "a", "b"], "x": [1.0, 3.0, np.nan], "s": ["u", None, "u"],
    })  # fmt: skip
    p = wb.profile(wb.cube(data, by=[Period("t", "D", name="window"), Category("k")]))
    assert list(p.columns) == ["window", "segment", "column", "metric", "value"]
    first = p[(p["window"] == "1970-01-01T00:00:00Z") & (p["segment"] == "k=a")]
    values = {(r.column, r.metric): r.value for r in first.itertuples(index=False)}
    assert {m for c, m in values if c == "x"} == {
        *("count", "missing", "nan", "infinite", "distinct", "min", "max", "mean", "std"), *QUANTILES
    }  # fmt: skip
    assert {m for c, m in values if c == "s"} == {"count", "missing", "distinct"}
    assert values[("x", "mean")] == 2.0
    assert values[("x", "std")] == 1.0
    assert values[("x", "p50")] == 1.0
    assert values[("s", "missing")] == 1.0
    assert values[("t", "max")] == 1.0
    lost = p[(p["window"] == "(missing)") & (p["column"] == "x")].set_index("metric")["value"].to_dict()
    assert lost == {"count": 1.0, "missing": 0.0, "nan": 1.0, "infinite": 0.0, "distinct": 0.0}
    assert not p["value"].isna().any()
    assert len(wb.profile(wb.cube(data.slice(0, 0), by="k"))) == 0


def test_cells_are_named():
    data = pa.table({"t": pa.array([1_500_000], pa.timestamp("us")), "x": [1_000_000.5], "k": [None]})
    data = data.set_column(2, "k", pa.nulls(1, pa.string()))
    c = wb.cube(data, by=[Category("k"), Period("t", "250ms"), Bins("x", edges=(1_000_000.5,))], of=[])
    windows, segments = cell_names(c)
    assert windows.tolist() == ["1970-01-01T00:00:01.500000Z"]
    assert segments.tolist() == ["k=(missing), x=1000000.5"]


def test_kinds_that_cannot_be_counted_are_missing_or_there():
    data = pa.table({
        "nested": pa.array([[1], None, []]), "raw": pa.array([b"x", None, b""]), "null": pa.nulls(3),
        "clock": pa.array([1, None, 2], pa.time32("s")), "record": pa.array([{"a": 1}, None, {"a": None}]),
    })  # fmt: skip
    for c in (wb.cube(data), wb.cube(data.append_column("k", pa.array(["a", "a", "b"])), by="k", of=data.column_names)):
        assert set(c["kind"].values) == {"other"}
        missing = c["missing"].values.reshape(-1, 5).sum(0)
        assert missing.tolist() == [1, 1, 3, 1, 1]
        assert (c["values"].values == 0).all()
        wb.profile(c)
        wb.top_values(c)


def test_kinds_that_are_numbers():
    data = pa.table({
        "half": pa.array([0.5, None], pa.float16()), "single": pa.array([0.1, None], pa.float32()),
        "big": pa.array([2**64 - 1, 0], pa.uint64()), "tiny": pa.array([-128, 127], pa.int8()),
        "span": pa.array([1500, None], pa.duration("ms")), "day": pa.array([1, None], pa.date32()),
        "day64": pa.array([86_400_000, None], pa.date64()), "ns": pa.array([1_000, None], pa.timestamp("ns")),
        "codes": pa.array([5, None]).dictionary_encode(), "cents": pa.array([None, "12.00"]).cast(pa.decimal128(8, 2)),
    })  # fmt: skip
    c = wb.cube(data)
    kinds = dict(zip(c["column"].values, c["kind"].values, strict=True))
    assert kinds == {
        "half": "number", "single": "number", "big": "number", "tiny": "integer", "span": "number", "day": "time",
        "day64": "time", "ns": "time", "codes": "integer", "cents": "number",
    }  # fmt: skip
    largest = c["max"].to_series().to_dict()
    assert largest == {
        "half": 0.5, "single": float(np.float32(0.1)), "big": 2.0**64, "tiny": 127.0, "span": 1.5, "day": 86_400e6,
        "day64": 86_400e6, "ns": 1.0, "codes": 5.0, "cents": 12.0,
    }  # fmt: skip
    assert totals(c, "tiny") == -1
    assert totals(c, "single") == float(np.float32(0.1))


def test_no_columns_and_no_rows():
    data = pa.table({"k": ["a", "b", None], "x": [1.0, 2.0, 3.0]})
    only = wb.cube(data, by="k", of=[])
    assert only.sizes["column"] == 0
    assert only["count"].values.tolist() == [1, 1, 1]
    assert wb.add(only, only)["count"].sum().item() == 6
    assert wb.collapse(only)["count"].item() == 3
    wb.profile(only)
    wb.quantile(only, 0.5)
    wb.distinct(only)
    for by in ((), "k", [Period("t", "D")], [Bins("x")]):
        none = wb.cube(
            pa.table({"k": pa.nulls(0, pa.string()), "x": pa.nulls(0, pa.float64()), "t": pa.nulls(0, pa.date32())}),
            by=by,
        )
        assert none["count"].values.sum() == 0
        assert wb.add(none, none)["count"].values.sum() == 0
        assert wb.collapse(none)["count"].item() == 0
        wb.profile(none)
    count = wb.cube(pa.table({"x": pa.nulls(0, pa.float64())}))
    assert count["count"].item() == 0


def test_top_of_one_column_only():
    c = wb.cube(pa.table({"s": ["a", "a"], "r": ["b", "c"]}), of=[Top("s")])
    assert c["column"].values.tolist() == ["s"]
    assert wb.distinct(c).item() == 1


def test_integers_far_beyond_a_plan_that_begins_below_zero_are_counted():
    few = wb.cube(pa.table({"x": list(range(-5, 95))}))
    most = 2**63 - 1
    more = wb.cube(pa.table({"x": [0, most, most - 13]}), plan=few)
    assert (int(more["values"].item()), int(more["int_max"].item()), int(more["int_min"].item())) == (3, most, 0)
    assert int(more["bin_count"].sum()) == 3
