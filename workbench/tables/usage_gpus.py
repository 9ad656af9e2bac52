"""GPU-hours by owner from any table that tells them, allocated and used, in the one schema.

Schema in: CSV, Parquet or JSON with the names of `[gpu_hours]` in usage_aliases.toml, or samples of the DCGM exporter
(Prometheus text or JSON). Out: GPU_HOURS. Units are told by a column's name or by its values, and never assumed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from os import PathLike, fspath
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from workbench.errors import WorkbenchError, nearest
from workbench.tables.usage import EXCEPTIONS, GPU_HOURS, gpu_hours_table
from workbench.tables.usage_named import Found, Named, Raw, aliases
from workbench.tables.usage_records import columns, files, flat, records, tables
from workbench.tables.usage_values import Values, moments, numbers, texts

HOUR = 3.6e9  # microseconds
MOST = 1e9  # hours of one claim: beyond, they are none
OF_HOUR = {"hours": 1.0, "minutes": 60.0, "seconds": 3600.0}
OF_KWH = {"energy_kwh": 1.0, "energy_wh": 1e3, "energy_j": 3.6e6, "energy_mj": 3.6e9}  # mj: thousandths of a joule
TEXTS = ("node", "gpu", "gpu_model", "owner", "tenant", "model")
SLICES = 7  # compute slices of a whole GPU under MIG
METRICS = (".prom", ".txt", ".metrics")


@dataclass(frozen=True)
class GpuHours:
    """What a source says of GPUs: rows that can be shared out (GPU_HOURS), and what cannot be.

    exceptions: EXCEPTIONS, a row a reason. aside: GPU_HOURS rows in no sum, each with an exception. unknown: fields that no
    column took, with the rows that have them. units: what each quantity was found to be in. checks: rows and hours in are
    those out and aside.
    """

    table: pa.Table
    exceptions: pa.Table
    aside: pa.Table = field(default_factory=GPU_HOURS.empty_table)
    unknown: Mapping[str, int] = field(default_factory=dict)
    units: Mapping[str, str] = field(default_factory=dict)
    checks: Mapping[str, Any] = field(default_factory=dict)


def read_gpu_hours(source: str | PathLike[str]) -> GpuHours:
    """Who held and who used which GPU for how long, from a table or from the samples of the DCGM exporter.

    A row needs a start, and an end or hours: without an end it is start + hours / (GPUs x share). Hours held are those told,
    else GPUs x share x length; hours used are those told, else utilisation x hours held, else null (not measured). share is
    told as such, in percent, in MIG slices of seven, or as one of so many time-slice replicas; 1 where nothing is said.

    Raises WorkbenchError for a source that does not exist, without a start, or of which no GPU-hours can be told.

    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "gpus.csv"
    >>> _ = path.write_text("start,gpu_seconds,team,gpu_util\\n2026-03-02 10:00,7200,search,80\\n2026-03-02 10:00,-5,search,1\\n")
    >>> found = read_gpu_hours(path)
    >>> found.table.select(["owner", "allocated_hours", "used_hours"]).to_pylist(), found.units["gpu_util"]
    ([{'owner': 'search', 'allocated_hours': 2.0, 'used_hours': 1.6}], 'percent, since some are above 1')
    """
    name = fspath(source)
    raw = None if name.lower().endswith(METRICS) else _raw(source)
    if raw is None or {"data.resultType", "data.result", "metric.__name__"} & set(raw.columns):
        return _dcgm(source)
    named = Named(raw, aliases()["gpu_hours"])
    found, units = Found(raw, pa.repeat(pa.scalar(""), named.rows)), dict[str, str]()
    start, end = (_time(named, found, one, units) for one in ("start", "end"))
    if not named.names("time", "start"):
        have = ", ".join(repr(one) for one in list(raw.columns)[:8]) or "none"
        raise WorkbenchError(f"no column of {name!r} tells when GPUs were held; there are {have}: name one start")
    share = _share(named, found, units)
    many = _filled(_number(named, found, "gpus", units, "GPUs"), _slurm(named, units))
    many = np.where(np.isnan(many), 1.0, many)
    held = _hours(named, found, "allocated", units)
    if named.rows and np.isnan(end).all() and np.isnan(held).all():
        raise WorkbenchError(
            f"{name!r} tells neither an end nor hours of GPUs: "
            f"{nearest('gpu_hours', [*aliases()['gpu_hours']['number']['allocated_hours'], 'end'])}"
        )
    if (np.isnan(end) & ~np.isnan(held)).any():
        units["end"] = "start + hours / (GPUs x share), where none is said"
    wide = share * many
    end = np.where(np.isnan(end), start + held / np.where(wide > 0, wide, 1.0) * HOUR, end)
    length = (end - start) / HOUR
    if (np.isnan(held) & ~np.isnan(length)).any():
        units["allocated_hours"] = "GPUs x share x length, where none is said"
    held = np.where(np.isnan(held), wide * length, held)
    used = _used(named, found, held, units)
    kwh = np.full(named.rows, np.nan)
    for key, size in OF_KWH.items():
        kwh = _filled(kwh, _number(named, found, key, units, key.removeprefix("energy_")) / size)
    _lost(found, start, end, held, share)
    kind = _kind(named)
    taken = {key: named.text(key) for key in TEXTS}
    whole = gpu_hours_table(
        {
            **taken,
            "kind": kind,
            "start": _moments(start),
            "end": _moments(end),
            **{
                key: pa.array(value, from_pandas=True)
                for key, value in (
                    ("share", share),
                    ("allocated_hours", held),
                    ("used_hours", used),
                    ("energy_kwh", kwh),
                )
            },
        }
    )
    table, aside = whole.filter(pa.array(~found.aside)), whole.filter(pa.array(found.aside))
    unknown = {
        one: len(values) - values.null_count
        for one, values in raw.columns.items()
        if one not in named.taken and values.null_count < len(values)
    }
    return GpuHours(table, found.table(), aside, unknown, units, _checks(raw, whole, table, aside))


def _raw(source: str | PathLike[str]) -> Raw:
    place, found, stored = files(source)
    if stored != "json":
        return tables(place, found, stored)
    broken: list[dict[str, Any]] = []
    rows = list(records(place, found, broken))
    where = pa.array([one[0] for one in rows], pa.string()), pa.array([one[1] for one in rows], pa.int64())
    return Raw(columns([flat(one[2]) for one in rows]), *where, broken)


def _dcgm(source: str | PathLike[str]) -> GpuHours:
    from workbench.tables.prometheus import read_metrics
    from workbench.tables.prometheus_dcgm import gpu_hours

    metrics = read_metrics(source)
    table, checks = gpu_hours(metrics)
    words = aliases()
    known = {name for names in words["dcgm"].values() for name in names}
    counted = pc.value_counts(metrics.table["metric"])
    unknown = {one["values"].as_py(): one["counts"].as_py() for one in counted if one["values"].as_py() not in known}
    units = {"energy_kwh": "mJ or W by the field's name", "used_hours": "share or percent by the field's name"}
    return GpuHours(table, metrics.exceptions, unknown=unknown, units=units, checks=dict(metrics.checks) | checks)


def _filled(value: Values, other: Values) -> Values:
    return np.where(np.isnan(value), other, value)


def _time(named: Named, found: Found, key: str, units: dict[str, str]) -> Values:
    """Microseconds since 1970 as floats (whole below 2**53), NaN where there are none."""
    out = np.full(named.rows, np.nan)
    for name in named.names("time", key):
        value, missing, wrong, unit = moments(named.raw.columns[name])
        found.add(wrong & np.isnan(out), "wrong type", name, named.raw.columns[name])
        out = _filled(out, np.where(missing | wrong, np.nan, value.astype(float)))
        if unit:
            units[name] = unit
    return out


def _number(named: Named, found: Found, key: str, units: dict[str, str], unit: str) -> Values:
    out = np.full(named.rows, np.nan)
    for name in named.names("number", key):
        value, _, wrong = numbers(named.raw.columns[name])
        found.add(wrong, "wrong type", name, named.raw.columns[name])
        found.add(~wrong & (value < 0), "negative count", name, named.raw.columns[name])
        unit_ = unit if unit != "unsaid" else _shown(value, key == "share")
        units[name] = f"{unit_} by its name" if unit != "unsaid" else unit_
        if unit_.startswith("unsaid"):
            named.taken.discard(name)
            continue
        factor = 0.01 if unit_.startswith("percent") else 1.0
        out = _filled(out, np.where(wrong, np.nan, value * factor))
    return out


def _shown(value: Values, shared: bool = False) -> str:
    """Whether a share without a unit is of 1 or of 100, by its values."""
    some = value[np.isfinite(value)]
    if shared and 1 < some.max(initial=0) <= 16:
        return "unsaid: above 1 and at most 16, which may be percent or GPUs; name the column share_percent or gpus"
    if (some > 1).any():
        return "percent, since some are above 1"
    if len(some) and (some == np.round(some)).all() and (some == 1).any() and not (some == 1).all():
        return "unsaid: only 0 and 1, which may be shares or percent; name the column used_share or utilization_percent"
    return "share of 1, since none is above 1"


def _share(named: Named, found: Found, units: dict[str, str]) -> Values:
    share = _number(named, found, "share", units, "unsaid")
    share = _filled(share, _number(named, found, "share_percent", units, "percent"))
    share = _filled(share, _number(named, found, "slices", units, f"MIG slices of {SLICES}") / SLICES)
    with np.errstate(divide="ignore"):
        share = _filled(share, 1 / _number(named, found, "replicas", units, "one of so many"))
    return np.where(np.isfinite(share), share, 1.0)


def _slurm(named: Named, units: dict[str, str]) -> Values:
    """The GPUs of Slurm's lists of resources ("cpu=8,gres/gpu=4"), NaN where there is no such list."""
    out = np.full(named.rows, np.nan)
    for name in named.names("text", "tres"):
        words = texts(named.raw.columns[name])
        count = pc.extract_regex(words, r"gres/gpu=(?P<gpus>\d{1,6})")
        number = pc.cast(pc.coalesce(pc.struct_field(count, "gpus"), pa.scalar("0")), pa.float64())
        out = _filled(out, np.where(pc.equal(words, ""), np.nan, number))
        units[name] = "GPUs by its name"
    return out


def _hours(named: Named, found: Found, what: str, units: dict[str, str]) -> Values:
    out = np.full(named.rows, np.nan)
    for unit, size in OF_HOUR.items():
        out = _filled(out, _number(named, found, f"{what}_{unit}", units, unit) / size)
    return out


def _used(named: Named, found: Found, held: Values, units: dict[str, str]) -> Values:
    used = _hours(named, found, "used", units)
    used = _filled(used, _number(named, found, "used_share", units, "unsaid") * held)
    return _filled(used, _number(named, found, "used_percent", units, "percent") * held)


def _lost(found: Found, start: Values, end: Values, held: Values, share: Values) -> None:
    """Rows that cannot be shared out: no time, no length, or an end before the start."""
    for rows, reason, name in (
        (np.isnan(start), "time missing", "start"),
        (~np.isnan(start) & np.isnan(held), "usage missing", "hours"),
        (end < start, "clock jump", "end"),
        (share > 1 + 1e-9, "wrong type", "share"),
        (~(held <= MOST), "wrong type", "hours"),
    ):
        fresh = rows & ~found.aside
        found.add(fresh, reason, name)
        found.aside |= fresh


def _kind(named: Named) -> pa.Array:
    words = pc.replace_substring_regex(pc.utf8_lower(named.text("kind")), r"[\s_]+", "-")
    for name, said in aliases()["gpu_kinds"].items():
        words = pc.if_else(pc.is_in(words, value_set=pa.array(said)), name, words)
    return words


def _moments(value: Values) -> pa.Array:
    gone = ~(np.abs(value) < 9.2e18)
    return pa.array(np.where(gone, 0, value).astype(np.int64), mask=gone).cast(pa.timestamp("us", "UTC"))


def _checks(raw: Raw, whole: pa.Table, table: pa.Table, aside: pa.Table) -> dict[str, Any]:
    def total(one: pa.Table) -> float:
        return float(pc.sum(one["allocated_hours"]).as_py() or 0.0)

    rows = len(raw.row) + len(raw.broken)
    return {
        "rows in": rows,
        "rows out": table.num_rows,
        "rows aside": aside.num_rows,
        "rows unreadable": len(raw.broken),
        "rows conserved": rows == table.num_rows + aside.num_rows + len(raw.broken),
        "hours in": total(whole),
        "hours out": total(table),
        "hours aside": total(aside),
        "hours conserved": bool(np.isclose(total(whole), total(table) + total(aside), rtol=1e-12, atol=1e-9)),
    }


__all__ = ["EXCEPTIONS", "GpuHours", "read_gpu_hours"]
