"""Text to rows in the types of a table; a line that cannot be one is set aside with its reason, and the others stay."""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as acsv
import pyarrow.json as pj
import pyarrow.types as at

from workbench.tables.delta_files import as_type
from workbench.tables.kinds import TIME, convert, kind_of
from workbench.tables.source import brief

MISSING = ("", "NULL", "null", "NA", "N/A", "\\N")
SHAPES = (  # by rising generality: what all values of a column look like
    (pa.int64(), r"^[+-]?(\d{1,18}|[1-8]\d{18}|9[01]\d{17}|92[01]\d{16})$"),
    (pa.float64(), r"^[+-]?(\d+\.?\d*([eE][+-]?\d+)?|\.\d+([eE][+-]?\d+)?|[iI]nf(inity)?|[nN]a[nN])$"),
    (pa.bool_(), r"^([tT]rue|[fF]alse|TRUE|FALSE)$"),
    (TIME, r"^\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d{1,9})?)?(Z|[+-]\d\d(:?\d\d)?)?)?$"),
)
# Digits that no number keeps: zeros before others (01234), the plus of +4930123456, more than 64 bits hold.
SPELT = r"^\s*([+-]?0\d+|\+\d{7,}|[+-]?(92[2-9]\d{16}|9[3-9]\d{17}|\d{20,}))\s*$"
STRAY = 0.01  # share of values in a sample that may not look like their column and leave its type alone


@dataclass(frozen=True)
class Broken:
    """A line that is no row: its number in the chunk from 0, why, and the line."""

    row: int
    reason: str
    line: bytes


Parsed = tuple[pa.Table, list[Broken]]


def lines_of(data: bytes) -> list[bytes]:
    return [one.rstrip(b"\r") for one in data.split(b"\n")]


def header(head: bytes, name: str) -> tuple[tuple[str, ...], str, int]:
    """Names, delimiter and length in bytes of a CSV file's first line; raises WorkbenchError for names that repeat."""
    from workbench.tables.text_csv import start

    shape = start(head.decode("utf-8", "replace").encode(), name, MISSING, {})  # a broken line is told by itself
    body = head.removeprefix(codecs.BOM_UTF8)
    at_byte = len(head) - len(body)
    for _ in range(shape.skip):
        at_byte = head.index(b"\n", at_byte) + 1
    quoted = re.match(rb'(?:[^"\r\n]|"[^"]*")*(?:\r?\n|\r|$)', head[at_byte:])
    return shape.names, shape.delimiter, at_byte + (len(quoted.group()) if quoted else 0)


def strings(data: bytes, names: Sequence[str], delimiter: str) -> tuple[pa.Table, list[Broken]]:
    """CSV rows with every value as text (missing ones missing); rows with another number of cells are broken."""
    broken: list[Broken] = []

    def keep(row: Any) -> str:
        number = len(broken) if row.number is None else row.number - 1
        what = f"{row.actual_columns} cells, and the header names {row.expected_columns}"
        broken.append(Broken(number, what, (row.text or "").encode()))
        return "skip"

    table = _csv(data, names, delimiter, {name: pa.string() for name in names}, keep)
    return table, broken


def _csv(data: bytes, names: Sequence[str], delimiter: str, types: Mapping[str, pa.DataType], keep: Any) -> pa.Table:
    if not data.strip():
        return pa.table({name: pa.array([], types[name]) for name in names})
    return acsv.read_csv(
        pa.BufferReader(data),
        read_options=acsv.ReadOptions(use_threads=False, block_size=len(data) + 2, column_names=list(names)),
        parse_options=acsv.ParseOptions(delimiter=delimiter, newlines_in_values=True, invalid_row_handler=keep),
        convert_options=acsv.ConvertOptions(
            column_types=dict(types), null_values=list(MISSING), strings_can_be_null=True
        ),
    )


def parse_csv(data: bytes, names: Sequence[str], delimiter: str, schema: pa.Schema) -> Parsed:
    """The rows of a chunk of CSV in the types of the schema, and the lines that are none."""
    first = data[: data.find(b"\n")] if b"\n" in data else data
    zoned = re.search(rb"\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:?\d\d)", first) is not None
    types = {name: _parser(schema.field(name).type, zoned) if name in schema.names else pa.string() for name in names}
    broken: list[Broken] = []

    def keep(row: Any) -> str:
        broken.append(Broken(0, "", b""))
        return "skip"

    try:
        table = _csv(data, names, delimiter, types, keep)
        if not broken and not _open(data, table):
            part = _part(schema, names)
            return pa.table([_finished(table.column(one.name), one.type) for one in part], schema=part), []
    except (pa.ArrowException, ValueError):
        pass
    good, torn = _utf8(data)
    table, wrong = strings(good, names, delimiter)
    if at_byte := _open(good, table):
        wrong.append(
            Broken(len(table) + len(wrong) - 1, "a quote that nothing ends", good[good.rfind(b"\n", 0, at_byte) + 1 :])
        )
        table = table.slice(0, len(table) - 1)
    lost = sorted(one.row for one in wrong)
    where = _numbers(len(table), lost)
    taken, bad = checked(table, schema)
    again = [
        one for index, why in bad.items() for one in [Broken(where[index], why, _row(table, index, delimiter))]
    ]  # fmt: skip
    mended = [_repeated(one, names) for one in again]
    left: list[Broken] = []
    for one in [*wrong, *mended]:  # a quote that nothing ends takes the lines behind it into one value
        rest = _behind(one, names, delimiter, schema)
        taken = pa.concat_tables([taken, rest[0]]) if rest[0] is not None else taken
        left += rest[1]
    return taken, sorted([*torn, *left], key=lambda one: one.row)


def _open(data: bytes, table: pa.Table) -> int:
    """Where the quote stands that nothing ends, so that the last value has all lines behind it in it; 0 for none."""
    if not len(table) or data.count(b'"') % 2 == 0:
        return 0
    last = data.rfind(b'"')
    values = [one[-1].as_py() for one in table.columns if at.is_string(one.type)]
    tail = data[last + 1 :]
    return last if any(one and "\n" in one and tail.rstrip() == one.encode().rstrip() for one in values) else 0


def _behind(
    one: Broken, names: Sequence[str], delimiter: str, schema: pa.Schema
) -> tuple[pa.Table | None, list[Broken]]:
    """The rows in the lines behind the first of a broken one, where most of them are rows; else the line as it is."""
    first, _, more = one.line.partition(b"\n")
    if not more.strip():
        return None, [one]
    if first.count(b'"') % 2 and more.count(b'"') % 2:
        more = more[::-1].replace(b'"', b"", 1)[::-1]  # the quote that was put behind the last line
    table, broken = parse_csv(more + b"\n", names, delimiter, schema)
    if len(table) <= len(broken):
        return None, [one]
    return table, [replace(one, line=first), *(replace(each, row=one.row + 1 + each.row) for each in broken)]


def _repeated(one: Broken, names: Sequence[str]) -> Broken:
    same = one.line.replace(b'"', b"").split(b"\n")[0]
    return Broken(one.row, "the header again", one.line) if all(name.encode() in same for name in names) else one


def _numbers(rows: int, lost: Sequence[int]) -> list[int]:
    gone = set(lost)
    return [number for number in range(rows + len(gone)) if number not in gone]


def _row(table: pa.Table, index: int, delimiter: str) -> bytes:
    out = io.StringIO()
    csv.writer(out, delimiter=delimiter, lineterminator="").writerow(
        ["" if one is None else one for one in (column[index].as_py() for column in table.columns)]
    )
    return out.getvalue().encode()


def _utf8(data: bytes) -> tuple[bytes, list[Broken]]:
    """The lines that are UTF-8, and those that are not."""
    try:
        data.decode()
        return data, []
    except UnicodeDecodeError:
        pass
    good, torn = [], []
    for number, line in enumerate(data.split(b"\n")):
        try:
            line.decode()
            good.append(line)
        except UnicodeDecodeError as error:
            torn.append(Broken(number, f"not UTF-8 text (byte {error.object[error.start]:#04x})", line))
    return b"\n".join(good), torn


def checked(table: pa.Table, schema: pa.Schema) -> tuple[pa.Table, dict[int, str]]:
    """Rows of text in the types of the schema, and why the rows that are left out do not fit."""
    bad: dict[int, str] = {}
    part = _part(schema, table.column_names)
    for field in part:
        for index in misfits(table.column(field.name), field.type):
            value = table.column(field.name)[index].as_py()
            bad.setdefault(index, f"column {field.name!r}: {str(value)[:80]!r} is no {kind_of(field.type)}")
    if bad:
        keep = pa.array([index for index in range(len(table)) if index not in bad], pa.int64())
        table = table.take(keep)
    columns = [to_type(table.column(field.name), field.type) for field in part]
    return pa.table(columns, schema=part) if columns else table, bad


def misfits(values: pa.ChunkedArray, type_: pa.DataType) -> list[int]:
    """The places of the values that are not of a type, found by halving."""
    found: list[int] = []
    stack = [(0, len(values))]
    while stack:
        start, end = stack.pop()
        try:
            to_type(values.slice(start, end - start), type_)
        except (pa.ArrowException, ValueError):
            if end - start == 1:
                found.append(start)
            else:
                middle = (start + end) // 2
                stack += [(middle, end), (start, middle)]
    return found


def to_type(values: pa.ChunkedArray, type_: pa.DataType) -> pa.ChunkedArray:
    """Text as values of a type; raises pyarrow.ArrowInvalid for a value that is none."""
    if type_ == values.type:
        return values
    if at.is_boolean(type_):
        values = pc.utf8_lower(values)
    if at.is_integer(type_) or at.is_floating(type_):
        values = pc.replace_substring_regex(values, r"^\s*\+?|\s+$", "")
    if at.is_nested(type_):
        raise pa.ArrowInvalid("a nested value cannot be read from text")
    if type_ == TIME and at.is_string(values.type):
        return _times(values)
    plain = values if at.is_decimal(type_) or at.is_date(type_) or at.is_binary(type_) else convert(values, type_)
    return plain.cast(type_)


def _times(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Text as times, each value by itself: with a zone or without (UTC), with up to nine digits of a second."""
    values = pc.replace_substring_regex(values, r"(\.\d{6})\d+", r"\1")
    values = pc.replace_substring_regex(values, r"^\s*(\d{4}-\d\d-\d\d)\s*$", r"\1T00:00:00Z")
    values = pc.replace_substring_regex(values, r"^\s*(\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?)\s*$", r"\1Z")
    return values.cast(TIME)


def _part(schema: pa.Schema, names: Sequence[str]) -> pa.Schema:
    return pa.schema([field for field in schema if field.name in names])


def _finished(values: pa.ChunkedArray, type_: pa.DataType) -> pa.ChunkedArray:
    """A column as a parser read it, in the type of the table."""
    return convert(values, TIME) if type_ == TIME else to_type(values, type_)


def _parser(type_: pa.DataType, zoned: bool | None = None) -> pa.DataType:
    """The type in which the parsers read a column quickly; a time with or without a zone, or as text."""
    if type_ == TIME and zoned is not None:
        return TIME if zoned else pa.timestamp("us")
    return type_ if kind_of(type_) in ("integer", "number", "boolean") and not at.is_decimal(type_) else pa.string()


def parse_json(data: bytes, schema: pa.Schema) -> Parsed:
    """The rows of a chunk of JSON lines in the types of the schema, and the lines that are none.

    A nested value in a column of text is kept as JSON.
    """
    if not data.strip():
        return schema.empty_table(), []
    try:
        if not data.isascii():
            data.decode()  # the parser does not look
        return _json(data, schema), []
    except (pa.ArrowException, ValueError):
        return _json_lines(data, schema)


def _json(data: bytes, schema: pa.Schema, times: bool | None = True) -> pa.Table:
    wanted = pa.schema(
        [(one.name, _parser(one.type, times) if not at.is_nested(one.type) else one.type) for one in schema]
    )
    table = pj.read_json(
        pa.BufferReader(data),
        read_options=pj.ReadOptions(use_threads=False, block_size=len(data) + 1),
        parse_options=pj.ParseOptions(explicit_schema=wanted, unexpected_field_behavior="error"),
    )
    if len(table) != data.rstrip().count(b"\n") + 1:  # an object over two lines, or two in one: told line by line
        raise pa.ArrowInvalid("lines and rows differ")
    return pa.table([to_type(table.column(one.name), one.type) if at.is_string(table.schema.field(one.name).type)
                     else as_type(table.column(one.name), one.type, one.name, "the lines") for one in schema],
                    schema=schema)  # fmt: skip


def _json_lines(data: bytes, schema: pa.Schema) -> Parsed:
    broken: list[Broken] = []
    kept: list[tuple[int, bytes]] = []
    texts = {one.name for one in schema if at.is_string(one.type) or kind_of(one.type) == "time"}
    for number, line in enumerate(lines_of(data)):
        if not line.strip():
            continue
        row, why = _object(line)
        if row is None:
            broken.append(Broken(number, why, line))
            continue
        new = [name for name in row if name not in schema.names]
        if new:
            broken.append(Broken(number, f"new column {', '.join(map(repr, new))}", line))
            continue
        for name, value in row.items():
            if name in texts and value is not None and not isinstance(value, str):
                row[name] = json.dumps(value, ensure_ascii=False)
        kept.append((number, json.dumps(row, ensure_ascii=False).encode()))
    tables: list[pa.Table] = []
    stack = [kept] if kept else []
    while stack:
        part = stack.pop()
        try:
            tables.append(_json(b"\n".join(line for _, line in part) + b"\n", schema, None))
        except (pa.ArrowException, ValueError) as error:
            if len(part) == 1:
                broken.append(Broken(part[0][0], _why(part[0][1], schema, error), part[0][1]))
            else:
                middle = len(part) // 2
                stack += [part[middle:], part[:middle]]
    return pa.concat_tables(tables) if tables else schema.empty_table(), sorted(broken, key=lambda one: one.row)


def _object(line: bytes) -> tuple[dict[str, Any] | None, str]:
    try:
        row = json.loads(line.removeprefix(codecs.BOM_UTF8))
    except UnicodeDecodeError as error:
        return None, f"not UTF-8 text (byte {error.object[error.start]:#04x})"
    except (ValueError, RecursionError) as error:
        return None, f"no JSON: {brief(error)}"
    if not isinstance(row, dict):
        return None, f"a {type(row).__name__} and no object"
    try:
        json.dumps(row, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return None, "half a character (a surrogate without its other half)"
    return row, ""


def _why(line: bytes, schema: pa.Schema, error: Exception) -> str:
    row = json.loads(line)
    for name, value in row.items():
        try:
            _json(json.dumps({name: value}).encode(), pa.schema([schema.field(name)]), None)
        except (pa.ArrowException, ValueError):
            return f"column {name!r}: {str(value)[:80]!r} is no {kind_of(schema.field(name).type)}"
    return brief(error)


def learn_csv(data: bytes, names: Sequence[str], delimiter: str) -> dict[str, pa.DataType]:
    """The types of the columns of a sample by what nearly all of their values look like."""
    table, _ = strings(_utf8(data)[0], names, delimiter)
    return {name: looks_like(table.column(name)) for name in names}


def looks_like(values: pa.ChunkedArray) -> pa.DataType:
    """The narrowest type whose shape all values have, but for a stray one in a hundred; text where there is none, and where a
    number would not say one of them as it is written."""
    known = values.drop_null()
    if not len(known):
        return pa.null()
    allowed = int(len(known) * STRAY)
    misses = [len(known) - (pc.sum(pc.match_substring_regex(known, shape)).as_py() or 0) for _, shape in SHAPES]
    if misses[1] < misses[0]:
        misses[0] = len(known)  # one fraction among integers makes numbers of all
    found = next((type_ for (type_, _), missed in zip(SHAPES, misses, strict=True) if missed <= allowed), pa.string())
    spelt = kind_of(found) in ("integer", "number") and pc.any(pc.match_substring_regex(known, SPELT)).as_py()
    return pa.string() if spelt else found


def learn_json(data: bytes) -> dict[str, pa.DataType]:
    """The types of the keys in a sample of JSON lines; nested values and mixed kinds are text."""
    rows = [row for line in lines_of(data) if line.strip() for row, _ in [_object(line)] if row is not None]
    names = list(dict.fromkeys(name for row in rows for name in row))
    return {name: _json_type([row[name] for row in rows if row.get(name) is not None]) for name in names}


def _json_type(values: list[Any]) -> pa.DataType:
    if not values:
        return pa.null()
    tests: list[tuple[pa.DataType, Callable[[Any], bool]]] = [
        (pa.bool_(), lambda one: isinstance(one, bool)),
        (pa.int64(), lambda one: isinstance(one, int) and not isinstance(one, bool) and abs(one) < 2**63),
        (pa.float64(), lambda one: isinstance(one, int | float) and not isinstance(one, bool)),
    ]
    counts = [sum(1 for one in values if test(one)) for _, test in tests]
    allowed = int(len(values) * STRAY)
    if len(values) - counts[0] <= allowed:
        return pa.bool_()
    if len(values) - counts[2] <= allowed:
        if any(isinstance(one, int) and abs(one) >= 2**63 for one in values):
            return pa.string()  # a float would say another number
        return pa.int64() if counts[1] == counts[2] else pa.float64()
    texts = [one for one in values if isinstance(one, str)]
    if len(values) - len(texts) <= allowed:
        found = looks_like(pa.chunked_array([pa.array(texts)]))
        return found if found == TIME else pa.string()
    return pa.string()


def wider(first: pa.DataType, second: pa.DataType) -> pa.DataType:
    """The type for what two samples hold."""
    if first == second or at.is_null(second):
        return first
    if at.is_null(first):
        return second
    return pa.float64() if {first, second} <= {pa.int64(), pa.float64()} else pa.string()
