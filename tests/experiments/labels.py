"""How many labels is a teacher worth? Caches in which a share of the training speakers is labelled.

    python tests/experiments/labels.py ../shared WORK_FOLDER [SHARE ...]

The noisy keywords of 2 s (see ``noisy_keywords.py``, whose cache has all labels), with the labels of a
share of the training speakers, by default 5 and 25 %; the smaller share is part of the larger one. The
teacher is fine-tuned on those labels alone, and the recordings of all other training speakers lie in the
cache unlabelled, with the teacher's answers. Validation and test are the same throughout. For
``compare-students WORK/labels-5.zarr ...`` with ``labels.toml``. A killed run goes on where it was.
"""

from __future__ import annotations

import csv
import hashlib
import os
import sys
from pathlib import Path

import noisy_keywords
from esc10 import run

SHARES = (5, 25)
LENGTH_S = 2
TRAINING_FOLDS = frozenset("01234567")
# The fewer the labels, the more often the teacher sees each: about as many steps throughout.
EPOCHS = {5: 20, 10: 15, 25: 8, 50: 5}

Row = dict[str, str]


def labelled_speakers(rows: list[Row], share: int) -> set[str]:
    """Choose speakers by a hash of their names, until a share of the training clips is theirs."""
    clips: dict[str, int] = {}
    for row in rows:
        if row["fold"] in TRAINING_FOLDS:
            clips[row["speaker"]] = clips.get(row["speaker"], 0) + 1
    chosen, count = set(), 0
    for speaker in sorted(clips, key=lambda name: hashlib.sha256(name.encode()).digest()):
        if 100 * count >= share * sum(clips.values()):
            break
        chosen.add(speaker)
        count += clips[speaker]
    return chosen


def write_corpus(shared: Path, out: Path, share: int) -> Path:
    """Lay out the keywords with a share of the labels, once; the audio is linked, not copied."""
    if out.is_dir():
        return out
    source, draft = shared / "data/speech_commands_v2_12", out.with_name(f"{out.name}.partial")
    with (source / "metadata.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    speakers = labelled_speakers(rows, share)
    draft.mkdir(parents=True, exist_ok=True)
    with (draft / "metadata.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        for row in rows:
            known = row["fold"] not in TRAINING_FOLDS or row["speaker"] in speakers
            writer.writerow(row | ({} if known else {"label": ""}))
            _link(source / row["file"], draft / row["file"])
    draft.replace(out)
    return out


def _link(source: Path, target: Path) -> None:
    """Give a file a second name, or copy it where that is another file system."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        target.write_bytes(source.read_bytes())


def make(shared: Path, out: Path, share: int) -> None:
    """Fine-tune the teacher of a share and let it answer everything."""
    words = write_corpus(shared, out / f"words-{share}", share).resolve()
    noise = noisy_keywords.write_noise(shared, out / "noise").resolve()
    corpus = f"noisy-speech-commands:{words}?length_s={LENGTH_S}&noise={noise}"
    teacher, log = out / f"teacher-labels-{share}", out / f"log-labels-{share}"
    run("finetune-teacher", corpus, "--base", shared / "models/whisper-tiny.en-encoder",
        "--out", teacher, "--pooling", "mean", "--freeze-layers", 2,
        "--epochs", EPOCHS[share], log=log)  # fmt: skip
    run("precompute-teacher", corpus, "--teacher", teacher, "--out", out / f"labels-{share}.zarr",
        "--views", noisy_keywords.VIEWS, "--signal", "mfcc40", "--signal", "log_mel",
        log=log)  # fmt: skip


if __name__ == "__main__":
    work = Path(sys.argv[2])
    work.mkdir(parents=True, exist_ok=True)
    for percent in map(int, sys.argv[3:] or SHARES):
        make(Path(sys.argv[1]), work, percent)
