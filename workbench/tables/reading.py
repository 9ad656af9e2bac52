"""Reading a table: batches of a piece, samples, bounds. A broken or changed file raises and is named."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from workbench.errors import WorkbenchError, nearest
from workbench.tables import parquet
from workbench.tables.kinds import convert, kind_of
from workbench.tables.source import brief, written

if TYPE_CHECKING:
    from workbench.tables.table import File, Piece, Rows, Table

SAMPLE_WHOLE = 1_000_000  # a table of up to so many rows is decoded whole to draw a sample of it
SAMPLE_READ = 131_072  # values decoded per column of a larger one
SAMPLE_PARTS = 12
STEP = 1 << 18  # bytes of a stored column that are read at once


def unchanged(table: Table, file: File) -> None:
    """Raises WorkbenchError naming the file when it is no longer the one that was opened."""
    try:
        size, stamp = table.place.stamp(file.path)
    except FileNotFoundError as error:
        raise WorkbenchError(
            f"{table.place.show(file.path)!r} is gone since the table was opened: open it again"
        ) from error
    if (size, written(stamp)) != (file.size, file.written):
        raise WorkbenchError(
            f"{table.place.show(file.path)!r} changed after the table was opened "
            f"({file.size} bytes then, {size} now): open the table again"
        )


def batches(table: Table, piece: Piece) -> Iterator[Rows]:
    """The rows of a piece; the file is checked before and after."""
    file = table.files[piece.file]
    unchanged(table, file)
    try:
        if table.format == "parquet":
            yield from _groups(table, file, piece.parts)
        else:
            from workbench.tables import text

            yield from text.blocks(table, file)
    except (OSError, pa.ArrowException, ValueError) as error:  # the last from a server that cannot seek
        if isinstance(error, WorkbenchError):
            raise
        unchanged(table, file)
        raise WorkbenchError(f"{table.place.show(file.path)!r} cannot be read: {brief(error)}") from error
    unchanged(table, file)


def _groups(table: Table, file: File, parts: tuple[int, ...]) -> Iterator[Rows]:
    from workbench.tables.table import Rows

    foot = parquet.footer(table.place, file)
    for group in parts:
        names = [name for name in table.stored.names if name in foot.leaves]
        texts = [name for name in names if parquet.stored_as_dictionary(foot, group, name)]
        # a local column comes in steps that fit the processor's cache, one from far away in one piece: each step is a request
        opened = parquet.opened(table.place, file.path, foot, texts, buffer=STEP if table.place.address is None else 0)
        rows = foot.metadata.row_group(group).num_rows

        def read(name: str, opened: Any = opened, group: int = group) -> pa.ChunkedArray:
            return parquet.read(opened, foot, group, name)

        def stream(name: str, opened: Any = opened, group: int = group) -> Iterator[pa.ChunkedArray]:
            return parquet.parts(opened, foot, group, name)

        part = f"row group {group}"
        types = {
            name: {kind_of(foot.schema.field(name).type), kind_of(table.stored.field(name).type)} for name in names
        }
        small = [name for name in names if not types[name] & {"text", "other"}]
        in_parts = streamer(table, file, rows, stream, small, part)
        yield Rows(rows, table.schema, reader(table, file, rows, read, part), table.where, in_parts)


def reader(
    table: Table, file: File, rows: int, read: Callable[[str], pa.ChunkedArray], part: str
) -> Callable[[str], pa.ChunkedArray]:
    """How a column comes in its plain type, with errors that name the file and the column."""
    constants = dict(file.values)
    path = table.place.show(file.path)

    def column(name: str) -> pa.ChunkedArray:
        wanted = table.stored.field(name).type
        if name in constants:
            return constant(constants[name], wanted, rows)
        try:
            values = read(name)
        except (OSError, pa.ArrowException, EOFError) as error:
            raise broken(table, file, name, part, error) from error
        return converted(values, wanted, name, part, path)

    return column


def streamer(
    table: Table,
    file: File,
    rows: int,
    stream: Callable[[str], Iterator[pa.ChunkedArray]],
    small: list[str],
    part: str,
) -> Callable[[str], Iterator[pa.Array] | None]:
    """How a column among `small` comes in parts; None for another, which is read whole."""
    path = table.place.show(file.path)

    def parts(name: str) -> Iterator[pa.Array] | None:
        return values(name, table.stored.field(name).type) if name in small else None

    def values(name: str, wanted: pa.DataType) -> Iterator[pa.Array]:
        seen = 0
        try:
            for one in stream(name):
                seen += len(one)
                yield from converted(one, wanted, name, part, path).chunks
            if seen != rows:
                raise EOFError(f"{seen:,} of {rows:,} values are there")
        except (OSError, pa.ArrowException, EOFError) as error:
            raise broken(table, file, name, part, error) from error

    return parts


def broken(table: Table, file: File, name: str, part: str, error: BaseException) -> WorkbenchError:
    """The error that names file, column and part; raises the one that says so where the file changed meanwhile."""
    unchanged(table, file)
    return WorkbenchError(
        f"{table.place.show(file.path)!r} cannot be read: column {name!r} in {part} is broken: {brief(error)}"
    )


def converted(values: pa.ChunkedArray, wanted: pa.DataType, name: str, part: str, path: str) -> pa.ChunkedArray:
    """The values in their plain type, or an error that names what does not fit."""
    try:
        return convert(values, wanted)
    except pa.ArrowException as error:
        kind = kind_of(wanted)
        advice = f'leave {name!r} out of types, or use types={{{name!r}: "text"}}'
        if kind == "time":
            advice = "a time is ISO text such as 2026-03-01 or 2026-03-01T08:00:00+02:00; mend it or use another column"
            if kind_of(values.type) == "time":
                advice = "times go to the year 294,246; mend it, or open the other columns only, with columns="
        first = _misfit(values, wanted)[:100]
        raise WorkbenchError(
            f"{path!r} has a value in column {name!r} ({part}) that is no {kind}: first {first}; {advice}"
        ) from error


def _misfit(values: pa.ChunkedArray, wanted: pa.DataType) -> str:
    """The first of the values that does not fit, as text, where one is known not to."""
    low, high = 0, len(values)
    while high - low > 1:
        middle = (low + high) // 2
        try:
            convert(values.slice(low, middle - low), wanted)
            low = middle
        except pa.ArrowException:
            high = middle
    try:
        return repr(values[low].as_py())
    except (ValueError, OverflowError):  # no calendar of Python's holds it
        return f"{values[low].value} of {values.type}"


def constant(value: Any, type_: pa.DataType, rows: int) -> pa.ChunkedArray:
    """A column of one value, as a dictionary when it is text."""
    if value is None:
        return pa.chunked_array([pa.nulls(rows, type_)])
    if kind_of(type_) == "text":
        indices = pa.array(np.zeros(rows, np.int32))
        return pa.chunked_array([pa.DictionaryArray.from_arrays(indices, pa.array([str(value)]))])
    return pa.chunked_array([pa.repeat(pa.scalar(value, type_), rows)])


def bounds(table: Table, column: str) -> tuple[Any, Any] | None:
    """(min, max) over the row groups' statistics, or None."""
    known = spans(table, column)
    return (min(low for low, _, _ in known), max(high for _, high, _ in known)) if known else None


def spans(table: Table, column: str) -> list[tuple[Any, Any, int]] | None:
    """(min, max, rows) of each row group with values, in order, or None where any lacks statistics."""
    if table.format != "parquet":
        return None
    found: list[tuple[Any, Any, int]] = []
    for file in table.files:
        constants = dict(file.values)
        if column in constants:
            if constants[column] is not None:
                one = pa.scalar(constants[column], table.schema.field(column).type)
                plain = one.value if kind_of(one.type) == "time" else one.as_py()
                found.append((plain, plain, sum(rows for _, rows, _ in file.groups)))
            continue
        foot = parquet.footer(table.place, file)
        if kind_of(foot.schema.field(column).type) != table.kinds[column]:
            if parquet.no_values(foot, column):
                continue
            return None
        for group, rows, _ in file.groups:
            known = parquet.group_bounds(foot, group, column)
            if known is None:
                return None
            low, high, missing, _ = known
            if low is None and (missing is None or missing < rows):
                return None
            if low is not None:
                found.append((low, high, rows - (missing or 0)))
    return found


def sample(table: Table, n: int, columns: list[str]) -> dict[str, pa.Array]:
    """Up to n values of each column, drawn evenly from up to 12 parts of the table."""
    for name in columns:
        if name not in table.schema.names:
            raise WorkbenchError(f"there is no column {name!r}: {nearest(name, table.schema.names)}")
    drawn: dict[str, list[pa.Array]] = {name: [] for name in columns}
    random = np.random.default_rng(20_260_302)
    for rows, share in _parts(table, n):
        count = min(rows.count, share)
        chosen = pa.array(np.sort(random.choice(rows.count, count, replace=False))) if count < rows.count else None
        for name in columns:
            values = rows.column(name)
            drawn[name].append(_plain(values if chosen is None else values.take(chosen), table.schema.field(name).type))
    return {
        name: pa.concat_arrays(parts).slice(0, n) if parts else pa.array([], table.schema.field(name).type)
        for name, parts in drawn.items()
    }


def _parts(table: Table, n: int) -> Iterator[tuple[Rows, int]]:
    """Batches spread over the table, each with the number of values to draw from it."""
    from workbench.tables.table import Rows

    if table.format != "parquet":
        files = spread([piece for piece in table.pieces() if piece.rows != 0])
        for piece in files:
            for rows in batches(table, piece):
                yield rows, -(-n // len(files))
                break
        return
    groups = spread([(file, group) for file in table.files for group in file.groups if group[1]])
    total = sum(group[1] for _, group in groups)
    limit = total if total <= SAMPLE_WHOLE else -(-max(SAMPLE_READ, 2 * n) // len(groups))
    for file, (group, stored, _) in groups:
        unchanged(table, file)
        foot = parquet.footer(table.place, file)
        texts = [name for name in table.stored.names if name in foot.leaves]
        texts = [name for name in texts if parquet.stored_as_dictionary(foot, group, name)]
        count = min(stored, limit)
        opened = parquet.opened(table.place, file.path, foot, texts, buffer=1 << 16)

        def read(name: str, opened: Any = opened, foot: Any = foot, group: int = group, count: int = count) -> Any:
            return parquet.head(opened, foot, group, name, count)

        yield (
            Rows(count, table.schema, reader(table, file, count, read, f"row group {group}"), table.where),
            -(-n * stored // total),
        )


def spread(items: list[Any]) -> list[Any]:
    """Up to 12 of the items, evenly spaced, first and last included."""
    if len(items) <= SAMPLE_PARTS:
        return items
    return [items[round(i * (len(items) - 1) / (SAMPLE_PARTS - 1))] for i in range(SAMPLE_PARTS)]


def _plain(values: pa.Array | pa.ChunkedArray, type_: pa.DataType) -> pa.Array:
    values = values if values.type == type_ else values.cast(type_)
    return values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
