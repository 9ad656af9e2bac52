"""Who is there: a signed cookie that names a session, checked with every request and every message of a live page.

The cookie holds a name, the session's number and a stamp of the user's password, signed (HMAC-SHA256, tornado) with a key
beside the users; it holds no right. Rights are read from the file of users each time, so that a user who is removed, or
whose password or role is changed, is another one at once.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workbench.apps.audit import Audit
from workbench.apps.roles import Reader
from workbench.apps.signin_state import State
from workbench.apps.users import User, read_users
from workbench.errors import WorkbenchError

COOKIE = "workbench-session"
XSRF_COOKIE = "workbench-xsrf"
HOURS = 12.0
ROOM = "/-"  # where the pages are that belong to no notebook
ANYBODY = Reader()  # who reads where nobody signs in
PROVIDERS = ("auth0", "azure", "bitbucket", "generic", "github", "gitlab", "google", "okta", "auth_code")


@dataclass(frozen=True)
class Session:
    """A session as its cookie tells it."""

    number: str
    name: str
    stamp: str
    until: float


@dataclass(frozen=True)
class SignIn:
    """The users, the key that signs cookies, what is remembered, and how long a session lasts."""

    users: Path
    key: bytes
    state: State
    audit: Audit
    hours: float = HOURS
    oauth: str = ""  # a provider of Panel
    oauth_role: str = "none"  # of those whom the provider knows and the file of users does not
    titles: Mapping[str, str] = field(default_factory=dict)

    def user(self, name: str, *, oauth: bool = False) -> User | None:
        """The user of that name. One with a password is none of the provider's, who may call anybody by that name."""
        users = read_users(self.users)
        found = users.get(name)
        if not oauth:
            return found if found is not None and found.password else None
        found = found or next((one for one in users.values() if one.name.casefold() == name.casefold()), None)
        if found is not None:
            return None if found.password else found
        return User(name, self.oauth_role, stamp="oauth") if self.oauth_role != "none" else None

    def cookie(self, user: User, now: float | None = None) -> tuple[str, Session]:
        """The signed value of a new session's cookie, and the session."""
        from tornado.web import create_signed_value

        now = time.time() if now is None else now
        session = Session(secrets.token_hex(16), user.name, user.stamp, now + self.hours * 3600)
        told = {"number": session.number, "name": user.name, "stamp": user.stamp, "until": session.until}
        signed = create_signed_value(self.key, COOKIE, json.dumps(told), clock=lambda: now)
        return signed.decode(), session

    def session(self, cookie: str | None) -> Session | None:
        """The session of a cookie that we signed, is not over and was not ended."""
        from tornado.web import decode_signed_value

        value = decode_signed_value(self.key, COOKIE, cookie, max_age_days=self.hours / 24) if cookie else None
        if value is None:
            return None
        told = json.loads(value)
        session = Session(told["number"], told["name"], told["stamp"], told["until"])
        return None if session.until < time.time() or self.state.ended(session.number) else session

    def reader(self, cookie: str | None) -> Reader | None:
        """Who sent a cookie, with the rights of this moment; None when nobody is signed in by it."""
        session = self.session(cookie)
        user = self._known(session.name) if session is not None else None
        return user.reader() if user is not None and session is not None and user.stamp == session.stamp else None

    def named(self, name: str) -> Reader | None:
        """Somebody of whom it is known by other means that they are signed in."""
        user = self._known(name) if name else None
        return user.reader() if user is not None else None

    def _known(self, name: str) -> User | None:
        found = read_users(self.users).get(name)
        return found if found is not None or not self.oauth else self.user(name, oauth=True)


def make_sign_in(
    users: Path, *, hours: float = HOURS, oauth: str = "", oauth_role: str = "none", audit: Path | None = None
) -> SignIn:
    """Sign-in with the users of a file; the key, what is remembered and the audit trail lie beside it unless told.

    Raises WorkbenchError for a file that is none, for one without users where no provider signs in, and for settings
    that cannot be.
    """
    known = read_users(users)
    if not known and not oauth:
        raise WorkbenchError(f"{str(users)!r} has no users; add one: workbench users add NAME --users {users}")
    if oauth and oauth not in PROVIDERS:
        raise WorkbenchError(f"There is no provider {oauth!r}; wanted one of {', '.join(PROVIDERS)}.")
    if not hours > 0:
        raise WorkbenchError(f"A session of {hours:g} hours is none; give more than 0 with --session-hours.")
    users.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if oauth:
        _check_oauth()
    return SignIn(
        users, _key(users), State(users.with_name(f"{users.name}.state")), Audit(audit or users.with_name("audit.jsonl")),
        hours, oauth, oauth_role,
    )  # fmt: skip


def _check_oauth() -> None:
    for name in ("PANEL_OAUTH_KEY", "PANEL_OAUTH_SECRET"):
        if not os.environ.get(name):
            raise WorkbenchError(
                f"A provider needs the environment variable {name}; PANEL_OAUTH_KEY and PANEL_OAUTH_SECRET are what the "
                "provider gave to this site, other options are Panel's (PANEL_OAUTH_...)."
            )


def _key(users: Path) -> bytes:
    """The key that signs cookies: WORKBENCH_COOKIE_KEY, else a file beside the users, made when it is missing."""
    told = os.environ.get("WORKBENCH_COOKIE_KEY", "")
    if told:
        if len(told) < 32:
            raise WorkbenchError("WORKBENCH_COOKIE_KEY is short; wanted 32 characters or more that nobody can guess.")
        return told.encode()
    path = users.with_name(f"{users.name}.key")
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        pass
    else:
        with os.fdopen(handle, "w") as file:
            file.write(secrets.token_hex(32))
    if path.stat().st_mode & 0o077:
        raise WorkbenchError(f"The key {str(path)!r} may be read by others; make it private: chmod 600 {path}")
    key = path.read_bytes()
    if len(key) < 32:
        raise WorkbenchError(f"The key {str(path)!r} is short or empty; remove it, and a new one is made.")
    return key


NEXT = re.compile(r"/(?![/\\])[^\\\x00-\x20\x7f]*")


def safe_next(asked: str, prefix: str = "") -> str:
    """Where to go after signing in: a path of this site, else its index.

    >>> [safe_next(one) for one in ("/cost/?x=1", "//evil.example", "https://evil.example", "/\\\\\\\\evil.example", "")]
    ['/cost/?x=1', '/', '/', '/', '/']
    """
    good = len(asked) <= 500 and NEXT.fullmatch(asked) and asked.startswith(prefix + "/")
    return asked if good and not asked.startswith(f"{prefix}{ROOM}/") else f"{prefix}/"


def same_origin(headers: Mapping[str, str], hosts: Collection[str]) -> bool:
    """Whether a form was sent by a page of ours, as far as the browser says: what it does not say is not held against it.

    Pages without a referrer send their forms with the origin "null", so that `Sec-Fetch-Site` goes first.

    >>> same_origin({"Sec-Fetch-Site": "cross-site"}, ["a:1"]), same_origin({"Origin": "http://b"}, ["a:1"])
    (False, False)
    >>> same_origin({"Sec-Fetch-Site": "same-origin", "Origin": "null"}, ["a:1"]), same_origin({}, ["a:1"])
    (True, True)
    """
    site, origin = headers.get("Sec-Fetch-Site", ""), headers.get("Origin", "null")
    if site:
        return site in ("same-origin", "none")
    return origin == "null" or origin.partition("://")[2].lower() in {host.lower() for host in hosts}


def cookie_options(request: Any, prefix: str) -> dict[str, Any]:
    """How cookies are set: not for scripts, not for other sites' requests, and only for https where it was used."""
    return {"httponly": True, "samesite": "Lax", "secure": request.protocol == "https", "path": f"{prefix}/"}


# --- live pages --------------------------------------------------------------------------------------------------------


def reader_told(signin: SignIn | None, request: Any) -> dict[str, str]:
    """What the signed token of a live session tells of its reader."""
    if signin is None:
        return {}
    cookie = request.cookies.get(COOKIE)
    reader = signin.reader(getattr(cookie, "value", cookie))
    return {"reader": reader.name if reader else ""}


def check_reader(signin: SignIn, context: Any, notebook: str) -> None:
    """Raises WorkbenchError, as for a notebook that is not there, when a session's reader may not see a notebook."""
    reader = signin.named(str((context.token_payload or {}).get("reader") or ""))
    if reader is None or not reader.may("viewer", notebook):
        raise WorkbenchError(f"There is no notebook {notebook[:60]!r} here.")
