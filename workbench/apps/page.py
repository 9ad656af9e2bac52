"""The page a notebook ends with: a question, figures, and pictures with a sentence before and after.

The same call serves three readers. In Jupyter it displays inline; in a run's folder it leaves what `workbench serve` paints at
once and the report shows, and in the executed notebook a still of it; in a Panel session it becomes the served document.
"""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import unescape
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from workbench.apps import shell, snapshot
from workbench.apps.shell import Json
from workbench.errors import WorkbenchError

if TYPE_CHECKING:
    import xarray as xr

ROWS = 200  # of a table on a page
LONG = 60  # characters of a cell that may run over several lines
CONTROLS = (  # of a picture that answers: the page's colours reach into it
    ":host, div, label { color: var(--ink, inherit) }"
    " select { color: var(--ink, inherit); background-color: var(--paper, inherit) }"
    " option { color: var(--ink, inherit); background-color: var(--paper, inherit) }"
)
Text = str | Sequence[str]


def page(
    run: Any,
    title: str,
    question: str,
    cards: Sequence[Mapping[str, Any]] | None = None,
    sections: Iterable[tuple[str, Text, Any]] = (),
) -> Any:
    """The page of a run: in a session served, in a run's folder published, elsewhere shown inline, as a Panel column.

    `sections` are read in order, each `(heading, text, view)`. `text` is the sentence before the picture, or a pair: before and
    after. `view` is None, one thing or a list: HoloViews objects and bokeh models are pictures, data frames and `hv.Table` are
    tables, a text is a sentence where it stands, a Panel object is live in a session and published as its pictures.
    In texts `code` and **strong** words are marked so. `cards` are dicts with name, value and, if known, unit and good;
    without them the run's headline figures are shown.

    Raises WorkbenchError for a section or view of another kind, naming it.
    """
    from workbench.views import look

    look.extension()
    serving = bool(getattr(run, "serving", False))
    headline = [dict(card) for card in (run.headlines if cards is None else cards)]
    views: dict[str, Any] = {}
    models: dict[str, Any] = {}  # the drawn pictures, where there is no session to draw them
    told = [_section(number, section, views, None if serving else models) for number, section in enumerate(sections)]
    story: Json = {
        "title": title,
        "question": question,
        "headline": headline,
        "sections": told,
        "latest": latest_event(run),
    }
    notices = list(getattr(run, "notices", []))
    if notices:
        story["notices"] = notices
    if serving:
        import panel as pn

        return show(pn.state.curdoc, Told(run, story, views))
    if run.folder is not None:
        return snapshot.write_snapshot(run.folder, story, models)
    return _inline(run, story, views)


def latest_event(run: Any) -> str | None:
    """The time of the newest row that the run's cubes have counted, ISO in UTC; None when no cube tells one.

    It is the exact time where the cube counted the time column, else the start of the last window with rows.
    """
    from datetime import UTC, datetime

    folder = run.stored if getattr(run, "serving", False) else run.folder
    if folder is None:
        return None
    published = folder / snapshot.PAGE
    if getattr(run, "serving", False) and published.is_file():
        kept = snapshot.read_snapshot(folder)
        return kept.story.get("latest") if kept else None
    cubes = list((getattr(run, "cubes", None) or _left(folder)).values())
    if not cubes:
        return None
    import numpy as np

    found = []
    for cube in cubes:
        count = cube["count"]
        periods = [axis for axis in count.dims if np.issubdtype(cube[axis].dtype, np.datetime64)]
        column = str(cube[periods[0]].attrs.get("column", "")) if periods else str(run.parameters.get("time") or "")
        if "int_max" in cube and column in [str(name) for name in cube["column"].values]:
            values = cube["int_max"].sel(column=column)
            newest = values.where(count > cube["missing"].sel(column=column)).max()
            found += [int(newest)] if newest.notnull() else []
        elif periods:
            others = [one for one in count.dims if one != periods[0]]
            filled = cube[periods[0]].values[(count.sum(others) > 0).values]
            filled = filled[~np.isnat(filled)]
            found += [int(filled.max().astype("datetime64[us]").astype("int64"))] if filled.size else []
    if not found:
        return None
    return datetime.fromtimestamp(max(found) / 1e6, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _left(folder: Path) -> dict[str, xr.Dataset]:
    """The cubes in a run's folder."""
    from workbench.cubes import open_cube

    return {path.stem: open_cube(path) for path in sorted(folder.glob("*.nc"))}


# --- sections ----------------------------------------------------------------------------------------------------------


def _section(number: int, section: Any, views: dict[str, Any], models: dict[str, Any] | None) -> Json:
    if not isinstance(section, (tuple, list)) or len(section) != 3 or not isinstance(section[0], str):
        raise WorkbenchError(f"Section {number + 1} of the page is {section!r:.80}; wanted (heading, text, view).")
    heading, text, given = section
    before, *after = [text] if isinstance(text, str) else list(text)
    things = list(given) if isinstance(given, (list, tuple)) else ([] if given is None else [given])
    parts: list[Json] = [_text(before)] if before else []
    for place, thing in enumerate(things):
        parts += _view(f"p{number}-{place}", thing, views, models, heading)
    return {"heading": heading, "parts": parts + [_text(one) for one in after if one]}


def _text(words: str) -> Json:
    return {"kind": "text", "text": words}


def _view(key: str, thing: Any, views: dict[str, Any], models: dict[str, Any] | None, heading: str) -> list[Json]:
    import pandas as pd

    if thing is None:
        return []
    if isinstance(thing, str):
        return [_text(thing)]
    if isinstance(thing, pd.Series):
        thing = thing.to_frame()
    if isinstance(thing, pd.DataFrame):
        return [{"kind": "table", "html": table(thing)}]
    import holoviews as hv

    if isinstance(thing, hv.Div):  # words where a picture has nothing to draw
        return [_text(unescape(re.sub(r"<[^>]*>", "", thing.data)))]
    if isinstance(thing, hv.Table):
        return [{"kind": "table", "html": table(thing.dframe())}]
    if isinstance(thing, (hv.core.Dimensioned, hv.core.ViewableTree)):
        return [_picture(key, thing, views, models)]
    from bokeh.models import LayoutDOM

    if isinstance(thing, LayoutDOM):
        return [_picture(key, thing, views, models)]
    import panel as pn

    if isinstance(thing, pn.viewable.Viewable):
        if models is None:
            views[key] = thing
            return [{"kind": "picture", "key": key, "height": int(thing.height or snapshot.FALLBACK)}]
        found = thing.select(lambda one: isinstance(one, (pn.pane.HoloViews, pn.pane.DataFrame)))
        inner = [_view(f"{key}-{i}", pane.object, views, models, heading) for i, pane in enumerate(found)]
        return [part for parts in inner for part in parts]
    raise WorkbenchError(
        f"Section {heading!r} shows a {type(thing).__name__}; "
        "wanted a HoloViews object, a data frame, a Panel object, a bokeh model or a text."
    )


def _picture(key: str, view: Any, views: dict[str, Any], models: dict[str, Any] | None) -> Json:
    """A picture's place on the page. Outside a session it is drawn once, for its height, its poster and its snapshot."""
    views[key] = view
    if models is None:
        return {"kind": "picture", "key": key, "height": _asked_height(view)}
    models[key] = snapshot.drawing(view)
    return {
        "kind": "picture",
        "key": key,
        **snapshot.size(models[key]),
        **({"answers": True} if hasattr(view, "traverse") and _answers(view) else {}),
    }


def _asked_height(view: Any) -> int:
    import holoviews as hv
    from bokeh.models import LayoutDOM

    if isinstance(view, LayoutDOM):
        return snapshot.height(view)
    try:
        options = hv.Store.lookup_options("bokeh", view, "plot").kwargs
    except (KeyError, AttributeError):
        options = {}
    return int(options.get("height") or snapshot.FALLBACK)


def table(frame: Any) -> str:
    """A data frame as an HTML table: numbers aligned and short, texts to the left, at most 200 rows."""
    import pandas as pd
    from markupsafe import escape

    shown = frame if isinstance(frame.index, pd.RangeIndex) else frame.reset_index()
    words = [not pd.api.types.is_numeric_dtype(kind) or pd.api.types.is_bool_dtype(kind) for kind in shown.dtypes]
    words = [one and not shown[name].map(_figure).all() for one, name in zip(words, shown.columns, strict=True)]
    long = [one and shown[name].map(_length).max() > LONG for one, name in zip(words, shown.columns, strict=True)]
    side = [
        (' class="text long"' if many else ' class="text"') if one else ""
        for one, many in zip(words, long, strict=True)
    ]
    head = "".join(f"<th{s}>{escape(str(name))}</th>" for s, name in zip(side, shown.columns, strict=True))
    rows = []
    for row in shown.head(ROWS).itertuples(index=False):
        rows.append(
            "<tr>"
            + "".join(f"<td{s}>{escape(_cell(value))}</td>" for s, value in zip(side, row, strict=True))
            + "</tr>"
        )
    more = len(shown) - len(rows)
    note = (
        f'<caption style="caption-side:bottom">and {more} more rows, in the run\'s results</caption>'
        if more > 0
        else ""
    )
    return f"<table>{note}<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def _length(value: Any) -> int:
    return 0 if hasattr(value, "__html__") else len(str(value))


def _figure(value: Any) -> bool:
    """Whether a cell is a number written out, as in "$1,234.50" or "3.1 %"."""
    return value is None or bool(re.fullmatch(r"(≈ )?[\u2212+-]?\$?[\d.,]+( ?%| s| h)?|–|", str(value)))


def _cell(value: Any) -> str:
    import pandas as pd

    if hasattr(value, "__html__"):  # a shape of ours, drawn in the cell
        return cast(str, value)
    if isinstance(value, pd.Timestamp):
        return shell.when(value.isoformat())
    if value is None or value is pd.NaT or value is pd.NA:
        return "–"
    value = value.item() if hasattr(value, "item") else value
    return shell.number(value) if isinstance(value, (bool, int, float)) else str(value)


# --- the readers -------------------------------------------------------------------------------------------------------


def _pane(view: Any) -> Any:
    import panel as pn

    if isinstance(view, pn.viewable.Viewable):
        return view
    if _answers(view) and hasattr(view, "traverse"):  # its sliders above it, where a phone has room for them
        shown = pn.panel(view, sizing_mode="stretch_width", widget_location="top_left", center=False)
        for one in shown.select(pn.widgets.Widget):
            one.stylesheets = [*one.stylesheets, CONTROLS]
        for box in shown.select(pn.WidgetBox):
            box.styles = {"border": "0", "background": "transparent"}
        return shown
    return pn.panel(view, sizing_mode="stretch_width")


def _inline(run: Any, story: Json, views: Mapping[str, Any]) -> Any:
    """The page as one Panel column, for JupyterLab and for the executed notebook."""
    import panel as pn

    def words(template: str, **values: Any) -> Any:
        html = shell.render(template, **values)
        return pn.pane.HTML(html, sizing_mode="stretch_width", margin=0, stylesheets=[shell.text("inline.css")])

    parts: list[Any] = [words("inline.html", story=story, part="head", facts={"parameters": run.parameters})]
    for section in story["sections"]:
        parts.append(words("inline.html", part="heading", heading=section["heading"]))
        for part in section["parts"]:
            parts.append(
                _pane(views[part["key"]]) if part["kind"] == "picture" else words("inline.html", part="part", one=part)
            )
    column = pn.Column(*parts, name=snapshot.MARK, sizing_mode="stretch_width", max_width=1152)
    return column


@dataclass(frozen=True)
class Drawn:
    """A picture that answers nobody: the JSON that a browser draws and the room it takes, as `snapshot.size` says."""

    text: str
    size: Json


@dataclass(frozen=True)
class Told:
    """What a notebook told its page in a session; enough to show it again to the next reader. `drawn` keeps its pictures."""

    run: Any
    story: Json
    views: Mapping[str, Any]
    drawn: dict[str, Drawn] = field(default_factory=dict)

    @property
    def keeps(self) -> bool:
        """False when a view answers one session's reader and cannot be copied for the next one."""
        return all(_copied(view) is not None for view in self.views.values() if _answers(view))


def _answers(view: Any) -> bool:
    """Whether a view needs a session of its own: Panel objects, and HoloViews that are made while they are looked at."""
    import holoviews as hv
    from bokeh.models import LayoutDOM

    if isinstance(view, LayoutDOM) or not hasattr(view, "traverse"):
        return True
    return bool(view.traverse(lambda one: one, [hv.DynamicMap, hv.HoloMap]))


def _copied(view: Any) -> Any:
    """A picture with sliders once more, where nothing is shared but its function; None for what holds a reader's choice."""
    import holoviews as hv

    plain = isinstance(view, hv.DynamicMap) and not view.streams
    return view.clone(shared_data=False, link=False) if plain else None


def show(document: Any, told: Told) -> Any:
    """Puts the pictures that answer into a session's document, inside the shell, and gives them back as a column.

    The others are no part of the session: the browser draws them from JSON that the page carries, as it does a published one.
    """
    import panel as pn

    run = told.run
    story = copy.deepcopy(told.story)
    _hang(story, run)
    placed = {
        part["key"]: part for section in story["sections"] for part in section["parts"] if part["kind"] == "picture"
    }
    panes = []
    for key, view in told.views.items():
        if _answers(view):
            pane = _pane(_copied(view) or view)
            before = {root.ref["id"] for root in document.roots}
            pane.server_doc(document, title=story["title"], location=False)
            helpers = ("location", "notifications", "browser_info")
            roots = [root for root in document.roots if root.ref["id"] not in before and root.name not in helpers]
            panes.append(pane)
            for root in roots:
                root.name = f"wb-{key}"
                snapshot.settle(root)
                placed[key].update(snapshot.size(root))
        else:
            if key not in told.drawn:
                model = snapshot.drawing(view)
                room = snapshot.size(model)
                told.drawn[key] = Drawn(shell.inline_json(snapshot.item(model)), room)
            placed[key].update(told.drawn[key].size)
    record = dict(run.record.told) if getattr(run, "record", None) is not None else {"status": "good"}
    record.update(headline=story["headline"], parameters=run.parameters)
    state = shell.state_of(record)
    if story.get("notices"):
        state = {**state, "notice": " ".join(story["notices"])}
    document.title = story["title"]
    document.template = shell.environment().get_template("live.html")
    document.template_variables.update(
        story=story,
        ages=True,
        live=True,
        state=state,
        css=shell.css(),
        look=shell.look_version(),
        page_js=shell.text("page.js"),
        theme_js=shell.text("theme.js"),
        controls=_controls(run),
        facts=shell.facts_of(record, run.stored.name, story["latest"]),
        told=told,
        document="{" + ",".join(f'"{key}":{drawn.text}' for key, drawn in told.drawn.items()) + "}",
        here="live",
    )
    document.template_variables.setdefault("links", {})
    if "static" in document.template_variables:  # a server that has bokeh's scripts beside its pages
        modules = {type(one).__module__ for one in document.models}
        beyond = any(not module.startswith("bokeh.") or module.startswith("bokeh.models.widgets") for module in modules)
        own = any(module.startswith("panel.models.esm") for module in modules)
        document.template_variables["scripts"] = shell.scripts(shell.LIBRARIES if beyond else {"bokeh"})
        document.template_variables["static"] = "" if own else document.template_variables["static"]
    return pn.Column(*panes, name=snapshot.MARK)


def _hang(story: Json, run: Any) -> None:
    """Puts the posters of the stored run into a story with the same parameters: they are seen until the pictures are there."""
    record = getattr(run, "record", None)
    if record is None or record.told.get("parameters") != run.parameters:
        return
    try:
        kept = snapshot.read_story(run.stored)
    except WorkbenchError:
        return  # the published page says so
    posters = {
        part.get("key"): part.get("poster")
        for section in (kept or {}).get("sections", [])
        for part in section.get("parts", [])
    }
    for section in story["sections"]:
        for part in section["parts"]:
            if posters.get(part.get("key")):
                part["poster"] = posters[part["key"]]


def _slider(value: Any, low: Any, high: Any) -> Json | None:
    """Ends and step of the slider beside a number's field; of a wide range only what is near the number."""
    if any(isinstance(one, bool) or not isinstance(one, int | float) for one in (value, low, high)):
        return None
    if high - low > 200:
        low, high = max(low, min(0, value)), min(high, max(4 * abs(value), low + 1))
    step = 1 if isinstance(value, int) else 10.0 ** math.floor(math.log10(max(high - low, 1e-9) / 100))
    return {"low": _field(low), "high": _field(high), "step": _field(step), "value": _field(value)}


def _field(value: Any) -> str:
    """A value as a form shows and sends it."""
    return f"{value:g}" if isinstance(value, float) and f"{value:g}" == repr(value).removesuffix(".0") else str(value)


def _words_of(run: Any) -> dict[str, str]:
    """The words beside each parameter in the notebook of a stored run, up to their first full thought."""
    from workbench.runs.parameters import declared

    try:
        known = declared(run.stored / "notebook.ipynb")
    except (WorkbenchError, OSError):
        return {}
    return {name: re.split(r"[;:(]", one.help)[0].strip() for name, one in known.items()}


def _controls(run: Any) -> list[Json]:
    """One control for each parameter that the address may set."""
    choices, words, found = getattr(run, "choices", None) or {}, _words_of(run), []
    for name, span in (run.live or {}).items():
        low, high = span if span else (None, None)
        found.append(
            {
                "name": name,
                "label": words.get(name) or name,
                "value": _field(run.parameters.get(name)),
                "low": low,
                "high": high,
                "slider": _slider(run.parameters.get(name), low, high),
                "choices": [str(one) for one in choices.get(name, [])],
            }
        )
    return found
