"""Environments of the peers, since their pins clash: one venv a group under .bench, made by uv. Standard library only."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HOME = ROOT / ".bench"
PANDAS = "pandas>=3.0,<3.1"
GROUPS = {
    "frames": [
        "duckdb==2.0.0",
        "polars==2.1.0",
        "datasketches==5.2.0",
        "dask[dataframe]==2026.7.1",
        PANDAS,
        "pyarrow>=19",
    ],
    "evidently": ["evidently==0.7.23", PANDAS, "pyarrow>=19"],
    "nannyml": ["nannyml==0.13.1", "statsmodels", "pyarrow>=19"],
    "whylogs": ["whylogs==1.6.4", "pandas<3", "numpy<2", "pyarrow>=17,<20", "setuptools<81"],
    "ydata": ["ydata-profiling==4.18.4", "pyarrow>=19", "setuptools<81"],
}
MODULES = {
    "duckdb": "frames",
    "polars": "frames",
    "dask": "frames",
    "pandas": "frames",
    "datasketches": "frames",
    "evidently": "evidently",
    "nannyml": "nannyml",
    "whylogs": "whylogs",
    "ydata_profiling": "ydata",
}


def uv() -> str | None:
    """The uv beside this interpreter, or on the path."""
    beside = Path(sys.executable).with_name("uv")
    return str(beside) if beside.is_file() else shutil.which("uv")


def made(group: str) -> tuple[str, str]:
    """The interpreter of a group, and "" - or "" and why there is none. It is made once, and again when pins change."""
    folder = HOME / group
    stamp, asked = folder / ".asked", "\n".join(GROUPS[group])
    python = folder / "bin" / "python"
    if python.exists() and stamp.exists() and stamp.read_text() == asked:
        return str(python), ""
    tool = uv()
    if tool is None:
        return "", "uv, which makes the peers' environments, is not installed"
    print(f"benchmarks: making .bench/{group}", flush=True)
    for command in (
        [tool, "venv", "--quiet", "--clear", "--python", sys.executable, str(folder)],
        [tool, "pip", "install", "--quiet", "--python", str(python), *GROUPS[group]],
    ):
        try:
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900, check=False)
        except subprocess.TimeoutExpired:
            return "", f"`{group}` was not installed within 900 s"
        if done.returncode:
            words = [line for line in done.stderr.splitlines() if line.strip()]
            return "", f"`{group}` cannot be installed here: {' '.join(words)[-200:]}"
    stamp.write_text(asked)
    return str(python), ""


def here(module: str) -> tuple[str, str]:
    """This interpreter where it has the module, and "" - or "" and that it has not."""
    from importlib.util import find_spec

    return (sys.executable, "") if find_spec(module) else ("", f"{module} is not installed here")
