"""Which windows an entry gets: the times that have come since it was last planned, and what its catch-up makes of them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from workbench.runs import times
from workbench.runs.ledger import key_of
from workbench.runs.schedule import Entry

GRACE_S = 120.0  # a window that is planned later than this after its time has been missed
AT_ONCE = 2000  # windows planned in one round


def fires_of(entry: Entry, planned: str, now: float) -> tuple[list[tuple[datetime, str]], datetime | None]:
    """The times of an entry after ``planned`` and until ``now``, oldest first, each "due" or "missed" by its catch-up; and
    the first one that is not among them, None where there is none.

    `each` makes all of them due, `latest` the newest, `none` those not older than two minutes. Of very many the oldest
    2,000 come first with `each` (the others in the next round); otherwise the newest few thousand are told.
    """
    found: list[datetime] = []
    ahead = None
    for moment in times.fires(entry.cron, entry.zone, times.moment_of(planned)):
        if moment.timestamp() > now or (entry.catch_up == "each" and len(found) == AT_ONCE):
            ahead = moment
            break
        found.append(moment)
        if entry.catch_up != "each" and len(found) > 2 * AT_ONCE:
            del found[:AT_ONCE]
    fresh = [entry.catch_up == "each" or now - one.timestamp() <= GRACE_S for one in found]
    if entry.catch_up == "latest":
        fresh = [one is found[-1] for one in found]
    return [(one, "due" if is_due else "missed") for one, is_due in zip(found, fresh, strict=True)], ahead


def row_of(entry: Entry, logical: datetime, state: str, now: float) -> dict[str, Any]:
    """A window as the ledger writes it, with its dates filled in."""
    text, key = key_of(times.filled(entry.parameters, logical, entry.zone))
    row: dict[str, Any] = {"entry": entry.name, "logical": times.stamp(logical), "parameters": text, "key": key}
    row |= {"state": state, "created": now}
    if state == "missed":
        behind = times.spoken(max(1.0, now - logical.timestamp()))
        reason = f"no scheduler ran at its time, {behind} before (catch-up: {entry.catch_up})"
        return {**row, "reason": reason, "ended": now}
    return {**row, "late_at": logical.timestamp() + entry.late if entry.late else None}
