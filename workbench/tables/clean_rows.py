"""Steps that compare rows with each other: duplicates, sessions, joins, outliers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from workbench.errors import WorkbenchError, nearest
from workbench.tables.clean import Notes, Step, each, mask, needed, numbers, put
from workbench.tables.clean_spool import FACTOR, Marks, Numbers, Spool, hashes_of, median, repeats, runs
from workbench.tables.kinds import convert, kind_of, plain_type

LEAST, WORST = np.int64(-(2**63)), np.int64(-(2**63) + 1)  # ranks of a missing value and of NaN
LARGE = 1 << 19  # rows of a share that are looked at together
SPREAD = 1.4826  # median absolute deviation to standard deviation, of a normal distribution


def unique(key: str | Sequence[str], *, winner: str = "first") -> Step:
    """One row for each key, in the order of the rows; rows without a key all stay.

    winner: "first" or "last" as they come, or "largest COLUMN" / "smallest COLUMN" (of equals the first; a missing value
    loses). Duplicates count over all tables of the run; they are dropped, and counted. Rows wait on disk until the last came
    (a COLUMN of text in memory); keys are told apart by 128-bit hashes.
    """
    keys = [key] if isinstance(key, str) else list(key)
    how, _, column = winner.partition(" ")
    if how not in ("first", "last", "largest", "smallest") or (how in ("largest", "smallest")) != bool(column):
        raise WorkbenchError(
            f"there is no winner {winner!r}: the choices are 'first', 'last', 'largest COLUMN', 'smallest COLUMN'"
        )

    def work(tables: Iterator[pa.Table], notes: Notes) -> Iterator[pa.Table]:
        spool, marks, said = Spool(), Marks(4), []
        for rows in tables:
            needed(rows, [*keys, *([column] if column else [])], "unique")
            spool.put(rows)
            said += [rows[column]] if column and _worded(rows[column].type) else []
        ranks = _ranked(said) if said else None
        start = 0
        for rows in spool:
            first, second, absent = hashes_of(rows, keys)
            row = np.arange(start, start + rows.num_rows)
            start += rows.num_rows
            rank = {"first": -row, "last": row}.get(how)
            if rank is None:
                rank = _rank(rows[column]) if ranks is None else ranks[row]
                rank = np.where((rank > WORST) & (how == "smallest"), ~rank, rank)
            marks.add(*(one[~absent] for one in (first, second, rank, row)))
        gone = Numbers(bool)
        for again in repeats(marks):
            gone.put(again, True)
        for rows, (lost,) in spool.with_numbers(gone):
            notes.count.dropped += int(lost.sum())
            yield rows.filter(pa.array(~lost)) if lost.any() else rows

    return Step("unique", f"by {', '.join(keys)}, the {winner} stays", work)


def _worded(kind: pa.DataType) -> bool:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _ranked(said: Sequence[pa.ChunkedArray]) -> Any:
    """The place of each text among all in their order, the least for a missing one."""
    texts = pa.chunked_array([part.cast(pa.large_string()) for one in said for part in one.chunks], pa.large_string())
    coded = texts.combine_chunks().dictionary_encode()
    place = np.empty(len(coded.dictionary) + 1, np.int64)
    place[np.asarray(pc.sort_indices(coded.dictionary))] = np.arange(len(coded.dictionary))
    place[-1] = LEAST
    return place[np.asarray(coded.indices.fill_null(-1)).astype(np.int64)]


def _rank(values: pa.ChunkedArray) -> Any:
    """Whole numbers in the order of the values; LEAST for a missing one, WORST for NaN."""
    kind = values.type
    if pa.types.is_date32(kind) or pa.types.is_time32(kind) or pa.types.is_boolean(kind):
        values = values.cast(pa.int32())
    elif pa.types.is_temporal(kind):
        values = values.cast(pa.int64())
    missing = mask(values.is_null())
    if pa.types.is_integer(values.type):
        rank = np.asarray(values.cast(pa.int64(), safe=False).fill_null(0))
    else:
        numbers = np.asarray(values.cast(pa.float64(), safe=False).fill_null(0.0)) + 0.0
        bits = numbers.view(np.int64)
        rank = np.where(np.isnan(numbers), WORST, bits ^ ((bits >> 63) & np.int64(2**63 - 1)))
    return np.where(missing, LEAST, rank)


def sessions(by: str | Sequence[str], time: str, *, gap_s: float = 1800.0, name: str = "session") -> Step:
    """Rows get the name of their session, a whole number: rows of one owner with no pause longer than `gap_s` seconds.

    The number is a hash of the owner and the session's first moment, so that it stays when later rows come. Rows without
    time or owner have none. Order stays; rows wait on disk until the last came.
    """
    owners = [by] if isinstance(by, str) else list(by)

    def work(tables: Iterator[pa.Table], notes: Notes) -> Iterator[pa.Table]:
        spool, marks = Spool(), Marks(4)
        for rows in tables:
            needed(rows, [*owners, time], "sessions")
            if not pa.types.is_timestamp(rows[time].type):
                raise WorkbenchError(f"the step 'sessions' needs times in {time!r}, it holds {rows[time].type}")
            first, second, absent = hashes_of(rows, owners)
            at = rows[time].cast(pa.timestamp("us", rows[time].type.tz), safe=False).cast(pa.int64())
            absent |= mask(at.is_null())
            row = np.arange(spool.rows, spool.rows + rows.num_rows)
            marks.add(*(one[~absent] for one in (first, second, np.asarray(at.fill_null(0)), row)))
            spool.put(rows)
        number = Numbers(np.int64)
        for size, chunks in marks.parts():
            last: dict[tuple[int, int], tuple[int, int]] = {}
            for part in _in_time(size, chunks):
                number.put(*_named(part, gap_s * 1e6, last if size > LARGE else None))
                notes.count.changed += len(part)
        for rows, (mine,) in spool.with_numbers(number):
            yield put(rows, {name: pa.array(mine, mask=mine == 0)})

    return Step("sessions", f"by {', '.join(owners)}, a pause of {gap_s:g} s ends one", work)


def _in_time(size: int, chunks: Callable[[], Iterator[Any]]) -> Iterator[Any]:
    """The rows of a share (hash, hash, time, row): all together, or where they are many by stretches of time, one after the
    other, each about LARGE rows."""
    if size <= LARGE:
        yield np.concatenate([np.zeros((0, 4), np.int64), *chunks()])
        return
    step = max(size // 65_536, 1)
    drawn = np.sort(np.concatenate([one[::step, 2] for one in chunks()]))
    edges = np.unique(drawn[:: max(len(drawn) * LARGE // size, 1)])[1:]
    for k in range(len(edges) + 1):
        low, high = edges[k - 1] if k else None, edges[k] if k < len(edges) else None
        inside = (
            one[(one[:, 2] >= (one[:, 2] if low is None else low)) & ((one[:, 2] < high) if high is not None else True)]
            for one in chunks()
        )
        yield np.concatenate(list(inside))


def _named(part: Any, gap: float, last: dict[tuple[int, int], tuple[int, int]] | None) -> tuple[Any, Any]:
    """The rows of a part and their sessions' names. `last`: of each owner the last time and session of the parts before."""
    part = part[np.lexsort((part[:, 2], part[:, 1], part[:, 0]))]
    owner = runs(part[:, 0], part[:, 1])
    new = owner.copy()
    new[1:] |= np.diff(part[:, 2]) > gap
    heads = part[new]
    names = (heads[:, 0].view(np.uint64) ^ (heads[:, 2].view(np.uint64) * FACTOR)) * FACTOR
    names = np.maximum(((names ^ heads[:, 1].view(np.uint64)) >> np.uint64(1)).view(np.int64), 1)
    which = np.cumsum(new) - 1
    if last is not None:
        starts = np.flatnonzero(owner)
        ends = np.append(starts[1:], len(part)) - 1
        for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
            key = (int(part[start, 0]), int(part[start, 1]))
            before = last.get(key)
            if before is not None and part[start, 2] - before[0] <= gap:
                names[which[start]] = before[1]
            last[key] = (int(part[end, 2]), int(names[which[end]]))
    return part[:, 3], names[which]


def join(other: pa.Table, on: str, *, since: str = "", time: str = "", late: str = "keep", name: str = "") -> Step:
    """Rows get the columns of the row of another table with the same key.

    With `since` (a time column of the other table) and `time` (of these rows) it is the newest row that held by then.
    A row whose dimension has not come yet is kept with missing values and flagged in `<on>_late` ("keep"), or refused, so
    that it can be replayed when the dimension is there ("refuse"). Two rows of one key in the other table raise.
    """
    if late not in ("keep", "refuse"):
        raise WorkbenchError(f"there is no late {late!r}: {nearest(late, ['keep', 'refuse'])}")
    needed(other, [on, *([since] if since else [])], "join")
    other = put(other, {on: _keys(other, on, "the other table")})
    if bool(since) != bool(time):
        raise WorkbenchError("a join by time needs `since` (of the other table) and `time` (of these rows)")
    if not since and pc.count_distinct(other[on], mode="only_valid").as_py() < other.num_rows - other[on].null_count:
        raise WorkbenchError(f"the other table has two rows of one {on!r}; keep one of them, or say `since` and `time`")
    more = [one for one in other.schema.names if one not in (on, since)]

    def work(rows: pa.Table, notes: Notes) -> pa.Table:
        needed(rows, [on, *([time] if time else [])], "join")
        twice = [one for one in more if one in rows.schema.names]
        if twice:
            raise WorkbenchError(f"both tables have a column {twice[0]!r}; rename one before the join")
        known, here = kind_of(other[on].type), kind_of(rows[on].type)
        if known != here and {known, here} != {"integer", "number"}:
            raise WorkbenchError(
                f"the step 'join' meets {here} and {known} in {on!r}: give both tables one type before"
            )
        place = _matches(put(rows, {on: _keys(rows, on, "the rows")}), other, on, since, time)
        missing = pa.array(place < 0)
        taken = pa.array(np.maximum(place, 0), mask=place < 0)
        rows = put(rows, {one: other[one].combine_chunks().take(taken) for one in more})
        if late == "refuse":
            notes.refuse(rows.drop_columns(more), place < 0, f"{on} is not known yet")
            notes.count.changed += int((place >= 0).sum())
            return rows.filter(pa.array(place >= 0))
        notes.count.flagged += int((place < 0).sum())
        notes.count.changed += int((place >= 0).sum())
        return put(rows, {f"{on}_late": missing})

    return each(name or "join", f"{', '.join(more)} by {on}{f' as of {time}' if time else ''}", work)


def _keys(rows: pa.Table, on: str, where: str) -> pa.ChunkedArray:
    """A column of keys in its plain type."""
    if kind_of(rows[on].type) == "other":
        raise WorkbenchError(f"the step 'join' cannot compare {rows[on].type}, as {on!r} of {where} is")
    values = convert(rows[on], plain_type(rows[on].type))
    return values.cast(values.type.value_type) if pa.types.is_dictionary(values.type) else values


def _matches(rows: pa.Table, other: pa.Table, on: str, since: str, time: str) -> Any:
    """The row of the other table for each row, -1 for none."""
    import pandas as pd

    if rows.num_rows == 0:
        return np.zeros(0, np.int64)
    left = pd.DataFrame({"key": rows[on].to_pandas(), "at": np.arange(rows.num_rows)})
    right = pd.DataFrame({"key": other[on].to_pandas(), "place": np.arange(other.num_rows)})
    left, right = left[left["key"].notna()], right[right["key"].notna()]
    if since:
        left["time"] = _instants(rows[time])[left.index]
        right["time"] = _instants(other[since])[right.index]
        found = pd.merge_asof(left.sort_values("time"), right.sort_values("time"), on="time", by="key")
    else:
        found = left.merge(right, on="key", how="left")
    place = np.full(rows.num_rows, -1, np.int64)
    found = found[found["place"].notna()]
    place[found["at"].to_numpy()] = found["place"].to_numpy(np.int64)
    return place


def _instants(values: pa.ChunkedArray) -> Any:
    """Times as integer microseconds; a missing time is before all others, so that nothing held then."""
    return np.asarray(values.cast(pa.timestamp("us", values.type.tz)).cast(pa.int64()).fill_null(-(2**62)))


def outliers(columns: Sequence[str], *, k: float = 8.0, by: str = "") -> Step:
    """Rows whose value lies more than k robust standard deviations from the median are flagged in `<column>_outlier`.

    Robust: 1.4826 x the median absolute deviation (Hampel 1974), of each group of `by` by itself where it is given. Nothing
    is dropped. Where more than half of the values are equal the deviation is 0 and nothing is flagged. NaN is no outlier. Rows
    wait on disk until the last came; a large group is gone through several times and not held.
    """

    def work(tables: Iterator[pa.Table], notes: Notes) -> Iterator[pa.Table]:
        spool, marks = Spool(), {name: Marks(3) for name in columns}
        for rows in tables:
            needed(rows, [*columns, *([by] if by else [])], "outliers")
            group = hashes_of(rows, [by] if by else [])[0]
            row = np.arange(spool.rows, spool.rows + rows.num_rows)
            for name in columns:
                values = np.asarray(numbers(rows, name, "outliers").fill_null(np.nan))
                marks[name].add(*(one[~np.isnan(values)] for one in (group, values, row)))
            spool.put(rows)
        far = [_far(marks[name], k) for name in columns]
        for rows, mine in spool.with_numbers(*far):
            notes.count.flagged += int(np.any(mine, axis=0).sum()) if mine else 0
            yield put(rows, {f"{name}_outlier": pa.array(one) for name, one in zip(columns, mine, strict=True)})

    return Step(
        "outliers", f"{', '.join(columns)}: beyond {k:g} robust deviations{f' of its {by}' if by else ''}", work
    )


def _far(marks: Marks, k: float) -> Numbers:
    """Whether a row's value lies more than k robust deviations from the median of its group; infinite ones do."""
    far = Numbers(bool)
    for size, chunks in marks.parts():
        if size <= LARGE:
            _flag_each(far, np.concatenate([np.zeros((0, 3), np.int64), *chunks()]), k)
            continue
        counts: Counter[int] = Counter()
        for part in chunks():
            counts.update(dict(zip(*(one.tolist() for one in np.unique(part[:, 0], return_counts=True)), strict=True)))
        some: list[int] = []
        for group, many in counts.items():
            if many > LARGE:
                _flag(far, partial(_of_groups, chunks, [group]), k)
                continue
            if sum(counts[one] for one in some) + many > LARGE:
                _flag_each(far, np.concatenate(list(_of_groups(chunks, some))), k)
                some = []
            some.append(group)
        if some:
            _flag_each(far, np.concatenate(list(_of_groups(chunks, some))), k)
    return far


def _of_groups(chunks: Callable[[], Iterator[Any]], groups: Sequence[int]) -> Iterator[Any]:
    for one in chunks():
        yield one[np.isin(one[:, 0], groups)]


def _flag_each(far: Numbers, part: Any, k: float) -> None:
    part = part[np.argsort(part[:, 0], kind="stable")]
    for mine in np.split(part, np.flatnonzero(runs(part[:, 0]))[1:]):
        _flag(far, partial(iter, [mine]), k)


def _flag(far: Numbers, chunks: Callable[[], Iterator[Any]], k: float) -> None:
    def finite(middle: float = 0.0, away: bool = False) -> Iterator[Any]:
        for one in chunks():
            values = np.ascontiguousarray(one[:, 1]).view(np.float64)
            values = values[np.isfinite(values)]
            yield np.abs(values - middle) if away else values

    middle = median(finite)
    spread = SPREAD * median(lambda: finite(middle, True))
    for one in chunks():
        values = np.ascontiguousarray(one[:, 1]).view(np.float64)
        out = np.isinf(values) | ((np.abs(values - middle) > k * spread) & (spread > 0))
        far.put(one[out, 2], True)
