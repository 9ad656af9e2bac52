"""Times of a schedule: when a cron line fires in its time zone, `{{ day }}`-like dates, and spans such as `30m`.

Days on which clocks change fire once: a time that is skipped in spring fires right after the gap, a time that comes twice
in autumn fires the first time only. Lines whose minute or hour begins with `*` follow real time instead, so an hourly line
fires every hour.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from workbench.errors import WorkbenchError, nearest

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
SPAN = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(s|m|h|d|w)\s*")
NICKNAMES = {
    "@hourly": "0 * * * *", "@daily": "0 0 * * *", "@midnight": "0 0 * * *", "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *", "@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *",
}  # fmt: skip
CRON = (  # of each field: its name, the library's name, what it may hold
    ("minute", "minute", "0 to 59"),
    ("hour", "hour", "0 to 23"),
    ("day", "day-of-month", "1 to 31 or L"),
    ("month", "month", "1 to 12 or JAN to DEC"),
    ("weekday", "day-of-week", "0 to 7 or SUN to SAT"),
)
LONGEST_S = 100 * 366 * 86_400.0
HOLE = re.compile(r"\{\{(.*?)\}\}")
INSIDE = re.compile(r"\s*([A-Za-z_]+)\s*(?:([+-])\s*(\d{1,6}))?\s*(?:\|\s*(.+?))?\s*")
FORMATS = {
    "minute": "%Y-%m-%dT%H:%M",
    "hour": "%Y-%m-%dT%H:00",
    "day": "%Y-%m-%d",
    "week": "%Y-%m-%d",
    "month": "%Y-%m",
    "year": "%Y",
}


def zone(name: str) -> ZoneInfo:
    """The time zone of an IANA name. Raises WorkbenchError with the nearest names.

    >>> zone("Europe/Berlin").key
    'Europe/Berlin'
    """
    from zoneinfo import available_timezones

    try:
        return ZoneInfo(name)
    except (ValueError, OSError, LookupError):
        raise WorkbenchError(
            f"There is no time zone {name!r}; {nearest(name, sorted(available_timezones()))}; "
            "give an IANA name such as Europe/Berlin or UTC"
        ) from None


def fires(cron: str, place: ZoneInfo, after: datetime) -> Iterator[datetime]:
    """The moments in UTC, strictly after ``after`` and ascending, at which a cron line of five fields fires.

    Ends where the line never fires again. Raises WorkbenchError for a line that is no cron line.

    >>> spring = fires("30 2 * * *", zone("Europe/Berlin"), datetime(2026, 3, 28, 12, tzinfo=UTC))
    >>> [str(next(spring)) for _ in range(2)]
    ['2026-03-29 01:00:00+00:00', '2026-03-30 00:30:00+00:00']
    """
    from cronsim import CronSim, CronSimError

    fields = cron.split()
    if len(fields) != 5:
        many = f"{len(fields)} field{'s' if len(fields) != 1 else ''}"
        instead = f"write {NICKNAMES[cron.strip().lower()]!r} instead" if cron.strip().lower() in NICKNAMES else ""
        seconds_first = "take the seconds in front away" if len(fields) == 6 else ""
        hint = instead or seconds_first or "as in '30 2 * * *'"
        raise WorkbenchError(f"cron {cron[:60]!r} has {many}; wanted five (minute hour day month weekday), {hint}")
    try:
        steps = CronSim(cron, after.astimezone(place))
    except CronSimError as error:
        if "day" in str(error) and fields[3] != "*":
            with suppress(CronSimError):  # right in itself: it is these months that have no such day
                CronSim(" ".join([*fields[:3], "*", fields[4]]), after)
                return
        raise WorkbenchError(f"cron {cron[:60]!r} is no cron line: {_wrong_field(fields, str(error))}") from None
    last = after.astimezone(UTC)
    for step in steps:
        moment = step.astimezone(UTC)
        if moment > last:  # a skipped time and the one after the gap are the same moment
            last = moment
            yield moment


def _wrong_field(fields: list[str], said: str) -> str:
    """Which field of a cron line is wrong, and what it may hold."""
    for (name, sign, span), field in zip(CRON, fields, strict=True):
        if said == f"Bad {sign}":
            star = ", or * for any" if "?" in field else ""
            low, _, high = field.partition("-")
            turned = ", the smaller first" if low.isdigit() and high.isdigit() and int(low) > int(high) else ""
            return f"its {name} is {field[:60]!r}; wanted {span}{turned}{star}, as in '30 2 * * *'"
    return f"{said}; wanted minute hour day month weekday, as in '30 2 * * *'"


def next_fire(cron: str, place: ZoneInfo, after: datetime) -> datetime | None:
    """The first moment after ``after`` at which a cron line fires, None when it never does (the 30th of February)."""
    return next(fires(cron, place, after), None)


def seconds(value: Any) -> float:
    """The seconds of a span written as `90s`, `30m`, `2h`, `7d`, `1w`, `1h 30m`, or as a number of seconds.

    Raises WorkbenchError for anything else, for nothing or less, and for more than a hundred years.

    >>> seconds("1h 30m")
    5400.0
    """
    total = 0.0
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        total = float(min(value, 2 * LONGEST_S))
    elif isinstance(value, str) and re.fullmatch(f"(?:{SPAN.pattern})+", value):
        total = sum(float(number) * UNITS[unit] for number, unit in SPAN.findall(value))
    if not 0 < total <= LONGEST_S:
        shown = repr(value) if len(repr(value)) <= 60 else f"{value!r:.60}..."
        raise WorkbenchError(f"{shown} is no span of time; wanted a number with a unit, as in 90s, 30m, 2h or 7d")
    return total


def spoken(span: float) -> str:
    """A span of seconds in the largest units that say it, two at most.

    >>> spoken(5400), spoken(86_400 * 3), spoken(0.25)
    ('1 h 30 min', '3 d', '0.25 s')
    """
    if span < 60:
        return f"{span:.3g} s"
    left = round(span)
    told: list[str] = []
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1)):
        if left >= size and len(told) < 2:
            told.append(f"{left // size} {unit}")
            left %= size
    return " ".join(told)


def filled(value: Any, moment: datetime, place: ZoneInfo) -> Any:
    """``value`` with its `{{ day }}`-like dates filled in, inside lists and dicts too.

    The names are minute, hour, day, week (its Monday), month and year of the moment in the time zone of the schedule, each
    with steps of its own unit (`{{ day - 1 }}` is the day before, `{{ month - 1 }}` the month before) and, behind a bar,
    a format of strftime (`{{ day | %Y/%m/%d }}`); `time` is the moment itself in UTC, its steps are seconds.
    Raises WorkbenchError for a name that there is not.

    >>> filled("{{ day - 1 }}/{{ day }}", datetime(2026, 3, 1, 1, 30, tzinfo=UTC), zone("Europe/Berlin"))
    '2026-02-28/2026-03-01'
    """
    if isinstance(value, str):
        return HOLE.sub(lambda hole: _date(hole[1], moment, place), value)
    if isinstance(value, dict):
        return {key: filled(one, moment, place) for key, one in value.items()}
    return [filled(one, moment, place) for one in value] if isinstance(value, list) else value


def _date(inside: str, moment: datetime, place: ZoneInfo) -> str:
    match = INSIDE.fullmatch(inside)
    name = match[1] if match else inside.strip()
    if match is None or name not in (*FORMATS, "time"):
        raise WorkbenchError(
            f"'{{{{{inside}}}}}' is no date; {nearest(name, [*FORMATS, 'time'])} (also {{{{ day - 1 }}}}, {{{{ day | %Y/%m }}}})"
        )
    steps = int(match[3] or 0) * (-1 if match[2] == "-" else 1)
    try:
        when = _stepped(name, steps, moment, place)
    except (OverflowError, ValueError):
        raise WorkbenchError(f"'{{{{{inside}}}}}' is no date of the calendar; take fewer steps") from None
    if match[4]:
        return when.strftime(match[4].strip("'\""))
    return stamp(when) if name == "time" else when.strftime(FORMATS[name])


def _stepped(name: str, steps: int, moment: datetime, place: ZoneInfo) -> datetime:
    if name in ("time", "minute", "hour"):  # real time: an hour before is 60 minutes before, whatever the clocks did
        step = {"time": 1, "minute": 60, "hour": 3600}[name] * steps
        return (moment + timedelta(seconds=step)).astimezone(UTC if name == "time" else place)
    local = moment.astimezone(place)
    if name == "day":
        return local + timedelta(days=steps)
    if name == "week":
        return local - timedelta(days=local.weekday()) + timedelta(weeks=steps)
    months = local.year * 12 + local.month - 1 + (steps if name == "month" else 12 * steps)
    return local.replace(year=months // 12, month=months % 12 + 1, day=1)


def stamp(moment: datetime | float) -> str:
    """A moment as the ledger writes it: ISO text in UTC, to the second, ending in Z; such texts sort as their moments.

    >>> stamp(0.0)
    '1970-01-01T00:00:00Z'
    """
    when = datetime.fromtimestamp(moment, UTC) if isinstance(moment, (int, float)) else moment.astimezone(UTC)
    return when.replace(microsecond=0).isoformat().replace("+00:00", "Z")


def moment_of(text: str) -> datetime:
    """The moment of an ISO text; without a zone it is UTC. Raises WorkbenchError for other text."""
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        raise WorkbenchError(f"{text!r} is no time; wanted one as in 2026-11-23T02:30:00Z") from None
    return when if when.tzinfo else when.replace(tzinfo=UTC)
