"""BC-ResNet: broadcasted residual learning for keywords (Kim et al. 2021, arXiv 2106.04140).

Two-dimensional features keep what happens in each band; in every block their mean over bands goes
through a cheap convolution over time and is added back to all bands. Layers, widths, dilations and
counts follow table 1 of the paper and its authors' code; the input is this project's 40-band
log-mel with a frame every 20 ms (theirs: every 10 ms), normalised over bands.

The context representation c′ is the feature map before the mean over time, one frame every 20 ms.

Shape suffixes: B clips, T frames, M bands of the input, F bands of a feature map, C classes or
channels, D context width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from cache_schema.errors import UsageError
from cache_schema.front_ends import FRONT_ENDS
from student.models.interface import StudentOutput
from student.models.layers import MaskedBatchNorm, lengths_of, mask_of, masked, masked_mean
from student.models.pooling_student import PoolingStudent
from student.recipes import Exponential, Recipe

MIN_WIDTH, MAX_WIDTH = 1.0, 8.0
BASE_CHANNELS = 8  # of BC-ResNet-1
SUB_BANDS = 5
# Of each stage: channels in units of the base, blocks, stride over bands, dilation over time.
STAGES = ((1.0, 2, 1, 1), (1.5, 2, 2, 2), (2.0, 4, 2, 4), (2.5, 4, 1, 8))
STEM_CHANNELS, HEAD_CHANNELS = 2.0, 4.0
MOMENTUM, EPSILON = 0.9, 1e-5  # torch's, as the authors train with
DROPPED = 0.1


class BCResNet(PoolingStudent):
    """Twelve broadcasted residual blocks over a log-mel, mean over time.

    Parameters
    ----------
    classes : int
        Number of classes.
    width : float
        Channels as a multiple of BC-ResNet-1's, 1 to 8; the paper has 1, 1.5, 2, 3, 6 and 8.

    Raises
    ------
    UsageError
        If `width` is out of bounds.
    """

    front_end = "log_mel"
    recipe = Recipe("adam", 1e-2, Exponential(0.02), epochs=48)

    def __init__(self, classes: int, *, width: float = 1.0) -> None:
        if not MIN_WIDTH <= width <= MAX_WIDTH:
            raise UsageError(
                f"bc-resnet: width must be {MIN_WIDTH:g} to {MAX_WIDTH:g}, got {width}. "
                "For example: --student bc-resnet:width=2",
                kind="options",
            )
        super().__init__()
        base = int(BASE_CHANNELS * width)
        self.context_width = int(base * HEAD_CHANNELS)
        self.input_norm = MaskedBatchNorm(FRONT_ENDS[self.front_end].features, momentum=MOMENTUM)
        before = int(base * STEM_CHANNELS)
        self.stem = nn.Conv2d(1, before, 5, stride=(1, 2), padding=2, bias=False)
        self.stem_norm = _norm(before)
        self.blocks = nn.ModuleList()
        for share, count, band_stride, dilation in STAGES:
            channels = int(base * share)
            for index in range(count):
                stride = band_stride if index == 0 else 1
                self.blocks.append(_Block(before, channels, stride, dilation))
                before = channels
        self.depthwise = nn.Conv2d(before, before, 5, padding=(2, 0), groups=before, bias=False)
        self.pointwise = nn.Conv2d(before, self.context_width, 1, bias=False)
        self.head_norm = _norm(self.context_width)
        self.classifier = nn.Linear(self.context_width, classes)

    def forward(self, features_BTM: Tensor, lengths_B: Tensor | None) -> StudentOutput:
        """See :class:`Student`."""
        mask_B1T = mask_of(lengths_B, features_BTM.shape[1], "B1T")
        mask_B1T1 = mask_of(lengths_B, features_BTM.shape[1], "B1T1")
        features_BMT = self.input_norm(masked(features_BTM.transpose(1, 2), mask_B1T), mask_B1T)
        image_B1TM = features_BMT.transpose(1, 2)[:, None]
        hidden_BCTF = torch.relu(self.stem_norm(self.stem(image_B1TM), mask_B1T1))
        for block in self.blocks:
            hidden_BCTF = block(hidden_BCTF, mask_B1T1)
        hidden_BDT1 = self.pointwise(self.depthwise(hidden_BCTF))
        context_BDT = torch.relu(self.head_norm(hidden_BDT1, mask_B1T1))[..., 0]
        logits_BC = self.classifier(masked_mean(context_BDT, lengths_B))
        preset = FRONT_ENDS[self.front_end]
        valid_B = lengths_of(lengths_B, features_BTM)
        first_s_B = torch.full_like(valid_B, preset.first_frame_s, dtype=features_BTM.dtype)
        context_BTD = context_BDT.transpose(1, 2)
        return StudentOutput(logits_BC, context_BTD, valid_B, preset.hop_s, first_s_B)


class _Block(nn.Module):
    """Broadcasted residual block: y = relu(x + f2(x) + broadcast(f1(mean over bands of f2(x)))).

    Where the channels change (a transition block) f2 begins with a 1x1 convolution and x is not
    added.
    """

    def __init__(self, before: int, channels: int, band_stride: int, dilation: int) -> None:
        super().__init__()
        self.is_transition = before != channels
        if self.is_transition:
            self.widen = nn.Conv2d(before, channels, 1, bias=False)
            self.widen_norm = _norm(channels)
        self.over_bands = nn.Conv2d(
            channels, channels, (1, 3), stride=(1, band_stride), padding=(0, 1),
            groups=channels, bias=False,
        )  # fmt: skip
        self.band_norm = SubSpectralNorm(channels)
        self.over_time = nn.Conv1d(
            channels, channels, 3, padding=dilation, dilation=dilation, groups=channels, bias=False
        )
        self.time_norm = _norm(channels)
        self.mix = nn.Conv1d(channels, channels, 1, bias=False)
        self.dropout = nn.Dropout1d(DROPPED)

    def forward(self, hidden_BCTF: Tensor, mask_B1T1: Tensor | None) -> Tensor:
        within_BCTF = hidden_BCTF
        if self.is_transition:
            within_BCTF = torch.relu(self.widen_norm(self.widen(hidden_BCTF), mask_B1T1))
        within_BCTF = self.band_norm(self.over_bands(within_BCTF), mask_B1T1)
        mean_BCT = self.over_time(within_BCTF.mean(3))
        mask_B1T = None if mask_B1T1 is None else mask_B1T1[..., 0]
        mean_BCT = functional.silu(self.time_norm(mean_BCT, mask_B1T))
        sum_BCTF = within_BCTF + self.dropout(self.mix(mean_BCT))[..., None]
        return torch.relu(sum_BCTF if self.is_transition else sum_BCTF + hidden_BCTF)


class SubSpectralNorm(nn.Module):
    """Batch normalisation of each of five groups of neighbouring bands by itself.

    Chang et al. 2021 (sub-spectral normalisation), with a scale and a shift for each group.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = _norm(channels * SUB_BANDS)

    def forward(self, hidden_BCTF: Tensor, mask_B1T1: Tensor | None) -> Tensor:
        """Normalise (B, C, T, F) over batch, valid frames and the F / 5 bands of a group."""
        batch, channels, frames, bands = hidden_BCTF.shape
        groups = hidden_BCTF.view(batch, channels, frames, SUB_BANDS, bands // SUB_BANDS)
        groups = groups.transpose(2, 3).flatten(1, 2)
        normalised: Tensor = self.norm(groups, mask_B1T1)
        by_group = normalised.view(batch, channels, SUB_BANDS, frames, bands // SUB_BANDS)
        return by_group.transpose(2, 3).flatten(3)


def _norm(channels: int) -> MaskedBatchNorm:
    return MaskedBatchNorm(channels, momentum=MOMENTUM, epsilon=EPSILON)
