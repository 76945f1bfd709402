"""CRNN as kws_streaming builds it for 12 labels: 467,772 parameters (Rybakov et al. 2020).

The context representation c′ is the GRU's output of every step, one frame every 20 ms. Convolutions
are not padded, so it has 6 frames less than the features and starts at the time of feature frame 3.

Shape suffixes: B clips, T frames, M features, C classes or channels, D context width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cache_schema.front_ends import FRONT_ENDS
from student.models.gate_start import GateStart, start_gru
from student.models.interface import StudentOutput
from student.models.last_output_student import LastOutputStudent
from student.models.layers import init_as_keras, mask_of, masked
from student.recipes import Exponential, Recipe

CHANNELS = 16
BANDS_LEFT = 16  # of 20 coefficients after two kernels of 3
GRU_WIDTH = 256
MIN_FRAMES = 7  # what both kernels, of 3 and 5 frames, span together


class CRNN(LastOutputStudent):
    """Two convolutions over time and coefficients, a GRU, and three dense layers on its last output.

    A clip of fewer than 7 frames is followed by silence of the features (zeros) up to 7.

    Parameters
    ----------
    classes : int
        Number of classes.
    gates : {"chrono", "keras"}
        Start of the GRU's update gate.
    """

    front_end = "mfcc"
    recipe = Recipe("adam", 1e-3, Exponential(0.02), epochs=24)

    def __init__(self, classes: int, *, gates: GateStart = "chrono") -> None:
        super().__init__()
        self.gates_start = gates
        self.context_width = GRU_WIDTH
        self.bands = FRONT_ENDS[self.front_end].features
        self.first_conv = nn.Conv2d(1, CHANNELS, (3, 3))
        self.second_conv = nn.Conv2d(CHANNELS, CHANNELS, (5, 3))
        self.gru = nn.GRU(CHANNELS * BANDS_LEFT, GRU_WIDTH, batch_first=True)
        self.dropout = nn.Dropout(0.1)
        self.head = nn.Sequential(
            nn.Linear(GRU_WIDTH, 128), nn.Linear(128, 256), nn.ReLU(), nn.Linear(256, classes)
        )
        init_as_keras(self)

    def start_memory(self, frames: int) -> None:
        """See :class:`student.models.interface.Student`."""
        if self.gates_start == "chrono":
            start_gru(self.gru, frames - (MIN_FRAMES - 1))

    def forward(self, features_BTM: Tensor, lengths_B: Tensor | None) -> StudentOutput:
        """See :class:`student.models.interface.Student`."""
        frames = features_BTM.shape[1]
        features_BTM = masked(features_BTM, mask_of(lengths_B, frames, "BT1"))
        missing = max(0, MIN_FRAMES - frames)
        features_BTM = nn.functional.pad(features_BTM, (0, 0, 0, missing))
        context_BTD = self.gru(self._convolved(features_BTM))[0]
        if lengths_B is not None:
            lengths_B = lengths_B.clamp_min(MIN_FRAMES) - (MIN_FRAMES - 1)
        return self.output_of(context_BTD, lengths_B, skipped_frames=MIN_FRAMES // 2)

    def initial_state(self, clips: int) -> tuple[Tensor, Tensor, Tensor]:
        """No frame seen: the last 6 frames (B, 6, M), the GRU's state (B, D), frames seen (B, 1)."""
        frames = next(self.parameters()).new_zeros(clips, MIN_FRAMES - 1, self.bands)
        return frames, frames.new_zeros(clips, GRU_WIDTH), frames.new_zeros(clips, 1)

    def step(self, frame_BM: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        """See :class:`student.models.interface.Student`.

        Both convolutions see the last 7 frames. A clip of fewer is followed by zeros up to 7, so its
        frames come first among the 7, and the GRU forgets what it made of them. The count of frames
        stops at 7.
        """
        before_BTM, state_BD, seen_B1 = state
        seen_B1 = (seen_B1 + 1).clamp_max(MIN_FRAMES)
        frames_BTM = torch.cat([before_BTM, frame_BM[:, None]], 1)
        place_T = torch.arange(MIN_FRAMES, device=frame_BM.device)
        source_BT = (place_T + MIN_FRAMES - seen_B1.long()) % MIN_FRAMES
        turned_BTM = frames_BTM.gather(1, source_BT[:, :, None].expand(-1, -1, self.bands))
        driven_BD = self._convolved(turned_BTM)[:, 0]
        state_BD = gru_step(self.gru, driven_BD, state_BD)
        logits_BC = self.head(state_BD)
        kept_BD = state_BD * (seen_B1 >= MIN_FRAMES)
        return logits_BC, frames_BTM[:, 1:], kept_BD, seen_B1

    def _convolved(self, features_BTM: Tensor) -> Tensor:
        """What drives the GRU: (B, T, M) → (B, T - 6, channels · coefficients)."""
        image = torch.relu(self.first_conv(features_BTM[:, None]))
        image_BCTM = torch.relu(self.second_conv(image))
        # Keras flattens channels last: the channels of coefficient 0, then those of 1, ...
        return image_BCTM.permute(0, 2, 3, 1).flatten(2)


def gru_step(gru: nn.GRU, driven_BD: Tensor, state_BD: Tensor) -> Tensor:
    """Give a one-layer GRU's state after one step; written out, as a runtime's GRU takes a sequence."""
    kernel, recurrent_kernel, bias, recurrent_bias = gru.all_weights[0]
    driven = nn.functional.linear(driven_BD, kernel, bias).chunk(3, 1)
    fed_back = nn.functional.linear(state_BD, recurrent_kernel, recurrent_bias).chunk(3, 1)
    reset_BD, keep_BD = (torch.sigmoid(driven[gate] + fed_back[gate]) for gate in (0, 1))
    candidate_BD = torch.tanh(driven[2] + reset_BD * fed_back[2])
    return candidate_BD + keep_BD * (state_BD - candidate_BD)
