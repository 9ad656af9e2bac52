"""New files into a table with versions: each row exactly once, by content and position, however often it is run."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa

from workbench.errors import WorkbenchError
from workbench.tables import delta, delta_record, intake
from workbench.tables.collect_batch import BATCH, PARSERS, SHOWN, Asked, Batch, asides_of, chunks, rows_of, schema_of
from workbench.tables.delta import Aside, Home, Source
from workbench.tables.delta_files import parts
from workbench.tables.delta_record import Entry, Record
from workbench.tables.intake import Look, Seen
from workbench.tables.intake_read import Job

WORDS = {"grown": "taken", "longer": "taken", "new": "taken", "again": "taken"}


Replays = Mapping[str, tuple[Sequence[str], Entry | None]]  # address: numbers set aside, and what was taken before them


class Overtaken(Exception):  # noqa: N818  (not a failure: the batch is looked at again)
    """Another process took some of the same files meanwhile."""


@dataclass(frozen=True)
class Collected:
    """What a collection did: the versions that it committed and, a source file each, what became of it."""

    table: str
    versions: tuple[int, ...]
    rows: int
    files: int
    aside: int  # rows and files that were set aside
    waiting: int  # files that are left for the next time
    told: tuple[dict[str, Any], ...] = field(repr=False, default=())

    @property
    def version(self) -> int | None:
        return self.versions[-1] if self.versions else None


def collect(
    sources: Source | Sequence[Source],
    table: Source,
    *,
    time: str = "",
    types: Mapping[str, str | pa.DataType] | None = None,
    evolve: Iterable[str] = (),
    lacking: str = "aside",
    settle: float = 5.0,
    encoding: str | None = None,
    rewritten: str = "aside",
    batch_bytes: int = BATCH,
    storage_options: Mapping[str, Any] | None = None,
    table_options: Mapping[str, Any] | None = None,
    say: Callable[[str], Any] = lambda line: None,
) -> Collected:
    """What is new under the sources, taken into the table in commits that each hold rows and the record of them.

    A row is taken exactly once, whatever is killed, repeated, renamed, packed or run twice at a time: a file is known by
    its content, and one that grows by the position up to which it was taken. What cannot be taken is set aside with its
    reason (see `quarantine`); what is still being written waits.

    Parameters
    ----------
    sources
        Folders, patterns, files or fsspec addresses of CSV, JSON lines, OTLP's JSON lines (text also as .gz or .zst)
        and Parquet; folders named key=value become columns.
    table
        The folder or address of the table; it is made where there is none.
    time
        The column by which rows are ordered in their row group.
    types
        The kind or Arrow type of a column of a table that is made now; others are learned from up to 8 files.
    evolve
        Columns that may be new; "*" for any. Lines or files with another new column are set aside.
    lacking
        What becomes of a CSV or Parquet file that lacks a column: "aside", or "null" to take its rows without. The
        columns of `evolve` may always be lacking.
    settle
        Seconds after which a file that does not change is taken for finished: its last line is a line though nothing
        ends it, and a packed file that breaks off is damaged. Younger ones wait for the next time.
    encoding
        Of text that is no UTF-8 and has no byte-order mark.
    rewritten
        What becomes of a file whose content was taken and is another now, while the old one is nowhere: "aside", or
        "take" to take the new content too.
    batch_bytes
        Bytes of sources (unpacked) after which a commit is made.
    storage_options, table_options
        Keys and endpoints of the store of the sources and of that of the table, as fsspec or the library of Delta tables
        spells them; what the environment says (AWS_ACCESS_KEY_ID ...) need not be repeated. They are kept nowhere.

    Returns
    -------
    Collected
        With no new version where there was nothing new.

    Raises
    ------
    WorkbenchError
        Naming a source that does not exist, or a table or record that cannot be read or written.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> _ = (folder / "a.csv").write_text("model,ms\\na,12\\nb,oops\\n" * 1 + "a,9\\n")
    >>> done = collect(folder / "a.csv", folder / "table", types={"ms": "integer"}, settle=0)
    >>> done.rows, done.aside, collect(folder / "a.csv", folder / "table", settle=0).rows
    (2, 1, 0)
    """
    for name, value, choices in (("lacking", lacking, ("aside", "null")), ("rewritten", rewritten, ("aside", "take"))):
        if value not in choices:
            raise WorkbenchError(f"{name}={value!r} is unknown: the choices are {choices[0]!r} and {choices[1]!r}")
    intake.encoding_of(b"", encoding)
    declared = (evolve,) if isinstance(evolve, str) else tuple(evolve)
    asked = Asked(time, dict(types or {}), declared, lacking, settle, encoding, rewritten, batch_bytes, say=say)
    at = delta.home(table, table_options)
    found = intake.find(sources, storage_options)
    return take(at, found, asked)


def take(at: Home, found: Sequence[Seen], asked: Asked, replays: Replays | None = None) -> Collected:
    """Takes what is new of these files; those of `replays` (address to numbers set aside) from the start."""
    versions: list[int] = []
    told: dict[str, dict[str, Any]] = {}
    earlier: Counter[str] = Counter()  # rows of commits that came before another process was faster
    for _ in range(20):
        try:
            _round(at, found, asked, replays or {}, versions, told)
            break
        except Overtaken:
            asked.say("another process took some of these files: looking again")
            earlier.update({name: line["rows"] for name, line in told.items()})
            found = [now for one in found if (now := intake.again(one)) is not None]
    else:
        raise WorkbenchError(
            f"{at.name!r}: other processes took these files all the time; run it again when they are done"
        )
    for name, rows in earlier.items():
        if rows:
            told[name].update(outcome="taken", rows=told[name]["rows"] + rows)
    outcomes = Counter(one["outcome"] for one in told.values())
    return Collected(
        at.name, tuple(versions), sum(one["rows"] for one in told.values()), outcomes["taken"],
        sum(one.get("aside", 0) for one in told.values()), outcomes["waiting"], tuple(told.values()),
    )  # fmt: skip


def _round(
    at: Home, found: Sequence[Seen], asked: Asked, replays: Replays,
    versions: list[int], told: dict[str, dict[str, Any]],
) -> None:  # fmt: skip
    record = _record(at)
    rule = record.get("table", "required")
    asked.required = tuple(rule.told["columns"]) if rule else None
    jobs, entries, asides = _jobs(found, record, asked, replays, told)
    if not jobs and not entries and not asides:
        return
    young = {one.seen.name for one in jobs if one.seen.age < asked.settle}
    schema, problem = schema_of(at, jobs, asked)
    if schema is None:
        if problem or not jobs:
            problem = problem or "; ".join(f"{one.source!r}: {one.reason}" for one in asides[:1])
            raise WorkbenchError(f"there is nothing yet to make {at.name!r} of: no file could be read; {problem}")
        return _waiting(told, young)
    rules = [] if rule or asked.required is None else [
        Entry("table", "required", detail=json.dumps({"columns": asked.required}))
    ]  # fmt: skip
    with ThreadPoolExecutor(PARSERS) as pool:
        flow = chunks(jobs, asked)
        over = False
        while not over:
            batch = Batch(schema, dict(entries))
            made = parts(at.place, at.folder, rows_of(flow, batch, jobs, at, asked, pool), asked.time)
            over, schema = batch.over, batch.schema
            refused = [*asides, *asides_of(batch, jobs)]
            settled = [one for number in {*batch.rows, *batch.refused} for one in jobs[number].asides]
            done = {key: one for key, one in batch.entries.items() if one.state != "within"}
            if made or refused or done:
                version = _commit(at, schema, made, done, refused, settled, record, rules)
                versions.append(version)
                asked.say(f"version {version}: {sum(one.rows for one in made):,} rows from {len(done)} files")
            for number, count in batch.rows.items():
                line = told.setdefault(jobs[number].seen.name, _line(jobs[number].seen, "taken"))
                line["rows"] += count
            for number, reason in batch.refused.items():
                told[jobs[number].seen.name].update(outcome="set aside", reason=reason)
                told[jobs[number].seen.name]["aside"] = told[jobs[number].seen.name].get("aside", 0) + 1
            for number, lines in batch.broken.items():
                line = told[jobs[number].seen.name]
                line["aside"] = line.get("aside", 0) + len(lines)
            entries, asides, rules = {}, [], []
            record = _record(at)
    _waiting(told, young)


def _waiting(told: dict[str, dict[str, Any]], young: Collection[str]) -> None:
    for name, line in told.items():
        if line["outcome"] == "taken" and not line["rows"] and not line.get("aside"):
            early = "it is young, and nothing more of it is whole yet"
            line.update(outcome="waiting", reason=early if name in young else "it holds no row yet")


def _record(at: Home) -> Record:
    if not at.exists():
        return Record()
    return delta_record.read(at.place, at.folder, delta.load(at).transaction_version(delta_record.APP))


def _line(one: Seen, outcome: str, reason: str = "") -> dict[str, Any]:
    return {"source": one.name, "outcome": outcome, "rows": 0, "reason": reason}


def _jobs(
    found: Sequence[Seen], record: Record, asked: Asked, replays: Replays,
    told: dict[str, dict[str, Any]],
) -> tuple[list[Job], dict[str, Entry], list[Aside]]:  # fmt: skip
    """What there is to read, what is only noted (files that moved), and what is set aside unread."""
    heads = intake.by_head(record.of("file"))
    looks = [
        _replayed(replays[one.name][1])
        if one.name in replays
        else intake.look(one, record, heads, asked.settle, asked.encoding)
        for one in found
    ]
    pairs = list(zip(found, looks, strict=True))
    here = {one.name for one, what in pairs if what.outcome in ("known", "grown", "refused")}
    kept = {what.entry.content for _, what in pairs if what.entry and what.outcome not in ("rewritten", "truncated")}
    unread: dict[str, list[str]] = {}  # files that were set aside, and are settled where they can be read now
    for aside in record.of("aside"):
        if aside.state == "open" and not {"payload", "before"} & set(aside.told):
            unread.setdefault(str(aside.told.get("source")), []).append(aside.key)
    twins = _twins(found, looks, asked)
    jobs: list[Job] = []
    entries: dict[str, Entry] = {}
    asides: list[Aside] = []
    for one, what in pairs:
        base = record.get("file", one.name)
        if what.entry is not None and (
            (what.outcome == "longer" and what.entry.key in here and what.entry.position < intake.HEAD)
            or (what.outcome == "rewritten" and (asked.rewritten == "take" or what.entry.content in kept))
        ):
            what = Look("new")  # rotated: the old content lies elsewhere, or begins like another by chance
        told[one.name] = _line(one, WORDS.get(what.outcome, what.outcome), what.reason)
        if one.name in twins:
            told[one.name] = _line(one, "moved", f"the same content as {twins[one.name]}")
        elif what.outcome in ("new", "grown", "longer", "again"):
            fresh = what.outcome in ("new", "again")
            left = None if fresh else _left(what, one, here)
            settles = tuple(replays[one.name][0] if one.name in replays else unread.get(one.name, ()))
            jobs.append(Job(one, what, base, settles, fresh, left))
        elif what.outcome == "moved" and what.entry is not None:
            entries[one.name] = replace(
                what.entry, key=one.name, rows=0, size=one.size, stamp=one.stamp, state="whole", time=None
            )
            if (left := _left(what, one, here)) is not None:
                entries.setdefault(left.key, left)
        elif what.outcome in ("truncated", "rewritten", "unreadable"):
            reason = f"{what.outcome}: {what.reason}"
            asides.append(Aside(reason, 1, {"file": one.name}, source=one.name))
            before = base or Entry("file", one.name)
            entries[one.name] = replace(before, state="refused", size=one.size, stamp=one.stamp, time=None)
            told[one.name].update(outcome="set aside", reason=reason, aside=1)
    return jobs, entries, asides


def _replayed(before: Entry | None) -> Look:
    return Look("grown", before) if before is not None and before.content else Look("again")


def _left(what: Look, one: Seen, here: Collection[str]) -> Entry | None:
    """What the record is to say of the name under which a content was taken that now lies elsewhere: nothing is taken of
    it, so that what comes under this name is new, whether or not this commit is followed by another."""
    if what.entry is None or what.entry.key == one.name or what.entry.key in here:
        return None
    return Entry("file", what.entry.key)


def _twins(found: Sequence[Seen], looks: Sequence[Look], asked: Asked) -> dict[str, str]:
    """New files that hold what another new file holds, packed or not, with the name of that one."""
    alike: dict[str, list[Seen]] = {}
    for one, what in zip(found, looks, strict=True):
        if what.outcome == "new" and what.head:
            alike.setdefault(what.head, []).append(one)
    twins: dict[str, str] = {}
    for group in (several for several in alike.values() if len(several) > 1):
        first: dict[str, str] = {}
        for one in group:
            try:
                content = intake.content_of(one, asked.encoding)
            except (OSError, EOFError, UnicodeError, pa.ArrowException):
                continue  # told when it is read
            if content in first:
                twins[one.name] = first[content]
            first.setdefault(content, one.name)
    return twins


def _commit(
    at: Home, schema: pa.Schema, made: Any, done: Mapping[str, Entry], refused: Sequence[Aside], settled: Sequence[str],
    before: Record, rules: Sequence[Entry],
) -> int:  # fmt: skip
    kept = delta.aside_entries(at, refused)

    def entries(now: Record) -> list[Entry]:
        if now.number != before.number:
            known = {one.content for one in now.of("file") if before.get("file", one.key) != one}
            for key, one in done.items():
                if now.get("file", key) != before.get("file", key) or (one.content and one.content in known):
                    raise Overtaken
        over = [
            delta.settled(now.entries["aside", one], "replayed") for one in settled if ("aside", one) in now.entries
        ]
        return [*done.values(), *kept, *over, *rules]

    rows = sum(one.rows for one in made)
    told = {
        "operation": "collect", "rows": rows, "files": len(done), "aside": sum(one.count for one in refused),
        "sources": sorted(done)[:SHOWN],
    }  # fmt: skip
    try:
        version = delta.commit(at, schema, made, told, entries=entries)
    except Overtaken:
        for one in made:
            at.place.fs.rm(f"{at.folder}/{one.path}")
        raise
    assert version is not None
    return version
