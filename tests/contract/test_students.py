"""What every student must do, and the parameter counts that were published."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from cache_schema.errors import UsageError
from cache_schema.plugins import plugin_names
from student.models import STUDENTS
from student.models.bc_resnet import BCResNet
from student.models.interface import Student, count_parameters_keras
from student.plugin_checks import LENGTHS, STUDENT_CHECKS, build_student, labelled_batch

PUBLISHED_12_LABELS = {
    "tc-resnet": 366_894,
    "att-rnn": 496_519,
    "mhatt-rnn": 743_047,
    "lstm-p": 545_912,
    "crnn": 467_772,
}


def build(name: str, classes: int = 12) -> Student:
    return build_student(name, classes)


@pytest.mark.parametrize("check", STUDENT_CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", plugin_names(STUDENTS, "student"))
def test_every_student(name: str, check: Callable[[str], None]) -> None:
    check(name)


def test_lengths_are_for_batches_with_padding() -> None:
    batch = labelled_batch(build("tc-resnet"))
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
