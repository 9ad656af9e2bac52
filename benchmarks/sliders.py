"""Any two windows of a stored cube, compared and drawn: what one step of the drift page's sliders costs.

    python -m benchmarks.sliders [--days 400] [--columns 50] [--segments 20] [--rows 60] [--steps 60]

A table of so many rows a day and segment is counted into a store, its running counts are kept in a file as a run keeps them,
and pairs of spans are asked for at random, each from the file as a page opens it: the judged comparison of every column and
segment, and that with its picture. Printed are the seconds of the work before, and medians and maxima in milliseconds.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

WANTED = 200  # ms of a step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, usual in (("days", 400), ("columns", 50), ("segments", 20), ("rows", 60), ("steps", 60)):
        parser.add_argument(f"--{name}", type=int, default=usual)
    chosen = parser.parse_args()
    import numpy as np

    import workbench as wb
    from workbench.analyses import parts, running
    from workbench.views import drift as views

    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        written(home / "table.parquet", chosen.days, chosen.columns, chosen.segments, chosen.rows)
        by = parts.axes("at", "D", "segment")
        took: dict[str, float] = {}
        cube = clocked(took, "counted into the store",
                       lambda: wb.cube(home / "table.parquet", by=by, onto=home / "store", progress=False))  # fmt: skip
        sums = clocked(took, "running counts made", lambda: running.running(cube))
        clocked(took, "running counts written", lambda: running.save(sums, home / running.FILE))
        kept = clocked(took, "running counts opened", lambda: running.load(home / running.FILE))
        rng, alone, drawn = np.random.default_rng(1), [], []
        drawing = picture(views, kept)
        lengths = [size for size in (1, 7, 28) if 4 * size <= chosen.days]
        for step in range(chosen.steps):
            length = int(rng.choice(lengths))
            first = int(rng.integers(0, chosen.days // 2 - length))
            second = int(rng.integers(chosen.days // 2, chosen.days - length))
            spans = [(kept.windows[at], kept.windows[at + length - 1]) for at in (first, second)]
            began = time.perf_counter()
            judged = running.between(kept, *spans)
            alone.append(1000 * (time.perf_counter() - began))
            drawing.update((*(views.look.short(one[0]) for one in spans), length))
            drawn.append(1000 * (time.perf_counter() - began))
            if not step:
                print(
                    f"{len(judged):,} comparisons a step: {chosen.columns} columns x {len(kept.segments)} segments, all rows too"
                )
        size = (home / running.FILE).stat().st_size / 2**20
        print(f"{chosen.days} days, {cube['count'].sum().item():,} rows; running counts {size:.0f} MiB")
        for name, seconds in took.items():
            print(f"{name:<40}{seconds:>8.2f} s")
        for name, values in (("a step: compared and judged", alone), ("a step: with its picture", drawn)):
            print(f"{name:<40}{statistics.median(values):>8.0f} ms, {max(values):.0f} at most  wanted < {WANTED}")


def clocked(took: dict[str, float], name: str, work: Any) -> Any:
    """What `work` gives; its seconds under `name`."""
    began = time.perf_counter()
    found = work()
    took[name] = time.perf_counter() - began
    return found


def picture(views: Any, kept: Any) -> Any:
    """The drawing that a page's server holds, and brings up to date with every step."""
    import functools

    import holoviews as hv

    from workbench.analyses import running

    return hv.renderer("bokeh").get_plot(views.any_two(functools.partial(running.between, kept), kept.windows))


def written(path: Path, days: int, columns: int, segments: int, rows: int) -> None:
    """A table of numbers and text in which some columns move after half of the days."""
    import numpy as np
    import pandas as pd

    rng, size = np.random.default_rng(0), days * segments * rows
    day = np.repeat(np.arange(days), segments * rows)
    table: dict[str, Any] = {"at": pd.Timestamp("2025-01-01") + pd.to_timedelta(day, unit="D")}
    table["segment"] = np.tile(np.repeat([f"s{i:02d}" for i in range(segments)], rows), days)
    for i in range(columns - 1):  # the segment is a column too
        late = day > days // 2
        if i % 5 == 4:
            table[f"c{i:02d}"] = rng.choice([f"v{k}" for k in range(30)], size)
        else:
            table[f"c{i:02d}"] = rng.lognormal(0, 1, size) * (1 + 0.5 * (late & (i % 7 == 0)))
    pd.DataFrame(table).to_parquet(path)


if __name__ == "__main__":
    main()
