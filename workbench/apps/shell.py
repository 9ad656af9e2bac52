"""The shell of every page: templates filled in, numbers and times as people read them, the state of a run in a word.

Templates and look are files in `templates/`; nothing in them comes from another host.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from markupsafe import Markup, escape

from workbench.resources import templates_folder
from workbench.views import look

Json = dict[str, Any]
LIBRARIES = ("bokeh", "bokeh-widgets", "bokeh-tables", "panel")
LOADED = tuple(f"{name}.min.js" for name in ("es-module-shims", "bokeh-gl", *LIBRARIES))
SHORT = 5  # letters of a unit that stand beside their number


@cache
def environment() -> Any:
    """The jinja environment of our templates; everything is escaped unless a template says `safe`."""
    import jinja2

    found = jinja2.Environment(
        loader=jinja2.FileSystemLoader(templates_folder()), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    found.filters.update(
        prose=prose, when=when, day=day, ago=ago, ahead=ahead, lasted=lasted, figure=figure, parameter=parameter,
        number=number, inline_json=inline_json, sources=sources, still=still,
    )  # fmt: skip
    return found


def render(template: str, **values: Any) -> str:
    """A template of ours as text; `links`, `facts` and `state` may be left out, the look and the script of the colours too."""
    given = {"links": {}, "facts": {}, "state": {}, "css": css(), "theme_js": text("theme.js")}
    return str(environment().get_template(template).render(**{**given, **values}))


@cache
def css() -> str:
    """The look of the page: the colours of `workbench.views.look` as variables, then `templates/page.css`."""

    def colours(of: Mapping[str, str], warn: str) -> str:
        names = {"background": "paper", "surface": "raised", "text": "ink", "muted": "soft"}
        return "".join(f"--{names.get(name, name)}:{value};" for name, value in of.items()) + f"--warn:{warn};"

    light, dark = colours(look.LIGHT, "#8a5700"), colours(look.DARK, "#e3b663")
    return f':root{{{light}}}\n:root[data-theme="dark"]{{{dark}}}\n' + text("page.css")


@cache
def text(name: str) -> str:
    """A file of the templates as text."""
    return (templates_folder() / name).read_text(encoding="utf-8")


@cache
def allowed(name: str) -> str:
    """What a content security policy calls a script of the templates that stands in a page: its hash."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text(name).encode()).digest()).decode()


@cache
def look_version() -> str:
    """Changes when the look or the page's script changes; part of their addresses, so that a browser may keep them."""
    return hashlib.sha256((css() + text("page.js") + text("theme.js")).encode()).hexdigest()[:10]


@cache
def library(name: str) -> Path:
    """A script of the installed bokeh or panel: "bokeh", "bokeh-widgets", "bokeh-tables", "bokeh-gl" or "panel"."""
    if name == "panel":
        import panel

        return Path(panel.__file__).parent / "dist" / "panel.min.js"
    import bokeh

    return Path(bokeh.__file__).parent / "server" / "static" / "js" / f"{name}.min.js"


def scripts(names: Iterable[str]) -> list[str]:
    """The files that pictures need, of the installed bokeh and panel, in their order; a version is part of their address."""
    import bokeh

    needed = [name for name in LIBRARIES if name in names]
    version = bokeh.__version__
    if "panel" in needed:
        import panel

        version += f"-{panel.__version__}"
    return [f"{name}.js?v={version}" for name in needed]


def inline(script: str) -> str:
    """JavaScript or JSON that can stand inside a script element: no end tag, no comment that a browser would obey.

    >>> inline('"</script><!--"')
    '"<\\\\/script><\\\\!--"'
    """
    return re.sub(r"<(?=!--)", r"<\\", re.sub(r"</(?=script)", r"<\\/", script, flags=re.IGNORECASE))


def inline_json(value: Any) -> str:
    """A value as JSON that can stand inside a script element.

    >>> inline_json({"a": "</script>"})
    '{"a":"\\\\u003c/script>"}'
    """
    return json.dumps(value, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def sources(tags: str) -> list[str]:
    """The addresses of the scripts that bokeh would put into a page, without those that a page of ours has loaded or that
    only pictures drawn by a graphics card need.

    >>> sources('<script src="static/js/bokeh.min.js?v=1"></script><script type="text/javascript" src="x/other.js"></script>')
    ['x/other.js']
    """
    found = re.findall(r'<script[^>]*\ssrc="([^"]+)"', tags)
    return [one for one in found if one.split("?")[0].rsplit("/", 1)[-1] not in LOADED]


def still(poster: str) -> str:
    """A poster as the address of an image that is its own text; its lines are grey, since an image knows no colour of the page.

    >>> still("<svg></svg>")
    'data:image/svg+xml;base64,PHN2ZyB4bWxucz0iaHR0cDovL3d3dy53My5vcmcvMjAwMC9zdmciPjwvc3ZnPg=='
    """
    drawn = poster.replace("<svg", '<svg xmlns="http://www.w3.org/2000/svg"', 1).replace("currentColor", "#808080")
    return "data:image/svg+xml;base64," + base64.b64encode(drawn.encode()).decode()


# --- words and numbers -------------------------------------------------------------------------------------------------


def prose(words: str) -> Markup:
    """A sentence with `code` and **strong** words as HTML; everything else is text.

    >>> str(prose("a **b** < `c`"))
    'a <strong>b</strong> &lt; <code>c</code>'
    """
    safe = str(escape(words or ""))
    safe = re.sub(r"`([^`]+)`", r"<code>\1</code>", safe)
    return Markup(re.sub(r"\*\*([^*]+)\*\*", r"<strong>\1</strong>", safe))


def moment(time: str | None) -> str:
    """An ISO time as people read it, in UTC.

    >>> moment("2026-11-23T20:30:01.5Z"), moment(None), moment("soon")
    ('23 Nov 2026 20:30 UTC', '', 'soon')
    """
    when = parse_time(time)
    return f"{when.day} {when:%b %Y %H:%M} UTC" if when else (time or "")


def when(time: str | None) -> str:
    """An ISO time in UTC without saying so again: every page says once that its times are UTC.

    >>> when("2026-11-23T20:30:01.5Z"), when("2026-11-23T00:00:00+01:00")
    ('23 Nov 2026 20:30', '22 Nov 2026 23:00')
    """
    return moment(time).removesuffix(" UTC")


def day(time: str | None) -> str:
    """The day of an ISO time in UTC.

    >>> day("2026-11-23T20:30:01.5Z"), day("20261123T203001Z-2")
    ('23 Nov 2026', '20261123T203001Z-2')
    """
    found = parse_time(time)
    return f"{found.day} {found:%b %Y}" if found else (time or "")


def ahead(time: str | None, now: datetime | None = None) -> str:
    """How long until an ISO time, in words.

    >>> evening = datetime(2026, 11, 23, 20, tzinfo=UTC)
    >>> ahead("2026-11-24T02:30:00Z", evening), ahead("2026-11-23T20:00:10Z", evening)
    ('in 7 hours', 'now')
    """
    found = parse_time(time)
    if found is None:
        return ""
    seconds = (found - (now or datetime.now(UTC))).total_seconds()
    return "now" if seconds < 60 else "in " + _span(seconds)


def lasted(seconds: Any) -> str:
    """A number of seconds as people read a duration.

    >>> lasted(0.2), lasted(16.07), lasted(754), lasted(7300), lasted(None)
    ('0.2 s', '16 s', '12 min 34 s', '2 h 1 min', '–')
    """
    if not isinstance(seconds, (int, float)) or isinstance(seconds, bool):
        return "–"
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(int(seconds + 0.5), 60)
    hours, left = divmod(minutes, 60)
    return f"{hours} h {left} min" if hours else f"{minutes} min {rest} s"


def ago(time: str | None, now: datetime | None = None) -> str:
    """How long ago an ISO time was, in words; the page's script keeps it right afterwards.

    >>> evening = datetime(2026, 11, 23, 20, tzinfo=UTC)
    >>> ago("2026-11-20T10:00:00Z", evening), ago("2026-11-23T19:30:00Z", evening)
    ('3 days ago', '30 minutes ago')
    """
    when = parse_time(time)
    if when is None:
        return ""
    seconds = max(0.0, ((now or datetime.now(UTC)) - when).total_seconds())
    return "just now" if seconds < 90 else _span(seconds) + " ago"


def _span(seconds: float) -> str:
    unit, word = (60, "minute") if seconds < 5400 else (3600, "hour") if seconds < 129_600 else (86_400, "day")
    count = int(seconds / unit + 0.5)
    return f"{count} {word}{'s' if count != 1 else ''}"


def parse_time(time: str | None) -> datetime | None:
    """An ISO time in UTC, None when there is none or it is no time."""
    try:
        when = datetime.fromisoformat(time) if time else None
    except ValueError:
        return None
    return when if when is None else (when.replace(tzinfo=UTC) if when.tzinfo is None else when.astimezone(UTC))


def number(value: Any) -> str:
    """A number for reading: commas between thousands as in the prose, four significant digits where it is not whole.

    >>> [number(value) for value in (336776, 0.02031, 1234.5678, 3.0, -0.0, None, 6.1e-7, 12_400_000)]
    ['336,776', '0.02031', '1,235', '3', '0', '–', '6.1e-7', '12,400,000']
    """
    if value is None or value != value:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    size = abs(value)
    if isinstance(value, int) or (size < 1e15 and value == int(value)):
        shown = f"{int(value):,}" if size < 1e15 else f"{value:.3e}"
    elif size < 1e-4 or size >= 1e15:
        mantissa, _, power = f"{value:.2e}".partition("e")
        shown = f"{mantissa.rstrip('0').rstrip('.')}e{int(power)}"
    else:
        digits = max(0, 3 - int(f"{size:e}".split("e")[1]))
        shown = f"{value:,.{digits}f}"
        shown = shown.rstrip("0").rstrip(".") if "." in shown else shown
    return shown.replace("-", "\u2212", 1) if shown.startswith("-") else shown


def money(dollars: float) -> str:
    """Dollars for reading: to the cent below 100,000, smaller amounts to three significant digits.

    >>> money(1234.567), money(-0.5), money(0.001234), money(0), money(123456.7)
    ('$1,234.57', '\u2212$0.50', '$0.00123', '$0.00', '$123,457')
    """
    size = abs(dollars)
    shown = (
        f"{size:,.0f}"
        if size >= 1e5
        else f"{size:,.2f}"
        if size >= 0.1 or size == 0
        else f"{size:.{2 - int(f'{size:e}'.split('e')[1])}f}"
    )
    return ("\u2212$" if dollars < 0 else "$") + shown


def figure(told: Mapping[str, Any]) -> Json:
    """A headline figure as its card shows it: name, text, unit, verdict ("good", "bad" or ""), the full value.

    >>> figure({"name": "p99", "value": 1234.56, "unit": "ms", "good": False})["text"]
    '1,235'
    """
    value, good = told.get("value"), told.get("good")
    words = isinstance(value, str)
    if isinstance(value, str) and parse_time(value) and re.match(r"\d{4}-\d\d-\d\dT", value):
        shown = when(value).removesuffix(" 00:00")  # a window that starts with a day
    else:
        shown = str(value) if words else number(value)
    unit = str(told.get("unit") or "")
    if unit == "USD" and value is not None and not words:
        shown, unit = money(value), ""
    name = str(told.get("name", "")).lower()
    if unit.lower() == name or (len(unit) > SHORT and unit.lower() in name):
        unit = ""  # "rows" need not be rows
    verdict = "" if good is None else ("good" if good else "bad")
    return {
        "name": told.get("name", ""),
        "text": shown,
        "words": words,
        "unit": unit,
        "apart": len(unit) > SHORT,
        "verdict": verdict,
        "full": "" if value is None or shown == str(value) else str(value),
        "note": told.get("note") or "",
    }


def parameter(value: Any) -> str:
    """A parameter's value in a line, every digit of it: an empty one as a dash, lists and mappings value by value.

    >>> parameter(""), parameter(False), parameter(2000), parameter(0.123456789), parameter("model,region")
    ('–', 'no', '2,000', '0.123456789', 'model,region')
    >>> parameter({"accepted": [0.8, 1.15], "value": [0.7, 1.3]})
    'accepted 0.8, 1.15; value 0.7, 1.3'
    """
    if value is None or value in ("", [], {}):
        return "–"
    if isinstance(value, Mapping):
        return "; ".join(f"{name} {parameter(one)}" for name, one in value.items())
    if isinstance(value, list):
        return ", ".join(map(parameter, value))
    if isinstance(value, bool):
        return number(value)
    return f"{value:,}".removesuffix(".0") if isinstance(value, (int, float)) else str(value)


# --- the state of a run ------------------------------------------------------------------------------------------------


def state_of(told: Mapping[str, Any], *, newer: Mapping[str, Any] | None = None, expected: str | None = None) -> Json:
    """A run's state as `word`, `colour` (good, warn, bad or "") and, where needed, a `notice` or an `error`.

    `newer` is a run of the same notebook that came later and failed; `expected` is the time at which the schedule wanted
    a newer run that has not come: the page is then a stale one.
    """
    status = told.get("status")
    if status == "failed":
        error = told.get("error") or {}
        cell = f" in cell {error['cell']}" if error.get("cell") is not None else ""
        sentence = f"This run failed{cell}: {error.get('name') or 'no reason is known'}."
        return {
            "word": "Failed",
            "colour": "bad",
            "error": {"sentence": sentence, "message": str(error.get("message") or "")[:2000]},
        }
    if status == "running":
        return {"word": "Running", "colour": ""}
    if newer is not None:
        told_when = when(newer.get("ended") or newer.get("started"))
        notice = f"The newest run, {told_when}, failed. This is the last good one."
        return {"word": "Failed last", "colour": "bad", "notice": notice}
    if expected is not None:
        notice = f"A run was to come at {when(expected)} and there is no good one since."
        return {"word": "Stale", "colour": "warn", "notice": notice}
    bad = sum(one.get("good") is False for one in told.get("headline") or [])
    if bad:
        return {"word": f"{bad} figure{'s' if bad != 1 else ''} to look at", "colour": "warn"}
    return {"word": "Good", "colour": "good"}


def facts_of(told: Mapping[str, Any], run: str = "", latest: str | None = None) -> Json:
    """What the page tells of a run beside its answer: source, version, parameters, times."""
    given = {name: value for name, value in (told.get("parameters") or {}).items() if value not in (None, "")}
    names = ("notebook", "source", "source_version", "package_version", "started", "ended")
    return {**{name: told.get(name) for name in names}, "parameters": given, "run": run, "latest": latest}
