"""Dask DataFrame on threads: all statistics in one compute, quantiles and distinct approximate; then the histograms."""

from __future__ import annotations

from benchmarks.clock import BINS, SEVEN, arguments, clocked, tell, versions


def main() -> None:
    chosen = arguments()
    import dask
    import dask.dataframe as dd
    import numpy as np
    import pandas as pd

    def numbers(column):
        return column.astype("int64") if column.dtype.kind == "M" else column

    def histogram(column, low, high):
        return pd.DataFrame([np.histogram(numbers(column.dropna()).astype(float), BINS, (low, high))[0]])

    def work() -> dict:
        frame = dd.read_parquet(chosen.folder, split_row_groups=True)
        asked: dict = {}
        for name in frame.columns:
            column = frame[name]
            asked[name] = {"count": column.count(), "missing": column.isna().sum(), "distinct": column.nunique_approx()}
            if pd.api.types.is_numeric_dtype(column.dtype) or column.dtype.kind == "M":
                whole = column.astype("int64") if column.dtype.kind == "M" else column
                asked[name] |= {"min": whole.min(), "max": whole.max(), "mean": whole.astype(float).mean()}
                asked[name] |= {"std": whole.astype(float).std(), "quantiles": whole.quantile(list(SEVEN.values()))}
            else:
                asked[name]["values"] = column.value_counts()
        (answers,) = dask.compute(asked)
        edges = {
            name: frame[name].map_partitions(
                histogram, float(one["min"]), float(one["max"]), meta=dict.fromkeys(range(BINS), "int64")
            )
            for name, one in answers.items()
            if "quantiles" in one
        }
        (counts,) = dask.compute(edges)
        for name, one in answers.items():
            if "quantiles" in one:
                one |= {k: float(v) for k, v in zip(SEVEN, one.pop("quantiles"), strict=True)}
                one["histogram"] = int(counts[name].to_numpy().sum())
            else:
                one["values"] = {str(value): int(count) for value, count in one["values"].items()}
        return {n: {k: v if isinstance(v, dict) else float(v) for k, v in one.items()} for n, one in answers.items()}

    with dask.config.set(scheduler="threads"):
        answers, took = clocked(work)
    tell(answers, chosen.answers, **took, versions=versions("dask", "pandas"))


if __name__ == "__main__":
    main()
