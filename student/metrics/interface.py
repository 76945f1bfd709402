"""What a metric is: a function from predictions to a value, beside the classes it could not count.

Shape suffixes: N clips, C classes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from cache_schema.errors import RunError
from cache_schema.scores import normalized_ranks

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Predictions:
    """What a student or a teacher predicted for labelled clips, and what is right.

    Attributes
    ----------
    logits_NC : float64, shape (N, C)
        Before softmax or sigmoid.
    labels_NC : bool, shape (N, C)
        One class each in a single-label task.
    task : {"single", "multi"}
        Softmax over classes or a sigmoid for each.
    classes : tuple of str
        Names of the C classes.
    uncovered : tuple of str
        Classes of the task that a teacher has no logit for.
    clips_N : int64, shape (N,), or None
        Positions of the clips in the cache's clip table, where they are of one.

    Raises
    ------
    RunError
        If a logit is not finite: every ranking would place it somewhere.
    """

    logits_NC: NDArray[np.float64]
    labels_NC: NDArray[np.bool_]
    task: str
    classes: tuple[str, ...]
    uncovered: tuple[str, ...] = ()
    clips_N: NDArray[np.int64] | None = None

    @classmethod
    def of(
        cls,
        logits_NC: Tensor,
        labels_NC: Tensor,
        *,
        task: str,
        classes: tuple[str, ...],
        clips_N: NDArray[np.int64] | None = None,
    ) -> Predictions:
        """Take predictions from tensors of any device and number type."""
        labels = true_classes(labels_NC.cpu().numpy(), task)
        logits = logits_NC.detach().cpu().double().numpy()
        return cls(logits, labels, task, classes, clips_N=clips_N)

    def __post_init__(self) -> None:
        wrong = int((~np.isfinite(self.logits_NC)).any(1).sum())
        if wrong:
            raise RunError(
                f"{wrong} of {len(self.logits_NC)} clips have logits that are not finite and cannot "
                "be scored. A student's: train it with a lower --learning-rate. Cached ones: see "
                "inspect-cache CACHE",
                kind="not_finite",
            )

    def normalized_ranks(self) -> NDArray[np.float64]:
        """Rank each probability among all, (N, C), from 0 to 1: as softmax or sigmoid order them."""
        scores_NC = self.logits_NC
        if self.task == "single":
            scores_NC = scores_NC - np.logaddexp.reduce(scores_NC, axis=1, keepdims=True)
        return normalized_ranks(scores_NC)

    def log_probabilities(self) -> NDArray[np.float64]:
        """Logarithms of what softmax or sigmoid make of the logits, (N, C)."""
        if self.task == "multi":
            return -np.logaddexp(0.0, -self.logits_NC)
        return self.logits_NC - np.logaddexp.reduce(self.logits_NC, axis=1, keepdims=True)

    def losses(self) -> NDArray[np.float64]:
        """Label loss of each clip, (N,): what a training lowers, against the classes that are right.

        Cross-entropy in a single-label task (0 for a clip of none of the classes), in a multi-label
        one the mean binary cross-entropy of the classes.
        """
        found_NC = self.log_probabilities()
        if self.task == "single":
            return np.asarray(-np.where(self.labels_NC, found_NC, 0.0).sum(1))
        absent_NC = -np.logaddexp(0.0, self.logits_NC)
        return np.asarray(-np.where(self.labels_NC, found_NC, absent_NC).mean(1))

    def decisions(self) -> NDArray[np.bool_]:
        """Classes predicted for each clip, (N, C): the likeliest, or each of probability above 1/2."""
        if self.task == "multi":
            return self.logits_NC > 0
        predicted_NC = np.zeros(self.logits_NC.shape, np.bool_)
        predicted_NC[np.arange(len(predicted_NC)), self.logits_NC.argmax(1)] = True
        return predicted_NC

    def right(self) -> NDArray[np.bool_]:
        """Clips whose predicted classes are exactly the true ones, (N,)."""
        correct_N: NDArray[np.bool_] = (self.decisions() == self.labels_NC).all(1)
        return correct_N


def true_classes(labels_NC: NDArray[np.float32], task: str) -> NDArray[np.bool_]:
    """Return which classes count as right, (N, C), where labels may be shares of a mixture.

    In a single-label task the one with the largest share, in a multi-label one those with half or
    more.

    >>> true_classes(np.array([[0.4, 0.6, 0.0]], np.float32), "single").tolist()
    [[False, True, False]]
    """
    if task == "multi":
        return np.asarray(labels_NC >= 0.5)
    found_NC = np.zeros(labels_NC.shape, np.bool_)
    found_NC[np.arange(len(found_NC)), labels_NC.argmax(1)] = True
    return found_NC & (labels_NC > 0)


@dataclass(frozen=True, slots=True)
class MetricValue:
    """What a metric gives.

    Attributes
    ----------
    value : float
        NaN where it is not defined.
    left_out : tuple of int
        Positions of the classes that it could not count.
    lacking : str
        What the clips lack of those classes.
    """

    value: float
    left_out: tuple[int, ...] = ()
    lacking: str = "positives"


Metric = Callable[[Predictions], MetricValue]
"""What a metric is: more is better, and NaN stands for no value.

It is a share, from 0 to 1 for all right, and shown as a percentage; or :func:`unbounded`.
"""


def for_task(task: Literal["single", "multi"]) -> Callable[[Metric], Metric]:
    """Declare that a metric belongs to tasks of one kind; without it, to both."""

    def declare(metric: Metric) -> Metric:
        vars(metric)["tasks"] = (task,)
        return metric

    return declare


def unbounded(metric: Metric) -> Metric:
    """Declare that a metric is no share, as the negative of a loss: it is shown as it is."""
    vars(metric)["is_share"] = False
    return metric


def tasks_of(metric: Metric) -> tuple[str, ...]:
    """Kinds of task that a metric belongs to."""
    tasks: tuple[str, ...] = getattr(metric, "tasks", ("single", "multi"))
    return tasks


def class_mean(values_C: NDArray[np.float64], lacking: str = "positives") -> MetricValue:
    """Average without weights over the classes that have a value; NaN marks those without."""
    missing_C = np.isnan(values_C)
    value = float("nan") if missing_C.all() else float(values_C[~missing_C].mean())
    return MetricValue(value, tuple(np.flatnonzero(missing_C).tolist()), lacking)
