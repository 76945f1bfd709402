"""What a distillation loss is, and the facts it is built from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor, nn

from student.batch import Batch
from student.models.interface import Student, StudentOutput, TimeGrid


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
    teacher_classes : tuple of str
        The teacher's classes.
    grids : mapping of str to TimeGrid
        Where the frames of each framed signal of the cache lie in time.
    """

    student: str
    context_dim: int
    native_attention: bool
    task: str
    classes: tuple[str, ...]
    teacher_classes: tuple[str, ...]
    grids: Mapping[str, TimeGrid] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        student: type[Student],
        name: str,
        *,
        task: str,
        classes: tuple[str, ...],
        teacher_classes: tuple[str, ...],
        grids: Mapping[str, TimeGrid],
    ) -> LossSetup:
        """Collect the facts of a student class and of a cache."""
        return cls(
            student=name,
            context_dim=student.context_width,
            native_attention=student.native_attention,
            task=task,
            classes=classes,
            teacher_classes=teacher_classes,
            grids=grids,
        )


class DistillationLoss(nn.Module):
    """Base of all losses: built from a setup and keyword options, called with output and batch.

    Its own parameters (a query vector, a projection) are trained beside the student and are not
    part of it.

    Attributes
    ----------
    signals : tuple of str
        Cached signals it needs.
    """

    signals: ClassVar[tuple[str, ...]]

    def forward(self, output: StudentOutput, batch: Batch) -> Tensor:
        """Mean over the clips of the batch, a scalar."""
        raise NotImplementedError
