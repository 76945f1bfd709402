"""What int8 of an ONNX file leaves in float, and what of it has weights of 8 bits."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from student.export.interface import Graph
from student.export.onnx_format import OnnxExporter, save
from student.export.onnx_int8 import quantized

RANDOM = np.random.default_rng(0)
BANDS, WIDTH, FRAMES = 8, 64, 20


def weight(name: str, *shape: int) -> TensorProto:
    values = RANDOM.standard_normal(shape).astype(np.float32)
    return numpy_helper.from_array(values, name)


def write(path: Path, nodes: list[onnx.NodeProto], weights: list[TensorProto], *shape: int) -> Path:
    """A model from `x` to `y`."""
    graph = helper.make_graph(
        nodes, "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        weights,
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.save(model, path)
    return path


def graph_of(*shape: int, recurrent: bool) -> Graph:
    """What is quantised, as far as quantisation looks at it."""
    inputs = {"x": torch.zeros(shape)}
    module = torch.nn.Identity()
    return Graph(module=module, inputs=inputs, outputs=("y",), recurrent=recurrent)


def initializers(model: onnx.ModelProto) -> dict[str, int]:
    return {tensor.name: tensor.data_type for tensor in model.graph.initializer}


def test_layers_up_to_the_first_that_mixes_bands_stay_in_float(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "each"], ["a"], "each", group=BANDS, pads=[1, 1]),
        helper.make_node("Relu", ["a"], ["b"], "relu"),
        helper.make_node("Conv", ["b", "first"], ["c"], "first"),
        helper.make_node("Conv", ["c", "second"], ["y"], "second"),
    ]
    weights = [weight("each", BANDS, 1, 3), weight("first", WIDTH, BANDS, 1)]
    weights += [weight("second", WIDTH, WIDTH, 3)]
    path = write(tmp_path / "m.onnx", nodes, weights, 1, BANDS, FRAMES)
    clips = [{"x": RANDOM.standard_normal((1, BANDS, FRAMES)).astype(np.float32)} for _ in range(5)]
    model = quantized(path, graph_of(1, BANDS, FRAMES, recurrent=False), clips)
    kept = initializers(model)
    assert kept["each"] == kept["first"] == TensorProto.FLOAT
    assert TensorProto.INT8 in [kind for name, kind in kept.items() if name.startswith("second")]
    assert [kind for name, kind in kept.items() if name == "second"] == []
    assert os.listdir(tmp_path) == ["m.onnx"]


def test_a_dense_layer_of_a_recurrence_keeps_its_answer(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Gemm", ["x", "turned", "bias"], ["a"], "one", transB=1),
        helper.make_node("Gemm", ["a", "straight"], ["b"], "two"),
        helper.make_node("Gemm", ["b", "scaled"], ["y"], "three", alpha=0.5),
    ]
    weights = [weight("turned", WIDTH, BANDS), weight("bias", WIDTH)]
    weights += [weight("straight", WIDTH, WIDTH), weight("scaled", WIDTH, 3)]
    path = write(tmp_path / "m.onnx", nodes, weights, 1, BANDS)
    graph = graph_of(1, BANDS, recurrent=True)
    save(quantized(path, graph, []), graph, tmp_path / "q.onnx")
    kinds = [node.op_type for node in onnx.load(tmp_path / "q.onnx").graph.node]
    assert kinds.count("MatMulInteger") == 2
    assert kinds.count("Gemm") == 1  # with a factor, it is no plain product
    values = RANDOM.standard_normal((1, BANDS)).astype(np.float32)
    before, after = (
        OnnxExporter().load(file).run({"x": values})["y"] for file in (path, tmp_path / "q.onnx")
    )
    assert np.abs(after - before).max() < 0.03 * np.abs(before).max()
