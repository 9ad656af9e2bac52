"""Opening a table: find the files, learn and reconcile their schemas, check columns and conditions."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from os import PathLike, fspath
from typing import Any, TypeVar

import pyarrow as pa

from workbench.errors import WorkbenchError, masked, nearest
from workbench.tables import parquet
from workbench.tables import where as conditions
from workbench.tables.kinds import asked_type, common_type, kind_of, plain_type
from workbench.tables.source import Found, Place, brief, find, partition_value
from workbench.tables.table import File, Table

MISSING = ("", "NULL", "null", "NA", "N/A", "\\N")
SOON = 0.2  # seconds after which work on many files goes to threads: what is in memory takes less
T = TypeVar("T")
R = TypeVar("R")


def open_table(
    source: str | PathLike[str],
    *,
    columns: Sequence[str] | None = None,
    where: Iterable[Sequence[Any]] | None = None,
    types: Mapping[str, str | pa.DataType] | None = None,
    missing: Sequence[str] | None = None,
    storage_options: Mapping[str, Any] | None = None,
    version: int | str | None = None,
    as_of: Any = None,
    since: int | None = None,
) -> Table:
    """A table: the source's files, version, schema and a choice of columns and rows, with no data read.

    Of Parquet only the footers are read. A text file of up to 64 MB is parsed once to learn its types, of a larger one
    a sample of its head, middle and tail; a value that does not fit later raises and is named.

    Parameters
    ----------
    source
        A Parquet file or folder (folders named `key=value` become columns), a CSV file (`.csv`, `.tsv`), JSON lines
        (`.jsonl`, `.ndjson`, `.json`), a folder or pattern (`logs/*.csv.gz`) of one of these; text also as `.gz` or
        `.zst`. A Delta table. A local path or any fsspec address, such as `s3://bucket/folder`.
    columns
        The columns to open, in this order; all by default.
    where
        Conditions (column, operation, value) that all hold for the rows that are kept. Operations are ==, !=, <, <=,
        >, >=, "in", "not in", "is null", "not null". A missing value holds only "is null". NaN equals NaN, so that
        ("x", "!=", float("nan")) keeps all other values. Times may be ISO text.
    types
        The kind (or Arrow type) of a column, where the stored or learned one is not what is wanted: "integer",
        "number", "time", "boolean" or "text".
    missing
        Spellings of a missing value in CSV; by default "", NULL, null, NA, N/A and \\N. `NaN` is a number.
    storage_options
        Passed to the fsspec file system, for instance keys and endpoints.
    version, as_of
        Of a table with versions (Delta): the number of a version or its label ("approved"), or the moment whose newest
        version is wanted; by default the newest. The files of that version are read whatever is committed later.
    since
        Of a table with versions: only the rows that versions after this one brought.

    Returns
    -------
    Table
        Times are microseconds in UTC; a time stored without a zone is taken as UTC. Files of one source may differ in
        the width of integers and floats, in how text or times are stored, in nullability and in columns that hold
        nothing; a column of two kinds raises.

    Raises
    ------
    WorkbenchError
        Naming a path that does not exist, an empty source, an unknown format or protocol, a broken file, files whose
        schemas differ, repeated or missing columns, or a condition or type that does not suit its column.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "trips.csv"
    >>> _ = path.write_text("day,km\\n2026-03-02,1.5\\n2026-03-03,NA\\n")
    >>> table = open_table(path)
    >>> table.kinds, table.rows
    ({'day': 'time', 'km': 'number'}, 2)
    """
    name = fspath(source)
    options = dict(storage_options or {})
    from workbench.tables import delta_open

    snapshot = delta_open.pinned(name, version, as_of, since, options)
    if snapshot is None:
        place, found, form = find(name, options)
    else:
        place, found, form = snapshot[0].home.place, snapshot[1], "parquet"
    if form == "parquet":
        shapes: tuple[Any, ...] = ()
        files, schemas = _footers(place, found)
    else:
        from workbench.tables import text

        files, schemas, shapes = text.learn(place, found, form, tuple(MISSING if missing is None else missing), types)
    alike = _alike(files, schemas) if snapshot is None else {}
    if snapshot is None:
        files = _with_partitions(files, found)
        names = _names(place, files, alike)
    else:
        files, names = delta_open.filled(files, schemas, snapshot[0]), snapshot[0].schema.names
    chosen = _chosen(names, columns, name)
    asked = _asked(types, names, name)
    needed = chosen + [one for one in _mentioned(where) if one in names and one not in chosen]
    everything = pa.schema([(one, pa.null()) for one in names])
    if snapshot is None:
        fields = {one: _field(one, place, files, alike, asked.get(one), form) for one in needed}
    else:
        fields = {one: asked.get(one) or plain_type(snapshot[0].schema.field(one).type) for one in needed}
    stored = pa.schema(list(fields.items()))
    checked = conditions.check(where, _merged(everything, stored), name)
    if form == "parquet":
        stored = pa.schema([(one, _whole(place, files, one, type_)) for one, type_ in fields.items()])
        files = [_kept(place, file, stored, needed, checked) for file in files]
    return Table(
        masked(name),
        form,
        pa.schema([stored.field(one) for one in chosen]),
        tuple(files),
        checked,
        place,
        stored,
        shapes,
        None if snapshot is None else snapshot[0].version,
        since,
    )


def timed(source: str | PathLike[str], time: str, **options: Any) -> Table:
    """`open_table` with the column ``time`` read as a time where it is text; any other column, and "", are left as they are.

    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "trips.csv"
    >>> _ = path.write_text("day\\n2026-03-02\\n2026-03-03T08:00:00+02:00\\n")
    >>> timed(path, "day").kinds, timed(path, "").kinds
    ({'day': 'time'}, {'day': 'text'})
    """
    table = open_table(source, **{**options, "where": None})
    if time and table.kinds.get(time) == "text":
        options["types"] = {**(options.get("types") or {}), time: "time"}
    elif not options.get("where"):
        return table
    return open_table(source, **options)


def many(function: Callable[[T], R], items: Sequence[T]) -> list[R]:
    """The function of each item in order, several at a time once it shows that they take long."""
    done: list[R] = []
    end = time.monotonic() + SOON
    while len(done) < len(items) and time.monotonic() < end:
        done.append(function(items[len(done)]))
    if len(items) - len(done) < 8:
        return done + [function(item) for item in items[len(done) :]]
    with ThreadPoolExecutor(8) as pool:
        return done + list(pool.map(function, items[len(done) :]))


def stamped(place: Place, one: Found) -> File:
    """A file with its size and stamp, before its content is known."""
    try:
        size, stamp = place.stamp(one.path)
    except OSError as error:
        raise WorkbenchError(f"{place.show(one.path)!r} cannot be read: {brief(error)}") from error
    return File(one.path, one.relative, size, stamp, "")


def _footers(place: Place, found: Sequence[Found]) -> tuple[list[File], list[pa.Schema]]:
    def one(item: Found) -> tuple[File, pa.Schema]:
        file = stamped(place, item)
        foot = parquet.footer(place, file)
        return replace(file, content=foot.digest, rows=foot.metadata.num_rows), foot.schema

    pairs = many(one, found)
    return [file for file, _ in pairs], [schema for _, schema in pairs]


def _with_partitions(files: Sequence[File], found: Sequence[Found]) -> list[File]:
    keys = list(dict.fromkeys(key for one in found for key, _ in one.partitions))
    if not keys:
        return list(files)
    for one in found:
        lacking = [key for key in keys if key not in dict(one.partitions)]
        if lacking:
            raise WorkbenchError(
                f"{one.relative!r} is not in a folder named '{lacking[0]}=...', as other files of the source are: "
                "all files must lie equally deep"
            )
    readers = {key: partition_value([dict(one.partitions)[key] for one in found]) for key in keys}
    return [
        replace(file, values=tuple((key, readers[key](value)) for key, value in one.partitions))
        for file, one in zip(files, found, strict=True)
    ]


def _alike(files: Sequence[File], schemas: Sequence[pa.Schema]) -> dict[pa.Schema, File]:
    """Every schema that there is, with the first file of it; most are one object, so that few are compared."""
    first: dict[int, tuple[pa.Schema, File]] = {}
    for file, schema in zip(files, schemas, strict=True):
        first.setdefault(id(schema), (schema, file))
    alike: dict[pa.Schema, File] = {}
    for schema, file in first.values():
        alike.setdefault(schema, file)
    return alike


def _names(place: Place, files: Sequence[File], alike: Mapping[pa.Schema, File]) -> list[str]:
    """Every column of every file, hive columns last. Raises when a file has two columns of one name."""
    names: dict[str, None] = {}
    for schema, file in alike.items():
        if len(set(schema.names)) < len(schema.names):
            twice = next(name for name in schema.names if schema.names.count(name) > 1)
            raise WorkbenchError(
                f"{place.show(file.path)!r} has {schema.names.count(twice)} columns named {twice!r}: rename them"
            )
        names.update(dict.fromkeys(schema.names))
    return list(dict.fromkeys([*names, *(key for key, _ in files[0].values)]))


def _chosen(names: list[str], columns: Sequence[str] | None, source: str) -> list[str]:
    if columns is None:
        return names
    wanted = [columns] if isinstance(columns, str) else list(columns)
    lacking = [name for name in wanted if name not in names]
    if lacking:
        hints = "; ".join(f"{name!r}: {nearest(name, names)}" for name in lacking[:5])
        raise WorkbenchError(f"{source!r} lacks column{'s' if len(lacking) > 1 else ''} {hints}")
    if len(set(wanted)) < len(wanted) or not wanted:
        raise WorkbenchError(f"columns={wanted!r} {'names a column twice' if wanted else 'is empty'}: choose each once")
    return wanted


def _asked(types: Mapping[str, str | pa.DataType] | None, names: list[str], source: str) -> dict[str, pa.DataType]:
    for name in types or {}:
        if name not in names:
            raise WorkbenchError(f"types names column {name!r}, which {source!r} lacks: {nearest(name, names)}")
    return {name: asked_type(name, wanted) for name, wanted in (types or {}).items()}


def _mentioned(where: Iterable[Sequence[Any]] | None) -> list[str]:
    items = list(where or [])
    if items and isinstance(items[0], str):
        return [str(items[0])]
    return [str(item[0]) for item in items if item and not isinstance(item, str)]


def _merged(everything: pa.Schema, known: pa.Schema) -> pa.Schema:
    types = {field.name: field.type for field in known}
    return pa.schema([(field.name, types.get(field.name, field.type)) for field in everything])


def _field(
    name: str,
    place: Place,
    files: Sequence[File],
    alike: Mapping[pa.Schema, File],
    asked: pa.DataType | None,
    form: str,
) -> pa.DataType:
    """The plain type of a column over all files, or an error that names the first file that does not fit: `alike` has the
    first file of every schema.

    A row of JSON lines may lack a column, and so may a file of them; a file of the other formats may not.
    """
    if name in dict(files[0].values) and not any(name in schema.names for schema in alike):
        known = [dict(file.values)[name] for file in files if dict(file.values)[name] is not None]
        return asked or (plain_type(pa.scalar(known[0]).type) if known else pa.null())
    holders = [(file, schema) for schema, file in alike.items() if name in schema.names]
    if len(holders) < len(alike) and form != "json":
        lacking, schema = next((file, schema) for schema, file in alike.items() if name not in schema.names)
        raise WorkbenchError(
            f"the files have different schemas: {place.show(lacking.path)!r} lacks column {name!r}, "
            f"which {place.show(holders[0][0].path)!r} has: {nearest(name, schema.names)}; write them alike, or open the "
            "columns that all of them have, with columns="
        )
    if asked is not None:
        return asked
    origin, first = holders[0]
    result, before = plain_type(first.field(name).type), [first]
    for file, schema in holders[1:]:
        type_ = plain_type(schema.field(name).type)
        both = common_type(result, type_, numbers=form != "parquet")
        if both is None and form == "parquet":  # one that holds no values is of any kind
            if _no_values(place, files, schema, name):
                both = result
            elif all(_no_values(place, files, one, name) for one in before):
                both, origin = type_, file
        before.append(schema)
        if both is None:
            raise WorkbenchError(
                f"the files have different schemas: column {name!r} is {kind_of(type_)} ({type_}) in "
                f"{place.show(file.path)!r} but {kind_of(result)} ({result}) in {place.show(origin.path)!r}: "
                "write them alike, or "
                + (
                    "open the other columns only, with columns="
                    if "other" in (kind_of(type_), kind_of(result))
                    else f'say which with types={{{name!r}: "..."}}'
                )
            )
        origin = file if pa.types.is_null(result) and not pa.types.is_null(type_) else origin
        result = both
    return result


def _no_values(place: Place, files: Sequence[File], schema: pa.Schema, name: str) -> bool:
    """Whether statistics show that no file of a schema has any value in a column."""
    feet = [parquet.footer(place, file) for file in files]
    return all(parquet.no_values(foot, name) for foot in feet if foot.schema == schema)


def _whole(place: Place, files: Sequence[File], name: str, type_: pa.DataType) -> pa.DataType:
    """Unsigned 64-bit integers become int64 where statistics show that they fit, else float64."""
    if type_ != pa.uint64():
        return type_
    for file in files:
        foot = parquet.footer(place, file)
        for group in range(foot.metadata.num_row_groups):
            known = parquet.group_bounds(foot, group, name)
            if known is None or (known[2] != known[3] and (known[1] is None or known[1] >= 2**63)):
                return pa.float64()
    return pa.int64()


def _kept(
    place: Place, file: File, stored: pa.Schema, names: Sequence[str], checked: Sequence[conditions.Condition]
) -> File:
    """The file with the row groups that may hold rows of the table."""
    foot = parquet.footer(place, file)
    constants = dict(file.values)

    def bounds(group: int, column: str) -> tuple[Any, Any, int | None, int] | None:
        if column in constants:
            value = conditions.ordered(constants[column])
            return (None, None, 1, 1) if value is None else (value, value, 0, 1)
        if kind_of(foot.schema.field(column).type) != kind_of(stored.field(column).type):
            return None
        return parquet.group_bounds(foot, group, column)

    groups = []
    for group, rows, nbytes in parquet.group_sizes(foot, names):
        if not checked or conditions.possible(checked, lambda column, group=group: bounds(group, column)):  # type: ignore[misc]
            groups.append((group, rows, nbytes))
    return replace(file, groups=tuple(groups))
