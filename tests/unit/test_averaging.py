"""Weight averaging: hand values, and a student that is left alone."""

from __future__ import annotations

import torch

from student.models.tc_resnet import TCResNet
from student.recipes import Average
from student.training.weight_averaging import AveragedStudent


def filled(student: TCResNet, value: float) -> TCResNet:
    with torch.no_grad():
        for tensor in student.state_dict().values():
            tensor.fill_(value)
    return student


def values(student: torch.nn.Module) -> set[float]:
    return {
        round(float(number), 5)
        for tensor in student.state_dict().values()
        if tensor.is_floating_point()
        for number in tensor.flatten()[:1]
    }


def test_the_mean_of_the_last_epochs() -> None:
    student = TCResNet(2)
    averaged = AveragedStudent(student, Average("last", 0.5))
    for epoch in range(1, 5):
        averaged.after_step(filled(student, 100.0))
        averaged.after_epoch(filled(student, float(epoch)), epoch / 4)
        assert averaged.begun == (epoch >= 3)
    # Epochs 3 and 4 of 4; running statistics too.
    assert values(averaged.student) == {3.5}
    assert values(student) == {4.0}


def test_the_moving_average_forgets_its_start() -> None:
    student = TCResNet(2)
    averaged = AveragedStudent(student, Average("ema", 0.9))
    averaged.after_step(filled(student, 1.0))
    assert values(averaged.student) == {1.0}
    averaged.after_step(filled(student, 2.0))
    # The second set keeps (1 + 1) / (10 + 1) of the first.
    assert values(averaged.student) == {round(2 - 2 / 11, 5)}


def test_the_average_continues_where_it_was() -> None:
    student = TCResNet(2)
    once = AveragedStudent(student, Average("ema", 0.9))
    once.after_step(filled(student, 1.0))
    again = AveragedStudent(student, Average("ema", 0.9))
    again.restore(once.state())
    for averaged in (once, again):
        averaged.after_step(filled(student, 3.0))
    assert values(once.student) == values(again.student) == {round(3 - 2 * 2 / 11, 5)}
    assert not any(p.requires_grad for p in again.student.parameters())
