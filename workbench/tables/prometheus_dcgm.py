"""GPU-hours by owner from the samples of NVIDIA's DCGM exporter: how long a GPU was held, how long it was busy, its energy.

Schema in: METRICS of `prometheus`, with the fields of `[dcgm]` and the labels of `[labels]` in usage_aliases.toml. Out:
GPU_HOURS, one row a GPU (or MIG slice), holder and unbroken span of samples.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from workbench.errors import WorkbenchError
from workbench.tables.prometheus import Metrics, growth
from workbench.tables.usage import TIME, gpu_hours_table
from workbench.tables.usage_named import aliases

BROKEN = 5  # steps without a sample after which a new span begins
HOUR = 3.6e9  # microseconds
SLICES = 7  # of a whole GPU, as MIG's profiles count them ("3g.40gb" is three)
FIELDS = ("used_share", "used_percent", "power_w", "energy_mj")
SCRAPED = ("namespace", "pod", "container")
EXPORTER = re.compile(r"dcgm-exporter")
ABOUT = ("node", "gpu", "gpu_model", "slice", "slice_id", "owner", "pod")


def gpu_hours(metrics: Metrics) -> tuple[pa.Table, dict[str, Any]]:
    """GPU_HOURS of a range of DCGM's samples, and checks: spans, hours, kWh, series of one sample (which last no time).

    A value holds until the next sample. Busy is DCGM_FI_PROF_GR_ENGINE_ACTIVE (0 to 1) where there is one, else
    DCGM_FI_DEV_GPU_UTIL (percent); where it is blank throughout, used_hours is null. Energy is the growth of the energy
    counter (mJ, resets included), else power (W) over time; slices of one GPU, which all tell the energy of the whole,
    share it by their hours. Pods that hold one GPU together all tell its whole use and energy: each has an equal part of its
    hours, use and energy (kind "time-slice"), and a span ends where one joins or leaves. A GPU that no pod held has kind
    "whole" and no owner; the exporter's own pod, which Prometheus adds to every series, holds none.

    Raises WorkbenchError where there is no such metric, or no series with two samples.
    """
    rows, found_spans, alone = _rows(metrics), [], 0
    for key, part in rows.groupby(list(ABOUT), sort=False):
        times = np.unique(part["time"].to_numpy("int64"))
        if len(times) < 2:
            alone += 1
            continue
        steps = np.diff(times)
        cuts = np.flatnonzero(steps > BROKEN * np.median(steps)) + 1
        about = dict(zip(ABOUT, map(str, key), strict=True))
        found_spans += [(about, mine, part) for mine in np.split(times, cuts) if len(mine) > 1]
    if not found_spans:
        raise WorkbenchError(
            "no series of DCGM has two samples with times, and one sample lasts no time: give a range query's answer, or "
            "pages of several moments with their times"
        )
    spans = [_span(about, mine, part, *others) for about, mine, part, others in _apart(found_spans)]
    found = pd.DataFrame(spans)
    columns: dict[str, Any] = {
        name: found[name].tolist() for name in ("node", "gpu", "gpu_model", "owner", "tenant", "model", "kind")
    }
    columns |= {name: pa.array(found[name].to_numpy("int64")).cast(TIME) for name in ("start", "end")}
    for name in ("share", "allocated_hours", "used_hours", "energy_kwh"):
        columns[name] = pa.array(found[name].to_numpy("float64"), from_pandas=True)
    checks = {
        "spans": len(found),
        "hours allocated": float(found["allocated_hours"].sum()),
        "hours used": float(found["used_hours"].sum()),
        "kwh": float(found["energy_kwh"].sum()),
        "series of one sample": alone,
        "blank": metrics.checks.get("blank", 0),
    }
    return gpu_hours_table(columns), checks


def _apart(spans: list[tuple[dict[str, str], Any, pd.DataFrame]]) -> Iterator[tuple[Any, Any, Any, tuple[int, float]]]:
    """Spans cut where another holder of the same GPU joins or leaves; with each, how many hold the same device or slice then,
    and the sum of the shares of all that hold a part of the GPU."""
    by: dict[tuple[str, str], list[Any]] = {}
    for one in spans:
        by.setdefault((one[0]["node"], one[0]["gpu"]), []).append(one)
    for mine in by.values():
        edges = np.unique([edge for _, times, _ in mine for edge in (times[0], times[-1])])
        for about, times, part in mine:
            inner = edges[(edges > times[0]) & (edges < times[-1])]
            places = np.searchsorted(times, inner) if len(times) > 2 else np.zeros(0, int)
            cuts = np.unique(np.clip(places, 1, max(len(times) - 2, 1)))
            for low, high in pairwise([0, *cuts, len(times) - 1]):
                middle = (times[low] + times[high]) / 2
                beside = [other for other, moments, _ in mine if moments[0] <= middle <= moments[-1]]
                same = sum((one["slice"], one["slice_id"]) == (about["slice"], about["slice_id"]) for one in beside)
                held = {(one["slice"], one["slice_id"]): _share(one) for one in beside}
                here = part[(part["time"] >= times[low]) & (part["time"] <= times[high])]
                yield about, times[low : high + 1], here, (same, sum(held.values()))


def _share(about: dict[str, str]) -> float:
    """The part of a whole GPU that a MIG profile such as "3g.40gb" or "1c.3g.40gb" is; 1 without one."""
    told = re.search(r"(\d+)g\.", about["slice"])
    return min(int(told.group(1)), SLICES) / SLICES if told else 1.0


def _rows(metrics: Metrics) -> pd.DataFrame:
    """The samples that matter: what (of FIELDS), time in microseconds, value, and the labels that name GPU and holder."""
    known = {name: what for what, names in aliases()["dcgm"].items() for name in names if what in FIELDS}
    frame = metrics.table.select(["metric", "labels", "value"]).to_pandas()
    frame["time"] = metrics.table["time"].cast(pa.int64()).to_pandas()
    frame["what"] = frame["metric"].map(known)
    frame = frame[frame["what"].notna()]
    if frame.empty:
        wanted = ", ".join(list(known)[:3])
        raise WorkbenchError(f"there is no metric of DCGM that tells the use of GPUs: wanted one such as {wanted}")
    frame = frame[frame["time"].notna()].astype({"time": "int64"})
    words = aliases()["labels"]
    told, every = [], [json.loads(text) for text in frame["labels"].unique()]
    scraped = any("exported_pod" in labels or "exported_namespace" in labels for labels in every)
    for labels in every:
        if scraped or EXPORTER.search(
            labels.get("pod", "")
        ):  # whose pod it is that was scraped, and not who holds the GPU
            labels = {name: value for name, value in labels.items() if name not in SCRAPED}
        told.append([next((labels[one] for one in words[name] if labels.get(one)), "") for name in ABOUT])
    about = pd.DataFrame(told, index=frame["labels"].unique(), columns=list(ABOUT), dtype=object)
    return frame.join(about, on="labels")


def _span(about: dict[str, str], times: Any, part: pd.DataFrame, same: int, held: float) -> dict[str, Any]:
    length = float(times[-1] - times[0]) / HOUR
    mig = _share(about)
    share = mig / same
    used = _mean(part, "used_share", times)
    if np.isnan(used):
        used = _mean(part, "used_percent", times) / 100
    energy = part[(part["what"] == "energy_mj") & part["value"].notna()].sort_values("time")
    kwh = float(growth(energy["value"].to_numpy("float64")).sum()) / 3.6e9 if len(energy) > 1 else np.nan
    if np.isnan(kwh):
        kwh = _mean(part, "power_w", times) * length / 1000
    kwh *= share / held
    return {
        "start": int(times[0]), "end": int(times[-1]), "node": about["node"],
        "gpu": about["gpu"], "gpu_model": about["gpu_model"], "owner": about["owner"], "tenant": about["owner"],
        "model": about["pod"], "kind": "mig" if mig < 1 else "time-slice" if same > 1 else "whole", "share": share,
        "allocated_hours": share * length, "used_hours": share * length * used, "energy_kwh": kwh,
    }  # fmt: skip


def _mean(part: pd.DataFrame, what: str, times: Any) -> float:
    """The mean of a gauge over the time that its samples are known for, each until the next one; NaN where none is."""
    found = part[part["what"] == what].groupby("time")["value"].mean().reindex(times)
    weight = np.diff(times) * found.notna().to_numpy()[:-1]
    return float((found.fillna(0).to_numpy()[:-1] * weight).sum() / weight.sum()) if weight.sum() else np.nan
