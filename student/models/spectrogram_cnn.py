"""What MobileNet and EfficientNet share: a stem, blocks, one last convolution, a mean.

PSLA, AST and EfficientAT shift and scale log-mels by constants of their corpus. Here a normalisation
of each mel band at the input learns them, so that a corpus needs none.

Shape suffixes: B clips, T frames, M mel bands, F bands left, C classes, D channels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from cache_schema.front_ends import FRONT_ENDS
from student.models.interface import StudentOutput
from student.models.inverted_residual import (
    Activation,
    BlockStyle,
    InvertedResidual,
    init_convolutions,
    same_conv,
)
from student.models.layers import MaskedBatchNorm, lengths_of, mask_of, masked, masked_mean
from student.models.pooling_student import PoolingStudent

FRAMES_PER_FRAME = 32
"""Feature frames per frame of the context: five strides of 2."""


class SpectrogramCNN(PoolingStudent):
    """A convolutional network over time and frequency; a subclass adds the classifier.

    The context representation c′ is the last feature map, averaged over frequency (paper A's "feature
    map before pooling"). With a hop of 10 ms it has one frame every 320 ms; as every convolution is
    padded alike on both sides, frame 0 is centred on feature frame 0, frame t on feature frame 32t.

    Parameters
    ----------
    stem_width, head_width : int
        Channels of the first and the last convolution.
    stages : sequence of sequence of InvertedResidual
        Blocks between them; the groups only name the parameters.
    activation : callable
        Behind both.
    dialect : BlockStyle
        Gives their normalisation.
    """

    front_end = "log_mel128"

    def __init__(
        self,
        stem_width: int,
        stages: Sequence[Sequence[InvertedResidual]],
        head_width: int,
        *,
        activation: Activation,
        dialect: BlockStyle,
    ) -> None:
        super().__init__()
        self.context_width = head_width
        self.activation = activation
        self.input_norm = MaskedBatchNorm(FRONT_ENDS[self.front_end].features, momentum=0.99)
        self.conv_stem = same_conv(1, stem_width, 3, stride=2)
        self.bn1 = dialect.norm(stem_width)
        self.blocks = nn.ModuleList(nn.ModuleList(stage) for stage in stages)
        self.conv_head = same_conv(stages[-1][-1].conv_pwl.out_channels, head_width, 1)
        self.bn2 = dialect.norm(head_width)
        init_convolutions(self)
        # Images follow: channels beside each other take a third off the time of a step on a CPU.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def classify(self, pooled_BD: Tensor) -> Tensor:
        """Give logits (B, C) of the context's mean."""
        raise NotImplementedError

    def forward(self, features_BTM: Tensor, lengths_B: Tensor | None) -> StudentOutput:
        """See :class:`Student`."""
        context_BTD = self._context(features_BTM, lengths_B)
        if lengths_B is not None:
            lengths_B = (lengths_B + FRAMES_PER_FRAME - 1) // FRAMES_PER_FRAME
        logits_BC = self.classify(masked_mean(context_BTD.transpose(1, 2), lengths_B))
        preset = FRONT_ENDS[self.front_end]
        valid_B = lengths_of(lengths_B, context_BTD)
        first_s_B = torch.full_like(valid_B, preset.first_frame_s, dtype=features_BTM.dtype)
        hop_s = preset.hop_s * FRAMES_PER_FRAME
        return StudentOutput(logits_BC, context_BTD, valid_B, hop_s, first_s_B)

    def _context(self, features_BTM: Tensor, lengths_B: Tensor | None) -> Tensor:
        mask_B1T = mask_of(lengths_B, features_BTM.shape[1], "B1T")
        bands_BMT = self.input_norm(masked(features_BTM.transpose(1, 2), mask_B1T), mask_B1T)
        mask = None if mask_B1T is None else mask_B1T[:, :, ::2, None]
        image = self.conv_stem(bands_BMT.transpose(1, 2)[:, None])
        image = self.activation(self.bn1(image, mask))
        for stage in self.blocks:
            for block in stage:  # type: ignore[attr-defined]
                image, mask = block(image, mask)
        image_BDTF = self.activation(self.bn2(self.conv_head(image), mask))
        return image_BDTF.mean(3).transpose(1, 2)
