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

    Files are known by their path under the source and by their content: a file that was only copied or touched is not
    counted again. A rewritten file is counted anew, alone with those that share its leaf; the cube's attribute
    ``recounted`` names it. A file that is gone from a folder stays counted; one that the version of a Delta table does not
    have any more (rows deleted or replaced, files compacted) is taken out, and the attribute ``removed`` names it. Run
    twice, the second pass reads nothing.

    Raises WorkbenchError where the store holds cubes of another recipe, or a rewritten file shares its leaf with one
    that is gone.
    """
    from workbench.clusters import workers
    from workbench.cubes.algebra import add
    from workbench.cubes.scan import finished, plan_columns, run
    from workbench.cubes.store import open_cube, save_cube

    folder = Path(folder)
    if not hasattr(table, "files"):
        raise WorkbenchError("cube(..., onto=store) wants a table of files from open_table(); this one is in memory.")
    folder.mkdir(parents=True, exist_ok=True)
    with _writer(folder):
        state = _manifest(folder)
        first = open_cube(folder / (state["total"] or next(iter(state["leaves"])))) if state["leaves"] else None
        columns = plan_columns(table, axes, of, first if first is not None else plan)
        if first is not None:
            _same_recipe(folder, first, table, columns, axes)
        todo, recounted, removed = _unseen(folder, state, table)
        fresh: list[xr.Dataset] = []
        total = first if state["total"] and not recounted and not removed else None
        if todo or removed:
            with workers(cluster) as crew:
                for group in todo:
                    part = run(table, table.pieces(group), columns, axes, crew, progress)
                    name = f"leaf-{secrets.token_hex(8)}.nc"
                    fresh.append(finished(part, table, columns, axes))
                    save_cube(fresh[-1], folder / name)
                    files = {table.files[i].relative: _content(table.files[i]) for i in group}
                    state["leaves"][name] = files
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
            _commit(folder, state)
            _sweep(folder, state)
        elif total is None and state["leaves"]:
            total = _of_nodes(folder, state)
    if total is None:
        return finished(run(table, [], columns, axes, None, progress), table, columns, axes)
    total.attrs["source"] = str(table.source)
    total.attrs["source_version"] = str(table.version)
    total.attrs["counted_files"] = len([i for group in todo for i in group])
    total.attrs["stored_files"] = sum(len(f) for f in state["leaves"].values())
    total.attrs["recounted"] = json.dumps(recounted)
    total.attrs["removed"] = json.dumps(removed)
    return total


def open_store(folder: str | Path) -> xr.Dataset:
    """The sum of all that a store holds. Raises WorkbenchError when there is no store in the folder."""
    from workbench.cubes.store import open_cube

    folder = Path(folder)
    for _ in range(5):
        state = _manifest(folder)
        if not state["leaves"]:
            raise WorkbenchError(f"There is no cube store at {folder}; cube(table, onto={str(folder)!r}) makes one.")
        try:
            return open_cube(folder / state["total"]) if state["total"] else _of_nodes(folder, state)
        except WorkbenchError:
            if _manifest(folder)["commits"] == state["commits"]:
                raise
            continue  # a writer has committed meanwhile
    raise WorkbenchError(f"The store at {folder} changes faster than it can be read; try again.")


def _manifest(folder: Path) -> dict[str, Any]:
    path = folder / "manifest.json"
    if not path.exists():
        return {"format": 1, "commits": 0, "leaves": {}, "nodes": [], "total": ""}
    try:
        state = json.loads(path.read_text())
        if state["format"] != 1:
            raise KeyError(state["format"])
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


def _content(file: Any) -> str:
    return f"{file.size}:{file.content}"


def _unseen(folder: Path, state: dict[str, Any], table: Any) -> tuple[list[list[int]], list[str], list[str]]:
    """Files to count, in the groups that become leaves, and the names of those that were rewritten, and that a table with
    versions does not have any more.

    Leaves of such files are taken out of ``state``.
    """
    seen = {path: (leaf, content) for leaf, files in state["leaves"].items() for path, content in files.items()}
    here = {file.relative: i for i, file in enumerate(table.files)}
    recounted = [r for r, i in here.items() if r in seen and seen[r][1] != _content(table.files[i])]
    told = table.snapshot is not None and table.since is None  # the version names all of its files
    removed = [r for r in seen if told and r not in here]
    groups: list[list[int]] = []
    for leaf in dict.fromkeys(seen[r][0] for r in recounted + removed):
        files = state["leaves"].pop(leaf)
        gone = [path for path in files if path not in here and not told]
        if gone:
            raise WorkbenchError(
                f"{recounted[0]!r} was rewritten, and the store at {folder} counted it together with {gone[0]!r}, which "
                f"is gone from {table.source}: bring it back, or count into a new store."
            )
        groups.append([here[path] for path in files if path in here])
        state["nodes"] = [part for node in state["nodes"] for part in _without(node, leaf)]
    groups = [group for group in groups if group]
    counted = {i for group in groups for i in group}
    fresh = [i for r, i in here.items() if r not in seen and i not in counted]
    rows = 0
    small: list[int] = []
    for i in fresh:
        size = table.files[i].rows if table.files[i].rows is not None else table.files[i].size // 100
        if small and rows + size > LEAF_ROWS:
            groups.append(small)
            small, rows = [], 0
        small.append(i)
        rows += size
    if small:
        groups.append(small)
    return groups, recounted, removed


def _without(node: dict[str, Any], leaf: str) -> list[dict[str, Any]]:
    """A node, or its leaves where one of them is to go."""
    if leaf not in node["leaves"]:
        return [node]
    return [{"file": x, "level": 0, "leaves": [x]} for x in node["leaves"] if x != leaf]


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


def _same_recipe(folder: Path, stored: Any, table: Any, columns: tuple, axes: tuple) -> None:
    from workbench.cubes.algebra import axes_of, columns_of

    have = [(c["name"], c["kind"], c["asked"]) for c in columns_of(stored)]
    from workbench.cubes.scan import _asked

    want = [(c.name, c.kind, _asked(c)) for c in columns]
    where = json.loads(json.dumps([list(w) for w in table.where], default=str))
    kept = json.loads(stored.attrs.get("where", "[]"))
    differs = (
        ("axes", axes_of(stored), [a.recipe() for a in axes])
        if axes_of(stored) != [a.recipe() for a in axes]
        else ("columns", [x[:2] for x in have], [x[:2] for x in want])
        if [x[:2] for x in have] != [x[:2] for x in want]
        else ("measures", have, want)
        if have != want
        else ("where=", kept, where)
        if kept != where
        else None
    )
    if differs:
        what, old, new = differs
        kinds = {name: kind for name, kind, _ in want}
        empty = {n: kinds[n] for n, kind, _ in have if kind == "other" and kinds.get(n, kind) != kind}
        if what == "columns" and empty:
            raise WorkbenchError(
                f"The store at {folder} holds no values of {', '.join(map(repr, empty))}, whose kind was not known when it was "
                f"begun; now there are some. Count all into another folder, from open_table(..., types={empty})."
            )
        raise WorkbenchError(
            f"The store at {folder} holds cubes with {what} {str(old)[:300]}; this pass asks for {str(new)[:300]}. Ask "
            "for the same, or count into another folder."
        )


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
