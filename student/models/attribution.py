"""Where in time a student without attention finds its evidence, read from its output.

Shape suffixes: B clips, T frames, C classes, D context width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from student.models.interface import StudentOutput
from student.models.layers import frame_mask


def normalized_attribution(evidence_BT: Tensor, lengths_B: Tensor) -> Tensor:
    """Positive part of each valid frame's evidence as a share of the clip's.

    A clip without any has equal shares.

    >>> normalized_attribution(torch.tensor([[3.0, -1.0, 1.0, 8.0]]), torch.tensor([3])).tolist()
    [[0.75, 0.0, 0.25, 0.0]]
    """
    mask_BT = frame_mask(lengths_B, evidence_BT.shape[1])
    positive_BT = evidence_BT.clamp_min(0) * mask_BT
    none_B1 = positive_BT.sum(1, keepdim=True) == 0
    positive_BT = torch.where(none_B1, mask_BT.to(positive_BT.dtype), positive_BT)
    return positive_BT / positive_BT.sum(1, keepdim=True)


def incremental_attribution(output: StudentOutput, head: nn.Module) -> Tensor:
    """Shares of frames of a recurrence whose last output a head reads.

    Read after every frame, the head gives what the student would have predicted had the clip ended
    there. A frame's evidence is the rise of the winning logit over the frame before it; the first
    one rises from the reading of the zero state. The rises of a clip add up to its logit less that
    reading, so nothing is counted twice. Only positive rises count.

    Parameters
    ----------
    output : StudentOutput
        Whose context is the recurrence's outputs.
    head : nn.Module
        From (..., D) to (..., C), without dropout.
    """
    winner_B11 = output.logits_BC.argmax(1)[:, None, None]
    states_BTD = nn.functional.pad(output.context_BTD, (0, 0, 1, 0))
    winning_BT = head(states_BTD).take_along_dim(winner_B11, 2)[:, :, 0]
    return normalized_attribution(winning_BT.diff(dim=1), output.context_lengths_B)
