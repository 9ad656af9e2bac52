"""What a person reads when something is wrong."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

_WHO = re.compile(r"(https?://|://(?=[^/@\s]*:))[^/\s]+@")  # elsewhere a container's name, or a user's, is no secret
_WORDS = "token|signature|secret|passw|pwd|credential|api[_-]?key|access[_-]?key"
_QUERY = re.compile(
    rf"([?&;#](?:[^=&;\s]*(?:{_WORDS})[^=&;\s]*|[^=&;\s]*key|(?:[^=&;\s]*[_-])?sig|code|auth|jwt|session(?:_?id)?)=)[^&;#\s'\"<>]+",
    re.IGNORECASE,
)


class WorkbenchError(ValueError):
    """One clear sentence: what came, what was wanted, which choices there are, what to do; addresses in it are `masked`."""

    def __init__(self, *words: object) -> None:
        super().__init__(*(masked(one) if isinstance(one, str) else one for one in words))


def masked(text: str) -> str:
    """Text without what is secret in its addresses: users, passwords, and values of a query that sign or open something.

    >>> masked("https://me:word@host/rows.csv?X-Amz-Signature=ab12&part=1")
    'https://***@host/rows.csv?X-Amz-Signature=***&part=1'
    >>> masked("postgresql://me:w@rd@host/runs")  # a password with an @ in it
    'postgresql://***@host/runs'
    """
    return _QUERY.sub(r"\1***", _WHO.sub(r"\1***@", text))


def nearest(name: str, choices: Iterable[str], limit: int = 3) -> str:
    """The words that help after a wrong name: its nearest choices, or the first few when none is near.

    >>> nearest("latency", ["latency_s", "ttft_s", "model"])
    "did you mean 'latency_s'?"
    >>> nearest("x", ["model", "region"])
    "the choices are 'model', 'region'"
    >>> nearest("x", [])
    'there are none to choose from'
    """
    known = [str(choice) for choice in choices]
    if not known:
        return "there are none to choose from"
    lowered = {choice.lower(): choice for choice in reversed(known)}
    close = [lowered[hit] for hit in difflib.get_close_matches(str(name).lower(), list(lowered), limit, 0.6)]
    if close:
        quoted = [repr(choice) for choice in close]
        return f"did you mean {' or '.join([', '.join(quoted[:-1]), quoted[-1]] if len(quoted) > 1 else quoted)}?"
    shown = ", ".join(repr(choice) for choice in known[:8])
    more = f" and {len(known) - 8} more" if len(known) > 8 else ""
    return f"the choices are {shown}{more}"
