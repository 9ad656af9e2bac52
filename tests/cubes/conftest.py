"""What the tests of the cubes share: `same(a, b)` holds two cubes equal."""

from __future__ import annotations

import numpy as np
import pytest

ROUNDED = {"sum", "mean", "m2"}  # float sums depend on the order of adding, all else is exact


def hold_same(a, b, *, exact=False, leave=()):
    """Fails unless two cubes are equal: exactly, except for the rounding of float sums (unless `exact`)."""
    a, b = a.drop_dims("plans"), b.drop_dims("plans")  # a sum keeps a plan for further counting, whichever
    assert a.sizes == b.sizes
    assert set(a.variables) == set(b.variables)
    whole = np.array([kind in ("integer", "boolean", "time") for kind in a["kind"].values])
    for name in a.coords:
        assert_equal(a[name].values, b[name].values, name)
    scale = np.fmax(np.abs(a["min"].values), np.abs(a["max"].values))
    rows = a["values"].values
    for name in a.data_vars:
        if name in leave:
            continue
        x, y = a[name].values, b[name].values
        if exact or name not in ROUNDED:
            assert_equal(x, y, name)
            continue
        if name == "sum":
            assert_equal(x[..., whole], y[..., whole], name)
        slack = {"sum": rows * scale, "mean": scale, "m2": rows * scale * scale}[name]
        np.testing.assert_array_equal(np.isnan(x), np.isnan(y), err_msg=name)
        close = (x == y) | np.isnan(x) | (np.abs(x - y) <= np.nan_to_num(1e-12 * slack) + 1e-9 * np.abs(x) + 1e-300)
        assert close.all(), f"{name}: {x[~close]} and {y[~close]}"


def assert_equal(x, y, name):
    if x.dtype == object:
        assert x.tolist() == y.tolist(), name
    else:
        assert x.dtype == y.dtype, name
        np.testing.assert_array_equal(x, y, err_msg=name)


@pytest.fixture(scope="session")
def same():
    return hold_same
