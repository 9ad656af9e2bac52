"""Real kernels that run out of memory, hang, and meet a full disk: the ledger tells each as what it was, at its cell."""

from __future__ import annotations

import sqlalchemy as sa

from tests.runs.conftest import write_book
from workbench.runs.command import run_command
from workbench.runs.ledger_tables import attempts, reading, windows
from workbench.runs.scheduler import serve

BOOKS = {
    "greedy": "import numpy\nkept = [numpy.ones(50_000_000) for _ in range(100)]",  # 40 GB
    "hanging": "import time\ntime.sleep(600)",
    "full": "with open('/dev/full', 'w') as file:\n    file.write('x' * 100_000)",
}


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
    assert "(cell-4): import numpy" in told["greedy"][3]
    assert "in cell 4 (cell-4): import time" in told["hanging"][3]
    assert "No space left on device" in told["full"][3]
    assert not list((tmp_path / "runs").rglob(".*.partial"))
