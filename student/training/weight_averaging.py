"""Weight averaging: an exponential moving average, or the mean of the last epochs."""

from __future__ import annotations

import copy
from typing import Any

import torch

from student.models.interface import Student
from student.recipes import Average


class AveragedStudent:
    """A second set of weights that follows a student in training.

    PSLA averages the checkpoints of the last epochs (Gong et al. 2021, section III-F), BatchNorm's
    running statistics included; so does this. torch's own ``AveragedModel`` cannot average the
    count of batches beside them.

    Parameters
    ----------
    student : Student
        Whose weights are averaged.
    average : Average
        How.
    """

    def __init__(self, student: Student, average: Average) -> None:
        self.average = average
        self.student = copy.deepcopy(student).requires_grad_(False)
        self.sets = 0

    @property
    def begun(self) -> bool:
        """Whether anything has been averaged."""
        return self.sets > 0

    def after_step(self, student: Student) -> None:
        """Follow a step, where the average is over steps."""
        if self.average.kind == "ema":
            # The warm-up of a young average, as TensorFlow's: it must not cling to the first weights.
            kept = min(self.average.amount, (1 + self.sets) / (10 + self.sets))
            self._take(student, 1 - kept)

    def after_epoch(self, student: Student, progress: float) -> None:
        """Follow an epoch that ended at this share of the training."""
        if self.average.kind == "last" and progress > 1 - self.average.amount + 1e-9:
            self._take(student, 1 / (self.sets + 1))

    @torch.no_grad()
    def _take(self, student: Student, weight: float) -> None:
        weight = weight if self.begun else 1.0
        ours, theirs = self.student.state_dict(), student.state_dict()
        for name, tensor in ours.items():
            if tensor.is_floating_point():
                tensor.lerp_(theirs[name], weight)
            else:
                tensor.copy_(theirs[name])
        self.sets += 1

    def state(self) -> dict[str, Any]:
        """Give what continues the average."""
        return {"sets": self.sets, "student": self.student.state_dict()}

    def restore(self, state: dict[str, Any]) -> None:
        """Take up `state`."""
        self.sets = state["sets"]
        self.student.load_state_dict(state["student"])
