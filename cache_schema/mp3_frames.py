"""The frames of an MP3: where the first lies, how many a header counts, and whether more follow.

libsndfile finds a first frame behind other bytes by the file's name only, guesses the length of a stream
that carries no count, and ends with the frames that are counted.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from cache_schema.recording_heads import Stream, head_at, several_files, several_streams

_ID3_HEADER_BYTES = 10
_ID3V1_BYTES = 128
_APE_HEADER_BYTES = 32
# MPEG audio, layer III (ISO 11172-3, 13818-3, and 2.5): kbit/s by index, and Hz by version and index.
_KBITS = {
    3: (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    2: (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES_HZ = {
    3: (44_100, 48_000, 32_000),
    2: (22_050, 24_000, 16_000),
    0: (11_025, 12_000, 8_000),
}
_VERSION, _RATE, _MONO = 0x18, 0x0C, 0xC0  # bits of a header's second to fourth byte
_FRAMES_IN_A_ROW = 3
_FRAME_BEGINS = re.compile(rb"\xff")  # most bytes of most recordings are none
# The lowest flag means that a count follows; 0 is none. The decoder reads no other form.
_COUNT_OF_FRAMES = re.compile(
    rb"(?:Xing|Info)...([\x01\x03\x05\x07\x09\x0b\x0d\x0f])(?!\0\0\0\0)(.{0,4})(.{0,4})", re.DOTALL
)
_BYTES_ARE_COUNTED = 2  # flag
_SEARCHED_FOR_COUNT_BYTES = 2048
_COUNT_ENDS_WITHIN_BYTES = (
    4 + 2 + 32 + 16
)  # header, CRC, side information; name, flags, two numbers
# Bytes before the first frame, besides its tags.
_MAX_JUNK_BYTES = 1 << 20


class _Count(NamedTuple):
    """Place of the first frame, what it counts, 0 bytes if none, and the place of that number."""

    place: int
    frames: int
    size: int
    size_place: int


def counts_frames(stream: Stream) -> bool:
    """Return whether a stream, read from its first byte, carries a count of its frames."""
    return _count(stream) is not None


def joined_behind_count(stream: Stream) -> str:
    """Return why more follows the frames that the first one counts; empty if nothing does.

    The bytes that it counts are believed where no frame lies behind them; else the frames are.
    """
    count = _count(stream)
    if count is None:
        return ""
    if count.size:
        end = behind_tags(stream, count.place + count.size)
        if head_at(stream, end):
            return several_files(end)
        if first_mp3_frame(stream, end) is None:
            return ""
    behind = _behind_frames(stream, count)
    if behind is None:
        return ""
    behind = behind_tags(stream, behind)
    if head_at(stream, behind):
        return several_files(behind)
    if first_mp3_frame(stream, behind) is None:
        return ""
    return f"more frames than its header counts, as of {several_streams('MP3')}"


def _behind_frames(stream: Stream, count: _Count) -> int | None:
    """Place behind as many frames as are counted; None if they do not follow one another."""
    place = count.place
    for _ in range(1 + count.frames):  # the first holds the count
        stream.seek(place)
        step = _frame_bytes(stream.read(4))
        if not step:
            return None
        place += step
    return place


def joined_to_mp3(stream: Stream) -> str:
    """Return why decoding ends before an MP3 does, that counts no frames; empty if it need not.

    Frames of another rate or number of channels follow the first ones, or another file does.
    """
    place, forms = first_mp3_frame(stream), set()
    while place is not None:
        stream.seek(place)
        header = stream.read(4)
        step = _frame_bytes(header)
        if not step:
            behind = behind_tags(stream, place)
            if head_at(stream, behind):
                return several_files(behind)
            place = first_mp3_frame(stream, place)
            continue
        forms.add((header[1] & _VERSION, header[2] & _RATE, header[3] & _MONO == _MONO))
        if len(forms) > 1:  # of frames, and not of a tag's bytes by chance
            return several_streams("MP3") if first_mp3_frame(stream, place) == place else ""
        place += step
    return ""


def true_byte_count(stream: Stream) -> dict[int, bytes]:
    """The bytes there are, by the place of a count of them that differs, as with a tag behind them.

    The decoder has no use for it, but warns of it on the process' own stderr, without a name. With them
    in place `joined_behind_count` finds nothing more.
    """
    count = _count(stream)
    if count is None or not count.size or count.place != behind_tags(stream):
        return {}
    end = stream.seek(0, 2)
    stream.seek(max(0, end - _ID3V1_BYTES))
    if stream.read(3) == b"TAG":  # the decoder takes it off
        end -= _ID3V1_BYTES
    size = end - count.place
    if size == count.size:
        return {}
    return {count.size_place: min(size, (1 << 32) - 1).to_bytes(4)}


def mp3_begins(stream: Stream, place: int) -> bool:
    """Return whether frames begin at a place, or right behind tags there."""
    behind = behind_tags(stream, place)
    stream.seek(behind)
    return stream.read(1) == b"\xff" and first_mp3_frame(stream, behind) == behind


def first_mp3_frame(stream: Stream, place: int = 0) -> int | None:
    """Place of the first of three frames in a row behind tags, zeros or junk; None without any."""
    begin = behind_tags(stream, place)
    stream.seek(begin)
    content = stream.read(_MAX_JUNK_BYTES)
    place = content.find(b"\xff")
    while place >= 0:
        last = place
        for _ in range(_FRAMES_IN_A_ROW):
            step = _frame_bytes(content[last : last + 4])
            last += step
            if not step:
                break
        else:
            return begin + place
        place = content.find(b"\xff", place + 1)
    return None


def behind_tags(stream: Stream, place: int = 0) -> int:
    """Place of the first byte behind ID3 and APEv2 tags, from a place on."""
    while True:
        stream.seek(place)
        head = stream.read(_APE_HEADER_BYTES)
        if head[:3] == b"ID3" and len(head) >= _ID3_HEADER_BYTES:
            # Four bytes of seven bits each (ID3v2, section 3.1).
            place += _ID3_HEADER_BYTES + sum(
                (byte & 127) << (7 * digit) for digit, byte in enumerate(reversed(head[6:10]))
            )
        elif head[:8] == b"APETAGEX" and len(head) == _APE_HEADER_BYTES:
            place += _APE_HEADER_BYTES + int.from_bytes(head[12:16], "little")
        elif head[:3] == b"TAG":  # the end of a stream that another follows
            place += _ID3V1_BYTES
        else:
            return place


def _count(stream: Stream) -> _Count | None:
    """What the first frame counts, if it does."""
    begin = behind_tags(stream)
    stream.seek(begin)
    content = stream.read(_SEARCHED_FOR_COUNT_BYTES)
    begins = (found.start() for found in _FRAME_BEGINS.finditer(content))
    place = next((at for at in begins if _frame_bytes(content[at : at + 4])), 0)
    found = _COUNT_OF_FRAMES.search(content, place, place + _COUNT_ENDS_WITHIN_BYTES)
    if found is None:
        return None
    flags, frames, size = (int.from_bytes(field) for field in found.groups())
    size = size if flags & _BYTES_ARE_COUNTED else 0
    return _Count(begin + place, frames, size, begin + found.start(3))


def _frame_bytes(header: bytes) -> int:
    """Bytes of the layer-III frame that these four begin; 0 if they begin none."""
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE6 != 0xE2:
        return 0
    version, kbits, rate = header[1] >> 3 & 3, header[2] >> 4, header[2] >> 2 & 3
    if version == 1 or kbits in (0, 15) or rate == 3:
        return 0
    bits_per_s = 1000 * _KBITS[3 if version == 3 else 2][kbits - 1]
    samples = 1152 if version == 3 else 576
    return samples // 8 * bits_per_s // _RATES_HZ[version][rate] + (header[2] >> 1 & 1)
