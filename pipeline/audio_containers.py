"""What a container promises and what the file holds, where libsndfile does not tell them apart.

libsndfile shortens a truncated WAV or Ogg file without a word and guesses the length of an MP3
stream that carries no count. These few bytes are therefore read here.
"""

from __future__ import annotations

import struct
from typing import BinaryIO

_RIFF_HEADER_BYTES = 12
_CHUNK_HEADER_BYTES = 8
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
    elif head[:4] == b"RIFF" and head[8:12] == b"WAVE":
        problem = _wav_problem(stream)
    elif head[:4] == b"OggS":
        problem = _ogg_problem(stream)
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


def _wav_problem(stream: BinaryIO) -> str | None:
    """Compare the size of the data chunk with the bytes that follow it."""
    size = stream.seek(0, 2)
    position = _RIFF_HEADER_BYTES
    while position + _CHUNK_HEADER_BYTES <= size:
        stream.seek(position)
        name, length = struct.unpack("<4sI", stream.read(_CHUNK_HEADER_BYTES))
        held = size - position - _CHUNK_HEADER_BYTES
        if name == b"data":
            if held < length < _STREAMED_BYTES:
                return (
                    f"truncated: the header says {length} bytes of samples, the file holds {held}"
                )
            return None
        position += _CHUNK_HEADER_BYTES + length + length % 2
    return "truncated: a WAV header without samples"


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
