"""Polars: the statistics of a column in one query, column after column; exact quantiles, distinct approximate."""

from __future__ import annotations

from benchmarks.clock import BINS, SEVEN, arguments, clocked, files, tell, versions


def main() -> None:
    chosen = arguments()
    import polars as pl

    def work() -> dict:
        table = pl.scan_parquet(files(chosen.folder))
        answers = {}
        for name, kind in table.collect_schema().items():
            column = pl.col(name)
            told = [column.count().alias("count"), column.null_count().alias("missing")]
            told.append(column.approx_n_unique().alias("distinct"))
            if kind in (pl.String, pl.Categorical):
                one = table.select(told).collect().row(0, named=True)
                found = table.group_by(name).len().collect()
                one["values"] = {str(value): count for value, count in found.rows() if value is not None}
            else:
                number = column.to_physical() if kind == pl.Datetime else column
                told += [number.min().alias("min"), number.max().alias("max"), number.mean().alias("mean")]
                told += [number.cast(pl.Float64).std().alias("std")]
                told += [number.quantile(list(SEVEN.values())).alias("quantiles")]
                told += [number.hist(bin_count=BINS).implode().alias("histogram")]
                one = table.select(told).collect().row(0, named=True)
                one |= dict(zip(SEVEN, one.pop("quantiles"), strict=True))
                one["histogram"] = sum(one["histogram"])
            answers[name] = one
        return answers

    answers, took = clocked(work)
    tell(answers, chosen.answers, **took, versions=versions("polars"))


if __name__ == "__main__":
    main()
