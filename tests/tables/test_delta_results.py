"""Results of runs in Delta tables: appended once each, with columns that come later, and read by SQL."""

import duckdb
import pandas as pd
import pytest

from workbench.errors import WorkbenchError
from workbench.tables.delta_results import keep


def test_runs_follow_each_other_and_none_is_there_twice(tmp_path):
    first = pd.DataFrame({"window": ["a", "b"], "value": [0.1, None], "words": [None, None]})
    later = pd.DataFrame({"window": ["c"], "value": [0.3], "words": ["moved"], "p_adjusted": [0.001]})
    assert keep(tmp_path, {"drift": first, "profile": first}, "one") == {"drift": 1, "profile": 1}
    assert keep(str(tmp_path), {"drift": later}, "two") == {"drift": 3}  # a version for the new column before it
    assert keep(tmp_path, {"drift": later}, "two") == {"drift": -1}
    deltalake = pytest.importorskip("deltalake")
    found = deltalake.DeltaTable(str(tmp_path / "drift")).to_pyarrow_dataset()
    asked = "SELECT run, count(*), max(p_adjusted) FROM runs GROUP BY run ORDER BY run"
    rows = duckdb.from_arrow(found).query("runs", asked).fetchall()
    assert rows == [("one", 2, None), ("two", 1, 0.001)]


def test_nothing_is_written_where_nothing_is_asked_for_and_a_missing_library_is_a_sentence(tmp_path, monkeypatch):
    assert keep("", {"drift": pd.DataFrame({"a": [1]})}, "one") == {}
    monkeypatch.setitem(__import__("sys").modules, "deltalake", None)
    with pytest.raises(WorkbenchError, match=r"workbench\[prepare\]"):
        keep(tmp_path, {"drift": pd.DataFrame({"a": [1]})}, "one")
