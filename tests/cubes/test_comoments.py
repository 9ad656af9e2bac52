"""Second moments of pairs of columns add like everything else in a cube."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import workbench as wb
from workbench.cubes import CoMoments, add, collapse, comoments, open_cube, save_cube, select

numbers = st.none() | st.floats(-1e6, 1e6) | st.sampled_from([float("nan"), float("inf"), 0.0])
rows = st.lists(st.tuples(numbers, numbers, st.integers(-9, 9), st.sampled_from(["a", "b", None])), max_size=14)
OF = [..., CoMoments()]


def table(found, offset=0.0):
    columns = list(zip(*found, strict=True)) if found else [[], [], [], []]
    x, y = ([None if v is None else v + offset for v in one] for one in columns[:2])
    return pa.table({"x": pa.array(x, pa.float64()), "y": pa.array(y, pa.float64()),
                     "i": pa.array(columns[2], pa.int64()), "g": pa.array(columns[3], pa.string())})  # fmt: skip


def same(one, other, scale=1e7):
    """Equal but for the rounding of values up to a million and of their products."""
    assert one["co_n"].identical(other["co_n"])
    for name, size in (("co_mean", 10), ("co_cross", scale)):
        np.testing.assert_allclose(one[name].values, other[name].values, rtol=1e-9, atol=1e-9 * size)


@settings(max_examples=30)
@given(rows, rows, rows)
def test_cubes_of_any_split_in_any_order_add_up(a, b, c):
    by = [wb.Category("g")]
    whole = wb.cube(table(a + b + c), by=by, of=OF)
    one, two, three = (wb.cube(table(part), by=by, of=OF, plan=whole) for part in (a, b, c))
    same(add(one, two, three), whole)
    same(add(three, add(two, one)), whole)
    same(collapse(whole), collapse(add(two, three, one)))
    same(collapse(whole), wb.cube(table(c + a + b), of=OF, plan=whole))


@settings(max_examples=50)
@given(rows)
def test_pairs_are_complete_pair_by_pair(found):
    made = wb.cube(table(found), of=OF)
    x = table(found).select(["x", "y", "i"]).to_pandas().astype(float).replace([np.inf, -np.inf], np.nan)
    for a in x:
        for b in x:
            both = x[[a, b]].dropna() if a != b else x[[a]].dropna()
            spot = {"co_row": a, "co_column": b}
            assert made["co_n"].sel(spot).item() == len(both)
            if len(both) > 1:
                assert made["co_mean"].sel(spot).item() == pytest.approx(both[a].mean(), rel=1e-9, abs=1e-9)
                cov = np.cov(both[a], both[b])[0, 1] * (len(both) - 1)
                assert made["co_cross"].sel(spot).item() == pytest.approx(cov, rel=1e-6, abs=1e-6 * 1e6)


def test_a_large_offset_does_not_cancel():
    rng = np.random.default_rng(0)
    x = rng.multivariate_normal([0, 0], [[1, 0.5], [0.5, 1]], 30_000)
    plain, far = (pd.DataFrame(x + offset, columns=["x", "y"]) for offset in (0.0, 1e9))
    parts = [wb.cube(far.iloc[i::3], of=CoMoments(["x", "y"])) for i in range(3)]
    found = add(*parts)["co_cross"].values / 29_999
    np.testing.assert_allclose(found, plain.cov().to_numpy(), atol=1e-5)


def test_time_windows_and_blocks_of_rows(monkeypatch):
    monkeypatch.setattr(comoments, "ROWS", 100)
    rng = np.random.default_rng(1)
    day = pd.date_range("2026-03-01", periods=4, freq="D").to_numpy()[rng.integers(0, 4, 5000)]
    frame = pd.DataFrame({"at": day, "g": rng.choice(["a", "b"], 5000), "x": rng.normal(size=5000)})
    frame["y"] = frame["x"] * (1 + (frame["g"] == "b")) + rng.normal(size=5000)
    made = wb.cube(frame, by=[wb.Period("at", "D", name="window"), "g"], of=CoMoments())
    for (at, g), part in frame.groupby(["at", "g"]):
        spot = {"window": at.to_datetime64(), "g": g}
        got = made["co_cross"].sel(spot).values / (len(part) - 1)
        np.testing.assert_allclose(got, part[["x", "y"]].cov().to_numpy(), atol=1e-12)
    total = collapse(made)["co_cross"].values / 4999
    np.testing.assert_allclose(total, frame[["x", "y"]].cov().to_numpy(), atol=1e-12)


def test_saved_opened_selected_and_ordered(tmp_path):
    frame = pd.DataFrame(np.random.default_rng(2).normal(size=(50, 3)), columns=list("abc")).assign(g=["u", "v"] * 25)
    made = wb.cube(frame, by="g", of=[*"abc", CoMoments(["a", "c"])])
    assert open_cube(save_cube(made, tmp_path / "one.nc")).identical(made)
    assert made["co_row"].values.tolist() == ["a", "c"]
    assert select(made, g="u", column=["c", "b", "a"])["co_row"].values.tolist() == ["c", "a"]
    turned = wb.cube(frame[["c", "b", "a", "g"]], by="g", of=[*"abc", CoMoments(["a", "c"])], plan=made)
    same(add(made, turned), add(made, made))


def test_a_store_grows_with_co_moments(tmp_path):
    import pyarrow.parquet as pq

    frame = pd.DataFrame(np.random.default_rng(3).normal(size=(60, 2)), columns=["x", "y"])
    for part in range(2):
        (tmp_path / "table").mkdir(exist_ok=True)
        pq.write_table(pa.Table.from_pandas(frame.iloc[part::2]), tmp_path / "table" / f"{part}.parquet")
        made = wb.cube(tmp_path / "table", of=OF, onto=tmp_path / "store")
    same(made, wb.cube(frame, of=OF, plan=made))


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        (lambda: CoMoments("x"), "a list of columns is wanted"),
        (lambda: CoMoments(["x"]), "two or more"),
        (lambda: CoMoments(["x", "z"]), "'z', which is not a column"),
        (lambda: CoMoments(["x", "g"]), "cannot be counted of 'g': the column is text"),
    ],
)
def test_what_cannot_be_asked(asked, sentence):
    with pytest.raises(wb.WorkbenchError, match=sentence):
        wb.cube(table([(1.0, 2.0, 3, "a")]), of=asked())


def test_too_few_columns_too_many_pairs_and_other_measures(monkeypatch):
    found = table([(1.0, 2.0, 3, "a")])
    with pytest.raises(wb.WorkbenchError, match="two numeric columns or more; this table has 1"):
        wb.cube(found.select(["x", "g"]), of=CoMoments())
    with pytest.raises(wb.WorkbenchError, match="Cubes of different measures do not add.*comoments"):
        add(wb.cube(found, of=OF), wb.cube(found))
    monkeypatch.setattr("workbench.cubes.labelled.CELL_LIMIT", 8)
    with pytest.raises(wb.WorkbenchError, match="CoMoments of 3 columns"):
        wb.cube(found, of=OF)
