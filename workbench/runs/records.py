"""Run folders as records: `runs/<notebook>/<UTC time>/run.json` read, listed, and the unfinished ones told apart.

A run is written in a folder whose name starts with a dot and ends in `.partial`, and renamed when it is over. So a
folder without the dot is always whole; one with it is a run at work or one whose process was killed.
"""

from __future__ import annotations

import json
import os
import re
import socket
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from workbench.errors import WorkbenchError, masked
from workbench.runs import secrets

NAME = re.compile(r"(\d{8}T\d{6}Z)(?:-(\d+))?")
SECRET = re.compile(r"(^|_)(password|passwd|secret|token|api_?key|access_?key|credentials?)$", re.IGNORECASE)


@dataclass(frozen=True)
class Record:
    """One run as its folder tells it; `told` is the whole run.json."""

    folder: Path
    status: str  # "running", "good" or "failed"
    notebook: str
    parameters: dict[str, Any] = field(default_factory=dict)
    headline: list[dict[str, Any]] = field(default_factory=list)
    started: str = ""
    ended: str | None = None
    source: str | None = None
    source_version: str | None = None
    error: dict[str, Any] | None = None
    told: dict[str, Any] = field(default_factory=dict)


def runs_dir(given: str | Path | None = None) -> Path:
    """The folder of runs: the given one, else the environment's WORKBENCH_RUNS, else ./runs."""
    return Path(given or os.environ.get("WORKBENCH_RUNS") or "runs").expanduser()


def read_record(folder: str | Path) -> Record:
    """The record of a run folder. A run.json that cannot be read makes a `failed` record that says so.

    Raises WorkbenchError when the folder holds no run.json.
    """
    folder = Path(folder)
    try:
        told = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        if not isinstance(told, dict):
            raise ValueError("not an object")
    except FileNotFoundError:
        raise WorkbenchError(f"{str(folder)!r} is no run folder: it holds no run.json.") from None
    except (ValueError, OSError) as error:
        problem = {"cell": None, "name": "unreadable", "message": f"run.json cannot be read: {error}"}
        return Record(folder, "failed", folder.parent.name, error=problem)
    status = str(told.get("status", "failed"))
    if partial(folder) and status != "running":
        status = "running"  # over but not yet renamed: its results count when the folder has its name
    return Record(
        folder,
        status,
        str(told.get("notebook") or folder.parent.name),
        told.get("parameters") or {},
        told.get("headline") or [],
        told.get("started") or "",
        told.get("ended"),
        told.get("source"),
        told.get("source_version"),
        told.get("error"),
        told,
    )


def list_runs(runs: str | Path, notebook: str | None = None, *, running: bool = False) -> list[Record]:
    """The finished runs under a folder of runs, newest first; with `running`, the unfinished ones among them."""
    found = []
    for folder in _folders(Path(runs), notebook):
        if partial(folder) and not running:
            continue
        try:
            found.append(read_record(folder))
        except WorkbenchError:
            continue  # renamed, removed, or somebody else's folder
    return sorted(found, key=_order, reverse=True)


def latest_good(runs: str | Path, notebook: str) -> Record | None:
    """The newest good run of a notebook, None when it has none."""
    return next((record for record in list_runs(runs, notebook) if record.status == "good"), None)


def find_run(runs: str | Path, name: str) -> Record:
    """The run that a person means: a run folder's path, `notebook/time`, or a notebook's name for its newest run.

    Raises WorkbenchError naming what was looked for and the notebooks that have runs.
    """
    for folder in (Path(name).expanduser(), Path(runs) / name):
        if (folder / "run.json").is_file():
            return read_record(folder)
        beside = folder.parent / f".{folder.name}.partial"
        if (beside / "run.json").is_file():
            return read_record(beside)
    found = list_runs(runs, name.rstrip("/"), running=True) if name and "/" not in name.rstrip("/") else []
    if found:
        return found[0]
    known = sorted({record.notebook for record in list_runs(runs, running=True)})
    some = f"a notebook that has runs: {', '.join(known)}" if known else "run a notebook first (there is no run yet)"
    raise WorkbenchError(f"There is no run {name!r} under {str(runs)!r}; give a run folder, or {some}.")


def where(error: Mapping[str, Any]) -> str:
    """ " in cell 4 (cell-4): rows['x']" of the error of a run; "" where none is known, or the message says it itself.

    >>> where({"cell": 4, "id": "c", "line": "rows['x']", "name": "KeyError", "message": "'x'"})
    " in cell 4 (c): rows['x']"
    """
    cell = error.get("cell")
    if cell is None or f"cell {cell} " in str(error.get("message")):
        return ""
    return f" in cell {cell} ({error.get('id')}): {error.get('line')}"


def partial(folder: Path) -> bool:
    """True for the folder of a run that is not over."""
    return folder.name.startswith(".") and folder.name.endswith(".partial")


def plain_name(folder: Path) -> str:
    """The name a run folder has when it is over: `.20261123T203000Z.partial` -> `20261123T203000Z`."""
    return folder.name[1 : -len(".partial")] if partial(folder) else folder.name


def named_time(folder: Path) -> str:
    """The moment that a run folder is named by, as ISO text: `20261123T203000Z-1` -> `2026-11-23T20:30:00Z`; "" without one."""
    match = NAME.fullmatch(plain_name(folder))
    return datetime.strptime(match[1], "%Y%m%dT%H%M%SZ").isoformat() + "Z" if match else ""


def shown(headline: dict[str, Any]) -> str:
    """A headline's value and unit as a person reads them: '1,234 rows', '0.125', 'none'."""
    value = headline.get("value")
    text = (
        "none"
        if value is None
        else f"{value:,}"
        if isinstance(value, int) and not isinstance(value, bool)
        else str(value)
    )
    text = f"{value:,.6g}" if isinstance(value, float) else text
    return f"{text} {headline.get('unit') or ''}".strip()


def now() -> str:
    """This moment as ISO text in UTC, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


# --- writing, and processes that are gone ----------------------------------------------------------------------------


def write_json(path: Path, told: dict[str, Any], *, flush: bool = True) -> None:
    """Writes a JSON file whole or not at all; NaN and infinities have no place in JSON and become null."""
    text = json.dumps(secrets.scrub(plain(told)), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    write_whole(path, lambda aside: aside.write_text(text, encoding="utf-8"), flush=flush)


def write_whole(path: Path, write: Callable[[Path], Any], *, flush: bool = True) -> None:
    """Lets `write` fill a file aside, flushes it to disk and renames it to `path`: a reader sees the old or the new.

    Without ``flush`` that holds when processes are killed, not when the machine stops: enough for what a run writes anew
    with every cell.
    """
    handle, name = tempfile.mkstemp(prefix=".", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    aside = Path(name)
    try:
        write(aside)
        secrets.scrub_file(aside, path.name)
        if flush:
            with aside.open("rb+") as file:
                os.fsync(file.fileno())
        aside.chmod(0o666 & ~_umask())
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def plain(value: Any) -> Any:
    """`value` as JSON has it: numpy scalars as numbers, times as ISO text, NaN and infinities as None, else text."""
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:
        value = value.item()
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else None
    if isinstance(value, dict):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def without_secrets(value: Any, name: str = "") -> Any:
    """`value` with passwords in addresses, and values whose name says password, secret, token or key, as `***`.

    >>> without_secrets("s3://me:word@host/table?sig=abc&part=1")
    's3://***@host/table?sig=***&part=1'
    """
    if secrets.is_reference(value):
        return value  # it tells where the secret is, not what it is
    if name and SECRET.search(name) and value not in (None, ""):
        return "***"
    if isinstance(value, str):
        return masked(value)
    if isinstance(value, dict):
        return {key: without_secrets(one, str(key)) for key, one in value.items()}
    return [without_secrets(one) for one in value] if isinstance(value, (list, tuple)) else value


def process(pid: int) -> dict[str, Any]:
    """What identifies a process for good: host, number and start (a number alone is given again)."""
    return {"host": socket.gethostname(), "pid": pid, "since": since_of(pid)}


def alive(told: dict[str, Any] | None) -> bool | None:
    """Whether a process told by `process` still runs; None when it belongs to another machine and cannot be known."""
    if not told:
        return False
    if told.get("host") != socket.gethostname():
        return None
    since = since_of(int(told["pid"]))
    return since is not None and abs(since - float(told.get("since") or 0)) < 2


def since_of(pid: int) -> float | None:
    import psutil

    try:
        this = psutil.Process(pid)
        return None if this.status() == psutil.STATUS_ZOMBIE else this.create_time()
    except psutil.Error:
        return None


def _folders(runs: Path, notebook: str | None) -> list[Path]:
    parents = [runs / notebook] if notebook else _inside(runs)
    return [f for parent in parents for f in _inside(parent) if NAME.fullmatch(plain_name(f))]


def _inside(folder: Path) -> list[Path]:
    try:
        return [Path(entry.path) for entry in os.scandir(folder) if entry.is_dir()]
    except (FileNotFoundError, NotADirectoryError):
        return []


def _order(record: Record) -> tuple[str, int, str]:
    match = NAME.fullmatch(plain_name(record.folder))
    return (match[1], int(match[2] or 0), record.notebook) if match else ("", 0, record.notebook)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
