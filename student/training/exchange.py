"""What lanes learned from a batch each becomes one step, alike on any number of processes.

Shape suffixes: L lanes, O lanes of this process, W processes, V entries of a lane's vector, P parameters
and buffers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from student.training.objective import Objective
from student.training.processes import Processes

STOP, CLIPS, FIRST_LOSS = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Learned:
    """What a step learned from.

    Attributes
    ----------
    losses : dict of str to Tensor, scalar
        Means over the clips of all lanes.
    clips : int
        Clips of all lanes; none where every lane has ended.
    stop : bool
        Whether any process is to stop.
    """

    losses: dict[str, Tensor]
    clips: int
    stop: bool


class OneLane:
    """A training of one lane on one process: what it leaves in gradients and buffers is the step."""

    lanes, own = 1, range(1)

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Begin a step."""
        self._learned = Learned({}, 0, False)

    def add(self, place: int, losses: dict[str, Tensor], clips: int) -> None:
        """Take a batch; `place` is 0."""
        self._learned = Learned(losses, clips, False)

    def finish(self, stop: bool) -> Learned:
        """Give what was learned from."""
        return replace(self._learned, stop=stop)


class Exchange:
    """Gradients, changes of buffers and losses of each lane, gathered and averaged.

    A lane's mean counts by its clips. The sum is taken in the order of the lanes by every process for
    itself, so it has the same bits on one process as on many. torch's ``DistributedDataParallel`` sums
    by process, and leaves running statistics to each.

    Parameters
    ----------
    objective : Objective
        What learns; its gradients and buffers are read and set here.
    processes : Processes
        Which exchange.
    lanes : int
        Of all processes; each process has those of its rank, and every `count` further on.
    """

    def __init__(self, objective: Objective, processes: Processes, lanes: int) -> None:
        self._objective, self._processes = objective, processes
        self.lanes = lanes
        self.own = range(processes.rank, lanes, processes.count)
        self._losses = ("total", "labels", *objective.losses)
        self._parameters = [p for p in objective.parameters() if p.requires_grad]
        self._buffers = [b for b in objective.buffers() if b.dtype != torch.bool]
        self._sizes = [t.numel() for t in (*self._parameters, *self._buffers)]
        self.begin()

    def begin(self) -> None:
        """Begin a step: every lane starts from the same buffers."""
        self._before = [buffer.clone() for buffer in self._buffers]
        entries = FIRST_LOSS + len(self._losses) + sum(self._sizes)
        self._own_OV = torch.zeros(len(self.own), entries, device=self._parameters[0].device)

    def add(self, place: int, losses: dict[str, Tensor], clips: int) -> None:
        """Take what a batch of the process' n-th lane left in gradients and buffers.

        The buffers are as they were then; the gradients are left to be cleared.
        """
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in self._parameters]
        changes = [now - old for now, old in zip(self._buffers, self._before, strict=True)]
        parts = [losses[name].detach() for name in self._losses] + gradients + changes
        self._own_OV[place, CLIPS] = clips
        self._own_OV[place, FIRST_LOSS:] = torch.cat([part.reshape(-1).float() for part in parts])
        for buffer, old in zip(self._buffers, self._before, strict=True):
            buffer.copy_(old)

    def finish(self, stop: bool) -> Learned:
        """Exchange with the other processes, and set the gradients and buffers of all lanes."""
        self._own_OV[:, STOP] = float(stop)
        # Lane l is the (l // W)th of process l % W.
        lanes_LV = self._processes.gather(self._own_OV).transpose(0, 1).flatten(0, 1)
        clips_L = lanes_LV[:, CLIPS]
        share_L1 = (clips_L / clips_L.sum().clamp_min(1))[:, None]
        mean_V = (lanes_LV * share_L1).sum(0)
        first = FIRST_LOSS + len(self._losses)
        self._set(torch.split(mean_V[first:], self._sizes))
        losses = dict(zip(self._losses, mean_V[FIRST_LOSS:first], strict=True))
        return Learned(losses, int(clips_L.sum()), bool(lanes_LV[:, STOP].any()))

    @torch.no_grad()
    def _set(self, means: Sequence[Tensor]) -> None:
        count = len(self._parameters)
        for parameter, mean_P in zip(self._parameters, means[:count], strict=True):
            parameter.grad = mean_P.view_as(parameter).to(parameter.dtype)
        for buffer, mean_P in zip(self._buffers, means[count:], strict=True):
            change = mean_P.view_as(buffer)
            buffer += change if buffer.is_floating_point() else change.round().to(buffer.dtype)
