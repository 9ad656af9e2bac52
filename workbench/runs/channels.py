"""Channels that alerts go to: a webhook (Slack-compatible JSON), e-mail (SMTP), a file; and `secret:` references.

A secret is never written in a schedule: `secret:env:NAME` is the environment variable NAME, `secret:file:PATH` the text of
a file. Ledger and logs hold the reference only.
"""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from workbench.errors import WorkbenchError, nearest
from workbench.runs.records import without_secrets
from workbench.runs.secrets import is_reference

KEYS: dict[str, tuple[str, ...]] = {
    "webhook": ("webhook", "headers"),
    "email": ("email", "from", "smtp", "user", "password", "tls"),
    "file": ("file",),
}
TIMEOUT_S = 10.0
REFERENCE = re.compile(r"secret:(env|file):\S.*")
SECRET_HEADERS = ("authorization", "proxy-authorization", "x-api-key", "api-key", "x-auth-token", "cookie")
TLS = ("starttls", "yes", "no")


def secret(value: Any) -> Any:
    """The value that a `secret:` reference stands for; anything else comes back as it is.

    Raises WorkbenchError, which names the reference and never the value, where there is none.
    """
    if not isinstance(value, str) or not value.startswith("secret:"):
        return value
    _, kind, name = [*value.split(":", 2), "", ""][:3]
    if kind == "env":
        if name in os.environ:
            return os.environ[name]
        raise WorkbenchError(f"{value!r} needs the environment variable {name}; set it where the scheduler starts.")
    if kind == "file":
        try:
            return Path(name).expanduser().read_text(encoding="utf-8").strip()
        except OSError as error:
            raise WorkbenchError(
                f"{value!r} cannot be read: {error.strerror}; give the path of a readable file."
            ) from None
    raise WorkbenchError(f"{value!r} is no secret; wanted secret:env:NAME or secret:file:PATH.")


def check_channels(channels: Mapping[str, Any]) -> list[tuple[tuple[str, ...], str]]:
    """What is wrong with the channels of a schedule: (name and key, sentence)."""
    found: list[tuple[tuple[str, ...], str]] = []
    for name, told in channels.items():
        kinds = [kind for kind in KEYS if isinstance(told, dict) and kind in told]
        if len(kinds) != 1:
            found.append(((name,), f"the channel {name!r} has no or several ways; wanted one of {', '.join(KEYS)}"))
            continue
        (kind,) = kinds
        for key in told:
            if key not in KEYS[kind]:
                found.append(((name, key), f"a channel by {kind} has no {key!r}; {nearest(key, KEYS[kind])}"))
        found += [((name, *key), text) for key, text in _wrong(kind, told)]
    return found


def _wrong(kind: str, told: Mapping[str, Any]) -> list[tuple[tuple[str, ...], str]]:
    found = {"webhook": _wrong_webhook, "email": _wrong_email, "file": _wrong_file}[kind](told)
    for key, value in told.items():
        if is_reference(value) and not REFERENCE.fullmatch(value):
            found.append((key, f"{str(value)[:60]!r} is no secret; wanted secret:env:NAME or secret:file:PATH"))
    return [((key,), text) for key, text in found]


def _wrong_webhook(told: Mapping[str, Any]) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    value, headers = told["webhook"], told.get("headers") or {}
    if not isinstance(value, str) or not value.startswith(("http://", "https://", "secret:")):
        found.append(("webhook", f"webhook is {str(value)[:60]!r}; wanted an http(s) address, or secret:env:NAME"))
    elif "@" in value.partition("://")[2].partition("/")[0]:
        found.append(("webhook", "this address holds a password; write secret:env:NAME instead of the address"))
    if not isinstance(headers, dict) or not all(isinstance(one, str) for one in headers.values()):
        return [*found, ("headers", f"headers is {str(headers)[:60]!r}; wanted a mapping of names to texts")]
    for key, header in headers.items():
        if key.lower() in SECRET_HEADERS and not is_reference(header):
            found.append(("headers", f"the header {key[:60]} is a secret; write secret:env:NAME instead of its value"))
    return found


def _wrong_email(told: Mapping[str, Any]) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    value = told["email"]
    people = [value] if isinstance(value, str) else value
    if not isinstance(people, list) or not people or not all(isinstance(one, str) and "@" in one for one in people):
        found.append(("email", f"email is {str(value)[:60]!r}; wanted an address or a list of addresses"))
    for key in ("smtp", "from"):
        if not told.get(key):
            found.append((key, f"a channel by email needs `{key}:`, as in {_EXAMPLE[key]}"))
    host, _, port = str(told.get("smtp") or "").rpartition(":")
    if told.get("smtp") and not (host and port.isdecimal() and 0 < int(port) < 65_536):
        found.append(("smtp", f"smtp is {str(told['smtp'])[:60]!r}; wanted host:port, as in {_EXAMPLE['smtp']}"))
    if told.get("from") and "@" not in str(told["from"]):
        found.append(("from", f"from is {str(told['from'])[:60]!r}; wanted an address, as in {_EXAMPLE['from']}"))
    if told.get("password") and not is_reference(told["password"]):
        found.append(("password", "a password is a secret; write secret:env:NAME or secret:file:PATH"))
    if str(_tls(told)) not in TLS:
        found.append(("tls", f"tls is {str(told['tls'])[:60]!r}; wanted one of {', '.join(TLS)}"))
    return found


def _wrong_file(told: Mapping[str, Any]) -> list[tuple[str, str]]:
    value = told["file"]
    good = isinstance(value, str) and value and not value.endswith("/")
    return [] if good else [("file", f"file is {str(value)[:60]!r}; wanted the path of a file, as in alerts.jsonl")]


_EXAMPLE = {"smtp": "smtp: mail.example.org:587", "from": "from: workbench@example.org"}


def send(channel: Mapping[str, Any], message: Mapping[str, Any], folder: Path = Path()) -> str:
    """Delivers a message (`subject`, `text`, and what else the receiver may sort by) to a channel; gives back who of
    several people will never get it and why, "" where all do.

    A file's path is relative to ``folder``. Raises WorkbenchError with a sentence without secrets when the other side
    does not take it, or is not done after four times `TIMEOUT_S`.
    """
    hidden = []
    try:
        told = {key: secret(value) for key, value in channel.items()}
        told["headers"] = {key: secret(value) for key, value in (channel.get("headers") or {}).items()}
        hidden = [str(told[k]) for k, v in channel.items() if isinstance(v, str) and v.startswith("secret:")]
        hidden += [str(v) for k, v in told["headers"].items() if str(channel["headers"][k]).startswith("secret:")]
        way = {"webhook": _webhook, "email": _email, "file": _file}
        return _in_time(next(way[kind] for kind in KEYS if kind in channel), told, message, folder)
    except WorkbenchError:
        raise
    except Exception as error:  # whatever a network or a server may answer is told, and tried again
        sentence = without_secrets(f"{type(error).__name__}: {error}")
        for one in hidden:
            sentence = sentence.replace(one, "***")
        raise WorkbenchError(sentence[:500]) from None


def _in_time(way: Callable[..., str], *told: Any) -> str:
    """What a way of sending gives or raises; a sentence where it goes on and on, as with a server that says a word at a time."""
    ended: list[str | BaseException] = []

    def work() -> None:
        try:
            ended.append(way(*told))
        except BaseException as error:
            ended.append(error)

    thread = threading.Thread(target=work, name="workbench-sending", daemon=True)
    thread.start()
    thread.join(4 * TIMEOUT_S)
    if not ended:
        raise WorkbenchError(f"the other side was not done after {4 * TIMEOUT_S:g} s")
    if isinstance(ended[0], BaseException):
        raise ended[0]
    return ended[0]


def _webhook(told: Mapping[str, Any], message: Mapping[str, Any], _folder: Path) -> str:
    from urllib.error import HTTPError
    from urllib.request import HTTPRedirectHandler, Request, build_opener

    class Straight(HTTPRedirectHandler):
        """Goes nowhere else: a POST that is sent on becomes a GET, and would carry its headers to another host."""

        def redirect_request(self, *_: Any) -> None:
            return None

    subject, text = (str(message[key]) for key in ("subject", "text"))
    for plain, told_as in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):  # else Slack reads links and names in it
        subject, text = subject.replace(plain, told_as), text.replace(plain, told_as)
    body = {
        "text": f"*{subject}*\n{text}",
        "metadata": {
            "event_type": "workbench_alert",
            "event_payload": {k: v for k, v in message.items() if k != "text"},
        },
    }
    headers = {"Content-Type": "application/json", "User-Agent": "workbench", **told["headers"]}
    request = Request(str(told["webhook"]), json.dumps(body).encode(), headers, method="POST")
    try:
        build_opener(Straight).open(request, timeout=TIMEOUT_S).close()  # its status is the answer
    except HTTPError as error:
        error.close()
        raise
    return ""


def _email(told: Mapping[str, Any], message: Mapping[str, Any], _folder: Path) -> str:
    import smtplib
    import ssl
    from email.message import EmailMessage
    from email.utils import formatdate

    letter = EmailMessage()
    letter["Subject"] = " ".join(str(message["subject"]).split())
    letter["From"] = told["from"]
    people = told["email"] if isinstance(told["email"], list) else [told["email"]]
    letter["To"] = ", ".join(people)
    letter["Message-ID"] = f"<{message['id']}@workbench>"  # the same when tried again, so that a mailbox can tell
    if message.get("thread", message["id"]) != message["id"]:  # below the letter that opened the incident
        letter["In-Reply-To"] = letter["References"] = f"<{message['thread']}@workbench>"
    letter["Date"] = formatdate(localtime=True)
    letter.set_content(str(message["text"]))
    host, _, port = str(told["smtp"]).rpartition(":")
    tls = _tls(told)
    if tls == "yes":
        server: smtplib.SMTP = smtplib.SMTP_SSL(
            host, int(port), timeout=TIMEOUT_S, context=ssl.create_default_context()
        )
    else:
        server = smtplib.SMTP(host, int(port), timeout=TIMEOUT_S)
    try:
        if tls == "starttls":
            server.starttls(context=ssl.create_default_context())
        if told.get("user"):
            server.login(str(told["user"]), str(told.get("password") or ""))
        refused = server.send_message(letter)
        with suppress(OSError, smtplib.SMTPException):  # it has the letter, whatever it says to a farewell
            server.quit()
    finally:
        server.close()
    said = {one: f"{code} {text.decode(errors='replace')}" for one, (code, text) in refused.items()}
    if any(code < 500 for code, _ in refused.values()):
        raise WorkbenchError(f"not yet taken for some: {said}")  # again to all: one letter, by its id
    return f"never taken for {said}" if said else ""


def _tls(told: Mapping[str, Any]) -> str:
    value = told.get("tls")
    if value is None:
        host, _, port = str(told.get("smtp")).rpartition(":")
        return "yes" if port == "465" else "no" if host in ("localhost", "127.0.0.1", "::1") else "starttls"
    return {True: "yes", False: "no"}.get(value, str(value)) if isinstance(value, bool) else str(value)


def _file(told: Mapping[str, Any], message: Mapping[str, Any], folder: Path) -> str:
    path = folder / Path(str(told["file"])).expanduser()
    path.parent.mkdir(parents=True, exist_ok=True)
    line = json.dumps(dict(message), ensure_ascii=False) + "\n"
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)  # one write: lines of two writers stay whole
    try:
        os.write(handle, line.encode())
        os.fsync(handle)
    finally:
        os.close(handle)
    return ""
