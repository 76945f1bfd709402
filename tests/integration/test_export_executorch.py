"""Students as ExecuTorch files, in ExecuTorch's runtime."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from exported_students import CLASSES, student_of
from installed_formats import installed
from torch import Tensor, nn

from student.export.bars import check_parity
from student.export.clips import generated_clips
from student.export.forms import FormSpec, build_graph
from student.export.interface import Exporter, Graph
from student.export.parity import Trial
from student.models.lstm_p import PeepholeLSTM


@pytest.fixture(scope="module")
def exporter() -> Exporter:
    return installed("executorch")


@pytest.mark.parametrize(("name", "share"), [("tc-resnet", 0.35), ("ds-tc-resnet", 0.45)])
def test_a_student_answers_alike_in_float_and_nearly_so_in_int8(
    exporter: Exporter, tmp_path: Path, name: str, share: float
) -> None:
    student = student_of(name, len(CLASSES))
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
    assert int8.stat().st_size < share * floats.stat().st_size
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


def test_weights_are_int8_where_activations_are_scaled_as_it_runs(
    exporter: Exporter, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(1, 128, (1, 8)), nn.Hardswish(), nn.Conv2d(128, 128, 3, groups=128, padding=1),
        nn.Conv2d(128, 128, 1), nn.Flatten(), nn.Linear(128 * 6, 4),
    ).eval()  # fmt: skip
    graph = Graph(module=module, inputs={"image": torch.randn(1, 1, 6, 8)}, outputs=("logits",))
    floats, int8 = tmp_path / "float.pte", tmp_path / "int8.pte"
    exporter.write(graph, floats)
    exporter.quantize_weights(graph, floats, int8)
    inputs = {"image": torch.randn(1, 1, 6, 8).numpy()}
    expected = exporter.load(floats).run(inputs)["logits"]
    found = exporter.load(int8).run(inputs)["logits"]
    assert 1e-6 < abs(found - expected).max() < 0.05
    assert floats.stat().st_size - int8.stat().st_size > 2.5 * (128 * 128 + 4 * 128 * 6)


class LastOfGru(nn.Module):
    """A recurrence over a whole clip, as CRNN's."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(48, 96, batch_first=True)

    def forward(self, features_BTM: Tensor) -> Tensor:
        last_BD: Tensor = self.gru(features_BTM)[0][:, -1]
        return last_BD


class LastOfLstm(nn.Module):
    """The same, as LSTM-P's."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = PeepholeLSTM(48, 96, 48)

    def forward(self, features_BTM: Tensor) -> Tensor:
        return self.lstm(features_BTM)[:, -1]


@pytest.mark.parametrize("kind", [LastOfGru, LastOfLstm])
def test_a_recurrence_of_a_whole_clip_has_its_weights_in_int8_once(
    exporter: Exporter, tmp_path: Path, kind: type[nn.Module]
) -> None:
    torch.manual_seed(0)
    module, features = kind().eval(), torch.randn(1, 5, 48)
    graph = Graph(module=module, inputs={"features": features}, outputs=("logits",), recurrent=True)
    floats, int8 = tmp_path / "float.pte", tmp_path / "int8.pte"
    exporter.write(graph, floats)
    exporter.quantize(graph, floats, int8, [])
    inputs = {"features": torch.randn(1, 5, 48).numpy()}
    expected = exporter.load(floats).run(inputs)["logits"]
    found = exporter.load(int8).run(inputs)["logits"]
    assert 1e-5 < abs(found - expected).max() < 0.05
    weights = sum(weight.numel() for weight in module.parameters())
    assert floats.stat().st_size - int8.stat().st_size > 2.5 * weights


@pytest.mark.parametrize(
    ("name", "another"),
    [("tc-resnet", False), ("bc-resnet", False), ("mobilenet", True), ("crnn", False)],
)
def test_a_second_int8_is_tried_where_it_is_another_file(
    exporter: Exporter, name: str, another: bool
) -> None:
    student = student_of(name, len(CLASSES))
    spec = FormSpec(kind="static", takes="features", samples=8_000)
    assert exporter.quantizes_weights_alone(build_graph(student, spec)) == another
