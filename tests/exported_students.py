"""Students with weights of chance, as run folders and as ONNX files: untrained, in seconds."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from keras_in_numpy import scramble
from torch import Tensor, nn

from cache_schema.front_ends import FRONT_ENDS, frame_count
from cache_schema.store.files import sha256
from student.models.device_forms import StepForm
from student.models.interface import Student
from student.predict.contract import METADATA_KEY, Contract, TensorSpec, front_end_spec
from student.runs.checkpoint import WEIGHTS, save_weights, write_json
from student.runs.settings import build_student
from student.stream.front_end import TorchFrontEnd

RATE_HZ = 16_000
CLASSES = ("no", "yes", "=maybe")


def student_of(name: str, classes: int) -> Student:
    """A student that answers differently at different sounds."""
    torch.manual_seed(0)
    student = build_student(name, {}, classes)
    scramble(student)
    return student.eval()


def write_run(
    folder: Path, name: str, classes: tuple[str, ...] = CLASSES, task: str = "single"
) -> Path:
    """A run folder of a student."""
    folder.mkdir(parents=True)
    config = {
        "student": name, "student_options": {}, "distill": [], "classes": list(classes),
        "task": task, "class_map": None, "metric": None,
    }  # fmt: skip
    write_json(folder / "config.json", config)
    save_weights(folder, student_of(name, len(classes)))
    return folder


class WithAttention(nn.Module):
    """A clip's logits, and where they come from."""

    def __init__(self, student: Student) -> None:
        super().__init__()
        self.student = student

    def forward(self, features_BTM: Tensor) -> tuple[Tensor, Tensor]:
        output = self.student(features_BTM, None)
        return output.logits_BC, self.student.looks_at(output)


class OfWaveform(nn.Module):
    """The front end before a form."""

    def __init__(self, student: Student, form: nn.Module, *, step: bool) -> None:
        super().__init__()
        self.front_end = TorchFrontEnd(FRONT_ENDS[student.front_end])
        self.form, self.step = form, step

    def forward(self, waveform_BS: Tensor, *state: Tensor) -> Any:
        samples_B = torch.full((waveform_BS.shape[0],), waveform_BS.shape[1])
        features_BTM, _ = self.front_end(waveform_BS, samples_B)
        return self.form(features_BTM[:, 0] if self.step else features_BTM, *state)


def write_onnx(
    run: Path,
    path: Path,
    form: Literal["static", "dynamic", "step"] = "static",
    *,
    takes: Literal["features", "waveform"] = "features",
    length_samples: int = RATE_HZ,
    attention: bool = False,
) -> Path:
    """Export a run as the contract wants it, by torch alone."""
    config = json.loads((run / "config.json").read_text())
    student = student_of(config["student"], len(config["classes"]))
    front_end = FRONT_ENDS[student.front_end]
    frames = frame_count(length_samples, front_end)
    static, step = form == "static", form == "step"
    module: nn.Module = StepForm(student) if step else student.for_clip(frames if static else None)
    module = WithAttention(student) if attention else module
    states = list(student.initial_state(1)) if step else []
    shape = [front_end.features] if step else [frames, front_end.features]
    if takes == "waveform":
        module = OfWaveform(student, module, step=step)
        shape = [front_end.window_samples if step else length_samples]
    found = student(torch.randn(1, frames, front_end.features), None)
    context = found.context_BTD.shape[1] if static else None
    contract = Contract(
        form=form,
        takes=takes,
        sample_rate_hz=front_end.sample_rate_hz,
        classes=config["classes"],
        task=config["task"],
        length_samples=length_samples if static else None,
        frames=frames if static else None,
        feature_bins=front_end.features,
        front_end=front_end_spec(front_end),
        hop_s=found.hop_s,
        first_frame_s=float(found.first_frame_s_B[0]),
        shortest_frames=student.shortest_frames,
        inputs=[
            tensor(takes, [1, *shape] if form != "dynamic" else [1, None, *shape[1:]]),
            *(tensor(f"state_{n}", state.shape) for n, state in enumerate(states)),
        ],
        outputs=[
            tensor("logits", [1, len(config["classes"])]),
            *([tensor("attention", [1, context])] if attention else []),
            *(tensor(f"next_state_{n}", state.shape) for n, state in enumerate(states)),
        ],
        student=config["student"],
        student_options={},
        weights_sha256=sha256((run / WEIGHTS).read_bytes()),
    )
    save_onnx(module, [torch.randn(1, *shape), *states], contract, path)
    return path


def tensor(name: str, shape: Sequence[int | None]) -> TensorSpec:
    """A tensor of a contract."""
    return TensorSpec(name=name, shape=list(shape))


def save_onnx(module: nn.Module, inputs: list[Tensor], contract: Contract, path: Path) -> None:
    """Write a module with its contract."""
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    free = {1: torch.export.Dim("size", min=contract.shortest_frames)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            module.eval(),
            tuple(inputs),
            dynamo=True,
            opset_version=20,
            verbose=False,
            input_names=[spec.name for spec in contract.inputs],
            output_names=[spec.name for spec in contract.outputs],
            dynamic_shapes=(free,) if contract.form == "dynamic" else None,
        )
    assert program is not None
    program.model.metadata_props[METADATA_KEY] = contract.encode().decode()
    program.save(str(path), external_data=False)


def sound(seconds: float, seed: int = 0, rate_hz: int = RATE_HZ) -> np.ndarray:
    """A tone that rises, in noise: float32, shape (samples,)."""
    time_s = np.arange(round(seconds * rate_hz)) / rate_hz
    noise = np.random.default_rng(seed).standard_normal(len(time_s))
    tone = np.sin(2 * np.pi * (200 + 400 * time_s) * time_s)
    return (0.3 * tone * (np.sin(3 * time_s) > 0) + 0.02 * noise).astype(np.float32)
