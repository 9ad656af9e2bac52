"""One set of versions: constraints.txt, pyproject.toml, the conda environments and Binder agree."""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

from scripts import pins

ROOT = Path(__file__).parents[1]
LINES = (ROOT / "constraints.txt").read_text().splitlines()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
FILES = ["environment.yml", "environment-gpu.yml", "binder/environment.yml"]


def test_constraints_are_plain_pins():
    assert sorted(LINES) == LINES
    odd = [line for line in LINES if not re.fullmatch(r"[a-z0-9][a-z0-9._-]*==[A-Za-z0-9.+!]+( ; .+)?", line)]
    assert odd == []


def test_constraints_satisfy_what_the_package_asks_for():
    extras = PROJECT["optional-dependencies"]
    for text in [*PROJECT["dependencies"], *extras["gpu"], *extras["demo"], *extras["test"]]:
        asked = Requirement(text)
        if asked.name == "workbench":
            continue
        found = [line.split(" ;")[0].split("==")[1] for line in LINES if line.startswith(f"{asked.name}==")]
        assert found, f"{asked.name} has no pin"
        assert all(asked.specifier.contains(version) for version in found), text


def test_every_library_that_the_package_imports_is_asked_for():
    extras = PROJECT["optional-dependencies"]
    asked = {
        Requirement(text).name
        for text in [*PROJECT["dependencies"], *(one for name in extras if name != "test" for one in extras[name])]
    }
    bring = {"cupy", "pylibcudf", "pynvml", "rmm"}  # by cudf and dask-cuda, at the versions that fit them
    bring |= {"spacy"}  # by presidio-analyzer, whose models it finds
    bring |= {"IPython"}  # imported only where a notebook's kernel already has it
    modules = {module for module, wheels in packages_distributions().items() if asked & {one.lower() for one in wheels}}
    modules |= {name.replace("-", "_").removesuffix("_cu13") for name in asked} | set(sys.stdlib_module_names) | bring
    for path in sorted((ROOT / "workbench").rglob("*.py")):
        nodes = list(ast.walk(ast.parse(path.read_text())))
        found = {one.name for node in nodes if isinstance(node, ast.Import) for one in node.names}
        found |= {node.module for node in nodes if isinstance(node, ast.ImportFrom)}
        assert {name.split(".")[0] for name in found} - modules - {"workbench"} == set(), path


@pytest.mark.parametrize("path", FILES)
def test_environments_carry_the_pins(path):
    assert (ROOT / path).read_text() == pins.environments(LINES)[path], "`make pins` writes it anew"
    versions = pins.pinned(LINES)
    conda = [one for one in yaml.safe_load((ROOT / path).read_text())["dependencies"] if isinstance(one, str)]
    for name, version in (one.split("=") for one in conda if "=" in one):
        wheel = next((one for one in (name, name.replace("_", "-")) if one in versions), f"{name}-cu13")
        assert name in ("python", "cuda-version") or versions[wheel] == version


def test_gpu_and_test_extras_resolve_together_to_the_same_pins():
    try:
        assert pins.resolve(anew=False) == LINES
    except pins.UnreachableError as problem:
        pytest.skip(f"no package registry can be reached: {problem}")


def test_the_changelog_tells_this_version():
    import workbench

    assert f"## {workbench.__version__}\n" in (ROOT / "CHANGELOG.md").read_text()
