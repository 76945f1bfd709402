"""CMKD in both directions on ESC-10, from caches alone: transformer to CNN, and CNN to transformer.

    python tests/experiments/cmkd_esc10.py ../shared WORK_FOLDER

Transformer to CNN: each official fold is the test set once. CNN to transformer: fold 1 with three
seeds of the student, as this teacher must be trained from nothing. The next fold chooses epochs, the
other three train. A killed run goes on where it was. The loss is CMKD's: half labels, half the teacher
(Gong et al. 2022), its temperature on the teacher alone. The transformer teacher is the pretrained
encoder of Whisper tiny.en; the CNN teacher, a narrow EfficientNet, and both students start from
nothing.
"""

from __future__ import annotations

import sys
from pathlib import Path

from esc10 import FOLDS, fold_manifest, result, run, spread

from pipeline.teachers.checkpoints.random_init import write_untrained_cnn

WHISPER = "models/whisper-tiny.en-encoder"
TEACHERS = {
    "whisper": ["--pooling", "mean", "--freeze-layers", "2", "--epochs", "6", "--patience", "6",
                "--batch-size", "8"],
    "cnn": ["--train-front-end", "--pooling", "mean", "--learning-rate", "3e-3", "--epochs", "15",
            "--patience", "15", "--batch-size", "16", "--spec-augment"],
}  # fmt: skip
STUDENTS = {
    "whisper": ["--student", "mobilenet:width=0.4", "--epochs", "20"],
    "cnn": [
        "--student",
        "ast-tiny:layers=2,stride=16",
        "--epochs",
        "20",
        "--learning-rate",
        "1e-3",
    ],
}
# Fold and seed.
CASES = {"whisper": [(fold, 0) for fold in FOLDS], "cnn": [(1, seed) for seed in (0, 1, 2)]}
ARMS = {"alone": [], "with KD": ["--distill", "logits=0.5:form=cmkd"]}


def cached(shared: Path, out: Path, family: str, fold: int) -> Path:
    """Fine-tune the teacher of a fold and run it once."""
    corpus = fold_manifest(shared, fold, out / f"fold{fold}.csv")
    log = out / f"{family}-{fold}.log"
    teacher, cache = out / f"{family}-{fold}", out / f"{family}-{fold}.zarr"
    base = shared / WHISPER
    if family == "cnn":
        base = out / "untrained-cnn"
        write_untrained_cnn(base, seed=0, width=0.4, depth=0.4)
    run("finetune-teacher", corpus, "--base", base, "--out", teacher, *TEACHERS[family], log=log)
    signals = ("--signal", "logits", "--signal", "waveform")
    run("precompute-teacher", corpus, "--teacher", teacher, "--out", cache, *signals, log=log)
    return cache


def scores_of(out: Path, cache: Path, family: str, seed: int) -> dict[str, float]:
    """Train a student alone and with its teacher; give all three test accuracies."""
    scores = {}
    for arm, options in ARMS.items():
        folder = out / f"{cache.stem}-{arm.replace(' ', '-')}-{seed}"
        recipe = [*STUDENTS[family], "--spec-augment", "--batch-size", 16, "--seed", seed]
        run(
            "train-student",
            cache,
            "--out",
            folder,
            *recipe,
            *options,
            log=cache.with_suffix(".log"),
        )
        scored = result(folder)["splits"]["test"]
        scores |= {arm: scored["score"], "teacher": scored["teacher_score"]}
    return scores


def main(shared: Path, out: Path, families: list[str]) -> None:
    """Run the cases of the families named and print a table."""
    out.mkdir(parents=True, exist_ok=True)
    print("| teacher → student | cases | teacher | student alone | with KD | gain in each case |")
    print("| --- | --- | --- | --- | --- | --- |", flush=True)
    for family in families:
        found = [
            scores_of(out, cached(shared, out, family, fold), family, seed)
            for fold, seed in CASES[family]
        ]
        cells = [spread([scores[arm] for scores in found]) for arm in ("teacher", *ARMS)]
        gains = ", ".join(f"{100 * (scores['with KD'] - scores['alone']):+.1f}" for scores in found)
        cases = " ".join(f"{fold}/{seed}" for fold, seed in CASES[family])
        row = [f"{family} → `{STUDENTS[family][1]}`", cases, *cells, gains]
        print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:] or list(TEACHERS))
