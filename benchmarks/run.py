"""The driver: `python -m benchmarks.run profile drift percentiles store memory first rank peers --rows 20000000`.

Makes the tables, runs the measures of each section in turn, round after round, and writes RESULTS.md. Each measure is a
process of its own; a section that is run again replaces its results and leaves the others. Standard library only, since
the memory of a process that starts others counts towards theirs.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import child, environments, report
from benchmarks.plan import SECTIONS, Measure

ROOT = Path(__file__).resolve().parents[1]


def machine() -> dict[str, Any]:
    """What this runs on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "cpu": model,
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(total),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def tables_home(data: Path, rows: int) -> Path:
    """The tables' folder: other rows, or other code that makes them, are another folder."""
    code = (ROOT / "workbench" / "examples.py").read_bytes() + (ROOT / "benchmarks" / "data.py").read_bytes()
    return (data / f"{rows}-{hashlib.sha256(code).hexdigest()[:8]}").resolve()


def make_tables(home: Path, rows: int, names: list[str]) -> dict[str, Any]:
    say(f"tables: {', '.join(names)}")
    command = [sys.executable, "-m", "benchmarks.data", str(home), "--rows", str(rows), *names]
    made = child.run(command, timeout=7200)
    if "failed" in made:
        sys.exit(f"benchmarks: the tables cannot be made: {made['failed']}")
    return made["tables"]


def interpreter(measure: Measure, apart: bool) -> tuple[str, str]:
    """The Python that runs a measure, and why there is none."""
    if not measure.needs:
        return sys.executable, ""
    return environments.made(environments.MODULES[measure.needs]) if apart else environments.here(measure.needs)


def once(measure: Measure, python: str, home: Path, limit: float, answers: Path | None) -> dict[str, Any]:
    """One run of one measure."""
    args = [one.format(home=home) for one in measure.args]
    command = [python, "-m", f"benchmarks.{measure.module}", str(home / measure.table), *args]
    if answers is not None:
        command += ["--answers", str(answers)]
    with tempfile.TemporaryDirectory(dir=home) as empty:  # on the tables' disk, so that files can be linked into it
        return child.run(command, limit, {"TMPDIR": empty} | ({"NUMBA_CACHE_DIR": empty} if measure.fresh else {}))


def read_once(home: Path, tables: list[str]) -> None:
    """Read the files of tables, so that every measure, also the first, finds them in the system's cache."""
    for name in tables:
        for path in sorted((home / name).rglob("*.parquet")):
            with path.open("rb", buffering=0) as file:
                while file.read(1 << 20):
                    pass


def section(
    name: str, home: Path, rounds: int, *, apart: bool = True, big: bool = False, patience: float = 60.0,
    timeout: float | None = None, answers: Path | None = None,
) -> list[dict[str, Any]]:  # fmt: skip
    """The runs of a section's measures: [{label, module, ..., runs: [{round, cpu, ...}], missing: why}]."""
    chosen = [one for one in SECTIONS[name][1] if big or not one.big]
    told: list[dict[str, Any]] = []
    for measure in chosen:
        python, why = interpreter(measure, apart)
        told.append({
            "label": measure.label, "base": measure.base, "gives": measure.gives, "table": measure.table,
            "needs": measure.needs, "python": python, "missing": why, "runs": [], "versions": {},
        })  # fmt: skip
        if why:
            say(f"{name}: {measure.label}: left out: {why}")
    for number in range(rounds):
        for measure, entry in zip(chosen, told, strict=True):
            done = entry["runs"]
            slow = any("failed" in run or run["process"]["wall"] > patience for run in done)
            if entry["missing"] or (done and (measure.once or slow)):
                continue
            path = answers / f"{name}-{measure.label}.json" if answers is not None else None
            limit = min(measure.timeout, timeout or measure.timeout)
            run = once(measure, entry["python"], home, limit, path)
            entry["versions"] = run.pop("versions", entry["versions"])
            done.append(run | {"round": number})
            cpu = f"CPU {run['cpu']:.2f} s, wall {run['wall']:.2f} s" if "cpu" in run else run.get("failed", "done")
            say(f"{name} {number + 1}/{rounds}: {measure.label}: {cpu}")
    for entry in told:
        del entry["python"]
    return told


def say(words: str) -> None:
    print(f"benchmarks: {words}", flush=True)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=f"of {', '.join(SECTIONS)} (default: all)")
    parser.add_argument("--rows", type=int, default=20_000_000, help="rows of the table (default: 20000000)")
    parser.add_argument("--rounds", type=int, default=3, help="of which the median counts (default: 3)")
    parser.add_argument("--data", type=Path, default=Path("bench-data"), help="where tables go (default: bench-data)")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "RESULTS.md", help="the page to write")
    parser.add_argument("--big", action="store_true", help="also ten times the rows, and what takes long")
    parser.add_argument("--here", action="store_true", help="peers from this environment only, none installed")
    parser.add_argument("--patience", type=float, default=60.0, help="a measure that took longer is not run again")
    parser.add_argument("--timeout", type=float, help="seconds that one run may take (default: each its own)")
    chosen = parser.parse_args(arguments)
    unknown = [name for name in chosen.sections if name not in SECTIONS]
    if unknown:
        parser.error(f"there is no section {unknown[0]!r}: {', '.join(SECTIONS)}")
    names = chosen.sections or list(SECTIONS)
    home = tables_home(chosen.data, chosen.rows)
    wanted = [one for name in names for one in SECTIONS[name][1] if chosen.big or not one.big]
    tables = list(dict.fromkeys(["warm", *(t for one in wanted for t in (one.table, *one.tables))]))
    sizes = make_tables(home, chosen.rows, tables)
    stored = chosen.out.with_suffix(
        ".json"
    )  # beside the page, so that it keeps the sections of other machines and days
    results = json.loads(stored.read_text()) if stored.exists() else {}
    for name in names:
        began = time.monotonic()
        load = os.getloadavg()[0]
        read_once(home, list(dict.fromkeys(one.table for one in SECTIONS[name][1] if chosen.big or not one.big)))
        measured = section(
            name, home, chosen.rounds, apart=not chosen.here, big=chosen.big, patience=chosen.patience,
            timeout=chosen.timeout,
        )  # fmt: skip
        results[name] = {
            "date": datetime.now(UTC).date().isoformat(),
            "rows": chosen.rows,
            "rounds": chosen.rounds,
            "load": round(load, 1),
            "seconds": round(time.monotonic() - began),
            "machine": machine(),
            "tables": {t: sizes[t] for one in SECTIONS[name][1] for t in (one.table, *one.tables) if t in sizes},
            "measures": measured,
        }
        stored.write_text(json.dumps(results, indent=1))
        chosen.out.write_text(report.page(results))
    say(f"{chosen.out} is written")


if __name__ == "__main__":
    main()
