"""The log of a versioned table: where it is, which versions it has, and which files belong to one."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, field
from os import PathLike, fspath
from typing import Any
from urllib.parse import unquote

import pyarrow as pa

from workbench.errors import WorkbenchError
from workbench.tables import delta_record as records
from workbench.tables.source import Place, brief, locate
from workbench.tables.stores import both

Source = str | PathLike[str]


@dataclass(frozen=True)
class Home:
    """Where a versioned table is, for our files and for the library that keeps its log."""

    name: str
    place: Place
    folder: str
    uri: str
    options: tuple[tuple[str, str], ...] = field(default=(), repr=False)  # as the library of Delta tables spells them

    def exists(self) -> bool:
        return bool(self.place.fresh.exists(f"{self.folder}/_delta_log"))

    @property
    def asked(self) -> dict[str, Any]:
        """Options with which this address opens again."""
        return {**dict(self.place.options), **dict(self.options)}


@dataclass(frozen=True)
class DataFile:
    """A data file of a version."""

    path: str  # under the table
    size: int
    rows: int | None
    partitions: tuple[tuple[str, Any], ...] = ()


@dataclass(frozen=True)
class Snapshot:
    """A version of a table: its data files, its declared schema, and when it was committed."""

    home: Home
    version: int
    schema: pa.Schema
    files: tuple[DataFile, ...]
    record: int | None  # number of the record of what was taken

    @property
    def rows(self) -> int | None:
        counts = [one.rows for one in self.files]
        return None if None in counts else sum(count for count in counts if count is not None)

    @property
    def nbytes(self) -> int:
        return sum(one.size for one in self.files)


def home(table: Source, options: Mapping[str, Any] | None = None) -> Home:
    """Where the table of this address is, whether or not it exists.

    Raises WorkbenchError for an address at which no table with versions can be, as memory://.
    """
    name = fspath(table)
    uri, ours, theirs = both(name, options or {})
    place, folder = locate(name, ours)
    return Home(
        name, place, folder.rstrip("/"), folder if place.address is None else uri, tuple(sorted(theirs.items()))
    )


def library() -> Any:
    """The library of Delta tables; raises WorkbenchError where it is not installed."""
    try:
        import deltalake
    except ImportError as error:
        raise WorkbenchError(
            "tables with versions need the package deltalake: pip install 'workbench[prepare]'"
        ) from error
    return deltalake


def load(at: Home, version: int | None = None) -> Any:
    """The log of a table at a version. Raises WorkbenchError where there is no such table or version."""
    deltalake = library()
    if not at.exists():
        raise WorkbenchError(
            f"{at.name!r} is no table with versions: it has no _delta_log; `workbench collect` makes one"
        )
    try:
        return deltalake.DeltaTable(at.uri, version=version, storage_options=dict(at.options) or None)
    except Exception as error:
        if version is not None:
            newest = deltalake.DeltaTable(at.uri, storage_options=dict(at.options) or None).version()
            gone = f"versions 0 to {newest} were made" if version > newest else "its log or its files are gone"
            raise WorkbenchError(f"{at.name!r} has no version {version} that can be opened: {gone}") from error
        raise WorkbenchError(f"{at.name!r} is a Delta table whose log cannot be opened: {brief(error)}") from error


def snapshot(
    table: Source, version: int | str | None = None, as_of: Any = None, options: Mapping[str, Any] | None = None
) -> Snapshot:
    """A version of a table: the newest, that of a number or of a label, or the newest at a moment.

    Raises WorkbenchError where there is no such table, version, label or moment, and for tables whose files cannot be
    read as they are (deletion vectors, renamed columns).
    """
    at = home(table, options)
    number = resolve(at, version, as_of)
    return of(at, load(at, number))


def resolve(at: Home, version: int | str | None, as_of: Any) -> int | None:
    """The number of the version that is meant; None for the newest."""
    if version is not None and as_of is not None:
        raise WorkbenchError("version and as_of both say which version is wanted: give one of them")
    if as_of is not None:
        return at_moment(at, as_of)
    if isinstance(version, str) and not version.lstrip("v").isdigit():
        from workbench.tables.versions_labels import labelled

        return labelled(at, version)
    return None if version is None else int(str(version).lstrip("v"))


def at_moment(at: Home, as_of: Any) -> int:
    """The newest version that was committed at or before a moment; a time without a zone is UTC."""
    try:
        moment = as_of if isinstance(as_of, datetime.datetime) else datetime.datetime.fromisoformat(str(as_of))
    except ValueError:
        raise WorkbenchError(f"as_of={as_of!r} is no moment: write it as 2026-11-24T03:00Z") from None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)
    limit = moment.timestamp() * 1000
    told = load(at).history()
    known = [int(one["version"]) for one in told if one.get("timestamp", 0) <= limit]
    if not known:
        first = min((one["timestamp"] for one in told), default=0)
        shown = datetime.datetime.fromtimestamp(first / 1000, datetime.UTC).isoformat(timespec="seconds")
        raise WorkbenchError(f"{at.name!r} has no version as of {moment.isoformat()}: its first was committed {shown}")
    return max(known)


def _mapped(log: Any) -> bool:
    return log.metadata().configuration.get("delta.columnMapping.mode", "none") != "none"


def _marked(log: Any) -> bool:
    """Whether rows of a table are marked as deleted; marks that cannot be read are some."""
    try:
        return bool(pa.table(log.deletion_vectors()).num_rows)
    except library().exceptions.DeltaError:
        return True


def writable(at: Home, log: Any) -> None:
    """Raises WorkbenchError for a table of another tool that asks more of its rows than is kept here."""
    metadata = log.metadata()
    asked = [*(one for one in metadata.configuration if one.startswith("delta.constraints."))]
    for one in log.schema().fields:
        kinds = ("generationExpression", "identity.start", "invariants")
        asked += [f"{one.name}: delta.{kind}" for kind in kinds if f"delta.{kind}" in (one.metadata or {})]
    asked += [f"partitions by {', '.join(metadata.partition_columns)}"] if metadata.partition_columns else []
    asked += ["delta.columnMapping"] if _mapped(log) else []
    if asked:
        raise WorkbenchError(
            f"{at.name!r} was made by another tool with {'; '.join(asked)}, which is not kept when rows are written here: "
            "write to a table of its own"
        )


def of(at: Home, log: Any) -> Snapshot:
    """The snapshot of an opened log."""
    mapped = _mapped(log)
    if mapped or ("deletionVectors" in (log.protocol().reader_features or []) and _marked(log)):
        what = "renames its columns" if mapped else "marks rows as deleted in its files"
        raise WorkbenchError(
            f"{at.name!r} {what} (Delta's {'columnMapping' if mapped else 'deletionVectors'}), which its Parquet files do "
            "not show: rewrite it without, as with REORG or a copy"
        )
    schema = pa.schema(log.schema().to_arrow())
    plain = pa.schema([pa.field(one.name, one.type) for one in schema])
    actions = pa.table(log.get_add_actions())
    files = []
    keys = list(log.metadata().partition_columns)
    values = actions.column("partition").to_pylist() if keys else [{}] * len(actions)
    for path, size, rows, shares in zip(
        *(actions.column(name).to_pylist() for name in ("path", "size_bytes", "num_records")), values, strict=True
    ):
        files.append(DataFile(unquote(path), size, rows, tuple((key, shares.get(key)) for key in keys)))
    return Snapshot(
        at, log.version(), plain, tuple(sorted(files, key=lambda one: one.path)), log.transaction_version(records.APP)
    )
