"""`make demo`: tables that are there and good runs are not made again."""

import pytest

from workbench import demo


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
