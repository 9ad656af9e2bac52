"""The listing of runs, figures over runs, the history by date, and when a notebook runs next."""

from __future__ import annotations

import json
import os
import re
from datetime import UTC, datetime
from pathlib import Path

import nbformat
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nbformat.v4 import new_markdown_cell, new_notebook

from workbench.apps import history
from workbench.apps.asked import BadValueError, page_of
from workbench.apps.due import due
from workbench.apps.history import Listing, rows, series, spark, until
from workbench.apps.site import Site, history_page, index
from workbench.errors import WorkbenchError


def a_run(runs: Path, name: str, status: str = "good", value: float | None = 1.0, unit: str = "s", **more) -> Path:
    folder = runs / "waves" / name
    folder.mkdir(parents=True)
    stamp = folder.name.strip(".")[:16]
    when = f"{stamp[:4]}-{stamp[4:6]}-{stamp[6:8]}T{stamp[9:11]}:{stamp[11:13]}:{stamp[13:15]}Z"
    headline = [{"name": "p99", "value": value, "unit": unit}]
    told = {
        "status": status,
        "notebook": folder.parent.name,
        "started": when,
        "ended": when,
        "headline": headline,
        "source": "t",
    }
    (folder / "run.json").write_text(json.dumps({**told, **more}))
    return folder


def named(count: int) -> list[str]:
    return [f"202601{1 + n // 24:02d}T{n % 24:02d}0000Z" for n in range(count)]


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    for n, name in enumerate(named(5)):
        a_run(tmp_path / "runs", name, value=float(n))
    return tmp_path / "runs"


@pytest.fixture
def site(runs: Path, tmp_path: Path) -> Site:
    folder = tmp_path / "notebooks"
    folder.mkdir()
    nbformat.write(new_notebook(cells=[new_markdown_cell("# Waves\n\nHow high?")]), folder / "waves.ipynb")
    return Site(runs, folder)


def test_names_are_newest_first_and_a_second_run_of_a_second_comes_after_the_first(runs):
    a_run(runs, "20260101T000000Z-2")
    a_run(runs, "20260101T000000Z-10")
    a_run(runs, ".20260102T000000Z.partial", status="running")
    (runs / "waves" / "notes").mkdir()
    names = Listing(runs).names("waves")
    assert names[0] == ".20260102T000000Z.partial"
    assert names[-3:] == ("20260101T000000Z-10", "20260101T000000Z-2", "20260101T000000Z")
    assert len(names) == 8


def test_only_what_is_listed_is_ever_opened(runs):
    listing = Listing(runs)
    for name in ("..", ".", "", "/etc", "waves/../waves", "elsewhere"):
        assert listing.names(name) == ()
        assert listing.record(name, "20260101T000000Z") is None
        assert listing.record("waves", name) is None


def test_a_settled_folder_is_read_once_and_again_when_it_changes(runs, monkeypatch):
    folder = runs / "waves"
    os.utime(folder, ns=(1, 10**18))
    os.utime(runs, ns=(1, 10**18))
    listing = Listing(runs)
    before = listing.names("waves")
    with monkeypatch.context() as patch:
        patch.setattr(history.os, "scandir", lambda path: pytest.fail("read again"))
        assert listing.names("waves") == before
    a_run(runs, "20260301T000000Z")
    assert listing.names("waves")[0] == "20260301T000000Z"


def test_a_record_is_read_once_and_again_when_its_file_changes(runs, monkeypatch):
    listing = Listing(runs)
    first = listing.record("waves", "20260101T000000Z")
    assert listing.record("waves", "20260101T000000Z") is first
    (first.folder / "run.json").write_text('{"status": "failed"}')
    assert listing.record("waves", "20260101T000000Z").status == "failed"
    (first.folder / "run.json").unlink()
    assert listing.record("waves", "20260101T000000Z") is None


def test_of_thousands_of_runs_a_page_reads_those_it_shows(tmp_path, monkeypatch):
    (tmp_path / "waves").mkdir()
    for n in range(5_000):
        (tmp_path / "waves" / f"20260101T000000Z-{n + 2}").mkdir()
    read = []
    monkeypatch.setattr(history, "read_record", lambda folder: read.append(folder) or Record(folder))
    table = rows(Listing(tmp_path), "waves")
    assert table["count"] == 5_000
    assert len(read) <= history.SHOWN


class Record:
    def __init__(self, folder: Path) -> None:
        self.folder, self.status, self.headline, self.told = folder, "good", [], {}
        self.ended = self.started = self.error = self.source = None


# --- figures over runs -------------------------------------------------------------------------------------------------


def test_a_figure_over_runs_leaves_out_other_tables_failures_and_other_units(runs):
    a_run(runs, "20260110T000000Z", value=100.0, source="other")
    a_run(runs, "20260111T000000Z", value=200.0, status="failed")
    a_run(runs, "20260112T000000Z", value=300.0, unit="ms")
    a_run(runs, "20260113T000000Z", value=None)
    newest = a_run(runs, "20260114T000000Z", value=5.0)
    listing = Listing(runs)
    record = listing.record("waves", newest.name)
    assert series(record, listing.walk("waves")) == {"p99": [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]}
    assert series(record, listing.walk("waves"), over=3) == {}
    assert series(record, listing.walk("waves"), over=4) == {"p99": [4.0, 5.0]}


def test_a_sparkline_says_in_words_what_it_draws():
    assert 'aria-label="over 3 runs: from 1 to 2 s, between 1 and 4"' in spark([1, 4, 2], "s")
    assert "always the same" in spark([3, 3])
    assert spark([1]) == spark([]) == ""


@given(st.lists(st.floats(-1e12, 1e12), min_size=2, max_size=60))
def test_a_sparkline_stays_in_its_box(values):
    points = spark(values).split('points="')[1].split('"')[0].split()
    assert len(points) == len(values)
    for point in points:
        x, y = map(float, point.split(","))
        assert 0 <= x <= 96
        assert 0 <= y <= 20


# --- by date -----------------------------------------------------------------------------------------------------------


def test_a_day_or_a_run_is_found_in_the_names():
    names = [f"202601{day:02d}T060000Z" for day in (9, 7, 5)]
    asked = ("2026-01-31", "2026-01-09", "2026-01-08", "2026-01-05", "2026-01-01")
    assert [until(names, one) for one in asked] == [0, 0, 1, 2, 3]
    assert until(names, "20260107T060000Z") == 1


@pytest.mark.parametrize("asked", ["../..", "soon", "2026-13-01", "2026-01-01'", "1; drop", "20260107T060000Z/../x"])
def test_another_value_is_refused(site, asked):
    with pytest.raises(WorkbenchError, match="is no day"):
        until(["20260107T060000Z"], asked)
    with pytest.raises(BadValueError):
        page_of(site, "waves", "history", lambda name: asked)


def test_pages_of_the_history_lead_to_each_other(runs, site, monkeypatch):
    monkeypatch.setattr(history, "SHOWN", 2)
    first = rows(site.listing, "waves")
    assert [run["run"][9:11] for day in first["days"] for run in day["runs"]] == ["04", "03"]
    second = rows(site.listing, "waves", first["older"])
    assert [run["run"][9:11] for day in second["days"] for run in day["runs"]] == ["02", "01"]
    assert rows(site.listing, "waves", second["newer"])["first"] == 1
    assert rows(site.listing, "waves", "2025-01-01")["days"] == []


def test_the_history_shows_day_state_figures_and_a_run_at_work_without_a_link(runs, site):
    a_run(runs, "20260203T000000Z", status="failed", error={"name": "KeyError"})
    a_run(runs, ".20260204T000000Z.partial", status="running")
    html = history_page(site, "waves")
    assert "3 Feb 2026" in html
    assert ">Failed<" in html
    assert ">Running<" in html
    assert 'href="../20260203T000000Z/"' in html
    assert "20260204T000000Z/" not in html
    assert "p99 <span" in html
    assert html.count("UTC") == 1


def test_a_notebook_without_runs_has_an_empty_history(site):
    nbformat.write(new_notebook(cells=[new_markdown_cell("# New")]), site.notebooks / "new.ipynb")
    assert "has not been run yet" in history_page(site, "new")
    with pytest.raises(WorkbenchError, match="There is no notebook"):
        history_page(site, "newer")


# --- the index ---------------------------------------------------------------------------------------------------------


def test_the_index_counts_states_worst_first_and_draws_lines_over_runs(runs, site):
    html = index(site)
    assert "1 good" in html
    assert 'aria-label="over 5 runs: from 0 to 4 s, between 0 and 4"' in html
    a_run(runs, "20260301T000000Z", status="failed", error={"name": "KeyError"})
    html = index(site)
    assert "1 failed last" in html
    assert "The newest run, 1 Mar 2026 00:00, failed." in html
    assert html.count("UTC") == 1


def test_the_index_begins_with_what_failed_or_is_late_then_what_is_to_be_looked_at(runs, site):
    """Newest first: fine, looked at, late, failed; the order of the index is another one."""
    days = {"failed": "20260102", "late": "20260103", "bad": "20260105", "fine": "20260106"}
    for name, day in days.items():
        a_run(runs, f"../{name}/{day}T000000Z", headline=[{"name": "p99", "value": 1, "good": name != "bad"}])
    a_run(runs, "../failed/20260104T000000Z", status="failed", error={"name": "KeyError"})
    for name in ("late", "unrun"):
        nbformat.write(new_notebook(cells=[new_markdown_cell(f"# {name}")]), site.notebooks / f"{name}.ipynb")
    (site.notebooks / "schedule.yml").write_text(SCHEDULE.replace("waves", "late"))
    (site.runs / "schedule.db").touch()
    order = re.findall(r'<h2><a href="\./(\w+)/', index(site, now=NOW))
    assert order == ["failed", "late", "bad", "fine", "waves", "unrun"]


def test_text_of_a_run_cannot_become_markup(runs, site):
    evil = '"><script>alert(1)</script>'
    a_run(runs, "20260302T000000Z", headline=[{"name": evil, "value": 2, "unit": evil}], source=evil)
    for html in (index(site), history_page(site, "waves")):
        assert "<script>alert" not in html


SCHEDULE = "entries:\n  daily:\n    notebook: waves\n    cron: '30 2 * * *'\n    late: 1h\n"
NOW = datetime(2026, 1, 10, 12, tzinfo=UTC)


def test_the_next_run_is_told_from_the_schedule(site):
    (site.notebooks / "schedule.yml").write_text(SCHEDULE)
    html = index(site, now=NOW)
    assert "Scheduled" in html
    assert "11 Jan 2026 02:30" in html
    assert "Stale" not in html  # no scheduler was ever at work here


def test_a_run_that_a_scheduler_owes_makes_the_last_one_stale(site):
    (site.notebooks / "schedule.yml").write_text(SCHEDULE)
    (site.runs / "schedule.db").touch()
    html = index(site, now=NOW)
    assert "Next run" in html
    assert ">Stale<" in html
    assert "A run was to come at 2 Jan 2026 02:30" in html
    assert "Stale" not in index(site, now=datetime(2026, 1, 2, 3, tzinfo=UTC))


@pytest.mark.parametrize("text", ["entries: [", "entries:\n  a: {notebook: nowhere, cron: '* * * * *'}\n", ""])
def test_a_schedule_with_mistakes_is_told_and_the_index_stays(site, text):
    (site.notebooks / "schedule.yml").write_text(text)
    html = index(site, now=NOW)
    assert "Next runs are not shown" in html
    assert "Waves" in html


def test_without_a_schedule_nothing_is_said(site):
    assert due(site.notebooks, site.runs, NOW) == ({}, "")
    assert "Scheduled" not in index(site)
