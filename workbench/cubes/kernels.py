"""Counting kernels for CPUs: one compiled loop over one column of one row group.

Every kernel takes plain arrays and adds into plain arrays, holds no Python object and releases the GIL, so that
threads count side by side. The same integers come out of ``arrays.py``, which is these loops written as array
expressions; the tests hold the two equal.

State of a counted column (see ``partial.Numbers``): ``cells`` has one row a bin, ``[count, smallest, largest]``;
``moments`` one row a group, ``[n, mean, sum, sum((x - mean)**2), smallest, largest]``; ``whole`` one row a group, ``[missing, nan, +inf, -inf, low limb, high limb, smallest, largest]`` (int64).
"""

from __future__ import annotations

import numpy as np
from numba import njit

MANTISSA = np.int64((1 << 52) - 1)
BLOCK = 2048

N, PIVOT, S1, S2, MIN, MAX = range(6)
MISSING, NAN, POSINF, NEGINF, LOW, HIGH, IMIN, IMAX = range(8)


@njit(nogil=True, cache=True)
def mix(h):
    """A 64-bit finaliser (two multiply-xorshift rounds): every input bit reaches every output bit."""
    h = np.uint64(h)
    h ^= h >> np.uint64(32)
    h *= np.uint64(0xD6E8FEB86659FD93)
    h ^= h >> np.uint64(32)
    h *= np.uint64(0xD6E8FEB86659FD93)
    h ^= h >> np.uint64(32)
    return h


@njit(nogil=True, cache=True)
def register(registers, h, p):
    """Raise one HyperLogLog register; most values only read it, since ranks rarely grow."""
    i = h >> np.uint64(64 - p)
    r = registers[i]
    if h & ((np.uint64(1) << np.uint64(r)) - np.uint64(1)) == np.uint64(0):
        rank = 1
        top = 64 - p
        while rank <= top and (h >> np.uint64(rank - 1)) & np.uint64(1) == np.uint64(0):
            rank += 1
        if rank > r:
            registers[i] = rank


@njit(nogil=True, cache=True)
def slot_outside(m, node, shift, low, n, rest):
    """The leaf for a mantissa outside its node's fine range: the aligned block at the first bit that differs."""
    start = low[node] << shift[node]
    if m < start:
        x = m ^ start
        side = 0
    else:
        x = m ^ (((low[node] + n[node]) << shift[node]) - 1)
        side = 52
    d = 0
    while x > 1:
        x >>= 1
        d += 1
    return rest[node] + side + d


@njit(nogil=True, cache=True)
def slot(bits, root, shift, low, n, base, rest, child, deep):
    """The bin of a float, from its bits: table look-ups and shifts, the same on every machine."""
    m = bits & MANTISSA
    node = root[(bits >> 52) & 0xFFF]
    off = (m >> shift[node]) - low[node]
    if off < 0 or off >= n[node]:
        return slot_outside(m, node, shift, low, n, rest)
    i = base[node] + off
    if deep:
        node = child[i]
        while node >= 0:
            off = (m >> shift[node]) - low[node]
            if off < 0 or off >= n[node]:
                return slot_outside(m, node, shift, low, n, rest)
            i = base[node] + off
            node = child[i]
    return i


@njit(nogil=True, cache=True)
def slots_of(values, out, root, shift, low, n, base, rest, child, deep):
    """The bin of every (finite) value."""
    bits = values.view(np.int64)
    for k in range(len(values)):
        out[k] = slot(bits[k], root, shift, low, n, base, rest, child, deep)


@njit(nogil=True, cache=True)
def numbers(values, valid, offset, nulls, plan, cells, moments, whole, registers, p):
    """Count one float64 column into one group. ``valid`` is Arrow's bitmap, read from bit ``offset`` when ``nulls``."""
    root, shift, low, n, base, rest, child, deep = plan
    buffer = np.empty(BLOCK, np.float64)
    bits = buffer.view(np.int64)
    hashing = len(registers) > 1
    binning = len(cells) > 1
    size = len(values)
    start = 0
    while start < size:
        stop = min(start + BLOCK, size)
        k = 0
        if nulls:
            for i in range(start, stop):
                j = i + offset
                if (valid[j >> 3] >> (j & 7)) & 1:
                    buffer[k] = values[i] + 0.0
                    k += 1
            whole[0, MISSING] += (stop - start) - k
        else:
            k = stop - start
            for i in range(k):
                buffer[i] = values[start + i] + 0.0  # -0.0 becomes 0.0
        odd = 0
        for i in range(k):
            odd += (bits[i] & 0x7FF0000000000000) == 0x7FF0000000000000
        if odd:
            j = 0
            for i in range(k):
                x = buffer[i]
                if x != x:
                    whole[0, NAN] += 1
                elif x == np.inf:
                    whole[0, POSINF] += 1
                elif x == -np.inf:
                    whole[0, NEGINF] += 1
                else:
                    buffer[j] = x
                    j += 1
            k = j
        start = stop
        if k == 0:
            continue
        pivot = buffer[0]
        s1 = 0.0
        s2 = 0.0
        lo = buffer[0]
        hi = buffer[0]
        for i in range(k):
            d = buffer[i] - pivot
            s1 += d
            s2 += d * d
            lo = min(lo, buffer[i])
            hi = max(hi, buffer[i])
        fold(moments, 0, k, pivot, s1, s2, lo, hi)
        if binning:
            for i in range(k):
                c = slot(bits[i], root, shift, low, n, base, rest, child, deep)
                x = buffer[i]
                cells[c, 0] += 1.0
                if x < cells[c, 1]:
                    cells[c, 1] = x
                if x > cells[c, 2]:
                    cells[c, 2] = x
        if hashing:
            for i in range(k):
                register(registers, mix(bits[i]), p)


@njit(nogil=True, cache=True)
def integers(values, valid, offset, nulls, plan, cells, moments, whole, registers, p):
    """Count one int64 column into one group: as ``numbers``, and the exact sum in two limbs and exact extremes."""
    root, shift, low, n, base, rest, child, deep = plan
    buffer = np.empty(BLOCK, np.float64)
    exact = np.empty(BLOCK, np.int64)
    bits = buffer.view(np.int64)
    hashing = len(registers) > 1
    binning = len(cells) > 1
    size = len(values)
    start = 0
    while start < size:
        stop = min(start + BLOCK, size)
        k = 0
        if nulls:
            for i in range(start, stop):
                j = i + offset
                if (valid[j >> 3] >> (j & 7)) & 1:
                    exact[k] = values[i]
                    k += 1
            whole[0, MISSING] += (stop - start) - k
        else:
            k = stop - start
            for i in range(k):
                exact[i] = values[start + i]
        start = stop
        if k == 0:
            continue
        small = np.int64(0)
        large = np.int64(0)
        imin = exact[0]
        imax = exact[0]
        for i in range(k):
            x = exact[i]
            small += x & 0xFFFFFFFF
            large += x >> 32
            imin = min(imin, x)
            imax = max(imax, x)
            buffer[i] = float(x)
        whole[0, LOW] += small
        whole[0, HIGH] += large
        whole[0, IMIN] = min(whole[0, IMIN], imin)
        whole[0, IMAX] = max(whole[0, IMAX], imax)
        pivot = buffer[0]
        s1 = 0.0
        s2 = 0.0
        for i in range(k):
            d = buffer[i] - pivot
            s1 += d
            s2 += d * d
        fold(moments, 0, k, pivot, s1, s2, float(imin), float(imax))
        if binning:
            for i in range(k):
                c = slot(bits[i], root, shift, low, n, base, rest, child, deep)
                x = buffer[i]
                cells[c, 0] += 1.0
                if x < cells[c, 1]:
                    cells[c, 1] = x
                if x > cells[c, 2]:
                    cells[c, 2] = x
        if hashing:
            for i in range(k):
                register(registers, mix(exact[i]), p)


@njit(nogil=True, cache=True)
def fold(moments, g, n, pivot, s1, s2, lo, hi):
    """Add a block's centred sums to group ``g`` as ``[n, mean, sum, m2, min, max]`` (Chan, Golub, LeVeque 1983)."""
    if moments[g, N] == 0.0:
        moments[g, N] = n
        moments[g, PIVOT] = pivot + s1 / n
        moments[g, S1] = pivot * n + s1
        moments[g, S2] = max(s2 - s1 * (s1 / n), 0.0)
    else:
        mean = pivot + s1 / n
        m2 = max(s2 - s1 * (s1 / n), 0.0)
        have = moments[g, N]
        total = have + n
        delta = mean - moments[g, PIVOT]
        moments[g, PIVOT] += delta * (n / total)
        moments[g, S2] += m2 + delta * delta * (have * (n / total))
        moments[g, S1] += pivot * n + s1
        moments[g, N] = total
    moments[g, MIN] = min(moments[g, MIN], lo)
    moments[g, MAX] = max(moments[g, MAX], hi)


@njit(nogil=True, cache=True)
def grouped(
    values, exact, is_integer, valid, offset, nulls, codes, lasting, plan, size, moments, whole, keys, cells, used
):
    """Count one column into many groups: ``codes`` is each row's group in ``moments`` and ``whole``, ``lasting`` in keys.

    ``moments`` rows are ``[n, pivot, sum(x - pivot), sum((x - pivot)**2), min, max]`` around each group's first value.
    Bins go into an open-addressing table ``keys`` (group * size + bin, -1 = free) with ``cells`` beside it. Stops and
    returns the number of rows done when the table is three fifths full; the caller grows it and goes on.
    """
    root, shift, low, n, base, rest, child, deep = plan
    rows = len(values)
    mask = len(keys) - 1
    limit = len(keys) * 3 // 5
    binning = len(keys) > 1
    one = np.empty(1, np.float64)
    bits = one.view(np.int64)
    for i in range(rows):
        if binning and used[0] > limit:
            return i
        g = codes[i]
        if nulls:
            j = i + offset
            if not (valid[j >> 3] >> (j & 7)) & 1:
                whole[g, MISSING] += 1
                continue
        x = values[i] + 0.0
        if x != x:
            whole[g, NAN] += 1
            continue
        if x == np.inf:
            whole[g, POSINF] += 1
            continue
        if x == -np.inf:
            whole[g, NEGINF] += 1
            continue
        if is_integer:
            e = exact[i]
            whole[g, LOW] += e & 0xFFFFFFFF
            whole[g, HIGH] += e >> 32
            whole[g, IMIN] = min(whole[g, IMIN], e)
            whole[g, IMAX] = max(whole[g, IMAX], e)
        row = moments[g]
        if row[N] == 0.0:
            row[PIVOT] = x
        d = x - row[PIVOT]
        row[N] += 1.0
        row[S1] += d
        row[S2] += d * d
        if x < row[MIN]:
            row[MIN] = x
        if x > row[MAX]:
            row[MAX] = x
        if binning:
            one[0] = x
            key = lasting[i] * size + slot(bits[0], root, shift, low, n, base, rest, child, deep)
            h = np.int64(mix(key) & np.uint64(mask))
            while keys[h] != key:
                if keys[h] == -1:
                    keys[h] = key
                    used[0] += 1
                    break
                h = (h + 1) & mask
            cells[h, 0] += 1.0
            if x < cells[h, 1]:
                cells[h, 1] = x
            if x > cells[h, 2]:
                cells[h, 2] = x
    return rows


@njit(nogil=True, cache=True)
def grouped_registers(hashes, valid, offset, nulls, codes, registers, p):
    """Raise HyperLogLog registers, one row of ``registers`` a group."""
    for i in range(len(hashes)):
        if nulls:
            j = i + offset
            if not (valid[j >> 3] >> (j & 7)) & 1:
                continue
        register(registers[codes[i]], hashes[i], p)


@njit(nogil=True, cache=True)
def rehash(keys, cells, new_keys, new_cells):
    """Move a table of counted bins into a larger one."""
    mask = len(new_keys) - 1
    for i in range(len(keys)):
        if keys[i] != -1:
            h = np.int64(mix(keys[i]) & np.uint64(mask))
            while new_keys[h] != -1:
                h = (h + 1) & mask
            new_keys[h] = keys[i]
            new_cells[h] = cells[i]


@njit(nogil=True, cache=True)
def hash_numbers(bits, out):
    """A 64-bit hash of every value's bits."""
    for i in range(len(bits)):
        out[i] = mix(bits[i])


@njit(nogil=True, cache=True)
def hash_text(data, starts, out):
    """A 64-bit hash of every string: ``data[starts[i]:starts[i + 1]]`` in UTF-8, eight bytes a step."""
    for i in range(len(out)):
        a = np.int64(starts[i])
        b = np.int64(starts[i + 1])
        h = np.uint64(b - a) * np.uint64(0x9E3779B97F4A7C15)
        while a + 8 <= b:
            w = (
                np.uint64(data[a])
                | np.uint64(data[a + 1]) << np.uint64(8)
                | np.uint64(data[a + 2]) << np.uint64(16)
                | np.uint64(data[a + 3]) << np.uint64(24)
                | np.uint64(data[a + 4]) << np.uint64(32)
                | np.uint64(data[a + 5]) << np.uint64(40)
                | np.uint64(data[a + 6]) << np.uint64(48)
                | np.uint64(data[a + 7]) << np.uint64(56)
            )
            h = (h ^ w) * np.uint64(0xFF51AFD7ED558CCD)
            h ^= h >> np.uint64(32)
            a += 8
        w = np.uint64(0)
        while a < b:
            w = (w << np.uint64(8)) | np.uint64(data[a])
            a += 1
        h = (h ^ w) * np.uint64(0xFF51AFD7ED558CCD)
        out[i] = mix(h)


@njit(nogil=True, cache=True)
def count_codes(codes, valid, offset, nulls, counts):
    """Add to ``counts[code]`` for every valid row; returns the number of missing rows."""
    missing = 0
    for i in range(len(codes)):
        if nulls:
            j = i + offset
            if not (valid[j >> 3] >> (j & 7)) & 1:
                missing += 1
                continue
        counts[codes[i]] += 1
    return missing


@njit(nogil=True, cache=True)
def count_pairs(groups, codes, valid, offset, nulls, counts, missing):
    """Add to ``counts[group, code]`` for every valid row, to ``missing[group]`` for the others."""
    for i in range(len(codes)):
        if nulls:
            j = i + offset
            if not (valid[j >> 3] >> (j & 7)) & 1:
                missing[groups[i]] += 1
                continue
        counts[groups[i], codes[i]] += 1
