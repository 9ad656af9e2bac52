"""What a notebook calls: `begin` opens the door for its parameters and gives back the `Run` it reports to.

One notebook has three readers, and `begin` finds out which one is there:

- JupyterLab or plain papermill: it counts, shows, and writes nothing but itself;
- `workbench run` (environment WORKBENCH_RUN names the run's folder): it counts, and leaves cube, results and headlines
  there;
- a Panel session: it opens what the last good run left and never counts.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.errors import WorkbenchError, nearest
from workbench.runs import parameters as door
from workbench.runs.notebooks import notebook_hash, read_cells
from workbench.runs.records import (
    Record,
    latest_good,
    list_runs,
    now,
    plain,
    plain_name,
    read_record,
    runs_dir,
    without_secrets,
    write_json,
    write_whole,
)
from workbench.runs.secrets import is_reference, reveal, scrub

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

    from workbench.tables import Table

KERNEL_FILE = ".kernel.json"  # what the kernel has told so far; `execute` makes it part of run.json
PAGE_ARGUMENTS = ("theme",)  # asked of the page, not of the notebook; bokeh-* likewise
LONGEST = 200  # characters of a value in a URL


class NoStoredRun(WorkbenchError):  # noqa: N818  (a state of a page that is told, less an error than an answer)
    """A session was asked for a notebook that has no good run; `command` is what makes one."""

    def __init__(self, message: str, notebook: str, command: str) -> None:
        super().__init__(message)
        self.notebook = notebook
        self.command = command


@dataclass(frozen=True)
class StoredTable:
    """What a session knows of the table a run has read: its address and version, no rows."""

    source: str
    version: str
    rows: int | None = None


class Run:
    """What a notebook knows of its run and reports to it. Made by `begin`."""

    def __init__(
        self,
        notebook: str,
        parameters: dict[str, Any],
        *,
        folder: Path | None = None,
        stored: Record | None = None,
        live: Mapping[str, Any] | None = None,
        notices: Sequence[str] = (),
    ) -> None:
        self.notebook = notebook
        self.parameters = parameters
        self.folder = folder
        self.record = stored
        self.stored: Path | None = stored.folder if stored else None
        self.serving = stored is not None
        self.live = dict(live or {})
        self.started = stored.started if stored else now()
        self.cubes: dict[str, xr.Dataset] = {}  # that it has counted
        self.headlines: list[dict[str, Any]] = []
        self.sources: list[dict[str, Any]] = []
        self.schemas: dict[str, dict[str, str]] = {}  # kinds of the columns of each source
        self.outputs: list[dict[str, Any]] = []  # versions of tables that the run wrote
        self.notices = list(notices)
        self.chosen: dict[str, str] = {}
        self.asked = parameters
        self._save()

    def cube(self, count: Callable[[], xr.Dataset], name: str = "cube") -> xr.Dataset:
        """The cube of this run. `count` makes it, except in a session, which opens the stored one and never counts.

        In a run's folder it is saved as `<name>.nc`. Raises WorkbenchError when the stored run has no such cube.
        """
        if self.stored is not None:
            from workbench.cubes import open_cube

            path = self.stored / f"{name}.nc"
            if not path.is_file():
                which = f"The run {plain_name(self.stored)} of {self.notebook!r}"
                raise WorkbenchError(f"{which} has no cube {name!r}; run the notebook again.")
            return open_cube(path)
        counted = count()
        counted = counted.assign_attrs(scrub(dict(counted.attrs)))
        self.cubes[name] = counted
        if self.folder is not None:
            from workbench.cubes import save_cube

            save_cube(counted, self.folder / f"{name}.nc")
        return counted

    def table(self, path: str | Path, opener: Any = None, *, time: str = "", **options: Any) -> Table | StoredTable:
        """The table at an address, as `open_table` opens it; in a session only what the stored run says of it.

        opener: another function from address to something with source, version and rows, as `usage_records.seen`. time: a
        column that is read as a time where it is text, which is told in `notices`. In a session an address that the
        stored run did not read is told there too.
        """
        if self.stored is None:
            from workbench import open_table

            table = (opener or open_table)(reveal(path), **options)
            text = bool(time) and getattr(table, "kinds", {}).get(time) == "text"
            if text:
                table = open_table(reveal(path), **{**options, "types": {**options.get("types", {}), time: "time"}})
            self.source(table, str(path) if is_reference(path) else "", time if text else "")
            return table
        read = (self.record.told.get("sources") if self.record else None) or []
        wanted = without_secrets(str(path))
        for one in read:
            if one["source"] == wanted:
                self._as_time(one)
                return StoredTable(one["source"], one["version"], one.get("rows"))
        known = ", ".join(repr(one["source"]) for one in read) or "no table"
        self.notice(f"This page asks for the table {wanted!r}, but the stored run has read {known}.")
        first = read[0] if read else {"source": wanted, "version": ""}
        return StoredTable(first["source"], first["version"], first.get("rows"))

    def choose(
        self, path: str | Path, time: str, by: str, likely: Sequence[str] = ("model", "region")
    ) -> tuple[str, str]:
        """The event-time column and the category columns of a table, where a notebook was asked for "auto".

        time: "auto" is the only time column, or among several the one called time, timestamp, date or created (any
            case); "" where there is none. by: "auto" is those of ``likely`` that the table has as text or dictionary.
        Anything else comes back as it is. What was chosen is recorded beside the parameters, in ``chosen``.

        Raises WorkbenchError when a table has several time columns and none of those names.
        """
        if "auto" not in (time, by):
            return time, by
        if self.stored is not None:
            known = (self.record.told.get("chosen") if self.record else None) or {}
            found = {"time": known.get("time", ""), "by": known.get("by", "")}
        else:
            from workbench import open_table

            found = _suited(open_table(reveal(path)).kinds, likely, time)
        chosen = {n: found[n] for n, given in (("time", time), ("by", by)) if given == "auto"}
        self.chosen.update(chosen)
        self.asked = dict(self.parameters)
        self.parameters = {**self.parameters, **chosen}
        self._save()
        return chosen.get("time", time), chosen.get("by", by)

    def source(self, table: Any, address: str = "", as_time: str = "") -> None:
        """Records which table was read: its address and version. The first one is the run's `source`.

        as_time: the column of text that was read as a time.
        """
        told = {
            "source": address or without_secrets(str(table.source)),
            "version": str(table.version),
            "rows": getattr(table, "rows", None),
        }
        if getattr(table, "snapshot", None) is not None:
            told["snapshot"] = table.snapshot  # a version that a run has read is not vacuumed
        if as_time:
            told["as_time"] = as_time
            self._as_time(told)
        if told not in self.sources:
            self.sources.append(told)
        if getattr(table, "kinds", None):
            self.schemas[str(told["source"])] = dict(table.kinds)
        self._save()

    def _as_time(self, source: Mapping[str, Any]) -> None:
        if source.get("as_time"):
            place = str(source["source"]).rstrip("/").rsplit("/", 1)[-1]
            self.notice(
                f"{source['as_time']} is text in {place} and was read as a time, in UTC where it names no zone."
            )

    def wrote(self, table: Any, version: int | str = "", rows: int | None = None) -> None:
        """Records that this run wrote a version of a table: an output in run.json and in the lineage.

        table: its address, or the opened table, which knows its version, rows and columns.
        """
        told = {"source": without_secrets(str(table)), "version": str(version), "rows": rows}
        if hasattr(table, "snapshot"):
            told = {"source": without_secrets(str(table.source)), "version": str(table.snapshot), "rows": table.rows}
            told["schema"] = dict(table.kinds)
        if told not in self.outputs:
            self.outputs.append(told)
        self._save()

    def headline(self, name: str, value: Any, unit: str = "", good: bool | None = None, note: str = "") -> Any:
        """Records a headline figure and gives `value` back; a name told again replaces the earlier figure.

        `value` is a number, a text or None; NaN is kept as None. `good` says whether the figure is as it should be.
        """
        value = plain(value)
        if isinstance(value, (list, dict)):
            raise WorkbenchError(f"Headline {name!r} is a {type(value).__name__}; wanted one number, one text or None.")
        told: dict[str, Any] = {"name": name, "value": value, "unit": unit}
        if good is not None:
            told["good"] = bool(good)
        if note:
            told["note"] = note
        names = [one["name"] for one in self.headlines]
        if name in names:
            self.headlines[names.index(name)] = told
        else:
            self.headlines.append(told)
        self._save()
        return value

    def result(self, name: str, frame: pd.DataFrame) -> pd.DataFrame:
        """Leaves a tidy frame as `results/<name>.parquet` in a run's folder (nowhere else) and gives it back."""
        frame = scrub(frame)
        if self.folder is not None:
            (self.folder / "results").mkdir(exist_ok=True)
            write_whole(self.folder / "results" / f"{name}.parquet", lambda aside: frame.to_parquet(aside, index=False))
        return frame

    def frame(self, name: str, make: Callable[[], pd.DataFrame]) -> pd.DataFrame:
        """The small table `name` of this run: what `make` gives, left as a result; in a session the one that was left.

        Raises WorkbenchError when the stored run has no such result.
        """
        if self.stored is None:
            return self.result(name, make())
        import pandas as pd

        path = self.stored / "results" / f"{name}.parquet"
        if not path.is_file():
            which = f"The run {plain_name(self.stored)} of {self.notebook!r}"
            raise WorkbenchError(f"{which} has no result {name!r}; run the notebook again.")
        return pd.read_parquet(path)

    def notice(self, sentence: str) -> None:
        """Tells the reader of the page something about these results that they must know."""
        if sentence not in self.notices:
            self.notices.append(sentence)
            logging.getLogger("workbench").warning("%s: %s", self.notebook, sentence)

    def __repr__(self) -> str:
        where = self.stored or self.folder or "nowhere: results stay in the notebook"
        return f"Run of {self.notebook!r}, {'opened from' if self.serving else 'written to'} {where}"

    def _save(self) -> None:
        if self.folder is not None and self.stored is None:
            told = {"parameters": without_secrets(self.asked), "sources": self.sources, "headline": self.headlines}
            for name in ("chosen", "schemas", "outputs"):
                if getattr(self, name):
                    told[name] = getattr(self, name)
            write_json(self.folder / KERNEL_FILE, told, flush=False)


def _suited(kinds: Mapping[str, str], likely: Sequence[str], time: str) -> dict[str, str]:
    """The time column and the categories of a table, from its columns' kinds."""
    times = [column for column, kind in kinds.items() if kind == "time"]
    named = [c for word in ("time", "timestamp", "date", "created") for c in times if c.lower() == word]
    if len(times) > 1 and not named and time == "auto":
        raise WorkbenchError(
            f"The table has several time columns ({', '.join(times)}): say which one the windows follow, as in "
            f"-p time {times[0]}, or -p time '' for none."
        )
    by = [column for column in likely if kinds.get(column) == "text"]
    return {"time": (named or times or [""])[0], "by": ",".join(by)}


def secret(value: str) -> str:
    """The value that a parameter like `secret:env:NAME` or `secret:file:PATH` refers to; another text as it is.

    From here on the kernel shows the reference wherever the value would be shown: printed, displayed, raised, in results
    and records. A page that is served needs no secret: there the reference itself comes back. Raises WorkbenchError, which
    names the reference, where there is no such secret.

    >>> secret("no secret")
    'no secret'
    """
    return value if _session() is not None else str(reveal(value))


def begin(
    notebook: str,
    namespace: dict[str, Any],
    *,
    live: Mapping[str, tuple[float, float] | None] | None = None,
    choices: Mapping[str, Sequence[Any]] | None = None,
) -> Run:
    """The run that a notebook reports to, after its parameters came in, were checked and bound in `namespace`.

    Call it once, right after the parameters cell: `run = wb.begin("quality", globals())`. The order of the door is
    tagged cell < papermill < environment WORKBENCH_<NAME> < URL, the last only for the names in `live`, each with its
    range (low, high), both ends allowed, or None where `choices` lists the values. In a session the values are those of
    the stored run, then, for live names, the environment and the URL.

    Raises WorkbenchError for a wrong parameter (naming it, its value, where it came from, type and range) and
    NoStoredRun in a session of a notebook that has no good run.
    """
    bounds = door.Limits(dict(live or {}), dict(choices or {}))
    session = _session()
    file = str(namespace.get("__file__", "")) if session is not None else ""
    known = _declared(namespace, file)
    _fit(known, bounds)
    if session is None:
        values = {
            n: door.check(p, namespace.get(n), "the notebook's cells or papermill", bounds) for n, p in known.items()
        }
        for name, value in door.from_environment(known, os.environ).items():
            values[name] = door.check(known[name], value, f"the environment (WORKBENCH_{name.upper()})", bounds)
        namespace.update(values)
        folder = os.environ.get("WORKBENCH_RUN")
        return Run(notebook, values, folder=Path(folder) if folder else None, live=bounds.live)
    try:
        return _open(notebook, namespace, known, bounds, session, file)
    except WorkbenchError as error:
        _tell_page(str(error))
        raise


def _open(
    notebook: str,
    namespace: dict[str, Any],
    known: Mapping[str, door.Parameter],
    bounds: door.Limits,
    session: Mapping[str, list[bytes]],
    file: str,
) -> Run:
    """The run that a session opens: the stored one, with what environment and URL may change."""
    record = _stored(notebook, file)
    values, notices = _stored_values(known, record, namespace, bounds)
    lively = {name: parameter for name, parameter in known.items() if name in bounds.live}
    for name, value in door.from_environment(lively, os.environ).items():
        values[name] = door.check(known[name], value, f"the environment (WORKBENCH_{name.upper()})", bounds)
    values.update(_from_url(known, session, bounds))
    namespace.update(values)
    notices += _changed(file, record)
    return Run(notebook, values, stored=record, live=bounds.live, notices=notices)


def _declared(namespace: dict[str, Any], file: str) -> dict[str, door.Parameter]:
    """What the notebook declares: read from its file in a session, from the cells that ran in a kernel, else from the
    annotations of the module that calls."""
    if file.endswith(".ipynb") and Path(file).is_file():
        return door.declared(file)
    found: dict[str, door.Parameter] = {}
    for source in namespace.get("In") or []:
        try:
            found.update(door.annotated(source))
        except WorkbenchError as error:
            if not found and not isinstance(error.__cause__, SyntaxError):
                raise  # the first annotated cell is the parameters cell; a cell with a %magic declares nothing
    notes = namespace.get("__annotations__") or {}
    if not found:
        for name, note in notes.items():
            shown = note if isinstance(note, str) else getattr(note, "__name__", str(note))
            found[name] = door.Parameter(name, shown, door.kind_of(shown, name), "", None, "")
    return {name: parameter for name, parameter in found.items() if name in namespace}


def _fit(known: Mapping[str, door.Parameter], bounds: door.Limits) -> None:
    for name in [*bounds.live, *bounds.choices]:
        if name not in known:
            hint = nearest(name, known)
            raise WorkbenchError(
                f"begin() limits {name!r}, which the parameters cell does not declare with a type; {hint}"
            )
    for name, span in bounds.live.items():
        if name not in bounds.choices and (span is None or known[name].kind.base not in ("int", "float")):
            raise WorkbenchError(
                f"Live parameter {name!r} needs a range (low, high) of numbers, or its values in `choices`."
            )


def _session() -> Mapping[str, list[bytes]] | None:
    """The URL's arguments when a Panel or Bokeh server runs this notebook, None in a kernel or a script."""
    if "bokeh.io.doc" not in sys.modules:
        return None
    shell = sys.modules.get("IPython")
    if shell is not None and shell.get_ipython() is not None:
        return None
    if "panel.io.state" in sys.modules:
        from panel.io.state import state

        document = state.curdoc
    else:
        from bokeh.io import curdoc

        document = curdoc()
    context: Any = document.session_context if document is not None else None
    if context is None:
        return None
    arguments: Mapping[str, list[bytes]] = getattr(context.request, "arguments", None) or {}
    return arguments


def _tell_page(sentence: str) -> None:
    """Puts a sentence on the page of this session, which would stay empty: Panel only logs what a notebook raises."""
    if "panel" in sys.modules:
        from html import escape

        from panel.pane import HTML

        HTML(f"<p role='alert'>{escape(sentence)}</p>", css_classes=["workbench-refused"]).servable()


def _stored(notebook: str, file: str) -> Record:
    path = Path(file)
    if (path.parent / "run.json").is_file():
        record = read_record(path.parent)  # a run's own copy is served: it shows that run
        if record.status == "good":
            return record
    runs = runs_dir()
    names = list(dict.fromkeys([path.stem, notebook] if file else [notebook]))
    for name in names:
        record_or_none = latest_good(runs, name)
        if record_or_none is not None:
            return record_or_none
    asked = os.environ.get("WORKBENCH_RUNS")
    command = f"workbench run {file or notebook}" + (f" --runs {asked}" if asked else "")
    failed = next((record for name in names for record in list_runs(runs, name)), None)
    last = f" Its last run, {failed.folder.name}, failed." if failed else ""
    raise NoStoredRun(
        f"There is no good run of {notebook!r} under {str(runs)!r} yet.{last} To make one: {command}", notebook, command
    )


def _stored_values(
    known: Mapping[str, door.Parameter], record: Record, namespace: dict[str, Any], bounds: door.Limits
) -> tuple[dict[str, Any], list[str]]:
    values, notices = {}, []
    for name, parameter in known.items():
        value = record.parameters.get(name, namespace[name])
        values[name] = door.check(parameter, value, f"the stored run {record.folder.name}", bounds)
        if name not in record.parameters:
            notices.append(
                f"The parameter {name!r} was added to the notebook after this run; the page uses {namespace[name]!r}."
            )
    return values, notices


def _from_url(
    known: Mapping[str, door.Parameter], arguments: Mapping[str, list[bytes]], bounds: door.Limits
) -> dict[str, Any]:
    found = {}
    for name, given in arguments.items():
        if name.startswith("bokeh-") or name in PAGE_ARGUMENTS:
            continue
        if name not in bounds.live:
            live = ", ".join(bounds.live) or "none"
            what = "is fixed by the run and" if name in known else "is no parameter of this page and"
            raise WorkbenchError(f"{name[:40]!r} {what} cannot be set in the address; what can be set there: {live}.")
        if len(given) != 1 or len(given[0]) > LONGEST:
            raise WorkbenchError(
                f"Parameter {name!r} wants one value in the address, at most {LONGEST} characters; {len(given)} came."
            )
        try:
            text = given[0].decode("utf-8")
        except UnicodeDecodeError:
            raise WorkbenchError(f"Parameter {name!r} in the address is not UTF-8 text.") from None
        found[name] = door.check(
            known[name], door.parse(known[name], text, "the address", bounds), "the address", bounds
        )
    return found


def _changed(file: str, record: Record) -> list[str]:
    told = record.told.get("notebook_hash")
    if not told or not Path(file).is_file() or notebook_hash(read_cells(file)) == told:
        return []
    return ["The notebook has been changed since this run; the page shows the run's results."]
