"""What is installed is whole: the wheel brings notebooks and templates, and finds them away from any checkout."""

import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_wheel_brings_notebooks_and_templates(tmp_path):
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path / "dist")]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True, timeout=120)
    (wheel,) = (tmp_path / "dist").glob("workbench-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    site = tmp_path / "site" / "workbench"
    for name in ("notebooks", "templates"):
        kept = {path.name for path in (ROOT / name).iterdir() if path.suffix in (".ipynb", ".html", ".css", ".js")}
        assert kept
        assert kept <= {path.name for path in (site / f"_{name}").iterdir()}
    code = "from workbench.resources import notebooks_folder as n, templates_folder as t; print(n()); print(t())"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path / "site", check=True, capture_output=True, text=True
    )
    assert done.stdout.split() == [str(site / "_notebooks"), str(site / "_templates")]
