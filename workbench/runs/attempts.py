"""One attempt at a window as processes: started in a session of its own, watched, ended with everything it has started.

Every process of an attempt carries the attempt's id in its environment (WORKBENCH_SCHEDULED), and so do the kernels and
workers that it starts: what is left of an attempt is found by that, whoever its parent was.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from workbench.errors import WorkbenchError
from workbench.runs.records import NAME, Record, read_record, since_of, where

VARIABLE = "WORKBENCH_SCHEDULED"
# The command waits for a word from its scheduler, which first writes down the process: a scheduler that is killed in
# between leaves a process that reads the end of the pipe and goes.
GATE = 'read -r go || exit 3; [ "$0" = 0 ] || ulimit -d "$0"; exec "$@" </dev/null'
TERM_S = 8.0  # between asking a run to end and ending it
TAIL = 2000  # bytes of a log that are told


@dataclass
class Attempt:
    """A running attempt: its id, window, process and deadline; ``asked`` is when it was told to end, ``why`` the reason."""

    id: str
    entry: str
    logical: str
    notebook: str
    tries: int
    pid: int
    since: float
    started: float
    deadline: float
    log: Path
    process: subprocess.Popen[bytes] | None = None
    asked: float | None = None
    why: str = ""
    told: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """What became of an attempt: state good, failed or lost, kind and words of the failure, its cell, the run's folder."""

    state: str
    kind: str = ""
    message: str = ""
    cell: int | None = None
    run: Path | None = None
    record: Record | None = None


def start(
    command: Sequence[str],
    environment: Mapping[str, str],
    log: Path,
    ready: Callable[[int, float], bool],
    memory: int = 0,
) -> tuple[subprocess.Popen[bytes], float] | None:
    """The process of a command and its start, once ``ready(pid, since)`` has written them down; None when that says no.

    ``memory`` limits the data of each process of the command, in bytes; 0 does not.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    pipe, go = os.pipe()
    try:
        with log.open("wb") as out:
            process = subprocess.Popen(
                ["/bin/sh", "-c", GATE, str(memory // 1024), *command],
                env=dict(environment),
                stdin=pipe,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        since = since_of(process.pid) or time.time()
        if not ready(process.pid, since):
            os.close(go)
            go = -1
            process.wait(10)
            return None
        with suppress(BrokenPipeError):  # it was killed in this moment; who waits for it will see
            os.write(go, b"go\n")
        return process, since
    finally:
        for one in (pipe, go):
            if one >= 0:
                os.close(one)


def over(attempt: Attempt) -> bool:
    """Whether the process of an attempt is gone."""
    if attempt.process is not None:
        return attempt.process.poll() is not None
    since = since_of(attempt.pid) if attempt.pid > 0 else None  # 0: none was written down, so none went on
    return since is None or abs(since - attempt.since) > 2


def ask(attempt: Attempt, why: str, clock: float, number: int = signal.SIGTERM) -> None:
    """Asks an attempt to end, or ends it when it was asked long enough ago."""
    if attempt.asked is None:
        attempt.asked, attempt.why = clock, why
        _signal(attempt.pid, number)
    elif clock - attempt.asked > TERM_S:
        sweep(attempt.id)


def _signal(pid: int, number: int) -> None:
    if pid > 0:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, number)


def sweep(attempt: str) -> int:
    """Ends every process of this machine that carries the id of an attempt; gives how many there were."""
    import psutil

    from workbench.runs.warm import kernels_of

    ended: set[int] = set()
    for _ in range(50):  # one that is being started while we look is found when we look again
        forked = kernels_of(attempt)
        there = [one for one in psutil.process_iter() if one.pid != os.getpid()]
        found = [one for one in there if one.pid in forked or _carries(one, attempt)]
        if not found:
            break
        for one in found:
            ended.add(one.pid)
            with suppress(psutil.Error, OSError):
                one.kill()
        psutil.wait_procs(found, timeout=2)
    return len(ended)


def _carries(process: Any, attempt: str) -> bool:
    import psutil

    try:
        return process.status() != psutil.STATUS_ZOMBIE and attempt in process.environ().get(VARIABLE, "")
    except (psutil.Error, OSError):
        return False


def environment(entry: str, logical: str, attempt: str) -> dict[str, str]:
    """The environment of an attempt: this process's, and what its run is to write in its record."""
    told = {"entry": entry, "window": logical, "attempt": attempt}
    kept = {name: value for name, value in os.environ.items() if name not in (VARIABLE, "WORKBENCH_RUN")}
    return {**kept, VARIABLE: json.dumps(told)}


def scheduled(environment: Mapping[str, str] = os.environ) -> dict[str, Any] | None:
    """What the environment of a run says of its schedule: entry, window and attempt; None outside a schedule."""
    try:
        told = json.loads(environment.get(VARIABLE, ""))
        return dict(told) if isinstance(told, dict) else None
    except ValueError:
        return None


def find_record(runs: Path, notebook: str, attempt: str, since: float) -> Record | None:
    """The finished run that an attempt has left, whose process began at ``since``; None where there is none."""
    first = datetime.fromtimestamp(max(0.0, since - 3600), UTC).strftime("%Y%m%dT%H%M%SZ")  # clocks are set back, too
    with suppress(FileNotFoundError):
        names = [one for one in os.listdir(runs / notebook) if NAME.fullmatch(one) and one >= first]
        for name in sorted(names, reverse=True):
            with suppress(WorkbenchError):
                record = read_record(runs / notebook / name)
                if (record.told.get("scheduled") or {}).get("attempt") == attempt:
                    return record
    return None


def settle(attempt: Attempt, runs: Path) -> Outcome:
    """What became of an attempt whose process is gone: leftovers are ended, an unfinished folder is closed."""
    from workbench.runs.execute import close_stale

    sweep(attempt.id)
    record = find_record(runs, attempt.notebook, attempt.id, attempt.since)
    if record is None and (runs / attempt.notebook).is_dir():
        close_stale(runs / attempt.notebook)
        record = find_record(runs, attempt.notebook, attempt.id, attempt.since)
    code = attempt.process.poll() if attempt.process is not None else None
    outcome = _outcome(attempt, record, code)
    if outcome.state == "good":
        attempt.log.unlink(missing_ok=True)
    return outcome


def _outcome(attempt: Attempt, record: Record | None, code: int | None) -> Outcome:
    if record is not None and record.status == "good":
        return Outcome("good", run=record.folder, record=record)
    if record is not None:
        error = record.error or {}
        name, said = str(error.get("name", "")), str(error.get("message", ""))
        kind = attempt.why if attempt.why and name in ("interrupted", "killed") else kind_of(name, said)
        message = said if kind_of(name, said) != "error" else f"{name}: {said}"
        return Outcome("failed", kind, f"{message}{where(error)}", error.get("cell"), record.folder, record)
    said = _tail(attempt.log)
    if attempt.why:
        return Outcome("failed", attempt.why, f"the run was ended by its scheduler ({attempt.why}) and left no record")
    if code is not None and code >= 0:
        kind = kind_of("", said)
        kind = kind if kind != "error" else "refused" if code == 2 else "lost"
        return Outcome(
            "failed", kind, f"the command ended with exit code {code} and left no record: {said or 'no words'}"
        )
    how = "" if code is None else f" ({signal.Signals(-code).name})"
    return Outcome(
        "lost" if code is None else "failed", "lost" if code is None else "killed", f"the run was killed{how}"
    )


DISK = (
    "No space left on device",
    "Disk quota exceeded",
    "File too large",
    "[Errno 28]",
    "[Errno 122]",
    "database or disk is full",
)


DEAD = ("kernel died", "KilledWorker", "CommClosedError", "BrokenProcessPool")  # a process that the run needs is gone


def kind_of(name: str, message: str) -> str:
    """The kind of a failure, by the name and the words of a record's error.

    >>> kind_of("MemoryError", ""), kind_of("OSError", "[Errno 28] No space left on device"), kind_of("KeyError", "'x'")
    ('memory', 'disk', 'error')
    >>> kind_of("WorkbenchError", "The workers were lost (KilledWorker): ...")
    'died'
    """
    if name in ("timeout", "killed"):
        return name
    if name == "interrupted":
        return "killed"
    if (
        name in ("MemoryError", "_ArrayMemoryError", "ArrowMemoryError", "OutOfMemoryError")
        or "out of memory" in message
    ):
        return "memory"
    if any(one in message for one in DISK):
        return "disk"
    gone = "Nanny failed to start" in message or "The workers were lost" in message
    return "died" if name in DEAD or gone else "error"


def _tail(log: Path) -> str:
    from workbench.runs.records import without_secrets

    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - TAIL))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return str(without_secrets(" / ".join(lines[-4:])))[:800]
