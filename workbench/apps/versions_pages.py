"""What an operator may do on the page of a run that wrote a version of a table: approve the version, or go back to it.

Table and version are those that the run has recorded, never what an address says; who did it goes to the audit trail first.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote

from tornado.web import HTTPError

from workbench.apps import shell
from workbench.apps.roles import Reader, seen
from workbench.apps.signin import ROOM, SignIn
from workbench.apps.signin_pages import Door
from workbench.apps.site import Site, missing
from workbench.errors import WorkbenchError
from workbench.runs.approval import ACTS, do, made, stands
from workbench.runs.records import Record

WRITING = ThreadPoolExecutor(1, thread_name_prefix="versions")  # one after another


def strip(record: Record, reader: Reader, token: str) -> str:
    """The row of a page that says what stands of the version that its run wrote, with what this reader may do; else "".

    What cannot be told, such as a table that is gone, is said instead of it.
    """
    notebook = record.folder.parent.name
    one = made(record)
    if one is None or not reader.name or not reader.may("operator", notebook):
        return ""
    told: dict[str, Any] = {"one": one, "problem": "", "newest": None, "approved": None}
    try:
        told |= stands(one)
    except (WorkbenchError, OSError) as error:
        told["problem"] = str(error)
    action = f"{ROOM}/versions/{_path(record)}"
    return shell.environment().get_template("versions.html").render(xsrf=token, action=action, **told)


class VersionAct(Door):
    """Approve a version, or make its rows the newest ones again."""

    site: Site

    def initialize(self, signin: SignIn, site: Site) -> None:  # type: ignore[override]
        super().initialize(signin)
        self.site = site

    async def post(self, notebook: str, run: str) -> None:
        if self.reader is None:
            raise HTTPError(403, "nobody is signed in")
        act = self.get_body_argument("act", "")
        try:
            record = seen(self.site, self.reader).find(notebook, run)
        except WorkbenchError as error:
            self.said(404, "Not found", str(error))
            return
        one = made(record)
        if act not in ACTS or one is None:
            self.said(400, "Not done", f"The run {run[:60]!r} wrote no version that could be approved or gone back to."
                      if one is None else f"There is no {act[:60]!r} of a version; there is approve, and back.")  # fmt: skip
            return
        about: dict[str, Any] = {
            "notebook": notebook,
            "run": record.folder.name,
            "table": one.table,
            "version": one.version,
        }
        if not self.reader.may("operator", notebook):
            self.told(act, False, **about)
            self.said(403, "Not yours", "To approve a version or go back to one is for those with the role `operator`.")
            return
        self.told(act, True, **about)
        try:
            await asyncio.get_running_loop().run_in_executor(WRITING, do, act, one, self.reader.name)
        except WorkbenchError as error:
            self.told(act, False, why=str(error), **about)
            self.said(409, "Not done", str(error))
            return
        self.redirect(f"{self.prefix}/{_path(record)}/", status=303)

    def said(self, status: int, title: str, sentence: str) -> None:
        self.set_status(status)
        self.page(missing(title, sentence))


def _path(record: Record) -> str:
    return "/".join(quote(name, safe="") for name in record.folder.parts[-2:])


def version_routes(signin: SignIn, site: Site) -> list[tuple[Any, ...]]:
    """The route of the action."""
    return [(rf"{ROOM}/versions/([^/]+)/([^/]+)", VersionAct, {"signin": signin, "site": site})]
