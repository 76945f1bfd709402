"""From a corpus to a file that answers it: train, export, predict; both ways give the same answers."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from commands import PYTHON, plain_environment, script, write_tones

from cache_schema.command_line.command import Command
from pipeline.precompute import cli as precompute_cli
from student.evaluation import cli as evaluate_cli
from student.export import cli as export_cli
from student.predict import cli as predict_cli
from student.predict.detections import frame_scores
from student.predict.predictor import open_predictor
from student.predict.recordings import read_recording
from student.training import cli as train_cli

pytestmark = pytest.mark.usefixtures("operators_once")
FORMS = {
    "ds-tc-resnet": [["--length-s", "any"], ["--length-s", "1", "--waveform"]],
    "crnn": [["--streaming"]],
}


def output_of(main: Command, *words: object) -> str:
    """Run a command in this process; importing torch again would take most of the time."""
    done = CliRunner().invoke(main, [*map(str, words)])
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clips of 1 s of three classes with a toy teacher's answers; `corpus` lies beside it."""
    folder = tmp_path_factory.mktemp("exported")
    corpus = write_tones(folder / "corpus", ragged=False)
    out = folder / "tones.zarr"
    output_of(precompute_cli.main, f"folder:{corpus}", "--teacher", "toy", "--out", out)
    return out


@pytest.fixture(scope="module", params=FORMS)
def exported(cache: Path, request: pytest.FixtureRequest) -> tuple[Path, list[Path]]:
    """A run of a student of each kind, and its export folders."""
    run = cache.parent / request.param
    words = [cache, "--student", request.param, "--out", run, "--epochs", 6, "--batch-size", 8]
    output_of(train_cli.main, *words)
    folders = [run.with_name(f"{run.name}-{n}") for n, _ in enumerate(FORMS[request.param])]
    for out, options in zip(folders, FORMS[request.param], strict=True):
        output_of(export_cli.main, run, "--to", "onnx", "--out", out, *options)
    return run, folders


@pytest.fixture(scope="module")
def recordings(cache: Path) -> list[Path]:
    """The files of the test split."""
    return sorted((cache.parent / "corpus/test").rglob("*.flac"))


def answers(model: Path, recordings: list[Path]) -> list[dict[str, Any]]:
    text = output_of(predict_cli.main, model, *recordings, "--format", "jsonl", "--top", 3)
    return [json.loads(line) for line in text.splitlines()]


def scores_of(row: dict[str, Any]) -> dict[str, float]:
    return {one["class"]: one["score"] for one in row["classes"]}


def test_a_file_answers_recordings_as_its_run_and_as_that_was_scored(
    cache: Path, exported: tuple[Path, list[Path]], recordings: list[Path]
) -> None:
    run, folders = exported
    of_run = answers(run, recordings)
    right = sum(row["classes"][0]["class"] in Path(row["recording"]).parts for row in of_run)
    scored = json.loads(output_of(evaluate_cli.main, run, cache, "--split", "test", "--json"))
    assert scored["clips"] == len(of_run) == len(recordings) == 9
    assert scored["score"] == pytest.approx(right / len(of_run))
    assert open_predictor(run).usual_samples == 16_000  # as the clips that it learned from
    for model in (*folders, folders[0] / "model.onnx"):
        for one, other in zip(of_run, answers(model, recordings), strict=True):
            assert other["recording"] == one["recording"]
            assert scores_of(other) == pytest.approx(scores_of(one), abs=1e-4)


def test_no_library_keeps_or_sends_what_it_was_given(
    exported: tuple[Path, list[Path]], recordings: list[Path], tmp_path: Path
) -> None:
    """onnxruntime would keep a file of it below the home folder, and send it."""
    home = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    subprocess.run(
        [PYTHON, script("predict-audio"), exported[1][0], recordings[0]],
        env=plain_environment() | home, capture_output=True, check=True, timeout=300,
    )  # fmt: skip
    assert [path.name for path in tmp_path.rglob("*") if "onnx" in str(path).lower()] == []


def test_lines_of_a_data_format_are_utf8_whatever_the_terminal_speaks(
    exported: tuple[Path, list[Path]], recordings: list[Path], tmp_path: Path
) -> None:
    named = tmp_path / "größe 日本.flac"
    shutil.copy(recordings[0], named)
    words = ("predict-audio", exported[1][0], named, "--format")
    for form in ("csv", "jsonl"):
        done = subprocess.run(
            [PYTHON, *map(str, (script(words[0]), *words[1:], form))],
            env=plain_environment() | {"PYTHONIOENCODING": "cp1255"},
            capture_output=True, check=True, timeout=300,
        )  # fmt: skip
        assert str(named) in done.stdout.decode("utf-8")


def test_a_step_processes_a_stream_as_its_run_does(
    exported: tuple[Path, list[Path]], recordings: list[Path]
) -> None:
    run, folders = exported
    steppers = [open_predictor(model).stepper() for model in (run, folders[0])]
    if "--streaming" not in FORMS[run.name][0]:
        assert steppers == [None, None]
        return
    found = []
    for stepper in steppers:
        assert stepper is not None
        found.append(
            [s_C for _, s_C in frame_scores(stepper, read_recording(recordings[0], 16_000))]
        )
    np.testing.assert_allclose(found[1], found[0], atol=1e-5)
    assert len(found[0]) == 49
