"""Cleaning as a flow of named steps: rows go in, rows come out, and what each step changed or refused is counted.

A flow is lazy: `run` gives tables one after the other, and the counts are whole when the last was taken. A step is a
function from tables to tables; those in clean_steps look at one table at a time, those in clean_rows that compare rows with
each other (`unique`, `sessions`, `outliers`) hold what they need of all of them. Steps of the first sort that follow each other
are worked on by threads, or by the workers of a Dask cluster, a table each, in the order of the tables; those of the second
stay in this process. Each step's count says where it was worked on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain, groupby
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from workbench.errors import WorkbenchError, nearest

if TYPE_CHECKING:
    from workbench.clusters import Workers

Values = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Refused:
    """Rows that a step set aside, as they came to it, and why."""

    step: str
    reason: str
    rows: pa.Table


@dataclass
class Count:
    """What a step did: rows in and out, rows in which it changed a value, rows refused, flagged, and left out; and where it
    was worked on: "threads", "processes", "cuda" or "cluster", with a word where only a part of it was.

    rows_in == rows_out + refused + dropped, always.
    """

    step: str
    words: str
    rows_in: int = 0
    rows_out: int = 0
    changed: int = 0
    refused: int = 0
    flagged: int = 0
    dropped: int = 0
    where: str = ""


@dataclass
class Notes:
    """Where a step writes down what it did. `seen` counts whatever the step names; `device` is "cuda" on a GPU worker."""

    count: Count
    refused: list[Refused] = field(default_factory=list)
    seen: Counter[tuple[str, ...]] = field(default_factory=Counter)
    device: str = ""

    def add(self, other: Notes) -> None:
        """What another wrote down of the same step, behind what is here."""
        for name in ("rows_in", "rows_out", "changed", "refused", "flagged", "dropped"):
            setattr(self.count, name, getattr(self.count, name) + getattr(other.count, name))
        self.refused += other.refused
        self.seen.update(other.seen)

    def refuse(self, rows: pa.Table, bad: Values, reason: str) -> pa.Table:
        """The rows that are not bad; the others are set aside with the reason."""
        if not bad.any():
            return rows
        self.refused.append(Refused(self.count.step, reason, rows.filter(pa.array(bad))))
        self.count.refused += int(bad.sum())
        return rows.filter(pa.array(~bad))


@dataclass(frozen=True)
class Step:
    """One step: its name, what it does in words, and the function from tables to tables."""

    name: str
    words: str
    work: Callable[[Iterator[pa.Table], Notes], Iterator[pa.Table]] = field(repr=False)
    alone: bool = False  # whether it looks at one table at a time, so that several can be worked on at once
    here: str = ""  # why it stays in this process when others go to the workers of a cluster
    cuda: str = ""  # what of it a GPU does


@dataclass(frozen=True)
class Flow:
    """Steps in their order. `str(flow)` is the plan."""

    steps: tuple[Step, ...]

    def __str__(self) -> str:
        width = max((len(one.name) for one in self.steps), default=0)
        return "\n".join(f"{k + 1}. {one.name:{width}}  {one.words}" for k, one in enumerate(self.steps))

    def run(
        self, tables: pa.Table | Iterable[pa.Table | pa.RecordBatch | Part], crew: Workers | None = None
    ) -> Running:
        """The flow over rows; nothing is read before the first table is taken.

        tables may be functions that give some when they are called: a worker of a cluster then reads them itself.
        crew: from `cluster()`, open until the last table was taken; None for threads.

        >>> from workbench.tables.clean_steps import text
        >>> going = flow(text(["name"])).run(pa.table({"name": [" Ana ", "Bo", ""]}))
        >>> going.table()["name"].to_pylist()
        ['Ana', 'Bo', None]
        >>> [(one.step, one.rows_in, one.changed) for one in going.counts]
        [('text', 3, 2)]
        """
        from workbench.clusters import Workers, cores

        threads = Workers("threads", cores())
        crew = crew or threads
        notes = [Notes(Count(one.name, one.words, where=_where(one, crew))) for one in self.steps]
        rows: Iterator[Any] = iter([tables] if isinstance(tables, pa.Table) else tables)
        pairs = zip(self.steps, notes, strict=True)
        for (alone, here), group in groupby(pairs, key=lambda pair: (pair[0].alone, bool(pair[0].here))):
            if alone:
                rows = _spread(list(group), rows, threads if here else crew)
            else:
                rows = _opened(rows)
                for step, note in group:
                    rows = _counted(step, rows, note)
        return Running(_opened(rows), notes)


@dataclass
class Running:
    """A flow under way: iterate over it for the tables, or take them as one; then `counts` and `refused` are whole."""

    rows: Iterator[pa.Table]
    notes: list[Notes]

    def __iter__(self) -> Iterator[pa.Table]:
        return self.rows

    def table(self) -> pa.Table:
        """All rows that are left, as one table."""
        parts = list(self.rows)
        if not parts:
            raise WorkbenchError("no table went into the flow; give it one, which may be empty")
        return pa.concat_tables(parts, promote_options="permissive").combine_chunks()

    @property
    def counts(self) -> list[Count]:
        return [one.count for one in self.notes]

    @property
    def refused(self) -> list[Refused]:
        """Rows set aside, joined by step and reason."""
        parts: dict[tuple[str, str], list[pa.Table]] = {}
        for note in self.notes:
            for one in note.refused:
                parts.setdefault((one.step, one.reason), []).append(one.rows)
        return [
            Refused(step, reason, pa.concat_tables(rows, promote_options="permissive"))
            for (step, reason), rows in parts.items()
        ]


def flow(*steps: Step) -> Flow:
    """Steps as one flow; two of one name get a number."""
    seen: dict[str, int] = {}
    named = []
    for one in steps:
        seen[one.name] = seen.get(one.name, 0) + 1
        name = one.name if seen[one.name] == 1 else f"{one.name} {seen[one.name]}"
        named.append(replace(one, name=name))
    return Flow(tuple(named))


def each(name: str, words: str, work: Callable[[pa.Table, Notes], pa.Table], *, here: str = "", cuda: str = "") -> Step:
    """A step that looks at one table at a time; several threads or workers call `work`, each with notes of its own."""
    return Step(name, words, lambda tables, notes: (work(one, notes) for one in tables), True, here, cuda)


def needed(rows: pa.Table, columns: Iterable[str], step: str) -> None:
    """Raises WorkbenchError for a column that a step needs and that is not there."""
    for name in columns:
        if name not in rows.schema.names:
            raise WorkbenchError(f"the step {step!r} needs a column {name!r}: {nearest(name, rows.schema.names)}")


def numbers(rows: pa.Table, name: str, step: str) -> pa.ChunkedArray:
    """A column as 64-bit floats; raises WorkbenchError where it holds no numbers."""
    kind = rows[name].type
    if not (
        pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind) or pa.types.is_null(kind)
    ):
        raise WorkbenchError(f"the step {step!r} needs numbers in {name!r}, it holds {kind}; give it a type before")
    return rows[name].cast(pa.float64(), safe=False)


def put(rows: pa.Table, columns: Mapping[str, pa.Array | pa.ChunkedArray]) -> pa.Table:
    """The table with columns replaced in their place, or added behind the others."""
    for name, values in columns.items():
        place = rows.schema.get_field_index(name)
        rows = rows.append_column(name, values) if place < 0 else rows.set_column(place, name, values)
    return rows


def mask(values: pa.Array | pa.ChunkedArray) -> Values:
    """A boolean column as numpy, missing as False."""
    return np.asarray(values.fill_null(False)).astype(bool)


Part = Callable[[], Iterable[pa.Table]]


def _opened(tables: Iterable[Any]) -> Iterator[pa.Table]:
    for one in tables:
        if isinstance(one, pa.Table | pa.RecordBatch):
            yield one if isinstance(one, pa.Table) else pa.Table.from_batches([one])
        else:
            yield from one()


def _where(step: Step, crew: Workers) -> str:
    """Where a step is worked on, with a word where it is not where the others are."""
    kind = crew.kind if crew.kind in ("threads", "processes", "cuda") else "cluster"
    if not step.alone or step.here:
        why = step.here or "it compares rows"
        return "threads" if crew.local and step.alone else f"this process: {why}"
    if kind == "cuda":
        return f"cuda: {step.cuda}" if step.cuda else "cuda: rows on the worker's processor"
    return kind


def _spread(steps: Sequence[tuple[Step, Notes]], tables: Iterator[Any], crew: Workers) -> Iterator[pa.Table]:
    """Tables through steps that look at one at a time, by a crew, in their order.

    What a table's steps write down is added to the notes when it leaves, so that counts and refused rows are in order too.
    """
    device = "cuda" if crew.kind == "cuda" else ""
    named = [(step, Count(notes.count.step, notes.count.words)) for step, notes in steps]
    if crew.local:
        work = partial(_through, named, device)
        parts: Iterable[Any] = ([done] for done in crew.each(work, _opened(tables)))
    else:
        parts = crew.each(partial(_elsewhere, _sendable(named), device), map(_sent, tables))
    for done in chain.from_iterable(parts):
        table, told = done
        for (_, notes), mine in zip(steps, told, strict=True):
            notes.add(mine)
        yield table if crew.local else _unpacked(table)


def _through(steps: Sequence[tuple[Step, Count]], device: str, table: pa.Table) -> tuple[pa.Table, list[Notes]]:
    """A table after some steps, and what each of them wrote down."""
    told = []
    for step, count in steps:
        mine = Notes(Count(count.step, count.words), device=device)
        (table,) = _counted(step, iter([table]), mine)
        told.append(mine)
    return table, told


def _elsewhere(steps: Sequence[tuple[Step, Count]], device: str, sent: Any) -> list[tuple[pa.Buffer, list[Notes]]]:
    """What a worker of a cluster does: it opens what it was sent, and sends back tables packed."""
    opened = [_unpacked(sent)] if isinstance(sent, pa.Buffer) else sent()
    done = (_through(steps, device, one) for one in opened)
    return [(_packed(table), told) for table, told in done]


def _sendable(steps: list[tuple[Step, Count]]) -> list[tuple[Step, Count]]:
    """The steps, where each of them can be written down and sent."""
    from distributed.protocol import pickle

    for step, _ in steps:
        try:
            pickle.dumps(step)
        except Exception as error:
            said = str(error).splitlines()[0]
            raise WorkbenchError(
                f"the step {step.name!r} cannot be sent to a worker ({said}): use cluster='threads'"
            ) from None
    return steps


def _sent(one: Any) -> Any:
    if isinstance(one, pa.RecordBatch):
        one = pa.Table.from_batches([one])
    return _packed(one) if isinstance(one, pa.Table) else one


def _packed(table: pa.Table) -> pa.Buffer:
    """A table as Arrow's stream of bytes: of a slice only what is in it, which pickle would not do."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as file:
        file.write_table(table)
    return sink.getvalue()


def _unpacked(held: pa.Buffer) -> pa.Table:
    with pa.ipc.open_stream(held) as file:
        return file.read_all()


def _counted(step: Step, rows: Iterator[pa.Table], notes: Notes) -> Iterator[pa.Table]:
    count = notes.count

    def coming() -> Iterator[pa.Table]:
        for one in rows:
            count.rows_in += one.num_rows
            yield one

    try:
        for one in step.work(coming(), notes):
            count.rows_out += one.num_rows
            yield one
    except (pa.ArrowException, OverflowError) as error:
        said = str(error).splitlines()[0][:200]
        raise WorkbenchError(
            f"the step {count.step!r} cannot work on these rows: {said}; give columns a type before"
        ) from error
    lost = count.rows_in - count.rows_out - count.refused - count.dropped
    if lost:
        raise WorkbenchError(f"the step {count.step!r} lost {lost:,} rows; a step refuses or drops rows by name")
