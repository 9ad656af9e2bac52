"""Ours: p50, p90, p95 and p99 of latency by model, hour and region in one pass."""

from __future__ import annotations

from benchmarks.clock import arguments, clocked, tell
from benchmarks.measures.ours import VERSIONS

QUANTILES = [0.5, 0.9, 0.95, 0.99]
COLUMNS = ["time", "model", "region", "latency_s"]


def main() -> None:
    chosen = arguments(out="")
    import workbench as wb

    def work(folder):
        cube = wb.cube(
            wb.open_table(folder, columns=COLUMNS),
            by=[wb.Category("model"), wb.Period("time", "h", name="hour"), wb.Category("region")],
            of=[wb.Histogram("latency_s", relative=0.001)],
            progress=False,
        )
        return cube["count"], wb.quantile(cube, QUANTILES, "latency_s")

    work(chosen.folder.parent / "warm")
    (count, found), took = clocked(lambda: work(chosen.folder))
    table = found.to_series().unstack("quantile")
    table.columns = [f"q{q:g}" for q in QUANTILES]
    table["count"] = count.to_series()
    table = table[table["count"] > 0].reset_index()
    if chosen.out:
        table.to_parquet(chosen.out)
    tell({}, chosen.answers, **took, groups=len(table), versions=VERSIONS)


if __name__ == "__main__":
    main()
