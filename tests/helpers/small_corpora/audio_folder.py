"""An audio folder: ``metadata.csv`` in one split's folder, ``metadata.jsonl`` in another's."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import soundfile

RATE_HZ = 16_000


def write(folder: Path) -> str:
    """Two clips in each split; one listed clip is not there, one recording is not listed."""
    for seed, split in enumerate(("train", "validation", "test")):
        (folder / split / "audio").mkdir(parents=True)
        for name in ("a", "b"):
            noise = 0.1 * np.random.default_rng(seed).standard_normal(1600)
            soundfile.write(folder / split / f"audio/{name}.wav", noise, RATE_HZ)
    for split in ("train", "test"):
        rows = ["file_name,label,speaker", 'audio/a.wav,cat,"Ann, 1"', "audio/b.wav,dog,Bob"]
        (folder / split / "metadata.csv").write_text("\n".join(rows) + "\n")
    rows = [{"file_name": f"audio/{name}.wav", "label": "cat"} for name in "ac"]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "validation/metadata.jsonl").write_text(lines)
    return f"audio-folder:{folder}"
