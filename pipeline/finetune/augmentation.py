"""What fine-tuning does to clips so that the model never gets the same input twice.

Waveforms are mixed and given noise before the model's own feature extraction, and SpecAugment hides
a part of what it extracted. All is drawn from the generator of one batch, a function of seed, epoch
and the batch's number.

Shape suffixes: B clips in batch, C classes, M bands (mel or channels), T frames.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline.finetune.data import AudioBatch
from pipeline.finetune.optimizer import first_convolution
from pipeline.teachers.hugging_face import HuggingFaceTeacher
from pipeline.teachers.mel_frames import MelFrames
from pipeline.views.mixup import MIXED_SHARE, mix_waveforms

# One mask each: 48 of 128 bands and 192 of 1024 frames, or 96 of 512, in PSLA and AST.
BAND_SHARE, TIME_SHARE = 3 / 8, 3 / 16

Waveform = NDArray[np.float32]


def mix_batch(batch: AudioBatch, alpha: float, random: np.random.Generator) -> AudioBatch:
    """Mix about half of the clips with others of the batch, their labels alike.

    As PSLA (Gong, Chung and Glass 2021, https://arxiv.org/abs/2102.01243, section III-C) does, on
    waveforms without their means; there alpha is 10. A partner is cut or padded with silence to the
    length of the clip it joins; batches hold clips of similar length.

    Parameters
    ----------
    batch : AudioBatch
        Stays as it is.
    alpha : float
        The clip's own share is drawn from Beta(alpha, alpha).
    random : Generator
        Of this batch.
    """
    waveforms, labels_BC = list(batch.waveforms), batch.labels.copy()
    partners = random.permutation(len(waveforms))
    for row, partner in enumerate(partners):
        share = np.float32(random.beta(alpha, alpha))
        if random.random() >= MIXED_SHARE:
            continue
        waveforms[row] = mix_waveforms(batch.waveforms[row], batch.waveforms[partner], share)
        labels_BC[row] = share * batch.labels[row] + (1 - share) * batch.labels[partner]
    return AudioBatch(waveforms, labels_BC)


def add_noise(
    waveform: Waveform, snr_db: tuple[float, float], random: np.random.Generator
) -> Waveform:
    """Add white noise at a ratio of powers drawn evenly, in decibels, between two."""
    noise = random.standard_normal(len(waveform), dtype=np.float32)
    power = np.mean(np.square(waveform), dtype=np.float64)
    scale = np.sqrt(power * 10 ** (-random.uniform(*snr_db) / 10))
    noisy: Waveform = waveform + np.float32(scale) * noise
    return noisy


class SpecAugmentHook:
    """Hides one stretch of time and one of bands of each clip behind the band's mean in the clip.

    Park et al. 2019 (https://arxiv.org/abs/1904.08779) with one mask each and the sizes of PSLA and
    AST (Gong, Chung and Glass 2021, https://arxiv.org/abs/2104.01778), as shares of bands and of the
    clip's own length, padding not counted. Log-mel families lose a part of their features. A model of
    the waveform has none: there the channels and frames that leave its convolutions are hidden, and
    not by the configuration's ``mask_time_prob``, which cannot mask clips shorter than its
    stretches and takes an embedding that some checkpoints lack.

    Parameters
    ----------
    teacher : HuggingFaceTeacher
        Its model gets the hook that hides; nothing is hidden outside of `hiding`.
    """

    def __init__(self, teacher: HuggingFaceTeacher) -> None:
        self._mel = MelFrames(teacher.sample_rate_hz)
        self._random: np.random.Generator | None = None
        self._samples: Sequence[int] = ()
        first = first_convolution(teacher)
        self._takes_waveform = isinstance(first, nn.Conv1d) and first.in_channels == 1
        if self._takes_waveform:
            teacher.front_end()[0].register_forward_hook(self._hide_output)
        else:
            first.register_forward_pre_hook(self._hide_input)

    @contextmanager
    def hiding(self, samples: Sequence[int], random: np.random.Generator) -> Iterator[None]:
        """Hide parts of clips of these lengths from what the model computes meanwhile."""
        self._samples, self._random = samples, random
        try:
            yield
        finally:
            self._random = None

    def _hide_input(self, _: nn.Module, inputs: tuple[Any, ...]) -> Tensor | None:
        return None if self._random is None else self._hidden(inputs[0], self._random)

    def _hide_output(self, _: nn.Module, __: Any, output: Tensor) -> Tensor | None:
        return None if self._random is None else self._hidden(output, self._random)

    def _hidden(self, features: Tensor, random: np.random.Generator) -> Tensor:
        """Hide parts of features (B, M, T) or (B, images, M, T)."""
        bands, frames = features.shape[-2:]
        if self._takes_waveform:
            longest = max(self._samples)
            own_B = [max(1, frames * samples // longest) for samples in self._samples]
        else:
            own_B = [min(frames, self._mel.count(samples)) for samples in self._samples]
        time_BT = np.zeros((len(own_B), frames), dtype=bool)
        band_BM = np.zeros((len(own_B), bands), dtype=bool)
        for row, own in enumerate(own_B):
            time_BT[row, _stretch(random, own, TIME_SHARE)] = True
            band_BM[row, _stretch(random, bands, BAND_SHARE)] = True
        valid_BT = np.arange(frames) < np.array(own_B)[:, None]
        return _behind_mean(features, time_BT, band_BM, valid_BT)


def _behind_mean(
    features: Tensor,
    time_BT: NDArray[np.bool_],
    band_BM: NDArray[np.bool_],
    valid_BT: NDArray[np.bool_],
) -> Tensor:
    """Replace masked times and bands, where valid, by the mean over valid times."""
    hidden_BMT = (time_BT[:, None] | band_BM[:, :, None]) & valid_BT[:, None]
    hidden = torch.from_numpy(hidden_BMT).to(features.device)
    valid = torch.from_numpy(valid_BT[:, None]).to(features.device)
    if features.dim() == 4:
        hidden, valid = hidden[:, None], valid[:, None]
    mean = (features * valid).sum(dim=-1, keepdim=True) / valid.sum(dim=-1, keepdim=True)
    return torch.where(hidden, mean, features)


def _stretch(random: np.random.Generator, size: int, share: float) -> slice:
    """Draw a stretch of `size` steps of up to a share of them."""
    width = int(random.integers(int(share * size) + 1))
    first = int(random.integers(size - width + 1))
    return slice(first, first + width)
