"""What others run: the unit passes systemd's own check, the crontab's line runs, Airflow's file and the CronJobs are whole."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import types
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
import yaml

from tests.runs.conftest import write_book, write_schedule
from workbench.errors import WorkbenchError
from workbench.runs.export import export, portable
from workbench.runs.schedule import read_schedule
from workbench.runs.times import fires

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


@pytest.mark.parametrize("name", ["plain", "with space", "50% off", "Käse", "it's", "back\\slash", 'quo"te', "$HOME;x"])
def test_the_unit_passes_the_check_of_systemd(schedule, name, tmp_path):
    folder = tmp_path / name
    folder.mkdir()
    told, cannot = export(schedule, "systemd", folder=folder, runs=folder / "my runs", today=DAY)
    assert cannot == []
    assert '--runs "' in told  # the folder has a space in it
    assert f"WorkingDirectory={str(folder).replace('%', '%%')}\n" in told  # the rest of its line, never quoted
    assert "$" not in told.split("ExecStart=")[1].split("\n")[0].replace("$$", "")
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze here to check the unit with")
    unit = tmp_path / "workbench-schedule.service"
    unit.write_text(told)
    done = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr.replace("\n", "")) == (0, "")


def test_the_unit_names_the_ledger_in_full_and_never_a_password(schedule, tmp_path, monkeypatch):
    def told(ledger):
        return export(schedule, "systemd", folder=tmp_path, runs=tmp_path, today=DAY, ledger=ledger)[0]

    monkeypatch.chdir(tmp_path)
    assert f" --ledger {tmp_path}/own.db\n" in told("own.db")
    assert " --ledger secret:env:LEDGER\n" in told("secret:env:LEDGER")
    assert " --ledger postgresql://wb@host/runs\n" in told("postgresql://wb@host/runs")
    for address in ("postgresql://wb:hush@host/runs", "postgresql://host/runs?user=wb&password=hush"):
        with pytest.raises(WorkbenchError, match="give --ledger secret:env:LEDGER and write LEDGER=") as refused:
            told(address)
        assert "hush" not in str(refused.value)
        others = export(schedule, "airflow", folder=tmp_path, runs=tmp_path, today=DAY, ledger=address)[0]
        assert "postgresql" not in others  # they keep no ledger
    with pytest.raises(WorkbenchError, match="a character that is not printed"):
        export(schedule, "systemd", folder=tmp_path / "a\nExecStart=b", runs=tmp_path, today=DAY)


def test_a_line_of_the_crontab_runs_what_it_says(text):
    told, cannot = text("crontab")
    assert "CRON_TZ=Europe/Berlin\n# toy daily\n30 2 * * * cd " in told
    assert "# hidden (the scheduler's machine has secret:env:TOY_KEY)" in told
    assert " env WORKBENCH_BY=secret:env:TOY_KEY " in told
    assert "off" not in [line.strip("# ") for line in told.splitlines()]
    assert "toy daily: crontab does not do retries; catch-up: each" in cannot
    assert "hidden: crontab does not do depends-on toy daily; retries" in cannot
    line = next(one for one in told.splitlines() if one.startswith("30 2"))
    command = line.split(" ", 5)[5].replace(r"\%", "%")
    command = command.replace(command[command.index(".lock'") + 7 : command.index(" run ")], "printf '%s\\n'")
    assert not Path(command.split("flock -n '")[1].split("'")[0]).parent.exists()  # the first run makes it
    said = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, timeout=20, check=True).stdout
    words = said.splitlines()
    assert words[words.index("every") + 1] == "it's 5%"
    assert words[words.index("--at") + 1] == "now"


def test_what_a_line_of_a_crontab_cannot_hold_is_left_out(tmp_path):
    entries = {"lines": {"cron": "0 1 * * *", "parameters": {"by": "a\nb"}}, "one": {"cron": "0 1 * * *", "retries": 0}}
    told, cannot = made(tmp_path, entries, "crontab")
    assert cannot == ["lines: left out, as a line of a crontab cannot hold a parameter of several lines"]
    assert sum(line.startswith("0 1") for line in told.splitlines()) == 1
    _, cannot = made(
        tmp_path, {"long": {"cron": "0 1 * * *", "retries": 0, "parameters": {"by": "x" * 900}}}, "crontab"
    )
    assert re.fullmatch(r"a line has [\d,]+ characters; the cron of Debian and Ubuntu takes 998", "".join(cannot))


def test_a_dollar_is_no_variable_of_the_container(tmp_path):
    told, _ = made(tmp_path, {"one": {"cron": "0 1 * * *", "parameters": {"by": "$(HOME) $$ $x"}}}, "kubernetes")
    assert '"$$(HOME) $$$$ $$x"' in told  # $$ is how Kubernetes spells one


def test_what_airflow_does_otherwise_is_said(tmp_path):
    entries = {
        "a": {"cron": "0 1 * * *", "catch-up": "none", "overlap": "skip", "memory": "1GB"},
        "b": {"cron": "0 1 * * *", "retries": {"times": 2, "factor": 3, "after": ["disk"]}, "overlap": "replace"},
        "c": {"cron": "0 1 * * *"},
    }
    assert made(tmp_path, entries, "airflow")[1] == [
        "a: airflow does not do memory; catch-up: none (the latest runs); overlap: skip (the latest waits)",
        "b: airflow does not do retries by kind of failure (any is tried again); factor 3 (it doubles); "
        "overlap: replace (it waits)",
    ]


def test_dags_of_airflow_2_and_3_say_when_and_what(text, monkeypatch):
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
    assert second["set"] == {"WORKBENCH_BY": "secret:env:TOY_KEY"}
    for newer in (False, True):
        dags = run_with_stand_ins(told, monkeypatch, newer)
        assert set(dags) == {"workbench_toy_daily", "workbench_hidden"}
        daily = dags["workbench_toy_daily"]
        assert daily["catchup"] is True
        assert "{% raw %}" in daily["command"]
        assert daily["command"].endswith("--at {{ (data_interval_end or dag_run.run_after).isoformat() }}")


# What Airflow 2.11 and 3.3 took when they read such a file and ran its tasks; 2 refuses any other type.
DAG_TYPES = {"description": str, "catchup": bool, "max_active_runs": int, "params": dict, "tags": list}
TASK_TYPES = {
    "env": dict, "append_env": bool, "execution_timeout": timedelta, "retries": int, "retry_delay": timedelta,
    "retry_exponential_backoff": bool, "max_retry_delay": timedelta,
}  # fmt: skip


def run_with_stand_ins(text, monkeypatch, newer):
    """What the file would give to Airflow 3 (newer) or 2, with stand-ins for the modules that it imports."""
    made, place = {}, []

    class Dag:
        def __init__(self, dag_id, **told):
            assert re.fullmatch(r"[\w.-]{1,250}", dag_id, re.ASCII)  # else Airflow refuses it
            assert {name: type(one) for name, one in told.items() if name in DAG_TYPES} == DAG_TYPES
            self.dag_id = dag_id
            made[dag_id] = told

        def __enter__(self):
            place.append(self.dag_id)
            return self

        def __exit__(self, *_):
            place.pop()

    def bash(task_id, bash_command, **told):
        assert {name: type(one) for name, one in told.items()} == TASK_TYPES
        made[place[-1]] |= {"command": bash_command, **told}

    bash_at = "airflow.providers.standard.operators.bash" if newer else "airflow.operators.bash"
    modules = {
        "pendulum": {"instance": lambda moment, tz: moment},
        "airflow": {"DAG": Dag},
        "airflow.timetables.trigger": {"CronTriggerTimetable": lambda cron, timezone: (cron, timezone)},
        "airflow.providers.standard.operators.bash": {"BashOperator": bash} if newer else {},
        bash_at: {"BashOperator": bash},
    }
    for name, told in modules.items():
        module = types.ModuleType(name)
        vars(module).update(told)
        monkeypatch.setitem(sys.modules, name, module)
    names = {}
    exec(compile(text, "airflow.py", "exec"), names)
    assert {name for name in names if name.startswith("workbench_")} == set(made)
    return made


def test_cron_jobs_are_whole(text):
    told, _ = text("kubernetes")
    first, second = [one for one in yaml.safe_load_all(told) if one]
    assert (first["kind"], first["metadata"]["name"]) == ("CronJob", "workbench-toy-daily")
    assert (first["spec"]["timeZone"], first["spec"]["concurrencyPolicy"]) == ("Europe/Berlin", "Forbid")
    (container,) = first["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    assert container["command"][:3] == ["workbench", "run", "notebooks/toy.ipynb"]
    assert container["command"][container["command"].index("by") + 1] == "{{ day - 1 }}"
    job = second["spec"]["jobTemplate"]["spec"]
    assert job["activeDeadlineSeconds"] == (3600 + 120) * 2
    assert job["template"]["spec"]["containers"][0]["env"] == [{"name": "WORKBENCH_BY", "value": "secret:env:TOY_KEY"}]


def test_an_entry_with_cuda_claims_a_device(tmp_path):
    write_book(tmp_path / "toy.ipynb", begin='import workbench as wb\nrun = wb.begin("toy", globals())')
    entries = {"a": {"cron": "0 1 * * *", "cluster": "cuda"}, "b": {"cron": "0 1 * * *", "memory": "512MiB"}}
    told, _ = made(tmp_path, entries, "kubernetes")
    claim, first, second = [one for one in yaml.safe_load_all(told) if one]
    assert (claim["apiVersion"], claim["kind"]) == ("resource.k8s.io/v1", "ResourceClaimTemplate")
    assert claim["spec"]["spec"]["devices"]["requests"][0]["exactly"]["deviceClassName"] == "gpu.nvidia.com"
    pod = first["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    assert pod["resourceClaims"] == [{"name": "gpu", "resourceClaimTemplateName": claim["metadata"]["name"]}]
    assert pod["containers"][0]["resources"]["claims"] == [{"name": "gpu"}]
    pod = second["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    assert "resourceClaims" not in pod
    assert pod["containers"][0]["resources"] == {
        "requests": {"cpu": "1", "memory": "512Mi"},
        "limits": {"memory": "512Mi"},
    }


def made(folder, entries, kind):
    schedule = read_schedule(write_schedule(folder / "schedule.yml", entries))
    return export(schedule, kind, folder=folder, runs=folder / "runs", today=DAY)


def test_names_that_would_be_the_same_elsewhere_stay_apart(tmp_path):
    entries = {name: {"cron": "0 1 * * *"} for name in ("a b", "a-b", "A b", "a_b", "ü", "x" * 80, "x" * 79)}
    told, _ = made(tmp_path, entries, "kubernetes")
    names = [one["metadata"]["name"] for one in yaml.safe_load_all(told) if one]
    assert len(set(names)) == len(entries)
    assert all(re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,50}[a-z0-9])?", one) for one in names)
    (found,) = re.findall(r"ENTRIES = (\[.*?\n\])", made(tmp_path, entries, "airflow")[0], re.S)
    assert len({one["dag"] for one in ast.literal_eval(re.sub(r"  # where.*", "", found))}) == len(entries)


LINES = [
    "5/20 1 * * fri-7",
    "0 1 * * 7",
    "0 1 * jul,dec mon-fri",
    "*/5 * * * *",
    "10-20/3,5/30 * * * *",
    "0 0,12 1-7/2 */3 *",
    "0 1 *,5 * 1",
    "0 1 */1 * 1",
    "0 1 1-31 * 1",
    "0 1 13 * 5",
    "0 1 * * */2",
]


@pytest.mark.parametrize("line", LINES)
def test_a_line_that_others_can_read_means_the_same(line):
    now = datetime(2026, 1, 1, tzinfo=UTC)
    for kind in ("crontab", "airflow", "kubernetes"):
        told = portable(line, kind)
        assert re.fullmatch(r"[\d*/, -]+", told)
        assert "7" not in told.split()[4]
        assert list(islice(fires(told, ZoneInfo("UTC"), now), 80)) == list(
            islice(fires(line, ZoneInfo("UTC"), now), 80)
        )


@pytest.mark.parametrize("line", ["0 1 */2 * 1", "0 1 1 * */2", "0 1 */10 * */3", "0 1 *,*/2 * 1"])
def test_a_day_and_a_weekday_that_others_would_take_one_by_one(line, tmp_path):
    """Every other day if it is a Monday: only cron and we ask for both where one begins with a star."""
    star = line.startswith("0 1 *,")
    assert portable(line, "crontab") == ("0 1 * * 1" if star else line)
    for kind in ("kubernetes", "airflow"):
        told, cannot = made(tmp_path, {"odd": {"cron": line}}, kind)
        assert ("left out" in " ".join(cannot)) is not star, kind
        assert ("odd" in told) is star


CRON_JOB = {
    "apiVersion": str, "kind": str, "metadata": {"name": str, "namespace": str, "labels": dict},
    "spec": {
        "schedule": str, "timeZone": str, "concurrencyPolicy": ("Allow", "Forbid", "Replace"), "suspend": bool,
        "startingDeadlineSeconds": int, "successfulJobsHistoryLimit": int, "failedJobsHistoryLimit": int,
        "jobTemplate": {"spec": {
            "backoffLimit": int, "activeDeadlineSeconds": int,
            "template": {"spec": {
                "restartPolicy": ("Never", "OnFailure"),
                "securityContext": {"runAsNonRoot": bool, "runAsUser": int, "fsGroup": int},
                "resourceClaims": [{"name": str, "resourceClaimTemplateName": str}],
                "tolerations": [{"key": str, "operator": ("Exists", "Equal"), "effect": ("NoSchedule", "NoExecute")}],
                "containers": [{
                    "name": str, "image": str, "workingDir": str, "command": [str],
                    "envFrom": [{"secretRef": {"name": str, "optional": bool}}], "env": [{"name": str, "value": str}],
                    "resources": {"requests": {"cpu": str, "memory": str}, "limits": {"memory": str},
                                  "claims": [{"name": str}]},
                    "securityContext": {"allowPrivilegeEscalation": bool},
                    "volumeMounts": [{"name": str, "mountPath": str}],
                }],
                "volumes": [{"name": str, "persistentVolumeClaim": {"claimName": str}}],
            }},
        }},
    },
}  # fmt: skip


def strictly(told, form, at=""):
    """Holds an object against its form: an API server drops what it does not know, so nothing else may be there."""
    if isinstance(form, dict):
        assert isinstance(told, dict), at
        assert set(told) <= set(form), f"{at}: {set(told) - set(form)}"
        for key, one in told.items():
            strictly(one, form[key], f"{at}.{key}")
    elif isinstance(form, list):
        assert isinstance(told, list), at
        for number, one in enumerate(told):
            strictly(one, form[0], f"{at}[{number}]")
    elif isinstance(form, tuple):
        assert told in form, at
    else:
        assert type(told) is form, at


def test_odd_entries_are_strictly_cron_jobs(tmp_path):
    write_book(tmp_path / "toy.ipynb", begin='import workbench as wb\nrun = wb.begin("toy", globals())')
    odd = {
        "a: b #c {{ d }} 'e' \"f\"": {"cron": "*/7 0-5 * * *", "zone": "Australia/Lord_Howe", "retries": 0},
        "ü - 100 %": {"cron": "0 1 * * *", "parameters": {"by": "yes", "every": "{% x %} # no: comment"}},
        "x" * 80: {"cron": "0 1 * * *", "cluster": "cuda", "memory": "1.5GiB", "overlap": "replace"},
        "null": {
            "cron": "0 1 29 2 *",
            "parameters": {"by": "secret:env:TOY_KEY"},
            "catch-up": "none",
            "timeout": "90s",
        },
        "off": {"cron": "0 1 * * *", "enabled": False},
    }
    told, cannot = made(tmp_path, odd, "kubernetes")
    jobs = [one for one in yaml.safe_load_all(told) if one and one["kind"] == "CronJob"]
    assert len(jobs) == 4
    assert "off: left out, as it is switched off" in cannot
    for job in jobs:
        strictly(job, CRON_JOB)
        assert (job["apiVersion"], job["kind"]) == ("batch/v1", "CronJob")
        assert re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,50}[a-z0-9])?", job["metadata"]["name"])  # 52, as its jobs add 11
        ZoneInfo(job["spec"]["timeZone"])
    assert (
        "{% x %} # no: comment"
        in jobs[1]["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]["command"]
    )
    with pytest.raises(AssertionError, match="resourceClaims"):  # where an API server would drop it
        strictly({**jobs[0], "spec": {**jobs[0]["spec"], "resourceClaims": []}}, CRON_JOB)


def test_the_form_of_a_cron_job_is_that_of_manifests_known_to_be_valid():
    path = Path(__file__).parents[3] / "shared" / "data" / "k8s_manifests" / "ours" / "papermill-cronjob-dra.yaml"
    if not path.is_file():
        pytest.skip(
            "no ../shared/data/k8s_manifests here: a manifest that passes the schemas of Kubernetes 1.34 to 1.37"
        )
    jobs = [one for one in yaml.safe_load_all(path.read_text()) if one["kind"] == "CronJob"]
    assert jobs
    for job in jobs:
        strictly(job, CRON_JOB)


def test_a_line_that_others_cannot_read_is_left_out_and_that_is_said(tmp_path):
    entries = {"last": {"cron": "0 1 L * *"}, "friday": {"cron": "0 1 * * 5L"}, "second": {"cron": "0 1 * * 5#2"}}
    for kind in ("crontab", "kubernetes"):
        told, cannot = made(tmp_path, entries, kind)
        assert "workbench run" not in told
        assert [one for one in cannot if "left out" in one and "has no words for cron" in one] == cannot
        assert len(cannot) == 3
    told, cannot = made(tmp_path, entries, "airflow")
    assert cannot == []
    assert all(f"'cron': '{line}'" in told.replace('"', "'") for line in ("0 1 L * *", "0 1 * * L5", "0 1 * * 5#2"))


def test_an_unknown_kind(text):
    with pytest.raises(WorkbenchError, match="did you mean 'crontab'"):
        text("cron-tab")
