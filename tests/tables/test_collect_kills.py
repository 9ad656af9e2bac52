"""kill -9 at 200 random moments of real collections, then once undisturbed: every row is there, and none twice."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import workbench as wb


@pytest.mark.slow
def test_no_row_is_lost_and_none_is_there_twice_after_200_kills(tmp_path):
    program = Path(__file__).with_name("killed_collect.py")
    top = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, str(program), str(tmp_path), "200", "7"], capture_output=True, text=True, timeout=240,
        env={"PYTHONPATH": str(top), "PATH": "/usr/bin:/bin"}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    told = json.loads(done.stdout)
    table = wb.open_table(tmp_path / "table")
    keys = [one for piece in table.pieces() for part in table.batches(piece) for one in part.column("key").to_pylist()]
    assert told["killed"] == 200
    assert told["commits"] > 20
    assert sorted(keys) == list(range(told["rows"]))
