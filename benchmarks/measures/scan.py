"""The bare scan: one column of one row group at a time with pyarrow, nothing done with it."""

from __future__ import annotations

from benchmarks.clock import arguments, clocked, files, tell, versions


def main() -> None:
    chosen = arguments(columns="")
    import pyarrow.parquet as pq

    def work() -> int:
        rows = 0
        for path in files(chosen.folder):
            with pq.ParquetFile(path, memory_map=False) as file:
                names = [name for name in chosen.columns.split(",") if name] or file.schema_arrow.names
                for group in range(file.num_row_groups):
                    for name in names:
                        file.read_row_group(group, columns=[name], use_threads=False)
                rows += file.metadata.num_rows
        return rows

    rows, took = clocked(work)
    tell({}, chosen.answers, rows=rows, **took, versions=versions("pyarrow"))


if __name__ == "__main__":
    main()
