"""What was done and by whom: one JSON line per sign-in, good or bad, and per action, in a file that only its owner reads."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.runs.records import now

LONGEST = 200  # characters of a value; what people type into a form is not trusted with more


@dataclass(frozen=True)
class Audit:
    """The audit trail in a file; None writes nothing. The file may be rotated at any time."""

    path: Path | None = None

    def tell(self, event: str, *, user: str, address: str, good: bool, **more: Any) -> None:
        """Adds one line: time (UTC), event, user, address, whether it was allowed, and what else belongs to it.

        A line is written by one call, so that lines of several processes do not mix. Raises OSError where the file
        cannot be written: what cannot be recorded is not done.
        """
        if self.path is None:
            return
        told = {"time": now(), "event": event, "user": user, "address": address, "good": good, **more}
        short = {name: value[:LONGEST] if isinstance(value, str) else value for name, value in told.items()}
        handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            os.write(handle, (json.dumps(short) + "\n").encode())
        finally:
            os.close(handle)

    def last(self, count: int = 200) -> list[dict[str, Any]]:
        """The last lines, newest first."""
        if self.path is None or not self.path.is_file():
            return []
        with self.path.open("rb") as file:
            file.seek(max(0, self.path.stat().st_size - count * 1_000))
            lines = file.read().decode(errors="replace").splitlines()[-count:]
        found = []
        for line in reversed(lines):
            try:
                found.append(json.loads(line))
            except ValueError:
                continue  # the first may be cut
        return found
