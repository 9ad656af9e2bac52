"""What a schedule costs beyond its work: 1,000 entries with 10,000 past runs, and a run of the drift notebook.

    python -m benchmarks.schedule [--entries 1000] [--past 10] [--rows 200000] [--rounds 3] [--out benchmarks/SCHEDULE.md]

Printed are, in milliseconds: a round of the scheduler with nothing due, a round that plans one window of every entry, a round
in which all of them wait, the index of the pages as a server makes it once before it listens, as it is first asked for, when a
run has just come, and then; and the memory of the process after all of it. Then the seconds that the drift notebook takes
over a table of so many rows: by the command line with a kernel of its own, by the command line with the warm kernel, and from
the scheduler (window claimed until it is good) with the warm kernel.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.pages import Both, page

ROOT = Path(__file__).parents[1]
BOOK = ROOT / "templates" / "notebook.ipynb"
DAY = 86_400.0
START = datetime(2026, 11, 1, 12, tzinfo=UTC).timestamp()


@dataclass
class Driven:
    """A clock that stands until it is moved."""

    at: float = START

    def now(self) -> float:
        return self.at

    def rest(self, seconds: float, *, busy: bool) -> None:
        time.sleep(0.01)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entries", type=int, default=1000)
    parser.add_argument("--past", type=int, default=10, help="past runs of every entry (10)")
    parser.add_argument(
        "--rows", type=int, default=200_000, help="rows of the drift notebook's table; 0: no runs (200000)"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, help="also write what is printed into this page")
    chosen = parser.parse_args()
    os.environ["PYTHONPATH"] = str(ROOT)
    both = Both()
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(both):
        many(Path(folder) / "many", chosen.entries, chosen.past)
        if chosen.rows:
            runs(Path(folder) / "runs", chosen.rows, chosen.rounds)
    if chosen.out:
        chosen.out.write_text(page(both.kept.getvalue(), "Schedule", "benchmarks.schedule"), encoding="utf-8")
    return 0


def many(folder: Path, entries: int, past: int) -> None:
    """The scheduler's rounds and the index, with so many entries and past runs."""
    import psutil
    import sqlalchemy as sa

    from workbench.apps.site import Site, index
    from workbench.runs import ledger_tables as t
    from workbench.runs import scheduler as loop
    from workbench.runs.schedule import read_schedule

    books, made = folder / "notebooks", folder / "runs"
    books.mkdir(parents=True)
    (books / "errors.ipynb").write_bytes(BOOK.read_bytes())
    lines = [
        f"  e{n:04d}: {{notebook: errors, cron: '{n % 60} {n // 60 % 24} * * *', catch-up: none}}"
        for n in range(entries)
    ]
    (books / "schedule.yml").write_text("zone: UTC\nentries:\n" + "\n".join(lines) + "\n")
    began = time.perf_counter()
    schedule = read_schedule(books / "schedule.yml")
    say("schedule read and checked", [time.perf_counter() - began])
    engine, clock = t.open_ledger("", made), Driven()
    s = loop.Scheduler(engine, schedule, made, clock=clock, beside=False, lease=1e9, command=lambda *_: ["true"])
    loop.tick(s)
    told = {"status": "good", "notebook": "errors", "headline": [{"name": "p99", "value": 1.0, "unit": "s"}]}
    rows = []
    for n in range(entries * past):
        day, entry = divmod(n, entries)
        at = datetime.fromtimestamp(START - DAY * (day + 1), UTC).replace(hour=entry // 60 % 24, minute=entry % 60)
        run = made / "errors" / f"{at:%Y%m%dT%H%M%SZ}-{entry}"
        run.mkdir(parents=True)
        (run / "run.json").write_text(json.dumps({**told, "source": "t", "started": f"{at:%Y-%m-%dT%H:%M:%SZ}"}))
        rows.append({
            "entry": f"e{entry:04d}", "logical": f"{at:%Y-%m-%dT%H:%M:%SZ}", "parameters": "{}", "key": "", "state": "good",
            "reason": "", "tries": 1, "next_try": 0.0, "judged": True, "created": at.timestamp(), "ended": at.timestamp(),
            "run": str(run),
        })  # fmt: skip
    with engine.begin() as c:
        c.execute(sa.insert(t.windows), rows)
    say("a round with nothing due", [timed(lambda: loop.tick(s)) for _ in range(20)])
    clock.at += DAY  # a day later: every entry has one window, missed as nobody ran it
    say("a round that plans a window of every entry", [timed(lambda: loop.tick(s))])
    site = Site(made, books)
    first = timed(lambda: index(site, now=datetime.fromtimestamp(clock.at, UTC)))
    say("index, by a server before it listens", [first])
    say("index, first that is asked for", [timed(lambda: index(site, now=datetime.fromtimestamp(clock.at, UTC)))])
    (made / "errors" / "20261130T000000Z").mkdir()
    say("index, when a run has just come", [timed(lambda: index(site, now=datetime.fromtimestamp(clock.at, UTC)))])
    time.sleep(2.1)
    index(site, now=datetime.fromtimestamp(clock.at, UTC))
    say("index, then", [timed(lambda: index(site, now=datetime.fromtimestamp(clock.at, UTC))) for _ in range(10)])
    with engine.begin() as c:  # all of them are waiting for a first one that goes on
        c.execute(t.windows.update().where(t.windows.c.state == "missed").values(state="due", tries=1, next_try=0.0))
    say("a round in which 1,000 windows wait", [timed(lambda: held(s, loop)) for _ in range(5)])
    memory = psutil.Process().memory_info().rss / 2**20
    sys.stdout.write(f"{'memory of scheduler and index in one process':<52}{memory:>8.0f} MiB   wanted < 300\n")
    engine.dispose()


def held(s: Any, loop: Any) -> None:
    """A round in which no window may begin, as every entry has another one that has begun."""
    from workbench.runs import ledger

    known: dict[Any, Any] = {}
    going = ledger.going(s.engine)
    for window in ledger.due(s.engine, s.clock.now()):
        entry = s.schedule.entry(window.entry)
        going.setdefault(window.entry, []).append(type("Other", (), {"id": -1, "logical": "", "state": "running"}))
        if loop._held(s, entry, window, known, going) != "wait":
            raise AssertionError(window.entry)


def runs(folder: Path, rows: int, rounds: int) -> None:
    """Seconds of the drift notebook: a kernel of its own, the warm kernel, and from the scheduler."""
    from workbench import examples
    from workbench.runs import warm

    folder.mkdir(parents=True)
    examples.requests(folder / "requests", rows)
    given = {"table": str(folder / "requests"), "time": "time", "every": "D", "by": "model"}
    given |= {"reference": "2026-03-02/2026-03-09", "current": "2026-03-09/2026-03-16"}
    words = [word for name, value in given.items() for word in ("-p", name, value)]
    command = [sys.executable, "-m", "workbench.cli", "run", str(ROOT / "notebooks" / "drift.ipynb"), *words]
    command += ["--runs", str(folder / "out")]

    def by_hand(*more: str) -> float:
        return timed(lambda: subprocess.run([*command, *more], check=True, capture_output=True, cwd=folder))

    say("drift by the command line, a kernel of its own", [by_hand()], 1.0, "s")
    for _ in range(2):  # a parent that is there may be of older modules: it hears so, goes, and another one starts
        by_hand("--warm")
        end = time.monotonic() + 60
        while not warm.there() and time.monotonic() < end:
            time.sleep(0.2)
    say("drift by the command line, warm (wanted <= 5)", [by_hand("--warm") for _ in range(rounds)], 1.0, "s")
    say("drift from the scheduler, warm (wanted <= 3)", scheduled(folder, given, rounds), 1.0, "s")


def scheduled(folder: Path, given: dict[str, str], rounds: int) -> list[float]:
    """Seconds from the claim of a window until it is good."""
    import sqlalchemy as sa

    from workbench.runs import ledger_tables as t
    from workbench.runs.times import stamp

    books = folder / "notebooks"
    books.mkdir()
    (books / "drift.ipynb").write_bytes((ROOT / "notebooks" / "drift.ipynb").read_bytes())
    entry = {"notebook": "drift", "cron": "* * * * *", "parameters": given, "catch-up": "each", "overlap": "wait"}
    (books / "schedule.yml").write_text(json.dumps({"zone": "UTC", "entries": {"drift": entry}}))
    command = [sys.executable, "-m", "workbench.cli", "schedule", "start", str(books / "schedule.yml"), "--warm"]
    command += ["--runs", str(folder / "scheduled")]
    engine, now = t.open_ledger("", folder / "scheduled"), time.time()
    with engine.begin() as c:  # planned until some minutes ago: there are windows to catch up
        began = stamp(now - 60 * (rounds + 2))
        c.execute(t.entries.insert().values(name="drift", since=began, planned=began, turn=0))
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    found: list[Any] = []
    try:
        end = time.monotonic() + 60 * (rounds + 2)
        while len(found) < rounds + 1 and time.monotonic() < end and process.poll() is None:
            time.sleep(2)
            with t.reading(engine) as c:
                found = list(c.execute(sa.select(t.attempts).where(t.attempts.c.state == "good")))
    finally:
        process.terminate()
        process.wait(60)
    engine.dispose()
    return [one.ended - one.started for one in found][1 : rounds + 1] or [float("nan")]


def timed(work: Any) -> float:
    """Seconds that some work takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def say(name: str, seconds: list[float], unit: float = 1000.0, word: str = "ms") -> None:
    """A line: the median, and the range."""
    middle, low, high = (unit * one for one in (statistics.median(seconds), min(seconds), max(seconds)))
    sys.stdout.write(f"{name:<52}{middle:>8.1f} {word}   [{low:.1f} to {high:.1f}]\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
