"""Workers as a context: threads, local processes, GPU workers, or a scheduler that is already there.

The only file that names ``dask_cuda``. Threads are the default and need no set-up; the others are Dask clusters, and
the counting is the same program on all of them.
"""

from __future__ import annotations

import logging
import os
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from workbench.errors import WorkbenchError
from workbench.interrupts import Stop, apart, heard
from workbench.processes import started
from workbench.progress import bar_of

FAN_IN = 8
PATIENCE = "5s"  # for a scheduler to answer
ALONE = 20.0  # seconds that a pass waits for a worker where none is left
KINDS = ("threads", "processes", "cuda")


@dataclass(frozen=True)
class Workers:
    """A crew of workers: ``kind``, how many (``size``) and, unless they are threads, the Dask ``client``."""

    kind: str
    size: int
    client: Any = None

    @property
    def local(self) -> bool:
        """Whether the workers are threads of this process."""
        return self.client is None

    def tree(
        self,
        count: Callable[..., Any],
        tasks: Sequence[tuple],
        join: Callable[[Sequence[Any]], Any],
        pieces: Sequence[Any] = (),
        progress: bool | None = None,
    ) -> Any:
        """``join`` of ``count(*task)`` for every task, summed in a tree on the workers.

        Ctrl-C, or a task that raises, stops the others between two batches and leaves none behind.
        """
        with heard(quietly=True) as stop:
            if stop.lost:
                raise KeyboardInterrupt
            if self.local:
                return _threads(self.size, count, tasks, join, pieces, progress, stop)
            return _distributed(self.client, count, tasks, join, pieces, progress, stop)

    def each(self, work: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
        """``work(item)`` of every item, in their order, lazily: one item more than there are workers is under way.

        Stopping early, or an error, cancels the others.
        """
        pool = ThreadPoolExecutor(self.size) if self.client is None else None
        submit = pool.submit if pool else partial(self.client.submit, pure=False, retries=2)
        result = partial(_result, self.client)
        waiting: deque[Any] = deque()
        try:
            for one in items:
                waiting.append(submit(work, one))
                if len(waiting) > self.size:
                    yield result(waiting.popleft())
            while waiting:
                yield result(waiting.popleft())
        finally:
            for future in waiting:
                future.cancel()
            if pool:
                pool.shutdown()


def _threads(
    size: int,
    count: Any,
    tasks: Sequence[tuple],
    join: Any,
    pieces: Sequence[Any],
    progress: Any,
    stop: Stop,
) -> Any:
    from dask.threaded import ContextAwareThreadPoolExecutor, get

    lock, failed = threading.Lock(), threading.Event()
    with bar_of(pieces, progress) as bar:

        def told(piece: Any, rows: int) -> None:
            if stop.asked or failed.is_set():
                raise KeyboardInterrupt
            if piece is not None:
                with lock:
                    bar.update(piece.rows if piece.rows is not None else piece.nbytes)

        def joined(parts: Sequence[Any]) -> Any:
            told(None, 0)
            return join(parts)

        graph: dict[str, tuple] = {f"count-{i}": (_call, count, _Quoted(t), told) for i, t in enumerate(tasks)}
        key = _tree(graph, list(graph), joined)

        def summed() -> Any:
            with ContextAwareThreadPoolExecutor(size) as pool:
                try:
                    return get(graph, key, pool=pool)
                except BaseException:
                    failed.set()
                    raise

        return apart(summed, stop)


class _Quoted:
    """What Dask must not look into."""

    def __init__(self, value: Any) -> None:
        self.value = value


def _call(count: Any, arguments: _Quoted, told: Any) -> Any:
    return count(*arguments.value, told)


def _tree(graph: dict[str, tuple], keys: list[str], join: Any) -> str:
    level = 0
    while len(keys) > 1:
        level += 1
        above = []
        for i in range(0, len(keys), FAN_IN):
            name = f"join-{level}-{i}"
            graph[name] = (join, keys[i : i + FAN_IN])
            above.append(name)
        keys = above
    return keys[0]


def _distributed(
    client: Any, count: Any, tasks: Sequence[tuple], join: Any, pieces: Any, progress: Any, stop: Stop
) -> Any:
    everything: list[Any] = []
    try:
        futures = [client.submit(count, *t, pure=False, retries=2) for t in tasks]
        everything += futures
        weight = {
            f.key: sum(p.rows if p.rows is not None else p.nbytes for p in t[1])
            for f, t in zip(futures, tasks, strict=True)
        }
        with bar_of(pieces, progress) as bar:
            for done in _done(client, futures, stop):
                if done.status != "finished":
                    done.result()
                bar.update(weight[done.key])
        while len(futures) > 1:
            groups = [futures[i : i + FAN_IN] for i in range(0, len(futures), FAN_IN)]
            futures = [client.submit(join, g, pure=False) for g in groups]
            everything += futures
        return next(_done(client, futures, stop)).result()
    except BaseException as error:
        if client.status == "running":
            with suppress(KeyboardInterrupt):
                apart(partial(client.cancel, everything, force=True), stop)
        raise _lost(error) or error from None


def _done(client: Any, futures: Sequence[Any], stop: Stop) -> Iterator[Any]:
    """The futures as they end; KeyboardInterrupt once ``stop`` is set, an error where no worker is left to end them."""
    ended: queue.SimpleQueue[Any] = queue.SimpleQueue()
    for one in futures:
        one.add_done_callback(ended.put)
    left, seen, looked = len(futures), time.monotonic(), time.monotonic()
    while left:
        if stop.asked:
            raise KeyboardInterrupt
        try:
            yield ended.get(timeout=0.1)
        except queue.Empty:
            now = time.monotonic()
            if now - looked > 2:
                looked = now
                seen = now if client.nthreads() else seen
                if now - seen > ALONE:
                    raise WorkbenchError(
                        f"The workers were lost: none has been there for {ALONE:.0f} s; look at their logs, and start some."
                    ) from None
            continue
        left -= 1
        seen = looked = time.monotonic()


def _result(client: Any, future: Any) -> Any:
    """What a thread or a worker made."""
    if client is None:
        return future.result()
    try:
        return next(_done(client, [future], Stop())).result()
    except BaseException as error:
        raise _lost(error) or error from None


def _lost(error: BaseException) -> WorkbenchError | None:
    """A sentence in the place of what Dask raises where workers or their scheduler are gone."""
    name = type(error).__name__
    if name == "KilledWorker":
        why = "they died at the same rows again and again, mostly for want of memory; give each more of it, or start fewer"
    elif name in (
        "FutureCancelledError",
        "FuturesCancelledError",
        "CancelledError",
        "ClosedClientError",
        "CommClosedError",
    ):
        why = "their scheduler has stopped, or dropped the work; look at its log, and start it again"
    else:
        return None
    return WorkbenchError(f"The workers were lost ({name}): {why}.")


@contextmanager
def cluster(kind: str = "threads", *, size: int | None = None) -> Iterator[Workers]:
    """Workers for the length of a ``with`` block.

    kind: "threads" (this process), "processes" (local Dask workers), "cuda" (a worker a GPU by dask-cuda, partitions in
        cuDF), or a scheduler's address such as "tcp://10.0.0.5:8786".
    size: how many workers; None: one a core, or one a GPU.

    Raises WorkbenchError for an unknown kind, for "cuda" where driver, device or package is missing (it says which and
    how to get it), and for an address that nothing answers at.

    >>> with cluster("threads", size=2) as crew:
    ...     crew.kind, crew.size
    ('threads', 2)
    """
    if size is not None and (not isinstance(size, int) or size < 1):
        raise WorkbenchError(f"cluster({kind!r}) got size={size!r}; a whole number from 1 on is wanted.")
    if not isinstance(kind, str):
        raise WorkbenchError(_unknown(kind))
    if kind in ("", "threads"):
        yield Workers("threads", size or cores())
    elif kind == "processes":
        with _local(size or cores()) as client:
            yield Workers(kind, size or cores(), client)
    elif kind == "cuda":
        lacking = missing_for_cuda()
        if lacking:
            raise WorkbenchError(lacking)
        with _cuda(size) as (client, n):
            yield Workers(kind, n, client)
    elif "://" in kind or (":" in kind and kind.rsplit(":", 1)[1].isdigit()):
        with _address(kind) as client:
            n = len(client.scheduler_info(n_workers=-1)["workers"])
            if not n:
                raise WorkbenchError(f"The scheduler at {kind} has no workers; start some with `dask worker {kind}`.")
            yield Workers(kind, n, client)
    else:
        raise WorkbenchError(_unknown(kind))


def _unknown(kind: Any) -> str:
    return (
        f"cluster= got {kind!r}; the choices are 'threads', 'processes', 'cuda' or a scheduler's address such as "
        "'tcp://host:8786'."
    )


def workers(given: Any) -> Any:
    """The crew for a pass as a context: one that is open already stays open afterwards."""
    if isinstance(given, Workers):
        return nullcontext(given)
    return cluster(given or "threads")


def cores() -> int:
    """The processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def _local(size: int) -> Iterator[Any]:
    import dask
    from distributed import LocalCluster

    # what only a dashboard shows, every worker's stack a hundred times a second, is left out with the dashboard; that all
    # event loops look at the clock 50 times a second, and at the memory 10 times, costs a tenth of a processor
    quiet = {
        "distributed.worker.profile.enabled": False,
        "distributed.worker.memory.monitor-interval": "500ms",
        "distributed.admin.system-monitor.interval": "5s",
        "distributed.admin.tick.interval": "1s",
    }
    asked: dict[str, Any] = {"dashboard_address": "127.0.0.1:0", "scheduler_kwargs": {"dashboard": False}}
    asked |= {"n_workers": size, "threads_per_worker": 1, "silence_logs": 40}
    with dask.config.set(quiet), started(LocalCluster, **asked) as client:
        yield client


@contextmanager
def _address(address: str) -> Iterator[Any]:
    from distributed import Client

    try:
        with ThreadPoolExecutor(1) as apart:  # this thread may run a loop already
            apart.submit(_greet, address).result()
        client = Client(address, timeout=PATIENCE, set_as_default=False)
    except Exception as error:  # whatever answers there may send anything
        raise WorkbenchError(
            f"No Dask scheduler answers at {address} ({type(error).__name__}); start one with `dask scheduler`, or use "
            "cluster='threads'."
        ) from None
    log = logging.getLogger("distributed.client")
    level = log.level
    log.setLevel(logging.CRITICAL)  # of a scheduler that is gone there is a sentence, instead of its traceback
    try:
        with client:
            yield client
    finally:
        log.setLevel(level)


def _greet(address: str) -> None:
    """Raises where nobody answers, or somebody who is no scheduler: a client would not get away from either at once."""
    import asyncio

    from dask.utils import parse_timedelta
    from distributed.comm import connect
    from distributed.security import Security

    async def greet() -> None:
        asked = connect(address, timeout=PATIENCE, **Security().get_connection_args("client"))
        comm = await asyncio.wait_for(asked, parse_timedelta(PATIENCE))
        comm.abort()

    asyncio.run(greet())


@contextmanager
def _cuda(size: int | None) -> Iterator[tuple[Any, int]]:
    import dask
    from dask_cuda import LocalCUDACluster

    asked = {"n_workers": size, "dashboard_address": "127.0.0.1:0", "silence_logs": 40}
    with dask.config.set({"dataframe.backend": "cudf"}), started(LocalCUDACluster, **asked) as client:
        client.run(_use_cudf)
        yield client, len(client.scheduler_info(n_workers=-1)["workers"])


def _use_cudf() -> None:
    import dask

    dask.config.set({"dataframe.backend": "cudf"})


def missing_for_cuda() -> str:
    """One sentence on what "cuda" lacks on this machine and how to get it; empty when nothing is missing.

    NVML is asked for a driver and a device first, since ``import cudf`` succeeds without either; then one row is
    counted on the GPU.
    """
    from importlib.util import find_spec

    instead = "use cluster='threads' meanwhile"
    driver = _driver()
    if driver:
        return f"cluster='cuda' needs an NVIDIA GPU, and {driver}; {instead}."
    lacking = [p for p in ("dask_cuda", "cudf", "cupy") if find_spec(p) is None]
    if lacking:
        return (
            f"cluster='cuda' needs the package{'s' if len(lacking) > 1 else ''} {', '.join(lacking)}: "
            f"install workbench[gpu]; {instead}."
        )
    try:
        import cudf

        if int(cudf.Series([1]).sum()) != 1:
            raise RuntimeError("a sum of one row came out wrong")
    except Exception as error:
        return f"cluster='cuda' cannot compute on the GPU ({type(error).__name__}: {str(error)[:200]}); {instead}."
    return ""


def _driver() -> str:
    try:
        import pynvml
    except ImportError:
        return "NVML cannot be asked for one (install workbench[gpu], which brings nvidia-ml-py, and a driver)"
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        return f"no NVIDIA driver answers ({error}): install one, or run on a machine that has it"
    try:
        if not pynvml.nvmlDeviceGetCount():
            return "the driver sees no device: check `nvidia-smi` and CUDA_VISIBLE_DEVICES"
    finally:
        pynvml.nvmlShutdown()
    return ""
