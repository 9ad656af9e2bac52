"""Pages of plain numbers, read without a detour: once unpacked, such a page is its values, one after the other.

A general reader leaves gaps for missing values and notes a level for each row. Who only counts needs neither, and that is
a tenth of the time that reading takes. Whatever is not as simple as this is left to pyarrow: other encodings, types,
compressions and pages, checksums, and all that is odd or broken, of which it tells.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.types as types

if TYPE_CHECKING:
    from workbench.tables.parquet import Footer

HEAD = 256  # bytes: no header of a page of numbers is longer
CODECS = {"ZSTD": "zstd", "LZ4": "lz4_raw"}
LZ4_TAIL = 5  # bytes at the end of every LZ4 block that stand there as they are


def plain(path: str, foot: Footer, group: int, column: str, room: int) -> Iterator[pa.Array]:
    """One column of one row group of a local file, in parts of up to ``room`` rows (or a page, if that has more).

    The values that are there come in their order, and after them as many nulls as there are missing ones. It ends after
    the last page before anything that is not plain: the rows up to there are told, the rest is to be read otherwise.
    """
    chunk = _plain_chunk(foot, group, column)
    if chunk is None:
        return
    kind = foot.schema.field(column).type
    optional = foot.metadata.schema.column(foot.leaves[column][0]).max_definition_level == 1
    part, into, used, missing = None, np.zeros(0, np.uint8), 0, 0
    for values, nulls in _pages(path, chunk, optional):
        if used + len(values) > len(into):
            if used:
                yield pa.Array.from_buffers(kind, used // 8, [None, part])
            part, used = pa.allocate_buffer(max(8 * room, len(values))), 0
            into = np.frombuffer(part, np.uint8)
        into[used : used + len(values)] = values  # thus aligned, and as many at once as are worth a call
        used += len(values)
        missing += nulls
    if used:
        yield pa.Array.from_buffers(kind, used // 8, [None, part])
    if missing:
        yield pa.nulls(missing, kind)


def _plain_chunk(foot: Footer, group: int, column: str) -> Any:
    """What the footer says of a column in a row group, where all of its pages may be plain numbers of eight bytes."""
    leaves, kind = foot.leaves[column], foot.schema.field(column).type
    if len(leaves) != 1:
        return None
    about, chunk = foot.metadata.schema.column(leaves[0]), foot.metadata.row_group(group).column(leaves[0])
    fits = (
        (types.is_float64(kind) and chunk.physical_type == "DOUBLE")
        or (types.is_int64(kind) and chunk.physical_type == "INT64")
        or (
            types.is_timestamp(kind)
            and kind.unit == "us"
            and chunk.physical_type == "INT64"
            and "microseconds" in str(about.logical_type)
        )
    )
    fits = fits and about.max_repetition_level == 0 and about.max_definition_level <= 1
    fits = fits and set(chunk.encodings) <= {"PLAIN", "RLE"} and not chunk.has_dictionary_page
    return chunk if fits and chunk.compression in CODECS else None


def _pages(path: str, chunk: Any, optional: bool) -> Iterator[tuple[np.ndarray, int]]:
    """The bytes of each page's values, and how many are missing; ends before the first page that is not plain."""
    codec = pa.Codec(CODECS[chunk.compression])
    start, end, left = chunk.data_page_offset, chunk.data_page_offset + chunk.total_compressed_size, chunk.num_values
    try:
        with open(path, "rb", buffering=0) as file:
            file.seek(start)
            head = file.read(HEAD)
            while start < end:
                length, size, stored, rows, nulls = _header(head)
                start += length
                if start + stored > end or size > chunk.total_uncompressed_size or rows > left:
                    return
                file.seek(start)
                data = file.read(stored + HEAD)  # and the next header
                body = np.frombuffer(codec.decompress(memoryview(data)[:stored], size), np.uint8)
                if codec.name != "zstd" and body[-LZ4_TAIL:].tobytes() != data[stored - LZ4_TAIL : stored]:
                    return  # it filled less than the page, of which only zstd tells
                levels = 4 + int.from_bytes(body[:4], "little") if optional else 0
                if levels > size or size - levels != 8 * (rows - nulls):
                    return
                yield body[levels:], nulls
                start, left, head = start + stored, left - rows, data[stored:]
    except (IndexError, ValueError, OSError, pa.ArrowException):
        return


def _header(head: bytes) -> tuple[int, int, int, int, int]:
    """A page's header: its own length, then the page's bytes unpacked and stored, its rows, and how many are missing.

    Thrift's compact protocol: before each value a byte with the step from the last field's number and the value's type.
    Raises ValueError or IndexError where it is not of a plain page without a checksum.
    """
    if head[:3] != b"\x15\x00\x15":  # the first kind of data page
        raise ValueError
    size, at = _varint(head, 3)
    if head[at] != 0x15:
        raise ValueError
    stored, at = _varint(head, at + 1)
    if head[at : at + 2] != b"\x2c\x15":  # a checksum would stand here
        raise ValueError
    rows, at = _varint(head, at + 2)
    if head[at : at + 5] != b"\x15\x00\x15\x06\x15":  # plain values, run lengths of levels
        raise ValueError
    _, at = _varint(head, at + 5)
    nulls = 0
    if head[at] == 0x1C:
        nulls, at = _missing(head, at + 1)
    if head[at : at + 2] != b"\x00\x00":
        raise ValueError
    return at + 2, size >> 1, stored >> 1, rows >> 1, nulls


def _missing(head: bytes, at: int) -> tuple[int, int]:
    """How many are missing by a page's statistics, and where these end."""
    field, missing = 0, 0
    while head[at]:
        step, kind = divmod(head[at], 16)
        field += step
        at += 1
        if kind in (1, 2):  # true, false
            continue
        number, at = _varint(head, at)
        if kind == 8:  # bytes
            at += number
        elif kind == 6 and field == 3:
            missing = number >> 1
        else:
            raise ValueError
    return missing, at + 1


def _varint(head: bytes, at: int) -> tuple[int, int]:
    """A number of seven bits a byte, and where it ends."""
    number = shift = 0
    while True:
        byte = head[at]
        at += 1
        number |= (byte & 127) << shift
        if byte < 128:
            return number, at
        shift += 7
