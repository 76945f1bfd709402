"""A full or read-only disk: a message, nothing half-written, and the same bytes once there is room."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from commands import command, forked_script, script, succeeded, write_tones
from compare_runs import RUN_FILES, assert_same_run
from limited_disk import (
    READ_ONLY,
    fail_on_a_full_disk,
    in_namespace,
    run_with_file_limit,
    skip_without_mounts,
)
from small_cache import tree_bytes
from small_finetuning import write_base

from cache_schema.integrity.verify import verify

STUDENT = ("--student", "tc-resnet", "--epochs", "3", "--batch-size", "8")
PRECOMPUTE = ("--teacher", "toy", "--unit-rows", "3")
GO_ON = "and repeat the command."


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"folder:{write_tones(tmp_path_factory.mktemp('corpus') / 'tones', 5)}"


@pytest.fixture(scope="module")
def whole_cache(corpus: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("cache") / "c.zarr"
    succeeded(command("precompute-teacher", corpus, *PRECOMPUTE, "--out", out))
    return out


@pytest.fixture(scope="module")
def whole_run(whole_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "run"
    succeeded(command("train-student", whole_cache, *STUDENT, "--out", run))
    return run


@pytest.fixture(scope="module")
def finetuning(corpus: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[object, ...]:
    """Words of a fine-tuning whose finished folder is larger than its state."""
    base = write_base(tmp_path_factory.mktemp("base") / "base")
    return (corpus, "--base", base, "--epochs", "1", "--freeze-layers", "2")


@pytest.fixture
def mounts(tmp_path: Path) -> None:
    skip_without_mounts(tmp_path)


def on_disk_bytes(folder: Path) -> int:
    """What the files take in pages; a tmpfs keeps its folders elsewhere."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return sum(-(-path.stat().st_size // 4096) * 4096 for path in files)


def assert_nothing_half_written(folder: Path) -> None:
    names = [path.name for path in folder.rglob("*")]
    assert [name for name in names if name.endswith((".lock", ".partial"))] == []


@pytest.mark.usefixtures("mounts")
@pytest.mark.parametrize("share", [0.2, 0.6, 0.95])
def test_precompute_on_a_full_disk_keeps_what_was_committed(
    corpus: str, whole_cache: Path, tmp_path: Path, share: float
) -> None:
    size = int(share * on_disk_bytes(whole_cache))
    words = (corpus, *PRECOMPUTE, "--out", "DISK/c.zarr")
    shown = fail_on_a_full_disk(tmp_path, size, "precompute-teacher", *words)
    assert shown.startswith("precompute-teacher: No space left on device")
    assert f"{tmp_path / 'disk'}" in shown
    assert shown.endswith(f"Free some space there, or choose another place to write, {GO_ON}\n")
    left, end = tmp_path / "left" / "c.zarr", tmp_path / "end" / "c.zarr"
    assert_nothing_half_written(tmp_path / "left")
    if left.exists():
        assert verify(left) == []
    assert tree_bytes(end) == tree_bytes(whole_cache)


def test_precompute_with_a_limit_of_file_sizes_leaves_no_damage(
    corpus: str, whole_cache: Path, tmp_path: Path
) -> None:
    out = tmp_path / "c.zarr"
    largest = max(path.stat().st_size for path in whole_cache.rglob("c/*"))
    words = (corpus, *PRECOMPUTE, "--out", out)
    stopped = run_with_file_limit(largest - 1, "precompute-teacher", *words)
    assert stopped.returncode == 1
    assert "File too large" in stopped.stderr
    assert str(out) in stopped.stderr
    assert "Traceback" not in stopped.stderr
    assert verify(out) == []
    assert_nothing_half_written(tmp_path)
    succeeded(command("precompute-teacher", *words))
    assert tree_bytes(out) == tree_bytes(whole_cache)


@pytest.mark.usefixtures("mounts")
@pytest.mark.parametrize("at", ["the first state", "the first weights", "the second state"])
def test_training_on_a_full_disk_keeps_the_last_good_state(
    whole_cache: Path, whole_run: Path, tmp_path: Path, at: str
) -> None:
    state, weights = ((whole_run / n).stat().st_size for n in ("training-state.pt", RUN_FILES[0]))
    sizes = {"the first state": state // 2, "the first weights": state + weights // 2}
    size = sizes.get(at, 3 * state // 2 + weights)
    words = (whole_cache, *STUDENT, "--out", "DISK/run")
    shown = fail_on_a_full_disk(tmp_path, size, "train-student", *words)
    failed_at = RUN_FILES[0] if "weights" in at else "training-state.pt"
    assert shown.startswith(
        f"train-student: No space left on device ({tmp_path}/disk/run/{failed_at})"
    )
    assert shown.endswith(GO_ON + "\n")
    assert_nothing_half_written(tmp_path / "left")
    assert (tmp_path / "left/run/training-state.pt").exists() == (at != "the first state")
    assert_same_run(tmp_path / "end/run", whole_run)


def test_training_with_a_limit_of_file_sizes_keeps_the_last_good_state(
    whole_cache: Path, whole_run: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    words = (whole_cache, *STUDENT, "--out", run)
    stopped = run_with_file_limit(1 << 20, "train-student", *words)
    assert stopped.returncode == 1
    assert "File too large" in stopped.stderr
    assert f"({run / 'training-state.pt'})" in stopped.stderr
    assert "Traceback" not in stopped.stderr
    assert_nothing_half_written(tmp_path)
    succeeded(command("train-student", *words))
    assert_same_run(run, whole_run)


@pytest.mark.usefixtures("mounts")
def test_a_read_only_disk_is_rejected_before_anything_is_done(
    corpus: str, whole_cache: Path, tmp_path: Path, finetuning: tuple[object, ...]
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    compared = ("--student", "tc-resnet", "--condition", "none", "--out", tmp_path / "compared")
    for name, words in {
        "precompute-teacher": (corpus, *PRECOMPUTE, "--out", disk / "made"),
        "train-student": (whole_cache, *STUDENT, "--out", disk / "made"),
        "finetune-teacher": (*finetuning, "--out", disk / "made"),
        "compare-students": (whole_cache, *compared, "--ledger", disk / "made"),
    }.items():
        run = in_namespace(READ_ONLY, disk, *forked_script(name), *words)
        assert run.returncode == 1, run.stderr
        assert f"{name}: Read-only file system ({disk})" in run.stderr
        assert run.stderr.endswith(f"Make it writable, or choose another place to write, {GO_ON}\n")
        assert "Traceback" not in run.stderr
        assert "epoch 1" not in run.stdout
    assert os.listdir(disk) == []
    assert not (tmp_path / "compared").exists()


@pytest.mark.usefixtures("mounts")
def test_a_finished_cache_on_a_read_only_disk_can_be_read(whole_cache: Path) -> None:
    for words in (("inspect-cache", whole_cache), ("inspect-cache", whole_cache, "--verify")):
        run = in_namespace(READ_ONLY, whole_cache.parent, script(words[0]), *words[1:])
        assert run.returncode == 0, run.stderr


def test_fine_tuning_with_a_limit_of_file_sizes_keeps_the_training(
    tmp_path: Path, finetuning: tuple[object, ...]
) -> None:
    whole, out = tmp_path / "whole", tmp_path / "teacher"
    succeeded(command("finetune-teacher", *finetuning, "--out", whole))
    weights = (whole / "model.safetensors").stat().st_size
    for limit, failed in ((weights // 4, "state.pt"), (weights - 1, "finished")):
        stopped = run_with_file_limit(limit, "finetune-teacher", *finetuning, "--out", out)
        assert stopped.returncode == 1
        assert f"{out}.partial/{failed}" in stopped.stderr
        assert "File too large" in stopped.stderr
        assert "Traceback" not in stopped.stderr
        assert not out.exists()
    done = succeeded(command("finetune-teacher", *finetuning, "--out", out))
    assert "continuing after epoch 1" in done
    assert tree_bytes(out) == tree_bytes(whole)
    assert sorted(os.listdir(tmp_path)) == ["teacher", "whole"]
