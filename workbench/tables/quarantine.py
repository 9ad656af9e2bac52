"""What was set aside: listed, looked at, mended, and taken after all; beside the table and in the same commits."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from workbench.errors import WorkbenchError, nearest
from workbench.tables import delta, delta_record, intake, intake_read
from workbench.tables.collect import Collected, take
from workbench.tables.collect_batch import Asked
from workbench.tables.delta import Aside, Home, Source
from workbench.tables.delta_files import as_type, parts
from workbench.tables.delta_record import Entry, Record
from workbench.tables.intake_read import Chunk, Text

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("id", "time", "source", "reason", "count", "where", "payload", "state")


def entries(table: Source, open: bool = True, storage_options: Mapping[str, Any] | None = None) -> pd.DataFrame:  # noqa: A002
    """What was set aside from a table, oldest first: one row an incident, with reason, count and place.

    Columns: id, time (UTC), source, reason, count (rows, or 1 for a whole file), where (JSON: the first lines, or the
    file), payload (path under the table of what is kept of it; "" where the source itself is read again) and state
    ("open", "replayed" or "dropped"). `open` leaves the settled ones out.
    """
    import pandas as pd

    at = delta.home(table, storage_options)
    found = [_row(one) for one in _listed(_record(at)) if one.state == "open" or not open]
    return pd.DataFrame(found, columns=list(COLUMNS))


def _row(one: Entry) -> dict[str, Any]:
    told = one.told
    return {
        "id": one.key, "time": one.time, "source": told.get("source", ""), "reason": told["reason"], "count": one.rows,
        "where": json.dumps(told.get("where", {}), ensure_ascii=False), "payload": told.get("payload", ""),
        "state": one.state,
    }  # fmt: skip


def path(table: Source, number: str, storage_options: Mapping[str, Any] | None = None) -> str:
    """The file that holds what was set aside: mend it, then replay it. Raises where only the source itself can be mended."""
    at = delta.home(table, storage_options)
    one = _one(_record(at), number, at)
    if not one.told.get("payload"):
        raise WorkbenchError(f"of {number!r} nothing is kept beside the table: mend {one.told.get('source')!r} itself")
    return f"{at.folder}/{one.told['payload']}"


def rows(table: Source, number: str, storage_options: Mapping[str, Any] | None = None) -> pa.Table | bytes:
    """What was set aside: the lines as they were (CSV with their header), or rows of a table.

    Raises WorkbenchError for a number that is not in the quarantine, or where only the source itself holds them.
    """
    at = delta.home(table, storage_options)
    where = path(table, number, storage_options)
    with at.place.open(where) as file:
        if where.endswith(".parquet"):
            import pyarrow.parquet as pq

            return pq.read_table(file)
        return bytes(file.read())


def drop(table: Source, numbers: Iterable[str], storage_options: Mapping[str, Any] | None = None) -> int:
    """Settles what was set aside without taking it; gives the number of the version that says so."""
    at = delta.home(table, storage_options)
    wanted = list(numbers)

    def settled(record: Record) -> list[Entry]:
        return [delta.settled(_open(record, one, at), "dropped") for one in wanted]

    settled(_record(at))
    version = delta.commit(at, _schema(at), [], {"operation": "drop", "rows": 0, "ids": wanted}, entries=settled)
    assert version is not None
    return version


def replay(
    table: Source,
    numbers: Sequence[str] | None = None,
    *,
    storage_options: Mapping[str, Any] | None = None,
    table_options: Mapping[str, Any] | None = None,
    **options: Any,
) -> Collected:
    """Takes what was set aside, mended or with other options; what still cannot be taken is set aside anew.

    Parameters
    ----------
    numbers
        Which ones; all that are open by default.
    options
        As in `collect`: encoding, evolve, lacking, time, rewritten.

    Returns
    -------
    Collected
        Rows that were taken and what was set aside again. Taking and settling are one commit.

    Raises
    ------
    WorkbenchError
        Naming a number that is not open, or a source that is gone.
    """
    at = delta.home(table, table_options)
    record = _record(at)
    chosen = [one for one in _listed(record) if one.state == "open"] if numbers is None else [
        _open(record, one, at) for one in numbers
    ]  # fmt: skip
    given: dict[str, Any] = {"settle": 0.0, **options}
    given["evolve"] = (given["evolve"],) if isinstance(given.get("evolve"), str) else tuple(given.get("evolve", ()))
    asked = Asked(**given)
    kept = [one for one in chosen if one.told.get("payload")]
    done = _replay_kept(at, kept, asked) if kept else Collected(at.name, (), 0, 0, 0, 0)
    again: dict[str, tuple[list[str], Entry | None]] = {}
    for one in [each for each in chosen if not each.told.get("payload")]:
        before = one.told.get("before")
        known = None if before is None else Entry(**before)
        if known is not None and known.kind == "sql":
            _wind_back(at, one.key, known)
            continue
        numbers_of, _ = again.setdefault(str(one.told["source"]), ([], known))
        numbers_of.append(one.key)
    if not again:
        return done
    found = [one for name in again for one in intake.find(name, storage_options)]
    rest = take(at, found, asked, again)
    return replace(
        rest, versions=(*done.versions, *rest.versions), rows=done.rows + rest.rows, aside=done.aside + rest.aside,
        told=(*done.told, *rest.told),
    )  # fmt: skip


def _wind_back(at: Home, number: str, known: Entry) -> None:
    """Sets the watermark of a SQL table back to what it was: its next collection takes the rows behind it again."""
    delta.commit(at, _schema(at), [], {"operation": "replay", "rows": 0, "ids": [number]},
                 entries=lambda record: [known, delta.settled(_open(record, number, at), "replayed")])  # fmt: skip


def _replay_kept(at: Home, chosen: Sequence[Entry], asked: Asked) -> Collected:
    schema = _grown(at, chosen, asked)
    tables: list[pa.Table] = []
    asides: list[Aside] = []
    told: list[dict[str, Any]] = []
    settled: list[str] = []
    for one in chosen:
        table, aside = _again(at, one, schema, asked)
        if aside and not len(table):
            told.append({"source": f"{at.name}#{one.key}", "outcome": "refused", "rows": 0, "reason": aside[0].reason})
            continue  # as it was
        settled.append(one.key)
        tables.append(table)
        asides += aside
        left = sum(each.count for each in aside)
        told.append(
            {"source": f"{at.name}#{one.key}", "outcome": "taken", "rows": len(table), "reason": "", "aside": left}
        )
    if not settled:
        return Collected(at.name, (), 0, 0, 0, 0, tuple(told))
    made = parts(at.place, at.folder, tables, asked.time)
    fresh = delta.aside_entries(at, asides)

    def entries_of(record: Record) -> list[Entry]:
        return [
            *(delta.settled(_open(record, one.key, at), "replayed") for one in chosen if one.key in settled),
            *fresh,
        ]

    rows_taken = sum(one.rows for one in made)
    notes = {"operation": "replay", "rows": rows_taken, "aside": sum(one.count for one in asides),
             "ids": settled}  # fmt: skip
    version = delta.commit(at, schema, made, notes, entries=entries_of)
    assert version is not None
    return Collected(at.name, (version,), rows_taken, len(settled), sum(one.count for one in asides), 0, tuple(told))


def _grown(at: Home, chosen: Sequence[Entry], asked: Asked) -> pa.Schema:
    """The table's schema, with the declared new columns that what was set aside holds."""
    from workbench.tables.collect_batch import learned

    schema = _schema(at)
    for one in chosen:
        if not asked.evolve or one.told["payload"].endswith(".parquet"):
            continue
        with at.place.open(f"{at.folder}/{one.told['payload']}") as file:
            data = file.read()
        known = learned(Chunk(0, one, data=_body(data, how := _how(data, one))[0], text=how))
        wanted = [name for name in known if name not in schema.names and {name, "*"} & set(asked.evolve)]
        if wanted:
            more = pa.schema([*schema, *((name, known[name]) for name in wanted)])
            schema = delta.table_schema(at, more, asked.evolve, one.key, {})
    return schema


def _how(data: bytes, one: Entry) -> Text:
    from workbench.tables import intake_rows

    if one.told.get("form") != "csv":
        from workbench.tables import intake_otlp

        return Text(intake_otlp.signal(data[:200]) or "json")
    names, delimiter, length = intake_rows.header(data, one.key)
    return Text("csv", names, delimiter, data[:length])


def _body(data: bytes, how: Text) -> tuple[bytes, int]:
    return data[len(how.header) :], how.header.count(b"\n")


def _again(at: Home, one: Entry, schema: pa.Schema, asked: Asked) -> tuple[pa.Table, list[Aside]]:
    """The rows of what was set aside, and what still is none."""
    source = str(one.told.get("source", ""))
    where = f"{at.folder}/{one.told['payload']}"
    if where.endswith(".parquet"):
        import pyarrow.parquet as pq

        with at.place.open(where) as file:
            table = pq.read_table(file)
        columns = [as_type(table.column(field.name), field.type, field.name, one.key) if field.name in table.column_names
                   else pa.chunked_array([pa.nulls(len(table), field.type)]) for field in schema]  # fmt: skip
        return pa.table(columns, schema=schema), []
    with at.place.open(where) as file:
        data = file.read()
    if asked.encoding:
        data = data.decode(asked.encoding).encode()
    how = _how(data, one)
    body, line = _body(data, how)
    if how.form == "csv" and (new := [name for name in how.names if name not in schema.names]):
        raise WorkbenchError(f"{one.key!r} has the column {new[0]!r}, which the table lacks: declare it with evolve")
    table, broken = intake_read.parse(Chunk(0, one, data=body, line=line + 1, text=how), schema)
    columns = [table.column(field.name) if field.name in table.column_names
               else pa.chunked_array([pa.nulls(len(table), field.type)]) for field in schema]  # fmt: skip
    taken = pa.table(columns, schema=schema)
    if not broken:
        return taken, []
    left = how.header + b"\n".join(each.line.rstrip(b"\r\n") for each in broken) + b"\n"
    told = {"lines": [each.row for each in broken[:20]], "of": one.key}
    return taken, [Aside(broken[0].reason, len(broken), told, None, left, source, one.told.get("form", "json"))]


def _record(at: Home) -> Record:
    return delta_record.read(at.place, at.folder, delta.load(at).transaction_version(delta_record.APP))


def _schema(at: Home) -> pa.Schema:
    return pa.schema([pa.field(one.name, one.type) for one in pa.schema(delta.load(at).schema().to_arrow())])


def _listed(record: Record) -> list[Entry]:
    return sorted(record.of("aside"), key=lambda one: (one.time.isoformat() if one.time else "", one.key))


def _one(record: Record, number: str, at: Home) -> Entry:
    known = {one.key: one for one in record.of("aside")}
    if number not in known:
        raise WorkbenchError(f"{at.name!r} has set nothing aside as {number!r}: {nearest(number, known)}")
    return known[number]


def _open(record: Record, number: str, at: Home) -> Entry:
    one = _one(record, number, at)
    if one.state != "open":
        raise WorkbenchError(f"{number!r} was {one.state} before: it is not taken twice")
    return one
