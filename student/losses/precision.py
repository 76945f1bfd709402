"""Losses count in float32 also where the student computes in mixed precision."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TypeVar

import torch
from torch import Tensor

from student.models.interface import StudentOutput
from student.stream.batch import Batch

Loss = TypeVar("Loss")
Method = Callable[[Loss, StudentOutput, Batch], Tensor]


def full_precision(method: Method[Loss]) -> Method[Loss]:
    """Switch mixed precision off inside: bfloat16 would leave a Gram matrix two digits."""

    @wraps(method)
    def in_float32(loss: Loss, output: StudentOutput, batch: Batch) -> Tensor:
        with torch.autocast(output.logits_BC.device.type, enabled=False):
            return method(loss, output, batch)

    return in_float32
