"""DuckDB: exact p50, p90, p95 and p99 (quantile_cont) of latency by model, hour and region."""

from __future__ import annotations

from benchmarks.clock import arguments, clocked, tell, versions


def main() -> None:
    chosen = arguments()
    import duckdb

    base = duckdb.connect()
    base.execute("SET TimeZone = 'UTC'")
    query = f"""SELECT model, date_trunc('hour', time) AS hour, region, count(*),
        quantile_cont(latency_s, [0.5, 0.9, 0.95, 0.99]) FROM '{chosen.folder}/*.parquet' GROUP BY ALL"""
    found, took = clocked(lambda: base.sql(query).fetchnumpy())
    tell({}, chosen.answers, **took, groups=len(found["hour"]), versions=versions("duckdb"))


if __name__ == "__main__":
    main()
