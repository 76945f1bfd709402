"""Every student keeps the promises of a student."""

from __future__ import annotations

import pytest
import torch

from cache_schema.front_ends import FRONT_ENDS
from cache_schema.plugins import load_plugin
from student.models import STUDENTS
from student.models.interface import Student, count_parameters_keras

PUBLISHED_12_LABELS = {"tc-resnet": 366_894, "att-rnn": 496_519}
LENGTHS = (49, 1, 2, 30, 48, 7)

every_student = pytest.mark.parametrize("name", STUDENTS)


def build(name: str, classes: int = 12) -> Student:
    torch.manual_seed(0)
    student: Student = load_plugin(STUDENTS, name, "student")(classes)
    return student


def batch_for(student: Student) -> tuple[torch.Tensor, torch.Tensor]:
    """Clips of several lengths; the padding holds rubbish."""
    torch.manual_seed(1)
    bands = FRONT_ENDS[student.front_end].features
    return torch.randn(len(LENGTHS), max(LENGTHS), bands), torch.tensor(LENGTHS)


def settled(student: Student) -> Student:
    """A student whose BatchNorm has seen data, in evaluation mode."""
    features, lengths = batch_for(student)
    with torch.no_grad():
        student.train()(features, lengths)
    return student.eval()


def test_there_are_students() -> None:
    assert set(STUDENTS) == set(PUBLISHED_12_LABELS)


@every_student
def test_parameter_count_is_the_published_one(name: str) -> None:
    assert count_parameters_keras(build(name)) == PUBLISHED_12_LABELS[name]


def test_tc_resnet_trains_365_274_of_them() -> None:
    assert sum(p.numel() for p in build("tc-resnet").parameters()) == 365_274


@every_student
def test_shapes_are_as_promised(name: str) -> None:
    student = build(name, classes=5).eval()
    features, lengths = batch_for(student)
    output = student(features, lengths)
    assert output.logits_BC.shape == (len(LENGTHS), 5)
    frames = output.context_BTD.shape[1]
    assert output.context_BTD.shape == (len(LENGTHS), frames, student.context_width)
    assert int(output.context_lengths_B.max()) == frames
    assert output.first_frame_s_B.shape == (len(LENGTHS),)
    assert (output.attention_BT is not None) == student.native_attention
    for row, length in enumerate(output.context_lengths_B.tolist()):
        assert (output.context_BTD[row, length:] == 0).all()


@every_student
def test_a_clip_alone_and_in_a_padded_batch_give_the_same_answer(name: str) -> None:
    student = settled(build(name))
    features, lengths = batch_for(student)
    together = student(features, lengths)
    for row, length in enumerate(LENGTHS):
        alone = student(features[row : row + 1, :length], lengths[row : row + 1])
        torch.testing.assert_close(together.logits_BC[row], alone.logits_BC[0], atol=1e-5, rtol=0)
        frames = int(alone.context_lengths_B[0])
        assert together.context_lengths_B[row] == frames
        assert together.first_frame_s_B[row] == alone.first_frame_s_B[0]
        torch.testing.assert_close(
            together.context_BTD[row, :frames], alone.context_BTD[0], atol=1e-5, rtol=0
        )


@every_student
def test_padding_does_not_reach_training_either(name: str) -> None:
    student = build(name)
    student.apply(without_dropout)
    features, lengths = batch_for(student)
    wider = torch.cat([features, torch.full_like(features, 50.0)], 1)
    short, long = (
        build(name).train().apply(without_dropout)(x, lengths) for x in (features, wider)
    )
    torch.testing.assert_close(short.logits_BC, long.logits_BC, atol=1e-4, rtol=0)


@every_student
def test_three_steps_lower_the_loss_and_move_every_parameter(name: str) -> None:
    student = build(name, classes=3).train().apply(without_dropout)
    features, lengths = batch_for(student)
    labels = torch.arange(len(LENGTHS)) % 3
    before = {key: value.clone() for key, value in student.named_parameters()}
    optimizer = torch.optim.Adam(student.parameters(), 1e-3)
    losses = []
    for _ in range(4):
        loss = torch.nn.functional.cross_entropy(student(features, lengths).logits_BC, labels)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    assert all(not torch.equal(before[key], value) for key, value in student.named_parameters())


@every_student
def test_where_it_looks_is_a_distribution_over_valid_frames(name: str) -> None:
    student = settled(build(name))
    output = student(*batch_for(student))
    look = student.looks_at(output)
    torch.testing.assert_close(look.sum(1), torch.ones(len(LENGTHS)), atol=1e-5, rtol=0)
    for row, length in enumerate(output.context_lengths_B.tolist()):
        assert (look[row, :length] >= 0).all()
        assert (look[row, length:] == 0).all()


def without_dropout(module: torch.nn.Module) -> None:
    if isinstance(module, torch.nn.Dropout):
        module.p = 0.0
