"""Runs of real kernels: good, failing, killed, interrupted, late, on a full disk; every one leaves a true record."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from workbench.errors import WorkbenchError
from workbench.runs.context import Run
from workbench.runs.execute import Stop, close_stale, new_folder, run_notebook, same_run
from workbench.runs.notebooks import notebook_hash, read_cells
from workbench.runs.parameters import declared
from workbench.runs.records import find_run, latest_good, list_runs, read_record

SLEEP = "import time\nopen('here', 'w').close()\ntime.sleep(60)"
HEADLINE = 'run.headline("slo", slo_ms, "ms", good=True)'


def wait_for(what, seconds=30):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = what()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError("nothing came in time")


def sleeping(runs):
    """The record of a run whose kernel is in the sleeping cell, once there is one."""
    for record in list_runs(runs, running=True):
        if record.status == "running" and record.told.get("kernel") and (runs.parent / "here").exists():
            return record
    return None


def gone(pid):
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_a_good_run(book, cli, tmp_path):
    frame = 'import pandas as pd\nrun.result("profile", pd.DataFrame({"value": [1.5]}))'
    source = 'from types import SimpleNamespace\nrun.source(SimpleNamespace(source="s3://me:word@host/t", version="v1", rows=3))'
    path = book("toy", HEADLINE, frame, source)
    secret = "not-to-be-told"
    arguments = ["-p", "every", "1D", "-p", "by", "model,region", "-p", "slo_ms", "20", "--runs", "runs", "--no-report"]
    process = cli("run", path, *arguments, AWS_SECRET_ACCESS_KEY=secret, WORKBENCH_QUICK="yes")
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    folder = tmp_path / out.splitlines()[-1]
    assert folder.parent == tmp_path / "runs" / "toy"
    told = json.loads((folder / "run.json").read_text())
    assert told["status"] == "good"
    assert told["notebook"] == "toy"
    assert (
        told["notebook_hash"] == notebook_hash(read_cells(path)) == notebook_hash(read_cells(folder / "notebook.ipynb"))
    )
    values = {"every": "1D", "slo_ms": 20.0, "by": "model,region", "cluster": "threads", "quick": True}
    assert told["parameters"] == values
    assert told["headline"] == [{"name": "slo", "value": 20.0, "unit": "ms", "good": True}]
    assert (told["source"], told["source_version"]) == ("s3://***@host/t", "v1")
    assert told["started"] < told["ended"]
    assert told["ended"].endswith("Z")
    assert {"package_version", "python", "versions", "cells", "duration_s"} <= set(told)
    assert [one["status"] for one in told["cells"]] == ["good"] * 6  # one of them is papermill's
    assert secret not in (folder / "run.json").read_text()
    assert "WORKBENCH_QUICK from the environment is used" in err
    left = sorted(str(one.relative_to(folder)) for one in folder.rglob("*") if one.is_file())
    assert left == ["notebook.ipynb", "results/profile.parquet", "run.json"]
    assert list_runs(tmp_path / "runs", "toy")[0].folder == latest_good(tmp_path / "runs", "toy").folder == folder


def test_the_line_that_failed_is_told_without_its_secret(book, tmp_path):
    calls = "def get(address):\n    raise OSError('no answer')\nget('https://me:hunter2@host/rows')"
    record = run_notebook(book("toy", "x = 1", calls), {}, tmp_path / "runs")
    assert record.error["line"] == "get('https://***@host/rows')"


def test_a_failing_notebook(book, cli, tmp_path):
    path = book("toy", HEADLINE, "# why\nrows = {}\nrows['x']", "print('never')")
    process = cli("run", path, "--runs", "runs", "--no-report")
    out, err = process.communicate(timeout=60)
    assert process.returncode == 1
    record = read_record(tmp_path / out.splitlines()[-1])
    assert record.status == "failed"
    assert record.error == {"cell": 4, "id": "cell-4", "line": "rows['x']", "name": "KeyError", "message": "'x'"}
    assert "failed in cell 4 (cell-4): rows['x']\n  KeyError: 'x'" in err
    assert [one["status"] for one in record.told["cells"]] == ["good", "good", "good", "failed", "not run"]
    assert record.headline[0]["value"] == 500.0  # what was told before stays told
    assert latest_good(tmp_path / "runs", "toy") is None


def test_a_notebook_that_leaves_early_is_not_good(book, tmp_path):
    early = run_notebook(book("early", "import sys\nsys.exit(0)", "print('never')"), {}, tmp_path / "runs")
    assert (early.status, early.error["name"], early.error["cell"]) == ("failed", "LeftEarlyError", 3)
    assert early.error["message"].startswith("the notebook left by sys.exit, and 1 cell after it did not run in cell 3")
    assert run_notebook(book("late", "raise SystemExit"), {}, tmp_path / "runs").status == "good"


def test_a_table_and_its_cube(book, tmp_path, monkeypatch):
    """The cube a run leaves is the one that a session opens, without the table."""
    table = tmp_path / "small.csv"
    table.write_text("model,latency\na,1\na,2\nb,4\n")
    count = f"import workbench\ntable = run.table({str(table)!r})\n"
    count += "cube = run.cube(lambda: workbench.cube(table, by=[workbench.Category('model')]))\n"
    record = run_notebook(
        book("toy", count + 'run.headline("rows", cube["count"].sum().item(), "rows")'), {}, tmp_path / "runs"
    )
    assert record.status == "good", record.error
    assert record.headline == [{"name": "rows", "value": 3, "unit": "rows"}]
    assert (record.source, len(record.source_version)) == (str(table), 12)
    table.unlink()
    session = Run("toy", record.parameters, stored=record)
    assert session.table(str(table)).version == record.source_version
    assert session.cube(lambda: pytest.fail("a session never counts"))["count"].values.tolist() == [2, 1]
    with pytest.raises(WorkbenchError, match="has no cube 'current'"):
        session.cube(lambda: pytest.fail("a session never counts"), name="current")


def test_a_killed_kernel_is_told_at_its_cell(book, tmp_path):
    path = book("toy", "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)", "print('never')")
    seen = []
    record = run_notebook(
        path, {}, tmp_path / "runs", report=lambda _, folder: seen.append((folder / "run.json").read_text())
    )
    assert record.status == "failed"
    assert (
        json.loads(seen[0])["error"] == record.error
    )  # the report is told the truth, which the notebook does not know
    assert (record.error["cell"], record.error["id"], record.error["name"]) == (3, "cell-3", "kernel died")
    assert "SIGKILL" in record.error["message"]
    cells = read_cells(record.folder / "notebook.ipynb")
    assert [one["metadata"]["papermill"]["status"] for one in cells[1:]] == [
        "completed",
        "completed",
        "failed",
        "pending",
    ]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_interrupted_run(book, cli, tmp_path, number):
    """The second cell refuses to be interrupted and has a child: both are gone within seconds."""
    stubborn = "import subprocess, sys\nchild = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])"
    deaf = "try:\n    time.sleep(60)\nexcept KeyboardInterrupt:\n    time.sleep(60)"
    process = cli("run", book("toy", stubborn, SLEEP.replace("time.sleep(60)", deaf)), "--runs", "runs", "--no-report")
    record = wait_for(lambda: sleeping(tmp_path / "runs"))
    kernel, room = psutil.Process(record.told["kernel"]["pid"]), record.told["room"]
    children = kernel.children(recursive=True)
    assert children
    process.send_signal(number)
    out, err = process.communicate(timeout=10)
    assert process.returncode == 1
    record = read_record(tmp_path / out.splitlines()[-1])
    assert (record.status, record.error["name"], record.error["cell"]) == ("failed", "interrupted", 4)
    assert signal.Signals(number).name in err
    assert all(gone(one.pid) for one in [kernel, *children])
    assert not Path(room).exists()


def test_a_killed_runner_is_closed_by_the_next_run(book, cli, tmp_path):
    runs = tmp_path / "runs"
    process = cli("run", book("toy", HEADLINE, SLEEP), "--runs", "runs", "--no-report")
    record = wait_for(lambda: sleeping(runs))
    assert list_runs(runs) == []  # only who asks for running ones sees it
    assert find_run(runs, "toy").status == "running"
    process.kill()
    process.wait(10)
    after = run_notebook(book("toy", HEADLINE), {}, runs)
    assert after.status == "good"
    newest, killed = list_runs(runs, running=True)
    assert newest.folder == after.folder
    assert (killed.status, killed.error["name"], killed.error["cell"]) == ("failed", "killed", 4)
    assert killed.headline[0]["value"] == 500.0
    assert "process" not in killed.told
    wait_for(lambda: gone(record.told["kernel"]["pid"]))
    assert not Path(record.told["room"]).exists()


@pytest.mark.parametrize("begun", [False, True])
def test_a_run_killed_while_its_kernel_begins_leaves_no_folder_of_sockets(book, cli, tmp_path, begun):
    """Its name is in the record before there is a folder, so the next run finds it whenever the first one was killed."""
    runs = tmp_path / "runs"
    process = cli("run", book("toy", SLEEP), "--runs", "runs", "--no-report")
    (found,) = wait_for(lambda: list(runs.glob("toy/.*.partial/run.json")))
    room = Path(wait_for(lambda: json.loads(found.read_text()))["room"])
    if begun:
        wait_for(room.is_dir)
    process.kill()
    process.wait(10)
    (closed,) = close_stale(runs / "toy")
    assert closed.error["name"] == "killed"
    assert "room" not in closed.told
    assert not room.exists()


def test_a_deadline(book, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    record = run_notebook(book("toy", SLEEP), {}, tmp_path / "runs", timeout=4)
    assert (record.status, record.error["name"]) == ("failed", "timeout")
    assert record.told["duration_s"] < 10


def test_a_disk_that_takes_no_more_is_told_as_such(book, cli, tmp_path, monkeypatch):
    """A limit on the size of files stands for a full disk: it fails in the same places, with its own words."""
    path = book("toy", "print('x' * 3_000_000)")
    kept = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, kept[1]))
    try:
        process = cli("run", path, "--runs", "runs", "--no-report")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, kept)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 1
    record = read_record(tmp_path / out.splitlines()[-1])
    assert record.error["name"] == "OSError"
    assert "File too large" in record.error["message"]
    assert "File too large" in err


def test_a_report_that_fails_is_told_and_the_run_stays_good(book, tmp_path):
    def report(executed: Path, folder: Path) -> None:
        assert executed == folder / "notebook.ipynb"
        raise OSError(28, "No space left on device")

    path, runs = book("toy", HEADLINE), tmp_path / "runs"
    record = run_notebook(path, {}, runs, report=report)
    assert (record.status, record.told["report"]) == ("good", "failed")
    assert "No space left on device" in record.told["report_message"]
    used = {name: one.default for name, one in declared(path).items()}
    assert same_run(path, used, runs).folder == record.folder
    assert same_run(path, {**used, "every": "1h"}, runs) is None
    book("toy", HEADLINE, "1")
    assert same_run(path, used, runs) is None


def test_stopped_before_it_began(book, tmp_path):
    stop = Stop()
    stop.ask("interrupted", "nobody wants it any more")
    record = run_notebook(book("toy", SLEEP), {}, tmp_path / "runs", stop=stop)
    assert (record.status, record.error["name"], record.error["cell"]) == ("failed", "interrupted", None)


def test_runs_of_the_same_second_get_folders_of_their_own(tmp_path):
    with ThreadPoolExecutor(16) as pool:
        folders = list(pool.map(lambda _: new_folder(tmp_path), range(64)))
    assert len(set(folders)) == 64
    folders[0].rename(tmp_path / folders[0].name[1:].removesuffix(".partial"))
    assert new_folder(tmp_path) != folders[0]


def test_plain_papermill(book, tmp_path):
    path = book("toy", HEADLINE, "assert run.folder is None\nassert every == '2h'")
    before = sorted(tmp_path.iterdir())
    command = [sys.executable, "-m", "papermill", str(path), str(tmp_path / "out.ipynb"), "-p", "every", "2h"]
    top = str(Path(__file__).resolve().parents[2])
    clean = {name: value for name, value in os.environ.items() if not name.startswith("WORKBENCH_")}
    environment = {**clean, "PYTHONPATH": top}
    done = subprocess.run(
        command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert sorted(tmp_path.iterdir()) == sorted([*before, tmp_path / "out.ipynb"])


def test_no_run_is_meant(tmp_path):
    with pytest.raises(WorkbenchError, match=r"no run 'toy' under .*run a notebook first"):
        find_run(tmp_path, "toy")
