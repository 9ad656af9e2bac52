"""The scheduler by a clock that the tests drive: what runs when, what is retried, skipped, caught up and taken over."""

from __future__ import annotations

import itertools
import json
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa

from tests.runs.conftest import stub
from workbench.runs import ledger as book
from workbench.runs.ledger_tables import attempts, reading, windows
from workbench.runs.records import list_runs
from workbench.runs.scheduler import serve, tick
from workbench.runs.times import moment_of, stamp


def run_until(s, moment):
    end = moment_of(moment).timestamp()
    serve(s, until=lambda: s.clock.now() >= end and not s.active)


def told(s, *columns):
    names = columns or ("entry", "logical", "state")
    with reading(s.engine) as c:
        found = c.execute(sa.select(*[windows.c[n] for n in names]).order_by(windows.c.logical, windows.c.id))
        return [tuple(row) for row in found]


def test_a_spring_night_and_an_autumn_night_fire_once(scheduler):
    spring = scheduler({"a": {"cron": "30 2 * * *", "zone": "Europe/Berlin"}})
    run_until(spring, "2026-03-30T12:00:00Z")
    assert told(spring) == [
        ("a", "2026-03-28T01:30:00Z", "good"),
        ("a", "2026-03-29T01:00:00Z", "good"),  # 02:30 is not there: right after the gap
        ("a", "2026-03-30T00:30:00Z", "good"),
    ]
    autumn = scheduler({"b": {"cron": "30 2 * * *", "zone": "Europe/Berlin"}}, at="2026-10-24T12:00:00Z")
    run_until(autumn, "2026-10-26T12:00:00Z")
    assert [row[1] for row in told(autumn) if row[0] == "b"] == ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]


def test_a_clock_set_back_fires_nothing_twice_and_set_forward_loses_nothing(scheduler):
    s = scheduler({"a": {"cron": "0 * * * *", "catch-up": "each"}})
    run_until(s, "2026-03-27T15:30:00Z")
    assert len(told(s)) == 3
    s.clock.at -= 2 * 3600
    run_until(s, "2026-03-27T15:59:00Z")
    assert len(told(s)) == 3
    s.clock.at += 3 * 3600
    run_until(s, "2026-03-27T19:01:00Z")
    assert [row[1][11:13] for row in told(s)] == ["13", "14", "15", "16", "17", "18", "19"]


@pytest.mark.parametrize(
    ("policy", "states"),
    [
        ("each", ["good", "good", "good", "good"]),
        ("latest", ["missed", "missed", "missed", "good"]),
        ("none", ["missed", "missed", "missed", "missed"]),
    ],
)
def test_catch_up_after_downtime(scheduler, policy, states):
    s = scheduler({"a": {"cron": "0 * * * *", "catch-up": policy}})
    tick(s)  # seen, then no scheduler for four hours
    s.clock.at += 4.5 * 3600
    serve(s, until=lambda: s.clock.now() > moment_of("2026-03-27T16:45:00Z").timestamp() and not s.active)
    assert [row[2] for row in told(s)] == states


def test_parameters_carry_the_dates_of_their_window(scheduler, tmp_path):
    seen = tmp_path / "seen.txt"

    def command(entry, window, runs):
        return [sys.executable, "-c", f"open({str(seen)!r}, 'a').write({window.parameters!r} + '\\n')"]

    entry = {
        "cron": "0 1 * * *",
        "zone": "Europe/Berlin",
        "parameters": {"by": "{{ day - 1 }}/{{ day }}"},
        "retries": 0,
    }
    s = scheduler({"a": entry}, command=command)
    run_until(s, "2026-03-29T12:00:00Z")
    assert [json.loads(line)["by"] for line in seen.read_text().splitlines()] == [
        "2026-03-27/2026-03-28",
        "2026-03-28/2026-03-29",
    ]


def test_retries_by_kind_of_failure(scheduler):
    kill = [sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"]
    often = {"cron": "0 13 27 3 *", "retries": {"times": 3, "wait": "1m", "factor": 2}}
    s = scheduler(
        {"killed": often, "wrong": often, "refused": often},
        command=lambda entry, window, runs: (
            kill
            if entry.name == "killed"
            else [sys.executable, "-c", "raise SystemExit(2)"]
            if entry.name == "refused"
            else stub(0, "fail")(entry, window, runs)
        ),
    )
    run_until(s, "2026-03-27T14:00:00Z")
    states = {row[0]: row[1:] for row in told(s, "entry", "state", "tries", "reason")}
    assert states["killed"] == ("failed", 4, "killed: the run was killed (SIGKILL)")
    assert states["wrong"] == ("failed", 1, "error: KeyError: 'x' in cell 3 (cell-3): rows['x']")
    assert states["refused"][:2] == ("failed", 1)
    assert states["refused"][2].startswith("refused: the command ended with exit code 2")
    with reading(s.engine) as c:
        begun = list(
            c.scalars(
                sa.select(attempts.c.started)
                .join(windows)
                .where(windows.c.entry == "killed")
                .order_by(attempts.c.number)
            )
        )
    assert [round(b - a) for a, b in itertools.pairwise(begun)] == [60, 120, 240]


def test_dependencies_wait_and_a_failure_is_passed_on(scheduler):
    entries = {
        "c": {"cron": "0 13 27 3 *", "depends-on": "b"},
        "b": {"cron": "0 13 27 3 *", "depends-on": ["a"]},
        "a": {"cron": "0 13 27 3 *"},
        "alone": {"cron": "0 13 27 3 *"},
    }
    order = []

    def command(entry, window, runs):
        order.append(entry.name)
        return stub(0, *(["fail"] if entry.name == "b" else []))(entry, window, runs)

    s = scheduler(entries, command=command)
    run_until(s, "2026-03-27T13:30:00Z")
    states = {row[0]: row[2] for row in told(s)}
    assert states == {"a": "good", "b": "failed", "c": "skipped", "alone": "good"}
    assert order.index("a") < order.index("b")
    (reason,) = [row[1] for row in told(s, "entry", "reason") if row[0] == "c"]
    assert reason == "b of 2026-03-27T13:00:00Z, which it depends on, is failed"


def test_what_depends_on_a_skipped_or_missed_window_is_skipped_though_older_ones_were_good(scheduler):
    entries = {
        "a": {"cron": "0 * * * *", "catch-up": "none"},
        "b": {"cron": "0 * * * *", "depends-on": "a", "catch-up": "each"},
        "c": {"cron": "0 * * * *", "depends-on": "b", "catch-up": "each"},
    }

    def command(entry, window, runs):
        bad = (entry.name, window.logical) == ("a", "2026-03-27T14:00:00Z")
        return stub(0, *(["fail"] if bad else []))(entry, window, runs)

    s = scheduler(entries, command=command)
    run_until(s, "2026-03-27T14:30:00Z")
    s.clock.at += 3600  # nobody is there at 15:00
    run_until(s, "2026-03-27T16:30:00Z")
    states = {(row[0], row[1][11:13]): row[2] for row in told(s)}
    assert {name: [states[name, hour] for hour in ("13", "14", "15", "16")] for name in entries} == {
        "a": ["good", "failed", "missed", "good"],
        "b": ["good", "skipped", "skipped", "good"],
        "c": ["good", "skipped", "skipped", "good"],
    }


@pytest.mark.parametrize(
    ("policy", "states", "most"),
    [
        ("wait", ["good", "good", "good"], 1),
        ("skip", ["good", "skipped", "skipped"], 1),
        ("replace", ["failed", "failed", "good"], 1),
        ("allow", ["good", "good", "good"], 3),
    ],
)
def test_overlap(scheduler, tmp_path, policy, states, most):
    s = scheduler(
        {"a": {"cron": "* * * * *", "overlap": policy, "catch-up": "each"}}, command=stub(0.7), top={"parallel": 3}
    )
    s.clock.jumps = False
    tick(s)
    together = 0
    for _ in range(3):
        s.clock.at += 60
        tick(s)
        tick(s)
        together = max(together, len(s.active))
    serve(s, until=lambda: not s.active and len(told(s)) == 3 and "due" not in {row[2] for row in told(s)})
    assert [row[2] for row in told(s)] == states
    assert together == most


def test_a_deadline_and_a_run_that_does_not_listen(scheduler, monkeypatch):
    monkeypatch.setattr("workbench.runs.attempts.TERM_S", 0.2)
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"
    s = scheduler(
        {"a": {"cron": "0 13 27 3 *", "timeout": "10s", "retries": 0}},
        command=lambda *_: [sys.executable, "-c", deaf],
        margin=0.0,
    )
    tick(s)
    s.clock.at += 3601
    tick(s)
    assert len(s.active) == 1
    s.clock.at += 60
    serve(s, until=lambda: not s.active)
    assert [row[2:] for row in told(s, "entry", "logical", "state", "reason")][-1] == (
        "failed",
        "timeout: the run was ended by its scheduler (timeout) and left no record",
    )


def test_stopping_ends_what_runs_and_the_next_scheduler_runs_it_again(scheduler):
    entry = {"a": {"cron": "0 13 27 3 *", "retries": 0}}
    s = scheduler(entry, command=stub(30))
    serve(s, until=lambda: bool(s.active) and (s.runs / "begun.txt").exists())  # leaves at once: patience is 0
    assert [row[2:] for row in told(s, "entry", "logical", "state", "tries")] == [("due", 0)]
    again = scheduler(entry, at="2026-03-27T13:05:00Z")
    run_until(again, "2026-03-27T13:10:00Z")
    assert [row[2:] for row in told(again, "entry", "logical", "state", "tries")] == [("good", 1)]
    assert len([one for one in list_runs(again.runs) if one.status == "good"]) == 1


def test_a_schedule_that_changes_is_read_again_and_a_wrong_one_is_not(scheduler):
    said = []
    s = scheduler({"a": {"cron": "0 * * * *"}}, say=said.append)
    run_until(s, "2026-03-27T13:30:00Z")
    path = Path(s.schedule.path)
    kept = path.read_text()
    path.write_text(kept.replace('"toy"', '"toi"'))
    run_until(s, "2026-03-27T14:30:00Z")
    assert "did you mean 'toy'" in "\n".join(said)
    path.write_text(kept.replace('"a"', '"b"'))
    run_until(s, "2026-03-27T16:30:00Z")
    assert [row[:2] for row in told(s)][1:] == [("a", "2026-03-27T14:00:00Z"), ("b", "2026-03-27T16:00:00Z")]


def test_a_ledger_whose_disk_is_full_is_waited_for(scheduler):
    """No page may be added to it while one window comes due; each needs a page for its parameters."""
    said, long = [], {"every": "x" * 6000}
    s = scheduler({"a": {"cron": "*/10 * * * *", "catch-up": "each", "parameters": long}}, say=said.append)
    full = {"now": False}

    @sa.event.listens_for(s.engine, "begin")
    def _(connection):
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar() if full["now"] else 1_000_000
        connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")

    def over():
        at = stamp(s.clock.now())[11:16]
        full["now"] = "12:15" <= at < "12:23"
        return at >= "12:35" and not s.active

    serve(s, until=over)
    troubled = [line for line in said if " answer" in line]
    assert troubled == [
        "the ledger or the disk does not answer, waiting for it: database or disk is full",
        "the ledger and the disk answer again",
    ]
    assert told(s, "logical", "state", "tries") == [(f"2026-03-27T12:{n}:00Z", "good", 1) for n in (10, 20, 30)]
    assert len([one for one in list_runs(s.runs) if one.status == "good"]) == 3


def test_a_thousand_entries_cost_little(scheduler, tmp_path):
    """Not a time: how many statements a round takes, which does not grow with the entries."""
    s = scheduler({f"e{i}": {"cron": f"{i % 60} 3 * * *"} for i in range(1000)})
    tick(s)
    statements = []
    sa.event.listen(s.engine, "before_cursor_execute", lambda *given: statements.append(given[2]))
    tick(s)
    assert len(statements) < 12
    assert book.due(s.engine, s.clock.now()) == []
