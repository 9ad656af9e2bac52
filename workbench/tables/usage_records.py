"""The rows of a source's files: columns of Parquet and CSV, records of JSON; what cannot be read is an exception."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from os import PathLike, fspath
from typing import Any

import pyarrow as pa

from workbench.errors import WorkbenchError
from workbench.tables.source import Found, Place, brief, find, is_pattern, locate, packing, plain
from workbench.tables.usage import PAGES
from workbench.tables.usage_named import Raw
from workbench.tables.usage_values import array

SHOWN = 120  # characters of a broken line that an exception shows
Record = tuple[str, int, dict[str, Any]]  # file, row from 1, what it says


def files(source: str | PathLike[str]) -> tuple[Place, list[Found], str]:
    """The files of a source and their format: "parquet" (the newest version of a Delta table too), "csv" or "json"."""
    from workbench.tables.delta_open import pinned

    newest = pinned(fspath(source), None, None, None, {})
    if newest is None:
        return find(fspath(source), {})
    parts = {one.path: one.partitions for one in newest[0].files}
    return newest[0].home.place, [replace(one, partitions=tuple(parts[one.relative])) for one in newest[1]], "parquet"


@dataclass(frozen=True)
class Seen:
    """A source of text before it is read: its address, and a version that changes with its contents."""

    source: str
    version: str
    rows: None = None


def seen(source: str | PathLike[str]) -> Any:
    """What a run records of a source of usage, GPU-hours or metrics that it is about to read: address, version, rows.

    Of Parquet and Delta what `open_table` gives, from the files' footers. Of text (also of Prometheus) its rows are not known,
    and broken lines are for the reader to name: the version is 12 hex digits of the contents.

    Raises WorkbenchError for a source that does not exist.

    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "log.jsonl"
    >>> _ = path.write_text('{"broken')
    >>> seen(path).version == seen(path).version, seen(path).rows
    (True, None)
    """
    from workbench.tables.opening import open_table

    name = fspath(source)
    if plain(name).lower().endswith(PAGES):
        place, path = locate(name, None)
        paths = sorted(place.fs.glob(path)) if is_pattern(path) else [path]
        if not paths or not place.fs.exists(paths[0]):
            raise WorkbenchError(f"{name!r} does not exist: name a file or pattern of Prometheus text")
        found = [Found(one, plain(one).rpartition("/")[2], ()) for one in paths]
    else:
        place, found, form = files(source)
        if form == "parquet":
            return open_table(name)
    told = hashlib.sha256()
    try:
        for one in found:
            told.update(f"{one.relative}\0".encode())
            with place.open(one.path) as file:
                while block := file.read(1 << 22):
                    told.update(block)
    except OSError as error:
        raise WorkbenchError(f"{name!r} cannot be read: {brief(error)}") from error
    return Seen(name, told.hexdigest()[:12])


def tables(place: Place, found: Sequence[Found], form: str) -> Raw:
    """All rows of Parquet or CSV files as columns; files may differ in columns and types."""
    parts, rows, names = [], [], []
    broken: list[dict[str, Any]] = []
    for one in found:
        label = one.relative
        try:
            table, number = _parquet(place, one) if form == "parquet" else _csv(place, one, label, broken)
        except (OSError, pa.ArrowException, EOFError, UnicodeDecodeError) as error:
            raise WorkbenchError(f"{place.show(one.path)!r} cannot be read: {brief(error)}") from error
        for key, value in one.partitions:
            if key not in table.column_names:
                table = table.append_column(key, pa.repeat(pa.scalar(value, pa.string()), table.num_rows))
        parts.append(table)
        rows.append(number)
        names.append(pa.repeat(pa.scalar(label), table.num_rows))
    columns = list(dict.fromkeys(name for table in parts for name in table.column_names))
    joined = {name: _joined([_column(table, name) for table in parts]) for name in columns}
    return Raw(joined, pa.concat_arrays(names), pa.concat_arrays(rows), broken)


def _column(table: pa.Table, name: str) -> pa.Array:
    return array(table.column(name)) if name in table.column_names else pa.nulls(table.num_rows)


def _joined(parts: list[pa.Array]) -> pa.Array:
    types = {part.type for part in parts if not pa.types.is_null(part.type)}
    if len(types) == 1:
        return pa.concat_arrays([part.cast(next(iter(types))) for part in parts])
    if not types:
        return pa.concat_arrays(parts)
    return pa.concat_arrays([part.cast(pa.string()) for part in parts])


def _parquet(place: Place, one: Found) -> tuple[pa.Table, pa.Array]:
    import pyarrow.parquet as pq

    with place.open(one.path) as file:
        table = pq.read_table(file)
    return table, pa.array(range(1, table.num_rows + 1), pa.int64())


def _csv(place: Place, one: Found, label: str, broken: list[dict[str, Any]]) -> tuple[pa.Table, pa.Array]:
    """A CSV file, every value as text; rows with a wrong number of cells are exceptions."""
    import csv as plain_csv

    import numpy as np
    import pyarrow.csv as pc

    from workbench.tables.text_csv import DELIMITERS

    data = b"".join(content(place, one)).removeprefix(b"\xef\xbb\xbf")
    head = data[: 1 << 16].decode("utf-8", "replace").partition("\n")[0].rstrip("\r")
    mark = "\t" if ".tsv" in one.path.lower() else max(DELIMITERS, key=head.count)
    if "\0" in head:
        raise WorkbenchError(f"{place.show(one.path)!r} is no text in UTF-8, by its first line: save it as UTF-8")
    names = next(plain_csv.reader([head], delimiter=mark), [])
    names = [name.strip() or f"unnamed_{number}" for number, name in enumerate(names)]
    if len(set(names)) < len(names) or not names:
        raise WorkbenchError(f"{place.show(one.path)!r} has no header line of different names: give its columns names")
    lost: list[int] = []

    def keep(row: Any) -> str:
        lost.append(row.number - 1)
        text = (row.text or "")[:SHOWN]
        broken.append({"source": label, "row": row.number - 1, "reason": "unreadable", "field": "row", "value": text})
        return "skip"

    table = pc.read_csv(
        io.BytesIO(data.decode("utf-8", "replace").encode()),
        pc.ReadOptions(column_names=names, skip_rows=1, use_threads=False, block_size=max(1 << 20, len(data) + 1)),
        pc.ParseOptions(delimiter=mark, newlines_in_values=True, invalid_row_handler=keep),
        pc.ConvertOptions(column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False),
    )
    every = np.arange(1, table.num_rows + len(lost) + 1)
    return table, pa.array(np.delete(every, np.array(lost, int) - 1) if lost else every)


def content(place: Place, one: Found) -> Iterator[bytes]:
    """The bytes of a file, unpacked."""
    packed = packing(one.path)
    with place.open(one.path) as file:
        if packed == "gzip":
            file = gzip.GzipFile(fileobj=file)
        elif packed == "zstd":
            file = pa.CompressedInputStream(file, "zstd")
        while block := file.read(1 << 22):
            yield block


def records(place: Place, found: Sequence[Found], broken: list[dict[str, Any]]) -> Iterator[Record]:
    """The objects of JSON files: one a line, or all in one array or object; others are exceptions."""
    for one in found:
        label = one.relative
        try:
            yield from _file(place, one, label, broken)
        except (OSError, EOFError, pa.ArrowException) as error:
            raise WorkbenchError(f"{place.show(one.path)!r} cannot be read: {brief(error)}") from error


def _file(place: Place, one: Found, label: str, broken: list[dict[str, Any]]) -> Iterator[Record]:
    blocks = content(place, one)
    head = next(blocks, b"").removeprefix(b"\xef\xbb\xbf")
    first = head.lstrip().split(b"\n", 1)[0].strip()
    if head.lstrip()[:1] == b"[" or (head.lstrip()[:1] == b"{" and not _object(first)):
        whole = b"".join([head, *blocks]).decode("utf-8", "replace")
        try:
            yield from _all(json.loads(whole), label, broken)
            return
        except (ValueError, RecursionError):
            if head.lstrip()[:1] == b"[":
                yield from _cut(whole, label, broken)
                return
            blocks, head = iter(()), whole.encode()
    number, rest = 0, b""
    for block in (head, *blocks) if isinstance(blocks, tuple) else _chain(head, blocks):
        *lines, rest = (rest + block).split(b"\n")
        for line in lines:
            number += 1
            yield from _line(line, label, number, broken)
    yield from _line(rest, label, number + 1, broken)


def _chain(head: bytes, blocks: Iterator[bytes]) -> Iterator[bytes]:
    yield head
    yield from blocks


def _object(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _line(line: bytes, label: str, number: int, broken: list[dict[str, Any]]) -> Iterator[Record]:
    text = line.decode("utf-8", "replace").strip()
    if not text:
        return
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if isinstance(value, list) and value and all(isinstance(one, dict) for one in value):
        yield from ((label, number, one) for one in value)
    elif isinstance(value, dict):
        yield from ((label, number, one) for one in _page(value))
    else:
        broken.append(_broken(label, number, text))


def _page(value: dict[str, Any]) -> list[dict[str, Any]]:
    """The objects of an answer that wraps a list of them, such as {"data": [...], "meta": ...}; else the object itself."""
    lists = [value[key] for key in ("data", "traces", "items", "results") if isinstance(value.get(key), list)]
    wraps = len(lists) == 1 and lists[0] and all(isinstance(one, dict) for one in lists[0])
    return lists[0] if wraps and not any(key in value for key in ("id", "info")) else [value]


def _all(value: Any, label: str, broken: list[dict[str, Any]]) -> Iterator[Record]:
    """The objects of one JSON document: those of its array, those that it wraps, or itself."""
    if isinstance(value, dict):
        value = _page(value)
    for number, one in enumerate(value if isinstance(value, list) else [value], 1):
        if isinstance(one, dict):
            yield label, number, one
        else:
            broken.append(_broken(label, number, json.dumps(one)))


def _cut(text: str, label: str, broken: list[dict[str, Any]]) -> Iterator[Record]:
    """The whole objects at the head of an array that breaks off or breaks."""
    decoder, place, number = json.JSONDecoder(), text.index("[") + 1, 0
    while True:
        while place < len(text) and text[place] in " \t\r\n,":
            place += 1
        number += 1
        if place >= len(text) or text[place] == "]":
            if place >= len(text):
                broken.append(_broken(label, number, "the array does not end"))
            return
        try:
            value, place = decoder.raw_decode(text, place)
        except (ValueError, RecursionError):
            broken.append(_broken(label, number, text[place:]))
            return
        yield from _all([value], label, broken) if not isinstance(value, dict) else [(label, number, value)]


def _broken(label: str, number: int, text: str) -> dict[str, Any]:
    return {"source": label, "row": number, "reason": "unreadable", "field": "row", "value": text[:SHOWN]}


def flat(record: dict[str, Any]) -> dict[str, Any]:
    """A record with dotted names; a list stays one value, and its first object is also given by name.

    >>> flat({"a": {"b": 1}, "c": [{"d": 2}, {"d": 3}]})
    {'c': [{'d': 2}, {'d': 3}], 'c.0.d': 2, 'a.b': 1}
    """
    out: dict[str, Any] = {}
    stack: list[tuple[str, Any]] = [("", record)]
    while stack:
        prefix, value = stack.pop()
        for key, inner in value.items():
            name = f"{prefix}{key}"
            if isinstance(inner, dict):
                stack.append((name + ".", inner))
                continue
            out[name] = inner
            if isinstance(inner, list) and inner and isinstance(inner[0], dict):
                out.update(
                    {f"{name}.0.{under}": one for under, one in inner[0].items() if not isinstance(one, dict | list)}
                )
    return out


def columns(rows: Sequence[dict[str, Any]]) -> dict[str, pa.Array]:
    """Flat records as columns."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    return {name: array([row.get(name) for row in rows]) for name in names}
