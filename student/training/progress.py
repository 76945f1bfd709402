"""How far a training is: all that continues it beside the tensors of model and optimiser."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor


@dataclass(slots=True)
class Progress:
    """Where a training stands; a step or an epoch counts when it is noted here.

    Attributes
    ----------
    epoch : int
        Epochs finished.
    batch, clips : int
        What has been learned from in the epoch under way.
    steps : int
        Updates since the start.
    seconds : float
        Time spent in the epoch under way.
    sums : dict of str to Tensor, scalar
        Each loss of the epoch under way, summed over its clips.
    best : dict
        Highest validation score, its last epoch, from 1, and the first one, in which it rose to it.
    history : list of dict
        One entry per finished epoch, the lines of ``metrics.jsonl``.
    """

    epoch: int = 0
    batch: int = 0
    clips: int = 0
    steps: int = 0
    seconds: float = 0.0
    sums: dict[str, Tensor] = field(default_factory=dict)
    best: dict[str, Any] = field(default_factory=lambda: {"score": -math.inf, "epoch": 0})
    history: list[dict[str, Any]] = field(default_factory=list)

    def __str__(self) -> str:
        """Name the last thing learned: ``epoch 2``, ``batch 7 of epoch 3``."""
        return (
            f"batch {self.batch} of epoch {self.epoch + 1}" if self.batch else f"epoch {self.epoch}"
        )

    @property
    def risen(self) -> int:
        """The epoch in which the validation score last rose; a state of an earlier release lacks it."""
        return int(self.best.get("risen", self.best["epoch"]))

    @property
    def best_is_last(self) -> bool:
        """Whether the last finished epoch is the one to keep."""
        return self.epoch > 0 and self.best["epoch"] == self.epoch

    def count_step(self, losses: Mapping[str, Tensor], clips: int) -> None:
        """Note an update by the mean `losses` over so many clips."""
        self.batch += 1
        self.steps += 1
        self.clips += clips
        for name, value in losses.items():
            summed = self.sums.get(name, torch.zeros_like(value)).to(value.device)
            self.sums[name] = summed + value.detach() * clips

    def mean_losses(self) -> dict[str, float]:
        """Mean of each loss over the clips of the epoch under way."""
        return {name: float(value) / self.clips for name, value in self.sums.items()}

    def count_epoch(self, entry: dict[str, Any]) -> None:
        """Note the end of an epoch."""
        self.epoch += 1
        self.history.append(entry)
        self.batch = self.clips = 0
        self.seconds, self.sums = 0.0, {}

    def count_validation(self, score: float | None) -> None:
        """Note how good the last epoch is; without a score it is the best."""
        if score is None:
            self.best["epoch"] = self.epoch
        elif not score < self.best["score"]:
            rose = self.epoch if score != self.best["score"] else self.risen
            self.best = {"score": score, "epoch": self.epoch, "risen": rose}
