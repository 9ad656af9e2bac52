"""`workbench new NAME`: a notebook to begin with, a copy of the skeleton that passes every test of notebooks as it is."""

from __future__ import annotations

import argparse
import json
import keyword
from pathlib import Path
from typing import Any

from workbench.errors import WorkbenchError


def add(commands: Any) -> None:
    """The command `new`."""
    new = commands.add_parser(
        "new",
        help="begin a notebook",
        description="Writes a new notebook, a copy of the skeleton with its title filled in; it runs as it is. Index, tests, "
        "schedule and server find it by its file.",
    )
    new.add_argument("name", help="name of the notebook: letters, digits and _, as in daily_cost")
    new.add_argument("--title", default="", help="its question in plain words (default: from the name)")
    new.add_argument("--folder", type=Path, default=Path("notebooks"), help="where to write it (default: notebooks)")
    new.set_defaults(command=_new)


def new_notebook(name: str, folder: Path, title: str = "") -> Path:
    """The path of a new notebook NAME.ipynb in a folder, made from `templates/notebook.ipynb`.

    Raises WorkbenchError for a name that no module could have, a title of several lines, and a file that is there already.
    """
    if not (name.isascii() and name.isidentifier()) or keyword.iskeyword(name) or name.startswith("_"):
        raise WorkbenchError(f"{name!r} is no name of a notebook; wanted letters, digits and _, as in daily_cost.")
    title = title.strip() or f"{name.replace('_', ' ').capitalize()}: a question in plain words?"
    if not title.isprintable() or len(title) > 120 or "\\u" in title:
        raise WorkbenchError("A title is one line of at most 120 characters.")
    from workbench.resources import templates_folder

    path = folder / f"{name}.ipynb"
    book = json.loads((templates_folder() / "notebook.ipynb").read_text(encoding="utf-8"))
    for cell in book["cells"]:
        text = "".join(cell["source"])
        text = text.replace("# A question in plain words?", f"# {title}", 1)
        text = text.replace('wb.begin("notebook"', f"wb.begin({_quoted(name)}", 1)
        text = text.replace('title="A question in plain words?"', f"title={_quoted(title)}", 1)
        cell["source"] = text.splitlines(keepends=True)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(json.dumps(book, indent=1, ensure_ascii=False) + "\n")
    except FileExistsError:
        raise WorkbenchError(f"{str(path)!r} is there already; give another name, or edit it.") from None
    return path


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _new(options: argparse.Namespace) -> int:
    path = new_notebook(options.name, options.folder, options.title)
    print(f"{path}\nopen it in JupyterLab, or run it as it is: workbench run {path}")
    return 0
