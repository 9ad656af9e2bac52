"""Makes the tables that are measured: `python -m benchmarks.data FOLDER --rows N NAME ...`. What is there is kept.

| name        | rows     | what it is                                                                               |
|-------------|----------|------------------------------------------------------------------------------------------|
| requests    | N        | the example requests over 115 days, in time order, zstd                                  |
| lz4         | N        | the same, lz4                                                                            |
| tenth       | N / 10   | the example requests again; `hundredth`: N / 100, `tenfold`: 10 N                        |
| shuffled    | N        | time, model, region and latency of `requests` in random order: every hour everywhere     |
| before      | 2 M      | a reference of 14 days without incidents (N where that is less)                          |
| after       | 2 M      | the same days, another seed, with incidents                                              |
| days        | N        | one file a day of 373 days                                                               |
| adversarial | 2 M      | columns that bins from a footer's smallest and largest value fail on                     |
| warm        | 20,000   | for whatever a library does only once                                                    |
"""

from __future__ import annotations

import argparse
import json
import shutil
from datetime import date, timedelta
from pathlib import Path
from uuid import uuid4

DAYS = 373
SMALL = 2_000_000
GROUP = 1_000_000


def group_rows(rows: int) -> int:
    return max(1_000, min(GROUP, rows // 2))


def requests(folder: Path, rows: int, **more) -> None:
    from workbench.examples import requests as write

    write(folder, rows, rows_per_group=group_rows(rows), **more)


def lz4(folder: Path, origin: Path) -> None:
    import pyarrow.parquet as pq

    from workbench.examples import TEXTS

    for path in sorted(origin.glob("*.parquet")):
        with pq.ParquetFile(path) as file:
            options = {"compression": "lz4", "use_dictionary": list(TEXTS)}
            with pq.ParquetWriter(folder / path.name, file.schema_arrow, **options) as writer:
                for group in range(file.num_row_groups):
                    part = file.read_row_group(group)
                    writer.write_table(part, row_group_size=len(part))


def shuffled(folder: Path, origin: Path) -> None:
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = ["time", "model", "region", "latency_s"]
    whole = pq.read_table(origin, columns=columns, read_dictionary=["model", "region"]).unify_dictionaries()
    whole = whole.combine_chunks()
    order = np.random.default_rng(7).permutation(len(whole))
    size = group_rows(len(whole))
    for number, first in enumerate(range(0, len(whole), 2 * size)):
        part = whole.take(pa.array(order[first : first + 2 * size]))
        part = part.cast(
            pa.schema([(f.name, pa.string() if f.name in ("model", "region") else f.type) for f in part.schema])
        )
        pq.write_table(
            part, folder / f"requests-{number:05d}.parquet", row_group_size=size, compression="zstd",
            use_dictionary=["model", "region"],
        )  # fmt: skip


def days(folder: Path, rows: int) -> None:
    from workbench.examples import requests as write

    one, first = max(100, rows // DAYS), date(2025, 1, 1)
    for number in range(DAYS):
        day = first + timedelta(days=number)
        path = folder / f"{day}.parquet"
        write(path, one, days=1, start=str(day), seed=number, incidents=False, workers=1)
        path.with_name(f"{path.name}.truth.json").unlink()


def adversarial(folder: Path, rows: int) -> None:
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    random = np.random.default_rng(7)

    def some_zeros(values):
        return np.where(random.random(rows) < 0.01, 0, values)

    narrow = random.normal(1000, 0.001, rows)
    one_huge = random.normal(0, 1, rows)
    one_huge[rows // 3] = 1e30
    seconds = 1_767_225_600 + np.sort(random.integers(0, 90 * 86_400, rows))
    columns = {
        "narrow with zeros": some_zeros(narrow),
        "unix seconds with zeros": some_zeros(seconds).astype(np.int64),
        "unix seconds with zeros, as floats": some_zeros(seconds).astype(float),
        "one 1e30": one_huge,
        "narrow, no zeros": narrow,
        "two narrow peaks far apart": np.where(random.random(rows) < 0.5, narrow, narrow * 1e-12),
        "rounded to cents": np.round(random.lognormal(3, 1, rows), 2),
        "sorted, so that a first part misleads": np.sort(random.lognormal(0, 3, rows)),
        "heavy tail": random.pareto(0.5, rows),
        "a narrow crowd that a sample may miss": np.where(
            (np.arange(rows) // 1_000) % 500 == 3, random.normal(-7e8, 1e-3, rows), random.random(rows)
        ),
        "both signs, 600 powers of ten": np.sign(random.normal(size=rows)) * 10.0 ** random.uniform(-300, 300, rows),
    }
    pq.write_table(
        pa.table(columns), folder / "adversarial.parquet", row_group_size=group_rows(rows), compression="zstd",
        use_dictionary=False,
    )  # fmt: skip


def make(home: Path, name: str, rows: int) -> Path:
    """The folder of a table, which is made if it is not there; it appears whole or not at all."""
    target = home / name
    if target.exists():
        return target
    aside = home / f".{name}.{uuid4().hex[:8]}"
    home.mkdir(parents=True, exist_ok=True)
    try:
        few = min(SMALL, rows)
        sizes = {"requests": rows, "tenth": rows // 10, "hundredth": rows // 100, "tenfold": rows * 10, "warm": 20_000}
        if name in sizes:
            requests(aside, sizes[name], days=115)
        elif name in ("before", "after"):
            requests(aside, few, days=14, seed=7 + (name == "after"), incidents=name == "after")
        elif name in ("lz4", "shuffled"):
            origin = make(home, "requests", rows)
            aside.mkdir()
            {"lz4": lz4, "shuffled": shuffled}[name](aside, origin)
        elif name in ("days", "adversarial"):
            aside.mkdir()
            days(aside, rows) if name == "days" else adversarial(aside, few)
        else:
            raise ValueError(f"no table is called {name!r}")
        aside.replace(target)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
        aside.with_name(f"{aside.name}.truth.json").unlink(missing_ok=True)
    return target


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("home", type=Path)
    parser.add_argument("--rows", type=int, required=True)
    parser.add_argument("names", nargs="+")
    chosen = parser.parse_args()
    from importlib.metadata import version

    import pyarrow.parquet as pq

    told = {}
    for name in chosen.names:
        folder = make(chosen.home, name, chosen.rows)
        paths = sorted(folder.rglob("*.parquet"))
        told[name] = {
            "rows": sum(pq.read_metadata(path).num_rows for path in paths),
            "bytes": sum(path.stat().st_size for path in paths),
            "files": len(paths),
        }
    print(json.dumps({"tables": told, "versions": {"pyarrow": version("pyarrow")}}))


if __name__ == "__main__":
    main()
