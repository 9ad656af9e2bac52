"""Which runs stay and which may go: what a promise needs is kept, the rest is named before it is deleted.

Kept are, for each entry of a schedule, or notebook with its parameters (dates apart): every run of the last days, the last
good run, the last good run of each day and of each month as far back as the schedule says, every run that is not over, and
every run that an alert or a stored cube refers to.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from workbench.errors import WorkbenchError
from workbench.runs.records import NAME, Record, list_runs, plain_name
from workbench.runs.schedule import Keep, Schedule

EVER = 365_000  # days; the calendar has no more behind us
TRASH = ".deleting"
NAMED = re.compile(r"([\w .-]+)/(\d{8}T\d{6}Z(?:-\d+)?)(?=[/\"\\])")  # a run in a text: notebook/time


@dataclass(frozen=True)
class Verdict:
    """What becomes of a run: whether it stays, and why; ``bytes`` is what its folder takes."""

    record: Record
    stays: bool
    why: str
    bytes: int = 0


def verdicts(
    records: Iterable[Record], keep: Mapping[str, Keep], now: datetime, referred: Collection[str] = ()
) -> list[Verdict]:
    """What becomes of each run, newest first; ``keep`` by the name of the entry or the notebook, "" for all others.

    ``referred`` are run folders, absolute or as `notebook/time`, that something else refers to.
    """
    found: list[Verdict] = []
    seen: dict[tuple[str, str], set[str]] = {}
    for record in sorted(records, key=_time, reverse=True):
        rules = keep.get(_entry(record)) or keep.get(record.notebook) or keep.get("") or Keep()
        group = seen.setdefault((record.notebook, _entry(record) or _same(record)), set())
        found.append(Verdict(record, *_verdict(record, rules, now, group, referred), _bytes(record.folder)))
    return found


def _verdict(record: Record, rules: Keep, now: datetime, seen: set[str], referred: Collection[str]) -> tuple[bool, str]:
    when = _time(record)
    if record.status == "running":
        return True, "it is not over"
    good = record.status == "good"
    firsts = [("last good", "the last good run")] if good else []
    if good and when > now - timedelta(days=min(rules.days, EVER)):
        firsts.append((f"{when:%Y-%m-%d}", f"the last good run of {when:%Y-%m-%d}"))
    if good and when > now - timedelta(days=min(31 * rules.months, EVER)):
        firsts.append((f"{when:%Y-%m}", f"the last good run of {when:%B %Y}"))
    first = next((why for name, why in firsts if name not in seen), "")
    seen.update(name for name, _ in firsts)
    if str(record.folder.absolute()) in referred or f"{record.notebook}/{plain_name(record.folder)}" in referred:
        return True, "an alert, a stored cube or another run refers to it"
    if first:
        return True, first
    if when > now - timedelta(days=min(rules.all_days, EVER)):
        return True, f"younger than {rules.all_days:g} days"
    return (
        False,
        f"older than {rules.all_days:g} days, {'another good run stands for its day and month' if good else 'failed'}",
    )


def _entry(record: Record) -> str:
    return str((record.told.get("scheduled") or {}).get("entry", ""))


def _same(record: Record) -> str:
    """The parameters of a run without what changes with its date."""
    return re.sub(
        r"\d{4}-\d{2}(-\d{2})?([T ][\d:.]+Z?)?", "", json.dumps(record.parameters, sort_keys=True, default=str)
    )


def _time(record: Record) -> datetime:
    match = NAME.fullmatch(plain_name(record.folder))
    stamp = match[1] if match else "19700101T000000Z"
    return datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)


def _bytes(folder: Path) -> int:
    total = 0
    with suppress(OSError):
        for one in folder.rglob("*"):
            with suppress(OSError):
                total += one.lstat().st_size
    return total


def keeps(schedule: Schedule | None) -> dict[str, Keep]:
    """What a schedule says of keeping, by entry, and by notebook where it runs in one entry only."""
    if schedule is None:
        return {}
    found = {entry.name: entry.keep for entry in schedule.entries}
    stems = [entry.notebook.stem for entry in schedule.entries]
    return {e.notebook.stem: e.keep for e in schedule.entries if stems.count(e.notebook.stem) == 1} | found


def referred_by_stores(folders: Iterable[Path], runs: Path) -> set[str]:
    """The runs, as `notebook/time`, whose folder is named in the text of a store of cubes (its JSON files)."""
    found: set[str] = set()
    for folder in folders:
        if not folder.is_dir():
            raise WorkbenchError(f"There is no store of cubes {str(folder)!r}; give the folder that `store` names.")
        for path in folder.rglob("*.json"):
            with suppress(OSError):
                found |= {
                    f"{one}/{time}" for one, time in NAMED.findall(path.read_text(encoding="utf-8", errors="replace"))
                }
    return {one for one in found if (runs / one).is_dir()}


def referred_by_runs(records: Iterable[Record]) -> set[str]:
    """The runs, as `notebook/time`, that the parameters of other runs name, such as a drift's reference."""
    found: set[str] = set()
    for record in records:
        told = f"{json.dumps(record.parameters, default=str)}"
        own = f"{record.notebook}/{plain_name(record.folder)}"
        found |= {f"{one}/{time}" for one, time in NAMED.findall(told)} - {own}
    return found


def stores_of(records: Iterable[Record]) -> list[Path]:
    """The stores of cubes that the parameters of runs name and that are there."""
    named = {str(record.parameters.get("store") or "") for record in records} - {""}
    return [path for path in (Path(one).expanduser() for one in sorted(named)) if path.is_dir()]


def prune(
    runs: Path, keep: Mapping[str, Keep], now: datetime, referred: Collection[str] = (), stores: Iterable[Path] = ()
) -> list[Verdict]:
    """What would become of every run under a folder of runs; nothing is deleted."""
    records = list_runs(runs, running=True)
    told = referred_by_stores({*stores, *stores_of(records)}, runs) | referred_by_runs(records) | set(referred)
    return verdicts(records, keep, now, told)


def delete(found: Iterable[Verdict]) -> int:
    """Deletes the runs that do not stay; gives how many. A run goes out of sight first, so that none is seen in part."""
    count = 0
    for one in found:
        if not one.stays:
            aside = one.record.folder.with_name(f"{TRASH}.{one.record.folder.name}")
            with suppress(FileNotFoundError):
                one.record.folder.rename(aside)
                shutil.rmtree(aside, ignore_errors=True)
                count += 1
    return count


def sweep_trash(runs: Path) -> None:
    """Removes what a deletion that was killed has left."""
    for folder in runs.glob(f"*/{TRASH}.*"):
        shutil.rmtree(folder, ignore_errors=True)


def summary(found: Iterable[Verdict]) -> dict[str, Any]:
    """How many runs and bytes stay and go."""
    rows = list(found)
    gone = [one for one in rows if not one.stays]
    return {"stay": len(rows) - len(gone), "go": len(gone), "bytes": sum(one.bytes for one in gone)}
