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
    for name in ("count", "sum", "bin_count", "register_rank"):
        np.testing.assert_array_equal(summed[name].values, again[name].values)


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


def test_a_column_that_was_empty_at_first_says_how_to_begin(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()

    def count(store: str, x: pa.Array, day: int, **options: dict) -> xr.Dataset:
        pq.write_table(pa.table({"x": x}), tmp_path / "logs" / f"{day}.parquet")
        return wb.cube(wb.open_table(tmp_path / "logs", **options), onto=tmp_path / store)

    count("store", pa.nulls(2), 1)
    with pytest.raises(wb.WorkbenchError, match="holds no values of 'x'.*types={'x': 'number'}"):
        count("store", pa.array([1.5, 2.5]), 2)
    (tmp_path / "logs" / "2.parquet").unlink()
    count("other", pa.nulls(2), 1, types={"x": "number"})
    cube = count("other", pa.array([1.5, 2.5]), 2, types={"x": "number"})
    assert (int(cube["missing"].sum()), float(cube["sum"].sum())) == (2, 4.0)


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
    whole = 9 * ROWS
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
            assert int(wb.open_store(store)["count"].sum()) == whole
    assert int(grow(tmp_path)["count"].sum()) == whole
