"""What sign-in remembers between processes and restarts: attempts that failed, sessions that were ended.

A small SQLite file beside the users, which only its owner reads.
"""

from __future__ import annotations

import ipaddress
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

WINDOW_S = 300.0  # an attempt that failed counts this long
PAIR, ADDRESS, USER = 5, 20, 50  # attempts that may fail in a window: of a name from an address, of either alone


@dataclass(frozen=True)
class State:
    """The file and the clock (seconds since 1970)."""

    path: Path
    clock: Callable[[], float] = time.time

    def begin(self, user: str, address: str) -> float:
        """Counts an attempt as failed until `succeeded` says otherwise; gives the seconds to wait, 0 to go on.

        Counted before the password is looked at, so that attempts made at once do not pass together. A refused attempt
        does not count: whoever waits as long as told may try again.
        """
        now, address = self.clock(), network(address)
        user = user.casefold()
        with self._open() as db:
            db.execute("BEGIN IMMEDIATE")
            db.execute("DELETE FROM attempts WHERE at < ?", (now - WINDOW_S,))
            wait = 0.0
            for limit, where, given in (
                (PAIR, "user = ? AND address = ?", (user, address)),
                (ADDRESS, "address = ?", (address,)),
                (USER, "user = ?", (user,)),
            ):
                times = db.execute(f"SELECT at FROM attempts WHERE {where} ORDER BY at DESC LIMIT {limit}", given)
                found = [float(at) for (at,) in times]
                if len(found) == limit:
                    wait = max(wait, found[-1] + WINDOW_S - now)
            if not wait:
                db.execute("INSERT INTO attempts VALUES (?, ?, ?)", (user, address, now))
        return wait

    def succeeded(self, user: str, address: str) -> None:
        """Forgets the attempts of a name from an address: it has signed in."""
        with self._open() as db:
            db.execute("DELETE FROM attempts WHERE user = ? AND address = ?", (user.casefold(), network(address)))

    def end(self, session: str, until: float) -> None:
        """Ends a session before its time; kept until it would have been over anyway."""
        with self._open() as db:
            db.execute("DELETE FROM ended WHERE until < ?", (self.clock(),))
            db.execute("INSERT OR REPLACE INTO ended VALUES (?, ?)", (session, until))

    def ended(self, session: str) -> bool:
        """Whether a session was ended."""
        with self._open() as db:
            return db.execute("SELECT 1 FROM ended WHERE session = ?", (session,)).fetchone() is not None

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        if not self.path.exists():
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600))
        db = sqlite3.connect(self.path, timeout=10)
        try:
            db.execute("CREATE TABLE IF NOT EXISTS attempts (user TEXT, address TEXT, at REAL)")
            db.execute("CREATE TABLE IF NOT EXISTS ended (session TEXT PRIMARY KEY, until REAL)")
            with db:
                yield db
        finally:
            db.close()


def network(address: str) -> str:
    """What counts as one address: an IPv4 address, or the /64 that one customer of a provider is given in IPv6.

    >>> network("203.0.113.9"), network("2001:db8::1") == network("2001:db8::2"), network("")
    ('203.0.113.9', True, '')
    """
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address[:60]
    return str(ipaddress.ip_network((found, 64), strict=False)) if found.version == 6 else str(found)
