"""Reading audio: what is decoded, and what each kind of unusable file is reported as."""

from __future__ import annotations

import hashlib
import io
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile

from cache_schema.mp3_frames import counts_frames
from pipeline.audio.decode import (
    RESAMPLER,
    UnusableAudio,
    decode,
    resampled_length,
    scan_header,
    write_flac,
)

RATE_HZ = 16_000
FORMATS = {
    "wav": ("WAV", "PCM_16"),
    "flac": ("FLAC", "PCM_16"),
    "ogg": ("OGG", "VORBIS"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
}


def audio_file(path: Path, kind: str = "wav", frames: int = 20_000, channels: int = 1) -> Path:
    time_s = np.arange(frames) / RATE_HZ
    tones = [0.3 * np.sin(2 * np.pi * (200 + 100 * k) * time_s) for k in range(channels)]
    container, subtype = FORMATS[kind]
    path = path / f"clip.{kind}"
    soundfile.write(path, np.stack(tones, axis=1), RATE_HZ, format=container, subtype=subtype)
    return path


def reason(path: Path, start_s: float = 0.0, end_s: float | None = None) -> str:
    with pytest.raises(UnusableAudio) as caught:
        decode(path, start_s=start_s, end_s=end_s, sample_rate_hz=RATE_HZ)
    assert str(path.parent) not in caught.value.reason
    assert str(caught.value) == caught.value.reason
    return caught.value.reason


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_decodes_to_what_the_header_scan_finds(tmp_path: Path, kind: str) -> None:
    path = audio_file(tmp_path, kind)
    clip = decode(path, sample_rate_hz=RATE_HZ)
    assert scan_header(path)[:2] == (20_000, RATE_HZ)
    assert clip.source_frames == len(clip.waveform) == 20_000
    assert clip.waveform.dtype == np.float32
    np.testing.assert_allclose(clip.waveform.std(), 0.3 / np.sqrt(2), rtol=0.03)


@pytest.mark.parametrize("kind", FORMATS)
def test_a_segment_is_the_same_stretch_of_the_whole(tmp_path: Path, kind: str) -> None:
    path = audio_file(tmp_path, kind)
    whole = decode(path, sample_rate_hz=RATE_HZ)
    part = decode(path, start_s=0.3, end_s=0.7, sample_rate_hz=RATE_HZ)
    assert scan_header(path, 0.3, 0.7)[:2] == (6400, RATE_HZ)
    np.testing.assert_array_equal(part.waveform, whole.waveform[4800:11200])
    assert part.sha256 == whole.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_eight_channels_become_their_mean(tmp_path: Path) -> None:
    path = audio_file(tmp_path, "wav", channels=8)
    eight, _ = soundfile.read(path, dtype="float32", always_2d=True)
    clip = decode(path, sample_rate_hz=RATE_HZ)
    np.testing.assert_allclose(clip.waveform, eight.mean(axis=1), atol=1e-7)


def test_a_resampled_tone_keeps_its_frequency(tmp_path: Path) -> None:
    path = audio_file(tmp_path, frames=RATE_HZ)
    clip = decode(path, sample_rate_hz=44_100)
    assert len(clip.waveform) == 44_100
    assert int(np.abs(np.fft.rfft(clip.waveform)).argmax()) == 200
    assert RESAMPLER.startswith("soxr HQ ")


def test_an_exact_half_is_rounded_up_where_soxr_rounds_down(tmp_path: Path) -> None:
    path = tmp_path / "clip.wav"
    soundfile.write(path, np.full(940, 0.25), 12_000)
    assert resampled_length(940, 12_000, 44_100) == 3455
    assert len(decode(path, sample_rate_hz=44_100).waveform) == 3455


def test_a_missing_file_is_named_by_its_reason_only(tmp_path: Path) -> None:
    assert reason(tmp_path / "none.wav") == "cannot be read: no such file or directory"
    assert scan_header(tmp_path / "none.wav")[:2] == (0, 0)


def test_an_empty_file_is_unusable(tmp_path: Path) -> None:
    path = tmp_path / "clip.wav"
    path.touch()
    assert "0 bytes" in reason(path)
    assert scan_header(path)[:2] == (0, 0)


def test_a_folder_is_unusable(tmp_path: Path) -> None:
    assert "folder" in reason(tmp_path)
    assert scan_header(tmp_path)[:2] == (0, 0)


@pytest.mark.parametrize("content", [b"hello\n" * 500, bytes(5000), b"\xff\xfb\x90abc" * 99, b"R"])
def test_what_is_not_audio_is_reported_as_none(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "clip.mp3"
    path.write_bytes(content)
    assert "not audio" in reason(path)
    assert scan_header(path)[:2] == (0, 0)


def test_a_git_lfs_pointer_is_recognised(tmp_path: Path) -> None:
    path = tmp_path / "clip.wav"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    assert "git lfs pull" in reason(path)


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("share", [0.6, 0.99])
def test_truncated_audio_shows_both_values(tmp_path: Path, kind: str, share: float) -> None:
    path = audio_file(tmp_path, kind)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    message = reason(path)
    assert message.startswith("truncated")
    assert sum(word.strip(",").isdigit() for word in message.split()) >= 2


def test_the_intact_part_of_a_truncated_flac_is_usable(tmp_path: Path) -> None:
    path = audio_file(tmp_path, "flac", frames=80_000)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    assert decode(path, end_s=0.5, sample_rate_hz=RATE_HZ).source_frames == 8000


def test_a_wav_written_to_a_pipe_is_not_taken_for_truncated(tmp_path: Path) -> None:
    path = audio_file(tmp_path)
    content = bytearray(path.read_bytes())
    place = content.index(b"data") + 4
    content[place : place + 4] = content[4:8] = b"\xff\xff\xff\xff"
    path.write_bytes(content)
    assert decode(path, sample_rate_hz=RATE_HZ).source_frames == 20_000


def test_a_file_without_samples_is_unusable(tmp_path: Path) -> None:
    path = tmp_path / "clip.wav"
    soundfile.write(path, np.zeros(0), RATE_HZ)
    assert "0 frames" in reason(path)
    assert scan_header(path)[:2] == (0, RATE_HZ)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_sample_that_is_no_number_is_named(tmp_path: Path, bad: float) -> None:
    path = tmp_path / "clip.wav"
    wave = np.zeros((9000, 2), np.float32)
    wave[5000, 1] = bad
    soundfile.write(path, wave, RATE_HZ, subtype="FLOAT")
    assert reason(path) == "sample 5000 is no finite number of 32 bits"
    assert reason(path, 0.25) == "sample 5000 is no finite number of 32 bits"


def test_too_little_for_one_sample_is_unusable(tmp_path: Path) -> None:
    path = tmp_path / "clip.wav"
    soundfile.write(path, np.ones(1), 48_000)
    assert "no sample at 16000 Hz" in reason(path)


@pytest.mark.parametrize(("start_s", "end_s"), [(2.0, None), (0.5, 1.3), (0.5, 0.5), (-1.0, 1.0)])
def test_a_segment_outside_the_file_is_unusable(
    tmp_path: Path, start_s: float, end_s: float | None
) -> None:
    path = audio_file(tmp_path)
    assert "1.25 s long" in reason(path, start_s, end_s)
    assert scan_header(path, start_s, end_s)[:2] == (0, RATE_HZ)


def test_an_end_rounded_to_milliseconds_is_forgiven(tmp_path: Path) -> None:
    path = audio_file(tmp_path, frames=20_007)
    assert decode(path, end_s=1.251, sample_rate_hz=RATE_HZ).source_frames == 20_007
    assert scan_header(path, 0.0, 1.251)[:2] == (20_007, RATE_HZ)


def test_an_mp3_without_a_frame_count_is_counted(tmp_path: Path) -> None:
    wave = np.concatenate([np.zeros(64_000), 0.2 * np.sin(np.arange(64_000) ** 1.3)])
    stream = io.BytesIO()
    soundfile.write(
        stream, wave, RATE_HZ, format="MP3", bitrate_mode="VARIABLE", compression_level=0.5
    )
    content = stream.getvalue()
    assert counts_frames(io.BytesIO(content))
    path = tmp_path / "clip.mp3"
    path.write_bytes(content[content.index(content[:2], 10) :])
    frames = scan_header(path).frames
    assert abs(frames - 128_000) < 3000
    assert decode(path, sample_rate_hz=RATE_HZ).source_frames == frames


def test_the_frame_count_is_found_behind_an_id3_tag() -> None:
    tag = b"ID3\x04\x00\x00" + bytes([0, 0, 2, 1]) + bytes(257)
    frame = tag + b"\xff\xfb\x90\x00" + bytes(32)
    assert counts_frames(io.BytesIO(frame + b"Info\0\0\0\x0f"))
    assert not counts_frames(io.BytesIO(frame + b"Info\0\0\0\x0e"))  # of bytes and quality alone
    assert not counts_frames(io.BytesIO(frame + bytes(32)))


def test_written_flac_reads_back_to_half_a_step(tmp_path: Path) -> None:
    wave = np.linspace(-1.2, 1.2, 5000, dtype=np.float32)
    path = tmp_path / "new" / "clip.flac"
    write_flac(path, wave, RATE_HZ)
    clip = decode(path, sample_rate_hz=RATE_HZ)
    np.testing.assert_allclose(clip.waveform, np.clip(wave, -1, 32767 / 32768), atol=0.5 / 32768)


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_ogg_streams_one_after_another_are_not_taken_for_the_first_alone(
    subtype: str, tmp_path: Path
) -> None:
    """As `cat a.ogg b.ogg` and a recorded web radio make them; libsndfile ends with the first."""
    streams = []
    for seed in (0, 1):
        stream = io.BytesIO()
        wave = 0.1 * np.random.default_rng(seed).standard_normal(RATE_HZ)
        soundfile.write(stream, wave, RATE_HZ, format="OGG", subtype=subtype)
        streams.append(stream.getvalue())
    path = tmp_path / "radio.ogg"
    path.write_bytes(streams[0])
    assert scan_header(path).problem == ""
    path.write_bytes(streams[0] + bytes(70_000))
    assert "damaged: zeros stand behind its pages" in scan_header(path).problem
    path.write_bytes(b"".join(streams))
    assert "only the first can be decoded" in scan_header(path).problem
    with pytest.raises(UnusableAudio, match="several OGG streams one after another"):
        decode(path, sample_rate_hz=RATE_HZ)


def test_a_size_that_began_anew_at_4_gib_is_named(tmp_path: Path) -> None:
    path = tmp_path / "night.wav"
    soundfile.write(path, np.full(RATE_HZ, 0.1), RATE_HZ)
    size = path.stat().st_size
    os.truncate(path, size + (1 << 32))  # sparse: takes no room
    problem = scan_header(path).problem
    assert (
        f"counts {2 * RATE_HZ} bytes of samples and the file holds {2 * RATE_HZ + (1 << 32)}"
        in problem
    )
    assert "ffmpeg -ignore_length 1" in problem
    os.truncate(path, size)
    assert scan_header(path).problem == ""
