"""Adding many bins of many groups, compiled: tables that are each in order, put together by group."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numba import njit

from workbench.cubes import partial as p
from workbench.cubes.plan import ordered

REST = ("bits", "count", "min", "max")
key_of = njit(nogil=True, cache=True)(ordered)


@njit(nogil=True, cache=True)
def tally(group, where, starts):
    """Count a table's rows by group into ``starts``, one place further on."""
    for i in range(len(group)):
        starts[np.uint64(where[np.uint64(group[i])] + 1)] += 1


@njit(nogil=True, cache=True)
def place(group, where, at, bits, count, least, most, to_bits, to_count, to_least, to_most):
    """Copy a table's rows to their groups' places; ``at`` is where each group goes on."""
    for i in range(len(group)):
        g = np.uint64(where[np.uint64(group[i])])
        d = np.uint64(at[g])
        at[g] += 1
        to_bits[d] = bits[i]
        to_count[d] = count[i]
        to_least[d] = least[i]
        to_most[d] = most[i]


@njit(nogil=True, cache=True)
def settle(starts, group, bits, count, least, most):
    """Put each group's bins in order and add those that nest, in place; returns how many are left.

    Blocks are aligned, so two of them nest or do not meet; where they nest the larger takes all.
    """
    n = 0
    raw = least.view(np.int64)
    for g in range(len(starts) - 1):
        a = starts[g]
        b = starts[g + 1]
        apart = True
        high = np.int64(0)
        for i in range(a, b):
            width = np.int64(bits[i])
            low = key_of(raw[i]) >> width << width
            if i > a and low <= high:
                apart = False
                break
            high = low + ((np.int64(1) << width) - 1)
        if apart:
            for i in range(a, b):
                group[n] = g
                if n != i:
                    bits[n] = bits[i]
                    count[n] = count[i]
                    least[n] = least[i]
                    most[n] = most[i]
                n += 1
            continue
        row_bits = bits[a:b].astype(np.int64)
        row_low = key_of(raw[a:b]) >> row_bits << row_bits
        order = np.argsort(row_low)
        row_low, row_bits = row_low[order], row_bits[order]
        row_count, row_least, row_most = count[a:b][order], least[a:b][order], most[a:b][order]
        first = True
        for i in range(b - a):
            end = row_low[i] + ((np.int64(1) << row_bits[i]) - 1)
            if first or row_low[i] > high:
                first = False
                group[n] = g
                bits[n] = row_bits[i]
                count[n] = row_count[i]
                least[n] = row_least[i]
                most[n] = row_most[i]
                high = end
                n += 1
            else:
                if end > high:  # of the same start, and wider
                    high = end
                    bits[n - 1] = row_bits[i]
                count[n - 1] += row_count[i]
                least[n - 1] = min(least[n - 1], row_least[i])
                most[n - 1] = max(most[n - 1], row_most[i])
    return n


def merged(tables: Sequence[p.Ragged], where: Sequence[np.ndarray], groups: int) -> p.Ragged:
    """What ``partial.join_bins`` of all tables gives, by one pass over them and one over the result.

    where: each table's groups as numbers below ``groups``. It pays from some 100,000 bins on.
    """
    starts = np.zeros(groups + 1, np.int64)
    for t, to in zip(tables, where, strict=True):
        tally(t["group"], to, starts)
    np.cumsum(starts, out=starts)
    few = sum(int(t["count"].sum()) for t in tables) < 1 << 31
    kinds = p.BIN_TYPES | {"count": np.int32 if few else np.int64}
    out = {key: np.empty(int(starts[-1]), kind) for key, kind in kinds.items()}
    rest = [out[key] for key in REST]
    at = starts[:-1].copy()
    for t, to in zip(tables, where, strict=True):
        place(t["group"], to, at, *(t[key] for key in REST), *rest)
    kept = settle(starts, out["group"], *rest)
    return {key: one[:kept] if kept > 0.9 * len(one) else one[:kept].copy() for key, one in out.items()}


@njit(nogil=True, cache=True)
def ranks(group, count, least, most, qs, out):
    """The quantiles of each group's bins into ``out`` (groups, quantiles), by the rule of ``readers.quantile``.

    False, and nothing of worth in ``out``, where the bins are not in order.
    """
    a = 0
    while a < len(group):
        g = group[a]
        b = a
        total = 0
        while b < len(group) and group[b] == g:
            if b > a and least[b] < least[b - 1]:
                return False
            total += count[b]
            b += 1
        if b < len(group) and group[b] < g:
            return False
        for j in range(len(qs)):
            rank = max(np.int64(np.ceil(qs[j] * total * (1 - 4e-16) - 1e-9)), 1)
            i = a
            before = 0
            while before + count[i] < rank:
                before += count[i]
                i += 1
            low = least[i]
            high = most[i]
            share = (rank - before - 1) / max(count[i] - 1, 1)
            span = high - low
            value = low * (1 - share) + high * share if np.isinf(span) else low + span * share
            out[g, j] = low if low == high else min(max(value, low), high)
        a = b
    return True
