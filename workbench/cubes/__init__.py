"""Cubes: axes, measures, the pass, and what may be done with its result."""

from __future__ import annotations

from workbench.cubes.algebra import add, collapse, select
from workbench.cubes.axes import Bins, Category, Period
from workbench.cubes.increments import open_store
from workbench.cubes.measures import CoMoments, Distinct, Histogram, Moments, Top
from workbench.cubes.readers import (
    categories,
    cell_names,
    distinct,
    histogram,
    profile,
    quantile,
    rank_error,
    std,
    top_values,
    totals,
    variance,
)
from workbench.cubes.scan import cube
from workbench.cubes.store import open_cube, save_cube

__all__ = [
    "Bins",
    "Category",
    "CoMoments",
    "Distinct",
    "Histogram",
    "Moments",
    "Period",
    "Top",
    "add",
    "categories",
    "cell_names",
    "collapse",
    "cube",
    "distinct",
    "histogram",
    "open_cube",
    "open_store",
    "profile",
    "quantile",
    "rank_error",
    "save_cube",
    "select",
    "std",
    "top_values",
    "totals",
    "variance",
]
