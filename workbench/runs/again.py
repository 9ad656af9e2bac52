"""A run done again: the same notebook, parameters and tables, and what differs in code, versions, tables and figures."""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.errors import WorkbenchError
from workbench.runs import execute, parameters
from workbench.runs.notebooks import find_notebook, notebook_hash, read_cells, tags
from workbench.runs.records import Record, plain

TOLERANCE = 1e-9  # of a figure relative to itself: sums of floats in another order


@dataclass(frozen=True)
class Again:
    """A run and its repetition: what has moved (sentences), and the figures that differ (name, before, after)."""

    before: Record
    after: Record
    moved: tuple[str, ...]
    differ: tuple[tuple[str, Any, Any], ...]


def rerun(
    record: Record, runs: Path, *, report: execute.Report | None = None, say: Callable[[str], Any] = lambda line: None
) -> Again:
    """Runs what a record tells once more, beside it, and compares.

    The notebook is the one that ran: the present file when its text is the same, else the copy that the run kept. Raises
    WorkbenchError where the record or its notebook is not whole, and where a parameter was kept without its secret.
    """
    copy = record.folder / "notebook.ipynb"
    if not copy.is_file() or "notebook_hash" not in record.told:
        raise WorkbenchError(f"The run {str(record.folder)!r} kept no notebook, so it cannot be done again.")
    hidden = [name for name, value in record.parameters.items() if "***" in json.dumps(value, default=str)]
    known = parameters.declared(copy)
    given = {}
    for name, value in record.parameters.items():
        if name in known and name not in hidden:
            given[name] = parameters.check(known[name], value, "run.json")
    for name in hidden:
        if f"WORKBENCH_{name.upper()}" not in os.environ:
            raise WorkbenchError(
                f"The parameter {name!r} was kept without its secret; set WORKBENCH_{name.upper()} to give it again."
            )
    moved = tuple(_moved(record))
    for sentence in moved:
        say(sentence)
    present = _present(record)
    known_as = Path(str(record.told.get("notebook_path") or present or copy))
    runs, again = runs.absolute(), str(record.folder)
    with _as_then(record, given), tempfile.TemporaryDirectory(prefix="wb-again-") as folder:
        book = present if present and _same_text(record, present) else _book(record, copy, Path(folder))
        after = execute.run_notebook(
            book, given, runs, used=given, report=report, say=say, again=again, known_as=known_as
        )  # fmt: skip
    return Again(record, after, (*moved, *_tables(record, after)), tuple(differing(record.headline, after.headline)))


@contextmanager
def _as_then(record: Record, given: Collection[str]) -> Iterator[None]:
    """Goes to the folder that a run was started in, and takes away what in the environment would change its parameters."""
    here, kept = os.getcwd(), dict(os.environ)
    try:
        if Path(str(record.told.get("directory") or "?")).is_dir():
            os.chdir(record.told["directory"])  # addresses of tables may be relative to it
        for name in given:
            os.environ.pop(f"WORKBENCH_{name.upper()}", None)
        yield
    finally:
        os.chdir(here)
        os.environ.clear()
        os.environ.update(kept)


def _book(record: Record, copy: Path, folder: Path) -> Path:
    """The notebook that ran, made of the copy that its run kept, under its own name."""
    path = folder / f"{record.notebook}.ipynb"
    book = json.loads(copy.read_text(encoding="utf-8"))
    book["cells"] = [cell for cell in book["cells"] if "injected-parameters" not in tags(cell)]
    for cell in book["cells"]:
        if cell["cell_type"] == "code":
            cell.update(outputs=[], execution_count=None)
        cell["metadata"].pop("papermill", None)
    book["metadata"].pop("papermill", None)
    path.write_text(json.dumps(book), encoding="utf-8")
    return path


def _present(record: Record) -> Path | None:
    """The notebook's file as it is now, None where it is not here."""
    for name in (record.told.get("notebook_path"), record.notebook):
        if name:
            with suppress(WorkbenchError):
                return find_notebook(name)
    return None


def _same_text(record: Record, present: Path) -> bool:
    return notebook_hash(read_cells(present)) == record.told["notebook_hash"]


def _moved(record: Record) -> list[str]:
    """What has moved since a run: its notebook's text, our version, other versions, its tables."""
    told, found = record.told, []
    present = _present(record)
    if present is None:
        found.append(f"the notebook {record.notebook} is not here; the copy that the run kept is run")
    elif not _same_text(record, present):
        found.append(f"the notebook {record.notebook} has changed since; the copy that the run kept is run")
    software = execute.software()
    now = {"workbench": execute.package_version(), "python": software["python"], **software["versions"]}
    was = {"workbench": told.get("package_version"), "python": told.get("python"), **(told.get("versions") or {})}
    found += [
        f"{name} was {was[name]} and is {now.get(name)}" for name in was if was[name] and was[name] != now.get(name)
    ]
    return found


def _tables(before: Record, after: Record) -> list[str]:
    was = {one["source"]: one["version"] for one in before.told.get("sources") or []}
    now = {one["source"]: one["version"] for one in after.told.get("sources") or []}
    found = [
        f"the table {source} was of version {version} and is of {now[source]}"
        for source, version in was.items()
        if source in now and now[source] != version
    ]
    return found + [f"the table {source} was not read this time" for source in was if source not in now]


def differing(before: list[dict[str, Any]], after: list[dict[str, Any]]) -> list[tuple[str, Any, Any]]:
    """The headline figures that differ between two runs: (name, before, after), None where there is none.

    >>> differing([{"name": "rows", "value": 3}], [{"name": "rows", "value": 4}])
    [('rows', 3, 4)]
    """
    was = {str(one["name"]): plain(one.get("value")) for one in before}
    now = {str(one["name"]): plain(one.get("value")) for one in after}
    names = [*was, *[name for name in now if name not in was]]
    return [(name, was.get(name), now.get(name)) for name in names if not _same(was.get(name), now.get(name))]


def _same(a: Any, b: Any) -> bool:
    numbers = all(isinstance(one, (int, float)) and not isinstance(one, bool) for one in (a, b))
    return math.isclose(a, b, rel_tol=TOLERANCE) if numbers else a == b
