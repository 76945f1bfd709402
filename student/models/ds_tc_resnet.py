"""DS-TC-ResNet, kws_streaming's MatchboxNet (Majumdar & Ginsburg 2020, arXiv 2004.08531).

Its default layers, the ones of its experiments with 35 labels. For 35 labels it has 74,651 trainable
parameters, published as 75K, and 76,187 with the statistics of BatchNorm; for 12 labels 73,220. Those
experiments hop by 10 ms, and its run with 12 labels takes 40 coefficients of 80 bands from 30-ms windows
every 10 ms; here its input is 40 coefficients of 40 bands, 40 ms every 20 ms, as for TC-ResNet.

The context representation c′ is the feature map before global average pooling, one frame every 20 ms.

Shape suffixes: B clips, T frames, M features, C classes, D channels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cache_schema.front_ends import FRONT_ENDS
from student.models.interface import StudentOutput
from student.models.layers import (
    MaskedBatchNorm,
    init_as_keras,
    lengths_of,
    mask_of,
    masked,
    masked_mean,
)
from student.models.pooling_student import PoolingStudent
from student.recipes import Exponential, Recipe

MOMENTUM = 0.99


@dataclass(frozen=True, slots=True)
class Stage:
    """One separable convolution: channels it makes, frames it spans, and how."""

    width: int
    kernel: int
    residual: bool = False
    dilation: int = 1


STAGES = (
    Stage(128, 11),
    Stage(64, 13, residual=True),
    Stage(64, 15, residual=True),
    Stage(64, 17, residual=True),
    Stage(128, 29, dilation=2),
    Stage(128, 1),
)


class DSTCResNet(PoolingStudent):
    """Time-channel separable convolutions over MFCCs as channels, mean over time.

    Parameters
    ----------
    classes : int
        Number of classes.
    """

    front_end = "mfcc40"
    recipe = Recipe("adam", 1e-2, Exponential(0.02))

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.context_width = STAGES[-1].width
        widths = (FRONT_ENDS[self.front_end].features, *(stage.width for stage in STAGES))
        pairs = zip(widths, STAGES, strict=False)
        self.blocks = nn.ModuleList(_Block(before, stage) for before, stage in pairs)
        self.classifier = nn.Linear(self.context_width, classes)
        init_as_keras(self)

    def forward(self, features_BTM: Tensor, lengths_B: Tensor | None) -> StudentOutput:
        """See :class:`Student`."""
        mask_B1T = mask_of(lengths_B, features_BTM.shape[1], "B1T")
        hidden_BDT = masked(features_BTM.transpose(1, 2), mask_B1T)
        for block in self.blocks:
            hidden_BDT = block(hidden_BDT, mask_B1T)
        logits_BC = self.classifier(masked_mean(hidden_BDT, lengths_B))
        preset = FRONT_ENDS[self.front_end]
        valid_B = lengths_of(lengths_B, features_BTM)
        first_s_B = torch.full_like(valid_B, preset.first_frame_s, dtype=features_BTM.dtype)
        context_BTD = hidden_BDT.transpose(1, 2)
        return StudentOutput(logits_BC, context_BTD, valid_B, preset.hop_s, first_s_B)


class _Block(nn.Module):
    """Depthwise over time, pointwise over channels, norm; some beside a 1x1 convolution and norm."""

    def __init__(self, before: int, stage: Stage) -> None:
        super().__init__()
        self.depthwise = nn.Conv1d(
            before, before, stage.kernel, groups=before, bias=False,
            dilation=stage.dilation, padding=stage.dilation * (stage.kernel // 2),
        )  # fmt: skip
        self.pointwise = nn.Conv1d(before, stage.width, 1, bias=False)
        self.norm = MaskedBatchNorm(stage.width, momentum=MOMENTUM)
        self.shortcut = nn.Conv1d(before, stage.width, 1, bias=False) if stage.residual else None
        self.shortcut_norm = (
            MaskedBatchNorm(stage.width, momentum=MOMENTUM) if stage.residual else None
        )

    def forward(self, hidden_BDT: Tensor, mask_B1T: Tensor | None) -> Tensor:
        branch_BDT = self.norm(self.pointwise(self.depthwise(hidden_BDT)), mask_B1T)
        if self.shortcut is not None and self.shortcut_norm is not None:
            branch_BDT = branch_BDT + self.shortcut_norm(self.shortcut(hidden_BDT), mask_B1T)
        return torch.relu(branch_BDT)
