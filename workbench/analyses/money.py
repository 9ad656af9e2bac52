"""Whole-number money: shares that add up, and amounts as people read them.

Money inside a computation is a whole number of picodollars (1e-12 dollars: a price of $0.0375 per million tokens is
37,500 of them a token, exactly). Rows that people read are whole microdollars (1e-6), rounded so that they still add up.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import numpy as np
import numpy.typing as npt

from workbench.errors import WorkbenchError

PICO = 10**12  # picodollars in a dollar
MICRO = 10**6  # microdollars in a dollar
FINE = 2**40  # parts that the largest of some float weights is cut into
Whole = npt.NDArray[Any]  # int64, or Python's own integers where those do not fit


def apportion(amount: int, weights: npt.ArrayLike) -> Whole:
    """Whole numbers in proportion to weights that sum to `amount`, by the method of largest remainders (Hamilton).

    amount: a whole number, of either sign. weights: numbers from 0; whole ones are used as they are, others in steps of
    2**-40 of the largest. Each share is the proportional one rounded down or up, a weight of 0 gets 0 (unless all are,
    and the amount is 0), and of equal remainders the first is served.

    Raises WorkbenchError for a negative or not finite weight, and where there is something to share but no weight.

    >>> apportion(100, [1, 1, 1]).tolist(), apportion(-7, [1.0, 3.0]).tolist()
    ([34, 33, 33], [-2, -5])
    """
    given = np.asarray(weights)
    share = given if given.dtype == object or given.dtype.kind in "iub" else _whole_weights(given)
    if len(share) and share.min() < 0:
        raise WorkbenchError(f"a weight is {share.min()}; wanted numbers from 0, by which a cost is shared out")
    amount, whole = int(amount), total(share)
    if amount == 0 or not len(share):
        if amount:
            raise WorkbenchError(f"{amount} cannot be shared out among no rows; give it a row of its own")
        return np.zeros(len(share), dtype="int64")
    if whole == 0:
        raise WorkbenchError(f"{amount} cannot be shared out: all {len(share)} weights are 0; give it a row of its own")
    size = abs(amount)
    kind: Any = "int64" if max(size * int(share.max()), whole) < 2**63 else object
    product = share.astype(kind) * (size if kind is object else np.int64(size))
    floor, rest = product // whole, product % whole
    left = size - total(floor)
    if left:
        first = np.argsort(-rest, kind="stable")[:left]
        floor[first] += 1
    fits = size < 2**63
    out = floor.astype("int64") if fits else floor
    return -out if amount < 0 else out


def _whole_weights(weights: npt.NDArray[Any]) -> Whole:
    values = weights.astype("float64")
    if not np.isfinite(values).all():
        raise WorkbenchError("a weight is not a finite number; wanted numbers from 0, by which a cost is shared out")
    largest = float(np.abs(values).max(initial=0.0))
    if largest == 0:
        return np.zeros(len(values), dtype="int64")
    steps: Whole = np.round(values / largest * FINE).astype("int64")
    return np.where((steps == 0) & (values > 0), 1, steps)


def rounded(pico: Sequence[int] | Whole, per: int = PICO // MICRO) -> Whole:
    """Picodollars as whole microdollars whose sum is the rounded sum: largest remainders over rows of either sign.

    per: picodollars in the unit that comes back.

    >>> rounded([400_000, 400_000, 700_000]).tolist()  # 1.5 microdollars in all, so 2
    [1, 0, 1]
    """
    fine = np.asarray(pico)
    if fine.dtype != np.int64:
        fine = np.asarray([int(one) for one in np.asarray(pico, dtype=object).ravel()], dtype=object)
    if not len(fine):
        return np.zeros(0, dtype="int64")
    floor, rest = fine // per, fine % per
    left = nearest(total(fine), per) - total(floor)
    first = np.argsort(-rest.astype("int64"), kind="stable")[:left]
    floor[first] += 1
    return floor.astype("int64")


def total(amounts: Sequence[int] | Whole) -> int:
    """The exact sum of whole amounts as a Python integer, however large.

    >>> total(np.array([2**62, 2**62]))
    9223372036854775808
    """
    values = np.asarray(amounts)
    if values.dtype == np.int64:
        return (int((values >> 32).sum()) << 32) + int((values & 0xFFFFFFFF).sum())
    return sum(int(one) for one in values.ravel())


def nearest(amount: int, per: int) -> int:
    """A whole amount in units of `per`, halves away from 0.

    >>> nearest(1_500_000, 1_000_000), nearest(-1_500_000, 1_000_000), nearest(1_499_999, 1_000_000)
    (2, -2, 1)
    """
    half = (2 * abs(int(amount)) + per) // (2 * per)
    return half if amount >= 0 else -half


def dollars(amount: int, per: int = MICRO) -> Decimal:
    """A whole amount (of which `per` make a dollar) as an exact decimal number of dollars.

    >>> dollars(96_791_325), dollars(579_591_500_000, PICO)
    (Decimal('96.791325'), Decimal('0.5795915'))
    """
    return (Decimal(int(amount)) / Decimal(per)).normalize() if amount else Decimal(0)


def say(amount: int, per: int = MICRO, digits: int | None = None) -> str:
    """An amount as people read it, with a true minus: two digits after the point, more where it is small, all with -1.

    >>> say(96_791_325), say(579_591_500_000, PICO, -1), say(-1_234), say(0), say(2_326_540, digits=-1)
    ('$96.79', '$0.5795915', '\\u2212$0.001234', '$0.00', '$2.32654')
    """
    value = abs(dollars(amount, per))
    if digits is None:
        places = 2 if value == 0 or value >= Decimal("0.995") else min(6, 2 - value.adjusted() + 1)
    elif digits < 0:
        places = max(2, -int(value.as_tuple().exponent))
    else:
        places = digits
    return ("\u2212$" if amount < 0 else "$") + f"{value:,.{places}f}"
