"""RESULTS.md from the runs: medians, ratios within a round, and what was to be reached. Standard library only."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median
from typing import Any

from benchmarks.plan import PAIR, SECTIONS

Entry = dict[str, Any]
HEAD = """# Results

Written by `make bench`; do not edit. Ours and the peers in turn on the same files, each run in a process of its own,
medians of the runs that the last column counts. *CPU* is user and system time of all threads and worker processes for
the work itself: imports, and for ours the loading of compiled kernels, are done before; *whole process* is everything
from its start to its end, imports included. A ratio divides by its base, the bare scan of the same columns
unless another is named, in the same round. What takes over a minute
runs once. Memory is resident memory.
"""
GPU = """## GPU

No GPU was at hand when these were measured, so there are no GPU numbers. On a host with one, `make gpu-check` installs
the `gpu` extra, runs the tests marked `gpu`, which compare the cubes of CPU and GPU count for count, and names the device.
"""


def good(entry: Entry | None) -> list[dict[str, Any]]:
    return [run for run in (entry or {}).get("runs", []) if "failed" not in run]


def find(results: dict[str, Any], section: str, label: str) -> Entry | None:
    return next((one for one in results.get(section, {}).get("measures", []) if one["label"] == label), None)


def middle(entry: Entry | None, key: str) -> float | None:
    found = [run[key] for run in good(entry) if key in run]
    return median(found) if found else None


def ratio(entry: Entry | None, base: Entry | None, key: str = "cpu") -> float | None:
    """The median, over rounds, of this one's CPU or wall over the base's in the same round."""
    below = {run["round"]: run[key] for run in good(base) if key in run}
    found = [run[key] / below[run["round"]] for run in good(entry) if run["round"] in below and below[run["round"]]]
    return median(found) if found else None


def number(value: float | None, form: str = ".2f") -> str:
    return "" if value is None else format(value, form)


def table(heads: list[str], rows: list[list[str]]) -> str:
    lines = [
        "| " + " | ".join(heads) + " |",
        "|" + "|".join("---" if i == 0 else "--:" for i in range(len(heads))) + "|",
    ]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)]) + "\n"


def timings(name: str, results: dict[str, Any]) -> str:
    """The table that every section has: seconds, ratios, memory."""
    rows = []
    for one in results[name]["measures"]:
        if one["missing"] or not good(one):
            why = one["missing"] or one["runs"][-1]["failed"]
            late = one["runs"][-1].get("late") if one["runs"] else None
            base = find(results, name, one["base"])
            used = one["runs"][-1]["process"]["cpu"] if late else None
            least = used / middle(base, "cpu") if used and middle(base, "cpu") else None
            said = [f"> {used:.0f}" if used else "", f"> {least:.0f}" if least else "", "", "", "", "", "0"]
            rows.append([f"{one['label']}: **{why}**", *said])
            continue
        if middle(one, "cpu") is None:
            continue
        base = find(results, name, one["base"])
        peak = middle(one, "workers_sum_mb") or middle(one, "peak_mb")
        rows.append([
            one["label"], number(middle(one, "cpu")), number(ratio(one, base)), number(middle(one, "wall")),
            number(ratio(one, base, "wall")), number(median(run["process"]["cpu"] for run in good(one))),
            number(peak, ",.0f") + (" (all)" if middle(one, "workers_sum_mb") else ""), str(len(good(one))),
        ])  # fmt: skip
    heads = ["", "CPU s", "CPU x base", "wall s", "wall x base", "whole process CPU s", "peak MB", "runs"]
    if name == "memory":
        return table([*heads[:2], heads[3], *heads[5:]], [[*row[:2], row[3], *row[5:]] for row in rows])
    return table(heads, rows)


def given(name: str, results: dict[str, Any]) -> str:
    """Which statistics, rows and versions stand behind each line."""
    lines = []
    for one in results[name]["measures"]:
        size = results[name]["tables"].get(one["table"], {})
        versions = ", ".join(f"{k} {v}" for k, v in one["versions"].items())
        lines.append(
            f"- {one['label']}: {size.get('rows', 0):,} rows; {one['gives']}{f' ({versions})' if versions else ''}"
        )
    return "\n".join(lines) + "\n"


def told(versions: dict[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def store_rows(results: dict[str, Any]) -> str:
    rows = []
    for one in results["store"]["measures"]:
        rows += [[f"{one['label']}: **{run['failed']}**", "", "", ""] for run in one["runs"] if "failed" in run]
        for run in good(one):
            for after, took in run["added"].items():
                cpu, wall = took["cpu"], took["wall"]
                spread = f"{min(cpu):.2f} to {max(cpu):.2f}"
                rows.append([f"{one['label']}: after {after} days", number(median(cpu)), spread, number(median(wall))])
            for words, key in (("nothing new", "idle"), ("one day counted, no store", "scratch")):
                rows.append([f"{one['label']}: {words}", number(run[key]["cpu"]), "", number(run[key]["wall"])])
    words = "Each stored day was added by a pass of its own. Medians and spread of eight additions, one of which merges.\n\n"
    return words + table(["", "CPU s", "from, to", "wall s"], rows)


def memory_rows(results: dict[str, Any]) -> str:
    rows = []
    for one in results["memory"]["measures"]:
        if good(one):
            size = results["memory"]["tables"][one["table"]]["rows"]
            peak, imports = middle(one, "peak_mb"), middle(one, "imports_mb")
            rows.append(
                [f"{size:,} rows", number(imports, ",.0f"), number(peak, ",.0f"), number(peak - imports, ",.0f")]
            )
    return table(["", "after imports, MB", "peak, MB", "above imports, MB"], rows)


def first_rows(results: dict[str, Any]) -> str:
    rows = []
    for one in results["first"]["measures"]:
        for key in ("cpu", "wall"):
            pair = [median(run[which][key] for run in good(one)) for which in ("first", "second")] if good(one) else []
            if pair:
                rows.append([f"{one['label']}, {key}", *map(number, pair), number(pair[0] - pair[1])])
    return table(["seconds", "first call", "second call", "difference"], rows)


def rank_rows(results: dict[str, Any]) -> str:
    columns = next((run["columns"] for one in results["rank"]["measures"] for run in good(one)), {})
    rows = [[name, number(one["bound"], ".1e"), number(one["measured"], ".1e")] for name, one in columns.items()]
    return table(["column", "reported bound", "largest measured"], rows)


def error_rows(results: dict[str, Any]) -> str:
    lines = []
    for one in results["percentiles"]["measures"]:
        for run in good(one):
            if "error" in run:
                lines.append(
                    f"{one['label'].capitalize()}: {run['error']:.3%} at most over {run['groups']:,} groups and four "
                    f"quantiles, of exact quantiles of the same convention; {run['counts_differ']} counts differ."
                )
    return "\n".join(lines) + "\n" if lines else ""


EXTRA: dict[str, Callable[[dict[str, Any]], str]] = {
    "store": store_rows, "memory": memory_rows, "first": first_rows, "rank": rank_rows, "percentiles": error_rows,
}  # fmt: skip


def goals(results: dict[str, Any]) -> list[tuple[str, float | None, str, float]]:
    """What was to be reached: words, measured, "<=" or ">=", limit."""

    def over(section: str, label: str, base: str) -> float | None:
        return ratio(find(results, section, label), find(results, section, base))

    def extreme(section: str, values: Callable[[dict[str, Any]], list[float]]) -> float | None:
        found = [v for one in results.get(section, {}).get("measures", []) for run in good(one) for v in values(run)]
        return max(found) if found else None

    threads = find(results, "profile", "ours, threads")
    held = [p for one in results.get("memory", {}).get("measures", []) if (p := middle(one, "peak_mb")) is not None]
    above = [run["peak_mb"] - run["imports_mb"] for run in good(threads)]
    sizes = [int(run["rows"]) for run in results.get("memory", {}).get("tables", {}).values()]
    added = next((run["added"] for run in good(find(results, "store", "a store without axes"))), {})
    days = [median(took["cpu"]) for took in added.values()]
    cached = [
        run["first"]["wall"] - run["second"]["wall"] for run in good(find(results, "first", "compiled kernels cached"))
    ]
    return [
        ("profile, CPU x scan", over("profile", "ours, threads", "bare scan"), "<=", 1.35),
        ("profile on lz4, CPU x scan", over("profile", "ours, threads, lz4", "bare scan, lz4"), "<=", 1.8),
        ("profile by two processes, CPU x scan", over("profile", "ours, two processes", "bare scan"), "<=", 1.5),
        ("drift against a stored reference, CPU x scan of the current window",
         over("drift", "ours, against a stored reference", "bare scan of the current window"), "<=", 1.4),
        ("peak memory of the profile above imports, MB", median(above) if above else None, "<=", 150),
        (f"peak memory{f', {min(sizes):,} to {max(sizes):,} rows' if sizes else ''}, largest / smallest",
         max(held) / min(held) if len(held) > 1 else None, "<=", 1.10),
        ("percentiles by model, hour, region in time order, CPU x DuckDB exact",
         over("percentiles", "ours, in time order", "DuckDB, in time order"), "<=", 0.6),
        ("the same, hours over all row groups, CPU x DuckDB exact",
         over("percentiles", "ours, hours over all row groups", "DuckDB, hours over all row groups"), "<=", 0.6),
        ("their largest relative error", extreme("percentiles", lambda run: [run["error"]] if "error" in run else []),
         "<=", 0.001),
        ("Evidently's CPU x ours, 2 x 2 M rows", over("drift", "Evidently, default preset", PAIR), ">=", 150),
        ("NannyML's CPU x ours, 2 x 2 M rows", over("drift", "NannyML, univariate drift", PAIR), ">=", 60),
        ("largest rank error on adversarial columns, bound",
         extreme("rank", lambda run: [c["bound"] for c in run["columns"].values()]), "<=", 0.001),
        ("first call in a fresh process above the second, wall s", median(cached) if cached else None, "<=", 1.5),
        ("adding a day after 365 days, CPU x after 1 day", days[-1] / days[0] if len(days) > 1 else None, "<=", 1.2),
    ]  # fmt: skip


def page(results: dict[str, Any]) -> str:
    """The whole page."""
    lines = [HEAD]
    rows = []
    for words, value, sign, limit in goals(results):
        reached = "" if value is None else "yes" if (value <= limit if sign == "<=" else value >= limit) else "**no**"
        form = ".5f" if limit < 0.1 else ".2f" if limit < 10 else ".0f"
        rows.append([words, number(value, form) or "not measured", f"{sign} {limit:g}", reached])
    lines += ["## To reach\n", table(["", "measured", "wanted", "reached"], rows)]
    for name, (title, _) in SECTIONS.items():
        if name not in results:
            continue
        one = results[name]
        m = one["machine"]
        ours: dict[str, str] = {}
        for entry in one["measures"]:
            ours |= {} if entry["needs"] else entry["versions"]
        lines.append(f"## {title}\n")
        lines.append(
            f"{one['date']}: {m['cpu']}, {m['cores']} cores, {m['memory_gb']} GB, {m['system']}, Python {m['python']}; "
            f"load {one['load']} at the start; {one['seconds']} s for the section"
            f"{'; ' + told(ours) if ours else ''}.\n"
            f"`python -m benchmarks.run {name} --rows {one['rows']} --rounds {one['rounds']}`\n"
        )
        if name not in ("store", "rank", "first"):
            lines.append(timings(name, results))
        if name in EXTRA:
            lines.append(EXTRA[name](results))
        lines.append(given(name, results))
    return "\n".join([*lines, GPU])
