"""The command `workbench export`: a run as one file, or the whole site as a folder."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from workbench.errors import WorkbenchError


def add(commands: Any) -> None:
    """Adds `export` to the commands of the command line."""
    parser = commands.add_parser(
        "export",
        help="write a run as one HTML file, or the whole site as a folder",
        description="Writes a run as one HTML file that opens without a network, or (--site) index, runs, histories and "
        "comparisons as a folder that any web server can offer. The last printed line is what was written.",
    )
    parser.add_argument("run", nargs="?", help="a run folder, NOTEBOOK/TIME, or NOTEBOOK for its newest run")
    parser.add_argument("file", nargs="?", type=Path, help="the file to write, as in page.html")
    parser.add_argument("--site", type=Path, metavar="DIR", help="write the whole site into this folder instead")
    parser.add_argument(
        "--latest",
        type=int,
        default=10,
        metavar="COUNT",
        help="of the site: newest runs of each notebook (default: 10)",
    )
    parser.add_argument(
        "--notebooks", type=Path, metavar="DIR", help="of the site: folder of the notebooks (default: the shipped ones)"
    )
    parser.add_argument(
        "--runs", type=Path, metavar="DIR", help="folder of runs (default: WORKBENCH_RUNS, else ./runs)"
    )
    parser.set_defaults(command=_export)


def _export(options: argparse.Namespace) -> int:
    from workbench.runs.records import find_run, runs_dir

    if (options.site is None) == (options.run is None) or (options.run is not None and options.file is None):
        raise WorkbenchError("Export wants a run and a file (workbench export quality page.html) or --site DIR.")
    if options.latest < 1:
        raise WorkbenchError(f"--latest {options.latest} leaves no run; give 1 or more.")
    from workbench.apps.export import export_run, export_site
    from workbench.resources import notebooks_folder

    runs = runs_dir(options.runs)
    if options.site is None:
        written = export_run(find_run(runs, options.run), options.file)
    else:
        books = options.notebooks or notebooks_folder()
        written = export_site(runs, books, options.site, latest=options.latest)
    sys.stdout.write(f"{written}\n")
    return 0
