"""What students share that predict from the last output of a recurrence.

Shape suffixes: B clips, T frames, C classes, D context width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cache_schema.front_ends import FRONT_ENDS
from student.models.attribution import incremental_attribution
from student.models.interface import Student, StudentOutput
from student.models.layers import lengths_of, mask_of, masked
from student.recipes import Exponential, Recipe


class LastOutputStudent(Student):
    """A recurrence in one direction, dropout, and a head on the last valid output.

    Padding comes after a clip's valid frames and a recurrence looks back only: it runs over the
    padding too, and its output there is left out.

    Attributes
    ----------
    head : nn.Module
        From (..., D) to (..., C), without dropout.
    dropout : nn.Dropout
        Before the head.
    """

    recipe = Recipe("adam", 1e-3, Exponential(0.02))
    why_not_any_length = "its recurrence exports for one length only"
    why_not_step = ""
    head: nn.Module
    dropout: nn.Dropout

    def output_of(
        self, context_BTD: Tensor, lengths_B: Tensor | None, skipped_frames: int
    ) -> StudentOutput:
        """Read the last valid output.

        Parameters
        ----------
        context_BTD : Tensor, float, shape (B, T, D)
            Outputs of the recurrence, one for each feature frame from `skipped_frames` on.
        lengths_B : Tensor, int64, shape (B,), or None
            Valid outputs of each clip, at least 1; None if all are.
        skipped_frames : int
            Feature frames before the centre of output 0.
        """
        context_BTD = masked(context_BTD, mask_of(lengths_B, context_BTD.shape[1], "BT1"))
        valid_B = lengths_of(lengths_B, context_BTD)
        preset = FRONT_ENDS[self.front_end]
        first_s = preset.first_frame_s + skipped_frames * preset.hop_s
        return StudentOutput(
            logits_BC=self.head(self.dropout(_last(context_BTD, lengths_B))),
            context_BTD=context_BTD,
            context_lengths_B=valid_B,
            hop_s=preset.hop_s,
            first_frame_s_B=torch.full_like(valid_B, first_s, dtype=context_BTD.dtype),
        )

    def frame_attribution(self, output: StudentOutput) -> Tensor:
        """Each frame's share of the rise of the winning logit."""
        return incremental_attribution(output, self.head)


def _last(context_BTD: Tensor, lengths_B: Tensor | None) -> Tensor:
    """Last valid frame of each clip: (B, T, D) → (B, D)."""
    if lengths_B is None:
        return context_BTD[:, -1]
    clip_B = torch.arange(len(lengths_B), device=lengths_B.device)
    return context_BTD[clip_B, lengths_B - 1]
