"""Every loss keeps the promises of a loss, with every student."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cache_schema.errors import UsageError
from cache_schema.front_ends import FRONT_ENDS
from cache_schema.plugins import load_plugin, typed_options
from student.batch import Batch
from student.losses import LOSSES
from student.losses.interface import DistillationLoss, LossSetup
from student.models import STUDENTS
from student.models.interface import Student, TimeGrid

CLASSES = ("a", "b", "c", "d")
TEACHER_FRAMES = (50, 20)

every_loss = pytest.mark.parametrize("name", LOSSES)
every_student = pytest.mark.parametrize("student_name", STUDENTS)


def setup_for(student_name: str, task: str = "single") -> LossSetup:
    kind: type[Student] = load_plugin(STUDENTS, student_name, "student")
    return LossSetup.of(
        kind, student_name, task=task, classes=CLASSES, teacher_classes=CLASSES,
        grids={"temporal_attention": TimeGrid(0.02, 0.0125)},
    )  # fmt: skip


def batch_for(student: Student) -> Batch:
    generator = torch.Generator().manual_seed(0)
    bands = FRONT_ENDS[student.front_end].features
    attention = torch.rand(2, max(TEACHER_FRAMES), generator=generator)
    signals = {
        "temporal_attention": attention,
        "logits": torch.randn(2, len(CLASSES), generator=generator),
    }
    return Batch(
        features_BTM=torch.randn(2, 49, bands, generator=generator),
        lengths_B=torch.tensor([49, 20]),
        labels_BC=torch.eye(len(CLASSES))[:2],
        labelled_B=torch.tensor([True, False]),
        signals=signals,
        signal_lengths={
            "temporal_attention": torch.tensor(TEACHER_FRAMES),
            "logits": torch.full((2,), len(CLASSES)),
        },
        clips=np.arange(2),
    )


def test_there_are_losses() -> None:
    assert set(LOSSES) == {"temporal", "logits"}


@every_loss
def test_it_names_the_signals_it_needs(name: str) -> None:
    loss = load_plugin(LOSSES, name, "loss")
    assert loss.signals
    assert all(isinstance(signal, str) for signal in loss.signals)


@every_loss
@every_student
@pytest.mark.parametrize("task", ["single", "multi"])
def test_it_is_a_positive_scalar_that_training_lowers(
    name: str, student_name: str, task: str
) -> None:
    torch.manual_seed(0)
    student: Student = load_plugin(STUDENTS, student_name, "student")(len(CLASSES))
    loss: DistillationLoss = load_plugin(LOSSES, name, "loss")(setup_for(student_name, task))
    batch = batch_for(student)
    optimizer = torch.optim.Adam([*student.parameters(), *loss.parameters()], 1e-3)
    values = []
    for _ in range(8):
        value = loss(student.train()(batch.features_BTM, batch.lengths_B), batch)
        assert value.shape == ()
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        values.append(value.item())
    assert values[0] > 0
    assert min(values[-3:]) < values[0]


@every_loss
def test_a_wrong_option_lists_the_known_ones(name: str) -> None:
    with pytest.raises(UsageError, match="known: "):
        typed_options(load_plugin(LOSSES, name, "loss"), {"colour": "red"}, f"loss {name}")


def test_native_attention_is_refused_for_a_student_without_one() -> None:
    with pytest.raises(UsageError, match="tc-resnet has none"):
        load_plugin(LOSSES, "temporal", "loss")(setup_for("tc-resnet"), source="native")


def test_logits_refuse_a_teacher_that_lacks_classes() -> None:
    setup = LossSetup(
        student="small", context_dim=2, native_attention=False, task="single",
        classes=("yes", "no", "up"), teacher_classes=("no",),
    )  # fmt: skip
    with pytest.raises(UsageError, match="lack 2 of 3 classes: yes, up") as caught:
        load_plugin(LOSSES, "logits", "loss")(setup)
    assert caught.value.kind == "classes"
