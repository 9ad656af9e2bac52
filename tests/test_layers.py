"""Imports run one way: tables, cubes, analyses and views, runs, apps, command line; and devices stay in their rooms."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "workbench"
BASE = {"errors", "interrupts", "resources"}
MAY = {
    "errors": set(),
    "resources": set(),
    "interrupts": set(),
    "tables": {"clusters"},  # workers that steps of a flow go to
    "examples": {"tables"},
    "example_costs": {"examples"},
    "progress": set(),
    "processes": set(),
    "clusters": {"progress", "processes"},
    "cubes": {"tables", "clusters"},
    "analyses": {"cubes"},
    "views": set(),
    "runs": {"tables", "cubes", "workbench"},  # inside functions: a notebook's `begin` opens tables and cubes
    "apps": {"views", "runs", "cubes"},
    "cli": {"examples", "tables", "cubes", "analyses", "runs", "apps", "demo"},
    "demo": {"examples", "example_costs", "tables", "runs", "cli"},
    "lab": {"runs", "apps"},
    "launcher": set(),
    "__init__": {"tables", "clusters", "cubes", "analyses", "views", "runs", "apps", "examples"},
}
# One question each. What they share lives in modules of analyses/ that are not in this list: parts, money, prices ...
ANALYSES = {
    *("quality", "drift", "performance"),
    *("cost", "allocation", "waterfall", "budget", "reconcile", "whatif", "focus_rows", "returns"),
}
MODULES = sorted(PACKAGE.rglob("*.py"))


def room(module):
    """The room of a file or of a dotted name: its first part below the package."""
    return (module.relative_to(PACKAGE).parts[0] if isinstance(module, Path) else module).removesuffix(".py")


def imported(tree):
    """The dotted names of all imports in a tree, `from a import b` as `a.b`, so that rooms are seen in both spellings."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (one.name for one in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are written in full"
            yield from (f"{node.module}.{one.name}" for one in node.names)


def rooms_of(tree):
    for name in imported(tree):
        top, _, rest = name.partition(".")
        if top == "workbench" and rest != "__version__":
            first = rest.split(".")[0]
            yield first if first in MAY else "workbench"


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_run_one_way(module):
    found = set(rooms_of(ast.parse(module.read_text())))
    assert found <= MAY[room(module)] | BASE | {room(module)}


@pytest.mark.parametrize("module", sorted((PACKAGE / "analyses").glob("*.py")), ids=lambda path: path.name)
def test_no_analysis_imports_another_and_none_knows_the_kernels(module):
    names = set(imported(ast.parse(module.read_text())))
    others = ANALYSES - {module.stem}
    assert not [name for name in names if name.startswith("workbench.analyses.") and name.split(".")[2] in others]
    assert not [name for name in names if name.startswith(("workbench.cubes.kernels", "workbench.cubes.counting"))]


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_devices_stay_in_their_rooms(module):
    tree = ast.parse(module.read_text())
    gpu = {name.split(".")[0] for name in imported(tree)} & {
        "cudf",
        "cupy",
        "dask_cudf",
        "dask_cuda",
        "rmm",
        "pynvml",
        "pylibcudf",
    }
    assert not gpu or room(module) in {"tables", "cubes", "clusters"}
    assert "dask_cuda" not in gpu or module.name == "clusters.py"
    top = {name.split(".")[0] for node in tree.body for name in imported(node) if not isinstance(node, ast.FunctionDef)}
    assert not top & {"cudf", "cupy", "dask_cudf", "dask_cuda", "rmm", "pylibcudf"}, (
        "imported where it is used, not with the module"
    )
