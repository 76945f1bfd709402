"""ESC-10 in five folds: a teacher and a cache of each, for ``compare-students --folds``.

    python tests/experiments/sounds.py ../shared WORK_FOLDER [FOLD ...]

Each official fold is the test set once, the next one chooses the epoch, the other three (240 clips)
train. The teacher, Whisper tiny.en's encoder, learns on views of its own (shifted, louder or softer,
half of them mixed with another clip) and runs once over eight cached ones, so that students get
more than 240 sounds and the teacher has an answer to each. A killed run goes on where it was.
"""

from __future__ import annotations

import sys
from pathlib import Path

from esc10 import FOLDS, run

VIEW = ("--view", "shift:max_s=1", "--view", "gain", "--view", "mixup:alpha=1")
SIGNALS = ("--signal", "mfcc40", "--signal", "clip_embedding", "--signal", "frame_embedding")


def make(shared: Path, out: Path, fold: int) -> None:
    """Fine-tune the teacher of one fold and run it once."""
    following = fold % len(FOLDS) + 1
    corpus = f"esc:{shared / 'data/esc10'}?test_folds={fold}&validation_folds={following}"
    teacher, log = out / f"teacher-{fold}", out / f"log-{fold}"
    base = shared / "models/whisper-tiny.en-encoder"
    run("finetune-teacher", corpus, "--base", base, "--out", teacher, *VIEW, "--pooling", "mean",
        "--freeze-layers", 2, "--epochs", 8, "--patience", 8, "--batch-size", 8, log=log)  # fmt: skip
    cache = out / f"fold-{fold}.zarr"
    run("precompute-teacher", corpus, "--teacher", teacher, "--out", cache, "--views", 8,
        *VIEW, *SIGNALS, log=log)  # fmt: skip


if __name__ == "__main__":
    work = Path(sys.argv[2])
    work.mkdir(parents=True, exist_ok=True)
    for number in map(int, sys.argv[3:] or FOLDS):
        make(Path(sys.argv[1]), work, number)
