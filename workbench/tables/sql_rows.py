"""New rows of a SQL table by a watermark column into a table with versions: ties neither lost nor taken twice."""

from __future__ import annotations

import datetime
import decimal
import hashlib
import json
import re
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from workbench.errors import WorkbenchError, nearest
from workbench.tables import delta, delta_record
from workbench.tables.collect import Collected, Overtaken
from workbench.tables.delta import Home, Source
from workbench.tables.delta_files import parts
from workbench.tables.delta_record import Entry, Record
from workbench.tables.kinds import TIME, asked_type
from workbench.tables.source import brief

if TYPE_CHECKING:
    import sqlalchemy as sa

BATCH_ROWS = 500_000
CHUNK_ROWS = 20_000


def collect_sql(
    address: str,
    name: str,
    table: Source,
    *,
    watermark: str,
    key: str | Iterable[str] = (),
    lag: float = 0,
    columns: Sequence[str] | None = None,
    types: Mapping[str, str | pa.DataType] | None = None,
    evolve: Iterable[str] = (),
    time: str = "",
    batch_rows: int = BATCH_ROWS,
    table_options: Mapping[str, Any] | None = None,
    say: Callable[[str], Any] = lambda line: None,
) -> Collected:
    """The rows of a SQL table that came since the last time, in commits that each hold rows and the watermark they reach.

    Rows are read from the last watermark on, itself included; of the rows at it, those that were taken are known by hash
    and by number, so that a row that comes later with the same watermark is taken, and none is taken twice. A row that is
    updated with a newer watermark is taken again, as a new row.

    Parameters
    ----------
    address
        As SQLAlchemy has it: postgresql://user@host/database, sqlite:////path/file.db. A password is best left to the
        environment or to ~/.pgpass.
    name
        The SQL table, or schema.table.
    watermark
        A column that only grows: a time, or a number.
    key
        Columns that tell rows of one watermark apart; the whole row by default.
    lag
        How far behind the newest watermark rows may still come, in seconds or in units of the column: transactions that
        end out of order. That span is read again each time, and its rows' hashes are kept.
    columns, types
        The columns to take, and the kind of those whose type in the database is not the one wanted.
    evolve, time, batch_rows
        As in `collect`; a commit is made after so many rows.

    Returns
    -------
    Collected
        `told` says how many rows have no watermark: they are never taken.

    Raises
    ------
    WorkbenchError
        Naming a database that cannot be reached, or a table or column that is not there; without the address's password.
    """
    sa = _library()
    if batch_rows < 1 or lag < 0:
        raise WorkbenchError(f"batch_rows={batch_rows} and lag={lag}: at least one row, and no lag below 0, are wanted")
    at = delta.home(table, table_options)
    engine, where = _engine(address)
    try:
        source = _reflected(engine, name, where)
        keys = [key] if isinstance(key, str) and key else list(key)
        chosen = [one.name for one in source.columns] if columns is None else list(columns)
        for one in [watermark, *keys, *chosen]:
            if one not in source.columns:
                raise WorkbenchError(
                    f"{name!r} has no column {one!r}: {nearest(one, [c.name for c in source.columns])}"
                )
        schema = pa.schema([(one, _arrow(source.columns[one].type, one, types or {})) for one in chosen])
        for _ in range(20):
            try:
                return _collected(
                    engine, source, schema, at, f"{where}/{name}", watermark, keys, lag, evolve, time, batch_rows, say
                )
            except Overtaken:
                say(f"another process took rows of {name}: reading again")
        raise WorkbenchError(f"other processes took rows of {name!r} all the time; run it again when they are done")
    except sa.exc.SQLAlchemyError as error:
        raise WorkbenchError(f"{where}/{name} cannot be read: {_hidden(brief(error), address)}") from None
    finally:
        engine.dispose()


def _library() -> Any:
    try:
        import sqlalchemy
        import sqlalchemy.exc
    except ImportError as error:
        raise WorkbenchError("SQL tables need the package sqlalchemy: pip install 'workbench[prepare]'") from error
    return sqlalchemy


def _engine(address: str) -> tuple[sa.Engine, str]:
    sa = _library()
    try:
        url = sa.make_url(address if "://" in address else f"sqlite:///{address}")
        if url.drivername == "postgresql":
            url = url.set(drivername="postgresql+psycopg")
        engine = sa.create_engine(url)
    except (sa.exc.ArgumentError, ImportError) as error:
        words = (
            f"{_hidden(brief(error), address)}; write it as postgresql://user@host/database or sqlite:////path/file.db"
        )
        raise WorkbenchError(f"the database's address cannot be used: {words}") from None
    host = url.host or (url.query.get("host") if isinstance(url.query.get("host"), str) else "") or ""
    shown = f"{url.get_backend_name()}://{host}{f':{url.port}' if url.port else ''}/{(url.database or '').lstrip('/')}"
    return engine, shown


def _hidden(words: str, address: str) -> str:
    found = re.search(r"://[^:/@]*:([^@/]+)@", address)
    return words.replace(found[1], "***") if found else words


def _reflected(engine: sa.Engine, name: str, where: str) -> sa.Table:
    sa = _library()
    schema, _, bare = name.rpartition(".")
    try:
        return sa.Table(bare, sa.MetaData(), schema=schema or None, autoload_with=engine)
    except sa.exc.NoSuchTableError:
        known = sa.inspect(engine).get_table_names(schema=schema or None)
        raise WorkbenchError(f"{where} has no table {name!r}: {nearest(bare, known)}") from None


def _arrow(type_: Any, name: str, types: Mapping[str, str | pa.DataType]) -> pa.DataType:
    if name in types:
        return asked_type(name, types[name])
    sa = _library()
    if isinstance(type_, sa.Boolean):
        return pa.bool_()
    if isinstance(type_, sa.Integer):
        return pa.int64()
    if isinstance(type_, sa.Float):
        return pa.float64()
    if isinstance(type_, sa.Numeric):
        exact = type_.precision is not None and type_.precision <= 38
        return pa.decimal128(type_.precision, type_.scale or 0) if exact else pa.float64()
    if isinstance(type_, sa.DateTime):
        return TIME
    if isinstance(type_, sa.Date):
        return pa.date32()
    return pa.binary() if isinstance(type_, sa.LargeBinary) else pa.string()


def _collected(
    engine: sa.Engine, source: sa.Table, schema: pa.Schema, at: Home, name: str, watermark: str, keys: Sequence[str],
    lag: float, evolve: Iterable[str], time: str, batch_rows: int, say: Callable[[str], Any],
) -> Collected:  # fmt: skip
    sa = _library()
    record = _record(at)
    base = record.get("sql", name)
    column = source.columns[watermark]
    statement = sa.select(*[source.columns[one] for one in dict.fromkeys([*schema.names, watermark, *keys])])
    low = None if base is None else _less(_decoded(base.told["watermark"]), lag)
    told = _tellable(engine, column)
    statement = statement.where(told if low is None else sa.and_(told, column >= low))
    statement = statement.order_by(column, *[source.columns[one] for one in keys])
    full = delta.table_schema(at, schema, evolve, name, {})
    state = _State(base, lag)
    versions: list[int] = []
    taken = 0
    with engine.connect() as connection:
        streaming = connection.execution_options(stream_results=True, yield_per=CHUNK_ROWS)
        names = [one.name for one in statement.selected_columns]
        marks = [names.index(one) for one in keys] or list(range(len(names)))
        flow = _fresh(streaming.execute(statement), state, names.index(watermark), marks)
        over = False
        while not over:
            batch = _Batch(batch_rows)
            made = parts(at.place, at.folder, batch.tables(flow, names, schema, full), time)
            over = batch.over
            count = sum(one.rows for one in made)
            if not count:
                break
            entry = state.entry(name, count)
            versions.append(_commit(at, full, made, entry, base, record, name))
            say(f"version {versions[-1]}: {count:,} rows up to {watermark} {entry.told['watermark']['value']}")
            taken += count
            record = _record(at)
            base = record.get("sql", name)
        lost = connection.execute(sa.select(sa.func.count()).select_from(source).where(sa.not_(told))).scalar_one()
    reason = f"{lost:,} rows have no {watermark} (or none of the years 1 to 9999) and cannot be taken" if lost else ""
    line = {"source": name, "outcome": "taken" if taken else "known", "rows": taken, "reason": reason}
    return Collected(at.name, tuple(versions), taken, 1 if taken else 0, 0, 0, (line,))


def _tellable(engine: sa.Engine, column: Any) -> Any:
    """The condition that a row's watermark is there; in PostgreSQL, whose times may be infinite, that it can be told."""
    sa = _library()
    there = column.is_not(None)
    if engine.dialect.name != "postgresql" or not isinstance(column.type, sa.DateTime):
        return there
    zone = datetime.UTC if column.type.timezone else None
    ends = (datetime.datetime(1, 1, 2, tzinfo=zone), datetime.datetime(9999, 12, 30, tzinfo=zone))
    return sa.and_(there, column.between(*ends))


class _Batch:
    """Rows of one commit, cut from a flow that goes on."""

    def __init__(self, limit: int) -> None:
        self.left, self.over = limit, False

    def tables(
        self, flow: Iterator[tuple[Any, ...]], names: list[str], wanted: pa.Schema, full: pa.Schema
    ) -> Iterator[pa.Table]:
        from workbench.tables.delta_files import conform

        while self.left and not self.over:
            rows = []
            for row in flow:
                rows.append(row)
                self.left -= 1
                if len(rows) >= CHUNK_ROWS or not self.left:
                    break
            else:
                self.over = True
            if rows:
                columns = [
                    pa.array([_plain(row[names.index(one.name)], one.type) for row in rows], one.type) for one in wanted
                ]
                yield conform(pa.table(columns, schema=wanted), full)


class _State:
    """The watermark that was reached, and what was taken of the span that is read again."""

    def __init__(self, base: Entry | None, lag: float) -> None:
        told = base.told if base else {"watermark": None, "seen": {}, "rows": 0}
        self.lag, self.rows = lag, base.rows if base else 0
        self.top = None if base is None else _decoded(told["watermark"])
        self.before = self.top  # the rows of `left` are not above it
        self.left: Counter[str] = Counter(told["seen"])
        self.span: deque[tuple[Any, str]] = deque()

    def take(self, mark: Any, row: str) -> bool:
        """Whether a row is new; it is noted in any case."""
        self.span.append((mark, row))
        if self.top is None or mark > self.top:
            self.top = mark
            low = _less(mark, self.lag)
            while self.span and self.span[0][0] < low:
                self.span.popleft()
        if self.left.get(row, 0) > 0:
            self.left[row] -= 1
            return False
        return True

    def entry(self, name: str, rows: int) -> Entry:
        seen = Counter(row for _, row in self.span)
        if self.before is not None and not _less(self.top, self.lag) > self.before:
            seen.update({row: count for row, count in self.left.items() if count})
        self.rows += rows
        detail = json.dumps({"watermark": _encoded(self.top), "seen": dict(seen)})
        content = hashlib.sha256(f"{self.rows} {detail}".encode()).hexdigest()[:40]
        return Entry("sql", name, content, rows=self.rows, state="open", detail=detail)


def _fresh(rows: Iterable[Any], state: _State, mark: int, marks: Sequence[int]) -> Iterator[tuple[Any, ...]]:
    for row in rows:
        values = tuple(row)
        told = repr([_stable(values[one]) for one in (mark, *marks)])
        if state.take(values[mark], hashlib.sha256(told.encode("utf-8", "surrogatepass")).hexdigest()[:24]):
            yield values


def _stable(value: Any) -> Any:
    """A value as it is written the same in every session: times in UTC."""
    if isinstance(value, datetime.datetime) and value.tzinfo is not None:
        return value.astimezone(datetime.UTC)
    return bytes(value) if isinstance(value, memoryview) else value


def _less(value: Any, lag: float) -> Any:
    if not lag:
        return value
    if isinstance(value, datetime.datetime | datetime.date):
        return value - datetime.timedelta(seconds=lag)
    if isinstance(value, str):
        raise WorkbenchError(f"lag={lag:g} needs a watermark of times or numbers, and {value!r} is text: leave it out")
    return value - type(value)(lag) if isinstance(value, decimal.Decimal) else value - lag


def _encoded(value: Any) -> dict[str, Any]:
    if isinstance(value, datetime.datetime):
        return {"kind": "time", "value": _stable(value).isoformat()}
    if isinstance(value, datetime.date):
        return {"kind": "date", "value": value.isoformat()}
    if isinstance(value, decimal.Decimal):
        return {"kind": "decimal", "value": str(value)}
    if isinstance(value, bool | int | float | str):
        return {"kind": "plain", "value": value}
    raise WorkbenchError(f"a {type(value).__name__} is no watermark: choose a column of times or numbers")


def _decoded(told: Mapping[str, Any]) -> Any:
    read: dict[str, Callable[[Any], Any]] = {
        "time": datetime.datetime.fromisoformat, "date": datetime.date.fromisoformat, "decimal": decimal.Decimal,
    }  # fmt: skip
    return read.get(told["kind"], lambda one: one)(told["value"])


def _plain(value: Any, type_: pa.DataType) -> Any:
    if value is None:
        return None
    if pa.types.is_string(type_) and not isinstance(value, str):
        return json.dumps(value, default=str) if isinstance(value, dict | list) else str(value)
    if pa.types.is_floating(type_):
        return float(value)
    if type_ == TIME and isinstance(value, datetime.datetime) and value.tzinfo is None:
        return value.replace(tzinfo=datetime.UTC)
    return value


def _commit(
    at: Home, schema: pa.Schema, made: Any, entry: Entry, base: Entry | None, before: Record, name: str
) -> int:  # fmt: skip
    def entries(now: Record) -> list[Entry]:
        if now.number != before.number and now.get("sql", name) != base:
            raise Overtaken
        return [replace(entry, time=None)]

    told = {"operation": "collect", "rows": sum(one.rows for one in made), "files": 0, "aside": 0, "sources": [name]}
    try:
        version = delta.commit(at, schema, made, told, entries=entries)
    except Overtaken:
        for one in made:
            at.place.fs.rm(f"{at.folder}/{one.path}")
        raise
    assert version is not None
    return version


def _record(at: Home) -> Record:
    if not at.exists():
        return Record()
    return delta_record.read(at.place, at.folder, delta.load(at).transaction_version(delta_record.APP))
