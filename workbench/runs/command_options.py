"""What the commands of schedules share: their options, the ledger they open, what they need installed."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.errors import WorkbenchError

if TYPE_CHECKING:
    import sqlalchemy as sa

GOOD, FAILED = 0, 1
DEFAULT = "notebooks/schedule.yml"
LEDGER = (
    "path of an SQLite file, or postgresql://user@host/name (default: WORKBENCH_LEDGER, else schedule.db in the folder of "
    "runs)"
)


def part(parts: Any, name: str, command: Any, words: str, description: str = "") -> argparse.ArgumentParser:
    description = description or f"{words[0].upper()}{words[1:]}."
    part: argparse.ArgumentParser = parts.add_parser(name, help=words, description=description)
    part.set_defaults(command=command)
    return part


def places(parser: argparse.ArgumentParser) -> None:
    runs(parser)
    parser.add_argument("--ledger", default="", metavar="ADDRESS", help=LEDGER)


def file(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", nargs="?", type=Path, default=Path(DEFAULT), help=f"the schedule ({DEFAULT})")


def runs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--runs", type=Path, metavar="DIR", help="folder of runs (default: WORKBENCH_RUNS, else ./runs)"
    )


def needs() -> None:
    """Raises WorkbenchError where the extra is not installed."""
    from importlib.util import find_spec

    missing = [name for name in ("sqlalchemy", "cronsim", "yaml") if find_spec(name) is None]
    if missing:
        raise WorkbenchError(
            f"Schedules need {', '.join(missing)}; install them with pip install 'workbench[schedule]'."
        )


def engine(options: argparse.Namespace, *, make: bool = False) -> sa.Engine:
    """The ledger; one that is not there yet is made only with ``make``."""
    needs()
    from workbench.runs.ledger_tables import open_ledger
    from workbench.runs.records import runs_dir

    runs = runs_dir(options.runs)
    address = options.ledger or os.environ.get("WORKBENCH_LEDGER", "")
    path = Path(address).expanduser() if address else runs / "schedule.db"
    if not make and "://" not in address and not address.startswith("secret:") and not path.is_file():
        raise WorkbenchError(
            f"There is no ledger {str(path)!r}; `workbench schedule start` makes it, --ledger names another."
        )
    return open_ledger(address, runs)
