"""What students share whose winning logit is a mean over frames.

Shape suffixes: B clips, T frames of the context, D context width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from student.models.attribution import normalized_attribution
from student.models.interface import Student, StudentOutput


class PoolingStudent(Student):
    """A mean of the context over time, and a linear classifier on it.

    Attributes
    ----------
    classifier : nn.Linear
        From D to classes.
    """

    classifier: nn.Linear

    def frame_evidence(self, output: StudentOutput) -> Tensor:
        """Give the terms of which the winning logit, less its bias, is the mean: (B, T).

        Class activation mapping (Zhou et al. 2016, section 2). Beyond a clip's frames they say nothing.
        """
        return self.evidence_by(self.classifier.weight[output.logits_BC.argmax(1)], output)

    def frame_attribution(self, output: StudentOutput) -> Tensor:
        """Each frame's share of the evidence for the prediction: the positive part of its terms."""
        return normalized_attribution(self.frame_evidence(output), output.context_lengths_B)

    @staticmethod
    def evidence_by(weight_BD: Tensor, output: StudentOutput) -> Tensor:
        """Weigh each frame's context by what the winning class gives its features."""
        return torch.einsum("btd,bd->bt", output.context_BTD.to(weight_BD.dtype), weight_BD)
