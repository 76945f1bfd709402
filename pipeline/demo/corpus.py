"""A corpus of spoken keywords in noise, made without a download.

Synthetic speech of espeak-ng: good for trying the tools from end to end, no measure of how a model
does on people. The speakers of the splits are different voices.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cache_schema.errors import UsageError
from pipeline.audio.decode import write_flac
from pipeline.demo.scene import CLASSES, RATE_HZ, mix_clip
from pipeline.demo.speakers import VARIANTS, check_synthesiser, speakers

RECIPE_VERSION = 1
MANIFEST, RECIPE = "manifest.csv", "demo_corpus.json"
COLUMNS = (
    "id", "path", "label", "split", "speaker", "keyword_start_s", "keyword_end_s",
)  # fmt: skip
MIN_DURATION_S = 1.5


def write_demo_corpus(
    folder: Path, *, clips_per_split: Mapping[str, int], seed: int, length_s: float = 2.0
) -> Path:
    """Write 16-bit mono FLAC files at 16 kHz and a manifest for ``csv:FOLDER/manifest.csv``.

    Ten keywords and ``_unknown_`` come in turn, each once somewhere in the clip, in babble and
    coloured noise at 5 to 20 dB. A clip depends on the seed, its id and the length only, so a
    larger corpus holds the smaller one. Repeating an interrupted call starts again; repeating a
    completed one writes nothing.

    Parameters
    ----------
    folder : Path
        Made if it is not there.
    clips_per_split : mapping
        Numbers of clips for ``"train"``, ``"validation"``, ``"test"``, or some of them.
    seed : int
        Of all that is drawn.
    length_s : float
        Length of every clip, from 1.5 s.

    Returns
    -------
    Path
        The manifest, written last; it annotates each clip with its speaker and where the word is.

    Raises
    ------
    UsageError
        If espeakng-loader is not installed, an argument makes no sense, or the folder holds another
        corpus.
    """
    _check_arguments(clips_per_split, length_s)
    recipe = {
        "version": RECIPE_VERSION,
        "clips_per_split": dict(clips_per_split),
        "seed": seed,
        "length_s": length_s,
    }
    manifest = folder / MANIFEST
    if _is_complete(folder, recipe):
        return manifest
    check_synthesiser()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / RECIPE).write_text(json.dumps(recipe, indent=2) + "\n", encoding="utf-8")
    rows = [
        _write_clip(folder, split, number, seed, length_s)
        for split, clips in clips_per_split.items()
        for number in range(clips)
    ]
    unfinished = folder / f".{MANIFEST}"
    with unfinished.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    os.replace(unfinished, manifest)
    return manifest


def _check_arguments(clips_per_split: Mapping[str, int], length_s: float) -> None:
    unknown = [name for name in clips_per_split if name not in VARIANTS]
    if unknown or not any(clips_per_split.values()) or min(clips_per_split.values()) < 0:
        raise UsageError(
            f"demo corpus: clips_per_split needs positive numbers for {', '.join(VARIANTS)}, got "
            f"{dict(clips_per_split)}",
            kind="options",
        )
    if not length_s >= MIN_DURATION_S:
        raise UsageError(
            f"demo corpus: length_s must be at least {MIN_DURATION_S}, got {length_s}",
            kind="options",
        )


def _is_complete(folder: Path, recipe: dict[str, Any]) -> bool:
    """Return whether this very corpus is there already; reject a folder that holds another."""
    if not folder.exists() or not any(folder.iterdir()):
        return False
    written = folder / RECIPE
    if not written.is_file():
        raise UsageError(
            f"demo corpus: {folder} holds other files; name an empty or a new folder", kind="exists"
        )
    there = json.loads(written.read_text(encoding="utf-8"))
    if there != recipe:
        raise UsageError(
            f"demo corpus: {folder} holds another one\n  there  {json.dumps(there)}\n"
            f"  given  {json.dumps(recipe)}\nName another folder, or delete this one.",
            kind="exists",
        )
    return (folder / MANIFEST).is_file()


def _write_clip(
    folder: Path, split: str, number: int, seed: int, length_s: float
) -> dict[str, str]:
    """Make one clip and return its line of the manifest."""
    clip_id = f"{split}-{number:06d}"
    label = CLASSES[number % len(CLASSES)]
    path = f"{split}/{clip_id}.flac"
    scene = mix_clip(clip_id, label, seed=seed, voices=speakers(split), length_s=length_s)
    write_flac(folder / path, scene.waveform, RATE_HZ)
    return {
        "id": clip_id,
        "path": path,
        "label": label,
        "split": split,
        "speaker": scene.speaker,
        "keyword_start_s": f"{scene.start_s:.4f}",
        "keyword_end_s": f"{scene.end_s:.4f}",
    }
