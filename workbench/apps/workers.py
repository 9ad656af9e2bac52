"""Several processes behind one port: each makes its own live pages, and a socket finds the process that made its page.

A page and its socket are two connections, which the system may give to two processes. So the token of a live session says
which process made it; another one that gets the socket hands its messages on, over a port that only this machine reaches.
Nothing else is kept by a process that the others do not know: sessions of sign-in, attempts and runs are in files.
"""

from __future__ import annotations

import os
import secrets
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from workbench.apps.addresses import try_port
from workbench.errors import WorkbenchError

MOST = 64
FALLS, WITHIN_S = 5, 60.0  # processes that may end by themselves within a time


@dataclass(frozen=True)
class Crew:
    """One of several processes: its number, the ports of all, the sockets that they share, and a word among them."""

    number: int
    ports: tuple[int, ...]
    sockets: list[socket.socket]
    word: str

    @property
    def own_port(self) -> int:
        return self.ports[self.number]


def worker_number(crew: Crew | None) -> int | None:
    """Which of several processes this is, None for the only one."""
    return crew.number if crew is not None else None


def share(address: str, port: int, workers: int, work: Callable[[Crew], None], told: Callable[[int], None]) -> None:
    """Lets `work` run in several processes that listen on one port, until SIGINT or SIGTERM; a process that falls is
    started again.

    Raises WorkbenchError for a number of processes that cannot be, a port that is taken, and processes that keep falling.
    """
    if not 1 <= workers <= MOST:
        raise WorkbenchError(f"{workers} processes cannot be; wanted 1 to {MOST}.")
    from tornado.netutil import bind_sockets

    try_port(address, port)
    public = bind_sockets(port, address)
    crew = [Crew(0, _free_ports(workers), public, secrets.token_hex(16))]
    children: dict[int, int] = {}
    stopping: list[int] = []

    def stop(number: int, _frame: object) -> None:
        stopping.append(number)
        for pid in children:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGINT)

    before: dict[int, Any] = {one: signal.signal(one, stop) for one in (signal.SIGINT, signal.SIGTERM)}
    falls: list[float] = []
    try:
        for number in range(workers):
            children[_start(Crew(number, crew[0].ports, public, crew[0].word), work, before)] = number
        told(public[0].getsockname()[1])
        while children:
            try:
                pid, _ = os.wait()
            except ChildProcessError:
                break
            fallen = children.pop(pid, None)
            if fallen is None or stopping:
                continue
            falls = [at for at in falls if at > time.monotonic() - WITHIN_S] + [time.monotonic()]
            if len(falls) > FALLS:
                stop(signal.SIGTERM, None)
                raise WorkbenchError(
                    f"More than {FALLS} of the processes have ended by themselves; see what they said."
                )
            children[_start(Crew(fallen, crew[0].ports, public, crew[0].word), work, before)] = fallen
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for one in public:
            one.close()


def _start(crew: Crew, work: Callable[[Crew], None], handlers: dict[int, Any]) -> int:
    """A process of its own that works and ends; gives its number to the one that asked."""
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        work(crew)
        code = 0
    except KeyboardInterrupt:
        code = 0
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)


def _free_ports(count: int) -> tuple[int, ...]:
    """Ports of this machine that were free a moment ago."""
    held = [socket.socket() for _ in range(count)]
    for one in held:
        one.bind(("127.0.0.1", 0))
    ports = tuple(int(one.getsockname()[1]) for one in held)
    for one in held:
        one.close()
    return ports


# --- a socket that came to another process -----------------------------------------------------------------------------


def owner(crew: Crew | None, token: str) -> int | None:
    """The process that made the page of a token, None when it is this one or the token is none."""
    from bokeh.util.token import get_token_payload

    if crew is None or not token:
        return None
    try:
        number = get_token_payload(token).get("worker")
    except Exception:  # whatever a stranger sends; the socket refuses it
        return None
    known = isinstance(number, int) and 0 <= number < len(crew.ports) and number != crew.number
    return number if known else None


async def join(handler: Any, crew: Crew, number: int, token: str) -> Any:
    """The other process's socket, which hands every message on to this handler and closes it in the end."""
    from tornado.httpclient import HTTPRequest
    from tornado.websocket import WebSocketHandler, websocket_connect

    kept = ("Host", "Origin", "Cookie", "X-Forwarded-For", "X-Forwarded-Proto", "User-Agent")
    sent = {name: handler.request.headers[name] for name in kept if name in handler.request.headers}
    address = f"ws://127.0.0.1:{crew.ports[number]}{handler.request.path}"
    query = f"?{handler.request.query}" if handler.request.query else ""

    def handed(message: str | bytes | None) -> None:
        if message is None:
            handler.close()
            return
        with suppress(Exception):  # the reader has gone
            WebSocketHandler.write_message(handler, message, binary=isinstance(message, bytes))

    return await websocket_connect(
        HTTPRequest(address + query, headers=sent, connect_timeout=10),
        subprotocols=["bokeh", token],
        on_message_callback=handed,
        max_message_size=20 * 2**20,
    )
