"""A table that is already in memory, as the pass reads tables: for small data and for examples."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from workbench.errors import WorkbenchError, nearest

PIECE_ROWS = 1_000_000


@dataclass(frozen=True)
class MemoryPiece:
    """Some rows of a table in memory."""

    start: int
    rows: int
    nbytes: int = 0

    @property
    def key(self) -> str:
        return f"{self.start}+{self.rows}"


@dataclass(frozen=True)
class MemoryRows:
    """A batch of rows whose columns are taken one at a time, in their plain types."""

    data: pa.Table
    schema: pa.Schema

    @property
    def count(self) -> int:
        return self.data.num_rows

    def column(self, name: str) -> pa.ChunkedArray:
        if name not in self.schema.names:
            raise WorkbenchError(f"there is no column {name!r}: {nearest(name, self.schema.names)}")
        return _plain(self.data[name], self.schema.field(name))

    def parts(self, name: str) -> Iterator[pa.Array]:
        """The values of one column, in order, in the pieces that the table has."""
        yield from self.column(name).chunks


@dataclass(frozen=True)
class MemoryTable:
    """An Arrow table (or what becomes one) as ``cube`` reads it; ``first`` is the place of its first row in the whole."""

    data: pa.Table
    source: str = "memory"
    first: int = 0

    def __post_init__(self) -> None:
        names = self.data.schema.names
        twice = sorted({n for n in names if names.count(n) > 1})
        if twice:
            raise WorkbenchError(
                f"The table has {names.count(twice[0])} columns called {twice[0]!r}; rename all but one."
            )

    def __getstate__(self) -> dict[str, Any]:
        # written as a stream, since a pickled slice of an Arrow table carries the whole of it
        rows = MemoryRows(self.data, self.schema)
        plain = pa.table({name: rows.column(name) for name in self.schema.names}).unify_dictionaries()
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, plain.schema) as stream:
            stream.write_table(plain)
        return {"data": sink.getvalue().to_pybytes(), "source": self.source, "first": self.first}

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = {**state, "data": pa.ipc.open_stream(state["data"]).read_all()}
        self.__dict__.update(state)

    @cached_property
    def schema(self) -> pa.Schema:
        from workbench.tables.kinds import plain_type

        return pa.schema([(f.name, plain_type(f.type)) for f in self.data.schema])

    @cached_property
    def kinds(self) -> dict[str, str]:
        from workbench.tables.kinds import kind_of

        return {f.name: kind_of(f.type) for f in self.schema}

    @cached_property
    def version(self) -> str:
        """Twelve hex digits that are the same for the same rows, however they are chunked or sliced."""
        sink = hashlib.sha256(str(self.data.schema).encode())
        for start in range(0, self.data.num_rows, PIECE_ROWS):
            rows = MemoryRows(self.data.slice(start, PIECE_ROWS), self.schema)
            columns = [rows.column(name).combine_chunks() for name in self.schema.names]
            for column in columns:
                array = column.chunk(0) if isinstance(column, pa.ChunkedArray) and column.num_chunks else column
                if pa.types.is_dictionary(array.type):
                    sink.update(memoryview(pa.record_batch([array.dictionary], ["words"]).serialize()))
                    array = array.indices
                if len(array):
                    sink.update(memoryview(pa.record_batch([array], ["values"]).serialize()))
        return sink.hexdigest()[:12]

    @property
    def rows(self) -> int:
        return self.data.num_rows

    def pieces(self) -> list[MemoryPiece]:
        n = self.data.num_rows
        return [MemoryPiece(self.first + a, min(PIECE_ROWS, n - a)) for a in range(0, n, PIECE_ROWS)]

    def part(self, pieces: Sequence[MemoryPiece]) -> MemoryTable:
        """The table of some neighbouring pieces only, to be sent to a worker elsewhere."""
        first, last = pieces[0].start, pieces[-1].start + pieces[-1].rows
        return MemoryTable(self.data.slice(first - self.first, last - first), self.source, first)

    def batches(self, piece: MemoryPiece) -> Iterator[MemoryRows]:
        yield MemoryRows(self.data.slice(piece.start - self.first, piece.rows), self.schema)

    def sample(self, n: int, columns: Sequence[str]) -> dict[str, pa.ChunkedArray]:
        data = self.data.select(list(columns))
        if data.num_rows > n:
            data = data.take(np.linspace(0, data.num_rows - 1, n).astype(np.int64))
        return {c: _plain(data[c], self.schema.field(c)) for c in columns}

    def bounds(self, column: str) -> tuple[int, int] | None:
        """Smallest and largest of a column of whole numbers (times: microseconds since 1970 UTC); None without any."""
        import pyarrow.compute as pc

        from workbench.cubes.columns import integral, whole_type

        if not whole_type(self.schema.field(column).type):
            return None
        ends = []
        for chunk in _plain(self.data[column], self.schema.field(column)).chunks:
            low, high = pc.min_max(integral(chunk)).as_py().values()
            ends += [] if low is None else [low, high]
        return (min(ends), max(ends)) if ends else None

    def spans(self, column: str) -> None:
        """Nothing is known of parts without reading them."""


def _plain(values: pa.ChunkedArray, field: pa.Field) -> pa.ChunkedArray:
    """A column in its plain type, as tables hand theirs out."""
    from workbench.tables.kinds import convert

    if pa.types.is_dictionary(values.type) and any(c.dictionary.null_count for c in values.chunks):
        values = values.cast(values.type.value_type)  # a null among the words is a missing value
    try:
        return convert(values, field.type)
    except pa.ArrowException as error:
        raise WorkbenchError(f"Column {field.name!r} cannot be read as {field.type}: {str(error)[:200]}") from None


def as_table(given: Any) -> Any:
    """What ``cube`` counts: an opened table as it is; an address opened; Arrow and pandas tables in memory."""
    if isinstance(given, pa.Table):
        return MemoryTable(given)
    if isinstance(given, pa.RecordBatch):
        return MemoryTable(pa.table(given))
    if hasattr(given, "pieces") and hasattr(given, "batches"):
        return given
    if isinstance(given, str) or hasattr(given, "__fspath__"):
        from workbench.tables import open_table

        return open_table(given)
    if type(given).__module__.split(".")[0] == "pandas":
        try:
            return MemoryTable(pa.Table.from_pandas(given, preserve_index=False))
        except (pa.ArrowException, ValueError, TypeError) as error:
            if isinstance(error, WorkbenchError):
                raise
            raise WorkbenchError(
                f"This DataFrame has a column of mixed values ({str(error)[:200]}); give each column one type."
            ) from None
    raise WorkbenchError(
        f"cube() got a {type(given).__name__}; a table from open_table(), an address, an Arrow table or a pandas "
        "DataFrame is wanted."
    )
