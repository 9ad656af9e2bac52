"""Personal data found and taken out of tables: `scan` says where it stands, `redact` puts something else in its place."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from workbench.errors import WorkbenchError, nearest
from workbench.tables import redact_modes, redact_names, redact_search
from workbench.tables.redact_columns import Found, walk
from workbench.tables.redact_modes import Key, read_key
from workbench.tables.redact_rules import Rule, in_column, load_rules
from workbench.tables.redact_search import Plan, Spans

__all__ = [
    "FINDINGS",
    "Job",
    "Key",
    "Redacted",
    "Rule",
    "counts",
    "job",
    "load_rules",
    "read_key",
    "redact",
    "scan",
    "stream",
]

# Where something was found, never what. start and end count code points of the text in that field, the end is the first
# that is no part of it. item is the place in a list, else missing.
FINDINGS = pa.schema(
    [
        ("row", pa.int64()),
        ("field", pa.string()),
        ("item", pa.int64()),
        ("start", pa.int64()),
        ("end", pa.int64()),
        ("rule", pa.string()),
        ("kind", pa.string()),
    ]
)


@dataclass(frozen=True)
class Redacted:
    """A table without what was found in it, the findings (FINDINGS), and the fields that were not searched, with why."""

    table: pa.Table
    findings: pa.Table
    skipped: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Job:
    """What is to be done, checked once and then the same for every batch. It is made by `job`."""

    rules: tuple[Rule, ...]
    modes: dict[str, str]
    columns: tuple[str, ...] | None = None
    whole: dict[str, str] = field(default_factory=dict)
    dates: dict[str, str] = field(default_factory=dict)
    days: int = 183
    key: Key | None = None
    names: tuple[str, ...] = ()
    engine: Any = field(default=None, repr=False)
    plans: dict[str, Plan] = field(default_factory=dict, repr=False)
    device: str = ""  # "cuda": rows that may hold something are looked for by cuDF


def job(
    rules: Sequence[Rule] | None = None,
    modes: str | Mapping[str, str] = "mask",
    *,
    columns: Sequence[str] | None = None,
    whole: Mapping[str, str] | None = None,
    dates: Mapping[str, str] | None = None,
    days: int = 183,
    key: Key | None = None,
    names: Sequence[str] = (),
    engine: Any = None,
) -> Job:
    """How tables are to be redacted.

    Parameters
    ----------
    rules
        From `load_rules`; by default those of the package.
    modes
        "mask" writes `[email]`, "remove" nothing, "pseudonym" `[email-...]`, the same for the same value and key, so that
        joins still work. One for all, or by rule or kind with "*" for the others: `{"ip": "pseudonym", "*": "mask"}`.
    columns
        The columns to search, by default all that hold text, also inside structs, lists, maps and dictionaries.
    whole
        Columns of which every value becomes a pseudonym, with the kind that they share: `{"customer": "customer"}`.
    dates
        Columns of times or dates that are moved by whole days, with the column that says whose they are.
    days
        How far dates are moved at most.
    key
        From `read_key`; needed for pseudonyms and dates.
    names
        Columns of plain text in which names of people are looked for as well, by Presidio (`engine`, or one that is made).

    Raises
    ------
    WorkbenchError
        For an unknown mode, rule or kind, and where a key is needed and missing.
    """
    chosen = tuple(rules) if rules is not None else load_rules()
    if names:
        chosen += redact_names.RULES
    if (whole or dates) and key is None:
        raise WorkbenchError("pseudonyms and moved dates need a key: pass key=read_key()")
    how = redact_modes.chosen_modes(modes, chosen, key)
    return Job(
        chosen,
        how,
        None if columns is None else tuple(columns),
        dict(whole or {}),
        dict(dates or {}),
        days,
        key,
        tuple(names),
        engine if engine is not None or not names else redact_names.engine(),
    )


def redact(table: pa.Table | pa.RecordBatch, how: Job | None = None, *, first: int = 0) -> Redacted:
    """A table without personal data, and where it stood.

    Parameters
    ----------
    table
        Rows in memory; its schema stays, but for columns in `whole`, and columns of whole numbers whose name announces
        personal data (`phone`, `card_number`, `ssn`), which become text.
    how
        From `job`; by default every rule, masked.
    first
        The number of the first row, for the findings.

    Returns
    -------
    Redacted
        Searched again, its table has no findings. Findings that overlap are one, by the rule of the longest. A date whose
        subject is missing is missing.

    Raises
    ------
    WorkbenchError
        For columns that are not there, and a replacement that a rule finds again.

    Examples
    --------
    >>> table = pa.table({"line": ["from 192.0.2.7", "mail to ana@example.org"]})
    >>> done = redact(table)
    >>> done.table["line"].to_pylist()
    ['from [ip]', 'mail to [email]']
    >>> done.findings.select(["row", "start", "end", "rule"]).to_pylist()[1]
    {'row': 1, 'start': 8, 'end': 23, 'rule': 'email'}
    """
    how = how or job()
    rows = pa.table(table) if isinstance(table, pa.Table) else pa.Table.from_batches([table])
    chosen = _columns(rows.schema, how)
    out: dict[str, pa.Array] = {}
    found: list[Found] = []
    skipped: dict[str, str] = {}
    for name in rows.schema.names:
        column = rows[name].combine_chunks() if rows[name].num_chunks != 1 else rows[name].chunk(0)
        if name in how.dates:
            subjects = rows[how.dates[name]].combine_chunks()
            out[name] = redact_modes.shifted(column, subjects, _key(how), how.days)
        elif name in how.whole:
            out[name] = redact_modes.pseudonyms(column, how.whole[name], _key(how))
        elif name in chosen:
            walked = walk(column, name, lambda path, one: _field(path, one, how), lambda path: _spelt(path, how))
            out[name], skipped = walked.array, {**skipped, **walked.skipped}
            found += walked.found
        else:
            out[name] = column
    fields = [
        rows.schema.field(name) if rows.schema.field(name).type == out[name].type else pa.field(name, out[name].type)
        for name in rows.schema.names
    ]
    return Redacted(
        pa.table(list(out.values()), schema=pa.schema(fields, rows.schema.metadata)),
        _findings(found, how.rules, first),
        skipped,
    )


def scan(table: pa.Table | pa.RecordBatch, how: Job | None = None, *, first: int = 0) -> pa.Table:
    """Where personal data stands in a table: one row a finding (FINDINGS), in the order of columns and rows.

    >>> scan(pa.table({"line": ["no", "card 4111 1111 1111 1111"]}))["rule"].to_pylist()
    ['card']
    """
    how = how or job()
    rows = pa.table(table) if isinstance(table, pa.Table) else pa.Table.from_batches([table])
    found: list[Found] = []
    for name in _columns(rows.schema, how):
        column = rows[name].combine_chunks() if rows[name].num_chunks != 1 else rows[name].chunk(0)
        found += walk(column, name, lambda path, one: _seen(path, one, how), lambda path: _spelt(path, how)).found
    return _findings(found, how.rules, first)


def stream(
    batches: Iterable[pa.RecordBatch | pa.Table], how: Job | None = None, *, workers: int | None = None
) -> Iterator[Redacted]:
    """Batches without personal data, in their order, worked on by threads; no more than two a thread are in memory.

    Rows are numbered on from batch to batch. `workers` is by default the number of processors.
    """
    from workbench.clusters import Workers, cores

    asked = how or job()

    def numbered() -> Iterator[tuple[Any, int]]:
        row = 0
        for batch in batches:
            yield batch, row
            row += batch.num_rows

    crew = Workers("threads", workers or cores())
    yield from crew.each(lambda one: redact(one[0], asked, first=one[1]), numbered())


def counts(findings: pa.Table) -> pa.Table:
    """The number of findings and of rows that have them, by field, kind and rule; the largest first."""
    grouped = findings.group_by(["field", "kind", "rule"]).aggregate([("row", "count"), ("row", "count_distinct")])
    named = grouped.rename_columns({"row_count": "findings", "row_count_distinct": "rows"})
    return named.sort_by([("findings", "descending"), ("field", "ascending"), ("rule", "ascending")])


def _key(how: Job) -> Key:
    if how.key is None:
        raise WorkbenchError("pseudonyms and moved dates need a key: pass key=read_key()")
    return how.key


def _columns(schema: pa.Schema, how: Job) -> list[str]:
    named = [*(how.columns or ()), *how.names, *how.whole, *how.dates, *how.dates.values()]
    for name in named:
        if name not in schema.names:
            raise WorkbenchError(f"there is no column {name!r} to redact: {nearest(name, schema.names)}")
    aside = {*how.whole, *how.dates}
    return [name for name in (how.columns or schema.names) if name not in aside]


def _spelt(path: str, how: Job) -> bool:
    """Whether whole numbers in a column are searched, as text: its name announces what they are."""
    return any(in_column(one, path, True) is not one for one in how.rules)


def _plan(path: str, array: pa.LargeStringArray, how: Job) -> Plan:
    if path not in how.plans:
        kept = how.rules[: -len(redact_names.RULES)] if how.names else how.rules
        how.plans[path] = redact_search.plan([in_column(one, path) for one in kept], array, how.device)
    return how.plans[path]


def _all(path: str, array: pa.LargeStringArray, plan: Plan, how: Job) -> Spans:
    """What the rules find, and the names where they are wanted."""
    spans = redact_search.search(array, plan)
    if path not in how.names:
        return spans
    return redact_search.merged(
        [spans, redact_names.spans(array, how.engine, len(how.rules) - len(redact_names.RULES))]
    )


def _seen(path: str, array: pa.LargeStringArray, how: Job) -> tuple[pa.LargeStringArray, Found]:
    spans = _all(path, array, _plan(path, array, how), how)
    return array, Found.of(path, array, spans)


def _field(path: str, array: pa.LargeStringArray, how: Job) -> tuple[pa.LargeStringArray, Found]:
    """An array without its findings, and these; searched again until nothing is found in what was written."""
    plan = _plan(path, array, how)
    spans = _all(path, array, plan, how)
    said: dict[tuple[int, str], bytes] = {}
    words = [
        None
        if how.modes[one.name] == "pseudonym"
        else redact_modes.replacement(one, how.modes[one.name], "", None).encode()
        for one in how.rules
    ]
    while len(spans):
        out, sizes = redact_search.replaced(array, spans, words, lambda rule, value: _word(rule, value, how, said))
        rows = np.unique(spans.row)
        again = redact_search.among(out, rows, lambda few: _all(path, few, plan, how))
        if not len(again):
            return out, Found.of(path, array, spans)
        grown = redact_search.widened(array, spans, sizes, out, again)
        if len(grown) == len(spans) and (grown.start == spans.start).all() and (grown.end == spans.end).all():
            names = sorted({how.rules[k].name for k in again.rule})
            raise WorkbenchError(
                f"what was written in {path!r} in the place of findings is found again by {', '.join(names)}: "
                "such a rule may not match [kind] in brackets"
            )
        spans = grown
    return array, Found.of(path, array, spans)


def _word(rule: int, value: bytes, how: Job, said: dict[tuple[int, str], bytes]) -> bytes:
    text = value.decode("utf-8", "replace")
    if (rule, text) not in said:
        said[rule, text] = redact_modes.replacement(how.rules[rule], "pseudonym", text, how.key).encode()
    return said[rule, text]


def _findings(found: Sequence[Found], rules: Sequence[Rule], first: int) -> pa.Table:
    parts = []
    names, kinds = pa.array([one.name for one in rules]), pa.array([one.kind for one in rules])
    for one in found:
        if len(one.row):
            which = pa.array(one.rule)
            item = pa.nulls(len(one.row), pa.int64()) if one.item is None else pa.array(one.item, pa.int64())
            path = pa.repeat(pa.scalar(one.path), len(one.row))
            columns = [one.row + first, path, item, one.start, one.end, names.take(which), kinds.take(which)]
            parts.append(pa.table(columns, schema=FINDINGS))
    return pa.concat_tables(parts) if parts else FINDINGS.empty_table()
