"""Shuffled streaming of targets and log-mel against np.memmap, both through the trainer's stream."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from figures import Figure, interleaved, median
from synthetic import CLASSES, FEATURES, SIGNALS, random_rows, write_cache

from cache_schema.frame_grid import FrameGrid
from cache_schema.front_ends import FRONT_ENDS
from cache_schema.reader import Cache, Ragged, Unit
from student.stream.stream import Stream
from student.stream.unit_loader import UnitData, UnitLoader

BATCH = 64
AGAINST = "np.memmap, same shuffle, collate and threads"


class MemmapLoader:
    """Rows as one flat memory-mapped file a signal, with offsets in memory and nothing checked."""

    def __init__(
        self, folder: Path, cache: Cache, rows: Sequence[Mapping[str, np.ndarray]]
    ) -> None:
        folder.mkdir(exist_ok=True)
        self.cache = cache
        self._labels = np.eye(len(CLASSES), dtype=np.uint8)[np.arange(len(rows)) % len(CLASSES)]
        self._starts, self._files = {}, {}
        for name in (*SIGNALS, FEATURES):
            flat = np.concatenate([np.atleast_1d(row[name]) for row in rows])
            flat.tofile(folder / name)
            self._starts[name] = np.cumsum([0, *(len(row[name]) for row in rows)])
            mapped = np.memmap(folder / name, np.float16, "r", shape=flat.shape)
            self._files[name] = mapped.view(np.ndarray)

    def load_all(self, units: Iterable[Unit]) -> Iterator[UnitData]:
        """Load units in this order."""
        return map(self.load, units)

    def load(self, unit: Unit) -> UnitData:
        """Views of the mapped files."""
        first, last = unit.first_clip, unit.first_clip + unit.rows
        ragged = {}
        for name in ("temporal_attention", FEATURES):
            starts = self._starts[name][first : last + 1]
            ragged[name] = Ragged(self._files[name][starts[0] : starts[-1]], starts - starts[0])
        logits = self._files["logits"].reshape(-1, len(CLASSES))[first:last]
        preset = FRONT_ENDS[FEATURES]
        return UnitData(
            clips=np.arange(first, last),
            labels=self._labels[first:last],
            labelled=np.ones(last - first, np.bool_),
            features=ragged[FEATURES],
            feature_grid=FrameGrid(preset.hop_s, preset.first_frame_s),
            signals={"logits": logits, "temporal_attention": ragged["temporal_attention"]},
        )


def measure(scratch: Path, *, quick: bool) -> Iterator[Figure]:
    """Clips per second of whole epochs, as a share of np.memmap's."""
    generator = np.random.default_rng(0)
    scale = 20 if quick else 1
    cases = {
        "1 s": np.ones(40_960 // scale),
        "10 s": np.full(4096 // scale, 10.0),
        "1 to 30 s": np.exp(generator.uniform(0, np.log(30), 4096 // scale)),
    }
    for name, lengths_s in cases.items():
        rows = random_rows(lengths_s.tolist())
        cache = write_cache(scratch / "cache.zarr", rows)
        memmap = MemmapLoader(scratch / "memmap", cache, rows)
        del rows
        yield from _compare(name, cache, memmap, rounds=1 if quick else 7)


def _compare(name: str, cache: Cache, memmap: MemmapLoader, rounds: int) -> Iterator[Figure]:
    loaders = {
        "memmap": memmap,
        "cache, read every epoch": UnitLoader(cache, FEATURES, SIGNALS, budget_bytes=0),
        "cache, held in memory": UnitLoader(cache, FEATURES, SIGNALS, budget_bytes=8 << 30),
    }
    streams = {
        k: Stream(loader, "train", batch_size=BATCH, seed=0) for k, loader in loaders.items()
    }  # type: ignore[arg-type]
    epochs = {key: _epoch(stream) for key, stream in streams.items()}
    wall = interleaved(epochs, rounds)
    cpu = interleaved(epochs, max(1, rounds // 2), time.process_time)
    clips = cache.manifest.corpus.clips
    for key in list(loaders)[1:]:
        ratios = [m / c for m, c in zip(wall["memmap"], wall[key], strict=True)]
        yield Figure(
            what=f"{name}: {key}",
            value=median(wall["memmap"]) / median(wall[key]),
            unit="x",
            bound=">= 0.90",
            against=AGAINST,
            details={
                "clips_per_s": clips / median(wall[key]),
                "memmap_clips_per_s": clips / median(wall["memmap"]),
                "clips_per_cpu_s": clips / median(cpu[key]),
                "memmap_clips_per_cpu_s": clips / median(cpu["memmap"]),
                "ratio_of_each_round": ratios,
            },
        )
        yield Figure(
            what=f"{name}: {key}, CPU time",
            value=median(cpu["memmap"]) / median(cpu[key]),
            unit="x",
            against=AGAINST,
        )


def _epoch(stream: Stream):
    def run() -> int:
        return sum(len(batch.clips) for batch in stream.epoch(0))

    return run
