"""The rules of what is personal: read from a data file, and tried on the CPU before anything is searched with them."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from workbench.errors import WorkbenchError, nearest
from workbench.tables.redact_checks import CHECKS

SHIPPED = Path(__file__).with_name("redact_rules.toml")
WORD = "0-9A-Za-z_"
COUNTED = {"cell", "desk", "sin", "tin", "handy", "portable"}  # columns of numbers may be named so for other reasons
NORMALS = ("", "digits", "letters", "lower")
FIELDS = {"name", "kind", "pattern", "prefilter", "context", "gap", "edges", "check", "normal", "country", "column"}


@dataclass(frozen=True)
class Rule:
    """One form of personal data.

    name, kind: as in findings. pattern: RE2 with the group v (what is found) and perhaps groups no, no2 (no finding where
    one takes part). prefilter: RE2 that holds for every text with a finding, in the part that libcudf reads as well.
    edges: bytes that may not touch a finding. check: a function of redact_checks, "" for none. normal: how a value is
    written before its pseudonym is made. words: names of columns that announce a value as words before it do.
    """

    name: str
    kind: str
    pattern: str
    prefilter: str
    edges: frozenset[int] = frozenset()
    check: str = ""
    normal: str = ""
    country: str = ""
    words: tuple[str, ...] = ()
    bare: str = ""  # the pattern without the words


def load_rules(
    path: str | Path | None = None, *, only: Iterable[str] | None = None, countries: Iterable[str] | None = None
) -> tuple[Rule, ...]:
    """The rules of a data file (TOML), by default those that come with the package, each compiled and tried.

    Parameters
    ----------
    path
        A file of `[[rule]]` tables, as redact_rules.toml; None for that one.
    only
        Names or kinds to keep; all by default.
    countries
        Two-letter codes: rules of other countries are left out, rules of no country stay. All by default.

    Raises
    ------
    WorkbenchError
        Naming file and rule for an expression that RE2 or libcudf does not read, an unknown field, check, name or
        country, and two rules of one name.

    Examples
    --------
    >>> [rule.name for rule in load_rules(only=["ip", "email"])]
    ['email', 'ipv4', 'ipv6']
    """
    source = SHIPPED if path is None else Path(path)
    try:
        tables = tomllib.loads(source.read_text(encoding="utf-8")).get("rule", [])
    except OSError as error:
        raise WorkbenchError(f"the rules {str(source)!r} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise WorkbenchError(f"{source}: this is not TOML: {error}") from None
    if not isinstance(tables, list) or not tables:
        raise WorkbenchError(f"{source}: there is no [[rule]]; each rule is a table with name, kind and pattern")
    found = tuple(_rule(one, f"{source.name}, rule {k + 1}") for k, one in enumerate(tables))
    names = [rule.name for rule in found]
    for name in names:
        if names.count(name) > 1:
            raise WorkbenchError(f"{source}: two rules are named {name!r}; give one of them another name")
    return _chosen(found, only, countries)


def _chosen(rules: tuple[Rule, ...], only: Iterable[str] | None, countries: Iterable[str] | None) -> tuple[Rule, ...]:
    wanted = None if only is None else list(only)
    for word in wanted or ():
        known = {part for rule in rules for part in (rule.name, rule.kind)}
        if word not in known:
            raise WorkbenchError(f"there is no rule or kind {word!r}: {nearest(word, sorted(known))}")
    places = None if countries is None else {one.upper() for one in countries}
    known = {one for rule in rules for one in rule.country.split()}
    for place in places or ():
        if place not in known:
            raise WorkbenchError(f"there is no rule of country {place!r}: {nearest(place, sorted(known), 8)}")
    kept = tuple(
        rule
        for rule in rules
        if (wanted is None or {rule.name, rule.kind} & set(wanted))
        and (places is None or not rule.country or places & set(rule.country.split()))
    )
    if not kept:
        raise WorkbenchError("no rule is left: choose names, kinds or countries of one rule at least")
    return kept


def _rule(table: dict[str, Any], where: str) -> Rule:
    name = table.get("name")
    where = f"{where} ({name})" if name else where
    for key in table:
        if key not in FIELDS:
            raise WorkbenchError(f"{where}: there is no field {key!r}: {nearest(key, sorted(FIELDS))}")
    for key in ("name", "kind", "pattern"):
        if not isinstance(table.get(key), str) or not table[key]:
            raise WorkbenchError(f"{where}: {key} must be a text")
    for key, choices in (("check", ["", *CHECKS]), ("normal", list(NORMALS))):
        if table.get(key, "") not in choices:
            raise WorkbenchError(f"{where}: there is no {key} {table[key]!r}: {nearest(str(table[key]), choices)}")
    pattern = table["pattern"] if "(?P<v>" in table["pattern"] else f"(?P<v>{table['pattern']})"
    prefilter = table.get("prefilter") or re.sub(r"\(\?P<\w+>", "(?:", table["pattern"])
    words, bare = table.get("context", []), pattern
    if words:
        pattern = _words(words) + table.get("gap", r"[^0-9A-Za-z]{0,12}") + pattern
        prefilter = table.get("prefilter") or announced(words)
    rule = Rule(
        name=table["name"],
        kind=table["kind"],
        pattern=pattern,
        prefilter=prefilter,
        edges=_bytes(table.get("edges", WORD)),
        check=table.get("check", ""),
        normal=table.get("normal", ""),
        country=table.get("country", ""),
        words=tuple(words) if table.get("column") else (),
        bare=bare,
    )
    _try(rule, where)
    return rule


def in_column(rule: Rule, path: str, number: bool = False) -> Rule:
    """The rule for a column whose name ends in one of its words: there a value that begins the text needs no other.

    number: whether the column holds whole numbers.

    >>> (rule,) = load_rules(only=["phone_announced"])
    >>> [in_column(rule, one) is rule for one in ("customer.homePhone", "phone_model")]
    [False, True]
    """
    name = re.split(r"[.{}\[\]]+", path.rstrip("[]{}"))[-1]
    parts = re.findall(r"[A-Z]?[^\W\dA-Z_]+|[A-Z]+(?![^\W\dA-Z_])", name)
    ends = {" ".join(parts[k:]).lower() for k in range(len(parts))} - (COUNTED if number else set())
    if not ends & {" ".join(re.findall(r"\w+", one)) for one in rule.words}:
        return rule
    before = rule.pattern.removesuffix(rule.bare)
    return replace(rule, pattern=rf"(?:^[^0-9A-Za-z+(]{{0,3}}|{before}){rule.bare}", prefilter="[0-9]")


def announced(words: Sequence[str]) -> str:
    """The prefilter of words that stand before a number: each in any case, then a digit on the same line or the next.

    >>> announced(["tel"])
    '\\\\b(?:[Tt][Ee][Ll])[^0-9A-Za-z][^0-9]*[0-9]'
    """
    latin, other = (["".join(map(_either, one)) for one in some] for some in _by_script(words))
    parts = [*([rf"\b(?:{'|'.join(latin)})[^0-9A-Za-z]"] if latin else []), *other]
    return (parts[0] if len(parts) == 1 else f"(?:{'|'.join(parts)})") + "[^0-9]*[0-9]"


def _words(words: Sequence[str]) -> str:
    """The pattern of any of these words in any case; what stands at their edges is no ASCII letter where they are ASCII."""
    latin, other = ("|".join(map(re.escape, sorted(some, key=len, reverse=True))) for some in _by_script(words))
    parts = [*([rf"\b(?i:{latin})\b"] if latin else []), *([f"(?i:{other})"] if other else [])]
    return f"(?:{'|'.join(parts)})"


def _by_script(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Words that begin and end in ASCII, where RE2 and libcudf know the edge of a word, and others."""
    latin = [one for one in words if (one[0] + one[-1]).isascii()]
    return latin, [one for one in words if one not in latin]


def _either(letter: str) -> str:
    if letter.lower() != letter.upper():
        return f"[{letter.upper()}{letter.lower()}]"
    return re.escape(letter) if letter != " " else " "


def _bytes(edges: str) -> frozenset[int]:
    """The bytes of a set of characters such as 0-9A-Z_."""
    return frozenset(k for k in range(128) if edges and re.match(f"[{edges}]", chr(k)))


def _try(rule: Rule, where: str) -> None:
    for field in ("pattern", "prefilter"):
        text = getattr(rule, field)
        try:
            hit = pc.match_substring_regex(pa.array([""]), text)[0].as_py()
        except pa.ArrowInvalid as error:
            said = str(error).splitlines()[0]
            raise WorkbenchError(f"{where}: RE2 does not read its {field}: {said}") from None
        if hit:
            raise WorkbenchError(f"{where}: its {field} matches the empty text; ask for one character at least")
    strange = re.search(r"\(\?(?!:)|\\[pPQEACXkKGRz]|[*+?}]\+|\[\[:", rule.prefilter)
    if strange:
        raise WorkbenchError(
            f"{where}: its prefilter holds {strange.group()!r}, which libcudf does not read; write it with plain groups, "
            "or give a simpler prefilter beside the pattern"
        )
