"""Pictures of speed: percentiles over time, who and when, goodput, and the tail."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from workbench.views import look, maps

PERCENTILES = {"p50": look.PALETTE[4], "p90": look.PALETTE[0], "p99": look.PALETTE[5]}
NAMES = {"latency": "latency", "ttft": "time to first token"}


def percentiles(measured: pd.DataFrame, what: str = "latency", slo_s: float = 0.0, segment: str = "") -> Any:
    """p50, p90 and p99 over time on a logarithmic axis, the objective as a dashed line.

    measured: `analyses.performance.measure`; what: "latency" or "ttft".
    """
    hv = look.extension()
    part = _timed(measured[measured["segment"] == segment], [f"{what}_{name}" for name in PERCENTILES])
    title = f"{NAMES[what].capitalize()} over time" + (f", {segment}" if segment else "")
    if part.empty:
        return maps.nothing(f"{title}: nothing measured in windows of time")
    layers = []
    for name, colour in PERCENTILES.items():
        one = part.rename(columns={f"{what}_{name}": "seconds"})
        words = [("window", "@start{%F %R} UTC"), (name, "@seconds{0.000} s"), ("requests", "@requests{0,0}")]
        layers.append(
            hv.Curve(one, "start", ["seconds", "requests"], label=name).opts(
                color=colour,
                line_width=2,
                interpolation="steps-post",
                tools=["hover"],
                hover_tooltips=words,
                hover_formatters={"@start": "datetime"},
            )
        )
    if slo_s > 0:
        layers.append(_line(slo_s, part["start"]))
    return hv.Overlay(layers).opts(
        **look.base(
            280,
            title=title,
            logy=True,
            yformatter="%g",
            xlabel="start of the window (UTC)",
            ylabel="seconds",
            show_grid=True,
            legend_position="right",
        )
    )


def _timed(measured: pd.DataFrame, needed: Sequence[str]) -> pd.DataFrame:
    part = measured[~measured["window"].isin(["", "(missing)"]) & (measured["requests"] > 0)]
    part = part.dropna(subset=list(needed), how="any")
    return part.assign(start=look.moments(part["window"]).to_numpy()).sort_values("start")


def _line(slo_s: float, starts: pd.Series) -> Any:
    hv = look.extension()
    ends = pd.DataFrame({"start": [starts.min(), starts.max()], "seconds": [slo_s, slo_s]})
    return hv.Curve(ends, "start", "seconds", label=f"objective {slo_s:g} s").opts(
        color=look.TEXT, line_dash="dashed", line_width=1.5
    )


def slow_map(
    measured: pd.DataFrame, metric: str = "latency_p90", found: pd.DataFrame | None = None, least: int = 1
) -> Any:
    """One percentile of every segment of one axis, and of those with incidents, in every window.

    found: incidents, whose windows are framed. Windows with fewer than `least` requests are hatched.
    """
    named = set(found["segment"]) if found is not None else set()
    shown = (measured["segment"].str.count(",") == 0) | measured["segment"].isin(named)
    part = measured[shown & ~measured["window"].isin(["", "(missing)"])].copy()
    part["seconds"] = part[metric].where(part["requests"] >= least)
    part["name"] = part["segment"].replace("", "all requests")
    part["told"] = [
        f"{value:.3g} s of {int(rows):,} requests" if np.isfinite(value) else f"{int(rows):,} requests"
        for value, rows in zip(part[metric], part["requests"], strict=True)
    ]
    part["framed"] = False
    for _, one in (found if found is not None else pd.DataFrame()).iterrows():
        inside = (part["window"] >= one["window"]) & (part["window"] <= one["until"])
        part.loc[inside & (part["segment"] == one["segment"]), "framed"] = True
    what, name = metric.split("_")
    depth = part["segment"].str.count(",") + (part["segment"] != "") - 3 * part["segment"].isin(named)
    order = list(dict.fromkeys(part.assign(depth=depth).sort_values("depth", kind="stable")["name"]))
    return maps.cells(
        part,
        row="name",
        value="seconds",
        order=order,
        log=True,
        colour=look.ACCENT,
        marked="framed",
        label=f"{name} (s)",
        title=f"{name} of {NAMES[what]}, by segment and window",
        hover=[(name, "told")],
    )


def goodput(measured: pd.DataFrame, slo_s: float) -> Any:
    """Share of requests that succeeded within the objective, for every segment over all time, with the failed share."""
    hv = look.extension()
    part = measured[(measured["window"] == "") & (measured["requests"] > 0)].copy()
    part = part[part["segment"].str.count(",") == 0]
    shown = part.head(look.DRAWN)
    place = np.arange(len(shown))[::-1].astype("float64")
    good, failed = 100 * shown["goodput"].to_numpy(), 100 * shown["error_share"].fillna(0).to_numpy()
    frame = pd.DataFrame(
        {
            "name": shown["segment"].replace("", "all requests").to_numpy(),
            "bottom": place - 0.4,
            "top": place + 0.4,
            "zero": 0.0,
            "good": good,
            "late": 100 - failed,
            "full": 100.0,
            "failed": failed,
            "slow": 100 - failed - good,
            "requests": shown["requests"].to_numpy(),
        }
    )
    words = [
        ("segment", "@name"),
        ("within the objective", "@good{0.00} %"),
        ("too slow", "@slow{0.00} %"),
        ("failed", "@failed{0.00} %"),
        ("requests", "@requests{0,0}"),
    ]
    bars = [
        ("zero", "good", f"within {slo_s:g} s", look.GOOD),
        ("good", "late", "too slow", look.WARN),
        ("late", "full", "failed", look.BAD),
    ]
    told = ["name", "good", "slow", "failed", "requests"]
    layers = [
        hv.Rectangles(
            frame.assign(left=frame[left], right=frame[right]), ["left", "bottom", "right", "top"], told, label=label
        ).opts(color=colour, line_color=None, tools=["hover"], hover_tooltips=words)
        for left, right, label, colour in bars
        if (frame[right] - frame[left]).max() > 0
    ]
    ticks = list(zip(place, frame["name"], strict=True))
    return hv.Overlay(layers).opts(
        **look.base(
            max(160, 110 + look.ROW * len(shown)),
            title=f"Goodput: requests that succeeded within {slo_s:g} s",
            xlabel="% of requests",
            ylabel="",
            yticks=ticks,
            xlim=(0, 100),
            ylim=(-0.6, len(shown) - 0.4),
            legend_position="right",
        )
    )


def goodput_lines(measured: pd.DataFrame, slo_s: float, segments: Sequence[str] = ("",)) -> Any:
    """Goodput over time of the segments named ("" for all requests); more than a few lines are hard to tell apart."""
    hv = look.extension()
    part = _timed(measured[measured["segment"].isin(segments)], ["goodput"])
    if part.empty:
        return maps.nothing("Goodput over time: no windows of time to show")
    part = part.assign(percent=100 * part["goodput"])
    tint, layers = dict(zip(segments, (look.TEXT, *look.PALETTE[5:], *look.PALETTE), strict=False)), []
    for segment in segments[: len(tint)]:
        name = segment or "all requests"
        words = [
            (name.replace("@", ""), "@percent{0.00} % within " + f"{slo_s:g} s"),
            ("window", "@start{%F %R} UTC"),
            ("requests", "@requests{0,0}"),
        ]
        layers.append(
            hv.Curve(part[part["segment"] == segment], "start", ["percent", "requests"], label=name).opts(
                color=tint[segment],
                line_width=1.8,
                interpolation="steps-post",
                tools=["hover"],
                hover_tooltips=words,
                hover_formatters={"@start": "datetime"},
            )
        )
    low = max(0.0, float(part["percent"].min()) - 3)
    return hv.Overlay(layers).opts(
        **look.base(
            280,
            title="Goodput over time",
            xlabel="start of the window (UTC)",
            ylabel=f"% within {slo_s:g} s",
            ylim=(low, 100.5),
            show_grid=True,
            legend_position="right",
        )
    )


def tails(histograms: dict[str, xr.Dataset], slo_s: float, unit: float = 1.0, what: str = "latency") -> Any:
    """Share of requests slower than x, both axes logarithmic: where a line meets the objective is what misses it.

    histograms: a name and `cubes.histogram` of each segment; unit: seconds of one unit of the column.
    """
    hv = look.extension()
    tint, layers = look.colours(list(histograms)), []
    for name, one in histograms.items():
        others = [dim for dim in one["count"].dims if dim != "bin"]
        counts, high = one["count"].sum(others).values.astype("float64"), one["high"].values * unit
        if not counts.sum():
            continue
        slower = 100 * (1 - np.cumsum(counts) / counts.sum())
        use = (slower > 0) & (high > 0) & (counts > 0)
        step = np.floor(200 * np.log10(np.maximum(slower[use], 1e-9)))
        keep = np.append(True, np.diff(step) != 0) if use.any() else np.zeros(0, dtype=bool)
        frame = pd.DataFrame({"seconds": high[use][keep], "slower": slower[use][keep]})
        if frame.empty:
            continue
        layers.append(
            hv.Curve(frame, "seconds", "slower", label=name).opts(
                color=tint[name],
                line_width=2,
                tools=["hover"],
                hover_tooltips=[(name.replace("@", ""), "@slower{0.[0000]} % are slower than @seconds{0.[000]} s")],
            )
        )
    if not layers:
        return maps.nothing(f"The tail of {NAMES[what]}: nothing measured")
    least = min(float(layer.dimension_values("slower").min()) for layer in layers)
    if slo_s > 0:
        edge = pd.DataFrame({"seconds": [slo_s, slo_s], "slower": [least, 100.0]})
        layers.append(
            hv.Curve(edge, "seconds", "slower", label=f"objective {slo_s:g} s").opts(
                color=look.TEXT, line_dash="dashed", line_width=1.5
            )
        )
    return hv.Overlay(layers).opts(
        **look.base(
            300,
            title=f"The tail of {NAMES[what]}",
            logx=True,
            xformatter="%g",
            logy=True,
            yformatter="%g",
            xlabel="seconds",
            show_grid=True,
            ylabel="% of requests slower",
            legend_position="right",
            ylim=(least, 110),
        )
    )


def traffic(measured: pd.DataFrame, segment: str = "") -> Any:
    """Requests a second over time, and below it the share that failed."""
    hv = look.extension()
    part = _timed(measured[measured["segment"] == segment], ["requests_per_second"])
    if part.empty:
        return maps.nothing("Throughput: no windows of time to show")
    part = part.assign(failed=100 * part["error_share"])
    rate = hv.Curve(part, "start", ["requests_per_second", "tokens_per_second", "requests"]).opts(
        color=look.ACCENT,
        line_width=2,
        interpolation="steps-post",
        tools=["hover"],
        hover_tooltips=[
            ("window", "@start{%F %R} UTC"),
            ("requests", "@requests{0,0}"),
            ("a second", "@requests_per_second{0.000}"),
            ("tokens a second", "@tokens_per_second{0,0.0}"),
        ],
        hover_formatters={"@start": "datetime"},
        **look.base(
            200,
            title="Throughput",
            xlabel="start of the window (UTC)",
            ylabel="requests a second",
            ylim=(0, float(part["requests_per_second"].max()) * 1.1),
            show_grid=True,
        ),
    )
    if part["failed"].isna().all():
        return rate
    errors = hv.Curve(part, "start", ["failed", "requests"]).opts(
        color=look.BAD,
        line_width=2,
        interpolation="steps-post",
        tools=["hover"],
        hover_tooltips=[("window", "@start{%F %R} UTC"), ("failed", "@failed{0.00} %"), ("requests", "@requests{0,0}")],
        hover_formatters={"@start": "datetime"},
        **look.base(
            180,
            title="Failed requests",
            xlabel="start of the window (UTC)",
            ylabel="% of requests",
            ylim=(0, max(float(part["failed"].max()) * 1.1, 1.0)),
            show_grid=True,
        ),
    )
    return hv.Layout([rate, errors]).cols(1).opts(shared_axes=True)
