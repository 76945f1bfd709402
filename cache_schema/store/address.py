"""Where a cache lies: in a local folder, or at an address on an object store or a web server."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from urllib.parse import quote, unquote

from cache_schema.errors import UsageError

# What comes before ``://`` where caches may lie beside local folders; web servers are only read.
STORES = ("s3", "gs", "az")
WEB = ("http", "https")
SCHEMES = (*STORES, "file", *WEB)
_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Address:
    """A place on an object store or a web server; it holds no secret, so it may be shown and sent.

    Attributes
    ----------
    scheme : str
        One of `STORES` and `WEB`.
    host : str
        The bucket or container, or the server with its port.
    key : str
        Of what lies there, without slashes around it.

    Examples
    --------
    >>> str(Address("s3", "bucket", "sounds.zarr") / "parts" / "part-000")
    's3://bucket/sounds.zarr/parts/part-000'
    """

    scheme: str
    host: str
    key: str = ""

    def __truediv__(self, key: str) -> Address:
        return replace(self, key=f"{self.key}/{key}".strip("/"))

    def __str__(self) -> str:
        key = quote(self.key) if self.scheme in WEB else self.key
        return f"{self.scheme}://{self.host}/{key}".rstrip("/")

    @property
    def name(self) -> str:
        """Last name of the key; the bucket's where there is none."""
        return self.key.rpartition("/")[2] or self.host

    @property
    def suffix(self) -> str:
        """Suffix of the name, with its dot."""
        return PurePosixPath(self.name).suffix

    @property
    def parent(self) -> Address:
        """Address above."""
        return replace(self, key=self.key.rpartition("/")[0])


CachePath = Path | Address
"""Where a cache lies, or an object of it."""


def path_below(above: CachePath, place: CachePath) -> PurePosixPath:
    """Path that leads from one place down to another of its kind; ValueError if it lies elsewhere.

    >>> path_below(Address("s3", "bucket", "sounds"), Address("s3", "bucket", "sounds/dog"))
    PurePosixPath('dog')
    """
    return PurePosixPath(_pure(place)).relative_to(_pure(above))


def _pure(place: CachePath) -> str:
    return f"/{place.scheme}/{place.host}/{place.key}" if isinstance(place, Address) else str(place)


def common_place(places: Sequence[CachePath]) -> CachePath | None:
    """The nearest place that all of them lie below; None of a disk and a store, or of two stores.

    >>> common_place([Address("s3", "bucket", "sounds/dog"), Address("s3", "bucket", "sounds/cat")])
    Address(scheme='s3', host='bucket', key='sounds')
    """
    hosts = {(one.scheme, one.host) if isinstance(one, Address) else () for one in places}
    if len(hosts) > 1:
        return None
    above = os.path.commonpath([_pure(place) for place in places])
    first = places[0]
    return replace(first, key=above.split("/", 3)[3]) if isinstance(first, Address) else Path(above)


def resolved(place: CachePath) -> CachePath:
    """The same place under the one name that no working folder or link changes."""
    return place.resolve() if isinstance(place, Path) else place


def is_address(text: str) -> bool:
    """Whether a text has the form of an address.

    >>> is_address("s3://bucket/sounds.zarr"), is_address("sounds.zarr")
    (True, False)
    """
    return _ADDRESS.match(text) is not None


def cache_path(place: str | os.PathLike[str] | Address) -> CachePath:
    """Read where a cache lies.

    Raises
    ------
    UsageError
        Kind ``"address"``, if it is an address that nothing can be read at.

    Examples
    --------
    >>> cache_path("s3://bucket/sounds.zarr/")
    Address(scheme='s3', host='bucket', key='sounds.zarr')
    """
    if isinstance(place, Address):
        return place
    text = os.fspath(place)
    found = _ADDRESS.fullmatch(text)
    if found is None:
        return Path(text)
    scheme, rest = found[1].lower(), found[2]
    if scheme == "file":
        return _local(rest)
    host, _, key = rest.partition("/")
    if problem := _problem(scheme, host, key):
        raise UsageError(problem, kind="address")
    return Address(scheme, host, unquote(key).rstrip("/") if scheme in WEB else key.rstrip("/"))


def _problem(scheme: str, host: str, key: str) -> str:
    """What keeps an address from being used; what may be a secret of it is not shown."""
    if scheme not in SCHEMES:
        return (
            f"{scheme}:// is no kind of address that is read; known: "
            f"{', '.join(f'{name}://' for name in SCHEMES)}, or a local path"
        )
    where = f"the {scheme}:// address"
    if "@" in host:
        way = "Set them in the environment, for example AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        if scheme in WEB:
            way = "A web server is read without; leave them out"
        return f"{where} has credentials in it, and would be recorded with them. {way}"
    if re.search(r"[?#\\\x00-\x1f\x7f]", host + key):
        return f"{where} has a query, a fragment, a backslash or a control character; leave it out"
    names = (unquote(key) if scheme in WEB else key).rstrip("/").split("/")
    if not host or (key.strip("/") and any(name in ("", ".", "..") for name in names)):
        return f"{where} {scheme}://{host}/{key} names no place; expected {scheme}://HOST/PATH"
    return ""


def _local(rest: str) -> Path:
    host, slash, path = rest.partition("/")
    if host not in ("", "localhost") or not path:
        raise UsageError(
            f"file://{rest} names no local path; expected file:///PATH", kind="address"
        )
    return Path(unquote(slash + path))
