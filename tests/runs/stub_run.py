"""Stands for `workbench run` in the tests that kill: leaves a run folder as it does, quickly and without a kernel.

`python stub_run.py RUNS NOTEBOOK SECONDS [fail]` writes a partial folder, starts a child in a session of its own (as a
kernel is), takes some time, and renames the folder.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from workbench.runs.execute import new_folder
from workbench.runs.records import process

runs, notebook, seconds = Path(sys.argv[1]), sys.argv[2], float(sys.argv[3])
parent = runs / notebook
parent.mkdir(parents=True, exist_ok=True)
folder = new_folder(parent)
told = {
    "status": "running",
    "notebook": notebook,
    "process": process(os.getpid()),
    "scheduled": json.loads(os.environ["WORKBENCH_SCHEDULED"]),
}
(folder / "run.json").write_text(json.dumps(told))
child = subprocess.Popen(["sleep", "600"], start_new_session=True)
with (runs / "begun.txt").open("a") as log:
    log.write(f"{told['scheduled']['entry']} {told['scheduled']['window']} {told['scheduled']['attempt']}\n")
end, died = time.monotonic() + seconds, False
while time.monotonic() < end and not died:
    time.sleep(0.01)
    died = child.poll() is not None
(folder / "half.bin").write_bytes(b"x" * 100_000)
child.kill()
child.wait()
del told["process"]
if "fail" in sys.argv:
    told["error"] = {"name": "KeyError", "message": "'x'", "cell": 3, "id": "cell-3", "line": "rows['x']"}
if died:
    told["error"] = {"name": "kernel died", "message": "the kernel died", "cell": 1, "id": "cell-1", "line": "x"}
told |= {"status": "failed" if "error" in told else "good", "headline": [{"name": "rows", "value": 3, "unit": "rows"}]}
(folder / "run.json").write_text(json.dumps(told))
folder.rename(folder.with_name(folder.name[1 : -len(".partial")]))
sys.exit("error" in told)
