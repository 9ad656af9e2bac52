"""Rows of SQL tables by watermark, in SQLite and in a PostgreSQL that the tests start."""

from __future__ import annotations

import datetime
import random

import pytest
import sqlalchemy as sa

import workbench as wb
from scripts import postgres as server
from workbench.errors import WorkbenchError
from workbench.tables import quarantine, versions
from workbench.tables.sql_rows import collect_sql

START = datetime.datetime(2026, 11, 24, tzinfo=datetime.UTC)


@pytest.fixture(scope="module")
def postgres_address():
    programs = server.find()
    if programs is None:
        pytest.skip(server.MISSING)
    with server.server(programs) as address:
        yield address


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request, tmp_path):
    if request.param == "sqlite":
        address = f"sqlite:///{tmp_path}/source.db"
    else:
        address = request.getfixturevalue("postgres_address")
    engine = sa.create_engine(address.replace("postgresql://", "postgresql+psycopg://"))
    with engine.begin() as connection:
        connection.execute(sa.text("DROP TABLE IF EXISTS requests"))
        zone = "TIMESTAMP WITH TIME ZONE" if request.param == "postgresql" else "DATETIME"
        connection.execute(sa.text(
            f"CREATE TABLE requests (id INTEGER, changed {zone}, cost NUMERIC(12, 4), note VARCHAR(20), good BOOLEAN)"
        ))  # fmt: skip
    yield address, engine
    engine.dispose()


@pytest.fixture
def table(tmp_path):
    return str(tmp_path / "table")


def insert(engine, *rows):
    meta = sa.Table("requests", sa.MetaData(), autoload_with=engine)
    zoned = engine.dialect.name == "postgresql"
    start = START if zoned else START.replace(tzinfo=None)
    told = [
        {"id": one, "changed": None if at is None else start + datetime.timedelta(seconds=at), "cost": one / 4,
         "note": f"n{one}", "good": one % 2 == 0}
        for one, at in rows
    ]  # fmt: skip
    with engine.begin() as connection:
        connection.execute(sa.insert(meta), told)


def rows(table, column="id"):
    found = wb.open_table(table, columns=[column])
    return sorted(
        one for piece in found.pieces() for part in found.batches(piece) for one in part.column(column).to_pylist()
    )


def test_ties_at_the_watermark_are_neither_lost_nor_taken_twice(database, table):
    address, engine = database
    insert(engine, (1, 0), (2, 5), (3, 5), (3, 5))
    done = collect_sql(address, "requests", table, watermark="changed")
    assert (done.rows, rows(table)) == (4, [1, 2, 3, 3])
    assert collect_sql(address, "requests", table, watermark="changed").versions == ()
    insert(engine, (4, 5), (3, 5))
    insert(engine, (5, 6), (9, None))
    done = collect_sql(address, "requests", table, watermark="changed")
    assert (done.rows, rows(table)) == (3, [1, 2, 3, 3, 3, 4, 5])
    assert "1 rows have no changed" in done.told[0]["reason"]
    if engine.dialect.name == "postgresql":
        with engine.begin() as connection:
            said = "INSERT INTO requests (id, changed) VALUES (7, 'infinity'), (8, '-infinity'), (9, '0044-03-15 BC')"
            connection.exec_driver_sql(said)
        again = collect_sql(address, "requests", table, watermark="changed")
        assert again.rows == 0
        assert "4 rows have no changed (or none of the years 1 to 9999)" in again.told[0]["reason"]
    assert wb.open_table(table).kinds == {
        "id": "integer",
        "changed": "time",
        "cost": "number",
        "note": "text",
        "good": "boolean",
    }
    assert "password" not in str(done)


@pytest.mark.parametrize("batch", [1, 3, 1000])
def test_any_order_of_rows_within_the_lag_is_taken_once(database, table, batch):
    address, engine = database
    chance = random.Random(batch)
    number, now = 0, 0.0
    for _ in range(8):
        more = []
        for _ in range(chance.randrange(6)):
            more.append((number, max(round(now - chance.choice([0, 0, 0, 3, 9]), 1), 0)))
            number += 1
            now += chance.choice([0, 0, 1])
        if more:
            insert(engine, *more)
        collect_sql(address, "requests", table, watermark="changed", key="id", lag=20, batch_rows=batch)
    assert rows(table) == list(range(number))


def test_rolled_back_rows_are_taken_again_after_a_replay(database, table):
    address, engine = database
    insert(engine, (1, 0))
    first = collect_sql(address, "requests", table, watermark="changed").version
    insert(engine, (2, 1), (3, 1))
    collect_sql(address, "requests", table, watermark="changed")
    versions.rollback(table, first)
    assert collect_sql(address, "requests", table, watermark="changed").rows == 0
    assert list(quarantine.entries(table)["count"]) == [2]
    quarantine.replay(table)
    assert collect_sql(address, "requests", table, watermark="changed").rows == 2
    assert rows(table) == [1, 2, 3]


def test_what_cannot_be_read_is_told_without_the_password(tmp_path, table):
    (tmp_path / "x.db").touch()
    for address, name, options, words in [
        (f"sqlite:///{tmp_path}/x.db", "requests", {}, "has no table 'requests'"),
        ("postgresql://me:sesame@127.0.0.1:1/db", "requests", {}, "cannot be read"),
        ("nothing://x", "requests", {}, "cannot be used"),
        (f"sqlite:///{tmp_path}/x.db", "requests", {"lag": -1}, "no lag below 0"),
    ]:
        with pytest.raises(WorkbenchError, match=words) as caught:
            collect_sql(address, name, table, watermark="changed", **options)
        assert "sesame" not in str(caught.value)
    engine = sa.create_engine(f"sqlite:///{tmp_path}/x.db")
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE requests (id INTEGER)"))
    engine.dispose()
    with pytest.raises(WorkbenchError, match="has no column 'changed'"):
        collect_sql(f"sqlite:///{tmp_path}/x.db", "requests", table, watermark="changed")
