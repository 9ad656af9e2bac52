"""Alerts: what a window came to, held against the rules of its entry; one incident while a rule stays true.

An incident is open, acknowledged (somebody knows; it stays until the rule is no longer true), muted (nobody is told until
a time) or resolved. What is to be told is written in the ledger together with the incident, and delivered from there.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from workbench.errors import WorkbenchError
from workbench.runs import times
from workbench.runs.channels import send
from workbench.runs.ledger_tables import attempts, deliveries, incidents, reading, windows
from workbench.runs.records import Record, read_record, shown
from workbench.runs.schedule import Entry, Rule, Schedule

GOING = ("open", "acknowledged", "muted")
TRIES = 10  # of a delivery, over about four hours
OVER = ("good", "failed", "skipped", "missed")


@dataclass(frozen=True)
class Finding:
    """What a rule says of one window: whether it is true (None: nothing can be said), what, and how sure that is."""

    true: bool | None
    what: str = ""
    sure: str = ""


# --- rules ------------------------------------------------------------------------------------------------------------


def finding(rule: Rule, state: str, record: Record | None, reason: str = "", tries: int = 1) -> Finding:
    """What a rule says of a window that is over in ``state``, with the record of its run."""
    if rule.when == "failed":
        how = f"after {tries} attempt{'s' if tries != 1 else ''}; the process and the record of the run say so"
        return Finding(_known(state == "failed", state in ("good", "failed")), f"failed: {reason}", how)
    if rule.when == "missed":
        return Finding(state in ("missed", "skipped"), f"did not run: {reason}", "the ledger says so")
    if rule.when == "late":
        return Finding(False if state == "good" else None)
    if record is None or state != "good":
        return Finding(None)
    if rule.when == "bad":
        bad = [one for one in record.headline if one.get("good") is False]
        told = "; ".join(f"{one['name']} is {shown(one)}{_note(one)}" for one in bad)
        return Finding(bool(bad), f"not as it should be: {told}", _measured(record))
    return _figure(rule, record)


def _figure(rule: Rule, record: Record) -> Finding:
    found = next((one for one in record.headline if one["name"] == rule.figure), None)
    if found is None or found.get("value") is None:
        known = ", ".join(str(one["name"]) for one in record.headline) or "none"
        what = f"the figure {rule.figure!r} is missing (the run told {known})"
        return Finding(True if rule.test == "is" and rule.limit == "missing" else None, what, _measured(record))
    value, what = found["value"], f"{rule.figure} is {shown(found)}{_note(found)}"
    if rule.test == "is":
        true = found.get("good") is False if rule.limit == "bad" else found.get("good") is True
        return Finding(true and rule.limit != "missing", what, _measured(record))
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return Finding(None, f"{what}, which is no number", _measured(record))
    true = value > rule.limit if rule.test == "above" else value < rule.limit
    return Finding(true, f"{what}, {rule.test} {rule.limit:,g}", _measured(record))


def _known(value: bool, known: bool) -> bool | None:
    return value if known else None


def _note(headline: Mapping[str, Any]) -> str:
    return f" ({headline['note']})" if headline.get("note") else ""


def _measured(record: Record) -> str:
    rows = [one.get("rows") for one in record.told.get("sources") or [] if one.get("rows")]
    over = f" over {sum(rows):,} rows" if rows else ""
    version = f", version {record.source_version}" if record.source_version else ""
    return f"measured{over} of {record.source or 'the table'}{version}"


# --- incidents --------------------------------------------------------------------------------------------------------


def judge(engine: sa.Engine, schedule: Schedule, now: float, limit: int = 200) -> int:
    """Holds the windows that are over and not yet judged against their rules; gives how many there were."""
    with reading(engine) as c:
        chosen = sa.select(windows).where(windows.c.judged.is_(False), windows.c.state.in_(OVER))
        found = list(c.execute(chosen.order_by(windows.c.logical).limit(limit)))
    ruled = {window.id: entry for window in found if (entry := schedule.entry(window.entry)) and entry.alerts}
    quiet = [window.id for window in found if window.id not in ruled]
    if quiet:
        with engine.begin() as c:
            c.execute(windows.update().where(windows.c.id.in_(quiet)).values(judged=True))
    for window in found:
        entry = ruled.get(window.id)
        if entry is None:
            continue
        record = _record(window.run)
        said = [(rule, _streak(engine, rule, window, record)) for rule in entry.alerts]
        with engine.begin() as c:
            mark = windows.update().where(windows.c.id == window.id, windows.c.judged.is_(False)).values(judged=True)
            if c.execute(mark).rowcount:
                for rule, one in said:
                    _note_incident(c, schedule, entry, rule, one, window, now)
    return len(found)


def judge_late(engine: sa.Engine, schedule: Schedule, now: float) -> int:
    """The dead-man's alert: windows that are not good by their time; gives how many there were."""
    with reading(engine) as c:
        found = list(c.execute(sa.select(windows).where(windows.c.late_at <= now, windows.c.state != "good")))
    for window in found:
        entry = schedule.entry(window.entry)
        with engine.begin() as c:
            mark = windows.update().where(windows.c.id == window.id, windows.c.late_at <= now).values(late_at=None)
            if not c.execute(mark).rowcount or entry is None:
                continue
            doing = {"due": "waits", "running": "still runs"}.get(window.state, f"is {window.state}")
            reason = f" ({window.reason})" if window.reason else ""
            what = f"is late: no good run {times.spoken(entry.late)} after its time; it {doing}{reason}"
            for rule in entry.alerts:
                if rule.when == "late":
                    _note_incident(c, schedule, entry, rule, Finding(True, what, "the ledger says so"), window, now)
    return len(found)


def close_gone(engine: sa.Engine, schedule: Schedule, now: float) -> list[str]:
    """Resolves the incidents that nothing would ever end: their entry or rule is gone or switched off.

    Who was told of one is told that nobody looks any more. Gives a sentence for each.
    """
    watched = {f"{entry.name}|{rule.name}" for entry in schedule.entries if entry.enabled for rule in entry.alerts}
    with reading(engine) as c:
        going = list(c.execute(sa.select(incidents).where(incidents.c.going.is_not(None))))
    said = []
    for one in going:
        if one.going in watched:
            continue
        entry = schedule.entry(one.entry)
        why = f"the schedule has no entry {one.entry!r} any more"
        if entry is not None:
            why = f"{one.entry} has no rule {one.rule!r} any more" if entry.enabled else f"{one.entry} is switched off"
        with engine.begin() as c:
            mine = incidents.update().where(incidents.c.id == one.id, incidents.c.going.is_not(None))
            if not c.execute(mine.values(state="resolved", going=None, ended=now, by="the schedule")).rowcount:
                continue
            chosen = sa.select(deliveries.c.channel).where(deliveries.c.incident == one.id).distinct()
            told = [name for name in c.scalars(chosen) if name in schedule.channels]
            text = f"Nobody looks any more whether this goes on: {why}.\n"
            text += (
                f"It went on since {one.since}, in {in_words(one.windows)}: {one.text}\nRun: {one.run or 'none so far'}"
            )
            message = json.dumps(
                {
                    **_ids(dict(one._mapping), "resolved"), "subject": f"no longer watched: {one.entry}: {one.rule}",
                    "text": text, "incident": one.id, "event": "resolved", "entry": one.entry, "rule": one.rule,
                    "since": one.since, "link": "",
                }
            )  # fmt: skip
            values = {
                "incident": one.id,
                "event": "resolved",
                "message": message,
                "next_try": now,
                "tries": 0,
                "error": "",
            }
            state = "muted" if one.state == "muted" else "due"
            for name in told:
                c.execute(deliveries.insert().values(**values, channel=name, state=state))
        said.append(f"incident {one.id} ({one.entry}: {one.rule}) is over: {why}")
    return said


def _streak(engine: sa.Engine, rule: Rule, window: Any, record: Record | None) -> Finding:
    """What a rule says of a window; for a rule with `times` it is true when it is so that many times in a row."""
    found = finding(rule, window.state, record, window.reason, window.tries)
    if rule.times == 1 or not found.true:
        return found
    with reading(engine) as c:
        over = sa.select(windows).where(
            windows.c.entry == window.entry, windows.c.logical < window.logical, windows.c.state.in_(OVER)
        )
        before = list(c.execute(over.order_by(windows.c.logical.desc()).limit(rule.times - 1)))
    true = [finding(rule, one.state, _record(one.run), one.reason, one.tries).true for one in before]
    if len(true) < rule.times - 1 or not all(true):
        return Finding(None)
    return Finding(True, found.what, f"{found.sure}, {rule.times} windows in a row")


def _record(run: str | None) -> Record | None:
    try:
        return read_record(run) if run else None
    except WorkbenchError:
        return None  # deleted since


def _note_incident(
    c: sa.Connection, schedule: Schedule, entry: Entry | None, rule: Rule, found: Finding, window: Any, now: float
) -> None:
    """Opens, continues or resolves the incident of a rule."""
    if found.true is None or entry is None:
        return
    key = f"{entry.name}|{rule.name}"
    there = c.execute(sa.select(incidents).where(incidents.c.going == key)).first()
    if found.true and there is None:
        told = {"entry": entry.name, "rule": rule.name, "going": key, "state": "open", "since": window.logical}
        told |= {"last": window.logical, "windows": 1, "opened": now, "text": found.what, "run": window.run, "by": ""}
        number = (c.execute(incidents.insert().values(told)).inserted_primary_key or [0])[0]
        _tell(c, schedule, entry, rule, {**told, "id": number}, found, "opened", now)
    elif found.true and there is not None:
        change: dict[str, Any] = {"last": max(there.last, window.logical), "text": found.what, "run": window.run}
        change["windows"] = there.windows + (window.logical > there.last)
        over = there.state == "muted" and there.muted_until is not None and there.muted_until <= now
        if over:
            change |= {"state": "open", "muted_until": None}
            _tell(c, schedule, entry, rule, {**there._mapping, **change}, found, f"still true {times.stamp(now)}", now)
        c.execute(incidents.update().where(incidents.c.id == there.id).values(change))
        unsent = (deliveries.c.incident == there.id) & (deliveries.c.event == "opened") & (deliveries.c.tries == 0)
        message = message_of(schedule, entry, rule, {**there._mapping, **change}, found, "opened", now)
        c.execute(  # who has not been told yet is told how it stands
            deliveries.update().where(unsent, deliveries.c.state == "due").values(message=json.dumps(message))
        )
    elif there is not None and window.logical >= there.last:
        c.execute(incidents.update().where(incidents.c.id == there.id).values(state="resolved", going=None, ended=now))
        _tell(
            c,
            schedule,
            entry,
            rule,
            {**there._mapping, "last": window.logical, "run": window.run},
            found,
            "resolved",
            now,
        )


def _tell(
    c: sa.Connection, schedule: Schedule, entry: Entry, rule: Rule, incident: Mapping[str, Any], found: Finding,
    event: str, now: float,
) -> None:  # fmt: skip
    message = message_of(schedule, entry, rule, incident, found, event, now)
    muted = incident["state"] == "muted"
    for name in rule.to:
        told = {"incident": incident["id"], "event": event, "channel": name, "message": json.dumps(message)}
        c.execute(
            deliveries.insert().values(**told, state="muted" if muted else "due", next_try=now, tries=0, error="")
        )


def message_of(
    schedule: Schedule, entry: Entry, rule: Rule, incident: Mapping[str, Any], found: Finding, event: str, now: float
) -> dict[str, Any]:
    """What is told of an incident: subject, and text that says what, since when, how sure, and where to look."""
    since = times.moment_of(incident["since"]).astimezone(entry.zone)
    window = times.moment_of(incident["last"]).astimezone(entry.zone)
    lines = []
    if event == "resolved":
        subject = f"resolved: {entry.name}: {rule.name}"
        lines.append(f"{entry.name} ({entry.notebook.stem}) is as it should be again.")
        lines.append(
            f"It was not since {since:%Y-%m-%d %H:%M %Z}, in {in_words(incident['windows'])}: {incident['text']}"
        )
    else:
        subject = f"{entry.name}: {rule.name}"
        lines.append(f"{entry.name} ({entry.notebook.stem}) {found.what}")
        lines.append(f"Since {since:%Y-%m-%d %H:%M %Z}, in {in_words(incident['windows'])}; how sure: {found.sure}.")
    lines.append(f"Window {window:%Y-%m-%d %H:%M %Z}, told {times.stamp(now)}.")
    link = page_link(schedule.link, entry, incident["run"])
    lines.append(link if link else f"Run: {incident['run'] or 'none so far'}")
    if event != "resolved":
        lines.append(f"To say that you know: workbench alerts ack {incident['id']}")
    return {
        **_ids(incident, event), "subject": subject, "text": "\n".join(lines),
        "incident": incident["id"], "event": event.split()[0], "entry": entry.name, "rule": rule.name,
        "since": incident["since"], "link": link,
    }  # fmt: skip


def _ids(incident: Mapping[str, Any], event: str) -> dict[str, str]:
    """The id of a message, the same when it is sent again and another in every ledger, and that of the incident's first."""
    about = f"{incident['entry']}|{incident['rule']}|{incident['opened']!r}"
    own = f"incident-{incident['id']}-{hashlib.sha256(about.encode()).hexdigest()[:12]}"
    return {"id": f"{own}-{re.sub('[^a-zA-Z0-9]+', '-', event)}", "thread": f"{own}-opened"}


def in_words(windows: int) -> str:
    """How many windows an incident has lasted."""
    return f"{windows:,} window{'s' if windows != 1 else ''}"


def page_link(link: str, entry: Entry, run: str | None) -> str:
    """The address of the page of a run, of its notebook where there is no run, "" where no address is configured."""
    if not link:
        return ""
    return "/".join([link, entry.notebook.stem, *([Path(run).name] if run else [])])


def change_incident(
    engine: sa.Engine, number: int, state: str, now: float, by: str = "", until: float | None = None
) -> Any:
    """An incident after somebody acknowledged, muted (``until``), resolved or opened it again.

    Raises WorkbenchError when there is none of that number, or it is resolved already.
    """
    with engine.begin() as c:
        there = c.execute(sa.select(incidents).where(incidents.c.id == number)).first()
        if there is None or there.state == "resolved":
            going = sorted(c.scalars(sa.select(incidents.c.id).where(incidents.c.going.is_not(None))))
            came = "is resolved already" if there else "is not in the ledger"
            shown_ids = ", ".join(map(str, going)) or "none"
            raise WorkbenchError(f"Incident {number} {came}; those that go on: {shown_ids}.")
        change: dict[str, Any] = {"state": state, "by": by, "muted_until": until if state == "muted" else None}
        if state == "resolved":
            change |= {"going": None, "ended": now}
        c.execute(incidents.update().where(incidents.c.id == number).values(change))
        if state in ("muted", "resolved"):
            waiting = deliveries.update().where(deliveries.c.incident == number, deliveries.c.state == "due")
            c.execute(waiting.values(state="muted"))
        return c.execute(sa.select(incidents).where(incidents.c.id == number)).first()


# --- deliveries -------------------------------------------------------------------------------------------------------


def deliver(engine: sa.Engine, schedule: Schedule, now: float, folder: Path = Path()) -> tuple[int, int]:
    """Delivers what is due, and records it; gives how many went out and how many did not.

    A delivery that fails is tried again after 30 s, twice as long each time up to an hour, ten times; what else is due to
    that channel waits for the next round, so that one that does not answer holds up the others once. Whoever is killed
    between sending and writing that down sends again: the message's `id` stays the same.
    """
    with reading(engine) as c:
        found = list(c.execute(sa.select(deliveries).where(deliveries.c.state == "due", deliveries.c.next_try <= now)))
    sent = failed = 0
    down: set[str] = set()
    for one in found:
        if one.channel in down:
            continue
        with engine.begin() as c:  # held for two minutes, so that a second scheduler does not send it too
            mine = deliveries.update().where(
                deliveries.c.id == one.id, deliveries.c.state == "due", deliveries.c.next_try == one.next_try
            )
            if not c.execute(mine.values(next_try=now + 120)).rowcount:
                continue
        problem, note = _sent(schedule.channels, one, folder)
        tries = one.tries + 1
        values: dict[str, Any] = {"state": "sent", "tries": tries, "sent": now, "error": note}
        if problem:
            down.add(one.channel)
            again = now + min(3600.0, 30.0 * 2 ** (tries - 1))
            values = {
                "state": "due" if tries < TRIES else "failed",
                "tries": tries,
                "next_try": again,
                "error": problem,
            }
        with engine.begin() as c:
            c.execute(deliveries.update().where(deliveries.c.id == one.id).values(values))
        sent, failed = sent + (not problem), failed + bool(problem)
    return sent, failed


def waiting(engine: sa.Engine, now: float) -> bool:
    """Whether there is something to deliver."""
    with reading(engine) as c:
        chosen = sa.select(deliveries.c.id).where(deliveries.c.state == "due", deliveries.c.next_try <= now)
        return c.execute(chosen.limit(1)).first() is not None


def _sent(channels: Mapping[str, Any], one: Any, folder: Path) -> tuple[str, str]:
    """Why a delivery failed, "" where it did not, and what is to be known of one that was sent."""
    channel = channels.get(one.channel)
    if channel is None:
        return f"the schedule has no channel {one.channel!r} any more", ""
    try:
        return "", send(channel, json.loads(one.message), folder)
    except WorkbenchError as error:
        return str(error), ""


def listed(engine: sa.Engine, *, all_of_them: bool = False) -> Sequence[Any]:
    """The incidents that go on, or all, newest first, each with how many of its deliveries were sent, wait or failed."""
    count = {
        state: sa.select(sa.func.count())
        .where(deliveries.c.incident == incidents.c.id, deliveries.c.state == state)
        .scalar_subquery()
        .label(state)
        for state in ("sent", "due", "failed")
    }
    chosen = sa.select(incidents, *count.values()).order_by(incidents.c.id.desc())
    with reading(engine) as c:
        return list(c.execute(chosen if all_of_them else chosen.where(incidents.c.going.is_not(None))))


def runs_told(engine: sa.Engine) -> set[str]:
    """The run folders that an incident refers to, or the last attempt of a window whose incident goes on."""
    with reading(engine) as c:
        found = set(c.scalars(sa.select(incidents.c.run).where(incidents.c.run.is_not(None))))
        going = sa.select(incidents.c.entry).where(incidents.c.going.is_not(None))
        held = sa.select(attempts.c.run).join(windows, windows.c.id == attempts.c.window)
        held = held.join(incidents, (incidents.c.entry == windows.c.entry) & incidents.c.going.is_not(None))
        found |= set(
            c.scalars(
                held.where(
                    attempts.c.run.is_not(None), windows.c.logical >= incidents.c.since, windows.c.entry.in_(going)
                )
            )
        )
        return found
