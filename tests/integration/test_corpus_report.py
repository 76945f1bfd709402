"""What training will lack is reported by the commands before a teacher or a student runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile
from commands import command, succeeded


def write_folder(root: Path, **clips: int) -> None:
    """A folder of classes below splits: ``train_dog=3`` is three clips of one."""
    for name, count in clips.items():
        folder = root.joinpath(*name.split("_"))
        folder.mkdir(parents=True)
        for number in range(count):
            soundfile.write(folder / f"{number}.wav", np.full(1600, 0.1), 8000)


def test_commands_report_it_before_the_pass(tmp_path: Path) -> None:
    write_folder(tmp_path / "corpus", train_dog=3, test_dog=1)
    words = [f"folder:{tmp_path / 'corpus'}", "--teacher", "toy", "--out", tmp_path / "c.zarr"]
    for options in (["--plan"], []):
        lines = succeeded(command("precompute-teacher", *words, *options)).splitlines()
        assert lines[:2] == [
            "classes   1 (single-label), 4 clip(s) of dog to 4 of dog",
            "clips     train: 3, test: 1",
        ]
        assert lines[2].startswith("warning: one class alone (dog)")
    student = [tmp_path / "c.zarr", "--student", "tc-resnet", "--epochs", 1]
    message_lines = succeeded(command("train-student", *student, "--out", tmp_path / "run"))
    assert "c.zarr: one class alone (dog): any model is always right" in message_lines
    assert "has no split validation: the last epoch is kept" in message_lines


def test_finetuning_reports_it_and_begins_nothing_without_validation(tmp_path: Path) -> None:
    write_folder(tmp_path / "corpus", train_dog=2, train_cat=2, test_dog=1)
    out = tmp_path / "teacher"
    run = command(
        "finetune-teacher", f"folder:{tmp_path / 'corpus'}", "--base", "nowhere", "--out", out
    )
    assert "warning: no split validation" in run.stdout
    assert "no labelled clip in split 'validation'" in run.stderr
    assert run.returncode == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["corpus"]
