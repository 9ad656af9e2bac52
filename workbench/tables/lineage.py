"""What made a table and what it feeds: OpenLineage events of every run, one JSON line each, and the tree that they draw."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from workbench import __version__
from workbench.errors import WorkbenchError, nearest

PRODUCER = "https://github.com/workbench"
NAMESPACE = "workbench"
FILE = "lineage.jsonl"
PORTS = {
    "postgresql": ("postgres", 5432), "postgres": ("postgres", 5432), "mysql": ("mysql", 3306), "mariadb": ("mysql", 3306)
}  # fmt: skip
DEEPEST = 6  # steps that a tree follows


@dataclass(frozen=True)
class Data:
    """A table, a folder of files, or a file that a run read or wrote."""

    address: str
    version: str = ""
    rows: int | None = None
    schema: Mapping[str, str] = field(default_factory=dict)  # column: type


def events_file(runs: str | os.PathLike[str] = "runs") -> Path:
    """Where events go: WORKBENCH_LINEAGE, else lineage.jsonl in the folder of runs."""
    return Path(os.environ.get("WORKBENCH_LINEAGE") or Path(runs) / FILE).expanduser()


def emit(
    job: str,
    *,
    inputs: Iterable[Data] = (),
    outputs: Iterable[Data] = (),
    parameters: Mapping[str, Any] | None = None,
    notebook_hash: str = "",
    status: str = "COMPLETE",
    error: str = "",
    started: str = "",
    ended: str = "",
    run: str = "",
    file: str | os.PathLike[str] | None = None,
) -> Path:
    """Writes the START event of a run and its COMPLETE or FAIL event; gives the file.

    Datasets carry version, schema and rows, the run its parameters, the job the notebook's hash, as facets of
    OpenLineage. `run` is what identifies the run (the same words give the same id); times are ISO text.

    Raises WorkbenchError where openlineage-python is not installed or the file cannot be written.
    """
    try:
        from openlineage.client.event_v2 import Job, Run, RunEvent, RunState
        from openlineage.client.facet_v2 import (
            JobFacet,
            RunFacet,
            error_message_run,
            job_type_job,
            processing_engine_run,
        )
        from openlineage.client.transport.file import FileConfig, FileTransport
    except ImportError as missing:
        raise WorkbenchError(
            "lineage needs the package openlineage-python: pip install 'workbench[prepare]'"
        ) from missing
    if status not in ("COMPLETE", "FAIL", "ABORT"):
        raise WorkbenchError(f"status={status!r} is unknown: the choices are 'COMPLETE', 'FAIL' and 'ABORT'")
    path = Path(file) if file is not None else events_file()
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    number = str(uuid.uuid5(uuid.NAMESPACE_URL, run)) if run else str(uuid.uuid4())
    engine = processing_engine_run.ProcessingEngineRunFacet(__version__, "workbench", producer=PRODUCER)
    run_facets: dict[str, Any] = {"processing_engine": engine}
    if parameters:
        run_facets["workbench_parameters"] = RunFacet(producer=PRODUCER).with_additional_properties(
            parameters=json.dumps(parameters, ensure_ascii=False, default=str)
        )
    job_facets: dict[str, Any] = {
        "jobType": job_type_job.JobTypeJobFacet(
            "BATCH", "WORKBENCH", "NOTEBOOK" if notebook_hash else "COMMAND", producer=PRODUCER
        )
    }
    if notebook_hash:
        job_facets["workbench_notebook"] = JobFacet(producer=PRODUCER).with_additional_properties(hash=notebook_hash)
    work = Job(NAMESPACE, job, facets=job_facets)
    read, written = [_dataset(one, True) for one in inputs], [_dataset(one, False) for one in outputs]
    last = dict(run_facets)
    if error:
        last["errorMessage"] = error_message_run.ErrorMessageRunFacet(error, "python", producer=PRODUCER)
    begin = RunEvent(eventType=RunState.START, eventTime=started or now, run=Run(number, facets=run_facets), job=work,
                     inputs=read, outputs=[], producer=PRODUCER)  # fmt: skip
    end = RunEvent(eventType=RunState[status], eventTime=ended or now, run=Run(number, facets=last), job=work, inputs=read,
                   outputs=written, producer=PRODUCER)  # fmt: skip
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        transport = FileTransport(FileConfig(log_file_path=str(path), append=True))
        for event in (begin, end):
            transport.emit(event)
    except (OSError, RuntimeError) as failed:
        raise WorkbenchError(f"the lineage of {job!r} could not be written to {str(path)!r}: {failed}") from failed
    return path


def _dataset(one: Data, read: bool) -> Any:
    from openlineage.client.event_v2 import InputDataset, OutputDataset
    from openlineage.client.facet_v2 import (
        dataset_version_dataset,
        input_statistics_input_dataset,
        output_statistics_output_dataset,
        schema_dataset,
    )

    namespace, name = _named(one.address)
    facets: dict[str, Any] = {}
    if one.version:
        facets["version"] = dataset_version_dataset.DatasetVersionDatasetFacet(one.version, producer=PRODUCER)
    if one.schema:
        fields = [schema_dataset.SchemaDatasetFacetFields(key, kind) for key, kind in one.schema.items()]
        facets["schema"] = schema_dataset.SchemaDatasetFacet(fields, producer=PRODUCER)
    if read:
        counted: Any = input_statistics_input_dataset.InputStatisticsInputDatasetFacet(one.rows, producer=PRODUCER)
        return InputDataset(namespace, name, facets=facets,
                            inputFacets={} if one.rows is None else {"inputStatistics": counted})  # fmt: skip
    counted = output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(one.rows, producer=PRODUCER)
    return OutputDataset(namespace, name, facets=facets,
                         outputFacets={} if one.rows is None else {"outputStatistics": counted})  # fmt: skip


def _named(address: str) -> tuple[str, str]:
    """Namespace and name of a dataset, as OpenLineage's naming of datasets spells them.

    >>> _named("s3://logs/raw/"), _named("postgresql://ann@db.example/shop/requests")
    (('s3://logs', 'raw'), ('postgres://db.example:5432', 'shop.public.requests'))
    """
    if address.partition("://")[0].partition("+")[0] in PORTS:
        scheme, port = PORTS[address.partition("://")[0].partition("+")[0]]
        parts = urlsplit(address)
        database, _, table = parts.path.strip("/").partition("/")
        table = f"public.{table}" if scheme == "postgres" and "." not in table else table
        return f"{scheme}://{parts.hostname or 'localhost'}:{parts.port or port}", f"{database}.{table}"
    if "://" in address and not address.startswith(("file://", "local://")):
        scheme, _, rest = address.partition("://")
        host, _, path = rest.partition("/")
        return f"{scheme}://{host}", path.rstrip("/") or "/"
    bare = address.partition("://")[2] if "://" in address else address
    return "file", os.path.abspath(os.path.expanduser(bare))


def of_run(folder: Path, told: Mapping[str, Any], file: Path) -> dict[str, str]:
    """Writes the events of a finished run: {} where they are written, else {"lineage": why not}.

    Nothing that a killed run has left, such as half a file, makes this raise.
    """
    try:
        _emit_run(folder, told, file)
    except Exception as failed:
        return {"lineage": f"not written: {failed}"}
    return {}


def _emit_run(folder: Path, told: Mapping[str, Any], file: Path) -> None:
    schemas = told.get("schemas") or {}
    read = [
        Data(
            one["source"],
            str(one.get("snapshot", one.get("version", ""))),
            one.get("rows"),
            schemas.get(one["source"], {}),
        )
        for one in told.get("sources") or []
    ]
    written = [Data(one["source"], str(one.get("version", "")), one.get("rows"), one.get("schema") or {})
               for one in told.get("outputs") or []]  # fmt: skip
    final = folder.parent / folder.name.removeprefix(".").removesuffix(".partial")
    written += [_left(path, final / path.relative_to(folder)) for path in sorted(folder.glob("*.nc"))]
    written += [_left(path, final / path.relative_to(folder)) for path in sorted(folder.glob("results/*.parquet"))]
    error = told.get("error") or {}
    emit(
        str(told.get("notebook")), inputs=read, outputs=written, parameters=told.get("parameters") or {},
        notebook_hash=str(told.get("notebook_hash") or ""),
        status="COMPLETE" if told.get("status") == "good" else "FAIL",
        error=str(error.get("message", "")) if error else "", started=str(told.get("started") or ""),
        ended=str(told.get("ended") or ""), run=f"{told.get('notebook')}/{final.name}/{told.get('started')}", file=file,
    )  # fmt: skip


def _left(path: Path, final: Path) -> Data:
    if path.suffix != ".parquet":
        return Data(str(final))
    import pyarrow.parquet as pq

    try:
        metadata = pq.read_metadata(path)
    except (OSError, ValueError):  # half of one
        return Data(str(final))
    schema = metadata.schema.to_arrow_schema()
    return Data(str(final), "", metadata.num_rows, {one.name: str(one.type) for one in schema})


Graph = dict[str, Any]


def graph(file: str | os.PathLike[str] | None = None) -> Graph:
    """What the events tell: {"jobs": {job: {runs, failed, last, inputs, outputs}}, "data": {address: {version, rows, schema}}}.

    inputs and outputs are addresses; results in run folders are told without the run's time. A line that is no event is
    counted in "broken".
    """
    path = Path(file) if file is not None else events_file()
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise WorkbenchError(f"there is no lineage in {str(path)!r} yet: a run writes it") from None
    jobs: dict[str, dict[str, Any]] = {}
    data: dict[str, dict[str, Any]] = {}
    broken = 0
    for line in lines:
        try:
            event = json.loads(line)
            kind, job = event["eventType"], event["job"]["name"]
        except (ValueError, KeyError, TypeError):
            broken += bool(line.strip())
            continue
        if kind == "START":
            continue
        known = jobs.setdefault(job, {"runs": 0, "failed": 0, "last": "", "inputs": [], "outputs": []})
        known["runs"] += 1
        known["failed"] += kind != "COMPLETE"
        known["last"] = max(known["last"], str(event.get("eventTime", "")))
        for side in ("inputs", "outputs"):
            for one in event.get(side) or []:
                address = _address(one)
                if address not in known[side]:
                    known[side].append(address)
                data[address] = data.get(address, {}) | _facets(one)
    return {"jobs": jobs, "data": data, "broken": broken}


def _address(one: Mapping[str, Any]) -> str:
    name = str(one["name"])
    parts = name.split("/")
    plain = [part for part in parts if not (len(part) >= 16 and part[:8].isdigit() and part[8] == "T" and "Z" in part)]
    name = "/".join(plain)
    return name if one.get("namespace") == "file" else f"{one.get('namespace')}/{name}"


def _facets(one: Mapping[str, Any]) -> dict[str, Any]:
    facets = one.get("facets") or {}
    counted = (one.get("inputFacets") or {}).get("inputStatistics") or (one.get("outputFacets") or {}).get(
        "outputStatistics"
    )
    found: dict[str, Any] = {}
    if "version" in facets:
        found["version"] = facets["version"].get("datasetVersion")
    if counted:
        found["rows"] = counted.get("rowCount")
    if "schema" in facets:
        found["schema"] = {each["name"]: each.get("type") for each in facets["schema"].get("fields") or []}
    return found


def tree(table: str | os.PathLike[str], file: str | os.PathLike[str] | None = None) -> str:
    """What made a table and what it feeds, as lines of text. Raises WorkbenchError for one that no event names."""
    known = graph(file)
    address = _address(dict(zip(("namespace", "name"), _named(os.fspath(table)), strict=True)))
    if address not in known["data"]:
        near = nearest(address, known["data"])
        raise WorkbenchError(f"no run has read or written {os.fspath(table)!r}: {near}")
    lines = [_shown(address, known["data"])]
    for words, up in (("made by", True), ("feeds", False)):
        steps = _steps(address, known, up, {address}, 1)
        lines += [words, *(steps or ["   nothing that is known"])]
    return "\n".join(lines)


def _shown(address: str, data: Mapping[str, Mapping[str, Any]]) -> str:
    told = data.get(address, {})
    words = [f"version {told['version']}"] if told.get("version") else []
    words += [f"{told['rows']:,} rows"] if told.get("rows") is not None else []
    words += [f"{len(told['schema'])} columns"] if told.get("schema") else []
    return address + (f"  ({', '.join(words)})" if words else "")


def _steps(address: str, known: Graph, up: bool, seen: set[str], depth: int) -> list[str]:
    here, there = ("outputs", "inputs") if up else ("inputs", "outputs")
    lines: list[str] = []
    found = [(name, job) for name, job in known["jobs"].items() if address in job[here]]
    for index, (name, job) in enumerate(found):
        last = index == len(found) - 1
        failed = f", {job['failed']} failed" if job["failed"] else ""
        lines.append(f"{'└─' if last else '├─'} {name}  ({job['runs']} runs{failed}, last {job['last']})")
        lines += [f"{'   ' if last else '│  '}{line}" for line in _datasets(job[there], known, up, seen, depth)]
    return lines


def _datasets(addresses: Sequence[str], known: Graph, up: bool, seen: set[str], depth: int) -> list[str]:
    lines: list[str] = []
    for index, one in enumerate(addresses):
        last = index == len(addresses) - 1
        again = "  (see above)" if one in seen else ""
        lines.append(f"{'└─' if last else '├─'} {_shown(one, known['data'])}{again}")
        if not again and depth < DEEPEST:
            below = _steps(one, known, up, seen | {one}, depth + 1)
            lines += [f"{'   ' if last else '│  '}{line}" for line in below]
    return lines
