"""The three notebooks on a small example table: their pages, live pages and reports as people see them.

`WORKBENCH_SCREENSHOT=1 pytest tests/apps/test_real_pages.py -k screenshot` writes docs/screenshot.png anew.
"""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.apps.browsing import BLANK, PHONE, WIDE, opened
from tests.apps.conftest import Served

pytestmark = [pytest.mark.pages, pytest.mark.slow]
ROOT = Path(__file__).parents[2]
NAMES = ("quality", "drift", "performance")
ROWS = 60_000


@pytest.fixture(scope="module")
def real_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from workbench.examples import requests

    folder = tmp_path_factory.mktemp("real")
    requests(folder / "tables" / "requests", rows=ROWS, seed=7)
    with contextlib.chdir(folder):  # so that the pages show a short address
        _run_all(folder)
    return folder / "runs"


def _run_all(folder: Path) -> None:
    from workbench.apps.report import write_report
    from workbench.runs.execute import run_notebook

    for name in (*NAMES, "returns"):
        given = {"table": "tables/requests"} if name != "returns" else {"draws": 500}
        record = run_notebook(ROOT / "notebooks" / f"{name}.ipynb", given, folder / "runs", report=write_report)
        assert record.status == "good", record.error
        assert record.told["report"] == "good", record.told.get("report_message")


@pytest.fixture(scope="module")
def real(real_runs: Path) -> Iterator[Served]:
    server = Served(real_runs, ROOT / "notebooks")
    yield server
    server.stop()


def run_of(runs: Path, name: str) -> Path:
    return next(path for path in (runs / name).iterdir() if path.is_dir())


@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", NAMES)
def test_a_page_and_its_report_are_whole(browser, real, real_runs, name, scheme, size):
    for url in (f"{real.url}/{name}/", f"{run_of(real_runs, name).as_uri()}/report.html"):
        with opened(browser, url, size, scheme) as seen:
            page = seen.ready()
            page.wait_for_timeout(300)
            drawn = page.evaluate(BLANK)
            published = page.locator("main > .section .picture").count()
            assert published >= 3
            assert drawn[:published] == [True] * published
            assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
            assert page.locator(".card").count() >= 4
            seen.clean()


@pytest.mark.parametrize("name", NAMES)
def test_the_live_page_shows_what_the_published_one_shows(browser, real, name):
    with opened(browser, f"{real.url}/{name}/") as seen:
        published = seen.ready().inner_text(".cards")
    with opened(browser, f"{real.url}/live/{name}") as seen:
        page = seen.ready()
        page.wait_for_timeout(300)
        assert page.inner_text(".cards") == published
        assert all(page.evaluate(BLANK))
        seen.clean()


PAINTED = """(slot) => { const found = [];
    const walk = (node) => { for (const e of node.querySelectorAll("*")) {
        if (e.tagName === "CANVAS") found.push(e.toDataURL()); if (e.shadowRoot) walk(e.shadowRoot); } };
    walk(slot); return found.join(); }"""


def test_each_selector_and_slider_of_any_two_spans_changes_its_picture(browser, real):
    """As a hand does it: a choice from each list, an arrow key on the slider."""
    with opened(browser, f"{real.url}/live/drift") as seen:
        page = seen.ready()
        page.wait_for_timeout(300)
        picture = page.locator("section", has_text="Any two spans of windows").locator(".picture")
        lists, handle = picture.locator("select"), picture.locator(".noUi-handle")
        assert (lists.count(), handle.count()) == (2, 1)
        steps = [lambda: lists.nth(0).select_option(index=1), lambda: lists.nth(1).select_option(index=4)]
        for step in [*steps, lambda: handle.press("ArrowRight")]:
            before = picture.evaluate(PAINTED)
            step()
            page.wait_for_function(
                f"([slot, before]) => ({PAINTED})(slot) !== before",
                arg=[picture.element_handle(), before],
                timeout=10_000,
            )
            page.wait_for_timeout(500)  # the answer may come in two parts
        seen.clean()


ANSWERS = """() => document.querySelector(".cards").innerText
    + Array.from(document.querySelectorAll(".section"), (section) => section.innerText).join()"""


def test_each_slider_of_returns_changes_the_answer(browser, real):
    """As a hand does it: an arrow key on each slider, one after the other, and no answer is like the one before."""
    with opened(browser, f"{real.url}/live/returns") as seen:
        page = seen.ready()
        names = page.eval_on_selector_all("[data-moves]", "all => all.map((one) => one.dataset.moves)")
        assert set(names) >= {"accepted", "months", "value_usd", "gpu_hour_usd"}
        answers = [page.evaluate(ANSWERS)]
        for name in names:
            slider = page.locator(f"[data-moves={name}]")
            high = slider.evaluate("(one) => one.value === one.max")
            before = page.input_value(f"[name={name}]")
            slider.press("ArrowLeft" if high else "ArrowRight")
            now = page.input_value(f"[name={name}]")
            assert now != before, name
            page.wait_for_url(f"**{name}={now}*", timeout=60_000)
            seen.ready()
            assert page.input_value(f"[name={name}]") == now
            answers.append(page.evaluate(ANSWERS))
            assert answers[-1] != answers[-2], name
        assert all(page.evaluate(BLANK))
        seen.clean()


def test_on_a_phone_legends_stand_below_and_nothing_moves(browser, real):
    with opened(browser, f"{real.url}/drift/", PHONE) as seen:
        page = seen.page
        folded = page.locator(".picture[style*='--legend']")
        assert folded.count() >= 3
        before = page.evaluate("document.documentElement.scrollHeight")
        seen.ready()
        page.wait_for_timeout(300)
        assert page.evaluate("document.documentElement.scrollHeight") == before
        assert folded.evaluate_all("all => all.map((one) => one.scrollWidth <= one.clientWidth)").count(True) >= 3
        seen.clean()


def test_rows_of_a_long_table_are_found_by_a_word(browser, real):
    with opened(browser, f"{real.url}/drift/") as seen:
        page = seen.ready()
        section = page.locator("section", has=page.locator("[data-finds]")).last
        rows, said = section.locator("tbody tr"), section.locator("[role=status]")
        every, height = rows.count(), page.evaluate("document.documentElement.scrollHeight")
        page.get_by_label("Find a row").last.fill("Latency_S ks")
        assert [row.inner_text().split()[0] for row in rows.all() if row.is_visible()] == ["latency_s"]
        assert said.inner_text() == f"1 of {every} rows"
        assert page.evaluate("document.documentElement.scrollHeight") == height
        page.get_by_label("Find a row").last.fill("nothing like this")
        assert said.inner_text() == f"0 of {every} rows"
        page.get_by_label("Find a row").last.fill("")
        assert all(row.is_visible() for row in rows.all())
        assert said.inner_text() == ""
        seen.clean()


def test_another_objective_changes_the_figures(browser, real):
    with opened(browser, f"{real.url}/live/performance") as seen:
        page = seen.ready()
        before = page.inner_text(".cards")
        page.fill("input[name=slo_s]", "2")
        page.press("input[name=slo_s]", "Enter")
        page.wait_for_url("**slo_s=2*", timeout=60_000)
        seen.ready()
        assert page.inner_text(".cards") != before
        assert "slo_s 2" in page.inner_text(".facts")
        seen.clean()


@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "phone"])
def test_the_index_names_every_question(browser, real, size):
    with opened(browser, real.url + "/", size) as seen:
        assert seen.page.locator(".entry").count() == len(list((ROOT / "notebooks").glob("*.ipynb")))
        assert seen.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        seen.clean()


def test_the_notebooks_own_pictures_are_in_the_report(browser, real_runs):
    for name in NAMES:
        with opened(browser, f"{run_of(real_runs, name).as_uri()}/report.html") as seen:
            page = seen.ready()
            page.click(".notebook > summary")
            cells = page.locator(".cell .picture").count()
            assert cells >= 2
            page.wait_for_function(
                f"document.querySelectorAll('.cell .picture.drawn').length === {cells}", timeout=20_000
            )
            page.wait_for_timeout(300)
            assert all(page.evaluate(BLANK))
            seen.clean()


def test_the_screenshot_of_the_readme(browser, real, tmp_path):
    """A wide light page and a dark phone beside it, small enough to be read quickly."""
    from PIL import Image

    shots = []
    for name, size, scheme in (("quality", (1280, 1500), "light"), ("performance", (390, 1100), "dark")):
        with opened(browser, f"{real.url}/{name}/", size, scheme) as seen:
            page = seen.ready()
            page.wait_for_timeout(500)
            shot = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
            shots.append(shot.resize((shot.width * 3 // 4, shot.height * 3 // 4), Image.Resampling.LANCZOS))
    wide, phone = shots
    edge, gap = 24, 32
    picture = Image.new("RGB", (wide.width + phone.width + 2 * edge + gap, wide.height + 2 * edge), "#dfe4ea")
    picture.paste(wide, (edge, edge))
    picture.paste(phone, (edge + wide.width + gap, edge))
    path = ROOT / "docs" / "screenshot.png" if os.environ.get("WORKBENCH_SCREENSHOT") else tmp_path / "screenshot.png"
    path.parent.mkdir(exist_ok=True)
    picture.quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)
    assert path.stat().st_size < 400_000
