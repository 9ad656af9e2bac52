"""Two runs of one notebook side by side: parameters that differ, figures with their difference, pictures on the same axes."""

from __future__ import annotations

import json
import math
import re
from typing import Any, TypeGuard

from workbench.apps import shell, site
from workbench.apps.shell import Json
from workbench.apps.site import Site
from workbench.apps.snapshot import Snapshot, read_snapshot, walk
from workbench.errors import WorkbenchError
from workbench.runs.records import Record, partial

RUNS = 40  # to choose from on the page
Key = tuple[str, str]  # the run ("a" or "b") and the id of a model in it


def compare_page(within: Site, notebook: str, a: str = "", b: str = "", leaf: str = "") -> str:
    """The page that holds run `a` beside run `b`; a name left out is that of the newest good run, or the one before it.

    Raises WorkbenchError for names that no run has and for a notebook with fewer than two runs that are over.
    """
    over = [
        one for _, one in zip(range(RUNS), (r for r in within.known(notebook) if not partial(r.folder)), strict=False)
    ]
    second = within.find(notebook, b) if b else next((one for one in over if one.status == "good"), None)
    if second is None and over:
        second = over[0]
    first = within.find(notebook, a) if a else _before(second, over)
    if first is None or second is None:
        raise WorkbenchError(f"{notebook!r} has fewer than two runs, so there is nothing to compare.")
    stories = [_published(one) for one in (first, second)]
    title = next((one.story["title"] for one in stories if one), "") or site.about(within, notebook)[0] or notebook
    sections, pictures, notes = side_by_side(*stories)
    scripts = {name for one in stories if one for name in one.scripts}
    return site.render(
        "compare.html",
        2,
        leaf,
        notebook=notebook,
        title=title,
        links=site.links_to(within, notebook, "../../", leaf),
        here="compare",
        sides=[_side(first, stories[0], "A"), _side(second, stories[1], "B")],
        choices=[{"run": one.folder.name, "when": one.ended or one.started} for one in over],
        same=first.folder == second.folder,
        parameters=parameters(first, second),
        figures=figures(first, second),
        sections=sections,
        notes=notes,
        document=shell.inline_json(pictures) if pictures else "",
        scripts=shell.scripts(scripts),
    )


def _before(record: Record | None, over: list[Record]) -> Record | None:
    """The good run before a run among those that are over, else any other."""
    others = [one for one in over if record is None or one.folder != record.folder]
    earlier = [one for one in others if record is None or one.folder.name < record.folder.name]
    return next((one for one in earlier if one.status == "good"), next(iter(earlier or others), None))


def _published(record: Record) -> Snapshot | None:
    try:
        return read_snapshot(record.folder)
    except WorkbenchError:
        return None


def _side(record: Record, published: Snapshot | None, letter: str) -> Json:
    state = shell.state_of({**record.told, "status": record.status, "error": record.error})
    latest = published.story.get("latest") if published else None
    when = record.ended or record.started
    return {"letter": letter, "run": record.folder.name, "when": when, "state": state, "latest": latest}


# --- values ------------------------------------------------------------------------------------------------------------


def parameters(a: Record, b: Record) -> Json:
    """What went into two runs: `differ` and `same`, each rows of (name, value of a, value of b)."""
    rows: list[tuple[str, Any, Any]]
    rows = [(name, a.parameters.get(name), b.parameters.get(name)) for name in {**a.parameters, **b.parameters}]
    rows += [("table", a.source, b.source)] if "table" not in {name for name, *_ in rows} else []
    rows += [("version of the table", a.source_version, b.source_version)]
    hashes = [str(one.told.get("notebook_hash") or "")[:12] for one in (a, b)]
    rows += [
        ("notebook", hashes[0], hashes[1]),
        ("workbench", a.told.get("package_version"), b.told.get("package_version")),
    ]
    versions = [one.told.get("versions") or {} for one in (a, b)]
    rows += [(name, versions[0].get(name), versions[1].get(name)) for name in {**versions[0], **versions[1]}]
    told = [(name, shell.parameter(left), shell.parameter(right)) for name, left, right in rows]
    return {"differ": [one for one in told if one[1] != one[2]], "same": [one for one in told if one[1] == one[2]]}


def figures(a: Record, b: Record) -> list[Json]:
    """Each headline figure of either run, with the difference b minus a in its unit and in words."""
    sides = [{str(one.get("name")): one for one in record.headline} for record in (a, b)]
    return [_figure(sides[0].get(key), sides[1].get(key)) for key in {**sides[0], **sides[1]}]


def _figure(a: Json | None, b: Json | None) -> Json:
    shown = [shell.figure(one) if one else None for one in (a, b)]
    told = a or b or {}
    units = {str(one.get("unit") or "") for one in (a, b) if one}
    unit = next(iter(units)) if len(units) == 1 else ""  # with two units each value says its own
    row: Json = {"name": told.get("name"), "unit": unit, "a": shown[0], "b": shown[1], "difference": "", "share": ""}
    row["verdict"] = _verdict((a or {}).get("good"), (b or {}).get("good"))
    if a is None or b is None:
        return {**row, "way": "only in A" if b is None else "only in B"}
    if len(units) > 1:
        return {**row, "way": "other unit"}
    left, right = a.get("value"), b.get("value")
    if _number(left) and _number(right):
        moved = right - left
        if moved == 0:
            return {**row, "way": "the same", "difference": "0"}
        size = shell.money(abs(moved)) if unit == "USD" else shell.number(abs(_rounded(moved, left, right)))
        sign = "+" if moved > 0 else "\u2212"
        row["difference"] = sign + size
        row["share"] = "" if left == 0 else f"{sign}{shell.number(float(f'{abs(moved / left) * 100:.3g}'))} %"
        return {**row, "way": "up" if moved > 0 else "down"}
    return {**row, "way": "the same" if left == right else "changed"}


def _rounded(moved: float, left: float, right: float) -> float:
    """A difference with no more digits than what it is a difference of has: 0.3 - 0.1 is 0.2."""
    largest = max(abs(left), abs(right))
    return round(moved, 12 - math.ceil(math.log10(largest))) if isinstance(moved, float) and largest > 0 else moved


def _number(value: Any) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value == value


def _verdict(a: bool | None, b: bool | None) -> Json:
    words = {True: "Good", False: "Bad", None: "–"}
    if a is None and b is None:
        return {"words": "", "colour": ""}
    colour = "good" if b and not a else "bad" if b is False and a is not False else ""
    return {"words": words[b] if a == b else f"{words[a]} → {words[b]}", "colour": colour}


# --- pictures ----------------------------------------------------------------------------------------------------------


def side_by_side(a: Snapshot | None, b: Snapshot | None) -> tuple[list[Json], Json, list[str]]:
    """The pictures of two published pages in pairs, by section: what the template shows, the drawings, and notes.

    Pictures are a pair when they are at the same place of the section with the same heading. In a pair the same columns
    get the same axes and the same colours.
    """
    stored = [json.loads(one.pictures) if one else {} for one in (a, b)]
    places = [_places(one.story if one else {"sections": []}) for one in (a, b)]
    sections: list[Json] = []
    drawings: Json = {}
    notes: list[str] = []
    for heading, number in {**places[0], **places[1]}:
        parts = [one.get((heading, number)) for one in places]
        items = [stored[n].get(part["key"]) if part else None for n, part in enumerate(parts)]
        if items[0] and items[1]:
            notes += share_axes(items[0], items[1])
        pair = []
        for letter, part, item in zip("ab", parts, items, strict=True):
            key = f"{letter}-{part['key']}" if part and item else ""
            if key:
                drawings[key] = item
            pair.append({"key": key, "letter": letter.upper()})
        known = [part for part in parts if part]
        height = max(int(part.get("height") or 0) for part in known)
        needs = max(int(part.get("width") or 0) for part in known)
        legend = max(int(part.get("legend") or 0) for part in known)
        if not sections or sections[-1]["heading"] != heading:
            sections.append({"heading": heading, "pairs": []})
        sections[-1]["pairs"].append({"sides": pair, "height": height, "width": needs, "legend": legend})
    return sections, drawings, list(dict.fromkeys(notes))


def _places(story: Json) -> dict[tuple[str, int], Json]:
    found: dict[tuple[str, int], Json] = {}
    for section in story["sections"]:
        pictures = [part for part in section["parts"] if part["kind"] == "picture"]
        found.update({(section["heading"], number): part for number, part in enumerate(pictures)})
    return found


def share_axes(a: Json, b: Json) -> list[str]:
    """Gives two stored drawings the same ranges where both draw the same column, in place; gives sentences on the rest.

    Numeric and time axes take the span of both. Two spans of time that do not meet keep their own dates and get the same
    length. Colours that stand for numbers take the span of both. Rows with names of their own are left as they are.
    """
    books = {"a": _objects(a), "b": _objects(b)}
    notes = []
    groups: list[tuple[set[Key], bool]] = []
    for left, right in zip(_figures(a, books["a"]), _figures(b, books["b"]), strict=False):
        for name in left.keys() & right.keys():
            one, other = left[name], right[name]
            if one["rows"] != other["rows"]:
                continue
            if not _same_column(one, other) or one["scale"] != other["scale"]:
                names = [each["label"] or each["column"] or "another column" for each in (one, other)]
                notes.append(f"An axis shows {names[0]} in A and {names[1]} in B.")
                continue
            groups.append(({("a", one["id"]), ("b", other["id"])}, one["times"]))
    for keys, times in _joined(groups):
        ranges = [books[side][name]["attributes"] for side, name in sorted(keys)]
        if not _share(ranges) and times and _lengthen(ranges):
            notes.append("The two runs cover different times: each keeps its own dates, on an axis of the same length.")
    for one, other in zip(_mappers(a), _mappers(b), strict=False):
        both = [one["attributes"], other["attributes"]]
        if all(_number(each.get(end)) for each in both for end in ("low", "high")):
            low, high = min(each["low"] for each in both), max(each["high"] for each in both)
            for each in both:
                each.update(low=low, high=high)
    return notes


def _same_column(one: Json, other: Json) -> bool:
    """Whether two axes show one column: the label is the same, or it is but for a number in it ("% within 3 s")."""
    labels = [re.sub(r"[\d.]+", "", each["label"]) for each in (one, other)]
    return bool(one["column"] == other["column"]) and labels[0] == labels[1]


def _share(ranges: list[Json]) -> bool:
    """Gives all ranges the span of all; False, and nothing changed, when they are not alike or do not meet."""
    ends = [(one.get("start", 0), one.get("end", 1)) for one in ranges]
    if not all(_number(start) and _number(end) for start, end in ends):
        return False
    falling = [start > end for start, end in ends]
    low, high = min(min(one) for one in ends), max(max(one) for one in ends)
    if any(falling) != all(falling) or sum(abs(end - start) for start, end in ends) < high - low - 1e-9 * abs(
        high - low
    ):
        return False
    _put(ranges, [(high, low) if falling[0] else (low, high)] * len(ranges))
    return True


def _lengthen(ranges: list[Json]) -> bool:
    ends: list[Any] = [(one.get("start"), one.get("end")) for one in ranges]
    if not all(_number(start) and _number(end) for start, end in ends):
        return False
    longest = max(end - start for start, end in ends)
    _put(ranges, [(start, start + longest) for start, _ in ends])
    return True


def _put(ranges: list[Json], ends: list[tuple[float, float]]) -> None:
    for one, (start, end) in zip(ranges, ends, strict=True):
        one.update(start=start, end=end)
        if "reset_start" in one or "reset_end" in one:
            one.update(reset_start=start, reset_end=end)


def _joined(groups: list[tuple[set[Key], bool]]) -> list[tuple[set[Key], bool]]:
    """Groups that have a range in common as one."""
    joined: list[tuple[set[Key], bool]] = []
    for keys, times in groups:
        meeting = [one for one in joined if one[0] & keys]
        joined = [one for one in joined if not one[0] & keys]
        joined.append((keys.union(*(one[0] for one in meeting)), times or any(one[1] for one in meeting)))
    return joined


def _objects(item: Json) -> dict[str, Json]:
    return {one["id"]: one for one in walk(item) if one.get("type") == "object" and "id" in one and "attributes" in one}


def _mappers(item: Json) -> list[Json]:
    wanted = ("LinearColorMapper", "LogColorMapper")
    return [one for one in walk(item) if one.get("name") in wanted and "attributes" in one]


def _figures(item: Json, objects: dict[str, Json]) -> list[dict[str, Json]]:
    """The ranges of each plot of a drawing by their role: x, y and y of other names."""
    found = []
    for one in list(walk(item)):
        if one.get("type") == "object" and one.get("name") in ("Figure", "Plot") and "attributes" in one:
            told = one["attributes"]
            more = (told.get("extra_y_ranges") or {}).get("entries") or []
            asked = [("x", told.get("x_range"), told.get("below")), ("y", told.get("y_range"), told.get("left"))]
            asked += [(f"y {name}", each, told.get("right")) for name, each in more]
            ranges = {role: _range(each, axes, objects) for role, each, axes in asked if each}
            scales = {role: (told.get(f"{role[0]}_scale") or {}).get("name") for role in ranges}
            found.append({role: {**each, "scale": scales[role]} for role, each in ranges.items() if each})
    return found


def _range(told: Json, axes: Any, objects: dict[str, Json]) -> Json | None:
    node = objects.get(told.get("id", ""))
    if node is None or node.get("name") != "Range1d":
        return None
    known = [objects.get(axis.get("id", ""), axis) for axis in axes or [] if isinstance(axis, dict)]
    axis = next((one for one in known if "Axis" in str(one.get("name"))), {})
    about = axis.get("attributes") or {}
    tags = node["attributes"].get("tags") or []
    column = tags[0][0][0] if tags and tags[0] and tags[0][0] else ""
    return {
        "id": node["id"],
        "column": str(column),
        "label": str(about.get("axis_label") or ""),
        "times": "Datetime" in str(axis.get("name")),
        "rows": json.dumps(about.get("major_label_overrides") or {}, sort_keys=True),
    }
