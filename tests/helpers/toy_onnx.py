"""A student small enough to be written down: an ONNX graph of three nodes, with any contract.

Its logits are the mean over frames of the features, times a matrix. As a step its state is the sum of
the frames so far, and the logits come of that.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from cache_schema.front_ends import FRONT_ENDS, front_end_facts
from student.predict.contract import METADATA_KEY

CLASSES = ["no", "yes", "=maybe"]
BINS, FRAMES, LENGTH = 20, 49, 16_000
MATRIX = np.random.default_rng(0).standard_normal((BINS, len(CLASSES))).astype(np.float32) / 30


def contract(
    form: str = "static", *, attention: bool = False, task: str = "single"
) -> dict[str, Any]:
    """The contract of the graph of `write_toy`."""
    frames = {"static": [FRAMES], "dynamic": [None], "step": []}[form]
    step, static = form == "step", form == "static"
    state = [{"name": "state_0", "shape": [1, BINS], "dtype": "float32"}] if step else []
    where = {"name": "attention", "shape": [1, FRAMES if static else None], "dtype": "float32"}
    return {
        "format_version": 1,
        "form": form,
        "takes": "features",
        "sample_rate_hz": 16_000,
        "classes": CLASSES,
        "task": task,
        "length_samples": LENGTH if static else None,
        "frames": FRAMES if static else None,
        "feature_bins": BINS,
        "front_end": front_end_facts(["mfcc"])["mfcc"],
        "hop_s": FRONT_ENDS["mfcc"].hop_s,
        "inputs": [{"name": "features", "shape": [1, *frames, BINS], "dtype": "float32"}, *state],
        "outputs": [
            {"name": "logits", "shape": [1, len(CLASSES)], "dtype": "float32"},
            *([where] if attention else []),
            *({**one, "name": "next_state_0"} for one in state),
        ],
        "student": "toy",
        "student_options": {},
        "weights_sha256": "0" * 64,
    }


def graph(promised: dict[str, Any]) -> onnx.ModelProto:
    """The graph that keeps a contract of `contract`."""
    weights = [
        numpy_helper.from_array(MATRIX, "matrix"),
        numpy_helper.from_array(np.array([1]), "over_frames"),
    ]
    if promised["form"] == "step":
        nodes = [
            helper.make_node("Add", ["features", "state_0"], ["next_state_0"]),
            helper.make_node("MatMul", ["next_state_0", "matrix"], ["logits"]),
        ]
        weights = weights[:1]
    else:
        nodes = [
            helper.make_node("ReduceMean", ["features", "over_frames"], ["mean"], keepdims=0),
            helper.make_node("MatMul", ["mean", "matrix"], ["logits"]),
        ]
    if any(one["name"] == "attention" for one in promised["outputs"]):
        weights.append(numpy_helper.from_array(np.array([2]), "over_bins"))
        nodes += [
            helper.make_node("ReduceMean", ["features", "over_bins"], ["level"], keepdims=0),
            helper.make_node("Softmax", ["level"], ["attention"], axis=1),
        ]
    body = helper.make_graph(
        nodes,
        "toy",
        [_value(one) for one in promised["inputs"]],
        [_value(one) for one in promised["outputs"]],
        weights,
    )
    return helper.make_model(body, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def write_toy(
    path: Path, form: str = "static", changes: dict[str, Any] | None = None, **kind: Any
) -> Path:
    """Write the graph, and a contract in which `changes` are lies."""
    promised = contract(form, **kind)
    model = graph(promised)
    return save(model, {**promised, **(changes or {})}, path)


def save(model: onnx.ModelProto, promised: Any, path: Path) -> Path:
    """Write a graph with a contract."""
    kept = copy.deepcopy(model)
    helper.set_model_props(kept, {METADATA_KEY: json.dumps(promised)})
    path.write_bytes(kept.SerializeToString())
    return path


def _value(one: dict[str, Any]) -> onnx.ValueInfoProto:
    shape = [size or "free" for size in one["shape"]]
    return helper.make_tensor_value_info(one["name"], TensorProto.FLOAT, shape)
