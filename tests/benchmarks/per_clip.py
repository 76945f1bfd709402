"""The usual ways to read cached rows: a Dataset that gets one clip at a time, in a DataLoader."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import zarr
from torch.utils.data import DataLoader, Dataset, RandomSampler

from cache_schema.frame_grid import FrameGrid
from cache_schema.front_ends import FRONT_ENDS
from cache_schema.reader import Cache, Ragged
from student.stream.batch import Batch, pad_rows

Item = dict[str, Any]
STARTED_WITHIN_S = 120
PART = "part-000"


class ZarrClips(Dataset[Item]):
    """Index the Zarr arrays of a cache by row; where rows begin is held in memory."""

    def __init__(self, cache: Cache, names: Sequence[str]) -> None:
        self.folder = cache.root / "parts" / PART
        self.rows: list[tuple[int, dict[str, slice | int], np.ndarray]] = []
        part = cache.parts[0]
        for unit in cache.units("train", 0):
            found = cache.read_unit(unit, names)
            for row, clip in enumerate(found.clip):
                places = {name: _place(found.signals[name], part.plan.signal(name), unit.number, row)
                          for name in names}  # fmt: skip
                self.rows.append((int(clip), places, found.labels[row]))
        self.arrays: dict[str, Any] = {}

    def __len__(self) -> int:
        """Count of clips."""
        return len(self.rows)

    def __getitem__(self, index: int) -> Item:
        """Read the rows of one clip."""
        clip, places, labels = self.rows[index]
        if not self.arrays:  # in the process that reads
            self.arrays = {name: zarr.open_array(self.folder / name, mode="r") for name in places}
        values = {name: np.asarray(self.arrays[name][place]) for name, place in places.items()}
        return {"clip": clip, "labels": labels, **values}


def _place(values: Any, spec: Any, unit: int, row: int) -> slice | int:
    first = unit * spec.chunk_length
    if not isinstance(values, Ragged):
        return int(first + row)
    return slice(int(first + values.starts[row]), int(first + values.starts[row + 1]))


class NpzClips(Dataset[Item]):
    """One .npz for each clip."""

    def __init__(self, folder: Path, clips: Dataset[Item], count: int) -> None:
        folder.mkdir(exist_ok=True)
        self.paths = [folder / f"{index}.npz" for index in range(count)]
        for index, path in enumerate(self.paths):
            np.savez(path, **clips[index])

    def __len__(self) -> int:
        """Count of clips."""
        return len(self.paths)

    def __getitem__(self, index: int) -> Item:
        """Load one file."""
        with np.load(self.paths[index]) as arrays:
            return {name: arrays[name] for name in arrays.files}


class Collate:
    """Build the trainer's batch of items."""

    def __init__(self, front_end: str) -> None:
        self.front_end = front_end

    def __call__(self, items: Sequence[Item]) -> Batch:
        """Pad and stack."""
        preset = FRONT_ENDS[self.front_end]
        features_BTM, lengths_B = pad_rows([item[self.front_end] for item in items])
        names = [name for name in items[0] if name not in ("clip", "labels", self.front_end)]
        padded = {name: pad_rows([item[name] for item in items]) for name in names}
        labels_BC = torch.from_numpy(np.stack([item["labels"] for item in items])).float()
        return Batch(
            features_BTM=features_BTM,
            lengths_B=lengths_B,
            labels_BC=labels_BC,
            labelled_B=labels_BC.any(1),
            signals={name: values for name, (values, _) in padded.items()},
            signal_lengths={name: lengths for name, (_, lengths) in padded.items()},
            clips=np.array([item["clip"] for item in items], np.int64),
            feature_grid=FrameGrid(preset.hop_s, preset.first_frame_s),
        )


def data_loaders(
    datasets: Mapping[str, Dataset[Item]],
    front_end: str,
    *,
    batch_size: int,
    clips: int,
    workers: Sequence[int],
) -> dict[str, Callable[[], DataLoader[Item]]]:
    """Each dataset with so many workers, over so many random clips of it."""

    def loader(dataset: Dataset[Item], count: int) -> DataLoader[Item]:
        return DataLoader(
            dataset,
            batch_size=batch_size,
            sampler=RandomSampler(dataset, num_samples=clips),  # type: ignore[arg-type]
            num_workers=count,
            collate_fn=Collate(front_end),
            timeout=STARTED_WITHIN_S if count else 0,
            # Threads of the trainer and of zarr do not survive a fork.
            multiprocessing_context="spawn" if count else None,
        )

    return {
        f"{name}, {count} workers": partial(loader, dataset, count)
        for name, dataset in datasets.items()
        for count in workers
    }
