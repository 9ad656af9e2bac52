"""Which page an address below a notebook asks for. Names are looked up, never made into a path; values are checked."""

from __future__ import annotations

from collections.abc import Callable

from workbench.apps.compare import compare_page
from workbench.apps.history import until
from workbench.apps.site import Site, history_page, notebook_page, run_page
from workbench.errors import WorkbenchError
from workbench.runs.records import Record


class BadValueError(WorkbenchError):
    """An address that names a page but asks it for what it cannot show."""


def page_of(site: Site, notebook: str, place: str | None, value: Callable[[str], str]) -> str:
    """The page at `/<notebook>/` or `/<notebook>/<place>/`; `value` gives what the address says behind the question mark.

    Raises WorkbenchError for names that no folder has, BadValueError for values of another kind.
    """
    if place is None:
        return notebook_page(site, notebook)
    if place == "history":
        site.known(notebook)
        asked = value("until")
        try:
            until((), asked or "2000-01-01")
        except WorkbenchError as error:
            raise BadValueError(str(error)) from None
        return history_page(site, notebook, asked)
    if place == "compare":
        return compare_page(site, notebook, value("a"), value("b"))
    return run_page(site, site.find(notebook, place), latest=False)


def run_of(site: Site, notebook: str, place: str | None) -> Record | None:
    """The run that the page at a place shows; None where it shows none, or more than one."""
    if place in ("history", "compare"):
        return None
    return site.good(notebook) if place is None else site.find(notebook, place)
