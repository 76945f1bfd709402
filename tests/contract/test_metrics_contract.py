"""Every metric keeps the promises of a metric, in every task that has it."""

from __future__ import annotations

import numpy as np
import pytest

from student.metrics import MAIN_METRIC, METRICS, measure, metrics_of
from student.metrics.interface import Answers

CLASSES = ("a", "b", "c", "d")
UNBOUNDED = {"d-prime"}
OVER_CLASSES = {"mAP", "macro-auprc-sonyc", "roc-auc", "d-prime"}

every_metric = pytest.mark.parametrize(
    ("name", "task"), [(name, task) for task in MAIN_METRIC for name in metrics_of(task)]
)


def labels_of(task: str, clips: int = 60) -> np.ndarray:
    random = np.random.default_rng(3)
    if task == "single":
        return np.eye(len(CLASSES), dtype=bool)[random.integers(0, len(CLASSES), clips)]
    return random.random((clips, len(CLASSES))) < 0.3


def guesses(task: str, labels: np.ndarray, knowledge: float) -> Answers:
    """Noise in [-1, 1] and so much of the truth: beyond 1 all is right, below -1 all is wrong."""
    noise = np.random.default_rng(4).uniform(-1, 1, labels.shape)
    return Answers(noise + knowledge * (2.0 * labels - 1), labels, task, CLASSES)


def test_every_metric_belongs_to_a_task() -> None:
    assert {name for task in MAIN_METRIC for name in metrics_of(task)} == set(METRICS)


@every_metric
@pytest.mark.parametrize("knowledge", [-9, -0.3, 0, 0.3, 9])
def test_it_lies_in_its_range(name: str, task: str, knowledge: float) -> None:
    value = measure(guesses(task, labels_of(task), knowledge), name).value
    if name not in UNBOUNDED:
        assert 0 <= value <= 1


@every_metric
def test_more_knowledge_scores_higher_up_to_perfection(name: str, task: str) -> None:
    labels = labels_of(task)
    values = [measure(guesses(task, labels, k), name).value for k in (-9, 0, 0.3, 9)]
    assert values == sorted(values)
    assert values[0] < values[1] < values[2]
    assert values[3] == (np.inf if name in UNBOUNDED else pytest.approx(1.0, abs=1e-6))


@every_metric
def test_the_order_of_clips_changes_nothing(name: str, task: str) -> None:
    known = guesses(task, labels_of(task), 0.3)
    order = np.random.default_rng(5).permutation(len(known.labels_NC))
    shuffled = Answers(known.logits_NC[order].round(1), known.labels_NC[order], task, CLASSES)
    straight = Answers(known.logits_NC.round(1), known.labels_NC, task, CLASSES)
    assert measure(shuffled, name) == measure(straight, name)


@every_metric
def test_classes_without_positives_are_named_and_spoil_nothing(name: str, task: str) -> None:
    labels = labels_of(task)
    labels = labels[~labels[:, 1]] if task == "single" else labels & [True, False, True, True]
    found = measure(guesses(task, labels, 0.3), name)
    assert np.isfinite(found.value)
    assert found.left_out == (("b",) if name in OVER_CLASSES else ())


@every_metric
def test_without_clips_there_is_no_value(name: str, task: str) -> None:
    found = measure(guesses(task, labels_of(task, 0), 0), name)
    assert (found.clips, found.defined, found.left_out) == (0, False, ())


@pytest.mark.parametrize("name", metrics_of("multi"))
def test_without_any_positive_there_is_no_value(name: str) -> None:
    found = measure(guesses("multi", np.zeros((5, len(CLASSES)), bool), 0), name)
    assert (found.clips, found.defined) == (5, False)
    assert found.left_out == (CLASSES if name in OVER_CLASSES else ())
