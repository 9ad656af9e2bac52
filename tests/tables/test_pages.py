"""Pages of plain numbers read by themselves: the same values as pyarrow reads, and what is not plain is left to it."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings

from workbench import open_table
from workbench.errors import WorkbenchError
from workbench.tables import pages, parquet

ROWS = 5_000
TYPES = (pa.float64(), pa.int64(), pa.timestamp("us", "UTC"), pa.timestamp("us"))


def column(kind: pa.DataType, missing: float, rows: int = ROWS, seed: int = 0) -> pa.Array:
    rng = np.random.default_rng(seed)
    gone = rng.random(rows) < missing
    return pa.array(rng.integers(-(2**62), 2**62, rows), mask=gone if missing else None).view(kind)


def written(path, columns: dict[str, pa.Array], nullable: bool = True, **how) -> None:
    schema = pa.schema([pa.field(name, values.type, nullable) for name, values in columns.items()])
    how = {"compression": "zstd", "use_dictionary": False, "data_page_size": 4_096} | how
    pq.write_table(pa.table(columns, schema=schema), path, **how)


def plain(path, name: str, group: int = 0, room: int = 1_000) -> list[pa.Array]:
    table = open_table(path)
    file = table.files[0]
    foot = parquet.footer(table.place, file.path, (file.size, file.stamp))
    return list(pages.plain(file.path, foot, group, name, room))


def same(parts: list[pa.Array], expected: pa.Array) -> bool:
    """The values that are there, bit for bit and in their order, and as many missing ones."""
    there = [part.drop_null().view(pa.int64()).to_numpy() for part in parts]
    wanted = expected.drop_null().view(pa.int64()).to_numpy()
    missing = sum(part.null_count for part in parts)
    return np.array_equal(np.concatenate([*there, wanted[:0]]), wanted) and missing == expected.null_count


@pytest.mark.parametrize("compression", ["zstd", "lz4"])
@pytest.mark.parametrize("missing", [0, 0.01, 0.5, 0.999, 1])
def test_every_type_and_share_of_missing_is_as_pyarrow_reads_it(tmp_path, compression, missing):
    columns = {str(i): column(kind, missing, seed=i) for i, kind in enumerate(TYPES)}
    written(tmp_path / "a.parquet", columns, compression=compression, row_group_size=3_000)
    for name, values in columns.items():
        for group, rows in enumerate((values[:3_000], values[3_000:])):
            parts = plain(tmp_path / "a.parquet", name, group)
            assert sum(map(len, parts)) == len(rows)
            assert same(parts, rows)
            assert {part.type for part in parts} == {values.type}
            assert all(part.buffers()[1].address % 8 == 0 for part in parts)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.none() | st.floats(), min_size=1, max_size=300),
    st.integers(16, 3_000),
    st.integers(1, 400),
    st.sampled_from(["zstd", "lz4"]),
)
def test_any_pattern_of_missing_values(tmp_path_factory, values, size, room, compression):
    path = tmp_path_factory.mktemp("pages") / "a.parquet"
    written(
        path, {"a": pa.array(values, pa.float64())}, compression=compression, data_page_size=size, write_batch_size=7
    )
    parts = plain(path, "a", room=room)
    assert sum(map(len, parts)) == len(values)
    assert same(parts, pa.array(values, pa.float64()))


def test_a_column_that_cannot_be_missing_has_no_levels(tmp_path):
    values = column(pa.float64(), 0)
    written(tmp_path / "a.parquet", {"a": values}, nullable=False)
    assert same(plain(tmp_path / "a.parquet", "a"), values)


@pytest.mark.parametrize(
    "how",
    [
        {"compression": "snappy"},
        {"use_dictionary": True},
        {"data_page_version": "2.0"},
        {"write_page_checksum": True},
        {"column_encoding": {"a": "BYTE_STREAM_SPLIT"}},
    ],
)
def test_what_is_not_plain_is_left(tmp_path, how):
    values = column(pa.float64(), 0.1)
    written(tmp_path / "a.parquet", {"a": values}, **how)
    assert plain(tmp_path / "a.parquet", "a") == []
    rows = next(iter(open_table(tmp_path / "a.parquet").batches(open_table(tmp_path / "a.parquet").pieces()[0])))
    assert same(list(rows.parts("a")), values)


@pytest.mark.parametrize(
    "kind", [pa.timestamp("ms"), pa.timestamp("ns"), pa.uint64(), pa.time64("us"), pa.duration("us")]
)
def test_other_types_of_eight_bytes_are_left(tmp_path, kind):
    written(tmp_path / "a.parquet", {"a": pa.array([1, 2, None], kind)})
    assert plain(tmp_path / "a.parquet", "a") == []


def test_the_rest_of_a_column_is_read_from_the_first_page_that_is_not_plain(tmp_path, monkeypatch):
    values = column(pa.float64(), 0.3)
    written(tmp_path / "a.parquet", {"a": values})
    whole, count = pages._header, iter(range(100))

    def fails_late(head):
        if next(count) == 3:
            raise ValueError
        return whole(head)

    monkeypatch.setattr(pages, "_header", fails_late)
    table = open_table(tmp_path / "a.parquet")
    rows = next(iter(table.batches(table.pieces()[0])))
    parts = list(rows.parts("a"))
    assert next(count) == 4
    assert sum(map(len, parts)) == ROWS
    assert same(parts, values)


@pytest.mark.parametrize("compression", ["zstd", "lz4"])
def test_a_damaged_file_is_told_as_pyarrow_tells_it(tmp_path, monkeypatch, compression):
    """One byte of the pages is another: an error is pyarrow's; what only a level's damage tells may go unnoticed, since
    levels are not read, and then every row is told nevertheless."""
    path, rng = tmp_path / "a.parquet", np.random.default_rng(1)
    values = pa.array(np.arange(600.0) % 7, mask=rng.random(600) < 0.2)
    written(path, {"a": values}, compression=compression, data_page_size=512, write_batch_size=50)
    good = path.read_bytes()
    chunk = pq.read_metadata(path).row_group(0).column(0)
    start, noticed, told = chunk.data_page_offset, 0, 0
    for at in rng.choice(np.arange(start, start + chunk.total_compressed_size), 150, replace=False):
        path.write_bytes(good[:at] + bytes([good[at] ^ (1 << rng.integers(8))]) + good[at + 1 :])
        own = read(path)
        with monkeypatch.context() as without:
            without.setattr(pages, "plain", lambda *_: ())
            theirs = read(path)
        told += isinstance(theirs, str)
        if isinstance(own, str):
            noticed += 1
            assert own == theirs, at
        else:
            assert sum(map(len, own)) == 600, at
    assert 20 < told < 130
    assert noticed >= 0.9 * told


def read(path) -> list[pa.Array] | str:
    table = open_table(path)
    try:
        return list(next(iter(table.batches(table.pieces()[0]))).parts("a"))
    except WorkbenchError as error:
        return str(error)
