"""Audio files in and out: the only module that imports soundfile and soxr.

A recording is opened in one way, to be measured when a run is planned and to be decoded: `scan_header`
gives the frames it has, `resampled_length` turns them into samples by arithmetic, and `decode` yields
exactly that many, or reports why it cannot. What is wrong with a recording is `UnusableAudio`,
whatever a decoder makes of it; what a disk, a network or the memory refuses is not, and is tried again.
Shape suffixes: S = samples, K = channels.
"""

from __future__ import annotations

import io
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from cache_schema.errors import RunError
from cache_schema.mp3_frames import (
    counts_frames,
    first_mp3_frame,
    joined_behind_count,
    true_byte_count,
)
from cache_schema.signal_names import FULL_SCALE
from cache_schema.store.address import CachePath
from cache_schema.stream_ends import problem_behind_decoded, problem_of_joining
from cache_schema.truncation import (
    CLAIMED_BYTES,
    MAX_RATE_HZ,
    MAX_SAMPLE,
    MIN_RATE_HZ,
    NO_SAMPLES,
    UNCOUNTED_FRAMES,
    container_extent,
)
from pipeline.audio.members import MemberProblem, container_of, member_samples, split_member
from pipeline.audio.source import Source, SourceProblem, open_source

RESAMPLER = f"soxr HQ {soxr.__version__}"
DECODER = f"libsndfile {soundfile.__libsndfile_version__}"
# Names of the recordings that every corpus lists. Decoded is whatever libsndfile recognises by its
# content; left out here are names that mostly hold other things (.mat, .htk, .iff, .mpc, .xi): a
# manifest may list those.
AUDIO_SUFFIXES = (
    ".8svx", ".aif", ".aifc", ".aiff", ".au", ".avr", ".bwf", ".caf", ".flac", ".gsm", ".mp1", ".mp2",
    ".mp3", ".mpga", ".nist", ".oga", ".ogg", ".opus", ".paf", ".pvf", ".rf64", ".sds", ".sf", ".snd",
    ".sph", ".svx", ".voc", ".vox", ".w64", ".wav", ".wave", ".wve",
)  # fmt: skip
# Without a header, so known by name alone: mono at 8 kHz.
_HEADERLESS = {".gsm": "GSM610", ".vox": "VOX_ADPCM"}
_HEADERLESS_RATE_HZ = 8_000
# Manifests round to milliseconds, so an end may lie that far past the last sample.
END_TOLERANCE_S = 1e-3
MP3_RATES_HZ = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
BLOCK_SAMPLES = 1 << 20
# What is decoded at once, a clip or a window of one: it lies in memory several times over.
MAX_CLIP_S = 1800.0
MAX_CLIP_FRAMES = 1800 * 48_000
# Frames that a header does not count are counted up to here.
MAX_RECORDING_S = 100 * 3600.0
# More frames to a byte than the densest speech codec has are counted by decoding them.
MAX_FRAMES_PER_BYTE = 64
# Pauses before what disk, network or memory refused is tried again.
RETRY_PAUSES_S = (0.1, 0.4, 1.5)

MAX_KNOWN = 1 << 14

_Result = TypeVar("_Result")

# What took reading a whole file, by its digest: frames that had to be counted, and whether it is several
# files that were joined, and why.
_counts: dict[str, int] = {}
_joined: dict[str, str] = {}


class UnusableAudio(Exception):  # noqa: N818 - a finding about a clip, not a failure of the program
    """A clip that cannot be used; the message is the reason and holds no machine path.

    Attributes
    ----------
    reason : str
        One line, with both values where something disagrees.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class UnopenedAudio(UnusableAudio):
    """A recording whose header cannot be read; if it could be before, its content is not at fault."""


class TooLong(UnusableAudio):
    """A clip longer than is decoded at once."""


class Header(NamedTuple):
    """What a recording is before it is decoded.

    Attributes
    ----------
    frames : int
        Source frames of the requested stretch; 0 if it cannot be used.
    rate_hz : int
        Rate of the file; 0 if the file cannot be read.
    problem : str
        Why it cannot be used; empty if it can.
    unsized : bool
        The header has no true size, as of a recording written to a pipe or cut short by a crash; it is
        read to the end of the file.
    """

    frames: int
    rate_hz: int
    problem: str = ""
    unsized: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodedClip:
    """Samples of a clip and where they came from.

    Attributes
    ----------
    waveform : ndarray of float32, shape (S,)
        Mono, the mean over channels, at the requested rate; full scale is ±1.
    source_frames : int
        Frames of the segment in the file, before resampling.
    sha256 : str
        Digest of the very bytes the samples were decoded from: the whole file's, or what a container
        stores of this clip.
    """

    waveform: NDArray[np.float32]
    source_frames: int
    sha256: str


def resampled_length(frames: int, source_rate_hz: int, sample_rate_hz: int) -> int:
    """Count the samples `decode` yields for so many source frames: rounded, halves upward.

    Examples
    --------
    >>> resampled_length(44_100, 44_100, 16_000)
    16000
    >>> resampled_length(940, 12_000, 44_100)  # 3454.5
    3455
    """
    return (2 * frames * sample_rate_hz + source_rate_hz) // (2 * source_rate_hz)


def segment_frames(
    total_frames: int, rate_hz: int, start_s: float, end_s: float | None
) -> tuple[int, int]:
    """Turn a stretch in seconds into its first frame and the frame after its last.

    Parameters
    ----------
    total_frames : int
        Frames of the whole file.
    rate_hz : int
        Rate of the file.
    start_s, end_s : float
        The stretch; an end of None is the end of the file. An end up to 1 ms past the file's is
        taken as the file's.

    Raises
    ------
    UnusableAudio
        If the stretch is empty or does not lie inside the file.
    """
    length_s = total_frames / rate_hz
    end_s = length_s if end_s is None else end_s
    if not 0 <= start_s < end_s <= length_s + END_TOLERANCE_S:
        raise UnusableAudio(
            f"the segment {start_s:.10g} s to {end_s:.10g} s does not lie inside the file, which is "
            f"{length_s:.10g} s long"
        )
    start, stop = round(start_s * rate_hz), min(round(end_s * rate_hz), total_frames)
    if stop <= start:
        raise UnusableAudio(f"the segment {start_s:.10g} s to {end_s:.10g} s holds no frame")
    return start, stop


def longest_clip_s(rate_hz: int) -> float:
    """Seconds that are decoded at once of a recording of this rate."""
    return min(MAX_CLIP_S, MAX_CLIP_FRAMES / rate_hz)


def is_too_long(frames: int, rate_hz: int) -> bool:
    """Whether a stretch of a recording is longer than is decoded at once."""
    return frames > longest_clip_s(rate_hz) * rate_hz


def scan_header(path: CachePath, start_s: float = 0.0, end_s: float | None = None) -> Header:
    """Read from a file's header, or that of a container's member, how long a clip is.

    Damage may show only when the samples are decoded, and a clip longer than is decoded at once is
    measured all the same, since it may be cut.

    Raises
    ------
    RunError
        If disk, network or memory fail, and go on failing.
    """
    return _with_retries(path, lambda: _scan(path, start_s, end_s))


def _scan(path: CachePath, start_s: float, end_s: float | None) -> Header:
    rate_hz = 0
    try:
        samples = member_samples(path) if split_member(path) else None
        if samples is not None:
            (frames, rate_hz), unsized = samples, False
        else:
            with _opened(path) as recording:
                rate_hz = recording.rate_hz
                frames, unsized = recording.frames(), recording.unsized
        start, stop = segment_frames(frames, rate_hz, start_s, end_s)
    except FileNotFoundError:
        return Header(0, 0, "its container is not there")
    except (MemberProblem, UnusableAudio) as problem:
        return Header(0, rate_hz, str(problem))
    return Header(stop - start, rate_hz, "", unsized)


def is_entered(path: CachePath) -> bool:
    """Whether a window is read by itself, and not decoded from the recording's beginning.

    Raises
    ------
    RunError
        If disk, network or memory fail, and go on failing.
    """

    def look() -> bool:
        try:
            with _opened(path) as recording:
                return recording.is_entered()
        except UnusableAudio:
            return True

    return _with_retries(path, look)


def decode(
    path: CachePath,
    *,
    start_s: float = 0.0,
    end_s: float | None = None,
    sample_rate_hz: int,
    planned: bool = False,
) -> DecodedClip:
    """Decode one clip to mono at a rate.

    Only its stretch is read where the codec can be entered there; memory holds that and a block.

    Parameters
    ----------
    path : Path or Address
        A recording in any container that libsndfile reads; or the member of a container that holds one,
        or bare samples (`pipeline.audio.members`).
    start_s, end_s : float
        The stretch to decode; an end of None is the end of the file.
    sample_rate_hz : int
        Rate of the result (soxr, "HQ").
    planned : bool
        The header could be read when the run was planned: that it no longer can is no finding.

    Raises
    ------
    UnusableAudio
        If the file is missing, empty, damaged, truncated, not audio, without samples or too long to be
        decoded at once, if its rate or a sample is out of range, or if the stretch does not lie inside.
    RunError
        If disk, network or memory fail, and go on failing.
    """
    return _with_retries(
        path, lambda: _decode(path, start_s, end_s, sample_rate_hz), planned=planned
    )


def _decode(
    path: CachePath, start_s: float, end_s: float | None, sample_rate_hz: int
) -> DecodedClip:
    with _opened(path) as recording:
        rate_hz = recording.rate_hz
        start, stop = segment_frames(recording.frames(), rate_hz, start_s, end_s)
        if is_too_long(stop - start, rate_hz):
            raise TooLong(
                f"{(stop - start) / rate_hz:.10g} s long at {rate_hz} Hz, at most "
                f"{longest_clip_s(rate_hz):.10g} s are decoded at once; a corpus cuts it by ?window_s=10"
            )
        try:
            mono_S = recording.read_mono(start, stop)
        except UnusableAudio:  # for want of a page, maybe, or of another file's frames
            recording.check_not_joined(recording.source.digest())
            raise
        _check_finite(mono_S, start)
        waveform_S = _resampled(mono_S, rate_hz, sample_rate_hz)
        digest = recording.source.digest()
        recording.check_not_joined(digest)
        return DecodedClip(waveform=waveform_S, source_frames=len(mono_S), sha256=digest)


def _with_retries(
    path: CachePath, read: Callable[[], _Result], *, planned: bool = False
) -> _Result:
    """Read, again after a pause where disk, network or memory failed.

    Raises
    ------
    RunError
        If they go on failing; names the path, and how to go on.
    """
    failures = (OSError, MemoryError, UnopenedAudio) if planned else (OSError, MemoryError)
    for pause_s in RETRY_PAUSES_S:
        try:
            return read()
        except failures:
            time.sleep(pause_s)
    try:
        return read()
    except failures as error:
        raise _unreadable(path, error) from None


def _unreadable(path: CachePath, error: Exception) -> RunError:
    if isinstance(error, MemoryError):
        problem, way = "out of memory", "Give it more memory, or fewer workers"
    elif isinstance(error, UnopenedAudio):
        problem = f"{error.reason}. It could be read when this was planned"
        way = "Make it readable there, under the same path, as it was"
    else:
        problem = (error.strerror if isinstance(error, OSError) else None) or str(error)
        way = "Make it readable there (disk, network, mount, permissions)"
    return RunError(
        f"{container_of(path)} cannot be read on {socket.gethostname()}, tried "
        f"{len(RETRY_PAUSES_S) + 1} times: {problem}. No clip was left out for it. {way}, and "
        "repeat the command.",
        kind="unreadable",
    )


def resample(
    waveform_S: NDArray[np.float32], source_rate_hz: float, sample_rate_hz: float
) -> NDArray[np.float32]:
    """Resample with soxr "HQ"; the length is whatever soxr makes of the two rates."""
    result: NDArray[np.float32] = soxr.resample(
        waveform_S, source_rate_hz, sample_rate_hz, quality="HQ"
    )
    return result


def resample_exactly(
    waveform_S: NDArray[np.float32], source_rate_hz: int, sample_rate_hz: int
) -> NDArray[np.float32]:
    """Resample to exactly `resampled_length` samples; soxr rounds some exact halves downward."""
    if source_rate_hz == sample_rate_hz:
        return waveform_S
    samples = resampled_length(len(waveform_S), source_rate_hz, sample_rate_hz)
    resampled_S = resample(waveform_S, source_rate_hz, sample_rate_hz)[:samples]
    return np.pad(resampled_S, (0, samples - len(resampled_S)))


def write_flac(path: Path, waveform_S: NDArray[np.float32], sample_rate_hz: int) -> None:
    """Write mono 16-bit FLAC, making the folder; samples beyond ±1 are clipped."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, to_int16(waveform_S), sample_rate_hz, format="FLAC", subtype="PCM_16")


def to_int16(waveform_S: NDArray[np.float32]) -> NDArray[np.int16]:
    """Round samples to 16 bits of full scale 32768; those beyond ±1 are clipped."""
    steps_S = np.clip(np.rint(waveform_S * np.float32(FULL_SCALE)), -FULL_SCALE, FULL_SCALE - 1)
    result: NDArray[np.int16] = steps_S.astype(np.int16)
    return result


def encode_mp3(waveform_S: NDArray[np.float32], sample_rate_hz: int) -> bytes:
    """Encode mono MP3 at the encoder's own variable bit rate; decoding yields as many samples.

    Parameters
    ----------
    waveform_S : ndarray of float32, shape (S,)
        Samples; those beyond ±1 are clipped.
    sample_rate_hz : int
        One of `MP3_RATES_HZ`.
    """
    file = io.BytesIO()
    soundfile.write(file, to_int16(waveform_S), sample_rate_hz, format="MP3")
    return file.getvalue()


class _Sound(soundfile.SoundFile):  # type: ignore[misc]
    """Reads on from where it is.

    SoundFile itself seeks after every read of what can be sought in, which fails at the end of a stream
    whose frames nobody counted, and makes an MP3's decoder begin anew.

    Attributes
    ----------
    stopped : bool
        Damage was met.
    """

    stopped = False

    def seekable(self) -> bool:
        return False

    def block(self, frames: int) -> NDArray[np.float32]:
        """Decode some frames, as few as `BLOCK_SAMPLES` allows; none at the end or behind damage."""
        if self.stopped:
            return np.zeros(0, np.float32)
        channels = int(self.channels)
        frames = min(frames, max(1, BLOCK_SAMPLES // channels))
        block_SK = np.full((frames, channels), np.nan, np.float32)
        try:
            return _mean_over_channels(self.read(out=block_SK))
        except soundfile.LibsndfileError:  # behind what it had decoded; it would go on, somewhere
            self.stopped = True
            decoded = int(np.append(np.isnan(block_SK).any(axis=1), True).argmax())
            return _mean_over_channels(block_SK[:decoded])


class _Recording:
    """An open recording.

    Attributes
    ----------
    source : Source
        Its bytes.
    rate_hz : int
        Rate of the file.
    unsized : bool
        The header had no true size.
    """

    def __init__(self, source: Source, suffix: str) -> None:
        extent = container_extent(source)
        if extent.problem:
            raise UnopenedAudio(extent.problem)
        if problem := joined_behind_count(source):  # which the true count would hide
            raise UnopenedAudio(problem)
        source.patches.update(extent.patches or true_byte_count(source))
        self.source, self._suffix = source, suffix
        self._sound = _open_sound(source, suffix)
        if self._sound.format == "MP3":  # maybe one that begins further on
            with source.place_kept():
                problem = joined_behind_count(source)
            if problem:
                raise UnopenedAudio(problem)
        self.rate_hz = int(self._sound.samplerate)
        self.unsized = extent.unsized or int(self._sound.frames) >= UNCOUNTED_FRAMES
        if not MIN_RATE_HZ <= self.rate_hz <= MAX_RATE_HZ:
            raise UnopenedAudio(
                f"the header declares {self.rate_hz} Hz, expected {MIN_RATE_HZ} to {MAX_RATE_HZ} Hz"
            )

    def frames(self) -> int:
        """Frames by the header, or counted where it gives no count or too high a one.

        A plan makes room for what is promised here, so a damaged header must not get away with it.
        """
        frames = int(self._sound.frames)
        if self.source.claimed_bytes or frames >= UNCOUNTED_FRAMES:
            return self._counted()
        if frames <= 0:
            raise UnopenedAudio(f"the file holds no samples ({frames} frames)")
        doubted = frames > MAX_FRAMES_PER_BYTE * self.source.size
        if doubted and (count := self._counted()) != frames:
            raise UnopenedAudio(
                f"truncated or damaged: the header declares {frames} frames, decoding them stopped "
                f"after {count}"
            )
        return frames

    def _counted(self) -> int:
        """Count the frames by decoding them, once for all windows, and open the recording anew."""
        digest = self.source.digest()
        if count := _counts.get(digest, 0):
            return count
        count = _decode_all(self._sound)
        self.source.raise_failure()  # a count that a disk cut short is none to keep
        kind, stopped = str(self._sound.format), self._sound.stopped
        if problem := problem_behind_decoded(self.source, kind, count, stopped=stopped):
            raise UnopenedAudio(problem)
        if count == 0:
            raise UnopenedAudio(NO_SAMPLES)
        _keep(_counts, digest, count)
        self._reopen()
        return count

    def check_not_joined(self, digest: str) -> None:
        """Reject all windows of what is several files, joined; `digest` is that of the bytes.

        Some of them are read for it, so when a clip is decoded and not when it is measured.
        """
        if digest not in _joined:
            with self.source.place_kept():
                problem = problem_of_joining(self.source, str(self._sound.format))
            self.source.raise_failure()
            _keep(_joined, digest, problem)
        if _joined[digest]:
            raise UnusableAudio(_joined[digest])

    def read_mono(self, start: int, stop: int) -> NDArray[np.float32]:
        """Read frames from start to stop as their mean over channels, shape (S,)."""
        position = self._move_near(start)
        blocks: list[NDArray[np.float32]] = []
        while position < stop:
            wanted = (start if position < start else stop) - position
            block_S = self._sound.block(wanted)
            if not len(block_S):
                raise UnusableAudio(
                    f"truncated or damaged: the header declares {self._sound.frames} frames, decoding "
                    f"{stop} of them stopped after {position}"
                )
            if position >= start:
                blocks.append(block_S)
            position += len(block_S)
        return np.concatenate(blocks)

    def is_entered(self) -> bool:
        """Whether decoding can begin at a frame that is not the first."""
        return self._move_near(int(self._sound.frames) // 2) > 0

    def _move_near(self, start: int) -> int:
        """Go to a frame, or as near before it as the codec allows; returns where it is."""
        # An MP3 decoder joins a stream cleanly only at its beginning.
        if start == 0 or self._sound.format == "MP3":
            return 0
        try:
            return int(self._sound.seek(start))
        except soundfile.LibsndfileError:  # a codec that only goes on, as GSM 6.10
            self._reopen()
            return 0

    def _reopen(self) -> None:
        self.close()
        self._sound = _open_sound(self.source, self._suffix)

    def close(self) -> None:
        """Close what decodes it."""
        self._sound.close()


def _open_sound(source: Source, suffix: str) -> _Sound:
    """Open from the beginning; what begins with no known header, by its first MP3 frame or name."""
    source.seek(0)
    try:
        sound = _Sound(source)
    except soundfile.LibsndfileError as error:
        if error.code != 1:  # format not recognised
            raise
        begin = first_mp3_frame(source)
        if begin:
            source.begin = begin
            return _open_sound(source, suffix)
        if suffix not in _HEADERLESS:
            raise
        source.seek(0)
        kind = {"format": "RAW", "subtype": _HEADERLESS[suffix]}
        return _Sound(source, samplerate=_HEADERLESS_RATE_HZ, channels=1, **kind)
    if source.claimed_bytes or sound.format != "MP3" or _counts_frames(source):
        return sound
    # Its decoder goes no further than a length that it guesses from the first frame's.
    sound.close()
    source.claimed_bytes = CLAIMED_BYTES
    return _open_sound(source, suffix)


def _counts_frames(source: Source) -> bool:
    with source.place_kept():
        return counts_frames(source)


def _decode_all(sound: _Sound) -> int:
    """Decode to the end; returns the frames."""
    count = 0
    while read := len(sound.block(BLOCK_SAMPLES)):
        count += read
        if count > MAX_RECORDING_S * sound.samplerate:
            raise UnopenedAudio(
                f"longer than {MAX_RECORDING_S:g} s, and its header gives no length"
            )
    return count


def _keep(known: dict[str, _Result], digest: str, found: _Result) -> None:
    if len(known) >= MAX_KNOWN:
        known.clear()
    known[digest] = found


@contextmanager
def _opened(path: CachePath) -> Iterator[_Recording]:
    """Open a recording; whatever its decoder raises from then on is a finding about it."""
    finding: type[UnusableAudio] = UnopenedAudio
    try:
        with (
            open_source(path) as source,
            closing(_Recording(source, path.suffix.lower())) as recording,
        ):
            finding = UnusableAudio
            yield recording
    except SourceProblem as problem:
        raise UnopenedAudio(str(problem)) from None
    except soundfile.LibsndfileError as error:
        why = error.error_string.rstrip(".")
        if not why or "does not exist" in why:  # what libsndfile reports for an MP3 without a frame
            why = f"no frame of audio found, libsndfile error {error.code}"
        raise finding(f"not audio that can be decoded ({why})") from None
    except (UnusableAudio, OSError, MemoryError, RunError):
        raise
    except Exception as error:  # a decoder may raise anything; its text may hold addresses
        raise finding(f"not audio that can be decoded ({type(error).__name__})") from error


def _check_finite(mono_S: NDArray[np.float32], start: int) -> None:
    """Reject NaN, infinity and what no scale explains, which views and resampling would spread."""
    wild_S = ~(np.abs(mono_S) <= MAX_SAMPLE)
    if wild_S.any():
        at = int(wild_S.argmax())
        value = float(mono_S[at])
        what = (
            f"{value:g}, beyond any scale" if np.isfinite(value) else "no finite number of 32 bits"
        )
        raise UnusableAudio(f"sample {start + at} is {what}")


def _mean_over_channels(block_SK: NDArray[np.float32]) -> NDArray[np.float32]:
    if block_SK.shape[1] == 1:
        return block_SK[:, 0]
    # Infinite samples are found later, in the mean.
    with np.errstate(invalid="ignore", over="ignore"):
        mean_S: NDArray[np.float32] = block_SK.mean(axis=1, dtype=np.float32)
    return mean_S


def _resampled(
    mono_S: NDArray[np.float32], source_rate_hz: int, sample_rate_hz: int
) -> NDArray[np.float32]:
    """Resample what leaves at least a sample."""
    if resampled_length(len(mono_S), source_rate_hz, sample_rate_hz) == 0:
        raise UnusableAudio(
            f"too short: {len(mono_S)} frame(s) at {source_rate_hz} Hz are no sample at "
            f"{sample_rate_hz} Hz"
        )
    return resample_exactly(mono_S, source_rate_hz, sample_rate_hz)
