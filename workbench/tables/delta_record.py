"""What a table has taken, kept beside it and committed with it.

Every commit that takes something names one record by a number in the table's log, as an application transaction, which
checkpoints keep: the newest record is found without reading the log. A record is a small Parquet file with what this
commit took; it also lists the earlier files that still count. Files grow as in a log-structured tree (a new one swallows
the later ones that are at most twice its size), so that there are about log2(n) of them, each written log2(n) times.

A record that was written for a commit that never came is named by nobody and means nothing.
"""

from __future__ import annotations

import datetime
import functools
import json
import random
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from workbench.errors import WorkbenchError
from workbench.tables.delta_files import put
from workbench.tables.source import Place, brief

APP = "workbench.record"
FOLDER = "_workbench/record"
SCHEMA = pa.schema(
    [
        ("kind", pa.string()),  # "file", "sql", "aside"
        ("key", pa.string()),  # address of the file, name of the SQL table, number of what was set aside
        ("content", pa.string()),  # identity of the bytes up to `position`
        ("head", pa.string()),  # identity of the first bytes, to find a file that has moved
        ("chain", pa.string()),  # identity of the whole blocks before `position`
        ("position", pa.int64()),  # bytes of unpacked text, or row groups of Parquet, that were taken
        ("size", pa.int64()),  # of the stored file, when it was last looked at
        ("stamp", pa.string()),  # likewise
        ("rows", pa.int64()),
        ("state", pa.string()),  # file: "open" | "whole"; aside: "open" | "replayed" | "dropped"
        ("detail", pa.string()),  # JSON
        ("time", pa.timestamp("us", "UTC")),
    ]
)
Key = tuple[str, str]


@dataclass(frozen=True)
class Entry:
    """One line of a record; a later one of the same kind and key replaces an earlier one."""

    kind: str
    key: str
    content: str = ""
    head: str = ""
    chain: str = ""
    position: int = 0
    size: int = 0
    stamp: str = ""
    rows: int = 0
    state: str = "open"
    detail: str = "{}"
    time: datetime.datetime | None = None

    @property
    def told(self) -> dict[str, Any]:
        known: dict[str, Any] = json.loads(self.detail)
        return known


@dataclass(frozen=True)
class Record:
    """All that a version of a table has taken: the newest entry of each key, and the files that hold them."""

    number: int = 0
    files: tuple[tuple[int, int], ...] = ()  # number and entries, oldest first
    entries: Mapping[Key, Entry] = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        if self.entries is None:
            object.__setattr__(self, "entries", {})

    def of(self, kind: str) -> list[Entry]:
        return [entry for (one, _), entry in self.entries.items() if one == kind]

    def get(self, kind: str, key: str) -> Entry | None:
        return self.entries.get((kind, key))


def new_number() -> int:
    """A number that no other commit has: milliseconds and 22 random bits."""
    return (time.time_ns() // 1_000_000 << 22) | random.SystemRandom().getrandbits(22)


def read(place: Place, folder: str, number: int | None) -> Record:
    """The record of this number; an empty one for None. Raises WorkbenchError when a file of it is gone."""
    if not number:
        return Record()
    newest, files = _file(place, folder, number)
    entries: dict[Key, Entry] = {}
    for one, _ in files[:-1]:
        entries.update(_file(place, folder, one)[0])
    entries.update(newest)
    return Record(number, files, entries)


def write(place: Place, folder: str, before: Record, entries: Sequence[Entry]) -> Record:
    """The record after one more commit, written and not yet named by it."""
    now = datetime.datetime.now(datetime.UTC)
    merged: dict[Key, Entry] = {}
    kept, swallowed = list(before.files), []
    count = len(entries)
    while kept and kept[-1][1] <= 2 * count:
        number, size = kept.pop()
        swallowed.append(number)
        count += size
    for number in reversed(swallowed):
        merged.update(_file(place, folder, number)[0])
    merged.update({(one.kind, one.key): replace(one, time=one.time or now) for one in entries})
    number = new_number()
    files = (*kept, (number, len(merged)))
    rows = [{name: getattr(one, name) for name in SCHEMA.names} for one in merged.values()]
    table = pa.Table.from_pylist(rows, SCHEMA).replace_schema_metadata({"files": json.dumps(files)})

    def fill(file: Any) -> None:
        import pyarrow.parquet as pq

        pq.write_table(table, file, compression="zstd")

    put(place, _path(folder, number), fill)
    return Record(number, files, {**before.entries, **merged})


def numbers(files: Iterable[tuple[int, int]]) -> set[int]:
    return {number for number, _ in files}


def listed(place: Place, folder: str, number: int) -> set[int]:
    """The files that a record needs."""
    return numbers(_file(place, folder, number)[1])


def stored(place: Place, folder: str) -> dict[int, str]:
    """All record files that there are, those of commits that never came too."""
    top = f"{folder}/{FOLDER}"
    if not place.fresh.exists(top):
        return {}
    names = [str(one) for one in place.fs.ls(top, detail=False)]
    return {int(one.rpartition("/")[2].partition(".")[0], 16): one for one in names if one.endswith(".parquet")}


def _path(folder: str, number: int) -> str:
    return f"{folder}/{FOLDER}/{number:016x}.parquet"


@functools.lru_cache(maxsize=32)
def _file(place: Place, folder: str, number: int) -> tuple[dict[Key, Entry], tuple[tuple[int, int], ...]]:
    import pyarrow.parquet as pq

    path = _path(folder, number)
    try:
        with place.open(path) as file:
            table = pq.read_table(file)
    except (OSError, pa.ArrowException) as error:
        raise WorkbenchError(
            f"the record of what the table has taken, {place.show(path)!r}, cannot be read: {brief(error)}; "
            "without it nothing can be collected exactly once: bring it back, or roll back to an earlier version"
        ) from error
    files = tuple((int(one), int(size)) for one, size in json.loads(table.schema.metadata[b"files"]))
    return {(row["kind"], row["key"]): Entry(**row) for row in table.to_pylist()}, files
