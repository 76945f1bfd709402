"""Audio files in and out: the only module that imports soundfile and soxr.

A header scan gives the frames a clip has before anything is decoded, `resampled_length` turns them
into samples by arithmetic, and `decode` yields exactly that many, or says why it cannot.
Shape suffixes: S = samples, K = channels.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from pipeline.audio.members import MemberProblem, member_samples, read_member, split_member
from pipeline.audio.truncation import container_problem, lacks_frame_count

RESAMPLER = f"soxr HQ {soxr.__version__}"
DECODER = f"libsndfile {soundfile.__libsndfile_version__}"
AUDIO_SUFFIXES = (".flac", ".mp3", ".oga", ".ogg", ".opus", ".wav")
# Manifests round to milliseconds, so an end may lie that far past the last sample.
END_TOLERANCE_S = 1e-3
# What libsndfile calls the containers that are read; it knows twenty more.
CONTAINERS = (
    "AIFF", "AU", "CAF", "FLAC", "MP3", "NIST", "OGG", "RF64", "W64", "WAV", "WAVEX",
)  # fmt: skip
MP3_RATES_HZ = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
BLOCK_SAMPLES = 1 << 20
# What a header may say before it is doubted. Outside these rates a small file would be hours long;
# more frames to a byte than the densest speech codec has are counted by decoding them.
LOWEST_RATE_HZ, HIGHEST_RATE_HZ = 1_000, 1_000_000
MOST_FRAMES_PER_BYTE = 64
# Full scale of samples that were stored as 32-bit integers; views multiply what is below it.
LARGEST_SAMPLE = 2.0**31


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


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodedClip:
    """Samples of a clip and where they came from.

    Attributes
    ----------
    waveform : ndarray of float32, shape (S,)
        Mono, the mean over channels, at the asked rate; full scale is ±1.
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
            f"the segment {start_s:g} s to {end_s:g} s does not lie inside the file, which is "
            f"{length_s:g} s long"
        )
    start, stop = round(start_s * rate_hz), min(round(end_s * rate_hz), total_frames)
    if stop <= start:
        raise UnusableAudio(f"the segment {start_s:g} s to {end_s:g} s holds no frame")
    return start, stop


def scan_header(path: Path, start_s: float = 0.0, end_s: float | None = None) -> tuple[int, int]:
    """Read from a file's header, or that of a container's member, how long a clip is.

    Truncation and damage may show only when the samples are decoded.

    Returns
    -------
    frames : int
        Source frames of the stretch; 0 if it cannot be used.
    rate_hz : int
        Rate of the file; 0 if the file cannot be read.
    """
    rate_hz = 0
    try:
        if split_member(path):
            total, rate_hz = _member_header(path)
        elif not path.is_file():
            return 0, 0
        else:
            with path.open("rb") as file, _opened(path) as sound:
                rate_hz = _checked_rate(sound)
                total = _total_frames(file, sound)
        start, stop = segment_frames(total, rate_hz, start_s, end_s)
    except (OSError, ValueError, UnusableAudio):
        return 0, rate_hz
    return stop - start, rate_hz


def decode(
    path: Path, *, start_s: float = 0.0, end_s: float | None = None, sample_rate_hz: int
) -> DecodedClip:
    """Decode one clip to mono at a rate.

    The file is read once, so that the digest and the samples are of the same bytes.

    Parameters
    ----------
    path : Path
        WAV, FLAC, Ogg (Vorbis or Opus) or MP3; or the member of a container that holds one of these,
        or bare samples (`pipeline.audio.members`).
    start_s, end_s : float
        The stretch to decode; an end of None is the end of the file.
    sample_rate_hz : int
        Rate of the result (soxr, "HQ").

    Raises
    ------
    UnusableAudio
        If the file is missing, empty, damaged, truncated, not audio or without samples, if its rate
        or a sample is out of range, or if the stretch does not lie inside it.
    """
    head, content = _content(path)
    stream = _Stream(head + content)
    if problem := container_problem(stream):
        raise UnusableAudio(problem)
    with _opened(stream) as sound:
        rate_hz = _checked_rate(sound)
        total = _total_frames(stream, sound)
        start, stop = segment_frames(total, rate_hz, start_s, end_s)
        mono_S = _read_mono(sound, start, stop)
    _refuse_wild_samples(mono_S, start)
    return DecodedClip(
        waveform=_resampled(mono_S, rate_hz, sample_rate_hz),
        source_frames=len(mono_S),
        sha256=hashlib.sha256(content).hexdigest(),
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
    """Round samples to 16 bits, of which 32768 are full scale; those beyond ±1 are clipped."""
    steps_S = np.clip(np.rint(waveform_S * np.float32(32768)), -32768, 32767)
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


def _member_header(path: Path) -> tuple[int, int]:
    """Frames and rate of a container's member."""
    try:
        samples = member_samples(path)
    except MemberProblem as problem:
        raise UnusableAudio(str(problem)) from None
    if samples is not None:
        return samples
    stream = _Stream(b"".join(_content(path)))
    with _opened(stream) as sound:
        return _total_frames(stream, sound), _checked_rate(sound)


def _content(path: Path) -> tuple[bytes, bytes]:
    """Read a whole file, or a container's member: a head that makes a file of it, and its bytes."""
    head = b""
    try:
        if split_member(path):
            head, content = read_member(path)
        elif path.exists() and not path.is_file():
            raise UnusableAudio("not a file that can be read (a folder or a device)")
        else:
            content = path.read_bytes()
    except MemberProblem as problem:
        raise UnusableAudio(str(problem)) from None
    except OSError as error:
        raise UnusableAudio(f"cannot be read: {(error.strerror or 'I/O error').lower()}") from None
    except MemoryError:
        raise UnusableAudio("larger than the memory it would be read into") from None
    if not content:
        raise UnusableAudio("the file is empty (0 bytes)")
    return head, content


class _Stream(io.BytesIO):
    """Bytes in which libsndfile may look for anything: damaged offsets lead before the beginning."""

    def seek(self, position: int, whence: int = 0, /) -> int:
        """Move; to the beginning where the place would lie before it."""
        base = (0, self.tell(), len(self.getbuffer()))[whence]
        return super().seek(max(0, base + position))


def _opened(source: Path | BinaryIO) -> soundfile.SoundFile:
    """Open audio, or say that it is none."""
    try:
        sound = soundfile.SoundFile(source)
    except soundfile.LibsndfileError as error:
        why = error.error_string.rstrip(".")
        if not why or "does not exist" in why:  # what libsndfile says of an MP3 without a frame
            why = f"no frame of audio found, libsndfile error {error.code}"
        raise UnusableAudio(f"not audio that can be decoded ({why})") from None
    if sound.format not in CONTAINERS:
        sound.close()
        raise UnusableAudio(
            f"not audio that can be decoded ({sound.format}; expected {', '.join(CONTAINERS)})"
        )
    return sound


def _checked_rate(sound: soundfile.SoundFile) -> int:
    rate_hz = int(sound.samplerate)
    if not LOWEST_RATE_HZ <= rate_hz <= HIGHEST_RATE_HZ:
        raise UnusableAudio(
            f"the header says {rate_hz} Hz, expected {LOWEST_RATE_HZ} to {HIGHEST_RATE_HZ} Hz"
        )
    return rate_hz


def _total_frames(stream: BinaryIO, sound: soundfile.SoundFile) -> int:
    """Frames by the header, or counted where an MP3 does not say or the header promises too many.

    A plan makes room for what is promised here, so a damaged header must not get away with it.
    """
    position = stream.tell()
    size_bytes = stream.seek(0, 2)
    stream.seek(0)
    guessed = sound.format == "MP3" and lacks_frame_count(stream)
    stream.seek(position)
    if guessed:
        return _counted_frames(sound)
    frames = int(sound.frames)
    if frames <= 0:
        raise UnusableAudio(f"the file holds no samples ({frames} frames)")
    if frames > MOST_FRAMES_PER_BYTE * size_bytes and (count := _counted_frames(sound)) != frames:
        raise UnusableAudio(
            f"truncated or damaged: the header says {frames} frames, the file holds {count}"
        )
    return frames


def _counted_frames(sound: soundfile.SoundFile) -> int:
    """Decode everything to count it."""
    count = 0
    try:
        # Not SoundFile.blocks: it trusts the header's count.
        while read := len(sound.read(_block_frames(sound), "float32")):
            count += read
        sound.seek(0)
    except soundfile.LibsndfileError:
        raise UnusableAudio(
            f"truncated or damaged: the header says {sound.frames} frames, decoding them stopped after "
            f"{max(count, sound.tell())}"
        ) from None
    if count == 0:
        raise UnusableAudio("the file holds no samples (0 frames)")
    return count


def _read_mono(sound: soundfile.SoundFile, start: int, stop: int) -> NDArray[np.float32]:
    """Read frames from start to stop as their mean over channels, shape (S,)."""
    # An MP3 decoder joins a stream cleanly only at its beginning.
    first = 0 if sound.format == "MP3" else start
    # Block by block: a damaged header may promise more frames than memory holds.
    blocks: list[NDArray[np.float32]] = []
    position, failed = first, False
    try:
        sound.seek(first)
        while position < stop and not failed:
            frames = min(_block_frames(sound), stop - position)
            block_SK = sound.read(frames, "float32", always_2d=True)
            blocks.append(_mean_over_channels(block_SK))
            position += len(block_SK)
            failed = len(block_SK) == 0
    except soundfile.LibsndfileError:
        position, failed = max(position, min(sound.tell(), stop)), True
    if failed:
        raise UnusableAudio(
            f"truncated or damaged: the header says {sound.frames} frames, decoding {stop} of them "
            f"stopped after {position}"
        )
    return np.concatenate(blocks)[start - first :]


def _block_frames(sound: soundfile.SoundFile) -> int:
    return max(1, BLOCK_SAMPLES // int(sound.channels))


def _refuse_wild_samples(mono_S: NDArray[np.float32], start: int) -> None:
    """Refuse NaN, infinity and what no scale explains, which views and resampling would spread."""
    wild_S = ~(np.abs(mono_S) <= LARGEST_SAMPLE)
    if wild_S.any():
        at = int(wild_S.argmax())
        value = float(mono_S[at])
        what = f"{value:g}, beyond any scale" if np.isfinite(value) else "not a finite number"
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
