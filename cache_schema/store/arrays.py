"""Zarr v3 arrays of a cache: the only module that imports zarr, and only where it is used.

Its import takes half a second of a processor, which no help text and no usage error need.

Unit j of a part is plain chunk j of each of its arrays, so that no two tasks touch one object.
Written by zarr-python alone (its local writes are atomic); every chunk ends in its CRC-32C.
"""

from __future__ import annotations

import math
import os
import weakref
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from cache_schema.documents import parse
from cache_schema.errors import CacheError
from cache_schema.metadata import StoredObject
from cache_schema.store.files import differing_objects, sha256, sync
from cache_schema.store.safe_open import (
    check_no_linked_folders,
    is_refusal,
    open_plain,
    read_plain,
    refusals_reported,
)
from cache_schema.store.zarr_metadata import ArrayMetadata

if TYPE_CHECKING:
    import zarr

Array = NDArray[Any]
TRAILER_BYTES = 4
# Of about 1 MiB each.
KEPT_CHUNKS = 4
# The ids of 10^8 clips; more is requested by a damaged table only.
MAX_SLICE_BYTES = 1 << 32


def create_group(folder: Path) -> None:
    """Create an empty Zarr v3 group, so that plain zarr opens the folder."""
    import zarr
    from zarr.storage import LocalStore

    zarr.create_group(LocalStore(folder), zarr_format=3, overwrite=False)


def create_array(
    folder: Path,
    shape: tuple[int, ...],
    chunks: tuple[int, ...],
    dtype: str,
    *,
    codec: str = "crc32c",
) -> None:
    """Create an array of its final shape: CRC-32C last (after zstd, if any), NaN fill for floats."""
    import zarr
    from zarr.codecs import BytesCodec, Crc32cCodec, ZstdCodec
    from zarr.storage import LocalStore

    zarr.create_array(
        LocalStore(folder),
        shape=shape,
        chunks=chunks,
        dtype=dtype,
        fill_value=np.nan if np.dtype(dtype).kind == "f" else 0,
        serializer=BytesCodec(),
        compressors=[ZstdCodec(level=3), Crc32cCodec()] if codec == "zstd" else [Crc32cCodec()],
        filters=None,
        zarr_format=3,
    )


def chunk_key(number: int, dims: int) -> str:
    """Key of chunk `number` along the first axis, below its array."""
    return "/".join(["c", str(number), *["0"] * (dims - 1)])


def write_chunk(folder: Path, number: int, values: Array) -> StoredObject:
    """Write one whole chunk durably and return what was read back of it."""
    # A setting of the moment, not of the stored array: without it a unit of silence, or one that is
    # quarantined as a whole, would leave no object behind.
    array = _open(folder, "r+").with_config({"write_empty_chunks": True})
    padded = np.full(array.chunks, array.fill_value, dtype=array.dtype)
    padded[: len(values)] = values
    first = number * array.chunks[0]
    path = folder / chunk_key(number, array.ndim)
    check_no_linked_folders(path)
    array[first : first + array.chunks[0]] = padded
    for place in [path, *(p for p in path.parents if p.is_relative_to(folder))]:
        sync(place)
    data = read_plain(path)
    trailer = google_crc32c.value(data[:-TRAILER_BYTES]).to_bytes(TRAILER_BYTES, "little")
    same = np.asarray(array[first : first + array.chunks[0]]).tobytes() == padded.tobytes()
    if data[-TRAILER_BYTES:] != trailer or not same:
        raise CacheError(
            f"{path.name} of {folder.name} does not read back as written; check the disk.",
            kind="damaged",
        )
    return StoredObject(bytes=len(data), sha256=sha256(data), crc32c=trailer.hex())


class BufferPool:
    """Memory for objects that is used again once no array lies in it any more.

    The kernel hands out fresh memory zeroed, which takes as long as reading a cached file into it.
    """

    def __init__(self) -> None:
        self._free: list[NDArray[np.uint8]] = []

    def acquire(self, size: int) -> NDArray[np.uint8]:
        """Give `size` bytes; they are free again when the array and all its views are gone."""
        try:
            memory = self._free.pop()  # popped, not looked up first: threads share a reader
        except IndexError:
            memory = np.empty(size, np.uint8)
        if memory.size < size:
            memory = np.empty(size, np.uint8)
        # Through a memoryview NumPy lets views of the lease refer to it, not to the memory itself.
        lease = np.frombuffer(memory.data[:size], np.uint8)
        weakref.finalize(lease, self._free.append, memory).atexit = False
        return lease

    def read(self, path: Path) -> NDArray[np.uint8]:
        """Read an object whole."""
        with refusals_reported(path), os.fdopen(open_plain(path), "rb", buffering=0) as file:
            data = self.acquire(os.fstat(file.fileno()).st_size)
            done = 0
            # A call gives 2 GiB at most, and on a network's file system what is there.
            while count := file.readinto(data.data[done:]):
                done += count
            return data[:done]


def decoded(data: NDArray[np.uint8], shape: tuple[int, ...], dtype: str, codec: str) -> Array:
    """Decode a stored chunk whose CRC-32C agrees; the array lies in `data` unless it was compressed.

    Raises
    ------
    ValueError
        If the checksum does not agree or the content is not of the wanted size; compressed content
        that is too short is filled up with zeros.
    """
    body, trailer = data[:-TRAILER_BYTES], data[-TRAILER_BYTES:].tobytes()
    found = google_crc32c.value(body).to_bytes(TRAILER_BYTES, "little")
    if found != trailer:
        raise ValueError(f"its content has {found.hex()}, its end has {trailer.hex()}")
    stored = np.dtype(dtype).newbyteorder("<")
    if codec == "zstd":
        # Into memory of the size that is wanted: a small object may claim to hold anything.
        from numcodecs.zstd import Zstd

        body = np.asarray(Zstd().decode(body, out=np.zeros(math.prod(shape), stored)))
    return np.frombuffer(body, stored).reshape(shape)


class ChunkReader:
    """Reads chunks of one signal, each checked against its recorded size and trailer.

    A chunk is a file of its own, so it is read in one piece and decoded here: zarr-python's way
    through its pipeline costs milliseconds and two more copies. What a chunk looks like is taken from
    the plan, whose digest is known, not from the array's own metadata.
    """

    def __init__(self, folder: Path, chunk_shape: tuple[int, ...], dtype: str, codec: str) -> None:
        self._folder, self._shape, self._dtype, self._codec = folder, chunk_shape, dtype, codec
        self._memory = BufferPool()

    def read(self, number: int, length: int, size_bytes: int, trailer: bytes) -> Array:
        """Return the first `length` entries of chunk `number`.

        Raises
        ------
        CacheError
            Kind ``"damaged"``, naming the object and the unit.
        """
        key = chunk_key(number, len(self._shape))
        try:
            data = self._memory.read(self._folder / key)
            end = data[-TRAILER_BYTES:].tobytes()
            if len(data) != size_bytes:
                problem = f"has {len(data)} bytes, its record {size_bytes}"
            elif end != trailer:
                problem = f"ends in {end.hex()}, its record has {trailer.hex()}"
            else:
                return decoded(data, self._shape, self._dtype, self._codec)[:length]
        except FileNotFoundError:
            problem = f"is missing (recorded: {size_bytes} bytes)"
        except OSError as error:
            problem = f"cannot be read ({error.strerror})"
        except (ValueError, RuntimeError) as error:
            problem = f"fails its checksum ({error})"
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


class EagerArray:
    """Reads an array written by :func:`write_whole`; its last few chunks stay in memory.

    A chunk of nothing but the fill value is not stored. So that no hole passes for one, its objects are
    first compared with the recorded digests; so that nothing passes for data that nobody recorded, a
    chunk without a digest is not read.

    Parameters
    ----------
    root : Path
        Folder that the keys of `objects` are relative to.
    key : str
        Of the array.
    objects : mapping of str to str
        Recorded SHA-256 of all stored objects of `root`.

    Raises
    ------
    CacheError
        Kind ``"damaged"`` when it cannot be opened, or a chunk not be read.
    """

    def __init__(self, root: Path, key: str, objects: Mapping[str, str]) -> None:
        recorded = {name: digest for name, digest in objects.items() if name.startswith(f"{key}/")}
        # Without a digest of its metadata nothing would be known of the array.
        check_digests(root, {f"{key}/zarr.json": "none"} | recorded)
        folder = root / key
        self._folder = folder
        self._stored = {name.removeprefix(f"{key}/") for name in recorded}
        array = _open(folder, "r")
        self._length, self._chunk, self._dtype = array.shape[0], array.chunks, str(array.dtype)
        self._fill, self._memory = array.fill_value, BufferPool()
        self._decoded = lru_cache(KEPT_CHUNKS)(self._read)

    def __getitem__(self, entries: slice) -> Array:
        """Entries ``first:last``, both given."""
        first, last, size = entries.start, entries.stop, self._chunk[0]
        slice_bytes = (last - first) * math.prod(self._chunk[1:]) * np.dtype(self._dtype).itemsize
        if not 0 <= first <= last <= self._length or slice_bytes > MAX_SLICE_BYTES:
            raise CacheError(
                f"{self._folder.parent.name}/{self._folder.name} is damaged: it has {self._length} "
                f"entries, entries {first} to {last} are requested",
                kind="damaged",
            )
        chunks = range(first // size, -(-last // size))
        pieces = [
            self._decoded(chunk)[max(first - chunk * size, 0) : last - chunk * size]
            for chunk in chunks
        ]
        if len(pieces) == 1:
            return pieces[0]
        return np.concatenate([np.zeros((0, *self._chunk[1:]), self._dtype), *pieces])

    def _read(self, number: int) -> Array:
        key = chunk_key(number, len(self._chunk))
        try:
            if key in self._stored:
                data = self._memory.read(self._folder / key)
                return decoded(data, self._chunk, self._dtype, "crc32c")
            if os.path.lexists(self._folder / key):
                raise ValueError("nobody recorded it, so nobody wrote it")
            return np.full(self._chunk, self._fill, self._dtype)
        except (OSError, ValueError) as error:
            raise CacheError(
                f"{self._folder.parent.name}/{self._folder.name}/{key} is damaged: {error}",
                kind="damaged",
            ) from None


def check_digests(folder: Path, objects: Mapping[str, str]) -> None:
    """Compare objects below `folder` with their recorded SHA-256.

    Raises
    ------
    CacheError
        Kind ``"damaged"``, naming the first that differs.
    """
    for key, problem in differing_objects(folder, objects):
        raise CacheError(
            f"{folder.name}/{key} {problem}. List all damage: inspect-cache CACHE --verify",
            kind="damaged",
        )


def _open(folder: Path, mode: Any) -> zarr.Array[Any]:
    import zarr
    from zarr.storage import LocalStore

    try:
        # zarr would import whatever codec the metadata names.
        parse(ArrayMetadata, read_plain(folder / "zarr.json"), f"{folder.name}/zarr.json")
        array = zarr.open_array(LocalStore(folder), mode=mode, zarr_format=3)
    except (OSError, ValueError, KeyError, TypeError) as error:
        if is_refusal(error):
            raise
        raise CacheError(
            f"{folder.parent.name}/{folder.name} cannot be opened: {error}", kind="damaged"
        ) from None
    return array
