"""Zarr v3 arrays of a cache: the only module that imports zarr, and only where it is used.

Its import takes half a second of a processor, which no help text and no usage error need.

Unit j of a part is plain chunk j of each of its arrays, so that no two tasks touch one object.
Encoded by zarr-python alone, in memory; every chunk ends in its CRC-32C.
"""

from __future__ import annotations

import math
import threading
import weakref
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from cache_schema.documents import parse
from cache_schema.errors import CacheError, RunError
from cache_schema.metadata import SignalSpec, StoredObject
from cache_schema.store.address import CachePath
from cache_schema.store.files import sha256
from cache_schema.store.local_copy import LocalCopy
from cache_schema.store.objects import Objects, ahead, get_recorded, objects_of, read_twice
from cache_schema.store.zarr_metadata import ArrayMetadata

if TYPE_CHECKING:
    import zarr

Array = NDArray[Any]
Put = Callable[[str, bytes], None]
"""Takes an object that is laid out: its key and its content."""
TRAILER_BYTES = 4
# Of about 1 MiB each.
KEPT_CHUNKS, KEPT_CHUNKS_FROM_AFAR = 4, 256
# The ids of 10^8 clips; more is requested by a damaged table only.
MAX_SLICE_BYTES = 1 << 32


def create_group(put: Put, key: str = "") -> None:
    """Put an empty Zarr v3 group, so that plain zarr opens what lies there."""
    import zarr
    from zarr.storage import MemoryStore

    stored: dict[str, Any] = {}
    zarr.create_group(MemoryStore(stored), zarr_format=3)
    _put_all(put, key, stored)


def create_array(
    put: Put,
    key: str,
    shape: tuple[int, ...],
    chunks: tuple[int, ...],
    dtype: str,
    *,
    codec: str = "crc32c",
) -> None:
    """Put the metadata of an array of its final shape."""
    stored: dict[str, Any] = {}
    _create(stored, shape, chunks, dtype, codec=codec)
    _put_all(put, key, stored)


def chunk_key(number: int, dims: int) -> str:
    """Key of chunk `number` along the first axis, below its array."""
    return "/".join(["c", str(number), *["0"] * (dims - 1)])


def encoded_chunk(chunk: tuple[int, ...], dtype: str, codec: str, values: Array) -> bytes:
    """Stored bytes of one whole chunk, which `values` fill from its beginning."""
    stored: dict[str, Any] = {}
    array = _create(stored, chunk, chunk, dtype, codec=codec)
    # A setting of the moment, not of the stored array: without it a unit of silence, or one that is
    # quarantined as a whole, would leave no object behind.
    array = array.with_config({"write_empty_chunks": True})
    padded = np.full(array.chunks, array.fill_value, dtype=array.dtype)
    padded[: len(values)] = values
    array[...] = padded
    return bytes(stored[chunk_key(0, len(chunk))].to_bytes())


def write_chunk(
    part: Objects, number: int, spec: SignalSpec, codec: str, values: Array
) -> StoredObject:
    """Write one whole chunk of a signal below its part."""
    data = encoded_chunk(spec.chunk_shape, spec.dtype, codec, values)
    part.put_once(f"{spec.name}/{chunk_key(number, len(spec.chunk_shape))}", data)
    return StoredObject(bytes=len(data), sha256=sha256(data), crc32c=data[-TRAILER_BYTES:].hex())


def write_whole(put: Put, key: str, values: Array, chunk_bytes: int = 1 << 20) -> None:
    """Put a small complete array (index, clip table) in chunks of about 1 MiB."""
    row_bytes = max(1, values.itemsize * int(np.prod(values.shape[1:])))
    chunk = max(1, min(len(values), chunk_bytes // row_bytes))
    shape = (max(len(values), 1), *values.shape[1:])
    stored: dict[str, Any] = {}
    array = _create(stored, shape, (chunk, *values.shape[1:]), str(values.dtype))
    if len(values):
        array[...] = values
    _put_all(put, key, stored)


def _create(
    stored: dict[str, Any],
    shape: tuple[int, ...],
    chunks: tuple[int, ...],
    dtype: str,
    *,
    codec: str = "crc32c",
) -> zarr.Array[Any]:
    """Create an array in memory: CRC-32C last (after zstd, if any), NaN fill for floats."""
    import zarr
    from zarr.codecs import BytesCodec, Crc32cCodec, ZstdCodec
    from zarr.storage import MemoryStore

    return zarr.create_array(
        MemoryStore(stored),
        shape=shape,
        chunks=chunks,
        dtype=dtype,
        fill_value=np.nan if np.dtype(dtype).kind == "f" else 0,
        serializer=BytesCodec(),
        compressors=[ZstdCodec(level=3), Crc32cCodec()] if codec == "zstd" else [Crc32cCodec()],
        filters=None,
        zarr_format=3,
    )


def _put_all(put: Put, key: str, stored: Mapping[str, Any]) -> None:
    for name in sorted(stored):
        put(f"{key}/{name}".lstrip("/"), bytes(stored[name].to_bytes()))


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

    def __init__(
        self,
        folder: CachePath,
        chunk_shape: tuple[int, ...],
        dtype: str,
        codec: str,
        copy: LocalCopy | None = None,
    ) -> None:
        self._folder, self._shape, self._dtype, self._codec = folder, chunk_shape, dtype, codec
        self._objects, self._memory, self._copy = objects_of(folder), BufferPool(), copy

    def read(
        self, number: int, length: int, size_bytes: int, trailer: bytes, digest: str = ""
    ) -> Array:
        """Return the first `length` entries of chunk `number`; with a local copy by its SHA-256.

        Raises
        ------
        CacheError
            Kind ``"damaged"``, naming the object and the unit.
        """
        key = chunk_key(number, len(self._shape))
        try:
            return read_twice(lambda: self._read(key, size_bytes, trailer, digest))[:length]
        except FileNotFoundError:
            problem = f"is missing (recorded: {size_bytes} bytes)"
        except OSError as error:
            problem = f"cannot be read ({error.strerror})"
        except ValueError as error:
            problem = str(error)
        raise CacheError(
            f"object {self._folder.parent.name}/{self._folder.name}/{key} of work unit {number} "
            f"{problem}. List all damage: inspect-cache CACHE --verify",
            kind="damaged",
        )

    def _read(self, key: str, size_bytes: int, trailer: bytes, digest: str) -> Array:
        if self._copy is None:
            data = self._objects.get_into(key, self._memory.acquire)
            return self._checked(data, size_bytes, trailer)
        with suppress(OSError, RunError, ValueError):  # what is not right there is read from afar
            data = self._copy.read(digest, self._memory.acquire)
            return self._checked(data, size_bytes, trailer)
        data = self._objects.get_into(key, self._memory.acquire)
        values = self._checked(data, size_bytes, trailer)
        self._copy.keep(digest, data)
        return values

    def _checked(self, data: NDArray[np.uint8], size_bytes: int, trailer: bytes) -> Array:
        end = data[-TRAILER_BYTES:].tobytes()
        if len(data) != size_bytes:
            raise ValueError(f"has {len(data)} bytes, its record {size_bytes}")
        if end != trailer:
            raise ValueError(f"ends in {end.hex()}, its record has {trailer.hex()}")
        try:
            return decoded(data, self._shape, self._dtype, self._codec)
        except (ValueError, RuntimeError) as error:
            raise ValueError(f"fails its checksum ({error})") from None


class EagerArray:
    """Reads an array written by :func:`write_whole`; its last few chunks stay in memory, from afar more.

    Every object is compared with its recorded digest when it is read. A chunk of nothing but the fill
    value is not stored; so that no hole passes for one, a recorded chunk must be there, and so that
    nothing passes for data that nobody recorded, a chunk without a digest must not. Threads may share
    one.

    Parameters
    ----------
    root : CachePath
        What the keys of `objects` are relative to.
    key : str
        Of the array.
    objects : mapping of str to str
        Recorded SHA-256 of all stored objects of `root`.

    Raises
    ------
    CacheError
        Kind ``"damaged"`` when it cannot be opened, or a chunk not be read.
    """

    def __init__(self, root: CachePath, key: str, objects: Mapping[str, str]) -> None:
        self._objects, self._root, self._key = objects_of(root), root, key
        self._recorded = {n: digest for n, digest in objects.items() if n.startswith(f"{key}/")}
        metadata = parse(
            ArrayMetadata, self._read(f"{key}/zarr.json"), f"{root.name}/{key}/zarr.json"
        )
        self._length, self._dtype = metadata.shape[0], metadata.data_type
        self._chunk = tuple(metadata.chunk_grid.configuration.chunk_shape)
        self._fill = float(metadata.fill_value)
        self._reading = threading.Lock()
        kept = KEPT_CHUNKS if self._objects.at_once == 1 else KEPT_CHUNKS_FROM_AFAR
        self._decoded = lru_cache(kept)(self._decode)

    def __getitem__(self, entries: slice) -> Array:
        """Entries ``first:last``, both given."""
        first, last, size = entries.start, entries.stop, self._chunk[0]
        slice_bytes = (last - first) * math.prod(self._chunk[1:]) * np.dtype(self._dtype).itemsize
        if not 0 <= first <= last <= self._length or slice_bytes > MAX_SLICE_BYTES:
            raise CacheError(
                f"{self._root.name}/{self._key} is damaged: it has {self._length} "
                f"entries, entries {first} to {last} are requested",
                kind="damaged",
            )
        chunks = range(first // size, -(-last // size))
        with self._reading:  # or two threads would request the same
            pieces = [
                chunk[max(first - number * size, 0) : last - number * size]
                for number, chunk in zip(
                    chunks,
                    ahead(self._decoded, chunks, min(len(chunks), self._objects.at_once) or 1),
                    strict=True,
                )
            ]
        if len(pieces) == 1:
            return pieces[0]
        return np.concatenate([np.zeros((0, *self._chunk[1:]), self._dtype), *pieces])

    def _decode(self, number: int) -> Array:
        key = f"{self._key}/{chunk_key(number, len(self._chunk))}"
        if key not in self._recorded and not self._objects.exists(key):
            return np.full(self._chunk, self._fill, self._dtype)
        try:
            data = np.frombuffer(self._read(key), np.uint8)
            return decoded(data, self._chunk, self._dtype, "crc32c")
        except ValueError as error:
            raise self._damaged(key, f"fails its checksum ({error})") from None

    def _read(self, key: str) -> bytes:
        """Read an object that the digests name."""
        if key not in self._recorded:
            raise self._damaged(key, "nobody recorded it, so nobody wrote it")
        try:
            data = get_recorded(self._objects, key, self._recorded[key])
        except OSError as error:
            missing = isinstance(error, FileNotFoundError)
            raise self._damaged(key, "is missing" if missing else str(error.strerror)) from None
        if (found := sha256(data)) != self._recorded[key]:
            raise self._damaged(
                key, f"has digest {found[:12]}, recorded {self._recorded[key][:12]}"
            )
        return data

    def _damaged(self, key: str, problem: str) -> CacheError:
        return CacheError(
            f"{self._root.name}/{key} {problem}. List all damage: inspect-cache CACHE --verify",
            kind="damaged",
        )
