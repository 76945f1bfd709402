"""Weights & Biases, by its own client; ``WANDB_MODE=offline`` keeps all in ``wandb/``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from student.training.loggers.interface import PROJECT, RunLogger, scalars


class WeightsAndBiases(RunLogger):
    """A run of the project ``aftersound``, or of ``WANDB_PROJECT``.

    Neither code nor what a terminal shows is sent, as these are not the user's, nor the machine's load.
    """

    library = "wandb"

    def __init__(self, run: Path, config: Mapping[str, Any], known: str | None) -> None:
        import wandb

        settings = wandb.Settings(
            silent=True, console="off", disable_code=True, disable_git=True, x_disable_stats=True
        )
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            id=known,
            resume="allow",
            name=run.name,
            config=dict(config),
            settings=settings,
        )
        self.id = self._run.id
        self.last_epoch = self._run.step - 1 if self._run.resumed else 0  # the step that comes next

    def extend(self, entry: Mapping[str, Any]) -> None:
        """Write an epoch."""
        self._run.log(scalars(entry), step=entry["epoch"])

    def close(self) -> None:
        """Wait until all is sent, or written."""
        self._run.finish()
