"""`make demo`: the example tables, the notebooks over them, the figures they found, and the pages.

`python -m workbench.demo` does what is missing and reuses the rest: a table that was written whole, and a good run of the
same notebook with the same parameters over the same version of its table by the same code.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.errors import WorkbenchError

if TYPE_CHECKING:
    from workbench.runs.records import Record

ROWS = 200_000


@dataclass(frozen=True)
class Step:
    """One run of the demo: a notebook, the name of its table and the parameters that differ from the notebook's own."""

    notebook: str
    table: str
    parameters: dict[str, str] = field(default_factory=dict)


# The flights come first: the served page of a notebook is that of its newest good run, and the requests tell our story.
STEPS = (
    Step("quality", "flights", {"time": "scheduled", "every": "MS", "by": "origin"}),
    Step(
        "drift",
        "flights",
        {
            "time": "scheduled",
            "every": "MS",
            "by": "origin",
            "columns": "dep_delay,arr_delay,air_time,distance,carrier",
            "reference": "2013-01-01/2013-02-01",
            "current": "2013-02-01/2014-01-01",
        },
    ),
    Step("quality", "requests", {"time": "time", "every": "h", "by": "model"}),
    Step(
        "drift",
        "requests",
        {
            "time": "time",
            "every": "D",
            "by": "model",
            "reference": "2026-03-02/2026-03-09",
            "current": "2026-03-09/2026-03-16",
        },
    ),
    Step("performance", "requests", {"time": "time", "every": "h", "by": "model,region"}),
    Step("cost", "requests"),
    Step("returns", "requests"),
    Step("prepare", "messy"),
    Step("tour", "requests"),
)


def same_run(step: Step, table: Path, runs: Path) -> Record | None:
    """The good run that `step` would only repeat, None where there is none.

    The same is: notebook, parameters, version of the tables, package version, and no file of the package younger than
    the run, so that a change of the code is seen in a checkout, where the version stays.
    """
    from workbench.runs import execute, notebooks, parameters

    notebook = notebooks.find_notebook(step.notebook)
    known, limits = parameters.declared(notebook), parameters.limits(notebook)
    given = {"table": str(table), **step.parameters}.items()
    _, used, _ = parameters.resolve(known, given, os.environ, limits)
    record = execute.same_run(notebook, used, runs)
    return record if record is not None and record.started >= _code_changed() else None


def run_steps(steps: Sequence[Step], tables: dict[str, Path], runs: Path) -> list[Record]:
    """The good records of all steps, in their order: reused, or run now, two at a time.

    Raises WorkbenchError naming each notebook that failed; the runs that went well stay.
    """
    from workbench.runs.records import read_record

    found = {number: same_run(step, tables[step.table], runs) for number, step in enumerate(steps)}
    missing = [number for number, record in found.items() if record is None]
    failed = []
    with ThreadPoolExecutor(max_workers=min(2, os.cpu_count() or 1)) as two:
        going = [(number, two.submit(_run, steps[number], tables, runs)) for number in missing]
        for number, future in going:
            folder = future.result()
            if folder is None:
                failed.append(f"{steps[number].notebook} on {steps[number].table}")
            else:
                found[number] = read_record(folder)
    if failed:
        raise WorkbenchError(f"{' and '.join(failed)} failed: what went wrong is told above and kept under {runs}")
    return [record for record in found.values() if record is not None]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo; 0 when every notebook has a good run (and, unless DEMO_SERVE=0, the pages were served till Ctrl-C)."""
    parser = argparse.ArgumentParser(prog="python -m workbench.demo", description="Example tables, runs and pages.")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where run folders go (default: runs)")
    parser.add_argument("--tables", type=Path, default=Path(".demo"), help="where the tables go (default: .demo)")
    parser.add_argument("--rows", type=int, default=ROWS, help=f"rows of the requests table (default: {ROWS})")
    parser.add_argument("--port", type=int, default=5006, help="port of the pages (default: 5006)")
    chosen = parser.parse_args(arguments)
    runs, folder = chosen.runs.resolve(), chosen.tables.resolve()
    try:
        tables = _tables(folder, chosen.rows)
        records = run_steps(STEPS, tables, runs)
    except WorkbenchError as problem:
        print(f"workbench: {problem}", file=sys.stderr)
        return 1
    from workbench.runs.records import shown

    for step, record in zip(STEPS, records, strict=True):
        print(f"\n{step.notebook} on {step.table}: {_short(record.folder)}")
        for one in record.headline:
            print(f"  {one['name']}: {shown(one)}")
    print()
    if os.environ.get("DEMO_SERVE") == "0":
        return 0
    from workbench.cli import main as workbench

    print(f"workbench: serving the pages at http://localhost:{chosen.port} (Ctrl-C stops)", flush=True)
    return workbench(["serve", "--runs", str(runs), "--port", str(chosen.port)])


def _tables(folder: Path, rows: int) -> dict[str, Path]:
    """Each table's path by its name; every one is written whole or not at all, so that one which is there is kept."""
    from workbench import example_costs, examples
    from workbench.tables import flow_example

    wanted: dict[str, tuple[str, Path, Callable[[Path], Any]]] = {
        "flights": ("336,776 real flights of 2013", folder / "flights" / "flights.parquet", _write_flights),
        "requests": (
            f"{rows:,} inference requests with planted incidents",
            folder / f"requests-{rows}",
            lambda path: examples.requests(path, rows),
        ),
        "messy": ("three days of messy logs with planted defects", folder / "messy", flow_example.messy),
    }
    for name, (words, path, write) in wanted.items():
        if path.exists():
            print(f"workbench: table {name} is there: {_short(path)}", flush=True)
        else:
            print(f"workbench: writing table {name}: {words}", flush=True)
            write(path)
    example_costs.files(str(wanted["requests"][1]))
    return {name: path for name, (_, path, _) in wanted.items()}


def _write_flights(path: Path) -> None:
    from workbench import examples

    examples.flights(path.parent)


def _run(step: Step, tables: dict[str, Path], runs: Path) -> Path | None:
    print(f"workbench: running {step.notebook} on {step.table}", flush=True)
    begun = time.monotonic()
    given = {"table": str(tables[step.table]), **step.parameters}
    command = [sys.executable, "-c", "import sys; from workbench.cli import main; sys.exit(main())", "run"]
    command += [step.notebook, "--runs", str(runs)]
    for name, value in given.items():
        command += ["-p", name, value]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    took = f"{time.monotonic() - begun:.0f} s"
    if done.returncode:
        words = (done.stderr or done.stdout).strip()
        print(f"workbench: {step.notebook} on {step.table} failed after {took}:\n{words[-4000:]}", flush=True)
        return None
    print(f"workbench: {step.notebook} on {step.table} is good, {took}", flush=True)
    return Path(done.stdout.strip().splitlines()[-1])


def _code_changed() -> str:
    """When a module of the package changed last, as a record writes a time."""
    newest = max(path.stat().st_mtime for path in Path(__file__).parent.rglob("*.py"))
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(newest))


def _short(path: Path) -> str:
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)


if __name__ == "__main__":
    sys.exit(main())
