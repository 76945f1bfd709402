"""Mutated audio: each file decodes as its header scan found or has its reason; no good clip is lost."""

from __future__ import annotations

import io
import os
import random
from pathlib import Path

import numpy as np
import pytest
import soundfile
from fuzzing import fuzzing, mutated_bytes, run, seeds
from hypothesis import given
from hypothesis import strategies as st

from cache_schema.reader import open_cache
from pipeline.audio.decode import UnusableAudio, decode, resampled_length, scan_header
from pipeline.precompute.cli import main as precompute_teacher

RATE_HZ = 16_000
KINDS = {
    "wav": ("WAV", "PCM_16", RATE_HZ),
    "float.wav": ("WAV", "FLOAT", RATE_HZ),
    "adpcm.wav": ("WAV", "IMA_ADPCM", RATE_HZ),
    "flac": ("FLAC", "PCM_16", RATE_HZ),
    "ogg": ("OGG", "VORBIS", RATE_HZ),
    "opus": ("OGG", "OPUS", 48_000),
    "mp3": ("MP3", "MPEG_LAYER_III", RATE_HZ),
    "aiff.wav": ("AIFF", "PCM_16", RATE_HZ),
    "au.wav": ("AU", "PCM_16", RATE_HZ),
    "caf.wav": ("CAF", "PCM_16", RATE_HZ),
    "nist.wav": ("NIST", "PCM_16", RATE_HZ),
    "w64.wav": ("W64", "PCM_16", RATE_HZ),
}
# A file of 20 KB may be as long as this, whatever its header declares.
MAX_SAMPLES = 100_000_000


def encoded(kind: str, frames: int = 6000) -> bytes:
    container, subtype, rate_hz = KINDS[kind]
    content = io.BytesIO()
    wave = 0.3 * np.sin(np.arange(frames) / 9)
    soundfile.write(content, wave, rate_hz, format=container, subtype=subtype)
    return content.getvalue()


FILES = {kind: encoded(kind) for kind in KINDS}


def examine(path: Path) -> None:
    """The header scan and the decoder agree, or there is a reason in one line."""
    frames, rate_hz = scan_header(path)[:2]
    assert frames >= 0
    if frames:
        assert resampled_length(frames, rate_hz, RATE_HZ) <= MAX_SAMPLES
    reason = ""
    try:
        clip = decode(path, sample_rate_hz=RATE_HZ)
    except UnusableAudio as error:
        reason = error.reason or "none"
    if reason:
        assert reason != "none"
        assert "\n" not in reason
        assert str(path.parent) not in reason
        return
    assert np.isfinite(clip.waveform).all()
    assert len(clip.waveform) == resampled_length(clip.source_frames, rate_hz, RATE_HZ)


@fuzzing(300)
@given(seeds)
def test_a_mutated_file_decodes_or_has_a_reason(
    tmp_path_factory: pytest.TempPathFactory, capfd: pytest.CaptureFixture[str], seed: int
) -> None:
    dice = random.Random(seed)
    kind = dice.choice(list(FILES))
    path = tmp_path_factory.getbasetemp() / f"mutant.{kind}"
    path.write_bytes(mutated_bytes(FILES[kind], dice))
    examine(path)
    assert "Traceback" not in capfd.readouterr().err


@fuzzing(60)
@given(seeds)
def test_a_mutated_real_recording_decodes_or_has_a_reason(
    shared_dir: Path, tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    dice = random.Random(seed)
    folder = shared_dir / "data/fsdd"
    files = sorted(p for p in folder.rglob("*") if p.suffix in (".wav", ".flac", ".ogg", ".opus"))
    if not files:
        pytest.skip(f"no recordings in {folder.name}")
    source = dice.choice(files[:50])
    path = tmp_path_factory.getbasetemp() / f"real{source.suffix}"
    path.write_bytes(mutated_bytes(source.read_bytes(), dice))
    examine(path)


@fuzzing(60)
@given(
    content=st.binary(max_size=300), suffix=st.sampled_from(["wav", "flac", "ogg", "mp3", "opus"])
)
def test_bytes_of_any_kind_decode_or_have_a_reason(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, suffix: str
) -> None:
    path = tmp_path_factory.getbasetemp() / f"bytes.{suffix}"
    path.write_bytes(content)
    examine(path)


@pytest.mark.parametrize("rate_hz", [1, 999, 2_000_000, 2**31 - 1])
def test_a_rate_that_is_none_is_a_reason(tmp_path: Path, rate_hz: int) -> None:
    path = tmp_path / "clip.wav"
    soundfile.write(path, np.zeros(100), rate_hz)
    assert scan_header(path)[:2] == (0, 0)
    with pytest.raises(UnusableAudio, match=f"{rate_hz} Hz, expected 1000 to 1000000"):
        decode(path, sample_rate_hz=RATE_HZ)


def test_a_header_that_declares_hours_is_not_believed(tmp_path: Path) -> None:
    path = promising(tmp_path / "clip.flac")
    assert soundfile.info(path).frames > 10**9
    assert scan_header(path)[:2] == (0, RATE_HZ)
    with pytest.raises(UnusableAudio, match=r"header declares \d{10,} frames, decoding"):
        decode(path, sample_rate_hz=RATE_HZ)


def promising(path: Path) -> Path:
    """A FLAC file whose header counts 2^36 - 1 frames."""
    content = bytearray(FILES["flac"])
    content[21] |= 0x0F
    content[22:26] = b"\xff" * 4
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("value", [1e38, np.inf, -np.inf, np.nan])
def test_a_sample_beyond_any_scale_is_a_reason(tmp_path: Path, value: float) -> None:
    path = tmp_path / "clip.wav"
    wave = np.zeros((900, 2), np.float32)
    wave[500] = value
    soundfile.write(path, wave, RATE_HZ, subtype="FLOAT")
    with pytest.raises(UnusableAudio, match="sample 500 is"):
        decode(path, sample_rate_hz=8000)


def test_a_thousand_channels_do_not_fill_the_memory(tmp_path: Path) -> None:
    path = tmp_path / "clip.wav"
    soundfile.write(path, np.full((400, 1024), 0.5), RATE_HZ)
    assert len(decode(path, sample_rate_hz=RATE_HZ).waveform) == 400


def test_every_good_clip_is_kept_among_bad_ones_and_each_bad_one_has_its_reason(
    tmp_path: Path,
) -> None:
    root = tmp_path / "corpus"
    bad = make_bad_clips(root / "tone", tmp_path)
    for number in range(4):
        soundfile.write(root / f"tone/good{number}.wav", np.full(8000, 0.1), RATE_HZ)
    out = tmp_path / "out.zarr"
    code, output = run(precompute_teacher, f"folder:{root}", "--teacher", "toy", "--out", out)
    assert code == 0, output
    assert f"{len(bad)} rows quarantined" in output
    cache = open_cache(out)
    ids = cache.clip_ids()
    units = [unit for split in cache.splits for unit in cache.units(split)]
    kept = {ids[i] for unit in units for i in cache.read_unit(unit, ["logits"]).clip}
    assert kept == {f"tone/good{number}" for number in range(4)}


def make_bad_clips(folder: Path, elsewhere: Path) -> list[str]:
    folder.mkdir(parents=True)
    for number, (kind, content) in enumerate(FILES.items()):
        (folder / f"cut{number}.{kind}").write_bytes(content[: len(content) // 3])
    (folder / "text.wav").write_text("no audio\n" * 99)
    (folder / "empty.wav").touch()
    promising(folder / "promising.flac")
    soundfile.write(folder / "slow.wav", np.zeros(9000), 1)
    soundfile.write(folder / "huge.wav", np.full(9000, 1e38), RATE_HZ, subtype="FLOAT")
    soundfile.write(folder / "nan.wav", np.full(9000, np.nan), RATE_HZ, subtype="FLOAT")
    os.mkfifo(folder / "fifo.wav")
    (folder / "device.wav").symlink_to("/dev/zero")
    (folder / "gone.wav").symlink_to(folder / "nowhere")
    (folder / "loop.wav").symlink_to(folder / "loop.wav")
    soundfile.write(elsewhere / "secret.wav", np.full(9000, 0.1), RATE_HZ)
    (folder / "outside.wav").symlink_to(elsewhere / "secret.wav")
    return [path.name for path in folder.iterdir()]
