"""Where a table's bytes are: addresses, the files of a source, their format, and whether they have changed."""

from __future__ import annotations

import datetime
import functools
import hashlib
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

import fsspec

from workbench.errors import WorkbenchError, masked, nearest

ENDINGS = {
    ".parquet": "parquet",
    ".parq": "parquet",
    ".pq": "parquet",
    ".csv": "csv",
    ".tsv": "csv",
    ".jsonl": "json",
    ".ndjson": "json",
    ".json": "json",
}
PACKED = {".gz": "gzip", ".zst": "zstd"}
EDGE = 64 * 1024  # bytes of a text file's head and tail that identify it
NO_VALUE = "__HIVE_DEFAULT_PARTITION__"


@dataclass(frozen=True)
class Place:
    """A file system as a value: it travels to workers and is opened there. `address` None is the local disk.

    Both may hold keys, so that it is never shown with them.
    """

    address: str | None = field(default=None, repr=False)
    options: tuple[tuple[str, Any], ...] = field(default=(), repr=False, hash=False)

    @property
    def fs(self) -> Any:
        return fsspec.filesystem("file") if self.address is None else _system(self.address, repr(self.options), self)

    @property
    def fresh(self) -> Any:
        """The file system with nothing remembered of what it listed."""
        if self.address is not None:
            self.fs.invalidate_cache()
        return self.fs

    def open(self, path: str) -> Any:
        """The file for reading bytes; a path or stream that pyarrow also takes."""
        return open(path, "rb") if self.address is None else self.fs.open(path, "rb", cache_type="none")

    def stamp(self, path: str) -> tuple[int, str]:
        """Size in bytes and a cheap mark that changes when the file is written again."""
        if self.address is None:
            stat = os.stat(path)
            return stat.st_size, f"{stat.st_mtime_ns}/{stat.st_ctime_ns}"
        return _mark(self.fresh.info(path))

    def show(self, path: str) -> str:
        """The path as a person would write it, and as records keep it: without signatures, tokens and passwords."""
        if self.address is None:
            return path
        return masked(str(self.fs.unstrip_protocol(path)))


def written(stamp: str) -> str:
    """The part of a stamp that a rename, a link and a change of rights leave as it is: of a local file when it was written.

    >>> written("1772409600000000000/1772496000000000000"), written('"etag"|2026-03-02')
    ('1772409600000000000', '"etag"|2026-03-02')
    """
    return stamp.partition("/")[0] if re.fullmatch(r"-?\d+/-?\d+", stamp) else stamp


@functools.lru_cache(maxsize=64)
def _system(address: str, _options: str, place: Place) -> Any:
    return fsspec.url_to_fs(address, **dict(place.options))[0]


def _mark(info: dict[str, Any]) -> tuple[int, str]:
    parts = [info.get(key) for key in ("ETag", "etag", "md5Hash", "version_id", "LastModified", "last_modified")]
    parts += [info.get(key) for key in ("mtime", "updated", "created")] if not any(parts) else []
    return int(info.get("size") or 0), "|".join(str(part) for part in parts if part is not None)


@dataclass(frozen=True)
class Found:
    """A file of a source before it was opened."""

    path: str  # as its file system knows it
    relative: str  # under the source, or its bare name
    partitions: tuple[tuple[str, str | None], ...]  # hive columns from folders named key=value


def find(source: str, options: dict[str, Any] | None) -> tuple[Place, list[Found], str]:
    """The place, the data files in order of their paths, and the format ("parquet", "csv" or "json")."""
    place, path = locate(source, options)
    fs = place.fs
    try:
        if is_pattern(path) and not fs.exists(path):
            found = sorted(name for name, info in fs.glob(path, detail=True).items() if info["type"] == "file")
            if not found:
                raise WorkbenchError(f"no file matches {source!r}: check the pattern, or name the folder itself")
            root = re.split(r"[*?\[]", path)[0].rpartition("/")[0]
            return _choose(place, root, found, source)
        if is_folder(fs, path):
            root = path.rstrip("/")
            if fs.exists(f"{root}/_delta_log"):
                raise WorkbenchError(
                    f"{source!r} is a Delta table, whose folder also holds files of older versions: "
                    "read it with deltalake and write the version you want as Parquet"
                )
            return _choose(place, root, sorted(fs.find(path)), source)
        if fs.exists(path):
            return _choose(place, plain(path).rpartition("/")[0], [path], source)
    except WorkbenchError:
        raise
    except Exception as error:
        raise WorkbenchError(f"{source!r} cannot be listed: {brief(error)}") from error
    raise WorkbenchError(f"{source!r} does not exist: {_siblings(fs, path)}")


def locate(source: str, options: dict[str, Any] | None) -> tuple[Place, str]:
    """The place of an address and the path in it; says which package a protocol needs."""
    if "://" not in source and "::" not in source:
        return Place(), os.path.abspath(os.path.expanduser(source))
    protocol = re.split(r"://|::", source)[0]
    if re.search(r"://[^/@]*:[^/@]*@", source):
        raise WorkbenchError(
            f"an address of {protocol}:// carries a password, which records and runs would keep: leave it out, and give it in "
            "storage_options or in the environment"
        )
    if re.search(r"=\*\*\*(?:[&;#]|$)|://\*\*\*@", source):
        raise WorkbenchError(f"{source!r} was kept without its secret: give the whole address again")
    try:
        path = fsspec.url_to_fs(source, **(options or {}))[1]
    except ImportError as error:
        package = re.search(r"(?:install|requires?)\s+[\"'`]?([\w-]+)", str(error), re.IGNORECASE)
        name = package.group(1) if package else str(error)
        raise WorkbenchError(
            f"{source!r} needs the package {name!r} for {protocol}:// addresses, which is not installed: "
            f"pip install {name}"
        ) from error
    except ValueError as error:
        known = nearest(protocol, fsspec.available_protocols())
        raise WorkbenchError(f"{source!r} has the unknown protocol {protocol!r}: {known}") from error
    except Exception as error:
        raise WorkbenchError(f"{source!r} cannot be reached: {brief(error)}") from error
    if protocol in ("file", "local"):
        return Place(), os.path.abspath(path)
    return Place(source, tuple(sorted((options or {}).items()))), path


def plain(path: str) -> str:
    """A path without the query of a web address.

    >>> plain("https://host/rows.csv?part=1"), plain("/tmp/rows?.csv")
    ('https://host/rows.csv', '/tmp/rows?.csv')
    """
    return path.partition("?")[0] if path.startswith(("http://", "https://")) else path


def is_pattern(path: str) -> bool:
    return any(mark in plain(path) for mark in "*?[")


def is_folder(fs: Any, path: str) -> bool:
    """Whether a path is a folder; on the web, what ends like a file is none (its system reads all of it for links)."""
    return not (path.startswith(("http://", "https://")) and file_format(path)) and bool(fs.isdir(path))


def _siblings(fs: Any, path: str) -> str:
    folder = path.rstrip("/").rpartition("/")[0]
    try:
        names = [str(name).rstrip("/").rpartition("/")[2] for name in fs.ls(folder or "/", detail=False)]
    except Exception:
        return f"its folder {folder!r} does not exist either"
    names = [name for name in names if not name.startswith(".")]
    return nearest(path.rstrip("/").rpartition("/")[2], sorted(names)) if names else f"the folder {folder!r} is empty"


def _choose(place: Place, root: str, paths: list[str], source: str) -> tuple[Place, list[Found], str]:
    found = []
    for path in paths:
        if not path.isascii() and (odd := re.search("[\ud800-\udfff]", path)):
            raise WorkbenchError(f"{path!a} has a name that is no UTF-8 (at {odd[0]!a}): rename the file")
        bare = plain(path)
        relative = bare[len(root) :].lstrip("/") if bare.startswith(root) else bare.rpartition("/")[2]
        parts = relative.split("/")
        if len(paths) == 1 or not any(part.startswith((".", "_")) and "=" not in part for part in parts):
            pairs = tuple(_pair(part) for part in parts[:-1] if "=" in part)
            found.append(Found(path, relative, pairs))
    if not found:
        raise WorkbenchError(f"{source!r} is empty: it holds no data file")
    formats = [file_format(one.path) for one in found]
    if not any(formats) and _is_parquet(place, found[0].path):
        return place, found, "parquet"
    if not any(formats):
        ending = re.search(r"(\.\w+){0,2}$", found[0].relative)
        raise WorkbenchError(
            f"{place.show(found[0].path)!r} has the unknown ending {ending.group(0) if ending else ''!r}: "
            f"known are {', '.join(ENDINGS)}, and the text formats also with {' or '.join(PACKED)}"
        )
    kept = [(one, name) for one, name in zip(found, formats, strict=True) if name]
    first = kept[0]
    for one, name in kept[1:]:
        if name != first[1]:
            raise WorkbenchError(
                f"{source!r} mixes formats, {first[0].relative!r} is {first[1]} and {one.relative!r} is {name}: "
                f"choose one with a pattern such as '*{os.path.splitext(first[0].relative)[1]}'"
            )
    return place, [one for one, _ in kept], str(first[1])


def _pair(part: str) -> tuple[str, str | None]:
    key, _, value = part.partition("=")
    return unquote(key), None if value == NO_VALUE else unquote(value)


def _is_parquet(place: Place, path: str) -> bool:
    with place.open(path) as file:
        return bool(file.read(4) == b"PAR1")


def file_format(path: str) -> str | None:
    """The format by a file's ending, or None."""
    stem, ending = os.path.splitext(plain(path).lower())
    if ending in PACKED:
        inner = ENDINGS.get(os.path.splitext(stem)[1])
        return None if inner == "parquet" else inner
    return ENDINGS.get(ending)


def packing(path: str) -> str | None:
    """The compression by a file's ending: "gzip", "zstd" or None."""
    return PACKED.get(os.path.splitext(plain(path).lower())[1])


def partition_value(texts: list[str | None]) -> Callable[[str | None], Any]:
    """How to read the values of one hive column: as integers or times when every one is, else as text."""
    known = [text for text in texts if text is not None]
    if known and all(re.fullmatch(r"-?(0|[1-9]\d{0,17})", text) for text in known):
        return lambda text: None if text is None else int(text)
    if known and all(re.fullmatch(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d+)?)?)?Z?", text) for text in known):
        try:
            for text in known:
                _moment(text)
        except ValueError:
            return lambda text: text
        return lambda text: None if text is None else _moment(text)
    return lambda text: text


def _moment(text: str) -> datetime.datetime:
    moment = datetime.datetime.fromisoformat(text)
    return moment.replace(tzinfo=datetime.UTC) if moment.tzinfo is None else moment


def digest(*parts: Any) -> str:
    """Twelve hex digits that stand for the parts."""
    return hashlib.sha256("\0".join(str(part) for part in parts).encode()).hexdigest()[:12]


def brief(error: BaseException) -> str:
    """The first line of an error's own words."""
    words = (str(error) or type(error).__name__).strip().splitlines()[0].strip()
    return masked(words)[:300].rstrip(".")
