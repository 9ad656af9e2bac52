"""From counted requests to assumptions, sentences that say what the figures are, and the example's files."""

from datetime import date

import numpy as np
import pandas as pd
import pytest

from workbench import example_costs, examples
from workbench.analyses import allocation, cost, energy, prices, reconcile, returns, spending, statement
from workbench.errors import WorkbenchError
from workbench.tables.focus_read import read_focus
from workbench.tables.usage import read_usage
from workbench.tables.usage_gpus import read_gpu_hours
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
    hours = read_gpu_hours(files["gpu_hours"]).table.to_pandas()
    own = statement.own_models("auto", hours)
    assert set(own) == set(example_costs.OWN)
    cube = cost.count(priced, own=own)
    rates, words, listed = statement.gpu_rates(hours, {"H100": 2.0}, "", "")
    assert (words, listed) == ("H100 at $2.00 an hour, as agreed", "")
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


def test_old_prices_of_models_or_of_gpus_are_told():
    used = pd.DataFrame(
        [
            {
                "name": "list",
                "version": "1",
                "as_of": "2026-03-01",
                "contract": "",
                "gpus": "H100 at $2",
                "gpus_as_of": "2025-11-01",
            }
        ]
    )
    assert statement.age(used.assign(gpus_as_of=""), 30, date(2026, 3, 20))[:2] == (19, True)
    days, fresh, words = statement.age(used, 30, date(2026, 3, 20))
    assert (days, fresh) == (139, False)  # models' prices are fresh, the GPUs' are not
    assert words.endswith("139 days old. Older than 90 days: check it")
    assert statement.age(used.assign(gpus_as_of="2026-01-01"), 10, date(2026, 3, 20))[1] is False


def test_energy_and_carbon_are_lines_that_sum_to_the_bill(example):
    files, priced = example
    hours = read_gpu_hours(files["gpu_hours"]).table.to_pandas()
    cube = cost.count(priced, own=example_costs.OWN)
    power = energy.windows(hours, 0.13, 1.3, 380, 80, "D")
    kwh = hours["energy_kwh"].sum()
    assert power["energy_micro"].sum() == round(kwh * 0.13 * 1.3 * 1e6)
    assert power["carbon_micro"].sum() == round(kwh * 1.3 * 0.38 / 1000 * 80 * 1e6)
    assert power["kg"].sum() == pytest.approx(kwh * 1.3 * 0.38)
    lines = [allocation.as_lines(power, cost.served(cube), what, what) for what in ("energy", "carbon")]
    for one, what in zip(lines, ("energy", "carbon"), strict=True):
        assert one["micro"].sum() == power[f"{what}_micro"].sum()
        assert set(one["class"]) == {what}
    whole = cost.together(cost.lines(cube), *lines)
    told = cost.classes(whole)
    assert told.loc[~told["inside"], "micro"].sum() == whole["micro"].sum() == cost.bill_micro(whole)
    windows = sorted(power["window"].unique())
    change = energy.change(power, windows[:1], windows[1:])
    assert sum(change["energy"]) == power["energy_micro"].sum()
    assert pictures.energy(power)["energy"].iloc[0] == pictures.dollars(int(power["energy_micro"].sum()))
    free = energy.windows(hours, 0, 1.3, 380, 0, "D")
    assert energy.change(free, windows[:1], windows[1:]) == {}
    assert "in no sum" in energy.words(free, 0, 1.3, 380)


def test_energy_is_spread_over_the_windows_of_a_claim_and_what_nobody_measured_is_said():
    hours = pd.DataFrame({
        "start": pd.to_datetime(["2026-03-02 18:00", "2026-03-02 00:00", "2026-03-02 00:00"], utc=True),
        "end": pd.to_datetime(["2026-03-03 18:00", "2026-03-02 12:00", "2026-03-02 12:00"], utc=True),
        "model": ["a", "", "a"], "energy_kwh": [8.0, 1.0, np.nan],
    })  # fmt: skip
    found = energy.windows(hours, 1, 1, every="D")
    told = {(one.window[:10], one.model): one.energy_micro for one in found.itertuples()}
    assert told == {("2026-03-02", "a"): 2_000_000, ("2026-03-03", "a"): 6_000_000, ("2026-03-02", "(idle)"): 1_000_000}
    assert found.attrs["unknown"] == 1
    assert energy.windows(None).empty
    with pytest.raises(WorkbenchError, match="PUE"):
        energy.windows(hours, 1, 0.5)


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


def test_every_exception_is_a_row(example):
    _, priced = example
    whole = statement.exceptions(None, priced.exceptions)
    assert len(whole) == priced.unpriced
    assert list(whole.columns) == ["source", "row", "request_id", "reason", "field", "value"]
    assert statement.exceptions(priced.exceptions, own=example_costs.OWN).empty


def test_pods_are_told_as_the_models_that_they_serve():
    hours = pd.DataFrame({"model": ["vllm-a-0", "vllm-a-1", "batch", ""]})
    told = statement.serving(hours, {"vllm-a-*": "a"})
    assert told["model"].tolist() == ["a", "a", "batch", ""]
    assert statement.serving(None, {"x": "y"}) is None
    with pytest.raises(WorkbenchError, match="'vlm-\\*' fits no model"):
        statement.serving(hours, {"vlm-*": "a"})


def test_how_a_source_was_read_is_told(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text(
        "time,model,prompt_tokens,completion_tokens,latency_ms,colour\n2026-03-02T10:00:00Z,m,5,2,800,red\n"
    )
    read = statement.reading(read_usage(path), None).set_index("what")["found"]
    assert read["table"] == "1 rows in, 1 rows out, 0 rows aside, 0 rows unreadable"
    assert read["table: tokens conserved"] == "yes"
    assert read["table: unit of latency_ms"] == "ms by its name"
    assert read["table: fields that no column took (rows)"] == "colour (1)"


def test_own_gpu_prices_and_whose_prices_stand_beside_every_line(example, tmp_path):
    _, priced = example
    book = tmp_path / "book.csv"
    book.write_text("gpu_model,provider,term,usd_per_hour,as_of,source\nH100,ours,owned,1.95,2026-03-02,ledger\n")
    rates, words, day = statement.gpu_rates(pd.DataFrame({"gpu_model": ["H100"]}), {}, "ours", "owned", str(book))
    assert (rates, day) == ({"H100": 1_950_000}, "2026-03-02")
    assert "ledger" in words
    lines = cost.lines(cost.count(priced))
    told = cost.tidy(lines, statement.prices_used(priced, words, day))
    assert set(told["price_as_of"]) == {str(priced.book.as_of)}
    assert set(told["price_list"]) == {f"genai-prices {priced.book.version}"}
