"""Mixup of features inside a batch, with the targets of both clips.

Shape suffixes: B clips in batch, T frames, M mel bands or coefficients.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from student.models.layers import frame_mask
from student.stream.batch import Batch


@dataclass(frozen=True, slots=True)
class MixupDraw:
    """Which clip each is mixed with.

    Attributes
    ----------
    partner_B : Tensor, int64
        Position of the other clip in the batch.
    share_B : Tensor, float
        Share of the clip itself, at least 1/2: it stays the louder one.
    """

    partner_B: Tensor
    share_B: Tensor

    def to(self, device: torch.device) -> MixupDraw:
        """Copy both to a device."""
        return MixupDraw(self.partner_B.to(device), self.share_B.to(device))


def draw_mixup(clips: int, alpha: float, random: np.random.Generator) -> MixupDraw:
    """Draw partners and shares ``max(b, 1 - b)`` with b from Beta(alpha, alpha), as EfficientAT."""
    drawn_B = random.beta(alpha, alpha, clips)
    share_B = torch.from_numpy(np.maximum(drawn_B, 1 - drawn_B).astype(np.float32))
    return MixupDraw(torch.from_numpy(random.permutation(clips)), share_B)


def mix_features(batch: Batch, mixing: MixupDraw) -> Tensor:
    """Mix each clip's features with its partner's: (B, T, M).

    The clip keeps its own length; beyond a shorter partner's end it stands alone.
    """
    partner_BTM = batch.features_BTM[mixing.partner_B]
    partner_frames_B = torch.minimum(batch.lengths_B, batch.lengths_B[mixing.partner_B])
    both_BT = frame_mask(partner_frames_B, partner_BTM.shape[1])
    weight_BT1 = ((1 - mixing.share_B)[:, None] * both_BT)[:, :, None]
    return batch.features_BTM.lerp(partner_BTM, weight_BT1)


def partner_targets(batch: Batch, mixing: MixupDraw) -> Batch:
    """Give each clip the targets of its partner."""
    order = mixing.partner_B
    return replace(
        batch,
        labels_BC=batch.labels_BC[order],
        labelled_B=batch.labelled_B[order],
        signals={name: signal[order] for name, signal in batch.signals.items()},
        signal_lengths={name: lengths[order] for name, lengths in batch.signal_lengths.items()},
    )
