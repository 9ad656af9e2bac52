"""What the server answers: pages, files, refusals, headers; what it does with broken runs; how it stops."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
import shutil
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from tests.apps.conftest import Served
from workbench.apps.server import loopback, make_server
from workbench.apps.site import Site, index, run_page
from workbench.errors import WorkbenchError
from workbench.runs.notebooks import notebook_hash, read_cells


def get(url: str, **headers: str) -> tuple[int, dict[str, str], str]:
    request = urllib.request.Request(url, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, dict(answer.headers), answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, dict(error.headers), error.read().decode()


@pytest.fixture
def site(runs: Path, notebooks: Path, tmp_path: Path) -> Site:
    """A copy of the runs that a test may break."""
    shutil.copytree(runs, tmp_path / "runs")
    return Site(tmp_path / "runs", notebooks)


def the_run(site: Site) -> Path:
    return next((site.runs / "waves").iterdir())


def test_the_index_lists_runs_and_notebooks_without_one(served):
    status, _, html = get(served.url + "/")
    assert status == 200
    assert "Waves" in html
    assert "hours over the limit" in html
    assert "1 figure to look at" in html
    assert "Still to come" in html
    assert "Never ran" in html
    assert "workbench run " in html


def test_a_page_is_complete_before_any_script(served):
    _, _, html = get(served.url + "/waves/")
    for words in (
        "How high are the waves",
        "999.9",
        "slo_ms",
        "somewhere/requests",
        "<svg viewBox",
        "Look for hours above the line.",
    ):
        assert words in html
    assert len(html) < 60_000
    assert "<script src=" not in html
    assert "<script defer" not in html
    assert re.search(
        r'<script data-pictures="[^"]+" data-scripts="../assets/page.js[^"]* ../assets/bokeh.js[^"]*">', html
    )


def test_nothing_is_sent_for_before_the_first_paint(served, runs):
    """No sheet and no script stands between the page and its paint; the one script inside is allowed by its hash."""
    run = next((runs / "waves").iterdir()).name
    for path in ("/", "/waves/", "/waves/history/", f"/waves/{run}/detail/", "/nothing/"):
        _, headers, html = get(served.url + path)
        head = html.split("</head>")[0]
        assert "--paper:" in head
        assert '<link rel="stylesheet' not in head
        assert re.findall(r"<script (?!defer )[^>]*src=", head) == []
        (inside,) = re.findall(r"<script(?: data-[^>]*)?>(.+?)</script>", head, re.DOTALL)
        told = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        assert f"'sha256-{told}'" in headers["Content-Security-Policy"]


def test_a_page_is_packed_for_those_who_take_it(served):
    plain = get(f"{served.url}/waves/")[2]
    asked = urllib.request.Request(f"{served.url}/waves/", headers={"Accept-Encoding": "gzip"})
    with urllib.request.urlopen(asked, timeout=30) as answer:
        packed = answer.read()
        assert answer.headers["Vary"] == "Accept-Encoding"
    assert len(packed) < len(plain) / 2
    assert gzip.decompress(packed).decode() == plain


def test_every_answer_says_what_it_may_load(served, runs):
    run = next((runs / "waves").iterdir()).name
    for path in (
        "/",
        "/waves/",
        f"/waves/{run}/",
        f"/waves/{run}/run.json",
        "/live/waves",
        "/health",
        "/assets/page.js",
        "/no/such/thing/at/all",
    ):
        _, headers, _ = get(served.url + path)
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert "http" not in headers["Content-Security-Policy"]
        assert "Server" not in headers
    _, headers, _ = get(served.url + "/waves/")
    assert "'unsafe-inline'" not in headers["Content-Security-Policy"].split("style-src")[0]
    _, headers, _ = get(served.url + f"/waves/{run}/report.html")
    assert headers["Content-Security-Policy"].startswith("sandbox allow-scripts;")


def test_files_of_a_run_come_as_what_they_are(served, runs):
    run = next((runs / "waves").iterdir()).name
    status, headers, body = get(f"{served.url}/waves/{run}/run.json")
    assert (status, json.loads(body)["status"]) == (200, "good")
    _, headers, body = get(f"{served.url}/waves/{run}/notebook.ipynb")
    assert headers["Content-Disposition"] == f'attachment; filename="waves-{run}.ipynb"'
    assert json.loads(body)["cells"]
    assert get(f"{served.url}/waves/{run}/report.html")[0] == 200


@pytest.mark.parametrize(
    "path",
    [
        "/nothing/",
        "/waves/20200101T000000Z/",
        "/..%2f..%2fetc/",
        "/waves/..%2f..%2f",
        "/waves/%2e%2e/",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/waves/x/y",
        "/live/nothing",
        "/live/..%2f..%2fetc",
        "/assets/..%2fpage.py",
        "/static/..%2f..%2f..%2fetc%2fpasswd",
    ],
)
def test_names_that_no_folder_has_are_not_found(served, path):
    status, _, html = get(served.url + path)
    assert status in (403, 404)
    assert "root:" not in html


def test_a_file_that_a_run_does_not_offer_is_not_found(served, runs):
    run = next((runs / "waves").iterdir()).name
    for name in ("results", "page.json", "..%2frun.json", "cube.nc"):
        assert get(f"{served.url}/waves/{run}/{name}")[0] == 404


def test_another_sites_name_does_not_read_the_pages(served):
    for path in ("/", "/waves/", "/live/waves"):
        status, _, html = get(served.url + path, Host="evil.example")
        assert status == 403
        assert "Waves" not in html


def test_a_notebook_that_was_never_run_names_the_command(served):
    status, _, html = get(served.url + "/later/")
    assert status == 200
    assert "has not been run yet" in html
    assert "workbench run " in html
    status, _, html = get(served.url + "/live/later")
    assert status == 404
    assert "There is no good run of" in html


def test_the_server_is_well(served):
    assert json.loads(get(served.url + "/health")[2])["status"] == "good"


def test_the_address_is_told_a_wrong_parameter(served):
    status, _, html = get(served.url + "/live/waves?slo_ms=ten")
    assert status == 400
    assert "slo_ms" in html
    status, _, html = get(served.url + "/live/waves?table=/etc/passwd")
    assert status == 400
    assert "table" in html


# --- runs that come, fail and break ------------------------------------------------------------------------------------


def test_a_new_run_appears_without_a_restart(site):
    before = index(site)
    shutil.copytree(the_run(site), site.runs / "waves" / "20991231T235959Z")
    assert "1 run<" in before
    assert "2 runs<" in index(site)
    assert site.find("waves").folder.name == "20991231T235959Z"


def test_a_later_failure_leaves_the_last_good_run_up(site):
    failed = site.runs / "waves" / "20991231T235959Z"
    failed.mkdir()
    error = {"cell": 4, "name": "ValueError", "message": "no rows"}
    told = {
        "status": "failed",
        "notebook": "waves",
        "started": "2099-12-31T23:59:58Z",
        "ended": "2099-12-31T23:59:59Z",
        "error": error,
    }
    (failed / "run.json").write_text(json.dumps(told))
    for html in (index(site), run_page(site, site.find("waves"), latest=True)):
        assert "Failed last" in html
        assert "The newest run, 31 Dec 2099 23:59, failed. This is the last good one." in html
        assert "999.9" in html
    own = run_page(site, site.find("waves", failed.name), latest=False)
    assert "This run failed in cell 4: ValueError." in own
    assert "no rows" in own


@pytest.mark.parametrize(
    ("file", "content"),
    [("run.json", "{"), ("run.json", "[]"), ("page.json", "{"), ("page.json", "[]"), ("pictures.json", None)],
)
def test_a_broken_run_is_told_as_such(site, file, content):
    whole = the_run(site)
    shutil.copytree(whole, site.runs / "other" / "20991231T235959Z")
    broken = site.runs / "other" / "20991231T235959Z" / file
    broken.unlink() if content is None else broken.write_text(content)
    html = index(site)
    assert "Waves" in html
    assert "cannot be read" in html or "Failed" in html or content is None
    assert run_page(site, site.find("other", "20991231T235959Z"), latest=False)


def test_a_notebook_file_that_is_none_is_listed_as_damaged(site, tmp_path):
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "bad.ipynb").write_text("no json")
    html = index(Site(site.runs, tmp_path / "notebooks"))
    assert "Damaged" in html
    assert "is not a notebook" in html


def test_a_changed_copy_of_a_notebook_is_not_executed(site):
    from workbench.apps.live import execute

    path = the_run(site) / "notebook.ipynb"
    book = json.loads(path.read_text())
    book["cells"][1]["source"] = "raise SystemExit('executed')"
    path.write_text(json.dumps(book))
    with pytest.raises(WorkbenchError, match="is not the one the run has recorded"):
        execute(site.find("waves"))


def test_an_injected_cell_is_not_executed(site):
    from workbench.apps.live import execute

    path = the_run(site) / "notebook.ipynb"
    book = json.loads(path.read_text())
    injected = [cell for cell in book["cells"] if "injected-parameters" in cell["metadata"].get("tags", [])]
    assert injected
    for cell in injected:
        cell["source"] = "raise SystemExit('executed')"
    path.write_text(json.dumps(book))
    assert "frame" in execute(site.find("waves"))


def test_other_pages_answer_while_a_live_page_is_made(runs, notebooks, tmp_path):
    folder = tmp_path / "runs" / "slow" / "20260101T000000Z"
    folder.mkdir(parents=True)
    wait = f"import pathlib, time\nwhile not pathlib.Path({str(tmp_path / 'go')!r}).exists():\n    time.sleep(0.02)"
    book = new_notebook(cells=[new_code_cell(wait)])
    nbformat.write(book, folder / "notebook.ipynb")
    told = {"status": "good", "notebook": "slow", "notebook_hash": notebook_hash(read_cells(folder / "notebook.ipynb"))}
    (folder / "run.json").write_text(json.dumps(told))
    server = Served(tmp_path / "runs", notebooks)
    try:
        with ThreadPoolExecutor(1) as other:
            live = other.submit(get, server.url + "/live/slow")
            assert get(server.url + "/slow/")[0] == 200
            assert not live.done()
            (tmp_path / "go").touch()
            status, _, html = live.result(timeout=60)
        assert status == 400
        assert "does not end with a page" in html
    finally:
        server.stop()


# --- where it listens, how it ends -------------------------------------------------------------------------------------


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "192.168.1.7", "example.org"])
def test_an_address_that_others_reach_is_refused(tmp_path, address):
    assert not loopback(address)
    with pytest.raises(WorkbenchError, match=r"can be reached from other machines.*allow"):
        make_server(tmp_path, tmp_path, address)


def test_it_stops_cleanly_when_interrupted(tmp_path):
    server = Served(tmp_path, tmp_path)
    assert "no notebooks and no runs" in get(server.url + "/")[2]
    status, words, errors = server.stop()
    assert status == 0
    assert words.strip().endswith("Stopped.")
    assert "Traceback" not in errors


def test_a_taken_port_is_one_sentence(served, tmp_path):
    port = int(served.url.rsplit(":", 1)[1])
    with pytest.raises(WorkbenchError, match=rf"The port {port} of localhost cannot be used"):
        make_server(tmp_path, tmp_path, port=port)


def test_only_this_machine_can_connect(tmp_path):
    server = make_server(tmp_path, tmp_path, port=0)
    try:
        listening = {one.getsockname()[0] for one in server._http._sockets.values()}
    finally:
        server.stop(wait=False)
        server._http.stop()
    assert listening <= {"127.0.0.1", "::1"}
    assert listening
