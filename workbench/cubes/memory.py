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
    """A batch of rows whose columns are taken one at a time."""

    data: pa.Table

    @property
    def count(self) -> int:
        return self.data.num_rows

    def column(self, name: str) -> pa.ChunkedArray:
        if name not in self.data.schema.names:
            raise WorkbenchError(f"there is no column {name!r}: {nearest(name, self.data.schema.names)}")
        return self.data[name]


@dataclass(frozen=True)
class MemoryTable:
    """An Arrow table (or what becomes one) as ``cube`` reads it."""

    data: pa.Table
    source: str = "memory"

    @property
    def schema(self) -> pa.Schema:
        return self.data.schema

    @cached_property
    def kinds(self) -> dict[str, str]:
        from workbench.tables.kinds import kind_of

        return {f.name: kind_of(f.type) for f in self.data.schema}

    @cached_property
    def version(self) -> str:
        sink = hashlib.sha256(str(self.data.schema).encode())
        for batch in self.data.to_batches():
            for column in batch.columns:
                for buffer in column.buffers():
                    sink.update(b"-" if buffer is None else memoryview(buffer))
        return sink.hexdigest()[:12]

    @property
    def rows(self) -> int:
        return self.data.num_rows

    def pieces(self) -> list[MemoryPiece]:
        n = self.data.num_rows
        return [MemoryPiece(a, min(PIECE_ROWS, n - a)) for a in range(0, n, PIECE_ROWS)]

    def batches(self, piece: MemoryPiece) -> Iterator[MemoryRows]:
        yield MemoryRows(self.data.slice(piece.start, piece.rows))

    def sample(self, n: int, columns: Sequence[str]) -> dict[str, pa.ChunkedArray]:
        if self.data.num_rows <= n:
            return {c: self.data[c] for c in columns}
        at = np.linspace(0, self.data.num_rows - 1, n).astype(np.int64)
        return {c: self.data[c].take(at) for c in columns}

    def bounds(self, column: str) -> tuple[Any, Any] | None:
        return None


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
        return MemoryTable(pa.Table.from_pandas(given, preserve_index=False))
    raise WorkbenchError(
        f"cube() got a {type(given).__name__}; a table from open_table(), an address, an Arrow table or a pandas "
        "DataFrame is wanted."
    )
