"""What a distillation loss is, and the facts it is built from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from torch import Tensor, nn

from cache_schema.frame_grid import FrameGrid
from student.models.interface import Student, StudentOutput
from student.models.pooling_student import PoolingStudent
from student.stream.batch import Batch

Effect = Literal["safe", "masking", "mixing", "needs a view"]
"""What an augmentation in the trainer does to a cached signal: nothing; it hides frames of it from the
student; it mixes it with another clip's; or it makes it one of something else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LossSetup:
    """Facts of the student and the cache that a loss is built from.

    Attributes
    ----------
    student : str
        Name of the student, for messages.
    context_dim : int
        D of the student's context representation.
    native_attention : bool
        Whether the student has an attention of its own.
    task : {"single", "multi"}
        Softmax over classes or a sigmoid for each.
    classes : tuple of str
        The cache's classes, in the order of the student's logits.
    covered : tuple of int
        Classes that the teacher's logits cover, as ascending positions in `classes`; the stream
        delivers logits in this order.
    grids : mapping of str to FrameGrid
        Where the frames of each framed signal of the cache lie in time.
    evidence : callable, optional
        `PoolingStudent.frame_evidence` of the student, if it is such a one.
    """

    student: str
    context_dim: int
    native_attention: bool
    task: str
    classes: tuple[str, ...]
    covered: tuple[int, ...]
    grids: Mapping[str, FrameGrid] = field(default_factory=dict)
    evidence: Callable[[StudentOutput], Tensor] | None = None

    @classmethod
    def of(
        cls,
        student: Student,
        name: str,
        *,
        task: str,
        classes: tuple[str, ...],
        covered: tuple[int, ...],
        grids: Mapping[str, FrameGrid],
    ) -> LossSetup:
        """Collect the facts of a student and of a cache."""
        return cls(
            student=name,
            context_dim=student.context_width,
            native_attention=student.native_attention,
            task=task,
            classes=classes,
            covered=covered,
            grids=grids,
            evidence=student.frame_evidence if isinstance(student, PoolingStudent) else None,
        )


class DistillationLoss(nn.Module):
    """Base of all losses: built from a setup and keyword options, called with output and batch.

    Its own parameters (a query vector, a projection) are trained beside the student and are not
    part of it.

    Attributes
    ----------
    signals : tuple of str
        Cached signals it needs.
    supports : tuple of Effect
        Effects of augmentation, beside ``safe``, under which its target stays true. ``masking``: it
        leaves hidden frames out, or its target is one of the whole clip. ``mixing``: the target of a
        mixture of two clips is the same mixture of their losses; such a loss also has `per_clip`.
    averages_teachers : bool
        Whether its signal may be the mean of several teachers' logits.
    example : str, optional
        The loss as ``--distill`` takes it, with the options that it needs; only for a loss that cannot
        do without options.
    """

    signals: ClassVar[tuple[str, ...]]
    supports: ClassVar[tuple[Effect, ...]]
    averages_teachers: ClassVar[bool] = False

    def forward(self, output: StudentOutput, batch: Batch) -> Tensor:
        """Mean over the clips of the batch, a scalar."""
        raise NotImplementedError

    def per_clip(self, output: StudentOutput, batch: Batch) -> Tensor:
        """Value of each clip, (B,), of which ``forward`` is the mean; only under ``mixing``."""
        raise NotImplementedError
