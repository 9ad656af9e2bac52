"""What the pictures are drawn from: small frames as the analyses make them."""

import pandas as pd
import pytest

import workbench as wb
from workbench.analyses import drift, parts, performance, quality, sides


@pytest.fixture(scope="session")
def rows(tmp_path_factory):
    """A small example table as a frame, with one hour in which nothing happened."""
    path = tmp_path_factory.mktemp("views") / "requests.parquet"
    wb.examples.requests(path, rows=20_000)
    frame = pd.read_parquet(path)
    return frame[frame["time"].dt.strftime("%d %H") != "05 06"].reset_index(drop=True)


@pytest.fixture(scope="session")
def sound(rows):
    """Shares, findings, verdicts and volumes by hour."""
    cube = wb.cube(rows, by=parts.axes("time", "h", "region"), of=["f03", "f04", "label", "score", "status"])
    found = quality.findings(cube)
    return quality.shares(cube), found, quality.columns(cube, found), quality.volume(cube)


@pytest.fixture(scope="session")
def moved(rows):
    """Judged distances by day, and the two cubes."""
    cube = wb.cube(rows, by=parts.axes("time", "D"), of=["f03", "f05", "model", "time"])
    old, new, name = sides.split(cube, None, sides.side("t", ""), sides.side("t", ""))
    return drift.judge(drift.compare(old, new, name)), old, new, name


@pytest.fixture(scope="session")
def speed(rows, tmp_path_factory):
    """Figures, incidents and tails by hour."""
    path = tmp_path_factory.mktemp("speed") / "rows.parquet"
    rows.to_parquet(path)
    roles = performance.Roles("latency_s", "ttft_s", "status", "output_tokens")
    cube = performance.count(wb.open_table(path), roles, "time", "h", "model")
    measured = performance.measure(cube, roles, slo_s=10, ttft_slo_s=1)
    return measured, performance.incidents(cube, roles, least=5), performance.ladders(cube, roles)
