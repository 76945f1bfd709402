"""ESC-50 as its archive lays it out: two classes of ESC-10 and one other, a clip each in a fold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile

RATE_HZ = 44_100
CLASSES = ((0, "dog", True), (11, "sea_waves", True), (14, "chirping_birds", False))
MISSING = "1-100014-A-14.wav"


def rows() -> list[str]:
    """Lines of ``meta/esc50.csv``."""
    return [
        f"{fold}-{100_000 + target}-A-{target}.wav,{fold},{target},{name},{small},{100_000 + target},A"
        for fold in range(1, 6)
        for target, name, small in reversed(CLASSES)
    ]


def write(folder: Path) -> str:
    """Write the corpus and return its name."""
    (folder / "meta").mkdir(parents=True)
    (folder / "audio").mkdir()
    lines = ["filename,fold,target,category,esc10,src_file,take", *rows()]
    (folder / "meta/esc50.csv").write_text("\n".join(lines) + "\n")
    for row in rows():
        if (name := row.split(",")[0]) != MISSING:
            soundfile.write(folder / "audio" / name, np.full(RATE_HZ // 20, 0.1), RATE_HZ)
    return f"esc:{folder}"
