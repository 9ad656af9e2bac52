"""Finds the Chromium that the page tests open, and installs one where it is missing and may be installed.

`python scripts/chromium.py` prints its path; `--install` tries the system's packages when run as root, then playwright's
own build. Where none can be had this says so in one line, and the page tests are skipped (in CI they fail).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
MISSING = (
    "no Chromium for the page tests: install one (Debian: apt install chromium; elsewhere: playwright install chromium) "
    "or name it in WORKBENCH_CHROMIUM"
)


def find() -> Path | None:
    """The Chromium to use: WORKBENCH_CHROMIUM, else the system's, else playwright's own; None where there is none."""
    named = os.environ.get("WORKBENCH_CHROMIUM")
    if named:
        return Path(named) if Path(named).exists() else None
    for name in NAMES:
        path = shutil.which(name)
        if path:
            return Path(path)
    return _playwrights()


def install() -> Path | None:
    """Install Chromium by the first way that works here, and return its path; None where no way does."""
    found = find()
    if found:
        return found
    if os.geteuid() == 0 and shutil.which("apt-get"):
        print("workbench: installing Chromium from the system's packages", flush=True)
        _quietly("apt-get", "update", "-qq")
        _quietly("apt-get", "install", "-y", "-qq", "--no-install-recommends", "chromium")
        found = find()
        if found:
            return found
    print("workbench: installing playwright's own Chromium", flush=True)
    _quietly(sys.executable, "-m", "playwright", "install", "chromium")
    return find()


def _playwrights() -> Path | None:
    # Asked in a process of its own: playwright's driver keeps an event loop in the process that asks.
    ask = "from playwright.sync_api import sync_playwright as p\nwith p() as it: print(it.chromium.executable_path)"
    answer = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, timeout=60, check=False)
    path = Path(answer.stdout.strip() or "-")
    return path if path.is_file() else None


def _quietly(*command: str) -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    try:
        subprocess.run(
            command, env=environment, capture_output=True, timeout=600, check=False, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired) as problem:
        print(f"workbench: {' '.join(command[:3])} did not work: {problem}", flush=True)


if __name__ == "__main__":
    path = install() if "--install" in sys.argv else find()
    print(f"workbench: Chromium is {path}" if path else f"workbench: {MISSING}")
    if not path and os.environ.get("CI") == "true":
        sys.exit(1)
