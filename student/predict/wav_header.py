"""The header of a WAV that comes through a pipe: chunk by chunk, up to the samples."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import NamedTuple

from student.predict.recordings import UnusableRecording

MAX_HEADER_BYTES = 1 << 24  # with pictures and notes of an editor
BARE_INSTEAD = (
    "Send bare samples instead, with --rate 16000: ffmpeg -i INPUT -f s16le -ac 1 -ar 16000 -, or "
    "arecord -t raw -f S16_LE -c 1 -r 16000"
)
_FORMAT_BYTES = 16
_EXTENSIBLE = 0xFFFE  # the true code follows: of 24 bits, or more than two channels


class Wav(NamedTuple):
    """What a WAV header states; `size_bytes` as written, which may be no size."""

    code: int
    channels: int
    rate_hz: int
    bits: int
    size_bytes: int


def read_wav_header(read: Callable[[int], bytes]) -> Wav:
    """Read a WAV up to its samples.

    Parameters
    ----------
    read : callable
        Gives the next so many bytes, fewer at the end.

    Raises
    ------
    UnusableRecording
        If it is none, ends too soon, or goes on too long.
    """
    left = MAX_HEADER_BYTES

    def taken(size: int) -> bytes:
        nonlocal left
        left -= size
        if left < 0:
            raise _unreadable(f"it is longer than {MAX_HEADER_BYTES >> 20} MiB")
        content = read(size)
        if len(content) < size:
            raise _unreadable("it ends too soon")
        return content

    kind, form = taken(12)[8:], b""
    if kind != b"WAVE":
        raise _unreadable(f"it is RIFF of the kind {kind!r}")
    while True:
        name, size = struct.unpack("<4sI", taken(8))
        if name == b"data":
            break
        content = taken(size + size % 2)
        form = content if name == b"fmt " else form
    if len(form) < _FORMAT_BYTES:
        raise _unreadable(f"its format takes {_FORMAT_BYTES} bytes, and it has {len(form)}")
    code, channels, rate_hz, _, _, bits = struct.unpack("<HHIIHH", form[:_FORMAT_BYTES])
    if code == _EXTENSIBLE and len(form) >= 26:
        (code,) = struct.unpack("<H", form[24:26])
    return Wav(code, channels, rate_hz, bits, size)


def _unreadable(reason: str) -> UnusableRecording:
    return UnusableRecording(f"its WAV header cannot be read ({reason}). {BARE_INSTEAD}")
