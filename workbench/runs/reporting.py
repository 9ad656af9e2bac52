"""The ledger in words: what the scheduler does, the windows, the incidents."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import sqlalchemy as sa

from workbench.errors import WorkbenchError, nearest
from workbench.runs import times
from workbench.runs.alerts import in_words, listed
from workbench.runs.ledger_tables import attempts, entries, reading, schedulers, windows
from workbench.runs.records import read_record
from workbench.runs.schedule import Schedule

SILENT_S = 180.0  # a scheduler that has not been heard of for so long is gone


def ledger_lines(
    engine: sa.Engine,
    entry: str | None = None,
    count: int = 30,
    zones: Mapping[str, ZoneInfo] | None = None,
    place: ZoneInfo | None = None,
) -> list[str]:
    """The newest windows, newest first: entry, its time (in its zone of ``zones``, else ``place``, else UTC), state, how
    often it was tried, run and reason; of one ``entry`` each attempt too, with what became of it. Raises WorkbenchError for
    an entry that the ledger has never seen.
    """
    chosen = sa.select(windows).order_by(windows.c.logical.desc(), windows.c.id.desc()).limit(count)
    tried: dict[int, list[str]] = {}
    with reading(engine) as c:
        rows = list(c.execute(chosen.where(windows.c.entry == entry) if entry else chosen))
        known = list(c.scalars(sa.select(entries.c.name).order_by(entries.c.name))) if entry and not rows else []
        if entry and known and entry not in known:
            raise WorkbenchError(f"The ledger has no entry {entry[:80]!r}; {nearest(entry[:80], known)}.")
        if entry:
            of_these = sa.select(attempts).where(attempts.c.window.in_([row.id for row in rows]))
            for one in c.execute(of_these.order_by(attempts.c.started)):
                tried.setdefault(one.window, []).append(_attempt(one))
    width = max((len(row.entry) for row in rows), default=0)
    lines = []
    for row in rows:
        at = times.moment_of(row.logical).astimezone((zones or {}).get(row.entry, place or ZoneInfo("UTC")))
        often = f"{row.tries} tr{'y  ' if row.tries == 1 else 'ies'}"
        before = "again after " if row.reason and row.state in ("due", "running") else ""
        told = "  ".join(one for one in (_short(row.run), f"{before}{row.reason}") if one)
        lines.append(
            f"{row.entry:<{width}}  {f'{at:%a %Y-%m-%d %H:%M:%S %Z}':<28}  {row.state:<7} {often}  {told}".rstrip()
        )
        lines += tried.get(row.id, [])
    return lines or ["no windows yet"]


def _attempt(one: Any) -> str:
    took = f", {times.spoken(max(0.1, one.ended - one.started))}" if one.ended else ""
    why = f"  {one.kind}: {one.message}" if one.kind else ""
    run = f"  {_short(one.run)}" if one.run else f"  log .schedule/{one.id}.log"
    return f"    attempt {one.number}: {one.state}{took}{run}{why}"


def _short(run: str | None) -> str:
    """A run's folder as `notebook/time`, by which the other commands find it."""
    return "/".join(Path(run).parts[-2:]) if run else ""


def incident_lines(engine: sa.Engine, *, everything: bool = False) -> list[str]:
    """The incidents, newest first: number, state, entry and rule, since when, what, and how its deliveries went."""
    lines = []
    for one in listed(engine, all_of_them=everything):
        until = f" until {times.stamp(one.muted_until)}" if one.state == "muted" and one.muted_until else ""
        told = (
            f"{one.sent} sent"
            + (f", {one.due} waiting" if one.due else "")
            + (f", {one.failed} failed" if one.failed else "")
        )
        by = f" by {one.by}" if one.by else ""
        many = f"in {in_words(one.windows)}"
        lines.append(f"{one.id:>4}  {one.state}{until}{by}  {one.entry}: {one.rule}, since {one.since}, {many}, {told}")
        lines.append(f"      {one.text}" + (f"  {_short(one.run)}" if one.run else ""))
    return lines or ["no incidents" if everything else "no incident goes on"]


def drift_lines(notebook: str, states: Any, *, everything: bool = False) -> list[str]:
    """The incidents that a notebook found, as its frame of states tells them: id, state, since when, what."""
    chosen = states if everything else states[states["state"] != "resolved"]
    lines = []
    for one in chosen.to_dict("records"):
        until = f" until {one['muted_until']}" if one["state"] == "muted" else ""
        by = f" by {one['by']}" if one["by"] not in ("", "run") else ""
        since = f", since {one['since']}" if one["since"] else ""
        lines.append(f"{one['id']}  {one['state']}{until}{by}  {notebook}{since}")
        lines.append(f"      {one['words']}")
    return lines


def status(engine: sa.Engine, schedule: Schedule | None, now: float | None = None) -> tuple[list[str], bool]:
    """What schedulers, runs and incidents there are, and whether all is well: a scheduler lives, nothing is late."""
    now = time.time() if now is None else now
    with reading(engine) as c:
        living = list(c.execute(sa.select(schedulers).where(schedulers.c.beat > now - SILENT_S)))
        running = list(
            c.execute(
                sa.select(windows.c.entry, windows.c.logical, attempts.c.number, attempts.c.started)
                .join(attempts, attempts.c.window == windows.c.id)
                .where(attempts.c.state.in_(("starting", "running")))
            )
        )
        states = sa.select(windows.c.state, sa.func.count().label("many")).group_by(windows.c.state)
        counts: dict[str, int] = {row.state: row.many for row in c.execute(states)}
        late = list(
            c.execute(
                sa.select(windows.c.entry, windows.c.logical).where(windows.c.late_at <= now, windows.c.state != "good")
            )
        )
    lines = [f"scheduler {one.host} {one.pid}: heard of {times.spoken(max(1, now - one.beat))} ago" for one in living]
    if not living:
        lines.append("no scheduler is running: workbench schedule start")
    for one in running:
        lines.append(
            f"running  {one.entry} {one.logical}, attempt {one.number}, for {times.spoken(max(1, now - one.started))}"
        )
    lines += [f"late     {one.entry} {one.logical}" for one in late]
    lines.append("windows  " + (", ".join(f"{n:,} {state}" for state, n in sorted(counts.items())) or "none yet"))
    going = incident_lines(engine)
    unwell = [one for one in listed(engine) if one.state == "open"]
    lines += going if unwell else []
    if schedule is not None:
        lines += _never_true(engine, schedule)
        off = [entry.name for entry in schedule.entries if not entry.enabled]
        on = len(schedule.entries) - len(off)
        lines.append(f"{on:,} entr{'y' if on == 1 else 'ies'} on" + (f", off: {', '.join(off)}" if off else ""))
    return lines, bool(living) and not late and not unwell


def _never_true(engine: sa.Engine, schedule: Schedule) -> list[str]:
    """The rules on figures that the last good run of their entry did not tell: such a rule is silent for ever."""
    lines = []
    for entry in schedule.entries:
        figures = [rule for rule in entry.alerts if rule.figure and rule.limit != "missing"]
        if not figures or not entry.enabled:
            continue
        good = sa.select(windows.c.run).where(windows.c.entry == entry.name, windows.c.state == "good")
        with reading(engine) as c:
            run = c.scalar(good.order_by(windows.c.logical.desc()).limit(1))
        with suppress(WorkbenchError):  # none yet, or deleted since
            known = [str(one["name"]) for one in read_record(run).headline] if run else []
            lines += [
                f"silent   {entry.name}: {rule.name}: its last good run told no {rule.figure!r}; {nearest(rule.figure, known)}"
                for rule in figures
                if known and rule.figure not in known
            ]
    return lines
