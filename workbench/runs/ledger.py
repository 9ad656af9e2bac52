"""The ledger of scheduled runs in SQL: which window of which entry is due, running, good or failed, and who holds it.

A window is one logical time of one entry with its parameters, and is there once, by a unique key. An attempt at it is
held by a lease that its scheduler renews; whoever wants to end an attempt must still hold it. Every function is one
transaction.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import uuid4

import sqlalchemy as sa

from workbench.runs.ledger_tables import ACTIVE, OPEN, attempts, deliveries, entries, reading, schedulers, windows

STILL_GOING = "was still going"  # ends the reason of a window that was left out for the one before it


def key_of(parameters: Mapping[str, Any]) -> tuple[str, str]:
    """Parameters as the ledger's text, and the key that is the same for the same values."""
    text = json.dumps(parameters, sort_keys=True, ensure_ascii=False, default=str)
    return text, hashlib.sha256(text.encode()).hexdigest()[:16]


# --- windows ----------------------------------------------------------------------------------------------------------


def seen(engine: sa.Engine, names: Sequence[str], logical: str) -> dict[str, str]:
    """Up to which logical time each entry has been planned; an entry that is new starts at ``logical``."""
    with engine.begin() as c:
        known = {row.name: row.planned for row in c.execute(sa.select(entries.c.name, entries.c.planned))}
        new = [{"name": n, "since": logical, "planned": logical, "turn": 0} for n in names if n not in known]
        if new:
            c.execute(_once(engine, entries), new)
            known = {row.name: row.planned for row in c.execute(sa.select(entries.c.name, entries.c.planned))}
    return {name: known[name] for name in names}


def plan(engine: sa.Engine, rows: Sequence[Mapping[str, Any]], marks: Mapping[str, str]) -> dict[str, str]:
    """Writes windows, and moves the marks of their entries on; gives the marks that are now in the ledger.

    A window that another scheduler has planned already, with whichever parameters, is left out. All of it is one
    transaction, so that a window and those it depends on come together.
    """
    with engine.begin() as c:
        chosen = sa.select(entries.c.name, entries.c.planned).where(entries.c.name.in_(list(marks)))
        there = {row.name: row.planned for row in c.execute(chosen.order_by(entries.c.name).with_for_update())}
        new = [{**_BLANK, **row} for row in rows if row["logical"] > there[row["entry"]]]
        if new:
            c.execute(_once(engine, windows), new)
        if marks:
            change = entries.update().where(
                entries.c.name == sa.bindparam("one"), entries.c.planned < sa.bindparam("mark")
            )
            moved = [{"one": name, "mark": logical} for name, logical in sorted(marks.items())]
            c.execute(change.values(planned=sa.bindparam("mark")), moved)
        return {name: max(there[name], logical) for name, logical in marks.items()}


_BLANK = {
    "reason": "", "tries": 0, "next_try": 0.0, "late_at": None, "judged": False, "ended": None, "run": None,
}  # fmt: skip


def due(engine: sa.Engine, now: float) -> list[Any]:
    """The windows that wait to be run, oldest first."""
    with reading(engine) as c:
        chosen = sa.select(windows).where(windows.c.state == "due", windows.c.next_try <= now)
        return list(c.execute(chosen.order_by(windows.c.logical, windows.c.id)))


def next_moment(engine: sa.Engine, now: float) -> float | None:
    """When the next thing in the ledger comes due after ``now``: a retry, a late window, a delivery."""
    with reading(engine) as c:
        found = [
            c.scalar(
                sa.select(sa.func.min(windows.c.next_try)).where(windows.c.state == "due", windows.c.next_try > now)
            ),
            c.scalar(sa.select(sa.func.min(windows.c.late_at)).where(windows.c.late_at > now)),
            c.scalar(
                sa.select(sa.func.min(deliveries.c.next_try)).where(
                    deliveries.c.state == "due", deliveries.c.next_try > now
                )
            ),
        ]
    return min((one for one in found if one is not None), default=None)


def newest(engine: sa.Engine, entry: str, until: str) -> Any:
    """The newest window of an entry at or before a logical time, None where there is none; one that was left out because
    the window before it was still going is passed over.
    """
    with reading(engine) as c:
        passed = (windows.c.state == "skipped") & windows.c.reason.endswith(STILL_GOING)
        chosen = sa.select(windows).where(windows.c.entry == entry, windows.c.logical <= until, ~passed)
        return c.execute(chosen.order_by(windows.c.logical.desc()).limit(1)).first()


def going(engine: sa.Engine) -> dict[str, list[Any]]:
    """The windows that run now or have begun and wait for another try, by entry, oldest first."""
    found: dict[str, list[Any]] = {}
    with reading(engine) as c:
        begun = windows.c.state.in_(OPEN) & ((windows.c.state == "running") | (windows.c.tries > 0))
        for one in c.execute(sa.select(windows).where(begun).order_by(windows.c.logical)):
            found.setdefault(one.entry, []).append(one)
    return found


def close(engine: sa.Engine, window: int, state: str, reason: str, now: float) -> bool:
    """Ends a window that nobody runs without running it; False when somebody was quicker."""
    with engine.begin() as c:
        change = windows.update().where(windows.c.id == window, windows.c.state == "due")
        return bool(c.execute(change.values(state=state, reason=reason, ended=now)).rowcount)


# --- attempts ---------------------------------------------------------------------------------------------------------


def take(
    engine: sa.Engine,
    window: Any,
    owner: str,
    host: str,
    now: float,
    lease: float,
    deadline: float,
    *,
    alone: bool = True,
) -> str | None:
    """The id of a new attempt at a window that waits, held until ``lease``; None when somebody else has it.

    With ``alone`` also None while another window of the same entry runs.
    """
    with engine.begin() as c:
        c.execute(entries.update().where(entries.c.name == window.entry).values(turn=entries.c.turn + 1))
        if alone:
            busy = sa.select(windows.c.id).where(windows.c.entry == window.entry, windows.c.state == "running")
            if c.execute(busy.limit(1)).first():
                return None
        change = windows.update().where(
            windows.c.id == window.id, windows.c.state == "due", windows.c.tries == window.tries
        )
        if not c.execute(change.values(state="running", tries=windows.c.tries + 1)).rowcount:
            return None
        name = uuid4().hex
        c.execute(
            attempts.insert().values(
                id=name, window=window.id, number=window.tries + 1, state="starting", kind="", message="", owner=owner,
                host=host, lease=lease, deadline=deadline, started=now,
            )
        )  # fmt: skip
        return name


def began(engine: sa.Engine, attempt: str, owner: str, pid: int, since: float) -> bool:
    """Notes the process of an attempt before it does anything; False when the attempt is not ours any more."""
    with engine.begin() as c:
        mine = attempts.update().where(
            attempts.c.id == attempt, attempts.c.owner == owner, attempts.c.state == "starting"
        )
        return bool(c.execute(mine.values(state="running", pid=pid, since=since)).rowcount)


def renew(engine: sa.Engine, owner: str, host: str, process: tuple[int, float], now: float, lease: float) -> set[str]:
    """Says that a scheduler is alive, and renews what it holds; gives the ids of the attempts that are still its own."""
    with engine.begin() as c:
        told = {"host": host, "pid": process[0], "since": process[1], "beat": now}
        if not c.execute(schedulers.update().where(schedulers.c.owner == owner).values(told)).rowcount:
            c.execute(schedulers.insert().values(owner=owner, **told))
        mine = (attempts.c.owner == owner) & attempts.c.state.in_(ACTIVE)
        c.execute(attempts.update().where(mine).values(lease=lease))
        return set(c.scalars(sa.select(attempts.c.id).where(mine)))


def others(engine: sa.Engine, owner: str) -> list[Any]:
    """The attempts that other schedulers hold, each with its window and with its scheduler's process."""
    with reading(engine) as c:
        joined = attempts.join(windows, windows.c.id == attempts.c.window).outerjoin(
            schedulers, schedulers.c.owner == attempts.c.owner
        )
        told: list[Any] = [
            attempts, windows.c.entry, windows.c.logical, windows.c.tries,
            schedulers.c.pid.label("owner_pid"), schedulers.c.since.label("owner_since"),
        ]  # fmt: skip
        chosen = sa.select(*told).select_from(joined)
        return list(c.execute(chosen.where(attempts.c.state.in_(ACTIVE), attempts.c.owner != owner)))


def take_over(engine: sa.Engine, attempt: Any, owner: str, lease: float) -> bool:
    """Makes an attempt of another scheduler ours; False when it has changed since it was read."""
    with engine.begin() as c:
        same = (attempts.c.id == attempt.id) & (attempts.c.owner == attempt.owner) & (attempts.c.lease == attempt.lease)
        change = attempts.update().where(same, attempts.c.state.in_(ACTIVE))
        return bool(c.execute(change.values(owner=owner, lease=lease)).rowcount)


def end(
    engine: sa.Engine, attempt: str, owner: str, now: float, *, state: str, kind: str = "", message: str = "",
    cell: int | None = None, run: str | None = None, next_try: float | None = None, uncounted: bool = False,
) -> bool:  # fmt: skip
    """Ends an attempt that is ours and its window with it, or makes the window wait for ``next_try``.

    False when the attempt is not ours any more: then nothing is written. ``uncounted`` takes the try back.
    """
    with engine.begin() as c:
        mine = (attempts.c.id == attempt) & (attempts.c.owner == owner) & attempts.c.state.in_(ACTIVE)
        told = {"state": state, "kind": kind, "message": message[:4000], "cell": cell, "run": run, "ended": now}
        if not c.execute(attempts.update().where(mine).values(told)).rowcount:
            return False
        window = sa.select(attempts.c.window).where(attempts.c.id == attempt).scalar_subquery()
        reason = "" if state == "good" else f"{kind}: {message}"[:500]
        values: dict[str, Any] = {"state": "due", "next_try": next_try, "reason": reason}
        if next_try is None:
            values = {"state": "good" if state == "good" else "failed", "ended": now, "run": run, "reason": reason}
            if state == "good":
                values["late_at"] = None
        elif uncounted:
            values["tries"] = windows.c.tries - 1
        c.execute(windows.update().where(windows.c.id == window, windows.c.state == "running").values(values))
        return True


def attempt_states(engine: sa.Engine, ids: Sequence[str]) -> dict[str, str]:
    """The states of attempts by id; one that is not in the ledger is left out."""
    with reading(engine) as c:
        chosen = sa.select(attempts.c.id, attempts.c.state).where(attempts.c.id.in_(list(ids)))
        return {row.id: row.state for row in c.execute(chosen)}


def _once(engine: sa.Engine, table: sa.Table) -> Any:
    """An insert that leaves out what is there already by a unique key."""
    if engine.dialect.name == "postgresql":
        from sqlalchemy.dialects import postgresql

        return postgresql.insert(table).on_conflict_do_nothing()
    from sqlalchemy.dialects import sqlite

    return sqlite.insert(table).on_conflict_do_nothing()
