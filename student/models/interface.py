"""What a student is: features and lengths in, logits and a context representation out.

Shape suffixes: B clips, T frames of the student's context, M features, C classes, D context width,
H heads.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from student.recipes import Recipe


@dataclass(frozen=True, slots=True)
class StudentOutput:
    """What a student predicts and what it based that on.

    Attributes
    ----------
    logits_BC : Tensor
        Before softmax or sigmoid.
    context_BTD : Tensor
        Context representation c′ with high temporal resolution (paper A).
    context_lengths_B : Tensor, int64
        Valid frames of the context.
    hop_s : float
        Seconds from one context frame to the next.
    first_frame_s_B : Tensor
        Centre of each clip's context frame 0.
    attention_BHT : Tensor or None
        Scores before the softmax over time of the student's own attention, one row for each of its H
        heads, -inf on padding.
    """

    logits_BC: Tensor
    context_BTD: Tensor
    context_lengths_B: Tensor
    hop_s: float
    first_frame_s_B: Tensor
    attention_BHT: Tensor | None = None


class Student(nn.Module):
    """Base of all students.

    A clip alone and the same clip in a padded batch give the same output in evaluation; in
    training, normalisation looks at valid frames only. A subclass is built from the number of classes
    and its own keyword-only options.
    """

    front_end: ClassVar[str]
    """Preset of ``cache_schema.front_ends`` that its features come from."""
    native_attention: ClassVar[bool] = False
    """Whether its output has ``attention_BHT``."""
    recipe: ClassVar[Recipe]
    """Optimiser and learning rate where nothing else is given."""
    why_not_any_length: ClassVar[str] = ""
    """Why an exported form has one length of clips; empty if it can have any."""
    why_not_step: ClassVar[str] = "it takes a mean over the whole clip"
    """Why it cannot run frame by frame; empty if it has `step` and `initial_state`."""
    shortest_frames: ClassVar[int] = 1
    """Feature frames that a form of any length needs at least."""
    context_width: int
    """Width D of the context representation; set by each student's ``__init__``."""

    def forward(self, features_BTM: Tensor, lengths_B: Tensor | None) -> StudentOutput:
        """Compute a zero-padded batch with its valid frame counts; None if all frames are valid."""
        raise NotImplementedError

    def for_clip(self, frames: int | None) -> nn.Module:
        """Give a copy for a device, (B, T, M) to logits (B, C): no masks, normalisation folded.

        Parameters
        ----------
        frames : int or None
            Length T of its clips; None for a form of any length.

        Raises
        ------
        UsageError
            If the student has no such form.
        """
        from student.models.device_forms import ClipForm  # which builds on this class

        return ClipForm(self, frames)

    def initial_state(self, clips: int) -> tuple[Tensor, ...]:
        """State before the first frame, each tensor with the clips first."""
        raise NotImplementedError

    def step(self, frame_BM: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        """Process the clip so far: logits (B, C) after one more frame, then the state after it."""
        raise NotImplementedError

    def start_memory(self, frames: int) -> None:
        """Prepare an untrained student for clips of about so many feature frames.

        Only a recurrence has something to prepare.
        """

    def frame_attribution(self, output: StudentOutput) -> Tensor:
        """Where in time the student finds its evidence: (B, T), non-negative, sums to 1."""
        raise NotImplementedError


def count_parameters_keras(model: nn.Module) -> int:
    """Count parameters as Keras' summary does: trainable plus BatchNorm running statistics."""
    trainable = sum(p.numel() for p in model.parameters())
    running = ("running_mean", "running_variance")
    statistics = sum(b.numel() for name, b in model.named_buffers() if name.endswith(running))
    return trainable + statistics
