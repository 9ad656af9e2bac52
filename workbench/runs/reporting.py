"""The ledger in words: what the scheduler does, the windows, the incidents."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import sqlalchemy as sa

from workbench.runs import times
from workbench.runs.alerts import listed
from workbench.runs.ledger_tables import attempts, reading, schedulers, windows
from workbench.runs.schedule import Schedule

SILENT_S = 180.0  # a scheduler that has not been heard of for so long is gone


def ledger_lines(
    engine: sa.Engine, entry: str | None = None, count: int = 30, zones: Mapping[str, ZoneInfo] | None = None
) -> list[str]:
    """The newest windows, newest first: entry, its time (in its zone, or UTC), state, attempts, run or reason."""
    chosen = sa.select(windows).order_by(windows.c.logical.desc(), windows.c.id.desc()).limit(count)
    with reading(engine) as c:
        rows = list(c.execute(chosen.where(windows.c.entry == entry) if entry else chosen))
    width = max((len(row.entry) for row in rows), default=0)
    return [
        f"{row.entry:<{width}}  {_time(row, zones or {}):<28}  {row.state:<7} {row.tries} "
        f"tr{'y  ' if row.tries == 1 else 'ies'}  {row.reason or _short(row.run)}".rstrip()
        for row in rows
    ] or ["no windows yet"]


def _time(row: Any, zones: Mapping[str, ZoneInfo]) -> str:
    return f"{times.moment_of(row.logical).astimezone(zones.get(row.entry, ZoneInfo('UTC'))):%a %Y-%m-%d %H:%M:%S %Z}"


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
        lines.append(f"{one.id:>4}  {one.state}{until}{by}  {one.entry}: {one.rule}, since {one.since}, {told}")
        lines.append(f"      {one.text}")
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
        off = [entry.name for entry in schedule.entries if not entry.enabled]
        lines.append(f"{len(schedule.entries) - len(off)} entries on" + (f", off: {', '.join(off)}" if off else ""))
    return lines, bool(living) and not late and not unwell
