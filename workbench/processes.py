"""Local worker processes, which Ctrl-C ends at any moment: while they start, work or are closed."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.machinery import ModuleSpec
from typing import Any

from workbench.interrupts import Stop, apart, heard


@contextmanager
def _main_left_alone() -> Iterator[None]:
    """Processes that start here do not run the caller's script, as Python has them do: one without a guard on
    ``__name__`` would start workers in its workers, without end. What they need of it is sent to them by value."""
    main = sys.modules["__main__"]
    kept = getattr(main, "__spec__", None)
    main.__spec__ = ModuleSpec("__main__", None)  # the one name that a child takes for its own
    try:
        yield
    finally:
        main.__spec__ = kept


@contextmanager
def started(kind: Any, **asked: Any) -> Iterator[Any]:
    """The client of a cluster of local processes, which Ctrl-C at any moment ends within a second."""
    from distributed import Client

    local = kind.__new__(kind)  # known before it is there, so that its processes can be ended while they start
    client: list[Any] = []
    begun = threading.Event()
    begun.set()

    def start() -> None:
        try:
            local.__init__(**asked)
            client.append(Client(local, set_as_default=False))
        finally:
            begun.set()

    def close() -> None:
        for one in client:
            one.close()
        local.close()

    def end() -> None:
        while not begun.wait(0.02):
            _kill(local)
        _kill(local)
        close()

    if os.name == "posix":
        from multiprocessing import resource_tracker

        resource_tracker.ensure_running()  # it lets signals through in the thread that starts it
    try:
        with _main_left_alone(), heard(quietly=True) as stop:
            begun.clear()
            apart(start, stop, grace=0)
        try:
            with _main_left_alone():
                yield client[0]
        finally:
            if not isinstance(sys.exception(), KeyboardInterrupt):
                with heard(quietly=True) as stop:
                    apart(close, stop, grace=0)
    except KeyboardInterrupt:
        with suppress(Exception, KeyboardInterrupt):
            apart(end, Stop(asked=True))
        raise


def _kill(local: Any) -> None:
    """Ends the processes of a cluster, as far as it has any, and lets it start no more."""
    local.shutdown_on_close = False  # nor is there anything to be done when this process ends
    getattr(local, "worker_spec", {}).clear()
    for nanny in list(getattr(local, "_created", ())):
        nanny.auto_restart = False
        with suppress(ProcessLookupError, TypeError):
            os.kill(nanny.pid, getattr(signal, "SIGKILL", signal.SIGTERM))
