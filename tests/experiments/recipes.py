"""The search for each student's recipe: labels alone, noisy keywords at 2 s, by validation.

    python tests/experiments/recipes.py WORK_FOLDER [STUDENT ...]

WORK_FOLDER is what ``noisy_keywords.py`` made. Every candidate is one ``compare-students`` of its
own, so that a killed search goes on where it was; what ends is added to ``results/keywords.jsonl``. The
recipe found is then the student's default in every condition, distilled or not.
"""

from __future__ import annotations

import sys
from pathlib import Path

from esc10 import run

from student.compare.conditions import folder_name

LEDGER = Path(__file__).parent / "results" / "keywords.jsonl"
SEEDS = 1
CANDIDATES = {
    "tc-resnet": (
        "--epochs 48 --spec-augment",
        "--epochs 48 --spec-augment --average ema:decay=0.998",
        "--epochs 48 --spec-augment --schedule cosine",
        "--epochs 48 --no-spec-augment",
        "--epochs 48 --spec-augment --batch-size 64",
        "--epochs 48 --spec-augment --batch-size 64 --learning-rate 0.006",
        "--epochs 96 --spec-augment",
    ),
    "crnn": (
        "--epochs 24 --no-spec-augment",
        "--epochs 24 --spec-augment",
        "--epochs 48 --spec-augment",
        "--epochs 24 --spec-augment --learning-rate 0.002",
    ),
    "crnn:gates=keras": ("--epochs 24 --no-spec-augment",),
    "bc-resnet": (
        "--epochs 48 --no-spec-augment",
        "--epochs 48 --spec-augment",
        "--epochs 48 --spec-augment --learning-rate 0.01",
    ),
    "lstm-p": ("--epochs 24 --no-spec-augment", "--epochs 24 --spec-augment"),
    "att-rnn": (
        "--epochs 24 --no-spec-augment",
        "--epochs 24 --spec-augment",
    ),
    "att-rnn:gates=chrono": ("--epochs 24 --no-spec-augment",),
    "mhatt-rnn": ("--epochs 24 --no-spec-augment", "--epochs 24 --spec-augment"),
}


def search(work: Path, student: str, train: str) -> None:
    """Train one candidate, unless the ledger has it."""
    out = work / "recipes" / folder_name(f"{student} {train}")
    out.parent.mkdir(parents=True, exist_ok=True)
    run("compare-students", work / "2s.zarr", "--student", student, "--condition", "none",
        "--seeds", SEEDS, "--train", train, "--out", out, "--ledger", LEDGER, "--jobs", 1,
        log=work / "log-recipes")  # fmt: skip


if __name__ == "__main__":
    for name in sys.argv[2:] or CANDIDATES:
        for options in CANDIDATES[name]:
            search(Path(sys.argv[1]), name, options)
