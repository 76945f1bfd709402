"""What is named in the place of a run, cache or teacher is called what it is, with the way on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from cache_schema.errors import CacheError, RunError, UsageError
from cache_schema.reader import open_cache
from pipeline.teachers.checkpoints.checkpoint import open_checkpoint
from student.predict.predictor import open_predictor
from student.report.run_folder import read_run_folder
from student.runs.predict import read_config

OPENERS = [open_predictor, read_config, read_run_folder]


def folder(path: Path, *names: str) -> Path:
    path.mkdir()
    for name in names:
        (path / name).write_text("{}")
    return path


@pytest.mark.parametrize("opened", OPENERS)
def test_a_cache_is_no_run(tmp_path: Path, opened: Callable[[Path], object]) -> None:
    cache = folder(tmp_path / "a.zarr", "manifest.json", "parts")
    with pytest.raises(RunError) as caught:
        opened(cache)
    assert str(caught.value) == (
        f"{cache} is a cache, not a run. Train on it: train-student {cache} --student NAME --out RUN"
    )


@pytest.mark.parametrize("opened", OPENERS)
@pytest.mark.parametrize("linked", [False, True])
@pytest.mark.parametrize("config", [{"model_type": "wav2vec2"}, {"architecture": "wav2vec2"}])
def test_a_teacher_is_no_run(
    tmp_path: Path, opened: Callable[[Path], object], config: dict[str, str], linked: bool
) -> None:
    """A hub's snapshot has links to its files; what a link leads to is not shown."""
    teacher = folder(tmp_path / "teacher", "model.safetensors")
    place = tmp_path / "blob" if linked else teacher / "config.json"
    place.write_text(json.dumps(config))
    if linked:
        (teacher / "config.json").symlink_to(place)
    with pytest.raises(RunError) as caught:
        opened(teacher)
    assert str(caught.value) == (
        f"{teacher} is a teacher (a Hugging Face model{'' if linked else ', wav2vec2'}), not a run. Let "
        "it teach: "
        f"precompute-teacher CORPUS --teacher {teacher} --out CACHE, then train-student CACHE --student "
        "NAME --out RUN"
    )


@pytest.mark.parametrize("opened", [read_config, read_run_folder])
def test_an_export_is_no_run(tmp_path: Path, opened: Callable[[Path], object]) -> None:
    export = folder(tmp_path / "export", "card.json", "test_vectors.npz", "model.onnx")
    with pytest.raises(RunError, match=f"name the run .* predict-audio {export} RECORDING$"):
        opened(export)


@pytest.mark.parametrize("opened", OPENERS)
def test_a_comparison_is_no_run(tmp_path: Path, opened: Callable[[Path], object]) -> None:
    compared = folder(tmp_path / "compared", "comparison.json", "runs")
    with pytest.raises(RunError, match=f"is a comparison, not a run. .* below {compared}/runs, or"):
        opened(compared)


def test_a_run_a_teacher_an_export_and_a_comparison_are_no_caches(tmp_path: Path) -> None:
    run = folder(tmp_path / "run", "config.json", "training-state.pt")
    export = folder(tmp_path / "export", "card.json", "test_vectors.npz")
    compared = folder(tmp_path / "compared", "comparison.json", "runs")
    teacher = folder(tmp_path / "teacher")
    (teacher / "config.json").write_text('{"model_type": "hubert"}')
    expected = {
        run: f"is a run, not a cache. .* evaluate-student {run} CACHE$",
        export: "is an exported student, not a cache. Name the cache that its run was trained on$",
        compared: "is a comparison, not a cache. Name the cache that its runs were trained on$",
        teacher: f"hubert.*, not a cache. Make one: precompute-teacher CORPUS --teacher {teacher} --out",
    }
    for path, message in expected.items():
        with pytest.raises(CacheError, match=message):
            open_cache(path)


@pytest.mark.parametrize(
    ("names", "what"),
    [
        (("manifest.json", "parts"), "a cache"),
        (("config.json", "training-state.pt"), "a run, of a student"),
        (("card.json", "test_vectors.npz"), "an exported student"),
    ],
)
def test_a_cache_a_run_and_an_export_are_no_teachers(
    tmp_path: Path, names: tuple[str, ...], what: str
) -> None:
    other = folder(tmp_path / "other", *names)
    with pytest.raises(
        UsageError, match=f"{other} is {what}, not a teacher. Give a folder made by"
    ):
        open_checkpoint(str(other), ["whisper"])


@pytest.mark.parametrize("opened", OPENERS)
@pytest.mark.parametrize("config", ["", "[]", "null", '"model_type"', "[" * 10_000])
def test_a_folder_of_other_things_is_none_of_them(
    tmp_path: Path, opened: Callable[[Path], object], config: str
) -> None:
    other = folder(tmp_path / "other", "manifest.json")
    (other / "config.json").write_text(config)
    with pytest.raises(RunError) as caught:
        opened(other)
    assert "teacher (" not in str(caught.value)
    assert "is a cache" not in str(caught.value)
