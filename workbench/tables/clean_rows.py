"""Steps that compare rows with each other: duplicates, sessions, joins, outliers."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from workbench.errors import WorkbenchError, nearest
from workbench.tables.clean import Notes, Step, each, mask, needed, put

SPREAD = 1.4826  # median absolute deviation to standard deviation, of a normal distribution


def unique(key: str | Sequence[str], *, winner: str = "first") -> Step:
    """One row for each key, in the order of the rows; rows without a key all stay.

    winner: "first" or "last" as they come, or "largest COLUMN" / "smallest COLUMN" (of equals the first; a missing value
    loses). Duplicates count over all tables of the run; they are dropped, and counted. All rows are held until the last came,
    but for "first", which holds the keys only.
    """
    keys = [key] if isinstance(key, str) else list(key)
    how, _, column = winner.partition(" ")
    if how not in ("first", "last", "largest", "smallest") or (how in ("largest", "smallest")) != bool(column):
        raise WorkbenchError(
            f"there is no winner {winner!r}: the choices are 'first', 'last', 'largest COLUMN', 'smallest COLUMN'"
        )

    def work(tables: Iterator[pa.Table], notes: Notes) -> Iterator[pa.Table]:
        if how == "first":
            yield from _first_of(tables, notes, keys)
            return
        parts = list(tables)
        if not parts:
            return
        rows = pa.concat_tables(parts, promote_options="permissive")
        needed(rows, [*keys, *([column] if column else [])], "unique")
        codes, absent = codes_of(rows, keys)
        order = np.arange(rows.num_rows)
        if how == "last":
            order = order[::-1]
        else:
            rank = pc.sort_indices(
                pa.table({"v": _plain(rows[column]), "at": order}),
                sort_keys=[("v", "descending" if how == "largest" else "ascending"), ("at", "ascending")],
            )
            order = np.asarray(rank)
        _, at = np.unique(codes[order], return_index=True)
        kept = np.zeros(rows.num_rows, bool)
        kept[order[at]] = True
        kept |= absent
        notes.count.dropped += int((~kept).sum())
        yield rows.filter(pa.array(kept))

    return Step("unique", f"by {', '.join(keys)}, the {winner} stays", work)


def _first_of(tables: Iterator[pa.Table], notes: Notes, keys: Sequence[str]) -> Iterator[pa.Table]:
    seen: set[Any] = set()
    for rows in tables:
        needed(rows, keys, "unique")
        kept = np.ones(rows.num_rows, bool)
        for k, one in enumerate(zip(*(rows[name].to_pylist() for name in keys), strict=True)):
            if None in one:
                continue
            if one in seen:
                kept[k] = False
            seen.add(one)
        notes.count.dropped += int((~kept).sum())
        yield rows.filter(pa.array(kept))


def _plain(values: pa.ChunkedArray) -> pa.ChunkedArray:
    return values.cast(values.type.value_type) if pa.types.is_dictionary(values.type) else values


def codes_of(rows: pa.Table, keys: Sequence[str]) -> tuple[Any, Any]:
    """A number for each combination of keys, and the rows that lack one of them."""
    codes = np.zeros(rows.num_rows, np.int64)
    absent = np.zeros(rows.num_rows, bool)
    for name in keys:
        coded = rows[name].combine_chunks().dictionary_encode()
        part = np.asarray(coded.indices.fill_null(-1)).astype(np.int64)
        absent |= part < 0
        _, codes = np.unique(codes * (len(coded.dictionary) + 1) + part + 1, return_inverse=True)
    return codes, absent


def sessions(by: str | Sequence[str], time: str, *, gap_s: float = 1800.0, name: str = "session") -> Step:
    """Rows get the name of their session, a whole number: rows of one owner with no pause longer than `gap_s` seconds.

    The number is a hash of the owner and the session's first moment, so that it stays when later rows come. Rows without
    time or owner have none. Order stays.
    """
    owners = [by] if isinstance(by, str) else list(by)

    def work(tables: Iterator[pa.Table], notes: Notes) -> Iterator[pa.Table]:
        parts = list(tables)
        if not parts:
            return
        rows = pa.concat_tables(parts, promote_options="permissive")
        needed(rows, [*owners, time], "sessions")
        if not pa.types.is_timestamp(rows[time].type):
            raise WorkbenchError(f"the step 'sessions' needs times in {time!r}, it holds {rows[time].type}")
        codes, absent = codes_of(rows, owners)
        at = rows[time].cast(pa.timestamp("us", rows[time].type.tz), safe=False).cast(pa.int64())
        absent |= mask(at.is_null())
        moment = np.asarray(at.fill_null(0))
        order = np.lexsort((moment, codes))
        order = order[~absent[order]]
        new = np.ones(len(order), bool)
        new[1:] = (np.diff(codes[order]) != 0) | (np.diff(moment[order]) > gap_s * 1e6)
        heads = order[new]
        owner = [rows[one].take(pa.array(heads)).to_pylist() for one in owners]
        names = [_hash(*one) for one in zip(*owner, moment[heads].tolist(), strict=True)]
        number = np.zeros(rows.num_rows, np.int64)
        number[order] = np.array(names, np.int64)[np.cumsum(new) - 1] if names else 0
        notes.count.changed += len(order)
        yield put(rows, {name: pa.array(number, mask=absent)})

    return Step("sessions", f"by {', '.join(owners)}, a pause of {gap_s:g} s ends one", work)


def _hash(*parts: Any) -> int:
    digest = hashlib.blake2b("\0".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def join(other: pa.Table, on: str, *, since: str = "", time: str = "", late: str = "keep", name: str = "") -> Step:
    """Rows get the columns of the row of another table with the same key.

    With `since` (a time column of the other table) and `time` (of these rows) it is the newest row that held by then.
    A row whose dimension has not come yet is kept with missing values and flagged in `<on>_late` ("keep"), or refused, so
    that it can be replayed when the dimension is there ("refuse"). Two rows of one key in the other table raise.
    """
    if late not in ("keep", "refuse"):
        raise WorkbenchError(f"there is no late {late!r}: {nearest(late, ['keep', 'refuse'])}")
    needed(other, [on, *([since] if since else [])], "join")
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
        place = _matches(rows, other, on, since, time)
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
    is dropped. Where more than half of the values are equal the deviation is 0 and nothing is flagged. NaN is no outlier.
    """

    def work(tables: Iterator[pa.Table], notes: Notes) -> Iterator[pa.Table]:
        parts = list(tables)
        if not parts:
            return
        rows = pa.concat_tables(parts, promote_options="permissive")
        needed(rows, [*columns, *([by] if by else [])], "outliers")
        groups = codes_of(rows, [by])[0] if by else np.zeros(rows.num_rows, np.int64)
        any_of = np.zeros(rows.num_rows, bool)
        for name in columns:
            values = np.asarray(rows[name].cast(pa.float64()).fill_null(np.nan))
            far = np.zeros(rows.num_rows, bool)
            for group in np.unique(groups):
                mine = np.flatnonzero((groups == group) & np.isfinite(values))
                if len(mine):
                    away = np.abs(values[mine] - np.median(values[mine]))
                    spread = SPREAD * np.median(away)
                    far[mine] = (away > k * spread) & (spread > 0)
            far |= np.isinf(values)
            any_of |= far
            rows = put(rows, {f"{name}_outlier": pa.array(far)})
        notes.count.flagged += int(any_of.sum())
        yield rows

    return Step(
        "outliers", f"{', '.join(columns)}: beyond {k:g} robust deviations{f' of its {by}' if by else ''}", work
    )
