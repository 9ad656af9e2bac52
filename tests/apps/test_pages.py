"""Pages in headless Chromium, cut off from every host but the one that serves them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.apps.browsing import BLANK, PHONE, WIDE, opened
from tests.apps.conftest import Served

pytestmark = pytest.mark.pages


def address(served: Any, runs: Path, kind: str) -> str:
    run = next((runs / "waves").iterdir())
    return {
        "page": f"{served.url}/waves/",
        "live": f"{served.url}/live/waves",
        "report": f"{run.as_uri()}/report.html",
        "served report": f"{served.url}/waves/{run.name}/report.html",
    }[kind]


@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("kind", ["page", "live", "report", "served report"])
def test_pictures_are_drawn_without_another_host(browser, served, runs, kind, scheme, size):
    with opened(browser, address(served, runs, kind), size, scheme) as seen:
        page = seen.ready()
        page.wait_for_timeout(300)
        assert page.evaluate(BLANK)[:2] == [True, True]
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        assert page.evaluate("document.documentElement.dataset.theme") == scheme
        seen.clean()


@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "phone"])
def test_the_index_leads_to_a_page_and_from_there_to_the_live_one(browser, served, size):
    with opened(browser, served.url + "/", size) as seen:
        seen.page.click("h2 a >> text=Waves")
        page = seen.ready()
        page.click("text=Open live")
        page.wait_for_url("**/live/waves/*")
        seen.ready()
        page.click("text=Published")
        page.wait_for_url(re.compile(r"/waves/\d{8}T\d{6}Z/$"))
        page.click("text=workbench")
        assert page.title() == "workbench"
        seen.clean()


def test_the_poster_and_figures_are_there_without_scripts(browser, served):
    with opened(browser, f"{served.url}/waves/", java_script_enabled=False) as seen:
        assert seen.page.locator(".poster svg").count() == 2
        assert "999.9" in seen.page.inner_text(".cards")
        seen.clean()


def test_nothing_jumps_while_the_pictures_come(browser, served):
    with opened(browser, f"{served.url}/waves/") as seen:
        page = seen.ready()
        page.wait_for_timeout(300)
        shift = "new Promise(r => new PerformanceObserver(l => r(l.getEntries().reduce((a, e) => a + e.value, 0)))"
        shift += ".observe({type: 'layout-shift', buffered: true}) || setTimeout(() => r(0), 300))"
        assert page.evaluate(shift) < 0.02


def test_the_toggle_changes_page_and_pictures_and_is_kept(browser, served):
    colour = "() => getComputedStyle(document.body).backgroundColor"
    ink = "() => [...Bokeh.documents[0]._all_models.values()].find((m) => /LinearAxis$/.test(m.type)).major_label_text_color"
    with opened(browser, f"{served.url}/waves/") as seen:
        page = seen.ready()
        light = page.evaluate(colour), page.evaluate(ink)
        page.click("[data-toggle-theme]")
        dark = page.evaluate(colour), page.evaluate(ink)
        assert light[0] != dark[0]
        assert light[1] != dark[1]
        page.reload()
        seen.ready()
        assert (page.evaluate(colour), page.evaluate(ink)) == dark
        seen.clean()


def test_a_control_changes_the_figures_of_a_live_page(browser, served):
    with opened(browser, f"{served.url}/live/waves") as seen:
        page = seen.ready()
        before = page.inner_text(".cards")
        page.fill("input[name=slo_ms]", "600")
        page.press("input[name=slo_ms]", "Enter")
        page.wait_for_url("**slo_ms=600")
        seen.ready()
        after = page.inner_text(".cards")
        assert before != after
        assert "slo_ms 600" in page.inner_text(".facts")
        slider = page.locator("[data-moves=slo_ms]")
        assert (slider.input_value(), slider.get_attribute("max")) == ("601", "2400")  # from 1 in steps of 10
        slider.evaluate("slider => { slider.value = 701; slider.dispatchEvent(new Event('input')); }")
        assert page.input_value("input[name=slo_ms]") == "701"
        page.fill("input[name=slo_ms]", "801")
        assert slider.input_value() == "801"
        seen.clean()


def test_code_is_folded_in_the_report_and_the_notebooks_pictures_come_when_opened(browser, served, runs):
    with opened(browser, address(served, runs, "report")) as seen:
        page = seen.ready()
        assert not page.locator("text=run = begin").first.is_visible()
        page.click(".notebook > summary")
        page.wait_for_function("document.querySelectorAll('.cell .picture.drawn').length === 1")
        assert page.evaluate(BLANK) == [True, True, True]
        assert not page.locator("text=run = begin").first.is_visible()
        seen.clean()


def test_a_picture_answers_the_pointer(browser, served, runs):
    with opened(browser, address(served, runs, "report")) as seen:
        page = seen.ready()
        page.wait_for_timeout(200)
        box = page.locator("#wb-p0-0").bounding_box()
        shown = """() => {
            const all = (node) => [...node.querySelectorAll("*")].flatMap((e) => [e, ...(e.shadowRoot ? all(e.shadowRoot) : [])]);
            return all(document).some((e) => /tooltip/i.test(e.className) && /hour/.test((e.shadowRoot || e).textContent)); }"""
        found = False
        for y in range(20, 240, 4):  # down a line that crosses the curve somewhere
            page.mouse.move(box["x"] + 500, box["y"] + y)
            page.wait_for_timeout(30)
            found = found or page.evaluate(shown)
        assert found
        seen.clean()


@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "phone"])
def test_a_long_message_of_a_failed_run_stays_inside_its_frame(browser, notebooks, tmp_path, size):
    said = "'tables/requests' mixes formats: 'requests.truth.json' is json and 'part-00000.parquet' is parquet. " * 3
    folder = tmp_path / "waves" / "20261123T200000Z"
    folder.mkdir(parents=True)
    told = {"status": "failed", "notebook": "waves", "started": "2026-11-23T20:00:00Z", "ended": "2026-11-23T20:00:05Z"}
    told["error"] = {"cell": 3, "name": "WorkbenchError", "message": said}
    (folder / "run.json").write_text(json.dumps(told))
    server = Served(tmp_path, notebooks)
    try:
        with opened(browser, f"{server.url}/waves/", size) as seen:
            seen.page.wait_for_selector("pre.notice")
            assert seen.page.inner_text("pre.notice").startswith("'tables/requests' mixes formats")
            assert seen.page.evaluate("(e => e.scrollWidth <= e.clientWidth)(document.querySelector('pre.notice'))")
            assert seen.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    finally:
        server.stop()
