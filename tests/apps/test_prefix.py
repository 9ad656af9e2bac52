"""The pages under a path, and behind a proxy that hands sockets on too."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from pathlib import Path
from urllib.parse import urljoin

import pytest

from tests.apps.asking import Asking, page_token, serving, socket
from tests.apps.browsing import BLANK, opened
from workbench.apps.addresses import checked_prefix, host_of
from workbench.apps.users import User, hashed, write_users
from workbench.errors import WorkbenchError

WORD = "a long enough password"


class Proxy:
    """A small proxy that hands requests and sockets of its own port on to a server, with its own Host kept."""

    def __init__(self, target: str) -> None:
        self.target, self.started = target, threading.Event()
        self.thread = threading.Thread(target=lambda: asyncio.run(self.run()), daemon=True)
        self.thread.start()
        assert self.started.wait(10)

    async def run(self) -> None:
        from tornado.httpclient import AsyncHTTPClient, HTTPRequest
        from tornado.netutil import bind_sockets
        from tornado.web import Application, RequestHandler
        from tornado.websocket import WebSocketHandler, websocket_connect

        target = self.target

        class Http(RequestHandler):
            async def handed(self) -> None:
                body = self.request.body or None
                headers = {**dict(self.request.headers), "X-Forwarded-Proto": "https", "X-Forwarded-For": "203.0.113.7"}
                headers.pop("Accept-Encoding", None)
                asked = HTTPRequest(
                    target + self.request.uri,
                    self.request.method,
                    headers,
                    body,
                    follow_redirects=False,
                    request_timeout=60,
                )
                answer = await AsyncHTTPClient().fetch(asked, raise_error=False)
                self.set_status(answer.code)
                for name, value in answer.headers.get_all():
                    if name not in ("Content-Length", "Transfer-Encoding", "Connection"):
                        (self.add_header if name == "Set-Cookie" else self.set_header)(name, value)
                self.finish(answer.body or b"")

            get = post = handed

        class Ws(WebSocketHandler):
            def check_origin(self, origin: str) -> bool:
                return True

            def select_subprotocol(self, given: list[str]) -> str | None:
                self.given = given
                return given[0] if given else None

            async def open(self) -> None:
                kept = {n: self.request.headers[n] for n in ("Host", "Origin", "Cookie") if n in self.request.headers}
                asked = HTTPRequest(target.replace("http", "ws", 1) + self.request.uri, headers=kept)

                def back(message: str | bytes | None) -> None:
                    if message is None:
                        self.close()
                    else:
                        self.write_message(message, binary=isinstance(message, bytes))

                self.there = await websocket_connect(asked, subprotocols=self.given, on_message_callback=back)

            async def on_message(self, message: str | bytes) -> None:
                await self.there.write_message(message, binary=isinstance(message, bytes))

            def on_close(self) -> None:
                if hasattr(self, "there"):
                    self.there.close()

        self.over, self.loop = asyncio.Event(), asyncio.get_running_loop()
        sockets = bind_sockets(0, "127.0.0.1")
        server = Application([(r".*/ws", Ws), (r".*", Http)])
        from tornado.httpserver import HTTPServer

        listening = HTTPServer(server)
        listening.add_sockets(sockets)
        self.url = f"http://127.0.0.1:{sockets[0].getsockname()[1]}"
        self.started.set()
        await self.over.wait()
        listening.stop()
        await listening.close_all_connections()

    def stop(self) -> None:
        self.loop.call_soon_threadsafe(self.over.set)
        self.thread.join(10)


@pytest.fixture(scope="module")
def url(runs: Path, notebooks: Path):
    with serving(runs, notebooks, "--prefix", "/wb/east") as address:
        yield address


def test_everything_is_below_the_prefix(url):
    assert url.endswith("/wb/east")
    base = url.removesuffix("/wb/east")
    todo, seen = ["/wb/east/"], set()
    while todo:
        path = todo.pop()
        if path in seen or len(seen) > 40:
            continue
        seen.add(path)
        answer = Asking(base).get(path)
        assert answer.status in (200, 302), (path, answer.status)
        if "text/html" not in answer.headers.get("Content-Type", "") or path.endswith("report.html"):
            continue
        for link in re.findall(r'(?:href|src|action|data-pictures)="([^"#]+)"', answer.text):
            there = urljoin(base + path, link.replace("&amp;", "&"))
            if there.startswith("data:"):
                continue
            assert there.startswith(f"{url}/"), (path, link)
            todo.append(there.removeprefix(base))
    assert len(seen) > 10
    for path in ("/", "/waves/", "/live/waves", "/health"):
        answer = Asking(base).get(path)
        assert answer.status == 404, path
    assert json.loads(Asking(base).get("/wb/east/health").text)["status"] == "good"


def test_a_live_page_and_its_socket_below_the_prefix(url):
    base = url.removesuffix("/wb/east")
    page = Asking(base).get("/wb/east/live/waves")
    assert page.status == 200
    assert socket(base, "/wb/east/live/waves/ws", page_token(page.text), {})[1][0]["msgtype"] == "ACK"
    assert socket(base, "/wb/east/live/waves/ws", page_token(page.text), {}, Origin="https://evil.example")[0] == 403


def test_a_proxy_with_a_prefix_sign_in_and_sockets_in_a_browser(runs, notebooks, tmp_path, browser):
    users = tmp_path / "users.json"
    write_users(users, {"ana": User("ana", "admin", {}, hashed(WORD), "s")})
    with serving(
        runs, notebooks, "--prefix", "wb", "--users", str(users), "--origin", "https://wb.example.org", "--workers", "2"
    ) as url:
        proxy = Proxy(url.removesuffix("/wb"))
        try:
            with opened(browser, f"{proxy.url}/wb/live/waves") as seen:
                page = seen.page
                assert "/wb/-/sign-in?next=" in page.url
                page.fill("#name", "ana")
                page.fill("#password", "wrong password")
                page.click("button[type=submit]")
                page.wait_for_selector("[role=alert]")
                assert page.input_value("#name") == "ana"
                assert seen.errors == [
                    "Failed to load resource: the server responded with a status of 401 (Unauthorized)"
                ]
                seen.errors.clear()
                page.fill("#password", WORD)
                page.click("button[type=submit]")
                page.goto(f"{proxy.url}/wb/live/waves")
                seen.ready()
                assert all(page.evaluate(BLANK))
                page.goto(f"{proxy.url}/wb/waves/")
                seen.ready()
                assert all(page.evaluate(BLANK))
                page.click("text=Sign out")
                page.wait_for_url("**/wb/-/sign-in")
                page.goto(f"{proxy.url}/wb/waves/")
                assert "/wb/-/sign-in" in page.url
                seen.clean()
        finally:
            proxy.stop()


def test_behind_a_proxy_that_says_https_cookies_are_secure(runs, notebooks, tmp_path):
    users = tmp_path / "users.json"
    write_users(users, {"ana": User("ana", "admin", {}, hashed(WORD), "s")})
    with serving(runs, notebooks, "--users", str(users), "--behind-proxy") as url:
        proxy = Proxy(url)
        try:
            answer = Asking(proxy.url).sign_in("ana", WORD)
            assert answer.status == 303
            assert all("Secure" in line for line in answer.headers.get_all("Set-Cookie") if "session" in line)
        finally:
            proxy.stop()
    assert json.loads((tmp_path / "audit.jsonl").read_text().splitlines()[-1])["address"] == "203.0.113.7"


@pytest.mark.parametrize("prefix", ["/a b", "/../x", "/a?b", "http://x", "/%2e", "..", "/a/../b", "."])
def test_a_prefix_is_a_plain_path(prefix):
    with pytest.raises(WorkbenchError, match="no plain path"):
        checked_prefix(prefix)


@pytest.mark.parametrize("origin", ["", "https://", "https://*.example.org", "https://a/b", "https://me@host"])
def test_an_origin_is_a_host(origin):
    with pytest.raises(WorkbenchError, match="no public address"):
        host_of(origin)
