"""Int8 of an ONNX file, by onnxruntime's quantisation.

Convolutions get weights and activations of 8 bits, a scale for each output channel and for each
activation, found on calibration clips. A recurrence feeds its own rounding back: its weights alone get 8
bits, and activations are scaled anew at every call.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import onnx
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)

from student.export.interface import Arrays, Graph

_WEIGHTED = ("Conv", "Gemm", "MatMul")


def quantized(floats: Path, graph: Graph, calibration: Sequence[Arrays]) -> onnx.ModelProto:
    """Give a file's model in int8."""
    level = logging.root.level
    logging.root.setLevel(logging.ERROR)  # it advises on the root logger
    try:
        with tempfile.TemporaryDirectory(dir=floats.parent, prefix="int8-") as folder:
            made = Path(folder) / "int8.onnx"
            if graph.recurrent:
                _quantize_weights(floats, made)
            else:
                _quantize_all(floats, made, calibration)
            model = onnx.load(made)
    finally:
        logging.root.setLevel(level)
    del model.metadata_props[:]
    return model


def _quantize_weights(floats: Path, made: Path) -> None:
    model = onnx.load(floats)
    _gemm_as_product(model)
    quantize_dynamic(
        model,
        made,
        op_types_to_quantize=["MatMul"],
        per_channel=True,
        weight_type=QuantType.QInt8,
        nodes_to_exclude=_of_double(model),
    )


def _quantize_all(floats: Path, made: Path, calibration: Sequence[Arrays]) -> None:
    quantize_static(
        floats,
        made,
        _Reader(calibration),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QInt8,
        weight_type=QuantType.QInt8,
        nodes_to_exclude=_up_to_first_layer(onnx.load(floats)),
    )


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    """Calibration inputs, one call after the other."""

    def __init__(self, calibration: Sequence[Arrays]) -> None:
        self._left: Iterator[Arrays] = iter(calibration)

    def get_next(self) -> Any:
        return next(self._left, None)


def _up_to_first_layer(model: onnx.ModelProto) -> list[str]:
    """Name the front end, what lies before the first layer that mixes its features, and that layer.

    They stay in float. The coefficients of a frame differ in range by a factor of twenty, and one
    scale for all of them rounds the small ones away: of 500 answers of a TC-ResNet and of a
    DS-TC-ResNet of 12 classes it changed 5 and 6 %, where 1 and 2 % change without it. A convolution of
    each band on its own leaves them as different as they were.
    """
    doubles = set(_of_double(model))
    kept = []
    for node in model.graph.node:
        kept.append(node.name)
        groups = [a.i for a in node.attribute if a.name == "group"]
        mixes = node.op_type in _WEIGHTED and max(groups, default=1) == 1
        if mixes and node.name not in doubles:
            break
    return kept


def _of_double(model: onnx.ModelProto) -> list[str]:
    """Name the nodes of the front end: they compute in float64."""
    graph = onnx.shape_inference.infer_shapes(model).graph
    types = {value.name: value.type.tensor_type.elem_type for value in graph.value_info}
    types |= {tensor.name: tensor.data_type for tensor in graph.initializer}
    return [
        node.name
        for node in graph.node
        if any(types.get(name) == onnx.TensorProto.DOUBLE for name in (*node.input, *node.output))
    ]


def _gemm_as_product(model: onnx.ModelProto) -> None:
    """Write each dense layer as a product and a sum, the form whose weights can be quantised alone."""
    graph = model.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    nodes = []
    for node in graph.node:
        facts = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        plain = all(facts.get(key, 1.0) == 1.0 for key in ("alpha", "beta"))
        if (
            node.op_type != "Gemm"
            or node.input[1] not in weights
            or not plain
            or facts.get("transA")
        ):
            nodes.append(node)
            continue
        nodes += _product_and_sum(graph, node, weights[node.input[1]], bool(facts.get("transB")))
    del graph.node[:]
    graph.node.extend(nodes)
    used = {name for node in nodes for name in node.input}
    left = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(left)


def _product_and_sum(
    graph: onnx.GraphProto, node: onnx.NodeProto, weight: onnx.TensorProto, turned: bool
) -> list[onnx.NodeProto]:
    values = onnx.numpy_helper.to_array(weight)
    name = f"{node.name}_weight"
    graph.initializer.append(onnx.numpy_helper.from_array(values.T if turned else values, name))
    if len(node.input) == 2:
        return [
            onnx.helper.make_node(
                "MatMul", [node.input[0], name], node.output, f"{node.name}_product"
            )
        ]
    product = f"{node.name}_product"
    return [
        onnx.helper.make_node("MatMul", [node.input[0], name], [product], product),
        onnx.helper.make_node("Add", [product, node.input[2]], node.output, f"{node.name}_sum"),
    ]
