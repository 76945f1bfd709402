"""What the headers of rare containers count, which libsndfile does not compare with the file."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import NamedTuple

from cache_schema.recording_heads import Stream

_HEAD_BYTES = 512
_MAX_VOC_BLOCKS = 1000  # texts, markers and silence before the samples


class Counted(NamedTuple):
    """Bytes of samples that a header declares, and where the first lies."""

    declared: int
    begin: int


def counted_samples(stream: Stream) -> Counted | None:
    """Read what a rare container declares; None for other files, and for a header cut short."""
    stream.seek(0)
    head = stream.read(_HEAD_BYTES)
    for mark, read in _READERS.items():
        if head.startswith(mark):
            try:
                return read(head, stream)
            except (struct.error, IndexError):
                return None
    return None


def _avr(head: bytes, _: Stream) -> Counted:
    channels = 2 if any(head[12:14]) else 1
    bits, frames = struct.unpack_from(">H10xI", head, 14)
    return Counted(frames * channels * (bits // 8), 128)


def _mat4(head: bytes, _: Stream) -> Counted | None:
    """The second matrix; the tens digit of its type says how wide its numbers are."""
    order, place, declared = "<" if head[0] == head[3] else ">", 0, 0
    for name in (b"samplerate\0", b"wavedata\0"):
        kind, rows, columns, _imaginary, length = struct.unpack_from(f"{order}5I", head, place)
        place += 20 + length
        if head[place - length : place] != name:
            return None
        declared = rows * columns * (8, 4, 4, 2, 2, 1)[kind % 100 // 10]
        begin, place = place, place + declared
    return Counted(declared, begin)


def _mat5(head: bytes, _: Stream) -> Counted | None:
    """The fourth element of the second matrix, behind its flags, shape and name."""
    order, place = "<" if head[126:128] == b"IM" else ">", 128
    _kind, length = struct.unpack_from(f"{order}2I", head, place)
    place += 8 + length + 8
    for _element in range(3):
        _kind, length = struct.unpack_from(f"{order}2I", head, place)
        name, place = head[place + 8 : place + 8 + length], place + 8 + -(-length // 8) * 8
    _kind, length = struct.unpack_from(f"{order}2I", head, place)
    return Counted(length, place + 8) if name == b"wavedata" else None


def _mpc(head: bytes, _: Stream) -> Counted:
    channels = 2 if head[21] else 1
    (frames,) = struct.unpack_from("<I", head, 30)
    return Counted(2 * channels * frames, 42)


def _sds(head: bytes, _: Stream) -> Counted | None:
    """Numbers of seven bits a byte; packets of 127 bytes, of which 120 are samples."""
    bits, words = head[6], head[10] | head[11] << 7 | head[12] << 14
    if head[3] != 1 or not 8 <= bits <= 28:
        return None
    return Counted(-(-words // (120 // -(-bits // 7))) * 127, 21)


def _voc(head: bytes, stream: Stream) -> Counted | None:
    """The first block of samples: libsndfile reads no other."""
    (place,) = struct.unpack_from("<H", head, 20)
    for _block in range(_MAX_VOC_BLOCKS):
        stream.seek(place)
        block = stream.read(4)
        length = int.from_bytes(block[1:], "little")
        if block[0] in _VOC_SAMPLES:
            before = _VOC_SAMPLES[block[0]]
            return Counted(length - before, place + 4 + before)
        if block[0] == 0:
            break
        place += 4 + length
    return None


def _wve(head: bytes, _: Stream) -> Counted:
    (declared,) = struct.unpack_from(">I", head, 18)
    return Counted(declared, 32)


def _xi(head: bytes, _: Stream) -> Counted:
    samples, declared = struct.unpack_from("<HI", head, 296)
    return Counted(declared, 298 + 40 * samples)


# Kinds of blocks with samples, and the bytes that say before them how these are stored.
_VOC_SAMPLES = {1: 2, 9: 12}
_READERS: dict[bytes, Callable[[bytes, Stream], Counted | None]] = {
    b"2BIT": _avr,
    b"\0\0\0\0\1\0\0\0\1\0\0\0": _mat4,
    b"\0\0\3\xe8\0\0\0\1\0\0\0\1": _mat4,
    b"MATLAB 5.0": _mat5,
    b"\1\4": _mpc,
    b"\xf0\x7e": _sds,
    b"Creative Voice File\x1a": _voc,
    b"ALawSoundFile**": _wve,
    b"Extended Instrument:": _xi,
}
