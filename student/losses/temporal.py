"""Temporal knowledge distillation: the student learns *when* the teacher attended.

Shape suffixes: B clips in batch, H heads, T student context frames, U teacher frames, D context
features.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

from cache_schema.errors import UsageError
from cache_schema.signal_names import TEMPORAL_ATTENTION
from student.losses.frames import (
    ROUNDING,
    frame_times,
    interpolate,
    log_distribution,
    stated_grid,
    visible_frames,
)
from student.losses.interface import DistillationLoss, LossSetup
from student.losses.precision import full_precision
from student.models.interface import StudentOutput
from student.models.layers import frame_mask
from student.stream.batch import Batch

MIN_TARGET = 1e-6
MAX_SHARPEN = 10.0


class TemporalLoss(DistillationLoss):
    """Pull the student's attention over time towards the teacher's (Choi et al., ICASSP 2022).

    The student's attention is ``softmax over valid frames of q . c'_t`` with c' its context
    representation and q a trainable vector that is dropped after training. The teacher's is the
    cached rollout, interpolated linearly to the student's frames and renormalised to sum to 1;
    where those are further apart than the teacher's, its mean over each of them, so that every
    teacher frame counts. The loss is their Kullback-Leibler divergence in nats, averaged over
    clips. Frames that augmentation hid from the student are left out and both sides renormalised
    over the others; a clip without a visible frame, or without teacher weight on one, adds 0. The
    paper's weights are 0.1, 0.25 and 0.5, with the rest of 1 on the label loss.

    Parameters
    ----------
    setup : LossSetup
        Facts of the student and the cache.
    direction : {"forward", "reverse"}
        ``forward`` is KL(teacher || student), the usual reading of a distillation target and the
        default; the paper does not state one. ``reverse`` is KL(student || teacher), the teacher
        floored at 1e-6.
    align : {"time", "edges", "ends"}
        ``time`` (default) compares frames at the same time, by hop and first frame of both; beyond
        the teacher's ends its outermost frame is held. The others stretch the teacher's curve to the
        student's length whatever their times; the paper does not specify which of them it used.
        ``edges`` lays the outer edges of both on each other, reading at (i + 1/2) U / T - 1/2, as
        ``torch.nn.functional.interpolate(mode="linear")`` does by default. ``ends`` lays the
        centres of first and last frame on each other (``align_corners=True``); from 49 to 25 frames
        that takes every second one and no other.
    sharpen : float
        Power G that the cached attention is raised to over the valid frames of a clip before it is
        aligned, and renormalised. The residual half of a rollout makes it nearly flat; G above 1
        brings its contrast back. 1 leaves it as it is, which is the paper's.
    scale : bool
        Divide scores by the root of D. Off by default: the paper draws the bare product.
    source : {"auxiliary", "native", "evidence"}
        ``auxiliary`` (default, any student) is the query vector above, as drawn in the paper.
        ``native`` acts on the attention that the student itself pools with; of several heads on the
        mean of their weights. The paper does not specify which its attention-based students used.
        ``evidence`` is for a student that predicts from a mean over frames: a softmax over the terms
        of its winning logit, which is where it finds its evidence. It trains no vector beside it.
    renormalise : bool
        Whether the interpolated weights are divided by their sum m over the visible frames, about
        the teacher's hop over the student's; the paper leaves it open. Off, m multiplies the
        gradient of its clip and the least value is m ln m (``reverse``: same gradient, -ln m).

    Raises
    ------
    UsageError
        If `source` is ``native`` and the student has no attention, or ``evidence`` and it takes no
        mean, or either is and `scale` is on, or `align` is ``time`` and the cache does not record
        where the teacher's frames lie, or `sharpen` is not above 0 and at most 10.

    Examples
    --------
    With q = 0 the student is uniform; against (1/4, 3/4) that is 1/4 ln 1/2 + 3/4 ln 3/2 = 0.1308.

    >>> uniform, teacher = torch.full((1, 2), 0.5).log(), torch.tensor([[0.25, 0.75]])
    >>> round(attention_divergence(uniform, teacher, teacher > 0, direction="forward").item(), 4)
    0.1308
    """

    signals = (TEMPORAL_ATTENTION,)
    supports = ("masking",)

    def __init__(
        self,
        setup: LossSetup,
        *,
        direction: Literal["forward", "reverse"] = "forward",
        align: Literal["time", "edges", "ends"] = "time",
        sharpen: float = 1.0,
        scale: bool = False,
        source: Literal["auxiliary", "native", "evidence"] = "auxiliary",
        renormalise: bool = True,
    ) -> None:
        super().__init__()
        if source != "auxiliary":
            _check_source(setup, source, scale)
        self.evidence = setup.evidence if source == "evidence" else None
        _check_sharpen(sharpen)
        self.teacher_grid = None
        if align == "time":
            self.teacher_grid = stated_grid(
                setup, "temporal", TEMPORAL_ATTENTION, "Use temporal:align=ends."
            )
        self.align, self.direction, self.renormalise = align, direction, renormalise
        self.sharpen = sharpen
        self.factor = setup.context_dim**-0.5 if scale else 1.0
        self.query_D = None
        if source == "auxiliary":
            # Normal with deviation 1/sqrt(D): scores start as large as one feature of the context.
            start_D = torch.randn(setup.context_dim) * setup.context_dim**-0.5
            self.query_D = nn.Parameter(start_D)

    @full_precision
    def forward(self, output: StudentOutput, batch: Batch) -> Tensor:
        """Divergence between cached and student attention, averaged over clips."""
        visible_BT = visible_frames(output, batch)
        lengths_B = batch.signal_lengths[TEMPORAL_ATTENTION]
        positions_BTN = self._positions(output, lengths_B)
        teacher_BU = sharpened(batch.signals[TEMPORAL_ATTENTION], lengths_B, self.sharpen)
        read_BN = interpolate(teacher_BU, lengths_B, positions_BTN.flatten(1))
        teacher_BT = read_BN.view_as(positions_BTN).mean(2) * visible_BT
        mass_B1 = teacher_BT.sum(1, keepdim=True)
        if self.renormalise:
            teacher_BT = torch.where(mass_B1 > 0, teacher_BT / mass_B1, 0.0)
        log_student_BT = log_distribution(self._scores(output), visible_BT)
        counted_BT = visible_BT & (mass_B1 > 0)
        return attention_divergence(
            log_student_BT, teacher_BT, counted_BT, direction=self.direction
        )

    def _scores(self, output: StudentOutput) -> Tensor:
        """Logarithm of the student's attention, but for a constant of each clip, (B, T)."""
        if self.query_D is not None:
            return output.context_BTD.float() @ self.query_D * self.factor
        if self.evidence is not None:
            return self.evidence(output)
        if output.attention_BHT is None:
            raise UsageError("the student gave no attention of its own", kind="options")
        valid_BT = frame_mask(output.context_lengths_B, output.context_BTD.shape[1])
        heads_BHT = log_distribution(output.attention_BHT.float(), valid_BT[:, None])
        # The mean of the heads without leaving logarithms: a weight of e^-200 keeps its gradient.
        return torch.logsumexp(heads_BHT, 1)

    def _positions(self, output: StudentOutput, teacher_B: Tensor) -> Tensor:
        """Teacher frames, fractional, that each student frame meets, shape (B, T, N)."""
        frames = output.context_BTD.shape[1]
        if self.teacher_grid is None:
            return self._stretched(output.context_lengths_B, teacher_B, frames)[:, :, None]
        times_s_BT = frame_times(output.first_frame_s_B, output.hop_s, frames)
        ratio = output.hop_s / self.teacher_grid.hop_s
        # At a ratio of exactly 2 single points would read every second teacher frame and no other.
        reads = max(1, math.ceil(ratio - ROUNDING))
        middle_N = (torch.arange(reads, device=teacher_B.device) + 0.5) / reads - 0.5
        times_s_BTN = times_s_BT[:, :, None] + middle_N * output.hop_s
        return (times_s_BTN - self.teacher_grid.first_frame_s) / self.teacher_grid.hop_s

    def _stretched(self, student_B: Tensor, teacher_B: Tensor, frames: int) -> Tensor:
        """Teacher frames, fractional, of a curve stretched to the student's length, (B, T)."""
        frame_T = torch.arange(frames, device=teacher_B.device, dtype=torch.float32)
        if self.align == "ends":
            steps_B = (teacher_B - 1) / (student_B - 1).clamp_min(1)
            return frame_T * steps_B[:, None]
        return (frame_T + 0.5) * (teacher_B / student_B)[:, None] - 0.5


def _check_source(setup: LossSetup, source: str, scale: bool) -> None:
    has, needs = {
        "native": (setup.native_attention, "an attention of its own"),
        "evidence": (setup.evidence is not None, "a prediction from a mean over frames"),
    }[source]
    if not has:
        raise UsageError(
            f"loss temporal with source={source} needs a student with {needs}; {setup.student} has "
            "none. Use --distill temporal=W:source=auxiliary.",
            kind="options",
        )
    if scale:
        raise UsageError(
            f"loss temporal with source={source} takes the student's scores as they are, got "
            "scale=true. Leave out scale, or use --distill temporal=W:source=auxiliary,scale=true.",
            kind="options",
        )


def _check_sharpen(sharpen: float) -> None:
    if not 0 < sharpen <= MAX_SHARPEN:
        raise UsageError(
            f"loss temporal: sharpen must be above 0 and at most {MAX_SHARPEN:g}, got {sharpen}. "
            "For example: --distill temporal=0.25:sharpen=3",
            kind="options",
        )


def sharpened(weights_BU: Tensor, lengths_B: Tensor, power: float) -> Tensor:
    """Raise each clip's weights to a power and renormalise them over its valid frames; 0 beyond.

    A clip whose weights are all 0 stays so. By the largest first: small weights do not vanish.

    >>> weights, lengths = torch.tensor([[0.25, 0.75, 9.0]]), torch.tensor([2])
    >>> sharpened(weights, lengths, 2.0).tolist()
    [[0.10000000149011612, 0.8999999761581421, 0.0]]
    """
    if power == 1:
        return weights_BU
    valid_BU = weights_BU.masked_fill(~frame_mask(lengths_B, weights_BU.shape[1]), 0.0)
    largest_B1 = valid_BU.amax(1, keepdim=True)
    raised_BU = torch.where(largest_B1 > 0, valid_BU / largest_B1, 0.0) ** power
    return raised_BU / raised_BU.sum(1, keepdim=True).clamp_min(1.0)


def attention_divergence(
    log_student_BT: Tensor,
    teacher_BT: Tensor,
    counted_BT: Tensor,
    *,
    direction: Literal["forward", "reverse"],
) -> Tensor:
    """KL divergence between the teacher's weights and the student's.

    Parameters
    ----------
    log_student_BT : Tensor, float, shape (B, T)
        Logarithms of the student's weights; gradients flow through these.
    teacher_BT : Tensor, float, shape (B, T)
        Teacher weights, not negative.
    counted_BT : Tensor, bool, shape (B, T)
        Frames to compare; a row without any adds 0.
    direction : {"forward", "reverse"}
        KL(teacher || student) or KL(student || teacher).

    Returns
    -------
    Tensor, scalar
        In nats, averaged over the rows.
    """
    if direction == "forward":
        terms_BT = torch.xlogy(teacher_BT, teacher_BT) - teacher_BT * log_student_BT
    else:
        floored_BT = teacher_BT.clamp_min(MIN_TARGET).log()
        terms_BT = log_student_BT.exp() * (log_student_BT - floored_BT)
    return (terms_BT * counted_BT).sum(1).mean()
