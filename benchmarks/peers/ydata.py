"""ydata-profiling in its minimal mode (no correlations, no pictures of pairs), without drawing the report."""

from __future__ import annotations

from benchmarks.clock import arguments, clocked, tell, versions


def main() -> None:
    chosen = arguments()
    import pandas as pd
    from ydata_profiling import ProfileReport

    def work() -> dict:
        told = ProfileReport(pd.read_parquet(chosen.folder), minimal=True, progress_bar=False).get_description()
        return {
            name: {"count": int(one["count"]), "missing": int(one["n_missing"])} for name, one in told.variables.items()
        }

    answers, took = clocked(work)
    tell(answers, chosen.answers, **took, versions=versions("ydata-profiling", "pandas"))


if __name__ == "__main__":
    main()
