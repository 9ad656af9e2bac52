"""Pictures and tables of cost: one sum on top, then the rows that add up to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from workbench.views import look, maps

MICRO = 1_000_000
QUIET = ("(idle)",)  # drawn in grey, above the others
MOST = 8  # colours; what is beyond is "others"
ROWS = 25  # of a table that adds up; what is beyond is one row
EFFECTS = {"up": look.BAD, "down": look.GOOD, "whole": look.ACCENT}


def dollars(micro: Any, digits: int = 2) -> str:
    """Microdollars as people read them: to the cent, a small amount to three digits, with a true minus sign.

    >>> dollars(1_234_567_891), dollars(-500_000), dollars(1_234), dollars(0)
    ('$1,234.57', '\\u2212$0.50', '$0.00123', '$0.00')
    """
    value = abs(float(micro)) / MICRO
    if value and value < 0.1 and digits == 2:
        digits = 2 - int(f"{value:e}".split("e")[1])
    return ("\u2212$" if micro < 0 else "$") + f"{value:,.{digits}f}"


def summed(frame: pd.DataFrame, names: Sequence[str], whole: str = "all", money: str = "micro") -> pd.DataFrame:
    """A table whose first row is the sum and whose other rows add up to it: names, cost, share, tokens.

    frame: rows of (names, micro, and where known tokens), the dearest first. Rows beyond the 25th are one, "others".
    """
    rest = frame.iloc[ROWS:]
    shown = frame.iloc[:ROWS]
    total = int(sum(int(one) for one in frame[money]))
    rows = [[whole, *[""] * (len(names) - 1), total, _tokens(frame)]]
    rows += [
        [*(str(one[name]) for name in names), int(one[money]), one.get("tokens")] for one in shown.to_dict("records")
    ]
    if len(rest):
        words = f"{len(rest)} others"
        rows.append([words, *[""] * (len(names) - 1), int(sum(int(one) for one in rest[money])), _tokens(rest)])
    told = pd.DataFrame(rows, columns=[*names, "micro", "tokens"])
    found = told[list(names)].copy()
    found["cost"] = [dollars(one) for one in told["micro"]]
    found["share"] = [f"{100 * one / total:.1f} %" if total else "–" for one in told["micro"]]
    if "tokens" in frame:
        found["tokens"] = [int(one) for one in told["tokens"]]
    return found


def _tokens(frame: pd.DataFrame) -> int:
    return int(sum(int(one) for one in frame["tokens"])) if "tokens" in frame else 0


def classes(frame: pd.DataFrame) -> pd.DataFrame:
    """The bill by token class as a table with its sum; what is inside another row is marked. frame: `cost.classes`."""
    total = int(frame.loc[~frame["inside"], "micro"].sum())
    tokens = int(frame.loc[~frame["inside"] & (frame["class"] != "per request"), "tokens"].sum())
    rows = [("all", dollars(total), "100 %", tokens, "")]
    for one in frame.itertuples(index=False):
        name = f"– {one[0].split(', ')[-1]}" if one.inside else one[0]
        share = f"{100 * one.micro / total:.1f} %" if total else "–"
        rows.append(
            (name, dollars(one.micro), share, int(one.tokens), dollars(1e6 * one.per_million) if one.tokens else "")
        )
    return pd.DataFrame(rows, columns=["token class", "cost", "share", "tokens", "a million"])


def over_time(frame: pd.DataFrame, name: str = "model", title: str = "") -> Any:
    """Cost of every window, stacked by `name`, the dearest at the bottom; beyond eight they are one, "others".

    frame: rows of (window, name, micro). Negative amounts are drawn below zero.
    """
    hv = look.extension()
    title = title or f"Cost over time, by {name}"
    part = frame[~frame["window"].isin(["", "(missing)"])]
    if part.empty:
        return maps.nothing(f"{title}: no windows of time to show")
    order = list(part.groupby(name)["micro"].sum().sort_values(ascending=False).index)
    order = [*(one for one in order if one not in QUIET), *(one for one in order if one in QUIET)]
    kept = order if len(order) <= MOST else order[: MOST - 1]
    part = part.assign(who=part[name].where(part[name].isin(kept), "others"))
    sums = (
        part.groupby(["window", "who"], as_index=False)["micro"]
        .sum()
        .merge(maps.spans(list(part["window"])), on="window")
    )
    tint = {**look.colours([one for one in kept if one not in QUIET]), **dict.fromkeys([*QUIET, "others"], "#8080808c")}
    named = [*kept, *(["others"] if len(order) > len(kept) else [])]
    low, layers = dict.fromkeys(sums["window"], 0.0), []
    for who in named:
        one = sums[sums["who"] == who].copy()
        one["bottom"] = one["window"].map(low)
        one["top"] = one["bottom"] + one["micro"] / MICRO
        low.update(dict(zip(one["window"], one["top"], strict=True)))
        one["when"], one["cost"] = [look.short(label) for label in one["window"]], [dollars(m) for m in one["micro"]]
        layers.append(
            hv.Rectangles(one, ["start", "bottom", "end", "top"], ["when", "who", "cost"], label=str(who)).opts(
                color=tint[who], line_color=None, tools=["hover"],
                hover_tooltips=[("window", "@when UTC"), (name, "@who"), ("cost", "@cost")],
            )
        )  # fmt: skip
    top = max([0.0, *low.values()])
    return hv.Overlay(layers).opts(
        **look.base(
            300, title=title, xlabel="start of the window (UTC)", ylabel="dollars", yformatter="$%g", show_grid=True,
            legend_position="right", ylim=(min(0.0, min(low.values())), top * 1.05 or 1.0),
        )
    )  # fmt: skip


def waterfall(steps: pd.DataFrame, title: str, ends: Sequence[str] = ("before", "after")) -> Any:
    """Bars from one amount to another: what raised it to the right in orange, what lowered it in green.

    steps: rows of (step, start, end, micro), whole amounts first and last; ends: what those are called.
    """
    hv = look.extension()
    if steps.empty:
        return maps.nothing(f"{title[:1].upper()}{title[1:]}")
    frame = steps.reset_index(drop=True).copy()
    frame.loc[0, "step"], frame.loc[len(frame) - 1, "step"] = ends
    place = np.arange(len(frame))[::-1].astype("float64")
    frame["bottom"], frame["top"] = place - 0.38, place + 0.38
    frame["left"] = frame[["start", "end"]].min(axis=1) / MICRO
    frame["right"] = frame[["start", "end"]].max(axis=1) / MICRO
    whole = frame.index.isin([0, len(frame) - 1])
    shown = _cents if abs(frame["micro"].iloc[0]) >= MICRO else dollars
    plus = ["" if ends_ or micro < MICRO // 200 else "+" for ends_, micro in zip(whole, frame["micro"], strict=True)]
    frame["cost"] = [sign + shown(micro) for sign, micro in zip(plus, frame["micro"], strict=True)]
    kinds = np.where(whole, "whole", np.where(frame["micro"] > 0, "up", "down"))
    low, high, axis = min(0.0, float(frame["left"].min())), float(frame["right"].max()) or 1.0, "dollars"
    inner = frame[~whole] if len(frame) > 2 else frame
    spread = float(inner["right"].max() - inner["left"].min())
    if 0 < spread < 0.3 * (high - low):  # a small change of large amounts is looked at closely
        low, axis = float(inner["left"].min()) - 0.4 * spread, "dollars; the axis does not start at 0"
        frame["left"] = frame["left"].clip(lower=low)
    box, extra = ["left", "bottom", "right", "top"], ["step", "cost"]
    layers = []
    for kind, label in (("whole", "in all"), ("up", "more"), ("down", "less")):
        part = frame[kinds == kind]
        if len(part):
            layers.append(
                hv.Rectangles(part, box, extra, label=label).opts(
                    color=EFFECTS[kind], line_color=None, tools=["hover"], hover_tooltips=[("", "@step"), ("", "@cost")]
                )
            )
    span = high - low
    texts = frame.assign(x=frame["right"] + span * 0.01, y=place)
    form = "$%.2f" if span < 20 else "$%g"
    layers.append(
        hv.Labels(texts, ["x", "y"], "cost").opts(text_color=look.TEXT, text_font_size="9pt", text_align="left")
    )
    ticks = list(zip(place, frame["step"], strict=True))
    return hv.Overlay(layers).opts(
        **look.base(
            80 + 26 * len(frame), title=title, xlabel=axis, ylabel="", yticks=ticks, xformatter=form,
            xlim=(low, high + 0.18 * span), ylim=(-0.6, len(frame) - 0.4), show_legend=False,
        )
    )  # fmt: skip


def bridge(frame: pd.DataFrame, title: str = "From our cost to the bill") -> Any:
    """The waterfall of a reconciliation. frame: `reconcile.bridge`."""
    ends = np.cumsum(frame["micro"].to_numpy()[:-1])
    starts = np.concatenate([[0], ends[:-1]])
    steps = frame.assign(start=[*starts, 0], end=[*ends, int(frame["micro"].iloc[-1])])
    return waterfall(steps, title, ("our cost", "the bill"))


def explained(steps: pd.DataFrame) -> pd.DataFrame:
    """The steps of a change as a table that sums: effect, dollars, share of the change."""
    if steps.empty:
        return pd.DataFrame(columns=["effect", "dollars", "share"])
    inner = steps.iloc[1:-1]
    change = int(steps["end"].iloc[-1]) - int(steps["start"].iloc[1]) if len(inner) else 0
    rows = [("change", change)] + [(one["step"], int(one["micro"])) for one in inner.to_dict("records")]
    shown = _cents if int(steps["micro"].iloc[0]) >= MICRO else dollars
    share = [_percent(micro / change) if change else "–" for _, micro in rows]
    signs = [f"{'+' if micro > 0 and shown(micro)[0] == '$' else ''}{shown(micro)}" for _, micro in rows]
    return pd.DataFrame({"effect": [name for name, _ in rows], "dollars": signs, "share": share})


def burn(days: pd.DataFrame, budget_micro: int, title: str = "Budget") -> Any:
    """Cost so far, what is expected with its interval, and the budget as a dashed line. days: `budget.Forecast.days`."""
    hv = look.extension()
    if days.empty:
        return maps.nothing(f"{title}: no days to show")
    frame = days.assign(day=days["day"].dt.tz_localize(None) + pd.Timedelta(days=1))
    for name in ("micro", "expected", "low", "high"):
        frame[name] = frame.get(name, pd.Series(np.nan, index=frame.index)).astype("float64") / MICRO
    done, ahead = frame[frame["micro"].notna()], frame[frame["expected"].notna()]
    words = [("end of", "@day{%F}"), ("dollars", "@y{$0,0.00}")]
    more = {"tools": ["hover"], "hover_tooltips": words, "hover_formatters": {"@day": "datetime"}}
    layers = []
    if len(ahead):
        area = hv.Area((ahead["day"], ahead["low"], ahead["high"]), "day", ["low", "high"], label="interval")
        layers.append(area.opts(color=look.ACCENT, fill_alpha=0.18, line_color=None))
        line = ahead.rename(columns={"expected": "y"})
        layers.append(
            hv.Curve(line, "day", "y", label="expected").opts(
                color=look.ACCENT, line_dash="dotted", line_width=2, **more
            )
        )
    layers.append(
        hv.Curve(done.rename(columns={"micro": "y"}), "day", "y", label="spent").opts(
            color=look.ACCENT, line_width=2.5, **more
        )
    )
    top = float(np.nanmax([frame["micro"].max(), frame["high"].max(), budget_micro / MICRO])) * 1.06
    if budget_micro:
        edge = pd.DataFrame({"day": [frame["day"].min(), frame["day"].max()], "y": [budget_micro / MICRO] * 2})
        layers.append(
            hv.Curve(edge, "day", "y", label="budget").opts(color=look.BAD, line_dash="dashed", line_width=1.5)
        )
    return hv.Overlay(layers).opts(
        **look.base(
            280, title=title, xlabel="end of the day (UTC)", ylabel="dollars since the start", yformatter="$%g", show_grid=True,
            ylim=(0, top or 1.0), legend_position="right",
        )
    )  # fmt: skip


def scenarios(frame: pd.DataFrame, title: str = "The same usage, otherwise priced") -> Any:
    """A bar a scenario; the first, what was paid, as a line through all. frame: `whatif.table_of`."""
    hv = look.extension()
    shown = frame[frame["complete"]].reset_index(drop=True)
    place = np.arange(len(shown))[::-1].astype("float64")
    value = shown["micro"].to_numpy("float64") / MICRO
    told = shown.assign(
        left=0.0, right=value, bottom=place - 0.36, top=place + 0.36, cost=[dollars(one) for one in shown["micro"]],
        y=place, x=value + max(value.max(initial=0.0), 1e-9) * 0.01,
    )  # fmt: skip
    box = ["left", "bottom", "right", "top"]
    less = told["micro"] <= told["micro"].iloc[0]
    layers = []
    for part, colour in (
        (told.iloc[:1], look.ACCENT),
        (told.iloc[1:][less.iloc[1:]], look.GOOD),
        (told[~less], look.BAD),
    ):
        if len(part):
            bars = hv.Rectangles(part, box, ["scenario", "cost"]).opts(color=colour, line_color=None, tools=["hover"])
            layers.append(bars.opts(hover_tooltips=[("", "@scenario"), ("", "@cost")]))
    layers.append(
        hv.Labels(told, ["x", "y"], "cost").opts(text_color=look.TEXT, text_font_size="9pt", text_align="left")
    )
    layers.append(hv.VLine(float(value[0])).opts(color=look.TEXT, line_dash="dashed", line_width=1))
    ticks = list(zip(place, told["scenario"], strict=True))
    return hv.Overlay(layers).opts(
        **look.base(
            80 + 28 * len(told), title=title, xlabel="dollars", ylabel="", yticks=ticks, xformatter="$%g", show_legend=False,
            xlim=(0, max(value.max(initial=0.0), 1e-9) * 1.2), ylim=(-0.6, len(told) - 0.4),
        )
    )  # fmt: skip


def compared(frame: pd.DataFrame) -> pd.DataFrame:
    """The scenarios as a table: cost, and what it differs from what was paid; "no price" where some requests have none."""
    rows = []
    for one in frame.to_dict("records"):
        more = -int(one["saving_micro"])
        known = bool(one["complete"])
        rows.append(
            (
                one["scenario"],
                dollars(one["micro"]) if known else f"no price for {one['unpriced']:,} requests",
                f"{'+' if more > 0 else ''}{dollars(more)}" if known else "",
                _percent(-one["saved"], "+") if known else "",
            )
        )
    return pd.DataFrame(rows, columns=["scenario", "cost", "difference", "share"])


def gaps(frame: pd.DataFrame) -> pd.DataFrame:
    """A reconciliation by model, class or period as a table that sums. frame: `reconcile.by`."""
    name, columns = frame.columns[0], ["ours", "billed", "gap", "quantity", "price", "other", "rest"]
    rows: list[list[Any]] = [["all", *(int(frame[f"{one}_micro"].sum()) for one in columns)]]
    rows += [
        [one[name], *(int(one[f"{column}_micro"]) for column in columns)] for one in frame.head(ROWS).to_dict("records")
    ]
    if len(frame) > ROWS:
        rest = frame.iloc[ROWS:]
        rows.append([f"{len(rest)} others", *(int(rest[f"{one}_micro"].sum()) for one in columns)])
    named = [name, "ours", "billed", "gap", "of it tokens", "of it price", "of it no usage", "not explained"]
    cents = rows[0][2] >= MICRO
    return pd.DataFrame(
        [[one[0], *(_cents(m) if cents else dollars(m) for m in one[1:])] for one in rows], columns=named
    )


def _percent(share: float, sign: str = "") -> str:
    """A share in percent with a true minus sign, and no sign before 0.0."""
    text = f"{100 * share:{sign}.1f}".replace("-", "\u2212")
    return "0.0 %" if not text.strip("+\u22120.") else f"{text} %"


def _cents(micro: int) -> str:
    """An amount to the cent; one that is not 0 and less than half a cent says so."""
    value = abs(micro) / MICRO
    if micro and value < 0.005:
        return "≈ $0.00"
    return ("\u2212$" if micro < 0 else "$") + f"{value:,.2f}"


def holders(frame: pd.DataFrame) -> pd.DataFrame:
    """Who held and who used own GPUs, as a table whose two columns of money add up. frame: `allocation.holders`."""
    name = frame.columns[0]
    sums = frame[["gpu_hours_allocated", "gpu_hours_used", "allocated_micro", "used_micro"]].sum()
    shown = frame.head(ROWS)[[name, *sums.index, "efficiency"]]
    rows = [("all", *sums, np.nan), *shown.itertuples(index=False, name=None)]
    told = []
    for who, held, busy, kept, spent, share in rows:
        part = "" if np.isnan(share) else f"{100 * share:.0f} %"
        told.append((who, f"{held:,.1f} h", f"{busy:,.1f} h", dollars(kept), dollars(spent), part))
    return pd.DataFrame(told, columns=[name, "held", "used", "cost as held", "cost as used", "used of held"])


def energy(frame: pd.DataFrame) -> pd.DataFrame:
    """Energy and carbon of own GPUs by model, as a table with its sums. frame: `energy.windows`."""
    sums = ["kwh", "site_kwh", "kg", "energy_micro", "carbon_micro"]
    by = frame.groupby("model", sort=False)[sums].sum().sort_values("kwh", ascending=False)
    told = []
    for who, kwh, site, kg, power, carbon in [("all", *by.sum()), *by.head(ROWS).itertuples(name=None)]:
        told.append((who, f"{kwh:,.1f} kWh", f"{site:,.1f} kWh", f"{kg:,.1f} kg", dollars(power), dollars(carbon)))
    return pd.DataFrame(told, columns=["model", "at the GPUs", "at the meter", "CO\u2082e", "energy", "carbon"])
