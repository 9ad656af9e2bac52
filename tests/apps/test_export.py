"""A run as one file and the site as a folder: whole, without addresses of others, with links that lead somewhere."""

from __future__ import annotations

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest

from workbench.apps.export import export_run, export_site
from workbench.cli import main
from workbench.errors import WorkbenchError
from workbench.runs.records import read_record


@pytest.fixture(scope="module")
def two(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three runs of the notebook, the newest failed, and one at work."""
    folder = tmp_path_factory.mktemp("two") / "runs"
    shutil.copytree(runs, folder)
    (run,) = (folder / "waves").iterdir()
    shutil.copytree(run, run.with_name("20990101T000000Z"))
    failed = run.with_name("20990102T000000Z")
    failed.mkdir()
    shutil.copy(run / "notebook.ipynb", failed)
    (failed / "run.json").write_text(json.dumps({"status": "failed", "error": {"name": "KeyError", "message": "no"}}))
    working = run.with_name(".20990103T000000Z.partial")
    working.mkdir()
    (working / "run.json").write_text('{"status": "running"}')
    return folder


@pytest.fixture(scope="module")
def exported(two: Path, notebooks: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_site(two, notebooks, tmp_path_factory.mktemp("out") / "site")


class Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.ids: set[str] = set()

    def handle_starttag(self, tag, attrs):
        told = dict(attrs)
        self.found += [told[name] for name in ("href", "src", "action", "data-pictures") if told.get(name)]
        self.ids |= {told["id"]} if told.get("id") else set()


def test_every_link_of_the_site_is_relative_and_leads_to_a_file(exported):
    pages = sorted(exported.rglob("*.html"))
    assert len(pages) > 10
    for page in pages:
        if page.name == "report.html":
            continue
        links = Links()
        links.feed(page.read_text())
        assert links.found
        for link in links.found:
            if link.startswith("data:"):
                continue
            if link.startswith("#"):
                assert link[1:] in links.ids
                continue
            assert not re.match(r"/|\w+:", link), (page, link)
            assert (page.parent / unquote(link.split("?")[0])).is_file(), (page, link)


def test_the_site_has_every_kind_of_page(exported):
    run = next(path.name for path in (exported / "waves").iterdir() if path.name.startswith("20990101"))
    places = [
        "index.html",
        "waves/index.html",
        "waves/history/index.html",
        "waves/compare/index.html",
        "later/index.html",
    ]
    places += [f"waves/{run}/index.html", f"waves/{run}/detail/index.html", f"waves/{run}/report.html"]
    for place in places:
        assert (exported / place).is_file(), place
    assert "Open live" not in (exported / "waves" / "index.html").read_text()
    assert not (exported / "waves" / ".20990103T000000Z.partial").exists()
    assert "Failed last" in (exported / "index.html").read_text()


def test_few_runs_keep_the_newest_good_one(two, notebooks, tmp_path):
    site = export_site(two, notebooks, tmp_path / "site", latest=1)
    names = sorted(path.name for path in (site / "waves").iterdir() if path.name.startswith("2"))
    assert names == ["20990101T000000Z", "20990102T000000Z"]


def test_a_folder_of_somebody_else_is_left_alone(two, notebooks, tmp_path):
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(WorkbenchError, match="no export has written"):
        export_site(two, notebooks, tmp_path)
    assert (tmp_path / "mine.txt").read_text() == "precious"
    with pytest.raises(WorkbenchError, match="no export has written"):
        export_site(two, notebooks, tmp_path / "mine.txt")


def test_a_site_is_written_anew_and_nothing_is_left_beside_it(two, notebooks, tmp_path):
    site = export_site(two, notebooks, tmp_path / "site", latest=1)
    (site / "stale.html").write_text("old")
    export_site(two, notebooks, site, latest=1)
    assert not (site / "stale.html").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["site"]


def test_one_file_has_everything_inside(runs, tmp_path):
    record = read_record(next((runs / "waves").iterdir()))
    page = export_run(record, tmp_path / "page.html")
    links = Links()
    links.feed(re.sub(r"<script>.*?</script>", "", page.read_text(), flags=re.DOTALL))
    assert all(link.startswith(("data:", "#")) for link in links.found)
    assert "<h1>Waves</h1>" in page.read_text()


def test_what_cannot_be_exported_is_told(two, tmp_path):
    runs = two / "waves"
    good = read_record(runs / "20990101T000000Z")
    with pytest.raises(WorkbenchError, match="still at work"):
        export_run(read_record(runs / ".20990103T000000Z.partial"), tmp_path / "x.html")
    with pytest.raises(WorkbenchError, match="is a folder"):
        export_run(good, tmp_path)
    with pytest.raises(WorkbenchError, match="not there"):
        export_run(good, tmp_path / "no" / "x.html")


def test_the_command_writes_and_says_where(two, notebooks, tmp_path, capsys):
    page, site = tmp_path / "page.html", tmp_path / "site"
    assert main(["export", "waves/20990101T000000Z", str(page), "--runs", str(two)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(page)
    assert (
        main(["export", "--site", str(site), "--runs", str(two), "--notebooks", str(notebooks), "--latest", "1"]) == 0
    )
    assert capsys.readouterr().out.splitlines()[-1] == str(site)
    assert (site / "index.html").is_file()


@pytest.mark.parametrize("words", [[], ["waves"], ["waves", "x.html", "--site", "y"], ["--site", "y", "--latest", "0"]])
def test_a_command_that_cannot_be_done_is_told(two, words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["export", *words, "--runs", str(two)]) == 2
    assert "export" in capsys.readouterr().err.lower() or words[-1] == "0"
