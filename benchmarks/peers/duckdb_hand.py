"""DuckDB, the statistics by hand; --exact 1 for exact quantiles and distinct counts, --histogram 0 leaves those out.

One query for all columns, a second for the histograms (their edges need the smallest and largest value), and one a text
column for its values.
"""

from __future__ import annotations

from benchmarks.clock import BINS, SEVEN, arguments, clocked, tell, versions


def main() -> None:
    chosen = arguments(exact=0, histogram=1)
    import duckdb

    base = duckdb.connect()
    base.execute("SET TimeZone = 'UTC'")
    source = f"'{chosen.folder}/*.parquet'"
    qs = "[" + ", ".join(str(q) for q in SEVEN.values()) + "]"

    def work() -> dict:
        kinds = {row[0]: row[1] for row in base.sql(f"DESCRIBE SELECT * FROM {source}").fetchall()}
        text = {name for name, kind in kinds.items() if kind == "VARCHAR"}
        parts = []
        for name, kind in kinds.items():
            column = f'epoch_us("{name}")' if kind.startswith("TIMESTAMP") else f'"{name}"'
            distinct = f"count(DISTINCT {column})" if chosen.exact else f"approx_count_distinct({column})"
            parts += [f"count({column})", f"count(*) - count({column})", distinct]
            if name not in text:
                quantiles = f"quantile_cont({column}, {qs})" if chosen.exact else f"approx_quantile({column}, {qs})"
                parts += [f"min({column})", f"max({column})", f"avg({column})", f"stddev_samp({column})", quantiles]
        values = iter(base.sql(f"SELECT {', '.join(parts)} FROM {source}").fetchall()[0])
        answers: dict = {}
        for name in kinds:
            one = dict(zip(("count", "missing", "distinct"), values, strict=False))
            if name not in text:
                one |= dict(zip(("min", "max", "mean", "std"), values, strict=False))
                one |= dict(zip(SEVEN, next(values), strict=True))
            answers[name] = one
        numbers = [name for name in kinds if name not in text]
        if chosen.histogram:
            parts = []
            for name in numbers:
                column = f'epoch_us("{name}")' if kinds[name].startswith("TIMESTAMP") else f'"{name}"'
                low, high = float(answers[name]["min"]), float(answers[name]["max"])
                edges = [low + (high - low) * i / BINS for i in range(1, BINS)] + [high]
                parts.append(f"histogram(({column})::DOUBLE, {edges}::DOUBLE[])")
            for name, found in zip(
                numbers, base.sql(f"SELECT {', '.join(parts)} FROM {source}").fetchall()[0], strict=True
            ):
                answers[name]["histogram"] = sum(found.values())
        for name in text:
            found = base.sql(f'SELECT "{name}", count(*) FROM {source} GROUP BY 1').fetchall()
            answers[name]["values"] = {str(value): count for value, count in found if value is not None}
        return answers

    answers, took = clocked(work)
    tell(answers, chosen.answers, **took, versions=versions("duckdb"))


if __name__ == "__main__":
    main()
