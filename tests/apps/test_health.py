"""How the server tells that it is well, what it counts, and several processes behind one port."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import nbformat
import psutil
import pytest

from tests.apps.asking import Asking, hang_up, page_token, serving, socket
from tests.apps.conftest import waves
from workbench.apps.health import Figures, checks, exposition
from workbench.apps.site import Site
from workbench.apps.users import User, hashed, write_users
from workbench.apps.workers import share
from workbench.errors import WorkbenchError
from workbench.runs.execute import run_notebook

LINE = re.compile(r'^([a-z_]+)(\{([a-z_]+="(\\.|[^"\\])*",?)*\})? (-?[0-9.e+-]+)$')


def values(text: str) -> dict[str, float]:
    """The lines of a text of metrics; every line is one that Prometheus reads."""
    found = {}
    for line in text.splitlines():
        if not line.startswith("# "):
            assert LINE.match(line), line
            name, _, value = line.rpartition(" ")
            assert name not in found, name
            found[name] = float(value)
    return found


@pytest.fixture(scope="module")
def many(runs: Path, notebooks: Path):
    with serving(runs, notebooks, "--workers", "3") as url:
        wait_for_all(url, 3)
        yield url


def wait_for_all(url: str, count: int) -> None:
    end = time.monotonic() + 40
    while time.monotonic() < end:
        text = Asking(url).get("/metrics").text
        if f'workbench_processes{{state="answering"}} {count}' in text:
            return
        time.sleep(0.2)
    raise AssertionError(text)


def test_health_says_what_is_not_there(runs, notebooks, tmp_path):
    worker = SimpleNamespace()
    assert checks(Site(runs, notebooks), worker, None) == {"runs": "good", "notebooks": "good", "live": "good"}
    assert checks(Site(tmp_path / "later", notebooks), worker, None)["runs"] == "good"
    assert checks(Site(runs, tmp_path / "gone"), worker, None)["notebooks"] == "cannot be read"
    (tmp_path / "users.json").write_text("{")
    (tmp_path / "users.json").chmod(0o600)
    signin = SimpleNamespace(users=tmp_path / "users.json")
    assert checks(Site(runs, notebooks), worker, signin)["users"] == "cannot be read"


def test_health_is_503_when_readers_cannot_be_answered(runs, tmp_path):
    (tmp_path / "notebooks").mkdir()
    with serving(runs, tmp_path / "notebooks") as url:
        assert Asking(url).get("/health").status == 200
        (tmp_path / "notebooks").rmdir()
        answer = Asking(url).get("/health")
        assert (answer.status, json.loads(answer.text)["ready"]) == (503, False)
        assert str(tmp_path) not in answer.text
        assert Asking(url).get("/health/live").status == 200, "nothing that a restart would mend"


def test_metrics_count_runs_and_answers(served, runs):
    reader = Asking(served.url)
    for path in ("/waves/", "/waves/", "/nothing/"):
        reader.get(path)
    answer = reader.get("/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    found = values(answer.text)
    assert found['workbench_runs{notebook="waves",state="good"}'] == 1
    assert 0 < found['workbench_last_good_run_age_seconds{notebook="waves"}'] < 3600
    assert found['workbench_requests_total{page="page",code="200"}'] == 2
    assert found['workbench_requests_total{page="page",code="404"}'] == 1
    assert found['workbench_request_seconds_bucket{page="page",le="+Inf"}'] == 3
    assert found['workbench_request_seconds_count{page="page"}'] == 3
    buckets = [
        value for name, value in found.items() if name.startswith('workbench_request_seconds_bucket{page="page"')
    ]
    assert buckets == sorted(buckets)
    assert found["workbench_sessions"] >= 0


def test_names_cannot_break_a_line_of_metrics():
    runs = {"states": {('a"\n\\b', "good"): 1}, "good": {}}
    assert 'workbench_runs{notebook="a\\"\\n\\\\b",state="good"} 1' in exposition(runs, [Figures().told()], 1)


def test_metrics_with_sign_in_want_a_token_or_an_admin(runs, notebooks, tmp_path):
    word = "a long enough password"
    one = hashed(word)
    write_users(
        tmp_path / "users.json", {n: User(n, r, {}, one, "s") for n, r in (("ana", "admin"), ("otto", "operator"))}
    )
    with serving(runs, notebooks, "--users", str(tmp_path / "users.json"), WORKBENCH_METRICS_TOKEN="t0ken") as url:
        assert Asking(url).get("/metrics").status == 401
        assert Asking(url).get("/metrics", Authorization="Bearer wrong").status == 401
        assert Asking(url).get("/metrics", Authorization="Bearer t0ken").status == 200
        assert Asking(url).get("/health").status == 200
        for name, status in (("ana", 200), ("otto", 401)):
            reader = Asking(url)
            reader.sign_in(name, word)
            assert reader.get("/metrics").status == status


# --- several processes -------------------------------------------------------------------------------------------------


def test_a_socket_finds_the_process_that_made_its_page(many):
    def live(number: int) -> tuple[int, str]:
        page = Asking(many).get("/live/waves")
        status, said = socket(many, "/live/waves/ws", page_token(page.text), {})
        return status, said[0].get("msgtype", "")

    with ThreadPoolExecutor(4) as readers:
        found = list(readers.map(live, range(12)))
    assert found == [(101, "ACK")] * 12


@pytest.fixture(scope="module")
def moving(tmp_path_factory: pytest.TempPathFactory):
    """Three processes that serve a page with a slider, whose picture goes through the session."""
    notebooks, runs = tmp_path_factory.mktemp("moving"), tmp_path_factory.mktemp("moved")
    notebook = waves()
    notebook.cells[-1].source = notebook.cells[-1].source.replace(
        'hv.Bars([("a", 3), ("b", over)], "group", "hours").opts(**look.base())',
        'hv.DynamicMap(lambda k: hv.Bars([("a", k)], "group", "hours"), kdims=["k"]).redim.range(k=(1, 3))',
    )
    nbformat.write(notebook, notebooks / "waves.ipynb")
    record = run_notebook(notebooks / "waves.ipynb", {"slo_ms": 900.0}, runs)
    assert record.status == "good", record.error
    with serving(runs, notebooks, "--workers", "3") as url:
        wait_for_all(url, 3)
        yield url


def test_a_socket_of_another_process_gets_the_same_document(moving):
    import asyncio

    from tornado.httpclient import HTTPRequest
    from tornado.websocket import websocket_connect

    page = Asking(moving).get("/live/waves")
    token = page_token(page.text)
    said = re.search(r'id="wb-session">(.*?)</script>', page.text, re.S)
    roots = json.loads(said[1])["item"]["roots"]  # the session's pictures and their places
    assert roots

    async def document() -> str:
        address = moving.replace("http", "ws") + "/live/waves/ws"
        joined = await websocket_connect(
            HTTPRequest(address, headers={"Origin": moving}), subprotocols=["bokeh", token]
        )
        text = ""
        for _ in range(3):
            await asyncio.wait_for(joined.read_message(), 20)
        for part in ('{"msgid":"1","msgtype":"PULL-DOC-REQ"}', "{}", "{}"):
            await joined.write_message(part)
        while '"roots"' not in text:
            text += str(await asyncio.wait_for(joined.read_message(), 20))
        hang_up(joined)
        return text

    texts = [asyncio.run(document()) for _ in range(6)]  # whichever process gets each of them
    for text in texts:
        assert all(f'"{root}"' in text for root in roots)


def test_metrics_add_the_processes(many):
    before = values(Asking(many).get("/metrics").text)
    for _ in range(9):
        Asking(many).get("/waves/")
    after = values(Asking(many).get("/metrics").text)
    name = 'workbench_requests_total{page="page",code="200"}'
    assert after[name] - before.get(name, 0) == 9
    assert after['workbench_processes{state="answering"}'] == 3
    assert Asking(many).get("/-/figures").status == 404
    assert Asking(many).get("/-/figures", X_Workbench_Word="wrong").status == 404


def test_a_process_that_falls_is_started_again_and_all_end_together(runs, notebooks):
    with serving(runs, notebooks, "--workers", "2") as url:
        wait_for_all(url, 2)
        (parent,) = [
            one for one in psutil.Process().children() if "serve" in " ".join(one.cmdline()) and one.children()
        ][-1:]
        children = parent.children()
        assert len(children) == 2
        os.kill(children[0].pid, signal.SIGKILL)
        wait_for_all(url, 2)
        assert Asking(url).get("/waves/").status == 200
        everybody = [parent, *parent.children()]
        assert len(everybody) == 3
    _, left = psutil.wait_procs(everybody, timeout=15)
    assert left == []


@pytest.mark.parametrize("count", [0, -1, 65])
def test_numbers_of_processes_that_cannot_be(count):
    with pytest.raises(WorkbenchError, match="wanted 1 to 64"):
        share("localhost", 0, count, lambda crew: None, lambda port: None)
