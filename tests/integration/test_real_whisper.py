"""The pretrained Whisper encoder on real speech against a rollout written from the definition."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from pipeline.teachers import open_teacher

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def speech(shared_dir: Path) -> NDArray[np.float32]:
    soundfile = pytest.importorskip("soundfile")
    path = sorted((shared_dir / "data" / "speech_commands_v2_12").rglob("*.flac"))[7]
    waveform, _ = soundfile.read(path, dtype="float32")
    return np.asarray(waveform)


@pytest.fixture(scope="module")
def encoder_folder(shared_dir: Path) -> Path:
    folder = shared_dir / "models" / "whisper-tiny.en-encoder"
    if not folder.is_dir():
        pytest.skip(f"needs {folder.name}")
    return folder


def stock_maps(folder: Path, waveform: NDArray[np.float32]) -> NDArray[np.float64]:
    """Head means of the encoder's own eager attention, shortened to the clip by hand: (L, T, T)."""
    from transformers import AutoFeatureExtractor, WhisperForAudioClassification

    extractor = AutoFeatureExtractor.from_pretrained(folder)
    features = extractor(
        waveform, sampling_rate=16_000, padding="longest", return_tensors="pt"
    ).input_features
    model = WhisperForAudioClassification.from_pretrained(
        folder, attn_implementation="eager", dtype=torch.float32
    )
    frames = features.shape[-1] // 2
    positions = model.encoder.embed_positions.weight[:frames]
    model.encoder.embed_positions = torch.nn.Embedding.from_pretrained(positions)
    model.encoder.config.max_source_positions = frames
    with torch.inference_mode():
        attentions = model.encoder(features, output_attentions=True).attentions
    return np.stack([attention[0].double().mean(0).numpy() for attention in attentions])


@pytest.mark.parametrize("residual", [True, False])
def test_real_rollout_equals_matrix_products(
    encoder_folder: Path, speech: NDArray[np.float32], residual: bool
) -> None:
    maps = stock_maps(encoder_folder, speech)
    rolled = np.eye(maps.shape[1])
    for layer in maps:
        rolled = (0.5 * layer + 0.5 * np.eye(len(layer)) if residual else layer) @ rolled
    expected = rolled.mean(axis=0)

    teacher = open_teacher(str(encoder_folder), {"residual": str(residual)})
    teacher.load("cpu")
    answer = teacher.infer([speech], ["temporal_attention", "attention_dropped_mass"])[0]
    stored, exact = answer["temporal_attention"].astype("f2"), expected.astype("f2")
    difference = np.abs(stored.astype(float) - exact.astype(float))
    assert (difference <= np.spacing(exact).astype(float) + 6e-8).all()
    assert answer["attention_dropped_mass"] == 0


def test_real_attention_is_higher_where_the_word_is(
    encoder_folder: Path, speech: NDArray[np.float32]
) -> None:
    """A word placed late in 3 s of quiet noise draws the rollout to where it is."""
    noise = 1e-3 * np.random.default_rng(0).standard_normal(48_000).astype("f4")
    noise[28_000 : 28_000 + len(speech)] += speech
    teacher = open_teacher(str(encoder_folder), {"residual": "false"})
    teacher.load("cpu")
    attention = teacher.infer([noise], ["temporal_attention"])[0]["temporal_attention"]
    inside = attention[28_000 // 320 : (28_000 + len(speech)) // 320].sum()
    assert inside > len(speech) / len(noise)
