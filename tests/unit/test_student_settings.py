"""Settings: weights, refusals, and examples in docstrings."""

from __future__ import annotations

import pytest

from cache_schema.errors import UsageError
from student.runs.settings import (
    diff_settings,
    distillation_as_json,
    find_recipe,
    parse_distillation,
    parse_student,
    resolve_label_weight,
)


def test_the_label_weight_is_what_the_others_leave() -> None:
    distill = (parse_distillation("temporal=0.25"), parse_distillation("logits=0.5"))
    assert resolve_label_weight(distill, None) == pytest.approx(0.25)
    assert resolve_label_weight((), None) == 1
    whole = tuple(map(parse_distillation, ("logits=0.34", "temporal=0.56", "sp=0.1")))
    assert resolve_label_weight(whole, None) == 0, "which floats add up to a little more than 1"
    assert resolve_label_weight(distill, 1.0) == 1


def test_weights_above_one_are_rejected_with_each_of_them() -> None:
    distill = (parse_distillation("temporal=0.75"), parse_distillation("logits=0.5"))
    with pytest.raises(UsageError, match=r"add up to 1.25(.|\n)*temporal: 0.75\n  - logits: 0.5"):
        resolve_label_weight(distill, None)
    assert resolve_label_weight(distill, 1.0) == 1


@pytest.mark.parametrize(
    "text", ["temporal", "temporal=", "temporal=-1", "temporal=nan", "temporal=0"]
)
def test_a_weight_must_be_a_positive_number(text: str) -> None:
    with pytest.raises(UsageError, match="weight above 0"):
        parse_distillation(text)


def test_unknown_losses_and_options_name_the_nearest() -> None:
    with pytest.raises(UsageError, match="Did you mean 'temporal'"):
        parse_distillation("temporl=0.5")
    with pytest.raises(UsageError, match="Did you mean 'temperature'"):
        parse_distillation("logits=0.5:temperatur=2")


def test_a_loss_named_twice_is_rejected() -> None:
    twice = (parse_distillation("logits=0.2"), parse_distillation("logits=0.3"))
    with pytest.raises(UsageError, match="twice"):
        resolve_label_weight(twice, None)


def test_the_same_loss_may_learn_from_two_teachers() -> None:
    two = (parse_distillation("logits=0.2"), parse_distillation("logits=0.3:teacher=b"))
    assert resolve_label_weight(two, None) == pytest.approx(0.5)
    assert [entry.signals for entry in two] == [("logits",), ("logits@b",)]
    mean = parse_distillation("logits=0.5:teacher=first+b")
    assert mean.signals == ("logits", "logits@b")


def test_only_logits_can_be_averaged_over_teachers() -> None:
    with pytest.raises(UsageError, match="temporal learns from one teacher"):
        parse_distillation("temporal=0.5:teacher=first+b")


def test_an_unknown_option_of_a_loss_is_answered_with_those_of_every_loss_too() -> None:
    with pytest.raises(UsageError, match=r"decay_epochs, .*, teacher, temperature, warm"):
        parse_distillation("logits=0.5:temprature=2")


def test_a_weight_warms_up_linearly() -> None:
    entry = parse_distillation("temporal=0.5:warm_up_epochs=4")
    assert [entry.weight_after(epochs) for epochs in (0, 1, 4, 9)] == [0, 0.125, 0.5, 0.5]
    assert parse_distillation("temporal=0.5").weight_after(0) == 0.5
    with pytest.raises(UsageError, match="warm_up_epochs must be from 0 to 1000000, got '-1'"):
        parse_distillation("temporal=0.5:warm_up_epochs=-1")


def test_a_weight_decays_linearly_after_it_has_warmed_up() -> None:
    entry = parse_distillation("temporal=0.5:decay_epochs=8")
    assert [entry.weight_after(epochs) for epochs in (0, 2, 8, 9)] == [0.5, 0.375, 0, 0]
    both = parse_distillation("temporal=0.5:warm_up_epochs=4,decay_epochs=8")
    assert [both.weight_after(epochs) for epochs in (0, 2, 4, 8)] == [0, 0.1875, 0.25, 0]
    with pytest.raises(UsageError, match="decay_epochs must be from 0 to 1000000, got 'x'"):
        parse_distillation("temporal=0.5:decay_epochs=x")


def test_a_loss_without_a_decay_is_written_as_before_there_was_one() -> None:
    assert "decay_epochs" not in distillation_as_json(parse_distillation("temporal=0.5"))
    entry = distillation_as_json(parse_distillation("temporal=0.5:decay_epochs=8"))
    assert entry["decay_epochs"] == 8


def test_a_students_options_are_checked() -> None:
    assert parse_student("tc-resnet") == ("tc-resnet", {})
    with pytest.raises(UsageError, match="unknown option of student tc-resnet 'width'"):
        parse_student("tc-resnet:width=2")


def test_an_unknown_recipe_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="Did you mean 'psla'"):
        find_recipe("pslaa", "tc-resnet")


def test_changes_show_both_values() -> None:
    changes = diff_settings({"seed": 1, "epochs": 2}, {"seed": 1, "epochs": 3})
    assert changes == ["epochs: the run has 2, requested 3"]


def test_changes_are_named_whatever_was_not_there() -> None:
    before = {"options": {}, "mask": None, "distill": [], "same": {}, "classes": ["a"]}
    now = {
        "options": {"width": "2"}, "mask": {"bands": 5}, "same": None, "classes": ["a", "b\x1b"],
        "distill": [{"name": "logits", "weight": 0.5, "options": {"temperature": "4"}}],
    }  # fmt: skip
    assert diff_settings(before, now) == [
        "classes: the run has a, requested a, b\\x1b",
        "options.width: the run has nothing, requested 2",
        "mask.bands: the run has nothing, requested 5",
        "distill.1 logits.name: the run has nothing, requested logits",
        "distill.1 logits.weight: the run has nothing, requested 0.5",
        "distill.1 logits.options.temperature: the run has nothing, requested 4",
    ]
    assert diff_settings(now, now) == []
    assert "options.width: the run has 2, requested nothing" in diff_settings(now, before)


def test_the_order_of_losses_is_a_setting() -> None:
    losses = [{"name": "logits", "weight": 1}, {"name": "temporal", "weight": 1}]
    assert diff_settings({"distill": losses}, {"distill": losses[::-1]})


def test_a_loss_of_the_first_teacher_is_reported_by_its_name() -> None:
    """Its empty name was shown as nothing, and so as equal to a loss that is not there."""
    loss = {"name": "logits", "teachers": [""]}
    assert "distill.1 logits.teachers: the run has first, requested nothing" in diff_settings(
        {"distill": [loss]}, {"distill": []}
    )
    assert "distill.1 logits.teachers: the run has first, requested first, b" in diff_settings(
        {"distill": [loss]}, {"distill": [loss | {"teachers": ["", "b"]}]}
    )
