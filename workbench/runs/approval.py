"""The version of a table that a run wrote: what stands of it, approving it, and going back to it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from workbench.runs.records import Record

APPROVED = "approved"  # the label; `open_table(table, version="approved")` reads it
ACTS = ("approve", "back")


@dataclass(frozen=True)
class Made:
    """A version of a table that a run wrote."""

    table: str
    version: int

    @property
    def name(self) -> str:
        return PurePath(self.table).name


def made(record: Record) -> Made | None:
    """The version of a table that a good run wrote, as it recorded it; None where it wrote none, or more than one."""
    outputs = record.told.get("outputs")
    if (
        record.status != "good"
        or not isinstance(outputs, list)
        or len(outputs) != 1
        or not isinstance(outputs[0], dict)
    ):
        return None
    table, version = outputs[0].get("source"), str(outputs[0].get("version", ""))
    if not isinstance(table, str) or not table or not (version.isascii() and version.isdigit()):
        return None
    if "://" not in table:
        table = str(Path(str(record.told.get("directory") or ".")) / table)
    return Made(table, int(version))


def stands(one: Made) -> dict[str, Any]:
    """The table's newest version, and the label of the approved one: version, label, by, note, time, or None."""
    from workbench.tables import versions

    newest = int(versions.history(one.table, 1)["version"].iloc[0])
    named = versions.labels(one.table).get(APPROVED, [])
    return {"newest": newest, "approved": named[-1] if named else None}


def do(act: str, one: Made, who: str) -> None:
    """Approves a version in somebody's name, or makes its rows the newest ones again. Raises WorkbenchError where it cannot."""
    from workbench.tables import versions

    if act == "approve":
        versions.label(one.table, one.version, APPROVED, by=who)
    else:
        versions.rollback(one.table, one.version)
