"""Objects on S3, Google Cloud, Azure or a web server: the only module that imports obstore.

An answer may be lost after the store has done what was requested: writing again then finds the object
there. So whoever finds one reads it, and is done where it holds what was to be written.
"""

from __future__ import annotations

import errno
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from typing import Any, ClassVar
from urllib.parse import urlsplit
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from cache_schema.errors import RunError, UsageError
from cache_schema.store.address import STORES, WEB, Address
from cache_schema.store.files import PARTIAL_SUFFIX
from cache_schema.store.objects import Acquire, ObjectChanged
from cache_schema.store.requests import answered

EXTRA = "pip install 'aftersound[cloud]'"
# Ten attempts in the first minute; an outage of a minute is survived, and none is waited for longer.
PATIENCE: dict[str, Any] = {
    "max_retries": 100,
    "retry_timeout": timedelta(seconds=180),
    "backoff": {
        "init_backoff": timedelta(seconds=0.5),
        "base": 4,
        "max_backoff": timedelta(seconds=10),
    },
}
# Until a store has answered once it may be a wrong address.
FIRST_CONTACT: dict[str, Any] = PATIENCE | {
    "max_retries": 4,
    "retry_timeout": timedelta(seconds=10),
}
# For a chunk of 64 MB at half a megabyte a second.
REQUEST_TIMEOUT = timedelta(seconds=120)
_AT_ONCE = 8
# Of a page of a list.
_LIST_ATTEMPTS = 4
# How servers answer to a request for what lies behind an object's end.
_BEHIND_END = "416 Range Not Satisfiable"
_GONE = "410 Gone"
_SHOWN_CHARACTERS = 300


def check_extra() -> None:
    """Reject an address where what reads it is not installed.

    Raises
    ------
    UsageError
        Kind ``"extra"``, with the command that installs it.
    """
    try:
        import obstore  # noqa: F401 - whether it is there
    except ImportError:
        raise UsageError(
            f"what lies on object stores and web servers needs the extra 'cloud': {EXTRA}",
            kind="extra",
        ) from None


class _Connection:
    """The store of one bucket or server in this process: impatient until it has answered once."""

    def __init__(self, scheme: str, host: str) -> None:
        self._scheme, self._host = scheme, host
        self.process = os.getpid()
        self._stores: dict[bool, Any] = {}
        self.reached = False
        self._making = threading.Lock()

    @property
    def store(self) -> Any:
        """The obstore object, never to be pickled: it would take the credentials along."""
        if os.getpid() != self.process:
            raise RunError(
                f"{self._scheme}://{self._host} was opened before this process was forked, and would be "
                "waited for without an end. Open the cache in the process that reads it.",
                kind="fork",
            )
        with self._making:
            if self.reached not in self._stores:
                self._stores[self.reached] = self._made(PATIENCE if self.reached else FIRST_CONTACT)
            return self._stores[self.reached]

    def _made(self, retry: dict[str, Any]) -> Any:
        check_extra()
        _check_endpoints(self._scheme)
        from obstore.store import AzureStore, GCSStore, HTTPStore, S3Store

        client: Any = {"timeout": REQUEST_TIMEOUT, "allow_http": _without_encryption(self._scheme)}
        options: Any = {"retry_config": retry, "client_options": client}
        if self._scheme in WEB:
            return HTTPStore(f"{self._scheme}://{self._host}", **options)
        kinds = {"s3": S3Store, "gs": GCSStore, "az": AzureStore}
        return kinds[self._scheme](self._host, **options)


def _check_endpoints(scheme: str) -> None:
    """Reject what the environment names as the server of a store, if it is no address of one.

    obstore itself would end in a panic of Rust's.

    Raises
    ------
    UsageError
        Naming the variable.
    """
    owner = {"s3": "AWS_", "gs": "GOOGLE_", "az": "AZURE_"}.get(scheme, "no variable")
    for name, value in os.environ.items():
        if name.startswith(owner) and "ENDPOINT" in name and not _is_server(value):
            raise UsageError(
                f"the environment variable {name} is {_without_secrets(value)!r}, expected "
                "http://HOST:PORT or https://HOST; set it so, or unset it",
                kind="address",
            )


def _is_server(value: str) -> bool:
    try:
        parts = urlsplit(value)
        return parts.scheme in WEB and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is none
        return False


def _without_encryption(scheme: str) -> bool:
    """Whether HTTP itself is what the user named: by the address, or as the endpoint of a store."""
    endpoints = [value for name, value in os.environ.items() if "ENDPOINT" in name]
    return scheme == "http" or any(value.startswith("http://") for value in endpoints)


@lru_cache
def _connection(scheme: str, host: str) -> _Connection:
    return _Connection(scheme, host)


@dataclass(frozen=True, slots=True)
class Part:
    """Bytes of an object from `start` on, of how many it has, and what tells its version."""

    data: bytes
    start: int
    size: int
    version: str


@dataclass(frozen=True, slots=True)
class CloudObjects:
    """Objects below an address; picklable, as it has no connection of its own."""

    address: Address
    at_once: ClassVar[int] = _AT_ONCE

    @property
    def lists(self) -> bool:
        """Whether it is a store: a web server is never listed."""
        return self.address.scheme in STORES

    def get(self, key: str) -> bytes:
        """Read an object whole."""
        return bytes(self._got(key)[0])

    def get_into(self, key: str, acquire: Acquire) -> NDArray[np.uint8]:
        """Read an object whole into memory that `acquire` gives."""
        found = np.frombuffer(self._got(key)[0], np.uint8)
        data = acquire(len(found))
        data[:] = found
        return data

    def _got(self, key: str) -> tuple[Any, dict[str, Any]]:
        """An object's content and what tells its version."""
        with _request(self.address, key) as (store, path):
            result = answered(lambda: store.get_async(path))
            version = {n: result.meta[n] for n in ("e_tag", "version") if result.meta[n]}
            return answered(result.bytes_async), version

    def get_part(self, key: str, start: int, size: int) -> Part:
        """Read a part of an object; all of it from a server that gives no parts.

        A part behind the end is empty. That an object has no first part is not believed before it is
        requested whole: some servers reject every part of what they do have.
        """
        from obstore.exceptions import GenericError, NotSupportedError

        with _request(self.address, key) as (store, path):
            try:
                span = {"range": (start, start + size)}
                result = answered(lambda: store.get_async(path, options=span))
            except (NotSupportedError, GenericError) as error:
                behind_end = _BEHIND_END in str(error)
                if behind_end and start:
                    return Part(b"", start, start, "")
                if not behind_end and not isinstance(error, NotSupportedError):
                    raise
                start, result = 0, answered(lambda: store.get_async(path))
            facts = result.meta
            version = str(facts["e_tag"] or facts["last_modified"])
            return Part(bytes(answered(result.bytes_async)), start, facts["size"], version)

    def size(self, key: str) -> int:
        """Count the bytes of an object."""
        with _request(self.address, key) as (store, path):
            return int(answered(lambda: store.head_async(path))["size"])

    def exists(self, key: str) -> bool:
        """Whether there is such an object."""
        try:
            self.size(key)
        except FileNotFoundError:
            return False
        return True

    def list(self, prefix: str = "") -> Iterator[str]:
        """Keys below a prefix; the latest objects may be missing."""
        return (key for key, _ in self.sizes(prefix))

    def sizes(self, prefix: str = "") -> Iterator[tuple[str, int]]:
        """Keys below a prefix and the bytes of each; the latest objects may be missing."""
        if not self.lists:
            raise RunError(f"{self.address} is on a web server, which is not listed", kind="list")
        yield from _sizes(self.address, prefix)

    def put(self, key: str, data: bytes) -> None:
        """Write an object, whatever is there."""
        self._check_writable(key)
        with _request(self.address, key) as (store, path):
            _put(store, path, data, "overwrite")

    def put_once(self, key: str, data: bytes) -> None:
        """Write an object that never changes, or find it there already."""
        try:
            self.replace(key, None, data)
        except ObjectChanged:
            raise RunError(
                f"{self.address / key} is there with another content than is to be written: of another "
                "command, or of one that ended early on other hardware or libraries. If none is writing "
                "it, delete it and repeat the command; else choose another --out",
                kind="exists",
            ) from None

    def replace(self, key: str, old: bytes | None, new: bytes) -> None:
        """Replace `old` by `new` under the condition that it is there; None is nothing."""
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        self._check_writable(key)
        while True:
            version = self._version_of(key, old, new) if old is not None else None
            if old is not None and version is None:
                return
            try:
                with _request(self.address, key) as (store, path):
                    _put(store, path, new, version or "create")
                    return
            except (AlreadyExistsError, PreconditionError):
                if old is None and self._is_there(key, new):
                    return

    def _version_of(self, key: str, old: bytes, new: bytes) -> dict[str, Any] | None:
        """Version of an object that still holds `old`; None if it holds `new` already."""
        try:
            found, version = self._got(key)
        except FileNotFoundError:
            raise ObjectChanged from None
        if bytes(found) == new:
            return None
        if bytes(found) != old:
            raise ObjectChanged
        return version

    def _is_there(self, key: str, new: bytes) -> bool:
        """Whether an object that a creation found holds `new`; False if it is not there at all."""
        try:
            if self.get(key) != new:
                raise ObjectChanged
        except FileNotFoundError:
            return False
        return True

    def delete(self, key: str) -> None:
        """Delete an object, if it is there."""
        try:
            with _request(self.address, key) as (store, path):
                answered(lambda: store.delete_async(path))
        except FileNotFoundError:
            return

    def check_plain(self) -> None:
        """There are no links on a store."""

    def _check_writable(self, key: str) -> None:
        if not self.lists:
            raise RunError(
                f"{self.address / key} is on a web server, which is only read", kind="web"
            )


@contextmanager
def _request(address: Address, key: str) -> Iterator[tuple[Any, str]]:
    """Give store and path for a request, and turn its errors into ours."""
    check_extra()
    from obstore.exceptions import (
        AlreadyExistsError,
        BaseError,
        NotFoundError,
        PreconditionError,
    )

    connection, place = _connection(address.scheme, address.host), address / key
    try:
        yield connection.store, place.key
    except NotFoundError:
        connection.reached = True
        raise FileNotFoundError(errno.ENOENT, "is not there", str(place)) from None
    except (AlreadyExistsError, PreconditionError):
        connection.reached = True
        raise
    except BaseError as error:
        if _GONE in str(error):
            connection.reached = True
            raise FileNotFoundError(errno.ENOENT, "is not there", str(place)) from None
        raise _refused(place, error) from None
    connection.reached = True


def _sizes(address: Address, prefix: str) -> Iterator[tuple[str, int]]:
    """Keys below a prefix and the bytes of each, page by page."""
    above = len(address.key) + 1 if address.key else 0
    last, failures = None, 0
    while True:
        try:
            for page in _pages(address, prefix, last):
                last, failures = page[-1]["path"], 0
                for entry in page:
                    if (
                        entry["size"] or len(entry["path"]) > above
                    ):  # else the console's empty folder
                        yield entry["path"][above:], entry["size"]
            return
        except RunError:  # half of an answer, which obstore does not request again
            failures += 1
            is_there = _connection(address.scheme, address.host).reached or last is not None
            if failures == _LIST_ATTEMPTS or not is_there:
                raise


def _pages(address: Address, prefix: str, offset: str | None) -> Iterator[Any]:
    """Pages of a list, from behind a path on."""
    with _request(address, prefix) as (store, path):
        pages = store.list(f"{path}/" if path else None, offset=offset, chunk_size=1000)
        while page := answered(lambda: _next(pages)):
            yield page


async def _next(pages: Any) -> Any:
    """The next page of a list; None behind the last."""
    return await anext(pages, None)


def _put(store: Any, path: str, data: bytes, mode: Any) -> None:
    answered(lambda: store.put_async(path, data, mode=mode, use_multipart=False))


@lru_cache
def check_conditional_writes(address: Address) -> None:
    """Try, once a process, whether a store keeps to the conditions that writing relies on.

    An object of no meaning is created, created again, and replaced under a stale condition.

    Raises
    ------
    RunError
        Kind ``"store"`` if it replaces an object that was to be created, or one that has changed.
    """
    objects = CloudObjects(address)
    key = f"probe-{uuid4().hex}{PARTIAL_SUFFIX}"
    try:
        objects.replace(key, None, b"first")
        ignored = []
        if _is_done(objects, key, None, b"second"):
            ignored.append("creation (If-None-Match: *)")
        if _is_done(objects, key, {"e_tag": '"0123456789abcdef"', "version": "1"}, b"third"):
            ignored.append("replacement (If-Match)")
    finally:
        objects.delete(key)
    if ignored:
        raise RunError(
            f"the store of {address} ignores the condition of a {' and of a '.join(ignored)}: "
            "writers at the same time would lose each other's objects. Nothing else was written. Write "
            "to a local folder and copy it, or use a store that keeps to conditions",
            kind="store",
        )


def _is_done(objects: CloudObjects, key: str, version: dict[str, Any] | None, data: bytes) -> bool:
    """Whether a store does what its condition forbids."""
    from obstore.exceptions import AlreadyExistsError, PreconditionError

    try:
        with _request(objects.address, key) as (store, path):
            _put(store, path, data, version or "create")
    except (AlreadyExistsError, PreconditionError):
        return False
    return objects.get(key) == data


def _refused(place: Address, error: Exception) -> RunError:
    """Name what a store refused, without what of it may be a secret."""
    text = " ".join(str(error).split()).partition(" Debug source:")[0]
    shown = _without_secrets(text)[:_SHOWN_CHARACTERS]
    if "object with invalid path" in text:  # of a listing: with ".." or two slashes in its name
        return RunError(
            f"{place} holds an object whose name is no path: {shown}. Rename or delete it with the "
            "store's own tools, and repeat the command.",
            kind="name",
        )
    return RunError(
        f"{place} cannot be reached: {shown}. Check address, network and credentials, and repeat the "
        "command.",
        kind="unreadable",
    )


def _without_secrets(text: str) -> str:
    """Leave out queries of addresses, which may be signed, and values of secret variables."""
    text = re.sub(r"\?[^\s\"')>]*", "", text)
    for name, value in os.environ.items():
        if value and len(value) > 3 and re.search("SECRET|TOKEN|KEY|SAS|PASSWORD|CREDENTIAL", name):
            text = text.replace(value, "***")
    return text
