"""Cubes that the tests of the analyses share, by day and hour, with and without planted incidents."""

import pytest

import workbench as wb
from workbench.analyses import parts, performance

ROLES = performance.Roles("latency_s", "ttft_s", "status", "output_tokens")


@pytest.fixture(scope="session")
def planted(tmp_path_factory):
    """The path of an example table, and the truth of what was planted in it."""
    path = tmp_path_factory.mktemp("planted") / "requests"
    return path, {one["kind"]: one for one in wb.examples.requests(path, rows=200_000)["incidents"]}


@pytest.fixture(scope="session")
def clean(tmp_path_factory):
    """The same table with nothing planted; only its labels still arrive late."""
    path = tmp_path_factory.mktemp("clean") / "requests"
    wb.examples.requests(path, rows=200_000, incidents=False)
    return path


@pytest.fixture(scope="session")
def daily(planted):
    return wb.cube(planted[0], by=parts.axes("time", "D", "model,region"))


@pytest.fixture(scope="session")
def daily_clean(clean):
    return wb.cube(clean, by=parts.axes("time", "D", "model,region"))


@pytest.fixture(scope="session")
def hourly(planted):
    return performance.count(wb.open_table(planted[0]), ROLES, "time", "h", "model,region")


@pytest.fixture(scope="session")
def hourly_clean(clean):
    return performance.count(wb.open_table(clean), ROLES, "time", "h", "model,region")
