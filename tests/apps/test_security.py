"""Hostile addresses, values and requests against a live server: nothing of them reaches a path, a shell, SQL or Python."""

from __future__ import annotations

import http.client
import json
import shutil
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest

from tests.apps.asking import Asking, serving
from workbench.apps.users import User, hashed, write_users

WORD = "a long enough password"


def hostile(canary: Path) -> list[str]:
    """What people try: every one would make the canary, or show a file, if it were obeyed."""
    return [
        f"__import__('os').system('touch {canary}')",
        f"$(touch {canary})",
        f"`touch {canary}`",
        f"; touch {canary};",
        f"| touch {canary}",
        f"1.0\nopen({str(canary)!r}, 'w')",
        f"{{{{ cycler.__init__.__globals__.os.popen('touch {canary}').read() }}}}",
        "${jndi:ldap://localhost/a}",
        "1; DROP TABLE attempts; --",
        "' OR '1'='1",
        "../../../../etc/passwd",
        "..\\..\\..\\etc\\passwd",
        "/etc/passwd",
        "file:///etc/passwd",
        "secret:env:HOUSE_KEY",
        "secret:file:/etc/passwd",
        "<script>document.title='hit'</script>",
        "\" onmouseover=\"document.title='hit'",
        "nan",
        "inf",
        "1e999",
        "9" * 199,
        "9" * 5_000,
        "\x00",
        "\ud83d\ude00".encode("utf-16", "surrogatepass").decode("utf-16"),
    ]


@pytest.fixture(scope="module")
def url(runs: Path, notebooks: Path):
    with serving(runs, notebooks, HOUSE_KEY="the-key-of-the-house") as address:
        yield address


def quiet(answer, value: str, canary: Path) -> None:
    assert answer.status in (400, 403, 404), (value[:80], answer.status)
    assert "root:x:" not in answer.text
    assert "the-key-of-the-house" not in answer.text
    assert "Traceback" not in answer.text
    assert "<script>document" not in answer.text
    assert 'onmouseover="document' not in answer.text
    assert not canary.exists(), value


def test_values_in_an_address_are_values(url, tmp_path):
    canary = tmp_path / "canary"
    reader = Asking(url)
    for value in hostile(canary):
        given = quote(value, safe="")
        for query in (f"slo_ms={given}", f"table={given}", f"{given}=1", f"slo_ms=5&slo_ms={given}"):
            quiet(reader.get(f"/live/waves?{query}"), value, canary)
    assert reader.get("/live/waves?slo_ms=500").status == 200, "and a good value is taken"


def test_names_in_an_address_are_looked_up(url, runs, tmp_path):
    run, canary = next((runs / "waves").iterdir()).name, tmp_path / "canary"
    reader = Asking(url)
    for value in hostile(canary):
        if len(value) > 1_000:
            continue
        given = quote(value, safe="")
        for path in (
            f"/{given}/",
            f"/waves/{given}/",
            f"/waves/{run}/{given}",
            f"/live/{given}",
            f"/live/waves/{given}",
        ):
            quiet(reader.get(path), value, canary)


@pytest.mark.parametrize(
    "path",
    [
        "//etc/passwd", "/../../etc/passwd", "/waves/../../../etc/passwd", "/static/../../../../etc/passwd",
        "/%2e%2e/%2e%2e/%2e%2e/etc/passwd", "/%252e%252e%252fetc%252fpasswd", "/assets/%2e%2e/page.py", "/.kernel.json/",
        "/waves/.20200101T000000Z.partial/", "/%ff%fe/", "/waves/%00/", "/static/js/../../../../app.py", "/" + "a" * 3_000,
        "/components/x/y/../../../../etc/passwd", "/-/audit", "/-/oauth", "/-/sign-out",
    ],
)  # fmt: skip
def test_paths_lead_nowhere(url, path):
    told = urlsplit(url)
    connection = http.client.HTTPConnection(told.hostname, told.port, timeout=20)
    connection.putrequest("GET", path, skip_accept_encoding=True)  # as it is, without a client that tidies it
    connection.endheaders()
    answer = connection.getresponse()
    text = answer.read().decode(errors="replace")
    connection.close()
    assert answer.status in (302, 400, 403, 404, 405), answer.status
    if answer.status == 302:  # to the same name with a slash, here
        assert answer.headers["Location"].startswith("/")
        assert not answer.headers["Location"].startswith(("//", "/\\"))
    assert "root:x:" not in text
    assert "import " not in text


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_nothing_is_uploaded(url, runs, method):
    run = next((runs / "waves").iterdir())
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    reader = Asking(url)
    for path in (
        "/",
        "/waves/",
        f"/waves/{run.name}/run.json",
        f"/waves/{run.name}/new.html",
        "/live/waves",
        "/health",
    ):
        answer = reader.ask(method, path, "status=good")
        assert answer.status in (403, 404, 405), (path, answer.status)
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before


def test_a_body_is_small(url):
    connection = http.client.HTTPConnection(urlsplit(url).hostname, urlsplit(url).port, timeout=20)
    connection.putrequest("POST", "/-/sign-in")
    connection.putheader("Content-Length", str(10**9))
    connection.endheaders()
    with suppress(http.client.HTTPException, ConnectionError):  # closed without a word is an answer too
        assert connection.getresponse().status in (400, 413)
    connection.close()
    assert Asking(url).get("/health").status == 200


def test_a_link_out_of_the_runs_is_not_followed_to_other_files(runs, notebooks, tmp_path):
    folder = tmp_path / "runs"
    shutil.copytree(runs, folder)
    run = next((folder / "waves").iterdir())
    (run / "notes.txt").write_text("root:x:0")
    with serving(folder, notebooks) as url:
        for name in ("notes.txt", "results", ".reserve", "results/..", "%2e"):
            assert Asking(url).get(f"/waves/{run.name}/{name}").status == 404


def test_a_run_whose_notebook_was_changed_is_shown_but_not_executed(runs, notebooks, tmp_path):
    folder, canary = tmp_path / "runs", tmp_path / "canary"
    shutil.copytree(runs, folder)
    path = next((folder / "waves").iterdir()) / "notebook.ipynb"
    book = json.loads(path.read_text())
    book["cells"][1]["source"] = f"open({str(canary)!r}, 'w')"
    path.write_text(json.dumps(book))
    with serving(folder, notebooks) as url:
        assert Asking(url).get("/waves/").status == 200
        answer = Asking(url).get("/live/waves")
        assert answer.status == 400
        assert "is not the one the run has recorded" in answer.text
    assert not canary.exists()


def test_hostile_names_at_the_door(runs, notebooks, tmp_path):
    canary, users = tmp_path / "canary", tmp_path / "users.json"
    write_users(users, {"ana": User("ana", "admin", {}, hashed(WORD), "s")})
    with serving(runs, notebooks, "--users", str(users)) as url:
        for number, value in enumerate(hostile(canary)[6:18:3]):
            users.with_name("users.json.state").unlink(missing_ok=True)
            answer = Asking(url).sign_in(value, value if number % 2 else "wrong", value)
            assert answer.status == 401, value
            assert "<script>document" not in answer.text
            assert 'onmouseover="document' not in answer.text
        assert Asking(url).sign_in("ana", WORD, "//evil.example").location == "/"
    assert not canary.exists()
    assert len((tmp_path / "audit.jsonl").read_text().splitlines()) == 5
