"""What a table promises: columns, types and rules in a YAML file; a breach stops the commit or sets the rows aside."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from workbench.errors import WorkbenchError, nearest
from workbench.tables.clean import Notes, Refused, Step, Values, each, mask
from workbench.tables.clean_rows import codes_of
from workbench.tables.contract_file import Written, read
from workbench.tables.kinds import kind_of

ACTIONS = ("quarantine", "stop", "report")
COLUMN = ["type", "nullable", "range", "allowed", "regex", "unique", "max_null_share", "on_breach"]
TOP = ["table", "on_breach", "extra", "columns", "unique", "freshness", "rows"]
KINDS = ("integer", "number", "time", "boolean", "text")


@dataclass(frozen=True)
class Rule:
    """One promise: about a column (or several), of a kind, with its value and what a breach does; and its line in the file."""

    kind: str
    columns: tuple[str, ...]
    value: Any
    action: str
    line: int

    @property
    def words(self) -> str:
        """The promise in words, as in `latency_s: range 0 to 600`."""
        names = ", ".join(self.columns)
        told = {
            "there": "is there",
            "extra": "no other column",
            "type": f"is {self.value}",
            "nullable": "is never missing",
            "unique": "is unique",
        }
        if self.kind in told:
            return f"{names}: {told[self.kind]}" if names else told[self.kind]
        if self.kind == "range":
            low, high = self.value
            return f"{names}: {'' if low is None else f'{low:g} <= '}value{'' if high is None else f' <= {high:g}'}"
        if self.kind == "freshness":
            return f"{names}: not older than {self.value}"
        if self.kind == "allowed":
            return f"{names}: one of {', '.join(map(str, self.value))}"
        if self.kind == "rows":
            return f"at least {self.value:,} rows"
        return f"{names}: {self.kind.replace('_', ' ')} {self.value}"


@dataclass(frozen=True)
class Contract:
    """A contract as read from its file."""

    path: str
    table: str
    rules: tuple[Rule, ...]


@dataclass(frozen=True)
class Breach:
    """A promise that was broken: the rule, in how many rows (0 where it is about the whole), and what was found."""

    rule: Rule
    rows: int
    found: str


@dataclass(frozen=True)
class Checked:
    """A table against its contract: the rows that keep it, the rows set aside with why, every breach, every rule looked at."""

    table: pa.Table
    refused: list[Refused] = field(default_factory=list)
    breaches: list[Breach] = field(default_factory=list)
    rules: tuple[Rule, ...] = ()


class ContractBroken(WorkbenchError):  # noqa: N818 (it says what happened)
    """A promise whose breach stops the commit was broken; `breaches` has all of them."""

    def __init__(self, words: str, breaches: Sequence[Breach]) -> None:
        super().__init__(words)
        self.breaches = list(breaches)


def load_contract(path: str | Path) -> Contract:
    """A contract from a YAML file.

    Top fields: `columns` (needed), `table` (a name), `on_breach` ("quarantine", the default, "stop" or "report"), `extra`
    ("allow" or "refuse" columns that are not named), `unique` (a list of columns that are a key together), `rows` (least
    number of rows), `freshness` ({column, within}; within as 2 d, 6 h or 30 min). A column has `type` (integer, number, time,
    boolean, text), `nullable`, `range` [low, high] (null for open), `allowed` (a list), `regex` (RE2, of the whole text),
    `unique`, `max_null_share` (0 to 1), and its own `on_breach`.

    Raises WorkbenchError with file, line and remedy for anything else.
    """
    book = read(path)
    top = book.fields((), book.value, TOP)
    action = _action(book, (), top, "quarantine")
    columns = top.get("columns")
    if not isinstance(columns, dict) or not columns:
        raise book.wrong(
            ("columns",) if "columns" in top else (), "a contract needs columns: a name and its rules each"
        )
    rules: list[Rule] = []
    for name, given in columns.items():
        rules += _column(book, name, {} if given is None else given, action)
    if top.get("extra", "allow") not in ("allow", "refuse"):
        raise book.wrong(("extra",), f"there is no {top['extra']!r}: the choices are 'allow', 'refuse'")
    if top.get("extra") == "refuse":
        rules.append(
            Rule("extra", (), tuple(columns), "stop" if action == "stop" else "report", _line(book, ("extra",)))
        )
    if "unique" in top:
        names = [top["unique"]] if isinstance(top["unique"], str) else top["unique"]
        for one in names:
            if one not in columns:
                raise book.wrong(
                    ("unique",), f"there is no column {one!r} in the contract: {nearest(str(one), columns)}"
                )
        rules.append(Rule("unique", tuple(names), True, action, _line(book, ("unique",))))
    if "rows" in top:
        if not isinstance(top["rows"], int) or top["rows"] < 0:
            raise book.wrong(("rows",), f"a least number of rows is wanted, not {top['rows']!r}")
        rules.append(Rule("rows", (), top["rows"], _whole(action), _line(book, ("rows",))))
    if "freshness" in top:
        fresh = book.fields(("freshness",), top["freshness"], ["column", "within", "on_breach"])
        if fresh.get("column") not in columns:
            raise book.wrong(
                ("freshness",), f"give a column of the contract: {nearest(str(fresh.get('column')), columns)}"
            )
        _span(book, fresh.get("within"))
        own = _whole(_action(book, ("freshness",), fresh, action))
        rules.append(Rule("freshness", (fresh["column"],), fresh["within"], own, _line(book, ("freshness",))))
    return Contract(str(path), str(top.get("table", "")), tuple(rules))


def check(table: pa.Table, contract: Contract, *, now: datetime | None = None) -> Checked:
    """A table against its contract. `now` is for freshness; by default the present.

    A rule about values sets aside the rows that break it ("quarantine"), or only says so ("report"); rules about the whole
    (a missing column, too many missing values, too few rows, too old) cannot set rows aside and are reported, unless they
    stop. A missing value breaks `nullable: false` only. NaN is in no range.

    Raises ContractBroken, with the file and line of each, where a rule that says "stop" is broken; no row is lost by it:
    nothing was written.
    """
    bad: dict[str, Values] = {}
    breaches: list[Breach] = []
    for rule in contract.rules:
        broken, found = _broken(rule, table, now or datetime.now(UTC))
        if not found:
            continue
        breaches.append(Breach(rule, int(broken.sum()) if broken is not None else 0, found))
        if broken is not None and rule.action == "quarantine":
            bad[rule.words] = broken
    stops = [one for one in breaches if one.rule.action == "stop"]
    if stops:
        told = "; ".join(f"{contract.path}:{one.rule.line}: {one.rule.words}, but {one.found}" for one in stops)
        raise ContractBroken(f"the contract is broken and nothing was committed: {told}", breaches)
    # A row is set aside once, for the first promise that it breaks.
    refused, gone = [], np.zeros(table.num_rows, bool)
    for words, rows in bad.items():
        fresh = rows & ~gone
        gone |= rows
        if fresh.any():
            refused.append(Refused("contract", words, table.filter(pa.array(fresh))))
    return Checked(table.filter(pa.array(~gone)) if gone.any() else table, refused, breaches, contract.rules)


def keeps(contract: Contract, *, now: datetime | None = None, breaches: list[Breach] | None = None) -> Step:
    """A step of a flow that sets aside the rows which break a contract, table by table; breaches are appended."""

    def work(rows: pa.Table, notes: Notes) -> pa.Table:
        checked = check(rows, contract, now=now)
        for one in checked.refused:
            notes.refused.append(Refused(notes.count.step, one.reason, one.rows))
            notes.count.refused += one.rows.num_rows
        if breaches is not None:
            breaches.extend(checked.breaches)
        return checked.table

    return each("contract", f"{len(contract.rules)} promises of {Path(contract.path).name}", work)


def _broken(rule: Rule, table: pa.Table, now: datetime) -> tuple[Values | None, str]:
    """The rows that break a rule (None: it is about the whole) and what was found; "" where it is kept."""
    there = [one for one in rule.columns if one in table.schema.names]
    if len(there) < len(rule.columns):
        lacking = next(one for one in rule.columns if one not in there)
        return None, f"there is no column {lacking!r}" if rule.kind == "there" else ""
    if rule.kind == "there":
        return None, ""
    if rule.kind == "extra":
        more = [one for one in table.schema.names if one not in rule.value]
        return None, f"there is {', '.join(more)} too" if more else ""
    if rule.kind == "rows":
        return None, f"there are {table.num_rows:,}" if table.num_rows < rule.value else ""
    column = table[rule.columns[0]]
    if rule.kind == "type":
        kind = kind_of(column.type)
        same = kind == rule.value or (rule.value == "number" and kind == "integer")
        return None, "" if same else f"it is {kind}"
    if rule.kind == "range" and kind_of(column.type) not in ("integer", "number"):
        return None, f"it is {kind_of(column.type)}, no number"
    if rule.kind == "freshness" and kind_of(column.type) != "time":
        return None, f"it is {kind_of(column.type)}, no time"
    if rule.kind == "max_null_share":
        share = column.null_count / max(len(column), 1)
        return None, f"{share:.2%} are missing" if share > rule.value else ""
    if rule.kind == "freshness":
        newest = pc.max(column).as_py()
        if newest is None:
            return None, "there is no time at all" if table.num_rows else ""
        newest = newest if newest.tzinfo else newest.replace(tzinfo=UTC)
        return None, f"the newest is of {newest:%Y-%m-%d %H:%M}" if now - newest > _timedelta(rule.value) else ""
    broken = _rows(rule, table, column)
    return broken, f"{int(broken.sum()):,} rows are not so" if broken.any() else ""


def _rows(rule: Rule, table: pa.Table, column: pa.ChunkedArray) -> Values:
    there = mask(column.is_valid())
    if rule.kind == "nullable":
        return ~there
    if rule.kind == "unique":
        codes, absent = codes_of(table, rule.columns)
        _, first, times = np.unique(codes, return_index=True, return_counts=True)
        repeated = np.ones(len(codes), bool)
        repeated[first] = False  # the first of them stays
        return repeated & ~absent & (len(times) < len(codes))
    if rule.kind == "range":
        low, high = rule.value
        numbers = np.asarray(column.cast(pa.float64(), safe=False).fill_null(0.0))
        inside = ~np.isnan(numbers)
        inside &= True if low is None else numbers >= low
        inside &= True if high is None else numbers <= high
        return there & ~inside
    text = column.cast(pa.string())
    if rule.kind == "allowed":
        return there & ~mask(pc.is_in(text, pa.array([_as_text(one) for one in rule.value], pa.string())))
    return there & ~mask(pc.match_substring_regex(text, rf"^(?:{rule.value})$"))


def _as_text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _column(book: Written, name: str, given: Any, action: str) -> list[Rule]:
    place = ("columns", name)
    fields = book.fields(place, given, COLUMN)
    own = _action(book, place, fields, action)
    line = _line(book, place)
    rules = [Rule("there", (name,), True, "stop" if own == "stop" else "report", line)]
    for key, value in fields.items():
        here = (*place, key)
        if key == "on_breach":
            continue
        if key in ("nullable", "unique") and not isinstance(value, bool):
            raise book.wrong(here, f"true or false is wanted, not {value!r}")
        if key == "type" and value not in KINDS:
            raise book.wrong(here, f"there is no type {value!r}: {nearest(str(value), KINDS)}")
        if key == "range":
            _range(book, here, value)
        if key == "allowed" and not (isinstance(value, list) and value):
            raise book.wrong(here, f"a list of values is wanted, not {value!r}")
        if key == "regex":
            _regex(book, here, value)
        if key == "max_null_share" and not (isinstance(value, int | float) and 0 <= value <= 1):
            raise book.wrong(here, f"a share between 0 and 1 is wanted, not {value!r}")
        if (key == "nullable" and value) or (key == "unique" and not value):
            continue
        about_whole = key in ("type", "max_null_share")
        rules.append(Rule(key, (name,), value, _whole(own) if about_whole else own, _line(book, here)))
    return rules


def _whole(action: str) -> str:
    """What a breach of a rule about the whole does: it cannot set rows aside."""
    return "report" if action == "quarantine" else action


def _range(book: Written, place: tuple[str, ...], value: Any) -> None:
    numbers = value if isinstance(value, list) and len(value) == 2 else ["no"]
    if not all(one is None or (isinstance(one, int | float) and not isinstance(one, bool)) for one in numbers):
        raise book.wrong(place, f"[low, high] is wanted, null for an open end, not {value!r}")
    if None not in numbers and numbers[0] > numbers[1]:
        raise book.wrong(place, f"the low end {numbers[0]} is above the high end {numbers[1]}; turn them round")


def _regex(book: Written, place: tuple[str, ...], value: Any) -> None:
    try:
        pc.match_substring_regex(pa.array([""]), f"^(?:{value})$")
    except pa.ArrowInvalid as error:
        raise book.wrong(place, f"RE2 does not read this (no look-around): {str(error).splitlines()[0]}") from None


def _action(book: Written, place: tuple[str, ...], fields: dict[str, Any], default: str) -> str:
    found = fields.get("on_breach", default)
    if found not in ACTIONS:
        raise book.wrong((*place, "on_breach"), f"there is no {found!r}: {nearest(str(found), ACTIONS)}")
    return str(found)


def _line(book: Written, place: tuple[str, ...]) -> int:
    return book.lines.get(place, 1)


def _span(book: Written, value: Any) -> None:
    if not re.fullmatch(r"\d+(?:\.\d+)? ?(?:d|h|min|s)", str(value)):
        raise book.wrong(("freshness", "within"), f"a length of time is wanted, as 2 d, 6 h or 30 min, not {value!r}")


def _timedelta(value: str) -> timedelta:
    number, unit = re.fullmatch(r"([\d.]+) ?(\w+)", value).groups()  # type: ignore[union-attr]
    return timedelta(seconds=float(number) * {"d": 86400, "h": 3600, "min": 60, "s": 1}[unit])
