"""A store that a cube grows in: only new files are read, nothing is counted twice, nothing is lost."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xarray as xr

import workbench as wb
from workbench.cubes import increments

ROWS = 50


def write_day(folder: Path, day: int, shift: float = 0.0, rows: int = ROWS) -> Path:
    """One file of a day: ``rows`` whole numbers from ``day * 1000`` on."""
    folder.mkdir(exist_ok=True)
    path = folder / f"day-{day:03d}.parquet"
    start = np.datetime64("2026-03-02", "us") + np.timedelta64(day, "D")
    x = np.arange(rows) + day * 1000 + shift
    pq.write_table(pa.table({"time": start + np.arange(rows), "x": x, "model": ["a", "b"] * (rows // 2)}), path)
    return path


@pytest.fixture(autouse=True)
def leaf_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(increments, "LEAF_ROWS", 1)


def grow(folder: Path) -> xr.Dataset:
    by = [wb.Period("time", "D", name="window")]
    return wb.cube(wb.open_table(folder / "logs"), by=by, onto=folder / "store")


def test_a_day_added_is_all_that_is_read(tmp_path: Path) -> None:
    for day in range(20):  # twenty leaves: two merges of eight, and four
        write_day(tmp_path / "logs", day)
        cube = grow(tmp_path)
        assert cube.attrs["counted_files"] == 1
        assert cube["count"].values.tolist() == [ROWS] * (day + 1)
    again = grow(tmp_path)
    assert again.attrs["counted_files"] == 0
    state = json.loads((tmp_path / "store" / "manifest.json").read_text())
    assert sorted(node["level"] for node in state["nodes"]) == [0, 0, 0, 0, 1, 1]
    at_once = wb.cube(wb.open_table(tmp_path / "logs"), by=[wb.Period("time", "D", name="window")], plan=again)
    for name in ("count", "missing", "sum", "min", "max", "bin_count", "bin_bits", "register_rank", "top_count"):
        np.testing.assert_array_equal(again[name].values, at_once[name].values)
    xr.testing.assert_identical(again["sum"], wb.open_store(tmp_path / "store")["sum"])
    (tmp_path / "store" / "manifest.json").write_text(json.dumps({k: v for k, v in state.items() if k != "total"}))
    summed = grow(tmp_path)  # a store that an earlier version left has no total
    (tmp_path / "store" / "manifest.json").write_text(json.dumps(state))
    (tmp_path / "store" / state["total"]).unlink()  # nor has one in which somebody has tidied up
    for one in (summed, grow(tmp_path), wb.open_store(tmp_path / "store")):
        for name in ("count", "sum", "bin_count", "register_rank"):
            np.testing.assert_array_equal(one[name].values, again[name].values)


def test_a_rewritten_file_is_named_and_counted_anew(tmp_path: Path) -> None:
    for day in range(10):
        write_day(tmp_path / "logs", day)
    grow(tmp_path)
    write_day(tmp_path / "logs", 3, rows=10)
    cube = grow(tmp_path)
    assert json.loads(cube.attrs["recounted"]) == ["day-003.parquet"]
    assert cube.attrs["counted_files"] == 1
    assert cube["count"].values.tolist() == [ROWS] * 3 + [10] + [ROWS] * 6


def test_a_touched_file_is_not_counted_again_and_a_removed_one_stays(tmp_path: Path) -> None:
    paths = [write_day(tmp_path / "logs", day) for day in range(3)]
    grow(tmp_path)
    os.utime(paths[0])
    paths[1].unlink()
    cube = grow(tmp_path)
    assert (cube.attrs["counted_files"], cube.attrs["stored_files"], int(cube["count"].sum())) == (0, 3, 3 * ROWS)


def test_a_file_rewritten_beside_one_that_is_gone_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(increments, "LEAF_ROWS", 1_000_000)
    paths = [write_day(tmp_path / "logs", day) for day in range(2)]
    grow(tmp_path)
    paths[1].unlink()
    write_day(tmp_path / "logs", 0, rows=10)
    with pytest.raises(wb.WorkbenchError, match=r"'day-000.parquet' was rewritten.*'day-001.parquet', which is gone"):
        grow(tmp_path)
    assert int(wb.open_store(tmp_path / "store")["count"].sum()) == 2 * ROWS


def test_another_recipe_is_refused(tmp_path: Path) -> None:
    write_day(tmp_path / "logs", 0)
    grow(tmp_path)
    table = wb.open_table(tmp_path / "logs")
    with pytest.raises(wb.WorkbenchError, match="holds cubes with axes .* this pass asks for"):
        wb.cube(table, onto=tmp_path / "store")
    with pytest.raises(wb.WorkbenchError, match="holds cubes with columns"):
        wb.cube(table, by=[wb.Period("time", "D", name="window")], of="x", onto=tmp_path / "store")
    with pytest.raises(wb.WorkbenchError, match="no cube store"):
        wb.open_store(tmp_path / "logs")


def write(path: Path, **columns: object) -> None:
    path.parent.mkdir(exist_ok=True, parents=True)
    pq.write_table(pa.table(columns), path)


def at_once(folder: Path, by: str, like: xr.Dataset) -> xr.Dataset:
    return wb.cube(wb.open_table(folder), by=by, plan=like)


def same(one: xr.Dataset, other: xr.Dataset) -> None:
    for name in one.variables:
        np.testing.assert_array_equal(one[name].values, other[name].values, err_msg=str(name))


VALUES = {
    "text": pa.array(["u", None, "v"]),
    "integer": pa.array([2, None, 3]),
    "number": pa.array([1.5, None, float("nan")]),
    "boolean": pa.array([True, None, False]),
    "time": pa.array([10**15, None, 0], pa.timestamp("us")),
}


@pytest.mark.parametrize("kind", VALUES)
@pytest.mark.parametrize("empty", [pa.null(), pa.float64(), pa.string()], ids=str)
@pytest.mark.parametrize("kept", [True, False], ids=["all days", "the new day only"])
def test_a_column_without_values_becomes_what_its_first_values_are(
    tmp_path: Path, kind: str, empty: pa.DataType, kept: bool
) -> None:
    days = [pa.nulls(3, empty), VALUES[kind], pa.nulls(3, empty)]
    for day, x in enumerate(days):
        if not kept:
            (tmp_path / "logs" / f"{day - 1}.parquet").unlink(missing_ok=True)
        for folder in ("logs", "all"):
            write(tmp_path / folder / f"{day}.parquet", k=["a", "b", "c"], x=x)
        cube = wb.cube(wb.open_table(tmp_path / "logs"), by="k", onto=tmp_path / "store")
    assert dict(zip(cube["column"].values, cube["kind"].values, strict=True)) == {"k": "text", "x": kind}
    same(cube, at_once(tmp_path / "all", "k", cube))


@pytest.mark.parametrize("days", [(2**64 - 1, 7, 2**63), (7, 2**63, 0)])
def test_unsigned_integers_of_any_size_add(tmp_path: Path, days: tuple[int, ...]) -> None:
    for day, x in enumerate(days):
        write(tmp_path / "logs" / f"{day}.parquet", k=["a"], x=pa.array([x], pa.uint64()))
        cube = wb.cube(wb.open_table(tmp_path / "logs" / f"{day}.parquet"), by="k", onto=tmp_path / "store")
    exact = ["count", "values", "min", "max", "bin_count", "bin_min", "register_rank"]  # means agree to rounding
    same(cube[exact], wb.cube(wb.open_table(tmp_path / "logs", types={"x": "number"}), by="k", plan=cube))


def test_a_kind_that_does_not_fit_says_how_to_go_on(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "1.csv").write_text("x\n1\n")
    wb.cube(wb.open_table(tmp_path / "logs"), onto=tmp_path / "store")
    (tmp_path / "logs" / "2.csv").write_text("x\n1.5\n")
    with pytest.raises(
        wb.WorkbenchError, match=r"'x': 'integer'.*'x': 'number'.*from open_table.*types={'x': 'number'}"
    ):
        wb.cube(wb.open_table(tmp_path / "logs"), onto=tmp_path / "store")


def test_columns_in_another_order_are_the_same(tmp_path: Path) -> None:
    write(tmp_path / "logs" / "1.parquet", k=["a"], x=[1.0])
    wb.cube(wb.open_table(tmp_path / "logs"), by="k", onto=tmp_path / "store")
    write(tmp_path / "logs" / "0.parquet", x=[2.0], k=["a"])
    cube = wb.cube(wb.open_table(tmp_path / "logs"), by="k", onto=tmp_path / "store")
    assert cube["sum"].sel(column="x").values.tolist() == [3.0]
    write(tmp_path / "logs" / "1.parquet", k=["a"], x=[1.0], y=[1])
    write(tmp_path / "logs" / "0.parquet", k=["a"], x=[1.0], y=[1])
    with pytest.raises(wb.WorkbenchError, match=r"columns \['k', 'x'\].*open_table\(..., columns=\['k', 'x'\]\)"):
        wb.cube(wb.open_table(tmp_path / "logs"), by="k", onto=tmp_path / "store")


@pytest.mark.parametrize("leaf", [1, 1_000_000])
@pytest.mark.parametrize("form", ["parquet", "csv"])
def test_a_file_of_the_same_size_and_footer_is_looked_at(
    tmp_path: Path, leaf: int, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(increments, "LEAF_ROWS", leaf)
    (tmp_path / "logs").mkdir()

    def put(name: str, middle: int, when: int) -> None:
        x = [10_000_000 + i for i in range(40_000)]
        x[20_000] = middle
        path = tmp_path / "logs" / f"{name}.{form}"
        if form == "csv":
            path.write_text("x\n" + "\n".join(map(str, x)))
        else:
            pq.write_table(pa.table({"x": x}), path, compression="none", use_dictionary=False, write_statistics=False)
        os.utime(path, (when, when))

    def count() -> xr.Dataset:
        return wb.cube(wb.open_table(tmp_path / "logs"), onto=tmp_path / "store")

    put("0", 12_345_678, 1)
    put("1", 12_345_678, 1)
    whole = int(count()["sum"].sum())
    put("1", 12_345_679, 2)
    rewritten = count()
    assert json.loads(rewritten.attrs["recounted"]) == [f"1.{form}"]
    assert int(rewritten["sum"].sum()) == whole + 1
    os.utime(tmp_path / "logs" / f"0.{form}", (3, 3))
    for _ in range(2):
        touched = count()
        assert (json.loads(touched.attrs["recounted"]), int(touched["sum"].sum())) == ([], whole + 1)
    state = json.loads((tmp_path / "store" / "manifest.json").read_text())
    assert state["commits"] == 3  # that it was looked at is kept


def test_a_renamed_file_is_not_counted_again(tmp_path: Path) -> None:
    write_day(tmp_path / "logs", 1)
    grow(tmp_path)
    (tmp_path / "logs" / "day-001.parquet").rename(tmp_path / "logs" / "one.parquet")
    for _ in range(2):
        cube = grow(tmp_path)
        assert [cube.attrs[n] for n in ("counted_files", "stored_files", "gone_files")] == [0, 1, 0]
    (tmp_path / "logs" / "one.parquet").unlink()
    write_day(tmp_path / "logs", 2)
    cube = grow(tmp_path)
    assert [cube.attrs[n] for n in ("counted_files", "stored_files", "gone_files")] == [1, 2, 1]


def test_a_file_in_another_partition_has_other_rows(tmp_path: Path) -> None:
    write(tmp_path / "logs" / "day=1" / "a.parquet", x=[1.0])
    write(tmp_path / "logs" / "day=2" / "b.parquet", x=[1.0, 2.0])
    wb.cube(wb.open_table(tmp_path / "logs"), by="day", onto=tmp_path / "store")
    os.renames(tmp_path / "logs" / "day=1" / "a.parquet", tmp_path / "logs" / "day=3" / "a.parquet")
    cube = wb.cube(wb.open_table(tmp_path / "logs"), by="day", onto=tmp_path / "store")
    assert cube["day"].values.tolist() == ["1", "2", "3"]


def test_folders_that_a_store_is_not_for_are_refused(tmp_path: Path) -> None:
    for month, x in (("03", 1.0), ("04", 2.0)):
        write(tmp_path / month / "day-01.parquet", x=[x])
    store = tmp_path / "store"
    wb.cube(wb.open_table(tmp_path / "03"), onto=store)
    with pytest.raises(wb.WorkbenchError, match=r"counted 'day-01.parquet' of .*03.*04.* another file of that name"):
        wb.cube(wb.open_table(tmp_path / "04"), onto=store)
    (tmp_path / "03").rename(tmp_path / "moved")
    write(tmp_path / "moved" / "day-02.parquet", x=[4.0])
    assert float(wb.cube(wb.open_table(tmp_path / "moved"), onto=store)["sum"].sum()) == 5.0
    table = wb.open_table(tmp_path / "moved")
    for inside in (tmp_path / "moved", tmp_path / "moved" / "cubes"):
        with pytest.raises(wb.WorkbenchError, match="lies in the table's own folder.*name a folder beside it"):
            wb.cube(table, onto=inside)
    assert int(wb.cube(table, onto=tmp_path / "moved" / "_cubes")["count"]) == 2
    with pytest.raises(wb.WorkbenchError, match="cannot be a folder .*: name another"):
        wb.cube(table, onto=store / "manifest.json" / "x")


def test_nan_in_a_condition_is_the_same_condition(tmp_path: Path) -> None:
    write(tmp_path / "logs" / "1.parquet", x=[1.0, float("nan"), None])
    for _ in range(2):
        table = wb.open_table(tmp_path / "logs", where=[("x", "!=", float("nan"))])
        assert int(wb.cube(table, onto=tmp_path / "store")["count"]) == 1


@pytest.mark.parametrize("of", [None, wb.Top("model"), []], ids=["everything", "texts only", "rows only"])
def test_conditions_belong_to_the_recipe(tmp_path: Path, of: object) -> None:
    write_day(tmp_path / "logs", 0)

    def count(where: list) -> xr.Dataset:
        return wb.cube(wb.open_table(tmp_path / "logs", where=where), of=of, onto=tmp_path / "store")

    since = [("time", ">=", "2026-03-02"), ("model", "==", "a")]
    assert int(count(since)["count"]) == ROWS // 2
    write_day(tmp_path / "logs", 1)
    with pytest.raises(wb.WorkbenchError, match="holds cubes with where= .*2026-03-02.* asks for "):
        count([])
    assert int(count(since)["count"]) == ROWS


@pytest.mark.parametrize("leaf", [1, 1_000_000])
def test_a_version_of_a_delta_table_has_what_its_files_have(
    tmp_path: Path, leaf: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    deltalake = pytest.importorskip("deltalake")
    monkeypatch.setattr(increments, "LEAF_ROWS", leaf)
    home = str(tmp_path / "table")

    def write(days: list[int], mode: str = "append") -> None:
        for day in days:
            deltalake.write_deltalake(home, pa.table({"day": [day] * ROWS, "x": np.arange(ROWS) + day}), mode=mode)

    def count(**options: int) -> xr.Dataset:
        return wb.cube(wb.open_table(home, **options), by="day", of="x", onto=tmp_path / "store")

    def days(cube: xr.Dataset) -> dict[int, int]:
        return {int(day): int(n) for day, n in zip(cube["day"].values, cube["count"].values, strict=True) if n}

    write([1, 2, 3])
    assert days(count()) == {1: ROWS, 2: ROWS, 3: ROWS}
    deltalake.DeltaTable(home).optimize.compact()
    compacted = count()
    assert days(compacted) == {1: ROWS, 2: ROWS, 3: ROWS}
    assert len(json.loads(compacted.attrs["removed"])) == 3
    assert compacted.attrs["stored_files"] == 1
    deltalake.DeltaTable(home).delete(f"day = 2 and x < {ROWS // 2 + 2}")
    assert days(count()) == {1: ROWS, 2: ROWS // 2, 3: ROWS}
    write([4])
    assert days(count(since=deltalake.DeltaTable(home).version() - 1)) == {1: ROWS, 2: ROWS // 2, 3: ROWS, 4: ROWS}
    assert json.loads(count().attrs["removed"]) == []
    assert days(count(version=0)) == {1: ROWS}
    deltalake.DeltaTable(home).delete()
    assert days(count()) == {}
    write([5], mode="overwrite")
    assert days(count()) == {5: ROWS}


CHILD = """
import sys
import workbench as wb
from workbench.cubes import increments
increments.LEAF_ROWS = 1
wb.cube(wb.open_table(sys.argv[1] + "/logs"), by=[wb.Period("time", "D", name="window")], onto=sys.argv[1] + "/store")
"""


def test_a_kill_leaves_the_state_before_or_after(tmp_path: Path) -> None:
    moments = random.Random(4)
    for day in range(9):
        write_day(tmp_path / "logs", day)
    whole = wb.cube(wb.open_table(tmp_path / "logs"), by=[wb.Period("time", "D", name="window")])
    for _ in range(6):
        child = subprocess.Popen([sys.executable, "-c", CHILD, str(tmp_path)], stderr=subprocess.DEVNULL)
        end = time.monotonic() + 20
        store = tmp_path / "store"
        while child.poll() is None and not list(store.glob("leaf-*")) and time.monotonic() < end:
            time.sleep(0.005)
        time.sleep(moments.uniform(0, 0.3))
        child.send_signal(signal.SIGKILL)
        child.wait()
        if (store / "manifest.json").exists():
            same(wb.open_store(store), whole)
    same(grow(tmp_path), whole)
