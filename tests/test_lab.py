"""A job of JupyterLab's dialog: made through its own server, run by the same path, kept in the same folders."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

pytest.importorskip("jupyter_scheduler")

from workbench.errors import WorkbenchError
from workbench.lab import Execution, run_job
from workbench.runs.records import list_runs

ROOT = Path(__file__).parents[1]


def toy(path: Path) -> Path:
    """A notebook with a typed parameter that says where it runs."""
    cells = [
        new_markdown_cell("# Toy\n\nHow many?"),
        new_code_cell("count: int = 1  # how many", metadata={"tags": ["parameters"]}),
        new_code_cell('import workbench as wb\nrun = wb.begin("toy", globals(), live={"count": (1, 100)})'),
        new_code_cell('run.headline("counted", count * 2, "rows")\nassert count != 13, "unlucky"'),
    ]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(new_notebook(cells=cells, metadata=kernel), path)
    return path


def ask(url: str, method: str = "GET", body: object = None) -> object:
    request = urllib.request.Request(url, json.dumps(body).encode() if body is not None else None, method=method)
    request.add_header("Authorization", "token t")
    request.add_header("Content-Type", "application/json")
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            text = answer.read().decode()
            return json.loads(text) if text else None
    except urllib.error.HTTPError as error:
        raise AssertionError(error.read().decode()) from error


def answers(url: str) -> bool:
    try:
        ask(url)
    except (OSError, AssertionError):
        return False
    return True


@pytest.fixture(scope="module")
def lab(tmp_path_factory) -> Iterator[tuple[str, Path]]:
    """JupyterLab's server on this machine with the line of the documentation, in a folder with a notebook."""
    room = tmp_path_factory.mktemp("lab")
    toy(room / "toy.ipynb")
    own = {
        name: str(room / name)
        for name in ("JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "IPYTHONDIR")
    }
    environment = {**os.environ, **own, "PYTHONPATH": str(ROOT), "HOME": str(room)}
    environment.pop("WORKBENCH_RUNS", None)
    environment["WORKBENCH_USERS"] = str(room / "nobody.json")
    code = "from jupyterlab.labapp import main; main()"
    command = [sys.executable, "-c", code, "--no-browser", "--ip=127.0.0.1", "--port=0", "--allow-root"]
    config = ROOT / "templates" / "jupyter_server_config.py"
    options = [
        "--ServerApp.port_retries=0",
        "--IdentityProvider.token=t",
        f"--config={config}",
        f"--notebook-dir={room}",
    ]
    with (room / "log").open("w") as log:
        process = subprocess.Popen(
            [*command, *options], stdout=log, stderr=log, env=environment, cwd=room, start_new_session=True
        )
    try:
        end = time.monotonic() + 60
        while not (found := re.search(r"http://127\.0\.0\.1:(\d+)/lab", (room / "log").read_text())):
            assert time.monotonic() < end, (room / "log").read_text()[-3000:]
            assert process.poll() is None, (room / "log").read_text()[-3000:]
            time.sleep(0.2)
        while not answers(f"http://127.0.0.1:{found[1]}/scheduler/jobs"):
            assert time.monotonic() < end, (room / "log").read_text()[-3000:]
            time.sleep(0.2)
        yield f"http://127.0.0.1:{found[1]}", room
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)


def job(lab: tuple[str, Path], parameters: dict) -> dict:
    """A job as the dialog makes it, when it is over."""
    url, _ = lab
    environment = ask(f"{url}/scheduler/runtime_environments")[0]["name"]
    asked = {
        "name": "from the dialog", "input_uri": "toy.ipynb", "runtime_environment_name": environment,
        "output_formats": ["ipynb", "html"], "parameters": parameters,
    }  # fmt: skip
    number = ask(f"{url}/scheduler/jobs", "POST", asked)["job_id"]
    end = time.monotonic() + 90
    while (told := ask(f"{url}/scheduler/jobs/{number}"))["status"] not in ("COMPLETED", "FAILED"):
        assert time.monotonic() < end, told
        time.sleep(0.3)
    return told


def test_a_job_of_the_dialog_is_a_run(lab):
    told = job(lab, {"count": "21"})
    assert told["status"] == "COMPLETED", told
    (record,) = list_runs(lab[1] / "runs", "toy")
    assert (record.status, record.parameters, record.headline[0]["value"]) == ("good", {"count": 21}, 42)
    assert (record.folder / "report.html").is_file()
    assert record.told["report"] == "good"


def test_parameters_of_the_dialog_pass_the_door(lab):
    before = len(list_runs(lab[1] / "runs", "toy"))
    for wrong, words in (
        ({"count": "__import__('os').system('touch hit')"}, "wanted int from 1 to 100"),
        ({"conut": "3"}, "did you mean 'count'"),
    ):
        told = job(lab, wrong)
        assert told["status"] == "FAILED"
        assert words in told["status_message"]
    assert not (lab[1] / "hit").exists()
    assert len(list_runs(lab[1] / "runs", "toy")) == before


def test_a_run_that_fails_is_a_job_that_failed(lab):
    told = job(lab, {"count": 13})
    assert told["status"] == "FAILED"
    assert "failed in cell 4: AssertionError: unlucky" in told["status_message"]
    record = list_runs(lab[1] / "runs", "toy")[0]
    assert (record.status, record.error["cell"]) == ("failed", 4)


def test_a_file_that_is_no_notebook_is_refused(tmp_path):
    (tmp_path / "no.ipynb").write_text("no")
    assert not Execution.validate(Execution, str(tmp_path / "no.ipynb"))
    assert Execution.validate(Execution, str(toy(tmp_path / "toy.ipynb")))
    with pytest.raises(WorkbenchError, match="wanted int"):
        run_job(tmp_path / "toy.ipynb", "toy.ipynb", {"count": "many"}, tmp_path)
    assert not (tmp_path / "runs").exists()


def good(room: Path) -> int:
    return sum(one.status == "good" for one in list_runs(room / "runs", "toy"))


@pytest.mark.pages
def test_in_a_browser_the_dialog_makes_a_run(browser, lab):
    """JupyterLab's button takes the file that its file browser has selected, on a busy machine some time after the notebook
    is shown, and the dialog learns what it may ask for after it is shown: both are waited for before a button is pressed.
    """
    url, room = lab
    before = good(room)
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    page = context.new_page()
    page.goto(f"{url}/lab/tree/toy.ipynb?token=t&reset")
    page.locator(".jp-DirListing-item.jp-mod-selected:has-text('toy.ipynb')").wait_for(timeout=90_000)
    page.click("[data-command='scheduling:create-from-notebook'], [title*='notebook job' i]", timeout=90_000)
    form = page.locator(".jp-create-job-form")
    form.get_by_role("checkbox", name="HTML", checked=True).wait_for(timeout=90_000)
    assert form.get_by_role("textbox", name="Input file").input_value() == "toy.ipynb"
    form.get_by_role("button", name="Create", exact=True).click()
    end = time.monotonic() + 90
    while good(room) == before:
        assert time.monotonic() < end, page.inner_text("body")
        page.wait_for_timeout(300)
    context.close()


@pytest.mark.pages
def test_in_a_browser_the_tile_opens_the_dashboards(browser, lab):
    url = lab[0]
    job(lab, {"count": "21"})
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    page = context.new_page()
    page.goto(f"{url}/lab?token=t&reset")
    with context.expect_page(timeout=90_000) as opened:
        page.click(".jp-LauncherCard:has-text('Dashboards')", timeout=90_000)
    shown = opened.value
    shown.wait_for_selector("body[data-ready]", timeout=90_000)
    assert shown.url == f"{url}/workbench/"
    assert "1 good" in shown.inner_text("main")
    context.close()


@pytest.mark.pages
def test_in_a_browser_panel_previews_a_notebook_with_its_page(browser, lab):
    """The page of the last run, drawn by Panel's extension of JupyterLab, whose own template asks for a font elsewhere."""
    url, room = lab
    from tests.apps.conftest import waves

    nbformat.write(waves(), room / "waves.ipynb")
    run_job(room / "waves.ipynb", "waves.ipynb", {}, room)
    context = browser.new_context(viewport={"width": 1280, "height": 1200})
    context.route(lambda address: not address.startswith(url), lambda route: route.abort())
    page = context.new_page()
    errors = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(f"{url}/panel-preview/render/waves.ipynb?token=t", timeout=90_000)
    page.get_by_text("How high are the waves, and is that < 1000?").wait_for(timeout=60_000)
    page.get_by_text("highest p99").first.wait_for()
    assert page.locator("canvas").count() >= 2
    assert errors == []
    context.close()
