"""Real kernels that run out of memory, hang, and meet a full disk: the ledger tells each as what it was, at its cell."""

from __future__ import annotations

import json
import os
import resource
import signal
from contextlib import suppress
from pathlib import Path

import psutil
import sqlalchemy as sa

from tests.runs.conftest import write_book
from workbench.runs.attempts import VARIABLE, kind_of
from workbench.runs.command import run_command
from workbench.runs.execute import run_notebook
from workbench.runs.ledger_tables import attempts, reading, windows
from workbench.runs.scheduler import serve
from workbench.runs.times import moment_of

BOOKS = {
    "greedy": "import numpy\nkept = [numpy.ones(50_000_000) for _ in range(100)]",  # 40 GB
    "hanging": "import time\ntime.sleep(600)",
    "full": "with open('/dev/full', 'w') as file:\n    file.write('x' * 100_000)",
}


def test_a_full_disk_is_told_at_its_cell_also_where_the_executed_notebook_itself_does_not_fit(tmp_path):
    """Files of this process and its kernel may have 300 KB: as on a full disk, what is above is refused."""
    book = write_book(tmp_path / "toy.ipynb", "print('before')", "print('x' * 2_000_000)", "print('after')")
    kept = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, kept[1]))
    try:
        record = run_notebook(book, {}, tmp_path / "runs")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, kept)
    assert (record.status, record.error["name"], record.error["cell"]) == ("failed", "OSError", 4)
    assert "File too large" in record.error["message"]
    assert kind_of(record.error["name"], record.error["message"]) == "disk"
    assert [one["status"] for one in record.told["cells"]] == ["good", "good", "good", "failed", "not run"]
    assert json.loads((record.folder / "notebook.ipynb").read_text())["cells"]


def test_workers_of_a_run_that_is_killed_end_and_the_window_is_tried_again(scheduler, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    work = (
        "from workbench.clusters import cluster as workers\nimport pathlib, time\nwith workers('processes', size=2):\n"
    )
    work += "    again = pathlib.Path('here').exists()\n    pathlib.Path('here').touch()\n    time.sleep(0 if again else 600)"
    write_book(tmp_path / "many.ipynb", work)
    entry = {"notebook": "many", "cron": "0 13 27 3 *", "retries": {"times": 1, "wait": "1s"}, "timeout": "900s"}
    s = scheduler({"many": entry}, command=lambda *told: [*run_command(*told), "--no-report"], margin=900.0)
    here = Path("here")
    found = []

    def over():
        if here.exists() and s.active and not found:
            (one,) = s.active.values()
            found.extend(carrying(one.id))
            os.killpg(one.pid, signal.SIGKILL)
        return bool(found) and not s.active and s.clock.now() > moment_of("2026-03-27T13:30:00Z").timestamp()

    serve(s, until=over)
    assert len(found) >= 4  # the run, its kernel, two workers
    assert not [one for one in found if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]
    with reading(s.engine) as c:
        told = [
            tuple(one) for one in c.execute(sa.select(attempts.c.state, attempts.c.kind).order_by(attempts.c.number))
        ]
    assert told == [("failed", "killed"), ("good", "")]


def carrying(attempt):
    found = []
    for one in psutil.process_iter():
        with suppress(psutil.Error):
            if attempt in one.environ().get(VARIABLE, "") and one.status() != psutil.STATUS_ZOMBIE:
                found.append(one)
    return found


def test_failures_are_recorded_as_what_they_were_at_the_right_cell(scheduler, tmp_path):
    for name, source in BOOKS.items():
        write_book(tmp_path / f"{name}.ipynb", "print('before')", source, "print('after')")
    entries = {
        name: {"notebook": name, "cron": "0 13 27 3 *", "retries": 0, "timeout": "25s" if name == "hanging" else "300s"}
        for name in BOOKS
    }
    entries["greedy"]["memory"] = "1500MB"
    s = scheduler(
        entries, command=lambda *told: [*run_command(*told), "--no-report"], top={"parallel": 3}, margin=300.0
    )
    end = s.clock.now() + 7200
    serve(s, until=lambda: s.clock.now() >= end and not s.active)
    with reading(s.engine) as c:
        chosen = sa.select(windows.c.entry, attempts.c.state, attempts.c.kind, attempts.c.cell, attempts.c.message)
        told = {row.entry: tuple(row)[1:] for row in c.execute(chosen.join(attempts))}
    assert {name: one[:3] for name, one in told.items()} == {
        "greedy": ("failed", "memory", 4),
        "hanging": ("failed", "timeout", 4),
        "full": ("failed", "disk", 4),
    }
    assert "Unable to allocate" in told["greedy"][3]
    assert "(cell-4): " in told["greedy"][3]
    assert "(cell-4): import" not in told["greedy"][3]  # the line that asked for too much, not the first
    assert "in cell 4 (cell-4): time.sleep(600)" in told["hanging"][3]
    assert "No space left on device" in told["full"][3]
    assert not list((tmp_path / "runs").rglob(".*.partial"))
