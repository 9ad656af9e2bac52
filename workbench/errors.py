"""What a person reads when something is wrong."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class WorkbenchError(ValueError):
    """One clear sentence: what came, what was wanted, which choices there are, what to do."""


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
