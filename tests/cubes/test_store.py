"""Cubes on disk: whole or not at all, and the same when they come back."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import xarray as xr

import workbench as wb
from workbench.cubes import Bins, Category, Period
from workbench.cubes.partial import lows

ROOT = Path(__file__).parents[2]

KILLS = """
import os, random, signal, sys, time
import pyarrow as pa
import workbench as wb

path = sys.argv[1]
cubes = [wb.cube(pa.table({"x": list(range(n)), "s": [f"v{i}" for i in range(n)]})) for n in (500, 2000)]
wb.save_cube(cubes[0], path)
start = time.perf_counter()
wb.save_cube(cubes[0], path)
once = min(time.perf_counter() - start, 0.2)
pause = random.Random(5)
seen = set()

def look():
    seen.add(wb.open_cube(path)["count"].item())

for _ in range(15):
    before = os.stat(path).st_ino
    writer = os.fork()
    while not writer:
        for c in cubes[::-1]:
            wb.save_cube(c, path)
    while os.stat(path).st_ino == before:  # until it has written once, however busy the machine
        time.sleep(0.001)
    look()
    for _ in range(1):  # stopped and looked at: each stop is a moment at which it could have been killed
        time.sleep(pause.uniform(0.0, 1.5 * once))
        os.kill(writer, signal.SIGSTOP)
        look()
        os.kill(writer, signal.SIGCONT)
    time.sleep(pause.uniform(0.0, 1.5 * once))
    os.kill(writer, signal.SIGKILL)
    os.waitpid(writer, 0)
    look()
wb.save_cube(wb.cube(pa.table({"x": [1]})), path)
assert wb.open_cube(path)["count"].item() == 1
assert seen == {500, 2000}, seen
"""


@pytest.fixture(scope="module")
def rich():
    data = pa.table({
        "t": pa.array([0, 10**15, None, -1], pa.timestamp("us")), "k": ["\x00", "a\nb", None, "🙂"],
        "x": [np.nan, -np.inf, 5e-324, None], "i": pa.array([2**63 - 1, -(2**63), None, 3]),
        "(missing)": ["(missing)", "", "ä", None], "nested": [[1], None, [], [2]],
    })  # fmt: skip
    return wb.cube(data, by=[Category("k"), Period("t", "D", "Europe/Berlin", name="window"), Bins("x", edges=(0, 1))])


def test_a_cube_comes_back_as_it_was(rich, tmp_path, same):
    path = wb.save_cube(rich, tmp_path / "deep" / "down" / "cube.nc")
    back = wb.open_cube(path)
    same(back, rich, exact=True)
    assert back.attrs == rich.attrs
    for name, v in rich.variables.items():
        assert back[name].dtype == v.dtype, name
        assert {k: str(x) for k, x in back[name].attrs.items()} == {k: str(x) for k, x in v.attrs.items()}
        np.testing.assert_array_equal(back[name].values, v.values)
    same(wb.add(back, back), wb.add(rich, rich), exact=True)
    assert os.listdir(path.parent) == ["cube.nc"]


def test_cubes_without_axes_rows_or_columns_come_back(tmp_path, same):
    data = pa.table({"k": pa.array(["a"]), "x": [1.0], "t": pa.array([1], pa.timestamp("us"))})
    for by in ((), "k", [Period("t", "D")], [Bins("x")]):
        for rows, of in ((data, []), (data.slice(0, 0), None)):
            c = wb.cube(rows, by=by, of=of)
            same(wb.open_cube(wb.save_cube(c, tmp_path / "c.nc")), c, exact=True)


def test_a_stored_plan_counts_on(rich, tmp_path, same):
    data = pa.table({"x": np.random.default_rng(0).normal(size=5000)})
    first = wb.cube(data)
    kept = wb.open_cube(wb.save_cube(first, tmp_path / "c.nc"))
    same(wb.cube(data, plan=kept), first)


def test_other_netcdf_readers_open_it(rich, tmp_path):
    with xr.open_dataset(wb.save_cube(rich, tmp_path / "c.nc"), engine="h5netcdf") as plain:
        assert json.loads(plain.attrs["axes"])[0]["column"] == "k"
        assert int(plain["label_count"].sum()) == 4


def test_packed_parts_are_what_other_readers_see(tmp_path, monkeypatch, same):
    monkeypatch.setattr("workbench.cubes.store.SMALL", 0)
    monkeypatch.setattr("workbench.cubes.store.PART", 100)  # every variable has parts, and a last one that is not full
    data = pa.table({"k": [str(n % 11) for n in range(999)], "x": np.random.default_rng(0).normal(size=999)})
    c = wb.cube(data, by="k")
    path = wb.save_cube(c, tmp_path / "c.nc")
    same(wb.open_cube(path), c, exact=True)
    with xr.open_dataset(path, engine="h5netcdf") as plain:
        np.testing.assert_array_equal(plain["label_bin_min"].values, c["bin_min"].values)
        np.testing.assert_array_equal(plain["label_mean"].values, c["mean"].values)
        assert plain["label_mean"].encoding["chunksizes"] == (6, 2)
        assert dict(plain.sizes)["bins"] == c.sizes["bins"]


def test_a_cube_of_the_first_format_is_read(rich, tmp_path, same):
    bins = {key: rich[f"bin_{key}"].values for key in ("min", "bits")}
    old = rich.assign(bin_low=("bins", lows(bins))).assign_attrs(format=1)
    read = wb.open_cube(wb.save_cube(old, tmp_path / "c.nc"))
    same(read, rich, exact=True)
    assert read.attrs["format"] == rich.attrs["format"]


def test_a_reader_sees_the_old_cube_or_the_new_one(tmp_path):
    cubes = [wb.cube(pa.table({"x": list(range(n))})) for n in (10, 3000)]
    path = wb.save_cube(cubes[0], tmp_path / "cube.nc")
    seen, stop = set(), threading.Event()

    def read():
        while not stop.is_set():
            seen.add(wb.open_cube(path)["count"].item())

    reader = threading.Thread(target=read)
    reader.start()
    for k in range(8):
        wb.save_cube(cubes[k % 2], path)
    stop.set()
    reader.join()
    assert seen <= {10, 3000}
    assert seen


def test_a_killed_writer_leaves_the_old_cube_or_the_new_one(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", KILLS, str(tmp_path / "cube.nc")],
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr


def test_a_failed_write_leaves_the_old_cube(tmp_path, rich):
    path = wb.save_cube(wb.cube(pa.table({"x": [1]})), tmp_path / "cube.nc")
    with pytest.raises(TypeError):
        wb.save_cube(rich.assign_attrs(bad={"not": "storable"}), path)
    assert wb.open_cube(path)["count"].item() == 1
    assert os.listdir(tmp_path) == ["cube.nc"]


def test_no_cube_is_told(tmp_path):
    with pytest.raises(wb.WorkbenchError, match="There is no cube at .*none.nc; save_cube.. makes one"):
        wb.open_cube(tmp_path / "none.nc")
    wb.save_cube(wb.cube(pa.table({"x": [1]})), tmp_path / "some.nc")
    with pytest.raises(wb.WorkbenchError, match="There is no cube at .*none.nc; cubes beside it: some.nc"):
        wb.open_cube(tmp_path / "none.nc")
    with pytest.raises(wb.WorkbenchError, match="There is no cube at"):
        wb.open_cube(tmp_path)


def test_broken_and_foreign_files_are_told(tmp_path, rich):
    path = wb.save_cube(rich, tmp_path / "cube.nc")
    whole = path.read_bytes()
    for size in (0, 1, 100, len(whole) // 2, len(whole) - 10):
        path.write_bytes(whole[:size])
        with pytest.raises(wb.WorkbenchError, match=r"cube.nc cannot be read as a cube .*; count it again") as told:
            wb.open_cube(path)
        assert "\n" not in str(told.value)
    path.write_text("not a cube at all\n" * 100)
    with pytest.raises(wb.WorkbenchError, match="cannot be read as a cube"):
        wb.open_cube(path)
    xr.Dataset({"a": ("x", [1.0])}).to_netcdf(path, engine="h5netcdf")
    with pytest.raises(wb.WorkbenchError, match="cube.nc cannot be read as a cube: it holds no cube"):
        wb.open_cube(path)
    wb.save_cube(rich.assign_attrs(format=99), path)
    with pytest.raises(wb.WorkbenchError, match="was written by a newer workbench"):
        wb.open_cube(path)
