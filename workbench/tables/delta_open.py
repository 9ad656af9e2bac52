"""A version of a Delta table as files for the Parquet reader: pinned, with the declared schema, absent columns missing."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import unquote

import pyarrow as pa

from workbench.errors import WorkbenchError
from workbench.tables.delta_log import DataFile, Snapshot, home, snapshot
from workbench.tables.kinds import convert, plain_type
from workbench.tables.source import Found, brief
from workbench.tables.table import File


def pinned(
    source: str, version: int | str | None, as_of: Any, since: int | None, options: Mapping[str, Any] | None
) -> tuple[Snapshot, list[Found]] | None:
    """The version of a table and its data files; None where the source is no table with versions."""
    if version is None and as_of is None and since is None:
        if "://" not in source and "::" not in source and not os.path.isdir(os.path.expanduser(source)):
            return None  # a file, a pattern, or nothing: told by who opens it
        if any(mark in source for mark in "*?["):
            return None
        try:
            if not home(source, options).exists():
                return None
        except WorkbenchError:
            return None  # told better by who opens it
    found = snapshot(source, version, as_of, options)
    if since is not None:
        found = replace(found, files=added(found, since))
    gone = next((one for one in found.files if not found.home.place.fs.exists(f"{found.home.folder}/{one.path}")), None)
    if gone is not None:
        raise WorkbenchError(
            f"version {found.version} of {source!r} cannot be read: its file {gone.path!r} is gone, vacuumed or deleted"
        )
    return found, [Found(f"{found.home.folder}/{one.path}", one.path, ()) for one in found.files]


def filled(files: Sequence[File], schemas: Sequence[pa.Schema], found: Snapshot) -> list[File]:
    """The files with the columns that they lack: those of partitions, and those that came after they were written."""
    partitions = {one.path: dict(one.partitions) for one in found.files}
    result = []
    for file, schema in zip(files, schemas, strict=True):
        values = []
        for one in found.schema:
            if one.name not in schema.names:
                raw = partitions[file.relative].get(one.name)
                try:
                    given = pa.array([raw]).cast(one.type) if isinstance(raw, str) else pa.array([raw], one.type)
                    value = convert(pa.chunked_array([given]), plain_type(one.type))[0].as_py()
                except pa.ArrowException as error:
                    raise WorkbenchError(
                        f"the partition {one.name}={raw!r} is no {one.type}: {brief(error)}"
                    ) from error
                values.append((one.name, value))
        result.append(replace(file, values=tuple(values)))
    return result


def added(found: Snapshot, since: int) -> tuple[DataFile, ...]:
    """The data files that versions after `since` brought; those that compaction made of older ones are none of them.

    Raises WorkbenchError where a version between removed rows, as rollback and replacing do: what is new is then no
    addition.
    """
    if not 0 <= since <= found.version:
        raise WorkbenchError(f"since={since} is no version before {found.version} of {found.home.name!r}")
    files: dict[str, DataFile] = {}
    for version in range(since + 1, found.version + 1):
        for one in _actions(found, version):
            change = one.get("add") or one.get("remove") or {}
            name = unquote(change.get("path", ""))
            if not change.get("dataChange"):
                continue
            if "add" in one:
                rows = json.loads(change.get("stats") or "{}").get("numRecords")
                files[name] = DataFile(name, change["size"], rows, tuple((change.get("partitionValues") or {}).items()))
            elif files.pop(name, None) is None:
                raise WorkbenchError(
                    f"version {version} of {found.home.name!r} removed rows of version {since}, so that what came since is no "
                    "addition: read the table whole"
                )
    return tuple(files[name] for name in sorted(files))


def arrivals(found: Snapshot) -> dict[str, int]:
    """The version that brought the rows of each data file; of files that were joined, the newest of them."""
    came: dict[str, int] = {}
    for version in range(found.version + 1):
        actions = _actions(found, version)
        gone = [came.get(unquote(one["remove"]["path"]), 0) for one in actions if "remove" in one]
        for one in actions:
            if "add" in one:
                name = unquote(one["add"]["path"])
                moved = not one["add"].get("dataChange")
                came[name] = max(gone, default=version) if moved else came.get(name, version)
    return came


def _actions(found: Snapshot, version: int) -> list[dict[str, Any]]:
    path = f"{found.home.folder}/_delta_log/{version:020d}.json"
    try:
        with found.home.place.open(path) as file:
            return [json.loads(line) for line in file.read().splitlines() if line.strip()]
    except OSError as error:
        raise WorkbenchError(f"the log of version {version} of {found.home.name!r} is gone: {brief(error)}") from error
