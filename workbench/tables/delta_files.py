"""The Parquet files of a versioned table: rows in, files out, each with the statistics that a reader skips by."""

from __future__ import annotations

import datetime
import io
import json
import os
import time as clock
import uuid
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.types as at

from workbench.errors import WorkbenchError, nearest
from workbench.tables.kinds import TIME, convert, kind_of, plain_type
from workbench.tables.source import Place, brief

GROUP_ROWS = 1 << 20  # rows of a row group: what a cube counts at once
GROUP_BYTES = 192 << 20  # and their bytes in memory at most
WRITERS = 2  # row groups that are encoded at a time
LEVEL = 1  # of zstd: higher ones cost more than the disk they save
LONGEST = 32  # characters of a text's bounds


@dataclass(frozen=True)
class Part:
    """One data file of a table, written and not yet committed."""

    path: str  # under the table
    size: int
    rows: int
    stats: str  # JSON, as the log holds it
    made: int  # milliseconds


def storable(type_: pa.DataType) -> pa.DataType:
    """The type in which a versioned table keeps a column: what Delta knows, times in microseconds and UTC."""
    if at.is_decimal(type_) or at.is_nested(type_) or at.is_binary(type_) or at.is_null(type_) or at.is_date(type_):
        return pa.date32() if at.is_date(type_) else type_
    if at.is_large_binary(type_) or at.is_fixed_size_binary(type_):
        return pa.binary()
    if at.is_time(type_):
        return pa.string()
    if at.is_unsigned_integer(type_):
        return pa.int64() if type_.bit_width >= 32 else pa.int32() if type_.bit_width == 16 else pa.int16()
    return plain_type(type_)


def conform(table: pa.Table, schema: pa.Schema, source: str = "the rows") -> pa.Table:
    """The rows with the columns of the schema, in its order and types; a column that is not there is missing.

    Raises WorkbenchError naming a column of another kind.
    """
    columns = []
    for field in schema:
        if field.name not in table.column_names:
            columns.append(pa.nulls(len(table), field.type))
            continue
        values = table.column(field.name)
        columns.append(as_type(values, field.type, field.name, source))
    return pa.table(columns, schema=schema)


def as_type(values: pa.ChunkedArray, type_: pa.DataType, name: str, source: str) -> pa.ChunkedArray:
    """The values of a column in the type of the table's; raises WorkbenchError where they are of another kind."""
    if values.type == type_:
        return values
    have, want = kind_of(values.type), kind_of(type_)
    fits = have == want or at.is_null(values.type) or (have, want) == ("integer", "number")
    fits |= at.is_time(values.type) and want == "text"
    try:
        if not fits:
            raise pa.ArrowInvalid(f"the table keeps {want} ({type_})")
        if at.is_dictionary(values.type):
            values = values.cast(values.type.value_type)
        plain = want in ("time", "text", "boolean", "integer", "number") and not at.is_decimal(type_)
        return convert(values, type_).cast(type_) if plain and not at.is_date(type_) else values.cast(type_)
    except pa.ArrowException as error:
        raise WorkbenchError(
            f"column {name!r} of {source} is {have} ({values.type}), which does not fit the table: {brief(error)}"
        ) from error


def twins(names: Iterable[str]) -> tuple[str, str] | None:
    """The first two names that are one but for capitals."""
    seen: dict[str, str] = {}
    for name in names:
        if name.lower() in seen:
            return seen[name.lower()], name
        seen[name.lower()] = name
    return None


def check_columns(names: Iterable[str], schema: pa.Schema, evolve: Iterable[str], source: str) -> list[str]:
    """The columns that the table lacks and that are declared as new; raises WorkbenchError for one that is not, and for one
    that differs from another by capitals only, which a table with versions cannot tell apart."""
    declared = [evolve] if isinstance(evolve, str) else list(evolve)
    names = list(names)
    if twin := twins([*schema.names, *(name for name in names if name not in schema.names)]):
        raise WorkbenchError(
            f"{source} has the column {twin[1]!r} beside {twin[0]!r}, and capitals tell no columns apart: rename one"
        )
    new = [name for name in names if name not in schema.names]
    for name in new:
        if name not in declared and "*" not in declared:
            raise WorkbenchError(
                f"{source} has the new column {name!r}, which the table lacks ({nearest(name, schema.names)}): "
                f"declare it with evolve=[{name!r}]"
            )
    return new


def parts(place: Place, folder: str, tables: Iterable[pa.Table], order: str = "") -> list[Part]:
    """Writes the rows as files of one row group each: about a million rows, in order of the column `order`.

    Rows of at most WRITERS + 1 groups are in memory. The files are whole and on disk when this returns; none of them is
    part of the table before a commit names it.
    """
    done: list[Part] = []
    waiting: deque[Future[Part]] = deque()
    with ThreadPoolExecutor(WRITERS) as pool:
        for group in groups(tables):
            waiting.append(pool.submit(_part, place, folder, group, order))
            del group
            while len(waiting) >= WRITERS:
                done.append(waiting.popleft().result())
        done.extend(one.result() for one in waiting)
    return done


def groups(tables: Iterable[pa.Table]) -> Iterator[list[pa.Table]]:
    """Tables gathered, and cut, into the rows of one row group."""
    have: list[pa.Table] = []
    rows = nbytes = 0
    for table in tables:
        while len(table):
            share = max(table.nbytes / len(table), 1.0)
            room = min(GROUP_ROWS - rows, max(int((GROUP_BYTES - nbytes) / share), 1))
            part, table = table.slice(0, room), table.slice(room)
            have.append(part)
            rows += len(part)
            nbytes += int(len(part) * share)
            if rows >= GROUP_ROWS or nbytes >= GROUP_BYTES:
                yield have
                have, rows, nbytes = [], 0, 0
    if have:
        yield have


def _part(place: Place, folder: str, group: list[pa.Table], order: str) -> Part:
    import pyarrow.parquet as pq

    table = pa.concat_tables(group, promote_options="default")  # columns may have come in the middle
    group.clear()
    schema = table.schema
    if order and order in table.column_names:
        table = in_order(table, order)
    name = f"part-{clock.time_ns() // 1000:016x}-{uuid.uuid4().hex[:16]}.zstd.parquet"  # paths in order of time
    seen: list[Any] = []
    texts = [field.name for field in schema if kind_of(field.type) == "text"]
    put(place, f"{folder}/{name}", lambda file: pq.write_table(
        table, file, row_group_size=max(len(table), 1), compression="zstd", compression_level=LEVEL,
        use_dictionary=texts or False, metadata_collector=seen, write_page_checksum=True,
    ))  # fmt: skip
    size = os.path.getsize(f"{folder}/{name}") if place.address is None else int(place.fs.size(f"{folder}/{name}"))
    return Part(name, size, len(table), json.dumps(_stats(seen[0], schema)), int(clock.time() * 1000))


def in_order(table: pa.Table, column: str) -> pa.Table:
    """The rows by time; as they are where they are in order already."""
    import pyarrow.compute as pc

    values = table.column(column).combine_chunks()
    if len(values) < 2:
        return table
    if not values.null_count and pc.all(pc.less_equal(values.slice(0, len(values) - 1), values.slice(1))).as_py():
        return table
    return table.take(pc.sort_indices(table, sort_keys=[(column, "ascending")]))


def put(place: Place, path: str, write: Any) -> None:
    """Lets `write` fill a file that did not exist, and flushes it to disk."""
    if place.address is None:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "xb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        return
    whole = io.BytesIO()
    write(whole)
    place.fs.pipe_file(path, whole.getvalue())


def _stats(metadata: Any, schema: pa.Schema) -> dict[str, Any]:
    """What the log says of a file: rows, and per column its bounds and number of missing values."""
    low: dict[str, Any] = {}
    high: dict[str, Any] = {}
    nulls: dict[str, int] = {}
    rows = metadata.num_rows
    where = {metadata.schema.column(index).path: index for index in range(metadata.num_columns)}
    for field in schema:
        if field.name not in where or metadata.num_row_groups != 1:
            continue
        found = metadata.row_group(0).column(where[field.name]).statistics
        if found is None:
            continue
        if found.has_null_count:
            nulls[field.name] = found.null_count
        if found.has_min_max and kind_of(field.type) in ("integer", "number", "time", "text"):
            ends = _bound(found.min, field.type, False), _bound(found.max, field.type, True)
            if None not in ends:
                low[field.name], high[field.name] = ends
    return {"numRecords": rows, "minValues": low, "maxValues": high, "nullCount": nulls}


def _bound(value: Any, type_: pa.DataType, upper: bool) -> Any:
    """A bound as the log writes it; None where it would have to be cut in a way that makes it false."""
    if isinstance(value, str):
        return value if len(value) <= LONGEST else (None if upper else value[:LONGEST])
    if at.is_date(type_):
        return value.isoformat()
    if type_ == TIME:
        if not isinstance(value, datetime.datetime):
            return None
        moment = value.astimezone(datetime.UTC) if value.tzinfo else value.replace(tzinfo=datetime.UTC)
        cut = moment.replace(microsecond=moment.microsecond // 1000 * 1000)
        if upper and cut < moment:
            cut += datetime.timedelta(milliseconds=1)
        return cut.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if at.is_decimal(type_):
        return None
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else None
    return value if isinstance(value, int) else None
