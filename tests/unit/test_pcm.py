"""Samples from a pipe: bare in every format, or behind a WAV header."""

from __future__ import annotations

import io
import struct
import wave
from pathlib import Path

import numpy as np
import pytest
import soundfile

from cache_schema.errors import UsageError
from pipeline.audio.decode import resample_exactly
from student.predict.pcm import FORMATS, read_pipe
from student.predict.recordings import UnusableRecording

RATE_HZ = 16_000
WAVE = np.random.default_rng(0).uniform(-0.9, 0.9, 5000).astype(np.float32)
SUBTYPES = {
    "S16_LE": "PCM_16", "S24_3LE": "PCM_24", "S32_LE": "PCM_32", "FLOAT_LE": "FLOAT", "U8": "PCM_U8",
}  # fmt: skip


class Pipe(io.RawIOBase):
    """Gives what was requested in pieces of odd sizes, as a pipe does."""

    def __init__(self, content: bytes, piece: int = 1000) -> None:
        super().__init__()
        self._content, self._piece = io.BytesIO(content), piece

    def read(self, size: int = -1, /) -> bytes:
        return self._content.read(min(size, self._piece) if size > 0 else self._piece)


# 40 bytes as its head counts them (ADTS, 48 kHz, stereo).
AAC_FRAME = b"\xff\xf1\x4c\x80\x05\x1f\xfc" + bytes(33)


def decoded(
    content: bytes, rate_hz: int | None = None, form: str | None = None, piece: int = 1001
) -> np.ndarray:
    return np.concatenate(list(read_pipe(Pipe(content, piece), RATE_HZ, rate_hz, form)))


def bare(form: str) -> tuple[bytes, np.ndarray]:
    """Samples as libsndfile writes them, and as it reads them."""
    content = io.BytesIO()
    kind = {"format": "RAW", "subtype": SUBTYPES[form]}
    soundfile.write(content, WAVE, RATE_HZ, **kind)
    content.seek(0)
    expected, _ = soundfile.read(content, dtype="float32", samplerate=RATE_HZ, channels=1, **kind)
    return content.getvalue(), expected


def wav(
    samples: np.ndarray, rate_hz: int = RATE_HZ, subtype: str = "PCM_16", kind: str = "WAV"
) -> bytes:
    content = io.BytesIO()
    soundfile.write(content, samples, rate_hz, format=kind, subtype=subtype)
    return content.getvalue()


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("piece", [1, 7, 4096])
def test_bare_samples_of_every_format_are_libsndfiles(form: str, piece: int) -> None:
    content, expected = bare(form)
    np.testing.assert_array_equal(decoded(content, form=form, piece=piece), expected)


def test_16_bits_at_the_students_rate_are_taken_for_granted() -> None:
    content, expected = bare("S16_LE")
    np.testing.assert_array_equal(decoded(content), expected)


def test_another_rate_is_resampled_as_a_recordings() -> None:
    content, expected = bare("S16_LE")
    found = decoded(content, rate_hz=44_100)
    np.testing.assert_array_equal(found, resample_exactly(expected, 44_100, RATE_HZ))


def test_half_a_sample_at_the_end_is_dropped() -> None:
    content, expected = bare("S24_3LE")
    np.testing.assert_array_equal(decoded(content[:-2], form="S24_3LE"), expected[:-1])


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT"])
@pytest.mark.parametrize("kind", ["WAV", "WAVEX"])
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_a_wav_states_what_it_is(kind: str, subtype: str, channels: int) -> None:
    samples = np.stack([WAVE, -WAVE / 3, *[WAVE / 5] * 4][:channels], axis=1)
    content = wav(samples, 8000, subtype, kind)
    expected, _ = soundfile.read(io.BytesIO(content), dtype="float32", always_2d=True)
    found = decoded(content)
    wanted = resample_exactly(expected.mean(1, dtype=np.float32), 8000, RATE_HZ)
    np.testing.assert_allclose(found, wanted, atol=1e-6)


@pytest.mark.parametrize("size", [0, 0x7FFF_FFFF, 0xFFFF_FFFF, 0x7FFF_F000])
def test_a_wav_of_unknown_length_goes_on_to_the_end(size: int) -> None:
    content = bytearray(wav(WAVE))
    struct.pack_into("<I", content, content.index(b"data") + 4, size)
    struct.pack_into("<I", content, 4, 0xFFFF_FFFF)
    np.testing.assert_array_equal(decoded(bytes(content)), decoded(wav(WAVE)))


def test_what_follows_the_samples_of_a_wav_is_not_decoded() -> None:
    more = b"LIST" + struct.pack("<I", 600) + bytes(600)
    np.testing.assert_array_equal(decoded(wav(WAVE) + more), decoded(wav(WAVE)))


def test_what_ffmpeg_puts_before_the_samples_is_passed_over() -> None:
    content = wav(WAVE)
    place = content.index(b"data")
    more = (
        b"LIST" + struct.pack("<I", 26) + b"INFOISFT" + struct.pack("<I", 14) + b"Lavf60.16.100\0"
    )
    found = decoded(content[:place] + more + content[place:])
    np.testing.assert_array_equal(found, decoded(content))


def test_megabytes_before_the_samples_are_passed_over() -> None:
    content = wav(WAVE)
    more = b"JUNK" + struct.pack("<I", 3_000_001) + bytes(3_000_002)
    np.testing.assert_array_equal(decoded(content[:12] + more + content[12:]), decoded(content))


def test_a_wav_that_is_requested_otherwise_is_rejected() -> None:
    with pytest.raises(UsageError, match="WAV header of 16000 Hz and S16_LE, requested 8000 Hz"):
        decoded(wav(WAVE), rate_hz=8000)
    with pytest.raises(UsageError, match="Leave --rate and --format out"):
        decoded(wav(WAVE), form="S32_LE")
    np.testing.assert_array_equal(decoded(wav(WAVE), RATE_HZ, "S16_LE"), decoded(wav(WAVE)))


@pytest.mark.parametrize(
    ("content", "reported"),
    [
        (b"", "no samples"),
        (b"\0", "no samples"),
        (b"RIFF", r"WAV header cannot be read \(it ends too soon"),
        (b"RIFF\xff\xff\xff\xffJUNK" + bytes(100), "it is RIFF of the kind b'JUNK'"),
        (
            b"RIFF\xff\xff\xff\xffWAVE" + b"LIST\xff\xff\xff\x7f" + bytes(200_000),
            "longer than 16 MiB",
        ),
        (
            b"RIFF\xff\xff\xff\xffWAVEdata\xff\xff\xff\xff" + bytes(99),
            "its format takes 16 bytes, and it has 0",
        ),
        (wav(WAVE, subtype="DOUBLE"), "code 3, 64 bits a sample.* Send bare samples instead"),
        (wav(WAVE, subtype="MS_ADPCM"), "code 2, 4 bits a sample"),
        (wav(WAVE)[:30], "it ends too soon"),
        (wav(WAVE, rate_hz=10), "its WAV header has 10 Hz"),
        (wav(np.zeros(0)), "no samples"),
        (np.array([0.1, np.nan], "<f4").tobytes(), "sample 1 is no finite number of 32 bits"),
    ],
)
def test_what_cannot_be_decoded_is_reported(content: bytes, reported: str) -> None:
    form = "FLOAT_LE" if len(content) == 8 else None
    with pytest.raises(UnusableRecording, match=reported):
        decoded(content, form=form)


def test_samples_are_given_as_they_come() -> None:
    taken = []

    class Slow(Pipe):
        def read(self, size: int = -1, /) -> bytes:
            taken.append(size)
            return super().read(size)

    blocks = read_pipe(Slow(bytes(64_000), 640), RATE_HZ, None, None)
    assert len(next(blocks)) == 6  # the twelve bytes that might have begun a container
    assert len(next(blocks)) == 320
    assert len(taken) == 2


def test_the_header_of_arecord_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE_HZ)
        file.writeframes(b"\1\0" * 100)
    np.testing.assert_array_equal(decoded(path.read_bytes()), np.full(100, 2.0**-15))


@pytest.mark.parametrize(
    ("kind", "subtype"),
    [("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("AIFF", "PCM_16"), ("AU", "PCM_16"), ("CAF", "PCM_16"),
     ("W64", "PCM_16"), ("RF64", "PCM_16"), ("NIST", "PCM_16"), ("VOC", "PCM_16"), ("AVR", "PCM_16"),
     ("PAF", "PCM_16"), ("PVF", "PCM_16"), ("IRCAM", "PCM_16"), ("MAT5", "PCM_16"), ("XI", "DPCM_16"),
     ("SDS", "PCM_16"), ("WVE", "ALAW"), ("MP3", "MPEG_LAYER_III")],
)  # fmt: skip
def test_another_container_is_not_decoded_as_samples(kind: str, subtype: str) -> None:
    content = io.BytesIO()
    soundfile.write(content, WAVE, RATE_HZ, format=kind, subtype=subtype)
    for form in (None, "S16_LE"):
        with pytest.raises(UnusableRecording, match=f"it is {kind}, and".replace("OGG", "Ogg")):
            decoded(content.getvalue(), form=form)


@pytest.mark.parametrize(
    ("head", "name"),
    [(b"\0\0\0\x1cftypM4A ", "MP4"), (b"\x1a\x45\xdf\xa3", "WebM"), (b"\x1f\x8b\x08", "gzip"),
     (b"BW64\xff\xff\xff\xffWAVE", "BW64"), (b"#!AMR\n", "AMR"), (AAC_FRAME * 2, "AAC")],
)  # fmt: skip
def test_what_libsndfile_does_not_write_is_not_decoded_as_samples(head: bytes, name: str) -> None:
    with pytest.raises(UnusableRecording, match=f"it is {name}") as caught:
        decoded(head + bytes(1000))
    # as a file libsndfile reads it, or does not
    assert ("or name the file" in str(caught.value)) == (name == "BW64")


def test_one_frame_of_aac_may_be_samples() -> None:
    assert len(decoded(AAC_FRAME + bytes(1000))) == (len(AAC_FRAME) + 1000) // 2


@pytest.mark.parametrize("rate_hz", [8_000, 11_025, 16_000, 24_000, 32_000, 44_100, 48_000])
def test_an_mp3_of_any_rate_is_known_by_two_frames_and_samples_by_one(rate_hz: int) -> None:
    content = io.BytesIO()
    soundfile.write(content, WAVE, rate_hz, format="MP3")
    with pytest.raises(UnusableRecording, match="it is MP3"):
        decoded(content.getvalue())
    samples = content.getvalue()[:4] + bytes(9_000)
    np.testing.assert_array_equal(decoded(samples)[:2], np.frombuffer(samples[:4], "<i2") / 2.0**15)
    assert len(decoded(samples)) == len(samples) // 2
