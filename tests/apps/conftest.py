"""A small notebook with two pictures, a table and a live parameter, and the runs that the page tests open."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

PARAMETERS = """table: str = "somewhere/requests"  # the table to read
time: str = ""  # event-time column
slo_ms: float = 800.0  # the limit in milliseconds"""
BEGIN = 'run = begin("waves", globals(), live={"slo_ms": (1.0, 10000.0)})'
COUNT = """print("counting", table)
x = np.arange(48.0)
frame = pd.DataFrame({"hour": x, "p99": 700 + 300 * np.sin(x / 6)})
over = int((frame["p99"] > slo_ms).sum())
run.headline("hours over the limit", over, "h", good=over == 0)
run.headline("highest p99", frame["p99"].max(), "ms")"""
CURVE = """curve = hv.Curve(frame, "hour", "p99").opts(**look.base(tools=["hover"])) * hv.HLine(slo_ms).opts(color=look.BAD)
curve"""
PAGE = """bars = hv.Bars([("a", 3), ("b", over)], "group", "hours").opts(**look.base())
page(run, title="Waves", question="How high are the waves, and is that < 1000?", sections=[
    ("When it was slow", ("Look for hours above the line.", "Above it somebody waited."), curve),
    ("Whom it hit", "Longer bars had more hours.", [bars, "A table says it exactly.", frame.head(3)]),
])"""


def waves() -> nbformat.NotebookNode:
    """The notebook; unlike a real one it asks for nothing but numpy."""
    parameters = new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]})
    imports = (
        "import holoviews as hv\nimport numpy as np\nimport pandas as pd\n\nfrom workbench.apps.page import page\n"
        "from workbench import begin\nfrom workbench.views import look\n\nhv = look.extension()"
    )
    cells = [new_markdown_cell("# Waves\n\nHow high are the waves?"), new_code_cell(imports), parameters]
    cells += [
        new_code_cell(BEGIN),
        new_code_cell(COUNT),
        new_markdown_cell("Look for **hours** above the line."),
        new_code_cell(CURVE),
    ]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    return new_notebook(cells=[*cells, new_code_cell(PAGE)], metadata=kernel)


class Served:
    """A `workbench serve` in a process of its own."""

    def __init__(self, runs: Path, notebooks: Path) -> None:
        code = (
            "import sys; from workbench.apps.server import serve; "
            "serve(sys.argv[1], sys.argv[2], port=0, say=lambda line: print(line, flush=True))"
        )
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, str(runs), str(notebooks)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2],
        )  # fmt: skip
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if " at http" not in line:
            raise RuntimeError(line + (self.process.stderr.read() if self.process.stderr else ""))
        self.url = line.split(" at ")[1].split(" ")[0]

    def stop(self) -> tuple[int, str, str]:
        """Exit status, last words and errors after an interrupt."""
        self.process.send_signal(signal.SIGINT)
        words, errors = self.process.communicate(timeout=20)
        return self.process.returncode, words, errors


@pytest.fixture(scope="session", autouse=True)
def package_for_kernels() -> Iterator[None]:
    """Kernels and servers find this checkout from whatever folder they start in."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parents[2]), prepend=os.pathsep)
        yield


@pytest.fixture(scope="session")
def notebooks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("notebooks")
    nbformat.write(waves(), folder / "waves.ipynb")
    other = new_notebook(cells=[new_markdown_cell("# Still to come\n\nWhat will it be?")])
    nbformat.write(other, folder / "later.ipynb")
    return folder


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory, notebooks: Path) -> Path:
    """One good run of the notebook, made as `workbench run` makes it."""
    from workbench.apps.report import write_report
    from workbench.runs.execute import run_notebook

    folder = tmp_path_factory.mktemp("runs")
    record = run_notebook(notebooks / "waves.ipynb", {"slo_ms": 900.0}, folder, report=write_report)
    assert record.status == "good", record.error
    assert record.told["report"] == "good", record.told.get("report_message")
    return folder


@pytest.fixture(scope="module")
def served(runs: Path, notebooks: Path) -> Iterator[Served]:
    server = Served(runs, notebooks)
    yield server
    server.stop()
