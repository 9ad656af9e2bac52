"""The bar of a long pass, in a terminal or in a notebook's cell."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from typing import Any

DELAY = 2.0  # seconds that a pass takes before its bar is shown


def bar_of(pieces: Sequence[Any], progress: bool | None) -> Any:
    """A progress bar that appears after two seconds: rows, rate, time left; in a notebook's cell where one is open."""
    from tqdm import tqdm

    known = all(p.rows is not None for p in pieces)
    asked: dict[str, Any] = {
        "total": sum(p.rows if known else p.nbytes for p in pieces), "unit": " rows" if known else "B",
        "unit_scale": True, "delay": DELAY, "desc": "counting", "leave": False,
    }  # fmt: skip
    if progress is not False and _in_a_cell() and (progress or "JPY_SESSION_NAME" in os.environ):
        return _cell_bar()(**asked)
    if shutil.get_terminal_size().columns < 60:  # too few for a bar beside its figures
        asked["bar_format"] = "{percentage:.0f} %, {rate_fmt}, {remaining} left"
    return tqdm(disable=None if progress is None else not progress, **asked)


def _in_a_cell() -> bool:
    """Whether this runs in a kernel. One whose notebook somebody has open is told its name as JPY_SESSION_NAME."""
    shell = sys.modules.get("IPython")
    return shell is not None and type(shell.get_ipython()).__name__ == "ZMQInteractiveShell"


def _cell_bar() -> Any:
    from IPython.display import HTML, display
    from tqdm import tqdm

    class CellBar(tqdm):  # type: ignore[misc,type-arg,unused-ignore]
        """The bar as one display of the cell, drawn over in place and blank at the end; it needs no widgets."""

        def __init__(self, **asked: Any) -> None:
            self.place = display(HTML(""), display_id=True)
            super().__init__(
                bar_format="{percentage:.0f} % of {total_fmt}{unit}, {rate_fmt}, {remaining} left", **asked
            )

        def display(self, msg: str | None = None, pos: int | None = None) -> None:
            told = (
                f'<progress value="{self.n}" max="{self.total}"></progress> {self.desc} {self}' if msg is None else ""
            )
            self.place.update(HTML(told))

    return CellBar
