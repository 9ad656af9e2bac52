"""What a schedule says, and every mistake in it: file, line and remedy."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.runs.conftest import write_book
from workbench.errors import WorkbenchError
from workbench.runs import times
from workbench.runs.schedule import read_schedule
from workbench.runs.schedule_file import checked


@pytest.fixture
def told(tmp_path):
    write_book(tmp_path / "toy.ipynb", "print(every)")

    def check(text):
        path = tmp_path / "schedule.yml"
        path.write_text(text)
        return {one.line: one.text for one in checked(path)[1]}

    return check


HEAD = "deliver:\n  log: {file: a.jsonl}\nentries:\n"


@pytest.mark.parametrize(
    ("entry", "line", "sentence"),
    [
        ("notebook: toi\n    cron: '0 1 * * *'", 5, "there is no notebook 'toi'; did you mean 'toy'?"),
        ("cron: '0 1 * * *'", 4, "there is no `notebook:`"),
        ("notebook: toy", 4, "there is no `cron:`; wanted minute hour day month weekday"),
        ("notebook: toy\n    cron: '0 1 * *'", 6, "has 4 fields"),
        ("notebook: toy\n    cron: '0 25 * * *'", 6, "is no cron line"),
        ("notebook: toy\n    cron: '0 0 30 2 *'", 6, "never fires: no month has that day"),
        ("notebook: toy\n    cron: '0 0 31 4,6 *'", 6, "never fires"),
        ("notebook: toy\n    cron: '0 1 * * *'\n    zone: Europe/Berln", 7, "did you mean 'Europe/Berlin'"),
        (
            "notebook: toy\n    cron: '0 1 * * *'\n    parameters:\n      evry: D",
            8,
            "no parameter 'evry'; did you mean 'every'?",
        ),
        (
            "notebook: toy\n    cron: '0 1 * * *'\n    parameters:\n      slo_ms: fast",
            8,
            "wanted float from 1.0 to 600,000.0",
        ),
        (
            "notebook: toy\n    cron: '0 1 * * *'\n    parameters:\n      every: 5",
            8,
            "is 5 (int) from the schedule; wanted str",
        ),
        ("notebook: toy\n    cron: '0 1 * * *'\n    parameters:\n      by: '{{ dai }}'", 8, "did you mean 'day'?"),
        ("notebook: toy\n    cron: '0 1 * * *'\n    cluster: gpus", 7, "one of 'threads', 'processes'"),
        ("notebook: toy\n    cron: '0 1 * * *'\n    timeout: 5 minutes", 7, "wanted a number with a unit"),
        ("notebook: toy\n    cron: '0 1 * * *'\n    overlap: queue", 7, "wanted one of wait, skip, replace, allow"),
        ("notebook: toy\n    cron: '0 1 * * *'\n    catchup: each", 7, "did you mean 'catch-up'?"),
        ("notebook: toy\n    cron: '0 1 * * *'\n    depends-on: b", 7, "there is no entry 'b'"),
        ("notebook: toy\n    cron: '0 1 * * *'\n    depends-on: a", 7, "these wait for each other: a -> a"),
        ("notebook: toy\n    cron: '0 1 * * *'\n    retries: {times: -1}", 7, "wanted a number of at least 0"),
        ("notebook: toy\n    cron: '0 1 * * *'\n    retries: {after: oom}", 7, "there is no failure 'oom'"),
        ("notebook: toy\n    cron: '0 1 * * *'\n    memory: lots", 7, "as in 8GB"),
        ("notebook: toy\n    cron: '0 1 * * *'\n    alerts: [{when: late, to: log}]", 7, "add `late:` to it"),
        (
            "notebook: toy\n    cron: '0 1 * * *'\n    alerts: [{when: failed, to: team}]",
            7,
            "there is no channel 'team'",
        ),
        (
            "notebook: toy\n    cron: '0 1 * * *'\n    alerts: [{figure: rows, above: many, to: log}]",
            7,
            "wanted a number",
        ),
        ("notebook: toy\n    cron: '0 1 * * *'\n    alerts: [{when: failed}]", 7, "this rule tells nobody"),
        ("notebook: toy\n    cron: '0 1 * * *'\n    cron: '0 2 * * *'", 7, "'cron' is here twice"),
        ("notebook: toy\n    cron: '0 1 * * *'\n    enabled: 1", 7, "wanted true or false"),
    ],
)
def test_a_mistake_is_told_at_its_line(told, entry, line, sentence):
    problems = told(f"{HEAD}  a:\n    {entry}\n")
    assert sentence in problems[line], problems


def test_a_longer_cycle_and_a_password_and_all_of_it_at_once(told, tmp_path):
    problems = told(
        "deliver:\n  m: {email: a@b.c, from: a@b.c, smtp: 'h:25', password: hunter2}\nentries:\n"
        "  a: {notebook: toy, cron: '0 1 * * *', depends-on: b}\n  b: {notebook: toy, cron: '0 1 * * *', depends-on: a}\n"
    )
    assert "a password is a secret" in problems[2]
    assert any("these wait for each other" in text for text in problems.values())
    with pytest.raises(WorkbenchError, match="has 2 mistakes") as error:
        read_schedule(tmp_path / "schedule.yml")
    assert f"{tmp_path / 'schedule.yml'}:2: " in str(error.value)


@pytest.mark.parametrize(
    "text", ["", "- a", "entries: []", "entries:\n  a: 5", "a: [", "entries:\n  a: {cron: * * * * *}"]
)
def test_a_file_of_another_shape_is_told_not_raised_as_something_else(told, tmp_path, text):
    path = tmp_path / "schedule.yml"
    path.write_text(text)
    with pytest.raises(WorkbenchError, match=r"schedule.yml:\d"):
        read_schedule(path)


def test_the_shipped_schedule_has_no_mistake():
    schedule = read_schedule(Path(__file__).parents[2] / "notebooks" / "schedule.yml")
    assert {one.name for one in schedule.entries} >= {"quality", "drift", "performance"}
    names = [one.name for one in schedule.entries]
    assert names.index("quality") < names.index("drift")


LINES = st.sampled_from(["30 2 * * *", "0 * * * *", "15,45 1-4 * * *", "0 3 * * 0", "5 2 28-31 * *", "*/20 2 * * *"])
ZONES = st.sampled_from(["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "UTC", "Africa/Casablanca"])


@given(LINES, ZONES, st.datetimes(datetime(2026, 1, 1), datetime(2027, 12, 1)))
def test_times_go_on_from_each_of_themselves(cron, zone, start):
    """A scheduler that is started again at any time goes on with the same moments, none twice and none left out."""
    start, place = start.replace(tzinfo=UTC, microsecond=0), ZoneInfo(zone)
    steps = times.fires(cron, place, start)
    whole = [next(steps) for _ in range(12)]
    assert whole == sorted(set(whole))
    assert [times.next_fire(cron, place, one) for one in whole[:-1]] == whole[1:]
    assert times.next_fire(cron, place, whole[5] - timedelta(seconds=1)) == whole[5]


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("{{ day }}", "2026-03-29"),
        ("{{ day - 29 }}", "2026-02-28"),
        ("{{week}}", "2026-03-23"),
        ("{{ month - 3 }}", "2025-12"),
        ("{{ hour - 1 }}", "2026-03-29T01:00"),
        ("{{ time }}", "2026-03-29T01:00:00Z"),
        ("{{ day | %Y/%m/%d }}/x", "2026/03/29/x"),
        ("{{ year + 1 }}", "2027"),
        ("no { day }", "no { day }"),
    ],
)
def test_dates_of_a_spring_night(text, filled):
    moment = datetime(2026, 3, 29, 1, 0, tzinfo=UTC)  # 03:00 in Berlin, where 02:00 is not
    assert times.filled(text, moment, ZoneInfo("Europe/Berlin")) == filled
