"""Reads `schedule.yml` into a `Schedule` and gathers every mistake in it: unknown names, wrong types, lines that never fire."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from workbench.errors import WorkbenchError, nearest
from workbench.runs import parameters as door
from workbench.runs import times
from workbench.runs.notebooks import shipped_notebooks
from workbench.runs.schedule import (
    CATCH_UPS,
    KINDS,
    OVERLAPS,
    PASSING,
    STATES,
    Entry,
    Keep,
    Problem,
    Retries,
    Rule,
    Schedule,
    typed,
)
from workbench.runs.secrets import is_reference
from workbench.runs.yaml_lines import Lined, Place, read_yaml

TESTS = ("above", "below", "is")
TOP = ("zone", "link", "deliver", "retention", "parallel", "entries")
KEYS = (
    "notebook", "cron", "zone", "parameters", "cluster", "timeout", "memory", "retries", "overlap", "catch-up",
    "depends-on", "late", "alerts", "retention", "enabled",
)  # fmt: skip
NAME = re.compile(r"\w[^/\\]{0,79}")  # of an entry: it names jobs, locks and addresses
CLUSTER = re.compile(r"threads|processes|cuda||.+://.+|.+:\d+")  # or the address of a scheduler
LONGEST = 1e6  # of a count
SHOWN = 60  # characters of a wrong value
SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(MB|GB|TB|MiB|GiB|TiB)")
SIZES = {"MB": 10**6, "GB": 10**9, "TB": 10**12, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}


def checked(path: str | Path) -> tuple[Schedule, list[Problem]]:
    """A schedule as far as it is right, and its mistakes by line. Raises WorkbenchError where the file is not YAML."""
    from workbench.runs.channels import check_channels

    lined = read_yaml(path)
    found = Reader(lined)
    found.problems += [Problem(*one) for one in lined.wrong]
    top = lined.value if isinstance(lined.value, dict) else {}
    if not isinstance(lined.value, dict):
        found.wrong((), "a schedule is a mapping with `entries:`; notebooks/schedule.yml shows one")
    found.only(top, TOP, ())
    place = found.zone_of(top, (), ZoneInfo("UTC"))
    channels = found.mapping(top, "deliver", ())
    for path_in, text in check_channels(channels):
        found.wrong(("deliver", *path_in), text)
    keep = found.keep(top, (), Keep())
    parallel = found.count(top, "parallel", (), 2, 1)
    link = found.link(top)
    known = _books(lined.path.parent)
    told = found.mapping(top, "entries", ())
    if not told:
        found.wrong(
            ("entries",), "no entry; add one below `entries:`, as in  daily: {notebook: quality, cron: '30 2 * * *'}"
        )
    entries = {}
    for name, one in told.items():
        if not NAME.fullmatch(name) or not name.isprintable():
            found.wrong(
                ("entries", name),
                f"{_short(name)} is no name of an entry; wanted a letter or digit first, no slash, 80 at most",
            )
        if isinstance(one, dict):
            entries[name] = found.entry(name, one, place, keep, known, channels)
        else:
            found.wrong(("entries", name), "an entry is a mapping with at least `notebook:` and `cron:`")
    ordered = _ordered(entries, found)
    problems = sorted(set(found.problems), key=lambda one: (one.line, one.text))
    return Schedule(lined.path, ordered, channels, link, parallel), problems


def _books(folder: Path) -> dict[str, Path]:
    """The notebooks that an entry may name: those beside the schedule, then the shipped ones."""
    beside = {path.stem: path for path in sorted(folder.glob("*.ipynb"))}
    return {**shipped_notebooks(), **beside}


def _ordered(entries: dict[str, Entry], found: Reader) -> tuple[Entry, ...]:
    """The entries, each after those that it depends on; unknown names, those that are off, and cycles are told."""
    from graphlib import CycleError, TopologicalSorter

    for entry in entries.values():
        place = ("entries", entry.name, "depends-on")
        for one in entry.depends_on:
            if one not in entries:
                found.wrong(place, f"there is no entry {_short(one)}; {nearest(one[:80], entries)}")
            elif entry.enabled and not entries[one].enabled:
                found.wrong(
                    place, f"{one} is switched off, so there is nothing to wait for; switch it on, or this one off"
                )
    graph = {name: [one for one in entry.depends_on if one in entries] for name, entry in entries.items()}
    while True:
        try:
            return tuple(entries[name] for name in TopologicalSorter(graph).static_order())
        except CycleError as error:
            names = list(reversed(error.args[1]))
            words = " -> ".join(names[:8] + (["..."] if len(names) > 8 else []))
            found.wrong(
                ("entries", names[0], "depends-on"), f"these wait for each other: {words}; take one `depends-on` away"
            )
            graph[names[0]] = []  # there may be others


def _short(value: Any) -> str:
    """A value as a sentence shows it."""
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


class Reader:
    """Reads the parts of a schedule and gathers what is wrong with them; a wrong part becomes its default."""

    def __init__(self, lined: Lined) -> None:
        self.lined = lined
        self.problems: list[Problem] = []
        self.doors: dict[
            Path, tuple[dict[str, door.Parameter], door.Limits] | str
        ] = {}  # or what is wrong with a notebook

    def wrong(self, place: Place, text: str) -> None:
        """One more mistake, at the line of a place."""
        self.problems.append(Problem(self.lined.line(place), text))

    def only(self, told: dict[str, Any], known: tuple[str, ...], place: Place) -> None:
        for key in told:
            if key not in known:
                self.wrong((*place, key), f"there is no key {_short(key)} here; {nearest(key[:80], known)}")

    def mapping(self, told: dict[str, Any], key: str, place: Place) -> dict[str, Any]:
        value = told.get(key)
        if value is None or isinstance(value, dict):
            return value or {}
        self.wrong((*place, key), f"{key} is {_short(value)}; wanted a mapping (name: value)")
        return {}

    def names(self, told: dict[str, Any], key: str, place: Place) -> tuple[str, ...]:
        value = told.get(key)
        if value is None:
            return ()
        if isinstance(value, str):
            return (value,)
        if isinstance(value, list) and all(isinstance(one, str) for one in value):
            return tuple(value)
        self.wrong((*place, key), f"{key} is {_short(value)}; wanted a name or a list of names")
        return ()

    def choice(self, told: dict[str, Any], key: str, place: Place, choices: tuple[str, ...], default: str) -> str:
        value = told.get(key, default)
        if value in choices:
            return str(value)
        self.wrong((*place, key), f"{key} is {_short(value)}; wanted one of {', '.join(choices)}")
        return default

    def number(self, told: dict[str, Any], key: str, place: Place, default: float, least: float) -> float:
        value = told.get(key, default)
        if isinstance(value, (int, float)) and not isinstance(value, bool) and least <= value < float("inf"):
            return value
        bound = f" of at least {least:g}" if least > float("-inf") else ""
        self.wrong((*place, key), f"{key} is {_short(value)}; wanted a number{bound}")
        return default

    def count(self, told: dict[str, Any], key: str, place: Place, default: int, least: int) -> int:
        value = told.get(key, default)
        if isinstance(value, int) and not isinstance(value, bool) and least <= value <= LONGEST:
            return value
        self.wrong((*place, key), f"{key} is {_short(value)}; wanted a whole number of at least {least}")
        return default

    def span(self, told: dict[str, Any], key: str, place: Place, default: float) -> float:
        if told.get(key) is None:
            return default
        try:
            return times.seconds(told[key])
        except WorkbenchError as error:
            self.wrong((*place, key), f"{key}: {error}")
            return default

    def link(self, told: dict[str, Any]) -> str:
        value = told.get("link") or ""
        if value == "" or (isinstance(value, str) and value.startswith(("http://", "https://"))):
            return value.rstrip("/")
        self.wrong(("link",), f"link is {_short(value)}; wanted the address of the pages, as in http://localhost:5006")
        return ""

    def zone_of(self, told: dict[str, Any], place: Place, default: ZoneInfo) -> ZoneInfo:
        if told.get("zone") is None:
            return default
        if not isinstance(told["zone"], str):
            self.wrong(
                (*place, "zone"), f"zone is {_short(told['zone'])}; wanted an IANA name such as Europe/Berlin or UTC"
            )
            return default
        try:
            return times.zone(told["zone"])
        except WorkbenchError as error:
            self.wrong((*place, "zone"), str(error))
            return default

    def keep(self, told: dict[str, Any], place: Place, default: Keep) -> Keep:
        value = self.mapping(told, "retention", place)
        place = (*place, "retention")
        self.only(value, ("all", "days", "months"), place)
        all_days = self.span(value, "all", place, default.all_days * 86_400) / 86_400
        days, months = (self.count(value, key, place, getattr(default, key), 0) for key in ("days", "months"))
        return Keep(all_days, days, months)

    def entry(
        self, name: str, told: dict[str, Any], zone: ZoneInfo, keep: Keep, books: dict[str, Path], channels: Any
    ) -> Entry:
        place: Place = ("entries", name)
        self.only(told, KEYS, place)
        zone = self.zone_of(told, place, zone)
        cron, next_one = self.cron(told, place, zone)
        notebook = self.notebook(told, place, books)
        values = dict(self.mapping(told, "parameters", place))
        if told.get("cluster") is not None:
            values["cluster"] = told["cluster"]
        if notebook is not None:
            self.values(values, notebook, place, next_one, zone)
        late = self.span(told, "late", place, 0.0)
        rules = self.rules(told, place, channels, late)
        enabled = told.get("enabled", True)
        if not isinstance(enabled, bool):
            self.wrong((*place, "enabled"), f"enabled is {enabled!r}; wanted true or false")
        return Entry(
            name, notebook or Path(), cron, zone, values,
            self.span(told, "timeout", place, 3600.0), self.memory(told, place), self.retries(told, place),
            self.choice(told, "overlap", place, OVERLAPS, "wait"),
            self.choice(told, "catch-up", place, CATCH_UPS, "latest"),
            self.names(told, "depends-on", place), late, rules, self.keep(told, place, keep), enabled is True,
            self.lined.line(place),
        )  # fmt: skip

    def cron(self, told: dict[str, Any], place: Place, zone: ZoneInfo) -> tuple[str, datetime]:
        cron, now = told.get("cron"), datetime.now(UTC)
        if not isinstance(cron, str):
            came = "there is no `cron:`" if cron is None else f"cron is {_short(cron)}"
            self.wrong((*place, "cron"), f"{came}; wanted minute hour day month weekday, as in cron: '30 2 * * *'")
            return "", now
        try:
            found = times.next_fire(cron, zone, now)
        except WorkbenchError as error:
            self.wrong((*place, "cron"), str(error))
            return cron, now
        if found is None:
            self.wrong(
                (*place, "cron"), f"cron {cron!r} never fires: no month has that day; change the day or the month"
            )
        return cron, found or now

    def notebook(self, told: dict[str, Any], place: Place, books: dict[str, Path]) -> Path | None:
        name = told.get("notebook") or ""
        if not isinstance(name, str):
            self.wrong(
                (*place, "notebook"), f"notebook is {_short(name)}; wanted its name, or a path to an .ipynb file"
            )
            return None
        for path in (self.lined.path.parent / name, Path(name)):
            if name.endswith(".ipynb") and path.is_file():
                return path
        if name in books:
            return books[name]
        came = f"there is no notebook {_short(name)}" if name else "there is no `notebook:`"
        self.wrong((*place, "notebook"), f"{came}; {nearest(name[:80], books)} (a name, or a path to an .ipynb file)")
        return None

    def values(self, values: dict[str, Any], notebook: Path, place: Place, moment: datetime, zone: ZoneInfo) -> None:
        if notebook not in self.doors:
            try:
                self.doors[notebook] = door.declared(notebook), door.limits(notebook)
            except WorkbenchError as error:
                self.doors[notebook] = str(error)
        told = self.doors[notebook]
        if isinstance(told, str):
            self.wrong((*place, "notebook"), told)
            return
        known, bounds = told
        for name, value in values.items():
            at = (*place, "parameters", name) if (*place, "parameters", name) in self.lined.lines else (*place, name)
            if name not in known:
                self.wrong(
                    at, f"the notebook {notebook.stem} has no parameter {_short(name)}; {nearest(name[:80], known)}"
                )
                continue
            if is_reference(value):
                if not re.fullmatch(r"secret:(env|file):\S.*", value):
                    self.wrong(at, f"{_short(value)} is no secret; wanted secret:env:NAME or secret:file:PATH")
                continue
            try:
                told_as = typed(known[name], times.filled(value, moment, zone), "the schedule", bounds)
            except WorkbenchError as error:
                self.wrong(at, f"{error}".rstrip(".") + "; change the value")
                continue
            if name == "cluster" and name not in bounds.choices and not CLUSTER.fullmatch(str(told_as)):
                self.wrong(
                    at,
                    f"cluster is {_short(value)}; wanted threads, processes, cuda or the address of a scheduler of Dask",
                )

    def memory(self, told: dict[str, Any], place: Place) -> int:
        value = told.get("memory")
        if value is None:
            return 0
        match = SIZE.fullmatch(str(value).strip())
        if match and float(match[1]) > 0:
            return int(float(match[1]) * SIZES[match[2]])
        self.wrong((*place, "memory"), f"memory is {_short(value)}; wanted a size with its unit, as in 8GB or 512MiB")
        return 0

    def retries(self, told: dict[str, Any], place: Place) -> Retries:
        value, usual = told.get("retries"), Retries()
        if isinstance(value, int) and not isinstance(value, bool):
            value = {"times": value}
        if value is not None and not isinstance(value, dict):
            self.wrong(
                (*place, "retries"),
                f"retries is {_short(value)}; wanted a number, or {{times: 2, wait: 5m, factor: 2}}",
            )
        value = value if isinstance(value, dict) else {}
        place = (*place, "retries")
        self.only(value, ("times", "wait", "factor", "longest", "after"), place)
        after = self.names(value, "after", place) or PASSING
        for one in after:
            if one not in KINDS:
                self.wrong((*place, "after"), f"there is no failure {_short(one)}; {nearest(one[:80], KINDS)}")
        return Retries(
            self.count(value, "times", place, usual.times, 0),
            self.span(value, "wait", place, usual.wait),
            self.number(value, "factor", place, usual.factor, 1),
            self.span(value, "longest", place, usual.longest),
            after,
        )

    def rules(self, told: dict[str, Any], place: Place, channels: dict[str, Any], late: float) -> tuple[Rule, ...]:
        value = told.get("alerts") or []
        if not isinstance(value, list):
            self.wrong((*place, "alerts"), "alerts is a list of rules, as in  - {when: failed, to: team}")
            return ()
        return tuple(
            self.rule(one, (*place, "alerts", i), channels, late)
            for i, one in enumerate(value)
            if self._rule(one, place, i)
        )

    def _rule(self, one: Any, place: Place, number: int) -> bool:
        if isinstance(one, dict):
            return True
        self.wrong(
            (*place, "alerts", number),
            f"{_short(one)} is no rule; wanted a mapping, as in  - {{when: failed, to: team}}",
        )
        return False

    def rule(self, one: dict[str, Any], place: Place, channels: dict[str, Any], late: float) -> Rule:
        self.only(one, ("when", "figure", *TESTS, "times", "to"), place)
        tests = [key for key in TESTS if key in one]
        figure, to = one.get("figure") or "", self.names(one, "to", place)
        if not isinstance(figure, str):
            self.wrong((*place, "figure"), f"figure is {_short(figure)}; wanted the name of a headline figure")
            figure = str(figure)
        if not to:
            self.wrong(place, f"this rule tells nobody; add `to:`, {nearest('', channels)}")
        for name in to:
            if name not in channels:
                self.wrong(
                    (*place, "to"),
                    f"there is no channel {_short(name)}; {nearest(name[:80], channels)} (see `deliver:`)",
                )
        again = self.count(one, "times", place, 1, 1)
        if not figure:
            if tests or "when" not in one:
                self.wrong(place, f"this rule says no `when:` ({', '.join(STATES)}) and no `figure:`; add one of them")
            when = self.choice(one, "when", place, STATES, "failed") if "when" in one else "failed"
            if when == "late" and not late:
                self.wrong(place, "nothing says when this entry is late; add `late:` to it, as in  late: 2h")
            return Rule(when, times=again, to=to)
        if len(tests) != 1 or "when" in one:
            self.wrong(
                place, "a rule on a figure has one of `above:`, `below:` (a number) or `is:` (bad, good, missing)"
            )
        test = tests[0] if tests else "is"
        if test == "is":
            return Rule("", figure, test, self.choice(one, "is", place, ("bad", "good", "missing"), "bad"), again, to)
        return Rule("", figure, test, self.number(one, test, place, 0.0, float("-inf")), again, to)
