"""Metrics by name; one file and one line here add another.

Three average precisions look alike and are not: ``mAP`` is the mean over classes and ``micro-ap`` the
pooled one, both step-wise as in scikit-learn; ``micro-auprc-sonyc`` and ``macro-auprc-sonyc`` join the
points of the curve by lines, as the SONYC challenge does.

Shape suffixes: N clips, C classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from math import isinf, isnan
from numbers import Real

import numpy as np

from cache_schema.errors import UsageError
from cache_schema.plugins import load_plugin, plugin_names, plugin_origin
from cache_schema.reader import Cache
from student.metrics.interface import Metric, MetricValue, Predictions, tasks_of
from student.stream.class_map import Names

METRICS: dict[str, str] = {
    "accuracy": "student.metrics.accuracy:accuracy",
    "mAP": "student.metrics.average_precision:mean_average_precision",
    "micro-ap": "student.metrics.average_precision:micro_average_precision",
    "micro-auprc-sonyc": "student.metrics.sonyc:micro_auprc",
    "macro-auprc-sonyc": "student.metrics.sonyc:macro_auprc",
    "roc-auc": "student.metrics.roc:mean_roc_auc",
    "d-prime": "student.metrics.roc:mean_d_prime",
}
_TRIED_CLIPS_A_CLASS = 3
MAIN_METRIC = {"single": "accuracy", "multi": "mAP"}
"""What picks the best epoch of a task unless something else is given."""


@dataclass(frozen=True, slots=True)
class Score:
    """A metric's value with what it was computed over.

    Attributes
    ----------
    metric : str
        Key of ``METRICS``.
    value : float
        More is better. NaN when there was nothing to compute it from; ``d-prime`` is infinite for a
        perfect ranking.
    clips : int
        Labelled clips scored.
    left_out : tuple of str
        Classes that a mean over classes cannot count.
    lacking : str
        What the clips lack of those.
    covered : int
        Classes scored.
    uncovered : tuple of str
        Classes that a teacher has no logit for.
    """

    metric: str
    value: float
    clips: int
    left_out: tuple[str, ...] = ()
    lacking: str = "positives"
    covered: int = 0
    uncovered: tuple[str, ...] = ()

    @property
    def defined(self) -> bool:
        """Whether there is a value."""
        return not isnan(self.value)

    @property
    def json_value(self) -> float | str | None:
        """Value as JSON can hold it: None where there is none, ``"inf"`` or ``"-inf"``."""
        if not self.defined:
            return None
        return str(self.value) if isinf(self.value) else self.value

    @property
    def remarks(self) -> list[str]:
        """What to know beside the value."""
        found = []
        if self.left_out:
            found.append(f"left out, no {self.lacking}: {', '.join(self.left_out)}")
        if self.uncovered:
            classes = self.covered + len(self.uncovered)
            names = ", ".join(self.uncovered)
            found.append(f"covers {self.covered} of {classes} classes, not: {names}")
        return found

    def __str__(self) -> str:
        text = f"{self.metric} {self.value:.4f} on {self.clips} clips"
        return f"{text} ({'; '.join(self.remarks)})" if self.remarks else text


def load_metric(name: str) -> Metric:
    """Look a metric up by name."""
    found: Metric = load_plugin(METRICS, name, "metric")
    return found


def is_share(name: str) -> bool:
    """Whether a metric goes from 0 to 1, so that it is shown as a percentage."""
    return bool(getattr(load_metric(name), "is_share", True))


def metrics_of(task: str) -> list[str]:
    """Names of the metrics that a task has, its main one first."""
    names = [n for n in plugin_names(METRICS, "metric") if task in tasks_of(load_metric(n))]
    return sorted(names, key=lambda name: name != MAIN_METRIC[task])


def check_metric(metric: str, task: str) -> None:
    """Reject a metric that a task does not have.

    Raises
    ------
    UsageError
        Listing those that it has.
    """
    tasks = tasks_of(load_metric(metric))
    if task not in tasks:
        raise UsageError(
            f"{metric} belongs to {'- and '.join(tasks)}-label tasks, this one is {task}-label; choose "
            f"among: --metric {', '.join(metrics_of(task))}",
            kind="metric",
        )


def measure(predictions: Predictions, metric: str | None = None) -> Score:
    """Score predictions; None is the task's main metric.

    Raises
    ------
    UsageError
        If there is no such metric, or the task does not have it; or if another distribution's fails or
        gives something else than a value.
    """
    name = metric or MAIN_METRIC[predictions.task]
    check_metric(name, predictions.task)
    clips = len(predictions.labels_NC)
    found = _value(name, predictions) if clips else MetricValue(float("nan"))
    return Score(
        metric=name,
        value=float(found.value),
        clips=clips,
        left_out=tuple(predictions.classes[c] for c in found.left_out),
        lacking=found.lacking,
        covered=len(predictions.classes),
        uncovered=predictions.uncovered,
    )


def _value(name: str, predictions: Predictions) -> MetricValue:
    function = load_metric(name)
    origin = plugin_origin(METRICS, name, "metric")
    if not origin:
        return function(predictions)
    try:
        found = function(predictions)
        problem = "" if _is_value(found) else f"gave {found!r:.80} and no MetricValue of a number"
    except Exception as error:  # whatever another's code does
        problem = f"failed with {type(error).__name__}: {error}"
    if problem:
        raise UsageError(
            f"metric {name!r} of {origin} {problem}. Every metric of a task is computed with each "
            "score: repair or uninstall that distribution, then repeat the command",
            kind="plugin",
        )
    return found


def _is_value(found: object) -> bool:
    return isinstance(found, MetricValue) and isinstance(found.value, Real)


@cache
def check_metrics(task: str, classes: tuple[str, ...]) -> None:
    """Try the metrics of other distributions, before a training at whose end each is computed.

    Raises
    ------
    UsageError
        If one fails.
    """
    others = [name for name in metrics_of(task) if plugin_origin(METRICS, name, "metric")]
    logits_NC = np.tile(np.eye(len(classes)), (_TRIED_CLIPS_A_CLASS, 1)) - 0.5
    clips_N = np.arange(len(logits_NC))
    for name in others:
        measure(Predictions(logits_NC, logits_NC > 0, task, classes, clips_N=clips_N), name)


def measure_all(predictions: Predictions) -> dict[str, Score]:
    """Score predictions by every metric of their task, its main one first."""
    return {name: measure(predictions, name) for name in metrics_of(predictions.task)}


def teacher_score(
    cache: Cache,
    split: str,
    *,
    metric: str | None = None,
    class_map: Names | None = None,
    teacher: str = "",
) -> Score | None:
    """Score the cached logits of view 0; None where there are none for the cache's classes.

    See `teacher_predictions` for `class_map`, `teacher` and a teacher that covers some classes only.
    """
    # Imported here: torch, which the names of metrics need not wait for.
    from student.metrics.teacher import teacher_predictions

    predictions = teacher_predictions(cache, split, class_map, teacher)
    return None if predictions is None else measure(predictions, metric)
