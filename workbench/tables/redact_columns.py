"""A column of any shape as the arrays of text in it, and back: dictionaries, structs, lists and maps are walked through."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa

from workbench.tables.redact_search import Spans, code_points, texts

Values = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Found:
    """Findings in one field: row, place in a list (if it is one), first and last code point, number of the rule."""

    path: str
    row: Values
    start: Values
    end: Values
    rule: Values
    item: Values | None = None

    @staticmethod
    def of(path: str, array: pa.LargeStringArray, spans: Spans) -> Found:
        start, end = code_points(array, spans)
        return Found(path, spans.row, start, end, spans.rule)


@dataclass(frozen=True)
class Walked:
    """A column after its texts were worked on, what was found in it, and the fields that hold no text, with why."""

    array: pa.Array
    found: list[Found] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)


Work = Callable[[str, pa.LargeStringArray], tuple[pa.LargeStringArray, Found]]


def walk(array: pa.Array, path: str, work: Work, spelt: Callable[[str], bool] = lambda _: False) -> Walked:
    """A column whose texts `work` has replaced. Fields of structs are named `user.email`, items of lists `tags[]`, keys and
    values of maps `labels{key}` and `labels{value}`. Whole numbers in a column for which `spelt` holds become text."""
    kind = array.type
    if pa.types.is_integer(kind) and spelt(path):
        return walk(array.cast(pa.string()), path, work)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        plain = texts(array)
        done, found = work(path, plain)
        return Walked(array if done is plain else done.cast(kind), [found])
    if pa.types.is_dictionary(kind):
        return _dictionary(array, path, work)
    if pa.types.is_struct(kind):
        parts = [walk(_child(array, k), f"{path}.{kind.field(k).name}", work) for k in range(kind.num_fields)]
        whole = pa.StructArray.from_arrays(
            [one.array for one in parts], fields=[kind.field(k) for k in range(kind.num_fields)], mask=array.is_null()
        )
        return Walked(whole, [one for part in parts for one in part.found], _joined(parts))
    if pa.types.is_map(kind):
        offsets, parents = _items(array)
        parts = [
            walk(values.slice(offsets[0], offsets[-1] - offsets[0]), f"{path}{{{name}}}", work)
            for name, values in (("key", array.keys), ("value", array.items))
        ]
        starts = _starts(array, offsets, pa.int32())
        whole = pa.MapArray.from_arrays(starts, parts[0].array, parts[1].array, type=kind)
        return Walked(whole, [_lifted(one, parents, offsets) for part in parts for one in part.found], _joined(parts))
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        offsets, parents = _items(array)
        inner = walk(array.values.slice(offsets[0], offsets[-1] - offsets[0]), f"{path}[]", work)
        wide = pa.int32() if pa.types.is_list(kind) else pa.int64()
        maker = pa.ListArray if pa.types.is_list(kind) else pa.LargeListArray
        whole = maker.from_arrays(_starts(array, offsets, wide), inner.array, type=kind)
        return Walked(whole, [_lifted(one, parents, offsets) for one in inner.found], inner.skipped)
    if pa.types.is_null(kind):
        return Walked(array)
    return Walked(array, skipped={path: f"{kind} is no text"})


def _dictionary(array: pa.DictionaryArray, path: str, work: Work) -> Walked:
    inner = walk(array.dictionary, path, work)
    if not any(len(one.row) for one in inner.found):
        return Walked(array, [replace(one, row=one.row) for one in inner.found], inner.skipped)
    codes = np.asarray(array.indices.fill_null(-1)).astype(np.int64)
    whole = inner.array.take(array.indices).dictionary_encode().cast(array.type)
    return Walked(whole, [_spread(one, codes) for one in inner.found], inner.skipped)


def _spread(found: Found, codes: Values) -> Found:
    """Findings of a dictionary's entries, as findings of the rows that hold them."""
    order = np.argsort(codes, kind="stable")
    low, high = np.searchsorted(codes[order], found.row), np.searchsorted(codes[order], found.row, "right")
    times = high - low
    which = np.repeat(np.arange(len(found.row)), times)
    within = np.arange(times.sum()) - np.repeat(np.cumsum(times) - times, times)
    rows = order[low[which] + within]
    by = np.lexsort((found.start[which], rows))
    which, rows = which[by], rows[by]
    return Found(found.path, rows, found.start[which], found.end[which], found.rule[which])


def _child(array: pa.StructArray, k: int) -> pa.Array:
    """A field of a struct, missing where the struct is."""
    child = array.field(k)
    return child if array.null_count == 0 or pa.types.is_nested(child.type) else array.flatten()[k]


def _items(array: Any) -> tuple[Values, Values]:
    """Where each row's items begin and end, and the row of each item, counted from the first item."""
    offsets = np.asarray(array.offsets).astype(np.int64)
    return offsets, np.repeat(np.arange(len(array)), np.diff(offsets))


def _starts(array: pa.Array, offsets: Values, kind: pa.DataType) -> pa.Array:
    """Offsets from 0, missing where the row is."""
    if array.null_count == 0:
        return pa.array(offsets - offsets[0], kind)
    return pa.array(offsets - offsets[0], kind, mask=np.append(np.asarray(array.is_null()), False))


def _lifted(found: Found, parents: Values, offsets: Values) -> Found:
    """Findings of items, as findings of the rows that hold them; the innermost place is kept."""
    rows = parents[found.row]
    item = found.item if found.item is not None else found.row - (offsets - offsets[0])[rows]
    return replace(found, row=rows, item=item)


def _joined(parts: list[Walked]) -> dict[str, str]:
    return {path: why for part in parts for path, why in part.skipped.items()}
