"""YAML with the line of every value, so that what is wrong in a schedule can be told where it is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.errors import WorkbenchError

Place = tuple[str | int, ...]


@dataclass(frozen=True)
class Lined:
    """A YAML file's content as plain values, and the line (from 1) of each value by its path of keys."""

    path: Path
    value: Any
    lines: dict[Place, int]
    twice: tuple[tuple[Place, int], ...] = ()

    def line(self, place: Place) -> int:
        """The line of a value, or of the nearest one around it."""
        while place and place not in self.lines:
            place = place[:-1]
        return self.lines.get(place, 1)


def read_yaml(path: str | Path) -> Lined:
    """The content of a YAML file: texts, numbers, true and false, none, lists and mappings with text keys.

    Dates stay text, `on` and `off` too. Raises WorkbenchError, with file and line, for a file that is not YAML.
    """
    import yaml

    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise WorkbenchError(
            f"There is no schedule {str(path)!r}; give its path, as in workbench schedule check notebooks/schedule.yml"
        ) from None
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f":{mark.line + 1}" if mark else ""
        hint = "; quote a cron line ('*/5 * * * *')" if "alias" in str(error) else ""
        said = getattr(error, "problem", None) or str(error)
        raise WorkbenchError(f"{path}{where}: this is not YAML: {said}{hint}") from None
    lines: dict[Place, int] = {}
    twice: list[tuple[Place, int]] = []
    value = None if node is None else _value(node, (), lines, twice)
    return Lined(path, value, lines, tuple(twice))


def _value(node: Any, place: Place, lines: dict[Place, int], twice: list[tuple[Place, int]]) -> Any:
    import yaml

    lines.setdefault(place, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        found: dict[str, Any] = {}
        for key, one in node.value:
            name, line = str(key.value), key.start_mark.line + 1
            if name in found:
                twice.append(((*place, name), line))
            lines[(*place, name)] = line
            found[name] = _value(one, (*place, name), lines, twice)
        return found
    if isinstance(node, yaml.SequenceNode):
        return [_value(one, (*place, i), lines, twice) for i, one in enumerate(node.value)]
    return _scalar(node.value, node.tag.rpartition(":")[2])


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
