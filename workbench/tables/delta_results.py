"""Results of a run as versions of Delta tables, one a result, so that SQL reads all runs of a notebook at once."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike, fspath

import pandas as pd
import pyarrow as pa


def keep(folder: str | PathLike[str], frames: Mapping[str, pd.DataFrame], run: str) -> dict[str, int]:
    """Appends each frame to the table folder/<name>, with the run's name in the column `run`; gives the new versions.

    folder: a folder or address; "" writes nothing. A column that a later run adds is added to the table. A run whose rows are
    there already is left as it is (its version is -1).

    Raises WorkbenchError where the package deltalake is missing or a table cannot be written.

    >>> import tempfile
    >>> folder = tempfile.mkdtemp()
    >>> rows = pd.DataFrame({"column": ["ms"], "value": [0.2]})
    >>> keep(folder, {"drift": rows}, "drift/20260302"), keep(folder, {"drift": rows}, "drift/20260302")
    ({'drift': 1}, {'drift': -1})
    """
    if not fspath(folder):
        return {}
    from workbench.tables.delta import write
    from workbench.tables.delta_log import home, library

    deltalake, told = library(), {}
    for name, frame in frames.items():
        at = f"{fspath(folder).rstrip('/')}/{name}"
        table = pa.Table.from_pandas(frame, preserve_index=False)
        for place, one in enumerate(table.schema):
            if pa.types.is_null(one.type):
                table = table.set_column(place, one.name, table.column(place).cast(pa.string()))
        table = table.append_column("run", pa.array([run] * len(frame), pa.string()))
        if home(at).exists():
            known = deltalake.DeltaTable(at).to_pyarrow_dataset()
            if known.count_rows(filter=pa.compute.field("run") == run):
                told[name] = -1
                continue
        told[name] = write(at, table, evolve="*", told={"run": run}).version
    return told
