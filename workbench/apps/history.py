"""The runs of every notebook, newest first, read when they are asked for: ten thousand of them cost a look at one folder.

Names of runs come from a listing that is made again when the folder has changed; a run's record is read once and kept while
its `run.json` stays the same. A name from an address is only ever compared with what is in the listing.
"""

from __future__ import annotations

import os
import time
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from markupsafe import Markup

from workbench.apps import shell
from workbench.apps.shell import Json
from workbench.errors import WorkbenchError
from workbench.runs.records import NAME, Record, partial, plain_name, read_record

KEPT = 600  # records in memory
SETTLED_NS = 2_000_000_000  # a folder changed within this time may change again under the same time stamp
SHOWN = 60  # runs on a page of the history
OVER = 30  # runs in a sparkline
FIGURES = 4  # of a run in the history


@dataclass
class Listing:
    """What lies under a folder of runs."""

    runs: Path
    _folders: dict[Path, tuple[int, tuple[str, ...]]] = field(default_factory=dict)
    _records: dict[Path, tuple[tuple[int, int], Record]] = field(default_factory=dict)

    def notebooks(self) -> tuple[str, ...]:
        """The names under which there are runs, in alphabetical order."""
        return tuple(sorted(name for name in self._inside(self.runs) if self._runs(name)))

    def names(self, notebook: str) -> tuple[str, ...]:
        """The folder names of a notebook's runs, newest first, with those at work; empty for a name that has none."""
        return self._runs(notebook) if notebook in self._inside(self.runs) else ()

    def walk(self, notebook: str, start: int = 0) -> Iterator[Record]:
        """The records of a notebook from the newest (or from a place in `names`) on, read one by one."""
        for name in self.names(notebook)[start:]:
            record = self._read(notebook, name)
            if record is not None:
                yield record

    def record(self, notebook: str, name: str) -> Record | None:
        """The record of a run in the listing, None when it is not there or went away meanwhile."""
        return self._read(notebook, name) if name in self.names(notebook) else None

    def _read(self, notebook: str, name: str) -> Record | None:
        folder = self.runs / notebook / name
        try:
            stat = (folder / "run.json").stat()
            key = (stat.st_mtime_ns, stat.st_size)
            kept = self._records.get(folder)
            if kept is not None and kept[0] == key:
                return kept[1]
            record = read_record(folder)
        except (OSError, WorkbenchError):
            return None
        if len(self._records) >= KEPT:
            self._records = dict(list(self._records.items())[KEPT // 2 :])
        self._records[folder] = (key, record)
        return record

    def _runs(self, notebook: str) -> tuple[str, ...]:
        return self._inside(self.runs / notebook, runs=True)

    def _inside(self, folder: Path, runs: bool = False) -> tuple[str, ...]:
        try:
            changed = folder.stat().st_mtime_ns
            kept = self._folders.get(folder)
            if kept is not None and kept[0] == changed:
                return kept[1]
            found = [entry.name for entry in os.scandir(folder) if entry.is_dir()]
        except OSError:
            return ()
        if runs:
            found = sorted((name for name in found if _order(name)[0]), key=_order, reverse=True)
        names = tuple(found)
        if time.time_ns() - changed > SETTLED_NS:
            self._folders[folder] = (changed, names)
        return names


# --- a figure over runs ------------------------------------------------------------------------------------------------


def series(record: Record, earlier: Iterator[Record], over: int = OVER) -> dict[str, list[float]]:
    """Each number among a run's headline figures over the good runs of the same table up to it, oldest first.

    `earlier` gives runs newest first, the run itself among them or not; at most four times `over` of them are read.
    """
    same: list[Record] = [record]
    for place, one in enumerate(earlier):
        if len(same) >= over or place >= 4 * over:
            break
        if one.folder != record.folder and one.status == "good" and one.source == record.source:
            same.append(one)
    found: dict[str, list[float]] = {}
    for told in record.headline:
        values = [_value(one, told) for one in reversed(same)]
        numbers = [value for value in values if value is not None]
        if len(numbers) > 1:
            found[str(told.get("name"))] = numbers
    return found


def _value(record: Record, told: Json) -> float | None:
    for one in record.headline:
        if one.get("name") == told.get("name") and one.get("unit") == told.get("unit"):
            value = one.get("value")
            return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None
    return None


def spark(values: Sequence[float], unit: str = "") -> Markup:
    """A line of a figure over runs as a small picture that says in words from where to where; "" for fewer than two values.

    >>> 'aria-label="over 3 runs: from 1 to 2 s, between 1 and 4"' in spark([1, 4, 2], "s")
    True
    """
    if len(values) < 2:
        return Markup("")
    low, high = min(values), max(values)
    wide, tall, edge = 72.0, 20.0, 2.5
    step = (wide - 2 * edge) / (len(values) - 1)
    places = [
        (edge + n * step, tall / 2 if high == low else tall - edge - (v - low) / (high - low) * (tall - 2 * edge))
        for n, v in enumerate(values)
    ]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    first, last = shell.number(values[0]), shell.number(values[-1])
    words = f"over {len(values)} runs: from {first} to {last}{' ' + unit if unit else ''}"
    words += ", always the same" if high == low else f", between {shell.number(low)} and {shell.number(high)}"
    return Markup(
        '<svg class="spark" role="img" aria-label="{}" viewBox="0 0 72 20" width="72" height="20">'
        '<polyline points="{}"/><circle cx="{:.1f}" cy="{:.1f}" r="2.2"/></svg>'
    ).format(words, line, *places[-1])


def sparks(record: Record, earlier: Iterator[Record]) -> dict[str, Markup]:
    """The sparkline of each figure of a run that other runs have too."""
    units = {str(one.get("name")): str(one.get("unit") or "") for one in record.headline}
    return {name: spark(values, units.get(name, "")) for name, values in series(record, earlier).items()}


# --- the list of runs --------------------------------------------------------------------------------------------------


def line(record: Record) -> Json:
    """A run as a row of the history: when, state, figures, how long; no `link` while it is at work."""
    ended = not partial(record.folder)
    told = {**record.told, "status": record.status, "error": record.error}
    return {
        "run": plain_name(record.folder),
        "over": ended,
        "when": record.ended or record.started or plain_name(record.folder),
        "state": shell.state_of(told),
        "seconds": record.told.get("duration_s"),
        "source": record.source or "",
        "figures": {str(one.get("name")): shell.figure(one) for one in record.headline},
    }


def until(names: Sequence[str], asked: str) -> int:
    """The place of the newest run at or before a day (`2026-03-09`) or a run's name in a list of names, newest first.

    Raises WorkbenchError for another text.
    """
    day = shell.parse_time(asked) if len(asked) == 10 else None
    if not day and not NAME.fullmatch(asked):
        raise WorkbenchError(f"{asked[:40]!r} is no day; wanted one as 2026-03-09.")
    wanted = (f"{day:%Y%m%d}T999999Z", 0) if day else _order(asked)
    return len(names) - bisect_right([_order(name) for name in reversed(names)], wanted)


@lru_cache(50_000)
def _order(name: str) -> tuple[str, int]:
    match = NAME.fullmatch(name[1:].removesuffix(".partial") if name.startswith(".") else name)
    return (match[1], int(match[2] or 0)) if match else ("", 0)


def rows(listing: Listing, notebook: str, asked: str = "") -> Json:
    """A page of a notebook's history as the template shows it. Raises WorkbenchError for an `asked` that is no day."""
    names = listing.names(notebook)
    start = until(names, asked) if asked else 0
    found = [line(record) for name in names[start : start + SHOWN] if (record := listing.record(notebook, name))]
    columns: dict[str, str] = {}
    for one in found:
        for name, figure in one["figures"].items():
            if not figure["words"] and len(columns) < FIGURES:
                columns.setdefault(name, figure["unit"])
    days: list[Json] = []
    for one in found:
        day = shell.day(one["when"])
        if not days or days[-1]["day"] != day:
            days.append({"day": day, "runs": []})
        days[-1]["runs"].append(one)
    newer, older = max(0, start - SHOWN), start + SHOWN
    return {
        "days": days,
        "columns": columns,
        "count": len(names),
        "first": start + 1 if found else 0,
        "last": start + len(found),
        "newer": plain_name(Path(names[newer])) if start > 0 else "",
        "older": plain_name(Path(names[older])) if older < len(names) else "",
        "asked": asked if len(asked) == 10 else "",
        "comparable": sum(one["over"] for one in found) > 1,
    }
