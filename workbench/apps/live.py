"""A live page: a notebook executed in a Panel session that opens what a run stored.

The code that runs is a run's own copy, and only when its cells are those the run has recorded. A session computes nothing
on tables.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import logging
import re
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any

from workbench.apps import shell
from workbench.errors import WorkbenchError
from workbench.runs.notebooks import notebook_hash, read_cells, tags
from workbench.runs.records import Record

MAGIC = re.compile(r"^\s*[%!?]")
Find = Callable[[str, str | None], Record]


def live_app(find: Find, hosts: Callable[[str], bool], worker: Executor) -> Any:
    """A Panel application for /live/<notebook>/<run>; `find` gives the record of a name or raises WorkbenchError.

    Its sessions are filled one after another by `worker`, beside the event loop, so that published pages answer meanwhile.
    """
    from panel.io.application import Application
    from panel.io.state import set_curdoc

    def fill(doc: Any) -> None:
        import panel as pn

        asked = pn.state.route_params
        if not hosts(str(pn.state.headers.get("Host", ""))):
            fill_error(doc, 403, "Not here", "This address is not one that the pages are served at.")
            return
        try:
            record = find(asked.get("notebook", ""), asked.get("run"))
            links = {"home": "/", "page": f"/{record.notebook}/{record.folder.name}/"}
            doc.template_variables["links"] = links
            execute(record)
            if doc.template.name != "live.html":
                raise WorkbenchError(
                    f"The notebook {record.notebook!r} does not end with a page; its report shows what it printed."
                )
        except WorkbenchError as error:
            fill_error(doc, 404 if not doc.template_variables.get("links") else 400, "No live page", str(error))
        except (Exception, SystemExit) as error:  # whatever a notebook does, the server answers
            logging.getLogger("workbench").exception("the live page of %s failed", asked.get("notebook"))
            fill_error(doc, 500, "The live page failed", f"{type(error).__name__}: {error}")

    def fill_in_its_place(doc: Any) -> None:
        with set_curdoc(doc):
            fill(doc)

    class Live(Application):
        async def on_session_created(self, session_context: Any) -> None:
            await super().on_session_created(session_context)
            self._set_session_prefix(session_context._document)
            await asyncio.get_running_loop().run_in_executor(worker, fill_in_its_place, session_context._document)

    return Live()


def execute(record: Record) -> dict[str, Any]:
    """Runs the notebook of a stored run for its page; gives its names back. Displays and magics are left out.

    Raises WorkbenchError when the run's copy is gone or its cells are not the recorded ones.
    """
    path = record.folder / "notebook.ipynb"
    if not path.is_file():
        raise WorkbenchError(f"The run {record.folder.name} has no notebook.ipynb; run {record.notebook!r} again.")
    cells = read_cells(path)
    if notebook_hash(cells) != record.told.get("notebook_hash"):
        raise WorkbenchError(
            f"The notebook in the run {record.folder.name} is not the one the run has recorded (its hash differs), so it is not "
            f"executed; run {record.notebook!r} again."
        )
    names: dict[str, Any] = {"__name__": "__main__", "__file__": str(path), "display": lambda *things, **more: None}
    for number, cell in enumerate(cells):
        # The injected cell is not part of the hash; its values are in the record, and `begin` takes them from there.
        if cell["cell_type"] == "code" and "injected-parameters" not in tags(cell):
            source = "\n".join("" if MAGIC.match(line) else line for line in cell["source"].split("\n"))
            with contextlib.redirect_stdout(io.StringIO()):  # what it prints is in the executed notebook
                exec(compile(source, f"{record.notebook}, cell {number}", "exec", dont_inherit=True), names)
    return names


def fill_error(document: Any, status: int, title: str, sentence: str) -> None:
    """Turns a session's document into a page that says what went wrong."""
    document.clear()
    document.title = title
    document.template = shell.environment().get_template("live_error.html")
    document.template_variables.update(
        status=status,
        title=title,
        sentence=sentence,
        command="",
        css=shell.css(),
        theme_js=shell.text("theme.js"),
        page_js=shell.text("page.js"),
    )
