"""`import cache_schema` and `import student` as a notebook uses them."""

from __future__ import annotations

import doctest
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from small_cache import CLASSES, QUARANTINED, copy_small_cache

import cache_schema
import student
from cache_schema.errors import UsageError
from cache_schema.front_ends import FRONT_ENDS
from student.runs.checkpoint import save_weights, write_json
from student.runs.settings import build_student
from student.stream.front_end import TorchFrontEnd

RATE_HZ = 16_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache and a run with the weights of a fixed seed."""
    folder = tmp_path_factory.mktemp("notebook")
    copy_small_cache(folder / "sounds.zarr")
    for task in ("single", "multi"):
        run = folder / "runs" / {"single": "distilled", "multi": "multi"}[task]
        run.mkdir(parents=True)
        torch.manual_seed(0)
        save_weights(run, build_student("tc-resnet", {}, len(CLASSES)))
        write_json(run / "config.json", {
            "student": "tc-resnet", "student_options": {}, "distill": [], "classes": list(CLASSES),
            "task": task, "class_map": None, "metric": None,
        })  # fmt: skip
    return folder


@pytest.mark.parametrize("package", [cache_schema, student], ids=lambda package: package.__name__)
def test_the_examples_hold(package: object, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    result = doctest.testmod(package)  # type: ignore[arg-type]
    assert result.attempted > 3
    assert result.failed == 0


@pytest.mark.parametrize("package", [cache_schema, student], ids=lambda package: package.__name__)
def test_every_name_is_there_and_no_other(package: object) -> None:
    names = package.__all__  # type: ignore[attr-defined]
    assert set(names) <= set(dir(package))
    assert [name for name in names if getattr(package, name).__doc__ is None] == []
    with pytest.raises(AttributeError, match="no_such_name"):
        package.no_such_name  # type: ignore[attr-defined]  # noqa: B018


@pytest.mark.parametrize(("package", "heavy"), [("cache_schema", "zarr"), ("student", "torch")])
def test_the_import_itself_is_light(package: str, heavy: str) -> None:
    code = f"import sys, {package}\nassert not {{'numpy', '{heavy}'}} & set(sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


def test_clips_are_those_of_the_split_and_view_without_quarantine(folder: Path) -> None:
    cache = cache_schema.open_cache(folder / "sounds.zarr")
    for split, view, expected in (("train", 1, [0, 1, 2, 3]), ("test", 0, [5])):
        clips = list(
            cache_schema.iterate_clips(cache, split, ["waveform", "attention_map"], view=view)
        )
        assert [clip.id for clip in clips] == [f"clip-{i}" for i in expected]
        for clip, number in zip(clips, expected, strict=True):
            assert number != QUARANTINED
            assert (clip.split, clip.view, clip.labels) == (split, view, (CLASSES[number % 2],))
            assert clip.signals["waveform"].shape == (100 + number,)
            assert clip.signals["attention_map"].shape == (2 + number % 2,) * 2


@pytest.mark.parametrize("name", ["distilled", "multi"])
def test_a_prediction_is_the_models_output_for_its_features(folder: Path, name: str) -> None:
    trained = student.load_student(folder / "runs" / name)
    waveform_S = (0.1 * np.random.default_rng(0).standard_normal(12_345)).astype(np.float32)
    found = trained.predict(waveform_S, RATE_HZ)
    front_end = TorchFrontEnd(FRONT_ENDS["mfcc40"])
    with torch.no_grad():
        features = front_end(torch.from_numpy(waveform_S)[None], torch.tensor([len(waveform_S)]))
        logits_C = trained.model(*features).logits_BC[0].double()
    expected_C = logits_C.softmax(0) if name == "distilled" else logits_C.sigmoid()
    np.testing.assert_allclose(found.probabilities_C, expected_C.numpy(), atol=1e-4)
    assert found.label == CLASSES[int(logits_C.argmax())]
    assert found.attention_T.sum() == pytest.approx(1)
    assert found.times_T[-1] <= len(waveform_S) / RATE_HZ + 0.04


def test_integers_are_the_same_waveform(folder: Path) -> None:
    trained = student.load_student(str(folder / "runs/distilled"))
    integers_S = np.random.default_rng(1).integers(-9_999, 9_999, 8_000).astype(np.int16)
    whole = trained.predict(integers_S, RATE_HZ)
    assert np.array_equal(whole.logits_C, trained.predict(integers_S / 2**15, RATE_HZ).logits_C)


@pytest.mark.parametrize(
    ("waveform", "rate_hz", "match"),
    [
        (np.zeros(800), 8_000, r"8000 Hz, the student takes 16000 Hz. Resample"),
        (np.zeros((800, 2)), RATE_HZ, r"shape \(800, 2\)"),
        (np.zeros(0), RATE_HZ, r"shape \(0,\)"),
        (np.zeros(800, np.int32), RATE_HZ, "int32"),
        (np.full(800, np.nan), RATE_HZ, "not finite"),
    ],
)
def test_what_is_no_waveform_is_an_error(
    folder: Path, waveform: np.ndarray, rate_hz: int, match: str
) -> None:
    with pytest.raises(UsageError, match=match):
        student.load_student(folder / "runs/distilled").predict(waveform, rate_hz)
