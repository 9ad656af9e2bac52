"""Every refusal of the room, in its words."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import xarray as xr

import workbench as wb
from workbench.cubes import Bins, Category, Distinct, Histogram, Moments, Period, Top, labelled


@pytest.fixture(scope="module")
def data():
    return pa.table({
        "model": ["a", "b", None], "latency": [1.0, 2.0, None], "time": pa.array([0, 1, None], pa.timestamp("us")),
        "nested": [[1], None, []],
    })  # fmt: skip


def refused(words):
    return pytest.raises(wb.WorkbenchError, match=words)


def test_too_many_cells(monkeypatch):
    monkeypatch.setattr(labelled, "CELL_LIMIT", 50)
    many = pa.table({"a": [str(i) for i in range(20)], "b": [str(i % 4) for i in range(20)], "x": range(20)})
    with refused(
        r"would have 20 a x 4 b x 3 columns = 240 cells, more than 50. The longest axis is 'a' with 20 labels: leave it out"
    ):
        wb.cube(many, by=["a", "b"])
    assert wb.cube(many, by="b", of="x").sizes["b"] == 4


def test_more_cells_than_an_integer_counts():
    axes = [f"axis {i}" for i in range(8)]
    many = pa.table({name: [f"{name} {i}" for i in range(300)] for name in axes})
    with refused("would have 300 axis 0 x 300 axis 1 x .* = 65,610,000,000,000,000,000 cells"):
        wb.cube(many, by=axes, of=[])


def test_axes_that_do_not_fit(data):
    with refused("by= names 'modle', which is not a column here; did you mean 'model'"):
        wb.cube(data, by="modle")
    with refused(r"Period\('model'\) wants a time, but the column is text; columns that are times: time"):
        wb.cube(data, by=Period("model", "D"))
    with refused("no column here is a time"):
        wb.cube(data.select(["model"]), by=Period("model", "D"))
    with refused(r"Bins\('model'\) wants a number, but the column is text; use Category for text"):
        wb.cube(data, by=Bins("model"))
    with refused(r"Category\('nested'\) cannot label a nested or binary column"):
        wb.cube(data, by="nested")
    with refused("by= got 5; an axis is"):
        wb.cube(data, by=5)


def test_measures_that_do_not_fit(data):
    with refused("of= names 'latensy', which is not a column here; did you mean 'latency'"):
        wb.cube(data, of="latensy")
    with refused("of= names 'latensy'"):
        wb.cube(data, of=Moments("latensy"))
    with refused(r"Moments\('model'\) cannot be counted: the column is text; columns that can: latency, time"):
        wb.cube(data, of=Moments("model"))
    with refused(r"Histogram\('nested'\) cannot be counted: the column is other"):
        wb.cube(data, of=Histogram("nested"))
    with refused(r"Top\('latency'\) cannot be counted: the column is number; columns that can: model"):
        wb.cube(data, of=Top("latency"))
    with refused(r"Top\('nested'\) cannot be counted: the column is other"):
        wb.cube(data, of=Top("nested"))
    with refused(r"Histogram\(\['latency'\]\): a measure wants the name of one column"):
        wb.cube(data, of=Histogram(["latency"]))
    with refused(r"Distinct\('nested'\) cannot be counted"):
        wb.cube(data, of=Distinct("nested"))
    with refused(r"columns that can: none"):
        wb.cube(data.select(["latency"]), of=Top("latency"))
    for wrong in (3, [None], [("a", "b")]):
        with refused("of= got .*; a column's name, Moments"):
            wb.cube(data, of=wrong)
    with refused("relative=2; a fraction from 1e-9 to 0.5"):
        Histogram(relative=2)
    with refused("bins=3; a number from 16 to 1,000,000"):
        Histogram(bins=3)
    with refused("p=3; a whole number from 4 to 16"):
        Distinct(p=3)


def test_what_is_asked_for_by_name_holds_over_defaults(data):
    for of in (["latency", Histogram("latency", relative=0.01), Distinct("latency", p=6)],
               [Histogram("latency", relative=0.01), Distinct("latency", p=6), "latency"]):  # fmt: skip
        asked = labelled.columns_of(wb.cube(data, of=of))[0]["asked"]
        assert (asked["relative"], asked["p"], asked["histogram"]) == (0.01, 6, True)


def test_tables_that_are_none(data):
    with refused("got a int; a table from open_table"):
        wb.cube(3)
    with refused("got a NoneType"):
        wb.cube(None)
    with refused("The table has 2 columns called 'x'; rename all but one"):
        wb.cube(pa.table([[1], [2]], names=["x", "x"]))
    with refused("columns? called 'x'|mixed|Duplicate"):
        wb.cube(pd.DataFrame([[1, 2]], columns=["x", "x"]))
    with refused("This DataFrame has a column of mixed values .*; give each column one type"):
        wb.cube(pd.DataFrame({"x": [1, "a", object()]}))
    frame = pd.DataFrame({"k": ["a", None], "x": [1.5, np.nan], "t": pd.to_datetime(["2026-01-01", None])})
    assert wb.cube(frame)["missing"].to_series().to_dict() == {"k": 1, "x": 1, "t": 1}


def test_cubes_that_do_not_add(data):
    plain = wb.cube(data)
    with refused("got no cube; give it one or more"):
        wb.add()
    with refused(
        r"Cubes of different axes do not add: memory \(version .*\) has no axes; memory \(version .*\) has "
        r"Category\('model'\) named 'model'. Count both with the same by= and of="
    ):
        wb.add(plain, wb.cube(data, by="model"))
    with refused(r"Period\('time', every='D', tz='UTC'\) named 'w'.*every='h'"):
        wb.add(wb.cube(data, by=Period("time", "D", name="w")), wb.cube(data, by=Period("time", "h", name="w")))
    with refused(r"different columns do not add: .* has nested \(other\); .* has no others"):
        wb.add(plain, wb.cube(data.drop_columns("nested")))
    with refused(
        r"different columns do not add: .* has latency \(number\); .* has latency \(integer\). Open both with the same types="
    ):
        wb.add(plain, wb.cube(data.set_column(1, "latency", pa.array([1, 2, 3]))))
    with refused(
        r"different measures do not add: .*latency \[moments, histogram, distinct p=14\].*latency \[moments\]"
    ):
        wb.add(wb.cube(data, of="latency"), wb.cube(data, of=Moments("latency")))
    with refused(r"distinct p=5.*distinct p=6"):
        wb.add(wb.cube(data, of=Distinct("model", p=5)), wb.cube(data, of=Distinct("model", p=6)))
    with refused("This dataset is not a cube: it has no 'axes'"):
        wb.add(xr.Dataset(), plain)
    with refused("This dataset is not a cube"):
        wb.add(plain, xr.Dataset())


def test_labels_that_are_not_there(data):
    c = wb.cube(data, by=["model", Period("time", "D"), Bins("latency", name="size")])
    with refused("names 'modle', which is not an axis here; did you mean 'model'"):
        wb.select(c, modle="a")
    with refused("model has no label 'c'; the choices are"):
        wb.select(c, model="c")
    with refused("time got 'yesterday'; a time such as '2026-03-02'"):
        wb.select(c, time="yesterday")
    with refused("time has no label '2030-01-01'"):
        wb.select(c, time="2030-01-01")
    with refused("size has no label 'big'"):
        wb.select(c, size="big")
    with refused("a slice with a step"):
        wb.select(c, size=slice(0, 1, 2))
    with refused("which does not compare with the labels here"):
        wb.select(c, model=slice(3, None))
    with refused("which does not compare with the labels here"):
        wb.select(c, size=slice("a", None))
    with refused("collapse.. names 'tme', which is not an axis here; did you mean 'time'"):
        wb.collapse(c, "tme")


def test_select_and_slices(data):
    c = wb.cube(data, by=["model", Period("time", "D"), Bins("latency", name="size")])
    assert wb.select(c, time="1970-01-01")["count"].sum().item() == 2
    assert wb.select(c, time=None)["count"].sum().item() == 1
    assert wb.select(c, size=float("nan"))["count"].sum().item() == 1
    assert wb.select(c, time=slice(None))["count"].sum().item() == 3
    assert wb.select(c, time=slice("1970-01-01", "1970-01-02"))["count"].sum().item() == 2
    assert wb.select(c, time=slice("1970-01-01T01:00+01:00", "1970-01-02T00:00Z"))["count"].sum().item() == 2
    assert wb.select(c, time=slice("2000-01-01", None)).sizes["time"] == 0
    assert wb.select(c, model=["b", "a"]).sizes["model"] == 2
    assert wb.select(c, model=[])["count"].sum().item() == 0
    only = wb.select(c, column=["latency"], model="a")
    assert only["column"].values.tolist() == ["latency"]
    assert "model" not in only.dims
    assert wb.select(c, column="latency").sizes["column"] == 1
    assert wb.select(c, column=["time", "latency"])["column"].values.tolist() == ["time", "latency"]
    assert wb.select(c, size=slice(1, 1.5))["count"].sum().item() == 1
    assert wb.quantile(only, 0.5, "latency").sel(size=1.0, time="1970-01-01").item() == 1.0


def test_questions_that_have_no_answer(data):
    c = wb.cube(data)
    for q in (1.5, -0.1, [], float("nan"), [0.5, 2]):
        with refused("quantile.. got q=.*; numbers from 0 to 1 are wanted"):
            wb.quantile(c, q)
    for read in (
        lambda: wb.quantile(c, 0.5, "latensy"),
        lambda: wb.histogram(c, "latensy"),
        lambda: wb.categories(c, "latensy"),
    ):
        with refused("The cube has no column 'latensy'; did you mean 'latency'"):
            read()


def test_an_axis_by_name_is_a_category(data, same):
    same(wb.cube(data, by="model"), wb.cube(data, by=[Category("model")]))
    same(wb.cube(data, by=None), wb.cube(data))
