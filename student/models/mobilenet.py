"""MobileNetV3-large over log-mel spectrograms, as EfficientAT teaches it (Schmid et al. 2023).

Block table of Howard et al. 2019 (https://arxiv.org/abs/1905.02244, table 1), squeeze-and-excitation
and head of EfficientAT (https://arxiv.org/abs/2211.04772): ``width=1.0`` has the shape of its mn10,
4.88 million parameters for 527 classes, and ``width=0.4`` that of its mn04, 0.98 million. EfficientAT
gates by a sigmoid; the gate here is the paper's hard sigmoid, which is cheap on a device.

The context representation c′ is the last feature map before pooling, averaged over frequency: one
frame every 320 ms, the first centred on the first feature frame.

Shape suffixes: B clips, T frames, M mel bands, F bands, C classes, D channels.
"""

from __future__ import annotations

from functools import partial

from torch import Tensor, nn
from torch.nn import functional

from cache_schema.errors import UsageError
from student.models.interface import StudentOutput
from student.models.inverted_residual import (
    BlockShape,
    BlockStyle,
    InvertedResidual,
    make_divisible,
)
from student.models.layers import MaskedBatchNorm, masked_mean
from student.models.spectrogram_cnn import SpectrogramCNN
from student.recipes import Exponential, Recipe

# kernel, expanded, after, squeeze-and-excitation, hard swish (else ReLU), stride
BLOCKS = (
    (3, 16, 16, False, False, 1),
    (3, 64, 24, False, False, 2),
    (3, 72, 24, False, False, 1),
    (5, 72, 40, True, False, 2),
    (5, 120, 40, True, False, 1),
    (5, 120, 40, True, False, 1),
    (3, 240, 80, False, True, 2),
    (3, 200, 80, False, True, 1),
    (3, 184, 80, False, True, 1),
    (3, 184, 80, False, True, 1),
    (3, 480, 112, True, True, 1),
    (3, 672, 112, True, True, 1),
    (5, 672, 160, True, True, 2),
    (5, 960, 160, True, True, 1),
    (5, 960, 160, True, True, 1),
)
STEM_WIDTH, HIDDEN_WIDTH = 16, 1280
MAX_WIDTH = 4.0
DIALECT = BlockStyle(
    partial(MaskedBatchNorm, momentum=0.99, epsilon=1e-3),
    functional.relu,
    functional.hardsigmoid,
)


class MobileNet(SpectrogramCNN):
    """MobileNetV3-large with one input channel and EfficientAT's head.

    Parameters
    ----------
    classes : int
        Number of classes.
    width : float
        Factor on all channels, which are rounded to multiples of 8.

    Raises
    ------
    UsageError
        If `width` is not above 0.
    """

    recipe = Recipe("adam", 3e-3, Exponential(0.02))

    def __init__(self, classes: int, *, width: float = 0.4) -> None:
        if not 0 < width <= MAX_WIDTH:
            raise UsageError(
                f"mobilenet: width must be a number above 0, at most {MAX_WIDTH:g}, got {width}. Try "
                "--student mobilenet:width=0.4",
                kind="options",
            )
        blocks = _blocks(width)
        head_width = 6 * blocks[-1].conv_pwl.out_channels
        stem_width = make_divisible(STEM_WIDTH * width)
        super().__init__(
            stem_width, [blocks], head_width, activation=functional.hardswish, dialect=DIALECT
        )
        hidden_width = make_divisible(HIDDEN_WIDTH * width)
        self.hidden = nn.Linear(head_width, hidden_width)
        self.dropout = nn.Dropout(0.2)
        self.classifier = nn.Linear(hidden_width, classes)
        for layer in (self.hidden, self.classifier):
            nn.init.normal_(layer.weight, 0.0, 0.01)
            nn.init.zeros_(layer.bias)

    def classify(self, pooled_BD: Tensor) -> Tensor:
        """See :class:`SpectrogramCNN`."""
        hidden = functional.hardswish(self.hidden(pooled_BD))
        logits_BC: Tensor = self.classifier(self.dropout(hidden))
        return logits_BC

    def frame_evidence(self, output: StudentOutput) -> Tensor:
        """Give the terms of which the winning logit is the mean, as the head is for this clip.

        A hard swish is its input times a gate. With the gates as the clip's mean sets them, the head is
        linear and the winning logit a mean over frames: these are its terms, exact for this clip but,
        unlike those of a linear head, of gates that every frame has a part in.
        """
        context_BDT = output.context_BTD.transpose(1, 2).to(self.hidden.weight.dtype)
        pooled_BD = masked_mean(context_BDT, output.context_lengths_B)
        gates = functional.hardsigmoid(self.hidden(pooled_BD))
        winner = self.classifier.weight[output.logits_BC.argmax(1)]
        return self.evidence_by((winner * gates) @ self.hidden.weight, output)


def _blocks(width: float) -> list[InvertedResidual]:
    blocks, before = [], make_divisible(STEM_WIDTH * width)
    for kernel, expanded, after, excite, swish, stride in BLOCKS:
        expanded, after = (make_divisible(channels * width) for channels in (expanded, after))
        squeezed = make_divisible(expanded // 4) if excite else None
        shape = BlockShape(before, expanded, after, kernel, stride, squeezed)
        activation = functional.hardswish if swish else functional.relu
        blocks.append(InvertedResidual(shape, activation=activation, dialect=DIALECT))
        before = after
    return blocks
