"""Cubes on disk: one file a cube, written aside and renamed, so that a reader sees the old one or the new one."""

from __future__ import annotations

import json
import os
import re
import tempfile
import zlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import numpy as np

from workbench.cubes.labelled import FORMAT
from workbench.errors import WorkbenchError

if TYPE_CHECKING:
    import xarray as xr


HDF5_KEYS = (
    "DIMENSION_LIST",
    "REFERENCE_LIST",
    "CLASS",
    "NAME",
    "_Netcdf4Dimid",
    "_Netcdf4Coordinates",
    "_NCProperties",
)
SMALL = 64  # values that are not worth packing
PART = 1 << 20  # bytes of the parts that larger variables are packed in
SHORT = ("_bin_group", "_bin_column", "_top_column", "_register_column")  # int32 in a cube, other integers int64


def save_cube(cube: xr.Dataset, path: str | Path) -> Path:
    """Write a cube to a netCDF-4 file, whole or not at all; gives the path back.

    The file is written beside its place, flushed to disk and renamed: a reader, and a kill at any moment, see the old
    cube or the new one. Any netCDF reader opens it; texts are JSON in UTF-8 bytes, so that every character survives.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, aside = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent)
    os.close(handle)
    try:
        _write(aside, cube)
        with open(aside, "rb+") as f:
            os.fsync(f.fileno())
        os.chmod(aside, 0o644)
        os.replace(aside, path)
    except BaseException:
        Path(aside).unlink(missing_ok=True)
        raise
    _flush_folder(path.parent)
    return path


def open_cube(path: str | Path) -> xr.Dataset:
    """The cube of a file, in host memory. Raises WorkbenchError when there is none, or it is not a whole cube."""
    path = Path(path)
    if not path.is_file():
        near = sorted(p.name for p in path.parent.glob("*.nc")) if path.parent.is_dir() else []
        raise WorkbenchError(
            f"There is no cube at {path}; {'cubes beside it: ' + ', '.join(near) if near else 'save_cube() makes one'}."
        )
    try:
        return _decoded(*_stored(path))
    except WorkbenchError as error:
        raise WorkbenchError(f"{path} cannot be read as a cube: {error}.") from None
    except Exception as error:
        raise WorkbenchError(
            f"{path} cannot be read as a cube ({type(error).__name__}: {str(error)[:200]}); count it again."
        ) from error


def _plain(cube: xr.Dataset) -> dict[str, tuple[tuple[str, ...], np.ndarray, dict[str, Any]]]:
    """Dimensions, values and attributes of each variable as it is stored: texts as UTF-8 bytes, times as integers."""
    data: dict[str, tuple[tuple[str, ...], np.ndarray, dict[str, Any]]] = {}
    for name, v in cube.variables.items():
        attrs = dict(v.attrs)
        attrs["role"] = "coordinate" if name in cube.coords else "variable"
        kept, dims = _escaped(str(name)), tuple(_escaped(str(d)) for d in v.dims)
        if v.dtype == object:
            raw = json.dumps(v.values.tolist(), ensure_ascii=True).encode()
            attrs |= {"text_dims": json.dumps(v.dims)}
            data[f"text_{kept}"] = (f"bytes_{kept}",), np.frombuffer(raw, np.uint8), attrs
        elif v.dtype.kind == "M":
            attrs |= {"time_unit": "us", "label_dims": json.dumps(v.dims)}
            data[f"label_{kept}"] = dims, v.values.astype("datetime64[us]").view(np.int64), attrs
        else:
            attrs |= {"label_dims": json.dumps(v.dims)}
            data[f"label_{kept}"] = dims, _narrow(v.values), attrs
    # most bins hold a single value: what is kept of their largest is how it differs from the smallest, mostly nothing
    (_, low, _), (dims, high, attrs) = (data[f"label_bin_{k}"] for k in ("min", "max"))
    data["label_bin_max"] = dims, low.view(np.int64) ^ high.view(np.int64), attrs
    return data


def _write(path: str, cube: xr.Dataset) -> None:
    """A cube as the HDF5 that netCDF-4 is: through xarray the same takes three times as long, mostly to look dimensions up.

    The parts of large variables are packed beside each other, by as many threads as there are processors.
    """
    import h5py

    from workbench.clusters import cores

    data = _plain(cube)
    sizes = {d: n for dims, values, _ in data.values() for d, n in zip(dims, values.shape, strict=True)}
    places = {d: place for place, d in enumerate(sizes)}
    with h5py.File(path, "w", track_order=True) as f, ThreadPoolExecutor(cores()) as pool:
        scales = {d: f.create_dataset(d + "_" * (d in data), (n,), ">f4") for d, n in sizes.items()}
        for d, scale in scales.items():
            scale.make_scale(f"This is a netCDF dimension but not a netCDF variable. {sizes[d]:10d}")
            scale.attrs["_Netcdf4Dimid"] = np.int32(places[d])
        for name, (dims, values, attrs) in data.items():
            if values.size <= SMALL:
                stored = f.create_dataset(name, data=values)
            else:
                rows = -(-len(values) // -(-values.nbytes // PART))
                part = (rows, *values.shape[1:])
                stored = f.create_dataset(name, values.shape, values.dtype, chunks=part, compression=1, shuffle=True)
                starts = range(0, len(values), rows)
                packed = pool.map(partial(_packed, values, rows), starts)
                for start, one in zip(starts, packed, strict=True):
                    stored.id.write_direct_chunk((start, *[0] * (values.ndim - 1)), one)
            for number, d in enumerate(dims):
                stored.dims[number].attach_scale(scales[d])
            stored.attrs["_Netcdf4Coordinates"] = np.array([places[d] for d in dims], np.int32)
            _describe(stored, attrs)
        _describe(f, cube.attrs)


def _packed(values: np.ndarray, rows: int, start: int) -> bytes:
    """A part of so many rows as HDF5's shuffle and deflate leave it: first bytes first, and packed.

    In the digits of measured numbers there is nothing to find but runs, which takes half the time.
    """
    filled = np.zeros((rows, *values.shape[1:]), values.dtype)
    filled[: len(values) - start] = values[start : start + rows]
    packer = zlib.compressobj(1, strategy=zlib.Z_RLE if values.dtype.itemsize == 8 else zlib.Z_DEFAULT_STRATEGY)
    shuffled = np.ascontiguousarray(filled.reshape(-1).view(np.uint8).reshape(-1, values.dtype.itemsize).T)
    return packer.compress(shuffled.data) + packer.flush()


def _describe(stored: Any, attrs: Mapping[Any, Any]) -> None:
    import h5py

    for name, value in attrs.items():
        text = isinstance(value, str)
        stored.attrs[name] = (value or h5py.Empty("S1")) if text else np.atleast_1d(value)


def _escaped(name: str) -> str:
    """A name without what HDF5 gives a meaning of its own: "/" is written as "%2F"."""
    return re.sub(r"[%/\x00-\x1f]", lambda found: f"%{ord(found[0]):02X}", name)


def _narrow(values: np.ndarray) -> np.ndarray:
    """Integers in the narrowest type that holds them."""
    if values.dtype.kind != "i" or not values.size:
        return values
    low, high = int(values.min()), int(values.max())
    return values.astype(
        next(t for t in (np.int8, np.int16, np.int32, np.int64) if np.iinfo(t).min <= low and high <= np.iinfo(t).max)
    )


def _stored(path: Path) -> tuple[dict[str, tuple[np.ndarray, dict[str, Any]]], dict[str, Any]]:
    """What a file holds: values and attributes of every variable, and the cube's attributes.

    Read as the HDF5 that netCDF-4 is: through xarray the same takes four times as long, nearly all of it for dimensions
    that a cube's variables name themselves.
    """
    import h5py

    def attributes(of: Any) -> dict[str, Any]:
        told = {k: of.attrs[k] for k in of.attrs if k not in HDF5_KEYS}
        plain = {k: "" if isinstance(v, h5py.Empty) else v for k, v in told.items()}
        return {k: v[0] if isinstance(v, np.ndarray) and v.shape == (1,) else v for k, v in plain.items()}

    with h5py.File(path, "r") as f:
        every = [(name, one, attributes(one)) for name, one in f.items()]
        ours = {name: (one[()], told) for name, one, told in every if "role" in told}  # the others are dimensions
        return ours, attributes(f)


def _decoded(stored: dict[str, tuple[np.ndarray, dict[str, Any]]], told: dict[str, Any]) -> xr.Dataset:
    import xarray as xr

    if "axes" not in told:
        raise WorkbenchError("it holds no cube")
    if int(told.get("format", 0)) > FORMAT:
        raise WorkbenchError("it was written by a newer workbench; install that one")
    data: dict[str, Any] = {}
    coords: dict[str, Any] = {}
    for name, (values, kept) in stored.items():
        attrs = {k: x for k, x in kept.items() if k not in ("role", "text_dims", "label_dims", "time_unit")}
        if name.startswith("text_"):
            dims = tuple(json.loads(kept["text_dims"]))
            items = json.loads(values.tobytes().decode())
            values = np.empty(len(items), dtype=object)
            values[:] = items
        else:
            dims = tuple(json.loads(kept["label_dims"]))
            values = values.view("datetime64[us]") if "time_unit" in kept else values
            if values.dtype.kind == "i":
                short = name.endswith(SHORT) or (name == "label_bin_count" and values.dtype.itemsize <= 4)
                values = values.astype(np.int32 if short else np.int64)
        into = coords if kept["role"] == "coordinate" else data
        into[unquote(name.split("_", 1)[1])] = (dims, values, attrs)
    low, difference = (data[f"bin_{k}"] for k in ("min", "max"))
    data["bin_max"] = (low[0], (difference[1] ^ low[1].view(np.int64)).view(np.float64), low[2])
    data.pop("bin_low", None)
    return xr.Dataset(data, coords, told | {"format": FORMAT})


def _flush_folder(folder: Path) -> None:
    if os.name == "nt":  # which opens no folders
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
