"""SpecAugment: hide stretches of time and of bands. Samples keep their place, so targets stay true.

Shape suffixes: B clips in batch, T frames, M mel bands or coefficients.
"""

from __future__ import annotations

import numpy as np
from torch import Tensor

TIME_MASKS, TIME_MASK_FRAMES = 2, 10
BAND_MASKS, BAND_MASK_BANDS = 2, 5


def spec_augment(features_BTM: Tensor, lengths_B: Tensor, random: np.random.Generator) -> Tensor:
    """Replace two stretches of up to 9 frames and two of up to 4 bands by the clip's mean per band.

    Sizes are kws_streaming's (Park et al. 2019, arXiv 1904.08779). It masks with zero and draws one
    mask for the whole batch; here each clip has its own, and the mean of the band stands in, as zero
    is not a neutral value of an unnormalised MFCC. A mask covers at most half of a short clip.
    """
    augmented_BTM = features_BTM.clone()
    bands = features_BTM.shape[2]
    for clip_TM, frames in zip(augmented_BTM, lengths_B.tolist(), strict=True):
        mean_M = clip_TM[:frames].mean(0)
        for _ in range(TIME_MASKS):
            first, last = _stretch(random, frames, min(TIME_MASK_FRAMES, frames // 2 + 1))
            clip_TM[first:last] = mean_M
        for _ in range(BAND_MASKS):
            first, last = _stretch(random, bands, BAND_MASK_BANDS)
            clip_TM[:frames, first:last] = mean_M[first:last]
    return augmented_BTM


def _stretch(random: np.random.Generator, size: int, below: int) -> tuple[int, int]:
    """Draw a stretch shorter than `below` inside `size`."""
    width = int(random.integers(below))
    first = int(random.integers(size - width + 1))
    return first, first + width


def augmentation_random(seed: int, epoch: int, batch: int) -> np.random.Generator:
    """Random numbers of one batch: a function of its position alone."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, epoch, batch])))
