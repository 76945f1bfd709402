"""What a container promises and what the file holds, where libsndfile does not tell them apart.

libsndfile shortens a truncated file of most containers without a word, takes some of the sizes that a
writer to a pipe leaves in a header for true, guesses the length of an MP3 stream that carries no count,
and finds an MP3's first frame behind other bytes by the file's name only. These few bytes are therefore
read here.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

# Chunks of a name and a size: how both are written, where the first lies, what holds the samples.
_CHUNKED = {
    b"RIFF": ("<4sI", 12, b"data"),
    b"RIFX": (">4sI", 12, b"data"),
    b"RF64": ("<4sI", 12, b"data"),
    b"FORM": (">4sI", 12, b"SSND"),
    b"caff": (">4sq", 8, b"data"),
}
_SVX = (b"8SVX", b"16SV")
_AIFF_OFFSETS_BYTES = 8  # two numbers before the samples
_WAVE64_HEADER_BYTES = 24  # of a chunk; its size counts them
_SPHERE_HEADER_BYTES = 1024
_SPHERE_COUNTS = (b"sample_count", b"sample_n_bytes", b"channel_count")
_SPHERE_FIELD = re.compile(rb"^(\w+) -i (\d{1,18})$", re.MULTILINE)
# Writers to a pipe put 0, a round number or nearly the largest one where the size is not known yet.
_STREAMED_BYTES = 2_000_000_000 - 4096
_STREAMED_IN_64_BITS = (0x7FFF_FFFF, 0xFFFF_FFFF)
_OGG_PAGE_BYTES = 27
_ID3_HEADER_BYTES = 10
_APE_HEADER_BYTES = 32
_LFS_POINTER = b"version https://git-lfs"
# MPEG audio, layer III (ISO 11172-3, 13818-3, and 2.5): kbit/s by index, and Hz by version and index.
_MP3_KBITS = {
    3: (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    2: (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_MP3_RATES_HZ = {
    3: (44_100, 48_000, 32_000),
    2: (22_050, 24_000, 16_000),
    0: (11_025, 12_000, 8_000),
}
_MP3_FRAMES_IN_A_ROW = 3
# Bytes before an MP3's first frame, besides its tags.
_MOST_JUNK_BYTES = 1 << 20


class Stream(Protocol):
    """Bytes to read and to move in."""

    def read(self, size: int = -1, /) -> bytes:
        """Read so many bytes, or all that are left."""
        ...

    def seek(self, position: int, whence: int = 0, /) -> int:
        """Move; returns the place."""
        ...


@dataclass(frozen=True, slots=True)
class Extent:
    """What a container says of its samples' extent.

    Attributes
    ----------
    problem : str
        Why the file cannot hold what is promised; empty if it can.
    patches : mapping of int to bytes
        The true sizes, by place, where the header has none: the samples go on to the end of the file.
    """

    problem: str = ""
    patches: Mapping[int, bytes] = field(default_factory=dict)


def container_extent(stream: Stream) -> Extent:
    """Compare what a file's container promises with the file; rewinds the stream."""
    head = stream.read(len(_LFS_POINTER))
    extent = Extent()
    if head == _LFS_POINTER:
        extent = Extent("a Git LFS pointer, not audio: git lfs pull fetches the file")
    elif head[:4] == b"OggS":
        extent = Extent(_ogg_problem(stream))
    elif head[:4] in _CHUNKED:
        layout, first, samples = _CHUNKED[head[:4]]
        extent = _chunk_extent(stream, layout, first, b"BODY" if head[8:12] in _SVX else samples)
    elif head[:4] == b".snd":
        extent = _au_extent(stream)
    elif head[:4] == b"riff":
        extent = _wave64_extent(stream)
    elif head[:7] == b"NIST_1A":
        extent = Extent(_sphere_problem(stream))
    stream.seek(0)
    return extent


def lacks_frame_count(stream: Stream) -> bool:
    """Tell whether an MP3 stream, read from its first byte, carries no count of its frames."""
    stream.seek(_behind_tags(stream))
    frame = stream.read(2048)
    return not any(tag in frame for tag in (b"Xing", b"Info", b"VBRI"))


def first_mp3_frame(stream: Stream) -> int | None:
    """Place of the first of three MP3 frames in a row behind tags, zeros or junk; None without any."""
    begin = _behind_tags(stream)
    stream.seek(begin)
    content = stream.read(_MOST_JUNK_BYTES)
    place = content.find(b"\xff")
    while place >= 0:
        last = place
        for _ in range(_MP3_FRAMES_IN_A_ROW):
            step = _mp3_frame_bytes(content[last : last + 4])
            last += step
            if not step:
                break
        else:
            return begin + place
        place = content.find(b"\xff", place + 1)
    return None


def _mp3_frame_bytes(header: bytes) -> int:
    """Bytes of the layer-III frame that these four begin; 0 if they begin none."""
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE6 != 0xE2:
        return 0
    version, kbits, rate = header[1] >> 3 & 3, header[2] >> 4, header[2] >> 2 & 3
    if version == 1 or kbits in (0, 15) or rate == 3:
        return 0
    bits_per_s = 1000 * _MP3_KBITS[3 if version == 3 else 2][kbits - 1]
    samples = 1152 if version == 3 else 576
    return samples // 8 * bits_per_s // _MP3_RATES_HZ[version][rate] + (header[2] >> 1 & 1)


def _behind_tags(stream: Stream) -> int:
    """Place of the first byte behind ID3v2 and APEv2 tags at the beginning."""
    place = 0
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
        else:
            return place


def _chunk_extent(stream: Stream, layout: str, first: int, samples: bytes) -> Extent:
    """Compare the size of the chunk of samples with the bytes that follow its header."""
    size, header_bytes = stream.seek(0, 2), struct.calcsize(layout)
    position, sizes_64 = first, 0
    while position + header_bytes <= size:
        stream.seek(position)
        name, length = struct.unpack(layout, stream.read(header_bytes))
        begin = position + header_bytes
        if name == samples and sizes_64 and length == 0xFFFF_FFFF:
            return _rf64_extent(stream, sizes_64, size, size - begin)
        if name == samples:
            before = _AIFF_OFFSETS_BYTES if name == b"SSND" else 0
            closed = header_bytes == 8 and _is_closed(stream, layout, size)
            place = (position + 4, layout[0] + layout[-1])
            return _extent(length - before, size - begin - before, closed, {place: before})
        if name == b"ds64":
            sizes_64 = begin
        # RIFF and AIFF begin chunks at even bytes; CAF, with its 64-bit sizes, at any.
        position = begin + max(length, 0) + (length % 2 if header_bytes == 8 else 0)
    return Extent("truncated: a header without samples")


def _is_closed(stream: Stream, layout: str, size: int) -> bool:
    """Tell whether the size of the whole, in RIFF and AIFF, is that of the file: it was finished."""
    stream.seek(0)
    _, length = struct.unpack(layout, stream.read(8))
    return length + 8 in (size - 1, size)


def _rf64_extent(stream: Stream, sizes: int, size: int, held: int) -> Extent:
    """Compare the size of the samples in an RF64's ``ds64`` with the bytes there are."""
    stream.seek(sizes)
    whole, length = struct.unpack("<QQ", stream.read(16).ljust(16, b"\0"))
    places = {(sizes, "<Q"): size - 8 - held, (sizes + 8, "<Q"): 0}
    return _extent(length, held, whole + 8 == size, places)


def _au_extent(stream: Stream) -> Extent:
    """Compare the size of the samples in Sun's AU with the bytes from where they begin."""
    stream.seek(4)
    begin, length = struct.unpack(">II", stream.read(8).ljust(8, b"\0"))
    return _extent(length, stream.seek(0, 2) - begin, False, {(8, ">I"): 0})


def _wave64_extent(stream: Stream) -> Extent:
    """Compare the size of the chunk of samples in Sony's Wave64 with the bytes that follow."""
    size, position = stream.seek(0, 2), 40
    while position + _WAVE64_HEADER_BYTES <= size:
        stream.seek(position)
        name, length = struct.unpack("<16sQ", stream.read(_WAVE64_HEADER_BYTES))
        if name.startswith(b"data"):
            held = size - position - _WAVE64_HEADER_BYTES
            places = {(16, "<Q"): size - held, (position + 16, "<Q"): _WAVE64_HEADER_BYTES}
            return _extent(length - _WAVE64_HEADER_BYTES, held, False, places)
        position += max(_WAVE64_HEADER_BYTES, -(-length // 8) * 8)
    return Extent("truncated: a header without samples")


def _extent(said: int, held: int, closed: bool, places: Mapping[tuple[int, str], int]) -> Extent:
    """Judge the bytes of samples that a header says and the file holds.

    `places` has, for each place and form of a size, what it counts besides the samples; `closed` says
    that the header was finished, so that a size of 0 is meant.
    """
    if any(form[-1] in "qQ" for _, form in places):
        numbers = {said + more for more in places.values()}
        streamed = said < 0 or said >= 1 << 62 or not numbers.isdisjoint(_STREAMED_IN_64_BITS)
    else:
        streamed = said >= _STREAMED_BYTES
    if held > 0 and ((streamed and said != held) or (said <= 0 and not closed)):
        largest = {"I": (1 << 32) - 1, "q": (1 << 63) - 1, "Q": (1 << 64) - 1}
        return Extent(
            patches={
                place: struct.pack(form, min(held + more, largest[form[-1]]))
                for (place, form), more in places.items()
            }
        )
    if held < said:
        return Extent(
            f"truncated: the header says {said} bytes of samples, the file holds {max(held, 0)}"
        )
    return Extent()


def _sphere_problem(stream: Stream) -> str:
    """Compare what the text header of NIST SPHERE counts with the bytes after it."""
    stream.seek(0)
    head = stream.read(_SPHERE_HEADER_BYTES)
    found = dict(_SPHERE_FIELD.findall(head))
    count, width, channels = (int(found.get(name, 1)) for name in _SPHERE_COUNTS)
    if b"sample_count" not in found or b"shorten" in head:  # compressed, or not said
        return ""
    return _extent(
        count * width * channels, stream.seek(0, 2) - _SPHERE_HEADER_BYTES, True, {}
    ).problem


def _ogg_problem(stream: Stream) -> str:
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
    return ""
