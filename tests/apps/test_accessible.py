"""Index, history, comparison, details and exported files in Chromium: reachable, readable, drawn, quiet."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.apps.accessible import check, check_keyboard
from tests.apps.asking import serving
from tests.apps.browsing import BLANK, PHONE, WIDE, opened
from tests.apps.conftest import Served
from workbench.apps.users import add_user

pytestmark = pytest.mark.pages
NEW, FAILED = "20990101T000000Z", "20990102T000000Z"
SHIFT = """new Promise((done) => { let sum = 0;
    const watch = new PerformanceObserver((list) => { for (const e of list.getEntries()) sum += e.value; });
    watch.observe({ type: "layout-shift", buffered: true });
    setTimeout(() => done(sum), 300); })"""


@pytest.fixture(scope="module")
def several(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two good runs with other parameters and figures, and a newer one that failed."""
    folder = tmp_path_factory.mktemp("several") / "runs"
    shutil.copytree(runs, folder)
    (run,) = (folder / "waves").iterdir()
    later, failed = run.with_name(NEW), run.with_name(FAILED)
    shutil.copytree(run, later)
    told = json.loads((later / "run.json").read_text())
    told["parameters"]["slo_ms"] = 950.0
    told["headline"][0]["value"] -= 5
    (later / "run.json").write_text(json.dumps(told))
    shutil.copytree(run, failed)
    error = {"cell": 4, "name": "ValueError", "message": "no rows", "line": "count(table)"}
    (failed / "run.json").write_text(json.dumps({**told, "status": "failed", "error": error}))
    for name in ("page.json", "pictures.json", "report.html"):
        (failed / name).unlink()
    return folder


@pytest.fixture(scope="module")
def server(several: Path, notebooks: Path) -> Iterator[Served]:
    running = Served(several, notebooks)
    yield running
    running.stop()


@pytest.fixture(scope="module")
def folder(several: Path, notebooks: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from workbench.apps.export import export_site

    return export_site(several, notebooks, tmp_path_factory.mktemp("site") / "site")


PLACES = {
    "index": "/",
    "page": "/waves/",
    "never ran": "/later/",
    "failed": f"/waves/{FAILED}/",
    "history": "/waves/history/",
    "compare": "/waves/compare/",
    "details": f"/waves/{NEW}/detail/",
    "details of a failure": f"/waves/{FAILED}/detail/",
    "not there": "/nothing/",
    "live": "/live/waves",
    "no live": "/live/later",
}


@pytest.mark.parametrize("place", PLACES)
def test_a_page_can_be_heard_and_read_in_every_look_and_width(browser, server, place):
    for size, scheme in ((WIDE, "light"), (PHONE, "dark")):
        with opened(browser, server.url + PLACES[place], size, scheme) as seen:
            page = seen.ready() if place != "no live" else seen.page
            check(page)
            assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
            said = [words for words in seen.errors if "status of 404" not in words]
            assert (said, seen.abroad) == ([], [])


@pytest.mark.parametrize("place", ["index", "history", "compare", "details"])
def test_the_tab_key_reaches_everything(browser, server, place):
    with opened(browser, server.url + PLACES[place]) as seen:
        check_keyboard(seen.ready())


def check_axe(page):
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response
    assert found["passes"], "axe looked at something"
    assert [f"{one['id']}: {one['nodes'][0]['html'][:120]}" for one in found["violations"]] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("place", ["index", "page", "history", "compare", "details", "live"])
def test_axe_finds_nothing(browser, server, place, scheme):
    with opened(browser, server.url + PLACES[place], scheme=scheme, bypass_csp=True) as seen:
        check_axe(seen.ready())


def test_axe_finds_nothing_at_the_door_and_in_the_audit_trail(browser, several, notebooks, tmp_path):
    add_user(tmp_path / "users.json", "ana", "admin", password="a long enough password")
    with serving(several, notebooks, "--users", str(tmp_path / "users.json")) as url:
        for scheme in ("light", "dark"):
            with opened(browser, f"{url}/-/audit", scheme=scheme, bypass_csp=True) as seen:
                page = seen.ready()
                for word in ("a wrong password", "a long enough password"):
                    check_axe(page)
                    check(page)
                    page.fill("#name", "ana")
                    page.fill("#password", word)
                    with page.expect_navigation():
                        page.click("button[type=submit]")
                    seen.ready()
                page.goto(f"{url}/-/audit")
                seen.ready()
                assert "sign-in" in page.inner_text("main table")
                check_axe(page)
                check(page)
                check_keyboard(page)


@pytest.mark.parametrize("place", ["index", "history", "compare", "details"])
def test_nothing_jumps_while_it_loads(browser, server, place):
    with opened(browser, server.url + PLACES[place]) as seen:
        assert seen.ready().evaluate(SHIFT) < 0.02


# --- what the pages do -------------------------------------------------------------------------------------------------

RANGES = """() => Bokeh.documents.map((doc) => Array.from(doc._all_models.values())
    .filter((m) => /(Figure|Plot)$/.test(m.type)).map((m) => [m.x_range.start, m.x_range.end, m.y_range.start, m.y_range.end]))"""


def test_from_the_index_to_a_comparison_with_equal_axes(browser, server):
    with opened(browser, server.url + "/") as seen:
        seen.page.click("text=3 runs of Waves")
        page = seen.ready()
        assert page.locator("tbody tr:not(.day)").count() == 3
        page.check(f'input[name="b"][value="{NEW}"]')
        page.check('input[name="a"] >> nth=2')
        page.click("text=Compare A with B")
        page.wait_for_url(re.compile(rf"/waves/compare/\?b={NEW}&a=\d+"))
        seen.ready()
        page.wait_for_function("document.querySelectorAll('.picture.drawn').length === 4")
        assert page.evaluate(BLANK) == [True] * 4
        drawn = page.evaluate(RANGES)
        assert drawn[0] == drawn[1]
        assert page.locator("tr", has_text="hours over the limit").locator(".way").inner_text() == "down"
        assert page.locator("tr", has_text="slo_ms").locator("td").all_inner_texts() == ["900", "950"]
        seen.clean()


def test_another_run_is_chosen_on_the_comparison(browser, server):
    with opened(browser, server.url + "/waves/compare/") as seen:
        page = seen.ready()
        page.select_option("#run-B", FAILED)
        page.click("button >> text=Compare")
        page.wait_for_url(f"**b={FAILED}")
        seen.ready()
        assert page.locator(".side .word").all_inner_texts()[1] == "Failed"
        assert page.locator("text=This run has no such picture.").count() == 2
        seen.clean()


def test_a_day_is_asked_of_the_history(browser, server):
    with opened(browser, server.url + "/waves/history/") as seen:
        page = seen.ready()
        page.fill("input[name=until]", "2099-01-01")
        page.click("button >> text=Show")
        page.wait_for_url("**until=2099-01-01")
        assert page.locator("tbody tr:not(.day)").count() == 2
        seen.clean()


def test_a_failed_run_shows_what_happened_cell_by_cell(browser, server):
    with opened(browser, f"{server.url}/waves/{FAILED}/detail/") as seen:
        page = seen.ready()
        assert "This run failed in cell 4: ValueError." in page.inner_text(".notice")
        assert "count(table)" in page.inner_text(".notice")
        assert "counting somewhere/requests" in page.inner_text(".log")
        page.wait_for_function("document.querySelectorAll('.cell .picture.drawn').length === 1")
        assert page.evaluate(BLANK) == [True]
        seen.clean()


HOSTILE = (
    "waves/history/?until=<script>",
    "waves/history/?until=2026-01-01%27",
    "waves/compare/?a=../../etc/passwd",
    "waves/compare/?b=%27;ls",
)


@pytest.mark.parametrize("path", HOSTILE)
def test_hostile_values_are_refused(browser, server, path):
    page = browser.new_page()
    answer = page.goto(f"{server.url}/{path}")
    assert answer.status in (400, 404)
    assert "<script>" not in page.content().split("<body")[1]
    page.close()


def test_the_exported_site_works_from_a_disk(browser, folder):
    with opened(browser, (folder / "index.html").as_uri()) as seen:
        page = seen.page
        page.click("h2 a >> text=Waves")
        seen.ready()
        page.wait_for_function("document.querySelectorAll('.picture.drawn').length === 2")
        assert page.evaluate(BLANK) == [True, True]
        check(page)
        page.click(".tabs >> text=Compare")
        seen.ready()
        page.wait_for_function("document.querySelectorAll('.picture.drawn').length === 4")
        check(page)
        page.click(".tabs >> text=History")
        page.click("text=Details >> nth=0")
        check(seen.ready())
        page.click("text=workbench >> nth=0")
        assert page.title() == "workbench"
        seen.clean()


def test_one_exported_file_draws_with_the_network_cut(browser, several, tmp_path):
    from workbench.apps.export import export_run
    from workbench.runs.records import read_record

    path = export_run(read_record(several / "waves" / NEW), tmp_path / "page.html")
    with opened(browser, path.as_uri(), PHONE, "dark") as seen:
        page = seen.ready()
        page.wait_for_timeout(200)
        assert page.evaluate(BLANK)[:2] == [True, True]
        check(page)
        seen.clean()
