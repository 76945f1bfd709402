"""Audio inside container files: ``pack.h5!/waveform/17`` is row 17 of a dataset of ``pack.h5``.

A member's path is ``CONTAINER!/NAME/ROW``: a file whose name ends as below, the dataset or column, and
a row number. An ordinary path that looks like one would need a folder called ``x.h5!`` and in it a file
whose whole name is a number; such a file is not found.

A container is opened where its first member is requested, once per process, and stays open; threads may
share it. A process forgets what its parent had open, and a file that was replaced is opened anew.
"""

from __future__ import annotations

import errno
import importlib
import os
import re
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Protocol, overload

from cache_schema.errors import UsageError
from cache_schema.store.address import Address, CachePath

CONTAINER_READERS = {
    ".arrow": "pipeline.audio.arrow:ArrowShard",
    ".h5": "pipeline.audio.hdf5:Pack",
    ".hdf": "pipeline.audio.hdf5:Pack",
    ".hdf5": "pipeline.audio.hdf5:Pack",
    ".parquet": "pipeline.audio.arrow:ParquetShard",
}
_MEMBER = re.compile(r"(.*[^/](\.[a-z0-9]+))!/(.+)/([0-9]{1,18})", re.DOTALL)
_MAX_OPEN = 64
# What h5py and pyarrow raise over a damaged file; pyarrow's own errors derive from these as well.
_DAMAGE = (
    OSError, ValueError, LookupError, RuntimeError, TypeError, MemoryError, OverflowError, struct.error,
)  # fmt: skip
# What the system reports for places that only a damaged file refers to.
_DAMAGED_PLACES = (errno.EINVAL, errno.EFBIG, errno.EOVERFLOW, errno.ENXIO)
# A container that needs more than memory holds while so much is free is damaged.
_SPARE_BYTES = 1 << 28


class MemberProblem(Exception):  # noqa: N818 - a finding about a file, not a failure of the program
    """Something in a container cannot be used; the message holds no machine path."""


class Container(Protocol):
    """A file that holds many recordings."""

    def __init__(self, file: Path) -> None: ...

    def samples(self, name: str, row: int) -> tuple[int, int] | None:
        """Frames and rate of a row that holds bare samples; None if it holds an audio file."""
        ...

    def read(self, name: str, row: int) -> tuple[bytes, bytes]:
        """A head that makes an audio file of what is stored (or nothing), and what is stored."""
        ...


def split_member(path: str | CachePath) -> tuple[Path, str, int] | None:
    """Split a member's path into container, name and row; None for the path of an ordinary file.

    Containers lie on local disks: an object is always a recording.

    Examples
    --------
    >>> split_member("data/train.parquet!/audio/421")
    (PosixPath('data/train.parquet'), 'audio', 421)
    >>> split_member("loud!/dog.wav") is None
    True
    """
    if isinstance(path, Address):
        return None
    match = _MEMBER.fullmatch(path) if "!/" in (path := str(path)) else None
    if match is None or match[2] not in CONTAINER_READERS:
        return None
    return Path(match[1]), match[3], int(match[4])


@overload
def container_of(path: Path) -> Path: ...
@overload
def container_of(path: Address) -> Address: ...
def container_of(path: CachePath) -> CachePath:
    """The file that a path is read from: a member's container, or the path itself."""
    member = split_member(path)
    return path if member is None else member[0]


def member_samples(path: CachePath) -> tuple[int, int] | None:
    """Frames and rate of a member that holds bare samples; None if it holds an audio file.

    Raises
    ------
    MemberProblem
        If the member is damaged.
    OSError, MemoryError
        If its container cannot be read.
    """
    file, identity, name, row = _found(path)
    with container_errors(file):
        return _open(file, identity).samples(name, row)


def read_member(path: CachePath) -> tuple[bytes, bytes]:
    """Read a member: a head that makes an audio file of what is stored (or nothing), what is stored.

    Raises
    ------
    MemberProblem
        If the member is damaged.
    OSError, MemoryError
        If its container cannot be read.
    """
    file, identity, name, row = _found(path)
    with container_errors(file):
        return _open(file, identity).read(name, row)


@contextmanager
def container_errors(file: CachePath) -> Iterator[None]:
    """Turn whatever a library raises for a damaged container into a `MemberProblem`.

    What the disk or the network refused goes through as ``OSError`` that names it, and a lack of memory
    as ``MemoryError``.
    """
    try:
        yield
    except UsageError:  # a ValueError, too, and no library's
        raise
    except FileNotFoundError:
        raise MemberProblem("its container is not there") from None
    except MemoryError:
        if not _memory_is_left():
            raise
        raise MemberProblem("the container declares more than memory holds") from None
    except _DAMAGE as error:
        number = _system_error(error)
        if number is not None and number not in _DAMAGED_PLACES:
            raise OSError(number, os.strerror(number), str(file)) from error
        raise MemberProblem(_one_line(error)) from None


def _system_error(error: Exception) -> int | None:
    """What the system refused, if that is what a library reports; HDF5 has it in its text alone."""
    match = re.search(r"\berrno = (\d+)", str(error))
    number = int(match[1]) if match else getattr(error, "errno", None)
    return number or None


def _memory_is_left() -> bool:
    try:
        return len(bytearray(_SPARE_BYTES)) > 0
    except MemoryError:
        return False


def _one_line(error: Exception) -> str:
    """What a library reports, without paths, and without the times and addresses HDF5 ends with."""
    # A KeyError's own text is its message in quotes.
    message = error.args[0] if isinstance(error, KeyError) and error.args else error
    text = " ".join(str(message).split()) or type(error).__name__
    text = re.split(r":? time = ", text)[0]
    text = re.sub(r"'?[\"']?/[^'\",)]*", "(a path)", text)
    return f"the container cannot be read: {text if len(text) <= 200 else text[:197] + '...'}"


def _found(path: CachePath) -> tuple[Path, tuple[int, ...], str, int]:
    """A member's container, what distinguishes it from a later version, the member's name and row."""
    member = split_member(path)
    if member is None:
        raise ValueError("not the path of a member")
    file, name, row = member
    facts = file.stat()
    if not stat.S_ISREG(facts.st_mode):
        raise MemberProblem("the container cannot be read: not a file")
    return file, (facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns), name, row


@lru_cache(maxsize=_MAX_OPEN)
def _open(file: Path, _identity: tuple[int, ...]) -> Container:
    module, _, attribute = CONTAINER_READERS[file.suffix].partition(":")
    container: Container = getattr(importlib.import_module(module), attribute)(file)
    return container


os.register_at_fork(after_in_child=_open.cache_clear)
