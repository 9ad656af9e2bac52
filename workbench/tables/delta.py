"""Tables with versions: snapshots of a Delta table, and commits that bring rows and the record of what was taken at once."""

from __future__ import annotations

import json
import random
import time as clock
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa

from workbench.errors import WorkbenchError
from workbench.tables import delta_record as records
from workbench.tables.delta_files import Part, check_columns, conform, parts, put, storable
from workbench.tables.delta_log import DataFile, Home, Snapshot, Source, home, library, load, snapshot, writable
from workbench.tables.delta_record import Entry, Record
from workbench.tables.source import brief

CONFIGURATION = {  # versions stay until they are vacuumed: the log is never cut by age
    "delta.checkpointInterval": "20",
    "delta.enableExpiredLogCleanup": "false",
    "delta.logRetentionDuration": "interval 36500 days",
}
TRIES = 60  # of a commit that others were faster than; about half a minute
__all__ = ["Aside", "DataFile", "Home", "Snapshot", "Source", "Written", "commit", "home", "load", "snapshot", "write"]
QUARANTINE = "_workbench/quarantine"


@dataclass(frozen=True)
class Aside:
    """Rows or a file that were not taken: why, how many, where they were, and what they were."""

    reason: str
    count: int
    where: Mapping[str, Any] = field(default_factory=dict)  # as {"rows": [3, 17]}, {"byte": 12345}
    rows: pa.Table | Iterable[pa.Table] | None = None
    data: bytes | None = None  # what was set aside as it was, where it is no table of rows
    source: str = ""
    form: str = ""  # how `data` is read again: "csv", "json"; "" where the source itself is read again


@dataclass(frozen=True)
class Written:
    """What a commit brought."""

    table: str
    version: int
    rows: int
    files: int = 0
    bytes: int = 0
    aside: int = 0
    skipped: bool = False


def create(at: Home, schema: pa.Schema, told: Mapping[str, Any]) -> None:
    """Makes an empty table; that another process makes it at the same moment is no error."""
    deltalake = library()
    try:
        deltalake.DeltaTable.create(
            at.uri, schema, mode="error", storage_options=dict(at.options) or None,
            configuration=CONFIGURATION,
            commit_properties=deltalake.CommitProperties(custom_metadata={"workbench": {**told, "operation": "create"}}),
        )  # fmt: skip
    except Exception as error:
        if not at.exists():
            raise WorkbenchError(f"{at.name!r} cannot be made: {brief(error)}") from error


def grow(at: Home, schema: pa.Schema, new: Sequence[str]) -> None:
    """Adds columns to a table, all of them missing in the rows that there are."""
    deltalake = library()
    for _ in range(TRIES):
        log = load(at)
        have = pa.schema(log.schema().to_arrow()).names
        fields = [pa.field(name, schema.field(name).type) for name in new if name not in have]
        if not fields:
            return
        try:
            log.alter.add_columns(
                deltalake.Schema.from_arrow(pa.schema(fields)).fields,
                commit_properties=deltalake.CommitProperties(
                    custom_metadata={"workbench": {"operation": "evolve", "columns": list(new)}}
                ),
            )
            return
        except deltalake.exceptions.CommitFailedError:
            clock.sleep(random.uniform(0.01, 0.2))
    raise WorkbenchError(f"{at.name!r} could not take the columns {', '.join(new)}: others commit all the time")


def table_schema(at: Home, wanted: pa.Schema, evolve: Iterable[str], source: str, told: Mapping[str, Any]) -> pa.Schema:
    """The schema of the table for rows of the wanted one: the table is made, or grown by declared columns."""
    plain = pa.schema([(one.name, storable(one.type)) for one in wanted])
    if not at.exists():
        empty = [one.name for one in plain if pa.types.is_null(one.type)]
        create(at, pa.schema([(one.name, pa.string() if one.name in empty else one.type) for one in plain]), told)
    known = pa.schema(load(at).schema().to_arrow())
    new = check_columns(plain.names, known, evolve, source)
    if new:
        grow(at, pa.schema([(one, pa.string() if pa.types.is_null(plain.field(one).type) else plain.field(one).type)
                            for one in new]), new)  # fmt: skip
        known = pa.schema(load(at).schema().to_arrow())
    return pa.schema([pa.field(one.name, one.type) for one in known])


def commit(
    at: Home,
    schema: pa.Schema,
    made: Sequence[Part],
    told: Mapping[str, Any],
    *,
    entries: Callable[[Record], Sequence[Entry]] | None = None,
    once: tuple[str, int] | None = None,
    mode: str = "append",
) -> int | None:
    """Commits data files, and what was taken with them, at once; the number of the version, or None where `once` is old.

    Where another process commits first the commit is tried again; `entries` is then asked again, with the newer record,
    and may raise.
    """
    deltalake = library()
    from deltalake.transaction import AddAction

    actions = [AddAction(one.path, one.size, {}, one.made, True, one.stats) for one in made]
    mark = uuid.uuid4().hex
    for attempt in range(TRIES):
        log = load(at)
        writable(at, log)
        before = log.version()
        if once is not None and (log.transaction_version(f"workbench.once.{once[0]}") or -1) >= once[1]:
            return None
        transactions = [deltalake.Transaction(f"workbench.once.{once[0]}", once[1])] if once else []
        if entries is not None:
            record = records.read(at.place, at.folder, log.transaction_version(records.APP))
            fresh = entries(record)
            if fresh:
                after = records.write(at.place, at.folder, record, fresh)
                transactions.append(deltalake.Transaction(records.APP, after.number))
        try:
            log.create_write_transaction(
                actions, mode, schema,
                commit_properties=deltalake.CommitProperties(
                    custom_metadata={"workbench": {**told, "mark": mark}}, app_transactions=transactions or None,
                    max_commit_retries=TRIES,
                ),
            )  # fmt: skip
            return _version(at, before, mark)
        except deltalake.exceptions.CommitFailedError:
            clock.sleep(random.uniform(0.005, 0.05) * min(attempt + 1, 10))
        except (deltalake.exceptions.DeltaError, OSError) as error:
            raise WorkbenchError(f"{at.name!r} could not be written: {brief(error)}") from error
    raise WorkbenchError(f"{at.name!r} could not be committed to {TRIES} times: others commit all the time; try again")


def _version(at: Home, before: int, mark: str) -> int:
    """The number of the commit with this mark."""
    newest = load(at)
    if newest.version() == before + 1:
        return before + 1
    for one in newest.history(newest.version() - before):
        if (one.get("workbench") or {}).get("mark") == mark:
            return int(one["version"])
    return int(newest.version())


def aside_entries(at: Home, found: Sequence[Aside]) -> list[Entry]:
    """The entries of what is set aside, whose content is written beside the table; they count when they are committed."""
    entries = []
    for one in found:
        number = uuid.uuid4().hex[:12]
        told: dict[str, Any] = {"reason": one.reason, "where": dict(one.where), "source": one.source, "form": one.form}
        if one.rows is not None:
            told["payload"] = f"{QUARANTINE}/{number}.parquet"
            _put_rows(at, told["payload"], one.rows)
        elif one.data is not None:
            ending = {"csv": "csv", "json": "jsonl"}.get(one.form, "bin")
            told["payload"] = f"{QUARANTINE}/{number}.{ending}"
            body = one.data
            put(at.place, f"{at.folder}/{told['payload']}", lambda file, body=body: file.write(body))
        entries.append(Entry("aside", number, rows=one.count, detail=json.dumps(told, ensure_ascii=False, default=str)))
    return entries


def _put_rows(at: Home, path: str, rows: pa.Table | Iterable[pa.Table]) -> None:
    import pyarrow.parquet as pq

    parts = iter([rows] if isinstance(rows, pa.Table) else rows)
    first = next(parts)

    def fill(file: Any) -> None:
        with pq.ParquetWriter(file, first.schema, compression="zstd") as writer:
            for part in (one for several in ([first], parts) for one in several):
                writer.write_table(part)

    put(at.place, f"{at.folder}/{path}", fill)


def write(
    table: Source,
    rows: pa.Table | Iterable[pa.Table],
    *,
    mode: str = "append",
    evolve: Iterable[str] = (),
    time: str = "",
    aside: Sequence[Aside] | Callable[[], Sequence[Aside]] = (),
    told: Mapping[str, Any] | Callable[[], Mapping[str, Any]] | None = None,
    once: tuple[str, int] | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> Written:
    """Rows as one new version of a table, which is made where there is none: all of them, or none.

    Parameters
    ----------
    table
        A folder, or an address that both fsspec and Delta know (s3://, gs://, az://).
    rows
        A table, or tables one after the other, of which a few row groups are in memory at a time.
    mode
        "append", or "replace" for a version that holds these rows only (earlier versions stay readable).
    evolve
        Columns that may be new; "*" for any. A column that the rows lack is missing in them.
    time
        The column by which the rows of a row group are ordered.
    aside
        What is set aside with this commit; see `quarantine`. A function is asked when the last row came.
    told
        Kept with the commit and shown by `versions.history`. A function likewise.
    once
        (name, number): does nothing where a commit of this name and this or a higher number is there already.

    Returns
    -------
    Written
        Version, rows, files and bytes; `skipped` where `once` was there.

    Raises
    ------
    WorkbenchError
        Naming a new column that is not declared, a column of another kind, or a table that cannot be written.

    Examples
    --------
    >>> import tempfile, pyarrow as pa
    >>> folder = tempfile.mkdtemp() + "/requests"
    >>> write(folder, pa.table({"model": ["a", "b"], "ms": [12, 15]})).version
    1
    >>> written = write(folder, pa.table({"model": ["a"], "ms": [11]}), once=("day", 1))
    >>> written.version, write(folder, pa.table({"model": ["a"], "ms": [11]}), once=("day", 1)).skipped
    (2, True)
    """
    if mode not in ("append", "replace"):
        raise WorkbenchError(f"mode={mode!r} is unknown: the choices are 'append' and 'replace'")
    at = home(table, storage_options)
    if (
        once is not None
        and at.exists()
        and (load(at).transaction_version(f"workbench.once.{once[0]}") or -1) >= once[1]
    ):
        return Written(at.name, load(at).version(), 0, skipped=True)
    flow = iter([rows] if isinstance(rows, pa.Table) else rows)
    first = next(flow, None)
    if first is None:
        raise WorkbenchError(f"no rows came for {at.name!r}, not even an empty table with their columns")
    schema = table_schema(at, first.schema, evolve, "the rows", {} if callable(told) else dict(told or {}))

    def fitting() -> Iterable[pa.Table]:
        for part in (one for several in ([first], flow) for one in several):
            check_columns(part.schema.names, schema, (), "a part of the rows")
            yield conform(part, schema)

    made = parts(at.place, at.folder, fitting(), time)
    left = aside() if callable(aside) else aside
    count, kept = sum(one.rows for one in made), sum(one.count for one in left)
    entries = aside_entries(at, left)
    notes = {"operation": "write", **((told() if callable(told) else told) or {}), "rows": count, "aside": kept}
    version = commit(
        at, schema, made, notes, entries=(lambda record: entries) if entries else None, once=once,
        mode="overwrite" if mode == "replace" else "append",
    )  # fmt: skip
    if version is None:
        return Written(at.name, load(at).version(), 0, skipped=True)
    return Written(at.name, version, count, len(made), sum(one.size for one in made), kept)


def settled(entry: Entry, state: str) -> Entry:
    """An entry of what was set aside, in a new state."""
    return replace(entry, state=state)
