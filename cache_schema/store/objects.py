"""The objects of a cache behind one small interface: local files, an object store, a web server.

An object has a key with forward slashes, relative to a folder or an address. No object but the
manifest is ever replaced, so it needs no renames: what is immutable is put first, the manifest last.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from cache_schema.errors import CacheError
from cache_schema.store.address import CachePath
from cache_schema.store.files import PARTIAL_SUFFIX, sha256, write_atomic
from cache_schema.store.safe_open import (
    check_no_linked_folders,
    check_no_links,
    entries_below,
    open_plain,
    read_plain,
    refusals_reported,
)

Item = TypeVar("Item")
Result = TypeVar("Result")
Acquire = Callable[[int], NDArray[np.uint8]]
"""Gives memory for so many bytes."""


class ObjectChanged(Exception):  # noqa: N818 - what another writer did, not a failure
    """Another writer has replaced the object meanwhile."""


class Objects(Protocol):
    """Objects below one place; what reads raises FileNotFoundError where there is no such object."""

    @property
    def lists(self) -> bool:
        """Whether keys can be listed."""

    @property
    def at_once(self) -> int:
        """Requests that are worth making at the same time: each takes a while from afar."""

    def get(self, key: str) -> bytes:
        """Read an object whole."""

    def get_into(self, key: str, acquire: Acquire) -> NDArray[np.uint8]:
        """Read an object whole into memory that `acquire` gives."""

    def exists(self, key: str) -> bool:
        """Whether there is such an object."""

    def list(self, prefix: str = "") -> Iterator[str]:
        """Keys below a prefix that ends where a name does; the latest objects may be missing."""

    def put(self, key: str, data: bytes) -> None:
        """Write an object, durably and whole or not at all, whatever is there."""

    def put_once(self, key: str, data: bytes) -> None:
        """Write an object that never changes; where it is there already nothing happens.

        On a local disk, where a lock keeps others out, it takes the place of what a killed writer left.

        Raises
        ------
        RunError
            Kind ``"exists"`` if another content is there.
        """

    def replace(self, key: str, old: bytes | None, new: bytes) -> None:
        """Replace `old` (None: nothing) by `new`.

        Raises
        ------
        ObjectChanged
            If neither of them is there.
        """

    def delete(self, key: str) -> None:
        """Delete an object, if it is there."""

    def check_plain(self) -> None:
        """Reject documents and metadata behind links, devices or pipes."""


@dataclass(frozen=True, slots=True)
class LocalObjects:
    """Files below a folder; one writer at a time holds the lock of the cache."""

    folder: Path
    lists = True
    at_once = 1

    def get(self, key: str) -> bytes:
        """Read a file whole; no link is followed."""
        return read_plain(self.folder / key)

    def get_into(self, key: str, acquire: Acquire) -> NDArray[np.uint8]:
        """Read a file whole into memory that `acquire` gives."""
        path = self.folder / key
        with refusals_reported(path), os.fdopen(open_plain(path), "rb", buffering=0) as file:
            data = acquire(os.fstat(file.fileno()).st_size)
            done = 0
            # A call gives 2 GiB at most, and on a network's file system what is there.
            while count := file.readinto(data.data[done:]):
                done += count
            return data[:done]

    def exists(self, key: str) -> bool:
        """Whether anything lies there, a broken link too."""
        return os.path.lexists(self.folder / key)

    def list(self, prefix: str = "") -> Iterator[str]:
        """Keys below a folder, leftovers of a kill left out."""
        above = f"{prefix}/" if prefix else ""
        for key, entry in entries_below(self.folder / prefix, large=True):
            if not entry.is_dir(follow_symlinks=False) and not key.endswith(PARTIAL_SUFFIX):
                yield above + key

    def put(self, key: str, data: bytes) -> None:
        """Write a file and compare it with what is read back."""
        path = self.folder / key
        check_no_linked_folders(path)
        write_atomic(path, data)
        if read_plain(path) != data:
            raise CacheError(
                f"{path} does not read back as written; check the disk.", kind="damaged"
            )

    put_once = put

    def replace(self, key: str, old: bytes | None, new: bytes) -> None:
        """Replace a file; the lock keeps other writers out."""
        write_atomic(self.folder / key, new)

    def delete(self, key: str) -> None:
        """Delete a file, if it is there."""
        (self.folder / key).unlink(missing_ok=True)

    def check_plain(self) -> None:
        """Look at all but chunks and records, which are looked at as they are read."""
        check_no_links(self.folder, large=False)


def objects_of(place: CachePath) -> Objects:
    """Give the objects below a folder or an address."""
    if isinstance(place, Path):
        return LocalObjects(place)
    from cache_schema.store.cloud import CloudObjects  # of an extra, which local caches do not need

    return CloudObjects(place)


def read_twice(read: Callable[[], Result]) -> Result:
    """Read, and once more where a checksum failed: it may have failed in transit alone."""
    try:
        return read()
    except ValueError:
        return read()


def get_recorded(objects: Objects, key: str, digest: str | None) -> bytes:
    """Read an object of a known SHA-256, a second time where another content came."""
    data = objects.get(key)
    return data if sha256(data) == digest else objects.get(key)


def differing_objects(place: CachePath, recorded: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield key and problem of each object that is not the one of the recorded SHA-256."""
    objects = objects_of(place)

    def problem(key: str) -> str:
        try:
            found = sha256(get_recorded(objects, key, recorded[key]))
        except FileNotFoundError:
            return "is missing"
        except OSError as error:
            return str(error.strerror)
        if found == recorded[key]:
            return ""
        return f"has digest {found[:12]}, recorded {recorded[key][:12]}"

    keys = sorted(recorded)
    for key, what in zip(keys, ahead(problem, keys, objects.at_once), strict=True):
        if what:
            yield key, what


def ahead(
    function: Callable[[Item], Result], items: Iterable[Item], at_once: int
) -> Iterator[Result]:
    """Map in order, so many items at once in threads of their own; one at once takes no thread."""
    if at_once == 1:
        yield from map(function, items)
        return
    left = iter(items)
    with ThreadPoolExecutor(at_once, "aftersound-requests") as pool:
        waiting = deque(pool.submit(function, item) for item in islice(left, at_once))
        try:
            while waiting:
                result = waiting.popleft().result()
                waiting.extend(pool.submit(function, item) for item in islice(left, 1))
                yield result
        finally:
            for future in waiting:
                future.cancel()
