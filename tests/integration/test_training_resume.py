"""A training stopped at any step, or between any two of its writes, continues to the same bits."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result
from commands import command, succeeded, write_tones

from student import train_cli, training_loop
from student.objective import Objective
from student.training_loop import Training

EVERYTHING = (
    "--student", "tc-resnet", "--recipe", "efficientat", "--epochs", "3", "--batch-size", "8",
    "--spec-augment", "--distill", "logits=0.5:form=cmkd,warm_up_epochs=2",
)  # fmt: skip
PSLA = ("--student", "tc-resnet", "--recipe", "psla", "--epochs", "3", "--batch-size", "12")
DROPOUT = ("--epochs", "2", "--batch-size", "10", "--distill", "temporal=0.25")
TRAININGS = {
    "mixup, SpecAugment, CMKD, ema": (*EVERYTHING, "--average", "ema:decay=0.9"),
    "SGD": ("--student", "tc-resnet", "--recipe", "kws-streaming-sgd", "--epochs", "2"),
    "PSLA's warm-up and average": (*PSLA, "--distill", "logits=0.5", "--precision", "bf16-mixed"),
    "crnn": ("--student", "crnn", *DROPOUT),
    "att-rnn": ("--student", "att-rnn", *DROPOUT, "--spec-augment"),
}


class KilledError(BaseException):
    """Stands for a kill: nothing of ours catches it."""


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """30 clips to train on, in several units, with two views."""
    folder = tmp_path_factory.mktemp("tones")
    corpus, out = write_tones(folder / "corpus"), folder / "tones.zarr"
    options = ["--teacher", "toy", "--unit-rows", "6", "--views", "2", "--view", "gain"]
    succeeded(command("precompute-teacher", f"folder:{corpus}", "--out", out, *options))
    return out


@pytest.fixture(autouse=True)
def usual_signals() -> Iterator[None]:
    """A command that was told to stop leaves the next signal deadly; the tests go on."""
    before = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def train(cache: Path, run: Path, *words: object) -> Result:
    return CliRunner().invoke(train_cli.main, [*map(str, (cache, "--out", run, *words))])


def at_step(step: int, act: Callable[[], None]) -> Callable[[Training, Any], None]:
    """Do something amid a step of this process, the first being 1."""
    usual, done = Training._step, 0

    def _step(self: Training, batch: Any) -> None:
        nonlocal done
        done += 1
        if done == step:
            act()
        usual(self, batch)

    return _step


def ask_to_stop() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def die() -> None:
    raise KilledError


def state_of(run: Path) -> dict[str, Any]:
    state: dict[str, Any] = torch.load(run / "training-state.pt", weights_only=True)
    return state


def metrics_of(run: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


def differing(one: Any, other: Any, where: str = "state") -> Iterator[str]:
    """Places at which two states differ, times left out."""
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        for key in one.keys() - {"seconds"}:
            yield from differing(one[key], other[key], f"{where}.{key}")
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for index, (mine, yours) in enumerate(zip(one, other, strict=True)):
            yield from differing(mine, yours, f"{where}[{index}]")
    elif not (torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other):
        yield f"{where}: {one} and {other}"


def assert_same_run(run: Path, whole: Path) -> None:
    for name in ("model.safetensors", "result.json", "config.json"):
        assert (run / name).read_bytes() == (whole / name).read_bytes(), name
    assert metrics_of(run) == metrics_of(whole)
    assert list(differing(state_of(run), state_of(whole))) == []
    assert sorted(os.listdir(run)) == sorted(os.listdir(whole))
    assert not run.with_name(f"{run.name}.lock").exists()


@pytest.mark.parametrize("words", TRAININGS.values(), ids=TRAININGS)
def test_a_training_stopped_amid_every_step_continues_to_the_same_bits(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    whole, run = tmp_path / "whole", tmp_path / "stopped"
    done = train(cache, whole, *words)
    assert done.exit_code == 0, done.output
    steps = state_of(whole)["steps"]
    for step in range(1, steps + 1):
        monkeypatch.setattr(Training, "_step", at_step(1, ask_to_stop))
        stopped = train(cache, run, *words)
        monkeypatch.undo()
        assert stopped.exit_code == 1
        assert "train-student: stopped after batch" in stopped.stderr
        assert "Repeat the command" in stopped.stderr
        assert state_of(run)["steps"] == step
        assert state_of(run)["batch"] > 0, "the stop is inside an epoch"
    last = train(cache, run, *words)
    assert last.exit_code == 0
    assert "continuing after batch" in last.stdout
    assert_same_run(run, whole)


def test_a_training_killed_after_a_timed_save_continues_inside_the_epoch(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, run = tmp_path / "whole", tmp_path / "killed"
    words = (*EVERYTHING, "--average", "last:share=0.75")
    assert train(cache, whole, *words).exit_code == 0
    with monkeypatch.context() as patch:
        patch.setattr(training_loop, "SAVE_EVERY_S", 0.0)
        patch.setattr(Training, "_step", at_step(7, die))
        with pytest.raises(KilledError):
            train(cache, run, *words)
    assert (state_of(run)["epoch"], state_of(run)["batch"]) == (1, 2)
    assert len(metrics_of(run)) == 1
    last = train(cache, run, *words)
    assert "continuing after batch 2 of epoch 2 of 3" in last.stdout
    assert_same_run(run, whole)


def test_a_training_killed_between_any_two_writes_continues_to_the_same_bits(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("--student", "tc-resnet", "--epochs", "2", "--batch-size", "8", "--seed", "3")
    whole, renamed = tmp_path / "whole", os.replace
    assert train(cache, whole, *words).exit_code == 0
    kills = 0
    while True:
        run, writes = tmp_path / f"killed-{kills}", 0

        def replace(partial: Path, path: Path, allowed: int = kills) -> None:
            nonlocal writes
            if writes == allowed:
                raise KilledError
            writes += 1
            renamed(partial, path)

        monkeypatch.setattr(os, "replace", replace)
        try:
            train(cache, run, *words)
            break
        except KilledError:
            monkeypatch.undo()
        kills += 1
        assert train(cache, run, *words).exit_code == 0
        assert_same_run(run, whole)
    assert kills == 9, "config, curves; state, metrics and weights of two epochs; result"


def poison(step: int, what: str) -> Callable[..., Any]:
    """Make the loss, or the gradient alone, of a step not a number."""
    usual, done = Objective.forward, 0

    def forward(self: Any, *inputs: Any) -> dict[str, torch.Tensor]:
        nonlocal done
        done += 1
        losses = usual(self, *inputs)
        if done == step and what == "loss":
            return losses | {"total": losses["total"] * torch.nan}
        if done == step:
            spoiled: Any = losses["total"]
            spoiled.register_hook(lambda gradient: gradient * torch.inf)
        return losses

    return forward


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_what_is_not_finite_leaves_the_last_good_state_and_names_the_clips(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    whole, run = tmp_path / "whole", tmp_path / "poisoned"
    words = (*EVERYTHING, "--average", "ema:decay=0.9")
    assert train(cache, whole, *words).exit_code == 0
    with monkeypatch.context() as patch:
        patch.setattr(training_loop, "SAVE_EVERY_S", 0.0)
        patch.setattr(Objective, "forward", poison(7, what))
        stopped = train(cache, run, *words)
    assert stopped.exit_code == 1
    assert f"the {what} is not finite" in stopped.stderr
    named = stopped.stderr.split("the batch holds ")[1].split(". The")[0].split(", ")
    assert len(named) in (6, 8)
    assert all(name.startswith("train/") for name in named)
    state = state_of(run)
    assert (state["steps"], state["epoch"], state["batch"]) == (6, 1, 2)
    tensors = [*state["objective"].values(), *state["averaged"]["student"].values()]
    tensors += [t for kept in state["optimizer"]["state"].values() for t in kept.values()]
    assert all(bool(torch.isfinite(tensor).all()) for tensor in tensors)
    assert train(cache, run, *words).exit_code == 0
    assert_same_run(run, whole)


@pytest.mark.parametrize("content", [b"", b"no state", b"PK\x03\x04 cut off"])
def test_a_damaged_state_is_refused_with_the_way_out(
    cache: Path, tmp_path: Path, content: bytes
) -> None:
    run = tmp_path / "r"
    words = ("--student", "tc-resnet", "--epochs", "1")
    assert train(cache, run, *words).exit_code == 0
    (run / "result.json").unlink()
    (run / "training-state.pt").write_bytes(content)
    refused = train(cache, run, *words)
    assert refused.exit_code == 1
    assert "training-state.pt is damaged" in refused.stderr
    assert "Choose another --out" in refused.stderr


def test_a_state_of_another_version_is_refused(cache: Path, tmp_path: Path) -> None:
    run = tmp_path / "r"
    words = ("--student", "tc-resnet", "--epochs", "1")
    assert train(cache, run, *words).exit_code == 0
    (run / "result.json").unlink()
    torch.save(state_of(run) | {"format": 1}, run / "training-state.pt")
    refused = train(cache, run, *words)
    assert refused.exit_code == 1
    assert "has format 1, this version writes 2" in refused.stderr


def test_what_a_killed_writer_left_half_written_goes(cache: Path, tmp_path: Path) -> None:
    run = tmp_path / "r"
    run.mkdir()
    (run / "training-state.pt.123.partial").write_bytes(b"half")
    (run / "mine.partial").write_bytes(b"not ours")
    assert train(cache, run, "--student", "tc-resnet", "--epochs", "1").exit_code == 0
    assert [path.name for path in run.glob("*.partial")] == ["mine.partial"]
