"""The pages of sign-in: the form, the way out, the provider's way back, and the audit trail."""

from __future__ import annotations

import asyncio
import json
import math
import secrets
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from types import MappingProxyType
from typing import Any

from tornado.web import HTTPError, RequestHandler

from workbench.apps import shell
from workbench.apps.roles import Reader
from workbench.apps.signin import COOKIE, ROOM, SignIn, cookie_options, safe_next, same_origin
from workbench.apps.site import Site, missing
from workbench.apps.users import LONGEST, NAME_LONGEST, User, right

HASHING = ThreadPoolExecutor(1, thread_name_prefix="hashing")  # 32 MiB and a quarter of a second, one after another


class Door(RequestHandler):
    """A request of one of the pages here."""

    signin: SignIn

    def initialize(self, signin: SignIn) -> None:
        self.signin, self.prefix = signin, self.application.prefix  # type: ignore[attr-defined]

    def prepare(self) -> None:
        self.reader = self.signin.reader(self.get_cookie(COOKIE))
        known = {self.request.host, *self.application.websocket_origins}  # type: ignore[attr-defined]
        if self.request.method == "POST" and not same_origin(self.request.headers, known):
            raise HTTPError(403, "sent by another site")

    def form(self, sentence: str = "", status: int = 200, name: str = "") -> None:
        page = shell.render(
            "sign_in.html", static="/assets", look=shell.look_version(), sentence=sentence, name=name, room=ROOM,
            next=safe_next(self.get_argument("next", ""), self.prefix), xsrf=self.xsrf_token.decode(),
            provider=self.signin.oauth, passwords=self.passwords(),
        )  # fmt: skip
        self.set_status(status)
        self.page(page)

    def passwords(self) -> bool:
        from workbench.apps.users import read_users

        return any(one.password for one in read_users(self.signin.users).values())

    def page(self, page: str) -> None:
        self.set_header("Content-Type", "text/html; charset=utf-8")
        self.set_header("Cache-Control", "no-store")
        self.finish(prefixed(page, self.prefix))

    def write_error(self, status_code: int, **more: Any) -> None:
        said = "This form was not sent by the page that it belongs to, or it is old. Load the page again."
        self.page(missing("Not done", said if status_code == 403 else "The server could not do this."))

    def told(self, event: str, good: bool, user: str = "", **more: Any) -> None:
        """One line of the audit trail."""
        user = user or (self.reader.name if self.reader else "")
        self.signin.audit.tell(event, user=user, address=self.request.remote_ip or "", good=good, **more)

    def let_in(self, user: User, way: str) -> None:
        value, _ = self.signin.cookie(user)
        options = cookie_options(self.request, self.prefix)
        self.set_cookie(COOKIE, value, max_age=int(self.signin.hours * 3600), **options)
        self.told("sign-in", True, user.name, way=way)


class SignInPage(Door):
    def get(self) -> None:
        if self.reader is not None:
            self.redirect(safe_next(self.get_argument("next", ""), self.prefix))
            return
        self.form()

    async def post(self) -> None:
        name = self.get_body_argument("name", "")[: NAME_LONGEST + 1].strip()
        password = self.get_body_argument("password", "", strip=False)[: LONGEST + 1]
        address = self.request.remote_ip or ""
        wait = self.signin.state.begin(name, address)
        if wait:
            self.set_header("Retry-After", str(math.ceil(wait)))
            self.told("sign-in", False, name, way="password", why="throttled")
            minutes = math.ceil(wait / 60)
            self.form(f"Too many attempts. Try again in {minutes} minute{'s' if minutes != 1 else ''}.", 429, name)
            return
        user = self.signin.user(name)
        loop = asyncio.get_running_loop()
        good = await loop.run_in_executor(HASHING, right, password, user.password if user else None)
        if not good or user is None:
            self.told("sign-in", False, name, way="password", why="wrong name or password")
            self.form("The name or the password is wrong.", 401, name)
            return
        self.signin.state.succeeded(name, address)
        self.let_in(user, "password")
        self.redirect(safe_next(self.get_body_argument("next", ""), self.prefix), status=303)


class SignOut(Door):
    def post(self) -> None:
        session = self.signin.session(self.get_cookie(COOKIE))
        if session is not None:
            self.signin.state.end(session.number, session.until)
            self.told("sign-out", True, session.name)
        self.clear_cookie(COOKIE, path=f"{self.prefix}/")
        self.redirect(f"{self.prefix}{ROOM}/sign-in", status=303)


class AuditPage(Door):
    def get(self) -> None:
        if self.reader is None:
            self.redirect(f"{self.prefix}{ROOM}/sign-in?next=/")
            return
        if not self.reader.may("admin"):
            self.told("audit", False)
            self.set_status(403)
            self.page(missing("Not yours", "The audit trail is for those with the role `admin`."))
            return
        self.told("audit", True)
        lines = self.signin.audit.last()
        self.page(shell.render("audit.html", static="/assets", look=shell.look_version(), lines=lines))


def doors(signin: SignIn, site: Site) -> list[tuple[Any, ...]]:
    """The routes of the pages here."""
    given = {"signin": signin}
    ways: list[tuple[Any, ...]] = [
        (rf"{ROOM}/sign-in", SignInPage, given),
        (rf"{ROOM}/sign-out", SignOut, given),
        (rf"{ROOM}/audit", AuditPage, given),
    ]
    return [*ways, (rf"{ROOM}/oauth", oauth_handler(signin))] if signin.oauth else ways


def oauth_handler(signin: SignIn) -> type:
    """Panel's handler of the provider, which ends with a session of ours instead of Panel's cookies."""
    from panel.auth import AUTH_PROVIDERS

    base: Any = AUTH_PROVIDERS[signin.oauth]

    def prefix_of(handler: RequestHandler) -> str:
        return str(handler.application.prefix)  # type: ignore[attr-defined]

    class Provider(base):  # type: ignore[misc]
        _login_endpoint = f"{ROOM}/oauth"
        claims: Mapping[str, Any] = MappingProxyType({})  # what the provider told of whoever signs in

        @property
        def _redirect_uri(self) -> str:
            from panel.config import config

            return (
                config.oauth_redirect_uri
                or f"{self.request.protocol}://{self.request.host}{prefix_of(self)}{ROOM}/oauth"
            )

        def set_secure_cookie(self, name: str, value: Any, expires_days: float | None = 1, **more: Any) -> None:
            if name == "id_token":
                self.claims = _claims(value)
            if name.startswith("panel-oauth-"):  # the state and the verifier; tokens and names are kept nowhere
                options = {**cookie_options(self.request, prefix_of(self)), "path": "/"}
                self.set_signed_cookie(name, value, expires_days=1 / 96, **options)

        def get_state_cookie(self) -> Any:
            """What the answer's state must be: nothing will do where this browser was not on its way to the provider."""
            return super().get_state_cookie() or secrets.token_hex(16)

        def get_state(self) -> Any:
            from panel.auth import _serialize_state

            asked = safe_next(self.get_argument("next", ""), prefix_of(self))
            return _serialize_state({"state_id": secrets.token_hex(16), "next_url": asked})

        async def get_authenticated_user(self, *arguments: Any, code: Any = None, **more: Any) -> Any:
            name = await super().get_authenticated_user(*arguments, code=code, **more)
            if not code:
                return name  # on the way to the provider
            user = signin.user(str(name), oauth=True) if name else None
            address = self.request.remote_ip or ""
            why = {} if user else {"why": "not a user of this site"}
            if "@" in str(name) and str(self.claims.get("email_verified", True)).lower() == "false":
                user, why = None, {"why": "the provider has not verified this address"}
            signin.audit.tell(
                "sign-in", user=str(name or ""), address=address, good=user is not None, way=signin.oauth, **why
            )
            if user is None:
                return None
            value, _ = signin.cookie(user)
            self.set_cookie(
                COOKIE, value, max_age=int(signin.hours * 3600), **cookie_options(self.request, prefix_of(self))
            )
            return name

        def write_error(self, status_code: int, **more: Any) -> None:
            self.set_status(status_code)
            self.set_header("Content-Type", "text/html; charset=utf-8")
            if status_code != 403:
                error = more.get("exc_info", (None, None, None))[1]
                signin.audit.tell(
                    "sign-in", user="", address=self.request.remote_ip or "", good=False, way=signin.oauth,
                    why=str(getattr(error, "reason", None) or "the provider failed"),
                )  # fmt: skip
            words = "The provider knows you, but you are no user of this site; ask who runs it."
            failed = "The provider did not say who you are. Try again."
            self.finish(prefixed(missing("Not signed in", words if status_code == 403 else failed), prefix_of(self)))

    return Provider


def _claims(token: Any) -> dict[str, Any]:
    """What Panel's `id_token` says, a JWT or a base64 of JSON; it came from the provider itself."""
    from base64 import urlsafe_b64decode

    words = token.decode() if isinstance(token, bytes) else str(token)
    part = words.split(".")[1] if words.count(".") == 2 else words
    try:
        told = json.loads(urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}


def bar(reader: Reader, token: str) -> str:
    """What the bar of a page says to somebody who is signed in: the name and the way out."""
    if not reader.name:
        return ""
    return shell.environment().get_template("reader.html").render(reader=reader, xsrf=token, room=ROOM)


def prefixed(page: str, prefix: str) -> str:
    """A page with its own addresses under a prefix: every `href="/`, `src="/`, `action="/` and `data-...="/`.

    Text cannot look like one, because templates write a quotation mark in text as `&#34;`.

    >>> prefixed('<a href="/cost/">cost</a> <a href="//other">', "/wb")
    '<a href="/wb/cost/">cost</a> <a href="//other">'
    """
    if not prefix:
        return page
    import re

    return re.sub(r'(\s(?:href|src|action|data-[a-z-]+)=")/(?!/)', rf"\1{prefix}/", page)
