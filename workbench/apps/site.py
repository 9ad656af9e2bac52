"""What the server shows, as text: the index, a notebook's pages, and pages that say what is missing.

Everything is read from the folders when it is asked for: a new run is there without a restart, a broken one is told as such.
Every link is relative, so that the same pages work under any path and as files.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from urllib.parse import quote

from workbench.apps import shell
from workbench.apps.due import Due, due
from workbench.apps.history import Listing, line, rows, sparks
from workbench.apps.report import REPORT, heading
from workbench.apps.shell import Json
from workbench.apps.snapshot import PICTURES, Snapshot, read_snapshot
from workbench.errors import WorkbenchError, nearest
from workbench.runs.notebooks import read_cells
from workbench.runs.records import Record, partial, plain_name

FIGURES = 6  # of a notebook on the index
OLDER = 8  # runs listed below a page; the history has them all
LOOKED = 400  # runs looked through for a good one before the index says that there is none among them
FILES = {
    "report.html": "text/html; charset=utf-8",
    "notebook.ipynb": "application/x-ipynb+json",
    "run.json": "application/json",
    PICTURES: "application/json",
}


@dataclass(frozen=True)
class Site:
    """The folders behind the pages."""

    runs: Path
    notebooks: Path

    @property
    def listing(self) -> Listing:
        """The runs; one listing serves everybody, so ask `shows` before a name is given to it."""
        return listing_of(self.runs)

    def shows(self, notebook: str) -> bool:
        """Whether a notebook is here for whoever reads; files, runs and pages of another are not there at all."""
        return True

    def files(self) -> dict[str, Path]:
        """The notebooks that can be run, by name."""
        found = (path for path in sorted(self.notebooks.glob("*.ipynb")) if not path.name.startswith("."))
        return {path.stem: path for path in found if self.shows(path.stem)}

    def ran(self) -> list[str]:
        """The names under which there are runs."""
        return [name for name in self.listing.notebooks() if self.shows(name)]

    def names(self) -> list[str]:
        """Every notebook that has a file or a run: those with the newest run first, then those without one."""
        ran = self.ran()
        newest = sorted(ran, key=lambda name: plain_name(Path(self.listing.names(name)[0])), reverse=True)
        return [*newest, *(name for name in self.files() if name not in ran)]

    def known(self, notebook: str) -> Iterator[Record]:
        """The runs of a notebook, newest first. Raises WorkbenchError for a name that is neither a notebook's nor a run's."""
        if notebook not in self.ran() and notebook not in self.files():
            raise WorkbenchError(f"There is no notebook {notebook[:60]!r} here; {nearest(notebook[:60], self.names())}")
        return self.listing.walk(notebook)

    def good(self, notebook: str) -> Record | None:
        """The newest good run of a notebook, None when it has none."""
        return next((one for one in self.known(notebook) if one.status == "good"), None)

    def find(self, notebook: str, run: str | None = None) -> Record:
        """The run of that name, or the latest good one. Raises WorkbenchError for names that no folder has."""
        runs = self.known(notebook)
        if run is None:
            good = next((one for one in runs if one.status == "good"), None)
            if good is None:
                raise WorkbenchError(f"There is no good run of {notebook!r} yet. To make one: {self.command(notebook)}")
            return good
        wanted = self.listing.record(notebook, run)
        if wanted is None or partial(wanted.folder):
            raise WorkbenchError(f"There is no run {run[:60]!r} of {notebook!r}.")
        return wanted

    def command(self, notebook: str) -> str:
        """The command that makes a run of a notebook."""
        path = self.files().get(notebook)
        return f"workbench run {shlex.quote(str(path) if path else notebook)} --runs {shlex.quote(str(self.runs))}"


@lru_cache(16)
def listing_of(runs: Path) -> Listing:
    """The listing of a folder of runs; it looks at the folder itself whenever it is asked."""
    return Listing(runs)


def index(site: Site, leaf: str = "", *, now: datetime | None = None) -> str:
    """The index: every notebook with its question, state, figures, age and next run; what failed comes first, then what is
    late, then what is to be looked at, each with the newest run first; those without a run come last.

    `leaf` is what a link to a folder ends with: nothing on a server, `index.html` in files.
    """
    names = site.names()
    planned, problem = due(site.notebooks, site.runs, now or datetime.now(UTC))
    entries = [_entry(site, name, planned.get(name)) for name in names]
    entries.sort(key=lambda entry: _place(entry["state"]))
    return _render(
        "index.html",
        0,
        leaf,
        entries=entries,
        tally=_tally(entries),
        problem=problem,
        runs=sum(len(site.listing.names(name)) for name in names),
    )


def notebook_page(site: Site, notebook: str, leaf: str = "") -> str:
    """The page of a notebook: its latest good run, or what there is instead. Raises WorkbenchError for an unknown name."""
    good = site.good(notebook)
    return unrun_page(site, notebook, leaf) if good is None else run_page(site, good, latest=True, leaf=leaf)


def run_page(site: Site, record: Record, *, latest: bool, leaf: str = "", served: bool = True) -> str:
    """The published page of a run. `latest` marks the page of the notebook, which says when a newer run has failed.

    A page that is not `served` has its pictures inside instead of sending for them, so that it opens from a disk.
    """
    name = record.folder.parent.name
    published, problem = _published(record, drawn=not served)
    story = published.story if published else bare(site, record)
    state = shell.state_of(
        record.told or {"status": record.status, "error": record.error},
        newer=_newer_failure(record, site.known(name)) if latest else None,
    )
    notices = [state["notice"]] if state.get("notice") else []
    notices += story.get("notices") or []
    if problem:
        notices.append(problem)
    elif published is None and record.status == "good":
        notices.append("This run published no page; its report shows the notebook.")
    root = "../" if latest else "../../"
    links = links_of(site, record, root, leaf)
    if served and record.status == "good" and published is not None:
        links["live"] = f"{root}live/{quote(name, safe='')}/{record.folder.name}"
    return _render(
        "published.html",
        1 if latest else 2,
        leaf,
        story=story,
        state={**state, "notice": " ".join(notices)},
        facts=facts(record, story),
        links=links,
        here="latest" if latest else "page",
        older=_older(site, record, root, leaf),
        pictures=f"{root}{quote(name, safe='')}/{record.folder.name}/{PICTURES}" if published and served else "",
        document=published.pictures if published and not served else "",
        scripts=shell.scripts(published.scripts) if published else [],
    )


def history_page(site: Site, notebook: str, asked: str = "", leaf: str = "") -> str:
    """The runs of a notebook by date. Raises WorkbenchError for an unknown notebook or an `asked` that is no day."""
    site.known(notebook)
    title = about(site, notebook)[0] or notebook
    links = links_to(site, notebook, "../../", leaf)
    table = rows(site.listing, notebook, asked)
    return _render("history.html", 2, leaf, notebook=notebook, title=title, table=table, links=links, here="history")


def missing(title: str, sentence: str, command: str = "") -> str:
    """A page of one sentence and, where one helps, the command; the only one with links from the top, as it may be anywhere."""
    links = {"home": "/"}
    return _render(
        "empty.html", 0, title=title, sentence=sentence, command=command, root="/", static="/assets", links=links
    )


def unrun_page(site: Site, notebook: str, leaf: str = "") -> str:
    """The page of a notebook without a good run: one sentence and the command."""
    title, question = about(site, notebook)
    newest = next(site.known(notebook), None)
    failed = next((one for one in site.known(notebook) if one.status == "failed"), None)
    links = links_to(site, notebook, "../", leaf)
    more: Json = {"question": question, "notebook": notebook, "links": links, "here": "latest"}
    if failed is not None:
        error = failed.error or {}
        state = {"word": "Failed", "colour": "bad"}
        when = shell.when(failed.ended or failed.started)
        sentence = f"There is no good run of `{notebook}` yet; the newest, {when}, failed: {error.get('name', '')}."
        more["link"] = f"{plain_name(failed.folder)}/detail/{leaf}"
        more["message"] = str(error.get("message") or "")[:2000]
    elif newest is not None:
        state = {"word": "Running", "colour": ""}
        sentence = f"The first run of `{notebook}` is at work; this page is filled when it is over."
    else:
        state = {"word": "Never ran", "colour": ""}
        sentence = f"`{notebook}` has not been run yet. This makes its first page:"
    return _render(
        "empty.html",
        1,
        leaf,
        title=title or notebook,
        sentence=sentence,
        command=site.command(notebook),
        state=state,
        **more,
    )


# --- parts of pages ----------------------------------------------------------------------------------------------------


def render(template: str, depth: int, leaf: str = "", **values: object) -> str:
    """A page as text; `depth` is how many folders it lies below the index, `leaf` what links to folders end with."""
    root = "../" * depth or "./"
    given = {"root": root, "leaf": leaf, "static": f"{root}assets", "ages": True, "look": shell.look_version()}
    return shell.render(template, **{**given, "links": {"home": root + leaf}, **values})


_render = render


def facts(record: Record, story: Json) -> Json:
    """What a page tells of a run beside its answer."""
    name = record.folder.parent.name
    told = shell.facts_of(record.told or {"notebook": name}, record.folder.name, story.get("latest"))
    return {**told, "notebook": name}


def links_to(site: Site, notebook: str, root: str, leaf: str = "") -> dict[str, str]:
    """Where the pages of a notebook are, from a page whose index is at `root`; a comparison where there are two runs."""
    base = f"{root}{quote(notebook, safe='')}/"
    over = [name for name in site.listing.names(notebook)[:20] if not name.startswith(".")]
    names = {"latest": "", "history": "history/", **({"compare": "compare/"} if len(over) > 1 else {})}
    return {"home": root + leaf, **{name: base + place + leaf for name, place in names.items()}}


def links_of(site: Site, record: Record, root: str, leaf: str = "") -> dict[str, str]:
    """Where a run's other pages and files are, from a page whose index is at `root`."""
    name = record.folder.parent.name
    base = f"{root}{quote(name, safe='')}/{record.folder.name}/"
    files = {"report": REPORT, "notebook": "notebook.ipynb", "record": "run.json"}
    found = {kind: base + file for kind, file in files.items() if (record.folder / file).is_file()}
    return {**links_to(site, name, root, leaf), "page": base + leaf, "detail": f"{base}detail/{leaf}", **found}


def bare(site: Site, record: Record) -> Json:
    """The story of a run that published none."""
    title, question = about(site, record.folder.parent.name)
    return {
        "title": title or record.folder.parent.name,
        "question": question,
        "headline": record.headline,
        "sections": [],
    }


def about(site: Site, notebook: str) -> tuple[str, str]:
    """Title and question of a notebook's file, "" for what it does not have."""
    path = site.files().get(notebook)
    try:
        return _heading(path, path.stat().st_mtime_ns) if path else ("", "")
    except (WorkbenchError, OSError):
        return "", ""


@lru_cache(256)
def _heading(path: Path, changed: int) -> tuple[str, str]:
    return heading(read_cells(path))


def _published(record: Record, drawn: bool) -> tuple[Snapshot | None, str]:
    try:
        return read_snapshot(record.folder, drawn), ""
    except WorkbenchError as error:
        return None, str(error)


def _newer_failure(record: Record, runs: Iterator[Record]) -> Json | None:
    for one in runs:
        if one.folder == record.folder:
            return None
        if one.status == "failed":
            return one.told or {"ended": None, "started": None}
    return None


def _older(site: Site, record: Record, root: str, leaf: str) -> list[Json]:
    name = record.folder.parent.name
    found = []
    for one in site.known(name):
        if one.folder != record.folder and not partial(one.folder):
            found.append({**line(one), "link": f"{root}{quote(name, safe='')}/{one.folder.name}/{leaf}"})
        if len(found) == OLDER:
            break
    return found


def _entry(site: Site, name: str, planned: Due | None) -> Json:
    told: Json = {"name": name, "title": name, "question": "", "headline": [], "sparks": {}, "count": 0, "command": ""}
    told.update(next=planned.told() if planned else None)
    newest, good = None, None
    for place, one in enumerate(site.listing.walk(name)):
        newest = newest or one
        if one.status == "good":
            good = one
        if good or place >= LOOKED:
            break
    if newest is None:
        return {**told, **_unrun(site, name), "command": site.command(name)}
    shown = good or newest
    try:
        story = _headline_of(shown) or bare(site, shown)
        problem = ""
    except WorkbenchError as error:
        story, problem = bare(site, shown), str(error)
    state = shell.state_of(
        shown.told or {"status": shown.status, "error": shown.error},
        newer=_newer_failure(shown, site.listing.walk(name)),
        expected=planned.missed(good) if planned and good else None,
    )
    if state.get("error"):
        state["notice"] = state["error"]["sentence"]
    if problem:
        state.update(word="Damaged", colour="bad", notice=problem)
    return {
        **told,
        "title": story["title"],
        "question": story["question"],
        "state": state,
        "running": newest.status == "running" and newest is not shown,
        "latest": story.get("latest"),
        "ended": shown.ended if shown.status != "running" else None,
        "headline": foremost(story["headline"]),
        "sparks": sparks(shown, site.listing.walk(name)) if shown.status == "good" else {},
        "count": len(site.listing.names(name)),
        "command": site.command(name) if good is None else "",
    }


def _headline_of(record: Record) -> Json | None:
    """The words and figures that a run published, without its pictures."""
    from workbench.apps.snapshot import read_story

    return read_story(record.folder)


def foremost(headline: list[Json]) -> list[Json]:
    """The figures of a notebook that the index shows: those to look at and the first others, in their order."""
    places = sorted(range(len(headline)), key=lambda place: (headline[place].get("good") is not False, place))
    return [headline[place] for place in sorted(places[:FIGURES])]


def _unrun(site: Site, name: str) -> Json:
    path = site.files()[name]
    try:
        title, question = _heading(path, path.stat().st_mtime_ns)
        return {"title": title or name, "question": question, "state": {"word": "Never ran", "colour": ""}}
    except (WorkbenchError, OSError) as error:
        return {"state": {"word": "Damaged", "colour": "bad", "notice": str(error)}}


def _place(state: Json) -> int:
    """Where a state comes on the index, the first 0: failed or damaged, late, to be looked at, the others."""
    return 1 if state["word"] == "Stale" else {"bad": 0, "warn": 2}.get(state["colour"], 3)


def _tally(entries: list[Json]) -> list[Json]:
    """How many notebooks are in which state, worst first."""
    order = {"bad": 0, "warn": 1, "": 2, "good": 3}
    words: dict[tuple[str, str], int] = {}
    for entry in entries:
        word = "To look at" if entry["state"]["word"].endswith("to look at") else entry["state"]["word"]
        key = (word, entry["state"]["colour"])
        words[key] = words.get(key, 0) + 1
    return [
        {"word": w, "colour": c, "count": n} for (w, c), n in sorted(words.items(), key=lambda one: order[one[0][1]])
    ]
