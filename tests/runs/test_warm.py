"""Kernels forked from a warm parent: they run as plain ones do, end with their launcher, and a plain one stands in for them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
import pytest

from tests.runs.test_execute import gone, sleeping, wait_for
from workbench.runs import warm
from workbench.runs.attempts import sweep
from workbench.runs.execute import run_notebook
from workbench.runs.records import list_runs

PARENT = """\
import sys
from workbench.runs import warm_parent as parent
def few():
    import ipykernel.kernelapp, numpy
parent._import = few
parent._rehearse = lambda: None
{more}
sys.exit(parent.serve())"""


@pytest.fixture
def parent(tmp_path, monkeypatch):
    folder = tempfile.mkdtemp(prefix="w", dir="/tmp")  # short: a socket's path has at most 107 characters
    monkeypatch.setattr(tempfile, "tempdir", folder)
    monkeypatch.setenv("TMPDIR", folder)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[2]))
    monkeypatch.setenv("WORKBENCH_WARM", "1")
    started = []

    def start(more=""):
        code = PARENT.format(more=more)
        started.append(subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True))
        wait_for(warm.there)
        return started[-1]

    yield start
    for one in started:
        one.kill()
        one.communicate()
    shutil.rmtree(folder, ignore_errors=True)


def test_a_forked_kernel_runs_as_a_plain_one_does(parent, book, tmp_path, monkeypatch):
    process = parent("parent.FORKS = 2")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WORKBENCH_BY", "from here")
    tell = "import os, threading\nrun.headline('parent', os.getppid())\nrun.headline('by', by)\nrun.headline('at', os.getcwd())"
    record = run_notebook(book("toy", tell), {}, tmp_path / "runs")
    told = {one["name"]: one["value"] for one in record.headline}
    assert (record.status, record.told["kernel_forked"]) == ("good", True), record.error
    assert told == {"parent": process.pid, "by": "from here", "at": str(tmp_path)}
    assert list(warm.room().glob("kernel-*")) == []
    monkeypatch.setenv("WORKBENCH_SCHEDULED", json.dumps({"entry": "a", "window": "w", "attempt": "a1b2"}))
    died = run_notebook(book("toy", "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)"), {}, tmp_path / "runs")
    assert died.error["name"] == "kernel died"
    assert "(SIGKILL, often the sign of too little memory) in cell 3" in died.error["message"]
    assert process.wait(30) == 0  # two kernels are what it is for
    assert not warm.there()


def test_a_hanging_cell_and_a_kernel_whose_run_is_killed(parent, book, cli, tmp_path, monkeypatch):
    parent()
    hanging = "import time\nopen('here', 'w').write(str(__import__('os').getpid()))\ntime.sleep(600)"
    monkeypatch.chdir(tmp_path)
    late = run_notebook(book("toy", hanging), {}, tmp_path / "runs", timeout=6.0)
    assert late.error["name"] == "timeout"
    assert late.error["cell"] == 3
    assert wait_for(lambda: gone(int(Path("here").read_text())))
    Path("here").unlink()
    told = json.dumps({"entry": "a", "window": "w", "attempt": "c3d4"})
    process = cli(
        "run", tmp_path / "toy.ipynb", "--runs", "runs", "--no-report",
        WORKBENCH_WARM="1", WORKBENCH_SCHEDULED=told, TMPDIR=os.environ["TMPDIR"],
    )  # fmt: skip
    wait_for(lambda: sleeping(tmp_path / "runs") and Path("here").read_text())
    kernel = int(Path("here").read_text())
    launcher = psutil.Process(int(sleeping(tmp_path / "runs").told["kernel"]["pid"]))
    run = int(sleeping(tmp_path / "runs").told["process"]["pid"])
    assert run != process.pid
    assert sorted(warm.kernels_of("c3d4")) == sorted([run, kernel])
    process.kill()
    process.wait()
    assert wait_for(lambda: gone(run) and gone(launcher.pid) and gone(kernel))  # nobody had to be told


def test_a_run_is_forked_too_and_ends_as_a_plain_one_does(parent, book, cli, tmp_path):
    process = parent("import os\nos.environ.update(parent.QUIET)\nimport papermill, jupyter_client")
    tell = "import os\nrun.headline('parent', os.getppid())\nrun.headline('by', by)\nassert by != 'bad', by"
    book("toy", tell)
    warmly = {"WORKBENCH_WARM": "1", "TMPDIR": os.environ["TMPDIR"]}
    good = cli("run", "toy.ipynb", "--runs", "runs", "--no-report", "-p", "by", "x", **warmly)
    out, err = good.communicate(timeout=120)
    assert good.returncode == 0, err
    (record,) = list_runs(tmp_path / "runs")
    assert out.splitlines()[-1] == f"runs/toy/{record.folder.name}"
    assert {one["name"]: one["value"] for one in record.headline} == {"parent": process.pid, "by": "x"}, err
    bad = cli("run", "toy.ipynb", "--runs", "runs", "--no-report", "-p", "by", "bad", **warmly)
    wrong = cli("run", "toy.ipynb", "--runs", "runs", "-p", "evry", "x", **warmly)
    assert (bad.wait(120), wrong.wait(120)) == (1, 2)
    assert "did you mean 'every'" in wrong.stderr.read()
    assert list_runs(tmp_path / "runs")[0].error["name"] == "AssertionError"
    book("toy", "import time\nopen('here', 'w').close()\ntime.sleep(600)")
    stopped = cli("run", "toy.ipynb", "--runs", "runs", "--no-report", **warmly)
    wait_for(lambda: sleeping(tmp_path / "runs"))
    stopped.send_signal(signal.SIGTERM)
    assert stopped.wait(60) == 1
    (told,) = [one.error for one in list_runs(tmp_path / "runs") if one.error and one.error["name"] == "interrupted"]
    assert "SIGTERM" in told["message"]
    assert list(warm.room().glob("kernel-*")) == []


def test_the_real_parent_has_everything_imported_and_no_thread_and_its_kernels_show_pictures(tmp_path):
    code = (
        "import os, sys\nfrom workbench.runs import warm_parent as p\nos.environ.update(p.QUIET)\np._import()\np._rehearse()\n"
        "print(len(os.listdir('/proc/self/task')), 'papermill' in sys.modules, 'sklearn.ensemble' in sys.modules)\n"
        "from IPython.core.interactiveshell import InteractiveShell\nfrom traitlets.config import Config\n"  # as its kernels do
        "shell = InteractiveShell.instance(config=Config(HistoryManager={'enabled': False}))\np._show_pictures()\n"
        "import contextlib, io\nwith contextlib.redirect_stdout(io.StringIO()):\n"
        "    shell.run_cell('from workbench.views import look\\ncurve = look.extension().Curve([1, 2])\\n'\n"
        "                   'shown = get_ipython().display_formatter.format(curve)[0]')\n"
        "print('text/html' in shell.user_ns['shown'])\n"
    )
    top = str(Path(__file__).resolve().parents[2])
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": top},
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("1 True True\nTrue\n", "")


def test_what_is_left_of_an_attempt_is_found_among_forked_kernels(parent, monkeypatch, tmp_path):
    parent()
    monkeypatch.setenv("WORKBENCH_SCHEDULED", json.dumps({"entry": "a", "window": "w", "attempt": "e5f6"}))
    launcher = subprocess.Popen([sys.executable, "-m", "workbench.runs.warm", "-f", str(tmp_path / "k.json")])
    (kernel,) = wait_for(lambda: warm.kernels_of("e5f6"))
    assert sweep("e5f6") >= 2
    assert wait_for(lambda: gone(kernel) and gone(launcher.pid))
    launcher.wait()


@pytest.mark.parametrize("why", ["", "it has threads: ", "its modules are older"])
def test_without_a_parent_that_may_be_used_a_plain_kernel_starts_and_that_is_said(parent, book, tmp_path, capfd, why):
    thread = "import threading, time\nthreading.Thread(target=time.sleep, args=(600,), daemon=True).start()"
    if why:
        parent(thread if "threads" in why else "parent.stamps = iter([{}, {'x': 1.0}, {'x': 2.0}]).__next__")
    record = run_notebook(book("toy", "print(1)"), {}, tmp_path / "runs")
    assert (record.status, record.told["kernel_forked"]) == ("good", False)
    assert f"no warm kernel ({why or 'none listens'}" in capfd.readouterr().err
    assert len(list_runs(tmp_path / "runs")) == 1


def test_the_first_run_after_an_upgrade_says_that_it_starts_plainly_and_starts_a_parent(parent, monkeypatch, capfd):
    parent("parent.stamps = iter([{}, {'x': 1.0}]).__next__")
    asked = []
    monkeypatch.setattr(warm, "ensure", lambda: asked.append(warm.there()))
    assert warm.hand_over(["run", "toy"]) is None
    assert "forks no run (its modules are older than their files); this one starts plainly" in capfd.readouterr().err
    monkeypatch.setenv(warm.ATTEMPT, "{}")
    assert warm.hand_over(["run", "toy"]) is None  # none listens now, and a scheduler says so itself
    assert len(asked) == 1
    assert capfd.readouterr().err == ""


def test_a_parent_is_started_once_and_its_kernels_end_with_it(parent, monkeypatch, tmp_path):
    process = parent()
    assert warm.ensure()
    second = subprocess.run([sys.executable, "-c", PARENT.format(more="")], timeout=60, check=False)
    assert second.returncode == 0  # one listens already
    monkeypatch.setenv("WORKBENCH_SCHEDULED", json.dumps({"entry": "a", "window": "w", "attempt": "0a0b"}))
    launcher = subprocess.Popen([sys.executable, "-m", "workbench.runs.warm", "-f", str(tmp_path / "k.json")])
    (kernel,) = wait_for(lambda: warm.kernels_of("0a0b"))
    process.kill()
    assert wait_for(lambda: gone(kernel))
    assert launcher.wait(10) == 1


def test_the_kernelspec_is_an_ordinary_one(tmp_path, monkeypatch):
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    told = json.loads((warm.install() / "kernel.json").read_text())
    assert told["argv"][-2:] == ["-f", "{connection_file}"]
    assert told["display_name"] == "Python 3 (warm)"


def test_a_room_that_others_may_enter_is_not_used(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    warm.room().chmod(0o755)
    with pytest.raises(PermissionError, match="not this user's own"):
        warm.room()
    assert not warm.there()
