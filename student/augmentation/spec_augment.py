"""SpecAugment: hide stretches of time and of bands. Samples keep their place, so targets stay true.

Shape suffixes: B clips in batch, T frames, M mel bands or coefficients.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from student.recipes import SpecAugment
from student.stream.batch import Batch


def spec_augment(batch: Batch, masks: SpecAugment, random: np.random.Generator) -> Batch:
    """Replace stretches of time and of bands by the clip's mean of each band.

    After Park et al. 2019 (https://arxiv.org/abs/1904.08779). kws_streaming masks with zero and draws
    one mask for the whole batch; here each clip has its own, and the mean of the band stands in, as
    zero is not a neutral value of an unnormalised MFCC. A mask covers at most half of a short clip
    and half of the bands. The batch notes the hidden frames: a loss over frames leaves them out.
    """
    augmented_BTM = batch.features_BTM.clone()
    hidden_BT = torch.zeros(augmented_BTM.shape[:2], dtype=torch.bool)
    bands = augmented_BTM.shape[2]
    rows = zip(augmented_BTM, hidden_BT, batch.lengths_B.tolist(), strict=True)
    for clip_TM, hidden_T, frames in rows:
        mean_M = clip_TM[:frames].mean(0)
        for _ in range(masks.time_masks):
            first, last = _stretch(random, frames, masks.time_mask_frames)
            clip_TM[first:last] = mean_M
            hidden_T[first:last] = True
        for _ in range(masks.band_masks):
            first, last = _stretch(random, bands, masks.band_mask_bands)
            clip_TM[:frames, first:last] = mean_M[first:last]
    return replace(batch, features_BTM=augmented_BTM, hidden_BT=hidden_BT)


def _stretch(random: np.random.Generator, size: int, below: int) -> tuple[int, int]:
    """Draw a stretch shorter than `below`, at most half of `size`, inside `size`."""
    width = int(random.integers(min(below, size // 2 + 1)))
    first = int(random.integers(size - width + 1))
    return first, first + width


def augmentation_random(seed: int, epoch: int, batch: int) -> np.random.Generator:
    """Random numbers of one batch: a function of its position alone."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, epoch, batch])))
