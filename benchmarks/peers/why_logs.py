"""whylogs: its profile of every column, row group by row group through pandas (no histogram; frequent strings)."""

from __future__ import annotations

from benchmarks.clock import arguments, clocked, files, tell, versions


def main() -> None:
    chosen = arguments()
    import pyarrow.parquet as pq
    import whylogs as why

    def work() -> dict:
        view = None
        for path in files(chosen.folder):
            with pq.ParquetFile(path) as file:
                for group in range(file.num_row_groups):
                    one = why.log(file.read_row_group(group).to_pandas()).view()
                    view = one if view is None else view.merge(one)
        told = view.to_pandas()
        return {
            name: {"count": int(row["counts/n"] - row["counts/null"]), "missing": int(row["counts/null"])}
            for name, row in told.iterrows()
        }

    answers, took = clocked(work)
    tell(answers, chosen.answers, **took, versions=versions("whylogs", "pandas"))


if __name__ == "__main__":
    main()
