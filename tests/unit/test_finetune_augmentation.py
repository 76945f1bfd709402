"""Mixing, noise and SpecAugment do what they should, and no more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from small_finetuning import FAMILIES, adopted, write_base
from torch import nn

from cache_schema.errors import UsageError
from pipeline.finetune.augmentation import (
    BAND_SHARE,
    TIME_SHARE,
    SpecAugmentHook,
    add_noise,
    mix_batch,
)
from pipeline.finetune.data import AudioBatch
from pipeline.finetune.recipe import FineTuneRecipe
from pipeline.teachers.hugging_face import HuggingFaceTeacher

torch.set_num_threads(1)


def noise(samples: int, seed: int = 0) -> NDArray[np.float32]:
    return (0.1 * np.random.default_rng(seed).standard_normal(samples) + 0.05).astype(np.float32)


def batch_of(lengths: list[int]) -> AudioBatch:
    """Clips whose class is their row, so that labels show which was mixed with whom."""
    waveforms = [noise(samples, seed) for seed, samples in enumerate(lengths)]
    return AudioBatch(waveforms, np.eye(len(lengths), dtype=np.float32))


@given(st.lists(st.integers(1, 50), min_size=1, max_size=8), st.integers(0, 1_000))
@settings(deadline=None, max_examples=100)
def test_mixup_mixes_waveforms_as_the_labels(lengths: list[int], seed: int) -> None:
    batch = batch_of(lengths)
    mixed = mix_batch(batch, 10, np.random.default_rng(seed))
    for row, (waveform, shares) in enumerate(zip(mixed.waveforms, mixed.labels, strict=True)):
        assert waveform.dtype == shares.dtype == np.float32
        assert shares.sum() == pytest.approx(1)
        assert np.count_nonzero(shares) <= 2
        if np.array_equal(waveform, batch.waveforms[row]):
            continue
        expected = np.zeros(lengths[row])
        for other in np.flatnonzero(shares):
            partner_S = batch.waveforms[other][: lengths[row]]
            expected[: len(partner_S)] += shares[other] * (partner_S - partner_S.mean())
        np.testing.assert_allclose(waveform, expected, atol=1e-6)


def test_mixup_takes_half_of_the_clips_and_shares_near_a_half_for_alpha_10() -> None:
    batch, random = batch_of([20] * 50), np.random.default_rng(0)
    labels = [mix_batch(batch, 10, random).labels for _ in range(40)]
    shares = np.concatenate([np.diagonal(rows) for rows in labels])
    mixed = shares[shares < 1]
    assert len(mixed) / len(shares) == pytest.approx(0.5, abs=0.05)
    assert mixed.mean() == pytest.approx(0.5, abs=0.02)
    assert mixed.std() == pytest.approx(np.sqrt(1 / (4 * 21)), rel=0.1)  # of Beta(10, 10)


def test_mixup_leaves_what_it_was_given() -> None:
    batch, same = batch_of([20] * 8), batch_of([20] * 8)
    mix_batch(batch, 10, np.random.default_rng(0))
    assert np.array_equal(batch.waveforms, same.waveforms)
    assert np.array_equal(batch.labels, same.labels)


@given(st.floats(-10, 40), st.floats(0, 20), st.integers(0, 1_000))
@settings(deadline=None, max_examples=50)
def test_noise_has_the_power_requested(low_db: float, width_db: float, seed: int) -> None:
    clean = noise(20_000)
    noisy = add_noise(clean, (low_db, low_db + width_db), np.random.default_rng(seed))
    added = noisy.astype(float) - clean
    ratio_db = 10 * np.log10(np.mean(clean.astype(float) ** 2) / np.mean(added**2))
    assert low_db - 0.2 <= ratio_db <= low_db + width_db + 0.2
    assert noisy.dtype == np.float32


def test_silence_stays_silent_at_any_ratio() -> None:
    silence = np.zeros(100, dtype=np.float32)
    assert not add_noise(silence, (0, 10), np.random.default_rng(0)).any()


def test_a_ratio_range_upside_down_is_rejected() -> None:
    with pytest.raises(UsageError, match="so --noise-snr-db 5 20"):
        FineTuneRecipe(noise_snr_db=(20, 5))


class Seen:
    """What reaches the layers of a model beyond SpecAugmentHook: features (B, M, T)."""

    def __init__(self, teacher: HuggingFaceTeacher) -> None:
        front_end = teacher.front_end()[0]
        convolution = next(m for m in front_end.modules() if isinstance(m, nn.Conv1d | nn.Conv2d))
        self.features = torch.empty(0)
        if teacher.family == "wav2vec2":
            front_end.register_forward_hook(lambda _, __, output: self._keep(output))
        else:
            convolution.register_forward_pre_hook(lambda _, inputs: self._keep(inputs[0]))

    def _keep(self, features: Any) -> None:
        self.features = features.detach().clone()
        if self.features.dim() == 4:
            self.features = self.features[:, 0]


@pytest.fixture(params=FAMILIES)
def teacher(request: pytest.FixtureRequest, tmp_path: Path) -> HuggingFaceTeacher:
    teacher = adopted(write_base(tmp_path / "base", request.param))
    teacher.model.eval()
    return teacher


SAMPLES = [8_000, 6_000]


def waveforms_for(teacher: HuggingFaceTeacher) -> list[NDArray[np.float32]]:
    """Two clips; the second padded with silence where the family has no mask."""
    clips = [noise(samples, seed) for seed, samples in enumerate(SAMPLES)]
    if teacher.batching == "exact":
        clips[1] = np.pad(clips[1], (0, SAMPLES[0] - SAMPLES[1]))
    return clips


def test_spec_augment_hides_one_stretch_of_time_and_one_of_bands_behind_the_mean(
    teacher: HuggingFaceTeacher,
) -> None:
    spec_augment, seen = SpecAugmentHook(teacher), Seen(teacher)
    with torch.inference_mode():
        teacher.logits(waveforms_for(teacher))
        clean = seen.features
        shares = []
        for seed in range(30):
            with spec_augment.hiding(SAMPLES, np.random.default_rng(seed)):
                teacher.logits(waveforms_for(teacher))
            for clip, samples, whole in zip(seen.features, SAMPLES, clean, strict=True):
                shares.append(hidden_shares(teacher, clip, whole, samples))
    bands, times = np.array(shares).T
    assert 0.6 * BAND_SHARE < bands.max() <= BAND_SHARE
    assert 0.6 * TIME_SHARE < times.max() <= TIME_SHARE


def hidden_shares(
    teacher: HuggingFaceTeacher, clip: torch.Tensor, whole: torch.Tensor, samples: int
) -> tuple[float, float]:
    """Check where a clip (M, T) was hidden; the shares of bands and of its own frames."""
    hop = max(SAMPLES) / whole.shape[1] if teacher.family == "wav2vec2" else 160
    own = min(whole.shape[1], round(samples / hop) + 1)  # to a frame
    changed = (clip != whole).numpy()
    assert not changed[:, own:].any(), "padding was hidden"
    times, bands = changed.mean(0) > 0.9, changed[:, :own].mean(1) > 0.9
    assert not changed[~bands][:, ~times].any(), "something else changed"
    for hidden in (np.flatnonzero(times), np.flatnonzero(bands)):
        assert len(hidden) == 0 or hidden[-1] - hidden[0] + 1 - len(hidden) <= 1, "two stretches"
    hidden_values = clip[:, times]
    assert torch.allclose(hidden_values, hidden_values[:, :1].expand_as(hidden_values))
    if times.any():  # a frame more or less of padding moves the mean a little
        mean = whole[:, :own].mean(1)
        assert torch.allclose(hidden_values[:, 0], mean, atol=0.1 * float(whole.abs().max()))
    return float(bands.mean()), float(times.sum() / own)


def test_nothing_is_hidden_outside_and_the_seed_alone_decides(teacher: HuggingFaceTeacher) -> None:
    with torch.inference_mode():
        before = teacher.logits(waveforms_for(teacher))
        spec_augment = SpecAugmentHook(teacher)
        answers = []
        for seed in (1, 1, 2):
            with spec_augment.hiding(SAMPLES, np.random.default_rng(seed)):
                answers.append(teacher.logits(waveforms_for(teacher)))
        after = teacher.logits(waveforms_for(teacher))
    assert torch.equal(before, after)
    assert torch.equal(answers[0], answers[1])
    assert not torch.equal(answers[0], answers[2])


def test_the_shortest_clip_of_a_family_can_be_augmented(teacher: HuggingFaceTeacher) -> None:
    clip, spec_augment = noise(teacher.min_samples), SpecAugmentHook(teacher)
    for seed in range(10):
        with spec_augment.hiding([len(clip)], np.random.default_rng(seed)):
            assert teacher.logits([clip]).isfinite().all()
