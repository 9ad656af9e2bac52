"""Collecting many small files against reading them barely and writing them barely, with the memory that it takes.

`python -m benchmarks.collect --rows 20000000 --files 2000` writes the files (CSV, JSON lines, Parquet, packed ones; one in
fifty holds twenty times the rows of the others) to a folder of its own, reads them with pyarrow, writes what was read with
pyarrow, collects them, and prints seconds, rows a second, peak memory, and the ratio. Each part is a process of its own.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as acsv
import pyarrow.json as ajson
import pyarrow.parquet as pq

KINDS = ("csv", "csv", "csv.gz", "jsonl", "parquet")


def shares(rows: int, files: int) -> list[int]:
    """How many rows each file holds: one in fifty holds twenty times the others."""
    weights = np.where(np.arange(files) % 50 == 7, 20.0, 1.0)
    ends = np.floor(np.cumsum(weights) / weights.sum() * rows).astype(int)
    return [int(one) for one in np.diff(ends, prepend=0)]


def make(folder: Path, rows: int, files: int) -> int:
    """Writes the files; gives their bytes."""
    random = np.random.default_rng(7)
    start = 0
    for number, count in enumerate(shares(rows, files)):
        at = np.arange(start, start + count)
        start += count
        table = pa.table({
            "time": pa.array(1_760_000_000_000_000 + at * 50_000, pa.timestamp("us", "UTC")),
            "model": pa.array(np.array(["small", "medium", "large"])[random.integers(0, 3, count)]),
            "region": pa.array(np.array(["eu", "us", "ap", "af"])[random.integers(0, 4, count)]),
            "tokens": random.integers(1, 4000, count), "latency_s": np.round(random.lognormal(0, 1, count), 4),
        })  # fmt: skip
        write(table, folder / f"{number:05d}.{KINDS[number % len(KINDS)]}")
    return sum(one.stat().st_size for one in folder.iterdir())


def write(table: pa.Table, path: Path) -> None:
    if path.suffix == ".parquet":
        pq.write_table(table, path, compression="zstd")
    elif path.suffix == ".jsonl":
        table.set_column(0, "time", table["time"].cast(pa.string())).to_pandas().to_json(
            path, orient="records", lines=True
        )
    elif path.suffix == ".gz":
        with pa.CompressedOutputStream(str(path), "gzip") as file:
            acsv.write_csv(table, file)
    else:
        acsv.write_csv(table, path)


def read(path: Path) -> pa.Table:
    if path.suffix == ".parquet":
        return pq.read_table(path)
    if path.suffix == ".jsonl":
        return ajson.read_json(path)
    return acsv.read_csv(path)


def bare_read(folder: Path, _out: Path) -> int:
    return sum(read(path).num_rows for path in sorted(folder.iterdir()))


def bare_write(folder: Path, out: Path) -> int:
    """Reads and writes as one Parquet file, a row group a million rows; without a record, checks or statistics kept."""
    rows, held, count = 0, [], 0
    names = ["time", "model", "region", "tokens", "latency_s"]
    writer: Any = None
    for path in sorted(folder.iterdir()):
        table = read(path).select(names)
        table = table.set_column(0, "time", table["time"].cast(pa.timestamp("us", "UTC")))
        held.append(table)
        count += len(table)
        if count >= 1 << 20:
            writer = writer or pq.ParquetWriter(
                out, held[0].schema, compression="zstd", use_dictionary=["model", "region"]
            )
            writer.write_table(pa.concat_tables(held), row_group_size=count)
            rows, held, count = rows + count, [], 0
    writer = writer or pq.ParquetWriter(out, held[0].schema, compression="zstd", use_dictionary=["model", "region"])
    if held:
        writer.write_table(pa.concat_tables(held), row_group_size=count)
    writer.close()
    return rows + count


def collected(folder: Path, out: Path) -> int:
    from workbench.tables.collect import collect

    return collect(folder, out, settle=0, time="time").rows


def again(folder: Path, out: Path) -> int:
    """A second collection, which finds nothing new."""
    from workbench.tables.collect import collect

    assert collect(folder, out, settle=0).rows == 0
    return 0


def _child(work: Callable[[Path, Path], int], folder: Path, out: Path, pipe: Any) -> None:
    began, cpu = time.perf_counter(), time.process_time()
    rows = work(folder, out)
    told = {"seconds": time.perf_counter() - began, "cpu": time.process_time() - cpu, "rows": rows}
    pipe.send({**told, "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024})


def measured(work: Callable[[Path, Path], int], folder: Path, out: Path) -> dict[str, float]:
    """Seconds, CPU seconds, rows and peak memory of a part, in a process of its own."""
    spawn = multiprocessing.get_context("spawn")
    here, there = spawn.Pipe()
    process = spawn.Process(target=_child, args=(work, folder, out, there))
    process.start()
    there.close()
    told: dict[str, float] = here.recv()
    process.join()
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000_000)
    parser.add_argument("--files", type=int, default=2000)
    options = parser.parse_args()
    top = Path(tempfile.mkdtemp(prefix="wb-collect-"))
    try:
        folder = top / "in"
        folder.mkdir()
        size = make(folder, options.rows, options.files)
        found: dict[str, Any] = {"rows": options.rows, "files": options.files, "mb": round(size / 1e6)}
        for name, work, out in (
            ("bare read", bare_read, top / "x"), ("bare read and write", bare_write, top / "bare.parquet"),
            ("collect", collected, top / "table"), ("collect again", again, top / "table"),
        ):  # fmt: skip
            found[name] = {key: round(value, 2) for key, value in measured(work, folder, out).items()}
            print(f"{name:<20} {json.dumps(found[name])}", flush=True)
        ratio = found["collect"]["seconds"] / found["bare read and write"]["seconds"]
        print(json.dumps({**found, "collect over bare read and write": round(ratio, 2)}))
    finally:
        shutil.rmtree(top, ignore_errors=True)


if __name__ == "__main__":
    main()
