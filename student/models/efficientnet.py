"""EfficientNet-B0 and -B2 over log-mel spectrograms: the CNN of CMKD and PSLA.

Tan and Le 2019 (https://arxiv.org/abs/1905.11946) in the shape of timm's ``efficientnet_b0`` and
``efficientnet_b2`` (padding alike on both sides, epsilon 1e-5), with one input channel and
time-frequency mean pooling before a linear layer (Gong et al. 2022, https://arxiv.org/abs/2203.06760).

The context representation c′ is the last feature map before pooling, averaged over frequency: one
frame every 320 ms, the first centred on the first feature frame.

Shape suffixes: B clips, T frames, C classes, D channels.
"""

from __future__ import annotations

from functools import partial
from math import ceil

from torch import Tensor, nn
from torch.nn import functional

from student.models.inverted_residual import (
    BlockShape,
    BlockStyle,
    InvertedResidual,
    make_divisible,
)
from student.models.layers import MaskedBatchNorm
from student.models.spectrogram_cnn import SpectrogramCNN
from student.recipes import Exponential, Recipe

# kernel, factor of expansion, after, blocks, stride of the first: table 1 of the paper
STAGES = (
    (3, 1, 16, 1, 1),
    (3, 6, 24, 2, 2),
    (5, 6, 40, 2, 2),
    (3, 6, 80, 3, 2),
    (5, 6, 112, 3, 1),
    (5, 6, 192, 4, 2),
    (3, 6, 320, 1, 1),
)
STEM_WIDTH, HEAD_WIDTH = 32, 1280
DROP_CONNECT = 0.2
DIALECT = BlockStyle(
    partial(MaskedBatchNorm, momentum=0.9, epsilon=1e-5), functional.silu, functional.sigmoid
)


class _EfficientNet(SpectrogramCNN):
    """EfficientNet scaled in width and depth, with a linear head on the mean."""

    recipe = Recipe("adam", 3e-3, Exponential(0.02))

    def __init__(self, classes: int, *, width: float, depth: float, dropout: float) -> None:
        head_width = make_divisible(HEAD_WIDTH * width)
        super().__init__(
            make_divisible(STEM_WIDTH * width),
            _stages(width, depth),
            head_width,
            activation=functional.silu,
            dialect=DIALECT,
        )
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(head_width, classes)
        nn.init.normal_(self.classifier.weight, 0.0, 0.01)
        nn.init.zeros_(self.classifier.bias)

    def classify(self, pooled_BD: Tensor) -> Tensor:
        """See :class:`SpectrogramCNN`."""
        logits_BC: Tensor = self.classifier(self.dropout(pooled_BD))
        return logits_BC


class EfficientNetB0(_EfficientNet):
    """The base network.

    Parameters
    ----------
    classes : int
        Number of classes.
    """

    def __init__(self, classes: int) -> None:
        super().__init__(classes, width=1.0, depth=1.0, dropout=0.2)


class EfficientNetB2(_EfficientNet):
    """B0 with 1.1 times the channels and 1.2 times the blocks: PSLA's and CMKD's.

    Parameters
    ----------
    classes : int
        Number of classes.
    """

    def __init__(self, classes: int) -> None:
        super().__init__(classes, width=1.1, depth=1.2, dropout=0.3)


def _stages(width: float, depth: float) -> list[list[InvertedResidual]]:
    """Blocks by stage; the deeper a block, the more often training skips its branch."""
    total = sum(ceil(count * depth) for _, _, _, count, _ in STAGES)
    stages: list[list[InvertedResidual]] = []
    built, before = 0, make_divisible(STEM_WIDTH * width)
    for kernel, factor, channels, count, first_stride in STAGES:
        stage = []
        after = make_divisible(channels * width)
        for position in range(ceil(count * depth)):
            stride = first_stride if position == 0 else 1
            shape = BlockShape(before, factor * before, after, kernel, stride, before // 4)
            drop_connect = DROP_CONNECT * built / total
            stage.append(
                InvertedResidual(
                    shape,
                    activation=functional.silu,
                    dialect=DIALECT,
                    drop_connect=drop_connect,
                )
            )
            built, before = built + 1, after
        stages.append(stage)
    return stages
