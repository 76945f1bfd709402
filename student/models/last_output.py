"""What students share that answer from the last output of a recurrence.

Shape suffixes: B clips, T frames, C classes, D context width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cache_schema.front_ends import FRONT_ENDS
from student.models.evidence import rising_evidence
from student.models.interface import Student, StudentOutput
from student.models.layers import frame_mask
from student.recipes import Exponential, Recipe


class LastOutputStudent(Student):
    """A recurrence in one direction, dropout, and a head on the last valid output.

    Padding comes after a clip's valid frames and a recurrence looks back only: it runs over the
    padding too, and what it says there is left out.

    Attributes
    ----------
    head : nn.Module
        From (..., D) to (..., C), without dropout.
    dropout : nn.Dropout
        Before the head.
    """

    recipe = Recipe("adam", 1e-3, Exponential(0.02))
    head: nn.Module
    dropout: nn.Dropout

    def answer(self, context_BTD: Tensor, lengths_B: Tensor, skipped_frames: int) -> StudentOutput:
        """Read the last valid output.

        Parameters
        ----------
        context_BTD : Tensor, float, shape (B, T, D)
            Outputs of the recurrence, one for each feature frame from `skipped_frames` on.
        lengths_B : Tensor, int64, shape (B,)
            Valid outputs of each clip, at least 1.
        skipped_frames : int
            Feature frames before the centre of output 0.
        """
        context_BTD = context_BTD * frame_mask(lengths_B, context_BTD.shape[1])[:, :, None]
        clip_B = torch.arange(len(lengths_B), device=lengths_B.device)
        last_BD = context_BTD[clip_B, lengths_B - 1]
        preset = FRONT_ENDS[self.front_end]
        first_s = preset.first_frame_s + skipped_frames * preset.hop_s
        return StudentOutput(
            logits_BC=self.head(self.dropout(last_BD)),
            context_BTD=context_BTD,
            context_lengths_B=lengths_B,
            hop_s=preset.hop_s,
            first_frame_s_B=torch.full_like(lengths_B, first_s, dtype=context_BTD.dtype),
        )

    def looks_at(self, output: StudentOutput) -> Tensor:
        """Each frame's share of the rise of the winning logit."""
        return rising_evidence(output, self.head)
