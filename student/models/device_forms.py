"""A student as a device runs it: features in, logits out, nothing masked, normalisation folded.

Shape suffixes: B clips, T frames, M features, C classes.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from cache_schema.errors import UsageError
from cache_schema.front_ends import FRONT_ENDS
from student.models.interface import Student
from student.models.layers import MaskedBatchNorm, masked

TRACED_FRAMES = 64
"""Frames of the clip that finds which normalisation follows which convolution."""


class ClipForm(nn.Module):
    """The whole clip at once: features (B, T, M) to logits (B, C), every frame valid.

    Parameters
    ----------
    student : Student
        Stays as it is: the form holds a copy.
    frames : int or None
        Length of the clips; None for a form of any length.

    Raises
    ------
    UsageError
        If the student has no form of any length, or none of so few frames.
    """

    def __init__(self, student: Student, frames: int | None) -> None:
        super().__init__()
        _check_frames(student, frames)
        self.frames = frames
        self.student = deepcopy(student).eval()
        self.student.requires_grad_(False)
        fold_norms(self.student)

    def forward(self, features_BTM: Tensor) -> Tensor:
        """Give the logits."""
        logits_BC: Tensor = self.student(features_BTM, None).logits_BC
        return logits_BC


class StepForm(nn.Module):
    """One frame (B, M) and the state before it, to logits (B, C) and the state after it.

    Parameters
    ----------
    student : Student
        One that has steps; stays as it is.
    """

    def __init__(self, student: Student) -> None:
        super().__init__()
        self.student = deepcopy(student).eval()
        self.student.requires_grad_(False)

    def forward(self, frame_BM: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        """Give the logits and the state."""
        return self.student.step(frame_BM, *state)


def _check_frames(student: Student, frames: int | None) -> None:
    name = type(student).__name__
    if frames is None and student.why_not_any_length:
        raise UsageError(
            f"{name} has no form of any length: {student.why_not_any_length}. Choose a length "
            "(--length-s 1), or a step of one frame where the student has one (--streaming)",
            kind="form",
        )
    if frames is not None and frames < 1:
        raise UsageError(f"{name}: a clip has at least 1 frame, got {frames}", kind="form")


@torch.no_grad()
def fold_norms(model: Student) -> None:
    """Fold each normalisation into the convolution whose output it alone reads.

    Which one that is shows when a clip runs through: the very tensor that the convolution gave.
    A normalisation behind anything else, an activation or the input, stays.
    """
    for norm_name, conv in _folded_pairs(model).items():
        norm = model.get_submodule(norm_name)
        if not isinstance(norm, MaskedBatchNorm):
            raise TypeError(f"{norm_name} is no batch normalisation")
        gain = norm.scale.double() / (norm.running_variance.double() + norm.epsilon).sqrt()
        bias = torch.zeros_like(gain) if conv.bias is None else conv.bias.double()
        bias = (bias - norm.running_mean.double()) * gain + norm.shift.double()
        weight = conv.weight.double() * gain.view(-1, *[1] * (conv.weight.dim() - 1))
        conv.weight.copy_(weight.to(conv.weight.dtype))
        conv.bias = nn.Parameter(bias.to(conv.weight.dtype), requires_grad=False)
        model.set_submodule(norm_name, _Folded())


class _Folded(nn.Module):
    """Stands where a normalisation was."""

    def forward(self, values: Tensor, mask: Tensor | None) -> Tensor:
        return masked(values, mask)


def _folded_pairs(model: Student) -> dict[str, nn.Conv1d | nn.Conv2d]:
    """Name of each normalisation that can be folded, and its convolution."""
    made: list[tuple[Tensor, nn.Conv1d | nn.Conv2d]] = []
    pairs: dict[str, nn.Conv1d | nn.Conv2d] = {}

    def remember(module: nn.Module, _: Any, output: Tensor) -> None:
        if isinstance(module, nn.Conv1d | nn.Conv2d):
            made.append((output, module))

    def match(name: str, values: Tensor) -> None:
        for output, conv in made:
            if output is values:
                pairs[name] = conv

    hooks = []
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv1d | nn.Conv2d):
            hooks.append(module.register_forward_hook(remember))
        elif isinstance(module, MaskedBatchNorm):
            hooks.append(
                module.register_forward_pre_hook(
                    lambda _, values, name=name: match(name, values[0])
                )
            )
    bands = FRONT_ENDS[model.front_end].features
    weight = next(model.parameters())
    model(weight.new_zeros(1, TRACED_FRAMES, bands), None)
    for hook in hooks:
        hook.remove()
    return pairs
