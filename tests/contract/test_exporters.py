"""What every exporter must do, and every student as an ONNX file in each of its forms."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from commands import command, succeeded
from exported_students import write_run
from installed_formats import installed
from keras_reference import scramble

from cache_schema.errors import RunError
from cache_schema.front_ends import FRONT_ENDS
from cache_schema.plugins import plugin_names
from student.export import EXPORTERS
from student.export.bars import check_parity
from student.export.clips import generated_clips
from student.export.forms import FormSpec, Kind, build_graph, front_end_graph
from student.export.onnx_format import OnnxExporter
from student.export.parity import Trial
from student.models import STUDENTS, bc_resnet, efficientnet, mobilenet
from student.models.interface import Student
from student.plugin_checks import CLASSES, EXPORTER_CHECKS
from student.runs.settings import build_student, student_class

pytestmark = pytest.mark.usefixtures("operators_once")
OPTIONS = {"ast-tiny": {"layers": "2"}}
SAMPLES = 4_000


def forms() -> list[tuple[str, Kind]]:
    """The forms that students declare."""
    found: list[tuple[str, Kind]] = []
    for name in STUDENTS:
        student = student_class(name)
        why_not: dict[Kind, str] = {
            "static": "",
            "dynamic": student.why_not_any_length,
            "step": student.why_not_step,
        }
        found += [(name, kind) for kind, reason in why_not.items() if not reason]
    return found


@pytest.mark.parametrize("check", EXPORTER_CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", plugin_names(EXPORTERS, "exporter"))
def test_every_exporter(name: str, check: Callable[[str, Path], None], tmp_path: Path) -> None:
    installed(name)
    check(name, tmp_path)


@pytest.mark.parametrize("name", plugin_names(EXPORTERS, "exporter"))
def test_a_front_end_it_cannot_hold_is_rejected_in_one_line_and_nothing_is_written(
    name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    exporter = installed(name)
    path, graph = tmp_path / exporter.file_name, front_end_graph(FRONT_ENDS["mfcc40"], SAMPLES)
    if not exporter.why_not_waveform:
        exporter.write(graph, path)
        assert [facts.name for facts in exporter.load(path).outputs] == list(graph.outputs)
        return
    with pytest.raises(RunError, match="cannot hold this form: ") as refused:
        exporter.write(graph, path)
    assert "\n" not in str(refused.value)
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", plugin_names(EXPORTERS, "exporter"))
def test_the_command_prints_nothing_of_its_converter(name: str, tmp_path: Path) -> None:
    exporter = installed(name)
    run, out = write_run(tmp_path / "run", "ds-tc-resnet"), tmp_path / "out"
    done = command("export-student", run, "--to", name, "--length-s", 0.5, "--out", out)
    lines = succeeded(done).splitlines()
    assert done.stderr == ""
    assert len(lines) == 2
    assert lines[0].startswith(f"{exporter.file_name}, float, ")
    card = json.loads((out / "card.json").read_text())
    front_end = {"front_end.onnx"} if exporter.writes_front_end else set()
    assert set(card["files"]) == {exporter.file_name, "test_vectors.npz"} | front_end
    assert [t["name"] for t in card["tensors"]["inputs"]] == ["features"]


def student_of(name: str) -> Student:
    torch.manual_seed(0)
    student = build_student(name, OPTIONS.get(name, {}), len(CLASSES))
    scramble(student)
    return student.eval()


@pytest.fixture
def shallow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Build one block of each stage, two of some: all kinds of layers, a graph that is traced soon."""
    monkeypatch.setattr(efficientnet, "ceil", int)  # B2 as deep as B0
    stages = [(*head, 1, stride) for *head, _, stride in efficientnet.STAGES]
    monkeypatch.setattr(efficientnet, "STAGES", (stages[0], *efficientnet.STAGES[1:2], *stages[2:]))
    monkeypatch.setattr(mobilenet, "BLOCKS", [mobilenet.BLOCKS[i] for i in (0, 1, 2, 3, 6, 10, 12)])
    first, *later = bc_resnet.STAGES
    monkeypatch.setattr(bc_resnet, "STAGES", (first, *((s, 1, *rest) for s, _, *rest in later)))


@pytest.mark.usefixtures("shallow")
@pytest.mark.parametrize(("name", "kind"), forms())
def test_every_form_of_every_student_answers_alike(name: str, kind: Kind, tmp_path: Path) -> None:
    student = student_of(name)
    shortest = student.shortest_frames if kind == "dynamic" else 1
    samples = SAMPLES if kind == "static" else None
    spec = FormSpec(kind=kind, takes="features", samples=samples, shortest_frames=shortest)
    exporter, path = OnnxExporter(), tmp_path / "model.onnx"
    exporter.write(build_graph(student, spec), path)
    clips = generated_clips(student.front_end, spec, len(CLASSES))
    trial = Trial.of(student, spec, clips, "single", CLASSES)
    parity = trial.compare(exporter.load(path), exact=True)
    check_parity(parity, spec, path.name)
    assert len(parity.shapes) == (9 if kind == "dynamic" else 0)
    assert FRONT_ENDS[student.front_end].features == exporter.load(path).inputs[0].shape[-1]
