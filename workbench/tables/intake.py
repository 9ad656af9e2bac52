"""The files that a collection finds: which are new, grown, moved, rewritten, broken off, or still being written.

What a file holds is known by its content and not by its name. Positions count unpacked bytes of UTF-8 text (row groups of
Parquet); the identity of the bytes before a position is a hash over the hashes of their blocks, so that a file that has
grown is checked by its last block, and a file that was moved or packed is found again by its content.
"""

from __future__ import annotations

import codecs
import datetime
import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from os import PathLike, fspath
from typing import Any

import pyarrow as pa

from workbench.errors import WorkbenchError
from workbench.tables.delta_record import Entry, Record
from workbench.tables.source import ENDINGS, NO_VALUE, Place, brief, is_folder, is_pattern, locate, plain

BLOCK = 1 << 20  # bytes of a block of the chain
HEAD = 1024  # bytes by which a file that moved is looked for
NAME = re.compile(
    r"(\.[a-z]+)(?:[.-]\d[\d.TZ-]*)?(\.gz|\.zst)?$", re.IGNORECASE
)  # app.jsonl, app.jsonl.1, app.jsonl.2.gz
UNFINISHED = (".tmp", ".part", ".partial", ".crdownload", ".swp", "~", ".inprogress", "._copying_")
MARKS = {
    codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF32_BE: "utf-32",  # before that of UTF-16, which they begin with
    codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16", codecs.BOM_UTF8: "",
}  # fmt: skip


@dataclass(frozen=True)
class Seen:
    """A file as it was when it was found."""

    place: Place
    path: str
    name: str  # its address as a person writes it
    form: str  # "csv", "json", "parquet"; "" where nobody can tell
    packed: str | None
    size: int
    stamp: str
    age: float  # seconds since it was last written; infinite where its store does not say
    partitions: tuple[tuple[str, str | None], ...] = ()


@dataclass(frozen=True)
class Look:
    """What a file is to the record: an outcome and, where something is to be taken, from where."""

    outcome: str  # "new", "grown", "moved", "same", "known", "truncated", "rewritten", "waiting", "unreadable", "empty"
    entry: Entry | None = None  # what is taken already, under whatever name
    reason: str = ""
    head: str = ""  # how a new file begins; of Parquet, what it holds


def find(sources: str | PathLike[str] | Sequence[str | PathLike[str]], options: Mapping[str, Any] | None) -> list[Seen]:
    """The files of folders, patterns and addresses, in order of their age and then of their names."""
    found: dict[str, Seen] = {}
    for source in [sources] if isinstance(sources, str | PathLike) else sources:
        for one in _under(fspath(source), dict(options or {})):
            if found.setdefault(one.name, one).path != one.path:
                raise WorkbenchError(
                    f"two addresses are {one.name!r} when their secrets are left out, so that what was taken of each could not "
                    "be told: name one of them"
                )
    return sorted(found.values(), key=lambda one: (-one.age if one.age != float("inf") else 0.0, one.name))


def _under(source: str, options: dict[str, Any]) -> Iterator[Seen]:
    place, path = locate(source, options)
    fs = place.fresh
    try:
        if is_pattern(path) and not fs.exists(path):
            details = fs.glob(path, detail=True)
            root = re.split(r"[*?\[]", path)[0].rpartition("/")[0]
        elif is_folder(fs, path):
            details, root = fs.find(path, detail=True), path.rstrip("/")
        elif fs.exists(path):
            details, root = {path: fs.info(path)}, plain(path).rpartition("/")[0]
        else:
            raise WorkbenchError(f"{source!r} does not exist: name a folder, a pattern or a file")
    except WorkbenchError:
        raise
    except Exception as error:
        raise WorkbenchError(f"{source!r} cannot be listed: {brief(error)}") from error
    now = datetime.datetime.now(datetime.UTC).timestamp()
    for name, info in details.items():
        if info.get("type") != "file":
            continue
        relative = plain(str(name))[len(root) :].lstrip("/")
        parts = relative.split("/")
        if any(one.startswith((".", "_")) and "=" not in one for one in parts) and len(details) > 1:
            continue
        if relative.lower().endswith(UNFINISHED):
            continue
        pairs = tuple((one.partition("=")[0], one.partition("=")[2]) for one in parts[:-1] if "=" in one)
        pairs_known = tuple((key, None if value == NO_VALUE else value) for key, value in pairs)
        form, packed = form_of(parts[-1])
        size, stamp, moment = _stamp(info)
        age = float("inf") if moment is None else now - moment
        yield Seen(place, str(name), place.show(str(name)), form, packed, size, stamp, age, pairs_known)


def form_of(name: str) -> tuple[str, str | None]:
    """The format and the packing by a file's name; a number or a date of rotation behind the ending is passed over.

    >>> form_of("app.jsonl.3.gz"), form_of("rows.csv-20261124"), form_of("notes.docx")
    (('json', 'gzip'), ('csv', None), ('', None))
    """
    found = NAME.search(name)
    if not found:
        return "", None
    return ENDINGS.get(found[1].lower(), ""), {".gz": "gzip", ".zst": "zstd"}.get((found[2] or "").lower())


def _stamp(info: Mapping[str, Any]) -> tuple[int, str, float | None]:
    """Size, a mark that changes when the file is written, and when it was written."""
    size = int(info.get("size") or 0)
    marks = [info.get(key) for key in ("ETag", "etag", "md5Hash", "version_id") if info.get(key)]
    for key in ("mtime", "LastModified", "last_modified", "updated", "created"):
        when = info.get(key)
        if when is not None:
            break
    moment = (
        when.timestamp() if isinstance(when, datetime.datetime) else when if isinstance(when, int | float) else None
    )
    stamp = "|".join([*map(str, marks), *([repr(when)] if when is not None else []), str(info.get("ino", ""))])
    return size, stamp, moment


def again(one: Seen) -> Seen | None:
    """The file as it is now; None when it is gone."""
    try:
        size, stamp, _ = _stamp(one.place.fresh.info(one.path))
    except FileNotFoundError:
        return None
    return replace(one, size=size, stamp=stamp)


class Chain:
    """The running identity of a stream of bytes; it can be taken up again at the start of any block."""

    def __init__(self, chain: str = "", position: int = 0) -> None:
        self.chain, self.blocks, self.tail = bytes.fromhex(chain), position // BLOCK, b""

    @property
    def position(self) -> int:
        return self.blocks * BLOCK + len(self.tail)

    def feed(self, data: bytes) -> Chain:
        data = self.tail + data
        start = 0
        while len(data) - start >= BLOCK:
            block = hashlib.sha256(memoryview(data)[start : start + BLOCK]).digest()
            self.chain = hashlib.sha256(self.chain + block).digest()[:20]
            self.blocks += 1
            start += BLOCK
        self.tail = data[start:]
        return self

    def identity(self) -> str:
        return hashlib.sha256(
            self.chain + hashlib.sha256(self.tail).digest() + str(self.position).encode()
        ).hexdigest()[:40]


def head_of(data: bytes) -> str:
    return hashlib.sha256(data[:HEAD]).hexdigest()[:24]


def encoding_of(head: bytes, declared: str | None) -> str:
    """The encoding of a text by its byte-order mark, else the declared one; "" for UTF-8."""
    mark = next((name for bom, name in MARKS.items() if head.startswith(bom)), None)
    name = mark if mark is not None else (declared or "")
    try:
        return "" if not name or codecs.lookup(name).name in ("utf-8", "ascii", "utf-8-sig") else name
    except LookupError:
        raise WorkbenchError(f"encoding={declared!r} is unknown: name one that Python knows, as in 'cp1252'") from None


def text(one: Seen, start: int = 0, encoding: str | None = None) -> Iterator[bytes]:
    """The unpacked text of a file as UTF-8 from a position, in blocks; a byte-order mark of UTF-8 stays in it.

    Only what was there when the file was found is read. Raises OSError where a packed file breaks off.
    """
    with one.place.open(one.path) as raw:
        if one.packed:
            source: Any = pa.CompressedInputStream(pa.PythonFile(raw, mode="r"), one.packed)
            left = None
        else:
            source, left = raw, one.size
        head = source.read(4) if left is None or left else b""
        name = encoding_of(head, encoding)
        if not name and one.packed is None:
            source.seek(start)
            left, skip, pending = one.size - start, 0, b""
        else:
            skip, pending = start, head
            left = None if left is None else left - len(head)
        decoder = codecs.getincrementaldecoder(name)("strict") if name else None
        while True:
            data = pending or source.read(BLOCK if left is None else min(BLOCK, max(left, 0)))
            if not data:
                break
            left = left if left is None or pending else left - len(data)
            pending = b""
            out = decoder.decode(data).encode() if decoder else bytes(data)
            if skip:
                out, skip = out[skip:], max(skip - len(out), 0)
            if out:
                yield out
        if decoder:
            decoder.decode(b"", True)


def look(one: Seen, record: Record, heads: Mapping[str, Sequence[Entry]], settle: float, encoding: str | None) -> Look:
    """What is to be done with a file, by what was taken before."""
    known = record.get("file", one.name)
    same = known is not None and (known.size, known.stamp) == (one.size, one.stamp)
    if known is not None and same and known.state in ("whole", "refused"):
        return Look("known" if known.state == "whole" else "refused", known)
    if one.form == "":
        packed = one.name.lower().endswith((".pb", ".binpb", ".otlp", ".protobuf"))
        what = "OTLP as protobuf is not read: export it as JSON lines" if packed else "its ending names no format"
        return Look("unknown", reason=what)
    if one.size == 0:
        if known is not None and known.position:
            return Look("truncated", known, f"{known.position:,} bytes were taken, and none are there")
        return Look("empty") if one.age >= settle else Look("waiting", reason="it is empty, and young")
    try:
        if known is not None and known.content:
            found = _continued(one, known, encoding)
            if found is not None:
                return found
        return _moved(one, record, known, heads, encoding)
    except (OSError, EOFError, pa.ArrowException, UnicodeError) as error:
        if one.age < settle:
            return Look("waiting", known, f"it is young and cannot be read yet ({brief(error)})")
        return Look("unreadable", known, f"it breaks off or is damaged: {brief(error)}")


def _continued(one: Seen, known: Entry, encoding: str | None) -> Look | None:
    """A known file under its old name: grown, truncated, or None where it holds something else now."""
    if one.form == "parquet":
        return None
    whole = known.position // BLOCK * BLOCK
    chain = Chain(known.chain, whole)
    got, head = 0, b""
    if whole:
        for block in text(one, 0, encoding):
            head += block
            if len(head) >= HEAD:
                break
        if head_of(head) != known.head:
            return None
    more = False
    for block in text(one, whole, encoding):
        take = block[: known.position - whole - got]
        chain.feed(take)
        got += len(take)
        if len(take) < len(block):
            more = True
            break
    if chain.position < known.position:
        reread = Chain()
        for block in text(one, 0, encoding):
            reread.feed(block)
        shorter = reread.identity() if reread.position else ""
        return (
            Look("truncated", known, f"{known.position:,} bytes were taken, {reread.position:,} of them are there")
            if shorter and head_of(head or reread.tail) == known.head
            else None
        )
    if chain.identity() != known.content:
        return None
    return Look("grown" if more else "known", known)  # or only touched


def _moved(
    one: Seen, record: Record, known: Entry | None, heads: Mapping[str, Sequence[Entry]], encoding: str | None
) -> Look:
    """A file under a new name, or with other content than before: is what it holds known under another name?"""
    if one.form == "parquet":
        content = hashed(one)
        old = next((entry for entry in heads.get(content[:24], ()) if entry.content == content), None)
        if old is not None:
            whole = old.state == "whole"
            return Look("moved" if whole else "grown", old, f"the same content as {old.key}")
        return replace(_new(known), head=content)
    begin = b""
    for block in text(one, 0, encoding):
        begin += block
        if len(begin) >= HEAD:
            break
    spans = {int(key.partition(":")[0]) for key in heads if ":" in key}
    keys = [head_of(begin), *(f"{span}:{head_of(begin[:span])}" for span in spans if span <= len(begin))]
    near = {entry.position: entry for key in keys for entry in heads.get(key, ()) if entry.content}
    if near:
        best = _longest(one, near, encoding)
        if best is not None:
            return best
    return replace(_new(known), head=head_of(begin))


def _new(known: Entry | None) -> Look:
    if known is not None and known.content:
        return Look("rewritten", known, f"its content is another than the {known.rows:,} rows that were taken from it")
    return Look("new")


def _longest(one: Seen, near: Mapping[int, Entry], encoding: str | None) -> Look | None:
    chain, best = Chain(), None
    stops = sorted(near)
    for block in text(one, 0, encoding):
        while stops and chain.position + len(block) >= stops[0]:
            cut = stops.pop(0) - chain.position
            chain.feed(block[:cut])
            block = block[cut:]
            if chain.identity() == near[chain.position].content:
                best = near[chain.position]
        chain.feed(block)
    if best is None:
        return None
    if best.position == chain.position:
        return Look("moved", best, f"the same content as {best.key}")
    return Look("longer", best, f"it begins with the content of {best.key}")


def content_of(one: Seen, encoding: str | None) -> str:
    """Identity of the unpacked text of a file, or of the bytes of Parquet."""
    if one.form == "parquet":
        return hashed(one)
    chain = Chain()
    for block in text(one, 0, encoding):
        chain.feed(block)
    return chain.identity()


def hashed(one: Seen) -> str:
    """Identity of all bytes of a file."""
    chain = Chain()
    with one.place.open(one.path) as file:
        while data := file.read(BLOCK * 4):
            chain.feed(data)
    return chain.identity()


def by_head(entries: Iterable[Entry]) -> dict[str, list[Entry]]:
    """Taken files by how they begin; a short one by "length:hash"."""
    found: dict[str, list[Entry]] = {}
    for entry in entries:
        if entry.head and entry.content:
            short = 0 < entry.position < HEAD and entry.told.get("form") != "parquet"
            found.setdefault(f"{entry.position}:{entry.head}" if short else entry.head, []).append(entry)
    return found
