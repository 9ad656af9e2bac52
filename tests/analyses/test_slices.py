"""The slice that carries the drift is found, and nothing is found where nothing drifted."""

import numpy as np
import pandas as pd
import pytest

import workbench as wb
from workbench.analyses import slices

DIMS = ("model", "region", "tier")
SHAPE = (8, 6, 5)
LABELS = tuple([f"{dim[0]}{i}" for i in range(size)] for dim, size in zip(DIMS, SHAPE, strict=True))
PLANT = (3, 2)  # model=m3, region=r2
ROWS = 100_000


def world(rng):
    """Each leaf's share of traffic, the planted slice having 1 % of it, and each leaf's own shares of ten cells."""
    traffic = rng.dirichlet(np.full(np.prod(SHAPE), 2.0)).reshape(SHAPE)
    planted = traffic[PLANT]
    traffic = traffic * (0.99 / (1 - planted.sum()))
    traffic[PLANT] = 0.01 * planted / planted.sum()
    return traffic, rng.dirichlet(np.full(10, 5.0), SHAPE)


def drawn(rng, traffic, shares, rows=ROWS):
    leaves = rng.multinomial(rows, traffic.ravel())
    return rng.multinomial(leaves, shares.reshape(-1, shares.shape[-1])).reshape(*SHAPE, -1)


def up(shares, part=0.5, cells=3):
    """With a part of the rows some cells further up, the last one taking what would leave."""
    moved = np.zeros_like(shares)
    moved[..., cells:] = shares[..., :-cells]
    moved[..., -1] += shares[..., -cells:].sum(-1)
    return (1 - part) * shares + part * moved


def shifted(shares):
    """The planted slice's values moved."""
    moved = shares.copy()
    moved[PLANT] = up(moved[PLANT])
    return moved


def found(seed, planted):
    rng = np.random.default_rng(seed)
    traffic, shares = world(rng)
    one = slices.Counted(
        drawn(rng, traffic, shares), drawn(rng, traffic, shifted(shares) if planted else shares), DIMS, LABELS
    )
    return slices.ranked({"x": one})


def test_a_planted_slice_of_one_percent_is_found_first():
    first = [
        table["slice"].iloc[0] if len(table) else "nothing" for table in (found(seed, True) for seed in range(100))
    ]
    assert first.count("model=m3, region=r2") >= 95


def test_nothing_is_found_where_nothing_drifted():
    assert sum(len(found(1000 + seed, False)) > 0 for seed in range(100)) <= 5


def test_p_values_are_uniform_where_nothing_drifted():
    rng = np.random.default_rng(5)
    traffic, shares = world(rng)
    p = np.concatenate([
        slices.scanned(slices.Counted(drawn(rng, traffic, shares), drawn(rng, traffic, shares, 20_000), DIMS, LABELS))
        .query("axes == 2")["p"].to_numpy("float64") for _ in range(40)
    ])  # fmt: skip
    assert [np.mean(p <= level) for level in (0.5, 0.1, 0.01)] == pytest.approx([0.5, 0.1, 0.01], rel=0.25)
    assert np.mean(p <= 0.001) < 0.002


def test_a_whole_label_is_named_and_not_its_parts():
    rng = np.random.default_rng(1)
    traffic, shares = world(rng)
    moved = shares.copy()
    moved[:, :, 4] = up(moved[:, :, 4], cells=1)
    table = slices.ranked({"x": slices.Counted(drawn(rng, traffic, shares), drawn(rng, traffic, moved), DIMS, LABELS)})
    assert table["slice"].tolist() == ["tier=t4"]
    assert table["explained"].iloc[0] > 0.7  # its parts differ, so that together they have a little more


def test_two_slices_are_found_one_after_the_other():
    rng = np.random.default_rng(2)
    traffic, shares = world(rng)
    moved = shifted(shares)
    moved[6, :, 1] = up(moved[6, :, 1])
    table = slices.ranked({"x": slices.Counted(drawn(rng, traffic, shares), drawn(rng, traffic, moved), DIMS, LABELS)})
    assert set(table["slice"]) == {"model=m6, tier=t1", "model=m3, region=r2"}
    assert table["explained"].is_monotonic_decreasing


def test_what_moves_everywhere_is_said_of_all_rows():
    rng = np.random.default_rng(3)
    traffic, shares = world(rng)
    same = np.broadcast_to(shares[0, 0, 0], shares.shape)
    one = slices.Counted(drawn(rng, traffic, same), drawn(rng, traffic, up(same)), DIMS, LABELS)
    table = slices.ranked({"x": one})
    assert table["slice"].tolist() == [""]
    assert table["words"].iloc[0].startswith("all rows alike")


@pytest.fixture(scope="module")
def cubes():
    """Numbers, text and a missing share, each of which moves in a slice of its own."""
    rng = np.random.default_rng(7)
    size = 60_000

    def rows(moved):
        table = pd.DataFrame({"model": rng.choice(list("abcd"), size), "region": rng.choice(["eu", "us"], size)})
        table["ms"] = rng.lognormal(3, 1, size)
        table["status"] = rng.choice(["ok", "slow", "error"], size, p=[0.9, 0.08, 0.02])
        table["cost"] = rng.normal(size=size)
        if moved:
            table.loc[(table["model"] == "b") & (table["region"] == "eu"), "ms"] *= 1.5
            table.loc[(table["model"] == "c") & (rng.random(size) < 0.1), "status"] = "error"
            table.loc[(table["region"] == "us") & (rng.random(size) < 0.3), "cost"] = None
        return table

    by = [wb.Category("model"), wb.Category("region")]
    old = wb.cube(rows(False), by=by)
    return old, wb.cube(rows(True), by=by, plan=old), wb.cube(rows(False), by=by, plan=old)


def test_numbers_text_and_missing_values(cubes):
    table = slices.search(*cubes[:2])
    first = table[table["rank"] == 1].set_index("column")
    assert first["slice"].to_dict() == {"ms": "model=b, region=eu", "status": "model=c", "cost": "region=us"}
    assert table["rank"].max() == 1
    assert first.loc["status", "gained"].startswith("error: 1.86 % before, 12")
    assert first.loc["cost", "gained"].startswith("missing: 0 % before, 30")
    assert "of the drift with 12" in first.loc["ms", "words"]
    assert table.attrs["not searched"] == {"model": "it is one of the axes", "region": "it is one of the axes"}


def test_clean_cubes_have_no_slice(cubes):
    table = slices.search(cubes[0], cubes[2])
    assert table.empty
    assert {"column", "slice", "explained", "words"} <= set(table.columns)


def test_one_window_and_new_labels():
    at = pd.to_datetime(np.repeat(["2026-03-01", "2026-03-02"], 4000))
    rng = np.random.default_rng(4)
    rows = pd.DataFrame({"at": at, "who": rng.choice(["a", "b"], 8000), "x": rng.normal(size=8000)})
    old = wb.cube(rows, by=["who"], of="x")
    now = rows.assign(x=rows["x"] + 2 * ((at == "2026-03-02") & (rows["who"] == "b")))
    now.loc[:50, "who"] = "new"
    new = wb.cube(now, by=[wb.Period("at", "D", name="window"), "who"], of="x", plan=old)
    assert slices.search(old, new, window="2026-03-01T00:00:00Z").empty
    assert slices.search(old, new, window="2026-03-02T00:00:00Z")["slice"].tolist() == ["who=b"]


def test_what_cannot_be_searched(cubes):
    with pytest.raises(wb.WorkbenchError, match="no column 'cots'.*cost"):
        slices.search(*cubes[:2], columns=["cots"])
    with pytest.raises(wb.WorkbenchError, match="needs categories"):
        slices.search(wb.collapse(cubes[0]), wb.collapse(cubes[1]), columns=["cost"])
    with pytest.raises(wb.WorkbenchError, match="is no window"):
        slices.search(*cubes[:2], columns=["cost"], window="2031-01-01T00:00:00Z")
    with pytest.raises(wb.WorkbenchError, match="alpha=2 is no share"):
        slices.search(*cubes[:2], alpha=2)
    with pytest.raises(wb.WorkbenchError, match="do not fit the axes"):
        slices.Counted(np.zeros((2, 3)), np.zeros((2, 3)), ("a",), (["x", "y", "z"],))
