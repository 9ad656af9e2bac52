"""Who reads, asked where pages are made: for our own pages, for live pages, and for every message of a live page's socket."""

from __future__ import annotations

import hmac
import time
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import quote, urlsplit

from workbench.apps.live import SESSION, LivePages
from workbench.apps.roles import Reader
from workbench.apps.signin import ANYBODY, COOKIE, ROOM, XSRF_COOKIE, SignIn
from workbench.apps.signin_pages import bar, prefixed
from workbench.apps.site import missing
from workbench.apps.versions_pages import strip
from workbench.apps.workers import join, owner
from workbench.runs.records import Record

MAIN = '<main id="content" tabindex="-1">'  # of templates/page.html
LONGEST_QUERY = 2_000  # characters behind the question mark of a live page
AGAIN = "<script>location.reload()</script>"  # the page that says what is wrong comes whole, with its status
AGAIN_S = 1.0  # between two looks whether a reader of an open socket is still signed in


def prefix_of(handler: Any) -> str:
    """The path prefix of the server that a request came to."""
    return str(handler.application.prefix)


def who(handler: Any) -> Reader | None:
    """Who sent a request: None when nobody is signed in, and everybody where there is no sign-in."""
    signin: SignIn | None = handler.settings.get("signin")
    return signin.reader(handler.get_cookie(COOKIE)) if signin is not None else ANYBODY


def sign_in_address(handler: Any) -> str:
    """Where a request of somebody unknown is sent."""
    return f"{prefix_of(handler)}{ROOM}/sign-in?next={quote(handler.request.uri, safe='')}"


def dressed(handler: Any, page: str, record: Record | None = None) -> str:
    """A page as it is sent: its addresses under the prefix, in its bar who reads it, and what may be done with the run."""
    reader: Reader | None = getattr(handler, "reader", None)  # none yet for what is refused at the door
    if reader is not None and reader.name:
        token = handler.xsrf_token.decode()
        page = page.replace("</header>", bar(reader, token) + "</header>", 1)
        if record is not None:
            page = page.replace(MAIN, MAIN + strip(record, reader, token), 1)
    return prefixed(page, prefix_of(handler))


def guarded(signin: SignIn | None, origins: Sequence[str] = ()) -> dict[str, Any]:
    """What bokeh's server is told: who may have a session, that tokens are signed, and what they must not carry."""
    secure = bool(origins) and all(one.lower().startswith("https://") for one in origins)
    told: dict[str, Any] = {
        "signin": signin,
        "xsrf_cookies": True,
        "xsrf_cookie_name": XSRF_COOKIE,
        "xsrf_cookie_kwargs": {"httponly": True, "samesite": "Strict", "secure": secure},
        "include_headers": ["Host", "User-Agent"],
        "include_cookies": ["theme"],  # of the reader's cookies none comes into a page
    }
    if signin is None:
        return told
    way = hmac.new(
        signin.key, b"to a provider and back", "sha256"
    ).hexdigest()  # what is signed there is good for no session
    signed = {"secret_key": signin.key, "cookie_secret": way}
    return {**told, **signed, "sign_sessions": True, "auth_provider": _provider(signin)}


def _provider(signin: SignIn) -> Any:
    from bokeh.server.auth_provider import AuthProvider

    class Asked(AuthProvider):
        """Tells bokeh who sent a request."""

        @property
        def get_user(self) -> Callable[[Any], str | None]:
            def name(handler: Any) -> str | None:
                reader = signin.reader(handler.get_cookie(COOKIE))
                return reader.name if reader else None

            return name

        @property
        def get_user_async(self) -> None:
            return None

        @property
        def login_url(self) -> None:
            return None

        @property
        def get_login_url(self) -> Callable[[Any], str]:
            return lambda handler: f"{prefix_of(handler)}{ROOM}/sign-in"

        @property
        def login_handler(self) -> None:
            return None

        @property
        def logout_url(self) -> None:
            return None

        @property
        def logout_handler(self) -> None:
            return None

    return Asked()


def guard(application: Any, hosts: Callable[[str], bool], pages: LivePages) -> None:
    """Puts our own handlers in the place of Panel's for the pages and sockets of live sessions."""
    import zlib

    from bokeh.server.views.autoload_js_handler import AutoloadJsHandler
    from bokeh.server.views.doc_handler import DocHandler
    from bokeh.server.views.metadata_handler import MetadataHandler
    from bokeh.server.views.ws import WSHandler
    from bokeh.util.token import get_session_id, get_token_payload
    from panel.io.server import DocHandler as PanelDocHandler
    from panel.io.server import WSHandler as PanelWSHandler
    from tornado.web import HTTPError

    class Page(PanelDocHandler):
        """A live page. A session is always a new one: its number is no affair of the address."""

        packer: Any = None

        def get_login_url(self) -> str:
            return f"{prefix_of(self)}{ROOM}/sign-in"

        async def prepare(self) -> None:
            await super().prepare()
            if len(self.request.query) > LONGEST_QUERY:
                self.set_status(400)
                self.finish(prefixed(missing("Not understood", "This address is too long."), prefix_of(self)))
                return
            for name in ("bokeh-session-id", "bokeh-token"):
                self.request.arguments.pop(name, None)
            self.request.headers.pop("Bokeh-Session-Id", None)

        async def get(self, *arguments: Any, **more: Any) -> None:
            notebook, run = more.get("notebook", ""), more.get("run")
            reader, host = who(self), self.request.headers.get("Host", "")
            may = reader is not None and reader.may("viewer", notebook) and hosts(host)
            start = pages.start(notebook, run, self.request.arguments) if may else None
            if start is not None:  # it is read while the session is being made
                self.set_header("Content-Type", "text/html; charset=utf-8")
                self.set_header("Cache-Control", "no-store")
                self.write(start + SESSION)
                await self.flush()
            await super().get(*arguments, **more)

        def write(self, chunk: Any) -> None:
            """A page goes in one piece or in two; what has been sent is left out, and a page that failed is loaded again."""
            if not isinstance(chunk, str) or (SESSION not in chunk and not self._headers_written):
                super().write(chunk)
                return
            if self._headers_written:
                chunk = chunk.split(SESSION)[-1] if SESSION in chunk else AGAIN
            elif "gzip" in self.request.headers.get("Accept-Encoding", ""):
                self.set_header("Content-Encoding", "gzip")
                self.set_header("Vary", "Accept-Encoding")
                self.packer = zlib.compressobj(1, zlib.DEFLATED, 31)
            body = chunk.encode()
            super().write(self.packer.compress(body) + self.packer.flush(zlib.Z_SYNC_FLUSH) if self.packer else body)

        def finish(self, *arguments: Any) -> Any:
            if self.packer is not None:
                super().write(self.packer.flush())
                self.packer = None
            return super().finish(*arguments)

    class Socket(PanelWSHandler):
        """The socket of a live page: only for pages of ours, and only as long as its reader is signed in."""

        looked = 0.0
        other: Any = None  # the socket of another process, which made this page

        async def open(self, *arguments: Any, **more: Any) -> None:
            crew = self.settings.get("crew")
            number = owner(crew, self._token or "")
            if crew is None or number is None:
                super().open(*arguments, **more)
                return
            try:
                self.other = await join(self, crew, number, self._token)
            except Exception:  # the process has ended, or refuses
                self.close(1001, "the page is gone")

        def on_close(self) -> None:
            if self.other is not None:
                self.other.close()
            else:
                super().on_close()

        def check_origin(self, origin: str) -> bool:
            host = self.request.headers.get("Host", "")
            same = urlsplit(origin).netloc.lower() == host.lower() and hosts(host)
            return same or super().check_origin(origin)

        async def _async_open(self, token: str) -> None:
            session = self.application_context._sessions.get(get_session_id(token))
            asked = self.settings.get("signin") is not None and session is not None
            if asked and get_token_payload(session.token).get("reader") != self.current_user:
                self.close(4403, "another reader's page")
                return
            await super()._async_open(token)

        async def on_message(self, fragment: str | bytes) -> None:
            if not self._still():
                return
            if self.other is not None:
                await self.other.write_message(fragment, binary=isinstance(fragment, bytes))
            else:
                await super().on_message(fragment)

        def on_pong(self, data: bytes) -> None:
            if self._still() and self.other is None:
                super().on_pong(data)

        def _still(self) -> bool:
            signin: SignIn | None = self.settings.get("signin")
            if signin is None or time.monotonic() - self.looked < AGAIN_S:
                return True
            reader = signin.reader(self.get_cookie(COOKIE))
            notebook = self.path_kwargs.get("notebook") or (self.path_args or [""])[0]
            if reader is None or not reader.may("viewer", str(notebook)):
                self.close(4401, "signed out")
                return False
            self.looked = time.monotonic()
            return True

    class Gone(MetadataHandler):
        """What bokeh offers beside a page and nobody uses here."""

        async def get(self, *arguments: Any, **more: Any) -> None:
            raise HTTPError(404)

    instead = ((WSHandler, Socket), (DocHandler, Page), (MetadataHandler, Gone), (AutoloadJsHandler, Gone))
    for rule in _rules(application.wildcard_router.rules):
        for base, ours in instead:
            if isinstance(rule.target, type) and issubclass(rule.target, base):
                rule.target = rule.handler_class = ours


def _rules(rules: Any) -> list[Any]:
    """All rules of a router, with those of the routers inside it."""
    found = []
    for rule in rules:
        inner = getattr(rule.target, "rules", None)
        found += _rules(inner) if inner is not None else [rule]
    return found
