"""What our measures share: kernels loaded before the clock runs, and the CPU and memory of worker processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.clock import SEVEN, memory, own_cpu, versions

VERSIONS = versions("workbench", "numpy", "numba", "pyarrow", "pandas", "xarray", "dask", "distributed")


@contextmanager
def crew(kind: str, size: int | None) -> Iterator[tuple[Any, Callable[[], float]]]:
    """Workers and the CPU seconds that this process and they have used so far."""
    import workbench as wb

    with wb.cluster(kind, size=size or None) as workers:
        if workers.local:
            yield workers, own_cpu
            return
        import psutil

        children = psutil.Process().children(recursive=True)
        yield workers, lambda: own_cpu() + sum(sum(one.cpu_times()[:2]) for one in children)


def imported() -> float:
    """MB that this process holds once everything a profile uses is imported, and nothing is counted yet.

    Numba imports its typing modules at the first call of any compiled function, and xarray asks for Dask's arrays when it
    makes its first dataset: one number is hashed for that, and one dataset of one text made.
    """
    import dask.threaded  # noqa: F401
    import numpy as np
    import pandas  # noqa: F401
    import pyarrow.compute
    import pyarrow.parquet  # noqa: F401
    import tqdm  # noqa: F401
    import xarray

    import workbench.cubes.kernels
    import workbench.cubes.scan
    import workbench.tables.parquet

    workbench.cubes.kernels.hash_numbers(np.zeros(1, np.int64), np.zeros(1, np.uint64))
    xarray.Dataset(coords={"text": np.array(["one"], object)})
    return memory("VmRSS")


def worker_memory(workers: Any) -> dict[str, float]:
    """The most memory that each worker process has held, in MB."""
    if workers.local:
        return {}
    held = list(workers.client.run(memory).values())
    return {"workers_peak_mb": max(held), "workers_sum_mb": sum(held) + memory()}


def warmed(folder: Path) -> None:
    """Count a small table the same way, so that imports and compiled kernels are there."""
    import workbench as wb

    small = folder.parent / "warm"
    statistics(wb.cube(wb.open_table(small), progress=False))


def warmed_everywhere(workers: Any, folder: Path) -> None:
    """The same in this process and in every worker process."""
    warmed(folder)
    if not workers.local:
        workers.client.run(warmed, folder)


def statistics(cube: Any) -> dict[str, dict[str, Any]]:
    """The statistics that are named for every peer, by column."""
    import workbench as wb

    quantiles = wb.quantile(cube, list(SEVEN.values())).values
    std, distinct = wb.std(cube, ddof=1).values, wb.distinct(cube).values
    answers: dict[str, dict[str, Any]] = {}
    for i, (column, kind) in enumerate(zip(cube["column"].values, cube["kind"].values, strict=True)):
        one: dict[str, Any] = {
            "count": int(cube["count"]) - int(cube["missing"].values[i]),
            "missing": int(cube["missing"].values[i]),
            "distinct": float(distinct[i]),
        }
        if kind == "text":
            found = wb.categories(cube, str(column))
            one["values"] = {str(k): int(v) for k, v in zip(found["value"].values, found.values, strict=True)}
        else:
            one |= {"min": float(cube["min"].values[i]), "max": float(cube["max"].values[i])}
            one |= {"mean": float(cube["mean"].values[i]), "std": float(std[i])}
            one |= {name: float(value) for name, value in zip(SEVEN, quantiles[i], strict=True)}
            one["histogram"] = int(wb.histogram(cube, str(column))["count"].sum())
        answers[str(column)] = one
    return answers
