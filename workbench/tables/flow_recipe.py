"""How a folder is prepared, as its file says: what is collected, the steps, what is redacted, what is promised."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from workbench.errors import WorkbenchError, nearest
from workbench.tables import clean, clean_rows, clean_steps, contract, contract_file, redact

STEPS: dict[str, Callable[..., clean.Step]] = {
    "types": clean_steps.types,
    "text": clean_steps.text,
    "units": clean_steps.units,
    "zone": clean_steps.zone,
    "unique": clean_rows.unique,
    "sessions": clean_rows.sessions,
    "outliers": clean_rows.outliers,
    "join": clean_rows.join,
}
TOP = ["collect", "clean", "redact", "contract", "key", "time"]


@dataclass(frozen=True)
class Recipe:
    """How a folder is prepared, as its file says."""

    path: str = ""
    collect: Mapping[str, Any] | None = None
    steps: tuple[clean.Step, ...] = ()
    redact: Mapping[str, Any] | None = None
    contract: contract.Contract | None = None
    key: tuple[str, ...] = ()
    time: str = ""


def load_recipe(path: str | Path) -> Recipe:
    """A recipe from a YAML file; "" for one that takes rows as they are and masks all personal data.

    `collect` has the parameters of `collect`, `clean` a list of steps with their parameters (types, text, units, zone,
    unique, sessions, outliers, and join with `table`, an address, and `key`, the column), `redact` those of `redact.job` and
    `only`, `countries` and `rules` (a file), `contract` a file, `key` the columns by which two versions are compared, `time`
    the column that orders rows.

    Raises WorkbenchError with file and line for anything else.
    """
    if not str(path):
        return Recipe(redact={})
    book = contract_file.read(path)
    top = book.fields((), book.value, TOP)
    steps = top.get("clean") or []
    if not isinstance(steps, list):
        raise book.wrong(("clean",), "a list of steps is wanted, as in - types: {time: time}")
    made = tuple(_step(book, ("clean", k), one) for k, one in enumerate(steps))
    beside = Path(path).parent
    agreed = contract.load_contract(beside / top["contract"]) if top.get("contract") else None
    keys = top.get("key") or []
    return Recipe(
        str(path),
        top.get("collect") or {},
        made,
        top.get("redact"),
        agreed,
        (keys,) if isinstance(keys, str) else tuple(keys),
        top.get("time") or "",
    )


def redaction(given: Mapping[str, Any], key: redact.Key | None) -> redact.Job:
    """What a recipe says of personal data, as a job."""
    options = dict(given)
    only, countries = options.pop("only", None), options.pop("countries", None)
    rules = redact.load_rules(options.pop("rules", None), only=only, countries=countries)
    return redact.job(rules, options.pop("modes", "mask"), key=key, **options)


def _step(book: contract_file.Written, place: tuple[str | int, ...], given: Any) -> clean.Step:
    fields = book.fields(place, given, list(STEPS))
    if len(fields) != 1:
        raise book.wrong(place, f"one step is wanted here: {nearest('', STEPS)}")
    ((name, options),) = fields.items()
    if name == "types":
        options = {"schema": options}
    if not isinstance(options, dict):
        raise book.wrong((*place, name), f"a mapping of its parameters is wanted, not {options!r}")
    known = dict(inspect.signature(STEPS[name]).parameters)
    if name == "join":
        known = {"table": known.pop("other"), "key": known.pop("on"), **known}  # YAML takes a bare `on` for true
    if name != "types":
        book.fields((*place, name), options, list(known))
    lacking = [one for one, what in known.items() if what.default is inspect.Parameter.empty and one not in options]
    if lacking:
        raise book.wrong((*place, name), f"the step needs {lacking[0]!r}")
    try:
        if name == "join":
            beside = Path(book.path).parent
            rest = {one: what for one, what in options.items() if one not in ("table", "key")}
            options = {**rest, "other": _rows_of(str(options["table"]), beside), "on": options["key"]}
        return STEPS[name](**options)
    except WorkbenchError as error:
        raise book.wrong((*place, name), str(error)) from None


def _rows_of(address: str, beside: Path) -> pa.Table:
    """All rows of a table that is joined; a path is taken from the folder of the recipe."""
    from workbench.tables.opening import open_table

    table = open_table(address if "://" in address else str(beside / Path(address).expanduser()))
    parts = [
        pa.table({name: rows.column(name) for name in table.schema.names})
        for piece in table.pieces()
        for rows in table.batches(piece)
    ]
    return pa.concat_tables([table.schema.empty_table(), *parts], promote_options="permissive")
