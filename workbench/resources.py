"""Where the notebooks and templates are: beside the modules in an installed package, at the top of a checkout."""

from __future__ import annotations

from pathlib import Path

from workbench.errors import WorkbenchError

_HERE = Path(__file__).resolve().parent


def notebooks_folder() -> Path:
    """The folder of the notebooks that came with the package.

    Raises WorkbenchError where neither an installed package nor a checkout has one.

    >>> (notebooks_folder() / "quality.ipynb").name
    'quality.ipynb'
    """
    return _folder("notebooks")


def templates_folder() -> Path:
    """The folder of the templates that came with the package: the page's look, the report, the skeleton notebook.

    Raises WorkbenchError where neither an installed package nor a checkout has one.

    >>> templates_folder().is_dir()
    True
    """
    return _folder("templates")


def _folder(name: str) -> Path:
    # A checkout's folder comes first, so that an editable installation shows the files that are being edited.
    checkout, installed = _HERE.parent / name, _HERE / f"_{name}"
    for folder in (checkout, installed):
        if folder.is_dir() and (folder is installed or (_HERE.parent / "pyproject.toml").is_file()):
            return folder
    raise WorkbenchError(
        f"the folder {name} is missing: looked for {installed} (an installed package) and {checkout} (a checkout); "
        "install the package again, from a wheel or with `make demo`"
    )
