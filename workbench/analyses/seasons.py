"""Windows and their seasons: which windows of a cube make the reference of which.

A season is a place in the week ("hour of week", in local time, so that a week with a change of clocks is matched hour by
hour) or in the year ("month of year"); the days of a calendar are places of their own.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from workbench.analyses.parts import WINDOW
from workbench.errors import WorkbenchError, nearest

KINDS = ("baseline", "previous", "rolling", "season")
SEASONS = ("hour of week", "day of week", "month of year")
WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
BLOCK = 4_000_000  # pairs of windows that are looked at at once


@dataclass(frozen=True)
class Asked:
    """How the references are made.

    baseline: START/END in UTC (END not included), "" for the first third of the windows. last: windows of "rolling".
    season: "hour of week", "day of week" or "month of year". cycles: how many weeks (or years) back a season reaches.
    tz: the zone of the season's clock, "" for that of the cube's windows. holidays: days that are no usual day.
    """

    baseline: str = ""
    last: int = 4
    season: str = "hour of week"
    cycles: int = 8
    tz: str = ""
    holidays: frozenset[date] = frozenset()

    def __post_init__(self) -> None:
        if self.season not in SEASONS:
            raise WorkbenchError(f"season={self.season!r} is none that is known; {nearest(self.season, SEASONS)}")
        if self.tz:
            from workbench.cubes import Period

            Period(WINDOW, "h", self.tz)  # raises where there is no such zone
        for name, value in (("last", self.last), ("cycles", self.cycles)):
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise WorkbenchError(f"{name}={value!r} is not a number of windows; a whole number from 1 is wanted")


def calendar(name: str, years: Iterable[int]) -> frozenset[date]:
    """The public holidays of a country ("US"), or of a part of it ("DE-BY"), in some years; "" gives none.

    From the package `holidays` (extra `drift`). Raises WorkbenchError where it is missing or knows no such country.

    >>> date(2013, 7, 4) in calendar("US", [2013])
    True
    """
    if not name:
        return frozenset()
    try:
        import holidays
    except ImportError:
        raise WorkbenchError(
            f"calendar={name!r} wants the package holidays: pip install 'workbench[drift]', or calendar=''"
        ) from None
    country, _, part = name.partition("-")
    try:
        found = holidays.country_holidays(country, subdiv=part or None, years=list(years))
    except NotImplementedError:
        known = sorted(holidays.list_supported_countries())
        parts = holidays.list_supported_countries().get(country, [])
        among = [f"{country}-{one}" for one in parts] if parts else known
        raise WorkbenchError(f"calendar={name!r} is no country that is known; {nearest(name, among)}") from None
    return frozenset(found)


def asked(cube: xr.Dataset, season: str = "hour of week", holidays: str = "", **more: Any) -> Asked:
    """`Asked` with the holidays of a country ("US", "DE-BY"; "" for none) in the years that a cube's windows cover.

    Raises WorkbenchError as `Asked` and `calendar`.
    """
    starts = np.asarray(cube[WINDOW].values, "datetime64[us]") if WINDOW in cube.dims else np.array([], "M8[us]")
    known = starts[~np.isnat(starts)].astype("datetime64[Y]").astype(int) + 1970
    years = range(int(known.min()) - 1, int(known.max()) + 2) if len(known) else range(0)
    return Asked(season=season, holidays=calendar(holidays, years), **more)


def places(starts: Any, season: str, tz: str = "UTC", holidays: frozenset[date] = frozenset()) -> Any:
    """Each window's place in the season, as text: "Mon 07", "Mon", "Jan", and "holiday 07", "holiday" on a calendar's days.

    starts: datetime64, UTC. The clock is local: the hour that a spring day lacks is no place, the hour that an autumn day
    has twice is one place. Windows of a day or longer have no hour: "hour of week" is their weekday, and longer than a
    day they are all "any" ("month of year" takes the month of their middle).

    >>> places(np.array(["2026-03-29T00:30", "2026-03-29T01:30"], "M8[us]"), "hour of week", "Europe/Berlin").tolist()
    ['Sun 01', 'Sun 03']
    """
    at = np.asarray(starts, "datetime64[us]")
    width = pd.Timedelta(np.median(np.diff(np.sort(at[~np.isnat(at)])))) if len(at) > 1 else pd.Timedelta(0)
    daily, longer = width >= pd.Timedelta("20h"), width > pd.Timedelta("26h")
    clock = pd.DatetimeIndex(at).tz_localize("UTC").tz_convert(tz)
    clock = clock + width / 2 if daily else clock
    if season == "month of year":
        return np.array(clock.strftime("%b"), dtype=object)
    if longer:
        return np.full(len(at), "any", dtype=object)
    day = np.array([WEEKDAYS[d] for d in clock.dayofweek], dtype=object)
    if holidays:
        day[[one in holidays for one in clock.date]] = "holiday"
    if daily or season == "day of week":
        return day
    return day + np.array([f" {hour:02d}" for hour in clock.hour], dtype=object)


def finer(every: str, season: str, kinds: Sequence[str]) -> str:
    """The length of the windows that a season's places want, where those of `every` are longer; "" where they will do.

    >>> finer("W", "hour of week", ["previous", "season"]), finer("h", "hour of week", ["season"]), finer("W", "day of week", [])
    ('h', '', '')
    """
    want = {"hour of week": "h", "day of week": "D", "month of year": "MS"}.get(season, "")
    if "season" not in kinds or not want:
        return ""
    lengths = [pd.Timestamp("2026-01-05") + pd.tseries.frequencies.to_offset(one) for one in (every, want)]
    return want if lengths[0] > lengths[1] else ""


@dataclass(frozen=True)
class Plan:
    """The windows that are judged, and for each kind of reference what they are compared with.

    starts: of the judged windows (datetime64[us], UTC). member: the judged window of each window of the cube, -1 for
    rows without a time. place: each cube window's place in the season, as a number. use[kind]: a sparse table (judged,
    cube windows) with a one for each window of a reference. why[kind]: why a judged window has none, "" where it has.
    spans[kind]: "START/END" from the first to the last window of each reference, "" where there is none.
    """

    starts: Any
    member: Any
    place: Any
    use: dict[str, Any]
    why: dict[str, list[str]]

    spans: dict[str, list[str]]

    @property
    def labels(self) -> list[str]:
        return [f"{one.astype('datetime64[s]')}Z" for one in self.starts]


def plan(cube: xr.Dataset, kinds: Sequence[str] = KINDS, asked: Asked | None = None, every: str = "") -> Plan:
    """Which windows of a cube make the reference of which.

    cube: with windows, as fine as the season wants them (hours for "hour of week"). every: the length of what is
    judged, a pandas offset as long as the cube's windows or longer ("D", "W"); "" for the cube's own windows.
    A window's references lie before it, but for "baseline". Raises WorkbenchError where there is nothing to compare.
    """
    asked = asked or Asked()
    for kind in kinds:
        if kind not in KINDS:
            raise WorkbenchError(f"{kind!r} is no kind of reference; {nearest(str(kind), KINDS)}")
    if not kinds:
        raise WorkbenchError(f"no kind of reference was asked for; choose of {', '.join(KINDS)}")
    if WINDOW not in cube.dims:
        raise WorkbenchError(
            "references are windows of time, and this cube has none; count it by Period(..., name='window')"
        )
    fine = np.asarray(cube[WINDOW].values, "datetime64[us]")
    zone, timed = str(cube[WINDOW].attrs.get("tz", "UTC")), ~np.isnat(fine)
    if timed.sum() < 2:
        raise WorkbenchError(f"references need two windows or more, this cube has {timed.sum()}; count shorter windows")
    starts, member = _judged(fine, timed, every, zone)
    named = places(fine[timed], asked.season, asked.tz or zone, asked.holidays)
    place = np.full(len(fine), -1)
    place[timed] = np.unique(named.astype(str), return_inverse=True)[1]
    use, why = {}, {}
    for kind in kinds:
        use[kind], why[kind] = _chosen(kind, asked, fine, starts, member, place)
    spans = {kind: _spans(use[kind], fine) for kind in kinds}
    return Plan(starts, member, place, use, why, spans)


def _spans(use: Any, fine: Any) -> list[str]:
    known = np.sort(fine[~np.isnat(fine)])
    width = np.median(np.diff(known).astype("int64")).astype("int64").astype("timedelta64[us]")
    after = dict(zip(known[:-1].tolist(), known[1:].tolist(), strict=True))
    out = []
    for at in range(use.shape[0]):
        mine = fine[use.indices[use.indptr[at] : use.indptr[at + 1]]]
        if not len(mine):
            out.append("")
            continue
        first, last = mine.min(), mine.max()
        follows = np.datetime64(after.get(last.tolist(), last + 2 * width), "us")
        end = min(follows, last + width) if follows - last > 1.5 * width else follows  # a month's length is its own
        out.append("/".join(f"{one.astype('datetime64[s]')}Z" for one in (first, end)))
    return out


def _judged(fine: Any, timed: Any, every: str, zone: str) -> tuple[Any, Any]:
    from workbench.cubes import Period

    member = np.full(len(fine), -1)
    if not every:
        starts, member[timed] = np.unique(fine[timed], return_inverse=True)
        return starts, member
    longer = Period(WINDOW, every, zone).starts(fine[timed].view("int64"))
    starts, member[timed] = np.unique(longer, return_inverse=True)
    if len(starts) < 2:
        raise WorkbenchError(f"every={every!r} makes one window of all of this cube's; judge shorter ones")
    return starts.view("datetime64[us]"), member


def _chosen(kind: str, asked: Asked, fine: Any, starts: Any, member: Any, place: Any) -> tuple[Any, list[str]]:
    """The cube windows that make each judged window's reference, and why there are none."""
    from scipy import sparse

    size = len(starts)
    if kind == "baseline":
        inside = _baseline(asked.baseline, fine, starts, member)
        own = np.isin(np.arange(size), member[inside])
        at = np.flatnonzero(inside)
        out = np.flatnonzero(~own)
        where = (np.repeat(out, len(at)), np.tile(at, len(out)))
        use = sparse.csr_array((np.ones(len(where[0])), where), shape=(size, len(fine)))
        return use, ["it is part of the baseline" if one else "" for one in own]
    reach = np.timedelta64(asked.cycles * (366 if asked.season == "month of year" else 7), "D")
    held = np.zeros((size, int(place.max()) + 1), dtype=bool)
    held[member[member >= 0], place[member >= 0]] = True
    blocks = []
    for judged in np.array_split(np.arange(size), max(1, size * len(fine) // BLOCK)):
        back = judged[:, None] - member[None]
        found = (member >= 0)[None] & (back >= 1)
        if kind == "season":
            found &= (fine[None] >= (starts[judged] - reach)[:, None]) & held[judged][:, place]
        else:
            found &= back <= (1 if kind == "previous" else asked.last)
        blocks.append(sparse.csr_array(found.astype(float)))
    use = sparse.csr_array(sparse.vstack(blocks))
    least = 1 if kind == "previous" or (kind == "rolling" and asked.last == 1) else 2
    few = _sources(use, member, size) < least
    none = "fewer than two windows of its season before it" if kind == "season" else "too few windows before it"
    return use, [none if one else "" for one in few]


def _sources(use: Any, member: Any, size: int) -> Any:
    """From how many judged windows each reference is drawn."""
    from scipy import sparse

    known = np.flatnonzero(member >= 0)
    onto = sparse.csr_array((np.ones(len(known)), (known, member[known])), shape=(len(member), size))
    return np.asarray(((use @ onto) > 0).sum(1)).ravel()


def _baseline(text: str, fine: Any, starts: Any, member: Any) -> Any:
    if not text:
        return (member >= 0) & (member < max(1, len(starts) // 3))
    from workbench.analyses.sides import side

    asked = side("", text)
    if asked.start is None or asked.end is None:
        raise WorkbenchError(f"baseline={text!r} is not START/END in ISO times, as in 2026-03-01/2026-03-08")
    low, high = (np.datetime64(one.tz_convert("UTC").tz_localize(None), "us") for one in (asked.start, asked.end))
    inside = (fine >= low) & (fine < high)
    if not inside.any():
        raise WorkbenchError(
            f"no window starts in baseline={text!r}; the windows start from {starts[0].astype('datetime64[s]')} to "
            f"{starts[-1].astype('datetime64[s]')} UTC"
        )
    return inside
