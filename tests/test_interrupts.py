"""Ctrl-C at the moments where it used to break what was under way."""

import importlib
import os
import signal
import sys

import pytest

from workbench.interrupts import heard


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


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_one_that_a_finaliser_swallows_is_raised_in_the_end():
    lost = []

    def swallow():
        Pressing()
        with heard(quietly=True) as stop:
            lost.append(stop.lost)

    with pytest.raises(KeyboardInterrupt), heard():
        swallow()
    assert lost == [True]


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
