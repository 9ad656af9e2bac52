"""GPU-hours from tables that call and measure them in their own ways: one schema, units by evidence, nothing lost."""

import json

import pandas as pd
import pytest

from workbench.analyses.allocation import share_gpus
from workbench.errors import WorkbenchError
from workbench.tables.usage_gpus import read_gpu_hours


def csv(path, content):
    path.write_text(content)
    return path


@pytest.mark.parametrize(
    ("head", "row"),
    [
        ("start,end,team,gpu_uuid,share,used_hours", "2026-03-02 10:00,2026-03-02 14:00,search,GPU-a,0.5,1"),
        ("used_seconds,gpu_id,namespace,window_end,window_start,gpu_share_percent",
         "3600,GPU-a,search,2026-03-02T14:00:00Z,2026-03-02T10:00:00Z,50"),
        ("start,gpu_minutes,gpu_fraction,owner,uuid,utilization", "1772445600,120,0.5,search,GPU-a,0.5"),
        ("from,to,account,device,replicas,utilization_percent", "1772445600000,1772460000000,search,GPU-a,2,50"),
        ("start,gpu_hours,fraction,user,gpu,gpu_util", "2026-03-02 11:00+01:00,2,0.5,search,GPU-a,50"),
    ],
)  # fmt: skip
def test_the_same_claim_in_five_spellings(tmp_path, head, row):
    found = read_gpu_hours(csv(tmp_path / "gpus.csv", f"{head}\n{row}\n"))
    (one,) = found.table.to_pylist()
    assert (one["owner"], one["gpu"], one["share"]) == ("search", "GPU-a", 0.5)
    assert one["allocated_hours"] == 2
    assert one["used_hours"] == 1
    assert (one["end"] - one["start"]).total_seconds() == 4 * 3600
    assert one["start"].hour == 10
    assert found.checks["rows conserved"]
    assert found.checks["hours conserved"]
    assert not found.unknown


def test_slices_energy_kinds_and_what_nobody_knows(tmp_path):
    rows = [
        {"start": "2026-03-02", "end": "2026-03-03", "slices": 3, "sharing": "MIG", "energy_wh": 500, "rack": "r1"},
        {"start": "2026-03-02", "end": "2026-03-03", "slices": 7, "sharing": "Time Slicing", "energy_joules": 3.6e6},
    ]
    path = tmp_path / "gpus.jsonl"
    path.write_text("".join(json.dumps(one) + "\n" for one in rows) + '{"start": \n')
    found = read_gpu_hours(path)
    assert [round(one["allocated_hours"] * 7 / 24, 9) for one in found.table.to_pylist()] == [3, 7]
    assert found.table.column("kind").to_pylist() == ["mig", "time-slice"]
    assert found.table.column("energy_kwh").to_pylist() == [0.5, 1.0]
    assert found.unknown == {"rack": 1}
    assert found.exceptions.column("reason").to_pylist() == ["unreadable"]
    assert found.checks["rows in"] == 3
    assert found.checks["rows conserved"]


def test_what_cannot_be_shared_out_is_aside_and_named(tmp_path):
    rows = [
        "2026-03-02 10:00,2026-03-02 12:00,a,2",
        ",2026-03-02 12:00,b,2",
        "2026-03-02 10:00,2026-03-02 09:00,c,2",
        "2026-03-02 10:00,2026-03-02 12:00,d,-2",
        "2026-03-02 10:00,2026-03-02 12:00,e,many",
        "2026-03-02 10:00,,f,",
    ]
    found = read_gpu_hours(csv(tmp_path / "gpus.csv", "start,end,owner,gpu_hours\n" + "\n".join(rows) + "\n"))
    told = dict(
        zip(found.exceptions.column("row").to_pylist(), found.exceptions.column("reason").to_pylist(), strict=True)
    )
    assert told == {2: "time missing", 3: "clock jump", 4: "negative count", 5: "wrong type", 6: "usage missing"}
    assert found.table.column("owner").to_pylist() == ["a", "e"][: found.table.num_rows]
    assert found.checks["rows out"] + found.checks["rows aside"] == 6
    assert found.checks["hours conserved"]


def reasons(found):
    return [(one["row"], one["reason"], one["field"]) for one in found.exceptions.to_pylist()]


def test_several_gpus_of_one_claim_are_counted(tmp_path):
    head = "User,Start,End,AllocTRES,gpus,share\n"
    day = "2026-03-02T10:00:00,2026-03-02T12:00:00"
    (tmp_path / "jobs.csv").write_text(
        head + f'a,{day},"cpu=8,gres/gpu=4,gres/gpu:h100=4",,\nb,{day},cpu=8,,\nc,{day},,3,0.5\nd,{day},,1e400,\n'
    )
    found = read_gpu_hours(tmp_path / "jobs.csv")
    assert found.table["allocated_hours"].to_pylist() == [8, 0, 3]
    assert reasons(found) == [(4, "wrong type", "gpus")]
    (tmp_path / "long.csv").write_text("start,gpu_hours\n2026-03-02,1e30\n")
    assert reasons(read_gpu_hours(tmp_path / "long.csv")) == [(1, "wrong type", "hours")]
    (tmp_path / "slices.csv").write_text("start,end,slices\n2026-03-02,2026-03-03,9\n")
    assert reasons(read_gpu_hours(tmp_path / "slices.csv")) == [(1, "wrong type", "share")]
    (tmp_path / "shares.csv").write_text("start,end,share\n2026-03-02,2026-03-03,2\n2026-03-02,2026-03-03,0.5\n")
    assert read_gpu_hours(tmp_path / "shares.csv").units["share"].startswith("unsaid: above 1")
    (tmp_path / "none.csv").write_text("start,end,share\n")
    assert read_gpu_hours(tmp_path / "none.csv").table.num_rows == 0


def test_shares_of_zero_and_one_alone_tell_no_unit(tmp_path):
    path = csv(tmp_path / "gpus.csv", "start,gpu_hours,gpu_util\n2026-03-02,1,0\n2026-03-03,1,1\n")
    found = read_gpu_hours(path)
    assert found.table.column("used_hours").to_pylist() == [None, None]
    assert found.units["gpu_util"].startswith("unsaid")
    assert found.unknown == {"gpu_util": 2}


def test_tables_without_time_or_hours_are_refused(tmp_path):
    with pytest.raises(WorkbenchError, match="when GPUs were held"):
        read_gpu_hours(csv(tmp_path / "a.csv", "owner,gpu_hours\na,1\n"))
    with pytest.raises(WorkbenchError, match="neither an end nor hours"):
        read_gpu_hours(csv(tmp_path / "b.csv", "owner,start\na,2026-03-02\n"))


def test_samples_of_dcgm_become_a_bill_that_adds_up(tmp_path):
    result = [
        {"metric": {"__name__": "DCGM_FI_DEV_GPU_UTIL", "UUID": f"GPU-{gpu}", "modelName": "H100", "namespace": owner},
         "values": [[1_772_445_600 + 60 * i, "50"] for i in range(61)]}
        for gpu, owner in (("a", "search"), ("b", "ads"))
    ]  # fmt: skip
    path = tmp_path / "range.json"
    path.write_text(json.dumps({"status": "success", "data": {"resultType": "matrix", "result": result}}))
    found = read_gpu_hours(path)
    shared = share_gpus(found.table, {"H100": 3_000_000})
    by = shared.groupby("owner")[["allocated_micro", "used_micro"]].sum()
    assert by.to_dict("index") == {
        "search": {"allocated_micro": 3_000_000, "used_micro": 1_500_000},
        "ads": {"allocated_micro": 3_000_000, "used_micro": 1_500_000},
        "(idle)": {"allocated_micro": 0, "used_micro": 3_000_000},
    }


def test_parquet_of_the_canonical_schema_is_read_as_it_is(tmp_path):
    frame = pd.DataFrame({
        "start": pd.to_datetime(["2026-03-02"], utc=True), "end": pd.to_datetime(["2026-03-03"], utc=True),
        "gpu": ["GPU-a"], "gpu_model": ["H100"], "owner": ["a"], "model": ["atlas"], "share": [0.5], "kind": ["dra"],
        "allocated_hours": [12.0], "used_hours": [3.0], "energy_kwh": [2.5],
    })  # fmt: skip
    frame.to_parquet(tmp_path / "hours.parquet")
    (one,) = read_gpu_hours(tmp_path / "hours.parquet").table.to_pylist()
    assert {key: one[key] for key in ("share", "kind", "allocated_hours", "used_hours", "energy_kwh", "model")} == {
        "share": 0.5, "kind": "dra", "allocated_hours": 12.0, "used_hours": 3.0, "energy_kwh": 2.5, "model": "atlas",
    }  # fmt: skip
