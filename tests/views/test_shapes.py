"""Two distributions in a cell: what is drawn, on which scale, and that it reaches a table as a drawing and nothing else does."""

import re

import pandas as pd
from markupsafe import Markup

from workbench.apps.page import table
from workbench.views import shapes

BLANK = {"column": "k", "when": "2026-03-11", "value": "", "low": float("nan"), "high": float("nan")}


def close(**sides: list[dict]) -> pd.DataFrame:
    return pd.DataFrame([{**BLANK, **one, "side": side} for side, rows in sides.items() for one in rows])


def tops(svg: str) -> list[list[float]]:
    """How high each bar of the two paths is, 0 to 1."""
    low, tall = shapes.HEIGHT - shapes.EDGE, shapes.HEIGHT - 2 * shapes.EDGE
    paths = re.findall(r' d="M0 [\d.]+((?:V[\d.]+H[\d.]+)+)', svg)
    return [[round((low - float(one)) / tall, 2) for one in re.findall(r"V([\d.]+)H", path)] for path in paths]


def test_values_of_text_stand_side_by_side_on_one_scale():
    frame = close(
        reference=[{"value": "a", "count": 75}, {"value": "b", "count": 25}],
        current=[{"value": "b", "count": 50}, {"value": "c", "count": 50}],
    )
    drawn = shapes.shape(frame, "k: <b> is new")
    assert tops(drawn) == [[1.0, 0.33, 0.0], [0.0, 0.67, 0.67]]
    assert 'aria-label="k: &lt;b&gt; is new"' in drawn


def test_numbers_are_counted_in_common_bins():
    old = [{"low": float(at), "high": float(at), "count": 1} for at in range(1000)]
    new = [{"low": 999.0, "high": 999.0, "count": 7}]
    before, now = tops(shapes.shape(close(reference=old, current=new), "w"))
    assert len(before) == len(now) == shapes.BARS
    assert now[-1] == 1.0
    assert sum(now) == 1.0
    assert max(before) < 0.1


def test_constants_and_empty_sides_are_drawn():
    one = [{"low": 5.0, "high": 5.0, "count": 3}]
    assert [max(path) for path in tops(shapes.shape(close(reference=one, current=one), "w"))] == [1.0, 1.0]
    assert [max(path) for path in tops(shapes.shape(close(reference=one, current=[{**one[0], "count": 0}]), "w"))] == [
        1.0,
        0.0,
    ]


def test_a_table_has_shapes_where_columns_have_one_and_text_stays_text():
    told = pd.DataFrame({"column": ["k", "<svg onload=x>"], "verdict": ["drifted", "no drift"], "largest": [0.5, 0.0]})
    shown = shapes.beside(
        told, [close(reference=[{"low": 1.0, "count": 1}], current=[{"low": 2.0, "count": 1}])], lambda _: "w"
    )
    assert list(shown.columns) == ["column", "verdict", "before and now", "largest"]
    html = table(shown)
    assert html.count("<svg class=") == 1
    assert "&lt;svg onload=x&gt;" in html
    assert "long" not in html, "a drawing is no long text"
    assert shapes.beside(told, [], lambda _: "w") is told
    assert table(pd.DataFrame({"a": [str(Markup("<b>"))]})).count("&lt;b&gt;") == 1
