"""The documentation tells what is there: names, commands, targets, links, and examples that run."""

import doctest
import inspect
import re
from pathlib import Path

import pytest

from scripts import reference

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
README = (ROOT / "README.md").read_text()
TARGETS = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))

TELLING = {"args", "kwargs", "cube", "cubes", "path", "title", "question"}  # their names say all that there is to say


def public():
    import workbench

    return workbench.__all__


def test_reference_is_current():
    assert reference.PATH.read_text() == reference.text(), "`make reference` writes it anew"


@pytest.mark.parametrize("name", public())
def test_public_names_are_described(name):
    import workbench

    thing = getattr(workbench, name)
    assert f"`wb.{name}`" in reference.PATH.read_text()
    assert isinstance(thing, str) or len(inspect.getdoc(thing) or "") > 30, f"wb.{name} has no docstring"
    if inspect.isroutine(thing):
        names = [p for p in inspect.signature(thing).parameters if p not in TELLING]
        words = inspect.getdoc(thing) or ""
        assert [p for p in names if not re.search(rf"\b{p}\b", words)] == [], f"parameters of wb.{name} without a word"


def test_make_targets_are_described_and_exist():
    told = set(re.findall(r"`make ([a-z-]+)", "".join(page.read_text() for page in PAGES)))
    told |= set(re.findall(r"^make ([a-z-]+)", README, re.MULTILINE))
    assert {"demo", "test"} <= told
    assert told <= TARGETS
    assert set(re.findall(r"^([a-z][a-z-]*):.*## .+", (ROOT / "Makefile").read_text(), re.MULTILINE)) == TARGETS


def test_demo_and_test_are_the_first_commands_of_the_readme():
    assert re.findall(r"^(?:make|workbench|pip|python)\b.*", README, re.MULTILINE)[0].startswith("make demo")
    assert re.findall(r"^(?:make|workbench|pip|python)\b.*", README, re.MULTILINE)[1].startswith("make test")


def test_every_command_is_described():
    from workbench.cli import parser

    found = reference.commands(parser())
    assert set(found) >= {"run", "show", "serve", "examples", "runs"}
    for name, command in found.items():
        assert command.description, name
        assert [one.dest for one in reference.options(command) if not one.help] == []
    for name in ("run", "show", "serve", "examples", "runs"):
        assert f"workbench {name}" in README


def test_the_page_of_schedules_tells_every_key_and_its_example_has_no_mistake(tmp_path):
    from workbench.runs import schedule, schedule_file

    page = (ROOT / "docs" / "scheduling.md").read_text()
    keys = {key for line in re.findall(r"^\| (`.+?) \|", page, re.MULTILINE) for key in re.findall(r"`([\w-]+)`", line)}
    assert set(schedule_file.KEYS) <= keys
    for one in (*schedule.KINDS, *schedule.OVERLAPS, *schedule.CATCH_UPS, *schedule.TESTS):
        assert f"`{one}" in page, one
    (example,) = re.findall(r"```yaml\n(.*?)```", page, re.S)
    (tmp_path / "schedule.yml").write_text(example)
    assert [entry.name for entry in schedule.read_schedule(tmp_path / "schedule.yml").entries] == ["quality", "drift"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_address_of_this_machine_or_of_a_registry(page):
    assert not re.search(r"(?<![\w.~])/(?:work|home|root|tmp)/|index-url|/simple\b", page.read_text())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_examples_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    flags = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    text = re.sub(r"^```.*$", "", page.read_text(), flags=re.MULTILINE)
    examples = doctest.DocTestParser().get_doctest(text, {}, page.name, str(page), 0)
    said: list[str] = []
    assert doctest.DocTestRunner(optionflags=flags).run(examples, out=said.append).failed == 0, "".join(said)
