"""A folder per class below a folder per split, and a file that is no audio."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile

NAMES = tuple(
    f"{split}/{label}/{name}.wav"
    for split in ("train", "validation", "test")
    for label in ("dog", "cat")
    for name in ("a", "b")
)


def write_clips(folder: Path, names: tuple[str, ...] = NAMES) -> None:
    """Write clips of 0.2 s, each of its own loudness."""
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, np.full(3200, 0.1 + 0.01 * number), 16_000)


def write(folder: Path) -> str:
    """Write the corpus; returns how it is named."""
    write_clips(folder)
    (folder / "train/dog/notes.txt").write_text("a dog")
    return f"folder:{folder}"
