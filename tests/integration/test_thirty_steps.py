"""Thirty steps on real cached speech lower each loss on clips that were held out."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import pytest
from commands import command, succeeded
from thirty_steps import STUDENTS, thirty_steps

from cache_schema.reader import Cache, open_cache
from student.losses import LOSSES
from student.training.determinism import prepare_torch

CLIPS = {"train": 40, "validation": 4, "test": 12}  # of each word
WORDS = ("yes", "no", "up", "down")
SIGNALS = ("logits", "temporal_attention", "clip_embedding", "frame_embedding", "attention_map")


@pytest.fixture(scope="module")
def cache(shared_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Cache:
    """Four spoken words, with all signals of Whisper's pretrained encoder after one epoch."""
    prepare_torch(1)
    folder = tmp_path_factory.mktemp("words")
    corpus = words(shared_dir / "data/speech_commands_v2_12", folder / "words.csv")
    base = shared_dir / "models/whisper-tiny.en-encoder"
    teacher, out = folder / "teacher", folder / "words.zarr"
    tuned = ("--pooling", "mean", "--freeze-layers", 3, "--epochs", 1, "--batch-size", 8)
    succeeded(command("finetune-teacher", corpus, "--base", base, "--out", teacher, *tuned))
    wanted = [word for name in (*SIGNALS, "waveform") for word in ("--signal", name)]
    succeeded(command("precompute-teacher", corpus, "--teacher", teacher, "--out", out, *wanted))
    return open_cache(out)


def words(root: Path, manifest: Path) -> str:
    """A manifest of as many clips of each word, speakers apart by the corpus' folds."""
    taken: Counter[tuple[str, str]] = Counter()
    lines = ["path,label,split"]
    with (root / "metadata.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            split = {8: "validation", 9: "test"}.get(int(row["fold"]), "train")
            if row["label"] in WORDS and taken[split, row["label"]] < CLIPS[split]:
                taken[split, row["label"]] += 1
                lines.append(f"{row['file']},{row['label']},{split}")
    manifest.write_text("\n".join(lines) + "\n")
    return f"csv:{manifest}?root={root}"


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("student", STUDENTS)
def test_thirty_steps_lower_the_loss_on_held_clips(cache: Cache, student: str, loss: str) -> None:
    before, after = thirty_steps(cache, student, loss)
    print(f"{student} {loss}: {before:.4g} -> {after:.4g}")
    assert after < before
