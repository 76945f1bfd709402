"""The training loop of `finetune-teacher`: epochs that can be killed and continued.

Shape suffixes: B clips in batch, C classes, N clips.
"""

from __future__ import annotations

import io
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cache_schema.errors import RunError
from cache_schema.storage import write_atomic
from pipeline.finetune_data import Batch, LabelledAudio
from pipeline.scores import accuracy, macro_average_precision
from pipeline.teachers.hugging_face import HuggingFaceTeacher

_REPORT_EVERY_S = 15.0
_GRADIENT_NORM = 1.0

STATE_FILE, BEST_FILE = "state.pt", "best.pt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How to fine-tune.

    Attributes
    ----------
    epochs : int
        At most this many passes over the training clips.
    freeze_layers : int
        Layers that stay as they are, counted from the input, beside the front end.
    train_front_end : bool
        Train the front end too: for a base that has heard nothing yet.
    learning_rate : float
        Peak of the one-cycle schedule (Smith and Topin 2018, https://arxiv.org/abs/1708.07120).
    batch_size : int
        Clips a step.
    patience : int
        Epochs without a better validation score before stopping.
    seed : int
        Of the new head, the order of clips, dropout and SpecAugment.
    """

    epochs: int = 10
    freeze_layers: int = 0
    train_front_end: bool = False
    learning_rate: float = 2e-4
    batch_size: int = 16
    patience: int = 3
    seed: int = 0


class FineTuning:
    """One run: a model, its optimiser, what it has scored so far.

    Parameters
    ----------
    teacher : HuggingFaceTeacher
        With a model adopted in training configuration.
    audio : LabelledAudio
        What it learns from.
    recipe : Recipe
        How.
    folder : Path
        Keeps the state after each epoch and the best weights.
    report : callable
        Told of progress, line by line.
    """

    def __init__(
        self,
        teacher: HuggingFaceTeacher,
        audio: LabelledAudio,
        recipe: Recipe,
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
        self._trained = {n: p for n, p in teacher.model.named_parameters() if p.requires_grad}
        self._optimizer = torch.optim.AdamW(self._trained.values(), lr=recipe.learning_rate)
        steps = recipe.epochs * audio.batch_count("train", recipe.batch_size)
        self._schedule = torch.optim.lr_scheduler.OneCycleLR(
            self._optimizer, max_lr=recipe.learning_rate, total_steps=max(2, steps)
        )

    @property
    def best_epoch(self) -> int:
        """Give the epoch, from 1, of the best validation score; the first of equals."""
        return 1 + max(range(len(self.epochs)), key=lambda e: self.epochs[e]["validation"])

    def run(self) -> None:
        """Train until the last epoch or until patience ends, then take the best weights."""
        self._resume()
        while not self._finished():
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
        self._restore(torch.load(self.folder / BEST_FILE, weights_only=True))

    def score(self, split: str) -> float:
        """Score a split with the model as it is: accuracy, or macro mAP if multi-label."""
        self.teacher.model.eval()
        logits: list[NDArray[np.float32]] = []
        labels: list[NDArray[np.float32]] = []
        with torch.inference_mode():
            for batch in self.audio.of_equal_length(split, self.recipe.batch_size):
                logits.append(self.teacher.logits(batch.waveforms).cpu().numpy())
                labels.append(batch.labels)
        if not logits:
            raise RunError(f"no clip of split {split!r} can be decoded; see above", kind="corpus")
        metric = macro_average_precision if self.multi else accuracy
        return metric(np.concatenate(logits).astype(float), np.concatenate(labels).astype(float))

    def _finished(self) -> bool:
        since_best = len(self.epochs) - self.best_epoch if self.epochs else 0
        return len(self.epochs) >= self.recipe.epochs or since_best >= self.recipe.patience

    def _train_epoch(self, epoch: int) -> float:
        _seed_everything(self.recipe.seed, epoch)
        self.teacher.model.train()
        size = self.recipe.batch_size
        progress = _Progress(epoch, self.audio.batch_count("train", size), self.report)
        losses: list[float] = []
        for batch in self.audio.shuffled("train", size, (self.recipe.seed, epoch)):
            losses.append(self._step(batch))
            progress.tick(len(batch.waveforms), losses[-1])
        if not losses:
            raise RunError("no training clip can be decoded; see above", kind="corpus")
        return float(np.mean(losses))

    def _step(self, batch: Batch) -> float:
        logits_BC = self.teacher.logits(_padded(batch.waveforms, self.teacher.batching))
        loss = self._loss(logits_BC, torch.from_numpy(batch.labels).to(logits_BC.device))
        if not math.isfinite(value := loss.item()):
            raise RunError(
                f"the loss became {value} in epoch {len(self.epochs) + 1}; repeat with a smaller "
                f"--learning-rate than {self.recipe.learning_rate:g} and another --out",
                kind="diverged",
            )
        self._optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self._trained.values(), _GRADIENT_NORM)
        self._optimizer.step()
        self._schedule.step()
        return value

    def _loss(self, logits_BC: Tensor, labels_BC: Tensor) -> Tensor:
        if self.multi:
            return nn.functional.binary_cross_entropy_with_logits(logits_BC, labels_BC)
        return nn.functional.cross_entropy(logits_BC, labels_BC.argmax(dim=1))

    def _keep(self) -> None:
        """Write the best weights first: a kill in between repeats an epoch and loses nothing."""
        weights = {name: parameter.detach() for name, parameter in self._trained.items()}
        if self.best_epoch == len(self.epochs):
            _save(self.folder / BEST_FILE, weights)
        state = {
            "epochs": self.epochs,
            "weights": weights,
            "optimizer": self._optimizer.state_dict(),
            "schedule": self._schedule.state_dict(),
        }
        _save(self.folder / STATE_FILE, state)

    def _resume(self) -> None:
        path = self.folder / STATE_FILE
        if not path.is_file():
            return
        state = torch.load(path, weights_only=True, map_location=self.teacher.device)
        self.epochs = state["epochs"]
        self._restore(state["weights"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._schedule.load_state_dict(state["schedule"])
        self.report(f"continuing after epoch {len(self.epochs)}")

    def _restore(self, weights: dict[str, Tensor]) -> None:
        with torch.no_grad():
            for name, parameter in self._trained.items():
                parameter.copy_(weights[name])


def freeze(teacher: HuggingFaceTeacher, layers: int, *, front_end: bool) -> None:
    """Exclude the first `layers` layers and, with `front_end`, what lies below from training."""
    frozen = teacher.layers()[:layers]
    if front_end:
        frozen += teacher.front_end()
        if hasattr(teacher.model, "freeze_feature_encoder"):
            teacher.model.freeze_feature_encoder()  # else it asks for gradients of its input
    for module in frozen:
        module.requires_grad_(False)


class _Progress:
    """Says now and then how far an epoch is and when it will end."""

    def __init__(self, epoch: int, batches: int, report: Callable[[str], None]) -> None:
        self._epoch, self._batches, self._report = epoch, batches, report
        self._start_s = self._said_s = time.monotonic()
        self._done = self._clips = 0

    def tick(self, clips: int, loss: float) -> None:
        self._done, self._clips = self._done + 1, self._clips + clips
        now_s = time.monotonic()
        if now_s - self._said_s < _REPORT_EVERY_S:
            return
        self._said_s, spent_s = now_s, now_s - self._start_s
        left_s = spent_s / self._done * (self._batches - self._done)
        self._report(
            f"epoch {self._epoch}: batch {self._done} of {self._batches}, loss {loss:.4f}, "
            f"{self._clips / spent_s:.1f} clips/s, {left_s:.0f} s left in this epoch"
        )


def _padded(waveforms: Sequence[NDArray[np.float32]], batching: str) -> list[NDArray[np.float32]]:
    """Pad with silence to the longest where the family has no exact mask."""
    longest = max(len(waveform) for waveform in waveforms)
    if batching == "near":
        return list(waveforms)
    return [np.pad(waveform, (0, longest - len(waveform))) for waveform in waveforms]


def _seed_everything(seed: int, epoch: int) -> None:
    """Seed torch (dropout) and NumPy's global generator, which transformers' SpecAugment uses."""
    mixed = int(np.random.SeedSequence((seed, epoch)).generate_state(1)[0])
    torch.manual_seed(mixed)
    np.random.seed(mixed)


def _save(path: Path, content: dict[str, Any]) -> None:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_atomic(path, buffer.getvalue())
