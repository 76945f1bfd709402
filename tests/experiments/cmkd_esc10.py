"""CMKD in both directions on ESC-10, from caches alone: transformer to CNN, and CNN to transformer.

    python tests/experiments/cmkd_esc10.py ../shared WORK_FOLDER

Each official fold is the test set once; the next one chooses epochs, the other three train. A
killed run goes on where it was. The loss is CMKD's: half labels, half the teacher (Gong et al.
2022), its temperature on the teacher alone. The transformer teacher is the pretrained encoder of
Whisper tiny.en; the CNN teacher, a narrow EfficientNet, and both students start from nothing.
"""

from __future__ import annotations

import sys
from pathlib import Path

from esc10 import FOLDS, fold_manifest, result, run, spread

from pipeline.teachers.untrained import write_untrained_cnn

WHISPER = "models/whisper-tiny.en-encoder"
TEACHERS = {
    "whisper": ["--pooling", "mean", "--freeze-layers", "2", "--epochs", "6", "--patience", "6",
                "--batch-size", "8"],
    "cnn": ["--train-front-end", "--pooling", "mean", "--learning-rate", "3e-3", "--epochs", "30",
            "--patience", "30", "--batch-size", "16", "--spec-augment"],
}  # fmt: skip
STUDENTS = {
    "whisper": ["--student", "mobilenet:width=0.4", "--epochs", "40"],
    "cnn": ["--student", "ast-tiny:layers=4,stride=16", "--epochs", "40"],
}
ARMS = {"alone": [], "with KD": ["--distill", "logits=0.5:form=cmkd"]}


def one_fold(shared: Path, out: Path, family: str, fold: int) -> dict[str, float]:
    """Teach, cache and train in one fold; give the test accuracies."""
    corpus = fold_manifest(shared, fold, out / f"fold{fold}.csv")
    log = out / f"{family}-{fold}.log"
    teacher, cache = out / f"{family}-{fold}", out / f"{family}-{fold}.zarr"
    base = shared / WHISPER
    if family == "cnn":
        base = out / "untrained-cnn"
        write_untrained_cnn(base, seed=0, width=0.5, depth=0.5)
    run("finetune-teacher", corpus, "--base", base, "--out", teacher, *TEACHERS[family], log=log)
    run("precompute-teacher", corpus, "--teacher", teacher, "--out", cache, log=log)
    scores = {}
    for arm, options in ARMS.items():
        folder = out / f"{family}-{fold}-{arm.replace(' ', '-')}"
        recipe = [*STUDENTS[family], "--spec-augment", "--batch-size", 16]
        run("train-student", cache, "--out", folder, *recipe, *options, log=log)
        scores[arm] = result(folder)["splits"]["test"]["score"]
        scores["teacher"] = result(folder)["splits"]["test"]["teacher_score"]
    return scores


def main(shared: Path, out: Path, families: list[str]) -> None:
    """Run the folds of the families named and print a table."""
    out.mkdir(parents=True, exist_ok=True)
    print("| teacher → student | teacher | student alone | with KD | gain in each fold |")
    print("| --- | --- | --- | --- | --- |", flush=True)
    for family in families:
        folds = [one_fold(shared, out, family, fold) for fold in FOLDS]
        cells = [spread([fold[arm] for fold in folds]) for arm in ("teacher", *ARMS)]
        gains = ", ".join(f"{100 * (fold['with KD'] - fold['alone']):+.1f}" for fold in folds)
        student = STUDENTS[family][1]
        print(f"| {family} → `{student}` | {' | '.join(cells)} | {gains} |", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:] or list(TEACHERS))
