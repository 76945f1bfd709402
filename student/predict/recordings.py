"""Recordings, decoded piece by piece to a student's rate: the student's only decoder of audio.

As :mod:`pipeline.audio.decode` does for a cache: the mean over channels, soxr "HQ", and as many samples
as the frames make by arithmetic; :mod:`student.predict.cached_samples` rounds them. What is wrong with a
recording is `UnusableRecording`, whatever its decoder makes of it. Memory holds a block.

Shape suffixes: S samples, K channels.
"""

from __future__ import annotations

import io
import mmap
import os
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from cache_schema.errors import UsageError
from cache_schema.git_lfs import POINTER, is_pointer
from cache_schema.mp3_frames import (
    counts_frames,
    first_mp3_frame,
    joined_behind_count,
    true_byte_count,
)
from cache_schema.stream_ends import problem_behind_decoded, problem_of_joining
from cache_schema.truncation import (
    CLAIMED_BYTES,
    LAST_TAG_BYTES,
    MAX_RATE_HZ,
    MAX_SAMPLE,
    MIN_RATE_HZ,
    UNCOUNTED_FRAMES,
    container_extent,
)

FloatArray = NDArray[np.float32]

BARE_SUFFIXES = (".raw", ".pcm")  # whose files seldom have a header
BLOCK_SAMPLES = 1 << 16


class UnusableRecording(Exception):  # noqa: N818 - a finding about a file, not a failure of the program
    """A recording that cannot be used; the message is the reason and names no file."""


def read_recording(path: Path, sample_rate_hz: int) -> Iterator[FloatArray]:
    """Yield a recording's samples, mono at a rate, in blocks of shape (S,).

    Raises
    ------
    UnusableRecording
        If there is no recording, or it is empty, truncated or damaged, or a sample is not finite. It may
        come after some blocks.
    UsageError
        Kind ``"extra"``: what decodes is not installed.
    OSError
        Of the disk.
    """
    soundfile = _soundfile()
    try:
        with _plain_file(path) as file, closing(_opened(soundfile, path, file)) as sound:
            blocks = _mono_blocks(soundfile, sound, file)
            yield from Resampler(_rate_of(sound), sample_rate_hz).resampled(blocks)
    except soundfile.LibsndfileError as error:
        reason = error.error_string.rstrip(".")
        if not reason or "does not exist" in reason:  # of an MP3 without a frame
            reason = f"no frame of audio found, libsndfile error {error.code}"
        bare = "; bare samples of 16 bits are read by stream-audio RUN --rate HZ - < FILE"
        is_bare = path.suffix.lower() in BARE_SUFFIXES
        raise UnusableRecording(
            f"not audio that can be decoded ({reason}){bare * is_bare}"
        ) from None
    except (UnusableRecording, UsageError, OSError, MemoryError):
        raise
    except Exception as error:  # a decoder may raise anything; its text may hold addresses
        name = type(error).__name__
        raise UnusableRecording(f"not audio that can be decoded ({name})") from error


class Resampler:
    """Resamples a stream, and counts: so many samples come out as the frames make by arithmetic.

    Parameters
    ----------
    source_rate_hz, sample_rate_hz : int
        Rates of what comes and of what is wanted.
    """

    def __init__(self, source_rate_hz: int, sample_rate_hz: int) -> None:
        self._from_hz, self._to_hz = source_rate_hz, sample_rate_hz
        self._frames = self._samples = 0
        self._stream: Any = None
        if source_rate_hz != sample_rate_hz:
            self._stream = _soxr().ResampleStream(
                source_rate_hz, sample_rate_hz, 1, dtype="float32", quality="HQ"
            )

    def resampled(self, blocks: Iterator[FloatArray]) -> Iterator[FloatArray]:
        """Yield what comes of each block, and at the end what is left.

        Raises
        ------
        UnusableRecording
            If nothing came, or so little that it is no sample.
        """
        for block_S in blocks:
            self._frames += len(block_S)
            yield from self._counted(
                block_S if self._stream is None else self._stream.resample_chunk(block_S)
            )
        if self._frames == 0:
            raise UnusableRecording("it holds no samples")
        if self._stream is not None:
            left_S = self._stream.resample_chunk(np.zeros(0, np.float32), last=True)
            missing = self._wanted() - self._samples
            yield from self._counted(np.pad(left_S[:missing], (0, max(0, missing - len(left_S)))))
        if self._samples == 0:
            raise UnusableRecording(
                f"too short: {self._frames} frame(s) at {self._from_hz} Hz are no sample at "
                f"{self._to_hz} Hz"
            )

    def _counted(self, made_S: FloatArray) -> Iterator[FloatArray]:
        self._samples += len(made_S)
        if len(made_S):
            yield made_S

    def _wanted(self) -> int:
        """Samples of the frames so far: rounded, halves upward."""
        return (2 * self._frames * self._to_hz + self._from_hz) // (2 * self._from_hz)


def check_finite(mono_S: FloatArray, first: int) -> None:
    """Reject NaN, infinity and what no scale explains; `first` is the number of the first sample.

    Raises
    ------
    UnusableRecording
        Naming the sample.
    """
    wild_S = ~(np.abs(mono_S) <= MAX_SAMPLE)
    if wild_S.any():
        at = int(wild_S.argmax())
        value = float(mono_S[at])
        what = (
            f"{value:g}, beyond any scale" if np.isfinite(value) else "no finite number of 32 bits"
        )
        raise UnusableRecording(f"sample {first + at} is {what}")


def mean_over_channels(block_SK: FloatArray) -> FloatArray:
    """Mix down; (S, K) → (S,)."""
    with np.errstate(invalid="ignore", over="ignore"):  # infinite samples are found in the mean
        mean_S: FloatArray = block_SK.mean(axis=1, dtype=np.float32)
    return mean_S


def _soundfile() -> Any:
    try:
        import soundfile
    except ImportError:
        raise _missing("soundfile") from None
    return soundfile


def _soxr() -> Any:
    try:
        import soxr
    except ImportError:
        raise _missing("soxr") from None
    return soxr


def _missing(name: str) -> UsageError:
    return UsageError(f"recordings need {name}: pip install 'aftersound[onnx]'", kind="extra")


def _plain_file(path: Path) -> BinaryIO:
    """Open a file with something in it; a pipe or a device is rejected and not waited for."""
    file = open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK))  # noqa: SIM115
    facts = os.fstat(file.fileno())
    problem = ""
    if not stat.S_ISREG(facts.st_mode):
        problem = "not a file that can be read (a pipe or a device)"
    elif not facts.st_size:
        problem = "the file is empty (0 bytes)"
    elif is_pointer(path):
        problem = POINTER
    if problem:
        file.close()
        raise UnusableRecording(problem)
    return cast(BinaryIO, file)


class _Patched(mmap.mmap):
    """A file in memory, private to be changed; moves no further than either end, as a file can."""

    def seek(self, position: int, whence: int = os.SEEK_SET) -> None:
        base = (0, self.tell(), len(self))[whence]
        super().seek(min(max(0, base + position), len(self)))


class _Longer(io.RawIOBase):
    """A file from some byte on, that claims to be far longer than it is.

    The decoder of an MP3 without a count goes no further than a length that it guesses from the size of
    the file and of the first frame.
    """

    def __init__(self, file: BinaryIO, begin: int = 0) -> None:
        super().__init__()
        self._file, self._begin, self._place = file, begin, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, position: int, whence: int = os.SEEK_SET, /) -> int:
        self._place = max(0, (0, self._place, CLAIMED_BYTES)[whence] + position)
        return self._place

    def tell(self) -> int:
        return self._place

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        if self._place < CLAIMED_BYTES - LAST_TAG_BYTES:
            self._file.seek(self._begin + self._place)
            count = int(self._file.readinto(buffer))  # type: ignore[attr-defined]
        else:  # a last tag is looked for there, and its lack is an empty one
            count = min(len(buffer), CLAIMED_BYTES - self._place)
            buffer[:count] = bytes(count)
        self._place += count
        return count


def _opened(soundfile: Any, path: Path, file: BinaryIO) -> Any:
    """Open a decoder on a file whose container holds what it declares."""
    extent = container_extent(file)
    if extent.problem:
        raise UnusableRecording(extent.problem)
    source: Any = os.fsencode(path)
    patches = extent.patches or true_byte_count(file)
    # Sizes that its header lacks are put into a copy of those bytes; which has no name, by which
    # soundfile would take .raw for bare samples, and ask for their rate.
    if patches or path.suffix.lower() == ".raw":
        source = _Patched(file.fileno(), 0, access=mmap.ACCESS_COPY)
        for place, size in patches.items():
            source[place : place + len(size)] = size
    sound = _by_head_or_frame(soundfile, source, file)
    if sound.format == "MP3" and not counts_frames(file):
        sound.close()
        sound = _by_head_or_frame(soundfile, _Longer(file), file)
    elif sound.format == "FLAC" and sound.frames >= UNCOUNTED_FRAMES:
        sound.close()
        file.seek(0)
        sound = soundfile.SoundFile(file)  # which then shows where decoding stopped
    # It would seek after every read of what can be sought in: an MP3's decoder then begins anew.
    sound.seekable = lambda: False
    return sound


def _by_head_or_frame(soundfile: Any, source: Any, file: BinaryIO) -> Any:
    """Open what begins with a known header, or else by the first MP3 frame behind other bytes."""
    try:
        return soundfile.SoundFile(source)
    except soundfile.LibsndfileError as error:
        begin = first_mp3_frame(file) if error.code == 1 else None  # format not recognised
        if not begin:
            raise
        return soundfile.SoundFile(_Longer(file, begin))


def _rate_of(sound: Any) -> int:
    rate_hz = int(sound.samplerate)
    if not MIN_RATE_HZ <= rate_hz <= MAX_RATE_HZ:
        raise UnusableRecording(
            f"the header declares {rate_hz} Hz, expected {MIN_RATE_HZ} to {MAX_RATE_HZ} Hz"
        )
    return rate_hz


def _mono_blocks(soundfile: Any, sound: Any, file: BinaryIO) -> Iterator[FloatArray]:
    """Decode what the header counts, or to the end; damage, or fewer or more than that, is an error."""
    kind, channels = str(sound.format), int(sound.channels)
    counted = int(sound.frames) < UNCOUNTED_FRAMES and (kind != "MP3" or counts_frames(file))
    frames = int(sound.frames) if counted else UNCOUNTED_FRAMES
    if counted:
        _refuse(joined_behind_count(file) if kind == "MP3" else problem_of_joining(file, kind))
    count, stopped = 0, False
    while count < frames and not stopped:
        wanted = min(max(1, BLOCK_SAMPLES // channels), frames - count)
        block_SK = np.full((wanted, channels), np.nan, np.float32)
        try:
            read_SK = sound.read(out=block_SK)
        except soundfile.LibsndfileError:  # behind what it had decoded
            stopped = True
            decoded = np.append(np.isnan(block_SK).any(axis=1), True).argmax()
            read_SK = block_SK[: int(decoded)]
        if not len(read_SK):
            break
        mono_S = mean_over_channels(read_SK)
        check_finite(mono_S, count)
        count += len(mono_S)
        yield mono_S
    if not counted:
        _refuse(problem_behind_decoded(file, kind, count, stopped=stopped))
    elif count < frames:
        _refuse(
            f"truncated or damaged: the header declares {frames} frames, decoding stopped after {count}"
        )


def _refuse(problem: str) -> None:
    if problem:
        raise UnusableRecording(problem)
