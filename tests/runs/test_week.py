"""The week of `make schedule-demo`, with a stub in the place of each run: what its ledger tells."""

from __future__ import annotations

import json
from pathlib import Path

from tests.runs.conftest import stub
from workbench.runs.reporting import status
from workbench.runs.times import stamp
from workbench.runs.week import ledger_of, week


def test_a_week_with_a_failure_a_late_one_a_killed_one_a_hanging_one_and_a_short_night(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[2]))

    def command(entry, window, runs):
        day = json.loads(window.parameters).get("day", "")
        broken = entry.name == "hanging" or (entry.name == "failing" and day in ("2026-03-26", "2026-03-27"))
        seconds = {"slow": 3.5, "killed": 0.5}.get(entry.name, 0.0)
        return stub(seconds, *(["fail"] if broken else []))(entry, window, runs)

    said = []
    s = week(tmp_path, said.append, command)
    told = ledger_of(s, tmp_path)
    states = [(line.split()[0], line.split()[2], line.split()[5]) for line in told[1 : told.index("")]]
    assert [day for name, day, state in states if name == "nightly" and state == "good"] == [
        f"2026-03-{day}" for day in range(23, 30)
    ]
    assert "nightly   Sun 2026-03-29 03:00:00 CEST" in "\n".join(told)  # 02:30 is not there
    assert [state for name, _, state in states if name == "failing"] == ["good", "failed", "failed", "good"]
    assert [line for line in said if "kill -9" in line]
    (killed,) = [line for line in told if line.startswith("killed ")]
    assert killed.split()[5:8] == ["good", "2", "tries"]
    first, second = told[told.index("Both attempts at what was killed:") + 1 :][:2]
    assert first.startswith("    attempt 1: failed, ")
    assert "killed: the process of this run was ended" in first
    assert second.startswith("    attempt 2: good, ")
    assert told[told.index("The text of the first:") + 1].startswith(
        "  slow (slow) is late: no good run 10 min after its time"
    )
    incidents = "\n".join(told[told.index("The incidents:") :])
    assert "resolved  slow: late" in incidents
    assert "resolved  failing: failed" in incidents
    assert "open  hanging: failed" in incidents
    assert "  resolved: failing: failed" in told
    lines, well = status(s.engine, s.schedule, s.renewed)
    assert not well  # an incident is open
    assert lines[0].startswith("scheduler ")
    assert status(s.engine, None, s.clock.now() + 86_400)[0][0] == "no scheduler is running: workbench schedule start"
    assert stamp(s.clock.now()) >= "2026-03-29T22:00:00Z"
    s.engine.dispose()
