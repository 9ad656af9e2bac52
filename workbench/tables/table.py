"""A table: a source, a version and a choice of columns. Opening reads metadata only; reading is by pieces."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import pyarrow as pa

from workbench.errors import WorkbenchError, nearest
from workbench.tables import where as conditions
from workbench.tables.kinds import kind_of
from workbench.tables.source import Place, digest, written

PIECE_ROWS = 1_000_000  # small row groups of one file are joined up to about this


@dataclass(frozen=True)
class File:
    """One file of a table, as it was when the table was opened."""

    path: str = field(repr=False)  # as its file system knows it; on the web it may hold a signature
    relative: str  # its path under the source
    size: int  # bytes
    stamp: str  # changes when the file is written again: modification time, or the store's etag
    content: str  # hash of the footer, or of a text file's bytes: the same wherever the file is copied
    rows: int | None = None
    groups: tuple[tuple[int, int, int], ...] = ()  # Parquet: index, rows, bytes of each row group left by `where`
    values: tuple[tuple[str, Any], ...] = ()  # hive columns
    shape: int = 0  # text: which of the table's stored schemas

    @property
    def written(self) -> str:
        """The part of the stamp that a copy, a rename and a link leave as it is: the time of the last writing."""
        return written(self.stamp)

    @property
    def fingerprint(self) -> str:
        """Twelve hex digits that change when the file does, even if only its modification time."""
        return digest(self.size, self.written, self.content)


@dataclass(frozen=True)
class Piece:
    """A part of a table that one task reads."""

    file: int  # index into the table's files
    parts: tuple[int, ...]  # row groups; empty for a text file
    rows: int | None  # before `where`; None for a text file that was too large to be read at opening
    nbytes: int  # stored bytes
    key: str  # stable identity: path under the source, fingerprint of the file, parts


class Rows:
    """A batch of rows whose columns are read one at a time, with the table's conditions applied.

    `count` is the number of rows that hold the conditions. Iterating over columns one after the other keeps one column
    of one row group in memory.
    """

    def __init__(
        self,
        stored: int,
        schema: pa.Schema,
        read: Callable[[str], pa.ChunkedArray],
        where: Sequence[conditions.Condition],
        parts: Callable[[str], Iterator[pa.Array] | None] | None = None,
    ) -> None:
        self._schema, self._read, self._parts = schema, read, parts
        self._kept: dict[str, pa.ChunkedArray] = {}
        self._mask = conditions.mask(where, self._keep, stored) if stored else None
        if self._mask is None:
            self.count = stored
        else:
            import pyarrow.compute as pc

            self.count = int(pc.sum(self._mask, min_count=0).as_py())

    def _keep(self, name: str) -> pa.ChunkedArray:
        if name not in self._kept:
            self._kept[name] = self._read(name)
        return self._kept[name]

    def column(self, name: str) -> pa.Array | pa.ChunkedArray:
        """The values of one column: its plain type, or a dictionary<int32, text> where a file stores text so."""
        if name not in self._schema.names:
            raise WorkbenchError(f"there is no column {name!r}: {nearest(name, self._schema.names)}")
        if self.count == 0:
            return pa.array([], self._schema.field(name).type)
        values = self._kept.pop(name, None)
        if values is None:
            values = self._read(name)
        if self._mask is not None:
            values = values.filter(self._mask)
        return values.chunk(0) if values.num_chunks == 1 else values

    def parts(self, name: str) -> Iterator[pa.Array]:
        """The values of one column, in order, in pieces as they are read where the file allows it, so that one piece
        is in memory and still in the processor's cache when it is counted."""
        if self._parts is not None and self._mask is None and self.count and name in self._schema.names:
            small = self._parts(name)
            if small is not None:
                yield from small
                return
        values = self.column(name)
        yield from values.chunks if isinstance(values, pa.ChunkedArray) else [values]


@dataclass(frozen=True)
class Table:
    """A source, its version and a choice of columns and rows. It holds no data and no open files, and can be pickled.

    `version` is 12 hex digits that are the same for the same files under another path or with another modification
    time. `rows` counts rows before nothing is known of them: None with `where`, or for large text files. `nbytes` is
    the stored size of the chosen columns (Parquet) or of the files (text).
    """

    source: str
    format: str  # "parquet", "csv" or "json"
    schema: pa.Schema  # chosen columns in their plain types
    files: tuple[File, ...]
    where: tuple[conditions.Condition, ...] = ()
    place: Place = field(default_factory=Place)
    stored: pa.Schema = field(default_factory=lambda: pa.schema([]), repr=False)  # chosen and `where` columns
    shapes: tuple[Any, ...] = field(default=(), repr=False)  # text: how files are parsed
    snapshot: int | None = None  # of a table with versions: the number of the version
    since: int | None = None  # where only what later versions brought is here

    @cached_property
    def version(self) -> str:
        return digest(*[part for file in self.files for part in (file.relative, file.size, file.content)])

    @cached_property
    def kinds(self) -> dict[str, str]:
        """The kind of each column: "integer", "number", "time", "boolean", "text" or "other"."""
        return {column.name: kind_of(column.type) for column in self.schema}

    @cached_property
    def rows(self) -> int | None:
        counts = [file.rows for file in self.files]
        return None if self.where or None in counts else sum(count for count in counts if count is not None)

    @cached_property
    def nbytes(self) -> int:
        return sum(piece.nbytes for piece in self.pieces())

    def pieces(self, files: Iterable[int] | None = None) -> list[Piece]:
        """The parts to read, in order: row groups of a Parquet file (small ones joined), or whole text files; of all
        files, or of some by their place among them."""
        pieces = []
        for index in range(len(self.files)) if files is None else files:
            file = self.files[index]
            if self.format != "parquet":
                pieces.append(self._piece(index, (), file.rows, file.size))
                continue
            parts: list[tuple[int, int, int]] = []
            for group in file.groups:
                if parts and sum(rows for _, rows, _ in parts) + group[1] > PIECE_ROWS:
                    pieces.append(self._joined(index, parts))
                    parts = []
                parts.append(group)
            if parts:
                pieces.append(self._joined(index, parts))
        return pieces

    def _joined(self, index: int, parts: list[tuple[int, int, int]]) -> Piece:
        groups, rows, sizes = zip(*parts, strict=True)
        return self._piece(index, groups, sum(rows), sum(sizes))

    def _piece(self, index: int, parts: tuple[int, ...], rows: int | None, nbytes: int) -> Piece:
        file = self.files[index]
        return Piece(index, parts, rows, nbytes, digest(file.relative, file.fingerprint, *parts))

    def batches(self, piece: Piece) -> Iterator[Rows]:
        """The rows of a piece: one Rows per row group, or per block of a text file.

        Raises WorkbenchError naming the file when it has changed since the table was opened, or cannot be read.
        """
        from workbench.tables import reading

        return reading.batches(self, piece)

    def sample(self, n: int, columns: Sequence[str] | None = None) -> dict[str, pa.Array]:
        """Up to n values of each column, from row groups spread over the table; the same ones every time.

        Missing values are among them. Text comes as plain strings. Rows that fail `where` are left out.
        """
        from workbench.tables import reading

        return reading.sample(self, n, list(self.schema.names if columns is None else columns))

    def bounds(self, column: str) -> tuple[Any, Any] | None:
        """(min, max) by Parquet statistics, or None when any row group lacks them or the source is text.

        Times are integer microseconds since 1970-01-01 UTC, booleans 0 or 1. No data is read; `where` only leaves out
        row groups. Bounds of text may be wider than the values.
        """
        from workbench.tables import reading

        if column not in self.schema.names:
            raise WorkbenchError(f"there is no column {column!r}: {nearest(column, self.schema.names)}")
        return reading.bounds(self, column)

    def footers(self) -> list[Any]:
        """What the files say about themselves, where they are Parquet."""
        from workbench.tables import parquet

        files = self.files if self.format == "parquet" else ()
        return [parquet.footer(self.place, file) for file in files]

    def spans(self, column: str) -> list[tuple[Any, Any, int]] | None:
        """(min, max, rows) of each row group, as ``bounds`` tells them of all; None where that does."""
        from workbench.tables import reading

        return reading.spans(self, column)
