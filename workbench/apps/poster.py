"""A picture's poster: its marks as a small SVG, painted before any script has been read.

It is drawn from the bokeh model itself, so every view has one: lines, areas, bars, points, rectangles and maps. Text is left
out; axes are too. What it cannot draw it leaves out.
"""

from __future__ import annotations

from typing import Any
from xml.sax.saxutils import quoteattr

WIDTH, HEIGHT = 1000.0, 300.0
LEFT, TOP, RIGHT, BOTTOM = 60.0, 12.0, 40.0, 42.0
FIXED = 'vector-effect="non-scaling-stroke"'  # a line stays as thick when the poster is stretched
POINTS = 160  # of one line
MOST = 400  # marks of one kind; a poster is a hint, not the picture


def poster(model: Any) -> str:
    """An SVG of a bokeh figure's marks, "" for a model without a figure. Stretches to its box."""
    figures = plots(model)
    if not figures:
        return ""
    share = WIDTH / len(figures)
    parts = []
    for place, figure in enumerate(figures):
        try:
            marks = _Scale(figure, place * share + LEFT, (place + 1) * share - RIGHT).marks(figure)
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError):
            marks = []  # a kind of picture that is not known here
        parts += marks
        low, left, right = HEIGHT - BOTTOM, place * share + LEFT, (place + 1) * share - RIGHT
        parts.append(
            f'<path d="M{left:.0f} {low:.0f}H{right:.0f}" stroke="currentColor" stroke-opacity=".35" {FIXED}/>'
        )
    return f'<svg viewBox="0 0 {WIDTH:.0f} {HEIGHT:.0f}" preserveAspectRatio="none" fill="none">{"".join(parts)}</svg>'


def plots(model: Any) -> list[Any]:
    """The plots of a bokeh model in the order of its layout."""
    from bokeh.models import Plot

    if isinstance(model, Plot):
        return [model]
    inner = [one[0] if isinstance(one, (tuple, list)) else one for one in getattr(model, "children", None) or []]
    return [plot for one in inner for plot in plots(one)]


class _Scale:
    """Data to SVG for one figure."""

    def __init__(self, figure: Any, left: float, right: float) -> None:
        self.x = _ends(figure.x_range, type(figure.x_scale).__name__)
        self.y = _ends(figure.y_range, type(figure.y_scale).__name__)
        self.left, self.right = left, right

    def h(self, values: Any) -> Any:
        return self.left + _place(values, self.x) * (self.right - self.left)

    def v(self, values: Any) -> Any:
        return HEIGHT - BOTTOM - _place(values, self.y) * (HEIGHT - BOTTOM - TOP)

    def marks(self, figure: Any) -> list[str]:
        found = []
        for renderer in figure.renderers:
            glyph = getattr(renderer, "glyph", None)
            if glyph is None or not getattr(renderer, "visible", True):
                continue
            draw = _DRAW.get(type(glyph).__name__)
            if draw is not None:
                found += draw(self, glyph, renderer.data_source.data)
        return found


def _ends(range_: Any, scale: str) -> tuple[float, float, dict[Any, int] | None, bool]:
    if hasattr(range_, "factors"):
        flat = [tuple(f) if isinstance(f, (list, tuple)) else f for f in range_.factors]
        return -0.0, float(len(flat)), {name: place for place, name in enumerate(flat)}, False
    ends = _numbers([range_.start, range_.end], None)
    if scale == "LogScale":
        import numpy as np

        ends = np.log10(ends)
    return float(ends[0]), float(ends[1]), None, scale == "LogScale"


def _numbers(values: Any, factors: dict[Any, int] | None) -> Any:
    import numpy as np

    if factors is not None:
        return np.array([_factor(value, factors) for value in values], dtype=float)
    array = np.asarray(values)
    if array.dtype.kind == "M":
        array = array.astype("datetime64[us]").astype("int64") / 1000.0
    elif array.dtype.kind == "O":
        array = np.array([_number(value) for value in array], dtype=float)
    return array.astype(float)


def _number(value: Any) -> float:
    import numpy as np
    import pandas as pd

    if isinstance(value, (pd.Timestamp, np.datetime64)) or hasattr(value, "timestamp"):
        return pd.Timestamp(value).value / 1e6
    return float("nan") if value is None else float(value)


def _factor(value: Any, factors: dict[Any, int]) -> float:
    shift = 0.5
    if isinstance(value, (tuple, list)):
        value = tuple(value)
        if value not in factors and value and isinstance(value[-1], (int, float)):
            shift += float(value[-1])
            value = value[0] if len(value) == 2 else value[:-1]
    return factors[value] + shift if value in factors else float("nan")


def _place(values: Any, ends: tuple[float, float, dict[Any, int] | None, bool]) -> Any:
    import numpy as np

    low, high, factors, logged = ends
    numbers = _numbers(values, factors)
    if logged:
        with np.errstate(divide="ignore", invalid="ignore"):
            numbers = np.log10(numbers)
    return np.clip((numbers - low) / ((high - low) or 1.0), -0.02, 1.02)


def _column(glyph: Any, name: str, data: Any, size: int | None = None) -> Any:
    from bokeh.core.property.vectorization import Field, Value

    spec = getattr(glyph, name)
    if isinstance(spec, Field) or (isinstance(spec, str) and spec in data):
        return data[spec.field if isinstance(spec, Field) else spec]
    value = spec.value if isinstance(spec, Value) else spec
    return [value] * (size or 1)


def _colour(glyph: Any, name: str, data: Any, size: int) -> list[str]:
    from bokeh.core.property.vectorization import Field, Value

    spec = getattr(glyph, name)
    spec = spec.value if isinstance(spec, Value) else spec
    if isinstance(spec, Field) and spec.field in data:
        values, mapper = data[spec.field], _mapper(spec)
        palette = list(getattr(mapper, "palette", None) or [])
        if palette and hasattr(mapper, "low"):
            import numpy as np

            numbers = _numbers(values, None)
            low, high = mapper.low, mapper.high
            low = float(np.nanmin(numbers)) if low is None else float(low)
            high = float(np.nanmax(numbers)) if high is None else float(high)
            places = np.clip((numbers - low) / ((high - low) or 1.0) * len(palette), 0, len(palette) - 1)
            return ["none" if place != place else palette[int(place)] for place in places]
        if palette and hasattr(mapper, "factors"):
            known = {factor: palette[place % len(palette)] for place, factor in enumerate(mapper.factors)}
            return [known.get(value, "currentColor") for value in values]
        return [str(value) for value in values]
    return [str(spec) if isinstance(spec, str) else "none"] * size


def _mapper(spec: Any) -> Any:
    return getattr(spec, "transform", None)


def _alpha(glyph: Any, name: str) -> float:
    value = getattr(glyph, name, 1.0)
    value = getattr(value, "value", value)
    return float(value) if isinstance(value, (int, float)) else 1.0


def _path(xs: Any, ys: Any) -> str:
    import numpy as np

    if len(xs) > POINTS:
        keep = np.linspace(0, len(xs) - 1, POINTS).astype(int)
        xs, ys = xs[keep], ys[keep]
    said, pen = [], "M"
    for x, y in zip(xs, ys, strict=True):
        if x != x or y != y:
            pen = "M"
            continue
        said.append(f"{pen}{x:.0f} {y:.0f}")
        pen = "L"
    return "".join(said)


def _stroke(path: str, colour: str, alpha: float) -> str:
    if not path or colour == "none":
        return ""
    return f'<path d="{path}" stroke={quoteattr(colour)} stroke-opacity="{alpha:g}" stroke-width="2" {FIXED}/>'


def _line(scale: _Scale, glyph: Any, data: Any) -> list[str]:
    xs, ys = scale.h(_column(glyph, "x", data)), scale.v(_column(glyph, "y", data))
    return [_stroke(_path(xs, ys), _colour(glyph, "line_color", data, 1)[0], _alpha(glyph, "line_alpha"))]


def _lines(scale: _Scale, glyph: Any, data: Any) -> list[str]:
    xs, ys = _column(glyph, "xs", data), _column(glyph, "ys", data)
    colours = _colour(glyph, "line_color", data, len(xs))
    return [
        _stroke(_path(scale.h(x), scale.v(y)), c, _alpha(glyph, "line_alpha"))
        for x, y, c in zip(xs, ys, colours, strict=False)
    ]


def _patch(scale: _Scale, glyph: Any, data: Any) -> list[str]:
    path = _path(scale.h(_column(glyph, "x", data)), scale.v(_column(glyph, "y", data)))
    fill = _colour(glyph, "fill_color", data, 1)[0]
    return (
        [f'<path d="{path}Z" fill={quoteattr(fill)} fill-opacity="{_alpha(glyph, "fill_alpha"):g}"/>'] if path else []
    )


def _band(scale: _Scale, glyph: Any, data: Any) -> list[str]:
    import numpy as np

    x = scale.h(_column(glyph, "x", data))
    low, high = scale.v(_column(glyph, "y1", data, len(x))), scale.v(_column(glyph, "y2", data, len(x)))
    path = _path(np.concatenate([x, x[::-1]]), np.concatenate([low, high[::-1]]))
    fill = _colour(glyph, "fill_color", data, 1)[0]
    return (
        [f'<path d="{path}Z" fill={quoteattr(fill)} fill-opacity="{_alpha(glyph, "fill_alpha"):g}"/>'] if path else []
    )


def _boxes(left: Any, right: Any, top: Any, bottom: Any, fills: list[str], alpha: float) -> list[str]:
    import numpy as np

    left, right, top, bottom = np.broadcast_arrays(left, right, top, bottom)
    by_fill: dict[str, list[str]] = {}
    step = -(-len(left) // (MOST * 5))  # a large map is thinned, and what is left drawn wider
    for place in range(0, len(left), step or 1):
        x, y = min(left[place], right[place]), min(top[place], bottom[place])
        w, h = abs(right[place] - left[place]) * step, abs(top[place] - bottom[place])
        if x == x and y == y and w == w and h == h:
            fill = fills[place] if place < len(fills) else fills[-1]
            by_fill.setdefault(fill, []).append(f"M{x:.0f} {y:.0f}h{max(w, 1):.0f}v{h:.0f}h{-max(w, 1):.0f}z")
    return [
        f'<path d="{"".join(d)}" fill={quoteattr(fill)} fill-opacity="{alpha:g}"/>'
        for fill, d in by_fill.items()
        if fill != "none"
    ]


def _quad(scale: _Scale, glyph: Any, data: Any) -> list[str]:
    left = _column(glyph, "left", data)
    size = len(left)
    sides = [scale.h(left), scale.h(_column(glyph, "right", data)), scale.v(_column(glyph, "top", data, size)),
             scale.v(_column(glyph, "bottom", data, size))]  # fmt: skip
    return _boxes(
        sides[0], sides[1], sides[2], sides[3], _colour(glyph, "fill_color", data, size), _alpha(glyph, "fill_alpha")
    )


def _bars(scale: _Scale, glyph: Any, data: Any) -> list[str]:
    upright = type(glyph).__name__ == "VBar"
    along = _column(glyph, "x" if upright else "y", data)
    size = len(along)
    middle = scale.h(along) if upright else scale.v(along)
    ends, reach = (scale.x, scale.right - scale.left) if upright else (scale.y, HEIGHT - BOTTOM - TOP)
    thick = (
        _numbers(_column(glyph, "width" if upright else "height", data, size), None)
        / abs((ends[1] - ends[0]) or 1.0)
        * reach
    )
    names = ("top", "bottom") if upright else ("right", "left")
    measure = scale.v if upright else scale.h
    far, near = (measure(_column(glyph, name, data, size)) for name in names)
    fills, alpha = _colour(glyph, "fill_color", data, size), _alpha(glyph, "fill_alpha")
    if upright:
        return _boxes(middle - thick / 2, middle + thick / 2, far, near, fills, alpha)
    return _boxes(near, far, middle - thick / 2, middle + thick / 2, fills, alpha)


def _rect(scale: _Scale, glyph: Any, data: Any) -> list[str]:
    x, y = scale.h(_column(glyph, "x", data)), scale.v(_column(glyph, "y", data))
    size = len(x)
    wide = (
        _numbers(_column(glyph, "width", data, size), None)
        / abs((scale.x[1] - scale.x[0]) or 1.0)
        * (scale.right - scale.left)
    )
    high = (
        _numbers(_column(glyph, "height", data, size), None)
        / abs((scale.y[1] - scale.y[0]) or 1.0)
        * (HEIGHT - BOTTOM - TOP)
    )
    return _boxes(
        x - wide / 2,
        x + wide / 2,
        y - high / 2,
        y + high / 2,
        _colour(glyph, "fill_color", data, size),
        _alpha(glyph, "fill_alpha"),
    )


def _points(scale: _Scale, glyph: Any, data: Any) -> list[str]:
    x, y = scale.h(_column(glyph, "x", data)), scale.v(_column(glyph, "y", data))
    return _boxes(x - 2, x + 2, y - 3, y + 3, _colour(glyph, "fill_color", data, len(x)), _alpha(glyph, "fill_alpha"))


_DRAW = {
    "Line": _line, "Step": _line, "MultiLine": _lines, "Segment": lambda s, g, d: _segments(s, g, d), "Patch": _patch,
    "VArea": _band, "VAreaStep": _band, "Quad": _quad, "VBar": _bars, "HBar": _bars, "Rect": _rect,
    "Scatter": _points, "Circle": _points,
}  # fmt: skip


def _segments(scale: _Scale, glyph: Any, data: Any) -> list[str]:
    x0, y0 = scale.h(_column(glyph, "x0", data)), scale.v(_column(glyph, "y0", data))
    x1, y1 = scale.h(_column(glyph, "x1", data)), scale.v(_column(glyph, "y1", data))
    path = "".join(f"M{a:.0f} {b:.0f}L{c:.0f} {d:.0f}" for a, b, c, d in list(zip(x0, y0, x1, y1, strict=True))[:MOST])
    return [_stroke(path, _colour(glyph, "line_color", data, 1)[0], _alpha(glyph, "line_alpha"))]
