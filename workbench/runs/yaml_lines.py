"""YAML with the line of every value, so that what is wrong in a schedule can be told where it is."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workbench.errors import WorkbenchError

Place = tuple[str | int, ...]
DEEPEST = 40  # levels of a file
MOST = 500_000  # values of a file, those that anchors repeat counted each time


@dataclass(frozen=True)
class Lined:
    """A YAML file's content as plain values, and the line (from 1) of each value by its path of keys.

    ``wrong`` is what its text says that no value can be made of: place, line and a sentence with the remedy.
    """

    path: Path
    value: Any
    lines: dict[Place, int]
    wrong: tuple[tuple[int, str], ...] = ()

    def line(self, place: Place) -> int:
        """The line of a value, or of the nearest one around it."""
        while place and place not in self.lines:
            place = place[:-1]
        return self.lines.get(place, 1)


def read_yaml(path: str | Path) -> Lined:
    """The content of a YAML file: texts, numbers, true and false, none, lists and mappings with text keys.

    Dates stay text, `on` and `off` too; anchors, aliases and `<<` work. Raises WorkbenchError, with file and line, for a file
    that is not YAML.
    """
    import yaml

    path = Path(path)
    text = _text(path)
    try:
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        _shallow(path, yaml.parse(text, Loader=loader))
        node = yaml.compose(text, Loader=loader)
    except yaml.YAMLError as error:
        raise _no_yaml(path, text, error) from None
    reader = _Reader(path)
    value = None if node is None else reader.value(node, ())
    return Lined(path, value, reader.lines, tuple(reader.wrong))


HINTS = {  # what a message has in it, and what helps
    "alias": "quote a cron line ('*/5 * * * *')",
    "'@'": "quote a text that begins with it",
    "'%'": "quote a text that begins with it",
    "'`'": "quote a text that begins with it",
    r"'\t'": "indent with spaces",
    "another document": "keep what is above the line ---",
    "unexpected end of stream": "close the quote that is open",
    "did not find expected ',' or": "close the bracket or brace that is open, or put a comma",
    "could not find expected ':'": "put a colon behind the key",
    "control characters": "take that character away",
    "mapping values": "quote a text that has a colon in it",
}


def _no_yaml(path: Path, text: str, error: Any) -> WorkbenchError:
    mark = getattr(error, "problem_mark", None)
    said = " ".join(str(getattr(error, "problem", None) or error).split())
    line = mark.line if mark else text.count("\n", 0, getattr(error, "position", None) or 0)
    if mark and "cannot start any token" in said:
        found = text.splitlines()[line][mark.column : mark.column + 1]
        said = f"found character {found!r} that cannot start any token"
    hint = next((f"; {words}" for sign, words in HINTS.items() if sign in said or sign in str(error)), "")
    return WorkbenchError(f"{path}:{line + 1}: this is not YAML: {said}{hint}")


def _text(path: Path) -> str:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise WorkbenchError(
            f"There is no schedule {str(path)!r}; give its path, as in workbench schedule check notebooks/schedule.yml"
        ) from None
    except OSError as error:
        raise WorkbenchError(
            f"The schedule {str(path)!r} cannot be read: {error.strerror}; give a file's path."
        ) from None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise WorkbenchError(f"{path}:{line}: this is not UTF-8 text; save the file as UTF-8.") from None


def _shallow(path: Path, events: Any) -> None:
    """Raises WorkbenchError where values lie too deep in each other for anybody, readers of YAML included."""
    import yaml

    depth = 0
    for event in events:
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            line = event.start_mark.line + 1
            raise WorkbenchError(f"{path}:{line}: this lies deeper than {DEEPEST} levels; write it flatter.")


@dataclass
class _Reader:
    """Makes plain values of nodes, and notes their lines and what is wrong."""

    path: Path
    lines: dict[Place, int] = field(default_factory=dict)
    wrong: list[tuple[int, str]] = field(default_factory=list)
    made: int = 0

    def value(self, node: Any, place: Place) -> Any:
        import yaml

        line = node.start_mark.line + 1
        self.lines.setdefault(place, line)
        self.made += 1
        if len(place) > DEEPEST or self.made > MOST:
            raise WorkbenchError(
                f"{self.path}:{line}: an anchor that holds itself, or too many of them; write values out."
            )
        if isinstance(node, yaml.MappingNode):
            return self.mapping(node, place)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(one, (*place, i)) for i, one in enumerate(node.value)]
        return _scalar(node.value, node.tag.rpartition(":")[2])

    def mapping(self, node: Any, place: Place) -> dict[str, Any]:
        import yaml

        found: dict[str, Any] = {}
        merged: list[Any] = []
        for key, one in node.value:
            line = key.start_mark.line + 1
            if key.tag == "tag:yaml.org,2002:merge":
                merged += one.value if isinstance(one, yaml.SequenceNode) else [one]
                continue
            if not isinstance(key, yaml.ScalarNode):
                self.wrong.append((line, "a key is a text; quote what has braces or brackets, as in '{{ day }}'"))
                continue
            name = str(key.value)
            if name in found:
                self.wrong.append((line, f"{name!r} is here twice; keep one of them"))
            self.lines[(*place, name)] = line
            found[name] = self.value(one, (*place, name))
        for one in merged:  # the first that says something counts, and what the mapping says itself before all
            told = self.value(one, (*place, "<<"))
            if isinstance(told, dict):
                found = {**told, **found}
            else:
                self.wrong.append((one.start_mark.line + 1, "<< takes the anchor of a mapping, as in <<: *usual"))
        return found


def _scalar(text: str, tag: str) -> Any:
    if tag == "null":
        return None
    if tag == "bool" and text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        if tag == "int":
            return int(text)
        if tag == "float":
            return float(text)
    except ValueError:
        return text  # 1:30 is a number in old YAML only
    return text
