"""A version of a Delta table as files for the Parquet reader: pinned, with the declared schema, absent columns missing."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa

from workbench.errors import WorkbenchError
from workbench.tables.delta_log import Snapshot, home, snapshot
from workbench.tables.source import Found, brief
from workbench.tables.table import File


def pinned(
    source: str, version: int | str | None, as_of: Any, options: Mapping[str, Any] | None
) -> tuple[Snapshot, list[Found]] | None:
    """The version of a table and its data files; None where the source is no table with versions."""
    if version is None and as_of is None:
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
                    value = raw if raw is None or not isinstance(raw, str) else pa.scalar(raw).cast(one.type).as_py()
                except pa.ArrowException as error:
                    raise WorkbenchError(
                        f"the partition {one.name}={raw!r} is no {one.type}: {brief(error)}"
                    ) from error
                values.append((one.name, value))
        result.append(replace(file, values=tuple(values)))
    return result
