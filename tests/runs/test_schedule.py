"""What a schedule says, and every mistake in it: file, line and remedy."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from itertools import islice
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
        ("notebook: toy\n    cron: '0 25 * * *'", 6, "is no cron line: its hour is '25'; wanted 0 to 23, as in"),
        ("notebook: toy\n    cron: '0 5-2 * * *'", 6, "its hour is '5-2'; wanted 0 to 23, the smaller first"),
        ("notebook: toy\n    cron: '0 5 ? * MON'", 6, "its day is '?'; wanted 1 to 31 or L, or * for any"),
        ("notebook: toy\n    cron: '0 5 * * 8'", 6, "its weekday is '8'; wanted 0 to 7 or SUN to SAT"),
        (
            "notebook: quality\n    cron: '0 5 * * *'\n    cluster: gpu",
            7,
            "cluster is 'gpu'; wanted threads, processes, cuda",
        ),
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
        ("notebook: toy\n    cron: '0 1 * * *'\n    retries: {times: -1}", 7, "wanted a whole number of at least 0"),
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
        ("notebook: toy\n    cron: '@daily'", 6, "write '0 0 * * *' instead"),
        ("notebook: toy\n    cron: '0 0 1 * * *'", 6, "take the seconds in front away"),
        ("notebook: 5\n    cron: '0 1 * * *'", 5, "notebook is 5; wanted its name"),
        ("notebook: toy\n    cron: '0 1 * * *'\n    zone: 2", 7, "zone is 2; wanted an IANA name"),
        ("notebook: toy\n    cron: '0 1 * * *'\n    parameters: {by: {{ day }}}", 7, "quote what has braces"),
        ("notebook: toy\n    cron: '0 1 * * *'\n    parameters: {by: 'secret:x'}", 7, "'secret:x' is no secret"),
        (
            "notebook: toy\n    cron: '0 1 * * *'\n    retries: two",
            7,
            "retries is 'two'; wanted a number, or {times: 2",
        ),
        ("notebook: toy\n    cron: '0 1 * * *'\n    retries: {times: 1.5}", 7, "wanted a whole number"),
        ("notebook: toy\n    cron: '0 1 * * *'\n    memory: 0GB", 7, "as in 8GB"),
        ("notebook: toy\n    cron: '0 1 * * *'\n    timeout: 900000d", 7, "is no span of time"),
        (f"notebook: toy\n    cron: '0 1 * * *'\n    timeout: {'9' * 400}", 7, "99... is no span of time"),
        (
            "notebook: toy\n    cron: '0 1 * * *'\n    alerts: [{figure: [1], is: bad, to: log}]",
            7,
            "wanted the name of",
        ),
        ("notebook: toy\n    cron: '0 1 * * *'\n    alerts: [{figure: x, above: .nan, to: log}]", 7, "wanted a number"),
        (
            "notebook: toy\n    cron: '0 1 * * *'\n    depends-on: c\n  c: {notebook: toy, cron: '0 1 * * *', enabled: false}",
            7,
            "c is switched off",
        ),
        (
            "notebook: toy\n    cron: '0 1 * * *'\n  '../x': {notebook: toy, cron: '0 1 * * *'}",
            7,
            "is no name of an entry",
        ),
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
    ("channel", "sentence"),
    [
        ("{webhook: ftp://x}", "wanted an http(s) address"),
        ("{webhook: 'https://me:hunter2@x/y'}", "this address holds a password; write secret:env:NAME"),
        ("{webhook: 'https://x', headers: 5}", "headers is '5'; wanted a mapping"),
        ("{webhook: 'https://x', headers: {Authorization: hunter2}}", "the header Authorization is a secret"),
        ("{webhook: secret:x}", "'secret:x' is no secret"),
        ("{email: [], from: a@b.c, smtp: 'h:25'}", "wanted an address or a list of addresses"),
        ("{email: a@b.c, from: a, smtp: 'h:25'}", "from is 'a'; wanted an address"),
        ("{email: a@b.c, from: a@b.c, smtp: 'h:99999'}", "wanted host:port"),
        ("{email: a@b.c, from: a@b.c, smtp: 'h:25', tls: maybe}", "wanted one of starttls, yes, no"),
        ("{file: [a]}", "wanted the path of a file"),
        ("{file: a, webhook: 'https://x'}", "no or several ways"),
        ("5", "no or several ways"),
    ],
)
def test_a_mistake_in_a_channel_is_told_without_its_secret(told, channel, sentence):
    problems = told(f"deliver:\n  log: {channel}\nentries:\n  a: {{notebook: toy, cron: '0 1 * * *'}}\n")
    assert sentence in problems[2]
    assert "hunter2" not in problems[2]


def test_every_cycle_is_told(told):
    entries = "".join(
        f"  {a}: {{notebook: toy, cron: '0 1 * * *', depends-on: {b}}}\n" for a, b in ("ab", "ba", "cd", "dc")
    )
    problems = told(f"entries:\n{entries}")
    assert "a -> b -> a" in problems[2]
    assert "c -> d -> c" in problems[4]


def test_anchors_and_merges_mean_what_they_mean_in_yaml(tmp_path):
    write_book(tmp_path / "toy.ipynb", "print(every)")
    path = tmp_path / "schedule.yml"
    path.write_text(
        "entries:\n  a: &usual\n    notebook: toy\n    cron: '0 1 * * *'\n    parameters: &p {by: x, every: D}\n"
        "  b:\n    <<: *usual\n    cron: '0 2 * * *'\n    parameters:\n      <<: [*p]\n      by: z\n"
    )
    a, b = read_schedule(path).entries
    assert (a.cron, b.cron, b.notebook) == ("0 1 * * *", "0 2 * * *", a.notebook)
    assert (a.parameters, b.parameters) == ({"by": "x", "every": "D"}, {"by": "z", "every": "D"})


REPEATED = "".join(f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in ("ab", "bc", "cd", "de", "ef", "fg", "gh"))


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ("entries: &a\n  x: *a\n", "1: an anchor that holds itself"),
        ("a: &a [1]\n" + REPEATED, "or too many of them"),
        ("entries:\n  a: " + "[" * 5000 + "]" * 5000, "2: this lies deeper than 40 levels"),
        ("entries:\n  ä: 1\n".encode("latin-1"), "2: this is not UTF-8 text; save the file as UTF-8"),
        ("entries:\n".encode("utf-16"), "1: this is not UTF-8"),
        (
            "entries:\n\ta: 1\n",
            r"2: this is not YAML: found character '\t' that cannot start any token; indent with spaces",
        ),
        ("entries:\n  a: %d\n", "2: this is not YAML: found character '%'"),
        ("entries:\n  a: b: c\n", "quote a text that has a colon in it"),
        ("a: 1\n---\nb: 2\n", "keep what is above the line ---"),
        ("a: 1\nb\0: 2\n", "2: this is not YAML"),
    ],
)
def test_a_file_that_no_values_can_be_made_of(tmp_path, data, sentence):
    path = tmp_path / "schedule.yml"
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    with pytest.raises(WorkbenchError) as error:
        read_schedule(path)
    assert sentence in str(error.value)
    with pytest.raises(WorkbenchError, match="cannot be read"):
        read_schedule(tmp_path)


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


NIGHTS = {  # clocks that go forward and back at two, at midnight, by half an hour, and for Ramadan
    "Europe/Berlin": (date(2026, 3, 29), date(2026, 10, 25)),
    "America/St_Johns": (date(2026, 3, 8), date(2026, 11, 1)),
    "Australia/Lord_Howe": (date(2026, 10, 4), date(2026, 4, 5)),
    "Africa/Cairo": (date(2026, 4, 24), date(2026, 10, 30)),
    "America/Santiago": (date(2026, 9, 6), date(2026, 4, 5)),
    "Africa/Casablanca": (date(2026, 3, 22), date(2026, 2, 15)),
    "America/Sao_Paulo": (date(2018, 11, 4), date(2018, 2, 18)),
    "Asia/Kathmandu": (date(1986, 1, 1),),  # by a quarter of an hour, once
}


@pytest.mark.parametrize("name", NIGHTS)
def test_every_time_of_a_day_on_which_clocks_change_fires_once(name):
    place = ZoneInfo(name)
    for day in NIGHTS[name]:
        noons = [datetime.combine(day + timedelta(days=i), time(12), place) for i in (-1, 0)]
        assert len({one.utcoffset() for one in noons} | {(noons[0] - timedelta(days=1)).utcoffset()}) == 2
        for minute in range(0, 1440, 15):
            cron = f"{minute % 60} {minute // 60} * * *"
            fired = list(islice(times.fires(cron, place, noons[0]), 3))
            assert len([one for one in fired if one <= noons[1]]) == 1, (cron, day)


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
