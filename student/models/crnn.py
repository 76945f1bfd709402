"""CRNN as kws_streaming builds it for 12 labels: 467,772 parameters (Rybakov et al. 2020).

The context representation c′ is the GRU's output of every step, one frame every 20 ms. Convolutions
are not padded, so it has 6 frames less than the features and starts at the time of feature frame 3.

Shape suffixes: B clips, T frames, M features, C classes or channels, D context width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from student.models.interface import StudentOutput
from student.models.last_output import LastOutputStudent
from student.models.layers import frame_mask, init_as_keras

CHANNELS = 16
BANDS_LEFT = 16  # of 20 coefficients after two kernels of 3
GRU_WIDTH = 256
SHORTEST_FRAMES = 7  # what both kernels, of 3 and 5 frames, span together


class CRNN(LastOutputStudent):
    """Two convolutions over time and coefficients, a GRU, and three dense layers on its last output.

    A clip of fewer than 7 frames is followed by silence of the features (zeros) up to 7.

    Parameters
    ----------
    classes : int
        Size of the answer.
    """

    front_end = "mfcc"

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.context_width = GRU_WIDTH
        self.first_conv = nn.Conv2d(1, CHANNELS, (3, 3))
        self.second_conv = nn.Conv2d(CHANNELS, CHANNELS, (5, 3))
        self.gru = nn.GRU(CHANNELS * BANDS_LEFT, GRU_WIDTH, batch_first=True)
        self.dropout = nn.Dropout(0.1)
        self.head = nn.Sequential(
            nn.Linear(GRU_WIDTH, 128), nn.Linear(128, 256), nn.ReLU(), nn.Linear(256, classes)
        )
        init_as_keras(self)

    def forward(self, features_BTM: Tensor, lengths_B: Tensor) -> StudentOutput:
        """See :class:`student.models.interface.Student`."""
        frames = features_BTM.shape[1]
        features_BTM = features_BTM * frame_mask(lengths_B, frames)[:, :, None]
        missing = max(0, SHORTEST_FRAMES - frames)
        image = nn.functional.pad(features_BTM, (0, 0, 0, missing))[:, None]
        image = torch.relu(self.first_conv(image))
        image_BCTM = torch.relu(self.second_conv(image))
        # Keras flattens channels last: the channels of coefficient 0, then those of 1, ...
        context_BTD = self.gru(image_BCTM.permute(0, 2, 3, 1).flatten(2))[0]
        lengths_B = lengths_B.clamp_min(SHORTEST_FRAMES) - (SHORTEST_FRAMES - 1)
        return self.answer(context_BTD, lengths_B, skipped_frames=SHORTEST_FRAMES // 2)
