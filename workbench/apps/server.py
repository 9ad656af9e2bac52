"""`workbench serve`: the index, every run's published page painted at once, and live pages on demand.

Without sign-in it listens on this machine only. Names in an address are looked up among the folders that exist and never
become part of a path. No page asks another host for anything.
"""

from __future__ import annotations

import gzip
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from typing import Any

from tornado.web import OutputTransform, RequestHandler

from workbench.apps import shell
from workbench.apps.addresses import (
    check_reach,
    checked_prefix,
    free_port,
    host_of,
    known_hosts,
    loopback,
    names,
    notice,
    try_port,
)
from workbench.apps.asked import BadValueError, page_of, run_of
from workbench.apps.detail import detail_page
from workbench.apps.health import Figures, watched
from workbench.apps.live import LivePages, live_app
from workbench.apps.roles import Reader, seen
from workbench.apps.signin import SignIn
from workbench.apps.signin_live import dressed, guard, guarded, prefix_of, sign_in_address, who
from workbench.apps.signin_pages import doors, prefixed
from workbench.apps.site import FILES, Site, index, missing
from workbench.apps.snapshot import PICTURES
from workbench.apps.versions_pages import version_routes
from workbench.apps.workers import Crew, share, worker_number
from workbench.errors import WorkbenchError
from workbench.runs.records import Record

READY_MS = 15_000  # between two looks for new runs
EAGER = "//# allFunctionsCalledOnLoad\n"  # Chromium then compiles a library beside the page instead of bit by bit in it
COMMON = (
    "default-src 'none'; img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; "
    "style-src 'self' 'unsafe-inline'; base-uri 'none'; form-action 'self'; frame-ancestors 'self'; "
)
# Bokeh makes functions of the small scripts that a picture carries (how a tick is written), hence unsafe-eval.
PUBLISHED = COMMON + f"script-src 'self' 'unsafe-eval' '{shell.allowed('theme.js')}'"
LIVE = COMMON + "script-src 'self' blob: 'unsafe-inline' 'unsafe-eval'; worker-src 'self' blob:"
# A report is a file of its own: it gets no share in this origin.
REPORTED = (
    "sandbox allow-scripts; default-src 'none'; img-src data: blob:; font-src data:; style-src 'unsafe-inline'; "
    "script-src 'unsafe-inline' 'unsafe-eval'"
)


def serve(
    runs_dir: str | Path,
    notebooks_dir: str | Path,
    address: str = "localhost",
    port: int = 5006,
    *,
    allow_remote: bool = False,
    signin: SignIn | None = None,
    prefix: str = "",
    origins: Sequence[str] = (),
    behind_proxy: bool = False,
    workers: int = 1,
    say: Callable[[str], None] = print,
) -> None:
    """Serves the runs and notebooks of two folders until SIGINT or SIGTERM; says the address when it answers.

    `port` 0 takes any free one. `signin` asks who is there; `prefix` is a path that every address begins with; `origins`
    are the public addresses (https://host) under which a proxy offers the pages, and `behind_proxy` believes what it says
    of the reader's address (X-Forwarded-For, X-Forwarded-Proto); `workers` is the number of processes that share the port.
    Raises WorkbenchError for an address that other machines reach, without `signin` and unless `allow_remote` says that
    something in front of it asks who is there, and for a port that is taken.
    """
    given: dict[str, Any] = {
        "allow_remote": allow_remote, "signin": signin, "prefix": prefix, "origins": origins, "behind_proxy": behind_proxy,
    }  # fmt: skip
    name = f"[{address}]" if ":" in address else address

    def told(port: int) -> None:
        say(f"Serving {Path(runs_dir)} at http://{name}:{port}{checked_prefix(prefix)} (Ctrl-C stops it)")
        say(notice(address, signin, origins))

    if workers == 1:
        _run(make_server(runs_dir, notebooks_dir, address, port, **given), told)
    else:
        check_reach(address, [host_of(one) for one in origins], signin is not None or allow_remote)

        def one(crew: Crew) -> None:
            server = make_server(runs_dir, notebooks_dir, "127.0.0.1", crew.own_port, crew=crew, **given)
            server._http.add_sockets(crew.sockets)
            _run(server, lambda port: None)

        share(address, port, workers, one, told)
    say("Stopped.")


def _run(server: Any, told: Callable[[int], None]) -> None:
    """Lets a server answer until SIGINT or SIGTERM."""
    from tornado.ioloop import IOLoop, PeriodicCallback

    loop = IOLoop.current()
    with suppress(Exception):  # what is wrong is told to whoever asks
        index(server.site)  # templates compiled, schedule and names read: the first reader does not wait for them
    server.start()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: loop.add_callback_from_signal(loop.stop))
    told(server.port)
    server.worker.submit(_warm)
    ready = PeriodicCallback(lambda: _get_ready(server), READY_MS)
    loop.call_later(0.5, _get_ready, server)
    ready.start()
    try:
        loop.start()
    finally:
        ready.stop()
        server.stop(wait=False)
        server.worker.shutdown(wait=False, cancel_futures=True)


def make_server(
    runs_dir: str | Path,
    notebooks_dir: str | Path,
    address: str = "localhost",
    port: int = 5006,
    *,
    allow_remote: bool = False,
    signin: SignIn | None = None,
    prefix: str = "",
    origins: Sequence[str] = (),
    behind_proxy: bool = False,
    crew: Crew | None = None,
) -> Any:
    """The bokeh server of `serve`, not yet started; in a `crew` one of several. Raises WorkbenchError as `serve` does."""
    prefix, public = checked_prefix(prefix), [host_of(one) for one in origins]
    check_reach(address, public, signin is not None or allow_remote)
    from panel.io.server import get_server

    site = Site(Path(runs_dir).resolve(), Path(notebooks_dir).resolve())
    hosts = known_hosts(address, allow_remote or (signin is not None and not loopback(address) and not public), public)
    given = {"site": site, "hosts": hosts}
    routes = [
        (r"/", Index, given),
        *watched(site, crew, worker := ThreadPoolExecutor(1, thread_name_prefix="live"), figures := Figures()),
        (r"/assets/([a-z.-]+)", Asset),
        *([*doors(signin, site), *version_routes(signin, site)] if signin else []),
        (r"/(?!live/|static/|assets/|components/|-/)([^/]+)/?", Page, given),
        (r"/(?!live/|static/|assets/|components/|-/)([^/]+)/([^/]+)/?", Page, given),
        (r"/(?!live/|static/|assets/|components/|-/)([^/]+)/([^/]+)/detail/", Detail, given),
        (r"/(?!live/|static/|assets/|components/|-/)([^/]+)/([^/]+)/([^/]+)", File, given),
    ]
    port = port or free_port()
    try_port(address, port)
    pages = LivePages(site.find, hosts, prefix, signin, worker_number(crew))
    apps = {route: live_app(pages, worker) for route in ("/live/{notebook}", "/live/{notebook}/{run}")}
    server = get_server(
        apps,
        port=port,
        address=address,
        websocket_origin=[f"{name}:{port}" for name in names(address) if ":" not in name] + public,
        extra_patterns=routes,
        title="workbench",
        location=False,
        check_unused_sessions_milliseconds=5_000,
        unused_session_lifetime_milliseconds=20_000,
        keep_alive_milliseconds=30_000,
        default_handler_class=Nothing,
        log_function=figures.count,
        prefix=prefix,
        use_xheaders=behind_proxy,
        http_server_kwargs={"max_body_size": 65_536, "max_buffer_size": 16 * 2**20},
        crew=crew,
        **guarded(signin, origins),
    )
    server.worker, server.pages, server.site = worker, pages, site
    server.ready, server.preparing, figures.tornado = {}, None, server._tornado
    server._tornado.add_transform(partial(Headers, live=f"{prefix}/live/"))
    guard(server._tornado, hosts, pages)
    server._tornado.websocket_origins.add(f"[::1]:{port}")  # bokeh's list is spelled for names and IPv4 only
    return server


def _get_ready(server: Any) -> None:
    """Lets the worker make the live page of one notebook's latest good run that is new, then looks again.

    One at a time, so that a reader who asks waits for one page at most.
    """
    if server.preparing is not None and not server.preparing.done():
        return
    for name in server.site.ran():
        good = server.site.good(name)
        if good is not None and server.ready.get(name) != good.folder.name:
            server.ready[name] = good.folder.name
            server.preparing = server.worker.submit(server.pages.prepare, good)
            server.preparing.add_done_callback(lambda _: server.io_loop.add_callback(_get_ready, server))
            return


def _warm() -> None:
    """Imports what live pages need, before somebody waits for it."""
    from importlib import import_module

    for name in ("workbench.views.look", "workbench.cubes", "h5netcdf", "dask.array", "scipy.stats"):
        with suppress(ImportError):
            import_module(name)
    look = import_module("workbench.views.look")
    look.extension()


# --- what answers ------------------------------------------------------------------------------------------------------


class Headers(OutputTransform):
    """Puts on every answer: what a page may load, no guessing of types, no referrer. A page that failed keeps its status."""

    def __init__(self, request: Any, live: str = "/live/") -> None:
        self.live = request.path.startswith(live)

    def transform_first_chunk(
        self, status_code: int, headers: Any, chunk: bytes, finishing: bool
    ) -> tuple[int, Any, bytes]:
        headers["X-Content-Type-Options"] = "nosniff"
        headers["Referrer-Policy"] = "no-referrer"
        headers["Cross-Origin-Opener-Policy"] = "same-origin"
        headers["Cross-Origin-Resource-Policy"] = "same-origin"
        if "Server" in headers:
            del headers["Server"]
        if "Content-Security-Policy" not in headers:
            headers["Content-Security-Policy"] = LIVE if self.live else PUBLISHED
        start = chunk[:2000]
        if self.live and b'<meta name="status" content="' in start:
            status_code = int(start.split(b'<meta name="status" content="')[1][:3])
        return status_code, headers, chunk


class Base(RequestHandler):
    """A request for one of our own pages."""

    site: Site

    def initialize(self, site: Site, hosts: Callable[[str], bool]) -> None:
        self.site, self.hosts = site, hosts

    def prepare(self) -> None:
        self.reader: Reader | None = None
        if not self.hosts(self.request.headers.get("Host", "")):
            self.answer(missing("Not here", "This address is not one that the pages are served at."), 403)
            return
        self.reader = who(self)
        if self.reader is None:
            self.redirect(sign_in_address(self))
            return
        self.site = seen(self.site, self.reader)

    def answer(self, page: str, status: int = 200, record: Record | None = None) -> None:
        self.set_status(status)
        self.set_header("Content-Type", "text/html; charset=utf-8")
        self.set_header("Cache-Control", "private, no-cache")
        body = dressed(self, page, record).encode()
        if "gzip" in self.request.headers.get("Accept-Encoding", ""):
            self.set_header("Content-Encoding", "gzip")
            body = gzip.compress(body, 1)
        self.set_header("Vary", "Accept-Encoding")
        self.finish(body)

    def write_error(self, status_code: int, **more: Any) -> None:
        self.answer(missing("This page failed", "The server could not make this page; its log says why."), status_code)


class Index(Base):
    def get(self) -> None:
        self.answer(index(self.site))


class Page(Base):
    def get(self, notebook: str, run: str | None = None) -> None:
        if not self.request.path.endswith("/"):
            self.redirect(f"{prefix_of(self)}/{_quoted(notebook)}/" + (f"{_quoted(run)}/" if run else ""))
            return
        try:
            page = page_of(self.site, notebook, run, lambda name: self.get_query_argument(name, ""))
            self.answer(page, record=run_of(self.site, notebook, run))
        except BadValueError as error:
            self.answer(missing("Not understood", str(error)), 400)
        except WorkbenchError as error:
            self.answer(missing("Not found", str(error)), 404)


class Detail(Base):
    def get(self, notebook: str, run: str) -> None:
        try:
            self.answer(detail_page(self.site, notebook, run))
        except WorkbenchError as error:
            self.answer(missing("Not found", str(error)), 404)


class File(Base):
    def get(self, notebook: str, run: str, name: str) -> None:
        try:
            path = self.site.find(notebook, run).folder / next((known for known in FILES if known == name), "")
            if not path.is_file():
                raise WorkbenchError(f"The run {run[:60]!r} has no file {name[:60]!r}.")
        except WorkbenchError as error:
            self.answer(missing("Not found", str(error)), 404)
            return
        self.set_header("Content-Type", FILES[name])
        self.set_header("Content-Security-Policy", REPORTED if name == "report.html" else "default-src 'none'")
        if name == "notebook.ipynb":
            self.set_header("Content-Disposition", f'attachment; filename="{_plain(notebook)}-{_plain(run)}.ipynb"')
        if name == PICTURES:  # a run that is over does not change
            self.set_header("Cache-Control", "private, max-age=86400, immutable")
        body = path.read_bytes()
        if "gzip" in self.request.headers.get("Accept-Encoding", "") and len(body) > 4_000:
            self.set_header("Content-Encoding", "gzip")
            body = gzip.compress(body, 1)
        self.finish(body)


class Nothing(RequestHandler):
    def prepare(self) -> None:
        self.set_status(404)
        self.finish(prefixed(missing("Not found", "There is no such page here."), prefix_of(self)))


class Asset(RequestHandler):
    def get(self, name: str) -> None:
        asset = _asset(name)
        if asset is None:
            self.set_status(404)
            self.finish()
            return
        kind, body, packed = asset
        self.set_header("Content-Type", kind)
        self.set_header(
            "Cache-Control", "public, max-age=31536000, immutable" if self.get_argument("v", "") else "no-cache"
        )
        self.set_header("Vary", "Accept-Encoding")
        if "gzip" in self.request.headers.get("Accept-Encoding", ""):
            self.set_header("Content-Encoding", "gzip")
            body = packed
        self.finish(body)


@cache
def _asset(name: str) -> tuple[str, bytes, bytes] | None:
    script = "text/javascript; charset=utf-8"
    if name == "page.js":
        kind, text = script, shell.text(name)
    elif name.removesuffix(".js") in shell.LIBRARIES:
        kind, text = script, EAGER + shell.library(name.removesuffix(".js")).read_text(encoding="utf-8")
    else:
        return None
    body = text.encode()
    return kind, body, gzip.compress(body, 6)


def _quoted(name: str) -> str:
    from urllib.parse import quote

    return quote(name, safe="")


def _plain(name: str) -> str:
    return "".join(c if c.isascii() and (c.isalnum() or c in "-_.") else "_" for c in name)
