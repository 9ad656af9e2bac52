"""Workers: the same cube from threads, processes and a scheduler, and nothing left behind."""

from __future__ import annotations

import os
import pickle
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import workbench as wb
from workbench import clusters
from workbench.cubes import Period
from workbench.cubes.memory import PIECE_ROWS, MemoryTable

ROOT = Path(__file__).parents[1]
EXACT_BUT = {"sum", "mean", "m2"}  # workers add floats in the order in which they share the pieces

# Counts one large table until somebody stops it; prints its own and its workers' process ids first.
LONG = """
import sys
import psutil
import workbench as wb

kind, folder = sys.argv[1:]
with wb.cluster(kind, size=2) as crew:
    workers = [p for p in psutil.Process().children(recursive=True) if "spawn_main" in " ".join(p.cmdline())]
    print(*[p.pid for p in workers], flush=True)
    table = wb.open_table(folder)
    while True:
        wb.cube(table, by="k", cluster=crew, progress=False)
"""

# Starts workers and says when their first process is there.
STARTING = """
import threading
import psutil
import workbench as wb


def watch():
    while not psutil.Process().children(recursive=True):
        pass
    print(flush=True)


threading.Thread(target=watch, daemon=True).start()
with wb.cluster("processes", size=2):
    print("started")
"""

# A script as people write them: no guard on __name__, work of its own for the workers.
PLAIN = """
import pyarrow as pa
import workbench as wb

print("begun", flush=True)


def twice(x):
    return 2 * x


with wb.cluster("processes", size=1) as crew:
    print(list(crew.each(twice, [1, 2])))
    print(int(wb.cube(pa.table({"x": [1, 2]}), cluster=crew)["count"]))
"""


def write(folder, files, rows):
    rng = np.random.default_rng(3)
    folder.mkdir()
    for i in range(files):
        data = {
            "x": rng.normal(size=rows), "i": rng.integers(-(2**62), 2**62, rows),
            "k": rng.choice(["a", "b", "c", None], rows), "s": rng.integers(0, 2000, rows).astype(str),
            "t": pa.array(rng.integers(0, 10**12, rows), pa.timestamp("us")),
        }  # fmt: skip
        pq.write_table(pa.table(data), folder / f"part-{i:02}.parquet", row_group_size=rows // 2)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write(tmp_path_factory.mktemp("clusters") / "table", 8, 2000)


@pytest.fixture(scope="module")
def scheduler():
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address="127.0.0.1:0", silence_logs=50
    ) as local:
        yield local


def equal(a, b):
    assert a.sizes == b.sizes
    for name in a.variables:
        if name in EXACT_BUT:
            np.testing.assert_allclose(a[name].values, b[name].values, rtol=1e-9)
        else:
            np.testing.assert_array_equal(a[name].values, b[name].values, err_msg=str(name))
    here, there = ({k: v for k, v in c.attrs.items() if k != "created"} for c in (a, b))
    assert here == there


BY = ["k", Period("t", "D", "Europe/Berlin", name="window")]


def test_every_kind_of_worker_gives_the_same_cube(folder, scheduler):
    table = wb.open_table(folder)
    for by in ((), BY):
        threads = wb.cube(table, by=by)
        equal(wb.cube(table, by=by, plan=threads, cluster=scheduler.scheduler_address), threads)
        equal(
            wb.cube(table, by=by, cluster=scheduler.scheduler_address), threads
        )  # the plan is not the workers' choice
        with wb.cluster("threads", size=1) as one:
            equal(wb.cube(table, by=by, cluster=one), threads)
        with wb.cluster("threads", size=5) as five:
            equal(wb.cube(table, by=by, cluster=five), threads)
            equal(wb.cube(table, by=by, cluster=five), threads)  # and stays open
    with wb.cluster("processes", size=2) as crew:
        assert (crew.kind, crew.size, crew.local) == ("processes", 2, False)
        equal(wb.cube(table, by=BY, cluster=crew), threads)


def test_the_same_pass_gives_the_same_bits(folder):
    table = wb.open_table(folder)
    first, again = wb.cube(table, by=BY), wb.cube(table, by=BY)
    for name in first.variables:
        np.testing.assert_array_equal(first[name].values, again[name].values, err_msg=str(name))


def test_tables_in_memory_go_to_workers_by_their_rows(scheduler, monkeypatch):
    from workbench.cubes import memory

    monkeypatch.setattr(memory, "PIECE_ROWS", 20_000)
    data = pa.table({"x": np.arange(100_000.0), "k": pa.array(["a", "b"] * 50_000).dictionary_encode()})
    threads = wb.cube(data, by="k")
    equal(wb.cube(data, by="k", cluster=scheduler.scheduler_address), threads)
    monkeypatch.undo()
    table = MemoryTable(data, source="here")
    part = pickle.loads(pickle.dumps(table.part(table.pieces())))
    assert part.data.to_pydict() == data.to_pydict()
    assert (part.source, part.version, PIECE_ROWS) == ("here", table.version, 1_000_000)
    small = MemoryTable(data.slice(10, 5))
    assert len(pickle.dumps(small)) < 5000
    assert small.version == MemoryTable(pa.concat_tables([data.slice(10, 2), data.slice(12, 3)])).version
    assert small.version != MemoryTable(data.slice(11, 5)).version


def test_a_worker_that_dies_does_not_change_the_cube(folder, scheduler):
    table = wb.open_table(folder)
    expected = wb.cube(table, by=BY)
    with wb.cluster(scheduler.scheduler_address) as crew:
        from workbench.cubes.axes import check_axes
        from workbench.cubes.scan import finished, plan_columns

        axes = check_axes(BY)
        columns = plan_columns(table, axes, None, expected)
        pieces = table.pieces()
        victim = next(iter(scheduler.workers.values())).pid
        from workbench.cubes import partial

        tasks = [(table, [piece], columns, axes, victim) for piece in pieces]
        part = crew.tree(_count_and_kill, tasks, partial.join, pieces, False)
        equal(finished(part, table, columns, axes), expected)
    with pytest.raises(ProcessLookupError):
        os.kill(victim, 0)


def _count_and_kill(table, pieces, columns, axes, victim):
    from workbench.cubes.counting import count_pieces

    if os.getpid() == victim:
        os.kill(victim, signal.SIGKILL)
    return count_pieces(table, pieces, columns, axes)


def test_an_error_on_a_worker_is_the_error(folder, scheduler, tmp_path):
    table = wb.open_table(write(tmp_path / "broken", 3, 500))
    last = sorted((tmp_path / "broken").iterdir())[-1]
    last.unlink()
    for kind in ("threads", scheduler.scheduler_address):
        with pytest.raises(wb.WorkbenchError, match=r"part-02.parquet.* is gone since the table was opened"):
            wb.cube(table, plan=wb.cube(wb.open_table(folder)), cluster=kind)
    equal(wb.cube(wb.open_table(folder), cluster=scheduler.scheduler_address), wb.cube(wb.open_table(folder)))


@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_control_c_stops_the_pass_and_its_workers(kind, tmp_path):
    folder = write(tmp_path / "long", 4, 200_000)
    running = subprocess.Popen(
        [sys.executable, "-c", LONG, kind, str(folder)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, start_new_session=True,
    )  # fmt: skip
    try:
        workers = [int(pid) for pid in running.stdout.readline().split()]
        assert len(workers) == (2 if kind == "processes" else 0)
        for pid in workers:  # deaf to it, as the kernel says: blocked signals are bits from the first on
            blocked = re.search(r"SigBlk:\s+(\w+)", Path(f"/proc/{pid}/status").read_text())[1]
            assert int(blocked, 16) >> signal.SIGINT - 1 & 1
        time.sleep(3)
        assert running.poll() is None
        os.killpg(running.pid, signal.SIGINT)  # as a terminal does
        _, said = running.communicate(timeout=30)
    finally:
        if running.poll() is None:
            running.kill()
            running.communicate()
    assert running.returncode != 0
    assert said.count("Traceback") == 1  # none of the workers', which did not hear it
    assert said.endswith("KeyboardInterrupt\n")
    _, alive = psutil.wait_procs([psutil.Process(pid) for pid in workers if psutil.pid_exists(pid)], timeout=10)
    assert not alive


@pytest.mark.parametrize("moment", [0.1, 0.6])
def test_control_c_stops_workers_that_start(moment):
    running = subprocess.Popen(
        [sys.executable, "-c", STARTING], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, start_new_session=True,
    )  # fmt: skip
    try:
        assert running.stdout.readline() == "\n"
        time.sleep(moment)
        os.killpg(running.pid, signal.SIGINT)
        out, said = running.communicate(timeout=30)
        end = time.monotonic() + 10
        while (left := _session(running.pid)) and time.monotonic() < end:
            time.sleep(0.05)
    finally:
        if running.poll() is None:
            running.kill()
            running.communicate()
    assert not left
    assert (out, said.count("Traceback"), said[-18:]) == ("", 1, "KeyboardInterrupt\n"), said


def _session(leader):
    """The processes of a session that are still at work."""
    found = []
    for one in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if os.getsid(one.pid) == leader and one.status() != psutil.STATUS_ZOMBIE:
                found.append(one.cmdline())
    return found


def test_cuda_without_a_gpu_says_what_is_missing():
    if not clusters.missing_for_cuda():
        pytest.skip("this machine has a GPU and everything for it")
    with pytest.raises(
        wb.WorkbenchError, match=r"^cluster='cuda' .*(driver|device|package|NVML).*; use cluster='threads' meanwhile\.$"
    ) as told:
        wb.cube(pa.table({"x": [1]}), cluster="cuda")
    assert "\n" not in str(told.value)


def test_what_cuda_lacks_is_told_in_turn(monkeypatch):
    monkeypatch.setattr(clusters, "_driver", lambda: "no NVIDIA driver answers (Driver Not Loaded): install one")
    assert clusters.missing_for_cuda() == (
        "cluster='cuda' needs an NVIDIA GPU, and no NVIDIA driver answers (Driver Not Loaded): install one; "
        "use cluster='threads' meanwhile."
    )
    monkeypatch.setattr(clusters, "_driver", lambda: "")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert clusters.missing_for_cuda() == (
        "cluster='cuda' needs the packages dask_cuda, cudf, cupy: install workbench[gpu]; use cluster='threads' meanwhile."
    )


@pytest.mark.parametrize("kind", ["gpu", "Threads", "thread", "http", 3, ["threads"]])
def test_unknown_kinds(kind):
    with pytest.raises(
        wb.WorkbenchError, match="cluster= got .*; the choices are 'threads', 'processes', 'cuda' or a scheduler's"
    ):
        wb.cube(pa.table({"x": [1]}), cluster=kind)


def test_addresses_that_nobody_answers_at(monkeypatch):
    monkeypatch.setattr(clusters, "PATIENCE", "300ms")
    for address in ("tcp://127.0.0.1:1", "127.0.0.1:1", "nonsense://x:1"):
        with pytest.raises(wb.WorkbenchError, match="No Dask scheduler answers at .*; start one with `dask scheduler`"):
            wb.cube(pa.table({"x": [1]}), cluster=address)


def test_what_answers_may_be_no_scheduler():
    class Hello(BaseHTTPRequestHandler):  # as a scheduler's own dashboard, whose port is easily taken for its
        def handle(self):
            self.request.sendall(b"HTTP/1.0 400 Bad request\r\n\r\n")

    with HTTPServer(("127.0.0.1", 0), Hello) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with pytest.raises(wb.WorkbenchError, match="No Dask scheduler answers at"):
            wb.cube(pa.table({"x": [1]}), cluster=f"tcp://127.0.0.1:{server.server_port}")
        server.shutdown()


def test_a_script_without_a_guard_runs_once(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(PLAIN)
    run = subprocess.run(
        [sys.executable, script],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert (run.stdout, run.returncode) == ("begun\n[2, 4]\n2\n", 0), run.stderr


def test_workers_that_are_gone_are_told(monkeypatch):
    from distributed import LocalCluster

    monkeypatch.setattr(clusters, "ALONE", 1.0)
    asked = {"dashboard_address": "127.0.0.1:0", "silence_logs": 50, "processes": False, "protocol": "tcp"}
    with LocalCluster(n_workers=1, **asked) as local, wb.cluster(local.scheduler_address) as crew:
        local.scale(0)
        while crew.client.nthreads():
            time.sleep(0.05)
        gone = pytest.raises(wb.WorkbenchError, match="The workers were lost: none has been there for 1 s")
        with gone:
            next(crew.each(abs, [1]))
        with gone:
            wb.cube(pa.table({"x": [1]}), cluster=crew)


def test_what_dask_raises_of_lost_workers_is_a_sentence():
    from distributed import KilledWorker
    from distributed.client import ClosedClientError, FutureCancelledError
    from distributed.comm import CommClosedError

    killed = clusters._lost(KilledWorker("count-1", None, 3))
    assert str(killed).startswith("The workers were lost (KilledWorker): they died at the same rows again and again")
    for gone in (FutureCancelledError("count-1", "scheduler-connection-lost"), ClosedClientError(), CommClosedError()):
        assert str(clusters._lost(gone)).startswith(f"The workers were lost ({type(gone).__name__}): their scheduler")
    assert clusters._lost(ValueError()) is None


def test_a_scheduler_without_workers_is_told():
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=0, dashboard_address="127.0.0.1:0", silence_logs=50, processes=False, protocol="tcp"
    ) as local:
        with pytest.raises(wb.WorkbenchError, match="has no workers; start some with `dask worker"):
            wb.cube(pa.table({"x": [1]}), cluster=local.scheduler_address)


@pytest.mark.parametrize("size", [0, -1, 1.5, "2"])
def test_sizes(size):
    with pytest.raises(wb.WorkbenchError, match="got size=.*; a whole number from 1 on is wanted"):
        with wb.cluster("threads", size=size):
            pass


def test_progress_is_shown_where_asked(capsys, monkeypatch):
    monkeypatch.setattr("tqdm.std.tqdm.monitor_interval", 0)
    data = pa.table({"x": [1, 2, 3]})
    wb.cube(data)
    assert capsys.readouterr().err == ""
    wb.cube(data, progress=False)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("opened", [True, False], ids=["open in JupyterLab", "run by papermill"])
def test_the_bar_in_a_notebook_is_for_those_who_look(folder, opened, monkeypatch):
    import nbclient
    from nbformat.v4 import new_code_cell, new_notebook

    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    if opened:
        monkeypatch.setenv("JPY_SESSION_NAME", "a.ipynb")
    shown = []
    slow = "import workbench as wb\nfrom workbench import progress\nprogress.DELAY = 1e-9"
    code = f"{slow}\nimport tqdm\ntqdm.tqdm.monitor_interval = 0\nint(wb.cube({str(folder)!r})['count'])"
    notebook = new_notebook(cells=[new_code_cell(code)])

    class Watched(nbclient.NotebookClient):
        def process_message(self, message, cell, index):
            if message["msg_type"] in ("display_data", "update_display_data"):
                shown.append(message["content"]["data"]["text/html"])
            return super().process_message(message, cell, index)

    Watched(notebook, timeout=60, kernel_name="python3").execute()
    assert [o["output_type"] for o in notebook.cells[0].outputs if o["output_type"] == "stream"] == []
    assert bool(shown) == opened
    if opened:
        assert any(
            re.search(r'<progress value="\d+" max="16000"></progress> counting \d+ % of 16.0k rows', x) for x in shown
        )
        assert (shown[0], shown[-1]) == ("", "")


def test_pieces_that_a_condition_empties_leave_the_axes_as_they_are(tmp_path):
    folder = tmp_path / "days"
    folder.mkdir()
    for day in range(6):
        times = pa.array(np.arange(4) * 3_600_000_000 + day * 86_400_000_000, pa.timestamp("us"))
        data = {"t": times, "x": pa.array([1.5, -2.0, None, 0.0]), "on": [day == 4] * 4, "n": [None] * 4}
        pq.write_table(
            pa.table(data, schema=pa.schema({"t": times.type, "x": "f8", "on": pa.bool_(), "n": "i8"})),
            folder / f"{day}.parquet",
        )
    by = [Period("t", "D"), wb.Bins("x", edges=(0,)), "on"]
    table = wb.open_table(folder, where=[("on", "==", True)])
    with wb.cluster("threads", size=6) as crew:
        c = wb.cube(table, by=by, cluster=crew)
    assert c["t"].values.astype("datetime64[D]").astype(str).tolist() == ["1970-01-05"]
    np.testing.assert_array_equal(c["x"].values, [-np.inf, 0.0, np.nan])
    assert c["count"].values.ravel().tolist() == [1, 2, 1]
    assert "true" in c.attrs["where"].lower()
    with wb.cluster("threads", size=6) as crew:
        none = wb.cube(wb.open_table(folder, where=[("x", ">", 100)]), by=by, cluster=crew)
    assert none["count"].size == 0
    assert none["t"].dtype == c["t"].dtype
    equal(wb.add(none, c), wb.add(c, none).assign_attrs(wb.add(none, c).attrs))
