"""The training loop: one student, one seed, exact resume after each epoch."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cache_schema.errors import RunError
from cache_schema.reader import Cache
from student.averaging import AveragedStudent
from student.batch import Batch
from student.checkpoint import load_state, save_state, save_weights, write_lines
from student.evaluate import score_student
from student.metrics import Score
from student.mixup import Mixing, draw_mixing
from student.models.interface import Student
from student.objective import Objective, class_maps, needed_signals
from student.recipes import Recipe
from student.settings import Settings
from student.spec_augment import augmentation_random, spec_augment
from student.stream import Stream
from student.unit_rows import UnitLoader

METRIC_LINES = "metrics.jsonl"
TRAIN, VALIDATION = "train", "validation"
GRADIENT_NORM = 5.0

Say = Callable[[str], None]


class Training:
    """One training under way: model, optimiser, streams and the best score so far."""

    def __init__(
        self, cache: Cache, settings: Settings, run: Path, objective: Objective, device: str
    ) -> None:
        self.cache, self.settings, self.run, self.objective = cache, settings, run, objective
        front_end = objective.student.front_end
        self.stream = Stream(
            UnitLoader(
                cache,
                front_end,
                needed_signals(settings),
                class_maps=class_maps(cache, settings),
            ),
            TRAIN,
            batch_size=settings.recipe.batch_size,
            seed=settings.seed,
        )
        self.plain_loader = UnitLoader(cache, front_end, ())
        self.recipe = settings.recipe
        # Imported here, as tensorboard below: seconds that a refusal need not take.
        from lightning_fabric import Fabric

        self.fabric = Fabric(accelerator=device, devices=1, precision=settings.precision)  # type: ignore[arg-type]
        self.model, self.optimizer = self.fabric.setup(
            objective, _optimizer(objective, self.recipe)
        )
        self.averaged: AveragedStudent | None = None
        if self.recipe.average is not None:  # now that the student is on its device
            self.averaged = AveragedStudent(objective.student, self.recipe.average)
        self.teacher: dict[str, float | str | None] = {}
        self.next_epoch = self.steps = 0
        self.best: dict[str, Any] = {"score": -math.inf, "epoch": -1}
        self.history: list[dict[str, Any]] = []
        self._resume()

    def run_epochs(self, say: Say) -> None:
        """Train what is left, saving after each epoch."""
        from torch.utils.tensorboard import SummaryWriter

        writer = SummaryWriter(str(self.run / "tensorboard"), purge_step=self.next_epoch)
        with closing(writer):
            for epoch in range(self.next_epoch, self.recipe.epochs):
                began_s = time.monotonic()
                losses = self._train_epoch(epoch)
                if self.averaged is not None:
                    done = (epoch + 1) / self.recipe.epochs
                    self.averaged.after_epoch(self.objective.student, done)
                found = self._validate()
                entry = self._record(epoch, losses, found, time.monotonic() - began_s)
                for name, value in entry.items():
                    if isinstance(value, float):
                        writer.add_scalar(name, value, epoch)
                say(_epoch_line(entry, self.recipe.epochs))

    def _train_epoch(self, epoch: int) -> dict[str, float]:
        """Train one epoch and give the mean of each loss over its clips."""
        torch.manual_seed(
            int(np.random.SeedSequence([self.settings.seed, epoch]).generate_state(1)[0])
        )
        self.model.train()
        sums: dict[str, torch.Tensor] = {}
        clips = 0
        with closing(self.stream.epoch(epoch)) as batches:
            for number, cpu_batch in enumerate(batches):
                batch, mixing = self._augmented(cpu_batch, epoch, number)
                self._advance(epoch, clips)
                # Not through Fabric's wrapper, which cannot convert a frozen batch to lower precision.
                with self.fabric.autocast():
                    losses = self.objective(batch, mixing)
                self._check_finite(losses, batch)
                self.optimizer.zero_grad()
                self.fabric.backward(losses["total"])
                self.fabric.clip_gradients(self.model, self.optimizer, max_norm=GRADIENT_NORM)
                self.optimizer.step()
                self.steps += 1
                if self.averaged is not None:
                    self.averaged.after_step(self.objective.student)
                size = len(batch.clips)
                clips += size
                for name, value in losses.items():
                    sums[name] = sums.get(name, 0.0) + value.detach() * size
        return {name: float(value) / clips for name, value in sums.items()}

    def _augmented(self, batch: Batch, epoch: int, number: int) -> tuple[Batch, Mixing | None]:
        """Apply what the recipe does to a batch, and bring it to the device."""
        random = augmentation_random(self.settings.seed, epoch, number)
        mixing = None
        if self.recipe.mixup is not None:
            mixing = draw_mixing(len(batch.clips), self.recipe.mixup, random)
            mixing = mixing.to(self.fabric.device)
        if self.recipe.spec_augment is not None:
            batch = spec_augment(batch, self.recipe.spec_augment, random)
        return batch.to(self.fabric.device), mixing

    def _advance(self, epoch: int, clips: int) -> None:
        """Tell the optimiser and the objective how far the training is, by clips seen."""
        planned = sum(unit.rows for unit in self.cache.units(TRAIN, epoch % self.cache.views))
        done = epoch + min(1.0, clips / planned)
        self.objective.epochs_done = done
        rate = self.recipe.learning_rate * self.recipe.schedule.factor(done / self.recipe.epochs)
        if self.steps < self.recipe.warm_up_steps:
            rate *= (self.steps + 1) / self.recipe.warm_up_steps
        for group in self.optimizer.param_groups:
            group["lr"] = rate

    def _check_finite(self, losses: dict[str, torch.Tensor], batch: Batch) -> None:
        """Stop before an update that would spoil the weights."""
        if bool(torch.isfinite(losses["total"])):
            return
        values = ", ".join(f"{name} {float(value.detach()):.4g}" for name, value in losses.items())
        ids = [self.cache.clip_ids(int(c), int(c) + 1)[0] for c in batch.clips[:8]]
        more = f" and {len(batch.clips) - 8} more" if len(batch.clips) > 8 else ""
        raise RunError(
            f"the loss is not finite ({values}); the batch holds {', '.join(ids)}{more}. The weights "
            f"were not touched. Check the cache: inspect-cache {self.cache.root} --verify; or lower "
            f"--learning-rate (now {self.recipe.learning_rate:g}).",
            kind="not_finite",
        )

    def _validate(self) -> Score | None:
        if VALIDATION not in self.cache.splits:
            return None
        found = score_student(
            self._kept(),
            self.plain_loader,
            VALIDATION,
            device=self.fabric.device,
            metric=self.settings.metric,
        )
        return found if found.defined else None

    def _kept(self) -> Student:
        """Give the student that is validated and kept: the average, once there is one."""
        if self.averaged is not None and self.averaged.begun:
            return self.averaged.student
        return self.objective.student

    def _record(
        self, epoch: int, losses: dict[str, float], found: Score | None, seconds: float
    ) -> dict[str, Any]:
        """Write metrics, the best weights, and last the state that makes the epoch count."""
        entry: dict[str, Any] = {"epoch": epoch + 1}
        entry |= {f"train_loss_{name}": value for name, value in losses.items()}
        if found is not None:
            entry[f"validation_{found.metric}"] = found.json_value
        entry |= {f"teacher_{split}": value for split, value in self.teacher.items()}
        entry["learning_rate"] = self.optimizer.param_groups[0]["lr"]
        entry["seconds"] = seconds
        self.history.append(entry)
        write_lines(self.run / METRIC_LINES, self.history)
        if found is None or not found.value < self.best["score"]:
            value = self.best["score"] if found is None else found.value
            self.best = {"score": value, "epoch": epoch + 1}
            save_weights(self.run, self._kept())
        self.next_epoch = epoch + 1
        state: dict[str, Any] = {"next_epoch": self.next_epoch, "steps": self.steps}
        state["best"] = self.best
        if self.averaged is not None:
            state["averaged"] = self.averaged.state()
        state |= {
            "objective": self.objective.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        save_state(self.run, state)
        return entry

    def _resume(self) -> None:
        state = load_state(self.run)
        if state is None:
            return
        self.next_epoch, self.steps, self.best = state["next_epoch"], state["steps"], state["best"]
        if self.averaged is not None:
            self.averaged.restore(state["averaged"])
        self.objective.load_state_dict(state["objective"])
        self.optimizer.load_state_dict(state["optimizer"])
        lines = (self.run / METRIC_LINES).read_text(encoding="utf-8").splitlines()
        self.history = [json.loads(line) for line in lines[: self.next_epoch]]


def _optimizer(objective: Objective, recipe: Recipe) -> torch.optim.Optimizer:
    parameters, rate, decay = objective.parameters(), recipe.learning_rate, recipe.weight_decay
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(parameters, lr=rate, momentum=0.9, weight_decay=decay)
    return torch.optim.Adam(parameters, lr=rate, betas=recipe.betas, weight_decay=decay)


def _epoch_line(entry: dict[str, Any], epochs: int) -> str:
    losses = [f"{k.removeprefix('train_loss_')} {v:.4f}" for k, v in entry.items() if "loss" in k]
    found = [
        f"{k.replace('_', ' ')} {float(v):.4f}"
        for k, v in entry.items()
        if k.startswith(VALIDATION)
    ]
    seconds = f"{entry['seconds']:.1f} s"
    return f"epoch {entry['epoch']}/{epochs}: " + ", ".join([*losses, *found, seconds])
