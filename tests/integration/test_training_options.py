"""What a training can be given beside its losses: recipes, mixup, averaging, class maps, no labels."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result
from commands import command, succeeded, write_tones
from safetensors.torch import load_file

from cache_schema.errors import RunError
from cache_schema.reader import open_cache
from student.report.run_folder import read_run_folder
from student.stream.epoch_rows import usable_clips
from student.training import cli as train_cli


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tones(tmp_path_factory.mktemp("tones") / "corpus")


@pytest.fixture(scope="module")
def cache(corpus: Path) -> Path:
    out = corpus.with_name("tones.zarr")
    succeeded(command("precompute-teacher", f"folder:{corpus}", "--teacher", "toy", "--out", out))
    return out


def train(cache: Path, run: Path, *more: object) -> Result:
    words = [cache, "--student", "tc-resnet", "--out", run, *more]
    return CliRunner().invoke(train_cli.main, [*map(str, words)])


def config(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "config.json").read_text())
    return found


def state_of(run: Path) -> dict[str, Any]:
    state: dict[str, Any] = torch.load(run / "training-state.pt", weights_only=True)
    return state


def test_a_recipe_is_taken_whole_and_changed_by_options(cache: Path, tmp_path: Path) -> None:
    done = train(cache, tmp_path / "r", "--recipe", "psla", "--epochs", "2", "--no-spec-augment")
    assert done.exit_code == 0, done.output
    recipe = config(tmp_path / "r")["recipe"]
    assert recipe["betas"] == [0.95, 0.999]
    assert (recipe["epochs"], recipe["batch_size"], recipe["spec_augment"]) == (2, 24, None)
    assert recipe["average"] == {"kind": "last", "amount": 0.5}
    lines = (tmp_path / "r" / "metrics.jsonl").read_text().splitlines()
    # Two epochs of two steps are the first four of 1000 warm-up steps.
    assert json.loads(lines[-1])["learning_rate"] <= 5e-4 * 4 / 1000


@pytest.mark.parametrize(
    "variables",
    [
        {"SLURM_NTASKS": "4", "SLURM_JOB_NAME": "x"},
        {"LSB_JOBID": "7", "JSM_NAMESPACE_LOCAL_RANK": "0"},
    ],
)
def test_a_training_in_a_job_of_a_cluster_is_one_process(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    done = train(cache, tmp_path / "run", "--epochs", 1)
    assert done.exit_code == 0, done.output


def test_a_metric_beyond_1_makes_no_teacher_perfect(cache: Path, tmp_path: Path) -> None:
    words = ("--epochs", 1, "--distill", "logits=0.5", "--metric", "d-prime")
    done = train(cache, tmp_path / "run", *words)
    assert done.exit_code == 0, done.output
    assert "d-prime" in done.output
    assert "nearly perfect" not in done.output


def test_averaged_weights_are_what_is_kept(cache: Path, tmp_path: Path) -> None:
    run = tmp_path / "r"
    assert train(cache, run, "--epochs", "3", "--average", "last:share=1").exit_code == 0
    state = state_of(run)
    averaged, last = state["averaged"]["student"], state["objective"]
    assert state["averaged"]["sets"] == 3
    assert not torch.equal(averaged["stem.weight"], last["student.stem.weight"])


def test_mixed_precision_trains_nearly_as_full_precision_does(cache: Path, tmp_path: Path) -> None:
    words = ("--epochs", "1", "--distill", "temporal=0.25", "--distill", "logits=0.25")
    totals = {}
    for precision in ("32-true", "bf16-mixed"):
        run = tmp_path / precision
        done = train(cache, run, *words, "--precision", precision)
        assert done.exit_code == 0, done.output
        totals[precision] = json.loads((run / "metrics.jsonl").read_text())["train_loss_total"]
    assert totals["bf16-mixed"] == pytest.approx(totals["32-true"], rel=0.05)
    assert totals["bf16-mixed"] != totals["32-true"], "it must not train in full precision"
    kept = {weight.dtype for weight in load_file(run / "model.safetensors").values()}
    assert torch.bfloat16 not in kept


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--average", "ema:share=0.5"], "expected ema:decay=D"),
        (["--average", "last:5"], "--average 'last:5': expected NAME:option=value"),
        (["--average", "ema:decay=2"], "at most 1"),
        (["--average", "ema:decay=1"], "ema:decay=D with a number above 0 and below 1"),
        (["--recipe", "psl"], "Did you mean 'psla'"),
        (["--mixup", "0.3", "--distill", "temporal=0.5"], "no target for temporal"),
        (["--distill", "logits=0.5:teacher=b"], "unknown teacher"),
    ],
)
def test_wrong_options_are_rejected(
    cache: Path, tmp_path: Path, options: list[str], message: str
) -> None:
    refused = train(cache, tmp_path / "r", *options)
    assert refused.exit_code == 2
    assert message in refused.stderr
    assert not (tmp_path / "r").exists()


@pytest.fixture
def other_names(corpus: Path) -> Iterator[Path]:
    """The same tones under a teacher with classes of its own."""
    out = corpus.with_name("other.zarr")
    teacher = "toy:classes=bass;treble;hiss"
    succeeded(command("precompute-teacher", f"folder:{corpus}", "--teacher", teacher, "--out", out))
    yield out
    shutil.rmtree(out)


def test_a_class_map_lets_another_teacher_teach_what_it_covers(
    other_names: Path, tmp_path: Path
) -> None:
    words = ("--epochs", "1", "--distill", "logits=0.5")
    refused = train(other_names, tmp_path / "r", *words)
    assert refused.exit_code == 2
    assert "lack 3 of 3 classes" in refused.stderr
    names = tmp_path / "map.toml"
    names.write_text('low = "bass"\nhigh = ["treble", "hiss"]\n')
    done = train(other_names, tmp_path / "r", *words, "--class-map", names)
    assert done.exit_code == 0, done.output
    assert "the teacher covers 2 of 3 classes" in done.stdout
    assert "middle: not covered, learned from labels alone" in done.stdout
    assert config(tmp_path / "r")["class_map"] == {"low": ["bass"], "high": ["treble", "hiss"]}


def test_two_teachers_teach_alone_and_by_their_mean(
    corpus: Path, cache: Path, tmp_path: Path
) -> None:
    both = Path(shutil.copytree(cache, tmp_path / "both.zarr"))
    second = ("--teacher", "toy:classes=middle;high;low;hiss", "--teacher-name", "b")
    succeeded(command("precompute-teacher", f"folder:{corpus}", "--out", both, *second))
    run = tmp_path / "r"
    words = ("--distill", "logits=0.3:teacher=first+b", "--distill", "logits=0.3:teacher=b")
    done = train(both, run, "--epochs", "1", *words, "--distill", "temporal=0.1:teacher=b")
    assert done.exit_code == 0, done.output
    keys = set(json.loads((run / "metrics.jsonl").read_text()))
    assert {f"train_loss_{key}" for key in ("logits@first+b", "logits@b", "temporal@b")} <= keys


def test_without_labels_the_teacher_alone_teaches(corpus: Path, tmp_path: Path) -> None:
    lines = ["path,label,split"]
    for path in sorted(corpus.rglob("*.flac")):
        split = path.relative_to(corpus).parts[0]
        lines.append(f"{path.relative_to(corpus)},,{split}")
    manifest, out = tmp_path / "clips.csv", tmp_path / "silent.zarr"
    manifest.write_text("\n".join(lines) + "\n")
    source = f"csv:{manifest}?root={corpus}"
    teacher = "toy:classes=low;middle;high"
    succeeded(command("precompute-teacher", source, "--teacher", teacher, "--out", out))
    refused = train(out, tmp_path / "r", "--epochs", "1")
    assert refused.exit_code == 2
    assert "let the teacher teach" in refused.stderr
    run = tmp_path / "r"
    done = train(out, run, "--epochs", "3", "--batch-size", "8", "--distill", "logits=1")
    assert done.exit_code == 0, done.output
    losses = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert losses[-1]["train_loss_logits"] < losses[0]["train_loss_logits"]
    assert all(line["train_loss_labels"] == 0 for line in losses)


def test_patience_ends_a_training_and_a_repetition_adds_nothing(
    cache: Path, tmp_path: Path
) -> None:
    run, words = tmp_path / "r", ("--epochs", "40", "--patience", "2", "--validate-every", "2")
    assert train(cache, run, *words).exit_code == 0
    history = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    validated = [entry["epoch"] for entry in history if "validation_accuracy" in entry]
    assert validated == list(range(2, len(history) + 1, 2))
    result = json.loads((run / "result.json").read_text())
    scores = [entry["validation_accuracy"] for entry in history if "validation_accuracy" in entry]
    risen = validated[scores.index(max(scores))]
    assert result["epochs"] == len(history) == risen + 2 < 40
    again = train(cache, run, *words)
    assert again.exit_code == 0
    assert f"{len(history)} of 40 epochs are done" in again.output


def test_patience_without_validation_clips_is_rejected(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "none.zarr"
    source = f"folder:{corpus}?splits=none&labels=none&validation=0"
    succeeded(command("precompute-teacher", source, "--teacher", "toy", "--out", out))
    refused = train(out, tmp_path / "r", "--distill", "logits=1", "--patience", "3")
    assert refused.exit_code == 2
    assert "--patience 3 needs validation scores" in refused.output


def test_a_finished_run_goes_on_to_more_epochs(cache: Path, tmp_path: Path) -> None:
    run = tmp_path / "r"
    assert train(cache, run, "--epochs", "2").exit_code == 0
    first = (run / "metrics.jsonl").read_text()
    longer = train(cache, run, "--epochs", "4")
    assert longer.exit_code == 0, longer.output
    assert "continuing after epoch 2 of 4" in longer.output
    lines = (run / "metrics.jsonl").read_text()
    assert lines.startswith(first)
    assert len(lines.splitlines()) == 4
    assert config(run)["extended_after_epochs"] == [2]
    assert json.loads((run / "result.json").read_text())["epochs"] == 4
    assert "4 of 4 epochs are done" in train(cache, run, "--epochs", "4").output
    for words in (("--epochs", "3"), ("--epochs", "5", "--seed", "1")):
        refused = train(cache, run, *words)
        assert refused.exit_code == 2
        assert "Nothing was changed" in refused.output
    assert config(run)["recipe"]["epochs"] == 4


def test_an_unfinished_run_is_given_no_more_epochs(cache: Path, tmp_path: Path) -> None:
    run = tmp_path / "r"
    assert train(cache, run, "--epochs", "2").exit_code == 0
    (run / "result.json").unlink()
    refused = train(cache, run, "--epochs", "4")
    assert refused.exit_code == 2
    assert "recipe.epochs: the run has 2, requested 4" in refused.output


def test_a_kill_between_new_settings_and_new_epochs_is_made_good(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "r"
    assert train(cache, run, "--epochs", "1").exit_code == 0
    with monkeypatch.context() as patched:
        patched.setattr("student.training.loop.Trainer.run_epochs", _killed)
        assert train(cache, run, "--epochs", "2").exit_code == 1
    assert config(run)["recipe"]["epochs"] == 2
    assert json.loads((run / "result.json").read_text())["epochs"] == 1
    with pytest.raises(RunError, match=r"not finished: its result\.json is of 1 epochs"):
        read_run_folder(run)  # the old scores beside new weights
    assert train(cache, run, "--epochs", "2").exit_code == 0
    assert read_run_folder(run).result["planned_epochs"] == 2
    assert json.loads((run / "result.json").read_text())["epochs"] == 2


def test_more_epochs_that_patience_does_not_take_end_the_run_too(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "r"
    assert train(cache, run, "--epochs", "2", "--patience", "1").exit_code == 0
    monkeypatch.setattr("student.runs.settings.Settings.ends", lambda *_: True)  # as patience would
    for epochs in ("5", "9"):
        assert train(cache, run, "--epochs", epochs, "--patience", "1").exit_code == 0
        again = train(cache, run, "--epochs", epochs, "--patience", "1")
        assert f"finished: 2 of {epochs} epochs are done" in again.output
    assert config(run)["extended_after_epochs"] == [2, 5]


def test_the_plan_rejects_the_folder_that_the_run_would_reject(cache: Path, tmp_path: Path) -> None:
    run, other = tmp_path / "r", tmp_path / "other"
    assert train(cache, run, "--epochs", "1").exit_code == 0
    other.mkdir()
    (other / "mine.txt").write_text("mine")
    before = (run / "config.json").read_bytes()
    for out, words, text in (
        (run, ("--epochs", "1", "--seed", "3"), "seed: the run has 0, requested 3"),
        (other, ("--epochs", "1"), "is not empty and is no run"),
        (other / "mine.txt", ("--epochs", "1"), "is no folder"),
    ):
        refused = train(cache, out, *words, "--plan")
        assert refused.exit_code == 2, refused.output
        assert text in refused.output
    assert train(cache, run, "--epochs", "2", "--plan").exit_code == 0
    assert (run / "config.json").read_bytes() == before


def _killed(*_: object) -> None:
    raise RunError("killed", kind="interrupted")


def test_the_plan_of_a_training_writes_nothing(cache: Path, tmp_path: Path) -> None:
    shown = train(cache, tmp_path / "r", "--plan", "--epochs", "3")
    assert shown.exit_code == 0, shown.output
    assert "tc-resnet, 36" in shown.output
    assert re.search(r"CPU-seconds an epoch, \d+\.\d\d CPU-hours in all", shown.output)
    assert not (tmp_path / "r").exists()
    words = [str(cache), "--student", "tc-resnet"]
    assert CliRunner().invoke(train_cli.main, [*words, "--epochs", "3", "--plan"]).exit_code == 0
    assert "Missing option '--out'" in CliRunner().invoke(train_cli.main, words).output
    refused = train(cache, tmp_path / "r", "--plan", "--metric", "mAP", "--distill", "sp=2")
    assert refused.exit_code == 2


def test_a_logger_that_is_not_installed_is_rejected_before_anything_is_written(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("student.training.loggers.session.find_spec", lambda _: None)
    refused = train(cache, tmp_path / "r", "--logger", "wandb")
    assert refused.exit_code == 2
    assert "--logger wandb needs wandb: pip install 'aftersound[wandb]'" in refused.output
    assert not (tmp_path / "r").exists()


def test_labelled_clips_are_repeated_to_be_a_share_of_an_epoch(
    corpus: Path, tmp_path: Path
) -> None:
    out, more = tmp_path / "c.zarr", write_tones(tmp_path / "more", per_class=12)
    words = [f"folder:{corpus}", "--unlabelled", f"folder:{more}", "--teacher", "toy", "--out", out]
    succeeded(command("precompute-teacher", *words))
    for share in ("0", "1", "nan", "-0.5", "2"):
        assert train(out, tmp_path / "r", "--labelled-share", share).exit_code == 2
    options = ["--labelled-share", "0.5", "--epochs", "1", "--distill", "logits=0.5"]
    assert train(out, tmp_path / "r", *options).exit_code == 0
    labelled, unlabelled = map(len, usable_clips(open_cache(out), "train"))
    assert 0 < labelled < unlabelled
    batch_size = config(tmp_path / "r")["recipe"]["batch_size"]
    assert state_of(tmp_path / "r")["steps"] == -(-2 * unlabelled // batch_size)
    alone = train(out, tmp_path / "alone", "--epochs", "1")
    assert alone.exit_code == 0, alone.output
    assert state_of(tmp_path / "alone")["steps"] == -(-(labelled + unlabelled) // batch_size)
    assert train(out, tmp_path / "once", "--epochs", "1", "--unlabelled", "0").exit_code == 0
    assert state_of(tmp_path / "once")["steps"] == -(-labelled // batch_size)
    refused = train(out, tmp_path / "share", "--labelled-share", "0.5")
    assert refused.exit_code == 2
    assert "--labelled-share 0.5 without --distill" in refused.output
    taught = ["--distill", "logits=0.5", "--labelled-share", "0.5"]
    refused = train(out, tmp_path / "all", *taught, "--unlabelled", "0")
    assert refused.exit_code == 2
    assert "every clip that is learned from is labelled. Leave it out" in refused.output
    few = ["--unlabelled", "7", "--batch-size", "1", "--epochs", "1", "--distill", "logits=0.5"]
    assert train(out, tmp_path / "few", *few).exit_code == 0
    assert state_of(tmp_path / "few")["steps"] == labelled + 7
    assert config(tmp_path / "few")["unlabelled"] == 7
    assert "unlabelled" not in config(tmp_path / "r")
    shown = train(out, tmp_path / "plan", "--plan", *few)
    assert f"clips     {labelled + 7} to train on" in shown.output
    refused = train(out, tmp_path / "many", *few, "--unlabelled", unlabelled + 1)
    assert refused.exit_code == 2
    assert f"has {unlabelled} unlabelled training clips" in refused.output
    refused = train(out, tmp_path / "untaught", "--unlabelled", 3)
    assert refused.exit_code == 2
    assert "--unlabelled 3 without --distill" in refused.output
    assert not (tmp_path / "untaught").exists()
    assert train(out, tmp_path / "plan", "--plan", "--unlabelled", 0).exit_code == 0


def test_a_share_of_labelled_clips_needs_one(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "c.zarr"
    words = [f"folder:{corpus}?labels=none", "--teacher", "toy:classes=a;b", "--out", out]
    succeeded(command("precompute-teacher", *words))
    refused = train(out, tmp_path / "r", "--labelled-share", "0.5", "--distill", "logits=1")
    assert refused.exit_code == 2
    assert "no training clip of" in refused.output


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_finished_run_without_a_file_is_not_called_finished(
    cache: Path, tmp_path: Path, name: str
) -> None:
    run = tmp_path / "run"
    assert train(cache, run, "--epochs", "1").exit_code == 0
    (run / name).write_bytes(b"")
    refused = train(cache, run, "--epochs", "1")
    assert refused.exit_code == 1
    assert "is finished" not in refused.output
    assert f"Put it back from a copy; or delete {run}, and train it again" in refused.output
