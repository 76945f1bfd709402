"""Where the gates of a recurrence start, by how long it has to remember.

Shape suffixes: U units of a recurrence.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

GateStart = Literal["chrono", "keras"]
"""``chrono`` starts gates for memories up to a clip's length; ``keras`` as kws_streaming does, at 0."""


def chrono_bias(units: int, frames: int) -> Tensor:
    """Draw biases of the gate that keeps memory: log(u), u uniform in [1, frames - 1], shape (U,).

    A gate of such a bias forgets with a time constant of about u frames, so that from the first step
    on some units carry what they saw to the end of a clip (Tallec & Ollivier 2018, equation 16,
    https://arxiv.org/abs/1804.11188). Started at 0 a unit loses half of it in each frame, and a
    classifier of the last output has no gradient from the keyword 50 frames before.

    Parameters
    ----------
    units : int
        Width of the recurrence.
    frames : int
        Steps of a typical clip; fewer than 2 count as 2.
    """
    return torch.empty(units).uniform_(1, max(1, frames - 1)).log()


@torch.no_grad()
def start_gru(gru: nn.GRU, frames: int) -> None:
    """Start the update gates of a GRU's first layer, of each direction, by `chrono_bias`.

    torch's gates are in the order reset, update, candidate; an update gate of 1 keeps the state.
    """
    width = gru.hidden_size
    for name, bias in gru.named_parameters():
        if name.startswith("bias_ih_l0"):
            bias[width : 2 * width] = chrono_bias(width, frames)
