"""The command line: `workbench run | show | runs | serve | schedule | alerts | ...`; `workbench --help` lists them.

Exit codes: 0 good, 1 a run that failed, 2 a command that cannot be done as it was typed. Whatever is heavy is imported
inside the commands, so that `--help` answers at once.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.apps import export_commands, signin_commands
from workbench.errors import WorkbenchError
from workbench.runs import commands as scheduling
from workbench.runs import redact_command, starting, table_commands

if TYPE_CHECKING:
    from workbench.runs.execute import Stop
    from workbench.runs.records import Record

GOOD, FAILED, USAGE = 0, 1, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and gives its exit code."""
    options = parser().parse_args(arguments)
    options.words = list(sys.argv[1:] if arguments is None else arguments)
    command: Callable[[argparse.Namespace], int] = options.command
    try:
        return command(options)
    except WorkbenchError as error:
        print(f"workbench: {error}", file=sys.stderr)
        return USAGE
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return GOOD
    except OSError as error:
        print(f"workbench: {error}", file=sys.stderr)
        return FAILED


def parser() -> argparse.ArgumentParser:
    """The commands and their options."""
    top = argparse.ArgumentParser(
        prog="workbench",
        description="Tables in, cubes out: run a notebook over a table of any size, and serve what it found.",
        epilog="Exit codes: 0 good, 1 the run failed, 2 the command cannot be done as typed.",
    )
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)

    run = commands.add_parser(
        "run",
        help="execute a notebook into a run folder",
        description="Executes a notebook and leaves runs/<notebook>/<UTC time>/ with the executed notebook, "
        "report.html, the cube, results/ and run.json. The last printed line is the folder.",
        epilog="A parameter may also come from the environment as WORKBENCH_<NAME>, which goes before -p.",
    )
    run.add_argument("notebook", help="path of an .ipynb file, or the bare name of a shipped notebook (quality)")
    run.add_argument(
        "-p", dest="parameters", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"),
        help="a parameter of the notebook, read by its annotated type; may be repeated",
    )  # fmt: skip
    _runs_option(run)
    run.add_argument("--timeout", type=_seconds, metavar="SECONDS", help="deadline for the whole run (default: none)")
    run.add_argument(
        "--reuse", action="store_true", help="give the last good run of the same notebook, parameters and tables"
    )
    run.add_argument("--no-report", action="store_true", help="leave report.html out")
    run.add_argument("--parameters", dest="listed", action="store_true", help="list the notebook's parameters and stop")
    run.add_argument(
        "--warm",
        action="store_true",
        help="fork the run and its kernel from a parent that has everything imported; plain ones else",
    )
    run.add_argument("--at", metavar="TIME", help="fill {{ day }}-like dates of -p in: now, or as in 2026-11-23T02:30Z")
    run.add_argument("--zone", default="UTC", metavar="NAME", help="time zone of these dates (default: UTC)")
    run.set_defaults(command=_run)

    show = commands.add_parser("show", help="tell what a run did", description="Tells what a run did and found.")
    show.add_argument("run", help="a run folder, NOTEBOOK/TIME, or NOTEBOOK for its newest run")
    show.add_argument("--json", action="store_true", help="print run.json")
    _runs_option(show)
    show.set_defaults(command=_show)

    runs = commands.add_parser("runs", help="list runs", description="Lists the runs, newest first.")
    runs.add_argument("notebook", nargs="?", help="only the runs of this notebook")
    runs.add_argument("--json", action="store_true", help="print one run.json a line, with its folder")
    _runs_option(runs)
    runs.set_defaults(command=_runs)

    serve = commands.add_parser(
        "serve",
        help="serve the latest good run of every notebook",
        description="Serves the latest good run of every notebook and an index of runs. "
        "A page computes nothing on tables.",
    )
    _runs_option(serve)
    serve.add_argument(
        "--notebooks", type=Path, metavar="DIR", help="folder of the notebooks (default: the shipped ones)"
    )
    serve.add_argument("--address", default="localhost", help="address to listen on (default: localhost)")
    serve.add_argument("--port", type=int, default=5006, help="port to listen on (default: 5006)")
    serve.add_argument(
        "--allow-remote", action="store_true", help="listen where other machines reach it, without sign-in"
    )
    signin_commands.serve_options(serve)
    serve.set_defaults(command=_serve)

    examples = commands.add_parser(
        "examples",
        help="write example tables",
        description="Writes FOLDER/requests, a seeded table of inference requests with planted incidents, and their truth "
        "beside it as requests.truth.json.",
    )
    examples.add_argument("folder", type=Path, help="folder to write to")
    examples.add_argument("--rows", type=int, default=200_000, help="rows of the request table (default: 200000)")
    examples.add_argument("--seed", type=int, default=7, help="the same seed gives the same table (default: 7)")
    examples.add_argument("--format", default="parquet", help="parquet (default), csv or jsonl")
    examples.add_argument("--flights", action="store_true", help="also FOLDER/flights, the real flights of 2013")
    examples.set_defaults(command=_examples)

    _detectable_command(commands)
    scheduling.add(commands, _write_report, _drift_states)
    signin_commands.add(commands)
    starting.add(commands)
    export_commands.add(commands)
    table_commands.add(commands)
    redact_command.add(commands)

    version = commands.add_parser("version", help="print the version", description="Prints the version of workbench.")
    version.set_defaults(command=_version)
    return top


def _detectable_command(commands: Any) -> None:
    told = commands.add_parser(
        "detectable",
        help="tell the smallest drift that would raise an alarm",
        description="Tells, before a drift notebook is scheduled, the smallest shift of every column that would raise an "
        "alarm, from the numbers of rows in a run, a cube or a table.",
    )
    told.add_argument("source", help="a run folder, NOTEBOOK or NOTEBOOK/TIME, a cube (.nc), or the address of a table")
    told.add_argument("--time", default="", help="of a table: the time column; without one there is one window")
    told.add_argument("--every", default="D", help="of a table: length of a window, as in h, D, MS (default: D)")
    told.add_argument("--columns", default="", help="only these columns, comma-separated")
    told.add_argument("--rows", type=int, help="rows of a window to come (default: those of the windows there are)")
    told.add_argument("--threshold", type=float, default=0.1, help="the notebook's threshold (default: 0.1)")
    told.add_argument("--missing", type=float, default=0.05, help="the notebook's missing (default: 0.05)")
    told.add_argument("--alpha", type=float, default=0.01, help="accepted share of false alarms (default: 0.01)")
    told.add_argument("--power", type=float, default=0.8, help="chance that the shift is caught (default: 0.8)")
    told.add_argument("--json", action="store_true", help="print one column and window a line")
    _runs_option(told)
    told.set_defaults(command=_detectable)


def _runs_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--runs", type=Path, metavar="DIR", help="folder of runs (default: WORKBENCH_RUNS, else ./runs)"
    )


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds above 0")
    return value


def _run(options: argparse.Namespace) -> int:
    from workbench.runs import notebooks, parameters, records, warm

    notebook = notebooks.find_notebook(options.notebook)
    known, bounds = parameters.declared(notebook), parameters.limits(notebook)
    if options.listed:
        print(parameters.listing(known.values(), bounds))
        return GOOD
    if options.warm:
        scheduling.warm_up(_say)
    code = warm.hand_over(options.words)
    if code is not None:
        return code
    texts = scheduling.dated(options.parameters, options.at, options.zone)
    try:
        given, used, from_environment = parameters.resolve(known, texts, os.environ, bounds)
    except WorkbenchError as error:
        listing = parameters.listing(known.values(), bounds)
        print(f"workbench: {error}\nThe parameters of {notebook.name}:\n{listing}", file=sys.stderr)
        return USAGE
    for name in from_environment:
        over = "goes before -p" if name in given else "is used"
        _say(f"{notebook.stem}: WORKBENCH_{name.upper()} from the environment {over}")
    from workbench.runs import execute

    runs = records.runs_dir(options.runs)
    if options.reuse:
        record = execute.same_run(notebook, used, runs)
        if record is not None:
            _say(f"{notebook.stem}: nothing changed since the run of {record.started}")
            return _tell(record)
    stop = execute.Stop()
    before = _signals(stop)
    try:
        record = execute.run_notebook(
            notebook,
            given,
            runs,
            used=used,
            timeout=options.timeout,
            report=None if options.no_report else _write_report,
            stop=stop,
            say=_say,
            bar=sys.stderr.isatty(),
        )
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return _tell(record)


def _signals(stop: Stop) -> dict[int, Any]:
    """Lets the signals that end a command end the run in good order instead; gives the handlers back."""

    def ask(number: int, _frame: object) -> None:
        stop.ask("interrupted", f"the run was interrupted by {signal.Signals(number).name}")

    kept: dict[int, Any] = {}
    for number in {signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)}:  # Windows has no SIGHUP
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup stays nohup
            kept[number] = signal.signal(number, ask)
    return kept


def _write_report(notebook: Path, folder: Path) -> None:
    from workbench.apps.report import write_report

    write_report(notebook, folder)


def _drift_states() -> Any:
    from workbench.analyses import incidents

    return incidents


def _tell(record: Record) -> int:
    """Says what a run came to; the folder is the last line."""
    from workbench.runs.records import where

    error = record.error
    if error:
        print(f"{record.notebook}: failed{where(error)}\n  {error['name']}: {error['message']}", file=sys.stderr)
    if record.told.get("report") == "failed":
        print(f"{record.notebook}: the report could not be written: {record.told['report_message']}", file=sys.stderr)
    sys.stderr.flush()
    for line in _headline(record):
        print(line)
    print(record.folder, flush=True)
    return GOOD if record.status == "good" else FAILED


def _headline(record: Record) -> list[str]:
    from workbench.runs.records import shown

    width = max((len(str(one["name"])) for one in record.headline), default=0)
    return [f"  {one['name']:<{width}}  {shown(one)}" for one in record.headline]


def _show(options: argparse.Namespace) -> int:
    from workbench.runs.records import find_run, plain_name, runs_dir, where

    record = find_run(runs_dir(options.runs), options.run)
    if options.json:
        print(json.dumps(record.told, indent=1, ensure_ascii=False))
        return GOOD
    told = record.told
    print(f"{record.notebook} {plain_name(record.folder)}: {record.status}")
    print(f"  started {record.started}, ended {record.ended or '-'}, {told.get('duration_s', '-')} s")
    for one in told.get("sources") or []:
        print(f"  table {one['source']} (version {one['version']})")
    for name, value in record.parameters.items():
        print(f"  {name} = {value!r}")
    if record.error:
        print(f"  {record.error['name']}: {record.error['message']}{where(record.error)}")
    print("\n".join([*_headline(record), str(record.folder)]))
    return GOOD


def _runs(options: argparse.Namespace) -> int:
    from workbench.runs.records import list_runs, plain_name, runs_dir, shown

    folder = runs_dir(options.runs)
    found = list_runs(folder, options.notebook, running=True)
    for record in found:
        if options.json:
            print(
                json.dumps({**record.told, "folder": str(record.folder), "status": record.status}, ensure_ascii=False)
            )
            continue
        told = (
            record.error["name"] if record.error else "; ".join(f"{o['name']} {shown(o)}" for o in record.headline[:2])
        )
        print(f"{record.notebook:<14} {plain_name(record.folder):<20} {record.status:<8} {told}")
    if not found and not options.json:
        print(f"no runs under {folder}; to make one: workbench run quality --runs {folder}")
    return GOOD


def _serve(options: argparse.Namespace) -> int:
    from workbench.apps.server import serve
    from workbench.resources import notebooks_folder
    from workbench.runs.records import runs_dir

    serve(
        runs_dir(options.runs),
        options.notebooks or notebooks_folder(),
        options.address,
        options.port,
        allow_remote=options.allow_remote,
        signin=signin_commands.sign_in_of(options),
        prefix=options.prefix,
        origins=options.origins,
        behind_proxy=options.behind_proxy,
        workers=options.workers,
    )
    return GOOD


def _examples(options: argparse.Namespace) -> int:
    from workbench.examples import flights, requests

    written = [options.folder / "requests"]
    _say(f"writing {written[0]}: {options.rows:,} rows")
    truth = requests(written[0], rows=options.rows, seed=options.seed, format=options.format)
    _say("planted: " + ", ".join(f"{one['kind']} in {one['column']}" for one in truth["incidents"]))
    if options.flights:
        _say(f"writing {options.folder / 'flights'}")
        written.append(flights(options.folder / "flights"))
    print(*written, sep="\n")
    return GOOD


def _detectable(options: argparse.Namespace) -> int:
    from workbench.analyses import parts, power
    from workbench.runs.records import find_run, runs_dir

    if not 0 < options.alpha < 1 or not 0 < options.power < 1:
        raise WorkbenchError(f"alpha {options.alpha:g} and power {options.power:g} are chances: between 0 and 1")
    cube = _cube_of(
        options.source, options.time, options.every, lambda: find_run(runs_dir(options.runs), options.source)
    )
    asked = {name: getattr(options, name) for name in ("rows", "threshold", "missing", "alpha", "power")}
    found = power.detectable(cube, None if options.rows else cube, **asked)
    if options.columns:
        wanted = [parts.need(list(found["column"]), name, "--columns") for name in parts.names(options.columns)]
        found = found[found["column"].isin(wanted)]
    if options.json:
        print(found.to_json(orient="records", lines=True).rstrip())
        return GOOD
    for line in power.told(found):
        print(line)
    return GOOD


def _cube_of(source: str, time: str, every: str, run: Callable[[], Record]) -> Any:
    """The cube of a file, of a run, or of a table that is counted now."""
    from workbench import cubes

    if source.endswith(".nc"):
        return cubes.open_cube(source)
    folder = Path(source).expanduser()
    if (folder / "run.json").is_file() or not (folder.exists() or "://" in source):
        return cubes.open_cube(run().folder / "cube.nc")
    from workbench.analyses import parts
    from workbench.tables.opening import timed

    _say(f"counting {source}")
    return cubes.cube(timed(source, time), by=parts.axes(time, every))


def _version(_options: argparse.Namespace) -> int:
    from workbench.runs.execute import package_version

    print(package_version())
    return GOOD


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
