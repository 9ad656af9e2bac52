"""Values of very many groups wait and are counted once: the cube is the one that counting at once gives."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import workbench as wb
from workbench.cubes import counting, grouping, merging, partial, readers, scan
from workbench.cubes.memory import as_table

from .test_forms import assert_same_counts

BY = [wb.Period("t", "h"), wb.Category("who")]
OF = [wb.Histogram("x", relative=0.001), wb.Histogram("k", relative=0.001)]


def many_groups(rows: int = 30_000, groups: int = 700) -> pa.Table:
    """Few rows a group, in no order, with every odd value."""
    random = np.random.default_rng(11)
    x = random.lognormal(size=rows)
    x[:5] = np.nan, np.inf, -np.inf, -0.0, 5e-324
    return pa.table(
        {
            "t": np.datetime64("2026-03-02", "us") + random.integers(0, 40 * 3_600_000_000, rows),
            "who": [f"g{i}" for i in random.integers(0, groups // 40, rows)],
            "x": pa.array(x, mask=random.random(rows) < 0.1),
            "k": pa.array(random.integers(-(10**6), 10**6, rows), mask=random.random(rows) < 0.1),
        }
    )


def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "WAITING", -1)


def counted(tables: list[pa.Table], like: pa.Table) -> partial.Partial:
    axes = scan.check_axes(BY)
    columns = scan.plan_columns(as_table(like), axes, OF, None)
    parts = [counting.count_pieces(one, one.pieces(), columns, axes) for one in map(as_table, tables)]
    return partial.settled(partial.join(parts))


def test_three_rows_that_wait() -> None:
    table = pa.table({"who": ["a", "b", "a"], "x": [2.0, 7.0, None]})
    axes = scan.check_axes([wb.Category("who")])
    columns = scan.plan_columns(as_table(table), axes, [wb.Histogram("x")], None)
    part = counting.count_pieces(as_table(table), as_table(table).pieces(), columns, axes)
    assert [w.size for w in part.waiting] == [2]
    assert part.bins[0]["count"].tolist() == []
    part = partial.settled(part)
    assert part.waiting == []
    assert part.bins[0]["group"].tolist() == [0, 1]
    assert part.bins[0]["min"].tolist() == [2.0, 7.0]
    assert part.whole[0, :, partial.MISSING].tolist() == [1, 0]
    assert part.moments[0, :, partial.SUM].tolist() == [2.0, 7.0]


def test_waiting_or_not_the_cube_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    table = many_groups()
    waited = wb.cube(table, by=BY, of=OF)
    at_once(monkeypatch)
    assert_same_counts(waited, wb.cube(table, by=BY, of=OF))


def test_some_that_wait_and_some_counted_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    table = many_groups()
    parts = [table.slice(0, 9_000), table.slice(9_000, 1), table.slice(9_001)]
    whole = counted([table], table)
    together = counted(parts, table)
    monkeypatch.setattr(counting, "WAITING", 20_000)  # the last part counts in the middle
    mixed = counted(parts, table)
    monkeypatch.setattr(partial, "WAITING", 10_000)  # and the sum counts what is too much
    for other in (together, mixed, counted(parts, table)):
        assert np.array_equal(whole.codes, other.codes)
        assert np.array_equal(whole.whole, other.whole)
        np.testing.assert_allclose(whole.moments, other.moments, rtol=1e-9)
        for one, two in zip(whole.bins, other.bins, strict=True):
            for key in one:
                np.testing.assert_array_equal(one[key], two[key], err_msg=key)


def test_workers_elsewhere_send_what_waits(tmp_path) -> None:
    table = many_groups()
    for i in range(4):
        pq.write_table(table.slice(i * 7_500, 7_500), tmp_path / f"{i}.parquet")
    here = wb.cube(wb.open_table(tmp_path), by=BY, of=OF)
    assert_same_counts(here, wb.cube(wb.open_table(tmp_path), by=BY, of=OF, cluster="processes", plan=here))


def test_groups_have_the_same_numbers_when_the_axes_grow_long(monkeypatch: pytest.MonkeyPatch) -> None:
    table = many_groups()
    dense = wb.cube(table, by=BY, of=OF)
    monkeypatch.setattr(grouping, "DENSE", 100)
    monkeypatch.setattr("workbench.cubes.memory.PIECE_ROWS", 4_000)
    assert_same_counts(dense, wb.cube(table, by=BY, of=OF, plan=dense))


def test_windows_in_no_order_are_found_by_counting() -> None:
    random = np.random.default_rng(5)
    times = np.datetime64("1969-12-31T20:30", "us") + random.integers(0, 9 * 3_600_000_000, 5_000)
    codes, labels = wb.Period("t", "h").encode(pa.array(times))
    hours = times.astype("datetime64[h]").astype("datetime64[us]")
    assert np.array_equal(labels[codes], hours)
    assert np.array_equal(labels, np.unique(hours))


@pytest.mark.parametrize("ordered", [True, False])
def test_compiled_quantiles_are_the_same(monkeypatch: pytest.MonkeyPatch, ordered: bool) -> None:
    cube = wb.cube(many_groups(), by=BY, of=OF)
    t, total, qs = readers._bins(cube, 0), cube["count"].size, np.array([0.0, 0.07, 0.5, 0.99, 1.0])
    if not ordered:
        t = {key: one[::-1] for key, one in t.items()}
    plain = readers._quantiles(t, total, qs)
    monkeypatch.setattr(partial, "MANY", 0)
    assert np.array_equal(plain, readers._quantiles(t, total, qs), equal_nan=True)
    out = np.full((total, 5), np.nan)
    assert merging.ranks(*(t[key] for key in ("group", "count", "min", "max")), qs, out) is ordered
