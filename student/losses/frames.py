"""Frames of students and teachers: which ones count, and how two frame rates meet.

Shape suffixes: B clips in batch, T student context frames, U teacher frames, K frames of the coarser
of two rates, N frames or clips, D features.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from cache_schema.errors import UsageError
from cache_schema.frame_grid import FrameGrid
from student.losses.interface import LossSetup
from student.models.interface import StudentOutput
from student.models.layers import frame_mask
from student.stream.batch import Batch

Resize = Literal["mean", "linear"]

ROUNDING = 1e-3
"""Share of a frame that is more than float32 loses on a clip's times and less than matters."""


@dataclass(frozen=True, slots=True)
class Frames:
    """Frames of a batch on a regular grid of their own.

    Attributes
    ----------
    hop_s : float
        Seconds from one frame to the next.
    first_s_B : Tensor
        Centre of each clip's frame 0.
    counted_BN : Tensor, bool
        Frames that take part: inside the clip and not hidden.
    """

    hop_s: float
    first_s_B: Tensor
    counted_BN: Tensor

    def centres_s(self) -> Tensor:
        """Centre of each frame in seconds, float32 (B, N)."""
        return frame_times(self.first_s_B, self.hop_s, self.counted_BN.shape[1])


def frame_times(first_s_B: Tensor, hop_s: float, frames: int) -> Tensor:
    """Centres of regular frames in seconds, float32 (B, frames)."""
    frame_N = torch.arange(frames, device=first_s_B.device, dtype=torch.float32)
    return first_s_B.float()[:, None] + frame_N * hop_s


def student_frames(output: StudentOutput, batch: Batch) -> Frames:
    """Frames of the context representation that the student could see."""
    return Frames(output.hop_s, output.first_frame_s_B, visible_frames(output, batch))


def teacher_frames(batch: Batch, signal: str, grid: FrameGrid) -> Frames:
    """Frames of a cached signal."""
    lengths_B = batch.signal_lengths[signal]
    first_s_B = torch.full_like(lengths_B, grid.first_frame_s, dtype=torch.float32)
    return Frames(grid.hop_s, first_s_B, frame_mask(lengths_B, batch.signals[signal].shape[1]))


def stated_grid(setup: LossSetup, loss: str, signal: str, advice: str) -> FrameGrid:
    """Where a signal's frames lie in time.

    Raises
    ------
    UsageError
        If the cache does not record it; ends with `advice`.
    """
    if signal in setup.grids:
        return setup.grids[signal]
    raise UsageError(
        f"loss {loss} needs the hop of {signal}, which this cache does not state. {advice}",
        kind="options",
    )


def visible_frames(output: StudentOutput, batch: Batch) -> Tensor:
    """Context frames inside the clip whose centre does not fall in a hidden feature frame.

    A student cannot know what it was not shown. A centre halfway between two feature frames falls
    in the later one; beyond the features nothing is hidden.

    Returns
    -------
    Tensor, bool, shape (B, T)
    """
    frames = output.context_BTD.shape[1]
    valid_BT = frame_mask(output.context_lengths_B, frames)
    if batch.hidden_BT is None:
        return valid_BT
    times_s_BT = frame_times(output.first_frame_s_B, output.hop_s, frames)
    offset_BT = (times_s_BT - batch.feature_grid.first_frame_s) / batch.feature_grid.hop_s
    nearest_BT = _nearest(offset_BT)
    last = batch.hidden_BT.shape[1] - 1
    inside_BT = (nearest_BT >= 0) & (nearest_BT <= last)
    hidden_BT = batch.hidden_BT.gather(1, nearest_BT.clamp(0, last)) & inside_BT
    return valid_BT & ~hidden_BT


@dataclass(frozen=True, slots=True)
class SharedFrames:
    """Student and teacher frames on the grid of the coarser of the two.

    Attributes
    ----------
    weights_BKN : Tensor, float32
        Share of each finer frame in each coarse one; rows sum to 1, or are all 0 for a coarse frame
        that is left out.
    student_is_finer : bool
        Whose frames the finer ones are.
    """

    weights_BKN: Tensor
    student_is_finer: bool

    def kept(self) -> Tensor:
        """Coarse frames that are not left out: bool (B, K)."""
        return self.weights_BKN.sum(2) > 0

    def of_student(self, context_BTD: Tensor) -> Tensor:
        """Bring a value of each student frame to coarse ones, (B, K, D); 0 where left out."""
        return self._coarse(context_BTD.float(), self.student_is_finer)

    def of_teacher(self, signal_BUD: Tensor) -> Tensor:
        """Bring a value of each teacher frame to coarse ones, (B, K, D); 0 where left out."""
        return self._coarse(signal_BUD, not self.student_is_finer)

    def _coarse(self, values_BND: Tensor, finer: bool) -> Tensor:
        """Average finer values, pick coarse ones; what is not used may hold anything."""
        if not finer:
            return values_BND.masked_fill(~self.kept()[..., None], 0.0)
        used_BN = self.weights_BKN.any(1)
        return self.weights_BKN @ values_BND.masked_fill(~used_BN[..., None], 0.0)


def share_frames(student: Frames, teacher: Frames, resize: Resize = "mean") -> SharedFrames:
    """Bring student and teacher to the coarser of their frame rates, on its grid of times.

    With ``mean`` a coarse frame becomes the mean of the finer frames whose centres fall within half
    a coarse hop of its own (a centre on the border belongs to the later frame); with ``linear`` the
    finer frames are read at its centre by linear interpolation, over what counts of them. A coarse
    frame that no counted finer frame meets, as happens where one side begins earlier or ends later,
    is left out on both sides, and so are finer frames beyond the coarse ones.

    Examples
    --------
    A student with a frame every 40 ms, a teacher with one every 20 ms; both first centres are where
    the front ends put them. The student's frame at 30 ms is the mean of the teacher's at 10, 30 ms
    (10 lies on the border, 30 - 20, and belongs to this one) and so on; the teacher's last frame, at
    90 ms, is on the border of a student's frame that is not there, and is left out:

    >>> student = Frames(0.04, torch.tensor([0.03]), torch.ones(1, 2, dtype=torch.bool))
    >>> teacher = Frames(0.02, torch.tensor([0.01]), torch.ones(1, 5, dtype=torch.bool))
    >>> shared = share_frames(student, teacher)
    >>> shared.weights_BKN[0].tolist()
    [[0.5, 0.5, 0.0, 0.0, 0.0], [0.0, 0.0, 0.5, 0.5, 0.0]]
    >>> shared.of_teacher(torch.tensor([[[1.0], [3.0], [5.0], [7.0], [9.0]]]))[0, :, 0].tolist()
    [2.0, 6.0]
    """
    if student.hop_s > teacher.hop_s:
        return SharedFrames(_weights(student, teacher, resize), student_is_finer=False)
    return SharedFrames(_weights(teacher, student, resize), student_is_finer=True)


def _weights(coarse: Frames, fine: Frames, resize: Resize) -> Tensor:
    """Share of each fine frame in each coarse one, (B, K, N)."""
    distance_s_BKN = fine.centres_s()[:, None, :] - coarse.centres_s()[:, :, None]
    if resize == "mean":
        kernel_BKN = (_nearest(distance_s_BKN / coarse.hop_s) == 0).float()
    else:
        kernel_BKN = (1 - distance_s_BKN.abs() / fine.hop_s).clamp_min(0)
    kernel_BKN = kernel_BKN * fine.counted_BN[:, None, :] * coarse.counted_BN[:, :, None]
    sums_BK1 = kernel_BKN.sum(2, keepdim=True)
    return torch.where(sums_BK1 > ROUNDING, kernel_BKN / sums_BK1.clamp_min(ROUNDING), 0.0)


def _nearest(position: Tensor) -> Tensor:
    """Nearest whole frame; halfway is the later one, whichever way a time was rounded."""
    return torch.floor(position + 0.5 + ROUNDING).long()


def interpolate(values_BN: Tensor, lengths_B: Tensor, positions_BT: Tensor) -> Tensor:
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
    lower_BT, upper_BT = values_BN.gather(1, below_BT), values_BN.gather(1, above_BT)
    return lower_BT + (upper_BT - lower_BT) * share_BT


def log_distribution(scores: Tensor, counted: Tensor) -> Tensor:
    """Log softmax over the counted entries of the last axis; 0 at the others.

    The lowest number stands in for minus infinity, so that a row without a counted entry, and its
    gradient, are 0 and not NaN.

    >>> scores, counted = torch.zeros(2, 3), torch.tensor([[True, True, False], [False] * 3])
    >>> log_distribution(scores, counted).exp()[0].round(decimals=4).tolist()
    [0.5, 0.5, 1.0]
    >>> log_distribution(scores, counted)[1].tolist()
    [0.0, 0.0, 0.0]
    """
    lowest = torch.finfo(scores.dtype).min
    filled = scores.masked_fill(~counted, lowest)
    return torch.log_softmax(filled, -1).masked_fill(~counted, 0.0)
