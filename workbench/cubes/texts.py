"""Text columns: codes of words, hashes of strings, and the counts of each value so far."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from workbench.cubes import kernels as k
from workbench.cubes import partial as p

NO_BYTES = np.zeros(1, np.uint8)


@dataclass
class Text:
    """Counts of a text column's values so far: a code for each value, and counts of (group, code) pairs."""

    codes: dict[str, int] = field(default_factory=dict)
    pairs: list[np.ndarray] = field(default_factory=list)  # rows [group, code, count]

    def add(self, groups: np.ndarray, values: list[str], which: np.ndarray, counts: np.ndarray) -> None:
        """Add counts of ``values[which]`` in ``groups``."""
        used = np.unique(which)
        own = np.zeros(len(values), np.int64)
        own[used] = [self.codes.setdefault(values[i], len(self.codes)) for i in used.tolist()]
        self.pairs.append(np.stack([groups, own[which], counts]))
        if len(self.pairs) > 64:
            self.pairs = [self.summed()]

    def summed(self) -> np.ndarray:
        if not self.pairs:
            return np.zeros((3, 0), np.int64)
        group, code, count = np.concatenate(self.pairs, axis=1)
        key = group * max(1, len(self.codes)) + code
        unique, at = np.unique(key, return_inverse=True)
        total = np.zeros(len(unique), np.int64)
        np.add.at(total, at, count)
        return np.stack([unique // max(1, len(self.codes)), unique % max(1, len(self.codes)), total])

    def table(self) -> p.Ragged:
        group, code, count = self.summed()
        names = np.empty(len(self.codes), dtype=object)
        names[:] = list(self.codes)
        return {"group": group, "value": names[code], "count": count}

    def shrink(self, lost: np.ndarray, bound: np.ndarray) -> None:
        """Forget the rarest values of a column that has very many."""
        if len(self.codes) <= 4 * p.TOP_LIMIT:
            return
        kept = p.trim_tops(self.table(), lost, bound)
        values, which = p.factorize(kept["value"])
        self.codes, self.pairs = {}, []
        self.add(kept["group"], values.tolist(), which, kept["count"])


def coded(array: Any, always: bool = False) -> tuple[np.ndarray | None, Any]:
    """A text array as codes and the words that they point to; no codes where nearly every value is a new word."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not is_dictionary(array):
        if not always and len(array) > 20_000:
            head = array.slice(len(array) // 2, 4096)
            if pc.count_distinct(head).as_py() > 1024:
                return None, None
        array = array.dictionary_encode()
    words = array.dictionary
    if pa.types.is_string_view(words.type):
        words = words.cast(pa.large_string())
    indices = array.indices
    if not pa.types.is_int32(indices.type):
        indices = indices.cast(pa.int32())
    buffer = indices.buffers()[1]
    if buffer is None:
        return np.zeros(len(indices), np.int32), words
    return np.frombuffer(buffer, np.int32)[indices.offset : indices.offset + len(indices)], words


def hash_words(words: Any) -> np.ndarray:
    """A 64-bit hash of each string of an Arrow array without nulls."""
    import pyarrow as pa

    out = np.empty(len(words), np.uint64)
    if not len(words):
        return out
    wide = pa.types.is_large_string(words.type)
    _, offsets, data = words.buffers()
    starts = np.frombuffer(offsets, np.int64 if wide else np.int32)[words.offset : words.offset + len(words) + 1]
    k.hash_text(np.frombuffer(data, np.uint8) if data is not None and data.size else NO_BYTES, starts, out)
    return out


def frequent(array: Any, hashes: np.ndarray) -> tuple[list[str], np.ndarray, int, int]:
    """The most frequent strings of an array with very many: (words, counts, rows of the others, largest of those)."""
    ordered = np.sort(hashes)
    cuts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    counts = np.diff(np.append(cuts, len(ordered)))
    if len(cuts) <= p.TOP_LIMIT:
        kept = np.arange(len(cuts))
    else:
        kept = np.argsort(-counts, kind="stable")[: p.TOP_KEPT]
        kept = kept[counts[kept] > 1]
    rest = np.ones(len(cuts), bool)
    rest[kept] = False
    kept = np.sort(kept)
    chosen = ordered[cuts[kept]]
    first = np.full(len(chosen), -1, np.int64)
    if len(chosen):
        at = np.minimum(np.searchsorted(chosen, hashes), len(chosen) - 1)
        hit = np.flatnonzero(chosen[at] == hashes)[::-1]
        first[at[hit]] = hit
    words = array.take(first).to_pylist() if len(chosen) else []
    largest = int(counts[rest].max()) if rest.any() else 0
    return words, counts[kept].astype(np.int64), int(counts[rest].sum()), largest


def is_dictionary(array: Any) -> bool:
    """Whether an Arrow array holds codes and the words that they point to."""
    import pyarrow as pa

    return pa.types.is_dictionary(array.type)
