"""A budget's burn and its forecast with an interval, and windows whose cost is out of the ordinary.

A day is forecast from days of its kind: workdays and weekends, or each weekday where every one was seen twice. Days are
taken as independent around that, without a trend; the interval is the predictive one of a linear model with normal
errors (Gelman et al., Bayesian Data Analysis, 2013, ch. 14), so a short history gives a wide one. The first day and one
that is not over are often cut: what they cost counts as spent, but they teach nothing about days (the first one where
others are left).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from workbench.analyses import pattern
from workbench.analyses.money import MICRO
from workbench.analyses.parts import OUTSIDE, say_window
from workbench.errors import WorkbenchError

LEAST = 3  # days that a forecast needs
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Forecast:
    """What a period will have cost when it ends.

    spent_micro: so far (exact). expected_micro, low_micro, high_micro: at its end, with the interval of `level`; None where
    fewer than three days are known. over: probability that the budget is exceeded, None without a budget or forecast.
    gone: the day on which the expected burn passes the budget, "" where it does not within the period. days: a row a day with
    day, micro (None in the future), expected, low, high (all cumulative microdollars), and words, one sentence.
    """

    spent_micro: int
    expected_micro: int | None
    low_micro: int | None
    high_micro: int | None
    over: float | None
    gone: str
    days: pd.DataFrame
    words: str


def forecast(
    daily: pd.DataFrame,
    start: Any,
    end: Any,
    *,
    budget_micro: int = 0,
    until: Any = None,
    level: float = 0.9,
    seed: int = 7,
    draws: int = 4000,
) -> Forecast:
    """The burn of a budget over [start, end), and what the whole period is expected to cost.

    daily: rows of (window, micro), ISO days in UTC and whole microdollars; a day without rows costs 0 from the first to the
    last day that has some. Days before `start` teach the forecast. budget_micro: 0 for none. until: the newest moment that is
    in the data (default: the end of the last day); the rest of its day is forecast. level: of the interval. seed, draws: of
    the simulation that adds the days' uncertainty.

    Raises WorkbenchError for a period that ends before it starts and one that has no day with data.
    """
    first, last = (
        pd.Timestamp(one, tz="UTC") if pd.Timestamp(one).tzinfo is None else pd.Timestamp(one) for one in (start, end)
    )
    first, last = first.tz_convert("UTC").normalize(), last.tz_convert("UTC").normalize()
    if not last > first:
        raise WorkbenchError(f"the budget's period ends at {last.date()}, which is not after its start, {first.date()}")
    known = daily[~daily["window"].isin(["", OUTSIDE])]
    cost = (
        pd.Series(known["micro"].to_numpy(), pd.to_datetime(known["window"], utc=True).dt.normalize())
        .groupby(level=0)
        .sum()
    )
    if not len(cost):
        raise WorkbenchError("no day has a cost, so there is nothing to forecast; check the time column")
    cost = cost.reindex(pd.date_range(cost.index.min(), cost.index.max(), freq="D"), fill_value=0)
    newest = cost.index[-1] + pd.Timedelta(days=1) if until is None else pd.Timestamp(until)
    newest = newest.tz_localize("UTC") if newest.tzinfo is None else newest.tz_convert("UTC")
    inside = cost[(cost.index >= first) & (cost.index < last)]
    if not len(inside):
        raise WorkbenchError(
            f"the data ({cost.index[0].date()} to {cost.index[-1].date()}) have no day of the budget's period, "
            f"{first.date()} to {last.date()}; choose a period that the data reach"
        )
    spent = int(sum(int(one) for one in inside))
    days = pd.DataFrame({"day": pd.date_range(first, last, freq="D", inclusive="left")})
    done = inside.reindex(days["day"])
    days["micro"] = np.where(days["day"] > cost.index[-1], np.nan, done.fillna(0).cumsum())
    left = _left(days["day"], cost.index[-1], newest)
    whole = cost.iloc[:-1] if _cut(cost.index[-1], newest) else cost
    whole = whole.iloc[1:] if len(whole) > LEAST + 1 else whole
    if len(whole) < LEAST:
        words = f"${spent / MICRO:,.2f} spent; {LEAST} whole days are needed for a forecast, and {len(whole)} are there"
        return Forecast(spent, None, None, None, None, "", days, words)
    drawn = _draw(whole, days["day"], left, seed, draws)
    paths = spent + np.cumsum(drawn, axis=1)
    ahead = (left > 0).to_numpy()
    low, high = np.quantile(paths, [(1 - level) / 2, (1 + level) / 2], axis=0)
    days["expected"] = np.where(ahead, paths.mean(axis=0), np.nan)
    days["low"], days["high"] = np.where(ahead, low, np.nan), np.where(ahead, high, np.nan)
    expected = round(float(paths[:, -1].mean()))
    over = float((paths[:, -1] > budget_micro).mean()) if budget_micro else None
    gone = _gone(days, budget_micro) if budget_micro else ""
    told = Forecast(spent, expected, round(low[-1]), round(high[-1]), over, gone, days, "")
    return Forecast(**{**told.__dict__, "words": _words(told, budget_micro, level, last)})


def month(daily: pd.DataFrame, budget_micro: int, until: Any = None) -> Forecast:
    """`forecast` over the month (UTC) that holds the newest window, but for windows after tomorrow, which a clock that jumps
    has made; daily: rows of (window, micro)."""
    known = daily.loc[~daily["window"].isin(["", OUTSIDE]), "window"]
    tomorrow = f"{pd.Timestamp.now('UTC') + pd.Timedelta(days=1):%Y-%m-%dT%H:%M:%SZ}"
    likely = [one for one in known if one <= tomorrow]
    known = pd.Series(likely or list(known), dtype=object)
    if not len(known):
        empty = pd.DataFrame({"day": pd.to_datetime([], utc=True), "micro": np.zeros(0)})
        return Forecast(
            0, None, None, None, None, "", empty, "no priced request has a time, so there is no month to forecast"
        )
    start = pd.Timestamp(known.max()).normalize().replace(day=1)
    return forecast(daily, start, start + pd.offsets.MonthBegin(1), budget_micro=budget_micro, until=until)


def _left(days: pd.Series, newest_day: pd.Timestamp, newest: pd.Timestamp) -> pd.Series:
    """The share of each day that is still to come."""
    day = pd.Timedelta(days=1)
    share = ((days + day - newest) / day).clip(0, 1)
    return share.where(days >= newest_day, 0.0)


def _cut(newest_day: pd.Timestamp, newest: pd.Timestamp) -> bool:
    """Whether the newest day is not over yet: its last hour has not begun."""
    return bool(newest < newest_day + pd.Timedelta(hours=23))


def _features(days: Any, each: bool, weekend: bool) -> Floats:
    week = pd.DatetimeIndex(days).dayofweek.to_numpy()
    if each:
        return np.eye(7)[week]
    late = (week >= 5).astype("float64")
    return np.column_stack([np.ones(len(week)), late]) if weekend else np.ones((len(week), 1))


def _draw(cost: pd.Series, days: pd.Series, left: pd.Series, seed: int, draws: int) -> Floats:
    """Simulated cost of each day's rest, (draws, days): parameters from their posterior, then the days' own spread."""
    week = cost.index.dayofweek
    each = bool(np.bincount(week, minlength=7).min() >= 2)
    ends = int((week >= 5).sum())
    weekend = ends >= 2 and len(week) - ends >= 2
    x, y = _features(cost.index, each, weekend), cost.to_numpy("float64")
    inverse = np.linalg.inv(x.T @ x)
    beta, free = inverse @ x.T @ y, max(len(y) - x.shape[1], 1)
    spread = float(((y - x @ beta) ** 2).sum()) / free
    random = np.random.default_rng(seed)
    sigma = np.sqrt(spread * free / random.chisquare(free, draws))[:, None]
    root = np.linalg.cholesky(inverse)
    betas = beta + sigma * (random.standard_normal((draws, len(beta))) @ root.T)
    ahead = left.to_numpy()
    future = betas @ _features(days, each, weekend).T * ahead
    noise = sigma * random.standard_normal((draws, len(days))) * np.sqrt(ahead)
    drawn: Floats = np.maximum(future + noise, 0.0) * (ahead > 0)
    return drawn


def _gone(days: pd.DataFrame, budget: int) -> str:
    line = days["expected"].fillna(days["micro"])
    past = days["day"][line > budget]
    return f"{past.iloc[0]:%Y-%m-%d}" if len(past) else ""


def _words(told: Forecast, budget: int, level: float, last: pd.Timestamp) -> str:
    spent, expected, low, high = (
        f"${(one or 0) / MICRO:,.2f}"
        for one in (told.spent_micro, told.expected_micro, told.low_micro, told.high_micro)
    )
    words = f"{spent} spent; {expected} expected by the end of {(last - pd.Timedelta(days=1)).date()}"
    words += f" ({100 * level:g} % interval {low} to {high})"
    if budget:
        words += f", of a budget of ${budget / MICRO:,.2f}: "
        done = "was" if told.spent_micro > budget else "is expected to be"
        words += f"it {done} used up on {told.gone}" if told.gone else "it is expected to last"
    return words


def unusual(costs: pd.DataFrame, *, least_micro: int = MICRO, times: float = 1.5) -> pd.DataFrame:
    """Windows in which a segment cost far more or less than at the same time of other days or weeks, the largest first.

    costs: rows of (window, segment, micro); windows that a segment lacks cost it 0. The reference of a window is the median
    of the segment's windows of the same season: the weekday for daily windows, the hour of the week for shorter ones,
    else the hour of the day, else all (`pattern.volumes` decides, on microdollars). Judged are windows of which the cost or
    the usual cost is at least `least_micro`. Columns: segment, window, until, windows, micro, usual_micro, over_micro, words.
    """
    columns = ["segment", "window", "until", "windows", "micro", "usual_micro", "over_micro", "words"]
    timed = costs[~costs["window"].isin(["", OUTSIDE])]
    labels = sorted(timed["window"].unique())
    moments = pd.to_datetime(pd.Series(labels, dtype=object), utc=True)
    found = []
    if len(labels) >= pattern.WINDOWS:
        for segment, part in timed.groupby("segment", sort=False):
            micro = part.groupby("window")["micro"].sum().reindex(labels, fill_value=0)
            told = pattern.volumes(micro.to_numpy("float64"), _season(moments), least=least_micro, times=times)
            sign = np.sign(told["rows"] - told["usual"])
            for run in pattern.stretches(told["out"], sign):
                here = told.iloc[run]
                now, usual = round(float(here["rows"].sum())), round(float(here["usual"].sum()))
                first, last = labels[run.start], labels[run.stop - 1]
                span = f"at {say_window(first)}" if first == last else f"from {say_window(first)} to {say_window(last)}"
                words = f"{segment or 'everything'} {span}: ${now / MICRO:,.2f}, usually ${usual / MICRO:,.2f}"
                found.append([segment, first, last, run.stop - run.start, now, usual, now - usual, words])
    frame = pd.DataFrame(found, columns=columns)
    order = frame["over_micro"].abs().sort_values(ascending=False, kind="stable").index
    return frame.loc[order].reset_index(drop=True)


def _season(moments: pd.Series) -> npt.NDArray[Any]:
    """Each window's place in its cycle: the hour of the week where four weeks show it, else the hour of the day; for days
    the weekday where four weeks show it, else workday or weekend."""
    step = moments.diff().median()
    weeks = (moments.iloc[-1] - moments.iloc[0]) / pd.Timedelta(weeks=1) if len(moments) else 0.0
    week, hour = moments.dt.dayofweek.to_numpy(), moments.dt.hour.to_numpy()
    if step >= pd.Timedelta(days=1):
        return week if weeks >= 4 else (week >= 5).astype(int)
    return week * 24 + hour if weeks >= 4 else (week >= 5) * 24 + hour
