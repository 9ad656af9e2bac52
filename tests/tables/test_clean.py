"""Steps change what they say, refuse what they cannot read, and every row is accounted for."""

import datetime
import threading
from dataclasses import replace
from functools import partial

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.clusters import Workers, cluster
from workbench.errors import WorkbenchError
from workbench.tables import clean_rows, clean_spool, redact
from workbench.tables.clean import Step, each, flow
from workbench.tables.clean_rows import join, outliers, sessions, unique
from workbench.tables.clean_steps import redact as redact_step
from workbench.tables.clean_steps import text, types, units, zone


def ran(step, *tables):
    going = flow(step).run([one if isinstance(one, pa.Table) else pa.table(one) for one in tables])
    table = going.table()
    count = going.counts[0]
    assert count.rows_in == count.rows_out + count.refused + count.dropped
    return table, count, going.refused


def utc(*texts):
    return pa.array(
        [None if one is None else datetime.datetime.fromisoformat(one) for one in texts], pa.timestamp("us")
    )


def test_types_are_read_and_what_is_none_is_refused():
    table, count, refused = ran(
        types({"n": "integer", "x": "number", "t": "time", "b": "boolean", "s": "text"}),
        {
            "n": [" 7", "+8.0", "1e3", "x", None, ""],
            "x": ["1.5", "NaN", "-inf", "1", "2", None],
            "t": ["2026-03-02", "2026-03-02T12:00:00+02:00", "2026-03-02 10:00", "2026-03-02", None, ""],
            "b": ["yes", "FALSE", "0", "t", "", None],
            "s": ["a", "b", None, "d", "", "f"],
        },
    )
    assert table["n"].to_pylist() == [7, 8, 1000, None, None]
    assert table["x"].to_pylist()[2:] == [float("-inf"), 2.0, None]
    assert [one and one.isoformat()[:16] for one in table["t"].to_pylist()] == [
        *("2026-03-02T00:00", "2026-03-02T10:00", "2026-03-02T10:00", None, None)
    ]
    assert table["b"].to_pylist() == [True, False, False, None, None]
    assert [(one.reason, one.rows["n"].to_pylist()) for one in refused] == [("n is no integer", ["x"])]
    assert count.refused == 1


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        *(("integer", "1.5"), ("integer", "1e30"), ("integer", "0x10"), ("number", "1,5"), ("number", "--1")),
        *(("time", "2026-02-30"), ("time", "yesterday"), ("time", "2026-03-02T25:00"), ("boolean", "maybe")),
    ],
)
def test_a_value_of_no_kind_is_refused_or_missing(kind, value):
    assert ran(types({"c": kind}), {"c": [value]})[1].refused == 1
    table, count, _ = ran(types({"c": kind}, bad="missing"), {"c": [value]})
    assert (table["c"].to_pylist(), count.changed, count.refused) == ([None], 1, 0)


def test_text_has_one_form():
    table, count, _ = ran(text(["s"], case="lower"), {"s": [" Ju\u0308rgen\t ", "bo", "  ", None]})
    assert table["s"].to_pylist() == ["jürgen", "bo", None, None]
    assert count.changed == 2


def test_units_by_row():
    table, count, refused = ran(
        units("latency", "s", to="s", column_of_unit="unit", name="latency_s"),
        {"latency": [1500.0, 2.0, 3.0, None], "unit": ["ms", None, "kg", "us"]},
    )
    assert table["latency_s"].to_pylist() == [1.5, 2.0, None]
    assert (count.changed, refused[0].reason) == (1, "unit is no unit like s")
    with pytest.raises(WorkbenchError, match="'ms' cannot be turned into 'GB'"):
        units("x", "ms", to="GB")


def test_an_hour_that_is_shown_twice_or_never():
    times = utc("2026-03-29T02:30", "2026-07-01T12:00", "2026-10-25T02:30", None)
    table, count, refused = ran(zone("t", "Europe/Berlin"), {"t": times})
    assert [one and one.hour for one in table["t"].to_pylist()] == [10, None]
    assert (count.refused, refused[0].reason) == (2, "t is no one hour in Europe/Berlin")
    hours = [
        ran(zone("t", "Europe/Berlin", twice=how), {"t": times})[0]["t"][2].as_py().hour
        for how in ("earliest", "latest")
    ]
    assert hours == [0, 1]
    with pytest.raises(WorkbenchError, match="no time zone 'Berlin'"):
        ran(zone("t", "Berlin"), {"t": times})


@pytest.mark.parametrize(
    ("winner", "rows"),
    [("first", [0, 1, 4]), ("last", [1, 3, 4]), ("largest v", [1, 2, 4]), ("smallest v", [0, 1, 4])],
)
def test_one_row_a_key_by_its_winner_over_tables(winner, rows):
    table, count, _ = ran(
        unique("k", winner=winner),
        {"k": ["a", "b"], "v": [1, 2], "row": [0, 1]},
        {"k": ["a", "a", None], "v": [9, 9, 0], "row": [2, 3, 4]},
    )
    assert table["row"].to_pylist() == rows
    assert count.dropped == 2


@given(
    keys=st.lists(st.tuples(st.integers(0, 3), st.sampled_from("ab")), max_size=20),
    cut=st.integers(0, 20),
    winner=st.sampled_from(["first", "last", "largest v", "smallest v"]),
)
def test_where_tables_are_cut_changes_no_winner(keys, cut, winner):
    rows = pa.table(
        {"k": pa.array([k for k, _ in keys], pa.int64()), "v": pa.array([v for _, v in keys], pa.string())}
    ).append_column("row", pa.array(range(len(keys)), pa.int64()))
    whole = ran(unique("k", winner=winner), rows)[0]
    parts = ran(unique("k", winner=winner), rows.slice(0, cut), rows.slice(cut))[0]
    assert whole["row"].to_pylist() == parts["row"].to_pylist()
    assert sorted(whole["k"].to_pylist()) == sorted({k for k, _ in keys})


@pytest.mark.parametrize(
    "values", [[3.5, None, float("nan"), -0.5, -7.25], [True, None, False], [datetime.datetime(2026, 1, 2), None]]
)
def test_a_missing_value_and_nan_lose(values):
    for winner in ("largest v", "smallest v"):
        table, *_ = ran(unique("k", winner=winner), pa.table({"k": [1] * len(values), "v": values}))
        known = [one for one in values if one is not None and one == one]
        assert table["v"].to_pylist() == [(max if winner == "largest v" else min)(known)]
        table, *_ = ran(unique("k", winner=winner), {"k": [1, 1, 1], "v": [None, float("nan"), 1.0]})
        assert table["v"].to_pylist() == [1.0]


@given(seed=st.integers(0, 99), rows=st.integers(0, 60), cut=st.integers(0, 60))
@settings(max_examples=25)
def test_rows_that_wait_on_disk_come_back_the_same(seed, rows, cut):
    draw = np.random.default_rng(seed)
    times = pa.array(draw.integers(0, 10**10, rows), pa.int64()).cast(pa.timestamp("us", "UTC"))
    table = pa.table({"k": [None if k == 0 else f"u{k}" for k in draw.integers(0, 9, rows)], "t": times,
                      "v": draw.lognormal(size=rows), "row": np.arange(rows)})  # fmt: skip
    parts = [table.slice(0, cut), table.slice(cut)]
    steps = [unique("k", winner="largest v"), sessions("k", "t"), outliers(["v"], by="k", k=1), unique(["k", "v"])]
    for step in steps:
        held = ran(step, *parts)[0]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(clean_spool, "HELD_BYTES", 1)
            patch.setattr(clean_spool, "HELD_ROWS", 3)
            patch.setattr(clean_rows, "LARGE", 4)
            assert ran(step, *parts)[0].equals(held)


@given(values=st.lists(st.floats(allow_nan=False, allow_infinity=False, width=32), min_size=1, max_size=40))
def test_a_median_that_is_not_held_is_the_median(values):
    found = np.array(values, float)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clean_spool, "HELD_ROWS", 0)
        assert clean_spool.median(lambda: iter(np.array_split(found, 3))) == np.median(found)


def test_sessions_end_with_a_pause():
    times = utc("2026-03-02T10:00", "2026-03-02T10:05", "2026-03-02T10:20", "2026-03-02T10:09", None)
    table, *_ = ran(sessions("who", "t", gap_s=600), {"who": ["a", "b", "a", "a", "a"], "t": times})
    a, b, later, same, none = table["session"].to_pylist()
    assert a == same
    assert none is None
    assert len({a, b, later}) == 3
    more = {"who": ["c", "a"], "t": utc("2026-03-01T10:00", "2026-03-02T10:00")}
    assert ran(sessions("who", "t", gap_s=600), more)[0]["session"][1].as_py() == a, "names stay when rows come"


def test_a_join_waits_for_late_dimensions():
    teams = pa.table({"who": ["a", "b"], "team": ["x", "y"]})
    rows = {"who": ["b", "c", None, "a"], "n": [1, 2, 3, 4]}
    table, count, _ = ran(join(teams, "who"), rows)
    assert table["team"].to_pylist() == ["y", None, None, "x"]
    assert table["who_late"].to_pylist() == [False, True, True, False]
    assert count.flagged == 2
    table, count, refused = ran(join(teams, "who", late="refuse"), rows)
    assert refused[0].rows.to_pylist() == [{"who": "c", "n": 2}, {"who": None, "n": 3}]
    again, *_ = ran(join(pa.concat_tables([teams, pa.table({"who": ["c"], "team": ["z"]})]), "who"), refused[0].rows)
    assert again["team"].to_pylist() == ["z", None]
    with pytest.raises(WorkbenchError, match="two rows of one 'who'"):
        join(pa.concat_tables([teams, teams]), "who")


def test_a_join_as_of_a_time():
    teams = pa.table({"who": ["a", "a"], "team": ["x", "y"], "since": utc("2026-01-01", "2026-02-01")})
    table, *_ = ran(
        join(teams, "who", since="since", time="t"),
        {"who": ["a", "a", "a"], "t": utc("2026-02-02", "2026-01-31", "2025-12-31")},
    )
    assert table["team"].to_pylist() == ["y", "x", None]


def test_outliers_are_flagged_and_stay():
    values = [*np.linspace(1, 2, 20), 50.0, float("inf"), float("nan"), None]
    table, count, _ = ran(outliers(["v"]), {"v": values})
    assert [k for k, far in enumerate(table["v_outlier"].to_pylist()) if far] == [20, 21]
    assert (table.num_rows, count.flagged) == (24, 2)
    groups = {"v": [1.0, 2.0, 3.0, 100.0, 101.0, 102.0], "g": list("aaabbb")}
    assert ran(outliers(["v"], by="g"), groups)[1].flagged == 0


def test_redaction_is_a_step_whose_findings_are_kept():
    tables = [pa.table({"t": ["x", "ip 10.1.2.3"]}), pa.table({"t": ["10.1.2.3 a@b.org"]})]
    going = flow(redact_step(redact.job())).run(tables)
    assert going.table()["t"].to_pylist() == ["x", "ip [ip]", "[ip] [email]"]
    assert going.counts[0].changed == 2
    assert going.notes[0].seen == {("t", kind, rule, what): n for kind, rule, n in (("ip", "ipv4", 2), ("email", "email", 1))
                    for what in ("findings", "rows")}  # fmt: skip


def test_the_plan_is_told_and_nothing_is_read_before_it_is_asked():
    read = []

    def coming():
        read.append(1)
        yield pa.table({"n": ["1"]})

    plan = flow(types({"n": "integer"}), text([]), types({"n": "number"}))
    assert str(plan).splitlines()[0] == "1. types    n: integer"
    assert [one.name for one in plan.steps] == ["types", "text", "types 2"]
    going = plan.run(coming())
    assert read == []
    assert going.table().to_pylist() == [{"n": 1.0}]


def test_a_step_may_not_lose_rows():
    with pytest.raises(WorkbenchError, match="lost 1 rows"):
        ran(each("bad", "", lambda rows, _: rows.slice(1)), {"n": [1, 2]})


def test_a_column_that_is_not_there_is_told():
    for step in (types({"nn": "integer"}), text(["nn"]), units("nn", "s", to="ms"), zone("nn", "UTC"), unique("nn")):
        assert isinstance(step, Step)
        with pytest.raises(WorkbenchError, match="needs a column 'nn'"):
            ran(step, {"n": [1]})


@pytest.mark.parametrize(
    ("step", "values", "told"),
    [
        (units("c", "ms", to="s"), ["1", "x"], "the step 'units' needs numbers in 'c', it holds string"),
        (outliers(["c"]), ["1", "x"], "the step 'outliers' needs numbers in 'c', it holds string"),
        (types({"c": "text"}), [[1], [2]], "the step 'types' cannot work on these rows"),
        (text(["c"]), [b"\xff", b"a"], "the step 'text' cannot work on these rows"),
    ],
)
def test_a_column_of_a_kind_that_a_step_does_not_know_is_told(step, values, told):
    with pytest.raises(WorkbenchError, match=told):
        ran(step, {"c": values})
    assert ran(units("c", "ms", to="s"), {"c": pa.array([2**64 - 1, None], pa.uint64())})[0]["c"].to_pylist()[1] is None


def test_tables_are_worked_on_together_and_leave_in_their_order():
    meet, under_way, most = threading.Barrier(3, timeout=20), [], []

    def work(rows, notes):
        meet.wait()  # breaks where fewer than three tables are under way at once
        return notes.refuse(rows, rows["n"].to_numpy() % 2 == 1, "odd")

    def coming():
        for n in range(12):
            under_way.append(n)
            most.append(len(under_way))
            yield pa.table({"n": [2 * n, 2 * n + 1]})

    going = flow(each("even", "", work), each("same", "", lambda rows, notes: rows)).run(
        coming(), Workers("threads", 3)
    )
    seen = []
    for table in going:
        under_way.pop(0)
        seen += table["n"].to_pylist()
    assert seen == list(range(0, 24, 2))
    assert [(one.step, one.rows_in, one.rows_out, one.refused) for one in going.counts] == [
        ("even", 24, 12, 12),
        ("same", 12, 12, 0),
    ]
    assert going.refused[0].rows["n"].to_pylist() == list(range(1, 24, 2))
    assert max(most) == 4, "one more than there are threads"


@pytest.fixture(scope="module")
def processes():
    with cluster("processes", size=2) as crew:
        yield crew


def part(n):
    """Two tables of a part, made where it is called; slices, as a part's are."""
    table = pa.table({"n": [str(n), "x", " 7"], "t": ["a@b.org", None, "é  1"], "u": ["ms", "s", "kg"]})
    yield table.slice(0, 2)
    yield table.slice(2)


def test_workers_of_a_cluster_do_what_threads_do(processes):
    steps = flow(
        types({"n": "integer"}), text(["t"]), units("n", "s", to="s", column_of_unit="u"), redact_step(redact.job()),
        unique("t", winner="last"), text(["t"], case="upper"),
    )  # fmt: skip
    parts = [pa.table({"n": ["1"], "t": ["first"], "u": ["s"]}), *(partial(part, n) for n in range(5))]
    here, there = steps.run(parts), steps.run(parts, processes)
    assert there.table().equals(here.table())
    assert [one.seen for one in there.notes] == [one.seen for one in here.notes] != [{}] * 6
    kept = [(one.step, one.reason, one.rows.to_pylist()) for one in here.refused]
    assert [(one.step, one.reason, one.rows.to_pylist()) for one in there.refused] == kept
    assert len(kept) == 2
    assert [replace(one, where="") for one in there.counts] == [replace(one, where="") for one in here.counts]
    assert [one.where for one in here.counts] == [*["threads"] * 4, "this process: it compares rows", "threads"]
    assert [one.where for one in there.counts] == [*["processes"] * 4, "this process: it compares rows", "processes"]


def test_a_key_stays_in_its_process_and_a_worker_s_error_is_told(processes):
    how = redact.job(modes="pseudonym", key=redact.Key(b"0123456789abcdef"))
    going = flow(text(["t"]), redact_step(how)).run([partial(part, 1)], processes)
    found = [one for one in going.table()["t"].to_pylist() if one and "email" in one]
    assert found == redact.redact(pa.table({"t": ["a@b.org"]}), how).table["t"].to_pylist()
    assert [one.where for one in going.counts] == ["processes", "this process: its key does not leave it"]
    with pytest.raises(WorkbenchError, match="needs a column 'nn'"):
        list(flow(text(["nn"])).run([partial(part, 1)] * 9, processes))
    lock = threading.Lock()
    with pytest.raises(WorkbenchError, match="'locked' cannot be sent to a worker"):
        list(flow(each("locked", "", lambda rows, _: rows.slice(0 * lock.locked()))).run([partial(part, 1)], processes))


@pytest.mark.gpu
def test_a_gpu_finds_what_the_processor_finds():
    lines = [
        "from 192.0.2.7",
        None,
        "tel +49 30 1234567",
        "é4111 1111 1111 1111",
        "",
        "ana@example.org [x]",
        "done",
    ] * 99
    table = pa.table({"line": lines, "big": pa.array(lines, pa.large_string())})
    with cluster("cuda") as crew:
        here, there = flow(redact_step(redact.job())).run(table), flow(redact_step(redact.job())).run(table, crew)
        assert there.table().equals(here.table())
        assert there.notes[0].seen == here.notes[0].seen
    assert there.counts[0].where == "cuda: prefilters, then rules on the worker's processor"
