"""A job of JupyterLab's dialog (jupyter-scheduler) becomes a run like any other: the same door, folders, record and report.

One line tells JupyterLab: `c.BaseScheduler.execution_manager_class = "workbench.lab.Execution"` in its configuration, as in
`templates/jupyter_server_config.py`. The dialog's parameters are texts; they pass the typed door of the notebook and never
become code. Runs go to WORKBENCH_RUNS, else to `runs` in the folder where JupyterLab was started.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import chdir
from pathlib import Path
from typing import Any

from jupyter_scheduler.executors import ExecutionManager
from jupyter_scheduler.models import JobFeature

from workbench.errors import WorkbenchError
from workbench.runs.records import Record

OWN = {"ipynb": "notebook.ipynb", "html": "report.html"}  # what a run leaves itself


class Execution(ExecutionManager):  # type: ignore[misc]
    """Runs a job as `workbench run` would."""

    def execute(self) -> None:
        """Makes the run and hands the outputs that were asked for back to the dialog. Raises WorkbenchError for a run that
        failed, so that the job is told as failed, with where and why.
        """
        job = self.model
        record = run_job(
            Path(self.staging_paths["input"]), job.input_filename, job.parameters or {}, Path(self.root_dir)
        )
        for kind in job.output_formats:
            give(record.folder, kind, Path(self.staging_paths[kind]))
        if record.status != "good":
            error = record.error or {}
            at = f" in cell {error['cell']}" if error.get("cell") is not None else ""
            raise WorkbenchError(
                f"The run {record.folder} failed{at}: {error.get('name', '')}: {error.get('message', '')}"[:1000]
            )

    def supported_features(cls) -> dict[JobFeature, bool]:  # noqa: N805  (jupyter-scheduler gives the class)
        """What the dialog may ask for."""
        able = (JobFeature.job_name, JobFeature.output_formats, JobFeature.stop_job, JobFeature.delete_job)
        return {feature: feature in able for feature in JobFeature}

    def validate(cls, input_path: str) -> bool:  # noqa: N805  (as above)
        """Whether a file is a notebook whose parameters can be read."""
        from workbench.runs import parameters

        try:
            parameters.declared(Path(input_path))
        except WorkbenchError:
            return False
        return True


def run_job(staged: Path, name: str, given: Mapping[str, Any], root: Path) -> Record:
    """The record of a job's run: of the copy that was taken when the job was made, under the notebook's own name.

    Raises WorkbenchError for a parameter that the notebook does not have, or whose text is none of its values.
    """
    from workbench.apps.report import write_report
    from workbench.runs import execute, parameters
    from workbench.runs.command import text_of
    from workbench.runs.records import runs_dir

    folder = root.expanduser().resolve()
    with chdir(folder), tempfile.TemporaryDirectory(prefix="wb-job-") as aside:
        notebook = Path(shutil.copyfile(staged, Path(aside) / f"{Path(name).stem}.ipynb"))
        known, bounds = parameters.declared(notebook), parameters.limits(notebook)
        texts = [(parameter, text_of(value)) for parameter, value in given.items()]
        typed, used, _ = parameters.resolve(known, texts, os.environ, bounds)
        return execute.run_notebook(notebook, typed, runs_dir().resolve(), used=used, report=write_report)


def give(folder: Path, kind: str, target: Path) -> None:
    """Puts an output of a run where the dialog looks for it: what the run left itself, else what nbconvert makes of it."""
    own = folder / OWN.get(kind, "notebook.ipynb")
    if kind in OWN and own.is_file():
        shutil.copyfile(own, target)
    elif (folder / "notebook.ipynb").is_file():
        import nbconvert

        text, _ = nbconvert.get_exporter(kind)().from_filename(str(folder / "notebook.ipynb"))
        target.write_text(text, encoding="utf-8")
