"""What the server shows, as text: the index, a run's published page, and pages that say what is missing.

Everything is read from the folders when it is asked for: a new run is there without a restart, a broken one is told as such.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from workbench.apps import shell
from workbench.apps.report import REPORT, heading
from workbench.apps.shell import Json
from workbench.apps.snapshot import PICTURES, Snapshot, read_snapshot
from workbench.errors import WorkbenchError, nearest
from workbench.runs.notebooks import read_cells
from workbench.runs.records import Record, list_runs, partial, plain_name

FIGURES = 6  # of a notebook on the index
OLDER = 30  # runs listed on one page
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

    def files(self) -> dict[str, Path]:
        """The notebooks that can be run, by name."""
        return {path.stem: path for path in sorted(self.notebooks.glob("*.ipynb")) if not path.name.startswith(".")}

    def records(self) -> dict[str, list[Record]]:
        """Every run by the name of its folder's notebook, newest first, with those at work."""
        found: dict[str, list[Record]] = {}
        for record in list_runs(self.runs, running=True):
            found.setdefault(record.folder.parent.name, []).append(record)
        return found

    def known(self, notebook: str) -> list[Record]:
        """The runs of a notebook, newest first. Raises WorkbenchError for a name that is neither a notebook's nor a run's."""
        records, files = self.records(), self.files()
        if notebook not in records and notebook not in files:
            raise WorkbenchError(
                f"There is no notebook {notebook[:60]!r} here; {nearest(notebook[:60], [*files, *records])}"
            )
        return records.get(notebook, [])

    def find(self, notebook: str, run: str | None = None) -> Record:
        """The run of that name, or the latest good one. Raises WorkbenchError for names that no folder has."""
        runs = self.known(notebook)
        if run is None:
            good = next((one for one in runs if one.status == "good"), None)
            if good is None:
                raise WorkbenchError(f"There is no good run of {notebook!r} yet. To make one: {self.command(notebook)}")
            return good
        wanted = next((one for one in runs if one.folder.name == run and not partial(one.folder)), None)
        if wanted is None:
            raise WorkbenchError(f"There is no run {run[:60]!r} of {notebook!r}.")
        return wanted

    def command(self, notebook: str) -> str:
        """The command that makes a run of a notebook."""
        path = self.files().get(notebook)
        return f"workbench run {shlex.quote(str(path) if path else notebook)} --runs {shlex.quote(str(self.runs))}"


def index(site: Site) -> str:
    """The index: every notebook with its question, state, figures, age and older runs; newest run first, then those without."""
    records, files = site.records(), site.files()
    names = sorted(records, key=lambda name: records[name][0].folder.name.lstrip("."), reverse=True)
    entries = [_entry(site, name, records[name]) for name in names]
    entries += [_unrun(site, name, path) for name, path in files.items() if name not in records]
    runs = sum(len(one) for one in records.values())
    sentence = f"{len(entries)} notebook{'s' if len(entries) != 1 else ''}, {runs} run{'s' if runs != 1 else ''}."
    return _render("index.html", entries=entries, sentence=sentence)


def run_page(site: Site, record: Record, *, latest: bool) -> str:
    """The published page of a run. `latest` marks the page of the notebook, which says when a newer run has failed."""
    runs = site.known(record.folder.parent.name)
    published, problem = _published(record)
    name = record.folder.parent.name
    story = published.story if published else _bare(site, record)
    state = shell.state_of(
        record.told or {"status": record.status, "error": record.error},
        newer=_newer_failure(record, runs) if latest else None,
    )
    notices = [state["notice"]] if state.get("notice") else []
    notices += story.get("notices") or []
    if problem:
        notices.append(problem)
    elif published is None and record.status == "good":
        notices.append("This run published no page; its report shows the notebook.")
    links = {"home": "/", **_links(record)}
    if record.status == "good" and published is not None:
        links["live"] = f"/live/{name}/{record.folder.name}"
    return _render(
        "published.html",
        story=story,
        state={**state, "notice": " ".join(notices)},
        facts={
            **shell.facts_of(record.told or {"notebook": name}, record.folder.name, story.get("latest")),
            "notebook": name,
        },
        links=links,
        older=[_line(one) for one in runs if one.folder != record.folder and not partial(one.folder)][:OLDER],
        pictures=f"/{name}/{record.folder.name}/{PICTURES}" if published else "",
        scripts=[
            script_address(script)
            for script in ("bokeh", "bokeh-widgets", "bokeh-tables")
            if published and script in published.scripts
        ],
    )


def missing(title: str, sentence: str, command: str = "") -> str:
    """A page of one sentence and, where one helps, the command."""
    return _render("empty.html", title=title, sentence=sentence, command=command)


def unrun_page(site: Site, notebook: str, runs: list[Record]) -> str:
    """The page of a notebook without a good run: one sentence and the command."""
    title = _about(site, notebook)[0] or notebook
    failed = next((one for one in runs if one.status == "failed"), None)
    if failed is not None:
        error = failed.error or {}
        when = shell.moment(failed.ended)
        sentence = f"There is no good run of `{notebook}` yet; the newest, {when}, failed: {error.get('name', '')}."
    elif runs:
        sentence = f"The first run of `{notebook}` is at work; this page is filled when it is over."
    else:
        sentence = f"`{notebook}` has not been run yet. This makes its first page:"
    return missing(title, sentence, site.command(notebook))


def script_address(name: str) -> str:
    """Where the server gives a script of the installed bokeh; changes with the version, so that a browser may keep it."""
    import bokeh

    return f"/assets/{name}.js?v={bokeh.__version__}"


def _render(template: str, **values: object) -> str:
    return shell.render(template, static="/assets", ages=True, look=shell.look_version(), **values)


def _published(record: Record) -> tuple[Snapshot | None, str]:
    try:
        return read_snapshot(record.folder), ""
    except WorkbenchError as error:
        return None, str(error)


def _links(record: Record) -> dict[str, str]:
    base = f"/{record.folder.parent.name}/{record.folder.name}/"
    names = {"report": REPORT, "notebook": "notebook.ipynb", "record": "run.json"}
    return {name: base + file for name, file in names.items() if (record.folder / file).is_file()}


def _newer_failure(record: Record, runs: list[Record]) -> Json | None:
    for one in runs:
        if one.folder == record.folder:
            return None
        if one.status == "failed":
            return one.told or {"ended": None, "started": None}
    return None


def _bare(site: Site, record: Record) -> Json:
    title, question = _about(site, record.folder.parent.name)
    return {
        "title": title or record.folder.parent.name,
        "question": question,
        "headline": record.headline,
        "sections": [],
    }


def _about(site: Site, notebook: str) -> tuple[str, str]:
    path = site.files().get(notebook)
    try:
        return heading(read_cells(path)) if path else ("", "")
    except (WorkbenchError, OSError):
        return "", ""


def _line(record: Record) -> Json:
    name = record.folder.parent.name
    over = not partial(record.folder)
    state = shell.state_of({**record.told, "status": record.status})
    return {"name": plain_name(record.folder), "ended": record.ended or record.started or plain_name(record.folder),
            "state": state, "link": f"/{name}/{record.folder.name}/" if over else ""}  # fmt: skip


def _entry(site: Site, name: str, runs: list[Record]) -> Json:
    good = next((one for one in runs if one.status == "good"), None)
    shown = good or runs[0]
    published, problem = _published(shown)
    story = published.story if published else _bare(site, shown)
    state = shell.state_of(
        shown.told or {"status": shown.status, "error": shown.error}, newer=_newer_failure(shown, runs)
    )
    if state.get("error"):
        state["notice"] = state["error"]["sentence"]
    if problem:
        state.update(word="Damaged", colour="bad", notice=problem)
    return {
        "title": story["title"],
        "question": story["question"],
        "link": f"/{name}/",
        "state": state,
        "latest": story.get("latest"),
        "ended": shown.ended if shown.status != "running" else None,
        "headline": _foremost(story["headline"]),
        "command": "",
        "runs": [_line(one) for one in runs][:OLDER],
    }


def _foremost(headline: list[Json]) -> list[Json]:
    """The figures of a notebook that the index shows: those to look at and the first others, in their order."""
    places = sorted(range(len(headline)), key=lambda place: (headline[place].get("good") is not False, place))
    return [headline[place] for place in sorted(places[:FIGURES])]


def _unrun(site: Site, name: str, path: Path) -> Json:
    try:
        title, question = heading(read_cells(path))
        state = {"word": "Not run yet", "colour": ""}
    except (WorkbenchError, OSError) as error:
        title, question, state = name, "", {"word": "Damaged", "colour": "bad", "notice": str(error)}
    return {
        "title": title or name,
        "question": question,
        "link": f"/{name}/",
        "state": state,
        "headline": [],
        "runs": [],
        "command": site.command(name),
    }
