"""Zarr v3 arrays of a cache: the only module that imports zarr.

Unit j of a part is plain chunk j of each of its arrays, so that no two tasks touch one object.
Written by zarr-python alone (its local writes are atomic); every chunk ends in its CRC-32C.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import BytesCodec, Crc32cCodec, ZstdCodec
from zarr.storage import LocalStore

from cache_schema.documents import StoredObject
from cache_schema.errors import CacheError
from cache_schema.storage import sha256, sync

Array = NDArray[Any]
TRAILER_BYTES = 4


def create_group(folder: Path) -> None:
    """Create an empty Zarr v3 group, so that plain zarr opens the folder."""
    zarr.create_group(LocalStore(folder), zarr_format=3, overwrite=False)


def create_array(
    folder: Path,
    shape: tuple[int, ...],
    chunks: tuple[int, ...],
    dtype: str,
    *,
    codec: str = "crc32c",
) -> None:
    """Create an array of its final shape: CRC-32C last (after zstd if asked), NaN fill for floats.

    Empty chunks are written, so that a hole can never pass for data.
    """
    zarr.create_array(
        LocalStore(folder),
        shape=shape,
        chunks=chunks,
        dtype=dtype,
        fill_value=np.nan if np.dtype(dtype).kind == "f" else 0,
        serializer=BytesCodec(),
        compressors=[ZstdCodec(level=3), Crc32cCodec()] if codec == "zstd" else [Crc32cCodec()],
        filters=None,
        config={"write_empty_chunks": True},
        zarr_format=3,
    )


def chunk_key(number: int, dims: int) -> str:
    """Key of chunk `number` along the first axis, below its array."""
    return "/".join(["c", str(number), *["0"] * (dims - 1)])


def write_chunk(folder: Path, number: int, values: Array) -> StoredObject:
    """Write one whole chunk durably and return what was read back of it."""
    array = _open(folder, "r+")
    padded = np.full(array.chunks, array.fill_value, dtype=array.dtype)
    padded[: len(values)] = values
    first = number * array.chunks[0]
    array[first : first + array.chunks[0]] = padded
    path = folder / chunk_key(number, array.ndim)
    for place in [path, *(p for p in path.parents if p.is_relative_to(folder))]:
        sync(place)
    data = path.read_bytes()
    trailer = google_crc32c.value(data[:-TRAILER_BYTES]).to_bytes(TRAILER_BYTES, "little")
    same = np.asarray(array[first : first + array.chunks[0]]).tobytes() == padded.tobytes()
    if data[-TRAILER_BYTES:] != trailer or not same:
        raise CacheError(
            f"{path.name} of {folder.name} does not read back as written; check the disk.",
            kind="damaged",
        )
    return StoredObject(bytes=len(data), sha256=sha256(data), crc32c=trailer.hex())


def problem_of(folder: Path, number: int, dims: int, size_bytes: int, trailer: bytes) -> str | None:
    """Why a chunk is not the recorded one: absent, or another size or trailer; None if it is."""
    path = folder / chunk_key(number, dims)
    try:
        with path.open("rb") as file:
            found = file.seek(0, 2)
            file.seek(max(found - TRAILER_BYTES, 0))
            tail = file.read(TRAILER_BYTES)
    except FileNotFoundError:
        return f"is missing (recorded: {size_bytes} bytes)"
    if found != size_bytes:
        return f"has {found} bytes, its record {size_bytes}"
    if tail != trailer:
        return f"ends in {tail.hex()}, its record says {trailer.hex()}"
    return None


class ChunkReader:
    """Reads chunks of one array, each checked against its recorded size and trailer."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._array = _open(folder, "r")

    def read(self, number: int, length: int, size_bytes: int, trailer: bytes) -> Array:
        """Return the first `length` entries of chunk `number`.

        Raises
        ------
        CacheError
            Kind ``"damaged"``, naming the object and the unit.
        """
        problem = problem_of(self._folder, number, self._array.ndim, size_bytes, trailer)
        if problem is None:
            first = number * self._array.chunks[0]
            try:
                # The whole chunk: zarr then verifies the checksum over what was stored.
                return np.asarray(self._array[first : first + self._array.chunks[0]])[:length]
            except ValueError as error:
                problem = f"fails its checksum ({error})"
        key = chunk_key(number, self._array.ndim)
        raise CacheError(
            f"object {self._folder.parent.name}/{self._folder.name}/{key} of work unit {number} "
            f"{problem}. List all damage: inspect-cache CACHE --verify",
            kind="damaged",
        )


def write_whole(folder: Path, values: Array, chunk_bytes: int = 1 << 20) -> None:
    """Write a small complete array (index, clip table) in chunks of about 1 MiB."""
    row_bytes = max(1, values.itemsize * int(np.prod(values.shape[1:])))
    chunk = max(1, min(len(values), chunk_bytes // row_bytes))
    shape = (max(len(values), 1), *values.shape[1:])
    create_array(folder, shape, (chunk, *values.shape[1:]), str(values.dtype))
    if len(values):
        _open(folder, "r+")[:] = values


def read_slice(folder: Path, first: int, last: int) -> Array:
    """Read entries ``first:last`` of an array written by :func:`write_whole`."""
    try:
        return np.asarray(_open(folder, "r")[first:last])
    except (ValueError, FileNotFoundError) as error:
        raise CacheError(
            f"{folder.parent.name}/{folder.name} is damaged: {error}", kind="damaged"
        ) from None


def _open(folder: Path, mode: Any) -> zarr.Array[Any]:
    try:
        array = zarr.open_array(
            LocalStore(folder), mode=mode, zarr_format=3, config={"write_empty_chunks": True}
        )
    except (FileNotFoundError, ValueError, KeyError, TypeError) as error:
        raise CacheError(
            f"{folder.parent.name}/{folder.name} cannot be opened: {error}", kind="damaged"
        ) from None
    return array
