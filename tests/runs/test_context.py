"""`begin` for its readers: a kernel, a run's folder, and a real session of `panel serve`."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest

from workbench.errors import WorkbenchError
from workbench.runs.context import Run, begin
from workbench.runs.records import read_record


def namespace(cell='every: str = "1D"\nslo_ms: float = 500.0', **values):
    return {"In": ["", "%matplotlib inline", cell], "every": "1D", "slo_ms": 500.0, **values}


@pytest.fixture(autouse=True)
def _clean(monkeypatch):
    for name in list(os.environ):
        if name.startswith("WORKBENCH_"):
            monkeypatch.delenv(name)


def test_values_are_checked_and_bound():
    names = namespace(slo_ms=20)
    run = begin("toy", names, live={"slo_ms": (1.0, 100.0)})
    assert run.parameters == {"every": "1D", "slo_ms": 20.0}
    assert type(names["slo_ms"]) is float
    assert (run.folder, run.serving, run.stored) == (None, False, None)
    with pytest.raises(WorkbenchError, match="'slo_ms' is 500.0 .* wanted float from 1.0 to 100.0"):
        begin("toy", namespace(), live={"slo_ms": (1.0, 100.0)})
    with pytest.raises(WorkbenchError, match="begin.. limits 'slo', .* did you mean 'slo_ms'"):
        begin("toy", namespace(), live={"slo": (1.0, 100.0)})
    with pytest.raises(WorkbenchError, match="needs a range"):
        begin("toy", namespace(), live={"every": None})


def test_the_environment_goes_before_papermill(monkeypatch):
    monkeypatch.setenv("WORKBENCH_EVERY", "2h")
    names = namespace(every="1h")
    assert begin("toy", names).parameters["every"] == names["every"] == "2h"
    monkeypatch.setenv("WORKBENCH_SLO_MS", "soon")
    with pytest.raises(WorkbenchError, match=r"'slo_ms' is 'soon' from the environment \(WORKBENCH_SLO_MS\)"):
        begin("toy", namespace())


def test_annotations_of_a_script_do_as_well():
    names = {"__annotations__": {"every": str, "slo_ms": "float"}, "every": "1D", "slo_ms": 1}
    assert begin("toy", names).parameters == {"every": "1D", "slo_ms": 1.0}


def test_a_cell_run_again_in_a_notebook_counts():
    names = namespace(rows=5)
    names["In"] += ['every: str = "1D"\nrows: int = 5', "x: object = 1"]
    assert begin("toy", names).parameters == {"every": "1D", "slo_ms": 500.0, "rows": 5}


def test_headlines_are_plain_values():
    run = Run("toy", {})
    run.headline("rows", np.int64(3), "rows")
    run.headline("ks", np.float32(0.5), good=np.bool_(True), note="against January")
    run.headline("worst", None)
    run.headline("nothing", float("nan"))
    run.headline("rows", 4, "rows")
    assert json.loads(json.dumps(run.headlines)) == [
        {"name": "rows", "value": 4, "unit": "rows"},
        {"name": "ks", "value": 0.5, "unit": "", "good": True, "note": "against January"},
        {"name": "worst", "value": None, "unit": ""},
        {"name": "nothing", "value": None, "unit": ""},
    ]
    with pytest.raises(WorkbenchError, match="Headline 'all' is a list"):
        run.headline("all", [1, 2])


def test_a_session_says_which_table_the_run_has_read(tmp_path):
    sources = [{"source": "requests", "version": "abc", "rows": 9}]
    (tmp_path / "run.json").write_text(json.dumps({"status": "good", "notebook": "toy", "sources": sources}))
    run = Run("toy", {}, stored=read_record(tmp_path))
    assert run.table("requests", columns=["x"]).version == "abc"
    assert run.notices == []
    assert run.table("other").source == "requests"
    assert run.notices == ["This page asks for the table 'other', but the stored run has read 'requests'."]


def test_a_time_that_is_text_is_told_by_the_run_and_its_pages(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = tmp_path / "trips.parquet"
    pq.write_table(pa.table({"day": ["2026-03-02"], "at": pa.array([0], pa.timestamp("us")), "km": [1]}), path)
    told = ["day is text in trips.parquet and was read as a time, in UTC where it names no zone."]
    run = Run("toy", {})
    assert run.table(path, time="day", columns=["day", "km"]).kinds == {"day": "time", "km": "integer"}
    assert run.notices == told
    assert run.sources[0]["as_time"] == "day"
    (tmp_path / "run.json").write_text(json.dumps({"status": "good", "notebook": "toy", "sources": run.sources}))
    page = Run("toy", {}, stored=read_record(tmp_path))
    page.table(path, time="day")
    assert page.notices == told
    plain = Run("toy", {})
    assert plain.table(path, time="at").kinds["day"] == "text"
    assert (plain.notices, "as_time" in plain.sources[0]) == ([], False)


ASK = """
import sys, panel
from html import unescape
from bokeh.client import pull_session
for query in sys.argv[2:]:
    arguments = dict(pair.split("=") for pair in query.split("&")) if query else None
    roots = pull_session(url=sys.argv[1], arguments=arguments).document.roots
    print(*(unescape(unescape(model.text)) for root in roots for model in root.references() if hasattr(model, "text")))
"""


def test_a_session_of_panel_serve(book, tmp_path):
    """Nothing stored, then a stored run, then what the address may and may not say: one server for all."""
    path = book("toy", 'import panel as pn\npn.pane.HTML(f"SAW {run.stored} {run.parameters}").servable()')
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    top = str(Path(__file__).resolve().parents[2])
    environment = {**os.environ, "PYTHONPATH": top, "WORKBENCH_RUNS": str(tmp_path / "runs")}
    command = [sys.executable, "-m", "panel", "serve", str(path), "--port", str(port)]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    server = subprocess.Popen(command, env=environment, cwd=tmp_path, **quiet)
    try:
        address = f"http://localhost:{port}/toy"
        for _ in range(200):
            try:
                urllib.request.urlopen(address, timeout=30).close()
                break
            except OSError:
                time.sleep(0.2)

        def ask(*queries):
            command = [sys.executable, "-c", ASK, address, *queries]
            return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout.splitlines()

        (empty,) = ask("")
        assert "There is no good run of 'toy'" in empty
        assert f"workbench run {path} --runs {tmp_path / 'runs'}" in empty
        stored = tmp_path / "runs" / "toy" / "20261123T203000Z"
        stored.mkdir(parents=True)
        values = {"every": "7D", "slo_ms": 500.0, "by": "", "cluster": "threads", "quick": False}
        (stored / "run.json").write_text(json.dumps({"status": "good", "notebook": "toy", "parameters": values}))
        queries = ["", "slo_ms=20&theme=dark", "slo_ms=0.5", "slo_ms=__import__('os')", "every=1h", "zzz=1", "run=/etc"]
        plain, live, low, code, fixed, unknown, place = ask(*queries)
        assert f"SAW {stored}" in plain
        assert "'every': '7D', 'slo_ms': 500.0" in plain
        assert "'slo_ms': 20.0" in live
        assert "'slo_ms' is 0.5 (float) from the address; wanted float from 1.0 to 600,000.0" in low
        assert "wanted float from 1.0" in code
        assert "'every' is fixed by the run and cannot be set in the address" in fixed
        assert "'zzz' is no parameter of this page" in unknown
        assert "'run' is no parameter of this page" in place
    finally:
        server.terminate()
        server.wait(20)
