"""The page of the preparation on its messy example: whole on wide and small screens, live as published."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.apps.browsing import BLANK, PHONE, WIDE, opened
from tests.apps.conftest import Served

pytestmark = [pytest.mark.pages, pytest.mark.slow]
ROOT = Path(__file__).parents[2]


def run(folder: Path):
    from workbench.apps.report import write_report
    from workbench.runs.execute import run_notebook

    with contextlib.chdir(folder):
        book = ROOT / "notebooks" / "prepare.ipynb"
        return run_notebook(book, {"table": "messy"}, folder / "runs", report=write_report)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from workbench.tables.flow_example import messy

    folder = tmp_path_factory.mktemp("prepare")
    messy(folder / "messy")
    record = run(folder)
    assert record.status == "good", record.error
    assert record.told["report"] == "good", record.told.get("report_message")
    return folder


@pytest.fixture(scope="module")
def served(folder: Path) -> Iterator[Served]:
    server = Served(folder / "runs", ROOT / "notebooks")
    yield server
    server.stop()


@pytest.mark.parametrize(("size", "scheme"), [(WIDE, "light"), (PHONE, "dark")], ids=["wide", "phone"])
def test_the_page_is_whole(browser, served, size, scheme):
    with opened(browser, f"{served.url}/prepare/", size, scheme) as seen:
        page = seen.ready()
        page.wait_for_timeout(300)
        assert page.locator("main > .section .picture").count() == 5
        assert all(page.evaluate(BLANK)[:5])
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        assert "1164" in page.locator(".cards").inner_text().replace("\u202f", "").replace("\u2009", "").replace(
            " ", ""
        )
        assert "workbench rollback messy.prepared/prepared" in page.inner_text("main")
        seen.clean()


def test_the_live_page_shows_what_the_published_one_shows(browser, served):
    with opened(browser, f"{served.url}/prepare/") as seen:
        published = seen.ready().inner_text(".cards")
    with opened(browser, f"{served.url}/live/prepare") as seen:
        page = seen.ready()
        page.wait_for_timeout(300)
        assert page.inner_text(".cards") == published
        assert all(page.evaluate(BLANK))
        seen.clean()


def test_no_value_of_the_logs_is_in_the_run(folder):
    """Neither a mail address nor a card number stands in any file that the run left."""
    for path in (folder / "runs" / "prepare").rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert b"@example.org" not in content, path.name
            assert b"4111 1111" not in content, path.name
