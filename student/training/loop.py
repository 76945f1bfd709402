"""The training loop: one student, one seed, exact resume after each epoch and inside it.

The training state is the one file that continues a training. Metrics and best weights follow from it
and are written after it: a kill in between is made good when the training is resumed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch

from cache_schema.command_line.interrupts import deferred_interrupts
from cache_schema.errors import RunError, is_out_of_memory
from cache_schema.reader import Cache
from cache_schema.store.files import check_in_place
from student.metrics import Score, measure
from student.runs.checkpoint import (
    damaged_state,
    load_state,
    save_state,
    save_weights,
    write_lines,
)
from student.runs.predict import student_predictions
from student.runs.run_config import CONFIG
from student.runs.settings import Settings
from student.stream.epoch_rows import EpochRows
from student.stream.lane import Lane
from student.stream.stream import Stream
from student.stream.unit_loader import BUDGET_BYTES, UnitLoader
from student.training.determinism import sequence_seed
from student.training.learner import Learner
from student.training.loggers.session import LoggerSession
from student.training.objective import Objective, class_maps, needed_signals
from student.training.processes import ALONE, Processes
from student.training.progress import Progress

METRIC_LINES = "metrics.jsonl"
TRAIN, VALIDATION = "train", "validation"
TRAIN_LOSS, VALIDATION_LOSS = "train_loss_", "validation_loss"
# A kill costs no more training than this; what the epoch had read before it is read again too.
SAVE_EVERY_S = 300.0

Log = Callable[[str], None]


class Trainer:
    """One training under way: what learns, what it reads and how far it is."""

    def __init__(
        self,
        cache: Cache,
        settings: Settings,
        run: Path,
        objective: Objective,
        device: str,
        source: str | None = None,
        processes: Processes = ALONE,
    ) -> None:
        self.cache, self.settings, self.run = cache, settings, run
        self.processes = processes
        front_end = objective.student.front_end
        self.recipe = settings.recipe
        self.learner = Learner(objective, settings, cache, device, processes)
        self.streams = training_streams(
            cache, settings, front_end, source, self.learner.exchange.own
        )
        self.plain_loader = UnitLoader(cache, front_end, (), source=source)
        self.teacher: dict[str, float | str | None] = {}
        self.progress = Progress()
        self._marked_s = time.monotonic()
        self._resume()

    def run_epochs(self, log: Log, loggers: LoggerSession | None = None) -> None:
        """Train what is left; a signal is obeyed after the step, or the validation, in hand.

        Raises
        ------
        RunError
            Kind ``"interrupted"``, the state being saved; ``"not_finite"``.
        """
        if self.progress.steps:
            log(f"continuing after {self.progress} of {self.recipe.epochs}")
        with deferred_interrupts() as stop_requested:
            if loggers is not None:
                loggers.begin(self.progress.history)
            while not self.settings.ends(self.progress.epoch, self.progress.risen):
                self._train_epoch(stop_requested)
                entry = self._finish_epoch()
                if loggers is not None:
                    loggers.extend(entry)
                log(_epoch_line(entry, self.recipe.epochs))
                if self.processes.any(stop_requested()):
                    raise self._interrupted()
        if self.progress.epoch < self.recipe.epochs:
            log(
                f"ended after epoch {self.progress.epoch} of {self.recipe.epochs}: no better validation "
                f"score since epoch {self.progress.risen} (--patience {self.settings.patience})"
            )

    def _train_epoch(self, stop_requested: Callable[[], bool]) -> None:
        """Train what is left of an epoch."""
        progress = self.progress
        if progress.batch == 0:
            torch.manual_seed(sequence_seed(self.settings.seed, progress.epoch))
        self.learner.begin_epoch()
        units = self.cache.units(TRAIN, progress.epoch % self.cache.views)
        planned = self.streams[0].epoch_rows.rows(sum(unit.rows for unit in units))
        with ExitStack() as streams:
            lanes = [
                streams.enter_context(closing(stream.epoch(progress.epoch, progress.batch)))
                for stream in self.streams
            ]
            while True:
                try:
                    batches = [next(lane, None) for lane in lanes]
                except KeyboardInterrupt:  # what holds the cache does not answer
                    self._save()
                    raise self._interrupted() from None
                if self.processes.count == 1 and not any(batches):
                    return
                done = progress.epoch + min(1.0, progress.clips / planned)
                learned = self.learner.step(batches, progress, done, stop_requested)
                if not learned.clips:
                    return
                progress.count_step(learned.losses, learned.clips)
                if learned.stop:
                    self._save()
                    raise self._interrupted()
                if time.monotonic() - self._marked_s >= SAVE_EVERY_S:
                    self._save()

    def _interrupted(self) -> RunError:
        return RunError(
            f"stopped after {self.progress} of {self.recipe.epochs}; {self.run} holds the state. Repeat "
            "the command to go on there.",
            kind="interrupted",
        )

    def _finish_epoch(self) -> dict[str, Any]:
        """Validate, make the epoch count by saving the state, then write what follows from it."""
        progress = self.progress
        self.learner.end_epoch((progress.epoch + 1) / self.recipe.epochs)
        validates = self.settings.validates(progress.epoch + 1)
        found = _validate(self.learner, self.plain_loader, self.settings) if validates else None
        entry: dict[str, Any] = {"epoch": progress.epoch + 1}
        entry |= {f"{TRAIN_LOSS}{name}": mean for name, mean in progress.mean_losses().items()}
        if found is not None:
            score, loss = found
            entry[f"validation_{score.metric}"] = score.json_value
            entry[VALIDATION_LOSS] = loss
        entry |= {f"teacher_{split}": value for split, value in self.teacher.items()}
        entry["learning_rate"] = self.learner.learning_rate
        entry["seconds"] = self._mark_time()
        progress.count_epoch(entry)
        if validates:
            progress.count_validation(None if found is None else found[0].value)
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
        if not self.processes.writes:
            return
        check_in_place(self.run / CONFIG, "run")
        state = {f.name: getattr(self.progress, f.name) for f in fields(Progress)}
        save_state(self.run, state | self.learner.state())

    def _write_results(self) -> None:
        """Write what follows from the state at the end of an epoch."""
        if not self.processes.writes:
            return
        write_lines(self.run / METRIC_LINES, self.progress.history)
        if self.progress.best_is_last:
            save_weights(self.run, self.learner.eval_model)

    def _resume(self) -> None:
        state = load_state(self.run)
        if state is None:
            return
        try:
            self._restore(state)
        except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
            if is_out_of_memory(error):  # the state is good
                raise
            raise damaged_state(self.run, error) from None

    def _restore(self, state: dict[str, Any]) -> None:
        """Take up a state, and write what follows from it."""
        self.progress = Progress(**{f.name: state[f.name] for f in fields(Progress)})
        self.learner.restore(state)
        if self.progress.batch == 0:
            self._write_results()


def rows_of(cache: Cache, settings: Settings) -> EpochRows:
    """Find the rows of an epoch of a training."""
    if settings.distill:
        return EpochRows.of(cache, TRAIN, settings.labelled_share, settings.unlabelled)
    return EpochRows.alone(cache, TRAIN, settings.unlabelled)


def training_streams(
    cache: Cache, settings: Settings, front_end: str, source: str | None, lanes: Sequence[int]
) -> list[Stream]:
    """Build what each lane of a training reads: features from `source`, and its losses' signals."""
    maps, signals = class_maps(cache, settings), needed_signals(settings)
    epoch_rows = rows_of(cache, settings)
    return [
        Stream(
            UnitLoader(
                cache,
                front_end,
                signals,
                class_maps=maps,
                budget_bytes=BUDGET_BYTES // len(lanes),
                source=source,
            ),
            TRAIN,
            batch_size=settings.recipe.batch_size,
            seed=settings.seed,
            epoch_rows=epoch_rows,
            lane=Lane(lane, settings.lanes),
        )
        for lane in lanes
    ]


def _validate(
    learner: Learner, loader: UnitLoader, settings: Settings
) -> tuple[Score, float] | None:
    """Score and label loss on the validation split, where it has any."""
    if VALIDATION not in loader.cache.splits:
        return None
    predictions = student_predictions(
        learner.eval_model, loader, VALIDATION, device=learner.fabric.device
    )
    found = measure(predictions, settings.metric)
    return (found, float(predictions.losses().mean())) if found.defined else None


def _epoch_line(entry: dict[str, Any], epochs: int) -> str:
    losses = [
        f"{k.removeprefix(TRAIN_LOSS)} {v:.4f}"
        for k, v in entry.items()
        if k.startswith(TRAIN_LOSS)
    ]
    found = [
        f"{k.replace('_', ' ')} {float(v):.4f}"
        for k, v in entry.items()
        if k.startswith(VALIDATION)
    ]
    seconds = f"{entry['seconds']:.1f} s"
    return f"epoch {entry['epoch']}/{epochs}: " + ", ".join([*losses, *found, seconds])
