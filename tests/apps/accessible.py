"""What a page must offer to those who hear it or have only a keyboard, asked of the page as the browser has it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

CHECKS = Path(__file__).with_suffix(".js").read_text(encoding="utf-8").split("\n", 1)[1]

CONTROLS = """() => Array.from(document.querySelectorAll("a[href], button, input:not([type=hidden]), select, summary"))
    .filter((e) => e.checkVisibility() && !e.disabled)"""
# One of a group of radio buttons is reached by the tab key, the others by the arrows.
STOPS = f"""() => {{ const groups = new Set(); return ({CONTROLS})().filter((e) => {{
    if (e.type !== "radio") return true; if (groups.has(e.name)) return false; groups.add(e.name); return true; }}).length; }}"""
HERE = f"""() => {{ const e = document.activeElement; const n = ({CONTROLS})().indexOf(e); if (n < 0) return null;
    const style = getComputedStyle(e), box = e.getBoundingClientRect();
    return {{ name: e.type === "radio" ? e.name : "#" + n,
              seen: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0,
              inside: box.width > 0 && box.bottom > 0 && box.top < innerHeight }}; }}"""


def check(page: Any) -> None:
    """Asserts that nothing is wrong with a page."""
    found = page.evaluate(CHECKS)
    assert not found, "\n".join(found)


def check_keyboard(page: Any) -> None:
    """Asserts that the tab key reaches every control, that it is seen where it is, and that it comes round."""
    wanted = page.evaluate(STOPS)
    reached, away = {}, 0
    page.evaluate("document.activeElement.blur()")
    for _ in range(3 * wanted + 60):
        page.keyboard.press("Tab")
        here = page.evaluate(HERE)
        if here is None:
            away += 1  # a box that scrolls, a date's other parts, the end of the page
            continue
        if here["name"] in reached and len(reached) >= wanted:
            break
        before = reached.get(here["name"], here)  # a date has several stops
        reached[here["name"]] = {**here, "seen": here["seen"] or before["seen"]}
    assert len(reached) == wanted, f"{len(reached)} of {wanted} controls: {list(reached)}"
    unseen = [name for name, one in reached.items() if not (one["seen"] and one["inside"])]
    assert not unseen, unseen
