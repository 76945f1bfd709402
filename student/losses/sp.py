"""Similarity-preserving distillation: clips that sound alike to the teacher are alike to the student.

Shape suffixes: B clips in batch, T context frames, N clips or frames, D student and E teacher
features.
"""

from __future__ import annotations

import torch
from torch import Tensor

from cache_schema.signal_names import CLIP_EMBEDDING
from student.losses.interface import DistillationLoss, LossSetup
from student.losses.precision import full_precision
from student.models.interface import StudentOutput
from student.models.layers import frame_mask
from student.stream.batch import Batch

MIN_NORM = 1e-12
"""Square of 1e-6: features that small beside the largest are rounding and count as zero."""


class SPLoss(DistillationLoss):
    """Match the similarities between the clips of a batch (Tung & Mori, ICCV 2019).

    ``1 / B**2 * || rows(teacher) - rows(student) ||**2`` with rows(f) the Gram matrix ``f f^T`` of
    the batch, each row of length 1 (section 3, https://arxiv.org/abs/1907.09682); 0 for a batch of
    one. The paper flattens a layer's activations. Clips of differing lengths cannot be flattened: f
    is the student's context representation averaged over the clip's frames, and the teacher's
    cached clip embedding. Both are of the whole clip, hidden frames included. Widths need not match.
    Values are small: RepDistiller weighs it by 3000 on CIFAR.

    Parameters
    ----------
    setup : LossSetup
        Facts of the student and the cache; none is needed.
    """

    signals = (CLIP_EMBEDDING,)
    supports = ("masking",)

    def __init__(self, setup: LossSetup) -> None:
        super().__init__()

    @full_precision
    def forward(self, output: StudentOutput, batch: Batch) -> Tensor:
        """Squared distance of the two similarity matrices over the square of the batch size."""
        context_BTD = output.context_BTD.float()
        valid_BT1 = frame_mask(output.context_lengths_B, context_BTD.shape[1])[:, :, None]
        sums_BD = context_BTD.masked_fill(~valid_BT1, 0.0).sum(1)
        student_BD = sums_BD / output.context_lengths_B[:, None].clamp_min(1)
        teacher_BE = batch.signals[CLIP_EMBEDDING]
        return (similarities(teacher_BE) - similarities(student_BD)).square().mean()


def similarities(features_ND: Tensor) -> Tensor:
    """Gram matrices with rows of length 1, or 0 for a row of zeros: (..., N, D) → (..., N, N).

    Examples
    --------
    Gram rows (1, 1) and (1, 2) of lengths 1.4142 and 2.2361:

    >>> similarities(torch.tensor([[1.0, 0.0], [1.0, 1.0]]))
    tensor([[0.7071, 0.7071],
            [0.4472, 0.8944]])
    """
    # The common scale cancels in the result; without it float32 overflows or loses the smallest.
    largest = torch.linalg.vector_norm(features_ND.detach(), torch.inf, (-2, -1), keepdim=True)
    unit_ND = features_ND / largest.clamp_min(torch.finfo(torch.float32).tiny)
    gram_NN = unit_ND @ unit_ND.mT
    length_N1 = torch.linalg.vector_norm(gram_NN, dim=-1, keepdim=True)
    return torch.where(length_N1 > MIN_NORM, gram_NN / length_N1.clamp_min(MIN_NORM), 0.0)
