"""A file on an object store or a web server, read in blocks as a decoder requests them."""

from __future__ import annotations

import errno
import io
import os
from collections import OrderedDict

from cache_schema.store.address import Address
from cache_schema.store.cloud import CloudObjects, Part

# Most recordings are one block, which is one request.
BLOCK_BYTES = 1 << 20
_KEPT_BLOCKS = 16


class RemoteFile(io.RawIOBase):
    """Seekable bytes of an object.

    Parameters
    ----------
    address : Address
        Of the object.

    Attributes
    ----------
    size : int
        Its bytes.
    identity : tuple of str
        What distinguishes it from a later version.

    Raises
    ------
    FileNotFoundError
        If it is not there.
    RunError
        If it cannot be reached.
    """

    def __init__(self, address: Address) -> None:
        super().__init__()
        self._objects, self._key = CloudObjects(address.parent), address.name
        self._blocks: OrderedDict[int, bytes] = OrderedDict()
        self._position = 0
        first = self._objects.get_part(self._key, 0, BLOCK_BYTES)
        self.size, self.identity = first.size, (str(address), first.version)
        self._whole = first.data if len(first.data) == first.size else None
        self._blocks[0] = first.data

    def readable(self) -> bool:
        """Return that it can be read."""
        return True

    def seekable(self) -> bool:
        """Return that it can be moved in."""
        return True

    def seek(self, position: int, whence: int = os.SEEK_SET, /) -> int:
        """Move to a place in it."""
        self._position = (0, self._position, self.size)[whence] + position
        return self._position

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Fill a buffer with what one block has of it.

        Raises
        ------
        OSError
            If the object was replaced since it was opened, or is no longer there.
        RunError
            If it cannot be reached.
        """
        number, start = divmod(self._position, BLOCK_BYTES)
        data = self._block(number) if self._whole is None else self._whole
        start = start if self._whole is None else self._position
        found = data[start : start + len(buffer)]
        buffer[: len(found)] = found
        self._position += len(found)
        return len(found)

    def _block(self, number: int) -> bytes:
        if number not in self._blocks:
            part = self._part(number * BLOCK_BYTES)
            self._blocks[number] = part.data
            if len(self._blocks) > _KEPT_BLOCKS:
                self._blocks.popitem(last=False)
        return self._blocks[number]

    def _part(self, start: int) -> Part:
        part = self._objects.get_part(self._key, start, BLOCK_BYTES)
        if start < self.size and part.version != self.identity[1]:
            raise OSError(errno.ESTALE, "it was changed while it was read")
        return part
