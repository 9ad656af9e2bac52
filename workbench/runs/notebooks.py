"""Notebook files as data: their cells, their name and their hash."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from workbench.errors import WorkbenchError, nearest


def find_notebook(name: str | Path) -> Path:
    """Path of a notebook given as a path or as the bare name of one shipped with the package.

    Raises WorkbenchError, listing the shipped names, when there is neither.
    """
    path = Path(name).expanduser()
    if path.suffix == ".ipynb":
        if path.is_file():
            return path
        raise WorkbenchError(
            f"There is no notebook file {str(path)!r}; give the path of an .ipynb file or one of: {_names()}."
        )
    if path.is_file():
        raise WorkbenchError(f"{str(path)!r} is not a notebook; give the path of an .ipynb file or one of: {_names()}.")
    shipped = shipped_notebooks()
    if str(name) in shipped:
        return shipped[str(name)]
    raise WorkbenchError(
        f"No notebook is called {str(name)!r}; {nearest(str(name), shipped)}; "
        "give the name of a shipped notebook or the path of an .ipynb file."
    )


def shipped_notebooks() -> dict[str, Path]:
    """The notebooks that come with the package, by bare name."""
    from workbench.resources import notebooks_folder

    return {path.stem: path for path in sorted(notebooks_folder().glob("*.ipynb"))}


def read_cells(path: str | Path) -> list[dict[str, Any]]:
    """The cells of a notebook file as plain dicts, `source` joined to one text.

    Raises WorkbenchError when the file is no notebook.
    """
    try:
        cells = json.loads(Path(path).read_text(encoding="utf-8"))["cells"]
        return [{**cell, "source": _text(cell.get("source", ""))} for cell in cells]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise WorkbenchError(f"{str(path)!r} is not a notebook (JSON with cells): {error}.") from error


def tags(cell: dict[str, Any]) -> list[str]:
    """The tags of a cell."""
    return list(cell.get("metadata", {}).get("tags", []))


def notebook_hash(cells: list[dict[str, Any]]) -> str:
    """sha256 over the kinds and sources of the cells.

    Outputs, metadata, cell ids and the cell that papermill injects do not count, so an executed copy of a notebook
    has the hash of the notebook it was made from.
    """
    told = [[c.get("cell_type"), c["source"]] for c in cells if "injected-parameters" not in tags(c)]
    return hashlib.sha256(json.dumps(told, ensure_ascii=False).encode()).hexdigest()


def first_line(source: str) -> str:
    """The first line of a cell that says something (no comment, not blank), at most 100 characters."""
    lines = [line.strip() for line in source.splitlines() if line.strip()]
    told = [line for line in lines if not line.startswith("#")] or lines or [""]
    return told[0][:100]


def _text(source: str | list[str]) -> str:
    return source if isinstance(source, str) else "".join(source)


def _names() -> str:
    return ", ".join(shipped_notebooks()) or "(none is shipped here)"
