"""NannyML: univariate drift (its default methods) of a current against a reference DataFrame, one chunk each."""

from __future__ import annotations

from pathlib import Path

from benchmarks.clock import arguments, clocked, tell, versions


def main() -> None:
    chosen = arguments(reference="")
    import nannyml
    import pandas as pd

    nannyml.disable_usage_logging()

    def work() -> dict:
        before, after = pd.read_parquet(Path(chosen.reference)), pd.read_parquet(chosen.folder)
        columns = [name for name in before.columns if name != "time"]
        text = [name for name in columns if not pd.api.types.is_numeric_dtype(before[name])]
        for frame in (before, after):
            frame[text] = frame[text].astype("category")
        calculator = nannyml.UnivariateDriftCalculator(
            column_names=columns, treat_as_categorical=text, timestamp_column_name="time", chunk_number=1
        )
        return {"rows": len(calculator.fit(before).calculate(after).to_df())}

    found, took = clocked(work)
    tell(found, chosen.answers, **took, versions=versions("nannyml", "pandas", "statsmodels"))


if __name__ == "__main__":
    main()
