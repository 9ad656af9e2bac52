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
from workbench.runs.command import arguments, text_of
from workbench.runs.schedule import KINDS as FAILURES
from workbench.runs.schedule import PASSING, Entry, Schedule
from workbench.runs.secrets import is_reference

KINDS = {
    "systemd": "systemd.service",
    "crontab": "crontab",
    "airflow": "airflow.py.txt",
    "kubernetes": "kubernetes.yml",
}
IMAGE = "workbench:latest"
DAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
FIELDS: tuple[tuple[int, int, tuple[str, ...]], ...] = (
    (0, 59, ()),
    (0, 23, ()),
    (1, 31, ()),
    (1, 12, MONTHS),
    (0, 7, DAYS),
)
LATE = re.compile(r"(?:^|,)\d?LW?(?:,|/|$)|#")  # last days, nth weekdays
LINE = 998  # characters of a crontab's line; cronie takes more
PLAIN = re.compile(r"\*(/\d+)?|\d+(-\d+(/\d+)?)?(,\d+(-\d+(/\d+)?)?)*")


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
    for path in (folder, runs, schedule.path.absolute()):
        if not str(path).isprintable():
            raise WorkbenchError(
                f"The path {str(path)!r} has a character that is not printed, which schedulers misread; rename it."
            )
    ledger = _ledger(ledger, folder) if kind == "systemd" else ""  # others keep none
    readable = [one for one in schedule.entries if one.enabled and not _unsaid(one, kind)]
    entries = [_entry(one, runs, kind) for one in readable]
    _distinct(entries)
    text = environment.get_template(KINDS[kind]).render(
        entries=entries,
        folder=_percent(folder) if kind == "systemd" else str(folder),
        runs=_unit(runs),
        title=_percent(schedule.path.name),
        schedule=_unit(schedule.path.absolute()),
        ledger=f" --ledger {_unit(ledger)}" if ledger else "",
        workbench=" ".join(_quoted(word) for word in _program()),
        user=getpass.getuser(),
        image=image,
        year=today.year,
        month=today.month,
        day=today.day,
        at="{{ (data_interval_end or dag_run.run_after).isoformat() }}",
        gpu=any(one["gpu"] for one in entries),
        raw=("{% raw %}", "{% endraw %}"),
    )
    cannot = [] if kind == "systemd" else _cannot(schedule, kind)
    longest = max(map(len, text.splitlines()), default=0)
    if kind == "crontab" and longest > LINE:
        cannot.append(f"a line has {longest:,} characters; the cron of Debian and Ubuntu takes {LINE}")
    return text, cannot


def portable(cron: str, kind: str) -> str:
    """A cron line as other schedulers read it, "" where a kind has no words for it.

    Sundays are 0, and steps that begin at a number are written out, as some read neither 7 nor 5/15. Day and weekday are
    both wanted where one of them begins with `*`, as with us and with cron; Kubernetes and Airflow see that in a bare `*` only,
    and run on either day otherwise.

    >>> portable("5/20 1 * * fri-7", "kubernetes"), portable("0 1 L * *", "crontab"), portable("0 1 * * 5L", "airflow")
    ('5,25,45 1 * * 0,5,6', '', '0 1 * * L5')
    >>> portable("0 1 */2 * 1", "crontab"), portable("0 1 */2 * 1", "kubernetes"), portable("0 1 *,5 * 1", "kubernetes")
    ('0 1 */2 * 1', '', '0 1 * * 1')
    """
    fields = cron.upper().split()
    words = []
    for field, (first, last, names) in zip(fields, FIELDS, strict=True):
        if LATE.search(field) and not names:
            known = kind == "systemd" or (kind == "airflow" and field == "L")
            words.append(field if known else "")
        elif LATE.search(field):
            parts = [re.sub(r"^(\w+)L$", r"L\1", one) for one in field.split(",")]
            words.append(",".join(parts) if kind == "airflow" else field if kind == "systemd" else "")
        elif field[0] == "*" and len(_numbers(field, first, last, names)) == last - first + 1 - (last == 7):
            words.append("*")
        elif PLAIN.fullmatch(field) and not (last == 7 and "7" in field):
            words.append(field)
        else:
            words.append(",".join(str(one) for one in sorted(_numbers(field, first, last, names))))
    days = fields[2], fields[4]
    both = words[2] != "*" != words[4] and any(one.startswith("*") for one in days)
    return " ".join(words) if all(words) and not (both and kind in ("kubernetes", "airflow")) else ""


def _numbers(field: str, first: int, last: int, names: tuple[str, ...]) -> set[int]:
    """The numbers that a field of a checked cron line stands for; a Sunday is 0."""
    found: set[int] = set()
    for part in field.split(","):
        span, _, step = part.partition("/")
        low, _, high = span.partition("-")
        ends = [
            names.index(one) + (last == 12) if one in names else int(one) for one in (low, high) if one not in ("", "*")
        ]
        start, stop = (first, last) if low == "*" else (ends[0], ends[-1] if high or not step else last)
        found |= set(range(start, stop + 1, int(step or 1)))
    return {one % 7 for one in found} if last == 7 else found


def _distinct(entries: list[dict[str, Any]]) -> None:
    """Names that jobs may have, none of them twice: other schedulers take fewer characters than we do."""
    for key, longest in (("label", 52), ("dag", 200)):
        seen: set[str] = set()
        for one in entries:
            name, number = one[key], 1
            while one[key] in seen:
                number += 1
                one[key] = f"{name[: longest - 4]}-{number}"
            seen.add(one[key])


def _ledger(address: str, folder: Path) -> str:
    """The address of a ledger as a unit may hold it: a path in full, never a password."""
    if address.startswith("secret:") or not address:
        return address
    if "://" not in address:
        return str(Path(address).expanduser().absolute())
    if re.match(r"[^/]*://[^/@]*:[^/]*@", address) or re.search(r"[?&]password=", address):
        raise WorkbenchError(
            "The ledger's address holds a password, which would stay in the exported file; give --ledger secret:env:LEDGER and "
            f"write LEDGER=postgresql://... into {folder / 'workbench.env'}, readable by the service only."
        )
    return address


def _percent(text: Path | str) -> str:
    """A value of a unit that is the whole rest of its line: never quoted, `%` doubled."""
    return str(text).replace("%", "%%")


def _quoted(text: Path | str) -> str:
    """A word of a unit's command line, in quotes where it has spaces."""
    told = _percent(text)
    return '"' + told.replace("\\", "\\\\").replace('"', '\\"') + '"' if re.search(r"[\s\"'\\;]", told) else told


def _unit(text: Path | str) -> str:
    """An argument of a unit's command line: as a word, and `$`, which would name a variable, doubled."""
    return _quoted(str(text).replace("$", "$$"))


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
    lock = f"mkdir -p {shlex.quote(str(runs))} && flock {'-n ' if entry.overlap == 'skip' else ''}"
    lock += f"{shlex.quote(str(runs / f'.{entry.name}.lock'))} "
    secrets = {f"WORKBENCH_{name.upper()}": value for name, value in parameters.items() if is_reference(value)}
    set_first = ["env", *(f"{name}={value}" for name, value in secrets.items())] if secrets else []
    plain = re.sub(r"[^a-z0-9-]+", "-", entry.name.lower()).strip("-")[:42].strip("-") or "entry"
    return {
        "name": entry.name,
        "dag": "workbench_" + re.sub(r"[^a-zA-Z0-9_.-]+", "_", entry.name),
        "cron": portable(entry.cron, kind),
        "zone": entry.zone.key,
        "words": words,
        "secrets": secrets,
        "set_first": set_first,
        "gpu": parameters.get("cluster") == "cuda",
        "lock": "" if entry.overlap == "allow" else lock,
        "note": f" (the scheduler's machine has {', '.join(secrets.values())})" if secrets else "",
        "timeout": entry.timeout,
        "retries": entry.retries.times,
        "wait": entry.retries.wait,
        "factor": entry.retries.factor,
        "longest": max(entry.retries.longest, entry.retries.wait),
        "each": entry.catch_up == "each",
        "at_once": 16 if entry.overlap == "allow" else 1,
        "label": f"workbench-{plain}",
        "policy": {"allow": "Allow", "replace": "Replace"}.get(entry.overlap, "Forbid"),
        "starting": 120 if entry.catch_up == "none" else 86_400,
        "whole": int((entry.timeout + 120) * (entry.retries.times + 1)),
        "shell": [word.replace("$", "$$") for word in words],  # else $(NAME) would be a variable of the container
        "memory": f"{max(1, entry.memory // 2**20)}Mi" if entry.memory else "8Gi",
        "asks": f"{max(1, entry.memory // 2**20)}Mi" if 0 < entry.memory < 2**31 else "2Gi",  # never above the limit
    }


def _program() -> list[str]:
    """The words that start this very workbench."""
    beside = Path(sys.executable).with_name("workbench")
    return [str(beside)] if beside.is_file() else [sys.executable, "-m", "workbench.cli"]


def _shipped() -> Path:
    from workbench.resources import notebooks_folder

    return notebooks_folder()


def _unsaid(entry: Entry, kind: str) -> str:
    """Why an entry cannot be written for a kind of scheduler at all, "" where it can."""
    if kind == "systemd":
        return ""
    if not portable(entry.cron, kind):
        return f"{kind} has no words for cron {entry.cron!r}; write other days"
    if kind == "crontab" and any("\n" in text_of(one) for one in entry.parameters.values()):
        return "a line of a crontab cannot hold a parameter of several lines"
    return ""


def _cannot(schedule: Schedule, kind: str) -> list[str]:
    """What of a schedule a foreign scheduler does not do."""
    found = []
    for entry in schedule.entries:
        if not entry.enabled:
            found.append(f"{entry.name}: left out, as it is switched off")
        elif why := _unsaid(entry, kind):
            found.append(f"{entry.name}: left out, as {why}")
        elif lost := "; ".join(_lost(entry, kind)):
            found.append(f"{entry.name}: {kind} does not do {lost}")
    return found


def _lost(entry: Entry, kind: str) -> list[str]:
    """The keys of an entry that a foreign scheduler does not heed, in words."""
    retries, others = entry.retries, kind in ("airflow", "kubernetes")
    told = (
        (f"depends-on {', '.join(entry.depends_on)}", bool(entry.depends_on)),
        ("alerts", bool(entry.alerts)),
        ("retries", kind == "crontab" and retries.times > 0),
        (
            "retries by kind of failure (any is tried again)",
            others and retries.times > 0 and set(retries.after) not in (set(PASSING), set(FAILURES)),
        ),
        (f"factor {retries.factor:g} (it doubles)", kind == "airflow" and retries.factor not in (1, 2)),
        ("memory", kind != "kubernetes" and entry.memory > 0),
        ("catch-up: each", kind in ("crontab", "kubernetes") and entry.catch_up == "each"),
        ("catch-up: none (the latest runs)", kind == "airflow" and entry.catch_up == "none"),
        ("overlap: replace (it waits)", kind in ("airflow", "crontab") and entry.overlap == "replace"),
        ("overlap: skip (the latest waits)", kind == "airflow" and entry.overlap == "skip"),
    )
    return [words for words, is_lost in told if is_lost]
