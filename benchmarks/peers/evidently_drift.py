"""Evidently: its preset of data drift with every default, on two DataFrames read from the same files."""

from __future__ import annotations

from pathlib import Path

from benchmarks.clock import arguments, clocked, tell, versions


def main() -> None:
    chosen = arguments(reference="")
    import pandas as pd
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset

    def read(folder: Path):
        frame = pd.read_parquet(folder).drop(columns="time")
        text = [name for name in frame.columns if not pd.api.types.is_numeric_dtype(frame[name])]
        numbers = [name for name in frame.columns if name not in text]
        return Dataset.from_pandas(frame, DataDefinition(numerical_columns=numbers, categorical_columns=text))

    def work():
        report = Report([DataDriftPreset()])
        return report.run(current_data=read(chosen.folder), reference_data=read(Path(chosen.reference))).dict()

    found, took = clocked(work)
    tell({"metrics": len(found["metrics"])}, chosen.answers, **took, versions=versions("evidently", "pandas"))


if __name__ == "__main__":
    main()
