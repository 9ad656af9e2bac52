"""From folders of logs to a table with versions: collect, clean, redact, check, commit; and what every version tells.

The raw rows stay in a table of their own. A prepared version holds all raw rows up to one raw version, cleaned together, so
that a duplicate or a correction that comes a week later is seen; what was done is kept in the same commit.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from workbench.errors import WorkbenchError
from workbench.tables import clean, clean_steps, contract, redact, redact_modes
from workbench.tables.clean_spool import Spool
from workbench.tables.flow_recipe import Recipe, load_recipe, redaction
from workbench.tables.kinds import plain_type
from workbench.tables.source import digest

if TYPE_CHECKING:
    import pandas as pd

    from workbench.clusters import Workers
    from workbench.tables.table import Piece, Table

FRAMES = ("taken", "steps", "refused", "personal", "versions", "changes", "schema")
ARRIVED = "_arrived"  # the raw version that brought a row, while it is worked on
SLICE = 1 << 17  # rows that the steps work on at a time


def prepare(
    sources: Sequence[str],
    into: str | Path,
    recipe: Recipe,
    *,
    key: redact.Key | None = None,
    settle: float = 5.0,
    cluster: Any = None,
) -> list[int]:
    """The versions of the prepared table that this made, of what is new in the sources; none where nothing is new.

    `into` is a folder with two tables: `raw` and `prepared`. A run that was killed is repeated: nothing is taken twice.
    cluster: "threads" (default), "processes", "cuda", a scheduler's address, or workers from `cluster()`: who works on the
    steps that look at one row. The result is the same.

    Raises ContractBroken where a promise that stops was broken; the raw rows stay, and the next run tries again.
    """
    from workbench.clusters import workers
    from workbench.tables.collect import collect

    raw, done = places(into)
    made = []
    with workers(cluster) as crew:
        for source in sources:
            collect(source, raw, **{"evolve": "*", "time": recipe.time, "settle": settle, **(recipe.collect or {})})
            version = commit(raw, done, recipe, key, crew)
            if version is not None:
                made.append(version)
    return made


def places(into: str | Path) -> tuple[str, str]:
    """The folders or addresses of the raw and of the prepared table."""
    top = str(into).rstrip("/")
    return f"{top}/raw", f"{top}/prepared"


def logs(source: str, raw: str) -> SimpleNamespace:
    """The logs that a raw table was taken from, as a run records them: address, version and rows of the raw table."""
    from workbench.tables import delta
    from workbench.tables.opening import open_table

    return SimpleNamespace(source=source, version=str(delta.snapshot(raw).version), rows=open_table(raw).rows)


def days_of(folder: str | Path) -> list[str]:
    """The folders of a source that are taken one after the other, each as a version: its `day-*`, or itself."""
    parts = sorted(str(one) for one in Path(folder).glob("day-*") if one.is_dir()) if "://" not in str(folder) else []
    return parts or [str(folder)]


def commit(
    raw: str, done: str, recipe: Recipe, key: redact.Key | None = None, crew: Workers | None = None
) -> int | None:
    """The version of the prepared table that holds all raw rows there are now; None where it is there already."""
    from workbench.tables import delta, versions

    at = delta.snapshot(raw).version
    past = list(versions.history(done)["told"]) if delta.home(done).exists() else []
    before = max((one.get("raw_version", 0) for one in past), default=0)
    if at <= before:
        return None
    breaches: list[contract.Breach] = []
    steps = list(recipe.steps)
    if recipe.redact is not None:
        steps.append(clean_steps.redact(redaction(recipe.redact, key)))
    if recipe.contract is not None:
        rules = [
            replace(one, value=(*one.value, ARRIVED)) if one.kind == "extra" else one for one in recipe.contract.rules
        ]
        steps.append(contract.keeps(replace(recipe.contract, rules=tuple(rules)), breaches=breaches))
    going = clean.flow(*steps).run(_raw_rows(raw, at), crew)
    refused: dict[tuple[str, str], _Refused] = {}

    def told() -> dict[str, Any]:
        names = ("field", "kind", "rule", "findings", "rows")
        found = sum((one.seen for one in going.notes), Counter())
        fields = sorted({one[:3] for one in found}, key=lambda one: (-found[(*one, "findings")], one))
        return {
            "operation": "prepare",
            "raw_version": at,
            "steps": [asdict(one) for one in going.counts],
            "personal": [
                dict(zip(names, (*one, found[(*one, "findings")], found[(*one, "rows")]), strict=True))
                for one in fields
            ],
            "refused": [{"step": step, "reason": why, "rows": one.rows} for (step, why), one in refused.items()],
            "breaches": [{"rule": one.rule.words, "rows": one.rows, "found": one.found} for one in breaches],
        }

    def aside() -> list[delta.Aside]:
        return [
            delta.Aside(f"{step}: {why}", one.fresh.rows, rows=one.fresh, source=raw)
            for (step, why), one in refused.items()
            if one.fresh.rows
        ]

    written = delta.write(
        done,
        _drained(going, refused, before),
        mode="replace",
        evolve="*",
        time=recipe.time,
        aside=aside,
        told=told,
        once=("prepare", at),
    )
    return None if written.skipped else written.version


@dataclass
class _Refused:
    """The rows that a step refused for one reason: how many, and those that are new, without where they came from."""

    rows: int = 0
    fresh: Spool = field(default_factory=Spool)


def _drained(going: clean.Running, refused: dict[tuple[str, str], _Refused], before: int) -> Iterator[pa.Table]:
    """The rows of a flow as they come; what was refused meanwhile goes to disk."""
    last = False
    while not last:
        rows = next(going.rows, None)
        for note in going.notes:
            for one in note.refused:
                mine = refused.setdefault((one.step, one.reason), _Refused())
                mine.rows += one.rows.num_rows
                new = one.rows.filter(pc.greater(one.rows[ARRIVED], before)).drop_columns([ARRIVED])
                if new.num_rows:
                    mine.fresh.put(new)
            note.refused.clear()
        last = rows is None
        if rows is not None:
            yield rows.drop_columns([ARRIVED])


def _raw_rows(raw: str, at: int) -> Iterator[pa.Table | clean.Part]:
    """The rows of a raw version in the order in which they came, with the number of the version that brought them: an empty
    table, then a function for each row group."""
    from workbench.tables.delta_log import snapshot
    from workbench.tables.delta_open import arrivals
    from workbench.tables.opening import open_table

    found = snapshot(raw, at)
    schema = pa.schema([(one.name, plain_type(one.type)) for one in found.schema])
    yield schema.empty_table().append_column(ARRIVED, pa.array([], pa.int64()))
    came, table = arrivals(found), open_table(raw, version=at)
    names = [one.relative for one in table.files]
    for piece in sorted(table.pieces(), key=lambda one: (came.get(names[one.file], 0), names[one.file], one.parts)):
        own = replace(table, files=(table.files[piece.file],))  # a worker is sent no other
        yield partial(_part, own, replace(piece, file=0), schema, came.get(names[piece.file], 0))


def _part(table: Table, piece: Piece, schema: pa.Schema, version: int) -> Iterator[pa.Table]:
    """The rows of a row group, a share of them at a time."""
    from workbench.tables.delta_files import conform

    for rows in table.batches(piece):
        columns = {name: _plain(rows.column(name)) for name in table.schema.names}
        whole = conform(pa.table(columns), schema)
        for start in range(0, whole.num_rows, SLICE):
            part = whole.slice(start, SLICE)
            yield part.append_column(ARRIVED, pa.repeat(pa.scalar(version, pa.int64()), part.num_rows))


def _plain(values: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    return values.cast(values.type.value_type) if pa.types.is_dictionary(values.type) else values


def where(table: str, into: str = "auto", recipe: str = "auto", *, write: bool = True) -> tuple[str, str, str]:
    """Source, folder of the two tables and recipe, where a notebook was asked for "example" or "auto".

    "example" is the messy example (written where `write`), into "auto" the folder `<source>.prepared` beside the source, recipe
    "auto" the file prepare.yml in the source, "" where there is none.
    """
    from workbench.tables import flow_example

    source = flow_example.address(write) if table == "example" else table.rstrip("/")
    own = str(Path(source) / "prepare.yml")
    found = (own if "://" not in source and Path(own).exists() else "") if recipe == "auto" else recipe
    return source, f"{source}.prepared" if into == "auto" else into, found


def story(
    source: str, into: str, recipe: str, *, key_file: str = "", settle: float = 5.0, cluster: Any = None
) -> dict[str, pd.DataFrame]:
    """Prepares what is new in a source, then tells all of the table, as `told` does.

    The key for pseudonyms is read from the file, else from the environment (WORKBENCH_REDACT_KEY), where there is one.
    Raises WorkbenchError where nothing could be taken yet.
    """
    from workbench.tables import delta

    book = load_recipe(recipe)
    there = bool(key_file) or bool(os.environ.get(redact_modes.KEY))
    key = redact.read_key(key_file or None) if there else None
    prepare(days_of(source), into, book, key=key, settle=settle, cluster=cluster)
    if not delta.home(places(into)[1]).exists():
        raise WorkbenchError(
            f"nothing in {source!r} could be taken; `workbench` keeps what was set aside in {into}/raw"
        )
    return told(into, book)


def headline(found: Mapping[str, pd.DataFrame]) -> list[tuple[str, Any, str, bool | None]]:
    """The figures of the page: name, value, unit and whether it is as it should be."""
    steps, versions, refused = found["steps"], found["versions"], found["refused"]
    rows = int(versions["rows"].iloc[-1]) if len(versions) else 0
    count = int(refused["rows"].sum())
    came = int(steps["rows_in"].iloc[0]) if len(steps) else rows
    return [
        ("rows in the newest version", rows, "", rows > 0),
        ("refused with a reason", round(100 * count / max(came, 1), 2), "% of rows", count <= 0.05 * max(came, 1)),
        ("duplicates left out", int(steps["dropped"].sum()), "rows", None),
        ("personal data taken out", int(found["personal"]["findings"].sum()), "findings", None),
        ("versions", len(versions), "", None),
    ]


def words(found: Mapping[str, pd.DataFrame], into: str) -> tuple[str, str]:
    """Two sentences: what was prepared, and how a version is approved or taken back."""
    done = places(into)[1]
    steps, versions, personal = found["steps"], found["versions"], found["personal"]
    came = int(steps["rows_in"].iloc[0]) if len(steps) else 0
    last = versions.iloc[-1]
    early = int(found["refused"].loc[found["refused"]["step"] == "collect", "rows"].sum())
    late = int(found["refused"]["rows"].sum()) - early
    could = f"{early:,} line or file" if early == 1 else f"{early:,} lines or files"
    kept = int(steps["rows_out"].iloc[-1]) if len(steps) else int(last["rows"])
    first = (
        f"Of {came:,} collected rows **{kept:,}** were kept, {late:,} refused, and {int(steps['dropped'].sum()):,} repeat a row "
        f"that is kept; {could} could not be collected. {int(personal['findings'].sum()):,} pieces of personal "
        f"data were taken out. Version **{last['version']}** holds {int(last['rows']):,} rows."
    )
    second = (
        f"Approve it with `workbench versions {done} --label {last['version']} approved`, go back with "
        f"`workbench rollback {done} VERSION` (an operator who has signed in does both above), see what was refused with "
        f"`workbench quarantine list {done}`. Other notebooks read the table by its path, or a version of it with "
        "`open_table(path, version='approved')`."
    )
    return first, second


# ---- what the versions tell, as small frames for the page


def told(into: str | Path, recipe: Recipe) -> dict[str, pd.DataFrame]:
    """The prepared table's story as frames: taken, steps, refused, personal, versions, changes, schema.

    taken: raw versions with rows and what was set aside. steps: rows in, out, changed, refused, flagged, dropped of each
    step, and where it was worked on. refused: step, reason, rows. personal: field, kind, rule, findings, rows. versions:
    number, time, rows, added, removed, changed against the one before (missing, with a word in `compared`, where one of the
    two is vacuumed). changes: columns with changed values between the last two. schema: columns that came or went between
    them. steps, refused and personal are of the newest version.
    """
    import pandas as pd

    from workbench.tables import quarantine, versions

    raw, done = places(into)
    past = versions.history(raw)
    taken = past[past["operation"] == "collect"][["version", "time", "added_rows", "aside"]].sort_values("version")
    history = versions.history(done).sort_values("version")
    made = history[history["operation"].isin(["prepare", "rollback"])]
    last: dict[str, Any] = next((one for one in reversed(list(made["told"])) if "steps" in one), {})
    frames = {
        "taken": taken.assign(time=_when(taken["time"])),
        "steps": pd.DataFrame(last.get("steps", []), columns=list(clean.Count.__dataclass_fields__)).fillna(
            {"where": ""}
        ),
        "refused": pd.DataFrame(last.get("refused", []), columns=["step", "reason", "rows"]),
        "personal": pd.DataFrame(last.get("personal", []), columns=["field", "kind", "rule", "findings", "rows"]),
    }
    entries = quarantine.entries(raw)
    if len(entries):
        by = entries.groupby("reason", as_index=False)["count"].sum().rename(columns={"count": "rows"})
        frames["refused"] = pd.concat([by.assign(step="collect")[["step", "reason", "rows"]], frames["refused"]])
    numbers = list(made["version"])
    newest = None
    if len(numbers) > 1:
        with contextlib.suppress(WorkbenchError):  # told in `compared`
            newest = versions.difference(done, numbers[-2], numbers[-1], key=recipe.key, show=1000)
    known = {numbers[-1]: newest.counts} if newest is not None else {}
    first = {"added": made["rows"].iloc[0], "removed": 0, "changed": 0} if numbers else {}
    counts: list[Mapping[str, Any]] = [
        first if a is None else known.get(b) or _counts(done, a, b, recipe.key) for a, b in pairwise([None, *numbers])
    ]
    frames["versions"] = made[["version", "time", "operation", "rows", "labels"]].assign(
        time=_when(made["time"]),
        **{name: _figures([one.get(name) for one in counts]) for name in ("added", "removed", "changed")},
        compared=[str(one.get("why", "")) for one in counts],
    )
    changed = newest.changed if newest is not None else pd.DataFrame(columns=["column"])
    frames["changes"] = changed.groupby("column", as_index=False).size().rename(columns={"size": "values"})
    schema = newest.schema if newest is not None else pd.DataFrame(columns=["column", "change", "before", "after"])
    frames["schema"] = schema[schema["change"] != "same"] if len(schema) else schema
    return {name: frame.reset_index(drop=True) for name, frame in frames.items()}


def _figures(values: Sequence[int | None]) -> Any:
    """Whole numbers; where one is not known, they are nullable."""
    import pandas as pd

    return pd.array(list(values), "Int64") if None in values else list(values)


def _counts(done: str, old: int, new: int, key: Sequence[str]) -> Mapping[str, Any]:
    """How many rows two versions differ by, or {"why": why that cannot be told}, as where one of them is vacuumed; told once
    and kept beside the table, since neither of them changes."""
    from workbench.tables import delta, versions
    from workbench.tables.delta_files import put

    at = delta.home(done)
    path = f"{at.folder}/_workbench/differences/{old}-{new}-{digest(*key)}.json"
    try:
        with at.place.open(path) as file:
            kept: dict[str, int] = json.loads(file.read())
        return kept
    except (OSError, ValueError):
        pass
    try:
        counts = versions.difference(done, old, new, key=key, show=0).counts
    except WorkbenchError as error:
        return {"why": f"cannot be told: {error}"}
    with contextlib.suppress(OSError):  # another process was first, or nothing may be written there
        put(at.place, path, lambda file: file.write(json.dumps(counts).encode()))
    return counts


def _when(times: Any) -> list[str]:
    return [one.strftime("%Y-%m-%d %H:%M:%S") for one in times]
