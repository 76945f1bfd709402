"""What a container promises and what the file holds, where libsndfile does not tell them apart.

libsndfile shortens a truncated file of most containers without a word and guesses the length of an MP3
stream that carries no count. These few bytes are therefore read here.
"""

from __future__ import annotations

import re
import struct
from typing import BinaryIO

# Chunks of a name and a size: how both are written, where the first lies, what holds the samples.
_CHUNKED = {
    b"RIFF": ("<4sI", 12, b"data"),
    b"FORM": (">4sI", 12, b"SSND"),
    b"caff": (">4sq", 8, b"data"),
}
_SPHERE_HEADER_BYTES = 1024
_SPHERE_COUNTS = (b"sample_count", b"sample_n_bytes", b"channel_count")
_SPHERE_FIELD = re.compile(rb"^(\w+) -i (\d{1,18})$", re.MULTILINE)
# Writers to a pipe put 0 or nearly the largest number where the size is not known yet.
_STREAMED_BYTES = 0x7FFF_0000
_OGG_PAGE_BYTES = 27
_ID3_HEADER_BYTES = 10
_LFS_POINTER = b"version https://git-lfs"


def container_problem(stream: BinaryIO) -> str | None:
    """Say why a file cannot hold what its container promises, or None; rewinds the stream."""
    head = stream.read(len(_LFS_POINTER))
    problem = None
    if head == _LFS_POINTER:
        problem = "a Git LFS pointer, not audio: git lfs pull fetches the file"
    elif head[:4] == b"OggS":
        problem = _ogg_problem(stream)
    elif head[:4] in _CHUNKED:
        problem = _chunk_problem(stream, *_CHUNKED[head[:4]])
    elif head[:4] == b".snd":
        problem = _au_problem(stream)
    elif head[:4] == b"riff":
        problem = _wave64_problem(stream)
    elif head[:7] == b"NIST_1A":
        problem = _sphere_problem(stream)
    stream.seek(0)
    return problem


def lacks_frame_count(stream: BinaryIO) -> bool:
    """Tell whether an MP3 stream, read from its first byte, carries no count of its frames."""
    head = stream.read(_ID3_HEADER_BYTES)
    first = 0
    if head[:3] == b"ID3" and len(head) == _ID3_HEADER_BYTES:
        # Four bytes of seven bits each (ID3v2, section 3.1).
        first = _ID3_HEADER_BYTES + sum(
            (byte & 127) << (7 * place) for place, byte in enumerate(reversed(head[6:10]))
        )
    stream.seek(first)
    frame = stream.read(2048)
    return not any(tag in frame for tag in (b"Xing", b"Info", b"VBRI"))


def _chunk_problem(stream: BinaryIO, header: str, first: int, samples: bytes) -> str | None:
    """Compare the size of the chunk of samples with the bytes that follow its header."""
    size, header_bytes = stream.seek(0, 2), struct.calcsize(header)
    position = first
    while position + header_bytes <= size:
        stream.seek(position)
        name, length = struct.unpack(header, stream.read(header_bytes))
        if name == samples:
            return _truncated(length, size - position - header_bytes)
        # RIFF and AIFF begin chunks at even bytes; CAF, with its 64-bit sizes, at any.
        position += header_bytes + max(length, 0) + (length % 2 if header_bytes == 8 else 0)
    return "truncated: a header without samples"


def _au_problem(stream: BinaryIO) -> str | None:
    """Compare the size of the samples in Sun's AU with the bytes from where they begin."""
    stream.seek(4)
    begin, length = struct.unpack(">II", stream.read(8).ljust(8, b"\0"))
    return _truncated(length, stream.seek(0, 2) - begin)


def _wave64_problem(stream: BinaryIO) -> str | None:
    """Compare the size of the whole file that Sony's Wave64 begins with."""
    stream.seek(16)
    (length,) = struct.unpack("<Q", stream.read(8).ljust(8, b"\0"))
    return _truncated(length, stream.seek(0, 2))


def _sphere_problem(stream: BinaryIO) -> str | None:
    """Compare what the text header of NIST SPHERE counts with the bytes after it."""
    stream.seek(0)
    head = stream.read(_SPHERE_HEADER_BYTES)
    found = dict(_SPHERE_FIELD.findall(head))
    count, width, channels = (int(found.get(name, 1)) for name in _SPHERE_COUNTS)
    if b"sample_count" not in found or b"shorten" in head:  # compressed, or not said
        return None
    return _truncated(count * width * channels, stream.seek(0, 2) - _SPHERE_HEADER_BYTES)


def _truncated(said: int, held: int) -> str | None:
    if held < said < _STREAMED_BYTES:
        return f"truncated: the header says {said} bytes of samples, the file holds {held}"
    return None


def _ogg_problem(stream: BinaryIO) -> str | None:
    """Compare the length of the last page with the bytes left for it (RFC 3533, section 6)."""
    size = stream.seek(0, 2)
    # The largest page has 255 segments of 255 bytes.
    stream.seek(max(0, size - _OGG_PAGE_BYTES - 255 - 255 * 255))
    tail = stream.read()
    page = tail[tail.rfind(b"OggS\0") :]
    segments = page[26] if len(page) >= _OGG_PAGE_BYTES else 255
    promised = _OGG_PAGE_BYTES + segments + sum(page[_OGG_PAGE_BYTES : _OGG_PAGE_BYTES + segments])
    if len(page) < promised:
        return f"truncated: the last page says {promised} bytes, the file holds {len(page)} of them"
    return None
