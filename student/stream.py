"""Stream a cache to the trainer: units permuted, read ahead in a thread, mixed, batched by length.

The order is a function of (seed, epoch) alone, so a position (epoch, batch) is exact and resumable.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterator

import numpy as np
import torch

from cache_schema.reader import Unit
from student.batch import Batch
from student.unit_rows import RowPlace, UnitLoader, collate

READ_AHEAD_BATCHES = 4
POLL_S = 0.1


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
    """

    def __init__(
        self, loader: UnitLoader, split: str, *, batch_size: int, seed: int, mixed_units: int = 8
    ) -> None:
        self.loader = loader
        self.split = split
        self.batch_size = batch_size
        self.seed = seed
        self.mixed_units = mixed_units

    def epoch(self, epoch: int, first_batch: int = 0) -> Generator[Batch, None, None]:
        """Yield the batches of a training epoch from `first_batch` on.

        With K views cached, epoch e streams view ``e mod K``.
        """
        units = self.loader.cache.units(self.split, epoch % self.loader.cache.views)
        random = np.random.Generator(np.random.Philox([self.seed, epoch]))
        order = [units[i] for i in random.permutation(len(units))]
        return _read_ahead(self._shuffled(order, random, first_batch))

    def in_order(self) -> Generator[Batch, None, None]:
        """Yield every row of view 0 once, in the order of the cache, for validation and test."""
        return _read_ahead(self._sequential(self.loader.cache.units(self.split, 0)))

    def _sequential(self, units: list[Unit]) -> Iterator[Batch]:
        waiting: list[RowPlace] = []
        for unit in units:
            rows = self.loader.load(unit)
            waiting += [(rows, row) for row in range(len(rows.clips))]
            while len(waiting) >= self.batch_size:
                yield collate(waiting[: self.batch_size])
                del waiting[: self.batch_size]
        if waiting:
            yield collate(waiting)

    def _shuffled(
        self, units: list[Unit], random: np.random.Generator, first_batch: int
    ) -> Iterator[Batch]:
        """Mix groups of units; what does not fill a batch is carried into the next group."""
        carried: list[RowPlace] = []
        number = 0
        for start in range(0, len(units), self.mixed_units):
            group = [self.loader.load(unit) for unit in units[start : start + self.mixed_units]]
            pool = carried + [(rows, row) for rows in group for row in range(len(rows.clips))]
            pool = [pool[i] for i in random.permutation(len(pool))]
            last = start + self.mixed_units >= len(units)
            whole = len(pool) if last else len(pool) - len(pool) % self.batch_size
            pool, carried = sorted(pool[:whole], key=_frames), pool[whole:]
            batches = [pool[i : i + self.batch_size] for i in range(0, whole, self.batch_size)]
            for index in random.permutation(len(batches)):
                if number >= first_batch:
                    yield collate(batches[index])
                number += 1


def _frames(place: RowPlace) -> int:
    rows, row = place
    return int(rows.features.lengths[row])


def _read_ahead(batches: Iterator[Batch]) -> Generator[Batch, None, None]:
    """Run an iterator in a thread, a few batches ahead.

    An error in the thread is raised here. Closing or dropping the generator ends the thread.
    """
    ready: queue.Queue[Batch | BaseException | None] = queue.Queue(READ_AHEAD_BATCHES)
    stop = threading.Event()
    threads = torch.get_num_threads()

    def put(item: Batch | BaseException | None) -> bool:
        while not stop.is_set():
            try:
                ready.put(item, timeout=POLL_S)
            except queue.Full:
                continue
            return True
        return False

    def work() -> None:
        torch.set_num_threads(threads)  # an OpenMP setting of each thread, not of the process
        try:
            for batch in batches:
                if not put(batch):
                    return
            put(None)
        except BaseException as error:
            put(error)

    thread = threading.Thread(target=work, name="aftersound-stream", daemon=True)
    thread.start()
    try:
        while (item := ready.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stop.set()
        thread.join()
