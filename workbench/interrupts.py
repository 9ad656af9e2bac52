"""Ctrl-C, heard at every moment of a pass and only where it does no harm."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

MACHINERY = "<frozen importlib"
AGAIN = 0.02  # seconds until one that came during an import is looked at again


class Stop:
    """Whether Ctrl-C was pressed (``asked``), and the handler of its signal while that is of interest."""

    def __init__(self, quiet: bool = False, before: Any = None, bottom: Any = None) -> None:
        self.asked = False
        self.lost = isinstance(before, Stop) and before.asked  # a finaliser has swallowed it
        self.quiet = quiet
        self.bottom = bottom
        self.over = self.again = False
        self.timer: threading.Timer | None = None

    def __call__(self, number: int, frame: Any) -> None:
        again, self.again = self.again, False
        second = self.asked and not again
        self.asked = True
        if self.over or (self.quiet and not second):
            return
        if not self._importing(frame):
            raise KeyboardInterrupt
        self.timer = threading.Timer(AGAIN, self._press)
        self.timer.daemon = True
        self.timer.start()

    def _press(self) -> None:
        self.again = True
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    def _importing(self, frame: Any) -> bool:
        inside = frame is not None and frame.f_code.co_filename.startswith(MACHINERY)
        while frame is not None and frame is not self.bottom and not inside:
            begins = frame.f_code.co_name == "_find_and_load" and frame.f_code.co_filename.startswith(MACHINERY)
            inside = begins and not frame.f_locals["name"].startswith("workbench")  # ours can be begun again
            frame = frame.f_back
        return inside

    def end(self) -> None:
        self.over = True
        if self.timer:
            self.timer.cancel()
            self.timer.join()
        self.bottom = None


@contextmanager
def heard(*, quietly: bool = False) -> Iterator[Stop]:
    """Ctrl-C raises KeyboardInterrupt as usual, but not in the middle of an import, and in the end at the latest.

    Compiled modules that are left half imported cannot be imported again in the same process, so that it waits for the
    end of a library's import. A finaliser that it is raised in swallows it.

    quietly: it only sets ``asked``, which is to be looked at between two batches: raised between two locks it would leave
        them locked. A second one is raised at once.

    Other threads than the main one, and programs with a handler of their own, are left alone.
    """
    before = signal.getsignal(signal.SIGINT)
    ours = before is signal.default_int_handler or isinstance(before, Stop)
    if threading.current_thread() is not threading.main_thread() or not ours:
        yield Stop()
        return
    stop = Stop(quietly, before, sys._getframe(2))
    signal.signal(signal.SIGINT, stop)
    try:
        yield stop
    finally:
        stop.end()
        signal.signal(signal.SIGINT, before)
    if stop.asked:
        raise KeyboardInterrupt


@contextmanager
def deaf() -> Iterator[None]:
    """Processes that start here do not hear Ctrl-C, which terminals and notebooks send to all of a group: this one stops
    them. It hears what came meanwhile afterwards."""
    from multiprocessing import resource_tracker

    resource_tracker.ensure_running()  # it lets signals through once it has started its process
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
