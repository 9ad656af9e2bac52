"""The warm parent: a process that has everything imported, no threads and no CUDA, and becomes a kernel or a run by forking.

It answers its own user only, looks before each fork that it has one thread and no driver of a GPU, and retires when its
modules are older than their files, when it has grown above ``MEMORY``, after ``FORKS`` forks, after ``HOURS``, and when
nobody has asked for ``IDLE_S``. One that retires hears no more, and stays until its last fork has ended. Its forks end with
their launchers, and with it.
"""

from __future__ import annotations

import ctypes
import fcntl
import gc
import importlib
import json
import os
import resource
import selectors
import signal
import socket
import struct
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

MEMORY = 1_500_000_000  # bytes in memory
FORKS = 1000
HOURS = 12.0
IDLE_S = 1800.0
ROUND_S = 0.5
# Said before anything is imported: libraries that start threads of their own on import are told not to.
QUIET = {
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "JE_ARROW_MALLOC_CONF": "background_thread:false",
    "PYDEVD_DISABLE_FILE_VALIDATION": "1",
}
COMMAND = "workbench.cli"  # what a forked run is
MODULES = (
    "numpy", "pandas", "pyarrow.parquet", "pyarrow.compute", "pyarrow.dataset", "scipy.stats", "xarray",
    "xarray.computation.nanops", "h5py", "h5py._hl.dims", "h5netcdf", "dask.dataframe", "dask.bag", "distributed",
    "numba", "sklearn.ensemble", "holoviews", "holoviews.ipython.archive", "bokeh.plotting", "holoviews.plotting.bokeh",
    "panel", "ipykernel.kernelapp", "ipykernel.zmqshell", "IPython.core.completerlib", "ipykernel.debugger",
    "papermill", "jupyter_client", "nbclient", "workbench.tables", "workbench.cubes", "workbench.clusters",
    "workbench.views", "workbench.apps.page", "workbench.apps.report", "workbench.apps.door",
    "workbench.tables.lineage", "workbench.tables.delta_open", "workbench.tables.reading",
    "workbench.tables.delta_results", "workbench.runs.context", "workbench.runs.execute", "workbench.examples",
    "openlineage.client.event_v2", "markdown_it", "linkify_it", "h5netcdf.legacyapi", "tornado.platform.asyncio",
    "IPython.core.debugger", "IPython.core.logger", "pandas.core.methods.to_dict", "IPython.core.oinspect",
    "IPython.extensions.storemagic", COMMAND,
)  # fmt: skip
ROOMS = ("analyses", "views")  # the parts of this package that notebooks take by name
NVIDIA = "libcuda.so"


def serve() -> int:
    """Listens until it is stopped or retires; gives 0, also where another parent listens already."""
    from workbench.runs import warm

    path = warm.address()
    lock = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return 0
    os.environ.update(QUIET)
    _import()
    _rehearse()
    before = stamps()
    with suppress(FileNotFoundError):
        path.unlink()
    for left in path.parent.glob("kernel-*.json"):
        if not Path(f"/proc/{left.stem.partition('-')[2]}").exists():
            left.unlink(missing_ok=True)
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(path))
    os.chmod(path, 0o600)
    listening.listen(64)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    gc.collect()
    gc.freeze()
    _Parent(listening, path, before, lock).serve()
    return 0


def _import() -> None:
    from pkgutil import iter_modules

    package = Path(__file__).resolve().parents[1]
    rooms = [f"workbench.{room}.{one.name}" for room in ROOMS for one in iter_modules([str(package / room)])]
    for name in (*MODULES, *rooms):
        try:
            importlib.import_module(name)
        except ImportError as error:  # an extra that is not installed is no use to a notebook either
            sys.stderr.write(f"{name}: {error}\n")


def _rehearse() -> None:
    """Counts a few rows, so that the compiled kernels are loaded; the threads that it takes have ended when it returns."""
    from concurrent.futures import ThreadPoolExecutor
    from datetime import datetime, timedelta

    import dask
    import pyarrow as pa
    from tqdm import tqdm

    from workbench.cubes import Category, Period, cube

    numbers = list(range(64))
    times = [datetime(2026, 1, 1) + timedelta(hours=one) for one in numbers]
    columns = {"whole": numbers, "part": [one / 7 for one in numbers], "text": [str(one % 5) for one in numbers]}
    rows = pa.table({"time": times, **columns})
    kept, tqdm.monitor_interval = tqdm.monitor_interval, 0  # its thread would not end
    with ThreadPoolExecutor(1) as pool, dask.config.set(pool=pool):
        cube(rows, by=[Period("time", "D"), Category("text")], progress=False)
    tqdm.monitor_interval = kept
    patient = time.monotonic() + 1
    while len(os.listdir("/proc/self/task")) > 1 and time.monotonic() < patient:
        time.sleep(0.005)  # a thread that was joined may still be on its way out of the system


def stamps() -> dict[str, float]:
    """When the files of this package's loaded modules were last changed."""
    files = [
        str(getattr(one, "__file__", "")) for name, one in list(sys.modules.items()) if name.startswith("workbench")
    ]
    found = {}
    for one in files:
        with suppress(OSError):
            found[one] = os.stat(one).st_mtime
    return found


class _Parent:
    """What a parent holds: the socket it listens on, and the connection of each kernel."""

    def __init__(self, listening: socket.socket, path: Path, since: dict[str, float], lock: int) -> None:
        self.listening, self.path, self.since, self.lock = listening, path, since, lock
        self.kernels: dict[int, socket.socket] = {}
        self.looked = selectors.DefaultSelector()
        self.looked.register(listening, selectors.EVENT_READ)
        self.began = self.asked = time.monotonic()
        self.forks = 0
        self.outdated = False
        self.retired = ""

    def serve(self) -> None:
        """Goes round until it has retired and its last kernel has ended."""
        while not self.retired or self.kernels:
            for key, _ in self.looked.select(0.02 if self.kernels else ROUND_S):
                if key.fileobj is self.listening:
                    self._hear()
                else:
                    self._gone(int(key.data))
            self._reap()
            if not self.retired:
                self._retire()

    def _retire(self) -> None:
        why = self.worn()
        if not why and not self.kernels and time.monotonic() - self.asked > IDLE_S:
            why = "nobody asks"
        if why:
            self.retired = why
            self.looked.unregister(self.listening)
            self.listening.close()
            self.path.unlink(missing_ok=True)
            os.close(self.lock)  # another may listen now
            sys.stderr.write(f"retired: {why}\n")

    def worn(self) -> str:
        """Why this parent has to go, "" where it has not."""
        if self.outdated:
            return "its modules are older than their files"
        if self.forks >= FORKS:
            return f"{FORKS} forks"
        if time.monotonic() - self.began > HOURS * 3600:
            return f"{HOURS:g} hours"
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return "it has grown" if pages * resource.getpagesize() > MEMORY else ""

    def unfit(self) -> str:
        """Why no kernel may be forked now, "" where it may."""
        if stamps() != self.since:
            self.outdated = True
            return "its modules are older than their files"
        names = [Path(f"/proc/self/task/{one}/comm").read_text().strip() for one in os.listdir("/proc/self/task")]
        if len(names) > 1:
            return f"it has threads: {', '.join(names)}"
        return "it has a driver of a GPU loaded" if NVIDIA in Path("/proc/self/maps").read_text() else ""

    def _hear(self) -> None:
        asked, _ = self.listening.accept()
        self.asked = time.monotonic()
        try:
            told, files = _heard(asked)
        except (OSError, ValueError, struct.error):
            asked.close()  # somebody who looked whether a parent is there
            return
        why = self.unfit()
        if why:
            _say(asked, {"refused": why})
            asked.close()
        else:
            self.forks += 1
            pid = os.fork()
            if pid == 0:
                self._become(asked, told, files)
            self.kernels[pid] = asked
            self.looked.register(asked, selectors.EVENT_READ, pid)
            _say(asked, {"pid": pid})
        for one in files:
            os.close(one)

    def _become(self, asked: socket.socket, told: dict[str, Any], files: list[int]) -> None:
        """Becomes a kernel or a run, and never comes back."""
        code = 1
        try:
            parent = os.getppid()
            ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)  # ends with the parent
            if os.getppid() != parent:
                os._exit(1)
            os.setsid()
            self.looked.close()
            for one in (self.listening.fileno(), self.lock, asked.fileno(), *_numbers(self.kernels)):
                os.close(one)
            for number, one in enumerate(files):
                os.dup2(one, number)
            for one in files:
                if one > 2:
                    os.close(one)
            _be_as(told)
            code = {"kernel": _kernel, "run": _run}[told["what"]](told)
        except SystemExit as left:
            code = left.code if isinstance(left.code, int) else int(left.code is not None)
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            with suppress(Exception):
                sys.stdout.flush()
                sys.stderr.flush()
            with suppress(Exception):
                import atexit

                atexit._run_exitfuncs()
            os._exit(code)

    def _gone(self, pid: int) -> None:
        """A launcher has gone: its kernel goes too."""
        with suppress(KeyError):
            self.looked.unregister(self.kernels[pid])
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)

    def _reap(self) -> None:
        for pid, asked in list(self.kernels.items()):
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                with suppress(KeyError, ValueError):
                    self.looked.unregister(asked)
                _say(asked, {"status": status})
                asked.close()
                del self.kernels[pid]
                _note(pid).unlink(missing_ok=True)


def _numbers(kernels: dict[int, socket.socket]) -> list[int]:
    return [one.fileno() for one in kernels.values()]


def _be_as(told: dict[str, Any]) -> None:
    """Makes this process what the launcher is: environment, folder, limits, signals."""
    import random

    import numpy

    environment = dict(told["environment"])
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    os.umask(told["umask"])
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, told["nice"])
    for number, limits in told["limits"].items():
        with suppress(OSError, ValueError):
            resource.setrlimit(int(number), tuple(limits))
    os.chdir(told["directory"])
    from workbench.runs import warm

    attempt = environment.get(warm.ATTEMPT, "")
    if attempt:
        told_of = json.dumps({"attempt": attempt, "since": time.time()})
        _note(os.getpid()).write_text(told_of, encoding="utf-8")
    sys.path[:0] = [one for one in environment.get("PYTHONPATH", "").split(os.pathsep) if one and one not in sys.path]
    random.seed()
    numpy.random.seed()  # noqa: NPY002  # the state of old code, which two forks would share
    for one in warm.PASSED:
        usual = signal.default_int_handler if one == signal.SIGINT else signal.SIG_DFL
        signal.signal(one, signal.SIG_IGN if one in told["ignored"] and told["what"] == "run" else usual)


def _run(told: dict[str, Any]) -> int:
    """Is the command that `workbench run` has handed over."""
    from workbench.runs import warm

    os.environ[warm.VARIABLE] = warm.KERNELS
    for one in (sys.stdout, sys.stderr):
        one.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    sys.argv = ["workbench", *told["arguments"]]
    return int(importlib.import_module(COMMAND).main(told["arguments"]))


def _kernel(told: dict[str, Any]) -> int:
    """Is the kernel that a launcher has asked for."""
    os.environ.pop("JPY_PARENT_PID", None)  # the launcher watches that one; this process ends with the launcher
    sys.argv = ["ipykernel_launcher", *told["arguments"]]
    _show_pictures()
    from ipykernel.kernelapp import IPKernelApp

    IPKernelApp.launch_instance()
    return 0


def _show_pictures() -> None:
    """Makes HoloViews what it is where a kernel imports it; as it came into the parent, a notebook's pictures would be text."""
    pictures: Any = sys.modules.get("holoviews")
    if pictures is not None:
        pictures.extension = importlib.import_module("holoviews.ipython").notebook_extension


def _note(pid: int) -> Path:
    from workbench.runs import warm

    return warm.room() / f"kernel-{pid}.json"


def _heard(asked: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """What a launcher of this user asks for, and its three files. Raises ValueError for anybody else, and for nothing."""
    asked.settimeout(5.0)
    head, files, _, _ = socket.recv_fds(asked, 4, 3)
    _, user, _ = struct.unpack("3i", asked.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
    try:
        if user != os.getuid() or len(files) != 3:
            raise ValueError("not ours")
        (size,) = struct.unpack("!I", head)
        body = b""
        while len(body) < size:
            part = asked.recv(size - len(body))
            if not part:
                raise ValueError("cut off")
            body += part
        told: dict[str, Any] = json.loads(body)
    except BaseException:
        for one in files:
            os.close(one)
        raise
    return told, list(files)


def _say(asked: socket.socket, told: dict[str, Any]) -> None:
    with suppress(OSError):
        asked.sendall(json.dumps(told).encode() + b"\n")
