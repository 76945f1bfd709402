"""Real clips through precompute-teacher with each family: what is cached is exact, whole and visible."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from commands import RATE_HZ, command, succeeded
from tiny_checkpoints import assert_within_one_ulp, oracle, stock_answer, write_checkpoints

from cache_schema.inspection.summary import clip_facts, find_clip
from cache_schema.reader import Ragged, open_cache

MAP_SIGNALS = ("layer_attention", "attention_map")
# Folder of the model, special tokens before the grid, rows of the grid, frames of a shortened stock
# Whisper for one second.
FAMILIES = {
    "real-whisper": (0, 1, 50),
    "wav2vec2_layer_norm": (0, 1, None),
    "wav2vec2_group_norm": (0, 1, None),
    "ast": (2, 3, None),
}


@pytest.fixture(scope="module")
def speech(shared_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real keywords of 1 s and two cut ones, so that batches are ragged."""
    root = tmp_path_factory.mktemp("speech")
    words = shared_dir / "data" / "speech_commands_v2_12"
    for word in ("yes", "no", "stop"):
        (root / "train" / word).mkdir(parents=True)
        for number, path in enumerate(sorted((words / word).glob("*.flac"))[:3]):
            samples, _ = soundfile.read(path)
            kept = RATE_HZ if number else RATE_HZ - 1600
            soundfile.write(root / "train" / word / path.name, samples[:kept], RATE_HZ)
    return root


@pytest.fixture(scope="module")
def models(shared_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("peaked_random_teachers")
    write_checkpoints(root)
    (root / "real-whisper").symlink_to(shared_dir / "models" / "whisper-tiny.en-encoder")
    return root


@pytest.fixture(scope="module", params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def cache_dir(
    family: str, speech: Path, models: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    out = tmp_path_factory.mktemp("caches") / f"{family}.zarr"
    named = [word for name in MAP_SIGNALS for word in ("--signal", name)]
    arguments = [f"folder:{speech}", "--teacher", models / family, "--out", out, *named]
    succeeded(command("precompute-teacher", *arguments))
    return out


def test_cached_attention_is_the_exact_rollout_of_the_stock_model(
    family: str, cache_dir: Path, models: Path
) -> None:
    cache = open_cache(cache_dir)
    special, rows, whisper_frames = FAMILIES[family]
    clip_id = next(name for name in cache.clip_ids() if len(_waveform(cache_dir, name)) == RATE_HZ)
    signals = clip_facts(cache, find_clip(cache_dir, clip_id))["signals"]
    waveform_S = signals["waveform"].astype(np.float32) / 32768
    maps, _ = stock_answer(models / family, waveform_S, whisper_frames)
    positions = maps.shape[1]
    pooling = np.full(positions, 1 / positions)
    if special:
        pooling = np.repeat([0.5, 0.0], [special, positions - special])
    frames = len(signals["temporal_attention"])
    exact = oracle(maps, pooling, residual=True, special=special, rows=rows, frames=frames)
    assert_within_one_ulp(signals["temporal_attention"], exact)


def test_layers_and_map_are_stored_verified_and_streamed(cache_dir: Path) -> None:
    assert "verified" in succeeded(command("inspect-cache", cache_dir, "--verify"))
    cache = open_cache(cache_dir)
    seen = 0
    for unit in cache.units("train"):
        read = cache.read_unit(unit, ["temporal_attention", *MAP_SIGNALS])
        layers, maps = (read.signals[name] for name in MAP_SIGNALS)
        assert isinstance(layers, Ragged)
        for row in range(len(read.clip)):
            assert len(layers[row]) == len(read.signals["temporal_attention"][row])
            np.testing.assert_allclose(layers[row].astype(float).sum(axis=0), 1, atol=5e-3)
            np.testing.assert_allclose(maps[row].astype(float).sum(axis=1), 1, atol=5e-3)
            seen += 1
    assert seen == 9


def test_a_real_clip_is_drawn_with_layers_and_map(cache_dir: Path, tmp_path: Path) -> None:
    picture = tmp_path / "clip.png"
    succeeded(command("inspect-cache", cache_dir, "--plot", picture))
    assert picture.stat().st_size > 20_000


def _waveform(root: Path, clip_id: str) -> np.ndarray:
    waveform: np.ndarray = clip_facts(open_cache(root), find_clip(root, clip_id))["signals"][
        "waveform"
    ]
    return waveform
