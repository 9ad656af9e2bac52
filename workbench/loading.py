"""Importing large libraries without looking for garbage in them again and again."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def loading() -> Iterator[None]:
    """Imports in a ``with`` block take a fifth less time: what they define stays, so that none of it is garbage.

    Afterwards it counts as old, as it would after being looked through, and garbage is collected again as before.

    >>> with loading():
    ...     import json
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        if not gc.get_freeze_count():  # somebody's frozen objects stay so
            gc.freeze()
            gc.unfreeze()
        gc.enable()
