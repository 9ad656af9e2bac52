"""Preparing raw rows (clean, redact, check, commit) after they were collected, and the memory that it takes.

`python -m benchmarks.prepare --rows 20000000 --files 2000` writes the files of `benchmarks.collect`, collects them, and prepares
a version of all rows: types, one row a key, sessions, outliers by model, personal data, a contract with a key. Each part is a
process of its own; the peak of its memory is told, which must not grow with the rows.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from pathlib import Path

from benchmarks.collect import collected, make, measured

RECIPE = """\
clean:
  - types: {time: time, tokens: integer, latency_s: number}
  - unique: {key: [time, model], winner: largest tokens}
  - sessions: {by: [model, region], time: time, gap_s: 60}
  - outliers: {columns: [latency_s], by: model}
redact: {columns: [model, region]}
key: [time, model]
time: time
contract: contract.yml
"""
CONTRACT = """\
columns:
  time: {type: time, nullable: false, unique: true}
  model: {allowed: [small, medium, large]}
  latency_s: {range: [0, 3600], max_null_share: 0.01}
rows: 1
"""


def prepared(folder: Path, out: Path) -> int:
    from workbench.tables import flow
    from workbench.tables.opening import open_table

    done = flow.places(out)[1]
    flow.commit(flow.places(out)[0], done, flow.load_recipe(folder.parent / "prepare.yml"))
    return open_table(done).rows or 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000_000)
    parser.add_argument("--files", type=int, default=2000)
    options = parser.parse_args()
    top = Path(tempfile.mkdtemp(prefix="wb-prepare-"))
    try:
        (top / "in").mkdir()
        (top / "prepare.yml").write_text(RECIPE)
        (top / "contract.yml").write_text(CONTRACT)
        make(top / "in", options.rows, options.files)
        for name, work, out in (("collect", collected, top / "into" / "raw"), ("prepare", prepared, top / "into")):
            print(
                f"{name:<8} {json.dumps({k: round(v, 2) for k, v in measured(work, top / 'in', out).items()})}",
                flush=True,
            )
    finally:
        shutil.rmtree(top, ignore_errors=True)


if __name__ == "__main__":
    main()
