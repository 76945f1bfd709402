"""A training stopped at any step, or between any two of its writes, continues to the same bits."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result
from commands import cache_tones
from compare_runs import assert_same_run, metrics_of, state_of
from small_cache import tree_bytes

from student.evaluation import cli as evaluate_cli
from student.training import cli as train_cli
from student.training import loop as training_loop
from student.training.learner import Learner
from student.training.loggers.tensorboard import CURVES
from student.training.objective import Objective

EVERYTHING = (
    "--student", "tc-resnet", "--recipe", "efficientat", "--epochs", "3", "--batch-size", "8",
    "--spec-augment", "--distill", "logits=0.5:form=cmkd,warm_up_epochs=2",
)  # fmt: skip
PSLA = ("--student", "tc-resnet", "--recipe", "psla", "--epochs", "3", "--batch-size", "12")
SHORT = ("--student", "tc-resnet", "--epochs", "1")
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
    return cache_tones(tmp_path_factory.mktemp("tones"))


@pytest.fixture(autouse=True)
def usual_signals() -> Iterator[None]:
    """A command that was stopped leaves the next signal deadly; the tests go on."""
    before = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def train(cache: Path, run: Path, *words: object) -> Result:
    return CliRunner().invoke(train_cli.main, [*map(str, (cache, "--out", run, *words))])


def at_step(step: int, act: Callable[[], None]) -> Callable[..., Any]:
    """Do something amid a step of this process, the first being 1."""
    usual, done = Learner.step, 0

    def counted(*arguments: Any) -> Any:
        nonlocal done
        done += 1
        if done == step:
            act()
        return usual(*arguments)

    return counted


def ask_to_stop() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def die() -> None:
    raise KilledError


@pytest.mark.parametrize("words", TRAININGS.values(), ids=TRAININGS)
def test_a_training_stopped_amid_every_step_continues_to_the_same_bits(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    whole, run = tmp_path / "whole", tmp_path / "stopped"
    done = train(cache, whole, *words)
    assert done.exit_code == 0, done.output
    steps = state_of(whole)["steps"]
    for step in range(1, steps + 1):
        monkeypatch.setattr(Learner, "step", at_step(1, ask_to_stop))
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


@pytest.mark.parametrize("mounted", [False, True])
def test_a_run_that_moves_away_is_not_begun_again_at_its_old_place(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mounted: bool
) -> None:
    """Renamed, or its disk unmounted, which leaves an empty folder there."""
    run, whole, moved = tmp_path / "run", tmp_path / "whole", tmp_path / "moved"
    words = ("--student", "tc-resnet", "--epochs", "2")
    assert train(cache, whole, *words).exit_code == 0

    def move() -> None:
        run.rename(moved)
        if mounted:
            run.mkdir()

    monkeypatch.setattr(Learner, "step", at_step(1 + state_of(whole)["steps"] // 2, move))
    stopped = train(cache, run, *words)
    monkeypatch.undo()
    assert stopped.exit_code == 1
    assert f"{run} is not there any more: the run was moved, deleted or unmounted" in stopped.stderr
    assert not run.exists() or os.listdir(run) == []
    assert train(cache, moved, *words).exit_code == 0
    assert_same_run(moved, whole)


def test_a_training_killed_after_a_timed_save_continues_inside_the_epoch(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, run = tmp_path / "whole", tmp_path / "killed"
    words = (*EVERYTHING, "--average", "last:share=0.75")
    assert train(cache, whole, *words).exit_code == 0
    with monkeypatch.context() as patch:
        patch.setattr(training_loop, "SAVE_EVERY_S", 0.0)
        patch.setattr(Learner, "step", at_step(7, die))
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


@pytest.fixture(scope="module")
def short(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of `SHORT`, for copies to be damaged."""
    run = tmp_path_factory.mktemp("short") / "run"
    assert train(cache, run, *SHORT).exit_code == 0
    return run


@pytest.fixture
def unfinished(short: Path, tmp_path: Path) -> Path:
    """A copy of it before its result was written."""
    run = shutil.copytree(short, tmp_path / "r")
    (run / "result.json").unlink()
    return run


def assert_refused(refused: Result, message: str, run: Path) -> None:
    assert (refused.exit_code, type(refused.exception)) == (1, SystemExit), refused.exception
    assert message in refused.stderr
    assert f"Choose another --out, or delete {run} to train anew." in refused.stderr


@pytest.mark.parametrize("content", [b"", b"no state", b"PK\x03\x04 cut off"])
def test_a_damaged_state_is_rejected_with_the_way_out(
    cache: Path, unfinished: Path, content: bytes
) -> None:
    (unfinished / "training-state.pt").write_bytes(content)
    refused = train(cache, unfinished, *SHORT)
    assert_refused(refused, "training-state.pt is damaged", unfinished)


def test_a_state_of_another_version_is_rejected(cache: Path, unfinished: Path) -> None:
    torch.save(state_of(unfinished) | {"format": 1}, unfinished / "training-state.pt")
    refused = train(cache, unfinished, *SHORT)
    assert_refused(refused, "has format 1, this version writes 2", unfinished)


OTHER_CONTENT: dict[str, Callable[[dict[str, Any]], object]] = {
    "no epoch": lambda state: state.pop("epoch"),
    "no weights": lambda state: state.pop("objective"),
    "other layers": lambda state: state.update(objective={"layer": torch.zeros(2)}),
    "weights that are none": lambda state: state.update(objective=3),
    "another optimiser": lambda state: state["optimizer"]["param_groups"].clear(),
    "an optimiser that is none": lambda state: state.update(optimizer=[1]),
    "no random numbers": lambda state: state.update(random={"cpu": torch.zeros(3)}),
    "a best epoch that is none": lambda state: state.update(best=None),
}


@pytest.mark.parametrize("change", OTHER_CONTENT.values(), ids=OTHER_CONTENT)
def test_a_state_of_other_content_is_rejected(
    cache: Path, unfinished: Path, change: Callable[[dict[str, Any]], object]
) -> None:
    state = state_of(unfinished)
    change(state)
    torch.save(state, unfinished / "training-state.pt")
    refused = train(cache, unfinished, *SHORT)
    assert_refused(refused, "training-state.pt is damaged", unfinished)


@pytest.mark.parametrize("also", ["", "result.json"])
def test_a_student_without_its_state_is_kept(
    cache: Path, short: Path, tmp_path: Path, also: str
) -> None:
    """As of an artefact that was made small: trained anew its student would be replaced."""
    run = Path(shutil.copytree(short, tmp_path / "r"))
    for name in filter(None, ("training-state.pt", also)):
        (run / name).unlink()
    before = tree_bytes(run)
    longer = train(cache, run, *SHORT, "--epochs", "2")
    if not also:
        assert_refused(longer, "not the training state to go on from (training-state.pt)", run)
    same = train(cache, run, *SHORT)
    if also:
        assert_refused(same, "not the training state to go on from (training-state.pt)", run)
    else:
        assert f"{run} is finished" in same.stdout
    assert longer.exit_code != 0
    assert tree_bytes(run) == before


def test_a_finished_run_of_a_damaged_state_is_not_promised_more_epochs(
    cache: Path, short: Path, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(short, tmp_path / "r"))
    (run / "training-state.pt").write_bytes(b"")
    before = tree_bytes(run)
    longer = train(cache, run, *SHORT, "--epochs", "2")
    assert_refused(longer, "; its student can be used as before", run)
    assert tree_bytes(run) == before
    assert f"{run} is finished" in train(cache, run, *SHORT).stdout


def test_a_state_without_its_settings_is_rejected(cache: Path, unfinished: Path) -> None:
    (unfinished / "config.json").unlink()
    refused = train(cache, unfinished, *SHORT, "--seed", "7")
    assert_refused(refused, f"{unfinished} holds a training without its config.json", unfinished)
    assert not (unfinished / "config.json").exists()


@pytest.mark.parametrize("content", ["[1]", "3", '"a"'])
def test_settings_that_are_none_are_rejected(cache: Path, unfinished: Path, content: str) -> None:
    (unfinished / "config.json").write_text(content)
    refused = train(cache, unfinished, *SHORT)
    message = f"{unfinished / 'config.json'} holds no settings of a run"
    assert_refused(refused, message, unfinished)
    evaluated = CliRunner().invoke(evaluate_cli.main, [str(unfinished), str(cache)])
    assert (evaluated.exit_code, type(evaluated.exception)) == (1, SystemExit)
    assert f"{unfinished}/config.json is damaged" in evaluated.stderr


@pytest.mark.parametrize(
    "content",
    [
        "[1]",
        "3",
        "{}",
        '{"metric": "accuracy"}',
        '{"metric": "accuracy", "epochs": 1, "splits": {"validation": {}, "test": {}}}',
    ],
)
def test_a_result_that_is_not_whole_follows_from_the_state_again(
    cache: Path, short: Path, unfinished: Path, content: str
) -> None:
    (unfinished / "result.json").write_text(content)
    assert train(cache, unfinished, *SHORT).exit_code == 0
    assert_same_run(unfinished, short)


def test_what_a_killed_writer_left_half_written_goes(cache: Path, tmp_path: Path) -> None:
    run = tmp_path / "r"
    run.mkdir()
    (run / "training-state.pt.123.partial").write_bytes(b"half")
    (run / "mine.partial").write_bytes(b"not ours")
    (run / CURVES).parent.mkdir()
    (run / f"{CURVES}.123-4.partial").write_bytes(b"half")
    assert train(cache, run, *SHORT).exit_code == 0
    assert [path.name for path in run.rglob("*.partial")] == ["mine.partial"]
