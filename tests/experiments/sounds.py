"""ESC-10 in five folds: a teacher and a cache of each, for ``compare-students --folds``.

    python tests/experiments/sounds.py ../shared WORK_FOLDER [FOLD ...]

Each official fold is the test set once, the next one chooses the epoch, the other three (240 clips)
train. The teacher, Whisper tiny.en's encoder, learns on views of its own (shifted, louder or softer,
half of them mixed with another clip) and runs once over eight cached ones, so that students get
more than 240 sounds and the teacher has an answer to each. A killed run goes on where it was.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from esc10 import FOLDS, run

from pipeline.teachers.checkpoints.random_init import write_untrained_cnn

VIEW = ("--view", "shift:max_s=1", "--view", "gain", "--view", "mixup:alpha=1")
SIGNALS = ("mfcc40", "log_mel128", "clip_embedding", "frame_embedding")
TRANSFORMER = ("--freeze-layers", 2, "--epochs", 8, "--patience", 8, "--batch-size", 8)
CNN = ("--train-front-end", "--learning-rate", "3e-3", "--epochs", 30, "--patience", 30,
       "--batch-size", 16, "--spec-augment")  # fmt: skip
CNN_FOLD = "cnn-fold-1"


def make(shared: Path, out: Path, name: str) -> None:
    """Fine-tune the teacher of one fold, ``fold-N``, and run it once."""
    base = shared / "models/whisper-tiny.en-encoder"
    cache(shared, out, name, base, TRANSFORMER, SIGNALS)


def make_cnn(shared: Path, out: Path, name: str) -> None:
    """The same by a narrow EfficientNet that is trained from nothing, in fold 1."""
    base = out / "untrained-cnn"
    write_untrained_cnn(base, seed=0, width=0.4, depth=0.4)
    cache(shared, out, name, base, CNN, ("log_mel128", "logits"))


def cache(
    shared: Path, out: Path, name: str, base: Path, recipe: Sequence[object],
    signals: Sequence[str],
) -> None:  # fmt: skip
    """Fine-tune a base in the fold that a cache is named for, and write its cache."""
    fold = int(name.rpartition("-")[2])
    following = fold % len(FOLDS) + 1
    corpus = f"esc:{shared / 'data/esc10'}?test_folds={fold}&validation_folds={following}"
    teacher, log = out / f"teacher-{name}", out / f"log-{name}"
    run("finetune-teacher", corpus, "--base", base, "--out", teacher, *VIEW, "--pooling", "mean",
        *recipe, log=log)  # fmt: skip
    wanted = [word for signal in signals for word in ("--signal", signal)]
    run("precompute-teacher", corpus, "--teacher", teacher, "--out", out / f"{name}.zarr",
        "--views", 8, *VIEW, *wanted, log=log)  # fmt: skip


if __name__ == "__main__":
    work = Path(sys.argv[2])
    work.mkdir(parents=True, exist_ok=True)
    for number in sys.argv[3:] or FOLDS:
        make(Path(sys.argv[1]), work, f"fold-{number}")
