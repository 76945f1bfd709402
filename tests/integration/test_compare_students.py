"""A ladder in one command, with real processes: tables, choices, kills, refusals."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from commands import Started, command, succeeded, write_tones
from compare_runs import assert_same_run
from report_page import Page
from small_cache import copy_small_cache, tree_bytes

from cache_schema.store.lock import write_lock
from student.compare import cli, runner
from student.evaluation import cli as evaluate_cli

LADDER = ("--condition", "none", "--condition", "temporal=0.1 | logits=0.2  temporal=0.5 label=1")
SECOND = "logits=0.2 temporal=0.5 label=1"
TRAIN = ("--train", "--epochs 2 --batch-size 8")
WORDS = ("--student", "tc-resnet", "--seeds", "2", "--jobs", "2", *LADDER)
TABLES = ("comparison.json", "table.md", "table.csv")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tones of three classes with a toy teacher's answers."""
    folder = tmp_path_factory.mktemp("tones")
    corpus, out = write_tones(folder / "corpus"), folder / "tones.zarr"
    succeeded(command("precompute-teacher", f"folder:{corpus}", "--teacher", "toy", "--out", out))
    return out


def here(*words: object) -> Result:
    """In this process; what trains nothing needs no other."""
    return CliRunner().invoke(cli.main, [*map(str, words)])


@pytest.fixture(scope="module")
def whole(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """An undisturbed comparison and what it printed."""
    out = tmp_path_factory.mktemp("compared") / "whole"
    return out, succeeded(command("compare-students", cache, *WORDS, *TRAIN, "--out", out))


def runs_below(out: Path) -> list[Path]:
    return sorted(path.parent for path in out.rglob("config.json"))


def document(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def wait_for(condition: Callable[[], bool], process: Started) -> None:
    give_up = time.monotonic() + 300
    while not condition() and process.poll() is None and time.monotonic() < give_up:
        time.sleep(0.01)


def test_one_command_trains_every_cell_and_reports_the_outcome(whole: tuple[Path, str]) -> None:
    out, printed = whole
    names = ["logits=0.2~temporal=0.5~label=1", "none", "temporal=0.1"]
    cells = [out / "runs" / "tones" / "tc-resnet" / name for name in names]
    assert runs_below(out) == [cell / f"seed-{seed}" for cell in cells for seed in (0, 1)]
    assert [document(run / "config.json")["label_weight"] for run in runs_below(out)][::2] == [
        1, 1, 0.9,
    ]  # fmt: skip
    assert [document(run / "config.json")["recipe"]["epochs"] for run in runs_below(out)] == [2] * 6
    small, *lines = printed.splitlines()
    assert "test has 9 labelled clips (fewer than 100)" in small
    assert lines[0] == "6 runs, 0 of them trained; 2 at once"
    assert re.search(r"(?m)^\[6/6\] tones, tc-resnet, .*: validation \d\.\d{4}", printed)
    assert lines[-1] == str(out / "table.md")
    assert lines[-2].startswith("temporal=0.1 | logits=0.2 temporal=0.5 label=1: higher on the ")
    assert "not chosen" not in (out / "table.md").read_text()
    assert not list(out.rglob("*.lock"))


def test_test_is_read_by_what_validation_chose_alone(whole: tuple[Path, str]) -> None:
    out, _ = whole
    rows = document(out / "comparison.json")["rows"]
    chosen = rows[1]["chosen"]
    validation: dict[str, list[float]] = {}
    for run in runs_below(out):
        splits = document(run / "result.json")["splits"]
        text = run.parent.name.replace("~", " ")
        validation.setdefault(text, []).append(splits["validation"]["score"])
        assert ("test" in splits) == (text in ("none", chosen)), run
    assert sum(validation[chosen]) == max(sum(validation["temporal=0.1"]), sum(validation[SECOND]))


def test_the_tables_scores_are_the_ones_that_evaluate_student_finds(
    cache: Path, whole: tuple[Path, str]
) -> None:
    out, _ = whole
    (row, _) = document(out / "comparison.json")["rows"]
    run = out / "runs" / "tones" / "tc-resnet" / "none" / "seed-1"
    shown = CliRunner().invoke(evaluate_cli.main, [str(run), str(cache), "--json"])
    assert json.loads(shown.stdout)["scores"]["accuracy"] == row["scores"][1]
    assert json.loads(shown.stdout)["teacher_score"] == row["teacher"]


def test_the_same_command_again_trains_nothing_and_writes_the_same_tables(
    cache: Path, whole: tuple[Path, str]
) -> None:
    out, printed = whole
    before = tree_bytes(out)
    again = here(cache, *WORDS, *TRAIN, "--out", out)
    assert "\n6 runs, 6 of them trained;" in again.stdout
    assert again.stdout.splitlines()[-2:] == printed.splitlines()[-2:]
    assert tree_bytes(out) == before


def test_other_settings_are_rejected_before_anything_is_trained(
    cache: Path, whole: tuple[Path, str]
) -> None:
    out, _ = whole
    before = tree_bytes(out)
    refused = here(cache, *WORDS, "--out", out, "--train", "--epochs 3 --batch-size 8")
    assert refused.exit_code == 2
    assert "recipe.epochs: the run has 2, requested 3 (6 run(s): " in refused.stderr
    assert "Nothing was changed" in refused.stderr
    assert tree_bytes(out) == before


def test_a_killed_comparison_goes_on_to_the_bits_of_an_undisturbed_one(
    cache: Path, whole: tuple[Path, str], tmp_path: Path
) -> None:
    undisturbed, _ = whole
    out = tmp_path / "killed"
    words = (cache, *WORDS, *TRAIN, "--out", out)
    with Started("compare-students", *words) as process:
        wait_for(lambda: any(out.rglob("training-state.pt")), process)
        process.kill()
    assert process.returncode == -signal.SIGKILL
    succeeded(command("compare-students", *words))
    assert [run.relative_to(out) for run in runs_below(out)] == [
        run.relative_to(undisturbed) for run in runs_below(undisturbed)
    ]
    for run in runs_below(out):
        assert_same_run(run, undisturbed / run.relative_to(out))
    for name in TABLES:
        assert (out / name).read_bytes() == (undisturbed / name).read_bytes(), name


def test_a_comparison_stopped_by_a_signal_ends_its_processes_and_reports_what_is_kept(
    cache: Path, tmp_path: Path
) -> None:
    out = tmp_path / "stopped"
    words = (cache, *WORDS, "--out", out, "--train", "--epochs 1000 --batch-size 8")
    with Started("compare-students", *words) as process:
        wait_for(lambda: any(out.rglob("training-state.pt")), process)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate()
    assert process.returncode == 1
    assert (
        "compare-students: stopped. Finished runs are kept; repeat the command, and the 2 under way"
        in errors
    )
    assert "Traceback" not in errors
    for run in runs_below(out):
        with write_lock(run):  # nobody writes it any more
            pass
    states = [*out.rglob("training-state.pt")]
    assert states
    assert "stopped after" in states[0].parent.with_name("seed-0.log").read_text()
    assert "-, -" in (out / "table.md").read_text(), "the missing cells are shown"


def test_a_run_that_fails_does_not_stop_the_others(
    cache: Path, whole: tuple[Path, str], tmp_path: Path
) -> None:
    out = tmp_path / "failing"
    shutil.copytree(whole[0], out)
    first, second = (out / "runs" / "tones" / "tc-resnet" / "none" / f"seed-{s}" for s in (0, 1))
    for run in (first, second):
        (run / "result.json").unlink()
    (first / "training-state.pt").write_bytes(b"no state")
    failed = command("compare-students", cache, *WORDS, *TRAIN, "--out", out)
    assert failed.returncode == 1
    assert "tones, tc-resnet, none, seed 0: failed (exit code 1)" in failed.stdout
    assert "tones, tc-resnet, none, seed 1: validation" in failed.stdout
    assert "1 run(s) failed; the others are done" in failed.stderr
    assert f"see {first}.log" in failed.stderr
    assert "training-state.pt is damaged" in failed.stderr
    assert document(out / "comparison.json")["rows"][0]["missing"] == 1


def test_a_plan_reports_the_cost_and_writes_nothing(
    cache: Path, whole: tuple[Path, str], tmp_path: Path
) -> None:
    planned = here(cache, *WORDS, *TRAIN, "--out", tmp_path / "planned", "--plan")
    assert planned.exit_code == 0, planned.output
    *_, line, total = planned.stdout.splitlines()
    assert line.startswith("tones, tc-resnet: 0.0")
    assert "CPU-hours a run of 2 epochs; 0 of 6 runs done" in line
    assert total.startswith("total left: ")
    assert total.endswith("with --jobs 2")
    assert os.listdir(tmp_path) == []
    done = here(cache, *WORDS, *TRAIN, "--out", whole[0], "--plan")
    assert "6 of 6 runs done, 0.00 CPU-hours left" in done.stdout


def test_the_usual_ladder_is_what_the_cache_serves(cache: Path, tmp_path: Path) -> None:
    shown = here(cache, "--student", "tc-resnet", "--out", tmp_path / "o", *TRAIN, "--plan").stdout
    assert f"left out sp=30 label=1: {cache} has no clip_embedding" in shown
    assert f"left out iusp=30 label=1: {cache} has no frame_embedding" in shown
    assert "0 of 12 runs done" in shown, "none, logits, temporal and both"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--condition", "sp=1"), "loss 'sp' needs the signal 'clip_embedding'"),
        (("--train", "--seed 5"), "must leave --seed to"),
        (("--train", "--epochs '3"), "is no list of options"),
        (("--train", "--nonsense"), "No such option"),
        (("--condition", "temporal=0.1 logits=1"), "leaves no weight for the labels"),
        (("--train", "--metric micro-ap", "--student", "tc-resnat"), "Did you mean 'tc-resnet'?"),
    ],
)
def test_what_no_run_could_do_is_rejected_first(
    cache: Path, tmp_path: Path, words: tuple[str, ...], expected: str
) -> None:
    out = tmp_path / "refused"
    refused = here(cache, "--student", "tc-resnet", "--out", out, *words)
    assert refused.exit_code in (2, 3)
    assert expected in refused.stderr
    assert os.listdir(tmp_path) == []


def test_losses_from_a_file_of_the_trainer_are_rejected(cache: Path, tmp_path: Path) -> None:
    file = tmp_path / "train.toml"
    file.write_text('distill = ["temporal=0.1"]\n')
    refused = here(
        cache, "--student", "tc-resnet", "--out", tmp_path / "o", "--train", f"--config {file}"
    )
    assert refused.exit_code == 2
    assert "leave distill to --condition" in refused.stderr


def test_caches_that_could_not_be_distinguished_or_scored_are_rejected(
    cache: Path, tmp_path: Path
) -> None:
    small = copy_small_cache(tmp_path / "small.zarr")
    words = ("--student", "tc-resnet", "--out", tmp_path / "out")
    unscored = here(small, *words, "--condition", "temporal=0.1 | temporal=0.5")
    assert f"{small} has no split 'validation'" in unscored.stderr
    alone = here(small, *words, "--condition", "none", "--train", "--label-weight 0")
    assert "leaves nothing to learn from" in alone.stderr
    folds = here(cache, small, *words, "--condition", "none", "--folds")
    assert "differ in their classes" in folds.stderr
    twin = tmp_path / "elsewhere" / "tones.zarr"
    shutil.copytree(cache, twin)
    twins = here(cache, twin, *words)
    assert f"two caches are called 'tones': {cache} and {twin}" in twins.stderr
    refused = (unscored, alone, folds, twins)
    assert [one.exit_code for one in refused] == [2, 2, 2, 2]


def test_what_is_no_second_fold_is_rejected(cache: Path, tmp_path: Path) -> None:
    copied = shutil.copytree(cache, tmp_path / "copied.zarr")
    words = (
        "--student",
        "tc-resnet",
        "--condition",
        "none",
        "--folds",
        "--out",
        tmp_path / "out",
        "--plan",
    )
    one, twice, copy = (
        here(*caches, *words) for caches in ((cache,), (cache, cache), (cache, copied))
    )
    assert f"takes two or more caches, the folds of one corpus; there is one, {cache}" in one.stderr
    assert twice.stderr == one.stderr
    assert "the same clips in the same splits: tones, copied" in copy.stderr
    assert [refused.exit_code for refused in (one, twice, copy)] == [2, 2, 2]


def test_folds_that_share_test_clips_are_rejected(tmp_path: Path) -> None:
    corpus = write_tones(tmp_path / "tones", per_class=3)
    rows = [
        (path.relative_to(corpus), path.parent.name, path.parts[-3])
        for path in sorted(corpus.rglob("*.flac"))
    ]
    caches = []
    for name, moved in {"one": "train", "other": "validation"}.items():
        turned = {"train": moved, "validation": "train" if moved != "train" else "validation"}
        lines = [f"{path},{label},{turned.get(split, split)}" for path, label, split in rows]
        (corpus / f"{name}.csv").write_text("\n".join(["path,label,split", *lines]))
        caches.append(tmp_path / f"{name}.zarr")
        words = (f"csv:{corpus / name}.csv", "--teacher", "toy", "--out", caches[-1])
        succeeded(command("precompute-teacher", *words))
    words = ("--student", "tc-resnet", "--condition", "none", "--out", tmp_path / "out", "--plan")
    refused = here(*caches, *words, "--folds")
    assert refused.exit_code == 2
    assert "one and other share 9 of 9. Leave out all but one" in refused.stderr
    assert here(*caches, *words).exit_code == 0


@pytest.mark.parametrize(
    "words",
    [
        ("logits=0.5:temperature=2", "logits=0.50:temperature=2.0"),
        ("logits=0.2 temporal=0.1", "temporal=0.1 logits=0.2 label=0.7"),
        ("none | logits=0.5", "logits=0.5 | none"),
        ("logits=0.1;0.10",),
    ],
)
def test_a_condition_in_other_words_is_not_a_second_one(
    cache: Path, tmp_path: Path, words: tuple[str, ...]
) -> None:
    given = [part for text in words for part in ("--condition", text)]
    refused = here(cache, "--student", "tc-resnet", *given, "--out", tmp_path / "out", "--plan")
    assert refused.exit_code == 2
    assert "the same would be trained and counted twice\n  - " in refused.stderr


def test_a_student_in_other_words_is_not_a_second_one(cache: Path, tmp_path: Path) -> None:
    students = ("--student", "bc-resnet", "--student", "bc-resnet:width=1.0")
    refused = here(cache, *students, "--condition", "none", "--out", tmp_path / "out", "--plan")
    assert refused.exit_code == 2
    assert "\n  - bc-resnet and bc-resnet:width=1.0\n" in refused.stderr


def test_trainings_are_no_more_than_the_cores_that_a_batch_system_gives(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("--student", "tc-resnet", "--condition", "none", "--out", tmp_path / "o", "--plan")
    for cores in ({3}, {0, 1, 5}):
        monkeypatch.setattr(os, "sched_getaffinity", lambda process, cores=cores: cores)
        assert here(cache, *words).stdout.rstrip().endswith(f"with --jobs {len(cores)}")


def test_what_is_given_twice_in_the_same_words_is_named_and_trained_once(
    cache: Path, tmp_path: Path
) -> None:
    words = ("--student", "tc-resnet", "--condition", "none", "--condition", "logits=0.5")
    again = ("--student", "tc-resnet", "--condition", "none", "--condition", "logits=0.5")
    out = ("--seeds", "2", "--out", tmp_path / "out", "--plan")
    once, twice = here(cache, *words, *out), here(cache, *words, *again, *out)
    added = (
        "warning: --condition none is given 2 times; it is trained once\n"
        "warning: --condition logits=0.5 is given 2 times; it is trained once\n"
        "warning: --student tc-resnet is given 2 times; it is trained once\n"
    )
    assert once.exit_code == twice.exit_code == 0
    assert added in twice.stdout
    measured = re.compile(r"[0-9.]+ (?=CPU-hours|hours)")  # a step is timed anew by each
    shown = [measured.sub("", one.stdout.replace(added, "")) for one in (once, twice)]
    assert shown[0] == shown[1]


def test_a_cache_without_validation_is_compared_once_and_done(tmp_path: Path) -> None:
    """Its runs can never have the score that others have; they are not begun again for it."""
    corpus, small = write_tones(tmp_path / "corpus"), tmp_path / "tones.zarr"
    shutil.rmtree(corpus / "validation")
    succeeded(command("precompute-teacher", f"folder:{corpus}", "--teacher", "toy", "--out", small))
    words = (small, "--student", "tc-resnet", "--condition", "none", "--seeds", "1", "--jobs", "1")
    shown = succeeded(command("compare-students", *words, *TRAIN, "--out", tmp_path / "out"))
    assert shown.count("seed 0: test") == 1
    again = succeeded(command("compare-students", *words, *TRAIN, "--out", tmp_path / "out"))
    assert "seed 0: test" not in again


def test_a_finished_comparison_has_a_page(
    cache: Path, whole: tuple[Path, str], tmp_path: Path
) -> None:
    out, _ = whole
    page = tmp_path / "report.html"
    done = here(cache, *WORDS, *TRAIN, "--out", out, "--report", page)
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[-1].startswith(f"{page}: ")
    text = " ".join(Page(page).text.split())
    row = document(out / "comparison.json")["rows"][1]
    assert "What each way of learning brings" in text
    assert f"{100 * row['mean']:.1f} %" in text
    assert "2 seeds a side (an interval needs 3)" in text
    assert f"--train '--epochs 2 --batch-size 8' --report {page}" in text
    assert not list(tmp_path.rglob("*.partial"))


def test_few_seeds_are_warned_of_before_the_outcome(whole: tuple[Path, str]) -> None:
    lines = whole[1].splitlines()
    assert any(line.startswith("warning: 2 seeds a side") for line in lines)


@pytest.mark.parametrize(("code", "words"), [(3, "exit code 3"), (-9, "killed by SIGKILL, as by"),
                                             (-15, "killed by SIGTERM")])  # fmt: skip
def test_how_a_run_ended_is_said(code: int, words: str) -> None:
    assert runner._ended(code).startswith(words)
