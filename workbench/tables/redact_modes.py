"""What stands in the place of personal data: a mask, nothing, or a pseudonym made with a key; and days that are moved."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from workbench.errors import WorkbenchError, nearest
from workbench.tables.redact_rules import Rule

MODES = ("mask", "remove", "pseudonym")
KEY = "WORKBENCH_REDACT_KEY"
LETTERS = bytes.maketrans(b"0123456789abcdef", b"bcdfghjklmnpqrst")  # no digit and no word: it is found by no rule
DAY = 86_400


class Key:
    """A secret for pseudonyms. It is never shown: not by print, not by repr, and it cannot be pickled."""

    __slots__ = ("_secret",)

    def __init__(self, secret: bytes) -> None:
        if len(secret) < 16:
            raise WorkbenchError(f"the key for pseudonyms has {len(secret)} bytes; give 16 at least")
        self._secret = secret

    def __repr__(self) -> str:
        return "Key(hidden)"

    def __reduce__(self) -> str:
        raise WorkbenchError("a key is not written anywhere; read it again with read_key where it is needed")

    def digest(self, *parts: str) -> bytes:
        """HMAC-SHA256 of texts."""
        return hmac.digest(self._secret, "\0".join(parts).encode("utf-8", "surrogatepass"), hashlib.sha256)


def read_key(file: str | Path | None = None, *, variable: str = KEY) -> Key:
    """The key in a file, or else in an environment variable (WORKBENCH_REDACT_KEY): 16 bytes at least.

    `file` may also be a reference, `secret:env:NAME` or `secret:file:PATH`.

    Raises WorkbenchError, without a word of the key, where neither is there or it is too short.
    """
    if str(file).startswith("secret:env:"):
        file, variable = None, str(file).removeprefix("secret:env:")
    if file is not None:
        file = str(file).removeprefix("secret:file:")
        try:
            return Key(Path(file).expanduser().read_bytes().strip())
        except OSError as error:
            raise WorkbenchError(f"the key file {str(file)!r} cannot be read: {error.strerror}") from None
    if not os.environ.get(variable):
        raise WorkbenchError(
            f"pseudonyms and moved dates need a key: put 16 bytes or more into the environment as {variable}, or give a "
            "file (python -c 'import secrets; print(secrets.token_hex(32))' makes one)"
        )
    return Key(os.environ[variable].encode())


def chosen_modes(modes: str | Mapping[str, str], rules: Sequence[Rule], key: Key | None) -> dict[str, str]:
    """The mode of each rule by its name. `modes` is one for all, or by rule or kind, "*" for the others (mask)."""
    given = {"*": modes} if isinstance(modes, str) else dict(modes)
    known = {word for rule in rules for word in (rule.name, rule.kind)} | {"*"}
    for word, mode in given.items():
        if word not in known:
            raise WorkbenchError(f"there is no rule or kind {word!r} to treat: {nearest(word, sorted(known))}")
        if mode not in MODES:
            raise WorkbenchError(f"there is no mode {mode!r} for {word!r}: {nearest(mode, MODES)}")
    others = given.get("*", "mask")
    found = {rule.name: given.get(rule.name, given.get(rule.kind, others)) for rule in rules}
    if "pseudonym" in found.values() and key is None:
        raise WorkbenchError("the mode pseudonym needs a key: pass key=read_key()")
    return found


def replacement(rule: Rule, mode: str, value: str, key: Key | None) -> str:
    """What stands for a value: `[email]`, nothing, or `[email-...]` with 24 letters that are the same for the same
    value (as the rule writes it normally: small letters, digits only) and key, in any column and table."""
    if mode == "mask":
        return f"[{rule.kind}]"
    if mode == "remove":
        return ""
    if key is None:
        raise WorkbenchError("the mode pseudonym needs a key: pass key=read_key()")
    return pseudonym(rule.kind, normal(value, rule.normal), key)


def pseudonym(kind: str, value: str, key: Key) -> str:
    """`[kind-...]` with 24 letters: 96 bits of HMAC-SHA256 of kind and value."""
    return f"[{kind}-{key.digest('pseudonym', kind, value).hex()[:24].encode().translate(LETTERS).decode()}]"


def normal(value: str, how: str) -> str:
    """A value as its pseudonym sees it, so that two spellings of it are one.

    >>> normal("4111 1111-1111 1111", "digits"), normal("de89 3704", "letters"), normal("A@B.de", "lower")
    ('4111111111111111', 'DE893704', 'a@b.de')
    """
    if how == "digits":
        return re.sub(r"[^0-9]", "", value)
    if how == "letters":
        return re.sub(r"[^0-9A-Za-z]", "", value).upper()
    return value.lower() if how == "lower" else value


def pseudonyms(column: pa.Array, kind: str, key: Key) -> pa.Array:
    """A column with a pseudonym for every value; missing values stay. Equal values of any table give equal ones."""
    coded = column if pa.types.is_dictionary(column.type) else pc.dictionary_encode(column)
    names = [None if one is None else pseudonym(kind, str(one), key) for one in coded.dictionary.to_pylist()]
    return pa.array(names, pa.large_string()).take(coded.indices)


def shifted(column: pa.Array, subjects: pa.Array, key: Key, days: int = 183) -> pa.Array:
    """Times or dates moved by whole days, the same for all rows of a subject, so that its intervals stay.

    A subject is moved by 1 to `days` days, back or on, as its HMAC says. Where the subject is missing, so is the result:
    how far to move it is not known. Raises WorkbenchError for a column that holds neither times nor dates.
    """
    if not (pa.types.is_timestamp(column.type) or pa.types.is_date(column.type)):
        raise WorkbenchError(
            f"only times and dates can be moved, this column holds {column.type}; give it a time type first"
        )
    coded = subjects if pa.types.is_dictionary(subjects.type) else pc.dictionary_encode(subjects)
    moves = [None if one is None else _days(str(one), key, days) * DAY for one in coded.dictionary.to_pylist()]
    by = pa.array(moves, pa.duration("s")).take(coded.indices)
    if pa.types.is_date(column.type):
        return pc.add(column.cast(pa.timestamp("s")), by).cast(column.type)
    return pc.add(column, by.cast(pa.duration(column.type.unit)))


def _days(subject: str, key: Key, days: int) -> int:
    if days < 1:
        raise WorkbenchError(f"dates are moved by 1 day at least, not {days}")
    drawn = int.from_bytes(key.digest("shift", subject)[:8], "big") % (2 * days)
    return drawn - days if drawn < days else drawn - days + 1
