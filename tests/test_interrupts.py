"""Ctrl-C at the moments where it used to break what was under way."""

import importlib
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from workbench import interrupts
from workbench.interrupts import Stop, apart, heard


def press():
    os.kill(os.getpid(), signal.SIGINT)


@pytest.fixture
def library(tmp_path, monkeypatch):
    """A module that Ctrl-C comes in the middle of."""

    def write(name):
        (tmp_path / f"{name}.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\nwhole = True\n")

    monkeypatch.syspath_prepend(str(tmp_path))
    yield write
    for name in ("halved", "workbench_halved"):
        sys.modules.pop(name, None)


def test_an_import_is_ended_first(library):
    library("halved")
    with pytest.raises(KeyboardInterrupt), heard():
        importlib.import_module("halved")
    assert sys.modules["halved"].whole
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_import_of_ours_is_begun_again(library):
    library("workbench_halved")
    with pytest.raises(KeyboardInterrupt), heard():
        importlib.import_module("workbench_halved")
    assert "workbench_halved" not in sys.modules


class Pressing:
    def __del__(self):
        press()
        self.over.append(True)


def test_a_finaliser_is_ended_first(monkeypatch):
    monkeypatch.setattr(interrupts, "AGAIN", 0.2)
    Pressing.over, looked = [], []

    def finalise():
        Pressing()
        with heard(quietly=True) as stop:
            looked.append(stop.lost)

    with pytest.raises(KeyboardInterrupt), heard():
        finalise()
    assert (Pressing.over, looked) == ([True], [True])


def test_work_in_a_thread_of_its_own_is_given_back_or_raised():
    assert apart(lambda: 3, Stop()) == 3
    with pytest.raises(ZeroDivisionError):
        apart(lambda: 1 / 0, Stop())
    ended = threading.Event()
    with pytest.raises(KeyboardInterrupt), heard(quietly=True) as stop:
        apart(lambda: press() or ended.wait(60), stop, grace=0.01)  # heard here, though that thread is deaf
    assert not ended.is_set()
    ended.set()
    with pytest.raises(OSError, match="left early"):  # what has time to end says how
        apart(lambda: _raise_when(stop), stop)


def _raise_when(stop):
    assert stop.asked
    raise OSError("left early")


def test_quietly_it_is_told_and_a_second_one_raised():
    told = []

    def press_often(stop):
        for _ in range(3):
            press()
            told.append(stop.asked)

    with pytest.raises(KeyboardInterrupt), heard(quietly=True) as stop:
        press_often(stop)
    assert told == [True]


def test_programs_with_a_handler_of_their_own_keep_it():
    pressed = []
    before = signal.signal(signal.SIGINT, lambda number, frame: pressed.append(number))
    try:
        with heard(), heard(quietly=True):
            press()
    finally:
        signal.signal(signal.SIGINT, before)
    assert pressed == [signal.SIGINT]


# A pass where there are no POSIX signals, no file locks and no folders that can be opened.
ELSEWHERE = """
import concurrent.futures.process, multiprocessing, os, pathlib, signal, subprocess, sys, tempfile, types
import dask, h5py, numba, pandas, pyarrow.parquet, xarray
for name in ("pthread_kill", "pthread_sigmask", "SIGKILL", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIG_BLOCK", "SIG_SETMASK"):
    delattr(signal, name)
for name in ("fork", "killpg", "sched_getaffinity", "getuid", "O_RDONLY"):
    delattr(os, name)
sys.modules["fcntl"] = sys.modules["resource"] = None
locked = []
sys.modules["msvcrt"] = types.SimpleNamespace(LK_NBLCK=2, locking=lambda *asked: locked.append(asked[1:]))
import workbench.cubes.store
workbench.cubes.store.os = types.SimpleNamespace(**{**vars(os), "name": "nt"})
import time
import workbench as wb, workbench.cli, workbench.processes
from workbench.interrupts import heard
folder = pathlib.Path(tempfile.mkdtemp())
pyarrow.parquet.write_table(pyarrow.table({"x": [1.5, None], "k": ["a", "b"]}), folder / "a.parquet")
store = pathlib.Path(tempfile.mkdtemp()) / "store"
cube = wb.cube(wb.open_table(folder), by="k", onto=store)
assert int(wb.open_store(store)["count"].sum()) == 2 and locked == [(2, 1)]
(folder / "halved.py").write_text("import _thread; _thread.interrupt_main(); whole = True")
sys.path.insert(0, str(folder))
try:
    with heard():
        import halved
        for _ in range(2000):
            time.sleep(0.01)
except KeyboardInterrupt:
    print(sys.modules["halved"].whole)
"""


def test_it_works_without_posix_signals(tmp_path):
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), "TMPDIR": str(tmp_path)}
    run = subprocess.run(
        [sys.executable, "-c", ELSEWHERE], capture_output=True, text=True, timeout=60, env=env, cwd=tmp_path
    )
    assert (run.stdout, run.returncode) == ("True\n", 0), run.stderr
