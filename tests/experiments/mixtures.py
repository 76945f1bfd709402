"""A multi-label corpus of mixtures made of real ESC-10 clips, and its cache, for ``compare-students``.

    python tests/experiments/mixtures.py ../shared WORK_FOLDER

Folds 1 to 3 are mixed for training, 4 for validation, 5 for the test: no recording is in two
splits. Each mixture overlays two or three clips of different classes at gains of -6 to 0 dB. The
sources are real, the mixtures are made. A killed run goes on where it was.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import soundfile
from esc10 import clips, run

RATE_HZ = 16_000
MIXTURES = {"train": ((1, 2, 3), 600), "validation": ((4,), 120), "test": ((5,), 240)}
VIEW = ("--view", "shift:max_s=1", "--view", "gain")
SIGNALS = ("--signal", "mfcc40", "--signal", "clip_embedding", "--signal", "frame_embedding")


def write_mixtures(shared: Path, out: Path) -> str:
    """Overlay real clips, once; the same seed gives the same mixtures."""
    manifest = out / "mixtures.csv"
    if not manifest.is_file():
        random = np.random.default_rng(0)
        lines = ["path,labels,split"]
        (out / "audio").mkdir(parents=True, exist_ok=True)
        for split, (folds, count) in MIXTURES.items():
            rows = [row for row in clips(shared) if int(row["fold"]) in folds]
            for number in range(count):
                name = f"audio/{split}-{number:04d}.flac"
                wave, labels = mixture(shared, rows, random)
                soundfile.write(out / name, wave, RATE_HZ)
                lines.append(f"{name},{';'.join(sorted(labels))},{split}")
        manifest.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return f"csv:{manifest}?task=multi"


def mixture(
    shared: Path, rows: list[dict[str, str]], random: np.random.Generator
) -> tuple[np.ndarray, set[str]]:
    """Draw two or three clips of different classes and add them up, peak-limited."""
    wanted = int(random.integers(2, 4))
    chosen: dict[str, str] = {}
    for index in random.permutation(len(rows)):
        chosen.setdefault(rows[index]["category"], rows[index]["filename"])
        if len(chosen) == wanted:
            break
    total = np.zeros(5 * RATE_HZ)
    for filename in chosen.values():
        wave, _ = soundfile.read(shared / "data/esc10/audio" / filename)
        level = np.sqrt((wave**2).mean()) + 1e-9
        gain = 0.05 / level * 10 ** (random.uniform(-6, 0) / 20)
        total[: len(wave)] += wave[: len(total)] * gain
    return total / max(1.0, np.abs(total).max() / 0.99), set(chosen)


def main(shared: Path, out: Path) -> None:
    """Make the corpus, fine-tune its teacher and run it once."""
    out.mkdir(parents=True, exist_ok=True)
    corpus, teacher, log = write_mixtures(shared, out), out / "teacher", out / "log"
    base = shared / "models/whisper-tiny.en-encoder"
    run("finetune-teacher", corpus, "--base", base, "--out", teacher, *VIEW, "--pooling", "mean",
        "--freeze-layers", 2, "--epochs", 5, "--batch-size", 8, log=log)  # fmt: skip
    run("precompute-teacher", corpus, "--teacher", teacher, "--out", out / "mixtures.zarr",
        "--views", 8, *VIEW, *SIGNALS, log=log)  # fmt: skip


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
