"""What a container declares and what the file holds, where libsndfile does not distinguish them.

libsndfile shortens a truncated file of most containers without a word, takes some of the sizes that a
writer to a pipe leaves in a header for true, guesses the length of an MP3 stream that carries no count,
and finds an MP3's first frame behind other bytes by the file's name only. These few bytes are therefore
read here.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

# Rates that a header may declare: outside them a small file would be hours long.
MIN_RATE_HZ, MAX_RATE_HZ = 1_000, 1_000_000
# Full scale of samples that were stored as 32-bit integers; views multiply what is below it.
MAX_SAMPLE = 2.0**31
# What libsndfile reports where a header counts no frames is 2^63 - 1.
UNCOUNTED_FRAMES = 1 << 62
# What a file without a count claims to hold, where a decoder stops at a length that it guesses from the
# size; in its last bytes that decoder looks for a tag.
CLAIMED_BYTES = 1 << 40
LAST_TAG_BYTES = 128  # ID3v1

# Chunks of a name and a size: how both are written, where the first lies, what holds the samples.
_CHUNKED = {
    b"RIFF": ("<4sI", 12, b"data"),
    b"RIFX": (">4sI", 12, b"data"),
    b"RF64": ("<4sI", 12, b"data"),
    b"FORM": (">4sI", 12, b"SSND"),
    b"caff": (">4sq", 8, b"data"),
}
NO_SAMPLES = "the file holds no samples (0 frames)"
_SVX = (b"8SVX", b"16SV")
_AIFF_OFFSETS_BYTES = 8  # two numbers before the samples
_WAVE64_LAYOUT = "<16sQ"
_WAVE64_HEADER_BYTES = 24
# By the bytes of a chunk's header: those that its size counts, and where the next may begin. RIFF
# and AIFF begin chunks at even bytes; CAF, with its 64-bit sizes, at any; Wave64 at every eighth.
_COUNTED_AND_STEP = {8: (0, 2), 12: (0, 1), _WAVE64_HEADER_BYTES: (_WAVE64_HEADER_BYTES, 8)}
_SPHERE_HEADER_BYTES = 1024
_SPHERE_COUNTS = (b"sample_count", b"sample_n_bytes", b"channel_count")
_SPHERE_FIELD = re.compile(rb"^(\w+) -i (\d{1,18})$", re.MULTILINE)
# Writers to a pipe put 0, a round number or nearly the largest one where the size is not known yet.
_STREAMED_BYTES = 2_000_000_000 - 4096
_STREAMED_IN_64_BITS = (0x7FFF_FFFF, 0xFFFF_FFFF)
_OGG_PAGE_BYTES = 27
_OGG_FIRST_PAGE = 2  # flag of a stream's first page
_MAX_OGG_STREAMS = 64
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
# The lowest flag means that a count follows; 0 is none. The decoder reads no other form.
_COUNT_OF_FRAMES = re.compile(
    rb"(?:Xing|Info)...[\x01\x03\x05\x07\x09\x0b\x0d\x0f](?!\0\0\0\0)", re.DOTALL
)
# Bytes before an MP3's first frame, besides its tags.
_MAX_JUNK_BYTES = 1 << 20


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
    """What a container declares of its samples' extent.

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
    """Compare what a file's container declares with the file; rewinds the stream."""
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


def counts_frames(stream: Stream) -> bool:
    """Return whether an MP3 stream, read from its first byte, carries a count of its frames."""
    stream.seek(_behind_tags(stream))
    return _COUNT_OF_FRAMES.search(stream.read(2048)) is not None


def first_mp3_frame(stream: Stream, place: int = 0) -> int | None:
    """Place of the first of three MP3 frames in a row behind tags, zeros or junk; None without any."""
    begin = _behind_tags(stream, place)
    stream.seek(begin)
    content = stream.read(_MAX_JUNK_BYTES)
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


def _behind_tags(stream: Stream, place: int = 0) -> int:
    """Place of the first byte behind ID3v2 and APEv2 tags, from a place on."""
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


def _chunks(
    stream: Stream, layout: str, position: int, size: int
) -> Iterator[tuple[bytes, int, int]]:
    """Yield each chunk's name, the place behind its header, and the bytes it claims to have there."""
    header_bytes = struct.calcsize(layout)
    counted, step = _COUNTED_AND_STEP[header_bytes]
    while position + header_bytes <= size:
        stream.seek(position)
        name, length = struct.unpack(layout, stream.read(header_bytes))
        begin = position + header_bytes
        yield name, begin, length - counted
        position = begin + -(-max(length - counted, 0) // step) * step


def _chunks_follow(stream: Stream, layout: str, position: int, size: int) -> bool:
    """Return whether chunks fill a file from here to its end, as samples by chance never do."""
    end = position
    for name, begin, length in _chunks(stream, layout, position, size):
        if length < 0 or not (name[:4].isascii() and name[:4].decode("ascii").isprintable()):
            return False
        end = begin + length
    _, step = _COUNTED_AND_STEP[struct.calcsize(layout)]
    return position < end <= size < end + step


def _chunk_extent(stream: Stream, layout: str, first: int, samples: bytes) -> Extent:
    """Compare the size of the chunk of samples with the bytes that follow its header."""
    size, sizes_64 = stream.seek(0, 2), 0
    for name, begin, length in _chunks(stream, layout, first, size):
        if name == samples and sizes_64 and length == 0xFFFF_FFFF:
            return _rf64_extent(stream, sizes_64, size, begin)
        if name == samples:
            before = _AIFF_OFFSETS_BYTES if name == b"SSND" else 0
            closed = _chunks_follow(stream, layout, begin + max(length, 0), size)
            form = layout[0] + layout[-1]
            place = (begin - struct.calcsize(form), form)
            return _extent(length - before, size - begin - before, closed, {place: before})
        if name == b"ds64":
            sizes_64 = begin
    return Extent("truncated: a header without samples")


def _rf64_extent(stream: Stream, sizes: int, size: int, begin: int) -> Extent:
    """Compare the size of the samples in an RF64's ``ds64`` with the bytes there are."""
    stream.seek(sizes + 8)
    (length,) = struct.unpack("<Q", stream.read(8).ljust(8, b"\0"))
    held, closed = size - begin, _chunks_follow(stream, "<4sI", begin, size)
    places = {(sizes, "<Q"): size - 8 - held, (sizes + 8, "<Q"): 0}
    return _extent(length, held, closed, places)


def _au_extent(stream: Stream) -> Extent:
    """Compare the size of the samples in Sun's AU with the bytes from where they begin."""
    stream.seek(4)
    begin, length = struct.unpack(">II", stream.read(8).ljust(8, b"\0"))
    return _extent(length, stream.seek(0, 2) - begin, False, {(8, ">I"): 0})


def _wave64_extent(stream: Stream) -> Extent:
    """Compare the size of the chunk of samples in Sony's Wave64 with the bytes that follow."""
    size = stream.seek(0, 2)
    for name, begin, length in _chunks(stream, _WAVE64_LAYOUT, 40, size):
        if name.startswith(b"data"):
            closed = _chunks_follow(stream, _WAVE64_LAYOUT, begin, size)
            places = {(16, "<Q"): begin, (begin - 8, "<Q"): _WAVE64_HEADER_BYTES}
            return _extent(length, size - begin, closed, places)
    return Extent("truncated: a header without samples")


def _extent(
    declared: int, held: int, closed: bool, places: Mapping[tuple[int, str], int]
) -> Extent:
    """Judge the bytes of samples that a header declares and the file holds.

    `places` has, for each place and form of a size, what it counts besides the samples; `closed` means
    that chunks follow, so that a size of 0 is meant.
    """
    if any(form[-1] in "qQ" for _, form in places):
        numbers = {declared + more for more in places.values()}
        streamed = (
            declared < 0 or declared >= 1 << 62 or not numbers.isdisjoint(_STREAMED_IN_64_BITS)
        )
    else:
        streamed = declared >= _STREAMED_BYTES
    if declared <= 0 and closed:
        return Extent(NO_SAMPLES)
    if held > 0 and ((streamed and declared != held) or declared <= 0):
        largest = {"I": (1 << 32) - 1, "q": (1 << 63) - 1, "Q": (1 << 64) - 1}
        return Extent(
            patches={
                place: struct.pack(form, min(held + more, largest[form[-1]]))
                for (place, form), more in places.items()
            }
        )
    if held < declared:
        return Extent(
            f"truncated: the header declares {declared} bytes of samples, the file holds {max(held, 0)}"
        )
    return Extent()


def _sphere_problem(stream: Stream) -> str:
    """Compare what the text header of NIST SPHERE counts with the bytes after it."""
    stream.seek(0)
    head = stream.read(_SPHERE_HEADER_BYTES)
    found = dict(_SPHERE_FIELD.findall(head))
    count, width, channels = (int(found.get(name, 1)) for name in _SPHERE_COUNTS)
    if b"sample_count" not in found or b"shorten" in head:  # compressed, or not declared
        return ""
    held = stream.seek(0, 2) - _SPHERE_HEADER_BYTES
    return _extent(count * width * channels, held, False, {}).problem


def _ogg_problem(stream: Stream) -> str:
    """Compare the last page with the bytes left for it, and its stream with the first (RFC 3533)."""
    size = stream.seek(0, 2)
    # The largest page has 255 segments of 255 bytes.
    stream.seek(max(0, size - _OGG_PAGE_BYTES - 255 - 255 * 255))
    tail = stream.read()
    page = tail[tail.rfind(b"OggS\0") :]
    segments = page[26] if len(page) >= _OGG_PAGE_BYTES else 255
    declared = _OGG_PAGE_BYTES + segments + sum(page[_OGG_PAGE_BYTES : _OGG_PAGE_BYTES + segments])
    if len(page) < declared:
        return f"truncated: the last page declares {declared} bytes, the file holds {len(page)} of them"
    # libsndfile ends with the first of several streams that follow one another.
    if page[14:18] not in _first_ogg_streams(stream):
        return (
            "several Ogg streams one after another, of which only the first can be decoded; "
            "'ffmpeg -i IN.ogg OUT.flac' joins them"
        )
    return ""


def _first_ogg_streams(stream: Stream) -> set[bytes]:
    """Serial numbers of the streams that begin where the file does: their first pages come first."""
    serials: set[bytes] = set()
    place = 0
    for _ in range(_MAX_OGG_STREAMS):
        stream.seek(place)
        page = stream.read(_OGG_PAGE_BYTES + 255)
        if page[:4] != b"OggS" or len(page) < _OGG_PAGE_BYTES or not page[5] & _OGG_FIRST_PAGE:
            break
        serials.add(page[14:18])
        segments = page[_OGG_PAGE_BYTES : _OGG_PAGE_BYTES + page[26]]
        place += _OGG_PAGE_BYTES + len(segments) + sum(segments)
    return serials
