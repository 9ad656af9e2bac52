"""Run folders as records: what is whole, what is not, what stays secret, and readers beside a writer."""

from __future__ import annotations

import json
import os
import threading
import time

import pytest

from workbench.errors import WorkbenchError
from workbench.runs.execute import close_stale
from workbench.runs.notebooks import notebook_hash
from workbench.runs.records import (
    find_run,
    latest_good,
    list_runs,
    process,
    read_record,
    shown,
    without_secrets,
    write_json,
)


def leave(runs, name, status="good", notebook="toy", **told):
    folder = runs / notebook / name
    folder.mkdir(parents=True)
    write_json(folder / "run.json", {"status": status, "notebook": notebook, **told})
    return folder


def test_newest_first_and_only_whole_ones(tmp_path):
    second = leave(tmp_path, "20261123T203000Z-2")
    tenth = leave(tmp_path, "20261123T203000Z-10")
    failed = leave(tmp_path, "20261124T000000Z", "failed")
    first = leave(tmp_path, "20261123T203000Z")
    other = leave(tmp_path, "20261122T000000Z", notebook="drift")
    going = leave(tmp_path, ".20261125T000000Z.partial", "running")
    over = leave(tmp_path, ".20261125T000001Z.partial", "good")
    (tmp_path / "toy" / "notes").mkdir()
    (tmp_path / "toy" / "20261126T000000Z").mkdir()  # no run.json: not ours
    assert [one.folder for one in list_runs(tmp_path)] == [failed, tenth, second, first, other]
    assert latest_good(tmp_path, "toy").folder == tenth
    assert [one.folder for one in list_runs(tmp_path, "toy", running=True)][:2] == [over, going]
    assert {one.status for one in list_runs(tmp_path, "toy", running=True)[:2]} == {"running"}
    assert find_run(tmp_path, "drift").folder == other
    assert find_run(tmp_path, "toy/20261123T203000Z").folder == first
    assert find_run(tmp_path, "toy/20261125T000000Z").folder == going
    assert list_runs(tmp_path / "nowhere") == []


def test_a_damaged_record_is_a_failed_one(tmp_path):
    folder = leave(tmp_path, "20261123T203000Z")
    (folder / "run.json").write_text('{"status": "go')
    (record,) = list_runs(tmp_path)
    assert (record.status, record.notebook, record.error["name"]) == ("failed", "toy", "unreadable")
    with pytest.raises(WorkbenchError, match="no run folder"):
        read_record(tmp_path)


def test_readers_beside_a_writer_see_the_old_or_the_new(tmp_path):
    path, over = tmp_path / "run.json", threading.Event()
    write_json(path, {"number": 0, "text": "x" * 50_000})

    def write():
        for number in range(100):
            write_json(path, {"number": number, "text": "x" * 50_000})
        over.set()

    writer = threading.Thread(target=write)
    writer.start()
    while not over.is_set():
        assert len(json.loads(path.read_text())["text"]) == 50_000
    writer.join()
    assert [one.name for one in tmp_path.iterdir()] == ["run.json"]


def test_secrets_stay_out():
    told = {
        "table": "s3://me:word@host/table?X-Amz-Signature=abc&part=1",
        "storage": {"api_key": "abc", "secret": "", "token": "abc"},
        "columns": ["prompt_tokens", "key"],
        "prompt_tokens": 3,
    }
    assert without_secrets(told) == {
        "table": "s3://***@host/table?X-Amz-Signature=***&part=1",
        "storage": {"api_key": "***", "secret": "", "token": "***"},
        "columns": ["prompt_tokens", "key"],
        "prompt_tokens": 3,
    }


def test_the_hash_is_of_the_text_only():
    cell = {"cell_type": "code", "id": "a", "source": "x = 1", "metadata": {}, "outputs": []}
    same = {**cell, "id": "b", "outputs": [{"text": "1"}], "metadata": {"papermill": {}}}
    injected = {**cell, "source": "x = 2", "metadata": {"tags": ["injected-parameters"]}}
    assert notebook_hash([cell]) == notebook_hash([same, injected])
    assert notebook_hash([cell]) != notebook_hash([{**cell, "source": "x = 2"}])
    assert notebook_hash([cell]) != notebook_hash([{**cell, "cell_type": "markdown"}])


def test_a_process_is_more_than_its_number():
    import os

    from workbench.runs.records import alive

    this = process(os.getpid())
    assert alive(this) is True
    assert alive({**this, "since": this["since"] - 100}) is False
    assert alive({**this, "host": "elsewhere"}) is None
    assert alive(None) is False


def test_figures_as_a_person_reads_them():
    assert shown({"value": 336776, "unit": "rows"}) == "336,776 rows"
    assert shown({"value": 0.1368, "unit": ""}) == "0.1368"
    assert shown({"value": None, "unit": "ms"}) == "none ms"
    assert shown({"value": "dep_delay"}) == "dep_delay"


def test_a_run_that_was_killed_before_it_wrote_anything_or_in_the_middle_of_a_file_is_closed(tmp_path):
    empty, half = (tmp_path / "toy" / f".20261123T203000Z{one}.partial" for one in ("-1", "-2"))
    (half / "results").mkdir(parents=True)
    (half / "results" / "drift.parquet").write_bytes(b"PAR1 half of a file")
    (half / "run.json").write_text(
        json.dumps({"status": "running", "notebook": "toy", "started": "2026-11-23T20:30:00Z"})
    )
    empty.mkdir()
    long_ago = time.time() - 3600
    os.utime(empty, (long_ago, long_ago))
    closed = {one.folder.name: one for one in close_stale(tmp_path / "toy")}
    assert set(closed) == {"20261123T203000Z-1", "20261123T203000Z-2"}
    for one in closed.values():
        assert (one.status, one.error["name"], one.started) == ("failed", "killed", "2026-11-23T20:30:00Z")
        assert "lineage" not in one.told
