"""The bytes of a recording, of a file, an object or a container's member, as a decoder requests them.

A decoder in C cannot learn that a disk failed: it would take the file for truncated. So a `Source`
keeps what failed and raises it when the decoder is done. What a disk, a network or the memory refuses is
an ``OSError``, ``MemoryError`` or ``RunError`` and never a finding about the recording.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from cache_schema.errors import RunError
from cache_schema.git_lfs import POINTER, is_pointer
from cache_schema.store.address import Address, CachePath
from cache_schema.store.remote_file import RemoteFile
from cache_schema.truncation import LAST_TAG_BYTES
from pipeline.audio.members import MemberProblem, read_member, split_member

# The digest of a file above this size is taken once, however many windows of it are decoded.
_LARGE_BYTES = 16 << 20
_MAX_DIGESTS = 1 << 14
_BLOCK_BYTES = 1 << 20
# A path that leads nowhere is a fault of the listing.
_NOWHERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG)

NO_OBJECT = "cannot be read: no such object"
Identity = tuple[int | str, ...]

_large_digests: dict[Identity, str] = {}


class SourceProblem(Exception):  # noqa: N818 - a finding about a file, not a failure of the program
    """There is nothing to decode; the message holds no machine path."""


class Source(io.RawIOBase):
    """Seekable bytes to read, as if they began at `begin` and held `patches`.

    Attributes
    ----------
    begin : int
        Bytes left out at the beginning.
    patches : dict of int to bytes
        What stands at a place instead of what is stored, placed as from `begin`.
    claimed_bytes : int
        Bytes that it claims to have behind its end, for a decoder that guesses a length from its size
        and stops there. Nothing is read of them but a last, empty tag.
    """

    def __init__(self, file: BinaryIO, head_bytes: int = 0) -> None:
        super().__init__()
        self.begin = 0
        self.patches: dict[int, bytes] = {}
        self.claimed_bytes = 0
        self._file, self._head_bytes = file, head_bytes
        self._identity = _identity(file)
        self._bytes = file.seek(0, os.SEEK_END)
        self._position = 0
        self._failure: BaseException | None = None

    @property
    def size(self) -> int:
        """Bytes from `begin` to the end."""
        return self._bytes - self.begin

    def readable(self) -> bool:
        """Return that it can be read."""
        return True

    def seekable(self) -> bool:
        """Return that it can be moved in."""
        return True

    def tell(self) -> int:
        """Return the position."""
        return self._position

    def seek(self, position: int, whence: int = os.SEEK_SET, /) -> int:
        """Move; no further than either end, where damaged offsets lead."""
        end = self.size + self.claimed_bytes
        base = (0, self._position, end)[whence]
        self._position = min(max(0, base + position), end)
        return self._position

    def read(self, size: int = -1, /) -> bytes:
        """Read so many bytes, or all that are left."""
        return super().read(size) or b""

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Fill a buffer; a failure reads nothing and is kept."""
        if self._failure is not None:
            return 0
        if self._position >= self.size:
            return self._read_claimed(buffer)
        try:
            self._file.seek(self.begin + self._position)
            count = self._file.readinto(buffer)  # type: ignore[attr-defined]
        except (OSError, MemoryError, RunError, KeyboardInterrupt) as error:
            self._failure = error
            return 0
        for place, patch in self.patches.items():
            first, last = (
                max(place, self._position),
                min(place + len(patch), self._position + count),
            )
            if first < last:
                here = slice(first - self._position, last - self._position)
                buffer[here] = patch[first - place : last - place]
        self._position += count
        return int(count)

    def _read_claimed(self, buffer: memoryview) -> int:
        left = self.size + self.claimed_bytes - self._position
        count = min(left, len(buffer)) if left <= LAST_TAG_BYTES else 0
        buffer[:count] = bytes(count)
        self._position += count
        return count

    def digest(self) -> str:
        """SHA-256 of what is stored, without patches and the head of a member.

        Raises
        ------
        OSError
            If it cannot be read, or was replaced or written to since it was opened.
        RunError
            If an object cannot be reached.
        """
        if self._identity != _identity(self._file):
            raise OSError(errno.ESTALE, "it was changed while it was read")
        large = self._bytes > _LARGE_BYTES and self._identity
        if large and (known := _large_digests.get(large)):
            return known
        self._file.seek(self._head_bytes)
        digest = hashlib.sha256()
        while block := self._file.read(_BLOCK_BYTES):
            digest.update(block)
        if large:
            if len(_large_digests) >= _MAX_DIGESTS:
                _large_digests.clear()
            _large_digests[large] = digest.hexdigest()
        return digest.hexdigest()

    @contextmanager
    def place_kept(self) -> Iterator[None]:
        """Look elsewhere in the bytes; the decoder goes on where it was."""
        position = self._position
        yield
        self._position = position

    def raise_failure(self) -> None:
        """Raise what failed while a decoder read."""
        if self._failure is not None:
            raise self._failure

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        super().close()


@contextmanager
def open_source(path: CachePath) -> Iterator[Source]:
    """Open a file, an object or the member of a container.

    Raises
    ------
    SourceProblem
        If there is nothing at the path, or nothing in it.
    OSError, MemoryError, RunError
        If it is there and could not be read, whatever a decoder made of that.
    """
    with _source(path) as source:
        try:
            yield source
        finally:
            source.raise_failure()


def _source(path: CachePath) -> Source:
    if not isinstance(path, Path):
        return Source(_object(path))
    if split_member(path) is None:
        return Source(_file(path))
    try:
        head, content = read_member(path)
    except MemberProblem as problem:
        raise SourceProblem(str(problem)) from None
    except OSError as error:
        if error.errno in _NOWHERE:
            raise SourceProblem("its container is not there") from None
        raise
    if not content:
        raise SourceProblem("the file is empty (0 bytes)")
    return Source(io.BytesIO(head + content), len(head))


def _file(path: Path) -> BinaryIO:
    try:
        facts = path.stat()
        if not stat.S_ISREG(facts.st_mode):
            raise SourceProblem("not a file that can be read (a folder or a device)")
        if not facts.st_size:
            raise SourceProblem("the file is empty (0 bytes)")
        if is_pointer(path):
            raise SourceProblem(POINTER)
        return path.open("rb")
    except OSError as error:
        if error.errno in _NOWHERE:
            raise SourceProblem(f"cannot be read: {os.strerror(error.errno).lower()}") from None
        raise


def _object(address: Address) -> BinaryIO:
    try:
        found = RemoteFile(address)
    except FileNotFoundError:
        raise SourceProblem(NO_OBJECT) from None
    if not found.size:
        raise SourceProblem("the file is empty (0 bytes)")
    return cast(BinaryIO, found)


def _identity(file: BinaryIO) -> Identity:
    """What distinguishes a file from a later version; nothing of bytes in memory."""
    if isinstance(file, io.BytesIO):
        return ()
    if known := getattr(file, "identity", ()):  # an object's
        return tuple(known)
    facts = os.fstat(file.fileno())
    return facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns
