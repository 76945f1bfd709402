"""How many unlabelled clips buy how much? A cache of few labelled words and thousands without labels.

    python tests/experiments/unlabelled.py ../shared WORK_FOLDER

Speech Commands as they are, 1 s without noise. A tenth of the training clips, all of some speakers, is
labelled (see ``labels.py``), and the teacher is fine-tuned on these alone; those of all other training
speakers are unlabelled. For ``compare-students WORK/words.zarr`` with ``unlabelled.toml``, where
``unlabelled=N`` picks how many of them a student learns from. A killed run goes on where it was.
"""

from __future__ import annotations

import sys
from pathlib import Path

import labels
from esc10 import run

SHARE = 10
EPOCHS = 6  # 132 steps: without noise validation is above 93 % after half of them


def make(shared: Path, out: Path) -> None:
    """Fine-tune the teacher on the labelled words and let it answer all."""
    words = labels.write_corpus(shared, out / f"words-{SHARE}", SHARE).resolve()
    corpus, log = f"speech-commands:{words}", out / "log-words"
    run("finetune-teacher", corpus, "--base", shared / "models/whisper-tiny.en-encoder",
        "--out", out / "teacher-words", "--pooling", "mean", "--freeze-layers", 2,
        "--epochs", EPOCHS, log=log)  # fmt: skip
    run("precompute-teacher", corpus, "--teacher", out / "teacher-words",
        "--out", out / "words.zarr", "--signal", "mfcc40", log=log)  # fmt: skip


if __name__ == "__main__":
    work = Path(sys.argv[2])
    work.mkdir(parents=True, exist_ok=True)
    make(Path(sys.argv[1]), work)
