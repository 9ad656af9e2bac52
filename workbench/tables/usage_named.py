"""A source's columns by alias, and its exceptions as they are found."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from workbench.tables.usage import EXCEPTIONS, REASONS, exceptions_table
from workbench.tables.usage_values import Values, counts, texts

# What the answers of model APIs wrap their usage in.
WRAPPING = re.compile(
    r"^((response|body|data|result|output|input|message)\.)*((usage|usage_?metadata|token_?usage)\.)?", re.IGNORECASE
)


@dataclass
class Raw:
    """A source's rows as columns, before their names are known.

    broken: rows that could not be read, as exceptions. ignored: what is no request, in words, with its number.
    aside: (rows, reason, field, value) that the format itself found. inclusive: whether the format's own rule is that input
    holds cached tokens and output holds reasoning (None: it has no rule).
    """

    columns: dict[str, pa.Array]
    source: pa.Array
    row: pa.Array
    broken: list[dict[str, Any]] = field(default_factory=list)
    ignored: dict[str, int] = field(default_factory=dict)
    aside: list[tuple[Values, str, str, str]] = field(default_factory=list)
    inclusive: bool | None = None


@cache
def aliases() -> dict[str, Any]:
    """The data file of names."""
    return tomllib.loads(Path(__file__).with_name("usage_aliases.toml").read_text())


def plain(name: str) -> str:
    """A name in small letters without marks.

    >>> plain("ContextTokens"), plain("prompt_tokens_details.cached-tokens")
    ('contexttokens', 'prompttokensdetailscachedtokens')
    """
    return re.sub(r"[^a-z0-9]", "", name.lower())


class Named:
    """A source's columns, looked up by alias; remembers which were taken."""

    def __init__(self, raw: Raw, words: Mapping[str, Any], wrapped: bool = False) -> None:
        """wrapped: names inside an API's answer (`usage.prompt_tokens`) are known without what they are wrapped in too."""
        self.raw, self.words = raw, words
        self.rows = len(raw.row)
        self.known: dict[str, list[str]] = {}
        for name in raw.columns:
            self.known.setdefault(plain(name), []).append(name)
        for name in raw.columns if wrapped else ():
            bare = WRAPPING.sub("", name)
            if bare != name:
                self.known.setdefault(plain(bare), []).append(name)
        self.taken: set[str] = set()

    def names(self, group: str, key: str) -> list[str]:
        found = [one for alias in self.words.get(group, {}).get(key, ()) for one in self.known.get(plain(alias), ())]
        self.taken.update(found)
        return list(dict.fromkeys(found))

    def text(self, key: str) -> pa.Array:
        out: pa.Array = pa.repeat(pa.scalar(""), self.rows)
        for name in self.names("text", key):
            out = pc.if_else(pc.equal(out, ""), texts(self.raw.columns[name]), out)
        return out

    def count(self, key: str) -> tuple[Values, Values, Values, pa.Array, list[str]]:
        """Values, missing, wrong, the words of what is wrong, and the names that were found."""
        value, missing, wrong = np.zeros(self.rows, np.int64), np.ones(self.rows, bool), np.zeros(self.rows, bool)
        said: pa.Array = pa.nulls(self.rows, pa.string())
        names = self.names("count", key)
        for name in names:
            here, lacking, bad = counts(self.raw.columns[name])
            fill = missing & ~lacking
            value, wrong, missing = np.where(fill, here, value), np.where(fill, bad, wrong), missing & lacking
            if (fill & bad).any():
                said = pc.if_else(pa.array(fill & bad), self.raw.columns[name].cast(pa.string()), said)
        return value, missing, wrong, said, names


class Found:
    """Exceptions as they are found, by row; which rows are set aside."""

    def __init__(self, raw: Raw, ids: pa.Array) -> None:
        self.raw, self.ids = raw, ids
        self.parts: list[pa.Table] = []
        self.aside = np.zeros(len(ids), bool)

    def add(self, rows: Values, reason: str, name: str, value: Any = "") -> None:
        if not rows.any():
            return
        which = pa.array(np.flatnonzero(rows))
        words = value if isinstance(value, pa.Array) else pa.array(value) if isinstance(value, np.ndarray) else None
        shown = pa.repeat(pa.scalar(str(value)), len(which)) if words is None else words.take(which).cast(pa.string())
        fixed = [pa.repeat(pa.scalar(one), len(which)) for one in (reason, name)]
        columns = [self.raw.source.take(which), self.raw.row.take(which), self.ids.take(which), *fixed, shown]
        self.parts.append(pa.table(columns, EXCEPTIONS))
        if REASONS[reason]:
            self.aside |= rows

    def table(self) -> pa.Table:
        made = pa.concat_tables([exceptions_table(self.raw.broken), *self.parts])
        return made.sort_by([("source", "ascending"), ("row", "ascending")]) if made.num_rows else made
