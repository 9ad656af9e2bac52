"""The bare scan: one column of one row group at a time with pyarrow, nothing done with it; by one thread, or by several."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.clock import arguments, clocked, files, tell, versions


def main() -> None:
    chosen = arguments(columns="", threads=1)
    import pyarrow.parquet as pq

    wanted = [name for name in chosen.columns.split(",") if name]

    def read(path: Path) -> int:
        with pq.ParquetFile(path, memory_map=False) as file:
            for group in range(file.num_row_groups):
                for name in wanted or file.schema_arrow.names:
                    file.read_row_group(group, columns=[name], use_threads=False)
            return int(file.metadata.num_rows)

    def work() -> int:
        if chosen.threads == 1:
            return sum(map(read, files(chosen.folder)))
        with ThreadPoolExecutor(chosen.threads) as pool:
            return sum(pool.map(read, files(chosen.folder)))

    rows, took = clocked(work)
    tell({}, chosen.answers, rows=rows, **took, versions=versions("pyarrow"))


if __name__ == "__main__":
    main()
