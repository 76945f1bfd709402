"""What a container declares and what the file holds, where libsndfile does not distinguish them.

libsndfile shortens a truncated file of most containers without a word, takes some of the sizes that a
writer to a pipe leaves in a header for true, and ends with the first of several files that were joined.
These few bytes are therefore read here.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from cache_schema.counted_samples import counted_samples
from cache_schema.git_lfs import MARK, POINTER
from cache_schema.mp3_frames import mp3_begins
from cache_schema.ogg_pages import ogg_end
from cache_schema.recording_heads import Stream, head_at, several_files

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
_FORM_ENDS = 12
_AUDIO_FORMS = (b"WAVE", b"AIFF", b"AIFC", *_SVX)
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
_COUNTABLE_BYTES = 1 << 32  # less one, by a size of 32 bits
_MOST_BEHIND_BYTES = 1 << 16  # of chunks behind the samples
_AU_ORDERS = {b".snd": ">", b"dns.": "<"}
_FRAME_BYTES = (2, 3, 4, 6, 8)  # of one or two channels
_STREAMED_IN_64_BITS = (0x7FFF_FFFF, 0xFFFF_FFFF)


@dataclass(frozen=True, slots=True)
class Extent:
    """What a container declares of its samples' extent.

    Attributes
    ----------
    problem : str
        Why the file cannot hold what is promised; empty if it can.
    open_end : bool
        A stream was never closed: its last page does not say that it is the last.
    patches : mapping of int to bytes
        The true sizes, by place, where the header has none: the samples go on to the end of the file.
    """

    problem: str = ""
    open_end: bool = False
    patches: Mapping[int, bytes] = field(default_factory=dict)

    @property
    def unsized(self) -> bool:
        """Whether nothing but the end of the file says where the samples end."""
        return self.open_end or bool(self.patches)


def container_extent(stream: Stream) -> Extent:
    """Compare what a file's container declares with the file; rewinds the stream."""
    head = stream.read(len(MARK))
    extent = Extent()
    if head == MARK:
        extent = Extent(POINTER)
    elif head[:4] == b"OggS":
        extent = Extent(*ogg_end(stream))
    elif head[:4] in _CHUNKED and _holds_audio(head):
        layout, first, samples = _CHUNKED[head[:4]]
        extent = _chunk_extent(stream, layout, first, b"BODY" if head[8:12] in _SVX else samples)
    elif head[:4] in _AU_ORDERS:
        extent = _au_extent(stream, _AU_ORDERS[head[:4]])
    elif head[:4] == b"riff":
        extent = _wave64_extent(stream)
    elif head[:7] == b"NIST_1A":
        extent = Extent(_sphere_problem(stream))
    elif (counted := counted_samples(stream)) is not None:
        held = stream.seek(0, 2) - counted.begin
        extent = Extent(_extent(counted.declared, held, False, {}).problem)
    stream.seek(0)
    return extent


def _holds_audio(head: bytes) -> bool:
    """Whether chunks are of audio, as far as they go, and not of a film or of other bytes."""
    return head[:4] == b"caff" or len(head) < _FORM_ENDS or head[8:_FORM_ENDS] in _AUDIO_FORMS


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
        if length < 0 or not _is_chunk(name):
            return False
        end = begin + length
    _, step = _COUNTED_AND_STEP[struct.calcsize(layout)]
    return position < end <= size < end + step


def _is_chunk(name: bytes) -> bool:
    return name[:4].isascii() and name[:4].decode("ascii").isprintable()


def _chunk_extent(stream: Stream, layout: str, first: int, samples: bytes) -> Extent:
    """Compare the size of the chunk of samples with the bytes that follow its header."""
    size, sizes_64, unpadded = stream.seek(0, 2), 0, ""
    for name, begin, length in _chunks(stream, layout, first, size):
        if name == samples and sizes_64 and length == 0xFFFF_FFFF:
            return _rf64_extent(stream, sizes_64, size, begin)
        if name == samples:
            before = _AIFF_OFFSETS_BYTES if name == b"SSND" else 0
            closed = _chunks_follow(stream, layout, begin + max(length, 0), size)
            form = layout[0] + layout[-1]
            place = (begin - struct.calcsize(form), form)
            if wrapped := _wrapped(layout, length, size - begin):
                return Extent(wrapped)
            if second := _second_file(stream, layout, begin, length):
                return second
            if not closed and (counts := _counts_samples(stream, layout, begin, length)):
                return Extent(counts)
            return _extent(length - before, size - begin - before, closed, {place: before})
        if name == b"ds64":
            sizes_64 = begin
        unpadded = unpadded or _unpadded(stream, layout, name, begin, length)
    return Extent(unpadded or "truncated: a header without samples")


def _wrapped(layout: str, length: int, held: int) -> str:
    """Say that a size of 32 bits has begun anew at 4 GiB, and what is behind it would be passed over."""
    beyond, rest = divmod(held - length, _COUNTABLE_BYTES)
    if layout[-1] != "I" or length <= 0 or beyond < 1 or rest > _MOST_BEHIND_BYTES:
        return ""
    return (
        f"damaged: its header counts {length} bytes of samples and the file holds {held}: beyond 4 GiB "
        "such a header counts anew. 'ffmpeg -ignore_length 1 -i IN.wav OUT.flac' writes them all"
    )


def _counts_samples(stream: Stream, layout: str, begin: int, length: int) -> str:
    """Say that a size seems to count samples: the file holds exactly a few times its bytes."""
    held = stream.seek(0, 2) - begin
    if layout[-1] != "I" or length <= 0 or held not in (length * n for n in _FRAME_BYTES):
        return ""
    stream.seek(begin + length)
    if not any(stream.read(_MOST_BEHIND_BYTES)):  # filled up to a block of a disk or a flash memory
        return ""
    return (
        f"damaged: its header counts {length} bytes of samples and the file holds {held}, as where "
        "it counts samples. 'ffmpeg -ignore_length 1 -i IN.wav OUT.flac' writes them all"
    )


def _unpadded(stream: Stream, layout: str, name: bytes, begin: int, length: int) -> str:
    """Say that a chunk of odd size lacks the byte, 0, which puts the next chunk at an even place."""
    _, step = _COUNTED_AND_STEP[struct.calcsize(layout)]
    if step != 2 or length < 0 or length % 2 == 0:
        return ""
    stream.seek(begin + length)
    if stream.read(1) in (b"", b"\0"):
        return ""
    text = name.decode("ascii", "backslashreplace")
    return (
        f"damaged: the pad byte behind chunk {text!r} of {length} bytes is missing, so no reader finds "
        "the samples"
    )


def _second_file(stream: Stream, layout: str, begin: int, length: int) -> Extent | None:
    """Reject a file that another was joined to: one begins behind its samples, or other chunks."""
    if length <= 0:  # not known
        return None
    header_bytes = struct.calcsize(layout)
    _, step = _COUNTED_AND_STEP[header_bytes]
    size = stream.seek(0, 2)
    if _begins(stream, begin + length):
        return Extent(several_files(begin + length))
    for name, place, _ in _chunks(stream, layout, begin + -(-length // step) * step, size):
        if _begins(stream, place - header_bytes):
            return Extent(several_files(place - header_bytes))
        if not _is_chunk(name):
            break
    return None


def _begins(stream: Stream, place: int) -> bool:
    return head_at(stream, place) or mp3_begins(stream, place)


def _rf64_extent(stream: Stream, sizes: int, size: int, begin: int) -> Extent:
    """Compare the size of the samples in an RF64's ``ds64`` with the bytes there are."""
    stream.seek(sizes + 8)
    (length,) = struct.unpack("<Q", stream.read(8).ljust(8, b"\0"))
    held, closed = size - begin, _chunks_follow(stream, "<4sI", begin, size)
    places = {(sizes, "<Q"): size - 8 - held, (sizes + 8, "<Q"): 0}
    if second := _second_file(stream, "<4sI", begin, length):
        return second
    return _extent(length, held, closed, places)


def _au_extent(stream: Stream, order: str) -> Extent:
    """Compare the size of the samples in Sun's AU with the bytes from where they begin."""
    stream.seek(4)
    begin, length = struct.unpack(f"{order}II", stream.read(8).ljust(8, b"\0"))
    if length and _begins(stream, begin + length):
        return Extent(several_files(begin + length))
    return _extent(length, stream.seek(0, 2) - begin, False, {(8, f"{order}I"): 0})


def _wave64_extent(stream: Stream) -> Extent:
    """Compare the size of the chunk of samples in Sony's Wave64 with the bytes that follow."""
    size = stream.seek(0, 2)
    for name, begin, length in _chunks(stream, _WAVE64_LAYOUT, 40, size):
        if name.startswith(b"data"):
            closed = _chunks_follow(stream, _WAVE64_LAYOUT, begin, size)
            places = {(16, "<Q"): begin, (begin - 8, "<Q"): _WAVE64_HEADER_BYTES}
            if second := _second_file(stream, _WAVE64_LAYOUT, begin, length):
                return second
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
