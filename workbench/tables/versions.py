"""Versions of a table: what each brought, what differs between two, back to an earlier one, and which files may go."""

from __future__ import annotations

import glob
import json
import os
import random
import time as clock
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from workbench.errors import WorkbenchError
from workbench.tables import delta, delta_record, versions_labels
from workbench.tables.delta import Home, Source
from workbench.tables.delta_log import library
from workbench.tables.delta_record import Entry, Record
from workbench.tables.source import brief
from workbench.tables.versions_diff import Difference, difference

if TYPE_CHECKING:
    import pandas as pd

    from workbench.tables.table import Table

__all__ = ["Difference", "added_files", "compact", "difference", "history", "label", "labels", "rollback", "vacuum"]
TARGET = 128 << 20  # bytes of a file that compaction aims at
COLUMNS = (
    "version",
    "time",
    "operation",
    "rows",
    "files",
    "nbytes",
    "added_rows",
    "removed_rows",
    "aside",
    "labels",
    "told",
)


def history(table: Source, limit: int = 100, storage_options: Mapping[str, Any] | None = None) -> pd.DataFrame:
    """The newest versions of a table, newest first, one a row.

    Columns: version, time (UTC), operation, rows, files and nbytes of the version, added_rows and removed_rows against the
    version before (a compaction adds and removes the same number), aside (what was set aside with it), labels, and told
    (what was kept with the commit). A figure is missing where a version's files are not in the log any more.
    """
    import pandas as pd

    at = delta.home(table, storage_options)
    log = delta.load(at)
    named: dict[int, list[str]] = {}
    for name, versions in labels(table, storage_options).items():
        named.setdefault(versions[-1]["version"], []).append(name)
    found, counts = [], _counts(at, [int(one["version"]) for one in log.history(limit)])
    for one in log.history(limit):
        number = int(one["version"])
        told = dict(one.get("workbench") or {})
        told.pop("mark", None)
        now, before = counts.get(number), counts.get(number - 1, {} if number == 0 else None)
        moved = _moved(now, before)
        found.append({
            "version": number,
            "time": pd.Timestamp(one["timestamp"], unit="ms", tz="UTC"),
            "operation": told.get("operation", str(one.get("operation", "")).lower()),
            "rows": None if now is None else sum(rows for rows, _ in now.values()),
            "files": None if now is None else len(now),
            "nbytes": None if now is None else sum(size for _, size in now.values()),
            "added_rows": moved[0], "removed_rows": moved[1], "aside": int(told.get("aside", 0)),
            "labels": ", ".join(named.get(number, [])), "told": told,
        })  # fmt: skip
    return pd.DataFrame(found, columns=list(COLUMNS))


Counts = dict[str, tuple[int, int]]  # rows and bytes of each file


def _counts(at: Home, numbers: Iterable[int]) -> dict[int, Counts]:
    found = {}
    for number in sorted({each for one in numbers for each in (one, one - 1) if each >= 0}):
        try:
            files = delta.snapshot(at.name, number, options=at.asked).files
        except WorkbenchError:
            continue
        found[number] = {one.path: (one.rows or 0, one.size) for one in files}
    return found


def _moved(now: Counts | None, before: Counts | None) -> tuple[int | None, int | None]:
    if now is None or before is None:
        return None, None
    added = sum(rows for path, (rows, _) in now.items() if path not in before)
    return added, sum(rows for path, (rows, _) in before.items() if path not in now)


def added_files(
    table: Source, since: int, until: int | None = None, storage_options: Mapping[str, Any] | None = None
) -> Table:
    """The rows that versions after `since` brought, as a table; raises where one of them removed rows."""
    from workbench.tables.opening import open_table

    return open_table(table, version=until, since=since, storage_options=storage_options)


def label(
    table: Source,
    version: int,
    name: str,
    by: str = "",
    note: str = "",
    storage_options: Mapping[str, Any] | None = None,
) -> None:
    """Names a version, as in "approved": `open_table(table, version="approved")` reads it, and no vacuum breaks it.

    The same name given again moves to the new version; what it named before stays on record.
    """
    at = delta.home(table, storage_options)
    delta.load(at, int(version))
    versions_labels.add(at, int(version), name, by, note)


def labels(table: Source, storage_options: Mapping[str, Any] | None = None) -> dict[str, list[dict[str, Any]]]:
    """Each label with the versions that it named, the present one last: version, label, by, note, time."""
    found: dict[str, list[dict[str, Any]]] = {}
    for one in versions_labels.listed(delta.home(table, storage_options)):
        found.setdefault(one["label"], []).append(one)
    return found


def rollback(
    table: Source, version: int | str, again: bool = False, storage_options: Mapping[str, Any] | None = None
) -> int:
    """Makes the rows and the schema of an earlier version the newest one; gives its number. No version is lost by it.

    What was collected since is in the quarantine afterwards, and is taken again by a replay; with `again` it is forgotten
    instead, and the next collection takes it again.

    Raises WorkbenchError where there is no such version, or its files are gone.
    """
    at = delta.home(table, storage_options)
    deltalake = library()
    goal = delta.snapshot(table, version, options=storage_options)
    then = delta_record.read(at.place, at.folder, goal.record)
    for _ in range(delta.TRIES):
        log = delta.load(at)
        start = log.version()
        if goal.version >= start:
            raise WorkbenchError(f"{at.name!r} is at version {start}: there is nothing to roll back to {goal.version}")
        now = delta_record.read(at.place, at.folder, log.transaction_version(delta_record.APP))
        number = then.number
        undone = [] if again else _undone(at, now, then, start, goal.version)
        if not again:
            number = delta_record.write(at.place, at.folder, now, undone).number if undone else now.number
        told = {"operation": "rollback", "from": start, "to": goal.version, "aside": sum(one.rows for one in undone
                                                                                         if one.state == "open")}  # fmt: skip
        try:
            log.restore(
                goal.version,
                commit_properties=deltalake.CommitProperties(
                    custom_metadata={"workbench": told},
                    app_transactions=[deltalake.Transaction(delta_record.APP, number)],
                ),
            )
            return int(delta.load(at).version())
        except deltalake.exceptions.CommitFailedError:
            clock.sleep(random.uniform(0.01, 0.1))
        except (deltalake.exceptions.DeltaError, OSError) as error:
            raise WorkbenchError(f"{at.name!r} cannot go back to version {goal.version}: {brief(error)}") from error
    raise WorkbenchError(f"{at.name!r} could not be rolled back: others commit all the time; try again")


def _undone(at: Home, now: Record, then: Record, start: int, goal: int) -> list[Entry]:
    """What the record says after a rollback: what was taken since is set aside, what was replayed since is open again."""
    found: list[Entry] = []
    reason = f"rolled back from version {start} to {goal}"
    sources = set()
    for one in [*now.of("file"), *now.of("sql")]:
        old = then.entries.get((one.kind, one.key))
        rows = one.rows - (old.rows if old else 0)
        if rows <= 0 or (old is not None and old.content == one.content):
            continue
        sources.add(one.key)
        before = asdict(old or Entry(one.kind, one.key)) | {"time": None}
        told = {"reason": reason, "where": {"file": one.key}, "source": one.key, "before": before}
        found.append(Entry("aside", os.urandom(6).hex(), rows=rows, detail=json.dumps(told, ensure_ascii=False)))
    for one in now.of("aside"):
        old = then.entries.get(("aside", one.key))
        if old is not None and old.state != one.state:
            found.append(old)
        elif old is None and one.state == "open" and one.told.get("source") in sources:
            found.append(delta.settled(one, "dropped"))
    return found


def compact(table: Source, target: int = TARGET, storage_options: Mapping[str, Any] | None = None) -> dict[str, int]:
    """Joins small files into files of about `target` bytes, as one new version of the same rows; files added and removed.

    Earlier versions keep their files until they are vacuumed.
    """
    at = delta.home(table, storage_options)
    deltalake = library()
    from workbench.tables.delta_files import GROUP_ROWS, LEVEL
    from workbench.tables.kinds import kind_of

    schema = delta.snapshot(table, options=storage_options).schema
    columns = {one.name: deltalake.ColumnProperties(dictionary_enabled=kind_of(one.type) == "text") for one in schema}
    properties = deltalake.WriterProperties(
        compression="ZSTD", compression_level=LEVEL, max_row_group_size=GROUP_ROWS, column_properties=columns
    )
    for _ in range(delta.TRIES):
        try:
            told = delta.load(at).optimize.compact(
                target_size=target, writer_properties=properties,
                commit_properties=deltalake.CommitProperties(custom_metadata={"workbench": {"operation": "compact"}}),
            )  # fmt: skip
            return {"added": int(told["numFilesAdded"]), "removed": int(told["numFilesRemoved"])}
        except deltalake.exceptions.CommitFailedError:
            clock.sleep(random.uniform(0.01, 0.2))
    raise WorkbenchError(f"{at.name!r} could not be compacted: others commit all the time; try again")


def vacuum(
    table: Source,
    hours: float = 168.0,
    runs: str | os.PathLike[str] | Iterable[str | os.PathLike[str]] = "runs",
    keep: Iterable[int] = (),
    dry: bool = False,
    storage_options: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Deletes files that no version needs: {"files": [...], "kept": [versions]}; with `dry`, says which it would.

    The newest version is kept, and so is every version younger than `hours`, with a label, in `keep`, or that a run under
    `runs` or a cube there has read. Others can no longer be read afterwards.

    Raises WorkbenchError where `runs` does not exist, so that no run is overlooked by a wrong folder; "" for none.
    """
    at = delta.home(table, storage_options)
    log = delta.load(at)
    wanted = {int(one) for one in keep} | {each["version"] for each in versions_labels.listed(at)}
    for folder in [runs] if isinstance(runs, str | os.PathLike) else runs:
        wanted |= read_by(at, os.fspath(folder)) if os.fspath(folder) else set()
    since = clock.time() * 1000 - hours * 3_600_000
    wanted |= {int(one["version"]) for one in log.history() if one.get("timestamp", 0) >= since}
    kept = sorted(one for one in wanted | {log.version()} if one <= log.version())
    gone = log.vacuum(
        retention_hours=max(int(hours), 0),
        dry_run=dry,
        enforce_retention_duration=False,
        full=hours >= 1,
        keep_versions=kept,
    )
    if not dry:
        _vacuum_records(at, since)
    return {"files": [str(one) for one in gone], "kept": kept}


def read_by(at: Home, runs: str) -> set[int]:
    """The versions of a table that the runs and cubes under a folder have read."""
    if not os.path.isdir(runs):
        raise WorkbenchError(f"runs={runs!r} is no folder: name the folder of runs, or '' where there is none")
    found: set[int] = set()
    digests: dict[str, int] = {}
    for path in glob.glob(os.path.join(runs, "*", "*", "run.json")) + glob.glob(os.path.join(runs, "*", ".*", "*.json")) + \
            glob.glob(os.path.join(runs, "*", ".*", ".kernel.json")):  # fmt: skip
        try:
            with open(path, encoding="utf-8") as file:
                told = json.load(file)
        except (OSError, ValueError):
            continue
        for one in (told.get("sources") if isinstance(told, dict) else None) or []:
            if same_place(at, str(one.get("source", ""))):
                if one.get("snapshot") is not None:
                    found.add(int(one["snapshot"]))
                else:
                    found |= _by_digest(at, str(one.get("version")), digests)
    for path in glob.glob(os.path.join(runs, "**", "*.nc"), recursive=True):
        import h5py

        try:
            with h5py.File(path) as file:
                source, version = str(file.attrs.get("source", "")), str(file.attrs.get("source_version", ""))
        except OSError:
            continue
        if same_place(at, source):
            found |= _by_digest(at, version, digests)
    return found


def same_place(at: Home, source: str) -> bool:
    """Whether an address is that of the table."""
    if at.place.address is None:
        return "://" not in source and os.path.realpath(os.path.expanduser(source)) == os.path.realpath(at.folder)
    return source.rstrip("/") == at.name.rstrip("/")


def _by_digest(at: Home, digest: str, known: dict[str, int]) -> set[int]:
    """The version whose files have this digest."""
    from workbench.tables.opening import open_table

    if not known:
        for one in delta.load(at).history():
            try:
                table = open_table(at.name, version=int(one["version"]), storage_options=at.asked)
                known.setdefault(table.version, int(one["version"]))
            except WorkbenchError:
                continue
    return {known[digest]} if digest in known else set()


def _vacuum_records(at: Home, since: float) -> None:
    """Deletes the records of what was taken that no version names, once they are old."""
    needed: set[int] = set()
    for one in delta.load(at).history():
        try:
            number = delta.load(at, int(one["version"])).transaction_version(delta_record.APP)
        except WorkbenchError:
            continue
        if number:
            needed |= delta_record.listed(at.place, at.folder, number)
    for number, path in delta_record.stored(at.place, at.folder).items():
        if number not in needed and (number >> 22) < min(since, clock.time() * 1000 - 3_600_000):
            at.place.fs.rm(path)
