"""The commands `workbench schedule ...`, `rerun`, `prune` and `alerts ...`: their options, and what they print."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.errors import WorkbenchError

if TYPE_CHECKING:
    import sqlalchemy as sa

    from workbench.runs.execute import Report

GOOD, FAILED = 0, 1
DEFAULT = "notebooks/schedule.yml"
LEDGER = (
    "path of an SQLite file, or postgresql://user@host/name (default: WORKBENCH_LEDGER, else schedule.db in the folder of "
    "runs)"
)


def add(commands: Any, report: Report, drift_states: Callable[[], Any]) -> None:
    """Adds `rerun`, `schedule`, `alerts` and `prune` to the commands of the command line.

    ``report`` writes the report of a run, ``drift_states()`` gives the module that keeps the incidents of drift runs.
    """
    rerun = _part(
        commands,
        "rerun",
        lambda options: _rerun(options, report),
        "do a run again and compare",
        "Runs the notebook of a run again with its parameters, says what has moved since (notebook, versions, tables) and "
        "compares the headline figures. Exit code 1 where a figure differs or the run fails.",
    )
    rerun.add_argument("run", help="a run folder, NOTEBOOK/TIME, or NOTEBOOK for its newest run")
    _runs(rerun)
    _schedule(commands)
    _alerts(commands, drift_states)
    prune = _part(
        commands,
        "prune",
        _prune,
        "name the runs that need not stay, and delete them with --yes",
        "Names what becomes of every run, and deletes those that need not stay only with --yes. The last good run stays, one "
        "a day, one a month, and whatever an alert or a stored cube refers to.",
    )
    _file(prune)
    _places(prune)
    prune.add_argument("--yes", action="store_true", help="delete what is named (default: only name it)")
    prune.add_argument(
        "--store",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="a store of cubes to heed; may be repeated",
    )


def _schedule(commands: Any) -> None:
    top = commands.add_parser(
        "schedule", help="check, run and export scheduled notebooks", description="Notebooks that run by the calendar."
    )
    parts = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _file(_part(parts, "check", _check, "tell every mistake in a schedule: file, line and remedy"))
    start = _part(parts, "start", _start, "run a schedule until it is stopped (Ctrl-C)")
    _file(start)
    _places(start)
    start.add_argument(
        "--patience", type=float, default=60.0, metavar="SECONDS", help="wait for runs when stopped (60)"
    )
    status = _part(parts, "status", _status, "what runs, waits, is late; exit code 1 where something is wrong")
    _file(status)
    _places(status)
    listed = _part(parts, "list", _list, "list the windows of the ledger, newest first")
    listed.add_argument("entry", nargs="?", help="only the windows of this entry")
    listed.add_argument("-n", type=int, default=30, metavar="COUNT", help="how many (30)")
    _places(listed)
    export = _part(parts, "export", _export, "a systemd unit, crontab lines, an Airflow file, Kubernetes CronJobs")
    export.add_argument("kind", help="systemd, crontab, airflow or kubernetes")
    _file(export)
    _places(export)
    export.add_argument("--folder", type=Path, default=Path(), metavar="DIR", help="where the commands run (here)")
    export.add_argument("--image", default="workbench:latest", help="container image, for kubernetes")


def _alerts(commands: Any, drift_states: Callable[[], Any]) -> None:
    top = commands.add_parser(
        "alerts",
        help="list, acknowledge, mute and resolve incidents",
        description="The incidents of the schedule's alerts (by number) and of drift notebooks (by their id).",
    )
    parts = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    listed = _part(parts, "list", lambda options: _incidents(options, drift_states), "list the incidents that go on")
    listed.add_argument("--all", action="store_true", help="resolved ones too")
    _places(listed)
    words = {
        "ack": ("acknowledged", "somebody knows: silent until it is over"),
        "mute": ("muted", "tell nobody for a span of time"),
        "resolve": ("resolved", "it is over; the rule opens another when true again"),
        "reopen": ("open", "take an acknowledgement or a mute back"),
    }
    for name, (state, told) in words.items():

        def act(options: argparse.Namespace, state: str = state) -> int:
            return _act(options, state, drift_states)

        part = _part(parts, name, act, told)
        part.add_argument("incident", help="number or id of the incident, as `workbench alerts list` tells it")
        if name == "mute":
            part.add_argument("span", metavar="SPAN", help="how long, as in 90m, 4h or 2d")
        _places(part)


def _part(parts: Any, name: str, command: Any, words: str, description: str = "") -> argparse.ArgumentParser:
    description = description or f"{words[0].upper()}{words[1:]}."
    part: argparse.ArgumentParser = parts.add_parser(name, help=words, description=description)
    part.set_defaults(command=command)
    return part


def _places(parser: argparse.ArgumentParser) -> None:
    _runs(parser)
    parser.add_argument("--ledger", default="", metavar="ADDRESS", help=LEDGER)


def dated(texts: list[Any], at: str | None, zone: str) -> list[Any]:
    """The parameters of a command line with their dates filled in, where a time for them was given."""
    if at is None:
        return texts
    from datetime import UTC, datetime

    from workbench.runs import times

    moment = datetime.now(UTC) if at == "now" else times.moment_of(at)
    return [(name, times.filled(text, moment, times.zone(zone))) for name, text in texts]


def _file(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", nargs="?", type=Path, default=Path(DEFAULT), help=f"the schedule ({DEFAULT})")


def _runs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--runs", type=Path, metavar="DIR", help="folder of runs (default: WORKBENCH_RUNS, else ./runs)"
    )


def _needs() -> None:
    """Raises WorkbenchError where the extra is not installed."""
    from importlib.util import find_spec

    missing = [name for name in ("sqlalchemy", "cronsim", "yaml") if find_spec(name) is None]
    if missing:
        raise WorkbenchError(
            f"Schedules need {', '.join(missing)}; install them with pip install 'workbench[schedule]'."
        )


def _engine(options: argparse.Namespace, *, make: bool = False) -> sa.Engine:
    """The ledger; one that is not there yet is made only with ``make``."""
    _needs()
    from workbench.runs.ledger_tables import open_ledger
    from workbench.runs.records import runs_dir

    runs = runs_dir(options.runs)
    address = options.ledger or os.environ.get("WORKBENCH_LEDGER", "")
    path = Path(address).expanduser() if address else runs / "schedule.db"
    if not make and "://" not in address and not address.startswith("secret:") and not path.is_file():
        raise WorkbenchError(
            f"There is no ledger {str(path)!r}; `workbench schedule start` makes it, --ledger names another."
        )
    return open_ledger(address, runs)


def _check(options: argparse.Namespace) -> int:
    _needs()
    from datetime import UTC, datetime

    from workbench.runs import times
    from workbench.runs.schedule_file import checked

    schedule, problems = checked(options.file)
    for one in problems:
        print(f"{options.file}:{one.line}: {one.text}", file=sys.stderr)
    if problems:
        return FAILED
    now = datetime.now(UTC)
    for entry in schedule.entries:
        moment = times.next_fire(entry.cron, entry.zone, now)
        when = (
            "switched off"
            if not entry.enabled
            else f"next {moment.astimezone(entry.zone):%a %Y-%m-%d %H:%M %Z}"
            if moment
            else ""
        )
        print(f"{entry.name:<24} {entry.notebook.stem:<14} {entry.cron:<16} {when}")
    print(f"{options.file}: {len(schedule.entries)} entries, no mistake")
    return GOOD


def _start(options: argparse.Namespace) -> int:
    _needs()
    from datetime import UTC, datetime

    from workbench.runs.records import runs_dir
    from workbench.runs.schedule import read_schedule
    from workbench.runs.scheduler import Scheduler, serve

    def say(line: str) -> None:
        print(f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} {line}", file=sys.stderr, flush=True)

    schedule = read_schedule(options.file)
    s = Scheduler(_engine(options, make=True), schedule, runs_dir(options.runs).absolute(), say=say)

    def stop(number: int, _frame: object) -> None:
        s.stopping = True

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    on = [entry for entry in schedule.entries if entry.enabled]
    address = s.engine.url.render_as_string(hide_password=True)
    say(f"{len(on)} of {len(schedule.entries)} entries of {options.file}, ledger {address}, runs in {s.runs}")
    serve(s, patience=options.patience)
    say("stopped")
    return GOOD


def _status(options: argparse.Namespace) -> int:
    _needs()
    from workbench.runs.reporting import status
    from workbench.runs.schedule import read_schedule

    lines, well = status(_engine(options), read_schedule(options.file) if options.file.is_file() else None)
    print("\n".join(lines))
    return GOOD if well else FAILED


def _list(options: argparse.Namespace) -> int:
    engine = _engine(options)
    from workbench.runs.reporting import ledger_lines

    print("\n".join(ledger_lines(engine, options.entry, options.n)))
    return GOOD


def _incidents(options: argparse.Namespace, drift_states: Callable[[], Any]) -> int:
    from workbench.runs import reporting
    from workbench.runs.records import runs_dir

    lines: list[str] = []
    try:
        lines += reporting.incident_lines(_engine(options), everything=options.all)
    except WorkbenchError as error:
        if options.ledger:
            raise
        lines.append(f"of the schedule: {error}")
    for path in _drift_files(runs_dir(options.runs)):
        lines += reporting.drift_lines(path.parent.name, drift_states().load(path), everything=options.all)
    print("\n".join(lines))
    return GOOD


def _drift_files(runs: Path) -> list[Path]:
    """The files in which notebooks keep the states of their incidents, beside their runs."""
    return sorted(runs.glob("*/incidents-*.json"))


def _act(options: argparse.Namespace, state: str, drift_states: Callable[[], Any]) -> int:
    import getpass
    import time

    from workbench.runs import times
    from workbench.runs.records import runs_dir

    moment = time.time()
    until = moment + times.seconds(options.span) if state == "muted" else None
    lasts = f" until {times.stamp(until)}" if until else ""
    person = getpass.getuser()
    for path in _drift_files(runs_dir(options.runs)):
        kept = drift_states().load(path)
        if options.incident in set(kept["id"]):
            end = times.stamp(until) if until else ""
            kept = drift_states().act(kept, options.incident, state, times.stamp(moment), by=person, until=end)
            drift_states().save(kept, path)
            print(f"{options.incident} {path.parent.name}: {state}{lasts}")
            return GOOD
    if not options.incident.isdecimal():
        raise WorkbenchError(
            f"There is no incident {options.incident!r}; `workbench alerts list` tells those that there are."
        )
    engine = _engine(options)
    from workbench.runs.alerts import change_incident

    one = change_incident(engine, int(options.incident), state, moment, person, until)
    print(f"{one.id} {one.entry}: {one.rule}: {one.state}{lasts}")
    return GOOD


def _prune(options: argparse.Namespace) -> int:
    _needs()
    from datetime import UTC, datetime

    from workbench.runs import alerts, retention
    from workbench.runs.records import plain_name, runs_dir
    from workbench.runs.schedule import read_schedule

    runs = runs_dir(options.runs)
    schedule = None
    if options.file.is_file():
        schedule = read_schedule(options.file)
    elif str(options.file) != DEFAULT:
        raise WorkbenchError(
            f"There is no schedule {str(options.file)!r}; give its path, or none for the usual retention."
        )
    told: set[str] = set()
    try:
        told = alerts.runs_told(_engine(options))
    except WorkbenchError as error:
        if options.ledger or os.environ.get("WORKBENCH_LEDGER"):
            raise  # an alert may refer to a run, and nobody can look
        print(f"{error} No alert refers to a run.", file=sys.stderr)
    found = retention.prune(runs, retention.keeps(schedule), datetime.now(UTC), told, options.store)
    for one in found:
        what = "stays" if one.stays else "goes "
        print(f"{what} {one.record.notebook}/{plain_name(one.record.folder)}  {one.record.status}: {one.why}")
    sums = retention.summary(found)
    print(f"{sums['stay']:,} runs stay, {sums['go']:,} go ({sums['bytes'] / 1e6:,.1f} MB)")
    if options.yes:
        print(f"{retention.delete(found):,} runs are deleted")
        retention.sweep_trash(runs)
    elif sums["go"]:
        print("nothing is deleted yet; --yes deletes what goes")
    return GOOD


def _export(options: argparse.Namespace) -> int:
    _needs()
    from datetime import UTC, datetime

    from workbench.runs.export import export
    from workbench.runs.records import runs_dir
    from workbench.runs.schedule import read_schedule

    text, cannot = export(
        read_schedule(options.file), options.kind, folder=options.folder, runs=runs_dir(options.runs),
        today=datetime.now(UTC), ledger=options.ledger, image=options.image,
    )  # fmt: skip
    print(text, end="")
    for line in cannot:
        print(f"workbench: {line}", file=sys.stderr)
    return GOOD


def _rerun(options: argparse.Namespace, report: Report) -> int:
    from workbench.runs.again import rerun
    from workbench.runs.records import find_run, runs_dir

    runs = runs_dir(options.runs).absolute()

    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    record = find_run(runs, options.run)
    told = rerun(record, runs, report=report, say=say)
    if told.after.status != "good":
        say(f"{told.after.notebook}: failed: {(told.after.error or {}).get('message')}")
    for name, before, after in told.differ:
        print(f"  {name}: was {json.dumps(before)}, is {json.dumps(after)}")
    for sentence in told.moved:
        print(f"  moved: {sentence}")
    changed = {name for name, _, _ in told.differ}
    same = sum(one["name"] not in changed for one in told.before.headline)
    print(
        f"{same} of {len(told.before.headline)} headline figures are the same"
        + ("" if told.moved else "; nothing has moved")
    )
    print(told.after.folder)
    return GOOD if told.after.status == "good" and not told.differ else FAILED
