"""IUSP, SP and plain logits on a multi-label task: mixtures made of real ESC-10 clips.

    python tests/experiments/similarity_mixtures.py ../shared WORK_FOLDER

Folds 1 to 3 are mixed for training, 4 for validation, 5 for the test: no recording is in two
splits. Each mixture overlays two or three clips of different classes at gains of -6 to 0 dB. The
sources are real, the mixtures are made. Sums are additive (label weight 1); the weights of the two
similarity losses are the better of those tried on the validation split of one seed, by micro AUPRC.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import soundfile
from esc10 import clips, result, run, spread

RATE_HZ, SEEDS = 16_000, (0, 1, 2)
MIXTURES = {"train": ((1, 2, 3), 600), "validation": ((4,), 120), "test": ((5,), 240)}
STUDENT = ["--student", "tc-resnet", "--epochs", "15", "--label-weight", "1"]
ARMS = {
    "labels alone": [[]],
    "logits": [["--distill", "logits=1"]],
    "SP": [["--distill", f"sp={weight}"] for weight in (30, 300)],
    "IUSP": [["--distill", f"iusp={weight}"] for weight in (30, 300)],
}
METRICS = ("micro-auprc-sonyc", "macro-auprc-sonyc", "mAP")


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


def train(cache: Path, out: Path, options: list[str], seed: int) -> Path:
    """Train one student; the folder is named by what it learns from."""
    learned = options[1].replace("=", "-") if options else "labels"
    folder = out / f"{learned}-{seed}"
    run(
        "train-student", cache, "--out", folder, *STUDENT, *options, "--seed", seed, log=out / "log"
    )
    return folder


def score(folder: Path, cache: Path, split: str) -> dict[str, float]:
    """All metrics of a run on a split."""
    from commands import command, succeeded

    found = succeeded(command("evaluate-student", folder, cache, "--split", split, "--json"))
    scores: dict[str, float] = json.loads(found)["scores"]
    return scores


def main(shared: Path, out: Path) -> None:
    """Make the corpus, its teacher and cache, train every arm and print a table."""
    out.mkdir(parents=True, exist_ok=True)
    corpus, teacher, cache = write_mixtures(shared, out), out / "teacher", out / "mixtures.zarr"
    base = shared / "models/whisper-tiny.en-encoder"
    run("finetune-teacher", corpus, "--base", base, "--out", teacher, "--pooling", "mean",
        "--freeze-layers", 2, "--epochs", 5, "--batch-size", 8, log=out / "log")  # fmt: skip
    signals = [word for name in ("logits", "clip_embedding", "frame_embedding", "waveform")
               for word in ("--signal", name)]  # fmt: skip
    run(
        "precompute-teacher",
        corpus,
        "--teacher",
        teacher,
        "--out",
        cache,
        *signals,
        log=out / "log",
    )
    print("| arm | " + " | ".join(METRICS) + " |\n|" + " --- |" * (1 + len(METRICS)), flush=True)
    for arm, choices in ARMS.items():
        tried = {tuple(options): train(cache, out, options, SEEDS[0]) for options in choices}
        best = max(tried, key=lambda o: score(tried[o], cache, "validation")[METRICS[0]])
        folders = [train(cache, out, list(best), seed) for seed in SEEDS]
        found = [score(folder, cache, "test") for folder in folders]
        cells = [spread([scores[metric] for scores in found]) for metric in METRICS]
        print(f"| {arm} {' '.join(best[1:])} | {' | '.join(cells)} |", flush=True)
    print(
        f"teacher mAP on the test split: {result(folders[0])['splits']['test']['teacher_score']:.3f}"
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
