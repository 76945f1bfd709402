"""Finished runs outlive their folder: a ledger of one machine serves another."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from commands import command, forking_python, succeeded, write_tones

from cache_schema.reader import open_cache
from student.compare import cli
from student.compare.ledger import run_facts, run_key
from student.compare.runs import Comparison, Run
from student.evaluation import cli as evaluate_cli

WORDS = ("--student", "tc-resnet", "--condition", "none", "--condition", "temporal=0.25")
TRAIN = ("--train", "--epochs 1 --batch-size 8")


def compared(*words: object) -> Result:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "executable", forking_python())
        return CliRunner().invoke(cli.main, [*map(str, words)])


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tones")
    corpus, out = write_tones(folder / "corpus"), folder / "tones.zarr"
    succeeded(command("precompute-teacher", f"folder:{corpus}", "--teacher", "toy", "--out", out))
    return out


@pytest.fixture(scope="module")
def first(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A ledger of two runs with seed 0, and their folder."""
    folder = tmp_path_factory.mktemp("first")
    ledger = folder / "results" / "tones.jsonl"
    found = compared(
        cache,
        *WORDS,
        *TRAIN,
        "--seeds",
        1,
        "--jobs",
        1,
        "--out",
        folder / "out",
        "--ledger",
        ledger,
    )  # one job: the lines stand in the order in which the runs ended
    assert found.exit_code == 0, found.output
    return ledger, folder / "out"


def test_a_line_reports_what_was_run_what_it_scored_and_which_clips_were_right(
    cache: Path, first: tuple[Path, Path]
) -> None:
    ledger, out = first
    alone, taught = lines_of(ledger)
    assert alone["cache_name"] == "tones"
    assert alone["facts"]["settings"]["seed"] == 0
    assert alone["facts"]["cache"]["teachers"] == {}
    assert list(taught["facts"]["cache"]["signals"]) == ["temporal_attention"]
    assert taught["facts"]["cache"]["teachers"][""].keys() >= {"weights_sha256", "options"}
    assert len(alone["curves"]["validation_accuracy"]) == 1
    assert alone["versions"].keys() >= {"torch", "aftersound"}
    test = alone["result"]["splits"]["test"]
    right = np.unpackbits(np.frombuffer(bytes.fromhex(test["right"]), np.uint8))[: test["clips"]]
    assert right.mean() == pytest.approx(test["score"])
    run = out / "runs" / "tones" / "tc-resnet" / "none" / "seed-0"
    assert alone["result"] == json.loads((run / "result.json").read_text())
    shown = CliRunner().invoke(evaluate_cli.main, [str(run), str(cache), "--json"])
    assert json.loads(shown.stdout)["score"] == test["score"]


def test_what_the_ledger_has_is_not_trained_again_anywhere(
    cache: Path, first: tuple[Path, Path], tmp_path: Path
) -> None:
    ledger = shutil.copy(first[0], tmp_path / "tones.jsonl")
    elsewhere = tmp_path / "elsewhere" / "tones.zarr"
    shutil.copytree(cache, elsewhere)
    words = (elsewhere, *WORDS, *TRAIN, "--seeds", 1, "--ledger", ledger)
    again = compared(*words, "--out", tmp_path / "out")
    assert again.exit_code == 0, again.output
    assert "\n2 runs, 2 of them trained" in again.stdout
    assert not list((tmp_path / "out").rglob("config.json"))
    for name in ("table.md", "table.csv"):
        assert (tmp_path / "out" / name).read_bytes() == (first[1] / name).read_bytes()
    assert Path(ledger).read_bytes() == first[0].read_bytes()


def test_a_plan_counts_what_the_ledger_lacks(
    cache: Path, first: tuple[Path, Path], tmp_path: Path
) -> None:
    words = (cache, *WORDS, *TRAIN, "--ledger", first[0], "--out", tmp_path / "out", "--plan")
    assert "2 of 4 runs done" in compared(*words, "--seeds", 2).stdout
    assert not (tmp_path / "out").exists()


def test_folders_that_are_done_come_into_a_new_ledger(
    cache: Path, first: tuple[Path, Path], tmp_path: Path
) -> None:
    out = shutil.copytree(first[1], tmp_path / "out")
    ledger = tmp_path / "new.jsonl"
    words = (cache, *WORDS, *TRAIN, "--seeds", 1, "--out", out, "--ledger", ledger)
    assert compared(*words).exit_code == 0
    assert ledger.read_bytes() == first[0].read_bytes()


@pytest.mark.parametrize(
    ("train", "found"),
    [(TRAIN[1], True), ("--epochs 2 --batch-size 8", False), ("--epochs 1 --batch-size 4", False)],
)
def test_a_key_is_of_settings_and_of_what_is_read(
    cache: Path, first: tuple[Path, Path], train: str, found: bool, tmp_path: Path
) -> None:
    comparison = Comparison(tmp_path, {"tones": cache}, ("tc-resnet",), (), 1, tuple(train.split()))
    settings = comparison.settings(Run("tones", "tc-resnet", "temporal=0.25", 0))
    key = run_key(run_facts(open_cache(cache), settings))
    assert (key == lines_of(first[0])[1]["key"]) == found


def test_another_teacher_of_the_same_training_is_the_same_but_not_one_of_another(
    cache: Path, tmp_path: Path
) -> None:
    opened = open_cache(cache)
    comparison = Comparison(tmp_path, {"tones": cache}, ("tc-resnet",), (), 1, ())
    taught = comparison.settings(Run("tones", "tc-resnet", "temporal=0.25", 0))
    alone = comparison.settings(Run("tones", "tc-resnet", "none", 0))
    before = dict(opened.teachers[""])

    def keys(**facts: str) -> tuple[str, str]:
        opened.__dict__["teachers"] = {"": {**before, **facts}}
        return run_key(run_facts(opened, taught)), run_key(run_facts(opened, alone))

    one = keys(weights_sha256="a", fine_tuning_sha256="t")
    assert keys(weights_sha256="b", fine_tuning_sha256="t") == one
    assert keys(weights_sha256="a", fine_tuning_sha256="u")[0] != one[0]
    assert keys(weights_sha256="a")[0] != keys(weights_sha256="b")[0]
    # What learns from labels alone reads nothing of a teacher.
    assert len({keys(weights_sha256=name)[1] for name in "abc"}) == 1


def test_lines_that_are_none_are_named(cache: Path, tmp_path: Path) -> None:
    ledger = tmp_path / "bad.jsonl"
    ledger.write_text('{"key": "k", "result": {"splits": {}}}\n[]\nnot json\n{"key": 1}\n')
    found = compared(cache, *WORDS, *TRAIN, "--out", tmp_path / "out", "--ledger", ledger)
    assert found.exit_code == 1
    assert "3 line(s) that are no finished run" in found.stderr
    assert "line 2" in found.stderr
    assert not (tmp_path / "out").exists()


SEARCH = ("--student", "tc-resnet", "--condition", "temporal=0.1;0.5:sharpen=1;3", "--halving", 2)
LONGER = ("--train", "--epochs 4 --batch-size 8", "--seeds", 1)


@pytest.fixture(scope="module")
def searched(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, str]:
    """A search over two weights and two sharpenings: its ledger, its folder and what it printed."""
    folder = tmp_path_factory.mktemp("search")
    ledger, out = folder / "tones.jsonl", folder / "out"
    found = compared(cache, *SEARCH, *LONGER, "--ledger", ledger, "--out", out)
    assert found.exit_code == 0, found.output
    return ledger, out, found.stdout


def test_a_search_trains_the_better_ones_longer_and_tests_one(
    searched: tuple[Path, Path, str],
) -> None:
    lines = lines_of(searched[0])
    epochs = [line["facts"]["settings"]["recipe"]["epochs"] for line in lines]
    assert sorted(epochs) == [1, 1, 1, 1, 2, 2, 4]
    scores: dict[int, dict[str, float]] = {}
    for line, count in zip(lines, epochs, strict=True):
        taught = json.dumps(line["facts"]["settings"]["distill"])
        scores.setdefault(count, {})[taught] = line["result"]["splits"]["validation"]["score"]
    for count in (1, 2):
        kept = [scores[count][taught] for taught in scores[2 * count]]
        assert sorted(kept) == sorted(scores[count].values())[-len(kept) :], "the best go on"
    tested = [
        n for line, n in zip(lines, epochs, strict=True) if "test" in line["result"]["splits"]
    ]
    assert tested == [4], "test is read once, of the winner"
    document = json.loads((searched[1] / "comparison.json").read_text())
    assert document["halving"] == 2
    assert document["rows"][0]["chosen"] in document["summary"][1]
    assert "\n7 runs, 0 of them trained" in searched[2]


def test_a_finished_search_trains_nothing_and_its_winner_is_an_ordinary_run(
    cache: Path, searched: tuple[Path, Path, str], tmp_path: Path
) -> None:
    ledger, out, _ = searched
    words = (cache, *LONGER, "--ledger", ledger, "--out", tmp_path / "again")
    again = compared(*words, *SEARCH)
    assert "\n7 runs, 7 of them trained" in again.stdout
    assert (tmp_path / "again" / "table.md").read_bytes() == (out / "table.md").read_bytes()
    chosen = json.loads((out / "comparison.json").read_text())["rows"][0]["chosen"]
    alone = compared(*words, "--student", "tc-resnet", "--condition", chosen)
    assert "\n1 runs, 1 of them trained" in alone.stdout


def test_a_plan_of_a_search_counts_its_epochs(cache: Path, tmp_path: Path) -> None:
    words = (cache, "--out", tmp_path / "out", "--plan")
    shown = compared(*words, *SEARCH, *LONGER)
    assert "CPU-hours a run of 4 epochs; 0 of 7 runs done" in shown.stdout
    assert (
        "temporal=0.1;0.5:sharpen=1;3: 4 x 1 + 2 x 2 + 1 x 4 = 12 epochs for each of 1 seed(s), 16 "
        "without --halving" in shown.stdout
    )
    refused = compared(*words, *SEARCH, *TRAIN)
    assert refused.exit_code == 2
    assert "there are 4 alternatives, and 1 epochs" in refused.stderr
