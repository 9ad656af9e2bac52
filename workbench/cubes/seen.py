"""What a store has seen of a table: which of its files are new, rewritten, renamed, in doubt or gone."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from workbench.errors import WorkbenchError


def _mark(file: Any) -> str:
    """What a file is known by besides its path: size, content, time of writing."""
    from workbench.tables.source import digest

    return f"{file.size}:{file.content}:{digest(file.written)}"


def marks(table: Any, group: list[int]) -> dict[str, str]:
    """Some files of a table as a leaf keeps them: the mark of each by its path."""
    return {table.files[i].relative: _mark(table.files[i]) for i in group}


def _content(mark: str) -> str:
    return mark.rpartition(":")[0] if mark.count(":") > 1 else mark  # earlier stores kept no time


def place(table: Any) -> str:
    """Where the files of a table lie, however it was named."""
    first = table.files[0]
    root = table.place.show(first.path.removesuffix(first.relative))
    return root if table.place.address is not None else os.path.realpath(root)


def beside(folder: Path, table: Any) -> None:
    """Raises where the files of a store would be read as rows of the table."""
    from workbench.tables.source import is_pattern

    if table.place.address is not None or table.snapshot is not None or is_pattern(str(table.source)):
        return
    home, own = Path(os.path.realpath(table.source)), Path(os.path.realpath(folder))
    if own.is_relative_to(home) and not any(x.startswith((".", "_")) for x in own.relative_to(home).parts):
        raise WorkbenchError(
            f"onto={str(folder)!r} lies in the table's own folder {str(table.source)!r}, where its files would be read as "
            "rows: name a folder beside it."
        )


def one_source(folder: Path, state: dict[str, Any], table: Any) -> None:
    """Raises where the store's files are another folder's, of the same names."""
    seen = {path: mark for files in state["leaves"].values() for path, mark in files.items()}
    both = [f for f in table.files if f.relative in seen]
    if not both or table.snapshot is not None or state.get("source", place(table)) == place(table):
        return
    if not any(_content(seen[f.relative]) == _content(_mark(f)) for f in both):
        raise WorkbenchError(
            f"The store at {folder} counted {both[0].relative!r} of {state['source']}, and {table.source} has another file "
            "of that name: open a folder that holds both, or count into another store."
        )


def moved(state: dict[str, Any], table: Any) -> bool:
    """Enters files that were renamed under their new path; whether there are any."""
    if table.snapshot is not None:
        return False

    def same(path: str, mark: str) -> tuple[str, ...]:
        return mark, *(x for x in path.split("/")[:-1] if "=" in x)  # a folder day=1 is a value of its rows

    here = {f.relative: f for f in table.files}
    seen = {path: (leaf, mark) for leaf, files in state["leaves"].items() for path, mark in files.items()}
    gone = {same(path, mark): (leaf, path) for path, (leaf, mark) in seen.items() if path not in here}
    found_any = False
    for path, file in here.items():
        if path not in seen and (found := gone.pop(same(path, _mark(file)), None)):
            leaf, old = found
            state["leaves"][leaf][path] = state["leaves"][leaf].pop(old)
            found_any = True
    return found_any


def doubted(state: dict[str, Any], table: Any) -> dict[str, list[int]]:
    """The leaves with files that were written at another time than when they were counted, though nothing else differs.

    Of a version of a table nothing is in doubt, nor where another file of the leaf is gone, so that it cannot be told.
    """
    here = {f.relative: i for i, f in enumerate(table.files)}
    found = {}
    for leaf, files in state["leaves"].items():
        if table.snapshot is not None or not all(path in here for path in files):
            continue
        now = {path: _mark(table.files[here[path]]) for path in files}
        old = {path: mark for path, mark in files.items() if now[path] != mark}
        if all(_content(now[p]) == _content(m) for p, m in old.items()) and any(_content(m) != m for m in old.values()):
            found[leaf] = [here[path] for path in files]
    return found


def unseen(
    folder: Path, state: dict[str, Any], table: Any, rewritten: list[str], leaf_rows: int
) -> tuple[list[list[int]], list[str], list[str]]:
    """Files to count, in the groups that become leaves, and the names of those that were rewritten, and that a table with
    versions does not have any more.

    Leaves of such files are taken out of ``state``, and those in ``rewritten`` too.
    """
    seen = {path: (leaf, mark) for leaf, files in state["leaves"].items() for path, mark in files.items()}
    here = {file.relative: i for i, file in enumerate(table.files)}
    known = {r: (seen[r], _mark(table.files[i])) for r, i in here.items() if r in seen}
    recounted = [
        r for r, ((leaf, old), new) in known.items()
        if _content(old) != _content(new) or (leaf in rewritten and old != new)
    ]  # fmt: skip
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
        if small and rows + size > leaf_rows:
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
