"""Small notebooks, written by code so that what they do is visible in the test, and the command line as a process.

| fixture | what it gives                                                                                     |
|---------|---------------------------------------------------------------------------------------------------|
| `book`  | book("toy", "x = 1", ...) -> path of a notebook with the PARAMETERS cell, `begin`, then these cells |
| `cli`   | cli("run", ...) -> a started `python -m workbench.cli` process, ended after the test                |
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PARAMETERS = """\
every: str = "1D"  # length of a window
slo_ms: float = 500.0  # objective for the latency
by: str = ""  # category columns
cluster: str = "threads"  # workers
quick: bool = False  # skip the slow part"""
KERNEL = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
BEGIN = """\
import workbench.runs.context as wb
run = wb.begin("toy", globals(), live={"slo_ms": (1.0, 600_000.0)}, choices={"cluster": ["threads", "processes"]})"""


def cell(source: str, number: int, *tags: str) -> dict[str, object]:
    metadata = {"tags": list(tags)} if tags else {}
    return {
        "cell_type": "code",
        "id": f"cell-{number}",
        "metadata": metadata,
        "source": source,
        "outputs": [],
        "execution_count": None,
    }


def write_book(path: Path, *sources: str, parameters: str = PARAMETERS, begin: str = BEGIN) -> Path:
    title = {"cell_type": "markdown", "id": "title", "metadata": {}, "source": "# A toy"}
    cells = [cell(parameters, 1, "parameters"), *[cell(s, i) for i, s in enumerate([begin, *sources], 2)]]
    path.write_text(json.dumps({"cells": [title, *cells], "metadata": KERNEL, "nbformat": 4, "nbformat_minor": 5}))
    return path


@pytest.fixture
def book(tmp_path):
    def write(name, *sources, **options):
        return write_book(tmp_path / f"{name}.ipynb", *sources, **options)

    return write


@pytest.fixture
def cli(tmp_path):
    started = []
    top = str(Path(__file__).resolve().parents[2])
    clean = {name: value for name, value in os.environ.items() if not name.startswith("WORKBENCH_")}

    def start(*arguments, **environment):
        command = [sys.executable, "-m", "workbench.cli", *map(str, arguments)]
        variables = {**clean, "PYTHONPATH": top, **environment}
        process = subprocess.Popen(
            command, cwd=tmp_path, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()
