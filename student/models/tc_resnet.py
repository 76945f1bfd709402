"""TC-ResNet as kws_streaming builds it for 12 labels: 366,894 parameters (Rybakov et al. 2020).

The context representation c′ is the feature map before global average pooling (paper A); one
stride of 2 halves the frame rate to 40 ms.

Shape suffixes: B clips, T frames, M features, C classes, D channels.
"""

from __future__ import annotations

from itertools import pairwise

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
from student.recipes import Exponential, Recipe, SpecAugment

STEM_WIDTH = 50
BLOCK_WIDTHS = (50, 50, 50, 50, 72, 72)
KERNEL = 9
MOMENTUM = 0.997


class TCResNet(PoolingStudent):
    """Temporal convolutions over MFCCs as channels, six residual blocks, mean over time.

    The published recipe is SGD with momentum 0.9 from 0.1 to 0.01 over 80,000 steps.

    Parameters
    ----------
    classes : int
        Number of classes.
    """

    front_end = "mfcc40"
    recipe = Recipe("adam", 3e-3, Exponential(0.02), epochs=48, spec_augment=SpecAugment())

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.context_width = BLOCK_WIDTHS[-1]
        preset = FRONT_ENDS[self.front_end]
        self.stem = nn.Conv1d(preset.features, STEM_WIDTH, 3, padding=1)
        self.stem_norm = MaskedBatchNorm(STEM_WIDTH, momentum=MOMENTUM)
        widths = (STEM_WIDTH, *BLOCK_WIDTHS)
        self.blocks = nn.ModuleList(_Block(before, after) for before, after in pairwise(widths))
        self.dropout = nn.Dropout(0.2)
        self.classifier = nn.Linear(self.context_width, classes)
        init_as_keras(self)

    def forward(self, features_BTM: Tensor, lengths_B: Tensor | None) -> StudentOutput:
        """See :class:`Student`."""
        preset = FRONT_ENDS[self.front_end]
        valid_B = lengths_of(lengths_B, features_BTM)
        first_s_B = torch.full_like(valid_B, preset.first_frame_s, dtype=features_BTM.dtype)
        hop_s = preset.hop_s
        mask_B1T = mask_of(lengths_B, features_BTM.shape[1], "B1T")
        hidden_BDT = masked(features_BTM.transpose(1, 2), mask_B1T)
        hidden_BDT = torch.relu(self.stem_norm(self.stem(hidden_BDT), mask_B1T))
        for block in self.blocks:
            if block.stride == 2:
                # Centre of the first output frame: frame 1 of an even clip, frame 0 of an odd one.
                first_s_B = first_s_B + hop_s * (valid_B % 2 == 0)
                hop_s *= 2
                valid_B = (valid_B + 1) // 2
            hidden_BDT, lengths_B = block(hidden_BDT, lengths_B)
        pooled_BD = masked_mean(hidden_BDT, lengths_B)
        logits_BC = self.classifier(self.dropout(pooled_BD))
        return StudentOutput(logits_BC, hidden_BDT.transpose(1, 2), valid_B, hop_s, first_s_B)


class _Block(nn.Module):
    """conv-norm-relu-conv-norm beside a shortcut; where the width changes both have stride 2."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.stride = 1 if before == after else 2
        self.first = nn.Conv1d(before, after, KERNEL, stride=self.stride)
        self.first_norm = MaskedBatchNorm(after, momentum=MOMENTUM)
        self.second = nn.Conv1d(after, after, KERNEL, padding=KERNEL // 2)
        self.second_norm = MaskedBatchNorm(after, momentum=MOMENTUM)
        self.shortcut = None if before == after else nn.Conv1d(before, after, 1, stride=2)
        self.shortcut_norm = None if before == after else MaskedBatchNorm(after, momentum=MOMENTUM)

    def forward(self, hidden_BDT: Tensor, lengths_B: Tensor | None) -> tuple[Tensor, Tensor | None]:
        branch_BDT = self.first(_padded_as_tensorflow(hidden_BDT, lengths_B, self.stride))
        if lengths_B is not None:
            lengths_B = (lengths_B + self.stride - 1) // self.stride
        mask_B1T = mask_of(lengths_B, branch_BDT.shape[2], "B1T")
        branch_BDT = torch.relu(self.first_norm(branch_BDT, mask_B1T))
        branch_BDT = self.second_norm(self.second(branch_BDT), mask_B1T)
        if self.shortcut is not None and self.shortcut_norm is not None:
            hidden_BDT = torch.relu(self.shortcut_norm(self.shortcut(hidden_BDT), mask_B1T))
        return torch.relu(hidden_BDT + branch_BDT), lengths_B


def _padded_as_tensorflow(hidden_BDT: Tensor, lengths_B: Tensor | None, stride: int) -> Tensor:
    """Pad for a 'same' convolution with the 9-frame kernel.

    With stride 2 TensorFlow puts 4 zeros before a clip of odd length but 3 before one of even
    length, whatever the length of the batch around it.
    """
    half = KERNEL // 2
    frames = hidden_BDT.shape[2]
    if stride == 2 and lengths_B is None and isinstance(frames, int):
        return nn.functional.pad(hidden_BDT, (half - (frames % 2 == 0), half))
    padded_BDT = nn.functional.pad(hidden_BDT, (half, half))
    if stride == 1:
        return padded_BDT
    if lengths_B is None:  # a length that is known only when an exported graph runs
        lengths_B = torch.full((1,), frames, device=hidden_BDT.device)
    later_BDT = nn.functional.pad(padded_BDT, (0, 1))[:, :, 1:]
    return torch.where((lengths_B % 2 == 0)[:, None, None], later_BDT, padded_BDT)
