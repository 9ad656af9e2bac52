"""What a run of the cost notebook reads and says: usage with prices, periods, exceptions, figures and sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import pandas as pd

from workbench.analyses.money import MICRO, PICO, say
from workbench.analyses.parts import OUTSIDE, names
from workbench.errors import WorkbenchError, nearest

Figure = tuple[str, Any, str, bool | None, str]
IDLE = "(idle)"
MOST = 12  # fields that are named


def words(**texts: str) -> dict[str, str] | None:
    """The texts that say something, for `read_usage(given=...)`; None where none does."""
    return {name: text for name, text in texts.items() if text} or None


def serving(hours: pd.DataFrame | None, serves: Mapping[str, str]) -> pd.DataFrame | None:
    """GPU-hours under the models that were served: `model`, which exporters call by the pod or workload, by patterns.

    serves: the model by a pattern of names, as {"vllm-llama-*": "llama-8b"}; names that no pattern fits stay.
    Raises WorkbenchError for a pattern that fits no name.
    """
    if hours is None or not serves:
        return hours
    have = [one for one in dict.fromkeys(hours["model"]) if isinstance(one, str) and one]
    for pattern in serves:
        if not any(fnmatchcase(one, pattern) for one in have):
            raise WorkbenchError(f"{pattern!r} fits no model of the GPU-hours: {nearest(pattern, have)}")
    told = {one: next((to for pattern, to in serves.items() if fnmatchcase(one, pattern)), one) for one in have}
    return hours.assign(model=[told.get(one, one) for one in hours["model"]])


def gpu_rates(
    hours: pd.DataFrame | None, own: Mapping[str, float], provider: str, term: str, book: str = ""
) -> tuple[dict[str, int], str, str]:
    """Microdollars a GPU-hour of every GPU model in `hours`, where they are from, and the oldest day of a listed price.

    own: dollars by GPU model; the others are those of the price book for a provider and term (`gpu_prices`), and of a CSV
    before it (book). The day is ISO, "" where all prices are agreed.
    """
    from workbench.analyses import gpu_prices

    found, said, days, known = {}, [], [], gpu_prices.gpu_book(book or None)
    for model in dict.fromkeys([] if hours is None else hours["gpu_model"]):
        if model in own:
            found[model] = round(own[model] * MICRO)
            said.append(f"{model} at {say(found[model])} an hour, as agreed")
        else:
            one = gpu_prices.gpu_price(model, provider, term, book=known)
            found[model] = one.micro
            days.append(str(one.as_of))
            said.append(
                f"{model} at {say(one.micro)} an hour ({one.provider}, {one.term}, as of {one.as_of}; {one.source})"
            )
    return found, "; ".join(said), min(days, default="")


def reading(*sources: Any) -> pd.DataFrame:
    """How sources were read, a row each (what, found): format, rows, tokens, units as detected, what is no request, and fields
    that no column took. sources: `Usage`, `GpuHours` and the like, or None."""
    rows: list[tuple[str, str]] = []
    for one in sources:
        if one is None:
            continue
        checks, form = dict(one.checks), getattr(one, "format", "GPU-hours")
        told = [
            f"{checks[key]:,} {key}"
            for key in ("rows in", "rows out", "rows aside", "rows unreadable")
            if key in checks
        ]
        rows.append((form, ", ".join(told) or f"{checks.get('samples in', 0):,} samples"))
        kept = {key: value for key, value in checks.items() if key.endswith("conserved")}
        rows += [(f"{form}: {key}", "yes" if value else "NO") for key, value in kept.items()]
        rows += [(f"{form}: {key}", f"{value:,}") for key, value in checks.items() if key.startswith("ignored")]
        rows += [(f"{form}: unit of {name}", unit) for name, unit in one.units.items()]
        fields = ", ".join(f"{name} ({number:,})" for name, number in list(one.unknown.items())[:MOST])
        more = f" and {len(one.unknown) - MOST} more" if len(one.unknown) > MOST else ""
        rows += [(f"{form}: fields that no column took (rows)", fields + more)] if fields else []
    return pd.DataFrame(rows, columns=["what", "found"])


def prices_used(priced: Any, gpus: str = "", gpus_as_of: str = "") -> pd.DataFrame:
    """The price list of a run as one row: name, version, as_of (ISO), contract, what was said of GPU prices, their oldest day."""
    told = {name: getattr(priced.book, name) for name in ("name", "version", "contract")}
    return pd.DataFrame([{**told, "as_of": str(priced.book.as_of), "gpus": gpus, "gpus_as_of": gpus_as_of}])


def age(used: pd.DataFrame, stale_days: int, today: date | None = None) -> tuple[int, bool, str]:
    """How many days old the oldest prices are today, whether all are fresh enough, and the sentence that says it.

    Prices of models are old after `stale_days`, those of GPUs after that or `gpu_prices.STALE_DAYS`, whichever is more.
    """
    from workbench.analyses.gpu_prices import STALE_DAYS

    one, now = used.iloc[0], today or datetime.now(UTC).date()
    days = (now - date.fromisoformat(one["as_of"])).days
    words = f"{one['name']} {one['version']}, prices as of {one['as_of']}, {days} days old"
    words += f"; agreed prices of {str(one['contract']).rsplit('/', 1)[-1]} over them" if one["contract"] else ""
    words += "" if days <= stale_days else f". Older than {stale_days} days: check them"
    words += f". GPUs: {one['gpus']}" if one["gpus"] else ""
    fresh, listed = days <= stale_days, str(one.get("gpus_as_of") or "")
    if listed:
        own, limit = (now - date.fromisoformat(listed)).days, max(stale_days, STALE_DAYS)
        words += f", {own} days old" + (f". Older than {limit} days: check it" if own > limit else "")
        days, fresh = max(days, own), fresh and own <= limit
    return days, fresh, words


def halves(labels: Sequence[str], earlier: str = "", later: str = "") -> tuple[list[str], list[str], str]:
    """Two periods of the same length to compare, the later half of the windows with the earlier: whole weeks where there are two.

    Gives (before, after, words). Of an odd number the first window is left out. earlier, later: periods that are asked
    for instead, both or none. Fewer than two windows: nothing to compare, and the words say so.

    >>> halves(["2026-03-01T00:00:00Z", "2026-03-02T00:00:00Z", "2026-03-03T00:00:00Z"])[:2]
    (['2026-03-02T00:00:00Z'], ['2026-03-03T00:00:00Z'])
    """
    timed = sorted(one for one in labels if one not in ("", OUTSIDE))
    if bool(earlier) != bool(later):
        raise WorkbenchError("one period alone cannot be compared; name both, before and after, or neither")
    if earlier:
        return parse_period(earlier, timed), parse_period(later, timed), f"{earlier} against {later}"
    if len(timed) < 2:
        return [], [], "two windows of time are needed for a comparison"
    size = len(timed) // 2
    starts = pd.to_datetime(pd.Series(timed), utc=True)
    day = starts.diff().median() == pd.Timedelta(days=1)
    size = size // 7 * 7 if day and size >= 7 else size
    before, after = timed[-2 * size : -size], timed[-size:]
    words = f"{before[0][:10]} to {before[-1][:10]} against {after[0][:10]} to {after[-1][:10]}"
    return before, after, words


def parse_period(text: str, labels: Sequence[str]) -> list[str]:
    """The windows of a period as "2026-03-02/2026-03-09" (the end not included). Raises WorkbenchError where it has none."""
    halves_of = text.split("/")
    try:
        low, high = (pd.Timestamp(one.strip()) for one in halves_of)
        low, high = (one.tz_localize("UTC") if one.tzinfo is None else one for one in (low, high))
    except ValueError as error:
        raise WorkbenchError(f"{text!r} is no period; wanted two days, as in 2026-03-02/2026-03-09") from error
    timed = [one for one in labels if one not in ("", OUTSIDE)]
    found = [one for one in timed if low <= pd.Timestamp(one) < high]
    if not found:
        span = f"{timed[0]} to {timed[-1]}" if timed else "no windows"
        raise WorkbenchError(f"the period {text!r} has no window with rows; there are {span}")
    return found


EXCEPTIONS = ("source", "row", "request_id", "reason", "field", "value")


def exceptions(*tables: Any, own: Sequence[str] = ()) -> pd.DataFrame:
    """All exceptions, a row each (source, row, request_id, reason, field, value), in the order of the tables.

    own: models that own GPUs serve, which need no price.
    """
    frames = [table.to_pandas() for table in tables if table is not None and table.num_rows]
    whole = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=list(EXCEPTIONS), dtype=object)
    whole = whole[~((whole["reason"] == "unknown model") & whole["value"].isin(list(own)))]
    return whole[list(EXCEPTIONS)].reset_index(drop=True)


def exceptions_by_reason(*tables: Any, own: Sequence[str] = ()) -> pd.DataFrame:
    """Exceptions by reason: reason, requests, and an example (source, row, field, value); most frequent first.

    own: as for `exceptions`.
    """
    whole = exceptions(*tables, own=own)
    if not len(whole):
        return pd.DataFrame(columns=["reason", "requests", "example"])
    rows = []
    for reason, part in whole.groupby("reason", sort=False):
        one = part.iloc[0]
        where = f"row {one['row']:.0f}" if pd.notna(one["row"]) else "a row"
        where += f" of {str(one['source']).rsplit('/', 1)[-1]}" if one["source"] else ""
        rows.append((reason, len(part), f"{where}: {one['field']} = {one['value']}"))
    found = pd.DataFrame(rows, columns=["reason", "requests", "example"])
    return found.sort_values("requests", ascending=False, kind="stable").reset_index(drop=True)


def own_models(text: str, hours: Any) -> list[str]:
    """The models that own GPUs serve: those named, comma-separated, or with "auto" those of the GPU-hours table (None: none)."""
    if text != "auto":
        return names(text)
    if hours is None:
        return []
    return [name for name in dict.fromkeys(hours["model"]) if isinstance(name, str) and name]


def headline(
    lines_of: pd.DataFrame,
    exceptions_of: pd.DataFrame,
    aged: tuple[int, bool, str],
    change: int,
    before: int,
    plan: Any = None,
    budget: float = 0.0,
    compared: pd.DataFrame | None = None,
    billed: pd.DataFrame | None = None,
) -> list[Figure]:
    """The figures of a run: (name, value, unit, good, note). One sum first, then what is idle, what changed, what is not as
    it should be, the gap to the bill, what the month will cost, and how old the prices are.

    change, before: microdollars by which the later period differs from the earlier, which cost `before`. plan:
    `budget.Forecast`; budget: dollars, 0 for none. compared, billed: `reconcile.compare` and `reconcile.bill_lines`.
    """
    exact = sum(int(one) for one in lines_of["pico"])
    cost, note = (
        (exact / PICO, f"exactly {say(exact, PICO, -1)}") if len(lines_of) else (None, "no request has a price")
    )
    told: list[Figure] = [("cost", cost, "USD", None, note)]
    count = int(exceptions_of["requests"].sum()) if len(exceptions_of) else 0
    each = zip(exceptions_of["reason"], exceptions_of["requests"], strict=True)
    listed = ", ".join(f"{number:,} {reason}" for reason, number in each)
    told.append(
        ("exceptions", f"{listed}" if count else "none", "", count == 0, "requests that are not as they should be")
    )
    if micro := int(lines_of.loc[lines_of["class"] == IDLE, "micro"].sum()):
        told.append(
            ("paid for idle GPUs", micro / MICRO, "USD", False, f"{100 * micro * MICRO / exact:.1f} % of the cost")
        )
    if before:
        told.append(("change", change / MICRO, "USD", None, f"{100 * change / before:+.2f} % of {say(before)}"))
    if compared is not None and billed is not None and len(billed):
        gap, rest = (int(compared[f"{name}_micro"].sum()) for name in ("gap", "rest"))
        told.append(
            ("gap to the bill", gap / MICRO, "USD", abs(gap) < MICRO // 100, f"{say(rest)} of it is not explained")
        )
    if plan is not None and plan.expected_micro is not None:
        good = None if not budget else plan.expected_micro <= budget * MICRO
        told.append(("expected for the month", plan.expected_micro / MICRO, "USD", good, plan.words))
    return [*told, ("age of prices", aged[0], "days", aged[1], aged[2])]


# --- sentences --------------------------------------------------------------------------------------------------------


def sum_words(lines_of: pd.DataFrame) -> str:
    """The sentence of the sum: what it is made of."""
    whole = int(lines_of["micro"].sum())
    kinds = lines_of.groupby(np.where(lines_of["provider"] == "own GPUs", "own GPUs", "hosted models"))["micro"].sum()
    parts = [f"**{say(int(micro))}** {name}" for name, micro in kinds.sort_values(ascending=False).items()]
    return f"**{say(whole)}** in all: {' and '.join(parts)}. The rows of each table add up to its first one."


def exception_words(exceptions_of: pd.DataFrame) -> str:
    """The sentence over the table of exceptions."""
    if not len(exceptions_of):
        return "Every request has a price, a time, and counts that make sense."
    count = int(exceptions_of["requests"].sum())
    return f"**{count:,} findings**, each a row of `results/exceptions.parquet`. None is dropped, and none is priced at zero."


def odd_words(odd: pd.DataFrame) -> str:
    """The windows that cost more or less than usual, the largest first, in one sentence."""
    if not len(odd):
        return "none, by the usual cost of the same season."
    more = f" and {len(odd) - 3} more" if len(odd) > 3 else ""
    return "; ".join(odd["words"].head(3)) + f"{more}."


def gap_words(compared: pd.DataFrame, billed: pd.DataFrame) -> str:
    """The sentence of a reconciliation: the gap, how much of it is explained, and what is not in dollars."""
    if not len(billed):
        return "No bill was given to compare with: name a FOCUS file in `bill`."
    ours, theirs = (int(compared[name].sum()) for name in ("ours_micro", "billed_micro"))
    rest = int(compared["rest_micro"].sum())
    words = f"The bill says **{say(theirs)}**, we say **{say(ours)}**: a gap of **{say(theirs - ours)}**, "
    words += (
        "all of it explained." if not rest else f"of which **{say(rest)}** is not explained by tokens, prices or tax."
    )
    foreign = billed[billed["currency"] != "USD"].groupby("currency").size()
    other = ", ".join(f"{number:,} in {currency}" for currency, number in foreign.items())
    return words + (f" Lines that are not compared, since not in dollars: {other}." if other else "")


def gpu_words(gpus: pd.DataFrame) -> str:
    """The sentence of own GPUs: what they cost, and what of it was held and used by nobody."""
    if not len(gpus):
        return "No GPU-hours were given."
    whole, idle = int(gpus["used_micro"].sum()), gpus[gpus["model"] == IDLE]
    unused, unheld = int(idle["used_micro"].sum()), int(idle["allocated_micro"].sum())
    words = (
        f"**{say(whole)}** on own GPUs, of which **{say(unused)}** ({100 * unused / max(whole, 1):.0f} %) nobody used"
    )
    return f"{words} and {say(unheld)} nobody held. Both columns of money add up to the bill of the GPUs."


def otherwise_words(found: pd.DataFrame) -> str:
    """The sentence of the scenarios: what was paid, the cheapest one, those without all prices, and the break-even."""
    first, whole = found.iloc[0], found[found["complete"]]
    if not first["micro"]:
        return "No request of a hosted model has a price, so there is nothing to compare."
    best = whole.iloc[1:].sort_values("micro").head(1)
    words = f"The hosted requests cost **{say(int(first['micro']))}**."
    if len(best) and best["micro"].iloc[0] < first["micro"]:
        words += f" The cheapest otherwise is {best['scenario'].iloc[0]}: {say(int(best['micro'].iloc[0]))}."
    lost = found.loc[~found["complete"], "scenario"].tolist()
    words += f" No total for {', '.join(lost)}: some of the models have no such price." if lost else ""
    edge = found["break_even"].dropna()
    if len(edge):
        share = float(edge.iloc[0])
        words += (
            f" Own GPUs break even where they are busy {100 * share:.0f} % of the time."
            if share <= 1
            else " Own GPUs could not be cheaper, however busy."
        )
    return words + " Tokens stay as they were counted: another model would cut the same text a little differently."
