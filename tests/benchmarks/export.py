"""Each student as an ONNX file in each of its forms: size, difference, and speed beside PyTorch.

The weights are of chance: they change neither size nor speed, and differences little.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from time import process_time

import torch
from exported_students import student_of
from figures import Figure, interleaved, median

from cache_schema.front_ends import FRONT_ENDS
from student.export.bars import FLOAT_DIFFERENCE
from student.export.clips import generated_clips
from student.export.forms import FormSpec, Kind, build_graph
from student.export.interface import Graph, Runner
from student.export.onnx_format import OnnxExporter
from student.export.parity import Trial
from student.models.interface import Student

STUDENTS = (
    "tc-resnet", "ds-tc-resnet", "bc-resnet", "crnn", "lstm-p", "att-rnn", "mhatt-rnn", "mobilenet",
    "efficientnet-b0", "ast-tiny",
)  # fmt: skip
CLASSES = 12
LENGTH_S = 1.0


def measure(scratch: Path, *, quick: bool) -> Iterator[Figure]:
    """Every student as a clip of 1 s, of any length, and as a step, where it has those forms."""
    for name in STUDENTS[:1] if quick else STUDENTS:
        student = student_of(name, CLASSES)
        for spec in forms_of(student):
            if spec.kind == "static" or not quick:
                yield _form(name, student, spec, scratch, 3 if quick else 50)


def forms_of(student: Student) -> Iterator[FormSpec]:
    """The forms that a student has."""
    samples = round(LENGTH_S * FRONT_ENDS[student.front_end].sample_rate_hz)
    kinds: dict[Kind, str] = {
        "static": "",
        "dynamic": student.why_not_any_length,
        "step": student.why_not_step,
    }
    for kind, why_not in kinds.items():
        if not why_not:
            yield FormSpec(
                kind=kind,
                takes="features",
                samples=samples if kind == "static" else None,
                shortest_frames=student.shortest_frames if kind == "dynamic" else 1,
            )


def _form(name: str, student: Student, spec: FormSpec, scratch: Path, rounds: int) -> Figure:
    graph, path = build_graph(student, spec), scratch / "model.onnx"
    exporter = OnnxExporter()
    exporter.write(graph, path)
    runner = exporter.load(path)
    clips = generated_clips(student.front_end, spec, CLASSES)
    trial = Trial.of(student, spec, clips, "single", [str(n) for n in range(CLASSES)])
    parity = trial.compare(runner, exact=True)
    ratio, seconds = _against_torch(graph, runner, rounds)
    kilobytes, bar = path.stat().st_size / 1e3, FLOAT_DIFFERENCE[spec.takes]
    return Figure(
        what=f"{name}, {spec.kind}",
        value=ratio,
        unit="x",
        against="the same form in PyTorch, CPU time of one thread",
        note=f"{kilobytes:.0f} KB, largest difference {parity.largest_difference:.1e} (bar {bar:g})",
        details={
            "bytes": path.stat().st_size,
            "difference": parity.largest_difference,
            "agreement": parity.agreement,
            "ms": 1e3 * seconds,
        },
    )


@torch.no_grad()
def _against_torch(graph: Graph, runner: Runner, rounds: int) -> tuple[float, float]:
    """Time of the file as a share of PyTorch's, and in seconds."""
    tensors = [tensor[:1].contiguous() for tensor in graph.inputs.values()]
    arrays = {name: t.numpy() for name, t in zip(graph.inputs, tensors, strict=True)}
    cases = {"file": lambda: runner.run(arrays), "torch": lambda: graph.module(*tensors)}
    found = {case: median(s) for case, s in interleaved(cases, rounds, process_time).items()}
    return found["file"] / found["torch"], found["file"]
