"""ONNX files as a user gets them: each runs in onnxruntime and answers as its student."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from commands import CLASSES, Started, command, succeeded, write_tones
from exported_students import sound, student_of, write_run
from fuzzing import run
from limited_disk import fail_on_a_full_disk, skip_without_mounts

from cache_schema.errors import RunError
from cache_schema.front_ends import FRONT_ENDS, front_end_features
from student.export.cli import main
from student.export.interface import Axis, Graph
from student.export.onnx_format import OnnxExporter
from student.predict.contract import METADATA_KEY
from student.predict.onnx_session import open_onnx
from student.training.cli import main as train_student

pytestmark = pytest.mark.usefixtures("operators_once")
NAMES = tuple(sorted(CLASSES))
WITHOUT = """
import sys
sys.modules[{hidden!r}] = None
from student.export.cli import main
main(prog_name="export-student")
"""


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache of tones, and a trained and an untrained run."""
    folder = tmp_path_factory.mktemp("work")
    corpus = write_tones(folder / "corpus", 40, ragged=False)
    cache = folder / "tones.zarr"
    succeeded(command("precompute-teacher", f"folder:{corpus}", "--teacher", "toy", "--out", cache))
    words = (cache, "--student", "tc-resnet", "--epochs", 3, "--batch-size", 16)
    code, said = run(train_student, *words, "--out", folder / "trained")
    assert code == 0, said
    write_run(folder / "crnn", "crnn", NAMES)
    write_run(folder / "ds", "ds-tc-resnet", NAMES)
    return folder


def vectors_of(out: Path) -> dict[str, np.ndarray]:
    with np.load(out / "test_vectors.npz") as vectors:
        return dict(vectors)


def exported(*words: object) -> str:
    code, said = run(main, *words)
    assert code == 0, said
    return said


def test_a_trained_student_becomes_an_int8_file_that_answers_alike(
    work: Path, tmp_path: Path
) -> None:
    out, cache = tmp_path / "out", work / "tones.zarr"
    words = ("--to", "onnx", "--int8", "--calibrate", cache, "--clips", 60, "--out", out)
    succeeded(command("export-student", work / "trained", *words))
    assert sorted(os.listdir(out)) == [
        "CARD.md", "card.json", "front_end.onnx", "model.onnx", "test_vectors.npz",
    ]  # fmt: skip
    card = json.loads((out / "card.json").read_text())
    assert card["contract"]["length_samples"] == 16_000
    assert card["parity"]["float"]["largest_difference"] <= 1e-5
    assert card["parity"]["int8"]["agreement"] >= 0.97
    assert card["files"]["model.onnx"] < 0.35 * 1_470_000
    assert card["origin"]["teachers_of_the_cache"] == ["toy (toy)"]
    session = open_onnx(out / "model.onnx")
    vectors = vectors_of(out)
    for number in range(card["test_vectors"]):
        features_TM = vectors[f"features_{number}"]
        found = session.run({"features": features_TM[None]})["logits"][0]
        assert found.argmax() == vectors[f"logits_{number}"].argmax()
        again = front_end_features(vectors[f"waveform_{number}"], FRONT_ENDS["mfcc40"])
        np.testing.assert_array_equal(again, features_TM)
    heard = OnnxExporter().load(out / "front_end.onnx")
    wave = vectors["waveform_0"][:9_999]
    features = heard.run({"waveform": wave[None]})["features"][0]
    np.testing.assert_allclose(features, front_end_features(wave, FRONT_ENDS["mfcc40"]), atol=1e-4)


def test_a_step_of_waveforms_follows_the_student_at_every_frame(work: Path, tmp_path: Path) -> None:
    words = (work / "crnn", "--to", "onnx", "--streaming", "--waveform", "--out", tmp_path / "out")
    assert "generated clips" in exported(*words)
    session, student = open_onnx(tmp_path / "out" / "model.onnx"), student_of("crnn", 3)
    assert session.contract.form == "step"
    wave, front_end = sound(0.4), FRONT_ENDS["mfcc"]
    features_TM = torch.from_numpy(front_end_features(wave, front_end))
    state = {spec.name: np.zeros(spec.shape, np.float32) for spec in session.contract.inputs[1:]}  # type: ignore[type-var]
    for frame in range(len(features_TM)):
        window = wave[frame * 320 : frame * 320 + 640]
        found = session.run({"waveform": window[None], **state})
        with torch.no_grad():
            expected = student(features_TM[None, : frame + 1], None).logits_BC.numpy()
        np.testing.assert_allclose(found["logits"], expected, atol=1e-4)
        state = {name: found[f"next_{name}"] for name in state}


def test_a_form_of_any_length_runs_at_any_length(work: Path, tmp_path: Path) -> None:
    words = (work / "ds", "--to", "onnx", "--length-s", "any", "--waveform")
    exported(*words, "--out", tmp_path / "out")
    session, student = open_onnx(tmp_path / "out" / "model.onnx"), student_of("ds-tc-resnet", 3)
    for clips, seconds in ((1, 0.04), (2, 0.777), (7, 2.3)):
        waves = np.stack([sound(seconds, seed) for seed in range(clips)])
        features = np.stack([front_end_features(w, FRONT_ENDS["mfcc40"]) for w in waves])
        with torch.no_grad():
            expected = student(torch.from_numpy(features), None).logits_BC.numpy()
        found = session.run({"waveform": waves})["logits"]
        np.testing.assert_allclose(found, expected, atol=1e-4)
    content = (tmp_path / "out" / "model.onnx").read_bytes()
    assert str(Path(__file__).parents[2]).encode() not in content
    model = onnx.load_from_string(content)
    assert [entry.key for entry in model.metadata_props] == [METADATA_KEY]


class Branching(torch.nn.Module):
    """No graph holds it."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[: int(x.sum().item())] if x.sum() > 0 else x


class Frozen(torch.nn.Module):
    """Has the batch of its example, where the exporter is given a least size."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.new_zeros(len(x), 1).expand(len(x), 3) + x.sum(1, keepdim=True)


def batched(module: torch.nn.Module, smallest: int) -> Graph:
    return Graph(
        module=module.eval(),
        inputs={"x": torch.ones(2, 5)},
        outputs=("logits",),
        dynamic_axes={"x": {0: Axis("clips", smallest)}},
    )


def test_a_batch_of_any_size_is_no_examples(tmp_path: Path) -> None:
    graph, path = batched(Frozen(), 1), tmp_path / "model.onnx"
    OnnxExporter().write(graph, path)
    runner = OnnxExporter().load(path)
    for clips in (1, 2, 5):
        x = np.random.default_rng(clips).random((clips, 5), np.float32)
        expected = graph.module(torch.from_numpy(x)).numpy()
        np.testing.assert_allclose(runner.run({"x": x})["logits"], expected, atol=1e-6)


@pytest.mark.parametrize(("module", "smallest"), [(Branching(), 1), (Frozen(), 2)])
def test_what_onnx_cannot_hold_is_a_line(
    module: torch.nn.Module, smallest: int, tmp_path: Path
) -> None:
    graph = batched(module, smallest)
    with pytest.raises(RunError, match="ONNX cannot hold this form: ") as caught:
        OnnxExporter().write(graph, tmp_path / "model.onnx")
    assert len(str(caught.value).splitlines()) == 1
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("name", "size", "int8"), [("ds", 400_000, False), ("trained", 2_200_000, True)]
)
def test_a_full_disk_leaves_nothing(
    work: Path, tmp_path: Path, name: str, size: int, int8: bool
) -> None:
    skip_without_mounts(tmp_path)
    words = (work / name, "--to", "onnx", "--length-s", 1, "--out", "DISK/below/out")
    words += ("--int8", "--calibrate", work / "tones.zarr", "--clips", 60) if int8 else ()
    told = fail_on_a_full_disk(tmp_path, size, "export-student", *words)
    assert told.startswith("export-student: No space left on device")
    assert len(told.splitlines()) == 1
    assert os.listdir(tmp_path / "left") == []
    assert sorted(os.listdir(tmp_path / "end" / "below" / "out")) == [
        "CARD.md", "card.json", "front_end.onnx", "model.onnx", "test_vectors.npz",
    ]  # fmt: skip


@pytest.mark.parametrize("hidden", ["onnx", "onnxruntime"])
def test_a_missing_extra_is_named(work: Path, tmp_path: Path, hidden: str) -> None:
    words = (work / "crnn", "--to", "onnx", "--length-s", "1", "--out", tmp_path / "out")
    found = command("export-student", *words, program=WITHOUT.format(hidden=hidden))
    assert found.returncode == 2
    assert found.stderr == (
        f"export-student: --to onnx needs {hidden}: pip install 'aftersound[onnx]'\n"
    )
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_export_stopped_by_a_signal_leaves_nothing(
    work: Path, tmp_path: Path, number: signal.Signals
) -> None:
    words = (work / "ds", "--to", "onnx", "--length-s", "1", "--out", tmp_path / "out")
    with Started("export-student", *words) as process:
        while not os.listdir(tmp_path) and process.poll() is None:
            time.sleep(0.01)
        time.sleep(0.5)  # in the midst of tracing
        process.send_signal(number)
        _, errors = process.communicate()
    assert process.returncode == 1
    assert errors.startswith("export-student: stopped. Nothing was written")
    assert len(errors.splitlines()) == 1
    assert os.listdir(tmp_path) == []


def test_the_same_run_gives_the_same_file(work: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        copy = Path(shutil.copytree(work / "ds", tmp_path / name / "run"))
        exported(copy, "--to", "onnx", "--length-s", 1, "--out", tmp_path / name / "out")
    files = [tmp_path / name / "out" / "model.onnx" for name in ("one", "two")]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_an_int8_step_has_its_weights_quantised_without_calibration(
    work: Path, tmp_path: Path
) -> None:
    words = (work / "crnn", "--to", "onnx", "--streaming", "--int8")
    said = exported(*words, "--calibrate", work / "tones.zarr", "--out", tmp_path / "out")
    assert "int8" in said
    card = json.loads((tmp_path / "out" / "card.json").read_text())
    assert card["calibration"] == ""
    assert card["parity"]["int8"]["clips"] == 9 + 9 + 120
    assert card["files"]["model.onnx"] < 0.35 * 1_880_000
    model = onnx.load(tmp_path / "out" / "model.onnx")
    kinds = {node.op_type for node in model.graph.node}
    assert "MatMulInteger" in kinds
    assert "Gemm" not in kinds
