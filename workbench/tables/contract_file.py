"""A contract's YAML file: its content with the line of every value, so that what is wrong is told where it stands."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.errors import WorkbenchError, nearest

Place = tuple[str | int, ...]


@dataclass(frozen=True)
class Written:
    """A YAML file as plain values, and the line (from 1) of each value by its path of keys."""

    path: str
    value: Any
    lines: dict[Place, int]

    def wrong(self, place: Place, words: str) -> WorkbenchError:
        """An error with file, line and where in the file."""
        line = next((self.lines[place[:k]] for k in range(len(place), -1, -1) if place[:k] in self.lines), 1)
        return WorkbenchError(f"{self.path}:{line}: {'.'.join(map(str, place))}{': ' if place else ''}{words}")

    def fields(self, place: Place, value: Any, known: list[str]) -> dict[str, Any]:
        """A mapping whose keys are all known."""
        if not isinstance(value, dict):
            raise self.wrong(place, f"this must be a mapping of {', '.join(known)}, it is {value!r}")
        for key in value:
            if key not in known:
                raise self.wrong((*place, key), f"there is no such field: {nearest(key, known)}")
        return value


def read(path: str | Path) -> Written:
    """A YAML file with its lines. Raises WorkbenchError with file and line for what is no YAML or says a key twice."""
    import yaml

    name = str(path)
    try:
        node = yaml.compose(Path(path).read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except OSError as error:
        raise WorkbenchError(f"the contract {name!r} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise WorkbenchError(f"the contract {name!r} is not UTF-8; save it as UTF-8") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f":{mark.line + 1}" if mark else ""
        raise WorkbenchError(f"{name}{where}: this is not YAML: {getattr(error, 'problem', None) or error}") from None
    lines: dict[Place, int] = {}
    return Written(name, None if node is None else _value(node, (), lines, name), lines)


def _value(node: Any, place: Place, lines: dict[Place, int], name: str) -> Any:
    import yaml

    lines.setdefault(place, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        found: dict[str, Any] = {}
        for key, one in node.value:
            word, line = str(key.value), key.start_mark.line + 1
            if word in found:
                raise WorkbenchError(f"{name}:{line}: {word!r} stands here twice; keep one of the two")
            lines[(*place, word)] = line
            found[word] = _value(one, (*place, word), lines, name)
        return found
    if isinstance(node, yaml.SequenceNode):
        return [_value(one, (*place, k), lines, name) for k, one in enumerate(node.value)]
    kind = node.tag.rpartition(":")[2]
    if kind in ("int", "float", "bool", "null"):
        plain = yaml.safe_load(node.value) if node.value else None
        return plain if kind != "bool" or node.value.lower() in ("true", "false") else node.value
    return node.value
