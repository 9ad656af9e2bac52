"""The defaults of Evidently 0.7.23 and NannyML 0.13.1: what both told of these columns, and what we tell in their name."""

import numpy as np
import pytest

from workbench.analyses import compat

R, J = np.arange(600), np.arange(300)
L, M = np.arange(1200), np.arange(400)
TEXT, OTHER = np.array(list("abcd")), np.array(list("abce"))
# reference, current, Evidently's method and value; NannyML's distances of the first two of ten chunks, upper limit, alerts
COLUMNS = {
    "counts": (R * R % 37, J * J % 41, "K-S p_value", 8.751437e-06, [0.442905, 0.476599], 0.107935915, True),
    "few": (R % 4, J % 5, "chi-square p_value", 0.0, [0.328682, 0.328682], 0.0, True),
    "two": (R % 2, J % 5 // 3, "z p_value", 0.004586392, [0.085435, 0.085435], 0.0, True),
    "floats": (R * 7 % 600 / 7, J * 11 % 300 / 3, "K-S p_value", 0.000512718, [0.294575, 0.284538], 0.435598189, False),
    "text": (TEXT[R % 4], OTHER[J * J % 4], "chi-square p_value", 9.948758e-65, [0.557923, 0.557923], 0.0, True),
    "many": (L * L % 37, M * M % 41, "Wasserstein distance (normed)", 0.225689023, [0.48537, 0.490199], 0.042136933, True),
    "many few": (L % 4, M % 5, "Jensen-Shannon distance", 0.273645321, [0.328682, 0.328682], 0.0, True),
    "many text": (TEXT[L % 4], OTHER[M * M % 4], "Jensen-Shannon distance", 0.464501404, [0.557923, 0.557923], 0.0, True),
}  # fmt: skip


def counted(reference, current, chunks):
    """The values of the cells (None for text), and counts of so many chunks of either side."""
    at = np.unique(np.concatenate([reference, current]))
    sides = [
        np.stack([np.bincount(np.searchsorted(at, part), minlength=len(at)) for part in np.array_split(one, chunks)])
        for one in (reference, current)
    ]
    return at if at.dtype.kind in "if" else None, *sides


@pytest.mark.parametrize("name", COLUMNS)
def test_evidently(name):
    reference, current, method, value, *_ = COLUMNS[name]
    at, a, b = counted(reference, current, 1)
    told = compat.evidently(a[0], b, at)
    limit = 0.05 if "p_value" in method else 0.1
    assert (told[0], told[1].item(), told[2]) == (method, pytest.approx(value, rel=1e-6, abs=1e-300), limit)
    assert told[3].item()


@pytest.mark.parametrize("name", COLUMNS)
def test_nannyml(name):
    *sides, _, _, distances, limit, alert = COLUMNS[name]
    at, a, b = counted(*sides, 10)
    told = compat.nannyml(a, b, at)
    assert told[1][:2] == pytest.approx(distances, abs=1e-6)
    assert told[2] == pytest.approx(limit, abs=1e-7)
    assert set(told[3].tolist()) == {alert}
    assert compat.nannyml(a, a, at)[3].sum() <= 1, "its own chunks are within its limits"


def test_hellinger_over_nannymls_cells():
    reference, current, *_ = COLUMNS["counts"]
    at, a, b = counted(reference, current, 10)
    assert compat.hellinger_nannyml(a.sum(0), b, at)[:2] == pytest.approx([0.422427, 0.459247], abs=1e-6)
