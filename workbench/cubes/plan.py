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
from typing import Any

import numpy as np

MANTISSA_BITS = 52
MANTISSA = (1 << MANTISSA_BITS) - 1
ROOTS = 1 << 12
REST = 104  # bins below and above a node's range: one for each bit at which a value can leave it, on either side

Arrays = tuple[np.ndarray, ...]


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
    def _built(self) -> tuple[Arrays, np.ndarray, np.ndarray]:
        cell, parent, shift, low, n = (np.ascontiguousarray(c) for c in self.nodes.T)
        sizes = n + REST
        base = np.concatenate([[0], np.cumsum(sizes)[:-1]])
        base = base + ROOTS  # the first 4096 bins: whole cells, for signs and exponents that the sample did not have
        total = int(ROOTS + sizes.sum())
        rest = base + n
        root = np.arange(ROOTS) + len(cell)  # beyond the last node: one bin a cell
        shift = np.concatenate([shift, np.full(ROOTS, MANTISSA_BITS)])
        low = np.concatenate([low, np.zeros(ROOTS, np.int64)])
        n = np.concatenate([n, np.ones(ROOTS, np.int64)])
        base = np.concatenate([base, np.arange(ROOTS)])
        rest = np.concatenate([rest, np.zeros(ROOTS, np.int64)])
        is_root = cell >= 0
        root[cell[is_root]] = np.flatnonzero(is_root)
        child = np.full(total, -1, np.int64)
        child[parent[~is_root]] = np.flatnonzero(~is_root)

        where = np.zeros(total, np.int64)  # raw bits of each bin's first float
        width = np.zeros(total, np.uint8)
        where[:ROOTS] = np.arange(ROOTS, dtype=np.int64) << MANTISSA_BITS
        width[:ROOTS] = MANTISSA_BITS
        for k in range(len(cell)):
            c = cell[k] if cell[k] >= 0 else (where[parent[k]] >> MANTISSA_BITS) & 0xFFF
            top = np.int64(c << MANTISSA_BITS) if c < 2048 else np.int64(c - 4096) << np.int64(MANTISSA_BITS)
            at, steps, s = int(base[k]), int(n[k]), int(shift[k])
            where[at : at + steps] = top | ((low[k] + np.arange(steps)) << s)
            width[at : at + steps] = s
            first, last = int(low[k]) << s, ((int(low[k]) + steps) << s) - 1
            for d in range(52):
                if (first >> d) & 1:
                    where[at + steps + d] = top | (((first >> d) ^ 1) << d)
                    width[at + steps + d] = d
                if not (last >> d) & 1:
                    where[at + steps + 52 + d] = top | (((last >> d) | 1) << d)
                    width[at + steps + 52 + d] = d
        where[:ROOTS] = np.where(
            np.arange(ROOTS) < 2048,
            np.arange(ROOTS, dtype=np.int64) << MANTISSA_BITS,
            (np.arange(ROOTS, dtype=np.int64) - 4096) << MANTISSA_BITS,
        )
        key = ordered(where)
        # a block of negative floats runs downwards: its first ordered key is that of its last float
        key = np.where(where < 0, key & ~((np.int64(1) << width.astype(np.int64)) - 1), key)
        arrays = (root, shift, low, n, base, rest, child)
        return arrays, key, width

    @property
    def arrays(self) -> tuple:
        """What the kernels look up: ``(root, shift, low, n, base, rest, child, deep)``."""
        return (*self._built[0], bool((self.nodes[:, 0] < 0).any()))

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
    bins: int = 24_576,
    relative: float | None = None,
    whole_numbers: bool = False,
    bounds: tuple[float, float] | None = None,
) -> Plan:
    """Plan the bins of a column from some of its values.

    sample: float64 values, any order; NaN and infinities are left out.
    bins: about how many bins to spend; sign-and-exponent cells share them by the sample's mass in each.
    relative: the widest bin allowed, as a fraction of its values (0.001: quantiles to 0.1 %); None for no such limit.
    whole_numbers: integers: a bin is never cut finer than one integer.
    bounds: smallest and largest value of the whole column, where known: small ranges of integers become exact.

    >>> plan = make_plan(np.array([1.0, 2.0, 3.0]), whole_numbers=True, bounds=(0, 100))
    >>> plan.size > 100
    True
    """
    sample = np.asarray(sample, np.float64)
    sample = sample[np.isfinite(sample)] + 0.0
    if whole_numbers and bounds is not None and bounds[1] - bounds[0] < bins and max(map(abs, bounds)) < 2**53:
        whole = np.arange(int(bounds[0]), int(bounds[1]) + 1, dtype=np.float64)
        return Plan(np.array([_span(c, m, 0, exponent_only=True) for c, m in _cells(whole)], np.int64).reshape(-1, 5))
    if not len(sample):
        return EMPTY
    nodes: list[tuple[int, int, int, int, int]] = []
    inner: list[tuple[int, np.ndarray, int]] = []  # (node, its mantissas, cell), to look for heavy bins
    heavy = max(2.0, len(sample) * 4.0 / bins)
    cells = _cells(sample)
    for cell, m in cells:
        floor = max(0, MANTISSA_BITS - ((cell & 0x7FF) - 1023)) if whole_numbers else 0
        target = max(64, int(bins * len(m) / len(sample)))
        node = _range(cell, -1, m, target, floor, relative, len(m) > 1)
        inner.append((len(nodes), m, floor))
        nodes.append(node)
    at = ROOTS
    k = 0
    spare = 2 * bins
    while k < len(nodes):
        _, m, floor = inner[k]
        _, _, shift, low, n = nodes[k]
        if shift > floor:
            off = (m >> shift) - low
            inside = (off >= 0) & (off < n)
            off, values = off[inside], m[inside]
            counts = np.bincount(off, minlength=n)
            for b in np.flatnonzero(counts > heavy):
                part = values[off == b]
                if part[0] == part[-1]:  # sorted: a single value needs no finer cut
                    continue
                target = min(max(64, int(bins * len(part) / len(sample))), 1 << min(shift - floor, 20))
                if target > spare:
                    continue
                spare -= target
                inner.append((len(nodes), part, floor))
                nodes.append(_range(-1, int(at + b), part, target, floor, None, True, (int(low + b), shift)))
        at += n + REST
        k += 1
    return Plan(np.array(nodes, np.int64).reshape(-1, 5))


def _cells(values: np.ndarray) -> list[tuple[int, np.ndarray]]:
    """Sorted mantissas by sign-and-exponent cell."""
    bits = np.sort(values.view(np.int64))
    cell = (bits >> MANTISSA_BITS) & 0xFFF
    cuts = np.flatnonzero(np.diff(cell)) + 1
    return [(int((part[0] >> MANTISSA_BITS) & 0xFFF), part & MANTISSA) for part in np.split(bits, cuts)]


def _span(cell: int, m: np.ndarray, shift: int, *, exponent_only: bool) -> tuple[int, int, int, int, int]:
    """The node that gives each integer of a cell its own bin."""
    shift = min(MANTISSA_BITS, max(0, MANTISSA_BITS - ((cell & 0x7FF) - 1023)))
    low = int(m[0]) >> shift
    return cell, -1, shift, low, (int(m[-1]) >> shift) - low + 1


def _range(
    cell: int,
    parent: int,
    m: np.ndarray,
    target: int,
    floor: int,
    relative: float | None,
    widen: bool,
    within: tuple[int, int] | None = None,
) -> tuple[int, int, int, int, int]:
    """A node over the range of ``m``, a little widened, in about ``target`` power-of-two steps."""
    first, last = int(m[0]), int(m[-1])
    least, most = (0, MANTISSA) if within is None else (within[0] << within[1], ((within[0] + 1) << within[1]) - 1)
    if widen:
        margin = (last - first) // 8 + 1
        first, last = max(least, first - margin), min(most, last + margin)
    floor = min(floor, MANTISSA_BITS)
    shift = max(floor, int(last - first).bit_length() - max(1, int(target).bit_length() - 1), 0)
    if relative is not None and len(m) > 1:
        shift = max(floor, min(shift, MANTISSA_BITS - int(np.ceil(-np.log2(relative)))))
    if within is not None:
        shift = min(shift, within[1] - 1)
    low = first >> shift
    return cell, parent, shift, low, (last >> shift) - low + 1
