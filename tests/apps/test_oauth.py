"""Sign-in by a provider, with Panel's own machinery and a small provider on loopback."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlencode, urlsplit

import pytest

from tests.apps.asking import Answer, Asking, serving
from workbench.apps.signin import COOKIE
from workbench.cli import main

KEY, SECRET = "this-site", "known to the provider too"
CLAIMS: dict[str, dict[str, Any]] = {
    "ana": {"email": "ana@example.org", "email_verified": True},
    "ANA": {"email": "Ana@Example.org"},
    "vera": {"email": "vera@example.org"},
    "eve": {"email": "eve@example.org"},
    "mask": {"email": "ana@example.org", "email_verified": False},
    "otto": {"email": "otto"},
    "none": {"sub": "17"},
    "script": {"email": "<script>alert(1)</script>"},
}


class Provider(BaseHTTPRequestHandler):
    """Sends everybody who asks back with a code, and tells for the code who it was; `way` is how it tells."""

    way = "userinfo"

    def log_message(self, *words: Any) -> None:
        pass

    def answer(self, told: Any, status: int = 200) -> None:
        body = json.dumps(told).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        given = {name: form.get(name, [""])[0] for name in ("client_id", "client_secret", "code", "redirect_uri")}
        right = given["client_id"] == KEY and given["client_secret"] == SECRET and given["code"] in CLAIMS
        if not right or not given["redirect_uri"].endswith("/ops/-/oauth"):
            self.answer({"error": "invalid_grant"}, 400)
            return
        told = {"access_token": given["code"], "token_type": "Bearer", "expires_in": 60}
        if self.server.way == "id_token":  # type: ignore[attr-defined]
            part = base64.urlsafe_b64encode(json.dumps(CLAIMS[given["code"]]).encode()).decode().rstrip("=")
            told["id_token"] = f"e30.{part}.c2ln"
        self.answer(told)

    def do_GET(self) -> None:
        code = self.headers.get("Authorization", "").removeprefix("Bearer ")
        self.answer(CLAIMS.get(code, {}), 200 if code in CLAIMS else 401)


@pytest.fixture(scope="module", params=["userinfo", "id_token"])
def url(runs: Path, notebooks: Path, tmp_path_factory, request) -> Iterator[str]:
    provider = ThreadingHTTPServer(("127.0.0.1", 0), Provider)
    provider.way = request.param  # type: ignore[attr-defined]
    threading.Thread(target=provider.serve_forever, daemon=True).start()
    there = f"http://127.0.0.1:{provider.server_port}"
    users = tmp_path_factory.mktemp("oauth") / "users.json"
    for words in (
        ["ana@example.org", "--role", "admin"],
        ["vera@example.org", "--role", "none", "--notebook", "tides", "viewer"],
    ):
        assert main(["users", "add", *words, "--oauth", "--users", str(users)]) == 0
    told = {"KEY": KEY, "SECRET": SECRET, "AUTHORIZE_URL": there + "/authorize", "TOKEN_URL": there + "/token"}
    environment = {f"PANEL_OAUTH_{name}": value for name, value in {**told, "USER_URL": there + "/userinfo"}.items()}
    options = ("--users", str(users), "--oauth", "generic", "--prefix", "/ops")
    with serving(runs, notebooks, *options, **environment) as served:
        yield served.removesuffix("/ops")
    provider.shutdown()
    provider.server_close()


def asked(reader: Asking, following: str = "/ops/waves/") -> dict[str, str]:
    """What the provider is asked when somebody wants to sign in."""
    answer = reader.get(f"/ops/-/oauth?next={quote(following, safe='')}")
    assert answer.status == 302
    told = {name: values[0] for name, values in parse_qs(urlsplit(answer.location).query).items()}
    assert urlsplit(answer.location).path == "/authorize"
    return told


def back(reader: Asking, **told: str) -> Answer:
    """What the site says to somebody whom the provider has sent back."""
    return reader.get(f"/ops/-/oauth?{urlencode(told)}")


def trail(url: str) -> list[str]:
    ana = Asking(url)
    back(ana, code="ana", state=asked(ana)["state"])
    return ana.get("/ops/-/audit").text.split("<tr>")


def test_whom_the_provider_names_is_signed_in_with_their_role(url):
    ana = Asking(url)
    door = ana.get("/ops/waves/")
    assert (door.status, "/ops/-/sign-in?next=" in door.location) == (302, True)
    assert 'href="/ops/-/oauth' in ana.get(door.location).text
    told = asked(ana)
    assert told["client_id"] == KEY
    assert told["response_type"] == "code"
    assert told["redirect_uri"] == f"{url}/ops/-/oauth"
    assert SECRET not in json.dumps(ana.cookies)
    answer = back(ana, code="ana", state=told["state"])
    assert (answer.status, answer.location) == (302, "/ops/waves/")
    assert COOKIE in ana.cookies
    assert not {"user", "access_token", "id_token", "refresh_token"} & set(ana.cookies), (
        "what the provider gave stays here"
    )
    assert "Waves" in ana.get("/ops/waves/").text
    assert ana.get("/ops/live/waves").status == 200
    assert ana.get("/ops/-/audit").status == 200, "an admin"
    token = ana.token("/ops/")
    assert ana.post("/ops/-/sign-out", {"_xsrf": token}).status == 303
    assert ana.get("/ops/waves/").status == 302


def test_a_role_is_that_of_the_users_file_whatever_the_spelling(url):
    ana, vera = Asking(url), Asking(url)
    assert back(ana, code="ANA", state=asked(ana)["state"]).status == 302
    assert ana.get("/ops/-/audit").status == 200
    assert back(vera, code="vera", state=asked(vera)["state"]).status == 302
    assert vera.get("/ops/-/audit").status in (403, 404)
    assert vera.get("/ops/waves/").status == 404
    assert "How high are the waves" not in vera.get("/ops/live/waves").text


@pytest.mark.parametrize(
    ("code", "written"),
    [
        ("eve", "eve@example.org</td>"),
        ("mask", "has not verified this address"),
        ("otto", "otto</td>"),
        ("none", "–</td>"),
        ("script", "&lt;script&gt;"),
    ],
)
def test_who_is_no_user_or_no_verified_one_stays_outside(url, code, written):
    reader = Asking(url)
    answer = back(reader, code=code, state=asked(reader)["state"])
    assert answer.status in (401, 403)
    assert "Not signed in" in answer.text
    assert "<script>alert" not in answer.text
    assert COOKIE not in reader.cookies
    assert reader.get("/ops/waves/").status == 302
    assert any("Refused" in line and written in line for line in trail(url)), "and it is in the audit trail"


def test_an_answer_that_this_browser_did_not_ask_for_is_refused(url):
    """Somebody else's code would sign this browser in as somebody else."""
    reader, other = Asking(url), Asking(url)
    state = asked(other)["state"]
    for told in (
        {"code": "ana"},
        {"code": "ana", "state": ""},
        {"code": "ana", "state": state},
        {"code": "ana", "state": "x" * 5000},
        {"next": f"?code=ana&state={state}"},
        {"next": "?code=ana&state="},
    ):
        assert back(reader, **told).status in (302, 401), told
        assert COOKIE not in reader.cookies, told
    assert back(other, code="ana", state=state[:-2] + "xx").status == 401
    assert COOKIE not in other.cookies
    fresh = Asking(url)
    state = asked(fresh)["state"]
    assert back(fresh, code="ana", state=state).status == 302
    again = Asking(url)
    assert back(again, code="ana", state=state).status == 401, "a state is for the browser that has its cookie"


def test_nobody_is_sent_elsewhere_afterwards(url):
    for following in ("https://evil.example/", "//evil.example", "/\\evil.example", "/other/", "/ops/-/sign-out"):
        reader = Asking(url)
        answer = back(reader, code="ana", state=asked(reader, following)["state"])
        assert (answer.status, answer.location) == (302, "/ops/"), following


def test_what_the_provider_says_of_an_error_is_not_repeated(url):
    reader = Asking(url)
    for told in (
        {"error": "access_denied", "error_description": "<b>no</b>"},
        {"error": "x\r\nSet-Cookie: a=b", "error_description": "y" * 10_000},
        {"code": "nobody", "state": asked(reader)["state"]},
    ):
        answer = back(reader, **told)
        assert answer.status in (400, 401, 500)
        assert "did not say who you are" in answer.text
        assert "<b>no" not in answer.text
        assert "a" not in reader.cookies
        assert COOKIE not in reader.cookies
