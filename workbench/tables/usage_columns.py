"""From a source's columns to the one schema: names by alias, units by evidence, exceptions by name, conservation checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from workbench.errors import WorkbenchError, nearest
from workbench.tables.usage import COUNTS, USAGE, Usage
from workbench.tables.usage_clock import jumps
from workbench.tables.usage_named import Found, Named, Raw, aliases, plain
from workbench.tables.usage_units import TO_MICRO, TO_SECONDS, Times, billed, duration
from workbench.tables.usage_values import Values, counts, moments

MOST_CLOCKS = 10_000  # of more, those of a file count as one
NO_OUTPUT = r"(?i)embed|rerank|moderation"  # operations that have no output tokens
FURTHER = ("all_cache_write_tokens", "tool_input_tokens")  # writes of five minutes and an hour; input that tools wrote
ENOUGH = 20  # rows that show a habit of the source


def canonical(
    raw: Raw, form: str, given: Mapping[str, str] | None = None, said_units: Mapping[str, str] | None = None
) -> Usage:
    """The usage that columns hold, by the names of their format.

    Raises WorkbenchError where a plain table has no column of input tokens, and for unknown `given` or units.
    """
    named = Named(raw, aliases()[form], form == "table")
    if form == "table" and raw.inclusive is None and _apart(raw):
        raw = replace(raw, inclusive=False)
    given, said_units = _checked(given or {}, said_units or {}, raw)
    text = {one: named.text(one) for one in ("request_id", *TEXTS, "currency", "operation", "clock")}
    for name, value in given.items():
        text[name] = pc.if_else(pc.equal(text[name], ""), value, text[name])
    found = Found(raw, text["request_id"])
    for rows, reason, name, value in raw.aside:
        found.add(rows, reason, name, value)
    units: dict[str, str] = {}
    tokens, present, total = _tokens(named, found, form)
    many = _many(named, found)
    for name in named.names("count", "audio_tokens"):
        heard, _, _ = counts(raw.columns[name])
        found.add(~found.aside & (heard > 0), "audio priced as text", name, heard)
    added = _inclusive(tokens, present, total, raw.inclusive, found, units, named)
    _usage_missing(present, total, text, found, named, units)
    times, ends, firsts = (_time(named, found, one, units) for one in ("time", "end_time", "first_token_time"))
    lasted = duration(named, found, times, ends, units, said_units, "duration")
    waited = duration(named, found, times, firsts, units, said_units, "ttft")
    dollar, amount, exact = billed(named, found, text["currency"], units, said_units)
    if times[1].all():
        units["time"] = "not said"
    else:
        found.add(times[1] & ~found.aside, "time missing", "time")
    early = ~times[1] & ~ends[1] & (ends[0] < times[0])
    found.add(early, "clock jump", "end_time", _iso(ends[0]))
    found.add(_jumped(raw, text["clock"], times) & ~early, "clock jump", "time", _iso(times[0]))
    _duplicates(found)
    columns: dict[str, Any] = {name: text[name] for name in ("request_id", *TEXTS)}
    columns["tier"] = _tier(columns["tier"])
    columns["status"] = _status(columns["status"])
    columns |= {"time": _nullable(times[0], times[1], pa.timestamp("us", "UTC"))}
    columns |= {name: pa.array(tokens[name]) for name in COUNTS if name != "requests"}
    columns["requests"] = pa.array(many)
    columns |= {"duration_s": pa.array(lasted, from_pandas=True), "ttft_s": pa.array(waited, from_pandas=True)}
    columns |= {"billed_micro_usd": amount, "currency": dollar, "source": raw.source, "row": raw.row}
    whole = pa.table([columns[one.name].cast(one.type) for one in USAGE], USAGE)
    table, aside = whole.filter(pa.array(~found.aside)), whole.filter(pa.array(found.aside))
    if aside.num_rows:
        for name in ("input_tokens", "output_tokens"):
            lost = pa.array(~present[name][found.aside])
            at = aside.column_names.index(name)
            aside = aside.set_column(
                at, aside.schema.field(at), pc.if_else(lost, pa.scalar(None, pa.int64()), aside[name])
            )
    unknown = {
        name: len(values) - values.null_count
        for name, values in raw.columns.items()
        if name not in named.taken and ".0." not in name and values.null_count < len(values)
    }
    checks = _conserved(raw, table, aside, tokens, added, exact)
    return Usage(table, found.table(), aside, unknown, form, units, checks)


TEXTS = ("provider", "model", "owner", "project", "region", "tier", "context", "status", "retry_of")


def _apart(raw: Raw) -> bool:
    """Whether these are answers of an API whose input leaves out what was cached: Anthropic's, whose usage has no total,
    and the logs of Bedrock."""
    bare = {name.rpartition("usage.")[2] for name in raw.columns if "usage." in name}
    last = {name.rpartition(".")[2] for name in raw.columns}
    return ({"input_tokens", "cache_read_input_tokens"} <= bare and "total_tokens" not in bare) or {
        "inputTokenCount",
        "cacheReadInputTokenCount",
    } <= last


def _checked(
    given: Mapping[str, str], units: Mapping[str, str], raw: Raw
) -> tuple[Mapping[str, str], Mapping[str, str]]:
    for name in given:
        if name not in (*TEXTS, "currency"):
            raise WorkbenchError(f"given names {name!r}: {nearest(name, (*TEXTS, 'currency'))}")
    for name, unit in units.items():
        if name not in raw.columns:
            raise WorkbenchError(f"units names the column {name!r}: {nearest(name, raw.columns)}")
        if unit not in (*TO_SECONDS, *TO_MICRO):
            raise WorkbenchError(f"units says {unit!r} for {name!r}: {nearest(unit, (*TO_SECONDS, *TO_MICRO))}")
    return given, units


def _tokens(named: Named, found: Found, form: str) -> tuple[dict[str, Values], dict[str, Values], Values | None]:
    """Counts by name, where they were said, and the total that the source says (None where it says none)."""
    tokens: dict[str, Values] = {}
    present: dict[str, Values] = {}
    for name in (*COUNTS[:-1], *FURTHER, "uncached_input_tokens", "total_tokens"):
        value, missing, wrong, said, names = named.count(name)
        found.add(wrong, "wrong type", names[0] if len(names) == 1 else name, said)
        found.add(~wrong & (value < 0), "negative count", names[0] if len(names) == 1 else name, value)
        tokens[name], present[name] = value, ~missing
    if form == "table" and not (named.names("count", "input_tokens") or named.names("count", "uncached_input_tokens")):
        wanted = [*aliases()["table"]["count"]["input_tokens"], *aliases()["table"]["count"]["output_tokens"]]
        have = ", ".join(repr(one) for one in list(named.raw.columns)[:8])
        raise WorkbenchError(
            f"no column holds input tokens; there are {have or 'none'}: name one such as {', '.join(wanted[:3])}"
        )
    both, hour = tokens.pop("all_cache_write_tokens"), tokens["cache_write_1h_tokens"]
    told = present.pop("all_cache_write_tokens") & ~present["cache_write_tokens"]
    tokens["cache_write_tokens"] = np.where(
        told, np.where(both >= hour, both - hour, both), tokens["cache_write_tokens"]
    )
    present["cache_write_tokens"] |= told
    tokens["input_tokens"] = tokens["input_tokens"] + np.where(
        present["input_tokens"], tokens.pop("tool_input_tokens"), 0
    )
    present.pop("tool_input_tokens")
    fresh = tokens.pop("uncached_input_tokens")
    parts = fresh + tokens["cached_input_tokens"] + tokens["cache_write_tokens"] + tokens["cache_write_1h_tokens"]
    only = present.pop("uncached_input_tokens") & ~present["input_tokens"]
    tokens["input_tokens"] = np.where(only, parts, tokens["input_tokens"])
    present["input_tokens"] |= only
    total = tokens.pop("total_tokens") if present["total_tokens"].any() else None
    return tokens, present, None if total is None else np.where(present["total_tokens"], total, -1)


def _many(named: Named, found: Found) -> Values:
    """How many requests each row stands for: 1, unless a column says it."""
    value, missing, wrong, said, names = named.count("requests")
    found.add(wrong, "wrong type", names[0] if names else "requests", said)
    found.add(~wrong & (value < 0), "negative count", names[0] if names else "requests", value)
    return np.where(missing | wrong | (value < 0), 1, value)


def _inclusive(
    tokens: dict[str, Values],
    present: dict[str, Values],
    total: Values | None,
    rule: bool | None,
    found: Found,
    units: dict[str, str],
    named: Named,
) -> int:
    """Makes input hold what was cached and output hold reasoning, by the source's totals; the tokens that this added."""
    cached = tokens["cached_input_tokens"] + tokens["cache_write_tokens"] + tokens["cache_write_1h_tokens"]
    reasoning = tokens["reasoning_tokens"]
    before = int(tokens["input_tokens"].sum()) + int(tokens["output_tokens"].sum())
    sums = tokens["input_tokens"] + tokens["output_tokens"]
    told = np.zeros(len(sums), bool) if total is None else total >= 0
    goal = sums if total is None else total
    have = {plain(one.rpartition(".")[2]) for one in named.taken}
    of_anthropic = {"inputtokens", "cachereadinputtokens"} <= have  # its names: one row that shows its rule is enough
    of_gemini = {"candidatestokencount", "thoughtstokencount"} <= have  # whose candidates are without thoughts
    for part, whole in ((cached, "input_tokens"), (reasoning, "output_tokens")):
        name = "cached tokens" if whole == "input_tokens" else "reasoning"
        some = part > 0
        if not some.any():
            continue
        other = np.where(whole == "input_tokens", reasoning, cached)
        outside = some & told & ((goal == sums + part) | ((goal == sums + part + other) & (other > 0)))
        words = f"without {name}, by the totals of {int(outside.sum())} rows" if outside.any() else ""
        over = some & (part > tokens[whole])
        enough = 1 if of_anthropic and whole == "input_tokens" else ENOUGH
        often = over.sum() * (10 if enough == 1 else 2) > some.sum()
        if rule is None and not told.any() and int(some.sum()) >= enough and often:
            outside, words = some, f"without {name}: {int(over.sum())} of {int(some.sum())} rows have more of them"
        if rule is False or (of_gemini and whole == "output_tokens"):
            outside, words = some & ~(told & (goal == sums)), f"without {name}, by the format's rule"
        outside = outside & present[whole]  # nothing is added to what was not said
        tokens[whole] = np.where(outside, tokens[whole] + part, tokens[whole])
        units[whole] = (words + ": added" if outside.any() else f"with {name}") if words else f"with {name}"
    good = ~found.aside
    found.add(
        good & (cached > tokens["input_tokens"]) & (cached > 0), "cached exceeds input", "cached_input_tokens", cached
    )
    found.add(good & (reasoning > tokens["output_tokens"]), "reasoning exceeds output", "reasoning_tokens", reasoning)
    if total is not None:
        off = told & ~found.aside & (total != tokens["input_tokens"] + tokens["output_tokens"])
        found.add(off, "total differs", "total_tokens", total)
    return int(tokens["input_tokens"].sum()) + int(tokens["output_tokens"].sum()) - before


def _usage_missing(
    present: dict[str, Values],
    total: Values | None,
    text: dict[str, pa.Array],
    found: Found,
    named: Named,
    units: dict[str, str],
) -> None:
    no_input, no_output = ~present["input_tokens"], ~present["output_tokens"]
    silent = pc.match_substring_regex(text["operation"], NO_OUTPUT).to_numpy(zero_copy_only=False).astype(bool)
    if not named.names("count", "output_tokens") and not no_input.all():
        units["output_tokens"] = "no such column: 0"
        no_output = np.zeros(named.rows, bool)
    no_output &= ~silent
    for rows, name in (
        (no_input & no_output, "input_tokens, output_tokens"),
        (no_input & ~no_output, "input_tokens"),
        (no_output & ~no_input, "output_tokens"),
    ):
        found.add(rows & ~found.aside, "usage missing", name, "" if total is None else np.where(total < 0, 0, total))


def _time(named: Named, found: Found, key: str, units: dict[str, str]) -> Times:
    """Microseconds since 1970 and where there are none."""
    value, missing = np.zeros(named.rows, np.int64), np.ones(named.rows, bool)
    for name in named.names("time", key):
        here, lacking, wrong, unit = moments(named.raw.columns[name])
        fill = missing & ~lacking
        value, missing = np.where(fill & ~wrong, here, value), missing & (lacking | wrong)
        found.add(fill & wrong, "wrong type", name, named.raw.columns[name])
        if fill.any() and unit:
            units[name] = unit
    return value, missing


def _jumped(raw: Raw, clock: pa.Array, times: Times) -> Values:
    """Rows whose clock jumps: in each file, and there for each host or session that has a clock of its own."""
    out = np.zeros(len(times[0]), bool)
    latest = int((datetime.now(UTC) + timedelta(days=1)).timestamp() * 1e6)
    whose = raw.source.dictionary_encode().indices.to_numpy(zero_copy_only=False).astype(np.int64)
    clocks = clock.dictionary_encode()
    if len(clocks.dictionary) <= MOST_CLOCKS:
        whose = whose * (len(clocks.dictionary) + 1) + clocks.indices.to_numpy(zero_copy_only=False)
    rows = np.flatnonzero(~times[1])
    order = rows[np.argsort(whose[rows], kind="stable")] if len(rows) and whose.max() else rows
    cuts = np.flatnonzero(np.diff(whose[order])) + 1
    for part in np.split(order, cuts):
        out[part] = jumps(times[0][part], latest)
    return out


def _duplicates(found: Found) -> None:
    """The second and later of the rows with one id, among those that count."""
    keyed = pc.and_(pc.not_equal(found.ids, ""), pa.array(~found.aside))
    rows = np.flatnonzero(keyed.to_numpy(zero_copy_only=False))
    if not len(rows):
        return
    codes = found.ids.take(pa.array(rows)).dictionary_encode().indices.to_numpy()
    first = np.empty(codes.max() + 1, np.int64)
    first[codes[::-1]] = rows[::-1]
    again = np.zeros(len(found.ids), bool)
    again[rows] = first[codes] != rows
    value = np.zeros(len(found.ids), np.int64)
    value[rows] = found.raw.row.to_numpy()[first[codes]]
    words = pc.binary_join_element_wise("first in row", pa.array(value).cast(pa.string()), " ")
    found.add(again, "duplicate request id", "request_id", words)


def _tier(values: pa.Array) -> pa.Array:
    words = pc.utf8_lower(values)
    for name, said in aliases()["tiers"].items():
        words = pc.if_else(pc.is_in(words, value_set=pa.array(said)), name, words)
    return words


def _status(values: pa.Array) -> pa.Array:
    """As reported, where it is a word; true and false of an error column as "error" and "ok"."""
    lower = pc.utf8_lower(values)
    return pc.if_else(pc.equal(lower, "true"), "error", pc.if_else(pc.equal(lower, "false"), "ok", values))


def _nullable(values: Values, missing: Values, type_: pa.DataType) -> pa.Array:
    return pa.array(values, pa.int64(), mask=missing).cast(type_)


def _iso(times: Values) -> pa.Array:
    return pa.array(times.astype("datetime64[us]")).cast(pa.string())


def _conserved(
    raw: Raw, table: pa.Table, aside: pa.Table, tokens: Mapping[str, Values], added: int, exact: str
) -> dict[str, Any]:
    names: Sequence[str] = ("input_tokens", "output_tokens")
    out = sum(int(pc.sum(one[name]).as_py() or 0) for one in (table, aside) for name in names)
    told = sum(int(tokens[name].sum()) for name in names) - added
    rows = len(raw.row) + len(raw.broken)
    return {
        "rows in": rows,
        "rows out": table.num_rows,
        "rows aside": aside.num_rows,
        "rows unreadable": len(raw.broken),
        "rows conserved": rows == table.num_rows + aside.num_rows + len(raw.broken),
        "tokens in": told,
        "tokens out": sum(int(pc.sum(table[name]).as_py() or 0) for name in names),
        "tokens aside": sum(int(pc.sum(aside[name]).as_py() or 0) for name in names),
        "tokens added": added,
        "tokens conserved": told + added == out,
        "billed dollars": exact,
        **{f"ignored: {name}": number for name, number in raw.ignored.items()},
    }
