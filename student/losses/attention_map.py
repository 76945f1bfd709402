"""Attention-map distillation: the student learns which frames the teacher relates to which.

Shape suffixes: B clips in batch, T student and U teacher frames, K and J frames of the coarser of the
two as queries and keys, D context features, W width of the projections.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from cache_schema.errors import UsageError
from cache_schema.signal_names import ATTENTION_MAP
from student.losses.frames import (
    SharedFrames,
    log_distribution,
    share_frames,
    stated_grid,
    student_frames,
    teacher_frames,
)
from student.losses.interface import DistillationLoss, LossSetup
from student.losses.precision import full_precision
from student.models.interface import StudentOutput
from student.stream.batch import Batch

MAX_WIDTH = 4096


class AttentionMapLoss(DistillationLoss):
    """Pull a frame-to-frame map of the student towards the teacher's cached attention map.

    The student's row of frame t is ``softmax over u of (Q c'_t) . (K c'_u) / sqrt(width)`` with c' its
    context representation and Q, K trainable projections that are dropped after training. The loss
    is KL(teacher || student) of each row in nats, averaged over the rows of a clip, then over clips.
    This is a construction of this project, `temporal` carried over from one query to all frames; no
    paper gives it or a weight for it.

    Both sides are first brought to the coarser of their frame rates: the student's c' is averaged,
    a map's queries are averaged and its keys summed (see `student.losses.frames.share_frames`).
    Rows are renormalised over the frames that both have and the student could see; a row without
    weight there does not count, and a clip without rows adds 0.

    Parameters
    ----------
    setup : LossSetup
        Facts of the student and the cache.
    width : int
        Outputs of each projection.

    Raises
    ------
    UsageError
        If `width` is below 1, or the cache does not record where the teacher's frames lie.
    """

    signals = (ATTENTION_MAP,)
    supports = ("masking",)

    def __init__(self, setup: LossSetup, *, width: int = 32) -> None:
        super().__init__()
        if not 1 <= width <= MAX_WIDTH:
            raise UsageError(
                f"option width of loss attention-map must be 1 to {MAX_WIDTH}, got {width}. "
                "For example: --distill attention-map=0.25:width=32",
                kind="options",
            )
        advice = f"Make a cache that does: precompute-teacher ... --signal {ATTENTION_MAP}"
        self.teacher_grid = stated_grid(setup, "attention-map", ATTENTION_MAP, advice)
        self.query = nn.Linear(setup.context_dim, width, bias=False)
        self.key = nn.Linear(setup.context_dim, width, bias=False)

    @full_precision
    def forward(self, output: StudentOutput, batch: Batch) -> Tensor:
        """Divergence between the rows of both maps, averaged over rows, then clips."""
        teacher = teacher_frames(batch, ATTENTION_MAP, self.teacher_grid)
        shared = share_frames(student_frames(output, batch), teacher)
        scores_BKJ = self._scores(shared.of_student(output.context_BTD))
        target_BKJ = coarse_map(batch.signals[ATTENTION_MAP], shared)
        return map_divergence(scores_BKJ, target_BKJ, shared.kept()[:, None, :])

    def _scores(self, context_BKD: Tensor) -> Tensor:
        """Student's map before the softmax over keys, (B, K, J)."""
        query_BKW: Tensor = self.query(context_BKD)
        key_BJW: Tensor = self.key(context_BKD)
        return query_BKW @ key_BJW.mT / math.sqrt(query_BKW.shape[2])


def coarse_map(map_BUU: Tensor, shared: SharedFrames) -> Tensor:
    """Bring a map to coarse frames, (B, K, J): queries averaged, keys summed, as in the cache.

    >>> pairs = torch.tensor([[[0.5, 0.5, 0.0, 0.0], [0.0, 0.0, 0.5, 0.5]]])
    >>> coarse_map(torch.eye(4)[None], SharedFrames(pairs, student_is_finer=False)).tolist()
    [[[1.0, 0.0], [0.0, 1.0]]]
    """
    queries_BKU = shared.of_teacher(map_BUU)
    if shared.student_is_finer:
        return queries_BKU
    belongs_BJU = (shared.weights_BKN > 0).float()
    return queries_BKU @ belongs_BJU.mT


def map_divergence(scores_BKJ: Tensor, target_BKJ: Tensor, keys_B1J: Tensor) -> Tensor:
    """KL between the rows of a map and the softmax of scores, over the keys that count.

    Parameters
    ----------
    scores_BKJ : Tensor, float
        Student scores; gradients flow through these.
    target_BKJ : Tensor, float
        Teacher's map, not negative; renormalised here. A row without weight on a key that counts is
        left out.
    keys_B1J : Tensor, bool
        Keys that count.

    Returns
    -------
    Tensor, scalar
        In nats, averaged over the rows of a clip, then over clips.

    Examples
    --------
    A uniform student against rows (1, 0) and (1/2, 1/2): (ln 2 + 0) / 2.

    >>> target = torch.tensor([[[1.0, 0.0], [0.5, 0.5]]])
    >>> keys = torch.ones(1, 1, 2, dtype=torch.bool)
    >>> round(map_divergence(torch.zeros(1, 2, 2), target, keys).item(), 4)
    0.3466
    """
    weights_BKJ = target_BKJ * keys_B1J
    mass_BK1 = weights_BKJ.sum(2, keepdim=True)
    target_BKJ = torch.where(mass_BK1 > 0, weights_BKJ / mass_BK1, 0.0)
    log_student_BKJ = log_distribution(scores_BKJ, keys_B1J)
    row_BK = (torch.xlogy(target_BKJ, target_BKJ) - target_BKJ * log_student_BKJ).sum(2)
    rows_B = (mass_BK1 > 0).sum((1, 2)).clamp_min(1)
    return (row_BK.sum(1) / rows_B).mean()
