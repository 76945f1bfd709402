"""What every metric must do, in every task that it belongs to."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from cache_schema.plugins import plugin_names
from student.metrics import MAIN_METRIC, METRICS, measure, metrics_of
from student.plugin_checks import CLASSES, METRIC_CHECKS, guesses, metric_labels


@pytest.mark.parametrize("check", METRIC_CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", plugin_names(METRICS, "metric"))
def test_every_metric(name: str, check: Callable[[str], None]) -> None:
    check(name)


def test_every_metric_belongs_to_a_task() -> None:
    found = {name for task in MAIN_METRIC for name in metrics_of(task)}
    assert found == set(plugin_names(METRICS, "metric"))


@pytest.mark.parametrize("name", ["mAP", "macro-auprc-sonyc", "roc-auc", "d-prime"])
def test_a_mean_over_classes_names_what_it_leaves_out(name: str) -> None:
    labels = metric_labels("multi") & np.array([True, False, True, True])
    assert measure(guesses("multi", labels, 0.3), name).left_out == ("b",)
    none = guesses("multi", np.zeros((5, len(CLASSES)), bool), 0)
    assert measure(none, name).left_out == CLASSES


@pytest.mark.parametrize("name", ["accuracy", "micro-ap", "micro-auprc-sonyc"])
def test_a_pooled_metric_leaves_no_class_out(name: str) -> None:
    labels = metric_labels("single")
    labels = labels[~labels[:, 1]]
    assert measure(guesses("single", labels, 0.3), name).left_out == ()
