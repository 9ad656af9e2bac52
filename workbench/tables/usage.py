"""Usage of models as rows: one schema for requests, one for what is wrong with them, one for GPU-hours.

Every adapter ends here. Counts are whole numbers: `input_tokens` holds all input, cached or not; `output_tokens` holds
reasoning. A row that cannot be priced as it stands is set aside, never dropped: it is in `Usage.aside` with what is known
of it, and in `Usage.exceptions` with the reason. Reading never judges a price; an unknown model is found by
`workbench.analyses.prices`, which names it in the same schema.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from os import PathLike, fspath
from typing import Any

import pyarrow as pa

from workbench.errors import WorkbenchError, nearest

TIME = pa.timestamp("us", "UTC")
COUNTS = (
    "input_tokens",
    "cached_input_tokens",
    "cache_write_tokens",
    "cache_write_1h_tokens",
    "output_tokens",
    "reasoning_tokens",
    "requests",
)
USAGE = pa.schema(
    [
        pa.field("request_id", pa.string()),
        pa.field("time", TIME),
        pa.field("provider", pa.string()),
        pa.field("model", pa.string()),  # as reported
        pa.field("owner", pa.string()),  # tenant, team, user or key: who pays
        pa.field("project", pa.string()),
        pa.field("region", pa.string()),
        pa.field("tier", pa.string()),  # "standard", "batch", "flex", "priority", or "" where nothing is said
        pa.field("context", pa.string()),  # further price context as "key=value;key=value", sorted; "" for none
        pa.field("input_tokens", pa.int64()),  # all input, cached or not
        pa.field("cached_input_tokens", pa.int64()),  # read from the provider's cache
        pa.field("cache_write_tokens", pa.int64()),  # written for five minutes, or for an unsaid time
        pa.field("cache_write_1h_tokens", pa.int64()),  # written for an hour
        pa.field("output_tokens", pa.int64()),  # all output, reasoning too
        pa.field("reasoning_tokens", pa.int64()),
        pa.field("requests", pa.int64()),  # 1
        pa.field("status", pa.string()),
        pa.field("retry_of", pa.string()),  # the request id that this one repeats
        pa.field("duration_s", pa.float64()),
        pa.field("ttft_s", pa.float64()),
        pa.field("billed_micro_usd", pa.int64()),  # what the source itself says it cost; null where it says nothing
        pa.field("currency", pa.string()),  # of that amount, as reported
        pa.field("source", pa.string()),  # file
        pa.field("row", pa.int64()),  # line or row in it, from 1
    ]
)
EXCEPTIONS = pa.schema(
    [
        pa.field("source", pa.string()),
        pa.field("row", pa.int64()),
        pa.field("request_id", pa.string()),
        pa.field("reason", pa.string()),  # one of REASONS
        pa.field("field", pa.string()),
        pa.field("value", pa.string()),
    ]
)
GPU_HOURS = pa.schema(
    [
        pa.field("start", TIME),
        pa.field("end", TIME),
        pa.field("node", pa.string()),
        pa.field("gpu", pa.string()),  # uuid
        pa.field("gpu_model", pa.string()),
        pa.field("owner", pa.string()),
        pa.field("tenant", pa.string()),
        pa.field("model", pa.string()),
        pa.field("share", pa.float64()),  # 0 to 1, of the whole GPU
        pa.field("kind", pa.string()),  # one of KINDS
        pa.field("allocated_hours", pa.float64()),
        pa.field("used_hours", pa.float64()),
        pa.field("energy_kwh", pa.float64()),
    ]
)
KINDS = ("whole", "mig", "time-slice", "mps", "dra")
PAGES = (".prom", ".txt", ".metrics")  # Prometheus text
TIERS = ("", "standard", "batch", "flex", "priority")

# Every reason, and whether the row is set aside (True) or stays in the table (False).
REASONS: dict[str, bool] = {
    "unreadable": True,  # a line that is no record: truncated, not JSON, a wrong number of cells
    "wrong type": True,  # a count that is no whole number, a time that is no time
    "usage missing": True,  # such as a stream without usage
    "negative count": True,
    "cached exceeds input": True,  # cache reads and writes are more than all input
    "reasoning exceeds output": True,
    "duplicate request id": True,  # the second and later rows of an id; the first stays
    "sum of other rows": True,  # a parent span that repeats its children's tokens
    "answered from a gateway's cache": True,  # no provider was asked, so nothing is billed
    "total differs": False,  # the source's own total is not the sum of its input and output
    "time missing": False,  # priced as of today's prices, and said
    "clock jump": False,
    "other currency": False,  # its tokens count; its amount is in no dollars and so in no sum
    "currency missing": False,  # of a bill's line, which is in no sum then
    "unknown model": False,  # found when prices are applied
    "unknown price context": False,  # likewise
    "no price for a token class": False,  # likewise
    "lengths not known": False,  # likewise: requests in one row, of a model whose price depends on the length of each
    "audio priced as text": False,  # tokens of sound, for which no class has a price
}


@dataclass(frozen=True)
class Usage:
    """What a source says was used.

    table: rows fit to be priced (USAGE). exceptions: EXCEPTIONS, one row a reason and request. aside: USAGE rows that
    are in no sum, each with at least one exception (a line that could not be read at all is an exception only).
    unknown: fields that no column took, with the number of rows that had them. units: what each time and amount was
    found to be in, and how. checks: conservation, see `read_usage`.
    """

    table: pa.Table
    exceptions: pa.Table
    aside: pa.Table = field(default_factory=USAGE.empty_table)
    unknown: Mapping[str, int] = field(default_factory=dict)
    format: str = "table"
    units: Mapping[str, str] = field(default_factory=dict)
    checks: Mapping[str, Any] = field(default_factory=dict)


def usage_table(columns: Mapping[str, Iterable[Any]]) -> pa.Table:
    """A USAGE table from some of its columns; the others are empty text, 0 tokens, 1 request, or null for the rest.

    Raises WorkbenchError for a column that USAGE does not have, or columns of different lengths.

    >>> usage_table({"model": ["gpt-5.4"], "input_tokens": [1000]}).select(["model", "input_tokens", "requests"]).to_pylist()
    [{'model': 'gpt-5.4', 'input_tokens': 1000, 'requests': 1}]
    """
    return _table(columns, USAGE)


def gpu_hours_table(columns: Mapping[str, Iterable[Any]]) -> pa.Table:
    """A GPU_HOURS table from some of its columns; the others are empty text, and null where they are numbers.

    >>> gpu_hours_table({"owner": ["search"], "share": [0.5], "allocated_hours": [12.0]}).num_columns
    13
    """
    return _table(columns, GPU_HOURS)


def exceptions_table(rows: Iterable[Mapping[str, Any]]) -> pa.Table:
    """An EXCEPTIONS table. Raises WorkbenchError for a reason that is not in REASONS.

    >>> exceptions_table([{"row": 3, "reason": "clock jump", "field": "time"}]).column("reason").to_pylist()
    ['clock jump']
    """
    rows = list(rows)
    for one in rows:
        if one.get("reason") not in REASONS:
            raise WorkbenchError(
                f"an exception's reason is {one.get('reason')!r}: {nearest(str(one.get('reason')), REASONS)}"
            )
    told = [{name: one.get(name) for name in EXCEPTIONS.names} for one in rows]
    for one in told:  # half of a pair of surrogates is no text
        one.update({k: v.encode("utf-8", "replace").decode() for k, v in one.items() if isinstance(v, str)})
    return pa.Table.from_pylist(told, EXCEPTIONS)


def _table(columns: Mapping[str, Iterable[Any]], schema: pa.Schema) -> pa.Table:
    given = {
        name: values if isinstance(values, pa.Array | pa.ChunkedArray) else list(values)
        for name, values in columns.items()
    }
    for name in given:
        if name not in schema.names:
            raise WorkbenchError(f"there is no column {name!r}: {nearest(name, schema.names)}")
    lengths = {len(values) for values in given.values()}
    if len(lengths) > 1:
        raise WorkbenchError(f"the columns have different lengths, {sorted(lengths)}: give each row a value in each")
    rows = lengths.pop() if lengths else 0
    arrays = []
    for one in schema:
        if one.name in given:
            values = given[one.name]
            arrays.append(
                values.cast(one.type) if isinstance(values, pa.Array | pa.ChunkedArray) else pa.array(values, one.type)
            )
        elif pa.types.is_string(one.type):
            arrays.append(pa.repeat(pa.scalar("", one.type), rows))
        elif one.name in COUNTS:
            arrays.append(pa.repeat(pa.scalar(int(one.name == "requests"), one.type), rows))
        else:
            arrays.append(pa.nulls(rows, one.type))
    return pa.table(arrays, schema)


def read_usage(
    source: str | PathLike[str],
    format: str = "auto",  # noqa: A002 (the word that everybody looks for)
    *,
    given: Mapping[str, str] | None = None,
    units: Mapping[str, str] | None = None,
) -> Usage:
    """What a source says was used, in the one schema; nothing is dropped, and nothing is taken for 0.

    Parameters
    ----------
    source
        A file, folder or pattern of JSON (lines, an array or one object), CSV or Parquet; text also as .gz or .zst.
    format
        "otel" (OpenTelemetry GenAI spans as OTLP JSON), "langfuse", "litellm", "mlflow", "vllm" (its metrics, as Prometheus
        text or JSON; see `prometheus_vllm.read_served`), "table" (any columns, matched by the names in
        usage_aliases.toml), or "auto", which tells by the names.
    given
        Words for rows that say none, such as {"provider": "openai", "model": "gpt-5.4"}.
    units
        The unit of a column whose name says none, such as {"latency": "ms", "cost": "usd"}: s, ms, us, ns, usd, cents,
        micro_usd, nano_usd.

    Returns
    -------
    Usage
        `units` says what each time and amount was found to be in, and by what; a column without evidence stays in
        `unknown`. `checks` says that rows in = rows out + rows aside + rows unreadable, that tokens in = tokens out + tokens
        aside - tokens added (where a source's input leaves out what was cached), and what is no request at all.

    Raises
    ------
    WorkbenchError
        A source that does not exist or holds no known format, a table without input tokens, a bill (see `read_focus`).

    Examples
    --------
    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "log.csv"
    >>> _ = path.write_text("TIMESTAMP,ContextTokens,GeneratedTokens\\n2026-03-02 10:00:00,374,44\\n2026-03-02 10:00:01,,7\\n")
    >>> usage = read_usage(path)
    >>> usage.table.column("input_tokens").to_pylist(), usage.exceptions.column("reason").to_pylist()
    ([374], ['usage missing'])
    """
    from workbench.tables import usage_formats as formats
    from workbench.tables import usage_records as records
    from workbench.tables.usage_columns import canonical

    if format != "auto" and format not in formats.FORMATS:
        raise WorkbenchError(f"format is {format!r}: {nearest(format, ('auto', *formats.FORMATS))}")
    if format == "vllm" or (format == "auto" and fspath(source).lower().endswith(PAGES)):
        return _metrics(source, given)
    place, found, stored = records.files(source)
    if stored == "json":
        broken: list[dict[str, Any]] = []
        rows = list(records.records(place, found, broken))
        names = {name for _, _, one in rows[:50] for name in records.flat(one)}
        form = formats.detect(names) if format == "auto" else format
        if form == "vllm":
            return _metrics(source, given)
        raw = formats.raw_of(rows, form, broken)
    else:
        raw = records.tables(place, found, stored)
        names = set(raw.columns)
        form = formats.detect(names) if format == "auto" else format
        if form != "table":
            raw = formats.raw_of(formats.as_records(raw), form, raw.broken)
    if {"BilledCost", "BillingCurrency"} <= names:
        raise WorkbenchError(f"{fspath(source)!r} is a bill in FOCUS columns and no usage: read it with read_focus")
    if not len(raw.row) and form == "table":
        return Usage(USAGE.empty_table(), exceptions_table(raw.broken), checks=_nothing(len(raw.broken)))
    return canonical(raw, form, given, units)


def _metrics(source: str | PathLike[str], given: Mapping[str, str] | None) -> Usage:
    from workbench.tables.prometheus_vllm import read_served

    return read_served(source, given=given)


def _nothing(broken: int) -> dict[str, Any]:
    zero = dict.fromkeys(("rows out", "rows aside", "tokens in", "tokens out", "tokens aside", "tokens added"), 0)
    return {"rows in": broken, **zero, "rows unreadable": broken, "rows conserved": True, "tokens conserved": True}
