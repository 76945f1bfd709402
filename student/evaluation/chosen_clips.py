"""Which clips a report shows: those that a student is most wrong on, and most unlike its teacher on.

Shape suffixes: N clips, C classes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from student.metrics.interface import Predictions


def most_wrong(student: Predictions, most: int) -> list[int]:
    """Rows of the wrong answers of highest label loss, the worst first."""
    losses_N = np.where(student.right(), -np.inf, student.losses())
    order = np.argsort(-losses_N, kind="stable")[:most]
    return [int(row) for row in order if np.isfinite(losses_N[row])]


def most_unlike(student: Predictions, teacher: Predictions, most: int) -> list[tuple[int, float]]:
    """Rows of the student's answers that are farthest from the teacher's, with the divergence.

    The Kullback-Leibler divergence of the student's answer from the teacher's, in nats, over the
    classes that both have; in a multi-label task the mean over these classes.
    """
    rows, theirs = shared_rows(student, teacher)
    columns = [student.classes.index(name) for name in teacher.classes]
    ours = Predictions(
        student.logits_NC[rows][:, columns],
        student.labels_NC[rows][:, columns],
        student.task,
        teacher.classes,
    )
    taught = Predictions(
        teacher.logits_NC[theirs], teacher.labels_NC[theirs], teacher.task, teacher.classes
    )
    apart_N = divergence(taught, ours)
    order = np.argsort(-apart_N, kind="stable")[:most]
    return [(int(rows[row]), float(apart_N[row])) for row in order]


def divergence(teacher: Predictions, student: Predictions) -> NDArray[np.float64]:
    """How far each answer is from the teacher's, (N,), in nats; both have the same clips and classes."""
    p_NC, log_p_NC = np.exp(teacher.log_probabilities()), teacher.log_probabilities()
    log_q_NC = student.log_probabilities()
    apart_NC = p_NC * (log_p_NC - log_q_NC)
    if teacher.task == "single":
        return np.asarray(apart_NC.sum(1))
    absent_p_NC = -np.logaddexp(0.0, teacher.logits_NC)
    absent_q_NC = -np.logaddexp(0.0, student.logits_NC)
    return np.asarray((apart_NC + (1 - p_NC) * (absent_p_NC - absent_q_NC)).mean(1))


def shared_rows(
    one: Predictions, other: Predictions
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of both that are the same clips: each may lack some that the other has."""
    assert one.clips_N is not None
    assert other.clips_N is not None
    _, ours, theirs = np.intersect1d(one.clips_N, other.clips_N, return_indices=True)
    return ours, theirs
