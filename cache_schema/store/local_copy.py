"""Chunks of caches from afar, kept in a folder of this machine for those who read them again and again.

A file is named by the SHA-256 that the cache's index has of the chunk, so that no other cache's and no
older one's is ever taken for it, and the reader compares what lies there with the index as it does what
comes from the store. Any number of processes may share a folder. A crash leaves nothing worse than a
file that is deleted in its turn: nothing is synced, as nothing is trusted.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import get_ident
from typing import IO

import numpy as np
from numpy.typing import NDArray

from cache_schema.errors import RunError, UsageError
from cache_schema.own_folder import check_own_folder
from cache_schema.store.files import PARTIAL_SUFFIX
from cache_schema.store.objects import Acquire, LocalObjects
from cache_schema.store.safe_open import open_for_writing

VARIABLE = "AFTERSOUND_LOCAL_COPY"
SUM = "sum"
_UNITS = {"MB": 10**6, "GB": 10**9, "TB": 10**12}
_VALUE = re.compile(rf"(.+):([0-9]+(?:\.[0-9]+)?)({'|'.join(_UNITS)})", re.DOTALL)
# Whatever else lies in the folder is not ours to count or delete.
_OURS = re.compile(rf"[0-9a-f]{{64}}(\.[0-9]+-[0-9]+{re.escape(PARTIAL_SUFFIX)})?")
# Room is made for a tenth of the limit at once: it takes a look at every file.
_ROOM_SHARE = 10
_DIGITS = 20  # of the sum
_FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True, slots=True)
class LocalCopy:
    """Chunks in a folder, at most so many bytes; those that were unread for longest are deleted."""

    folder: Path
    limit_bytes: int

    def read(self, digest: str, acquire: Acquire) -> NDArray[np.uint8]:
        """Read the chunk of a SHA-256 into memory that `acquire` gives; it may be anything.

        Raises
        ------
        OSError, RunError
            Where there is none, or it cannot be read.
        """
        data = LocalObjects(self.folder).get_into(digest, acquire)
        os.utime(self.folder / digest, follow_symlinks=False)
        return data

    def keep(self, digest: str, data: NDArray[np.uint8]) -> None:
        """Keep a chunk, if it fits into the limit and onto the disk.

        Raises
        ------
        RunError
            Kind ``"local copy"`` if the folder cannot be written any more.
        """
        if len(data) > self.limit_bytes:
            return
        partial = self.folder / f"{digest}.{os.getpid()}-{get_ident()}{PARTIAL_SUFFIX}"
        try:
            with self._reserved(partial, len(data)) as file:
                file.write(data.data)
            with self._locked_sum(), suppress(FileNotFoundError):  # others needed its room
                partial.replace(self.folder / digest)
        except OSError as error:
            if error.errno not in _FULL:
                raise _unusable(self.folder, error) from None
        finally:
            partial.unlink(missing_ok=True)

    def _reserved(self, partial: Path, size: int) -> IO[bytes]:
        """Open a file that counts with its full size at once, and make room for it."""
        partial.unlink(missing_ok=True)  # of a killed process that had this number
        with self._locked_sum() as descriptor:
            text = os.pread(descriptor, _DIGITS, 0)
            total = int(text) if text.isdigit() else None
            if total is None or total + size > self.limit_bytes:
                total = self._deleted_down_to(self.limit_bytes - size)
            os.pwrite(descriptor, f"{total + size:0{_DIGITS}d}".encode(), 0)
            file = open_for_writing(partial, "xb")
            file.truncate(size)
            return file

    @contextmanager
    def _locked_sum(self) -> Iterator[int]:
        """Hold the file with the sum of all sizes; no other thread or process adds or renames files."""
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(self.folder / SUM, flags, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield descriptor
        finally:
            os.close(descriptor)

    def _deleted_down_to(self, most_bytes: int) -> int:
        """Sum up what is there, and delete the oldest if it is more; gives the bytes that are left."""
        found = []
        for entry in os.scandir(self.folder):
            if _OURS.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                with suppress(FileNotFoundError):  # of a writer that gave up
                    facts = entry.stat(follow_symlinks=False)
                    found.append((facts.st_mtime_ns, facts.st_size, entry.path))
        left = sum(size for _, size, _ in found)
        if left <= most_bytes:
            return left
        for _, size, path in sorted(found):
            if left <= max(most_bytes - self.limit_bytes // _ROOM_SHARE, 0):
                break
            Path(path).unlink(missing_ok=True)
            left -= size
        return left


def local_copy() -> LocalCopy | None:
    """The folder that the environment names; None without one.

    Raises
    ------
    UsageError, RunError
        Kind ``"local copy"`` if it names none, or one that cannot be written.
    """
    text = os.environ.get(VARIABLE, "")
    if not text:
        return None
    found = _VALUE.fullmatch(text)
    if found is None:
        raise UsageError(
            f"{VARIABLE} is {text!r}, expected a folder and the most that it may hold in "
            f"{', '.join(_UNITS)}: {VARIABLE}=/scratch/chunks:200GB",
            kind="local copy",
        )
    folder = Path(os.path.expanduser(found[1])).resolve()
    check_own_folder(folder, "folder of chunks", VARIABLE, (SUM,), option=VARIABLE)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        copy = LocalCopy(folder, int(float(found[2]) * _UNITS[found[3]]))
        with copy._locked_sum():
            return copy
    except OSError as error:
        raise _unusable(folder, error) from None


def _unusable(folder: Path, error: OSError) -> RunError:
    return RunError(
        f"{VARIABLE} names {folder}, which cannot be written ({error.strerror}). Name a folder that "
        "can, or leave it out: every chunk is then read from afar",
        kind="local copy",
    )
