"""One self-contained file of an executed notebook: the page on top, the notebook step by step below, code folded.

Everything it needs is inside: the look, the pictures and the scripts of the installed bokeh, once. It opens from a disk without
a network. Pictures in the notebook's own cells are taken from what the kernel left in the outputs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from workbench.apps import shell
from workbench.apps.shell import Json
from workbench.apps.snapshot import FALLBACK, MARK, libraries, read_snapshot, walk

REPORT = "report.html"
EMBEDDED = re.compile(r"var docs_json = (\{.*\});\s*\n\s*var render_items = (\[.*?\]);", re.DOTALL)
LOADERS = "application/vnd.holoviews_load.v0+json"
EXECUTED = "application/vnd.holoviews_exec.v0+json"
COLOUR_CODES = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
HELPERS = ("BrowserInfo", "CommManager", "Location", "NotificationArea")  # of the kernel; a file has none
ACTIVE = re.compile(  # HTML that does something, or may: such an output is shown as its text
    r"<\s*(script|iframe|object|embed|form|meta|link|base)\b|[\s/\"']on\w+\s*=|"
    r"(href|src|srcset|action|formaction)\s*=\s*+[\"']?+\s*+(?!https?:|#|data:image/(png|jpeg))",
    re.IGNORECASE,
)
LONGEST = 20_000  # characters of one printed output


def write_report(executed_notebook: str | Path, folder: str | Path) -> Path:
    """Writes `report.html` into a run's folder from its executed notebook and what it published; gives its path back.

    A notebook that failed, or did not come as far as its page, gives a report that says so and shows the notebook unfolded.
    """
    path = Path(folder) / REPORT
    path.write_text(report_text(executed_notebook, folder), encoding="utf-8")
    return path


def report_text(executed_notebook: str | Path, folder: str | Path) -> str:
    """The report of a run's folder as text: everything that it needs is inside."""
    from workbench.runs.notebooks import read_cells

    folder = Path(folder)
    read = read_cells(executed_notebook)
    published = read_snapshot(folder)
    told = _told(folder, read)
    cells, pictures = cells_of(read)
    scripts = set(published.scripts if published else ()) | libraries(pictures)
    story = published.story if published else _bare(told, read)
    state = shell.state_of(told)
    if story.get("notices"):
        state = {**state, "notice": " ".join(story["notices"])}
    return shell.render(
        "report.html",
        story=story,
        state=state,
        facts=shell.facts_of(told, folder.name.strip(".").removesuffix(".partial"), story.get("latest")),
        css=shell.css(),
        theme_js=shell.inline(shell.text("theme.js")),
        page_js=shell.inline(shell.text("page.js")),
        document=published.pictures if published else "",
        notebook=cells,
        notebook_pictures=shell.inline_json(pictures) if pictures else "",
        unfold=published is None or told["status"] == "failed",
        scripts=[
            shell.inline(shell.library(name).read_text(encoding="utf-8")) for name in shell.LIBRARIES if name in scripts
        ],
    )


def _told(folder: Path, cells: list[Json]) -> Json:
    """What is known of the run while its record is still being written: its parts, and whether the notebook came to its end."""
    from workbench.runs.context import KERNEL_FILE

    told: Json = {"notebook": folder.parent.name, "status": "running"}
    for name in ("run.json", KERNEL_FILE):
        try:
            told.update(json.loads((folder / name).read_text(encoding="utf-8")))
        except (OSError, ValueError):
            continue
    for source in (told.get("sources") or [])[:1]:
        told.update(source=source.get("source"), source_version=source.get("version"))
    if told["status"] == "running":
        told.update(_outcome(cells))
    if not told.get("ended"):
        from workbench.runs.records import now

        told["ended"] = now()
    return told


def _outcome(cells: list[Json]) -> Json:
    for index, cell in enumerate(cells):
        for output in cell.get("outputs") or []:
            if output.get("output_type") == "error":
                error = {"cell": index, "name": output.get("ename"), "message": output.get("evalue")}
                return {"status": "failed", "error": error}
    notes = [
        cell.get("metadata", {}).get("papermill")
        for cell in cells
        if cell["cell_type"] == "code" and cell["source"].strip()
    ]
    if any(notes) and not all(note and note.get("start_time") for note in notes):
        return {"status": "failed", "error": {"name": "stopped", "message": "the notebook did not come to its end"}}
    return {"status": "good"}


def _bare(told: Json, cells: list[Json]) -> Json:
    """The story of a run that published none: the notebook's own title and first sentence."""
    title, question = heading(cells)
    return {
        "title": title or str(told["notebook"]),
        "question": question,
        "headline": told.get("headline") or [],
        "sections": [],
    }


def heading(cells: list[Json]) -> tuple[str, str]:
    """Title and first paragraph of a notebook's first Markdown cell, "" for what it does not have."""
    for cell in cells:
        if cell["cell_type"] == "markdown":
            lines = cell["source"].strip().split("\n")
            title = lines[0].lstrip("# ").strip() if lines[0].startswith("#") else ""
            rest = "\n".join(lines[1 if title else 0 :]).strip()
            return title, rest.split("\n\n")[0].replace("\n", " ").strip()
    return "", ""


# --- cells -------------------------------------------------------------------------------------------------------------


def cells_of(read: list[Json], *, html: bool = True) -> tuple[list[Json], dict[str, Json]]:
    """The cells of an executed notebook as the template shows them, and the drawings in their outputs by key.

    Without `html` an output that is HTML is shown as its text, so that nothing of it becomes part of the page.
    """
    from markdown_it import MarkdownIt

    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
    pictures: dict[str, Json] = {}
    cells: list[Json] = []
    for cell in read:
        if cell["cell_type"] == "markdown":
            cells.append({"kind": "markdown", "html": _below(markdown.render(cell["source"]))})
        elif cell["cell_type"] == "code":
            outputs = [one for output in cell.get("outputs") or [] for one in _output(output, pictures, html)]
            wrong = any(one["kind"] == "error" for one in outputs)
            cells.append(
                {"kind": "code", "source": cell["source"].rstrip(), "outputs": _joined(outputs), "wrong": wrong}
            )
    return cells, pictures


def _below(html: str) -> str:
    """Headings of a notebook two levels down: it is a part of a page that has its own title and sections.

    >>> _below("<h1>a</h1><h3>b</h3>")
    '<h3>a</h3><h5>b</h5>'
    """
    return re.sub(r"(</?h)([1-6])(?=>)", lambda found: f"{found[1]}{min(6, int(found[2]) + 2)}", html)


def _output(output: Json, pictures: dict[str, Json], html: bool) -> Iterator[Json]:
    kind = output.get("output_type")
    if kind == "stream":
        yield _words(_text(output.get("text", "")))
    elif kind == "error":
        lines = "\n".join(output.get("traceback") or []) or f"{output.get('ename')}: {output.get('evalue')}"
        yield {**_words(lines), "kind": "error"}
    else:
        data = {
            name: value if isinstance(value, (dict, list)) and name.endswith("json") else _text(value)
            for name, value in (output.get("data") or {}).items()
        }
        for one in _shown(data, pictures, html):
            yield {**one, "printed": False}


def _shown(data: Json, pictures: dict[str, Json], whole: bool) -> Iterator[Json]:
    html = data.get("text/html", "")
    if LOADERS in data or "esms-options" in html or '<div class="logo-block">' in html:
        return
    found = EMBEDDED.search(html)
    if html.startswith(f'<div class="{MARK}">'):
        yield _words("The page above.")
    elif found:
        yield from _picture(found, pictures)
    elif EXECUTED in data:
        return
    elif "image/png" in data:
        yield {"kind": "image", "url": "data:image/png;base64," + data["image/png"].replace("\n", "")}
    elif html and whole and not ACTIVE.search(html):
        yield {"kind": "html", "html": html}
    elif "text/plain" in data:
        yield _words(data["text/plain"])


def _picture(found: re.Match[str], pictures: dict[str, Json]) -> Iterator[Json]:
    try:
        documents, items = json.loads(found[1]), json.loads(found[2])
    except ValueError:
        yield _words("This output could not be read.")
        return
    if f'"name":"{MARK}"' in found[1].replace('": "', '":"'):
        yield _words("The page above.")
        return
    for wanted in items:
        document = documents.get(wanted.get("docid"), {})
        roots = [
            root
            for root in document.get("roots", [])
            if _type(root) not in HELPERS and root.get("id") in wanted.get("roots", {})
        ]
        for root in map(_bare_plot, roots):
            key = f"n{len(pictures)}"
            cleaned = _without_addresses({**document, "roots": [root]})
            pictures[key] = {"doc": cleaned, "root_id": root["id"], "version": document.get("version"), "target_id": ""}
            yield {"kind": "picture", "key": key, "height": _height(root)}


def _bare_plot(root: Json) -> Json:
    """The one plot inside a row of spacers, which is how HoloViews shows itself in a notebook; else the root."""
    children = root.get("attributes", {}).get("children") or []
    plots = [one for one in children if _type(one) in ("Figure", "Plot")]
    return plots[0] if len(plots) == 1 and all(_type(one) in ("Figure", "Plot", "Spacer") for one in children) else root


def _type(model: Any) -> str:
    return str(model.get("name", "")).split(".")[-1] if isinstance(model, dict) else ""


def _without_addresses(document: Json) -> Json:
    """A bokeh document without style sheets that another host would have to send."""
    gone = {
        one.get("id")
        for one in walk(document)
        if one.get("name") == "ImportedStyleSheet"
        and str(one.get("attributes", {}).get("url", "")).startswith(("http:", "https:", "//"))
    }

    def clean(node: Any) -> Any:
        if isinstance(node, list):
            return [
                clean(one) for one in node if not (isinstance(one, dict) and one.get("id") in gone and one.get("id"))
            ]
        return {name: clean(value) for name, value in node.items()} if isinstance(node, dict) else node

    kept: Json = clean(document)
    return kept


def _height(root: Json) -> int:
    heights = [
        one["attributes"].get("height")
        for one in walk(root)
        if _type(one) in ("Figure", "Plot") and "attributes" in one
    ]
    return int(max((h for h in heights if h), default=FALLBACK if heights else 40))


def _joined(outputs: list[Json]) -> list[Json]:
    """Printed pieces that follow each other as one."""
    joined: list[Json] = []
    for one in outputs:
        if joined and one["kind"] == joined[-1]["kind"] == "text" and one.get("printed") == joined[-1].get("printed"):
            joined[-1] = {**one, "text": joined[-1]["text"] + "\n" + one["text"]}
        else:
            joined.append(one)
    return joined


def _words(words: str) -> Json:
    plain = COLOUR_CODES.sub("", words).rstrip()
    lines = [line.rsplit("\r", 1)[-1] for line in plain.split("\n")]  # a progress bar's last state
    plain = "\n".join(lines)
    return {"kind": "text", "text": plain if len(plain) <= LONGEST else plain[:LONGEST] + "\n..."}


def _text(value: Any) -> str:
    return "".join(value) if isinstance(value, list) else str(value)
