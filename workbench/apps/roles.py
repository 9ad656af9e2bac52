"""Who may do what: viewer, operator or admin, for every notebook or for one.

| role     | may                                                                        |
|----------|----------------------------------------------------------------------------|
| none     | nothing; the notebook is not there                                         |
| viewer   | read pages, live pages and the files of a run                              |
| operator | also approve a version of a table that a run wrote, or go back to it       |
| admin    | also read the audit trail, and /metrics without a token                    |
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from workbench.apps.site import Site
from workbench.errors import WorkbenchError, nearest

ROLES = ("none", "viewer", "operator", "admin")


@dataclass(frozen=True)
class Reader:
    """Somebody who reads pages: a name ("" where nobody signs in), a role, and other roles for single notebooks."""

    name: str = ""
    role: str = "viewer"
    notebooks: Mapping[str, str] = field(default_factory=dict)

    def may(self, role: str, notebook: str = "") -> bool:
        """Whether this reader has at least that role, for a notebook or ("") for the server.

        >>> ana = Reader("ana", "viewer", {"cost": "operator", "pay": "none"})
        >>> ana.may("operator"), ana.may("operator", "cost"), ana.may("viewer", "pay")
        (False, True, False)
        """
        return ROLES.index(self.notebooks.get(notebook, self.role)) >= ROLES.index(role)


def check_role(role: str) -> str:
    """`role`. Raises WorkbenchError where there is no such role."""
    if role not in ROLES:
        raise WorkbenchError(f"There is no role {role!r}; {nearest(role, ROLES)}")
    return role


@dataclass(frozen=True)
class SeenSite(Site):
    """The notebooks and runs that a reader may see; the others are not there for them, not even by name."""

    reader: Reader = field(default_factory=Reader)

    def shows(self, notebook: str) -> bool:
        return self.reader.may("viewer", notebook)


def seen(site: Site, reader: Reader) -> Site:
    """The site as a reader sees it."""
    return SeenSite(site.runs, site.notebooks, reader)
