"""Writes docs/reference.md: every public name with the first sentence of its docstring, every command with its options."""

from __future__ import annotations

import argparse
import inspect
import re
from pathlib import Path
from typing import Any

PATH = Path(__file__).resolve().parents[1] / "docs" / "reference.md"


def text() -> str:
    """The reference as it should be now."""
    import workbench
    from workbench.cli import parser

    lines = ["# Reference", "", "Written by `make reference` from the docstrings and the command line's help.", ""]
    lines += ["## In a notebook: `import workbench as wb`", "", "| name | what comes back |", "|---|---|"]
    lines += [f"| `wb.{name}` | {_cell(summary(getattr(workbench, name)))} |" for name in workbench.__all__]
    lines += [
        "",
        "`help(wb.cube)` tells the rest: shapes, units, ranges, errors and an example.",
        "",
        "## Commands",
        "",
    ]
    for name, command in commands(parser()).items():
        lines += [
            f"### `workbench {name}`",
            "",
            str(command.description or ""),
            *(["", "| option | meaning |", "|---|---|"] if options(command) else []),
        ]
        lines += [f"| `{_spelling(option)}` | {_cell(option.help or '')} |" for option in options(command)]
        lines += [""]
    return "\n".join(lines).rstrip() + "\n"


def summary(thing: Any) -> str:
    """The first sentence or paragraph of a docstring."""
    if isinstance(thing, str):
        return f"the text `{thing}`"
    first = (inspect.getdoc(thing) or "").split("\n\n")[0].replace("\n", " ")
    return re.split(r"(?<=\.)\s", first)[0]


def commands(parser: argparse.ArgumentParser, before: str = "") -> dict[str, argparse.ArgumentParser]:
    """The commands of a parser by name; one that has commands of its own is followed by them, as `schedule check`."""
    found: dict[str, argparse.ArgumentParser] = {}
    for one in parser._actions:
        if isinstance(one, argparse._SubParsersAction):
            for name, command in one.choices.items():
                found |= {f"{before}{name}": command, **commands(command, f"{before}{name} ")}
    return found


def options(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """The options and arguments of one command, without --help and without commands of its own."""
    return [one for one in parser._actions if one.dest != "help" and not isinstance(one, argparse._SubParsersAction)]


def _spelling(option: argparse.Action) -> str:
    names = ", ".join(option.option_strings)
    metavar = option.metavar or ("" if option.nargs == 0 else option.dest.upper())
    value = " ".join(metavar) if isinstance(metavar, tuple) else str(metavar)
    return f"{names} {value}".strip()


def _cell(words: str) -> str:
    return words.replace("|", "\\|")


if __name__ == "__main__":
    PATH.write_text(text(), encoding="utf-8")
