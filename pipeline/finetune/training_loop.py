"""The training loop of `finetune-teacher`: epochs that can be killed and continued.

Shape suffixes: B clips in batch, C classes, N clips.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cache_schema.errors import RunError
from pipeline.finetune.augmentation import SpecAugmentHook, add_noise, mix_batch
from pipeline.finetune.data import AudioBatch, LabelledAudio
from pipeline.finetune.metrics import macro_average_precision, top_1_accuracy
from pipeline.finetune.optimizer import Optimizer, freeze, training_mode
from pipeline.finetune.recipe import FineTuneRecipe
from pipeline.finetune.saved_state import (
    BEST_FILE,
    STATE_FILE,
    changing_weights,
    loaded,
    save,
    take_weights,
)
from pipeline.teachers.hugging_face import HuggingFaceTeacher

_REPORT_EVERY_S = 15.0


class FineTuning:
    """One run: a model, its optimiser, what it has scored so far.

    Parameters
    ----------
    teacher : HuggingFaceTeacher
        With a model adopted in training configuration.
    audio : LabelledAudio
        What it learns from.
    recipe : FineTuneRecipe
        How.
    folder : Path
        Keeps the state after each epoch and the best weights.
    report : callable
        Called with progress, line by line.
    """

    def __init__(
        self,
        teacher: HuggingFaceTeacher,
        audio: LabelledAudio,
        recipe: FineTuneRecipe,
        *,
        folder: Path,
        report: Callable[[str], None],
    ) -> None:
        self.teacher, self.audio, self.recipe = teacher, audio, recipe
        self.folder, self.report = folder, report
        self.multi = audio.corpus.task == "multi"
        self.metric = "macro mAP" if self.multi else "accuracy"
        self.epochs: list[dict[str, float]] = []
        freeze(teacher, recipe.freeze_layers, front_end=not recipe.train_front_end)
        self._epoch_steps = audio.step_count("train", recipe.batch_size * recipe.accumulate)
        self._optimizer = Optimizer(teacher, recipe, steps=recipe.epochs * self._epoch_steps)
        self._spec_augment = SpecAugmentHook(teacher) if recipe.spec_augment else None

    @property
    def best_epoch(self) -> int:
        """Give the epoch, from 1, of the best validation score; the first of equals."""
        return 1 + max(range(len(self.epochs)), key=lambda e: self.epochs[e]["validation"])

    def run(self, *, finish: bool = False) -> None:
        """Train until the last epoch or until patience ends, then take the best weights.

        With `finish` no epoch is added to those that an earlier run has trained.
        """
        self._resume()
        while not finish and not self.finished():
            epoch, start_s = len(self.epochs) + 1, time.monotonic()
            loss = self._train_epoch(epoch)
            score = self.score("validation")
            self.epochs.append({"loss": loss, "validation": score})
            self._keep()
            self.report(
                f"epoch {epoch} of {self.recipe.epochs}: loss {loss:.4f}, validation {self.metric} "
                f"{score:.4f}{' (best)' if self.best_epoch == epoch else ''}, "
                f"{time.monotonic() - start_s:.0f} s"
            )
        with loaded(self.folder / BEST_FILE, self.teacher.device) as best:
            take_weights(self.teacher.model, best)

    def score(self, split: str) -> float:
        """Score a split with the model as it is: accuracy, or macro mAP if multi-label."""
        found = _split_logits(self.teacher, self.audio, split, self.recipe.batch_size)
        metric = macro_average_precision if self.multi else top_1_accuracy
        return metric(*found)

    def finished(self) -> bool:
        """Whether all epochs are done, or none was better for too long."""
        since_best = len(self.epochs) - self.best_epoch if self.epochs else 0
        return len(self.epochs) >= self.recipe.epochs or since_best >= self.recipe.patience

    def _train_epoch(self, epoch: int) -> float:
        recipe = self.recipe
        _seed_everything(recipe.seed, epoch)
        training_mode(self.teacher.model)
        progress = _Progress(epoch, self._epoch_steps, self.report)
        losses: list[float] = []
        clips: list[int] = []
        steps = self.audio.steps(
            "train",
            recipe.batch_size,
            accumulate=recipe.accumulate,
            balanced=recipe.balanced,
            seed=(recipe.seed, epoch),
        )
        for number, batches in enumerate(steps, 1):
            losses.append(self._step(batches, (recipe.seed, epoch, number)))
            clips.append(sum(len(batch.waveforms) for batch in batches))
            progress.tick(clips[-1], losses[-1])
        if not losses:
            raise RunError("no training clip can be decoded; see above", kind="corpus")
        return float(np.average(losses, weights=clips))

    def _step(self, batches: Sequence[AudioBatch], seed: tuple[int, ...]) -> float:
        """Learn from the mean over the clips of some batches at once."""
        clips, value = sum(len(batch.waveforms) for batch in batches), 0.0
        for number, batch in enumerate(batches, 1):
            loss = self._loss(batch, np.random.default_rng((*seed, number)))
            loss = loss * (len(batch.waveforms) / clips)
            value += loss.item()
            if not math.isfinite(value):
                raise RunError(
                    f"the loss became {value} in epoch {len(self.epochs) + 1}; repeat with a "
                    f"smaller --learning-rate than {self.recipe.learning_rate:g} and another --out",
                    kind="diverged",
                )
            self._optimizer.add_gradient(loss)
        self._optimizer.step()
        return value

    def _loss(self, batch: AudioBatch, random: np.random.Generator) -> Tensor:
        """Compute the mean loss of one batch, altered as the recipe requires."""
        if self.recipe.mixup:
            batch = mix_batch(batch, self.recipe.mixup, random)
        waveforms = batch.waveforms
        if (snr_db := self.recipe.noise_snr_db) is not None:
            waveforms = [add_noise(waveform, snr_db, random) for waveform in waveforms]
        samples = [len(waveform) for waveform in waveforms]
        hiding = self._spec_augment.hiding(samples, random) if self._spec_augment else nullcontext()
        with self._optimizer.precision(), hiding:
            logits_BC = self.teacher.logits(_padded(waveforms, self.teacher.batching)).float()
        labels_BC = torch.from_numpy(batch.labels).to(logits_BC.device)
        if self.multi:
            return nn.functional.binary_cross_entropy_with_logits(logits_BC, labels_BC)
        return nn.functional.cross_entropy(logits_BC, labels_BC)  # probabilities: mixed labels too

    def _keep(self) -> None:
        """Write the state, then the best weights, which it holds too: see `_resume`."""
        weights = changing_weights(self.teacher.model)
        state = {"epochs": self.epochs, "unusable": self.audio.unusable, "weights": weights}
        state |= self._optimizer.state()
        save(self.folder / STATE_FILE, state)
        self._keep_best()

    def _keep_best(self) -> None:
        if self.best_epoch == len(self.epochs):
            save(self.folder / BEST_FILE, changing_weights(self.teacher.model))

    def _resume(self) -> None:
        path = self.folder / STATE_FILE
        if not path.is_file():
            return
        with loaded(path, self.teacher.device) as state:
            self.epochs = _checked_epochs(state["epochs"])
            self.audio.unusable |= state.get("unusable", {})  # earlier versions kept none
            take_weights(self.teacher.model, state["weights"])
            self._optimizer.restore(state)
        self._keep_best()  # a kill may have come before they were written
        self.report(f"continuing after epoch {len(self.epochs)}")


def _split_logits(
    teacher: HuggingFaceTeacher, audio: LabelledAudio, split: str, batch_size: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Logits and labels of a split with the model as it is, (N, C) each."""
    teacher.model.eval()
    logits: list[NDArray[np.float32]] = []
    labels: list[NDArray[np.float32]] = []
    with torch.inference_mode():
        for batch in audio.batches_by_length(split, batch_size):
            logits.append(teacher.logits(batch.waveforms).cpu().numpy())
            labels.append(batch.labels)
    if not logits:
        raise RunError(f"no clip of split {split!r} can be decoded; see above", kind="corpus")
    return np.concatenate(logits).astype(float), np.concatenate(labels).astype(float)


def _checked_epochs(epochs: Any) -> list[dict[str, float]]:
    """The epochs of a state, which is written after one; `loaded` takes an error for its damage."""
    found = [{"loss": epoch["loss"], "validation": epoch["validation"]} for epoch in epochs]
    if not found or not all(isinstance(v, float) for epoch in found for v in epoch.values()):
        raise ValueError("no scores of epochs")
    return found


class _Progress:
    """Reports now and then how far an epoch is and when it will end."""

    def __init__(self, epoch: int, steps: int, report: Callable[[str], None]) -> None:
        self._epoch, self._steps, self._report = epoch, steps, report
        self._start_s = self._reported_s = time.monotonic()
        self._done = self._clips = 0

    def tick(self, clips: int, loss: float) -> None:
        self._done, self._clips = self._done + 1, self._clips + clips
        now_s = time.monotonic()
        if now_s - self._reported_s < _REPORT_EVERY_S:
            return
        self._reported_s, spent_s = now_s, now_s - self._start_s
        left_s = spent_s / self._done * (self._steps - self._done)
        self._report(
            f"epoch {self._epoch}: step {self._done} of {self._steps}, loss {loss:.4f}, "
            f"{self._clips / spent_s:.1f} clips/s, {left_s:.0f} s left in this epoch"
        )


def _padded(waveforms: Sequence[NDArray[np.float32]], batching: str) -> list[NDArray[np.float32]]:
    """Pad with silence to the longest where the family has no exact mask."""
    longest = max(len(waveform) for waveform in waveforms)
    if batching == "near":
        return list(waveforms)
    return [np.pad(waveform, (0, longest - len(waveform))) for waveform in waveforms]


def _seed_everything(seed: int, epoch: int) -> None:
    """Seed torch (dropout) and NumPy's global generator, by which transformers skips layers."""
    mixed = int(np.random.SeedSequence((seed, epoch)).generate_state(1)[0])
    torch.manual_seed(mixed)
    np.random.seed(mixed)
