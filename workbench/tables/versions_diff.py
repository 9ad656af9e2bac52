"""What differs between two versions: columns, and rows added, removed and changed; files that both have are not read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from workbench.errors import WorkbenchError, nearest
from workbench.tables import delta
from workbench.tables.delta import Snapshot, Source
from workbench.tables.delta_files import conform

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

SHOWN = 100  # rows of each kind that are given back


@dataclass(frozen=True)
class Difference:
    """Two versions side by side; the frames hold up to `show` rows, the counts all."""

    old: int
    new: int
    schema: pd.DataFrame  # column, change ("added", "removed", "type"), before, after
    counts: dict[str, int]  # added, removed, changed, same
    added: pd.DataFrame
    removed: pd.DataFrame
    changed: pd.DataFrame  # the key, column, before, after


def difference(
    table: Source,
    old: int | str,
    new: int | str | None = None,
    key: str | Iterable[str] = (),
    show: int = SHOWN,
    storage_options: Mapping[str, Any] | None = None,
) -> Difference:
    """What changed from one version to another (by default the newest).

    Rows are compared by the columns that both versions have. Without a key a row was added or removed, and equal rows
    count as often as they are there; with a key, a row of the same key and another content was changed. Memory: 16 bytes a
    row of the files that the versions do not share.

    Raises WorkbenchError for a version or key column that is not there, or a key that is there twice, and for a
    version whose files were vacuumed.
    """
    import numpy as np

    before = delta.snapshot(table, old, options=storage_options)
    after = delta.snapshot(table, new, options=storage_options)
    shared = {one.path for one in before.files} & {one.path for one in after.files}
    common = pa.schema(
        [field for field in before.schema if field.name in after.schema.names and _alike(field, after.schema)]
    )
    keys = [key] if isinstance(key, str) and key else list(key)
    for name in keys:
        if name not in common.names:
            raise WorkbenchError(f"the key {name!r} is no column of both versions: {nearest(name, common.names)}")
    sides = [_hashes(side, shared, common, keys) for side in (before, after)]
    if keys:
        for side, (ids, _) in zip((before, after), sides, strict=True):
            twice = len(ids) - len(np.unique(ids))
            if twice:
                raise WorkbenchError(
                    f"{twice:,} rows of version {side.version} have a key ({', '.join(keys)}) that another row has too: "
                    "name more columns, or none"
                )
    added, removed, changed = _marks(sides[0], sides[1], bool(keys))
    same = len(sides[1][0]) - int(added.sum()) - int(changed[1].sum())
    counts = {
        "added": int(added.sum()), "removed": int(removed.sum()), "changed": int(changed[1].sum()),
        "same": same + sum(one.rows or 0 for one in after.files if one.path in shared),
    }  # fmt: skip
    gone = _rows(before, shared, before.schema, removed, show)
    come = _rows(after, shared, after.schema, added, show)
    pairs = _changes(
        _rows(before, shared, common, changed[0], show * 20), _rows(after, shared, common, changed[1], show), keys
    )
    return Difference(before.version, after.version, _columns(before.schema, after.schema), counts, come, gone, pairs)


def _alike(field: pa.Field, schema: pa.Schema) -> bool:
    return bool(schema.field(field.name).type == field.type)


def _columns(old: pa.Schema, new: pa.Schema) -> pd.DataFrame:
    import pandas as pd

    found = []
    for name in dict.fromkeys([*old.names, *new.names]):
        before = str(old.field(name).type) if name in old.names else None
        after = str(new.field(name).type) if name in new.names else None
        if before != after:
            change = "added" if before is None else "removed" if after is None else "type"
            found.append({"column": name, "change": change, "before": before, "after": after})
    return pd.DataFrame(found, columns=["column", "change", "before", "after"])


def _batches(side: Snapshot, shared: set[str], schema: pa.Schema) -> Iterator[pa.Table]:
    import pyarrow.parquet as pq

    for one in side.files:
        if one.path in shared:
            continue
        with _opened(side, one.path) as raw:
            file = pq.ParquetFile(raw)
            names = [name for name in schema.names if name in file.schema_arrow.names]
            for batch in file.iter_batches(1 << 17, columns=names):
                rows = pa.Table.from_batches([batch])
                for name, value in one.partitions:
                    if name in schema.names and name not in rows.column_names:
                        values = pa.array([value] * len(rows), pa.string() if isinstance(value, str) else None)
                        rows = rows.append_column(name, values.cast(schema.field(name).type))
                yield conform(rows, schema)


def _opened(side: Snapshot, path: str) -> Any:
    try:
        return side.home.place.open(f"{side.home.folder}/{path}")
    except FileNotFoundError as error:
        raise WorkbenchError(f"version {side.version} was vacuumed, or its files deleted") from error


def _hashes(side: Snapshot, shared: set[str], schema: pa.Schema, keys: Sequence[str]) -> tuple[Any, Any]:
    """Two 64-bit hashes of each row: of its key (without one, of the row) and of the row."""
    import numpy as np

    ids, rows = [], []
    for part in _batches(side, shared, schema):
        frame = _plain(part)
        whole = _hash(frame)
        rows.append(whole)
        ids.append(_hash(frame[list(keys)]) if keys else whole)
    empty = np.empty(0, np.uint64)
    return (np.concatenate(ids) if ids else empty), (np.concatenate(rows) if rows else empty)


def _hash(frame: pd.DataFrame) -> np.ndarray:
    import pandas as pd

    return pd.util.hash_pandas_object(frame, index=False).to_numpy()


def _plain(part: pa.Table) -> pd.DataFrame:
    columns = [
        pa.chunked_array([pa.array([None if one is None else repr(one) for one in column.to_pylist()], pa.string())])
        if pa.types.is_nested(column.type) or pa.types.is_decimal(column.type) else column for column in part.columns
    ]  # fmt: skip
    return pa.table(columns, names=part.column_names).to_pandas()


def _marks(old: tuple[Any, Any], new: tuple[Any, Any], keyed: bool) -> tuple[Any, Any, tuple[Any, Any]]:
    """Which rows of the new side were added, which of the old removed, and which of both changed."""
    import numpy as np

    if keyed:
        added, removed = ~np.isin(new[0], old[0]), ~np.isin(old[0], new[0])
        order = np.argsort(old[0])
        changed_new = np.zeros(len(new[0]), bool)
        both = np.flatnonzero(~added)
        at = order[np.searchsorted(old[0], new[0][both], sorter=order)] if len(both) else np.empty(0, int)
        changed_new[both] = old[1][at] != new[1][both]
        changed_old = np.zeros(len(old[0]), bool)
        changed_old[at[changed_new[both]]] = True
        return added, removed, (changed_old, changed_new)
    added, removed = _surplus(new[1], old[1]), _surplus(old[1], new[1])
    return added, removed, (np.zeros(len(old[1]), bool), np.zeros(len(new[1]), bool))


def _surplus(mine: Any, other: Any) -> Any:
    """Which of my rows the other side does not have, as often as it has it less."""
    import numpy as np

    values, counts = np.unique(other, return_counts=True)
    order = np.argsort(mine, kind="stable")
    ordered = mine[order]
    starts = np.searchsorted(ordered, ordered)
    rank = np.arange(len(ordered)) - starts  # how many equal rows came before
    if len(values):
        where = np.minimum(np.searchsorted(values, ordered), len(values) - 1)
        have = np.where(values[where] == ordered, counts[where], 0)
    else:
        have = np.zeros(len(ordered), int)
    found = np.zeros(len(mine), bool)
    found[order] = rank >= have
    return found


def _rows(side: Snapshot, shared: set[str], schema: pa.Schema, marked: Any, show: int) -> pd.DataFrame:
    kept: list[pa.Table] = []
    start = have = 0
    if marked.any():
        for part in _batches(side, shared, schema):
            rows = part.filter(pa.array(marked[start : start + len(part)]))
            start += len(part)
            if len(rows):
                kept.append(rows.slice(0, show - have))
                have += len(kept[-1])
            if have >= show:
                break
    return (pa.concat_tables(kept) if kept else schema.empty_table()).to_pandas()


def _changes(old: pd.DataFrame, new: pd.DataFrame, keys: Sequence[str]) -> pd.DataFrame:
    """One row a changed value: the key, column, before and after."""
    import pandas as pd

    found: list[dict[str, Any]] = []
    if keys and len(new):
        earlier = {tuple(row[name] for name in keys): row for row in old.to_dict("records")}
        for row in new.to_dict("records"):
            before = earlier.get(tuple(row[name] for name in keys))
            for name, value in row.items() if before is not None else ():
                if before is not None and name not in keys and not _same(before[name], value):
                    found.append(
                        {**{one: row[one] for one in keys}, "column": name, "before": before[name], "after": value}
                    )
    return pd.DataFrame(found, columns=[*keys, "column", "before", "after"])


def _same(one: Any, other: Any) -> bool:
    import pandas as pd

    nested = isinstance(one, list | dict) or isinstance(other, list | dict)
    if not nested and pd.api.types.is_scalar(one) and (pd.isna(one) or pd.isna(other)):
        return bool(pd.isna(one) and pd.isna(other))
    return bool(str(one) == str(other))
