"""Losses against hand values and an oracle in NumPy float64, on ragged random input."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from student.batch import Batch
from student.losses.interface import LossSetup
from student.losses.logits import LogitsLoss, softened_divergence
from student.losses.temporal import TemporalLoss, attention_divergence
from student.models.interface import StudentOutput, TimeGrid

FEATURES = 6
STUDENT_GRID = (0.04, 0.03)
TEACHER_GRID = (0.02, 0.0125)


def setup(**changes: Any) -> LossSetup:
    facts: dict[str, Any] = {
        "student": "small",
        "context_dim": FEATURES,
        "native_attention": True,
        "task": "single",
        "classes": ("a", "b", "c"),
        "teacher_classes": ("a", "b", "c"),
        "grids": {"temporal_attention": TimeGrid(*TEACHER_GRID)},
    }
    return LossSetup(**facts | changes)


def ragged(seed: int = 0, padding: int = 0) -> tuple[StudentOutput, Batch]:
    """Three clips: student frames 5, 1, 8 and teacher frames 11, 3, 15; padding holds rubbish."""
    generator = np.random.default_rng(seed)
    student_lengths, teacher_lengths = [5, 1, 8], [11, 3, 15]
    context = np.full((3, 8 + padding, FEATURES), 9.0)
    scores = np.full((3, 8 + padding), -np.inf)
    teacher = np.full((3, 15 + padding), 7.0)
    for row, (frames, heard) in enumerate(zip(student_lengths, teacher_lengths, strict=True)):
        context[row, :frames] = generator.normal(size=(frames, FEATURES))
        scores[row, :frames] = generator.normal(size=frames)
        teacher[row, :heard] = generator.dirichlet(np.ones(heard))
    tensors = [torch.tensor(x, dtype=torch.float32) for x in (context, scores, teacher)]
    output = StudentOutput(
        logits_BC=torch.tensor(generator.normal(size=(3, 3)), dtype=torch.float32),
        context_BTD=tensors[0],
        context_lengths_B=torch.tensor(student_lengths),
        hop_s=STUDENT_GRID[0],
        first_frame_s_B=torch.full((3,), STUDENT_GRID[1]),
        attention_BT=tensors[1],
    )
    logits = torch.tensor(generator.normal(size=(3, 3)), dtype=torch.float32)
    batch = Batch(
        features_BTM=torch.zeros(3, 1, 1),
        lengths_B=torch.ones(3, dtype=torch.int64),
        labels_BC=torch.eye(3),
        labelled_B=torch.ones(3, dtype=torch.bool),
        signals={"temporal_attention": tensors[2], "logits": logits},
        signal_lengths={
            "temporal_attention": torch.tensor(teacher_lengths),
            "logits": torch.full((3,), 3),
        },
        clips=np.arange(3),
    )
    return output, batch


def oracle(
    output: StudentOutput, batch: Batch, scores_of: Any, align: str, direction: str
) -> float:
    """The temporal loss written as the paper reads, one clip at a time."""
    values = []
    teachers = batch.signals["temporal_attention"].double().numpy()
    for row, frames in enumerate(output.context_lengths_B.tolist()):
        heard = int(batch.signal_lengths["temporal_attention"][row])
        teacher = teachers[row, :heard]
        if align == "ends":
            target = np.interp(np.linspace(0, heard - 1, frames), np.arange(heard), teacher)
        else:
            at = STUDENT_GRID[1] + STUDENT_GRID[0] * np.arange(frames)
            target = np.interp(at, TEACHER_GRID[1] + TEACHER_GRID[0] * np.arange(heard), teacher)
        target = target / target.sum()
        exponentials = np.exp(scores_of(row, frames))
        student = exponentials / exponentials.sum()
        first, second = (target, student) if direction == "forward" else (student, target)
        values.append(np.sum(first * np.log(first / second)))
    return float(np.mean(values))


@pytest.mark.parametrize("align", ["time", "ends"])
@pytest.mark.parametrize("direction", ["forward", "reverse"])
@pytest.mark.parametrize("scale", [False, True])
def test_temporal_loss_equals_the_oracle(align: Any, direction: Any, scale: bool) -> None:
    output, batch = ragged()
    loss = TemporalLoss(setup(), align=align, direction=direction, scale=scale)
    assert loss.query_D is not None
    query = loss.query_D.detach().double().numpy()
    context = output.context_BTD.double().numpy()
    factor = FEATURES**-0.5 if scale else 1.0

    def scores_of(row: int, frames: int) -> Any:
        return context[row, :frames] @ query * factor

    expected = oracle(output, batch, scores_of, align, direction)
    assert loss(output, batch).item() == pytest.approx(expected, abs=1e-5)


def test_native_source_uses_the_students_own_attention() -> None:
    output, batch = ragged()
    loss = TemporalLoss(setup(), source="native")
    assert not list(loss.parameters())
    assert output.attention_BT is not None
    scores = output.attention_BT.double().numpy()
    expected = oracle(output, batch, lambda row, n: scores[row, :n], "time", "forward")
    assert loss(output, batch).item() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("name", ["temporal", "native", "reverse", "ends"])
def test_padding_changes_nothing(name: str) -> None:
    options: dict[str, Any] = {
        "temporal": {},
        "native": {"source": "native"},
        "reverse": {"direction": "reverse"},
        "ends": {"align": "ends"},
    }[name]
    torch.manual_seed(0)
    loss = TemporalLoss(setup(), **options)
    values = [loss(*ragged(padding=padding)).item() for padding in (0, 1, 13)]
    assert values == pytest.approx([values[0]] * 3, abs=1e-6)


@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_gradient_is_zero_where_student_equals_teacher(direction: Any) -> None:
    teacher = torch.tensor([[0.1, 0.2, 0.7, 0.0], [0.5, 0.25, 0.125, 0.125]])
    valid = torch.tensor([[True, True, True, False], [True, True, True, True]])
    scores = teacher.clamp_min(1e-9).log().requires_grad_()
    value = attention_divergence(scores, teacher, valid, direction=direction)
    value.backward()  # type: ignore[no-untyped-call]
    assert value.item() == pytest.approx(0, abs=1e-6)
    assert scores.grad is not None
    assert scores.grad.abs().max() < 1e-6


def test_gradient_reaches_student_and_query_alone() -> None:
    output, batch = ragged()
    output.context_BTD.requires_grad_()
    loss = TemporalLoss(setup())
    loss(output, batch).backward()
    assert loss.query_D is not None
    assert loss.query_D.grad is not None
    assert output.context_BTD.grad is not None
    assert (output.context_BTD.grad[0, 5:] == 0).all()
    assert batch.signals["temporal_attention"].grad is None


def test_a_silent_teacher_teaches_nothing() -> None:
    scores = torch.tensor([[1.0, 2.0]], requires_grad=True)
    valid = torch.ones(1, 2, dtype=torch.bool)
    for direction in ("forward", "reverse"):
        value = attention_divergence(scores, torch.zeros(1, 2), valid, direction=direction)  # type: ignore[arg-type]
        assert value.item() == 0


@pytest.mark.parametrize("temperature", [1.0, 2.0, 5.0])
def test_softened_divergence_equals_numpy(temperature: float) -> None:
    generator = np.random.default_rng(1)
    student, teacher = generator.normal(size=(2, 7, 5)) * 3

    def soft(x: np.ndarray) -> np.ndarray:
        e = np.exp(x / temperature)
        return e / e.sum(1, keepdims=True)

    p, q = soft(teacher), soft(student)
    expected = temperature**2 * np.mean(np.sum(p * np.log(p / q), axis=1))
    value = softened_divergence(
        torch.tensor(student), torch.tensor(teacher), temperature=temperature
    )
    assert value.item() == pytest.approx(expected, rel=1e-9)


def test_multi_label_logits_are_binary_cross_entropy_per_class() -> None:
    output, batch = ragged()
    value = LogitsLoss(setup(task="multi"))(output, batch).item()
    p = 1 / (1 + np.exp(-batch.signals["logits"].double().numpy()))
    q = 1 / (1 + np.exp(-output.logits_BC.double().numpy()))
    expected = -np.mean(p * np.log(q) + (1 - p) * np.log(1 - q))
    assert value == pytest.approx(expected, abs=1e-6)
