"""Settings: weights, refusals, and examples in docstrings."""

from __future__ import annotations

import doctest
import importlib

import numpy as np
import pytest
import torch

from cache_schema.errors import UsageError
from student.settings import changed_settings, parse_distillation, resolve_label_weight
from student.spec_augment import spec_augment


def test_the_label_weight_is_what_the_others_leave() -> None:
    distill = (parse_distillation("temporal=0.25"), parse_distillation("logits=0.5"))
    assert resolve_label_weight(distill, None) == pytest.approx(0.25)
    assert resolve_label_weight((), None) == 1
    assert resolve_label_weight(distill, 1.0) == 1


def test_weights_above_one_are_refused_with_each_of_them() -> None:
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


def test_a_loss_named_twice_is_refused() -> None:
    twice = (parse_distillation("logits=0.2"), parse_distillation("logits=0.3"))
    with pytest.raises(UsageError, match="twice"):
        resolve_label_weight(twice, None)


def test_changes_show_both_values() -> None:
    changes = changed_settings({"seed": 1, "epochs": 2}, {"seed": 1, "epochs": 3})
    assert changes == ["epochs: the run has 2, asked for 3"]


def test_spec_augment_keeps_padding_and_most_of_the_clip() -> None:
    features = torch.randn(3, 40, 20)
    lengths = torch.tensor([40, 1, 12])
    for row, length in enumerate(lengths.tolist()):
        features[row, length:] = 0
    before = features.clone()
    augmented = spec_augment(features, lengths, np.random.default_rng(0))
    assert torch.equal(features, before)
    assert torch.equal(augmented[1], features[1]) or lengths[1] == 1
    changed = (augmented != features).float().mean((1, 2))
    assert (changed < 0.75).all()
    for row, length in enumerate(lengths.tolist()):
        assert (augmented[row, length:] == 0).all()


MODULES = [
    "student.losses.temporal",
    "student.losses.logits",
    "student.objective",
    "student.settings",
]


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples_hold(name: str) -> None:
    found = doctest.testmod(importlib.import_module(name))
    assert found.attempted > 0
    assert found.failed == 0
