"""Where the bins of a numeric column lie: a plan, drawn from a small sample and kept with the cube.

A float's bits, read as an integer, sort like the float itself. A bin is an aligned block of such integers: all floats
that share the leading bits. Blocks either nest or do not meet, so any two plans have a common coarsening and two
histograms always add exactly: where bins nest, the larger one takes the smaller ones in (see ``partial.join_bins``).

A plan is a small tree. The root has one node for each sign and exponent; a node cuts a range of mantissas into equal
power-of-two steps; a bin that is too heavy for its width and is not a single value carries a node of its own. A value
outside a node's range falls into the largest aligned block that does not touch the range, so that every float has a bin.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np

MANTISSA_BITS = 52
MANTISSA = (1 << MANTISSA_BITS) - 1
FINER = 3  # times a node may be cut in half again before its heavy bins get nodes of their own
ROOTS = 1 << 12
BINS = 12_288  # of a column, about
EXACT = 1 << 14  # integers of so small a range have a bin each
REST = 104  # bins below and above a node's range: one for each bit at which a value can leave it, on either side

Node = tuple[int, int, int, int, int]


def ordered(bits: Any) -> Any:
    """Integers that sort as the floats do, from the floats' bits (and back: the map is its own inverse)."""
    return bits ^ ((bits >> 63) & 0x7FFFFFFFFFFFFFFF)


@dataclass(frozen=True)
class Plan:
    """The bins of one numeric column.

    ``nodes`` is an int64 array with a row a node: ``[cell, parent_slot, shift, low, n]``: sign-and-exponent cell (or -1
    for a node inside a bin), the bin that it refines (or -1), the step as a power of two, the first step and the number
    of steps. Everything else follows from it. Two plans are equal when their nodes are.
    """

    nodes: np.ndarray = field(repr=False)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Plan) and np.array_equal(self.nodes, other.nodes)

    def __hash__(self) -> int:
        return hash(self.nodes.tobytes())

    def __getstate__(self) -> dict:
        return {"nodes": self.nodes}

    def __setstate__(self, state: dict) -> None:
        object.__setattr__(self, "nodes", state["nodes"])

    @cached_property
    def _built(self) -> tuple[tuple, np.ndarray, np.ndarray]:
        cell, parent, shift, low, n = (np.ascontiguousarray(c) for c in self.nodes.T)
        count = len(cell)
        sizes = n + REST
        base = (ROOTS + np.cumsum(sizes) - sizes).astype(np.int64)
        total = int(ROOTS + sizes.sum())  # the first 4096 bins: whole cells, for signs and exponents not in the plan
        rest = base + n
        is_root = cell >= 0
        root = (count + np.arange(ROOTS)).astype(np.int32)  # past the last node: one bin a cell
        root[cell[is_root]] = np.flatnonzero(is_root)
        child = np.full(total, -1, np.int32)
        child[parent[~is_root]] = np.flatnonzero(~is_root)
        holder = np.searchsorted(base, parent, side="right") - 1  # the node of the bin that a node refines
        plain = n.copy()  # bins that need no second look: none in a node that has children
        plain[holder[~is_root]] = 0
        table = np.zeros((count + ROOTS, 6), np.int64)
        table[:count] = np.stack([shift, low, n, base, rest, plain], axis=1)

        where = np.zeros(total, np.int64)  # raw bits of each bin's first float
        width = np.full(total, MANTISSA_BITS)
        where[:ROOTS] = _top(np.arange(ROOTS, dtype=np.int64))
        top = _top(cell)
        for k in np.flatnonzero(~is_root).tolist():
            top[k] = top[holder[k]]
        of = np.repeat(np.arange(count), sizes)
        width[ROOTS:] = shift[of]
        where[ROOTS:] = (low - base)[of] + np.arange(ROOTS, total) << width[ROOTS:]
        d = np.arange(MANTISSA_BITS)
        first, last = (low << shift)[:, None], ((low + n << shift) - 1)[:, None]
        at = rest[:, None] + np.arange(REST)
        where[at] = np.hstack([(first >> d ^ 1) << d, (last >> d | 1) << d])
        width[at] = np.tile(d, 2)
        where[ROOTS:] |= top[of]
        key = ordered(where)
        # a block of negative floats runs downwards: its first ordered key is that of its last float
        key = np.where(where < 0, key & ~((np.int64(1) << width) - 1), key)
        direct = np.zeros((ROOTS, 4), np.int64)  # by sign and exponent, where one step finds the bin: see kernels.slots
        one = np.flatnonzero(is_root & (plain > 0))
        add = -low[one] - (top[one] >> shift[one])
        direct[cell[one]] = np.stack([shift[one], add, base[one], plain[one]], axis=1)
        return (root, table, child, direct), key, width.astype(np.uint8)

    @cached_property
    def integers(self) -> tuple[int, int]:
        """The first integer and how many there are to the last, where each bin is one of them; (0, 0) where not."""
        cell, _, shift, low, n = self.nodes.T
        exponent = (cell & 0x7FF) - 1023
        fits = (cell >= 0) & (exponent <= MANTISSA_BITS) & (shift == np.clip(MANTISSA_BITS - exponent, 0, 52))
        if not len(cell) or not fits.all():
            return 0, 0
        ends = [(_top(cell) | (at << shift)).view(np.float64) for at in (low, low + n - 1)]
        first, last = int(np.min(ends)), int(np.max(ends))
        return (first, last - first + 1) if last - first < 1 << 18 else (0, 0)

    @property
    def arrays(self) -> tuple:
        """What the kernels look up: ``(root, nodes, child, direct)``."""
        return self._built[0]

    @cached_property
    def order(self) -> tuple[np.ndarray, np.ndarray]:
        """Each bin's place among all by value (int32), and the width of the bin at each place."""
        at = np.argsort(self.bin_low, kind="stable").astype(np.int32)
        place = np.empty(len(at), np.int32)
        place[at] = np.arange(len(at), dtype=np.int32)
        return place, self.bin_bits[at]

    @property
    def size(self) -> int:
        """Number of bins, empty ones included."""
        return len(self._built[1])

    @property
    def bin_low(self) -> np.ndarray:
        """First ordered key of each bin (int64)."""
        return self._built[1]

    @property
    def bin_bits(self) -> np.ndarray:
        """Width of each bin as a power of two of keys (uint8)."""
        return self._built[2]


EMPTY = Plan(np.zeros((0, 5), np.int64))


def make_plan(
    sample: np.ndarray,
    *,
    bins: int = BINS,
    relative: float | None = None,
    whole_numbers: bool = False,
    bounds: tuple[float, float] | None = None,
    exact: int = EXACT,
) -> Plan:
    """Plan the bins of a column from some of its values.

    sample: float64 values, any order; NaN and infinities are left out.
    bins: about how many bins to spend; sign-and-exponent cells share them by the sample's mass in each.
    relative: the width of a bin, as a fraction of its values (0.001: quantiles to 0.1 %), and then no bin is finer, for
        the cubes of very many groups; None: by mass alone.
    whole_numbers: integers: a bin is never cut finer than one integer.
    bounds: smallest and largest value of the whole column, where known: integers in a range below `exact` (or `bins`)
        have a bin each.

    >>> plan = make_plan(np.array([1.0, 2.0, 3.0]), whole_numbers=True, bounds=(0, 100))
    >>> plan.size > 100
    True
    """
    sample = np.asarray(sample, np.float64)
    sample = sample[np.isfinite(sample)] + 0.0
    if whole_numbers and bounds is not None and singly(bounds, bins, exact):
        whole = np.arange(int(bounds[0]), int(bounds[1]) + 1, dtype=np.float64)
        return Plan(np.array([_span(c, m, 0, exponent_only=True) for c, m in _cells(whole)], np.int64).reshape(-1, 5))
    if not len(sample):
        return EMPTY
    nodes: list[Node] = []
    inner: list[tuple[int, list[np.ndarray]]] = []  # a node's finest step and the mantissas of its heavy bins
    heavy = max(2.0, len(sample) * 4.0 / bins)
    for cell, m in _cells(sample):
        floor = min(MANTISSA_BITS, max(0, MANTISSA_BITS - ((cell & 0x7FF) - 1023))) if whole_numbers else 0
        target = max(64, int(bins * len(m) / len(sample)))
        node = _range(cell, -1, m, target, floor, relative, len(m) > 1)
        if relative is None:
            node, crowds = _fine(node, m, floor, heavy)
            inner.append((floor, crowds))
        nodes.append(node)
    at = ROOTS
    spare = 4 * bins
    k = 0
    while k < len(inner):
        floor, crowds = inner[k]
        _, _, shift, low, n = nodes[k]
        for m in crowds:
            b = int(m[0] >> shift)
            target = min(max(64, int(bins * len(m) / len(sample))), 1 << min(shift - floor, 20))
            if target > spare:
                continue
            spare -= target
            node, crowds = _fine(_range(-1, at + b - low, m, target, floor, None, True, (b, shift)), m, floor, heavy)
            nodes.append(node)
            inner.append((floor, crowds))
        at += n + REST
        k += 1
    return Plan(np.array(nodes, np.int64).reshape(-1, 5))


def singly(bounds: tuple[float, float] | None, bins: int, exact: int = EXACT) -> bool:
    """Whether ``make_plan`` gives each integer between two bounds a bin of its own, whatever the sample."""
    return bounds is not None and bounds[1] - bounds[0] < max(bins, exact) and max(map(abs, bounds)) < 2**53


def _fine(node: Node, m: np.ndarray, floor: int, limit: float) -> tuple[Node, list[np.ndarray]]:
    """The node, cut in half again a few times while any of its bins is heavy, and the mantissas of those that still are."""
    crowds = _crowds(m, node, limit) if node[2] > floor else []
    for _ in range(FINER):
        if not crowds:
            break
        node = (node[0], node[1], node[2] - 1, node[3] << 1, node[4] << 1)
        crowds = _crowds(m, node, limit) if node[2] > floor else []
    return node, crowds


def _crowds(m: np.ndarray, node: Node, limit: float) -> list[np.ndarray]:
    """The mantissas of each bin of a node that holds more than ``limit`` of them, and not a single value."""
    _, _, shift, low, n = node
    if len(m) <= limit:
        return []
    off = (m >> shift) - low
    many = np.bincount(off, minlength=n) > limit
    if not many.any():
        return []
    m = m[many[off]]
    off = (m >> shift) - low
    some = np.empty(n, np.int64)
    some[off] = m  # any one value of each bin
    many[:] = False
    many[off[m != some[off]]] = True
    m = np.sort(m[many[off]])
    return _cut(m, m >> shift) if len(m) else []


def _cut(m: np.ndarray, by: np.ndarray) -> list[np.ndarray]:
    """The runs of an array in which another one stays the same."""
    ends = [0, *(np.flatnonzero(by[1:] != by[:-1]) + 1).tolist(), len(m)]
    return [m[a:b] for a, b in pairwise(ends)]


def _top(cell: np.ndarray) -> np.ndarray:
    """The bits of sign and exponent, as int64."""
    return np.where(cell < 2048, cell, cell - 4096) << np.int64(MANTISSA_BITS)


def _cells(values: np.ndarray) -> list[tuple[int, np.ndarray]]:
    """Mantissas by sign-and-exponent cell, negative ones first."""
    bits = values.view(np.int64)
    cell = ((bits >> MANTISSA_BITS) & 0xFFF).astype(np.uint16)
    order = np.argsort(cell ^ 0x800, kind="stable")  # short integers are sorted by counting
    parts = _cut(bits[order], cell[order])
    return [(int((part[0] >> MANTISSA_BITS) & 0xFFF), part & MANTISSA) for part in parts]


def _span(cell: int, m: np.ndarray, shift: int, *, exponent_only: bool) -> Node:
    """The node that gives each integer of a cell its own bin."""
    shift = min(MANTISSA_BITS, max(0, MANTISSA_BITS - ((cell & 0x7FF) - 1023)))
    low = int(m.min()) >> shift
    return cell, -1, shift, low, (int(m.max()) >> shift) - low + 1


def _range(
    cell: int,
    parent: int,
    m: np.ndarray,
    target: int,
    floor: int,
    relative: float | None,
    widen: bool,
    within: tuple[int, int] | None = None,
) -> Node:
    """A node over the range of ``m``, a little widened, in about ``target`` power-of-two steps."""
    first, last = int(m.min()), int(m.max())
    least, most = (0, MANTISSA) if within is None else (within[0] << within[1], ((within[0] + 1) << within[1]) - 1)
    if widen:
        margin = (last - first) // 8 + 1
        first, last = max(least, first - margin), min(most, last + margin)
    floor = min(floor, MANTISSA_BITS)
    shift = max(floor, int(last - first).bit_length() - max(1, int(target).bit_length() - 1), 0)
    if relative is not None and len(m) > 1:
        shift = max(floor, MANTISSA_BITS - int(np.ceil(-np.log2(2 * relative))))
    if within is not None:
        shift = min(shift, within[1] - 1)
    low = first >> shift
    return cell, parent, shift, low, (last >> shift) - low + 1
