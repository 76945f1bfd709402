"""`import cache_schema` and `import student` as a notebook uses them."""

from __future__ import annotations

import doctest
import pickle
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soxr
import torch
from small_cache import CLASSES, QUARANTINED, copy_small_cache

import cache_schema
import student
from cache_schema.errors import CacheError, UsageError
from cache_schema.front_ends import FRONT_ENDS
from cache_schema.metadata import SignedManifest
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
        (np.full(800, 900.0), RATE_HZ, "largest sample is 900, .* give waveform / 32768"),
        *[(np.zeros(800), rate_hz, "a number above 0, 16000 for") for rate_hz in (0, -1, "16000")],
    ],
)
def test_what_is_no_waveform_is_an_error(
    folder: Path, waveform: np.ndarray, rate_hz: Any, match: str
) -> None:
    with pytest.raises(UsageError, match=match):
        student.load_student(folder / "runs/distilled").predict(waveform, rate_hz)


@pytest.mark.parametrize("dtype", ["int16", "int32", "uint8", "float32"])
@pytest.mark.parametrize("channels_first", [True, False])
def test_the_advice_for_channels_gives_the_same_waveform(
    folder: Path, dtype: str, channels_first: bool
) -> None:
    """Integers are divided before their mean is taken, which would make floats of them."""
    trained = student.load_student(folder / "runs/distilled")
    floats_SK = np.random.default_rng(0).uniform(-0.3, 0.3, (8_000, 2))
    full = {"int16": 2**15, "int32": 2**31, "uint8": 2**7, "float32": 1}[dtype]
    waveform = (floats_SK * full + (2**7 if dtype == "uint8" else 0)).astype(dtype)
    waveform = waveform.T if channels_first else waveform
    with pytest.raises(UsageError) as caught:
        trained.predict(waveform, RATE_HZ)
    [way] = [way for way in str(caught.value).split("; ") if ".mean(" in way]
    mono_S = eval(way.partition(" makes the 2 channels one")[0], {"waveform": waveform})
    found = trained.predict(mono_S, RATE_HZ).logits_C
    wanted = trained.predict(floats_SK.mean(1), RATE_HZ).logits_C
    np.testing.assert_allclose(found, wanted, atol=0.5 if dtype == "uint8" else 1e-2)


def test_floats_beyond_full_scale_are_made_quieter_as_in_a_cache(folder: Path) -> None:
    trained = student.load_student(folder / "runs/distilled")
    loud_S = np.random.default_rng(0).uniform(-1.7, 1.7, 8_000)
    fitting_S = loud_S * (2**15 - 1) / 2**15 / np.abs(loud_S).max()
    np.testing.assert_allclose(
        trained.predict(loud_S, RATE_HZ).logits_C, trained.predict(fitting_S, RATE_HZ).logits_C,
        atol=1e-6,
    )  # fmt: skip


def test_what_is_no_list_of_signals_and_no_view_is_an_error(folder: Path) -> None:
    cache = cache_schema.open_cache(folder / "sounds.zarr")
    with pytest.raises(UsageError, match=r"got the text 'logits': write \['logits'\]"):
        next(cache_schema.iterate_clips(cache, "train", "logits"))
    with pytest.raises(
        UsageError, match=r"train of .* has 2 view\(s\), numbered from 0, got view=2"
    ):
        next(cache_schema.iterate_clips(cache, "train", view=2))
    with pytest.raises(UsageError, match=r"test of .* has 1 view\(s\)"):
        next(cache_schema.iterate_clips(cache, "test", view=1))


def test_a_cache_that_is_gone_or_another_is_not_called_damaged(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(folder / "sounds.zarr", tmp_path / "a.zarr")
    monkeypatch.chdir(tmp_path)
    cache = cache_schema.open_cache("a.zarr")
    monkeypatch.chdir("/")  # wherever a notebook goes
    assert len(list(cache_schema.iterate_clips(cache, "train", ["logits"]))) == 4
    cache = cache_schema.open_cache(tmp_path / "a.zarr")
    (tmp_path / "a.zarr").rename(tmp_path / "b.zarr")
    with pytest.raises(CacheError, match=r"a\.zarr is not there any more: it was moved") as caught:
        list(cache_schema.iterate_clips(cache, "train", ["logits"]))
    assert caught.value.kind == "replaced"
    cache = cache_schema.open_cache(tmp_path / "b.zarr")
    facts = cache.manifest.corpus.model_copy(update={"fingerprint": "1" * 64})
    other = cache.manifest.model_copy(update={"corpus": facts})
    (tmp_path / "b.zarr/manifest.json").write_bytes(SignedManifest.of(other).encode())
    shutil.rmtree(tmp_path / "b.zarr/parts/part-000/logits/c")
    with pytest.raises(CacheError, match=r"b\.zarr is another cache now"):
        list(cache_schema.iterate_clips(cache, "train", ["logits"]))


def test_floats_are_rounded_as_in_a_cache(folder: Path) -> None:
    """What is resampled from a telephone's rate has nothing in its upper band but this rounding."""
    trained = student.load_student(folder / "runs/distilled")
    low_S = np.random.default_rng(0).uniform(-0.3, 0.3, 8_000)
    floats_S = soxr.resample(low_S, RATE_HZ // 2, RATE_HZ, quality="HQ").astype(np.float32)
    cached_S = np.round(floats_S.astype(np.float64) * 2**15).astype(np.int16)
    found = trained.predict(floats_S, RATE_HZ).logits_C
    np.testing.assert_array_equal(found, trained.predict(cached_S, RATE_HZ).logits_C)


def test_a_pool_of_workers_gets_a_cache_by_its_place(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    cache = cache_schema.open_cache("sounds.zarr")
    monkeypatch.chdir("/")
    again = pickle.loads(pickle.dumps(cache))
    assert again.clip_ids() == cache.clip_ids()
    assert again.signals == cache.signals
