"""Stream a cache to the trainer: units permuted, read ahead, mixed, batched by length.

The order is a function of (seed, epoch) alone, so a position (epoch, batch) is exact and resumable.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Iterator
from functools import partial
from itertools import islice
from typing import TypeVar

import numpy as np

from student.stream.batch import Batch
from student.stream.epoch_rows import EpochRows
from student.stream.lane import WHOLE, Lane, Piece
from student.stream.unit_loader import RowRef, UnitData, UnitLoader, collate

READ_AHEAD_BATCHES = 4
POLL_S = 0.1
EVERY = EpochRows()

Item = TypeVar("Item")
Part = tuple[UnitData, range]


class Stream:
    """Batches of one split.

    Parameters
    ----------
    loader : UnitLoader
        Reads the cache.
    split : str
        Split to stream.
    batch_size : int
        Rows per batch; the last batch of an epoch may be smaller.
    seed : int
        Seed of all orders.
    mixed_units : int
        Units whose rows are mixed with each other in memory.
    epoch_rows : EpochRows
        Which rows a training epoch has, and how often.
    lane : Lane
        Part of the rows of a training epoch that is streamed; by default all.
    """

    def __init__(
        self,
        loader: UnitLoader,
        split: str,
        *,
        batch_size: int,
        seed: int,
        mixed_units: int = 8,
        epoch_rows: EpochRows = EVERY,
        lane: Lane = WHOLE,
    ) -> None:
        self.loader = loader
        self.split = split
        self.batch_size = batch_size
        self.seed = seed
        self.mixed_units = mixed_units
        self.epoch_rows = epoch_rows
        self.lane = lane

    def epoch(self, epoch: int, first_batch: int = 0) -> Generator[Batch, None, None]:
        """Yield the batches of a training epoch from `first_batch` on.

        With K views cached, epoch e streams view ``e mod K``.
        """
        units = self.loader.cache.units(self.split, epoch % self.loader.cache.views)
        random = np.random.Generator(np.random.Philox([self.seed, epoch]))
        order = [units[i] for i in random.permutation(len(units))]
        pieces = self.lane.pieces(order)
        if self.lane.count > 1:
            random = self.lane.random(self.seed, epoch)
        batched = partial(
            self._shuffled, pieces=len(pieces), random=random, first_batch=first_batch
        )
        return self._streamed(pieces, batched)

    def in_order(self) -> Generator[Batch, None, None]:
        """Yield every row of view 0 once, in the order of the cache, for validation and test."""
        units = self.loader.cache.units(self.split, 0)
        return self._streamed(WHOLE.pieces(units), self._sequential)

    def _streamed(
        self, pieces: list[Piece], batched: Callable[[Iterator[Part]], Iterator[Batch]]
    ) -> Generator[Batch, None, None]:
        """Read units in one thread and build batches in another, both ahead of the caller."""
        stop = threading.Event()
        units = self.loader.load_all([piece.unit for piece in pieces])
        parts = (
            (rows, piece.rows(len(rows.clips))) for rows, piece in zip(units, pieces, strict=True)
        )
        units_ahead = _prefetched(parts, self.mixed_units, stop)
        ready = _prefetched(batched(units_ahead), READ_AHEAD_BATCHES, stop)
        try:
            # Not `yield from`, which would close `ready` before `finally` comes.
            for batch in ready:  # noqa: UP028
                yield batch
        finally:
            stop.set()  # both at once: the second thread may be waiting for units of the first
            ready.close()
            units_ahead.close()

    def _sequential(self, loaded: Iterator[Part]) -> Iterator[Batch]:
        waiting: list[RowRef] = []
        for rows, part in loaded:
            waiting += [(rows, row) for row in part]
            while len(waiting) >= self.batch_size:
                yield collate(waiting[: self.batch_size])
                del waiting[: self.batch_size]
        if waiting:
            yield collate(waiting)

    def _shuffled(
        self,
        loaded: Iterator[Part],
        pieces: int,
        random: np.random.Generator,
        first_batch: int,
    ) -> Iterator[Batch]:
        """Mix groups of units; what does not fill a batch is carried into the next group."""
        carried: list[RowRef] = []
        carried_frames = np.zeros(0, np.int64)
        number = 0
        for start in range(0, pieces, self.mixed_units):
            group = list(islice(loaded, self.mixed_units))
            fresh = [(rows, row) for rows, part in group for row in part]
            clips = np.concatenate([rows.clips[p.start : p.stop] for rows, p in group])
            labelled = np.concatenate([rows.labelled[p.start : p.stop] for rows, p in group])
            places = self.epoch_rows.places(clips, labelled, random)
            pool = carried + [fresh[place] for place in places.tolist()]
            lengths = np.concatenate([rows.features.lengths[p.start : p.stop] for rows, p in group])
            frames = np.concatenate([carried_frames, lengths[places]])
            order = random.permutation(len(pool))
            last = start + self.mixed_units >= pieces
            whole = len(pool) if last else len(pool) - len(pool) % self.batch_size
            alike = order[:whole][np.argsort(frames[order[:whole]], kind="stable")]
            batches = [alike[i : i + self.batch_size] for i in range(0, whole, self.batch_size)]
            for index in random.permutation(len(batches)):
                if number >= first_batch:
                    yield collate([pool[place] for place in batches[index]])
                number += 1
            carried, carried_frames = [pool[p] for p in order[whole:]], frames[order[whole:]]


def _prefetched(
    items: Iterator[Item], count: int, stop: threading.Event
) -> Generator[Item, None, None]:
    """Run an iterator in a thread, `count` items ahead, until it ends or `stop` is set.

    An error in the thread is raised here. Closing the generator waits for the thread, so `stop` must be
    set before it is closed early.
    """
    ready: queue.Queue[Item | BaseException | None] = queue.Queue(count)

    def put(item: Item | BaseException | None) -> bool:
        while not stop.is_set():
            try:
                ready.put(item, timeout=POLL_S)
            except queue.Full:
                continue
            return True
        return False

    def work() -> None:
        try:
            for item in items:
                if not put(item):
                    return
            put(None)
        except BaseException as error:
            put(error)

    thread = threading.Thread(target=work, name="aftersound-stream", daemon=True)
    thread.start()
    try:
        while not stop.is_set():
            try:
                item = ready.get(timeout=POLL_S)
            except queue.Empty:
                continue
            if item is None:
                return
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        thread.join()
