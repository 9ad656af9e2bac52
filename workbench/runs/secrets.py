"""Secrets in parameters: a notebook is given a reference, asks for the value where it uses it, and never shows it.

`secret:env:NAME` is the environment variable NAME, `secret:file:PATH` the text of a file. Parameters, records, pages and
logs hold the reference. `reveal` gives the value, inside the kernel only; from then on this process writes the reference
wherever the value would be shown: in every message of the kernel (printed, displayed, raised) and in every file of a run.
"""

from __future__ import annotations

import base64
import html
import json
import os
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

from workbench.errors import WorkbenchError

PREFIX = "secret:"
SHORTEST = 6  # characters; less would be found everywhere
TEXTS = (".json", ".html", ".ipynb", ".txt", ".csv", ".svg", ".md")

_revealed: dict[str, str] = {}  # of this process: spellings of a value, and the reference that stands for it


def is_reference(value: Any) -> bool:
    """Whether a value is a reference to a secret.

    >>> is_reference("secret:env:API_KEY"), is_reference("model,region")
    (True, False)
    """
    return isinstance(value, str) and value.startswith(PREFIX)


def reveal(value: Any) -> Any:
    """The value that a reference stands for, kept out of everything this process shows; anything else as it is.

    Raises WorkbenchError, which names the reference and never the value, where there is none, and for a value shorter than
    6 characters, which could not be told from other text.
    """
    if not is_reference(value):
        return value
    found = look_up(value)
    if len(found) < SHORTEST:
        raise WorkbenchError(f"{value!r} is shorter than {SHORTEST} characters, too short to be kept out of outputs.")
    for spelling in spellings(found):
        _revealed[spelling] = value
    _guard_kernel()
    return found


def look_up(reference: str) -> str:
    """The text behind a reference, without keeping it out of anything. Raises WorkbenchError where there is none."""
    _, kind, name = [*reference.split(":", 2), "", ""][:3]
    if kind == "env" and name:
        if name in os.environ:
            return os.environ[name]
        raise WorkbenchError(f"{reference!r} needs the environment variable {name}; set it where the run starts.")
    if kind == "file" and name:
        try:
            return Path(name).expanduser().read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "it is not UTF-8 text"
            raise WorkbenchError(
                f"{reference!r} cannot be read: {why}; give the path of a readable file of text."
            ) from None
    raise WorkbenchError(f"{reference!r} is no secret; wanted secret:env:NAME or secret:file:PATH.")


def spellings(value: str) -> list[str]:
    """How a value may be written in texts, longest first: as it is, in Python, JSON, HTML, addresses, base64, hex.

    >>> spellings('a"b&c d')[-1], "a%22b%26c%20d" in spellings('a"b&c d')
    ('a"b&c d', True)
    """
    raw = value.encode()
    found = {
        value, repr(value)[1:-1], json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1],
        json.dumps(json.dumps(value)[1:-1])[1:-1], html.escape(value), html.escape(value, quote=False),
        quote(value, safe=""), quote(value), quote_plus(value), raw.hex(),
        base64.b64encode(raw).decode().rstrip("="), base64.urlsafe_b64encode(raw).decode().rstrip("="),
    }  # fmt: skip
    lines = {line.strip() for line in value.splitlines() if len(line.strip()) >= SHORTEST}  # of a key in a file
    return sorted(found | lines, key=len, reverse=True)


def scrub(value: Any) -> Any:
    """`value` with every secret that was revealed replaced by its reference: a text, or all texts of dicts and lists.

    A frame's columns of text are replaced likewise; other things come back as they are.
    """
    if not _revealed:
        return value
    if isinstance(value, str):
        for spelling in sorted(_revealed, key=len, reverse=True):
            if spelling in value:
                value = value.replace(spelling, _revealed[spelling])
        return value
    if isinstance(value, bytes):
        return value if not any(one.encode() in value for one in _revealed) else scrub(value.decode()).encode()
    if isinstance(value, dict):
        return {scrub(key): scrub(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)) and type(value) in (list, tuple):
        return type(value)(scrub(one) for one in value)
    if hasattr(value, "columns") and hasattr(value, "assign"):
        texts = [name for name in value.columns if value[name].dtype.kind in "OTU" or str(value[name].dtype) == "str"]
        return value.assign(**{str(name): value[name].map(scrub) for name in texts}) if texts else value
    return value


def scrub_file(path: Path, name: str = "") -> None:
    """Replaces secrets in a file of text. Raises WorkbenchError for another file that holds one: it is not kept."""
    if not _revealed:
        return
    body = path.read_bytes()
    held = [reference for spelling, reference in _revealed.items() if spelling.encode() in body]
    if not held:
        return
    if path.suffix not in TEXTS:
        raise WorkbenchError(
            f"The file {name or path.name!r} would hold the secret {held[0]!r}, so it is not written; leave the secret out of "
            "what is counted or drawn."
        )
    path.write_text(scrub(body.decode("utf-8")), encoding="utf-8")


def _guard_kernel() -> None:
    """Lets every message that this kernel sends pass `scrub`; nothing happens outside a kernel."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    session = getattr(getattr(shell, "kernel", None), "session", None)
    if session is None or getattr(session.send, "scrubs", False):
        return
    send = session.send

    def scrubbed(stream: Any, msg_or_type: Any, content: Any = None, *arguments: Any, **more: Any) -> Any:
        if isinstance(msg_or_type, dict) and "content" in msg_or_type:
            msg_or_type = {**msg_or_type, "content": scrub(msg_or_type["content"])}
        return send(stream, msg_or_type, scrub(content), *arguments, **more)

    scrubbed.scrubs = True  # type: ignore[attr-defined]
    session.send = scrubbed
