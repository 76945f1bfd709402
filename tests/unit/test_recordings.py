"""Recordings as they come: sizes nobody wrote, odd beginnings, codecs that only go on, great lengths."""

from __future__ import annotations

import io
import re
import resource
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from sound_files import (
    BEFORE_MP3,
    FRAMES,
    ID3V2,
    PLACEHOLDERS,
    RARE,
    SIZE_FIELDS,
    TAILS,
    WHOLE_FIELDS,
    encoded,
    joined,
    kinds,
    ogg_pages,
    rare,
    tone,
    with_sample_size,
    with_size,
    without_flac_count,
    without_mp3_count,
)

from cache_schema.clip import Clip
from cache_schema.stream_ends import problem_of_joining
from pipeline.audio import decode as audio
from pipeline.audio.decode import AUDIO_SUFFIXES, TooLong, UnusableAudio, decode, scan_header
from pipeline.audio.source import Source
from pipeline.corpora import read_corpus
from pipeline.precompute.plan import decoded_samples

RATE_HZ = 16_000
ENTERED_ANYWHERE = ("WAV", "FLAC", "W64", "CAF", "AIFF", "AU")


def content_of(container: str, subtype: str = "PCM_16", frames: int = FRAMES) -> bytes:
    made = encoded(container, subtype, frames)
    assert made is not None
    return made[0]


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


# --- sizes that nobody wrote ---------------------------------------------------------------------


@pytest.mark.parametrize("container", SIZE_FIELDS)
def test_a_size_that_a_writer_left_open_is_the_rest_of_the_file(
    tmp_path: Path, container: str
) -> None:
    plain = content_of(container)
    whole = decode(written(tmp_path / "plain.wav", plain), sample_rate_hz=RATE_HZ)
    for size in PLACEHOLDERS[SIZE_FIELDS[container][1][-1]]:
        path = written(tmp_path / "piped.wav", with_size(plain, container, size))
        header = scan_header(path)
        assert header[:2] == (FRAMES, RATE_HZ), hex(size)
        assert header.unsized, hex(size)
        clip = decode(path, sample_rate_hz=RATE_HZ)
        np.testing.assert_array_equal(clip.waveform, whole.waveform)


@pytest.mark.parametrize("container", SIZE_FIELDS)
def test_samples_without_a_size_are_read_though_the_size_of_the_whole_is_right(
    tmp_path: Path, container: str
) -> None:
    plain = content_of(container)
    path = written(tmp_path / "piped.wav", with_sample_size(plain, container, 0))
    assert scan_header(path) == (FRAMES, RATE_HZ, "", True)
    whole = decode(written(tmp_path / "plain.wav", plain), sample_rate_hz=RATE_HZ)
    np.testing.assert_array_equal(decode(path, sample_rate_hz=RATE_HZ).waveform, whole.waveform)


@pytest.mark.parametrize("container", ["WAV", "WAVEX"])
def test_a_size_that_counts_samples_is_no_size_of_a_shorter_recording(
    tmp_path: Path, container: str
) -> None:
    """As sketches for microcontrollers write it: half of each recording would be lost."""
    plain = content_of(container)
    path = written(tmp_path / "half.wav", with_size(plain, container, FRAMES))
    header = scan_header(path)
    assert f"counts {FRAMES} bytes of samples and the file holds {2 * FRAMES}" in header.problem
    with pytest.raises(UnusableAudio, match="counts samples"):
        decode(path, sample_rate_hz=RATE_HZ)
    filled = written(tmp_path / "filled.wav", plain + bytes(2 * FRAMES))
    assert scan_header(filled) == (FRAMES, RATE_HZ, "", False)


TEXT_CHUNK = {
    "I": b"LIST\x05\0\0\0abcd\0\0",
    "Q": b"list" + bytes(range(12)) + b"\x1a" + bytes(7) + b"ab" + bytes(6),
}


@pytest.mark.parametrize("right", [True, False])
@pytest.mark.parametrize("chunks", [1, 3])
@pytest.mark.parametrize("container", ["WAV", "WAVEX", "RF64", "W64", "AIFF"])
def test_what_other_chunks_follow_to_the_end_has_no_samples(
    tmp_path: Path, container: str, chunks: int, right: bool
) -> None:
    chunk = TEXT_CHUNK["Q" if container == "W64" else "I"]
    if container == "AIFF":
        chunk = b"NAME\0\0\0\x05abcd\0\0"
    content = bytearray(content_of(container, frames=0)) + chunks * chunk
    if right and container in WHOLE_FIELDS:
        form, place = WHOLE_FIELDS[container]
        struct.pack_into(form, content, place, len(content) - (0 if container == "W64" else 8))
    header = scan_header(written(tmp_path / "closed.wav", bytes(content)))
    assert header.problem == "the file holds no samples (0 frames)"
    header = scan_header(written(tmp_path / "noise.wav", bytes(content) + b"\xfe" * 64))
    assert header.frames > 32


def test_a_sphere_header_without_a_count_is_the_rest_of_the_file(tmp_path: Path) -> None:
    content = content_of("NIST").replace(b"sample_count -i 6000", b"sample_count -i 0   ")
    assert scan_header(written(tmp_path / "a.sph", content))[:3] == (FRAMES, RATE_HZ, "")


@pytest.mark.parametrize("container", ["WAV", "W64", "RF64", "AIFF", "AU", "CAF"])
def test_a_file_that_was_cut_is_truncated_and_not_taken_for_piped(
    tmp_path: Path, container: str
) -> None:
    content = content_of(container)
    path = written(tmp_path / "cut.wav", content[: len(content) // 2])
    assert scan_header(path).problem.startswith("truncated: the header declares 12")
    with pytest.raises(UnusableAudio, match="truncated"):
        decode(path, sample_rate_hz=RATE_HZ)


@pytest.mark.parametrize(
    ("container", "order"),
    [("AU", "LITTLE"), ("WAV", "BIG"), ("AIFF", "LITTLE"), ("CAF", "LITTLE")],
)
def test_numbers_of_the_other_byte_order_are_compared_with_the_file(
    tmp_path: Path, container: str, order: str
) -> None:
    stream = io.BytesIO()
    wave = np.sin(np.arange(FRAMES) / 9)
    soundfile.write(stream, wave, RATE_HZ, "PCM_16", endian=order, format=container)
    content = stream.getvalue()
    assert scan_header(written(tmp_path / "whole.wav", content))[:3] == (FRAMES, RATE_HZ, "")
    cut = scan_header(written(tmp_path / "cut.wav", content[: len(content) // 2]))
    assert cut.problem.startswith("truncated: the header declares 12")
    with pytest.raises(UnusableAudio, match="one after another"):
        decode(written(tmp_path / "two.wav", content * 2), sample_rate_hz=RATE_HZ, planned=False)


@pytest.mark.parametrize("size", PLACEHOLDERS["I"])
def test_an_au_of_little_end_may_have_an_open_size(tmp_path: Path, size: int) -> None:
    stream = io.BytesIO()
    soundfile.write(stream, np.zeros(FRAMES), RATE_HZ, endian="LITTLE", format="AU")
    content = bytearray(stream.getvalue())
    struct.pack_into("<I", content, 8, size)
    header = scan_header(written(tmp_path / "piped.au", bytes(content)))
    assert (header.frames, header.unsized) == (FRAMES, True)


def with_xi_length(content: bytes) -> bytes:
    """libsndfile leaves the length open that trackers write."""
    return content[:298] + struct.pack("<I", 2 * FRAMES) + content[302:]


CUT_RARE = {
    **{kind: (rare(kind), len(rare(kind)) // FRAMES * FRAMES) for kind in ("AVR", "VOC", "WVE")},
    "MAT4": (rare("MAT4"), 2 * FRAMES),
    "MAT5": (rare("MAT5"), 2 * FRAMES),
    "MPC2K": (rare("MPC2K"), 2 * FRAMES),
    "SDS": (rare("SDS"), FRAMES // 60 * 127),
    "XI": (with_xi_length(rare("XI")), 2 * FRAMES),
}


@pytest.mark.parametrize("kind", CUT_RARE)
def test_a_rare_container_that_was_cut_is_truncated(tmp_path: Path, kind: str) -> None:
    content, declared = CUT_RARE[kind]
    assert not scan_header(written(tmp_path / "whole.bin", content)).problem
    path = written(tmp_path / "cut.bin", content[: len(content) * 9 // 10])
    assert re.fullmatch(
        rf"truncated: the header declares {declared} bytes of samples, the file holds \d+",
        scan_header(path).problem,
    )
    for length in range(0, 400, 13):  # a header cut short, whatever is left of it
        assert scan_header(written(path, content[:length])).problem


def test_a_flac_without_a_count_is_counted_and_can_be_entered(tmp_path: Path) -> None:
    plain = content_of("FLAC", frames=50_000)
    path = written(tmp_path / "piped.flac", without_flac_count(plain))
    assert scan_header(path) == (50_000, RATE_HZ, "", True)
    whole = decode(path, sample_rate_hz=RATE_HZ).waveform
    np.testing.assert_array_equal(
        whole, decode(written(tmp_path / "a.flac", plain), sample_rate_hz=RATE_HZ).waveform
    )
    window = decode(path, start_s=2.0, end_s=3.0, sample_rate_hz=RATE_HZ).waveform
    np.testing.assert_array_equal(window, whole[32_000:48_000])


@pytest.mark.parametrize("kind", ["FLAC", "MP3"])
def test_frames_are_counted_once_for_all_windows(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = content_of(kind, "PCM_16" if kind == "FLAC" else "MPEG_LAYER_III", 100_000)
    content = without_flac_count(content) if kind == "FLAC" else without_mp3_count(content)
    path = written(tmp_path / "piped.bin", content)
    read: list[int] = []
    block = audio._Sound.block
    monkeypatch.setattr(
        audio._Sound,
        "block",
        lambda *given: read.append(len(made := block(*given))) or made,
    )
    monkeypatch.setattr(audio, "_counts", {})
    frames = scan_header(path).frames
    assert sum(read) == frames >= 100_000
    read.clear()
    for start_s in (0.0, 0.5, 1.0):
        assert decode(path, start_s=start_s, end_s=start_s + 0.5, sample_rate_hz=RATE_HZ)
        assert scan_header(path).frames == frames
    assert sum(read) <= 3 * 24_000
    monkeypatch.setattr(audio, "MAX_KNOWN", 1)
    other = written(tmp_path / "other.bin", path.read_bytes()[:-200])
    assert scan_header(other).frames < frames
    assert len(audio._counts) == 1


def test_recordings_without_a_size_are_noted(tmp_path: Path) -> None:
    (tmp_path / "dog").mkdir()
    written(tmp_path / "dog/a.wav", with_size(content_of("WAV"), "WAV", 0))
    written(tmp_path / "dog/b.wav", content_of("WAV"))
    (note,) = read_corpus(f"folder:{tmp_path}?validation=0&test=0").notes
    assert note.startswith("1 recording(s) have no size in their headers")
    assert note.endswith("first: dog/a.wav")


def noise_pages(subtype: str) -> list[bytes]:
    """Two pages of headers and at least three of samples."""
    content = io.BytesIO()
    noise_S = np.random.default_rng(0).uniform(-0.3, 0.3, 3 * 48_000)
    soundfile.write(content, noise_S, 48_000, format="OGG", subtype=subtype)
    pages = ogg_pages(content.getvalue())
    assert len(pages) >= 5
    return pages


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
@pytest.mark.parametrize("first", [1, 3])
def test_an_ogg_recorded_from_the_middle_on_lacks_its_first_page(
    tmp_path: Path, subtype: str, first: int
) -> None:
    path = written(tmp_path / "a.ogg", b"".join(noise_pages(subtype)[first:]))
    assert scan_header(path).problem.startswith("damaged: its stream lacks its first page")


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_an_ogg_without_its_last_page_is_kept_and_noted(tmp_path: Path, subtype: str) -> None:
    pages = noise_pages(subtype)
    path = written(tmp_path / "a.ogg", b"".join(pages))
    whole, whole_S = scan_header(path), decode(path, sample_rate_hz=48_000).waveform
    assert whole == (3 * 48_000, 48_000, "", False)
    path = written(tmp_path / "cut.ogg", b"".join(pages[:-1]))
    cut = scan_header(path)
    assert cut.unsized
    cut_S = decode(path, sample_rate_hz=48_000).waveform
    assert 0 < len(cut_S) == cut.frames < whole.frames
    np.testing.assert_array_equal(cut_S, whole_S[: len(cut_S)])


@pytest.mark.parametrize("missing", [2, 3])
@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_an_ogg_that_lacks_a_page_is_damaged(tmp_path: Path, subtype: str, missing: int) -> None:
    pages = noise_pages(subtype)
    path = written(tmp_path / "a.ogg", b"".join(pages[:missing] + pages[missing + 1 :]))
    with pytest.raises(UnusableAudio, match=f"behind page {missing - 1} .* the next 1 are missing"):
        decode(path, sample_rate_hz=48_000)


# --- odd beginnings, and names -------------------------------------------------------------------


@pytest.mark.parametrize("before", BEFORE_MP3)
@pytest.mark.parametrize("name", ["a.mp3", "a.bin"])
def test_an_mp3_begins_at_its_first_frame(tmp_path: Path, before: str, name: str) -> None:
    plain = content_of("MP3", "MPEG_LAYER_III")
    path = written(tmp_path / name, BEFORE_MP3[before] + plain)
    expected = decode(written(tmp_path / "plain.mp3", plain), sample_rate_hz=RATE_HZ)
    assert scan_header(path) == (FRAMES, RATE_HZ, "", False)
    np.testing.assert_array_equal(decode(path, sample_rate_hz=RATE_HZ).waveform, expected.waveform)


@pytest.mark.parametrize(("suffix", "subtype"), [(".gsm", "GSM610"), (".vox", "VOX_ADPCM")])
def test_what_has_no_header_is_known_by_its_name(tmp_path: Path, suffix: str, subtype: str) -> None:
    wave = 0.3 * np.sin(np.arange(8000) / 9)
    raw = {"samplerate": 8000, "format": "RAW", "subtype": subtype}
    soundfile.write(tmp_path / "call.raw", wave, **raw)
    path = (tmp_path / "call.raw").rename(tmp_path / f"call{suffix}")
    with soundfile.SoundFile(path, channels=1, **raw) as sound:
        expected = sound.read(9000, "float32")
    clip = decode(path, sample_rate_hz=8000)
    assert scan_header(path).frames == len(clip.waveform) == clip.source_frames
    np.testing.assert_array_equal(clip.waveform, expected[: len(clip.waveform)])
    assert "not audio" in scan_header(path.rename(tmp_path / "call.wav")).problem


@pytest.mark.parametrize(
    "head", [b"RIFF\x10\x27\0\0AVI LIST", b"RIFF" + b"\x93\x1c" * 6, b"FORM\0\0\x27\x10ILBMBMHD"]
)
def test_a_film_or_other_bytes_are_no_truncated_recording(tmp_path: Path, head: bytes) -> None:
    path = written(tmp_path / "a.wav", head + bytes(10_000))
    assert scan_header(path).problem == "not audio that can be decoded (Format not recognised)"


@pytest.mark.parametrize("kind", ["folder", "csv"])
def test_what_the_decoder_reads_every_corpus_reads(tmp_path: Path, kind: str) -> None:
    (tmp_path / "dog").mkdir()
    names = {"a.aiff": "AIFF", "b.au": "AU", "c.caf": "CAF", "d.W64": "W64", "e.voc": "VOC"}
    for name, container in names.items():
        written(tmp_path / "dog" / name, content_of(container))
    rows = "".join(f"dog/{name},dog,train\n" for name in names)
    (tmp_path / "clips.csv").write_text("path,label,split\n" + rows)
    where = tmp_path if kind == "folder" else tmp_path / "clips.csv"
    corpus = read_corpus(f"{kind}:{where}")
    assert {clip.path: clip.frames for clip in corpus.clips} == {
        f"dog/{name}": FRAMES for name in names
    }
    noted = "1 file(s) without an audio suffix left out: .csv 1"
    assert corpus.notes == ((noted,) if kind == "folder" else ())
    assert len(set(AUDIO_SUFFIXES)) == len(AUDIO_SUFFIXES)


@pytest.mark.parametrize("wave", ["loud first", "quiet first", "loud"])
@pytest.mark.parametrize("tag", ["no count", "no tag"])
def test_an_mp3_without_a_count_is_read_to_its_end_whatever_its_first_frame_lets_expect(
    tmp_path: Path, wave: str, tag: str
) -> None:
    wave_S = np.random.default_rng(0).uniform(-0.3, 0.3, 100_000)
    if wave != "loud":
        wave_S[slice(50_000, None) if wave == "loud first" else slice(50_000)] = 0
    path = tmp_path / "a.mp3"
    soundfile.write(path, wave_S, RATE_HZ)
    whole = decode(path, sample_rate_hz=RATE_HZ).waveform
    content = without_mp3_count(path.read_bytes())
    path.write_bytes(content if tag == "no count" else content[content.index(b"\xff\xf3", 4) :])
    clip = decode(path, sample_rate_hz=RATE_HZ)
    assert scan_header(path).frames == clip.source_frames >= 100_000
    # What the tag would have left out comes first: the silent frame and the encoder's delay.
    delay = int(np.correlate(clip.waveform[40_000:63_000], whole[40_000:60_000]).argmax())
    assert delay > 0
    np.testing.assert_allclose(
        clip.waveform[delay + 2000 : delay + 99_000], whole[2000:99_000], atol=1e-4
    )


BEHIND_MP3 = {
    "ID3v1": b"TAG" + bytes(125),
    "APEv2": b"APETAGEX\xd0\x07\0\0\x20\x20" + bytes(18) + b"q" * 8192 + b"APETAGEX" + bytes(24),
    "Lyrics3": b"LYRICSBEGIN" + b"la " * 900 + b"002709LYRICS200" + b"TAG" + bytes(125),
    "zeros": bytes(9000),
}


@pytest.mark.parametrize("behind", BEHIND_MP3)
def test_an_mp3_without_a_count_ends_with_its_last_frame(tmp_path: Path, behind: str) -> None:
    plain = without_mp3_count(content_of("MP3", "MPEG_LAYER_III", 30_000))
    expected = decode(written(tmp_path / "plain.mp3", plain), sample_rate_hz=RATE_HZ)
    path = written(tmp_path / "tagged.mp3", plain + BEHIND_MP3[behind])
    clip = decode(path, sample_rate_hz=RATE_HZ)
    np.testing.assert_array_equal(clip.waveform, expected.waveform)


@pytest.mark.parametrize("kind", ["FLAC", "MP3"])
def test_damage_in_the_middle_of_what_nobody_counted_is_no_end(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.bin"
    wave_S = np.random.default_rng(0).uniform(-0.3, 0.3, 2_000_000)  # more than a block
    soundfile.write(path, wave_S, RATE_HZ, format=kind)
    content = path.read_bytes()
    content = without_flac_count(content) if kind == "FLAC" else without_mp3_count(content)
    for begin in (len(content) // 4, 3 * len(content) // 4):
        path.write_bytes(content[:begin] + b"\x11" * 4000 + content[begin + 4000 :])
        found = re.fullmatch(
            r"truncated .* stopped after (\d+) frames, .*", scan_header(path).problem
        )
        assert found
        assert int(found[1]) == pytest.approx(len(wave_S) * begin / len(content), rel=0.02)


def test_a_count_of_zero_is_none(tmp_path: Path) -> None:
    content = content_of("MP3", "MPEG_LAYER_III")
    place = max(content.find(b"Xing"), content.find(b"Info")) + 8
    assert content[place : place + 4] != bytes(4)
    path = written(tmp_path / "a.mp3", content[:place] + bytes(4) + content[place + 4 :])
    assert FRAMES <= scan_header(path).frames < FRAMES + 2000


# --- stretches -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("container", "subtype"), kinds())
def test_a_window_is_the_same_stretch_of_the_whole_whatever_the_codec(
    tmp_path: Path, container: str, subtype: str
) -> None:
    made = encoded(container, subtype, 30_000)
    if made is None:
        pytest.skip("libsndfile reads such files and does not write them")
    path = written(tmp_path / "a.bin", made[0])
    frames, rate_hz = scan_header(path)[:2]
    whole = decode(path, sample_rate_hz=rate_hz).waveform
    assert len(whole) == frames >= 30_000
    for start, stop in ((0, 700), (12_345, 20_000), (29_000, 30_000)):
        window = decode(path, start_s=start / rate_hz, end_s=stop / rate_hz, sample_rate_hz=rate_hz)
        np.testing.assert_array_equal(window.waveform, whole[start:stop])


def test_a_long_mp3_is_decoded_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.mp3"
    soundfile.write(path, np.random.default_rng(0).uniform(-0.3, 0.3, 200_000), RATE_HZ)
    expected, _ = soundfile.read(path, dtype="float32")
    monkeypatch.setattr(audio, "BLOCK_SAMPLES", 30_000)
    np.testing.assert_allclose(decode(path, sample_rate_hz=RATE_HZ).waveform, expected, atol=1e-6)


@pytest.mark.parametrize("container", ENTERED_ANYWHERE)
def test_a_window_of_a_long_recording_reads_little_else(
    tmp_path: Path, container: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = np.random.default_rng(0)
    path = tmp_path / "long.bin"
    noise = generator.integers(-9999, 9999, 2_000_000, np.int16)
    soundfile.write(path, noise, RATE_HZ, format=container, subtype="PCM_16")
    read = []
    fill = Source.readinto

    def counted(source: Source, buffer: Any) -> int:
        read.append(fill(source, buffer))
        return read[-1]

    decode(path, end_s=1.0, sample_rate_hz=RATE_HZ)  # a FLAC is searched once for another behind it
    monkeypatch.setattr(Source, "readinto", counted)
    clip = decode(path, start_s=100.0, end_s=101.0, sample_rate_hz=RATE_HZ)
    np.testing.assert_array_equal(clip.waveform * 32768, noise[1_600_000:1_616_000])
    assert sum(read) < path.stat().st_size / 8


def test_the_digest_of_a_long_recording_is_taken_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.audio.source._LARGE_BYTES", 1000)
    path = written(tmp_path / "a.wav", content_of("WAV"))
    first = decode(path, end_s=0.1, sample_rate_hz=RATE_HZ).sha256
    monkeypatch.setattr("pipeline.audio.source._BLOCK_BYTES", 0)  # nothing would be read
    assert decode(path, start_s=0.1, sample_rate_hz=RATE_HZ).sha256 == first
    path.write_bytes(content_of("WAV", frames=7000))
    assert decode(path, sample_rate_hz=RATE_HZ).sha256 != first


# --- great lengths -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def silence(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An hour of it, in a file of 0.7 MB."""
    path = tmp_path_factory.mktemp("long") / "silence.flac"
    with soundfile.SoundFile(path, "w", RATE_HZ, 1, "PCM_16") as sound:
        for _ in range(60):
            sound.write(np.zeros(60 * RATE_HZ, np.int16))
    return path


def test_a_clip_of_hours_is_rejected_before_it_is_decoded(silence: Path) -> None:
    frames, rate_hz = scan_header(silence)[:2]
    assert (frames, rate_hz) == (3600 * RATE_HZ, RATE_HZ)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(TooLong, match=r"3600 s long at 16000 Hz, at most 1800 s .*window_s"):
        decode(silence, sample_rate_hz=RATE_HZ)
    with pytest.raises(TooLong, match=r"^1800\.001 s long at 16000 Hz, at most 1800 s"):
        decode(silence, end_s=1800.001, sample_rate_hz=RATE_HZ)
    with pytest.raises(UnusableAudio, match=r"to 3600\.004 s does .*, which is 3600 s long"):
        decode(silence, start_s=3595.0, end_s=3600.004, sample_rate_hz=RATE_HZ)
    window = decode(silence, start_s=3000.0, end_s=3010.0, sample_rate_hz=RATE_HZ)
    assert window.source_frames == 10 * RATE_HZ
    grown_bytes = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    assert grown_bytes < 67 << 20  # all of it would be 230 MB once


def test_a_plan_leaves_no_room_for_what_is_too_long() -> None:
    clip = Clip(id="a", path="a", labels=(), split="train", frames=1800 * 48_000)
    for rate_hz, samples in ((48_000, 1800 * RATE_HZ), (192_000, 450 * RATE_HZ)):
        here = Clip(**{**_fields(clip), "source_rate_hz": rate_hz})
        assert decoded_samples(here, RATE_HZ) == samples
        longer = Clip(**{**_fields(here), "frames": clip.frames + 1})
        assert decoded_samples(longer, RATE_HZ) == 0
    slow = Clip(**{**_fields(clip), "frames": 1_801_000, "source_rate_hz": 1000})
    assert decoded_samples(slow, RATE_HZ) == 0


def _fields(clip: Clip) -> dict[str, Any]:
    return {name: getattr(clip, name) for name in clip.__dataclass_fields__}


# --- whatever a decoder raises -------------------------------------------------------------------


@pytest.mark.parametrize("error", [TypeError, RuntimeError, AssertionError, KeyError])
@pytest.mark.parametrize("call", ["__init__", "read"])
def test_whatever_a_decoder_raises_is_a_finding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[Exception], call: str
) -> None:
    path = written(tmp_path / "a.wav", content_of("WAV"))

    def broken(*_: Any, **__: Any) -> None:
        raise error(f"at {io.BytesIO()}")

    monkeypatch.setattr(soundfile.SoundFile, call, broken)
    with pytest.raises(UnusableAudio) as raised:
        decode(path, sample_rate_hz=RATE_HZ)
    assert raised.value.reason == f"not audio that can be decoded ({error.__name__})"
    if call == "__init__":
        assert scan_header(path).problem == raised.value.reason


@pytest.mark.parametrize(("name", "content"), joined().items())
def test_files_that_were_joined_are_not_taken_for_the_first_alone(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str, content: bytes
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    planned = not scan_header(path).problem  # then it is a finding, and no disk's failure
    with pytest.raises(UnusableAudio, match="one after another, of which only the first can be"):
        decode(path, sample_rate_hz=16_000, planned=planned)
    assert capfd.readouterr() == ("", "")  # no warning of its decoder's, which names no file


@pytest.mark.parametrize("name", ["x.flac", "x.ogg", "WAV behind.flac", "x.voc"])
def test_every_window_of_joined_files_is_rejected_and_the_file_is_searched_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    path = tmp_path / name
    path.write_bytes(joined()[name])
    searched: list[str] = []

    def search(stream: Any, kind: str) -> str:
        searched.append(kind)
        return problem_of_joining(stream, kind)

    monkeypatch.setattr(audio, "_joined", {})
    monkeypatch.setattr(audio, "problem_of_joining", search)
    for start_s in (0.0, 0.1):
        with pytest.raises(
            UnusableAudio, match="one after another, of which only the first can be"
        ):
            decode(path, start_s=start_s, end_s=start_s + 0.05, sample_rate_hz=16_000, planned=True)
    assert len(searched) == 1


@pytest.mark.parametrize("kind", ["WAV", "AIFF", "CAF", "AU", "MP3", "FLAC", "OGG", "PVF"])
@pytest.mark.parametrize("tail", TAILS)
def test_what_taggers_and_file_systems_leave_is_no_second_file(
    tmp_path: Path, kind: str, tail: str
) -> None:
    path = tmp_path / f"x.{kind.lower()}"
    content = rare(kind) if kind in RARE else tone(kind)
    path.write_bytes(content)
    expected = decode(path, sample_rate_hz=16_000).source_frames
    path.write_bytes(content + TAILS[tail])
    found = decode(path, sample_rate_hz=16_000, planned=True).source_frames
    assert found == expected or kind in RARE  # which are decoded to the end, whatever is there


@pytest.mark.parametrize(("container", "subtype"), kinds())
def test_next_to_silence_is_not_taken_for_joined_files(
    tmp_path: Path, container: str, subtype: str
) -> None:
    """Its bytes are few, and a short mark is soon among them."""
    wave, made = np.random.default_rng(0).integers(-1, 2, 20_000) / 32768, io.BytesIO()
    content = encoded(container, subtype)
    if content is None:
        pytest.skip("libsndfile reads such files and does not write them")
    soundfile.write(made, wave, content[1], format=container, subtype=subtype)
    (tmp_path / "x").write_bytes(made.getvalue())
    assert decode(tmp_path / "x", sample_rate_hz=8_000, planned=True).source_frames >= 19_000


def test_silence_without_a_header_is_not_taken_for_joined_files(tmp_path: Path) -> None:
    """Its frames are all alike."""
    made = io.BytesIO()
    soundfile.write(made, np.zeros(1600), 8_000, format="RAW", subtype="GSM610")
    (tmp_path / "x.gsm").write_bytes(made.getvalue())
    assert decode(tmp_path / "x.gsm", sample_rate_hz=8_000, planned=True).source_frames == 1600
    (tmp_path / "x.vox").write_bytes(bytes(400))
    assert decode(tmp_path / "x.vox", sample_rate_hz=8_000, planned=True).source_frames == 800


def test_a_wav_behind_an_mp3_without_a_count_is_found(tmp_path: Path) -> None:
    path, mp3 = tmp_path / "x.mp3", without_mp3_count(tone("MP3"))
    path.write_bytes(mp3 + tone("WAV"))
    assert f"the second begins with byte {len(mp3) + 1}," in scan_header(path).problem


def test_where_the_second_of_joined_files_begins_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "x.wav"
    path.write_bytes(tone("WAV") + tone("WAV", 8_000, 500))
    header = scan_header(path)
    assert header.problem.endswith(
        "the second begins with byte 12045, as 'tail -c +12045' reads it"
    )
    path.write_bytes(path.read_bytes()[12_045 - 1 :])
    assert scan_header(path)[:3] == (500, 8_000, "")


def test_joined_mp3s_without_counts_are_one_recording(tmp_path: Path) -> None:
    """Their decoder goes on, over a tag too, where rate and channels are the same."""
    path = tmp_path / "x.mp3"
    single = without_mp3_count(tone("MP3"))
    path.write_bytes(single)
    frames = scan_header(path).frames
    path.write_bytes(single + single)
    assert decode(path, sample_rate_hz=16_000).source_frames == 2 * frames


@pytest.mark.parametrize("tail", TAILS)
@pytest.mark.parametrize("tag", [b"", ID3V2], ids=["", "ID3v2"])
def test_what_lies_behind_a_flac_is_no_damage(tmp_path: Path, tail: str, tag: bytes) -> None:
    path, content = tmp_path / "x.flac", tone("FLAC", frames=40_000)
    path.write_bytes(content)
    expected = decode(path, sample_rate_hz=16_000).waveform
    for whole in (content, without_flac_count(content)):
        path.write_bytes(tag + whole + TAILS[tail])
        assert scan_header(path)[:3] == (40_000, 16_000, "")
        np.testing.assert_array_equal(decode(path, sample_rate_hz=16_000).waveform, expected)


@pytest.mark.parametrize("tail", ["", *TAILS])
def test_a_flac_without_a_count_that_was_cut_is_damaged(tmp_path: Path, tail: str) -> None:
    """Its last frame is not whole, though nothing says how many there should be."""
    path, content = tmp_path / "x.flac", without_flac_count(tone("FLAC", frames=40_000))
    path.write_bytes(content[:-9] + TAILS.get(tail, b""))
    assert "decoding stopped after 36864 frames" in scan_header(path).problem  # 9 blocks of 4096


def test_a_chunk_without_its_pad_byte_is_named(tmp_path: Path) -> None:
    wave = tone("WAV")
    for name, length in ((b"LIST", 17), (b"bext", 5)):
        chunk = struct.pack("<4sI", name, length) + b"x" * length
        path = tmp_path / "x.wav"
        path.write_bytes(wave[:36] + chunk + b"\0" + wave[36:])
        assert scan_header(path)[:2] == (6000, 16_000)
        path.write_bytes(wave[:36] + chunk + wave[36:])
        assert scan_header(path).problem == (
            f"damaged: the pad byte behind chunk '{name.decode()}' of {length} bytes is missing, so no "
            "reader finds the samples"
        )
