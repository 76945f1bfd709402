"""A kill costs no more than an epoch, whatever was chosen; and every choice shows."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from small_finetuning import RECIPE, Task, run, write_base, write_corpus

from cache_schema.errors import RunError, UsageError
from pipeline.corpora.interface import Corpus
from pipeline.finetune.cli import main

torch.set_num_threads(1)

CHOICES: dict[str, Any] = {
    "layer_decay": 0.75,
    "spec_augment": True,
    "mixup": 10.0,
    "noise_snr_db": (5.0, 20.0),
    "balanced": True,
    "accumulate": 2,
    "precision": "bf16-mixed",
}


FAMILIES = ("wav2vec2", "whisper", "efficientnet")


class KilledError(Exception):
    """Stands for a kill right after an epoch was reported."""


def killed_after_epoch(epoch: int) -> Callable[[str], None]:
    def report(line: str) -> None:
        if line.startswith(f"epoch {epoch} of"):
            raise KilledError

    return report


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> dict[Task, Corpus]:
    """Corpora of three batches an epoch, so that accumulating two of them leaves one."""
    folder = tmp_path_factory.mktemp("corpora")
    return {task: write_corpus(folder / task, task, train=6) for task in ("single", "multi")}


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A base of each family."""
    folder = tmp_path_factory.mktemp("bases")
    return {family: write_base(folder / family, family) for family in FAMILIES}


@pytest.mark.parametrize("task", ["single", "multi"])
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("choices", [{}, CHOICES], ids=["nothing", "everything"])
def test_a_killed_run_continues_to_the_same_weights(
    tmp_path: Path,
    corpora: dict[Task, Corpus],
    bases: dict[str, Path],
    task: Task,
    family: str,
    choices: dict[str, Any],
) -> None:
    corpus, base = corpora[task], bases[family]
    recipe = replace(RECIPE, **choices)
    run(corpus, base, tmp_path / "undisturbed", recipe=recipe)
    with pytest.raises(KilledError):
        run(corpus, base, tmp_path / "killed", recipe=recipe, report=killed_after_epoch(1))
    assert not (tmp_path / "killed").exists()
    _, lines = run(corpus, base, tmp_path / "killed", recipe=recipe)
    assert "continuing after epoch 1" in lines
    for name in ("model.safetensors", "training.json", "config.json"):
        one, other = (tmp_path / run_ / name for run_ in ("undisturbed", "killed"))
        assert one.read_bytes() == other.read_bytes(), name


def test_a_stopped_run_is_finished_with_its_best_epoch(tmp_path: Path) -> None:
    corpus, base = write_corpus(tmp_path / "corpus"), write_base(tmp_path / "base")
    recipe, out = replace(RECIPE, epochs=3), tmp_path / "teacher"
    with pytest.raises(RunError, match="no epoch of a training of"):
        run(corpus, base, out.parent / "new/place", recipe=recipe, finish=True)
    assert not (out.parent / "new").exists()
    with pytest.raises(KilledError):
        run(corpus, base, out, recipe=recipe, report=killed_after_epoch(1))
    result, lines = run(corpus, base, out, recipe=recipe, finish=True)
    assert (len(result["epochs"]), result["finished_early"]) == (1, True)
    assert "continuing after epoch 1" in lines
    assert not (tmp_path / "teacher.partial").exists()
    whole, _ = run(corpus, base, tmp_path / "whole", recipe=recipe)
    assert (len(whole["epochs"]), whole["finished_early"]) == (3, False)
    marks = [
        json.loads((folder / "config.json").read_text())["aftersound_fine_tuning_sha256"]
        for folder in (out, tmp_path / "whole")
    ]
    assert marks[0] != marks[1], "they are not the same teacher"
    assert run(corpus, base, out, recipe=recipe)[0] == result, "it stays finished"


@pytest.mark.parametrize("task", ["single", "multi"])
def test_every_choice_changes_what_is_learnt_and_is_recorded(
    tmp_path: Path, corpora: dict[Task, Corpus], bases: dict[str, Path], task: Task
) -> None:
    corpus, base = corpora[task], bases["wav2vec2"]
    plain = replace(RECIPE, epochs=1)
    run(corpus, base, tmp_path / "plain", recipe=plain)
    seen = {(tmp_path / "plain" / "model.safetensors").read_bytes()}
    for name, value in CHOICES.items():
        result, _ = run(corpus, base, tmp_path / name, recipe=replace(plain, **{name: value}))
        assert result["facts"][name] == value
        assert 0 < result["epochs"][0]["loss"] < 2
        seen.add((tmp_path / name / "model.safetensors").read_bytes())
    assert len(seen) == 1 + len(CHOICES)


def test_an_unfinished_run_of_other_choices_is_rejected(
    tmp_path: Path, corpora: dict[Task, Corpus], bases: dict[str, Path]
) -> None:
    corpus, base = corpora["single"], bases["wav2vec2"]
    recipe = replace(RECIPE, noise_snr_db=(5.0, 20.0))
    with pytest.raises(KilledError):
        run(corpus, base, tmp_path / "teacher", recipe=recipe, report=killed_after_epoch(1))
    with pytest.raises(UsageError, match=r"noise_snr_db: there \[5\.0, 20\.0\], this run null"):
        run(corpus, base, tmp_path / "teacher")


@pytest.fixture(scope="module")
def killed(
    tmp_path_factory: pytest.TempPathFactory, corpora: dict[Task, Corpus], bases: dict[str, Path]
) -> tuple[Corpus, Path, Path]:
    """Corpus, base and what a run killed after its first epoch left, for copies to be damaged."""
    folder = tmp_path_factory.mktemp("killed")
    corpus, base = corpora["single"], bases["wav2vec2"]
    with pytest.raises(KilledError):
        run(corpus, base, folder / "teacher", report=killed_after_epoch(1))
    return corpus, base, folder / "teacher.partial"


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def emptied(path: Path) -> None:
    state = torch.load(path, weights_only=True)
    torch.save(dict.fromkeys(state), path)


def of_epochs(epochs: object) -> Callable[[Path], object]:
    def change(path: Path) -> None:
        torch.save(torch.load(path, weights_only=True) | {"epochs": epochs}, path)

    return change


DAMAGES: dict[str, tuple[str, Callable[[Path], object]]] = {
    "a state of junk": ("state.pt", lambda path: path.write_bytes(b"junk")),
    "an empty state": ("state.pt", lambda path: path.write_bytes(b"")),
    "a state cut off": ("state.pt", cut),
    "a state of other content": ("state.pt", emptied),
    "a state before any epoch": ("state.pt", of_epochs([])),
    "epochs of other content": ("state.pt", of_epochs([{"loss": 1.0}])),
    "a score that is none": ("state.pt", of_epochs([{"loss": 1.0, "validation": "z"}])),
    "facts cut off": ("facts.json", cut),
    "facts that are none": ("facts.json", lambda path: path.write_text("[1]")),
    "no facts": ("facts.json", Path.unlink),
}


@pytest.mark.parametrize(("name", "damage"), DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_unfinished_run_is_rejected_with_the_way_out(
    killed: tuple[Corpus, Path, Path],
    tmp_path: Path,
    name: str,
    damage: Callable[[Path], object],
) -> None:
    corpus, base, left = killed
    partial = shutil.copytree(left, tmp_path / "teacher.partial")
    damage(partial / name)
    with pytest.raises(RunError, match=f"{partial}.*{name}") as refused:
        run(corpus, base, tmp_path / "teacher")
    assert str(refused.value).endswith(f"Choose another --out, or delete {partial} to train anew.")
    assert refused.value.kind == "damaged"


def test_best_weights_of_junk_are_rejected(
    killed: tuple[Corpus, Path, Path], tmp_path: Path
) -> None:
    corpus, base, left = killed
    partial = shutil.copytree(left, tmp_path / "teacher.partial")

    def spoil(line: str) -> None:
        if line.startswith("epoch 2 of"):
            (partial / "best.pt").write_bytes(b"junk")

    with pytest.raises(RunError, match=r"best\.pt is damaged"):
        run(corpus, base, tmp_path / "teacher", report=spoil)


def test_best_weights_that_are_gone_are_reported_with_the_way_out(
    killed: tuple[Corpus, Path, Path], tmp_path: Path
) -> None:
    corpus, base, left = killed
    partial = shutil.copytree(left, tmp_path / "teacher.partial")
    scores = ({"loss": 1.0, "validation": score} for score in (0.9, 0.1))
    of_epochs(list(scores))(partial / "state.pt")
    (partial / "best.pt").unlink()
    with pytest.raises(RunError, match=r"best\.pt is missing") as refused:
        run(corpus, base, tmp_path / "teacher", finish=True)
    assert str(refused.value).endswith(f"delete {partial} to train anew.")


@pytest.mark.parametrize("content", ["{", "[1]", "{}"])
def test_a_finished_folder_of_damaged_facts_is_rejected(
    killed: tuple[Corpus, Path, Path], tmp_path: Path, content: str
) -> None:
    corpus, base, _ = killed
    out = tmp_path / "teacher"
    out.mkdir()
    (out / "training.json").write_text(content)
    with pytest.raises(RunError, match=r"training\.json is damaged") as refused:
        run(corpus, base, out)
    assert str(refused.value).endswith(f"delete {out} to train anew.")
    assert (out / "training.json").read_text() == content


def test_the_command_takes_every_choice(
    tmp_path: Path, corpora: dict[Task, Corpus], bases: dict[str, Path]
) -> None:
    corpus, base = corpora["single"], bases["wav2vec2"]
    manifest = tmp_path / "clips.csv"
    lines = [f"{c.path},{c.labels[0]},{c.split}" for c in corpus.clips if c.frames and c.labels]
    manifest.write_text("\n".join(["path,label,split", *lines]) + "\n")
    result = CliRunner().invoke(
        main,
        [
            f"csv:{manifest}?root={corpus.root}", "--base", str(base), "--out", str(tmp_path / "t"),
            "--epochs", "1", "--layer-decay", "0.75", "--freeze-layers", "1", "--spec-augment",
            "--mixup", "10", "--noise-snr-db", "5", "20", "--balanced", "--accumulate", "2",
            "--precision", "bf16-mixed",
        ],
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    facts = json.loads((tmp_path / "t" / "training.json").read_text())["facts"]
    assert {name: facts[name] for name in CHOICES} == CHOICES | {"noise_snr_db": [5.0, 20.0]}


def test_a_run_killed_after_its_last_epoch_names_what_it_left_out(tmp_path: Path) -> None:
    corpus, base = write_corpus(tmp_path / "corpus"), write_base(tmp_path / "base")
    whole, _ = run(corpus, base, tmp_path / "undisturbed")
    with pytest.raises(KilledError):
        run(corpus, base, tmp_path / "killed", report=killed_after_epoch(2))
    resumed, _ = run(corpus, base, tmp_path / "killed")
    assert list(whole["unusable"]) == ["broken"]
    assert resumed == whole


def test_nothing_is_written_through_a_link_beside_the_teacher(tmp_path: Path) -> None:
    corpus, base = write_corpus(tmp_path / "corpus"), write_base(tmp_path / "base")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "teacher.partial").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match=r"teacher\.partial is a link"):
        run(corpus, base, tmp_path / "teacher")
    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.parametrize(
    "error",
    [MemoryError(), RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")],
)
def test_no_memory_is_no_damage_of_a_state(
    killed: tuple[Corpus, Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
) -> None:
    corpus, base, partial = killed
    shutil.copytree(partial, tmp_path / "teacher.partial")

    def refuse(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(torch, "load", refuse)
    with pytest.raises(type(error)) as caught:
        run(corpus, base, tmp_path / "teacher")
    assert caught.value is error


def test_a_disk_that_fails_is_no_damage_of_a_state(
    killed: tuple[Corpus, Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus, base, partial = killed
    shutil.copytree(partial, tmp_path / "teacher.partial")
    state, opened = tmp_path / "teacher.partial" / "state.pt", os.open

    def failing(path: str | Path, *rest: int) -> int:
        if Path(path) == state:
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
        return opened(path, *rest)

    monkeypatch.setattr(os, "open", failing)
    with pytest.raises(RunError, match=r"state\.pt cannot be read: Input/output error") as caught:
        run(corpus, base, tmp_path / "teacher")
    assert caught.value.kind == "unreadable"
