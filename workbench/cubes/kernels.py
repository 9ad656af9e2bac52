"""Counting kernels for CPUs: one compiled loop over one column of one row group.

Every kernel takes plain arrays and adds into plain arrays, holds no Python object and releases the GIL, so that
threads count side by side. The same integers come out of ``arrays.py``, which is these loops written as array
expressions; the tests hold the two equal.

State of a counted column: ``cells`` has one row a bin, ``[count, smallest, largest]``, the count being an int64 in the
place of a float64 (a processor adds integers to the same place three times as fast); ``alone`` are counts of the integers
from ``first`` on, in one table or in ``LANES``; ``moments`` one row a group, ``[n, mean, sum, sum((x - mean)**2), smallest,
largest]``; ``whole`` one row a group (int64), ``[missing, nan, +inf, -inf, low limb, high limb, smallest, largest]``.
"""

from __future__ import annotations

import numpy as np
from numba import njit

MANTISSA = np.int64((1 << 52) - 1)
BLOCK = 2048
LANES = 4  # tables in turn: an addition does not wait for the one before it to the same place

DE_BRUIJN = np.uint64(0x03F79D71B4CB0A89)  # times a power of two: its place, in the six highest bits
PLACE = np.zeros(64, np.uint8)
PLACE[[((1 << i) * int(DE_BRUIJN) & 0xFFFFFFFFFFFFFFFF) >> 58 for i in range(64)]] = np.arange(64)

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
    top = 64 - p
    # zero's hash is zero, and zeros are many: its register is soon full and left alone, without a second branch
    if (h | np.uint64(r > top)) & ((np.uint64(1) << np.uint64(r)) - np.uint64(1)) == np.uint64(0):
        rank = 1
        while rank <= top and (h >> np.uint64(rank - 1)) & np.uint64(1) == np.uint64(0):
            rank += 1
        if rank > r:
            registers[i] = rank


@njit(nogil=True, cache=True)
def slot(bits, root, nodes, child):
    """The bin of a float, from its bits, and the bin's width: table look-ups and shifts, the same on every machine.

    ``nodes`` rows are ``[shift, low, n, base, rest, plain]``; ``root`` holds a node for each sign and exponent, or past
    the last one where the plan has none: then the whole cell is one bin.
    """
    m = bits & MANTISSA
    node = root[(bits >> 52) & 0xFFF]
    if node >= len(nodes) - 4096:
        return np.int64(node) - (len(nodes) - 4096), np.int64(52)
    while True:
        shift = nodes[node, 0]
        off = (m >> shift) - nodes[node, 1]
        if off < 0 or off >= nodes[node, 2]:
            # the largest aligned block that does not touch the node's range: where the first bit differs
            if off < 0:
                x = m ^ (nodes[node, 1] << shift)
                side = 0
            else:
                x = m ^ (((nodes[node, 1] + nodes[node, 2]) << shift) - 1)
                side = 52
            d = 0
            while x > 1:
                x >>= 1
                d += 1
            return nodes[node, 4] + side + d, np.int64(d)
        i = nodes[node, 3] + off
        node = child[i]
        if node < 0:
            return i, shift


@njit(nogil=True, cache=True)
def slots(bits, k, plan, out):
    """The bins of a block of floats; returns how many of them took more than one step.

    ``direct`` rows, by sign and exponent, are ``[shift, add, base, n]``: the bin is ``base + off``, where
    ``off = (bits >> shift) + add`` is below ``n``. The others walk the tree, unless they share the last one's bin.
    """
    root, nodes, child, direct = plan
    slow = 0
    for i in range(k):
        b = bits[i]
        cell = np.uint64(b) >> np.uint64(52)
        off = np.uint64((b >> direct[cell, 0]) + direct[cell, 1])
        if off < np.uint64(direct[cell, 3]):
            out[i] = np.int64(off) + direct[cell, 2]
        else:
            out[i] = -1
            slow += 1
    if slow:
        last, width, prefix = np.int64(-1), np.int64(0), np.int64(0)
        for i in range(k):
            if out[i] < 0:
                b = bits[i]
                if last < 0 or b >> width != prefix:
                    last, width = slot(b, root, nodes, child)
                    prefix = b >> width
                out[i] = last
    return slow


@njit(nogil=True, cache=True)
def runs(where, k):
    """Whether nearly every value of a block has the bin of the one before it, as in a sorted column."""
    same = 0
    for i in range(1, k):
        same += where[i] == where[i - 1]
    return same > k - (k >> 3)


@njit(nogil=True, cache=True)
def raise_cells(values, where, k, cells, counts):
    """Count a block into its bins, with the smallest and largest value of each. ``counts`` is ``cells`` as int64."""
    if runs(where, k):
        c = np.uint64(where[0])
        n = 0
        lo = values[0]
        hi = values[0]
        for i in range(k):
            if np.uint64(where[i]) != c:
                counts[c, 0] += n
                cells[c, 1] = min(cells[c, 1], lo)
                cells[c, 2] = max(cells[c, 2], hi)
                c = np.uint64(where[i])
                n = 0
                lo = values[i]
                hi = values[i]
            n += 1
            lo = min(lo, values[i])
            hi = max(hi, values[i])
        counts[c, 0] += n
        cells[c, 1] = min(cells[c, 1], lo)
        cells[c, 2] = max(cells[c, 2], hi)
        return
    for i in range(k):
        c = np.uint64(where[i])
        x = values[i]
        counts[c, 0] += 1
        if x < cells[c, 1]:  # rarely so after the first values, and then a branch is cheaper than a store
            cells[c, 1] = x
        if x > cells[c, 2]:
            cells[c, 2] = x


@njit(nogil=True, cache=True)
def count_alone(values, k, first, alone, stride):
    """Count a block of integers, each on its own; table after table is ``stride`` further, or the same."""
    i = 0
    b, c, d = first - stride, first - 2 * stride, first - 3 * stride
    while i + LANES <= k:
        alone[np.uint64(values[i] - first)] += 1
        alone[np.uint64(values[i + 1] - b)] += 1
        alone[np.uint64(values[i + 2] - c)] += 1
        alone[np.uint64(values[i + 3] - d)] += 1
        i += LANES
    while i < k:
        alone[np.uint64(values[i] - first)] += 1
        i += 1


@njit(nogil=True, cache=True, fastmath={"reassoc", "contract", "nsz"})
def centred_sums(values, bits, k, pivot):
    """``sum(x - pivot)`` and ``sum((x - pivot)**2)`` of a block, and how many are NaN, infinite or negative zero."""
    s1 = 0.0
    s2 = 0.0
    odd = 0
    for i in range(k):
        d = values[i] - pivot
        s1 += d
        s2 += d * d
        b = bits[i]
        odd += ((b & 0x7FF0000000000000) == 0x7FF0000000000000) | (b == -0x8000000000000000)
    return s1, s2, odd


@njit(nogil=True, cache=True)
def mix_block(bits, k, out):
    """Hashes of a block: on its own, this loop is vectorised."""
    for i in range(k):
        out[i] = mix(bits[i])


@njit(nogil=True, cache=True)
def raise_registers(bits, k, registers, p, hashes, full):
    """Raise the HyperLogLog registers of a block of at most ``len(hashes) - 1``.

    ``full`` is a mask of the low bits that a hash must have at zero to raise even the least register (``least``).
    """
    mix_block(bits, k, hashes)
    many = np.uint64(k)
    if full:
        many = np.uint64(0)
        for i in range(k):
            h = hashes[i]
            hashes[many] = h
            many += np.uint64(h & full == np.uint64(0))
    for i in range(many):
        register(registers, hashes[i], p)


@njit(nogil=True, cache=True)
def least(registers):
    """The mask of as many low bits as the least register counts: a hash with one of them set raises nothing."""
    low = np.uint8(64)
    for i in range(len(registers)):
        low = min(low, registers[i])
    return (np.uint64(1) << np.uint64(low)) - np.uint64(1)


@njit(nogil=True, cache=True)
def present(values, valid, offset, start, stop, out):
    """Copy the values that are there to the front of ``out``; returns how many."""
    k = np.uint64(0)
    one = np.uint64(1)
    i = np.uint64(start)
    if (offset + start) & 7 == 0:
        byte = np.uint64((offset + start) >> 3)
        while i + np.uint64(64) <= np.uint64(stop):
            every = np.uint8(0xFF)
            for j in range(np.uint64(8)):
                every &= valid[byte + j]
            if every == 0xFF:
                for j in range(np.uint64(64)):
                    out[k + j] = values[i + j]
                k += np.uint64(64)
            else:
                for b in range(np.uint64(8)):
                    v = np.uint64(valid[byte + b])
                    for j in range(np.uint64(8)):
                        out[k] = values[i + (b << np.uint64(3)) + j]
                        k += (v >> j) & one
            byte += np.uint64(8)
            i += np.uint64(64)
    while i < np.uint64(stop):
        j = i + np.uint64(offset)
        out[k] = values[i]
        k += (np.uint64(valid[j >> np.uint64(3)]) >> (j & np.uint64(7))) & one
        i += one
    return np.int64(k)


@njit(nogil=True, cache=True)
def fold(moments, n, pivot, s1, s2):
    """Add a block's centred sums to ``[n, mean, sum, m2, ...]`` of group 0 (Chan, Golub and LeVeque 1983)."""
    mean = pivot + s1 / n
    m2 = max(s2 - s1 * (s1 / n), 0.0) if s2 < np.inf else np.inf
    have = moments[0, N]
    total = have + n
    if have == 0.0:
        moments[0, 1] = mean
        moments[0, 3] = m2
    else:
        delta = mean - moments[0, 1]
        moments[0, 1] += delta * (n / total)
        moments[0, 3] += m2 + delta * delta * (have * (n / total))
    moments[0, 2] += pivot * n + s1
    moments[0, N] = total


@njit(nogil=True, cache=True)
def numbers(values, valid, offset, nulls, plan, cells, moments, whole, registers, p):
    """Count one float64 column into one group. ``valid`` is Arrow's bitmap, read from bit ``offset`` when ``nulls``."""
    counts = cells.view(np.int64)
    buffer = np.empty(BLOCK + 8, np.float64)
    where = np.empty(BLOCK, np.int64)
    hashes = np.empty(BLOCK + 1, np.uint64)
    full = least(registers)
    hashing = len(registers) > 1
    binning = len(cells) > 1
    size = len(values)
    start = 0
    while start < size:
        stop = min(start + BLOCK, size)
        if nulls:
            k = present(values, valid, offset, start, stop, buffer)
            whole[0, MISSING] += (stop - start) - k
            block = buffer
        else:
            k = stop - start
            block = values[start:stop]
        start = stop
        if k == 0:
            continue
        bits = block.view(np.int64)
        pivot = block[0]
        s1, s2, odd = centred_sums(block, bits, k, pivot)
        if odd:
            j = 0
            for i in range(k):
                x = block[i] + 0.0  # -0.0 becomes 0.0
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
            if k == 0:
                continue
            block = buffer
            bits = block.view(np.int64)
            pivot = block[0]
            s1, s2, _ = centred_sums(block, bits, k, pivot)
        fold(moments, k, pivot, s1, s2)
        if binning:
            slots(bits, k, plan, where)
            raise_cells(block, where, k, cells, counts)
        else:
            lo = block[0]
            hi = block[0]
            for i in range(k):
                lo = min(lo, block[i])
                hi = max(hi, block[i])
            moments[0, MIN] = min(moments[0, MIN], lo)
            moments[0, MAX] = max(moments[0, MAX], hi)
        if hashing:
            raise_registers(bits, k, registers, p, hashes, full)


@njit(nogil=True, cache=True)
def integers(values, valid, offset, nulls, plan, cells, alone, first, moments, whole, registers, p):
    """Count one int64 column into one group: as ``numbers``, with the exact sum in two limbs and exact extremes.

    A block of integers that all have a count of their own is only counted: what bins and registers say of them is read
    off these counts afterwards.
    """
    counts = cells.view(np.int64)
    lanes, span = alone.shape
    stride = span if lanes == LANES else 0
    flat = alone.reshape(-1)
    buffer = np.empty(BLOCK, np.float64)
    hashes = np.empty(BLOCK + 1, np.uint64)
    full = least(registers)
    bits = buffer.view(np.int64)
    whole_block = np.empty(BLOCK + 8, np.int64)
    where = np.empty(BLOCK, np.int64)
    hashing = len(registers) > 1
    binning = len(cells) > 1
    size = len(values)
    start = 0
    while start < size:
        stop = min(start + BLOCK, size)
        if nulls:
            k = present(values, valid, offset, start, stop, whole_block)
            whole[0, MISSING] += (stop - start) - k
            block = whole_block
        else:
            k = stop - start
            block = values[start:stop]
        start = stop
        if k == 0:
            continue
        small = np.int64(0)
        large = np.int64(0)
        imin = block[0]
        imax = block[0]
        for i in range(k):
            x = block[i]
            small += x & 0xFFFFFFFF
            large += x >> 32
            imin = x if x < imin else imin
            imax = x if x > imax else imax
            buffer[i] = float(x)
        whole[0, LOW] += small & 0xFFFFFFFF
        whole[0, HIGH] += large + (small >> 32)
        whole[0, IMIN] = min(whole[0, IMIN], imin)
        whole[0, IMAX] = max(whole[0, IMAX], imax)
        moments[0, MIN] = min(moments[0, MIN], float(imin))
        moments[0, MAX] = max(moments[0, MAX], float(imax))
        pivot = buffer[0]
        s1, s2, _ = centred_sums(buffer, bits, k, pivot)
        fold(moments, k, pivot, s1, s2)
        if first <= imin and imax < first + span:  # not imax - first, which wraps around for the largest integers
            count_alone(block, k, first, flat, stride)
            continue
        if binning:
            slots(bits, k, plan, where)
            raise_cells(buffer, where, k, cells, counts)
        if hashing:
            raise_registers(block, k, registers, p, hashes, full)


@njit(nogil=True, cache=True)
def partition(values, valid, offset, nulls, codes, starts, out, missing):
    """Put each group's values side by side: group ``g`` is ``out[starts[g]:starts[g + 1]]``, in the rows' order.

    ``starts`` (one longer than the groups) and ``missing`` come as zeros.
    """
    rows = len(values)
    groups = len(missing)
    for i in range(rows):
        g = codes[i]
        if nulls:
            j = i + offset
            if not (valid[j >> 3] >> (j & 7)) & 1:
                missing[g] += 1
                continue
        starts[g + 1] += 1
    for g in range(groups):
        starts[g + 1] += starts[g]
    at = starts[:groups].copy()
    for i in range(rows):
        if nulls:
            j = i + offset
            if not (valid[j >> 3] >> (j & 7)) & 1:
                continue
        g = codes[i]
        out[at[g]] = values[i]
        at[g] += 1


@njit(nogil=True, cache=True)
def spread(values, starts, groups, at, out):
    """Put values that lie side by side by group where those of their groups go on (``at``)."""
    for i in range(len(groups)):
        to = at[groups[i]]
        for j in range(starts[i], starts[i + 1]):
            out[to] = values[j]
            to += 1
        at[groups[i]] = to


@njit(nogil=True, cache=True)
def grouped(values, exact, is_integer, starts, names, plan, order, binning, moments, whole, cells, seen, out):
    """Count one column into many groups, one after the other; returns the number of bins written.

    ``moments`` and ``whole`` have a row a group. ``order`` is ``(rank, bits)``: each bin's place by value, and the width
    of the bin at each place. ``cells`` (by place) and ``seen`` (a bit for each of them) are scratch for one group, clean before
    and after. ``out`` is ``(group, bits, count, min, max)``: the groups, by their ``names``, with their bins by value.
    """
    rank, bits_at = order
    root, nodes, child, direct = plan
    bits = values.view(np.int64)
    counts = cells.view(np.int64)
    to_group, to_bits, to_count, to_least, to_most = out
    written = np.uint64(0)
    for g in range(len(starts) - 1):
        a = starts[g]
        b = starts[g + 1]
        n = 0
        first = np.uint64(len(seen))
        last = np.uint64(0)
        pivot = 0.0
        s1 = 0.0
        s2 = 0.0
        lo = np.inf
        hi = -np.inf
        for i in range(a, b):
            x = values[i] + 0.0
            if not (-np.inf < x < np.inf):
                if x != x:
                    whole[g, NAN] += 1
                elif x > 0:
                    whole[g, POSINF] += 1
                else:
                    whole[g, NEGINF] += 1
                continue
            if n == 0:
                pivot = x
            n += 1
            d = x - pivot
            s1 += d
            s2 += d * d
            lo = x if x < lo else lo
            hi = x if x > hi else hi
            if binning:
                v = bits[i] if bits[i] != -0x8000000000000000 else np.int64(0)
                cell = np.uint64(v) >> np.uint64(52)
                off = np.uint64((v >> direct[cell, 0]) + direct[cell, 1])
                if off < np.uint64(direct[cell, 3]):
                    c = np.int64(off) + direct[cell, 2]
                else:
                    c, _ = slot(v, root, nodes, child)
                r = np.uint64(rank[np.uint64(c)])
                word = r >> np.uint64(6)
                seen[word] |= np.uint64(1) << (r & np.uint64(63))
                first = word if word < first else first
                last = word if word > last else last
                counts[r, 0] += 1
                if x < cells[r, 1]:
                    cells[r, 1] = x
                if x > cells[r, 2]:
                    cells[r, 2] = x
        if is_integer:
            for i in range(a, b):
                e = exact[i]
                whole[g, LOW] += e & 0xFFFFFFFF
                whole[g, HIGH] += e >> 32
                whole[g, IMIN] = min(whole[g, IMIN], e)
                whole[g, IMAX] = max(whole[g, IMAX], e)
        if n:
            moments[g, N] = n
            moments[g, 1] = pivot
            moments[g, 2] = s1
            moments[g, 3] = s2
            moments[g, MIN] = lo
            moments[g, MAX] = hi
        if n and binning:
            for word in range(first, last + np.uint64(1)):
                flags = seen[word]
                seen[word] = 0
                while flags:
                    low = flags & (~flags + np.uint64(1))
                    flags ^= low
                    r = (np.uint64(word) << np.uint64(6)) | np.uint64(PLACE[(low * DE_BRUIJN) >> np.uint64(58)])
                    to_group[written] = names[g]
                    to_bits[written] = bits_at[r]
                    to_count[written] = counts[r, 0]
                    to_least[written] = cells[r, 1]
                    to_most[written] = cells[r, 2]
                    counts[r, 0] = 0
                    cells[r, 1] = np.inf
                    cells[r, 2] = -np.inf
                    written += np.uint64(1)
    return np.int64(written)


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
    size = len(codes)
    i = 0
    if not nulls and len(counts) <= 1024:
        # four tables in turn: an addition does not wait for the one before it to the same cell
        lanes = np.zeros((4, len(counts)), np.int64)
        while i + 4 <= size:
            for lane in range(4):
                lanes[lane, np.uint64(codes[i + lane])] += 1
            i += 4
        counts += lanes.sum(0)
    while i < size:
        j = i + offset
        if nulls and not (valid[j >> 3] >> (j & 7)) & 1:
            missing += 1
        else:
            counts[codes[i]] += 1
        i += 1
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
