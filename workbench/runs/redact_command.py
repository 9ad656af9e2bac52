"""The command `workbench redact`: what personal data a file or table holds, by field and rule, and a copy without it."""

from __future__ import annotations

import argparse
import io
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from workbench.errors import WorkbenchError

NONE, FOUND = 0, 1
LINES = 1 << 16  # of a plain text that are looked at together
TABLES = (".parquet", ".csv", ".tsv", ".json", ".jsonl", ".ndjson")


def add(commands: Any) -> None:
    """Adds the command `workbench redact`."""
    one = commands.add_parser(
        "redact",
        help="find personal data in a file or table; write a copy without it",
        description="Counts personal data and secrets by field and rule, and never prints one. SOURCE is a table (Parquet, "
        "CSV, JSON lines, a table with versions) or any other file, which is read as lines of text. Exit code 1 where "
        "something was found and no copy written.",
    )
    one.add_argument("source", help="file, folder or address, or a secret:env:NAME that holds it")
    one.add_argument(
        "--out", type=Path, metavar="FILE", help="write a copy: .parquet, .csv or .jsonl; of a plain text, lines"
    )
    one.add_argument("--mode", default="mask", help="what stands in its place: mask (default), remove or pseudonym")
    one.add_argument(
        "--only", default="", metavar="KINDS", help="rules or kinds to look for, comma-separated (default: all)"
    )
    one.add_argument("--countries", default="", metavar="CODES", help="national rules of these only, as in US,DE")
    one.add_argument("--columns", default="", metavar="COLUMNS", help="columns to search (default: all that hold text)")
    one.add_argument("--rules", type=Path, metavar="FILE", help="a file of rules instead of those of the package")
    one.add_argument(
        "--key", metavar="FILE", help="key of pseudonyms: a file, or secret:env:NAME (default: WORKBENCH_REDACT_KEY)"
    )
    one.add_argument("--encoding", default="utf-8", help="of a plain text that is no UTF-8, as in cp1252")
    one.add_argument("--json", action="store_true", help="print one line of JSON a field and rule")
    one.set_defaults(command=_redact)


def _redact(options: argparse.Namespace) -> int:
    from workbench.runs.secrets import reveal
    from workbench.tables import redact

    source = str(reveal(options.source))
    plain = _plain(source)
    _writable(options.out, plain)
    rules = redact.load_rules(options.rules, only=_names(options.only), countries=_names(options.countries))
    key = redact.read_key(options.key) if options.key or options.mode == "pseudonym" else None
    how = redact.job(rules, options.mode, columns=_names(options.columns), key=key)
    seen: Counter[tuple[str, str, str, str]] = Counter()
    skipped: dict[str, str] = {}
    rows = 0
    with _copy(options.out) as write:
        for done in redact.stream(_lines(source, options.encoding) if plain else _tables(source), how):
            rows += done.table.num_rows
            skipped.update(done.skipped)
            for one in redact.counts(done.findings).to_pylist():
                for what in ("findings", "rows"):
                    seen[one["field"], one["kind"], one["rule"], what] += one[what]
            write(done.table)
    _say(options, seen, skipped, rows)
    return FOUND if seen and options.out is None else NONE


def _names(text: str) -> list[str] | None:
    return [one.strip() for one in text.split(",") if one.strip()] or None


def _plain(source: str) -> bool:
    """Whether a source is a file that is no table: lines of text."""
    name = source.lower().removesuffix(".gz").removesuffix(".zst")
    return "://" not in source and not os.path.isdir(source) and not name.endswith(TABLES)


def _writable(out: Path | None, plain: bool) -> None:
    if out is None:
        return
    if out.exists():
        raise WorkbenchError(f"{str(out)!r} is there already: give another name, or remove it first")
    if not plain and out.suffix not in (".parquet", ".csv", ".jsonl"):
        raise WorkbenchError(f"a copy of a table is written as .parquet, .csv or .jsonl, not as {out.name!r}")
    if not out.absolute().parent.is_dir():
        raise WorkbenchError(f"there is no folder {str(out.absolute().parent)!r} to write to; make it first")


def _lines(path: str, encoding: str) -> Iterator[Any]:
    """The lines of a text as tables with the column `line`; the lines of a private key are one."""
    import pyarrow as pa

    try:
        with pa.input_stream(path, compression="detect") as raw:
            held: list[str] = []
            inside = False
            for line in io.TextIOWrapper(raw, encoding=encoding, newline="\n"):
                if inside:
                    held[-1] += line
                else:
                    held.append(line)
                inside = "-----END" not in line and (inside or ("-----BEGIN" in line and "PRIVATE KEY" in line))
                inside = inside and len(held[-1]) < 1 << 16
                if len(held) >= LINES and not inside:
                    yield pa.table({"line": held})
                    held = []
            yield pa.table({"line": pa.array(held, pa.string())})
    except UnicodeDecodeError as error:
        raise WorkbenchError(
            f"{path!r} is no {encoding} text (byte {error.object[error.start]:#04x}): give --encoding, as in cp1252"
        ) from None
    except LookupError:
        raise WorkbenchError(f"there is no encoding {encoding!r}; give one such as utf-8 or cp1252") from None
    except OSError as error:
        raise WorkbenchError(f"{path!r} cannot be read: {error.strerror or error}") from None


def _tables(source: str) -> Iterator[Any]:
    """The rows of a table; those of CSV as they are written, so that no digit is lost."""
    import pyarrow as pa

    from workbench.tables import open_table

    table = open_table(source)
    if table.format == "csv":
        table = open_table(source, types=dict.fromkeys(table.schema.names, "text"))
    yield table.schema.empty_table()
    for piece in table.pieces():
        for rows in table.batches(piece):
            whole = pa.table({name: rows.column(name) for name in table.schema.names})
            for start in range(0, whole.num_rows, LINES):
                yield whole.slice(start, LINES)


@contextmanager
def _copy(out: Path | None) -> Iterator[Callable[[Any], None]]:
    """A function that writes tables, one after the other, to a file that is there when all of them are."""
    if out is None:
        yield lambda table: None
        return
    import pyarrow as pa
    import pyarrow.csv as pc
    import pyarrow.parquet as pq

    part = out.with_name(f".{out.name}.{os.getpid()}.part")
    opened: list[Any] = []

    def write(table: Any) -> None:
        if not opened:
            makers: dict[str, Callable[[], Any]] = {
                ".parquet": lambda: pq.ParquetWriter(part, table.schema, compression="zstd"),
                ".csv": lambda: pc.CSVWriter(part, table.schema),
            }
            opened.append(makers.get(out.suffix, lambda: part.open("w", encoding="utf-8", newline=""))())
        file = opened[0]
        if hasattr(file, "write_table"):
            file.write_table(table.cast(file.schema) if isinstance(file, pq.ParquetWriter) else table)
        elif table.schema.names == ["line"] and out.suffix != ".jsonl":
            file.writelines(table["line"].to_pylist())
        else:
            file.writelines(json.dumps(one, ensure_ascii=False, default=str) + "\n" for one in table.to_pylist())

    try:
        yield write
        for file in opened:
            file.close()
        os.replace(part, out)
    except pa.ArrowException as error:
        raise WorkbenchError(f"the copy cannot be written as {out.suffix}: {str(error).splitlines()[0]}") from None
    finally:
        for file in opened:
            file.close()
        part.unlink(missing_ok=True)


def _say(options: argparse.Namespace, seen: Counter[Any], skipped: dict[str, str], rows: int) -> None:
    fields: Iterable[Any] = sorted({one[:3] for one in seen}, key=lambda one: (-seen[(*one, "findings")], one))
    for one in fields:
        told = dict(zip(("field", "kind", "rule"), one, strict=True))
        told |= {what: seen[(*one, what)] for what in ("findings", "rows")}
        if options.json:
            print(json.dumps(told))
        else:
            print(f"{told['field']}: {told['kind']} ({told['rule']})  {told['findings']:,} in {told['rows']:,} rows")
    if not options.json:
        total = sum(count for one, count in seen.items() if one[3] == "findings")
        where = f"; a copy without them is {options.out}" if options.out else ""
        print(f"{rows:,} rows, {total:,} findings{where}")
        if skipped:
            print(f"not searched: {', '.join(f'{name} ({why})' for name, why in sorted(skipped.items()))}")
