"""`begin` as notebooks call it: in a session, what is wrong becomes a page instead of an empty one."""

from __future__ import annotations

import functools
import sys
from typing import Any

from workbench.errors import WorkbenchError
from workbench.runs.context import NoStoredRun, Run
from workbench.runs.context import begin as open_run


@functools.wraps(open_run)
def begin(*arguments: Any, **more: Any) -> Run:
    try:
        return open_run(*arguments, **more)
    except WorkbenchError as error:
        _tell(error)
        raise


def _tell(error: WorkbenchError) -> None:
    """Fills the document of the session that is being made, where there is one."""
    if "panel.io.state" not in sys.modules:
        return
    from panel.io.state import state

    document = state.curdoc
    if document is None or document.session_context is None:
        return
    from workbench.apps.live import fill_error

    if isinstance(error, NoStoredRun):
        fill_error(
            document,
            404,
            "Nothing to show yet",
            f"There is no good run of {error.notebook!r}. This makes one:",
            error.command,
        )
    else:
        fill_error(document, 400, "No live page", str(error))
