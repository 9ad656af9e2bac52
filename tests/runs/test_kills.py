"""kill -9 of schedulers, runs and kernels at random moments: each window is run well once, or its failure is recorded."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import psutil
import pytest
import sqlalchemy as sa

from tests.runs.conftest import write_schedule
from workbench.runs.attempts import VARIABLE
from workbench.runs.ledger_tables import attempts, open_ledger, reading, windows
from workbench.runs.records import list_runs, partial
from workbench.runs.times import moment_of

PROCESS = Path(__file__).with_name("fast_scheduler.py")
SPEED = 90.0
PATIENCE_S = 240.0  # a machine may be busy
KILLS = int(os.environ.get("WORKBENCH_KILLS", "50"))  # on each of two databases
OFTEN = {"times": 100, "wait": "1s", "factor": 1, "after": ["died", "killed", "lost"]}


def carriers(engine):
    """The living processes that belong to an attempt of this ledger."""
    with reading(engine) as c:
        known = set(c.scalars(sa.select(attempts.c.id)))
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            told = process.environ().get(VARIABLE)
            if told and process.status() != psutil.STATUS_ZOMBIE and json.loads(told)["attempt"] in known:
                found.append(process)
    return found


@pytest.fixture
def start(tmp_path, monkeypatch, ledger):
    schedule = write_schedule(
        tmp_path / "schedule.yml",
        {
            "a": {"cron": "* * * * *", "catch-up": "each", "retries": OFTEN},
            "b": {"cron": "*/2 * * * *", "catch-up": "each", "depends-on": "a", "retries": OFTEN},
            "c": {"cron": "*/3 * * * *", "catch-up": "each", "overlap": "allow", "retries": 0},
        },
        parallel=3,
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    base, started = time.time(), []

    def begin(*end):
        words = [str(schedule), str(tmp_path / "runs"), ledger, str(base), str(SPEED), *map(str, end)]
        with (tmp_path / f"log{len(started)}.txt").open("wb") as log:
            command = [sys.executable, str(PROCESS), *words]
            started.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log))
        return started[-1]

    yield begin
    for one in started:
        one.kill()
        one.wait()


def kill(target, engine, schedulers, start, pick):
    """Kills a scheduler (and starts another), or a run or its kernel where there is one; says whether it did."""
    if target == "scheduler":
        number = pick.randrange(2)
        schedulers[number].send_signal(signal.SIGKILL)
        schedulers[number].wait()
        schedulers[number] = start()
        return True
    found = carriers(engine)
    if target == "run of c":
        found = [one for one in found if json.loads(one.environ()[VARIABLE])["entry"] == "c" and one.name() != "sleep"]
    else:
        found = [one for one in found if (one.name() == "sleep") == (target == "kernel")]
    if not found:
        return False
    pick.choice(found).kill()
    return True


def windows_of(engine, last):
    with reading(engine) as c:
        return list(c.execute(sa.select(windows).where(windows.c.logical <= last).order_by(windows.c.logical)))


def newest(engine):
    with reading(engine) as c:
        return c.scalar(sa.select(sa.func.max(windows.c.logical)))


def wound_up(start, engine, both):
    """The newest window that both schedulers planned: neither had ended, they are told to, and a third finishes what is left."""
    assert {one.poll() for one in both} == {None}
    for one in both:
        one.terminate()
        one.wait()
    last = newest(engine)
    assert start(moment_of(last).timestamp()).wait(PATIENCE_S) == 0
    return last


def test_two_schedulers_never_run_a_window_twice(start, ledger, tmp_path):
    engine, both = open_ledger(ledger), [start(), start()]
    limit = time.monotonic() + PATIENCE_S
    begun = tmp_path / "runs" / "begun.txt"
    while time.monotonic() < limit and not (begun.exists() and len(begun.read_text().splitlines()) > 8):
        time.sleep(0.1)
    last = wound_up(start, engine, both)
    again = {row.id for row in windows_of(engine, last) if row.reason or row.state != "good"}
    with reading(engine) as c:
        ended = set(c.scalars(sa.select(attempts.c.id).where(attempts.c.state != "good")))
        owners = set(c.scalars(sa.select(attempts.c.owner)))
    told = [line.split() for line in begun.read_text().splitlines()]
    finished = Counter((entry, window) for entry, window, attempt in told if attempt not in ended and window <= last)
    assert set(finished.values()) == {1}
    assert len(finished) == len(windows_of(engine, last)) - len(again)
    assert len(owners) >= 2
    engine.dispose()


@pytest.mark.parametrize("ledger", ["postgresql"], indirect=True)
def test_a_database_that_goes_and_comes_back_is_waited_for(start, ledger, postgres_server, tmp_path):
    """Three times in the middle of everything: no scheduler ends, and each window is run well once."""
    import psycopg

    engine, both = open_ledger(ledger), [start(), start()]
    begun = tmp_path / "runs" / "begun.txt"
    name = engine.url.database
    with psycopg.connect(postgres_server, autocommit=True) as other:
        for round_ in range(3):
            limit = time.monotonic() + PATIENCE_S
            while time.monotonic() < limit and not (
                begun.exists() and len(begun.read_text().splitlines()) > 4 * round_ + 3
            ):
                time.sleep(0.05)
            other.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
            other.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
            time.sleep(0.5)
            other.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
    last = wound_up(start, engine, both)
    rows = windows_of(engine, last)
    good = Counter(
        (one.told["scheduled"]["entry"], one.told["scheduled"]["window"])
        for one in list_runs(tmp_path / "runs")
        if one.status == "good" and one.told["scheduled"]["window"] <= last
    )
    assert good == Counter((row.entry, row.logical) for row in rows if row.state == "good")
    assert {row.state for row in rows if row.entry == "a"} == {"good"}
    assert all(row.reason for row in rows if row.state != "good")
    assert sum("does not answer" in log.read_text() for log in tmp_path.glob("log*.txt")) >= 1
    assert carriers(engine) == []
    engine.dispose()


@pytest.mark.slow
def test_many_kills(start, ledger, tmp_path):
    pick = random.Random(7)
    engine, schedulers = open_ledger(ledger), [start(), start()]
    targets = ["scheduler"] * (KILLS // 5) + ["run"] * (KILLS * 2 // 5)
    targets += ["kernel"] * (KILLS - 1 - len(targets))
    pick.shuffle(targets)
    targets.append("run of c")
    limit, kills = time.monotonic() + PATIENCE_S, 0
    while targets and time.monotonic() < limit:
        time.sleep(pick.uniform(0.0, 0.15))
        with suppress(psutil.Error):
            if kill(targets[-1], engine, schedulers, start, pick):
                targets.pop()
                kills += 1
    for one in schedulers:
        one.kill()
        one.wait()
    assert kills == KILLS
    last = newest(engine)
    assert start(moment_of(last).timestamp()).wait(PATIENCE_S) == 0
    assert carriers(engine) == []
    rows = windows_of(engine, last)
    with reading(engine) as c:
        kinds = set(c.scalars(sa.select(attempts.c.kind)))
        lost = c.scalar(sa.select(sa.func.count()).where(attempts.c.state.in_(("starting", "running"))))
    good = Counter(
        (one.told["scheduled"]["entry"], one.told["scheduled"]["window"])
        for one in list_runs(tmp_path / "runs")
        if one.status == "good" and one.told["scheduled"]["window"] <= last
    )
    assert {row.state for row in rows} <= {"good", "failed", "skipped"}
    assert good == Counter((row.entry, row.logical) for row in rows if row.state == "good")
    assert all(row.reason for row in rows if row.state != "good")
    assert {"killed", "died"} <= kinds
    assert {row.state for row in rows if row.entry == "a"} == {"good"}
    assert "failed" in {row.state for row in rows if row.entry == "c"}  # never tried again
    assert lost == 0
    times = [moment_of(row.logical) for row in rows if row.entry == "a"]
    assert times == [times[0] + timedelta(minutes=i) for i in range(len(times))]  # none twice, none left out
    halves = [one for one in (tmp_path / "runs").rglob(".*.partial") if partial(one) and (one / "run.json").exists()]
    assert halves == []
    engine.dispose()
