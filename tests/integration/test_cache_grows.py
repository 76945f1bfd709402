"""A cache may gain signals, features and teachers while a training on it is under way."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest
from commands import forking_python, write_tones
from fuzzing import run

from pipeline.precompute.cli import main as precompute_teacher
from student.compare.cli import main as compare_students
from student.training.cli import main as train_student
from student.training.loop import Trainer

ADDED = {
    "a signal": ("--signal", "layer_attention"),
    "the student's features": ("--signal", "mfcc40"),
    "other features": ("--signal", "log_mel"),
    "a second teacher": ("--teacher-name", "b"),
}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tones(tmp_path_factory.mktemp("corpus") / "tones", per_class=4)


def precomputed(corpus: Path, out: Path, *options: str) -> Path:
    words = (f"folder:{corpus}", "--teacher", "toy", "--out", out)
    code, screen = run(precompute_teacher, *words, *options)
    assert code == 0, screen
    return out


@pytest.fixture(scope="module")
def cache(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return precomputed(corpus, tmp_path_factory.mktemp("cache") / "tones.zarr")


@pytest.fixture(scope="module")
def grown(corpus: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The cache with each addition."""
    folder = tmp_path_factory.mktemp("grown")
    return {
        what: precomputed(
            corpus, Path(shutil.copytree(cache, folder / str(n) / "tones.zarr")), *more
        )
        for n, (what, more) in enumerate(ADDED.items())
    }


def train(cache: Path, out: Path) -> tuple[int, str]:
    return run(
        train_student, cache, "--student", "tc-resnet", "--epochs", 2, "--batch-size", 6,
        "--device", "cpu", "--distill", "logits=0.5", "--out", out,
    )  # fmt: skip


@pytest.fixture(scope="module")
def whole(cache: Path) -> Path:
    out = cache.parent / "whole"
    assert train(cache, out)[0] == 0
    return out


@pytest.mark.parametrize("what", ADDED)
def test_a_training_goes_on_bit_for_bit(
    cache: Path,
    grown: dict[str, Path],
    whole: Path,
    tmp_path: Path,
    what: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    finish = Trainer._finish_epoch

    def stopped(training: Trainer) -> object:
        finish(training)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "_finish_epoch", stopped)
        assert train(cache, tmp_path / "run")[0] == 1
    code, screen = train(grown[what], tmp_path / "run")
    assert code == 0, screen
    assert "continuing after epoch 1" in screen
    weights = [folder / "model.safetensors" for folder in (whole, tmp_path / "run")]
    assert weights[0].read_bytes() == weights[1].read_bytes()


def test_a_comparison_goes_on_too(
    cache: Path, grown: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", forking_python())
    words = ("--student", "tc-resnet", "--condition", "none", "--seeds", 1, "--out", tmp_path / "o")
    options = ("--train", "--epochs 1 --device cpu", "--plan")
    assert run(compare_students, cache, *words, *options[:2])[0] == 0
    code, screen = run(compare_students, grown["the student's features"], *words, *options)
    assert code == 0, screen


def test_a_new_training_reads_the_features_that_are_there(
    grown: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = []
    begin = Trainer.__init__

    def noted(training: Trainer, *arguments: object) -> None:
        begin(training, *arguments)  # type: ignore[arg-type]
        sources.append(training.plain_loader.source)

    monkeypatch.setattr(Trainer, "__init__", noted)
    for what in ("the student's features", "other features"):
        assert train(grown[what], tmp_path / what)[0] == 0
    assert sources == ["mfcc40", "waveform"]


def test_what_a_training_does_read_must_stay(corpus: Path, whole: Path, tmp_path: Path) -> None:
    """The same corpus, processed by a teacher of another seed of views."""
    other = precomputed(corpus, tmp_path / "tones.zarr", "--view", "gain")
    folder = Path(shutil.copytree(whole, tmp_path / "run"))
    code, screen = train(other, folder)
    assert code == 2
    assert "cache_sha256: the run has" in screen
