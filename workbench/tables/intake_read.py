"""Reading what a collection takes: chunks of whole lines, or row groups, each with what the record says after it."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa

from workbench.errors import WorkbenchError
from workbench.tables import intake, intake_otlp, intake_rows, text_csv
from workbench.tables.delta_files import twins
from workbench.tables.delta_record import Entry
from workbench.tables.intake import Chain, Look, Seen
from workbench.tables.intake_rows import Broken
from workbench.tables.source import brief

CHUNK = 8 << 20  # bytes of text that one worker parses: large files are cut, so that none holds up the others
LINE = 64 << 20  # a longer line is no line


@dataclass(frozen=True)
class Job:
    """A file to take from: what it is to the record, and how its lines are read."""

    seen: Seen
    look: Look
    base: Entry | None  # what the record says of this address
    asides: tuple[str, ...] = ()  # set aside before, and settled when this is taken
    fresh: bool = False  # read from the start, whatever was taken
    left: Entry | None = None  # what the record is to say of the name that this content had before

    @property
    def known(self) -> Entry:
        """What was taken of this content, under this name or another."""
        taken = None if self.fresh or self.look.outcome not in ("grown", "longer") else self.look.entry
        return taken or Entry("file", self.seen.name)


@dataclass(frozen=True)
class Text:
    """How the text of a file is read: "csv" with names and delimiter, "json", or OTLP's "spans", "logs", "metrics"."""

    form: str
    names: tuple[str, ...] = ()
    delimiter: str = ","
    header: bytes = b""


@dataclass(frozen=True)
class Chunk:
    """A part of a file: lines of text, or rows; and the file's entry in the record once it is taken."""

    job: int
    after: Entry
    data: bytes = b""
    rows: pa.Table | None = None
    line: int = 0  # number of its first line in the file, from 1
    text: Text = field(default_factory=lambda: Text(""))
    first: bool = False
    problem: str = ""  # the file ends here for a reason


def begin(one: Seen, encoding: str | None) -> Text:
    """How a text is read, by its first line. Raises WorkbenchError where it has none that can be one."""
    if one.form == "json":
        line = first_bytes(one, encoding, 4096).removeprefix(codecs.BOM_UTF8).lstrip()
        if line[:1] == b"[":
            raise WorkbenchError("a JSON array, and JSON lines are wanted: write one object per line")
        return Text(intake_otlp.signal(line) or "json")
    head = first_bytes(one, encoding, 1 << 20)
    names, delimiter, length = intake_rows.header(head, one.name)
    if b"\0" in head[:length]:
        raise WorkbenchError(
            "its first line holds zero bytes, as UTF-16 does that has no byte-order mark: give encoding=, as in utf-16-le"
        )
    _apart(names)
    if not any(any(char.isalpha() for char in name) for name in names):
        raise WorkbenchError(f"its first line names no columns: {head[:60].decode('utf-8', 'replace')!r}")
    return Text("csv", names, delimiter, head[:length])


def _apart(names: Sequence[str]) -> None:
    if twin := twins(names):
        raise WorkbenchError(
            f"it has the columns {twin[0]!r} and {twin[1]!r}, and capitals tell none apart: rename one"
        )


def first_bytes(one: Seen, encoding: str | None, count: int) -> bytes:
    have = b""
    for block in intake.text(one, 0, encoding):
        have += block
        if len(have) >= count:
            break
    return have


def chunks(number: int, job: Job, encoding: str | None, settle: float) -> Iterator[Chunk]:
    """What is to be taken of a file, in parts; the last one says where the file ended and why."""
    try:
        if job.seen.form == "parquet":
            yield from _groups(number, job)
        else:
            yield from _lines(number, job, encoding, settle)
    except (WorkbenchError, OSError, EOFError, pa.ArrowException, UnicodeError) as error:
        if job.seen.age >= settle:  # a younger one is left for the next time
            reason = str(error) if isinstance(error, WorkbenchError) else f"it cannot be read: {brief(error)}"
            yield Chunk(number, _refused(job), first=True, problem=reason)


def _refused(job: Job) -> Entry:
    known = job.base or job.known
    return replace(known, key=job.seen.name, size=job.seen.size, stamp=job.seen.stamp, state="refused", time=None)


def _groups(number: int, job: Job) -> Iterator[Chunk]:
    import pyarrow.parquet as pq

    one, known = job.seen, job.known
    content = intake.hashed(one)
    with one.place.open(one.path) as raw:
        file = pq.ParquetFile(raw, page_checksum_verification=True)
        _apart(file.schema_arrow.names)
        total = file.metadata.num_row_groups
        rows, start = known.rows, known.position if known.content == content else 0
        entry = Entry("file", one.name, content, content[:24], "", start, one.size, one.stamp, rows, "open", _FORM)
        if total == 0:
            yield Chunk(number, replace(entry, state="whole"), rows=file.schema_arrow.empty_table(), first=True)
        for group in range(start, total):
            for batch in _several(file, group):
                last = batch[1]
                rows += len(batch[0])
                done = group + 1 if last else group
                entry = replace(entry, position=done, rows=rows, state="whole" if done == total else "open")
                part = pa.Table.from_batches([batch[0]])
                yield Chunk(number, entry if last else replace(entry, state="within"), rows=part, first=group == 0)


_FORM = json.dumps({"form": "parquet"})


def _several(file: Any, group: int) -> Iterator[tuple[pa.RecordBatch, bool]]:
    """The batches of a row group, each with whether it is the last."""
    before = None
    for batch in file.iter_batches(1 << 17, row_groups=[group], use_threads=False):
        if before is not None:
            yield before, False
        before = batch
    if before is None:
        before = pa.RecordBatch.from_pylist([], schema=file.schema_arrow)
    yield before, True


def _lines(number: int, job: Job, encoding: str | None, settle: float) -> Iterator[Chunk]:
    one, known = job.seen, job.known
    how = begin(one, encoding)
    told = known.told
    start = known.position
    chain = Chain(known.chain, start)
    stream = intake.text(one, start // intake.BLOCK * intake.BLOCK, encoding)
    pending, head, problem = b"", b"", ""
    line, first, torn = int(told.get("line", 1)), start == 0, bool(told.get("torn"))
    entry = replace(
        known, kind="file", key=one.name, size=one.size, stamp=one.stamp, state="open", time=None,
        head=known.head, detail=json.dumps({"form": how.form, "line": line}),
    )  # fmt: skip
    end = False
    while not end:
        try:
            block = next(stream, b"")
        except (OSError, EOFError, UnicodeError, pa.ArrowException) as error:
            block, problem = b"", f"it breaks off after {chain.position + len(pending):,} bytes: {brief(error)}"
        end = not block
        if block and chain.position < start:  # what was taken before is only hashed
            cut = start - chain.position
            chain.feed(block[:cut])
            block = block[cut:]
        pending += block
        if len(pending) < CHUNK and not end:
            continue
        whole = text_csv.cut(pending) if how.form == "csv" else pending.rfind(b"\n") + 1
        if end and len(pending) > whole and not problem and one.age >= settle:
            whole = len(pending)
        if not whole:
            if len(pending) > LINE:
                problem = problem or f"a line of more than {LINE >> 20} MB after {chain.position:,} bytes"
                end = True
            if not end:
                continue
        data, pending = pending[:whole], pending[whole:]
        chain.feed(data)
        if len(head) < intake.HEAD and start == 0:
            head += data[: intake.HEAD - len(head)]
        body = data
        if first and data:
            skip = len(how.header) or len(data) - len(data.removeprefix(codecs.BOM_UTF8))
            line += data[:skip].count(b"\n")
            body = data[skip:]
        at_line = line
        line += body.count(b"\n")
        told = {"form": how.form, "line": line, **({"torn": True} if data and not data.endswith(b"\n") else {})}
        entry = replace(
            entry, content=chain.identity() if chain.position else "", chain=chain.chain.hex(), position=chain.position,
            head=_head(head, chain.position) if start == 0 else _regrown(known, chain, one, encoding),
            state="whole" if end and not pending and not problem else "open", detail=json.dumps(told),
        )  # fmt: skip
        if problem and one.age >= settle:
            entry = replace(entry, state="refused")
        if torn and body and not body.startswith((b"\n", b"\r\n")):
            rest = body.find(b"\n") + 1 or len(body)
            yield Chunk(number, replace(entry, state="within"), body[:rest], line=at_line, text=Text("torn"))
            body = body[rest:]
        torn = torn and not data
        if data or problem or _moved_on(job.base, entry):
            yield Chunk(number, entry, body, None, at_line, how, first, problem if one.age >= settle else "")
        first = first and not data


def _moved_on(base: Entry | None, entry: Entry) -> bool:
    """Whether an entry says more than that a file was touched."""
    names = ("content", "position", "state")
    return base is None or [getattr(base, name) for name in names] != [getattr(entry, name) for name in names]


def _head(head: bytes, position: int) -> str:
    return intake.head_of(head[: min(intake.HEAD, position)])


def _regrown(known: Entry, chain: Chain, one: Seen, encoding: str | None) -> str:
    """The identity of how a file begins, anew where it was short."""
    if known.position >= intake.HEAD:
        return known.head
    begin = first_bytes(one, encoding, intake.HEAD)
    return intake.head_of(begin[: min(intake.HEAD, chain.position)])


def parse(chunk: Chunk, schema: pa.Schema) -> tuple[pa.Table, list[Broken]]:
    """The rows of a chunk of text in the types of the schema, and its broken lines by their number in the file."""
    how = chunk.text
    if how.form == "torn":
        return schema.empty_table(), [Broken(chunk.line, "it continues a line that was taken before", chunk.data)]
    if how.form == "csv":
        table, broken = intake_rows.parse_csv(chunk.data, how.names, how.delimiter, schema)
    elif how.form == "json":
        table, broken = intake_rows.parse_json(chunk.data, schema)
    else:
        table, broken = intake_otlp.parse(chunk.data, how.form)
    return table, [replace(one, row=one.row + chunk.line) for one in broken]


def names_of(chunk: Chunk) -> Sequence[str]:
    """The columns that a chunk says it has; of JSON lines nobody knows before they are read."""
    if chunk.rows is not None:
        names: Sequence[str] = chunk.rows.schema.names
        return names
    if chunk.text.form == "csv":
        return chunk.text.names
    return intake_otlp.SCHEMAS[chunk.text.form].names if chunk.text.form in intake_otlp.SCHEMAS else ()
