"""A schedule for others to run: a systemd unit, lines of a crontab, DAGs of Airflow, CronJobs of Kubernetes.

systemd starts our own scheduler and keeps all of its promises. The others run `workbench run` by themselves; what they cannot
do is told in a list beside the text.
"""

from __future__ import annotations

import getpass
import json
import re
import shlex
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

from workbench.errors import WorkbenchError, nearest
from workbench.resources import templates_folder
from workbench.runs.command import arguments
from workbench.runs.schedule import Entry, Schedule

KINDS = {
    "systemd": "systemd.service",
    "crontab": "crontab",
    "airflow": "airflow.py.txt",
    "kubernetes": "kubernetes.yml",
}
IMAGE = "workbench:latest"


def export(
    schedule: Schedule, kind: str, *, folder: Path, runs: Path, today: datetime, ledger: str = "", image: str = IMAGE
) -> tuple[str, list[str]]:
    """The text for a kind of scheduler, and what of this schedule it cannot do.

    ``folder`` is where the commands run. Raises WorkbenchError for a kind that there is not.
    """
    if kind not in KINDS:
        raise WorkbenchError(f"There is no export {kind!r}; {nearest(kind, KINDS)}.")
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(templates_folder() / "schedule"), undefined=StrictUndefined, keep_trailing_newline=True
    )
    environment.filters |= {
        "py": lambda value: repr(value),
        "json": lambda value: json.dumps(value),
        "quote": lambda value: shlex.quote(str(value)),
        "line": shlex.join,
        "percent": lambda text: text.replace("%", r"\%"),  # a bare one ends the command of a crontab's line
    }
    folder, runs = folder.absolute(), runs.absolute()
    entries = [_entry(one, runs, kind) for one in schedule.entries if one.enabled]
    text = environment.get_template(KINDS[kind]).render(
        entries=entries,
        folder=_unit(folder) if kind == "systemd" else str(folder),
        runs=_unit(runs),
        schedule=_Path(schedule.path.absolute()),
        ledger=f" --ledger {_unit(ledger)}" if ledger else "",
        workbench=" ".join(_unit(word) for word in _program()),
        user=getpass.getuser(),
        image=image,
        year=today.year,
        month=today.month,
        day=today.day,
        at="{{ data_interval_end.isoformat() }}",
        raw=("{% raw %}", "{% endraw %}"),
    )
    return text, [] if kind == "systemd" else _cannot(schedule, kind)


class _Path(str):
    """A path as a unit spells it, with its name for the description."""

    def __new__(cls, path: Path) -> _Path:
        made = super().__new__(cls, _unit(path))
        made.name = path.name
        return made

    name: str


def _unit(path: Path | str) -> str:
    """A word of a unit's command line: `%` doubled, quoted where it has spaces."""
    text = str(path).replace("%", "%%")
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"' if re.search(r"[\s\"'\\;]", text) else text


def _entry(entry: Entry, runs: Path, kind: str) -> dict[str, Any]:
    program = _program() if kind in ("crontab", "airflow") else ["workbench"]
    parameters = dict(entry.parameters)
    dated = "{{" in json.dumps(parameters, default=str)
    at = ["--at", "now"] if dated and kind != "airflow" else []
    own = arguments(entry, parameters)
    words = ["--timeout", f"{entry.timeout:g}", "--zone", entry.zone.key, *at]
    words += ["--runs", "runs" if kind == "kubernetes" else str(runs)]
    shipped = entry.notebook.absolute().is_relative_to(_shipped())
    inside = entry.notebook.stem if shipped else f"notebooks/{entry.notebook.name}"  # of the image and its volume
    own[1] = inside if kind == "kubernetes" else str(entry.notebook.absolute())
    words = [*program, *own, *words]
    lock = f"flock {'-n ' if entry.overlap == 'skip' else ''}{shlex.quote(str(runs / f'.{entry.name}.lock'))} "
    kept = [name for name, value in parameters.items() if isinstance(value, str) and value.startswith("secret:")]
    return {
        "name": entry.name,
        "cron": entry.cron,
        "zone": entry.zone.key,
        "words": words,
        "lock": "" if entry.overlap == "allow" else lock,
        "note": f" (set {', '.join(f'WORKBENCH_{one.upper()}' for one in kept)} above)" if kept else "",
        "timeout": entry.timeout,
        "retries": entry.retries.times,
        "wait": entry.retries.wait,
        "factor": entry.retries.factor,
        "each": entry.catch_up == "each",
        "at_once": 16 if entry.overlap == "allow" else 1,
        "label": "workbench-" + re.sub(r"[^a-z0-9-]+", "-", entry.name.lower()).strip("-")[:42],
        "policy": {"allow": "Allow", "replace": "Replace"}.get(entry.overlap, "Forbid"),
        "starting": 120 if entry.catch_up == "none" else 86_400,
        "whole": int((entry.timeout + 120) * (entry.retries.times + 1)),
        "shell": words,
        "memory": f"{entry.memory // 2**20}Mi" if entry.memory else "8Gi",
    }


def _program() -> list[str]:
    """The words that start this very workbench."""
    beside = Path(sys.executable).with_name("workbench")
    return [str(beside)] if beside.is_file() else [sys.executable, "-m", "workbench.cli"]


def _shipped() -> Path:
    from workbench.resources import notebooks_folder

    return notebooks_folder()


def _cannot(schedule: Schedule, kind: str) -> list[str]:
    """What of a schedule a foreign scheduler does not do."""
    found = []
    for entry in schedule.entries:
        if not entry.enabled:
            found.append(f"{entry.name}: left out, as it is switched off")
            continue
        lost = []
        if entry.depends_on:
            lost.append(f"depends-on {', '.join(entry.depends_on)}")
        if entry.alerts:
            lost.append("alerts")
        if kind == "crontab" and entry.retries.times:
            lost.append("retries")
        if kind in ("crontab", "kubernetes") and entry.catch_up == "each":
            lost.append("catch-up: each")
        if kind == "airflow" and entry.overlap == "replace":
            lost.append("overlap: replace")
        if lost:
            found.append(f"{entry.name}: {kind} does not do {'; '.join(lost)}")
    return found
