"""The training loop: one student, one seed, exact resume after each epoch and inside it.

The training state is the one file that continues a training. Metrics and best weights follow from it
and are written after it: a kill in between is made good when the training is resumed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cache_schema.command_line.interrupts import deferred_interrupts
from cache_schema.errors import RunError
from cache_schema.reader import Cache
from cache_schema.text import one_line
from student.augmentation.mixup import MixupDraw, draw_mixup
from student.augmentation.spec_augment import augmentation_random, spec_augment
from student.metrics import Score
from student.models.interface import Student
from student.recipes import Recipe
from student.runs.checkpoint import (
    damaged_state,
    load_state,
    save_state,
    save_weights,
    write_lines,
)
from student.runs.predict import score_student
from student.runs.settings import Settings
from student.stream.batch import Batch
from student.stream.stream import Stream
from student.stream.unit_loader import UnitLoader
from student.training.determinism import random_state, restore_random
from student.training.objective import Objective, class_maps, needed_signals
from student.training.progress import Progress
from student.training.tensorboard_log import begin_curves, extend_curves
from student.training.weight_averaging import AveragedStudent

METRIC_LINES = "metrics.jsonl"
TRAIN, VALIDATION = "train", "validation"
GRADIENT_NORM = 5.0
# A kill costs no more training than this; what the epoch had read before it is read again too.
SAVE_EVERY_S = 300.0

Log = Callable[[str], None]


class Trainer:
    """One training under way: model, optimiser, streams and how far it is."""

    def __init__(
        self,
        cache: Cache,
        settings: Settings,
        run: Path,
        objective: Objective,
        device: str,
        source: str | None = None,
    ) -> None:
        self.cache, self.settings, self.run, self.objective = cache, settings, run, objective
        front_end = objective.student.front_end
        self.stream = Stream(
            UnitLoader(
                cache,
                front_end,
                needed_signals(settings),
                class_maps=class_maps(cache, settings),
                source=source,
            ),
            TRAIN,
            batch_size=settings.recipe.batch_size,
            seed=settings.seed,
        )
        self.plain_loader = UnitLoader(cache, front_end, (), source=source)
        self.recipe = settings.recipe
        # Imported here: seconds that a refusal need not take.
        from lightning_fabric import Fabric

        self.fabric = Fabric(accelerator=device, devices=1, precision=settings.precision)  # type: ignore[arg-type]
        self.model, self.optimizer = self.fabric.setup(
            objective, _optimizer(objective, self.recipe)
        )
        self.averaged: AveragedStudent | None = None
        if self.recipe.average is not None:  # now that the student is on its device
            self.averaged = AveragedStudent(objective.student, self.recipe.average)
        self.teacher: dict[str, float | str | None] = {}
        self.progress = Progress()
        self._marked_s = time.monotonic()
        self._resume()

    def run_epochs(self, log: Log) -> None:
        """Train what is left; a signal is obeyed after the step, or the validation, in hand.

        Raises
        ------
        RunError
            Kind ``"interrupted"``, the state being saved; ``"not_finite"``.
        """
        if self.progress.steps:
            log(f"continuing after {self.progress} of {self.recipe.epochs}")
        with deferred_interrupts() as stop_requested:
            begin_curves(self.run, self.progress.history)
            while self.progress.epoch < self.recipe.epochs:
                self._train_epoch(stop_requested)
                entry = self._finish_epoch()
                extend_curves(self.run, entry)
                log(_epoch_line(entry, self.recipe.epochs))
                if stop_requested():
                    raise self._interrupted()

    def _train_epoch(self, stop_requested: Callable[[], bool]) -> None:
        """Train what is left of an epoch."""
        progress = self.progress
        if progress.batch == 0:
            seeds = np.random.SeedSequence([self.settings.seed, progress.epoch])
            torch.manual_seed(int(seeds.generate_state(1)[0]))
        self.model.train()
        units = self.cache.units(TRAIN, progress.epoch % self.cache.views)
        planned = sum(unit.rows for unit in units)
        with closing(self.stream.epoch(progress.epoch, progress.batch)) as batches:
            for batch in batches:
                self._update_schedules(progress.epoch + min(1.0, progress.clips / planned))
                self._step(batch)
                if stop_requested():
                    self._save()
                    raise self._interrupted()
                if time.monotonic() - self._marked_s >= SAVE_EVERY_S:
                    self._save()

    def _step(self, cpu_batch: Batch) -> None:
        """Learn from a batch."""
        batch, mixing = self._augmented(cpu_batch)
        # Not through Fabric's wrapper, which cannot convert a frozen batch to lower precision.
        with self.fabric.autocast():
            losses = self.objective(batch, mixing)
        self._check_finite("loss", losses["total"], losses, batch)
        self.optimizer.zero_grad()
        self.fabric.backward(losses["total"])
        norm: Any = self.fabric.clip_gradients(
            self.model, self.optimizer, max_norm=GRADIENT_NORM, error_if_nonfinite=False
        )
        self._check_finite("gradient", norm, losses, batch)
        self.optimizer.step()
        if self.averaged is not None:
            self.averaged.after_step(self.objective.student)
        self.progress.count_step(losses, len(batch.clips))

    def _augmented(self, batch: Batch) -> tuple[Batch, MixupDraw | None]:
        """Apply what the recipe does to a batch, and bring it to the device."""
        seed, progress = self.settings.seed, self.progress
        random = augmentation_random(seed, progress.epoch, progress.batch)
        mixing = None
        if self.recipe.mixup is not None:
            mixing = draw_mixup(len(batch.clips), self.recipe.mixup, random)
            mixing = mixing.to(self.fabric.device)
        if self.recipe.spec_augment is not None:
            batch = spec_augment(batch, self.recipe.spec_augment, random)
        return batch.to(self.fabric.device), mixing

    def _update_schedules(self, done: float) -> None:
        """Set for the optimiser and the objective how many epochs are done, by clips seen."""
        self.objective.epochs_done = done
        rate = self.recipe.learning_rate * self.recipe.schedule.factor(done / self.recipe.epochs)
        if self.progress.steps < self.recipe.warm_up_steps:
            rate *= (self.progress.steps + 1) / self.recipe.warm_up_steps
        for group in self.optimizer.param_groups:
            group["lr"] = rate

    def _check_finite(
        self, what: str, value: torch.Tensor, losses: dict[str, torch.Tensor], batch: Batch
    ) -> None:
        """Stop before an update that would spoil the weights."""
        if bool(torch.isfinite(value)):
            return
        values = ", ".join(f"{name} {float(loss.detach()):.4g}" for name, loss in losses.items())
        ids = [one_line(self.cache.clip_ids(int(c), int(c) + 1)[0]) for c in batch.clips[:8]]
        more = f" and {len(batch.clips) - 8} more" if len(batch.clips) > 8 else ""
        raise RunError(
            f"the {what} is not finite (losses: {values}); the batch holds {', '.join(ids)}{more}. The "
            f"weights were not touched. Check the cache: inspect-cache {self.cache.root} --verify; or "
            f"lower --learning-rate (now {self.recipe.learning_rate:g}) with another --out.",
            kind="not_finite",
        )

    def _interrupted(self) -> RunError:
        return RunError(
            f"stopped after {self.progress} of {self.recipe.epochs}; {self.run} holds the state. Repeat "
            "the command to go on there.",
            kind="interrupted",
        )

    def _validate(self) -> Score | None:
        if VALIDATION not in self.cache.splits:
            return None
        found = score_student(
            self._eval_model(),
            self.plain_loader,
            VALIDATION,
            device=self.fabric.device,
            metric=self.settings.metric,
        )
        return found if found.defined else None

    def _eval_model(self) -> Student:
        """Give the student that is validated and kept: the average, once there is one."""
        if self.averaged is not None and self.averaged.begun:
            return self.averaged.student
        return self.objective.student

    def _finish_epoch(self) -> dict[str, Any]:
        """Validate, make the epoch count by saving the state, then write what follows from it."""
        progress = self.progress
        if self.averaged is not None:
            done = (progress.epoch + 1) / self.recipe.epochs
            self.averaged.after_epoch(self.objective.student, done)
        found = self._validate()
        entry: dict[str, Any] = {"epoch": progress.epoch + 1}
        entry |= {f"train_loss_{name}": mean for name, mean in progress.mean_losses().items()}
        if found is not None:
            entry[f"validation_{found.metric}"] = found.json_value
        entry |= {f"teacher_{split}": value for split, value in self.teacher.items()}
        entry["learning_rate"] = self.optimizer.param_groups[0]["lr"]
        entry["seconds"] = self._mark_time()
        progress.count_epoch(entry, None if found is None else found.value)
        self._save()
        self._write_results()
        return entry

    def _mark_time(self) -> float:
        """Seconds of the epoch so far."""
        now_s = time.monotonic()
        self.progress.seconds += now_s - self._marked_s
        self._marked_s = now_s
        return self.progress.seconds

    def _save(self) -> None:
        """Save all that continues the training from here."""
        self._mark_time()
        state: dict[str, Any] = {f.name: getattr(self.progress, f.name) for f in fields(Progress)}
        if self.averaged is not None:
            state["averaged"] = self.averaged.state()
        state["objective"] = self.objective.state_dict()
        state["optimizer"] = self.optimizer.state_dict()
        state["random"] = random_state(self.fabric.device)
        save_state(self.run, state)

    def _write_results(self) -> None:
        """Write what follows from the state at the end of an epoch."""
        write_lines(self.run / METRIC_LINES, self.progress.history)
        if self.progress.best_is_last:
            save_weights(self.run, self._eval_model())

    def _resume(self) -> None:
        state = load_state(self.run)
        if state is None:
            return
        try:
            self._restore(state)
        except torch.OutOfMemoryError:  # of the device: the state is good
            raise
        except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
            raise damaged_state(self.run, error) from None

    def _restore(self, state: dict[str, Any]) -> None:
        """Take up a state, and write what follows from it."""
        self.progress = Progress(**{f.name: state[f.name] for f in fields(Progress)})
        if self.averaged is not None:
            self.averaged.restore(state["averaged"])
        self.objective.load_state_dict(state["objective"])
        self.optimizer.load_state_dict(state["optimizer"])
        restore_random(state["random"], self.fabric.device)
        if self.progress.batch == 0:
            self._write_results()


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


def _epoch_line(entry: dict[str, Any], epochs: int) -> str:
    losses = [f"{k.removeprefix('train_loss_')} {v:.4f}" for k, v in entry.items() if "loss" in k]
    found = [
        f"{k.replace('_', ' ')} {float(v):.4f}"
        for k, v in entry.items()
        if k.startswith(VALIDATION)
    ]
    seconds = f"{entry['seconds']:.1f} s"
    return f"epoch {entry['epoch']}/{epochs}: " + ", ".join([*losses, *found, seconds])
