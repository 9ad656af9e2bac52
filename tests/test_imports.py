"""`import workbench` is quick and quiet, and brings nothing heavy with it."""

import json
import subprocess
import sys

HEAVY = {
    "panel",
    "holoviews",
    "papermill",
    "dask_cuda",
    "cudf",
    "dask",
    "distributed",
    "pandas",
    "xarray",
    "numba",
    "bokeh",
}
SECONDS = 0.3  # more than `import numpy`, which every notebook has anyway


def fresh(code):
    """What `code` prints in a new interpreter where every warning is an error; nothing else may be printed."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def test_import_is_quiet():
    assert fresh("import workbench") == ""


def test_import_brings_nothing_heavy():
    loaded = json.loads(fresh("import json, sys, workbench; print(json.dumps([n.split('.')[0] for n in sys.modules]))"))
    assert not HEAVY & set(loaded)


def test_import_is_quick():
    code = "import time, numpy; t = time.process_time(); import workbench; print(time.process_time() - t)"
    assert min(float(fresh(code)) for _ in range(3)) < SECONDS


def test_command_line_answers_without_the_heavy_libraries():
    code = "import json, sys, workbench.cli as c; c.parser(); print(json.dumps([n.split('.')[0] for n in sys.modules]))"
    assert not HEAVY & set(json.loads(fresh(code)))


def test_every_public_name_is_there():
    import workbench

    assert len(set(workbench.__all__)) == len(workbench.__all__)
    assert [name for name in workbench.__all__ if getattr(workbench, name, None) is None] == []
    assert set(workbench.__all__) <= set(dir(workbench))
