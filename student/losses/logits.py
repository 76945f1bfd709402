"""Logit distillation: the student learns what the teacher makes of each class.

Shape suffixes: B clips in batch, C classes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from cache_schema.errors import UsageError
from student.batch import Batch
from student.losses.interface import DistillationLoss, LossSetup
from student.models.interface import StudentOutput

SIGNAL = "logits"


class LogitsLoss(DistillationLoss):
    """Pull the student's class scores towards the teacher's cached logits.

    Single-label: ``T**2 * KL(softmax(teacher / T) || softmax(student / T))``. The factor keeps the
    size of gradients when T changes, so that one weight survives a sweep (Hinton, Vinyals & Dean
    2015, https://arxiv.org/abs/1503.02531, section 2). Multi-label: binary cross-entropy of each
    class against ``sigmoid(teacher / T)``, averaged over classes, times ``T**2``.

    Parameters
    ----------
    setup : LossSetup
        Facts of the student and the cache. The stream delivers logits in the order of the cache's
        classes.
    temperature : float or None
        Dimensionless, above 0; larger is softer. Default 2 for single-label tasks, a common choice
        that shows the ranking of wrong classes; 1 for multi-label tasks, where the
        probabilities of a class are targets as they are.

    Raises
    ------
    UsageError
        If the temperature is not positive, or the teacher lacks classes of the cache.

    Examples
    --------
    Student undecided, teacher (0, 2) at T = 1: p ln(p / 0.5) summed = 0.3278.

    >>> undecided, leaning = torch.tensor([[0.0, 0.0]]), torch.tensor([[0.0, 2.0]])
    >>> round(softened_divergence(undecided, leaning, temperature=1.0).item(), 4)
    0.3278
    """

    signals = (SIGNAL,)

    def __init__(self, setup: LossSetup, *, temperature: float | None = None) -> None:
        super().__init__()
        if temperature is not None and not 0 < temperature < float("inf"):
            raise UsageError(
                f"option temperature of loss logits must be above 0, got {temperature}",
                kind="options",
            )
        teacher_columns(setup.classes, setup.teacher_classes)
        default = 2.0 if setup.task == "single" else 1.0
        self.temperature = default if temperature is None else temperature
        self.task = setup.task

    def forward(self, output: StudentOutput, batch: Batch) -> Tensor:
        """Distance between cached and student logits, averaged over clips."""
        distance = softened_divergence if self.task == "single" else softened_cross_entropy
        student_BC = output.logits_BC.float()
        return distance(student_BC, batch.signals[SIGNAL], temperature=self.temperature)


def softened_divergence(student_BC: Tensor, teacher_BC: Tensor, *, temperature: float) -> Tensor:
    """``T**2 * KL(softmax(teacher / T) || softmax(student / T))``, mean over clips, in nats."""
    student_log_BC = torch.log_softmax(student_BC / temperature, 1)
    teacher_log_BC = torch.log_softmax(teacher_BC / temperature, 1)
    terms_BC = teacher_log_BC.exp() * (teacher_log_BC - student_log_BC)
    return terms_BC.sum(1).mean() * temperature**2


def softened_cross_entropy(student_BC: Tensor, teacher_BC: Tensor, *, temperature: float) -> Tensor:
    """``T**2`` times the binary cross-entropy per class, mean over classes and clips, in nats."""
    target_BC = torch.sigmoid(teacher_BC / temperature)
    distance = torch.nn.functional.binary_cross_entropy_with_logits(
        student_BC / temperature, target_BC
    )
    return distance * temperature**2


def teacher_columns(classes: tuple[str, ...], teacher_classes: tuple[str, ...]) -> list[int]:
    """Find the teacher's logit for each class of the cache.

    >>> teacher_columns(("no", "yes"), ("yes", "maybe", "no"))
    [2, 0]

    Raises
    ------
    UsageError
        Listing the classes that the teacher lacks.
    """
    missing = [name for name in classes if name not in teacher_classes]
    if missing:
        raise UsageError(
            f"the cached logits lack {len(missing)} of {len(classes)} classes: {', '.join(missing)}; "
            f"the teacher's classes: {', '.join(teacher_classes)}. Fine-tune a teacher on these "
            "classes (finetune-teacher), or distil with temporal alone.",
            kind="classes",
        )
    return [teacher_classes.index(name) for name in classes]
