"""What others run: the unit passes systemd's own check, the crontab's line runs, Airflow's file and the CronJobs are whole."""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from tests.runs.conftest import write_schedule
from workbench.errors import WorkbenchError
from workbench.runs.export import export
from workbench.runs.schedule import read_schedule

DAY = datetime(2026, 11, 24, tzinfo=UTC)


@pytest.fixture
def schedule(tmp_path):
    entries = {
        "toy daily": {
            "cron": "30 2 * * *", "zone": "Europe/Berlin", "parameters": {"by": "{{ day - 1 }}", "every": "it's 5%"},
            "overlap": "skip", "retries": 3, "catch-up": "each", "timeout": "10m",
        },
        "hidden": {"cron": "0 * * * *", "parameters": {"by": "secret:env:TOY_KEY"}, "depends-on": "toy daily"},
        "off": {"cron": "0 * * * *", "enabled": False},
    }  # fmt: skip
    return read_schedule(write_schedule(tmp_path / "schedule.yml", entries))


@pytest.fixture
def text(schedule, tmp_path):
    def make(kind):
        return export(schedule, kind, folder=tmp_path, runs=tmp_path / "my runs", today=DAY)

    return make


def test_the_unit_passes_the_check_of_systemd(text, tmp_path):
    told, cannot = text("systemd")
    assert cannot == []
    assert '--runs "' in told  # the folder has a space in it
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze here to check the unit with")
    unit = tmp_path / "workbench-schedule.service"
    unit.write_text(told)
    done = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr.replace("\n", "")) == (0, "")


def test_a_line_of_the_crontab_runs_what_it_says(text):
    told, cannot = text("crontab")
    assert "CRON_TZ=Europe/Berlin\n# toy daily\n30 2 * * * cd " in told
    assert "TOY_KEY" not in told
    assert "hidden (set WORKBENCH_BY above)" in told
    assert "off" not in [line.strip("# ") for line in told.splitlines()]
    assert "toy daily: crontab does not do retries; catch-up: each" in cannot
    assert "hidden: crontab does not do depends-on toy daily; retries" in cannot
    line = next(one for one in told.splitlines() if one.startswith("30 2"))
    command = line.split(" ", 5)[5].replace(r"\%", "%")
    command = command.replace(command[command.index(".lock'") + 7 : command.index(" run ")], "printf '%s\\n'")
    Path(command.split("flock -n '")[1].split("'")[0]).parent.mkdir(parents=True, exist_ok=True)
    said = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, timeout=20, check=True).stdout
    words = said.splitlines()
    assert words[words.index("every") + 1] == "it's 5%"
    assert words[words.index("--at") + 1] == "now"


def test_dags_of_airflow_say_when_and_what(text):
    told, _ = text("airflow")
    tree = ast.parse(told)
    (found,) = [one.value for one in tree.body if isinstance(one, ast.Assign) and one.targets[0].id == "ENTRIES"]
    first, second = ast.literal_eval(found)
    assert (first["cron"], first["zone"], first["retries"], first["catch_up"]) == (
        "30 2 * * *",
        "Europe/Berlin",
        3,
        True,
    )
    assert first["words"][first["words"].index("by") + 1] == "{{ day - 1 }}"
    assert "secret" not in json.dumps(second)
    dags = run_with_stand_ins(told)
    assert dags["workbench_toy daily"]["catchup"] is True
    assert "{% raw %}" in dags["workbench_toy daily"]["command"]
    assert dags["workbench_toy daily"]["command"].endswith("--at {{ data_interval_end.isoformat() }}")


def run_with_stand_ins(text):
    """What the file would give to Airflow, with stand-ins for the four names that it imports."""
    made = {}

    class Dag:
        def __init__(self, dag_id, **told):
            self.dag_id = dag_id
            made[dag_id] = told

        def __enter__(self):
            made["now"] = self.dag_id

        def __exit__(self, *_):
            made.pop("now")

    class Made(Dag):
        def __enter__(self):
            super().__enter__()
            return self

    def bash(bash_command, **told):
        made[made["now"]]["command"] = bash_command

    lines = [line for line in text.splitlines() if not line.startswith(("from airflow", "import pendulum"))]
    pendulum = type("pendulum", (), {"instance": staticmethod(lambda moment, tz: moment)})
    names = {"DAG": Made, "BashOperator": bash, "CronTriggerTimetable": lambda *a, **k: a, "pendulum": pendulum}
    exec("\n".join(lines), names)
    return made


def test_cron_jobs_are_whole(text):
    told, _ = text("kubernetes")
    first, second = [one for one in yaml.safe_load_all(told) if one]
    assert (first["kind"], first["metadata"]["name"]) == ("CronJob", "workbench-toy-daily")
    assert (first["spec"]["timeZone"], first["spec"]["concurrencyPolicy"]) == ("Europe/Berlin", "Forbid")
    (container,) = first["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    assert container["command"][:3] == ["workbench", "run", "notebooks/toy.ipynb"]
    assert container["command"][container["command"].index("by") + 1] == "{{ day - 1 }}"
    assert second["spec"]["jobTemplate"]["spec"]["activeDeadlineSeconds"] == (3600 + 120) * 2


def test_an_unknown_kind(text):
    with pytest.raises(WorkbenchError, match="did you mean 'crontab'"):
        text("cron-tab")
