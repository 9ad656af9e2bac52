"""Alerts over real servers on this machine: one an incident, retried and recorded, by webhook, mail and file."""

from __future__ import annotations

import json
import re
import socketserver
import threading
import time
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import sqlalchemy as sa

from tests.runs.conftest import stub
from workbench.errors import WorkbenchError
from workbench.runs.alerts import change_incident, deliver, finding, listed
from workbench.runs.channels import send
from workbench.runs.ledger_tables import deliveries, reading, windows
from workbench.runs.records import Record
from workbench.runs.reporting import status
from workbench.runs.schedule import Rule
from workbench.runs.scheduler import serve
from workbench.runs.times import moment_of


@contextmanager
def serving(server):
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def hook():
    """A receiver of webhooks; `refuse` is how many it answers with an error before it takes one."""

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self.server.asked += 1
            if self.server.how == "slow":
                time.sleep(0.6)
            if self.server.how == "cut":
                return
            if self.server.how == "elsewhere":
                self.send_response(302)
                self.send_header("Location", "/elsewhere")
                self.end_headers()
                return
            ready = self.server.asked > self.server.refuse
            if ready:
                self.server.taken.append((dict(self.headers), json.loads(body)))
            self.send_response(200 if ready else 503)
            self.end_headers()

        def do_GET(self):
            self.server.asked += 1
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hook)
    server.taken, server.asked, server.refuse, server.how = [], 0, 0, ""
    with serving(server):
        yield server


@pytest.fixture
def mailbox():
    class Smtp(socketserver.StreamRequestHandler):
        def handle(self):
            self.say("220 here")
            while line := self.rfile.readline().decode().strip():
                word = line.split()[0].upper()
                if word == "DATA":
                    self.say("354 go on")
                    letter = []
                    while (text := self.rfile.readline().decode().rstrip("\r\n")) != ".":
                        letter.append(text)
                    self.server.letters.append("\n".join(letter))
                self.say("221 bye" if word == "QUIT" else "250 yes")
                if word == "QUIT":
                    return

        def say(self, text):
            self.wfile.write(f"{text}\r\n".encode())

    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Smtp)
    server.letters = []
    with serving(server):
        yield server


def channels(hook, mailbox):
    return {
        "team": {
            "webhook": f"http://127.0.0.1:{hook.server_port}/hook",
            "headers": {"Authorization": "secret:env:HOOK"},
        },
        "ops": {"email": "ops@example.org", "from": "w@example.org", "smtp": f"127.0.0.1:{mailbox.server_address[1]}"},
        "log": {"file": "alerts.jsonl"},
    }


def until(s, hours):
    end = s.clock.now() + hours * 3600
    serve(s, until=lambda: s.clock.now() >= end and not s.active)


def test_one_alert_an_incident_to_all_channels_retried_and_resolved(scheduler, hook, mailbox, monkeypatch):
    monkeypatch.setenv("HOOK", "Bearer hunter2")
    hook.refuse = 2
    broken = {"now": True}
    entry = {"cron": "0 * * * *", "retries": 0, "alerts": [{"when": "failed", "to": ["team", "ops", "log"]}]}
    s = scheduler(
        {"a": entry},
        command=lambda *told: stub(0, *(["fail"] if broken["now"] else []))(*told),
        top={"deliver": channels(hook, mailbox), "link": "http://pages.example.org"},
    )
    until(s, 3.2)  # fails three times
    broken["now"] = False
    until(s, 1.0)
    assert [one["metadata"]["event_payload"]["event"] for _, one in hook.taken] == ["opened", "resolved"]
    headers, first = hook.taken[0]
    assert headers["Authorization"] == "Bearer hunter2"
    assert first["text"].startswith("*a: failed*\na (toy) failed: error: KeyError: 'x' in cell 3 (cell-3): rows['x']")
    assert "Since 2026-03-27 13:00 UTC, in 1 window; how sure: after 1 attempt" in first["text"]
    assert "\nhttp://pages.example.org/toy/" in first["text"]
    assert [letter.split("Subject: ")[1].splitlines()[0] for letter in mailbox.letters] == [
        "a: failed",
        "resolved: a: failed",
    ]
    opened, over = mailbox.letters
    (first_id,), (other_id,) = (re.findall(r"^Message-ID: (\S+)", one, re.MULTILINE) for one in (opened, over))
    assert re.fullmatch(
        r"<incident-1-[0-9a-f]{12}-opened@workbench>", first_id
    )  # a mailbox drops an id that it has seen,
    assert first_id.replace("opened", "resolved") == other_id  # so that of another ledger's first incident is another
    assert re.findall(r"^In-Reply-To: (\S+)", opened + over, re.MULTILINE) == [first_id]
    assert len(re.findall(r"^Date: \w{3}, \d+ \w{3} \d{4} ", opened + over, re.MULTILINE)) == 2
    lines = [json.loads(line)["text"] for line in (s.runs / "alerts.jsonl").read_text().splitlines()]
    assert ["alerts ack 1" in one for one in lines] == [True, False]  # what is over needs nobody
    with reading(s.engine) as c:
        rows = list(c.execute(sa.select(deliveries).order_by(deliveries.c.id)))
    assert {row.state for row in rows} == {"sent"}
    assert [row.tries for row in rows if row.channel == "team"] == [3, 1]
    assert [row.windows for row in listed(s.engine, all_of_them=True)] == [3]
    told = json.dumps([dict(row._mapping) for row in rows]) + (s.runs / "alerts.jsonl").read_text()
    assert "hunter2" not in told


def test_a_receiver_that_never_answers_is_given_up_and_that_is_recorded(scheduler, hook, mailbox, monkeypatch):
    monkeypatch.setenv("HOOK", "hunter2")
    hook.refuse = 1000
    entry = {"cron": "0 13 27 3 *", "retries": 0, "alerts": [{"when": "failed", "to": ["team", "log"]}]}
    s = scheduler({"a": entry}, command=stub(0, "fail"), top={"deliver": channels(hook, mailbox)})
    until(s, 9)
    with reading(s.engine) as c:
        rows = {row.channel: row for row in c.execute(sa.select(deliveries))}
    assert (rows["log"].state, rows["log"].tries) == ("sent", 1)
    assert (rows["team"].state, rows["team"].tries, hook.asked) == ("failed", 10, 10)
    assert "503" in rows["team"].error
    (one,) = listed(s.engine)
    assert (one.sent, one.failed) == (1, 1)


@pytest.mark.parametrize(("how", "told"), [("slow", "timed out"), ("elsewhere", "302"), ("cut", "closed")])
def test_a_receiver_that_is_slow_sends_elsewhere_or_hangs_up_has_not_taken_it(hook, monkeypatch, how, told):
    monkeypatch.setattr("workbench.runs.channels.TIMEOUT_S", 0.3)
    hook.how = how
    channel = {"webhook": f"http://127.0.0.1:{hook.server_port}/", "headers": {"X-Api-Key": "secret:env:HOOK"}}
    monkeypatch.setenv("HOOK", "hunter2")
    message = {"id": "i", "subject": "a", "text": "b"}
    with pytest.raises(WorkbenchError, match=told) as error:
        send(channel, message)
    assert "hunter2" not in str(error.value)
    assert hook.asked == 1  # nobody else was asked
    hook.how = ""
    send(channel, message)
    assert len(hook.taken) == 1


@pytest.fixture
def post():
    """A mail server that behaves as `how` says, until it has been asked `asked` times: then it takes letters."""

    class Smtp(socketserver.StreamRequestHandler):
        def handle(self):
            self.server.asked += 1
            how = self.server.how if self.server.asked <= self.server.until else ""
            if how == "silent":
                self.server.over.wait(20)
                return
            for _ in range(1000 if how == "a word at a time" else 0):
                self.say("220-go", "on")
                if self.server.over.wait(0.05):
                    return
            self.say("220", "here")
            with suppress(OSError):  # the other side has given up
                self.talk(how)

        def talk(self, how):
            while line := self.rfile.readline().decode().strip():
                word = line.split()[0].upper()
                if word == "MAIL" and how == "later":
                    self.say("451", "greylisted, come again")
                elif word == "RCPT" and how in ("450", "550") and "bob" in line:
                    self.say(how, "not this one")
                elif word == "DATA":
                    self.say("354", "go on")
                    letter = []
                    while (text := self.rfile.readline().decode().rstrip("\r\n")) != ".":
                        letter.append(text)
                    if how == "drops":
                        return
                    self.server.letters.append("\n".join(letter))
                    self.say("250", "taken")
                elif word == "QUIT" and how == "no farewell":
                    self.server.over.wait(20)
                    return
                else:
                    self.say("221" if word == "QUIT" else "250", "yes")
                if word == "QUIT":
                    return

        def say(self, *words):
            self.wfile.write(f"{' '.join(words)}\r\n".encode())

    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Smtp)
    server.daemon_threads = True
    server.letters, server.asked, server.how, server.until, server.over = [], 0, "", 1, threading.Event()
    with serving(server):
        yield server
        server.over.set()


def by_mail(post, *people):
    return {"email": list(people) or ["ops@example.org"], "from": "w@example.org",
            "smtp": f"127.0.0.1:{post.server_address[1]}"}  # fmt: skip


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("silent", "timed out"),
        ("a word at a time", "not done after"),
        ("later", "451.*greylisted, come again"),
        ("drops", "[Cc]onnection"),
        ("450", "not yet taken for some.*bob@example.org.*450 not this one"),
    ],
)
def test_a_letter_that_a_mail_server_does_not_take_is_tried_again(scheduler, post, monkeypatch, how, told):
    monkeypatch.setattr("workbench.runs.channels.TIMEOUT_S", 0.3)
    post.how = how
    entry = {"cron": "0 13 27 3 *", "retries": 0, "alerts": [{"when": "failed", "to": ["ops", "log"]}]}
    top = {"deliver": {"ops": by_mail(post, "ann@example.org", "bob@example.org"), "log": {"file": "alerts.jsonl"}}}
    s = scheduler({"a": entry}, command=stub(0, "fail"), top=top)
    serve(s, until=lambda: any(one.tries for one in told_to(s, "ops")))
    (first,) = told_to(s, "ops")
    assert (first.state, first.tries) == ("due", 1)
    assert re.search(told, first.error)
    until(s, 1.0)
    (last,) = told_to(s, "ops")
    assert (last.state, last.tries, last.error) == ("sent", 2, "")
    assert [row.state for row in told_to(s, "log")] == ["sent"]
    ids = {re.search(r"Message-ID: (\S+)", letter)[1] for letter in post.letters}
    (one,) = ids  # also where the one who took it at once gets it again
    assert re.fullmatch(r"<incident-1-[0-9a-f]{12}-opened@workbench>", one)


def told_to(s, channel):
    with reading(s.engine) as c:
        return list(c.execute(sa.select(deliveries).where(deliveries.c.channel == channel)))


@pytest.mark.parametrize(("how", "note"), [("no farewell", ""), ("550", "never taken for.*bob@example.org.*550")])
def test_a_letter_that_was_taken_is_sent_once(post, monkeypatch, how, note):
    monkeypatch.setattr("workbench.runs.channels.TIMEOUT_S", 0.3)
    post.how, post.until = how, 10
    told = send(by_mail(post, "ann@example.org", "bob@example.org"), {"id": "i", "subject": "a", "text": "b"})
    assert re.search(note, told) if note else told == ""
    assert (len(post.letters), post.asked) == (1, 1)


def test_runs_go_on_while_a_mail_server_does_not_answer(scheduler, post, monkeypatch):
    monkeypatch.setattr("workbench.runs.channels.TIMEOUT_S", 60.0)
    post.how = "silent"
    entry = {"cron": "0 * * * *", "retries": 0, "alerts": [{"when": "failed", "to": "ops"}], "catch-up": "each"}
    s = scheduler({"a": entry}, command=stub(0, "fail"), top={"deliver": {"ops": by_mail(post)}}, beside=True)
    seen = []

    def late():
        if not post.asked or s.clock.now() < moment_of("2026-03-27T18:30:00Z").timestamp():
            return False
        with reading(s.engine) as c:
            over = c.execute(sa.select(windows.c.id).where(windows.c.state == "failed")).all()
        seen.append((len(over) >= 5, s.courier.is_alive(), [(row.state, row.tries) for row in told_to(s, "ops")]))
        post.over.set()
        return True

    serve(s, until=late)
    assert seen == [(True, True, [("due", 0)])]


def test_one_channel_that_is_down_holds_up_the_others_once(scheduler, post, monkeypatch):
    monkeypatch.setattr("workbench.runs.channels.TIMEOUT_S", 0.3)
    post.how, post.until = "silent", 1000
    entry = {"cron": "0 13 27 3 *", "retries": 0, "alerts": [{"when": "failed", "to": ["ops", "log"]}]}
    top = {"deliver": {"ops": by_mail(post), "log": {"file": "alerts.jsonl"}}}
    s = scheduler({f"e{n}": entry for n in range(5)}, command=stub(0, "fail"), top=top)
    serve(s, until=lambda: len(told_to(s, "ops")) == 5 and not s.active)
    asked, now = post.asked, s.clock.now() + 3600
    deliver(s.engine, s.schedule, now, s.runs)
    assert post.asked == asked + 1
    assert {row.state for row in told_to(s, "log")} == {"sent"}


def test_what_a_notebook_says_is_no_markup_in_a_chat(hook):
    send(
        {"webhook": f"http://127.0.0.1:{hook.server_port}/"}, {"id": "i", "subject": "a & b", "text": "<!channel> x>1"}
    )
    assert hook.taken[0][1]["text"] == "*a &amp; b*\n&lt;!channel&gt; x&gt;1"


def test_a_late_run_and_no_run_at_all_are_told_once(scheduler, hook, mailbox):
    entry = {"cron": "0 13 27 3 *", "late": "1h", "alerts": [{"when": "late", "to": "log"}], "depends-on": "b"}
    before = {"cron": "0 13 27 3 *", "retries": {"times": 3, "wait": "50m", "factor": 1, "after": ["error"]}}
    tries = []

    def command(entry, window, runs):
        tries.append(entry.name)
        return stub(0, *(["fail"] if len(tries) < 3 else []))(entry, window, runs)

    s = scheduler({"a": entry, "b": before}, command=command, top={"deliver": channels(hook, mailbox)})
    until(s, 5)
    told = [json.loads(line) for line in (s.runs / "alerts.jsonl").read_text().splitlines()]
    assert [(one["entry"], one["event"]) for one in told] == [("a", "opened"), ("a", "resolved")]
    assert "is late: no good run 1 h after its time; it waits" in told[0]["text"]
    assert tries == ["b", "b", "b", "a"]


def test_windows_missed_in_a_night_are_one_alert_that_counts_them(scheduler):
    rules = [{"when": "missed", "to": "log"}]
    s = scheduler({"a": {"cron": "0 * * * *", "alerts": rules}}, top={"deliver": {"log": {"file": "alerts.jsonl"}}})
    until(s, 1.2)
    s.clock.at += 5.5 * 3600  # no scheduler until 19:30; the window of 19:00 is caught up with
    until(s, 0.1)
    first, over = [json.loads(line) for line in (s.runs / "alerts.jsonl").read_text().splitlines()]
    assert "Since 2026-03-27 14:00 UTC, in 5 windows; how sure: the ledger says so." in first["text"]
    assert (first["event"], over["event"]) == ("opened", "resolved")


def test_a_rule_on_a_figure_that_no_run_tells_is_named_by_the_status(scheduler):
    rules = [{"figure": name, "above": 1, "to": "log"} for name in ("rows", "row")]
    s = scheduler({"a": {"cron": "0 * * * *", "alerts": rules}}, top={"deliver": {"log": {"file": "alerts.jsonl"}}})
    assert not [line for line in status(s.engine, s.schedule)[0] if line.startswith("silent")]  # no run yet
    until(s, 1.2)
    (line,) = [line for line in status(s.engine, s.schedule)[0] if line.startswith("silent")]
    assert line == "silent   a: row above 1: its last good run told no 'row'; did you mean 'rows'?"


def test_acknowledged_and_muted_incidents_are_silent(scheduler, hook, mailbox):
    entry = {"cron": "0 * * * *", "retries": 0, "alerts": [{"when": "failed", "to": "log"}]}
    s = scheduler({"a": entry}, command=stub(0, "fail"), top={"deliver": channels(hook, mailbox)})
    until(s, 1.5)
    change_incident(s.engine, 1, "muted", s.clock.now(), "me", s.clock.now() + 2 * 3600)
    until(s, 1.9)
    log = s.runs / "alerts.jsonl"
    assert len(log.read_text().splitlines()) == 1
    until(s, 1.0)  # the mute is over, and it is true still
    assert [json.loads(line)["event"] for line in log.read_text().splitlines()] == ["opened", "still"]
    change_incident(s.engine, 1, "acknowledged", s.clock.now(), "me")
    until(s, 2.0)
    assert len(log.read_text().splitlines()) == 2
    (one,) = listed(s.engine)
    assert (one.state, one.by, one.windows) == ("acknowledged", "me", 6)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (('"b"', '"renamed"'), "the schedule has no entry 'b' any more"),
        (('"retries": 0', '"retries": 0, "enabled": false'), "b is switched off"),
        (('"failed"', '"bad"'), "b has no rule 'failed' any more"),
    ],
)
def test_an_incident_that_nothing_would_end_is_ended_when_the_schedule_changes(scheduler, hook, mailbox, change, why):
    entry = {"cron": "0 * * * *", "retries": 0, "alerts": [{"when": "failed", "to": "log"}]}
    said = []
    s = scheduler({"b": entry}, command=stub(0, "fail"), top={"deliver": channels(hook, mailbox)}, say=said.append)
    until(s, 1.5)
    assert [one.state for one in listed(s.engine)] == ["open"]
    path = s.schedule.path
    kept = path.read_text()
    assert change[0] in kept
    path.write_text(kept.replace(*change, 1))
    s.command = stub()
    until(s, 1.0)
    (one,) = listed(s.engine, all_of_them=True)
    assert (one.state, one.by, one.going) == ("resolved", "the schedule", None)
    opened, over = map(json.loads, (s.runs / "alerts.jsonl").read_text().splitlines())
    assert (opened["event"], over["event"], over["subject"]) == ("opened", "resolved", "no longer watched: b: failed")
    assert over["text"].startswith(
        f"Nobody looks any more whether this goes on: {why}.\nIt went on since 2026-03-27T13:00:00Z"
    )
    assert [line for line in said if line.startswith("incident 1 (b: failed) is over")] != []


FIGURES = [
    {"name": "p99", "value": 812.5, "unit": "ms", "good": False, "note": "objective 500 ms"},
    {"name": "rows", "value": 200_000, "unit": "rows"},
    {"name": "label", "value": "x"},
]


@pytest.mark.parametrize(
    ("rule", "true", "words"),
    [
        (Rule(when="bad"), True, "not as it should be: p99 is 812.5 ms (objective 500 ms)"),
        (Rule(figure="p99", test="above", limit=800), True, "p99 is 812.5 ms (objective 500 ms), above 800"),
        (Rule(figure="p99", test="above", limit=900), False, "above 900"),
        (Rule(figure="rows", test="below", limit=300_000), True, "rows is 200,000 rows, below 300,000"),
        (Rule(figure="p99", test="is", limit="bad"), True, "p99"),
        (Rule(figure="rows", test="is", limit="good"), False, "rows"),
        (Rule(figure="gone", test="is", limit="missing"), True, "'gone' is missing (the run told p99, rows, label)"),
        (Rule(figure="rows", test="is", limit="missing"), False, "rows"),
        (Rule(figure="gone", test="above", limit=1), None, "is missing"),
        (Rule(figure="label", test="above", limit=1), None, "which is no number"),
    ],
)
def test_rules_on_figures(rule, true, words, tmp_path):
    told = {"sources": [{"rows": 200_000}]}
    record = Record(tmp_path, "good", "toy", headline=FIGURES, source="requests", source_version="v7", told=told)
    found = finding(rule, "good", record)
    assert found.true is true
    assert words in found.what
    assert found.sure == "measured over 200,000 rows of requests, version v7"
