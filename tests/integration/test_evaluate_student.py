"""Evaluate a run as a user does: one line, a report, one JSON object."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import pyarrow
import pyarrow.parquet as parquet
import pytest
from click.testing import CliRunner, Result
from commands import CLASSES, command, succeeded, write_tones
from small_cache import tree_bytes

from cache_schema.errors import UsageError
from cache_schema.reader import open_cache
from student.evaluation import cli as evaluate_cli
from student.evaluation.predictions import encoder
from student.metrics import METRICS, teacher_score
from student.training import cli as train_cli


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run of one epoch and its cache."""
    folder = tmp_path_factory.mktemp("evaluated")
    corpus, cache, run = write_tones(folder / "corpus"), folder / "tones.zarr", folder / "run"
    succeeded(command("precompute-teacher", f"folder:{corpus}", "--teacher", "toy", "--out", cache))
    words = [cache, "--student", "tc-resnet", "--out", run, "--epochs", "1", "--batch-size", "8"]
    trained = CliRunner().invoke(train_cli.main, [*map(str, words)])
    assert trained.exit_code == 0, trained.output
    return run, cache


def evaluate(*words: object) -> Result:
    return CliRunner().invoke(evaluate_cli.main, [*map(str, words)])


def test_one_line_reports_the_score_beside_the_teachers(made: tuple[Path, Path]) -> None:
    run, cache = made
    result = json.loads((run / "result.json").read_text())["splits"]["test"]
    line, *warnings = evaluate(run, cache).stdout.splitlines()
    score = f"accuracy {result['score']:.4f} on 9 clips; teacher 0.3333; by chance 0.3333"
    assert line == f"{run} on test: {score}"
    assert warnings[0].startswith("warning: test has 9 labelled clips (fewer than 100)")


def test_a_report_has_every_metric_every_class_and_the_confusions(made: tuple[Path, Path]) -> None:
    run, cache = made
    shown = evaluate(run, cache, "--report", "--split", "validation")
    assert shown.exit_code == 0, shown.output
    lines = shown.stdout.splitlines()
    assert lines[0] == evaluate(run, cache, "--split", "validation").stdout.splitlines()[0]
    starts = [line.split()[0] for line in lines if line.strip()]
    assert [name for name in starts if name in METRICS] == list(METRICS)
    assert sorted(name for name in starts if name in CLASSES) == sorted(CLASSES)
    assert "Rows: the clips' class. Columns: the class the student predicted, by number." in lines


def test_json_has_the_report_and_both_answer_alike(made: tuple[Path, Path]) -> None:
    run, cache = made
    shown = json.loads(evaluate(run, cache, "--json").stdout)
    assert shown["score"] == shown["scores"]["accuracy"]
    assert shown["chance"] == pytest.approx(1 / 3)
    assert shown["per_group"] == []
    assert shown["teacher_score"] == shown["teacher_scores"]["accuracy"]
    taught = teacher_score(open_cache(cache), "test", metric="roc-auc")
    assert taught is not None
    assert shown["teacher_scores"]["roc-auc"] == taught.value
    assert [entry["name"] for entry in shown["per_class"]["teacher"]] == shown["classes"]
    matrix = shown["confusion"]["student"]
    assert sum(map(sum, matrix)) == shown["clips"]
    assert sum(matrix[c][c] for c in range(3)) == pytest.approx(shown["score"] * shown["clips"])


def test_two_ways_of_reporting_are_rejected(made: tuple[Path, Path]) -> None:
    refused = evaluate(*made, "--report", "--json")
    assert refused.exit_code == 2
    assert "give one of --report, --json, --predictions and --plot" in refused.stderr


def test_predictions_as_parquet_are_those_of_the_csv(
    made: tuple[Path, Path], tmp_path: Path
) -> None:
    for name in ("p.csv", "p.parquet"):
        assert evaluate(*made, "--predictions", tmp_path / name).exit_code == 0
        assert evaluate(*made, "--predictions", tmp_path / name).exit_code == 0, "a second time"
    table = parquet.read_table(tmp_path / "p.parquet")
    with (tmp_path / "p.csv").open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    assert table.column_names == list(rows[0])
    assert [{k: str(v) for k, v in row.items()} for row in table.to_pylist()] == rows
    kinds = dict(zip(table.column_names, map(str, table.schema.types), strict=True))
    assert {kinds.pop(name) for name in ("clip", "label", "student", "teacher")} == {"string"}
    assert set(kinds.values()) == {"double"}
    assert len(kinds) == 6, "three classes of each"


@pytest.mark.parametrize("name", ["a.wav", "p.json", "p", "clips.csv", "data.parquet"])
def test_predictions_take_the_place_of_predictions_alone(
    made: tuple[Path, Path], tmp_path: Path, name: str
) -> None:
    table = pyarrow.table({"clip": ["a"], "audio": ["b"]})
    parquet.write_table(table, tmp_path / "data.parquet")
    (tmp_path / "clips.csv").write_text("path,label\na.wav,dog\n")
    (tmp_path / "a.wav").write_bytes(b"RIFF")
    before = tree_bytes(tmp_path)
    refused = evaluate(*made, "--predictions", tmp_path / name)
    assert refused.exit_code == 2
    assert ("known: .csv, .parquet" in refused.stderr) != ("was not written by" in refused.stderr)
    assert tree_bytes(tmp_path) == before


def test_without_pyarrow_its_extra_is_named_in_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.delitem(sys.modules, "student.evaluation.parquet", raising=False)
    with pytest.raises(UsageError) as refused:
        encoder(tmp_path / "p.parquet")
    assert str(refused.value) == (
        "a Parquet file needs pyarrow: pip install 'aftersound[parquet]'; a name that ends in .csv does "
        "without"
    )


def test_predictions_have_a_line_for_each_clip_that_is_scored(
    made: tuple[Path, Path], tmp_path: Path
) -> None:
    run, cache = made
    file = tmp_path / "p.csv"
    assert evaluate(run, cache, "--predictions", file).exit_code == 0
    with file.open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    scored = json.loads(evaluate(run, cache, "--json").output)
    assert len(rows) == scored["clips"]
    right = [row["student"] == row["label"] for row in rows]
    assert sum(right) / len(rows) == pytest.approx(scored["score"])
    right = [row["teacher"] == row["label"] for row in rows]
    assert sum(right) / len(rows) == pytest.approx(scored["teacher_score"])
    for row in rows:
        scores = {name: float(row[f"student {name}"]) for name in scored["classes"]}
        assert sum(scores.values()) == pytest.approx(1, abs=1e-12), "no digit is lost"
        assert max(scores, key=lambda name: scores[name]) == row["student"]
        assert row["clip"].split("/")[-2] == row["label"]
