"""Students as ExecuTorch files, in ExecuTorch's runtime."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from commands import command, succeeded
from exported_students import CLASSES, student_of, write_run
from installed_formats import installed

from cache_schema.errors import RunError, UsageError
from cache_schema.front_ends import FRONT_ENDS
from student.export.bars import check_parity
from student.export.clips import generated_clips
from student.export.forms import FormSpec, build_graph, front_end_graph
from student.export.interface import Exporter
from student.export.parity import Trial
from student.export.request import ExportRequest, check_exporter


@pytest.fixture(scope="module")
def exporter() -> Exporter:
    return installed("executorch")


def test_tc_resnet_answers_alike_in_float_and_nearly_so_in_int8(
    exporter: Exporter, tmp_path: Path
) -> None:
    student = student_of("tc-resnet", len(CLASSES))
    spec = FormSpec(kind="static", takes="features", samples=8_000)
    clips = generated_clips(student.front_end, spec, len(CLASSES))
    trial = Trial.of(student, spec, clips, "single", CLASSES)
    calibration = [{"features": clip.features_TM[None]} for clip in clips.clips]
    floats, int8 = tmp_path / "float.pte", tmp_path / "int8.pte"
    graph = replace(build_graph(student, spec), metadata={"aftersound.contract": "{é}"})
    exporter.write(graph, floats)
    exporter.quantize(graph, floats, int8, calibration)
    check_parity(trial.compare(exporter.load(floats), exact=True), spec, floats.name)
    rough = trial.compare(exporter.load(int8), exact=False)
    assert rough.agreement > 0.8
    assert 1e-5 < rough.largest_difference < 0.2
    assert int8.stat().st_size < 0.35 * floats.stat().st_size
    for path in (floats, int8):
        assert "{é}".encode() in path.read_bytes()
        runner = exporter.load(path)
        assert [(t.name, t.shape) for t in runner.inputs] == [("features", (1, 24, 40))]
        assert [(t.name, t.shape) for t in runner.outputs] == [("logits", (1, len(CLASSES)))]


def test_lstm_p_steps_with_its_state_in_int8(exporter: Exporter, tmp_path: Path) -> None:
    student = student_of("lstm-p", len(CLASSES))
    spec = FormSpec(kind="step", takes="features")
    graph, path = build_graph(student, spec), tmp_path / "int8.pte"
    clips = generated_clips(student.front_end, spec, len(CLASSES))
    trial = Trial.of(student, spec, clips, "single", CLASSES)
    exporter.quantize(graph, tmp_path / "none.pte", path, [])
    parity = trial.compare(exporter.load(path), exact=False)
    assert 1e-5 < parity.largest_difference < 0.2
    weights = sum(weight.numel() for weight in student.parameters())
    assert path.stat().st_size < 1.2 * weights


def test_what_it_cannot_hold_is_said_in_one_line_and_nothing_is_written(
    exporter: Exporter, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    graph = front_end_graph(FRONT_ENDS["mfcc40"], 8_000)
    with pytest.raises(RunError, match="ExecuTorch cannot hold this form: ") as refused:
        exporter.write(graph, tmp_path / "model.pte")
    assert "\n" not in str(refused.value)
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("asked", [{"length_s": "any"}, {"waveform": True}])
def test_forms_that_it_lacks_are_refused_with_the_reason(
    exporter: Exporter, asked: dict[str, object], tmp_path: Path
) -> None:
    plain = ExportRequest(run=tmp_path, to="executorch", out=tmp_path, length_s=1.0, waveform=False,
                    streaming=False, int8=False, calibrate=None, clips=200)  # fmt: skip
    with pytest.raises(UsageError, match="not with --to executorch"):
        check_exporter(exporter, replace(plain, **asked))  # type: ignore[arg-type]


def test_the_command_says_nothing_of_its_converter(exporter: Exporter, tmp_path: Path) -> None:
    run, out = write_run(tmp_path / "run", "ds-tc-resnet"), tmp_path / "out"
    done = command("export-student", run, "--to", "executorch", "--length-s", 0.5, "--out", out)
    lines = succeeded(done).splitlines()
    assert done.stderr == ""
    assert len(lines) == 2
    assert lines[0].startswith("model.pte, float, ")
    card = json.loads((out / "card.json").read_text())
    assert set(card["files"]) == {"model.pte", "test_vectors.npz"}
    assert np.prod(card["tensors"]["inputs"][0]["shape"]) == 24 * 40
