"""What a table promises: columns, types and rules in a YAML file; a breach stops the commit or sets the rows aside."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from workbench.errors import WorkbenchError, nearest
from workbench.tables.clean import Notes, Refused, Step, Values, mask
from workbench.tables.clean_spool import Marks, Numbers, Spool, hashes_of, repeats
from workbench.tables.contract_file import Written, read
from workbench.tables.kinds import kind_of

ACTIONS = ("quarantine", "stop", "report")
COLUMN = ["type", "nullable", "range", "allowed", "regex", "unique", "max_null_share", "on_breach"]
TOP = ["table", "on_breach", "extra", "columns", "unique", "freshness", "rows"]
BY_ROW = ("nullable", "range", "allowed", "regex")
KEPT = 2**15 - 1
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
    _spool, numbers, breaches = _judged([table], contract, now)
    which = numbers.between(0, table.num_rows)
    refused = [
        Refused("contract", words, table.filter(pa.array(which == k)))
        for k, words in enumerate(one.words for one in contract.rules)
        if (which == k).any()
    ]
    kept = which == KEPT
    return Checked(table if kept.all() else table.filter(pa.array(kept)), refused, breaches, contract.rules)


def keeps(contract: Contract, *, now: datetime | None = None, breaches: list[Breach] | None = None) -> Step:
    """A step of a flow that sets aside the rows which break a contract; breaches are appended.

    All tables of the flow are one to it: a key is unique in all of them, and there are enough rows in all. Rows wait on disk
    until the last came, so that nothing is passed on where a promise that stops is broken.
    """

    def work(tables: Iterator[pa.Table], notes: Notes) -> Iterator[pa.Table]:
        spool, which, found = _judged(tables, contract, now)
        if breaches is not None:
            breaches.extend(found)
        for rows, (mine,) in spool.with_numbers(which):
            for k in np.unique(mine[mine != KEPT]):
                notes.refuse(rows, mine == k, contract.rules[k].words)
            yield rows if (mine == KEPT).all() else rows.filter(pa.array(mine == KEPT))

    return Step("contract", f"{len(contract.rules)} promises of {Path(contract.path).name}", work)


def _judged(
    tables: Iterable[pa.Table], contract: Contract, now: datetime | None
) -> tuple[Spool, Numbers, list[Breach]]:
    """The rows, the promise for which each is set aside (KEPT for none; the first that it breaks), and all breaches."""
    rules, spool = contract.rules, Spool()
    counts = [0] * len(rules)
    told: dict[int, str] = {}  # what was found of a promise about the whole
    nulls: Counter[str] = Counter()
    newest: dict[str, datetime] = {}
    marks = {k: Marks(4) for k, rule in enumerate(rules) if rule.kind == "unique"}
    which = Numbers(np.int16, KEPT)
    for rows in tables:
        for k, rule in enumerate(rules):
            if found := _of_schema(rule, rows.schema):
                told[k] = found
            elif not set(rule.columns) <= set(rows.schema.names):
                continue
            elif rule.kind == "unique":
                first, second, absent = hashes_of(rows, rule.columns)
                row = np.arange(spool.rows, spool.rows + rows.num_rows)
                marks[k].add(*(one[~absent] for one in (first, second, -row, row)))
            elif rule.kind == "max_null_share":
                nulls[rule.columns[0]] += rows[rule.columns[0]].null_count
            elif rule.kind == "freshness":
                moment = pc.max(rows[rule.columns[0]]).as_py()
                if moment is not None:
                    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
                    newest[rule.columns[0]] = max(newest.get(rule.columns[0], moment), moment)
            elif rule.kind in BY_ROW:
                broken = _rows(rule, rows[rule.columns[0]])
                counts[k] += int(broken.sum())
                if rule.action == "quarantine":
                    which.put(spool.rows + np.flatnonzero(broken), k)
        spool.put(rows)
    for k, mine in marks.items():
        for lost in repeats(mine):
            counts[k] += len(lost)
            if rules[k].action == "quarantine":
                which.put(lost, k)
    breaches = []
    for k, rule in enumerate(rules):
        words = told.get(k) or _of_whole(rule, spool.rows, nulls, newest, now or datetime.now(UTC))
        words = words or (f"{counts[k]:,} rows are not so" if counts[k] else "")
        if words:
            breaches.append(Breach(rule, counts[k], words))
    stops = [one for one in breaches if one.rule.action == "stop"]
    if stops:
        said = "; ".join(f"{contract.path}:{one.rule.line}: {one.rule.words}, but {one.found}" for one in stops)
        raise ContractBroken(f"the contract is broken and nothing was committed: {said}", breaches)
    return spool, which, breaches


def _of_schema(rule: Rule, schema: pa.Schema) -> str:
    """What a schema tells of a promise; "" where it is kept, or the rows have to say."""
    lacking = [one for one in rule.columns if one not in schema.names]
    if lacking:
        return f"there is no column {lacking[0]!r}" if rule.kind == "there" else ""
    if rule.kind == "extra":
        more = [one for one in schema.names if one not in rule.value]
        return f"there is {', '.join(more)} too" if more else ""
    kind = kind_of(schema.field(rule.columns[0]).type) if rule.columns else ""
    if rule.kind == "type" and kind != rule.value and not (rule.value == "number" and kind == "integer"):
        return f"it is {kind}"
    if rule.kind == "range" and kind not in ("integer", "number"):
        return f"it is {kind}, no number"
    return f"it is {kind}, no time" if rule.kind == "freshness" and kind != "time" else ""


def _of_whole(rule: Rule, rows: int, nulls: Mapping[str, int], newest: Mapping[str, datetime], now: datetime) -> str:
    """What all rows together tell of a promise; "" where it is kept."""
    column = rule.columns[0] if rule.columns else ""
    if rule.kind == "rows":
        return f"there are {rows:,}" if rows < rule.value else ""
    if rule.kind == "max_null_share" and column in nulls:
        share = nulls[column] / max(rows, 1)
        return f"{share:.2%} are missing" if share > rule.value else ""
    if rule.kind == "freshness" and column in newest:
        late = now - newest[column] > _timedelta(rule.value)
        return f"the newest is of {newest[column]:%Y-%m-%d %H:%M}" if late else ""
    return "there is no time at all" if rule.kind == "freshness" and rows else ""


def _rows(rule: Rule, column: pa.ChunkedArray) -> Values:
    """The rows that break a promise about each of them."""
    there = mask(column.is_valid())
    if rule.kind == "nullable":
        return ~there
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
