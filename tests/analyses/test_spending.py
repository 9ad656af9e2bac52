"""From counted requests to assumptions, sentences that say what the figures are, and the example's files."""

import numpy as np
import pandas as pd
import pytest

from workbench import example_costs, examples
from workbench.analyses import allocation, cost, prices, reconcile, returns, spending, statement
from workbench.errors import WorkbenchError
from workbench.tables.focus_read import read_focus
from workbench.tables.usage import read_usage
from workbench.views import cost as pictures
from workbench.views import returns as drawn


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    table = tmp_path_factory.mktemp("costs") / "requests"
    examples.requests(table, rows=4000)
    files = example_costs.files(str(table))
    assert example_costs.beside(str(table), "auto", "bill") == files["bill"]
    priced = prices.price(read_usage(table), contract=files["contract"])
    return files, priced


def test_what_is_measured_becomes_assumptions(example):
    _, priced = example
    cube = cost.count(priced, ("status",), "h")
    seen = spending.measured(cost.lines(cube), cost.requests(cube))
    assert seen.requests == (priced.cost >= 0).sum()
    assert seen.dollars == pytest.approx(float(priced.dollars))
    assert 0 < seen.failed < 0.1 * seen.requests
    assert seen.hours == pytest.approx(14 * 24, abs=2)
    assert seen.busy_hours(1000, 100).sum() == pytest.approx(seen.fresh.sum() / 3.6e6 + seen.out.sum() / 3.6e5)
    given = spending.assumptions(seen, growth=0.0, accepted=0.7, reviewed=0.1, review=1.0, escalation=1.0, value=2.0,
                                 fixed=1.0, investment=10.0, discount=0.1)  # fmt: skip
    assert set(given) == set(returns.ASSUMPTIONS)
    table = spending.sources(given, seen, {"value": [0.5, 2]}, returns.ASSUMPTIONS).set_index("name")
    assert table.loc["value", "range"] == "1 to 4"
    assert table.loc["requests", "from"].startswith("measured over")
    one = spending.measured(cost.lines(cube), cost.requests(cube), "dune-code")
    assert one.requests < seen.requests
    with pytest.raises(WorkbenchError, match="did you mean 'dune-code'"):
        spending.measured(cost.lines(cube), cost.requests(cube), "dune-coder")


def test_hosted_and_own_add_up_to_the_sum_in_every_table(example):
    files, priced = example
    hours = statement.read_hours(files["gpu_hours"])
    own = statement.own_models("auto", hours)
    assert set(own) == set(example_costs.OWN)
    cube = cost.count(priced, own=own)
    rates, words = statement.gpu_rates(hours, {"H100": 2.0}, "", "")
    assert words == "H100 at $2.00 an hour, as agreed"
    gpus = allocation.windows(hours, rates, "D")
    lines = cost.together(cost.lines(cube), allocation.as_lines(gpus, cost.served(cube)))
    whole = cost.bill_micro(lines)
    assert whole == lines["micro"].sum() == cost.bill_micro(cost.lines(cube)) + gpus.attrs["bill_micro"]
    for names in (("provider", "model"), ("owner",)):
        table = pictures.summed(cost.by(lines, *names), names)
        assert table["cost"].iloc[0] == pictures.dollars(whole)
    told = cost.classes(lines)
    assert told.loc[~told["inside"], "micro"].sum() == whole
    assert statement.sum_words(lines).startswith(f"**{pictures.dollars(whole)}** in all")
    found = statement.exceptions_by_reason(priced.exceptions, own=own)
    figures = {
        name: (value, good) for name, value, _, good, _ in statement.headline(lines, found, (40, False, ""), -5, 10)
    }
    assert figures["cost"][0] == pytest.approx(whole / 1e6)
    assert figures["exceptions"] == ("none", True)
    assert figures["age of prices"] == (40, False)


def test_exceptions_are_named_in_the_headline(example):
    _, priced = example  # own models have no price here
    lines = cost.lines(cost.count(priced))
    found = statement.exceptions_by_reason(priced.exceptions)
    figures = {name: value for name, value, *_ in statement.headline(lines, found, (1, True, ""), 0, 0)}
    assert figures["exceptions"] == f"{priced.unpriced:,} unknown model"
    none = statement.headline(lines.iloc[:0], found, (1, True, ""), 0, 0)
    assert none[0][:3] == ("cost", None, "USD")  # not known, and not 0
    assert "None is dropped" in statement.exception_words(found)


def test_the_planted_bill_is_explained(example):
    files, priced = example
    cube = cost.count(priced, own=example_costs.OWN)
    billed = reconcile.bill_lines(read_focus(files["bill"]).table, ["dune-code", "ember-embed"])
    compared = reconcile.compare(cost.lines(cube), billed, cost.unpriced(cube))
    told = reconcile.bridge(compared).set_index("step")["micro"]
    assert told["the bill"] == billed["micro"].sum()
    assert told["other prices than ours"] > 0
    assert told["tokens counted that were not billed"] < 0
    assert told["charges that are no usage"] == pytest.approx(0.05 / 1.05 * told["the bill"], rel=0.01)
    assert abs(told["unexplained rest"]) <= 10
    assert "all of it explained" in statement.gap_words(compared.assign(rest_micro=0), billed)


def test_files_of_hours_that_cannot_be_read_are_named(tmp_path):
    assert statement.read_hours("") is None
    for path, words in ((tmp_path / "hours.xlsx", "neither"), (tmp_path / "none.csv", "cannot be read")):
        with pytest.raises(WorkbenchError, match=words):
            statement.read_hours(str(path))
    (tmp_path / "a.csv").write_text("start,end\n")
    with pytest.raises(WorkbenchError, match="lack gpu_model, model"):
        statement.read_hours(str(tmp_path / "a.csv"))


def test_pictures_draw_what_they_are_given():
    import holoviews as hv

    steps = pd.DataFrame(
        {"step": ["before", "volume", "after"], "start": [0, 100, 0], "end": [100, 150, 150], "micro": [100, 50, 150]}
    )
    assert isinstance(pictures.waterfall(steps, "why"), hv.Overlay)
    assert isinstance(pictures.waterfall(steps.iloc[:0], "why"), hv.Div)
    assert pictures.explained(steps)["share"].tolist() == ["100.0 %", "100.0 %"]
    lines = pd.DataFrame({"window": ["2026-03-02T00:00:00Z"] * 9, "model": list("abcdefghi"), "micro": range(1, 10)})
    names = [layer.label for layer in pictures.over_time(lines)]
    assert len(names) == pictures.MOST
    assert names[-1] == "others"
    assert isinstance(pictures.over_time(lines.assign(window="")), hv.Div)
    parts = {"answers": 1.0, "failed runs": 0.0, "review": 1.0, "escalation": 0.5, "total": np.inf}
    assert isinstance(drawn.outcome(parts, 1.0), hv.Div)
    assert isinstance(drawn.outcome({**parts, "total": 2.5}, 1.0), hv.Overlay)
