"""Run folders of any content: the run goes on, or reports what is damaged and the way out."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from commands import write_tones
from fuzzing import fuzzing, mutated_bytes, mutated_json, run, seeds
from hypothesis import given

from pipeline.precompute.cli import main as precompute_teacher
from student.evaluation.cli import main as evaluate_student
from student.training.cli import main as train_student

STATE = "training-state.pt"


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("runs")
    corpus = write_tones(root / "corpus", per_class=2)
    out = root / "tones.zarr"
    code, output = run(precompute_teacher, f"folder:{corpus}", "--teacher", "toy", "--out", out)
    assert code == 0, output
    return out


@pytest.fixture(scope="module")
def finished(cache: Path) -> Path:
    folder = cache.parent / "run"
    code, output = train(cache, folder)
    assert code == 0, output
    return folder


def train(cache: Path, folder: Path) -> tuple[int, str]:
    return run(
        train_student, cache, "--student", "tc-resnet", "--epochs", "1", "--device", "cpu",
        "--out", folder,
    )  # fmt: skip


@contextmanager
def changed(finished: Path, seed: int) -> Iterator[tuple[Path, random.Random]]:
    """A copy of the run to spoil."""
    folder = finished.with_name(f"mutant-{seed}")
    shutil.copytree(finished, folder)
    try:
        yield folder, random.Random(seed)
    finally:
        shutil.rmtree(folder)


@fuzzing(30)
@given(seeds)
def test_a_run_with_any_settings_or_weights_is_scored_or_rejected(
    cache: Path, finished: Path, seed: int
) -> None:
    with changed(finished, seed) as (folder, dice):
        path = folder / dice.choice(["config.json", "config.json", "model.safetensors"])
        mutate = mutated_json if path.suffix == ".json" else mutated_bytes
        path.write_bytes(mutate(path.read_bytes(), dice))
        run(evaluate_student, folder, cache)


@fuzzing(15)
@given(seeds)
def test_a_training_with_any_state_goes_on_or_is_rejected(
    cache: Path, finished: Path, seed: int
) -> None:
    with changed(finished, seed) as (folder, dice):
        (folder / "result.json").unlink()
        path = folder / dice.choice([STATE, STATE, "config.json", "metrics.jsonl"])
        mutate = mutated_json if path.suffix == ".json" else mutated_bytes
        path.write_bytes(mutate(path.read_bytes(), dice))
        train(cache, folder)


@pytest.mark.parametrize("content", [b"", b"no state", b"PK\3\4"])
def test_a_damaged_state_is_named_with_the_way_out(
    cache: Path, finished: Path, content: bytes
) -> None:
    with changed(finished, 1) as (folder, _):
        (folder / "result.json").unlink()
        (folder / STATE).write_bytes(content)
        code, output = train(cache, folder)
    assert code == 1
    assert STATE in output
    assert "--out" in output
