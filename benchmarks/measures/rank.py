"""Ours: rank error of quantiles on adversarial columns: the bound that the cube reports, and what is measured.

Measured at 999 quantiles: how far the rank of the answer, in share of rows, is from the rank that was asked for.
"""

from __future__ import annotations

from benchmarks.clock import arguments, clocked, tell
from benchmarks.measures.ours import VERSIONS


def main() -> None:
    chosen = arguments()
    import numpy as np
    import pyarrow.parquet as pq

    import workbench as wb

    cube, took = clocked(lambda: wb.cube(wb.open_table(chosen.folder), progress=False))
    asked = np.arange(1, 1000) / 1000
    columns = {}
    for name in cube["column"].values:
        values = np.sort(pq.read_table(chosen.folder, columns=[name])[name].to_numpy().astype(float))
        found = wb.quantile(cube, asked, name).values
        below = np.searchsorted(values, found, side="left") / len(values)
        upto = np.searchsorted(values, found, side="right") / len(values)
        error = float(np.max(np.maximum(np.maximum(below - asked, asked - upto), 0)))
        columns[str(name)] = {"bound": float(wb.rank_error(cube).sel(column=name)), "measured": error}
    tell({}, chosen.answers, columns=columns, **took, versions=VERSIONS)


if __name__ == "__main__":
    main()
