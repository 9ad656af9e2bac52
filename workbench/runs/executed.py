"""What an executed notebook and its kernel tell of a run: the cells, where it ended, what was reported."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

from workbench.runs.context import KERNEL_FILE
from workbench.runs.notebooks import first_line, read_cells, tags
from workbench.runs.records import without_secrets, write_json

COLOUR = re.compile(r"\x1b\[[\d;]*m")
IN_CELL = re.compile(r"Cell In\[\d+\], line (\d+)")
MARK = "papermill-error-cell-tag"  # papermill puts two cells so tagged into a failed notebook, which shifts the others


def stopped_cell(folder: Path) -> dict[str, Any]:
    """Where a failed run ended: index and id of the cell that was last begun in the executed notebook, and its line that
    raised, else its first one.
    """
    cells = _executed(folder)
    begun = [i for i, cell in enumerate(cells) if cell["cell_type"] == "code" and _note(cell).get("start_time")]
    if not begun:
        return {"cell": None, "id": None, "line": ""}
    cell = cells[begun[-1]]
    return {"cell": begun[-1], "id": cell.get("id"), "line": without_secrets(_line(cell))}


def _line(cell: dict[str, Any]) -> str:
    """The line of a cell that its traceback tells first, which is the one in the cell itself; else the cell's first line,
    with dots where there are more.
    """
    first = first_line(cell["source"])
    lines = [line.strip() for line in cell["source"].splitlines()]
    for output in cell.get("outputs") or []:
        if output.get("output_type") == "error":
            told = COLOUR.sub("", "\n".join(map(str, output.get("traceback") or [])))
            number = int(found[1]) if (found := IN_CELL.search(told)) else 0
            if 0 < number <= len(lines) and lines[number - 1]:
                return lines[number - 1][:100]
    more = any(line and not line.startswith("#") and not line.startswith(first) for line in lines)
    return f"{first} ..." if more else first


def executed_cells(folder: Path) -> list[dict[str, Any]]:
    """The code cells of the executed notebook: index, id, status and seconds."""
    return [
        {
            "cell": index,
            "id": cell.get("id"),
            "status": "good" if _note(cell).get("start_time") else "not run",
            "seconds": _note(cell).get("duration"),
        }
        for index, cell in enumerate(_executed(folder))
        if cell["cell_type"] == "code"
    ]


def _executed(folder: Path) -> list[dict[str, Any]]:
    """The cells of the executed notebook as far as it is written, without the marks that papermill puts in."""
    try:
        return [cell for cell in read_cells(folder / "notebook.ipynb") if MARK not in tags(cell)]
    except (OSError, ValueError):
        return []


def left_early(folder: Path) -> str:
    """Why a run that raised nothing is not whole: its notebook left by `sys.exit` and cells after that did not run; "" else."""
    cells = _executed(folder)
    for index, cell in enumerate(cells):
        if any(one.get("ename") == "SystemExit" for one in cell.get("outputs") or []):
            rest = [one for one in cells[index + 1 :] if one["cell_type"] == "code" and one["source"].strip()]
            if rest:
                return f"the notebook left by sys.exit, and {len(rest)} cell{'s' if len(rest) > 1 else ''} after it did not run"
    return ""


def put_right(folder: Path) -> None:
    """Makes papermill's notes in the notebook of a failed run true: the cell where it ended, and those never run."""
    failed = stopped_cell(folder)["cell"]
    path = folder / "notebook.ipynb"
    with suppress(OSError, ValueError, KeyError):  # none was written, or the disk is full: run.json tells
        book = json.loads(path.read_text(encoding="utf-8"))
        book["metadata"].setdefault("papermill", {})["exception"] = True
        book["cells"] = [cell for cell in book["cells"] if MARK not in tags(cell)]
        for index, cell in enumerate(book["cells"]):
            if failed is None or index >= failed:
                note = cell["metadata"].setdefault("papermill", {})
                note.update(status="failed" if index == failed else "pending", exception=index == failed)
        write_json(path, book)


def kernel_told(folder: Path) -> dict[str, Any]:
    """What the notebook reported from its kernel."""
    try:
        told = json.loads((folder / KERNEL_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    first = told["sources"][0] if told["sources"] else {"source": None, "version": None}
    return {**told, "source": first["source"], "source_version": first["version"]}


def _note(cell: dict[str, Any]) -> dict[str, Any]:
    note: dict[str, Any] = cell.get("metadata", {}).get("papermill") or {}
    return note
