"""The one door: what a cell declares, texts by their annotated type, and sentences that name what is wrong."""

from __future__ import annotations

import pytest

from workbench.errors import WorkbenchError
from workbench.runs import parameters as door

CELL = """\
# Where it comes from
table: str = "requests"  # path or address
slo_ms: float = 500  # objective
rows: int = 1_000
edges: list[float] = [0.1, 1.0]  # of the bins
window: tuple[str, str] = ("a", "b")
mode: Literal["fast", "exact"] = "fast"
limit: float | None = None
quick: bool = False
options: dict[str, int] = {}
here: str = __import__("os").getcwd()  # not a literal
plain = 3
"""


def test_the_cell_is_read_without_running_it():
    known = door.annotated(CELL)
    assert list(known) == ["table", "slo_ms", "rows", "edges", "window", "mode", "limit", "quick", "options", "here"]
    assert (known["table"].default, known["table"].help) == ("requests", "path or address")
    assert known["rows"].default == 1000
    assert known["here"].default is None
    assert known["here"].shown == "__import__('os').getcwd()"


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("table", "1D", "1D"),
        ("table", "007", "007"),
        ("table", "model,region", "model,region"),
        ("slo_ms", "20", 20.0),
        ("slo_ms", "1e3", 1000.0),
        ("rows", "-1_000", -1000),
        ("edges", "[1, 2.5]", [1.0, 2.5]),
        ("edges", "1, 2.5", [1.0, 2.5]),
        ("window", "['x', 'y']", ("x", "y")),
        ("mode", "exact", "exact"),
        ("limit", "none", None),
        ("limit", "3", 3.0),
        ("quick", "Yes", True),
        ("options", '{"a": 1}', {"a": 1}),
        ("options", "{a = 1}", {"a": 1}),
    ],
)
def test_a_text_is_read_by_the_annotation(name, text, value):
    found = door.parse(door.annotated(CELL)[name], text)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("slo_ms", "fast"),
        ("slo_ms", "nan"),
        ("slo_ms", "inf"),
        ("rows", "1.5"),
        ("rows", "٣"),
        ("rows", "__import__('os').getpid()"),
        ("edges", "[1, true]"),
        ("edges", "1\ny = 2"),
        ("window", "[1]"),
        ("mode", "slow"),
        ("quick", "2"),
        ("options", "a=1"),
    ],
)
def test_a_wrong_text_is_refused_by_name_value_and_type(name, text):
    parameter = door.annotated(CELL)[name]
    with pytest.raises(WorkbenchError) as refused:
        door.parse(parameter, text, "the address")
    assert f"Parameter {name!r} is {text!r} from the address; wanted {parameter.annotation}" in str(refused.value)


def test_range_and_choices_are_named():
    known = door.annotated('slo_ms: float = 1.0\ncluster: str = "threads"')
    bounds = door.Limits({"slo_ms": (1.0, 600_000.0)}, {"cluster": ["threads", "cuda"]})
    assert door.check(known["slo_ms"], 600_000, "a test", bounds) == 600_000.0
    with pytest.raises(
        WorkbenchError, match=r"'slo_ms' is 0.5 \(float\) from a test; wanted float from 1.0 to 600,000.0"
    ):
        door.check(known["slo_ms"], 0.5, "a test", bounds)
    with pytest.raises(WorkbenchError, match="wanted str, one of 'threads', 'cuda'"):
        door.check(known["cluster"], "gpu", "a test", bounds)
    with pytest.raises(WorkbenchError, match=r"'cluster' is 5 \(int\)"):
        door.check(known["cluster"], 5, "a test")


def test_the_order_of_the_door(book):
    known = door.declared(book("toy"))
    bounds = door.limits(book("toy"))
    assert bounds == door.Limits({"slo_ms": (1.0, 600_000.0)}, {"cluster": ["threads", "processes"]})
    environment = {"WORKBENCH_BY": "model", "WORKBENCH_EVERY": "2h", "WORKBENCH_RUNS": "elsewhere"}
    given, used, variables = door.resolve(known, [("every", "1h"), ("slo_ms", "20")], environment, bounds)
    assert given == {"every": "1h", "slo_ms": 20.0}
    assert used == {"every": "2h", "slo_ms": 20.0, "by": "model", "cluster": "threads", "quick": False}
    assert variables == ["every", "by"]
    with pytest.raises(WorkbenchError, match="no parameter 'evry'; did you mean 'every'"):
        door.resolve(known, [("evry", "1h")], {}, bounds)
    with pytest.raises(WorkbenchError, match=r"from the environment \(WORKBENCH_SLO_MS\)"):
        door.resolve(known, [], {"WORKBENCH_SLO_MS": "fast"}, bounds)


def test_what_cannot_be_a_parameter():
    with pytest.raises(WorkbenchError, match="annotated 'Path'; wanted str"):
        door.annotated("table: Path = 1")
    with pytest.raises(WorkbenchError, match="may not be called 'runs'"):
        door.annotated('runs: str = ""')
    with pytest.raises(WorkbenchError, match="not plain Python"):
        door.annotated("%matplotlib inline")


@pytest.mark.parametrize(
    "address", ["https://host/rows.csv?X-Amz-Signature=ab12cd", "s3://me:ab12cd@bucket/t", "https://ab12cd@host/a.csv"]
)
def test_an_address_with_a_secret_is_no_value_that_a_notebook_keeps(address):
    known = door.annotated('table: str = "example"')
    with pytest.raises(WorkbenchError, match="give 'secret:env:NAME'") as told:
        door.resolve(known, [("table", address)], {}, door.NO_LIMITS)
    assert "ab12cd" not in str(told.value)
    for plain in ("abfss://logs@account.dfs.core.windows.net/t", "sftp://me@host/t", "https://host/rows.csv?part=1"):
        assert door.resolve(known, [("table", plain)], {}, door.NO_LIMITS)[0] == {"table": plain}
