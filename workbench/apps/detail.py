"""One run in full: what it was asked, what it read, how long each cell took, what it printed, and the executed notebook."""

from __future__ import annotations

from workbench.apps import shell, site
from workbench.apps.report import cells_of
from workbench.apps.shell import Json
from workbench.apps.site import Site
from workbench.errors import WorkbenchError
from workbench.runs.notebooks import read_cells
from workbench.runs.records import Record

CODE = 60  # characters of a cell's first line
PRINTED = 40_000  # characters of the log on the page; the notebook has them all


def detail_page(within: Site, notebook: str, run: str, leaf: str = "") -> str:
    """The page of a run's details. Raises WorkbenchError for names that no folder has."""
    record = within.find(notebook, run)
    told = record.told
    cells, pictures, problem = _cells(record)
    needed = shell.scripts(_scripts(pictures)) if pictures else []
    return site.render(
        "detail.html",
        3,
        leaf,
        notebook=notebook,
        title=site.about(within, notebook)[0] or notebook,
        state=shell.state_of({**told, "status": record.status, "error": record.error}),
        record=record,
        told=told,
        run=record.folder.name,
        here="detail",
        facts=site.facts(record, {}),
        links=site.links_of(within, record, "../../../", leaf),
        parameters=_parameters(record),
        times=_times(told, cells),
        printed=_printed(cells),
        cells=cells,
        problem=problem,
        notebook_pictures=shell.inline_json(pictures) if pictures else "",
        scripts=needed,
    )


def _cells(record: Record) -> tuple[list[Json], Json, str]:
    path = record.folder / "notebook.ipynb"
    try:
        cells, pictures = cells_of(read_cells(path), html=False)
        return cells, pictures, ""
    except (WorkbenchError, OSError) as error:
        return [], {}, str(error)


def _scripts(pictures: Json) -> set[str]:
    from workbench.apps.snapshot import libraries

    return libraries(pictures) - {"panel"}


def _parameters(record: Record) -> list[Json]:
    """Every parameter with its value, the words beside it in the notebook and whether it is the notebook's own."""
    from workbench.runs.parameters import declared

    try:
        known = declared(record.folder / "notebook.ipynb")
    except (WorkbenchError, OSError):
        known = {}
    found = []
    for name, value in record.parameters.items():
        own = known.get(name)
        changed = own is not None and own.default != value
        default = shell.parameter(own.default) if own is not None and changed else ""
        help_ = own.help if own is not None else ""
        found.append(
            {"name": name, "value": shell.parameter(value), "help": help_, "default": default, "changed": changed}
        )
    return sorted(found, key=lambda one: not one["changed"])


def _times(told: Json, cells: list[Json]) -> list[Json]:
    """The cells that were executed: number, first line, seconds, share of the longest, state."""
    timed = [one for one in told.get("cells") or [] if isinstance(one.get("seconds"), (int, float))]
    longest = max((one["seconds"] for one in timed), default=0) or 1
    found = []
    for one in timed:
        number = one.get("cell")
        source = cells[number].get("source", "") if isinstance(number, int) and 0 <= number < len(cells) else ""
        first = next((row.strip() for row in source.split("\n") if row.strip()), "")
        state = {"good": ("Good", "good"), "failed": ("Failed", "bad")}.get(
            str(one.get("status")), (str(one.get("status")), "")
        )
        found.append({"cell": number, "code": first[:CODE], "seconds": one["seconds"], "share": 100 * one["seconds"] / longest,
                      "word": state[0], "colour": state[1]})  # fmt: skip
    return found


def _printed(cells: list[Json]) -> list[Json]:
    """What cells printed and the errors they ended with, in order."""
    found, left = [], PRINTED
    for number, cell in enumerate(cells):
        for output in cell.get("outputs") or []:
            if output["kind"] in ("text", "error") and output.get("printed", True) and output["text"].strip():
                text = output["text"][: max(0, left)]
                left -= len(text)
                if text:
                    found.append({"cell": number, "text": text, "wrong": output["kind"] == "error"})
    return found
