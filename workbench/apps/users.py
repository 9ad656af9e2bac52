"""The people who may sign in: names, roles and hashed passwords in a JSON file that only its owner reads.

Passwords are hashed by scrypt (Percival and Josefsson, RFC 7914) with n = 2^15, r = 8, p = 3 and a salt of 16 random
bytes: 32 MiB and about a quarter of a second for each guess.
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import json
import os
import secrets
import stat
import tempfile
import unicodedata
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from workbench.apps.roles import Reader, check_role
from workbench.errors import WorkbenchError, nearest

N, R, P = 2**15, 8, 3
SHORTEST, LONGEST = 10, 1024
NAME_LONGEST = 200


@dataclass(frozen=True)
class User:
    """Somebody who may sign in. `password` is a hash, "" for one whom an OAuth provider knows; `stamp` changes with it."""

    name: str
    role: str = "viewer"
    notebooks: Mapping[str, str] = field(default_factory=dict)
    password: str = ""
    stamp: str = ""

    def reader(self) -> Reader:
        """What this person may read."""
        return Reader(self.name, self.role, self.notebooks)


def hashed(password: str, salt: bytes | None = None) -> str:
    """`scrypt$n$r$p$salt$hash` of a password, with a new salt unless one is given."""
    salt = salt if salt is not None else secrets.token_bytes(16)
    return f"scrypt${N}${R}${P}${salt.hex()}${_scrypt(password, salt, N, R, P).hex()}"


def right(password: str, stored: str | None) -> bool:
    """Whether a password is the one that was hashed.

    None and "" (nobody of that name, or no password) are answered with False after the same work.
    """
    try:
        kind, n, r, p, salt, digest = (stored or _NOBODY).split("$")
        found = _scrypt(password[:LONGEST], bytes.fromhex(salt), int(n), int(r), int(p))
    except ValueError:
        return False
    return hmac.compare_digest(found, bytes.fromhex(digest)) and kind == "scrypt" and bool(stored)


_NOBODY = f"scrypt${N}${R}${P}${'00' * 16}${'00' * 32}"


def _scrypt(password: str, salt: bytes, n: int, r: int, p: int) -> bytes:
    word = unicodedata.normalize("NFKC", password).encode()
    return hashlib.scrypt(word, salt=salt, n=n, r=r, p=p, maxmem=256 * n * r, dklen=32)


def default_file() -> Path:
    """Where the users are unless told: WORKBENCH_USERS, else workbench/users.json in the folder of settings."""
    told = os.environ.get("WORKBENCH_USERS")
    settings = Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config")
    return Path(told).expanduser() if told else settings.expanduser() / "workbench" / "users.json"


def read_users(path: Path) -> dict[str, User]:
    """The users of a file by name, none where there is no file.

    Raises WorkbenchError for a file that others may read or write, or that is no file of users.
    """
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            told = json.load(file)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise WorkbenchError(f"The file of users {str(path)!r} cannot be read: {error}.") from None
    if mode & 0o077:
        raise WorkbenchError(
            f"The file of users {str(path)!r} may be read by others (mode {mode:03o}); make it private: chmod 600 {path}"
        )
    try:
        return {one["name"]: _user(one) for one in told["users"]}
    except (KeyError, TypeError, AttributeError) as error:
        raise WorkbenchError(f"The file {str(path)!r} is no file of users: {error!r}.") from None


def _user(told: Mapping[str, Any]) -> User:
    notebooks = {str(name): check_role(role) for name, role in told.get("notebooks", {}).items()}
    words = (str(told.get("password") or ""), str(told.get("stamp") or ""))
    return User(str(told["name"]), check_role(told["role"]), notebooks, *words)


def write_users(path: Path, users: Mapping[str, User]) -> None:
    """Writes the file of users whole or not at all, readable by its owner only."""
    told = [
        {"name": u.name, "role": u.role, "notebooks": dict(u.notebooks), "password": u.password, "stamp": u.stamp}
        for u in users.values()
    ]
    handle, aside = tempfile.mkstemp(prefix=".", suffix=".json", dir=path.parent)  # of mode 600
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(json.dumps({"version": 1, "users": told}, indent=1) + "\n")
            file.flush()
            os.fsync(file.fileno())
        Path(aside).replace(path)
    finally:
        Path(aside).unlink(missing_ok=True)


def add_user(
    path: Path, name: str, role: str = "viewer", notebooks: Mapping[str, str] | None = None, password: str | None = None
) -> bool:
    """Adds a user, or changes the one of that name; gives True for a new one.

    `password` None keeps the one there is; "" makes one whom only an OAuth provider signs in. A new password ends the
    sessions that are open. Raises WorkbenchError for a name, role or password that cannot be.
    """
    check_name(name)
    given = {notebook: check_role(one) for notebook, one in (notebooks or {}).items()}
    new = User(name, check_role(role), given)
    word = None if password is None else check_password(password, name)
    with _changing(path) as users:
        old = users.get(name)
        if word is None and old is None:
            raise WorkbenchError(f"{name!r} is new, so there is no password to keep; give one, or say --oauth.")
        if word is None and old is not None:
            users[name] = replace(new, password=old.password, stamp=old.stamp)
        else:
            users[name] = replace(new, password=word or "", stamp=secrets.token_hex(8))
    return old is None


def remove_user(path: Path, name: str) -> None:
    """Removes a user, whose open sessions end. Raises WorkbenchError where there is none of that name."""
    with _changing(path) as users:
        if name not in users:
            raise WorkbenchError(f"There is no user {name!r} in {str(path)!r}; {nearest(name, users)}")
        del users[name]


def check_name(name: str) -> None:
    """Raises WorkbenchError for what is no name of a user: letters, digits and . _ - + @, up to 200."""
    good = name and len(name) <= NAME_LONGEST and all(c.isalnum() or c in "._-+@" for c in name)
    if not good:
        raise WorkbenchError(f"{name[:60]!r} is no name of a user; wanted letters, digits and . _ - + @.")


def check_password(password: str, name: str) -> str:
    """The hash of a new password, "" for "". Raises WorkbenchError for one that is short, or the name itself."""
    if not password:
        return ""
    if not SHORTEST <= len(password) <= LONGEST or password.lower() == name.lower():
        raise WorkbenchError(
            f"A password has {SHORTEST} to {LONGEST:,} characters and is not the name; several words make a good one."
        )
    return hashed(password)


@contextmanager
def _changing(path: Path) -> Iterator[dict[str, User]]:
    """The users, to be changed by one process at a time; written when the block ends well."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = os.open(path.with_name(f".{path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        users = read_users(path)
        yield users
        write_users(path, users)
    finally:
        os.close(lock)
