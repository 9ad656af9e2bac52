"""What a run publishes: `page.json` (its words, figures, tables and posters) and `pictures.json` (its bokeh documents).

From these two files the server paints a page without opening a cube or importing a plotting library, and the report is made.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.apps.poster import plots, poster
from workbench.apps.shell import Json, render
from workbench.errors import WorkbenchError
from workbench.runs.secrets import scrub

PAGE, PICTURES = "page.json", "pictures.json"
MARK = "workbench-page"  # by which the report knows the page, still or inline, among a notebook's outputs
FALLBACK = 300  # px, of a picture that does not say how high it is


@dataclass(frozen=True)
class Snapshot:
    """A published page: its story, the scripts its pictures need and the pictures as JSON text."""

    story: Json
    scripts: tuple[str, ...]
    pictures: str


@dataclass(frozen=True)
class Published:
    """What the executed notebook of a run shows of its page: its words, figures, tables and posters, without any script, so
    that a notebook that nobody has trusted yet shows them too."""

    story: Json

    def __repr__(self) -> str:
        count = sum(part["kind"] == "picture" for section in self.story["sections"] for part in section["parts"])
        return f"The page of this run, with {count} picture{'' if count == 1 else 's'}, is in the files beside this notebook."

    def _repr_html_(self) -> str:
        return render("still.html", mark=MARK, story=self.story)


def write_snapshot(folder: Path, story: Json, models: Mapping[str, Any]) -> Published:
    """Writes both files into a run's folder and gives what a notebook shows of them; `models` are the drawn pictures of the
    story, by key."""
    pictures, posters = {}, {}
    for key, model in models.items():
        pictures[key] = item(model)
        posters[key] = poster(model)
    scripts = {"bokeh"} | libraries(pictures)
    sections = [
        {
            **section,
            "parts": [
                {**part, "poster": posters[part["key"]]} if part.get("key") in posters else part
                for part in section["parts"]
            ],
        }
        for section in story["sections"]
    ]
    story = {**story, "sections": sections}
    told = {**story, "scripts": sorted(scripts)}
    drawn, page = scrub(pictures), scrub(told)
    (folder / PICTURES).write_text(json.dumps(drawn, separators=(",", ":")), encoding="utf-8")
    (folder / PAGE).write_text(json.dumps(page, ensure_ascii=False, allow_nan=False, indent=1) + "\n", encoding="utf-8")
    return Published(page)


def read_snapshot(folder: Path, drawn: bool = True) -> Snapshot | None:
    """What a run published, None when it published nothing. Raises WorkbenchError when its files cannot be read.

    drawn: whether the pictures are read too; a page that sends for them needs only to know that they are there.
    """
    try:
        story = json.loads((folder / PAGE).read_text(encoding="utf-8"))
        scripts = tuple(str(name) for name in story.pop("scripts", ["bokeh"]))
        pictures = (folder / PICTURES).read_text(encoding="utf-8") if drawn or not (folder / PICTURES).is_file() else ""
        story["sections"], story["title"], story["question"]
        return Snapshot(story, scripts, pictures.replace("<", "\\u003c"))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, AttributeError, KeyError, OSError) as error:
        raise WorkbenchError(
            f"The published page in {str(folder)!r} cannot be read ({error}); run the notebook again."
        ) from error


def read_story(folder: Path) -> Json | None:
    """The words, figures and tables that a run published, without its pictures; None and errors as `read_snapshot`."""
    try:
        story = json.loads((folder / PAGE).read_text(encoding="utf-8"))
        story["sections"], story["title"], story["question"], story["headline"]
        return dict(story)
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, AttributeError, KeyError, OSError) as error:
        raise WorkbenchError(
            f"The published page in {str(folder)!r} cannot be read ({error}); run the notebook again."
        ) from error


def drawing(view: Any) -> Any:
    """A HoloViews object or bokeh model as a bokeh model that fills its width and leaves scrolling to the page."""
    from bokeh.models import LayoutDOM

    if isinstance(view, LayoutDOM):
        model = view
    else:
        import holoviews as hv

        model = hv.render(view, backend="bokeh")
    _release(model)  # first: a document looks through all of its models when one of them is changed
    settle(model)
    return model


def _release(model: Any) -> None:
    """Takes a model out of its document: a formatter that two pictures share may be in one document at a time."""
    if model.document is not None:
        model.document.clear()


def settle(model: Any) -> None:
    """Makes the plots of a bokeh model fill their width, be drawn alike in every browser and leave the wheel to the page."""
    from bokeh.models import LayoutDOM, Plot, Toolbar

    found = model.references()
    for one in [model, *(one for one in found if isinstance(one, Plot))]:
        if getattr(one, "sizing_mode", None) in (None, "fixed") and isinstance(one, LayoutDOM):
            if one.height is None and getattr(one, "frame_height", None) is None:
                one.height = FALLBACK
            one.width, one.sizing_mode = None, "stretch_width"
        if isinstance(one, Plot):
            one.output_backend = "canvas"  # a page of small pictures: no second library, the same in every browser
    for toolbar in (one for one in found if isinstance(one, Toolbar)):
        toolbar.logo, toolbar.active_scroll, toolbar.autohide = None, None, True


NARROW = 300  # px that a legend has for itself on a phone
CONTROL = 60  # px of a slider or a choice with its label


def height(model: Any, narrow: bool = False) -> int:
    """How many pixels high a drawn model will be: rows of a grid are added up. `narrow`: on a phone, legends below."""
    from bokeh.models import Plot, Spacer, Widget

    if isinstance(model, Spacer):
        return 0
    if isinstance(model, Widget):
        return CONTROL
    children = getattr(model, "children", None)
    if children and isinstance(children[0], (tuple, list)):  # a list once it has been stored
        rows: dict[int, int] = {}
        for child, row, *_ in children:
            rows[row] = max(rows.get(row, 0), height(child, narrow))
        return sum(rows.values()) + 30
    if children:
        heights = [height(child, narrow) for child in children]
        return max(heights) if type(model).__name__ == "Row" else sum(heights)
    own = int(model.height or (getattr(model, "frame_height", None) or FALLBACK - 70) + 70)
    return own + (_legend(model) if narrow and isinstance(model, Plot) else 0)


def _legend(plot: Any) -> int:
    """How many pixels the legends of a plot need below it on a phone; as templates/page.js lays them out."""
    from bokeh.models import Legend

    found = 0
    for legend in [one for one in (*plot.right, *plot.center) if isinstance(one, Legend) and one.visible]:
        labels = [getattr(item.label, "value", None) for item in legend.items]
        lengths = [len(label) for label in labels if isinstance(label, str)]
        if lengths and len(lengths) == len(labels):
            columns = max(1, min(3, NARROW // (36 + 7 * max(lengths))))
            found += -(-len(labels) // columns) * 22 + 12
    return found


def size(model: Any) -> Json:
    """How much room a drawn model takes: its `height`, the `width` it needs, what its legends add on a phone; in px."""
    high = height(model)
    return {"height": high, "width": needs(model), "legend": height(model, narrow=True) - high}


def needs(model: Any) -> int:
    """The width in px below which a drawn model cannot be read: the page then scrolls it inside its section. 0 for any."""
    from bokeh.models import Axis, ColorBar, Legend

    widths = [0]
    for plot in plots(model):
        labels = [label for axis in plot.left if isinstance(axis, Axis) for label in _labels(axis, plot.y_range)]
        beside = [thing for thing in (*plot.left, *plot.right) if isinstance(thing, (ColorBar, Legend))]
        if any(len(label) > 10 for label in labels) or any(isinstance(thing, ColorBar) for thing in beside):
            widths.append(680)
        elif beside and not _legend(plot):
            widths.append(520)
    return max(widths)


def _labels(axis: Any, range_: Any) -> list[str]:
    factors = getattr(range_, "factors", None) or []
    overrides = axis.major_label_overrides or {}
    return [str(one) for one in factors] + [str(one) for one in overrides.values()]


def item(model: Any) -> Any:
    """A model as bokeh embeds it: a document of its own with one root. (`bokeh.embed.json_item` looks through it six times.)"""
    from bokeh import __version__
    from bokeh.document import Document

    _release(model)
    document = Document(title="")
    document.add_root(model)
    told = {"target_id": None, "root_id": model.id, "doc": document.to_json(deferred=False), "version": __version__}
    _release(model)
    return told


def libraries(pictures: Mapping[str, Any]) -> set[str]:
    """The scripts that embedded drawings need."""
    if not pictures:
        return set()
    from bokeh.models import widgets

    names = {one["name"] for one in walk(pictures) if one.get("type") == "object" and "name" in one}
    found = {"bokeh"}
    if names & {"DataTable", "DataCube", "TableColumn"}:
        found |= {"bokeh-widgets", "bokeh-tables"}
    if names & set(widgets.__all__):
        found.add("bokeh-widgets")
    if any(name.startswith("panel.") for name in names):
        found |= {"bokeh-widgets", "bokeh-tables", "panel"}  # panel's script stands on both
    return found


def walk(node: Any) -> Iterator[Json]:
    """Every object in a drawing."""
    if isinstance(node, dict):
        yield node
        for value in node.values():
            yield from walk(value)
    elif isinstance(node, list):
        for value in node:
            yield from walk(value)
