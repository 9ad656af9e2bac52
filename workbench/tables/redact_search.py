"""Where personal data stands in a column of text: one expression over all rows, then each rule on the rows it left.

Everything is done on Arrow's buffers: a row's text is a stretch of bytes, a finding too, and what is searched again after
a finding is the rest of the row, without copying. Arrow lets other threads run meanwhile.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from workbench.tables import redact_cuda
from workbench.tables.redact_checks import CHECKS
from workbench.tables.redact_rules import Rule

Values = np.ndarray[Any, Any]
DENSE = 0.04  # a rule that more of the rows may hold is looked for at once in all of them
SAMPLE = 4_000  # rows that tell which rules these are
GROUP = 6  # rules whose prefilters are asked together, in rows of which one holds some prefilter
# Blanks and hyphens that do not break a line, as the checks read them.
PLAIN = str.maketrans("\u00a0\u2007\u2009\u202f\u2010\u2011\u2012\u2013", "    ----")
TOKEN = re.compile(rb"[0-9A-Za-z]*")
REST = re.compile(rb"[\x80-\xbf]*")


@dataclass(frozen=True)
class Plan:
    """How a column is searched: `everywhere` in all rows; of the others, first for any (`filter`, "" for none), then for the
    groups of `rare` whose own filter holds. `device` is "cuda" where cuDF asks the filters."""

    rules: tuple[Rule, ...]
    everywhere: tuple[int, ...]
    filter: str
    rare: tuple[tuple[str, tuple[int, ...]], ...]
    device: str = ""


@dataclass(frozen=True)
class Spans:
    """Findings of one array, in order and apart from each other: row, first and last byte (in its data), rule."""

    row: Values
    start: Values
    end: Values
    rule: Values

    def __len__(self) -> int:
        return len(self.row)


def plan(rules: Sequence[Rule], sample: pa.LargeStringArray, device: str = "") -> Plan:
    """How to search rows that are like a sample's."""
    some = sample.slice(0, SAMPLE)
    everywhere = []
    for k, rule in enumerate(rules):
        hits = pc.sum(pc.match_substring_regex(some, rule.prefilter)).as_py() or 0
        if hits > DENSE * max(len(some), 1):
            everywhere.append(k)
    rare = [k for k in range(len(rules)) if k not in everywhere]
    groups = [tuple(rare[at : at + GROUP]) for at in range(0, len(rare), GROUP)]
    by = tuple((_any(rules, group), group) for group in groups)
    return Plan(tuple(rules), tuple(everywhere), _any(rules, rare), by, device)


def _any(rules: Sequence[Rule], which: Sequence[int]) -> str:
    return "|".join(f"(?:{rules[k].prefilter})" for k in which)


def texts(column: pa.Array | pa.ChunkedArray) -> pa.LargeStringArray:
    """A column of text as one array with 64-bit offsets, none of them before its first byte."""
    whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return whole if whole.type == pa.large_string() else whole.cast(pa.large_string())


def raw(array: pa.LargeStringArray) -> tuple[Values, pa.Buffer]:
    """Offsets (one more than rows) and the bytes of an array."""
    _, offsets, data = array.buffers()
    if offsets is None or len(array) == 0:
        return np.zeros(1, np.int64), pa.py_buffer(b"")
    found = np.frombuffer(offsets, np.int64, len(array) + 1, array.offset * 8)
    return found, data if data is not None else pa.py_buffer(b"")


def search(array: pa.LargeStringArray, how: Plan) -> Spans:
    """All findings of an array of text. Findings that overlap are one: from the first byte to the last of them, by the
    rule of the longest (of the first rule where two are as long)."""
    offsets, data = raw(array)
    every = np.arange(len(array), dtype=np.int64)
    if array.null_count:
        every = every[np.asarray(array.is_valid())]
    found = [_of_rule(how.rules[k], k, array, every, offsets, data) for k in how.everywhere]
    if how.filter:
        found += _rare(array, every, how)
    return merged([one for one in found if len(one)])


def merged(parts: Sequence[Spans]) -> Spans:
    """Findings of several rules in order, those that overlap joined."""
    if not parts:
        empty = np.zeros(0, np.int64)
        return Spans(empty, empty, empty, empty)
    row, start, end, rule = (
        np.concatenate([getattr(one, name) for one in parts]) for name in ("row", "start", "end", "rule")
    )
    order = np.lexsort((rule, start))
    row, start, end, rule = row[order], start[order], end[order], rule[order]
    reach = np.maximum.accumulate(end)
    first = np.concatenate([[True], start[1:] >= reach[:-1]])
    if first.all():
        return Spans(row, start, end, rule)
    group = np.cumsum(first) - 1
    longest = np.lexsort((rule, start - end, group))
    heads = np.flatnonzero(first)
    return Spans(row[heads], start[heads], np.maximum.reduceat(end, heads), rule[longest][heads])


def _held(array: pa.LargeStringArray, one: str, device: str) -> Values:
    if device == "cuda":
        return redact_cuda.held(array, one)
    return np.asarray(pc.match_substring_regex(array, one).fill_null(False))


def _rare(array: pa.LargeStringArray, every: Values, how: Plan) -> list[Spans]:
    """The findings of the rules that few rows have, searched in a copy of the rows that may have one."""
    rows = every[_held(array, how.filter, how.device)[every]]
    if not len(rows):
        return []
    few = array.take(pa.array(rows))
    offsets, data = raw(few)
    found = []
    for one, group in how.rare:
        inside = np.flatnonzero(_held(few, one, how.device))
        if len(inside):
            found += [_of_rule(how.rules[k], k, few, inside, offsets, data) for k in group]
    moved = raw(array)[0][rows] - offsets[:-1]
    return [Spans(rows[one.row], one.start + moved[one.row], one.end + moved[one.row], one.rule) for one in found]


def _of_rule(
    rule: Rule, number: int, array: pa.LargeStringArray, rows: Values, offsets: Values, data: pa.Buffer
) -> Spans:
    """The findings of one rule in some rows: the first in each, then the first in what is left of each, and so on."""
    view = np.frombuffer(data, np.uint8) if data.size else np.zeros(1, np.uint8)
    edges = np.zeros(256, bool)
    edges[list(rule.edges)] = True
    check = CHECKS.get(rule.check)
    low, high = offsets[rows], offsets[rows + 1]
    whole = len(rows) == len(array)
    found: list[tuple[Values, Values, Values]] = []
    while len(rows):
        searched = array if whole else _stretches(low, high, data)
        at, length, barred = _first(searched, rule.pattern, 1 if whole else 2)
        whole = False
        hit = at >= 0
        rows, low, high, barred = rows[hit], low[hit], high[hit], barred[hit]
        start, end = low + at[hit], low + at[hit] + length[hit]
        if not len(rows):
            break
        begins = offsets[rows]
        good = ~barred
        if rule.edges:
            good &= ~((start > begins) & edges[view[np.maximum(start - 1, 0)]])
            if check is None:
                good &= ~((end < offsets[rows + 1]) & edges[view[np.minimum(end, len(view) - 1)]])
        if check is not None:
            for k in np.flatnonzero(good):
                value = view[start[k] : end[k]].tobytes().decode("utf-8", "replace")
                end[k] = start[k] + len(value[: check(value.translate(PLAIN))].encode())
            good &= end > start
            if rule.edges:
                good &= ~((end < offsets[rows + 1]) & edges[view[np.minimum(end, len(view) - 1)]])
        found.append((rows[good], start[good], end[good]))
        good |= barred & (end > start)  # what is barred is passed over whole, or its rest would be found
        low = np.where(good, end, start)
        for k in np.flatnonzero(~good):
            low[k] = _after(data, int(start[k]), int(high[k]))
        left = low < high
        rows, low, high = rows[left], low[left], high[left]
    row, start, end = (np.concatenate([one[k] for one in found] or [np.zeros(0, np.int64)]) for k in range(3))
    return Spans(row, start, end, np.full(len(row), number, np.int64))


def _stretches(low: Values, high: Values, data: pa.Buffer) -> pa.LargeStringArray:
    """An array whose even rows are stretches of the data; the odd ones, what lies between them, are missing."""
    count = 2 * len(low) - 1
    offsets = np.empty(2 * len(low), np.int64)
    offsets[0::2], offsets[1::2] = low, high
    valid = pa.py_buffer(np.full((count + 7) // 8, 0x55, np.uint8))
    return pa.LargeStringArray.from_buffers(count, pa.py_buffer(offsets), data, valid, -1)


def _first(array: pa.LargeStringArray, pattern: str, step: int) -> tuple[Values, Values, Values]:
    """Of every step-th row: where the group v stands in it, in bytes (-1 without a match), its length, and whether a
    group that bars it took part."""
    parts = pc.extract_regex_span(array, pattern)
    hit = np.asarray(parts.is_valid())[::step]
    at, length = _span(parts, "v", step)
    barred = np.zeros(len(hit), bool)
    for k in range(parts.type.num_fields):
        name = parts.type.field(k).name
        if name != "v":
            barred |= _span(parts, name, step)[1] > 0
    return np.where(hit, at, -1), length, barred & hit


def _span(parts: pa.StructArray, name: str, step: int) -> tuple[Values, Values]:
    pairs = parts.field(name)
    values = np.asarray(pairs.values.fill_null(0))[2 * pairs.offset :].reshape(-1, 2)
    if pairs.null_count:
        values = np.where(np.asarray(pairs.is_valid())[:, None], values, 0)
    return values[::step, 0], values[::step, 1]


def _after(data: pa.Buffer, start: int, high: int) -> int:
    """Where to go on after a match that was none: behind the letters and digits that it began with."""
    text = memoryview(data)
    at = max(TOKEN.match(text, start, high).end(), start + 1)  # type: ignore[union-attr]
    return REST.match(text, at, high).end()  # type: ignore[union-attr]


def replaced(
    array: pa.LargeStringArray, spans: Spans, words: Sequence[bytes | None], word: Callable[[int, bytes], bytes]
) -> tuple[pa.LargeStringArray, Values]:
    """The array with each finding's word in its place, and the words' lengths in bytes. `words` has the word of each rule,
    None where it depends on what was found: then it is `word(rule, found)`."""
    offsets, data = raw(array)
    view = memoryview(data)
    starts, ends, rules = spans.start.tolist(), spans.end.tolist(), spans.rule.tolist()
    put: list[Any] = [words[k] for k in rules]
    for k in [k for k, one in enumerate(put) if one is None]:
        put[k] = word(rules[k], bytes(view[starts[k] : ends[k]]))
    sizes = np.fromiter(map(len, put), np.int64, len(put))
    pieces: list[Any] = [b""] * (2 * len(put) + 1)
    befores = [int(offsets[0]), *ends]
    pieces[0::2] = [view[a:b] for a, b in zip(befores, [*starts, int(offsets[-1])], strict=True)]
    pieces[1::2] = put
    grown = np.bincount(spans.row, sizes - (spans.end - spans.start), len(array)).astype(np.int64)
    moved = offsets - offsets[0] + np.concatenate([[0], np.cumsum(grown)])
    valid = None if array.null_count == 0 else pa.array(np.asarray(array.is_valid())).buffers()[1]
    done = pa.LargeStringArray.from_buffers(
        len(array), pa.py_buffer(moved), pa.py_buffer(b"".join(pieces)), valid, array.null_count
    )
    return done, sizes


def among(array: pa.LargeStringArray, rows: Values, find: Callable[[pa.LargeStringArray], Spans]) -> Spans:
    """The findings of some rows of an array, as `find` tells those of all."""
    few = array.take(pa.array(rows))
    found = find(few)
    moved = (raw(array)[0][rows] - raw(few)[0][:-1])[found.row]
    return Spans(rows[found.row], found.start + moved, found.end + moved, found.rule)


def widened(array: pa.LargeStringArray, spans: Spans, sizes: Values, out: pa.LargeStringArray, again: Spans) -> Spans:
    """The findings together with what was found in the text that they left, told in the bytes of the text before."""
    before, after = raw(array)[0], raw(out)[0]
    grown = sizes - (spans.end - spans.start)
    more = []
    for row, start, end, rule in zip(again.row, again.start, again.end, again.rule, strict=True):
        mine = np.flatnonzero(spans.row == row)
        shift = before[row] - after[row]
        # Where each finding's word stands now; between them the text is as it was, moved.
        moved = np.concatenate([[0], np.cumsum(grown[mine])])
        new_start = spans.start[mine] + moved[:-1] - shift
        new_end = new_start + sizes[mine]
        first = int(np.searchsorted(new_end, start, "right"))
        last = int(np.searchsorted(new_start, end, "left"))
        begin = start + shift - moved[first]
        stop = end + shift - moved[last]
        for k in range(first, last):
            begin = min(begin, spans.start[mine[k]])
            stop = max(stop, spans.end[mine[k]])
        more.append((row, begin, stop, rule))
    found = np.array(more, np.int64).T
    return merged([spans, Spans(*found)])


def code_points(array: pa.LargeStringArray, spans: Spans) -> tuple[Values, Values]:
    """Where findings begin and end in their texts, in code points."""
    offsets, data = raw(array)
    begins = offsets[spans.row]
    start, end = spans.start - begins, spans.end - begins
    if len(spans):
        view = np.frombuffer(data, np.uint8)[int(offsets[0]) : int(offsets[-1])]
        if view.max() > 127:
            places = np.unique(np.concatenate([begins, spans.start, spans.end])) - offsets[0]
            leads = np.append((view & 0xC0) != 0x80, False)
            sums = np.add.reduceat(leads, places, dtype=np.int64)
            points = np.concatenate([[0], np.cumsum(sums[:-1])])
            at = [points[np.searchsorted(places, one - offsets[0])] for one in (begins, spans.start, spans.end)]
            start, end = at[1] - at[0], at[2] - at[0]
    return start, end
