"""`workbench schedule ...` and `workbench alerts ...` as a person types them."""

from __future__ import annotations

import json
import re
import signal
import time

import pandas as pd
import pytest

from tests.runs.conftest import stub, write_schedule
from tests.runs.test_execute import wait_for
from workbench.analyses import incidents
from workbench.cli import main
from workbench.runs.ledger_tables import deliveries, open_ledger, reading, windows
from workbench.runs.records import list_runs
from workbench.runs.scheduler import serve

RULES = {"cron": "0 * * * *", "retries": 0, "alerts": [{"when": "failed", "to": "log"}]}


@pytest.fixture(autouse=True)
def _there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("WORKBENCH_RUNS", "WORKBENCH_LEDGER"):
        monkeypatch.delenv(name, raising=False)


def test_check_tells_what_is_wrong_and_what_is_next(tmp_path, capsys):
    write_schedule(tmp_path / "s.yml", {"a": {"cron": "30 2 * * *", "zone": "Europe/Berlin"}})
    assert main(["schedule", "check", "s.yml"]) == 0
    told = capsys.readouterr().out
    assert "02:30 C" in told
    assert told.endswith("s.yml: 1 entry, no mistake\n")
    (tmp_path / "s.yml").write_text("entries:\n  a: {notebook: toi, cron: '0 1 * * *'}\n")
    assert main(["schedule", "check", "s.yml"]) == 1
    assert "s.yml:2: there is no notebook 'toi'; did you mean 'toy'?" in capsys.readouterr().err
    assert main(["schedule", "check", "t.yml"]) == 2
    assert main(["schedule", "list"]) == 2
    assert "There is no ledger 'runs/schedule.db'" in capsys.readouterr().err


def test_incidents_of_a_schedule_are_listed_acknowledged_muted_resolved_and_opened_again(scheduler, tmp_path, capsys):
    s = scheduler({"a": RULES}, command=stub(0, "fail"), top={"deliver": {"log": {"file": "alerts.jsonl"}}})
    end = s.clock.now() + 2.5 * 3600
    serve(s, until=lambda: s.clock.now() >= end and not s.active)
    assert main(["schedule", "list", "a", "-n", "1"]) == 0
    window, attempt = capsys.readouterr().out.splitlines()
    assert re.fullmatch(
        r"a  Fri 2026-03-27 14:00:00 UTC +failed  1 try    toy/\S+  error: KeyError: 'x' in cell 3 .*", window
    )
    assert re.fullmatch(r"    attempt 1: failed, \S+ s  toy/\S+  error: KeyError: 'x' in cell 3 .*", attempt)
    assert main(["schedule", "list", "--zone", "Asia/Kathmandu"]) == 0
    assert capsys.readouterr().out.startswith("a  Fri 2026-03-27 19:45:00 +0545 ")
    assert main(["schedule", "list", "b"]) == 2
    assert "The ledger has no entry 'b'; the choices are 'a'." in capsys.readouterr().err
    assert main(["alerts", "list"]) == 0
    assert (
        "   1  open  a: failed, since 2026-03-27T13:00:00Z, in 2 windows, 1 sent\n      failed: error: KeyError"
        in capsys.readouterr().out
    )
    assert [
        json.loads(line)["text"].splitlines()[-1] for line in (s.runs / "alerts.jsonl").read_text().splitlines()
    ] == ["To say that you know: workbench alerts ack 1"]
    for words, state in (
        (["ack", "1"], "acknowledged"), (["mute", "1", "4h"], "muted until 2"), (["reopen", "1"], "open"),
        (["resolve", "1"], "resolved"),
    ):  # fmt: skip
        assert main(["alerts", *words]) == 0
        assert capsys.readouterr().out.startswith(f"1 a: failed: {state}")
    assert main(["alerts", "ack", "1"]) == 2
    assert "Incident 1 is resolved already" in capsys.readouterr().err
    assert main(["alerts", "mute", "1", "soon"]) == 2
    assert main(["alerts", "list", "--all"]) == 0
    assert "   1  resolved by " in capsys.readouterr().out
    end = s.clock.now() + 3600  # it is true still: another incident
    serve(s, until=lambda: s.clock.now() >= end and not s.active)
    assert main(["alerts", "list"]) == 0
    assert "   2  open  a: failed" in capsys.readouterr().out
    with reading(s.engine) as c:
        assert {row.state for row in c.execute(deliveries.select())} == {"sent"}


def test_incidents_of_drift_notebooks_are_there_too(tmp_path, capsys):
    found = pd.DataFrame(
        [{"since": "2026-03-01", "until": "2026-03-02", "windows": 2, "columns": "latency_s", "segments": "",
          "worst": "latency_s", "size": 2.0, "going_on": True, "words": "latency_s moved since 1 March"}]
    )  # fmt: skip
    states = incidents.advance(incidents.blank(), found, "2026-03-03T00:00:00Z", about="x")
    path = incidents.save(states, incidents.beside(tmp_path / "runs" / "drift", "x"))
    (name,) = states["id"]
    assert main(["alerts", "list"]) == 0
    told = capsys.readouterr().out
    assert "of the schedule: There is no ledger" in told
    assert f"{name}  open  drift, since 2026-03-01\n      latency_s moved since 1 March" in told
    assert main(["alerts", "mute", name, "2d"]) == 0
    assert capsys.readouterr().out.startswith(f"{name} drift: muted until 2")
    assert list(incidents.load(path)["state"]) == ["muted"]
    assert main(["alerts", "ack", name]) == 0
    (kept,) = incidents.load(path).to_dict("records")
    assert (kept["state"], kept["muted_until"]) == ("acknowledged", "")
    assert kept["by"]
    assert main(["alerts", "ack", "abcdef"]) == 2


def test_a_scheduler_from_the_command_line_runs_a_window_and_stops_when_asked(cli, tmp_path):
    write_schedule(tmp_path / "s.yml", {"a": {"cron": "* * * * *", "catch-up": "each", "timeout": "60s"}})
    engine = open_ledger("", tmp_path / "runs")
    moment = time.time()
    with engine.begin() as c:  # planned until three minutes ago: there is something to catch up
        from workbench.runs.ledger_tables import entries
        from workbench.runs.times import stamp

        c.execute(entries.insert().values(name="a", since=stamp(moment - 180), planned=stamp(moment - 90), turn=0))
    process = cli("schedule", "start", "s.yml", "--patience", "60")
    assert wait_for(lambda: [one for one in list_runs(tmp_path / "runs") if one.status == "good"], 90)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert "1 of 1 entries of s.yml" in err
    assert ": good" in err
    assert err.endswith("stopped\n")
    with reading(engine) as c:
        assert "good" in {row.state for row in c.execute(windows.select())}
    engine.dispose()
