"""The benchmarks on a tiny table: every script runs, and ours and the peers' answers agree. No time is looked at."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks import child, environments, report, run
from benchmarks.clock import SEVEN
from benchmarks.plan import SECTIONS

pytestmark = pytest.mark.slow

ROWS = 20_000
PEERS = sorted((Path(__file__).parents[1] / "benchmarks" / "peers").glob("*.py"))
EXACT = ("count", "missing", "min", "max")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("benchmarks")
    tables = ["warm", "requests", "tenth", "hundredth", "lz4", "shuffled", "before", "after", "adversarial", "days"]
    run.make_tables(folder, ROWS, tables)
    return folder


@pytest.fixture(scope="module")
def measured(home, tmp_path_factory):
    """The entries of a section, and the folder of its answers; each section runs once."""
    kept = {}

    def of(name):
        if name not in kept:
            answers = tmp_path_factory.mktemp(name)
            kept[name] = run.section(name, home, 1, apart=False, timeout=300, answers=answers), answers
        return kept[name]

    return of


def truth(folder):
    """The exact statistics of each column, by numpy, and its sorted values."""
    table = pq.read_table(folder)
    told, values = {}, {}
    for name in table.column_names:
        column = table[name].combine_chunks()
        one = {"count": len(column) - column.null_count, "missing": column.null_count}
        column = column.drop_null()
        if pa.types.is_dictionary(column.type) or pa.types.is_string(column.type):
            words, counts = np.unique(np.array(column.to_pylist()), return_counts=True)
            one |= {"values": dict(zip(words.tolist(), counts.tolist(), strict=True)), "distinct": len(words)}
        else:
            column = column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column
            x = values[name] = np.sort(column.to_numpy(zero_copy_only=False).astype(float))
            one |= {"min": x[0], "max": x[-1], "mean": x.mean(), "std": x.std(ddof=1), "distinct": len(np.unique(x))}
            one["histogram"] = len(x)
        told[name] = one
    return told, values


def agrees(answers, folder, *, rank, distinct, few=0):
    """Every statistic that is there: exact ones equal, quantiles within `rank` of the rows, distinct within a share or `few`."""
    told, values = truth(folder)
    assert answers.keys() == told.keys()
    for name, one in told.items():
        got = answers[name]
        for key in EXACT:
            assert key not in got or got[key] == one[key], (name, key)
        for key in ("mean", "std", "histogram"):
            assert key not in got or got[key] == pytest.approx(one[key], rel=1e-6), (name, key)
        assert "values" not in got or {k: v for k, v in got["values"].items() if k != "(missing)"} == one["values"]
        if "distinct" in got:
            assert abs(got["distinct"] - one["distinct"]) <= max(few, distinct * one["distinct"]), name
        for key, q in SEVEN.items():
            if key in got:
                x = values[name]
                low, high = (np.searchsorted(x, got[key] * (1 + e), side) / len(x)
                             for e, side in ((-1e-12, "left"), (1e-12, "right")))  # fmt: skip
                assert low - rank <= q <= high + rank, (name, key)


def ran(entries):
    """Labels that ran, none of which failed; each other one says why it did not."""
    for entry in entries:
        assert entry["missing"] or entry["runs"], entry["label"]
        assert not entry["missing"] or "not installed" in entry["missing"]
        assert not [run["failed"] for run in entry["runs"] if "failed" in run], entry["label"]
    return [entry["label"] for entry in entries if not entry["missing"]]


@pytest.mark.parametrize("label", ["ours, threads", "ours, two processes", "ours, threads, lz4"])
def test_our_profile_agrees_with_numpy(measured, home, label):
    entries, answers = measured("profile")
    assert label in ran(entries)
    agrees(json.loads((answers / f"profile-{label}.json").read_text()), home / "requests", rank=1e-3, distinct=0.03)


@pytest.mark.parametrize(
    ("label", "module", "rank", "distinct"),
    [
        ("DuckDB by hand, approximate", "duckdb", 0.02, 0.15),
        ("DuckDB by hand, exact", "duckdb", 1e-3, 0),
        ("Polars", "polars", 1e-3, 0.3),
        ("pandas", "pandas", 1e-3, 0),
        ("Dask DataFrame", "dask", 0.1, 0.05),
        ("DataSketches", "datasketches", 0.01, 0.05),
    ],
)
def test_the_peers_give_the_same_statistics(measured, home, label, module, rank, distinct):
    """Within the error that each peer's sketches have at this size."""
    entries, answers = measured("peers")
    if not environments.here(module)[0]:
        assert label not in ran(entries)
        pytest.skip(f"{module} is not installed here")
    assert label in ran(entries)
    entry = next(one for one in entries if one["label"] == label)
    told = json.loads((answers / f"peers-{label}.json").read_text())
    agrees(
        told, home / entry["table"], rank=rank, distinct=distinct, few=3 if distinct else 0
    )  # some count missing as a value


def test_percentiles_are_within_a_thousandth_of_exact_ones(measured):
    entries, _ = measured("percentiles")
    ran(entries)
    groups = {run["groups"] for entry in entries for run in entry["runs"] if "groups" in run}
    assert len(groups) == 1, "ours, DuckDB and the exact ones have the same groups"
    checks = [run for entry in entries for run in entry["runs"] if "error" in run]
    assert [run["counts_differ"] for run in checks] == [0, 0]
    assert max(run["error"] for run in checks) <= 1e-3


def test_drift_finds_the_planted_shift_either_way(measured):
    entries, _ = measured("drift")
    assert {"ours, against a stored reference", "ours, both sides counted"} <= set(ran(entries))
    found = [run["drifted"] for entry in entries for run in entry["runs"] if "drifted" in run]
    assert len(found) == 2
    assert "f05" in found[1]


def test_rank_errors_stay_within_the_reported_bound(measured):
    (entry,), _ = measured("rank")
    ran([entry])
    for name, one in entry["runs"][0]["columns"].items():
        assert one["measured"] <= one["bound"] + 2 / ROWS, name
        assert one["bound"] <= 1e-3, name


def test_a_store_grows_by_a_day_at_a_time(home):
    told = child.run(
        [sys.executable, "-m", "benchmarks.measures.store", str(home / "days"), "--after", "1,2"],
        timeout=300,
        environment={"TMPDIR": str(home)},
    )
    assert "failed" not in told, told
    assert list(told["added"]) == ["1", "2"]
    assert told["rows"] == 10 * 100


def test_the_first_call_is_told_beside_the_second(home):
    told = child.run([sys.executable, "-m", "benchmarks.measures.first", str(home / "tenth")], timeout=300)
    assert {"first", "second"} <= told.keys(), told


def test_the_page_names_what_ran_and_what_did_not(measured):
    names = ["profile", "percentiles", "drift", "peers", "rank"]
    results = {
        name: {
            "date": "2026-11-23", "rows": ROWS, "rounds": 1, "load": 0.0, "seconds": 1, "machine": run.machine(),
            "tables": {}, "measures": measured(name)[0],
        }
        for name in names
    }  # fmt: skip
    page = report.page(results)
    for name in names:
        assert f"## {SECTIONS[name][0]}\n" in page
        for entry in measured(name)[0]:
            assert entry["label"].lower() in page.lower()
            assert entry["missing"] in page
    assert "make gpu-check" in page


def test_what_takes_too_long_is_ended_and_says_so():
    told = child.run([sys.executable, "-c", "import time; time.sleep(60)"], timeout=0.3)
    assert told["failed"] == "not done after 0 s"
    told = child.run([sys.executable, "-c", "raise SystemExit('no such table')"], timeout=60)
    assert told["failed"] == "no such table"


@pytest.mark.parametrize("path", PEERS, ids=lambda path: path.stem)
def test_no_peer_has_our_help(path):
    for node in ast.walk(ast.parse(path.read_text())):
        names = [one.name for one in node.names] if isinstance(node, ast.Import) else []
        names += [node.module] if isinstance(node, ast.ImportFrom) else []
        assert not [name for name in names if name.split(".")[0] == "workbench"]


def test_a_small_schedule_is_measured():
    command = [sys.executable, "-m", "benchmarks.schedule", "--entries", "20", "--past", "2", "--rows", "0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=Path(__file__).parents[1])
    assert done.returncode == 0, done.stderr
    said = [line.split("  ")[0] for line in done.stdout.splitlines()]
    assert said == [
        "schedule read and checked", "a round with nothing due", "a round that plans a window of every entry",
        "index, by a server before it listens", "index, first that is asked for", "index, when a run has just come",
        "index, then", "a round in which 1,000 windows wait", "memory of scheduler and index in one process",
    ]  # fmt: skip
