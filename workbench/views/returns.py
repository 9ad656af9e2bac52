"""Pictures of worth: what an outcome is made of, own GPUs against an API, and how sure a return is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from workbench.views import look, maps

PARTS = {
    "answers": look.PALETTE[0],
    "failed runs": look.PALETTE[5],
    "review": look.PALETTE[1],
    "escalation": look.PALETTE[3],
}


def dollars(value: float) -> str:
    """Dollars as people read them: to the cent, small ones to three digits, large ones whole.

    >>> dollars(1234567.8), dollars(12.5), dollars(0.001234), dollars(-3), dollars(float("inf"))
    ('$1,234,568', '$12.50', '$0.00123', '\\u2212$3.00', 'without end')
    """
    if not np.isfinite(value):
        return "without end"
    size = abs(value)
    digits = 0 if size >= 10_000 else 2 if size >= 0.1 or size == 0 else 2 - int(f"{size:e}".split("e")[1])
    return ("\u2212$" if value < 0 else "$") + f"{size:,.{digits}f}"


def thousands(values: Any) -> tuple[float, str]:
    """By what to divide dollars before they are drawn, and the words of the axis."""
    size = float(np.abs(np.asarray(values, dtype="float64")).max(initial=0.0))
    return (1000.0, "thousand dollars") if size >= 50_000 else (1.0, "dollars")


def outcome(parts: Mapping[str, Any], value: float) -> Any:
    """What an accepted outcome costs, in one bar of its parts, against what it is worth (the dashed line).

    parts: `returns.outcome` of one set of assumptions; value: dollars that an outcome is worth.
    """
    hv = look.extension()
    title = "Cost of an accepted outcome"
    if not np.isfinite(float(parts["total"])):
        return maps.nothing(f"{title}: nothing is accepted")
    left, layers = 0.0, []
    for name, colour in PARTS.items():
        size = float(parts[name])
        one = pd.DataFrame(
            {"left": [left], "bottom": [-0.3], "right": [left + size], "top": [0.3], "cost": [dollars(size)]}
        )
        bar = hv.Rectangles(one, ["left", "bottom", "right", "top"], ["cost"], label=f"{name} {dollars(size)}")
        layers.append(bar.opts(color=colour, line_color=None, tools=["hover"], hover_tooltips=[(name, "@cost")]))
        left += size
    layers.append(hv.VLine(value).opts(color=look.TEXT, line_dash="dashed", line_width=1.5))
    return hv.Overlay(layers).opts(
        **look.base(
            190, title=f"{title}: {dollars(left)}; the dashed line is what it is worth, {dollars(value)}", xlabel="dollars",
            ylabel="", yticks=[(0, "")], ylim=(-0.6, 0.6), xlim=(0, 1.08 * max(left, value)), legend_position="right",
        )
    )  # fmt: skip


def against(curve: pd.DataFrame, turning: float | None) -> Any:
    """Dollars a month of an API and of own GPUs as usage grows, both axes logarithmic; a line where own GPUs get cheaper.

    curve: `returns.against`; turning: `returns.turning_point`.
    """
    hv = look.extension()
    layers = []
    told = curve.assign(busy=100 * curve["utilisation"])
    for name, label, colour in (("api", "API", look.PALETTE[5]), ("own", "own GPUs", look.ACCENT)):
        one = told.rename(columns={name: "dollars"})[["times", "dollars", "gpus", "busy"]]
        words = [
            ("today's usage x", "@times{0.[00]}"),
            (label, "@dollars{$0,0}"),
            ("GPUs", "@gpus"),
            ("busy", "@busy{0} %"),
        ]
        line = hv.Curve(one[one["dollars"] > 0], "times", ["dollars", "gpus", "busy"], label=label)
        layers.append(line.opts(color=colour, line_width=2.2, tools=["hover"], hover_tooltips=words))
    for where, dash in ((1.0, "solid"), (turning, "dashed")):
        if where is not None:
            layers.append(hv.VLine(where).opts(color=look.TEXT, line_dash=dash, line_width=1))
    return hv.Overlay(layers).opts(
        **look.base(
            300, title="A month by the API and on own GPUs", logx=True, logy=True, xlabel="times today's usage",
            ylabel="dollars a month",
            xformatter="%g", yformatter="$%g", show_grid=True, legend_position="right",
        )
    )  # fmt: skip


def cash(flows: Any) -> Any:
    """Cash added up month by month: below zero the investment is not yet earned back. flows: `returns.flows`."""
    hv = look.extension()
    per, words = thousands(np.cumsum(flows))
    frame = pd.DataFrame({"month": np.arange(len(flows)), "dollars": np.cumsum(flows)})
    frame["y"] = frame["dollars"] / per
    layers = [
        hv.HLine(0).opts(color=look.TEXT, line_width=1, line_dash="dashed"),
        hv.Curve(frame, "month", ["y", "dollars"]).opts(
            color=look.ACCENT, line_width=2.5, tools=["hover"],
            hover_tooltips=[("after month", "@month"), ("in all", "@dollars{$0,0}")],
        ),
    ]  # fmt: skip
    return hv.Overlay(layers).opts(**look.base(260, title="Cash in all", xlabel="months", ylabel=words, show_grid=True))


def tornado(frame: pd.DataFrame) -> Any:
    """Net present value at the low and the high end of each assumption alone, the widest on top. frame: `returns.tornado`."""
    hv = look.extension()
    title = "What the value hangs on: one assumption at a time"
    if frame.empty:
        return maps.nothing(f"{title}: none is uncertain")
    base = float(frame["npv"].iloc[0])
    place = np.arange(len(frame))[::-1].astype("float64")
    per, unit = thousands(frame[["npv_low", "npv_high"]])
    layers = []
    for end, colour in (("low", look.WARN), ("high", look.ACCENT)):
        value = frame[f"npv_{end}"]
        one = pd.DataFrame({
            "left": np.minimum(base, value) / per, "bottom": place - 0.36, "right": np.maximum(base, value) / per,
            "top": place + 0.36, "words": frame["words"], "at": [f"{number:,.4g}" for number in frame[end]],
            "npv": [dollars(number) for number in value],
        })  # fmt: skip
        bars = hv.Rectangles(one, ["left", "bottom", "right", "top"], ["words", "at", "npv"], label=f"at its {end} end")
        words = [("", "@words"), ("at", "@at"), ("net present value", "@npv")]
        layers.append(bars.opts(color=colour, line_color=None, tools=["hover"], hover_tooltips=words))
    layers.append(hv.VLine(base / per).opts(color=look.TEXT, line_width=1))
    ticks = list(zip(place, frame["assumption"], strict=True))
    return hv.Overlay(layers).opts(
        **look.base(
            100 + 28 * len(frame), title=title, xlabel=f"net present value, {unit}", ylabel="", yticks=ticks,
            ylim=(-0.6, len(frame) - 0.4), legend_position="right",
        )
    )  # fmt: skip


def likely(values: Any, interval: Mapping[str, float], level: float = 0.9) -> Any:
    """How often each net present value came up, the interval dark, losses orange. values: `returns.simulate`."""
    hv = look.extension()
    per, unit = thousands(values)
    counts, edges = np.histogram(np.asarray(values, dtype="float64") / per, bins=60)
    frame = pd.DataFrame(
        {"left": edges[:-1], "zero": 0.0, "right": edges[1:], "share": 100 * counts / max(counts.sum(), 1)}
    )
    middle = (frame["left"] + frame["right"]) / 2
    inside = (middle >= interval["low"] / per) & (middle <= interval["high"] / per)
    layers = []
    for part, colour, alpha, label in (
        (frame[inside], look.ACCENT, 0.85, f"{100 * level:g} % of the worlds"),
        (frame[~inside], look.ACCENT, 0.3, "the others"),
    ):
        bars = hv.Rectangles(part, ["left", "zero", "right", "share"], label=label)
        words = [("from", "@left{$0,0.[0]}"), ("to", "@right{$0,0.[0]}"), ("worlds", "@share{0.0} %")]
        layers.append(bars.opts(color=colour, fill_alpha=alpha, line_color=None, tools=["hover"], hover_tooltips=words))
    if frame["left"].min() < 0 < frame["right"].max():
        layers.append(hv.VLine(0).opts(color=look.BAD, line_width=1.5, line_dash="dashed"))
    return hv.Overlay(layers).opts(
        **look.base(
            280, title="Net present value of the simulated worlds", xlabel=unit, ylabel="% of the worlds",
            ylim=(0, float(frame["share"].max()) * 1.1), legend_position="right",
        )
    )  # fmt: skip
