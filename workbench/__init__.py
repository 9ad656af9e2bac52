"""workbench: tables in, cubes out, and cubes add."""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOME = {
    "WorkbenchError": "errors",
    "open_table": "tables",
    "cluster": "clusters",
    "cube": "cubes",
    "add": "cubes",
    "select": "cubes",
    "collapse": "cubes",
    "quantile": "cubes",
    "histogram": "cubes",
    "categories": "cubes",
    "distinct": "cubes",
    "std": "cubes",
    "rank_error": "cubes",
    "profile": "cubes",
    "top_values": "cubes",
    "save_cube": "cubes",
    "open_store": "cubes",
    "open_cube": "cubes",
    "Category": "cubes",
    "Period": "cubes",
    "Bins": "cubes",
    "Moments": "cubes",
    "Histogram": "cubes",
    "Distinct": "cubes",
    "Top": "cubes",
    "begin": "apps.door",
    "NoStoredRun": "runs.context",
    "secret": "runs.context",
    "page": "apps.page",
}
_ROOMS = ("analyses", "examples", "views")

__all__ = [*_HOME, *_ROOMS]


def __getattr__(name: str) -> Any:
    from workbench.interrupts import heard

    with heard():
        if name in _HOME:
            return getattr(import_module(f"workbench.{_HOME[name]}"), name)
        if name in _ROOMS:
            return import_module(f"workbench.{name}")
    from workbench.errors import nearest

    raise AttributeError(f"workbench has no {name!r}; {nearest(name, __all__)}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
