"""Binder: what it does after its environment is there, done in a clean one, and what a visitor is then shown."""

from __future__ import annotations

import os
import re
import shutil
import site
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

pytest.importorskip("jupyterlab")

ROOT = Path(__file__).parents[1]
KEPT = ("binder", "notebooks", "templates", "workbench")


@pytest.fixture(scope="module")
def binder(tmp_path_factory) -> tuple[Path, dict[str, str]]:
    """A home with the checkout's files and a Python that has the libraries and not the package, after postBuild."""
    home = tmp_path_factory.mktemp("home")
    repository = home / "repository"
    for name in KEPT:
        shutil.copytree(ROOT / name, repository / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md"):
        shutil.copy(ROOT / name, repository)
    python = home / "python"
    subprocess.run([sys.executable, "-m", "venv", python], check=True, timeout=300)
    (found,) = python.glob("lib/python*/site-packages")
    libraries = [one for one in site.getsitepackages() if Path(one).exists()]
    clean = home / "libraries"  # this environment's, without an installed workbench
    clean.mkdir()
    for one in libraries:
        for path in Path(one).iterdir():
            if not re.match(r"(_?_?editable|_?workbench|pip|setuptools|distutils)", path.name):
                (clean / path.name).symlink_to(path)
    (found / "libraries.pth").write_text(f"{clean}\n")
    (python / "share").symlink_to(Path(sys.prefix) / "share")  # JupyterLab's own pages
    environment = {
        "HOME": str(home), "PATH": f"{python / 'bin'}:{os.environ['PATH']}", "LANG": "C.UTF-8",
        **{key: value for key, value in os.environ.items() if re.match(r"(PIP_|SSL_|HTTPS?_|NO_PROXY|https?_|no_proxy)", key)},
    }  # fmt: skip
    without = subprocess.run(
        ["python", "-c", "import workbench"], cwd=home, env=environment, capture_output=True, text=True, check=False
    )
    assert "No module named 'workbench'" in without.stderr, "the environment is clean"
    done = subprocess.run(
        ["bash", "binder/postBuild"], cwd=repository, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return repository, environment


def opened(url: str) -> tuple[int, str] | None:
    """Status and address of a page, after where it leads to; None where nobody listens."""
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:
            return answer.status, answer.geturl()
    except ConnectionError:
        return None
    except urllib.error.URLError as error:
        if isinstance(error.reason, ConnectionError):
            return None
        raise


def asked(code: str, folder: Path, environment: dict[str, str]) -> str:
    done = subprocess.run(
        ["python", "-c", code], cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_package_is_the_repository_and_its_table_is_there(binder):
    repository, environment = binder
    where = asked("import workbench; print(workbench.__file__)", repository.parent, environment)
    assert Path(where).is_relative_to(repository)
    rows = asked("import workbench as wb; print(wb.open_table('.demo/requests').rows)", repository, environment)
    assert rows == "100000"


def test_jupyterlab_opens_with_the_tour(binder, tmp_path):
    repository, environment = binder
    log = tmp_path / "log"
    code = "from jupyterlab.labapp import main; main()"
    options = ["--no-browser", "--ip=127.0.0.1", "--port=0", "--allow-root", "--IdentityProvider.token="]
    with log.open("w") as told:
        server = subprocess.Popen(["python", "-c", code, *options], cwd=repository, env=environment, stderr=told)
    try:
        end = time.monotonic() + 120
        while not (found := re.search(r"http://127\.0\.0\.1:(\d+)/lab", log.read_text())):
            assert time.monotonic() < end, log.read_text()
            assert server.poll() is None, log.read_text()
            time.sleep(0.25)
        while (page := opened(f"http://127.0.0.1:{found[1]}/")) is None:  # it is told before it listens
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.25)
        assert page == (200, f"http://127.0.0.1:{found[1]}/lab/tree/notebooks/tour.ipynb")
        notebook = f"http://127.0.0.1:{found[1]}/api/contents/notebooks/tour.ipynb?content=0"
        assert opened(notebook) == (200, notebook)
    finally:
        server.terminate()
        server.wait(30)


def test_the_tour_runs_there(binder):
    repository, environment = binder
    code = "import sys; from workbench.cli import main; sys.exit(main())"
    command = ["python", "-c", code, "run", "tour", "-p", "table", ".demo/requests"]
    done = subprocess.run(command, cwd=repository, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    report = Path(repository / done.stdout.strip().splitlines()[-1]) / "report.html"
    assert "A tour: what moved in this table?" in report.read_text()
