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
from workbench.runs import alert_commands
from workbench.runs.command_options import DEFAULT, FAILED, GOOD, engine, file, needs, part, places
from workbench.runs.command_options import runs as runs_option

if TYPE_CHECKING:
    from workbench.runs.execute import Report


def add(commands: Any, report: Report, drift_states: Callable[[], Any]) -> None:
    """Adds `rerun`, `schedule`, `alerts` and `prune` to the commands of the command line.

    ``report`` writes the report of a run, ``drift_states()`` gives the module that keeps the incidents of drift runs.
    """
    rerun = part(
        commands,
        "rerun",
        lambda options: _rerun(options, report),
        "do a run again and compare",
        "Runs the notebook of a run again with its parameters, says what has moved since (notebook, versions, tables) and "
        "compares the headline figures. Exit code 1 where a figure differs or the run fails.",
    )
    rerun.add_argument("run", help="a run folder, NOTEBOOK/TIME, or NOTEBOOK for its newest run")
    runs_option(rerun)
    _schedule(commands)
    alert_commands.add(commands, drift_states)
    prune = part(
        commands,
        "prune",
        _prune,
        "name the runs that need not stay, and delete them with --yes",
        "Names what becomes of every run, and deletes those that need not stay only with --yes. The last good run stays, one "
        "a day, one a month, and whatever an alert or a stored cube refers to.",
    )
    file(prune)
    places(prune)
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
    file(part(parts, "check", _check, "tell every mistake in a schedule: file, line and remedy"))
    start = part(parts, "start", _start, "run a schedule until it is stopped (Ctrl-C)")
    file(start)
    places(start)
    start.add_argument(
        "--patience", type=float, default=60.0, metavar="SECONDS", help="wait for runs when stopped (60)"
    )
    start.add_argument(
        "--warm", action="store_true", help="fork runs and kernels from a parent that has everything imported"
    )
    status = part(parts, "status", _status, "what runs, waits, is late; exit code 1 where something is wrong")
    file(status)
    places(status)
    listed = part(parts, "list", _list, "list the windows of the ledger, newest first")
    listed.add_argument("entry", nargs="?", help="only the windows of this entry, and each attempt at them")
    listed.add_argument("--zone", default="UTC", metavar="NAME", help="time zone of the times (UTC)")
    listed.add_argument("-n", type=int, default=30, metavar="COUNT", help="how many (30)")
    places(listed)
    export = part(parts, "export", _export, "a systemd unit, crontab lines, an Airflow file, Kubernetes CronJobs")
    export.add_argument("kind", help="systemd, crontab, airflow or kubernetes")
    file(export)
    places(export)
    export.add_argument("--folder", type=Path, default=Path(), metavar="DIR", help="where the commands run (here)")
    export.add_argument("--image", default="workbench:latest", help="container image, for kubernetes")


def dated(texts: list[Any], at: str | None, zone: str) -> list[Any]:
    """The parameters of a command line with their dates filled in, where a time for them was given."""
    if at is None:
        return texts
    from datetime import UTC, datetime

    from workbench.runs import times

    moment = datetime.now(UTC) if at == "now" else times.moment_of(at)
    return [(name, times.filled(text, moment, times.zone(zone))) for name, text in texts]


def _check(options: argparse.Namespace) -> int:
    needs()
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
    many = f"{len(schedule.entries):,} entr{'y' if len(schedule.entries) == 1 else 'ies'}"
    print(f"{options.file}: {many}, no mistake")
    return GOOD


def _start(options: argparse.Namespace) -> int:
    needs()
    from datetime import UTC, datetime

    from workbench.runs.records import runs_dir
    from workbench.runs.schedule import read_schedule
    from workbench.runs.scheduler import Scheduler, serve

    def say(line: str) -> None:
        print(f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} {line}", file=sys.stderr, flush=True)

    schedule = read_schedule(options.file)
    s = Scheduler(engine(options, make=True), schedule, runs_dir(options.runs).absolute(), say=say)

    def stop(number: int, _frame: object) -> None:
        s.stopping = True

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    on = [entry for entry in schedule.entries if entry.enabled]
    address = s.engine.url.render_as_string(hide_password=True)
    say(f"{len(on)} of {len(schedule.entries)} entries of {options.file}, ledger {address}, runs in {s.runs}")
    serve(s, until=_keep_warm(say) if options.warm else lambda: False, patience=options.patience)
    say("stopped")
    return GOOD


def warm_up(say: Callable[[str], Any]) -> None:
    """Lets this command and its kernel be forked from the warm parent; where none listens, one is started for the next."""
    from workbench.runs import warm

    if os.environ.get(warm.VARIABLE) == warm.KERNELS:
        return  # this command is a fork
    os.environ[warm.VARIABLE] = "1"
    try:
        if not warm.ensure():
            say("a warm parent of kernels is started for the next run")
    except OSError as error:
        say(f"no warm parent of kernels can be started ({error})")


def _keep_warm(say: Callable[[str], Any]) -> Callable[[], bool]:
    """Sees to it every ten seconds that a warm parent listens; gives False, so that a scheduler goes on."""
    import time

    from workbench.runs import warm

    os.environ[warm.VARIABLE] = "1"
    looked = [float("-inf")]

    def keep() -> bool:
        if time.monotonic() - looked[0] > 10:
            looked[0] = time.monotonic()
            try:
                if not warm.ensure():
                    say("a warm parent of kernels is being started; until it listens, plain kernels are")
            except OSError as error:
                say(f"no warm parent of kernels can be started ({error}); plain kernels are")
        return False

    return keep


def _status(options: argparse.Namespace) -> int:
    needs()
    from workbench.runs.reporting import status
    from workbench.runs.schedule import read_schedule

    schedule = read_schedule(options.file) if options.file.is_file() or str(options.file) != DEFAULT else None
    lines, well = status(engine(options), schedule)
    print("\n".join(lines))
    return GOOD if well else FAILED


def _list(options: argparse.Namespace) -> int:
    ledger = engine(options)
    from workbench.runs import times
    from workbench.runs.reporting import ledger_lines

    print("\n".join(ledger_lines(ledger, options.entry, options.n, place=times.zone(options.zone))))
    return GOOD


def _prune(options: argparse.Namespace) -> int:
    needs()
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
        told = alerts.runs_told(engine(options))
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
    needs()
    from datetime import UTC, datetime

    from workbench.runs.export import export
    from workbench.runs.records import runs_dir
    from workbench.runs.schedule import read_schedule

    text, cannot = export(
        read_schedule(options.file), options.kind, folder=options.folder, runs=runs_dir(options.runs),
        today=datetime.now(UTC), ledger=options.ledger or os.environ.get("WORKBENCH_LEDGER", ""), image=options.image,
    )  # fmt: skip
    print(text, end="")
    for line in cannot:
        print(f"workbench: {line}", file=sys.stderr)
    return GOOD


def _rerun(options: argparse.Namespace, report: Report) -> int:
    from workbench.runs.again import rerun
    from workbench.runs.records import find_run, runs_dir, where

    runs = runs_dir(options.runs).absolute()

    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    record = find_run(runs, options.run)
    again = rerun(record, runs, report=report, say=say)
    for sentence in again.moved:
        print(f"  moved: {sentence}")
    if again.after.status != "good":
        error = again.after.error or {}
        told = f"{error.get('name')}: {error.get('message')}{where(error)}"
        print(f"the repetition failed, so no figure can be compared: {told}")
        print(again.after.folder)
        return FAILED
    if again.before.status != "good":
        print(f"the run was {again.before.status} then, so no figure can be compared; it is good now")
        print(again.after.folder)
        return GOOD
    for name, before, after in again.differ:
        print(f"  {name}: was {_figure(before)}, is {_figure(after)}")
    changed = {name for name, _, _ in again.differ}
    same = sum(one["name"] not in changed for one in again.before.headline)
    print(
        f"{same} of {len(again.before.headline)} headline figures are the same"
        + ("" if again.moved else "; nothing has moved")
    )
    print(again.after.folder)
    return FAILED if again.differ else GOOD


def _figure(value: Any) -> str:
    """A figure as a sentence tells it."""
    return "not there" if value is None else json.dumps(value, ensure_ascii=False)
