"""Ctrl-C, heard at every moment of a pass and only where it does no harm."""

from __future__ import annotations

import _thread
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from functools import partial
from typing import Any, TypeVar

T = TypeVar("T")
MACHINERY = "<frozen importlib"
SWALLOWS = ("__del__", "_gc_callback")  # code whose errors Python only prints
AGAIN = 0.02  # seconds until one that came during an import is looked at again
GRACE = 0.5  # seconds that work in a thread of its own has to end once it came


class Stop:
    """Whether Ctrl-C was pressed (``asked``), and the handler of its signal while that is of interest."""

    def __init__(self, quiet: bool = False, before: Any = None, bottom: Any = None, asked: bool = False) -> None:
        self.asked = asked
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
        if not self._harms(frame):
            raise KeyboardInterrupt
        self.timer = threading.Timer(AGAIN, self._press)
        self.timer.daemon = True
        self.timer.start()

    def _press(self) -> None:
        self.again = True
        if hasattr(signal, "pthread_kill"):
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        else:
            _thread.interrupt_main()

    def _harms(self, frame: Any) -> bool:
        """Whether an import or a finaliser is under way here."""
        inside = frame is not None and frame.f_code.co_filename.startswith(MACHINERY)
        while frame is not None and frame is not self.bottom and not inside:
            begins = frame.f_code.co_name == "_find_and_load" and frame.f_code.co_filename.startswith(MACHINERY)
            inside = begins and not frame.f_locals["name"].startswith("workbench")  # ours can be begun again
            inside = inside or frame.f_code.co_name in SWALLOWS
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
    end of a library's import. So it does for that of a finaliser, which would swallow it.

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


def apart(work: Callable[[], T], stop: Stop, grace: float = GRACE) -> T:
    """What ``work`` gives, or raises, in a thread of its own: here Ctrl-C is heard, whatever that thread is busy with.

    KeyboardInterrupt once ``stop`` is asked and the work, which may look at it too, has ended or ``grace`` seconds have
    passed; what has not ended by then goes on unheeded.
    """
    ended: list[Callable[[], T]] = []

    def run() -> None:
        try:
            result = work()
        except BaseException as error:
            ended.append(partial(_raise, error))
        else:
            ended.append(lambda: result)

    thread = threading.Thread(target=copy_context().run, args=(run,), daemon=True)
    with deaf():
        thread.start()
    while thread.is_alive() and not stop.asked:
        thread.join(0.05)
    if stop.asked:
        thread.join(grace)
    if not ended:
        raise KeyboardInterrupt
    return ended[0]()


def _raise(error: BaseException) -> Any:
    raise error


@contextmanager
def deaf() -> Iterator[None]:
    """Threads that start here, and all threads and processes that these start, do not hear Ctrl-C, which terminals and
    notebooks send to all of a group: this thread stops them. It hears what came meanwhile afterwards."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows, where only the main thread of a process hears it
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
