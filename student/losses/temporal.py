"""Temporal knowledge distillation: the student learns *when* the teacher listened.

Shape suffixes: B clips in batch, T student context frames, U teacher frames, D context features.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from cache_schema.errors import UsageError
from student.batch import Batch
from student.losses.interface import DistillationLoss, LossSetup
from student.models.interface import StudentOutput
from student.models.layers import frame_mask

SIGNAL = "temporal_attention"
SMALLEST_TARGET = 1e-6


class TemporalLoss(DistillationLoss):
    """Pull the student's attention over time towards the teacher's (Choi et al., ICASSP 2022).

    The student's attention is ``softmax over valid frames of q . c'_t`` with c' its context
    representation and q a trainable vector that is dropped after training. The teacher's is the
    cached rollout, interpolated linearly to the student's frames and renormalised to sum to 1. The
    loss is their Kullback-Leibler divergence in nats, averaged over clips.

    Parameters
    ----------
    setup : LossSetup
        Facts of the student and the cache.
    direction : {"forward", "reverse"}
        ``forward`` is KL(teacher || student), the usual reading of a distillation target and the
        default; the paper does not state one. ``reverse`` is KL(student || teacher), the teacher
        floored at 1e-6.
    align : {"time", "ends"}
        ``time`` (default) compares frames at the same time, by hop and first frame of both; beyond
        the teacher's ends its outermost frame is held. ``ends`` lays first on first and last on last
        frame, the paper's plain interpolation to the student's length.
    scale : bool
        Divide scores by the root of D. Off by default: the paper draws the bare product.
    source : {"auxiliary", "native"}
        ``auxiliary`` (default, any student) is the query vector above, as drawn in the paper.
        ``native`` acts on the attention that the student itself pools with.

    Raises
    ------
    UsageError
        If `source` is ``native`` and the student has no attention, or `align` is ``time`` and the
        cache does not say where the teacher's frames lie.

    Examples
    --------
    With q = 0 the student is uniform; against (1/4, 3/4) that is 1/4 ln 1/2 + 3/4 ln 3/2 = 0.1308.

    >>> _ = torch.manual_seed(0)
    >>> uniform, teacher = torch.zeros(1, 2), torch.tensor([[0.25, 0.75]])
    >>> valid = torch.ones(1, 2, dtype=torch.bool)
    >>> round(attention_divergence(uniform, teacher, valid, direction="forward").item(), 4)
    0.1308
    """

    signals = (SIGNAL,)

    def __init__(
        self,
        setup: LossSetup,
        *,
        direction: Literal["forward", "reverse"] = "forward",
        align: Literal["time", "ends"] = "time",
        scale: bool = False,
        source: Literal["auxiliary", "native"] = "auxiliary",
    ) -> None:
        super().__init__()
        if source == "native" and not setup.native_attention:
            raise UsageError(
                f"loss temporal with source=native needs a student with an attention of its own; "
                f"{setup.student} has none. Use temporal:source=auxiliary.",
                kind="options",
            )
        if align == "time" and SIGNAL not in setup.grids:
            raise UsageError(
                f"loss temporal with align=time needs the hop of {SIGNAL}, which this cache does not "
                "state. Use temporal:align=ends.",
                kind="options",
            )
        self.direction, self.align, self.source = direction, align, source
        self.factor = setup.context_dim**-0.5 if scale else 1.0
        self.teacher_grid = setup.grids.get(SIGNAL)
        self.query_D = None
        if source == "auxiliary":
            # Normal with deviation 1/sqrt(D): scores start as large as one feature of the context.
            start_D = torch.randn(setup.context_dim) * setup.context_dim**-0.5
            self.query_D = nn.Parameter(start_D)

    def forward(self, output: StudentOutput, batch: Batch) -> Tensor:
        """Divergence between cached and student attention, averaged over clips."""
        frames = output.context_BTD.shape[1]
        valid_BT = frame_mask(output.context_lengths_B, frames)
        positions_BT = self._positions(output, batch.signal_lengths[SIGNAL])
        teacher_BT = interpolate(batch.signals[SIGNAL], batch.signal_lengths[SIGNAL], positions_BT)
        return attention_divergence(
            self.scores(output), teacher_BT, valid_BT, direction=self.direction
        )

    def scores(self, output: StudentOutput) -> Tensor:
        """Student attention before softmax, shape (B, T); padding is arbitrary."""
        if self.query_D is not None:
            return output.context_BTD.float() @ self.query_D * self.factor
        if output.attention_BT is None:
            raise UsageError("the student gave no attention of its own", kind="options")
        return output.attention_BT.float() * self.factor

    def _positions(self, output: StudentOutput, teacher_B: Tensor) -> Tensor:
        """Teacher frame, fractional, that each student frame meets, shape (B, T)."""
        frames = output.context_BTD.shape[1]
        frame_T = torch.arange(frames, device=teacher_B.device, dtype=torch.float32)
        if self.align == "ends" or self.teacher_grid is None:
            steps_B = (teacher_B - 1) / (output.context_lengths_B - 1).clamp_min(1)
            return frame_T * steps_B[:, None]
        time_BT = output.first_frame_s_B.float()[:, None] + frame_T * output.hop_s
        return (time_BT - self.teacher_grid.first_frame_s) / self.teacher_grid.hop_s


def interpolate(teacher_BU: Tensor, lengths_B: Tensor, positions_BT: Tensor) -> Tensor:
    """Values of each row at fractional positions; beyond its ends the outermost value is held.

    >>> row = torch.tensor([[1.0, 3.0, 9.0]])
    >>> interpolate(row, torch.tensor([2]), torch.tensor([[-1.0, 0.5, 7.0]])).tolist()
    [[1.0, 2.0, 3.0]]
    """
    last_B1 = (lengths_B - 1)[:, None]
    inside_BT = torch.minimum(positions_BT.clamp_min(0), last_B1.to(positions_BT.dtype))
    below_BT = inside_BT.floor().long()
    above_BT = torch.minimum(below_BT + 1, last_B1)
    share_BT = inside_BT - below_BT
    lower_BT, upper_BT = teacher_BU.gather(1, below_BT), teacher_BU.gather(1, above_BT)
    return lower_BT + (upper_BT - lower_BT) * share_BT


def attention_divergence(
    scores_BT: Tensor,
    teacher_BT: Tensor,
    valid_BT: Tensor,
    *,
    direction: Literal["forward", "reverse"],
) -> Tensor:
    """KL divergence between the teacher's weights and the softmax of scores, over valid frames.

    Parameters
    ----------
    scores_BT : Tensor, float, shape (B, T)
        Student scores; gradients flow through these.
    teacher_BT : Tensor, float, shape (B, T)
        Teacher weights, not negative; renormalised here over valid frames. A row whose weights are
        all zero has nothing to teach and adds 0.
    valid_BT : Tensor, bool, shape (B, T)
        Frames inside the clip.
    direction : {"forward", "reverse"}
        KL(teacher || student) or KL(student || teacher).

    Returns
    -------
    Tensor, scalar
        In nats, averaged over the rows.
    """
    masked_BT = scores_BT.masked_fill(~valid_BT, float("-inf"))
    student_BT = torch.log_softmax(masked_BT, 1).masked_fill(~valid_BT, 0.0)
    weights_BT = teacher_BT * valid_BT
    mass_B1 = weights_BT.sum(1, keepdim=True)
    target_BT = torch.where(mass_B1 > 0, weights_BT / mass_B1, 0.0)
    if direction == "forward":
        terms_BT = torch.xlogy(target_BT, target_BT) - target_BT * student_BT
    else:
        floored_BT = target_BT.clamp_min(SMALLEST_TARGET).log()
        terms_BT = student_BT.exp() * (student_BT - floored_BT) * (mass_B1 > 0)
    return (terms_BT * valid_BT).sum(1).mean()
