"""Who gets in: users and their file, sessions and their end, forms, attempts, roles, the audit trail, sockets."""

from __future__ import annotations

import json
import stat
import threading
from pathlib import Path

import pytest

from tests.apps.asking import Asking, hang_up, page_token, serving, socket
from workbench.apps.audit import Audit
from workbench.apps.roles import Reader
from workbench.apps.server import make_server
from workbench.apps.signin import COOKIE, XSRF_COOKIE, make_sign_in, safe_next
from workbench.apps.signin_state import PAIR, State
from workbench.apps.users import User, add_user, hashed, read_users, remove_user, right, write_users
from workbench.cli import main
from workbench.errors import WorkbenchError

WORD = "a long enough password"
PEOPLE = {
    "ana": ("admin", {}),
    "otto": ("operator", {}),
    "vera": ("viewer", {"later": "none"}),
    "nina": ("none", {"later": "viewer"}),
}


@pytest.fixture(scope="module")
def users(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("settings") / "users.json"
    one = hashed(WORD)  # hashed once: it takes a quarter of a second
    write_users(path, {n: User(n, role, books, one, "stamp") for n, (role, books) in PEOPLE.items()})
    return path


@pytest.fixture(scope="module")
def url(runs: Path, notebooks: Path, users: Path):
    with serving(runs, notebooks, "--users", str(users)) as address:
        yield address


@pytest.fixture(autouse=True)
def _no_attempts(users: Path):
    """Every test starts without attempts that failed."""
    users.with_name(f"{users.name}.state").unlink(missing_ok=True)


def signed_in(url: str, name: str) -> Asking:
    reader = Asking(url)
    assert reader.sign_in(name, WORD).status == 303
    return reader


def trail(users: Path) -> list[dict]:
    return [json.loads(line) for line in (users.parent / "audit.jsonl").read_text().splitlines()]


# --- the file of users -------------------------------------------------------------------------------------------------


def test_the_file_of_users_is_private_and_holds_no_password(tmp_path):
    path = tmp_path / "settings" / "users.json"
    assert add_user(path, "ana", "admin", {"cost": "viewer"}, WORD) is True
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert WORD not in path.read_text()
    ana = read_users(path)["ana"]
    assert (ana.role, ana.notebooks) == ("admin", {"cost": "viewer"})
    assert right(WORD, ana.password)
    assert not right(WORD + " ", ana.password)
    assert add_user(path, "ana", "viewer") is False
    kept = read_users(path)["ana"]
    assert (kept.role, kept.password, kept.stamp) == ("viewer", ana.password, ana.stamp)
    remove_user(path, "ana")
    assert read_users(path) == {}
    with pytest.raises(WorkbenchError, match="There is no user 'ana'"):
        remove_user(path, "ana")


def test_the_same_password_is_stored_in_two_ways():
    assert hashed(WORD) != hashed(WORD)


def test_a_file_that_others_read_is_refused(tmp_path):
    path = tmp_path / "users.json"
    write_users(path, {"ana": User("ana", "admin")})
    path.chmod(0o640)
    with pytest.raises(WorkbenchError, match="chmod 600"):
        read_users(path)


@pytest.mark.parametrize("text", ["{", "[]", '{"users": [1]}', '{"users": [{"name": "a", "role": "king"}]}'])
def test_a_file_that_is_none_is_refused(tmp_path, text):
    path = tmp_path / "users.json"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(WorkbenchError):
        read_users(path)


def test_users_added_at_once_are_all_there(tmp_path):
    path = tmp_path / "users.json"
    threads = [threading.Thread(target=add_user, args=(path, f"user{n}", "viewer", {}, "")) for n in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert len(read_users(path)) == 8


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (("a b", "viewer", {}, WORD), "no name of a user"),
        (("ana", "king", {}, WORD), "no role 'king'"),
        (("ana", "viewer", {"cost": "king"}, WORD), "no role 'king'"),
        (("ana", "viewer", {}, "short"), "10 to 1,024 characters"),
        (("ana", "viewer", {}, None), "no password to keep"),
    ],
)
def test_users_that_cannot_be(tmp_path, given, told):
    with pytest.raises(WorkbenchError, match=told):
        add_user(tmp_path / "users.json", *given)


def test_the_commands_of_users(tmp_path, monkeypatch, capsys):
    path = str(tmp_path / "users.json")
    assert main(["users", "add", "ana@example.org", "--oauth", "--role", "admin", "--users", path]) == 0
    assert main(["users", "add", "vera", "--oauth", "--notebook", "cost", "operator", "--users", path]) == 0
    assert main(["users", "list", "--users", path]) == 0
    told = capsys.readouterr().out
    assert "ana@example.org          admin     provider" in told
    assert "vera                     viewer    provider  cost operator" in told
    assert main(["users", "remove", "vera", "--users", path]) == 0
    assert list(read_users(Path(path))) == ["ana@example.org"]
    assert main(["users", "remove", "anna@example.org", "--users", path]) == 2
    assert "did you mean 'ana@example.org'" in capsys.readouterr().err


# --- who may what ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("address", ["0.0.0.0", "192.168.1.7"])
def test_an_address_that_others_reach_wants_sign_in(tmp_path, address):
    with pytest.raises(WorkbenchError, match="workbench users add NAME"):
        make_server(tmp_path, tmp_path, address)
    with pytest.raises(WorkbenchError, match="'wb.example.org' can be reached"):
        make_server(tmp_path, tmp_path, origins=["https://wb.example.org"])


def test_sign_in_without_users_is_refused(tmp_path):
    with pytest.raises(WorkbenchError, match="has no users"):
        make_sign_in(tmp_path / "users.json")
    with pytest.raises(WorkbenchError, match="no provider 'mine'"):
        make_sign_in(tmp_path / "users.json", oauth="mine")
    with pytest.raises(WorkbenchError, match="PANEL_OAUTH_KEY"):
        make_sign_in(tmp_path / "users.json", oauth="github")


def test_nobody_reads_without_signing_in(url, runs):
    run = next((runs / "waves").iterdir()).name
    for path in (
        "/",
        "/waves/",
        f"/waves/{run}/",
        f"/waves/{run}/run.json",
        f"/waves/{run}/report.html",
        "/live/waves",
    ):
        answer = Asking(url).get(path)
        assert answer.status == 302, path
        assert answer.location.startswith("/-/sign-in?next="), path
        assert "Waves" not in answer.text
    assert Asking(url).get("/live/waves/metadata").status == 404
    assert Asking(url).get("/live/waves/autoload.js?bokeh-autoload-element=x").status == 404


def test_signing_in_and_out(url, users):
    reader = Asking(url)
    answer = reader.sign_in("ana", WORD, "/waves/?x=1")
    assert (answer.status, answer.location) == (303, "/waves/?x=1")
    (cookie,) = [line for line in answer.headers.get_all("Set-Cookie") if line.startswith(COOKIE)]
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    page = reader.get("/waves/")
    assert page.status == 200
    assert "How high are the waves" in page.text
    assert ">ana</span>" in page.text
    kept = dict(reader.cookies)
    answer = reader.post("/-/sign-out", {"_xsrf": reader.token("/")})
    assert (answer.status, answer.location) == (303, "/-/sign-in")
    assert COOKIE not in reader.cookies
    assert Asking(url, kept).get("/").status == 302, "a cookie kept from before is over too"
    assert [(line["event"], line["user"], line["good"]) for line in trail(users)[-2:]] == [
        ("sign-in", "ana", True), ("sign-out", "ana", True)
    ]  # fmt: skip


def test_the_cookie_is_for_https_only_where_https_is_used(runs, notebooks, users):
    options = ("--users", str(users), "--behind-proxy", "--origin", "https://ops.example.org")
    with serving(runs, notebooks, *options) as address:
        told = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "203.0.113.9", "Host": "ops.example.org"}
        reader = Asking(address, headers=told)
        door = reader.get("/-/sign-in")
        answer = reader.sign_in("ana", WORD)
        cookies = [*door.headers.get_all("Set-Cookie"), *answer.headers.get_all("Set-Cookie")]
        assert {line.partition("=")[0] for line in cookies} == {COOKIE, XSRF_COOKIE}
        assert all("Secure" in line and "HttpOnly" in line for line in cookies)
    assert trail(users)[-1]["address"] == "203.0.113.9"


def test_a_header_of_a_proxy_is_not_believed_unasked(url, users):
    Asking(url, headers={"X-Forwarded-For": "203.0.113.9"}).sign_in("ana", WORD)
    assert trail(users)[-1]["address"] == "127.0.0.1"


def test_a_wrong_name_and_a_wrong_password_look_the_same(url, users):
    answers = [Asking(url).sign_in(name, word) for name, word in (("ana", "wrong"), ("nobody", "wrong"))]
    assert [answer.status for answer in answers] == [401, 401]
    texts = [answer.text.partition('role="alert"')[2].partition("</p>")[0] for answer in answers]
    assert texts[0] == texts[1] != ""
    assert [(line["user"], line["good"]) for line in trail(users)[-2:]] == [("ana", False), ("nobody", False)]
    assert "wrong" not in (users.parent / "audit.jsonl").read_text().replace("wrong name or password", "")


def test_a_name_that_nobody_has_costs_as_much_as_a_wrong_password(monkeypatch):
    asked = []
    monkeypatch.setattr("workbench.apps.users._scrypt", lambda *given: asked.append(given[2:]) or b"")
    stored = f"scrypt${2**15}$8$3${'11' * 16}${'22' * 32}"
    assert not right("x", None)
    assert not right("x", "")
    assert not right("x", stored)
    assert asked == [(2**15, 8, 3)] * 3


def test_attempts_are_throttled_also_with_the_right_password(url, users):
    for _ in range(PAIR):
        assert Asking(url).sign_in("ana", "wrong").status == 401
    answer = Asking(url).sign_in("ANA", WORD)
    assert answer.status == 429
    assert 0 < int(answer.headers["Retry-After"]) <= 300
    assert COOKIE not in answer.headers.get("Set-Cookie", "")
    assert trail(users)[-1]["why"] == "throttled"
    assert Asking(url).sign_in("otto", WORD).status == 303, "others may still sign in"


def test_throttling_by_address_and_by_name(tmp_path):
    now = [0.0]
    state = State(tmp_path / "state", lambda: now[0])
    assert [state.begin(f"user{n}", "203.0.113.1") for n in range(20)] == [0.0] * 20
    assert state.begin("another", "203.0.113.1") > 0
    assert state.begin("another", "203.0.113.2") == 0
    waits = [state.begin("ana", f"198.51.100.{n}") for n in range(51)]
    assert waits[:50] == [0.0] * 50
    assert waits[50] > 0
    now[0] += 301
    assert state.begin("ana", "203.0.113.1") == 0
    assert state.begin("bea", "2001:db8::1") == 0
    for n in range(2, 6):
        state.begin("bea", f"2001:db8::{n}")
    assert state.begin("bea", "2001:db8::9") > 0, "one network of IPv6 is one address"


def test_attempts_made_at_once_do_not_pass_together(tmp_path):
    state = State(tmp_path / "state")
    waits: list[float] = []
    threads = [threading.Thread(target=lambda: waits.append(state.begin("ana", "203.0.113.1"))) for _ in range(12)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert sum(wait == 0 for wait in waits) == PAIR


def test_forms_of_other_sites_are_refused(url):
    reader = signed_in(url, "ana")
    token = reader.token("/")
    assert reader.post("/-/sign-out", {}).status == 403
    assert reader.post("/-/sign-out", {"_xsrf": "2|aaaaaaaa|00|1"}).status == 403
    assert reader.post("/-/sign-out", {"_xsrf": token}, Origin="https://evil.example").status == 403
    assert reader.post("/-/sign-out", {"_xsrf": token}, Sec_Fetch_Site="cross-site").status == 403
    assert reader.get("/-/sign-out").status == 405
    assert reader.get("/").status == 200, "nothing of it has signed anybody out"
    assert Asking(url).post("/-/sign-in", {"name": "ana", "password": WORD}).status == 403


def test_a_cookie_that_we_did_not_sign_is_nothing(url, users, tmp_path):
    signin = make_sign_in(users)
    other = make_sign_in(users.parent / "other.json") if (users.parent / "other.json").exists() else None
    assert other is None
    value, _ = signin.cookie(read_users(users)["ana"])
    assert Asking(url, {COOKIE: value}).get("/").status == 200
    for forged in (
        value[:-1] + ("0" if value[-1] != "0" else "1"),
        "x",
        "2|1:0|10:1|1:a|2:e30=|00",
        value.replace("|", ":"),
    ):
        assert Asking(url, {COOKIE: forged}).get("/").status == 302
    name = value.split("|")
    assert Asking(url, {COOKIE: "|".join([*name[:4], name[4][:-4] + "AAAA", name[5]])}).get("/").status == 302


def test_a_session_is_over_after_its_hours(users):
    signin = make_sign_in(users, hours=2)
    ana = read_users(users)["ana"]
    import time

    fresh, _ = signin.cookie(ana, time.time() - 2 * 3600 + 60)
    old, _ = signin.cookie(ana, time.time() - 2 * 3600 - 60)
    assert signin.reader(fresh).name == "ana"
    assert signin.reader(old) is None


def test_who_is_removed_or_changed_is_another_one_at_once(url, users):
    before = read_users(users)
    reader = signed_in(url, "otto")
    try:
        write_users(users, {**before, "otto": User("otto", "none", {}, before["otto"].password, "stamp")})
        assert "Waves" not in reader.get("/").text
        assert reader.get("/waves/").status == 404
        write_users(users, {**before, "otto": User("otto", "operator", {}, before["otto"].password, "another")})
        assert reader.get("/").status == 302, "a new password ends the sessions of the old one"
        write_users(users, {name: one for name, one in before.items() if name != "otto"})
        assert reader.get("/").status == 302
    finally:
        write_users(users, before)
    assert reader.get("/").status == 200


def test_a_notebook_that_is_not_yours_is_not_there(url, runs):
    run = next((runs / "waves").iterdir()).name
    nina, vera = signed_in(url, "nina"), signed_in(url, "vera")
    assert "Waves" not in nina.get("/").text
    assert "Still to come" in nina.get("/").text
    for path in ("/waves/", f"/waves/{run}/", f"/waves/{run}/run.json", f"/waves/{run}/pictures.json", "/live/waves"):
        answer = nina.get(path)
        assert answer.status == 404, path
        assert "How high" not in answer.text
    assert "waves" not in nina.get("/wave/").text.replace("/wave/", ""), "no near name either"
    assert "Still to come" not in vera.get("/").text
    assert vera.get("/later/").status == 404
    assert vera.get("/waves/").status == 200


def test_roles_are_steps():
    steps = [Reader("x", role) for role in ("none", "viewer", "operator", "admin")]
    assert [[one.may(role) for role in ("viewer", "operator", "admin")] for one in steps] == [
        [False] * 3, [True, False, False], [True, True, False], [True] * 3
    ]  # fmt: skip


def test_the_audit_trail_is_for_admins(url, users):
    assert Asking(url).get("/-/audit").status == 302
    answer = signed_in(url, "otto").get("/-/audit")
    assert answer.status == 403
    assert "sign-in" not in answer.text
    assert trail(users)[-1] == {**trail(users)[-1], "event": "audit", "user": "otto", "good": False}
    answer = signed_in(url, "ana").get("/-/audit")
    assert answer.status == 200
    assert "sign-in" in answer.text
    assert stat.S_IMODE((users.parent / "audit.jsonl").stat().st_mode) == 0o600
    assert stat.S_IMODE((users.parent / "users.json.key").stat().st_mode) == 0o600


def test_what_people_type_stays_one_line_of_the_trail(tmp_path):
    audit = Audit(tmp_path / "audit.jsonl")
    audit.tell("sign-in", user='a\n{"event": "forged"}' + "x" * 500, address="::1", good=False)
    (line,) = (tmp_path / "audit.jsonl").read_text().splitlines()
    assert len(json.loads(line)["user"]) == 200
    assert [one["event"] for one in audit.last()] == ["sign-in"]


# --- live pages --------------------------------------------------------------------------------------------------------


def test_the_socket_of_a_live_page_is_for_its_reader(url):
    ana, otto = signed_in(url, "ana"), signed_in(url, "otto")
    page = ana.get("/live/waves")
    assert page.status == 200
    for name in (*ana.cookies.values(), "workbench-session"):
        assert name not in page.text, "a page carries no cookie that scripts may not read"
    token = page_token(page.text)
    status, said = socket(url, "/live/waves/ws", token, ana.cookies)
    assert (status, said[0]["msgtype"]) == (101, "ACK")
    assert socket(url, "/live/waves/ws", token, {})[0] == 403
    assert socket(url, "/live/waves/ws", token, {COOKIE: "2|1:0|forged"})[0] == 403
    assert socket(url, "/live/waves/ws", token, ana.cookies, Origin="https://evil.example")[0] == 403
    assert socket(url, "/live/waves/ws", token, otto.cookies)[1] == [{"closed": 4403}]
    assert "closed" in socket(url, "/live/waves/ws", token[:-2] + "xx", ana.cookies)[1][0], "a token we did not sign"


def test_a_session_cannot_be_chosen_by_the_address(url):
    ana = signed_in(url, "ana")
    page = ana.get("/live/waves?bokeh-session-id=mine", Bokeh_Session_Id="mine")
    assert page.status == 200
    assert '"mine"' not in page.text


def test_a_socket_closes_when_its_reader_has_signed_out(url):
    import asyncio

    from tornado.httpclient import HTTPRequest
    from tornado.websocket import websocket_connect

    ana = signed_in(url, "ana")
    token = page_token(ana.get("/live/waves").text)
    cookies = "; ".join(f"{name}={value}" for name, value in ana.cookies.items())
    out = ana.token("/")

    async def talk() -> int | None:
        request = HTTPRequest(url.replace("http", "ws") + "/live/waves/ws", headers={"Cookie": cookies, "Origin": url})
        joined = await websocket_connect(request, subprotocols=["bokeh", token])
        for _ in range(3):
            await asyncio.wait_for(joined.read_message(), 10)
        await asyncio.get_running_loop().run_in_executor(None, ana.post, "/-/sign-out", {"_xsrf": out})
        await joined.write_message('{"msgtype": "PULL-DOC-REQ", "msgid": "1"}')
        while await asyncio.wait_for(joined.read_message(), 10) is not None:
            pass
        hang_up(joined)
        return joined.close_code

    assert asyncio.run(talk()) == 4401


@pytest.mark.parametrize(
    "asked",
    [
        "https://evil.example/",
        "//evil.example/",
        "/\\evil.example",
        "/\t/evil.example",
        "javascript:alert(1)",
        "/a\r\nX: y",
        "evil",
        "/-/sign-out",
    ],
)
def test_signing_in_leads_nowhere_else(asked):
    assert safe_next(asked) == "/"
    assert safe_next("/cost/", "/wb") == "/wb/"
    assert safe_next("/wb/cost/", "/wb") == "/wb/cost/"
