"""The tables of the ledger, and how it is opened: SQLite in WAL mode by default, PostgreSQL by address."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from workbench.errors import WorkbenchError

VERSION = "1"
OPEN = ("due", "running")  # states of a window that is not over; the others are good, failed, skipped and missed
ACTIVE = ("starting", "running")  # states of an attempt that is not over; the others are good, failed and lost

book = sa.MetaData()
about = sa.Table("about", book, sa.Column("name", sa.Text, primary_key=True), sa.Column("value", sa.Text))
entries = sa.Table(
    "entries",
    book,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("since", sa.Text, nullable=False),  # first seen
    sa.Column("planned", sa.Text, nullable=False),  # windows up to this logical time have been planned
    sa.Column("turn", sa.Integer, nullable=False, default=0),  # written by whoever takes a window: one at a time
)
windows = sa.Table(
    "windows",
    book,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("entry", sa.Text, nullable=False),
    sa.Column("logical", sa.Text, nullable=False),
    sa.Column("parameters", sa.Text, nullable=False),
    sa.Column("key", sa.Text, nullable=False),  # of the parameters
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False, default=""),
    sa.Column("tries", sa.Integer, nullable=False, default=0),
    sa.Column("next_try", sa.Float, nullable=False, default=0.0),
    sa.Column("late_at", sa.Float),  # not good by then is late; None once told
    sa.Column("judged", sa.Boolean, nullable=False, default=False),  # its alerts have been seen to
    sa.Column("created", sa.Float, nullable=False),
    sa.Column("ended", sa.Float),
    sa.Column("run", sa.Text),
    sa.UniqueConstraint("entry", "logical", "key"),
    sa.Index("windows_state", "state", "next_try"),
    sa.Index("windows_judged", "judged", "state"),
    sa.Index("windows_late", "late_at"),
)
attempts = sa.Table(
    "attempts",
    book,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("window", sa.Integer, sa.ForeignKey("windows.id"), nullable=False),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False, default=""),
    sa.Column("message", sa.Text, nullable=False, default=""),
    sa.Column("cell", sa.Integer),
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("host", sa.Text, nullable=False),
    sa.Column("pid", sa.Integer),
    sa.Column("since", sa.Float),  # start of that process: its number alone is given again
    sa.Column("lease", sa.Float, nullable=False),
    sa.Column("deadline", sa.Float, nullable=False),
    sa.Column("started", sa.Float, nullable=False),
    sa.Column("ended", sa.Float),
    sa.Column("run", sa.Text),
    sa.Index("attempts_state", "state"),
    sa.Index("attempts_window", "window"),
)
schedulers = sa.Table(
    "schedulers",
    book,
    sa.Column("owner", sa.Text, primary_key=True),
    sa.Column("host", sa.Text, nullable=False),
    sa.Column("pid", sa.Integer, nullable=False),
    sa.Column("since", sa.Float, nullable=False),
    sa.Column("beat", sa.Float, nullable=False),
)
incidents = sa.Table(
    "incidents",
    book,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("entry", sa.Text, nullable=False),
    sa.Column("rule", sa.Text, nullable=False),
    sa.Column("going", sa.Text, unique=True),  # entry and rule while it is not resolved, then None: one at a time
    sa.Column("state", sa.Text, nullable=False),  # open, acknowledged, muted, resolved
    sa.Column("since", sa.Text, nullable=False),  # logical time of the first window
    sa.Column("last", sa.Text, nullable=False),
    sa.Column("windows", sa.Integer, nullable=False),
    sa.Column("opened", sa.Float, nullable=False),
    sa.Column("ended", sa.Float),
    sa.Column("muted_until", sa.Float),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("run", sa.Text),
    sa.Column("by", sa.Text, nullable=False, default=""),
)
deliveries = sa.Table(
    "deliveries",
    book,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("incident", sa.Integer, sa.ForeignKey("incidents.id"), nullable=False),
    sa.Column("event", sa.Text, nullable=False),  # opened, resolved
    sa.Column("channel", sa.Text, nullable=False),
    sa.Column("message", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),  # due, sent, failed, muted
    sa.Column("tries", sa.Integer, nullable=False, default=0),
    sa.Column("next_try", sa.Float, nullable=False),
    sa.Column("error", sa.Text, nullable=False, default=""),
    sa.Column("sent", sa.Float),
    sa.UniqueConstraint("incident", "event", "channel"),
    sa.Index("deliveries_state", "state", "next_try"),
)


def open_ledger(address: str, runs: Path | None = None) -> sa.Engine:
    """The ledger at an address: a path or sqlite:///path, or postgresql://user@host/name; made where it is missing.

    "" is schedule.db in the folder of runs. Raises WorkbenchError, without the address's password, when it cannot be
    opened or belongs to another version.
    """
    from workbench.runs.channels import secret

    address = str(secret(address or str((runs or Path("runs")) / "schedule.db")))
    if "://" not in address:
        address = f"sqlite:///{Path(address).expanduser().absolute()}"
    if address.startswith(("postgresql://", "postgres://")):
        address = "postgresql+psycopg://" + address.partition("://")[2]
    try:
        url = sa.engine.make_url(address)
        if url.get_backend_name() not in ("sqlite", "postgresql"):
            raise WorkbenchError(f"A ledger is in SQLite or PostgreSQL, not in {url.get_backend_name()!r}.")
        if url.host and "@" in url.host:
            raise WorkbenchError("The ledger's address has an @ in its password; write that as %40.")
        if url.database and url.get_backend_name() == "sqlite":
            Path(url.database).parent.mkdir(parents=True, exist_ok=True)
        engine = sa.create_engine(url, pool_pre_ping=url.get_backend_name() == "postgresql")
        _sqlite_manner(engine)
        try:
            _make(engine)
        except BaseException:
            engine.dispose()
            raise
    except ModuleNotFoundError as error:
        raise WorkbenchError(
            f"A ledger in PostgreSQL needs {error.name}; install it with pip install 'workbench[postgresql]'."
        ) from None
    except (sa.exc.SQLAlchemyError, OSError) as error:
        shown = sa.engine.make_url(address).render_as_string(hide_password=True) if "://" in address else address
        said = str(getattr(error, "orig", error)).strip().splitlines()
        raise WorkbenchError(f"The ledger {shown} cannot be opened: {said[0] if said else error}") from None
    return engine


def _sqlite_manner(engine: sa.Engine) -> None:
    if engine.dialect.name != "sqlite":
        return

    @sa.event.listens_for(engine, "connect")
    def _connected(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # we say BEGIN ourselves
        for line in ("busy_timeout=60000", "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {line}")

    @sa.event.listens_for(engine, "begin")
    def _begun(connection: sa.Connection) -> None:
        reading = connection.get_execution_options().get("reading")
        connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")


def _make(engine: sa.Engine) -> None:
    for left in range(4, -1, -1):  # two that start at once make the same tables: one of them fails and looks again
        try:
            with engine.begin() as c:
                if not sa.inspect(c).has_table("about"):
                    book.create_all(c)
                    c.execute(about.insert().values(name="version", value=VERSION))
                found = c.scalar(sa.select(about.c.value).where(about.c.name == "version"))
            break
        except sa.exc.SQLAlchemyError:
            if not left:
                raise
            time.sleep(0.2)
    if found != VERSION:
        raise WorkbenchError(
            f"This ledger is of version {found}, wanted {VERSION}; start a new one, or use its workbench."
        )
    with engine.connect() as c:
        there = sa.inspect(c).get_multi_columns()
    for table in book.tables.values():
        missing = {one.name for one in table.columns} - {one["name"] for one in there.get((None, table.name), [])}
        if missing:
            raise WorkbenchError(
                f"This ledger has no {', '.join(sorted(missing))} in its table {table.name}: it is of an older workbench, or "
                "of something else; start a new one, or use its workbench."
            )


@contextmanager
def reading(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A connection that only reads: it waits for nobody."""
    with engine.connect().execution_options(reading=True) as c:
        yield c
