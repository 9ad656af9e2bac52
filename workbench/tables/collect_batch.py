"""One commit of a collection as it comes together: files read ahead, parsed a few at a time, refused or taken."""

from __future__ import annotations

import ast
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa

from workbench.errors import WorkbenchError
from workbench.tables import delta, intake_read, intake_rows
from workbench.tables.delta import Aside, Home
from workbench.tables.delta_files import as_type, check_columns, storable, twins
from workbench.tables.delta_record import Entry
from workbench.tables.intake_read import Chunk, Job
from workbench.tables.intake_rows import Broken
from workbench.tables.kinds import asked_type, common_type
from workbench.tables.source import partition_value

BATCH = 512 << 20  # bytes of sources (unpacked) that one commit takes
PARSERS = 2
SAMPLES = 8  # files whose first megabyte says what the columns of a new table hold
MOSTLY = 0.5  # of the lines in a file's first chunk: more broken ones than this, and it is another kind of file
FEW = 10  # broken lines that say nothing of a file
SHOWN = 20  # places that an entry of the quarantine names


@dataclass
class Asked:
    """The options of a collection."""

    time: str = ""
    types: Mapping[str, str | pa.DataType] = field(default_factory=dict)
    evolve: tuple[str, ...] = ()
    lacking: str = "aside"
    settle: float = 5.0
    encoding: str | None = None
    rewritten: str = "aside"
    batch: int = BATCH
    required: tuple[str, ...] | None = None  # columns that a file must have; None for all of the table
    say: Callable[[str], Any] = lambda line: None


@dataclass
class Batch:
    """What one commit takes, as it comes together."""

    schema: pa.Schema
    entries: dict[str, Entry] = field(default_factory=dict)
    broken: dict[int, list[Broken]] = field(default_factory=dict)
    how: dict[int, intake_read.Text] = field(default_factory=dict)
    refused: dict[int, str] = field(default_factory=dict)
    rows: Counter[int] = field(default_factory=Counter)
    taken: int = 0  # bytes
    over: bool = False


def chunks(jobs: Sequence[Job], asked: Asked) -> Iterator[Chunk]:
    for number, job in enumerate(jobs):
        yield from intake_read.chunks(number, job, asked.encoding, asked.settle)


def rows_of(
    flow: Iterator[Chunk], batch: Batch, jobs: Sequence[Job], at: Home, asked: Asked, pool: ThreadPoolExecutor
) -> Iterator[pa.Table]:
    """The rows of chunks in their order, parsed a few at a time, until the batch is full."""
    ahead: deque[tuple[Chunk, Future[tuple[pa.Table, list[Broken]]] | None]] = deque()
    batch.over = False
    while True:
        while not batch.over and len(ahead) < 2 * PARSERS and batch.taken < asked.batch:
            chunk = next(flow, None)
            if chunk is None:
                batch.over = True
                break
            batch.taken += len(chunk.data) if chunk.rows is None else chunk.rows.nbytes
            if chunk.after.state == "within":
                batch.taken = min(batch.taken, asked.batch - 1)  # a batch ends where an entry can say so
            work = (
                pool.submit(intake_read.parse, chunk, batch.schema) if _parsed(chunk, batch, jobs, at, asked) else None
            )
            ahead.append((chunk, work))
        if not ahead:
            return
        chunk, future = ahead.popleft()
        rows = _taken(chunk, future, batch, jobs, at, asked)
        if rows is not None and len(rows):
            yield rows


def _parsed(chunk: Chunk, batch: Batch, jobs: Sequence[Job], at: Home, asked: Asked) -> bool:
    """Whether a chunk is to be parsed; a file whose columns do not suit the table is refused at its first chunk."""
    number = chunk.job
    if number in batch.refused:
        return False
    names = intake_read.names_of(chunk)
    if (chunk.first or number not in batch.how) and names and not chunk.problem:
        named = [*names, *(key for key, _ in jobs[number].seen.partitions)]
        try:
            new = check_columns(named, batch.schema, asked.evolve, "it")
        except WorkbenchError as error:
            _refuse(batch, chunk, jobs, str(error))
            return False
        required = batch.schema.names if asked.required is None else asked.required
        lacking = [one for one in required if one not in named and one not in asked.evolve]
        if lacking and asked.lacking == "aside" and "*" not in asked.evolve:
            _refuse(
                batch, chunk, jobs, f"it lacks the column {lacking[0]!r} of the table; lacking='null' takes it without"
            )
            return False
        if new:
            _grow(at, batch, chunk, new, asked)
    batch.how.setdefault(number, chunk.text)
    return bool(chunk.data) and chunk.rows is None


def _refuse(batch: Batch, chunk: Chunk, jobs: Sequence[Job], reason: str) -> None:
    job = jobs[chunk.job]
    batch.refused[chunk.job] = reason
    batch.rows.pop(chunk.job, None)
    before = job.base or Entry("file", job.seen.name)
    batch.entries[job.seen.name] = replace(before, size=job.seen.size, stamp=job.seen.stamp, state="refused", time=None)


def _grow(at: Home, batch: Batch, chunk: Chunk, new: Sequence[str], asked: Asked) -> None:
    known = learned(chunk)
    types = {
        name: asked_type(name, asked.types[name]) if name in asked.types else known.get(name, pa.string())
        for name in new
    }
    wanted = pa.schema([*batch.schema, *((name, types[name]) for name in new)])
    batch.schema = delta.table_schema(at, wanted, asked.evolve, "a file", {})


def learned(chunk: Chunk) -> dict[str, pa.DataType]:
    if chunk.rows is not None:
        return {one.name: storable(one.type) for one in chunk.rows.schema}
    sample = chunk.data[: 1 << 20]
    sample = sample[: sample.rfind(b"\n") + 1] or sample
    if chunk.text.form == "csv":
        return intake_rows.learn_csv(sample, chunk.text.names, chunk.text.delimiter)
    if chunk.text.form == "json":
        return intake_rows.learn_json(sample)
    from workbench.tables.intake_otlp import SCHEMAS

    return {one.name: one.type for one in SCHEMAS[chunk.text.form]}


def _taken(
    chunk: Chunk, future: Future[tuple[pa.Table, list[Broken]]] | None, batch: Batch, jobs: Sequence[Job], at: Home,
    asked: Asked,
) -> pa.Table | None:  # fmt: skip
    """The rows of a chunk in the table's schema; its entry and its broken lines are noted."""
    number, job = chunk.job, jobs[chunk.job]
    if number in batch.refused:
        return None
    table, broken = (chunk.rows, []) if future is None else future.result()
    while future is not None and chunk.text.form == "json" and (new := _new_names(broken, batch.schema, asked)):
        _grow(at, batch, chunk, new, asked)
        table, broken = intake_read.parse(chunk, batch.schema)
    try:
        table = None if table is None else _suited(table, batch.schema, job)
    except WorkbenchError as error:
        _refuse(batch, chunk, jobs, str(error))
        return None
    count = 0 if table is None else len(table)
    if chunk.first and job.seen.form != "parquet" and len(broken) > max(MOSTLY * (count + len(broken)), FEW):
        reasons = Counter(one.reason for one in broken).most_common(1)
        _refuse(
            batch,
            chunk,
            jobs,
            f"{len(broken):,} of its first {count + len(broken):,} lines are no rows: {reasons[0][0]}",
        )
        return None
    batch.entries[job.seen.name] = replace(chunk.after, rows=job.known.rows + batch.rows[number] + count)
    batch.rows[number] += count
    if job.left is not None:
        batch.entries.setdefault(job.left.key, job.left)
    if broken:
        batch.broken.setdefault(number, []).extend(broken)
    if chunk.problem:
        batch.refused[number] = chunk.problem
    return table


def _new_names(broken: Sequence[Broken], schema: pa.Schema, asked: Asked) -> list[str]:
    """The declared new columns that lines were broken for; those that differ from others by capitals only stay so."""
    said = [one.reason.removeprefix("new column ") for one in broken if one.reason.startswith("new column ")]
    names = {name for several in said for name in ast.literal_eval(f"[{several}]")}
    wanted = sorted(name for name in names if name in asked.evolve or "*" in asked.evolve)
    return [name for k, name in enumerate(wanted) if not twins([*schema.names, *wanted[:k], name])]


def _suited(table: pa.Table, schema: pa.Schema, job: Job) -> pa.Table:
    columns = []
    partitions = dict(job.seen.partitions)
    for one in schema:
        if one.name in table.column_names:
            columns.append(as_type(table.column(one.name), one.type, one.name, "it"))
        elif one.name in partitions:
            texts = pa.chunked_array([pa.array([partitions[one.name]] * len(table), pa.string())])
            try:
                columns.append(intake_rows.to_type(texts, one.type))
            except pa.ArrowException as error:
                raise WorkbenchError(f"the folder {one.name}={partitions[one.name]} does not fit {one.type}") from error
        else:
            columns.append(pa.chunked_array([pa.nulls(len(table), one.type)]))
    return pa.table(columns, schema=schema)


def asides_of(batch: Batch, jobs: Sequence[Job]) -> list[Aside]:
    """What the batch sets aside: whole files by their address, lines with their text."""
    found = []
    for number, reason in batch.refused.items():
        name = jobs[number].seen.name
        found.append(Aside(reason, 1, {"file": name}, source=name))
    for number, lines in batch.broken.items():
        how = batch.how.get(number) or intake_read.Text("csv")
        reasons = Counter(one.reason for one in lines)
        where = {"lines": [one.row for one in lines[:SHOWN]], "reasons": dict(reasons.most_common(SHOWN))}
        head = how.header.removeprefix(b"\xef\xbb\xbf").rstrip(b"\r\n") + b"\n" if how.header else b""
        body = head + b"\n".join(one.line.rstrip(b"\r\n") for one in lines) + b"\n"
        form = "csv" if how.form == "csv" else "json"
        first = reasons.most_common(1)[0][0] + (f" and {len(reasons) - 1} other reasons" if len(reasons) > 1 else "")
        found.append(Aside(first, len(lines), where, None, body, jobs[number].seen.name, form))
    return found


def schema_of(at: Home, jobs: Sequence[Job], asked: Asked) -> tuple[pa.Schema | None, str]:
    """The schema of the table; of one that is made now, what samples of the files hold. Or None, and what is wrong.

    The columns that all sampled files of CSV and Parquet have are required of later ones.
    """
    if at.exists() and (known := delta.load(at)).version() > 0:
        known = pa.schema(known.schema().to_arrow())
        return pa.schema([pa.field(one.name, one.type) for one in known]), ""
    step = max(len(jobs) / SAMPLES, 1.0)
    picked = [jobs[int(index * step)] for index in range(min(len(jobs), SAMPLES))]
    types: dict[str, pa.DataType] = {}
    problem, must = "", None
    for number, job in enumerate(picked):
        first = next(intake_read.chunks(number, job, asked.encoding, asked.settle), None)
        if first is not None and first.problem:
            problem = problem or f"{job.seen.name!r}: {first.problem}"
        if first is None or (first.problem and not first.data) or (first.rows is None and not first.data):
            continue
        if job.seen.form != "json":
            has = {*intake_read.names_of(first), *(key for key, _ in job.seen.partitions)}
            must = has if must is None else must & has
        columns = learned(first)
        problem = problem or ("" if columns else f"{job.seen.name!r}: none of its first lines is a JSON object")
        for name, type_ in columns.items():
            if name in types or not twins([*types, name]):  # another spelling of a column is set aside later
                types[name] = _wider(types.get(name, pa.null()), type_)
    if not types:
        return None, problem
    for key in {key for job in jobs for key, _ in job.seen.partitions}:
        values: list[str | None] = [dict(job.seen.partitions).get(key) for job in jobs]
        read = partition_value(values)
        some = next((read(one) for one in values if one is not None), None)
        types.setdefault(key, pa.string() if some is None else storable(pa.scalar(some).type))
    asked.required = tuple(name for name in types if name in (must or ()))
    for name, wanted in asked.types.items():
        types[name] = asked_type(name, wanted)
    wanted_schema = pa.schema(list(types.items()))
    return delta.table_schema(at, wanted_schema, (), "the sources", {"operation": "create"}), ""


def _wider(first: pa.DataType, second: pa.DataType) -> pa.DataType:
    both = common_type(first, second, numbers=True)
    return both if both is not None else first if first == second else pa.string()
