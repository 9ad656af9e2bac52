"""A store that a cube grows in: each pass counts only the files that the store has not seen.

A folder holds one cube file a *leaf* (the counts of one large file, or of some small ones), merged cubes of eight leaves
or merges each, the total of them all, and ``manifest.json``, which names what belongs together. Cube files are never
changed; a commit is the atomic replacement of the manifest, so that a reader, and a kill at any moment, see the state
before or after it.

Adding a day reads its rows, writes its leaf, adds it to the total and now and then merges eight cubes: the cost does not
grow with the days that are stored. The merges are there for a rewritten file, whose counts cannot be taken out of a
total: what is left is then summed from a few of them.
"""

from __future__ import annotations

import json
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.errors import WorkbenchError

if TYPE_CHECKING:
    import xarray as xr

LEAF_ROWS = 1_000_000  # small files are counted together up to about this
FAN_IN = 8
KEPT = 600.0  # seconds that a file which no manifest names any more stays, for readers of the one before
OURS = ("leaf-", "merge-", "total-", ".leaf-", ".merge-", ".total-", ".manifest.")  # what a store's files begin with
WAIT = 600.0  # seconds to wait for another writer


def count_onto(
    folder: str | Path,
    table: Any,
    axes: tuple,
    of: Any,
    *,
    cluster: Any = None,
    plan: xr.Dataset | None = None,
    progress: bool | None = None,
) -> xr.Dataset:
    """Count what the store has not seen of a table, commit it, and give the sum of all that is stored.

    Files are known by their path under the source, their size and content (a Parquet file's footer, the ends of a text
    file) and the time of their writing. A rewritten file is counted anew, alone with those that share its leaf; the cube's
    attribute ``recounted`` names it. One whose time alone is new is read again to see whether it is another, and one that
    was renamed is known by the three others. Not seen is a file that was rewritten with the same size, ends and time.

    A file that is gone from a folder stays counted, and the attribute ``gone_files`` says how many are; one that the version
    of a Delta table does not have any more (rows deleted or replaced, files compacted) is taken out, and the attribute
    ``removed`` names it. Run twice, the second pass reads nothing.

    A column that the store has no value of yet becomes of the kind that its first values are of. Unsigned 64-bit integers
    are numbers, whatever their first values are.

    Raises WorkbenchError where the store holds cubes of another recipe or another folder's files of the same names, lies
    among the table's own files, or a rewritten file shares its leaf with one that is gone.
    """
    from workbench.clusters import workers
    from workbench.cubes import seen
    from workbench.cubes.algebra import add, alike
    from workbench.cubes.recipes import as_stored, same_recipe, unsigned_as_numbers
    from workbench.cubes.scan import finished, plan_columns, run
    from workbench.cubes.store import open_cube, save_cube

    folder = Path(folder)
    if not hasattr(table, "files"):
        raise WorkbenchError("cube(..., onto=store) wants a table of files from open_table(); this one is in memory.")
    seen.beside(folder, table)
    _made(folder)
    with _writer(folder):
        state = _manifest(folder)
        first = _sum(folder, state) if state["leaves"] else None
        table = unsigned_as_numbers(table, axes) if first is None else as_stored(table, first)
        columns = plan_columns(table, axes, of, first if first is not None else plan)
        if first is not None:
            columns = same_recipe(folder, first, table, columns, axes)

        def counted(group: list[int], crew: Any) -> xr.Dataset:
            return finished(run(table, table.pieces(group), columns, axes, crew, progress), table, columns, axes)

        seen.one_source(folder, state, table)
        renewed, rewritten = seen.moved(state, table), []
        doubted = seen.doubted(state, table)
        if doubted:
            with workers(cluster) as crew:
                for leaf, group in doubted.items():
                    if alike(counted(group, crew), open_cube(folder / leaf)):
                        state["leaves"][leaf] = seen.marks(table, group)
                        renewed = True
                    else:
                        rewritten.append(leaf)
        todo, recounted, removed = seen.unseen(folder, state, table, rewritten, LEAF_ROWS)
        fresh: list[xr.Dataset] = []
        total = first if not recounted and not removed else None
        if todo or removed:
            with workers(cluster) as crew:
                for group in todo:
                    name = f"leaf-{secrets.token_hex(8)}.nc"
                    fresh.append(counted(group, crew))
                    save_cube(fresh[-1], folder / name)
                    state["leaves"][name] = seen.marks(table, group)
                    state["nodes"].append({"file": name, "level": 0, "leaves": [name]})
            _merge(folder, state)
            if total is not None:
                total = add(total, *fresh)
            elif state["nodes"]:
                total = _of_nodes(folder, state)
            else:
                total = finished(run(table, [], columns, axes, None, progress), table, columns, axes)
            state["total"] = f"total-{secrets.token_hex(8)}.nc"
            save_cube(total, folder / state["total"])
            state["commits"] += 1
            state["committed"] = datetime.now(UTC).isoformat(timespec="seconds")
            state["source_version"] = str(table.version)
            state["source"] = seen.place(table) if table.files else ""
            _commit(folder, state)
            _sweep(folder, state)
        elif renewed:
            state["commits"] += 1
            _commit(folder, state)
    if total is None:
        return finished(run(table, [], columns, axes, None, progress), table, columns, axes)
    total.attrs["source"] = str(table.source)
    total.attrs["source_version"] = str(table.version)
    total.attrs["counted_files"] = len([i for group in todo for i in group])
    stored = [path for files in state["leaves"].values() for path in files]
    total.attrs["stored_files"] = len(stored)
    total.attrs["gone_files"] = len(set(stored) - {file.relative for file in table.files})
    total.attrs["recounted"] = json.dumps(recounted)
    total.attrs["removed"] = json.dumps(removed)
    return total


def open_store(folder: str | Path) -> xr.Dataset:
    """The sum of all that a store holds. Raises WorkbenchError when there is no store in the folder."""
    folder = Path(folder)
    for _ in range(5):
        state = _manifest(folder)
        if not state["leaves"]:
            raise WorkbenchError(f"There is no cube store at {folder}; cube(table, onto={str(folder)!r}) makes one.")
        try:
            return _sum(folder, state)
        except WorkbenchError:
            if _manifest(folder)["commits"] == state["commits"]:
                raise
            continue  # a writer has committed meanwhile
    raise WorkbenchError(f"The store at {folder} changes faster than it can be read; try again.")


def _made(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WorkbenchError(f"onto={str(folder)!r} cannot be a folder ({error.strerror}): name another.") from None


def _manifest(folder: Path) -> dict[str, Any]:
    path = folder / "manifest.json"
    if not path.exists():
        return {"format": 1, "commits": 0, "leaves": {}, "nodes": [], "total": ""}
    try:
        state = json.loads(path.read_text())
        if state["format"] != 1:
            raise KeyError(state["format"])
        if not isinstance(state["leaves"], dict) or not isinstance(state["nodes"], list):
            raise TypeError("no leaves")
        return {"total": "", **state}
    except (ValueError, KeyError, TypeError) as error:
        raise WorkbenchError(f"{path} is not the manifest of a cube store ({error!r}); name another folder.") from error


def _commit(folder: Path, state: dict[str, Any]) -> None:
    aside = folder / f".manifest.{secrets.token_hex(4)}.partial"
    with open(aside, "w") as f:
        f.write(json.dumps(state))  # at once, which is compiled: of a year of days it is 40 KB
        f.flush()
        os.fsync(f.fileno())
    os.replace(aside, folder / "manifest.json")


def _merge(folder: Path, state: dict[str, Any]) -> None:
    """Merge eight neighbouring cubes of one level into one of the next, while there are eight."""
    from workbench.cubes.algebra import add
    from workbench.cubes.store import open_cube, save_cube

    while True:
        levels = sorted({n["level"] for n in state["nodes"]})
        ready = next((lv for lv in levels if sum(n["level"] == lv for n in state["nodes"]) >= FAN_IN), None)
        if ready is None:
            return
        chosen = [n for n in state["nodes"] if n["level"] == ready][:FAN_IN]
        name = f"merge-{secrets.token_hex(8)}.nc"
        save_cube(add(*[open_cube(folder / n["file"]) for n in chosen]), folder / name)
        node = {"file": name, "level": ready + 1, "leaves": [x for n in chosen for x in n["leaves"]]}
        state["nodes"] = [n for n in state["nodes"] if n not in chosen] + [node]


def _sum(folder: Path, state: dict[str, Any]) -> xr.Dataset:
    """All that a store holds; where its total was lost, or an earlier version kept none, from the parts."""
    from workbench.cubes.store import open_cube

    kept = bool(state["total"]) and (folder / state["total"]).exists()
    return open_cube(folder / state["total"]) if kept else _of_nodes(folder, state)


def _of_nodes(folder: Path, state: dict[str, Any]) -> xr.Dataset:
    from workbench.cubes.algebra import add
    from workbench.cubes.store import open_cube

    return add(*[open_cube(folder / n["file"]) for n in state["nodes"]])


def _sweep(folder: Path, state: dict[str, Any]) -> None:
    """Remove cube files that no manifest names, once no reader of the one before can want them."""
    wanted = {n["file"] for n in state["nodes"]} | set(state["leaves"]) | {state["total"]}
    with os.scandir(folder) as here:
        for one in here:
            if one.name not in wanted and one.name.startswith(OURS) and time.time() - one.stat().st_mtime > KEPT:
                os.unlink(one.path)


@contextmanager
def _writer(folder: Path) -> Iterator[None]:
    """One writer at a time; the lock goes with its process, however that ends."""
    with open(folder / ".lock", "a") as lock:
        end = time.monotonic() + WAIT
        while not _locked(lock.fileno()):
            if time.monotonic() > end:
                raise WorkbenchError(
                    f"Another process has been writing to the store at {folder} for {WAIT:.0f} s; wait for it to end."
                )
            time.sleep(0.05)
        yield


def _locked(handle: int) -> bool:
    """Locks an open file where no other process does; whether it did."""
    try:
        import fcntl
    except ImportError:  # Windows
        import msvcrt

        lock = partial(msvcrt.locking, handle, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
    else:
        lock = partial(fcntl.flock, handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    try:
        lock()
    except OSError:
        return False
    return True
