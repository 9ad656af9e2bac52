"""The full profile of every column beside a bare scan of the same file: `python -m benchmarks.scan --rows 2000000`.

Each measure runs in a process of its own and starts when its libraries are loaded; the scan reads one column of one row
group at a time, as the profile does. Printed: medians of CPU and wall seconds, their ratio to the scan, peak memory.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path


def scan(folder: Path) -> Callable[[], object]:
    import pyarrow.parquet as pq

    def work():
        for path in sorted(folder.rglob("*.parquet")):
            with pq.ParquetFile(path, memory_map=False) as file:
                for group in range(file.num_row_groups):
                    for column in range(file.metadata.num_columns):
                        name = file.metadata.schema.column(column).path
                        file.read_row_group(group, columns=[name], use_threads=False)

    return work


def profile(folder: Path) -> Callable[[], object]:
    import workbench as wb

    table = wb.open_table(folder)
    wb.cube(table)  # so that the kernels are compiled, or read from their cache, before the clock runs
    return lambda: wb.cube(table)


MEASURES = {"scan": scan, "profile": profile}


def measure(name: str, folder: Path) -> dict[str, float]:
    work = MEASURES[name](folder)
    cpu, wall = time.process_time(), time.monotonic()
    work()
    cpu, wall = time.process_time() - cpu, time.monotonic() - wall
    return {"cpu": cpu, "wall": wall, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=2_000_000, help="rows of the request table (default: 2000000)")
    parser.add_argument(
        "--folder", type=Path, default=Path("bench-data"), help="where the table goes (default: bench-data)"
    )
    parser.add_argument("--times", type=int, default=3, help="repetitions, of which the median counts (default: 3)")
    parser.add_argument("--one", choices=MEASURES, help="measure one in this process and print it as JSON")
    chosen = parser.parse_args()
    folder = chosen.folder / f"requests-{chosen.rows}"
    if chosen.one:
        print(json.dumps(measure(chosen.one, folder)))
        return
    if not folder.is_dir():
        from workbench.examples import requests

        print(f"writing {chosen.rows:,} rows to {folder}", flush=True)
        requests(folder, chosen.rows)
    command = [
        sys.executable,
        "-m",
        "benchmarks.scan",
        "--rows",
        str(chosen.rows),
        "--folder",
        str(chosen.folder),
        "--one",
    ]
    found: dict[str, list[dict[str, float]]] = {name: [] for name in MEASURES}
    for _ in range(chosen.times):  # in turn, so that a busy moment of the machine meets all of them
        for name in MEASURES:
            found[name].append(json.loads(subprocess.run([*command, name], check=True, capture_output=True).stdout))
    middle = {n: {key: statistics.median(one[key] for one in all_) for key in all_[0]} for n, all_ in found.items()}
    print(f"{'':<10}{'CPU s':>8}{'x scan':>8}{'wall s':>8}{'x scan':>8}{'peak MB':>9}")
    for name, m in middle.items():
        cpu, wall = m["cpu"] / middle["scan"]["cpu"], m["wall"] / middle["scan"]["wall"]
        print(f"{name:<10}{m['cpu']:>8.2f}{cpu:>8.2f}{m['wall']:>8.2f}{wall:>8.2f}{m['peak']:>9.0f}")


if __name__ == "__main__":
    main()
