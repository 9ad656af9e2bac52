"""What a measured process says of itself: CPU, wall and memory of its work, as one JSON line. Standard library only."""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

SEVEN = {"p01": 0.01, "p05": 0.05, "p25": 0.25, "p50": 0.5, "p75": 0.75, "p95": 0.95, "p99": 0.99}
BINS = 50  # of the peers' histograms


def arguments(**more: Any) -> argparse.Namespace:
    """The table to read, where answers go, and what a script adds (name=default)."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path, help="the table to read")
    parser.add_argument("--answers", type=Path, help="where the statistics go as JSON, for comparisons")
    for name, default in more.items():
        kind = type(default) if default is not None else str
        parser.add_argument(f"--{name}", type=kind, default=default)
    return parser.parse_args()


def own_cpu() -> float:
    """CPU seconds of this process, user and system, all threads."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def memory(which: str = "VmHWM") -> float:
    """MB that this process holds ("VmRSS") or has held at most ("VmHWM")."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(which):
            return int(line.split()[1]) / 1024
    return float("nan")


def clocked(work: Callable[[], Any], cpu: Callable[[], float] = own_cpu) -> tuple[Any, dict[str, float]]:
    """What the work gives, and {cpu, wall, start_mb, peak_mb}: the memory before it, imports included, and at most."""
    start = memory("VmRSS")
    used, since = cpu(), time.monotonic()
    result = work()
    used, since = cpu() - used, time.monotonic() - since
    return result, {"cpu": used, "wall": since, "start_mb": start, "peak_mb": memory()}


def versions(*packages: str) -> dict[str, str]:
    """The installed versions of some packages, those that are not there left out."""
    found = {}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def tell(answers: Any, path: Path | None, **facts: Any) -> None:
    """Print the facts as one line of JSON; the answers go to their file."""
    if path is not None:
        path.write_text(json.dumps(answers))
    print(json.dumps(facts), flush=True)


def files(folder: Path) -> list[str]:
    """The Parquet files of a table."""
    return [str(path) for path in sorted(folder.rglob("*.parquet"))]
