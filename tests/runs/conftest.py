"""Small notebooks, written by code so that what they do is visible in the test, and the command line as a process.

| fixture | what it gives                                                                                     |
|---------|---------------------------------------------------------------------------------------------------|
| `book`  | book("toy", "x = 1", ...) -> path of a notebook with the PARAMETERS cell, `begin`, then these cells |
| `cli`   | cli("run", ...) -> a started `python -m workbench.cli` process, ended after the test                |
| `postgres` | address of an empty database in a server that the tests start; skipped with a word where none can be had |
| `ledger` | address of an empty ledger, once in SQLite and once in PostgreSQL                                  |
| `scheduler` | scheduler({entry: {...}}, **options) -> a Scheduler with a clock that the test drives and a quick stub of a run |
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest

from scripts import postgres as database

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


def _usual_signals():
    """Ctrl-C works in the child although the tests run in the background of a shell, where it is ignored."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


@pytest.fixture
def cli(tmp_path):
    started = []
    top = str(Path(__file__).resolve().parents[2])
    clean = {name: value for name, value in os.environ.items() if not name.startswith("WORKBENCH_")}

    def start(*arguments, **environment):
        command = [sys.executable, "-m", "workbench.cli", *map(str, arguments)]
        variables = {**clean, "PYTHONPATH": top, **environment}
        process = subprocess.Popen(
            command,
            cwd=tmp_path,
            env=variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=_usual_signals,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


STUB = Path(__file__).with_name("stub_run.py")


@pytest.fixture(scope="session")
def postgres_server():
    programs = database.install() if os.environ.get("CI") == "true" else database.find()
    if programs is None and os.environ.get("CI") == "true":
        pytest.fail(database.MISSING)
    if programs is None:
        pytest.skip(database.MISSING)
    with database.server(programs) as address:
        yield address


@pytest.fixture
def postgres(postgres_server):
    import psycopg

    name = f"t{uuid4().hex}"
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return postgres_server.replace("/postgres?", f"/{name}?")


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger(request, tmp_path):
    return request.getfixturevalue("postgres") if request.param == "postgresql" else str(tmp_path / "ledger.db")


@dataclass
class Driven:
    """A clock that stands still until a test moves it, or, with `jumps`, until a scheduler rests with nothing running."""

    at: float
    jumps: bool = True

    def now(self):
        return self.at

    def rest(self, seconds, *, busy):
        import time

        if busy:
            time.sleep(0.02)
        elif self.jumps:
            self.at += seconds


def write_schedule(path, entries, **top):
    """A schedule.yml (JSON is YAML) with a notebook `toy` beside it."""
    if not (path.parent / "toy.ipynb").exists():
        write_book(path.parent / "toy.ipynb", "print(every)")
    told = {name: {"notebook": "toy", **entry} for name, entry in entries.items()}
    path.write_text(json.dumps({**top, "entries": told}, indent=1))
    return path


def stub(seconds=0.0, *words):
    """A command that stands for `workbench run`."""

    def command(entry, window, runs):
        return [sys.executable, str(STUB), str(runs), entry.notebook.stem, str(seconds), *words]

    return command


@pytest.fixture
def scheduler(tmp_path, monkeypatch):
    from workbench.runs.ledger_tables import open_ledger
    from workbench.runs.schedule import read_schedule
    from workbench.runs.scheduler import Scheduler, stop_all
    from workbench.runs.times import moment_of

    made = []
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[2]))

    def make(entries, at="2026-03-27T12:00:00Z", ledger="", top=None, **options):
        path = write_schedule(tmp_path / "schedule.yml", entries, **(top or {}))
        engine = open_ledger(ledger, tmp_path / "runs")
        options = {"clock": Driven(moment_of(at).timestamp()), "command": stub(), "beside": False, **options}
        made.append(Scheduler(engine, read_schedule(path), tmp_path / "runs", **options))
        return made[-1]

    yield make
    for one in made:
        stop_all(one, 0.0)
        one.engine.dispose()


# programs that the tests start, not tests
collect_ignore = ["stub_run.py", "fast_scheduler.py"]
