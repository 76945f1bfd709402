"""The contract of a form: what its file declares to whoever calls it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from cache_schema.documents import problems_of
from cache_schema.errors import RunError, bullet_list
from cache_schema.front_ends import FRONT_ENDS
from cache_schema.store.files import canonical_json
from student.export.forms import FormSpec
from student.export.interface import Graph
from student.models.interface import Student
from student.predict.contract import ATTENTION, Contract, front_end_spec


def contract_of(
    run: Path,
    config: dict[str, Any],
    student: Student,
    spec: FormSpec,
    graph: Graph,
    weights_sha256: str,
) -> Contract:
    """State how a form is called and what it gives.

    Raises
    ------
    RunError
        If the run has names that no contract takes, listing them.
    """
    front_end = FRONT_ENDS[student.front_end]
    document = {
        "form": spec.kind,
        "takes": spec.takes,
        "sample_rate_hz": front_end.sample_rate_hz,
        "classes": config["classes"],
        "task": config["task"],
        "length_samples": spec.samples,
        "frames": spec.frames(front_end),
        "feature_bins": front_end.features,
        "front_end": front_end_spec(front_end).model_dump(),
        "hop_s": front_end.hop_s,
        "shortest_frames": spec.shortest_frames,
        "inputs": _input_specs(graph),
        "outputs": _output_specs(graph),
        "student": config["student"],
        "student_options": config["student_options"],
        "weights_sha256": weights_sha256,
        **(_attention_grid(student, spec) if ATTENTION in graph.outputs else {}),
    }
    try:
        data = canonical_json(document)
        problems = problems_of(Contract, data)
    except ValueError as error:  # half of a character, which no encoding takes
        problems = [str(error)]
    if problems:
        raise RunError(
            f"{run} cannot be exported; {len(problems)} problem(s)\n{bullet_list(problems)}\nTrain it "
            "again with train-student.",
            kind="contract",
        )
    return Contract.model_validate_json(data)


@torch.no_grad()
def _attention_grid(student: Student, spec: FormSpec) -> dict[str, float]:
    """Where the frames of the student's own attention lie in time."""
    front_end = FRONT_ENDS[student.front_end]
    frames = spec.frames(front_end) or spec.shortest_frames
    output = student(torch.zeros(1, frames, front_end.features), None)
    return {"hop_s": output.hop_s, "first_frame_s": float(output.first_frame_s_B[0])}


def _input_specs(graph: Graph) -> list[dict[str, Any]]:
    specs = []
    for name, example in graph.inputs.items():
        free = graph.dynamic_axes.get(name, {})
        shape = [None if axis in free else size for axis, size in enumerate(example.shape)]
        specs.append({"name": name, "shape": shape, "dtype": "float32"})
    return specs


@torch.no_grad()
def _output_specs(graph: Graph) -> list[dict[str, Any]]:
    """Shapes that the module gives; those of a form of any length are free but for the classes."""
    found = graph.module(*graph.inputs.values())
    values = found if isinstance(found, tuple) else (found,)
    specs = []
    for name, value in zip(graph.outputs, values, strict=True):
        shape: list[int | None] = list(value.shape)
        if graph.dynamic_axes:
            shape = [None, None if name == ATTENTION else value.shape[1]]
        specs.append({"name": name, "shape": shape, "dtype": "float32"})
    return specs
