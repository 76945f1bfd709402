"""Scores against scikit-learn."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, average_precision_score

from student.metrics import score

CLASSES = ("a", "b", "c", "d")


def test_accuracy_equals_sklearns() -> None:
    generator = np.random.default_rng(0)
    logits, target = generator.normal(size=(200, 4)), generator.integers(0, 4, 200)
    found = score(
        torch.tensor(logits), torch.eye(4)[torch.tensor(target)], task="single", classes=CLASSES
    )
    assert found.metric == "accuracy"
    assert found.clips == 200
    assert found.value == pytest.approx(accuracy_score(target, logits.argmax(1)))


def test_macro_average_precision_equals_sklearns() -> None:
    generator = np.random.default_rng(1)
    logits, labels = generator.normal(size=(150, 4)), generator.random((150, 4)) < 0.3
    logits[:40] = logits[0]  # ties
    found = score(torch.tensor(logits), torch.tensor(labels), task="multi", classes=CLASSES)
    expected = average_precision_score(labels, 1 / (1 + np.exp(-logits)), average="macro")
    assert found.value == pytest.approx(expected, abs=1e-6)


def test_classes_without_positives_are_left_out_and_named() -> None:
    logits = torch.tensor([[2.0, 0.0, 1.0, 0.0], [-1.0, 0.0, 3.0, 0.0]])
    labels = torch.tensor([[1, 0, 0, 0], [0, 0, 1, 0]])
    found = score(logits, labels, task="multi", classes=CLASSES)
    assert found.left_out == ("b", "d")
    assert found.value == pytest.approx(1.0)
    assert "left out, no positives: b, d" in str(found)


def test_no_labelled_clip_gives_no_score() -> None:
    found = score(torch.zeros(0, 4), torch.zeros(0, 4), task="single", classes=CLASSES)
    assert math.isnan(found.value)
    assert found.clips == 0
