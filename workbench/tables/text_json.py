"""JSON lines: the types of a block, and reading with types that are known."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pyarrow.json as pj
import pyarrow.types as at

from workbench.errors import WorkbenchError
from workbench.tables.kinds import TIME, convert, kind_of
from workbench.tables.source import brief
from workbench.tables.text import BLOCK, Shape, fill

MIXED = re.compile(r"Column\(/?([^/)]*).*?\) changed from (\w+) to (\w+)")
TWICE = re.compile(r"Column\(/([^)]*)\) was specified twice")


def start(head: bytes, path: str, missing: tuple[str, ...], asked: Mapping[str, pa.DataType]) -> Shape:
    """A shape without columns yet: JSON lines name them row by row."""
    if head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"[":
        raise WorkbenchError(f"{path!r} is a JSON array, and JSON lines are wanted: write one object per line")
    return Shape("json", (), (), as_text=tuple(name for name, type_ in asked.items() if kind_of(type_) == "text"))


def cut(data: bytes) -> int:
    """Where the last whole line of a block ends."""
    return data.rfind(b"\n") + 1


def infer(
    data: bytes, shape: Shape, asked: Mapping[str, pa.DataType], path: str, header: bool, whole: bool
) -> tuple[dict[str, pa.DataType], int | None]:
    """The types of a block and its number of rows."""
    table = _parse(data, None, shape, path)
    return {name: _learned(table.column(name)) for name in table.schema.names}, len(table)


def _learned(values: pa.ChunkedArray) -> pa.DataType:
    if at.is_timestamp(values.type):
        return TIME
    if at.is_string(values.type) and len(values) > values.null_count:
        try:
            convert(values, TIME)
        except pa.ArrowException:
            return values.type
        return TIME
    return values.type


def finish(
    shape: Shape, learned: Mapping[str, pa.DataType], asked: Mapping[str, pa.DataType], exact: bool
) -> tuple[Shape, pa.Schema]:
    """The shape with the parser's types (times are parsed as text first), and the schema they stand for."""
    parsed, schema = [], []
    for name, found in learned.items():
        type_ = pa.string() if at.is_null(found) and not exact else found
        wanted = asked.get(name, type_)
        text_first = at.is_string(type_) or kind_of(type_) == "time"
        parsed.append(pa.string() if text_first else wanted if kind_of(wanted) in ("number", "integer") else type_)
        schema.append((name, wanted))
    return replace(shape, names=tuple(learned), types=tuple(parsed)), pa.schema(schema)


def tables(source: Any, shape: Shape, wanted: Mapping[str, pa.DataType], path: str) -> Iterator[pa.Table]:
    """The file in blocks of rows with the wanted columns.

    When all columns are wanted, a key that was not seen at opening raises: it would be lost without a word.
    """
    schema = pa.schema(list(wanted.items()))
    known = set(shape.names) if set(shape.names) <= set(wanted) else None
    rest, last = b"", False
    while not last:
        data = fill(source, rest)
        last = len(data) < BLOCK or len(data) <= len(rest)
        body = data if last else data[: cut(data)]
        rest = data[len(body) :]
        if body.strip():
            yield _parse(body, schema, shape, path, known)


def _parse(data: bytes, schema: pa.Schema | None, shape: Shape, path: str, known: set[str] | None = None) -> pa.Table:
    try:
        try:
            return _read(data, schema, "ignore" if known is None else "error")
        except pa.ArrowInvalid as error:
            if known is None or "unexpected field" not in str(error):
                raise
            new = set(_read(data, None).schema.names) - known
            if new:
                raise WorkbenchError(
                    f"{path!r} has column {min(new)!r}, which the parts of the file read at opening lack: "
                    "choose the columns with columns=[...]"
                ) from error
            return _read(data, schema)
    except pa.ArrowInvalid as error:
        mixed = MIXED.search(str(error))
        if mixed and mixed.group(1) in shape.as_text:
            return _read(_as_text(data, shape.as_text), schema)
        raise _explained(error, data, schema, path) from error


def _read(data: bytes, schema: pa.Schema | None, others: str = "ignore") -> pa.Table:
    known = {} if schema is None else {"explicit_schema": schema, "unexpected_field_behavior": others}
    return pj.read_json(
        pa.BufferReader(data),
        read_options=pj.ReadOptions(use_threads=False, block_size=len(data) + 1),
        parse_options=pj.ParseOptions(newlines_in_values=False, **known),
    )


def _as_text(data: bytes, names: Sequence[str]) -> bytes:
    """The lines with these columns written as strings, so that values of several kinds become one."""
    lines = []
    for line in data.splitlines():
        if line.strip():
            row = json.loads(line)
            for name in names:
                if row.get(name) is not None and not isinstance(row[name], str):
                    row[name] = json.dumps(row[name], ensure_ascii=False)
            lines.append(json.dumps(row, ensure_ascii=False).encode())
    return b"\n".join(lines)


def _explained(error: Exception, data: bytes, schema: pa.Schema | None, path: str) -> WorkbenchError:
    words = str(error)
    if mixed := MIXED.search(words):
        name, before, after = mixed.groups()
        if not name:
            return WorkbenchError(f"{path!r} is not JSON lines: a row is a {after} and not an object")
        return WorkbenchError(
            f"{path!r} holds values of several kinds in column {name!r} ({before} and {after}): "
            f'make them alike, or open it with types={{{name!r}: "text"}}'
        )
    if twice := TWICE.search(words):
        return WorkbenchError(f"{path!r} has a row with two columns named {twice.group(1)!r}: rename them")
    if found := re.search(r"Failed to convert JSON to (.+?), couldn't parse:(.*)", words, re.DOTALL):
        for field in schema or ():
            try:
                _read(data, pa.schema([field]))
            except pa.ArrowInvalid:
                return WorkbenchError(
                    f"{path!r} has in column {field.name!r} the value {found.group(2).strip()[:200]!r}, which is no "
                    f"{found.group(1)}, as the rest of the file suggested or types asked for: "
                    f'open it with types={{{field.name!r}: "text"}} or "number"'
                )
    return WorkbenchError(f"{path!r} is not well-formed JSON lines: {brief(error)}")
