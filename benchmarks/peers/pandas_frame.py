"""pandas: the whole table in memory, then the statistics column by column, all of them exact."""

from __future__ import annotations

from benchmarks.clock import BINS, SEVEN, arguments, clocked, tell, versions


def main() -> None:
    chosen = arguments()
    import numpy as np
    import pandas as pd

    def work() -> dict:
        frame = pd.read_parquet(chosen.folder)
        answers = {}
        for name in frame.columns:
            column = frame[name]
            one = {"count": int(column.count()), "missing": int(column.isna().sum()), "distinct": int(column.nunique())}
            if not pd.api.types.is_numeric_dtype(column) and column.dtype.kind != "M":
                one["values"] = {str(value): int(count) for value, count in column.value_counts().items()}
            else:
                values = column.dt.as_unit("us").astype("int64") if column.dtype.kind == "M" else column
                one |= {"min": float(values.min()), "max": float(values.max())}
                one |= {"mean": float(values.mean()), "std": float(values.astype(float).std())}
                one |= {k: float(v) for k, v in zip(SEVEN, values.quantile(list(SEVEN.values())), strict=True)}
                one["histogram"] = int(np.histogram(values.dropna().astype(float), BINS)[0].sum())
            answers[name] = one
        return answers

    answers, took = clocked(work)
    tell(answers, chosen.answers, **took, versions=versions("pandas", "pyarrow"))


if __name__ == "__main__":
    main()
