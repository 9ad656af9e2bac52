"""How slow, for whom, and when: latency percentiles, goodput against an objective, errors and throughput.

Everything is read from one cube of the latency columns by window, segment and status. Goodput is the share of all
requests that succeeded within the objective: a failed request is never good, however fast it failed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from workbench.analyses import pattern
from workbench.analyses.parts import (
    OUTSIDE,
    SEGMENT,
    WINDOW,
    axes,
    below,
    levels,
    names,
    need,
    say_share,
    say_window,
    segment_axes,
    segment_name,
    succeeded,
    tidy,
    window_labels,
    window_seconds,
)
from workbench.errors import WorkbenchError

Cuts = dict[tuple[str, ...], tuple[xr.Dataset, xr.Dataset | None]]
PERCENTILES = (0.5, 0.9, 0.99)
SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6}
SLOW = 0.9  # a segment's usual p90 says which of its requests are slow ones
METRICS = (
    "requests", "errors", "error_share", "goodput", "requests_per_second", "tokens_per_second",
    "latency_p50", "latency_p90", "latency_p99", "latency_mean",
    "ttft_p50", "ttft_p90", "ttft_p99", "ttft_mean", "ttft_goodput",
)  # fmt: skip


@dataclass(frozen=True)
class Roles:
    """Which column plays which part: latency, time to first token, status and tokens ("" for none), and the unit
    ("s", "ms", "us") of the first two."""

    latency: str
    ttft: str = ""
    status: str = ""
    tokens: str = ""
    unit: str = "s"


def checked(columns: Sequence[str], roles: Roles) -> Roles:
    """The roles, when a table's columns can fill them. Raises WorkbenchError that names the parameter and near names."""
    if roles.unit not in SECONDS:
        raise WorkbenchError(
            f"unit {roles.unit!r} of the latency columns is not known; the choices are 's', 'ms' and 'us'"
        )
    need(columns, roles.latency, "latency")
    for name, parameter in ((roles.ttft, "ttft"), (roles.status, "status"), (roles.tokens, "tokens")):
        if name:
            need(columns, name, parameter, instead=f', or pass {parameter}="" to do without it')
    return roles


def count(
    source: Any,
    roles: Roles,
    time: str,
    every: str,
    by: str,
    columns: str = "",
    *,
    cluster: Any = None,
    store: str = "",
) -> xr.Dataset:
    """The cube that the other functions read: the columns in their roles by window, segments and status.

    source: an opened table. columns: more columns to count, comma-separated. Raises WorkbenchError for a column that
    the table does not have, naming the parameter.
    """
    from workbench.cubes import Histogram, Moments, cube

    known = list(source.kinds)
    checked(known, roles)
    for name, parameter in ((time, "time"), *((one, "by") for one in names(by))):
        if name:
            need(known, name, parameter, instead=f', or pass {parameter}="" to do without it')
    segments = [name for name in names(by) if name != roles.status]
    measured = [name for name in (roles.latency, roles.ttft) if name]
    of: list[Any] = [Histogram(name) for name in dict.fromkeys(measured)]
    of += [Moments(roles.tokens)] if roles.tokens and roles.tokens not in measured else []
    of += [name for name in names(columns) if name not in measured]
    by_all = axes(time, every, [*segments, *([roles.status] if roles.status else [])])
    return cube(source, by=by_all, of=of, cluster=cluster, onto=store or None)


def cuts(cube: xr.Dataset, roles: Roles) -> Cuts:
    """The cube cut into segments: for all rows, each axis and all axes together, the cube of all time and, where there
    are windows, that of every window; without the status. `measure` and `incidents` can share it."""
    from workbench.cubes import collapse

    whole = collapse(cube, roles.status) if roles.status in cube["count"].dims else cube
    found: Cuts = {}
    smallest = whole
    for cut in reversed(levels(whole, full=True)):
        start = whole if cut else smallest  # the totals need not start from the largest cube again
        others = [dim for dim in segment_axes(start) if dim not in cut]
        level = collapse(start, *others) if others else start
        smallest = level if len(cut) == 1 and level["count"].size < smallest["count"].size else smallest
        found[cut] = (collapse(level, WINDOW), level) if WINDOW in level.dims else (level, None)
    return dict(reversed(found.items()))


def measure(
    cube: xr.Dataset, roles: Roles, *, slo_s: float, ttft_slo_s: float = 0.0, cut_up: Cuts | None = None
) -> pd.DataFrame:
    """The figures of every window and segment: one row each, window "" and segment "" for all.

    slo_s, ttft_slo_s: the objectives in seconds (0: none for the first token). cut_up: what `cuts` gave.
    Columns: requests; errors and
    error_share; goodput (share of requests that succeeded within slo_s, 0 to 1); requests_per_second and
    tokens_per_second; latency_* and ttft_* (seconds; percentiles of all measured requests, `inverted_cdf` up to a
    bin's width); ttft_goodput (share of measured first tokens within ttft_slo_s). NaN where nothing was measured.
    """
    counts = _counts(cube, roles, slo_s, ttft_slo_s)
    found = [
        _level(part, counts, cut, roles)
        for cut, (total, level) in (cut_up or cuts(cube, roles)).items()
        for part in ([total] if level is None else [total, level])
    ]
    frame = pd.concat(found, ignore_index=True)
    seconds = window_seconds(cube)
    known = [label for label in window_labels(cube) if label not in ("", OUTSIDE)]
    length = np.where(frame["window"] == "", seconds * max(len(known), 1), seconds)
    frame["requests_per_second"] = frame["requests"] / length
    frame["tokens_per_second"] = frame.pop("tokens") / length
    return frame[["window", SEGMENT, *METRICS]]


def _counts(cube: xr.Dataset, roles: Roles, slo_s: float, ttft_slo_s: float) -> dict[str, xr.DataArray]:
    """What adds over windows and segments: requests, errors, good ones, first tokens measured and in time, tokens."""
    unit, split = SECONDS[roles.unit], [roles.status] if roles.status in cube["count"].dims else []
    fast, requests = below(cube, roles.latency, slo_s / unit), cube["count"].astype("float64")
    found = {"requests": requests.sum(split), "good": fast}
    if split:
        fine = np.array([succeeded(str(label)) for label in cube[roles.status].values])
        ok = xr.DataArray(fine, dims=split, coords={roles.status: cube[roles.status]})
        found |= {"errors": requests.where(~ok, 0.0).sum(split), "good": fast.where(ok, 0.0).sum(split)}
    if roles.ttft and ttft_slo_s > 0:
        found["first_good"] = below(cube, roles.ttft, ttft_slo_s / unit).sum(split)
        found["first"] = (cube["values"] + cube["infinite"]).sel(column=roles.ttft, drop=True).sum(split)
    if roles.tokens:
        found["tokens"] = cube["sum"].sel(column=roles.tokens, drop=True).sum(split)
    return found


def _level(part: xr.Dataset, counts: dict[str, xr.DataArray], cut: tuple[str, ...], roles: Roles) -> pd.DataFrame:
    """The figures of one cut: `part` is its cube, `counts` are summed down to its axes."""
    from workbench.cubes import quantile

    dims = [*([WINDOW] if WINDOW in part.dims else []), *cut]
    segments = [segment_name(cut, one) for one in product(*(part[dim].values for dim in cut))]
    index = pd.MultiIndex.from_product([window_labels(part), segments], names=["window", SEGMENT])
    frame = pd.DataFrame(index=index).reset_index()
    told = {}
    for name, array in counts.items():
        told[name] = array.sum([dim for dim in array.dims if dim not in dims]).transpose(*dims).values.ravel()
    rows = np.where(told["requests"] > 0, told["requests"], np.nan)
    frame["requests"], frame["goodput"] = told["requests"], told["good"] / rows
    frame["errors"] = told.get("errors", np.nan)
    frame["error_share"] = frame["errors"] / rows
    frame["tokens"] = told.get("tokens", np.nan)
    frame["ttft_goodput"] = np.nan
    if "first" in told:
        frame["ttft_goodput"] = told["first_good"] / np.where(told["first"] > 0, told["first"], np.nan)
    for word, column in (("latency", roles.latency), ("ttft", roles.ttft)):
        names_of = [f"{word}_p{100 * percent:g}" for percent in PERCENTILES]
        frame[[*names_of, f"{word}_mean"]] = np.nan
        if column:
            read = quantile(part, list(PERCENTILES), column).transpose(*dims, "quantile").values
            frame[names_of] = read.reshape(-1, len(PERCENTILES)) * SECONDS[roles.unit]
            mean = part["mean"].sel(column=column).transpose(*dims).values
            frame[f"{word}_mean"] = mean.ravel() * SECONDS[roles.unit]
    return frame


def incidents(
    cube: xr.Dataset,
    roles: Roles,
    *,
    least: int = 30,
    points: float = 0.1,
    alpha: float = 0.001,
    cut_up: Cuts | None = None,
) -> pd.DataFrame:
    """Windows in which a segment was slower than it usually is, the worst first; no objective is needed.

    A request is slow when it took longer than its segment's p90 over all time, so one in ten usually is. The rule of
    `pattern.shares` decides: at least `least` requests, `points` more slow ones than usual, beyond the spread of the
    windows and beyond sampling. Returns one row a (segment, stretch of windows): segment, window (first), until,
    windows, slow (share), usual, requests, slow_rows (extra slow requests), p90, usual_p90 (seconds), times, words.
    """
    columns = ["segment", "window", "until", "windows", "slow", "usual", "requests", "slow_rows", "p90", "usual_p90",
               "times", "words"]  # fmt: skip
    found = []
    for cut, (total, level) in (cut_up or cuts(cube, roles)).items():
        if level is not None:
            found += _slow(total, level, cut, roles, least, points, alpha)
    return pd.DataFrame(_told_once(found), columns=columns)


def _told_once(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row an incident. The same slowness shows in all rows, in a model and in that model's regions; it is named
    by the widest segment that is at least 0.7 times as much slower as the sharpest one."""
    left, kept = sorted(found, key=lambda one: (-one["times"], len(one["where"]))), []
    while left:
        same = [one for one in left if _meets(one, left[0])]
        wide = [one for one in same if one["times"] >= 0.7 * left[0]["times"]]
        chosen = min(wide, key=lambda one: (len(one["where"]), -one["times"]))
        kept.append(chosen)
        left = [one for one in left[1:] if one is not chosen and not _meets(one, chosen) and not _meets(one, left[0])]
    return kept


def _meets(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two incidents share time and rows: they do unless an axis holds a different value in each."""
    apart = any(other["where"].get(axis, value) != value for axis, value in one["where"].items())
    return not apart and one["window"] <= other["until"] and other["window"] <= one["until"]


def _slow(
    total: xr.Dataset, level: xr.Dataset, cut: tuple[str, ...], roles: Roles, least: int, points: float, alpha: float
) -> list[dict[str, Any]]:
    from workbench.cubes import quantile

    limit = quantile(total, SLOW, roles.latency)
    one = level.sel(column=roles.latency)
    rows = (one["values"] + one["infinite"]).transpose(*cut, WINDOW)
    slow = rows - below(level, roles.latency, limit).transpose(*cut, WINDOW)
    labels, values = window_labels(level), list(product(*(level[dim].values for dim in cut)))
    timed = np.array([label != OUTSIDE for label in labels])
    requests = rows.values.reshape(len(values), -1) * timed
    slowed = np.clip(np.round(slow.values.reshape(len(values), -1)), 0, None) * timed
    told = pattern.shares(slowed, requests, least=least, points=points, alpha=alpha, more_only=True)
    table = {name: told[name].to_numpy().reshape(requests.shape) for name in ("out", "excess_rows", "usual")}
    found = []
    for place in np.flatnonzero(table["out"].any(axis=1)):
        for run in pattern.stretches(table["out"][place]):
            where = dict(zip(cut, values[place], strict=True))
            here, extra = requests[place, run].sum(), table["excess_rows"][place, run].sum()
            p90 = _p90(level, roles, where, level[WINDOW].values[run])
            calm = _p90(level, roles, where, level[WINDOW].values[timed & ~table["out"][place]])
            name, first, last = segment_name(cut, values[place]), labels[run.start], labels[run.stop - 1]
            span = f"at {say_window(first)}" if first == last else f"from {say_window(first)} to {say_window(last)}"
            now, before = slowed[place, run].sum() / here, table["usual"][place, run.start]
            words = f"{name or 'all requests'} {span}: p90 {p90:.3g} s, usually {calm:.3g} s; "
            words += f"{say_share(now)} slow, usually {say_share(before)}"
            about = {"segment": name, "window": first, "until": last, "windows": run.stop - run.start, "slow": now,
                     "usual": before, "requests": here, "slow_rows": extra, "p90": p90, "usual_p90": calm,
                     "times": p90 / calm if calm > 0 else np.inf, "words": words, "where": where}  # fmt: skip
            found.append(about)
    return found


def _p90(level: xr.Dataset, roles: Roles, where: dict[str, Any], windows: Any) -> float:
    """p90 of one segment over some windows, in seconds."""
    from workbench.cubes import collapse, quantile, select

    part = select(level, **where, **{WINDOW: list(windows)})
    return float(quantile(collapse(part, WINDOW), SLOW, roles.latency)) * SECONDS[roles.unit]


def worst(measured: pd.DataFrame, found: pd.DataFrame, *, least: int = 30) -> tuple[str, str]:
    """The segment and the window that are worst: where an incident is, there; otherwise the slowest p99 of a window."""
    if len(found):
        return str(found.iloc[0]["segment"]), str(found.iloc[0]["window"])
    rows = measured[(measured["requests"] >= least) & measured["latency_p99"].notna()]
    timed = rows[rows["window"] != ""]
    rows = timed if len(timed) else rows
    single = rows[(rows[SEGMENT] != "") & ~rows[SEGMENT].str.contains(", ")]
    rows = single if len(single) else rows
    if rows.empty:
        return "", ""
    top = rows.loc[rows["latency_p99"].idxmax()]
    return str(top[SEGMENT]), str(top["window"])


def headline(
    measured: pd.DataFrame, found: pd.DataFrame, *, slo_s: float, least: int = 30
) -> list[tuple[str, float | int | str, str, bool | None]]:
    """Name, value, unit and whether it is good, of the few figures a person needs first."""
    whole = measured[(measured["window"] == "") & (measured[SEGMENT] == "")].iloc[0]
    segment, window = worst(measured, found, least=least)
    failed = whole["error_share"]
    figures: list[tuple[str, float | int | str, str, bool | None]] = [
        ("requests", int(whole["requests"]), "requests", None),
        ("p50", _round(whole["latency_p50"]), "s", None),
        ("p99", _round(whole["latency_p99"]), "s", None),
        ("goodput", _round(100 * whole["goodput"]), f"% within {slo_s:g} s", None),
    ]
    if np.isfinite(failed):
        figures.append(("errors", _round(100 * failed), "% of requests", None))
    return [
        *figures,
        ("slow incidents", len(found), "incidents", not len(found)),
        ("worst segment", segment or "all requests", "", None),
        ("worst hour", window or "all windows", "", None),
    ]


def _round(value: float) -> float:
    return float(f"{value:.4g}") if np.isfinite(value) else float("nan")


def results(measured: pd.DataFrame) -> pd.DataFrame:
    """The tidy table of a run: window, segment, metric, value (float64; seconds, shares, counts, rates)."""
    return tidy(measured, ["window", SEGMENT], METRICS)


def ladders(cube: xr.Dataset, roles: Roles, most: int = 8) -> dict[str, xr.Dataset]:
    """Latency histograms over all time: of all requests, and of the busiest segments of the first axis."""
    from workbench.cubes import collapse, histogram, select

    dims = [dim for dim in segment_axes(cube) if dim != roles.status]
    found = {"all requests": histogram(collapse(cube), roles.latency)}
    if dims:
        others = [str(dim) for dim in cube["count"].dims if dim != dims[0]]
        level = collapse(cube, *others) if others else cube
        for place in np.argsort(-level["count"].values, kind="stable")[:most]:
            label = level[dims[0]].values[place]
            found[segment_name(dims[:1], [label])] = histogram(select(level, **{dims[0]: label}), roles.latency)
    return found


def summary(measured: pd.DataFrame, found: pd.DataFrame, slo_s: float) -> str:
    """What was found, in a few words."""
    whole = measured[(measured["window"] == "") & (measured[SEGMENT] == "")].iloc[0]
    start = f"**{say_share(whole['goodput'])}** of {int(whole['requests']):,} requests succeeded within {slo_s:g} s."
    if found.empty:
        return f"{start} No window was slower than its segment usually is."
    said = "; ".join(found["words"].head(5))
    return f"{start} Slower than usual: {said}."


def told(measured: pd.DataFrame, most: int = 24) -> pd.DataFrame:
    """The figures of all time as a person reads them, one row a segment; times in seconds, shares in %.

    With more than `most` segments, those of single axes only.
    """
    part = measured[(measured["window"] == "") & (measured["requests"] > 0)]
    frame = pd.DataFrame(
        {"segment": part[SEGMENT].replace("", "all requests"), "requests": part["requests"].astype(int)}
    )
    for word, short in (("latency", "latency"), ("ttft", "first token")):
        for name in ("p50", "p90", "p99"):
            frame[f"{short} {name} (s)"] = part[f"{word}_{name}"]
    frame["goodput (%)"], frame["failed (%)"] = 100 * part["goodput"], 100 * part["error_share"]
    return frame.dropna(axis=1, how="all").reset_index(drop=True)
