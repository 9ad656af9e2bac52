"""`notebooks/schedule.yml` as values: what runs when, with which parameters, and what is to be done when it does not.

`read_schedule` gives the schedule or raises with every mistake at once, each with file, line and remedy.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from workbench.errors import WorkbenchError
from workbench.runs import parameters as door

KINDS = ("error", "memory", "disk", "timeout", "died", "killed", "lost", "refused")  # of failure
PASSING = ("memory", "disk", "timeout", "died", "killed", "lost")  # those that may go well the next time
OVERLAPS = ("wait", "skip", "replace", "allow")
CATCH_UPS = ("each", "latest", "none")
STATES = ("failed", "late", "missed", "bad")
TESTS = ("above", "below", "is")


@dataclass(frozen=True)
class Retries:
    """How often a failed window is tried again, how long after (seconds, times ``factor`` each time), after what."""

    times: int = 1
    wait: float = 60.0
    factor: float = 2.0
    longest: float = 3600.0
    after: tuple[str, ...] = PASSING

    def pause(self, tries: int) -> float:
        """Seconds to wait after the try of this number (from 1)."""
        return min(self.longest, self.wait * self.factor ** min(tries - 1, 64))


@dataclass(frozen=True)
class Rule:
    """When to tell whom: a state of the run (`when`), or a headline figure above, below, or `is` bad, good, missing."""

    when: str = ""
    figure: str = ""
    test: str = ""
    limit: Any = None
    times: int = 1
    to: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The rule in words; it names its incidents."""
        return self.when or f"{self.figure} {self.test} {self.limit}"


@dataclass(frozen=True)
class Keep:
    """Which good runs stay: all of this many days, then one a day, then one a month (each a number of them)."""

    all_days: float = 14
    days: int = 60
    months: int = 24


@dataclass(frozen=True)
class Entry:
    """One thing that runs by the calendar."""

    name: str
    notebook: Path
    cron: str
    zone: ZoneInfo
    parameters: dict[str, Any] = field(default_factory=dict)
    timeout: float = 3600.0
    memory: int = 0
    retries: Retries = Retries()
    overlap: str = "wait"
    catch_up: str = "latest"
    depends_on: tuple[str, ...] = ()
    late: float = 0.0
    alerts: tuple[Rule, ...] = ()
    keep: Keep = Keep()
    enabled: bool = True
    line: int = 0


@dataclass(frozen=True)
class Schedule:
    """A schedule that has been read and checked; entries are in an order in which none comes before what it depends on."""

    path: Path
    entries: tuple[Entry, ...]
    channels: dict[str, dict[str, Any]] = field(default_factory=dict)
    link: str = ""
    parallel: int = 2

    @cached_property
    def _by_name(self) -> dict[str, Entry]:
        return {one.name: one for one in self.entries}

    def entry(self, name: str) -> Entry | None:
        """The entry of a name, None where there is none (any more)."""
        return self._by_name.get(name)


@dataclass(frozen=True)
class Problem:
    """One mistake in a schedule: its line and a sentence with the remedy."""

    line: int
    text: str


def read_schedule(path: str | Path) -> Schedule:
    """The schedule of a YAML file.

    Raises WorkbenchError that names every mistake with file, line and remedy.
    """
    from workbench.runs.schedule_file import checked

    schedule, problems = checked(path)
    if problems:
        shown = "\n".join(f"{path}:{one.line}: {one.text}" for one in problems)
        count = "a mistake" if len(problems) == 1 else f"{len(problems)} mistakes"
        raise WorkbenchError(f"the schedule has {count}:\n{shown}")
    return schedule


def typed(parameter: door.Parameter, value: Any, came: str, bounds: door.Limits = door.NO_LIMITS) -> Any:
    """A schedule's value as the parameter's type: a text that came from dates is read as the annotation says."""
    if isinstance(value, str) and parameter.kind.base != "str":
        value = door.parse(parameter, value, came, bounds)
    return door.check(parameter, value, came, bounds)
