"""The forms of a student that can be written: a clip of one length, of any length, or one frame.

Shape suffixes: B clips, S samples, T frames, M features, W samples of a window.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd
from typing import Any, Literal

import torch
from torch import Tensor, nn

from cache_schema.errors import UsageError
from cache_schema.front_ends import FRONT_ENDS, FrontEnd, frame_count, sample_count
from student.export.interface import Axis, Graph
from student.models.device_forms import ClipForm, StepForm
from student.models.interface import Student
from student.predict.contract import (
    ATTENTION,
    FEATURES,
    LOGITS,
    MAX_LENGTH_SAMPLES,
    NEXT_STATE,
    STATE,
    WAVEFORM,
)
from student.stream.front_end import TorchFrontEnd

Kind = Literal["static", "dynamic", "step"]
Takes = Literal["features", "waveform"]

# Of the example that a form of any length is traced with; no file depends on them.
TRACED_CLIPS, TRACED_FRAMES = 2, 61


@dataclass(frozen=True, slots=True, kw_only=True)
class FormSpec:
    """Which form of a student.

    Attributes
    ----------
    kind : {"static", "dynamic", "step"}
        Clips of one length, clips of any length, or one frame after the other.
    takes : {"features", "waveform"}
        What goes in; the samples of a step are those of one window.
    samples : int or None
        Length of a static form's clips.
    shortest_frames : int
        Feature frames that a clip has at least.
    """

    kind: Kind
    takes: Takes
    samples: int | None = None
    shortest_frames: int = 1

    def frames(self, front_end: FrontEnd) -> int | None:
        """Feature frames of a static form's clips."""
        return None if self.samples is None else frame_count(self.samples, front_end)


def check_form(student: Student, name: str, spec: FormSpec) -> None:
    """Reject a form that a student does not have.

    Raises
    ------
    UsageError
        Kind ``"form"``, with the reason and what there is instead.
    """
    front_end = FRONT_ENDS[student.front_end]
    if spec.kind == "step" and student.why_not_step:
        raise UsageError(
            f"{name} cannot run frame by frame: {student.why_not_step}. Slide a window over the "
            "stream instead: export a form of one length (--length-s 1, without --streaming), which "
            "stream-audio runs again and again",
            kind="form",
        )
    if spec.kind == "dynamic" and student.why_not_any_length:
        step = ", or --streaming for steps of one frame" if not student.why_not_step else ""
        raise UsageError(
            f"{name} has no form of any length: {student.why_not_any_length}. Choose a length: "
            f"--length-s 1{step}",
            kind="form",
        )
    if spec.samples is None:
        return
    shortest, rate_hz = front_end.window_samples, front_end.sample_rate_hz
    if not shortest <= spec.samples <= MAX_LENGTH_SAMPLES:
        raise UsageError(
            f"--length-s: {spec.samples / rate_hz:g} s are {spec.samples} samples at {rate_hz} Hz; a "
            f"clip has at least one window of {name}'s front end, {shortest} samples "
            f"({shortest / rate_hz:g} s), and at most {MAX_LENGTH_SAMPLES}",
            kind="form",
        )


class FrontEndForm(nn.Module):
    """Waveforms (B, S) of at least one window to features (B, T, M), every sample valid.

    Windows are put together from pieces that hop and window are multiples of: an exported `unfold` would
    keep the place of each sample of each window in the file, 250 KB for one second.
    """

    def __init__(self, front_end: FrontEnd) -> None:
        super().__init__()
        self.twin = TorchFrontEnd(front_end)
        self.piece = gcd(front_end.hop_samples, front_end.window_samples)

    def forward(self, waveform_BS: Tensor) -> Tensor:
        """Give the features in float32."""
        spec = self.twin.front_end
        samples = waveform_BS.shape[1]
        frames = (samples - spec.window_samples) // spec.hop_samples + 1
        hop, window = spec.hop_samples // self.piece, spec.window_samples // self.piece
        whole_BS = waveform_BS[:, : samples // self.piece * self.piece].double()
        pieces_BNP = whole_BS.reshape(whole_BS.shape[0], -1, self.piece)
        parts = [pieces_BNP[:, first::hop][:, :frames] for first in range(window)]
        return self.twin.of_windows(torch.cat(parts, 2)).float()


class _Attending(nn.Module):
    """A clip form that also gives its attention over time."""

    def __init__(self, form: ClipForm) -> None:
        super().__init__()
        self.form = form

    def forward(self, features_BTM: Tensor) -> tuple[Tensor, Tensor]:
        output = self.form.student(features_BTM, None)
        return output.logits_BC, self.form.student.frame_attribution(output)


class _FromWaveform(nn.Module):
    """The front end, and a form that takes its features; a step's takes one frame of them."""

    def __init__(self, front_end: FrontEnd, form: nn.Module, *, step: bool) -> None:
        super().__init__()
        self.front_end = FrontEndForm(front_end)
        self.form = form
        self.step = step

    def forward(self, waveform_BS: Tensor, *state: Tensor) -> Any:
        features_BTM = self.front_end(waveform_BS)
        return self.form(features_BTM[:, 0] if self.step else features_BTM, *state)


def build_graph(student: Student, spec: FormSpec) -> Graph:
    """Give a student's form with its names and an example of its inputs."""
    step = spec.kind == "step"
    module = StepForm(student) if step else _clip_module(student, spec)
    state = student.initial_state(1) if step else ()
    if spec.takes == WAVEFORM:
        module = _FromWaveform(FRONT_ENDS[student.front_end], module, step=step)
    outputs = [LOGITS]
    outputs += [f"{NEXT_STATE}{number}" for number in range(len(state))]
    outputs += [ATTENTION] if student.native_attention and not step else []
    states = {f"{STATE}{number}": tensor for number, tensor in enumerate(state)}
    return Graph(
        module=module.eval(),
        inputs={spec.takes: _example(student, spec), **states},
        outputs=tuple(outputs),
        dynamic_axes={spec.takes: _axes(student, spec)} if spec.kind == "dynamic" else {},
        recurrent=bool(student.why_not_any_length),
    )


def front_end_graph(front_end: FrontEnd, samples: int | None = None) -> Graph:
    """Give the front end alone, from waveforms of one length or of any to features."""
    axes = {0: Axis("clips", 1), 1: Axis("samples", front_end.window_samples)}
    clips = TRACED_CLIPS if samples is None else 1
    return Graph(
        module=FrontEndForm(front_end).eval(),
        inputs={WAVEFORM: _noise(clips, samples or sample_count(TRACED_FRAMES, front_end))},
        outputs=(FEATURES,),
        dynamic_axes={WAVEFORM: axes} if samples is None else {},
    )


def _clip_module(student: Student, spec: FormSpec) -> nn.Module:
    form = ClipForm(student, spec.frames(FRONT_ENDS[student.front_end]))
    return _Attending(form) if student.native_attention else form


def _example(student: Student, spec: FormSpec) -> Tensor:
    """Noise of the shape of the first input."""
    front_end = FRONT_ENDS[student.front_end]
    clips = TRACED_CLIPS if spec.kind == "dynamic" else 1
    frames = spec.frames(front_end) or TRACED_FRAMES
    if spec.takes == FEATURES:
        shape = (front_end.features,) if spec.kind == "step" else (frames, front_end.features)
        return _noise(clips, *shape)
    if spec.kind == "step":
        return _noise(clips, front_end.window_samples)
    return _noise(clips, spec.samples or sample_count(frames, front_end))


def _noise(*shape: int) -> Tensor:
    return 0.1 * torch.randn(shape, generator=torch.Generator().manual_seed(0))


def _axes(student: Student, spec: FormSpec) -> dict[int, Axis]:
    frames = student.shortest_frames
    samples = sample_count(frames, FRONT_ENDS[student.front_end])
    length = Axis("frames", frames) if spec.takes == FEATURES else Axis("samples", samples)
    return {0: Axis("clips", 1), 1: length}
