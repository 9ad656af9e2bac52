"""CSV: the header line, the types of a block, and reading with types that are known."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.types as at

from workbench.errors import WorkbenchError
from workbench.tables.kinds import kind_of
from workbench.tables.source import brief
from workbench.tables.text import BLOCK, Shape

DELIMITERS = ",;\t|"
MISFIT = re.compile(r"In CSV column #(\d+): (?:Row #(\d+): )?CSV conversion error to ([^:]+): (.*)", re.DOTALL)


def start(head: bytes, path: str, missing: tuple[str, ...], asked: Mapping[str, pa.DataType]) -> Shape:
    """The columns and the delimiter by the header line."""
    text = head.removeprefix(b"\xef\xbb\xbf")
    skip = len(re.match(rb"(?:[ \t]*\r?\n)*", text).group().splitlines())  # type: ignore[union-attr]
    try:
        text_head = text[: 1 << 20].decode("utf-8", "strict" if len(text) <= 1 << 20 else "ignore")
        body = text_head.split("\n", skip)[-1] if skip else text_head
        line = re.match(r'(?:[^"\r\n]|"[^"]*")*', body).group()  # type: ignore[union-attr]
    except UnicodeDecodeError as error:
        raise WorkbenchError(f"{path!r} is not UTF-8 text: save it as UTF-8") from error
    bare = re.sub(r'"[^"]*"', "", line)
    delimiter = "\t" if re.search(r"\.tsv(\.\w+)?$", path) else max(DELIMITERS, key=bare.count)
    names = [name.strip() for name in next(csv.reader(io.StringIO(line), delimiter=delimiter), [])]
    if not names:
        raise WorkbenchError(f"{path!r} has no header line, only empty ones: its first line names the columns")
    names = [name or f"unnamed_{index}" for index, name in enumerate(names)]
    for name in names:
        if names.count(name) > 1:
            raise WorkbenchError(f"{path!r} has {names.count(name)} columns named {name!r}: rename them")
    return Shape("csv", tuple(names), (), missing, delimiter, skip)


def cut(data: bytes) -> int:
    """Where the last whole row of a block ends: after a line end that is in no quotes."""
    end = data.rfind(b"\n")
    odd = data.count(b'"', 0, end) % 2 if end >= 0 else 0
    while odd:
        before = data.rfind(b"\n", 0, end)
        if before < 0:
            return data.rfind(b"\n") + 1
        odd ^= data.count(b'"', before, end) % 2
        end = before
    return end + 1


def _options(
    shape: Shape, types: Mapping[str, pa.DataType], wanted: Sequence[str] | None, header: bool
) -> dict[str, Any]:
    return {
        "read_options": pc.ReadOptions(
            use_threads=False,
            block_size=BLOCK,
            column_names=list(shape.names),
            skip_rows=shape.skip if header else 0,
            skip_rows_after_names=1 if header else 0,
        ),
        "parse_options": pc.ParseOptions(delimiter=shape.delimiter, newlines_in_values=True),
        "convert_options": pc.ConvertOptions(
            column_types=dict(types),
            include_columns=list(wanted) if wanted else None,
            null_values=list(shape.missing),
            strings_can_be_null=True,
        ),
    }


def infer(
    data: bytes, shape: Shape, asked: Mapping[str, pa.DataType], path: str, header: bool, whole: bool
) -> tuple[dict[str, pa.DataType], int | None]:
    """The types of a block and its number of rows; where a part cannot be parsed by itself, nothing and None."""
    fixed = {name: type_ for name, type_ in asked.items() if kind_of(type_) != "time"} if whole else {}
    options = _options(shape, fixed, None, header)
    data = data if data.endswith((b"\n", b"\r")) else data + b"\n"
    options["read_options"].block_size = max(len(data), 1024)
    try:
        table = pc.read_csv(pa.BufferReader(data), **options)
    except pa.ArrowInvalid as error:
        if whole:
            raise explained(error, shape, path, False) from error
        if not header:
            return {}, None  # a part that was cut inside quotes
        options["read_options"].block_size = len(data) // 2
        try:
            with pc.open_csv(pa.BufferReader(data), **options) as parts:
                return {field.name: field.type for field in parts.schema}, None
        except pa.ArrowInvalid:
            raise explained(error, shape, path, False) from error
    types = {field.name: pa.string() if at.is_time(field.type) else field.type for field in table.schema}
    return types, len(table)


def finish(
    shape: Shape, learned: Mapping[str, pa.DataType], asked: Mapping[str, pa.DataType], exact: bool
) -> tuple[Shape, pa.Schema]:
    """The shape with the parser's types, and the schema they stand for."""
    types = []
    for name in shape.names:
        type_ = learned.get(name, pa.null())
        if not exact and at.is_timestamp(type_) and type_.unit == "s":
            type_ = pa.timestamp("us", type_.tz)  # a later value may have a fraction
        if not exact and at.is_date(type_):
            type_ = pa.timestamp("us")
        if not exact and at.is_null(type_):
            type_ = pa.string()
        if name in asked:
            as_time = kind_of(asked[name]) == "time"
            type_ = (type_ if kind_of(type_) == "time" else pa.string()) if as_time else asked[name]
        types.append(type_)
    shape = Shape(shape.format, shape.names, tuple(types), shape.missing, shape.delimiter, shape.skip)
    return shape, pa.schema(list(zip(shape.names, types, strict=True)))


def tables(source: Any, shape: Shape, wanted: Mapping[str, pa.DataType], path: str) -> Iterator[pa.Table]:
    """The file in blocks of rows with the wanted columns."""
    try:
        with pc.open_csv(source, **_options(shape, wanted, list(wanted), True)) as parts:
            for part in parts:
                yield pa.Table.from_batches([part])
    except pa.ArrowInvalid as error:
        if "Empty CSV file" not in str(error):
            raise explained(error, shape, path, True) from error


def explained(error: Exception, shape: Shape, path: str, learned: bool) -> WorkbenchError:
    """What pyarrow said about a CSV file, as a sentence that names file, column and value."""
    found = MISFIT.search(str(error))
    if not found:
        return WorkbenchError(f"{path!r} is not well-formed CSV: {brief(error)}")
    index, row, type_, what = found.groups()
    name = shape.names[int(index)]
    at_row = f", row {row}" if row else ""
    if "UTF8" in what:
        return WorkbenchError(f"{path!r} is not UTF-8 text: column {name!r}{at_row}; save it as UTF-8")
    reason = "as the parts read at opening suggested" if learned else "as types asks"
    return WorkbenchError(
        f"{path!r}, column {name!r}{at_row}: the {what.strip()[:200].rstrip('.')} is no {type_}, {reason}; "
        f'open it with types={{{name!r}: "text"}}'
    )
