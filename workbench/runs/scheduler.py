"""The loop that runs a schedule: plans windows, takes those that are due, watches their processes, tells what went wrong.

Whatever it knows is in the ledger, so it may be killed at any moment, and two of them share one ledger. `tick` is one
round; `serve` goes round until it is asked to stop.
"""

from __future__ import annotations

import heapq
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

import sqlalchemy as sa

from workbench.errors import WorkbenchError
from workbench.runs import alerts, attempts, ledger, times
from workbench.runs.attempts import Attempt, Outcome
from workbench.runs.command import Command, run_command, run_environment
from workbench.runs.planning import AT_ONCE, fires_of, row_of
from workbench.runs.records import alive, process
from workbench.runs.schedule import Entry, Schedule, read_schedule

MARGIN_S = 20.0  # `workbench run` keeps its deadline itself; who has not ended this much later is ended


class Clock(Protocol):
    """Where the time comes from; a test drives its own."""

    def now(self) -> float:
        """Seconds since 1970."""

    def rest(self, seconds: float, *, busy: bool) -> None:
        """Lets time pass; ``busy`` while processes run, which take real time."""


class RealClock:
    """The clock of this machine."""

    def now(self) -> float:
        return time.time()

    def rest(self, seconds: float, *, busy: bool) -> None:
        time.sleep(seconds)


@dataclass
class Scheduler:
    """A scheduler at work: its schedule, its ledger, and what it has running."""

    engine: sa.Engine
    schedule: Schedule
    runs: Path
    clock: Clock = field(default_factory=RealClock)
    command: Command = run_command
    say: Callable[[str], Any] = lambda line: None
    lease: float = 60.0
    margin: float = MARGIN_S
    beside: bool = True  # deliver alerts in a thread beside the loop
    owner: str = field(default_factory=lambda: uuid4().hex)
    process: dict[str, Any] = field(default_factory=lambda: process(os.getpid()))
    active: dict[str, Attempt] = field(default_factory=dict)
    upcoming: list[tuple[float, str]] = field(default_factory=list)
    planned: dict[str, str] = field(default_factory=dict)
    renewed: float = float("-inf")
    stamped: float = 0.0
    courier: threading.Thread | None = None
    stopping: bool = False


def serve(s: Scheduler, *, until: Callable[[], bool] = lambda: False, patience: float = 30.0) -> None:
    """Goes round until ``s.stopping`` or ``until()``; then waits ``patience`` seconds for what runs, and ends it.

    A run that is ended so is tried again by the next scheduler. A ledger that does not answer is waited for.
    """
    troubled = False
    while not s.stopping and not until():
        try:
            tick(s)
            pause = _pause(s)
            if troubled:
                s.say("the ledger and the disk answer again")
            troubled = False
        except (sa.exc.DBAPIError, OSError) as error:
            if not troubled:
                said = str(getattr(error, "orig", error)).strip().splitlines()
                s.say(f"the ledger or the disk does not answer, waiting for it: {said[0] if said else error}")
            troubled, pause = True, 1.0
        s.clock.rest(pause, busy=bool(s.active))
    stop_all(s, patience if s.stopping else 0.0)


def stop_all(s: Scheduler, patience: float) -> None:
    """Waits for what runs, ends the rest, and writes down what became of it."""
    if s.active:
        s.say(f"waiting up to {patience:g} s for {len(s.active)} run(s)")
    end = time.monotonic() + patience
    while s.active:
        with suppress(sa.exc.DBAPIError, OSError):
            _renew(s)
            _watch(s)
        if time.monotonic() > end:
            for one in s.active.values():
                attempts.ask(one, "stopped", time.monotonic())
        if time.monotonic() > end + 4 * attempts.TERM_S:
            break  # the ledger does not answer; the next scheduler finds what is left
        if s.active:
            time.sleep(0.05)
    if s.courier is not None:
        s.courier.join(15)


def tick(s: Scheduler) -> None:
    """One round."""
    _reload(s)
    if not -s.lease / 3 < s.clock.now() - s.renewed < s.lease / 3:  # also where the clock was set back
        _renew(s)
        _recover(s)
    _watch(s)
    _plan(s)
    _claim(s)
    now = s.clock.now()
    while alerts.judge(s.engine, s.schedule, now) == 200:
        pass
    alerts.judge_late(s.engine, s.schedule, now)
    _deliver(s, now)


def _pause(s: Scheduler) -> float:
    """Seconds until there is something to do, a tenth while processes run, one at most by the clock of this machine."""
    if s.active:
        return 0.1
    now = s.clock.now()
    moments = [s.upcoming[0][0]] if s.upcoming else []
    ahead = ledger.next_moment(s.engine, now)
    moments += [ahead] if ahead is not None else []
    pause = max(0.01, min(moments, default=now + 3600) - now)
    return min(pause, 1.0) if isinstance(s.clock, RealClock) else pause


# --- the schedule -----------------------------------------------------------------------------------------------------


def _reload(s: Scheduler) -> None:
    """Reads the schedule again when its file has changed; one with mistakes is told, and the old one stays."""
    try:
        stamped = s.schedule.path.stat().st_mtime
    except OSError:
        stamped = s.stamped  # it is being replaced
    if stamped != s.stamped:
        if s.stamped:
            try:
                s.schedule = read_schedule(s.schedule.path)
                s.say("the schedule has changed and is read again")
            except WorkbenchError as error:
                s.say(f"the schedule has changed, but {error}\nthe one before stays in force")
        s.stamped = stamped
        _look_ahead(s)
        for sentence in alerts.close_gone(s.engine, s.schedule, s.clock.now()):
            s.say(sentence)


def _look_ahead(s: Scheduler) -> None:
    names = [entry.name for entry in s.schedule.entries]
    s.planned = ledger.seen(s.engine, names, times.stamp(s.clock.now()))
    s.upcoming = []
    for entry in s.schedule.entries:
        _next(s, entry)
    heapq.heapify(s.upcoming)


def _next(s: Scheduler, entry: Entry) -> None:
    """Puts the next time of an entry where the loop looks for it."""
    if entry.enabled:
        found = times.next_fire(entry.cron, entry.zone, times.moment_of(s.planned[entry.name]))
        if found is not None:
            heapq.heappush(s.upcoming, (found.timestamp(), entry.name))


def _plan(s: Scheduler) -> None:
    """Writes the windows that have come due, those that a new entry depends on first."""
    now, names = s.clock.now(), set()
    while s.upcoming and s.upcoming[0][0] <= now:
        names.add(heapq.heappop(s.upcoming)[1])
    rows: list[dict[str, Any]] = []
    marks: dict[str, str] = {}
    ahead: dict[str, datetime | None] = {}
    chosen = [entry for entry in s.schedule.entries if entry.name in names]
    for entry in chosen:
        if len(rows) < AT_ONCE:
            found, ahead[entry.name] = fires_of(entry, s.planned[entry.name], now)
            rows += [row_of(entry, logical, state, now) for logical, state in found]
            marks[entry.name] = times.stamp(found[-1][0]) if found else times.stamp(now)
    if marks:
        s.planned.update(ledger.plan(s.engine, rows, marks))
    for entry in chosen:
        moment = ahead.get(entry.name)
        if moment is not None and s.planned[entry.name] == marks[entry.name]:
            heapq.heappush(s.upcoming, (moment.timestamp(), entry.name))
        else:
            _next(s, entry)


# --- what runs --------------------------------------------------------------------------------------------------------


def _renew(s: Scheduler) -> None:
    """Says that this scheduler is alive, lets go of what is no longer its own, and ends what it never got to know."""
    now = s.clock.now()
    told = (int(s.process["pid"]), float(s.process["since"] or 0.0))
    mine = ledger.renew(s.engine, s.owner, s.process["host"], told, now, now + s.lease)
    s.renewed = now
    for name in [name for name in s.active if name not in mine]:
        lost = s.active.pop(name)
        attempts.sweep(name)
        if lost.process is not None:
            lost.process.wait(10)
        s.say(f"{lost.entry} {lost.logical}: another scheduler has taken it over")
    for name in mine - set(s.active):  # taken, and the answer of the ledger did not come
        attempts.sweep(name)
        ledger.end(
            s.engine,
            name,
            s.owner,
            now,
            state="lost",
            kind="lost",
            message="it never began",
            next_try=now,
            uncounted=True,
        )


def _recover(s: Scheduler) -> None:
    """Takes over the attempts of schedulers that are gone: those that still run are watched, the others written down.

    On this machine a scheduler is gone when its process is. Of another machine its lease must have passed, and the
    deadline that its run keeps by itself: nobody can look whether that still runs.
    """
    now, here = s.clock.now(), s.process["host"]
    for one in ledger.others(s.engine, s.owner):
        owner = {"host": here, "pid": one.owner_pid, "since": one.owner_since} if one.owner_pid else None
        dead = one.host == here and alive(owner) is False
        if not dead and now <= one.lease:
            continue
        if one.host != here and now <= one.deadline + 2 * s.margin:
            continue
        if not ledger.take_over(s.engine, one, s.owner, now + s.lease):
            continue
        notebook = s.schedule.entry(one.entry)
        stem = notebook.notebook.stem if notebook else ""
        log = s.runs / ".schedule" / f"{one.id}.log"
        taken = Attempt(
            one.id,
            one.entry,
            one.logical,
            stem,
            one.tries,
            one.pid or 0,
            one.since or 0.0,
            one.started,
            one.deadline,
            log,
        )
        s.active[one.id] = taken
        s.say(f"{one.entry} {one.logical}: taken over from a scheduler that is gone")
        if not dead or one.pid is None:
            attempts.sweep(one.id)


def _watch(s: Scheduler) -> None:
    """Looks after the processes: settles those that are over, ends those past their deadline."""
    now = s.clock.now()
    for one in list(s.active.values()):
        if not attempts.over(one):
            if now > one.deadline + s.margin or one.asked is not None:
                attempts.ask(one, "timeout", time.monotonic())
            continue
        try:
            settled = attempts.settle(one, s.runs)
        except OSError:
            raise  # the disk is waited for
        except Exception as error:  # what one run has left must not end the scheduler of all others
            settled = Outcome("failed", "lost", f"what the run left cannot be read: {type(error).__name__}: {error}")
        _write_down(s, one, settled)
        s.active.pop(one.id)


def _write_down(s: Scheduler, one: Attempt, outcome: Outcome) -> None:
    now, entry = s.clock.now(), s.schedule.entry(one.entry)
    kind, again, uncounted = outcome.kind, None, False
    if outcome.state != "good" and entry is not None:
        if kind == "stopped":
            kind, again, uncounted = "killed", now, True
        elif one.tries <= entry.retries.times and kind in entry.retries.after:
            again = now + entry.retries.pause(one.tries)
    run = str(outcome.run) if outcome.run else None
    mine = ledger.end(
        s.engine, one.id, s.owner, now, state=outcome.state, kind=kind, message=outcome.message, cell=outcome.cell,
        run=run, next_try=again, uncounted=uncounted,
    )  # fmt: skip
    what = "good" if outcome.state == "good" else f"{kind}: {outcome.message}"
    after = "" if again is None else f"; again at {times.stamp(again)}"
    s.say(f"{one.entry} {one.logical}: {what}{after}" + ("" if mine else " (another scheduler has written it down)"))


def _claim(s: Scheduler) -> None:
    """Starts what is due, as far as there is room."""
    if len(s.active) >= s.schedule.parallel:
        return
    waits: set[str] = set()
    before: dict[tuple[str, str], Any] = {}
    going: dict[str, list[Any]] | None = None
    for window in ledger.due(s.engine, s.clock.now()):
        if len(s.active) >= s.schedule.parallel or s.stopping:
            return
        if window.entry in waits:
            continue
        entry = s.schedule.entry(window.entry)
        now = s.clock.now()
        if entry is None or not entry.enabled:
            ledger.close(s.engine, window.id, "skipped", "the schedule has this entry no longer", now)
            continue
        if going is None:
            going = ledger.going(s.engine)
        verdict = _held(s, entry, window, before, going)
        if verdict == "wait":
            waits.add(entry.name)
        elif verdict:
            ledger.close(s.engine, window.id, "skipped", verdict, now)
            s.say(f"{entry.name} {window.logical}: skipped, {verdict}")
        elif not _start(s, entry, window):
            waits.add(entry.name)


def _held(
    s: Scheduler, entry: Entry, window: Any, known: dict[tuple[str, str], Any], going: dict[str, list[Any]]
) -> str:
    """ "" when a window may run now, "wait", or the reason why it is not to run at all.

    ``known`` are the windows that others depend on, as far as this round has looked, ``going`` those that have begun.
    """
    for name in entry.depends_on:
        if (name, window.logical) not in known:
            known[name, window.logical] = ledger.newest(s.engine, name, window.logical)
        before = known[name, window.logical]
        if before is not None and before.state in ("due", "running"):
            return "wait"
        if before is not None and before.state != "good":
            return f"{name} of {before.logical}, which it depends on, is {before.state}"
    others = [one for one in going.get(entry.name, []) if one.id != window.id] if entry.overlap != "allow" else []
    if not others:
        return ""
    if entry.overlap == "skip":
        return f"the window of {others[0].logical} {ledger.STILL_GOING}"
    if entry.overlap == "replace" and all(one.logical < window.logical for one in others):
        for one in others:
            if one.state == "due":
                ledger.close(s.engine, one.id, "failed", f"replaced by the window of {window.logical}", s.clock.now())
        for running in s.active.values():
            if running.entry == entry.name:
                attempts.ask(running, "replaced", time.monotonic())
    return "wait"


def _start(s: Scheduler, entry: Entry, window: Any) -> bool:
    """Takes a window and starts its run; False when another scheduler has it or is at another window of the entry."""
    now = s.clock.now()
    name = ledger.take(
        s.engine,
        window,
        s.owner,
        s.process["host"],
        now,
        now + s.lease,
        now + entry.timeout,
        alone=entry.overlap != "allow",
    )
    if name is None:
        return False
    log = s.runs / ".schedule" / f"{name}.log"
    told = (name, entry.name, window.logical, entry.notebook.stem, window.tries + 1)

    def ready(pid: int, since: float) -> bool:
        return ledger.began(s.engine, name, s.owner, pid, since)

    try:
        command = s.command(entry, window, s.runs)
        environment = {**attempts.environment(entry.name, window.logical, name), **run_environment(entry, window)}
        started = attempts.start(command, environment, log, ready, entry.memory)
    except (WorkbenchError, OSError) as error:
        one = Attempt(*told, 0, 0.0, now, now + entry.timeout, log)
        kind = "refused" if isinstance(error, WorkbenchError) else attempts.kind_of("", str(error))
        _write_down(s, one, Outcome("failed", kind, f"the run could not be started: {error}"))
        return True
    if started is not None:
        s.active[name] = Attempt(*told, started[0].pid, started[1], now, now + entry.timeout, log, started[0])
        s.say(f"{entry.name} {window.logical}: begun (attempt {window.tries + 1})")
    return True


def _deliver(s: Scheduler, now: float) -> None:
    if s.courier is not None and s.courier.is_alive():
        return
    if not s.beside:
        alerts.deliver(s.engine, s.schedule, now, s.runs)
        return

    def work() -> None:
        with suppress(sa.exc.DBAPIError, OSError):  # tried again with the next round
            alerts.deliver(s.engine, s.schedule, now, s.runs)

    if alerts.waiting(s.engine, now):
        s.courier = threading.Thread(target=work, name="workbench-courier", daemon=True)
        s.courier.start()
