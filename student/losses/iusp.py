"""Intra-utterance similarity-preserving distillation: the same, between the frames of a clip.

Shape suffixes: B clips in batch, T student and U teacher frames, K frames of the coarser of the two,
D student and E teacher features.
"""

from __future__ import annotations

from torch import Tensor

from cache_schema.signal_names import FRAME_EMBEDDING
from student.losses.frames import (
    Resize,
    share_frames,
    stated_grid,
    student_frames,
    teacher_frames,
)
from student.losses.interface import DistillationLoss, LossSetup
from student.losses.precision import full_precision
from student.losses.sp import similarities
from student.models.interface import StudentOutput
from student.stream.batch import Batch


class IUSPLoss(DistillationLoss):
    """Match the similarities between the frames of each clip (Chang et al., Interspeech 2020).

    ``1 / K**2 * || rows(teacher) - rows(student) ||**2``, mean over clips, with rows(F) the Gram
    matrix ``F F^T`` of a clip's K frames, each row of length 1; F is the student's context
    representation and the teacher's cached frame embedding. This follows the abstract of
    https://arxiv.org/abs/2009.01759 and the formula that it extends (see `student.losses.sp`); the
    paper's own text and weight were not available. Both sides are first brought to the coarser of
    their frame rates, see `student.losses.frames.share_frames`. Hidden frames are left out; a clip
    without a frame in common adds 0.

    Resizing the finer Gram matrix along both axes instead is the same thing, as
    ``(W F) (W F)^T = W (F F^T) W^T`` for any weights W of frames.

    Parameters
    ----------
    setup : LossSetup
        Facts of the student and the cache.
    resize : {"mean", "linear"}
        How finer frames become coarse ones: their mean (default), or linear interpolation at the
        centres of the coarse ones. The abstract does not specify them.

    Raises
    ------
    UsageError
        If the cache does not record where the teacher's frames lie.
    """

    signals = (FRAME_EMBEDDING,)
    supports = ("masking",)

    def __init__(self, setup: LossSetup, *, resize: Resize = "mean") -> None:
        super().__init__()
        advice = f"Make a cache that does: precompute-teacher ... --signal {FRAME_EMBEDDING}"
        self.teacher_grid = stated_grid(setup, "iusp", FRAME_EMBEDDING, advice)
        self.resize = resize

    @full_precision
    def forward(self, output: StudentOutput, batch: Batch) -> Tensor:
        """Squared distance of the similarity matrices of each clip, averaged over clips."""
        teacher = teacher_frames(batch, FRAME_EMBEDDING, self.teacher_grid)
        shared = share_frames(student_frames(output, batch), teacher, self.resize)
        student_BKK = similarities(shared.of_student(output.context_BTD))
        teacher_BKK = similarities(shared.of_teacher(batch.signals[FRAME_EMBEDDING]))
        # Frames that are left out are rows and columns of zeros on both sides.
        squares_B = (teacher_BKK - student_BKK).square().sum((1, 2))
        return (squares_B / shared.kept().sum(1).clamp_min(1).square()).mean()
