"""The commands `workbench alerts ...`: the incidents of the schedule's alerts, and those that drift notebooks found."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from workbench.errors import WorkbenchError
from workbench.runs.command_options import GOOD, engine, part, places


def add(commands: Any, drift_states: Callable[[], Any]) -> None:
    top = commands.add_parser(
        "alerts",
        help="list, acknowledge, mute and resolve incidents",
        description="The incidents of the schedule's alerts (by number) and of drift notebooks (by their id).",
    )
    parts = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    listed = part(parts, "list", lambda options: _incidents(options, drift_states), "list the incidents that go on")
    listed.add_argument("--all", action="store_true", help="resolved ones too")
    places(listed)
    words = {
        "ack": ("acknowledged", "somebody knows: silent until it is over"),
        "mute": ("muted", "tell nobody for a span of time"),
        "resolve": ("resolved", "it is over; the rule opens another when true again"),
        "reopen": ("open", "take an acknowledgement or a mute back"),
    }
    for name, (state, told) in words.items():

        def act(options: argparse.Namespace, state: str = state) -> int:
            return _act(options, state, drift_states)

        made = part(parts, name, act, told)
        made.add_argument("incident", help="number or id of the incident, as `workbench alerts list` tells it")
        if name == "mute":
            made.add_argument("span", metavar="SPAN", help="how long, as in 90m, 4h or 2d")
        places(made)


def _incidents(options: argparse.Namespace, drift_states: Callable[[], Any]) -> int:
    from workbench.runs import reporting
    from workbench.runs.records import runs_dir

    lines: list[str] = []
    try:
        lines += reporting.incident_lines(engine(options), everything=options.all)
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
    ledger = engine(options)
    from workbench.runs.alerts import change_incident

    one = change_incident(ledger, int(options.incident), state, moment, person, until)
    print(f"{one.id} {one.entry}: {one.rule}: {one.state}{lasts}")
    return GOOD
