"""A live page: a notebook executed in a Panel session that opens what a run stored.

The code that runs is a run's own copy, and only when its cells are those the run has recorded. A session computes nothing
on tables. What a notebook told its page is kept for a few pages, so that the next reader of the same one waits for no code.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from workbench.apps import shell
from workbench.apps.page import Told, show
from workbench.apps.shell import Json
from workbench.apps.signin import SignIn, check_reader, reader_told
from workbench.errors import WorkbenchError
from workbench.runs.notebooks import notebook_hash, read_cells, tags
from workbench.runs.records import Record

MAGIC = re.compile(r"^\s*[%!?]")
KEPT = 16  # pages whose pictures are kept ready
SESSION = "<!-- session -->"  # in templates/live.html
Key = tuple[Path, tuple[tuple[str, tuple[bytes, ...]], ...]]


@dataclass
class LivePages:
    """Fills the documents of live sessions. `find` gives the record of a name or raises WorkbenchError."""

    find: Callable[[str, str | None], Record]
    hosts: Callable[[str], bool]
    prefix: str = ""
    signin: SignIn | None = None
    worker: int | None = None  # which of several processes this is
    kept: OrderedDict[Key, Told] = field(default_factory=OrderedDict)
    known: dict[Key, Json] = field(
        default_factory=dict
    )  # what the page of each kept one says before its session is there

    def start(self, notebook: str, run: str | None, arguments: Mapping[str, list[bytes]]) -> str | None:
        """A page down to what needs a session, None when it is not kept; a stranger's name is as good as a missing one."""
        try:
            known = self.known.get(key_of(self.find(notebook, run), arguments))
        except WorkbenchError:
            return None
        return shell.render("live.html", **known).split(SESSION)[0] if known and known.get("static") else None

    def fill(self, doc: Any) -> None:
        """Makes a session's document the page that its address asks for, or one that says why there is none."""
        import panel as pn

        asked = pn.state.route_params
        if not self.hosts(str(pn.state.headers.get("Host", ""))):
            fill_error(doc, 403, "Not here", "This address is not one that the pages are served at.")
            return
        try:
            if self.signin is not None:
                check_reader(self.signin, doc.session_context, asked.get("notebook", ""))
            record = self.find(asked.get("notebook", ""), asked.get("run"))
            self.page(doc, record, pn.state.session_args or {})
        except WorkbenchError as error:
            self.forget(asked)
            fill_error(doc, 404 if not doc.template_variables.get("links") else 400, "No live page", str(error))
        except (Exception, SystemExit) as error:  # whatever a notebook does, the server answers
            self.forget(asked)
            logging.getLogger("workbench").exception("the live page of %s failed", asked.get("notebook"))
            fill_error(doc, 500, "The live page failed", f"{type(error).__name__}: {error}")

    def page(self, doc: Any, record: Record, arguments: Mapping[str, list[bytes]]) -> None:
        """Puts the page of a run into a document: from what was kept, else by executing the notebook."""
        key = key_of(record, arguments)
        self.place(doc, record)
        told = self.kept.get(key)
        if told is not None:
            self.kept.move_to_end(key)
            try:
                show(doc, told)
                return
            except RuntimeError:  # a bokeh model inside a view cannot be in a second document
                self.drop(key)
                doc.clear()
                self.place(doc, record)
        execute(record)
        told = doc.template_variables.pop("told", None)
        if not isinstance(told, Told):
            raise WorkbenchError(
                f"The notebook {record.notebook!r} does not end with a page; its report shows what it printed."
            )
        if told.keeps:
            self.kept[key] = told
            self.known[key] = {name: value for name, value in doc.template_variables.items() if name != "told"}
            while len(self.kept) > KEPT:
                self.drop(next(iter(self.kept)))

    def place(self, doc: Any, record: Record) -> None:
        """Tells a document where it stands: the pages beside it and the scripts that the server has."""
        base = self.prefix
        page = f"{base}/{record.folder.parent.name}/{record.folder.name}/"
        doc.template_variables.update(links={"home": f"{base}/", "page": page}, static=f"{base}/assets")

    def drop(self, key: Key) -> None:
        """Keeps a page no longer."""
        self.kept.pop(key, None)
        self.known.pop(key, None)

    def forget(self, asked: Mapping[str, str]) -> None:
        """Keeps no page of a notebook that has just failed."""
        for key in [key for key in self.kept if key[0].parent.name == asked.get("notebook")]:
            self.drop(key)

    def prepare(self, record: Record) -> None:
        """Makes the page of a run before somebody asks for it; a notebook that fails here will tell whoever asks."""
        from bokeh.document import Document
        from panel.io.state import set_curdoc

        if (record.folder, ()) in self.kept:
            return
        doc = Document()
        session = SimpleNamespace(
            request=SimpleNamespace(arguments={}, headers={}, cookies={}), id="", token_payload={}
        )
        doc._session_context = lambda: session  # type: ignore[assignment]
        with set_curdoc(doc):
            try:
                self.page(doc, record, {})
            except (Exception, SystemExit) as error:
                logging.getLogger("workbench").info("no live page of %s yet: %s", record.notebook, error)
        doc._session_context = None
        doc.clear()


def key_of(record: Record, arguments: Mapping[str, list[bytes]]) -> Key:
    """What a live page is kept under: its run and what its address asks for."""
    given = ((name, tuple(values)) for name, values in arguments.items() if not name.startswith("bokeh-"))
    return record.folder, tuple(sorted(given))


def live_app(pages: LivePages, worker: Executor) -> Any:
    """A Panel application for /live/<notebook>/<run>.

    Its sessions are filled one after another by `worker`, beside the event loop, so that published pages answer meanwhile.
    """
    from panel.io.application import Application
    from panel.io.state import set_curdoc

    def fill(doc: Any) -> None:
        with set_curdoc(doc):
            pages.fill(doc)

    class Live(Application):
        async def on_session_created(self, session_context: Any) -> None:
            await super().on_session_created(session_context)
            self._set_session_prefix(session_context._document)
            await asyncio.get_running_loop().run_in_executor(worker, fill, session_context._document)

        def process_request(self, request: Any) -> dict[str, Any]:
            own = {} if pages.worker is None else {"worker": pages.worker}
            return {**super().process_request(request), **reader_told(pages.signin, request), **own}

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
    names: dict[str, Any] = {"__name__": "__main__", "__file__": str(path), "display": _silent, "print": _silent}
    for number, cell in enumerate(cells):
        # The injected cell is not part of the hash; its values are in the record, and `begin` takes them from there.
        if cell["cell_type"] == "code" and "injected-parameters" not in tags(cell):
            source = "\n".join("" if MAGIC.match(line) else line for line in cell["source"].split("\n"))
            exec(compile(source, f"{record.notebook}, cell {number}", "exec", dont_inherit=True), names)
    return names


def _silent(*things: Any, **more: Any) -> None:
    """What a notebook shows and prints is in its executed copy."""


def fill_error(document: Any, status: int, title: str, sentence: str, command: str = "") -> None:
    """Turns a session's document into a page that says what went wrong."""
    document.clear()
    document.title = title
    document.template = shell.environment().get_template("live_error.html")
    document.template_variables.update(
        status=status,
        title=title,
        sentence=sentence,
        command=command,
        css=shell.css(),
        theme_js=shell.text("theme.js"),
        page_js=shell.text("page.js"),
    )
