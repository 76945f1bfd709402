"""Every student keeps the promises of a student."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from cache_schema.errors import UsageError
from cache_schema.front_ends import FRONT_ENDS
from cache_schema.plugins import load_plugin
from student.models import STUDENTS
from student.models.bc_resnet import BCResNet
from student.models.interface import Student, StudentOutput, TimeGrid, count_parameters_keras
from student.runs.settings import Settings
from student.stream.batch import Batch
from student.training.objective import Objective

PUBLISHED_12_LABELS = {
    "tc-resnet": 366_894,
    "att-rnn": 496_519,
    "mhatt-rnn": 743_047,
    "lstm-p": 545_912,
    "crnn": 467_772,
}
LENGTHS = (49, 1, 2, 30, 48, 7)
NO_PADDING_FROM = 7
"""Feature frames from which no student has to lengthen a clip; its frames then lie within it."""

every_student = pytest.mark.parametrize("name", STUDENTS)


def build(name: str, classes: int = 12) -> Student:
    torch.manual_seed(0)
    student: Student = load_plugin(STUDENTS, name, "student")(classes)
    return student


def batch_for(student: Student) -> tuple[torch.Tensor, torch.Tensor]:
    """Clips of several lengths; the padding holds rubbish."""
    generator = torch.Generator().manual_seed(1)
    bands = FRONT_ENDS[student.front_end].features
    features = torch.randn(len(LENGTHS), max(LENGTHS), bands, generator=generator)
    return features, torch.tensor(LENGTHS)


def settled(student: Student) -> Student:
    """A student whose BatchNorm has seen data, in evaluation mode."""
    with torch.no_grad():
        student.train()(*batch_for(student))
    return student.eval()


def labelled(student: Student, classes: int) -> Batch:
    features, lengths = batch_for(student)
    preset = FRONT_ENDS[student.front_end]
    return Batch(
        features_BTM=features,
        lengths_B=lengths,
        labels_BC=torch.eye(classes)[torch.arange(len(LENGTHS)) % classes],
        labelled_B=torch.ones(len(LENGTHS), dtype=torch.bool),
        signals={},
        signal_lengths={},
        clips=np.arange(len(LENGTHS)),
        feature_grid=TimeGrid(preset.hop_s, preset.first_frame_s),
    )


def objective_of(name: str, student: Student, task: str) -> Objective:
    """Labels alone."""
    settings = Settings(
        student=name, student_options={}, distill=(), label_weight=1.0, seed=0,
        recipe=student.recipe,
    )  # fmt: skip
    return Objective(student, {}, settings, {}, task)


def without_dropout(module: torch.nn.Module) -> None:
    if isinstance(module, torch.nn.Dropout | torch.nn.Dropout1d):
        module.p = 0.0


@every_student
def test_a_batch_without_padding_learns_the_same_without_masks(name: str) -> None:
    """Loss and gradients; what draws differently (dropout) is off."""
    student = build(name, classes=5).double().train()
    student.apply(without_dropout)
    generator = torch.Generator().manual_seed(2)
    bands = FRONT_ENDS[student.front_end].features
    features = torch.randn(4, 40, bands, generator=generator, dtype=torch.float64)
    found = []
    for lengths in (torch.full((4,), 40), None):
        output = student(features, lengths)
        loss = output.logits_BC.square().sum() + output.context_BTD.square().mean()
        gradients = torch.autograd.grad(loss, list(student.parameters()), allow_unused=True)
        found.append([loss, *(g for g in gradients if g is not None)])
    for masked, plain in zip(*found, strict=True):
        torch.testing.assert_close(masked, plain, rtol=1e-8, atol=1e-10)


def test_lengths_are_for_batches_with_padding() -> None:
    batch = labelled(build("tc-resnet"), 12)
    assert batch.ragged_lengths is batch.lengths_B
    full = replace(batch, lengths_B=torch.full_like(batch.lengths_B, max(LENGTHS)))
    assert full.ragged_lengths is None


@pytest.mark.parametrize("name", PUBLISHED_12_LABELS)
def test_parameter_count_is_the_published_one(name: str) -> None:
    assert count_parameters_keras(build(name)) == PUBLISHED_12_LABELS[name]


def test_tc_resnet_trains_365_274_of_them() -> None:
    assert sum(p.numel() for p in build("tc-resnet").parameters()) == 365_274


def test_ds_tc_resnet_trains_75k_for_35_labels_as_published() -> None:
    student = build("ds-tc-resnet", classes=35)
    assert sum(p.numel() for p in student.parameters()) == 74_651
    assert count_parameters_keras(student) == 76_187
    assert count_parameters_keras(build("ds-tc-resnet")) == 73_220


@pytest.mark.parametrize(
    ("width", "count"),
    # Kim et al. 2021, table 1, in thousands: 9.2, 27.3, 54.2, 188 and 321.
    [(1, 9_232), (1.5, 17_154), (2, 27_284), (3, 54_168), (6, 187_812), (8, 321_068)],
)
def test_bc_resnet_has_the_papers_parameters_beside_its_input_norm(
    width: float, count: int
) -> None:
    student = BCResNet(12, width=width)
    of_norm = sum(p.numel() for p in student.input_norm.parameters())
    assert sum(p.numel() for p in student.parameters()) - of_norm == count


@pytest.mark.parametrize("width", [0.99, 8.01, float("nan")])
def test_bc_resnet_of_another_width_is_a_usage_error(width: float) -> None:
    with pytest.raises(UsageError, match="width must be 1 to 8"):
        BCResNet(12, width=width)


@every_student
@torch.no_grad()
def test_shapes_and_types_are_as_promised(name: str) -> None:
    student = build(name, classes=5).eval()
    output = student(*batch_for(student))
    frames = output.context_BTD.shape[1]
    assert type(vars(student)["context_width"]) is int
    assert output.logits_BC.shape == (len(LENGTHS), 5)
    assert output.context_BTD.shape == (len(LENGTHS), frames, student.context_width)
    assert output.logits_BC.dtype == output.context_BTD.dtype == torch.float32
    assert output.context_lengths_B.shape == output.first_frame_s_B.shape == (len(LENGTHS),)
    assert output.context_lengths_B.dtype == torch.int64
    assert output.first_frame_s_B.dtype == torch.float32
    assert int(output.context_lengths_B.min()) >= 1
    assert int(output.context_lengths_B.max()) == frames
    for row, length in enumerate(output.context_lengths_B.tolist()):
        assert (output.context_BTD[row, length:] == 0).all()


@every_student
@torch.no_grad()
def test_attention_is_promised_and_given_for_valid_frames_only(name: str) -> None:
    student = settled(build(name))
    output = student(*batch_for(student))
    assert (output.attention_BHT is not None) == student.native_attention
    if output.attention_BHT is None:
        return
    frames = output.context_BTD.shape[1]
    assert output.attention_BHT.dim() == 3
    assert output.attention_BHT.shape[::2] == (len(LENGTHS), frames)
    for row, length in enumerate(output.context_lengths_B.tolist()):
        assert output.attention_BHT[row, :, :length].isfinite().all()
        assert (output.attention_BHT[row, :, length:] == -torch.inf).all()


@every_student
@torch.no_grad()
def test_frames_of_the_context_lie_within_the_clip(name: str) -> None:
    student = build(name).eval()
    preset = FRONT_ENDS[student.front_end]
    output = student(*batch_for(student))
    assert output.hop_s >= preset.hop_s * 0.999
    for row, length in enumerate(LENGTHS):
        first_s = float(output.first_frame_s_B[row])
        last_s = first_s + (int(output.context_lengths_B[row]) - 1) * output.hop_s
        clip_end_s = preset.first_frame_s + (length - 1) * preset.hop_s
        if length >= NO_PADDING_FROM:
            # A coarse frame may be centred beside the clip, but by less than one of its hops.
            assert preset.first_frame_s - output.hop_s < first_s
            assert last_s < clip_end_s + output.hop_s


@every_student
@torch.no_grad()
def test_the_same_seed_builds_the_same_student(name: str) -> None:
    first, second = (build(name).eval() for _ in range(2))
    features, lengths = batch_for(first)
    answers = [student(features, lengths) for student in (first, second, first)]
    for other in answers[1:]:
        assert torch.equal(answers[0].logits_BC, other.logits_BC)
        assert torch.equal(answers[0].context_BTD, other.context_BTD)


@every_student
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-11)])
@torch.no_grad()
def test_a_clip_alone_and_in_a_padded_batch_give_the_same_answer(
    name: str, dtype: torch.dtype, tolerance: float
) -> None:
    """To 1e-5, relative above 1; that it is rounding and not a leak is for float64 to show."""
    student = settled(build(name)).to(dtype)
    features, lengths = batch_for(student)
    features = features.to(dtype)
    together = student(features, lengths)
    look = student.looks_at(together)
    for row, length in enumerate(LENGTHS):
        alone = student(features[row : row + 1, :length], lengths[row : row + 1])
        frames = int(alone.context_lengths_B[0])
        assert together.context_lengths_B[row] == frames
        assert together.first_frame_s_B[row] == alone.first_frame_s_B[0]
        for batched, single in (
            (together.logits_BC[row], alone.logits_BC[0]),
            (together.context_BTD[row, :frames], alone.context_BTD[0]),
            (look[row, :frames], student.looks_at(alone)[0]),
        ):
            torch.testing.assert_close(batched, single, atol=tolerance, rtol=tolerance)


@every_student
@torch.no_grad()
def test_padding_does_not_reach_training_either(name: str) -> None:
    features, lengths = batch_for(build(name))
    wider = torch.cat([features, torch.full_like(features, 50.0)], 1)
    short, long = (
        build(name).train().apply(without_dropout)(padded, lengths) for padded in (features, wider)
    )
    torch.testing.assert_close(short.logits_BC, long.logits_BC, atol=1e-4, rtol=0)


@every_student
@pytest.mark.parametrize("task", ["single", "multi"])
def test_three_steps_lower_the_loss_and_move_every_parameter(name: str, task: str) -> None:
    student = build(name, classes=3).apply(without_dropout)
    objective = objective_of(name, student, task).train()
    batch = labelled(student, classes=3)
    before = {key: value.clone() for key, value in student.named_parameters()}
    optimizer = torch.optim.Adam(objective.parameters(), 2e-4)
    losses = []
    for _ in range(4):
        total = objective(batch)["total"]
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        losses.append(total.item())
    assert min(losses[1:]) < losses[0]
    unmoved = [key for key, value in student.named_parameters() if torch.equal(before[key], value)]
    assert unmoved == []


@every_student
@torch.no_grad()
def test_where_it_looks_is_a_distribution_over_valid_frames(name: str) -> None:
    student = settled(build(name))
    output: StudentOutput = student(*batch_for(student))
    look = student.looks_at(output)
    assert look.shape == output.context_BTD.shape[:2]
    torch.testing.assert_close(look.sum(1), torch.ones(len(LENGTHS)), atol=1e-5, rtol=0)
    for row, length in enumerate(output.context_lengths_B.tolist()):
        assert (look[row, :length] >= 0).all()
        assert (look[row, length:] == 0).all()
