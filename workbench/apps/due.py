"""When a notebook runs next by the schedule beside it, and whether a run that should have been is missing."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

from workbench.apps import shell
from workbench.apps.shell import Json
from workbench.errors import WorkbenchError
from workbench.runs.records import Record

FILE = "schedule.yml"
LEDGER = "schedule.db"  # what a scheduler leaves in the folder of runs


@dataclass(frozen=True)
class Due:
    """The entries of a schedule that run one notebook; `watched` when a scheduler has been at work on these runs."""

    entries: tuple[Any, ...]
    now: datetime
    watched: bool

    def told(self) -> Json | None:
        """The next time as ISO text and the words for it, None when no entry fires again."""
        from workbench.runs.times import next_fire

        found = [next_fire(one.cron, one.zone, self.now) for one in self.entries]
        times = [one for one in found if one is not None]
        return {"time": min(times).isoformat(), "watched": self.watched} if times else None

    def missed(self, good: Record) -> str | None:
        """The time of a run that should have been good by now and is not, None when none is missing or nobody watches."""
        from workbench.runs.times import next_fire

        since = shell.parse_time(good.started)
        if since is None or not self.watched:
            return None
        for one in self.entries:
            fire = next_fire(one.cron, one.zone, since)
            allowed = timedelta(seconds=one.late or one.timeout)
            if fire is not None and fire + allowed < self.now:
                return fire.isoformat()
        return None


def due(notebooks: Path, runs: Path, now: datetime) -> tuple[dict[str, Due], str]:
    """What the schedule in a folder of notebooks says of each notebook, and a sentence when it cannot be read.

    Without a schedule nothing is said.
    """
    path = notebooks / FILE
    try:
        entries = _entries(path, path.stat().st_mtime_ns)
    except FileNotFoundError:
        return {}, ""
    except ImportError as error:
        return {}, f"Next runs are not shown: reading `{FILE}` needs {error.name or error}."
    except (WorkbenchError, OSError) as error:
        return {}, f"Next runs are not shown: {str(error).splitlines()[0]}"
    watched = (runs / LEDGER).is_file() or bool(os.environ.get("WORKBENCH_LEDGER"))
    found: dict[str, list[Any]] = {}
    for one in entries:
        if one.enabled:
            found.setdefault(Path(one.notebook).stem, []).append(one)
    return {name: Due(tuple(some), now, watched) for name, some in found.items()}, ""


@lru_cache(8)
def _entries(path: Path, changed: int) -> tuple[Any, ...]:
    from workbench.runs.schedule import read_schedule

    return read_schedule(path).entries
