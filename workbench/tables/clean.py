"""Cleaning as a flow of named steps: rows go in, rows come out, and what each step changed or refused is counted.

A flow is lazy: `run` gives tables one after the other, and the counts are whole when the last was taken. A step is a
function from tables to tables; those in clean_steps look at one table at a time, those in clean_rows that compare rows with
each other (`unique`, `sessions`, `outliers`) hold what they need of all of them. Steps of the first sort that follow each other
are worked on by threads, a table each, in the order of the tables.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import numpy as np
import pyarrow as pa

from workbench.errors import WorkbenchError, nearest

Values = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Refused:
    """Rows that a step set aside, as they came to it, and why."""

    step: str
    reason: str
    rows: pa.Table


@dataclass
class Count:
    """What a step did: rows in and out, rows in which it changed a value, rows refused, flagged, and left out.

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


@dataclass
class Notes:
    """Where a step writes down what it did."""

    count: Count
    refused: list[Refused] = field(default_factory=list)

    def add(self, other: Notes) -> None:
        """What another wrote down of the same step, behind what is here."""
        for name in ("rows_in", "rows_out", "changed", "refused", "flagged", "dropped"):
            setattr(self.count, name, getattr(self.count, name) + getattr(other.count, name))
        self.refused += other.refused

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


@dataclass(frozen=True)
class Flow:
    """Steps in their order. `str(flow)` is the plan."""

    steps: tuple[Step, ...]

    def __str__(self) -> str:
        width = max((len(one.name) for one in self.steps), default=0)
        return "\n".join(f"{k + 1}. {one.name:{width}}  {one.words}" for k, one in enumerate(self.steps))

    def run(self, tables: pa.Table | Iterable[pa.Table | pa.RecordBatch]) -> Running:
        """The flow over rows; nothing is read before the first table is taken.

        >>> from workbench.tables.clean_steps import text
        >>> going = flow(text(["name"])).run(pa.table({"name": [" Ana ", "Bo", ""]}))
        >>> going.table()["name"].to_pylist()
        ['Ana', 'Bo', None]
        >>> [(one.step, one.rows_in, one.changed) for one in going.counts]
        [('text', 3, 2)]
        """
        notes = [Notes(Count(one.name, one.words)) for one in self.steps]
        rows: Iterator[pa.Table] = _tables(tables)
        for alone, group in groupby(zip(self.steps, notes, strict=True), key=lambda pair: pair[0].alone):
            pairs = list(group)
            if alone:
                rows = _spread(pairs, rows)
            else:
                for step, note in pairs:
                    rows = _counted(step, rows, note)
        return Running(rows, notes)


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
        named.append(Step(name, one.words, one.work, one.alone))
    return Flow(tuple(named))


def each(name: str, words: str, work: Callable[[pa.Table, Notes], pa.Table]) -> Step:
    """A step that looks at one table at a time; several threads call `work`, each with notes of its own."""
    return Step(name, words, lambda tables, notes: (work(one, notes) for one in tables), True)


def needed(rows: pa.Table, columns: Iterable[str], step: str) -> None:
    """Raises WorkbenchError for a column that a step needs and that is not there."""
    for name in columns:
        if name not in rows.schema.names:
            raise WorkbenchError(f"the step {step!r} needs a column {name!r}: {nearest(name, rows.schema.names)}")


def put(rows: pa.Table, columns: Mapping[str, pa.Array | pa.ChunkedArray]) -> pa.Table:
    """The table with columns replaced in their place, or added behind the others."""
    for name, values in columns.items():
        place = rows.schema.get_field_index(name)
        rows = rows.append_column(name, values) if place < 0 else rows.set_column(place, name, values)
    return rows


def mask(values: pa.Array | pa.ChunkedArray) -> Values:
    """A boolean column as numpy, missing as False."""
    return np.asarray(values.fill_null(False)).astype(bool)


def _tables(tables: pa.Table | Iterable[pa.Table | pa.RecordBatch]) -> Iterator[pa.Table]:
    for one in [tables] if isinstance(tables, pa.Table) else tables:
        yield one if isinstance(one, pa.Table) else pa.Table.from_batches([one])


def _spread(steps: Sequence[tuple[Step, Notes]], tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """Tables through steps that look at one at a time: by threads, in their order, one more than there are threads under way.

    What a table's steps write down is added to the notes when it leaves, so that counts and refused rows are in order too.
    """

    def through(table: pa.Table) -> tuple[pa.Table, list[Notes]]:
        told = []
        for step, notes in steps:
            mine = Notes(Count(notes.count.step, notes.count.words))
            (table,) = _counted(step, iter([table]), mine)
            told.append(mine)
        return table, told

    def left(done: Future[tuple[pa.Table, list[Notes]]]) -> pa.Table:
        table, told = done.result()
        for (_, notes), mine in zip(steps, told, strict=True):
            notes.add(mine)
        return table

    threads = os.cpu_count() or 1
    waiting: deque[Future[tuple[pa.Table, list[Notes]]]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for one in tables:
                waiting.append(pool.submit(through, one))
                if len(waiting) > threads:
                    yield left(waiting.popleft())
            while waiting:
                yield left(waiting.popleft())
        finally:
            for future in waiting:
                future.cancel()


def _counted(step: Step, rows: Iterator[pa.Table], notes: Notes) -> Iterator[pa.Table]:
    count = notes.count

    def coming() -> Iterator[pa.Table]:
        for one in rows:
            count.rows_in += one.num_rows
            yield one

    for one in step.work(coming(), notes):
        count.rows_out += one.num_rows
        yield one
    lost = count.rows_in - count.rows_out - count.refused - count.dropped
    if lost:
        raise WorkbenchError(f"the step {count.step!r} lost {lost:,} rows; a step refuses or drops rows by name")
