"""Noisy Speech Commands: teachers and caches of 2, 4, 6 and 8 s, for ``compare-students``.

    python tests/experiments/noisy_keywords.py ../shared WORK_FOLDER [LENGTH_S ...]

Keywords are those of ``speech_commands_v2_12`` (folds 0-7 train, 8 validates, 9 tests: no speaker is in
two splits), the noise is the six background recordings, cut by time, and ESC-10, by its folds (1-3
train, 4 validates, 5 tests), at 0 to 10 dB. For each length a teacher is fine-tuned from Whisper
tiny.en's encoder, on another view of each clip in every epoch, and runs once over
eight cached views of its own. A killed run goes on where it was.
"""

from __future__ import annotations

import sys
from pathlib import Path

import soundfile
from esc10 import clips, run

VIEWS = 8
EPOCHS = {2: 3, 4: 3, 6: 2, 8: 2}
OTHER_TARGETS = {
    "2s-first": ("first", ()),
    "2s-no-residual": ("mean", ("--teacher-option", "residual=false")),
}
"""Caches of 2 s whose temporal attention is another: the teacher's pooling, and options beside it."""
CUTS = {"train": (0.0, 0.8), "validation": (0.8, 0.9), "test": (0.9, 1.0)}
FOLDS = {"train": "123", "validation": "4", "test": "5"}


def write_noise(shared: Path, out: Path) -> Path:
    """Lay out the noise of each split in a folder of its own, once."""
    if out.is_dir():
        return out
    draft = out.with_name(f"{out.name}.partial")
    for split, (first, last) in CUTS.items():
        (draft / split).mkdir(parents=True, exist_ok=True)
        for path in sorted((shared / "data/background_noise").glob("*.flac")):
            wave, rate_hz = soundfile.read(path, dtype="int16")
            cut = wave[int(first * len(wave)) : int(last * len(wave))]
            soundfile.write(draft / split / path.name, cut, rate_hz)
        for row in clips(shared):
            if row["fold"] in FOLDS[split]:
                source = shared / "data/esc10/audio" / row["filename"]
                (draft / split / row["filename"]).write_bytes(source.read_bytes())
    draft.replace(out)
    return out


def corpus_of(shared: Path, out: Path, length_s: int) -> str:
    """Name the corpus of one length."""
    noise = write_noise(shared, out / "noise").resolve()
    words = shared / "data/speech_commands_v2_12"
    return f"noisy-speech-commands:{words}?length_s={length_s}&noise={noise}"


def make(shared: Path, out: Path, length_s: int) -> None:
    """Fine-tune the teacher of one length and run it once."""
    teacher = fine_tune(shared, out, length_s, "mean", f"teacher-{length_s}s")
    cache_teacher(shared, out, length_s, teacher, f"{length_s}s")


def make_other_target(shared: Path, out: Path, name: str) -> None:
    """Cache another temporal attention at 2 s: of a first frame, or without the residual half."""
    pooling, options = OTHER_TARGETS[name]
    teacher = fine_tune(
        shared, out, 2, pooling, "teacher-2s" if pooling == "mean" else f"teacher-{name}"
    )
    cache_teacher(shared, out, 2, teacher, name, *options)


def fine_tune(shared: Path, out: Path, length_s: int, pooling: str, name: str) -> Path:
    """Fine-tune a teacher, unless it is there; returns its folder."""
    base = shared / "models/whisper-tiny.en-encoder"
    run("finetune-teacher", corpus_of(shared, out, length_s), "--base", base,
        "--out", out / name, "--pooling", pooling, "--freeze-layers", 2,
        "--epochs", EPOCHS[length_s], log=out / f"log-{name}")  # fmt: skip
    return out / name


def cache_teacher(
    shared: Path, out: Path, length_s: int, teacher: Path, name: str, *options: str
) -> None:
    """Cache the outputs of a teacher, in eight views."""
    run("precompute-teacher", corpus_of(shared, out, length_s), "--teacher", teacher,
        "--out", out / f"{name}.zarr", "--views", VIEWS, *options,
        "--signal", "mfcc", "--signal", "mfcc40", "--signal", "log_mel",
        log=out / f"log-{name}")  # fmt: skip


if __name__ == "__main__":
    work = Path(sys.argv[2])
    work.mkdir(parents=True, exist_ok=True)
    for length in map(int, sys.argv[3:] or EPOCHS):
        make(Path(sys.argv[1]), work, length)
