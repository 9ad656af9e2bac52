"""A week of scheduled runs in a minute: `make schedule-demo`, or `python -m workbench.runs.week`.

The kernels, the runs, the ledger and the alerts are real; the notebooks are small, and the clock is driven: it jumps to the
next thing to do, and while something runs a second is ten minutes. In the week one notebook fails two days in a row, one is
late, one is killed by kill -9 and run again, one hangs, and in the night to Sunday Berlin's clocks go forward.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.runs import reporting, times, warm
from workbench.runs.command import Command, run_command
from workbench.runs.ledger_tables import open_ledger
from workbench.runs.schedule import read_schedule
from workbench.runs.scheduler import Scheduler, serve

INTRO = """\
A week of six scheduled notebooks in half a minute. At the left is the clock in Berlin, which is driven; kernels, runs, ledger
and alerts are real. On Tuesday one is late, on Wednesday one is killed by kill -9 and tried again, on Thursday and Friday one
fails, on Friday one hangs until its deadline, and the night to Sunday, when clocks go forward, has no 02:30.
"""
START, END = "2026-03-23T00:00:00+01:00", "2026-03-30T00:00:00+02:00"  # a Monday in Berlin, and the next
PACE = 600.0  # seconds of the week in a second, while something runs
SCHEDULE = """\
zone: Europe/Berlin
deliver:
  log: {file: alerts.jsonl}
entries:
  nightly:            # the night to Sunday has no 02:30: it runs at 03:00, once
    {notebook: rows, cron: "30 2 * * *", parameters: {day: "{{ day }}"}, timeout: 12h, alerts: [{when: failed, to: log}]}
  after-it:           # Sundays, when the nightly one is good
    {notebook: rows, cron: "30 3 * * 0", parameters: {day: "{{ day }}"}, timeout: 12h, depends-on: nightly}
  failing:            # Thursday's and Friday's table lacks a column
    {notebook: failing, cron: "0 6 * * 3-6", parameters: {day: "{{ day }}"}, timeout: 12h, alerts: [{when: failed, to: log}]}
  slow:               # on Tuesday, later than it may be
    {notebook: slow, cron: "0 9 * * 2", timeout: 12h, late: 10m, alerts: [{when: late, to: log}]}
  killed:             # on Wednesday, by kill -9; tried again ten minutes later
    {notebook: rows, cron: "0 12 * * 3", parameters: {day: "{{ day }}"}, timeout: 12h, retries: {times: 1, wait: 10m}}
  hanging:            # on Friday, a cell that does not end
    {notebook: hanging, cron: "0 15 * * 5", timeout: 6s, retries: 0, alerts: [{when: failed, to: log}]}
"""
BEGIN = "import workbench.runs.context as wb\nrun = wb.begin({name!r}, globals())\nfrom time import sleep"
DAY = 'day: str = ""  # the day of the window'
BOOKS = {
    "rows": (DAY, 'rows = 1000 + sum(map(ord, day))\nrun.headline("rows", rows, "rows")'),
    "failing": (
        DAY,
        'columns = ["time"] if day in ("2026-03-26", "2026-03-27") else ["time", "latency"]\n'
        'run.headline("place", columns.index("latency"), "columns")',
    ),
    "slow": ("seconds: float = 4.0  # how long it takes", "sleep(seconds)"),
    "hanging": ("seconds: float = 600.0  # how long it hangs", "sleep(seconds)"),
}


@dataclass
class WeekClock:
    """A clock that jumps to the next thing to do, and goes ``PACE`` times as fast while something runs."""

    at: float

    def now(self) -> float:
        """Seconds since 1970."""
        return self.at

    def rest(self, seconds: float, *, busy: bool) -> None:
        """Lets time pass."""
        if busy:
            time.sleep(0.05)
        self.at += 0.05 * PACE if busy else seconds


def write_week(folder: Path) -> Path:
    """Writes the notebooks and the schedule of the week into a folder; gives the schedule's path."""
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    for name, (parameters, work) in BOOKS.items():
        sources = [(parameters, ["parameters"]), (BEGIN.format(name=name), []), (work, [])]
        cells: list[dict[str, Any]] = [
            {
                "cell_type": "code", "id": f"{name}-{number}", "metadata": {"tags": tags} if tags else {}, "source": source,
                "outputs": [], "execution_count": None,
            }
            for number, (source, tags) in enumerate(sources)
        ]  # fmt: skip
        told = {"cells": cells, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}
        (folder / f"{name}.ipynb").write_text(json.dumps(told), encoding="utf-8")
    path = folder / "schedule.yml"
    path.write_text(SCHEDULE, encoding="utf-8")
    return path


def week(folder: Path, say: Callable[[str], Any], command: Command | None = None) -> Scheduler:
    """The scheduler after the week, its ledger and runs in ``folder``; ``command`` stands for `workbench run`."""
    schedule = read_schedule(write_week(folder))
    clock = WeekClock(times.moment_of(START).timestamp() - 60)
    place = schedule.entries[0].zone

    def told(line: str) -> None:
        moment = times.moment_of(times.stamp(clock.now())).astimezone(place)
        say(f"{f'{moment:%a %d %b %H:%M %Z}':<21}  {line}")

    s = Scheduler(
        open_ledger(str(folder / "ledger.db")), schedule, folder / "runs", clock=clock, command=command or _run, say=told,
        lease=6 * 3600.0, margin=12 * 3600.0, beside=False,
    )  # fmt: skip
    end = times.moment_of(END).timestamp()

    def over() -> bool:
        for one in s.active.values():
            if one.entry == "killed" and one.tries == 1 and one.process is not None and _at_work(s, one.notebook):
                told("killed 2026-03-25: kill -9, by this demo")
                with suppress(ProcessLookupError):
                    os.killpg(one.pid, signal.SIGKILL)
                one.process.wait(10)
        return clock.now() >= end and not s.active

    serve(s, until=over)
    return s


def _run(entry: Any, window: Any, runs: Path) -> list[str]:
    return [*run_command(entry, window, runs), "--no-report"]


def _at_work(s: Scheduler, notebook: str) -> bool:
    """Whether a run of a notebook has begun to write its folder."""
    return any((s.runs / notebook).glob(".*.partial/run.json"))


def ledger_of(s: Scheduler, folder: Path) -> list[str]:
    """The ledger of the week in words, oldest first, then its incidents and what was delivered."""
    zones = {entry.name: entry.zone for entry in s.schedule.entries}
    lines = ["The ledger:", *reporting.ledger_lines(s.engine, count=1000, zones=zones)[::-1]]
    lines += ["", "Both attempts at what was killed:", *reporting.ledger_lines(s.engine, "killed", zones=zones)[1:]]
    lines += ["", "The incidents:", *reporting.incident_lines(s.engine, everything=True)]
    log = s.runs / "alerts.jsonl"
    if log.is_file():
        told = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
        lines += ["", f"Delivered to {log.name}:", *[f"  {one['subject']}" for one in told]]
        lines += ["", "The text of the first:", *[f"  {line}" for line in told[0]["text"].splitlines()]]
    return lines


@contextmanager
def _warm(folder: str) -> Iterator[None]:
    """A parent of its own that runs and kernels are forked from, as `workbench schedule start --warm` has one."""
    os.environ["TMPDIR"] = tempfile.tempdir = folder  # where it is looked for
    os.environ[warm.VARIABLE] = "1"
    parent = subprocess.Popen([sys.executable, "-m", "workbench.runs.warm", "--parent"], stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 60
        while not warm.there() and parent.poll() is None and time.monotonic() < end:
            time.sleep(0.1)
        yield
    finally:
        parent.terminate()
        parent.wait(30)


def main() -> int:
    """Runs the week in a folder of its own and prints the ledger."""
    options = argparse.ArgumentParser(prog="schedule-demo", description=(__doc__ or "").split("\n")[0])
    options.add_argument(
        "--folder", type=Path, help="folder that keeps the ledger and the runs (default: none is kept)"
    )
    kept = options.parse_args().folder
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="wb-week-") as aside, _warm(aside):
        folder = kept or Path(aside) / "week"
        folder.mkdir(parents=True, exist_ok=True)
        print_line(INTRO)
        s = week(folder, print_line)
        print_line("", *ledger_of(s, folder), "", f"a week in {time.monotonic() - began:.0f} s")
        s.engine.dispose()
    return 0


def print_line(*lines: str) -> None:
    """Prints lines at once."""
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
