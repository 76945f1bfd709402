"""What can be chosen about a fine-tuning, and whether a device can do it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from cache_schema.errors import UsageError

Precision = Literal["auto", "32-true", "bf16-mixed", "16-mixed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FineTuneRecipe:
    """How to fine-tune.

    Attributes
    ----------
    epochs : int
        At most this many passes over the training clips.
    freeze_layers : int
        Layers that stay as they are, counted from the input, beside the front end.
    train_front_end : bool
        Train the front end too: for a base with random weights.
    learning_rate : float
        Of the head; peak of the one-cycle schedule (Smith and Topin 2018,
        https://arxiv.org/abs/1708.07120).
    layer_decay : float
        A layer learns at this share of the rate of what lies above it, the front end slowest (Clark
        et al. 2020, https://arxiv.org/abs/2003.10555, appendix B); 1 is one rate for all.
    batch_size : int
        Clips that pass the model at once.
    accumulate : int
        Batches whose gradients make one step.
    balanced : bool
        Draw clips with replacement, those of rare classes as often as those of frequent ones.
    spec_augment : bool
        Hide a stretch of time and one of bands from the model.
    mixup : float
        Half of the clips are mixed with another by a share from Beta(mixup, mixup); 0 is off.
    noise_snr_db : pair of float, optional
        White noise joins every clip, at a signal-to-noise ratio drawn between these two.
    precision : str
        ``32-true``, or the narrow type of mixed precision. ``auto`` is for `resolved_precision`.
    patience : int
        Epochs without a better validation score before stopping.
    seed : int
        Of the new head, the draw and order of clips, augmentation and dropout.
    """

    epochs: int = 10
    freeze_layers: int = 0
    train_front_end: bool = False
    learning_rate: float = 2e-4
    layer_decay: float = 1.0
    batch_size: int = 16
    accumulate: int = 1
    balanced: bool = False
    spec_augment: bool = False
    mixup: float = 0.0
    noise_snr_db: tuple[float, float] | None = None
    precision: Precision = "32-true"
    patience: int = 3
    seed: int = 0

    def __post_init__(self) -> None:
        if self.noise_snr_db is not None and self.noise_snr_db[0] > self.noise_snr_db[1]:
            low, high = self.noise_snr_db
            raise UsageError(
                f"--noise-snr-db {low} {high}: the lower ratio comes first, so "
                f"--noise-snr-db {high} {low}",
                kind="options",
            )


def resolved_precision(precision: Precision, device: str) -> Precision:
    """Choose for ``auto``, and reject what a device cannot do.

    Parameters
    ----------
    precision : str
        As on the command line. ``auto`` becomes bfloat16 where a GPU computes it, else float32.
    device : str
        Torch device.

    Raises
    ------
    UsageError
        If the device lacks the type, or would need the loss scaling that only CUDA has here.
    """
    kind = torch.device(device).type
    if precision == "auto":
        return "bf16-mixed" if kind == "cuda" and _has_bfloat16() else "32-true"
    if precision == "16-mixed" and kind != "cuda":
        raise UsageError(
            f"--precision 16-mixed needs --device cuda, and this is --device {device}; take "
            "--precision bf16-mixed or 32-true",
            kind="options",
        )
    if precision == "bf16-mixed" and kind == "cuda" and not _has_bfloat16():
        raise UsageError(
            f"--precision bf16-mixed: the GPU of --device {device} has no bfloat16; take "
            "--precision 16-mixed or 32-true",
            kind="options",
        )
    return precision


def _has_bfloat16() -> bool:
    """Return whether the GPU computes bfloat16 itself, as those since 2020 do."""
    return torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
