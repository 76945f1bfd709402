"""One epoch of the real training loop, with a clock at the door that batches come through."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from cache_schema.reader import Cache
from student.runs.settings import Settings, find_recipe, parse_distillation, resolve_label_weight
from student.stream.batch import Batch
from student.stream.epoch_rows import EpochRows
from student.stream.stream import EVERY, Stream
from student.stream.unit_loader import UnitLoader
from student.training.loggers.session import LoggerSession
from student.training.loop import Trainer
from student.training.objective import build_objective, needed_signals
from student.training.train import begin_run

DISTILLED = ("temporal=0.25", "logits=0.25")


@dataclass
class Watched:
    """Batches of an epoch on their way to the trainer, in the place of its stream.

    Attributes
    ----------
    batches : callable
        Starts an epoch.
    limit : int or None
        Batches after which the epoch ends.
    waits_s : list of float
        Wall time the trainer waited for each batch after the first, and for the end.
    first_wall_s, first_cpu_s : float
        Until the first batch came.
    wall_s, cpu_s : float
        From then to the end of the epoch: waits and steps.
    clips : int
        In those steps.
    epoch_rows : EpochRows
        As of the stream: every row comes once.
    """

    batches: Callable[[], Iterable[Batch]]
    limit: int | None = None
    waits_s: list[float] = field(default_factory=list)
    first_wall_s: float = 0.0
    first_cpu_s: float = 0.0
    wall_s: float = 0.0
    cpu_s: float = 0.0
    clips: int = 0
    epoch_rows: EpochRows = EVERY

    def epoch(self, _epoch: int, _first_batch: int = 0) -> Iterator[Batch]:
        """Give the batches of an epoch, as `Stream.epoch`."""
        asked_s, asked_cpu_s = time.perf_counter(), time.process_time()
        batches = iter(self.batches())
        batch = next(batches, None)
        began_s, began_cpu_s, number = time.perf_counter(), time.process_time(), 0
        self.first_wall_s, self.first_cpu_s = began_s - asked_s, began_cpu_s - asked_cpu_s
        while batch is not None:
            self.clips += len(batch.clips)
            yield batch
            number += 1
            asked_s = time.perf_counter()
            batch = None if number == self.limit else next(batches, None)
            self.waits_s.append(time.perf_counter() - asked_s)
        self.wall_s = time.perf_counter() - began_s
        self.cpu_s = time.process_time() - began_cpu_s

    @property
    def started_clip_s(self) -> float:
        """Wall time for each clip from the first batch on."""
        return self.wall_s / self.clips

    @property
    def clip_cpu_s(self) -> float:
        """CPU time for each clip, that until the first batch included."""
        return (self.first_cpu_s + self.cpu_s) / self.clips

    @property
    def clip_s(self) -> float:
        """Wall time for each clip, that until the first batch included."""
        return (self.first_wall_s + self.wall_s) / self.clips

    @property
    def waited(self) -> float:
        """Share of the epoch that the trainer waited, for its first batch too."""
        return (self.first_wall_s + sum(self.waits_s)) / (self.first_wall_s + self.wall_s)


def settings_of(student: str, distill: tuple[str, ...] = DISTILLED) -> Settings:
    """One epoch of a student's own recipe."""
    entries = tuple(parse_distillation(text) for text in distill)
    return Settings(
        student=student,
        student_options={},
        distill=entries,
        label_weight=resolve_label_weight(entries, None),
        seed=0,
        recipe=replace(find_recipe(None, student), epochs=1),
    )


def loader_of(cache: Cache, settings: Settings, *, held: bool = True) -> UnitLoader:
    """The trainer's own reader, which keeps units in memory or reads them in every epoch."""
    front_end = build_objective(cache, settings).student.front_end
    budget_bytes = 2 << 30 if held else 0
    return UnitLoader(cache, front_end, needed_signals(settings), budget_bytes=budget_bytes)


def cached_batches(loader: UnitLoader, settings: Settings) -> Callable[[], Iterator[Batch]]:
    """The trainer's own stream."""
    size = settings.recipe.batch_size
    stream = Stream(loader, "train", batch_size=size, seed=0)
    return lambda: stream.epoch(0)


def train_epoch(
    cache: Cache,
    settings: Settings,
    batches: Callable[[], Iterable[Batch]],
    limit: int | None = None,
) -> Watched:
    """Train a fresh student for an epoch."""
    watched = Watched(batches, limit)
    with tempfile.TemporaryDirectory() as run:
        begin_run(Path(run), settings, cache)
        training = Trainer(cache, settings, Path(run), build_objective(cache, settings), "cpu")
        training.streams = [watched]  # type: ignore[list-item]
        loggers = LoggerSession((), training.run, {}, lambda _: None)
        training.run_epochs(lambda _: None, loggers)
    return watched
