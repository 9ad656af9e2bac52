"""A program that `test_collect_kills.py` starts: collections that are killed at random moments, each a process of its own.

Its own process loads the libraries once and does nothing with them, so that a child is there in milliseconds. It prints how
many children were killed while they worked, how many rows the sources hold, and how many commits the table has.
"""

import gzip
import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import deltalake
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet

from workbench.tables import collect, intake_otlp, versions_labels

LOADED = (deltalake, pyarrow.csv, pyarrow.json, pyarrow.parquet, intake_otlp, versions_labels)
HEAD = "key,ms\n"


def more(folder: Path, chance: random.Random, turn: int, number: int) -> int:
    """Writes some more rows as some kind of file; gives the number of the next row."""
    count = chance.randrange(1, 60)
    keys = range(number, number + count)
    text = "".join(f"{key},{key % 7}\n" for key in keys)
    kind = chance.choice(["log", "log", "rotate", "csv", "gz", "json", "parquet"])
    log = folder / "app.csv"
    if kind == "rotate" and log.exists():
        log.rename(folder / f"app.csv.{turn}")
    if kind in ("log", "rotate"):
        with log.open("a") as file:
            file.write(text if file.tell() else HEAD + text)
    elif kind == "csv":
        (folder / f"{turn}.csv").write_text(HEAD + text)
    elif kind == "gz":
        (folder / f"{turn}.csv.gz").write_bytes(gzip.compress((HEAD + text).encode()))
    elif kind == "json":
        (folder / f"{turn}.jsonl").write_text("".join(json.dumps({"key": key, "ms": key % 7}) + "\n" for key in keys))
    else:
        rows = pyarrow.table({"key": list(keys), "ms": [key % 7 for key in keys]})
        pyarrow.parquet.write_table(rows, folder / f"{turn}.parquet", row_group_size=20)
    return number + count


def child(folder: Path, table: Path) -> int:
    """Starts a collection in a process of its own."""
    pid = os.fork()
    if pid == 0:
        try:
            collect.collect(folder, table, settle=0, batch_bytes=1000, types={"key": "integer"})
            os._exit(0)
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(3)
    return pid


def main(top: Path, wanted: int, seed: int) -> None:
    chance, folder, table = random.Random(seed), top / "in", top / "table"
    folder.mkdir()
    killed = turn = number = ended = 0
    span = 0.3
    while killed < wanted:
        turn += 1
        number = more(folder, chance, turn, number)
        began = time.monotonic()
        pid = child(folder, table)
        wait = chance.uniform(0.0, span)
        while (
            time.monotonic() - began < wait and os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
        ):
            time.sleep(0.001)
        os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        if os.WIFSIGNALED(status):
            killed += 1
        elif os.WEXITSTATUS(status):
            raise SystemExit(f"a collection failed with {os.WEXITSTATUS(status)}")
        else:
            ended += 1
            span = 0.7 * span + 0.3 * 1.15 * (time.monotonic() - began)  # kills come while it works
    _, status = os.waitpid(child(folder, table), 0)
    assert status == 0
    commits = len(list((table / "_delta_log").glob("*.json")))
    print(json.dumps({"killed": killed, "ended": ended, "rows": number, "commits": commits}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
