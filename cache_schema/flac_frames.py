"""The frames of a FLAC (RFC 9639): whether more follow those that were decoded, or another file does.

libsndfile takes whatever lies behind the last frame of a FLAC without a count, as a tag, for damage, and
ends with the frames of one that counts them.
"""

from __future__ import annotations

import re

from cache_schema.mp3_frames import behind_tags
from cache_schema.recording_heads import (
    Stream,
    found_behind,
    several_files,
    several_streams,
    wave_behind,
)

# The first block of metadata has 34 bytes; bytes 4 to 6 of them are the block size of a stream where
# all blocks have one.
_HEAD = re.compile(rb"fLaC[\x00\x80]\0\0\x22")
_HEAD_BYTES = 8
_SYNC = re.compile(rb"\xff[\xf8\xf9]")
_LONGEST_HEADER_BYTES = 16
_LAST_METADATA = 0x80  # flag
_READ_AHEAD_BYTES = 1 << 16  # of the decoder, at most
_SEARCHED_BYTES = 1 << 24
_CRC8 = 0x107


def joined_to_flac(stream: Stream) -> str:
    """Return why not all of a FLAC file is decoded: another, or a WAV, is behind it; else empty."""
    begin = behind_tags(stream)
    if found_behind(stream, _HEAD, begin + _HEAD_BYTES) is not None:
        return several_streams("FLAC")
    # Its metadata may hold the head of the WAV that it was made of.
    second = wave_behind(stream, _first_frame(stream, begin + 4))
    return "" if second is None else several_files(second)


def flac_goes_on(stream: Stream, samples: int) -> bool:
    """Return whether a frame of samples behind the first `samples` lies where a decoder has stopped."""
    stopped = stream.seek(0, 1)
    begin = behind_tags(stream)
    stream.seek(begin)
    head = stream.read(_HEAD_BYTES + 4)
    block_samples = int.from_bytes(head[_HEAD_BYTES : _HEAD_BYTES + 2])
    first = _first_frame(stream, begin + 4)
    stream.seek(first)
    form = stream.read(3)[2:]  # codes of block size and rate
    stream.seek(max(first, stopped - _READ_AHEAD_BYTES))
    content = stream.read(_SEARCHED_BYTES)
    for sync in _SYNC.finditer(content):
        header = content[sync.start() : sync.start() + _LONGEST_HEADER_BYTES]
        number = _number(header)
        if number is None:
            continue
        first_sample = number * (block_samples if header[1] == 0xF8 else 1)
        # Only the last frame may have another block size.
        if header[2:3] == form and first_sample >= samples:
            return True
        if header[2] & 15 == form[0] & 15 and first_sample == samples:
            return True
    return False


def _first_frame(stream: Stream, place: int) -> int:
    """Place behind the blocks of metadata that begin at a place."""
    last = 0
    while not last:
        stream.seek(place)
        header = stream.read(4)
        last = header[0] & _LAST_METADATA if header else 1
        place += 4 + int.from_bytes(header[1:])
    return place


def _number(header: bytes) -> int | None:
    """Number that a frame's header codes, of the frame or its first sample; None if it is none."""
    if len(header) <= 5:
        return None
    ones = 8 - (header[4] ^ 0xFF).bit_length()  # as UTF-8 counts its bytes
    if ones in (1, 8):
        return None
    more = max(0, ones - 1)
    block_bytes = {6: 1, 7: 2}.get(header[2] >> 4, 0)
    rate_bytes = {12: 1, 13: 2, 14: 2}.get(header[2] & 15, 0)
    length = 5 + more + block_bytes + rate_bytes
    if len(header) <= length or _crc8(header[: length + 1]):
        return None
    number = header[4] & (0x7F >> ones)
    for byte in header[5 : 5 + more]:
        number = number << 6 | byte & 63
    return number


def _crc8(content: bytes) -> int:
    """Remainder of the CRC-8 of a frame's header; 0 of a header with its own."""
    remainder = 0
    for byte in content:
        remainder ^= byte
        for _ in range(8):
            remainder <<= 1
            if remainder & 0x100:
                remainder ^= _CRC8
    return remainder
