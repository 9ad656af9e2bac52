"""DuckDB's SUMMARIZE: smallest, largest, distinct (approximate), mean, std, quartiles (approximate), missing."""

from __future__ import annotations

from benchmarks.clock import arguments, clocked, tell, versions


def main() -> None:
    chosen = arguments()
    import duckdb

    base = duckdb.connect()
    rows, took = clocked(lambda: base.sql(f"SUMMARIZE SELECT * FROM '{chosen.folder}/*.parquet'").fetchall())
    tell({row[0]: {"count": row[10]} for row in rows}, chosen.answers, **took, versions=versions("duckdb"))


if __name__ == "__main__":
    main()
