"""The page of the preparation on its messy example: whole on wide and small screens, live as published."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.apps.asking import Asking, serving
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
        assert "1,164" in page.locator(".cards").inner_text()
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


# --- approving a version, and going back -------------------------------------------------------------------------------

WORD = "a long enough password"


@pytest.fixture(scope="module")
def desk(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path, Path]]:
    """The pages with sign-in, the audit trail, and the prepared table."""
    from workbench.apps.users import User, hashed, write_users

    users = tmp_path_factory.mktemp("settings") / "users.json"
    one = hashed(WORD)
    roles = {"otto": "operator", "vera": "viewer", "nina": "none"}
    write_users(users, {name: User(name, role, {}, one, "stamp") for name, role in roles.items()})
    with serving(folder / "runs", ROOT / "notebooks", "--users", str(users)) as url:
        yield url, users.parent / "audit.jsonl", folder / "messy.prepared" / "prepared"


def signed_in(url: str, name: str) -> Asking:
    reader = Asking(url)
    assert reader.sign_in(name, WORD).status == 303
    return reader


def newest(table: Path) -> int:
    from workbench.tables import versions

    return int(versions.history(table, 1)["version"].iloc[0])


def test_an_operator_approves_a_version_and_goes_back_to_it(browser, desk):
    from workbench.tables import open_table, versions

    url, audit, table = desk
    first = newest(table)
    with opened(browser, f"{url}/prepare/", PHONE) as seen:
        page = seen.page
        page.fill("input[name=name]", "otto")
        page.fill("input[name=password]", WORD)
        page.click("form button[type=submit]")
        seen.ready()
        assert "is not approved" in page.inner_text(".acts")
        page.click(f"text=Approve version {first}")
        page.wait_for_selector("text=is approved by otto")
        seen.ready()
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        assert open_table(table, version="approved").snapshot == first
        versions.rollback(table, first - 1)
        page.reload()
        page.click(f"text=Go back to version {first}")
        page.wait_for_selector(f"text=The newest version is {first + 2}")
        seen.clean()
    assert newest(table) == first + 2
    assert open_table(table).rows == open_table(table, version=first).rows
    told = [line for line in audit.read_text().splitlines() if '"event": "sign-in"' not in line]
    assert [('"approve"' in line, '"back"' in line, '"otto"' in line) for line in told] == [
        (True, False, True),
        (False, True, True),
    ]


def test_others_may_not_and_no_address_names_a_table(desk, folder):
    url, audit, table = desk
    before, run_name = newest(table), next((folder / "runs" / "prepare").iterdir()).name
    place = f"/-/versions/prepare/{run_name}"
    vera, nina, otto = (signed_in(url, name) for name in ("vera", "nina", "otto"))
    assert "Approve version" not in vera.get("/prepare/").text
    assert vera.post(place, {"_xsrf": vera.token("/"), "act": "back"}).status == 403
    assert '"event": "back", "user": "vera"' in audit.read_text()
    assert nina.post(place, {"_xsrf": nina.token("/"), "act": "approve"}).status == 404
    token = otto.token("/")
    assert otto.post(place, {"act": "approve"}).status == 403, "a form without its token"
    assert otto.post(place, {"_xsrf": token, "act": "approve"}, Origin="https://evil.example").status == 403
    assert otto.post(place, {"_xsrf": token, "act": "drop"}).status == 400
    assert otto.get(place).status == 405
    for run in ("..", "%2e%2e%2f%2e%2e", "%2fetc", "20990101T000000Z"):
        assert otto.post(f"/-/versions/prepare/{run}", {"_xsrf": token, "act": "back"}).status == 404
    answer = otto.post(place, {"_xsrf": token, "act": "approve", "table": "/tmp", "version": "0"})
    assert answer.status == 303
    assert Asking(url).post(place, {"act": "approve"}).status == 403
    assert newest(table) == before


def test_what_a_record_says_is_checked(tmp_path):
    from workbench.runs.approval import Made, made
    from workbench.runs.records import Record

    def record(outputs, status="good"):
        told = {"status": status, "outputs": outputs, "directory": "/work", "notebook": "prepare"}
        return Record(tmp_path / "prepare" / "20261124T000000Z", status, "prepare", told=told)

    good = {"source": "tables/clean", "version": "3"}
    assert made(record([good])) == Made("/work/tables/clean", 3)
    assert made(record([{**good, "source": "s3://logs/clean"}])) == Made("s3://logs/clean", 3)
    assert made(record([good], status="failed")) is None
    for outputs in (None, [], [good, good], ["x"], [{**good, "version": ""}], [{**good, "version": "-1"}],
                    [{**good, "source": 3}], [{**good, "version": "\u0663"}]):  # fmt: skip
        assert made(record(outputs)) is None
