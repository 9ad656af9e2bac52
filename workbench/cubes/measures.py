"""Measures: what a cube keeps of each column, beside its rows, missing, NaN and infinite values."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from workbench.errors import WorkbenchError, nearest


@dataclass(frozen=True)
class Moments:
    """Sum (integers exactly), mean, variance, smallest and largest of a numeric column; None: of every one."""

    column: str | None = None


@dataclass(frozen=True)
class Histogram:
    """Counts in bins made from the bits of a numeric column's values; with them its ``Moments``. None: every one.

    relative: the widest bin as a fraction of its values; 0.001 gives quantiles to 0.1 %. None: bins by mass only.
    bins: about how many bins a column may have in a cube; None: 12,288 without axes, 2,048 with axes.
    """

    column: str | None = None
    relative: float | None = None
    bins: int | None = None

    def __post_init__(self) -> None:
        if self.relative is not None and not 1e-9 <= self.relative <= 0.5:
            raise WorkbenchError(f"Histogram got relative={self.relative!r}; a fraction from 1e-9 to 0.5 is wanted.")
        if self.bins is not None and not 16 <= self.bins <= 1_000_000:
            raise WorkbenchError(f"Histogram got bins={self.bins!r}; a number from 16 to 1,000,000 is wanted.")


@dataclass(frozen=True)
class Distinct:
    """About how many different values: HyperLogLog with 2**p registers. None: every column.

    p: 4 to 16; relative standard error 1.04 / sqrt(2**p). None: 14 (0.8 %) without axes, 10 (3.3 %) with axes.
    Flajolet, Fusy, Gandouet, Meunier (2007); small ranges by linear counting. Exact where all values were kept.
    """

    column: str | None = None
    p: int | None = None

    def __post_init__(self) -> None:
        if self.p is not None and not 4 <= self.p <= 16:
            raise WorkbenchError(f"Distinct got p={self.p!r}; a whole number from 4 to 16 is wanted.")


@dataclass(frozen=True)
class Top:
    """Counts of a text column's values, exact up to 10,000 of them, then the most frequent with a bound. None: all."""

    column: str | None = None


@dataclass(frozen=True)
class CoMoments:
    """Means and cross products of every pair of some numeric columns, over the rows in which both values are there.

    columns: names, or None for every number, integer and boolean; with them their ``Moments``. Memory grows with the
    square of their number, in every cell of the cube.
    """

    columns: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if isinstance(self.columns, str):
            raise WorkbenchError(f"CoMoments got columns={self.columns!r}; a list of columns is wanted.")
        if self.columns is not None:
            object.__setattr__(self, "columns", tuple(self.columns))
            if len(set(self.columns)) < 2:
                raise WorkbenchError(f"CoMoments got columns={list(self.columns)}; two or more are wanted.")


Measure = Moments | Histogram | Distinct | Top


@dataclass(frozen=True)
class Asked:
    """What is counted of one column."""

    moments: bool = False
    histogram: bool = False
    relative: float | None = None
    bins: int | None = None
    p: int = 0
    top: bool = False
    co: bool = False


def check_measures(of: Any, kinds: dict[str, str], grouped: bool) -> dict[str, Asked]:
    """What to count of each column, or a clear error.

    of: None (everything of every column), or column names (everything of those), ... (everything) and measures.
    """
    numeric = {c for c, k in kinds.items() if k not in ("text", "other")}
    p = 10 if grouped else 14
    bins = 2_048 if grouped else 12_288
    if of is None:
        of = list(kinds)
    elif (
        isinstance(of, str | Moments | Histogram | Distinct | Top | CoMoments)
        or of is ...
        or not isinstance(of, Iterable)
    ):
        of = [of]
    out: dict[str, dict[str, Any]] = {}
    for item in (x for one in of for x in (kinds if one is ... else [one])):
        if isinstance(item, CoMoments):
            for c in _paired(item, kinds):
                out.setdefault(c, {}).update(moments=True, co=True)
            continue
        if isinstance(item, str):
            if item not in kinds:
                raise WorkbenchError(f"of= names {item!r}, which is not a column here; {nearest(item, kinds)}")
            items: list[Measure] = [Distinct(item)] if kinds[item] != "other" else []
            items += [Histogram(item)] if item in numeric else [Top(item)] if kinds[item] == "text" else []
            out.setdefault(item, {})
        elif isinstance(item, Moments | Histogram | Distinct | Top):
            items = [item]
        else:
            raise WorkbenchError(
                f"of= got {item!r}; a column's name, Moments(), Histogram(), Distinct(), Top() or CoMoments() is wanted."
            )
        for m in items:
            if isinstance(m, Moments | Histogram):
                wanted = numeric
            else:
                wanted = {c for c, k in kinds.items() if (k == "text" if isinstance(m, Top) else k != "other")}
            if m.column is not None and not isinstance(m.column, str):
                raise WorkbenchError(
                    f"{type(m).__name__}({m.column!r}): a measure wants the name of one column, or none for all that it "
                    "fits; give of= a list with a measure for each column."
                )
            if m.column is not None and m.column not in kinds:
                raise WorkbenchError(f"of= names {m.column!r}, which is not a column here; {nearest(m.column, kinds)}")
            if m.column is not None and m.column not in wanted:
                raise WorkbenchError(
                    f"{type(m).__name__}({m.column!r}) cannot be counted: the column is {kinds[m.column]}; "
                    f"columns that can: {', '.join(sorted(wanted)) or 'none'}."
                )
            for c in [m.column] if m.column is not None else [c for c in kinds if c in wanted]:
                asked = out.setdefault(c, {})
                if isinstance(m, Histogram):
                    relative = m.relative or asked.get("relative")
                    asked.update(moments=True, histogram=True, relative=relative, bins=m.bins or asked.get("bins"))
                elif isinstance(m, Moments):
                    asked.update(moments=True)
                elif isinstance(m, Distinct):
                    asked.update(p=m.p or asked.get("p"), distinct=True)
                else:
                    asked.update(top=True)
    return {c: _filled(out[c], p, bins) for c in kinds if c in out}


def _paired(item: CoMoments, kinds: dict[str, str]) -> list[str]:
    """The columns that co-moments are counted of."""
    fit = [c for c, k in kinds.items() if k in ("number", "integer", "boolean")]
    for c in item.columns or ():
        if c not in kinds:
            raise WorkbenchError(f"of= names {c!r}, which is not a column here; {nearest(c, kinds)}")
        if c not in fit:
            raise WorkbenchError(
                f"CoMoments cannot be counted of {c!r}: the column is {kinds[c]}; columns that can: "
                f"{', '.join(fit) or 'none'}."
            )
    if item.columns is None and len(fit) < 2:
        raise WorkbenchError(f"CoMoments() wants two numeric columns or more; this table has {len(fit)}.")
    return list(item.columns or fit)


def _filled(asked: dict[str, Any], p: int, bins: int) -> Asked:
    """What is asked of a column, defaults in the place of what nobody named."""
    counted = {k: v for k, v in asked.items() if k != "distinct"}
    if asked.get("distinct"):
        counted["p"] = asked.get("p") or p
    if asked.get("histogram"):
        counted["bins"] = asked.get("bins") or bins
    return Asked(**counted)
