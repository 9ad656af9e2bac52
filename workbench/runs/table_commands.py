"""The commands of tables with versions: `workbench collect | quarantine | versions | rollback | vacuum | lineage`."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.errors import WorkbenchError

if TYPE_CHECKING:
    from workbench.tables.collect import Collected

GOOD, FAILED = 0, 1


def add(commands: Any) -> None:
    """Adds the commands of tables with versions."""
    collect = commands.add_parser(
        "collect",
        help="take new files, or rows of a SQL table, into a table with versions",
        description="Takes what is new under the sources into TABLE, each row exactly once by content and position, in "
        "commits that hold rows and the record of them. Run it again at any time. What cannot be taken is set aside: see "
        "`workbench quarantine`. Exit code 1 where something was set aside by this command.",
    )
    collect.add_argument(
        "sources",
        nargs="+",
        help="folders, patterns, files, fsspec addresses; with --sql one database; or secret:env:NAME for one of them",
    )
    collect.add_argument("table", help="folder or address of the table; made where there is none")
    collect.add_argument("--time", default="", metavar="COLUMN", help="order rows of a row group by this column")
    collect.add_argument(
        "--type", dest="types", nargs=2, action="append", default=[], metavar=("COLUMN", "KIND"),
        help="kind of a column of a new table (integer, number, time, boolean, text); may be repeated",
    )  # fmt: skip
    _taking(collect)
    collect.add_argument("--settle", type=float, default=5.0, metavar="SECONDS",
                         help="a file that did not change for so long is finished (default: 5)")  # fmt: skip
    collect.add_argument("--watch", type=float, metavar="SECONDS", help="go on, looking again after so many seconds")
    collect.add_argument("--sql", metavar="NAME", help="the source is a database's address, and this its table")
    collect.add_argument("--watermark", metavar="COLUMN", help="of a SQL table: the column that only grows")
    collect.add_argument(
        "--key", default="", metavar="COLUMNS", help="of a SQL table: what tells rows apart, comma-separated"
    )
    collect.add_argument(
        "--lag", type=float, default=0.0, help="of a SQL table: how far behind rows may come (default: 0)"
    )
    _runs(collect)
    collect.set_defaults(command=_collect)

    quarantine = commands.add_parser(
        "quarantine",
        help="list, show, replay or drop what was set aside",
        description="What was set aside from a table.",
    )
    parts = quarantine.add_subparsers(title="commands", metavar="COMMAND", required=True)
    listed = _part(parts, "list", _list, "list what was set aside, with reason, count and place")
    listed.add_argument("--all", action="store_true", help="what was replayed or dropped too")
    listed.add_argument("--json", action="store_true", help="print one entry a line")
    shown = _part(parts, "show", _show, "print what was set aside and the file that holds it, to be mended there")
    shown.add_argument("id", help="number of the entry")
    replay = _part(parts, "replay", _replay, "take what was set aside, mended or with other options")
    replay.add_argument("ids", nargs="*", help="numbers of the entries (default: all that are open)")
    _taking(replay)
    drop = _part(parts, "drop", _drop, "settle what was set aside without taking it")
    drop.add_argument("ids", nargs="+", help="numbers of the entries")

    versions = commands.add_parser(
        "versions",
        help="list the versions of a table, compare two, or label one",
        description="Lists the versions of a table, newest first; with --between the difference of two.",
    )
    versions.add_argument("table", help="folder or address of the table")
    versions.add_argument("-n", type=int, default=20, metavar="COUNT", help="how many (default: 20)")
    versions.add_argument("--between", nargs=2, metavar=("OLD", "NEW"), help="tell what differs between two versions")
    versions.add_argument("--key", default="", metavar="COLUMNS", help="of rows to compare, comma-separated")
    versions.add_argument("--label", nargs=2, metavar=("VERSION", "LABEL"), help="name a version, as in approved")
    versions.add_argument("--by", default="", help="who gives the label")
    versions.add_argument("--json", action="store_true", help="print one version a line")
    versions.set_defaults(command=_versions)

    rollback = commands.add_parser(
        "rollback",
        help="make an earlier version of a table the newest",
        description="Makes the rows of an earlier version the newest version. What was collected since goes to the "
        "quarantine, from where a replay takes it again.",
    )
    rollback.add_argument("table", help="folder or address of the table")
    rollback.add_argument("version", help="number or label of the version")
    rollback.add_argument(
        "--again", action="store_true", help="let the next collection take again what was taken since"
    )
    rollback.set_defaults(command=_rollback)

    vacuum = commands.add_parser(
        "vacuum",
        help="join small files and delete those that no version needs",
        description="Joins small files of a table and deletes files of old versions, but of none that is labelled, or that "
        "a run or a cube refers to.",
    )
    vacuum.add_argument("table", help="folder or address of the table")
    vacuum.add_argument("--hours", type=float, default=168.0, help="keep versions younger than this (default: 168)")
    vacuum.add_argument("--no-compact", action="store_true", help="only delete")
    vacuum.add_argument("--yes", action="store_true", help="delete; without it, only say what would be deleted")
    _runs(vacuum)
    vacuum.set_defaults(command=_vacuum)

    lineage = commands.add_parser(
        "lineage",
        help="draw what made a table and what it feeds",
        description="Draws what made a table and what it feeds, from the OpenLineage events of runs and collections.",
    )
    lineage.add_argument("table", help="folder or address of the table")
    lineage.add_argument(
        "--file", type=Path, help="file of the events (default: WORKBENCH_LINEAGE, else in the runs' folder)"
    )
    _runs(lineage)
    lineage.set_defaults(command=_lineage)


def _part(parts: Any, name: str, command: Any, words: str) -> argparse.ArgumentParser:
    part: argparse.ArgumentParser = parts.add_parser(name, help=words, description=f"{words[0].upper()}{words[1:]}.")
    part.add_argument("table", help="folder or address of the table")
    part.set_defaults(command=command)
    return part


def _taking(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--evolve", action="append", default=[], metavar="COLUMN", help="a column that may be new; * for any"
    )
    parser.add_argument("--lacking", default="aside", help="files that lack a column: aside (default) or null")
    parser.add_argument("--encoding", help="of text that is no UTF-8, as in cp1252")
    parser.add_argument(
        "--rewritten", default="aside", help="files with other content than was taken: aside (default) or take"
    )


def _runs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--runs", type=Path, metavar="DIR", help="folder of runs (default: WORKBENCH_RUNS, else ./runs)"
    )


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _collect(options: argparse.Namespace) -> int:
    if options.sql and (len(options.sources) > 1 or not options.watermark):
        raise WorkbenchError("--sql takes one database and --watermark COLUMN")
    code = GOOD
    while True:
        began = _now()
        try:
            done = _collect_sql(options) if options.sql else _collect_files(options)
        except WorkbenchError as error:
            _event(options, None, began, str(error))
            raise
        if done.versions or options.watch is None:
            code = max(code, _told(done))
            _event(options, done, began)
        if options.watch is None:
            return code
        try:
            time.sleep(max(options.watch, 0.1))
        except KeyboardInterrupt:
            return code


def _collect_files(options: argparse.Namespace) -> Collected:
    from workbench.runs.secrets import reveal
    from workbench.tables.collect import collect

    return collect(
        [reveal(one) for one in options.sources], options.table, time=options.time, types=dict(options.types),
        evolve=options.evolve,
        lacking=options.lacking, settle=options.settle, encoding=options.encoding, rewritten=options.rewritten, say=_say,
    )  # fmt: skip


def _collect_sql(options: argparse.Namespace) -> Collected:
    from workbench.runs.secrets import reveal
    from workbench.tables.sql_rows import collect_sql

    return collect_sql(
        reveal(options.sources[0]), options.sql, options.table, watermark=options.watermark, key=_names(options.key),
        lag=options.lag, types=dict(options.types), evolve=options.evolve, time=options.time, say=_say,
    )  # fmt: skip


def _names(text: str) -> list[str]:
    return [one.strip() for one in text.split(",") if one.strip()]


def _now() -> str:
    from workbench.runs.records import now

    return now()


def _event(options: argparse.Namespace, done: Collected | None, began: str, error: str = "") -> None:
    """Tells the lineage what was collected; that it cannot is said and fails nothing."""
    from workbench.runs.records import runs_dir, without_secrets
    from workbench.tables import lineage
    from workbench.tables.delta import snapshot

    if done is not None and done.version is None:
        return
    sources = [str(without_secrets(str(one))) for one in options.sources]
    inputs = [lineage.Data(f"{one}/{options.sql}" if options.sql else one.split("*")[0]) for one in sources]
    outputs, given = [], {"evolve": options.evolve, "lacking": options.lacking}
    if done is not None:
        schema = {one.name: str(one.type) for one in snapshot(done.table, done.version).schema}
        outputs, given["aside"] = [lineage.Data(done.table, str(done.version), done.rows, schema)], done.aside
    try:
        lineage.emit("collect", inputs=inputs, outputs=outputs, parameters=given, started=began, error=error,
                     status="FAIL" if error else "COMPLETE", file=lineage.events_file(runs_dir(options.runs)))  # fmt: skip
    except WorkbenchError as error:
        _say(f"workbench: {error}")


def _told(done: Collected) -> int:
    for one in done.told:
        if one.get("aside") or one["outcome"] in ("set aside", "unknown", "waiting"):
            count = f" ({one['aside']:,} set aside)" if one.get("aside") else ""
            _say(f"{one['source']}: {one['outcome']}{count}{': ' if one['reason'] else ''}{one['reason']}")
    versions = f"version {done.version}" if done.version is not None else "nothing new"
    print(f"{done.table}: {versions}, {done.rows:,} rows from {done.files:,} files, {done.aside:,} set aside, "
          f"{done.waiting:,} files wait")  # fmt: skip
    return FAILED if done.aside else GOOD


def _list(options: argparse.Namespace) -> int:
    from workbench.tables import quarantine

    found = quarantine.entries(options.table, open=not options.all)
    if options.json:
        print(found.to_json(orient="records", lines=True, date_format="iso").rstrip())
        return GOOD
    for one in found.to_dict("records"):
        print(f"{one['id']}  {one['state']:<8} {one['count']:>7,}  {one['time']:%Y-%m-%d %H:%M}  {one['source']}")
        print(f"    {one['reason']}  {one['where']}")
    if found.empty:
        print("nothing is set aside")
    return GOOD


def _show(options: argparse.Namespace) -> int:
    from workbench.tables import quarantine

    path = quarantine.path(options.table, options.id)
    held = quarantine.rows(options.table, options.id)
    print(
        held.decode("utf-8", "backslashreplace").rstrip() if isinstance(held, bytes) else held.to_pandas().to_string()
    )
    _say(f"mend it in {path}, then: workbench quarantine replay {options.table} {options.id}")
    return GOOD


def _replay(options: argparse.Namespace) -> int:
    from workbench.tables import quarantine

    given = {name: getattr(options, name) for name in ("evolve", "lacking", "encoding", "rewritten")}
    return _told(quarantine.replay(options.table, options.ids or None, **given))


def _drop(options: argparse.Namespace) -> int:
    from workbench.tables import quarantine

    print(f"version {quarantine.drop(options.table, options.ids)}: {len(options.ids)} dropped")
    return GOOD


def _versions(options: argparse.Namespace) -> int:
    from workbench.tables import versions

    if options.label:
        versions.label(options.table, _number(options.label[0]), options.label[1], by=options.by)
        print(f"version {options.label[0]} is {options.label[1]}")
        return GOOD
    if options.between:
        return _between(options)
    found = versions.history(options.table, options.n)
    if options.json:
        print(found.to_json(orient="records", lines=True, date_format="iso").rstrip())
        return GOOD
    counted = f"{'rows':>14} {'added':>12} {'removed':>12} {'files':>6} {'aside':>7}"
    print(f"{'version':>7}  {'time':<19}  {'operation':<9} {counted}  labels")
    for one in found.to_dict("records"):
        counts = [_count(one[name]) for name in ("rows", "added_rows", "removed_rows", "files", "aside")]
        rows, added, removed, files, aside = counts
        when = f"{one['time']:%Y-%m-%d %H:%M:%S}"
        print(f"{one['version']:>7}  {when}  {one['operation']:<9} {rows:>14} {added:>12} {removed:>12} {files:>6} {aside:>7}"
              f"  {one['labels']}".rstrip())  # fmt: skip
    return GOOD


def _count(value: Any) -> str:
    return "-" if value is None or value != value else f"{int(value):,}"


def _number(text: str) -> int:
    try:
        return int(text.lstrip("v"))
    except ValueError:
        raise WorkbenchError(f"{text!r} is no number of a version: `workbench versions TABLE` lists them") from None


def _between(options: argparse.Namespace) -> int:
    from workbench.tables import versions

    old, new = options.between
    found = versions.difference(options.table, old, new, _names(options.key))
    if options.json:
        print(json.dumps({"old": found.old, "new": found.new, **found.counts,
                          "schema": found.schema.to_dict("records")}))  # fmt: skip
        return GOOD
    counts = ", ".join(f"{count:,} {name}" for name, count in found.counts.items())
    print(f"version {found.old} to {found.new}: rows {counts}")
    for one in found.schema.to_dict("records"):
        print(f"  column {one['column']}: {one['change']} ({one['before']} to {one['after']})")
    for name in ("changed", "added", "removed"):
        frame = getattr(found, name)
        if len(frame):
            print(f"{name}, the first {min(len(frame), 10)}:\n{frame.head(10).to_string(index=False)}")
    return GOOD


def _rollback(options: argparse.Namespace) -> int:
    from workbench.tables import quarantine, versions

    version = options.version if not options.version.lstrip("v").isdigit() else _number(options.version)
    new = versions.rollback(options.table, version, again=options.again)
    waiting = len(quarantine.entries(options.table))
    print(f"version {new} holds what version {options.version} held; {waiting:,} entries in the quarantine")
    return GOOD


def _vacuum(options: argparse.Namespace) -> int:
    from workbench.runs.records import runs_dir
    from workbench.tables import versions

    runs = runs_dir(options.runs)
    if not runs.is_dir() and options.runs is None:
        raise WorkbenchError(
            f"there is no folder of runs at {str(runs)!r}: name it with --runs, so that none is overlooked"
        )
    if options.yes and not options.no_compact:
        joined = versions.compact(options.table)
        print(f"{joined['removed']:,} files joined into {joined['added']:,}")
    done = versions.vacuum(options.table, options.hours, runs, dry=not options.yes)
    kept = ", ".join(map(str, done["kept"]))
    print(
        f"{len(done['files']):,} files {'deleted' if options.yes else 'would be deleted; --yes does it'}; kept versions {kept}"
    )
    return GOOD


def _lineage(options: argparse.Namespace) -> int:
    from workbench.runs.records import runs_dir
    from workbench.tables import lineage

    print(lineage.tree(options.table, options.file or lineage.events_file(runs_dir(options.runs))))
    return GOOD
