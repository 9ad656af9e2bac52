"""The compiled kernels and the array form count the same: the array form is the oracle, and runs on the GPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xarray as xr

import workbench as wb
from workbench.cubes import arrays, counting, scan
from workbench.cubes.memory import as_table

AXES: dict[str, Any] = {
    "none": (),
    "day and model": [wb.Period("time", "D", name="window"), wb.Category("model")],
    "six local hours and octaves": [wb.Bins("x"), wb.Period("time", "6h", tz="America/New_York")],
    "edges and a boolean": [wb.Bins("k", edges=(0, 10)), wb.Category("flag")],
}


def odd_table(rows: int = 20_000) -> pa.Table:
    """Every kind of column, with every kind of odd value."""
    random = np.random.default_rng(7)
    x = random.normal(size=rows)
    x[::17], x[5], x[9], x[11], x[12] = np.nan, np.inf, -np.inf, -0.0, 5e-324
    start = np.datetime64("2026-03-02", "us")
    time = start + np.sort(random.integers(0, 14 * 86_400_000_000, rows))
    return pa.table(
        {
            "time": pa.array(time, mask=random.random(rows) < 0.01),
            "x": pa.array(x, mask=random.random(rows) < 0.1),
            "k": random.integers(-50, 100, rows),
            "big": random.integers(-(2**63), 2**63 - 1, rows),
            "flag": pa.array(random.random(rows) > 0.5, mask=random.random(rows) < 0.1),
            "model": pa.array(random.choice(["a", "b", "c"], rows).tolist(), mask=random.random(rows) < 0.1),
            "id": [f"r{i % 500}" for i in range(rows)],
            "narrow": random.normal(1000, 0.001, rows),
            "early": pa.array(random.integers(-(10**15), 10**15, rows)).cast(pa.timestamp("ns", "Europe/Berlin")),
            "money": pa.array(random.integers(0, 10**6, rows)).cast(pa.decimal128(21, 2)),
            "took": pa.array(random.integers(0, 10**6, rows)).cast(pa.duration("ms")),
            "raw": pa.array([None if i % 5 == 0 else b"abc" for i in range(rows)], pa.binary(3)),
        }
    )


def both(by: Any, form: Callable[..., Any]) -> tuple[xr.Dataset, xr.Dataset]:
    table = as_table(odd_table())
    axes = scan.check_axes(by)
    columns = scan.plan_columns(table, axes, None, None)
    one = counting.count_pieces(table, table.pieces(), columns, axes)
    other = form(table, table.pieces(), columns, axes)
    return scan.finished(one, table, columns, axes), scan.finished(other, table, columns, axes)


def assert_same_counts(one: xr.Dataset, other: xr.Dataset) -> None:
    """Everything equal, but float sums and moments, which agree to rounding."""
    assert dict(one.sizes) == dict(other.sizes)
    for name in one.variables:
        a, b = one[name].values, other[name].values
        if name in ("sum", "mean", "m2"):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9, err_msg=str(name))
        else:
            np.testing.assert_array_equal(a, b, err_msg=str(name))


@pytest.mark.parametrize("by", AXES.values(), ids=AXES.keys())
def test_arrays_count_as_the_kernels_do(by: Any) -> None:
    assert_same_counts(*both(by, arrays.count_arrays))


def test_what_cudf_reads_and_what_comes_by_arrow(tmp_path: Any) -> None:
    (tmp_path / "region=eu").mkdir()
    data = odd_table(50)
    data = data.append_column("huge", pa.array([2**64 - 1] * 50, pa.uint64()))
    data = data.append_column("words", data["model"].dictionary_encode()).append_column("list", pa.array([[1]] * 50))
    pq.write_table(data, tmp_path / "region=eu" / "t.parquet")
    table = wb.open_table(tmp_path)
    direct = arrays.cudf_columns(table, table.files[0])
    assert direct == ["time", "x", "k", "big", "flag", "model", "id", "narrow", "early", "words"]
    assert set(table.schema.names) - set(direct) == {"money", "took", "raw", "huge", "list", "region"}
    as_text = wb.open_table(tmp_path, types={"k": "text"})
    assert "k" not in arrays.cudf_columns(as_text, as_text.files[0])


@pytest.mark.gpu
@pytest.mark.parametrize("by", AXES.values(), ids=AXES.keys())
def test_the_gpu_counts_as_the_kernels_do(by: Any) -> None:
    cupy = pytest.importorskip("cupy")

    def on_the_gpu(*given: Any) -> Any:
        return arrays.count_arrays(*given, xp=cupy)

    assert_same_counts(*both(by, on_the_gpu))


@pytest.mark.gpu
def test_a_cuda_cluster_gives_the_cube_of_threads(tmp_path: Any) -> None:
    pq.write_table(odd_table(), tmp_path / "t.parquet", row_group_size=6_000)
    table = wb.open_table(tmp_path)
    by = [wb.Period("time", "D", name="window"), wb.Category("model")]
    here = wb.cube(table, by=by)
    assert_same_counts(here, wb.cube(table, by=by, cluster="cuda", plan=here))
