"""Axes: a column of a table turned into integer codes and a labelled coordinate."""

from __future__ import annotations

import itertools
import re
import warnings
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.errors import WorkbenchError

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

MISSING_LABEL = "(missing)"
NO_TIME = np.iinfo(np.int64).min  # also the integer of NaT
DAY = 86_400_000_000
WEEKDAYS = ("MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN")
YEAR_1973 = 94_694_400_000_000
# names that a cube, or what is read off one, has for itself: an axis of that name would hide them
RESERVED = {
    *("column", "kind", "unit", "bins", "tops", "registers", "plans", "quantile", "value", "bin", "low", "high"),
    *("count", "missing", "nan", "infinite", "infinite_negative", "values", "sum", "mean", "m2", "min", "max"),
    *("sum_high", "sum_low", "int_min", "int_max", "top_lost", "top_bound", "top_group", "top_column", "top_value"),
    *("top_count", "bin_group", "bin_column", "bin_bits", "bin_count", "bin_min", "bin_max"),
    *("register_group", "register_column", "register_index", "register_rank", "co_n", "co_mean", "co_cross"),
    *("plan_column", "plan_cell", "plan_parent", "plan_shift", "plan_low", "plan_n", "co_row", "co_column"),
}


@dataclass(frozen=True)
class Category:
    """One cell for each distinct value of a column; rows without a value have the cell "(missing)".

    Labels are text. Numbers and booleans are written as text ("200", "true"). A value that already reads "(missing)"
    is labelled "'(missing)'".
    """

    column: str
    name: str | None = None

    @property
    def dim(self) -> str:
        return self.name or self.column

    def recipe(self) -> dict[str, Any]:
        return {"axis": "category", "column": self.column, "name": self.dim}

    def encode(self, values: pa.Array | pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
        """Each row's code, and the labels that the codes point to."""
        import pyarrow as pa
        import pyarrow.compute as pc

        if isinstance(values, pa.ChunkedArray):
            values = values.combine_chunks() if values.num_chunks != 1 else values.chunk(0)
        if not pa.types.is_dictionary(values.type):
            if not (pa.types.is_string(values.type) or pa.types.is_large_string(values.type)):
                values = values.dictionary_encode()
                values = pa.DictionaryArray.from_arrays(values.indices, _as_text(values.dictionary))
            else:
                values = values.dictionary_encode()
        elif not pa.types.is_large_string(values.type.value_type) and not pa.types.is_string(values.type.value_type):
            values = pa.DictionaryArray.from_arrays(values.indices, _as_text(values.dictionary))
        labels = values.dictionary.to_numpy(zero_copy_only=False)
        if values.dictionary.null_count or pc.any(pc.match_substring(values.dictionary, MISSING_LABEL)).as_py():
            said = [MISSING_LABEL if v is None else f"'{v}'" if v.strip("'") == MISSING_LABEL else v for v in labels]
            labels = np.array(said, dtype=object)
        indices = values.indices
        if indices.null_count:
            labels = np.append(labels, np.array([MISSING_LABEL] * (MISSING_LABEL not in labels), dtype=object))
            indices = pc.fill_null(indices.cast(pa.int64()), int(np.argmax(labels == MISSING_LABEL)))
        codes = indices.to_numpy(zero_copy_only=False).astype(np.int64, copy=False)
        if len(values.dictionary.unique()) < len(values.dictionary):  # a dictionary may repeat itself
            unique, back = np.unique(labels, return_inverse=True)
            return back[codes], unique
        return codes, labels


@dataclass(frozen=True)
class Period:
    """One cell for each window of time that has rows.

    every: any pandas offset: "15min", "h", "D", "7D", "W", "MS", "QS" ... Month, quarter, year and week ends ("ME",
        "W") name the period that they end. Windows start at the same instants for every table: multiples of days and
        longer are counted from Monday 1900-01-01 in the zone's local time; windows that divide a day restart at each
        local midnight, so a daylight-saving day is 23 or 25 hours of them; other lengths ("5h", "36h") are counted
        from 1970-01-01 UTC. Times outside the years 1 to 9999 are in the first or the last window.
    tz: an IANA zone. Labels are the windows' starts in UTC (datetime64[us]); rows without a time have the cell NaT.
    """

    column: str
    every: str
    tz: str = "UTC"
    name: str | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.every, str):
            raise WorkbenchError(_no_length(self.every))
        _offset(self.every)
        _zone(self.tz)

    @property
    def dim(self) -> str:
        return self.name or self.column

    def recipe(self) -> dict[str, Any]:
        return {"axis": "period", "column": self.column, "every": self.every, "tz": self.tz, "name": self.dim}

    def starts(self, times: np.ndarray) -> np.ndarray:
        """Start of each time's window; both int64 microseconds since 1970 UTC. ``NO_TIME`` stays as it is."""
        times = np.asarray(times, np.int64)
        gone = times == NO_TIME
        known = times if not gone.any() else times[~gone]
        if not len(known):
            return times
        width, step = _offset(self.every)
        first, last = int(known.min()), int(known.max())
        if width is not None and (DAY % width or self.tz == "UTC"):
            out = known - (known % width)
        elif width is not None:
            edges, _ = _edges("D", self.tz, *_years(first, last))
            midnight = edges[np.maximum(np.searchsorted(edges, known, side="right") - 1, 0)]
            out = midnight + (known - midnight) // width * width
            out = np.where(known < midnight, midnight, out)
        else:
            edges, zero = _edges(step[1], self.tz, *_years(first, last))
            k = np.searchsorted(edges, known, side="right") - 1
            if step[0] > 1:
                k = (k - zero) // step[0] * step[0] + zero
            out = edges[np.maximum(k, 0)]
        if known is times:
            return out
        full = np.full(len(times), NO_TIME, np.int64)
        full[~gone] = out
        return full

    def windows(self, first: Any, last: Any, limit: int = 100_000) -> np.ndarray:
        """Starts of all windows from the one of ``first`` to that of ``last`` (datetime64[us]), with or without rows.

        Empty where there would be more than ``limit``.

        >>> str(Period("t", "W").windows(np.datetime64("2026-03-04"), np.datetime64("2026-03-11")))
        "['2026-03-02T00:00:00.000000' '2026-03-09T00:00:00.000000']"
        """
        width, _ = _offset(self.every)
        step = min(width or DAY // 2, DAY // 2)
        a, b = (int(np.datetime64(t, "us").astype(np.int64)) for t in (first, last))
        if (b - a) // step > 40 * limit:
            return np.zeros(0, "datetime64[us]")
        found = np.unique(self.starts(np.append(np.arange(a, b + 1, step, dtype=np.int64), b)))
        return found.view("datetime64[us]") if len(found) <= limit else np.zeros(0, "datetime64[us]")

    def encode(self, values: pa.Array | pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
        """Each row's code, and the windows' starts that the codes point to."""
        from workbench.cubes.columns import times_of

        times = times_of(values)
        if len(times) == 0:
            return times, np.array([], "datetime64[us]")
        # Times mostly come in order: the window changes rarely, so find the changes and label the runs.
        width, _ = _offset(self.every)
        if width is not None and (DAY % width or self.tz == "UTC"):
            starts = self.starts(times)
        else:
            starts = self._starts_by_hour(times)
        change = np.flatnonzero(starts[1:] != starts[:-1]) + 1
        if len(change) > len(starts) // 4:
            labels, codes = _spaced(starts, width or 1)
        else:
            runs = np.concatenate([[0], change])
            labels, back = np.unique(starts[runs], return_inverse=True)
            codes = np.repeat(back, np.diff(np.concatenate([runs, [len(starts)]])))
        return codes.astype(np.int64, copy=False), labels.view("datetime64[us]")

    def _starts_by_hour(self, times: np.ndarray) -> np.ndarray:
        """As ``starts``; looks each distinct quarter of an hour up once: since 1973 no zone's clock is finer than that."""
        quarter = 900_000_000
        width, _ = _offset(self.every)
        gone = times == NO_TIME
        if (width is not None and width % quarter) or np.any((times < YEAR_1973) & ~gone):
            return self.starts(times)
        floor = np.where(gone, NO_TIME, times - times % quarter)
        change = np.flatnonzero(floor[1:] != floor[:-1]) + 1
        if len(change) > len(times) // 4:
            return self.starts(times)
        runs = np.concatenate([[0], change])
        return np.repeat(self.starts(floor[runs]), np.diff(np.concatenate([runs, [len(times)]])))


@dataclass(frozen=True)
class Bins:
    """One cell for each range of a number.

    edges: ascending numbers; a cell is ``[edge, next edge)``, labelled by its lower edge; values below the first edge
        have the cell -inf, the last cell is open above. None: powers of two cut into ``per_octave`` equal steps, the
        same for every table.
    Rows without a value and NaN have the cell NaN.
    """

    column: str
    edges: tuple[float, ...] | None = None
    per_octave: int = 1
    name: str | None = None

    def __post_init__(self) -> None:
        if self.edges is not None:
            object.__setattr__(self, "edges", tuple(float(e) for e in self.edges))
            if not self.edges or any(not a < b for a, b in itertools.pairwise((-np.inf, *self.edges))):
                raise WorkbenchError(
                    f"Bins({self.column!r}) got edges {self.edges}: give one or more, ascending, no two alike."
                )
        elif self.per_octave not in (1, 2, 4, 8, 16, 32, 64):
            raise WorkbenchError(
                f"Bins({self.column!r}) got per_octave={self.per_octave!r}: a power of two from 1 to 64 is wanted."
            )

    @property
    def dim(self) -> str:
        return self.name or self.column

    def recipe(self) -> dict[str, Any]:
        return {
            "axis": "bins",
            "column": self.column,
            "edges": list(self.edges) if self.edges else None,
            "per_octave": self.per_octave,
            "name": self.dim,
        }

    def encode(self, values: pa.Array | pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
        """Each row's code, and the lower edges that the codes point to."""
        from workbench.cubes.columns import floats_of
        from workbench.cubes.plan import ordered

        x = floats_of(values) + 0.0
        if self.edges is not None:
            edges = np.concatenate([[-np.inf], self.edges])
            low = edges[np.searchsorted(edges, x, side="right") - 1]
        else:
            drop = 52 - int(self.per_octave).bit_length() + 1
            key = ordered(x.view(np.int64))
            low = ordered((key >> drop) << drop).view(np.float64)
            low = np.where(np.isinf(x), x, np.where(np.isnan(low), -np.inf, low))
        low = np.where(np.isnan(x), np.nan, low)
        labels, codes = np.unique(low, return_inverse=True)
        return codes.astype(np.int64, copy=False), labels


Axis = Category | Period | Bins


def check_axes(by: Any) -> tuple[Axis, ...]:
    """The axes as a tuple, or a clear error. A plain column name stands for ``Category(name)``."""
    by = () if by is None else by if isinstance(by, list | tuple) else (by,)
    axes: tuple[Axis, ...] = tuple(Category(a) if isinstance(a, str) else a for a in by)
    for a in axes:
        if not isinstance(a, Category | Period | Bins):
            raise WorkbenchError(f"by= got {a!r}; an axis is Category(column), Period(column, every) or Bins(column).")
        if a.dim in RESERVED:
            raise WorkbenchError(
                f"An axis cannot be called {a.dim!r}, a cube's own name for something else; give it another, as in "
                f"{type(a).__name__}({a.column!r}, ..., name='my_{a.dim}')."
            )
    names = [a.dim for a in axes]
    twice = [n for n in names if names.count(n) > 1]
    if twice:
        raise WorkbenchError(f"Two axes are called {twice[0]!r}; give one of them another name= .")
    return axes


def _as_text(values: pa.Array) -> pa.Array:
    import pyarrow as pa

    if pa.types.is_floating(values.type):
        plain = values.to_numpy(zero_copy_only=False)  # keeps float32, whose shortest text is shorter
        texts = [None if v is None else short_text(x) for v, x in zip(values.to_pylist(), plain, strict=True)]
        return pa.array(texts, pa.string())
    return values.cast(pa.string())


def short_text(x: np.floating) -> str:
    """The shortest text that reads back as the same number, whole ones without a point: "200", "0.1", "nan"."""
    whole = int_or(float(x))
    return str(x) if whole is None else str(whole)


def int_or(v: float) -> int | None:
    """The integer that a float is, or None."""
    return int(v) if v == v and abs(v) < 2**53 and v == int(v) else None


def _zone(tz: str) -> None:
    from zoneinfo import ZoneInfo

    try:
        ZoneInfo(tz)
    except Exception:
        raise WorkbenchError(
            f"{tz!r} is not a time zone known here; use an IANA name such as 'UTC', 'Europe/Berlin' or "
            "'America/New_York'."
        ) from None


def _no_length(every: Any) -> str:
    return f"{every!r} is not a length of time; use a pandas offset such as '15min', 'h', 'D', 'W', 'MS' or '7D'."


def _spaced(starts: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Distinct starts in order and each one's place; by counting, where they are ``width`` apart in a range that is short."""
    first, last = int(starts.min()), int(starts.max())
    if (last - first) // width > 4 * len(starts) + 1024:
        return np.unique(starts, return_inverse=True)
    step = (starts - first) // width
    there = np.bincount(step) > 0
    labels = first + np.flatnonzero(there) * width
    if np.any(labels[np.cumsum(there)[step] - 1] != starts):  # windows that are not all as long
        return np.unique(starts, return_inverse=True)
    return labels, (np.cumsum(there) - 1)[step]


@lru_cache(maxsize=256)
def _offset(every: str) -> tuple[int | None, tuple[int, str]]:
    """``(width in microseconds, ...)`` for windows shorter than a day, else ``(None, (multiple, unit offset))``."""
    import pandas as pd
    from pandas.tseries import offsets as o

    offset: Any = None
    old = re.fullmatch(r"(\d*)([MQYAdw])", every)
    said = every if old is None else old[1] + {"M": "MS", "Q": "QS", "Y": "YS", "A": "YS", "d": "D", "w": "W"}[old[2]]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            offset = pd.tseries.frequencies.to_offset(said)
    except (ValueError, TypeError, AttributeError, Warning):
        offset = None
    if offset is None or offset.n < 1:
        raise WorkbenchError(_no_length(every))
    if isinstance(offset, o.Tick):
        width = pd.Timedelta(offset)
        micros, finer = divmod(width.as_unit("ns").value, 1000)
        if finer:
            raise WorkbenchError(f"{every!r} is not a whole number of microseconds, the finest window.")
        if micros % DAY == 0:
            return None, (micros // DAY, "D")
        return micros, (1, "")
    if isinstance(offset, o.MonthEnd):
        return None, (offset.n, "MS")
    month = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
    if isinstance(offset, o.QuarterEnd):
        return None, (offset.n, f"QS-{month[offset.startingMonth % 12]}")
    if isinstance(offset, o.YearEnd):
        return None, (offset.n, f"YS-{month[offset.month % 12]}")
    if isinstance(offset, o.BusinessMonthEnd | o.BQuarterEnd | o.BYearEnd | o.SemiMonthEnd):
        return None, (offset.n, f"after {offset.base.freqstr}")
    if isinstance(offset, o.Week):
        weekday = 6 if offset.weekday is None else offset.weekday
        return None, (offset.n, f"W-{WEEKDAYS[(weekday + 1) % 7]}")
    return None, (offset.n, offset.base.freqstr)


def _years(first: int, last: int) -> tuple[int, int]:
    """Years that surely hold the times, in steps that make few different answers."""
    year = 365.2425 * DAY
    low, high = int(1970 + first / year) - 2, int(1970 + last / year) + 3
    return (1901 if low > 1901 else 1), (2040 if high < 2040 else min(9999, (high // 50 + 1) * 50))


@lru_cache(maxsize=64)
def _edges(unit: str, tz: str, first_year: int, last_year: int) -> tuple[np.ndarray, int]:
    """Starts of every window of one unit in UTC microseconds, and the position of the first one from 1900 on."""

    edges = _naive(unit, "1900-01-01", f"{last_year:04}-12-31")
    zero = 0
    if first_year < 1900:
        before = _naive(unit, "0001-01-02", "1899-12-31")
        zero = len(before)
        edges = before.append(edges)
    if tz != "UTC":
        edges = edges.tz_localize(tz, nonexistent="shift_forward", ambiguous=np.ones(len(edges), bool)).tz_convert(
            "UTC"
        )
        edges = edges.tz_localize(None)
    out = edges.to_numpy().astype("datetime64[us]").view(np.int64)
    # whatever lies before the first whole window belongs to one that starts at the first day there is
    floor = np.datetime64("0001-01-01", "us").astype(np.int64)
    if first_year < 1900 and out[0] > floor:
        out, zero = np.concatenate([[floor], out]), zero + 1
    elif first_year >= 1900 and out[0] > np.datetime64("1900-01-01", "us").astype(np.int64):
        head = _naive(unit, "1895-01-01", "1899-12-31")[-1:].to_numpy().astype("datetime64[us]").view(np.int64)
        out, zero = np.concatenate([head, out]), zero + 1
    return out, zero


def _naive(unit: str, first: str, last: str) -> pd.DatetimeIndex:
    """Local starts of the windows of one unit from one day to another, both included."""
    import pandas as pd

    days = np.arange(first, np.datetime64(last, "D") + 1, dtype="datetime64[D]")
    weekday = (days.view(np.int64) + 3) % 7  # 1970 began on a Thursday
    if unit == "D":
        return pd.DatetimeIndex(days.astype("datetime64[us]"))
    if unit == "B":
        return pd.DatetimeIndex(days[weekday < 5].astype("datetime64[us]"))
    if unit.startswith("W-"):
        return pd.DatetimeIndex(days[weekday == WEEKDAYS.index(unit[2:])].astype("datetime64[us]"))
    begin, end = (pd.Timestamp(edge.astype("datetime64[us]").astype(object)).as_unit("us") for edge in days[[0, -1]])
    if not unit.startswith("after "):
        return pd.date_range(begin, end, freq=unit, unit="us")
    day = pd.Timedelta(days=1)  # an end's window stops with its day
    return pd.date_range(begin - day, end - day, freq=unit[6:], unit="us") + day
