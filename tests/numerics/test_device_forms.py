"""What a device runs equals the masked form that was trained."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from keras_reference import scramble

from cache_schema.errors import UsageError
from cache_schema.front_ends import FRONT_ENDS
from student.models import STUDENTS
from student.models.device_forms import StepForm
from student.models.interface import Student
from student.models.layers import MaskedBatchNorm
from student.runs.settings import build_student

OPTIONS = {"ast-tiny": {"layers": "2"}}
CLASSES = 5
LEFT_UNFOLDED = {
    "att-rnn": 2, "mhatt-rnn": 2,  # behind an activation
    "mobilenet": 1, "efficientnet-b0": 1, "efficientnet-b2": 1, "ast-tiny": 1,  # the input's own
    "bc-resnet": 13,  # the input's own, and of groups of bands
}  # fmt: skip
every_student = pytest.mark.parametrize("name", STUDENTS)
STEPPED = [name for name in STUDENTS if name in ("crnn", "lstm-p")]


@cache
def trained(name: str) -> Student:
    """A student with weights and statistics that are none's beginning."""
    torch.manual_seed(0)
    student = build_student(name, OPTIONS.get(name, {}), CLASSES)
    scramble(student)
    return student.double().eval()


def clip(student: Student, frames: int, clips: int = 2) -> torch.Tensor:
    generator = torch.Generator().manual_seed(frames)
    bands = FRONT_ENDS[student.front_end].features
    return torch.randn(clips, frames, bands, generator=generator, dtype=torch.float64)


def masked_logits(student: Student, features: torch.Tensor, frames: int) -> torch.Tensor:
    """The first `frames` frames as clips of a longer batch, whose padding holds rubbish."""
    wide = torch.full((len(features), frames + 9, features.shape[2]), 7.0, dtype=torch.float64)
    wide[:, :frames] = features[:, :frames]
    logits: torch.Tensor = student(wide, torch.tensor([frames] * len(features))).logits_BC
    return logits


@every_student
@pytest.mark.parametrize("frames", [1, 6, 7, 8, 49, 50, 98])
@torch.no_grad()
def test_a_clip_of_any_length_has_the_answer_of_the_masked_form(name: str, frames: int) -> None:
    student = trained(name)
    features = clip(student, frames)
    found = student.for_clip(frames)(features)
    torch.testing.assert_close(
        found, masked_logits(student, features, frames), rtol=1e-9, atol=1e-9
    )


@every_student
def test_norms_behind_a_convolution_are_folded_and_the_student_is_left_alone(name: str) -> None:
    student = trained(name)
    before = {key: value.clone() for key, value in student.state_dict().items()}
    form = student.for_clip(49)
    left = [module for module in form.modules() if isinstance(module, MaskedBatchNorm)]
    assert len(left) == LEFT_UNFOLDED.get(name, 0)
    assert not any(parameter.requires_grad for parameter in form.parameters())
    for key, value in student.state_dict().items():
        assert torch.equal(value, before[key])


@pytest.mark.parametrize("name", STEPPED)
@torch.no_grad()
def test_a_step_has_the_answer_of_the_clip_so_far_at_every_frame(name: str) -> None:
    student = trained(name)
    features = clip(student, 30)
    form = StepForm(student)
    state = student.initial_state(len(features))
    for frame in range(features.shape[1]):
        logits, *state = form(features[:, frame], *state)
        expected = masked_logits(student, features, frame + 1)
        torch.testing.assert_close(logits, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", STEPPED)
def test_the_state_has_a_fixed_shape_and_begins_at_zero(name: str) -> None:
    student = trained(name)
    state = student.initial_state(3)
    after = student.step(clip(student, 1, clips=3)[:, 0], *state)[1:]
    assert [tuple(tensor.shape) for tensor in after] == [tuple(tensor.shape) for tensor in state]
    assert not any(tensor.any() for tensor in state)


@every_student
def test_a_student_reports_what_it_has_no_form_for(name: str) -> None:
    student = trained(name)
    assert (student.why_not_step == "") == (name in STEPPED)
    if student.why_not_any_length:
        with pytest.raises(UsageError, match="--length-s") as refused:
            student.for_clip(None)
        assert student.why_not_any_length in str(refused.value)
    with pytest.raises(UsageError, match="at least 1 frame"):
        student.for_clip(0)
