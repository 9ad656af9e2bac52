"""A reader without a browser: cookies, forms, sockets, and a `workbench serve` with options."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit


@dataclass
class Answer:
    status: int
    headers: Any
    text: str

    @property
    def location(self) -> str:
        return self.headers.get("Location", "")


@dataclass
class Asking:
    """Somebody who asks a server and keeps its cookies; follows no redirects."""

    url: str
    cookies: dict[str, str] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)

    def ask(self, method: str, path: str, body: str | None = None, **headers: str) -> Answer:
        told = urlsplit(self.url)
        connection = http.client.HTTPConnection(told.hostname, told.port, timeout=30)
        sent = {**self.headers, **{name.replace("_", "-"): value for name, value in headers.items()}}
        if self.cookies:
            sent["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        if body is not None:
            sent.setdefault("Content-Type", "application/x-www-form-urlencoded")
        connection.request(method, path, body, sent)
        answer = connection.getresponse()
        text = answer.read().decode(errors="replace")
        for line in answer.headers.get_all("Set-Cookie") or []:
            name, _, value = line.partition(";")[0].partition("=")
            if value.strip('"'):
                self.cookies[name] = value.strip('"')
            else:
                self.cookies.pop(name, None)
        connection.close()
        return Answer(answer.status, answer.headers, text)

    def get(self, path: str, **headers: str) -> Answer:
        return self.ask("GET", path, **headers)

    def post(self, path: str, form: dict[str, str], **headers: str) -> Answer:
        return self.ask("POST", path, urlencode(form), **headers)

    def token(self, path: str = "/-/sign-in") -> str:
        """The token of a form, as the page has it."""
        return re.search(r'name="_xsrf" value="([^"]+)"', self.get(path).text)[1]

    def sign_in(self, name: str, password: str, following: str = "/", prefix: str = "") -> Answer:
        token = self.token(f"{prefix}/-/sign-in")
        form = {"name": name, "password": password, "next": following, "_xsrf": token}
        return self.post(f"{prefix}/-/sign-in", form)


@contextmanager
def serving(runs: Path, notebooks: Path, *options: str, **environment: str) -> Iterator[str]:
    """The address of a `workbench serve` in a process of its own."""
    command = [sys.executable, "-m", "workbench.cli", "serve", "--runs", str(runs), "--notebooks", str(notebooks)]
    process = subprocess.Popen(
        [*command, "--port", "0", *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1", **environment}, start_new_session=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if " at http" not in line:
            process.kill()
            raise RuntimeError(line + process.communicate()[1])
        yield line.split(" at ")[1].split(" ")[0]
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


def page_token(html: str) -> str:
    """The token of the session that a live page carries."""
    return re.search(r'"token":"([^"]+)"', html)[1]


def socket(
    url: str, path: str, token: str, cookies: dict[str, str], **headers: str
) -> tuple[int, list[dict[str, Any]]]:
    """What a socket answers: the status of the handshake (101 for yes) and the first messages, as their headers."""
    from tornado.httpclient import HTTPClientError, HTTPRequest
    from tornado.websocket import websocket_connect

    async def talk() -> tuple[int, list[dict[str, Any]]]:
        sent = {"Cookie": "; ".join(f"{name}={value}" for name, value in cookies.items()), "Origin": url, **headers}
        request = HTTPRequest(url.replace("http", "ws", 1) + path, headers=sent)
        try:
            joined = await websocket_connect(request, subprotocols=["bokeh", token])
        except HTTPClientError as error:
            return error.code, []
        said = []
        try:
            for _ in range(3):  # header, metadata and content of one message
                text = await asyncio.wait_for(joined.read_message(), 10)
                if text is None:
                    said.append({"closed": joined.close_code})
                    break
                said.append(json.loads(text))
        finally:
            hang_up(joined)
        return 101, said

    return asyncio.run(talk())


def hang_up(joined: Any) -> None:
    """Closes a socket at once, without the other side's farewell."""
    if joined.protocol is not None:
        joined.protocol._abort()
        joined.protocol = None
