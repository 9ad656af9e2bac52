"""Pages that need no server: a run as one file, and the whole site as a folder for any web server or for a disk."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from workbench.apps import shell
from workbench.apps.compare import compare_page
from workbench.apps.detail import detail_page
from workbench.apps.history import Listing
from workbench.apps.report import report_text
from workbench.apps.site import FILES, Site, history_page, index, run_page, unrun_page
from workbench.apps.snapshot import PICTURES
from workbench.errors import WorkbenchError
from workbench.runs.records import Record, partial, write_whole

LEAF = "index.html"
MARK = ".workbench-site"  # in a folder that an export has written, and the next one may write anew
SCRIPTS = ("bokeh", "bokeh-widgets", "bokeh-tables")


def export_run(record: Record, path: str | Path) -> Path:
    """Writes a run's page, figures, pictures and executed notebook as one HTML file that asks no network; gives its path.

    Raises WorkbenchError for a run that is not over, one without its executed notebook, and a path that is a folder.
    """
    path = Path(path)
    notebook = record.folder / "notebook.ipynb"
    if partial(record.folder):
        raise WorkbenchError(f"The run {record.folder.name} is still at work; export it when it is over.")
    if not notebook.is_file():
        raise WorkbenchError(
            f"The run {record.folder.name} has no notebook.ipynb, so there is nothing to make a page of."
        )
    if path.is_dir() or not path.parent.is_dir():
        kind = "is a folder" if path.is_dir() else "is in a folder that is not there"
        raise WorkbenchError(f"{str(path)!r} {kind}; give the file to write, as in page.html.")
    text = report_text(notebook, record.folder)
    write_whole(path, lambda aside: aside.write_text(text, encoding="utf-8"))
    return path


def export_site(runs: str | Path, notebooks: str | Path, folder: str | Path, *, latest: int = 10) -> Path:
    """Writes index, notebooks, runs, histories and comparisons into a folder of files with relative links; gives its path.

    Of each notebook the `latest` newest runs are there, and the newest good one. The folder is written aside and put in its
    place when it is whole. Raises WorkbenchError where the folder holds something that no export has written.
    """
    folder = Path(folder).absolute()
    if folder.exists() and not (folder / MARK).is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise WorkbenchError(f"{str(folder)!r} holds files that no export has written; give a new or an empty folder.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    site = Exported(Path(runs).resolve(), Path(notebooks).resolve(), latest)
    aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        aside.chmod(0o755)
        for place, text in _pages(site):
            target = aside.joinpath(*place)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8")
        _files(site, aside)
        _assets(aside / "assets")
        (aside / MARK).write_text("Written by `workbench export --site`, which may write this folder anew.\n")
        before = aside.with_name(f"{aside.name}.before")
        if folder.exists():
            folder.rename(before)
        aside.rename(folder)
        shutil.rmtree(before, ignore_errors=True)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return folder


@dataclass(frozen=True)
class Exported(Site):
    """A site of the newest runs that are over."""

    latest: int

    @property
    def listing(self) -> Listing:
        return Newest(self.runs, latest=self.latest)


@dataclass
class Newest(Listing):
    """A listing of the newest runs that are over, with the newest good one."""

    latest: int = 10

    def _runs(self, notebook: str) -> tuple[str, ...]:
        over = [name for name in super()._runs(notebook) if not name.startswith(".")]
        kept, rest = over[: self.latest], over[self.latest :]
        records = (self._read(notebook, name) for name in [*kept, *rest])
        good = next((one.folder.name for one in records if one is not None and one.status == "good"), None)
        return tuple([*kept, good] if good in rest else kept)


def _pages(site: Site) -> Iterator[tuple[tuple[str, ...], str]]:
    """Every page with its place."""
    yield (LEAF,), index(site, LEAF)
    for name in site.names():
        good = site.good(name)
        text = (
            unrun_page(site, name, LEAF) if good is None else run_page(site, good, latest=True, leaf=LEAF, served=False)
        )
        yield (name, LEAF), text
        yield (name, "history", LEAF), history_page(site, name, leaf=LEAF)
        records = list(site.known(name))
        if len(records) > 1:
            yield (name, "compare", LEAF), compare_page(site, name, leaf=LEAF)
        for record in records:
            run = record.folder.name
            yield (name, run, LEAF), run_page(site, record, latest=False, leaf=LEAF, served=False)
            yield (name, run, "detail", LEAF), detail_page(site, name, run, LEAF)


def _files(site: Site, aside: Path) -> None:
    for name in site.ran():
        for record in site.known(name):
            for file in FILES:
                if file != PICTURES and (record.folder / file).is_file():  # the pictures are in the pages
                    shutil.copyfile(record.folder / file, aside / name / record.folder.name / file)


def _assets(folder: Path) -> None:
    folder.mkdir()
    (folder / "page.js").write_text(shell.text("page.js"), encoding="utf-8")
    for name in SCRIPTS:
        shutil.copyfile(shell.library(name), folder / f"{name}.js")
