"""A page opened in Chromium, cut off from every host but its own, and what the browser said meanwhile."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

WIDE, PHONE = (1280, 900), (390, 844)
BLANK = """() => Array.from(document.querySelectorAll(".picture")).map((slot) => {
    const found = [];
    const walk = (node) => { for (const e of node.querySelectorAll("*")) {
        if (e.tagName === "CANVAS") found.push(e);
        if (e.shadowRoot) walk(e.shadowRoot); } };
    walk(slot);
    return found.some((canvas) => canvas.width > 0 && new Set(new Uint32Array(
        canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data.buffer)).size > 8);
})"""


class Seen:
    """A page and what the browser said while it was open."""

    def __init__(self, page: Any, origin: str) -> None:
        self.page, self.origin, self.errors, self.abroad = page, origin, [], []
        page.on("console", lambda m: self.errors.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", self._asked)

    def _asked(self, request: Any) -> None:
        if not request.url.startswith((self.origin, "data:", "blob:")):
            self.abroad.append(request.url)

    def ready(self) -> Any:
        self.page.wait_for_selector("body[data-ready]", timeout=30_000)
        return self.page

    def clean(self) -> None:
        assert self.abroad == []
        assert self.errors == []


@contextmanager
def opened(
    browser: Any, url: str, size: tuple[int, int] = WIDE, scheme: str = "light", **options: Any
) -> Iterator[Seen]:
    origin = re.match(r"\w+://[^/]*", url)[0]
    context = browser.new_context(
        viewport={"width": size[0], "height": size[1]},
        color_scheme=scheme,
        has_touch=size == PHONE,
        offline=origin == "file://",
        **options,
    )
    page = context.new_page()
    page.route(
        "**/*",
        lambda route: route.continue_() if route.request.url.startswith((origin, "data:", "blob:")) else route.abort(),
    )
    seen = Seen(page, origin)
    page.goto(url)
    yield seen
    context.close()
