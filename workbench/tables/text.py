"""Text files: streams of bytes, and learning the types of their columns from what is in them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.types as at

from workbench.errors import WorkbenchError
from workbench.tables.kinds import asked_type, kind_of
from workbench.tables.source import EDGE, Found, Place, brief, packing

if TYPE_CHECKING:
    from workbench.tables.table import File, Rows, Table

BLOCK = 16 << 20  # bytes of text that are parsed at once
WHOLE = 64 << 20  # a file up to this size is parsed whole at opening
TOTAL = 512 << 20  # but no more than this over all files of a source
PART = 4 << 20  # bytes of a sample from the middle and the end of a larger file


@dataclass(frozen=True)
class Shape:
    """How a text file is parsed: its columns in order, and the Arrow type that the parser makes of each."""

    format: str
    names: tuple[str, ...]
    types: tuple[pa.DataType, ...]
    missing: tuple[str, ...] = ()
    delimiter: str = ","
    skip: int = 0  # empty lines before the header
    as_text: tuple[str, ...] = ()  # columns of JSON values of several kinds, wanted as text

    def type_of(self, name: str) -> pa.DataType:
        return self.types[self.names.index(name)]


def stream(place: Place, path: str) -> Any:
    """The bytes of a text file, unpacked, as a pyarrow stream."""
    if place.address is None:
        raw = pa.OSFile(path)
    else:
        raw = pa.PythonFile(place.fs.open(path, "rb"), mode="r")
    packed = packing(path)
    return pa.CompressedInputStream(raw, packed) if packed else raw


def content(place: Place, path: str, size: int) -> str:
    """Hash of a file's head and tail."""
    with place.open(path) as file:
        head = file.read(EDGE)
        file.seek(max(size - EDGE, 0))
        return hashlib.sha256(head + file.read(EDGE)).hexdigest()[:24]


def learn(
    place: Place,
    found: Sequence[Found],
    form: str,
    missing: tuple[str, ...],
    types: Mapping[str, str | pa.DataType] | None,
) -> tuple[list[File], list[pa.Schema], tuple[Shape, ...]]:
    """The files, the schema learned from each, and how each is parsed."""
    from workbench.tables.opening import stamped

    asked = {name: asked_type(name, wanted) for name, wanted in (types or {}).items()}
    files, schemas = [], []
    shapes: list[Shape] = []
    read = 0
    for one in found:
        file = stamped(place, one)
        path = place.show(one.path)
        if file.size == 0:
            raise WorkbenchError(f"{path!r} is empty: it has no bytes, so its writer did not finish")
        whole = file.size <= WHOLE and read + file.size <= TOTAL
        read += file.size
        try:
            shape, schema, rows = _learn(place, one.path, form, missing, asked, file.size, whole)
        except (OSError, EOFError, pa.ArrowException) as error:
            raise WorkbenchError(f"{path!r} cannot be read: {brief(error)}") from error
        known = next((i for i, other in enumerate(shapes) if other == shape), len(shapes))
        if known == len(shapes):
            shapes.append(shape)
        files.append(replace(file, content=content(place, one.path, file.size), rows=rows, shape=known))
        schemas.append(schema)
    return files, schemas, tuple(shapes)


def _learn(
    place: Place,
    path: str,
    form: str,
    missing: tuple[str, ...],
    asked: Mapping[str, pa.DataType],
    size: int,
    whole: bool,
) -> tuple[Shape, pa.Schema, int | None]:
    from workbench.tables import text_csv, text_json

    shown = place.show(path)
    parser = text_csv if form == "csv" else text_json
    with stream(place, path) as file:
        head = fill(file, b"")
        last = len(head) < BLOCK
        if not head.strip(b"\xef\xbb\xbf \t\r\n"):
            raise WorkbenchError(f"{shown!r} is empty: it holds only blank lines")
        if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
            raise WorkbenchError(f"{shown!r} is UTF-16 text: save it as UTF-8")
        shape = parser.start(head, shown, missing, asked)
        learned: dict[str, pa.DataType] = {}
        rows: int | None = 0
        body = head[: len(head) if last else parser.cut(head)]
        rest = head[len(body) :]
        first = True
        if not body:
            raise WorkbenchError(f"{shown!r} has a row of more than {BLOCK >> 20} MB: is this {form} text?")
        while body:
            single = first and last
            types, count = parser.infer(body, shape, asked, shown, first, single)
            learned = _wider(learned, types, shown)
            rows = None if rows is None or count is None else rows + count
            first = False
            if not whole or last:
                break
            data = fill(file, rest)
            last = len(data) < BLOCK
            body = data[: len(data) if last else parser.cut(data)]
            rest = data[len(body) :]
    exact = last or (whole and rows is not None)
    if not whole and not last and packing(path) is None:
        for start in (size // 2, size - PART):
            with stream(place, path) as file:
                file.seek(start)
                part = file.read(PART)
            end = len(part) if start + len(part) >= size else part.rfind(b"\n") + 1
            types, _ = parser.infer(part[part.find(b"\n") + 1 : end], shape, asked, shown, False, False)
            learned = _wider(learned, types, shown)
    return *parser.finish(shape, learned, asked, exact), rows if exact else None


def fill(file: Any, before: bytes) -> bytes:
    """The bytes before, filled up to the size of a block or to the end of the file."""
    parts, have = [before], len(before)
    while have < BLOCK or have == len(before):
        part = file.read(BLOCK - have if have < BLOCK else BLOCK)
        if not part:
            break
        parts.append(part)
        have += len(part)
    return b"".join(parts)


def _wider(known: dict[str, pa.DataType], more: Mapping[str, pa.DataType], path: str) -> dict[str, pa.DataType]:
    result = dict(known)
    for name, type_ in more.items():
        result[name] = wider(result[name], type_, name, path) if name in result else type_
    return result


def wider(first: pa.DataType, second: pa.DataType, name: str, path: str) -> pa.DataType:
    """The type that holds the values of both parts of a file: numbers before text, text before an error."""
    if first == second or at.is_null(second):
        return first
    if at.is_null(first):
        return second
    kinds = {kind_of(first), kind_of(second)}
    if kinds == {"integer", "number"} or kinds == {"number"}:
        return pa.float64()
    if kinds == {"time"}:
        zones = [type_.tz if at.is_timestamp(type_) else None for type_ in (first, second)]
        units = {type_.unit for type_ in (first, second) if at.is_timestamp(type_)}
        return pa.timestamp("ns" if "ns" in units else "s", zones[0]) if zones[0] == zones[1] else pa.string()
    if "other" in kinds:
        if at.is_nested(first) and at.is_nested(second):
            try:
                pair = [pa.schema([(name, first)]), pa.schema([(name, second)])]
                return pa.unify_schemas(pair, promote_options="permissive").field(0).type
            except pa.ArrowException:
                pass
        if at.is_nested(first) or at.is_nested(second):
            raise WorkbenchError(
                f"{path!r} holds values of several kinds in column {name!r} ({first} and {second}): "
                f'make them alike, or use types={{{name!r}: "text"}}'
            )
    return pa.string()


def blocks(table: Table, file: File) -> Iterator[Rows]:
    """The rows of a text file, block by block."""
    from workbench.tables import text_csv, text_json
    from workbench.tables.reading import reader
    from workbench.tables.table import Rows

    shape: Shape = table.shapes[file.shape]
    if file.rows == 0:
        return
    constants = dict(file.values)
    wanted = {name: shape.type_of(name) for name in shape.names if name in table.stored.names}
    for name in set(table.stored.names) - set(wanted) - set(constants):  # JSON lines without this key
        type_ = table.stored.field(name).type
        wanted[name] = pa.string() if kind_of(type_) == "time" else type_
    wanted = wanted or {shape.names[0]: shape.types[0]}
    path = table.place.show(file.path)
    parse = text_csv.tables if shape.format == "csv" else text_json.tables
    with stream(table.place, file.path) as source:
        start = 0
        for part in parse(source, shape, wanted, path):
            end = start + len(part)
            where = f"rows {start} to {end}"
            start = end

            def read(name: str, part: pa.Table = part) -> pa.ChunkedArray:
                return part.column(name)

            yield Rows(len(part), table.schema, reader(table, file, len(part), read, where), table.where)
