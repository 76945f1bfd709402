"""One step of training: a batch in, changed weights out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cache_schema.errors import RunError
from cache_schema.reader import Cache
from cache_schema.text import one_line, shell_word
from student.augmentation.mixup import MixupDraw, draw_mixup
from student.augmentation.spec_augment import augmentation_random, spec_augment
from student.models.interface import Student
from student.recipes import Recipe
from student.runs.settings import Settings
from student.stream.batch import Batch
from student.stream.lane import Lane
from student.training.determinism import random_state, restore_random, sequence_seed
from student.training.exchange import Exchange, Learned, OneLane
from student.training.objective import Objective
from student.training.processes import Processes
from student.training.progress import Progress
from student.training.weight_averaging import AveragedStudent

GRADIENT_NORM = 5.0
MAX_NAMED_CLIPS = 8


class Learner:
    """The student with its objective and optimiser, on its device.

    Parameters
    ----------
    objective : Objective
        Holds the student and whatever else of the losses is trained.
    settings : Settings
        Of the run.
    cache : Cache
        Names the clips of a batch that spoils the training.
    device : str
        As Fabric takes it.
    processes : Processes
        Which train together.
    """

    def __init__(
        self,
        objective: Objective,
        settings: Settings,
        cache: Cache,
        device: str,
        processes: Processes,
    ) -> None:
        # Imported here: seconds that a refusal need not take.
        from lightning_fabric import Fabric
        from lightning_fabric.plugins.environments.lightning import LightningEnvironment

        self._objective, self._cache = objective, cache
        self._recipe, self._seed = settings.recipe, settings.seed
        devices = processes.devices(device)
        # One process to it: it must look for no cluster, and refuse no job of several tasks.
        self.fabric = Fabric(
            accelerator=device,
            devices=devices,
            precision=settings.precision,  # type: ignore[arg-type]
            plugins=LightningEnvironment(),
        )
        self._model, self._optimizer = self.fabric.setup(
            objective, _optimizer(objective, self._recipe)
        )
        average, lanes = self._recipe.average, settings.lanes  # the student is on its device now
        self._averaged = None if average is None else AveragedStudent(objective.student, average)
        self.exchange = Exchange(objective, processes, lanes) if lanes > 1 else OneLane()

    def step(
        self,
        cpu_batches: Sequence[Batch | None],
        progress: Progress,
        done: float,
        stop_requested: Callable[[], bool],
    ) -> Learned:
        """Learn from a batch of each lane.

        Parameters
        ----------
        cpu_batches : sequence of Batch or None
            As the streams of this process' lanes give them; None where a lane has ended.
        progress : Progress
            Epoch, batch and steps before this one.
        done : float
            Epochs done, by clips seen.
        stop_requested : callable
            Whether this process is to stop after the step.

        Returns
        -------
        Learned
            Of all lanes. Without clips, nothing was learned: the epoch has ended.

        Raises
        ------
        RunError
            Kind ``"not_finite"``, the weights being as they were; ``"lost_process"``.
        """
        self._objective.epochs_done = done
        self.exchange.begin()
        batches = [
            self._learn(batch, progress, place)
            for place, batch in enumerate(cpu_batches)
            if batch is not None
        ]
        learned = self.exchange.finish(stop_requested())
        if not learned.clips:
            return learned
        norm: Any = self.fabric.clip_gradients(
            self._model, self._optimizer, max_norm=GRADIENT_NORM, error_if_nonfinite=False
        )
        if not bool(torch.isfinite(norm)):
            raise _not_finite("gradient", learned.losses, batches, self._cache, self._recipe)
        for group in self._optimizer.param_groups:
            group["lr"] = _learning_rate(self._recipe, progress.steps, done)
        self._optimizer.step()
        if self._averaged is not None:
            self._averaged.after_step(self._objective.student)
        return learned

    def _learn(self, cpu_batch: Batch, progress: Progress, place: int) -> Batch:
        """Add what a batch of one of this process' lanes gives to the step; returns it augmented."""
        lane = Lane(self.exchange.own[place], self.exchange.lanes)
        drawn = lane.draw(progress.batch)
        if lane.count > 1:  # what is drawn must not depend on the lanes that the process has
            torch.manual_seed(sequence_seed(self._seed, progress.epoch, drawn))
        random = augmentation_random(self._seed, progress.epoch, drawn)
        batch, mixing = _augmented(cpu_batch, self._recipe, random, self.fabric.device)
        with self.fabric.autocast():  # its wrapper cannot convert a frozen batch to lower precision
            losses: dict[str, Tensor] = self._objective(batch, mixing)
        if not bool(torch.isfinite(losses["total"])):
            raise _not_finite("loss", losses, [batch], self._cache, self._recipe)
        self._optimizer.zero_grad()
        self.fabric.backward(losses["total"])
        self.exchange.add(place, losses, len(batch.clips))
        return batch

    def begin_epoch(self) -> None:
        """Go back to training from validation."""
        self._model.train()

    def end_epoch(self, done: float) -> None:
        """Average the weights where that is done by epochs; `done` is a share of the training."""
        if self._averaged is not None:
            self._averaged.after_epoch(self._objective.student, done)

    @property
    def eval_model(self) -> Student:
        """The student that is validated and kept: the average, once there is one."""
        if self._averaged is not None and self._averaged.begun:
            return self._averaged.student
        return self._objective.student

    @property
    def learning_rate(self) -> float:
        """Rate of the last step."""
        rate: float = self._optimizer.param_groups[0]["lr"]
        return rate

    def state(self) -> dict[str, Any]:
        """Give all that the next step depends on."""
        state: dict[str, Any] = {
            "objective": self._objective.state_dict(),
            "optimizer": self._optimizer.state_dict(),
        }
        if self._averaged is not None:
            state["averaged"] = self._averaged.state()
        if self.exchange.lanes == 1:  # several are seeded at each step
            state["random"] = random_state(self.fabric.device)
        return state

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from what `state` gave."""
        if self._averaged is not None:
            self._averaged.restore(state["averaged"])
        self._objective.load_state_dict(state["objective"])
        self._optimizer.load_state_dict(state["optimizer"])
        if self.exchange.lanes == 1:
            restore_random(state["random"], self.fabric.device)


def _augmented(
    batch: Batch, recipe: Recipe, random: np.random.Generator, device: torch.device
) -> tuple[Batch, MixupDraw | None]:
    """Apply what the recipe does to a batch, and bring it to the device."""
    mixing = None
    if recipe.mixup is not None:
        mixing = draw_mixup(len(batch.clips), recipe.mixup, random).to(device)
    if recipe.spec_augment is not None:
        batch = spec_augment(batch, recipe.spec_augment, random)
    return batch.to(device), mixing


def _learning_rate(recipe: Recipe, steps: int, done: float) -> float:
    """Rate after so many steps and epochs."""
    rate = recipe.learning_rate * recipe.schedule.factor(done / recipe.epochs)
    return rate * min(1.0, (steps + 1) / max(1, recipe.warm_up_steps))


def _not_finite(
    what: str,
    losses: dict[str, Tensor],
    batches: Sequence[Batch],
    cache: Cache,
    recipe: Recipe,
) -> RunError:
    values = ", ".join(f"{name} {float(loss.detach()):.4g}" for name, loss in losses.items())
    clips = [int(clip) for batch in batches for clip in batch.clips]
    named = [one_line(cache.clip_ids(c, c + 1)[0]) for c in clips[:MAX_NAMED_CLIPS]]
    others = len(clips) - len(named)
    more = f" and {others} more" if others else ""
    return RunError(
        f"the {what} is not finite (losses: {values}); the batch holds {', '.join(named)}{more}. The "
        f"weights were not touched. Check the cache: inspect-cache {shell_word(cache.root)} --verify; "
        f"or lower --learning-rate (now {recipe.learning_rate:g}) with another --out.",
        kind="not_finite",
    )


def _optimizer(objective: Objective, recipe: Recipe) -> torch.optim.Optimizer:
    parameters, rate, decay = objective.parameters(), recipe.learning_rate, recipe.weight_decay
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(parameters, lr=rate, momentum=0.9, weight_decay=decay)
    return torch.optim.Adam(
        parameters,
        lr=rate,
        betas=recipe.betas,
        weight_decay=decay,
        fused=True,  # one pass over all weights: a twentieth of TC-ResNet's step is saved
    )
