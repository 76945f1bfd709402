"""Every student trains from a cache and is evaluated, by the commands."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from click import Command
from click.testing import CliRunner
from commands import CLASSES, command, succeeded, write_tones
from safetensors.torch import load_file

from student.evaluation import cli as evaluate_cli
from student.models import STUDENTS
from student.runs.settings import build_student, parse_student
from student.training import cli as train_cli

SMALLER = {"mobilenet": "mobilenet:width=0.2", "ast-tiny": "ast-tiny:layers=1,stride=16"}
DISTILL = ("--distill", "temporal=0.25", "--distill", "logits=0.25")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine clips to train on, from 0.5 to 1.4 s."""
    folder = tmp_path_factory.mktemp("tones")
    corpus, out = write_tones(folder / "corpus", per_class=3), folder / "tones.zarr"
    succeeded(command("precompute-teacher", f"folder:{corpus}", "--teacher", "toy", "--out", out))
    return out


def here(main: Command, *words: object) -> str:
    done = CliRunner().invoke(main, [*map(str, words)])
    assert done.exit_code == 0, done.output
    return done.stdout


def document(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found


@pytest.mark.parametrize("name", STUDENTS)
def test_a_student_trains_is_saved_and_scores_the_same_again(
    name: str, cache: Path, tmp_path: Path
) -> None:
    run, student = tmp_path / "run", SMALLER.get(name, name)
    words = ("--student", student, "--out", run, "--epochs", 1, "--batch-size", 3, *DISTILL)
    here(train_cli.main, cache, *words)
    losses = document(run / "metrics.jsonl")
    for part in ("labels", "temporal", "logits", "total"):
        assert math.isfinite(losses[f"train_loss_{part}"]), part
        assert losses[f"train_loss_{part}"] > 0, part
    check_moved(run, student)
    shown = json.loads(here(evaluate_cli.main, run, cache, "--json"))
    result = document(run / "result.json")["splits"]["test"]
    assert (shown["score"], shown["clips"]) == (result["score"], 9)


def check_moved(run: Path, student: str) -> None:
    """The saved weights are all of the student's, finite, and every one learned something."""
    torch.manual_seed(0)
    start = build_student(*parse_student(student), len(CLASSES))
    saved = load_file(run / "model.safetensors")
    assert set(saved) == set(start.state_dict())
    assert not [name for name, weight in saved.items() if not weight.isfinite().all()]
    assert not [name for name, weight in start.named_parameters() if weight.equal(saved[name])]
