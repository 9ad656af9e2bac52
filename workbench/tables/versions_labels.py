"""Names for versions, such as "approved": one small file each, beside the table. A labelled version is never vacuumed."""

from __future__ import annotations

import datetime
import json
import re
from typing import Any

from workbench.errors import WorkbenchError, nearest
from workbench.tables.delta_files import put
from workbench.tables.delta_log import Home

FOLDER = "_workbench/labels"
NAME = re.compile(r"[A-Za-z][\w.-]{0,63}")


def add(at: Home, version: int, name: str, by: str, note: str) -> None:
    """Gives a version a name; the same name again moves it, and what it named before stays on record."""
    if not NAME.fullmatch(name):
        raise WorkbenchError(f"{name!r} is no label: letters, digits, '.', '_' and '-', a letter first")
    now = datetime.datetime.now(datetime.UTC)
    told = {"version": version, "label": name, "by": by, "note": note, "time": now.isoformat(timespec="microseconds")}
    path = f"{at.folder}/{FOLDER}/{now:%Y%m%dT%H%M%S%f}-{version}-{name}.json"
    put(at.place, path, lambda file: file.write(json.dumps(told, ensure_ascii=False).encode()))


def listed(at: Home) -> list[dict[str, Any]]:
    """All labels ever given, oldest first: version, label, by, note, time."""
    top = f"{at.folder}/{FOLDER}"
    if not at.place.fresh.exists(top):
        return []
    found = []
    for path in sorted(str(one) for one in at.place.fs.ls(top, detail=False)):
        if path.endswith(".json"):
            with at.place.open(path) as file:
                found.append(json.loads(file.read()))
    return found


def labelled(at: Home, name: str) -> int:
    """The version that a label names now."""
    known = {one["label"]: int(one["version"]) for one in listed(at)}
    if name not in known:
        raise WorkbenchError(f"{at.name!r} has no version labelled {name!r}: {nearest(name, known)}")
    return known[name]
