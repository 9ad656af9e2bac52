"""The one door for parameters: what a notebook declares, and every way a value may come in, typed and checked.

A notebook declares its parameters in one cell tagged `parameters`, one annotated name a line, with a few words behind:

    every: str = "1D"  # length of a window, any pandas offset

The types are `str`, `int`, `float`, `bool`, `list`, `tuple`, `dict` (with or without what they hold), `Literal[...]`,
each also with `| None`. Nothing that comes in is ever evaluated as code.
"""

from __future__ import annotations

import ast
import io
import json
import math
import re
import tokenize
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.errors import WorkbenchError, masked, nearest
from workbench.runs.notebooks import read_cells, tags

RESERVED = (
    "run",
    "runs",
    "scheduled",
)  # WORKBENCH_RUN, _RUNS and _SCHEDULED say something else, so none may be called so
WORDS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
HOLDERS: dict[str, type] = {"list": list, "tuple": tuple, "dict": dict}


@dataclass(frozen=True)
class Kind:
    """A type that a parameter may have: its base, what it holds, the values it is limited to, whether None is one."""

    base: str
    of: tuple[Kind, ...] = ()
    values: tuple[Any, ...] = ()
    optional: bool = False


@dataclass(frozen=True)
class Parameter:
    """One declared parameter: name, annotation as written, kind, default as written, default's value, help."""

    name: str
    annotation: str
    kind: Kind
    shown: str
    default: Any
    help: str


@dataclass(frozen=True)
class Limits:
    """What a notebook says about its parameters when it begins: `live` ones and their range, `choices` of any."""

    live: Mapping[str, tuple[float, float] | None]
    choices: Mapping[str, Sequence[Any]]


NO_LIMITS = Limits({}, {})


# --- what a notebook declares -----------------------------------------------------------------------------------------


def declared(path: str | Path) -> dict[str, Parameter]:
    """The parameters declared in the tagged cell of a notebook file, in their order; {} when no cell is tagged.

    Only reads the file: no kernel is started and nothing is run. Raises WorkbenchError for a cell that is not Python
    and for an annotation that is no known type, naming it.
    """
    found: dict[str, Parameter] = {}
    for cell in read_cells(path):
        if cell.get("cell_type") == "code" and "parameters" in tags(cell):
            found.update(annotated(cell["source"], str(path)))
    return found


def limits(path: str | Path) -> Limits:
    """The `live` ranges and `choices` that a notebook gives to `begin`, as far as they are written out as literals."""
    for cell in read_cells(path):
        if cell.get("cell_type") != "code" or "begin(" not in cell["source"]:
            continue
        try:
            tree = ast.parse(cell["source"])
        except SyntaxError:
            continue  # a cell with a %magic; begin itself checks again
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) == "begin":
                told = {word.arg: _literal(word.value) for word in node.keywords}
                live, choices = told.get("live"), told.get("choices")
                return Limits(live if isinstance(live, dict) else {}, choices if isinstance(choices, dict) else {})
    return NO_LIMITS


def annotated(source: str, where: str = "the parameters cell") -> dict[str, Parameter]:
    """The annotated names of a cell's source, each with type, default and comment.

    >>> annotated('every: str = "1D"  # length of a window')["every"].help
    'length of a window'
    """
    try:
        tree = ast.parse(source)
    except SyntaxError as error:
        raise WorkbenchError(
            f"The parameters cell of {where} is not plain Python (line {error.lineno}): {error.msg}."
        ) from error
    words = _comments(source)
    found = {}
    for node in tree.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            name, annotation = node.target.id, ast.unparse(node.annotation)
            if name in RESERVED:
                raise WorkbenchError(
                    f"A parameter may not be called {name!r} (in {where}): WORKBENCH_{name.upper()} says something else."
                )
            shown = ast.unparse(node.value) if node.value is not None else ""
            default = _literal(node.value) if node.value is not None else None
            kind = kind_of(annotation, name)
            found[name] = Parameter(name, annotation, kind, shown, default, words.get(node.end_lineno or 0, ""))
    return found


def kind_of(annotation: str, name: str = "a parameter") -> Kind:
    """The kind that an annotation means; raises WorkbenchError when it is none of the types that can be checked.

    >>> kind_of("float | None")
    Kind(base='float', of=(), values=(), optional=True)
    """
    try:
        return _kind(ast.parse(annotation, mode="eval").body)
    except (SyntaxError, LookupError, ValueError, TypeError):
        raise WorkbenchError(
            f"Parameter {name!r} is annotated {annotation!r}; wanted str, int, float, bool, list, tuple, dict or "
            "Literal[...], each also with '| None'."
        ) from None


def _kind(node: ast.expr) -> Kind:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return _kind(ast.parse(node.value, mode="eval").body)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        sides = [
            side for side in (node.left, node.right) if not (isinstance(side, ast.Constant) and side.value is None)
        ]
        if len(sides) != 1:
            raise ValueError
        inner = _kind(sides[0])
        return Kind(inner.base, inner.of, inner.values, True)
    if isinstance(node, ast.Subscript):
        head = ast.unparse(node.value).rpartition(".")[2]
        inside = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        if head == "Literal":
            return Kind("literal", values=tuple(ast.literal_eval(item) for item in inside))
        if head == "Optional":
            inner = _kind(inside[0])
            return Kind(inner.base, inner.of, inner.values, True)
        if head not in HOLDERS:
            raise ValueError
        return Kind(head, tuple(_kind(i) for i in inside if not (isinstance(i, ast.Constant) and i.value is ...)))
    if isinstance(node, ast.Name) and node.id in ("str", "int", "float", "bool", *HOLDERS):
        return Kind(node.id)
    raise ValueError


def _literal(node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError):
        return None


def _comments(source: str) -> dict[int, str]:
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {token.start[0]: token.string.lstrip("# ").strip() for token in tokens if token.type == tokenize.COMMENT}


# --- values that come in ----------------------------------------------------------------------------------------------


def parse(parameter: Parameter, text: str, came: str = "the command line", bounds: Limits = NO_LIMITS) -> Any:
    """The value that a text means for a parameter, by its annotation; text is never evaluated.

    Numbers and words (`true`, `no`) are read as such only where the annotation wants them, so `1D` stays a text for a
    `str`. Lists, tuples and dicts are written as JSON, as TOML (`['a', 'b']`) or, for lists, as `a,b`.
    Raises WorkbenchError naming the parameter, the text, where it came from and the type.
    """
    try:
        return _parse(parameter.kind, text)
    except (ValueError, TypeError):
        raise _wrong(parameter, text, came, bounds) from None


def _parse(kind: Kind, text: str) -> Any:
    if kind.optional and text.strip().lower() in ("none", "null"):
        return None
    if kind.base == "str":
        return text
    word = text.strip()
    if kind.base == "literal":
        return next(value for value in kind.values if str(value) == word) if word in map(str, kind.values) else _no()
    if kind.base == "bool":
        return WORDS[word.lower()] if word.lower() in WORDS else _no()
    if kind.base == "int":
        return int(word) if re.fullmatch(r"[+-]?\d+(_\d+)*", word, re.ASCII) else _no()
    if kind.base == "float":
        return float(word) if math.isfinite(float(word)) else _no()
    return convert(kind, _holder(kind, word))


def _holder(kind: Kind, word: str) -> Any:
    for read in (json.loads, _toml):
        try:
            value = read(word)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, (list, dict)):
            return value
    if kind.base == "dict" or word[:1] in ("[", "{"):
        _no()
    inner = kind.of[0] if kind.of else Kind("str")
    return [_parse(inner, part.strip()) for part in word.split(",") if part.strip()]


def _toml(word: str) -> Any:
    told = tomllib.loads(f"value = {word}")
    return told["value"] if list(told) == ["value"] else _no()


def convert(kind: Kind, value: Any) -> Any:
    """`value` as the kind wants it (an int as float, a list as tuple); raises ValueError when it is of another kind."""
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:
        value = value.item()  # a numpy scalar
    if value is None:
        return None if kind.optional else _no()
    if kind.base == "literal":
        return value if any(value == one and type(value) is type(one) for one in kind.values) else _no()
    if kind.base == "bool":
        return value if isinstance(value, bool) else _no()
    if kind.base == "int":
        return value if isinstance(value, int) and not isinstance(value, bool) else _no()
    if kind.base == "float":
        number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
        return float(value) if number else _no()
    if kind.base == "str":
        return str(value) if isinstance(value, (str, Path)) else _no()
    if kind.base == "dict":
        if not isinstance(value, Mapping):
            _no()
        key, inner = kind.of if len(kind.of) == 2 else (None, None)
        return {convert(key, k) if key else k: convert(inner, v) if inner else v for k, v in value.items()}
    if not isinstance(value, (list, tuple)):
        _no()
    if kind.base == "tuple" and len(kind.of) > 1:
        return tuple(convert(inner, one) for inner, one in zip(kind.of, value, strict=True))
    return HOLDERS[kind.base](convert(kind.of[0], one) if kind.of else one for one in value)


def check(parameter: Parameter, value: Any, came: str, bounds: Limits = NO_LIMITS) -> Any:
    """`value`, typed as the parameter says and inside its range and choices.

    Raises WorkbenchError naming the parameter, the value, where it came from, the type, and the range or the choices.
    """
    try:
        value = convert(parameter.kind, value)
    except (ValueError, TypeError):
        raise _wrong(parameter, value, came, bounds) from None
    span, choices = bounds.live.get(parameter.name), bounds.choices.get(parameter.name)
    if choices is not None and value not in choices:
        raise _wrong(parameter, value, came, bounds)
    if span is not None and value is not None and not span[0] <= value <= span[1]:
        raise _wrong(parameter, value, came, bounds)
    return value


def wanted(parameter: Parameter, bounds: Limits = NO_LIMITS) -> str:
    """What a parameter takes, in words: its type and its range or choices."""
    span, choices = bounds.live.get(parameter.name), bounds.choices.get(parameter.name)
    if choices is not None:
        return f"{parameter.annotation}, one of {', '.join(map(repr, choices))}"
    if span is not None:
        return f"{parameter.annotation} from {span[0]:,} to {span[1]:,}"
    return parameter.annotation


def listing(parameters: Iterable[Parameter], bounds: Limits = NO_LIMITS) -> str:
    """The parameters one a line: name, what it takes, default and help."""
    rows = [(p.name, wanted(p, bounds), p.shown, p.help) for p in parameters]
    if not rows:
        return "  (this notebook has no cell tagged 'parameters')"
    widths = [min(28, max(len(row[i]) for row in rows)) for i in range(3)]
    return "\n".join(
        "  " + "  ".join(f"{cell:<{w}}" for cell, w in zip(row[:3], widths, strict=True)) + "  " + row[3]
        for row in rows
    )


def resolve(
    parameters: Mapping[str, Parameter],
    texts: Iterable[tuple[str, str]],
    environment: Mapping[str, str],
    bounds: Limits,
) -> tuple[dict[str, Any], dict[str, Any], list[str]]:
    """What a run is given and what it will use: (from the command line, of every parameter, names the environment set).

    `texts` are the (name, text) pairs of a command line. The order of the door is tagged cell < command line <
    environment variable WORKBENCH_<NAME>. Raises WorkbenchError for an unknown name and for a wrong value.
    """
    given: dict[str, Any] = {}
    for name, text in texts:
        if name not in parameters:
            raise WorkbenchError(f"The notebook has no parameter {name!r}; {nearest(name, parameters)}")
        given[name] = check(parameters[name], parse(parameters[name], text, bounds=bounds), "the command line", bounds)
        if isinstance(given[name], str) and "://" in given[name] and masked(given[name]) != given[name]:
            raise WorkbenchError(
                f"Parameter {name!r} is an address with a secret, {given[name]!r}, which the executed notebook would keep; put "
                "it into an environment variable and give 'secret:env:NAME'."
            )
    variables = from_environment(parameters, environment)
    used = {}
    for name, parameter in parameters.items():
        value = given.get(name, parameter.default)
        if name in variables:
            value = check(parameter, variables[name], f"the environment (WORKBENCH_{name.upper()})", bounds)
        used[name] = value
    return given, used, list(variables)


def from_environment(parameters: Mapping[str, Parameter], environment: Mapping[str, str]) -> dict[str, Any]:
    """The values that environment variables WORKBENCH_<NAME> give to parameters."""
    found = {}
    for name, parameter in parameters.items():
        variable = f"WORKBENCH_{name.upper()}"
        if variable in environment:
            found[name] = parse(parameter, environment[variable], f"the environment ({variable})")
    return found


def _wrong(parameter: Parameter, value: Any, came: str, bounds: Limits = NO_LIMITS) -> WorkbenchError:
    shown = repr(value) if len(repr(value)) <= 80 else repr(value)[:77] + "..."
    typed = "" if isinstance(value, str) else f" ({type(value).__name__})"
    return WorkbenchError(
        f"Parameter {parameter.name!r} is {shown}{typed} from {came}; wanted {wanted(parameter, bounds)}."
    )


def _no() -> Any:
    raise ValueError
