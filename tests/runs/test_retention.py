"""What stays and what goes: the last good run, one a day, one a month, what something refers to; said before it is done."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from workbench.cli import main
from workbench.runs.records import list_runs, plain_name, read_record
from workbench.runs.retention import delete, prune, sweep_trash, verdicts
from workbench.runs.schedule import Keep

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
KEEP = {"": Keep(all_days=2, days=10, months=6)}


@pytest.fixture
def made(tmp_path):
    def make(*names, status="good", notebook="toy", **told):
        for name in names:
            folder = tmp_path / "runs" / notebook / name
            folder.mkdir(parents=True)
            (folder / "run.json").write_text(json.dumps({"status": status, "notebook": notebook, **told}))
            (folder / "cube.nc").write_bytes(b"x" * 1000)
        return tmp_path / "runs"

    return make


def staying(found):
    return {plain_name(one.record.folder): one.why for one in found if one.stays}


def test_the_last_good_one_a_day_and_one_a_month_stay(made):
    runs = made(
        "20261124T080000Z", "20261124T070000Z",  # young: both stay
        "20261120T230000Z", "20261120T010000Z",  # a day: its last
        "20261010T230000Z", "20261010T010000Z", "20261001T000000Z",  # a month: its last
        "20260101T000000Z",  # older than the months
    )  # fmt: skip
    made("20261124T090000Z", "20261121T000000Z", status="failed")
    found = verdicts(list_runs(runs), KEEP, NOW)
    assert staying(found) == {
        "20261124T090000Z": "younger than 2 days",
        "20261124T080000Z": "the last good run",
        "20261124T070000Z": "younger than 2 days",
        "20261120T230000Z": "the last good run of 2026-11-20",
        "20261010T230000Z": "the last good run of October 2026",
    }
    (failed,) = [one for one in found if not one.stays and one.record.status == "failed"]
    assert failed.why == "older than 2 days, failed"


def test_the_last_good_run_stays_however_old_and_for_each_entry_and_its_parameters(made):
    runs = made("20200101T000000Z", "20200101T000001Z", parameters={"table": "a"})
    made("20200102T000000Z", parameters={"table": "b"})
    made("20200103T000000Z", scheduled={"entry": "daily"}, parameters={"table": "a"})
    made("20200104T000000Z", scheduled={"entry": "weekly"}, parameters={"table": "a"})
    assert set(staying(verdicts(list_runs(runs), KEEP, NOW))) == {
        "20200101T000001Z", "20200102T000000Z", "20200103T000000Z", "20200104T000000Z",
    }  # fmt: skip


def test_what_an_alert_a_stored_cube_or_another_run_refers_to_stays(made, tmp_path):
    names = [f"2020010{i}T000000Z" for i in range(1, 6)]
    runs = made(*names)
    store = tmp_path / "store"
    store.mkdir()
    (store / "parts.json").write_text(json.dumps({"made_by": str(runs / "toy" / names[0])}))
    made("20261124T080000Z", notebook="drift", parameters={"reference": f"runs/toy/{names[1]}/cube.nc"})
    found = prune(runs, KEEP, NOW, {str(runs / "toy" / names[2])}, [store])
    assert set(staying(found)) == {*names[:3], names[4], "20261124T080000Z"}
    assert delete(found) == 1
    assert not (runs / "toy" / names[3]).exists()
    assert (runs / "toy" / names[2] / "cube.nc").exists()
    (runs / "toy" / f".deleting.{names[3]}").mkdir()  # of a deletion that was killed
    sweep_trash(runs)
    assert not list(runs.glob("toy/.deleting*"))


def test_a_schedule_may_keep_for_longer_than_there_have_been_days(made):
    runs = made("00010101T000000Z", "20200102T000000Z")
    for keep in (Keep(all_days=1e6), Keep(0, days=1_000_000, months=0), Keep(0, 0, months=1_000_000)):
        assert len(staying(verdicts(list_runs(runs), {"": keep}, NOW))) >= 1


def test_a_run_at_work_stays(made):
    runs = made("20200101T000000Z")
    folder = runs / "toy" / ".20200102T000000Z.partial"
    folder.mkdir()
    (folder / "run.json").write_text(json.dumps({"status": "running", "notebook": "toy"}))
    assert [one.why for one in prune(runs, KEEP, NOW)] == ["it is not over", "the last good run"]


def test_nothing_is_deleted_before_it_is_said_and_asked_for(made, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WORKBENCH_LEDGER", raising=False)
    runs = made("20200101T000000Z", "20200102T000000Z")
    assert main(["prune", "--runs", "runs"]) == 0
    told = capsys.readouterr()
    assert "goes  toy/20200101T000000Z  good: older than 14 days" in told.out
    assert "1 runs stay, 1 go (0.0 MB)\nnothing is deleted yet; --yes deletes what goes" in told.out
    assert "There is no ledger" in told.err
    assert not (runs / "schedule.db").exists()
    assert len(list_runs(runs)) == 2
    assert main(["prune", "--runs", "runs", "--yes"]) == 0
    assert [plain_name(one.folder) for one in list_runs(runs)] == ["20200102T000000Z"]
    assert main(["prune", "--runs", "runs", "--ledger", "gone.db"]) == 2  # an alert may refer to a run: nobody can look
    assert main(["prune", "other.yml", "--runs", "runs"]) == 2
    assert read_record(runs / "toy" / "20200102T000000Z").status == "good"
