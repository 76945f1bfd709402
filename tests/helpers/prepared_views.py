"""Recipes made ready for a corpus of eight short clips and a folder of noise; every step once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile

from cache_schema.clip import Clip
from pipeline.audio.decode import decode
from pipeline.views import ViewRecipe
from pipeline.views.interface import ViewContext

RATE_HZ = 8_000
CLASSES = ("high", "low")
TRAIN = range(2, 6)
STEPS = {
    "crop": "crop:length_s=0.08",
    "gain": "gain",
    "mixup": "mixup:alpha=2",
    "noise": "noise:folder=noise",
    "placement": "placement:length_s=0.12",
    "shift": "shift:max_s=0.02",
    "speed": "speed:low=0.8,high=1.25",
}


def clips() -> list[Clip]:
    """Two validation clips, four to train (the last unlabelled), two to test."""
    splits = ["validation"] * 2 + ["train"] * 4 + ["test"] * 2
    return [
        Clip(
            id=f"{split}-{i}",
            path=f"{i}.wav",
            labels=() if i == TRAIN[-1] else (CLASSES[i % 2],),
            split=split,
            frames=500 + 150 * i,
            source_rate_hz=RATE_HZ,
        )
        for i, split in enumerate(splits)
    ]


def samples_of(clip: Clip) -> np.ndarray:
    """What the file of a clip holds."""
    generator = np.random.default_rng(list(clip.path.encode()))
    return (0.1 * generator.standard_normal(clip.frames) + 0.02).astype(np.float32)


def write_corpus(root: Path) -> ViewContext:
    """Write the clips and three recordings of 10 s; returns what recipes are prepared with."""
    for clip in clips():
        soundfile.write(root / clip.path, samples_of(clip), RATE_HZ, subtype="FLOAT")
    (root / "noise").mkdir()
    for name in ("fan", "rain", "sea"):
        waveform = np.random.default_rng(list(name.encode())).uniform(-0.3, 0.3, 10 * RATE_HZ)
        soundfile.write(root / f"noise/{name}.wav", waveform, RATE_HZ)
    return context(root)


def context(root: Path) -> ViewContext:
    """The corpus that was written."""

    def labels(clip: Clip) -> np.ndarray:
        if not clip.labelled:
            return np.full(len(CLASSES), -1, np.float32)
        return np.array([name in clip.labels for name in CLASSES], np.float32)

    return ViewContext(root, RATE_HZ, TRAIN, lambda place: clips()[place], labels)


def waveform(root: Path, clip: Clip) -> np.ndarray:
    """A clip as it is decoded."""
    return decode(root / clip.path, sample_rate_hz=RATE_HZ).waveform


def view_bytes(
    root: Path, steps: Sequence[str], seed: int, places: Sequence[tuple[int, int]]
) -> dict[str, str]:
    """Some views of clips, in the order of `places` (clip, view), each as text."""
    recipe = ViewRecipe(steps, context(root), seed=seed)
    made = {}
    for place, view in places:
        clip = clips()[place]
        one = recipe.make(waveform(root, clip), clip, view)
        whole = one.waveform_S.tobytes() + one.labels_C.tobytes() + one.drawn_P.tobytes()
        made[json.dumps([place, view])] = whole.hex()
    return made
