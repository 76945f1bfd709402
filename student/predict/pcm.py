"""Samples that come through a pipe, as arecord and ffmpeg write them: bare, or behind a WAV header.

Shape suffixes: S samples, K channels.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from cache_schema.errors import UsageError
from cache_schema.truncation import MAX_RATE_HZ, MIN_RATE_HZ
from student.predict.containers import FOREIGN, SNIFFED_BYTES, container_of, first_frame_bytes
from student.predict.recordings import (
    Resampler,
    UnusableRecording,
    check_finite,
    mean_over_channels,
)
from student.predict.wav_header import BARE_INSTEAD, read_wav_header

FloatArray = NDArray[np.float32]

INPUT = "standard input"
READ_BYTES = 4096
# Writers to a pipe put 0, or nearly the largest number, where a header counts bytes.
_UNCOUNTED_BYTES = 2_000_000_000 - 4096


def _integers(dtype: str, full_scale: float, middle: int = 0) -> Callable[[bytes], FloatArray]:
    def samples(content: bytes) -> FloatArray:
        exact_S = np.frombuffer(content, dtype).astype(np.float64)
        return ((exact_S - middle) / full_scale).astype(np.float32)

    return samples


def _three_bytes(content: bytes) -> FloatArray:
    bytes_S3 = np.frombuffer(content, np.uint8).reshape(-1, 3)
    wide_S4 = np.zeros((len(bytes_S3), 4), np.uint8)
    wide_S4[:, 1:] = bytes_S3
    return (wide_S4.view("<i4")[:, 0] / 2.0**31).astype(np.float32)


def _floats(content: bytes) -> FloatArray:
    return np.frombuffer(content, "<f4").astype(np.float32)


# As arecord names them; bytes of a sample, and how they are read.
FORMATS: dict[str, tuple[int, Callable[[bytes], FloatArray]]] = {
    "S16_LE": (2, _integers("<i2", 2.0**15)),
    "S24_3LE": (3, _three_bytes),
    "S32_LE": (4, _integers("<i4", 2.0**31)),
    "FLOAT_LE": (4, _floats),
    "U8": (1, _integers("u1", 2.0**7, middle=128)),
}
# By a WAV's code and bits a sample.
_OF_WAV = {
    (1, 8): "U8", (1, 16): "S16_LE", (1, 24): "S24_3LE", (1, 32): "S32_LE", (3, 32): "FLOAT_LE",
}  # fmt: skip


def read_pipe(
    pipe: BinaryIO, sample_rate_hz: int, rate_hz: int | None, form: str | None
) -> Iterator[FloatArray]:
    """Yield the samples of a pipe as they come, mono at a rate, in blocks of shape (S,).

    Parameters
    ----------
    pipe : BinaryIO
        Mono samples, or a WAV.
    sample_rate_hz : int
        Rate of the result.
    rate_hz, form : int and str, or None
        What bare samples are, at `sample_rate_hz` and in 16 bits if not given. A WAV states it itself.

    Raises
    ------
    UnusableRecording
        If nothing comes, the header is none or another container's, or a sample is not finite.
    UsageError
        If the header states otherwise than requested.
    """
    head = _read_exactly(pipe, SNIFFED_BYTES)
    if head.startswith(b"RIFF"):
        blocks, rate_hz = _wav_blocks(_Joined(head, pipe), rate_hz, form)
    else:
        head += _read_exactly(pipe, first_frame_bytes(head))
        if container := container_of(head):
            named = "" if container in FOREIGN else ", or name the file in place of -"
            raise UnusableRecording(
                f"it is {container}, and a pipe carries bare samples or WAV. Decode it on the way, "
                f"for example ffmpeg -i FILE -f s16le -ac 1 -ar RATE -{named}"
            )
        width, decoded = FORMATS[form or "S16_LE"]
        blocks = map(decoded, _whole_samples(_Joined(head, pipe), width))
    yield from Resampler(rate_hz or sample_rate_hz, sample_rate_hz).resampled(_checked(blocks))


def standard_input() -> BinaryIO:
    """Give the standard input, where something else than a keyboard is behind it.

    Raises
    ------
    UsageError
        If it is a terminal or closed.
    """
    if sys.stdin is None or sys.stdin.isatty():
        raise UsageError(
            f"{INPUT} is a terminal or closed; pipe samples in: arecord -f S16_LE -r 16000 -c 1 | "
            "stream-audio MODEL -",
            kind="input",
        )
    return sys.stdin.buffer


class _Joined(io.RawIOBase):
    """What was read already, then the rest of a pipe; a read gives what is there."""

    def __init__(self, head: bytes, pipe: BinaryIO) -> None:
        super().__init__()
        self._head, self._pipe = head, pipe

    def read(self, size: int = -1, /) -> bytes:
        """Read at most `size` bytes; none at the end."""
        if self._head:
            given, self._head = self._head[:size], self._head[size:]
            return given
        read1: Callable[[int], bytes] = getattr(self._pipe, "read1", self._pipe.read)
        return read1(size)


def _wav_blocks(
    pipe: _Joined, rate_hz: int | None, form: str | None
) -> tuple[Iterator[FloatArray], int]:
    """Give the samples behind a WAV header, and their rate."""
    header = read_wav_header(partial(_read_exactly, pipe))
    found_hz, channels = header.rate_hz, header.channels
    found = _OF_WAV.get((header.code, header.bits), "")
    if not MIN_RATE_HZ <= found_hz <= MAX_RATE_HZ or not found or channels < 1:
        raise UnusableRecording(
            f"its WAV header has {found_hz} Hz, {channels} channel(s), code {header.code}, "
            f"{header.bits} bits a sample; a pipe carries whole numbers of 8 to 32 bits and floats of "
            f"32, of {MIN_RATE_HZ} to {MAX_RATE_HZ} Hz. {BARE_INSTEAD}"
        )
    if rate_hz not in (None, found_hz) or form not in (None, found):
        raise UsageError(
            f"{INPUT} begins with a WAV header of {found_hz} Hz and {found}, requested "
            f"{rate_hz or found_hz} Hz and {form or found}. Leave --rate and --format out",
            kind="options",
        )
    width, decoded = FORMATS[found]
    most = header.size_bytes if 0 < header.size_bytes < _UNCOUNTED_BYTES else None
    pieces = _whole_samples(pipe, width * channels, most)
    blocks = (mean_over_channels(decoded(piece).reshape(-1, channels)) for piece in pieces)
    return blocks, found_hz


def _whole_samples(pipe: _Joined, width: int, most: int | None = None) -> Iterator[bytes]:
    """Yield what comes in multiples of `width` bytes; what is left of a sample at the end is dropped."""
    left = b""
    while most is None or most > 0:
        content = pipe.read(READ_BYTES if most is None else min(READ_BYTES, most))
        if not content:
            return
        most = None if most is None else most - len(content)
        left += content
        whole = len(left) // width * width
        if whole:
            yield left[:whole]
        left = left[whole:]


def _checked(blocks: Iterator[FloatArray]) -> Iterator[FloatArray]:
    count = 0
    for block_S in blocks:
        check_finite(block_S, count)
        count += len(block_S)
        yield block_S


def _read_exactly(pipe: BinaryIO | _Joined, size: int) -> bytes:
    """Read so many bytes, fewer at the end."""
    content = b""
    while len(content) < size:
        piece = pipe.read(size - len(content))
        if not piece:
            break
        content += piece
    return content
