"""Train and evaluate as a user does: from a cache of the toy teacher to scores, kills included."""

from __future__ import annotations

import json
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result
from commands import Started, command, succeeded, write_tones
from safetensors.torch import load_file

from cache_schema.command_line.command import Command
from cache_schema.errors import CacheError, RunError
from cache_schema.reader import open_cache
from student.evaluation import cli as evaluate_cli
from student.runs.settings import Settings, find_recipe, parse_distillation
from student.training import cli as train_cli
from student.training.objective import check_signals
from student.training.train import train

DISTILL = ("--distill", "temporal=0.25", "--distill", "logits=0.25:temperature=3")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ragged clips of three classes with a toy teacher's answers."""
    folder = tmp_path_factory.mktemp("tones")
    corpus = write_tones(folder / "corpus")
    out = folder / "tones.zarr"
    succeeded(command("precompute-teacher", f"folder:{corpus}", "--teacher", "toy", "--out", out))
    return out


def here(main: Command, *words: object) -> Result:
    """Run a command in this process; importing torch again would take most of the time."""
    return CliRunner().invoke(main, [*map(str, words)])


def arguments(cache: Path, run: Path, *more: object) -> list[object]:
    return [cache, "--student", "tc-resnet", "--out", run, "--batch-size", "8", *more]


@pytest.fixture(scope="module")
def finished(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A run of three epochs with both losses, and what it printed."""
    run = tmp_path_factory.mktemp("runs") / "whole"
    return run, succeeded(
        command("train-student", *arguments(cache, run, "--epochs", "3", *DISTILL))
    )


def state_of(run: Path) -> dict[str, Any]:
    state: dict[str, Any] = torch.load(run / "training-state.pt", weights_only=True)
    return state


def test_a_run_reports_the_teachers_score_first_and_its_own_last(
    finished: tuple[Path, str],
) -> None:
    run, printed = finished
    lines = [line for line in printed.splitlines() if not line.startswith("warning: ")]
    result = json.loads((run / "result.json").read_text())
    assert lines[0].startswith("teacher: train accuracy 0.3333 on 30 clips; validation accuracy")
    assert lines[-2].startswith(f"{run}: validation accuracy")
    assert f"test accuracy {result['splits']['test']['score']:.4f} (teacher 0.3333)" in lines[-2]
    assert lines[-1].startswith(f"Next: evaluate-student {run} ")
    assert result["metric"] == "accuracy"
    assert result["splits"]["test"]["clips"] == 9
    assert result["seed"] == 0
    assert result["steps"] == state_of(run)["steps"]
    assert "clip_s" not in result  # the clips have ten lengths


def test_a_run_leaves_what_it_did(finished: tuple[Path, str]) -> None:
    run, _ = finished
    config = json.loads((run / "config.json").read_text())
    assert config["label_weight"] == 0.5
    assert config["distill"][1]["options"] == {"temperature": "3"}
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2, 3]
    assert lines[2]["train_loss_total"] < lines[0]["train_loss_total"]
    assert any((run / "tensorboard").iterdir())


def test_the_weights_hold_no_distillation_head(finished: tuple[Path, str]) -> None:
    run, _ = finished
    assert not [name for name in load_file(run / "model.safetensors") if "query" in name]
    assert "heads.temporal.query_D" in state_of(run)["objective"]


def test_the_same_command_again_reports_that_all_is_done(
    cache: Path, finished: tuple[Path, str]
) -> None:
    run, printed = finished
    before = (run / "model.safetensors").read_bytes()
    again = here(train_cli.main, *arguments(cache, run, "--epochs", "3", *DISTILL))
    assert f"{run} is finished: 3 of 3 epochs are done\n" in again.stdout
    assert again.stdout.splitlines()[-2:] == printed.splitlines()[-2:]
    assert again.stdout.endswith(f"\nNext: evaluate-student {run} {cache} --report\n")
    assert (run / "model.safetensors").read_bytes() == before


def test_other_settings_in_the_same_run_are_rejected_with_both_values(
    cache: Path, finished: tuple[Path, str]
) -> None:
    run, _ = finished
    refused = here(train_cli.main, *arguments(cache, run, "--epochs", "4", "--seed", "7"))
    assert refused.exit_code == 2
    assert "epochs: the run has 3, requested 4" in refused.stderr
    assert "seed: the run has 0, requested 7" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_killed_run_continues_to_the_same_bits(
    cache: Path, finished: tuple[Path, str], tmp_path: Path
) -> None:
    whole, _ = finished
    run = tmp_path / "killed"
    words = arguments(cache, run, "--epochs", "3", *DISTILL)
    with Started("train-student", *words) as process:
        give_up = time.monotonic() + 120
        while not (run / "training-state.pt").is_file() and time.monotonic() < give_up:
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
    assert not (run / "result.json").is_file()
    assert state_of(run)["epoch"] < 3
    succeeded(command("train-student", *words))
    assert (run / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    first, second = state_of(whole), state_of(run)
    for name, tensor in first["objective"].items():
        assert torch.equal(tensor, second["objective"][name]), name
    assert (run / "result.json").read_bytes() == (whole / "result.json").read_bytes()
    assert len((run / "metrics.jsonl").read_text().splitlines()) == 3


def test_evaluate_student_repeats_the_runs_score(cache: Path, finished: tuple[Path, str]) -> None:
    run, _ = finished
    shown = json.loads(here(evaluate_cli.main, run, cache, "--json").stdout)
    result = json.loads((run / "result.json").read_text())["splits"]["test"]
    assert shown["score"] == result["score"]
    assert shown["teacher_score"] == result["teacher_score"]


def test_a_missing_signal_is_rejected_with_the_command_that_adds_it(cache: Path) -> None:
    opened = open_cache(cache)
    opened.__dict__["signals"] = {"waveform": opened.signals["waveform"]}
    settings = Settings(
        student="tc-resnet", student_options={}, distill=(parse_distillation("temporal=0.5"),),
        label_weight=0.5, seed=0, recipe=find_recipe(None, "tc-resnet"),
    )  # fmt: skip
    with pytest.raises(CacheError, match="--signal temporal_attention"):
        check_signals(opened, settings)


def test_wrong_names_name_the_nearest(cache: Path, tmp_path: Path) -> None:
    refused = here(train_cli.main, cache, "--student", "tc-resnt", "--out", tmp_path / "r")
    assert refused.exit_code == 2
    assert "Did you mean 'tc-resnet'" in refused.stderr
    refused = here(evaluate_cli.main, tmp_path / "nothing", cache)
    assert refused.exit_code == 1
    assert "is not a run" in refused.stderr


def test_a_loss_that_is_not_finite_stops_before_the_update_and_names_clips(
    cache: Path, tmp_path: Path
) -> None:
    words = arguments(cache, tmp_path / "r", "--epochs", "1")
    context = train_cli.main.make_context("train-student", [*map(str, words)])
    settings = train_cli.resolve(context.params)
    # Beyond what the command line takes: there is no other sure way to a loss that overflows.
    settings = replace(settings, recipe=replace(settings.recipe, learning_rate=1e30))
    with pytest.raises(RunError, match="the loss is not finite") as stopped:
        train(open_cache(cache), settings, tmp_path / "r", device="cpu", log=lambda _: None)
    assert stopped.value.exit_code == 1
    assert "/" in str(stopped.value).split("the batch holds ")[1].split(",")[0]


def test_options_come_from_a_file_too(cache: Path, tmp_path: Path) -> None:
    config = tmp_path / "run.toml"
    config.write_text(
        'student = "att-rnn"\nepochs = 1\nspec_augment = true\n'
        'distill = ["temporal=0.5:source=native"]\n'
    )
    run = tmp_path / "r"
    done = here(train_cli.main, cache, "--out", run, "--config", config, "--seed", "5")
    assert done.exit_code == 0, done.output
    settings = json.loads((run / "config.json").read_text())
    assert (settings["student"], settings["seed"]) == ("att-rnn", 5)
    assert settings["recipe"]["epochs"] == 1
    assert settings["recipe"]["spec_augment"]["time_masks"] == 2
