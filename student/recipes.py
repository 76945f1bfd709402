"""Training recipes: the students' own, and those of the papers' code as named presets.

Epochs inside a schedule are shares of the training, so that a preset keeps its shape under another
``--epochs``; PSLA's warm-up alone is counted in steps, 1000 of them. What a preset's source does to
waveforms (shifts, background noise, waveform mixup) needs views of the cache and is no part of it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, Protocol


class Schedule(Protocol):
    """How the learning rate moves."""

    def factor(self, progress: float) -> float:
        """Share of the recipe's learning rate after this share of the training, 0 to 1."""


@dataclass(frozen=True, slots=True)
class Exponential:
    """Falls exponentially to the share `last` at the end, as kws_streaming's ``exp``."""

    last: float

    def factor(self, progress: float) -> float:
        """See `Schedule`."""
        return math.exp(progress * math.log(self.last))


@dataclass(frozen=True, slots=True)
class Cosine:
    """Falls along half a cosine to the share `floor` at the end (Loshchilov & Hutter 2017)."""

    floor: float = 0.0

    def factor(self, progress: float) -> float:
        """See `Schedule`."""
        return self.floor + (1 - self.floor) * (1 + math.cos(math.pi * progress)) / 2


@dataclass(frozen=True, slots=True)
class Steps:
    """Multiplied by `drop` at the share `first` of the training and after every further `every`."""

    first: float
    every: float
    drop: float

    def factor(self, progress: float) -> float:
        """See `Schedule`."""
        # Rounding: 10 of 40 epochs are done at 0.25, which no sum of shares must miss.
        passed = math.floor((progress - self.first) / self.every + 1e-9) + 1
        return self.drop ** max(0, passed)


@dataclass(frozen=True, slots=True)
class RampDown:
    """Rises as ``exp(-5 (1 - p)^2)``, holds, then falls on a line to the share `last`."""

    risen: float
    fall_from: float
    fall_to: float
    last: float

    def factor(self, progress: float) -> float:
        """See `Schedule`."""
        rise = math.exp(-5 * (1 - min(1.0, progress / self.risen)) ** 2)
        fallen = (progress - self.fall_from) / (self.fall_to - self.fall_from)
        return rise * (1 - (1 - self.last) * min(1.0, max(0.0, fallen)))


@dataclass(frozen=True, slots=True)
class SpecAugment:
    """SpecAugment's masks: how many, and below how many frames or bands each stays."""

    time_masks: int = 2
    time_mask_frames: int = 10
    band_masks: int = 2
    band_mask_bands: int = 5


@dataclass(frozen=True, slots=True)
class Average:
    """Weights averaged beside the training; the average is what is validated and kept.

    Attributes
    ----------
    kind : {"ema", "last"}
        An exponential moving average over steps, or the mean over the last epochs (PSLA's weight
        averaging).
    amount : float
        The decay of ``ema`` per step, or the share of the training that ``last`` averages.
    """

    kind: Literal["ema", "last"]
    amount: float


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a student is trained.

    Attributes
    ----------
    optimizer : {"adam", "sgd"}
        SGD has momentum 0.9.
    learning_rate : float
        Highest rate.
    schedule : Schedule
        What becomes of it.
    epochs, batch_size : int
        Length, and rows of a step.
    betas, weight_decay
        Of Adam; its epsilon is 1e-8 everywhere.
    warm_up_steps : int
        Steps over which the rate rises linearly.
    spec_augment : SpecAugment or None
        Stretches hidden from the student.
    mixup : float or None
        Alpha of the Beta distribution that features and targets of two clips are mixed by.
    average : Average or None
        Weight averaging.
    """

    optimizer: Literal["adam", "sgd"]
    learning_rate: float
    schedule: Schedule
    epochs: int = 30
    batch_size: int = 32
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0
    warm_up_steps: int = 0
    spec_augment: SpecAugment | None = None
    mixup: float | None = None
    average: Average | None = None


_KWS_AUGMENT = SpecAugment()
# 80,000 steps of 100 clips are about 217 epochs of the 36,923 training clips of 12 labels.
_KWS_EPOCHS = 217

RECIPES = {
    # Rybakov et al. 2020, kws_experiments_paper_12_labels.md.
    "kws-streaming": Recipe(
        "adam", 1e-3, Exponential(0.02), epochs=_KWS_EPOCHS, batch_size=100,
        spec_augment=_KWS_AUGMENT,
    ),
    # The same for TC-ResNet.
    "kws-streaming-sgd": Recipe(
        "sgd", 0.1, Exponential(0.1), epochs=_KWS_EPOCHS, batch_size=100,
        spec_augment=_KWS_AUGMENT,
    ),
    # Gong et al. 2021 (PSLA), egs/fsd50k/run.sh: halved every 5 epochs from epoch 10 of 40, weights
    # averaged over epochs 21 to 40.
    "psla": Recipe(
        "adam", 5e-4, Steps(10 / 40, 5 / 40, 0.5), epochs=40, batch_size=24, betas=(0.95, 0.999),
        weight_decay=5e-7, warm_up_steps=1000, spec_augment=SpecAugment(1, 192, 1, 48),
        average=Average("last", 0.5),
    ),
    # Gong et al. 2021 (AST), ESC-50 without AudioSet: times 0.85 every epoch from epoch 5 of 25.
    "ast": Recipe(
        "adam", 1e-4, Steps(5 / 25, 1 / 25, 0.85), epochs=25, batch_size=48, betas=(0.95, 0.999),
        weight_decay=5e-7, spec_augment=SpecAugment(1, 96, 1, 24),
    ),
    # Schmid et al. 2023 (EfficientAT), ex_audioset.py: rises over 8 of 200 epochs, falls from epoch
    # 80 over 95 epochs.
    "efficientat": Recipe(
        "adam", 8e-4, RampDown(8 / 200, 80 / 200, 175 / 200, 0.01), epochs=200, batch_size=120,
        mixup=0.3,
    ),
}  # fmt: skip
