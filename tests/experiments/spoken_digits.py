"""How many labels is a teacher worth, on a second corpus? Spoken digits, one of four speakers labelled.

    python tests/experiments/spoken_digits.py ../shared WORK_FOLDER [SPEAKER ...]

The Free Spoken Digit Dataset has six speakers. Each is the test set once; the next validates, the one
after that is labelled, and the other three train without labels. The teacher, Whisper tiny.en's encoder,
is fine-tuned on the labelled speaker alone and answers all recordings. For ``compare-students --folds``
with ``digits.toml``. A killed run goes on where it was.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

from esc10 import run

SPEAKERS = ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")
EPOCHS = 8


def write_list(shared: Path, path: Path, test: str) -> str:
    """List the recordings of the fold that tests on a speaker; name the corpus."""
    place = SPEAKERS.index(test)
    validation, labelled = (SPEAKERS[(place + step) % len(SPEAKERS)] for step in (1, 2))
    splits = {test: "test", validation: "validation"}
    audio = shared / "data/fsdd"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["path", "label", "split", "speaker"])
        for recording in sorted(audio.glob("*.flac")):
            digit, speaker, _ = recording.stem.split("_")
            label = digit if speaker == labelled or speaker in splits else ""
            split = splits.get(speaker, "train")
            writer.writerow([recording.name, label, split, speaker])
    return f"csv:{path.resolve()}?root={audio.resolve()}&group=speaker"


def make(shared: Path, out: Path, test: str) -> None:
    """Fine-tune the teacher of one fold and let it answer everything."""
    corpus = write_list(shared, out / f"digits-{test}.csv", test)
    teacher, log = out / f"teacher-digits-{test}", out / f"log-digits-{test}"
    run("finetune-teacher", corpus, "--base", shared / "models/whisper-tiny.en-encoder",
        "--out", teacher, "--pooling", "mean", "--freeze-layers", 2,
        "--epochs", EPOCHS, log=log)  # fmt: skip
    run("precompute-teacher", corpus, "--teacher", teacher, "--out", out / f"digits-{test}.zarr",
        "--signal", "mfcc40", log=log)  # fmt: skip


if __name__ == "__main__":
    work = Path(sys.argv[2])
    work.mkdir(parents=True, exist_ok=True)
    for speaker in sys.argv[3:] or SPEAKERS:
        make(Path(sys.argv[1]), work, speaker)
