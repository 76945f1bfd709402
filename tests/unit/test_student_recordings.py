"""A student gets of a recording what a cache would hold of it."""

from __future__ import annotations

import os
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile
from sound_files import (
    APE,
    BEFORE_MP3,
    ID3V1,
    ID3V2,
    SIZE_FIELDS,
    TAILS,
    encoded,
    joined,
    tone,
    with_size,
    without_flac_count,
    without_mp3_count,
    write_all,
)

from cache_schema.errors import UsageError
from pipeline.audio.decode import decode
from pipeline.precompute.unit_inputs import _to_int16
from pipeline.views import View
from student.predict.cached_samples import as_cached
from student.predict.recordings import BLOCK_SAMPLES, UnusableRecording, read_recording

RATE_HZ = 16_000


def decoded(path: Path, rate_hz: int = RATE_HZ) -> np.ndarray:
    return np.concatenate(list(read_recording(path, rate_hz)))


def reason(path: Path, rate_hz: int = RATE_HZ) -> str:
    with pytest.raises(UnusableRecording) as caught:
        decoded(path, rate_hz)
    assert str(path) not in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def noise(frames: int, channels: int = 1) -> np.ndarray:
    return 0.2 * np.random.default_rng(frames).standard_normal((frames, channels))


def test_every_container_and_codec_is_decoded_as_the_pipeline_decodes_it(tmp_path: Path) -> None:
    names = write_all(tmp_path)
    compared = 0
    for name in names:
        path = tmp_path / name
        expected = decode(path, sample_rate_hz=RATE_HZ).waveform
        np.testing.assert_array_equal(decoded(path), expected, err_msg=name)
        compared += 1
    assert compared > 60


@pytest.mark.parametrize("rate_hz", [8_000, 11_025, 16_000, 22_050, 44_100, 48_000, 96_000])
@pytest.mark.parametrize(("frames", "channels"), [(4000, 1), (70_001, 2), (30_000, 5)])
def test_rates_and_channels_are_the_pipelines(
    tmp_path: Path, rate_hz: int, frames: int, channels: int
) -> None:
    path = tmp_path / "x.flac"
    soundfile.write(path, noise(frames, channels), rate_hz)
    for wanted_hz in (8_000, 16_000):
        expected = decode(path, sample_rate_hz=wanted_hz).waveform
        np.testing.assert_array_equal(decoded(path, wanted_hz), expected)


@pytest.mark.parametrize("container", SIZE_FIELDS)
def test_a_recording_whose_writer_never_came_back_is_read_to_its_end(
    tmp_path: Path, container: str
) -> None:
    made = encoded(container, "PCM_16")
    assert made is not None
    content, _ = made
    path = tmp_path / "x.wav"
    for size in (0, 0x7FFF_FFFF):
        path.write_bytes(with_size(content, container, size))
        expected = decode(path, sample_rate_hz=RATE_HZ).waveform
        np.testing.assert_array_equal(decoded(path), expected)


def test_a_flac_that_counts_nothing_is_read_to_its_end(tmp_path: Path) -> None:
    made = encoded("FLAC", "PCM_16")
    assert made is not None
    path = tmp_path / "x.flac"
    path.write_bytes(without_flac_count(made[0]))
    np.testing.assert_array_equal(decoded(path), decode(path, sample_rate_hz=RATE_HZ).waveform)


@pytest.mark.parametrize("peak", [0.5, 1.0, 3.0])
def test_samples_are_rounded_and_limited_as_in_a_cache(peak: float) -> None:
    waveform_S = (noise(5000)[:, 0] * peak * 5).astype(np.float32)
    view = View(
        waveform_S=waveform_S, labels_C=np.zeros(2, np.float32), drawn_P=np.zeros(0, np.float32)
    )
    cached = _to_int16(view, "").samples_S
    np.testing.assert_array_equal(as_cached(waveform_S) * 2**15, cached)


def test_a_stream_cannot_be_made_quieter_so_its_loudest_samples_are_cut_off() -> None:
    found = as_cached(np.array([0.5, 2.0, -2.0], np.float32), limited=False)
    np.testing.assert_array_equal(found, [0.5, 1 - 2.0**-15, -1.0])


@pytest.mark.parametrize("tail", TAILS)
@pytest.mark.parametrize("frames", [48_000, 2 * BLOCK_SAMPLES])
def test_what_lies_behind_a_flac_is_no_damage(tmp_path: Path, tail: str, frames: int) -> None:
    """Taggers write there, and the pipeline takes such a file."""
    path = tmp_path / "a.flac"
    soundfile.write(path, noise(frames), RATE_HZ)
    content, expected = path.read_bytes(), decoded(path)
    for whole in (content, without_flac_count(content)):
        path.write_bytes(whole + TAILS[tail])
        np.testing.assert_array_equal(decoded(path), expected)
    path.write_bytes(without_flac_count(content)[:-9] + TAILS[tail])
    assert "truncated or damaged: decoding stopped after" in reason(path)


@pytest.mark.parametrize(("name", "content"), joined().items())
def test_files_that_were_joined_are_not_taken_for_the_first_alone(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str, content: bytes
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    assert "one after another, of which only the first can be decoded" in reason(path)
    assert capfd.readouterr() == ("", "")


def test_a_truncated_recording_is_named_as_such(tmp_path: Path) -> None:
    for kind in ("WAV", "FLAC", "OGG", "AIFF", "CAF"):
        made = encoded(kind, "VORBIS" if kind == "OGG" else "PCM_16")
        assert made is not None
        path = tmp_path / f"x.{kind.lower()}"
        path.write_bytes(made[0][: len(made[0]) * 2 // 3])
        assert "truncated" in reason(path) or "cannot be decoded" in reason(path)
    path = tmp_path / "x.wav"
    made = encoded("WAV", "PCM_16")
    assert made is not None
    path.write_bytes(made[0][:2000])
    assert reason(path) == (
        "truncated: the header declares 12000 bytes of samples, the file holds 1956"
    )


def test_what_is_no_recording_is_named_as_such(tmp_path: Path) -> None:
    (tmp_path / "empty.wav").touch()
    assert reason(tmp_path / "empty.wav") == "the file is empty (0 bytes)"
    (tmp_path / "text.wav").write_text("not a recording " * 20)
    assert "not audio that can be decoded" in reason(tmp_path / "text.wav")
    soundfile.write(tmp_path / "none.wav", np.zeros(0), RATE_HZ)
    assert reason(tmp_path / "none.wav") == "it holds no samples"
    soundfile.write(tmp_path / "one.wav", np.zeros(1), 48_000)
    assert reason(tmp_path / "one.wav").startswith("too short: 1 frame(s) at 48000 Hz")
    soundfile.write(tmp_path / "slow.wav", np.zeros(1000), 100)
    assert "the header declares 100 Hz" in reason(tmp_path / "slow.wav")
    os.mkfifo(tmp_path / "pipe.wav")
    assert "a pipe or a device" in reason(tmp_path / "pipe.wav")
    for path in (tmp_path, tmp_path / "nowhere.wav"):
        with pytest.raises(OSError, match=r"directory"):
            decoded(path)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e12])
def test_wild_samples_are_named(tmp_path: Path, value: float) -> None:
    samples = noise(100_000).astype(np.float32)
    samples[70_123] = value
    soundfile.write(tmp_path / "x.wav", samples, RATE_HZ, subtype="FLOAT")
    assert reason(tmp_path / "x.wav").startswith("sample 70123 is")


def test_a_long_recording_is_read_piece_by_piece(tmp_path: Path) -> None:
    path = tmp_path / "long.wav"
    with soundfile.SoundFile(path, "w", 48_000, 2, "PCM_16") as file:
        for _ in range(6):  # 3 minutes
            file.write(noise(48_000 * 30, 2))
    tracemalloc.start()
    count = sum(len(block) for block in read_recording(path, RATE_HZ))
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 180 * RATE_HZ
    assert peak_bytes < 16 << 20  # of 69 MB


@pytest.mark.parametrize("name", ["soundfile", "soxr"])
def test_without_a_decoder_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    soundfile.write(tmp_path / "x.wav", noise(1000), 8_000)
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UsageError, match=rf"{name}: pip install 'aftersound\[onnx\]'"):
        decoded(tmp_path / "x.wav")


@pytest.mark.parametrize(
    "behind", [b"", b"TAG" + bytes(125), bytes(9000)], ids=["", "ID3v1", "zeros"]
)
@pytest.mark.parametrize("loud_first", [True, False])
def test_an_mp3_without_a_count_is_read_to_its_end(
    tmp_path: Path, loud_first: bool, behind: bytes
) -> None:
    wave_S = noise(100_000)[:, 0]
    wave_S[slice(50_000, None) if loud_first else slice(50_000)] = 0
    path = tmp_path / "x.mp3"
    soundfile.write(path, wave_S, RATE_HZ)
    path.write_bytes(without_mp3_count(path.read_bytes()) + behind)
    found = decoded(path)
    assert len(found) >= 100_000
    np.testing.assert_array_equal(found, decode(path, sample_rate_hz=RATE_HZ).waveform)


@pytest.mark.parametrize("before", BEFORE_MP3)
@pytest.mark.parametrize("name", ["a.mp3", "a.bin"])
@pytest.mark.parametrize("counted", [True, False])
def test_an_mp3_begins_at_its_first_frame(
    tmp_path: Path, before: str, name: str, counted: bool
) -> None:
    content = tone("MP3") if counted else without_mp3_count(tone("MP3"))
    (tmp_path / "plain.mp3").write_bytes(content)
    (tmp_path / name).write_bytes(BEFORE_MP3[before] + content)
    expected = decoded(tmp_path / "plain.mp3")
    np.testing.assert_array_equal(decoded(tmp_path / name), expected)
    clip = decode(tmp_path / name, sample_rate_hz=RATE_HZ)
    np.testing.assert_array_equal(clip.waveform, expected)


def test_damage_in_the_middle_of_an_mp3_without_a_count_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "x.mp3"
    soundfile.write(path, noise(1_000_000)[:, 0], RATE_HZ)
    content = without_mp3_count(path.read_bytes())
    middle = len(content) // 2
    path.write_bytes(content[:middle] + b"\x11" * 4000 + content[middle + 4000 :])
    assert "truncated or damaged: decoding stopped after" in reason(path)


@pytest.mark.parametrize(
    "behind", [ID3V1, APE + bytes(900), bytes(900)], ids=["ID3v1", "APE", "zeros"]
)
@pytest.mark.parametrize("before", [b"", ID3V2], ids=["", "ID3v2"])
def test_a_tagged_mp3_is_decoded_as_it_is_without_a_word_from_its_decoder(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], before: bytes, behind: bytes
) -> None:
    """Whose count of bytes, that it has no use for, is not that of the file."""
    path, content = tmp_path / "x.mp3", tone("MP3")
    path.write_bytes(content)
    expected = decoded(path)
    path.write_bytes(before + content + behind)
    np.testing.assert_array_equal(decoded(path), expected)
    np.testing.assert_array_equal(decode(path, sample_rate_hz=RATE_HZ).waveform, expected)
    assert capfd.readouterr() == ("", "")


def test_an_mp3_without_a_frame_is_not_called_missing(tmp_path: Path) -> None:
    path = tmp_path / "x.mp3"
    path.write_bytes(ID3V2 * 3)
    assert "does not exist" not in reason(path)
