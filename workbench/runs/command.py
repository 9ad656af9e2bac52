"""What a window runs: the command `workbench run` with the parameters of the window, secrets by the environment."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from workbench.runs.schedule import Entry
from workbench.runs.secrets import is_reference, look_up

Command = Callable[[Entry, Any, Path], list[str]]


def run_command(entry: Entry, window: Any, runs: Path) -> list[str]:
    """The command line of a window; a parameter that is a secret is not in it."""
    words = [sys.executable, "-m", "workbench.cli", *arguments(entry, json.loads(window.parameters))]
    return [*words, "--runs", str(runs), "--timeout", f"{entry.timeout:g}"]


def arguments(entry: Entry, parameters: dict[str, Any]) -> list[str]:
    """The words behind `workbench` that run an entry with these parameters, without folder and deadline."""
    words = ["run", str(entry.notebook)]
    for name, value in parameters.items():
        if not is_reference(value):
            words += ["-p", name, text_of(value)]
    return words


def run_environment(entry: Entry, window: Any) -> dict[str, str]:
    """The environment that carries the references to secrets among the parameters of a window: the kernel looks them up
    where it uses them. Raises WorkbenchError where one is not there.
    """
    told = {name: value for name, value in json.loads(window.parameters).items() if is_reference(value)}
    for value in told.values():
        look_up(value)
    return {f"WORKBENCH_{name.upper()}": value for name, value in told.items()}


def text_of(value: Any) -> str:
    """A parameter's value as the command line takes it.

    >>> text_of(True), text_of(None), text_of(["a", "b"]), text_of(0.5)
    ('true', 'none', '["a", "b"]', '0.5')
    """
    if isinstance(value, str):
        return value
    if value is None:
        return "none"
    return json.dumps(value, ensure_ascii=False)
