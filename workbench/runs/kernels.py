"""Kernels of this very environment: started, given a notebook through papermill, interrupted and ended.

The kernel is `sys.executable -m ipykernel_launcher`, whatever kernelspecs are or are not installed. It leads a process
group of its own, so that ending the group ends its workers too.
"""

from __future__ import annotations

import os
import queue
import shutil
import signal
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from secrets import token_hex
from typing import Any

from workbench.runs import warm
from workbench.runs.records import write_whole

NAME = "python3"
ROOM = "wb-kernel-"


@dataclass
class Kernel:
    """A started kernel: jupyter_client's manager, process id, folder of sockets, how it died ("" while it has not)."""

    manager: Any
    pid: int
    room: str
    clients: list[Any] = field(default_factory=list)
    died: str = ""
    forked: bool = False  # from the warm parent


def room_name() -> str:
    """The folder that a kernel's sockets will have: a name first, so that it can be written down before there is a folder."""
    return f"{tempfile.gettempdir()}/{ROOM}{token_hex(6)}"


def start(environment: dict[str, str], room: str) -> Kernel:
    """A kernel of this environment, starting, its sockets in the new folder `room`; it is ready when papermill has waited.

    With WORKBENCH_WARM in the environment it is forked from the warm parent, where there is one (see `warm`).
    """
    from jupyter_client import AsyncKernelManager
    from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
    from jupyter_core.utils import run_sync

    # no folder to look in leaves only the native kernel, which is the interpreter that runs this line
    manager = AsyncKernelManager(kernel_name=NAME, kernel_spec_manager=KernelSpecManager(kernel_dirs=[]))
    if environment.get(warm.VARIABLE, "") not in ("", "0"):
        manager._kernel_spec = KernelSpec(argv=warm.command(), display_name=warm.NAME, language="python")
    manager.context.reconnect_ivl = 10  # ms between two looks whether the kernel listens already
    os.mkdir(room, 0o700)
    manager.connection_file = f"{room}/k.json"
    if len(room) < 80:  # sockets in a folder of ours, not ports that anyone on this machine may listen to
        manager.transport, manager.ip = "ipc", f"{room}/k"
    try:
        run_sync(manager.start_kernel)(env=environment, extra_arguments=["--HistoryManager.hist_file=:memory:"])
    except BaseException:
        remove_room(room)
        raise
    provisioner: Any = manager.provisioner
    kernel = Kernel(manager, int(provisioner.pid), room)
    _keep_clients(kernel)
    return kernel


def execute(kernel: Kernel, notebook: Path, output: Path, parameters: dict[str, Any], bar: bool) -> None:
    """Executes a notebook in a kernel by papermill, writing `output` after every cell: the new one whole, or the old one stays.

    Raises papermill's error for a failing cell, nbclient's DeadKernelError (or what came of it) for a dead kernel.
    """
    import logging

    import papermill
    from jupyter_core.utils import run_sync

    papermill.iorw.papermill_io.register(str(output), _Whole())
    logging.getLogger("papermill").setLevel(logging.CRITICAL)  # what it would say is raised, and told in the record
    try:
        papermill.execute_notebook(
            str(notebook),
            str(output),
            parameters=parameters,
            kernel_name=NAME,
            language="python",
            progress_bar=bar,
            km=kernel.manager,
        )
        kernel.forked = _forked(kernel.pid)
        if not run_sync(kernel.manager.is_alive)():
            raise RuntimeError("Kernel died")
    finally:
        kernel.died = _death(kernel)
        with suppress(OSError), output.open("rb") as file:
            os.fsync(file.fileno())


class _Whole:
    """How papermill writes the executed notebook: a full disk or a kill leaves what was there, and so the cell it came to."""

    def write(self, text: str, path: str) -> None:
        write_whole(Path(path), lambda aside: aside.write_text(text, encoding="utf-8"), flush=False)

    def read(self, path: str) -> str:
        return Path(path).read_text(encoding="utf-8")

    def listdir(self, path: str) -> list[str]:
        return [str(one) for one in Path(path).iterdir()]

    def pretty_path(self, path: str) -> str:
        return path


def _forked(pid: int) -> bool:
    """Whether the process of a kernel is a launcher still: it becomes a plain kernel where there is no warm parent."""
    with suppress(OSError):
        return b"workbench.runs.warm" in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False


def end(kernel: Kernel) -> None:
    """Ends a kernel and everything it started; nothing happens when it is gone."""
    from jupyter_core.utils import run_sync

    with suppress(Exception):  # a kernel that is already dead answers in many ways
        run_sync(_shut)(kernel.manager)
    end_group(kernel.pid)
    for client in kernel.clients:
        with suppress(Exception):
            client.stop_channels()
    with suppress(Exception):
        run_sync(kernel.manager.cleanup_resources)()
    remove_room(kernel.room)


async def _shut(manager: Any) -> None:
    """Asks a kernel to end and waits for it; `shutdown_kernel` does the same, and looks ten times a second."""
    await manager.interrupt_kernel()
    await manager.request_shutdown()
    await manager.finish_shutdown(pollinterval=0.01)


def remove_room(room: str) -> None:
    """Removes the folder of a kernel's sockets; whatever else the name may say, nothing is removed."""
    path = Path(room)
    if path.parent == Path(tempfile.gettempdir()) and path.name.startswith(ROOM):
        shutil.rmtree(path, ignore_errors=True)


def close_loop() -> None:
    """Closes the event loop that jupyter_client has made for this thread, with what still waits in it."""
    import asyncio

    from jupyter_core.utils import ensure_event_loop

    loop = ensure_event_loop()
    waiting = asyncio.all_tasks(loop)
    for task in waiting:
        task.cancel()
    with suppress(Exception):
        loop.run_until_complete(asyncio.gather(*waiting, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()


def interrupt(pid: int) -> None:
    """Asks a kernel to raise KeyboardInterrupt in the cell it executes."""
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGINT)


def end_group(pid: int) -> None:
    """Ends a process and its process group at once, if it leads one."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _keep_clients(kernel: Kernel) -> None:
    # papermill makes the client and leaves its sockets open when the manager is not its own
    make = kernel.manager.client

    def client(**options: Any) -> Any:
        made = make(**options)
        made.wait_for_ready = partial(_ready, made, kernel.manager)
        kernel.clients.append(made)
        return made

    kernel.manager.client = client


async def _ready(client: Any, manager: Any, timeout: float | None = None) -> None:
    """Waits until a kernel answers and what it says is heard. (The client's own way is to hear 0.2 s of silence then.)

    Raises RuntimeError when it has died, or after ``timeout`` seconds.
    """
    end = None if timeout is None else time.monotonic() + timeout
    while True:
        client.kernel_info()
        with suppress(queue.Empty):
            told = await client.get_shell_msg(timeout=1)
            if told["msg_type"] == "kernel_info_reply":
                await client.get_iopub_msg(timeout=0.02)
                client._handle_kernel_info_reply(told)
                return
        if not await manager.is_alive():
            raise RuntimeError("Kernel died before replying to kernel_info")
        if end is not None and time.monotonic() > end:
            raise RuntimeError(f"Kernel didn't respond in {timeout:g} seconds")


def _death(kernel: Kernel) -> str:
    child = getattr(kernel.manager.provisioner, "process", None)
    code = child.poll() if child is not None else None
    if code is None:
        return ""
    if code < 0:
        name = signal.Signals(-code).name
        return f" ({name}{', often the sign of too little memory' if name == 'SIGKILL' else ''})"
    return f" (exit code {code})"
