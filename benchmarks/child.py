"""Runs one script in a process of its own, bounded in time, and tells what the whole process used (os.wait4)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
import threading
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
QUIET = {
    "DO_NOT_TRACK": "1",
    "ITERATIVE_DO_NOT_TRACK": "1",  # Evidently
    "NML_DISABLE_USAGE_LOGGING": "1",  # NannyML
    "WHYLOGS_NO_ANALYTICS": "True",
    "YDATA_PROFILING_NO_ANALYTICS": "True",
    "PYTHONWARNINGS": "ignore",
}


def run(command: list[str], timeout: float, environment: dict[str, str] | None = None) -> dict[str, Any]:
    """The script's last line as JSON with `process` {cpu, peak_mb} of the whole process; {"failed": why} otherwise.

    `command` is run in the repository's root. Past `timeout` seconds the process and its children are ended.
    """
    import time

    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        began = time.monotonic()
        child = subprocess.Popen(
            command,
            cwd=ROOT,
            stdout=out,
            stderr=err,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            env=os.environ | QUIET | {"PYTHONPATH": str(ROOT)} | (environment or {}),
        )
        late = threading.Event()

        def end() -> None:
            late.set()
            os.killpg(child.pid, signal.SIGKILL)

        alarm = threading.Timer(timeout, end)
        alarm.start()
        try:
            _, status, used = os.wait4(child.pid, 0)
        except BaseException:
            os.killpg(child.pid, signal.SIGKILL)
            raise
        finally:
            alarm.cancel()
        child.returncode = os.waitstatus_to_exitcode(status)
        process = {
            "cpu": used.ru_utime + used.ru_stime,
            "wall": time.monotonic() - began,
            "peak_mb": used.ru_maxrss / 1024,
        }
        out.seek(0)
        err.seek(0)
        lines, words = out.read().strip().splitlines(), err.read().strip().splitlines()
    if late.is_set():
        return {"failed": f"not done after {timeout:.0f} s", "late": timeout, "process": process}
    if child.returncode:
        if child.returncode == -signal.SIGKILL:
            return {"failed": "killed, most likely for memory", "process": process}
        return {"failed": words[-1][:300] if words else f"exit code {child.returncode}", "process": process}
    try:
        return json.loads(lines[-1]) | {"process": process}
    except (IndexError, ValueError):
        return {"failed": f"no JSON came back: {lines[-1:]}", "process": process}
