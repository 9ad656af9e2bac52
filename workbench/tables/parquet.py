"""Parquet: footers, statistics, and reading one column of one row group at a time."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.types as at

from workbench.errors import WorkbenchError
from workbench.tables.kinds import kind_of
from workbench.tables.source import Place, brief

if TYPE_CHECKING:
    from workbench.tables.table import File

DICTIONARY_BYTES = 1_200_000  # a writer gives up its dictionary page near 1 MiB (pyarrow, parquet-mr, polars)
PART_ROWS = 100_000  # 0.8 MB of numbers; 1 MiB, as large as a page of the file, takes a tenth more time
INDEX_BYTES = 2.6  # and needs at most 20 bits a row for indices into one


@dataclass(frozen=True, eq=False)
class Footer:
    """What a Parquet file says about itself."""

    metadata: pq.FileMetaData
    schema: pa.Schema  # one object for all files that are written alike
    digest: str
    leaves: dict[str, tuple[int, ...]]  # physical columns of each column

    @cached_property
    def groups(self) -> list[tuple[int, list[int]]]:
        """Rows of each row group, and the stored bytes of each of its physical columns."""
        kept = [self.metadata.row_group(index) for index in range(self.metadata.num_row_groups)]
        leaves = range(self.metadata.num_columns)
        return [(one.num_rows, [one.column(leaf).total_compressed_size for leaf in leaves]) for one in kept]


@functools.lru_cache(maxsize=256)
def _alike(schema: pa.Schema) -> pa.Schema:
    """The first of all schemas that are equal to this one."""
    return schema


def footer(place: Place, file: File) -> Footer:
    """The footer of a file, read once per process and stamp. Raises WorkbenchError naming a broken file."""
    return _footer(place, file.path, file.size, file.stamp)


@functools.lru_cache(maxsize=1024)  # a year of daily files and more: each is asked for twice
def _footer(place: Place, path: str, size: int, stamp: str) -> Footer:
    if size == 0:
        raise WorkbenchError(f"{place.show(path)!r} is empty: it has no bytes, so its writer did not finish")
    try:
        with place.open(path) as file:
            tail = _tail(file, size)
        if tail is None:
            raise WorkbenchError(
                f"{place.show(path)!r} is not a whole Parquet file: its {size} bytes do not end in a footer, "
                "so it is truncated or of another format; write it again"
            )
        metadata = pq.read_metadata(pa.BufferReader(b"PAR1" + tail))
        schema = _alike(metadata.schema.to_arrow_schema().remove_metadata())
    except WorkbenchError:
        raise
    except (pa.ArrowException, OSError, EOFError) as error:
        raise WorkbenchError(f"{place.show(path)!r} has a broken Parquet footer: {brief(error)}") from error
    leaves: dict[str, list[int]] = {}
    tops = iter(schema)
    remaining = 0
    for index in range(metadata.num_columns):
        if remaining == 0:
            field = next(tops)
            remaining = _leaf_count(field.type)
        leaves.setdefault(field.name, []).append(index)
        remaining -= 1
    _inside(place, path, metadata, size - len(tail))
    digest = hashlib.sha256(tail).hexdigest()[:24]
    return Footer(metadata, schema, digest, {name: tuple(indices) for name, indices in leaves.items()})


def _tail(file: Any, size: int) -> bytes | None:
    guess = min(size, 64 * 1024)
    file.seek(size - guess)
    tail: bytes = file.read(guess)
    if size < 12 or tail[-4:] != b"PAR1":
        return None
    needed = int.from_bytes(tail[-8:-4], "little") + 8
    if needed + 4 > size:
        return None
    if needed > guess:
        file.seek(size - needed)
        tail = file.read(needed)
    return tail[-needed:]


def _inside(place: Place, path: str, metadata: pq.FileMetaData, end: int) -> None:
    for group in range(metadata.num_row_groups if metadata.num_columns else 0):
        last = metadata.row_group(group).column(metadata.num_columns - 1)
        start = last.dictionary_page_offset or last.data_page_offset
        if start + last.total_compressed_size > end:
            raise WorkbenchError(f"{place.show(path)!r} is damaged: row group {group} lies beyond the file's end")


def _leaf_count(type_: pa.DataType) -> int:
    if at.is_map(type_):
        return _leaf_count(type_.key_type) + _leaf_count(type_.item_type)
    if isinstance(type_, pa.BaseExtensionType):
        return _leaf_count(type_.storage_type)
    if at.is_struct(type_):
        return sum(_leaf_count(field.type) for field in type_)
    if at.is_list(type_) or at.is_large_list(type_) or at.is_fixed_size_list(type_):
        return _leaf_count(type_.value_type)
    return 1


def group_sizes(foot: Footer, columns: Sequence[str]) -> Iterator[tuple[int, int, int]]:
    """(index, rows, stored bytes of the columns) of each row group."""
    leaves = [leaf for name in columns for leaf in foot.leaves.get(name, ())]
    for index, (rows, sizes) in enumerate(foot.groups):
        yield index, rows, sum([sizes[leaf] for leaf in leaves])


def group_bounds(foot: Footer, group: int, column: str) -> tuple[Any, Any, int | None, int] | None:
    """(min, max, missing, rows) of a column in a row group by its statistics, or None where they say nothing.

    Times are integer microseconds since 1970-01-01 UTC, booleans 0 or 1; min and max are None where unknown.
    """
    leaves = foot.leaves.get(column, ())
    kind = kind_of(foot.schema.field(column).type)
    if len(leaves) != 1 or kind == "other":
        return None
    chunk = foot.metadata.row_group(group).column(leaves[0])
    stats = chunk.statistics
    if stats is None:
        return None
    missing = stats.null_count if stats.has_null_count else None
    rows = foot.metadata.row_group(group).num_rows
    if not stats.has_min_max:
        return None, None, missing, rows
    low, high = (
        _value(stats, "min", foot.schema.field(column).type),
        _value(stats, "max", foot.schema.field(column).type),
    )
    return (None, None, missing, rows) if low is None or high is None else (low, high, missing, rows)


def no_values(foot: Footer, column: str) -> bool:
    """Whether statistics show that all values of a column are missing."""
    known = [group_bounds(foot, group, column) for group, (rows, _) in enumerate(foot.groups) if rows]
    return all(one is not None and one[2] == one[3] for one in known)


def _value(stats: Any, which: str, type_: pa.DataType) -> Any:
    kind = kind_of(type_)
    if at.is_dictionary(type_):
        type_ = type_.value_type
    if at.is_timestamp(type_):
        raw = getattr(stats, f"{which}_raw")
        unit = {"s": 1000, "ms": 1000, "us": 1, "ns": None}[type_.unit]  # Parquet keeps seconds as milliseconds
        return None if not isinstance(raw, int) else raw * unit if unit else raw // 1000
    if at.is_date(type_):
        return getattr(stats, f"{which}_raw") * 86_400_000_000
    if at.is_duration(type_) or at.is_float16(type_):
        return None
    value = getattr(stats, which)
    if kind == "number":
        number = float(value)
        return None if number != number else number
    if kind == "boolean":
        return int(value)
    return value if isinstance(value, str if kind == "text" else int) else None


def stored_as_dictionary(foot: Footer, group: int, column: str) -> bool:
    """Whether the whole text column chunk is a dictionary with indices, so that reading it as one builds nothing."""
    if kind_of(foot.schema.field(column).type) != "text":
        return False
    chunk = foot.metadata.row_group(group).column(foot.leaves[column][0])
    return bool(
        chunk.has_dictionary_page
        and chunk.total_uncompressed_size <= DICTIONARY_BYTES + INDEX_BYTES * foot.metadata.row_group(group).num_rows
    )


def opened(place: Place, path: str, foot: Footer, texts: Sequence[str], buffer: int = 0) -> pq.ParquetFile:
    """The file for reading one column at a time; `texts` come as dictionaries. It closes with its last reader."""
    return pq.ParquetFile(
        path if place.address is None else place.open(path),
        metadata=foot.metadata,
        read_dictionary=list(texts) or None,
        memory_map=False,
        pre_buffer=False,
        buffer_size=buffer,
        coerce_int96_timestamp_unit="us",
        page_checksum_verification=True,
    )


def read(file: pq.ParquetFile, foot: Footer, group: int, column: str) -> pa.ChunkedArray:
    """One column of one row group."""
    paths = [foot.metadata.schema.column(leaf).path for leaf in foot.leaves[column]]
    return file.read_row_group(group, columns=paths, use_threads=False, use_pandas_metadata=False).column(0)


def parts(file: pq.ParquetFile, foot: Footer, group: int, column: str) -> Iterator[pa.ChunkedArray]:
    """One column of one row group in parts that fit the processor's cache: what counts them finds them still there."""
    paths = [foot.metadata.schema.column(leaf).path for leaf in foot.leaves[column]]
    for batch in file.iter_batches(PART_ROWS, row_groups=[group], columns=paths, use_threads=False):
        yield pa.chunked_array([batch.column(0)])


def head(file: pq.ParquetFile, foot: Footer, group: int, column: str, count: int) -> pa.ChunkedArray:
    """The first `count` values of one column of a row group, decoding little more."""
    paths = [foot.metadata.schema.column(leaf).path for leaf in foot.leaves[column]]
    chunks, have = [], 0
    for batch in file.iter_batches(min(count, 16_384) or 1, row_groups=[group], columns=paths, use_threads=False):
        chunks.append(batch.column(0))
        have += len(batch)
        if have >= count:
            break
    return pa.chunked_array(chunks, chunks[0].type).slice(0, count) if chunks else pa.chunked_array([pa.nulls(0)])
