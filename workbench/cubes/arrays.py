"""The same counting as ``kernels.py`` written as array expressions: the tests' oracle on NumPy, the GPU's form on CuPy.

Every function takes the array library as ``xp``. Counts, bins, extremes, integer sums and registers are the same
integers as the compiled loops give; float sums and moments agree to rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import gcd
from typing import Any, NamedTuple

import numpy as np

from workbench.cubes import partial as p
from workbench.cubes.axes import DAY, NO_TIME, Axis, Bins, Category, Period, _offset
from workbench.cubes.counting import Column
from workbench.cubes.plan import MANTISSA, MANTISSA_BITS, ROOTS, Plan, ordered
from workbench.cubes.texts import Text, hash_words

QUARTER = 900_000_000
MICROS = {"s": 1_000_000, "ms": 1_000}
EXACT_ROWS = 1 << 20  # float64 adds 32-bit limbs exactly up to 2**21 of them


class Numbers(NamedTuple):
    """A numeric column on a device: int64 or float64 values, which of them are there (None: all), and the kind."""

    values: Any
    valid: Any = None
    kind: str = ""


class Words(NamedTuple):
    """A text column: each row's code on the device (-1: missing), and the words in host memory (an Arrow array)."""

    codes: Any
    words: Any


Read = Callable[[str], Any]


def slots(xp: Any, values: Any, plan: Plan) -> Any:
    """The bin of each finite float: the look-ups of ``kernels.slot``, all values at once, a level of the tree a step."""
    root, nodes, child, *_ = (xp.asarray(a) if isinstance(a, np.ndarray) else a for a in plan.arrays)
    planned = len(nodes) - ROOTS
    bits = (values + 0.0).view(xp.int64)
    m = bits & MANTISSA
    node = root[(bits >> MANTISSA_BITS) & 0xFFF].astype(xp.int64)
    out = xp.where(node >= planned, node - planned, -1)
    while True:
        todo = xp.flatnonzero(out < 0)
        if not len(todo):
            return out
        at, mm = nodes[node[todo]], m[todo]
        off = (mm >> at[:, 0]) - at[:, 1]
        below, above = off < 0, off >= at[:, 2]
        edge = xp.where(below, at[:, 1] << at[:, 0], ((at[:, 1] + at[:, 2]) << at[:, 0]) - 1)
        outside = at[:, 4] + highest_bit(xp, mm ^ edge) + xp.where(below, 0, 52)
        inside = at[:, 3] + off
        away = below | above
        deeper = child[xp.where(away, 0, inside)].astype(xp.int64)
        out[todo] = xp.where(away, outside, xp.where(deeper < 0, inside, -1))
        node[todo] = xp.where(away, node[todo], deeper)


def highest_bit(xp: Any, x: Any) -> Any:
    """Position of the highest set bit of integers below 2**53; 0 for 0."""
    return xp.maximum((x.astype(xp.float64).view(xp.int64) >> MANTISSA_BITS) - 1023, 0)


def mix(xp: Any, bits: Any) -> Any:
    """The finaliser of ``kernels.mix``."""
    h = bits.view(xp.uint64)
    s, k = xp.uint64(32), xp.uint64(0xD6E8FEB86659FD93)
    h = (h ^ (h >> s)) * k
    h = (h ^ (h >> s)) * k
    return h ^ (h >> s)


def registers_of_hashes(xp: Any, groups: Any, h: Any, bits: int) -> p.Ragged:
    """HyperLogLog registers raised by hashes, as ragged rows on the host."""
    if not len(h):
        return p.empty(p.REGISTER_TYPES)
    index = (h >> xp.uint64(64 - bits)).astype(xp.int64)
    marked = h | xp.uint64(1 << (64 - bits))  # a rank is never above this bit's
    lowest = marked & (~marked + xp.uint64(1))
    rank = ((lowest.astype(xp.float64).view(xp.int64) >> MANTISSA_BITS) - 1022).astype(xp.int64)
    key = ((groups << 16 | index) << 8) | rank  # sorted, the last of each register has its largest rank
    key = xp.sort(key)
    last = xp.flatnonzero(xp.concatenate([(key[1:] >> 8) != (key[:-1] >> 8), xp.ones(1, bool)]))
    key = host(key[last])
    return {
        "group": key >> 24,
        "index": ((key >> 8) & 0xFFFF).astype(np.uint16),
        "rank": (key & 0xFF).astype(np.uint8),
    }


def runs(xp: Any, keys: Any, values: Any) -> tuple[Any, Any, Any, Any]:
    """``(key, count, smallest, largest)`` of the values under each key, by sorting."""
    order = xp.argsort(values, kind="stable")
    order = order[xp.argsort(keys[order], kind="stable")]
    key, value = keys[order], values[order]
    first = xp.flatnonzero(xp.concatenate([xp.ones(min(1, len(key)), bool), key[1:] != key[:-1]]))
    stop = xp.concatenate([first[1:], xp.full(min(1, len(key)), len(key), first.dtype)])
    return key[first], stop - first, value[first], value[stop - 1]


def count_numbers(
    xp: Any, c: Column, v: Numbers, codes: Any, n: int
) -> tuple[np.ndarray, np.ndarray, p.Ragged, p.Ragged]:
    """A numeric column by group: ``(moments (n, 6), whole (n, 8), bins, registers)``."""
    whole = p.empty_whole(1, n)[0]
    moments = p.empty_moments(1, n)[0]
    values, exact = v.values, None
    if v.valid is not None:
        whole[:, p.MISSING] = host(xp.bincount(codes[~v.valid], minlength=n))
        values, codes = values[v.valid], codes[v.valid]
    if values.dtype.kind == "i":
        exact = values.astype(xp.int64)
        values = exact.astype(xp.float64)
        for start in range(0, len(exact), EXACT_ROWS):
            part, at = exact[start : start + EXACT_ROWS], codes[start : start + EXACT_ROWS]
            low = host(xp.bincount(at, weights=(part & 0xFFFFFFFF).astype(xp.float64), minlength=n)).astype(np.int64)
            high = host(xp.bincount(at, weights=(part >> 32).astype(xp.float64), minlength=n)).astype(np.int64)
            whole[:, p.LOW] += low
            whole[:, p.HIGH] += high
        whole[:, p.HIGH] += whole[:, p.LOW] >> 32
        whole[:, p.LOW] &= 0xFFFFFFFF
        key, _, small, large = (host(a) for a in runs(xp, codes, exact))
        whole[key, p.IMIN], whole[key, p.IMAX] = small, large
    else:
        values = values.astype(xp.float64) + 0.0
        for column, odd in ((p.NAN, xp.isnan(values)), (p.POSINF, values == xp.inf), (p.NEGINF, values == -xp.inf)):
            whole[:, column] = host(xp.bincount(codes[odd], minlength=n))
        fine = xp.isfinite(values)
        values, codes = values[fine], codes[fine]
    count = xp.bincount(codes, minlength=n).astype(xp.float64)
    some = xp.maximum(count, 1)
    first = xp.zeros(n)
    first[codes[::-1]] = values[::-1]  # a value of each group, to keep the sums small
    with np.errstate(over="ignore", invalid="ignore"):  # of the largest floats
        off = values - first[codes]
        mean = xp.bincount(codes, weights=off, minlength=n) / some
        rest = off - mean[codes]
        moments[:, p.N], moments[:, p.MEAN] = host(count), host(first + mean)
        moments[:, p.SUM] = host((first + mean) * count)
        moments[:, p.M2] = host(xp.bincount(codes, weights=rest * rest, minlength=n))
    key, _, small, large = (host(a) for a in runs(xp, codes, values))
    moments[key, p.MIN], moments[key, p.MAX] = small, large
    bins, registers = p.empty(p.BIN_TYPES), p.empty(p.REGISTER_TYPES)
    if c.asked.histogram and len(values):
        key, number, small, large = (host(a) for a in runs(xp, codes * c.plan.size + slots(xp, values, c.plan), values))
        slot = key % c.plan.size
        bins = p.join_bins(
            {
                "group": (key // c.plan.size).astype(np.int32),
                "bits": c.plan.bin_bits[slot],
                "count": number.astype(np.int64),
                "min": small,
                "max": large,
            }
        )
    if c.asked.p:
        hashes = mix(xp, values.view(xp.int64) if exact is None else exact)
        registers = registers_of_hashes(xp, codes, hashes, c.asked.p)
    return moments, whole, bins, registers


def count_batch(xp: Any, rows: int, read: Read, columns: tuple[Column, ...], axes: tuple[Axis, ...]) -> p.Partial:
    """The partial of one batch of rows; ``read(name)`` gives a column as ``Numbers``, ``Words`` or a missing count."""
    encoded = [encode(xp, a, read(a.column)) for a in axes]
    flat = xp.zeros(rows, xp.int64)
    for codes, labels in encoded:
        flat = flat * max(1, len(labels)) + codes
    seen, codes = xp.unique(flat, return_inverse=True) if axes else (xp.zeros(1, xp.int64), flat)
    codes = codes.reshape(-1)
    n = len(seen)
    rest = host(seen)
    own = np.zeros((n, len(axes)), np.int64)
    for a in reversed(range(len(axes))):
        size = max(1, len(encoded[a][1]))
        own[:, a] = rest % size
        rest = rest // size
    k = len(columns)
    names: list[np.ndarray] = []
    for a, (_, found) in enumerate(encoded):
        used, own[:, a] = np.unique(own[:, a], return_inverse=True)
        names.append(found[used])
    out = p.Partial(
        tuple(names), own, host(xp.bincount(codes, minlength=n)).astype(np.int64),
        p.empty_moments(k, n), p.empty_whole(k, n), np.zeros((k, n), np.int64), np.zeros((k, n), np.int64),
    )  # fmt: skip
    for i, c in enumerate(columns):
        bins, tops, registers = p.empty(p.BIN_TYPES), p.empty(p.TOP_TYPES), p.empty(p.REGISTER_TYPES)
        column = read(c.name)
        if isinstance(column, Words):
            gone = column.codes < 0
            out.whole[i, :, p.MISSING] = host(xp.bincount(codes[gone], minlength=n))
            width = max(1, len(column.words))
            key, number = xp.unique(codes[~gone] * width + column.codes[~gone].astype(xp.int64), return_counts=True)
            key, number = host(key), host(number).astype(np.int64)
            group, which = key // width, key % width
            if c.asked.p and len(key):
                registers = registers_of_hashes(np, group, hash_words(column.words)[which], c.asked.p)
            if c.asked.top and len(key):
                text = Text()
                text.add(group, column.words.to_pylist(), which, number)
                tops = p.trim_tops(text.table(), out.lost[i], out.bound[i])
        elif isinstance(column, Numbers) and c.numeric:
            out.moments[i], out.whole[i], bins, registers = count_numbers(xp, c, column, codes, n)
        else:
            valid = column.valid
            if valid is not None:
                out.whole[i, :, p.MISSING] = host(xp.bincount(codes[~valid], minlength=n))
        out.bins.append(bins)
        out.tops.append(tops)
        out.registers.append(registers)
    return out


def encode(xp: Any, axis: Axis, column: Any) -> tuple[Any, np.ndarray]:
    """Each row's code on the device and the axis's labels on the host."""
    import pyarrow as pa

    if isinstance(axis, Category):
        if isinstance(column, Words):
            codes, words = column.codes.astype(xp.int64), column.words
        else:
            distinct, codes = xp.unique(column.values, return_inverse=True)
            codes = codes.reshape(-1)
            if column.valid is not None:
                codes = xp.where(column.valid, codes, -1)
            words = pa.array(host(distinct))
            if column.kind == "boolean":
                words = words.cast(pa.bool_())
            elif column.kind == "time":
                words = words.cast(pa.timestamp("us", "UTC"))
        lookup, labels = axis.encode(pa.concat_arrays([words, pa.nulls(1, words.type)]))
        return xp.asarray(lookup)[xp.where(codes < 0, len(words), codes)], labels
    if isinstance(axis, Period):
        times = column.values
        width, _ = _offset(axis.every)
        step = gcd(width, QUARTER) if width is not None else QUARTER
        if width is not None and (DAY % width or axis.tz == "UTC"):
            step = width
        floor = times - times % step
        if column.valid is not None:
            floor = xp.where(column.valid, floor, NO_TIME)
        distinct, back = xp.unique(floor, return_inverse=True)
        labels, place = np.unique(axis.starts(host(distinct)), return_inverse=True)
        return xp.asarray(place.reshape(-1))[back.reshape(-1)], labels.view("datetime64[us]")
    assert isinstance(axis, Bins)
    x = column.values.astype(xp.float64) + 0.0
    if axis.edges is not None:
        edges = xp.asarray(np.concatenate([[-np.inf], axis.edges]))
        low = edges[xp.searchsorted(edges, x, side="right") - 1]
    else:
        drop = MANTISSA_BITS - int(axis.per_octave).bit_length() + 1
        low = ordered((ordered(x.view(xp.int64)) >> drop) << drop).view(xp.float64)
        low = xp.where(xp.isinf(x), x, xp.where(xp.isnan(low), -xp.inf, low))
    gone = xp.isnan(x) if column.valid is None else xp.isnan(x) | ~column.valid
    distinct, back = xp.unique(xp.where(gone, xp.nan, low), return_inverse=True)
    return back.reshape(-1), host(distinct)


def arrow_reader(rows: Any) -> Read:
    """A batch of Arrow columns for the array form on NumPy."""
    import pyarrow as pa

    from workbench.cubes.columns import numeric, valid_mask
    from workbench.tables.kinds import kind_of

    def read(name: str) -> Any:
        column = rows.column(name)
        chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
        kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
        if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
            whole = pa.chunked_array([c.cast(pa.large_string()) for c in chunks], pa.large_string()).combine_chunks()
            whole = whole.dictionary_encode() if not isinstance(whole, pa.ChunkedArray) else whole
            codes = whole.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
            return Words(codes, whole.dictionary)
        if kind_of(kind) == "other":
            valid = np.concatenate([c.is_valid().to_numpy(zero_copy_only=False) for c in chunks] or [np.zeros(0, bool)])
            return Numbers(np.zeros(len(valid)), valid)
        parts = list(numeric(column))
        values = np.concatenate([v.values for v in parts]) if parts else np.zeros(0)
        valid = np.concatenate([valid_mask(v) for v in parts]) if parts else np.zeros(0, bool)
        told = "boolean" if pa.types.is_boolean(kind) else "time" if pa.types.is_temporal(kind) else ""
        return Numbers(values, None if valid.all() else valid, told)

    return read


def cudf_reader(frame: Any, kinds: dict[str, str]) -> Read:
    """A batch of cuDF columns for the array form on CuPy. NaN is a value here; only nulls are missing."""
    import cudf
    import pylibcudf as plc

    def read(name: str) -> Any:
        s, kind = frame[name], kinds[name]
        if kind == "text":
            coded = s.astype("category")
            codes = coded.cat.codes.astype("int64").fillna(-1)  # of a missing value the code is missing, or -1 already
            return Words(codes.to_cupy(), coded.cat.categories.to_arrow())
        valid, unit = None, ""
        if s.null_count:
            valid = cudf.Series.from_pylibcudf(plc.unary.is_valid(s.to_pylibcudf()[0])).to_cupy()
        if kind == "time":
            s = s if getattr(s.dtype, "tz", None) is None else s.dt.tz_convert(None)
            unit = np.datetime_data(np.dtype(s.dtype))[0]
        s = s.astype("float64" if kind == "number" else "int64")
        if valid is not None:
            zero = plc.Scalar.from_arrow(pa_zero(str(s.dtype)))
            s = cudf.Series.from_pylibcudf(plc.replace.replace_nulls(s.to_pylibcudf()[0], zero))
        values = s.to_cupy()
        return Numbers(values // 1000 if unit == "ns" else values * MICROS.get(unit, 1), valid, kind)

    return read


def pa_zero(dtype: str) -> Any:
    """Zero as an Arrow scalar of a type."""
    import pyarrow as pa

    return pa.scalar(0, pa.int64() if dtype == "int64" else pa.float64())


def cudf_columns(table: Any, file: Any) -> list[str]:
    """The columns of a Parquet file that cuDF reads as they are counted; all others come by way of Arrow."""
    import pyarrow.types as at

    from workbench.tables import parquet
    from workbench.tables.kinds import kind_of

    def alike(name: str) -> bool:
        if name not in stored.names:
            return False  # named by a folder
        t = stored.field(name).type
        t = t.value_type if at.is_dictionary(t) else t
        known = at.is_integer(t) or at.is_float32(t) or at.is_float64(t) or at.is_boolean(t) or at.is_timestamp(t)
        text = at.is_string(t) or at.is_large_string(t)
        whole = not (at.is_uint64(t) and table.kinds[name] == "number")
        return (known or text) and whole and kind_of(t) == table.kinds[name]

    stored = parquet.footer(table.place, file).schema
    return [name for name in table.schema.names if alike(name)]


def cuda_batches(table: Any, piece: Any) -> Iterable[tuple[int, Read]]:
    """The batches of a piece on the GPU: what cuDF reads of Parquet by cuDF, text files and conditions by way of Arrow."""
    import cupy

    direct: list[str] = []
    if getattr(table, "format", "") == "parquet" and not table.where and table.place.address is None:
        import cudf

        file = table.files[piece.file]
        direct = cudf_columns(table, file)
    for at, rows in enumerate(table.batches(piece)):
        plain, on_device = arrow_reader(rows), None
        if direct:
            frame = cudf.read_parquet(
                file.path, row_groups=[[piece.parts[at]]], columns=direct, use_pandas_metadata=False
            )
            on_device = cudf_reader(frame, table.kinds)

        def read(name: str, plain: Read = plain, on_device: Read | None = on_device) -> Any:
            if on_device is not None and name in direct:
                return on_device(name)
            column = plain(name)
            if isinstance(column, Words):
                return Words(cupy.asarray(column.codes), column.words)
            return Numbers(
                cupy.asarray(column.values), None if column.valid is None else cupy.asarray(column.valid), column.kind
            )

        yield rows.count, read


def count_arrays(
    table: Any,
    pieces: Iterable[Any],
    columns: tuple[Column, ...],
    axes: tuple[Axis, ...],
    told: Callable[[Any, int], None] | None = None,
    xp: Any = np,
) -> p.Partial:
    """``counting.count_pieces`` by array expressions: on NumPy, or with ``xp=cupy`` on the GPU."""
    parts: list[p.Partial] = []
    for piece in pieces:
        seen = 0
        found = ((r.count, arrow_reader(r)) for r in table.batches(piece)) if xp is np else cuda_batches(table, piece)
        for rows, read in found:
            if rows:
                parts.append(count_batch(xp, rows, read, columns, axes))
            seen += rows
            if told is not None:
                told(None, 0)
            if len(parts) == 8:
                parts = [p.join(parts)]
        if told is not None:
            told(piece, seen)
    if not parts:
        from workbench.cubes.counting import count_pieces

        return count_pieces(table, [], columns, axes)
    return p.join(parts)


def host(a: Any) -> np.ndarray:
    """An array in host memory."""
    return a.get() if hasattr(a, "get") and not isinstance(a, np.ndarray) else np.asarray(a)
