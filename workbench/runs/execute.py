"""A notebook and its parameters become a run folder: papermill executes, this module watches and writes the record.

papermill's own notes in the notebook call a killed kernel completed. What is true here is whether papermill came back
without an error and the kernel was alive at the end; run.json says so, and the notebook's notes are put right.
"""

from __future__ import annotations

import json
import os
import platform
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from workbench.runs import kernels
from workbench.runs.attempts import scheduled
from workbench.runs.context import KERNEL_FILE
from workbench.runs.executed import executed_cells, kernel_told, left_early, put_right, stopped_cell
from workbench.runs.notebooks import notebook_hash, read_cells
from workbench.runs.records import (
    Record,
    alive,
    list_runs,
    named_time,
    now,
    partial,
    plain,
    plain_name,
    process,
    read_record,
    where,
    without_secrets,
    write_json,
)

Report = Callable[[Path, Path], Any]
NAMED = (
    "numpy",
    "pandas",
    "pyarrow",
    "xarray",
    "dask",
    "distributed",
    "numba",
    "holoviews",
    "panel",
    "bokeh",
    "papermill",
)
RESERVE = ".reserve"  # given up when the record is written, so that a full disk can still be told
RESERVE_BYTES = 65_536
PATIENCE_S = 1.0  # between asking a kernel to stop and ending it


class LeftEarlyError(Exception):
    """A notebook left by `sys.exit` before its last cell."""


@dataclass
class Stop:
    """A request to end a run, from a signal or from another thread; `reason` is "" while nobody asked."""

    reason: str = ""
    message: str = ""

    def ask(self, reason: str, message: str) -> None:
        """Asks once; the first reason stays."""
        if not self.reason:
            self.message = message
            self.reason = reason


@dataclass
class Work:
    """What the thread that executes has come to."""

    kernel: kernels.Kernel | None = None
    error: BaseException | None = None
    done: bool = False  # all is over: a request to stop that comes now comes too late
    report: dict[str, Any] = field(default_factory=dict)


def run_notebook(
    notebook: str | Path,
    given: Mapping[str, Any],
    runs: str | Path,
    *,
    used: Mapping[str, Any] | None = None,
    timeout: float | None = None,
    report: Report | None = None,
    stop: Stop | None = None,
    say: Callable[[str], Any] = lambda line: None,
    bar: bool = False,
    again: str | None = None,
    known_as: Path | None = None,
) -> Record:
    """The record of one execution in `runs/<notebook>/<UTC time>/`: notebook.ipynb, run.json, what the notebook left.

    `given` are the parameters that papermill injects, already typed (see `parameters.resolve`); `used` the ones the run
    will have, kept in the record when the notebook does not come as far as `begin`. `timeout` is a deadline in seconds
    for the whole run, `again` the folder of the run that this one repeats, `known_as` the path that the record tells of a
    notebook that is a copy. `report(executed notebook, folder)` writes the
    report; if it raises, the run keeps its status and the record says so. A notebook that fails, a kernel that dies, an
    interrupt and a deadline all give a record of status "failed" whose `error` tells them apart; only a folder that
    cannot be made or written raises (OSError).
    """
    notebook = Path(notebook)
    parent = Path(runs) / notebook.stem
    parent.mkdir(parents=True, exist_ok=True)
    close_stale(parent)
    stop, work = stop or Stop(), Work()
    folder = new_folder(parent)
    say(f"{notebook.stem}: running in {parent / plain_name(folder)}")
    cells = read_cells(notebook)
    began = time.monotonic()
    told: dict[str, Any] = {
        "status": "running",
        "notebook": notebook.stem,
        "notebook_hash": notebook_hash(cells),
        "notebook_path": str((known_as or notebook).absolute()),
        "directory": os.getcwd(),
        "parameters": without_secrets(dict(used if used is not None else given)),
        "source": None,
        "source_version": None,
        "package_version": package_version(),
        "started": now(),
        "ended": None,
        "headline": [],
        "process": process(os.getpid()),
        "room": kernels.room_name(),
        **({"again": again} if again else {}),
        **({"scheduled": told_by} if (told_by := scheduled(os.environ)) else {}),
    }
    (folder / RESERVE).write_bytes(os.urandom(RESERVE_BYTES))
    write_json(folder / "run.json", told)

    def body() -> None:
        try:
            _execute(notebook, folder, given, work, stop, bar, told["room"])
        except BaseException as error:  # kept, and told by the main thread
            work.error = error
            if not stop.reason:  # else the main thread does it, when the kernel is gone
                put_right(folder)
        if report is not None and not stop.reason:
            work.report = _report(report, folder, told | _truth(folder, work, stop))
        work.done = True
        kernels.close_loop()

    thread = threading.Thread(target=body, name="workbench-run", daemon=True)
    thread.start()
    _watch(thread, work, stop, folder, told, None if timeout is None else began + timeout, say)
    told.update(_ending(folder, work, stop))
    told["duration_s"] = round(time.monotonic() - began, 3)
    return _finish(folder, told)


def same_run(notebook: Path, used: Mapping[str, Any], runs: Path) -> Record | None:
    """The newest good run of the same notebook text, parameters and package version, whose tables are still of the
    version that it read; None when there is none."""
    told = notebook_hash(read_cells(notebook)), without_secrets(plain(dict(used))), package_version()
    for record in list_runs(runs, notebook.stem):
        same = (record.told.get("notebook_hash"), record.parameters, record.told.get("package_version")) == told
        if record.status == "good" and same and _unchanged(record):
            return record
    return None


def _unchanged(record: Record) -> bool:
    from workbench import open_table

    try:
        return all(open_table(one["source"]).version == one["version"] for one in record.told.get("sources") or [])
    except (ValueError, OSError):
        return False  # gone, moved, or its address is kept without the password


def new_folder(parent: Path) -> Path:
    """A new partial folder under `parent`, named by the second in UTC, with -1, -2 ... for runs of the same second."""
    while True:
        second = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        for number in range(1000):
            name = f"{second}-{number}" if number else second
            folder = parent / f".{name}.partial"
            with suppress(FileExistsError):
                folder.mkdir()
                if not (parent / name).exists():
                    return folder
                folder.rmdir()


def close_stale(parent: Path) -> list[Record]:
    """The `failed` records made of the partial folders whose process is gone; kernels left behind are ended."""
    closed = []
    for folder in [one for one in parent.iterdir() if partial(one)]:
        try:
            told = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            if time.time() - folder.stat().st_mtime < 60:
                continue  # being made right now
            told = {"notebook": parent.name, "started": named_time(folder)}
        if alive(told.get("process")) is not False:
            continue
        if alive(told.get("kernel")):
            kernels.end_group(int(told["kernel"]["pid"]))
        kernels.remove_room(str(told.get("room", "")))
        cell = stopped_cell(folder)
        told.update(kernel_told(folder))
        told.update(
            status="failed",
            ended=told.get("ended") or now(),
            error={
                **cell,
                "name": "killed",
                "message": "the process of this run was ended before the run was over" + where(cell),
            },
        )
        with suppress(OSError):  # another run closes it at this moment
            closed.append(_finish(folder, told))
    return closed


def package_version() -> str:
    """The version of this package."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("workbench")
    except PackageNotFoundError:
        return str(getattr(__import__("workbench"), "__version__", "0"))


def _execute(
    notebook: Path, folder: Path, given: Mapping[str, Any], work: Work, stop: Stop, bar: bool, room: str
) -> None:
    if stop.reason:
        raise InterruptedError(stop.message)
    work.kernel = kernels.start({**os.environ, "WORKBENCH_RUN": str(folder.resolve())}, room)
    try:
        kernels.execute(work.kernel, notebook, folder / "notebook.ipynb", dict(given), bar)
    finally:
        kernels.end(work.kernel)
    if early := left_early(folder):  # papermill takes sys.exit(0) for a good end
        raise LeftEarlyError(early + where(stopped_cell(folder)))


def _report(report: Report, folder: Path, told: dict[str, Any]) -> dict[str, Any]:
    try:
        write_json(folder / "run.json", told)  # the report tells what the record will tell
        report(folder / "notebook.ipynb", folder)
        return {"report": "good"}
    except Exception as error:
        return {"report": "failed", "report_message": without_secrets(f"{type(error).__name__}: {error}")}


def _watch(
    thread: threading.Thread,
    work: Work,
    stop: Stop,
    folder: Path,
    told: dict[str, Any],
    deadline: float | None,
    say: Callable[[str], Any],
) -> None:
    """Waits for the thread; on a request to stop asks the kernel to interrupt, then ends it and all its children."""
    noted, spoken = False, time.monotonic()
    while thread.is_alive() and not stop.reason:
        thread.join(0.1)
        if work.kernel is not None and not noted:
            noted = True
            told["kernel"] = process(work.kernel.pid)
            with suppress(OSError):
                write_json(folder / "run.json", told)
        if deadline is not None and time.monotonic() > deadline:
            stop.ask("timeout", "the deadline of the run has passed")
        if time.monotonic() - spoken > 20:
            spoken = time.monotonic()
            say(f"{told['notebook']}: still running{where(stopped_cell(folder))}")
    if thread.is_alive():
        if work.kernel is not None:
            kernels.interrupt(work.kernel.pid)
        thread.join(PATIENCE_S)
        if work.kernel is not None:
            kernels.end_group(work.kernel.pid)
        thread.join(3.0)


def _ending(folder: Path, work: Work, stop: Stop) -> dict[str, Any]:
    """What a run that is over adds to its record."""
    found = _truth(folder, work, stop)
    cells, error = executed_cells(folder), found.get("error")
    if error is not None:
        for one in cells:
            if error["cell"] is not None and one["cell"] >= error["cell"]:
                one.update(status="failed" if one["cell"] == error["cell"] else "not run")
        if stop.reason:
            put_right(folder)
    forked = {"kernel_forked": work.kernel.forked} if work.kernel is not None else {}
    return {**found, **work.report, **software(), **forked, "cells": cells}


def _truth(folder: Path, work: Work, stop: Stop) -> dict[str, Any]:
    """What became of a run: status and error, and what its notebook told."""
    error = _error(folder, work, stop)
    found = {"status": "good"} if error is None else {"status": "failed", "error": error}
    return {"ended": now(), **kernel_told(folder), **found}


def _error(folder: Path, work: Work, stop: Stop) -> dict[str, Any] | None:
    error = work.error
    stopped = bool(stop.reason) and (not work.done or error is not None)
    if error is None and not stopped:
        return None
    cell = stopped_cell(folder)
    if stopped:
        return {**cell, "name": stop.reason, "message": stop.message + where(cell)}
    name, message = type(error).__name__, str(error)
    if name == "PapermillExecutionError":
        name, message = str(getattr(error, "ename", name)), str(getattr(error, "evalue", message))
    elif name == "DeadKernelError" or "Kernel died" in message or (work.kernel and work.kernel.died):
        how = work.kernel.died if work.kernel else ""
        name, message = "kernel died", f"the kernel died{how}{where(cell)}"
    return {**cell, "name": name, "message": without_secrets(message)[:4000]}


def software() -> dict[str, Any]:
    """The versions of Python and of the libraries that figures depend on."""
    from importlib.metadata import PackageNotFoundError, version

    versions = {}
    for name in NAMED:
        with suppress(PackageNotFoundError):
            versions[name] = version(name)
    return {"python": platform.python_version(), "versions": versions}


def _finish(folder: Path, told: dict[str, Any]) -> Record:
    from workbench.tables import lineage

    for name in (RESERVE, KERNEL_FILE):
        (folder / name).unlink(missing_ok=True)
    told = {key: value for key, value in told.items() if key not in ("process", "kernel", "room")}
    told |= lineage.of_run(folder, told, lineage.events_file(folder.parent.parent))
    write_json(folder / "run.json", told)
    final = folder.with_name(plain_name(folder))
    folder.rename(final)
    return read_record(final)
