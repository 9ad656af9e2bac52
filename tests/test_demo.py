"""`make demo`: real flights as a table, tables written whole, and good runs that are not repeated."""

from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from workbench import demo


def test_flights_are_the_year_2013(flights):
    table = pq.read_table(flights)
    assert table.num_rows == 336_776
    month = pc.month(table["scheduled"])
    assert month.equals(table["month"])
    assert pc.equal(pc.hour(table["scheduled"]), table["hour"]).to_pylist().count(False) == 0
    february = table.filter(pc.equal(month, 2))["dep_delay"]
    october = table.filter(pc.equal(month, 10))["dep_delay"]
    assert round(february.null_count / len(february), 4) == 0.0505
    assert round(october.null_count / len(october), 3) == 0.008
    assert table["scheduled"].equals(table.sort_by("scheduled")["scheduled"])


def test_an_interrupted_table_leaves_nothing(tmp_path):
    def half(aside: Path):
        (aside / "half.parquet").write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        demo.write_whole(tmp_path / "table", half)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_second_demo_reuses_tables_and_runs(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(demo, "STEPS", (demo.Step("quality", "requests"),))
    monkeypatch.setenv("DEMO_SERVE", "0")
    arguments = ["--runs", str(tmp_path / "runs"), "--tables", str(tmp_path / "tables"), "--rows", "20000"]
    assert demo.main(arguments) == 0
    first = capfd.readouterr().out
    assert "running quality on requests" in first
    assert demo.main(arguments) == 0
    second = capfd.readouterr().out
    assert "running" not in second
    assert "writing" not in second
    assert first.split("\nquality on requests: ")[1] == second.split("\nquality on requests: ")[1]
    assert len(list((tmp_path / "runs" / "quality").iterdir())) == 1


@pytest.mark.slow
def test_a_failed_notebook_is_told(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(demo, "STEPS", (demo.Step("quality", "requests", {"time": "no_such_column"}),))
    monkeypatch.setenv("DEMO_SERVE", "0")
    arguments = ["--runs", str(tmp_path / "runs"), "--tables", str(tmp_path / "tables"), "--rows", "2000"]
    assert demo.main(arguments) == 1
    assert "quality on requests failed" in capfd.readouterr().err
