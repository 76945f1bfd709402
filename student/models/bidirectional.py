"""A bidirectional GRU over clips of differing length.

torch's packed sequences mark what is padding, but on a CPU their gradient takes time in T²: it fills a
tensor of the whole input with zeros for each frame. Here the backward way reads each clip turned round
instead, so that padding comes last both ways, where it changes nothing before it. A training step of
Att-RNN with 32 clips of 4 s takes a third of the time.

Shape suffixes: B clips, T frames, D features, H width of one way.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from student.models.layers import frame_mask


def run_bidirectional(gru: nn.GRU, values_BTD: Tensor, lengths_B: Tensor | None) -> Tensor:
    """Run a one-layer bidirectional GRU over valid frames only: (B, T, D) → (B, T, 2 · H).

    The result is that of the packed sequence, 0 on padding; without lengths nothing is padding.
    """
    if lengths_B is None:
        context_BTD: Tensor = gru(values_BTD)[0]
        return context_BTD
    onward, back = gru.all_weights
    turn_BT = _reversed_index(lengths_B, values_BTD.shape[1])
    onward_BTH = _run_direction(onward, values_BTD)
    back_BTH = _run_direction(back, _gather_frames(values_BTD, turn_BT))
    both_BTH = torch.cat([onward_BTH, _gather_frames(back_BTH, turn_BT)], 2)
    return both_BTH * frame_mask(lengths_B, values_BTD.shape[1])[:, :, None]


def _run_direction(weights: Sequence[Tensor], values_BTD: Tensor) -> Tensor:
    first_1BH = values_BTD.new_zeros(1, len(values_BTD), weights[1].shape[1])
    context_BTH: Tensor
    context_BTH, _ = torch.gru(
        values_BTD,
        first_1BH,
        list(weights),
        has_biases=True,
        num_layers=1,
        dropout=0.0,
        train=torch.is_grad_enabled(),  # cuDNN keeps what a gradient needs only then
        bidirectional=False,
        batch_first=True,
    )
    return context_BTH


def _reversed_index(lengths_B: Tensor, frames: int) -> Tensor:
    """Where each frame comes from when every clip is turned round; its own inverse."""
    frame_T = torch.arange(frames, device=lengths_B.device)
    last_B1 = lengths_B[:, None] - 1
    return torch.where(frame_T <= last_B1, last_B1 - frame_T, frame_T)


def _gather_frames(values_BTD: Tensor, source_BT: Tensor) -> Tensor:
    return values_BTD.gather(1, source_BT[:, :, None].expand(-1, -1, values_BTD.shape[2]))
